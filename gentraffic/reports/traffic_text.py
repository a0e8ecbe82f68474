"""The words of a report: what the traffic says in a few sentences, and what it is, in plain terms."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gentraffic.dataset.amounts import bits_per_unit, is_amount, step_seconds
from gentraffic.dataset.schema import has_positions, is_usual_week, local_time
from gentraffic.dataset.summary import AGREED, FEW, Highest, level_spread
from gentraffic.dataset.units import AMOUNTS, LADDER
from gentraffic.generators.cards import UNMODELLED
from gentraffic.reports.change import has_event, step_word, when
from gentraffic.reports.evaluation_figures import axis_number
from gentraffic.reports.model_summary import ModelSummary
from gentraffic.reports.page import GIVEN, Card, is_drawn, is_plan, period_words
from gentraffic.reports.traffic_figures import band_words, clock_changes, hours_are_chance, said_units

if TYPE_CHECKING:
    import xarray as xr


ALIKE = (
    "Kinds of places differ little in their weeks here: what the model learned of offices and homes far away hardly "
    "shows in a place that nobody measured. Do not read off who works and who lives where."
)
EVENT_DRAWN = (
    "The visitors of the change are arithmetic: at their hours, each uses what a resident of the area uses then; no "
    "crowd slows a cell down. Other events, seasons and growth are not modelled, and holidays were not marked."
)


def number(value: float) -> str:
    """A number for a sentence: three figures, thousands grouped."""
    if value == 0:
        return "0"
    size = abs(value)
    if 1000 <= size < 1e7:
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{value:.3g}" if 1e-3 <= size < 1000 else axis_number(value)


def signed(value: float) -> str:
    """A difference: `number` with its sign."""
    return f"{'+' if value > 0 else ''}{number(value)}"


def amount(value: float, units: str) -> str:
    """A sum with its unit, in the largest unit of which it is at least 1."""
    while units[:1] in LADDER[:-1] and units[1:] in AMOUNTS and value >= 1000:
        units = LADDER[LADDER.index(units[0]) + 1] + units[1:]
        value /= 1000.0
    return f"{number(value)} {units}"


def cards(ds: xr.Dataset, service: str, result: xr.Dataset) -> list[Card]:
    """The numbers to look at first."""
    noun = noun_of(ds)
    values = ds[service].values
    members = values if values.ndim == 3 else values[None]
    total = members.sum(axis=1, dtype=np.float64)  # (members, steps)
    units, step_s = str(ds[service].attrs["units"]), step_seconds(ds)
    local = local_time(ds)
    end = local[-1] + np.timedelta64(step_s, "s")
    whole = local[0] == local[0].normalize() and end == end.normalize()
    days = len(np.unique(local.date)) if whole else total.shape[1] * step_s / 86_400  # days of 23 or 25 hours are days
    per_day = total.sum(axis=1) / days
    hour = np.asarray(local_time(ds).hour)
    present, of_member = np.unique(hour), _mean_days(total, hour)
    course = of_member.mean(axis=0)  # (hours present,)
    busy, quiet = int(present[course.argmax()]), int(present[course.argmin()])
    out = []
    if is_amount(units) and bits_per_unit(units, step_s) is not None:
        low, high = float(per_day.min()), float(per_day.max())
        same = (high - low) <= 1e-4 * max(high, 1e-300)
        about = ("per mean day",) if same else (
            "per mean day, mean of the members",
            f"lowest to highest member: {amount(low, units)} to {amount(high, units)}",
        )  # fmt: skip
        out.append(Card("The region carries", amount(float(per_day.mean()), units), about))
    else:
        mean = number(float(result["mean"].values.mean()))
        relative = Card("Traffic is", "relative", (f"1 = what the mean {noun} carries in a mean hour",))
        verb = "has" if is_plan(ds) else "carries"
        out.append(relative if units == "1" else Card(f"The mean {noun} {verb}", mean, (unit_words(units),)))
    share = f"{course.max() / course.sum():.1%} of the day; " if len(present) == 24 and course.sum() else ""
    detail = f"{share}quietest {quiet}h, local time"
    hours = sorted({int(present[i]) for i in of_member.argmax(axis=1)})
    apart = (f"by member: {', '.join(f'{h}h' for h in hours)}",) if len(hours) > 1 else ()
    out.append(Card("Busiest hour", f"{busy}h to {(busy + 1) % 24}h", (detail, *apart)))
    level = result["mean"].values
    first = int(level.argmax())
    if len(level) >= 20:
        top = np.sort(level)[::-1][: max(1, round(len(level) / 10))].sum() / max(level.sum(), 1e-300)
        share_of = "of all of them" if is_plan(ds) else "of all traffic"
        out.append(Card(f"The busiest tenth of the {noun}s", f"{top:.0%}", (share_of,)))
    busy = int(result["busy_hour"].values[first])
    detail = f"{number(float(level[first]))} {unit_words(units)} in the mean, busy at {busy}h"
    out.append(Card(f"Busiest {noun}", str(ds["cell_id"].values[first]), (detail,)))
    if "mean_p95" in result:
        detail = f"between the low and the high end of its mean, typically ({band_words(ds)})"
        out.append(Card(f"Level of a {noun}", f"× {number(float(np.median(level_spread(result))))}", (detail,)))
    return out


def _mean_days(total: NDArray[np.float64], hour: NDArray[np.intp]) -> NDArray[np.float64]:
    """(members, hours present) the mean day of each member; total (members, steps), hour (steps,)."""
    return np.stack([total[:, hour == h].mean(axis=1) for h in np.unique(hour)], axis=1)


def facts(
    ds: xr.Dataset, service: str, drew: ModelSummary | None, result: xr.Dataset, *, called: str
) -> list[tuple[str, str]]:
    """(term, description): what, where, when, by what. called: the name of the service for a reader."""
    local = local_time(ds)
    step_s = step_seconds(ds)
    units = said_units(ds, service)
    every = f"{step_s // 60} minutes" if step_s < 3600 else f"{step_s // 3600} hour{'s' * (step_s > 3600)}"
    noun = noun_of(ds)
    meaning = (
        "relative: 1 is what the mean cell carries in a mean hour. Compare cells and hours; amounts are not known "
        "(gentraffic sample --total gives them)"
        if units == "relative"
        else f"{units} per step of {every}"
        if "/s" not in units and units != "unit not stated"
        else units
    )
    size = f" of {float(ds.attrs['cell_m']):g} m" if ds.attrs["kind"] == "grid" else ""
    where = "positions not known"
    if has_positions(ds):
        where = f"{_degrees(ds['lat'].values, 'N', 'S')}, {_degrees(ds['lon'].values, 'E', 'W')}"
    members = ds.sizes.get("member", 1)
    plan = is_plan(ds)
    how = "synthetic, drawn by a model; not measured" if is_drawn(ds) else "measured"
    if given := ds.attrs.get(GIVEN):
        how = f"synthetic, drawn by a model; measured in part ({given})"
    how = f"a plan, from {'synthetic' if ds.attrs.get('model') else 'measured or forecast'} traffic" if plan else how
    many = f"{ds.sizes['cell']:,} {noun}s" if ds.sizes["cell"] > 1 else f"one {noun}"
    first, last = (f"{when:%A} {when.day} {when:%B %Y}" for when in (local[0], local[-1]))
    usual = "; the dates of the file stand for weekdays, and there are no public holidays" if is_usual_week(ds) else ""
    period = period_words(ds) if usual else f"{first} to {last}"
    zone = f"{ds.attrs['timezone']} time{' (the clocks change within)' if clock_changes(ds) else ''}"
    out = [
        ("What", f"{how}: {called}, {meaning}"),
        ("Where", f"{ds.attrs.get('place') or 'the place'}: {many}{size}, {where}"),
        ("When", f"{period}, every {every}, {zone}{usual}"),
    ]
    if members > 1:
        few = "" if members >= FEW else f". {members} are few, and ranges only rough: draw 20"
        detail = "plausible draws, the first with the most likely levels; where they differ, nothing better is known"
        out.append(("Members", f"{members} {detail}{few}"))
    elif is_drawn(ds) and not plan:
        out.append(("Members", "1: the most likely levels, without a range (draw --members 20 for one)"))
    if drew is not None:
        trained = f", trained on {'; '.join(drew.trained_on)}" if drew.trained_on else ""
        out.append(("Model", f"{drew.name}{trained}"))
    if is_drawn(ds) and not plan:
        out.append(("Rhythm", rhythm_words(ds, drew, result)))
    source = [str(ds.attrs[key]) for key in ("osm_source", "osm_snapshot") if ds.attrs.get(key)]
    if source:
        out.append(("Places known from", f"OpenStreetMap, {', '.join(source)}"))
    if ds.attrs.get("totals"):
        held = ", before the change" if ds.attrs.get("change") else ""
        out.append(("Scaled to", f"{ds.attrs['totals']}{held}"))
    return out


def rhythm_words(ds: xr.Dataset, drew: ModelSummary | None, result: xr.Dataset | None = None) -> str:
    """Whose daily and weekly rhythm drawn traffic follows, and how sure the busy hours are."""
    known = drew.networks if drew is not None else {}
    asked = str(ds.attrs.get("rhythm") or ds.attrs.get("habits") or "")
    own = str(ds.attrs.get("network", ""))
    if asked in known or (asked and asked != "none" and not known):
        detail = f"that of {known.get(asked, asked)}" + ("" if asked == own else ", another place")
    elif any(name in asked for name in known):  # of several, each with its members: networks by what they are called
        named = re.sub("|".join(sorted(map(re.escape, known), key=len, reverse=True)), lambda m: known[m[0]], asked)
        detail = f"those of {named}"
    elif own in known:
        detail = f"that of {known[own]}, measured here"
    elif not known:
        detail = "not recorded in this file"
    else:
        detail = "the mean of the networks that the model knows: nobody measured this place, its busy hours are a guess"
    why = str(ds.attrs.get("rhythm_reason", ""))
    detail += f" ({why})" if why else ""
    if result is not None and "busy_agreement" in result:
        agreed = float((result["busy_agreement"].values >= AGREED).mean())
        detail += f"; at least half of the members agree on the busy hour in {agreed:.0%} of the {noun_of(ds)}s"
    return detail


def made_by(ds: xr.Dataset) -> list[tuple[str, str]]:
    """(term, description): all that is needed to make the same file again."""
    names = {
        "command": "Command", "seed": "Seed", "model_sha256": "Model's SHA-256", "osm_sha256": "Map's SHA-256",
        "change_sha256": "Changes' SHA-256", "solver": "Solver", "steps": "Solver steps",
        "gentraffic_version": "gentraffic", "versions": "Versions",
    }  # fmt: skip
    return [(word, str(ds.attrs[key])) for key, word in names.items() if str(ds.attrs.get(key, ""))]


def trust(ds: xr.Dataset, drew: ModelSummary | None, result: xr.Dataset) -> list[str]:
    """Sentences on what to trust: of this file first, then of its model."""
    if not is_drawn(ds):
        return ["These are measurements; nothing here was drawn by a model."]
    out = ["Nothing here was measured. Use it where there are no measurements, and replace it when there are."]
    if given := ds.attrs.get(GIVEN):
        out = [f"Measured values were given and stand as they are ({given}); all others are drawn, and follow them."]
    if is_plan(ds):
        out.append("A plan is as good as the traffic that it was made from: look at the report of that traffic first.")
    elif "member" not in ds.dims:
        out.append("One member: a smooth, most likely map. A real map is rougher; single cells may be far off.")
        out.append(f"The busy hour of one {noun_of(ds)} in one member is chance: another member has another one.")
    elif "mean_p95" in result:
        typical = float(np.median(level_spread(result)))
        out.append(
            "Trust sums over districts first; the level of a single "
            f"{noun_of(ds)} is known to a factor of about {number(typical)} between its low and high end"
            + (" or worse: these are few members." if ds.sizes["member"] < FEW else ".")
        )
    network = str(ds.attrs.get("network", ""))
    if drew is not None and network in drew.networks:
        out.append("The model was trained on measurements of this very network: elsewhere it does less well.")
    if drew is not None and network not in drew.networks:
        out.append(ALIKE)
    if drew is not None:
        told = [EVENT_DRAWN if line == UNMODELLED and has_event(ds) else line for line in drew.trust]
        out += told or ([drew.note[0].upper() + drew.note[1:] + "."] if drew.note else [])
    return out


def where(ds: xr.Dataset, cell: int) -> str:
    """Latitude and longitude of a cell by its position; "-" where nobody told."""
    if not has_positions(ds):
        return "-"
    return f"{ds['lat'].values[cell]:.4f}, {ds['lon'].values[cell]:.4f}"


def busy_table(
    ds: xr.Dataset, result: xr.Dataset, units: str, top: Highest, most: int = 12
) -> tuple[list[str], list[list[str]]]:
    """(head, rows) of the busiest cells by their mean. top: their highest steps."""
    noun = noun_of(ds)
    unit = unit_words(units)
    band = "peak_p95" in result
    ranges = [["Mean: low to high end"], ["Highest: low to high end"]] if band else [[], []]
    head = [noun.capitalize(), "Where", f"Mean, {unit}", *ranges[0], "Busy hour", f"Mean then, {unit}",
            f"Highest value, {unit}", *ranges[1], f"Highest {step_word(ds)}", *above_head(ds, result)]  # fmt: skip
    order = np.argsort(-result["mean"].values, kind="stable")[:most]
    rows, sure = [], 0.0 if hours_are_chance(ds) else 1.0
    for i in order:
        one: dict[str, Any] = {str(name): result[name].values[i] for name in result.data_vars}
        row = [
            str(ds["cell_id"].values[i]),
            where(ds, i),
            number(float(one["mean"])),
            *([f"{number(float(one['mean_p05']))} to {number(float(one['mean_p95']))}"] if band else []),
            f"{int(one['busy_hour'])}h" + (" ?" if float(one.get("busy_agreement", sure)) < AGREED else ""),
            number(float(one["busy_mean"])),
            number(float(one["peak"])),
        ]
        row += [f"{number(float(one['peak_p05']))} to {number(float(one['peak_p95']))}"] if band else []
        row += [when(ds, int(top.step[i])), *_above(result, top, int(i))]
        rows.append(row)
    return head, rows


def highest_table(
    ds: xr.Dataset, result: xr.Dataset, units: str, top: Highest, most: int = 12
) -> tuple[list[str], list[list[str]]]:
    """(head, rows) of the cells with the highest single steps, which a mean over the period may hide."""
    unit = unit_words(units)
    head = [noun_of(ds).capitalize(), "Where", f"Highest {step_word(ds)}", f"Value then, {unit}", f"Mean, {unit}",
            *above_head(ds, result)]  # fmt: skip
    rows = [
        [str(ds["cell_id"].values[i]), where(ds, i), when(ds, int(top.step[i])), number(float(top.value[i])),
         number(float(result["mean"].values[i])), *_above(result, top, int(i))]
        for i in np.argsort(-top.value, kind="stable")[:most]
    ]  # fmt: skip
    return head, rows


def above_head(ds: xr.Dataset, result: xr.Dataset) -> list[str]:
    """The columns of a table that say how a capacity is exceeded; none without one."""
    if "time_above" not in result:
        return []
    step = step_word(ds)
    counted = "Hours above capacity" if step == "hour" else f"Times {step} above capacity"
    return [counted, *(["P(above capacity)"] if "p_above" in result else [])]


def _above(result: xr.Dataset, top: Highest, cell: int) -> list[str]:
    if "time_above" not in result:
        return []
    return [number(float(top.above[cell])), *([f"{top.members[cell]:.0%}"] if "p_above" in result else [])]


def exceeding(top: Highest) -> NDArray[np.intp]:
    """Rows of the cells that exceed the capacity in any step, in more than half of the members, the highest first."""
    rows = np.flatnonzero(top.members > 0.5)
    return np.asarray(rows[np.argsort(-top.value[rows], kind="stable")], dtype=np.intp)


def capacity_words(ds: xr.Dataset, top: Highest, units: str, capacity: str) -> str:
    """How many cells exceed a capacity in any step, and the highest: in one sentence."""
    rows, noun, step = exceeding(top), noun_of(ds), step_word(ds)
    members = " in more than half of the members" if "member" in ds.dims else ""
    if not len(rows):
        some = int((top.members > 0).sum())
        fewer = f"; {some:,} {'does' if some == 1 else 'do'} in fewer" if some else ""
        return f"No {noun} exceeds the capacity of {capacity} in any {step}{members}{fewer}."
    first = int(rows[0])
    count = number(float(top.above[first]))
    plural = "s" if count != "1" else ""
    hours = f"in {count} hour{plural}" if step == "hour" else f"{count} time{plural} for {step}"
    high = f"highest {number(float(top.value[first]))} {unit_words(units)} at {when(ds, int(top.step[first]))}"
    if len(rows) == 1:
        name = ds["cell_id"].values[first]
        return f"1 {noun} exceeds the capacity of {capacity}{members}, {hours}, {high}: {noun} {name}."
    return (
        f"{len(rows):,} {noun}s exceed the capacity of {capacity} in at least one {step}{members}; the highest, "
        f"{ds['cell_id'].values[first]}, {hours}, {high}."
    )


def noun_of(ds: xr.Dataset) -> str:
    """What a cell is called."""
    return "station" if ds.attrs["kind"] == "stations" else "cell"


def unit_words(units: str) -> str:
    """A unit for a table."""
    words = {"1": "relative", "unknown": "unit not stated"}
    return words.get(units, units)


def _degrees(values: Any, plus: str, minus: str) -> str:
    ends = [f"{abs(v):.3f}° {plus if v >= 0 else minus}" for v in (float(values.min()), float(values.max()))]
    return ends[0] if ends[0] == ends[1] else " to ".join(ends)
