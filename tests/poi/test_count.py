"""poi.count: against one shapely or geodesic operation per pair, and by hand on edges."""

import time
from pathlib import Path

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pytest
import shapely
from pyproj import CRS, Geod, Transformer

from poi.categories import CATEGORIES
from poi.count import count_in_grid, count_pois
from poi.grid import grid_cells, grid_over, ids_within
from poi.osm import read_pois

BOX = shapely.box(9.10, 45.40, 9.16, 45.44)


def random_pois(n: int, seed: int, box: shapely.Polygon = BOX) -> gpd.GeoDataFrame:
    rng = np.random.default_rng(seed)
    west, south, east, north = box.bounds
    points = shapely.points(rng.uniform(west, east, n), rng.uniform(south, north, n))
    return gpd.GeoDataFrame({"category": rng.choice(CATEGORIES, n)}, geometry=points, crs="EPSG:4326")


def brute(pois: gpd.GeoDataFrame, areas: npt.NDArray[np.object_]) -> npt.NDArray[np.int64]:
    counts = np.zeros((len(areas), 8), dtype=np.int64)
    for i, area in enumerate(areas):
        for category, point in zip(pois["category"], pois.geometry, strict=True):
            counts[i, CATEGORIES.index(category)] += area.intersects(point)
    return counts


def test_grid_by_division_agrees_with_polygons() -> None:
    grid = grid_over(BOX, 300)
    cells = grid_cells(grid, BOX)
    pois = random_pois(1500, 1)
    project = Transformer.from_crs("EPSG:4326", grid.crs, always_xy=True).transform
    metric = pois.copy()
    metric["geometry"] = shapely.points(*project(pois.geometry.x.to_numpy(), pois.geometry.y.to_numpy()))
    expected = brute(metric, grid.squares(cells["cell_id"]))
    counts = count_pois(pois, cells)
    np.testing.assert_array_equal(counts, expected)
    assert counts.sum() == 1500
    shuffled = cells.sample(frac=1.0, random_state=3)
    np.testing.assert_array_equal(count_pois(pois, shuffled), expected[shuffled.index])
    part = cells.iloc[10:25]
    np.testing.assert_array_equal(count_pois(pois, part), expected[10:25])
    # without its attributes the same frame is any set of polygons
    plain = gpd.GeoDataFrame(cells[["cell_id"]], geometry=cells.geometry)
    plain.attrs = {}
    np.testing.assert_array_equal(count_pois(pois, plain), expected)


def test_a_poi_on_the_lines_of_a_grid_counts_once_in_the_east_or_north() -> None:
    grid = grid_over(BOX, 300)
    ids = ids_within(grid)
    back = Transformer.from_crs(grid.crs, "EPSG:4326", always_xy=True)
    line_x, line_y = grid.west + 600.0, grid.south + 900.0
    xy = np.array([(line_x, line_y), (line_x, line_y + 10), (line_x + 10, line_y)])
    lon, lat = back.transform(xy[:, 0] + 1e-6, xy[:, 1] + 1e-6)  # a micrometre beyond rounding
    pois = gpd.GeoDataFrame({"category": ["Food"] * 3}, geometry=shapely.points(lon, lat), crs="EPSG:4326")
    counts = count_in_grid(pois, grid.crs, grid.cell_m, ids)
    assert counts.sum() == 3
    row, col = grid.row_col(ids[counts.sum(axis=1) > 0])
    assert set(zip(row.tolist(), col.tolist(), strict=True)) == {(3, 2)}


def test_cells_of_ones_own_share_their_edges_and_overlap() -> None:
    areas = [shapely.box(0, 0, 1, 1), shapely.box(1, 0, 2, 1), shapely.box(0.5, 0.5, 1.5, 2), shapely.box(5, 5, 6, 6)]
    cells = gpd.GeoDataFrame({"cell_id": list("abcd")}, geometry=areas, crs="EPSG:4326")
    cells.attrs["kind"] = "cells"
    points = {
        (0.2, 0.2): [1, 0, 0, 0],
        (1.0, 0.2): [1, 0, 0, 0],  # on the edge of a and b: the first
        (0.75, 0.75): [1, 0, 1, 0],  # inside both a and c
        (1.0, 0.75): [0, 0, 1, 0],  # inside c, and on the edge of a and b
        (0.0, 0.0): [1, 0, 0, 0],  # a corner without a neighbour
        (3.0, 3.0): [0, 0, 0, 0],
    }
    for at, expected in points.items():
        pois = gpd.GeoDataFrame({"category": ["Shop"]}, geometry=[shapely.Point(at)], crs="EPSG:4326")
        assert count_pois(pois, cells)[:, CATEGORIES.index("Shop")].tolist() == expected, at


def test_cells_of_ones_own_against_brute_force() -> None:
    rng = np.random.default_rng(5)
    centres = shapely.points(rng.uniform(9.10, 9.16, 40), rng.uniform(45.40, 45.44, 40))
    areas = np.asarray([c.buffer(rng.uniform(0.002, 0.01), quad_segs=3) for c in centres])
    cells = gpd.GeoDataFrame({"cell_id": range(40)}, geometry=areas, crs="EPSG:4326")
    cells.attrs["kind"] = "cells"
    pois = random_pois(400, 6)
    np.testing.assert_array_equal(count_pois(pois, cells), brute(pois, areas))


@pytest.mark.parametrize("lat", [45.4, 65.0, -1.0])
def test_stations_count_what_is_within_the_radius_on_the_ellipsoid(lat: float) -> None:
    box = shapely.box(9.10, lat, 9.16, lat + 0.04)
    pois = random_pois(600, 7, box)
    rng = np.random.default_rng(8)
    lon, lats = rng.uniform(9.10, 9.16, 30), rng.uniform(lat, lat + 0.04, 30)
    stations = gpd.GeoDataFrame({"cell_id": range(30)}, geometry=shapely.points(lon, lats), crs="EPSG:4326")
    stations.attrs.update(kind="stations", crs_wkt=CRS.from_epsg(32632).to_wkt())
    counts = count_pois(pois, stations, radius_m=700.0)
    geod = Geod(ellps="WGS84")
    for i in range(30):
        n = len(pois)
        _, _, metres = geod.inv([lon[i]] * n, [lats[i]] * n, pois.geometry.x, pois.geometry.y)
        near = pois["category"][np.asarray(metres) <= 700.0]
        assert counts[i].tolist() == [int((near == name).sum()) for name in CATEGORIES]
    assert counts.sum() > 300


def test_wrong_calls() -> None:
    grid = grid_over(BOX, 300)
    cells, pois = grid_cells(grid), random_pois(3, 0)
    with pytest.raises(ValueError, match="cells have none"):
        count_pois(pois, cells, radius_m=100.0)
    stations = gpd.GeoDataFrame({"cell_id": [1]}, geometry=[shapely.Point(9.1, 45.4)], crs="EPSG:4326")
    with pytest.raises(ValueError, match="stations need one"):
        count_pois(pois, stations)
    pois["category"] = "Zoo"
    with pytest.raises(ValueError, match="unknown category 'Zoo'"):
        count_pois(pois, cells)
    assert count_pois(pois.iloc[:0], cells).sum() == 0


def test_malta_in_seconds(shared_data: Path) -> None:
    start = time.perf_counter()
    pois = read_pois(shared_data / "osm" / "malta.osm.pbf")
    box = shapely.box(*pois.attrs["extent"])
    grid = grid_over(box, 100)
    ids = ids_within(grid, box)
    counts = count_in_grid(pois, grid.crs, grid.cell_m, ids)
    assert time.perf_counter() - start < 15  # 2 s on an idle core
    assert len(ids) > 150_000
    inside = int(pois.geometry.within(box).sum())
    assert inside <= counts.sum() <= len(pois)
    assert counts.sum() > 5000
