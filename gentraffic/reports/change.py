"""What a file of a what-if holds: the same traffic before and after a change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gentraffic.dataset.amounts import step_seconds
from gentraffic.dataset.schema import local_time, services, units_words
from gentraffic.dataset.units import readable

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True)
class Change:
    """names: the two services. before, after: (cells,) mean levels over members and steps, in the file's units.

    busiest: step at which the area, and then the cell most changed, is busiest, each before and after."""

    names: tuple[str, str]
    before: NDArray[np.float64]
    after: NDArray[np.float64]
    busiest: tuple[tuple[int, int], tuple[int, int]]

    @property
    def apart(self) -> NDArray[np.float64]:
        """(cells,) after minus before."""
        return self.after - self.before

    @property
    def most(self) -> int:
        """Row of the cell most changed."""
        return int(np.argmax(np.abs(self.apart)))

    @property
    def large(self) -> int:
        """How many cells change by more than 5%."""
        return int((np.abs(self.apart) > 0.05 * np.maximum(self.before, 1e-300)).sum())

    @property
    def total(self) -> float:
        """What the whole region gains, as a share of before."""
        return float(self.after.sum() / self.before.sum() - 1) if self.before.sum() else 0.0


def change_pair(ds: xr.Dataset, service: str | None) -> tuple[str, str] | None:
    """The services NAME_before and NAME_after of a what-if, where `ds` holds them and `service` names no other."""
    names = services(ds)
    for name in names:
        base = name.removesuffix("_before")
        if base != name and f"{base}_after" in names and service in (None, base, name, f"{base}_after"):
            return name, f"{base}_after"
    return None


def change_of(ds: xr.Dataset, pair: tuple[str, str]) -> Change:
    """The mean levels of the services `pair`, over members and steps."""
    mean, totals = [], []
    for name in pair:
        values = ds[name].values
        mean.append(values.mean(axis=tuple(i for i in range(values.ndim) if i != values.ndim - 2), dtype=np.float64))
        totals.append(_course(values.sum(axis=-2, dtype=np.float64)))
    most = int(np.argmax(np.abs(mean[1] - mean[0])))
    own = [_course(ds[name].values[..., most, :]) for name in pair]
    busiest = tuple((int(np.argmax(before)), int(np.argmax(after))) for before, after in (totals, own))
    return Change(pair, mean[0], mean[1], (busiest[0], busiest[1]))


def effect(ds: xr.Dataset, change: Change) -> list[tuple[str, str, str]]:
    """The effect in three numbers, each (what, number, remark): area, cell most changed, busiest hour."""
    units = units_words(ds, change.names[1])
    unit = "" if units == "relative" else f" {units}"
    noun = "station" if ds.attrs["kind"] == "stations" else "cell"
    row, local = change.most, local_time(ds)
    before, after = float(change.before[row]), float(change.after[row])
    share = f", {after / before - 1:+.0%}" if before else ""
    when = [[f"{local[at]:%a %H:%M}" for at in pair] for pair in change.busiest]
    step = "hour" if step_seconds(ds) == 3600 else "step"
    same = "as before" if when[0][0] == when[0][1] else f"before: {when[0][0]}"
    own = f"of {noun} {ds['cell_id'].values[row]}: {when[1][1]}" + (
        "" if when[1][0] == when[1][1] else f", before: {when[1][0]}"
    )
    sums = [_amount(float(values.sum())) for values in (change.before, change.after)]
    return [
        ("The whole area", f"{change.total:+.2%}", f"{sums[0]} to {sums[1]}{unit} in a mean {step}"),
        (f"Changes most: {noun} {ds['cell_id'].values[row]}", f"{_signed(after - before)}{unit}",
         f"in the mean: {_amount(before)} to {_amount(after)}{unit}{share}"),
        ("Busiest hour of the area", when[0][1], f"{same}; {own}"),
    ]  # fmt: skip


def effect_lines(ds: xr.Dataset) -> list[str]:
    """What was changed, a line each, and the effect in three lines; none where `ds` is no what-if."""
    pair = change_pair(ds, None)
    if pair is None:
        return []
    ds = readable(ds)
    lines = [f"{what}: {number}, {remark}" for what, number, remark in effect(ds, change_of(ds, pair))]
    return [*str(ds.attrs.get("change_summary", "")).splitlines(), *lines]


def _course(values: NDArray[np.float64] | NDArray[np.float32]) -> NDArray[np.float64]:
    """(steps,) mean over the members, if any, of ([members,] steps)."""
    return np.asarray(values.reshape(-1, values.shape[-1]).mean(axis=0, dtype=np.float64))


def _amount(value: float) -> str:
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e7 else f"{value:.3g}"


def _signed(value: float) -> str:
    return f"{'+' if value >= 0 else '−'}{_amount(abs(value))}"
