"""The tasks of a draw on many workers: Dask `distributed`, on this machine or on a cluster that is there already.

Nobody else on the machine can speak to the workers here (`local_cluster`); a cluster that is joined has its own rules.

Workers share nothing but the folder of the job. A worker that dies is started again by its nanny, and the scheduler
gives its task to another; a command that dies is resumed by running it again. What a task writes depends on neither.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gentraffic import __version__
from gentraffic.errors import BadInput, GentrafficError, WrongUse

if TYPE_CHECKING:
    from distributed import Client

WAIT_S = 15.0  # for a scheduler to answer, and for its first worker
DEATHS = 1000  # workers that a task may see die before it is blamed for it; distributed's own 3 is too few for a night
PRELOAD = (
    "gentraffic.generators.weekly",
    "zarr",
    "safetensors.torch",
    "distributed",
)  # what a fresh worker finds loaded
CLOSE_S = 2.0
LOOK_S = 0.5  # between looks at whether all workers are there
Pass = Callable[[list[int]], Iterator[int]]


def draw_task(folder: str, number: int) -> int:
    """One task, on a worker."""
    from gentraffic.generate.streaming import draw_tasks

    return next(draw_tasks(Path(folder), [number], threads=1))


def scale_task(folder: str, number: int) -> int:
    """One task of the second pass, on a worker."""
    from gentraffic.generate.streaming import scale_tasks

    return next(scale_tasks(Path(folder), [number]))


@contextmanager
def workers(count: int | None, scheduler: str | None, folder: Path) -> Iterator[Client]:
    """A client of a fresh local cluster of `count` processes of one thread, or of the scheduler at an address.

    Raises NetworkFailed where no scheduler answers, WrongUse where it has no worker or one with another version."""
    try:
        import dask
        import distributed
    except ImportError as error:
        raise WrongUse(
            f"--workers and --scheduler need the package {error.name}: pip install 'gentraffic[cluster]'"
        ) from error

    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    with dask.config.set({"distributed.scheduler.allowed-failures": DEATHS, **_starting()}):
        if scheduler is not None:
            with _joined(scheduler) as client:
                _check_versions(client)
                yield client
            return
        (folder / "dask").mkdir(exist_ok=True)
        try:
            from gentraffic.generate.local_cluster import private_cluster

            cluster = private_cluster(folder / "dask")
        except ImportError as error:
            raise WrongUse(
                "--workers encrypts what its processes say: pip install 'gentraffic[cluster]' (cryptography is missing)"
            ) from error
        client = distributed.Client(cluster, timeout=WAIT_S)  # type: ignore[no-untyped-call]
        cluster.scale(count)  # type: ignore[no-untyped-call]
        client.loop.add_callback(_keep_alive, cluster, count)  # type: ignore[union-attr]
        try:
            yield client
        except KeyboardInterrupt:  # what is to be kept is on the disk: nobody is asked to finish
            for nanny in cluster.workers.values():
                with suppress(OSError, TypeError):  # gone already, or not there yet
                    os.kill(nanny.pid, getattr(signal, "SIGKILL", signal.SIGTERM))  # Windows ends it by either
            raise
        except BaseException:
            _close(client, cluster)
            raise
        _close(client, cluster)


async def _keep_alive(cluster: Any, count: int) -> None:
    """Replace workers that were killed while they started: nannies see to those that were killed at work."""
    import asyncio

    from distributed import Status

    while cluster.status == Status.running:
        await asyncio.sleep(LOOK_S)
        for name, nanny in list(cluster.workers.items()):
            if nanny.status in (Status.closed, Status.failed):
                del cluster.workers[name]
        if cluster.status == Status.running and set(cluster.worker_spec) - set(cluster.workers):
            cluster.scale(count)


def _close(client: Client, cluster: Any) -> None:
    for part in (client, cluster):
        with suppress(Exception):  # the work is over: whatever closing says changes nothing
            part.close(timeout=CLOSE_S)


def on_workers(
    client: Client, task: Callable[..., int], folder: Path, numbers: Sequence[int], *more: Any
) -> Iterator[int]:
    """Run a task for each number, in any order, and yield the number of each that is done.

    Raises what a task raised: GentrafficError as it is; BadInput where workers die of it again and again."""
    from distributed import KilledWorker, as_completed

    futures = [client.submit(task, str(folder), n, pure=False) for n in numbers]
    try:
        for future in as_completed(futures, loop=client.loop):  # type: ignore[no-untyped-call]
            try:
                yield future.result()
            except KilledWorker as error:
                raise BadInput(f"workers die of a task again and again ({error}): give fewer --workers") from error
            finally:
                future.release()
    except GentrafficError:
        client.cancel(futures, force=True)  # type: ignore[no-untyped-call]
        raise


def _starting() -> dict[str, Any]:
    """Fork workers from a process that has torch loaded, where the system can: a dead one is back in a moment."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return {}
    from multiprocessing import forkserver, resource_tracker

    import dask
    from distributed.utils import get_mp_context

    method = {"distributed.worker.multiprocessing-method": "forkserver"}
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the process that is forked: no threads, or forks may hang
    with dask.config.set(method):
        get_mp_context().set_forkserver_preload(list(PRELOAD))  # type: ignore[no-untyped-call]
    in_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGINT, signal.SIG_IGN) if in_main else None  # Ctrl-C is for the command alone
    warned = os.environ.get("PYTHONWARNINGS")
    os.environ["PYTHONWARNINGS"] = "ignore::UserWarning:multiprocessing.resource_tracker"  # of a command that was cut
    try:
        resource_tracker.ensure_running()
        forkserver.ensure_running()
    finally:
        os.environ.pop("PYTHONWARNINGS")
        if warned is not None:
            os.environ["PYTHONWARNINGS"] = warned
        if in_main:
            signal.signal(signal.SIGINT, before)
    return method


@contextmanager
def _joined(address: str) -> Iterator[Client]:
    import distributed

    from poi.errors import NetworkFailed

    try:
        client = distributed.Client(address, timeout=WAIT_S, set_as_default=False)  # type: ignore[no-untyped-call]
    except (OSError, TimeoutError, ValueError) as error:
        raise NetworkFailed(
            f"--scheduler {address}: no scheduler answers there; start `dask scheduler`, give tcp://HOST:PORT"
        ) from error
    try:
        client.wait_for_workers(1, timeout=WAIT_S)
    except TimeoutError as error:
        client.close()  # type: ignore[no-untyped-call]
        raise WrongUse(f"--scheduler {address} has no workers: start `dask worker {address} --nthreads 1`") from error
    try:
        yield client
    finally:
        client.close()  # type: ignore[no-untyped-call]


def version_here() -> str:
    """The version of gentraffic that a worker has."""
    from gentraffic import __version__ as version

    return version


def _check_versions(client: Client) -> None:
    versions: dict[str, Any] = client.run(version_here, on_error="return")
    for worker, version in versions.items():
        if version != __version__:
            has = f"gentraffic {version}" if isinstance(version, str) else f"no gentraffic ({version})"
            raise WrongUse(
                f"the worker {worker} has {has}, this command is {__version__}: install one version everywhere"
            )


def local(folder: Path, threads: int | None = None) -> tuple[Pass, Pass]:
    """The two passes in this process: what `gentraffic.generate.streaming.fill` takes."""
    from gentraffic.generate.streaming import draw_tasks, scale_tasks

    return (
        lambda numbers: draw_tasks(folder, numbers, threads),
        lambda numbers: scale_tasks(folder, numbers),
    )


def remote(client: Client, folder: Path) -> tuple[Pass, Pass]:
    """The two passes on workers."""
    return (
        lambda numbers: on_workers(client, draw_task, folder, numbers),
        lambda numbers: on_workers(client, scale_task, folder, numbers),
    )
