"""A draw as tasks: what every task needs, in a folder that all workers see, so that it can be resumed.

Beside the output `NAME.zarr` stands the folder `.NAME.zarr.part` until the output is whole:

    job.json                  the order, and hashes of the files that follow; written last: what it names is there
    ids, place, ... .npy      what each cell is given (`gentraffic.generators.weekly.Region`), and the time embedding
    attrs.json                the attributes of the finished store
    store/                    the Zarr store that is being filled; its attribute `unfinished` says so
    raw.npy                   with totals only: what is drawn, before it is scaled
    factors_*.npy             with totals only: what it is scaled by, once all is drawn
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
from gentraffic.errors import BadInput, WrongUse
from gentraffic.generators.settings import Settings
from gentraffic.io.atomic import replacing

if TYPE_CHECKING:
    import xarray as xr

    from gentraffic.dataset.calendar import Calendar
    from gentraffic.generators.weekly import Block, Region, SharedInputs

MAX_TASKS = 2000  # more would cost the scheduler more than they balance
ARRAYS = ("ids", "place", "log_level", "level", "around", "time")


@dataclass(frozen=True)
class StoreSpec:
    """What is drawn, in plain values: with the context and the model's files it fixes every bit.

    totals: texts of the totals that each member meets, none for relative traffic. cells: rows drawn.
    chunk: cells that one chunk of the store holds. context: SHA-256 of the context. libraries: versions.
    """

    model: str
    model_sha256: str
    recipe: Settings
    start: str
    days: int
    freq: str
    timezone: str
    service: str
    totals: tuple[str, ...]
    units: str
    cells: int
    steps: int
    chunk: int
    context: str
    libraries: str
    rhythms: tuple[str, ...] = ()
    source: str = ""

    def calendar(self) -> Calendar:
        """The steps that are drawn."""
        from gentraffic.dataset.calendar import make_calendar

        return make_calendar(self.start, self.days, self.freq, self.timezone)

    def tasks(self) -> list[list[tuple[int, int, int]]]:
        """(member, first row, end row) of the blocks of each task. A block is one whole chunk of the store."""
        blocks = [
            (m, at, min(at + self.chunk, self.cells))
            for m in range(self.recipe.members)
            for at in range(0, self.cells, self.chunk)
        ]
        per = -(-len(blocks) // MAX_TASKS)
        return [blocks[i : i + per] for i in range(0, len(blocks), per)]

    @property
    def sha256(self) -> str:
        """The hash that tells one order from another: all but what follows from the rest."""
        plain = asdict(self) | {"model": "", "rhythms": (), "source": ""}
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()

    @property
    def values(self) -> int:
        """How many numbers the store holds."""
        return self.recipe.members * self.cells * self.steps


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
            sha.update(np.ascontiguousarray(values).reshape(-1).view(np.uint8).data)  # as they lie, no copy is made
    return sha.hexdigest()


def part_of(out: Path) -> Path:
    """The folder in which `out` is prepared."""
    target = Path(os.path.realpath(out))
    return target.with_name(f".{target.name}.part")


def save_job(folder: Path, order: StoreSpec, region: Region, time: Any) -> None:
    """Write the arrays, then job.json, with their hashes and those of the template of the store.

    Embeddings that lie in a file of the folder become the file of their name.
    """
    ids = region.ids if region.ids.dtype.kind in "iu" else region.ids.astype(str)
    around = np.empty((0, 0), dtype=np.float32) if region.around is None else region.around
    arrays = dict(zip(ARRAYS, (ids, region.place, region.log_level, region.level, around, time), strict=True))
    hashes = {}
    for name, values in arrays.items():
        path = folder / f"{name}.npy"
        if isinstance(values, np.memmap) and values.filename is not None:
            os.replace(values.filename, path)
        else:
            np.save(path, values, allow_pickle=False)
        hashes[f"{name}.npy"] = file_sha256(folder / f"{name}.npy")
    template = [path for path in (folder / "store").rglob("*") if path.is_file() and path.parent.name != "store"]
    for path in (folder / "attrs.json", *template):
        hashes[str(path.relative_to(folder))] = file_sha256(path)
    write_marker(folder / "job.json", {"order": asdict(order), "files": hashes, "version": __version__})


def read_spec(folder: Path) -> StoreSpec | None:
    """The order of a folder whose job.json was written, None where it was not, or not whole."""
    said = read_marker(folder / "job.json")
    if said is None:
        return None
    if said.get("version") != __version__:
        raise WrongUse(f"{folder} was begun by gentraffic {said.get('version')}, this is {__version__}: delete it")
    if any(file_sha256(folder / name) != digest for name, digest in said["files"].items()):
        return None
    return StoreSpec(
        **{**said["order"], "recipe": Settings(**said["order"]["recipe"]), "totals": tuple(said["order"]["totals"]),
           "rhythms": tuple(said["order"]["rhythms"])}
    )  # fmt: skip


def check_same(order: StoreSpec, begun: StoreSpec, where: Path) -> None:
    """Raise WrongUse, naming the first difference, unless both orders give the same store."""
    if order.sha256 == begun.sha256:
        return
    mend = f"give the same command to resume, another -o, or delete {where}"
    if begun.chunk != order.chunk:
        raise WrongUse(f"{where} was begun with chunks of {begun.chunk} cells, this command asks {order.chunk}: {mend}")
    ours, theirs = _flat(order), _flat(begun)
    name = next((n for n in ours if ours[n] != theirs[n] and n != "model"), "model")
    raise WrongUse(f"{where} belongs to another command ({name} is {theirs[name]}, here {ours[name]}): {mend}")


def open_region(folder: Path, order: StoreSpec) -> Region:
    """The arrays of a job, mapped: only the rows that a task draws are read."""
    from gentraffic.generators.weekly import Region

    ids, place, log_level, level = (np.load(folder / f"{name}.npy", "r", allow_pickle=False) for name in ARRAYS[:4])
    around = np.load(folder / "around.npy", allow_pickle=False)
    known = around if len(around) else None
    return Region(ids, place, log_level, level, rhythms=order.rhythms, around=known, source=order.source)


def open_shared(folder: Path, order: StoreSpec) -> SharedInputs:
    """The network and what all cells share. Raises BadModel where the worker has another model under the name."""
    import torch

    from gentraffic.errors import BadModel
    from gentraffic.generators.folder import load_network, load_weeks
    from gentraffic.generators.weekly import SharedInputs

    model, scaler, sha256 = load_network(order.model)
    if sha256 != order.model_sha256:
        raise BadModel(f"{order.model} is another model here than where the command was given: copy it to the workers")
    time = torch.from_numpy(np.load(folder / "time.npy", allow_pickle=False))
    networks, weeks = load_weeks(order.model)
    return SharedInputs(model, scaler, time, networks, order.calendar(), order.recipe, weeks)


def blocks_of(order: StoreSpec, number: int) -> list[Block]:
    """The blocks of one task."""
    from gentraffic.generators.weekly import Block

    return [Block(*block) for block in order.tasks()[number]]


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


def _flat(order: StoreSpec) -> dict[str, Any]:
    plain = asdict(order)
    recipe: dict[str, Any] = plain.pop("recipe")
    return recipe | plain
