"""benchmarks/p5.py: the regression that its trials vary is the package's own, written a second time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from benchmark_scripts import script
from bundle_examples import context, source

from gentraffic.modelling.expected_week import fit_week, week_features
from gentraffic.modelling.features import read_places
from gentraffic.modelling.measured import Source

HOURS = np.arange(168)


def quiet_weekends(cells: int) -> Source:
    """Cells whose weekends fall with the shops around them; four of them to a location."""
    rng = np.random.default_rng(0)
    places = read_places(context(cells, "alpha", 0))
    shops = week_features(places)[:, 1 + 6]
    weekend = np.where(HOURS >= 120, -0.5 * (shops / shops.std())[:, None], 0.0)
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
