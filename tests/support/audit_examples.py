"""Traffic files of one small network for audits: training cells, cells that nobody saw, and their common context."""

from __future__ import annotations

import numpy as np
import pyproj
import xarray as xr
from bundle_examples import context, source
from numpy.typing import NDArray
from traffic_examples import SIDE, UTM

from gentraffic.dataset.schema import traffic_dataset

START = "2013-11-05T23:00"  # UTC: midnight of a Wednesday in Rome, weekday 2 of bundle_examples.source


def series(cells: int, seed: int, days: int = 14) -> NDArray[np.float32]:
    """Traffic of cells of the network alpha, (cells, hours); seed 0 with 32 cells is what tiny_bundle was fitted on."""
    return source("alpha", cells, days, seed=seed).hourly().astype(np.float32)


def place(cells: int, seed: int, first: int) -> xr.Dataset:
    """The context of `series`, with ids from `first` on, as many cells eastwards."""
    ds = context(cells, "alpha", seed, ids=np.arange(first, first + cells))
    x = ds.x.values + first * SIDE
    lon, lat = pyproj.Transformer.from_crs(UTM, "EPSG:4326", always_xy=True).transform(x, ds.y.values)
    return ds.assign_coords(x=("cell", x), lon=("cell", lon), lat=("cell", lat), col=ds.col + first)


def traffic(
    values: NDArray[np.float32], where: xr.Dataset, *, units: str = "unknown", start: str = START, minutes: int = 60
) -> xr.Dataset:
    """A Traffic dataset of the service `traffic`."""
    time = np.datetime64(start, "ns") + np.arange(values.shape[-1]) * np.timedelta64(minutes, "m")
    return traffic_dataset(
        values, cells=where, time=time, service="traffic", units=units, timezone="Europe/Rome"
    ).assign_attrs(network="alpha")


def both_places(train: int = 32, holdout: int = 40) -> tuple[xr.Dataset, xr.Dataset, xr.Dataset]:
    """Contexts of training cells, of hold-out cells, and of both together."""
    a, b = place(train, 0, 1), place(holdout, 7, 101)
    return a, b, xr.concat([a, b], "cell", combine_attrs="override")
