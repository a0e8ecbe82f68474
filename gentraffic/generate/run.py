"""A Zarr store of traffic from an order: in this process, on local workers, or on a cluster. Same bits each time."""

from __future__ import annotations

import math
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gentraffic.errors import BadInput, WrongUse
from gentraffic.generate.job import StoreSpec, part_of, read_spec
from gentraffic.generate.streaming import begin, fill, finish, finished, mean_of, missing
from gentraffic.io.atomic import check_own, open_own, own_folder, recover

if TYPE_CHECKING:
    import xarray as xr

    from gentraffic.generate.totals import Factors
    from gentraffic.generators.folder import Bundle

GIB = 2**30
WORKER_BYTES = 500 * 2**20  # a worker with torch and the network loaded, apart from its chunk
CELL_BYTES = 200  # what the command comes to hold of a cell beside its context; measured, 1 to 4 million cells


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM in work that can be resumed; the message says so."""


@dataclass(frozen=True)
class Produced:
    """mean: of all values. kept: tasks of an earlier run that were not drawn again, of `tasks`. began, drawn: of
    drawing, as time.perf_counter() tells them; a store that was there already has both alike."""

    mean: float
    kept: int
    tasks: int
    began: float
    drawn: float


def produce(
    order: StoreSpec, out: Path, *, template: Callable[[], xr.Dataset], bundle: Callable[[], Bundle],
    context: xr.Dataset,
    rows: list[int] | None, fit: Callable[[NDArray[np.float32]], Factors], on_task: Callable[[int, int], None],
    workers: int | None = None, scheduler: str | None = None,
) -> Produced:  # fmt: skip
    """Draw the order into the store `out`, which appears whole or not at all.

    With workers or a scheduler the work is kept when it is interrupted, and the same command resumes it. Raises
    WrongUse where another command's work is in the way, BadInput for too little disk or memory before the work starts,
    and as `gentraffic.generate.streaming.begin`."""
    from gentraffic.generate import workers as engine

    check_memory(order, workers or 1)
    if workers is None and scheduler is None:
        folder = part_of(out).with_suffix(f".{secrets.token_hex(4)}.part")
        check_disk(order, folder.parent, 0)
        try:
            order = begin(folder, order, template, bundle, context, rows)
            began = time.perf_counter()
            fill(folder, order, *engine.local(folder), fit, on_task)
            mean = mean_of(folder, order)
            finish(folder, order, out)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return Produced(mean, 0, len(order.tasks()), began, time.perf_counter())
    folder, now = part_of(out), time.perf_counter()
    recover(out)
    check_own(folder)
    if finished(out, order):
        shutil.rmtree(folder, ignore_errors=True)
        return Produced(_mean_in(out, order), len(order.tasks()), len(order.tasks()), now, now)
    if not folder.exists():
        check_disk(order, folder.parent, 0)
    own_folder(folder)
    with _alone(folder, out):
        tasks = len(order.tasks())
        kept = 0 if read_spec(folder) is None else tasks - len(missing(folder, order, "done"))
        check_disk(order, folder.parent, kept)
        try:
            order = begin(folder, order, template, bundle, context, rows)
            began = time.perf_counter()
            with engine.workers(workers, scheduler, folder) as client:
                fill(folder, order, *engine.remote(client, folder), fit, on_task)
        except KeyboardInterrupt:
            done = len(list((folder / "done").glob("*.json")))
            raise Interrupted(
                f"interrupted; {done} of {tasks} tasks are kept: run the same command again to resume"
            ) from None
        except Exception:
            if not any((folder / "done").glob("*.json")):  # nothing to resume from, as where the scheduler is not there
                shutil.rmtree(folder, ignore_errors=True)
            raise
        mean = mean_of(folder, order)
        finish(folder, order, out)
    return Produced(mean, kept, tasks, began, time.perf_counter())


def check_disk(order: StoreSpec, folder: Path, kept: int) -> None:
    """Raise BadInput where the disk of `folder` has not what the tasks that are not kept may need."""
    tasks = len(order.tasks())
    passes = 2 if order.totals else 1  # what is drawn waits on the disk until the total is known
    need = math.ceil(order.values * 4 * passes * (tasks - kept) / tasks)
    free = shutil.disk_usage(folder).free
    if need > free:
        raise BadInput(
            f"{folder}: {need / GIB:.2f} GiB are needed and {free / GIB:.2f} GiB are free: free some, give another -o, "
            "or draw fewer cells, days or members"
        )


def check_memory(order: StoreSpec, workers: int) -> None:
    """Raise BadInput where the cells do not fit the memory, or their chunks that of so many workers."""
    free, place = free_memory(), order.cells * CELL_BYTES
    if place + WORKER_BYTES > free:
        whole = (place + WORKER_BYTES) / GIB
        raise BadInput(
            f"{order.cells} cells need {whole:.2f} GiB of memory, {free / GIB:.2f} GiB are free: "
            "give a smaller area or a larger --cell-size"
        )
    need = place + workers * (3 * order.chunk * order.steps * 4 + WORKER_BYTES)
    if need > free:
        raise BadInput(
            f"chunks of {order.chunk} cells x {order.steps} steps need {need / GIB:.2f} GiB of memory for {workers} "
            f"workers, {free / GIB:.2f} GiB are free: give fewer --chunk-cells, --workers or --days"
        )


def check_fits(values: int, out: Path) -> None:
    """Raise BadInput where a format that is written at once does not fit the memory."""
    need, free = values * 4 * 3, free_memory()
    if need > free:
        raise BadInput(
            f"{out.name}: {values:.3g} values need {need / GIB:.1f} GiB of memory, {free / GIB:.1f} GiB are free: "
            "write .zarr, which is written as it is drawn, or draw fewer cells, days or members"
        )


def free_memory() -> int:
    """Bytes that can be had without swapping."""
    import psutil  # type: ignore[import-untyped]

    return int(psutil.virtual_memory().available)


def _mean_in(out: Path, order: StoreSpec) -> float:
    """The mean of a finished store, chunk by chunk."""
    import zarr

    array = zarr.open_array(str(out / order.service), mode="r")
    sums = []
    for task in order.tasks():
        for member, first, end in task:
            values = array[member, first:end] if order.recipe.members > 1 else array[first:end]
            sums.append(float(np.asarray(values).sum(dtype=np.float64)))
    return math.fsum(sums) / order.values


@contextmanager
def _alone(folder: Path, out: Path) -> Iterator[None]:
    """Raise WrongUse while another command writes the same output. The lock goes with the process that holds it."""
    import fcntl

    with os.fdopen(open_own(folder / "lock", os.O_RDWR | os.O_CREAT), "r+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise WrongUse(f"{out} is being written by another command: wait for it, or give another -o") from error
        yield
