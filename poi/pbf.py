"""The bytes of a PBF, checked before libosmium sees them: it trusts indices, and one beyond its table ends the process.

What the format says is checked: that messages lie within each other, that every index of a string lies within the
block's table, that parallel lists are of one length, that granularity and offsets put every node on earth. Counts are
capped, so that a block of 32 MiB does not unfold to gigabytes. Blobs packed with what libosmium does not read
(Zstandard, LZMA, LZ4) are unfolded here. Touches no file.
"""

from __future__ import annotations

import lzma
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from poi.errors import BadFile
from poi.safety import BLOB_BYTES

if TYPE_CHECKING:
    from poi.basemap import NodesWithin

Ints = npt.NDArray[np.int64]
Extent = tuple[float, float, float, float]
Span = tuple[int, int]  # first byte, and the one behind the last

MAX_ELEMENTS = 200_000  # in a block: programs write 8,000
MAX_PARTS = 200_000  # nodes of a way, members of a relation: OpenStreetMap allows 2,000 and 32,000
MAX_TEXT = 1 << 16  # bytes of a string: OpenStreetMap allows 255 characters
CODECS = {1: "none", 3: "zlib", 4: "lzma", 5: "bzip2", 6: "lz4", 7: "zstd"}  # fields of a Blob
READ_BY_LIBOSMIUM = (1, 3)


def blob_data(blob: dict[int, int | bytes], name: str) -> tuple[bytes, int]:
    """What a Blob (its fields by number) unfolds to, and the field that held it.

    Raises BadFile where it is damaged, larger than it says, or packed in a way that nothing here reads."""
    codec = next((number for number in CODECS if isinstance(blob.get(number), bytes)), 0)
    packed, size = blob.get(codec), blob.get(2, 0)
    if not isinstance(packed, bytes) or codec == 5:
        reason = "with bzip2, which the format has given up" if codec == 5 else "in a way that is not known"
        raise BadFile(f"{name} has blobs that are packed {reason}: convert it with `osmium cat -f pbf`")
    if codec == 1:
        return packed, codec
    if not isinstance(size, int) or not 0 < size <= BLOB_BYTES:
        raise BadFile(f"{name} is not a whole PBF: a blob says no size; fetch it again")
    try:
        return _unpacked(codec, packed, size), codec
    except (zlib.error, lzma.LZMAError, OSError, ValueError, EOFError) as error:
        reason = f"{CODECS[codec]}: {error}"
        raise BadFile(f"{name} is damaged: a blob does not unfold ({reason}); fetch it again") from error


def _unpacked(codec: int, packed: bytes, size: int) -> bytes:
    if codec == 3:
        unfold = zlib.decompressobj()
        data = unfold.decompress(packed, size + 1)
        whole = unfold.eof or not unfold.decompress(unfold.unconsumed_tail, 1)
    elif codec == 4:
        decoder = lzma.LZMADecompressor(memlimit=256 << 20)
        data, whole = decoder.decompress(packed, size + 1), True
    else:
        import pyarrow as pa

        data = pa.Codec("zstd" if codec == 7 else "lz4_raw").decompress(packed, size, asbytes=True)
        whole = True
    if len(data) != size or not whole:
        raise ValueError(f"it holds {len(data)} bytes or more and says {size}")
    return bytes(data)


def check_block(block: bytes, name: str, keep: NodesWithin | None = None) -> Extent | None:
    """The box of a block's nodes in degrees, if it has any: west, south, east, north. keep: is told the nodes.

    Raises BadFile unless the block is as the format says, its indices and coordinates within bounds."""
    try:
        return _check_block(block, name, keep)
    except _Torn as error:
        raise BadFile(f"{name} is damaged: {error}; fetch it again") from error


class _Torn(Exception):
    """The bytes break the format."""


def _check_block(block: bytes, name: str, keep: NodesWithin | None) -> Extent | None:
    strings, groups = -1, list[Span]()
    scale = {17: 100, 18: 1000, 19: 0, 20: 0}  # granularity of places and dates; offsets of lat and lon
    for number, value in _walk(block, (0, len(block))):
        if number == 1 and isinstance(value, tuple):
            strings = _count_strings(block, value)
        elif number == 2 and isinstance(value, tuple):
            groups.append(value)
        elif number in scale and isinstance(value, int):
            scale[number] = value - (1 << 64) if value >= 1 << 63 else value
    if strings < 0:
        raise _Torn("a block has no table of strings")
    if not (0 < scale[17] < 1 << 31 and 0 < scale[18] < 1 << 31):
        raise BadFile(f"{name} has a granularity of {scale[17]} (dates: {scale[18]}): it must be 1 or more")
    if abs(scale[20]) > 180e9 or abs(scale[19]) > 90e9:
        lon, lat = scale[20] / 1e9, scale[19] / 1e9
        raise BadFile(f"{name} has an offset of lon {lon:g}, lat {lat:g}, which is not on earth")
    elements, boxes = 0, []
    for group in groups:
        count, group_boxes = _check_group(block, group, strings, scale, name, keep)
        elements += count
        boxes += group_boxes
        if elements > MAX_ELEMENTS:
            raise BadFile(f"{name} has a block of more than {MAX_ELEMENTS} elements: convert it with `osmium cat`")
    if not boxes:
        return None
    west, south, east, north = zip(*boxes, strict=True)
    return min(west), min(south), max(east), max(north)


def _count_strings(block: bytes, table: Span) -> int:
    """How many strings a table holds. libosmium keeps them ended by a zero: one with a zero inside ends the process."""
    count = 0
    for _, span in _walk(block, table):
        text = block[span[0] : span[1]] if isinstance(span, tuple) else b"\0"
        if b"\0" in text or len(text) > MAX_TEXT:
            raise _Torn("a string of its table is no text")
        try:
            text.decode()
        except UnicodeDecodeError:
            raise _Torn("a string of its table is not UTF-8") from None
        count += 1
    return count


def _check_group(
    block: bytes, group: Span, strings: int, scale: dict[int, int], name: str, keep: NodesWithin | None
) -> tuple[int, list[Extent]]:
    """Number of elements, and boxes that hold the nodes."""
    boxes: list[Extent] = []
    of: dict[int, list[Span]] = {1: [], 2: [], 3: [], 4: []}
    for number, value in _walk(block, group):
        if number in of and isinstance(value, tuple):
            of[number].append(value)
    count = sum(map(len, of.values()))
    for span in of[2]:
        count += _check_dense(block, span, strings, scale, name, boxes, keep)
    for span in of[1]:
        fields = _message(block, span)
        lat, lon = (_zigzag(np.array([_number(fields, n)], dtype=np.uint64)) for n in (8, 9))
        boxes += _on_earth(lat, lon, scale, name)
        if keep is not None:
            _tell(keep, _zigzag(np.array([_number(fields, 1)], dtype=np.uint64)), lat, lon, scale)
    index: list[bytes] = []
    for kind in (1, 3, 4):
        for span in of[kind]:
            fields = _message(block, span)
            keys, values = (_packed(block, fields, n) for n in (2, 3))
            index += [keys, values]
            _alike("tags", _length(keys), _length(values))
            if 4 in fields:
                user = _number(_message(block, _span(fields, 4)), 5)
                if user >= max(strings, 1):
                    raise _Torn("a user's name lies beyond the table of strings")
            if kind == 3:
                _check_way(block, fields, scale, name)
            if kind == 4:
                roles, members, types = (_packed(block, fields, n) for n in (8, 9, 10))
                index.append(roles)
                _alike("members", _length(roles), _length(members), _length(types))
                _few("members of a relation", _length(members), name)
                if len(types) and max(types) > 2:
                    raise _Torn("a member is neither node, way nor relation")
    _check_index(_varints(b"".join(index)), strings)
    return count, boxes


def _check_dense(
    block: bytes, span: Span, strings: int, scale: dict[int, int], name: str, boxes: list[Extent],
    keep: NodesWithin | None,
) -> int:  # fmt: skip
    fields = _message(block, span)
    ids, lat, lon = (_varints(_packed(block, fields, n)) for n in (1, 8, 9))
    _alike("nodes", len(ids), len(lat), len(lon))
    tags = _varints(_packed(block, fields, 10))
    _check_index(tags, strings)
    at_lat, at_lon = np.cumsum(_zigzag(lat)), np.cumsum(_zigzag(lon))
    boxes += _on_earth(at_lat, at_lon, scale, name)
    if keep is not None:
        _tell(keep, np.cumsum(_zigzag(ids)), at_lat, at_lon, scale)
    if 5 in fields:
        info = _message(block, _span(fields, 5))
        users = np.cumsum(_zigzag(_varints(_packed(block, info, 5))))
        if len(users) and not 0 <= users.min() <= users.max() < strings:
            raise _Torn("a user's name lies beyond the table of strings")
        for n in (1, 2, 3, 4, 5, 6):
            if n in info:
                _alike("dates of nodes", _length(_packed(block, info, n)), len(ids))
    return len(ids)


def _tell(keep: NodesWithin, ids: Ints, lat: Ints, lon: Ints, scale: dict[int, int]) -> None:
    """Nodes whose places were checked, as degrees."""
    keep.add(ids, *((values * scale[17] + scale[offset]) / 1e9 for values, offset in ((lon, 20), (lat, 19))))


def _check_way(block: bytes, fields: dict[int, int | Span], scale: dict[int, int], name: str) -> None:
    nodes = _length(_packed(block, fields, 8))
    _few("nodes of a way", nodes, name)
    if 9 in fields or 10 in fields:  # LocationsOnWays
        lat, lon = (_zigzag(_varints(_packed(block, fields, n))) for n in (9, 10))
        _alike("places of a way", len(lat), len(lon), nodes)
        undefined = (np.cumsum(lat) == _UNDEFINED) & (np.cumsum(lon) == _UNDEFINED)
        _on_earth(np.cumsum(lat)[~undefined], np.cumsum(lon)[~undefined], scale, name)


_UNDEFINED = 2**31 - 1  # what libosmium writes for a node of a way that it does not know


def _on_earth(lat: Ints, lon: Ints, scale: dict[int, int], name: str) -> list[Extent]:
    """The box of places in degrees; none for none. Raises BadFile where one of them is not on earth."""
    if not len(lat):
        return []
    box: dict[str, tuple[float, float]] = {}
    for values, offset, most, axis in ((lon, scale[20], 180.0, "lon"), (lat, scale[19], 90.0, "lat")):
        ends = [round((int(value) * scale[17] + offset) / 1e9, 7) for value in (values.min(), values.max())]
        for degrees in ends:
            if abs(degrees) > most:
                why = f" (its granularity is {scale[17]}, not 100)" if scale[17] != 100 else ""
                raise BadFile(f"{name} has a node at {axis} {degrees:.7g}, which is not on earth{why}")
        box[axis] = ends[0], ends[1]
    (west, east), (south, north) = box["lon"], box["lat"]
    return [(west, south, east, north)]


def _check_index(index: npt.NDArray[np.uint64], strings: int) -> None:
    if len(index) and int(index.max()) >= strings:
        raise _Torn(f"a tag names string {int(index.max())} of {strings}")


def _alike(what: str, *counts: int) -> None:
    if len(set(counts)) > 1:
        raise _Torn(f"the lists of {what} differ in length ({', '.join(map(str, counts))})")


def _few(what: str, count: int, name: str) -> None:
    if count > MAX_PARTS:
        raise BadFile(f"{name} has {count} {what}, more than the cap of {MAX_PARTS}")


def _walk(data: bytes, span: Span) -> Iterator[tuple[int, int | Span]]:
    """The fields of a message: number, and the varint, or where the bytes lie."""
    at, end = span
    while at < end:
        tag = data[at]
        at += 1
        if tag >= 0x80:
            tag, at = _varint(data, at - 1, end)
        wire, number = tag & 7, tag >> 3
        if wire == 2 or wire == 0:
            if at >= end:
                raise _Torn("a message ends within a field")
            value = data[at]
            at += 1
            if value >= 0x80:
                value, at = _varint(data, at - 1, end)
            if wire == 0:
                yield number, value
                continue
            if value > end - at:
                raise _Torn("a message ends within a field")
            yield number, (at, at + value)
            at += value
        else:  # 64 and 32 bits: the format has none, and may have
            at += {1: 8, 5: 4}.get(wire, end)
            if at > end:
                raise _Torn("a message has a field of no known kind")


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= end:
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, at
    raise _Torn("a number does not end")


def _message(data: bytes, span: Span) -> dict[int, int | Span]:
    """The fields of a message that has each of them once."""
    fields: dict[int, int | Span] = {}
    for number, value in _walk(data, span):
        if number in fields:
            raise _Torn(f"a message has its field {number} twice")
        fields[number] = value
    return fields


def _number(fields: dict[int, int | Span], number: int) -> int:
    value = fields.get(number, 0)
    if not isinstance(value, int):
        raise _Torn(f"field {number} is no number")
    return value


def _span(fields: dict[int, int | Span], number: int) -> Span:
    value = fields[number]
    if not isinstance(value, tuple):
        raise _Torn(f"field {number} is no message")
    return value


def _packed(data: bytes, fields: dict[int, int | Span], number: int) -> bytes:
    """The bytes of a packed list of numbers, none where it is missing."""
    if number not in fields:
        return b""
    start, end = _span(fields, number)
    return data[start:end]


_CONTINUED = bytes(range(0x80, 0x100))


def _length(packed: bytes) -> int:
    """How many varints a packed list holds."""
    if packed and packed[-1] >= 0x80:
        raise _Torn("a number does not end")
    return len(packed.translate(None, _CONTINUED))


def _varints(packed: bytes) -> npt.NDArray[np.uint64]:
    """The varints of a packed list, (n,)."""
    data = np.frombuffer(packed, dtype=np.uint8)
    ends = np.flatnonzero(data < 0x80)
    if len(data) and (not len(ends) or ends[-1] != len(data) - 1):
        raise _Torn("a number does not end")
    starts = np.concatenate([[0], ends[:-1] + 1])[: len(ends)].astype(np.int64)
    length = ends - starts + 1
    values = np.zeros(len(ends), dtype=np.uint64)
    for k in range(int(length.max()) if len(length) else 0):
        if k >= 10:
            raise _Torn("a number has more than 64 bits")
        here = np.flatnonzero(length > k)
        values[here] |= (data[starts[here] + k] & np.uint8(0x7F)).astype(np.uint64) << np.uint64(7 * k)
    return values


def _zigzag(values: npt.NDArray[np.uint64]) -> Ints:
    half = (values >> np.uint64(1)).astype(np.int64)
    return half ^ -(values & np.uint64(1)).astype(np.int64)
