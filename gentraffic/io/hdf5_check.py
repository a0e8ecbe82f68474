"""NetCDF of other programs, looked through in a process of its own before it is read.

HDF5 trusts what it reads: of damaged bytes some make it search a heap without end, or end the process. A child opens
the file, and walks through all that leads to the data; where it does not come back, the file is refused.
"""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from gentraffic.errors import BadInput
from gentraffic.io.guard import FREE_BYTES, MAX_RATIO

CPU_S, WALL_S = 3.0, 60.0  # for a file without data: a second of work lists a million chunks; a busy machine takes long
CPU_S_PER_GIB, WALL_S_PER_GIB = 20.0, 200.0  # of data unfolded, of the file
BLOCK = 64 << 20  # bytes of data that are read at once
ENDLESS = getattr(signal, "SIGXCPU", 24)
MOST_DEEP = 20  # groups within groups: a group can hold itself
_CHILD = "import sys; sys.path[:] = {path!r}; from gentraffic.io.hdf5_check import child; child()"


def check_in_child(path: str | Path) -> None:
    """Raise BadInput where HDF5 does not come to an end with a file, or ends its process.

    A file that is damaged in other ways passes: who reads it says what is wrong."""
    path = Path(path)
    program = _CHILD.format(path=[p or os.getcwd() for p in sys.path])
    command = [sys.executable, "-c", program, os.fspath(path.absolute())]
    limit_s = WALL_S + WALL_S_PER_GIB * path.stat().st_size / 2**30
    null = subprocess.DEVNULL
    try:
        code = subprocess.run(command, stdin=null, stdout=null, stderr=null, timeout=limit_s, check=False).returncode
    except subprocess.TimeoutExpired:
        code = -ENDLESS
    if code == -ENDLESS:
        raise BadInput(f"{path}: HDF5 does not come to an end with it: the file is damaged")
    if code < 0:
        raise BadInput(f"{path}: HDF5 broke off (signal {-code}): the file is damaged")


def child() -> None:
    """Walk through the file that the last argument names, and read it, within the work that its data may take."""
    with suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    import h5py

    _may_work(CPU_S)
    with suppress(Exception), h5py.File(sys.argv[-1], "r") as file:
        _look(file, MOST_DEEP)
    os._exit(0)


def _may_work(seconds: float) -> None:
    """End this process, where the system can, after so many more seconds of work."""
    with suppress(ImportError, ValueError, OSError):
        import resource

        limit = math.ceil(time.process_time() + seconds)
        resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))


def _look(member: Any, deep: int) -> None:
    """Read what leads to the data of a group or an array, attributes, scales and the list of chunks, and the data.
    deep: groups within groups at most."""
    import h5py

    if isinstance(member, h5py.Group) and deep:
        for name in member:
            with suppress(Exception):
                _look(member[name], deep - 1)
    for name in member.attrs:
        with suppress(Exception):
            member.attrs[name]
    if isinstance(member, h5py.Dataset):
        for dimension in member.dims:
            with suppress(Exception):
                len(dimension)
        with suppress(Exception):
            if member.chunks:
                member.id.get_num_chunks()
        with suppress(Exception):
            _read(member)


def _read(array: Any) -> None:
    """Read the data of an array block by block; not of one that claims more than what is stored may be, which
    `gentraffic.io.guard` refuses."""
    size = array.size * array.dtype.itemsize
    if size > max(FREE_BYTES, MAX_RATIO * array.id.get_storage_size()):
        return
    _may_work(CPU_S + CPU_S_PER_GIB * size / 2**30)
    if not array.shape:
        array[()]
        return
    rows = max(1, BLOCK * array.shape[0] // max(size, 1))
    for first in range(0, array.shape[0], rows):
        array[first : first + rows]
