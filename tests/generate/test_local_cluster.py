"""Local workers: nobody without the certificate of the run is answered, and nothing else listens."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

pytest.importorskip("cryptography")
distributed = pytest.importorskip("distributed")

from gentraffic.generate.workers import workers  # noqa: E402


def here(folder: str) -> int:
    """A task: the process that runs it."""
    return os.getpid()


def listening(pids: set[int]) -> set[tuple[str, int]]:
    """Addresses at which processes wait for anybody."""
    return {
        (found.laddr.ip, found.laddr.port)
        for found in psutil.net_connections("inet")
        if found.status == psutil.CONN_LISTEN and found.pid in pids
    }


def _refused(address: tuple[str, int], how: ssl.SSLContext) -> bool:
    try:
        with socket.create_connection(address, timeout=5) as raw, how.wrap_socket(raw) as tls:
            tls.sendall(b"\0" * 64)
            return tls.recv(1) == b""
    except OSError:
        return True


def test_only_the_command_itself_can_speak_to_its_workers(tmp_path: Path) -> None:
    before = listening({os.getpid()})
    with workers(1, None, tmp_path) as client:
        pid = client.submit(here, str(tmp_path)).result(timeout=60)
        family = {os.getpid(), pid, *(child.pid for child in psutil.Process().children(recursive=True))}
        found = listening(family) - before
        assert len(found) >= 2  # scheduler and worker
        assert {ip for ip, _ in found} == {"127.0.0.1"}
        for address in found:
            # plain TCP and HTTP: no answer
            with socket.create_connection(address, timeout=5) as plain, contextlib.suppress(ConnectionError):
                plain.sendall(b"GET /info/main/workers.html HTTP/1.0\r\n\r\n")
                assert b"HTTP" not in plain.recv(1000)
            # TLS without the certificate of the run: refused by the other side
            blind = ssl.create_default_context()
            blind.check_hostname, blind.verify_mode = False, ssl.CERT_NONE
            assert _refused(address, blind)
        scheduler = client.scheduler.address
        assert scheduler.startswith("tls://127.0.0.1:")
        for address in (scheduler, scheduler.replace("tls://", "tcp://")):  # a stranger with distributed
            # in a process of its own: a client that came to nothing can lock distributed's loop when it is collected
            words = [sys.executable, "-c", f"import distributed; distributed.Client({address!r}, timeout=2)"]
            done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=60)
            assert done.returncode != 0
            assert "Error" in done.stderr
        assert client.submit(here, str(tmp_path)).result(timeout=60) == pid
        assert "dashboard" not in client.scheduler_info().get("services", {})
