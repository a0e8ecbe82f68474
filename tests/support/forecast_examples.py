"""A small network whose cells follow a common day, and a forecaster quickly fitted on it."""

from __future__ import annotations

import numpy as np
import xarray as xr
from traffic_examples import context, traffic

from forecasters import grid_patches
from gentraffic.forecasting.data import Network
from gentraffic.forecasting.task import Plan

QUICK = Plan(steps=12, batch=32, warmup=2, check_every=4)


def network(
    rows: int = 3, cols: int = 4, days: int = 8, per_day: int = 24, seed: int = 0, services: int = 1
) -> Network:
    """Levels over a decade, a daily curve, and noise that neighbours share and that lasts for hours."""
    rng = np.random.default_rng(seed)
    row, col = (index.ravel() for index in np.indices((rows, cols)))
    cells, steps = rows * cols, days * per_day
    shared = np.zeros(steps)
    for t in range(1, steps):
        shared[t] = 0.9 * shared[t - 1] + 0.1 * rng.normal()
    hour = np.arange(steps) / per_day * 24 % 24
    day = 0.3 + np.exp(-(((hour - 14) / 5) ** 2))
    noise = rng.lognormal(0, 0.1, (cells, steps, services))
    values = np.geomspace(1, 10, cells)[:, None, None] * (day * np.exp(shared))[None, :, None] * noise
    frame = np.arange(cells).reshape(rows, cols)
    return Network(values.astype(np.float32), grid_patches(row, col), per_day, frame)


def dataset(kind: str = "grid", days: int = 8, minutes: int = 60, n: int = 4, seed: int = 1) -> xr.Dataset:
    """A Traffic Dataset of n x n cells."""
    return traffic(context(kind, n), days=days, minutes=minutes, seed=seed)
