"""Weeks by what stands around against scikit-learn's kernel ridge, refits without each location, and what it finds."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from bundle_examples import context, source
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.decomposition import PCA
from sklearn.kernel_ridge import KernelRidge
from sklearn.metrics.pairwise import haversine_distances, linear_kernel, rbf_kernel

from gentraffic.modelling.expected_week import (
    BENDS,
    BENT,
    COLUMNS,
    COMPONENTS,
    FEW_LOCATIONS,
    LINEAR,
    MOST_CELLS,
    NEIGHBOURS,
    REACH_KM,
    SITES,
    WEIGHT,
    ExpectedWeeks,
    expected_of,
    fit_week,
    fit_weeks,
    from_monday,
    week_features,
)
from gentraffic.modelling.features import FLOOR, KM_PER_DEGREE, Scaler, read_places
from gentraffic.modelling.measured import Source
from gentraffic.modelling.random_streams import WEEKS_M, bilinear
from gentraffic.modelling.weekly_profile import cell_weeks

HOURS = np.arange(168)


def offices(cells: int = 200, noise: float = 0.2, seed: int = 0) -> tuple[Source, NDArray[np.float64]]:
    """Cells whose weekend falls with their share of shops, in one week; and the true log ratio of the weekend."""
    rng = np.random.default_rng(seed)
    place = context(cells, "alpha", seed)
    counts = rng.poisson(4.0, (cells, 8)) + 1
    counts[:, 6] = rng.poisson(np.exp(rng.normal(1.0, 1.0, cells)) + 0.5)
    places = read_places(place.assign(poi_count=(("cell", "category"), counts.astype(np.int32))))
    shops = week_features(places)[:, 1 + 6]
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


def by_sklearn(data: Source, fit: NDArray[np.bool_], told: NDArray[np.bool_], scores: NDArray[np.float64], first: int,
               held: bool = True) -> NDArray[np.float64]:  # fmt: skip
    """What kernel ridge with the same covariances says of scores: the second implementation of the regression."""
    assert data.places is not None
    assert data.places.lon_lat is not None
    weight = data.level**WEIGHT
    weight = weight[fit] / weight[fit].mean()
    x = week_features(data.places, data.rows)[:, first:]
    centre = np.average(x[fit], axis=0, weights=weight)
    spread = np.sqrt(np.average((x[fit] - centre) ** 2, axis=0, weights=weight))
    x = np.clip((x - centre) / spread, -3, 3)
    line, bends = x * np.sqrt(LINEAR[first:]), x * np.sqrt(BENDS[first:])
    at = np.radians(data.places.lon_lat[data.rows, ::-1])
    apart = haversine_distances(at) * 180 / np.pi * KM_PER_DEGREE
    kernel = linear_kernel(line) + BENT * rbf_kernel(bends, gamma=0.5) + NEIGHBOURS * np.exp(-apart / REACH_KM)
    usual = np.average(scores[fit], axis=0, weights=weight) if held else 0.0
    ridge = KernelRidge(alpha=1.0, kernel="precomputed").fit(kernel[np.ix_(fit, fit)], scores[fit] - usual, weight)
    out: NDArray[np.float64] = ridge.predict(kernel[np.ix_(told, fit)])
    return out


def test_it_is_a_gaussian_process_regression_of_principal_components_and_locations_are_left_out() -> None:
    data, _ = offices(80)
    week, left_out = fit_week(data)
    assert data.places is not None
    assert week.places is not None
    log = np.log(cell_weeks(data).reshape(-1, 168) + FLOOR)
    weight = data.level**WEIGHT / (data.level**WEIGHT).mean()
    np.testing.assert_allclose(week.mean, np.average(log, axis=0, weights=weight), atol=1e-4)
    pca = PCA(COMPONENTS, svd_solver="full").fit((log - week.mean) * np.sqrt(weight)[:, None])
    assert np.abs(np.diag(pca.components_ @ week.basis.T)[:1]).min() > 0.99  # PCA takes one more mean away
    np.testing.assert_allclose(week.basis @ week.basis.T, np.eye(COMPONENTS), atol=1e-3)
    scores, every = (log - week.mean) @ week.basis.T, np.ones(80, dtype=bool)
    told, usual = np.empty_like(scores), np.empty_like(scores)
    for location in range(20):
        held = data.location == location
        told[held] = by_sklearn(data, ~held, held, scores, SITES + 1)
        usual[held] = np.average(scores[~held], axis=0, weights=weight[~held])
    best = (weight[:, None] * told * (scores - usual)).sum(0) / (weight[:, None] * told**2).sum(0)
    trust = np.clip(best, 0, 1) * 20 / (20 + FEW_LOCATIONS)
    expected = week.mean + (usual + trust * told) @ week.basis
    expected += np.average(log - expected, axis=0, weights=weight)  # what is left to the network leans to no side
    np.testing.assert_allclose(left_out, expected, atol=3e-3)
    np.testing.assert_allclose(
        week.scores(data.places), trust * by_sklearn(data, every, every, scores, SITES + 1, held=False), atol=3e-3
    )


def test_places_never_seen_are_told_apart() -> None:
    data, weekend = offices(400)
    train, test = data.only(np.arange(200)), data.only(np.arange(200, 400))
    week, _ = fit_week(train)
    assert test.places is not None
    log = week.log(week.scores(test.places, test.rows))
    told = log[:, 120:].mean(1) - log[:, :120].mean(1)
    assert spearmanr(told, weekend[200:]).statistic > 0.9
    flat, _ = fit_week(replace(train, places=None))
    assert not flat.scores(test.places, test.rows).any()


def test_of_many_locations_some_are_left_out_together_and_of_many_cells_some_are_heard() -> None:
    data, weekend = offices(720)
    alone = replace(data, location=np.arange(720))
    week, left_out = fit_week(alone)
    assert week.places is not None
    assert len(week.places.points) == MOST_CELLS
    assert week.locations == 720
    assert spearmanr(left_out[:, 120:].mean(1) - left_out[:, :120].mean(1), weekend).statistic > 0.9


def test_a_map_that_says_nothing_changes_nothing() -> None:
    data, _ = offices(200)
    assert data.places is not None
    elsewhere = np.random.default_rng(0).permutation(200)
    shuffled = replace(data, places=replace(data.places, lon_lat=None), rows=elsewhere)
    log = np.log(cell_weeks(data).reshape(-1, 168) + FLOOR)
    for known, least, most in ((data, 0.5, 1.0), (shuffled, -0.02, 0.02)):
        week, left_out = fit_week(known)
        assert least < 1 - np.var(log - left_out) / np.var(log - week.mean) < most


def test_a_cell_hears_measured_neighbours() -> None:
    data, _ = offices(400)
    assert data.places is not None
    assert data.places.lon_lat is not None
    row, col = np.divmod(np.arange(400), 20)
    hill = np.sin(row / 3.0) * np.cos(col / 3.0)  # of the weekend, over places of which the map says nothing
    ratio = data.ratio * np.exp(0.5 * hill[:, None, None] * (np.arange(7) >= 5)[:, None])
    ratio = (ratio / ratio.mean(axis=(1, 2), keepdims=True)).astype(np.float32)
    flat = replace(data.places, near=0 * data.places.near, far=0 * data.places.far)
    whole = replace(data, ratio=ratio, places=flat, location=np.arange(400) // 20)
    some = np.random.default_rng(0).permutation(400)
    train, test = whole.only(some[:300]), some[300:]
    for positions, least, most in ((data.places.lon_lat, 0.5, 1.0), (data.places.lon_lat + 1.0, -0.3, 0.3)):
        week, _ = fit_week(train)
        log = week.log(week.scores(replace(flat, lon_lat=positions), test))
        told = log[:, 120:].mean(1) - log[:, :120].mean(1)
        assert least < np.corrcoef(told + np.arange(100) * 1e-12, hill[test])[0, 1] < most


def test_another_sources_categories_tell_nothing_and_unknown_sites_are_left_out() -> None:
    data, _ = offices(80)
    assert data.places is not None
    known = replace(data, places=replace(data.places, known={"stations": np.linspace(-1, 3, 80)}))
    week, _ = fit_week(known)
    assert known.places is not None
    columns = week_features(known.places)
    assert columns.shape == (80, COLUMNS)
    assert np.isnan(week_features(data.places)[:, SITES]).all()
    bare, _ = fit_week(data)
    np.testing.assert_allclose(week.scores(data.places), bare.scores(data.places), atol=1e-5)  # never saw them
    assert np.abs(week.scores(known.places) - week.scores(data.places)).max() > 1e-3
    assert not week.scores(replace(known.places, source="AMap")).any()


def test_any_company_gives_the_same_bits() -> None:
    data, _ = offices(400)
    week, _ = fit_week(data)
    assert data.places is not None
    whole = week.scores(data.places)
    for rows in ([3], [79, 3, 8], range(10, 270)):
        np.testing.assert_array_equal(week.scores(data.places, list(rows)), whole[list(rows)])
    np.testing.assert_array_equal(week.log(whole[[3]]), week.log(whole)[[3]])


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
    for name in ("alpha", "beta", "gamma"):
        scores = weeks.scores(name, data.places, 80)
        assert scores.any() == (name == "alpha")
        np.testing.assert_array_equal(back.scores(name, data.places, 80), scores)
        told = (weeks.scaled(name, scores, -0.1, 0.5), back.scaled(name, scores, -0.1, 0.5))
        np.testing.assert_array_equal(*told)
    mean = (weeks.networks["alpha"].mean + weeks.networks["beta"].mean) / 2
    np.testing.assert_allclose(told[0][0], (mean + 0.1) / 0.5, rtol=1e-4)
    scaler = Scaler(mean=-0.1, spread=0.5)
    assert expected_of([data], ExpectedWeeks(), scaler) is None
    expected = expected_of([data, other], weeks, scaler)
    assert expected is not None
    scores = weeks.scores("alpha", data.places, 80)
    np.testing.assert_array_equal(expected["alpha"], weeks.scaled("alpha", scores, -0.1, 0.5))
    assert expected["beta"].shape == (16, 168)


def test_neighbours_of_one_location_share_noise_too() -> None:
    """A network of one block of cells has its own mean week alone, but its neighbours may still depart alike."""
    data, _ = offices(64)
    assert data.places is not None
    side = np.arange(8) * 235.0
    xy = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    rng = np.random.default_rng(0)
    points, weight = bilinear(xy, WEEKS_M)
    unique, at = np.unique(points.reshape(-1, 2), axis=0, return_inverse=True)
    field = np.einsum("cp,cpt->ct", weight, rng.standard_normal((len(unique), 168))[at.reshape(64, 4)])
    for share in (0.0, 0.8):
        rest = 0.3 * (np.sqrt(share) * field + np.sqrt(1 - share) * rng.standard_normal((64, 168)))
        week = np.exp(rest)[:, None].reshape(64, 7, 24)
        places = replace(data.places, xy_m=xy)
        block = replace(data, ratio=week.astype(np.float32), location=np.zeros(64, dtype=np.int64), places=places,
                        clean=week.astype(np.float32), rows=np.arange(64))  # fmt: skip
        assert fit_week(block)[0].shared == pytest.approx(share, abs=0.2)
    assert fit_week(replace(block, places=None))[0].shared == 0.0
