"""Stores that are written as they are drawn: the same bits however the work is cut, resumed, or interrupted."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import traffic_examples
import xarray as xr

from gentraffic.dataset.memmap import Disk
from gentraffic.errors import BadInput, BadModel, WrongUse
from gentraffic.generate import run as drawing
from gentraffic.generate import store as producing
from gentraffic.generate import streaming
from gentraffic.generate.run import Drawn, Request
from gentraffic.generate.spec import StoreSpec, part_of, read_marker, read_spec, write_marker
from gentraffic.generate.store import Store
from gentraffic.generators.base import Settings, load_model
from gentraffic.generators.folder import Bundle, save_bundle
from gentraffic.io.files import open_traffic, read_context, read_traffic, write_context
from gentraffic.places.find import CONTEXTS
from gentraffic.reports.plot import write_plot
from gentraffic.reports.webmap import write_map

CELLS = 150
REQUEST = Request(days=2, steps=1, members=3)
TOTALS = Request(days=2, steps=1, members=2, total=("traffic=5TB/day", "traffic=0.4TB/busyhour"))
CHUNKS = (1, 30, 64, 100, 150)


def context(cells: int) -> xr.Dataset:
    """The first cells of Monaco."""
    return read_context(CONTEXTS / "monaco.nc").isel(cell=slice(0, cells))


def draw_store(model: Path, place: xr.Dataset, request: Request, out: Path, *, tell: Any = None, **more: Any) -> Drawn:
    return drawing.run(request, load_model(model), place, Store(out, **more), command="c", tell=tell)


@pytest.fixture(scope="module")
def model(tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "tiny"
    save_bundle(tiny_bundle, folder, "card")
    return folder


@pytest.fixture(scope="module")
def at_once(tiny_bundle: Bundle) -> Any:
    return drawing.run(REQUEST, tiny_bundle, context(CELLS), command="c").traffic


@pytest.mark.parametrize("chunk", [30, 64, 150])
def test_a_store_holds_what_is_drawn_at_once(model: Path, at_once: Any, chunk: int, tmp_path: Path) -> None:
    out = tmp_path / "a.zarr"
    done = draw_store(model, context(CELLS), REQUEST, out, chunk_cells=chunk)
    got = read_traffic(out)
    np.testing.assert_array_equal(got["traffic"].values, at_once["traffic"].values)
    for name in at_once.coords:
        np.testing.assert_array_equal(got[name].values, at_once[name].values)
    own = {"order_sha256": "", "model_sha256": "", "model": ""}  # the bundle was not saved when it was drawn at once
    assert {**got.attrs, **own} == {**at_once.attrs, **own}
    assert done.mean == pytest.approx(float(at_once["traffic"].values.mean(dtype=np.float64)), rel=1e-12)
    assert done.tasks == 3 * -(-CELLS // chunk)
    assert [p.name for p in tmp_path.iterdir()] == ["a.zarr"]


@pytest.mark.parametrize("select", [(), (7, 3, 140)])
def test_a_context_that_lies_in_files_gives_the_same_bits(
    model: Path, at_once: Any, select: tuple[int, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("dataset.schema", "generators.weekly", "modelling.levels"):
        monkeypatch.setattr(f"gentraffic.{name}.BLOCK", 64)
    write_context(context(CELLS), tmp_path / "c.nc")
    large = read_context(tmp_path / "c.nc", Disk(tmp_path))
    ids = tuple(str(i) for i in at_once["cell_id"].values[list(select)])
    draw_store(model, large, replace(REQUEST, select=ids or None), tmp_path / "a.zarr", chunk_cells=64)
    got, want = read_traffic(tmp_path / "a.zarr"), at_once.isel(cell=list(select)) if select else at_once
    np.testing.assert_array_equal(got["traffic"].values, want["traffic"].values)
    np.testing.assert_array_equal(got["lat"].values, want["lat"].values)


@pytest.mark.slow
def test_memory_to_begin_grows_by_little_per_cell(tiny_bundle: Bundle, tmp_path: Path) -> None:
    peaks = []
    for side in (200, 400):
        write_context(traffic_examples.context("grid", n=side), tmp_path / f"{side}.nc")
        large = read_context(tmp_path / f"{side}.nc", Disk(tmp_path))
        tracemalloc.start()
        calendar = REQUEST.calendar(tiny_bundle.info, None, "Europe/Monaco")
        tiny_bundle.prepare(large, calendar, Settings(steps=1), scratch=tmp_path)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    per_cell = (peaks[1] - peaks[0]) / (400**2 - 200**2)
    assert 30 < per_cell < 320  # bytes; the traffic of a week has 672, and counts and densities alone have 200


@pytest.mark.slow
def test_memory_of_the_command_hardly_grows_with_the_region(tmp_path: Path) -> None:
    peaks = []
    for side in (100, 450):
        write_context(traffic_examples.context("grid", n=side), tmp_path / f"{side}.zarr")
        words = ("sample", "--context", tmp_path / f"{side}.zarr", "--days", 1, "-o", tmp_path / "t.zarr", "--json")
        done = subprocess.run(
            [sys.executable, "-m", "gentraffic", *map(str, words)], capture_output=True, text=True, check=True
        )
        peaks.append(json.loads(done.stdout)["peak_rss_mb"] * 2**20)
    assert (peaks[1] - peaks[0]) / (450**2 - 100**2) < 250  # bytes; 1,000 before: 140 of them the context


@pytest.mark.parametrize("chunk", [40, 150])
def test_totals_give_the_same_bits(tiny_bundle: Bundle, model: Path, chunk: int, tmp_path: Path) -> None:
    want = drawing.run(TOTALS, tiny_bundle, context(CELLS)).traffic["traffic"]
    draw_store(model, context(CELLS), TOTALS, tmp_path / "t.zarr", chunk_cells=chunk)
    got = read_traffic(tmp_path / "t.zarr")["traffic"]
    np.testing.assert_array_equal(got.values, want.values)
    assert got.attrs["units"] == want.attrs["units"] == "TB"


def here(patch: pytest.MonkeyPatch) -> list[int]:
    """Workers are this thread of this process; the list of the tasks that it draws."""
    drawn: list[int] = []

    class Local:
        def __enter__(self) -> None:
            return None

        def __exit__(self, *args: object) -> None:
            return None

    def draw(folder: Path, numbers: list[int]) -> Iterator[int]:
        for number in numbers[::-1]:  # in another order than that of the store
            yield from streaming.draw_tasks(folder, [number], 1)
            drawn.append(number)

    from gentraffic.generate import workers as engine

    patch.setattr(engine, "workers", lambda *_: Local())
    patch.setattr(
        engine, "remote", lambda _, folder: (lambda n: draw(folder, n), lambda n: streaming.scale_tasks(folder, n))
    )
    return drawn


@pytest.fixture(scope="module")
def begun(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a draw that was interrupted."""
    out = tmp_path_factory.mktemp("begun")
    with pytest.MonkeyPatch.context() as patch:
        drawn = here(patch)
        with pytest.raises(KeyboardInterrupt, match="4 of 15 tasks are kept"):
            run(model, out, stop=4)
    assert sorted(drawn) == [12, 13, 14]  # the fourth was on the disk, and its word had not arrived
    return part_of(out / "out.zarr")


@pytest.fixture
def job(begun: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, StoreSpec, list[int]]:
    """A copy of what was begun, to be resumed: its folder, its order, and the tasks that are drawn."""
    folder = part_of(tmp_path / "out.zarr")
    shutil.copytree(begun, folder)
    order = read_spec(folder)
    assert order is not None
    return folder, order, here(monkeypatch)


def run(model: Path, tmp_path: Path, stop: int = 0, chunk: int = 30, request: Request = REQUEST) -> Drawn:
    def tell(done: int, of: int) -> None:
        if stop and done == stop:
            raise KeyboardInterrupt

    return draw_store(model, context(CELLS), request, tmp_path / "out.zarr", workers=2, chunk_cells=chunk, tell=tell)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_same_command_resumes_and_ends_with_the_same_files(
    job: tuple[Path, StoreSpec, list[int]], model: Path, at_once: Any, tmp_path: Path
) -> None:
    _, _, drawn = job
    with pytest.raises(BadInput, match="No group found"):  # what is unfinished is not read
        read_traffic(part_of(tmp_path / "out.zarr").rename(tmp_path / "x.zarr"))
    (tmp_path / "x.zarr").rename(part_of(tmp_path / "out.zarr"))
    done = run(model, tmp_path)
    assert done.kept == 4
    assert sorted(drawn) == list(range(11))
    assert not part_of(tmp_path / "out.zarr").exists()
    np.testing.assert_array_equal(read_traffic(tmp_path / "out.zarr")["traffic"].values, at_once["traffic"].values)
    whole = tree(tmp_path / "out.zarr")
    shutil.rmtree(tmp_path / "out.zarr")
    run(model, tmp_path)
    assert tree(tmp_path / "out.zarr") == whole
    drawn.clear()
    assert run(model, tmp_path).kept == 15  # a third time: nothing is to do
    assert drawn == []
    chunk = next(p for p in (tmp_path / "out.zarr" / "traffic").iterdir() if p.name == "0.1.0")
    chunk.write_bytes(chunk.read_bytes()[:-9])
    run(model, tmp_path)  # a torn chunk of a finished store is seen, and all is drawn again
    assert tree(tmp_path / "out.zarr") == whole


@pytest.mark.parametrize("file", ["done/14.json", "store/traffic/2.4.0", "store/x/0", "inputs/place.npy", "job.json"])
@pytest.mark.parametrize("way", ["cut", *(pytest.param(way, marks=pytest.mark.slow) for way in ("altered", "gone"))])
def test_torn_files_are_made_again(
    job: tuple[Path, StoreSpec, list[int]], model: Path, at_once: Any, file: str, way: str, tmp_path: Path
) -> None:
    folder, _, drawn = job
    path = folder / file
    content = path.read_bytes()
    half = len(content) // 2
    path.write_bytes(
        content[:-5] if way == "cut" else content[:half] + bytes([content[half] ^ 1]) + content[half + 1 :]
    )
    if way == "gone":
        path.unlink()
    done = run(model, tmp_path)
    one = file.startswith("done") or "traffic" in file
    assert done.kept == (3 if one else 0 if file in ("job.json", "inputs/place.npy", "store/x/0") else 4)
    assert len(drawn) == (12 if one else 15)
    np.testing.assert_array_equal(read_traffic(tmp_path / "out.zarr")["traffic"].values, at_once["traffic"].values)


def test_another_commands_work_is_refused(job: tuple[Path, StoreSpec, list[int]], model: Path, tmp_path: Path) -> None:
    with pytest.raises(WrongUse, match=r"chunks of 30 cells, this command asks 40"):
        run(model, tmp_path, chunk=40)
    with pytest.raises(WrongUse, match=r"belongs to another command \(seed is 0, here 7\)"):
        run(model, tmp_path, request=Request(days=2, steps=1, members=3, seed=7))
    run(model, tmp_path)
    with pytest.raises(WrongUse, match="is the output of another command"):
        run(model, tmp_path, request=Request(days=2, steps=1, members=3, seed=7))
    (tmp_path / "out.zarr" / ".zattrs").write_text("{}")
    with pytest.raises(WrongUse, match="is the output of another command"):
        run(model, tmp_path)


def test_a_worker_with_another_version_or_another_model_is_refused(
    job: tuple[Path, StoreSpec, list[int]], model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, order, _ = job
    streaming._opened.cache_clear()
    monkeypatch.setattr(streaming, "__version__", "0.0.1")
    with pytest.raises(BadInput, match=r"a worker has gentraffic 0\.0\.1, the command 0\.1\.0"):
        next(streaming.draw_tasks(folder, [0]))
    monkeypatch.undo()
    said = json.loads((folder / "job.json").read_text())["content"]
    said["spec"]["model_sha256"] = "0"
    write_marker(folder / "job.json", said)
    with pytest.raises(BadModel, match="is another model here"):
        next(streaming.draw_tasks(folder, [0]))
    with pytest.raises(BadInput, match="sees no"):
        next(streaming.draw_tasks(tmp_path / "elsewhere", [0]))
    assert order.chunk == 30


def test_little_disk_and_little_memory_are_said_before_the_work(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = shutil.disk_usage(tmp_path)._replace(free=50_000)
    monkeypatch.setattr(producing.shutil, "disk_usage", lambda _: free)
    with pytest.raises(BadInput, match=r"MiB are needed and 0\.0 MiB are free"):
        run(model, tmp_path)
    with pytest.raises(BadInput, match="MiB are needed"):
        draw_store(model, context(CELLS), REQUEST, tmp_path / "b.zarr")
    monkeypatch.undo()
    for module in (producing, drawing):
        monkeypatch.setattr(module, "free_memory", lambda: 600 * 2**20)
    with pytest.raises(BadInput, match=r"for 2 workers, 0\.59 GiB are free: give fewer --chunk-cells"):
        run(model, tmp_path)
    monkeypatch.setattr(producing, "CELL_BYTES", 4 * 2**20)  # as ten million cells are to one gigabyte
    with pytest.raises(BadInput, match=r"cells need .* GiB of memory, 0\.59 GiB are free: give a smaller area"):
        run(model, tmp_path)
    with pytest.raises(BadInput, match=r"write \.zarr"):
        drawing.check_fits(10**9, tmp_path / "x.nc")
    assert list(tmp_path.iterdir()) == []


def test_two_commands_do_not_write_one_output(
    job: tuple[Path, StoreSpec, list[int]], model: Path, tmp_path: Path
) -> None:
    import fcntl

    with (job[0] / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(WrongUse, match="is being written by another command"):
            run(model, tmp_path)


def test_bad_words_are_refused(model: Path, tmp_path: Path) -> None:
    place = context(20)
    for more, said in (
        ({"workers": 0}, "--workers 0"),
        ({"chunk_cells": 0}, "--chunk-cells 0"),
        ({"workers": 1, "scheduler": "tcp://x:1"}, "give one"),
    ):
        with pytest.raises(WrongUse, match=said):
            draw_store(model, place, REQUEST, tmp_path / "x.zarr", **more)
    with pytest.raises(WrongUse, match="--change"):
        draw_store(model, place, Request(change=Path("c.geojson")), tmp_path / "x.zarr", workers=1)


def test_an_unfinished_store_is_no_traffic_whatever_its_name(
    job: tuple[Path, StoreSpec, list[int]], tmp_path: Path
) -> None:
    shutil.copytree(job[0] / "store", tmp_path / "copy.zarr")
    with pytest.raises(BadInput, match="unfinished: run the command that was writing this store again"):
        read_traffic(tmp_path / "copy.zarr")


def test_maps_and_plots_of_a_store_are_those_of_what_is_in_memory(model: Path, tmp_path: Path) -> None:
    draw_store(model, context(CELLS), REQUEST, tmp_path / "a.zarr", chunk_cells=40)
    lazy, loaded = open_traffic(tmp_path / "a.zarr"), read_traffic(tmp_path / "a.zarr")
    for ds, name in ((lazy, "lazy"), (loaded, "loaded")):
        write_map(ds, tmp_path / f"{name}.html")
        write_plot(ds, tmp_path / f"{name}.png")
    for suffix in (".html", ".png"):
        assert (tmp_path / f"lazy{suffix}").read_bytes() == (tmp_path / f"loaded{suffix}").read_bytes()


def test_a_marker_that_was_altered_says_nothing(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    write_marker(path, {"a": 1})
    assert read_marker(path) == {"a": 1}
    path.write_text(path.read_text().replace("1", "2"))
    assert read_marker(path) is None
    path.write_text("{")
    assert read_marker(path) is None
    assert read_marker(tmp_path / "none.json") is None


@pytest.mark.slow
def test_bits_do_not_depend_on_workers_chunks_or_order(model: Path, at_once: Any, tmp_path: Path) -> None:
    for workers in (1, 2, 4):
        for chunk in CHUNKS[1:] if workers > 1 else CHUNKS:
            out = tmp_path / f"{workers}-{chunk}.zarr"
            draw_store(model, context(CELLS), REQUEST, out, workers=workers, chunk_cells=chunk)
            np.testing.assert_array_equal(read_traffic(out)["traffic"].values, at_once["traffic"].values)
    order = np.random.default_rng(0).permutation(CELLS)
    draw_store(model, context(CELLS).isel(cell=order), REQUEST, tmp_path / "s.zarr", workers=2, chunk_cells=30)
    got = read_traffic(tmp_path / "s.zarr")["traffic"].values
    np.testing.assert_array_equal(got, at_once["traffic"].values[:, order])


@pytest.mark.slow
def test_a_scheduler_that_is_there_is_joined_and_one_that_is_not_is_said(
    model: Path, at_once: Any, tmp_path: Path
) -> None:
    distributed = pytest.importorskip("distributed")

    from poi.errors import NetworkFailed

    with pytest.raises(NetworkFailed, match="no scheduler answers there"):
        draw_store(model, context(CELLS), REQUEST, tmp_path / "n.zarr", scheduler="tcp://127.0.0.1:1")
    assert not list(tmp_path.glob(".n.zarr*"))
    with distributed.LocalCluster(n_workers=0, host="127.0.0.1", dashboard_address=":0") as cluster:
        with pytest.raises(WrongUse, match="has no workers"):
            draw_store(model, context(CELLS), REQUEST, tmp_path / "n.zarr", scheduler=cluster.scheduler_address)
        cluster.scale(2)
        draw_store(model, context(CELLS), REQUEST, tmp_path / "n.zarr", scheduler=cluster.scheduler_address)
    np.testing.assert_array_equal(read_traffic(tmp_path / "n.zarr")["traffic"].values, at_once["traffic"].values)
