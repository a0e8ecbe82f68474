"""Noise schedules and solvers: all of them diffusers schedulers, made from one small description.

The forward process is STOUTER eq. 4-7: betas rise linearly from 1e-4 to 0.02 over T steps. What the network predicts
(epsilon as in eq. 19, the clean series, or v = sqrt(a) epsilon - sqrt(1 - a) x) is a parameter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler
from torch import Tensor
from torch.nn import functional

from samplers.condition import Condition

PREDICTIONS = ("epsilon", "sample", "v_prediction")


@dataclass(frozen=True)
class Noise:
    """The forward process and what is learned of it."""

    num_train_timesteps: int = 1000
    beta_start: float = 1e-4  # STOUTER section 5.1
    beta_end: float = 0.02
    beta_schedule: str = "linear"
    prediction_type: str = "v_prediction"

    def scheduler(self) -> DDPMScheduler:
        """The schedule as diffusers' DDPM, which adds noise in training and draws with the paper's own chain."""
        chain: DDPMScheduler = DDPMScheduler(**asdict(self), clip_sample=False)
        return chain


def _ddpm(config: dict[str, Any], steps: int) -> Any:
    solver = DDPMScheduler(**config, clip_sample=False)
    solver.set_timesteps(timesteps=_trailing(config["num_train_timesteps"], steps))
    return solver


def _ddim(config: dict[str, Any], steps: int) -> Any:
    # DDIM is the first-order DPM-Solver (Lu et al. 2022, section 4.1). diffusers' DDIMScheduler steps from t to
    # t - T // steps whatever comes next in its list, and is wrong wherever `steps` does not divide T
    solver = DPMSolverMultistepScheduler(**config, algorithm_type="dpmsolver++", solver_order=1)
    solver.set_timesteps(timesteps=_trailing(config["num_train_timesteps"], steps))
    return solver


def _dpm(config: dict[str, Any], steps: int) -> Any:
    # even steps of the log signal-to-noise ratio: on a Gaussian with the spectrum of traffic, 8 of them err by 0.03
    # standard deviations; Karras' spacing errs by 0.14 and makes the variance a third too large, even time steps 0.12
    solver = DPMSolverMultistepScheduler(**config, algorithm_type="dpmsolver++", use_lu_lambdas=True)
    solver.set_timesteps(steps)
    return solver


class HalfWay(DPMSolverMultistepScheduler):
    """DPM-Solver++ whose last step, of two or more, ends half way between where it is and the clean series it predicts.

    A prediction is the mean of what may be: at a noise of standard deviation r it has the share s^2 / (s^2 + r^2) of a
    Gaussian's deviation, where the exact path has the root of that share, which is the mean of the share and 1 but for
    (r / s)^4 / 8. So the last step can be taken from far more noise than where predictions are sharp.
    """

    def step(self, model_output: Any, timestep: Any, sample: Any, *more: Any, **named: Any) -> Any:
        """As diffusers' own, but for the last."""
        last = self.step_index == len(self.timesteps) - 1 > 0
        out: Any = super().step(model_output, timestep, sample, *more, **named)
        if last:
            root = float(self.alphas_cumprod[int(timestep)]) ** 0.5
            out.prev_sample = (out.prev_sample + sample / root) / 2
        return out


LAST_TIME, BEND = 60, 0.8  # of 1000: the noise that the last step leaves, sigma 0.13; above, steps are longer
FEW = 8  # of more steps the last one leaves less, so that they converge to the exact path


def _dpm_half(config: dict[str, Any], steps: int) -> Any:
    # almost even steps of the log signal-to-noise ratio. On a Gaussian with the spectrum of traffic 7 of these err by
    # less than 8 of `_dpm`, which go down to no noise at all, and keep the variance, which those make 6% too large
    solver = HalfWay(**config, algorithm_type="dpmsolver++")
    signal = torch.log(solver.alphas_cumprod / (1 - solver.alphas_cumprod)).numpy() / 2
    last = min(round(LAST_TIME * len(signal) / 1000 * min(1.0, FEW / steps)), len(signal) - steps)
    stops = signal[-1] + (signal[last] - signal[-1]) * np.linspace(0, 1, steps) ** BEND
    times = np.interp(-stops, -signal, np.arange(len(signal))).round().astype(int)
    down = np.arange(steps)[::-1]  # of many steps, no two may be at one time
    apart = np.maximum.accumulate((times - down)[::-1])[::-1] + down
    times = np.minimum(apart, len(signal) - steps + down)
    solver.set_timesteps(timesteps=times.tolist())
    return solver


def _unipc(config: dict[str, Any], steps: int) -> Any:
    solver = UniPCMultistepScheduler(**config, use_exponential_sigmas=True)  # the same spacing under another name
    solver.set_timesteps(steps)
    levels = 0.5 * (1 / solver.alphas_cumprod - 1).log().numpy()  # log sigma of every time step
    nearest = np.interp(solver.sigmas[:-1].log().numpy(), levels, np.arange(len(levels))).round()
    solver.timesteps = torch.from_numpy(nearest.astype(np.int64))  # diffusers cuts their fractions off
    return solver


SOLVERS: dict[str, Callable[[dict[str, Any], int], Any]] = {
    "ddpm": _ddpm,
    "ddim": _ddim,
    "dpm++": _dpm,
    "dpm++h": _dpm_half,
    "unipc": _unipc,
}


def make_solver(name: str, noise: Noise, steps: int) -> Any:
    """A diffusers scheduler set to `steps` steps. Raises ValueError for a solver or a number that does not exist."""
    if name not in SOLVERS:
        raise ValueError(f"no solver {name!r}: choose one of {', '.join(SOLVERS)}")
    if not 1 <= steps <= noise.num_train_timesteps:
        raise ValueError(f"steps is {steps}: give 1 to {noise.num_train_timesteps}")
    solver = SOLVERS[name](asdict(noise), steps)
    if name != "ddpm":
        solver.set_begin_index(0)  # it would search for the first step by its time, which two steps may share
    return solver


def _trailing(train_steps: int, steps: int) -> list[int]:
    """Time steps evenly from the noisiest, train_steps - 1, downwards: "leading", diffusers' default, starts too late.

    diffusers' own "trailing" list counts down in floating point: for some numbers (61, 103, ...) it ends in a step -1.
    """
    return [round(train_steps * (steps - i) / steps) - 1 for i in range(steps)]


def ddim_stops(noise: Noise, steps: int) -> tuple[Tensor, Tensor]:
    """The angle of each time step, cos^2 of which is its alpha_bar, and of the one that DDIM goes to next: (T,), (T,).

    In float64; the way down ends at angle 0."""
    angle = torch.acos(noise.scheduler().alphas_cumprod.double().sqrt())
    stops = torch.tensor(sorted(_trailing(noise.num_train_timesteps, steps)))
    before = torch.searchsorted(stops, torch.arange(len(angle))) - 1  # the next stop on the way down, -1 at its end
    return angle, torch.where(before < 0, torch.zeros(()).double(), angle[stops[before.clamp(min=0)]])


def identity_answer(noise: Noise, steps: int) -> Tensor:
    """The c of each time step with which v = c x_t takes DDIM, in `steps` steps, from any noise to that noise: (T,).

    A DDIM step is a turn in the plane of series and noise, x_s = cos(d) x_t - sin(d) v, where d is the angle between
    the two times and cos^2 of a time's angle its alpha_bar (Salimans and Ho 2022, section 4): c = -tan(d / 2).
    """
    angle, reached = ddim_stops(noise, steps)
    return (-torch.tan((angle - reached) / 2)).float()


def diffusion_target(noise: DDPMScheduler, x: Tensor, eps: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """The noisy series x_t (STOUTER eq. 7) and what the network should answer: x, eps (B, T), t (B,) -> two (B, T)."""
    x_t = noise.add_noise(x, eps, t)  # type: ignore[arg-type]  # diffusers asks for an IntTensor and takes any
    kind = noise.config["prediction_type"]
    if kind == "v_prediction":
        return x_t, noise.get_velocity(x, eps, t)  # type: ignore[arg-type]
    return x_t, eps if kind == "epsilon" else x


def masked_mean(error: Tensor, where: Tensor) -> Tensor:
    """Mean of `error` over the places where `where` is true."""
    weight = where.to(error.dtype)
    return (error * weight).sum() / weight.sum().clamp(min=1)


def standard_normal(shape: tuple[int, ...], generator: torch.Generator, like: Tensor) -> Tensor:
    """Normal draws from a CPU generator, on the device and in the type of `like`: the same numbers on every device."""
    return torch.randn(shape, generator=generator).to(like)


def denoising_loss(
    network: Callable[[Tensor, Tensor, Condition], Tensor],
    noise: DDPMScheduler,
    x: Tensor,
    condition: Condition,
    generator: torch.Generator,
    loss_type: str = "mse",
) -> Tensor:
    """Mean error of a denoiser's prediction over the steps that are not given (STOUTER eq. 19; "l1" for its text).

    x: (B, 168 k) clean series, nan where nothing was measured. Given values enter clean and are not scored. Scalar.
    """
    t = torch.randint(len(noise.alphas_cumprod), (x.shape[0],), generator=generator).to(x.device)
    eps = standard_normal(tuple(x.shape), generator, x)
    measured = ~x.isnan()
    x_t, target = diffusion_target(noise, x.nan_to_num(), eps, t)
    if condition.known is not None:
        given = ~condition.known.isnan()
        x_t = torch.where(given, condition.known.nan_to_num(), x_t)
        measured = measured & ~given
    error = functional.l1_loss if loss_type == "l1" else functional.mse_loss
    return masked_mean(error(network(x_t, t, condition), target, reduction="none"), measured)
