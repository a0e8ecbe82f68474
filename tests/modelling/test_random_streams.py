"""Streams that belong to cells: distribution, what neighbours share, and independence of everything else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from gentraffic.modelling.random_streams import LATTICE_M, SHAPE, cell_key, level_noise, shape_seeds
from samplers.diffusion import starting_noise


def pairs(apart_m: float, n: int = 3000) -> NDArray[Any]:
    """n pairs of cells `apart_m` apart, each pair kilometres from the next: (2 n, 2) metres."""
    at = np.arange(n)
    phase = np.random.default_rng(0).uniform(0, LATTICE_M, (n, 2))
    first = np.stack([500_000 + 5_000.0 * (at % 60), 5_000_000 + 5_000.0 * (at // 60)], 1) + phase
    return np.stack([first, first + np.array([apart_m, 0.0])], 1).reshape(-1, 2)


@pytest.mark.parametrize("member", [1, 2, 7])
def test_surprises_are_standard_normal(member: int) -> None:
    z = level_noise(3, list(range(6000)), pairs(3_000.0), member)
    assert stats.kstest(z, "norm").pvalue > 1e-3
    assert abs(z.mean()) < 4 / np.sqrt(6000)
    assert abs(z.var() - 1) < 4 * np.sqrt(2 / 6000)


@pytest.mark.parametrize("member", [1, pytest.param(5, marks=pytest.mark.slow)])
def test_neighbours_share_and_strangers_do_not(member: int) -> None:
    def share(apart_m: float) -> float:
        z = level_noise(0, list(range(6000)), pairs(apart_m), member)
        return float(np.corrcoef(z[::2], z[1::2])[0, 1])

    assert share(0.0) == pytest.approx(0.30, abs=0.055)  # LOCATION / (LOCATION + NOISE) of the level model
    near = share(250.0)
    assert 0.12 < near < 0.32
    assert near > share(900.0)
    assert abs(share(2_500.0)) < 0.055
    beside = level_noise(0, list(range(6000)), pairs(0.0), member)
    assert (beside[::2] != beside[1::2]).all()  # never all of it


def test_the_control_has_no_surprise() -> None:
    assert (level_noise(0, ["a", "b"], np.zeros((2, 2)), 0) == 0).all()


def test_members_spread_evenly_over_what_is_possible() -> None:
    z = np.stack([level_noise(1, list(range(500)), pairs(500.0, 250), m) for m in range(1, 11)])  # (members, cells)
    share = np.sort(stats.norm.cdf(z), axis=0)
    gaps = np.diff(share, axis=0, append=share[:1] + 1)
    assert gaps.max() < 0.24  # ten independent members leave a gap of 0.29 on average, and often 0.4
    assert z.mean(axis=0).std() < 0.2  # of independent members 0.32


def test_a_cell_has_the_same_surprise_whatever_is_beside_it() -> None:
    rng = np.random.default_rng(1)
    xy = rng.uniform(-3_000, 3_000, (200, 2))  # negative lattice points as well
    ids = [f"cell {i}" for i in range(200)]
    whole = level_noise(9, ids, xy, 3)
    order = rng.permutation(200)[:37]
    some = level_noise(9, [ids[i] for i in order], xy[order], 3)
    assert (some == whole[order]).all()  # the same bits
    assert np.corrcoef(whole, level_noise(10, ids, xy, 3))[0, 1] < 0.3  # another seed, another draw


def test_the_field_has_no_seam_at_the_lattice() -> None:
    line = np.stack([np.linspace(-1_500, 1_500, 4001), np.full(4001, 250.0)], 1)
    z = level_noise(0, [7] * 4001, line, 1)  # one and the same cell moved along: only the field changes
    turns = np.abs(np.diff(stats.norm.cdf(z)))
    assert np.minimum(turns, 1 - turns).max() < 0.01


def test_keys_of_cells() -> None:
    assert cell_key(4142) == cell_key(np.int64(4142)) == 4142
    assert cell_key(-1) == 0xFFFF_FFFF_FFFF_FFFF
    assert cell_key("4142") != 4142
    assert cell_key("MI-001, «1»") == 0xE8C3_4ED4_2C8D_3427  # on every machine, in every version
    keys = {cell_key(f"{i}") for i in range(20_000)} | {cell_key(i) for i in range(20_000)}
    assert len(keys) == 40_000
    assert max(keys) < 2**64


def test_streams_of_shapes_differ_by_seed_cell_pair_and_window() -> None:
    base = (0, [5, "x"], 1, 0)
    others = [(1, [5, "x"], 1, 0), (0, [6, "y"], 1, 0), (0, [5, "x"], 2, 0), (0, [5, "x"], 1, 1)]
    rows = starting_noise(shape_seeds(*base), 3000)
    for other in others:
        between = np.corrcoef(np.concatenate([rows, starting_noise(shape_seeds(*other), 3000)]))
        assert np.abs(between - np.eye(4)).max() < 0.08  # 4.5 / sqrt(3000)
    assert (starting_noise(shape_seeds(0, ["x"], 1, 0), 3000) == rows[1:]).all()


@pytest.mark.parametrize(("seed", "pair", "window"), [(0, 0, 0), (7, 1, 3), (2**32, 2**31, 400), (2**70 + 5, 3, 1)])
def test_streams_are_those_of_numpys_seed_sequence(seed: int, pair: int, window: int) -> None:
    ids = [0, 1, 2**32 - 1, 2**32, 2**62 + 1, "x", "MI-001"]  # numbers beyond 32 bits are words more
    keys = shape_seeds(seed, ids, pair, window)
    streams = [np.random.SeedSequence((seed, SHAPE, cell_key(i), pair, window)) for i in ids]
    np.testing.assert_array_equal(keys, [stream.generate_state(2, np.uint64) for stream in streams])
    rows = [np.random.Generator(np.random.Philox(s)).standard_normal(50, dtype=np.float32) for s in streams]
    np.testing.assert_array_equal(starting_noise(keys, 50).numpy(), rows)
    assert shape_seeds(seed, [], pair, window).shape == (0, 2)
