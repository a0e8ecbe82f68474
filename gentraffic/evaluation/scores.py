"""Every fidelity metric of metrics.md for one synthetic row beside the real series, each with its interval or a reason.

Formulas live in `gentraffic.evaluation.metrics`; here is which of them take the ensemble's mean and which its
members, what must be known for each, and how its interval is made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gentraffic.evaluation.intervals import (
    Resample,
    hist_draws,
    interval,
    loop_draws,
    pair_distance_cells,
    tail_draws,
)
from gentraffic.evaluation.metrics import rhythm
from gentraffic.evaluation.metrics import summary as m
from gentraffic.evaluation.metrics.distribution import LAGS_H
from gentraffic.evaluation.metrics.paired import Floats, whole_days

Estimate = tuple[float, NDArray[np.float64] | None]
NO_TIME = "the files share no time, and this metric compares hour with hour"
NO_PLACES = "it is not known where the cells lie"
ONE_MEMBER = "the ensemble has one member: draw two or more (gentraffic sample --members 20)"


@dataclass(frozen=True)
class Score:
    """One metric of one row: its value and 95% interval; None with a `reason` where it has no value."""

    value: float | None
    low: float | None = None
    high: float | None = None
    reason: str = ""


@dataclass
class Row:
    """One synthetic row beside the real series. The scores are functions of it.

    real: (cells, steps), live cells; members: (m, cells, steps) in the same units. clock: (steps,) local seconds since
    1970. xy_m: (cells, 2), None where nobody told. weeks: (weeks, cells, steps) whole real weeks.
    scale: the divisor of `_p9999`.
    """

    real: NDArray[np.float64]
    members: Floats
    clock: NDArray[np.int64]
    step_s: int
    xy_m: NDArray[np.float64] | None
    weeks: Floats
    scale: float
    paired: bool
    resample: Resample

    @cached_property
    def mean(self) -> NDArray[np.float64]:
        """(cells, steps) the ensemble's mean: what point metrics score."""
        return np.asarray(self.members.mean(axis=0, dtype=np.float64))

    @cached_property
    def one(self) -> Floats:
        """(m, cells, steps), or (cells, steps) of the only member."""
        return self.members if len(self.members) > 1 else self.members[0]

    def hours(self) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
        """(real, ensemble mean, local hour of the first value), hourly; raises as `hour_steps`."""
        at = hour_steps(self.clock, self.step_s)
        real, mean = (v[:, at].mean(axis=-1) for v in (self.real, self.mean))
        return real, mean, int(self.clock[at[0, 0]] // 3600 % 24)


def hour_steps(clock: NDArray[np.int64], step_s: int) -> NDArray[np.intp]:
    """(hours, steps per hour) positions of the steps of each local hour. clock: (steps,) local seconds.

    Where the clocks change within, only whole local days of 24 hours are kept, so that every 24 hours are a day.
    ValueError where the steps are no parts of hours, or nothing is left.
    """
    if 3600 % step_s:
        raise ValueError(f"steps of {step_s / 60:g} min are no parts of hours, and this metric needs hourly values")
    size = 3600 // step_s
    first = int(np.argmax(clock % 3600 < step_s))
    count = (len(clock) - first) // size
    if count < 1:
        raise ValueError(f"{len(clock)} steps hold no whole hour")
    at: NDArray[np.intp] = first + np.arange(count * size, dtype=np.intp).reshape(count, size)
    starts = clock[at[:, 0]]
    if (np.diff(starts) == 3600).all():
        return at
    _, day, hours = np.unique(starts // 86_400, return_inverse=True, return_counts=True)
    distinct = np.array([len(np.unique(starts[day == d])) for d in range(len(hours))])
    keep = ((hours == 24) & (distinct == 24))[day]
    if not keep.any():
        raise ValueError("the clocks change here, and no local day of 24 hours is left")
    return np.asarray(at[keep])


@dataclass(frozen=True)
class Metric:
    """A metric: how a row's value and draws are computed, what it needs, and the value of a perfect row (`best`).

    `of` names the metric of which this one is the `_p9999` scaling, in place of `compute`. `shown`: what the value is
    multiplied by in tables.
    """

    name: str
    about: str
    compute: Callable[[Row], Estimate] | None = None
    paired: bool = False
    ensemble: bool = False
    best: float = 0.0
    of: str = ""
    shown: float = 1.0
    in_units: bool = False

    @property
    def label(self) -> str:
        """The name in tables, with the factor that they show it with."""
        return f"{self.name} x1e4" if self.shown == 1e4 else self.name


def _cells(row: Row, values: NDArray[np.float64], cells: NDArray[np.bool_] | None = None) -> Estimate:
    """A mean over cells."""
    return float(values.mean()), row.resample.mean(values, cells)


def _centred(value: float, draws: NDArray[np.float64], least: float = 0.0, most: float = np.inf) -> Estimate:
    """A statistic that is no mean, its draws moved so that their median is its value.

    Resampling adds noise of its own to divergences and distances, whose draws would all lie above the value.
    """
    kept = draws[~np.isnan(draws)]
    return value, np.clip(draws + (value - np.median(kept)), least, most) if len(kept) else None


def _root(squared: Estimate) -> Estimate:
    value, draws = squared
    return float(np.sqrt(value)), None if draws is None else np.sqrt(draws)


def _varying(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(cells,) where the series is not constant: what min-max scaling keeps."""
    return np.asarray(values.max(axis=1) > values.min(axis=1))


def _softmax24(row: Row) -> Estimate:
    real, mean, first_hour = row.hours()
    return _cells(row, m.jsd_softmax24_cells(real, mean, first_hour=first_hour), _varying(real))


def _coverage(nominal: float) -> Callable[[Row], Estimate]:
    return lambda row: _cells(row, m.coverage_cells(row.real, row.members, nominal))


def _jsd_hist(row: Row) -> Estimate:
    return _centred(m.jsd_hist(row.real, row.one), hist_draws(row.real, row.members, row.resample))


def _levels(score: Callable[[Floats, Floats], float], least: float, most: float) -> Callable[[Row], Estimate]:
    """A metric of mean levels: for the draws, each cell is a series of one step, its level."""

    def compute(row: Row) -> Estimate:
        if len(row.real) < 2:
            raise ValueError("one cell: its level has none to be compared with")
        a, b = row.real.mean(axis=1)[:, None], row.mean.mean(axis=1)[:, None]
        draws = loop_draws(lambda i: score(a[i], b[i]), row.resample)
        return _centred(score(row.real, row.mean), draws, least, most)

    return compute


def _distance_week(row: Row) -> Estimate:
    curves = (row.resample.mean(v) for v in (row.real, row.mean))
    draws = [m.jsd_distance_week(a[None], b[None]) for a, b in zip(*curves, strict=True)]  # a mean cell each
    return _centred(m.jsd_distance_week(row.real, row.one), np.array(draws), most=1.0)


def _acf(row: Row) -> Estimate:
    if 3600 % row.step_s:
        raise ValueError(f"steps of {row.step_s / 60:g} min are no parts of hours, in which the lags are")
    per_hour = 3600 // row.step_s
    value = m.acf_error(row.real, row.one, per_hour=per_hour)
    lags = [k * per_hour for k in LAGS_H if k * per_hour < row.real.shape[1]]
    drawn = np.mean([m.autocorrelation(s, lags) for s in row.members], axis=0)
    apart = row.resample.mean(drawn) - row.resample.mean(m.autocorrelation(row.real, lags))
    return _centred(value, np.abs(apart).mean(axis=1))


def _peak_hour(row: Row) -> Estimate:
    real, mean, first_hour = row.hours()
    a, b = (np.asarray(whole_days(v, first_hour).reshape(len(v), -1)) for v in (real, mean))
    return _cells(row, m.peak_hour_error_cells(a, b), m.live_cells(a))


def _tail(ratio: Callable[[Floats, Floats], float], quantile: float) -> Callable[[Row], Estimate]:
    def compute(row: Row) -> Estimate:
        if not np.quantile(row.real, quantile) > 0:
            raise ValueError(f"the real {quantile:.1%} quantile is 0: there is no ratio")
        return _centred(ratio(row.real, row.one), tail_draws(row.real, row.members, quantile, row.resample))

    return compute


def _diversity(row: Row) -> Estimate:
    if len(row.weeks) < 2:
        have = len(row.weeks) or "no"
        raise ValueError(f"the real file holds {have} whole week{'s' * (have != 1)}: two are needed as the unit")
    value = m.diversity(row.members, row.weeks)
    top, bottom = (row.resample.mean(pair_distance_cells(v)) for v in (row.members, row.weeks))
    return _centred(value, np.divide(top, bottom, out=np.full_like(top, np.nan), where=bottom > 0))


def _hours_of_week(row: Row) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Hourly (real (cells, hours), members (m, cells, hours), local hour of the week (hours,))."""
    at = hour_steps(row.clock, row.step_s)
    real, members = row.real[:, at].mean(axis=-1), row.members[..., at].mean(axis=-1, dtype=np.float64)
    hours = row.clock[at[:, 0]] // 3600
    return real, members, (hours + 72) % 168  # 1 January 1970 was a Thursday


def _roughness(row: Row) -> Estimate:
    real, members, _ = _hours_of_week(row)
    top, bottom = rhythm.roughness_cells(members).mean(axis=0), rhythm.roughness_cells(real)
    draws = loop_draws(lambda i: float(top[i].mean() / max(bottom[i].mean(), 1e-12)), row.resample)
    return _centred(rhythm.roughness_ratio(real, members), draws)


def _weekend(row: Row) -> Estimate:
    real, members, hour = _hours_of_week(row)
    a = rhythm.weekend_ratio_cells(real, hour)
    b = rhythm.weekend_ratio_cells(members, hour).mean(axis=0)
    draws = loop_draws(lambda i: float(np.nanmean(b[i]) - np.nanmean(a[i])), row.resample)
    return _centred(rhythm.weekend_error(real, members, hour), draws, -np.inf)


def _weekend_rank(row: Row) -> Estimate:
    if len(row.real) < 2:
        raise ValueError("one cell: its weekend has none to be compared with")
    real, members, hour = _hours_of_week(row)
    a, b = (rhythm.weekend_ratio_cells(v, hour)[:, None] for v in (real, members.mean(axis=0)))
    if np.isnan(a).any() or np.isnan(b).any():
        raise ValueError("a cell is silent from Monday to Friday: its weekend has no ratio")
    draws = loop_draws(lambda i: m.level_spearman(a[i], b[i]), row.resample)
    return _centred(m.level_spearman(a, b), draws, -1.0, 1.0)


def _rhythm(row: Row) -> Estimate:
    real, members, hour = _hours_of_week(row)
    mean = members.mean(axis=0)
    draws = loop_draws(lambda i: rhythm.rhythm_mae(real[i], mean[i], hour), row.resample)
    return _centred(rhythm.rhythm_mae(real, mean, hour), draws)


def _shape_spread(row: Row) -> Estimate:
    if len(row.real) < 2:
        raise ValueError("one cell: weeks of several are needed to differ")
    real, members, _ = _hours_of_week(row)
    value = rhythm.shape_spread_ratio(real, members)

    def draw(i: NDArray[np.intp]) -> float:  # of few cells a draw may hold one alone, whose weeks cannot differ
        base = rhythm.shape_spread(real[i])
        return rhythm.shape_spread(members[0][i]) / base if base > 1e-12 else np.nan

    return _centred(value, loop_draws(draw, row.resample))


def _spatial(row: Row) -> tuple[float, None]:
    if row.xy_m is None:
        raise ValueError(NO_PLACES)
    return m.spatial_acf_error(row.real, row.one, row.xy_m), None


METRICS = (
    Metric("mae", "mean absolute error", lambda r: _cells(r, m.mae_cells(r.real, r.mean)), paired=True, in_units=True),
    Metric("rmse", "root mean squared error", lambda r: _root(_cells(r, m.mse_cells(r.real, r.mean))),
           paired=True, in_units=True),
    Metric("mae_p9999", "mae over the 99.99% quantile", paired=True, of="mae"),
    Metric("rmse_p9999", "rmse over the 99.99% quantile", paired=True, of="rmse"),
    Metric("mae_minmax", "mae, each cell scaled by its real range",
           lambda r: _cells(r, m.mae_minmax_cells(r.real, r.mean), _varying(r.real)), paired=True),
    Metric("rmse_minmax", "rmse, each cell scaled by its real range",
           lambda r: _root(_cells(r, m.mse_minmax_cells(r.real, r.mean), _varying(r.real))), paired=True),
    Metric("jsd_softmax24", "divergence of the days' shapes", _softmax24, paired=True, shown=1e4),
    Metric("crps", "error of the whole ensemble", lambda r: _cells(r, m.crps_cells(r.real, r.members)),
           paired=True, ensemble=True, in_units=True),
    Metric("crps_p9999", "crps over the 99.99% quantile", paired=True, ensemble=True, of="crps"),
    Metric("crps_shape", "crps where the level is known",
           lambda r: _cells(r, m.crps_shape_cells(r.real, r.members)), paired=True, ensemble=True, in_units=True),
    Metric("crps_shape_p9999", "crps_shape over the 99.99% quantile", paired=True, ensemble=True, of="crps_shape"),
    Metric("crps_level", "crps of the log mean level", lambda r: _cells(r, m.crps_level_cells(r.real, r.members)),
           paired=True, ensemble=True),
    Metric("coverage_50", "real values in the central 50%", _coverage(0.5), paired=True, ensemble=True, best=0.5),
    Metric("coverage_90", "real values in the central 90%", _coverage(0.9), paired=True, ensemble=True, best=0.9),
    Metric("jsd_hist", "divergence of the histograms of values",
           _jsd_hist),
    Metric("jsd_distance_week", "distance of the mean curves; ignores scale", _distance_week),
    Metric("level_spearman", "rank correlation of the levels", _levels(m.level_spearman, -1.0, 1.0), best=1.0),
    Metric("level_logmae", "error of the log levels, medians removed", _levels(m.level_logmae, 0.0, np.inf)),
    Metric("acf_error", "error of the autocorrelation", _acf),
    Metric("roughness_ratio", "jumps from hour to hour, synthetic over real", _roughness, best=1.0),
    Metric("weekend_error", "weekend over weekdays, synthetic minus real", _weekend),
    Metric("weekend_spearman", "rank correlation of the cells' weekends", _weekend_rank, best=1.0),
    Metric("rhythm_mae", "error of the region's hours of the week", _rhythm),
    Metric("shape_spread_ratio", "how much weeks differ between cells, synthetic over real", _shape_spread, best=1.0),
    Metric("spatial_acf_error", "error of Moran's I by distance", _spatial),
    Metric("peak_hour_error", "hours between the busiest hours", _peak_hour),
    Metric("tail_ratio_99", "99% quantile, synthetic over real", _tail(m.tail_ratio_99, 0.99), best=1.0),
    Metric("tail_ratio_999", "99.9% quantile, synthetic over real", _tail(m.tail_ratio_999, 0.999), best=1.0),
    Metric("diversity", "spread of members over that of real weeks", _diversity, ensemble=True, best=1.0),
)  # fmt: skip


def score(row: Row, *, single: bool = False) -> dict[str, Score]:
    """Name -> Score for every metric, in the order of METRICS.

    Ensemble metrics of one member are refused; with `single` (naive rows that are one series by nature) the crps of
    one series is its absolute error, so that such rows stand in the same contest.
    """
    scores: dict[str, Score] = {}
    for metric in METRICS:
        if metric.paired and not row.paired:
            scores[metric.name] = Score(None, reason=NO_TIME)
        elif metric.ensemble and len(row.members) < 2 and not (single and metric.name.startswith("crps")):
            scores[metric.name] = Score(None, reason=ONE_MEMBER)
        elif metric.compute is None:
            scores[metric.name] = _divided(scores[metric.of], row.scale)
        else:
            scores[metric.name] = _computed(metric.compute, row)
    return scores


def _computed(compute: Callable[[Row], Estimate], row: Row) -> Score:
    try:
        with np.errstate(divide="ignore", invalid="ignore"):  # what is no number is answered below
            value, draws = compute(row)
    except ValueError as error:
        return Score(None, reason=str(error))
    if not np.isfinite(value):
        return Score(None, reason="not a number here: too few cells, values that are all equal, or a scale far off")
    ends = None if draws is None else interval(draws)
    return Score(value, *ends) if ends else Score(value)


def _divided(score: Score, scale: float) -> Score:
    if score.value is None or not scale > 0:
        return replace(score, value=None, reason=score.reason or "the 99.99% quantile is 0", low=None, high=None)
    values: Any = [None if v is None else v / scale for v in (score.value, score.low, score.high)]
    return Score(*values)
