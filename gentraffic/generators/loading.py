"""The families of generators, and the one way to load a model. Importing this loads no network."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gentraffic.errors import BadModel
from gentraffic.generators.model_folder import ModelFolder, read_folder

if TYPE_CHECKING:
    from gentraffic.generators.base import Family, Generator, ModelInfo

ENTRY_POINTS = "gentraffic.generators"
FAMILIES = {  # a key of provenance.json's `sampler` -> the subclass of Family that loads it
    "stouter": "gentraffic.generators.folder:Weekly",
    "vae": "gentraffic.generators.folder:Weekly",
    "tcn-gan": "gentraffic.generators.folder:Weekly",
    "diffwave": "gentraffic.generators.folder:Weekly",
    "fomo": "gentraffic.generators.fomo.generator:FoMoFamily",
    "bootstrap": "gentraffic.generators.naive:Naive",
    "knn": "gentraffic.generators.naive:Naive",
    "climatology": "gentraffic.generators.naive:Naive",
}


def load_model(name: str | Path) -> Generator:
    """The generator of a bundled name, a model folder, or a family that another package registers.

    Raises BadModel.
    """
    folder, family = find(name)
    return family.load(folder)


def describe(name: str | Path) -> ModelInfo:
    """What the model of a name or folder is and can do, without loading its networks where its family can tell so."""
    folder, family = find(name)
    return family.describe(folder)


def find(name: str | Path) -> tuple[ModelFolder | None, type[Family]]:
    """The checked folder of a model, and what loads it; no folder where `name` is a family of another package."""
    plugged = {point.name: point for point in entry_points(group=ENTRY_POINTS)}
    if isinstance(name, str) and name in plugged and not (Path(name) / "provenance.json").is_file():
        return None, plugged[name].load()
    folder = read_folder(name)
    return folder, family_of(folder)


def family_of(folder: ModelFolder) -> type[Family]:
    """What loads a model folder. Raises BadModel for a family that nobody has registered."""
    kind = str(folder.provenance.get("forecaster") or folder.provenance.get("sampler", "stouter"))
    if "forecaster" not in folder.provenance:
        if kind in FAMILIES:
            module, _, cls = FAMILIES[kind].partition(":")
            found: Any = getattr(import_module(module), cls)
            return found  # type: ignore[no-any-return]
        for point in entry_points(group=ENTRY_POINTS, name=kind):
            return point.load()  # type: ignore[no-any-return]
    raise BadModel(f"{folder.path} holds the model {kind!r}: give one of {', '.join(FAMILIES)}")
