"""What a report takes over from the provenance of the model that drew the traffic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gentraffic.errors import BadModel
from gentraffic.generators.cards import limits_of, measured, network_names, network_words

if TYPE_CHECKING:
    import xarray as xr

NAIVE = ("knn-20", "bootstrap")  # the naive rows that a reader may want beside the model


@dataclass(frozen=True)
class ModelSummary:
    """trust: what to trust and what not. rows: (row, network, coverage_90, crps) on places that training never saw.

    trained_on: the measured networks, in words. networks: their code names -> words. note: why there is less, "" where
    there is all.
    """

    name: str
    trust: tuple[str, ...] = ()
    rows: tuple[tuple[str, str, float, float], ...] = ()
    trained_on: tuple[str, ...] = ()
    networks: dict[str, str] = field(default_factory=dict)
    note: str = ""


def find_model(ds: xr.Dataset, model: str | Path | None = None) -> ModelSummary | None:
    """A summary of the model that the attributes name, or that `model` names; None where no model drew the traffic.

    Raises BadModel where `model` is given and is not the one that drew it.
    """
    from gentraffic.generators.base import read_folder

    named = str(ds.attrs.get("model", ""))
    if not named and model is None:
        return None
    try:
        read = read_folder(model if model is not None else named)
    except BadModel:
        if model is not None:
            raise
        return ModelSummary(named, note=f"the folder of {named} is not on this machine: name it with --model")
    held = str(ds.attrs.get("model_sha256", read.sha256))
    if held != read.sha256:
        if model is not None:
            raise BadModel(f"{model} is not the model that drew this traffic: its SHA-256 differs from model_sha256")
        return ModelSummary(named, note=f"the {named} of this machine is not the version that drew this traffic")
    return summary_of(named or read.path.name, read.provenance)


def summary_of(name: str, provenance: Mapping[str, Any]) -> ModelSummary:
    """The summary of a model of this provenance."""
    return ModelSummary(
        name,
        trust=tuple(sentence.replace("`", "") for sentence in limits_of(provenance)),
        rows=_rows(provenance),
        trained_on=tuple(dict.fromkeys(_dated(part) for part in measured(provenance))),
        networks={str(part["network"]): _dated(part) for part in measured(provenance) if part["network"]},
    )


def _dated(part: Mapping[str, Any]) -> str:
    """What a reader calls a network, and in which year it was measured: a network of ten years ago is another one."""
    words, year = network_words(part), str(part["first"])[:4]
    return f"{words} ({year})" if year and year not in words else words


def _rows(provenance: Mapping[str, Any]) -> tuple[tuple[str, str, float, float], ...]:
    """(row, network, coverage_90, crps) of the model and of naive rows, network by network."""
    metrics = provenance.get("metrics") or {}
    words = network_names(provenance)
    sampler = str(provenance.get("sampler", "stouter"))
    own = [name for name in metrics if name in (sampler, f"{sampler} (this model)")]
    rows = [name for name in (*own, *NAIVE) if name in metrics]
    networks = sorted({network for name in rows for network in metrics[name]})
    return tuple(
        (name, words.get(network, network), float(scores["coverage_90"]), float(scores["crps"]))
        for network in networks
        for name in rows
        if (scores := metrics[name].get(network)) is not None
    )
