"""Weeks of cells that nobody measured, in a place where somebody measured others.

What was measured says three things. Its mean week is the rhythm of the place: the network whose rhythm a model follows
departs from it, and the more cells were measured the more of that is taken over (shrinkage: James and Stein, Proc.
Fourth Berkeley Symp. 1:361, 1961). A cell that was measured has a week of its own. And cells near it, or among the same
kinds of places, depart from the mean week as it does: simple kriging (Journel and Huijbregts, Mining Geostatistics,
1978, chapter V) of the departures of its nearest measured cells, hour by hour of the week.

Values that were measured at the steps to be drawn are kept. What is drawn in the gaps between them joins them: the log
of measured over drawn is interpolated as an autoregression would go on, which is conditional simulation by substitution
(the same, chapter VII) in time. Levels: `modelling.kriging`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gentraffic.dataset.schema import NOT_HERE, NOTHING_LEFT, blocks
from gentraffic.errors import NoData, WrongUse
from gentraffic.modelling.expected_week import BENDS, BENT, LINEAR, SITES, WEIGHT, standard, week_features
from gentraffic.modelling.features import FLOOR, WEEK, Floats, Places
from gentraffic.modelling.kriging import NEAREST

if TYPE_CHECKING:
    import xarray as xr

    from gentraffic.dataset.calendar import Calendar
    from gentraffic.modelling.expected_week import ExpectedWeeks

# Variance of departures that a cell shares with those near it, over that of a cell of mean weight alone, where
# neighbours share all of their noise, and the distance over which it falls by e; chosen over ten regions of Milan, of
# which some cells were measured.
NEAR, REACH_M = 2.4, 500.0
SPREAD, DOUBTED = 0.2, 2.0  # variance of log weeks of one network about its mean, 0.07 to 0.28; the cells it counts as
# Variance of a network's mean log week about that of another: 0.02 to 0.34, 0.15 in the mean of the 15 pairs. What
# departs by more is as likely a cell unlike the others, so that one odd cell does not stand for a town.
BETWEEN = 0.15
MEMORY_H = 16.0  # hours in which the log of measured over drawn falls by e
FAST_H = 5  # hours: what departs from the mean of so many is fast
FEW_FAST, FEW_SLOW = 2.0, 10.0  # cells: what few say of sizes is shrunk; rare large slow departures are seen late
LASTING = 0.4  # share of the variance of departures that a cell has in all weeks alike
ROWS = 256  # cells that are worked on at a time


@dataclass(frozen=True)
class KnownCells:
    """What was measured in n cells of a place.

    rows: (n,) of the context. week: (n, 168) mean traffic of each hour of the week, Monday first, nan where none was
    measured; count: (n, 168) of how many steps. values: (n, steps) float32 at the steps to be drawn, nan where nothing
    was measured. units: of all.
    """

    rows: NDArray[np.int64]
    week: Floats
    count: NDArray[np.int64]
    values: NDArray[np.float32]
    units: str

    def level(self, log_expected: Floats) -> Floats:
        """Mean traffic over a whole week, (n,), given what hours that were not measured are to those that were.

        log_expected: (n, 168) log of the expected week over its mean, plus FLOOR.
        """
        expected = np.maximum(np.exp(log_expected) - FLOOR, 0.0)
        expected /= np.maximum(expected.mean(axis=1, keepdims=True), 1e-9)
        measured, usual = (np.nansum(self.count * part, axis=1) for part in (self.week, expected))
        out: Floats = measured / np.maximum(usual, 1e-9 * self.count.sum(axis=1))
        return out

    def departures(self, log_expected: Floats) -> tuple[Floats, Floats]:
        """How the log weeks depart from those expected: what they share, (168,), and what remains of each, (n, 168).

        log_expected: (n, 168), as in `level`. Hours that nobody measured have what the same hour of other days has; in
        a cell that was not measured then, nothing remains.
        """
        level = self.level(log_expected)
        live = level > 0
        seen = (self.count > 0) & live[:, None]
        with np.errstate(invalid="ignore", divide="ignore"):
            log = np.log(self.week / np.where(live, level, 1.0)[:, None] + FLOOR)
        apart = np.where(seen, log - log_expected, 0.0)
        weight = seen * self.weight(level)[:, None]
        total = weight.sum(axis=0)
        if not total.any():
            return np.zeros(WEEK), np.zeros_like(apart)
        shared = _filled((weight * apart).sum(axis=0) / np.maximum(total, 1e-12), total > 0)
        rest = np.where(seen, apart - shared, 0.0)
        cells = total.max() ** 2 / (weight.max(axis=1) ** 2).sum()  # as many of equal weight
        spread = (DOUBTED * SPREAD + (weight * rest**2).sum() / weight.sum() * (cells - 1)) / (DOUBTED + cells - 1)
        noise = spread / cells
        told = min(max(float((shared**2).mean()) - noise, 0.0), BETWEEN)
        shared = shared * (told / (told + noise) * cells / (cells + 1))  # few cells may all be unlike the others
        return shared, np.where(seen, apart - shared, 0.0)

    def sizes(self, log_expected: Floats) -> tuple[float, float]:
        """`sizes` of a single week of the measured cells. log_expected: (n, 168), as in `level`."""
        level = self.level(log_expected)
        live = level > 0
        with np.errstate(invalid="ignore", divide="ignore"):
            log = np.log(self.week / np.where(live, level, 1.0)[:, None] + FLOOR) - log_expected
        seen = (self.count > 0) & live[:, None]
        calmer = np.sqrt(LASTING + (1 - LASTING) / np.maximum(self.count, 1))  # a mean of weeks is
        return sizes(log, log_expected, seen, calmer)

    def weight(self, level: Floats) -> Floats:
        """By how much each cell counts, (n,), 1 in the mean: busy ones, and those measured in all hours, count more.

        level: (n,) mean traffic."""
        out = level**WEIGHT * (self.count > 0).mean(axis=1)
        return np.asarray(out / max(float(out.mean()), 1e-12))


@dataclass(frozen=True)
class KnownWeeks:
    """What measured cells say of the weeks of the cells that are drawn, and what is kept of them.

    shared: (rhythms, 168) and apart: (rhythms, n, 168) as `KnownCells.departures`, for each distinct rhythm. near:
    (cells, k) the measured cells that each cell hears, with weights share (cells, k). own: (cells,) which of them it is
    itself, -1 for none; usual: (rhythms, n, 168) what is usual of it, as far as trust (n, 168) goes. values: (n, steps)
    float32, kept. level: (n,) mean traffic, in the units of values. rest: (cells,) standard deviation of how a cell
    departs from what is told here, over that of a cell of which nothing is told. sizes: (rhythms, 2) of how it does so
    slowly and from hour to hour, over what is drawn with the rhythm.
    """

    shared: Floats
    apart: NDArray[np.float32]
    near: NDArray[np.int32]
    share: NDArray[np.float32]
    own: NDArray[np.int64]
    usual: NDArray[np.float32]
    trust: NDArray[np.float32]
    values: NDArray[np.float32]
    level: Floats
    rest: NDArray[np.float32]
    sizes: Floats

    def departing(
        self, rhythm: int, rows: NDArray[np.int64], drawn: NDArray[np.float32], per_hour: int
    ) -> NDArray[np.float32]:
        """How some cells depart from what is expected of them and told here, (rows, 168 k), given what was drawn.

        rhythm, and rows (rows,): as in `log_week`. drawn: (rows, 168 k), k numbers per hour, the first its mean."""
        out = drawn * self.rest[rows, None]
        slowly, fast = self.sizes[rhythm].astype(np.float32)
        hours = out[:, ::per_hour]
        slow = _slow(hours, np.ones(hours.shape, dtype=bool))
        whole: NDArray[np.float32] = out * fast
        whole[:, ::per_hour] += (slowly - fast) * slow
        return whole

    def log_week(self, rhythm: int, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """What is added to the expected log weeks of some cells: (rows, 168).

        rhythm: which of the distinct ones they follow. rows: (rows,) of the cells that are drawn."""
        apart = self.apart[rhythm]
        out = np.einsum("ck,ckt->ct", self.share[rows], apart[self.near[rows]])
        own = self.own[rows]
        mine = own >= 0
        out[mine] = self.usual[rhythm, own[mine]] + (1 - self.trust[own[mine]]) * out[mine]
        total: NDArray[np.float32] = (self.shared[rhythm] + out).astype(np.float32)
        return total

    def keep(self, drawn: NDArray[np.float32], first: int, per_hour: int) -> NDArray[np.float32]:
        """What was drawn, (cells, steps), of the cells from `first` on, with what was measured in its place."""
        own = self.own[first : first + len(drawn)]
        mine = np.flatnonzero(own >= 0)
        if len(mine):
            known, floor = self.values[own[mine]], FLOOR * self.level[own[mine]]
            drawn = drawn.copy()
            drawn[mine] = join(known, drawn[mine], floor, per_hour)
        return drawn

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All of it, by name: `KnownWeeks(**arrays)` is the same."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def join(known: NDArray[np.float32], drawn: NDArray[np.float32], floor: Floats, per_hour: int) -> NDArray[np.float32]:
    """Known values, and between them what was drawn, moved to where they lie: (cells, steps) float32.

    known: (cells, steps), nan where a value is to be drawn. drawn: (cells, steps). floor: (cells,) added before the
    logarithm. The log of known over drawn, given its last value before a gap and its first behind, has the mean of a
    first-order autoregression that falls by e in MEMORY_H.
    """
    steps = np.arange(known.shape[1])
    seen = ~np.isnan(known)
    small = np.maximum(floor, 1e-12)[:, None]
    ratio = np.where(seen, np.log((np.nan_to_num(known) + small) / (drawn + small)), 0.0)
    before = np.maximum.accumulate(np.where(seen, steps, -1), axis=1)
    behind = np.minimum.accumulate(np.where(seen, steps, len(steps))[:, ::-1], axis=1)[:, ::-1]
    falls = np.exp(-1 / (MEMORY_H * per_hour))
    left, right = (np.where(there, np.power(falls, np.abs(at - steps)), 0.0) for at, there in
                   ((before, before >= 0), (behind, behind < len(steps))))  # fmt: skip
    both = np.maximum(1 - (left * right) ** 2, 1e-12)
    rows = np.arange(len(known))[:, None]
    from_left = left * (1 - right**2) / both * ratio[rows, np.maximum(before, 0)]
    from_right = right * (1 - left**2) / both * ratio[rows, np.minimum(behind, len(steps) - 1)]
    moved = np.maximum((drawn + small) * np.exp(from_left + from_right) - small, 0.0)
    out: NDArray[np.float32] = np.where(seen, known, moved.astype(np.float32))
    return out


def sizes(
    log: Floats, log_expected: Floats, seen: NDArray[np.bool_], calmer: Floats | float = 1.0
) -> tuple[float, float]:
    """How far weeks depart from what is expected of them, slowly and from hour to hour: the sizes of the two parts of
    the log departures times the expected traffic, the slow one's root mean square about what the cells share (nan of
    one cell), the fast one's mean. Both are nan where no FAST_H hours in a row were seen.

    log: (n, 168) departures. log_expected: (n, 168). seen: (n, 168). calmer: (n, 168) or one number, by which what is
    said of each is divided."""
    values = np.where(seen, log, 0.0)
    whole = _window_sums(seen.astype(np.float64)) == FAST_H
    if not whole.any():
        return float("nan"), float("nan")
    slow, weight = _slow(values, seen), np.exp(log_expected) / calmer
    fast = float((np.abs(values - slow) * weight)[whole].mean())
    count = whole.sum(axis=0)
    several = whole & (count > 1)
    if not several.any():
        return float("nan"), fast
    shared = np.where(whole, slow, 0.0).sum(axis=0) / np.maximum(count, 1)
    apart = (slow - shared) * np.sqrt(count / np.maximum(count - 1, 1))
    return float(np.sqrt(((apart * weight)[several] ** 2).mean())), fast


def _window_sums(values: NDArray[Any]) -> NDArray[Any]:
    """Of FAST_H hours around each, (n, hours); the last stand before the first."""
    half = FAST_H // 2
    out = values.copy()
    for by in range(1, half + 1):
        out += np.roll(values, by, axis=1) + np.roll(values, -by, axis=1)
    return out


def _slow(values: NDArray[Any], seen: NDArray[np.bool_]) -> NDArray[Any]:
    """The mean of FAST_H hours around each hour, of those that were seen: (n, hours)."""
    count = np.maximum(_window_sums(seen.astype(values.dtype)), 1)
    return np.asarray(_window_sums(values) / count, dtype=values.dtype)


def read_known(
    ds: xr.Dataset, service: str, ids: NDArray[Any], calendar: Calendar, timezone: str, days_off: tuple[int, ...] = ()
) -> KnownCells:
    """What a Traffic Dataset says of a place, nan where nothing was measured.

    ids: (cells,) of the place. days_off: days of the calendar that are not usual ones, such as public holidays.
    Raises NoData where none of its cells belongs to the place, was measured, or carries anything.
    """
    import pandas as pd

    at = {str(cell): row for row, cell in enumerate(ids.tolist())}  # numbers in one file are text in another
    named = list(map(str, ds["cell_id"].values.tolist()))
    found = np.array([(i, at[cell]) for i, cell in enumerate(named) if cell in at], dtype=np.int64).reshape(-1, 2)
    if not len(found):
        raise NoData(NOT_HERE.format(len(named), named[0]))
    local = pd.DatetimeIndex(ds["time"].values).tz_localize("UTC").tz_convert(timezone)
    hour = (local.day_of_week * 24 + local.hour).to_numpy()
    first = pd.Timestamp(calendar.first)
    off = np.isin((local.tz_localize(None).normalize() - first).days.to_numpy(), days_off)
    onto = np.zeros((len(hour), WEEK))
    onto[np.arange(len(hour)), hour] = ~off
    if not onto.any():
        onto[np.arange(len(hour)), hour] = 1.0
    mine = {when: i for i, when in enumerate(calendar.utc.astype("datetime64[ns]").tolist())}
    columns = [(i, mine[when]) for i, when in enumerate(ds["time"].values.astype("datetime64[ns]").tolist())
               if when in mine]  # fmt: skip
    from_step, to_step = np.array(columns, dtype=np.int64).reshape(-1, 2).T
    sums, count = np.empty((len(found), WEEK)), np.empty((len(found), WEEK), dtype=np.int64)
    values = np.full((len(found), len(calendar.utc)), np.nan, dtype=np.float32)
    for rows in blocks(len(found), ROWS):
        part = ds[service].values[found[rows, 0]]
        seen = ~np.isnan(part)
        sums[rows], count[rows] = np.nan_to_num(part).astype(np.float64) @ onto, np.rint(seen @ onto)
        values[rows, to_step] = part[:, from_step]
    some = count.sum(axis=1) > 0
    if not some.any():
        raise NoData("--known: nothing is known, its cells of the place hold NaN alone")
    if not sums.any():
        raise NoData("--known: all that was measured in the place is 0, which does not tell what other cells carry")
    some &= np.isin(np.arange(len(found)), np.unique(found[:, 1], return_index=True)[1])
    order = np.flatnonzero(some)[np.argsort(found[some, 1], kind="stable")]
    with np.errstate(invalid="ignore"):
        week = np.where(count > 0, sums / np.maximum(count, 1), np.nan)
    units = str(ds[service].attrs["units"])
    return KnownCells(found[order, 1], week[order], count[order], values[order], units)


def check_left(known: KnownCells, rows: NDArray[np.int64]) -> None:
    """Raise WrongUse where all values of the cells to be drawn were measured. rows: (cells,) of the context."""
    if np.isin(rows, known.rows).all() and not np.isnan(known.values[np.isin(known.rows, rows)]).any():
        raise WrongUse(NOTHING_LEFT)


def known_weeks(
    known: KnownCells, weeks: ExpectedWeeks, rhythms: tuple[str, ...], places: Places, rows: NDArray[np.int64],
    shared: float,
) -> KnownWeeks:  # fmt: skip
    """What `KnownWeeks` holds. rhythms: distinct ones. rows: (cells,) of the places that are drawn. shared: how much of
    their weeks neighbours have in common (`ExpectedWeek.shared`)."""
    parts, levels = [], []
    for rhythm in rhythms:
        expected = log_expected(weeks, rhythm, places, known.rows)
        parts.append(known.departures(expected))
        levels.append(known.level(expected))
    near, share, told = heard(known, weeks, rhythms[0], places, rows, known.weight(levels[0]), NEAR * shared)
    apart = np.stack([apart for _, apart in parts])
    kind, count = _by_kind_of_day(apart, known.count)
    trust = count / (count + 1.0)
    usual = trust * kind + LASTING * known.count / (known.count + 1.0) * (apart - kind)
    position = np.full(len(places.xy_m), -1, dtype=np.int64)
    position[known.rows] = np.arange(len(known.rows))
    own = position[rows]
    told[own >= 0] = LASTING * (known.count / (known.count + 1.0)).mean(axis=1)[own[own >= 0]]
    return KnownWeeks(
        shared=np.stack([shared for shared, _ in parts]),
        apart=apart.astype(np.float32),
        near=near,
        share=share,
        own=own,
        usual=usual.astype(np.float32),
        trust=trust.astype(np.float32),
        values=known.values,
        level=levels[0],
        rest=np.sqrt(1 - told).astype(np.float32),
        sizes=np.ones((len(rhythms), 2)),
    )


def measured_sizes(known: KnownCells, expected: Floats, rows: NDArray[np.int64], drawn: Floats) -> tuple[float, float]:
    """By what the slow and the fast part of what is drawn are multiplied, so that they are as large as those measured.

    expected: (n, 168) log weeks of the measured cells. rows: of these, those of which drawn (rows, 168) is a week over
    its mean."""
    cells = int((known.count > 0).any(axis=1).sum())
    apart = np.log(drawn + FLOOR) - expected[rows]
    ours = sizes(apart, expected[rows], np.ones(apart.shape, dtype=bool))
    out = []
    sure = ((cells - 1) / (cells - 1 + FEW_SLOW), cells / (cells + FEW_FAST))
    for real, own, power in zip(known.sizes(expected), ours, sure, strict=True):
        usable = np.isfinite(real) and real > 0 and own > 0
        out.append((real / own) ** power if usable else 1.0)
    return out[0], out[1]


def log_expected(weeks: ExpectedWeeks, rhythm: str, places: Places, rows: NDArray[np.int64]) -> Floats:
    """Log of the expected weeks of some cells over their mean, plus FLOOR: (rows, 168). rows: (rows,) of the places."""
    out: Floats = weeks.scaled(rhythm, weeks.scores(rhythm, places, len(rows), rows), 0.0, 1.0).astype(np.float64)
    return out


def heard(
    known: KnownCells,
    weeks: ExpectedWeeks,
    rhythm: str,
    places: Places,
    rows: NDArray[np.int64],
    weight: Floats,
    nearness: float,
) -> tuple[NDArray[np.int32], NDArray[np.float32], Floats]:
    """The measured cells that each cell hears, (rows, k), their weights (rows, k), and the share of the variance that
    they tell, (rows,): simple kriging.

    weight: (n,) of the measured cells; the variance that each has alone is 1 / weight. nearness: the variance that
    cells at one place have in common beside.
    """
    from scipy.spatial import cKDTree

    at, count = places.xy_m[known.rows], min(NEAREST, len(known.rows))
    near, share = np.zeros((len(rows), count), dtype=np.int32), np.zeros((len(rows), count), dtype=np.float32)
    told = np.zeros(len(rows))
    if not np.isfinite(at).all():
        return near, share, told
    tree, columns = cKDTree(at), _columns(weeks, rhythm, places, known.rows)
    first = SITES if columns is None or not np.isnan(columns[:, SITES]).any() else SITES + 1
    own = 1 / np.maximum(weight, 1e-3)
    for some in blocks(len(rows), ROWS):
        here = places.xy_m[rows[some]]
        index = tree.query(here, k=np.arange(1, count + 1))[1]
        between = np.linalg.norm(at[index][:, :, None] - at[index][:, None], axis=-1)
        alike = nearness * np.exp(-between / REACH_M) + own[index][:, None] * np.eye(count)
        towards = nearness * np.exp(-np.linalg.norm(at[index] - here[:, None], axis=-1) / REACH_M)
        mine = None if columns is None else _columns(weeks, rhythm, places, rows[some])
        own_variance = np.full(len(here), 1 + nearness)
        if columns is not None and mine is not None:
            alike += _alike(columns[index], columns[index], first)
            towards += _alike(mine[:, None], columns[index], first)[:, 0]
            own_variance += _alike(mine[:, None], mine[:, None], first)[:, 0, 0]
        near[some] = index
        weights = np.linalg.solve(alike, towards[..., None])[..., 0]
        share[some] = weights
        told[some] = (weights * towards).sum(axis=1) / own_variance
    return near, share, told


def _columns(weeks: ExpectedWeeks, rhythm: str, places: Places, rows: NDArray[np.int64]) -> Floats | None:
    """What tells kinds of place, (rows, 17), in spreads of a network whose POIs the same source counted, nan where the
    radio cells are not known; None where there is no such network."""
    own = weeks.networks.get(rhythm)
    told = [w.places for w in (own, *weeks.networks.values()) if w is not None and w.source == places.source]
    scale = next((part for part in told if part is not None), None)
    return None if scale is None else standard(week_features(places, rows), scale.centre, scale.spread)


def _alike(a: Floats, b: Floats, first: int) -> Floats:
    """`expected_week.likeness` of columns (..., m, 17) and (..., n, 17): (..., m, n), the same bits in any company."""
    a, b = (np.nan_to_num(part[..., first:]) for part in (a, b))
    x, y = a[..., :, None, :], b[..., None, :, :]
    bent = BENT * np.exp(-(BENDS[first:] * (x - y) ** 2).sum(axis=-1) / 2)
    return np.asarray(bent + (LINEAR[first:] * x * y).sum(axis=-1))


def _by_kind_of_day(apart: Floats, count: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """The mean of each hour over working days, and over Saturday and Sunday, at all of them, (rhythms, n, 168), and how
    many steps each is of, (n, 168). apart: (rhythms, n, 168). count: (n, 168) steps."""
    days, steps = apart.reshape(*apart.shape[:2], 7, 24), count.reshape(-1, 7, 24)
    mean, number = np.empty_like(days), np.empty(steps.shape)
    for some in (slice(0, 5), slice(5, 7)):
        total = steps[:, some].sum(axis=1, keepdims=True)
        summed = (days[:, :, some] * steps[None, :, some]).sum(axis=2, keepdims=True)
        mean[:, :, some] = summed / np.maximum(total, 1)[None]
        number[:, some] = total
    return mean.reshape(apart.shape), number.reshape(count.shape)


def _filled(week: Floats, seen: NDArray[np.bool_]) -> Floats:
    """A week, (168,), whose hours that are not seen have the mean of that hour on other days, 0 where none has one."""
    days, have = week.reshape(7, 24), seen.reshape(7, 24)
    count = have.sum(axis=0)
    mean = np.where(count > 0, np.where(have, days, 0.0).sum(axis=0) / np.maximum(count, 1), 0.0)
    out: Floats = np.where(have, days, mean).ravel()
    return out
