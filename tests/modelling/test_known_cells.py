"""What measured cells say of the weeks and levels of others: against closed forms, and on cells of Milan."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from bundle_examples import context
from numpy.typing import NDArray

import gentraffic
from gentraffic.cli.main import run
from gentraffic.dataset.calendar import calendar_of, make_calendar
from gentraffic.errors import BadInput, NoData, WrongUse
from gentraffic.evaluation.evaluate import given_before
from gentraffic.evaluation.metrics.rhythm import roughness_ratio
from gentraffic.generators.base import Settings
from gentraffic.generators.folder import load_bundle
from gentraffic.generators.weekly import prepare_inputs
from gentraffic.io.files import read_context, read_traffic, write_context, write_traffic
from gentraffic.io.importers.public_sets import BLOCK, read_milan_week
from gentraffic.modelling.expected_week import ExpectedWeeks, likeness, standard, week_features
from gentraffic.modelling.features import FLOOR, WEEK, read_places
from gentraffic.modelling.known_cells import (
    BETWEEN,
    FEW_FAST,
    MEMORY_H,
    NEAR,
    REACH_M,
    SPREAD,
    KnownCells,
    _columns,
    check_left,
    heard,
    join,
    measured_sizes,
    read_known,
    sizes,
)
from gentraffic.modelling.kriging import condition, conditional_levels, variance_of_mean
from gentraffic.modelling.level_noise import SQUARES, Likeness, level_noise
from gentraffic.modelling.levels import LevelModel
from gentraffic.places.find import CONTEXTS
from gentraffic.reports.traffic import page as report_page
from gentraffic.reports.webmap import map_data

HOUR = np.arange(WEEK)
WAVE = np.log(1.0 + 0.5 * np.sin(2 * np.pi * HOUR / 24) + FLOOR)


def known_cells(week: NDArray[np.float64], count: NDArray[np.int64] | None = None) -> KnownCells:
    count = np.where(np.isnan(week), 0, 1) if count is None else count
    return KnownCells(np.arange(len(week)), week, count, np.full((len(week), 1), np.nan, dtype=np.float32), "MB")


# --- one cell in time -------------------------------------------------------------------------------------------------


def test_what_is_drawn_in_a_gap_joins_what_was_measured_around_it() -> None:
    """Against the mean of a Gaussian process of covariance exp(-hours / MEMORY_H), given all that was measured."""
    rng = np.random.default_rng(0)
    steps, per_hour = 40, 2
    known = rng.lognormal(1, 0.4, (3, steps)).astype(np.float32)
    known[0, 5:12] = known[0, 20:] = np.nan
    known[1, :7] = known[1, 9:30] = np.nan
    known[2] = np.nan
    drawn, floor = rng.lognormal(1, 0.4, (3, steps)).astype(np.float32), np.array([0.1, 0.2, 0.3])
    out = join(known, drawn, floor, per_hour)
    at = np.arange(steps) / per_hour
    whole = np.exp(-np.abs(at[:, None] - at[None]) / MEMORY_H)
    for row in range(2):
        seen = ~np.isnan(known[row])
        ratio = np.log((known[row, seen] + floor[row]) / (drawn[row, seen] + floor[row]))
        told = whole[np.ix_(~seen, seen)] @ np.linalg.solve(whole[np.ix_(seen, seen)], ratio)
        expected = np.maximum((drawn[row, ~seen] + floor[row]) * np.exp(told) - floor[row], 0)
        np.testing.assert_allclose(out[row, ~seen], expected, rtol=1e-5)
        np.testing.assert_array_equal(out[row, seen], known[row, seen])
    np.testing.assert_allclose(out[2], drawn[2], rtol=1e-6)


def test_the_level_of_a_cell_that_was_measured_by_day_is_that_of_its_whole_week() -> None:
    shape = np.maximum(np.exp(WAVE) - FLOOR, 0)
    week = 40.0 * shape / shape.mean() * np.ones((2, 1))
    week[0, np.isin(HOUR % 24, range(12))] = np.nan  # the quiet half
    assert np.nanmean(week[0]) < 35 or np.nanmean(week[0]) > 45
    level = known_cells(week).level(np.broadcast_to(np.log(shape / shape.mean() + FLOOR), (2, WEEK)))
    np.testing.assert_allclose(level, 40.0, rtol=1e-6)


# --- weeks ------------------------------------------------------------------------------------------------------------


def weeks_about(shared: NDArray[np.float64], cells: int, seed: int, spread: float = 0.3) -> KnownCells:
    rng = np.random.default_rng(seed)
    log = WAVE + shared + rng.normal(0, spread, (cells, WEEK))
    return known_cells(50.0 * np.maximum(np.exp(log) - FLOOR, 0))


def test_the_rhythm_that_measured_cells_share_is_taken_over_as_far_as_it_is_sure() -> None:
    shared = 0.6 * np.sin(2 * np.pi * HOUR / WEEK)
    expected = np.broadcast_to(WAVE, (1, WEEK))
    errors = {}
    for cells in (1, 4, 40):
        known = weeks_about(shared, cells, seed=cells)
        told, rest = known.departures(np.broadcast_to(WAVE, (cells, WEEK)))
        errors[cells] = float(np.sqrt(((told - told.mean() - shared) ** 2).mean()))
        level = known.level(expected.repeat(cells, axis=0))
        np.testing.assert_allclose(told + rest, np.log(known.week / level[:, None] + FLOOR) - WAVE, atol=1e-9)
    assert errors[40] < errors[4] < errors[1] < 0.4 < float(np.sqrt((shared**2).mean()))
    assert errors[40] < 0.1


def test_one_odd_cell_is_not_taken_for_the_rhythm_of_a_town() -> None:
    """It departs by as much as no two networks do: by the variance between networks a fifth of it is believed."""
    shared = 1.2 * np.sin(2 * np.pi * HOUR / WEEK)
    told, _ = weeks_about(shared, 1, seed=0).departures(WAVE[None])
    part = float(told @ shared / (shared @ shared))
    assert 0.15 < part < BETWEEN / (BETWEEN + SPREAD) / 2 + 0.02
    many, _ = weeks_about(shared, 40, seed=0).departures(np.broadcast_to(WAVE, (40, WEEK)))
    assert float(many @ shared / (shared @ shared)) > 0.9  # and forty of them are


def test_what_is_drawn_is_made_as_restless_as_what_was_measured() -> None:
    """Normal noise of spread s about a flat week: the part about the mean of 5 hours has s sqrt(1 - 1/5), and the mean
    size of a normal number is sqrt(2 / pi) of its spread."""
    rng = np.random.default_rng(2)
    flat = np.full((400, WEEK), np.log(1 + FLOOR))
    slow, fast = sizes(0.1 * rng.normal(size=flat.shape), flat, np.ones(flat.shape, dtype=bool))
    assert fast == pytest.approx(0.1 * np.sqrt(0.8 * 2 / np.pi) * (1 + FLOOR), rel=0.01)
    assert slow == pytest.approx(0.1 * np.sqrt(0.2) * (1 + FLOOR), rel=0.02)
    week = np.exp(flat + 0.05 * rng.normal(size=flat.shape)) - FLOOR
    drawn = np.exp(flat[:50] + 0.1 * rng.normal(size=(50, WEEK))) - FLOOR
    slowly, quickly = measured_sizes(known_cells(week), flat, np.arange(50), drawn)
    assert slowly == pytest.approx(0.5, abs=0.03)  # as of 400 cells, wholly believed
    assert quickly == pytest.approx(0.5, abs=0.02)
    one = measured_sizes(known_cells(week[:1]), flat[:1], np.zeros(50, dtype=np.int64), drawn)
    assert one[0] == 1.0  # how places differ cannot be seen in one
    assert one[1] == pytest.approx(0.5 ** (1 / (1 + FEW_FAST)), abs=0.05)
    four = known_cells(week, np.full(week.shape, 4, dtype=np.int64))  # means of four weeks are calmer than each of them
    assert four.sizes(flat)[1] == pytest.approx(known_cells(week).sizes(flat)[1] / np.sqrt(0.4 + 0.6 / 4), rel=1e-6)


def test_a_place_that_was_measured_in_part_is_as_restless_as_it_was_measured(
    milan: tuple[xr.Dataset, xr.Dataset],
) -> None:
    place, traffic = milan
    some = np.arange(0, 100, 10)
    rest = np.setdiff1d(np.arange(100), some)
    real = traffic["internet"].values[rest].astype(float)
    found = []
    for known in (None, traffic.isel(cell=some)):
        drawn = gentraffic.sample(place, model="stouter-fast", rhythm="uomo-nj", known=known)
        order = [drawn["cell_id"].values.tolist().index(cell) for cell in traffic["cell_id"].values[rest].tolist()]
        found.append(roughness_ratio(real, drawn[next(iter(drawn.data_vars))].values[order].astype(float)))
    assert found[0] > 2.5
    assert found[1] < 0.6 * found[0], found


def test_squares_that_depart_alike_are_not_taken_for_calmer_than_they_are(
    milan: tuple[xr.Dataset, xr.Dataset],
) -> None:
    """Weeks of 16 squares side by side, drawn by the model itself, are as far apart as what it draws."""
    place, squares = milan[0], [10 * row + column for row in range(3, 7) for column in range(3, 7)]
    bundle, week = load_bundle("stouter-fast"), make_calendar("2013-11-04", 7, "1h", "Europe/Rome")
    slowly = []
    for seed in range(4):
        drawn = gentraffic.sample(place, model="stouter-fast", rhythm="milan", seed=seed, start="2013-11-04",
                                  holidays="none").isel(cell=squares)  # fmt: skip
        name = str(next(iter(drawn.data_vars)))
        region, _ = prepare_inputs(
            bundle, place, week, Settings(seed=seed + 100, habits="milan"),
            known=lambda ids, ds=drawn, name=name: read_known(ds, name, ids, week, "Europe/Rome"),
        )  # fmt: skip
        assert region.known is not None
        slowly.append(region.known.sizes[0, 0])
    assert np.mean(slowly) == pytest.approx(1.0, abs=0.06)  # 0.92 where the drawn ones have nothing in common


def test_noise_of_few_cells_is_not_taken_for_a_rhythm() -> None:
    sizes = []
    for seed in range(20):
        known = weeks_about(np.zeros(WEEK), 3, seed)
        told, _ = known.departures(np.broadcast_to(WAVE, (3, WEEK)))
        sizes.append(np.sqrt((told**2).mean()))
    assert np.mean(sizes) < 0.06  # the mean of three has 0.3 / sqrt(3) = 0.17


def test_hours_that_nobody_measured_have_what_other_days_have() -> None:
    shared = np.where(HOUR % 24 < 12, 0.5, -0.5)
    known = weeks_about(shared, 30, 0, spread=0.05)
    week = known.week.copy()
    week[:, 72:] = np.nan  # Monday to Wednesday alone
    told, rest = known_cells(week).departures(np.broadcast_to(WAVE, (30, WEEK)))
    np.testing.assert_allclose(told[96:120], told[24:72].reshape(2, 24).mean(axis=0), atol=0.05)
    assert (rest[:, 72:] == 0).all()


def test_cells_hear_measured_ones_as_a_gaussian_process_does() -> None:
    """Against one system of all measured cells, with the regression's own covariances."""
    bundle = load_bundle("stouter-fast")
    place = context(40, seed=3).assign_attrs(timezone="Europe/Rome")
    places = read_places(place)
    places = replace(places, xy_m=places.xy_m * 500 / np.ptp(places.xy_m), source="")
    rows, drawn = np.arange(0, 40, 4), np.arange(40)
    known = replace(known_cells(np.ones((10, WEEK))), rows=rows)
    weight = np.linspace(0.5, 1.5, 10)
    near, share, told = heard(known, bundle.weeks, "milan", places, drawn, weight, 0.8 * NEAR)
    columns = _columns(bundle.weeks, "milan", places, drawn)
    assert columns is not None
    scale = bundle.weeks.networks["milan"].places
    assert scale is not None
    np.testing.assert_array_equal(columns, standard(week_features(places, drawn), scale.centre, scale.spread))
    first = 1 if np.isnan(columns[:, 0]).any() else 0
    apart = np.linalg.norm(places.xy_m[:, None] - places.xy_m[None], axis=-1)
    points = np.nan_to_num(columns)
    whole = likeness(points, points, first) + 0.8 * NEAR * np.exp(-apart / REACH_M)
    weights = np.linalg.solve(whole[np.ix_(rows, rows)] + np.diag(1 / weight), whole[rows])  # (10, 40)
    full = np.zeros((40, 10))
    np.put_along_axis(full, near.astype(np.int64), share.astype(np.float64), axis=1)
    np.testing.assert_allclose(full, weights.T, atol=1e-5)
    variance = np.diag(whole) + 1
    np.testing.assert_allclose(told, (weights * whole[rows]).sum(axis=0) / variance, atol=1e-6)
    assert 0.1 < told.max() < 1


# --- levels -----------------------------------------------------------------------------------------------------------


def test_levels_between_measured_ones_are_their_gaussian_conditional() -> None:
    rng = np.random.default_rng(2)
    xy, doubt = rng.uniform(0, 2000, (12, 2)), np.full(12, 0.7)
    middle, have = rng.normal(0, 1, 12), np.arange(12) < 8
    log = middle + rng.normal(0, 0.7, 12)
    measured = np.where(have, 30 * np.exp(log), np.nan)
    out, unit, told = condition(middle, np.zeros(12), doubt, SQUARES, xy, measured)
    apart = np.linalg.norm(xy[:, None] - xy[None], axis=-1)
    whole = doubt[0] ** 2 * (SQUARES.covariance(apart) + (1 - SQUARES.shared) * np.eye(12))
    seen = log[have] + np.log(30) - np.log(unit) - middle[have]
    weights = np.linalg.solve(whole[np.ix_(have, have)], whole[np.ix_(have, ~have)])
    np.testing.assert_allclose(out[~have], middle[~have] + weights.T @ seen, atol=1e-9)
    left = np.diag(whole)[~have] - (weights * whole[np.ix_(have, ~have)]).sum(axis=0)
    np.testing.assert_allclose(1 - told[~have], left / doubt[0] ** 2, atol=1e-9)
    np.testing.assert_allclose(np.exp(out[have]) * unit, measured[have], rtol=1e-12)


def test_the_control_is_the_mean_of_what_members_draw_also_beside_measured_cells() -> None:
    """Of a network that nobody measured: the mean of a lognormal, whose spread is smaller near measured cells."""
    place = context(30, seed=5)
    place.attrs.pop("network", None)
    places = read_places(place)
    levels, measured = LevelModel({}), np.full(30, np.nan)
    measured[:5] = 7.0
    noise = level_noise(0, range(30), places.xy_m, [SQUARES] * 401)
    control, unit = conditional_levels(levels, places, next(noise), measured, SQUARES)
    drawn = []
    for z in noise:
        log, own = conditional_levels(levels, places, z, measured, SQUARES)
        assert np.allclose(np.exp(log[:5]) * own, 7.0)
        drawn.append(log[5:] + np.log(own) - control[5:] - np.log(unit))
    spread = np.std(drawn, axis=0)
    mean = np.log(np.exp(drawn).mean(axis=0))
    assert np.abs(mean).mean() < 0.15
    assert spread.min() < spread.max()
    assert unit > 0


def test_a_silent_cell_is_silent_and_says_nothing_of_others() -> None:
    middle, xy = np.zeros(4), np.array([[0.0, 0.0], [100.0, 0.0], [200.0, 0.0], [300.0, 0.0]])
    measured = np.array([5.0, np.nan, 0.0, np.nan])
    out, unit, _ = condition(middle, np.zeros(4), np.ones(4), SQUARES, xy, measured)
    assert unit == pytest.approx(5.0)
    assert np.exp(out[2]) * unit < 1e-9
    np.testing.assert_allclose(out[[1, 3]], 0.0, atol=1e-9)


# --- files ------------------------------------------------------------------------------------------------------------


def series(hours: int = 200, cells: int = 6) -> xr.Dataset:
    """Cells 3, 1, 4, 0, 5, 9 of `context`, each hour its own number."""
    utc = make_calendar("2026-01-07", 10, "1h", "Europe/Rome").utc[:hours]
    values = np.arange(cells * hours, dtype=np.float32).reshape(cells, hours)
    ids = np.array([3, 1, 4, 0, 5, 9])[:cells]
    return xr.Dataset(
        {"traffic": (("cell", "time"), values, {"units": "MB"})},
        {"cell_id": ("cell", ids), "time": ("time", utc)},
        {"timezone": "Europe/Rome"},
    )


def test_a_file_is_read_by_id_and_local_hour() -> None:
    ds = series()
    ds["traffic"][0, :] = np.nan  # cell 3 has nothing
    calendar = make_calendar("2026-01-08", 2, "1h", "Europe/Rome")
    known = read_known(ds, "traffic", np.arange(6), calendar, "Europe/Rome")
    assert known.rows.tolist() == [0, 1, 4, 5]  # rising; 9 is not of the place
    assert known.units == "MB"
    np.testing.assert_array_equal(known.values, ds["traffic"].values[[3, 1, 2, 4]][:, 24:72])
    wednesday = 2 * 24  # where the file begins
    assert known.count[0, wednesday : wednesday + 24].tolist() == [2] * 24
    first = ds["traffic"].values[3, 5]
    assert known.week[0, wednesday + 5] == pytest.approx((first + first + 168) / 2)
    off = read_known(ds, "traffic", np.arange(6), calendar, "Europe/Rome", days_off=(0,))  # Thursday the 8th
    assert (off.count[:, 72:96] == known.count[:, 72:96] - 1).all()
    with pytest.raises(NoData, match="none of its 6 cells is one of the place"):
        read_known(ds, "traffic", np.array([77, 78]), calendar, "Europe/Rome")
    silent = ds.assign(traffic=(("cell", "time"), np.zeros((6, 200), dtype=np.float32), ds["traffic"].attrs))
    with pytest.raises(NoData, match="all that was measured in the place is 0"):
        read_known(silent, "traffic", np.arange(6), calendar, "Europe/Rome")
    with pytest.raises(NoData, match="hold NaN alone"):
        read_known(ds, "traffic", np.array([3]), calendar, "Europe/Rome")


def test_nothing_left_to_draw_is_said() -> None:
    ds = series()
    known = read_known(ds, "traffic", np.array([0, 1, 3]), calendar_of(ds["time"].values, "Europe/Rome"), "Europe/Rome")
    with pytest.raises(WrongUse, match="everything is measured already"):
        check_left(known, np.array([0, 1, 2]))
    check_left(replace(known, rows=known.rows[:2], values=known.values[:2]), np.array([0, 1, 2]))


# --- a place ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def milan(shared_data: Path) -> tuple[xr.Dataset, xr.Dataset]:
    """(place, traffic) of 100 squares in the east of Milan that say of no network to be theirs."""
    traffic = read_milan_week(shared_data / "telecom-italia", (BLOCK,))[["internet"]]
    whole = read_context(CONTEXTS / "milan.nc")
    rows = np.flatnonzero(np.isin(whole["cell_id"].values, traffic["cell_id"].values))
    place = whole.isel(cell=rows).assign_attrs(network="")
    return place, traffic.assign_attrs(network="")


def rhythm_error(traffic: xr.Dataset, drawn: xr.Dataset, cells: NDArray[np.int64]) -> float:
    """Mean difference of the total by hour, each over its mean."""
    real = traffic["internet"].values[cells].sum(axis=0, dtype=float)
    order = [drawn["cell_id"].values.tolist().index(cell) for cell in traffic["cell_id"].values[cells].tolist()]
    name = str(next(iter(drawn.data_vars)))
    ours = drawn[name].values.reshape(-1, *drawn[name].shape[-2:]).mean(axis=0)[order].sum(axis=0, dtype=float)
    return float(np.abs(ours / ours.mean() - real / real.mean()).mean())


def test_a_few_measured_cells_bring_the_rhythm_of_the_place(milan: tuple[xr.Dataset, xr.Dataset]) -> None:
    place, traffic = milan
    some = np.sort(np.random.default_rng(1).permutation(100)[:5])
    rest = np.setdiff1d(np.arange(100), some)
    # by the rhythm of another country
    without = gentraffic.sample(place, model="stouter-fast", rhythm="uomo-nj", start="2013-11-04", holidays="none")
    given = gentraffic.sample(place, model="stouter-fast", rhythm="uomo-nj", known=traffic.isel(cell=some))
    before, after = (rhythm_error(traffic, ds, rest) for ds in (without, given))
    assert before > 0.2
    assert after < 0.7 * before, (before, after)
    kept = [given["cell_id"].values.tolist().index(cell) for cell in traffic["cell_id"].values[some].tolist()]
    np.testing.assert_array_equal(given["internet"].values[kept], traffic["internet"].values[some])
    assert given["internet"].attrs["units"] == traffic["internet"].attrs["units"]
    assert given.attrs["measured_cells"] == "5 of 100 cells"
    page = report_page(given)[0]
    assert "Synthetic traffic; measured in part: 5 of 100 cells" in page
    assert "Nothing here was measured" not in page
    (note,) = given_before(given)
    assert "scores are those of a copy" in note
    assert given_before(without) == []
    assert "measured values are kept" in given.attrs["source"]
    level = given["internet"].values.mean() / traffic["internet"].values.mean()
    assert 0.4 < level < 2.5


def test_what_of_a_file_is_not_used_is_said(milan: tuple[xr.Dataset, xr.Dataset]) -> None:
    place, traffic = milan
    some = traffic.isel(cell=[3, 7, 50]).copy(deep=True)
    some["internet"][0] = 0.0
    some = some.assign_coords(cell_id=("cell", [*some["cell_id"].values[:2], 99_999]))
    later = gentraffic.sample(place, model="stouter-fast", known=some, start="2013-12-02", days=2)
    assert later.attrs["measured_cells"] == (
        "2 of 100 cells, in another period, which is followed; 1 of them carried nothing and stays at 0;"
        " 1 of the file is no cell of the place (such as 99999) and was not used"
    )
    named = gentraffic.sample(place, model="stouter-fast", known=traffic.isel(cell=[3]).rename(internet="DL_GB"),
                              service="DL_GB")  # fmt: skip
    assert list(named.data_vars) == ["DL_GB"]


def test_gaps_are_filled_better_than_by_a_draw_of_the_place_alone(milan: tuple[xr.Dataset, xr.Dataset]) -> None:
    place, traffic = milan
    gaps = np.zeros((100, 168), dtype=bool)
    for cell in range(0, 100, 3):
        gaps[cell, 30 + cell // 2 : 54 + cell // 2] = True
    values = traffic["internet"].values.copy()
    values[gaps] = np.nan
    known = traffic.assign(internet=(("cell", "time"), values, traffic["internet"].attrs))
    given = gentraffic.sample(place, model="stouter-fast", known=known, members=4)
    order = [given["cell_id"].values.tolist().index(cell) for cell in traffic["cell_id"].values.tolist()]
    drawn, real = given["internet"].values[:, order], traffic["internet"].values
    np.testing.assert_array_equal(drawn[:, ~gaps], np.broadcast_to(real[~gaps], (4, (~gaps).sum())))
    error = np.abs(drawn[:, gaps].mean(axis=0) - real[gaps]).mean() / real[gaps].mean()
    hour = np.broadcast_to(np.nanmean(values.reshape(100, 7, 24), axis=1)[:, None], (100, 7, 24)).reshape(100, 168)
    assert error < np.abs(hour[gaps] - real[gaps]).mean() / real[gaps].mean()  # the cell's own mean day
    assert error < 0.2


def test_cells_are_the_same_whatever_else_is_drawn(milan: tuple[xr.Dataset, xr.Dataset]) -> None:
    place, traffic = milan
    known = traffic.isel(cell=slice(0, 100, 9))
    whole = gentraffic.sample(place, model="stouter-fast", known=known, members=2)
    some = [str(cell) for cell in place["cell_id"].values[[7, 50, 3]]]
    few = gentraffic.sample(place, model="stouter-fast", known=known, members=2, select=some)
    rows = [whole["cell_id"].values.astype(str).tolist().index(cell) for cell in some]
    np.testing.assert_array_equal(few["internet"].values, whole["internet"].values[:, rows])
    order = np.random.default_rng(0).permutation(100)
    turned = gentraffic.sample(place.isel(cell=order), model="stouter-fast", members=2,
                               known=known.isel(cell=slice(None, None, -1)))  # fmt: skip
    np.testing.assert_array_equal(turned["internet"].values, whole["internet"].values[:, order])


def test_a_store_and_workers_hold_the_same(milan: tuple[xr.Dataset, xr.Dataset], tmp_path: Path) -> None:
    place, traffic = milan
    known = traffic.isel(cell=slice(0, 100, 9))
    whole = gentraffic.sample(place, model="stouter-fast", known=known)
    gentraffic.sample(place, model="stouter-fast", known=known, out=tmp_path / "t.zarr", chunk_cells=30)
    stored = read_traffic(tmp_path / "t.zarr")
    np.testing.assert_array_equal(stored["internet"].values, whole["internet"].values)
    gentraffic.sample(place, model="stouter-fast", known=known, out=tmp_path / "w.zarr", chunk_cells=50, workers=2)
    np.testing.assert_array_equal(read_traffic(tmp_path / "w.zarr")["internet"].values, whole["internet"].values)


def test_a_total_of_the_place_holds_with_what_was_measured(
    milan: tuple[xr.Dataset, xr.Dataset], tmp_path: Path
) -> None:
    place, traffic = milan
    traffic = traffic.copy(deep=True)
    traffic["internet"].attrs["units"] = "MB"
    known = traffic.isel(cell=slice(0, 100, 9))
    carried = float(traffic["internet"].values.sum(dtype=float)) / 7  # in a day; what the cells measured carry is less
    asked = {"model": "stouter-fast", "known": known, "total": f"internet={1.5 * carried / 1000:.6f}GB/day"}
    given = gentraffic.sample(place, members=2, **asked)
    assert given["internet"].attrs["units"] == "MB"  # as measured
    rows = [given["cell_id"].values.tolist().index(cell) for cell in known["cell_id"].values.tolist()]
    for member in given["internet"].values:
        np.testing.assert_array_equal(member[rows], known["internet"].values)
        assert member.sum(dtype=float) / 7 == pytest.approx(1.5 * carried, rel=1e-6)
    gentraffic.sample(place, members=2, **asked, out=tmp_path / "t.zarr", chunk_cells=30)
    np.testing.assert_array_equal(read_traffic(tmp_path / "t.zarr")["internet"].values, given["internet"].values)
    with pytest.raises(WrongUse, match=r"the measured cells .* their gaps filled, carry .*MB then: give more"):
        gentraffic.sample(place, model="stouter-fast", known=known, total="internet=1MB/day")
    with pytest.raises(WrongUse, match=r"the measured file is in 'MB', into which calls cannot be turned"):
        gentraffic.sample(place, model="stouter-fast", known=known, total="internet=5calls/day")


def test_the_file_says_which_cells_were_measured(milan: tuple[xr.Dataset, xr.Dataset]) -> None:
    place, traffic = milan
    some = traffic.isel(cell=[3, 7]).copy(deep=True)
    some["internet"].values[1, 10:30] = np.nan
    given = gentraffic.sample(place, model="stouter-fast", known=some)
    rows = [given["cell_id"].values.tolist().index(cell) for cell in some["cell_id"].values.tolist()]
    steps = given["measured_steps"].values
    assert [steps[row] for row in rows] == [168, 148]
    assert steps.sum() == 316
    assert sorted(map_data(given, "internet")["measured"]) == sorted([[rows[0], 1], [rows[1], 0]])
    later = gentraffic.sample(place, model="stouter-fast", known=some, start="2013-12-02", days=1)
    assert "measured_steps" not in later.coords  # none of its values is a measured one
    assert map_data(later, "internet")["measured"] == []


def test_a_file_of_another_place_is_refused(milan: tuple[xr.Dataset, xr.Dataset]) -> None:
    place, traffic = milan
    away = traffic.isel(cell=[3, 7]).copy(deep=True)
    for name, far in (("lat", 0.7), ("y", 77_800.0)):
        away = away.assign_coords({name: ("cell", away[name].values + far, away[name].attrs)})
    with pytest.raises(
        BadInput, match=r"lies 78 km from where the context has a cell of this id, and so for 2 of 2 ids"
    ):
        gentraffic.sample(place, model="stouter-fast", known=away)


def test_a_total_far_from_what_was_measured_is_noticed(milan: tuple[xr.Dataset, xr.Dataset], tmp_path: Path) -> None:
    place, traffic = milan
    known, day = traffic.isel(cell=slice(0, 100, 4)), float(traffic["internet"].values.sum(dtype=float)) / 7
    asked = {"model": "stouter-fast", "known": known}
    likely = gentraffic.sample(place, total=f"internet={day:.3f}/day", **asked)
    assert "check the amount" not in likely.attrs.get("warnings", "")
    for times in (0.28, 1000):  # a quarter is measured
        odd = gentraffic.sample(place, total=f"internet={times * day:.3f}/day", **asked)
        assert "times what the measured ones make likely: check the amount and its unit" in odd.attrs["warnings"]
    store = gentraffic.sample(place, total=f"internet={1000 * day:.3f}/day", out=tmp_path / "odd.zarr", **asked)
    assert store.attrs["warnings"] == odd.attrs["warnings"]
    assert read_traffic(tmp_path / "odd.zarr").attrs["warnings"].count("check the amount") == 1


@pytest.mark.parametrize("model", ["stouter-fast", "fomo-base"])
def test_absent_hours_are_gaps_and_what_carried_nothing_tells_nothing(
    milan: tuple[xr.Dataset, xr.Dataset], model: str, tmp_path: Path
) -> None:
    place, traffic = milan
    few = traffic.isel(cell=[3, 7])
    absent = few.isel(time=np.r_[0:20, 30:168])
    nan = few.copy(deep=True)
    nan["internet"].values[:, 20:30] = np.nan
    wanted = gentraffic.sample(place, model=model, known=nan)
    np.testing.assert_array_equal(gentraffic.sample(place, model=model, known=absent)["internet"], wanted["internet"])
    write_traffic(nan, tmp_path / "gaps.nc", gaps=True)
    xr.load_dataset(tmp_path / "gaps.nc").isel(time=np.r_[0:20, 30:168]).to_netcdf(tmp_path / "absent.nc")
    given = gentraffic.sample(place, model=model, known=tmp_path / "absent.nc")
    np.testing.assert_array_equal(given["internet"], wanted["internet"])
    far = few.assign_coords(time=few["time"].values + np.where(np.arange(168) > 80, 365 * 10, 0).astype("m8[D]"))
    with pytest.raises(BadInput, match="not evenly spaced"):  # a mistake in a date is no gap
        gentraffic.sample(place, model=model, known=far)
    with pytest.raises(NoData, match="all that was measured in the place is 0"):
        gentraffic.sample(place, model=model, known=few.assign(internet=few["internet"] * 0))


def test_a_dry_run_says_what_of_a_file_is_the_place_s(
    milan: tuple[xr.Dataset, xr.Dataset], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place, traffic = milan
    write_context(place, tmp_path / "place.nc")
    files = {"some": traffic.isel(cell=slice(0, 100, 9)), "all": traffic,
             "other": traffic.isel(cell=[3]).assign_coords(cell_id=("cell", ["hall"]))}  # fmt: skip
    ends = {}
    for name, known in files.items():
        write_traffic(known, tmp_path / f"{name}.nc")
        words = ["sample", "--known", f"{tmp_path / name}.nc", "--context", str(tmp_path / "place.nc"), "--dry-run"]
        ends[name] = run([*words, "-o", str(tmp_path / "x.nc")])
    told = capsys.readouterr()
    assert ends == {"some": 0, "all": 2, "other": 3}
    assert told.out.splitlines()[0] == "measured, at least in part: 12 of 100 cells"
    assert "everything is measured already, there is nothing left to draw" in told.err
    assert "none of its 1 cells is one of the place (its first is 'hall')" in told.err
    assert not (tmp_path / "x.nc").exists()


def test_ids_are_the_same_as_numbers_and_as_text(milan: tuple[xr.Dataset, xr.Dataset]) -> None:
    place, traffic = milan
    known = traffic.isel(cell=slice(0, 100, 9))
    numbers = gentraffic.sample(place, model="stouter-fast", known=known)
    text = known.assign_coords(cell_id=("cell", [str(cell) for cell in known["cell_id"].values]))
    given = gentraffic.sample(place, model="stouter-fast", known=text)
    np.testing.assert_array_equal(given["internet"].values, numbers["internet"].values)
    assert given.attrs["measured_cells"] == "12 of 100 cells"
    np.testing.assert_array_equal(given["measured_steps"].values, numbers["measured_steps"].values)


def test_a_file_without_positions_needs_a_place(milan: tuple[xr.Dataset, xr.Dataset]) -> None:
    _, traffic = milan
    some = traffic.isel(cell=[3, 7])
    bare = some.drop_vars([name for name in some.coords if name not in ("cell_id", "time")]).assign_attrs(
        kind="unplaced"
    )
    bare.attrs = {name: bare.attrs[name] for name in ("kind", "timezone", "network") if name in bare.attrs}
    with pytest.raises(WrongUse, match="known: the file does not say where its cells lie: add city, context"):
        gentraffic.sample(model="stouter-fast", known=bare)


def test_one_service_is_drawn_the_one_that_is_measured(milan: tuple[xr.Dataset, xr.Dataset]) -> None:
    place, traffic = milan
    some = traffic.isel(cell=slice(0, 100, 9))
    with pytest.raises(
        WrongUse, match="service=call_in: known holds internet alone, which is what is drawn: name it internet"
    ):
        gentraffic.sample(place, model="stouter-fast", known=some, service="internet,call_in")
    calls = some.rename(internet="call_in")
    drawn = gentraffic.sample(place, model="stouter-fast", known=calls)
    assert list(drawn.data_vars) == ["call_in"]
    rows = [drawn["cell_id"].values.tolist().index(cell) for cell in calls["cell_id"].values.tolist()]
    np.testing.assert_array_equal(drawn["call_in"].values[rows], calls["call_in"].values)
    sums = some.rename(internet="calls")
    with pytest.raises(WrongUse, match="the sum of call_in, call_out: give each of these"):
        gentraffic.sample(place, model="stouter-fast", known=sums)


def test_a_model_that_draws_whole_weeks_says_what_to_take() -> None:
    whole = replace(load_bundle("stouter-fast"), weeks=ExpectedWeeks())
    with pytest.raises(WrongUse, match="cannot be given measured traffic; give --model stouter-fast or fomo-base"):
        whole.info.check("known", "k.nc")


def test_few_measured_cells_tell_the_total_without_bias() -> None:
    """1,000 cells of log-normal surprises about an even law: whichever three are measured, in the mean members draw the
    total that there is. By the mean of their logarithms alone it would be exp(1 / 3), 1.4 times that."""
    rng = np.random.default_rng(5)
    alone, places = Likeness(0.0), 1000
    middle, doubt = np.full(places, -0.5), np.ones(places)
    found: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(3000):
        real = np.exp(rng.normal(size=places) - 0.5)
        measured = np.full(places, np.nan)
        measured[:3] = real[:3]
        for even, totals in found.items():
            apart = rng.normal(size=places)
            log, unit, _ = condition(middle, apart, doubt, alone, np.zeros((places, 2)), measured, float(even))
            totals.append(float((np.exp(log) * unit)[3:].mean() / real[3:].mean()))
    assert np.mean(found[True]) == pytest.approx(1.0, abs=0.05)
    assert np.mean(found[False]) == pytest.approx(np.exp(1 / 3), abs=0.07)


def test_the_variance_of_a_mean_is_that_of_simulated_surprises() -> None:
    rng = np.random.default_rng(6)
    xy, doubt, like = rng.uniform(0, 1500, (12, 2)), rng.uniform(0.5, 1.5, 12), Likeness(0.6)
    apart = np.linalg.norm(xy[:, None] - xy[None], axis=-1)
    covariance = 0.6 * np.exp(-apart / 1000.0) + 0.4 * np.eye(12)
    drawn = doubt * rng.multivariate_normal(np.zeros(12), covariance, 40_000)
    assert variance_of_mean(doubt, like, xy) == pytest.approx(drawn.mean(axis=1).var(), rel=0.03)
