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

from gentraffic.generators.fomo.data import SIDE, Region
from gentraffic.generators.fomo.scale import FoMoScale, condition_of
from gentraffic.modelling.features import Scaler
from gentraffic.training.fomo_task import WINDOW, FoMoPlan, ladder, masked, region_weights, stack, window
from gentraffic.training.sampler_task import Plan, Prepared, batch_of
from samplers import WEEK, Denoiser
from samplers.diffusion import QUIET, Rest, diffusion_target
from samplers.fomo import FoMo

BATCHES = 8  # of each network
# Chosen on whole weeks of Shandong, Nanchang and Milan (docs/results/speed): what recurs every day and half-day, and
# all else. With the mean power throughout two steps draw weeks too rough.
DAYS_OWN, DAILY, OTHERS = (1.0, 0.5), 1.3, 0.3


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
    """The power about the prediction from noise of series of which nothing is observed: (cadences, F), `rest`.

    Over stretches of the training blocks of a week, or of a window where no region at that cadence has a week, their
    places told and users not, in the cosines of a stretch and its mirror image (DCT-II, orthonormal), F of them. What
    a cell does every day of a week is its own, so the waves of DAYS_OWN days count DAILY times their mean power, beside
    others that count OTHERS times, of which few loud series make most (`samplers.diffusion.QUIET`, of a window's waves,
    is divided out). A cadence at which nothing was measured keeps the row that the model has, else has that of the
    nearest one. None where no cadence was. On the CPU.
    """
    found: dict[int, tuple[float, ...]] = {}
    if model.rest is not None:
        found = dict(zip(model.cadences, model.rest, strict=True))
    for minutes in model.cadences:
        there = [r for region in regions for r in ladder(region) if r.minutes == minutes]
        week = WEEK * 60 // minutes
        long = [r for r in there if r.values.shape[1] >= week]
        length = week if long else WINDOW
        rng, power = np.random.default_rng((plan.seed, minutes)), []
        for i in range(BATCHES if there else 0):
            generator = torch.Generator().manual_seed(i)
            count = max(1, plan.batch * WINDOW // length)
            power.append(
                _mirrored_power(model, _stretches(long or there, length, count, rng), scale, length, generator)
            )
        if power:
            mean = torch.cat(power).mean(0).double().numpy()
            if long:
                own = np.isin(np.arange(length), [2 * length // (days * 1440 // minutes) for days in DAYS_OWN])
                mean = mean * np.where(own, DAILY, OTHERS) / QUIET
            found[minutes] = tuple(mean.round(5).tolist())
    if not found:
        return None
    return tuple(found[min(found, key=lambda have, want=m: abs(have - want))] for m in model.cadences)  # type: ignore[misc]


def _stretches(
    regions: Sequence[Region], length: int, count: int, rng: np.random.Generator
) -> list[tuple[Region, int, int]]:
    """Region, block and first step of each of some stretches of `length` steps."""
    weights, out = region_weights(regions), []
    for _ in range(count):
        region = regions[int(rng.choice(len(regions), p=weights))]
        start = int(rng.integers(region.values.shape[1] - length + 1))
        out.append((region, int(rng.integers(len(region.blocks))), start))
    return out


def _mirrored_power(
    model: FoMo, stretches: Sequence[tuple[Region, int, int]], scale: FoMoScale, length: int, generator: torch.Generator
) -> Tensor:
    """Squares of the cosines of what the prediction from noise leaves of each cell of some stretches: (cells, F).

    The windows of a stretch stand one after the other, the last at its end."""
    last = model.noise.num_train_timesteps - 1
    a = float(model.noise.alphas_cumprod[last])
    firsts = sorted({*range(0, length - WINDOW + 1, WINDOW), length - WINDOW})
    unknown = np.zeros((SIDE, SIDE, WINDOW), dtype=bool)
    rest = []
    for region, block, start in stretches:
        whole = [window(region, scale, block, start + first) for first in firsts]
        shown = stack(
            [masked(replace(w, users=np.full_like(w.users, np.nan)), unknown, scale, region.spread) for w in whole]
        )
        ratio = (
            np.nan_to_num(np.concatenate([w.values for w in whole]))
            / np.nan_to_num(shown.reference, nan=1.0)[..., None]
        )
        x = torch.from_numpy(scale.forward(ratio, shown.usual)).float()
        t = torch.full((len(x),), last)
        x_t, _ = diffusion_target(model.noise, x, torch.randn(x.shape, generator=generator), t)
        apart = x - clean_of(model.noise.prediction_type, a, x_t, model(x_t, t, condition_of(shown, scale)))
        series = torch.zeros(SIDE, SIDE, length)
        for first, part in zip(firsts, apart, strict=True):
            series[..., first : first + WINDOW] = part
        rest.append(series[torch.from_numpy(whole[0].exists[0].all(-1))])
    step = torch.arange(length)
    cosines = torch.cos(math.pi * (step + 0.5) * step[:, None] / length) * (2 / length) ** 0.5
    cosines[0] /= 2**0.5
    out: Tensor = (torch.cat(rest) @ cosines.T).square()
    return out


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
