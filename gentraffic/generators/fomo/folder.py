"""A trained FoMo as a folder: the transformer, its schedule, scales, the level model, provenance, card. No pickle.

fomo/          config.json, diffusion_pytorch_model.safetensors      scheduler/   scheduler_config.json (diffusers)
scaler.json    usual weeks, traffic per user, standardisation        level.json   the level model (modelling/levels.py)
week.json      the weeks that places tell (modelling/expected_week.py); folders of before have none
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gentraffic.errors import BadModel
from gentraffic.generators.base import FOMO, ModelFolder, ModelInfo, Settings, read_folder, write_json, writing_folder
from gentraffic.generators.fomo.scale import FoMoScale
from gentraffic.modelling.expected_week import ExpectedWeeks
from gentraffic.modelling.levels import LevelModel
from samplers.fomo import FoMo

if TYPE_CHECKING:
    import xarray as xr

    from gentraffic.dataset.calendar import Calendar
    from gentraffic.generators.fomo.drawing import FoMoDraw
    from gentraffic.generators.observed import Observations

SAMPLER = "fomo"


@dataclass(frozen=True)
class FoMoBundle:
    """Everything that `sample --model` needs of a FoMo."""

    model: FoMo
    scale: FoMoScale
    levels: LevelModel
    provenance: dict[str, Any] = field(default_factory=dict)
    sha256: str = ""
    location: str = ""
    weeks: ExpectedWeeks = field(default_factory=ExpectedWeeks)

    @property
    def info(self) -> ModelInfo:
        """What it is and can do."""
        return info_of(self.networks, self.model.config, self, self.weeks)

    def prepare(
        self, context: xr.Dataset, calendar: Calendar, settings: Settings, *, cells: Sequence[int] | None = None,
        observed: Observations | None = None, scratch: Path | None = None,
    ) -> FoMoDraw:  # fmt: skip
        """As `gentraffic.generators.base.Generator`. observed: history, known or users."""
        from gentraffic.generators.fomo.drawing import prepare

        return prepare(self, context, calendar, settings, cells=cells, observed=observed)

    @property
    def networks(self) -> tuple[str, ...]:
        """Names of the measured networks, index 0 being network 1 of the model."""
        return self.scale.networks


def save_fomo(bundle: FoMoBundle, folder: Path, card: str) -> None:
    """Write the folder whole. Raises BadInput where another folder stands there, or it cannot be written."""
    with writing_folder(folder, {**bundle.provenance, "sampler": SAMPLER}, card) as temporary:
        bundle.model.save_pretrained(temporary / "fomo")
        bundle.model.noise.scheduler().save_pretrained(temporary / "scheduler")
        write_json(temporary / "scaler.json", bundle.scale.to_json())
        write_json(temporary / "week.json", bundle.weeks.to_json())
        write_json(temporary / "level.json", {"order": list(bundle.networks), "levels": bundle.levels.to_json()})


def load_fomo(name: str | Path) -> FoMoBundle:
    """Load a bundled FoMo by name, or a folder; every file is checked. Raises BadModel for anything else."""
    return fomo_of(read_folder(name))


def fomo_of(folder: ModelFolder) -> FoMoBundle:
    """The FoMo in a folder that is read. Raises BadModel."""
    kind = folder.provenance.get("forecaster") or folder.provenance.get("sampler", "stouter")
    if kind != SAMPLER:
        raise BadModel(f"{folder.path} holds no FoMo but {kind!r}: give a FoMo model")
    with folder.understanding():
        return FoMoBundle(
            model=folder.network(FoMo, "fomo"),
            scale=FoMoScale.from_json(folder.json("scaler.json")),
            levels=LevelModel.from_json(folder.json("level.json")["levels"]),
            provenance=dict(folder.provenance),
            sha256=folder.sha256,
            location=folder.location,
            weeks=read_weeks(folder),
        )


def read_weeks(folder: ModelFolder) -> ExpectedWeeks:
    """The weeks that places tell; of a folder of before, none."""
    return ExpectedWeeks.from_json(folder.json("week.json") if "week.json" in folder.files else {})


def info_of(
    networks: Sequence[str], config: Mapping[str, Any], model: ModelFolder | FoMoBundle, weeks: ExpectedWeeks
) -> ModelInfo:
    """`ModelInfo` of a FoMo from its configuration."""
    return ModelInfo(
        location=model.location,
        family=SAMPLER,
        networks=tuple(networks),
        services=tuple(model.provenance.get("services", ("traffic",))),
        cadences=tuple(config["cadences"]),
        supports=frozenset(
            {"history", "known", "users", "rhythm", "steps", "solver", "guidance", "device", "precision"}
        ),
        recommended=replace(
            FOMO,
            steps=int(model.provenance.get("recommended_steps", FOMO.steps)),
            solver=str(model.provenance.get("recommended_solver", FOMO.solver)),
        ),
        continues_history=True,
        measured=weeks.measured,
        sha256=model.sha256,
        provenance=model.provenance,
    )
