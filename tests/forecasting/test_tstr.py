"""Train on synthetic, test on real: nothing leaks, units cancel, and every mistake gets one clear line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from pretend_device import pretending
from scipy import stats
from traffic_examples import traffic

from gentraffic.cli.main import run
from gentraffic.errors import BadInput, WrongUse
from gentraffic.forecasting.tstr import ValidationPlan, naive_scores, one_score, plan_for, prepare, validate
from gentraffic.io.files import write_traffic
from gentraffic.reports.validation_table import gap_percent, interval, text, to_json

PLAN = plan_for("lstm", 12)


def measured(days: int = 5, seed: int = 1, **kwargs: Any) -> xr.Dataset:
    """36 cells (one dead) at nine locations of four cells."""
    ds = traffic(days=days, seed=seed, units="MB", **kwargs)
    row, col = ds["row"].values - ds["row"].values.min(), ds["col"].values - ds["col"].values.min()
    return ds.assign_coords(location=("cell", (row // 2 * 3 + col // 2).astype(np.int64)))


@pytest.fixture
def real() -> xr.Dataset:
    return measured()


@pytest.fixture
def drawn() -> xr.Dataset:
    return traffic(days=7, seed=9, members=2)


def changed(ds: xr.Dataset, cells: Any, steps: slice) -> xr.Dataset:
    other = ds.copy(deep=True)
    values = other["internet"].values
    values[np.ix_(np.atleast_1d(cells), np.arange(values.shape[1])[steps])] += 5.0
    return other


def test_test_cells_share_no_location_and_no_step_with_training(real: xr.Dataset, drawn: xr.Dataset) -> None:
    """Held out as `gentraffic fit` does, and no change of what is tested reaches anything that trains."""
    from gentraffic.modelling.measured import read_source
    from gentraffic.training.fitting import split_source

    m = prepare(real, drawn)
    assert m.counts["cells_train"] + m.counts["cells_test"] == 35, "the dead cell is left out"
    longer = measured(days=8)
    _, held = split_source(read_source(longer, []), 5, 0, 0)
    live = longer.isel(cell=np.flatnonzero(longer["cell_id"].values != 4))
    positions = np.flatnonzero(np.isin(live["cell_id"].values, held.cell_id))
    tested = prepare(longer, drawn).test.network.values[:, :, 0]
    np.testing.assert_array_equal(tested, live["internet"].values[positions])

    rows = np.flatnonzero(np.isin(real["internet"].values[:, 5], m.test.network.values[:, 5, 0]))
    other = prepare(changed(real, rows, slice(None)), drawn)
    np.testing.assert_array_equal(m.real[0][0].network.values, other.real[0][0].network.values)
    assert np.abs(m.test.network.values - other.test.network.values).min() > 1
    first, steps = m.test.first, real.sizes["time"]
    assert first == round(0.85 * steps)
    assert m.test.last == steps
    assert m.real[0][0].last == m.test.known == round(0.7 * steps)
    assert m.real[1][0].last == first


def test_the_last_steps_change_neither_training_nor_normalisation(real: xr.Dataset, drawn: xr.Dataset) -> None:
    """Forecasts of the first test step are the same whatever comes from it on."""
    from gentraffic.forecasting.fit import fit_forecaster, forecasts

    found = []
    for ds in (real, changed(real, np.arange(36), slice(round(0.85 * 120), None))):
        m = prepare(ds, drawn)
        fitted = fit_forecaster("lstm", *m.real, PLAN)
        found.append(forecasts(fitted, m.test, 1, np.array([m.test.first])))
    np.testing.assert_array_equal(*found)


def test_units_cancel(real: xr.Dataset, drawn: xr.Dataset) -> None:
    """Doubling synthetic units changes nothing, doubling the real ones doubles errors; both to the last bit."""
    plan = replace(PLAN, steps=4)
    once, twice = drawn, drawn.assign(internet=drawn["internet"] * 2)
    base = one_score("lstm", "aug", prepare(real, once), plan)
    np.testing.assert_array_equal(base["mae"], one_score("lstm", "aug", prepare(real, twice), plan)["mae"])
    doubled = real.assign(internet=(real["internet"] * 2).assign_attrs(real["internet"].attrs))
    np.testing.assert_array_equal(2 * base["mae"], one_score("lstm", "aug", prepare(doubled, once), plan)["mae"])


def test_naive_rows_by_hand_and_what_history_they_need(real: xr.Dataset, drawn: xr.Dataset) -> None:
    m = prepare(real, drawn)
    values, first = m.test.network.values[:, :, 0].astype(np.float64), m.test.first
    found = naive_scores(m, 1)
    for name, lag in (("last", 1), ("yesterday", 24)):
        scores = found[name]
        assert scores is not None
        away = values[:, first:] - values[:, first - lag : 120 - lag]
        assert scores["mae"][0, 0] == pytest.approx(np.abs(away).mean(), rel=1e-5)
        assert scores["rmse"][0, 0] == pytest.approx(np.sqrt((away**2).mean()), rel=1e-5)
    assert found["last-week"] is None, "102 hours before the test are no week"


def test_few_takes_a_share_of_the_cells_and_other_ones_each_time(real: xr.Dataset, drawn: xr.Dataset) -> None:
    whole = prepare(real, drawn)
    some = [prepare(real, drawn, few=25, pick=k) for k in (0, 1, 0)]
    cells = [set(m.real[0][0].network.values[:, 3, 0].tolist()) for m in some]
    assert len(cells[0]) == round(0.25 * whole.counts["cells_train"])
    assert cells[0] == cells[2] != cells[1]
    assert cells[0] < set(whole.real[0][0].network.values[:, 3, 0].tolist())
    np.testing.assert_array_equal(some[0].test.network.values, whole.test.network.values)


def test_synthetic_trains_without_any_real_value(real: xr.Dataset, drawn: xr.Dataset) -> None:
    m = prepare(real, drawn, variants=3)
    assert len(m.synthetic[0]) == 2
    assert len(m.variants) == 3
    np.testing.assert_array_equal(m.variants[0].network.values, m.synthetic[0][0].network.values)
    assert m.synthetic[0][0].last == m.synthetic[1][0].first == round(0.85 * 168)
    other = prepare(changed(real, np.arange(36), slice(None)), drawn, variants=3)
    for a, b in zip((*m.synthetic[0], *m.variants), (*other.synthetic[0], *other.variants), strict=True):
        np.testing.assert_array_equal(a.network.values, b.network.values)


@pytest.mark.slow
def test_sim_mstnet_trains_in_the_same_rounds_on_whatever_it_gets(real: xr.Dataset, drawn: xr.Dataset) -> None:
    """Only real + synthetic has weights to choose; what is trained on synthetic alone knows no real training cell."""
    few, plan = prepare(real, drawn, variants=3), plan_for("sim-mstnet", 3)
    told: dict[str, Any] = {}
    moved = replace(few, real=([replace(p, network=few.test.network) for p in few.real[0]], few.real[1]))
    for training in ("trtr", "tstr", "aug"):
        found = [one_score("sim-mstnet", training, m, plan, weighing=told)["mae"] for m in (few, moved)]
        assert np.array_equal(*found) == (training == "tstr"), training
    assert np.shape(told["weights"]) == (2, 4, 1, 4), "runs, before and after three rounds, services, groups"


@pytest.mark.parametrize("name", ["lstm", "sim-mstnet"])
def test_forecasters_are_trained_on_the_device(name: str, real: xr.Dataset, drawn: xr.Dataset) -> None:
    material, plan = prepare(real, drawn, variants=2), plan_for(name, 3)
    with pretending():
        there = one_score(name, "aug", material, plan, device="cuda")
    here = one_score(name, "aug", material, plan)
    for metric, values in here.items():
        np.testing.assert_allclose(there[metric], values, rtol=1e-5, err_msg=metric)


def test_a_repeated_week_is_left_out(drawn: xr.Dataset) -> None:
    twice = measured(days=10)
    twice["internet"].values[:, 168:] = twice["internet"].values[:, :72]
    m = prepare(twice, drawn)
    assert m.test.last == 168
    assert any("repeats its first week" in note for note in m.notes)
    assert prepare(measured(days=10), drawn).test.last == 240


def test_intervals_and_gaps() -> None:
    values = [1.0, 2.0, 4.0]
    found = interval(values)
    low, high = stats.t.interval(0.95, 2, loc=np.mean(values), scale=stats.sem(values))
    assert (found["low"], found["high"]) == (pytest.approx(low), pytest.approx(high))
    assert interval([3.0]) == {"mean": 3.0, "low": None, "high": None}
    assert interval([float("nan")])["mean"] is None
    assert gap_percent([1.1, 2.4], [1.0, 2.0])["mean"] == pytest.approx(15.0)


def test_one_validation_of_each_kind(real: xr.Dataset, drawn: xr.Dataset) -> None:
    told: list[tuple[int, int]] = []
    found = validate(
        real, drawn, ["lstm"], ValidationPlan(seeds=2, few=50, horizon=2, steps=3),
        on_fit=lambda done, of: told.append((done, of)),
    )  # fmt: skip
    assert told == [(i, 6) for i in range(6)]
    row = to_json(found)["forecasters"]["lstm"]["internet"]["step_2"]
    by_seed = {t: [float(s["mae"][0, 1]) for s in found.scores["lstm"][t]] for t in ("trtr", "tstr", "aug")}
    assert row["trtr_mae"]["mean"] == pytest.approx(np.mean(by_seed["trtr"]))
    gaps = [100 * (a / b - 1) for a, b in zip(by_seed["tstr"], by_seed["trtr"], strict=True)]
    assert row["gap_percent"]["mean"] == pytest.approx(np.mean(gaps))
    assert len(set(by_seed["trtr"])) == 2, "seeds differ"
    lines = text(found)
    assert any(line.startswith("lstm tstr") and "%" in line for line in lines)
    assert any(line.startswith("last-week") and "too short" in line for line in lines)


def gappy(ds: xr.Dataset) -> xr.Dataset:
    other = ds.copy(deep=True)
    other["internet"].values[7, 11] = np.nan
    return other


@pytest.mark.parametrize(
    ("spoil", "error", "says"),
    [
        ({"drawn": lambda ds: traffic(days=7, minutes=30)}, BadInput, "--real has steps of 60 min, --synthetic of 30"),
        ({"real": gappy}, BadInput, "values are missing"),
        ({"drawn": lambda ds: ds * np.nan}, BadInput, "values are missing"),
        ({"real": lambda ds: ds.isel(time=slice(9))}, BadInput, "too short a series"),
        ({"real": lambda ds: ds.isel(cell=[5]), "few": 10}, BadInput, "one cell"),
        ({"real": lambda ds: ds.isel(cell=[3])}, BadInput, "every cell is dead"),
        ({"drawn": lambda ds: ds.isel(cell=[3])}, BadInput, "every cell is dead"),
        ({"real": lambda ds: traffic(members=2)}, WrongUse, "--real has members"),
        ({"services": ["voice"]}, WrongUse, "no service 'voice'"),
        ({"forecasters": ["prophet"]}, WrongUse, "no forecaster 'prophet'"),
        ({"few": 0}, WrongUse, "--few 0"),
        ({"seeds": 0}, WrongUse, "0 seeds"),
        ({"holdout": 0.9}, WrongUse, "--holdout 0.9"),
    ],
)  # fmt: skip
def test_mistakes_are_told(
    real: xr.Dataset, drawn: xr.Dataset, spoil: dict[str, Any], error: type[Exception], says: str
) -> None:
    options = {"forecasters": ["lstm"], "seeds": 1, "steps": 2} | spoil
    spoil_real, spoil_drawn = (options.pop(n, lambda ds: ds) for n in ("real", "drawn"))
    forecasters, files = options.pop("forecasters"), (spoil_real(real), spoil_drawn(drawn).assign_attrs(drawn.attrs))
    with pytest.raises(error, match=says) as caught:
        validate(*files, forecasters, ValidationPlan(**options))
    assert "\n" not in str(caught.value)


def test_one_cell_is_tested_in_time_alone(real: xr.Dataset, drawn: xr.Dataset) -> None:
    m = prepare(real.isel(cell=[5]), drawn)
    assert m.counts["cells_train"] == m.counts["cells_test"] == 1
    assert any("no locations held out" in note for note in m.notes)


def test_the_command_reports(tmp_path: Path, capsys: pytest.CaptureFixture[str], real: xr.Dataset) -> None:
    files = {"real": real.drop_vars("location"), "synthetic": traffic(days=7, seed=9)}
    for name, ds in files.items():
        write_traffic(ds, tmp_path / f"{name}.nc")
    words = ["validate", *(w for name in files for w in (f"--{name}", str(tmp_path / f"{name}.nc")))]
    assert run([*words, "--forecaster", "lstm", "--seeds", "1", "--steps", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    row = found["forecasters"]["lstm"]["internet"]["step_1"]
    assert row["gap_percent"]["mean"] == pytest.approx(100 * (row["tstr_mae"]["mean"] / row["trtr_mae"]["mean"] - 1))
    assert found["naive"]["last"]["internet"]["step_1"]["mae"] > 0
    assert run([*words, "--few", "101"]) == 2
    assert "--few 101" in capsys.readouterr().err
