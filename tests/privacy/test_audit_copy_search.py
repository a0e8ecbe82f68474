"""The search for copies against brute force, its p-value against the law it claims, and what it can and cannot see."""

import numpy as np
import pytest

from gentraffic.privacy.audit import copy_search as c
from gentraffic.privacy.audit import statistics
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
    rng = np.random.default_rng(0)
    return c.search(a, b, records(drawn), match(drawn, TRAIN), match(drawn, HOLD), level, rng)


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
    found = search(drawn, 1.0)
    got = {x.row: (x.train_row, x.shift, x.kind) for x in found.copies}
    assert got == {0: (3, 0, "exact"), 1: (4, -6, "exact, shifted, rescaled"), 2: (5, 24, "near, shifted")}
    assert {x.row: x.factor for x in found.copies}[1] == pytest.approx(2.5, rel=1e-5)


def test_nothing_is_found_where_nothing_was_copied() -> None:
    found = search(DRAWN)
    assert found.copies == ()
    assert found.p > 0.01
    flat = np.full((5, 168), 3.0)
    assert match(flat, TRAIN).likeness.tolist() == [0.0] * 5


def excess_p(likeness: np.ndarray, record: np.ndarray, train: int, holdout: int, seed: int = 0) -> float:
    """p of records whose most alike real record is `record` (training first) with `likeness`; the other side: 0.1."""
    mine = record < train
    sides = [
        c.Match(np.where(near, likeness, 0.1), np.where(near, record - first, 0), np.zeros_like(record))
        for near, first in ((mine, 0), (~mine, train))
    ]
    real = (records(np.ones((n, 2))) for n in (train, holdout))
    return c.excess_test(*real, *sides, np.random.default_rng(seed))


@pytest.mark.parametrize("ratio", [1, 9])
def test_chance_alone_is_accused_as_often_as_the_level_says(ratio: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the records are all alike, and so most of them near to one or two real cells of the hundred."""
    monkeypatch.setattr(statistics, "SHUFFLES", 199)
    rng = np.random.default_rng(ratio)
    train = 100 * ratio // (ratio + 1)
    for popular in (np.full(100, 0.01), 0.5 ** np.arange(1, 101)):
        p = []
        for seed in range(200):
            record = rng.permutation(100)[rng.choice(100, 60, p=popular / popular.sum())]
            likeness = -np.expm1(-rng.exponential(0.3, 60) - (record == np.bincount(record).argmax()))
            p.append(excess_p(likeness, record, train, 100 - train, seed))
        for level in (0.01, 0.05, 0.2):
            assert np.mean(np.array(p) <= level) <= level + 3 * np.sqrt(level / 200)


def test_the_p_value_is_that_of_a_count() -> None:
    """j cells stand out, all on the training side: by chance C(train, j) / C(all, j)."""
    likeness = np.concatenate([np.full(6, 0.9), np.full(40, 0.2)])
    record = np.concatenate([np.arange(6), 20 + np.arange(40)])
    chance = np.prod((32 - np.arange(6)) / (72 - np.arange(6)))
    assert excess_p(likeness, record, 32, 40) == pytest.approx(chance, abs=4 * np.sqrt(chance / 1999))
    assert excess_p(np.full(46, 0.5), record, 32, 40) == 1.0  # nothing stands out
    assert excess_p(likeness, np.concatenate([np.full(6, 3), record[6:]]), 32, 40) > 0.3  # one cell, six times


def test_many_blurred_copies_are_found_at_once() -> None:
    drawn = DRAWN.copy()
    drawn[:40] = TRAIN[:40] * np.random.default_rng(3).lognormal(0, 0.3, (40, 168))
    assert search(drawn).p <= 0.002


def test_a_copy_is_named_and_alike_neighbours_are_not() -> None:
    unlike = 1 - np.exp(-np.random.default_rng(1).exponential(0.3, 400))
    natural = np.concatenate([unlike[:200], [0.96, 0.98, 0.97]])  # pairs that stand side by side, on either side
    assert c.named_above(natural, 200) >= 0.98
    assert c.named_above(unlike[:200], 200) < 0.99
    assert c.named_above(unlike[:200], 200, 9.0) > c.named_above(unlike[:200], 200)
