"""PBF files written byte by byte, so that a test can say what no library would write."""

import struct
import zlib
from collections.abc import Callable, Iterable, Sequence


def varint(number: int) -> bytes:
    number &= (1 << 64) - 1
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def zigzag(number: int) -> int:
    return number << 1 if number >= 0 else (-number << 1) - 1


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def message(field: int, content: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(content)) + content


def packed(field: int, values: Iterable[int]) -> bytes:
    return message(field, b"".join(map(varint, values)))


def deltas(field: int, values: Sequence[int]) -> bytes:
    before = [0, *values[:-1]]
    return packed(field, [zigzag(v - b) for v, b in zip(values, before, strict=True)])


def dense(ids: Sequence[int], lat: Sequence[int], lon: Sequence[int], tags: Sequence[int], more: bytes = b"") -> bytes:
    """A group of nodes; lat, lon in units of the granularity."""
    body = deltas(1, ids) + more + deltas(8, lat) + deltas(9, lon) + (packed(10, tags) if tags else b"")
    return message(2, message(2, body))


def way(
    ident: int, nodes: Sequence[int], keys: Sequence[int], values: Sequence[int],
    places: tuple[Sequence[int], Sequence[int]] | None = None, more: bytes = b"",
) -> bytes:  # fmt: skip
    """A group of one way. places: (lat, lon) of its nodes, as LocationsOnWays has them."""
    body = number(1, ident) + packed(2, keys) + packed(3, values) + more + deltas(8, nodes)
    if places is not None:
        body += deltas(9, places[0]) + deltas(10, places[1])
    return message(2, message(3, body))


def relation(ident: int, keys: Sequence[int], values: Sequence[int], members: Sequence[tuple[int, int, int]]) -> bytes:
    """A group of one relation. members: (index of the role, id, 0 node, 1 way, 2 relation)."""
    body = number(1, ident) + packed(2, keys) + packed(3, values)
    roles, ids, kinds = zip(*members, strict=True)
    body += packed(8, roles) + deltas(9, ids) + packed(10, kinds)
    return message(2, message(4, body))


def block(strings: Sequence[bytes], *groups: bytes, more: bytes = b"") -> bytes:
    return message(1, b"".join(message(1, s) for s in (b"", *strings))) + b"".join(groups) + more


def blob(kind: bytes, content: bytes, pack: Callable[[bytes], bytes] = zlib.compress, field: int = 3) -> bytes:
    body = number(2, len(content)) + message(field, pack(content))
    header = message(1, kind) + number(3, len(body))
    return struct.pack(">I", len(header)) + header + body


def header(features: Sequence[bytes] = (b"OsmSchema-V0.6", b"DenseNodes"), optional: Sequence[bytes] = ()) -> bytes:
    return b"".join(message(4, f) for f in features) + b"".join(message(5, f) for f in optional)


def pbf(*blocks: bytes, optional: Sequence[bytes] = (), **packing: object) -> bytes:
    """A whole file of data blocks. packing: `pack` and `field` of `blob`."""
    out = blob(b"OSMHeader", header(optional=optional))
    return out + b"".join(blob(b"OSMData", b, **packing) for b in blocks)  # type: ignore[arg-type]
