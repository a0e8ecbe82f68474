"""A trained FoMo as a folder: the transformer, its schedule, scales, the level model, provenance, card. No pickle.

fomo/          config.json, diffusion_pytorch_model.safetensors      scheduler/   scheduler_config.json (diffusers)
scaler.json    usual weeks, traffic per user, standardisation        level.json   the level model (modelling/levels.py)
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gentraffic.errors import BadModel
from gentraffic.generators.folder import Bundle, load_bundle, pretrained, read_folder, write_json, writing_folder
from gentraffic.generators.fomo.scale import FoMoScale
from gentraffic.modelling.levels import LevelModel
from samplers.fomo import FoMo

SAMPLER = "fomo"


@dataclass(frozen=True)
class FoMoBundle:
    """Everything that `sample --model` needs of a FoMo."""

    model: FoMo
    scale: FoMoScale
    levels: LevelModel
    provenance: dict[str, Any] = field(default_factory=dict)
    sha256: str = ""

    @property
    def networks(self) -> tuple[str, ...]:
        """Names of the measured networks, index 0 being network 1 of the model."""
        return self.scale.networks


def is_fomo(provenance: Mapping[str, Any]) -> bool:
    """Whether a model folder's provenance names a FoMo."""
    return provenance.get("sampler") == SAMPLER


def save_fomo(bundle: FoMoBundle, folder: Path, card: str) -> None:
    """Write the folder whole. Raises BadInput where another folder stands there, or it cannot be written."""
    with writing_folder(folder, {**bundle.provenance, "sampler": SAMPLER}, card) as temporary:
        bundle.model.save_pretrained(temporary / "fomo")
        bundle.model.noise.scheduler().save_pretrained(temporary / "scheduler")
        write_json(temporary / "scaler.json", bundle.scale.to_json())
        write_json(temporary / "level.json", {"order": list(bundle.networks), "levels": bundle.levels.to_json()})


def load_fomo(name: str | Path) -> FoMoBundle:
    """Load a bundled FoMo by name, or a folder; every file is checked. Raises BadModel for anything else."""
    folder, provenance, sha256 = read_folder(name)
    if not is_fomo(provenance):
        raise BadModel(f"{folder} holds no FoMo but {provenance.get('sampler', 'stouter')!r}: give a FoMo model")
    try:
        return FoMoBundle(
            model=pretrained(FoMo, folder / "fomo"),
            scale=FoMoScale.from_json(json.loads((folder / "scaler.json").read_text(encoding="utf-8"))),
            levels=LevelModel.from_json(json.loads((folder / "level.json").read_text(encoding="utf-8"))["levels"]),
            provenance=provenance,
            sha256=sha256,
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadModel(f"{folder}: not a model of this version ({error})") from error


def load_any(name: str | Path) -> Bundle | FoMoBundle:
    """The model of a name or folder, whichever sampler it is. Raises BadModel."""
    return load_fomo(name) if is_fomo(read_folder(name)[1]) else load_bundle(name)
