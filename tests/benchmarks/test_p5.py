"""benchmarks/p5.py: its regression is the package's own, written a second time; what it says of errors is so."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from benchmark_scripts import FOLDER, script
from bundle_examples import context, source

from gentraffic.modelling.expected_week import fit_week, week_features
from gentraffic.modelling.features import read_places
from gentraffic.modelling.levels import Law, LevelModel, activity
from gentraffic.modelling.measured import Source

HOURS = np.arange(168)


def quiet_weekends(cells: int, slope: float = 0.5) -> Source:
    """Cells whose log weekends fall by the slope with the shops around them; four of them to a location."""
    rng = np.random.default_rng(0)
    places = read_places(context(cells, "alpha", 0))
    shops = week_features(places)[:, 1 + 6]
    weekend = np.where(HOURS >= 120, -slope * (shops / shops.std())[:, None], 0.0)
    ratio = np.exp(np.cos(2 * np.pi * HOURS / 24) + weekend + rng.normal(0, 0.2, (cells, 168)))
    ratio = (ratio / ratio.mean(axis=1, keepdims=True)).astype(np.float32).reshape(cells, 7, 24)
    level = np.exp(rng.normal(0, 0.5, cells))
    plain = replace(source("alpha", cells, days=7), places=places, location=np.arange(cells) // 4)
    return replace(plain, ratio=ratio, clean=ratio, level=level, weekday=0)


def test_the_trial_of_what_is_there_is_the_regression_of_the_package() -> None:
    p5 = script("p5")
    every = quiet_weekends(80)
    assert every.places is not None
    assert every.places.lon_lat is not None
    km = (every.places.lon_lat - every.places.lon_lat[0]) * 111.32
    km[:, 0] *= np.cos(np.radians(every.places.lon_lat[0, 1]))
    places = replace(every.places, xy_m=km * 1000, known={"stations": np.log(every.places.poi_count.sum(axis=1) + 1.0)})
    every = replace(every, places=places)
    train, held = every.only(np.arange(60)), every.only(np.arange(60, 80))
    columns = week_features(places)
    usual = ((columns[:, :1], 0.3, 1.0), (columns[:, 1:9], 0.3, 0.5), (columns[:, 9:], 0.03, 0.2))
    expected, log, left_out, times = p5.Trial(usual)(train, held)
    week, told = fit_week(train)
    np.testing.assert_allclose(expected, week.log(week.scores(places, held.rows)), atol=5e-3)
    np.testing.assert_allclose(left_out, told, atol=5e-3)
    assert np.abs(expected - log.mean(axis=0)).max() > 0.1, "places are told apart"
    assert (times == 1).all()
    real = p5.log_weeks(held)
    known = p5.Trial(usual, known="mean")(train, held)[0]
    np.testing.assert_allclose(np.average(real - known, axis=0, weights=held.level**0.5), 0.0, atol=1e-9)
    crowd = p5.Trial(usual, crowd=0.5)(train, held)[0]
    np.testing.assert_allclose(crowd, expected, atol=1e-12, err_msg="all locations have as many cells")


def test_a_mean_week_of_its_own_is_told_from_a_fault() -> None:
    p5 = script("p5")
    every = quiet_weekends(80, slope=0.05)
    train, held = every.only(np.arange(60)), every.only(np.arange(60, 80))
    usual = p5.errors_apart(train, held, 2)[0]
    shift = np.where(HOURS >= 120, 0.5, 1.0).reshape(7, 24).astype(np.float32)
    quiet = held.ratio * shift / (held.ratio * shift).mean(axis=(1, 2), keepdims=True)
    shared, found, lags = p5.errors_apart(train, replace(held, ratio=quiet), 2)
    assert shared > 5 * usual, "all cells of the region depart alike"
    ratio, weekend, acf, rhythm, _ = found.T
    assert ratio[0] == 1.0
    assert weekend[0] > 0.2
    assert abs(weekend[1]) < 0.05, "with its mean week known, nothing remains"
    assert ratio[1] < 0.8
    assert acf[1] < acf[0]
    assert rhythm[1] < rhythm[0] / 3
    np.testing.assert_allclose(np.abs(lags).mean(axis=1), acf, atol=2e-3)
    errors = np.array([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]]).T
    np.testing.assert_allclose(p5.leaning(errors), [2.0 / 1.0 * 3**0.5, 0.0])


def test_neighbours_that_depart_alike_are_seen() -> None:
    p5 = script("p5")
    every = quiet_weekends(80)
    assert every.places is not None
    xy = np.stack([np.arange(80) // 2 * 5000.0 + np.arange(80) % 2 * 200.0, np.zeros(80)], axis=1)
    apart = replace(every, places=replace(every.places, xy_m=xy), location=np.arange(80))
    alone = p5.alike_near(apart)[0]
    pairs = apart.ratio.copy()
    pairs[1::2] = pairs[::2]
    near = p5.alike_near(replace(apart, ratio=pairs, clean=pairs))[0]
    assert abs(alone) < 0.3
    assert near > 0.8


def test_ranges_say_which_part_is_wrong() -> None:
    """Levels twice as far from the law as it says: with the network's own noise nine of ten lie within."""
    p5 = script("p5")
    places = read_places(context(400, "alpha", 0))
    rng = np.random.default_rng(3)
    law = Law(slope=1.0, noise=0.4, lowest=-50.0, highest=50.0)
    levels = LevelModel({}, law=law)
    log = activity(places) + np.log(places.area_km2) + rng.normal(0, 0.8, 400)
    week = np.exp(rng.normal(0, 0.3, (400, 168)))
    real = np.exp(log)[:, None] * week / week.mean(axis=1, keepdims=True)
    z = np.concatenate([np.zeros((1, 400)), rng.standard_normal((p5.MEMBERS - 1, 400))])
    shape = np.exp(rng.normal(0, 0.3, (p5.MEMBERS, 400, 168)))
    unmeasured = replace(places, network="")
    drawn = np.exp(levels.draw(unmeasured, z))[..., None] * shape / shape.mean(axis=2, keepdims=True)
    held = replace(source("alpha", 400, days=7), places=places, rows=np.arange(400), level=np.exp(log))
    as_is, known, _, own_noise, noise, own, slope = p5.ranges(real, drawn, levels, held)
    assert noise == 0.4
    assert own == pytest.approx(0.8, abs=0.1)
    assert slope == pytest.approx(1.0, abs=0.3)
    assert known == pytest.approx(0.88, abs=0.05)
    assert as_is < own_noise - 0.05
    assert own_noise == pytest.approx(0.88, abs=0.06)


def test_squares_of_cells_sum_those_that_lie_in_them() -> None:
    p5 = script("p5")
    row, column = np.divmod(np.arange(16), 4)
    xy = p5.CELL_M * np.stack([column, row], axis=1) + 1e6
    onto = p5.in_squares(xy, 2 * p5.CELL_M)
    grid = np.arange(16.0)
    want = grid.reshape(2, 2, 2, 2).sum(axis=(1, 3))
    np.testing.assert_array_equal(np.sort(onto @ grid), np.sort(want.ravel()))
    assert (onto.sum(axis=0) == 1).all()
    assert len(p5.in_squares(xy, p5.CELL_M)) == 16


@pytest.mark.slow
def test_levels_by_the_law_are_those_of_the_record(shared_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Ten seconds: Milan and Helsinki, by blocks; what the page of results says is what the command prints."""
    records = script("records")
    script("p5").levels(shared_data)
    record = json.loads((FOLDER.parent / "docs" / "results" / "data" / "levels.json").read_text(encoding="utf-8"))
    found = {name: figures for name, *figures in records.refreshed("levels", record, capsys.readouterr().out)["rows"]}
    for name, *figures in record["rows"]:
        same = found[name]
        np.testing.assert_allclose(same, figures, atol=2e-3, err_msg=name)
