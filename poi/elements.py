"""The elements of a map that name a place, and where they are: what every reader of OpenStreetMap fills.

The place of an element is lon, lat for a node; for a way its corners, or the ids of its nodes; for a relation the
corners or the ids of its member ways. Touches no file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from poi.points import Floats, newest_of_each, relation_point, way_points

Ints = npt.NDArray[np.int64]
Extent = tuple[float, float, float, float]  # west, south, east, north
Place = tuple[float, float] | Ints | Floats | list[int | Floats]

AREA_RELATIONS = ("multipolygon", "boundary")  # the relations whose members outline an area


@dataclass
class Tagged:
    """One row per element that names a place."""

    kind: list[str] = field(default_factory=list)  # n, w, r
    number: list[int] = field(default_factory=list)
    key: list[str] = field(default_factory=list)
    value: list[str] = field(default_factory=list)
    place: list[Place] = field(default_factory=list)
    centre: list[tuple[float, float] | None] = field(default_factory=list)  # what stands for an element without corners
    version: list[int] = field(default_factory=list)  # 0 where the file does not say it
    newest: str = ""
    seen: set[str] = field(default_factory=set)  # kinds of all elements with one of the keys, places or not

    def add(
        self, kind: str, number: int, hit: tuple[str, str, str], place: Place,
        centre: tuple[float, float] | None = None, version: int = 0,
    ) -> None:  # fmt: skip
        """One element. hit: category, key, value.

        place: lon, lat; or of a way (m, 2) degrees or (m,) ids of nodes; or a list of these for a relation.
        """
        self.kind.append(kind)
        self.number.append(number)
        self.key.append(hit[1])
        self.value.append(hit[2])
        self.place.append(place)
        self.centre.append(centre)
        self.version.append(version)

    def drop_doubles(self, gone: Mapping[tuple[str, int], int] | None = None) -> None:
        """Keep each element once, in its newest version: merged extracts hold some twice.

        gone: (kind, id) -> the version in which an element was deleted, or is no place any more.
        """
        kept = newest_of_each(self.kind, self.number, self.version).tolist()
        if gone:
            kept = [i for i in kept if gone.get((self.kind[i], self.number[i]), -1) <= self.version[i]]
        if len(kept) < len(self.kind):
            for column in (self.kind, self.number, self.key, self.value, self.place, self.centre, self.version):
                column[:] = [column[i] for i in kept]


@dataclass(frozen=True)
class Nodes:
    """Where nodes are: ids sorted (n,), and lon, lat (n, 2) in degrees, or in whole 1e-7 degrees."""

    ids: Ints
    xy: npt.NDArray[np.float64] | npt.NDArray[np.int32]

    def corners(self, place: Ints | Floats) -> Floats:
        """Degrees (m, 2) of a way, NaN for a node that is not known. place: (m,) ids of nodes, or (m, 2) degrees."""
        if place.ndim == 2:
            return np.asarray(place, dtype=np.float64)
        xy = np.full((len(place), 2), np.nan)
        if not len(self.ids):
            return xy
        at = np.searchsorted(self.ids, place)
        at[at == len(self.ids)] = 0
        hit = self.ids[at] == place
        xy[hit] = self.xy[at[hit]]
        return xy / 1e7 if self.xy.dtype == np.int32 else xy

    def joined(self, other: Nodes) -> Nodes:
        """These nodes in degrees, and those of `other` that are not among them or not known here."""
        mine = ~np.isnan(self.xy.astype(np.float64)).any(axis=1)
        ids = np.concatenate([self.ids[mine], other.ids])
        at = np.concatenate([nodes / 1e7 if nodes.dtype == np.int32 else nodes for nodes in (self.xy[mine], other.xy)])
        ids, first = np.unique(ids, return_index=True)
        return Nodes(ids, at[first].astype(np.float64))


@dataclass(frozen=True, eq=False)
class BaseMap:
    """Shapes and names of a map.

    kind: (shapes,) position in `poi.basemap.CLASSES`. size: (shapes,) how many points each has. at: (points, 2) lon,
    lat in whole `poi.basemap.UNIT` degrees. A hole is a ring that runs against its outer ring (nonzero rule).
    name, name_kind (names,) position in `poi.basemap.NAMES`, name_at (names, 2) degrees."""

    kind: npt.NDArray[np.int8]
    size: npt.NDArray[np.int32]
    at: npt.NDArray[np.int32]
    name: tuple[str, ...] = ()
    name_kind: npt.NDArray[np.int8] = field(default_factory=lambda: np.empty(0, dtype=np.int8))
    name_at: Floats = field(default_factory=lambda: np.empty((0, 2)))

    def __deepcopy__(self, _: object) -> BaseMap:
        """Itself: tables copy their attributes at every step, and this one is never changed."""
        return self


@dataclass(frozen=True, eq=False)
class Ground:
    """Amounts at points: square metres of floor or of land, metres of street.

    measure: (n,) position in `poi.ground.MEASURES`. at: (n, 2) lon, lat in degrees. amount: (n,). known: the measures
    that the source tells of, also where there are none."""

    measure: npt.NDArray[np.int8]
    at: Floats
    amount: Floats
    known: tuple[str, ...] = ()

    def __deepcopy__(self, _: object) -> Ground:
        """Itself: tables copy their attributes at every step, and this one is never changed."""
        return self


@dataclass(frozen=True)
class MapElements:
    """What a map file holds: the places, one row each, and what the file says of itself."""

    kind: npt.NDArray[np.str_]  # (n,) n, w, r
    key: tuple[str, ...]
    value: tuple[str, ...]
    xy: Floats  # (n, 2) degrees, NaN where the file does not say where
    snapshot: str  # what the header says, else the newest element, else ""
    box: Extent | None  # what the file says that it covers
    reach: Extent | None  # the box of all its nodes
    notes: tuple[str, ...] = ()
    basemap: BaseMap | None = None  # where it was asked for
    ground: Ground | None = None  # where the map was asked for


def element_points(tagged: Tagged, outlines: Mapping[int, Ints | Floats], nodes: Nodes) -> Floats:
    """Lon, lat of every tagged element, (n, 2); NaN where nothing is known of it.

    outlines: id of a way -> (m,) ids of nodes, or (m, 2) degrees.
    """
    xy = np.full((len(tagged.kind), 2), np.nan)
    ways = [i for i, kind in enumerate(tagged.kind) if kind == "w"]
    xy[ways] = way_points([nodes.corners(np.asarray(tagged.place[i])) for i in ways])
    for i, kind in enumerate(tagged.kind):
        place = tagged.place[i]
        if kind == "n":
            xy[i] = place
        elif kind == "r" and isinstance(place, list):
            members = [outlines.get(part) if isinstance(part, int) else part for part in place]
            xy[i] = relation_point([nodes.corners(part) for part in members if part is not None])
        if np.isnan(xy[i, 0]) and tagged.centre[i] is not None:
            xy[i] = tagged.centre[i]
    return xy
