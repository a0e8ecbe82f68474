"""The options of `gentraffic fit` as the designs and plans that training takes."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

from gentraffic.errors import WrongUse
from gentraffic.fitting import Design
from gentraffic.training import PLANS, Plan
from graphs.graphmae import LAYERS
from samplers.fusion import FUSIONS
from samplers.schedule import PREDICTIONS


def design_of(sampler: str, options: dict[str, Any]) -> Design:
    """The design of a sampler that the flags describe. Raises WrongUse for a name that does not exist."""
    choices: dict[str, Collection[str]] = {
        "fusion": FUSIONS,
        "temporal_layer": LAYERS,
        "station_layer": LAYERS,
        "prediction": PREDICTIONS,
    }
    for name, allowed in choices.items():
        if options[name] not in allowed:
            raise WrongUse(f"--{name.replace('_', '-')} {options[name]}: choose one of {', '.join(allowed)}")
    return Design(
        sampler=sampler,
        fusion=options["fusion"],
        prediction_type=options["prediction"],
        temporal_layer=options["temporal_layer"],
        station_layer=options["station_layer"],
        use_time=not options["no_temporal_graph"],
        use_place=not options["no_station_graph"],
        use_profile=options["profile"],
    )


def plan_of(sampler: str, options: dict[str, Any]) -> Plan:
    """The plan of a sampler that the flags describe. Raises WrongUse for numbers that make no sense."""
    plan = replace(PLANS[sampler], seed=options["seed"])
    for name in ("steps", "batch"):
        if options[name] is not None:
            if options[name] < 1:
                raise WrongUse(f"--{name} {options[name]}: give 1 or more")
            plan = replace(plan, **{name: options[name]})
    return plan
