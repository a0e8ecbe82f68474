"""The usual week of a cell: its parts, its weights against closed forms, and the memory of levels."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from benchmark_scripts import script
from bundle_examples import source
from numpy.typing import NDArray

from gentraffic.modelling.features import Scaler, WeeklyProfile
from gentraffic.modelling.measured import Source
from gentraffic.modelling.weekly_profile import (
    CLIMATOLOGY,
    FEW_CELLS,
    MEMORIES,
    PARTS,
    fit_memory,
    fit_weekly_profile,
    level_now,
    nearest_days,
    other_cells,
    parts,
    profile_week,
)
from gentraffic.training.sampler_task import past_of

FLAT = np.ones((7, 24)).tolist()
ONE_DAY_EACH = np.ones(7, dtype=np.int64)


def made(days: NDArray[np.float64], network: str = "alpha", weekday: int = 0) -> Source:
    """A source of hourly days (cells, D, 24), each cell at a place of its own."""
    like = source(network)
    ratio = (days / days.mean(axis=(1, 2), keepdims=True)).astype(np.float32)
    n = np.arange(len(days))
    return replace(
        like,
        ratio=ratio,
        clean=ratio,
        level=np.ones(len(n)),
        rows=n,
        location=n,
        cell_id=n,
        weekday=weekday,
        per_hour=1,
    )


def noisy_weeks(cells: int, weeks: int, own: float, noise: float, seed: int) -> NDArray[np.float64]:
    """Days (cells, 7 weeks, 24): a daily curve of the cell's own, the same every day, plus noise of each hour."""
    rng = np.random.default_rng(seed)
    curve = 2 + own * rng.standard_normal((cells, 1, 24))
    return np.maximum(curve + noise * rng.standard_normal((cells, 7 * weeks, 24)), 0.0)


def test_the_parts_of_a_week_hour_by_hour() -> None:
    rng = np.random.default_rng(0)
    week, others = rng.random((2, 7, 24)), rng.random((7, 24))
    told = parts(week, others)
    assert told.shape == (2, 7, 24, len(PARTS))
    for c, d, h in [(0, 0, 0), (1, 6, 23), (0, 4, 12), (1, 5, 7)]:
        line = week[c].ravel()
        at = d * 24 + h
        kind = range(5) if d < 5 else range(5, 7)
        expected = [
            week[c, d, h],
            (line[at - 1] + line[(at + 1) % 168]) / 2,
            np.mean([week[c, k, h] for k in kind]),
            np.mean([week[c, k, h] for k in range(7)]),
            others[d, h],
        ]
        np.testing.assert_allclose(told[c, d, h], expected)


@pytest.mark.parametrize("k", [1, 6])
def test_with_the_weights_of_climatology_the_usual_week_is_the_week(k: int) -> None:
    week = np.random.default_rng(1).random((3, 7, 24 * k))
    week[0, :, 3 * k : 4 * k] = 0.0  # an hour without traffic stays so
    usual = WeeklyProfile({"": CLIMATOLOGY.tolist()}, {"": FLAT})
    np.testing.assert_allclose(profile_week(week, np.array([1, 2, 3, 4, 5, 9, 1]), usual, "anywhere"), week, rtol=1e-12)


def test_weights_move_from_one_week_to_weeks_without_end() -> None:
    rng = np.random.default_rng(2)
    week = rng.random((2, 7, 48)) + 0.5
    hours = week.reshape(2, 7, 24, 2).mean(axis=3)
    day = hours.mean(axis=1, keepdims=True)
    usual = WeeklyProfile({"": [[0, 0, 0, 1, 0], [1, 0, 0, 0, 0]]}, {"": FLAT})
    for n in (1, 2, 3, 1000):
        out = profile_week(week, np.full(7, n), usual, "")
        far = (n - 1) / (n + 1)
        np.testing.assert_allclose(out.reshape(2, 7, 24, 2).mean(axis=3), far * hours + (1 - far) * day, rtol=1e-9)
        np.testing.assert_allclose(out[..., ::2] / out[..., 1::2], week[..., ::2] / week[..., 1::2])  # within the hour
    absent = week.copy()
    absent[:, 6] = 0.0  # no Sunday: it is as the Saturday
    out = profile_week(absent, np.array([1, 1, 1, 1, 1, 1, 0]), usual, "")
    assert np.isfinite(out).all()
    filled = np.where(np.arange(7)[:, None] == 6, hours[:, 5:6], hours).mean(axis=1, keepdims=True)
    np.testing.assert_allclose(out.reshape(2, 7, 24, 2).mean(axis=3)[:, :1], filled, rtol=1e-9)


def test_fitted_weights_find_what_cells_share_over_days() -> None:
    """Same curve every day, noise in every hour: the best guess is the mean day, of a seventh of the noise."""
    usual = fit_weekly_profile([made(noisy_weeks(200, 2, 0.4, 0.4, seed=3))])
    past, later = np.split(noisy_weeks(400, 2, 0.4, 0.4, seed=4), 2, axis=1)
    mean = past.mean(axis=(1, 2), keepdims=True)
    guess = profile_week(past / mean, ONE_DAY_EACH, usual, "alpha") * mean
    error = np.mean((guess - later) ** 2)
    assert error == pytest.approx(0.16 * (1 + 1 / 7), rel=0.03)
    assert error < 0.6 * np.mean((past - later) ** 2)  # climatology: twice the noise
    assert usual.weights["alpha"][0][3] > 0.8


def test_weights_of_weeks_that_repeat_are_climatology() -> None:
    days = np.tile(np.random.default_rng(5).random((30, 7, 24)) + 0.2, (1, 3, 1))
    usual = fit_weekly_profile([made(days)])
    np.testing.assert_allclose(usual.weights["alpha"], CLIMATOLOGY, atol=0.02)


def test_few_cells_hold_to_climatology_by_their_number() -> None:
    """One network of C cells: twice a step of C / (C + FEW_CELLS) from climatology to least squares."""
    found = {}
    for cells in (5, 40, 5000):  # the same five cells over and over: the same least squares
        days = np.tile(noisy_weeks(5, 2, 0.4, 0.4, seed=6), (cells // 5, 1, 1))
        found[cells] = np.array(fit_weekly_profile([made(days)]).weights["alpha"][0])
    best = CLIMATOLOGY[0] + (found[5000] - CLIMATOLOGY[0])
    for cells in (5, 40):
        share = cells / (cells + FEW_CELLS)
        expected = 1 - (1 - share) ** 2
        moved = (found[cells] - CLIMATOLOGY[0])[[0, 3]] / (best - CLIMATOLOGY[0])[[0, 3]]
        np.testing.assert_allclose(moved, expected, atol=0.12)


def test_without_two_weeks_nothing_is_fitted() -> None:
    usual = fit_weekly_profile([made(noisy_weeks(20, 1, 0.4, 0.4, seed=7))])
    assert usual.weights == {"": CLIMATOLOGY.tolist(), "alpha": CLIMATOLOGY.tolist()}
    assert usual.memory == 0.0


def test_in_training_a_cell_does_not_look_at_itself() -> None:
    days = noisy_weeks(6, 3, 0.4, 0.4, seed=8)
    one = made(days)
    other = replace(one, ratio=one.ratio.copy())
    other.ratio[2] = other.ratio[2][::-1] * 3
    np.testing.assert_allclose(other_cells(one)[2], other_cells(other)[2])
    assert not np.allclose(other_cells(one)[3], other_cells(other)[3])
    assert other_cells(one.only(np.array([0]))).shape == (1, 7, 24)
    scaler = Scaler(mean=-0.2, spread=0.7, usual=fit_weekly_profile([one]))
    told = [past_of(d, 0, 7, 1, scaler, 1.0, None, ("alpha", other_cells(one)[0]))[0] for d in (one.ratio[0],) * 2]
    changed = one.ratio[0].copy()
    changed[7:14] = 9.0  # the window itself
    again, _ = past_of(changed, 0, 7, 1, scaler, 1.0, None, ("alpha", other_cells(one)[0]))
    np.testing.assert_array_equal(told[0], again)
    plain, _ = past_of(one.ratio[0], 0, 7, 1, replace(scaler, usual=None), 1.0, None)
    assert not np.allclose(told[0][0], plain[0], atol=0.05)


def test_the_days_told_are_the_nearest_of_each_weekday() -> None:
    assert nearest_days(14, 0, 1).tolist() == list(range(7, 14))
    assert nearest_days(21, 14, 1).tolist() == list(range(7, 14))
    assert nearest_days(21, 14, 2).tolist() == list(range(14))
    at = nearest_days(23, 8, 1)
    assert sorted(at % 7) == list(range(7))
    assert not set(at) & set(range(8, 15))


def test_the_level_now_is_that_of_the_last_days() -> None:
    week = np.random.default_rng(9).random((3, 7)) + 0.5
    np.testing.assert_allclose(level_now(week, 2, 4.0), 1.0)  # one week: levels and weekdays cannot be told apart
    np.testing.assert_allclose(level_now(np.tile(week, 4), 2, 4.0), 1.0)  # weeks that repeat
    falling = np.tile(np.ones(7), 3) * np.repeat([4.0, 2.0, 1.0], 7)
    np.testing.assert_allclose(level_now(falling[None], 0, 1e-3), [1.0 / falling.mean()])  # the last day alone
    assert level_now(falling[None], 0, 0.0) == 1.0
    expected = 1 + np.sum((falling / falling.mean() - 1) * 0.5 ** (np.arange(21)[::-1] / 4)) / np.sum(
        0.5 ** (np.arange(21) / 4)
    )
    np.testing.assert_allclose(level_now(falling[None], 0, 4.0), [expected])


def test_the_memory_is_short_where_levels_wander_and_long_where_they_do_not() -> None:
    rng = np.random.default_rng(10)
    steps = 0.15 * rng.standard_normal((60, 35))
    for log, short in ((np.cumsum(steps, axis=1), True), (2 * steps, False)):
        memory = fit_memory([made(np.exp(log)[..., None].repeat(24, axis=2))])
        assert memory in (MEMORIES[:2] if short else (0.0, MEMORIES[-1]))


def test_the_usual_week_is_kept_with_the_model(tmp_path: Path) -> None:
    import json

    from gentraffic.generators.base import ModelFolder, write_json
    from gentraffic.generators.folder import _scaler

    def read() -> Scaler:
        return _scaler(ModelFolder(tmp_path, {}, "", {"scaler.json": (tmp_path / "scaler.json").read_bytes()}))

    scaler = Scaler(mean=-0.2, spread=0.7, usual=fit_weekly_profile([made(noisy_weeks(8, 2, 0.4, 0.4, seed=11))]))
    write_json(tmp_path / "scaler.json", asdict(scaler))
    assert read() == scaler
    told = json.loads((tmp_path / "scaler.json").read_text())
    del told["usual"]  # a model from before
    write_json(tmp_path / "scaler.json", told)
    assert read() == replace(scaler, usual=None)


def test_on_a_later_week_it_beats_climatology(shared_data: Path) -> None:
    """Nanchang, cells of other locations: an eighth less error, two fifths less divergence."""
    from gentraffic.io.importers.uomo import read_uomo

    p2 = script("fidelity")
    traffic, places = read_uomo(shared_data / "traffic" / "uomo_nc.npz")
    for fold in (0, 1):
        train, later = p2.two_weeks(traffic, places, 2, fold)
        scores = [
            p2.score_later(p2.usual_row([train], later), later),
            p2.score_later(p2.later_week_rows(later)["climatology"], later),
        ]
        better, plain = ({key: np.mean(told[key]) for key in p2.POINT} for told in scores)
        assert better["mae_minmax"] < 0.95 * plain["mae_minmax"]
        assert better["rmse_minmax"] < 0.85 * plain["rmse_minmax"]  # its square
        assert better["jsd_softmax24"] < 0.7 * plain["jsd_softmax24"]
