"""Every script of benchmarks/ still fits the package: it imports, says its options, and runs where that is cheap."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from benchmark_scripts import FOLDER, script
from bundle_examples import context

from gentraffic.modelling.features import read_places
from gentraffic.modelling.levels import LevelModel

NAMES = sorted(path.stem for path in FOLDER.glob("*.py"))


@pytest.mark.parametrize("name", NAMES)
def test_a_benchmark_imports_and_says_its_options(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = script(name)
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "--help"])
    with pytest.raises(SystemExit) as stop:
        module.main()
    assert stop.value.code in (0, None)
    assert "usage:" in capsys.readouterr().out


def test_levels_where_nobody_measured_are_scored_with_and_without_a_map(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = script("unmeasured")
    places = read_places(context(16))
    real, weeks = places.counts.sum(1) + 1.0, SimpleNamespace(shared={"alpha": 0.8})
    monkeypatch.setattr(module, "load_bundle", lambda name: SimpleNamespace(levels=LevelModel({}), weeks=weeks))
    rows = list(range(16))
    monkeypatch.setattr(module, "networks", lambda data: [("here", "alpha", places, rows, real, rows)])
    monkeypatch.setattr(sys, "argv", ["unmeasured.py", "--data", "."])
    module.main()
    *_, line = capsys.readouterr().out.splitlines()
    name, cells, _, inside, _, rank, _ = line.strip("| ").split(" | ")
    assert (name, cells) == ("here", "16")
    assert 0 <= float(inside) <= 1
    assert float(rank) > 0.7, "levels that are the sum of the counts, drawn from the counts"


def test_gaps_are_a_fifth_and_the_mean_hour_knows_nothing_of_them() -> None:
    module = script("gaps")
    gaps = module.gaps_of(25, 504, 24)
    assert 0.2 <= gaps.mean() < 0.2 + 24 / gaps.size
    runs = np.flatnonzero(np.diff(np.pad(gaps, ((0, 0), (1, 1))).astype(int), axis=1))
    assert len(runs) % 2 == 0
    kind = np.arange(504) % 24
    values = np.where(gaps, np.nan, 3.0 + kind[None])
    np.testing.assert_allclose(module.mean_hour(values, kind)[gaps], np.broadcast_to(3.0 + kind, gaps.shape)[gaps])
    drawn = np.array([[1.0, 2.0], [3.0, 2.0]])
    said = module.row("x", 6, np.array([1.0, 3.0]), drawn)
    assert said == "| 6 h | x | 0.2500 | 0.5000 | 0.50 |"
