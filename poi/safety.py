"""Is an input file what it claims to be, whole, and of a size that can be read? Looks at streams; opens no file.

Asked before any parser sees the file: compressed files are unfolded piece by piece against a cap, so that a bomb costs
megabytes of reading, not gigabytes of memory; XML that declares a DOCTYPE or entities is refused; a PBF is walked from
blob to blob, so that a file cut inside a blob is known to be cut.
"""

from __future__ import annotations

import bz2
import hashlib
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from poi.errors import BadFile

_PIECE = 1 << 20
_PROLOG = 1 << 16
_TAIL = 1 << 10
BLOB_BYTES = 32 << 20  # the PBF format's own limit for one unfolded blob
_HEADER = 64 << 10  # and for a blob's header
# What else is given by mistake, or in good faith, and what to do about it.
OTHER_KINDS = {
    b"PK\x03\x04": "a ZIP archive: unpack it and give the file inside",
    b"7z\xbc\xaf\x27\x1c": "a 7-Zip archive: unpack it and give the file inside",
    b"\xfd7zXZ\x00": "packed with xz: unpack it (`unxz`) and give the file inside",
    b"\x28\xb5\x2f\xfd": "packed with Zstandard: unpack it (`unzstd`) and give the file inside",
    b"\xff\xe0": "an .o5m file: convert it with `osmium cat FILE -o FILE.osm.pbf`",
    b"SQLite format 3\0": "a database (GeoPackage, SQLite), no OpenStreetMap extract: give .osm, .osm.pbf or a table",
    b"\x89HDF\r\n": "a NetCDF or HDF5 file: a context is given with --context",
    b"CDF": "a NetCDF file: a context is given with --context",
    b"%PDF": "a PDF: give .osm, .osm.pbf or a table of POIs",
}
_FORBIDDEN = (b"<!DOCTYPE", b"<!ENTITY")


@dataclass(frozen=True)
class Limits:
    """Caps on input, in bytes and rows. A file may unfold to `ratio` times its size, and to `slack` bytes in any case.

    Full OpenStreetMap XML shrinks 10 to 25 times, a bomb more than 1,000 times."""

    file_bytes: int = 16 << 30  # the PBF of the largest country has 11
    unfolded_bytes: int = 32 << 30
    text_bytes: int = 1 << 30  # tables and Overpass JSON, which are read whole
    rows: int = 50_000_000  # of a Parquet table, whose size on disk says little
    ratio: int = 100
    slack: int = 64 << 20

    def unfolded(self, file_bytes: int) -> int:
        """Most bytes that a file of `file_bytes` may unfold to."""
        return min(self.unfolded_bytes, max(self.slack, self.ratio * file_bytes))


@dataclass(frozen=True)
class Examined:
    """What a file is: `kind` is osm, osm.gz, osm.bz2, pbf (pyosmium's names of formats), json, parquet or text."""

    kind: str
    sha256: str
    snapshot: str | None  # osm_base, where an XML prolog names it


def examine(stream: BinaryIO, name: str, size: int, limits: Limits) -> Examined:
    """Reads a stream to its end and says what it is. Raises BadFile in one line where it is empty, too large, cut,
    a bomb, not OpenStreetMap XML, or XML that declares entities."""
    if size == 0:
        raise BadFile(f"{name} is empty: fetch it again")
    if size > limits.file_bytes:
        raise BadFile(
            f"{name} has {size} bytes, more than the cap of {limits.file_bytes}: cut the extract to the place, or set "
            "GENTRAFFIC_MAX_UNFOLDED_GB"
        )
    digest = hashlib.sha256()
    chunks = pieces(stream, digest)
    start = next(chunks)
    other = next((what for magic, what in OTHER_KINDS.items() if start.startswith(magic)), None)
    if other is not None:
        raise BadFile(f"{name} is {other}")
    kind = _kind(start)
    if kind in ("json", "parquet", "text") and size > limits.text_bytes:
        raise BadFile(f"{name} has {size} bytes, more than the cap of {limits.text_bytes} for a table or JSON: cut it")
    whole = _chain(start, chunks)
    snapshot = None
    if kind == "pbf":
        _walk_pbf(whole, name, limits.unfolded(size))
    elif kind.startswith("osm"):
        snapshot = _scan_xml(unfolded(whole, kind, name), name, limits.unfolded(size))
    else:
        for _ in whole:
            pass
    return Examined(kind, digest.hexdigest(), snapshot)


def check_row_groups(metadata: Any, name: str) -> None:
    """Raise BadFile unless the row groups of a Parquet file (`pyarrow.parquet.FileMetaData`) have as many rows as it.

    Arrow makes room for the rows that a group says it has: a file of 4 kB can ask for gigabytes."""
    groups = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
    if sum(groups) != metadata.num_rows or min(groups, default=0) < 0:
        rows = f"{metadata.num_rows:,} rows, its parts {sum(groups):,}"
        raise BadFile(f"{name} is damaged: it says {rows}; copy it again")


def _kind(start: bytes) -> str:
    if start[:2] == b"\x1f\x8b":
        return "osm.gz"
    if start[:3] == b"BZh":
        return "osm.bz2"
    if start[:4] == b"PAR1":
        return "parquet"
    if start[4:15] == b"\x0a\x09OSMHeader":
        return "pbf"
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text[:1] == b"<" or start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "osm"
    return "json" if text[:1] in (b"{", b"[") else "text"


def unfolded(stream_pieces: Iterator[bytes], kind: str, name: str) -> Iterator[bytes]:
    """What a plain, gzip or bzip2 stream unfolds to, at most a megabyte at a time. Raises BadFile where it is cut."""
    if kind == "osm":
        yield from stream_pieces
        return
    make = bz2.BZ2Decompressor if kind == "osm.bz2" else lambda: zlib.decompressobj(wbits=31)
    unfold = make()
    try:
        for piece in stream_pieces:
            data = piece
            while data or not (unfold.eof or getattr(unfold, "needs_input", True)):
                if unfold.eof:  # another member follows; padding with zeros does not count as one
                    if not data.strip(b"\0"):
                        break
                    unfold = make()
                yield unfold.decompress(data, _PIECE)
                data = unfold.unused_data if unfold.eof else getattr(unfold, "unconsumed_tail", b"")
    except (OSError, zlib.error) as error:
        raise BadFile(f"{name} is damaged ({error}): fetch it again") from error
    if not unfold.eof:
        raise BadFile(f"{name} is cut off: it ends inside its compressed data; fetch it again")


def _scan_xml(stream_pieces: Iterator[bytes], name: str, cap: int) -> str | None:
    """Snapshot that the prolog names, if any. Raises BadFile for a bomb, a DOCTYPE, another encoding, another root."""
    total, tail, prolog = 0, b"", b""
    for piece in stream_pieces:
        total += len(piece)
        if total > cap:
            raise _too_large(name, cap)
        if len(prolog) < _PROLOG:
            prolog += piece[:_PROLOG]
            if prolog.startswith((b"\x1f\x8b", b"BZh", b"PK\x03\x04", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")):
                raise BadFile(f"{name} holds a packed file inside a packed file: unpack it once")
            if b"\0" in prolog[:256]:
                raise BadFile(f"{name} is text in UTF-16, or no text: save it as UTF-8")
        window = tail + piece
        for word in _FORBIDDEN:
            if word in window:
                raise BadFile(f"{name} declares {word.decode()[2:]}, which OpenStreetMap files never do: it is refused")
        tail = window[-_TAIL:]
    if total == 0:
        raise BadFile(f"{name} is empty: fetch it again")
    if prolog.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] != b"<":
        raise BadFile(f"{name} holds a packed table or JSON, no OpenStreetMap XML: unpack it and give the file inside")
    if re.search(rb"<osmChange[\s>/]", prolog):
        raise BadFile(f"{name} is a file of changes (.osc), not a map: apply it to an extract and give that")
    if not re.search(rb"<osm[\s>/]", prolog):
        raise BadFile(
            f"{name} is not OpenStreetMap XML (no <osm> element): give an .osm, .osm.gz, .osm.bz2 or .osm.pbf"
        )
    if not re.search(rb"</osm\s*>", tail) and not re.search(rb"<osm[^>]*/>", prolog):
        raise BadFile(f"{name} is cut off: it ends before </osm>; fetch it again")
    match = re.search(rb'<meta\s+osm_base="([0-9TZ:+\-.]{10,32})"', prolog)
    return match.group(1).decode() if match else None


def _walk_pbf(stream_pieces: Iterator[bytes], name: str, cap: int) -> None:
    """Raises BadFile unless the stream is whole PBF blobs that unfold to at most `cap` bytes and hold data."""
    total, data_blobs = 0, 0
    for kind, _, message in blobs(stream_pieces, name):
        blob = fields(message, name)
        raw, raw_size = blob.get(1), blob.get(2)
        size = raw_size if isinstance(raw_size, int) else len(raw) if isinstance(raw, bytes) else 0
        total += size
        data_blobs += kind == b"OSMData"
        if size > BLOB_BYTES or total > cap:
            raise _too_large(name, min(cap, BLOB_BYTES) if size > BLOB_BYTES else cap)
    if not data_blobs:
        raise BadFile(f"{name} holds a header and no data: give an extract that covers the place")


def pbf_pieces(stream: BinaryIO, name: str, size: int) -> Iterator[tuple[bytes, bytes]]:
    """A PBF cut between its blobs into files of their own: (start, piece), each with the header of the whole.

    A piece has `size` bytes of data, or up to a blob more; its start has only its first blob. Raises BadFile as
    `examine`, for a stream that is cut."""
    head, start, held = b"", b"", bytearray()
    for kind, frame, message in blobs(pieces(stream), name):
        if kind != b"OSMData":
            head += frame + message
            continue
        start = start or head + frame + message
        held += frame + message
        if len(held) >= size:
            yield start, head + bytes(held)
            start, held = b"", bytearray()
    if held:
        yield start, head + bytes(held)


def blobs(stream_pieces: Iterator[bytes], name: str) -> Iterator[tuple[bytes, bytes, bytes]]:
    """The blobs of a PBF: type, what frames the blob, and the blob. Raises BadFile where the stream is cut."""
    stream = _Buffer(stream_pieces)
    while length := stream.take(4, may_end=True, name=name):
        header_bytes = int.from_bytes(length, "big")
        if header_bytes > _HEADER:
            raise BadFile(f"{name} is not a whole PBF: a blob's header claims {header_bytes} bytes; fetch it again")
        frame = stream.take(header_bytes, name=name)
        header = fields(frame, name)
        kind, datasize = header.get(1), header.get(3)
        if not isinstance(kind, bytes) or not isinstance(datasize, int) or datasize > BLOB_BYTES:
            raise BadFile(f"{name} is not a whole PBF: a blob has no type or size; fetch it again")
        yield kind, length + frame, stream.take(datasize, name=name)


def _too_large(name: str, cap: int) -> BadFile:
    fix = "if you trust it, set GENTRAFFIC_MAX_UNFOLDED_GB"
    return BadFile(f"{name} unfolds to more than {cap} bytes (a decompression bomb?): {fix}")


def fields(message: bytes, name: str) -> dict[int, int | bytes]:
    """Fields of one protocol-buffer message, by number: varints as int, strings and bytes as bytes."""
    result: dict[int, int | bytes] = {}
    at = 0
    while at < len(message):
        tag, at = _varint(message, at, name)
        if tag & 7 == 0:
            result[tag >> 3], at = _varint(message, at, name)
        elif tag & 7 == 2:
            length, at = _varint(message, at, name)
            result[tag >> 3] = message[at : at + length]
            at += length
        else:
            raise BadFile(f"{name} is not a whole PBF: a blob is damaged; fetch it again")
    return result


def _varint(message: bytes, at: int, name: str) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            break
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, at
    raise BadFile(f"{name} is not a whole PBF: a blob is damaged; fetch it again")


class _Buffer:
    """Takes so many bytes at a time from pieces of any length."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._held, self._at = pieces, bytearray(), 0

    def take(self, count: int, *, name: str, may_end: bool = False) -> bytes:
        """The next `count` bytes; none at the end where it may end. Raises BadFile where the stream ends before."""
        while len(self._held) < count:
            piece = next(self._pieces, None)
            if piece is None:
                if may_end and not self._held:
                    return b""
                raise BadFile(f"{name} is cut off at byte {self._at + len(self._held)}: fetch it again")
            self._held += piece
        taken = bytes(self._held[:count])
        del self._held[:count]
        self._at += count
        return taken


def pieces(stream: BinaryIO, digest: hashlib._Hash | None = None) -> Iterator[bytes]:
    """What a stream holds, piece by piece; a digest is fed with it."""
    while piece := stream.read(_PIECE):
        if digest is not None:
            digest.update(piece)
        yield piece


def _chain(start: bytes, chunks: Iterator[bytes]) -> Iterator[bytes]:
    yield start
    yield from chunks
