"""95% intervals of every metric by one bootstrap over locations (or cells), shared by all metrics and rows.

Efron and Tibshirani (1993), ch. 13. How often each group is drawn is fixed once per evaluation, so a metric that is a
mean over cells costs one matrix product, and rows of a table are compared on the same draws. `Resample.times` are the
draws of `bootstrap_interval` with the same seed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gentraffic.evaluation.metrics.distribution import BINS, js_divergence
from gentraffic.evaluation.metrics.paired import Floats

ALONE_DRAWS = 2000  # for one figure by itself
MEAN_DRAWS = 1000  # for means over cells, at the price of a matrix product
LOOP_DRAWS = 200  # for what is computed anew for each draw
LEVEL = 0.95


@dataclass(frozen=True)
class Resample:
    """group: (cells,) 0 .. groups - 1. times: (draws, groups) how often each group is drawn; groups < 2: no draws."""

    group: NDArray[np.intp]
    times: NDArray[np.float64]

    def mean(self, values: Floats, cells: NDArray[np.bool_] | None = None) -> NDArray[np.float64]:
        """(draws, ...) mean over resampled cells of `values` (cells, ...), or of those of the cells marked."""
        group = self.group if cells is None else self.group[cells]
        size = np.bincount(group, minlength=self.times.shape[1]).astype(np.float64)
        sums = np.zeros((len(size), *values.shape[1:]))
        np.add.at(sums, group, values)
        with np.errstate(invalid="ignore"):  # a draw may hold none of the cells marked
            counts = (self.times @ size).reshape(-1, *[1] * (values.ndim - 1))
            return np.asarray(np.tensordot(self.times, sums, axes=1) / counts)

    def cells(self) -> Iterator[NDArray[np.intp]]:
        """Positions of the cells of each of the first LOOP_DRAWS draws."""
        for times in self.times[:LOOP_DRAWS].astype(np.intp):
            yield np.repeat(np.arange(len(self.group)), times[self.group])


def make_resample(groups: NDArray[Any], seed: int = 0, draws: int = MEAN_DRAWS) -> Resample:
    """Draws over the groups (cells,): locations, or every cell its own."""
    _, group = np.unique(groups, return_inverse=True)
    n = int(group.max()) + 1
    return Resample(group, np.array(list(draw_groups(n, draws, seed)), dtype=np.float64).reshape(-1, n))


def draw_groups(groups: int, draws: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """How often each of `groups` is drawn, (groups,), draw by draw; nothing of fewer than two groups."""
    rng = np.random.default_rng(seed)
    for _ in range(draws if groups > 1 else 0):
        yield np.bincount(rng.integers(groups, size=groups), minlength=groups)


def interval(draws: NDArray[np.float64]) -> tuple[float, float] | None:
    """Percentile interval of a metric's draws; None where there are none. Draws that are NaN are left out.

    draws: (draws,).
    """
    kept = draws[~np.isnan(draws)]
    return percentiles(kept) if len(kept) else None


def percentiles(draws: NDArray[np.float64]) -> tuple[float, float]:
    """Between which LEVEL of the draws lie; nan where one of them is. draws: (draws,)."""
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def bootstrap_interval(
    values: Floats, groups: NDArray[np.integer] | None = None, *, draws: int = ALONE_DRAWS, seed: int = 0
) -> tuple[float, float]:
    """Percentile interval of the mean of per-cell `values` (cells,) under resampling of `groups` (cells,).

    For one figure by itself, what `make_resample`, `Resample.mean` and `interval` do for a table of them, in little
    memory. `groups` are locations (or None: every cell its own): cells of one place are not independent, so whole
    places are drawn. With one group the interval is (nan, nan): nothing can be said about other places. Raises
    ValueError for values without cells, or groups of another shape.
    """
    if values.ndim != 1 or not len(values) or (groups is not None and groups.shape != values.shape):
        raise ValueError(f"values {values.shape} must be (cells,), groups alike")
    _, group = np.unique(np.arange(len(values)) if groups is None else groups, return_inverse=True)
    size, total = np.bincount(group).astype(np.float64), np.bincount(group, weights=values)
    means = [(times @ total) / (times @ size) for times in draw_groups(len(size), draws, seed)]
    return percentiles(np.array(means)) if means else (float("nan"), float("nan"))


def hist_draws(real: Floats, members: Floats, resample: Resample) -> NDArray[np.float64]:
    """(draws,) `jsd_hist` of resampled cells of real (cells, steps) and members (m, cells, steps), on the same bins."""
    counts = hist_counts(real, members)
    drawn = [resample.mean(c.astype(np.float64))[:LOOP_DRAWS] for c in counts]
    return np.array([js_divergence(p, q) for p, q in zip(*drawn, strict=True)])


def hist_counts(real: Floats, members: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Two (cells, BINS): the histograms that `jsd_hist` pools, cell by cell.

    real: (cells, steps). members: (members, cells, steps).
    """
    unit = np.median(real[real > 0])
    ends = min(real.min(), members.min()), max(real.max(), members.max())
    low, high = (float(np.arcsinh(np.float64(end) / unit)) for end in ends)
    span = high - low or 1.0
    histograms = []
    for sets in (real[None], members):
        counts = np.zeros(len(real) * BINS, dtype=np.int64)
        for values in sets:
            place = ((np.arcsinh(values / unit, dtype=np.float64) - low) * (BINS / span)).astype(np.intp)
            at = np.arange(len(real))[:, None] * BINS + np.clip(place, 0, BINS - 1)
            counts += np.bincount(at.ravel(), minlength=len(counts))
        histograms.append(counts.reshape(len(real), BINS))
    return histograms[0], histograms[1]


def tail_draws(real: Floats, members: Floats, quantile: float, resample: Resample) -> NDArray[np.float64]:
    """(draws,) `tail_ratio` of resampled cells; NaN where the real quantile is 0.

    real: (cells, steps). members: (members, cells, steps).
    """
    top, bottom = (_quantile_draws(v, quantile, resample) for v in (members, real[None]))
    return np.asarray(np.divide(top, bottom, out=np.full_like(top, np.nan), where=bottom > 0))


def _quantile_draws(values: Floats, quantile: float, resample: Resample) -> NDArray[np.float64]:
    """(draws,) quantile, as `np.quantile` has it, of values (m, cells, steps) with the cells resampled.

    Only the highest values are sorted, eight times as many as the quantile needs; each counts as often as its cell was
    drawn. A draw that needs more of them, since it lacks the busiest cells, is computed from all its values.
    """
    floor = np.quantile(values, max(0.0, 1 - 8 * (1 - quantile)))
    _, cell, _ = at = np.nonzero(values >= floor)
    kept = values[at]
    order = np.argsort(-kept, kind="stable")
    kept, group = kept[order], resample.group[cell[order]]
    size = np.bincount(resample.group, minlength=resample.times.shape[1]) * (values.shape[0] * values.shape[2])
    quantiles = []
    for times, cells in zip(resample.times, resample.cells(), strict=False):
        above = np.cumsum(times[group])
        rank = (times @ size - 1) * (1 - quantile)  # from the top
        place = np.searchsorted(above, [np.floor(rank), np.floor(rank) + 1], side="right")
        if place[1] < len(kept):
            upper, lower = kept[place]
            quantiles.append(float(upper + (lower - upper) * (rank % 1)))
        else:
            quantiles.append(float(np.quantile(values[:, cells], quantile)))
    return np.array(quantiles)


def loop_draws(statistic: Callable[[NDArray[np.intp]], float], resample: Resample) -> NDArray[np.float64]:
    """(draws,) `statistic` of the positions of resampled cells."""
    return np.array([statistic(cells) for cells in resample.cells()])


def pair_distance_cells(sets: Floats) -> NDArray[np.float64]:
    """(cells,) mean over pairs of sets (n, cells, steps) of the mean absolute difference: what `diversity` divides."""
    n = len(sets)
    weight = (2.0 * np.arange(1, n + 1) - n - 1) * 2 / (n * (n - 1))
    return np.array([(weight @ np.sort(sets[:, c], axis=0)).mean() for c in range(sets.shape[1])])
