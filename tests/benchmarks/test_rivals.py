"""Trained rivals: the windows that FoMo is scored on, scores that are the table's, and pages that say who is ahead."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmark_scripts import script
from fomo_examples import data, tiny_fomo, world

from gentraffic.evaluation import fomo_tasks as p3
from gentraffic.evaluation.intervals import make_resample
from gentraffic.evaluation.metrics.summary import js_divergence
from gentraffic.generators.fomo.folder import FoMoBundle

BINS = 100


@pytest.fixture(scope="module")
def part() -> p3.Held:
    train, held = p3.split(data(world("here"))[0], 2, 0, 0)
    return p3.held_out(train, held)


@pytest.fixture(scope="module")
def bundle() -> FoMoBundle:
    return tiny_fomo()


def last_value(case: Any) -> Any:
    seen = case.values[:, : case.observed]
    return script("rivals").forecast(case, np.repeat(seen[:, -1:], 64 - case.observed, axis=1))


@pytest.mark.parametrize(("task", "observed"), [("short", 48), ("long", 16)])
def test_windows_are_those_that_fomo_is_scored_on(part: p3.Held, task: str, observed: int) -> None:
    case = script("rivals").case_of(part, "here", task)
    real, cells = p3.real_of(part, observed)
    np.testing.assert_array_equal(case.values[~case.known].reshape(real.shape), real)
    np.testing.assert_array_equal(case.cell, cells)
    for values, hour, cell, window in zip(case.values, case.hour, case.cell, case.window, strict=True):
        block, start = part.blocks[window]
        assert cell in part.held.blocks[block]
        np.testing.assert_array_equal(values, part.held.values[cell, start : start + 64])
        np.testing.assert_array_equal(hour, part.held.hour[start : start + 64])


@pytest.mark.parametrize("task", ["short", "long"])
def test_a_rival_that_is_the_last_value_equals_the_naive_row(part: p3.Held, task: str) -> None:
    rivals = script("rivals")
    case = rivals.case_of(part, "here", task)
    mine, naive = (rivals.scored(case, m, part.held) for m in (last_value(case), rivals.naive(case)["last"]))
    assert mine == naive
    want = p3.scores(part, task, p3.window_rows(part, task, 0)["last"])
    assert sum(mine["abs"]) / sum(mine["n"]) == pytest.approx(np.mean(want["mae_p9999"]), abs=1e-6)
    assert sum(mine["square"]) / sum(mine["n"]) == pytest.approx(np.mean(want["mse"]), abs=1e-7)
    assert sum(mine["n"]) == case.values.size - case.known.sum()


def test_gaps_are_a_run_and_some_points_of_every_cell_and_what_fomo_is_told(part: p3.Held, bundle: FoMoBundle) -> None:
    rivals = script("rivals")
    case = rivals.case_of(part, "here", "gaps")
    longest = [max(map(len, "".join("01"[int(k)] for k in known).split("1"))) for known in case.known]
    assert min(longest) >= 16
    assert 0.65 < case.known.mean() < 0.70, "(64 - 16) x 0.9 of 64"
    drawn = rivals.fomo(bundle, case)
    hidden = np.where(case.known, case.values, 1e6)
    at = np.flatnonzero(case.cell == case.cell[0])
    unseen = part.held.values.copy()
    for i in at:  # what is not known can be anything
        _, start = case.part.blocks[case.window[i]]
        unseen[case.cell[i], start : start + 64] = hidden[i]
    other = replace(case, part=replace(case.part, held=replace(case.part.held, values=unseen)))
    np.testing.assert_array_equal(rivals.fomo(bundle, other), drawn)


def test_the_general_mask_is_the_forecast_of_the_table(part: p3.Held, bundle: FoMoBundle) -> None:
    case = script("rivals").case_of(part, "here", "short")
    whole = script("rivals").fomo(bundle, case)
    placed = script("rivals").placed
    pairs = [(part.train_source, part.train), (part.held_source, part.held)]
    train, held = (placed(region, source, bundle.levels, bundle.weeks) for source, region in pairs)
    want = p3.model_members(bundle, replace(part, train=train, held=held), "short", users=False, members=1)
    np.testing.assert_array_equal(whole[..., 48:], want)


def test_trees_learn_a_day_that_repeats(part: p3.Held) -> None:
    """Each cell its own day, the same on all days: what was 24 hours before is right, which neither mean week nor
    last value is."""
    rng = np.random.default_rng(0)

    def repeating(region: Any) -> Any:
        day = rng.gamma(4.0, 1.0, (len(region.values), 24))
        values = np.tile(day, (1, region.values.shape[1] // 24 + 1))[:, : region.values.shape[1]].astype(np.float32)
        return replace(region, values=values, level=values.mean(1).astype(np.float64))

    own = replace(part, train=repeating(part.train), held=repeating(part.held))
    rivals = script("rivals")
    case = rivals.case_of(own, "here", "short")
    found, told = rivals.lightgbm(case, 1.0, True)
    rows = {name: rivals.scored(case, m, own.held)["abs"] for name, m in rivals.naive(case).items()}
    error = sum(rivals.scored(case, found, own.held)["abs"])
    assert told["trees"] > 10
    assert error < 0.25 * min(sum(rows["climatology"]), sum(rows["last"]))


def test_ets_goes_on_with_a_season(part: p3.Held) -> None:
    pytest.importorskip("statsforecast")
    day = 5 + np.sin(2 * np.pi * np.arange(24) / 24)
    cells, steps = part.held.values.shape
    values = np.tile(day, (cells, steps // 24 + 1))[:, :steps].astype(np.float32)
    case = script("rivals").case_of(replace(part, held=replace(part.held, values=values)), "here", "short")
    case = replace(case, values=case.values[:2], known=case.known[:2])
    found, told = script("rivals").autoets(case, 1.0, True)
    assert told == {"season": 24, "failed": 0}
    np.testing.assert_allclose(found[0], case.values, atol=0.05)


def row(errors: list[float], hist_at: int = 0) -> dict[str, Any]:
    hist = np.zeros((len(errors), BINS), dtype=int)
    hist[:, hist_at] = 4
    real = np.zeros_like(hist)
    real[:, 0] = 4
    return {"location": list(range(len(errors))), "series": len(errors), "n": [4] * len(errors),
            "abs": [4 * e for e in errors], "square": [4 * e**2 for e in errors], "hist": hist.tolist(),
            "real": real.tolist(), "fit_cpu_s": 100.0, "steps": 7}  # fmt: skip


def test_the_page_shows_scores_paired_intervals_and_who_is_ahead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, better = [0.10, 0.20, 0.30], [0.09, 0.19, 0.29]
    done = {
        "settings": {"quick": True, "steps": 12},
        "short|uomo-sd|fomo|0": row(mine),
        "short|uomo-sd|fomo|1": row([0.4]),
        "short|uomo-sd|lightgbm|0": row(better, hist_at=50),  # of one fold only: compared on that
        "short|uomo-sd|last|0": row([0.5, 0.1, 0.9]),
        "short|uomo-sd|last|1": row([0.6]),
    }
    rivals = script("rivals")
    (tmp_path / "r.json").write_text(json.dumps(done))
    words = ["rivals.py", "-o", str(tmp_path / "r.json"), "--report", str(tmp_path / "r.md")]
    monkeypatch.setattr(sys, "argv", words)
    rivals.main()
    text = (tmp_path / "r.md").read_text()
    first = text.split("## Short")[0]
    assert "ahead of FoMo by the 95% interval: `mae_p9999`: lightgbm (uomo-sd); `rmse_p9999`: lightgbm (uomo" in first
    assert f"| fomo | {0.25:.4f} / {np.sqrt(0.075):.4f} / 0.0000 | 2 |" in text
    assert f"| lightgbm | 0.1900 / {np.sqrt(np.mean(np.square(better))):.4f} / 1.0000 | 1 |" in text
    assert "| lightgbm | +0.0100 (+0.0100 to +0.0100);" in text
    assert "fomo 100 core-seconds for all tasks and cities, 7 to 7 steps; lightgbm" in text
    assert "Quick" in text
    assert "folds of 5 that have run: short fomo 2, short lightgbm 1, short autoets 0," in text
    # the interval of the naive row by hand
    apart = np.array([*mine, 0.4]) - np.array([0.5, 0.1, 0.9, 0.6])
    times = make_resample(np.arange(4)).times
    low, high = np.quantile(times @ apart / 4, [0.025, 0.975])
    assert f"| last | {apart.mean():+.4f} ({low:+.4f} to {high:+.4f});" in text
    assert f"FoMo is ahead in `mae_p9999` in {int(high < 0)} of the 2 comparisons" in first


def test_a_row_is_pooled_over_folds_and_its_jsd_is_that_of_all_values() -> None:
    rivals = script("rivals")
    found = rivals.pooled({"0": row([0.1, 0.2]), "1": row([0.4], hist_at=3)}, ["0", "1"])
    real, drawn = np.eye(BINS)[0] * 12, np.eye(BINS)[0] * 8 + np.eye(BINS)[3] * 4
    scores = found.scores(np.ones((1, 3)))[:, 0]
    assert scores[0] == pytest.approx(0.7 / 3)
    assert scores[2] == pytest.approx(js_divergence(real, drawn))


def test_a_finished_cell_is_kept_and_another_run_is_refused(tmp_path: Path) -> None:
    rivals, told = script("rivals"), {"quick": True, "steps": 12}
    rows = rivals.Rows(tmp_path / "r.json", told)
    rows.put("short|uomo-nj|fomo|0", {"fit_cpu_s": 1.0})
    again = rivals.Rows(tmp_path / "r.json", told)
    assert again.missing("fomo", 0, ["short", "long"], ["uomo-nj"]) == [("long", "uomo-nj")]
    with pytest.raises(SystemExit, match="take another file"):
        rivals.Rows(tmp_path / "r.json", {"quick": False, "steps": 2000})
