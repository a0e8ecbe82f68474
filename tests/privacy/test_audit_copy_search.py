"""The search for copies against brute force, its p-value against the law it claims, and what it can and cannot see."""

import numpy as np
import pytest

from gentraffic.privacy.audit import copy_search as c
from gentraffic.privacy.audit.records import FLOOR, Records, common_log


def records(values: np.ndarray) -> Records:
    n = len(values)
    zero = np.zeros(n, dtype=np.intp)
    values = values.astype(np.float32)
    return Records(values, common_log(values, 1.0), np.arange(n), np.arange(n).astype(str), zero, zero)


def cells(n: int, seed: int, steps: int = 168) -> np.ndarray:
    """Daily rhythms of different height and phase, with noise that remembers, levels over three decades."""
    rng = np.random.default_rng(seed)
    hour = np.arange(steps)
    wave = rng.uniform(0.3, 0.9, (n, 1)) * np.cos(2 * np.pi * (hour - rng.normal(15, 2, (n, 1))) / 24)
    noise = rng.normal(0, 0.2, (n, steps)) + np.cumsum(rng.normal(0, 0.03, (n, steps)), axis=1)
    return np.exp(wave + noise) * rng.lognormal(0, 1.5, (n, 1))


TRAIN, HOLD, DRAWN = (cells(120, seed) for seed in range(3))


def match(drawn: np.ndarray, real: np.ndarray) -> c.Match:
    spread = c.usual_spread(records(TRAIN), records(HOLD))
    return c.best_match(c.spectra(records(drawn), spread), c.spectra(records(real), spread), drawn.shape[1])


def search(drawn: np.ndarray, level: float = 0.005) -> c.Search:
    a, b = records(TRAIN), records(HOLD)
    return c.search(a, b, records(drawn), match(drawn, TRAIN), match(drawn, HOLD), level)


def test_the_best_match_is_that_of_a_search_over_all_shifts() -> None:
    spread = c.usual_spread(records(TRAIN), records(HOLD))

    def whiten(values: np.ndarray) -> np.ndarray:
        logs = np.log(values / values.mean(1, keepdims=True) + FLOOR)
        whole = np.fft.fft(logs - logs.mean(1, keepdims=True), axis=1)
        both_sides = np.concatenate([spread, spread[1:-1][::-1]])
        series = np.fft.ifft(whole / both_sides, axis=1).real
        return np.asarray(series / np.linalg.norm(series, axis=1, keepdims=True))

    a, b = whiten(DRAWN[:6].astype(np.float32)), whiten(TRAIN.astype(np.float32))
    every = np.stack([a @ np.roll(b, lag, axis=1).T for lag in range(168)], axis=2)  # (6, 120, 168)
    found = match(DRAWN[:6], TRAIN)
    np.testing.assert_allclose(found.likeness, every.max(axis=(1, 2)), atol=1e-6)
    np.testing.assert_array_equal(found.record * 168 + found.shift, every.reshape(6, -1).argmax(axis=1))


@pytest.mark.parametrize("steps", [48, 97, 168])
def test_a_copy_is_one_whatever_its_factor_and_shift(steps: int) -> None:
    real = cells(30, 5, steps)
    spread = c.usual_spread(records(real))
    for by, factor in ((0, 1.0), (5, 1.0), (24, 0.3), (steps - 1, 40.0)):
        moved = np.roll(real[7], by) * factor
        found = c.best_match(c.spectra(records(moved[None]), spread), c.spectra(records(real), spread), steps)
        assert found.likeness[0] == pytest.approx(1.0, abs=1e-9)
        assert (found.record[0], found.shift[0]) == (7, by)


def test_copies_are_named_with_their_shift_factor_and_kind() -> None:
    drawn = DRAWN.copy()
    noise = np.random.default_rng(9).lognormal(0, 0.03, 168)
    drawn[0], drawn[1], drawn[2] = TRAIN[3], np.roll(TRAIN[4], -6) * 2.5, np.roll(TRAIN[5], 24) * noise
    found = search(drawn)
    assert found.p < 1e-6
    got = {x.row: (x.train_row, x.shift, x.kind) for x in found.copies}
    assert got == {0: (3, 0, "exact"), 1: (4, -6, "exact, shifted, rescaled"), 2: (5, 24, "near, shifted")}
    assert {x.row: x.factor for x in found.copies}[1] == pytest.approx(2.5, rel=1e-5)


def test_nothing_is_found_where_nothing_was_copied() -> None:
    found = search(DRAWN)
    assert found.copies == ()
    assert found.p > 0.01
    flat = np.full((5, 168), 3.0)
    assert match(flat, TRAIN).likeness.tolist() == [0.0] * 5


def test_the_p_value_is_that_of_exponential_tails() -> None:
    """Against simulation: how often is the sum beyond the k-th of N as large as the one found, k, N and n as given."""
    rng = np.random.default_rng(0)
    unlike = 1 - np.exp(-rng.exponential(0.3, (1500, 300)))  # -log(1 - likeness) is exponential throughout
    p = np.array([c.tail_test(row[:100], row[100:]) for row in unlike])
    for level in (0.01, 0.05, 0.2):
        assert (p <= level).mean() == pytest.approx(level, abs=3.5 * np.sqrt(level / 1500))
    more = np.array([c.tail_test(row[:200], row[200:], 1.0) for row in unlike[:300]])
    assert (more <= 0.05).mean() < 0.12
    # twice as many training cells: each likeness is the larger of two, and the ratio makes up for it
    twice = 1 - np.exp(-np.maximum(rng.exponential(0.3, (800, 100)), rng.exponential(0.3, (800, 100))))
    p = np.array([c.tail_test(a, b[100:], 2.0) for a, b in zip(twice, unlike, strict=False)])
    assert (p <= 0.05).mean() < 0.08
    assert np.mean([c.tail_test(a, b[100:]) <= 0.05 for a, b in zip(twice, unlike, strict=False)]) > 0.15


def test_one_exact_copy_is_enough_and_alike_neighbours_are_not() -> None:
    drawn = DRAWN.copy()
    drawn[0] = TRAIN[0] * 3
    assert search(drawn).p < 1e-4
    unlike = 1 - np.exp(-np.random.default_rng(1).exponential(0.3, 400))
    natural = np.concatenate([unlike[:200], [0.97, 0.98]])  # pairs that stand side by side, on either side
    assert c.tail_test(natural, np.concatenate([unlike[200:], [0.96, 0.98, 0.97]])) > 0.01
    assert c.tail_test(unlike[:3], unlike[3:5]) == 1.0 or c.tail_test(unlike[:3], unlike[3:5]) > 0.001
