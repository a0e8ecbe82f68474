"""Splits by location: nothing of a held-out place is in training."""

from pathlib import Path

import numpy as np
import pytest
from traffic_examples import context, traffic

from gentraffic.dataset.splits import block_locations, p1_folds, split_traffic
from gentraffic.errors import WrongUse
from gentraffic.io.importers.uomo import read_uomo


def test_every_cell_is_held_out_once_and_no_place_is_on_both_sides(shared_data: Path) -> None:
    for city, folds in (("sd", 5), ("nc", 5), ("nj", 5), ("sd", 2)):
        _, context = read_uomo(shared_data / "traffic" / f"uomo_{city}.npz")
        location = context["location"].values
        pairs = p1_folds(context, folds, seed=1)
        assert len(pairs) == folds
        np.testing.assert_array_equal(np.sort(np.concatenate([test for _, test in pairs])), np.arange(len(location)))
        for train, test in pairs:
            assert not set(location[train]) & set(location[test])  # week 1 of a place goes with its week 0
            assert len(train) + len(test) == len(location)
        places = [len(set(location[test])) for _, test in pairs]
        assert max(places) - min(places) <= 1


def test_seed_decides_the_folds() -> None:
    location = np.repeat(np.arange(20), 16)
    a, b, c = p1_folds(location, seed=0), p1_folds(location, seed=0), p1_folds(location, seed=1)
    assert all((x[1] == y[1]).all() for x, y in zip(a, b, strict=True))
    assert any(not np.array_equal(x[1], y[1]) for x, y in zip(a, c, strict=True))


def test_folds_do_not_depend_on_the_order_of_the_cells() -> None:
    location = np.repeat(np.arange(10), 4)
    order = np.random.default_rng(0).permutation(len(location))
    for (_, held), (_, mixed) in zip(p1_folds(location), p1_folds(location[order]), strict=True):
        assert set(location[held]) == set(location[order][mixed])


def test_blocks_are_squares() -> None:
    x, y = np.meshgrid(np.arange(8) * 250.0 + 125, np.arange(6) * 250.0 + 125)
    block = block_locations(x.ravel(), y.ravel(), 1000.0).reshape(6, 8)
    expected = np.array([[0] * 4 + [1] * 4] * 4 + [[2] * 4 + [3] * 4] * 2)
    np.testing.assert_array_equal(block, expected)


def test_a_file_without_locations_is_split_by_squares_of_two_kilometres() -> None:
    whole = traffic(context("grid", 24)).drop_vars("location", errors="ignore")
    train, test = split_traffic(whole, test=0.25, by="location", seed=1)
    square = {cell: (x // 2000, y // 2000) for cell, x, y in zip(
        whole["cell_id"].values.tolist(), whole["x"].values, whole["y"].values, strict=True)}  # fmt: skip
    sides = [{square[cell] for cell in part["cell_id"].values.tolist()} for part in (train, test)]
    assert not sides[0] & sides[1]
    assert len(sides[1]) == round(0.25 * len(set(square.values())))


def test_too_few_locations_are_refused(shared_data: Path) -> None:
    with pytest.raises(WrongUse, match="5 folds of 3 locations"):
        p1_folds([1, 2, 3, 3])
    _, context = read_uomo(shared_data / "traffic" / "uomo_nj.npz")
    with pytest.raises(WrongUse, match="location"):
        p1_folds(context.drop_vars("location"))
