"""Traffic written as it is drawn: a Zarr store filled chunk by chunk, in memory that does not grow with the region.

One writer makes the template (coordinates, metadata), tasks fill whole chunks, each followed by a marker with the
hashes of its files, and whoever began it checks all hashes, takes the attribute `unfinished` off, and renames.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gentraffic import __version__
from gentraffic.dataset.memmap import trim_heap
from gentraffic.dataset.schema import blocks, release_pages
from gentraffic.errors import BadInput, WrongUse
from gentraffic.generate.spec import (
    INPUTS,
    StoreSpec,
    check_same,
    check_shared,
    file_sha256,
    open_draw,
    read_marker,
    read_spec,
    save_job,
    spans_of,
    write_marker,
)
from gentraffic.generators.base import Expected
from gentraffic.io.atomic import cannot_write, list_store, swap_folder, sync, sync_one
from gentraffic.io.files import INDEX, UNFINISHED, check_chunks, encoding_of, indexed

if TYPE_CHECKING:
    import xarray as xr

    from gentraffic.generate.totals import Factors
    from gentraffic.generators.base import Draw, Span

TRIES = 3  # how often what was torn while it was written is drawn again
FACTORS = ("factors_table", "factors_cell", "factors_step")
WARNING = "warning.txt"  # beside the factors: what came of the totals
Chunk = NDArray[np.float32]


def begin(folder: Path, spec: StoreSpec, template: Callable[[str], xr.Dataset], prepare: Callable[..., Draw]) -> None:
    """Make the folder of a job, or find it begun.

    template(units) gives the Dataset of the store, prepare(scratch=folder) the draw. Raises WrongUse where the folder
    belongs to another command, and as `gentraffic.generators.base.Generator.prepare`.
    """
    if (folder / "job.json").exists():
        begun = read_spec(folder)
        if begun is not None:
            check_same(spec, begun, folder)
            return
    with _writing(folder):
        for name in ("job.json", "store", "raw.npy", "drawn", "done", INPUTS):
            if (folder / name).is_dir():
                shutil.rmtree(folder / name)
            else:
                (folder / name).unlink(missing_ok=True)
        folder.mkdir(exist_ok=True)
        trim_heap()  # of what the place was read with
        draw = prepare(scratch=folder)
        trim_heap()
        _write_template(template(draw.units), spec, folder / "store")
        if spec.totals:
            with (folder / "raw.npy").open("wb") as stream:
                shape = (spec.settings.members, spec.cells, spec.steps)
                np.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": shape})
                stream.truncate(stream.tell() + 4 * spec.values)
        save_job(folder, spec, draw.calendar, draw.arrays())
        for leftover in folder.glob("*.npy"):  # scratch, of which rows in another spec were copied
            if leftover.name != "raw.npy":
                leftover.unlink()
    del draw
    trim_heap()  # before drawing starts


def _write_template(ds: xr.Dataset, spec: StoreSpec, store: Path) -> None:
    """Metadata and coordinates of the store; its traffic is not there yet.

    Numbers of cells are written chunk by chunk: a country's may lie in files, and are not to be held all at once."""
    import dask.array
    import xarray as xr
    import zarr

    variable = ds[spec.service]
    encoding = encoding_of(ds, ".zarr", spec.chunk)
    empty = dask.array.zeros(variable.shape, chunks=encoding[spec.service]["chunks"], dtype=np.float32)
    clean = ds.drop_encoding().assign({spec.service: (variable.dims, empty, variable.attrs)})
    clean = clean.assign_attrs({UNFINISHED: "run the command that was writing this store again"})
    clean = indexed(clean)
    per_cell = [str(name) for name, v in clean.coords.items() if v.dims == ("cell",) and v.dtype.kind in "iuf"]
    for name in per_cell:
        given = clean.variables[name]
        usual = zarr.create_array(store={}, shape=given.shape, dtype=given.dtype, zarr_format=2).chunks
        empty = dask.array.zeros(given.shape, chunks=usual, dtype=given.dtype)
        clean = clean.assign_coords(xr.Coordinates({name: (given.dims, empty, given.attrs)}, indexes={}))
    clean.to_zarr(store, mode="w", zarr_format=2, consolidated=False, encoding=encoding, compute=False)
    for name in per_cell:
        array, values = zarr.open_array(str(store / name), mode="r+"), ds["cell_id" if name == INDEX else name].values
        for rows in blocks(len(values), array.chunks[0]):
            array[rows] = values[rows]
            release_pages(values)
    attrs = json.loads((store / ".zattrs").read_text(encoding="utf-8"))
    attrs.pop(UNFINISHED)
    whole = json.dumps(attrs | {"order_sha256": spec.sha256}, indent=2)
    (store.parent / "attrs.json").write_text(whole, encoding="utf-8")


def draw_tasks(folder: Path, numbers: Iterable[int], threads: int | None = None) -> Iterator[int]:
    """Draw tasks, one after the other, in this process: the number of each when its marker is written.

    Raises BadInput where the disk is full, the folder is not there or of another version, BadModel for another model.
    """
    spec, draw, arrays = _opened(str(folder), _identity(folder))
    numbers = list(numbers)
    owner = [(number, block) for number in numbers for block in spans_of(spec, number)]
    kept: list[dict[str, Any]] = []
    expected = Expected(spec.model, [block for _, block in owner], spec.steps)
    for block, values in draw.blocks(expected.spans, threads):
        expected.check(block, values)
        number = owner[expected.given - 1][0]
        if not (values.min() >= 0 and values.max() < np.inf):
            raise BadInput(f"the model drew values that are not finite for rows {block.first} to {block.end}")
        with _writing(folder):
            put = _put_raw if spec.totals else _put
            kept.append(put(folder, spec, block, values))
            release_pages(*arrays)
            if len(kept) == len(spec.tasks()[number]):
                write_marker(folder / _marks(spec) / f"{number}.json", {"blocks": kept})
                kept = []
                yield number
    expected.check_end()


def scale_tasks(folder: Path, numbers: Iterable[int]) -> Iterator[int]:
    """Scale drawn tasks and put them into the store: the number of each when its marker is written."""
    from gentraffic.generate.totals import Factors

    spec = _opened(str(folder), _identity(folder))[0]
    raw = np.load(folder / "raw.npy", "r", allow_pickle=False)
    table, cell_class, step_class = (np.load(folder / f"{name}.npy", "r", allow_pickle=False) for name in FACTORS)
    for number in numbers:
        with _writing(folder):
            kept = []
            for block in spans_of(spec, number):
                one, rows = slice(block.member, block.member + 1), slice(block.first, block.end)
                factors = Factors(table[one], cell_class[one, rows], step_class[one])
                kept.append(_put(folder, spec, block, factors.apply(raw[one, rows])[0]))
            write_marker(folder / "done" / f"{number}.json", {"blocks": kept})
        yield number


def missing(folder: Path, spec: StoreSpec, marks: str) -> list[int]:
    """The tasks without a marker, or whose bytes do not have the hashes that it says."""
    out = []
    for number in range(len(spec.tasks())):
        said = read_marker(folder / marks / f"{number}.json")
        if said is None or any(_sha256_of(folder, block) != block["sha256"] for block in said["blocks"]):
            out.append(number)
    return out


def fill(
    folder: Path,
    spec: StoreSpec,
    draw: Callable[[list[int]], Iterator[int]],
    scale: Callable[[list[int]], Iterator[int]],
    fit: Callable[[Chunk], tuple[Factors, str]],
    on_task: Callable[[int, int], None],
) -> None:
    """Run what is missing until nothing is, checking every hash.

    draw(tasks) and scale(tasks) run tasks wherever they run them and yield the number of each that is done; fit(drawn)
    finds the factors of the totals, and a warning for the store or "". Raises BadInput where what is written does not
    stay."""
    tasks = len(spec.tasks())
    for _ in range(TRIES):
        wanted = missing(folder, spec, "done")
        if not wanted:
            return
        if not spec.totals:
            _drain(draw(wanted), tasks - len(wanted), tasks, on_task)
            continue
        lacking = missing(folder, spec, "drawn")
        _drain(draw(lacking), tasks - len(lacking), 2 * tasks, on_task)
        if missing(folder, spec, "drawn"):
            continue
        found, warning = fit(np.load(folder / "raw.npy", "r", allow_pickle=False))
        with _writing(folder):
            (folder / WARNING).write_text(warning, encoding="utf-8")
            for name, values in zip(FACTORS, (found.table, found.cell_class, found.step_class), strict=True):
                np.save(folder / f"{name}.npy", values, allow_pickle=False)
        _drain(scale(wanted), 2 * tasks - len(wanted), 2 * tasks, on_task)
    if missing(folder, spec, "done"):
        raise BadInput(f"{folder}: what is written there does not stay as it was written; check the disk")


def mean_of(folder: Path, spec: StoreSpec) -> float:
    """The mean of all values of a store that is filled, from its markers."""
    said = [read_marker(folder / "done" / f"{number}.json") or {"blocks": []} for number in range(len(spec.tasks()))]
    return math.fsum(block["sum"] for marker in said for block in marker["blocks"]) / spec.values


def finish(folder: Path, spec: StoreSpec, out: Path) -> None:
    """Make the store whole, and put it in its place."""
    import zarr

    store = folder / "store"
    with _writing(out):
        for leftover in (store / spec.service).glob("*.partial"):  # of a writer that was killed
            leftover.unlink()
        (store / ".zgroup").write_text(json.dumps({"zarr_format": 2}), encoding="utf-8")
        (store / ".zattrs").write_text(_attrs(folder), encoding="utf-8")
        zarr.consolidate_metadata(str(store), zarr_format=2)
        list_store(store, _chunk_hashes(folder, spec))
        sync(store)
        target = Path(os.path.realpath(out))
        if target.exists():
            swap_folder(store, target)
        else:
            os.rename(store, target)
        shutil.rmtree(folder, ignore_errors=True)


def _attrs(folder: Path) -> str:
    """The attributes of the store as JSON, with the warning that came of the totals."""
    text = (folder / "attrs.json").read_text(encoding="utf-8")
    warning = (folder / WARNING).read_text(encoding="utf-8") if (folder / WARNING).exists() else ""
    if not warning:
        return text
    attrs = json.loads(text)
    return json.dumps({**attrs, "warnings": f"{attrs.get('warnings', '')}\n{warning}".strip()}, indent=2)


def _chunk_hashes(folder: Path, spec: StoreSpec) -> dict[str, str]:
    """SHA-256 of the chunks of a store that is filled, by their names in the store, from its markers."""
    said = [read_marker(folder / "done" / f"{number}.json") or {"blocks": []} for number in range(len(spec.tasks()))]
    return {b["file"].removeprefix("store/"): b["sha256"] for m in said for b in m["blocks"]}


def finished(out: Path, spec: StoreSpec) -> bool:
    """Whether `out` is already what the spec asks for, every chunk readable.

    Raises WrongUse where it is something else: the output of another command is not replaced by a resumable one.
    """
    target = Path(os.path.realpath(out))
    if not target.exists():
        return False
    try:
        said = json.loads((target / ".zattrs").read_text(encoding="utf-8")).get("order_sha256")
    except (OSError, ValueError):
        said = None
    if said != spec.sha256:
        raise WrongUse(f"{out} is the output of another command: give another -o, or delete it")
    return check_chunks(target, spec.service)


# --- one block --------------------------------------------------------------------------------------------------------


def _marks(spec: StoreSpec) -> str:
    return "drawn" if spec.totals else "done"


def _put_raw(folder: Path, spec: StoreSpec, block: Span, values: Chunk) -> dict[str, Any]:
    """Write one block to where totals are fitted."""
    at = (folder / "raw.npy").stat().st_size - 4 * spec.values  # behind the header
    at += 4 * spec.steps * (block.member * spec.cells + block.first)
    with (folder / "raw.npy").open("r+b") as stream:
        stream.seek(at)
        stream.write(values.tobytes())
        stream.flush()
        os.fsync(stream.fileno())
    piece = {"file": "raw.npy", "at": at, "bytes": values.nbytes}
    return piece | {"sha256": _sha256_of(folder, piece)}


def _sha256_of(folder: Path, piece: Mapping[str, Any]) -> str:
    """The hash of a file, or of a part of it, as it is on the disk."""
    if "at" not in piece:
        return file_sha256(folder / piece["file"])
    try:
        with (folder / piece["file"]).open("rb") as stream:
            stream.seek(piece["at"])
            return hashlib.sha256(stream.read(piece["bytes"])).hexdigest()
    except OSError:
        return ""


def _put(folder: Path, spec: StoreSpec, block: Span, values: Chunk) -> dict[str, Any]:
    """Write one whole chunk of the store through to the disk."""
    import zarr

    array = zarr.open_array(str(folder / "store" / spec.service), mode="r+")
    several = spec.settings.members > 1
    key = ".".join(str(n) for n in ((block.member,) if several else ()) + (block.first // spec.chunk, 0))
    at = (slice(block.first, block.end), slice(None))
    array[(block.member, *at) if several else at] = values
    path = folder / "store" / spec.service / key
    sync_one(path)
    sync_one(path.parent)  # not what is in it: others are writing there
    total = float(values.sum(dtype=np.float64))
    return {"file": str(path.relative_to(folder)), "sha256": file_sha256(path), "sum": total}


def _identity(folder: Path) -> str:
    """What tells a job from an earlier one in its folder, whose arrays a long-lived worker may still have mapped."""
    check_shared(folder)
    said = (folder / "job.json").stat()
    return f"{said.st_ino} {said.st_mtime_ns} {file_sha256(folder / 'job.json')}"


@lru_cache(maxsize=1)
def _opened(folder: str, identity: str) -> tuple[StoreSpec, Draw, list[NDArray[Any]]]:
    """A job, opened once in each process that draws."""
    said = read_marker(Path(folder, "job.json"))
    if said is None or said["version"] != __version__:
        raise BadInput(
            f"a worker has gentraffic {__version__}, the command {said['version'] if said else 'another'}: "
            "install one version everywhere"
        )
    spec = read_spec(Path(folder))
    if spec is None:
        raise BadInput(f"{folder} is damaged: run the same command again")
    return spec, *open_draw(Path(folder), spec)


def _drain(numbers: Iterator[int], done: int, of: int, on_task: Callable[[int, int], None]) -> None:
    on_task(done, of)
    for count, _ in enumerate(numbers, start=1):
        on_task(done + count, of)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise cannot_write(path, error) from error
