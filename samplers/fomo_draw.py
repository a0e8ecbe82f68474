"""The drawing loop of FoMo: noise in, traffic out, observed values untouched.

The state may be larger than what the network sees at once: `predict` says how the answers of overlapping scenes become
one answer for the whole state (averaged, as in MultiDiffusion, Bar-Tal et al. 2023), and every solver step goes through
the whole state, so that no scene is finished before its neighbours.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from samplers.diffusion import PERFECT, GaussianPath, MirroredPath, Noise, make_solver
from samplers.fomo import FoMo, FoMoCondition

# all chance lies in the starting noise, which belongs to cell and step
DETERMINISTIC = ("gaussian", "dpm++", "ddim", "unipc")


@torch.inference_mode()
def solve(
    predict: Callable[[Tensor, int, int], Tensor],
    noise: Noise,
    start: Tensor,
    *,
    steps: int,
    solver: str = "dpm++",
    known: Tensor | None = None,
    power: Tensor | None = None,
) -> Tensor:
    """Go from standard normal noise to values: start (..., T) -> the same shape.

    predict(x, t, step): the network's answer for the whole state at diffusion step t, the solver's step counted from 0.
    With one step the result is the network's expectation given all that is observed: the most likely traffic rather
    than a draw. known: (..., T), nan where nothing is known: the solver is shown its mean sqrt(a) x at its noise,
    with an answer that predicts it, since one that mixes steps needs steps that move as the others do. power: (F,)
    spectrum of what a condition leaves open, as in `MirroredPath`, for the solver `gaussian`; without it all steps
    count as independent. Raises ValueError for a solver that draws noise on its way, or an impossible number of steps.
    """
    if solver not in DETERMINISTIC:
        raise ValueError(f"solver {solver!r}: FoMo draws with one of {', '.join(DETERMINISTIC)}")
    if solver == "gaussian" and steps > 1 and power is not None:
        scheduler: Any = MirroredPath(noise, steps, start.shape[-1], power, start.device)
    elif solver == "gaussian" and steps > 1:
        scheduler = GaussianPath(noise, steps, device=start.device)
    else:  # one step of all of them is the expectation
        scheduler = make_solver("dpm++" if solver == "gaussian" else solver, noise, steps)
    given = None if known is None else ~known.isnan()
    values = None if known is None else known.nan_to_num()
    x = start * float(scheduler.init_noise_sigma)
    for step, t in enumerate(scheduler.timesteps):
        out = predict(x, int(t), step)
        if given is not None and values is not None:
            a = float(noise.alphas_cumprod[int(t)])
            x = torch.where(given, a**0.5 * values, x)
            out = torch.where(given, PERFECT[noise.prediction_type](a) * values, out)
        x = scheduler.step(out, t, x).prev_sample
    return x


def draw_scenes(
    model: FoMo,
    scene: FoMoCondition,
    start: Tensor,
    *,
    steps: int,
    solver: str = "dpm++",
    guidance: float = 1.0,
    batch: int = 32,
) -> Tensor:
    """Draw blocks that have nothing to do with each other: start (B, H, W, T) noise -> x, observed values put back.

    All blocks have one cadence where the solver is `gaussian`.
    """

    def predict(x: Tensor, t: int, step: int) -> Tensor:
        parts = [slice(at, at + batch) for at in range(0, len(x), batch)]
        return torch.cat([answer(model, x[part], t, scene.rows(part), guidance) for part in parts])

    power = model.power(int(scene.minutes[0]))
    x = solve(predict, model.noise, start, steps=steps, solver=solver, known=scene.known, power=power)
    return torch.where(scene.known.isnan(), x, scene.known)


def answer(model: FoMo, x: Tensor, t: int, scene: FoMoCondition, guidance: float = 1.0) -> Tensor:
    """The network's answer with classifier-free guidance (1 = none): x (B, H, W, T) -> the same."""
    step = torch.full((len(x),), t, dtype=torch.long, device=x.device)
    out = model(x, step, scene)
    if guidance == 1.0:
        return out
    without = model(x, step, scene.without_context())
    return without + guidance * (out - without)
