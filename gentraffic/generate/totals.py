"""Totals that hold: the region, a district, a busy hour scaled to known amounts, several at once.

Several totals are met by iterative proportional fitting (Deming & Stephan 1940) in float64: every set of cells and
steps that a total speaks of is scaled to it in turn until all hold. Of all traffic that meets the totals this is the
nearest to the drawn one in relative entropy. Cells, and steps, that belong to the same sets share one factor, so the
fit runs over a table of a few numbers, and the daily course within them stays as drawn.

Cells that were measured are never scaled: what they carry counts towards the totals, and the others carry the rest.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gentraffic.dataset.amounts import bits_per_unit, check_units, conversion
from gentraffic.errors import NoData, WrongUse

if TYPE_CHECKING:
    import xarray as xr

    from gentraffic.dataset.calendar import Calendar

DAY, BUSY = "day", "busyhour"
CLOSE = 1e-13  # relative error at which a total holds
MOST_ROUNDS = 200_000
ROWS = 4096  # cells that are summed or scaled at once: a country may lie on the disk
LEAST_AMOUNT, MOST_AMOUNT = 1e-20, 1e30  # of a total in its unit: a share of it, of one cell, is a float32
LEAST = 1e-6  # of its drawn share: a part that other totals leave less than this counts as left with nothing
_TEXT = re.compile(r"([\w-]+)=([0-9.eE+-]+?)\s*([A-Za-z]*)/(day|busyhour|\d{1,2}h)(?:@(.+))?", re.DOTALL)
_WAYS = (
    "SERVICE=AMOUNT/day, /busyhour or /18h, and @FILE for a district, such as {0}=5TB/day or {0}=1TB/day@centre.geojson"
)


@dataclass(frozen=True)
class Total:
    """An amount of a service in a mean day, or in one local hour of it, in the region or in a district of it.

    text: as it was given. hours: "day", "busyhour" (the local hour in which the set carries most as drawn), or "18h".
    district: the vector file of the district's outline, feature NAME of it where given as FILE#NAME.
    """

    text: str
    service: str
    amount: float
    unit: str
    hours: str = DAY
    district: str = ""


def parse_totals(texts: Sequence[str], services: Sequence[str] = ()) -> tuple[Total, ...]:
    """The totals that `--total` names, amounts in the unit of the first of their service.

    services: those that are drawn, none for those that the totals name. Raises WrongUse for what makes no sense.
    """
    totals: list[Total] = []
    for text in texts:
        match = _TEXT.fullmatch(text.strip())
        try:
            amount = float(match[2]) if match else math.nan
        except ValueError:
            amount = math.nan
        if match is None or not (math.isfinite(amount) and amount > 0):
            usual = services[0] if services else "traffic"
            raise WrongUse(f"--total {text}: give {_WAYS.format(usual)}; the amount above 0")
        check_units(match[3], f"--total {text}")
        if match[4].endswith("h") and int(match[4][:-1]) > 23:
            raise WrongUse(f"--total {text}: a day has the hours 0h to 23h")
        if services and match[1] not in services:
            named = ", ".join(map(repr, services))
            raise WrongUse(f"--total names the service {match[1]!r}, --service names {named}: name one")
        totals.append(Total(text.strip(), match[1], amount, match[3] or "unit", match[4], match[5] or ""))
    firsts = {total.service: total for total in reversed(totals)}
    if not services and len(firsts) > 1:
        one, other = list(dict.fromkeys(total.service for total in totals))[:2]
        raise WrongUse(f"--total names two services, {one!r} and {other!r}: name both with --service {one},{other}")
    totals = [_in_unit(total, firsts[total.service]) for total in totals]
    for total in totals:
        if not LEAST_AMOUNT <= total.amount <= MOST_AMOUNT:
            unit = "" if total.unit == "unit" else total.unit
            raise WrongUse(
                f"--total {total.text}: values cannot hold {total.amount:g}{unit} (float32): give an amount from "
                f"{LEAST_AMOUNT:g} to {MOST_AMOUNT:g}, in a unit that suits"
            )
    return tuple(totals)


def _in_unit(total: Total, first: Total) -> Total:
    if total.unit == first.unit:
        return total
    sizes = [bits_per_unit(t.unit, 1) for t in (total, first)]
    if sizes[0] is None or sizes[1] is None:
        raise WrongUse(f"--total {total.text} and {first.text}: {total.unit} cannot be turned into {first.unit}")
    return Total(total.text, total.service, total.amount * sizes[0] / sizes[1], first.unit, total.hours, total.district)


@dataclass(frozen=True)
class Factors:
    """What each value of a member is multiplied by: table[cell_class, step_class], one table per member."""

    table: NDArray[np.float64]  # (members, cell classes, step classes)
    cell_class: NDArray[np.intp]  # (members, cells)
    step_class: NDArray[np.intp]  # (members, steps)

    def of_cells(self, cells: NDArray[np.bool_]) -> float:
        """The median factor of some cells, (cells,), over members and steps."""
        parts = [
            self.table[m][np.unique(of[cells])][:, np.unique(self.step_class[m])]
            for m, of in enumerate(self.cell_class)
        ]
        return float(np.median(np.concatenate([part.ravel() for part in parts])))

    def apply(self, drawn: NDArray[np.float32]) -> NDArray[np.float32]:
        """`drawn` (members, cells, steps) scaled, float32; the products are taken in float64."""
        out = np.empty_like(drawn)
        for m, values in enumerate(drawn):
            by_step = self.table[m][:, self.step_class[m]]  # (cell classes, steps)
            for start in range(0, len(values), ROWS):
                part = slice(start, start + ROWS)
                out[m, part] = values[part] * by_step[self.cell_class[m, part]]
        return out


def districts(totals: Sequence[Total], cells: xr.Dataset) -> NDArray[np.bool_]:
    """(totals, cells) which of the cells each total speaks of; to be asked before long work.

    Raises BadInput for a district's file, NoData where a district holds no cell, and WrongUse where totals of days
    cannot hold together whatever is drawn.
    """
    rows = np.stack([_district(total, cells) for total in totals])
    for service in dict.fromkeys(total.service for total in totals):
        whole = [k for k, total in enumerate(totals) if total.hours == DAY and total.service == service]
        if len(whole) < 2:
            continue
        of, sets = _classes(rows[whole])
        mass, amounts = np.bincount(of).astype(np.float64)[:, None], np.array([totals[k].amount for k in whole])
        _check_together(mass, sets[:, None, :], amounts, [totals[k] for k in whole], 0 * amounts)
    return rows


def in_units(totals: Sequence[Total], units: str, step_s: int) -> tuple[Total, ...]:
    """The totals in the units of measured traffic, which is kept as it is; those without a unit are in it already.

    Raises WrongUse for units that cannot be turned into these."""
    out = []
    for total in totals:
        factor = 1.0 if total.unit == "unit" else conversion(total.unit, units, step_s)
        if factor is None:
            raise WrongUse(
                f"--total {total.text}: the measured file is in {units!r}, into which {total.unit} cannot be turned; "
                "import the file with --unit, or leave the unit out if the amount is in that of the file"
            )
        out.append(replace(total, amount=total.amount * factor, unit=units))
    return tuple(out)


def fit_totals(
    drawn: NDArray[np.float32], totals: Sequence[Total], rows: NDArray[np.bool_], calendar: Calendar, timezone: str,
    measured: NDArray[np.bool_] | None = None,
) -> Factors:  # fmt: skip
    """The factors by which `drawn` (members, cells, steps) meets every total, for each member by itself.

    rows: (totals, cells), what `districts` returned. measured: (cells,) those that are not scaled; what they carry
    counts towards the totals.
    What no total speaks of is scaled like the rest: by the ratio of all totals to
    what their sets carry as drawn. Raises NoData where a set carries no traffic that can be scaled, WrongUse where
    totals cannot hold together, or measured cells alone carry more, saying which and why.
    """
    import pandas as pd

    local = pd.DatetimeIndex(calendar.utc).tz_localize("UTC").tz_convert(timezone)
    hours, dates = np.asarray(local.hour), np.asarray(local.normalize().tz_localize(None))
    tables, cell_classes, step_classes = [], [], []
    kept = np.zeros(rows.shape[1], dtype=bool) if measured is None else measured
    for values in drawn:
        steps = np.stack([_steps(t, values, row, hours) for t, row in zip(totals, rows, strict=True)])
        days = [
            calendar.days if t.hours == DAY else len(np.unique(dates[s])) for t, s in zip(totals, steps, strict=True)
        ]
        cell_class, marked = _classes(np.vstack([rows, kept]))
        cell_sets, fixed = marked[:, :-1], marked[:, -1]
        step_class, step_sets = _classes(steps)
        mass = np.zeros((len(cell_sets), len(step_sets)))
        for c in range(len(cell_sets)):
            np.add.at(mass[c], step_class, _course(values, cell_class == c))
        sets = cell_sets[:, None, :] & step_sets[None, :, :]  # (cell classes, step classes, totals)
        wanted = np.array([t.amount for t in totals]) * days
        held = np.array([mass[fixed][sets[fixed][..., k]].sum() for k in range(len(totals))])
        for k, total in enumerate(totals):
            where = total.district or "the region"
            if held[k] >= wanted[k]:
                raise WrongUse(
                    f"--total {total.text}: the measured cells of {where}, their gaps filled, carry "
                    f"{_carried(held[k] / days[k], total)} then: give more"
                )
            if not mass[~fixed][sets[~fixed][..., k]].sum() > 0:
                if held[k] > 0:
                    carried = _carried(held[k] / days[k], total)
                    raise NoData(
                        f"--total {total.text}: {where} holds no cell without measurements that could carry more than "
                        f"the {carried} that were measured: leave this total out"
                    )
                raise NoData(f"--total {total.text}: {where} carries no traffic then, so no total can be reached")
        table = np.ones(mass.shape)
        table[~fixed] = _fit(mass[~fixed], sets[~fixed], wanted - held, totals, held)
        tables.append(table)
        _check_busy(totals, rows, values, tables[-1][:, step_class], cell_class, hours, steps)
        cell_classes.append(cell_class)
        step_classes.append(step_class)
    most = [max(t.shape[axis] for t in tables) for axis in (0, 1)]  # the busy hour may differ between members
    table = np.stack([np.pad(t, ((0, most[0] - t.shape[0]), (0, most[1] - t.shape[1]))) for t in tables])
    return Factors(table, np.stack(cell_classes), np.stack(step_classes))


def _carried(amount: float, total: Total) -> str:
    """An amount a day as a message has it, in the unit of the total where it has one."""
    return f"{amount:.4g}{'' if total.unit in ('unit', 'unknown') else total.unit}"


def _fit(
    mass: NDArray[np.float64], sets: NDArray[np.bool_], wanted: NDArray[np.float64], totals: Sequence[Total],
    held: NDArray[np.float64],
) -> NDArray[np.float64]:  # fmt: skip
    """Iterative proportional fitting: the factors (cell classes, step classes). held: what measured cells carry of each
    total, which `wanted` lacks."""
    have = np.array([mass[sets[..., k]].sum() for k in range(len(wanted))])
    factor = np.full(mass.shape, wanted.sum() / have.sum())
    if len(wanted) > 1:
        _check_together(mass, sets, wanted, totals, held)
    for _ in range(MOST_ROUNDS):
        worst = 0.0
        for k, want in enumerate(wanted):
            at = sets[..., k]
            ratio = want / float((mass[at] * factor[at]).sum())
            if abs(ratio - 1) > CLOSE:
                factor[at] *= ratio
            worst = max(worst, abs(ratio - 1))
        if worst <= CLOSE:
            return factor
    said = "; ".join(t.text for t in totals)
    raise WrongUse(f"these totals almost exclude each other, and no draw meets them all: {said}")


def _check_together(
    mass: NDArray[np.float64], sets: NDArray[np.bool_], wanted: NDArray[np.float64], totals: Sequence[Total],
    held: NDArray[np.float64],
) -> None:  # fmt: skip
    """Raise WrongUse with a smallest set of totals that cannot hold together, and what the last of them could be. held:
    as in `_fit`."""
    member = sets.reshape(-1, len(wanted)).T.astype(np.float64)  # (totals, parts)
    prior = mass.reshape(-1) * (wanted.sum() / (member @ mass.reshape(-1)).sum())
    keep = list(range(len(wanted)))
    if _slack(member, wanted, prior) > LEAST:
        return
    for k in range(len(wanted)):  # what can be left out while the rest still fails is not the reason
        rest = [i for i in keep if i != k]
        if len(rest) > 1 and _slack(member[rest], wanted[rest], prior) <= LEAST:
            keep = rest
    *others, last = keep
    low, high = (_extreme(member, wanted, prior, others, last, sign) for sign in (1.0, -1.0))
    share, more = totals[last].amount / (wanted[last] + held[last]), float(held[last])
    unit = "" if totals[last].unit == "unit" else totals[last].unit
    bounds = f"more than {(low + more) * share:.4g}{unit}" if low + more > 0 else ""
    if high is not None:
        bounds += f"{' and ' if bounds else ''}less than {(high + more) * share:.4g}{unit}"
        if high - low <= 1e-9 * high:
            bounds = f"{(high + more) * share:.4g}{unit}"
    named = " and ".join(totals[i].text for i in others)
    raise WrongUse(
        f"--total {totals[last].text} cannot hold together with {named}: beside them it must be {bounds or 'another'}"
    )


def _slack(member: NDArray[np.float64], wanted: NDArray[np.float64], prior: NDArray[np.float64]) -> float:
    """The largest t for which amounts of at least t * prior meet the totals; -1 where none does."""
    from scipy.optimize import linprog

    scale = wanted.max()
    live = prior > 0
    parts = int(live.sum())
    # amounts = t prior + extra, extra >= 0, for the parts that carry anything
    equal = np.hstack([member[:, live], member[:, live] @ prior[live][:, None] / scale])
    found = linprog(
        np.append(np.zeros(parts), -1.0), A_eq=equal, b_eq=wanted / scale, bounds=[(0, None)] * parts + [(0, 1)]
    )
    return float(-found.fun) if found.status == 0 else -1.0


def _extreme(
    member: NDArray[np.float64], wanted: NDArray[np.float64], prior: NDArray[np.float64], others: list[int], last: int,
    sign: float,
) -> Any:  # fmt: skip
    """The least (sign 1) or largest (-1) amount of a set beside the other totals; None where there is no bound."""
    from scipy.optimize import linprog

    live = prior > 0
    scale = wanted.max()
    found = linprog(sign * member[last, live], A_eq=member[others][:, live], b_eq=wanted[others] / scale)
    return sign * found.fun * scale if found.status == 0 else (0.0 if sign > 0 else None)


def _check_busy(
    totals: Sequence[Total], rows: NDArray[np.bool_], values: NDArray[np.float32], by_step: NDArray[np.float64],
    cell_class: NDArray[np.intp], hours: NDArray[Any], steps: NDArray[np.bool_],
) -> None:  # fmt: skip
    """Raise WrongUse where the totals make another hour busier than the busy hour that one of them names."""
    for total, row, step in zip(totals, rows, steps, strict=True):
        if total.hours != BUSY:
            continue
        scaled = sum(_course(values, row & (cell_class == c)) * factor for c, factor in enumerate(by_step))
        course = _by_hour(np.asarray(scaled), hours)
        busy = int(hours[step][0])
        if course.argmax() != busy and course.max() > course[busy] * (1 + 1e-9):
            unit = "" if total.unit == "unit" else total.unit
            other = total.amount * course.max() / course[busy]
            raise WrongUse(
                f"--total {total.text} is no busy hour beside the other totals: {course.argmax()}h would carry "
                f"{other:.4g}{unit}; give more for the busy hour, or less for the day"
            )


def _by_hour(series: NDArray[np.float64], hours: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(np.bincount(hours, weights=series, minlength=24), dtype=np.float64)


def _course(values: NDArray[np.float32], cells: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The sum of some of the cells (cells,) at each step, (steps,); values: (all cells, steps), also on the disk."""
    out = np.zeros(values.shape[1])
    for start in range(0, len(values), ROWS):
        part = slice(start, start + ROWS)
        out += np.asarray(values[part])[cells[part]].sum(axis=0, dtype=np.float64)
    return out


def _steps(total: Total, values: NDArray[np.float32], row: NDArray[np.bool_], hours: NDArray[Any]) -> NDArray[np.bool_]:
    """(steps,) which steps a total speaks of; values: (cells, steps), row: (cells,) its set."""
    if total.hours == DAY:
        return np.ones(len(hours), dtype=bool)
    hour = int(_by_hour(_course(values, row), hours).argmax()) if total.hours == BUSY else int(total.hours[:-1])
    return np.asarray(hours == hour)


def _district(total: Total, cells: xr.Dataset) -> NDArray[np.bool_]:
    """(cells,) which cells have their centre in the district, all where there is none."""
    import shapely

    from gentraffic.io.user_cells import in_degrees, read_vector

    if not total.district:
        return np.ones(cells.sizes["cell"], dtype=bool)
    path, _, name = total.district.partition("#")
    try:
        frame = read_vector(Path(path), "a district")
    except WrongUse:  # of several layers, which no option of a total names
        raise WrongUse(f"--total {total.text}: {path} has several layers: save the district as a file alone") from None
    if name:
        texts = frame.drop(columns=frame.geometry.name).astype(str)
        frame = frame[(texts == name).any(axis=1).to_numpy()]
        if frame.empty:
            raise WrongUse(f"--total {total.text}: {path} has no feature named {name!r}")
    outline = shapely.union_all(in_degrees(frame.geometry.force_2d(), path).to_numpy())
    inside = np.asarray(shapely.contains_xy(outline, cells["lon"].values, cells["lat"].values))
    if not inside.any():
        raise NoData(f"--total {total.text}: no cell has its centre in this district")
    return inside


def _classes(sets: NDArray[np.bool_]) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Class of each column of `sets` (totals, n), and the membership of each class (classes, totals)."""
    unique, of = np.unique(sets.T, axis=0, return_inverse=True)
    return of.ravel(), unique
