"""Every metric of metrics.md under its exact name, and intervals for them.

Paired metrics live in `metrics_paired`, those of distributions in `metrics_distribution`; this file adds the forecast
scores `r2` and `ssim` (`mae` and `rmse` are the paired ones).
"""

from __future__ import annotations

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
    "acf_error", "autocorrelation", "coverage_50", "coverage_90",
    "coverage_cells", "crps", "crps_cells", "crps_level", "crps_level_cells", "crps_shape", "crps_shape_cells",
    "dead_cells", "diversity", "js_divergence", "jsd_distance_week", "jsd_hist", "jsd_softmax24", "jsd_softmax24_cells",
    "level_logmae", "level_spearman", "live_cells", "mae", "mae_cells", "mae_minmax", "mae_minmax_cells", "mae_p9999",
    "minmax", "moran_by_distance", "mse_cells", "mse_minmax_cells", "p9999", "peak_hour_error", "peak_hour_error_cells",
    "r2", "rmse", "rmse_minmax", "rmse_p9999", "spatial_acf_error", "ssim", "tail_ratio_99", "tail_ratio_999",
]  # fmt: skip


def r2(real: Floats, predicted: Floats) -> float:
    """Coefficient of determination over all values: 1 - sum (real - predicted)^2 / sum (real - mean of real)^2.

    real, predicted: (any shape), the same for both. ValueError where the real values are all equal: there is
    nothing to explain.
    """
    if real.shape != predicted.shape:
        raise ValueError(f"real {real.shape} and predicted {predicted.shape} must have one shape")
    total = ((real - real.mean(dtype=np.float64)) ** 2).sum(dtype=np.float64)
    if not total > 0:
        raise ValueError("all real values are equal: r2 is not defined")
    return float(1 - ((real - predicted) ** 2).sum(dtype=np.float64) / total)


def ssim(real: Floats, predicted: Floats, *, window: int = 7) -> float:
    """Structural similarity of `real`, `predicted` (frames, rows, cols): mean over frames of the mean over places.

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
