"""What is asked of an input before a library opens it, and what becomes of what the library raises.

An input is a regular file, or a link to one, or a folder of regular files without links: no pipe, no device. A NetCDF
file takes nothing from other files; a Zarr store is packed with codecs of an allow-list, none of which runs code.
"""

from __future__ import annotations

import functools
import json
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from gentraffic.errors import BadInput, GentrafficError
from poi.errors import PoiError

P = ParamSpec("P")
T = TypeVar("T")

# By their names in Zarr 2 (numcodecs) and Zarr 3. Not there: pickle, which runs what it reads; json, msgpack, and what
# is not known.
CODECS = frozenset((
    "adler32", "blosc", "bytes", "bz2", "crc32", "crc32c", "delta", "fixedscaleoffset", "fletcher32", "gzip",
    "jenkins_lookup3", "lz4", "lzma", "packbits", "quantize", "sharding_indexed", "shuffle", "transpose", "vlen-utf8",
    "zlib", "zstd",
))  # fmt: skip
FILTERS = frozenset((1, 2, 3, 4, 5, 6))  # of HDF5: its own; others are programs from a folder of plug-ins
MAX_METADATA = 64 << 20  # bytes of one document of metadata
MAX_OBJECTS = 100_000  # in an HDF5 file
MAX_ELEMENTS = 2**31  # of an array, or of one of its chunks
FREE_BYTES = 256 << 20  # that an array may claim in any case,
MAX_RATIO = 2000  # and how many times what is stored it may be beyond: deflate shrinks 1,030 times at most


def reads(function: Callable[P, T]) -> Callable[P, T]:
    """Decorator for what reads the input that its first argument names, see `reading`."""

    @functools.wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
        with reading(args[0] if args else next(iter(kwargs.values()), None)):
            return function(*args, **kwargs)

    return guarded


@contextmanager
def reading(given: Any) -> Iterator[None]:
    """Whatever a library raises on an input, a path or several, becomes BadInput."""
    for path in given if isinstance(given, list | tuple) else [given]:
        if isinstance(path, str | Path):
            check_regular(path)
    try:
        yield
    except (GentrafficError, PoiError, MemoryError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        kind = type(error).__name__
        raise BadInput(f"{given}: cannot be read ({f'{kind}: {reason}' if reason else kind})") from error


def check_regular(path: str | Path) -> None:
    """Raises BadInput where a pipe, a device or a socket stands at `path`; that nothing is there its reader says."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise BadInput(f"{path}: is a pipe or a device, not a file: save it to a file first")


def text_of(path: str | Path) -> str:
    """The text in a file of UTF-8. Raises BadInput for what is missing, no file, too large or no text."""
    check_regular(path)
    try:
        if os.path.getsize(path) > MAX_METADATA:
            raise BadInput(f"{path}: more than {MAX_METADATA >> 20} MiB of text")
        return Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror or error}") from None
    except ValueError:
        raise BadInput(f"{path}: is no text in UTF-8") from None


def check_arrays(path: str | Path) -> None:
    """Raises BadInput unless a .zarr, or else an HDF5 file, holds all its data itself, packed in known ways."""
    check_regular(path)
    if Path(path).suffix.lower() == ".zarr":
        _check_zarr(Path(path))
    else:
        _check_hdf5(Path(path))


# --- Zarr -------------------------------------------------------------------------------------------------------------


def _check_zarr(folder: Path) -> None:
    stored = 0
    documents: list[Path] = []
    for entry in _entries(folder, folder):
        stored += entry.stat(follow_symlinks=False).st_size
        if entry.name in (".zarray", ".zmetadata", "zarr.json"):
            documents.append(Path(entry.path))
    for document in documents:
        where = f"{folder}: damaged, or not ours: {document.relative_to(folder)}"
        if document.stat().st_size > MAX_METADATA:
            raise BadInput(f"{where}: more than {MAX_METADATA} bytes of metadata")
        try:
            metadata = json.loads(document.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            continue  # its reader says so
        for array in _arrays_of(metadata):
            _check_array(array, where, stored)


def _entries(folder: Path, store: Path) -> Iterator[os.DirEntry[str]]:
    """All files of a store. Raises BadInput for a link, a pipe or a device among them."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _entries(Path(entry.path), store)
            elif entry.is_file(follow_symlinks=False):
                yield entry
            else:
                kind = "a link" if entry.is_symlink() else "a pipe or a device"
                inside = Path(entry.path).relative_to(store)
                raise BadInput(f"{store}: {inside} is {kind}; a store holds its data itself")


def _arrays_of(metadata: Any) -> Iterator[dict[str, Any]]:
    """The metadata of arrays within a document, consolidated or not."""
    if not isinstance(metadata, dict):
        return
    if "shape" in metadata:
        yield metadata
    inner = metadata.get("metadata")
    consolidated = metadata.get("consolidated_metadata")
    if isinstance(consolidated, dict):
        inner = consolidated.get("metadata")
    if isinstance(inner, dict):
        for value in inner.values():
            if isinstance(value, dict) and "shape" in value:
                yield value


def _check_array(array: dict[str, Any], where: str, stored: int) -> None:
    names = list(_codecs_of(array))
    for name in names:
        if name not in CODECS:
            known = ", ".join(sorted(CODECS))
            raise BadInput(f"{where}: packed with {name!r}, which is not read: known are {known}")
    if array.get("dtype") == "|O" and "vlen-utf8" not in names:
        raise BadInput(f"{where}: holds Python objects that are no text, which are not read")
    grid = array.get("chunk_grid")
    configuration = grid.get("configuration") if isinstance(grid, dict) else None
    chunks = configuration.get("chunk_shape") if isinstance(configuration, dict) else array.get("chunks")
    for what, shape in (("shape", array.get("shape")), ("chunks", chunks)):
        if not isinstance(shape, list) or not all(isinstance(n, int) and 0 <= n < 2**63 for n in shape):
            raise BadInput(f"{where}: an array has {what} {str(shape)[:60]}")
        count = 1
        for n in shape:
            count *= max(n, 1)
        if count > MAX_ELEMENTS * (16 if what == "shape" else 1):
            raise BadInput(f"{where}: an array has {what} {str(shape)[:60]}, more than can be")
        if what == "chunks" and count * 8 > max(FREE_BYTES, MAX_RATIO * stored):
            raise BadInput(f"{where}: chunks of {count} values, and the whole store has {stored} bytes")


def _codecs_of(value: Any) -> Iterator[str]:
    """The names of all codecs and filters in the metadata of an array, those within others too."""
    declared = [value.get(key) for key in ("compressor", "filters", "codecs", "index_codecs")]
    for codecs in declared:
        for codec in codecs if isinstance(codecs, list) else [codecs]:
            if codec is None:
                continue
            if isinstance(codec, str):
                yield codec
                continue
            if not isinstance(codec, dict):
                yield str(codec)[:40]
                continue
            yield str(codec.get("id", codec.get("name"))).removeprefix("numcodecs.")
            inner = codec.get("configuration")
            if isinstance(inner, dict):
                yield from _codecs_of(inner)


# --- HDF5 -------------------------------------------------------------------------------------------------------------


def _check_hdf5(path: Path) -> None:
    import h5py

    with path.open("rb") as stream:
        if stream.read(3) == b"CDF":
            raise BadInput(f"{path}: is a classic NetCDF file (version 3), not NetCDF-4: `nccopy -k nc4` makes it one")
    try:
        with h5py.File(path, "r") as file:
            _check_objects(file, path)
    except (BadInput, MemoryError):
        raise
    except Exception:
        return  # the reader says what is wrong with it


def _check_objects(file: Any, path: Path) -> None:
    import h5py

    count = 0

    def link(name: str, member: Any) -> str | None:
        nonlocal count
        count += 1
        if count > MAX_OBJECTS:
            return f"holds more than {MAX_OBJECTS} objects"
        if isinstance(member, h5py.ExternalLink):
            return f"{name} lies in another file ({member.filename}); a file holds its data itself"
        return None

    def data(name: str, member: Any) -> str | None:
        if not isinstance(member, h5py.Dataset):
            return None
        if member.external or member.is_virtual:
            return f"{name} takes its data from other files; a file holds its data itself"
        properties = member.id.get_create_plist()
        for i in range(properties.get_nfilters()):
            number = properties.get_filter(i)[0]
            if number not in FILTERS:
                return f"{name} is packed with filter {number} of HDF5, which is not its own"
        claimed, stored = member.size * member.dtype.itemsize if member.size else 0, member.id.get_storage_size()
        if FREE_BYTES < claimed <= 8 * MAX_ELEMENTS and claimed > MAX_RATIO * max(stored, 1):
            return f"{name} claims {claimed} bytes and stores {stored}"
        return None

    # what is returned ends the visit: h5py cannot take exceptions there
    wrong = file.visititems_links(link) or file.visititems(data)
    if wrong:
        raise BadInput(f"{path}: {wrong}")
