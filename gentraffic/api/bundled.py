"""`gentraffic.bundled`: the models and cities that come with the package, and what other packages register."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from gentraffic.api.language import speaks_python
from gentraffic.api.result import Shown


@dataclass(frozen=True)
class BundledModel:
    """A model that comes with the package.

    trained_on, licenses: titles and licences of its data. habits: what `rhythm` can name. parameters: count of its
    weights. card: path of its model card.
    """

    name: str
    trained_on: Sequence[str]
    habits: Sequence[str]
    licenses: Sequence[str]
    parameters: int | None
    card: str


@dataclass(frozen=True)
class Bundled(Shown):
    """The models and the cities that need no network. plug_ins: name, kind (generator, sampler, forecaster) and package
    of what is installed beside them."""

    models: tuple[BundledModel, ...]
    cities: tuple[str, ...]
    plug_ins: tuple[dict[str, str], ...] = ()
    title: str = "Models that come with the package"

    def rows(self) -> list[tuple[str, ...]]:
        """A row per model: its weights, its data, and the rhythms that can be named."""
        head = ("model", "weights", "trained on", "rhythms")
        return [
            head,
            *((m.name, str(m.parameters or "none"), "; ".join(m.trained_on), ", ".join(m.habits)) for m in self.models),
        ]

    def sentences(self) -> Sequence[str]:
        """The cities, and the plug-ins."""
        found = [f"{one['name']} ({one['kind']} of {one['package']})" for one in self.plug_ins]
        return [f"cities: {', '.join(self.cities)}", *([f"of installed packages: {', '.join(found)}"] if found else [])]

    def text(self) -> list[str]:
        """Lines for a terminal: each model with its data and rhythms, the cities, and the plug-ins."""
        lines = []
        for model in self.models:
            lines += [f"{model.name}: {model.parameters} weights, trained on", *(f"    {t}" for t in model.trained_on)]
            lines.append(f"    rhythms that --rhythm can name: {', '.join(model.habits)}")
        return [*lines, *self.sentences()]

    def to_json(self) -> dict[str, Any]:
        """What `--json` prints: models, cities, plug_ins."""
        models = [asdict(model) for model in self.models]
        return {"models": models, "cities": list(self.cities), "plug_ins": list(self.plug_ins)}


@speaks_python
def bundled() -> Bundled:
    """The models and cities that come with the package, what each model was trained on, and the plug-ins of others."""
    from gentraffic.generators.base import GROUPS, MODELS, bundled_models, plug_ins
    from gentraffic.places.find import bundled_cities

    models = []
    for name in bundled_models():
        known = json.loads((MODELS / name / "provenance.json").read_text(encoding="utf-8"))
        levels = json.loads((MODELS / name / "level.json").read_text(encoding="utf-8"))
        data = known.get("data", [])
        models.append(
            BundledModel(
                name,
                trained_on=list(dict.fromkeys(part["title"] for part in data)),
                habits=levels["order"],
                licenses=sorted({part["license"] for part in data}),
                parameters=known.get("parameters"),
                card=str(MODELS / name / "README.md"),
            )
        )
    installed = tuple({"name": one.name, "kind": one.kind, "package": one.package} for one in plug_ins(*GROUPS))
    return Bundled(tuple(models), tuple(bundled_cities()), installed)
