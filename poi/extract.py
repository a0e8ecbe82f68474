"""An OpenStreetMap PBF, read in a process of its own, so that no bytes end the process that asks.

libosmium is fast, and trusts what it reads. So every block is checked first (`poi.pbf`), and what it reads is read by a
child: `read_pbf` starts it and gets back the places, `python -c "from poi.extract import child; child()"` is it. The
passes keep only what names a place: (1) tagged elements, (2) the member ways of areas, (3) where their nodes are, see
`poi.locations`. So the order of elements does not matter, and memory grows with the places.
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import tempfile
import threading
import zlib
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from poi.basemap import TAGS, Drawn, NodesWithin, build, map_class
from poi.categories import KEYS, categorise
from poi.elements import AREA_RELATIONS, BaseMap, Extent, Ground, Ints, MapElements, Nodes, Tagged, element_points
from poi.errors import BadFile
from poi.ground import KEYS as GROUND_KEYS
from poi.ground import Standing, ground_class, sum_up
from poi.pbf import READ_BY_LIBOSMIUM, blob_data, check_block
from poi.points import Floats
from poi.safety import blobs, fields, pieces

_BATCH = 50_000  # ways that are looked at together
_CHILD = "import sys; sys.path[:] = {path!r}; from poi.extract import child; child()"


def read_pbf(path: Path, basemap: Extent | bool = False) -> MapElements:
    """The places of a PBF, and what a map shows: of a box in degrees, of the whole file (True) or nothing (False).

    Raises BadFile where it is damaged or cannot be read, whatever its bytes."""
    program = _CHILD.format(path=[p or os.getcwd() for p in sys.path])
    command = [sys.executable, "-c", program, json.dumps(basemap), os.fspath(path.absolute())]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as reader:
        try:
            assert reader.stdout is not None
            answer = reader.stdout.read()
            code = reader.wait()
        except BaseException:
            reader.kill()
            raise
    if code != 0 or len(answer) < 8:
        how = f"signal {-code}" if code < 0 else f"exit {code}"
        raise BadFile(f"{path} cannot be read: the library that reads PBF broke off ({how}); the file is damaged")
    (length,) = struct.unpack("<q", answer[:8])
    payload: dict[str, Any] = json.loads(answer[8 : 8 + length])
    if "error" in payload:
        raise BadFile(str(payload["error"]).replace("\0", str(path)))
    count = len(payload["kind"])
    numbers = np.frombuffer(answer, dtype="<f8", offset=8 + length, count=2 * count).reshape(count, 2)
    tags = [payload["tags"][i] for i in payload["tag"]]
    base, at = _map_from(payload["basemap"], answer, 8 + length + 16 * count)
    return MapElements(
        kind=np.asarray(list(payload["kind"]), dtype=np.str_),
        key=tuple(key for key, _ in tags),
        value=tuple(value for _, value in tags),
        xy=numbers.astype(np.float64),
        snapshot=payload["snapshot"],
        box=tuple(payload["box"]) if payload["box"] else None,
        reach=tuple(payload["reach"]) if payload["reach"] else None,
        notes=tuple(payload["notes"]),
        basemap=base,
        ground=_ground_from(payload["ground"], answer, at),
    )


def _map_from(sizes: dict[str, Any] | None, answer: bytes, at: int) -> tuple[BaseMap | None, int]:
    """The map in an answer, from byte `at` on, and where it ends. sizes: what the answer says of it."""
    if sizes is None:
        return None, at
    shapes, points, names = sizes["shapes"], sizes["points"], sizes["names"]
    parts = []
    for dtype, size in (("<i4", 2 * points), ("<i4", shapes), ("<f8", 2 * len(names)), ("i1", shapes)):
        parts.append(np.frombuffer(answer, dtype=dtype, offset=at, count=size))
        at += parts[-1].nbytes
    corners, lengths, where, kinds = parts
    of = np.array(sizes["name_kind"], dtype=np.int8)
    return BaseMap(kinds, lengths, corners.reshape(-1, 2), tuple(names), of, where.reshape(-1, 2)), at


def _ground_from(sizes: dict[str, Any] | None, answer: bytes, at: int) -> Ground | None:
    """The amounts on the ground in an answer, from byte `at` on. sizes: what the answer says of it."""
    if sizes is None:
        return None
    points, known = sizes["points"], tuple(sizes["known"])
    xy = np.frombuffer(answer, dtype="<f8", offset=at, count=2 * points).reshape(-1, 2)
    amount = np.frombuffer(answer, dtype="<f8", offset=at + 16 * points, count=points)
    return Ground(np.frombuffer(answer, dtype="i1", offset=at + 24 * points, count=points), xy, amount, known)


# --- in the child -----------------------------------------------------------------------------------------------------


def child() -> None:
    """Read the PBF that the last argument names; write what it holds, or one line of error, to standard output.

    The argument before says of which box a map is wanted: see `read_pbf`, as JSON."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    path, content = Path(sys.argv[-1]), b""
    try:
        places = _places(path, json.loads(sys.argv[-2]))
        distinct = {tag: i for i, tag in enumerate(dict.fromkeys(zip(places.key, places.value, strict=True)))}
        payload: dict[str, Any] = {
            "kind": "".join(places.kind.tolist()),
            "tag": [distinct[tag] for tag in zip(places.key, places.value, strict=True)],
            "tags": list(distinct),
            "snapshot": places.snapshot,
            "box": places.box,
            "reach": places.reach,
            "notes": places.notes,
            "basemap": None,
            "ground": None,
        }
        content = places.xy.astype("<f8").tobytes()
        if (base := places.basemap) is not None:
            payload["basemap"] = {"shapes": len(base.kind), "points": len(base.at), "names": base.name,
                               "name_kind": base.name_kind.tolist()}  # fmt: skip
            arrays = (base.at.astype("<i4"), base.size.astype("<i4"), base.name_at.astype("<f8"), base.kind)
            content += b"".join(array.tobytes() for array in arrays)
        if (ground := places.ground) is not None:
            payload["ground"] = {"points": len(ground.amount), "known": ground.known}
            numbers = (ground.at.astype("<f8"), ground.amount.astype("<f8"), ground.measure)
            content += b"".join(array.tobytes() for array in numbers)
    except MemoryError:
        payload = {"error": "\0 does not fit into memory: cut the extract to the place"}
    except Exception as error:
        line = " ".join(str(error).split())[:300]
        known = isinstance(error, BadFile)
        payload = {"error": line if known else f"\0 is damaged or not what its name says ({line})"}
    text = json.dumps(payload).encode()
    text += b" " * (-len(text) % 8)
    out = sys.stdout.buffer
    out.write(struct.pack("<q", len(text)) + text + content)
    out.flush()
    os._exit(0)  # libosmium's threads are not waited for


def _end_with_parent() -> None:
    with suppress(OSError, ValueError):
        os.read(0, 1)  # the parent holds the other end, and writes nothing
    os._exit(1)


def _places(path: Path, basemap: Extent | bool) -> MapElements:
    name = "\0"  # the parent puts the path as it was given
    with tempfile.TemporaryDirectory(prefix="gentraffic-pbf-") as folder:
        with path.open("rb") as stream:
            within = NodesWithin(None if isinstance(basemap, bool) else basemap) if basemap else None
            reach, whole = _checked(stream, name, Path(folder, "unfolded.osm.pbf"), within)
        if not whole:
            path = Path(folder, "unfolded.osm.pbf")
        return _read(path, name, reach, within)


def _checked(stream: BinaryIO, name: str, aside: Path, within: NodesWithin | None = None) -> tuple[Extent | None, bool]:
    """The box of all nodes, and whether libosmium can unfold the blobs; else they are packed anew in the file `aside`.

    Raises BadFile where a blob is not as the format says."""
    reach: list[Extent] = []
    whole = True
    for kind, _, message in blobs(pieces(stream), name):
        data, codec = blob_data(fields(message, name), name)
        whole &= codec in READ_BY_LIBOSMIUM
        if kind == b"OSMData":
            box = check_block(data, name, within)
            reach += [box] if box is not None else []
    if not whole:
        stream.seek(0)
        with aside.open("wb") as again:
            for kind, _, message in blobs(pieces(stream), name):
                again.write(_packed_blob(kind, blob_data(fields(message, name), name)[0]))
    if not reach:
        return None, whole
    west, south, east, north = np.asarray(reach).T
    return (float(west.min()), float(south.min()), float(east.max()), float(north.max())), whole


def _packed_blob(kind: bytes, data: bytes) -> bytes:
    packed = zlib.compress(data, 1)
    blob = b"\x10" + _varint(len(data)) + b"\x1a" + _varint(len(packed)) + packed
    header = b"\x0a" + _varint(len(kind)) + kind + b"\x18" + _varint(len(blob))
    return struct.pack(">I", len(header)) + header + blob


def _varint(number: int) -> bytes:
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _read(path: Path, name: str, reach: Extent | None, within: NodesWithin | None) -> MapElements:
    import osmium
    from osmium.osm import ALL

    from poi.locations import locations

    file = osmium.io.File(str(path), "pbf")
    header = osmium.FileProcessor(file).header
    if header.has_multiple_object_versions:
        raise BadFile(f"{name} is a history file: give an extract of one day")
    tagged = tagged_elements(file)
    if not tagged.place and not any(True for _ in osmium.FileProcessor(file, ALL)):
        raise BadFile(f"{name} holds no elements: give an extract that covers the place")
    around, drawn, standing = _drawn(file, within)
    outlines = _outlines(file, tagged, drawn.members() | standing.members())
    ways = [p for k, p in zip(tagged.kind, tagged.place, strict=True) if k == "w"]
    wanted = [p for p in (*ways, *outlines.values()) if isinstance(p, np.ndarray) and p.ndim == 1]
    lacking = [found.lacking(outlines, around) for found in (drawn, standing)]
    ids = np.unique(np.concatenate([np.empty(0, dtype=np.int64), *wanted, *lacking]))
    with path.open("rb") as stream:
        nodes = Nodes(ids, locations(ids, file, "pbf", stream))
    xy = element_points(tagged, outlines, nodes)
    box = header.box()
    stated = None
    if box.valid() and box.size() > 0:
        stated = (box.bottom_left.lon, box.bottom_left.lat, box.top_right.lon, box.top_right.lat)
    snapshot = header.get("osmosis_replication_timestamp", "") or tagged.newest
    base = ground = None
    if drawn.kind or drawn.names or standing.kind:
        every = nodes.joined(around)
        base, ground = build(drawn, outlines, every), sum_up(standing, outlines, every)
    # a PBF that ends after a whole blob does not look cut
    cut = ("holds nodes only: it is filtered, or cut off behind them",) if tagged.seen == {"n"} else ()
    kinds = np.asarray(tagged.kind, dtype=np.str_)
    return MapElements(kinds, tuple(tagged.key), tuple(tagged.value), xy, snapshot, stated, reach, cut, base, ground)


def tagged_elements(file: Any) -> Tagged:
    """First pass: the elements that name a place, each once. file: an osmium.io.File."""
    import osmium
    from osmium.filter import KeyFilter
    from osmium.osm import ALL

    from poi.locations import lonlat

    elements = Tagged()
    newest: datetime | None = None
    stream: Iterator[Any] = iter(osmium.FileProcessor(file, ALL).with_filter(KeyFilter(*KEYS)))
    for element in stream:
        tags = {tag.k: tag.v for tag in element.tags}
        hit = categorise(tags)
        kind = element.type_str()
        elements.seen.add(kind)
        if hit is None or element.deleted or (kind == "r" and tags.get("type") not in AREA_RELATIONS):
            continue
        if kind == "n":
            elements.add(kind, element.id, hit, lonlat(element.location), version=element.version)
        elif kind == "w":
            elements.add(kind, element.id, hit, _way_place(element), version=element.version)
        else:
            parts: list[int | Floats] = [member.ref for member in element.members if member.type == "w"]
            elements.add(kind, element.id, hit, parts, version=element.version)
        newest = element.timestamp if newest is None else max(newest, element.timestamp)
    if newest is not None and newest.year > 1970:  # extracts without metadata say 1970
        elements.newest = newest.strftime("%Y-%m-%dT%H:%M:%SZ")
    elements.drop_doubles()
    return elements


def _drawn(file: Any, within: NodesWithin | None) -> tuple[Nodes, Drawn, Standing]:
    """The nodes of the box, the elements that a map shows of it, and those that stand on its ground; nothing where no
    map is wanted."""
    import osmium
    from osmium.filter import KeyFilter
    from osmium.osm import ALL

    from poi.locations import lonlat

    drawn, standing = Drawn(), Standing()
    around = within.nodes() if within is not None else NodesWithin().nodes()
    if within is None or within.too_many:
        return around, drawn, standing
    looked_at = [0, 0]
    keys = {*GROUND_KEYS, *(key for key, _ in TAGS)}
    stream: Iterator[Any] = iter(osmium.FileProcessor(file, ALL).with_filter(KeyFilter(*keys)))
    for element in stream:
        kind = element.type_str()
        if element.deleted:
            continue
        tags = {tag.k: tag.v for tag in element.tags}
        shown, stands = map_class(kind, tags), ground_class(kind, tags)
        if shown is None and stands is None:
            continue
        if kind == "n":
            place: Any = lonlat(element.location)
        else:
            ways = kind == "w"
            place = _way_place(element) if ways else [part.ref for part in element.members if part.type == "w"]
        if shown is not None:
            drawn.add(shown, tags, place)
        if stands is not None:
            standing.look_at(kind, element.id, tags, place)
        for i, kept in enumerate((drawn, standing)):
            if len(kept.kind) - looked_at[i] >= _BATCH:
                kept.keep(around, looked_at[i])
                looked_at[i] = len(kept.kind)
    for kept, first in zip((drawn, standing), looked_at, strict=True):
        kept.keep(around, first)
    return around, drawn, standing


def _outlines(file: Any, tagged: Tagged, more: set[int]) -> dict[int, Ints | Floats]:
    """Second pass: way id -> its place, for the ways that outline areas, and `more`."""
    import osmium
    from osmium.osm import WAY

    relations = [p for k, p in zip(tagged.kind, tagged.place, strict=True) if k == "r" and isinstance(p, list)]
    wanted = more | {ref for place in relations for ref in place if isinstance(ref, int)}
    stream: Iterator[Any] = iter(osmium.FileProcessor(file, WAY) if wanted else ())
    return {way.id: _way_place(way) for way in stream if way.id in wanted}


def _way_place(way: Any) -> Ints | Floats:
    """The corners of a way where it holds them (`osmium add-locations-to-ways`), else the ids of its nodes."""
    from poi.locations import lonlat

    if any(node.location.valid() for node in way.nodes):
        return np.asarray([lonlat(node.location) for node in way.nodes], dtype=np.float64).reshape(-1, 2)
    return np.fromiter((node.ref for node in way.nodes), dtype=np.int64)
