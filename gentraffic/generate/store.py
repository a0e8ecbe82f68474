"""A job -> a Zarr store that is written as it is drawn: here, on local processes, or on a cluster. Same bits always."""

from __future__ import annotations

import hashlib
import math
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gentraffic.dataset.schema import traffic_dataset
from gentraffic.dataset.services import MEAN_CELL
from gentraffic.errors import BadInput, WrongUse
from gentraffic.generate.run import GIB, Drawn, File, Job, Request, far_from_likely, free_memory
from gentraffic.generate.spec import StoreSpec, context_sha256, libraries, part_of, read_spec
from gentraffic.generate.streaming import begin, fill, finish, finished, mean_of, missing
from gentraffic.generate.totals import Factors, fit_totals
from gentraffic.generators.base import ModelInfo, Tell
from gentraffic.io.atomic import check_own, open_own, own_folder, recover
from gentraffic.io.files import cells_per_chunk, open_traffic
from gentraffic.io.process import lock_alone

if TYPE_CHECKING:
    import xarray as xr

    from gentraffic.generators.observed import Observations

WORKER_BYTES = 500 * 2**20  # a worker with torch and the network loaded, apart from its chunk
SCRATCH_BYTES = 400  # on the disk, of a cell while its store is filled, beside its traffic and its context
CELL_BYTES = 60  # what the command comes to hold of a cell; measured, a million of them beside a thousand


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM in work that can be resumed; the message says so."""


@dataclass(frozen=True)
class Store:
    """A .zarr that is written chunk by chunk, in memory that does not grow with the region.

    chunk_cells: cells per chunk of the store, and so per block that is held in memory; by default 4 MiB of values.
    workers: that many processes; scheduler: the Dask workers of an address. With either, the work is kept when it is
    interrupted, and the same request resumes it. A generator that draws no blocks apart from each other is drawn in
    memory first, unless one of the three is asked for.
    """

    path: Path
    chunk_cells: int | None = None
    workers: int | None = None
    scheduler: str | None = None

    @property
    def asked(self) -> list[str]:
        """The options of the streaming engine that were given."""
        given = {"workers": self.workers, "scheduler": self.scheduler, "chunk-cells": self.chunk_cells}
        return [f"--{name}" for name, value in given.items() if value is not None]

    def streams(self, info: ModelInfo, request: Request) -> bool:
        """Whether traffic is written as it is drawn."""
        alone = request.change is None and not request.is_joint
        return "workers" in info.supports and bool(info.location) and alone

    def check(self, info: ModelInfo, request: Request, kind: str | None = None) -> None:
        """Raise WrongUse for options that do not go together, Unsupported where the generator cannot stream."""
        for option, given in (("chunk-cells", self.chunk_cells), ("workers", self.workers)):
            if given is not None and given < 1:
                raise WrongUse(f"--{option} {given}: give 1 or more")
        if self.workers is not None and self.scheduler is not None:
            raise WrongUse("--workers starts workers here, --scheduler joins those of a cluster: give one")
        if self.asked and request.change is not None:
            raise WrongUse(f"--change draws before and after at once: leave {' and '.join(self.asked)} out")
        if self.asked and request.is_joint:
            named = ",".join(request.named())
            raise WrongUse(f"--service {named} draws several at once: leave {' and '.join(self.asked)} out")
        if self.asked and "workers" not in info.supports:
            info.check("workers")
        if self.asked and not info.location:
            raise WrongUse(f"{self.asked[0]}: the model must lie in a folder that workers can read: save it first")
        File(self.path).check(info, request, kind)

    def check_size(self, info: ModelInfo, request: Request, values: int) -> None:
        """Raise BadInput where the values do not fit the disk, or, where they are not streamed, the memory."""
        if not self.streams(info, request):
            File(self.path).check_size(info, request, values)
            return
        disk = shutil.disk_usage(self.path.resolve().parent)
        resumes = self.workers is not None or self.scheduler is not None  # a part may lie there already
        need, most = values * 4, disk.total if resumes else disk.free
        if need > most:
            raise BadInput(f"{self.path}: {_no_room(need, most)}")

    def stream(self, job: Job) -> Callable[[Tell], Drawn] | None:
        """What draws into the store, which appears whole or not at all.

        It raises WrongUse where another command's work is in the way, BadInput for too little disk before the work
        starts, and as `gentraffic.generate.streaming.begin`. This raises BadInput for too little memory.
        """
        if not self.streams(job.generator.info, job.request):
            File(self.path).stream(job)
            return None
        spec = spec_of(job, self.chunk_cells)
        check_memory(spec, self.workers or 1)
        return partial(self._write, job, spec)

    def put(self, traffic: xr.Dataset) -> None:
        """Write the store whole or not at all. Raises BadInput."""
        File(self.path).put(traffic)

    def _write(self, job: Job, spec: StoreSpec, tell: Tell) -> Drawn:
        from gentraffic.generate import workers as engine

        out, entered = self.path, time.perf_counter()
        template, fit = partial(template_of, job, spec), partial(factors_of, job)
        if self.workers is None and self.scheduler is None:
            folder = part_of(out).with_suffix(f".{secrets.token_hex(4)}.part")
            check_disk(spec, folder.parent, 0)
            try:
                begin(folder, spec, template, job.prepare(job.context))
                began = time.perf_counter()
                fill(folder, spec, *engine.local(folder), fit, tell)
                mean = mean_of(folder, spec)
                finish(folder, spec, out)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
            return _drawn(out, mean, entered, began, len(spec.tasks()), 0)
        folder, tasks = part_of(out), len(spec.tasks())
        recover(out)
        check_own(folder)
        if finished(out, spec):
            shutil.rmtree(folder, ignore_errors=True)
            return _drawn(out, _mean_in(out, spec), entered, time.perf_counter(), tasks, tasks)
        if not folder.exists():
            check_disk(spec, folder.parent, 0)
        own_folder(folder)
        with _alone(folder, out):
            kept = 0 if read_spec(folder) is None else tasks - len(missing(folder, spec, "done"))
            check_disk(spec, folder.parent, kept)
            try:
                begin(folder, spec, template, job.prepare(job.context))
                began = time.perf_counter()
                with engine.workers(self.workers, self.scheduler, folder) as client:
                    fill(folder, spec, *engine.remote(client, folder), fit, tell)
            except KeyboardInterrupt:
                done = len(list((folder / "done").glob("*.json")))
                raise Interrupted(
                    f"interrupted; {done} of {tasks} tasks are kept: run the same command again to resume"
                ) from None
            except Exception:
                if not any((folder / "done").glob("*.json")):  # nothing to resume from
                    shutil.rmtree(folder, ignore_errors=True)
                raise
            mean = mean_of(folder, spec)
            finish(folder, spec, out)
        return _drawn(out, mean, entered, began, tasks, kept)


def spec_of(job: Job, chunk_cells: int | None) -> StoreSpec:
    """All that fixes the bits of a store, in plain values."""
    _, cells, steps = job.shape
    info = job.generator.info
    return StoreSpec(
        model=info.location,
        model_sha256=info.sha256,
        settings=job.of_service(job.services[0]),
        utc=hashlib.sha256(job.calendar.utc.tobytes()).hexdigest(),
        timezone=job.timezone,
        service=job.services[0],
        totals=tuple(f"{total.text} {_district_sha256(total.district)}".strip() for total in job.totals),
        units="",
        cells=cells,
        steps=steps,
        chunk=min(chunk_cells or cells_per_chunk(steps), cells),
        context=context_sha256(job.context, job.rows),
        observed=_observed_sha256(job.observed),
        libraries=libraries(),
    )


def template_of(job: Job, spec: StoreSpec, units: str) -> xr.Dataset:
    """The Dataset of the store, all zeros that take no memory."""
    shape = job.shape if job.settings.members > 1 else job.shape[1:]
    units = job.totals[0].unit if job.totals else units
    out = traffic_dataset(
        np.broadcast_to(np.float32(0), shape),
        cells=job.place,
        time=job.calendar.utc,
        service=spec.service,
        units=units,
        timezone=job.timezone,
        attrs=dict(job.attrs),
    )
    amount = job.generator.info.amounts.get(spec.service)
    if amount is not None and units == "1":
        out[spec.service].attrs[MEAN_CELL] = round(amount, 6)
    return out


def factors_of(job: Job, drawn: NDArray[np.float32]) -> tuple[Factors, str]:
    """What all that is drawn (members, cells, steps) is multiplied by, for the totals of a job, and a warning or ""."""
    assert job.sets is not None  # asked for totals only
    found = fit_totals(drawn, job.totals, job.sets, job.calendar, job.timezone, job.measured)
    return found, far_from_likely(found, job.totals, job.measured)


def _drawn(out: Path, mean: float, entered: float, began: float, tasks: int, kept: int) -> Drawn:
    return Drawn(open_traffic(out), mean, began - entered, time.perf_counter() - began, tasks, kept)


def check_disk(spec: StoreSpec, folder: Path, kept: int) -> None:
    """Raise BadInput where the disk of `folder` has not what the tasks that are not kept may need."""
    tasks = len(spec.tasks())
    passes = 2 if spec.totals else 1  # what is drawn waits on the disk until the total is known
    need = math.ceil(spec.values * 4 * passes * (tasks - kept) / tasks) + (0 if kept else spec.cells * SCRATCH_BYTES)
    free = shutil.disk_usage(folder).free
    if need > free:
        raise BadInput(f"{folder}: {_no_room(need, free)}")


def _no_room(need: int, have: int) -> str:
    """That a disk has too few bytes."""
    return (
        f"{_size(need)} are needed and {_size(have)} are free: free some, give another -o, "
        "or draw fewer cells, days or members"
    )


def _size(count: int) -> str:
    """Bytes for a reader."""
    return f"{count / GIB:.2f} GiB" if count >= GIB / 10 else f"{count / 2**20:.1f} MiB"


def check_memory(spec: StoreSpec, workers: int) -> None:
    """Raise BadInput where the cells do not fit the memory, or their chunks that of so many workers."""
    free, place = free_memory(), spec.cells * CELL_BYTES
    if place + WORKER_BYTES > free:
        whole = (place + WORKER_BYTES) / GIB
        raise BadInput(
            f"{spec.cells} cells need {whole:.2f} GiB of memory, {free / GIB:.2f} GiB are free: "
            "give a smaller area or a larger --cell-size"
        )
    need = place + workers * (3 * spec.chunk * spec.steps * 4 + WORKER_BYTES)
    if need > free:
        raise BadInput(
            f"chunks of {spec.chunk} cells x {spec.steps} steps need {need / GIB:.2f} GiB of memory for {workers} "
            f"workers, {free / GIB:.2f} GiB are free: give fewer --chunk-cells, --workers or --days"
        )


def _mean_in(out: Path, spec: StoreSpec) -> float:
    """The mean of a finished store, chunk by chunk."""
    import zarr

    array = zarr.open_array(str(out / spec.service), mode="r")
    sums = []
    for task in spec.tasks():
        for member, first, end in task:
            values = array[member, first:end] if spec.settings.members > 1 else array[first:end]
            sums.append(float(np.asarray(values).sum(dtype=np.float64)))
    return math.fsum(sums) / spec.values


@contextmanager
def _alone(folder: Path, out: Path) -> Iterator[None]:
    """Raise WrongUse while another command writes the same output. The lock goes with the process that holds it."""
    with os.fdopen(open_own(folder / "lock", os.O_RDWR | os.O_CREAT), "r+") as lock:
        try:
            lock_alone(lock.fileno())
        except OSError as error:
            raise WrongUse(f"{out} is being written by another command: wait for it, or give another -o") from error
        yield


def _district_sha256(district: str) -> str:
    path = Path(district.partition("#")[0])
    return hashlib.sha256(path.read_bytes()).hexdigest() if district and path.is_file() else ""


def _observed_sha256(observed: Observations | None) -> str:
    """The hash of what was measured; "" where nothing was."""
    sha = hashlib.sha256()
    files = () if observed is None else (observed.history, observed.known, observed.users)
    parts = [ds for ds in files if ds is not None]
    for ds in parts:
        for name in sorted(map(str, ds.variables)):
            sha.update(name.encode())
            sha.update("\0".join(map(str, ds[name].values.ravel())).encode())
    return sha.hexdigest() if parts else ""
