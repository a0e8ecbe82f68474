"""What a file or a store needs to know itself whole: a SHA-256 behind a NetCDF file, in notes, and of a Zarr store.

HDF5 knows its own length and ignores what follows it, so every reader still opens a sealed NetCDF file; but one altered
byte can make the HDF5 library crash the whole process, so a file that carries the seal is compared with it before the
library sees it. Whoever changes the file through HDF5 cuts the seal off, and the file is read like any other. Bytes
behind the end that are no seal are refused: they would hide it.

A Zarr store lists all of its files with their sizes and hashes in `.zmetadata`, the metadata that readers open first.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from gentraffic.errors import BadInput

_MARK = b"\ngentraffic sha256 "
_LENGTH = len(_MARK) + 64 + 1
_HDF5 = b"\x89HDF\r\n\x1a\n"
_AGAIN = "write it again"

LIST = "gentraffic_files"  # in .zmetadata: the files of the store, and the seal of the metadata and the list
LISTED = "files_listed"  # attribute of the store: its .zmetadata holds the list
_CONSOLIDATED = ".zmetadata"


def put_seal(path: str | Path) -> None:
    """Append the seal to a whole file."""
    with Path(path).open("r+b") as stream:
        digest = _digest(stream, Path(path).stat().st_size)
        stream.seek(0, 2)
        stream.write(_MARK + digest + b"\n")


def check_seal(path: str | Path) -> None:
    """Raise BadInput where `path` carries a seal that does not fit, or something behind its end that is no seal.

    An HDF5 file that ends where it says passes without a seal: another program has written it."""
    path = Path(path)
    size = path.stat().st_size
    with path.open("rb") as stream:
        end = _found(stream, size)
        if end < 0:
            end = _end_of_hdf5(stream)
            if 0 <= end < size:
                raise BadInput(f"damaged: {size - end} bytes stand behind its end that do not belong there; {_AGAIN}")
            return
        stream.seek(end)
        seal = stream.read(_LENGTH)
        stream.seek(0)
        if seal != _MARK + _digest(stream, end) + b"\n":
            raise BadInput(f"damaged: its bytes do not have the SHA-256 that was written behind them; {_AGAIN}")
        if size > end + _LENGTH:
            raise BadInput(f"damaged: {size - end - _LENGTH} bytes were added behind its end; {_AGAIN}")


def _found(stream: BinaryIO, size: int) -> int:
    """Where the last seal of a file begins, -1 where there is none."""
    if size < _LENGTH:
        return -1
    with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.rfind(_MARK)


def _end_of_hdf5(stream: BinaryIO) -> int:
    """The length that an HDF5 file says it has, in its superblock (versions 0 to 3); -1 where it says none."""
    stream.seek(0)
    head = stream.read(64)
    if not head.startswith(_HDF5) or len(head) < 64:
        return -1
    version = head[8]
    size, at = (head[13], 24 + (4 if version == 1 else 0)) if version < 2 else (head[9], 12)
    if version > 3 or size != 8 or int.from_bytes(head[at : at + 8], "little"):  # the base address
        return -1
    # version 0, 1: base, free space, end; version 2, 3: base, extension, end
    return int.from_bytes(head[at + 16 : at + 24], "little")


def _digest(stream: BinaryIO, size: int) -> bytes:
    sha = hashlib.sha256()
    while size > 0 and (piece := stream.read(min(size, 2**20))):
        sha.update(piece)
        size -= len(piece)
    return sha.hexdigest().encode()


def seal_of(notes: Any) -> str:
    """The SHA-256 of what JSON can hold, however it is laid out."""
    return hashlib.sha256(json.dumps(notes, sort_keys=True).encode()).hexdigest()


# --- Zarr stores ------------------------------------------------------------------------------------------------------


def list_store(store: Path, known: Mapping[str, str] | None = None) -> None:
    """Write the list of the files of a consolidated Zarr 2 store, and their hashes, into its `.zmetadata`.

    known: SHA-256 of files by their names in the store, so that what was hashed when it was written is not read again.
    """
    attrs = json.loads((store / ".zattrs").read_text(encoding="utf-8")) | {LISTED: _CONSOLIDATED}
    (store / ".zattrs").write_text(json.dumps(attrs, indent=2), encoding="utf-8")
    whole = json.loads((store / _CONSOLIDATED).read_text(encoding="utf-8"))
    whole["metadata"][".zattrs"] = attrs
    files = {
        name: [path.stat().st_size, (known or {}).get(name) or _sha256(path)]
        for name, path in sorted(_files(store).items())
        if name != _CONSOLIDATED
    }
    whole[LIST] = {"files": files, "sha256": seal_of([whole["metadata"], files])}
    (store / _CONSOLIDATED).write_text(json.dumps(whole, indent=1), encoding="utf-8")


def check_store(store: Path, *, chunks: bool = True) -> None:
    """Raise BadInput unless a store that lists its files holds these, all of them, and no other; others pass.

    chunks: False compares the sizes of the chunks only, not their hashes."""
    path = store / _CONSOLIDATED
    try:
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        whole = json.loads(text) if text else {}
        told = whole.get(LIST)
    except (OSError, ValueError, AttributeError) as error:
        raise BadInput(f"damaged: {_CONSOLIDATED} is not readable ({error}); copy the store again") from error
    if told is None:
        if not whole and _says_listed(store):
            raise BadInput(f"incomplete: {_CONSOLIDATED} is missing; copy the store again")
        return
    if not isinstance(told, dict) or told.get("sha256") != seal_of([whole.get("metadata"), told.get("files")]):
        raise BadInput(f"damaged: {_CONSOLIDATED} does not have its own SHA-256; copy the store again")
    files: dict[str, list[Any]] = told["files"]
    there = _files(store)
    missing = [name for name in files if name not in there]
    if missing:
        raise BadInput(f"incomplete: {_named(missing)} missing of {len(files)} files; copy the store again")
    more = [name for name in there if name not in files and name != _CONSOLIDATED and not _of_a_desktop(name)]
    if more:
        raise BadInput(f"{_named(more)} not of this store as it was written; remove what is too much")
    for name, (size, digest) in files.items():
        metadata = Path(name).name.startswith(".z")
        if there[name].stat().st_size != size or ((chunks or metadata) and _sha256(there[name]) != digest):
            raise BadInput(
                f"damaged: {name} differs from its SHA-256; copy the store again, or write what you changed anew"
            )


def _says_listed(store: Path) -> bool:
    try:
        return LISTED in json.loads((store / ".zattrs").read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return False


def _files(store: Path) -> dict[str, Path]:
    """All files of a store by their names in it."""
    found = {}
    for parent, _, names in os.walk(store):
        for name in names:
            path = Path(parent, name)
            found[path.relative_to(store).as_posix()] = path
    return found


def _of_a_desktop(name: str) -> bool:
    """Whether a file manager has left a file: it is no part of the store."""
    last = Path(name).name
    return last in (".DS_Store", "Thumbs.db", "desktop.ini") or last.startswith("._")


def _named(names: list[str]) -> str:
    return f"{names[0]} is" if len(names) == 1 else f"{names[0]} and {len(names) - 1} more are"


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
