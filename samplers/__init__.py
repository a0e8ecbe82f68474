"""Noise to traffic: denoisers, baselines, the drawing loop."""

from samplers.condition import DAYS, HOURS, WEEK, Condition
from samplers.draw import Denoiser, OneShot, draw
from samplers.sampler import Sampler, Turn
from samplers.schedule import SOLVERS, Noise
from samplers.stunet import STUNet

SAMPLERS: dict[str, type[Sampler]] = {
    "stouter": STUNet,
}

__all__ = ["DAYS", "HOURS", "SAMPLERS", "SOLVERS", "WEEK", "Condition", "Denoiser", "Noise", "OneShot", "STUNet",
           "Sampler", "Turn", "draw"]  # fmt: skip
