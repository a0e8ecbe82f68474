"""A population of cells, as large as one likes, made of real series: to try an audit on.

Each cell is spliced from the days of real cells of one network (Beijing's 768 stations, Shandong's week 0, Nanchang,
Nanjing; the first 168 hours, hourly; dead cells dropped): Monday from one of the 20 cells most like a randomly chosen
one, Tuesday from another, and so on, each day divided by its own cell's mean; then a level drawn from the network's own
(lognormal jitter of 0.2) and a factor for every hour, an AR(1) in logs (0.7 an hour, standard deviation 0.1). So hours
within a day, days within a week, levels and outliers are real ones; two cells share a day now and then, as neighbouring
cells do, and never a week.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gentraffic.io.importers.public_sets import read_beijing
from gentraffic.io.importers.uomo import read_uomo
from gentraffic.modelling.measured import Source, read_source
from gentraffic.privacy.audit.records import Records, common_log

Series = NDArray[np.float32]
NEIGHBOURS, JITTER, MEMORY, NOISE = 20, 0.2, 0.7, 0.1
HOURS = 168


@dataclass(frozen=True)
class Network:
    """ratio: (cells, 7, 24) over the cell's mean. level: (cells,). alike: (cells, NEIGHBOURS) most similar cells."""

    ratio: NDArray[np.float64]
    level: NDArray[np.float64]
    alike: NDArray[np.intp]


def read_networks(data: Path) -> list[Network]:
    """The four networks, from the folder of real data."""
    parts = [read_source(read_beijing(data / "traffic" / "beijing_stations_168h.npz"), [])]
    for city in ("sd", "nc", "nj"):
        traffic, context = read_uomo(data / "traffic" / f"uomo_{city}.npz")
        parts.append(read_source(traffic, [context]))
    return [_network(part) for part in parts]


def draw_cells(networks: list[Network], n: int, rng: np.random.Generator) -> Series:
    """(n, 168) new cells; networks as often as they have cells, levels relative to the network's median."""
    size = np.array([len(network.level) for network in networks], dtype=np.float64)
    chosen = rng.choice(len(networks), n, p=size / size.sum())
    out = np.empty((n, HOURS))
    for k, network in enumerate(networks):
        mine = np.flatnonzero(chosen == k)
        seed = rng.integers(len(network.level), size=len(mine))
        donor = network.alike[seed[:, None], rng.integers(NEIGHBOURS, size=(len(mine), 7))]
        week = network.ratio[donor, np.arange(7)].reshape(len(mine), HOURS)
        noise = np.empty((len(mine), HOURS))
        noise[:, 0] = rng.normal(0, NOISE, len(mine))
        for hour in range(1, HOURS):
            fresh = rng.normal(0, NOISE * np.sqrt(1 - MEMORY**2), len(mine))
            noise[:, hour] = MEMORY * noise[:, hour - 1] + fresh
        level = network.level[seed] / np.median(network.level) * rng.lognormal(0, JITTER, len(mine))
        out[mine] = week * np.exp(noise) * level[:, None]
    return out.astype(np.float32)


def mean_shapes(cells: Series, rng: np.random.Generator) -> Series:
    """A poor generator that has seen none of `cells` but their mean: one shape, their levels shuffled, little noise.

    cells: (cells, steps) traffic.
    """
    shape = (cells / cells.mean(axis=1, keepdims=True)).mean(axis=0)
    level = rng.permutation(cells.mean(axis=1)) * rng.lognormal(0, JITTER, len(cells))
    drawn = level[:, None] * shape * rng.lognormal(0, 0.05, cells.shape)
    return np.asarray(drawn, dtype=np.float32)


def records_of(values: Series, scale: float) -> Records:
    """One record a cell, of values (cells, steps)."""
    n = len(values)
    zero = np.zeros(n, dtype=np.intp)
    return Records(values, common_log(values, scale), np.arange(n), np.arange(n).astype(str), zero, zero)


def _network(source: Source) -> Network:
    series = source.hourly()[:, :HOURS]
    series = series[series.min(axis=1) >= 0]
    series = series[series.mean(axis=1) > 0]
    level = series.mean(axis=1)
    ratio = series / level[:, None]
    log = np.log(ratio + 0.05)
    apart = (log**2).sum(1)[:, None] + (log**2).sum(1)[None, :] - 2 * log @ log.T
    alike = np.argsort(apart, axis=1)[:, :NEIGHBOURS]
    return Network(ratio.reshape(-1, 7, 24), level, alike)
