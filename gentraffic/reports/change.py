"""What a file of a what-if holds: the same traffic before and after a change."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gentraffic.dataset.amounts import step_seconds
from gentraffic.dataset.schema import local_time, services, units_words
from gentraffic.dataset.summary import Highest, highest
from gentraffic.dataset.units import readable

if TYPE_CHECKING:
    import xarray as xr


MOST_LINES = 20  # of changes that the terminal names


@dataclass(frozen=True)
class Part:
    """What one feature of the file of changes does. what: its word ("mall", "pois"). cells: how many it touches.

    row: of these the cell whose highest step, or else whose mean, changes most."""

    name: str
    what: str
    cells: int
    row: int


@dataclass(frozen=True)
class Change:
    """names: the two services. before, after: (cells,) mean levels over members and steps, in the file's units.

    highest: the highest step of each cell, before and after. busiest: step at which the area, and then the cell most
    changed, is busiest, each before and after. parts: each feature of the file of changes, where the file says."""

    names: tuple[str, str]
    before: NDArray[np.float64]
    after: NDArray[np.float64]
    highest: tuple[Highest, Highest]
    busiest: tuple[tuple[int, int], tuple[int, int]]
    parts: tuple[Part, ...] = ()

    @property
    def apart(self) -> NDArray[np.float64]:
        """(cells,) after minus before."""
        return self.after - self.before

    @property
    def most(self) -> int:
        """Row of the cell most changed."""
        return int(np.argmax(np.abs(self.apart)))

    @property
    def most_highest(self) -> int:
        """Row of the cell whose highest step changes most."""
        return int(np.argmax(np.abs(self.highest[1].value - self.highest[0].value)))

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
    tops = highest(ds, pair[0]), highest(ds, pair[1])
    return Change(pair, mean[0], mean[1], tops, (busiest[0], busiest[1]), _parts(ds, mean, tops))


def has_event(ds: xr.Dataset) -> bool:
    """Whether a change of the file brings visitors at stated times, who are drawn."""
    return any(part.get("times") for part in _told(ds))


def when(ds: xr.Dataset, step: int) -> str:
    """Day and local time of a step: "Sat 18:00"; with its date where the file has more than a week."""
    local = local_time(ds)
    long = (local[-1] - local[0]).days >= 7
    return f"{local[step]:%a} {local[step].day} {local[step]:%b %H:%M}" if long else f"{local[step]:%a %H:%M}"


def step_word(ds: xr.Dataset) -> str:
    """What a step is called: "hour" where it is one, "15 minutes"."""
    seconds = step_seconds(ds)
    return "hour" if seconds == 3600 else f"{seconds // 60} minutes"


def parts_table(ds: xr.Dataset, change: Change) -> tuple[list[str], list[list[str]]]:
    """(head, rows): each feature of the file of changes, its cell, mean and highest step before and after."""
    noun = "station" if ds.attrs["kind"] == "stations" else "cell"
    units = units_words(ds, change.names[1])
    top = f"Highest {step_word(ds)}"
    head = [
        "Change",
        noun.capitalize(),
        f"Mean before, {units}",
        "Mean after",
        f"{top} before, {units}",
        f"{top} after",
    ]
    rows = []
    for part in change.parts:
        of = f" (of {part.cells})" if part.cells > 1 else ""
        tops = [f"{_three(float(h.value[part.row]))}, {when(ds, int(h.step[part.row]))}" for h in change.highest]
        means = [_amount(float(level[part.row])) for level in (change.before, change.after)]
        rows.append([part.name, f"{ds['cell_id'].values[part.row]}{of}", *means, *tops])
    return head, rows


def effect(ds: xr.Dataset, change: Change) -> list[tuple[str, str, str]]:
    """The effect in four numbers, each (what, number, remark): area, cell most changed, highest hour, busiest hour.

    The highest hour is that of the cell where it changes most, which need not be the cell whose mean does."""
    units = units_words(ds, change.names[1])
    unit = "" if units == "relative" else f" {units}"
    noun = "station" if ds.attrs["kind"] == "stations" else "cell"
    row = change.most
    before, after = float(change.before[row]), float(change.after[row])
    share = f", {after / before - 1:+.0%}" if before else ""
    times = [[when(ds, at) for at in pair] for pair in change.busiest]
    step = step_word(ds)
    top = change.most_highest
    high = [f"{_three(float(h.value[top]))}{unit}" for h in change.highest]
    at = [when(ds, int(h.step[top])) for h in change.highest]
    same = "as before" if times[0][0] == times[0][1] else f"before: {times[0][0]}"
    own = f"of {noun} {ds['cell_id'].values[row]}: {times[1][1]}" + (
        "" if times[1][0] == times[1][1] else f", before: {times[1][0]}"
    )
    sums = [_amount(float(values.sum())) for values in (change.before, change.after)]
    return [
        ("The whole area", f"{change.total:+.2%}", f"{sums[0]} to {sums[1]}{unit} in a mean {step}"),
        (f"Changes most: {noun} {ds['cell_id'].values[row]}", f"{_signed(after - before)}{unit}",
         f"in the mean: {_amount(before)} to {_amount(after)}{unit}{share}"),
        (f"Highest {step} of {noun} {ds['cell_id'].values[top]}", high[1], f"{at[1]}; before: {high[0]}, {at[0]}"),
        ("Busiest hour of the area", times[0][1], f"{same}; {own}"),
    ]  # fmt: skip


def effect_lines(ds: xr.Dataset) -> list[str]:
    """What was changed, a line each, the effect as a whole, and that of each change; none where `ds` is no what-if."""
    pair = change_pair(ds, None)
    if pair is None:
        return []
    ds = readable(ds)
    change = change_of(ds, pair)
    told = [f"{what}: {number}, {remark}" for what, number, remark in effect(ds, change)]
    told += part_lines(ds, change)
    return [*str(ds.attrs.get("change_summary", "")).splitlines(), *told]


def part_lines(ds: xr.Dataset, change: Change) -> list[str]:
    """What each feature of the file of changes does, a line each, MOST_LINES of them."""
    units = units_words(ds, change.names[1])
    unit = "" if units == "relative" else f" {units}"
    noun = "station" if ds.attrs["kind"] == "stations" else "cell"
    lines = []
    for part in change.parts[:MOST_LINES]:
        of = f", of {part.cells} the one that changes most" if part.cells > 1 else ""
        before, after = (_amount(float(level[part.row])) for level in (change.before, change.after))
        low, high = (
            f"{_three(float(h.value[part.row]))}{unit} ({when(ds, int(h.step[part.row]))})" for h in change.highest
        )
        lines.append(
            f"{part.name}: {noun} {ds['cell_id'].values[part.row]}{of}: mean {before} to {after}{unit}; "
            f"highest {step_word(ds)} {low} to {high}"
        )
    left = len(change.parts) - MOST_LINES
    return [*lines, f"and {left} changes more: gentraffic report shows all"] if left > 0 else lines


def _parts(ds: xr.Dataset, mean: list[NDArray[np.float64]], tops: tuple[Highest, Highest]) -> tuple[Part, ...]:
    """The features of the file of changes that touch cells of `ds`. mean: two of (cells,)."""
    row = {str(cell): k for k, cell in enumerate(ds["cell_id"].values.tolist())}
    moved = np.abs(tops[1].value - tops[0].value) + 1e-6 * np.abs(mean[1] - mean[0])
    found = []
    for part in _told(ds):
        rows = [row[str(cell)] for cell in part.get("cells", ()) if str(cell) in row]
        if rows:
            of = max(rows, key=lambda k: float(moved[k]))
            found.append(Part(str(part.get("name", "")), str(part.get("what", "")), len(rows), of))
    return tuple(found)


def _told(ds: xr.Dataset) -> list[dict[str, Any]]:
    """What the attribute `change_parts` says; [] where a file has none, or one that is not ours."""
    try:
        told = json.loads(str(ds.attrs.get("change_parts", "[]")))
    except ValueError:
        return []
    return [part for part in told if isinstance(part, dict)] if isinstance(told, list) else []


def _course(values: NDArray[np.float64] | NDArray[np.float32]) -> NDArray[np.float64]:
    """(steps,) mean over the members, if any, of ([members,] steps)."""
    return np.asarray(values.reshape(-1, values.shape[-1]).mean(axis=0, dtype=np.float64))


def _amount(value: float) -> str:
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e7 else f"{value:.3g}"


def _three(value: float) -> str:
    """A highest value: three figures, as the tables of a report have it."""
    return _amount(float(f"{value:.3g}"))


def _signed(value: float) -> str:
    return f"{'+' if value >= 0 else '−'}{_amount(abs(value))}"
