"""A SHA-256 behind the end of an HDF5 file.

HDF5 knows its own length and ignores what follows it, so every reader still opens the file; but one altered byte can
make the HDF5 library crash the whole process, so a file that carries the seal is compared with it before the library
sees it. Whoever changes the file through HDF5 cuts the seal off, and the file is read like any other.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import BinaryIO

from gentraffic.errors import BadInput

_MARK = b"\ngentraffic sha256 "
_LENGTH = len(_MARK) + 64 + 1


def put_seal(path: str | Path) -> None:
    """Append the seal to a whole file."""
    with Path(path).open("r+b") as stream:
        digest = _digest(stream, Path(path).stat().st_size)
        stream.seek(0, 2)
        stream.write(_MARK + digest + b"\n")


def check_seal(path: str | Path) -> None:
    """Raise BadInput where `path` ends in a seal that does not fit what stands before it; a file without one passes."""
    path = Path(path)
    size = path.stat().st_size - _LENGTH
    if size < 0:
        return
    with path.open("rb") as stream:
        stream.seek(size)
        seal = stream.read(_LENGTH)
        if not seal.startswith(_MARK):
            return
        stream.seek(0)
        if seal != _MARK + _digest(stream, size) + b"\n":
            raise BadInput("damaged: its bytes do not have the SHA-256 that was written behind them; write it again")


def _digest(stream: BinaryIO, size: int) -> bytes:
    sha = hashlib.sha256()
    while size > 0 and (piece := stream.read(min(size, 2**20))):
        sha.update(piece)
        size -= len(piece)
    return sha.hexdigest().encode()
