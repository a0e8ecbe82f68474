"""The words of a report: what the traffic says in a few sentences, and what it is, in plain terms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gentraffic.dataset.amounts import bits_per_unit, is_amount, step_seconds
from gentraffic.dataset.positions import has_positions
from gentraffic.dataset.schema import local_time
from gentraffic.dataset.summary import FEW
from gentraffic.dataset.units import AMOUNTS, LADDER
from gentraffic.reports.evaluation_figures import axis_number
from gentraffic.reports.model_summary import Card
from gentraffic.reports.traffic_figures import band_words, clock_changes, said_units, spread

if TYPE_CHECKING:
    import xarray as xr


def number(value: float) -> str:
    """A number for a sentence: three figures, thousands grouped."""
    if value == 0:
        return "0"
    size = abs(value)
    if 1000 <= size < 1e7:
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{value:.3g}" if 1e-3 <= size < 1000 else axis_number(value)


def amount(value: float, units: str) -> str:
    """A sum with its unit, in the largest unit of which it is at least 1."""
    while units[:1] in LADDER[:-1] and units[1:] in AMOUNTS and value >= 1000:
        units = LADDER[LADDER.index(units[0]) + 1] + units[1:]
        value /= 1000.0
    return f"{number(value)} {units}"


def is_drawn(ds: xr.Dataset) -> bool:
    """Whether a model drew it; measured otherwise."""
    return bool(ds.attrs.get("model")) or "not measured" in str(ds.attrs.get("source", ""))


def cards(ds: xr.Dataset, service: str, found: xr.Dataset) -> list[tuple[str, str, str]]:
    """(what, number, remark) to look at first."""
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
    course = np.array([total[:, hour == h].mean() if (hour == h).any() else np.nan for h in range(24)])
    busy, quiet = int(np.nanargmax(course)), int(np.nanargmin(course))
    out = []
    if is_amount(units) and bits_per_unit(units, step_s) is not None:
        low, high = float(per_day.min()), float(per_day.max())
        same = (high - low) <= 1e-4 * max(high, 1e-300)
        about = "per mean day" if same else f"per mean day; members: {amount(low, units)} to {amount(high, units)}"
        out.append(("The region carries", amount(float(per_day.mean()), units), about))
    else:
        mean = number(float(found["mean"].values.mean()))
        relative = ("Traffic is", "relative", f"1 = what the mean {noun} carries in a mean hour")
        out.append(relative if units == "1" else (f"The mean {noun} carries", mean, _unit(units)))
    share = course[busy] / np.nansum(course) if np.isfinite(course).all() else np.nan
    said = f"{share:.1%} of the day; quietest {quiet}h, local time" if np.isfinite(share) else "local time"
    out.append(("Busiest hour", f"{busy}h to {(busy + 1) % 24}h", said))
    level = found["mean"].values
    first = int(level.argmax())
    if len(level) >= 20:
        top = np.sort(level)[::-1][: max(1, round(len(level) / 10))].sum() / max(level.sum(), 1e-300)
        out.append((f"The busiest tenth of the {noun}s", f"{top:.0%}", "of all traffic"))
    said = f"{number(float(level[first]))} {_unit(units)} in the mean, busy at {int(found['busy_hour'].values[first])}h"
    out.append((f"Busiest {noun}", str(ds["cell_id"].values[first]), said))
    if "mean_p95" in found:
        said = f"between the low and the high end, typically ({band_words(ds)})"
        out.append((f"Level of a {noun}", f"× {number(float(np.median(spread(found))))}", said))
    return out


def facts(ds: xr.Dataset, service: str, card: Card | None, *, called: str) -> list[tuple[str, str]]:
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
    how = "synthetic, drawn by a model; not measured" if is_drawn(ds) else "measured"
    many = f"{ds.sizes['cell']:,} {noun}s" if ds.sizes["cell"] > 1 else f"one {noun}"
    first, last = (f"{when:%A} {when.day} {when:%B %Y}" for when in (local[0], local[-1]))
    zone = f"{ds.attrs['timezone']} time{' (the clocks change within)' if clock_changes(ds) else ''}"
    out = [
        ("What", f"{how}: {called}, {meaning}"),
        ("Where", f"{ds.attrs.get('place') or 'the place'}: {many}{size}, {where}"),
        ("When", f"{first} to {last}, every {every}, {zone}"),
    ]
    if members > 1:
        few = "" if members >= FEW else f". {members} are few, and ranges only rough: draw 20"
        said = "plausible draws, the first with the most likely levels; where they differ, nothing better is known"
        out.append(("Members", f"{members} {said}{few}"))
    elif is_drawn(ds):
        out.append(("Members", "1: the most likely levels, without a range (draw --members 20 for one)"))
    if card is not None:
        trained = f", trained on {'; '.join(card.trained_on)}" if card.trained_on else ""
        out.append(("Model", f"{card.name}{trained}"))
    source = [str(ds.attrs[key]) for key in ("osm_source", "osm_snapshot") if ds.attrs.get(key)]
    if source:
        out.append(("Places known from", f"OpenStreetMap, {', '.join(source)}"))
    if ds.attrs.get("totals"):
        out.append(("Scaled to", str(ds.attrs["totals"])))
    return out


def made_by(ds: xr.Dataset) -> list[tuple[str, str]]:
    """(term, description): all that is needed to make the same file again."""
    names = {
        "command": "Command", "seed": "Seed", "model_sha256": "Model's SHA-256", "osm_sha256": "Map's SHA-256",
        "change_sha256": "Changes' SHA-256", "solver": "Solver", "steps": "Solver steps",
        "gentraffic_version": "gentraffic", "versions": "Versions",
    }  # fmt: skip
    return [(word, str(ds.attrs[key])) for key, word in names.items() if str(ds.attrs.get(key, ""))]


def trust(ds: xr.Dataset, card: Card | None, found: xr.Dataset) -> list[str]:
    """Sentences on what to trust: of this file first, then of the model's card."""
    said = [line for line in str(ds.attrs.get("warnings", "")).splitlines() if line]
    out = [f"Warning of the data: {line}." for line in said]
    if not is_drawn(ds):
        return out or ["These are measurements; nothing here was drawn by a model."]
    out.append("Nothing here was measured. Use it where there are no measurements, and replace it when there are.")
    if "member" not in ds.dims:
        out.append("One member: a smooth, most likely map. A real map is rougher; single cells may be far off.")
    elif "mean_p95" in found:
        typical = float(np.median(spread(found)))
        out.append(
            "Trust the daily and weekly rhythm and sums over districts first; the level of a single "
            f"{noun_of(ds)} is known to a factor of about {number(typical)} between its low and high end"
            + (" or worse: these are few members." if ds.sizes["member"] < FEW else ".")
        )
    network = str(ds.attrs.get("network", ""))
    if card is not None and network and any(network in title for title in card.trained_on):
        out.append("The model was trained on measurements of this very network: elsewhere it does less well.")
    if card is not None:
        out += list(card.trust) or ([card.note[0].upper() + card.note[1:] + "."] if card.note else [])
    return out


def busy_table(ds: xr.Dataset, found: xr.Dataset, units: str, most: int = 12) -> tuple[list[str], list[list[str]]]:
    """(head, rows) of the busiest cells by their mean."""
    noun = noun_of(ds)
    unit = _unit(units)
    band = "peak_p95" in found
    head = [noun.capitalize(), "Where", f"Mean, {unit}", "Busy hour", f"Then, {unit}", f"Highest, {unit}"]
    head += [band_words(ds).capitalize()] if band else []
    over = next((name for name in ("p_above", "time_above") if name in found), None)
    if over is not None:
        head.append("P(above capacity)" if over == "p_above" else "Time above capacity")
    order = np.argsort(-found["mean"].values, kind="stable")[:most]
    rows = []
    for i in order:
        one: dict[str, Any] = {str(name): found[name].values[i] for name in found.data_vars}
        row = [
            str(ds["cell_id"].values[i]),
            f"{ds['lat'].values[i]:.4f}, {ds['lon'].values[i]:.4f}" if has_positions(ds) else "-",
            number(float(one["mean"])),
            f"{int(one['busy_hour'])}h",
            number(float(one["busy_mean"])),
            number(float(one["peak"])),
        ]
        row += [f"{number(float(one['peak_p05']))} to {number(float(one['peak_p95']))}"] if band else []
        row += [f"{float(one[over]):.0%}"] if over is not None else []
        rows.append(row)
    return head, rows


def noun_of(ds: xr.Dataset) -> str:
    """What a cell is called."""
    return "station" if ds.attrs["kind"] == "stations" else "cell"


def _unit(units: str) -> str:
    words = {"1": "relative", "unknown": "unit not stated"}
    return words.get(units, units)


def _degrees(values: Any, plus: str, minus: str) -> str:
    ends = [f"{abs(v):.3f}° {plus if v >= 0 else minus}" for v in (float(values.min()), float(values.max()))]
    return ends[0] if ends[0] == ends[1] else " to ".join(ends)
