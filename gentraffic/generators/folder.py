"""A trained model as a folder that anyone can load: networks, schedule, scalers, provenance, card. No pickle.

stunet/            config.json, diffusion_pytorch_model.safetensors; `network/` for other samplers than STOUTER
temporal_graph/    GraphMAE over the hours of the week      station_graph/   GraphMAE over cells or stations
scheduler/         scheduler_config.json, where the sampler draws by diffusion: for those who load the network
                   with diffusers; gentraffic reads stunet/config.json, and looks only whether the file is there
scaler.json        traffic scaling      level.json   the level model (gentraffic/modelling/levels.py)
week.json          the expected weeks of each network      services.json    further services, in a model of several
provenance.json    sampler (a key of `samplers.SAMPLERS`), data, licences, hashes of every file, code version, seed,
                   metrics beside the naive rows
README.md          the model card
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from gentraffic.dataset.memmap import Disk
from gentraffic.dataset.schema import IN_MEMORY, Memory
from gentraffic.errors import BadModel, WrongUse
from gentraffic.generators.base import (
    Family,
    ModelFolder,
    ModelInfo,
    Settings,
    fields_of,
    read_folder,
    write_json,
    writing_folder,
)
from gentraffic.modelling.expected_week import ExpectedWeeks
from gentraffic.modelling.features import Scaler, WeeklyProfile
from gentraffic.modelling.levels import LevelModel
from gentraffic.modelling.services import Services

if TYPE_CHECKING:
    import torch
    import xarray as xr

    from gentraffic.dataset.calendar import Calendar
    from gentraffic.generators.observed import Observations
    from gentraffic.generators.weekly import WeeklyDraw
    from gentraffic.modelling.features import Places
    from graphs.graphmae import GraphMAE
    from samplers import Denoiser, Sampler

SCHEDULE = "scheduler/scheduler_config.json"
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
    services: Services = field(default_factory=Services)

    @property
    def info(self) -> ModelInfo:
        """What it is and can do."""
        layers, denoises = self.station.config["layers"], not self.model.is_one_shot()
        described = _info(self.sampler, self.provenance, self.networks, self.model.config, layers, self, denoises)
        return _with_weeks(described, self.weeks, self.services)

    def prepare(
        self, context: xr.Dataset, calendar: Calendar, settings: Settings, *, cells: Sequence[int] | None = None,
        observed: Observations | None = None, scratch: Path | None = None,
    ) -> WeeklyDraw:  # fmt: skip
        """As `gentraffic.generators.base.Generator`. observed: its history, where the model follows a past, or what is
        known."""
        from gentraffic.generators.weekly import WeeklyDraw, prepare_inputs

        history, scale, units = None, 1.0, "1"
        if observed is not None and observed.history is not None:
            from gentraffic.dataset.schema import check_traffic
            from gentraffic.modelling.features import read_places
            from gentraffic.modelling.history import read_history

            check_traffic(observed.history)
            history = read_history(observed.history, observed.service)
            scale = history.unit(self.levels, read_places(context), context["cell_id"].values)
            scale *= history.step_factor(calendar.per_hour)
            units = history.units
        known = None
        if observed is not None and observed.known is not None:
            from gentraffic.modelling.known_cells import read_known

            off = tuple(int(day) for day, _ in settings.holidays)
            zone, name, ds = str(context.attrs["timezone"]), str(observed.service), observed.known
            units = str(ds[name].attrs["units"])
            known = partial(read_known, ds, name, calendar=calendar, timezone=zone, days_off=off)
        store = IN_MEMORY if scratch is None else Disk(scratch, named=True)
        inputs = prepare_inputs(
            self, context, calendar, settings, cells=cells, history=history, known=known, store=store
        )
        return WeeklyDraw(*inputs, units, scale)

    def time(self) -> torch.Tensor:
        """The time embedding F_t of the 168 hours of the week (STOUTER eq. 1): (168, Q)."""
        from gentraffic.generators.weekly import time_embedding

        return time_embedding(self.temporal)

    def place(self, places: Places, store: Memory = IN_MEMORY) -> NDArray[np.float32]:
        """The station embedding F_s (STOUTER eq. 2) of every cell of a context: (cells, P). store: where they lie."""
        from gentraffic.generators.weekly import place_embedding

        return place_embedding(self.station, places, self.levels, store)


def save_bundle(bundle: Bundle, folder: Path, card: str) -> None:
    """Write the folder whole: beside its place first, then renamed; an older bundle there is replaced.

    Raises BadInput where another folder stands there, or it cannot be written.
    """
    with writing_folder(folder, {**bundle.provenance, "sampler": bundle.sampler}, card) as temporary:
        bundle.model.save_pretrained(temporary / FOLDERS.get(bundle.sampler, "network"))
        bundle.temporal.save_pretrained(temporary / "temporal_graph")
        bundle.station.save_pretrained(temporary / "station_graph")
        if not bundle.model.is_one_shot():
            cast("Denoiser", bundle.model).noise.scheduler().save_pretrained(temporary / "scheduler")
        write_json(temporary / "scaler.json", asdict(bundle.scaler))
        write_json(temporary / "level.json", {"order": list(bundle.networks), "levels": bundle.levels.to_json()})
        if bundle.weeks.networks:
            write_json(temporary / "week.json", bundle.weeks.to_json())
        if bundle.services.further:
            write_json(temporary / "services.json", bundle.services.to_json())


def load_bundle(name: str | Path) -> Bundle:
    """Load a bundled model by name or a model folder. Every file is checked against the hashes in provenance.json.

    Raises BadModel for a name or folder that does not exist, a missing or changed file, or a folder of another make.
    """
    return Weekly.load(read_folder(name))


def network_of(folder: ModelFolder) -> tuple[Sampler, Scaler]:
    """What draws, without what embeds places: the network and its scaling. Raises BadModel."""
    from samplers.sampler import sampler_class

    sampler = _sampler(folder)
    with folder.understanding():
        return folder.network(sampler_class(sampler), FOLDERS.get(sampler, "network")), _scaler(folder)


def describe(folder: ModelFolder) -> ModelInfo:
    """What the model in a folder is and can do, without loading its network. Raises BadModel."""
    sampler = _sampler(folder)
    with folder.understanding():
        config = folder.json(f"{FOLDERS.get(sampler, 'network')}/config.json")
        layers = folder.json("station_graph/config.json")["layers"]
        denoises = SCHEDULE in folder.files  # which `save_bundle` writes for these alone
        info = _info(sampler, folder.provenance, folder.json("level.json")["order"], config, layers, folder, denoises)
        return _with_weeks(info, _weeks(folder), _services(folder))


def _info(
    sampler: str, provenance: Mapping[str, Any], networks: Sequence[str], config: Mapping[str, Any], layers: int,
    folder: ModelFolder | Bundle, denoises: bool,
) -> ModelInfo:  # fmt: skip
    """`ModelInfo` of a sampler of `samplers.SAMPLERS` from its configuration. denoises: it draws in many steps."""
    recommended = Settings(
        steps=int(provenance.get("recommended_steps", Settings().steps)),
        solver=str(provenance.get("recommended_solver", Settings().solver)),
    )
    supports = {"change", "rhythm", "device", "precision", "workers", "guidance"}
    fixed: dict[str, Any] = {}
    supports.add("history" if config.get("use_profile") else "holidays")
    if "distilled_from" in provenance:
        supports.discard("guidance")
        fixed = {"steps": recommended.steps, "solver": recommended.solver, "guidance": 1.0}
    elif not denoises:  # one call of the network
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


def _with_weeks(info: ModelInfo, weeks: ExpectedWeeks, services: Services) -> ModelInfo:
    """The same, of a model that knows these expected weeks and further services."""
    if weeks.networks:  # from which measured weeks can be told to depart
        info = replace(info, measured=weeks.measured, supports=info.supports | {"known"})
    if not services.further:
        return info
    supports = info.supports | {"services"}
    return replace(
        info,
        services=services.names,
        amounts=services.amounts,
        supports=supports,
        service_networks={name: services.measured_in(name) for name in services.further},
    )


def _sampler(folder: ModelFolder) -> str:
    from samplers import SAMPLERS, sampler_names

    sampler = str(folder.provenance.get("sampler", "stouter"))
    known = sampler in SAMPLERS or sampler in sampler_names()
    if not known or "forecaster" in folder.provenance:
        kind = folder.provenance.get("forecaster", sampler)
        raise BadModel(
            f"{folder.path} holds the model {kind!r}: give one of {', '.join(sampler_names())}, or install the package "
            "that has it"
        )
    return sampler


def _weeks(folder: ModelFolder) -> ExpectedWeeks:
    """None in a folder of before there were any, or of another sampler: its network draws whole weeks."""
    if not (folder.path / "week.json").is_file():
        return ExpectedWeeks()
    return ExpectedWeeks.from_json(folder.json("week.json"))


def _services(folder: ModelFolder) -> Services:
    """Those beside the main one: none in most folders."""
    if "services.json" not in folder.files:
        return Services()
    return Services.from_json(folder.json("services.json"))


def _scaler(folder: ModelFolder) -> Scaler:
    payload = folder.json("scaler.json")
    usual = payload.pop("usual", None)
    return fields_of(Scaler, payload, usual=None if usual is None else fields_of(WeeklyProfile, usual))


class Weekly(Family):
    """Loads `Bundle`: the samplers of `samplers.SAMPLERS`."""

    @staticmethod
    def load(folder: ModelFolder | None) -> Bundle:
        """The model in a folder. Raises BadModel."""
        from graphs.graphmae import GraphMAE
        from samplers.sampler import sampler_class

        folder = _needed(folder)
        sampler = _sampler(folder)
        with folder.understanding():
            level = folder.json("level.json")
            return Bundle(
                model=folder.network(sampler_class(sampler), FOLDERS.get(sampler, "network")),
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
                services=_services(folder),
            )

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
        from gentraffic.modelling.known_cells import KnownWeeks

        network, scaler = network_of(folder)
        names = ("ids", "place", "log_level", "level", "past", "past_days", "week_scores", "xy_m")
        rows: dict[str, Any] = {name: arrays.get(name) for name in names}
        rows["rhythms"] = tuple(arrays["rhythms"].tolist())
        rows["told"] = bool(arrays["told"])
        told = {name.removeprefix("known_"): values for name, values in arrays.items() if name.startswith("known_")}
        rows["known"] = KnownWeeks(**told) if told else None
        time = torch.from_numpy(np.array(arrays["time"]))
        with folder.understanding():
            networks, weeks, services = tuple(folder.json("level.json")["order"]), _weeks(folder), _services(folder)
        part, main = settings.service, weeks
        scaler, weeks = services.scalers.get(part, scaler), services.weeks.get(part, weeks)
        shared = SharedInputs(network, scaler, time, networks, calendar, settings, weeks, services, main.shared)
        return WeeklyDraw(Region(**rows), shared, str(arrays["units"]), float(arrays["scale"]))


def _needed(folder: ModelFolder | None) -> ModelFolder:
    if folder is None:
        raise WrongUse("this family draws from a model folder: give one with --model")
    return folder
