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
from contextlib import suppress
from pathlib import Path
from typing import Any

from gentraffic.errors import BadInput

CPU_S, WALL_S = 3, 60.0  # for the walk: a second of work reads the lists of a million chunks; a busy machine takes long
CPU_S_PER_GIB = 1.0
ENDLESS = getattr(signal, "SIGXCPU", 24)
MOST_DEEP = 20  # groups within groups: a group can hold itself
_CHILD = "import sys; sys.path[:] = {path!r}; from gentraffic.io.hdf5_check import child; child()"


def check_in_child(path: str | Path) -> None:
    """Raise BadInput where HDF5 does not come to an end with a file, or ends its process.

    A file that is damaged in other ways passes: who reads it says what is wrong."""
    path = Path(path)
    limit = CPU_S + math.ceil(CPU_S_PER_GIB * path.stat().st_size / 2**30)
    program = _CHILD.format(path=[p or os.getcwd() for p in sys.path])
    command = [sys.executable, "-c", program, str(limit), os.fspath(path.absolute())]
    null = subprocess.DEVNULL
    try:
        code = subprocess.run(command, stdin=null, stdout=null, stderr=null, timeout=WALL_S, check=False).returncode
    except subprocess.TimeoutExpired:
        code = -ENDLESS
    if code == -ENDLESS:
        raise BadInput(f"{path}: HDF5 does not come to an end with it: the file is damaged")
    if code < 0:
        raise BadInput(f"{path}: HDF5 broke off (signal {-code}): the file is damaged")


def child() -> None:
    """Walk through the file that the last argument names, within the seconds of work that the one before says."""
    with suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CPU, (int(sys.argv[-2]), resource.RLIM_INFINITY))
    import h5py

    with suppress(Exception), h5py.File(sys.argv[-1], "r") as file:
        _look(file, MOST_DEEP)
    os._exit(0)


def _look(member: Any, deep: int) -> None:
    """Read what leads to the data of a group or an array: attributes, scales, the list of chunks; and text itself,
    which lies in heaps. deep: groups within groups at most."""
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
            if member.dtype.kind == "O":
                member[()]
