"""The ridge of weeks on what stands around against scikit-learn's, refits without each location, and what it finds."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
from bundle_examples import context, source
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.linear_model import Ridge

from gentraffic.modelling.expected_week import (
    COLUMNS,
    PENALTY,
    SITES,
    WEIGHT,
    ExpectedWeeks,
    expected_of,
    fit_week,
    fit_weeks,
    from_monday,
    week_features,
)
from gentraffic.modelling.features import read_places
from gentraffic.modelling.measured import Source
from gentraffic.modelling.transform import FLOOR, Scaler
from gentraffic.modelling.weekly_profile import cell_weeks

HOURS = np.arange(168)


def offices(cells: int = 200, noise: float = 0.2, seed: int = 0) -> tuple[Source, NDArray[np.float64]]:
    """Cells whose weekend falls with their share of shops, in one week; and the true log ratio of the weekend."""
    rng = np.random.default_rng(seed)
    place = context(cells, "alpha", seed)
    counts = rng.poisson(4.0, (cells, 8)) + 1
    counts[:, 6] = rng.poisson(np.exp(rng.normal(1.0, 1.0, cells)) + 0.5)
    places = read_places(place.assign(poi_count=(("cell", "category"), counts.astype(np.int32))))
    shops = week_features(places)[:, 2 + 6]
    weekend = -0.5 * (shops - shops.mean()) / shops.std() - 0.3
    day = 1 + 0.6 * np.cos(2 * np.pi * (HOURS % 24 - 14) / 24)
    log = np.log(day) + np.where(HOURS >= 120, weekend[:, None], 0.0) + rng.normal(0, noise, (cells, 168))
    ratio = np.exp(log)
    ratio = (ratio / ratio.mean(1, keepdims=True)).astype(np.float32).reshape(cells, 7, 24)
    plain = source("alpha", cells, days=7)
    level = np.exp(rng.normal(0, 0.5, cells))
    return replace(
        plain, ratio=ratio, clean=ratio, level=level, weekday=0, places=places, location=np.arange(cells) // 4
    ), weekend


def test_it_is_a_weighted_ridge_and_locations_are_left_out() -> None:
    data, _ = offices(80)
    week, left_out = fit_week(data)
    assert data.places is not None
    x = np.delete(week_features(data.places).astype(np.float64), SITES, axis=1)
    y = np.log(cell_weeks(data).reshape(-1, 168) + FLOOR)
    weight = data.level**WEIGHT / (data.level**WEIGHT).mean()

    def by_sklearn(train: NDArray[np.bool_], test: NDArray[np.bool_]) -> NDArray[np.float64]:
        own = weight[train]
        centre = np.average(x[train], axis=0, weights=own)
        spread = np.sqrt(np.average((x[train] - centre) ** 2, axis=0, weights=own))
        mean = np.average(y[train], axis=0, weights=own)
        ridge = Ridge(alpha=PENALTY, fit_intercept=False).fit((x[train] - centre) / spread, y[train] - mean, own)
        out: NDArray[np.float64] = ridge.predict(np.clip((x[test] - centre) / spread, -3, 3)) + mean
        return out

    every = np.ones(80, dtype=bool)
    np.testing.assert_allclose(week(week_features(data.places).astype(np.float64)), by_sklearn(every, every), atol=1e-3)
    for location in (0, 7):
        held = data.location == location
        np.testing.assert_allclose(left_out[held], by_sklearn(~held, held), atol=1e-3)


def test_places_never_seen_are_told_apart() -> None:
    data, weekend = offices(400)
    train, test = data.only(np.arange(200)), data.only(np.arange(200, 400))
    week, _ = fit_week(train)
    assert test.places is not None
    log = week(week_features(test.places, test.rows).astype(np.float64))
    told = log[:, 120:].mean(1) - log[:, :120].mean(1)
    assert spearmanr(told, weekend[200:]).statistic > 0.9
    nothing, _ = offices(400, seed=1)
    blind = replace(train, places=None)
    flat, _ = fit_week(blind)
    assert np.ptp(flat(week_features(test.places, test.rows).astype(np.float64)), axis=0).max() == 0
    assert nothing.places is not None


def test_another_sources_categories_tell_nothing_and_unknown_sites_are_left_out() -> None:
    data, _ = offices(80)
    assert data.places is not None
    known = replace(data, places=replace(data.places, known={"stations": np.linspace(-1, 3, 80)}))
    week, _ = fit_week(known)
    assert known.places is not None
    with_sites, without = (week_features(p).astype(np.float64) for p in (known.places, data.places))
    assert with_sites.shape == (80, COLUMNS)
    assert np.isnan(without[:, SITES]).all()
    bare, _ = fit_week(data)
    np.testing.assert_allclose(week(without), bare(without), atol=1e-9)  # the fit that never saw them
    assert np.abs(week(with_sites) - week(without)).max() > 1e-3
    np.testing.assert_array_equal(week(with_sites, "AMap"), np.broadcast_to(week.mean, (80, 168)))


def test_any_company_gives_the_same_bits() -> None:
    data, _ = offices(80)
    week, _ = fit_week(data)
    assert data.places is not None
    features = week_features(data.places).astype(np.float64)
    whole = week(features)
    for rows in ([3], [79, 3, 8], range(10, 70)):
        np.testing.assert_array_equal(week(features[list(rows)]), whole[list(rows)])


def test_what_is_taken_away_begins_on_the_weekday_and_leaves_what_moves_within_hours() -> None:
    week = np.stack([HOURS, 1000 + HOURS]).astype(np.float32)
    np.testing.assert_array_equal(from_monday(week, np.array([0, 0]), 1), week)
    turned = from_monday(week, np.array([2, 6]), 1)
    assert turned[0, 0] == 48
    assert turned[1, 24] == 1000
    fine = from_monday(week, np.array([2, 6]), 4).reshape(2, 168, 4)
    np.testing.assert_array_equal(fine[..., 0], turned)
    assert not fine[..., 1:].any()


def test_json_and_back_and_networks_without_a_week_of_their_own() -> None:
    data, _ = offices(80)
    other = replace(source("beta", 16, 7, seed=1), places=None, timezone="Asia/Shanghai")
    weeks, left_out = fit_weeks([data, other])
    assert set(left_out) == {"alpha", "beta"}
    assert weeks.measured == {"alpha": ("Europe/Rome", 20), "beta": ("Asia/Shanghai", 1)}
    back = ExpectedWeeks.from_json(json.loads(json.dumps(weeks.to_json())))
    assert data.places is not None
    features = week_features(data.places).astype(np.float64)
    for name in ("alpha", "beta", "gamma"):
        told = (weeks.scaled(name, features, "", -0.1, 0.5), back.scaled(name, features, "", -0.1, 0.5))
        np.testing.assert_array_equal(*told)
    mean = (weeks.networks["alpha"].mean + weeks.networks["beta"].mean) / 2
    np.testing.assert_allclose(told[0][0], (mean + 0.1) / 0.5, rtol=1e-4)
    scaler = Scaler(mean=-0.1, spread=0.5)
    assert expected_of([data], ExpectedWeeks(), scaler) is None
    expected = expected_of([data, other], weeks, scaler)
    assert expected is not None
    np.testing.assert_array_equal(expected["alpha"], weeks.scaled("alpha", features, "", -0.1, 0.5))
    assert expected["beta"].shape == (16, 168)
