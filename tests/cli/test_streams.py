"""The ends of a command: standard output that is closed, full or no longer read; signals; what libraries raise."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest
import shapely

from gentraffic.cli.main import cli, run
from gentraffic.io.files import read_context

GENTRAFFIC = f"{sys.executable} -m gentraffic"
ROOT = Path(__file__).parents[2]
DRAW = "sample --city monaco --model naive-mean --days 1 --start 2026-01-05"


def shell(script: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        ["bash", "-c", script.replace("gentraffic", GENTRAFFIC)], cwd=cwd, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": path}, timeout=60,
    )  # fmt: skip


def test_output_that_is_closed_or_not_read_ends_quietly(tmp_path: Path) -> None:
    done = shell("gentraffic models >&-; echo $?", tmp_path)
    assert (done.stdout, done.stderr) == ("0\n", "")
    done = shell("gentraffic models | head -1; echo ${PIPESTATUS[0]}", tmp_path)
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 2
    assert done.stdout.splitlines()[1] in ("0", "141"), "141 where head has gone before the end"
    done = shell("gentraffic models | true; echo ${PIPESTATUS[0]}", tmp_path)
    assert (done.stdout, done.stderr) == ("141\n", "")
    done = shell("gentraffic nonsense 2>&-; echo $?", tmp_path)
    assert (done.stdout, done.stderr) == ("2\n", "")


def test_a_full_disk_behind_standard_output_is_one_line_and_ends_no_work(tmp_path: Path) -> None:
    for more in ("", "--json"):
        done = shell(f"gentraffic split --help > /dev/null; gentraffic models {more} > /dev/full; echo $?", tmp_path)
        assert done.stdout == "5\n"
        assert done.stderr == (
            "gentraffic: standard output cannot be written: No space left on device; files that the command was to"
            " write are whole\n"
        )
    pois = tmp_path / "pois.csv"
    pois.write_text("lon,lat,key,value\n7.42,43.73,shop,books\n7.43,43.74,shop,mall\n")
    done = shell("gentraffic fetch --osm pois.csv -o a.nc > /dev/full; echo $?; ls", tmp_path)
    assert done.stdout == "5\na.nc\npois.csv\n"


def test_a_file_is_not_written_into_a_closed_stream(tmp_path: Path) -> None:
    """The next file that is opened takes the number of a stream that was closed, and what is printed goes into it."""
    (tmp_path / "pois.csv").write_text("lon,lat,key,value\n7.42,43.73,shop,books\n7.43,43.74,shop,mall\n")
    for streams in (">&-", "<&- >&- 2>&-"):
        done = shell(f"gentraffic fetch --osm pois.csv -o a.nc {streams}; echo $?", tmp_path)
        assert done.stdout == "0\n"
        assert read_context(tmp_path / "a.nc").attrs["timezone"] == "Europe/Monaco"  # whole, with nothing put into it


def test_names_that_are_no_text_work(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.csv")
    (tmp_path / name).write_text("lon,lat,key,value\n7.42,43.73,shop,books\n7.43,43.74,shop,mall\n")
    script = r"gentraffic fetch --osm $'caf\xe9.csv' --place $'a\xff' -o $'\xc3\xa9.nc'; echo $?"
    for more in ("", "export LC_ALL=C PYTHONUTF8=0; "):
        done = shell(more + script, tmp_path)
        assert done.stdout.splitlines()[-1] == "0", done.stderr
        assert all(line.startswith("warning: there are no points") for line in done.stderr.splitlines()), done.stderr


BUSY = """
import sys, time, numpy as np
from importlib import import_module
m = import_module("gentraffic.cli.main")
def busy(arguments):
    print("ready", flush=True)
    import hashlib
    hashlib.pbkdf2_hmac("sha256", b"x", b"y", 200_000_000)  # minutes in C, without the interpreter's lock
    return 0
m.run = busy
m.main()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_a_command_that_is_deep_in_a_library_within_two_seconds(tmp_path: Path, number: int) -> None:
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    with subprocess.Popen(
        [sys.executable, "-c", BUSY], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": path},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background job ignores it
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.3)
        start = time.perf_counter()
        process.send_signal(number)
        assert process.wait(20) == 130
        assert time.perf_counter() - start < 2.0 + 0.5  # two cores shared with other tests
        assert process.stderr.read() == "gentraffic: interrupted; no output was written\n"


def test_a_child_that_reads_a_map_ends_with_its_parent(tmp_path: Path) -> None:
    """Killed without a chance to clean up, the parent leaves no reader behind: its standard input ends."""
    from poi.extract import _CHILD

    program = _CHILD.format(path=[str(ROOT)])
    reader = subprocess.Popen(
        [sys.executable, "-c", program.replace("child()", "threading.Event().wait()").replace(
            "from poi.extract import child;", "import threading, poi.extract as e; threading.Thread(target="
            "e._end_with_parent, daemon=True).start();")],
        stdin=subprocess.PIPE,
    )  # fmt: skip
    assert reader.poll() is None
    assert reader.stdin is not None
    reader.stdin.close()
    assert reader.wait(10) == 1


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (shapely.errors.GEOSException("TopologyException: side location conflict"), 5),
        (OverflowError("cannot convert float infinity to integer"), 5),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), 5),
        (__import__("pyarrow").ArrowInvalid("Column 1: conversion error"), 5),
        (__import__("pyproj").exceptions.ProjError("unknown"), 5),
        (__import__("zlib").error("incorrect header check"), 5),
        (AttributeError("'NoneType' object has no attribute 'x'"), 1),
        (ZeroDivisionError("division by zero"), 1),
    ],
)
def test_what_libraries_raise_on_an_input_is_a_bad_input(
    error: Exception, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @click.command()
    @click.option("--debug", is_flag=True)
    def broken(debug: bool) -> None:
        raise error

    monkeypatch.setitem(cli.commands, "broken", broken)
    assert run(["broken"]) == code
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith("gentraffic: an input cannot be read" if code == 5 else "gentraffic: internal error")
    with pytest.raises(type(error)):
        run(["broken", "--debug"])


def test_the_command_is_callable_in_python(tmp_path: Path) -> None:
    """`from gentraffic.cli import main`, as programs that wrap the command have it."""
    script = "import sys; sys.argv = ['gentraffic', 'models']; from gentraffic.cli import main; main()"
    words = [sys.executable, "-c", script]
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path, env=env, check=False)
    assert done.returncode == 0, done.stderr
    assert "stouter-fast" in done.stdout


SWALLOWED = """
import os, signal
from importlib import import_module
m = import_module("gentraffic.cli.main")
import click
@click.command("broken")
def broken():
    try:
        os.kill(os.getpid(), signal.{name})
        import time; time.sleep(5)
    except KeyboardInterrupt:  # as Cython's locks do
        raise SystemError("returned a result with an exception set")
m.cli.add_command(broken)
import sys
sys.argv = ["gentraffic", "broken"]
m.main()
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_an_interrupt_that_a_library_turns_into_an_error_is_one(name: str, tmp_path: Path) -> None:
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        [sys.executable, "-c", SWALLOWED.format(name=name)], capture_output=True, text=True, cwd=tmp_path, env=env,
        check=False, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (130, "gentraffic: interrupted; no output was written\n")
