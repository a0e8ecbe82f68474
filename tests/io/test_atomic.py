"""Writing: refused early with a reason, whole or not at all, whatever stops it."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
from traffic_examples import context, traffic

from gentraffic.errors import BadInput, WrongUse
from gentraffic.io import atomic, files
from gentraffic.io.files import read_traffic, write_context, write_traffic

SUPPORT = str(Path(__file__).parents[1] / "support")


@pytest.mark.parametrize("suffix", [".npz", "", ".nc4", ".txt"])
def test_unknown_suffixes_name_the_known(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(WrongUse, match=r"\.nc \.zarr \.parquet \.csv \.tif"):
        write_traffic(traffic(), tmp_path / f"t{suffix}")
    with pytest.raises(WrongUse, match=r"\.nc \.zarr"):
        write_context(context(), tmp_path / f"t{suffix}")
    with pytest.raises(WrongUse, match=r"\.nc \.zarr \.parquet \.csv"):
        read_traffic(tmp_path / f"t{suffix}")


def test_missing_and_foreign_targets_are_named_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"no folder .*nowhere; create it first"):
        files.check_writable(tmp_path / "nowhere" / "t.nc")
    (tmp_path / "mine.zarr").mkdir()
    (tmp_path / "mine.zarr" / "thesis.txt").write_text("mine")
    with pytest.raises(BadInput, match="exists and is not a Zarr store"):
        write_traffic(traffic(), tmp_path / "mine.zarr")
    assert (tmp_path / "mine.zarr" / "thesis.txt").read_text() == "mine"
    (tmp_path / "folder.nc").mkdir()
    with pytest.raises(BadInput, match="exists and is not a file"):
        files.check_writable(tmp_path / "folder.nc")
    with pytest.raises(BadInput, match="no such file"):
        read_traffic(tmp_path / "absent.nc")
    with pytest.raises(BadInput, match="is a folder, not a file"):
        read_traffic(tmp_path / "folder.nc")
    files.check_writable(tmp_path / "t.html", (".html",))
    with pytest.raises(WrongUse, match="holds one of the 10 members"):
        files.check_writable(tmp_path / "t.tif", members=10)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")  # the superuser of a test machine may write anywhere

    monkeypatch.setattr(Path, "touch", refuse)
    with pytest.raises(BadInput, match=r"cannot write .*t\.nc: Permission denied"):
        files.check_writable(tmp_path / "t.nc")


def test_a_link_is_written_through_and_rights_follow_the_umask(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "t.nc").symlink_to(tmp_path / "far" / "real.nc")
    write_traffic(traffic(), tmp_path / "t.nc")
    assert (tmp_path / "t.nc").is_symlink()
    assert (tmp_path / "far" / "real.nc").is_file()
    mask = os.umask(0o022)
    os.umask(mask)
    assert (tmp_path / "far" / "real.nc").stat().st_mode & 0o777 == 0o666 & ~mask


@pytest.mark.parametrize("suffix", files.TRAFFIC_FORMATS)
@pytest.mark.parametrize("stop", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, stop: BaseException
) -> None:
    path = tmp_path / f"t{suffix}"
    write_traffic(traffic(seed=1), path)
    before = {p: p.read_bytes() for p in sorted(tmp_path.rglob("*")) if p.is_file()}

    def fail(_: Path) -> None:
        raise stop

    monkeypatch.setattr(atomic, "sync", fail)
    with pytest.raises((KeyboardInterrupt, BadInput)) as caught:
        write_traffic(traffic(seed=2), path)
    if isinstance(stop, OSError):
        assert str(caught.value).startswith(f"cannot write {path}")  # or what lies beside a CSV
        assert str(caught.value).endswith(": No space left on device")
    assert {p: p.read_bytes() for p in sorted(tmp_path.rglob("*")) if p.is_file()} == before


def test_a_full_disk_leaves_the_old_files_and_nothing_else(tmp_path: Path) -> None:
    """With a limit on file size, the system refuses bytes as a full disk does: in the middle of the library's write."""
    script = """
        import resource, sys
        from pathlib import Path
        from traffic_examples import context, traffic
        from gentraffic.io import files
        from gentraffic.reports import plot
        from gentraffic.reports import webmap
        from gentraffic.errors import BadInput
        folder = Path(sys.argv[1])
        writers = {s: files.write_traffic for s in files.TRAFFIC_FORMATS}
        writers |= {".html": webmap.write_map, ".png": plot.write_plot}
        small, large = traffic(days=1), traffic(context(n=24), days=14)
        for suffix, write in writers.items():
            write(small, folder / f"t{suffix}")
        before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        for suffix, write in writers.items():
            try:
                write(large, folder / f"t{suffix}")
            except BadInput as error:
                assert str(error).startswith(f"cannot write {folder / f't{suffix}'}: "), error
                assert "too large" in str(error) and "\\n" not in str(error), error
            else:
                raise SystemExit(f"{suffix} was written past the limit")
            assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before, suffix
        print("all refused")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)],
        env=os.environ | {"PYTHONPATH": SUPPORT}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == "all refused\n", done.stderr


def _fits_its_notes(path: Path) -> bool:
    notes = json.loads(path.with_name(f"{path.name}-metadata.json").read_text())["notes"][0]["gentraffic"]
    return bool(notes["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest())


def test_a_killed_writer_never_leaves_half_a_file(tmp_path: Path) -> None:
    """A process writes two datasets by turns and is killed at a random moment: one of the two is there, whole."""
    script = """
        import sys
        from traffic_examples import context, traffic
        from gentraffic.io.files import write_traffic
        pair = [traffic(context(n=40), seed=seed) for seed in (1, 2)]
        for name in sys.argv[1:]:
            write_traffic(pair[0], name)
        print("go", flush=True)
        while True:
            for ds in reversed(pair):
                for name in sys.argv[1:]:
                    write_traffic(ds, name)
    """
    pair = [traffic(context(n=40), seed=seed) for seed in (1, 2)]
    names = [str(tmp_path / f"t{suffix}") for suffix in files.READABLE]
    rng = np.random.default_rng()
    for _ in range(3):
        writer = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(script), *names],
            env=os.environ | {"PYTHONPATH": SUPPORT}, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert writer.stdout is not None
        assert writer.stdout.readline() == "go\n"
        time.sleep(rng.uniform(0.0, 1.0))
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        for name in names:
            if name.endswith(".zarr") and not Path(name).exists():
                (name,) = map(str, tmp_path.glob(".t.zarr.*.part"))  # killed between two renames: set aside, whole
                Path(name).rename(tmp_path / "t.zarr")
                name = str(tmp_path / "t.zarr")
            if name.endswith(".csv") and not _fits_its_notes(Path(name)):  # killed between the two files
                with pytest.raises(BadInput, match="has changed since"):
                    read_traffic(name)
                continue
            back = read_traffic(name)
            assert any(back.identical(ds) for ds in pair), name
