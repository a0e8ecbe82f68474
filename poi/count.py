"""Points of interest per cell and category.

Grid cells are found by division, other polygons by an R-tree, stations by the distance on the ground. Every way counts
whole tables at once.
"""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import shapely
from pyproj import Transformer
from scipy.spatial import cKDTree

from poi.categories import CATEGORIES
from poi.elements import Ground
from poi.grid import cell_ids, zone_crs
from poi.ground import MEASURES
from poi.points import Floats, earth_metres

Ints = npt.NDArray[np.int64]


def count_pois(pois: gpd.GeoDataFrame, cells: gpd.GeoDataFrame, *, radius_m: float | None = None) -> Ints:
    """Counts per cell and category, (cells, 8), in the order of `cells` and of `poi.categories.CATEGORIES`.

    pois: points in EPSG:4326 with `category`. cells, in EPSG:4326: what `poi.grid.grid_cells` gives (kind "grid"),
    other polygons ("cells"), or points ("stations").
    Polygons count what lies in them: a POI on the shared edge of several counts once (grid: in the cell to its east or
    north; else in the first), a POI inside several overlapping polygons in each of them. Stations count what lies
    within `radius_m` metres of the ground, so that a POI counts for each station that covers it.
    Raises ValueError for stations without a radius and for polygons with one."""
    stations = cells.attrs.get("kind") == "stations" or bool((cells.geom_type == "Point").all())
    if stations != (radius_m is not None):
        raise ValueError(f"radius_m is {radius_m}: stations need one, cells have none")
    if radius_m is not None:
        return _count_around(pois, cells, radius_m)
    if cells.attrs.get("kind") == "grid":
        ids = cells["cell_id"].to_numpy(dtype=np.int64)
        return count_in_grid(pois, zone_crs(int(ids[0])), float(cells.attrs["cell_m"]), ids)
    return _tally(*inside(pois.geometry.to_numpy(), cells.geometry.to_numpy()), category_index(pois), len(cells))


def count_in_grid(pois: gpd.GeoDataFrame, crs: str, cell_m: float, ids: Ints) -> Ints:
    """Counts per cell and category, (n, 8), for the cells of `poi.grid` with these ids, size and UTM zone.

    ids: (n,).
    """
    out = np.zeros((len(ids), len(CATEGORIES)), dtype=np.int64)
    add_counts_in_grid(out, pois, crs, cell_m, ids)
    return out


def add_counts_in_grid(
    out: npt.NDArray[np.signedinteger], pois: gpd.GeoDataFrame, crs: str, cell_m: float, ids: Ints
) -> None:
    """Add what `count_in_grid` counts to `out`, (n, 8). ids: (n,)."""
    hit, cell = _in_grid(pois.geometry.x.to_numpy(), pois.geometry.y.to_numpy(), crs, cell_m, ids)
    np.add.at(out, (cell, category_index(pois)[hit]), 1)


def sum_ground(ground: Ground, cells: gpd.GeoDataFrame, *, radius_m: float | None = None) -> Floats:
    """Amounts per cell and measure, (cells, measures), in the order of `poi.ground.MEASURES`: as `count_pois` counts.

    Raises ValueError as `count_pois` does."""
    if (cells.attrs.get("kind") == "stations") != (radius_m is not None):
        raise ValueError(f"radius_m is {radius_m}: stations need one, cells have none")
    if radius_m is None:
        hit, cell = inside(np.asarray(shapely.points(ground.at), dtype=object), cells.geometry.to_numpy())
        return _add_up(ground, hit, cell, len(cells))
    tree = cKDTree(earth_metres(ground.at[:, 0], ground.at[:, 1]))
    at = earth_metres(cells.geometry.x.to_numpy(), cells.geometry.y.to_numpy())
    out = np.zeros((len(cells), len(MEASURES)))
    for row, near in enumerate(at):  # one at a time, so that no list of pairs is held
        rows = tree.query_ball_point(near, radius_m)
        out[row] = np.bincount(ground.measure[rows], ground.amount[rows], len(MEASURES))
    return out


def sum_in_grid(ground: Ground, crs: str, cell_m: float, ids: Ints) -> Floats:
    """Amounts per cell and measure, (n, measures), for the cells of `poi.grid` with these ids, size and UTM zone.

    ids: (n,).
    """
    cell, measure, amount = amounts_in_grid(ground, crs, cell_m, ids)
    out = np.zeros((len(ids), len(MEASURES)))
    out[cell, measure] = amount
    return out


def amounts_in_grid(ground: Ground, crs: str, cell_m: float, ids: Ints) -> tuple[Ints, Ints, Floats]:
    """What `sum_in_grid` sums where there is anything: which of the cells, which measure, how much, (m,) each.

    ids: (n,).
    """
    hit, cell = _in_grid(ground.at[:, 0], ground.at[:, 1], crs, cell_m, ids)
    used, where = np.unique(cell * len(MEASURES) + ground.measure[hit], return_inverse=True)
    cell, measure = np.divmod(used, len(MEASURES))
    return cell, measure, np.bincount(where, ground.amount[hit], len(used)).astype(np.float64)


def _add_up(ground: Ground, hit: Ints, cell: Ints, cells: int) -> Floats:
    flat = np.bincount(cell * len(MEASURES) + ground.measure[hit], ground.amount[hit], cells * len(MEASURES))
    return flat.reshape(cells, len(MEASURES)).astype(np.float64)


def _in_grid(lon: Floats, lat: Floats, crs: str, cell_m: float, ids: Ints) -> tuple[Ints, Ints]:
    """Pairs (point, cell) of the points (m,) degrees that lie in one of the cells (n,)."""
    x, y = Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(lon, lat)
    cell_of = cell_ids(np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64), crs, cell_m)
    order = None if (ids[1:] > ids[:-1]).all() else np.argsort(ids)
    at = np.searchsorted(ids, cell_of, sorter=order)
    at[at == len(ids)] = 0
    cell = at if order is None else order[at]
    hit = np.flatnonzero(ids[cell] == cell_of)
    return hit, cell[hit]


def category_index(pois: gpd.GeoDataFrame) -> Ints:
    """Index into CATEGORIES of each POI, (n,). Raises ValueError for a category that is none of the eight."""
    index = np.asarray(pois["category"].map({name: i for i, name in enumerate(CATEGORIES)}), dtype=np.float64)
    if np.isnan(index).any():
        raise ValueError(f"unknown category {pois['category'][np.isnan(index)].iloc[0]!r}: known are {CATEGORIES}")
    return index.astype(np.int64)


def inside(points: npt.NDArray[np.object_], areas: npt.NDArray[np.object_]) -> tuple[Ints, Ints]:
    """Pairs (poi, cell) where the POI lies in the cell, edges shared out. points: (pois,), areas: (cells,)."""
    tree = shapely.STRtree(areas)
    poi, cell = tree.query(points, predicate="intersects")
    on_edge = ~shapely.contains_properly(areas[cell], points[poi])
    # an edge POI counts in one cell: the first that it touches, and none if it lies inside another
    inner = np.unique(poi[~on_edge])
    edge = np.flatnonzero(on_edge & ~np.isin(poi, inner))
    edge = edge[np.lexsort((cell[edge], poi[edge]))]
    _, first = np.unique(poi[edge], return_index=True)
    keep = np.concatenate([np.flatnonzero(~on_edge), edge[first]])
    return poi[keep].astype(np.int64), cell[keep].astype(np.int64)


def _count_around(pois: gpd.GeoDataFrame, stations: gpd.GeoDataFrame, radius_m: float) -> Ints:
    """Counts within a radius, one category at a time, so that no list of pairs is held."""
    category = category_index(pois)
    at = earth_metres(stations.geometry.x.to_numpy(), stations.geometry.y.to_numpy())
    where = earth_metres(pois.geometry.x.to_numpy(), pois.geometry.y.to_numpy())
    counts = np.zeros((len(stations), len(CATEGORIES)), dtype=np.int64)
    for index in range(len(CATEGORIES)):
        members = where[category == index]
        if len(members):
            counts[:, index] = cKDTree(members).query_ball_point(at, radius_m, return_length=True)
    return counts


def _tally(poi: Ints, cell: Ints, category: Ints, cells: int) -> Ints:
    flat = np.bincount(cell * len(CATEGORIES) + category[poi], minlength=cells * len(CATEGORIES))
    return flat.reshape(cells, len(CATEGORIES)).astype(np.int64)
