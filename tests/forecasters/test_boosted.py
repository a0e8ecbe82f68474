"""Boosted trees: our evaluation of them against LightGBM's own, the columns against a loop, and what they learn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import lightgbm
import numpy as np
import pytest
import torch

from forecasters import LightGBM, Windows, fit_lightgbm, grid_patches
from forecasters.boosted import _nodes, _rounded_down

PER_DAY = 24


def windows(
    first: int = 0, last: int = 400, services: int = 1, stride: int = 1, week: int = 5, noise: float = 0.1
) -> Windows:
    """Cells that follow the clock, with a burst every Wednesday at noon, and noise."""
    rng = np.random.default_rng(3)
    step = np.arange(500)
    day = np.sin((step + week) % PER_DAY / PER_DAY * 2 * np.pi)
    burst = 2.0 * ((step + week) % (7 * PER_DAY) == 2 * PER_DAY + 12)
    values = (day + burst)[:, None, None] + noise * rng.normal(size=(500, 6, services))
    patches = torch.from_numpy(grid_patches(*(i.ravel() for i in np.indices((2, 3))), 3))
    model = LightGBM(PER_DAY, services)
    return Windows(torch.from_numpy(values.astype(np.float32)), patches, model.lags, 6, first, last, stride, None, week)


def test_our_trees_say_what_lightgbm_says() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3000, 4)).astype(np.float32)
    y = np.where(x[:, 0] > 0.3, x[:, 1], x[:, 2] ** 2) + 0.01 * rng.normal(size=3000)
    settings = {"objective": "l1", "max_depth": 8, "num_leaves": 31, "verbose": -1, "num_threads": 1}
    booster = lightgbm.train(settings, lightgbm.Dataset(x, y), 40)
    rows, roots, _ = _nodes(booster.dump_model()["tree_info"], 0)
    fresh = rng.normal(size=(500, 4)).astype(np.float32)
    ours = np.zeros(len(fresh))
    for root in roots:  # by a walk from node to node, in float64
        for i, point in enumerate(fresh):
            node = int(root)
            while int(rows[node, 2]) != node:
                node = int(rows[node, 2 + int(point[int(rows[node, 0])] > rows[node, 1])])
            ours[i] += rows[node, 4]
    np.testing.assert_allclose(ours, booster.predict(fresh), rtol=0, atol=1e-12)


def test_the_network_walks_the_same_trees_in_single_precision() -> None:
    train = windows(services=2, stride=2)
    model = LightGBM(PER_DAY, 2)
    fit_lightgbm(model, [train], [], trees=30)
    index = torch.arange(0, len(train), 7)
    (past, _), when = train.gather(index), train.when(index)
    found = model(past, when)
    for step in (0, 5):
        x = model.features(past, when, step).numpy()
        for service in range(2):
            sums = np.zeros(len(x))
            for root in model.root[model.output == step * 2 + service].tolist():
                node = np.full(len(x), root)
                for _ in range(20):
                    right = x[np.arange(len(x)), model.feature.numpy()[node]] > model.threshold.numpy()[node]
                    node = model.child.numpy()[node, right.astype(int)]
                sums += model.value.numpy()[node]
            np.testing.assert_allclose(found[:, step, service], sums, atol=1e-5)


@pytest.mark.parametrize("weeks", [True, False])
def test_the_contract(weeks: bool) -> None:
    """As the other forecasters: lags from the oldest on, and a forecast that does not depend on its batch."""
    model = LightGBM(PER_DAY, 2, weeks=weeks)
    assert list(model.lags) == sorted(set(model.lags), reverse=True)
    assert model.context == (7 * PER_DAY if weeks else PER_DAY + 1)
    train = replace(windows(services=2, stride=9), lags=model.lags)
    fit_lightgbm(model, [train], [], trees=3)
    index = torch.arange(6)
    past, when = train.gather(index)[0], train.when(index)
    whole = model(past, when)
    assert whole.shape == (6, 6, 2)
    assert torch.equal(torch.cat([model(past[:2], when[:2]), model(past[2:], when[2:])]), whole)


def test_the_columns_are_those_of_a_loop() -> None:
    w = windows(week=100, stride=5)
    model = LightGBM(PER_DAY)
    index = torch.arange(0, len(w), 11)
    past, when = w.gather(index)[0], w.when(index)
    values = w.values[..., 0]
    for step in (0, 3, 5):
        x = model.features(past, when, step)
        for row, n in enumerate(index.tolist()):
            t, cell = w.starts[n // 6], n % 6
            around = w.patches[cell][[0, 1, 2, 3, 5, 6, 7, 8]]
            seen = [t + step - 7 * PER_DAY, *(t + step - PER_DAY + d for d in (-1, 0, 1)), *range(t - 6, t)]
            ring = [values[s, around].mean() for s in (t + step - PER_DAY, t - 2, t - 1)]
            clock = [(100 + t + step) % PER_DAY, (100 + t + step) // PER_DAY % 7]
            expected = [*(float(values[s, cell]) for s in seen), *map(float, ring), *clock]
            np.testing.assert_allclose(x[row].numpy(), expected, rtol=1e-6, atol=1e-6)


def test_a_weekly_burst_is_forecast_from_the_clock_alone() -> None:
    model = LightGBM(PER_DAY)
    told = fit_lightgbm(model, [windows(last=400)], [windows(first=400, last=500)], trees=100)
    later = windows(first=410, last=500)
    index = torch.arange(len(later))
    past, future = later.gather(index)
    error = (model(past, later.when(index)) - future).abs().mean(dim=(0, 2))
    assert float(error.max()) < 0.11  # the noise itself has a mean of 0.08
    assert told["steps"] == sum(told["trees"])
    assert len(told["trees"]) == 6


def test_the_same_seed_gives_the_same_trees() -> None:
    fitted = []
    for seed in (1, 1, 2):
        model = LightGBM(PER_DAY)
        fit_lightgbm(model, [windows(stride=3)], [], trees=5, seed=seed)
        fitted.append(model.value)
    assert torch.equal(fitted[0], fitted[1])
    assert not torch.equal(fitted[0], fitted[2])


def test_shares_weigh_the_sources() -> None:
    """Two sources that contradict each other: the one with the larger share is believed."""
    low = windows(stride=2)
    low, high = replace(low, values=0 * low.values), replace(low, values=low.values + 3)
    for shares, believed in (([0.9, 0.1], 0.0), ([0.1, 0.9], 3.0)):
        model = LightGBM(PER_DAY)
        fit_lightgbm(model, [low, high], [], trees=1, shares=shares)  # one tree: little more than the median of all
        past, when = low.gather(torch.arange(50))[0], low.when(torch.arange(50))
        assert abs(float(model(past, when).median()) - believed) < 1


@pytest.mark.parametrize("value", [0.1, -0.1, 1.0, 1e-30, 3.3333333333333335])
def test_thresholds_separate_the_same_single_precision_values(value: float) -> None:
    near = np.float32(value)
    around = np.array([np.nextafter(near, np.float32(-9)), near, np.nextafter(near, np.float32(9))])
    rounded = _rounded_down(np.array([value]))
    assert ((around <= rounded) == (around.astype(np.float64) <= value)).all()


def test_it_is_saved_and_read_without_lightgbm(tmp_path: Path) -> None:
    model = LightGBM(PER_DAY)
    fit_lightgbm(model, [windows(stride=3)], [], trees=5)
    model.save_pretrained(tmp_path)
    again = LightGBM.from_pretrained(tmp_path)
    w = windows()
    past, when = w.gather(torch.arange(40))[0], w.when(torch.arange(40))
    assert torch.equal(model(past, when), again(past, when))


def test_without_trees_it_says_so() -> None:
    with pytest.raises(RuntimeError, match="train it first"):
        LightGBM(PER_DAY)(torch.zeros(1, 20, 3, 3, 1), torch.zeros(1, dtype=torch.int64))
