"""Streams that belong to cells: keys that are those of numpy, and differ by all that they should differ by."""

from __future__ import annotations

import numpy as np
import pytest

from gentraffic.modelling.random_streams import (
    LATTICE,
    SHAPE,
    bilinear,
    cell_key,
    lattice_seeds,
    point_keys,
    shape_seeds,
)
from samplers.diffusion import starting_noise


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


def test_points_of_a_lattice_have_streams_of_numpys_too() -> None:
    points = np.array([[0, 0], [3, -1], [-(2**31), 7]])
    keys = point_keys(5, LATTICE, points, (1, 0), 2)
    words = [(5, LATTICE, 2, *(int(i) & 0xFFFF_FFFF for i in point), 1, 0) for point in points]
    streams = [np.random.SeedSequence(word).generate_state(2, np.uint64) for word in words]
    np.testing.assert_array_equal(keys, streams)
    assert (lattice_seeds(5, points, 1, 0) != lattice_seeds(5, points, 1, 0, service=1)).any(axis=1).all()


def test_a_lattice_is_read_without_a_seam() -> None:
    line = np.stack([np.linspace(-1_500, 1_500, 4001), np.full(4001, 250.0)], 1)
    points, weight = bilinear(line, 1000.0)
    np.testing.assert_allclose((weight**2).sum(axis=1), 1.0)
    height = np.random.default_rng(0).standard_normal((8, 8))
    field = (weight * height[points[..., 0] + 3, points[..., 1] + 3]).sum(axis=1)
    assert np.abs(np.diff(field)).max() < 0.005
    assert np.ptp(field) > 0.5
