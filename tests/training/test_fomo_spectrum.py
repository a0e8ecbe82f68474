"""The spectrum that a FoMo follows, against that of what was left open on purpose."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from torch import Tensor

from gentraffic.generators.fomo.data import SIDE, Region
from gentraffic.generators.fomo.scale import FoMoScale, fit_scale_of, usual_at
from gentraffic.training.fomo_task import WINDOW, FoMoPlan
from gentraffic.training.residual_spectrum import DAILY, OTHERS, fit_fomo_spectrum
from samplers import Noise
from samplers.diffusion import QUIET, Rest, at_length
from samplers.fomo import FoMoCondition

WEEK = 168
HOURS = np.arange(2 * WEEK)


@dataclass
class Knows:
    """Predicts the usual week, 0 in its scale, whatever a cell does."""

    noise: Noise = field(default_factory=lambda: Noise(prediction_type="sample"))
    cadences: tuple[int, ...] = (15, 60)
    rest: Rest | None = None

    def __call__(self, x_t: Tensor, t: Tensor, scene: FoMoCondition) -> Tensor:
        return torch.zeros_like(x_t)


def region(steps: int, seed: int = 0, daily: float = 0.0) -> Region:
    """48 cells about a usual week, of noise 0.1 and with a day of their own of this amplitude."""
    rng = np.random.default_rng(seed)
    usual = 1 + 0.5 * np.sin(2 * np.pi * np.arange(steps) / 24)
    own = daily * rng.normal(size=(48, 1)) * np.cos(2 * np.pi * (np.arange(steps) + 0.5) / 24)
    values = (usual * np.exp(0.1 * rng.normal(size=(48, steps)) + own)).astype(np.float32)
    blocks = np.arange(48).reshape(3, SIDE, SIDE)
    return Region(
        "here", 60, values, values, None, np.arange(steps) % WEEK * 1.0, None, rng.uniform(0, 900, (48, 2)),
        values.mean(axis=1, dtype=np.float64), np.zeros(48), 1.0, np.arange(48) // 16, np.arange(48), blocks,
    )  # fmt: skip


def mean_square(part: Region, scale: FoMoScale) -> float:
    """Of what the network sees of the region, about the usual week: that of noise and of days of their own."""
    usual = usual_at(scale.mean_week(1)[None], part.hour)
    return float((scale.forward(part.values / part.level[:, None], usual) ** 2).mean())


def test_it_is_that_of_a_week_in_which_a_cells_own_day_stands_out() -> None:
    flat, daily = region(2 * WEEK), region(2 * WEEK, daily=0.2)
    rows = []
    for part in (flat, daily):
        scale = fit_scale_of([part])
        rest = fit_fomo_spectrum(Knows(), [part], scale, FoMoPlan())  # type: ignore[arg-type]
        assert rest is not None
        assert rest[0] == rest[1]  # nothing was measured at 15 min: as at the nearest cadence
        rows.append(np.array(rest[1]) / mean_square(flat, scale))
    assert rows[0].shape == (WEEK,)
    own = np.isin(np.arange(WEEK), (14, 28))  # waves of 24 and 12 hours, of a week and its mirror image
    assert rows[0][~own].mean() == pytest.approx(OTHERS / QUIET, rel=0.1)
    assert rows[0][own].mean() == pytest.approx(DAILY / QUIET, rel=0.5)
    assert rows[1][14] > 50 * np.median(rows[1])  # 0.2^2 / 2 * 168 beside 0.1^2
    assert rows[1].argmax() == 14


def test_of_series_shorter_than_a_week_it_is_that_of_a_window() -> None:
    part = region(100)
    rest = fit_fomo_spectrum(Knows(), [part], fit_scale_of([part]), FoMoPlan())  # type: ignore[arg-type]
    assert rest is not None
    assert len(rest[1]) == WINDOW
    assert np.mean(rest[1]) == pytest.approx(mean_square(part, fit_scale_of([part])), rel=0.1)


def test_the_power_of_a_series_is_that_of_a_shorter_and_of_a_longer_one() -> None:
    flat = np.full(WEEK, 0.7)
    for length in (64, 100, WEEK, 200, 672):
        np.testing.assert_allclose(at_length(flat, length), 0.7)
        assert len(at_length(flat, length)) == length + 1
    power = 0.1 + np.exp(-(((np.arange(WEEK) - 14) / 1.5) ** 2))
    np.testing.assert_allclose(at_length(power, WEEK)[:-1], power)
    for length in (64, 100):
        out = at_length(power, length)[:-1]
        assert out.sum() / length == pytest.approx(power.sum() / WEEK, rel=0.01)  # the variance of a series
        assert out.argmax() == pytest.approx(14 * length / WEEK, abs=0.5)  # its day
