"""The card and the provenance of a fitted forecaster."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gentraffic import __version__
from gentraffic.forecasting.fit import Fitted
from gentraffic.forecasting.task import Plan
from gentraffic.generators.cards import credits_of
from gentraffic.training.fitting import machine


def provenance_of(
    traffic: Sequence[tuple[Path, Mapping[str, Any]]],
    fitted: Fitted,
    services: Sequence[str],
    plan: Plan,
    command: str,
    per_day: int,
    split: tuple[float, float],
) -> dict[str, Any]:
    """What provenance.json says, without scores and hashes of the files. traffic: each file and its attributes."""
    data = [_origin(path, attrs) for path, attrs in traffic]
    return {
        "gentraffic_version": __version__,
        "forecaster": fitted.name,
        "services": list(services),
        "minutes_per_step": 1440 / per_day,
        "split": list(split),
        "data": data,
        "attribution": credits_of(part["attribution"] for part in data),
        "seed": plan.seed,
        "plan": asdict(plan),
        "command": command,
        "machine": machine(),
        **{key: value for key, value in fitted.told.items() if key != "plan"},
    }


def card(name: str, known: dict[str, Any], judged: str) -> str:
    """The README.md of the folder. judged: the table of scores beside the naive rows, Markdown."""
    scores = known["scores"]
    train, validation = known["split"]
    services = ", ".join(f"{s} ({scores['units'][s]})" for s in known["services"])
    trained = (
        f"{known['parameters']:,} weights, {known['windows']:,} windows, {known['steps']} batches of "
        f"{known['plan']['batch']} (best {known['best_step']}), {known['minutes']} min on {known['machine']}, seed "
        f"{known['seed']}, by"
        if "parameters" in known
        else "Nothing was learned; made by"
    )
    lines = [
        f"# {name}",
        "",
        f"Forecasts {services} in steps of {known['minutes_per_step']:g} min: the forecaster `{known['forecaster']}`.",
        "",
        "## Trained on",
        "",
        "| data | licence | attribution |",
        "|---|---|---|",
        *dict.fromkeys(f"| {part['title']} | {part['license']} | {part['attribution']} |" for part in known["data"]),
        "",
        f"The first {train:.0%} of the steps, the next {validation:.0%} chose the weights.",
        trained,
        "",
        f"    {known['command']}",
        "",
        "## How good it is",
        "",
        f"On the steps after that, {scores['starts']} first steps x {scores['cells']} cells, {known['services'][0]}:",
        "",
        judged,
        "",
        "Scalers saw the training part only. Beyond its own horizon it is fed its own forecasts.",
        "",
        "## What to trust and what not",
        "",
        "- A cell is scaled by the mean and spread of its own history: give at least a day, better a week.",
        "- Forecasts are single values near the middle of what may come, not a range.",
        "- Holidays and events are not known to it.",
        "",
    ]
    return "\n".join(lines)


def _origin(path: Path, attrs: Mapping[str, Any]) -> dict[str, str]:
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    return {
        "file": path.name,
        "sha256": hashlib.sha256(b"".join(p.read_bytes() for p in files)).hexdigest(),
        "title": str(attrs.get("title") or path.stem),
        "license": str(attrs.get("license", "not stated")),
        "attribution": str(attrs.get("attribution", "")),
    }
