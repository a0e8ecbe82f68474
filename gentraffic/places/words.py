"""A planner's words in a file of changes: a mall, a quarter, a match, with sizes that people know.

A word becomes points of interest by category, at the rates of `WORDS` (rules of thumb; `counts` overrules them), and
its effect ends `reach_m` beyond the cells it stands on: who shops in a mall is in the mall, though the model smooths
places over kilometres. Visitors at stated times become traffic of those hours: each uses what a resident of the area
uses then, on average. Of all else, times are opening hours: what the thing adds comes then, and little outside.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gentraffic.errors import BadInput

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

PEOPLE_PER_POI = (
    80.0  # residents for each point of interest, where none are known: 40 in Monaco, 80 in Malta, 200 in Milan
)
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
LITTLE = 0.1  # of what an hour within opening hours gets, an hour outside of them gets
MOST_RESIDENTS = 2e9
MOST = 10_000_000  # of a size: square metres, seats, people


@dataclass(frozen=True)
class Word:
    """What a word stands for.

    sizes: name of a size -> how many of the first one it is worth; the first is what `rates` count. usual: of the first
    size, where none is given; 0: one must be given. rates: category -> points of interest for each of the first size,
    whole numbers of which always stand (`always`). attends: share of the size that is there at the stated times.
    ground: variable of a context -> what each of the first size adds to it, where the context has it; a word without
    rates and visitors is nothing else, and needs one of them.
    """

    sizes: dict[str, float]
    usual: float
    rates: dict[str, float]
    always: dict[str, int]
    reach_m: float
    attends: float = 0.0
    ground: dict[str, float] = field(default_factory=dict)


WORDS = {
    "mall": Word(
        {"floor_area": 1.0, "visitors": 3.0}, 30_000.0,
        {"Shop": 0.003, "Food": 0.0008, "Entertainment": 0.00007, "Others": 0.0002},
        {"Shop": 1, "Traffic": 2}, 400.0, 0.0, {"building_area_retail": 1.0},
    ),
    "stadium": Word(
        {"seats": 1.0}, 20_000.0, {"Food": 0.0006, "Traffic": 0.0002, "Shop": 0.0001}, {"Entertainment": 2}, 400.0, 0.8,
        {"building_area_other": 1.0},
    ),
    "quarter": Word(
        {"dwellings": 1.0, "residents": 1 / 2.2}, 0.0,
        {"Shop": 0.012, "Food": 0.008, "Education": 0.003, "Medical": 0.003, "Public": 0.002, "Traffic": 0.006,
         "Entertainment": 0.003, "Others": 0.004}, {}, 300.0, 0.0,
        {"building_area_residential": 80.0, "population": 2.2},
    ),
    "dwellings": Word(
        {"dwellings": 1.0, "residents": 1 / 2.2}, 0.0, {}, {}, 300.0, 0.0,
        {"building_area_residential": 80.0, "population": 2.2},
    ),
    "residents": Word({"residents": 1.0}, 0.0, {}, {}, 300.0, 0.0, {"population": 1.0}),
    "offices": Word(
        {"jobs": 1.0, "floor_area": 1 / 20}, 0.0,
        {"Others": 0.02, "Food": 0.006, "Public": 0.002, "Traffic": 0.003, "Shop": 0.002}, {"Others": 1}, 300.0, 0.0,
        {"building_area_office": 20.0, "jobs": 1.0},
    ),
    "station": Word(
        {"passengers": 1.0}, 10_000.0, {"Traffic": 0.0002, "Shop": 0.00025, "Food": 0.00025}, {"Traffic": 2}, 500.0
    ),
    "event": Word({"visitors": 1.0}, 0.0, {}, {}, 0.0, 1.0),
}  # fmt: skip
ON_THE_GROUND = {  # what a word adds to the ground, in words
    "building_area_residential": "m2 of homes", "building_area_office": "m2 of offices",
    "building_area_retail": "m2 of shops", "building_area_other": "m2 of other buildings", "population": "residents",
    "jobs": "jobs",
}  # fmt: skip
SIZES = tuple(dict.fromkeys(size for word in WORDS.values() for size in word.sizes))


@dataclass(frozen=True)
class Visit:
    """People who come to some cells at some hours. rows: (cells,) where; of: how many live in the whole area; spans:
    (day of the week or date, from, to)."""

    name: str
    rows: NDArray[np.intp]
    people: float
    of: float
    spans: tuple[tuple[str, float, float], ...]

    @property
    def times(self) -> str:
        """The hours in words."""
        return ", ".join(f"{day.capitalize()} {_clock(first)}-{_clock(last)}" for day, first, last in self.spans)

    def present(self, local: pd.DatetimeIndex) -> NDArray[np.float64]:
        """(steps,) which share of the people is there: all from `from` to `to`, half in the hours before and after.

        Raises BadInput where no step of the period lies within."""
        return _presence(self.spans, local, self.name, self.times)


@dataclass(frozen=True)
class Open:
    """Hours in which a thing is open. weight: (cells,) share of its effect that holds at a cell. times: as told."""

    name: str
    weight: NDArray[np.float64]
    spans: tuple[tuple[str, float, float], ...]
    times: str

    def factor(self, local: pd.DatetimeIndex) -> NDArray[np.float64]:
        """(steps,) 1 within the hours, LITTLE outside, half of both in the hours before and after.

        Raises BadInput where no step of the period lies within."""
        return LITTLE + (1 - LITTLE) * _presence(self.spans, local, self.name, self.times)


def within_hours(
    opened: tuple[Open, ...], others: NDArray[np.float64], effect: NDArray[np.float32], local: pd.DatetimeIndex
) -> NDArray[np.float32]:
    """An effect (members, cells, steps) moved into opening hours; what it adds to a cell over the period stays.

    others: (cells,) weight of changes without hours. Where several changes meet, each counts by its weight."""
    total = others + sum(part.weight for part in opened)
    mixed = np.ones((effect.shape[1], len(local)))
    for part in opened:
        share = np.divide(part.weight, total, out=np.zeros_like(total), where=total > 0)
        mixed += share[:, None] * (part.factor(local) - 1.0)[None]
    moved = effect * mixed
    held = np.divide(
        effect.sum(axis=-1, dtype=np.float64), moved.sum(axis=-1, dtype=np.float64),
        out=np.ones(effect.shape[:2]), where=np.abs(moved.sum(axis=-1)) > 0,
    )  # fmt: skip
    held = np.where((held > 0) & (held < 2 / LITTLE), held, 1.0)  # of an effect of both signs the sum may be near 0
    return np.asarray(moved * held[..., None], dtype=np.float32)


def size_of(kind: str, properties: dict[str, Any], where: str) -> tuple[float, str]:
    """How large a thing is in the first size of its word, and that in words. Raises BadInput."""
    word = WORDS[kind]
    given = [size for size in SIZES if size in properties]
    wrong = [size for size in given if size not in word.sizes]
    if wrong:
        raise BadInput(f"{where}: {wrong[0]} does not go with {kind}; give {' or '.join(word.sizes)}")
    if len(given) > 1:
        raise BadInput(f"{where}: {given[0]} and {given[1]} say two things; give one of them")
    first = next(iter(word.sizes))
    if not given and not word.usual:
        raise BadInput(f"{where}: how large is it? give {' or '.join(word.sizes)}")
    if not given:
        return word.usual, f"{word.usual:,.0f} {_unit(first)} assumed"
    value = properties[given[0]]
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = np.nan
    if not 0 < number <= MOST or isinstance(value, bool):
        raise BadInput(f"{where}: {given[0]} is {value!r}; give a number above 0, at most {MOST:,}")
    return number * word.sizes[given[0]], f"{number:,.0f} {_unit(given[0])}"


def counts_of(kind: str, size: float) -> dict[str, int]:
    """Category -> points of interest of a thing of this size (`size_of`); at least one in all, but for an event."""
    word = WORDS[kind]
    found = {name: round(rate * size) + word.always.get(name, 0) for name, rate in word.rates.items()}
    found |= {name: n for name, n in word.always.items() if name not in found}
    found = {name: n for name, n in found.items() if n}
    if not found and word.rates:
        found = {max(word.rates, key=lambda name: word.rates[name]): 1}
    return found


def spans_of(text: Any, where: str) -> tuple[tuple[str, float, float], ...]:
    """`Sat 18:00-23:00, Mon-Fri 9-17, daily 8-20` or with dates (2026-01-10) as (day, from, to) in hours.

    Raises BadInput."""
    spans = []
    if hasattr(text, "utcoffset"):  # what reads GeoJSON takes "2026-01-10 18:00-23:00" for a time and its zone
        ends = -(text.utcoffset().total_seconds() if text.utcoffset() is not None else 0.0) / 3600
        if ends <= 0:
            raise BadInput(f"{where}: times is {text}; give such as Sat 18:00-23:00, or 2026-01-10 18:00-23:00")
        text = f"{text:%Y-%m-%d %H:%M}-{_clock(ends)}"
    for part in str(text).split(","):
        found = re.fullmatch(r"\s*(\S+)\s+(\d{1,2})(?::(\d\d))?\s*(?:-|to|–)\s*(\d{1,2})(?::(\d\d))?\s*", part)
        day = found[1].lower() if found else ""
        days = _days(day)
        if found is None or not days:
            raise BadInput(
                f"{where}: times is {part.strip()!r}; give such as Sat 18:00-23:00, or 2026-01-10 18:00-23:00"
            )
        first, last = int(found[2]) + int(found[3] or 0) / 60, int(found[4]) + int(found[5] or 0) / 60
        last += 24 if last <= first else 0  # past midnight
        if first >= 24 or last > 48:
            raise BadInput(f"{where}: times is {part.strip()!r}; hours run from 0:00 to 24:00")
        spans += [(one, first, last) for one in days]
    return tuple(spans)


def _days(text: str) -> list[str]:
    """The days that a word means: a date, "sat", "mon-fri", "daily"; none where it is no day."""
    if re.fullmatch(r"\d{4}-\d\d-\d\d", text):
        return [text]
    if text in ("daily", "every"):
        return list(DAYS)
    ends = [part[:3] for part in re.split(r"[-–]", text)]
    if len(ends) > 2 or any(end not in DAYS for end in ends):
        return []
    first, last = DAYS.index(ends[0]), DAYS.index(ends[-1])
    return [DAYS[(first + k) % 7] for k in range((last - first) % 7 + 1)]


def _presence(
    spans: tuple[tuple[str, float, float], ...], local: pd.DatetimeIndex, name: str, times: str
) -> NDArray[np.float64]:
    """(steps,) 1 within the spans, half in the hours before and after, else 0. Raises BadInput where none is within."""
    step_h = (local[1] - local[0]).total_seconds() / 3600 if len(local) > 1 else 1.0
    share = np.zeros(len(local))
    for day, first, last in spans:
        begins = _hours_since(local, day)
        share = np.maximum(share, np.clip(_overlap(begins, step_h, first, last), 0.0, 1.0))
        for edge in ((first - 1, first), (last, last + 1)):
            share = np.maximum(share, 0.5 * np.clip(_overlap(begins, step_h, *edge), 0.0, 1.0))
    if not share.any():
        raise BadInput(f"{name}: times {times} lie outside of the period drawn: give others, or more days")
    return share


def residents(context: xr.Dataset, given: Any = None, where: str = "") -> tuple[float, str]:
    """How many people the area has, and where that is known from. given: what the change says. Raises BadInput."""
    if given is not None:
        try:
            number = float(given)
        except (TypeError, ValueError):
            number = np.nan
        if not 0 < number <= MOST_RESIDENTS:
            raise BadInput(f"{where}: area_residents is {given!r}; give how many people live in the area drawn")
        return number, f"of {number:,.0f} residents"
    pois, known = context["poi_count"].values.sum(axis=1), 0.0
    if "population" in context:
        people = context["population"].values.astype(np.float64)
        known, pois = float(np.nansum(people)), pois[np.isnan(people)]
        if not len(pois):
            return known, "of the residents of --population"
    number = known + max(float(pois.sum()), 1.0) * PEOPLE_PER_POI
    return (
        number,
        f"of {number:,.0f} residents assumed, {PEOPLE_PER_POI:.0f} for each place on the map; better: area_residents",
    )


def visits_added(
    visits: tuple[Visit, ...], before: NDArray[np.float32], local: pd.DatetimeIndex
) -> NDArray[np.float64]:
    """The traffic of visitors, (members, cells, steps): each uses what a resident of the area uses in that hour.

    before: (members, cells, steps) of the whole area. local: (steps,) local times.
    """
    total = before.sum(axis=1, dtype=np.float64)  # (members, steps)
    added = np.zeros(before.shape)
    for visit in visits:
        share = visit.people / visit.of * visit.present(local) / len(visit.rows)
        added[:, visit.rows] += (total * share)[:, None, :]
    return added


def _hours_since(local: pd.DatetimeIndex, day: str) -> NDArray[np.float64]:
    """(steps,) hours from the midnight with which the day begins, the nearest one of its name before or after."""
    clock = np.asarray(local.hour + local.minute / 60, dtype=np.float64)
    if day[0].isdigit():
        dates = np.asarray(local.tz_localize(None).normalize(), dtype="datetime64[D]")
        return (dates - np.datetime64(day)).astype(np.float64) * 24 + clock
    apart = (np.asarray(local.day_of_week) - DAYS.index(day)) % 7
    return np.where(apart == 6, -1, np.where(apart > 1, 100, apart)) * 24.0 + clock


def _overlap(begins: NDArray[np.float64], step_h: float, first: float, last: float) -> NDArray[np.float64]:
    """(steps,) share of each step that lies between two hours."""
    return (np.minimum(begins + step_h, last) - np.maximum(begins, first)) / step_h


def _clock(hours: float) -> str:
    return f"{int(hours) % 24}:{round(hours * 60) % 60:02d}"


def _unit(size: str) -> str:
    return {"floor_area": "m2 of floor"}.get(size, size)
