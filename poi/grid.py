"""Square cells in metres, snapped to multiples of their size, named so that the same ground has the same id everywhere.

A cell is named by its UTM zone and by the multiples of `cell_m` at its south-west corner, not by its place in an
extent: `id = zone * 10^13 + row * 10^6 + col`. Zone is 1-60 in the north and 61-120 (60 more) in the south; row counts
cells from the zone's northing 0, col from its easting 0. Ids stay below 2^53, so that JSON and JavaScript keep them
whole. The zone is that of the boundary's centre, a boundary that crosses the equator is southern: two extents in one
zone share their ids.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import shapely
from pyproj import CRS, Transformer
from shapely.geometry.base import BaseGeometry

from poi.errors import PoiError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

MAX_CELLS = 20_000_000  # of a grid: the extent of a large country at 250 m
MIN_CELL_M, MAX_CELL_M = 10.0, 100_000.0
_COL = 10**6
_ZONE = 10**13
_WIDTH_M = 1_000_000.0  # eastings of a zone: within them its scale is true to 0.3%
_HEIGHT_M = 20_000_000.0
_BATCH = 50_000


@dataclass(frozen=True)
class Grid:
    """Cells of `cell_m` metres over an extent: `west`, `south` metres in `crs`, both multiples of `cell_m`."""

    crs: str  # "EPSG:326zz" or "EPSG:327zz"
    west: float
    south: float
    cell_m: float
    rows: int  # row 0 is the southernmost
    cols: int  # col 0 is the westernmost

    def ids(self, row: npt.ArrayLike, col: npt.ArrayLike) -> Ints:
        """Cell ids of rows and columns counted from the grid's south-west corner. row, col: (any shape)."""
        return _pack(self.crs, np.asarray(row) + self._first_row, np.asarray(col) + self._first_col)

    def row_col(self, ids: npt.ArrayLike) -> tuple[Ints, Ints]:
        """Row and column, counted from the grid's south-west corner; the inverse of `ids`. ids: (any shape).

        Raises PoiError for an id of another UTM zone."""
        ids = np.asarray(ids, dtype=np.int64)
        if ids.size and not np.all(ids // _ZONE == _zone_number(self.crs)):
            raise PoiError(f"cell id {ids[ids // _ZONE != _zone_number(self.crs)][0]} is not of {self.crs}")
        return ids % _ZONE // _COL - self._first_row, ids % _COL - self._first_col

    def squares(self, ids: npt.ArrayLike) -> npt.NDArray[np.object_]:
        """The squares of cell ids as polygons in `crs`. ids: (n,)."""
        row, col = self.row_col(ids)
        west, south = self.west + col * self.cell_m, self.south + row * self.cell_m
        return np.atleast_1d(shapely.box(west, south, west + self.cell_m, south + self.cell_m))

    def centres(self, ids: npt.ArrayLike) -> Floats:
        """Centres of cells in metres of `crs`, (n, 2). ids: (n,)."""
        row, col = self.row_col(ids)
        return np.stack([self.west + (col + 0.5) * self.cell_m, self.south + (row + 0.5) * self.cell_m], axis=-1)

    @property
    def _first_row(self) -> int:
        return round(self.south / self.cell_m)

    @property
    def _first_col(self) -> int:
        return round(self.west / self.cell_m)


def utm_crs(boundary: BaseGeometry) -> str:
    """The UTM zone of a boundary's centre (degrees), as "EPSG:326zz" (north) or "EPSG:327zz" (south, or both).

    A boundary on both sides of the 180th meridian is of zone 60, which goes on beyond it.
    Raises PoiError where the boundary is empty, not in degrees, or beyond 84 N and 80 S, where UTM ends."""
    check_degrees(boundary, "the boundary")
    lon, lat = (180.0 if crosses_180(boundary) else boundary.centroid.x), boundary.centroid.y
    if not -80.0 <= lat <= 84.0:
        raise PoiError(f"{lat:.4f} N lies outside UTM (80 S to 84 N), where the cells are laid: give a place within it"
                       f"{', or exchange lon and lat' if abs(lon) < 80 else ''}")  # fmt: skip
    zone = min(int((lon + 180.0) // 6.0) + 1, 60)
    return f"EPSG:{(32700 if boundary.bounds[1] < 0 else 32600) + zone}"


def crosses_180(boundary: BaseGeometry) -> bool:
    """Whether a boundary (degrees) lies on both sides of the 180th meridian, rather than half around the earth."""
    return bool(boundary.bounds[2] - boundary.bounds[0] > 180.0)


def zone_crs(cell_id: int) -> str:
    """The UTM zone that a cell id names, as "EPSG:326zz" or "EPSG:327zz"."""
    zone = cell_id // _ZONE
    return f"EPSG:{32600 + zone if zone <= 60 else 32700 + zone - 60}"


def cell_ids(x: Floats, y: Floats, crs: str, cell_m: float) -> Ints:
    """Ids of the cells that hold points `x`, `y` (n,), in metres of `crs`; -1 for points outside the zone's numbers.

    Cells are half-open, [west, east) x [south, north): a point on a shared edge lies in one cell, the one to its east
    or north."""
    col, row = np.floor(x / cell_m), np.floor(y / cell_m)
    inside = (x >= 0) & (x < _WIDTH_M) & (y >= 0) & (y < _HEIGHT_M)
    ids = np.full(len(col), -1, dtype=np.int64)
    ids[inside] = _pack(crs, row[inside].astype(np.int64), col[inside].astype(np.int64))
    return ids


def grid_over(boundary: BaseGeometry, cell_m: float) -> Grid:
    """The grid that covers a boundary given in degrees (EPSG:4326), in the UTM zone of the boundary's centre.

    Raises PoiError where cell_m is not MIN_CELL_M to MAX_CELL_M, where UTM does not reach the boundary (see `utm_crs`),
    and where the extent needs more than MAX_CELLS cells."""
    if not MIN_CELL_M <= cell_m <= MAX_CELL_M:
        raise PoiError(f"cell size {cell_m:g} m: give --cell-size between {MIN_CELL_M:g} and {MAX_CELL_M:g} metres")
    crs = utm_crs(boundary)
    if crosses_180(boundary):
        raise PoiError("the area lies on both sides of the 180th meridian: split it there")
    west, south, east, north = to_metres(boundary, crs).bounds
    if not (west >= 0 and east <= _WIDTH_M and south >= 0 and north <= _HEIGHT_M):
        raise PoiError(f"the area is wider than the 1000 km of a UTM zone ({crs}): split it from west to east")
    # a boundary that ends on a grid line, up to a millimetre of projection, does not open another row
    slack = min(1e-3, cell_m * 1e-3)
    first_col, first_row = math.floor((west + slack) / cell_m), math.floor((south + slack) / cell_m)
    end_col, end_row = math.ceil((east - slack) / cell_m), math.ceil((north - slack) / cell_m)
    rows, cols = max(end_row - first_row, 1), max(end_col - first_col, 1)
    if rows * cols > MAX_CELLS:
        need = f"{rows} x {cols} cells of {cell_m:g} m are more than {MAX_CELLS}"
        raise PoiError(f"{need}: give a smaller area or a larger --cell-size")
    return Grid(crs, first_col * cell_m, first_row * cell_m, float(cell_m), rows, cols)


def ids_within(grid: Grid, boundary: BaseGeometry | None = None) -> Ints:
    """Ids of a grid's cells, south-west first, row by row; with a boundary (degrees), of those that share area with it.

    Whoever stands inside the boundary stands in a cell; a cell that only touches it is left out. A boundary without
    area (a line, a point) keeps the cells that it meets. Raises PoiError where no cell is left."""
    area = None if boundary is None else to_metres(boundary, grid.crs)
    if area is not None:
        shapely.prepare(area)
    parts = []
    for start in range(0, grid.rows * grid.cols, _BATCH):  # of millions, polygons of some at a time
        row, col = np.divmod(np.arange(start, min(start + _BATCH, grid.rows * grid.cols)), grid.cols)
        if area is not None:
            keep = _meets(grid, row, col, area)
            row, col = row[keep], col[keep]
        parts.append(grid.ids(row, col))
    ids = np.concatenate(parts)
    if not len(ids):
        raise PoiError("no cell shares area with the boundary: give a larger area or a smaller --cell-size")
    return ids


def grid_cells(grid: Grid, boundary: BaseGeometry | None = None) -> gpd.GeoDataFrame:
    """The cells of `ids_within` as polygons in EPSG:4326 with `cell_id`, `row`, `col`.

    `.attrs`: kind "grid", cell_m, crs_wkt. A million polygons take a gigabyte; ids alone take eight megabytes."""
    ids = ids_within(grid, boundary)
    row, col = grid.row_col(ids)
    corners = shapely.get_coordinates(grid.squares(ids))  # (5 n, 2)
    lon, lat = Transformer.from_crs(grid.crs, "EPSG:4326", always_xy=True).transform(corners[:, 0], corners[:, 1])
    rings = shapely.linearrings(np.stack([lon, lat], axis=-1).reshape(-1, 5, 2))
    columns = {"cell_id": ids, "row": row, "col": col}
    cells = gpd.GeoDataFrame(columns, geometry=shapely.polygons(rings), crs="EPSG:4326")
    cells.attrs.update(kind="grid", cell_m=grid.cell_m, crs_wkt=CRS.from_user_input(grid.crs).to_wkt())
    return cells


def to_metres(geometry: BaseGeometry, crs: str) -> BaseGeometry:
    """A geometry in degrees (EPSG:4326) in the metres of `crs`, its long edges bent as the ground bends them."""
    project = Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform
    if geometry.geom_type == "Polygon" and geometry.area == 0:  # the box of one point, or of points on one line
        geometry = geometry.envelope
    # a straight edge in degrees is a curve in metres: 0.05 degrees of chord stay within a few metres of it
    return shapely.transform(
        shapely.segmentize(geometry, 0.05), lambda xy: np.stack(project(xy[:, 0], xy[:, 1]), axis=-1)
    )


def check_degrees(geometry: BaseGeometry, what: str) -> None:
    """Raises PoiError unless a geometry is not empty and lies within -180..180, -90..90."""
    if geometry is None or geometry.is_empty:
        raise PoiError(f"{what} is empty")
    west, south, east, north = geometry.bounds
    if not all(map(math.isfinite, (west, south, east, north))):
        raise PoiError(f"{what} has coordinates that are not finite numbers")
    if west < -180 or east > 180 or south < -90 or north > 90:
        swapped = south >= -180 and north <= 180 and west >= -90 and east <= 90
        fix = "lon and lat look swapped" if swapped else "give degrees (EPSG:4326), longitude first"
        raise PoiError(f"{what} spans {west:g} to {east:g} and {south:g} to {north:g}, outside lon and lat: {fix}")


def _meets(grid: Grid, row: Ints, col: Ints, area: BaseGeometry) -> npt.NDArray[np.bool_]:
    slack = min(1e-3, grid.cell_m * 1e-3) if area.area > 0 else 0.0  # as in grid_over: to touch is not to share area
    west, south = grid.west + col * grid.cell_m, grid.south + row * grid.cell_m
    inner = grid.cell_m - slack
    squares = shapely.box(west + slack, south + slack, west + inner, south + inner)
    return np.asarray(shapely.intersects(area, squares), dtype=bool)


def _zone_number(crs: str) -> int:
    code = int(crs.removeprefix("EPSG:"))
    return code - 32600 if code < 32700 else code - 32700 + 60


def _pack(crs: str, row: npt.ArrayLike, col: npt.ArrayLike) -> Ints:
    packed = _zone_number(crs) * _ZONE + np.asarray(row, dtype=np.int64) * _COL + np.asarray(col, dtype=np.int64)
    return np.asarray(packed, dtype=np.int64)
