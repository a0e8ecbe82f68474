"""A trained model as a folder that anyone can load: networks, schedule, scalers, provenance, card. No pickle.

stunet/            config.json, diffusion_pytorch_model.safetensors; `network/` for other samplers than STOUTER
temporal_graph/    GraphMAE over the hours of the week      station_graph/   GraphMAE over cells or stations
scheduler/         scheduler_config.json (diffusers), where the sampler draws by diffusion
scaler.json        traffic scaling      level.json   the level model (gentraffic/modelling/levels.py)
provenance.json    sampler (a key of `samplers.SAMPLERS`), data, licences, hashes of every file, code version, seed,
                   metrics beside the naive rows
README.md          the model card
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gentraffic.errors import BadInput, BadModel
from gentraffic.generators.registry import MODELS
from gentraffic.generators.registry import names as bundled_models
from gentraffic.io.memmap import rows_of_file, trim_heap
from gentraffic.modelling.features import Places, Scale, count_scale
from gentraffic.modelling.levels import LevelModel
from gentraffic.modelling.transform import Scaler, WeeklyProfile

if TYPE_CHECKING:
    import torch

    from graphs.graphmae import GraphMAE
    from samplers import Sampler

FOLDERS = {"stouter": "stunet"}  # of the sampler's network; `network` where not named here


@dataclass(frozen=True)
class Bundle:
    """Everything that `sample` needs. networks: names of the measured networks, index 0 being network 1 of the model.

    sampler: the key of `samplers.SAMPLERS` that model is of.
    """

    model: Sampler
    temporal: GraphMAE
    station: GraphMAE
    scaler: Scaler
    levels: LevelModel
    networks: tuple[str, ...]
    provenance: dict[str, Any] = field(default_factory=dict)
    sha256: str = ""
    sampler: str = "stouter"

    def time(self) -> torch.Tensor:
        """The time embedding F_t of the 168 hours of the week (STOUTER eq. 1): (168, Q)."""
        return time_embedding(self.temporal)

    def place(self, places: Places, path: Path | None = None) -> NDArray[np.float32]:
        """The station embedding F_s (STOUTER eq. 2) of every cell of a context: (cells, P).

        path: a .npy file to write them to, which is then mapped: a country's are not held in memory.
        """
        return place_embedding(self.station, places, self.levels, path)


def time_embedding(temporal: GraphMAE) -> torch.Tensor:
    """F_t (168, Q), standardised per dimension."""
    from graphs.temporal import temporal_graph

    graph = temporal_graph()
    embedding = temporal.embed(graph.x, graph.edge_index)
    return (embedding - embedding.mean(0)) / embedding.std(0).clamp(min=1e-6)


def station_scale(places: Places, levels: LevelModel | None) -> Scale:
    """How log POI counts are standardised for the station graph: in their network, or else in their region."""
    known = levels.networks.get(places.network) if levels is not None else None
    if known is None:
        return count_scale(places.before or places)
    categories = places.poi_count.shape[1]
    return Scale(known.scale.mean[:categories], known.scale.spread[:categories])


def station_features(places: Places, scale: Scale, rows: Any = slice(None)) -> NDArray[np.float32]:
    """Node features of the station graph: standardised log POI counts, of all cells or of some rows: (rows, 8)."""
    return scale(np.log1p(places.poi_count[rows], dtype=np.float64)).astype(np.float32)


def place_embedding(
    station: GraphMAE, places: Places, levels: LevelModel | None, path: Path | None = None
) -> NDArray[np.float32]:
    """F_s (cells, P) of a whole context. Where `path` is given, that .npy file, which holds them, mapped."""
    from graphs.tiles import embed_stations, embedded_squares

    scale = station_scale(places, levels)
    if path is None:
        return embed_stations(station, places.xy_m, station_features(places, scale))
    trim_heap()
    with rows_of_file(path, (len(places.xy_m), int(station.config["hidden_channels"]))) as file:
        squares = embedded_squares(station, places.xy_m, lambda rows: station_features(places, scale, rows))
        for rows, values in squares:
            file[rows] = values
    mapped: NDArray[np.float32] = np.load(path, "r", allow_pickle=False)
    return mapped


def save_bundle(bundle: Bundle, folder: Path, card: str) -> None:
    """Write the folder whole: beside its place first, then renamed; an older bundle there is replaced.

    Raises BadInput where another folder stands there, or it cannot be written.
    """
    from samplers import Denoiser

    with writing_folder(folder, {**bundle.provenance, "sampler": bundle.sampler}, card) as temporary:
        bundle.model.save_pretrained(temporary / FOLDERS.get(bundle.sampler, "network"))
        bundle.temporal.save_pretrained(temporary / "temporal_graph")
        bundle.station.save_pretrained(temporary / "station_graph")
        if isinstance(bundle.model, Denoiser):
            bundle.model.noise.scheduler().save_pretrained(temporary / "scheduler")
        write_json(temporary / "scaler.json", asdict(bundle.scaler))
        write_json(temporary / "level.json", {"order": list(bundle.networks), "levels": bundle.levels.to_json()})


@contextmanager
def writing_folder(folder: Path, provenance: Mapping[str, Any], card: str) -> Iterator[Path]:
    """Yield a temporary folder; when the block ends well, it becomes the model folder, with card and hashes.

    Raises BadInput where another folder stands there, or it cannot be written.
    """
    from gentraffic.io.atomic import replacing

    if folder.is_dir() and any(folder.iterdir()) and not (folder / "provenance.json").is_file():
        raise BadInput(f"{folder} exists and is not a model folder; take another name")
    with replacing(folder, (folder.suffix,), folder=True) as temporary:
        yield temporary
        # diffusers notes where a part was read from: a path of this machine
        for path in temporary.rglob("config.json"):
            config = json.loads(path.read_text(encoding="utf-8"))
            config.pop("_name_or_path", None)
            write_json(path, config)
        (temporary / "README.md").write_text(card, encoding="utf-8")
        hashes = {
            str(path.relative_to(temporary)): _sha256(path)
            for path in sorted(temporary.rglob("*"))
            if path.is_file() and path.name != "README.md"
        }
        whole = json.loads(json.dumps({**provenance, "files": hashes}))
        write_json(temporary / "provenance.json", {**whole, "seal": _seal(whole)})


def load_bundle(name: str | Path) -> Bundle:
    """Load a bundled model by name or a model folder. Every file is checked against the hashes in provenance.json.

    Raises BadModel for a name or folder that does not exist, a missing or changed file, or a folder of another make.
    """
    folder, provenance, sha256 = read_folder(name)
    from graphs.graphmae import GraphMAE

    sampler = _sampler(folder, provenance)
    with _understanding(folder):
        level = json.loads((folder / "level.json").read_text(encoding="utf-8"))
        return Bundle(
            model=_network(folder, sampler),
            temporal=pretrained(GraphMAE, folder / "temporal_graph"),
            station=pretrained(GraphMAE, folder / "station_graph"),
            scaler=_scaler(folder),
            levels=LevelModel.from_json(level["levels"]),
            networks=tuple(level["order"]),
            provenance=provenance,
            sha256=sha256,
            sampler=sampler,
        )


def load_network(name: str | Path) -> tuple[Sampler, Scaler, str]:
    """What draws, without what embeds places: the network, its scaling, and the hash of the model. Raises BadModel."""
    folder, provenance, sha256 = read_folder(name)
    with _understanding(folder):
        return _network(folder, _sampler(folder, provenance)), _scaler(folder), sha256


def _sampler(folder: Path, provenance: dict[str, Any]) -> str:
    from samplers import SAMPLERS

    sampler = str(provenance.get("sampler", "stouter"))
    if sampler not in SAMPLERS or "forecaster" in provenance:
        kind = provenance.get("forecaster", sampler)
        raise BadModel(f"{folder} holds the model {kind!r}: give one of {', '.join(SAMPLERS)}")
    return sampler


def _network(folder: Path, sampler: str) -> Any:
    from samplers import SAMPLERS

    return pretrained(SAMPLERS[sampler], folder / FOLDERS.get(sampler, "network"))


def _scaler(folder: Path) -> Scaler:
    told = json.loads((folder / "scaler.json").read_text(encoding="utf-8"))
    usual = told.pop("usual", None)
    return Scaler(**told, usual=None if usual is None else WeeklyProfile(**usual))


@contextmanager
def _understanding(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadModel(f"{folder}: not a model of this version ({error})") from error


def read_folder(name: str | Path) -> tuple[Path, dict[str, Any], str]:
    """The folder of a model, bundled or not, its provenance, and one SHA-256 of its files, each of which is checked.

    Raises BadModel for a name or folder that does not exist, or a missing or changed file.
    """
    folder = MODELS / name if isinstance(name, str) and (MODELS / name / "provenance.json").is_file() else Path(name)
    if not (folder / "provenance.json").is_file():
        bundled = ", ".join(bundled_models()) or "none"
        raise BadModel(f"no model {str(name)!r}: give one of {bundled}, or a model folder")
    try:
        provenance = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
        files = dict(provenance["files"])
        if provenance.pop("seal", None) not in (None, _seal(provenance)):  # None: from before there were seals
            raise ValueError("it does not fit its own SHA-256")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadModel(f"{folder}/provenance.json: not readable ({error}); copy the model folder again") from error
    _refuse_unlisted(folder, files)
    for file, digest in files.items():
        path = folder / file
        if not path.is_file():
            raise BadModel(f"{folder}: {file} is missing; copy the model folder again")
        if _sha256(path) != digest:
            raise BadModel(f"{folder}: {file} differs from its SHA-256 in provenance.json; copy the model folder again")
    return folder, provenance, hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()


def _refuse_unlisted(folder: Path, files: Mapping[str, str]) -> None:
    """Raise BadModel for a file that provenance.json does not list: a library might load it. Hidden files never are."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        known = name.as_posix() in files or path.name == "README.md" or str(name) == "provenance.json"
        hidden = any(part.startswith(".") for part in name.parts)
        if not (known or hidden or (path.is_dir() and not path.is_symlink())):
            raise BadModel(f"{folder}: {name} is not listed in provenance.json; remove it, or copy the folder again")


def pretrained(kind: Any, folder: Path) -> Any:
    """The network of the class `kind` in a folder, ready to use."""
    from diffusers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()  # it would draw what is missing at random, and warn
    try:
        network, told = kind.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, low_cpu_mem_usage=False, output_loading_info=True
        )
    finally:
        logging.set_verbosity(before)
    for what in ("missing", "unexpected", "mismatched"):
        if told[f"{what}_keys"]:
            raise ValueError(f"{what} weights: {told[f'{what}_keys'][0]}")
    return network.eval()


def _seal(provenance: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(provenance, sort_keys=True).encode()).hexdigest()


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_json(path: Path, value: Any) -> None:
    """Write `value` as JSON for people to read and compare."""
    path.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n", encoding="utf-8")
