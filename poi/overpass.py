"""The Overpass API's questions and answers, as text and dictionaries. Touches neither file nor network.

Asked is for what `poi.categories` counts, over a boundary cut into parts that a server answers in time. An answer holds
the geometry of its elements inline (`out geom`, as asked here) or the nodes of its ways beside them (as osmnx asks);
both are read. An answer with a `remark` is partial, whatever its HTTP status said, and is refused.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from pyproj import Transformer
from shapely.geometry import Polygon
from shapely.geometry.base import BaseGeometry

from poi.basemap import TAGS, Drawn, build, map_class
from poi.categories import categorise, osm_tags
from poi.elements import AREA_RELATIONS, BaseMap, Ground, Nodes, Place
from poi.errors import BadFile, PoiError
from poi.grid import crosses_180, to_metres, utm_crs
from poi.ground import Standing, sum_up
from poi.points import Floats, middle_of_box, newest_of_each, relation_point, way_points

NO_NODES = Nodes(np.empty(0, dtype=np.int64), np.empty((0, 2)))  # an answer with geometries needs none
MAX_PARTS = 100
MAX_ELEMENTS = 10_000_000  # of an answer, which is held whole


class Partial(BadFile):
    """The answer carries a remark: the server stopped before its end."""


@dataclass(frozen=True)
class Found:
    """Tagged points, one for each element that names a place."""

    lon: Floats
    lat: Floats
    key: tuple[str, ...]
    value: tuple[str, ...]
    element: tuple[tuple[str, int], ...]  # (type, id)
    unplaced: int  # elements that the answer gives no coordinates for
    snapshot: str | None  # timestamp_osm_base
    extent: tuple[float, float, float, float] | None  # west, south, east, north of all coordinates


def query(polygon: Polygon, timeout_s: int) -> str:
    """Overpass QL for every element inside a polygon (degrees, holes ignored) that has one of the table's tags."""
    corners = " ".join(f"{lat:.6f} {lon:.6f}" for lon, lat in polygon.exterior.coords)
    clauses = []
    for key, values in osm_tags().items():
        wanted = f'"{key}"' if isinstance(values, bool) else f'"{key}"~"^({"|".join(values)})$"'
        clauses.append(f'nwr[{wanted}](poly:"{corners}");')
    return f"[out:json][timeout:{timeout_s}];({''.join(clauses)});out geom qt;"


def map_query(polygon: Polygon, timeout_s: int, *, streets: bool = True, buildings: bool = False) -> str:
    """Overpass QL for what a map shows of a polygon (degrees), and what stands there: see `poi.basemap`, `poi.ground`.

    streets: the small ones, and land by use, too. buildings: these, too."""
    corners = " ".join(f"{lat:.6f} {lon:.6f}" for lon, lat in polygon.exterior.coords)
    wanted: dict[str, list[str]] = {}
    for key, value in TAGS:
        small = key == "highway" and map_class("w", {key: value}) == "street"
        if streets or not small:
            wanted.setdefault(key, []).append(value)
    if streets:
        wanted["landuse"] += ["residential", "commercial", "retail", "industrial"]
    kinds = {"place": "node", "highway": "way", "railway": "way"}
    clauses = [f'{kinds.get(key, "wr")}["{key}"~"^({"|".join(values)})$"](poly:"{corners}");'
               for key, values in wanted.items()]  # fmt: skip
    if buildings:
        clauses.append(f'wr["building"](poly:"{corners}");')
    return f"[out:json][timeout:{timeout_s}];({''.join(clauses)});out geom qt;"


def parts(boundary: BaseGeometry, margin_m: float, max_area_m2: float) -> list[Polygon]:
    """Polygons in degrees that together cover a boundary and `margin_m` around it, none much larger than `max_area_m2`.

    Raises PoiError where there would be more than MAX_PARTS."""
    crs = utm_crs(boundary)
    if crosses_180(boundary):
        raise PoiError("the area lies on both sides of the 180th meridian: split it there, or give --osm FILE")
    metric = to_metres(boundary, crs)
    if not all(map(math.isfinite, metric.bounds)):
        raise PoiError(f"the area reaches too far beyond {crs}: split it from west to east")
    wide = metric.buffer(max(margin_m, 1.0)).simplify(max(margin_m, 1.0) / 4)
    west, south, east, north = wide.bounds
    side = math.sqrt(max_area_m2)
    cols, rows = math.ceil((east - west) / side), math.ceil((north - south) / side)
    if rows * cols > 100 * MAX_PARTS:
        raise PoiError(f"the area spans {rows * cols} questions to Overpass: give an extract with --osm FILE")
    tiles = _tiles(west, south, east, north, rows, cols)
    shapely.prepare(wide)
    cut = shapely.intersection(tiles[shapely.intersects(wide, tiles)], wide)
    if len(cut) > MAX_PARTS:
        raise PoiError(f"the area needs {len(cut)} questions to Overpass: give an extract with --osm FILE")
    back = Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform
    # neighbours overlap: an edge that is straight in metres is bent in degrees, by up to 50 m over 50 km
    hulls = shapely.buffer(shapely.convex_hull(cut), 100.0, quad_segs=2)
    hulls = shapely.transform(hulls, lambda xy: np.stack(back(xy[:, 0], xy[:, 1]), axis=-1))
    return [hull for hull in hulls if isinstance(hull, Polygon)]


def places(answer: Any, name: str) -> Found:
    """The places among an answer's elements, each element once.

    Raises Partial where the answer carries a remark, BadFile where it is not an Overpass answer."""
    if isinstance(answer, Mapping) and answer.get("type") in ("FeatureCollection", "Feature"):
        raise BadFile(f"{name} is GeoJSON: a map comes as .osm, .osm.pbf, an Overpass answer, or a table of POIs")
    if not isinstance(answer, Mapping) or not isinstance(answer.get("elements"), list):
        raise BadFile(f"{name} is not an Overpass answer: it holds no list of elements")
    if answer.get("remark"):
        raise Partial(f"{name} is partial: the server remarks {str(answer['remark']).strip()[:200]!r}")
    try:
        return _places(answer)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise BadFile(f"{name} is not an Overpass answer: an element breaks the format ({error!r})") from error


def _places(answer: Mapping[str, Any]) -> Found:
    elements: list[Mapping[str, Any]] = answer["elements"]
    if len(elements) > MAX_ELEMENTS:
        raise ValueError(f"{len(elements)} elements are more than {MAX_ELEMENTS}")
    every = newest_of_each((e["type"] for e in elements), (int(e["id"]) for e in elements),
                           [int(e.get("version", 0)) for e in elements])  # fmt: skip
    elements = [elements[i] for i in every if elements[i].get("visible", True)]
    nodes = {int(e["id"]): _lonlat(e) for e in elements if e["type"] == "node"}
    ways = {int(e["id"]): _way(e, nodes) for e in elements if e["type"] == "way"}
    hits = [(e, hit) for e in elements if e.get("tags") and _names_a_place(e) and (hit := categorise(e["tags"]))]
    for _, hit in hits:
        "".join(hit).encode()  # raises UnicodeEncodeError for what is no text
    points = np.full((len(hits), 2), np.nan)
    is_way = [i for i, (e, _) in enumerate(hits) if e["type"] == "way"]
    points[is_way] = way_points([ways[int(hits[i][0]["id"])] for i in is_way])
    for i, (e, _) in enumerate(hits):
        if e["type"] == "node":
            points[i] = nodes[int(e["id"])]
        elif e["type"] == "relation":
            points[i] = relation_point(list(_members(e, ways)))
        if np.isnan(points[i]).any() and "center" in e:
            points[i] = _lonlat(e["center"])
        elif np.isnan(points[i]).any() and "bounds" in e:  # what Overpass calls the centre is the middle of its box
            points[i] = middle_of_box(*(float(e["bounds"][side]) for side in ("minlon", "minlat", "maxlon", "maxlat")))
    known = ~np.isnan(points).any(axis=1)
    placed = [hits[i] for i in np.flatnonzero(known)]
    corners = np.concatenate([points[known], *([list(nodes.values())] if nodes else [])])
    return Found(
        lon=points[known, 0],
        lat=points[known, 1],
        key=tuple(key for _, (_, key, _) in placed),
        value=tuple(value for _, (_, _, value) in placed),
        element=tuple((str(e["type"]), int(e["id"])) for e, _ in placed),
        unplaced=int((~known).sum()),
        snapshot=(answer.get("osm3s") or {}).get("timestamp_osm_base"),
        extent=_bounds(corners) if len(corners) else None,
    )


def basemap_of(answer: Mapping[str, Any]) -> BaseMap | None:
    """What a map shows of an answer that `places` has read; None for nothing."""
    drawn = Drawn()
    for kind, _, tags, place in _tagged(answer):
        found = map_class(kind, tags)
        if found is not None:
            drawn.add(found, tags, place)
    return build(drawn, {}, NO_NODES)


def ground_of(answer: Mapping[str, Any]) -> Ground | None:
    """What stands on the ground of an answer that `places` has read; None for nothing."""
    standing = Standing()
    for kind, number, tags, place in _tagged(answer):
        standing.look_at(kind, number, tags, place)
    return sum_up(standing, {}, NO_NODES)


def _tagged(answer: Mapping[str, Any]) -> Iterator[tuple[str, int, dict[str, str], Place]]:
    """Each element that has tags, once: n, w or r, its number, its tags, its place."""
    elements: list[Mapping[str, Any]] = answer["elements"]
    nodes = {int(e["id"]): _lonlat(e) for e in elements if e["type"] == "node"}
    ways = {int(e["id"]): _way(e, nodes) for e in elements if e["type"] == "way"}
    seen = set[tuple[str, int]]()
    for e in elements:
        one = (str(e["type"]), int(e["id"]))
        if not e.get("tags") or one in seen:
            continue
        seen.add(one)
        tags = {str(key): str(value) for key, value in e["tags"].items()}
        place: Place = nodes[one[1]] if one[0] == "node" else ways.get(one[1], np.empty((0, 2)))
        yield one[0][:1], one[1], tags, list(_members(e, ways)) if one[0] == "relation" else place


def _bounds(corners: Floats) -> tuple[float, float, float, float]:
    (west, south), (east, north) = corners.min(axis=0), corners.max(axis=0)
    return float(west), float(south), float(east), float(north)


def _names_a_place(element: Mapping[str, Any]) -> bool:
    return element["type"] in ("node", "way") or (
        element["type"] == "relation" and element["tags"].get("type") in AREA_RELATIONS
    )


def _members(relation: Mapping[str, Any], ways: Mapping[int, Floats]) -> Iterator[Floats]:
    for member in relation.get("members", ()):
        if member["type"] == "way":
            ref = int(member["ref"])
            yield _corners_of(member["geometry"]) if "geometry" in member else ways.get(ref, np.empty((0, 2)))


def _way(way: Mapping[str, Any], nodes: Mapping[int, tuple[float, float]]) -> Floats:
    if "geometry" in way:
        return _corners_of(way["geometry"])
    unknown = (math.nan, math.nan)
    return np.asarray([nodes.get(int(ref), unknown) for ref in way.get("nodes", ())], dtype=np.float64).reshape(-1, 2)


def _corners_of(geometry: Sequence[Mapping[str, Any] | None]) -> Floats:
    return np.asarray([_lonlat(p) if p else (math.nan, math.nan) for p in geometry], dtype=np.float64).reshape(-1, 2)


def _lonlat(holder: Mapping[str, Any]) -> tuple[float, float]:
    lon, lat = float(holder["lon"]), float(holder["lat"])
    if not (-180 <= lon <= 180 and -90 <= lat <= 90):
        raise ValueError(f"lon {lon}, lat {lat} is not on earth")
    return lon, lat


def _tiles(west: float, south: float, east: float, north: float, rows: int, cols: int) -> npt.NDArray[np.object_]:
    """Equal boxes that tile an extent, (rows * cols,)."""
    x, y = np.linspace(west, east, cols + 1), np.linspace(south, north, rows + 1)
    row, col = (a.ravel() for a in np.mgrid[0:rows, 0:cols])
    return np.asarray(shapely.box(x[col], y[row], x[col + 1], y[row + 1]), dtype=object)
