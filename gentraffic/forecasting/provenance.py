"""The provenance of a fitted forecaster, from which its card is made."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gentraffic import __version__
from gentraffic.dataset.schema import credits_of
from gentraffic.forecasting.fit import Fitted
from gentraffic.forecasting.task import Plan
from gentraffic.generators.cards import facts_of, origin
from gentraffic.training.fitting import machine

if TYPE_CHECKING:
    import xarray as xr


def provenance_of(
    traffic: Sequence[Path | xr.Dataset],
    fitted: Fitted,
    services: Sequence[str],
    plan: Plan,
    command: str,
    per_day: int,
    split: tuple[float, float],
) -> dict[str, Any]:
    """What provenance.json says, without scores and hashes of the model's files. traffic: what was fitted on, files or
    Datasets."""
    data = [origin(given) if isinstance(given, Path) else origin_in_memory(given) for given in traffic]
    return {
        "gentraffic_version": __version__,
        "data": data,
        "attribution": credits_of(part["attribution"] for part in data),
        "forecaster": fitted.name,
        "services": list(services),
        "minutes_per_step": 1440 / per_day,
        "split": list(split),
        "seed": plan.seed,
        "plan": fitted.metadata.get("plan", asdict(plan)),
        "command": command,
        "machine": machine(),
        **{key: value for key, value in fitted.metadata.items() if key != "plan"},
    }


def origin_in_memory(ds: xr.Dataset) -> dict[str, Any]:
    """As `gentraffic.generators.cards.origin` for a traffic Dataset ([member,] cell, time) that is no file: the hash is
    that of its cell ids, times and values."""
    digest = hashlib.sha256(repr(ds["cell_id"].values.tolist()).encode())
    digest.update(ds["time"].values.tobytes())
    for name in ds.data_vars:
        digest.update(str(name).encode() + ds[name].values.tobytes())
    return {
        "file": "in memory",
        "sha256": digest.hexdigest(),
        "title": str(ds.attrs.get("title", "")) or "traffic in memory",
        "license": str(ds.attrs.get("license", "not stated")),
        "attribution": str(ds.attrs.get("attribution", "")),
        **facts_of(ds),
    }
