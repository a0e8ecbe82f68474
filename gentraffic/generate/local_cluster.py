"""A Dask cluster on this machine that only the command that started it can speak to.

Scheduler, nannies and workers speak TLS 1.3 on loopback, and each takes a peer only with the certificate that was made
for this run; its key lives in the memory of these processes. No dashboard and no HTTP server is started.
"""

from __future__ import annotations

import logging
import ssl
from pathlib import Path
from typing import Any

from distributed import Nanny, Scheduler, SpecCluster, Worker
from distributed.security import Security


class _QuietScheduler(Scheduler):
    def start_http_server(self, *args: Any, **options: Any) -> None:
        """Serve nothing beside the scheduler's own protocol."""


class _QuietWorker(Worker):
    def start_http_server(self, *args: Any, **options: Any) -> None:
        """Serve nothing beside the worker's own protocol."""


class _QuietNanny(Nanny):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **(options | {"worker_class": _QuietWorker}))


def private_cluster(folder: Path) -> SpecCluster:
    """A cluster without workers yet, which keeps its files in `folder`. Raises ImportError without `cryptography`."""
    security = Security.temporary(tls_min_version=ssl.TLSVersion.TLSv1_3)  # type: ignore[no-untyped-call]
    options = {"host": "127.0.0.1", "protocol": "tls://", "security": security}
    worker = {
        "nthreads": 1,
        "memory_limit": 0,  # a task holds one batch; the limit would kill workers for what torch maps
        "local_directory": str(folder),
        "silence_logs": logging.CRITICAL,
        "env": {"OMP_NUM_THREADS": "1"},
    }
    return SpecCluster(  # type: ignore[no-untyped-call]
        workers={},
        scheduler={"cls": _QuietScheduler, "options": options | {"port": 0, "dashboard": False}},
        worker={"cls": _QuietNanny, "options": options | worker},
        security=security,
        silence_logs=logging.CRITICAL,
    )
