"""Traffic as data volumes: what 1 of a service is in bits, and series of whole numbers that lose nothing.

`gentraffic.dataset.amounts` says what units are amounts per step ("GB", "Mbit", as `--total` gives) or rates.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gentraffic.dataset.amounts import bits_per_unit as bits_per_unit
from gentraffic.dataset.amounts import step_seconds as step_seconds
from gentraffic.errors import WrongUse

if TYPE_CHECKING:
    import xarray as xr

MOST_OF_A_CELL, MOST_OF_ALL = 2.0**53, 2.0**62  # running sums are doubles, the sum of all is an int64
HOW = "draw with `gentraffic sample --total traffic=5TB/day`, or say what 1 stands for with --unit 3.2GB"


def parse_amount(text: str, option: str) -> tuple[float, str]:
    """`3.2GB` as (3.2, "GB"); the unit may be missing. Raises WrongUse for anything else, and what is not above 0."""
    match = re.fullmatch(r"\s*([0-9.]+(?:[eE][+-]?[0-9]+)?)\s*([A-Za-z][\w /]*?)?\s*", text)
    try:
        value = float(match[1]) if match else 0.0
    except ValueError:
        value = 0.0
    if match is None or not (0 < value < np.inf):
        raise WrongUse(f"{option} {text}: give an amount above 0 with its unit, such as 3.2GB")
    return value, match[2] or ""


def bits_per_value(ds: xr.Dataset, service: str, unit: str | None) -> float:
    """Bits that a value of 1 of a service stands for in a step.

    unit: such as "3.2GB", what 1 stands for, in place of the units of the file. Raises WrongUse where neither says.
    """
    step_s = step_seconds(ds)
    if unit is not None:
        value, name = parse_amount(unit, "--unit")
        bits = bits_per_unit(name, step_s)
        if bits is None:
            raise WrongUse(f"--unit {unit}: {name or 'no unit'} is no volume; give kbit, GB, TiB, Mbit/s, ...")
        return value * bits
    units = str(ds[service].attrs["units"])
    bits = bits_per_unit(units, step_s)
    if bits is None:
        what = "is relative (units 1)" if units == "1" else f"is in {units!r}, which is no volume"
        raise WrongUse(f"{service} {what}, and this format holds volumes: {HOW}")
    return bits


def capacity_in(text: str, ds: xr.Dataset, service: str) -> float:
    """A capacity such as "40Mbit/s" or "18GB" (per step), or a bare number, in the units of a service.

    Raises WrongUse where a unit is given that cannot be turned into those of the service.
    """
    value, name = parse_amount(text, "--capacity")
    units = str(ds[service].attrs["units"])
    if not name or name == units:
        return value
    step_s = step_seconds(ds)
    ours, theirs = bits_per_unit(units, step_s), bits_per_unit(name, step_s)
    if theirs is None:
        raise WrongUse(f"--capacity {text}: {name} is no volume; give a number in {units}, or GB, Mbit/s, ...")
    if ours is None:
        what = "relative: give a bare number, 1 being the mean cell in a mean hour, or" if units == "1" else f"{units}:"
        raise WrongUse(f"--capacity {text}: {service} is {what} draw with --total, which gives it units")
    return value * theirs / ours


def whole_numbers(
    values: NDArray[np.float32], factor: float, what: str, unit: str | None = None
) -> tuple[NDArray[np.int64], float]:
    """`values * factor`, (cells, steps), as whole numbers of which every running sum is the rounded true one.

    What rounding leaves over is carried to the next step, and at the end of a cell to the next cell: sums over a cell
    are right to 1, the sum of all to a half, however many values there are. Returns also what is left at the very end.

    what: the numbers in words, "kbit of traffic"; unit: what was asked for, as of `bits_per_value`. Raises WrongUse
    where the numbers are too large to be exact, or all round to 0.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        largest = float(np.max(values.sum(axis=1, dtype=np.float64), initial=0.0) * factor)
        total = float(values.sum(dtype=np.float64) * factor)
    asked = f"--unit {unit}: " if unit is not None else ""
    if largest > MOST_OF_A_CELL or total > MOST_OF_ALL or not math.isfinite(factor):
        advice = "give a smaller --unit" if unit is not None else "draw with a smaller --total"
        raise WrongUse(f"{asked}{total:.3g} {what} in all are more than whole numbers hold exactly: {advice}")
    if total < 0.5 and values.any():
        advice = "give a larger --unit" if unit is not None else "draw with a larger --total"
        raise WrongUse(f"{asked}{total:.3g} {what} in all, so every whole number would be 0: {advice}")
    out = np.empty(values.shape, dtype=np.int64)
    carry = 0.0
    for row, series in zip(out, values, strict=True):
        running = np.cumsum(series.astype(np.float64) * factor)
        whole = np.floor(running + carry + 0.5)
        row[:] = np.diff(whole, prepend=0.0)
        carry += float(running[-1] - whole[-1])
    return out, carry
