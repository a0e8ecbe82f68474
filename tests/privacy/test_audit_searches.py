"""The searches over parts and disguises: each against brute force or its own disguise, and the law of their limits."""

from __future__ import annotations

import numpy as np
import pytest

from gentraffic.privacy.audit import searches as s
from gentraffic.privacy.audit.disguises import KINDS, planted
from gentraffic.privacy.audit.population import records_of
from gentraffic.privacy.audit.power import measure_power
from gentraffic.privacy.audit.records import Material
from gentraffic.privacy.audit.run import conclude

LEVEL = 0.0025


def cells(n: int, seed: int, steps: int = 168) -> np.ndarray:
    """Daily rhythms of different height and phase, with noise that remembers, levels over three decades."""
    rng = np.random.default_rng(seed)
    hour = np.arange(steps)
    wave = rng.uniform(0.3, 0.9, (n, 1)) * np.cos(2 * np.pi * (hour - rng.normal(15, 2, (n, 1))) / 24)
    noise = rng.normal(0, 0.2, (n, steps)) + np.cumsum(rng.normal(0, 0.03, (n, steps)), axis=1)
    return np.asarray(np.exp(wave + noise) * rng.lognormal(0, 1.5, (n, 1)), dtype=np.float32)


TRAIN, HOLD, DRAWN = cells(160, 0), cells(40, 1), cells(80, 2)  # four training cells to one of the hold-out
SEARCHES = s.Searches(*(records_of(part, 1.0) for part in (TRAIN, HOLD, DRAWN)), 24)
INNOCENT = SEARCHES.likeness(records_of(DRAWN, 1.0))
TAILS = {name: s.tail_of(found) for name, found in INNOCENT.items()}


def least(values: np.ndarray) -> dict[str, np.ndarray]:
    """How many of as many unrelated records would come as near, in each search."""
    matches = SEARCHES.match(values, "train")
    return {name: TAILS[name].expected(s.stretched(match.likeness), len(DRAWN)) for name, match in matches.items()}


def test_nothing_is_named_where_nothing_was_copied() -> None:
    for name, found in INNOCENT.items():
        assert TAILS[name].expected(found.train, len(DRAWN)).min() > LEVEL, name


@pytest.mark.parametrize(
    ("kind", "by"),
    [
        ("exact", s.PLACE), ("rescaled", s.PLACE), ("shifted", s.SHIFT), ("two days", s.PARTS),
        ("days permuted", s.DAYS), ("warped", s.WARP), ("3-hour means", s.WARP), ("mean of two", s.MIXTURE),
        ("modulated", s.PLACE), ("power", s.PLACE), ("5% noise", s.PLACE),
    ],
)  # fmt: skip
def test_each_disguise_is_seen_through_by_the_search_for_it(kind: str, by: str) -> None:
    rng = np.random.default_rng(3)
    rows = rng.choice(len(TRAIN), 12, replace=False)
    copies = planted(TRAIN[rows], kind, rng, base=DRAWN[:12])
    assert (least(copies)[by] <= LEVEL).mean() >= 0.9
    if kind != "mean of two":
        np.testing.assert_array_equal(SEARCHES.match(copies, "train")[by].record, rows)


def test_a_generator_that_disguises_strangers_is_not_accused() -> None:
    """All records are changed series of cells that nobody trained on: smoother, noisier, mixed, but no copies."""
    rng = np.random.default_rng(4)
    accused = []
    for kind in KINDS:
        drawn = records_of(planted(cells(60, 9), kind, rng, base=DRAWN[:60]), 1.0)
        searches = s.Searches(SEARCHES.sides["train"], SEARCHES.sides["holdout"], drawn, 24)
        found = searches.likeness(drawn)
        if min(s.tail_of(part).expected(part.train, 60).min() for part in found.values()) <= LEVEL:
            accused.append(kind)
    assert len(accused) <= 1, accused


def test_likeness_in_place_of_days_and_of_mixtures_is_that_of_brute_force() -> None:
    rng = np.random.default_rng(5)
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in rng.normal(size=(2, 7, 12)))
    a32, b32 = a.astype(np.float32), b.astype(np.float32)
    np.testing.assert_allclose(s.match_in_place(a32, b32).likeness, np.maximum((a @ b.T).max(1), 0), atol=1e-5)
    best = []
    for row in a:
        tried = [max(row @ x, 0.0) ** 2 for x in b]
        for i in range(7):
            for j in range(i):
                pair = np.stack([b[i], b[j]], axis=1)
                weights, *_ = np.linalg.lstsq(pair, row, rcond=None)
                if (weights > 0).all() and row @ b[i] > 0 and row @ b[j] > 0:
                    tried.append(1 - ((row - pair @ weights) ** 2).sum())
        best.append(max(tried))
    np.testing.assert_allclose(s.match_mixture(a32, b32).likeness, best, atol=1e-5)
    days = rng.normal(size=(3, 4, 12))
    windows = rng.normal(size=(5, 9, 12))
    days, windows = (x / np.linalg.norm(x, axis=2, keepdims=True) for x in (days, windows))
    two, every = s.match_days(days.astype(np.float32), windows.astype(np.float32))
    y = -np.log(1 - np.einsum("rdt,cot->rdco", days, windows).max(axis=3))  # (records, days, cells)
    np.testing.assert_allclose(s.stretched(every.likeness), y.mean(axis=1).max(axis=1), rtol=1e-3)
    np.testing.assert_allclose(
        s.stretched(two.likeness), np.sort(y, axis=1)[:, -2:].mean(axis=1).max(axis=1), rtol=1e-3
    )


def test_the_limit_is_reached_as_seldom_as_it_says() -> None:
    """Exponential tails: 80 records against 200 unrelated ones, how often is 0.05 or less of the largest expected?"""
    rng = np.random.default_rng(6)
    rare = []
    for _ in range(1500):
        usual, drawn = rng.exponential(0.3, 200), rng.exponential(0.3, 80)
        tail = s._tail(usual, 0.08)
        rare.append(tail.expected(drawn, 80).min())
        assert tail.expected(np.array([tail.reached_by(0.05, 80) + 1e-9]), 80)[0] <= 0.0501
    assert (np.array(rare) <= 0.05).mean() <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 1500)
    assert (np.array(rare) <= 0.5).mean() > 0.1  # and it is not never


def test_a_generator_of_typical_records_is_asked_for_more() -> None:
    """Records nearer to all real ones, those of the hold-out as well, are no copies."""
    rng = np.random.default_rng(7)
    usual = rng.exponential(0.3, 200)
    drawn = s.Likeness(
        s.PLACE, s.Match(-np.expm1(-(rng.exponential(0.3, 100) + 2.5)), *np.zeros((2, 100), dtype=np.intp)),
        s.Match(-np.expm1(-(rng.exponential(0.3, 100) + 2.5)), *np.zeros((2, 100), dtype=np.intp)),
        usual, rng.exponential(0.3, 200),
    )  # fmt: skip
    assert s.tail_of(drawn).expected(drawn.train, 100).min() > 0.01
    naive = s._tail(usual, 0.08)
    assert naive.expected(drawn.train, 100).min() < 0.01  # without the hold-out it would be accused


def test_windows_that_tell_nothing_match_nothing() -> None:
    flat = np.full((3, 168), 2.0, dtype=np.float32)
    flat[1, 5::24] = 9.0  # one hour a day
    found = SEARCHES.windows.days(flat)
    assert (found == 0).all()


@pytest.mark.parametrize("ratio", [1, 9, *(pytest.param(ratio, marks=pytest.mark.slow) for ratio in (2, 4))])
def test_one_exact_copy_is_found_at_every_ratio_and_its_absence_is_not_accused(ratio: int) -> None:
    real = cells(200, 20 + ratio)
    aside = round(200 / (ratio + 1))
    train, holdout = real[aside:], real[:aside]
    alarms = 0
    for seed in range(5):
        drawn = cells(60, 100 * ratio + seed)
        copied = drawn.copy()
        copied[7] = train[11]
        for series in (drawn, copied):
            parts = [records_of(part, 1.0) for part in (train, holdout, series)]
            found = conclude(Material(*parts, "traffic", "1", 3600, 1.0, {}, ()), (), {}, seed, plants=0)
            if series is copied:
                assert found.leak
                assert [(c.row, c.train_row, c.kind) for c in found.search.copies[:1]] == [(7, 11, "exact")]
            else:
                alarms += found.leak
    assert alarms <= 1


def test_power_says_what_would_be_found() -> None:
    power = measure_power(SEARCHES, records_of(DRAWN, 1.0), LEVEL, 6, np.random.default_rng(8), halvings=2)
    assert power.share("exact") == power.share("two days") == power.quarter == 1.0
    blind = measure_power(SEARCHES, records_of(DRAWN, 1.0), 0.0, 6, np.random.default_rng(8), halvings=0)
    assert blind.share("5% noise") == blind.quarter == 0.0  # at a level that nothing reaches
    assert blind.share("exact") == 1.0  # what equals a record, where no real ones are equal, is named at any level
    assert "would miss most with 5% noise, 10% noise, two days" in blind.blindness
    assert power.blindness == ""
    assert blind.alarm_short == "not tried"
    assert power.alarms == 0
    assert "finds a single copy in these shares of 6 tries: exact 100%" in power.sentence
    told = power.to_json()
    assert set(told["share_found"]) == set(KINDS)
    assert told["holdout_records"] == 40


def test_power_among_twins_is_what_the_verdict_names() -> None:
    """Cells of a real network that are interpolated from one another are nearly equal: noise hides among them."""
    rng = np.random.default_rng(4)
    twins = HOLD.copy()
    twins[:20] = TRAIN[:20] * rng.lognormal(0, 0.005, (20, 168))
    drawn = DRAWN.copy()
    drawn[7] = TRAIN[50]
    for row, exact, told in ((TRAIN[50], 1.0, "is a copy"), (DRAWN[7], 1.0, "would miss most with 5% noise")):
        drawn[7] = row
        files = [records_of(part, 1.0) for part in (TRAIN, twins, drawn)]
        found = conclude(Material(*files, "traffic", "1", 3600, 1.0, {}, ()), (), {}, plants=6)
        assert found.power is not None
        assert found.power.share("exact") == exact
        assert told in found.verdict
        assert any("nearly equal to another real one" in note for note in found.notes)
    equal = HOLD.copy()
    equal[:20] = TRAIN[:20]
    power = measure_power(
        s.Searches(*(records_of(part, 1.0) for part in (TRAIN, equal, DRAWN)), 24), records_of(DRAWN, 1.0), LEVEL, 6,
        np.random.default_rng(8), halvings=0,
    )  # fmt: skip
    assert power.share("exact") == 0.0
    assert power.blindness.startswith("This audit is blind on these files")
