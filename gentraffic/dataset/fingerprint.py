"""Marks of a file's cells by which a copy of it is known again: renamed, rescaled, in another format or precision.

A mark is 8 hexadecimal digits of a hash. Of a cell's position: degrees to five decimals, about a metre. Of its series:
at which hours of the first week it rises, which no factor and no precision changes.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import xarray as xr

KEPT = 256  # marks of a file: those with the smallest hashes, so that two files of the same cells keep the same
SAME_POSITION = 1e-5  # degrees, about a metre
WEEK_H = 168
CELLS_AT_ONCE = 1_000  # whose series are held at once


def has_positions(ds: xr.Dataset) -> bool:
    """True where positions are those of the ground, not made up by an importer."""
    return "lon" in ds.coords and not str(ds.attrs.get("positions", "")).startswith("synthetic")


def position_marks(ds: xr.Dataset) -> NDArray[Any]:
    """A mark of every cell's position, (cells,); "" where the file states none."""
    cells = ds.sizes["cell"]
    if not has_positions(ds):
        return np.full(cells, "", dtype="<U8")
    at = np.stack([ds["lon"].values, ds["lat"].values], axis=1).astype(np.float64)
    return np.array([_mark(row.tobytes()) for row in np.round(at / SAME_POSITION).astype(np.int64)])


def series_marks(ds: xr.Dataset, service: str) -> NDArray[Any]:
    """A mark of every cell's series, (cells,); "" for one that is constant or of members."""
    time = ds["time"].values[:2]
    if "member" in ds[service].dims or len(time) < 2:
        return np.full(ds.sizes["cell"], "", dtype="<U8")
    per_hour = max(1, round(np.timedelta64(1, "h") / (time[1] - time[0])))
    values = ds[service].isel(time=slice(0, WEEK_H * per_hour)).values
    hours = values[:, : values.shape[1] // per_hour * per_hour].astype(np.float64)
    hours = hours.reshape(len(values), -1, per_hour).mean(axis=2)[:, :WEEK_H]
    rises = np.diff(hours, axis=1) > 1e-6 * np.abs(hours).max(axis=1, keepdims=True)
    marks = [_mark(np.packbits(row).tobytes()) if 0.1 < row.mean() < 0.9 else "" for row in rises]
    return np.array(marks, dtype="<U8")


def first_of_series(ds: xr.Dataset, service: str) -> NDArray[np.intp]:
    """(cells,) the first cell whose series of `service` is the same, value for value: its own number for most.

    Series that are constant, such as those of dead cells, and ensembles count as different. Cells that an operator
    interpolated from one antenna, or exported under two names, are the same.
    """
    cells = ds.sizes["cell"]
    first = np.arange(cells)
    if "member" in ds[service].dims:
        return first
    known: dict[bytes, int] = {}
    for at in range(0, cells, CELLS_AT_ONCE):
        rows = np.ascontiguousarray(
            ds[service].isel(cell=slice(at, at + CELLS_AT_ONCE)).transpose("cell", "time").values
        )
        moving = rows.min(axis=1) < rows.max(axis=1)
        for k in np.flatnonzero(moving).tolist():
            first[at + k] = known.setdefault(hashlib.sha256(rows[k].tobytes()).digest(), at + k)
    return first


def twins_text(ids: NDArray[Any], first: NDArray[np.intp]) -> str:
    """ "2 cells carry the same series as another one (C9580 as C9680, ...)", "" for none. ids, first: (cells,)."""
    twins = np.flatnonzero(first != np.arange(len(first)))
    if not len(twins):
        return ""
    named = ", ".join(f"{ids[k]} as {ids[first[k]]}" for k in twins[:3])
    more = ", ..." if len(twins) > 3 else ""
    what = "cell carries" if len(twins) == 1 else "cells carry"
    return f"{len(twins)} {what} the same series as another one ({named}{more})"


def marks_of(ds: xr.Dataset) -> dict[str, list[str]]:
    """Up to KEPT marks of the positions and of the series of the first service, for the provenance of what learns."""
    names = [str(name) for name in ds.data_vars if set(ds[name].dims) >= {"cell", "time"}]
    if not names:
        return {}
    parts = {"positions": position_marks(ds), "series": series_marks(ds, names[0])}
    return {kind: sorted(set(part.tolist()) - {""})[:KEPT] for kind, part in parts.items()}


def shared_share(mine: list[str], theirs: list[str]) -> float:
    """Share of the marks of the smaller list that the other holds too, among those that both could have kept."""
    if not mine or not theirs:
        return 0.0
    last = min(mine[-1] if len(mine) >= KEPT else "g", theirs[-1] if len(theirs) >= KEPT else "g")
    a, b = ({mark for mark in part if mark <= last} for part in (mine, theirs))
    return len(a & b) / max(1, min(len(a), len(b)))


def _mark(value: bytes) -> str:
    return hashlib.sha256(value).hexdigest()[:8]
