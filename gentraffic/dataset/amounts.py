"""Amounts and rates: what may be added up when steps become longer, and what is averaged.

A value in a unit of volume (bytes, bits) or a count of events (calls, SMS) is an amount per step: four quarters of an
hour add up to the hour. A value in such a unit per time (Mbit/s, GB/day), a number of users, a share and relative
traffic (units "1") say how things stand during a step: the hour has the mean of its quarters. So is traffic of unknown
units taken. Everything in this project that makes longer steps of shorter ones asks this module.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gentraffic.errors import WrongUse

if TYPE_CHECKING:
    import xarray as xr

RELATIVE = "1"
_DECIMAL = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15, "E": 10**18}
_BINARY = {f"{prefix}i": 1024**power for power, prefix in enumerate("KMGTPE", start=1)}
_BITS = {"bit": 1, "bits": 1, "b": 1, "B": 8, "byte": 8, "bytes": 8, "Byte": 8, "Bytes": 8, "octet": 8, "octets": 8}
_VOLUMES = {
    f"{prefix}{name}": size * bits for prefix, size in (_DECIMAL | _BINARY).items() for name, bits in _BITS.items()
}
_SECONDS = {"s": 1, "sec": 1, "second": 1, "min": 60, "minute": 60, "h": 3600, "hr": 3600, "hour": 3600,
            "d": 86_400, "day": 86_400}  # fmt: skip
_PER = re.compile(r"\s*(?:/|\bper\b)\s*(\d*)\s*([A-Za-z]+)$")
_INVERSE = re.compile(r"\s+([A-Za-z]+)-1$")  # as UDUNITS has it
_WORD = re.compile(r"([kmgtpe]?i?|kilo|mega|giga|tera|peta|exa)[ -]?(byte|bit|octet)s?", re.IGNORECASE)
_PREFIXES = {"kilo": "k", "mega": "M", "giga": "G", "tera": "T", "peta": "P", "exa": "E"}
# "unit" is what `--total calls=2000000/day` gives
_COUNTS = frozenset({"call", "calls", "sms", "message", "messages", "event", "events", "session", "sessions", "cdr",
                     "cdrs", "count", "counts", "attempts", "connections", "packets", "requests", "handovers", "visits",
                     "minutes", "call minutes", "seconds", "unit"})  # fmt: skip
# Shares say the same of one cell and of many: no sum over cells means anything.
_SHARES = frozenset({"1", "%", "percent", "share", "ratio", "fraction", "prb share"})


def volume(units: str) -> tuple[float, int | None] | None:
    """(bits of a value of 1, the seconds that they are per; None: per step), or None where units are no volume.

    Decimal prefixes (1 kB = 1000 B), binary ones where written so (1 KiB = 1024 B). `GB per step` is `GB`.
    """
    name = units.strip()
    if (bits := _bits(name)) is not None:
        return bits, None
    if name.endswith("ps") and (bits := _bits(name.removesuffix("ps"))) is not None:  # Mbps
        return bits, 1
    inverse = _INVERSE.search(name)
    per = inverse or _PER.search(name)
    if per is None or (bits := _bits(name[: per.start()].strip())) is None:
        return None
    count, each = ("", per[1]) if inverse else (per[1], per[2])
    if each == "step" and not count:
        return bits, None
    seconds = _SECONDS.get(each) or _SECONDS.get(each.removesuffix("s"))
    return None if seconds is None else (bits, seconds * int(count or 1))


def _bits(name: str) -> float | None:
    """Bits in a unit of volume without a time, by its sign (GB) or in words (gigabytes, MBytes); None for others."""
    if name in _VOLUMES:
        return float(_VOLUMES[name])
    word = _WORD.fullmatch(name)
    if word is None:
        return None
    prefix = _PREFIXES.get(word[1].lower(), word[1][:1].upper() + word[1][1:].lower())
    return float((_DECIMAL | _BINARY).get(prefix, 0) * _BITS[word[2].lower()]) or None


def check_units(units: str, option: str) -> None:
    """Raise WrongUse for units that are a volume but for their capitals, such as gb: bits or bytes, nobody knows."""
    number, _, rest = units.strip().partition("/")
    alike = [name for name in _VOLUMES if name.lower() == number.strip().removesuffix("ps").lower()]
    if volume(units) is None and alike:
        named = sorted({name for name in alike if name[:1] != "K"}, key=lambda name: name.endswith("b"))
        per = "/s" if number.strip().lower().endswith("ps") else f"/{rest}" if rest else ""
        meant = " or ".join(f"{name}{per} ({'bits' if name.endswith('b') else 'bytes'})" for name in named[:2])
        raise WrongUse(f"{option}: capitals tell bytes from bits: write {meant}")


def is_amount(units: str) -> bool:
    """Whether a value in `units` is an amount per step, which adds up over time; else it is averaged."""
    found = volume(units)
    if found is not None:
        return found[1] is None
    return units.strip().lower().removesuffix(" per step") in _COUNTS


def bits_per_unit(units: str, step_s: int) -> float | None:
    """Bits that a value of 1 in `units` stands for in a step of `step_s` seconds; None where units are no volume."""
    found = volume(units)
    if found is None:
        return None
    bits, seconds = found
    return bits if seconds is None else bits * step_s / seconds


def conversion(units: str, wanted: str, step_s: int) -> float | None:
    """What values in `units` are multiplied by to be in `wanted`, per step of `step_s`; None where nothing is known."""
    if units == wanted:
        return 1.0
    ours, theirs = bits_per_unit(units, step_s), bits_per_unit(wanted, step_s)
    return None if ours is None or theirs is None else ours / theirs


def combine_steps(values: NDArray[Any], size: int, units: str) -> NDArray[np.float64]:
    """Every `size` steps of values (..., steps) as one, (..., steps / size): amounts added up, all else averaged.

    Raises WrongUse where `size` does not divide the steps.
    """
    if size < 1 or values.shape[-1] % size:
        raise WrongUse(f"{values.shape[-1]} steps are no multiple of {size}: cut the series first")
    parts = values.reshape(*values.shape[:-1], values.shape[-1] // size, size)
    whole: NDArray[np.float64] = parts.sum(axis=-1, dtype=np.float64)
    return whole if is_amount(units) else whole / size


def per_hour(units: str, step_s: float) -> float:
    """What the mean over steps of `step_s` seconds is multiplied by to be that of an hour: 4 for GB in quarters."""
    return 3600.0 / step_s if is_amount(units) and step_s > 0 else 1.0


def combine_cells(values: NDArray[Any], units: str, axis: int) -> NDArray[np.float64]:
    """Cells as one region, along `axis`: shares and relative traffic are averaged, all else is added up.

    values: (any shape), with cells along `axis`.
    """
    whole: NDArray[np.float64] = values.sum(axis=axis, dtype=np.float64)
    return whole / values.shape[axis] if units.strip().lower() in _SHARES else whole


def how_combined(units: str) -> str:
    """What `combine_steps` does to values in `units`, as messages say it."""
    return "added up" if is_amount(units) else "averaged"


def step_seconds(ds: xr.Dataset) -> int:
    """Seconds from one step to the next; an hour where there is one step only."""
    times = ds["time"].values.astype("datetime64[s]").astype(np.int64)
    return int(times[1] - times[0]) if len(times) > 1 else 3600


def at_cadence(ds: xr.Dataset, step_s: int, phase_s: int = 0) -> xr.Dataset:
    """Traffic in steps of `step_s` seconds that start at `phase_s` modulo them (UTC), by `combine_steps`.

    Parts of steps at both ends are left out. Raises WrongUse where the cadence of `ds` does not divide `step_s`, or
    `ds` is shorter than one such step.
    """
    own = step_seconds(ds)
    if own == step_s:
        return ds
    if step_s % own:
        raise WrongUse(f"steps of {own / 60:g} min do not divide {step_s / 60:g} min: resample one of the files")
    size = step_s // own
    skip = (phase_s - int(ds["time"].values[0].astype("datetime64[s]").astype(np.int64))) % step_s
    first = skip // own if skip % own == 0 else 0
    steps = (ds.sizes["time"] - first) // size
    if steps < 1:
        raise WrongUse(f"the file is shorter than one step of {step_s / 60:g} min, which the other file has")
    part = slice(first, first + steps * size)
    out = ds.isel(time=slice(first, first + steps * size, size))
    for name, variable in ds.data_vars.items():
        values = combine_steps(variable.isel(time=part).values, size, str(variable.attrs["units"]))
        out[name] = (variable.dims, values.astype(np.float32), variable.attrs)
    return out
