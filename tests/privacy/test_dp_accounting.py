"""The accountant's figures against closed forms, an attack that must stay below them, and noise."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import kstest, norm

from gentraffic.errors import WrongUse
from gentraffic.privacy.dp.accounting import Mechanism, Privacy, Secret, check_privacy, epsilon_of, noise_for, weakness
from gentraffic.privacy.dp.sgd import sample_cells

DELTA = 1e-4


def gaussian_delta(sigma: float, epsilon: float) -> float:
    """Balle and Wang (2018), eq. 6: the exact delta of a Gaussian mechanism of sensitivity 1."""
    return float(norm.cdf(0.5 / sigma - epsilon * sigma) - np.exp(epsilon) * norm.cdf(-0.5 / sigma - epsilon * sigma))


def gaussian_epsilon(sigma: float) -> float:
    return float(brentq(lambda e: gaussian_delta(sigma, e) - DELTA, 0.0, 60.0))


@pytest.mark.parametrize("sigma", [0.9, 3.0])
def test_one_gaussian_has_its_closed_form(sigma: float) -> None:
    exact = gaussian_epsilon(sigma)
    assert exact <= epsilon_of([Mechanism("a", sigma)], DELTA) <= exact + 0.025  # an upper bound, on a grid of 0.01


PLD = [  # (delta, [(sigma, sampling rate, steps)], epsilon) by dp-accounting's PLD accountant, a second implementation
    (1e-4, [(0.9, 1.0, 1)], 4.3134),
    (1e-4, [(3.0, 1.0, 1)], 1.0703),
    (1e-4, [(4.0, 1.0, 1), (6.0, 1.0, 1), (9.0, 1.0, 10)], 1.5525),
    (1e-4, [(2.0, 0.1, 100)], 1.9659),
    (1e-4, [(1.0, 0.3, 20)], 8.1005),
    (1e-4, [(1.3, 0.264, 6)], 2.6774),
    (1e-4, [(4.0, 1.0, 1), (2.0, 1.0, 1), (3.0, 0.2, 60)], 2.8482),
    (1e-4, [(1.5, 1.0, 1), (1.2, 0.05, 300)], 4.4233),
    (1e-5, [(0.9, 1.0, 1)], 4.9473),
    (1e-5, [(2.0, 0.1, 100)], 2.3374),
    (1e-5, [(1.0, 0.3, 20)], 9.5172),
    (1e-5, [(4.0, 1.0, 1), (2.0, 1.0, 1), (3.0, 0.2, 60)], 3.3143),
    (1e-5, [(1.5, 1.0, 1), (1.2, 0.05, 300)], 5.134),
]


@pytest.mark.parametrize(("delta", "parts", "epsilon"), PLD)
def test_every_figure_of_the_card_bounds_a_second_accountants(
    delta: float, parts: list[tuple[float, float, int]], epsilon: float
) -> None:
    """Ours is not below it, and at most 0.03 above, the error of both grids."""
    found = epsilon_of([Mechanism("a", *part) for part in parts], delta)
    assert epsilon - 1e-4 <= found <= epsilon + 0.03


def test_a_weak_promise_is_called_one() -> None:
    assert weakness(10.0) == ""
    assert "e^12 = 1.6e+05 times" in weakness(12.0)


def test_gaussians_compose_as_they_should() -> None:
    """n Gaussians of sigma are one of sigma / sqrt(n), and 1 / sigma^2 adds up over different ones."""
    mixed = [Mechanism("a", 4.0), Mechanism("b", 6.0), Mechanism("c", 9.0, 1.0, 10)]
    exact = gaussian_epsilon((1 / 16 + 1 / 36 + 10 / 81) ** -0.5)
    assert exact <= epsilon_of(mixed, DELTA) <= exact + 0.03


def test_sampling_is_below_the_whole_and_below_renyi() -> None:
    from opacus.accountants import RDPAccountant

    other = RDPAccountant()
    other.history = [(2.0, 0.1, 100)]
    tight = epsilon_of([Mechanism("a", 2.0, 0.1, 100)], DELTA)
    assert tight < other.get_epsilon(DELTA)  # a second implementation, with a looser bound
    assert tight > 0.7 * other.get_epsilon(DELTA)
    assert tight < gaussian_epsilon(2.0 / 10)
    assert epsilon_of([Mechanism("a", 0.0)], DELTA) == np.inf


def test_the_noise_keeps_the_promise_and_no_more() -> None:
    found = noise_for(Privacy(4.0, DELTA), sample_rate=0.2, steps=50, needs_range=True)
    assert [m.name for m in found] == ["range", "statistics", "rhythm", "training"]
    assert 3.95 < epsilon_of(found, DELTA) <= 4.0
    less = [Mechanism(m.name, 0.99 * m.noise_multiplier, m.sample_rate, m.steps) for m in found]
    assert epsilon_of(less, DELTA) > 4.0
    only = noise_for(Privacy(4.0, DELTA), sample_rate=0.2, steps=0, needs_range=False, weeks=())
    assert [m.name for m in only] == ["statistics"]
    assert only[0].noise_multiplier < found[1].noise_multiplier
    assert {
        m.noise_multiplier for m in noise_for(Privacy(np.inf, DELTA), sample_rate=1, steps=1, needs_range=True)
    } == {0}


def test_an_attack_stays_below_the_promise_and_shows_a_wrong_sigma() -> None:
    """Is the canary in? The attacker sees the noisy sum of a step of the real sampler and the real noise.

    At every threshold TPR <= e^epsilon FPR + delta; half of the noise breaks that.
    """
    sigma, rate, times = 1.0, 0.3, 20_000
    secret = Secret(b"the attacked")
    sampled = np.array([0 in sample_cells(secret, step, 5, rate) for step in range(times)])
    noise = secret.normal("gradient", 0, times)
    epsilon = epsilon_of([Mechanism("a", sigma, rate)], DELTA)

    def worst(actual: float) -> float:
        inside, outside = np.sort(sampled + actual * noise), np.sort(actual * noise[::-1])
        at = np.linspace(0.0, 3.0, 31)
        tpr, fpr = (1 - np.searchsorted(a, at) / times for a in (inside, outside))
        slack = 4 * (np.sqrt(tpr / times) + np.exp(epsilon) * np.sqrt(fpr / times))
        return float((tpr - np.exp(epsilon) * fpr - DELTA - slack).max())

    assert worst(sigma) < 0
    assert worst(sigma / 2) > 0


def test_cells_enter_by_poisson_sampling() -> None:
    """Each with its own probability: counts are binomial, pairs independent, and no cell's turn depends on how many
    are listed after it."""
    secret = Secret(b"s")
    entered = np.zeros((4000, 6))
    for step in range(4000):
        entered[step, sample_cells(secret, step, 6, 0.3)] = 1
    assert np.abs(entered.mean(axis=0) - 0.3).max() < 5 * np.sqrt(0.21 / 4000)
    correlation = np.corrcoef(entered.T)
    assert np.abs(correlation - np.eye(6)).max() < 5 / np.sqrt(4000)
    longer = sample_cells(secret, 7, 60, 0.3)
    assert np.array_equal(longer[longer < 6], sample_cells(secret, 7, 6, 0.3))


def test_the_noise_is_normal_and_its_own_for_every_step_and_secret() -> None:
    a = Secret(b"a")
    draws = a.normal("gradient", 3, 20_000)
    assert kstest(draws, "norm").pvalue > 1e-3
    assert np.array_equal(draws, Secret(b"a").normal("gradient", 3, 20_000))
    for other in (
        a.normal("gradient", 4, 20_000),
        a.normal("range", 3, 20_000),
        Secret(b"b").normal("gradient", 3, 20_000),
    ):
        assert abs(np.corrcoef(draws, other)[0, 1]) < 0.04
    assert abs(np.corrcoef(draws[1:], draws[:-1])[0, 1]) < 0.04
    assert kstest(a.uniform("sample", 0, 20_000), "uniform").pvalue > 1e-3
    assert len(Secret.fresh().seed) == 32
    assert Secret.fresh().seed != Secret.fresh().seed


@pytest.mark.parametrize(
    ("privacy", "cells", "says"),
    [
        (Privacy(0.0, 1e-5), 1000, "--dp-epsilon 0: give a number above 0 and at most 50"),
        (Privacy(-1.0, 1e-5), 1000, "--dp-epsilon -1: give a number above 0 and at most 50"),
        (Privacy(float("nan"), 1e-5), 1000, "--dp-epsilon nan"),
        (Privacy(1.0, 1e-3), 1000, "--dp-delta 0.001: with 1000 cells .* below 1 / 1000 = 0.001"),
        (Privacy(1.0, 0.0), 1000, "--dp-delta 0: "),
        (Privacy(1.0, 1e-5), 49, "49 cells are too few for --dp-epsilon: give 50 or more"),
        (Privacy(1.0, 1e-5, clip=0.0), 1000, "--dp-clip 0: give a number above 0"),
        (Privacy(1.0, 1e-5, level_range=(5.0, 1.0)), 1000, "--dp-level-range 5 1"),
        (Privacy(1.0, 1e-5, level_range=(0.0, 1.0)), 1000, "--dp-level-range 0 1"),
    ],
)
def test_what_promises_nothing_is_refused(privacy: Privacy, cells: int, says: str) -> None:
    with pytest.raises(WrongUse, match=says) as told:
        check_privacy(privacy, cells)
    assert "\n" not in str(told.value)


def test_a_promise_that_is_one_is_taken() -> None:
    check_privacy(Privacy(1.0, 1e-5), 50)
