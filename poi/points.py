"""Elements of OpenStreetMap -> points of interest, whatever file or server they came from. Touches no file.

Node: where it is. Closed way: a point inside its area. Open way (a platform drawn as a line): its middle. Multipolygon:
a point inside the area that its members enclose. Where an extract cuts an element so that its shape is not known, the
mean of its known corners stands for it: each element is one point, never none and never two.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import shapely
from shapely.geometry.base import BaseGeometry

from poi.categories import CATEGORIES, ECHO_M, categorise_table

if TYPE_CHECKING:
    import geopandas as gpd

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Origin:
    """Where points come from: what a context file says of its data."""

    source: str  # a file's name, or the server's
    snapshot: str  # when the map was so: a date, a range of dates, or "unknown"
    sha256: str  # of the file, or of the server's answers one after the other
    extent: tuple[float, float, float, float] | None = None  # west, south, east, north that the source covers
    stated: bool = False  # whether the source itself says so; else it is the box of its points
    warnings: tuple[str, ...] = field(default=())


def make_pois(
    lon: npt.ArrayLike,
    lat: npt.ArrayLike,
    key: Sequence[str],
    value: Sequence[str],
    origin: Origin,
    boundary: BaseGeometry | None = None,
    category: npt.NDArray[np.int64] | None = None,
) -> gpd.GeoDataFrame:
    """POIs: points in EPSG:4326 with `category`, `key`, `value`; `.attrs` holds the fields of Origin.

    category: index into CATEGORIES or -1, (n,), by default what the tags say.
    Tags that name no place are left out, echoes of another POI as well (see `poi.categories.ECHO_M`), and points
    outside the boundary (degrees; a point on its edge is inside).
    lon, lat: (n,) degrees.
    """
    import geopandas as gpd  # here, because the child that reads PBF needs the shapes only

    xy = np.stack([np.asarray(lon, dtype=np.float64), np.asarray(lat, dtype=np.float64)], axis=-1)  # (n, 2)
    category = categorise_table(key, value) if category is None else category
    keys, values = np.asarray(key, dtype=object), np.asarray(value, dtype=object)
    keep = category >= 0
    keep[keep] = ~_echoes(xy[keep], category[keep], keys[keep], values[keep])
    if boundary is not None:
        keep[keep] = _inside(xy[keep], boundary)
    names = np.asarray(CATEGORIES, dtype=object)
    columns = {"category": names[category[keep]], "key": keys[keep], "value": values[keep]}
    pois = gpd.GeoDataFrame(columns, geometry=shapely.points(xy[keep]), crs="EPSG:4326")
    pois.attrs.update(
        source=origin.source,
        snapshot=origin.snapshot,
        sha256=origin.sha256,
        extent=origin.extent,
        extent_stated=origin.stated,
        warnings=list(origin.warnings),
    )
    return pois


def way_points(ways: Sequence[Floats]) -> Floats:
    """One point, (n, 2), for each way given as its corners (m, 2), where NaN is a corner that is not known.

    NaN where no corner is known.
    ways: each (m, 2) degrees.
    """
    ways = [_unwrapped(way) for way in ways]
    points = np.full((len(ways), 2), np.nan)
    whole = [len(w) > 1 and not np.isnan(w).any() for w in ways]
    closed = [w and len(c) > 3 and bool(np.array_equal(c[0], c[-1])) for w, c in zip(whole, ways, strict=True)]
    rings = [i for i in range(len(ways)) if closed[i]]
    lines = [i for i in range(len(ways)) if whole[i] and not closed[i]]
    if rings:
        corners, row = _ragged([ways[i] for i in rings])
        points[rings] = area_points(np.asarray(shapely.polygons(shapely.linearrings(corners, indices=row))))
    if lines:
        corners, row = _ragged([ways[i] for i in lines])
        middle = shapely.line_interpolate_point(shapely.linestrings(corners, indices=row), 0.5, normalized=True)
        points[lines] = np.stack([shapely.get_x(middle), shapely.get_y(middle)], axis=-1)
    for i, way in enumerate(ways):
        if np.isnan(points[i, 0]):
            points[i] = _mean(way)
    return _wrapped(points)


def relation_point(members: Sequence[Floats]) -> Floats:
    """One point for a multipolygon given as the corners of its member ways, (2,); NaN where no corner is known.

    The area is what the lines enclose an odd number of times, whatever roles the members say.
    members: each (m, 2) degrees.
    """
    members = _split(_unwrapped(np.concatenate([*members, np.empty((0, 2))])), [len(m) for m in members])
    lines = [shapely.LineString(m) for m in members if len(m) > 1 and not np.isnan(m).any()]
    point = np.full(2, np.nan)
    if lines:
        point = area_points(np.asarray([shapely.build_area(shapely.union_all(lines))], dtype=object))[0]
    return _wrapped(point if not np.isnan(point).any() else _mean(np.concatenate([*members, np.empty((0, 2))])))


def area_points(areas: npt.NDArray[np.object_]) -> Floats:
    """A point inside each area, (n, 2); NaN for an area that encloses nothing. Crossed outlines are made valid first.

    areas: (n,) polygons.
    """
    areas = np.asarray(areas, dtype=object)
    crossed = ~shapely.is_valid(areas)
    areas[crossed] = shapely.make_valid(areas[crossed])
    points = np.full((len(areas), 2), np.nan)
    some = shapely.area(areas) > 0
    inside = shapely.point_on_surface(areas[some])
    points[some] = np.stack([shapely.get_x(inside), shapely.get_y(inside)], axis=-1)
    return points


def newest_of_each(
    kind: Iterable[str], number: Iterable[int], version: Iterable[int] | None = None
) -> npt.NDArray[np.int64]:
    """Positions of the newest version of each element (kind, id), of like ones the first, in order of their elements.

    Merged extracts hold elements twice, perhaps in several versions.
    """
    newest: dict[tuple[str, int], tuple[int, int]] = {}
    elements = list(zip(kind, number, strict=True))
    for i, (one, told) in enumerate(zip(elements, version or [0] * len(elements), strict=True)):
        if one not in newest or newest[one][0] < told:
            newest[one] = told, i
    return np.fromiter((i for _, i in newest.values()), dtype=np.int64, count=len(newest))


def _echoes(
    xy: Floats, category: npt.NDArray[np.int64], key: npt.NDArray[np.object_], value: npt.NDArray[np.object_]
) -> npt.NDArray[np.bool_]:
    """Which points say again what another one of their category says within ECHO_M metres. (n,)"""
    from scipy.spatial import cKDTree

    echo, reach = np.zeros(len(xy), dtype=bool), np.zeros(len(xy))
    for (echo_key, echo_value), metres in ECHO_M.items():
        reach[(key == echo_key) & ((value == echo_value) | (echo_value == "*"))] = metres
    if not (reach > 0).any():
        return echo
    metric = earth_metres(xy[:, 0], xy[:, 1])
    for index in np.unique(category[reach > 0]):
        doubtful = np.flatnonzero((category == index) & (reach > 0))
        certain = np.flatnonzero((category == index) & (reach == 0))
        if len(certain):
            away, _ = cKDTree(metric[certain]).query(metric[doubtful])
            echo[doubtful] = away <= reach[doubtful]
    return echo


def earth_metres(lon: Floats, lat: Floats) -> Floats:
    """Points in degrees as earth-centred metres (n, 3): straight distances are those on the ground, to a millimetre in
    a kilometre, anywhere and in any extent.
    lon, lat: (n,) degrees.
    """
    from pyproj import Transformer

    to_centre = Transformer.from_crs("EPSG:4979", "EPSG:4978", always_xy=True)
    return np.stack(to_centre.transform(lon, lat, np.zeros(len(lon))), axis=-1)


def _inside(xy: Floats, boundary: BaseGeometry) -> npt.NDArray[np.bool_]:
    west, south, east, north = boundary.bounds
    near = (xy[:, 0] >= west) & (xy[:, 0] <= east) & (xy[:, 1] >= south) & (xy[:, 1] <= north)
    shapely.prepare(boundary)
    near[near] = shapely.intersects_xy(boundary, xy[near, 0], xy[near, 1])
    return near


def _ragged(ways: Sequence[Floats]) -> tuple[Floats, npt.NDArray[np.int64]]:
    return np.concatenate(ways), np.repeat(np.arange(len(ways)), [len(w) for w in ways])


def _unwrapped(corners: Floats) -> Floats:
    """Corners on both sides of the 180th meridian with longitudes that go on beyond it. (n, 2)"""
    lon = corners[:, 0]
    known = lon[~np.isnan(lon)]
    if not len(known) or known.max() - known.min() <= 180.0:
        return corners
    return np.stack([np.where(lon < 0, lon + 360.0, lon), corners[:, 1]], axis=-1)


def _wrapped(points: Floats) -> Floats:
    """Longitudes back to -180 to 180."""
    points[..., 0] = np.where(points[..., 0] > 180.0, points[..., 0] - 360.0, points[..., 0])
    return points


def _split(corners: Floats, lengths: Sequence[int]) -> list[Floats]:
    return np.split(corners, np.cumsum(lengths)[:-1]) if lengths else []


def _mean(corners: Floats) -> Floats:
    known = corners[~np.isnan(corners).any(axis=1)]
    return known.mean(axis=0) if len(known) else np.full(2, np.nan)


def middle_of_box(west: float, south: float, east: float, north: float) -> tuple[float, float]:
    """(lon, lat) of the middle of a box in degrees; west of east where it crosses the 180th meridian.

    Raises ValueError for a box that is not on earth.
    """
    if not (-180 <= west <= 180 and -180 <= east <= 180 and -90 <= south <= north <= 90):
        raise ValueError(f"bounds of {west:g}, {south:g}, {east:g}, {north:g} are not on earth")
    lon = (west + east) / 2 if west <= east else (west + east) / 2 + (180.0 if west + east < 0 else -180.0)
    return round(lon, 7), round((south + north) / 2, 7)
