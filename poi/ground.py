"""What stands on the ground beside places of interest: floor area by use, land by use, length of streets by class.

Amounts at points, so that cells of any kind can sum them: a building is one point with its floor area, a street a point
for every piece of at most STEP_M, an area a lattice of points STEP_M apart that share its square metres. Floors are
what `building:levels` says, else the height over FLOOR_M, else FLOORS of its use. Built from the elements that the map
is drawn from. Touches no file.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import shapely

from poi.basemap import Drawn, areas_of, map_class, outline_of, runs_of
from poi.categories import categorise
from poi.elements import Ground, Ints, Nodes
from poi.points import Floats

USES = ("residential", "office", "retail", "industrial", "other")  # of buildings
STREETS = ("motorway", "main", "street")
LAND = ("residential", "commercial", "industrial", "green", "water")
MEASURES = (*(f"building {use}" for use in USES), *(f"street {name}" for name in STREETS),
            *(f"land {name}" for name in LAND))  # fmt: skip
KEYS = ("building", "landuse", "highway", "natural", "waterway", "leisure")
SURFACES = frozenset(name for name in MEASURES if not name.startswith("street"))  # areas on the map
STEP_M = 50.0
FLOOR_M, MOST_FLOORS = 3.2, 150.0
FLOORS = {"residential": 3.0, "office": 4.0, "retail": 1.5, "industrial": 1.0, "other": 2.0}
HOUSES = frozenset(["house", "detached", "semidetached_house", "terrace", "bungalow", "cabin", "farm", "villa"])
HOUSE_FLOORS = 2.0
_USES = {
    "residential": "apartments residential house detached semidetached_house terrace bungalow cabin farm villa "
    "dormitory block",
    "office": "office commercial government civic public",
    "retail": "retail supermarket kiosk shop mall",
    "industrial": "industrial warehouse factory manufacture hangar",
}
_USE_OF = {value: use for use, values in _USES.items() for value in values.split()}
_NO_FLOORS = frozenset(
    ("no", "roof", "carport", "garage", "garages", "shed", "greenhouse", "ruins", "construction", "entrance", "barn",
     "cowshed", "farm_auxiliary", "storage_tank", "silo", "bridge", "collapsed", "proposed")
)  # fmt: skip
_LAND = {
    ("landuse", "residential"): "residential", ("landuse", "commercial"): "commercial",
    ("landuse", "retail"): "commercial", ("landuse", "industrial"): "industrial",
}  # fmt: skip
_GREEN = {"park": "green", "water": "water"}  # what the map calls so
LEAST_PLAIN = 0.5  # of the buildings are nothing else in a file of buildings; one of places alone has few such
LEAST = {"building": 0.1, "land residential": 0.003}  # for each street of a whole file: one with fewer was filtered
_DEGREE_M = 111_320.0
_TOGETHER = (("building", USES), ("street", STREETS))


def ground_class(kind: str, tags: Mapping[str, str]) -> tuple[str, float] | None:
    """A member of MEASURES and what a square metre or a metre of the element counts: floors, or 1; None for nothing.

    kind: n, w or r."""
    if kind == "n" or (kind == "r" and tags.get("type") != "multipolygon"):
        return None
    if (value := tags.get("building", "no")) != "no":
        return None if value in _NO_FLOORS else (f"building {_USE_OF.get(value, 'other')}", _floors(value, tags))
    if (land := _LAND.get(("landuse", tags.get("landuse", "")))) is not None:
        return f"land {land}", 1.0
    drawn = map_class(kind, tags)
    if drawn in STREETS:
        return f"street {drawn}", 1.0
    return (f"land {_GREEN[drawn]}", 1.0) if drawn in _GREEN else None


def _floors(value: str, tags: Mapping[str, str]) -> float:
    for key, per_floor in (("building:levels", 1.0), ("height", FLOOR_M)):
        try:
            floors = float(tags.get(key, "").removesuffix("m").strip()) / per_floor
        except ValueError:
            continue
        if 0 < floors <= MOST_FLOORS:
            return max(1.0, floors)
    return HOUSE_FLOORS if value in HOUSES else FLOORS[_USE_OF.get(value, "other")]


@dataclass
class Standing(Drawn):
    """The elements of a source that stand on the ground, as they are found, each once.

    tally: measure -> elements of the whole source, also where few are kept. plain: buildings that are no places of
    interest besides. seen: kind and number of each."""

    areas: frozenset[str] = SURFACES
    tally: Counter[str] = field(default_factory=Counter)
    plain: int = 0
    seen: set[tuple[str, int]] = field(default_factory=set)

    def look_at(self, kind: str, number: int, tags: Mapping[str, str], place: Any) -> None:
        """Keep an element where it counts. place: as `Drawn.add` takes it."""
        counted = ground_class(kind, tags)
        if counted is None or (kind, number) in self.seen:
            return
        measure, weight = counted
        self.seen.add((kind, number))
        self.add(measure, tags, place, weight)
        self.tally[measure] += 1
        if measure.startswith("building"):
            self.plain += categorise({k: v for k, v in tags.items() if k != "building"}) is None

    def known(self) -> tuple[str, ...]:
        """The measures that the source tells of: one that was filtered to places or to streets has some buildings, and
        not the rest. Asked of the whole source: what is cut from it must not matter."""
        count = {kind: sum(self.tally[f"{kind} {name}"] for name in names) for kind, names in _TOGETHER}
        streets = self.tally["street street"] + self.tally["street main"]
        whole = {
            "building": self.plain >= LEAST_PLAIN * count["building"] > 0
            and count["building"] >= LEAST["building"] * streets,
            "street": count["street"] > 0,
        }
        homes = self.tally["land residential"]
        use = homes > 0 and homes >= LEAST["land residential"] * streets
        return tuple(
            measure
            for measure in MEASURES
            for kind, name in [measure.split(" ")]
            if (whole[kind] if kind in whole else use if name in LAND[:3] else self.tally[measure] > 0)
        )


def sum_up(standing: Standing, outlines: Mapping[int, Ints | Floats], nodes: Nodes) -> Ground | None:
    """The amounts of what was found; None for nothing, and for shapes that are so torn that nothing comes of them.

    outlines: id of a way -> (m,) ids of nodes or (m, 2) degrees, for areas given as relations."""
    try:
        return _sum_up(standing, outlines, nodes)
    except (shapely.errors.ShapelyError, ValueError):
        return None


def _sum_up(standing: Standing, outlines: Mapping[int, Ints | Floats], nodes: Nodes) -> Ground | None:
    lines: dict[str, list[Floats]] = {}
    rings: dict[str, list[tuple[Floats, float]]] = {}
    grounds: list[Ground] = []
    for kind, weight, place in zip(standing.kind, standing.weight, standing.place, strict=True):
        if kind not in SURFACES:
            if isinstance(place, np.ndarray):
                lines.setdefault(kind, []).extend(runs_of(nodes.corners(place)))
            continue
        if kind.startswith("building") and isinstance(place, np.ndarray):
            ring = nodes.corners(place)
            ring = ring[~np.isnan(ring).any(axis=1)]
            if len(ring) > 3:
                rings.setdefault(kind, []).append((ring, weight))
            continue
        parts = place if isinstance(place, list) else [place]
        corners = [nodes.corners(np.asarray(c)) for p in parts if (c := outline_of(p, outlines)) is not None]
        for area in areas_of(corners, isinstance(place, list)):
            at, amount = _shared_out(area, kind.startswith("building"))
            grounds.append(_of(kind, at, amount * weight))
    grounds += [_of(kind, *_along(runs)) for kind, runs in lines.items() if runs]
    for kind, some in rings.items():
        at, amount = _footprints([ring for ring, _ in some])
        grounds.append(_of(kind, at, amount * np.array([weight for _, weight in some])))
    if not grounds:
        return None
    each = [np.concatenate([getattr(g, part) for g in grounds]) for part in ("measure", "at", "amount")]
    known = standing.known()
    kept = np.isin(each[0], [MEASURES.index(measure) for measure in known])
    return Ground(each[0][kept], each[1][kept], each[2][kept], known) if known else None


def _of(kind: str, at: Floats, amount: Floats) -> Ground:
    return Ground(np.full(len(at), MEASURES.index(kind), dtype=np.int8), at, amount)


def _along(lines: list[Floats]) -> tuple[Floats, Floats]:
    """The middles of pieces of at most STEP_M of lines (m, 2), and their lengths in metres."""
    corners, of = np.concatenate(lines), np.repeat(np.arange(len(lines)), [len(line) for line in lines])
    same = np.diff(of) == 0
    start, step = corners[:-1][same], np.diff(corners, axis=0)[same]
    north = step[:, 1] * _DEGREE_M
    length = np.hypot(step[:, 0] * _DEGREE_M * np.cos(np.radians(start[:, 1] + step[:, 1] / 2)), north)
    count = np.maximum(1, np.ceil(length / STEP_M)).astype(np.int64)
    row = np.repeat(np.arange(len(step)), count)
    part = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count) + 0.5
    return start[row] + step[row] * (part / count[row])[:, None], length[row] / count[row]


def _footprints(rings: list[Floats]) -> tuple[Floats, Floats]:
    """The middle of each ring (m, 2), of its corners, and the square metres within it: the shoelace formula."""
    size = np.array([len(ring) for ring in rings])
    corners = np.concatenate(rings)
    first = np.cumsum(size) - size
    middle = np.add.reduceat(corners, first) / size[:, None]
    here = corners - np.repeat(middle, size, axis=0)
    after = np.arange(len(corners)) + 1
    after[first + size - 1] = first
    cross = here[:, 0] * here[after, 1] - here[after, 0] * here[:, 1]
    area = np.abs(np.add.reduceat(cross, first)) / 2 * _DEGREE_M**2 * np.cos(np.radians(middle[:, 1]))
    return middle, area


def _shared_out(area: Any, whole: bool) -> tuple[Floats, Floats]:
    """Points of a polygon in degrees and the square metres of each. whole: one point, as of a building."""
    corners = shapely.get_coordinates(area)
    scale = _scale(corners)
    metric = float(shapely.area(area)) * float(scale.prod())
    (west, south), (east, north) = corners.min(axis=0), corners.max(axis=0)
    if not whole and metric > STEP_M**2:
        step = STEP_M / scale
        x, y = (np.arange(math.floor(low / s) + 0.5, high / s) * s
                for low, high, s in ((west, east, step[0]), (south, north, step[1])))  # fmt: skip
        points = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
        shapely.prepare(area)
        points = points[shapely.contains_xy(area, points[:, 0], points[:, 1])]
        if len(points):
            return points, np.full(len(points), metric / len(points))
    middle = shapely.get_coordinates(shapely.point_on_surface(area))
    return middle, np.array([metric])


def _scale(corners: Floats) -> Floats:
    """Metres per degree to the east and to the north at the middle of corners (m, 2)."""
    return np.array([max(0.01, math.cos(math.radians(float(corners[:, 1].mean())))), 1.0]) * _DEGREE_M
