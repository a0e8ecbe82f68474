"""Neighbourhood densities against a Gaussian summed over every pair of cells, and what is made of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import traffic_examples
from numpy.typing import NDArray
from scipy import stats

from gentraffic.modelling.features import (
    AROUND_M,
    RADII_M,
    SITE_RADII_M,
    activity_index,
    fit_scale,
    read_places,
    smooth_density,
)
from gentraffic.modelling.levels import LevelModel


def grid(rows: int, cols: int, cell_m: float = 250.0, x0: float = 500_000.0, y0: float = 5_000_000.0) -> NDArray[Any]:
    row, col = np.divmod(np.arange(rows * cols), cols)
    return np.stack([x0 + (col + 0.5) * cell_m, y0 + (row + 0.5) * cell_m], axis=1)


def gaussian_mean(values: NDArray[Any], xy: NDArray[Any], radius: float) -> NDArray[Any]:
    squared = ((xy[:, None] - xy[None, :]) ** 2).sum(2)
    weight = np.exp(-squared / (2 * radius**2))
    mean: NDArray[Any] = weight @ values / weight.sum(1)
    return mean


@pytest.mark.parametrize("radius", [*RADII_M, AROUND_M])
def test_density_is_the_gaussian_mean_over_all_cells(radius: float) -> None:
    rng = np.random.default_rng(0)
    xy = grid(40, 50)
    values = rng.gamma(0.5, 4.0, len(xy))
    got, exact = smooth_density(values, xy, radius), gaussian_mean(values, xy, radius)
    # values without any smoothness of their own are the hardest case; nearest bins would err by 0.8 to 1.4 here
    assert np.abs(got - exact).max() < 0.3 * exact.std()
    assert np.abs(got - exact).std() < 0.06 * exact.std()
    assert abs(got.mean() / exact.mean() - 1) < 0.005


def test_density_of_scattered_stations() -> None:
    rng = np.random.default_rng(1)
    xy = rng.uniform(600_000, 612_000, (1500, 2))
    values = rng.poisson(3.0, 1500).astype(float)
    got, exact = smooth_density(values, xy, 1000.0), gaussian_mean(values, xy, 1000.0)
    assert np.corrcoef(got, exact)[0, 1] > 0.999
    assert np.abs(got - exact).max() < 0.2 * exact.std()


@pytest.mark.parametrize("cells", [grid(20, 20), grid(3, 100), grid(1, 1), grid(2, 2, cell_m=5000.0)])
def test_a_constant_field_stays_constant_up_to_the_edge(cells: NDArray[Any]) -> None:
    for radius in RADII_M:
        np.testing.assert_allclose(smooth_density(np.full(len(cells), 3.0), cells, radius), 3.0, rtol=1e-9)


def test_groups_of_cells_far_apart_do_not_touch() -> None:
    near, far = grid(10, 10), grid(10, 10, x0=900_000.0, y0=6_000_000.0)
    both = np.concatenate([near, far])
    values = np.concatenate([np.full(100, 1.0), np.full(100, 50.0)])
    got = smooth_density(values, both, 500.0)
    np.testing.assert_allclose(got[:100], 1.0, rtol=1e-9)
    np.testing.assert_allclose(got[100:], 50.0, rtol=1e-9)
    rng = np.random.default_rng(2)
    values[:100] = rng.gamma(1.0, 3.0, 100)
    alone = smooth_density(values[:100], near, 500.0)
    np.testing.assert_allclose(smooth_density(values, both, 500.0)[:100], alone, rtol=1e-9)


def test_a_country_of_scattered_towns_fits_into_memory() -> None:
    towns = np.concatenate([grid(2, 2, x0=1e6 * i, y0=3e5 * i) for i in range(60)])  # 60,000 km from end to end
    got = smooth_density(np.ones(len(towns)), towns, 500.0)
    np.testing.assert_allclose(got, 1.0, rtol=1e-9)


def test_a_single_source_spreads_over_its_radius() -> None:
    xy = grid(61, 61)
    values = np.zeros(len(xy))
    centre = 30 * 61 + 30
    values[centre] = 1.0
    got = smooth_density(values, xy, 1000.0).reshape(61, 61)
    away = np.abs(np.arange(61) - 30) * 250.0
    spread = np.sqrt((got * away[None, :] ** 2).sum() / got.sum())  # standard deviation along one axis
    assert 980 < spread < 1010
    for turned in (got[::-1], got[:, ::-1], got.T):
        np.testing.assert_allclose(got, turned, atol=0.02 * got.max())


def test_scale_shrinks_the_spread_of_few_cells() -> None:
    rng = np.random.default_rng(3)
    many = rng.normal(2.0, 3.0, (5000, 2))
    scale = fit_scale(many)
    np.testing.assert_allclose(scale.mean, many.mean(0))
    np.testing.assert_allclose(scale.spread, many.std(0), rtol=0.01)
    np.testing.assert_allclose(fit_scale(many[:1]).spread, np.sqrt(16 * 0.25 / 17))  # one cell says nothing
    few = many[:16]
    np.testing.assert_allclose(fit_scale(few).spread, np.sqrt((few.var(0) + 0.25) / 2))
    np.testing.assert_allclose(fit_scale(np.zeros((0, 3))).spread, 0.5)
    standard = scale(many)
    np.testing.assert_allclose(standard.mean(0), 0, atol=0.01)
    assert np.abs(fit_scale(many)(np.array([[1e6, -1e6]]))).max() == 5.0  # held within five spreads


def test_places_of_a_context() -> None:
    context = traffic_examples.context("grid", n=12)
    places = read_places(context)
    raw = context["poi_count"].values
    np.testing.assert_allclose(np.expm1(places.counts), raw, atol=1e-9)
    assert places.density.shape == (144, len(RADII_M))
    assert places.sites is None
    xy = np.stack([context["x"].values, context["y"].values], 1)
    around = np.stack([gaussian_mean(column, xy, AROUND_M) for column in raw.T.astype(float)], 1)
    assert np.corrcoef(np.expm1(places.around).ravel(), around.ravel())[0, 1] > 0.95
    known = context.assign(stations=("cell", np.arange(144.0)))
    sites = read_places(known).sites
    assert sites is not None
    assert sites.shape == (144, len(SITE_RADII_M))
    unknown = context.assign(stations=("cell", np.full(144, np.nan)))
    assert read_places(unknown).sites is None  # nothing known is not nothing there
    assert read_places(context.assign_attrs(network="uomo-sd")).network == "uomo-sd"


def town(n: int = 24) -> Any:
    """A context with all its POIs around one centre."""
    context = traffic_examples.context("grid", n=n)
    rng = np.random.default_rng(4)
    row, col = np.divmod(np.arange(n * n), n)
    away = np.hypot(row - (n - 1) / 2, col - (n - 1) / 2) * traffic_examples.SIDE
    counts = rng.poisson(12 * np.exp(-((away / 900) ** 2)), (8, n * n)).T.astype(np.int32)
    return context.assign(poi_count=(("cell", "category"), counts)), away


def test_activity_falls_with_the_distance_to_the_pois() -> None:
    context, away = town()
    index = activity_index(read_places(context))
    assert abs(index.mean()) < 1e-9
    assert index.std() == pytest.approx(1.0)
    assert stats.spearmanr(index, -away).statistic > 0.97
    assert index[np.argmin(away)] > 1.5


def test_half_the_pois_are_about_half_the_activity_however_even_a_place_is() -> None:
    even = traffic_examples.context("grid", n=24)
    counts = np.random.default_rng(5).poisson(4.0, (24 * 24, 8)).astype(np.int32)
    even = even.assign(poi_count=(("cell", "category"), counts))
    for context in (even, town()[0]):
        old = context["poi_count"].values
        halved = context.assign(
            poi_count=(("cell", "category"), old // 2), poi_count_before=(("cell", "category"), old)
        )
        before, after = activity_index(read_places(context)), activity_index(read_places(halved))
        told = LevelModel({}).relative(read_places(context))[0], LevelModel({}).relative(read_places(halved))[0]
        assert (after <= before).all()
        assert np.exp(told[1]).sum() / np.exp(told[0]).sum() == pytest.approx(0.5, abs=0.15)
    assert read_places(even).density.std(axis=0).max() < 0.2  # where a spread of its own would make nothing of it


def test_activity_does_not_care_which_category_it_is() -> None:
    context, _ = town()
    turned = context.assign(poi_count=(("cell", "category"), context["poi_count"].values[:, ::-1]))
    np.testing.assert_allclose(activity_index(read_places(turned)), activity_index(read_places(context)))


def test_known_sites_count_as_much_as_pois() -> None:
    context, _ = town()
    east = context["x"].values - context["x"].values.mean()
    sites = np.where(east > 0, 3.0, 0.0)
    with_sites = activity_index(read_places(context.assign(stations=("cell", sites))))
    pois, only = activity_index(read_places(context)), np.corrcoef(with_sites, east)[0, 1]
    assert only > 0.5
    assert np.corrcoef(with_sites, pois)[0, 1] > 0.5
    assert abs(np.corrcoef(pois, east)[0, 1]) < 0.1


def test_activity_where_there_is_nothing_to_tell_cells_apart() -> None:
    context = traffic_examples.context("grid", n=4)
    empty = read_places(context.assign(poi_count=(("cell", "category"), np.zeros((16, 8), dtype=np.int32))))
    assert (activity_index(empty) == 0).all()
    one = replace(empty, poi_count=empty.poi_count[:1], density=empty.density[:1], xy_m=empty.xy_m[:1])
    assert activity_index(one).tolist() == [0.0]


def test_order_of_the_cells_does_not_matter() -> None:
    context, _ = town(16)
    order = np.random.default_rng(5).permutation(256)
    a, b = read_places(context), read_places(context.isel(cell=order))
    np.testing.assert_allclose(b.density, a.density[order], rtol=1e-9)
    np.testing.assert_allclose(activity_index(b), activity_index(a)[order], rtol=1e-9, atol=1e-9)
