"""Arrays that lie in a file, so that memory does not grow with the region."""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray


class RowFile:
    """A float32 array in a .npy file whose rows are written in any order: `rows[indices] = values`.

    Written, not mapped: on a full disk writing to a map would end the process, here OSError is raised.
    """

    def __init__(self, stream: BinaryIO, columns: int) -> None:
        self.stream, self.start, self.row_bytes = stream, stream.tell(), 4 * columns

    def __setitem__(self, rows: NDArray[np.int64], values: NDArray[np.float32]) -> None:
        """Write values (n, columns) to the rows (n,), those that follow each other at once."""
        ends = (np.flatnonzero(np.diff(rows) != 1) + 1).tolist()
        for first, end in zip([0, *ends], [*ends, len(rows)], strict=True):
            self.stream.seek(self.start + int(rows[first]) * self.row_bytes)
            self.stream.write(np.ascontiguousarray(values[first:end], dtype="<f4").tobytes())


@contextmanager
def rows_of_file(path: Path, shape: tuple[int, int]) -> Iterator[RowFile]:
    """Make a .npy file of float32 zeros and yield its rows. Raises OSError."""
    with path.open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": shape})
        rows = RowFile(stream, shape[1])
        stream.truncate(rows.start + 4 * shape[0] * shape[1])
        yield rows


def release_pages(*arrays: NDArray[Any]) -> None:
    """Give back the memory of what was read from mapped arrays; it is read again where it is needed.

    arrays: each (any shape).
    """
    for values in arrays:
        if isinstance(values.base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
            values.base.madvise(mmap.MADV_DONTNEED)


def trim_heap() -> None:
    """Hand memory that was freed back to the system, where the C library keeps it and can (glibc)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim is not None:
        trim(0)
