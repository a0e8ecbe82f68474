"""The usual week of a cell: what its own past tells of a later week, once what was chance is taken out of it.

One week of one cell is a noisy guide to the next: an hour that was busy last Tuesday was busy partly by accident. The
best linear guess leans on the same hour of the cell's other days as well, on the hours beside, and on what the cells of
its network do (empirical Bayes, as in Efron and Morris 1975). The guess is a weighted sum of PARTS; the weights move on
a line from those of one week to those of weeks without end, by (n - 1) / (n + 1) for n weeks, and few cells pull them
little away from climatology: the hour of the week itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gentraffic.modelling.features import LEAST_MEAN, Floats, WeeklyProfile

if TYPE_CHECKING:
    from gentraffic.modelling.measured import Source

PARTS = ("hour of the week", "hours beside", "hour on days of its kind", "hour of the day", "the network's week")
CLIMATOLOGY = np.array([[1.0, 0.0, 0.0, 0.0, 0.0]] * 2)
WORKDAYS = 5  # Monday to Friday; the others are days of another kind
FEW_CELLS, FIRM = 10, 1e-3  # cells like all others, or like climatology, that a network's weights are held by
MEMORIES = (2.0, 4.0, 8.0, 16.0, 32.0)  # days
WINDOWS, WEEKS, CELLS = 8, 3, 2000  # of a network, at most, that its weights are fitted on; weeks of past told in turn


def profile_week(
    week: NDArray[Any], days: NDArray[np.int64], usual: WeeklyProfile, network: str, others: Floats | None = None
) -> Floats:
    """Mean weeks -> usual ones of the same shape.

    week: (cells, 7, 24 k) over the mean, Monday first. days: (7,) the number of days in each mean.
    network: a name that `usual` knows, else "" is taken. others: (cells, 7, 24) or (7, 24) what the network does where
    that is not its mean week, as in training, where a cell must not look at itself. Hours keep their shape within.
    """
    name = network if network in usual.weights else ""
    cells = len(week)
    hours = week.reshape(cells, 7, 24, -1).mean(axis=3, dtype=np.float64)
    whole = _filled(hours, days)
    weights = mixed(np.array(usual.weights[name]), days)
    out = np.einsum("cdhp,dp->cdh", parts(whole, np.array(usual.weeks[name]) if others is None else others), weights)
    out = np.maximum(out, 0.0)
    out *= whole.mean(axis=(1, 2), keepdims=True) / np.maximum(out.mean(axis=(1, 2), keepdims=True), 1e-9)
    fine = week.reshape(cells, 7, 24, -1)
    times = np.divide(out, hours, out=np.zeros_like(out), where=hours > 0)[..., None]
    done: Floats = np.where(hours[..., None] > 0, fine * times, out[..., None]).reshape(week.shape)
    return done


def parts(week: Floats, others: Floats) -> Floats:
    """The PARTS, (cells, 7, 24, 5). week: (cells, 7, 24). others: those of the network, (cells, 7, 24) or (7, 24)."""
    line = week.reshape(len(week), 168)
    beside = ((np.roll(line, 1, axis=1) + np.roll(line, -1, axis=1)) / 2).reshape(week.shape)
    day = np.broadcast_to(week.mean(axis=1, keepdims=True), week.shape)
    kinds = (week[:, :WORKDAYS], week[:, WORKDAYS:])
    kind = np.concatenate([np.broadcast_to(k.mean(axis=1, keepdims=True), k.shape) for k in kinds], axis=1)
    return np.stack([week, beside, kind, day, np.broadcast_to(others, week.shape)], axis=-1)


def mixed(weights: Floats, days: NDArray[np.int64]) -> Floats:
    """The weights (2, 5) for each weekday that is the mean of some days (7,): (7, 5)."""
    far = np.clip((days - 1) / (days + 1.0), 0.0, None)[:, None]
    out: Floats = (1 - far) * weights[0] + far * weights[1]
    return out


def other_cells(source: Source) -> Floats:
    """The mean week of all other cells of a source, each over its mean: (cells, 7, 24). A single cell: its mean day."""
    shape = cell_weeks(source)
    if len(shape) == 1:
        return np.repeat(shape.mean(axis=1, keepdims=True), 7, axis=1)
    others: Floats = (shape.sum(axis=0) - shape) / (len(shape) - 1)
    return others


def fit_weekly_profile(sources: Sequence[Source]) -> WeeklyProfile:
    """Weights that guess the weeks of the training cells best from their other days, and the memory of levels.

    Squared errors of hours over the range of the cell's week, as `rmse_minmax` has them. The weights of "" come first:
    all networks together, each told the mean week of the others, held by FEW_CELLS to climatology; then those of each
    network, told the other cells of its own, held by FEW_CELLS to the first (in the metric of the parts, so that the
    pull is that of so many cells; FIRM settles what no cell tells).
    """
    weeks = {s.network: cell_weeks(s).mean(axis=0) for s in sources}
    profile = WeeklyProfile({}, {"": np.mean(list(weeks.values()), axis=0)} | weeks)
    sums = {}
    for s in sources:
        elsewhere = profile.elsewhere(s.network)
        own = other_cells(s)
        sums[s.network] = (_normal(s, own), _normal(s, own if elsewhere is None else elsewhere), len(s.ratio))
    foreign_sums = [(foreign, cells) for _, foreign, cells in sums.values() if foreign is not None]
    weights = dict.fromkeys(("", *weeks), CLIMATOLOGY)
    if foreign_sums:
        total = sum(cells for _, cells in foreign_sums)
        gram, target = (sum(cells * part[i] for part, cells in foreign_sums) for i in (0, 1))
        mean: Floats = np.asarray(gram) / total
        hold = FEW_CELLS * mean + FIRM * np.trace(mean) * np.eye(len(mean))
        all_ = np.linalg.solve(gram + hold, target + hold @ CLIMATOLOGY.ravel())
        weights = dict.fromkeys(weights, all_.reshape(2, -1))
        for name, (own_sums, _, cells) in sums.items():
            if own_sums is not None:
                each = np.linalg.solve(cells * own_sums[0] + hold, cells * own_sums[1] + hold @ all_)
                weights[name] = each.reshape(2, -1)
    return WeeklyProfile(
        {name: w.round(4).tolist() for name, w in weights.items()},
        {name: np.asarray(week).round(4).tolist() for name, week in profile.weeks.items()},
        fit_memory(sources),
    )


def fit_memory(sources: Sequence[Source]) -> float:
    """The memory, of MEMORIES, by which the past tells the level of the next week best (mean |log|); 0 for none of it.

    Only networks of more than two weeks can tell: in a single week, levels and weekdays are one.
    """
    errors = [
        [np.abs(ahead(s, memory, range(8, s.ratio.shape[1] - 6))).mean() for memory in (0.0, *MEMORIES)]
        for s in sources
        if s.ratio.shape[1] >= 15
    ]
    return float((0.0, *MEMORIES)[int(np.argmin(np.mean(errors, axis=0)))]) if errors else 0.0


def ahead(source: Source, memory: float, cuts: Sequence[int]) -> Floats:
    """Log of the mean of the week after each of some days over what was expected of the days before: (cuts, cells)."""
    daily = source.ratio.mean(axis=2, dtype=np.float64)
    out = []
    for cut in cuts:
        expected = daily[:, :cut].mean(axis=1) * level_now(daily[:, :cut], source.weekday, memory)
        later = daily[:, cut : cut + 7].mean(axis=1)
        out.append(np.log(np.maximum(later, LEAST_MEAN) / np.maximum(expected, LEAST_MEAN)))
    return np.array(out)


def level_now(daily: NDArray[Any], weekday: int, memory: float) -> Floats:
    """The level that days, daily (cells, D), lead up to, over their mean: (cells,). weekday: of the first.

    The mean week, times how much more than the mean of their weekday the last days held: exponential smoothing.
    """
    cells, count = daily.shape
    if not memory or count < 8:
        return np.ones(cells)
    of = (weekday + np.arange(count)) % 7
    onto = (of[:, None] == np.arange(7)) / np.maximum(np.bincount(of, minlength=7), 1)
    week = daily.astype(np.float64) @ onto  # (cells, 7)
    expected = week[:, of]
    over = np.divide(daily, expected, out=np.ones_like(expected), where=expected > 0)
    share = 0.5 ** (np.arange(count)[::-1] / memory)
    out: Floats = week.mean(axis=1) / daily.mean(axis=1).clip(1e-9) * (over @ (share / share.sum()))
    return out


def _normal(source: Source, others: Floats) -> tuple[Floats, Floats] | None:
    """The normal equations of one network's weights, per hour: (10, 10) and (10,); None where weeks have no past."""
    step = -(-len(source.ratio) // CELLS)
    count = source.ratio.shape[1]
    days = source.ratio[::step].reshape(-1, count, 24, source.per_hour).mean(axis=3, dtype=np.float64)
    beside = others[::step] if others.ndim == 3 else others
    gram, target, windows = np.zeros((10, 10)), np.zeros(10), 0
    for day in np.linspace(0, count - 7, min(WINDOWS, -(-count // 7))).round().astype(int) if count >= 14 else []:
        for n in range(1, WEEKS + 1):
            at = nearest_days(count, int(day), n)
            number = np.bincount((source.weekday + at) % 7, minlength=7)
            if len(at) == 0 or number.min() < 1 or number.max() < n:
                continue
            onto = ((source.weekday + at) % 7 == np.arange(7)[:, None]) / number[:, None]
            past = np.einsum("wd,cdh->cwh", onto, days[:, at])
            later = np.roll(days[:, day : day + 7], (source.weekday + day) % 7, axis=1)
            mean, level = (v.mean(axis=(1, 2), keepdims=True) for v in (past, later))
            live = ((mean > LEAST_MEAN) & (level > LEAST_MEAN)).ravel()
            later = (later / np.maximum(level, LEAST_MEAN))[live]
            x = parts((past / np.maximum(mean, LEAST_MEAN))[live], beside[live] if beside.ndim == 3 else beside)
            far = ((number - 1) / (number + 1.0))[:, None, None]
            width = np.maximum(np.ptp(later, axis=(1, 2)), LEAST_MEAN)[:, None, None]
            x = (np.concatenate([(1 - far) * x, far * x], axis=-1) / width[..., None]).reshape(-1, 10)
            y = (later / width).ravel()
            gram, target, windows = gram + x.T @ x / max(len(y), 1), target + x.T @ y / max(len(y), 1), windows + 1
    return (gram / windows, target / windows) if windows else None


def nearest_days(count: int, day: int, weeks: int) -> NDArray[np.int64]:
    """Up to `weeks` days of each weekday out of `count`, those nearest to the week from `day` on and outside it."""
    outside = [i for i in range(count) if not day <= i < day + 7]
    outside.sort(key=lambda i: abs(i - day - 3))
    taken = [i for rank, i in enumerate(outside) if sum((i - j) % 7 == 0 for j in outside[:rank]) < weeks]
    return np.array(sorted(taken), dtype=np.int64)


def cell_weeks(source: Source) -> Floats:
    """The mean week of each cell over its mean, Monday first: (cells, 7, 24)."""
    cells, count, _ = source.ratio.shape
    hours = source.ratio.reshape(cells, count, 24, source.per_hour).mean(axis=3, dtype=np.float64)
    of = (source.weekday + np.arange(count)) % 7
    week = np.einsum("dw,cdh->cwh", (of[:, None] == np.arange(7)) / np.bincount(of, minlength=7), hours)
    shapes: Floats = week / np.maximum(week.mean(axis=(1, 2), keepdims=True), 1e-9)
    return shapes


def _filled(week: Floats, days: NDArray[np.int64]) -> Floats:
    """Weeks (cells, 7, 24) with weekdays of no day (7,) as the mean of those of their kind, or of all."""
    out = week.copy()
    kind = np.arange(7) < WORKDAYS
    for weekday in np.flatnonzero(days == 0):
        like = (days > 0) & (kind == kind[weekday])
        out[:, weekday] = week[:, like if like.any() else days > 0].mean(axis=1)
    return out
