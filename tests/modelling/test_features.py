"""Neighbourhood densities against a Gaussian summed over every pair of cells, and what is made of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import traffic_examples
from numpy.typing import NDArray
from scipy import stats

from gentraffic.dataset.memmap import Disk
from gentraffic.modelling.features import (
    AROUND_M,
    FAR_M,
    MARGIN_M,
    NEAR_M,
    POI_FLOOR,
    SOURCES,
    VARIABLES,
    fit_scale,
    reach_m,
    read_places,
    smooth_density,
    tiles,
)
from gentraffic.modelling.levels import LevelModel, activity, elasticities

RADII_M = NEAR_M[1:] + FAR_M


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
    assert places.known == {}
    xy = np.stack([context["x"].values, context["y"].values], 1)
    around = np.stack([gaussian_mean(column, xy, AROUND_M) for column in raw.T.astype(float)], 1)
    assert np.corrcoef(np.expm1(places.around).ravel(), around.ravel())[0, 1] > 0.95
    area = (traffic_examples.SIDE / 1000) ** 2
    for part, radii in ((places.near, NEAR_M), (places.far, FAR_M)):
        told = [np.log(gaussian_mean(raw[:, 2].astype(float), xy, r) / area + POI_FLOOR) for r in radii]
        assert np.corrcoef(part[:, 2], np.mean(told, axis=0))[0, 1] > 0.98
        assert abs(part[:, 2].mean() - np.mean(told)) < 0.1
    known = context.assign(stations=("cell", np.arange(144.0)))
    sites = read_places(known).known["stations"]
    kind = VARIABLES["stations"]
    told = [np.log(gaussian_mean(np.arange(144.0), xy, r) / area + kind.floor) for r in kind.radii_m]
    np.testing.assert_allclose(sites, np.mean(told, axis=0), atol=0.1)
    unknown = context.assign(stations=("cell", np.full(144, np.nan)))
    assert read_places(unknown).known == {}  # nothing known is not nothing there
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
    index = activity(read_places(context))
    assert stats.spearmanr(index, -away).statistic > 0.97


def test_half_the_pois_are_half_to_the_power_of_the_elasticity() -> None:
    """What if: 0.5^e of the traffic, with the elasticity e that the law states, however even a place is."""
    even = traffic_examples.context("grid", n=24)
    counts = 2 * np.random.default_rng(5).poisson(40.0, (24 * 24, 8)).astype(np.int32)
    even = even.assign(poi_count=(("cell", "category"), counts))
    halved = even.assign(poi_count=(("cell", "category"), counts // 2), poi_count_before=(("cell", "category"), counts))
    told = [LevelModel({}).relative(read_places(c))[0] for c in (even, halved)]
    ratio = np.exp(told[1]) / np.exp(told[0])
    np.testing.assert_allclose(ratio, 0.5 ** elasticities(["pois"])["pois"], rtol=1e-2)


def test_what_is_not_known_is_left_out_and_what_is_known_adds() -> None:
    assert elasticities(["population"])["population"] == pytest.approx(0.75, abs=0.05)  # Helsinki: 0.7 to 0.8
    both = elasticities(["pois", "stations"])
    assert both["pois"] < elasticities(["pois"])["pois"]
    assert sum(both.values()) > elasticities(["pois"])["pois"]
    context, _ = town()
    bare = activity(read_places(context))
    blank = context.assign(population=("cell", np.zeros(context.sizes["cell"])))
    np.testing.assert_array_equal(activity(read_places(blank)), bare)
    east = context["x"].values - context["x"].values.mean()
    known = activity(read_places(context.assign(population=("cell", np.where(east > 0, 300.0, 30.0)))))
    assert np.corrcoef(known - bare, east)[0, 1] > 0.5


def test_an_edge_is_no_desert_and_a_uniform_place_has_one_level() -> None:
    even = traffic_examples.context("grid", n=20)
    rng = np.random.default_rng(6)
    shops = np.zeros((400, 8), dtype=np.int32)
    shops[:, 6] = rng.poisson(200.0, 400)
    level = np.exp(LevelModel({}).relative(read_places(even.assign(poi_count=(("cell", "category"), shops))))[0])
    assert level.max() / level.min() < 1.1


def test_amap_and_openstreetmap_count_different_things() -> None:
    context, _ = town()
    amap = context.assign_attrs(attribution="UoMo (FoMo), Tsinghua University")
    apart = read_places(context).pois - read_places(amap).pois
    np.testing.assert_allclose(apart, SOURCES["AMap"])


def test_a_crop_with_its_margin_has_the_features_of_the_whole() -> None:
    context, _ = town(80)
    row, col = np.divmod(np.arange(80 * 80), 80)
    inside = (abs(row - 40) < 8) & (abs(col - 40) < 8)
    reach = int(MARGIN_M / traffic_examples.SIDE)
    around = ~inside & (abs(row - 40) < 8 + reach) & (abs(col - 40) < 8 + reach)
    crop = context.isel(cell=np.flatnonzero(inside)).assign(
        margin_poi_count=(("margin", "category"), context["poi_count"].values[around]),
        margin_x=("margin", context["x"].values[around]),
        margin_y=("margin", context["y"].values[around]),
    )
    whole, part = read_places(context), read_places(crop)
    np.testing.assert_allclose(part.pois, whole.pois[inside], atol=0.01)
    np.testing.assert_allclose(part.around, whole.around[inside], atol=1e-6)
    alone = read_places(context.isel(cell=np.flatnonzero(inside)))
    assert np.abs(alone.pois - whole.pois[inside]).max() > 0.1  # without it, an edge knows only one side
    ratios = [LevelModel({}).relative(p)[0] for p in (whole, part)]
    apart = ratios[1] - ratios[0][inside]
    assert np.ptp(apart) < 0.02


def test_a_remote_outlier_changes_nobody_elses_level() -> None:
    context, _ = town(80)
    model = LevelModel({})
    sites = np.random.default_rng(8).poisson(1.0, 6400).astype(float)
    spiked = sites.copy()
    spiked[0] = 1e5
    levels = [model.absolute(read_places(context.assign(stations=("cell", s)))) for s in (sites, spiked)]
    row, col = np.divmod(np.arange(6400), 80)
    far = np.maximum(row, col) * traffic_examples.SIDE > 6000
    np.testing.assert_allclose(levels[1][far], levels[0][far], atol=1e-9)


def test_order_of_the_cells_does_not_matter() -> None:
    context, _ = town(16)
    order = np.random.default_rng(5).permutation(256)
    a, b = read_places(context), read_places(context.isel(cell=order))
    np.testing.assert_allclose(b.pois, a.pois[order], rtol=1e-6)
    np.testing.assert_allclose(activity(b), activity(a)[order], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("margin", [False, True])
def test_tiles_with_their_halo_give_the_bits_of_the_whole(
    margin: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(3)
    context, _ = town(120)  # 28 km wide
    order = rng.permutation(120 * 120)  # in no order, and a far town beside it
    homes = rng.gamma(0.3, 1000, 120 * 120).astype(np.float32)
    homes[::7] = np.nan
    context = context.assign(population=("cell", homes), land_area_water=("cell", np.abs(homes) % 300)).isel(cell=order)
    context = context.assign_coords(x=context["x"] + np.where(context["row"] > 100, 90_000.0, 0.0))
    if margin:
        inside = context["col"].values < 90
        xy = {f"margin_{axis}": ("margin", context[axis].values[~inside]) for axis in ("x", "y")}
        counts = ("margin", "category"), context["poi_count"].values[~inside]
        context = context.isel(cell=np.flatnonzero(inside)).assign(margin_poi_count=counts, **xy)
    whole = read_places(context)
    monkeypatch.setattr("gentraffic.modelling.features.MOST_CELLS", 3000)
    sizes = [int(inner.sum()) for _, inner in tiles(whole.xy_m, reach_m())]
    assert len(sizes) > 3
    assert sum(sizes) == len(whole.xy_m)
    held = read_places(context, Disk(tmp_path))
    assert isinstance(held.near, np.memmap)
    for name in ("poi_count", "near", "far", "xy_m", "lon_lat", "area_km2"):
        np.testing.assert_array_equal(getattr(held, name), getattr(whole, name))
    assert set(held.known) == {"population", "dry"}
    for name, values in whole.known.items():
        np.testing.assert_array_equal(held.known[name], values)
        assert np.isfinite(values).sum() > 1000


def test_tiles_are_each_cell_once_with_all_that_is_near() -> None:
    xy = np.random.default_rng(4).uniform(0, 50_000, (4000, 2)) * [1.0, 0.3]
    seen = np.zeros(4000, dtype=int)
    for rows, inner in tiles(xy, 2000.0, most=900):
        assert (np.diff(rows) > 0).all()
        assert len(rows) <= 900
        seen[rows[inner]] += 1
        near = np.abs(xy[:, None] - xy[rows[inner]][None]).max(axis=2).min(axis=1) <= 2000.0
        assert set(np.flatnonzero(near)) <= set(rows.tolist())
    np.testing.assert_array_equal(seen, 1)
    ((all_rows, every),) = tiles(xy, 2000.0, most=4000)
    assert every.all()
    assert len(all_rows) == 4000
    assert list(tiles(np.empty((0, 2)), 2000.0)) == []
