"""Units of volume that a reader can take in: 0.3 GB rather than 0.0003 TB."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from gentraffic.dataset.amounts import conversion, step_seconds

if TYPE_CHECKING:
    import xarray as xr

LADDER = ("k", "M", "G", "T", "P")
AMOUNTS = ("B", "bit")


def readable_unit(units: str, level: float) -> tuple[str, float]:
    """The unit in which `level` of `units` is at least 1, such as GB for TB, and the factor to it; 1 where it is."""
    factor = 1.0
    while units[:1] in LADDER[1:] and units[1:] in AMOUNTS and 0 < level * factor < 1:
        units, factor = LADDER[LADDER.index(units[0]) - 1] + units[1:], factor * 1000.0
    return units, factor


def readable_units(ds: xr.Dataset) -> dict[str, tuple[str, float]]:
    """Service -> (a smaller unit, such as GB for TB, where even the busiest cell carries less than 1; factor to it).

    Services in the same units stay in the same units; the factor is 1 where the unit stays.
    """
    levels: dict[str, float] = {}
    for variable in ds.data_vars.values():
        level = float(variable.mean(dim=[d for d in variable.dims if d != "cell"], dtype=np.float64).max())
        units = str(variable.attrs["units"])
        levels[units] = max(level, levels.get(units, 0.0))
    return {str(name): readable_unit(units, levels[units])
            for name, units in ((name, str(v.attrs["units"])) for name, v in ds.data_vars.items())}  # fmt: skip


def readable(ds: xr.Dataset) -> xr.Dataset:
    """`ds` in the units of `readable_units`, float32."""
    out = ds
    for name, (units, factor) in readable_units(ds).items():
        if factor != 1:
            values = (ds[name] * np.float32(factor)).astype(np.float32)
            out = out.assign({name: values.assign_attrs(ds[name].attrs | {"units": units})})
    return out


def rescaled(ds: xr.Dataset, factors: Mapping[str, tuple[str, float]]) -> xr.Dataset:
    """`ds` in other units, service -> (units, factor); float64 where a factor is not 1, so that sums stay what they
    were."""
    out = ds
    for name, (units, factor) in factors.items():
        values = ds[name] if factor == 1 else ds[name].astype(np.float64) * factor
        out = out.assign({name: values.assign_attrs(ds[name].attrs | {"units": units})})
    return out


def converted(ds: xr.Dataset, units: str) -> xr.Dataset:
    """`ds` with every service of another unit of volume in `units` (TB in GB, GB per step in Mbit/s)."""
    out = ds
    for name, variable in ds.data_vars.items():
        factor = conversion(str(variable.attrs["units"]), units, step_seconds(ds))
        if factor is not None and factor != 1:
            values = (variable * np.float64(factor)).astype(np.float32)
            out = out.assign({str(name): values.assign_attrs(variable.attrs | {"units": units})})
    return out
