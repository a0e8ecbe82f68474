"""Names of services: Internet, calls and SMS as Telecom Italia counts them, and the sums that papers speak of.

A file holds one variable per service. Internet (`traffic` where a source says no more) is the main one: it is meant
where nobody names another. Calls and SMS are the sums of in and out (STOUTER, Table 1), made when they are asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from gentraffic.dataset.schema import MAIN, long_name
from gentraffic.errors import WrongUse

if TYPE_CHECKING:
    import xarray as xr

DIRECTIONS = ("call_in", "call_out", "sms_in", "sms_out")
SUMS = {"calls": ("call_in", "call_out"), "sms": ("sms_in", "sms_out")}
MEAN_CELL = "mean_cell"  # attribute of a relative service: what 1 of it is, beside the other services of its file


def split_names(text: str | Sequence[str] | None) -> tuple[str, ...]:
    """Names with commas between, or in a sequence, each once: "internet,call_in". () for None.

    Raises WrongUse where one is empty or named twice."""
    if text is None:
        return ()
    text = text if isinstance(text, str) else ",".join(text)
    names = tuple(name.strip() for name in text.split(","))
    if "" in names:
        raise WrongUse(f"--service {text!r}: give names with commas between, such as internet,call_in")
    if len(set(names)) < len(names):
        raise WrongUse(f"--service {text} names {max(names, key=names.count)} twice: name it once")
    return names


def known_services(names: Sequence[str]) -> tuple[str, ...]:
    """Those of the names that are known services, the main one first, the others in the order of DIRECTIONS.

    Only one of MAIN counts, and other variables, such as `users`, do not.
    """
    main = [name for name in MAIN if name in names][:1]
    return (*main, *(name for name in DIRECTIONS if name in names))


def main_of(names: Sequence[str]) -> str | None:
    """The main one of several services that are all known ones, which is meant where none is named; else None."""
    known = known_services(names)
    return known[0] if len(known) > 1 and set(names) <= set(known) else None


def shared_services(names: Sequence[str], others: Sequence[str]) -> tuple[str, ...]:
    """Known services that both have, also as the sum of two, the main one first."""
    both = [[*have, *(name for name in SUMS if parts_of(name, have))] for have in (names, others)]
    listed = [name for name in (*known_services(both[0]), *SUMS) if name in names or name in others]
    return tuple(name for name in listed if name in both[0] and name in both[1])


def parts_of(name: str, have: Sequence[str]) -> tuple[str, ...]:
    """The services that a sum is made of, where `have` holds them all and not the sum itself; else ()."""
    parts = SUMS.get(name, ())
    return parts if name not in have and set(parts) <= set(have) else ()


def with_sum(ds: xr.Dataset, name: str | None) -> xr.Dataset:
    """The Dataset with the sum `name` of two of its services, where it is one of SUMS; else as it is.

    Relative services (units "1") are weighed by their attribute `mean_cell`, and so is the sum, whose mean cell is 1.
    Raises WrongUse where the parts have different units, or are relative and nobody told what 1 of each stands for.
    """
    parts = parts_of(name or "", [str(v) for v in ds.data_vars])
    if name is None or not parts:
        return ds
    first, second = (ds[part] for part in parts)
    units = str(first.attrs.get("units", ""))
    if units != second.attrs.get("units"):
        raise WrongUse(f"--service {name}: {parts[0]} is in {units!r}, {parts[1]} in {second.attrs.get('units')!r}")
    weights = [1.0, 1.0]
    attrs: dict[str, str | float] = {"units": units, "long_name": long_name(name)}
    if units == "1":
        if MEAN_CELL not in first.attrs or MEAN_CELL not in second.attrs:
            raise WrongUse(
                f"--service {name}: {' and '.join(parts)} are relative, each to its own mean cell, so they do not add "
                f"up: draw --service {name}, or give both units with --total"
            )
        weights = [float(part.attrs[MEAN_CELL]) for part in (first, second)]
        attrs[MEAN_CELL] = sum(weights)
        weights = [weight / sum(weights) for weight in weights]
    whole = (weights[0] * first.astype(np.float64) + weights[1] * second.astype(np.float64)).astype(np.float32)
    return ds.assign({name: whole.assign_attrs(attrs)})
