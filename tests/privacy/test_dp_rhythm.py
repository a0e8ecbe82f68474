"""The noisy mean week: right without noise, bounded per cell, and of the noise that is said."""

from __future__ import annotations

import numpy as np
import pytest

from gentraffic.modelling.expected_week import Amplitude, ExpectedWeek, ExpectedWeeks
from gentraffic.modelling.features import FLOOR, Floats
from gentraffic.privacy.dp.accounting import Secret
from gentraffic.privacy.dp.rhythm import (
    MOST,
    USUAL_DAY,
    PrivateWeeks,
    fit_private_amplitude,
    fit_private_week,
    log_departures,
    public_week,
    smooth_weeks,
    usual_spreads,
)

PUBLIC = np.tile(USUAL_DAY, 7)
SECRET = Secret(b"s")


def fitted(departures: Floats, noise: float = 0.0, live: float | None = None) -> Floats:
    count = float(len(departures)) if live is None else live
    week = ExpectedWeek(PUBLIC, locations=7, timezone="Europe/Rome")
    found = fit_private_week(PrivateWeeks(departures, count, week), 0, noise, SECRET)
    assert (found.locations, found.timezone) == (7, "Europe/Rome")
    return found.mean - PUBLIC


def test_weeks_are_orthonormal_and_tell_workdays_from_weekends() -> None:
    smooth = smooth_weeks()
    np.testing.assert_allclose(smooth @ smooth.T, np.eye(39), atol=1e-12)
    week = smooth.reshape(39, 7, 24)
    np.testing.assert_array_equal(week[:, 0], week[:, 4])
    assert np.allclose(week[:13, 0], week[:13, 6])
    assert not np.allclose(week[13:, 0], week[13:, 5])
    assert usual_spreads()[[0, 1, 2, 12, 13, 26]] == pytest.approx([1.5, 1.125, 1.125, 0.5, 0.6, 0.15])


def test_without_noise_it_is_the_mean_of_the_cells() -> None:
    rng = np.random.default_rng(0)
    departures = rng.normal(0, 0.7, (300, 39)) @ smooth_weeks()
    assert np.linalg.norm(departures, axis=1).max() < MOST
    np.testing.assert_allclose(fitted(departures), departures.mean(axis=0), atol=1e-4)


def test_a_cell_moves_the_sum_by_at_most_one_clip() -> None:
    """Whatever it holds: 50 times the usual, or nights without any traffic at all."""
    rng = np.random.default_rng(1)
    departures = rng.normal(0, 0.3, (100, 168))
    strange = departures.copy()
    strange[0] = 50.0
    dead = departures.copy()
    dead[0] = 0.0
    for other in (strange, dead):
        apart = fitted(departures, live=100.0) - fitted(other, live=100.0)
        assert np.linalg.norm(apart) <= (MOST + np.linalg.norm(departures[0])) / 100 + 1e-3
    whole = fitted(strange, live=100.0) - fitted(dead, live=100.0)
    assert np.linalg.norm(whole) == pytest.approx(MOST / 100, rel=0.02)


def test_the_noise_is_that_of_the_mechanism_shrunk_by_what_networks_differ() -> None:
    """Of 200 silent cells the mean week is noise alone; its size has a closed form."""
    departures, noise = np.zeros((200, 168)), 4.0
    week = ExpectedWeek(PUBLIC)
    found = [
        fit_private_week(PrivateWeeks(departures, 200.0, week), number, noise, SECRET).mean - PUBLIC
        for number in range(30)
    ]
    coefficients = np.array(found) @ smooth_weeks().T
    hidden, usual = MOST * noise / 200, usual_spreads()
    scaled = coefficients / (hidden * usual**2 / (usual**2 + hidden**2))
    assert scaled.std() == pytest.approx(1.0, rel=0.08)  # of 1,170 draws, four of its standard errors
    assert abs(scaled.mean()) < 4 / np.sqrt(scaled.size)


def test_the_public_week_is_the_mean_of_those_known_or_a_usual_one() -> None:
    one, other = ExpectedWeek(np.zeros(168)), ExpectedWeek(np.full(168, 0.5))
    np.testing.assert_array_equal(public_week(ExpectedWeeks({"a": one, "b": other})), np.full(168, 0.25))
    np.testing.assert_array_equal(public_week(ExpectedWeeks()).reshape(7, 24), np.tile(USUAL_DAY, (7, 1)))


def test_departures_are_logarithms_that_end_at_the_floor() -> None:
    shapes = np.exp(np.tile(USUAL_DAY, 14).reshape(2, 7, 24)) - FLOOR
    shapes[1, 0, 0] = -1.0
    found = log_departures(shapes, PUBLIC)
    np.testing.assert_allclose(found[0], 0.0, atol=1e-12)
    assert found[1, 0] == pytest.approx(np.log(FLOOR) - USUAL_DAY[0])


def law_of(centre: float) -> Amplitude:
    return Amplitude(centre, -0.1, -2.0, 2.0, np.linspace(-1, 1, 11), centre + 0.2, 0.5)


def test_the_amplitude_is_the_public_law_moved_by_the_mean_and_by_no_cell_further_than_its_share() -> None:
    public, secret = law_of(-1.0), Secret(b"known")
    log = np.random.default_rng(0).normal(-1.6, 0.4, 400)
    exact = fit_private_amplitude(log, 400, public, 0, 0.0, secret)
    moved = np.clip(log - public.mean, -1.5, 1.5).mean()
    assert exact.mean - public.mean == pytest.approx(moved, abs=2e-4)  # as without privacy
    assert exact.centre - public.centre == pytest.approx(moved, abs=2e-4)
    np.testing.assert_array_equal(exact.residual, public.residual)
    with_one = fit_private_amplitude(np.append(log, 99.0), 400, public, 0, 0.0, secret)
    assert with_one.mean - exact.mean == pytest.approx(1.5 / 400, abs=2e-4)  # the most that a cell can do
    noisy = np.array([fit_private_amplitude(log, 400, public, n, 20.0, secret).mean for n in range(300)])
    shrunk_by = 0.5**2 / (0.5**2 + (1.5 * 20 / 400) ** 2)
    assert noisy.mean() - public.mean == pytest.approx(shrunk_by * moved, abs=0.02)
    assert noisy.std() == pytest.approx(shrunk_by * 1.5 * 20 / 400, rel=0.15)
