"""Writing: refused early with a reason, whole or not at all, whatever stops it."""

from __future__ import annotations

import errno
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


@pytest.mark.slow
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
    for _ in range(2):
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
            assert Path(name).exists(), "neither the old one nor the new one"
            if name.endswith(".csv") and not _fits_its_notes(Path(name)):  # killed between the two files
                with pytest.raises(BadInput, match="has changed since"):
                    read_traffic(name)
                continue
            back = read_traffic(name)
            assert any(back.identical(ds) for ds in pair), name


KILLED = """
    import os, signal, sys
    from traffic_examples import traffic
    from gentraffic.io import atomic
    from gentraffic.io.files import write_traffic
    write_traffic(traffic(seed=1), "t.zarr")
    real = os.rename
    def rename(a, b, *more, **named):
        if str(b).endswith("/t.zarr"):
            os.kill(os.getpid(), signal.SIGKILL)
        return real(a, b, *more, **named)
    os.rename = rename
    if sys.argv[1] == "plain":  # a file system that cannot exchange two names
        atomic._exchange = lambda one, other: False
    write_traffic(traffic(seed=2), "t.zarr")
"""


@pytest.mark.slow
@pytest.mark.parametrize("way", ["exchange", "plain"])
def test_a_process_killed_between_two_renames_leaves_one_of_the_two(way: str, tmp_path: Path) -> None:
    """In one step where the system can, so no kill falls between; else the old store comes back when read."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLED), way], cwd=tmp_path, check=False,
        env=os.environ | {"PYTHONPATH": SUPPORT + os.pathsep + os.environ.get("PYTHONPATH", "")},
    )  # fmt: skip
    assert done.returncode == (0 if way == "exchange" else -signal.SIGKILL)
    assert (tmp_path / "t.zarr").exists() == (way == "exchange")
    assert read_traffic(tmp_path / "t.zarr").identical(traffic(seed=2 if way == "exchange" else 1))
    assert (tmp_path / "t.zarr").exists()
    write_traffic(traffic(seed=3), tmp_path / "t.zarr")
    assert read_traffic(tmp_path / "t.zarr").identical(traffic(seed=3))


def test_what_stands_at_its_place_is_never_replaced_by_what_stepped_aside(tmp_path: Path) -> None:
    write_traffic(traffic(seed=1), tmp_path / "t.zarr")
    write_traffic(traffic(seed=2), tmp_path / "u.zarr")
    (tmp_path / "u.zarr").rename(tmp_path / ".t.zarr.0123abcd.aside")
    assert read_traffic(tmp_path / "t.zarr").identical(traffic(seed=1))
    (tmp_path / ".t.zarr.0123abcd.aside").rename(tmp_path / ".v.zarr.0123abcd.aside")
    assert read_traffic(tmp_path / "v.zarr").identical(traffic(seed=2))


@pytest.mark.parametrize("kind", ["link", "dangling link", "fifo", "another's", "folder"])
def test_what_the_project_did_not_put_beside_an_output_is_not_opened(kind: str, tmp_path: Path) -> None:
    from gentraffic.training.checkpoint import checkpoint_beside, resume, save_checkpoint

    (tmp_path / "mine.txt").write_text("mine")
    path = checkpoint_beside(tmp_path / "m")
    save_checkpoint(path, {"step": 1}, {})
    assert resume(path, {"step": 1})[0] == {"step": 1}
    if kind == "another's":
        if os.geteuid() != 0:
            pytest.skip("only the superuser can give a file away")
        os.chown(path, 12345, -1)
    else:
        path.unlink()
    if kind == "link":
        path.symlink_to(tmp_path / "mine.txt")
    elif kind == "dangling link":
        path.symlink_to(tmp_path / "other.txt")
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    for use in (lambda: save_checkpoint(path, {}, {}), lambda: resume(path, {})):
        if kind == "folder":
            with pytest.raises((BadInput, WrongUse)):
                use()
            continue
        with pytest.raises(BadInput, match="gentraffic did not put it there"):
            use()
    assert (tmp_path / "mine.txt").read_text() == "mine"
    assert not (tmp_path / "other.txt").exists()


@pytest.mark.parametrize("name", ["notes.txt", "traffic/notes", "old/.zarray.bak", "c/x"])
def test_files_of_somebody_else_in_a_store_are_not_deleted_with_it(name: str, tmp_path: Path) -> None:
    ds, store = traffic(), tmp_path / "t.zarr"
    write_traffic(ds, store)
    for kept in (".DS_Store", "traffic/0.0.partial"):  # a file manager's, and of a writer that was killed
        (store / kept).parent.mkdir(exist_ok=True)
        (store / kept).touch()
    write_traffic(ds, store)
    (store / name).parent.mkdir(exist_ok=True)
    (store / name).write_text("mine")
    with pytest.raises(BadInput, match=rf"{store} holds {name}, which gentraffic did not write .* give another -o"):
        write_traffic(ds, store)
    assert (store / name).read_text() == "mine"


def test_a_store_of_zarr_3_may_be_replaced(tmp_path: Path) -> None:
    store = tmp_path / "t.zarr"
    traffic().to_zarr(store, zarr_format=3, consolidated=False)
    write_traffic(traffic(), store)
    assert not (store / "zarr.json").exists()


def test_the_folder_of_a_job_is_the_users_own(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "far")
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "file").touch()
    for name, what in (("link", "a link"), ("open", "writable by every user"), ("file", "no folder")):
        with pytest.raises(BadInput, match=f"{name} is {what}"):
            atomic.own_folder(tmp_path / name)
    atomic.own_folder(tmp_path / "new")
    atomic.own_folder(tmp_path / "new")
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("planted", ["", "lock"])
def test_links_in_the_way_of_a_draw_on_workers_are_refused(
    planted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from gentraffic.cli.main import run

    monkeypatch.chdir(tmp_path)
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "thesis.txt").write_text("mine")
    if planted:
        (tmp_path / ".s.zarr.part").mkdir()
        (tmp_path / ".s.zarr.part" / planted).symlink_to(tmp_path / "far" / "thesis.txt")
    else:
        (tmp_path / ".s.zarr.part").symlink_to(tmp_path / "far")
    words = ["sample", "--city", "monaco", "--offline", "--days", "1", "--workers", "1", "-o", "s.zarr", "--quiet"]
    assert run(words) == 5
    assert "is a link, and gentraffic did not put it there" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "far").iterdir()] == ["thesis.txt"]
    assert (tmp_path / "far" / "thesis.txt").read_text() == "mine"


def test_a_full_disk_names_what_was_asked_for_and_not_the_hidden_part_of_it() -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    for piece in ("y.zarr", ".y.zarr.83c40636.part", ".y.zarr.83c40636.part/.a.4daff38f.part/0.0"):
        line = str(atomic.cannot_write(Path("out") / piece, full))
        assert line.startswith(f"cannot write {Path('out', 'y.zarr')}: No space")
