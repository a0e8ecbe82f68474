"""The options of `gentraffic fit` as the designs and plans that training takes."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

from gentraffic.errors import WrongUse
from gentraffic.training.fitting import Design, plan_for
from gentraffic.training.sampler_task import Plan
from graphs.graphmae import LAYERS
from samplers.fusion import FUSIONS
from samplers.schedule import PREDICTIONS


def design_of(sampler: str, options: dict[str, Any]) -> Design:
    """The design of a sampler that the flags describe. Raises WrongUse for a name that does not exist.

    Baselines draw levels themselves, as published, unless they are told a past or `level` says otherwise.
    """
    choices: dict[str, Collection[str]] = {
        "fusion": FUSIONS,
        "temporal_layer": LAYERS,
        "station_layer": LAYERS,
        "prediction": PREDICTIONS,
    }
    for name, allowed in choices.items():
        if options[name] not in allowed:
            raise WrongUse(f"--{name.replace('_', '-')} {options[name]}: choose one of {', '.join(allowed)}")
    own_level = sampler != "stouter" and not options["profile"]
    if options["level"] is not None:
        own_level = options["level"] == "network"
    if own_level and options["profile"]:
        raise WrongUse("--level network does not go with --profile: a past tells the level; leave one of them away")
    return Design(
        sampler=sampler,
        fusion=options["fusion"],
        prediction_type=options["prediction"],
        temporal_layer=options["temporal_layer"],
        station_layer=options["station_layer"],
        use_time=not options["no_temporal_graph"],
        use_place=not options["no_station_graph"],
        use_profile=options["profile"],
        own_level=own_level,
    )


def plan_of(design: Design, options: dict[str, Any]) -> Plan:
    """The plan of a design that the flags describe. Raises WrongUse for numbers that make no sense."""
    plan = replace(plan_for(design), seed=options["seed"])
    for name in ("steps", "batch"):
        if options[name] is not None:
            if options[name] < 1:
                raise WrongUse(f"--{name} {options[name]}: give 1 or more")
            plan = replace(plan, **{name: options[name]})
    return plan
