"""What a program asks of its process, also where the system is not POSIX."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gentraffic.errors import in_one_line
from gentraffic.io.process import lock_alone, peak_rss_mb

ROOT = Path(__file__).parents[2]
# What Windows has not. Libraries that have a way of their own there are imported before.
WITHOUT_POSIX = """
import os, signal, sys
import asyncio, locket, multiprocessing, psutil, subprocess
for name in ("fcntl", "resource", "pwd", "grp"):
    sys.modules[name] = None
for name in ("fork", "geteuid", "getuid", "sched_getaffinity", "O_NOFOLLOW", "killpg"):
    delattr(os, name)
for name in ("SIGKILL", "SIGHUP", "SIGPIPE", "SIGALRM"):
    delattr(signal, name)
from gentraffic.cli.main import run
sys.exit(run(sys.argv[1:]))
"""


def test_a_lock_is_held_by_one_process_and_goes_with_its_file(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.touch()
    said = []
    for held in (True, False):
        with path.open("r+b") as stream:
            if held:
                lock_alone(stream.fileno())
            program = "import sys; from pathlib import Path; from gentraffic.io.process import lock_alone\n"
            program += f"stream = open({str(path)!r}, 'r+b')\ntry:\n    lock_alone(stream.fileno()); print('locked')\n"
            program += "except OSError:\n    print('taken')\n"
            done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
            said.append(done.stdout.strip())
    assert said == ["taken", "locked"]


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="the second opinion is Linux's")
def test_the_peak_of_memory_is_what_the_system_says() -> None:
    peak = peak_rss_mb()
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    kib = next(float(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    assert peak == pytest.approx(kib / 1024, rel=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["m.nc", "m.zarr"])
def test_sample_asks_for_nothing_that_only_posix_has(name: str, tmp_path: Path) -> None:
    words = ["sample", "--city", "monaco", "--days", "1", "-o", name, "--map", "m.html", "--debug"]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_POSIX, *words], capture_output=True, text=True, cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": path}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / name).exists()


def test_a_signal_that_comes_after_the_work_ends_with_its_exit_code_and_no_words(tmp_path: Path) -> None:
    script = tmp_path / "late.py"
    script.write_text(
        "import threading, time\n"
        "from gentraffic.io.process import finish_threads, interrupt_on_signals\n"
        "interrupt_on_signals(1.5, 130, b'interrupted')\n"
        "threading.Thread(target=time.sleep, args=(20,)).start()\n"
        "print('done', flush=True)\n"
        "finish_threads(7)\n"
    )
    with subprocess.Popen(
        [sys.executable, script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"done\n"
        time.sleep(0.3)
        process.terminate()
        _, errors = process.communicate(timeout=5)
    assert (process.returncode, errors) == (7, b"")


def test_a_library_that_finds_no_room_is_told_as_memory() -> None:
    room = ImportError("libtorch_cpu.so: failed to map segment from shared object")
    assert in_one_line(room) == ("out of memory: draw fewer cells, days or members at once", 5)
    assert in_one_line(ImportError("No module named 'torch'"))[1] == 1
