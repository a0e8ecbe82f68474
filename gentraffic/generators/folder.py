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

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gentraffic.errors import BadModel, WrongUse
from gentraffic.generators.base import Family, ModelInfo, Settings
from gentraffic.generators.model_folder import ModelFolder, fields_of, read_folder, write_json, writing_folder
from gentraffic.io.memmap import rows_of_file, trim_heap
from gentraffic.modelling.expected_week import ExpectedWeeks
from gentraffic.modelling.features import Places, Scale
from gentraffic.modelling.levels import LevelModel
from gentraffic.modelling.transform import Scaler, WeeklyProfile

if TYPE_CHECKING:
    import torch
    import xarray as xr

    from gentraffic.dataset.calendar import Calendar
    from gentraffic.generators.observed import Observations
    from gentraffic.generators.weekly import WeeklyDraw
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
    location: str = ""
    weeks: ExpectedWeeks = field(default_factory=ExpectedWeeks)

    @property
    def info(self) -> ModelInfo:
        """What it is and can do."""
        layers = self.station.config["layers"]
        told = _info(self.sampler, self.provenance, self.networks, self.model.config, layers, self)
        return replace(told, measured=self.weeks.measured)

    def prepare(
        self, context: xr.Dataset, calendar: Calendar, settings: Settings, *, cells: Sequence[int] | None = None,
        observed: Observations | None = None, scratch: Path | None = None,
    ) -> WeeklyDraw:  # fmt: skip
        """As `gentraffic.generators.base.Generator`. observed: its history, where the model follows a past."""
        from gentraffic.generators.weekly import prepare

        return prepare(self, context, calendar, settings, cells=cells, observed=observed, scratch=scratch)

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
    from graphs.build import temporal_graph

    graph = temporal_graph()
    embedding = temporal.embed(graph.x, graph.edge_index)
    return (embedding - embedding.mean(0)) / embedding.std(0).clamp(min=1e-6)


def station_scale(places: Places, levels: LevelModel | None) -> Scale:
    """How log POI counts are standardised for the station graph: `LevelModel.scale`, of the counts alone."""
    scale = (levels or LevelModel({})).scale(places)
    categories = places.poi_count.shape[1]
    return Scale(scale.mean[:categories], scale.spread[:categories])


def station_features(places: Places, scale: Scale, rows: Any = slice(None)) -> NDArray[np.float32]:
    """Node features of the station graph: standardised log POI counts, of all cells or of some rows: (rows, 8)."""
    return scale(np.log1p(places.poi_count[rows], dtype=np.float64)).astype(np.float32)


def place_embedding(
    station: GraphMAE, places: Places, levels: LevelModel | None, path: Path | None = None
) -> NDArray[np.float32]:
    """F_s (cells, P) of a whole context. Where `path` is given, that .npy file, which holds them, mapped."""
    from graphs.build import embed_stations, embedded_squares

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
        if bundle.weeks.networks:
            write_json(temporary / "week.json", bundle.weeks.to_json())


def load_bundle(name: str | Path) -> Bundle:
    """Load a bundled model by name or a model folder. Every file is checked against the hashes in provenance.json.

    Raises BadModel for a name or folder that does not exist, a missing or changed file, or a folder of another make.
    """
    return bundle_of(read_folder(name))


def bundle_of(folder: ModelFolder) -> Bundle:
    """The model in a folder that is read. Raises BadModel."""
    from graphs.graphmae import GraphMAE

    sampler = _sampler(folder)
    with folder.understanding():
        level = folder.json("level.json")
        return Bundle(
            model=_network(folder, sampler),
            temporal=folder.network(GraphMAE, "temporal_graph"),
            station=folder.network(GraphMAE, "station_graph"),
            scaler=_scaler(folder),
            levels=LevelModel.from_json(level["levels"]),
            networks=tuple(level["order"]),
            provenance=dict(folder.provenance),
            sha256=folder.sha256,
            sampler=sampler,
            location=folder.location,
            weeks=_weeks(folder),
        )


def network_of(folder: ModelFolder) -> tuple[Sampler, Scaler]:
    """What draws, without what embeds places: the network and its scaling. Raises BadModel."""
    with folder.understanding():
        return _network(folder, _sampler(folder)), _scaler(folder)


def describe(folder: ModelFolder) -> ModelInfo:
    """What the model in a folder is and can do, without loading its network. Raises BadModel."""
    sampler = _sampler(folder)
    with folder.understanding():
        config = folder.json(f"{FOLDERS.get(sampler, 'network')}/config.json")
        layers = folder.json("station_graph/config.json")["layers"]
        told = _info(sampler, folder.provenance, folder.json("level.json")["order"], config, layers, folder)
        return replace(told, measured=_weeks(folder).measured)


def _info(
    sampler: str, provenance: Mapping[str, Any], networks: Sequence[str], config: Mapping[str, Any], layers: int,
    folder: ModelFolder | Bundle,
) -> ModelInfo:  # fmt: skip
    """`ModelInfo` of a sampler of `samplers.SAMPLERS` from its configuration."""
    recommended = Settings(
        steps=int(provenance.get("recommended_steps", Settings().steps)),
        solver=str(provenance.get("recommended_solver", Settings().solver)),
    )
    supports = {"change", "rhythm", "device", "workers", "guidance"}
    fixed: dict[str, Any] = {}
    if config.get("use_profile"):
        supports.add("history")
    if "distilled_from" in provenance:
        supports.discard("guidance")
        fixed = {"steps": recommended.steps, "solver": recommended.solver, "guidance": 1.0}
    elif "num_train_timesteps" not in config:  # no diffusion: one call of the network
        fixed = {"steps": 1}
        recommended = replace(recommended, steps=1, solver="")
    else:
        supports |= {"steps", "solver"}
    return ModelInfo(
        location=folder.location,
        family=sampler,
        networks=tuple(networks),
        services=tuple(provenance.get("services", ("traffic",))),
        cadences=tuple(60 // k for k in config["cadences"]),
        supports=frozenset(supports),
        fixed=fixed,
        recommended=recommended,
        graph_layers=int(layers),
        sha256=folder.sha256,
        provenance=provenance,
    )


def _sampler(folder: ModelFolder) -> str:
    from samplers import SAMPLERS

    sampler = str(folder.provenance.get("sampler", "stouter"))
    if sampler not in SAMPLERS or "forecaster" in folder.provenance:
        kind = folder.provenance.get("forecaster", sampler)
        raise BadModel(f"{folder.path} holds the model {kind!r}: give one of {', '.join(SAMPLERS)}")
    return sampler


def _network(folder: ModelFolder, sampler: str) -> Any:
    from samplers import SAMPLERS

    return folder.network(SAMPLERS[sampler], FOLDERS.get(sampler, "network"))


def _weeks(folder: ModelFolder) -> ExpectedWeeks:
    """None in a folder of before there were any, or of another sampler: its network draws whole weeks."""
    if not (folder.path / "week.json").is_file():
        return ExpectedWeeks()
    return ExpectedWeeks.from_json(folder.json("week.json"))


def _scaler(folder: ModelFolder) -> Scaler:
    told = folder.json("scaler.json")
    usual = told.pop("usual", None)
    return fields_of(Scaler, told, usual=None if usual is None else fields_of(WeeklyProfile, usual))


class Weekly(Family):
    """Loads `Bundle`: the samplers of `samplers.SAMPLERS`."""

    @staticmethod
    def load(folder: ModelFolder | None) -> Bundle:
        """The model in a folder. Raises BadModel."""
        return bundle_of(_needed(folder))

    @classmethod
    def describe(cls, folder: ModelFolder | None) -> ModelInfo:
        """Without loading the network."""
        return describe(_needed(folder))

    @classmethod
    def reopen(
        cls, folder: ModelFolder, arrays: Mapping[str, NDArray[Any]], calendar: Calendar, settings: Settings
    ) -> WeeklyDraw:
        """The draw of `WeeklyDraw.arrays`: loads what draws, and nothing of what embeds places.

        arrays: by name (any shape), as that function gives them.
        """
        import torch

        from gentraffic.generators.weekly import Region, SharedInputs, WeeklyDraw

        network, scaler = network_of(folder)
        names = ("ids", "place", "log_level", "level", "past", "past_days", "around")
        rows: dict[str, Any] = {name: arrays.get(name) for name in names}
        rows |= {"rhythms": tuple(arrays["rhythms"].tolist()), "source": str(arrays["source"])}
        time = torch.from_numpy(np.array(arrays["time"]))
        with folder.understanding():
            networks, weeks = tuple(folder.json("level.json")["order"]), _weeks(folder)
        shared = SharedInputs(network, scaler, time, networks, calendar, settings, weeks)
        return WeeklyDraw(Region(**rows), shared, str(arrays["units"]), float(arrays["scale"]))


def _needed(folder: ModelFolder | None) -> ModelFolder:
    if folder is None:
        raise WrongUse("this family draws from a model folder: give one with --model")
    return folder
