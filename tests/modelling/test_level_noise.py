"""Noise of levels: its distribution, what neighbours share, how members spread, and independence of everything else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from gentraffic.modelling.level_noise import GROUP, LATTICES, SITES, SQUARES, Likeness, level_noise, likeness_of
from gentraffic.modelling.levels import LOCATION, NOISE

ALONE = Likeness(0.0)


def pairs(apart_m: float, n: int = 3000) -> NDArray[Any]:
    """n pairs of cells `apart_m` apart, each pair far from the next: (2 n, 2) metres."""
    at, rng = np.arange(n), np.random.default_rng(0)
    first = np.stack([20_000.0 * (at % 60), 5_000_000 + 20_000.0 * (at // 60)], 1) + rng.uniform(0, 4500, (n, 2))
    turn = rng.uniform(0, 2 * np.pi, n)
    return np.stack([first, first + apart_m * np.stack([np.cos(turn), np.sin(turn)], 1)], 1).reshape(-1, 2)


def members(count: int, ids: Any, xy: NDArray[Any], like: Likeness = SQUARES, seed: int = 0) -> NDArray[Any]:
    """The noise of `count` members beside the control: (count, cells)."""
    return np.stack(list(level_noise(seed, ids, xy, [like] * (count + 1))))[1:]


@pytest.mark.parametrize("like", [ALONE, SITES, SQUARES])
def test_it_is_standard_normal(like: Likeness) -> None:
    for z in members(GROUP + 1, range(6000), pairs(3_000.0), like, seed=3)[[0, 1, 6, GROUP]]:
        some = z[::2]  # independent of each other
        assert stats.kstest(some, "norm").pvalue > 1e-3
        assert abs(some.mean()) < 4 / np.sqrt(3000)
        assert abs(some.var() - 1) < 4 * np.sqrt(2 / 3000)


@pytest.mark.parametrize("like", [ALONE, SITES, SQUARES])
@pytest.mark.parametrize("apart_m", [120.0, 240.0, 550.0, 1250.0, 2500.0, 8000.0])
def test_neighbours_share_what_kriging_takes_them_to_share(like: Likeness, apart_m: float) -> None:
    z = members(GROUP, range(6000), pairs(apart_m), like)
    shared = float((z[:, ::2] * z[:, 1::2]).mean())
    assert shared == pytest.approx(like.covariance(np.array(apart_m)), abs=0.08 if like is SQUARES else 0.05)


def test_they_share_as_much_as_errors_of_the_law_over_milan() -> None:
    """Measured over its 10,000 squares: see SQUARES."""
    for apart_m, measured in ((240.0, 0.82), (550.0, 0.55), (1250.0, 0.26), (2500.0, 0.11)):
        z = members(GROUP, range(6000), pairs(apart_m))
        assert (z[:, ::2] * z[:, 1::2]).mean() == pytest.approx(measured, abs=0.06)


def test_cells_of_one_place_are_never_quite_alike() -> None:
    z = members(GROUP, range(6000), pairs(0.0), SITES)
    assert (z[:, ::2] * z[:, 1::2]).mean() == pytest.approx(LOCATION / (LOCATION + NOISE), abs=0.03)
    assert (z[:, ::2] != z[:, 1::2]).all()


def test_likeness_is_that_of_the_network() -> None:
    assert likeness_of(0.84) is likeness_of(0.42) is SQUARES  # Milan, and 25 cells of it
    assert likeness_of(0.27) is likeness_of(0.0) is SITES  # China
    assert sum(share for _, share in LATTICES) == pytest.approx(1.0)


def test_the_control_has_none() -> None:
    (control,) = level_noise(0, ["a", "b"], np.zeros((2, 2)), [SITES])
    assert (control == 0).all()
    assert not list(level_noise(0, ["a"], np.zeros((1, 2)), []))


def test_each_twentieth_of_what_is_possible_has_one_of_twenty_members() -> None:
    z = members(2 * GROUP, range(500), pairs(500.0, 250))
    for group in (z[:GROUP], z[GROUP:]):
        part = np.sort(np.floor(stats.norm.cdf(group) * GROUP), axis=0)
        assert (part == np.arange(GROUP)[:, None]).all()
        np.testing.assert_array_equal(group[::2], -group[1::2])  # antithetic pairs
    between = np.corrcoef(z[:GROUP].ravel(), z[GROUP:].ravel())[0, 1]
    assert abs(between) < 0.05


def test_members_differ_in_which_places_are_busier() -> None:
    """The sum over some squares, over that of all around them: as doubtful as in independent fields."""
    side = np.arange(20) * 235.0
    xy = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    corner = (xy < 5 * 235.0).all(axis=1)
    apart = np.linalg.norm(xy[:, None] - xy[None], axis=-1)
    weight = corner / corner.sum() - 1 / len(xy)
    whole = SQUARES.covariance(apart) * (apart > 0) + np.eye(len(xy))
    expected = float(np.sqrt(weight @ whole @ weight))
    drawn = [(weight * members(GROUP, range(400), xy, seed=seed)).sum(axis=1) for seed in range(40)]
    assert np.sqrt(np.mean(np.square(drawn))) == pytest.approx(expected, rel=0.12)
    assert np.mean([np.std(np.abs(one)) for one in drawn]) > 0.3 * expected  # and not one pattern, turned


def test_a_cell_has_the_same_noise_whatever_is_beside_it_and_however_many_members() -> None:
    rng = np.random.default_rng(1)
    xy = rng.uniform(-3_000, 3_000, (200, 2))  # negative lattice points as well
    ids = [f"cell {i}" for i in range(200)]
    whole = members(12, ids, xy, seed=9)
    order = rng.permutation(200)[:37]
    some = members(3, [ids[i] for i in order], xy[order], seed=9)
    assert (some == whole[:3, order]).all()  # the same bits
    others = list(level_noise(9, ids, xy, [SITES, SITES, SQUARES, SITES]))  # whatever other members follow
    assert (others[2] == whole[1]).all()
    assert abs(np.corrcoef(whole.ravel(), members(12, ids, xy, seed=10).ravel())[0, 1]) < 0.1  # another seed
    service = np.stack(list(level_noise(9, ids, xy, [SQUARES] * 13, service=1)))[1:]
    assert abs(np.corrcoef(whole.ravel(), service.ravel())[0, 1]) < 0.1


def test_cells_that_lie_nowhere_share_nothing() -> None:
    z = members(GROUP, range(400), np.full((400, 2), np.nan))
    assert np.isfinite(z).all()
    assert (z == members(GROUP, range(400), pairs(0.0, 200), ALONE)).all()
