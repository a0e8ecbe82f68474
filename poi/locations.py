"""Where the nodes of ways are. Memory grows with the nodes that are asked for, not with those of the file.

A PBF is cut into pieces of whole blobs, each a PBF of its own, and one piece at a time is indexed. Where the file is
sorted, the nodes of a piece have ids between its first and the first of the next piece, so that each id is looked up
once; what is not found so is looked for in every piece, unless the header says that the file is sorted. XML is one
piece, and takes 16 bytes for each of its nodes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import osmium
from osmium.osm import ALL, NODE, WAY

from poi.points import Floats
from poi.safety import pbf_pieces

Ints = npt.NDArray[np.int64]
Source = osmium.io.File | osmium.io.FileBuffer

PIECE = 1 << 20  # bytes of PBF, some hundred thousand nodes: 16 bytes each in the index
_LAST = np.iinfo(np.int64).max
_A_WAY = b'<osm version="0.6"><way id="1" version="1"><nd ref="1"/></way></osm>'


def locations(ids: Ints, file: osmium.io.File, kind: str, stream: BinaryIO) -> Floats:
    """Lon, lat of the nodes with these ids, sorted, each once: (n, 2) degrees, NaN where the file lacks them.

    kind: pyosmium's name of the format. stream: the bytes of the file. Raises RuntimeError as pyosmium does, BadFile
    for a PBF that is cut."""
    xy = np.full((len(ids), 2), np.nan)
    if not len(ids):
        return xy
    if ids[0] < 0:  # what an editor has added has negative ids, which osmium's index cannot hold
        position = {number: i for i, number in enumerate(ids.tolist())}
        nodes: Iterator[Any] = iter(osmium.FileProcessor(file, NODE))
        for node in nodes:
            if node.id in position:
                xy[position[node.id]] = lonlat(node.location)
        return xy
    if kind != "pbf":
        _look_up(ids, xy, slice(None), file)
        return xy
    for piece, low, high in _sorted_pieces(stream):
        first, end = np.searchsorted(ids, [low, high]).tolist()
        _look_up(ids, xy, slice(first, end), piece)
    if np.isnan(xy).any() and osmium.FileProcessor(file).header.get("sorting", "") != "Type_then_ID":
        stream.seek(0)
        for _, part in pbf_pieces(stream, stream.name, PIECE):
            _look_up(ids, xy, slice(None), osmium.io.FileBuffer(part, "pbf"))
    return xy


def _look_up(ids: Ints, xy: Floats, rows: slice, source: Source) -> None:
    """Fill the rows that are not known yet with what a file knows."""
    wanted = np.flatnonzero(np.isnan(xy[rows, 0])) + (rows.start or 0)
    if not len(wanted):
        return
    index = _index(source)
    for i, number in zip(wanted.tolist(), ids[wanted].tolist(), strict=True):
        with suppress(KeyError):
            xy[i] = lonlat(index.get(number))


def lonlat(location: Any) -> tuple[float, float]:
    """Degrees of one of pyosmium's locations, NaN where it is none."""
    return (location.lon, location.lat) if location.valid() else (np.nan, np.nan)


def _sorted_pieces(stream: BinaryIO) -> Iterator[tuple[Source, int, int]]:
    """Pieces that may hold nodes, the lowest id in each, and an id that is above all."""
    held: tuple[bytes, int] | None = None
    for start, piece in pbf_pieces(stream, stream.name, PIECE):
        elements: Iterator[Any] = iter(osmium.FileProcessor(osmium.io.FileBuffer(start, "pbf"), ALL))
        first = next(elements, None)
        low = first.id if first is not None and first.is_node() else _LAST
        if held is not None:
            yield osmium.io.FileBuffer(held[0], "pbf"), held[1], low
        if low == _LAST:  # ways, and then no more nodes
            return
        held = piece, low
    if held is not None:
        yield osmium.io.FileBuffer(held[0], "pbf"), held[1], _LAST


def _index(source: Source) -> Any:
    """Where each node of a file is."""
    index = osmium.index.create_map("sparse_mem_array")
    keep = osmium.NodeLocationsForWays(index)
    keep.ignore_errors()
    with osmium.io.Reader(source, NODE) as reader:
        osmium.apply(reader, keep)
    with osmium.io.Reader(osmium.io.FileBuffer(_A_WAY, "osm"), WAY) as reader:
        osmium.apply(reader, keep)  # at its first way the index sorts itself
    return index
