"""Noise schedules and solvers: all of them diffusers schedulers, made from one small description.

The forward process is STOUTER eq. 4-7: betas rise linearly from 1e-4 to 0.02 over T steps. What the network predicts
(epsilon as in eq. 19, the clean series, or v = sqrt(a) epsilon - sqrt(1 - a) x) is a parameter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler
from torch import Tensor
from torch.nn import functional

from samplers.condition import Condition
from samplers.gaussian import GaussianPath

PREDICTIONS = ("epsilon", "sample", "v_prediction")
Rest = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Noise:
    """The forward process and what is learned of it.

    rest: (networks + 1, 85) power of the hours' frequencies that a condition leaves open, of no network in particular
    and of each, where it was measured.
    """

    num_train_timesteps: int = 1000
    beta_start: float = 1e-4  # STOUTER section 5.1
    beta_end: float = 0.02
    beta_schedule: str = "linear"
    prediction_type: str = "v_prediction"
    rest: Rest | None = None

    def config(self) -> dict[str, Any]:
        """What diffusers' schedulers are made from."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "rest"}

    def scheduler(self) -> DDPMScheduler:
        """The schedule as diffusers' DDPM, which adds noise in training and draws with the paper's own chain."""
        chain: DDPMScheduler = DDPMScheduler(**self.config(), clip_sample=False)
        return chain


def read_rest(rest: Rest | None, networks: int) -> Rest | None:
    """`Noise.rest` as configured, perhaps in JSON; a network that was not there when it was measured: as no network's.

    Raises ValueError for more networks than there are."""
    if rest is None:
        return None
    if len(rest) > networks + 1:
        raise ValueError(f"rest has {len(rest)} rows: {networks} networks have {networks + 1}")
    rows = tuple(tuple(row) for row in rest)
    return rows + rows[:1] * (networks + 1 - len(rows))


def _ddpm(noise: Noise, steps: int, _: Tensor | None) -> Any:
    solver = noise.scheduler()
    solver.set_timesteps(timesteps=_trailing(noise.num_train_timesteps, steps))
    return solver


def _ddim(noise: Noise, steps: int, _: Tensor | None) -> Any:
    # DDIM is the first-order DPM-Solver (Lu et al. 2022, section 4.1). diffusers' DDIMScheduler steps from t to
    # t - T // steps whatever comes next in its list, and is wrong wherever `steps` does not divide T
    solver = DPMSolverMultistepScheduler(**noise.config(), algorithm_type="dpmsolver++", solver_order=1)
    solver.set_timesteps(timesteps=_trailing(noise.num_train_timesteps, steps))
    return solver


def _dpm(noise: Noise, steps: int, _: Tensor | None) -> Any:
    # even steps of the log signal-to-noise ratio: on a Gaussian with the spectrum of traffic, 8 of them err by 0.03
    # standard deviations; Karras' spacing errs by 0.14 and makes the variance a third too large, even time steps 0.12
    solver = DPMSolverMultistepScheduler(**noise.config(), algorithm_type="dpmsolver++", use_lu_lambdas=True)
    solver.set_timesteps(steps)
    return solver


def _unipc(noise: Noise, steps: int, _: Tensor | None) -> Any:
    # the same spacing under another name
    solver = UniPCMultistepScheduler(**noise.config(), use_exponential_sigmas=True)
    solver.set_timesteps(steps)
    levels = 0.5 * (1 / solver.alphas_cumprod - 1).log().numpy()  # log sigma of every time step
    nearest = np.interp(solver.sigmas[:-1].log().numpy(), levels, np.arange(len(levels))).round()
    solver.timesteps = torch.from_numpy(nearest.astype(np.int64))  # diffusers cuts their fractions off
    return solver


def _gaussian(noise: Noise, steps: int, network: Tensor | None) -> Any:
    if noise.rest is None:
        return GaussianPath(noise.config(), steps)
    which = torch.zeros(1, dtype=torch.long) if network is None else network
    if (which == which[0]).all():
        which = which[:1]
    return GaussianPath(noise.config(), steps, torch.tensor(noise.rest).to(which.device)[which])


SOLVERS: dict[str, Callable[[Noise, int, Tensor | None], Any]] = {
    "ddpm": _ddpm,
    "ddim": _ddim,
    "dpm++": _dpm,
    "unipc": _unipc,
    "gaussian": _gaussian,
}


def make_solver(name: str, noise: Noise, steps: int, network: Tensor | None = None) -> Any:
    """A diffusers scheduler set to `steps` steps, for series of `network` (B,), as in `Condition`.

    Raises ValueError for a solver or a number that does not exist.
    """
    if name not in SOLVERS:
        raise ValueError(f"no solver {name!r}: choose one of {', '.join(SOLVERS)}")
    if not 1 <= steps <= noise.num_train_timesteps:
        raise ValueError(f"steps is {steps}: give 1 to {noise.num_train_timesteps}")
    solver = SOLVERS[name](noise, steps, network)
    if hasattr(solver, "set_begin_index"):
        solver.set_begin_index(0)  # it would search for the first step by its time, which two steps may share
    return solver


def _trailing(train_steps: int, steps: int) -> list[int]:
    """Time steps evenly from the noisiest, train_steps - 1, downwards: "leading", diffusers' default, starts too late.

    diffusers' own "trailing" list counts down in floating point: for some numbers (61, 103, ...) it ends in a step -1.
    """
    return [round(train_steps * (steps - i) / steps) - 1 for i in range(steps)]


def diffusion_target(noise: DDPMScheduler, x: Tensor, eps: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """The noisy series x_t (STOUTER eq. 7) and what the network should answer: x, eps (B, T), t (B,) -> two (B, T)."""
    x_t = noise.add_noise(x, eps, t)  # type: ignore[arg-type]  # diffusers asks for an IntTensor and takes any
    kind = noise.config["prediction_type"]
    if kind == "v_prediction":
        return x_t, noise.get_velocity(x, eps, t)  # type: ignore[arg-type]
    return x_t, eps if kind == "epsilon" else x


def masked_mean(error: Tensor, where: Tensor) -> Tensor:
    """Mean of `error` over the places where `where` is true. error, where: (any shape), the same for both."""
    weight = where.to(error.dtype)
    return (error * weight).sum() / weight.sum().clamp(min=1)


def standard_normal(shape: tuple[int, ...], generator: torch.Generator, like: Tensor) -> Tensor:
    """Normal draws from a CPU generator, on the device and in the type of `like`: the same numbers on every device.

    like: (any shape).
    """
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
