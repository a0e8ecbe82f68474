"""A small measured world with users, and a tiny FoMo that was really trained on it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import bundle_examples
import numpy as np
import pyproj
import xarray as xr
from traffic_examples import UTM

from gentraffic.dataset.schema import traffic_dataset
from gentraffic.generators.fomo.data import read_region
from gentraffic.generators.fomo.folder import FoMoBundle
from gentraffic.training.fomo_fitting import FoMoDesign, fit_fomo
from gentraffic.training.fomo_task import FoMoPlan
from samplers import fomo

PLAN = FoMoPlan(steps=40, batch=8, warmup=5, learning_rate=3e-3, ema=0.9)


def world(
    network: str = "here", cells: int = 36, days: int = 8, minutes: int = 60, seed: int = 0, users: bool = True
) -> tuple[xr.Dataset, xr.Dataset]:
    """(traffic, context): traffic = 50 x users x noise; users follow the day and the POIs."""
    place = bundle_examples.context(cells, network, seed)
    lon, lat = pyproj.Transformer.from_crs(UTM, "EPSG:4326", always_xy=True).transform(place["x"], place["y"])
    place = place.assign_coords(lon=("cell", lon), lat=("cell", lat))
    rng = np.random.default_rng(seed + 1)
    steps = np.arange(days * 1440 // minutes)
    level = np.exp(0.5 * np.log1p(place["poi_count"].values.sum(1)) + rng.normal(0, 0.3, cells))
    day = 1.2 + np.cos(2 * np.pi * (steps * minutes / 60 - 15) / 24)
    crowd = level[:, None] * day[None] * np.exp(rng.normal(0, 0.1, (cells, len(steps))))
    values = 50 * crowd * np.exp(rng.normal(0, 0.1, crowd.shape))
    utc = np.datetime64("2021-03-01T00:00", "ns") - np.timedelta64(1, "h") + (steps * minutes).astype("timedelta64[m]")
    traffic = traffic_dataset(
        values,
        cells=place,
        time=utc,
        service="traffic",
        units="MB",
        timezone="Europe/Rome",
        attrs={"network": network, "attribution": "the tests", "license": "none"},
    )
    if users:
        traffic["users"] = (("cell", "time"), crowd.astype(np.float32), {"units": "1"})
    return traffic, place


def data(*worlds: tuple[xr.Dataset, xr.Dataset]) -> list[Any]:
    """Sources and regions of worlds."""
    return [read_region(traffic, [place], "traffic") for traffic, place in worlds]


def tiny_fomo() -> FoMoBundle:
    """A FoMo of some thousand weights, trained for 40 steps on an hourly and a half-hourly world."""
    fomo.SIZES["tiny"] = {"width": 24, "depth": 1, "heads": 2}
    try:
        worlds = data(world("here"), world("there", cells=20, minutes=30, seed=3, users=False))
        bundle, told = fit_fomo(worlds, design=FoMoDesign(size="tiny"), plan=PLAN)
    finally:
        del fomo.SIZES["tiny"]
    told |= {"command": "the tests", "seed": 0, "held_out": 0}
    return replace(bundle, provenance={**told, "data": [], "recommended_steps": 4})
