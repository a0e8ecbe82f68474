"""Metrics of distributions: nothing is paired in time. Formulas and names are those of metrics.md.

`real` and `syn` are (cells, steps) in the same units, of the same cells in the same order; `syn` may be (members,
cells, steps) where said. Cells that are all zero in `real` are dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gentraffic.evaluation.metrics.paired import Floats, check_pair, live_cells, log_levels, whole_days

BINS = 100
LAGS_H = (1, 2, 6, 12, 24, 48, 144)
DISTANCES_M = (0.0, 500.0, 1000.0, 2000.0, 4000.0)  # ends of the distance classes; 1 km is STOUTER's station graph


def js_divergence(p: NDArray[Any], q: NDArray[Any]) -> float:
    """Jensen-Shannon divergence, base 2, of two histograms `p`, `q` (bins,); each is divided by its sum.

    Lin, "Divergence measures based on the Shannon entropy", IEEE Trans. Inf. Theory 37 (1991). 0 for equal, 1 for
    disjoint ones.
    """
    a, b = np.asarray(p, dtype=np.float64) / np.sum(p), np.asarray(q, dtype=np.float64) / np.sum(q)
    m = (a + b) / 2
    terms = [x[x > 0] * np.log2(x[x > 0] / m[x > 0]) for x in (a, b)]
    return max(0.0, float(sum(t.sum() for t in terms)) / 2)


def jsd_hist(real: Floats, syn: Floats) -> float:
    """JS divergence, base 2, of the pooled values asinh(v / median of the positive real values), on 100 shared bins.

    The bins reach from the least to the greatest value of both sets: bins of each set's own would hide a wrong scale.
    `syn` may have members and need not have the steps of `real`; only the cells must agree.
    real: (cells, steps). syn: (cells, steps) or (members, cells, steps), in the unit of real.
    """
    if real.ndim != 2 or syn.ndim not in (2, 3) or syn.shape[-2] != real.shape[0]:
        raise ValueError(
            f"real {real.shape} and synthetic {syn.shape} must be ([members,] cells, steps) of the same cells"
        )
    live = live_cells(real)
    if not live.any():
        raise ValueError(f"all {len(real)} cells are dead (zero throughout): nothing to score")
    unit = np.median(real[real > 0])
    sets = (real[None], syn if syn.ndim == 3 else syn[None])
    ends = [np.arcsinh(np.float64(end) / unit) for end in _range([m for v in sets for m in v], live)]
    if not np.isfinite(ends).all():
        raise ValueError("NaN or infinite values: drop those cells or steps first")
    counts = [np.zeros(BINS, dtype=np.int64), np.zeros(BINS, dtype=np.int64)]
    for count, members in zip(counts, sets, strict=True):
        for member in members:  # one at a time: twenty members of ten thousand cells would take a gigabyte at once
            count += np.histogram(np.arcsinh(member[live] / unit, dtype=np.float64), bins=BINS, range=tuple(ends))[0]
    return js_divergence(*counts)


def _range(sets: Sequence[Floats], live: NDArray[np.bool_]) -> tuple[float, float]:
    """The least and the greatest value of the live cells of all sets; NaN where a set holds NaN."""
    ends = np.array([(kept.min(), kept.max()) for kept in (s[live] for s in sets)])
    return float(ends[:, 0].min()), float(ends[:, 1].max())


def jsd_distance_week(real: Floats, syn: Floats) -> float:
    """Jensen-Shannon distance, base 2, of the mean curves over cells, each min-max scaled and divided by its sum.

    The variant of the mobile-traffic literature. It ignores scale: only for comparison with published figures.
    `syn` may have members. A mean curve that is constant counts as uniform in time.
    real: (cells, steps). syn: (cells, steps) or (members, cells, steps).
    """
    check_pair(real, syn)
    live = live_cells(real)
    curves = (
        real[live].mean(axis=0, dtype=np.float64),
        syn[..., live, :].reshape(-1, syn.shape[-1]).mean(axis=0, dtype=np.float64),
    )
    return float(np.sqrt(js_divergence(*(_unit_curve(c) for c in curves))))


def _unit_curve(curve: Floats) -> NDArray[np.float64]:
    """Min-max, then divided by the sum."""
    span = curve.max() - curve.min()
    scaled = (curve - curve.min()) / span if span > 0 else np.ones(len(curve))
    return np.asarray(scaled / scaled.sum())


def level_spearman(real: Floats, syn: Floats) -> float:
    """Spearman's rank correlation over cells of the mean level over the steps (ties share their mean rank).

    NaN where there are fewer than two live cells or all levels of one set are equal: there is no rank then.
    real, syn: (cells, steps).
    """
    check_pair(real, syn)
    live = live_cells(real)
    from scipy.stats import rankdata

    a, b = (rankdata(v[live].mean(axis=1, dtype=np.float64)) for v in (real, syn))
    a, b = a - a.mean(), b - b.mean()
    scale = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / scale) if scale > 0 else float("nan")


def level_logmae(real: Floats, syn: Floats) -> float:
    """Mean over cells of |log mean level of syn - log mean level of real|, after each set's median is subtracted.

    real, syn: (cells, steps).
    """
    a, b = log_levels(real, syn)
    return float(np.abs((b - np.median(b)) - (a - np.median(a))).mean())


def autocorrelation(series: Floats, lags: Sequence[int]) -> NDArray[np.float64]:
    """(..., lags) autocorrelation of `series` (..., steps): sum of products at the lag over the sum of squares.

    The usual (biased) estimator: Box and Jenkins, Time Series Analysis, eq. 2.1.11. A constant series has 0 everywhere.
    """
    moved = series - series.mean(axis=-1, keepdims=True, dtype=np.float64)
    power = (moved**2).sum(axis=-1)
    products = np.stack([(moved[..., : moved.shape[-1] - k] * moved[..., k:]).sum(axis=-1) for k in lags], axis=-1)
    return np.asarray(np.divide(products, power[..., None], out=np.zeros_like(products), where=power[..., None] > 0))


def acf_error(real: Floats, syn: Floats, *, per_hour: int = 1) -> float:
    """Mean over the lags 1, 2, 6, 12, 24, 48, 144 h of |cell-averaged autocorrelation of syn - that of real|.

    `syn` may have members, which are averaged like cells. Lags that are not shorter than the series are left out;
    ValueError if all are.
    real: (cells, steps). syn: (cells, steps) or (members, cells, steps).
    """
    check_pair(real, syn)
    lags = [k * per_hour for k in LAGS_H if k * per_hour < real.shape[1]]
    if not lags:
        raise ValueError(f"{real.shape[1]} steps are too few for a lag of 1 h")
    live = live_cells(real)
    a = autocorrelation(real[live], lags).mean(axis=0)
    b = np.mean([autocorrelation(s[live], lags).mean(axis=0) for s in (syn if syn.ndim == 3 else syn[None])], axis=0)
    return float(np.abs(a - b).mean())


def moran_by_distance(values: Floats, xy_m: Floats, edges_m: Sequence[float] = DISTANCES_M) -> NDArray[np.float64]:
    """(classes,) Moran's I of each distance class, the mean over the steps; NaN for a class without pairs.

    `values` (cells, steps), `xy_m` (cells, 2) in metres. Class k joins the pairs whose distance lies in
    (edges[k], edges[k + 1]]; weights are 1. I = n / sum(w) * sum_ij w_ij z_i z_j / sum_i z_i^2 with z the deviations
    from the step's mean over cells. Moran, Biometrika 37 (1950); Cliff and Ord (1981) for the correlogram. A step where
    all cells are equal counts as 0.
    """
    from scipy.sparse import coo_array
    from scipy.spatial import cKDTree

    pairs = cKDTree(xy_m).query_pairs(edges_m[-1], output_type="ndarray")
    apart = np.linalg.norm(xy_m[pairs[:, 0]] - xy_m[pairs[:, 1]], axis=1)
    z = values - values.mean(axis=0, dtype=np.float64)
    power = (z**2).sum(axis=0)
    moran = np.full(len(edges_m) - 1, np.nan)
    for k, (low, high) in enumerate(pairwise(edges_m)):
        i, j = pairs[(apart > low) & (apart <= high)].T
        if len(i):
            weight: Any = coo_array((np.ones(len(i)), (i, j)), shape=(len(z), len(z))).tocsr()
            product = (z * (weight @ z)).sum(axis=0) / len(i)  # each pair once: both sums would be doubled
            moran[k] = (len(z) * np.divide(product, power, out=np.zeros_like(power), where=power > 0)).mean()
    return moran


def spatial_acf_error(real: Floats, syn: Floats, xy_m: Floats, *, edges_m: Sequence[float] = DISTANCES_M) -> float:
    """Mean over distance classes of |Moran's I of syn - that of real|, on the graph of the real (live) cells.

    `xy_m` (cells, 2) in metres; classes as in `moran_by_distance`. `syn` may have members, whose I are averaged.
    ValueError where no two live cells lie within the last distance.
    real: (cells, steps). syn: (cells, steps) or (members, cells, steps).
    """
    check_pair(real, syn)
    live = live_cells(real)
    a = moran_by_distance(real[live], xy_m[live], edges_m)
    if np.isnan(a).all():
        raise ValueError(
            f"no two of {int(live.sum())} live cells lie within {edges_m[-1]:g} m: there is no spatial pattern"
        )
    members = syn if syn.ndim == 3 else syn[None]
    b = np.mean([moran_by_distance(s[live], xy_m[live], edges_m) for s in members], axis=0)
    return float(np.nanmean(np.abs(a - b)))


def peak_hour_error_cells(real: Floats, syn: Floats) -> NDArray[np.float64]:
    """(live cells,) hours on the clock, 0 to 12, between the busiest hours of the average days.

    real, syn: (cells, hours).
    """
    check_pair(real, syn)
    live = live_cells(real)
    a, b = (whole_days(v[live]).mean(axis=1).argmax(axis=1) for v in (real, syn))
    apart = np.abs(a - b)
    return np.asarray(np.minimum(apart, 24 - apart), dtype=np.float64)


def peak_hour_error(real: Floats, syn: Floats) -> float:
    """Mean over cells of the circular difference, in hours, of the busiest hour of the average day. Steps are hours.

    Both series must begin at the same hour of the day.
    real, syn: (cells, hours).
    """
    return float(peak_hour_error_cells(real, syn).mean())


def tail_ratio(real: Floats, syn: Floats, quantile: float) -> float:
    """`quantile` of the pooled synthetic values over that of the real ones, live cells only; `syn` may have members.

    real: (cells, steps). syn: (cells, steps) or (members, cells, steps).
    """
    check_pair(real, syn)
    live = live_cells(real)
    return float(np.quantile(syn[..., live, :], quantile) / np.quantile(real[live], quantile))


def tail_ratio_99(real: Floats, syn: Floats) -> float:
    """99% quantile of syn / 99% quantile of real, of pooled values: 1 is right, below 1 the peaks are missing.

    real: (cells, steps). syn: (cells, steps) or (members, cells, steps).
    """
    return tail_ratio(real, syn, 0.99)


def tail_ratio_999(real: Floats, syn: Floats) -> float:
    """99.9% quantile of syn / 99.9% quantile of real, of pooled values.

    real: (cells, steps). syn: (cells, steps) or (members, cells, steps).
    """
    return tail_ratio(real, syn, 0.999)


def diversity(members: Floats, real_weeks: Floats) -> float:
    """Mean distance between pairs of members / mean distance between pairs of real weeks of the same cell.

    `members` (members, cells, steps), `real_weeks` (weeks, cells, steps), two at least of each; the distance of two
    series is the mean absolute difference. 0 means collapse, 1 as different as real weeks are. A generator that does
    not know the level may exceed 1. Cells that are zero in every real week are dropped.
    """
    if members.ndim != 3 or real_weeks.ndim != 3 or members.shape[1] != real_weeks.shape[1]:
        raise ValueError(f"members {members.shape}, real weeks {real_weeks.shape}: both must be (n, cells, steps)")
    if len(members) < 2 or len(real_weeks) < 2:
        raise ValueError(f"{len(members)} members and {len(real_weeks)} real weeks: at least two of each are needed")
    live = (real_weeks != 0).any(axis=(0, 2))
    apart = [_mean_pair_distance(v[:, live]) for v in (members, real_weeks)]
    if not apart[1] > 0:
        raise ValueError("the real weeks do not differ: diversity has no unit")
    return float(apart[0] / apart[1])


def _mean_pair_distance(sets: Floats) -> float:
    """Mean |a - b| over pairs of sets (n, cells, steps), through order statistics."""
    n = len(sets)
    weight = (2.0 * np.arange(1, n + 1) - n - 1) * 2 / (n * (n - 1))
    cells = [np.tensordot(weight, np.sort(sets[:, c], axis=0), axes=(0, 0)).mean() for c in range(sets.shape[1])]
    return float(np.mean(cells))
