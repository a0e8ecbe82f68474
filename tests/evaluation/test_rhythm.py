"""gentraffic.evaluation.metrics.rhythm: against sums made by hand and against loops over cells and hours."""

import numpy as np
import pytest

from gentraffic.evaluation.metrics import rhythm

HOUR = np.arange(168)
RNG = np.random.default_rng(0)
REAL, DRAWN = RNG.gamma(2.0, 1.0, (5, 168)), RNG.gamma(2.0, 3.0, (3, 5, 168))


def test_a_zigzag_is_as_rough_as_its_jumps() -> None:
    zigzag = np.tile([1.0, 3.0], 84)[None]  # over its mean 2: jumps of 1
    half = np.tile([1.5, 2.5], 84)[None]
    assert rhythm.roughness_cells(zigzag) == pytest.approx(1.0)
    assert rhythm.roughness_ratio(zigzag, half[None]) == pytest.approx(0.5)
    assert rhythm.roughness_ratio(zigzag, 7 * zigzag) == pytest.approx(1.0)
    with pytest.raises(ValueError, match="constant"):
        rhythm.roughness_ratio(np.ones((1, 168)), zigzag)


def test_weekends_against_a_loop() -> None:
    week = np.where(HOUR >= 120, 0.6, 1.2)[None]
    assert rhythm.weekend_ratio_cells(week, HOUR) == pytest.approx(0.5)
    late = np.roll(HOUR, -120)  # the file begins on Saturday
    assert rhythm.weekend_ratio_cells(np.roll(week, -120, axis=1), late) == pytest.approx(0.5)
    by_hand = [np.mean([c[120:].mean() / c[:120].mean() for c in cells]) for cells in DRAWN]
    real = np.mean([c[120:].mean() / c[:120].mean() for c in REAL])
    assert rhythm.weekend_error(REAL, DRAWN, HOUR) == pytest.approx(np.mean(by_hand) - real)
    with pytest.raises(ValueError, match="no weekend"):
        rhythm.weekend_ratio_cells(week[:, :120], HOUR[:120])


def test_the_rhythm_of_a_region_is_that_of_its_total() -> None:
    mean = DRAWN.mean(axis=0)
    a, b = REAL.sum(axis=0), mean.sum(axis=0)
    assert rhythm.rhythm_mae(REAL, mean, HOUR) == pytest.approx(np.abs(a / a.mean() - b / b.mean()).mean())
    assert rhythm.rhythm_mae(REAL, 4 * REAL, HOUR) == pytest.approx(0.0, abs=1e-12)
    two = np.concatenate([REAL, 3 * REAL], axis=1)  # two weeks: the mean of each hour of the week counts
    assert rhythm.rhythm_mae(two, np.tile(REAL, 2), np.tile(HOUR, 2)) == pytest.approx(0.0, abs=1e-12)


def test_places_that_get_one_week_do_not_spread() -> None:
    spread = [np.std([c[h] / c.mean() for c in REAL]) for h in HOUR]
    assert rhythm.shape_spread(REAL) == pytest.approx(np.mean(spread))
    assert rhythm.shape_spread_ratio(REAL, 5 * REAL) == pytest.approx(1.0)
    one = REAL[:1] * np.arange(1, 6)[:, None]
    assert rhythm.shape_spread_ratio(REAL, one) == pytest.approx(0.0, abs=1e-12)
    with pytest.raises(ValueError, match="same week"):
        rhythm.shape_spread_ratio(one, REAL)
