"""Two traffic files brought onto the same cells, the same steps and the same units, and what was left out in doing so.

Cells are matched by `cell_id`, steps by their UTC time; the finer cadence is brought to the coarser one (volumes added
up, rates averaged: `gentraffic.dataset.amounts`). Files that share no time are laid beside each other from the same
slot of the local week on (`paired` is False then).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gentraffic.dataset.amounts import RELATIVE, combine_steps, how_combined
from gentraffic.dataset.misplaced import check_same_places
from gentraffic.dataset.panel import DAY_S, MONDAY_S, WEEK_S, Panel, read_panel
from gentraffic.dataset.schema import has_positions
from gentraffic.dataset.services import main_of, with_sum
from gentraffic.errors import BadInput, WrongUse
from gentraffic.evaluation.metrics.paired import Floats, live_cells

if TYPE_CHECKING:
    import xarray as xr

APART_M = 10_000.0  # cells of one id further apart than this are cells of two places
SCALES = ("auto", "none", "mean")


@dataclass(frozen=True)
class Pair:
    """What is compared: the live cells that both files hold, over as many steps of each.

    real: (cells, steps) float64. synthetic: (members, cells, steps), multiplied by `factor` (`scaling` says why). rows:
    (cells,) position of each cell in the real file. utc, clock: (steps,) seconds since 1970 at which the real steps
    start, in UTC and on a clock of the place. weeks: (weeks, cells, steps of a week) all whole weeks of the real file.
    counts: what was compared and what was left out. notes: sentences that a reader must see.
    """

    real: NDArray[np.float64]
    synthetic: Floats
    ids: NDArray[Any]
    rows: NDArray[np.intp]
    utc: NDArray[np.int64]
    clock: NDArray[np.int64]
    step_s: int
    paired: bool
    units: str
    synthetic_units: str
    timezone: str
    services: tuple[str, str]
    counts: dict[str, int]
    weeks: Floats
    notes: tuple[str, ...]
    scaling: str = "none"
    factor: float = 1.0


def read_series(ds: xr.Dataset, name: str, service: str | None) -> Panel:
    """One service of a traffic Dataset: `service` where it has one of that name, or the sum of two that is called so;
    else the only one beside `users`, or the main one of Internet, calls and SMS.

    `name` is what messages call the file. Raises WrongUse where several could be meant.
    """
    ds = with_sum(ds, service)
    have = [str(v) for v in ds.data_vars]
    single = [v for v in have if v != "users"] or have
    if service in have:
        chosen = str(service)
    elif len(single) == 1:
        chosen = single[0]
    elif service is None and (main := main_of(single)):
        chosen = main
    else:
        named = f"none of {service!r}, but" if service else "several services:"
        raise WrongUse(f"{name} holds {named} {', '.join(have)}: name one that is there with --service")
    return read_panel(ds, chosen, name=name)


def several_notes(files: Mapping[str, tuple[xr.Dataset, Panel]], service: str | None) -> list[str]:
    """A sentence on the files that hold several services of which none was named. files: what they are called ->
    Dataset, and what was read of it."""
    service_of = {name: panel.service for name, (ds, panel) in files.items() if main_of([str(v) for v in ds.data_vars])}
    if service is not None or not service_of:
        return []
    taken = next(iter(service_of.values()))
    return [f"{' and '.join(service_of)}: of several services {taken} was taken; --service names another"]


def align(real_ds: xr.Dataset, synthetic_ds: xr.Dataset, *, service: str | None = None) -> Pair:
    """The two files as a Pair, the synthetic values as they are in their file: `rescale` comes next.

    `service` names the traffic variable; a file that has no such one may have a single one of another name. Raises
    WrongUse for files that do not belong together, BadInput where every cell is dead.
    """
    real, synthetic = (read_series(d, n, service) for d, n in ((real_ds, "--real"), (synthetic_ds, "--synthetic")))
    if service is not None and service not in (real.service, synthetic.service):
        raise WrongUse(f"--service {service} is in neither file: there are {real.service!r} and {synthetic.service!r}")
    real.check_measured()
    synthetic, notes = synthetic.in_units(real.units)
    notes += several_notes({"--real": (real_ds, real), "--synthetic": (synthetic_ds, synthetic)}, service)
    if real.service != synthetic.service:
        notes.append(f"service {real.service!r} of --real is compared with {synthetic.service!r} of --synthetic")
    kept_real, kept_synthetic = _common_cells(real, synthetic)
    _same_place(real_ds, synthetic_ds, kept_real, kept_synthetic)
    cells = {
        "cells_only_real": len(real.ids) - len(kept_real),
        "cells_only_synthetic": len(synthetic.ids) - len(kept_synthetic),
    }
    real, synthetic = real.only(kept_real), synthetic.only(kept_synthetic)
    real, synthetic, cadence_notes = _one_cadence(real, synthetic)
    whole = real
    i, j, steps, paired = _windows(real, synthetic)
    times = {"steps_only_real": real.steps - steps, "steps_only_synthetic": synthetic.steps - steps}
    real, synthetic = real.cut(i, steps), synthetic.cut(j, steps)
    live = live_cells(real.values[0])
    if not live.any():
        raise BadInput(f"--real: every cell compared is dead (zero throughout, {len(live)} in all): nothing to score")
    alive = np.flatnonzero(live)
    silent = int((synthetic.values[:, alive].max(axis=(0, 2)) == 0).sum())
    if silent:
        notes.append(f"{silent} of the {len(alive)} cells compared are zero throughout in --synthetic")
    return Pair(
        real=real.values[0][alive].astype(np.float64),
        synthetic=synthetic.values[:, alive],
        ids=real.ids[alive],
        rows=kept_real[alive],
        utc=real.utc,
        clock=real.clock,
        step_s=real.step_s,
        paired=paired,
        units=real.units,
        synthetic_units=synthetic.units,
        timezone=real.timezone,
        services=(real.service, synthetic.service),
        counts={"cells": len(alive), "cells_dead": int((~live).sum()), **cells, "steps": steps, **times},
        weeks=_weeks(whole.values[0][alive], whole.step_s),
        notes=(*notes, *cadence_notes, *_clock_notes(real, synthetic, paired)),
    )


def rescale(pair: Pair, scale: str = "auto", train: Floats | None = None, level: float = 1.0) -> Pair:
    """`pair` with the synthetic values in the units of the real ones.

    scale: "none" takes the values as they are; "mean" multiplies relative traffic (units "1") by the mean of `train`
    (live training cells, steps, in the units of the real file) over `level`, what the drawn traffic has in these cells
    or would have; all else, or without `train`, so that its mean becomes the real one's; "auto" is "none" for equal
    units and "mean" for relative against measured traffic. Raises WrongUse for other units under "auto".
    """
    if scale not in SCALES:
        raise WrongUse(f"--scale {scale}: choose one of {', '.join(SCALES)}")
    units, drawn_units = pair.units, pair.synthetic_units
    relative = drawn_units == RELATIVE and units != RELATIVE
    if scale == "auto" and drawn_units != units and not relative:
        raise WrongUse(
            f"--real is in {units!r}, --synthetic in {drawn_units!r}: convert one of them, or give --scale mean to "
            "compare apart from the total, or --scale none if both are the same unit"
        )
    if scale == "none" or (scale == "auto" and not relative):
        unit_notes: tuple[str, ...] = ()
        if drawn_units != units:
            unit_notes = (
                f"--real is in {units!r}, --synthetic in {drawn_units!r}: compared as they are (--scale none)",
            )
        elif units == "unknown":
            unit_notes = ("both files say that their units are unknown: taken to be the same",)
        return replace(pair, notes=(*pair.notes, *unit_notes))
    if relative and train is not None:
        factor, scaling = float(train.mean(dtype=np.float64)) / level, "mean of train"
        note = f"relative traffic (1 = the mean cell) was multiplied by {factor:.6g}, the mean of --train's live cells"
        note += "" if level == 1.0 else f" over {level:.4g}, what such cells carry in the place that was drawn"
    else:
        mean = float(pair.synthetic.mean(dtype=np.float64))
        if not mean > 0:
            raise BadInput("--synthetic carries no traffic in the cells compared: it cannot be scaled to a mean")
        factor, scaling = float(pair.real.mean()) / mean, "mean of real"
        note = (
            f"--synthetic was multiplied by {factor:.6g}, so that its mean over the cells compared is --real's: the "
            "region's total is taken as known"
        )
        note += "; give --train to scale by training data alone" if relative else ""
    drawn = (pair.synthetic * np.float64(factor)).astype(np.float32)
    return replace(pair, synthetic=drawn, scaling=scaling, factor=factor, notes=(*pair.notes, note))


def coarsen(series: Panel, step_s: int, phase_s: int = 0) -> Panel:
    """`series` in steps of `step_s` seconds that start at `phase_s` modulo them; parts of steps are left out.

    Volumes are added up, all else is averaged. Where no step of the series starts there, its own first step does.
    Raises WrongUse where `step_s` is no multiple of its cadence or the series is shorter than one such step.
    """
    if step_s == series.step_s:
        return series
    if series.step_s == 0 or step_s % series.step_s:
        raise WrongUse(
            f"{series.name} has steps of {series.step_s / 60:g} min, which do not divide {step_s / 60:g} min: "
            "resample one of the files"
        )
    size = step_s // series.step_s
    skip = (phase_s - series.start_s) % step_s
    first = skip // series.step_s if skip % series.step_s == 0 else 0
    steps = (series.steps - first) // size
    if steps < 1:
        raise WrongUse(f"{series.name} is shorter than one step of {step_s / 60:g} min, which the other file has")
    values = combine_steps(series.values[..., first : first + steps * size], size, series.units).astype(np.float32)
    return replace(series, values=values, start_s=int(series.utc[first]), step_s=step_s)


def cadence_note(series: Panel, step_s: int) -> str:
    """What was done to a series that `coarsen` brought to steps of `step_s` seconds."""
    how = how_combined(series.units)
    note = f"{series.name} was {how} from steps of {series.step_s / 60:g} to {step_s / 60:g} min"
    if series.units == "unknown":
        note += "; its units are unknown: where they are volumes, import it with --unit, and they are added up"
    return note


def same_slot(a: NDArray[np.int64], b: NDArray[np.int64], step_s: int) -> tuple[int, int, int]:
    """(i, j, steps): the longest stretch from a[i] and b[j] on, both in one slot of the local week, else of the day.

    `a`, `b`: (steps,) local seconds since 1970 of evenly spaced steps; the lengths may differ.
    (0, 0, 0) where no slots agree.
    """
    for period in (WEEK_S, DAY_S):
        slots = [(clock - MONDAY_S) % period // step_s for clock in (a, b)]
        runs = []
        for i, j in ((0, _first(slots[1], slots[0][0])), (_first(slots[0], slots[1][0]), 0)):
            if i >= 0 and j >= 0:
                runs.append((min(len(a) - i, len(b) - j), i, j))
        if runs:
            steps, i, j = max(runs)
            return i, j, steps
    return 0, 0, 0


def _first(slots: NDArray[np.int64], slot: np.int64) -> int:
    """Position of the first step in `slot`, -1 for none."""
    at = np.flatnonzero(slots == slot)
    return int(at[0]) if len(at) else -1


def _common_cells(real: Panel, synthetic: Panel) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Positions of the cells that both hold, in the order of `real`."""
    _, i, j = np.intersect1d(real.ids, synthetic.ids, assume_unique=True, return_indices=True)
    if not len(i):
        raise WrongUse(
            f"no cell_id is in both files: --real has {len(real.ids)} like {str(real.ids[0])!r}, --synthetic "
            f"{len(synthetic.ids)} like {str(synthetic.ids[0])!r}; draw for the context of the real cells"
        )
    order = np.argsort(i)
    return i[order], j[order]


def _same_place(real: xr.Dataset, synthetic: xr.Dataset, i: NDArray[np.intp], j: NDArray[np.intp]) -> None:
    """Numbered cells of two cities share ids, but not the ground: their scores would mean nothing."""
    if not (has_positions(real) and has_positions(synthetic)):
        return  # nobody told where the cells lie: ids are all there is
    degrees = [np.stack([d["lon"].values[k], d["lat"].values[k]], 1) for d, k in ((real, i), (synthetic, j))]
    east, north = (degrees[0] - degrees[1]).T * 111_000.0
    far = float(np.median(np.hypot(east * np.cos(np.radians(degrees[0][:, 1])), north)))
    if far > APART_M:
        raise WrongUse(
            f"cells of one id lie {far / 1000:.0f} km apart in the two files: they are of different places, although "
            f"{len(i)} ids agree"
        )
    check_same_places(real, synthetic, i, j, "--synthetic")


def _one_cadence(real: Panel, synthetic: Panel) -> tuple[Panel, Panel, list[str]]:
    """Both at the coarser of their cadences; a file of one step has that of the other."""
    step_s = max(real.step_s, synthetic.step_s) or 3600
    pair = [replace(s, step_s=s.step_s or step_s) for s in (real, synthetic)]
    notes = []
    coarse = next(s for s in pair if s.step_s == step_s)
    for k, series in enumerate(pair):
        if series.step_s != step_s:
            pair[k] = coarsen(series, step_s, coarse.start_s)
            notes.append(cadence_note(series, step_s))
    return pair[0], pair[1], notes


def _windows(real: Panel, synthetic: Panel) -> tuple[int, int, int, bool]:
    """(first step of real, first step of synthetic, steps, whether these are the same times)."""
    step_s = real.step_s
    if (real.start_s - synthetic.start_s) % step_s == 0:
        start = max(real.start_s, synthetic.start_s)
        end = min(real.start_s + real.steps * step_s, synthetic.start_s + synthetic.steps * step_s)
        if end > start:
            i, j = ((start - s.start_s) // step_s for s in (real, synthetic))
            return int(i), int(j), int((end - start) // step_s), True
    i, j, steps = same_slot(real.clock, synthetic.clock, step_s)
    return i, j, steps or min(real.steps, synthetic.steps), False


def _clock_notes(real: Panel, synthetic: Panel, paired: bool) -> list[str]:
    """What a reader must know about times and zones."""
    if paired:
        if real.timezone == synthetic.timezone:
            return []
        return [f"--real is in {real.timezone}, --synthetic in {synthetic.timezone}: hours of the day are --real's"]
    a, b = real.clock, synthetic.clock
    if (a[0] - b[0]) % WEEK_S == 0:
        how = "laid side by side from the same hour of the local week on"
    elif (a[0] - b[0]) % DAY_S == 0:
        how = "laid side by side from the same hour of the day on, but of different weekdays"
    else:
        how = "laid side by side from their first steps on, which are different hours of the day"
    day = [np.datetime_as_string(s.clock[:1].astype("datetime64[s]"), unit="m")[0] for s in (real, synthetic)]
    notes = [f"the files share no time: they are {how} (--real {day[0]}, --synthetic {day[1]}, local)"]
    if np.ptp(a - real.utc) or np.ptp(b - synthetic.utc):
        notes.append("the clocks change in one of the stretches: hours of the day after that are shifted by one")
    return notes


def _weeks(values: Floats, step_s: int) -> Floats:
    """(weeks, cells, steps of a week) whole weeks of `values` (cells, steps)."""
    size = WEEK_S // step_s if WEEK_S % step_s == 0 else values.shape[1] + 1
    count = values.shape[1] // size
    return values[:, : count * size].reshape(len(values), count, -1 if count else 0).transpose(1, 0, 2)
