"""Noise to traffic: denoisers, baselines, the drawing loop."""

from samplers.condition import DAYS, HOURS, WEEK, Condition
from samplers.draw import Denoiser, draw
from samplers.schedule import SOLVERS, Noise
from samplers.stunet import STUNet

SAMPLERS = {
    "stouter": STUNet,
}

__all__ = ["DAYS", "HOURS", "SAMPLERS", "SOLVERS", "WEEK", "Condition", "Denoiser", "Noise", "STUNet", "draw"]
