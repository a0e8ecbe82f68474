"""What a report takes over from the card of the model that drew the traffic."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gentraffic.errors import BadModel

if TYPE_CHECKING:
    import xarray as xr

TRUST = "What to trust and what not"
NAIVE = ("knn-20", "bootstrap")  # the naive rows that a reader may want beside the model


@dataclass(frozen=True)
class Card:
    """trust: the sentences of the card's section of that title. rows: (row, network, coverage_90, crps) on places that
    training never saw. trained_on: titles of the data. note: why there is less, "" where there is all."""

    name: str
    trust: tuple[str, ...] = ()
    rows: tuple[tuple[str, str, float, float], ...] = ()
    trained_on: tuple[str, ...] = ()
    note: str = ""


def find_card(ds: xr.Dataset, model: str | Path | None = None) -> Card | None:
    """The card of the model that the attributes name, or that `model` names; None where no model drew the traffic.

    Raises BadModel where `model` is given and is not the one that drew it.
    """
    from gentraffic.generators.model_folder import read_folder

    said = str(ds.attrs.get("model", ""))
    if not said and model is None:
        return None
    try:
        read = read_folder(model if model is not None else said)
    except BadModel:
        if model is not None:
            raise
        return Card(said, note=f"the card of {said} is not on this machine: give its folder with --model")
    held = str(ds.attrs.get("model_sha256", read.sha256))
    if held != read.sha256:
        if model is not None:
            raise BadModel(f"{model} is not the model that drew this traffic: its SHA-256 differs from model_sha256")
        return Card(said, note=f"the {said} of this machine is another version than the one that drew this traffic")
    text = (read.path / "README.md").read_text(encoding="utf-8") if (read.path / "README.md").is_file() else ""
    provenance = dict(read.provenance)
    return Card(said or read.path.name, bullets(text, TRUST), _rows(provenance), _trained(provenance))


def bullets(markdown: str, title: str) -> tuple[str, ...]:
    """The items of the list below a heading, without marks."""
    match = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", markdown, re.MULTILINE | re.DOTALL)
    if not match:
        return ()
    items = re.split(r"^- ", match[1], flags=re.MULTILINE)[1:]
    return tuple(" ".join(item.replace("`", "").split()) for item in items)


def _rows(provenance: dict[str, Any]) -> tuple[tuple[str, str, float, float], ...]:
    """(row, network, coverage_90, crps) of the model and of naive rows, network by network."""
    metrics = provenance.get("metrics") or {}
    own = [name for name in metrics if name == provenance.get("sampler", "stouter")]
    rows = [name for name in (*own, *NAIVE) if name in metrics]
    networks = sorted({network for name in rows for network in metrics[name]})
    return tuple(
        (name, network, float(metrics[name][network]["coverage_90"]), float(metrics[name][network]["crps"]))
        for network in networks
        for name in rows
        if network in metrics[name]
    )


def _trained(provenance: dict[str, Any]) -> tuple[str, ...]:
    titles = (str(part.get("title", "")) for part in provenance.get("data", []))
    return tuple(dict.fromkeys(t for t in titles if t and not t.startswith("Points of interest")))
