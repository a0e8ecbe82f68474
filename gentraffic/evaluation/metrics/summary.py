"""Every metric of METRICS.md under its exact name, and intervals for them.

Paired metrics live in `metrics_paired`, those of distributions in `metrics_distribution`; this file adds the forecast
scores `r2` and `ssim` (`mae` and `rmse` are the paired ones) and the bootstrap.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from gentraffic.evaluation.metrics.distribution import (
    acf_error,
    autocorrelation,
    diversity,
    js_divergence,
    jsd_distance_week,
    jsd_hist,
    level_logmae,
    level_spearman,
    moran_by_distance,
    peak_hour_error,
    peak_hour_error_cells,
    spatial_acf_error,
    tail_ratio_99,
    tail_ratio_999,
)
from gentraffic.evaluation.metrics.paired import (
    Floats,
    coverage_50,
    coverage_90,
    coverage_cells,
    crps,
    crps_cells,
    crps_level,
    crps_level_cells,
    crps_shape,
    crps_shape_cells,
    dead_cells,
    jsd_softmax24,
    jsd_softmax24_cells,
    live_cells,
    mae,
    mae_cells,
    mae_minmax,
    mae_minmax_cells,
    mae_p9999,
    minmax,
    mse_cells,
    mse_minmax_cells,
    p9999,
    rmse,
    rmse_minmax,
    rmse_p9999,
)

__all__ = [
    "acf_error", "autocorrelation", "bootstrap_interval", "bootstrap_statistic", "coverage_50", "coverage_90",
    "coverage_cells", "crps", "crps_cells", "crps_level", "crps_level_cells", "crps_shape", "crps_shape_cells",
    "dead_cells", "diversity", "js_divergence", "jsd_distance_week", "jsd_hist", "jsd_softmax24", "jsd_softmax24_cells",
    "level_logmae", "level_spearman", "live_cells", "mae", "mae_cells", "mae_minmax", "mae_minmax_cells", "mae_p9999",
    "minmax", "moran_by_distance", "mse_cells", "mse_minmax_cells", "p9999", "peak_hour_error", "peak_hour_error_cells",
    "r2", "rmse", "rmse_minmax", "rmse_p9999", "spatial_acf_error", "ssim", "tail_ratio_99", "tail_ratio_999",
]  # fmt: skip


def r2(real: Floats, predicted: Floats) -> float:
    """Coefficient of determination over all values: 1 - sum (real - predicted)^2 / sum (real - mean of real)^2.

    Arrays of one shape. ValueError where the real values are all equal: there is nothing to explain.
    """
    if real.shape != predicted.shape:
        raise ValueError(f"real {real.shape} and predicted {predicted.shape} must have one shape")
    total = ((real - real.mean(dtype=np.float64)) ** 2).sum(dtype=np.float64)
    if not total > 0:
        raise ValueError("all real values are equal: r2 is not defined")
    return float(1 - ((real - predicted) ** 2).sum(dtype=np.float64) / total)


def ssim(real: Floats, predicted: Floats, *, window: int = 7) -> float:
    """Structural similarity of frames (frames, rows, cols): the mean over frames of the mean over places.

    Wang, Bovik, Sheikh, Simoncelli, IEEE Trans. Image Processing 13 (2004), with a flat `window` x `window`, sample
    covariances, K1 = 0.01, K2 = 0.03, and as data range the real frame set's; places nearer to the edge than half a
    window are left out. These are scikit-image's defaults. ValueError where the frames are smaller than the window or
    the real frames are constant.
    """
    from scipy.ndimage import uniform_filter

    if real.ndim != 3 or real.shape != predicted.shape:
        raise ValueError(f"real {real.shape} and predicted {predicted.shape} must be (frames, rows, cols) alike")
    if window % 2 == 0 or min(real.shape[1:]) < window:
        raise ValueError(f"window {window} must be odd and at most the frames' {real.shape[1]} x {real.shape[2]}")
    a, b = real.astype(np.float64), predicted.astype(np.float64)
    reach = float(a.max() - a.min())
    if not reach > 0:
        raise ValueError("the real frames are constant: ssim has no data range")

    def mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(uniform_filter(values, size=(1, window, window)))

    sample = window**2 / (window**2 - 1)
    ma, mb = mean(a), mean(b)
    va, vb, cov = sample * (mean(a * a) - ma**2), sample * (mean(b * b) - mb**2), sample * (mean(a * b) - ma * mb)
    c1, c2 = (0.01 * reach) ** 2, (0.03 * reach) ** 2
    similar = (2 * ma * mb + c1) * (2 * cov + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2))
    edge = window // 2
    return float(similar[:, edge : similar.shape[1] - edge, edge : similar.shape[2] - edge].mean())


def bootstrap_interval(
    values: Floats,
    groups: NDArray[np.integer] | None = None,
    *,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
    root: bool = False,
) -> tuple[float, float]:
    """Percentile interval of the mean of per-cell `values` (cells,) under resampling of `groups` (cells,).

    `groups` are locations (or None: every cell its own): cells of one place are not independent, so whole places are
    drawn. `root` takes the root of each mean (`rmse_*` from `mse_*_cells`). Efron and Tibshirani (1993), ch. 13. With
    one group the interval is (nan, nan): nothing can be said about other places.
    """
    if values.ndim != 1 or not len(values) or (groups is not None and groups.shape != values.shape):
        raise ValueError(f"values {values.shape} must be (cells,), groups alike")
    _, group = np.unique(np.arange(len(values)) if groups is None else groups, return_inverse=True)
    size = np.bincount(group).astype(np.float64)
    if len(size) < 2:
        return float("nan"), float("nan")
    total = np.bincount(group, weights=values)
    rng = np.random.default_rng(seed)
    means = np.empty(draws)
    for k in range(draws):  # one draw at a time: 10,000 groups x 2,000 draws would not fit small machines
        times = np.bincount(rng.integers(len(size), size=len(size)), minlength=len(size))
        means[k] = (times @ total) / (times @ size)
    low, high = np.quantile(np.sqrt(means) if root else means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def bootstrap_statistic(
    statistic: Callable[[NDArray[np.intp]], float],
    cells: int,
    groups: NDArray[np.integer] | None = None,
    *,
    level: float = 0.95,
    draws: int = 200,
    seed: int = 0,
) -> tuple[float, float]:
    """As `bootstrap_interval`, for what is no mean over cells: `statistic(indices)` is recomputed on resampled cells.

    For instance `lambda i: jsd_hist(real[i], syn[i])`. Draws whose statistic is NaN are left out.
    """
    if cells < 1 or (groups is not None and groups.shape != (cells,)):
        raise ValueError(f"{cells} cells: at least one is needed, with one group each")
    label = np.arange(cells) if groups is None else np.unique(groups, return_inverse=True)[1]
    parts = np.split(np.argsort(label, kind="stable"), np.cumsum(np.bincount(label))[:-1])
    if len(parts) < 2:
        return float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    found = [
        statistic(np.concatenate([parts[g] for g in rng.integers(len(parts), size=len(parts))])) for _ in range(draws)
    ]
    low, high = np.nanquantile(found, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
