"""The provenance of a fitted forecaster, from which its card is made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gentraffic.forecasting.fit import Fitted
from gentraffic.forecasting.task import Plan
from gentraffic.generators.cards import origins_of
from gentraffic.training.fitting import machine


def provenance_of(
    traffic: Sequence[Path],
    fitted: Fitted,
    services: Sequence[str],
    plan: Plan,
    command: str,
    per_day: int,
    split: tuple[float, float],
) -> dict[str, Any]:
    """What provenance.json says, without scores and hashes of the model's files. traffic: the files fitted on."""
    return {
        **origins_of(traffic),
        "forecaster": fitted.name,
        "services": list(services),
        "minutes_per_step": 1440 / per_day,
        "split": list(split),
        "seed": plan.seed,
        "plan": asdict(plan),
        "command": command,
        "machine": machine(),
        **{key: value for key, value in fitted.told.items() if key != "plan"},
    }
