"""Arrays that lie in a file, so that memory does not grow with the region."""

from __future__ import annotations

import ctypes
import errno
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from gentraffic.dataset.schema import Memory
from gentraffic.errors import BadInput

ZEROS = 2**22  # bytes that are written at a time


@dataclass(frozen=True)
class Disk(Memory):
    """Where arrays that are being made lie: in files of a folder, mapped, so that memory holds what is worked on.

    named: as NAME.npy, which `numpy.load` reads; else in files without a name, which go with the process.
    """

    folder: Path
    named: bool = False

    def zeros(self, name: str, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """An array of zeros in a file, whose place on the disk is taken at once. Raises BadInput where there is none.

        A map that finds the disk full while it is written to would end the process.
        """
        if not all(shape):
            return np.zeros(shape, dtype)
        size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        try:
            with self._file(name) as stream:
                if self.named:
                    about = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False}
                    np.lib.format.write_array_header_1_0(stream, about | {"shape": shape})
                start = stream.tell()
                stream.flush()
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(stream.fileno(), start, size)
                else:
                    for at in range(0, size, ZEROS):
                        stream.write(bytes(min(ZEROS, size - at)))
                    stream.flush()
                mapped: NDArray[Any] = np.memmap(stream, dtype, "r+", start, shape)
        except OSError as error:
            many = error.errno in (errno.EMFILE, errno.ENFILE)
            fix = "let the process open more files (`ulimit -n`)" if many else "free some, or give another -o"
            raise BadInput(
                f"{self.folder}: no file of {size / 2**20:.0f} MiB can be made there ({error.strerror or error}): {fix}"
            ) from error
        return mapped

    def _file(self, name: str) -> Any:
        if self.named:
            return (self.folder / f"{name}.npy").open("w+b")
        return tempfile.TemporaryFile(dir=self.folder)


def trim_heap() -> None:
    """Hand memory that was freed back to the system, where the C library keeps it and can (glibc)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim is not None:
        trim(0)
