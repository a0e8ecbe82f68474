"""Metrics paired in time: the same cells at the same hours. Formulas and names are those of metrics.md.

`real` and `syn` are (cells, steps) in the same units; `members` is (members, cells, steps). Dead cells (all zero in
`real`) are dropped by every function here; `dead_cells` counts them. Functions ending in `_cells` return one value per
live cell, for bootstrap intervals; the others return their mean (for `rmse_*` its root). NaN, negative sizes or shapes
that do not agree raise ValueError.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
CHUNK = 2_000_000  # values sorted at a time: bounds memory at some 50 MB whatever the number of cells


def live_cells(real: Floats) -> NDArray[np.bool_]:
    """(cells,) True where `real` is not zero throughout. real: (cells, steps)."""
    return np.asarray((np.asarray(real) != 0).any(axis=-1))


def dead_cells(real: Floats) -> int:
    """How many cells are dropped because they are all zero in `real`. real: (cells, steps)."""
    return int((~live_cells(real)).sum())


def check_pair(real: Floats, syn: Floats) -> None:
    """Raises ValueError unless `real` is (cells, steps), `syn` (cells, steps) or (members, cells, steps) and finite."""
    if real.ndim != 2 or syn.ndim not in (2, 3) or syn.shape[-2:] != real.shape:
        raise ValueError(
            f"real {real.shape} and synthetic {syn.shape} must be ([members,] cells, steps) of the same cells"
        )
    if not live_cells(real).any():
        raise ValueError(f"all {len(real)} cells are dead (zero throughout): nothing to score")
    for name, values in (("real", real), ("synthetic", syn)):
        if not (np.isfinite(values.min()) and np.isfinite(values.max())):  # NaN comes through both
            raise ValueError(f"{name} holds NaN or infinite values: drop those cells or steps first")


def p9999(train: Floats) -> float:
    """The 99.99th percentile of the training data: the divisor of the scaling `_p9999` (as the published FoMo code).

    train: (any shape).
    """
    return float(np.percentile(np.asarray(train), 99.99))


def mae_cells(real: Floats, syn: Floats) -> NDArray[np.float64]:
    """(live cells,) mean |syn - real| over the steps. real, syn: (cells, steps)."""
    check_pair(real, syn)
    live = live_cells(real)
    return np.asarray(np.abs(syn[live] - real[live]).mean(axis=1, dtype=np.float64))


def mse_cells(real: Floats, syn: Floats) -> NDArray[np.float64]:
    """(live cells,) mean (syn - real)^2 over the steps; `rmse` is the root of its mean. real, syn: (cells, steps)."""
    check_pair(real, syn)
    live = live_cells(real)
    return np.asarray(((syn[live] - real[live]) ** 2).mean(axis=1, dtype=np.float64))


def mae(real: Floats, syn: Floats) -> float:
    """Mean absolute error over all live cells and steps, in the units of the data. STOUTER eq. 20.

    real, syn: (cells, steps).
    """
    return float(mae_cells(real, syn).mean())


def rmse(real: Floats, syn: Floats) -> float:
    """Root of the mean squared error over all live cells and steps, in the units of the data. STOUTER eq. 21.

    real, syn: (cells, steps).
    """
    return float(np.sqrt(mse_cells(real, syn).mean()))


def mae_p9999(real: Floats, syn: Floats, scale: float) -> float:
    """`mae` of values divided by `scale`, the training data's 99.99th percentile (`p9999`).

    real, syn: (cells, steps).
    """
    return mae(real, syn) / scale


def rmse_p9999(real: Floats, syn: Floats, scale: float) -> float:
    """`rmse` of values divided by `scale`, the training data's 99.99th percentile (`p9999`).

    real, syn: (cells, steps).
    """
    return rmse(real, syn) / scale


def minmax(real: Floats, syn: Floats) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(`real`, `syn`) scaled per cell by the real series' own minimum and maximum, as STOUTER does.

    Cells whose real series is constant have no such scale and are dropped, with the dead ones; ValueError if all are.
    real: (cells, steps). syn: (cells, steps) or (members, cells, steps).
    """
    check_pair(real, syn)
    low, high = real.min(axis=1), real.max(axis=1)
    keep = high > low
    if not keep.any():
        raise ValueError(f"all {len(real)} real series are constant: no min-max scale exists")
    low, span = low[keep, None].astype(np.float64), (high - low)[keep, None].astype(np.float64)
    return (real[keep] - low) / span, (syn[..., keep, :] - low) / span


def mae_minmax_cells(real: Floats, syn: Floats) -> NDArray[np.float64]:
    """(cells that vary,) mean absolute error of the min-max values. real, syn: (cells, steps)."""
    a, b = minmax(real, syn)
    return np.asarray(np.abs(b - a).mean(axis=1))


def mse_minmax_cells(real: Floats, syn: Floats) -> NDArray[np.float64]:
    """(cells that vary,) mean squared error of the min-max values. real, syn: (cells, steps)."""
    a, b = minmax(real, syn)
    return np.asarray(((b - a) ** 2).mean(axis=1))


def mae_minmax(real: Floats, syn: Floats) -> float:
    """Mean absolute error, each cell scaled by the real series' own min and max. STOUTER eq. 20 on its scaled data.

    real, syn: (cells, steps).
    """
    return float(mae_minmax_cells(real, syn).mean())


def rmse_minmax(real: Floats, syn: Floats) -> float:
    """Root mean squared error, each cell scaled by the real series' own min and max. STOUTER eq. 21, likewise.

    real, syn: (cells, steps).
    """
    return float(np.sqrt(mse_minmax_cells(real, syn).mean()))


def jsd_softmax24_cells(real: Floats, syn: Floats, *, first_hour: int = 0) -> NDArray[np.float64]:
    """(cells that vary,) the mean of `jsd_softmax24` over the cell's whole days. real, syn: (cells, hours)."""
    from scipy.special import rel_entr

    a, b = minmax(real, syn)
    days = whole_days(a, first_hour), whole_days(b, first_hour)
    p, q = (_softmax(d) for d in days)
    mean = (p + q) / 2
    divergence = (rel_entr(p, mean).sum(axis=-1) + rel_entr(q, mean).sum(axis=-1)) / 2  # (cells, days); 0 log 0 = 0
    return np.asarray(np.maximum(divergence, 0.0).mean(axis=1) / 24)


def jsd_softmax24(real: Floats, syn: Floats, *, first_hour: int = 0) -> float:
    """Jensen-Shannon divergence of the softmax over a day's 24 hourly min-max values, natural log, divided by 24.

    Per cell and day p = softmax(real), q = softmax(syn), m = (p + q) / 2, (KL(p|m) + KL(q|m)) / 2 / 24; the mean over
    cells and days. Printed x 1e4. STOUTER's eq. 22-23 do not say what its distributions are; this reading fits the
    figures of its tables best. For small errors e it is Var(e within the day) / 192. The steps are hours; `first_hour`
    is the local hour of the first step (days are local, parts of days at the ends are left out).
    real, syn: (cells, hours).
    """
    return float(jsd_softmax24_cells(real, syn, first_hour=first_hour).mean())


def whole_days(values: Floats, first_hour: int = 0) -> Floats:
    """values (..., steps) hourly -> (..., days, 24), from local midnight on. ValueError if there is no whole day."""
    if not 0 <= first_hour < 24:
        raise ValueError(f"first_hour is {first_hour}: it must be 0 to 23")
    skip = -first_hour % 24
    days = (values.shape[-1] - skip) // 24
    if days < 1:
        raise ValueError(f"{values.shape[-1]} hourly steps from hour {first_hour} on hold no whole day")
    return values[..., skip : skip + days * 24].reshape(*values.shape[:-1], days, 24)


def _softmax(values: Floats) -> NDArray[np.float64]:
    """Softmax over the last axis."""
    powers = np.exp(values - values.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def _fair_crps(real: Floats, members: Floats) -> NDArray[np.float64]:
    """(...,) fair CRPS of `members` (m, ...) about `real` (...,), through order statistics: O(m log m), no pairs."""
    m = len(members)
    error = np.abs(members - real).mean(axis=0, dtype=np.float64)
    if m == 1:
        return np.asarray(error)
    # sum over ordered pairs i != j of |x_i - x_j| = 2 * sum over ranks k = 1..m of (2k - m - 1) x_(k)
    weight = (2.0 * np.arange(1, m + 1) - m - 1) / (m * (m - 1))
    return np.asarray(error - np.tensordot(weight, np.sort(members, axis=0).astype(np.float64), axes=(0, 0)))


def _by_chunks(
    real: Floats, members: Floats, score: Callable[[Floats, Floats], NDArray[np.float64]]
) -> NDArray[np.float64]:
    """(live cells,) the mean over steps of `score(real chunk, members chunk)`, some cells at a time."""
    if members.ndim != 3:
        raise ValueError(f"members has shape {members.shape}: it must be (members, cells, steps)")
    check_pair(real, members)
    live = np.flatnonzero(live_cells(real))
    size = max(1, CHUNK // (members.shape[0] * members.shape[2]))
    parts = [live[i : i + size] for i in range(0, len(live), size)]
    return np.concatenate([score(real[part], members[:, part]).mean(axis=-1) for part in parts])


def crps_cells(real: Floats, members: Floats) -> NDArray[np.float64]:
    """(live cells,) the mean over steps of the fair ensemble CRPS.

    real: (cells, steps). members: (members, cells, steps).
    """
    return _by_chunks(real, members, _fair_crps)


def crps(real: Floats, members: Floats) -> float:
    """Fair ensemble CRPS: mean |member - real| - 1/(2 m (m-1)) sum over ordered pairs i != j of |member_i - member_j|.

    Ferro, "Fair scores for ensemble forecasts", QJRMS 140 (2014). In the units of the data: divide both by `p9999` of
    the training data for tables of P1. One member has no pairs, so its score is the absolute error. Never negative in
    expectation, but a single value may be.
    real: (cells, steps). members: (members, cells, steps).
    """
    return float(crps_cells(real, members).mean())


def crps_shape_cells(real: Floats, members: Floats) -> NDArray[np.float64]:
    """(live cells,) `crps_shape` per cell. real: (cells, steps). members: (members, cells, steps)."""

    def score(part: Floats, drawn: Floats) -> NDArray[np.float64]:
        level = drawn.mean(axis=-1, keepdims=True, dtype=np.float64)
        factor = np.divide(
            part.mean(axis=-1, keepdims=True, dtype=np.float64), level, where=level > 0, out=np.ones_like(level)
        )
        return _fair_crps(part, drawn * factor)

    return _by_chunks(real, members, score)


def crps_shape(real: Floats, members: Floats) -> float:
    """`crps` after each member of each cell is scaled to the real cell's mean over the steps: the level is known.

    A member that is zero throughout stays zero.
    real: (cells, steps). members: (members, cells, steps).
    """
    return float(crps_shape_cells(real, members).mean())


def log_levels(real: Floats, syn: Floats) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Natural logs of the mean level of the live cells: real (cells,), synthetic ([members,] cells).

    Levels below a millionth of the median real level count as that, so that a zero stays finite.
    real: (cells, steps). syn: (cells, steps) or (members, cells, steps).
    """
    check_pair(real, syn)
    live = live_cells(real)
    level = real[live].mean(axis=-1, dtype=np.float64)
    floor = 1e-6 * np.median(level)
    drawn = syn.mean(axis=-1, dtype=np.float64)[..., live]
    return np.log(np.maximum(level, floor)), np.log(np.maximum(drawn, floor))


def crps_level_cells(real: Floats, members: Floats) -> NDArray[np.float64]:
    """(live cells,) fair CRPS of the log mean level. real: (cells, steps). members: (members, cells, steps)."""
    if members.ndim != 3:
        raise ValueError(f"members has shape {members.shape}: it must be (members, cells, steps)")
    return _fair_crps(*log_levels(real, members))


def crps_level(real: Floats, members: Floats) -> float:
    """`crps` of the natural log of the mean level per cell (see `log_levels` for zeros).

    real: (cells, steps). members: (members, cells, steps).
    """
    return float(crps_level_cells(real, members).mean())


def coverage_cells(real: Floats, members: Floats, nominal: float) -> NDArray[np.float64]:
    """(live cells,) share of steps at which `real` lies inside the ensemble's central interval of content `nominal`.

    The ends are quantiles by Weibull's plotting positions, p (m + 1): then an ensemble drawn from the truth's own
    distribution covers exactly `nominal` on average (the common p (m - 1) + 1 covers 0.81 in place of 0.90 with 20
    members). Fewer than 2 / (1 - nominal) - 1 members (19 for 0.90) cannot reach it: their whole range covers
    (m - 1) / (m + 1).
    real: (cells, steps). members: (members, cells, steps).
    """
    tail = (1 - nominal) / 2

    def score(part: Floats, drawn: Floats) -> NDArray[np.float64]:
        low, high = np.quantile(drawn, [tail, 1 - tail], axis=0, method="weibull")
        return np.asarray(((part >= low) & (part <= high)).astype(np.float64))

    return _by_chunks(real, members, score)


def coverage_50(real: Floats, members: Floats) -> float:
    """Share of real values inside the ensemble's central 50% interval (nominal 0.50; ends as in `coverage_cells`).

    real: (cells, steps). members: (members, cells, steps).
    """
    return float(coverage_cells(real, members, 0.50).mean())


def coverage_90(real: Floats, members: Floats) -> float:
    """Share of real values inside the ensemble's central 90% interval (nominal 0.90; ends as in `coverage_cells`).

    real: (cells, steps). members: (members, cells, steps).
    """
    return float(coverage_cells(real, members, 0.90).mean())
