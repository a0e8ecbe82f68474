"""What a trained denoiser leaves open: the spectrum of weeks about the mean that their condition tells.

From noise alone the best prediction is that mean, so what weeks are beside the network's first prediction is the rest,
and the solver of `samplers.diffusion` follows the path of a Gaussian of its power.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gentraffic.generators.fomo.data import Region
from gentraffic.generators.fomo.scale import FoMoScale
from gentraffic.modelling.features import Scaler
from gentraffic.training.fomo_task import WINDOW, FoMoPlan, ladder
from gentraffic.training.fomo_task import batch_of as fomo_batch
from gentraffic.training.sampler_task import Plan, Prepared, batch_of
from samplers import WEEK, Denoiser
from samplers.diffusion import Rest, diffusion_target
from samplers.fomo import FoMo

BATCHES = 8  # of each network


@torch.no_grad()
def fit_residual_spectrum(
    model: Denoiser, prepared: Sequence[Prepared], time: Tensor, scaler: Scaler, plan: Plan
) -> Rest:
    """The power of the hours' frequencies about the prediction from noise, `Noise.rest`: (networks + 1, 85).

    Over windows of the training cells, of each network, and of all of them when the network is not told, each weighing
    as in training. Windows with gaps are left out; a network that has no other counts as all do.
    time: (168, Q) time embedding of the hours of a week, Monday first.
    """
    chain, last = model.noise, model.noise.num_train_timesteps - 1
    a = float(chain.alphas_cumprod[last])

    def power(p: Prepared, named: bool) -> Tensor:
        powers = []
        for i in range(BATCHES):
            x, condition, generator = batch_of([p], time, scaler, plan, i, noisy=False)
            network = condition.network if named else torch.zeros_like(condition.network)
            t = torch.full((len(x),), last)
            noise = torch.randn(x.shape, generator=generator)
            x_t, _ = diffusion_target(chain, x.nan_to_num(), noise, t)
            answer = model(x_t, t, replace(condition, network=network))
            clean = clean_of(model.noise.prediction_type, a, x_t, answer)
            hours = (x.nan_to_num() - clean).view(len(x), WEEK, -1)[..., 0]
            powers.append(torch.fft.rfft(hours, norm="ortho").abs().square()[~x.isnan().any(1)])
        return torch.cat(powers).mean(0)  # nan where every window has gaps

    weight = np.array([p.weight for p in prepared])
    each = torch.stack([power(p, True) for p in prepared])
    unnamed = torch.stack([power(p, False) for p in prepared])
    whole = ~unnamed[:, 0].isnan()
    if not whole.any():
        return ((1.0,) * each.shape[1],) * (len(prepared) + 1)
    share = torch.from_numpy(weight).float() * whole
    every = (share[:, None] * unnamed.nan_to_num()).sum(0) / share.sum()
    rows = torch.cat([every[None], torch.where(each.isnan(), every, each)])
    return tuple(tuple(row) for row in rows.double().numpy().round(5).tolist())


@torch.no_grad()
def fit_fomo_spectrum(model: FoMo, regions: Sequence[Region], scale: FoMoScale, plan: FoMoPlan) -> Rest | None:
    """The power about the prediction from noise of windows of which nothing is observed: (cadences, WINDOW), `rest`.

    Over windows of the training blocks, their places told and users not, in the cosines of a window and its mirror
    image (DCT-II, orthonormal). A cadence at which nothing was measured keeps the row that the model has, else has that
    of the nearest one. None where no cadence was. On the CPU.
    """
    last = model.noise.num_train_timesteps - 1
    a = float(model.noise.alphas_cumprod[last])
    step = torch.arange(WINDOW)
    cosines = torch.cos(math.pi * (step + 0.5) * step[:, None] / WINDOW) * (2 / WINDOW) ** 0.5
    cosines[0] /= 2**0.5
    told = replace(
        plan, masks=(0.0, 0.0, 1.0, 0.0), users_keep=0.0, poi_keep=1.0, level_keep=1.0, network_keep=1.0, poi_noise=0.0,
        level_noise=0.0,
    )  # fmt: skip
    found: dict[int, tuple[float, ...]] = {}
    if model.rest is not None:
        found = dict(zip(model.cadences, model.rest, strict=True))
    for minutes in model.cadences:
        ladders = [[r for r in ladder(region) if r.minutes == minutes] for region in regions]
        ladders = [able for able in ladders if able]
        power = []
        for i in range(BATCHES if ladders else 0):
            batch = fomo_batch(ladders, scale, told, i, model.token[2])
            generator, x = torch.Generator().manual_seed(i), batch.x.nan_to_num()
            t = torch.full((len(x),), last)
            x_t, _ = diffusion_target(model.noise, x, torch.randn(x.shape, generator=generator), t)
            clean = clean_of(model.noise.prediction_type, a, x_t, model(x_t, t, batch.scene))
            whole = batch.scene.exists.all(-1)
            power.append(((x - clean)[whole] @ cosines.T).square())
        if power:
            found[minutes] = tuple(torch.cat(power).mean(0).double().numpy().round(5).tolist())
    if not found:
        return None
    return tuple(found[min(found, key=lambda have, want=m: abs(have - want))] for m in model.cadences)  # type: ignore[misc]


def clean_of(prediction: str, a: float, x_t: Tensor, answer: Tensor) -> Tensor:
    """The clean series that an answer of a network predicts. a: alpha_bar; x_t, answer: (any shape)."""
    if prediction == "sample":
        return answer
    if prediction == "v_prediction":
        return math.sqrt(a) * x_t - math.sqrt(1 - a) * answer
    return (x_t - math.sqrt(1 - a) * answer) / math.sqrt(a)


def set_residual_spectrum(model: Any, rest: Rest) -> None:
    """Have a denoiser draw, and be saved, with this `Noise.rest`."""
    model.noise = replace(model.noise, rest=rest)
    model.register_to_config(rest=rest)
