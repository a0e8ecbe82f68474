"""What a trained denoiser leaves open: the spectrum of weeks about the mean that their condition tells.

From noise alone the best prediction is that mean, so what weeks are beside the network's first prediction is the rest,
and the solver of `samplers.diffusion` follows the path of a Gaussian of its power.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gentraffic.modelling.transform import Scaler
from gentraffic.training.sampler_task import Plan, Prepared, batch_of
from samplers import WEEK, Denoiser
from samplers.diffusion import Rest, diffusion_target

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
            clean = {
                "v_prediction": a**0.5 * x_t - (1 - a) ** 0.5 * answer,
                "sample": answer,
                "epsilon": (x_t - (1 - a) ** 0.5 * answer) / a**0.5,
            }[model.noise.prediction_type]
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


def set_residual_spectrum(model: Any, rest: Rest) -> None:
    """Have a denoiser draw, and be saved, with this `Noise.rest`."""
    model.noise = replace(model.noise, rest=rest)
    model.register_to_config(rest=rest)
