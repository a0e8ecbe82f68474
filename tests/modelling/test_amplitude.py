"""How far cells depart from their expected weeks: its law, what training divides by, and what drawing multiplies by."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from bundle_examples import context
from prepared_examples import PREPARED, SCALER, SHORT, TIME
from scipy.stats import kstest, kurtosis, norm
from torch import Tensor

from gentraffic.dataset.calendar import make_calendar
from gentraffic.generators.folder import Bundle
from gentraffic.generators.weekly import Settings, draw_traffic
from gentraffic.modelling.even_members import PAIRS
from gentraffic.modelling.expected_week import Amplitude, ExpectedWeek, ExpectedWeeks, fit_amplitude
from gentraffic.modelling.features import FLOOR
from gentraffic.modelling.random_streams import shape_seeds, standard_normals
from gentraffic.training.sampler_task import batch_of, by_location, departing, mean_departures
from samplers import WEEK, Condition, Noise

MONDAY = make_calendar("2026-01-05", 7, "1h", "Europe/Rome")


def test_the_law_is_that_of_the_cells_it_was_fitted_on() -> None:
    rng = np.random.default_rng(0)
    level = rng.standard_normal(20_000)
    skewed = rng.gumbel(size=20_000) * 0.4
    log = -0.8 - 0.15 * level + skewed
    law = fit_amplitude(log, level, np.ones(20_000))
    assert law.slope == pytest.approx(-0.15, abs=0.01)
    assert (law.mean, law.spread) == (pytest.approx(log.mean(), abs=1e-3), pytest.approx(log.std(), abs=1e-3))
    drawn = law.draw(level, rng.standard_normal(20_000))
    assert drawn.mean() == pytest.approx(log.mean(), abs=0.01)
    assert drawn.std() == pytest.approx(log.std(), rel=0.03)
    quantiles = [0.05, 0.25, 0.5, 0.75, 0.95]
    np.testing.assert_allclose(np.quantile(drawn, quantiles), np.quantile(log, quantiles), atol=0.03)
    np.testing.assert_allclose(law.standard(log).std(), 1.0, rtol=1e-3)


def test_cells_that_count_more_say_more_and_unknown_levels_tell_nothing() -> None:
    log, level = np.array([-1.0] * 10 + [0.0] * 10), np.array([-1.0] * 10 + [1.0] * 10)
    assert fit_amplitude(log, level, np.repeat([1.0, 3.0], 10)).mean == pytest.approx(-0.25)
    unknown = fit_amplitude(log, np.full(20, np.nan), np.ones(20))
    assert (unknown.slope, unknown.centre) == (0.0, pytest.approx(-0.5))
    law = fit_amplitude(log, level, np.ones(20))
    beyond = law.draw(np.array([-9.0, 9.0]), np.zeros(2))  # no further than the levels that were measured
    np.testing.assert_allclose(beyond, [-1.0, 0.0], atol=1e-3)


def test_numbers_of_streams_are_normal_and_each_its_own() -> None:
    z = standard_normals(shape_seeds(3, np.arange(20_000), 0, 0))
    assert kstest(z, "norm").pvalue > 0.01
    assert len(np.unique(z)) > 19_900
    np.testing.assert_array_equal(standard_normals(shape_seeds(3, [7], 0, 0)), z[7:8])


def test_json_and_back_and_a_network_without_a_law_has_the_mean_of_the_others() -> None:
    laws = [fit_amplitude(np.linspace(a, a + 1, 9), np.linspace(-1, 1, 9), np.ones(9)) for a in (-1.0, 0.0)]
    weeks = ExpectedWeeks({n: ExpectedWeek(np.zeros(168), amplitude=law) for n, law in zip("ab", laws, strict=True)})
    weeks = ExpectedWeeks({**weeks.networks, "c": ExpectedWeek(np.zeros(168))})
    back = ExpectedWeeks.from_json(json.loads(json.dumps(weeks.to_json())))
    for name in "abc":
        ours, theirs = weeks.amplitude(name), back.amplitude(name)
        assert ours is not None
        assert theirs is not None
        np.testing.assert_array_equal(ours.residual, theirs.residual)
        assert ours.centre == theirs.centre
    mean = weeks.amplitude("c")
    assert mean is not None
    assert mean.centre == pytest.approx((laws[0].centre + laws[1].centre) / 2)
    assert ExpectedWeeks({"c": ExpectedWeek(np.zeros(168))}).amplitude("c") is None


def test_windows_are_divided_by_the_amplitudes_of_their_cells_and_the_network_is_told() -> None:
    p = PREPARED[0]
    expected = np.zeros((len(p.place), WEEK), dtype=np.float32)
    p = replace(p, expected=expected, up_to=by_location(p.source.location))
    told = departing(p, SCALER)
    assert told.amplitude is not None
    assert told.law is not None
    weeks = p.source.ratio.shape[1] // 7
    hours = p.source.ratio.reshape(len(p.place), -1, p.source.per_hour).mean(2)[:, : weeks * WEEK]
    square = SCALER.forward(hours.reshape(-1, WEEK)).astype(np.float64) ** 2
    by_hand = np.sqrt(square.reshape(len(p.place), -1).mean(1))
    np.testing.assert_allclose(told.amplitude, by_hand, rtol=1e-5)
    plan = replace(SHORT, batch=64)
    x, condition, _ = batch_of([told], TIME, SCALER, plan, 1, noisy=False)
    plain, none, _ = batch_of([replace(p, expected=told.expected)], TIME, SCALER, plan, 1, noisy=False)
    assert none.amplitude is None
    assert condition.amplitude is not None
    amplitude = np.exp(condition.amplitude.numpy() * told.law.spread + told.law.mean)
    k = x.shape[1] // WEEK
    np.testing.assert_allclose(x[:, ::k].numpy() * amplitude[:, None], plain[:, ::k].numpy(), atol=1e-4)


class White:
    """A network that draws white noise of unit variance, and notes what it was told."""

    use_profile, config, cadences, series_at_once, noise = False, {"use_profile": False}, (1, 4), 512, Noise()

    def __init__(self) -> None:
        self.told: list[Tensor] = []

    def __call__(self, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        assert condition.amplitude is not None
        self.told.append(condition.amplitude)
        return torch.zeros_like(x_t)  # of white noise of unit variance the best guess of v is 0


def drawn(bundle: Bundle, law: Amplitude, members: int, days: int = 7, **rest: Any) -> np.ndarray[Any, Any]:
    """Log departures, over the scaler's spread, (members, cells, steps), of 300 cells by one network."""
    flat = np.full(168, np.log(1 + FLOOR))
    weeks = ExpectedWeeks({"alpha": ExpectedWeek(flat, timezone="Europe/Rome", amplitude=law, **rest)})
    model: Any = White()
    calendar = make_calendar("2026-01-05", days, "1h", "Europe/Rome")
    out = draw_traffic(replace(bundle, model=model, weeks=weeks), context(300), calendar, Settings(0, members))
    logs = np.log(out / out.mean(axis=2, keepdims=True) + FLOOR) / bundle.scaler.spread
    moved: np.ndarray[Any, Any] = logs - logs.mean(axis=2, keepdims=True)
    return moved


def test_drawn_weeks_depart_as_far_as_the_law_says_and_few_of_them_far(tiny_bundle: Bundle) -> None:
    law = fit_amplitude(np.random.default_rng(1).normal(-1.5, 0.5, 5000), np.zeros(5000), np.ones(5000))
    apart = drawn(tiny_bundle, law, 1)[0]
    log = np.log(apart.std(axis=1))
    assert log.mean() == pytest.approx(-1.5, abs=0.12)
    assert log.std() == pytest.approx(0.5, abs=0.07)
    same = drawn(tiny_bundle, replace(law, residual=np.zeros(11)), 1)[0]
    assert np.log(same.std(axis=1)).std() < 0.1
    assert kurtosis(apart.ravel()) > kurtosis(same.ravel()) + 1.0


def test_both_members_of_a_pair_and_later_weeks_have_one_amplitude_and_pairs_their_own(tiny_bundle: Bundle) -> None:
    law = fit_amplitude(np.random.default_rng(1).normal(-1.5, 0.5, 5000), np.zeros(5000), np.ones(5000))
    log = np.log(drawn(tiny_bundle, law, 5, days=14).reshape(5, 300, 2, WEEK).std(axis=3))
    assert np.corrcoef(log[0, :, 0], log[0, :, 1])[0, 1] > 0.9
    related = np.corrcoef(log[:, :, 0])
    assert related[1, 2] > 0.9
    assert related[3, 4] > 0.9
    assert np.abs(related[[0, 0, 1], [1, 3, 3]]).max() < 0.2


def test_each_cell_departs_in_one_pair_of_members_as_every_tenth_of_the_law_says(tiny_bundle: Bundle) -> None:
    law = fit_amplitude(np.random.default_rng(1).normal(-1.5, 0.5, 5000), np.zeros(5000), np.ones(5000))
    for shared in (0.0, 0.8):
        log = np.log(drawn(tiny_bundle, law, 2 * PAIRS + 1, shared=shared)[1::2].std(axis=2))  # (pairs, cells)
        sorted_ = np.sort(log, axis=0).mean(axis=1)
        middle = -1.5 + 0.5 * norm.ppf((np.arange(PAIRS) + 0.5) / PAIRS)
        np.testing.assert_allclose(sorted_, middle, atol=0.12)
        assert log.mean(axis=0).std() < 0.7 * 0.5 / PAIRS**0.5  # of independent pairs, but for the noise of a week


def test_neighbours_that_share_their_weeks_share_their_amplitudes(tiny_bundle: Bundle) -> None:
    law = fit_amplitude(np.random.default_rng(1).normal(-1.5, 0.5, 5000), np.zeros(5000), np.ones(5000))
    alone, together = (np.log(drawn(tiny_bundle, law, 1, shared=share)[0].std(axis=1)) for share in (0.0, 0.9))
    xy = np.stack([context(300)[axis].values for axis in ("x", "y")], axis=1)
    a, b = np.argwhere(np.triu(np.hypot(*(xy[:, None] - xy[None]).T) < 300, 1)).T
    assert len(a) > 500
    assert np.corrcoef(together[a], together[b])[0, 1] > np.corrcoef(alone[a], alone[b])[0, 1] + 0.15


def test_where_nobody_measured_the_network_hears_neither_place_nor_level(tiny_bundle: Bundle) -> None:
    heard = []

    class Listening(White):
        def __call__(self, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
            heard.append((condition.place.abs().max() > 0, condition.level.abs().max() > 0))
            return super().__call__(x_t, t, condition)

    model: Any = Listening()
    for network in ("", "alpha"):
        draw_traffic(replace(tiny_bundle, model=model), context(20, network), MONDAY, Settings(0, 1, steps=1))
    assert [(bool(place), bool(level)) for place, level in heard] == [(False, False), (True, True)]


def test_what_training_takes_away_leaves_no_lean_over_amplitudes() -> None:
    p = PREPARED[0]
    expected = np.random.default_rng(0).normal(size=(1, WEEK)).repeat(len(p.place), 0).astype(np.float32)
    told = departing(replace(p, expected=expected, up_to=by_location(p.source.location)), SCALER)
    assert told.amplitude is not None
    share = np.diff(by_location(p.source.location), prepend=0.0)
    lean = np.average(mean_departures(told, SCALER) / told.amplitude[:, None], axis=0, weights=share)
    assert np.abs(lean).max() < 1e-5
