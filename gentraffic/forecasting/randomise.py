"""Domain randomisation (Tobin et al., IROS 2017): variants of our own synthetic traffic, so wide that the real fits in.

A variant is one draw of how restless, how smooth, how noisy, how early and how busy all cells are; each cell adds a
little of its own. Streams are keyed by (seed, purpose, variant[, cell id]): a series does not depend on the cells
beside it. POIs are varied before traffic is drawn (`randomise_pois`), traffic after it (`randomise`). Variant 0 is the
original.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter
from scipy.special import ndtri

from gentraffic.errors import WrongUse
from gentraffic.modelling.random_streams import cell_key

if TYPE_CHECKING:
    import xarray as xr

VARIANT, CELL, POIS = 21, 22, 23  # purposes of streams (see gentraffic.modelling.random_streams for the first three)
FLOOR = 1e-3  # of a cell's mean, added before logarithms
STEP = 1.1347241384015194  # g^6 = g + 1
OWN = 0.3  # a cell's own deviation, in units of that between variants


@dataclass(frozen=True)
class Spread:
    """How far variants lie apart; 0 switches a part off.

    restless: log spread of the factor on what a step deviates from its slot of the day (log of the ratio). smooth: how
    much of those deviations, at most, gives way to their average with the steps beside them, uniform from 0. noise: a
    variant's largest relative noise, uniform from 0; its lag-1 correlation is uniform in 0 .. 0.9. phase_h: spread of
    the shift in time, hours. level: log spread of a cell's level. poi: log spread of the factor on a POI category.
    """

    restless: float = 0.7
    smooth: float = 1.0
    noise: float = 0.1
    phase_h: float = 1.0
    level: float = 0.3
    poi: float = 0.3


def randomise(traffic: xr.Dataset, variant: int, spread: Spread | None = None, *, seed: int = 0) -> xr.Dataset:
    """A variant of a traffic Dataset (cell, time): same cells, times and services; non-negative, zeros stay zeros.

    All services of a cell share its draws of restlessness, phase and level, not of noise. Raises WrongUse for a
    negative variant or a Dataset with members.
    """
    from gentraffic.dataset.schema import services

    if variant < 0:
        raise WrongUse(f"variant {variant}: variants are 0 (the original), 1, 2, ...")
    if "member" in traffic.dims:
        raise WrongUse("randomise one member at a time: take one with .isel(member=...)")
    if variant == 0:
        return traffic
    spread = spread or Spread()
    times = traffic["time"].values
    per_day = round(86_400 / float((times[1] - times[0]) / np.timedelta64(1, "s")))
    even = even_point(variant, seed)
    k, phase = ndtri(even[:2])
    size, memory, smooth = even[2] * spread.noise, even[3] * 0.9, even[4] * spread.smooth
    ids = traffic["cell_id"].values.tolist()
    streams = [np.random.default_rng(np.random.SeedSequence((seed, CELL, variant, cell_key(c)))) for c in ids]
    own = np.stack([rng.standard_normal(3) for rng in streams])  # (cells, restless phase level)
    stretch = np.exp(spread.restless * (k + OWN * own[:, 0]))
    shift = spread.phase_h * (phase + OWN * own[:, 1]) * per_day / 24  # steps
    level = np.exp(spread.level * own[:, 2])
    out = traffic.copy()
    for name in services(traffic):
        values = traffic[name].values.astype(np.float64)  # (cells, steps)
        noise = np.stack([_coloured(rng, values.shape[1], memory) for rng in streams])
        varied = restless(shifted(values, shift), per_day, stretch, smooth) * np.exp(size * noise - size**2 / 2)
        out[name] = traffic[name].copy(data=(varied * level[:, None]).astype(np.float32))
    return out.assign_attrs(randomised=f"variant {variant} of seed {seed}: {spread}")


def even_point(variant: int, seed: int) -> NDArray[np.float64]:
    """(5,) in 0 .. 1: the variant's point of a Kronecker sequence, so that few variants already spread evenly.

    Its steps are the powers of 1 / g with g^6 = g + 1 (Roberts' R sequence, the golden ratio in five dimensions); it
    starts at a point drawn by the seed.
    """
    start = np.random.default_rng(np.random.SeedSequence((seed, VARIANT))).uniform(size=5)
    return np.asarray(np.clip((start + variant * STEP ** -np.arange(1.0, 6.0)) % 1.0, 1e-6, 1 - 1e-6))


def shifted(values: NDArray[np.float64], steps: NDArray[np.float64]) -> NDArray[np.float64]:
    """values (cells, n) moved later by `steps` (cells,), whole and broken, linear between steps; the ends join."""
    n = values.shape[1]
    at = (np.arange(n) - steps[:, None]) % n
    low = np.floor(at).astype(np.int64)
    part = at - low
    before, after = (np.take_along_axis(values, (low + i) % n, axis=1) for i in (0, 1))
    return np.asarray((1 - part) * before + part * after)


def restless(
    values: NDArray[np.float64], per_day: int, stretch: NDArray[np.float64], smooth: float = 0.0
) -> NDArray[np.float64]:
    """values (cells, n) whose deviations from the slot of the day are stretched and smoothed.

    log x -> mean + stretch r, r = (1 - smooth) d + smooth (d before + 2 d + d after) / 4 for d = log x - mean, the mean
    over the days of a slot; stretch (cells,) 0 leaves the average day alone, 1 with smooth 0 changes nothing. Smooth 1
    takes away what alternates from step to step. A cell's mean stays what it was.
    """
    mean = values.mean(axis=1, keepdims=True)
    floor = FLOOR * np.where(mean > 0, mean, 1.0)
    logs = np.log(values + floor)
    slot_mean = np.empty_like(logs)
    for slot in range(min(per_day, logs.shape[1])):
        slot_mean[:, slot::per_day] = logs[:, slot::per_day].mean(axis=1, keepdims=True)
    away = np.pad(logs - slot_mean, ((0, 0), (1, 1)), mode="edge")
    before, now, after = away[:, :-2], away[:, 1:-1], away[:, 2:]
    varied = np.maximum(
        np.exp(slot_mean + stretch[:, None] * (now + smooth * (before - 2 * now + after) / 4)) - floor, 0.0
    )
    total = varied.mean(axis=1, keepdims=True)
    return np.asarray(varied * np.divide(mean, total, out=np.ones_like(mean), where=total > 0))


def randomise_pois(context: xr.Dataset, variant: int, spread: Spread | None = None, *, seed: int = 0) -> xr.Dataset:
    """A Context whose mix of POIs is another: each category is multiplied by a factor of the variant, then rounded.

    Rounding is random, keyed by (seed, variant, cell), so that rare categories keep their mean. Draw traffic for it.
    Raises WrongUse for a negative variant.
    """
    if variant < 0:
        raise WrongUse(f"variant {variant}: variants are 0 (the original), 1, 2, ...")
    if variant == 0:
        return context
    spread = spread or Spread()
    counts = context["poi_count"]
    rng = np.random.default_rng(np.random.SeedSequence((seed, POIS, variant)))
    wanted = counts.values * np.exp(spread.poi * rng.standard_normal(counts.shape[1]))
    chance = np.stack([_uniform(seed, variant, c, counts.shape[1]) for c in context["cell_id"].values.tolist()])
    varied = np.floor(wanted + chance).astype(counts.dtype)
    return context.assign(poi_count=counts.copy(data=varied)).assign_attrs(
        randomised=f"variant {variant} of seed {seed}: POI mix, log spread {spread.poi}"
    )


def _uniform(seed: int, variant: int, cell: Any, n: int) -> NDArray[np.float64]:
    return np.random.default_rng(np.random.SeedSequence((seed, POIS, variant, cell_key(cell)))).uniform(size=n)


def _coloured(rng: np.random.Generator, n: int, memory: float) -> NDArray[np.float64]:
    """(n,) standard normal noise, lag-1 correlation `memory`, stationary from the first step on."""
    white = rng.standard_normal(n)
    white[1:] *= np.sqrt(1 - memory**2)
    return np.asarray(lfilter([1.0], [1.0, -memory], white))
