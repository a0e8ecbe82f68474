"""Noise to traffic: denoisers, baselines, the drawing loop."""

from samplers.diffusion import SOLVERS, Denoiser, Noise, OneShot, draw
from samplers.diffwave import DiffWave
from samplers.sampler import DAYS, HOURS, WEEK, Condition, Sampler, Turn
from samplers.stunet import STUNet
from samplers.tcn_gan import TCNGAN
from samplers.vae import VAE

SAMPLERS: dict[str, type[Sampler]] = {
    "stouter": STUNet,
    "vae": VAE,
    "tcn-gan": TCNGAN,
    "diffwave": DiffWave,
}

__all__ = ["DAYS", "HOURS", "SAMPLERS", "SOLVERS", "TCNGAN", "VAE", "WEEK", "Condition", "Denoiser", "DiffWave",
           "Noise", "OneShot", "STUNet", "Sampler", "Turn", "draw"]  # fmt: skip
