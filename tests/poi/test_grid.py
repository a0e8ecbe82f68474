"""poi.grid and poi.lattice: cells that stay where they are, whatever the extent."""

import math
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import shapely
from pyproj import Geod, Transformer

from poi.errors import PoiError
from poi.grid import MAX_CELLS, cell_ids, check_degrees, grid_cells, grid_over, ids_within, utm_crs, zone_crs
from poi.lattice import row_col

MALTA = shapely.box(14.18, 35.80, 14.58, 36.09)


@pytest.mark.parametrize("cell_m", [100.0, 235.0, 250.0, 333.3])
@pytest.mark.parametrize("lat", [45.4, -33.9, 0.4])
def test_ids_do_not_move_with_the_extent(cell_m: float, lat: float) -> None:
    """The square that holds a point has one name in every extent of the zone that holds the point."""
    rng = np.random.default_rng(1)
    lon, lat0 = 9.2, lat
    names: dict[tuple[int, ...], set[int]] = {}
    point = shapely.Point(lon, lat0)
    for _ in range(20):
        west, east = lon - rng.uniform(0.001, 0.05), lon + rng.uniform(0.001, 0.05)
        south, north = lat0 - rng.uniform(0.001, 0.05), lat0 + rng.uniform(0.001, 0.05)
        box = shapely.box(west, south, east, north)
        cells = grid_cells(grid_over(box, cell_m), box)
        holder = cells[cells.contains(point)]
        assert len(holder) == 1
        corner = tuple(np.round(np.asarray(holder.geometry.iloc[0].bounds) * 1e5).astype(int))
        names.setdefault(corner, set()).add(int(holder["cell_id"].iloc[0]))
    assert len(names) == 1
    assert len(next(iter(names.values()))) == 1


def test_overlapping_extents_share_the_ids_of_the_ground_they_share() -> None:
    one, two = shapely.box(9.10, 45.40, 9.20, 45.50), shapely.box(9.15, 45.45, 9.30, 45.60)
    a, b = grid_cells(grid_over(one, 250), one), grid_cells(grid_over(two, 250), two)
    both = a.merge(b, on="cell_id", suffixes=("_a", "_b"))
    shared = one.intersection(two)
    assert len(both) > 400
    apart = shapely.hausdorff_distance(both["geometry_a"].to_numpy(), both["geometry_b"].to_numpy())
    assert apart.max() < 1e-9
    # whatever ground is shared is named by the shared ids
    assert shared.difference(shapely.union_all(both["geometry_a"].to_numpy())).area < 1e-12


def test_id_row_col_square_and_point_are_inverse() -> None:
    rng = np.random.default_rng(2)
    for lon, lat in ((14.4, 35.9), (-43.2, -22.9), (179.9, 65.0), (-179.9, -16.0), (9.0, 0.0), (7.4, 43.7)):
        box = shapely.box(lon - 0.05, lat - 0.05, min(lon + 0.05, 180.0), lat + 0.05)
        grid = grid_over(box, 175.0)
        ids = ids_within(grid)
        assert len(ids) == grid.rows * grid.cols == len(np.unique(ids))
        row, col = grid.row_col(ids)
        np.testing.assert_array_equal(grid.ids(row, col), ids)
        assert (row.min(), col.min(), row.max(), col.max()) == (0, 0, grid.rows - 1, grid.cols - 1)
        assert ids.max() < 2**53, "JSON readers would round it"
        assert {zone_crs(int(i)) for i in ids} == {grid.crs}
        x = rng.uniform(grid.west, grid.west + grid.cols * grid.cell_m, 500)
        y = rng.uniform(grid.south, grid.south + grid.rows * grid.cell_m, 500)
        found = cell_ids(x, y, grid.crs, grid.cell_m)
        assert shapely.contains_xy(grid.squares(found), x, y).all()
        inside = np.abs(grid.centres(found) - np.stack([x, y], axis=-1)).max()
        assert inside <= grid.cell_m / 2


def test_cells_kept_are_those_that_share_area() -> None:
    """Against one polygon operation per cell."""
    boundary = shapely.Polygon([(9.1, 45.4), (9.16, 45.41), (9.13, 45.43), (9.15, 45.47), (9.11, 45.46)])
    boundary = boundary.difference(shapely.Point(9.125, 45.43).buffer(0.008))
    grid = grid_over(boundary, 250)
    project = Transformer.from_crs("EPSG:4326", grid.crs, always_xy=True).transform
    metric = shapely.transform(boundary.segmentize(0.001), lambda xy: np.stack(project(xy[:, 0], xy[:, 1]), axis=-1))
    every = ids_within(grid)
    brute = {
        int(i) for i, square in zip(every, grid.squares(every), strict=True) if square.intersection(metric).area > 1.0
    }
    kept = set(ids_within(grid, boundary).tolist())
    assert brute <= kept
    assert len(kept - brute) <= 2  # slivers of less than a square metre
    assert 0 < len(kept) < len(every)
    assert len(grid_cells(grid, boundary)) == len(kept)


def test_a_boundary_on_the_lines_opens_no_further_cells() -> None:
    crs = "EPSG:32632"
    back = Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform
    square = shapely.box(515_000, 5_034_000, 516_000, 5_034_500)
    corners = shapely.get_coordinates(square.segmentize(50))
    boundary = shapely.Polygon(np.stack(back(corners[:, 0], corners[:, 1]), axis=-1))
    grid = grid_over(boundary, 250)
    assert (grid.rows, grid.cols, grid.west, grid.south) == (2, 4, 515_000, 5_034_000)
    assert len(ids_within(grid, boundary)) == 8


def test_cells_are_squares_of_the_stated_size_on_the_ellipsoid() -> None:
    cells = grid_cells(grid_over(MALTA, 250), MALTA).sample(50, random_state=0)
    geod = Geod(ellps="WGS84")
    areas = [abs(geod.geometry_area_perimeter(g)[0]) for g in cells.geometry]
    np.testing.assert_allclose(areas, 250.0**2, rtol=2.5e-3)
    assert cells.crs.to_epsg() == 4326
    assert cells.attrs["kind"] == "grid"
    assert cells.attrs["cell_m"] == 250.0
    assert "UTM zone 33N" in cells.attrs["crs_wkt"]
    whole = grid_cells(grid_over(MALTA, 250), MALTA)
    assert whole["cell_id"].is_unique
    # rows count north, columns east
    grid = whole.set_index(["row", "col"]).geometry
    assert grid.loc[(10, 10)].centroid.y < grid.loc[(11, 10)].centroid.y
    assert grid.loc[(10, 10)].centroid.x < grid.loc[(10, 11)].centroid.x


def test_grid_is_hashable_and_snapped() -> None:
    one, two = grid_over(MALTA, 250), grid_over(MALTA, 250)
    assert one == two
    assert len({one, two}) == 1
    assert one.west % 250 == 0
    assert one.south % 250 == 0
    with pytest.raises(AttributeError):
        one.rows = 3  # type: ignore[misc]


def test_boundary_across_the_equator_is_southern_and_whole() -> None:
    boundary = shapely.box(109.30, -0.05, 109.36, 0.05)  # Pontianak
    grid = grid_over(boundary, 500)
    assert grid.crs == "EPSG:32749"
    cells = grid_cells(grid, boundary)
    assert cells.geometry.union_all().covers(boundary.buffer(-1e-4))


@pytest.mark.parametrize(
    ("boundary", "cell_m", "said"),
    [
        (MALTA, 5.0, "--cell-size between 10"),
        (MALTA, math.nan, "--cell-size between 10"),
        (shapely.box(5, 43, 15, 48), 100.0, "larger --cell-size"),
        (shapely.box(-10, 43, 30, 48), 10_000.0, "split it from west to east"),
        (shapely.box(10, 85, 11, 86), 250.0, "UTM"),
        (shapely.box(35, 91, 36, 92), 250.0, "swapped"),
        (shapely.box(27.6, 85.2, 27.8, 85.4), 250.0, "or exchange lon and lat"),  # Kathmandu the wrong way round
        (shapely.box(500_000, 5_000_000, 510_000, 5_010_000), 250.0, "degrees"),
        (shapely.Polygon(), 250.0, "empty"),
    ],
)
def test_areas_of_no_use_are_refused(boundary: shapely.Polygon, cell_m: float, said: str) -> None:
    with pytest.raises(PoiError, match=said) as caught:
        grid_over(boundary, cell_m)
    assert "\n" not in str(caught.value)


def test_the_cap_is_on_cells_not_on_area() -> None:
    grid = grid_over(shapely.box(6, 43, 12, 48), 10_000.0)
    assert grid.rows * grid.cols < MAX_CELLS


def test_ids_of_another_zone_are_refused() -> None:
    with pytest.raises(PoiError, match="is not of EPSG:32633"):
        grid_over(MALTA, 250).row_col(ids_within(grid_over(shapely.box(9, 45, 9.01, 45.01), 250)))


def test_zone_of_a_point() -> None:
    assert utm_crs(shapely.box(9, 45, 9.1, 45.1)) == "EPSG:32632"
    assert utm_crs(shapely.box(179.9, 45, 180, 45.1)) == "EPSG:32660"
    assert utm_crs(shapely.box(-180, -45, -179.9, -44.9)) == "EPSG:32701"
    taveuni = shapely.union(shapely.box(179.9, -17, 180, -16.7), shapely.box(-180, -17, -179.9, -16.7))
    assert utm_crs(taveuni) == "EPSG:32760"
    with pytest.raises(PoiError, match="180th meridian: split it there"):
        grid_over(taveuni, 250.0)
    with pytest.raises(PoiError, match="not finite"):
        check_degrees(shapely.LineString([(0, 0), (math.inf, 1)]), "it")


@pytest.mark.parametrize(("place", "columns"), [("milan", 100), ("trentino", 117)])
def test_lattice_of_the_telecom_grids(shared_data: Path, place: str, columns: int) -> None:
    """Telecom Italia numbered its cells row by row from the south-west: the lattice must find that again."""
    frame = gpd.read_file(shared_data / place / "telecom-grid.geojson")
    centres = frame.to_crs("EPSG:32632").centroid
    found = row_col(np.stack([centres.x, centres.y], axis=-1))
    assert found is not None
    number = frame["cellId"].to_numpy() - 1
    row, col = number // columns, number % columns
    np.testing.assert_array_equal(found[0], row - row.min())
    np.testing.assert_array_equal(found[1], col - col.min())


@pytest.mark.parametrize("degrees", [0, 3, -17, 40])
@pytest.mark.parametrize("keep", [1.0, 0.4])
def test_lattice_rotated_with_holes_and_jitter(degrees: float, keep: float) -> None:
    rng = np.random.default_rng(4)
    row, col = (a.ravel() for a in np.mgrid[0:70, 0:90])
    chosen = rng.random(len(row)) < keep
    row, col = row[chosen], col[chosen]
    turn = math.radians(degrees)
    xy = np.stack([col * 200.0, row * 200.0], axis=-1) + rng.normal(0, 2.0, (len(row), 2))
    xy = xy @ np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]]) + 5e5
    order = rng.permutation(len(xy))
    found = row_col(xy[order])
    assert found is not None
    np.testing.assert_array_equal(found[0], row[order] - row.min())
    np.testing.assert_array_equal(found[1], col[order] - col.min())


def test_no_lattice_where_there_is_none() -> None:
    rng = np.random.default_rng(5)
    assert row_col(rng.uniform(0, 1e4, (300, 2))) is None
    hexagons = np.array([(i + 0.5 * (j % 2), j * math.sqrt(3) / 2) for i in range(15) for j in range(15)]) * 100
    assert row_col(hexagons) is None
    assert row_col(np.array([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0], [3.0, 0.0], [4.0, 0.0]])) is None
    assert row_col(np.zeros((2, 2))) is None
    doubled = np.array([(i, j) for i in range(5) for j in range(5)] + [(2, 2)]) * 100.0
    assert row_col(doubled) is None
