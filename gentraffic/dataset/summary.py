"""What an ensemble says of each cell: quantile maps, busy hours, and how probable it is that a capacity is exceeded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gentraffic.dataset.amounts import per_hour, step_seconds
from gentraffic.dataset.schema import PER_CELL, local_time, member_band

if TYPE_CHECKING:
    import xarray as xr

QUANTILES = {"p05": 0.05, "p50": 0.50, "p95": 0.95}
AGREED = 0.5  # share of members that must put a busy hour within one hour for it to be shown as known
FEW = 10  # members below which the tails of an ensemble are guesses
BLOCK = 2**22  # values that are worked on at once


def summary(ds: xr.Dataset, service: str, capacity: float | None = None) -> xr.Dataset:
    """One number per cell of a checked traffic Dataset, with its per-cell coordinates; all float64 but `busy_hour`.

    mean: over members and steps. busy_hour: the local hour (0-23) in which the cell's average day is highest;
    busy_mean: the mean value in that hour, of volumes that of the whole hour, however short the steps are; of several
    members also busy_agreement: the share of members whose own busiest hour is that one or one beside it. peak: the
    highest value, its mean over members. Of several members also mean_p05, mean_p50, mean_p95, peak_p05, peak_p50,
    peak_p95: quantiles over the members of a cell's mean and peak.
    With a capacity (in the units of the service): time_above, the share of steps above it, over members; and, of
    several members, p_above, the share of members that exceed it at any step of the period.
    """
    import xarray as xr

    values = ds[service].values
    members = values if values.ndim == 3 else values[None]  # (members, cells, steps)
    cells = members.shape[1]
    hours = np.asarray(local_time(ds).hour)
    present = np.unique(hours)
    of_hour = [hours == hour for hour in present]
    units = str(ds[service].attrs["units"])
    to_hour = per_hour(units, step_seconds(ds))
    block = max(1, BLOCK // (members.shape[0] * members.shape[2]))
    means, peaks = np.empty((2, len(members), cells))
    busy, busy_mean, agreement = np.empty(cells, dtype=np.int32), np.empty(cells), np.empty(cells)
    above = np.empty((len(members), cells))
    for start in range(0, cells, block):
        part = members[:, start : start + block]
        at = slice(start, start + part.shape[1])
        means[:, at] = part.mean(axis=2, dtype=np.float64)
        peaks[:, at] = part.max(axis=2)
        of_member = np.stack([part[:, :, h].mean(axis=2, dtype=np.float64) for h in of_hour])  # (hours, members, cells)
        day = of_member.mean(axis=1)  # (hours, cells)
        busy[at] = present[day.argmax(axis=0)]
        busy_mean[at] = day.max(axis=0) * to_hour
        apart = np.abs(present[of_member.argmax(axis=0)] - busy[at])  # (members, cells), hours
        agreement[at] = (np.minimum(apart, 24 - apart) <= 1).mean(axis=0)
        if capacity is not None:
            above[:, at] = (part > capacity).mean(axis=2)
    result: dict[str, tuple[NDArray[Any], str, str]] = {
        "mean": (means.mean(axis=0), units, "mean over the period"),
        "busy_hour": (busy, "h", "local hour in which the average day is highest"),
        "busy_mean": (busy_mean, units, "mean value in that hour"),
        "peak": (peaks.mean(axis=0), units, "highest value of the period"),
    }
    if len(members) > 1:
        about = "share of members whose busiest hour is within one hour of busy_hour"
        result["busy_agreement"] = (agreement, "1", about)
        for name, per_member in (("mean", means), ("peak", peaks)):
            for word, share in QUANTILES.items():
                spread = np.quantile(per_member, share, axis=0)
                result[f"{name}_{word}"] = (spread, units, f"{share:.0%} quantile of the {name} over the members")
    if capacity is not None:
        result["time_above"] = (above.mean(axis=0), "1", f"share of steps above {capacity:g} {units}")
        if len(members) > 1:
            share = (above > 0).mean(axis=0)
            result["p_above"] = (share, "1", f"share of members that exceed {capacity:g} {units} at any step")
    coords = {name: ds[name].variable for name in PER_CELL if name in ds.coords}
    return xr.Dataset(
        {name: ("cell", v, {"units": unit, "long_name": about}) for name, (v, unit, about) in result.items()},
        coords=coords,
        attrs=dict(ds.attrs),
    )


@dataclass(frozen=True)
class Highest:
    """When cells are highest, and how often above a capacity.

    step: (cells,) step in which the mean over the members is highest. value: (cells,) highest value of each member,
    mean over members, as `peak` of `summary`. above: (cells,) steps above the capacity, mean over members; members:
    (cells,) share of the members that exceed it in any step; both 0 without a capacity.
    """

    step: NDArray[np.intp]
    value: NDArray[np.float64]
    above: NDArray[np.float64]
    members: NDArray[np.float64]


def highest(ds: xr.Dataset, service: str, capacity: float | None = None) -> Highest:
    """The highest step of each cell. capacity: in the units of the service."""
    values = ds[service].values
    values = values if values.ndim == 3 else values[None]  # (members, cells, steps)
    cells = values.shape[1]
    step, (value, above, share) = np.empty(cells, dtype=np.intp), np.zeros((3, cells))
    block = max(1, BLOCK // (values.shape[0] * values.shape[2]))
    for start in range(0, cells, block):
        part = values[:, start : start + block]
        at = slice(start, start + part.shape[1])
        step[at] = part.mean(axis=0, dtype=np.float64).argmax(axis=-1)
        value[at] = part.max(axis=2).mean(axis=0, dtype=np.float64)
        if capacity is not None:
            over = (part > capacity).sum(axis=2)  # (members, cells)
            above[at], share[at] = over.mean(axis=0), (over > 0).mean(axis=0)
    return Highest(step, value, above, share)


def level_spread(result: xr.Dataset) -> NDArray[np.float64]:
    """(cells,) 95% over 5% quantile of each cell's mean level over the members, of a `summary`; 1 where both are 0."""
    low, high = result["mean_p05"].values, result["mean_p95"].values
    floor = max(float(high.max()) * 1e-9, 1e-300)
    return np.asarray((high + floor) / (low + floor))


def member_range(ds: xr.Dataset) -> xr.Dataset:
    """An ensemble as three series per cell and service, (cell, time): NAME the mean of the members (float64), NAME_low
    and NAME_high the ends of their range at each step (`schema.member_band`). Without members `ds` as it is.

    The attribute `members` says what they are. The sums of NAME are those of the mean member; ends do not add up.
    """
    if "member" not in ds.dims:
        return ds
    count = ds.sizes["member"]
    quantiles, words = member_band(count)
    out = ds.isel(member=0).drop_vars("member")
    for name, variable in ds.data_vars.items():
        values = variable.values
        mean = values.mean(axis=0, dtype=np.float64)
        ends = np.empty((2, *values.shape[1:]), dtype=values.dtype)
        block = max(1, BLOCK // (values.shape[0] * values.shape[2]))
        for start in range(0, values.shape[1], block):
            ends[:, start : start + block] = np.quantile(values[:, start : start + block], quantiles, axis=0)
        out[name] = (("cell", "time"), mean, variable.attrs)
        for end, word in zip(ends, ("low", "high"), strict=True):
            attrs = variable.attrs | {"long_name": f"{word} end of the {words}"}
            out[f"{name}_{word}"] = (("cell", "time"), end, attrs)
    return out.assign_attrs(members=f"mean and {words}, each step by itself: only the means add up")


def one_member(ds: xr.Dataset, which: str | None) -> xr.Dataset:
    """`ds` with one series per cell: of member "0", "1", ..., the "mean" of all, or a quantile such as "p95".

    A Dataset without members is returned as it is. The mean is float64: rounded to float32, means of a few values add
    up to another sum. Raises WrongUse for None (which member is meant?), or a name that
    is none of these.
    """
    import re

    from gentraffic.errors import WrongUse

    if "member" not in ds.dims:
        if which not in (None, "0", "mean"):
            raise WrongUse(f"--member {which}: this file has one member only; leave the option out")
        return ds
    numbers = [int(m) for m in ds["member"].values]
    ways = f"give --member 0 (the control, the most likely levels) to {numbers[-1]}, mean, or a quantile such as p95"
    if which is None:
        raise WrongUse(f"this format holds one series per cell, and the file has {len(numbers)} members: {ways}")
    if which.isdigit() and int(which) in numbers:
        return ds.isel(member=numbers.index(int(which))).drop_vars("member")
    quantile = re.fullmatch(r"p(\d{1,2}(?:\.\d+)?)", which)
    if which != "mean" and not quantile:
        raise WrongUse(f"--member {which}: {ways}")
    out = ds.isel(member=0).drop_vars("member")
    for name, variable in ds.data_vars.items():
        values = variable.values
        one = np.empty(values.shape[1:], dtype=np.float32 if quantile else np.float64)
        block = max(1, BLOCK // (values.shape[0] * values.shape[2]))
        for start in range(0, len(one), block):
            part = values[:, start : start + block]
            if quantile:
                one[start : start + block] = np.quantile(part, float(quantile[1]) / 100, axis=0)
            else:
                one[start : start + block] = part.mean(axis=0, dtype=np.float64)
        out[name] = (("cell", "time"), one, variable.attrs)
    return out.assign_attrs(member=f"{which} of {len(numbers)} members")
