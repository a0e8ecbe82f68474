"""Every script of benchmarks/ still fits the package: it imports, says its options, and runs where that is cheap."""

from __future__ import annotations

import sys
from types import SimpleNamespace

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
    real = places.counts.sum(1) + 1.0
    monkeypatch.setattr(module, "load_bundle", lambda name: SimpleNamespace(levels=LevelModel({})))
    monkeypatch.setattr(module, "networks", lambda data: [("here", places, list(range(16)), real, list(range(16)))])
    monkeypatch.setattr(sys, "argv", ["unmeasured.py", "--data", "."])
    module.main()
    *_, line = capsys.readouterr().out.splitlines()
    name, cells, _, inside, _, rank, _ = line.strip("| ").split(" | ")
    assert (name, cells) == ("here", "16")
    assert 0 <= float(inside) <= 1
    assert float(rank) > 0.7, "levels that are the sum of the counts, drawn from the counts"
