"""A draw as tasks: what every task needs, in a folder that all workers see, so that it can be resumed.

Beside the output `NAME.zarr` stands the folder `.NAME.zarr.part` until the output is whole:

    job.json                  the specification, and hashes of the files below; written last: what it names is there
    inputs/*.npy              the arrays of the draw (`gentraffic.generators.base.Draw.arrays`)
    attrs.json                the attributes of the finished store
    store/                    the Zarr store that is being filled; its attribute `unfinished` says so
    raw.npy                   with totals only: what is drawn, before it is scaled
    factors_*.npy, warning.txt  with totals only: what it is scaled by, once all is drawn, and what is to be told
    drawn/N.json, done/N.json markers: the blocks of task N are in raw.npy, in the store, and their hashes
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gentraffic import __version__
from gentraffic.dataset.schema import blocks, release_pages
from gentraffic.errors import BadInput, WrongUse
from gentraffic.generators.base import Settings
from gentraffic.io.atomic import replacing

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray

    from gentraffic.dataset.calendar import Calendar
    from gentraffic.generators.base import Draw, Span

MAX_TASKS = 2000  # more would cost the scheduler more than they balance
INPUTS = "inputs"


@dataclass(frozen=True)
class StoreSpec:
    """What is drawn, in plain values: with the context and the model's files it fixes every bit.

    utc, context, observed: SHA-256 of the steps, of the context, of what is measured ("" for nothing). totals: texts of
    the totals that each member meets, none for relative traffic. units: of the traffic, "" until the draw tells them.
    cells: rows drawn. chunk: cells that one chunk of the store holds. libraries: versions.
    """

    model: str
    model_sha256: str
    settings: Settings
    utc: str
    timezone: str
    service: str
    totals: tuple[str, ...]
    units: str
    cells: int
    steps: int
    chunk: int
    context: str
    observed: str
    libraries: str

    def tasks(self) -> list[list[tuple[int, int, int]]]:
        """(member, first row, end row) of the blocks of each task. A block is one whole chunk of the store."""
        blocks = [
            (m, at, min(at + self.chunk, self.cells))
            for m in range(self.settings.members)
            for at in range(0, self.cells, self.chunk)
        ]
        per = -(-len(blocks) // MAX_TASKS)
        return [blocks[i : i + per] for i in range(0, len(blocks), per)]

    @property
    def sha256(self) -> str:
        """The hash that tells one spec from another: all but the name of the model."""
        plain: dict[str, Any] = asdict(self) | {"model": ""}
        if self.settings.precision == "fp32":  # stores of before there were others have the same hash
            del plain["settings"]["precision"]
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()

    @property
    def values(self) -> int:
        """How many numbers the store holds."""
        return self.settings.members * self.cells * self.steps


def libraries() -> str:
    """Versions of what the bits may depend on, read without importing it."""
    return ", ".join(f"{name} {version(name)}" for name in ("torch", "numpy", "diffusers"))


def context_sha256(context: xr.Dataset, rows: list[int] | None) -> str:
    """The hash of a context's numbers, of its attributes but the command, and of the rows that are drawn."""
    attrs = {str(k): str(v) for k, v in context.attrs.items() if k != "command"}
    sha = hashlib.sha256(json.dumps([attrs, rows], sort_keys=True).encode())
    for name in sorted(map(str, context.variables)):
        values = context[name].values
        sha.update(f"{name} {values.shape}".encode())
        if values.dtype.kind in "OUT":
            sha.update("\0".join(map(str, values.ravel())).encode())
        else:
            flat = np.ascontiguousarray(values).reshape(-1)  # as they lie, no copy is made
            for part in blocks(len(flat)):
                sha.update(flat[part].view(np.uint8).data)
                release_pages(flat)
    return sha.hexdigest()


def part_of(out: Path) -> Path:
    """The folder in which `out` is prepared."""
    target = Path(os.path.realpath(out))
    return target.with_name(f".{target.name}.part")


def save_job(folder: Path, spec: StoreSpec, calendar: Calendar, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write the steps and the arrays of the draw, then job.json, with their hashes and those of the store's template.

    Arrays that lie in a file of the folder become the file of their name.
    arrays: name -> array (any shape).
    """
    (folder / INPUTS).mkdir(exist_ok=True)
    hashes = {}
    for name, values in {**arrays, "utc": calendar.utc}.items():
        path = folder / INPUTS / f"{name}.npy"
        if isinstance(values, np.memmap) and values.filename is not None:
            os.replace(values.filename, path)
        else:
            np.save(path, values, allow_pickle=False)
        release_pages(values)
        hashes[f"{INPUTS}/{name}.npy"] = file_sha256(path)
    template = [path for path in (folder / "store").rglob("*") if path.is_file() and path.parent.name != "store"]
    for path in (folder / "attrs.json", *template):
        hashes[str(path.relative_to(folder))] = file_sha256(path)
    write_marker(folder / "job.json", {"spec": asdict(spec), "files": hashes, "version": __version__})


def read_spec(folder: Path) -> StoreSpec | None:
    """The specification of a folder whose job.json was written, None where it was not, or not whole."""
    said = read_marker(folder / "job.json")
    if said is None:
        return None
    if said.get("version") != __version__:
        raise WrongUse(f"{folder} was begun by gentraffic {said.get('version')}, this is {__version__}: delete it")
    if any(file_sha256(folder / name) != digest for name, digest in said["files"].items()):
        return None
    spec = said["spec"]
    holidays = tuple((int(day), float(times)) for day, times in spec["settings"].get("holidays", ()))
    settings = Settings(**{**spec["settings"], "holidays": holidays})
    return StoreSpec(**{**spec, "settings": settings, "totals": tuple(spec["totals"])})


def check_same(spec: StoreSpec, begun: StoreSpec, where: Path) -> None:
    """Raise WrongUse, naming the first difference, unless both specs give the same store."""
    if spec.sha256 == begun.sha256:
        return
    fix = f"give the same command to resume, another -o, or delete {where}"
    if begun.chunk != spec.chunk:
        raise WrongUse(f"{where} was begun with chunks of {begun.chunk} cells, this command asks {spec.chunk}: {fix}")
    ours, theirs = _flat(spec), _flat(begun)
    name = next((n for n in ours if ours[n] != theirs[n] and n != "model"), "model")
    raise WrongUse(f"{where} belongs to another command ({name} is {theirs[name]}, here {ours[name]}): {fix}")


def open_draw(folder: Path, spec: StoreSpec) -> tuple[Draw, list[NDArray[Any]]]:
    """The draw of a job, and its arrays, which are mapped: only the rows that a task draws are read.

    Raises BadModel where the worker has another model under the name.
    """
    from gentraffic.dataset.calendar import calendar_of
    from gentraffic.errors import BadModel
    from gentraffic.generators.base import find

    model, family = find(spec.model)
    if model is None or model.sha256 != spec.model_sha256:
        raise BadModel(f"{spec.model} is another model here than where the command was given: copy it to the workers")
    arrays = {path.stem: np.load(path, "r", allow_pickle=False) for path in sorted((folder / INPUTS).glob("*.npy"))}
    calendar = calendar_of(np.array(arrays.pop("utc")), spec.timezone)
    return family.reopen(model, arrays, calendar, spec.settings), list(arrays.values())


def spans_of(spec: StoreSpec, number: int) -> list[Span]:
    """The blocks of one task."""
    from gentraffic.generators.base import Span

    return [Span(*block) for block in spec.tasks()[number]]


# --- markers ----------------------------------------------------------------------------------------------------------


def write_marker(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON with its own hash, whole or not at all."""
    path.parent.mkdir(exist_ok=True)
    text = json.dumps(content, sort_keys=True)
    with replacing(path, (".json",)) as temporary:
        temporary.write_text(json.dumps({"sha256": hashlib.sha256(text.encode()).hexdigest(), "content": content}))


def read_marker(path: Path) -> dict[str, Any] | None:
    """What `write_marker` wrote; None for a file that is missing, torn or altered."""
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        content: dict[str, Any] = said["content"]
        text = json.dumps(content, sort_keys=True)
        return content if said["sha256"] == hashlib.sha256(text.encode()).hexdigest() else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def file_sha256(path: Path) -> str:
    """SHA-256 of a file; "" where it cannot be read."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return ""


def check_shared(folder: Path) -> None:
    """Raise BadInput where a worker does not see the folder of the job."""
    if not (folder / "job.json").is_file():
        import socket

        raise BadInput(f"the worker on {socket.gethostname()} sees no {folder}: -o must lie on a disk that all share")


def _flat(spec: StoreSpec) -> dict[str, Any]:
    plain = asdict(spec)
    settings: dict[str, Any] = plain.pop("settings")
    return settings | plain
