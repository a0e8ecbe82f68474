"""Residents as one more number per cell: of a GeoTIFF, or of a table of points.

A pixel that is small beside a cell counts where its middle lies; a larger one is divided among the cells that it covers
by the area of each part, so that no more and no fewer people live there than before. Points count where they are.
Stations count whoever lives within their radius, as they count points of interest: some for several stations.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gentraffic.dataset.geometry import cell_shapes
from gentraffic.errors import BadInput, NoData
from gentraffic.io.raster import Raster, is_raster, read_raster
from gentraffic.io.source_columns import Reading, find_column, points, some
from gentraffic.io.source_table import read_source
from gentraffic.modelling.features import STATION_RADIUS_M
from gentraffic.places.sites import amounts_in

if TYPE_CHECKING:
    import xarray as xr

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
RESIDENTS = "population"  # the variable of a context
NAMES = ("residents", "population", "inhabitants", "people", "persons", "pop")  # columns of a table that hold them
FINE = 0.1  # of a cell's side: smaller pixels count where their middles lie
BLOCK = 200_000  # pixels that are worked on at a time
_CIRCLE = 32  # corners of a quarter of the circle around a station


class Areas(Protocol):
    """Cells in the metres of `crs_wkt`. Pairs are (which point or pixel, which cell, which share of it)."""

    @property
    def side_m(self) -> float:
        """Of a square as large as most of them."""

    @property
    def cells(self) -> int:
        """How many there are."""

    @property
    def box(self) -> tuple[float, float, float, float]:
        """West, south, east and north of all."""

    def of_points(self, xy: Floats) -> tuple[Ints, Ints]:
        """Pairs of points and the cells that hold them. xy: (n, 2) metres."""

    def of_quads(self, corners: Floats) -> tuple[Ints, Ints, Floats]:
        """Pairs of pixels and the cells that they cover, with the share of its area. corners: (n, 4, 2) metres."""


@dataclass(frozen=True)
class Squares:
    """Cells of a grid, side by side: xy (cells, 2) middles in metres, side_m."""

    xy: Floats
    side_m: float

    @property
    def cells(self) -> int:
        """How many there are."""
        return len(self.xy)

    @cached_property
    def box(self) -> tuple[float, float, float, float]:
        """West, south, east and north of all."""
        half = self.side_m / 2
        (west, south), (east, north) = self.xy.min(axis=0) - half, self.xy.max(axis=0) + half
        return float(west), float(south), float(east), float(north)

    def of_points(self, xy: Floats) -> tuple[Ints, Ints]:
        """Pairs of points and the cells that hold them: on an edge, the one to the east or north. xy: (n, 2) metres."""
        cell = self._at(*self._place(xy).T)
        point = np.flatnonzero(cell >= 0)
        return point, cell[point]

    def of_quads(self, corners: Floats) -> tuple[Ints, Ints, Floats]:
        """Pairs of pixels and the cells that they cover, with the share of its area. corners: (n, 4, 2) metres."""
        import shapely

        place = self._place(corners)  # (n, 4, 2) column and row of each corner
        low, high = place.min(axis=1), place.max(axis=1)
        within = (low == high).all(axis=1)
        inner, own = np.flatnonzero(within), self._at(*low[within].T)
        split = np.flatnonzero(~within)
        wide = (high - low + 1)[split]  # columns and rows that each of them may touch
        count = wide.prod(axis=1)
        pixel = np.repeat(split, count)
        part = np.arange(len(pixel)) - np.repeat(np.cumsum(count) - count, count)
        across = np.repeat(wide[:, 0], count)
        cell = self._at(low[pixel, 0] + part % across, low[pixel, 1] + part // across)
        pixel, cell = pixel[cell >= 0], cell[cell >= 0]
        middle, half = self.xy[cell], self.side_m / 2
        near = corners[pixel] - middle[:, None]  # about the cell: no digits are lost
        quads = np.asarray(shapely.polygons(near), dtype=object)
        common = shapely.area(shapely.clip_by_rect(quads, -half, -half, half, half))
        share = np.asarray(common / shapely.area(quads))
        inner, own = inner[own >= 0], own[own >= 0]
        return (
            np.concatenate([inner, pixel[share > 0]]),
            np.concatenate([own, cell[share > 0]]),
            np.concatenate([np.ones(len(inner)), share[share > 0]]),
        )

    def _place(self, xy: Floats) -> NDArray[np.int64]:
        """Column and row of points (..., 2), counted from the south-west; of those beyond the cells, one beyond."""
        at = np.floor((xy - np.array(self.box[:2])) / self.side_m)
        out: NDArray[np.int64] = np.clip(at, -1, self._wide).astype(np.int64)
        return out

    @cached_property
    def _wide(self) -> NDArray[np.int64]:
        """How many columns and rows there are."""
        west, south, east, north = self.box
        return np.rint(np.array([east - west, north - south]) / self.side_m).astype(np.int64)

    @cached_property
    def _index(self) -> tuple[NDArray[np.int64], Ints]:
        """row x columns + column of the cells in their order, and the cells in that order."""
        key = self._place(self.xy) @ np.array([1, self._wide[0]])
        order = np.argsort(key)
        return key[order], order

    def _at(self, col: NDArray[np.int64], row: NDArray[np.int64]) -> Ints:
        """The cell at columns and rows (n,), -1 for none."""
        key, order = self._index
        there = (col >= 0) & (col < self._wide[0]) & (row >= 0) & (row < self._wide[1])
        wanted = np.where(there, row * self._wide[0] + col, -1)
        at = np.minimum(np.searchsorted(key, wanted), len(key) - 1)
        found: Ints = np.where(key[at] == wanted, order[at], -1).astype(np.intp)
        return found


@dataclass(frozen=True)
class Shapes:
    """Cells of any shape, (cells,) polygons in metres; of stations, the circles that they cover. side_m: of most.

    shared: one of two cells counts what stands on the edge of both; stations count it both."""

    shapes: NDArray[Any]
    side_m: float
    shared: bool = True

    @property
    def cells(self) -> int:
        """How many there are."""
        return len(self.shapes)

    @cached_property
    def box(self) -> tuple[float, float, float, float]:
        """West, south, east and north of all."""
        import shapely

        west, south, east, north = shapely.total_bounds(self.shapes)
        return float(west), float(south), float(east), float(north)

    def of_points(self, xy: Floats) -> tuple[Ints, Ints]:
        """Pairs of points and the cells that hold them. xy: (n, 2) metres."""
        import shapely

        from poi.count import inside

        spots = np.asarray(shapely.points(xy), dtype=object)
        if self.shared:
            point, cell = inside(spots, self.shapes)
        else:
            point, cell = shapely.STRtree(self.shapes).query(spots, predicate="intersects")
        return point.astype(np.intp), cell.astype(np.intp)

    def of_quads(self, corners: Floats) -> tuple[Ints, Ints, Floats]:
        """Pairs of pixels and the cells that they cover, with the share of its area. corners: (n, 4, 2) metres."""
        import shapely

        quads = np.asarray(shapely.polygons(corners), dtype=object)
        pixel, cell = shapely.STRtree(self.shapes).query(quads, predicate="intersects")
        whole = shapely.covers(self.shapes[cell], quads[pixel])
        share = np.ones(len(pixel))
        cut = ~whole
        common = shapely.area(shapely.intersection(quads[pixel[cut]], self.shapes[cell[cut]]))
        share[cut] = common / shapely.area(quads[pixel[cut]])
        return pixel[share > 0], cell[share > 0], share[share > 0]


def with_residents(context: xr.Dataset, path: str | Path) -> xr.Dataset:
    """The context with `population` (cell), the residents of each cell that a file tells of, and where it has a margin
    `margin_population` of the cells around. NaN in cells whose middle lies beyond a raster: not known.

    path: a GeoTIFF of one band, residents in each pixel, in any CRS; or a table with lon, lat and residents.
    Raises BadInput and BadFile for a file that is neither, or holds less than 0; NoData where it tells of nobody in the
    place.
    """
    import xarray as xr

    path = Path(path)
    areas, cells = _areas(context), context.sizes["cell"]
    place = context.attrs.get("place", "the place")
    warnings = [line for line in str(context.attrs.get("warnings", "")).splitlines() if line]
    crs = str(context.attrs["crs_wkt"])
    if is_raster(path):
        raster = read_raster(path, crs, areas.box, "residents")
        count = _of_raster(raster, areas, crs)
        beyond = ~raster.holds(_middles(context), crs)
        outside = int(beyond[:cells].sum())
        if outside == cells:
            at, of = (_bounds(b) for b in (raster.bounds(), _around(context)))
            raise NoData(f"{path} covers {at}, and {place} lies at {of}: give residents of the place")
        count[beyond] = np.nan
        if outside:
            warnings.append(f"{outside} of {cells} cells lie outside of {path.name}: residents are not known there")
    else:
        count = _of_table(path, areas, crs)
    if not np.nansum(count[:cells]) > 0:
        raise NoData(f"{path} tells of no residents in {place} ({_bounds(_around(context))}): give a file that does")
    about = {"units": "1", "long_name": "residents", "source": path.name}
    found = {RESIDENTS: xr.Variable("cell", count[:cells], about)}
    if "margin" in context.dims:
        found[f"margin_{RESIDENTS}"] = xr.Variable("margin", count[cells:], {"units": "1"})
    credit = "; ".join(filter(None, (str(context.attrs.get("attribution", "")), f"residents: {path.name}")))
    attrs = {"attribution": credit} | ({"warnings": "\n".join(warnings)} if warnings else {})
    return context.assign(found).assign_attrs(attrs)


def _of_raster(raster: Raster, areas: Areas, crs: str) -> Floats:
    """Residents of each cell, (cells,)."""
    count = np.zeros(areas.cells)
    for first in range(0, len(raster.value), BLOCK):
        pixels = slice(first, first + BLOCK)
        corners, value = raster.corners(pixels, crs), raster.value[pixels]
        sane = np.isfinite(corners).all(axis=(1, 2))
        corners, value = corners[sane], value[sane]
        across = corners[:, 2] - corners[:, 0]
        over = corners[:, 3] - corners[:, 1]
        side = np.sqrt(np.abs(across[:, 0] * over[:, 1] - across[:, 1] * over[:, 0]) / 2)  # of a square of its area
        if len(side) and side.max() <= FINE * areas.side_m:
            pixel, cell = areas.of_points(raster.middles(pixels, crs)[sane])
            share = np.ones(len(pixel))
        else:
            pixel, cell, share = areas.of_quads(corners)
        count += np.bincount(cell, value[pixel] * share, len(count))
    return count


def _of_table(path: Path, areas: Areas, crs: str) -> Floats:
    """Residents of each cell, (cells,). Raises BadInput and BadFile."""
    from pyproj import Transformer

    table = read_source(path)
    lon, lat = points(table, Reading())
    name = find_column(table, NAMES)
    if name is None:
        raise BadInput(f"{path} has no column 'residents': it has {some(table.names)}: rename the one that holds them")
    value = amounts_in(table, name)
    x, y = Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(lon, lat)
    xy = np.stack([x, y], axis=1)
    here = np.flatnonzero(np.isfinite(xy).all(axis=1) & (value > 0))
    point, cell = areas.of_points(xy[here])
    return np.bincount(cell, value[here][point], areas.cells).astype(np.float64)


def _areas(context: xr.Dataset) -> Areas:
    """The cells of a context in the metres of its CRS; those of its margin follow."""
    import pyproj
    import shapely

    if context.attrs["kind"] == "grid":
        return Squares(_middles(context), float(context.attrs["cell_m"]))
    if context.attrs["kind"] == "stations":
        radius = float(context.attrs.get("radius_m", STATION_RADIUS_M))
        circles = shapely.buffer(np.asarray(shapely.points(_middles(context)), dtype=object), radius, quad_segs=_CIRCLE)
        return Shapes(circles, radius, shared=False)
    to_metres = pyproj.Transformer.from_crs("EPSG:4326", context.attrs["crs_wkt"], always_xy=True)
    shapes = shapely.transform(cell_shapes(context), lambda c: np.stack(to_metres.transform(c[:, 0], c[:, 1]), axis=1))
    return Shapes(shapes, float(np.sqrt(np.median(shapely.area(shapes)))))


def _middles(context: xr.Dataset) -> Floats:
    """Of the cells, and of those of the margin after them: (cells + margin, 2) metres."""
    names = [("x", "y")] + ([("margin_x", "margin_y")] if "margin" in context.dims else [])
    return np.concatenate([np.stack([context[x].values, context[y].values], axis=1) for x, y in names]).astype(
        np.float64
    )


def _around(context: xr.Dataset) -> tuple[float, float, float, float]:
    """West, south, east and north of the middles of cells, in degrees."""
    lon, lat = context["lon"].values, context["lat"].values
    return float(lon.min()), float(lat.min()), float(lon.max()), float(lat.max())


def _bounds(box: tuple[float, float, float, float]) -> str:
    return ",".join(f"{degrees:.3f}" for degrees in box)
