"""Noise to traffic: denoisers, baselines, the drawing loop. Importing this loads no network and no torch."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from samplers.diffusion import SOLVERS, Denoiser, Noise, OneShot, draw
    from samplers.diffwave import DiffWave
    from samplers.sampler import DAYS, HOURS, WEEK, Condition, Sampler, Turn, sampler_class
    from samplers.stunet import STUNet
    from samplers.tcn_gan import TCNGAN
    from samplers.vae import VAE

SAMPLERS = {  # what a model folder and the command line call a sampler -> its class, see `sampler_class`
    "stouter": "samplers.stunet:STUNet",
    "vae": "samplers.vae:VAE",
    "tcn-gan": "samplers.tcn_gan:TCNGAN",
    "diffwave": "samplers.diffwave:DiffWave",
}
ENTRY_POINTS = "gentraffic.samplers"  # the group by which another package registers a sampler: name -> module:Class
PRECISIONS = ("fp32", "bf16")  # of a network's products, see `samplers.sampler.computing_in`; all else is float32
_WHERE = {  # public name -> the module that is loaded when it is asked for
    **dict.fromkeys(("SOLVERS", "Denoiser", "Noise", "OneShot", "draw"), "diffusion"),
    **dict.fromkeys(("DAYS", "HOURS", "WEEK", "Condition", "Sampler", "Turn", "sampler_class"), "sampler"),
    "DiffWave": "diffwave",
    "STUNet": "stunet",
    "TCNGAN": "tcn_gan",
    "VAE": "vae",
}

__all__ = ["DAYS", "HOURS", "PRECISIONS", "SAMPLERS", "SOLVERS", "TCNGAN", "VAE", "WEEK", "Condition", "Denoiser",
           "DiffWave", "Noise", "OneShot", "STUNet", "Sampler", "Turn", "draw", "sampler_class",
           "sampler_names"]  # fmt: skip


def sampler_names() -> tuple[str, ...]:
    """Names of all samplers, those of SAMPLERS first, then those of other packages."""
    plugged = sorted({point.name for point in entry_points(group=ENTRY_POINTS)} - SAMPLERS.keys())
    return (*SAMPLERS, *plugged)


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'samplers' has no attribute {name!r}")
    return getattr(import_module(f"samplers.{_WHERE[name]}"), name)
