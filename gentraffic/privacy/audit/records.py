"""Three traffic files as records that an audit can compare: the same hours, the same slot of the week, one scale.

A record is one window of at most a week of one cell (and member). The unit of privacy is a cell with all its days: of
a real cell all windows count as one member. Real cells are on one side only, in `--train` or in `--holdout`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gentraffic.dataset.amounts import RELATIVE
from gentraffic.dataset.panel import DAY_S, MONDAY_S, WEEK_S, Panel
from gentraffic.dataset.schema import has_positions
from gentraffic.errors import BadInput, WrongUse
from gentraffic.evaluation.alignment import APART_M, cadence_note, coarsen, read_series, several_notes

if TYPE_CHECKING:
    import xarray as xr

HOUR_S = 3600
FLOOR = 0.05  # of the scale: smaller values count as silence, as in gentraffic.modelling.features
FEWEST_CELLS = 20  # of training and of hold-out: half of the hold-out sets thresholds
FEWEST_DAYS = 2
MOST_RECORDS = 10_000  # synthetic records that are compared; an even draw of more, and it is said
GENERIC = "traffic"  # what a model calls what it draws, whatever it was trained on


@dataclass(frozen=True)
class Records:
    """Windows of one file. values: (records, steps) in the units of the real files, float32.

    log: (records, steps) log(value / scale + FLOOR), the scale common to all three files. cell: (records,) which of
    `ids` (cells,). member, window: (records,). groups: (cells,) what was drawn together, None where cells stand alone.
    """

    values: NDArray[np.float32]
    log: NDArray[np.float32]
    cell: NDArray[np.intp]
    ids: NDArray[Any]
    member: NDArray[np.intp]
    window: NDArray[np.intp]
    groups: NDArray[Any] | None = None

    @property
    def cells(self) -> int:
        """How many cells there are."""
        return len(self.ids)

    def only(self, cells: NDArray[np.intp]) -> Records:
        """All records of some of the cells. cells: (kept,) positions of cells."""
        at = np.flatnonzero(np.isin(self.cell, cells))
        number = np.full(self.cells, -1)
        number[cells] = np.arange(len(cells))
        part = self.rows(at)
        return replace(
            part,
            cell=number[part.cell],
            ids=self.ids[cells],
            groups=None if self.groups is None else self.groups[cells],
        )

    def rows(self, at: NDArray[np.intp]) -> Records:
        """Some of the records; the numbering of the cells stays. at: (kept,) positions of records."""
        names = ("values", "log", "cell", "member", "window")
        return replace(self, **{name: getattr(self, name)[at] for name in names})


@dataclass(frozen=True)
class Material:
    """What an audit compares. counts: what was compared and left out. notes: sentences that a reader must see."""

    train: Records
    holdout: Records
    synthetic: Records
    service: str
    units: str
    step_s: int
    scale: float
    counts: dict[str, int]
    notes: tuple[str, ...]


def read_material(
    train_ds: xr.Dataset,
    holdout_ds: xr.Dataset,
    synthetic_ds: xr.Dataset,
    *,
    service: str | None = None,
    seed: int = 0,
    most: int = MOST_RECORDS,
) -> Material:
    """The three files as records. Raises WrongUse for files that do not belong together, BadInput for too few cells."""
    known, unseen = read_series(train_ds, "--train", service), read_series(holdout_ds, "--holdout", service)
    wanted = known.service if known.service in synthetic_ds.data_vars else service
    drawn = read_series(synthetic_ds, "--synthetic", wanted)
    if service is not None and service not in (known.service, unseen.service, drawn.service):
        raise WrongUse(f"--service {service} is in none of the files: --train holds {known.service!r}")
    files = {"--train": (train_ds, known), "--holdout": (holdout_ds, unseen), "--synthetic": (synthetic_ds, drawn)}
    notes = several_notes(files, service) + _same_service(known, unseen, drawn)
    (unseen, unit_notes), (drawn, also) = unseen.in_units(known.units), drawn.in_units(known.units)
    notes += unit_notes + also
    for real in (known, unseen):
        if len(real.values) > 1:
            raise WrongUse(f"{real.name} holds {len(real.values)} members: it must be measured, one series a cell")
    _same_units(known, unseen, drawn)
    _no_shared_cells(train_ds, holdout_ds, known, unseen)
    series, steps, remarks = _cut(known, unseen, drawn)
    notes += remarks
    parts = [_windows(s, steps) for s in series]
    live = [windows.max(axis=(0, 2, 3)) > 0 for windows in parts]
    counts = {
        f"{name}_dead": int((~alive).sum()) for name, alive in zip(("train", "holdout", "synthetic"), live, strict=True)
    }
    for name, alive in zip(("--train", "--holdout"), live[:2], strict=True):
        if alive.sum() < FEWEST_CELLS:
            dead = f" ({int((~alive).sum())} are dead, zero throughout)" if not alive.all() else ""
            raise BadInput(f"{name} has {int(alive.sum())} live cells{dead}: an audit needs {FEWEST_CELLS} or more")
    if not live[2].any():
        raise BadInput("--synthetic carries no traffic: every cell is zero throughout")
    parts = [windows[:, alive] for windows, alive in zip(parts, live, strict=True)]
    ids = [s.ids[alive] for s, alive in zip(series, live, strict=True)]
    _no_equal_series(parts[0], parts[1], ids)
    scale = float(np.median(np.concatenate([w.mean(axis=(0, 2, 3), dtype=np.float64) for w in parts[:2]])))
    if drawn.units == RELATIVE and known.units != RELATIVE:
        mean = float(np.mean(np.concatenate([w.mean(axis=(0, 2, 3), dtype=np.float64) for w in parts[:2]])))
        parts[2] = (parts[2] * mean).astype(np.float32)
        notes.append(f"relative --synthetic was multiplied by {mean:.6g}, the mean of the live cells of the real files")
    elif drawn.units != known.units:  # one of them unknown: levels are compared about the mean
        means = [
            float(np.mean(np.concatenate([w.mean(axis=(0, 2, 3), dtype=np.float64) for w in some])))
            for some in (parts[:2], parts[2:])
        ]
        parts[2] = (parts[2] * (means[0] / means[1])).astype(np.float32)
        notes.append(
            f"--synthetic is in {drawn.units!r}, the real files in {known.units!r}: it was scaled to the mean of the "
            "live cells of the real files"
        )
    groups = _groups((train_ds, holdout_ds), live, notes)
    records = [
        _records(windows, names, scale, group)
        for windows, names, group in zip(parts, ids, (*groups, None), strict=True)
    ]
    whole = len(records[2].cell)
    if whole > most:
        kept = np.sort(np.random.default_rng((seed, 1)).permutation(whole)[:most])
        records[2] = records[2].rows(kept)
        notes.append(f"{most:,} of the {whole:,} synthetic records, drawn at random, were compared: a copy among the "
                     "others is not seen")  # fmt: skip
    counts |= {
        "train_cells": records[0].cells, "holdout_cells": records[1].cells, "synthetic_cells": records[2].cells,
        "synthetic_members": int(drawn.values.shape[0]), "synthetic_records": whole,
        "synthetic_records_compared": len(records[2].cell), "steps_per_record": steps,
    }  # fmt: skip
    return Material(
        records[0], records[1], records[2], known.service, known.units, series[0].step_s, scale, counts, tuple(notes)
    )


def common_log(values: NDArray[np.float32], scale: float) -> NDArray[np.float32]:
    """log(value / scale + FLOOR): the scale on which records are compared, the same for every file.

    values: (any shape), in the unit of `scale`.
    """
    logs: NDArray[np.float32] = np.log(values / np.float32(scale) + np.float32(FLOOR))
    return logs


def _same_service(train: Panel, holdout: Panel, drawn: Panel) -> list[str]:
    if train.service != holdout.service:
        raise WrongUse(
            f"--train holds {train.service!r}, --holdout {holdout.service!r}: no service is common; name "
            "one that is in both with --service"
        )
    if drawn.service == train.service:
        return []
    if GENERIC not in (drawn.service, train.service):
        raise WrongUse(f"--synthetic holds {drawn.service!r}, the real files {train.service!r}: no service is common")
    return [f"service {train.service!r} of the real files is compared with {drawn.service!r} of --synthetic"]


def _same_units(train: Panel, holdout: Panel, drawn: Panel) -> None:
    for series in (holdout, drawn):
        scaled = series is drawn and (series.units == RELATIVE or "unknown" in (series.units, train.units))
        if series.units != train.units and not scaled:
            raise WrongUse(f"{series.name} is in {series.units!r}, --train in {train.units!r}: convert one of them")


def _no_shared_cells(train_ds: xr.Dataset, holdout_ds: xr.Dataset, train: Panel, holdout: Panel) -> None:
    """A cell with all its days is on one side. Numbered cells of two cities share ids, not ground."""
    shared, i, j = np.intersect1d(train.ids, holdout.ids, assume_unique=True, return_indices=True)
    if not (has_positions(train_ds) and has_positions(holdout_ds)):  # of one operator, then, until somebody tells
        same = np.ones(len(i), dtype=bool)
        _refuse_shared(shared, same)
        return
    east = (train_ds["lon"].values[i] - holdout_ds["lon"].values[j]) * np.cos(np.radians(train_ds["lat"].values[i]))
    north = train_ds["lat"].values[i] - holdout_ds["lat"].values[j]
    _refuse_shared(shared, np.hypot(east, north) * 111_000 < APART_M)


def _refuse_shared(shared: NDArray[Any], same: NDArray[np.bool_]) -> None:
    if same.any():
        raise WrongUse(
            f"{int(same.sum())} cells are in --train and in --holdout, the first is {shared[same][0]}: a cell with all "
            "its days must be on one side, so split by cell"
        )


def _no_equal_series(train: NDArray[np.float32], holdout: NDArray[np.float32], ids: list[NDArray[Any]]) -> None:
    """The same series under two ids would make a non-member of a member."""
    steps = min(train.shape[2] * train.shape[3], holdout.shape[2] * holdout.shape[3])
    flat = [np.ascontiguousarray(w[0].reshape(w.shape[1], -1)[:, :steps]) for w in (train, holdout)]
    known = {row.tobytes(): k for k, row in enumerate(flat[0])}
    twice = [(known[row.tobytes()], k) for k, row in enumerate(flat[1]) if row.tobytes() in known]
    if twice:
        a, b = twice[0]
        raise WrongUse(
            f"{len(twice)} series of --holdout equal series of --train, the first is cell {ids[1][b]}, which equals "
            f"{ids[0][a]}: the hold-out must be cells that the generator never saw"
        )


def _cut(*files: Panel) -> tuple[list[Panel], int, list[str]]:
    """The files at one cadence, from the same slot of the local week on, and the steps of a window."""
    step_s = max(HOUR_S, *(s.step_s for s in files))
    if any(s.step_s == 0 for s in files) or DAY_S % step_s or step_s > DAY_S // 4:
        worst = max(files, key=lambda s: s.step_s if s.step_s else WEEK_S)
        what = f"steps of {worst.step_s / 60:g} min" if worst.step_s else "a single step"
        raise WrongUse(f"{worst.name} has {what}: an audit needs series with steps of 6 h or less, which divide a day")
    notes = [cadence_note(s, step_s) for s in files if s.step_s != step_s]
    files = tuple(coarsen(s, step_s, -_offset(s)) for s in files)
    day = DAY_S // step_s
    for period in (WEEK_S, DAY_S):
        best: tuple[int, int, list[int]] = (0, 0, [])  # days of a window, windows, first steps
        for slot in {int(s.clock[_midnight(s)] - MONDAY_S) % period for s in files}:
            first = [_position(s, slot, period) for s in files]
            days = [(s.steps - at) // day for s, at in zip(files, first, strict=True)]
            best = max(best, (min(7, *days), sum(max(1, d // 7) for d in days), first))
        if best[0] >= FEWEST_DAYS:
            if period == DAY_S:
                notes.append("the files share no slots of the week: they are laid side by side by the hour of the day")
            cut = [s.cut(at, s.steps - at) for s, at in zip(files, best[2], strict=True)]
            return cut, best[0] * day, notes
    lengths = ", ".join(f"{s.name} {s.steps * step_s / DAY_S:.3g}" for s in files)
    raise WrongUse(f"the files have fewer than {FEWEST_DAYS} whole local days in common (days: {lengths})")


def _offset(series: Panel) -> int:
    """Seconds by which the clock of the place is ahead of UTC at the first step."""
    return int(series.clock[0] - series.utc[0])


def _midnight(series: Panel) -> int:
    at = np.flatnonzero(series.clock % DAY_S < series.step_s)
    return int(at[0]) if len(at) else 0


def _position(series: Panel, slot: int, period: int) -> int:
    """The first step in a slot of the period; the end of the series where there is none."""
    at = np.flatnonzero((series.clock - MONDAY_S - slot) % period < series.step_s)
    return int(at[0]) if len(at) else series.steps


def _windows(series: Panel, steps: int) -> NDArray[np.float32]:
    """(members, cells, windows, steps): one window a week, for windows shorter than a week as well."""
    stride = max(steps, WEEK_S // series.step_s)
    starts = range(0, series.steps - steps + 1, stride)
    return np.stack([series.values[..., at : at + steps] for at in starts], axis=2).astype(np.float32)


def _records(windows: NDArray[np.float32], ids: NDArray[Any], scale: float, groups: NDArray[Any] | None) -> Records:
    members, cells, weeks, steps = windows.shape
    member, cell, week = (v.ravel() for v in np.indices((members, cells, weeks)))
    values = windows.reshape(-1, steps)
    alive = np.flatnonzero(values.max(axis=1) > 0)  # a silent week of a live cell tells nothing
    values = values[alive]
    return Records(values, common_log(values, scale), cell[alive], ids, member[alive], week[alive], groups)


def _groups(
    real: tuple[xr.Dataset, xr.Dataset], live: list[NDArray[np.bool_]], notes: list[str]
) -> tuple[NDArray[Any] | None, NDArray[Any] | None]:
    """The locations of the live cells of both files, where both have them and some location has several cells."""
    if not all("location" in ds.coords for ds in real):
        return None, None
    names = [
        np.array([f"{ds.attrs.get('network', '')}/{place}" for place in ds["location"].values[alive]])
        for ds, alive in zip(real, live, strict=False)
    ]
    if len(np.unique(np.concatenate(names))) == sum(map(len, names)):
        return None, None
    both = np.intersect1d(names[0], names[1])
    if len(both):
        notes.append(f"{len(both)} locations have cells in --train and in --holdout: cells of one location resemble "
                     "each other, which hides leaks; split by location")  # fmt: skip
        return None, None
    counts = [len(np.unique(part)) for part in names]
    notes.append(f"cells of one location were drawn together: tests take the {counts[0]} and {counts[1]} locations as "
                 "units, which makes them weaker")  # fmt: skip
    return names[0], names[1]
