"""What is noticed of measured traffic before anything learns from it."""

from __future__ import annotations

import numpy as np
import pytest

from gentraffic.modelling.measured import copied_week


@pytest.mark.parametrize("days", [9, 14, 21])
def test_a_copied_week_is_noticed_and_a_like_one_is_not(days: int) -> None:
    """Copied to within rounding, with a cell that was not recorded throughout; a usual week with noise is no copy."""
    rng = np.random.default_rng(0)
    week = rng.gamma(2, 1, (4, 168)).astype(np.float32)
    series = np.tile(week, 4)[:, : days * 24] * rng.normal(1, 1e-4, (4, days * 24)).astype(np.float32)
    assert copied_week(series, 24)
    gap = series.copy()
    gap[0, 5] = np.nan
    assert copied_week(gap, 24)
    assert not copied_week(series * rng.normal(1, 0.1, series.shape).astype(np.float32), 24)
    assert not copied_week(series[:, : 8 * 24], 24), "a day alone may be alike"
    assert not copied_week(np.ones_like(series), 24)
