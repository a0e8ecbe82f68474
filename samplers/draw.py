"""The drawing loop: noise in, series out, for any denoiser and any solver.

Every series has a random stream of its own (its seed), so that what is drawn for it does not depend on which other
series are drawn beside it. Values that are given are put back after every step and come out untouched.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from samplers.condition import Condition
from samplers.schedule import Noise, make_solver


@runtime_checkable
class Denoiser(Protocol):
    """A network that draws in many steps: what the loop needs of it."""

    noise: Noise

    def __call__(self, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """x_t (B, T), t (B,) -> the prediction, like x_t."""


@runtime_checkable
class OneShot(Protocol):
    """A network that draws at once, from standard normal numbers."""

    def noise_size(self, steps: int) -> int:
        """Numbers that a series of `steps` steps is drawn from."""

    def __call__(self, z: Tensor, condition: Condition) -> Tensor:
        """z (B, noise_size(T)) -> series (B, T)."""


# of values x that are given, without noise: the answer that predicts them, as a multiple of x, where alpha_bar is a
PERFECT: dict[str, Callable[[float], float]] = {
    "epsilon": lambda a: 0.0,
    "sample": lambda a: 1.0,
    "v_prediction": lambda a: -((1 - a) ** 0.5),
}


def starting_noise(keys: NDArray[np.uint64], steps: int) -> Tensor:
    """One row of standard normal noise per key of numpy's Philox: keys (B, 2) -> (B, steps) float32."""
    out = np.empty((len(keys), steps), dtype=np.float32)
    bits = np.random.Philox(0)
    start, normal = bits.state, np.random.Generator(bits).standard_normal
    for row, key in zip(out, keys, strict=True):  # one generator, set to each stream's start: half the time of new ones
        start["state"]["key"] = key
        bits.state = start
        normal(dtype=np.float32, out=row)
    return torch.from_numpy(out)


@torch.inference_mode()
def draw(
    network: Denoiser | OneShot,
    condition: Condition,
    *,
    seeds: NDArray[np.uint64],
    steps: int,
    solver: str = "gaussian",
    guidance: float = 1.0,
    mirrored: bool = False,
    noise: Tensor | None = None,
) -> Tensor:
    """Draw one window of traffic per seed: (B, T), on the scale that the denoiser was trained on.

    seeds: (B, 2), the Philox keys of B random streams. steps: solver steps (network calls; twice as many with
    guidance); a one-shot network is called once, and once more with guidance. solver: a key of
    `samplers.schedule.SOLVERS`. guidance: classifier-free guidance, 1 = none, more = what stands there counts for more
    (Ho and Salimans 2022: unconditional + guidance x (conditional - unconditional)).
    mirrored: start from the negative of the seeds' noise: with its twin, a pair of antithetic variates (Hammersley and
    Morton 1956), whose mean errs less than that of two independent draws; each of the two is distributed alike.
    noise: (B, T) standard normal, what a denoiser starts from in place of the noise of its seeds.
    Raises ValueError for an unknown solver or an impossible number of steps.
    """
    length, device = condition.time.shape[1], condition.time.device
    if isinstance(network, OneShot):
        z = starting_noise(seeds, network.noise_size(length)).to(device) * (-1.0 if mirrored else 1.0)
        x = network(z, condition)
        if guidance != 1.0:
            without = network(z, condition.without_place())
            x = without + guidance * (x - without)
        return x if condition.known is None else torch.where(condition.known.isnan(), x, condition.known)
    x = (starting_noise(seeds, length) if noise is None else noise).to(device) * (-1.0 if mirrored else 1.0)
    # stochastic solvers draw from one torch stream per series, keyed like the starting noise; twins have one each, or
    # the noise that both are given on the way would make them alike
    extra: dict[str, Any] = {}
    if solver == "ddpm":
        keys = (seeds[:, int(mirrored)] >> np.uint64(1)).tolist()
        extra["generator"] = [torch.Generator().manual_seed(key) for key in keys]
    return solve(network, condition, x, steps=steps, solver=solver, guidance=guidance, extra=extra)


def solve(
    network: Denoiser,
    condition: Condition,
    x: Tensor,
    *,
    steps: int,
    solver: str,
    guidance: float = 1.0,
    extra: Mapping[str, Any] | None = None,
) -> Tensor:
    """`draw` from standard normal noise x (B, T); gradients pass. extra: what the solver's steps also take.

    Given values enter the network clean. The solver is shown them as their mean sqrt(a) x at its noise, with an answer
    that predicts them: a solver that mixes hours needs hours that move as the others do.
    """
    given = None if condition.known is None else ~condition.known.isnan()
    values = x if condition.known is None else condition.known.nan_to_num()
    plain = condition.without_place()
    scheduler = make_solver(solver, network.noise, steps, condition.network)
    x = x * float(scheduler.init_noise_sigma)
    for t in scheduler.timesteps:
        seen = x if given is None else torch.where(given, values, x)
        step = torch.full((x.shape[0],), int(t), dtype=torch.long, device=x.device)
        answer = network(seen, step, condition)
        if guidance != 1.0:
            without = network(seen, step, plain)
            answer = without + guidance * (answer - without)
        if given is not None:
            a = float(scheduler.alphas_cumprod[int(t)])
            x = torch.where(given, a**0.5 * values, x)
            answer = torch.where(given, PERFECT[network.noise.prediction_type](a) * values, answer)
        x = scheduler.step(answer, t, x, **(extra or {})).prev_sample
    return x if given is None else torch.where(given, values, x)
