"""What a map shows beneath the numbers: streets, rail, water, parks, the coast and names of places, simplified.

Lines and areas of a few classes, in whole 1e-5 degrees (about a metre), simplified by Douglas-Peucker in metres, and
names at points. Built from the same elements as the points of interest; a source that has none gives none. Touches no
file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from poi.elements import BaseMap, Extent, Ints, Nodes, Place
from poi.points import Floats

# In the order in which they are drawn: areas, then lines.
CLASSES = ("sea", "park", "water", "waterway", "street", "main", "motorway", "rail", "coast")
AREAS = frozenset({"sea", "park", "water"})
NAMES = ("city", "town", "suburb", "village", "neighbourhood")  # from the largest to the smallest
UNIT = 1e-5  # degrees of a whole number
MAX_NODES = 8_000_000  # of a source within the box: of a larger one no map is made
MAX_POINTS = 250_000  # of a map: about 1 MB in a page
TOLERANCES_M = (4.0, 7.0, 12.0, 20.0, 35.0, 60.0)  # tried in turn until a map has at most MAX_POINTS
SMALLEST_M2 = 1500.0  # areas below are left out
_DEGREE_M = 111_320.0
_HIGHWAYS = {
    "motorway": "motorway", "trunk": "motorway", "primary": "main", "secondary": "main", "tertiary": "main",
    "residential": "street", "unclassified": "street", "living_street": "street", "pedestrian": "street",
    "road": "street",
}  # fmt: skip
_OTHERS = {
    ("railway", "rail"): "rail", ("railway", "light_rail"): "rail", ("railway", "narrow_gauge"): "rail",
    ("waterway", "river"): "waterway", ("waterway", "canal"): "waterway", ("waterway", "riverbank"): "water",
    ("natural", "coastline"): "coast", ("natural", "water"): "water", ("natural", "wood"): "park",
    ("landuse", "reservoir"): "water", ("landuse", "basin"): "water", ("landuse", "forest"): "park",
    ("landuse", "cemetery"): "park", ("landuse", "recreation_ground"): "park", ("landuse", "village_green"): "park",
    ("leisure", "park"): "park", ("leisure", "golf_course"): "park", ("leisure", "garden"): "park",
}  # fmt: skip
_PLACES = {"city": "city", "town": "town", "suburb": "suburb", "borough": "suburb", "quarter": "neighbourhood",
           "village": "village", "hamlet": "neighbourhood", "neighbourhood": "neighbourhood"}  # fmt: skip
TAGS = (
    *(("highway", name + link) for name in _HIGHWAYS for link in ("", "_link")), *_OTHERS,
    *(("place", name) for name in _PLACES),
)  # fmt: skip
_MOST_FACES = 500
_BRIDGES = 0.01  # share of the streets' corners that may lie in the sea
_LONGEST = 60  # letters of a name


def map_class(kind: str, tags: Mapping[str, str]) -> str | None:
    """The class of an element for a map, a member of CLASSES or NAMES, or None. kind: n, w or r."""
    if kind == "n":
        return _PLACES.get(tags.get("place", "")) if tags.get("name") else None
    if kind == "w" and (road := tags.get("highway")):
        return None if tags.get("area") == "yes" else _HIGHWAYS.get(road.removesuffix("_link"))
    if kind == "r" and tags.get("type") != "multipolygon":
        return None
    for key in ("railway", "natural", "waterway", "landuse", "leisure"):
        shape = _OTHERS.get((key, tags.get(key, "")))
        if shape is None or (kind == "r" and shape not in AREAS):
            continue
        hidden = tags.get("tunnel") not in (None, "no") or (shape == "rail" and "service" in tags)
        return None if hidden else shape
    return None


@dataclass
class Drawn:
    """The elements of a source that a map shows, as they are found."""

    kind: list[str] = field(default_factory=list)
    place: list[Place] = field(default_factory=list)
    names: list[tuple[str, str, float, float]] = field(default_factory=list)  # text, class, lon, lat
    weight: list[float] = field(default_factory=list)  # what an element counts, beside its size
    areas: frozenset[str] = AREAS

    def add(self, kind: str, tags: Mapping[str, str], place: Place, weight: float = 1.0) -> None:
        """Keep an element. kind: what `map_class` says of it.

        place: lon, lat; or of a way (m, 2) degrees or (m,) ids of nodes; or a list of these for a relation."""
        if kind not in NAMES:
            self.kind.append(kind)
            self.place.append(place)
            self.weight.append(weight)
        elif isinstance(place, tuple) and np.isfinite(place[0]):
            self.names.append((" ".join(tags["name"].split())[:_LONGEST], kind, *place))

    def keep(self, nodes: Nodes, first: int = 0) -> None:
        """Drop the ways from `first` on, given by ids of nodes, of which no node is known: they lie elsewhere."""
        ways = [i for i in range(first, len(self.kind)) if _by_ids(self.place[i])]
        if not ways:
            return
        ids = np.concatenate([np.asarray(self.place[i], dtype=np.int64) for i in ways])
        of = np.repeat(np.arange(len(ways)), [len(np.asarray(self.place[i])) for i in ways])
        near = np.bincount(of[_known(nodes, ids)], minlength=len(ways)) > 0
        drop = {way for way, kept in zip(ways, near, strict=True) if not kept}
        kept = [i for i in range(first, len(self.kind)) if i not in drop]
        self.kind[first:], self.place[first:] = [self.kind[i] for i in kept], [self.place[i] for i in kept]
        self.weight[first:] = [self.weight[i] for i in kept]

    def members(self) -> set[int]:
        """Ids of the ways that outline the areas given as relations."""
        return {part for place in self.place if isinstance(place, list) for part in place if isinstance(part, int)}

    def lacking(self, outlines: Mapping[int, Ints | Floats], nodes: Nodes) -> Ints:
        """Ids of nodes of areas that reach beyond what `nodes` knows: an area is drawn whole, and cut later.

        outlines: id of a way -> (m,) ids of nodes, or (m, 2) degrees."""
        wanted: list[Ints] = []
        for kind, place in zip(self.kind, self.place, strict=True):
            parts = [place] if not isinstance(place, list) else [outlines.get(p) if isinstance(p, int) else p
                                                                 for p in place]  # fmt: skip
            ids = [np.asarray(part, dtype=np.int64) for part in parts if part is not None and _by_ids(part)]
            if kind in self.areas and ids:
                every = np.concatenate(ids)
                known = _known(nodes, every)
                if known.any():
                    wanted.append(every[~known])
        return np.unique(np.concatenate([np.empty(0, dtype=np.int64), *wanted]))


def _by_ids(place: object) -> bool:
    return isinstance(place, np.ndarray) and place.ndim == 1


def _known(nodes: Nodes, ids: Ints) -> npt.NDArray[np.bool_]:
    if not len(nodes.ids):
        return np.zeros(len(ids), dtype=bool)
    at = np.searchsorted(nodes.ids, ids)
    at[at == len(nodes.ids)] = 0
    return np.asarray(nodes.ids[at] == ids)


@dataclass
class NodesWithin:
    """Nodes of a file that lie in a box (degrees; None for all), collected block by block; at most MAX_NODES."""

    box: Extent | None = None
    ids: list[Ints] = field(default_factory=list)
    at: list[npt.NDArray[np.int32]] = field(default_factory=list)
    count: int = 0

    @property
    def too_many(self) -> bool:
        """Whether there are more than a map is made of."""
        return self.count > MAX_NODES

    def add(self, ids: Ints, lon: Floats, lat: Floats) -> None:
        """Nodes with their places. ids: (n,). lon, lat: (n,) degrees."""
        if self.too_many:
            return
        if self.box is not None:
            west, south, east, north = self.box
            inside = (lon >= west) & (lon <= east) & (lat >= south) & (lat <= north)
            ids, lon, lat = ids[inside], lon[inside], lat[inside]
        self.count += len(ids)
        self.ids.append(ids)
        self.at.append(np.rint(np.stack([lon, lat], axis=-1) * 1e7).astype(np.int32))
        if self.too_many:
            self.ids, self.at = [], []

    def nodes(self) -> Nodes:
        """What was found, sorted by id."""
        ids = np.concatenate([np.empty(0, dtype=np.int64), *self.ids])
        order = np.argsort(ids, kind="stable")
        return Nodes(ids[order], np.concatenate([np.empty((0, 2), dtype=np.int32), *self.at])[order])


# --- building ---------------------------------------------------------------------------------------------------------


def build(drawn: Drawn, outlines: Mapping[int, Ints | Floats], nodes: Nodes) -> BaseMap | None:
    """The map of what was found; None for nothing, for what lies on both sides of the 180th meridian, and where shapes
    are so torn that no geometry comes of them: a source is read for its points of interest, and not refused for that.

    outlines: id of a way -> (m,) ids of nodes or (m, 2) degrees, for areas given as relations."""
    try:
        return _build(drawn, outlines, nodes)
    except (shapely.errors.ShapelyError, ValueError):
        return None


def _build(drawn: Drawn, outlines: Mapping[int, Ints | Floats], nodes: Nodes) -> BaseMap | None:
    lines: dict[str, list[Floats]] = {}
    areas: dict[str, list[Any]] = {}
    for kind, place in zip(drawn.kind, drawn.place, strict=True):
        if kind not in AREAS:
            if not isinstance(place, list | tuple):
                lines.setdefault(kind, []).extend(runs_of(nodes.corners(place)))
            continue
        parts = place if isinstance(place, list) else [place]
        corners = [nodes.corners(np.asarray(c)) for part in parts if (c := outline_of(part, outlines)) is not None]
        areas.setdefault(kind, []).extend(areas_of(corners, isinstance(place, list)))
    geometries: dict[str, Any] = {kind: shapely.MultiLineString([shapely.LineString(run) for run in runs])
                  for kind, runs in lines.items() if runs}  # fmt: skip
    geometries |= {kind: shapely.MultiPolygon(pieces) for kind, pieces in areas.items() if pieces}
    if not geometries and not drawn.names:
        return None
    everything = shapely.GeometryCollection(list(geometries.values()))
    if not everything.is_empty and everything.bounds[2] - everything.bounds[0] > 180.0:
        return None
    return _pack(geometries, None, drawn.names, TOLERANCES_M[0])


def cut(base: BaseMap, box: Extent, most: int = MAX_POINTS) -> BaseMap | None:
    """The part of a map within a box (degrees), thinned to at most about `most` points; None where nothing lies there.

    The sea is what lies to the right of the coast's lines. Where no tolerance is coarse enough, streets are left out
    first, then parks, then main roads and rivers."""
    try:
        return _cut(base, box, most)
    except (shapely.errors.ShapelyError, ValueError):
        return None


def _cut(base: BaseMap, box: Extent, most: int) -> BaseMap | None:
    geometries = unpacked(base)
    rectangle = shapely.box(*box)
    inside: dict[str, Any] = {}
    for kind, shapes in geometries.items():
        parts = shapely.intersection(shapes, rectangle) if kind in AREAS else shapely.clip_by_rect(shapes, *box)
        if not shapely.is_empty(parts).all():
            inside[kind] = shapely.GeometryCollection(list(parts[~shapely.is_empty(parts)]))
    names = [
        (text, NAMES[kind], float(lon), float(lat))
        for text, kind, (lon, lat) in zip(base.name, base.name_kind, base.name_at, strict=True)
        if _inside((lon, lat), box)
    ]
    if not inside and not names:
        return None
    for left_out in ((), ("street",), ("street", "park"), ("street", "park", "main", "waterway")):
        for tolerance in TOLERANCES_M:
            kept = {kind: shapes for kind, shapes in inside.items() if kind not in left_out}
            result = _pack(kept, box, names, tolerance)
            if len(result.at) <= most:
                return result
    return result


def unpacked(base: BaseMap) -> dict[str, npt.NDArray[np.object_]]:
    """Class -> its lines, or its polygons, in degrees, each (n,)."""
    geometries: dict[str, npt.NDArray[np.object_]] = {}
    row = np.repeat(np.arange(len(base.size)), base.size)
    for code in np.unique(base.kind):
        of = np.flatnonzero(base.kind == code)
        mine = np.isin(row, of)
        index = np.searchsorted(of, row[mine])
        corners = base.at[mine] * UNIT
        if CLASSES[code] in AREAS:
            rings = shapely.linearrings(corners, indices=index)
            geometries[CLASSES[code]] = _with_holes(rings)
        else:
            geometries[CLASSES[code]] = np.asarray(shapely.linestrings(corners, indices=index), dtype=object)
    return geometries


def _with_holes(rings: Any) -> npt.NDArray[np.object_]:
    """Polygons of rings: each outer ring is followed by its holes, which run against it."""
    polygons, outer, holes = [], None, list[Any]()
    for ring, hole in zip(rings, shapely.is_ccw(rings), strict=True):
        if hole and outer is not None:
            holes.append(ring)
            continue
        if outer is not None:
            polygons.append(shapely.Polygon(outer, holes))
        outer, holes = ring, []
    if outer is not None:
        polygons.append(shapely.Polygon(outer, holes))
    made = np.asarray(polygons, dtype=object)
    return np.asarray(shapely.make_valid(made), dtype=object)


def outline_of(part: Any, outlines: Mapping[int, Ints | Floats]) -> Any:
    """The corners of a part of an area, or the ids of their nodes: of a member way by its id.

    outlines: id of a way -> (m,) ids of nodes or (m, 2) degrees."""
    return outlines.get(part) if isinstance(part, int) else part


def runs_of(corners: Floats) -> list[Floats]:
    """Pieces of a line between corners that are not known. corners: (m, 2) degrees, NaN for these."""
    unknown = np.isnan(corners).any(axis=1)
    if not unknown.any():
        return [corners] if len(corners) > 1 else []
    pieces = np.split(corners, np.flatnonzero(unknown))
    pieces = [piece[~np.isnan(piece).any(axis=1)] for piece in pieces]
    return [piece for piece in pieces if len(piece) > 1]


def areas_of(corners: Sequence[Floats], relation: bool) -> list[Any]:
    """Valid polygons of a closed way, or of the lines of a relation, without corners that are not known.

    corners: of each line, (m, 2) degrees."""
    lines = [line[~np.isnan(line).any(axis=1)] for line in corners]
    lines = [line for line in lines if len(line) > 1]
    if not lines:
        return []
    area: Any
    if not relation:
        area = shapely.Polygon(lines[0]) if len(lines[0]) > 3 else None
    else:
        area = shapely.build_area(shapely.union_all([shapely.LineString(line) for line in lines]))
    if area is None or area.is_empty:
        return []
    valid = area if area.is_valid else shapely.make_valid(area)
    return [part for part in shapely.get_parts(valid) if part.geom_type == "Polygon"]


def _inside(at: Sequence[float], box: Extent | None) -> bool:
    return box is None or (box[0] <= at[0] <= box[2] and box[1] <= at[1] <= box[3])


def _pack(
    geometries: Mapping[str, Any], box: Extent | None, names: Sequence[tuple[str, str, float, float]], tolerance: float
) -> BaseMap:
    """Shapes simplified and written as whole numbers. box: closes the sea, where there is a coast; None for none."""
    kinds: list[npt.NDArray[np.int8]] = []
    sizes: list[npt.NDArray[np.int32]] = []
    points: list[npt.NDArray[np.int32]] = []
    middle = 0.0
    if geometries:
        bounds = shapely.total_bounds(list(geometries.values()))
        middle = float(bounds[1] + bounds[3]) / 2
    scale = np.array([_DEGREE_M * max(0.01, np.cos(np.radians(middle))), _DEGREE_M])

    def metric(shape: Any) -> Any:
        return shapely.transform(shape, lambda xy: xy * scale)

    metres = {kind: metric(shape) for kind, shape in geometries.items()}
    if "coast" in metres and "sea" not in metres and box is not None:
        streets = shapely.get_coordinates([metres[kind] for kind in ("street", "main") if kind in metres])
        sea = _sea(metres["coast"], metric(shapely.box(*box)), tolerance, streets)
        metres |= {"sea": sea} if sea is not None else {}
    for code, kind in enumerate(CLASSES):
        if kind not in metres:
            continue
        parts = _simple_areas(metres[kind], tolerance) if kind in AREAS else _simple_lines(metres[kind], tolerance)
        corners, row = shapely.get_coordinates(parts, return_index=True)
        whole = np.rint(corners / scale / UNIT).astype(np.int32)
        same = (np.diff(whole, axis=0) == 0).all(axis=1) & (np.diff(row) == 0)
        keep = np.append(True, ~same) if len(whole) else np.zeros(0, dtype=bool)
        size = np.bincount(row[keep], minlength=len(parts))
        enough = size >= (4 if kind in AREAS else 2)
        keep &= enough[row]
        kinds.append(np.full(int(enough.sum()), code, dtype=np.int8))
        sizes.append(size[enough].astype(np.int32))
        points.append(whole[keep])
    return BaseMap(
        np.concatenate([np.empty(0, dtype=np.int8), *kinds]),
        np.concatenate([np.empty(0, dtype=np.int32), *sizes]),
        np.concatenate([np.empty((0, 2), dtype=np.int32), *points]),
        tuple(name[0] for name in names),
        np.array([NAMES.index(name[1]) for name in names], dtype=np.int8),
        np.array([name[2:] for name in names], dtype=np.float64).reshape(-1, 2),
    )


def _simple_lines(lines: Any, tolerance: float) -> npt.NDArray[np.object_]:
    """Lines joined end to end and simplified, (n,); those shorter than the tolerance are left out."""
    parts = [part for part in _flat(lines) if part.geom_type == "LineString"]
    joined = shapely.get_parts(shapely.line_merge(shapely.MultiLineString(parts)))
    simple = shapely.simplify(joined, tolerance, preserve_topology=False)
    return np.asarray(simple[shapely.length(simple) > 2 * tolerance], dtype=object)


def _simple_areas(areas: Any, tolerance: float) -> npt.NDArray[np.object_]:
    """Rings of the areas joined and simplified, (n,): outer ones first, holes after theirs and against them."""
    parts = [part for part in _flat(areas) if part.geom_type == "Polygon"]
    joined = shapely.get_parts(shapely.union_all(shapely.make_valid(np.asarray(parts, dtype=object))))
    simple = shapely.get_parts(shapely.make_valid(shapely.simplify(joined, tolerance, preserve_topology=True)))
    simple = simple[(shapely.get_type_id(simple) == shapely.GeometryType.POLYGON)]
    simple = shapely.normalize(simple[shapely.area(simple) >= SMALLEST_M2])
    rings = shapely.get_rings(simple)
    outer = ~shapely.is_ccw(rings)
    large = shapely.area(shapely.polygons(rings)) >= SMALLEST_M2 if len(rings) else np.zeros(0, dtype=bool)
    return np.asarray(rings[outer | large], dtype=object)


def _flat(shape: Any) -> npt.NDArray[np.object_]:
    """The simple shapes within collections of any depth."""
    parts = shapely.get_parts(shape)
    while (shapely.get_type_id(parts) >= shapely.GeometryType.MULTIPOINT).any():
        parts = shapely.get_parts(parts)
    return np.asarray(parts, dtype=object)


def _sea(coast: Any, box: Any, tolerance: float, streets: Floats) -> Any:
    """The water beside a coast (land lies to the left of its lines) as far as a box, in metres.

    A line that ends within the box, where an extract cuts it off, goes straight on. None where the lines do not tell,
    and where streets lie in what they call the sea. streets: (n, 2) corners of them, metres."""
    lines = [part for part in _flat(coast) if part.geom_type == "LineString"]
    merged = shapely.line_merge(shapely.MultiLineString(lines), directed=True)
    joined = _flat(shapely.simplify(merged, tolerance))
    pieces = [part for part in _flat(shapely.intersection(joined, box)) if part.geom_type == "LineString"]
    if not pieces:
        return None
    longer = shapely.intersection([_prolonged(line, box) for line in joined], box)
    faces = shapely.get_parts(shapely.polygonize([shapely.union_all([shapely.boundary(box), *longer])]))
    corners, row = shapely.get_coordinates(pieces, return_index=True)
    along = np.diff(corners, axis=0)
    real = (np.diff(row) == 0) & (np.hypot(*along.T) > 0)
    along, start = along[real], corners[:-1][real]
    right = np.stack([along[:, 1], -along[:, 0]], axis=1) / np.hypot(*along.T)[:, None]
    tree = shapely.STRtree(faces)
    count = np.zeros((2, len(faces)), dtype=np.int64)
    for side, sign in enumerate((1.0, -1.0)):
        _, face = tree.query(shapely.points(start + along / 2 + sign * 0.5 * right), predicate="intersects")
        count[side] = np.bincount(face, minlength=len(faces))
    _, face = tree.query(shapely.points(streets), predicate="intersects")
    dry = np.bincount(face, minlength=len(faces)) > _BRIDGES * max(1, len(streets))
    known = count.sum(axis=0) > 0
    wet = (count[0] > 0.9 * count.sum(axis=0)) & known & ~dry
    sea = faces[wet | _beyond(faces, wet, known | dry)]
    return shapely.MultiPolygon(list(sea)) if len(sea) else None


def _beyond(faces: Any, wet: npt.NDArray[np.bool_], known: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Faces that no coast tells of, but which border on the sea and on nothing else that is told. (faces,)"""
    if len(faces) > _MOST_FACES:
        return np.zeros(len(faces), dtype=bool)
    one, other = shapely.STRtree(faces).query(faces, predicate="intersects")
    edge = (one != other) & (shapely.length(shapely.intersection(faces[one], faces[other])) > 1.0)
    one, other = one[edge], other[edge]
    near_sea, near_land = (np.bincount(one, weights=known[other] & (wet[other] == side), minlength=len(faces)) > 0
                           for side in (True, False))  # fmt: skip
    return np.asarray(~known & near_sea & ~near_land, dtype=bool)


def _prolonged(line: Any, box: Any) -> Any:
    """A line whose ends within a box are drawn out to beyond its edge, away from the other end."""
    corners = shapely.get_coordinates(line)
    away = corners[-1] - corners[0]
    if np.hypot(*away) == 0:
        return line
    west, south, east, north = box.bounds
    away *= 2 * np.hypot(east - west, north - south) / np.hypot(*away)
    first, last = shapely.contains_xy(box, corners[[0, -1], 0], corners[[0, -1], 1])
    before = [corners[0] - away] if first else []
    after = [corners[-1] + away] if last else []
    return shapely.LineString(np.concatenate([np.reshape(before, (-1, 2)), corners, np.reshape(after, (-1, 2))]))
