"""benchmarks/planning.py: forecasts are what `sample --history` draws and knows nothing of what comes, and rows."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from benchmark_scripts import script
from fomo_examples import tiny_fomo, world

from gentraffic.generators.base import FOMO
from gentraffic.generators.fomo.drawing import draw_field
from gentraffic.generators.fomo.observations import field_of
from gentraffic.generators.observed import Observations


@pytest.fixture(scope="module")
def planning() -> ModuleType:
    return script("planning")


def test_forecasts_are_those_of_history_and_see_nothing_of_what_comes(planning: ModuleType) -> None:
    bundle, settings = tiny_fomo(), replace(FOMO, members=2, steps=2)
    traffic, place = world()
    rows = np.array([3, 4, 11])
    series = traffic["traffic"].values[rows].astype(np.float64)
    found = planning.continued(bundle, place, rows, series, 0, settings)("sleep", 120, 48)  # 1 March 2021: a Monday
    for name, known in (("fomo", 16), ("fomo, all hours before", 120)):
        given = Observations(traffic.isel(cell=rows, time=slice(120 - known, 120)), None, None, "traffic")
        field = field_of(given, place, traffic["time"].values[120:168], 60, bundle.model.token[2])
        np.testing.assert_array_equal(found[name], draw_field(bundle, field, settings, cells=rows.tolist()))
    other = np.where(np.arange(series.shape[1]) < 120, series, 0.0)
    again = planning.continued(bundle, place, rows, other, 0, settings)("sleep", 120, 48)
    assert all((again[name] == found[name]).all() for name in found)


def test_a_plan_from_the_truth_costs_least_and_the_dead_are_left_out(planning: ModuleType) -> None:
    rng = np.random.default_rng(0)
    series = rng.gamma(2.0, size=(5, 1)) * (1.2 + np.cos(np.arange(168) * np.pi / 12)) * rng.gamma(9.0, size=(5, 168))
    series[0] = 0
    done: dict[str, Any] = {}
    plans = {"real (hindsight)": series[None, :, 120:], "history": planning.by_hour(series[:, :120], 120, 48)}
    planning.operate(done, "town", 3, series, planning.WHEN, lambda decision, at, hours: plans, 1.0)
    assert list(done) == ["sleep|town"]  # four live cells are too few for a server of prb
    (row,) = done["sleep|town"]
    assert row["fold"] == 3
    assert 0 < row["real (hindsight)"]["total"] < row["history"]["total"]
    alive = {name: load[:, 1:] for name, load in plans.items()}
    assert planning.sleep_row(alive, series[1:, 120:]) == {name: row[name] for name in plans}


def test_strategies_join_the_row_of_their_fold_and_tables_show_what_every_fold_has(planning: ModuleType) -> None:
    done: dict[str, Any] = {}
    cost = dict.fromkeys(("total", "quality", "switches", "energy"), 1.0)
    for fold in (0, 1):
        planning.keep(done, "sleep|town", fold, {"history": cost})
    planning.keep(done, "sleep|town", 0, {"fomo": cost})
    planning.keep(done, "fomo", 0, {"steps": 400})
    assert done["sleep|town"] == [{"fold": 0, "history": cost, "fomo": cost}, {"fold": 1, "history": cost}]
    assert planning.finished(done, "fomo", 0, steps=400)
    assert not planning.finished(done, "fomo", 0, steps=10)
    assert not planning.finished(done, "fomo", 1, steps=400)
    assert "| town | history | 2.0 | 2.0 | 2.0 | 2.0 |" in planning.text(done)
    assert "| fomo |" not in planning.text(done)
    planning.keep(done, "sleep|town", 1, {"fomo": cost})
    assert "| town | fomo | 2.0 | 2.0 | 2.0 | 2.0 |" in planning.text(done)
