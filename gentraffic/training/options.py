"""The options of a fit as the designs and plans that training takes."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Protocol

from gentraffic.errors import WrongUse
from gentraffic.training.fitting import PUBLISHED, Design, class_of, expects_week, plan_for
from gentraffic.training.sampler_task import Plan
from graphs.graphmae import LAYERS
from samplers.diffusion import PREDICTIONS
from samplers.layers import FUSIONS

LOSSES = ("mse", "l1")
MOST_LEVELS = 3  # each halves the 24 hours of a day, or the 4 positions of the shipped design
FEWEST_TIMES, MOST_TIMES = 10, 10_000


class Options(Protocol):
    """What is asked of a fit; None where nothing is, False for flags."""

    @property
    def fusion(self) -> str | None:
        """How STUNet joins what it is told: a key of `samplers.layers.FUSIONS`."""

    @property
    def temporal_layer(self) -> str | None:
        """Of the temporal graph: a key of `graphs.graphmae.LAYERS`."""

    @property
    def station_layer(self) -> str | None:
        """Of the station graph."""

    @property
    def prediction(self) -> str | None:
        """What the denoiser predicts: one of `samplers.diffusion.PREDICTIONS`."""

    @property
    def paper(self) -> bool:
        """STOUTER as published."""

    @property
    def channels(self) -> str | None:
        """Widths of STUNet, one per level, with commas between."""

    @property
    def diffusion_steps(self) -> int | None:
        """T, the steps over which noise is added."""

    @property
    def loss(self) -> str | None:
        """mse or l1."""

    @property
    def no_temporal_graph(self) -> bool:
        """An ablation."""

    @property
    def no_station_graph(self) -> bool:
        """An ablation."""

    @property
    def profile(self) -> bool:
        """Whether it learns to follow a past."""

    @property
    def level(self) -> str | None:
        """model or network."""

    @property
    def steps(self) -> int | None:
        """Of the training."""

    @property
    def batch(self) -> int | None:
        """Windows per step."""

    @property
    def seed(self) -> int:
        """Of the training."""


def design_of(sampler: str, options: Options) -> Design:
    """The design of a sampler that the options describe. Raises WrongUse for a name that does not exist.

    Whether the network draws levels itself is as its class says (`Sampler.draws_level`), unless it is told a past or
    `level` says otherwise.
    """
    base = PUBLISHED if options.paper else Design()
    fusion, temporal = options.fusion or base.fusion, options.temporal_layer or "gin"
    station, loss = options.station_layer or "gcn", options.loss or base.loss_type
    choices: dict[str, tuple[str, Collection[str]]] = {
        "fusion": (fusion, FUSIONS), "temporal-layer": (temporal, LAYERS), "station-layer": (station, LAYERS),
        "level": (options.level or "model", ("model", "network")), "loss": (loss, LOSSES),
    }  # fmt: skip
    for name, (value, allowed) in choices.items():
        if value not in allowed:
            raise WrongUse(f"--{name} {value}: choose one of {', '.join(allowed)}")
    prediction = check_prediction(options.prediction, base.prediction_type)
    if options.profile and options.paper:
        raise WrongUse("--profile: STOUTER as published takes no past; leave --paper or --profile away")
    if options.profile and prediction != "v_prediction":
        raise WrongUse(f"--prediction {prediction}: a model with --profile predicts v_prediction; leave it away")
    design = replace(
        base,
        sampler=sampler,
        channels=_channels(options.channels) or base.channels,
        train_timesteps=_timesteps(options.diffusion_steps) or base.train_timesteps,
        loss_type=loss,
        fusion=fusion,
        prediction_type=prediction,
        temporal_layer=temporal,
        station_layer=station,
        use_time=not options.no_temporal_graph,
        use_place=not options.no_station_graph,
        use_profile=options.profile,
    )
    own_level = class_of(design).draws_level and not options.profile
    if options.level is not None:
        own_level = options.level == "network"
    if own_level and options.profile:
        raise WrongUse("--level network does not go with --profile: a past tells the level; leave one of them away")
    return replace(design, own_level=own_level)


def rules_of(design: Design, services: int) -> str:
    """In one line, what a fit of this design left to the network. services: how many it learned."""
    who = "the sampler's network" if design.own_level else "the level model"
    week = "the departures of a week from what the surroundings tell" if expects_week(design) else "whole weeks"
    of = f"{services} services" if services > 1 else "one service"
    return f"how much a cell carries in all is drawn by {who} (--level); the network draws {week}, of {of}"


def _channels(given: str | None) -> tuple[int, ...]:
    """Widths as typed, () where none are. Raises WrongUse."""
    if given is None:
        return ()
    parts = [part.strip() for part in given.split(",")]
    widths = tuple(int(part) for part in parts if part.isdigit())
    if len(widths) != len(parts) or not 1 <= len(parts) <= MOST_LEVELS or any(w < 4 or w % 4 for w in widths):
        raise WrongUse(
            f"--channels {given}: give 1 to {MOST_LEVELS} widths with commas between, multiples of the 4 heads, such "
            "as 64,128,256"
        )
    return widths


def _timesteps(given: int | None) -> int:
    """T, 0 where it is not given. Raises WrongUse."""
    if given is not None and not FEWEST_TIMES <= given <= MOST_TIMES:
        raise WrongUse(f"--diffusion-steps {given}: give {FEWEST_TIMES} to {MOST_TIMES}")
    return given or 0


def check_prediction(given: str | None, usual: str = "v_prediction") -> str:
    """What a denoiser predicts, `usual` unless something else is asked for. Raises WrongUse."""
    prediction = given or usual
    if prediction not in PREDICTIONS:
        raise WrongUse(f"--prediction {prediction}: choose one of {', '.join(PREDICTIONS)}")
    return prediction


def plan_of(design: Design, options: Options) -> Plan:
    """The plan of a design with what is asked for. Raises WrongUse for numbers that make no sense."""
    plan = replace(plan_for(design), seed=options.seed)
    for name in ("steps", "batch"):
        value = getattr(options, name)
        if value is not None:
            if value < 1:
                raise WrongUse(f"--{name} {value}: give 1 or more")
            plan = replace(plan, **{name: value})
    return plan
