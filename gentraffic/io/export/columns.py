"""What exports share: the columns told of each cell, and the unit in which amounts are written."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gentraffic.dataset.amounts import RELATIVE, conversion, step_seconds
from gentraffic.dataset.schema import cell_columns, units_words
from gentraffic.dataset.units import readable_units, rescaled
from gentraffic.errors import WrongUse
from gentraffic.io.export.counters import parse_amount

if TYPE_CHECKING:
    import xarray as xr

Tell = Callable[[int, int], None]  # told (rows that are written, rows)


def silent(done: int, of: int) -> None:
    """The progress that nobody asks for."""


def own_columns(ds: xr.Dataset, taken: Collection[str]) -> dict[str, NDArray[Any]]:
    """The columns beyond the position of each cell (site, azimuth, ...), name -> (cells,) numbers or text.

    taken: names that the format has for something else; `mean` becomes `cell_mean` then.
    """
    found = {f"cell_{name}" if name.lower() in taken else name: ds[name].values for name in cell_columns(ds)}
    return {name: v if v.dtype.kind in "iuf" else v.astype(str).astype(object) for name, v in found.items()}


def in_unit(ds: xr.Dataset, text: str) -> xr.Dataset:
    """`ds`, float64, in the unit that is asked for: `GB`; of relative traffic `3.2GB` says what 1 is in a step.

    Raises WrongUse for what is no unit of volume, or cannot be turned into it.
    """
    scaled = re.match(r"\s*[0-9.]", text) is not None
    value, unit = parse_amount(text if scaled else f"1{text}", "--unit")
    step_s = step_seconds(ds)
    if conversion(unit, "GB", step_s) is None:
        raise WrongUse(f"--unit {text}: {unit or 'no unit'} is no volume; give kbit, GB, TiB, Mbit/s, ...")
    factors: dict[str, tuple[str, float]] = {}
    for name in map(str, ds.data_vars):
        ours = str(ds[name].attrs["units"])
        if ours == RELATIVE and scaled:
            factors[name] = unit, value
            continue
        factor = conversion(ours, unit, step_s)
        if factor is None or scaled:
            mend = "say what 1 stands for, --unit 3.2GB" if ours == RELATIVE else f"give a unit alone, as {ours} is"
            raise WrongUse(f"--unit {text}: {name} is in {units_words(ds, name)!r}: {mend}")
        factors[name] = unit, factor
    return rescaled(ds, factors)


def in_readable_unit(ds: xr.Dataset) -> xr.Dataset:
    """`ds` in a unit that reads well, as maps and reports have it; float64 where that is another one."""
    return rescaled(ds, readable_units(ds))


def text_number(value: np.floating[Any] | float) -> str:
    """A number as text, without an exponent where it is short so: float32 in ten digits, which read back as the same
    float32 and, read as doubles, sum to what they were; others in as many as they need."""
    if isinstance(value, np.float32):
        value = float(np.format_float_scientific(np.float64(value), precision=9, unique=True))
    return (
        np.format_float_positional(value, unique=True, trim="-")
        if 1e-6 < value < 1e15 or value == 0
        else repr(float(value))
    )


def headed(ds: xr.Dataset, service: str) -> str:
    """The head of a column for people: `traffic (MB)`; the name alone where values are relative or the unit unknown."""
    units = str(ds[service].attrs["units"])
    return service if units in (RELATIVE, "unknown", "") else f"{service} ({units})"


def short(value: float) -> str:
    """A number in three digits, without an exponent."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return np.format_float_positional(float(f"{value:.3g}"), trim="-")
