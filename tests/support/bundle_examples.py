"""A small world of two measured networks, and a model that was really fitted on it, in seconds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest import mock

import numpy as np
import xarray as xr
from traffic_examples import SIDE, SOUTH, UTM, WEST

from gentraffic.generators.folder import Bundle
from gentraffic.modelling.features import read_places
from gentraffic.modelling.measured import Source
from gentraffic.training import fitting
from gentraffic.training.fitting import Design, fit_sampler
from gentraffic.training.sampler_task import Plan
from poi.categories import CATEGORIES

DESIGN = Design(channels=(8, 8), width=8)
PLAN = Plan(steps=60, batch=16, warmup=10, check_every=20)


def context(cells: int, network: str = "", seed: int = 0, ids: Any = None) -> xr.Dataset:
    """A nearly square grid of `cells` squares with POIs in clusters."""
    rng = np.random.default_rng(seed)
    n = int(np.ceil(np.sqrt(cells)))
    row, col = np.divmod(np.arange(cells), n)
    busy = np.exp(-((row - n / 3) ** 2 + (col - n / 2) ** 2) / (n**2 / 8))
    counts = rng.poisson(0.3 + 6 * busy[:, None] * rng.gamma(1.0, 1.0, (cells, 1)), (cells, len(CATEGORIES)))
    x, y = WEST + (col + 0.5) * SIDE, SOUTH + (row + 0.5) * SIDE
    attrs = {"kind": "grid", "cell_m": SIDE, "crs_wkt": UTM.to_wkt(), "timezone": "Europe/Rome", "network": network}
    return xr.Dataset(
        {"poi_count": (("cell", "category"), counts.astype(np.int32))},
        coords={
            "cell_id": ("cell", np.arange(1, cells + 1) if ids is None else ids),
            "x": ("cell", x),
            "y": ("cell", y),
            "lon": ("cell", 9.0 + (x - WEST) / 78_000),
            "lat": ("cell", 45.3 + (y - SOUTH) / 111_000),
            "row": ("cell", row.astype(np.int32)),
            "col": ("cell", col.astype(np.int32)),
            "category": ("category", np.array(CATEGORIES, dtype=object)),
        },
        attrs=attrs,
    )


def source(network: str, cells: int = 32, days: int = 14, per_hour: int = 1, seed: int = 0) -> Source:
    """Cells whose level follows their POIs and whose day peaks at noon where it is busy, in the evening elsewhere."""
    rng = np.random.default_rng(seed)
    places = read_places(context(cells, network, seed))
    log = places.counts.sum(1) / 8 + rng.normal(0, 0.4, cells)
    steps = np.arange(days * 24 * per_hour) / per_hour
    peak = np.where(log > np.median(log), 12.0, 20.0)[:, None]
    day = 1 + 0.8 * np.cos(2 * np.pi * (steps[None, :] - peak) / 24)
    week = np.where((steps // 24) % 7 >= 5, 0.7, 1.0)
    ratio = day * week * np.exp(rng.normal(0, 0.15, day.shape))
    ratio = (ratio / ratio.mean(1, keepdims=True)).astype(np.float32).reshape(cells, days, 24 * per_hour)
    return Source(
        network=network,
        ratio=ratio,
        clean=ratio,
        level=np.exp(log),
        per_hour=per_hour,
        weekday=2,
        places=places,
        rows=np.arange(cells),
        location=np.arange(cells) // 4,
        cell_id=np.arange(1, cells + 1),
        timezone="Europe/Rome",
    )


def sources() -> list[Source]:
    """Two networks, one of them at ten minutes, and one of which only the times are known."""
    times_only = replace(source("elsewhere", 12, 7, seed=2), places=None, rows=np.zeros(12, dtype=np.int64))
    return [source("alpha"), source("beta", 16, 8, per_hour=6, seed=1), times_only]


@contextmanager
def short_graphs(steps: int = 20) -> Iterator[None]:
    """Fits whose two graphs are pre-trained for a few steps: what a test does not look at takes three seconds else."""
    kept = fitting.fit_graphs

    def few(*of: Any, **more: Any) -> Any:
        return kept(*of, **more | {"steps": steps})

    with mock.patch.object(fitting, "fit_graphs", few), mock.patch("gentraffic.privacy.dp.fit.fit_graphs", few):
        yield


def tiny_bundle() -> Bundle:
    """A fitted bundle; a second of one core."""
    with short_graphs():
        bundle, _ = fit_sampler(sources(), design=DESIGN, plan=PLAN)
    return bundle
