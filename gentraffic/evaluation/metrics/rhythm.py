"""Metrics of the week's rhythm (metrics.md): roughness, weekends, the hours of the week, and how places differ.

Steps are hours. `real` and `drawn` are (cells, hours) of the same cells and hours; `drawn` may be (members, cells,
hours) where said. `hour` is (hours,) the local hour of the week of each step, 0 to 167, 0 being Monday's first.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gentraffic.evaluation.metrics.paired import Floats

WEEKEND = 120  # the first hour of Saturday


def shape_of(series: Floats) -> NDArray[np.float64]:
    """Each series over its own mean, (..., hours); a series that is zero throughout stays zero."""
    mean = series.mean(axis=-1, keepdims=True, dtype=np.float64)
    return np.asarray(np.divide(series, mean, out=np.zeros(series.shape), where=mean > 0))


def roughness_cells(series: Floats) -> NDArray[np.float64]:
    """(..., cells) mean absolute difference of consecutive hours of series over their mean. ValueError for one hour.

    series: (..., cells, hours).
    """
    if series.shape[-1] < 2:
        raise ValueError("one hour: there is none to jump to")
    return np.asarray(np.abs(np.diff(shape_of(series), axis=-1)).mean(axis=-1))


def roughness_ratio(real: Floats, drawn: Floats) -> float:
    """`roughness_ratio`: mean roughness drawn over real; 1 is right. drawn: single members, never their mean.

    ValueError where the real series do not vary at all.
    real: (cells, hours). drawn: (cells, hours) or (members, cells, hours).
    """
    base = float(roughness_cells(real).mean())
    if base == 0:
        raise ValueError("the real series are constant: there is no ratio")
    return float(roughness_cells(drawn).mean()) / base


def weekend_ratio_cells(series: Floats, hour: NDArray[np.int64]) -> NDArray[np.float64]:
    """(..., cells) mean of Saturday and Sunday over the mean of Monday to Friday, nan where the latter is zero.

    ValueError where the hours hold no weekend or no weekday.
    series: (..., cells, hours). hour: (hours,) of the week, 0 to 167.
    """
    weekend = hour >= WEEKEND
    if weekend.all() or not weekend.any():
        raise ValueError("the files hold no weekend, or nothing else: there is no weekend to compare with weekdays")
    top, bottom = (series[..., part].mean(axis=-1, dtype=np.float64) for part in (weekend, ~weekend))
    return np.asarray(np.divide(top, bottom, out=np.full(np.shape(top), np.nan), where=bottom > 0))


def weekend_error(real: Floats, drawn: Floats, hour: NDArray[np.int64]) -> float:
    """`weekend_error`: the mean over cells of the weekend ratio, drawn minus real; drawn may have members.

    real: (cells, hours). drawn: (cells, hours) or (members, cells, hours). hour: (hours,) of the week, 0 to 167.
    """
    apart = np.nanmean(weekend_ratio_cells(drawn, hour)) - np.nanmean(weekend_ratio_cells(real, hour))
    return float(apart)


def rhythm_mae(real: Floats, drawn: Floats, hour: NDArray[np.int64]) -> float:
    """`rhythm_mae`: mean absolute difference of the region's total by hour of the week, each divided by its mean.

    ValueError where either region carries nothing.
    real, drawn: (cells, hours). hour: (hours,) of the week, 0 to 167.
    """
    present = np.unique(hour)
    onto = (hour == present[:, None]) / (hour == present[:, None]).sum(axis=1, keepdims=True)  # (hours of week, hours)
    a, b = (onto @ v.sum(axis=0, dtype=np.float64) for v in (real, drawn))
    if not (a.mean() > 0 and b.mean() > 0):
        raise ValueError("a region without traffic has no rhythm")
    return float(np.abs(a / a.mean() - b / b.mean()).mean())


def shape_spread(series: Floats) -> float:
    """Standard deviation over cells of series over their mean, averaged over hours (and over members, if any)."""
    return float(shape_of(series).std(axis=-2).mean())


def shape_spread_ratio(real: Floats, drawn: Floats) -> float:
    """`shape_spread_ratio`: `shape_spread` drawn over real; 1 is right, less: all places get the same week.

    ValueError where the real cells all have one week.
    real: (cells, hours). drawn: (cells, hours) or (members, cells, hours).
    """
    base = shape_spread(real)
    if base < 1e-12:
        raise ValueError("all real cells have the same week: there is no ratio")
    return shape_spread(drawn) / base
