"""OpenStreetMap XML, as the database, Overpass (`out center`, `bb`, `geom`) and JOSM write it, in one pass of expat.

What JOSM has marked as deleted is left out. A way may hold its own corners (<nd ref lat lon>), its centre (<center>) or
its box, and so may the members of a relation. Nodes take 16 bytes each. Touches no file.
"""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Iterable
from xml.parsers import expat

import numpy as np

from poi.basemap import Drawn, map_class
from poi.categories import categorise
from poi.elements import AREA_RELATIONS, Ints, Nodes, Tagged
from poi.errors import BadFile
from poi.ground import Standing
from poi.points import Floats, middle_of_box

MAX_TEXT = 1 << 20  # bytes of one tag or attribute; OpenStreetMap allows 255 characters
MAX_PARTS = 1_000_000  # nodes of a way, members of a relation
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_ID_RANGE = range(-(2**63), 2**63)


class _Reader:
    """What expat tells, collected: `tagged` elements, all nodes, ways that may outline areas, boxes."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.tagged = Tagged()
        self.ids, self.lon, self.lat = array("q"), array("i"), array("i")
        self.ways: dict[int, Ints | Floats] = {}
        self.boxes: list[tuple[float, float, float, float]] = []
        self.drawn, self.standing = Drawn(), Standing()
        self.depth = 0
        self.deleted = 0
        self.gone: dict[tuple[str, int], int] = {}  # elements that are no place in a later version: that version
        self._places: set[tuple[str, int]] = set()
        self._kind = ""
        self._attrs: dict[str, str] = {}
        self._tags: dict[str, str] = {}
        self._refs: list[int] = []
        self._corners: list[tuple[float, float]] = []
        self._centre: tuple[float, float] | None = None
        self._members: list[int | Floats] = []
        self._member: tuple[str, int] | None = None
        self._member_corners: list[tuple[float, float]] = []

    def start(self, element: str, attrs: dict[str, str]) -> None:
        self.depth += 1
        if element == "tag":
            self._tags[attrs["k"]] = attrs["v"]
        elif element == "nd":
            self._node_of(attrs)
        elif element in ("node", "way", "relation"):
            if self._kind:
                raise ValueError(f"a {element} within a {self._kind}")
            self._kind, self._attrs, self._tags = element, attrs, {}
            self._refs, self._corners, self._members, self._centre = [], [], [], None
        elif element == "member":
            self._member, self._member_corners = (attrs["type"], _whole(attrs["ref"])), []
            if len(self._members) > MAX_PARTS:
                raise ValueError(f"a relation with more than {MAX_PARTS} members")
        elif element == "center" and self._kind:
            self._centre = _lonlat(attrs)
        elif element == "bounds":
            box = tuple(float(attrs[side]) for side in ("minlon", "minlat", "maxlon", "maxlat"))
            if not self._kind:
                self._box(*box)
            elif self._centre is None:
                self._centre = middle_of_box(*box)
        elif element == "bound" and not self._kind and "box" in attrs:
            south, west, north, east = (float(degrees) for degrees in attrs["box"].split(","))
            self._box(west, south, east, north)
        elif element == "remark" and self.depth == 2:
            raise BadFile(f"{self.name} is partial: the server remarks that it stopped before its end; ask again")
        elif element in ("action", "create", "modify", "delete") and self.depth == 2:
            raise BadFile(f"{self.name} holds changes (<{element}>), not a map: give an extract of one day")

    def end(self, element: str) -> None:
        self.depth -= 1
        if element == "member" and self._member is not None:
            kind, ref = self._member
            if kind == "way":
                self._members.append(_array(self._member_corners) if self._member_corners else ref)
            self._member = None
        elif element == self._kind:
            self._keep()
            self._kind = ""

    def _box(self, west: float, south: float, east: float, north: float) -> None:
        if not (-180 <= west <= 180 and -180 <= east <= 180 and -90 <= south <= north <= 90):
            raise ValueError(f"bounds of {west:g}, {south:g}, {east:g}, {north:g} are not on earth")
        if (west, south) != (east, north):
            self.boxes.append((west, south, east, north))

    def _node_of(self, attrs: dict[str, str]) -> None:
        corner = _lonlat(attrs) if "lat" in attrs else (math.nan, math.nan)
        if self._member is not None:
            self._member_corners.append(corner)
            return
        self._refs.append(_whole(attrs["ref"]) if "ref" in attrs else 0)
        self._corners.append(corner)
        if len(self._refs) > MAX_PARTS:
            raise ValueError(f"a way with more than {MAX_PARTS} nodes")

    def _keep(self) -> None:
        """The element that ends."""
        attrs, kind = self._attrs, self._kind[0]
        number = _whole(attrs["id"])
        version = _whole(attrs.get("version") or "0")
        if attrs.get("action") == "delete" or attrs.get("visible") == "false":
            self.deleted += 1
            self.gone[kind, number] = max(version, self.gone.get((kind, number), 0))
            return
        place: tuple[float, float] | Ints | Floats | list[int | Floats]
        if kind == "n":
            if "lat" not in attrs:
                return
            place = _lonlat(attrs)
            self.ids.append(number)
            self.lon.append(round(place[0] * 1e7))
            self.lat.append(round(place[1] * 1e7))
        elif kind == "w":
            inline = _array(self._corners)
            known = len(inline) > 0 and not np.isnan(inline).all()
            place = inline if known else np.asarray(self._refs, dtype=np.int64)
            self.ways.setdefault(number, place)
        else:
            place = self._members
        if self._tags and (drawn_kind := map_class(kind, self._tags)) is not None:
            self.drawn.add(drawn_kind, self._tags, place)
        if self._tags:
            self.standing.look_at(kind, number, self._tags, place)
        hit = categorise(self._tags) if self._tags else None
        if hit is None or (kind == "r" and self._tags.get("type") not in AREA_RELATIONS):
            if (kind, number) in self._places:
                self.gone[kind, number] = max(version, self.gone.get((kind, number), 0))
            return
        self._places.add((kind, number))
        self.tagged.add(kind, number, hit, place, self._centre, version)
        time = attrs.get("timestamp", "")
        if time > self.tagged.newest and _TIME.fullmatch(time):
            self.tagged.newest = time


def read_xml(pieces: Iterable[bytes], name: str) -> tuple[Tagged, dict[int, Ints | Floats], Nodes, _Reader]:
    """The elements that name a place, the corners of ways by id, where the nodes are, and what else was said.

    Raises BadFile for what is not well-formed, or no OpenStreetMap XML."""
    reader = _Reader(name)
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler = reader.start, reader.end
    try:
        for piece in pieces:
            parser.Parse(piece, False)
        parser.Parse(b"", True)
    except expat.ExpatError as error:
        raise BadFile(f"{name} is damaged or not what its name says (XML: {error}): fetch it again") from error
    except KeyError as error:
        raise BadFile(f"{name}, line {parser.CurrentLineNumber}: an element has no attribute {error}") from error
    except (ValueError, OverflowError) as error:
        reason = " ".join(str(error).split())[:150]
        raise BadFile(f"{name}, line {parser.CurrentLineNumber}: {reason}: correct it in the source") from error
    ids = np.frombuffer(reader.ids, dtype=np.int64)
    xy = np.stack([np.frombuffer(reader.lon, dtype=np.int32), np.frombuffer(reader.lat, dtype=np.int32)], axis=-1)
    order = np.argsort(ids, kind="stable")
    return reader.tagged, reader.ways, Nodes(ids[order], xy[order]), reader


def _whole(text: str) -> int:
    number = int(text)
    if number not in _ID_RANGE:
        raise ValueError(f"id {text[:40]} is not one of OpenStreetMap's")
    return number


def _lonlat(attrs: dict[str, str]) -> tuple[float, float]:
    """Degrees to seven decimals, as OpenStreetMap keeps them."""
    lon, lat = float(attrs["lon"]), float(attrs["lat"])
    if not (-180 <= lon <= 180 and -90 <= lat <= 90):
        raise ValueError(f"lon {attrs['lon'][:40]}, lat {attrs['lat'][:40]} is not on earth")
    return round(lon * 1e7) / 1e7, round(lat * 1e7) / 1e7


def _array(corners: list[tuple[float, float]]) -> Floats:
    return np.asarray(corners, dtype=np.float64).reshape(-1, 2)
