"""What a program asks of its process: standard streams that end no work, an end in time, the
memory that it took."""

from __future__ import annotations

import atexit
import io
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

LINGER_S = 5.0
signals: list[int] = []  # those heard that ask to end


class Output(io.FileIO):
    """A standard stream that never fails: what it cannot take goes nowhere, and `failed` says why."""

    failed: OSError | None = None

    def write(self, data: Any) -> int:
        """Write what can be written."""
        try:
            return super().write(data) if self.failed is None else len(data)
        except OSError as error:
            self.failed = error
            return len(data)


def open_standard_streams() -> Output:
    """Standard output and error that end no work, whatever becomes of them; returns the output.

    Streams that were closed (`>&-`) become empty ones: else the next file that is opened would take their number. A
    name of a file may hold bytes that are no text: they are printed escaped."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this one
    raw = {}
    for number, name in ((1, "stdout"), (2, "stderr")):
        raw[name] = Output(number, "w", closefd=False)
        encoding = getattr(getattr(sys, name), "encoding", None) or "utf-8"
        buffer = io.BufferedWriter(raw[name])
        lines = name == "stderr" or raw[name].isatty()
        stream = io.TextIOWrapper(buffer, encoding, "backslashreplace", line_buffering=lines)
        setattr(sys, name, stream)
    return raw["stdout"]


@contextmanager
def checkpoint_kept(out: object) -> Iterator[None]:
    """Say, where work on the model folder `out` is interrupted, that its checkpoint is kept and how it goes on."""
    try:
        yield
    except KeyboardInterrupt as stop:
        if str(stop) or not isinstance(out, Path):
            raise
        checkpoint = out.with_name(f"{out.name}.checkpoint.safetensors")
        if not checkpoint.is_file():
            raise
        raise KeyboardInterrupt(
            f"interrupted; {checkpoint} is kept: run the same command again to go on, or delete it"
        ) from None


def interrupt_on_signals(grace_s: float, code: int, words: bytes) -> None:
    """Raise KeyboardInterrupt at SIGINT and SIGTERM, kept in `signals`; as `end_in_time` where that is not heard."""
    signal.signal(signal.SIGTERM, _interrupt)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else whoever started it wants none
        signal.signal(signal.SIGINT, _interrupt)
    end_in_time(grace_s, code, words)


def _interrupt(number: int, frame: FrameType | None) -> None:
    signals.append(number)
    raise KeyboardInterrupt


def is_first() -> bool:
    """Whether this is the first, or the only one, of the processes that one command started."""
    return os.environ.get("LOCAL_RANK", "0") == "0"


def let_the_first_speak() -> None:
    """Wait a little: what has started several processes ends all as soon as one has ended."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    time.sleep(LINGER_S)


def finish_threads(code: int) -> None:
    """What the interpreter does in its end, but for taking down what it holds.

    code: of the process. The work is done: a signal that comes now ends it at once, with that code and no words."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: os._exit(code))
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()


def end_in_time(grace_s: float, code: int, words: bytes) -> None:
    """End the process `grace_s` after SIGINT or SIGTERM, where a library is deep in work and does not look up.

    code: its exit code. words: what it says on standard error. Where a signal cannot wake a pipe (Windows), nothing.
    """
    if os.name != "posix":
        return
    heard, rung = os.pipe()
    os.set_blocking(rung, False)
    signal.set_wakeup_fd(rung, warn_on_full_buffer=False)

    def wait() -> None:
        while not {signal.SIGINT, signal.SIGTERM} & set(os.read(heard, 64)):
            pass
        time.sleep(grace_s)
        with suppress(OSError):
            os.write(2, words)
        os._exit(code)

    threading.Thread(target=wait, daemon=True, name="end-in-time").start()


def lock_alone(handle: int) -> None:
    """Lock an open file until the process ends. Raises OSError where another process has it."""
    if os.name == "nt":
        import msvcrt

        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        return
    import fcntl

    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def peak_rss_mb() -> float:
    """The most memory that this process has held, in MiB."""
    try:
        import resource
    except ImportError:  # Windows
        import psutil  # type: ignore[import-untyped]

        used = psutil.Process().memory_info()
        return float(round(getattr(used, "peak_wset", used.rss) / 2**20, 1))
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(round(used / (2**20 if sys.platform == "darwin" else 2**10), 1))
