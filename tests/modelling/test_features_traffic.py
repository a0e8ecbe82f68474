"""Traffic as the networks see it: logs, and cosines within the hour, there and back."""

from __future__ import annotations

import numpy as np
import pytest
from bundle_examples import sources

from gentraffic.modelling.features import HIGHEST, Scaler, cosines, from_cosines
from gentraffic.training.fitting import fit_scaler

WEEK = 168


def scaler() -> Scaler:
    detail = {str(k): list(np.linspace(0.3, 0.1, k - 1)) for k in (2, 4, 6)}
    return Scaler(mean=-0.3, spread=0.8, floor=0.05, detail=detail)


@pytest.mark.parametrize("k", [1, 2, 4, 6])
def test_forward_and_inverse_undo_each_other(k: int) -> None:
    rng = np.random.default_rng(k)
    ratio = rng.gamma(0.7, 1.4, (5, WEEK * k)).astype(np.float32)
    ratio[0, :3] = 0.0  # silence
    x = scaler().forward(ratio)
    assert x.shape == ratio.shape
    assert x.dtype == np.float32
    np.testing.assert_allclose(scaler().inverse(x), ratio, rtol=2e-5, atol=2e-6)


def test_hourly_values_are_standardised_logs() -> None:
    ratio = np.random.default_rng(0).gamma(1.0, 1.0, (3, WEEK))
    np.testing.assert_allclose(scaler().forward(ratio), (np.log(ratio + 0.05) + 0.3) / 0.8, rtol=1e-5)


@pytest.mark.parametrize("k", [1, 2, 6])
def test_a_linear_scaler_standardises_ratios_themselves_there_and_back(k: int) -> None:
    plain = fit_scaler(sources()[:2], linear=True)  # one by hour, one at ten minutes
    own = sources()[1]
    steps = own.ratio.reshape(len(own.ratio), -1, k, own.per_hour // k).mean(axis=3)[:, :WEEK]  # (cells, hours, k)
    x = plain.forward(steps.reshape(len(steps), -1)).reshape(steps.shape)
    np.testing.assert_allclose(x[..., 0], (steps.mean(axis=2) - plain.mean) / plain.spread, atol=1e-5)
    np.testing.assert_allclose(plain.inverse(x.reshape(len(x), -1)), steps.reshape(len(x), -1), atol=2e-6)
    assert x[..., 0].std() == pytest.approx(1.0, abs=0.2)
    if k > 1:
        np.testing.assert_allclose(x[..., 1:].std(axis=(0, 1)), 1.0, atol=0.1)
    low = plain.inverse(np.full((1, WEEK), -100.0, dtype=np.float32))
    assert (low == 0).all(), "never below nothing"


@pytest.mark.parametrize("k", [2, 4, 6])
def test_finer_values_are_the_mean_of_the_logs_and_cosines(k: int) -> None:
    ratio = np.random.default_rng(k).gamma(1.0, 1.0, (2, WEEK * k))
    got = scaler().forward(ratio).reshape(2, WEEK, k)
    logs = ((np.log(ratio + 0.05) + 0.3) / 0.8).reshape(2, WEEK, k)
    np.testing.assert_allclose(got[..., 0], logs.mean(2), rtol=1e-5, atol=1e-6)
    for j in range(1, k):  # DCT-II by its definition
        wave = np.sqrt(2 / k) * np.cos(np.pi * j * (2 * np.arange(k) + 1) / (2 * k))
        np.testing.assert_allclose(got[..., j], logs @ wave / scaler().detail[str(k)][j - 1], rtol=1e-4, atol=1e-5)
    flat = scaler().forward(np.repeat(ratio[:, :WEEK], k, axis=1)).reshape(2, WEEK, k)
    np.testing.assert_allclose(flat[..., 1:], 0.0, atol=1e-5)  # nothing moves within the hour
    np.testing.assert_allclose(flat[..., 0], scaler().forward(ratio[:, :WEEK]), rtol=1e-5, atol=1e-6)


def test_cosines_keep_the_energy_within_the_hour() -> None:
    hours = np.random.default_rng(1).normal(size=(4, 7, 6))
    parts = cosines(hours)
    np.testing.assert_allclose((parts[..., 1:] ** 2).sum(2), ((hours - hours.mean(2, keepdims=True)) ** 2).sum(2))
    np.testing.assert_allclose(from_cosines(parts), hours, atol=1e-12)


def fading() -> Scaler:
    return Scaler(mean=-0.3, spread=0.8, detail={"2": [0.3]}, fade={"2": [0.5, 0.4]})


def test_busy_cells_and_hours_move_less_within_the_hour() -> None:
    """The spread of what moves within the hour by hand: 0.3 exp(-0.5 level - 0.4 log of the hour)."""
    hours = np.linspace(-1.4, 0.4, WEEK)  # logs of ratio + floor
    x = np.stack([(hours + 0.3) / 0.8, np.ones(WEEK)], 1).reshape(1, -1).astype(np.float32)
    for level, told in ((0.0, None), (0.0, np.array([np.nan])), (1.2, np.array([1.2])), (2.5, np.array([9.0]))):
        ratio = fading().inverse(x, told).reshape(WEEK, 2) + 0.05
        apart = np.log(ratio[:, 0] / ratio[:, 1]) / np.sqrt(2)
        np.testing.assert_allclose(apart, 0.8 * 0.3 * np.exp(-0.5 * level - 0.4 * hours), rtol=2e-3)
    ratio = np.random.default_rng(0).gamma(0.7, 1.4, (3, 2 * WEEK)).astype(np.float32)
    level = np.array([-1.0, np.nan, 3.0])
    np.testing.assert_allclose(fading().inverse(fading().forward(ratio, level), level), ratio, rtol=2e-5, atol=2e-6)


def test_nothing_is_negative_or_without_bound() -> None:
    wild = np.linspace(-1e4, 1e4, WEEK, dtype=np.float32)[None]
    out = scaler().inverse(wild)
    assert out.min() == 0.0
    assert out.max() == pytest.approx(HIGHEST - 0.05)
    assert np.isfinite(scaler().inverse(np.tile(wild, (1, 6)))).all()


def test_a_fitted_scaler_gives_numbers_of_about_unit_variance() -> None:
    measured = sources()
    fitted = fit_scaler(measured)
    assert set(fitted.detail) == {"2", "6"}  # ten minutes do not make up fifteen
    means, squares = [], []
    for source in measured:
        hours = source.ratio.reshape(len(source.ratio), -1, source.per_hour).mean(2)[:, :WEEK]
        x = fitted.forward(hours)
        means.append(x.mean())
        squares.append((x**2).mean())
    assert abs(np.mean(means)) < 0.2
    assert np.mean(squares) == pytest.approx(1.0, abs=0.25)
    beta = measured[1]
    for k in (2, 6):
        ratio = beta.ratio.reshape(len(beta.ratio), -1, 6 // k).mean(2)[:, : WEEK * k]
        parts = fitted.forward(ratio).reshape(len(ratio), WEEK, k)
        np.testing.assert_allclose(parts[..., 1:].std(axis=(0, 1)), 1.0, atol=0.15)
