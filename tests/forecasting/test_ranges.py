"""Ranges of forecasts: errors drawn again, against what they were drawn from, a rate, and a file that says so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import forecast_examples as examples
import numpy as np
import pytest

import gentraffic
from gentraffic.errors import BadInput, WrongUse
from gentraffic.forecasting.data import split
from gentraffic.forecasting.fit import fit_forecaster, forecasts, real_of, scaled
from gentraffic.forecasting.ranges import NEAR, ErrorPaths, coverage, members_of
from gentraffic.forecasting.score import error_paths, score_beside_naive


def paths(starts: int = 240, cells: int = 30, steps: int = 6, seed: int = 0) -> ErrorPaths:
    """Errors that are wider by day than by night."""
    rng = np.random.default_rng(seed)
    clock = np.arange(starts) % 24
    wide = np.where((clock >= 8) & (clock < 20), 1.0, 0.1)[:, None, None, None]
    return ErrorPaths((wide * rng.normal(size=(starts, cells, steps, 1))).astype(np.float32), clock, 24)


def test_a_member_is_the_forecast_plus_the_errors_of_one_near_moment() -> None:
    known = paths()
    ahead = np.full((40, 4, 1), 100.0, dtype=np.float32)
    spread = np.linspace(1, 5, 40, dtype=np.float32)[:, None]
    for member in members_of(known, ahead, spread, 24 + 13, 5):
        errors = (member - ahead) / spread[:, None]
        moments = [
            start
            for start in known.near(13)
            if all(np.isclose(known.errors[start, :, :4, 0], row[:, 0], atol=1e-4).all(axis=1).any() for row in errors)
        ]
        assert len(moments) == 1


def test_the_clock_goes_round() -> None:
    assert set(paths().step_of_day[paths().near(0)].tolist()) == {0, 1, 23}
    assert len(paths().near(5)) == NEAR


def test_the_coverage_of_errors_of_the_same_kind_is_what_was_asked_for() -> None:
    known, rng = paths(), np.random.default_rng(5)
    clock = np.arange(480) % 24
    wide = np.where((clock >= 8) & (clock < 20), 1.0, 0.1)[:, None, None, None]
    predicted = np.full((480, 20, 6, 1), 50.0, dtype=np.float32)
    spread = np.full((20, 1), 2.0, dtype=np.float32)
    real = (predicted + 2 * wide * rng.normal(size=predicted.shape)).astype(np.float32)
    held = coverage(known, predicted, real, spread, clock)
    by_day = (clock > 9) & (clock < 18)
    np.testing.assert_allclose(held, 0.9, atol=0.02)
    np.testing.assert_allclose(
        coverage(known, *(a[by_day] for a in (predicted, real)), spread, clock[by_day]), 0.9, atol=0.02
    )
    half = coverage(known, predicted, predicted + 0.5 * (real - predicted), spread, clock)
    assert (half > 0.97).all()  # a range that is twice as wide as it should be is seen


def test_errors_are_those_of_the_validation_part() -> None:
    train, later, _ = split(examples.network(days=30))
    fitted = fit_forecaster("last", [train])
    found = error_paths(fitted, later)
    assert found is not None
    starts = np.arange(later.first, later.last - found.steps + 1)
    away = real_of(later, starts, found.steps) - forecasts(fitted, later, found.steps, starts)
    expected = np.sort((away / scaled(later)[1].spread[None, :, None]).astype(np.float32).ravel())
    np.testing.assert_allclose(np.sort(found.errors.ravel()), expected, atol=1e-6)
    assert found.step_of_day.tolist() == (starts % 24).tolist()


def test_half_of_the_next_days_lie_within_the_middle_half() -> None:
    """Of a network whose noise does not change, on steps that neither training nor errors have seen."""
    train, later, test = split(examples.network(days=60, seed=4))
    fitted = fit_forecaster("yesterday", [train])
    fitted = replace(fitted, errors=error_paths(fitted, later))
    scored = score_beside_naive(fitted, test, 6)
    assert scored.covered is not None
    assert ((scored.covered > 0.8) & (scored.covered < 0.98)).all(), scored.covered


def test_members_of_a_forecast_from_python_and_back(tmp_path: Path) -> None:
    ds = examples.dataset(days=16)
    fitted = gentraffic.forecast.fit("yesterday", ds, out=tmp_path / "model")
    one = gentraffic.forecast.run(tmp_path / "model", ds, horizon=5)
    many = gentraffic.forecast.run(tmp_path / "model", ds, horizon=5, members=40, seed=3)
    again = gentraffic.forecast.run(fitted, ds, horizon=5, members=40, seed=3)
    name = next(iter(one.data_vars))
    assert many[name].dims == ("member", "cell", "time")
    assert np.array_equal(many[name].values, again[name].values)
    low, high = many[name].quantile([0.05, 0.95], dim="member").values
    assert ((one[name].values >= low) & (one[name].values <= high)).mean() > 0.9
    assert (high > low).all()
    fitted_errors = fitted.fitted.errors
    assert fitted_errors is not None
    with pytest.raises(BadInput, match=f"members with horizon=200: .* up to {fitted_errors.steps} steps"):
        gentraffic.forecast.run(fitted, ds, horizon=200, members=4)
    with pytest.raises(WrongUse, match="has 40 members already"):
        gentraffic.forecast.run(fitted, xr_concat(ds, many), horizon=1, members=4)


def xr_concat(ds: object, many: object) -> object:
    """A history with as many members as `many`."""
    import xarray as xr

    assert isinstance(ds, xr.Dataset)
    assert isinstance(many, xr.Dataset)
    name = next(iter(ds.data_vars))
    wide = ds.assign_coords(member=many["member"])
    wide[name] = ds[name].expand_dims(member=many["member"]).assign_attrs(ds[name].attrs)
    return wide
