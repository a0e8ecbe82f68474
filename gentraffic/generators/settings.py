"""How a draw is made. Apart from `generators.weekly`, so that a command can know it without loading torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """How a draw is made; together with the model, the context and the calendar it fixes every bit.

    habits: the measured network whose daily and weekly habits the cells follow, such as the nearest one; levels still
    come from the place. By default what the context names (`habits`, else its own `network`), else those of no network
    in particular. service: which of the model's services is drawn; "": the main one.
    """

    seed: int = 0
    members: int = 1
    steps: int = 3
    solver: str = "gaussian"
    guidance: float = 1.0
    device: str = "cpu"
    habits: str = ""
    service: str = ""


FOMO = Settings(steps=8, solver="dpm++")  # of a FoMo, whose figures were made so
PROFILE_STEPS = 8  # of a model that follows a profile: the mean of what it draws is a forecast, which few steps blur
