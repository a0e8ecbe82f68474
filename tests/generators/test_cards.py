"""Cards say what their model saw, of every family, and nothing of data that others saw."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from bundle_examples import short_graphs
from fomo_examples import world

from gentraffic.cli.main import run
from gentraffic.generators.base import MODELS
from gentraffic.generators.cards import card, limits_of, measured, network_names, origin, units_sentence
from gentraffic.io.files import write_context, write_traffic
from gentraffic.reports.model_summary import summary_of

# Places, people and codes of the data that the bundled models were trained on.
OTHERS = re.compile(
    r"milan|nanjing|nanchang|shandong|beijing|china|chinese|shanghai|uomo|\b(?<!\.)(?:sd|nc|nj)\b|telecom italia"
    r"|tsinghua|stk-diff|dgrn",
    re.IGNORECASE,
)
HERE = {"place": "Atlantis", "title": "Traffic of Atlantis", "attribution": "Atlantis Mobile", "license": "CC0-1.0"}


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """t.nc and c.nc: 64 cells of a made-up place, 15 days, hourly, in MB; no word of any real network."""
    folder = tmp_path_factory.mktemp("toy")
    traffic, context = world("atlantis-4g", cells=64, days=15, users=False)
    traffic = traffic.assign_coords(location=("cell", np.arange(64, dtype=np.int32) // 4))
    traffic = traffic.assign_attrs(HERE | {"timezone": "Atlantic/Azores"})
    context = context.assign_attrs(
        HERE | {"timezone": "Atlantic/Azores", "title": "Points of interest", "Conventions": "CF-1.12"}
    )
    write_traffic(traffic, folder / "t.nc")
    write_context(context, folder / "c.nc")
    return folder


def fit(toy: Path, name: str, *words: str) -> Path:
    """The folder of a model of this name, fitted with these words."""
    if not (toy / name).is_dir():
        with short_graphs():
            assert run([*words, "-o", str(toy / name), "--quiet"]) == 0
    return toy / name


def data(toy: Path) -> list[str]:
    return ["--traffic", str(toy / "t.nc"), "--context", str(toy / "c.nc")]


FAMILIES: dict[str, Callable[[Path], Path]] = {
    "stouter": lambda toy: fit(toy, "stouter", "fit", "stouter", *data(toy), "--steps", "4", "--holdout", "0"),
    "scored": lambda toy: fit(toy, "scored", "fit", "stouter", *data(toy), "--steps", "4", "--holdout", "0.2"),
    "vae": lambda toy: fit(toy, "vae", "fit", "vae", *data(toy), "--steps", "4", "--holdout", "0"),
    "fomo": lambda toy: fit(
        toy, "fomo", "fit", "fomo", *data(toy), "--size", "0.3m", "--steps", "2", "--batch", "2", "--holdout", "0"
    ),
    "knn": lambda toy: fit(toy, "knn", "fit", "knn", *data(toy)),
    "private": lambda toy: fit(
        toy, "private", "fit", "stouter", *data(toy), "--dp-epsilon", "8", "--dp-delta", "1e-3", "--steps", "2",
        "--batch", "8",
    ),
    "student": lambda toy: fit(
        toy, "student", "distil", "--model", str(FAMILIES["stouter"](toy)), "--context", str(toy / "c.nc"),
        "--train-steps", "2", "--batch", "4",
    ),
    "forecaster": lambda toy: fit(
        toy, "forecaster", "forecast", "fit", "lstm", "--traffic", str(toy / "t.nc"), "--steps", "2", "--batch", "8"
    ),
}  # fmt: skip


SLOW = ("private", "vae", "scored")  # trained for this alone; vae has the card of the other rivals


@pytest.mark.parametrize("family", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in FAMILIES])
def test_a_card_says_what_its_model_saw_and_nothing_else(
    family: str, toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(toy)
    folder = FAMILIES[family](toy)
    text = (folder / "README.md").read_text(encoding="utf-8")
    known = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
    assert OTHERS.findall(text.replace(str(toy), "")) == []
    assert OTHERS.findall(" ".join(summary_of("m", known).trust)) == []
    for fact in ("Traffic of Atlantis", "| 64 | 15 |", "60 min", "2021-02-28", "Atlantic/Azores", "MB", "CC0-1.0",
                 "Atlantis Mobile"):  # fmt: skip
        assert fact in text, fact
    assert "Atlantis (64 cells, 15 days in steps of 60 min, Atlantic/Azores)" in " ".join(text.split())
    assert text == card(folder.name, known)  # from its provenance alone
    assert "None" not in text
    assert "\n\n\n\n" not in text
    for row in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):  # whole tables: as many cells in each line
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in row.splitlines()}) == 1, row


def test_facts_of_a_file_are_those_of_its_dataset(tmp_path: Path) -> None:
    traffic, _ = world("half", cells=9, days=3, minutes=30)
    traffic = traffic.assign_attrs(place="Half | <b>Town</b>", calendar="arbitrary week")
    for name in ("t.nc", "t.zarr", "t.csv"):
        write_traffic(traffic, tmp_path / name)
        found = origin(tmp_path / name)
        assert {key: found[key] for key in ("cells", "days", "minutes", "first", "units", "network")} == {
            "cells": 9, "days": 3.0, "minutes": 30.0, "first": "2021-03-01", "network": "half",
            "units": {"traffic": "MB", "users": "1"},
        }, name  # fmt: skip
    known: dict[str, Any] = {"data": [found], "sampler": "knn", "command": "none"}
    text = card("m", known)
    assert "Half \\| &lt;b>Town&lt;/b>" in text
    assert "calendar: arbitrary week" in text


def entry(network: str, minutes: float, units: str, **more: Any) -> dict[str, Any]:
    return {"title": f"Traffic {network}", "network": network, "cells": 4, "days": 7, "minutes": minutes,
            "units": {"traffic": units}, "license": "x", "attribution": "", **more}  # fmt: skip


def test_limits_follow_the_data() -> None:
    both = {"sampler": "fomo", "data": [entry("a", 60, "GB"), entry("b", 15, "unknown"), entry("c", 60, "GB")]}
    assert any("Steps of 15 min were learned from Traffic b alone" in line for line in limits_of(both))
    assert not any("Steps of 60" in line for line in limits_of(both))
    assert units_sentence(both).startswith("No units are stated for the traffic of Traffic b. ")
    one = {"sampler": "fomo", "data": [entry("a", 60, "GB")]}
    assert not any("alone" in line for line in limits_of(one))
    assert units_sentence(one).startswith("The traffic was measured in GB. ")
    own = {"design": {"own_level": True}}
    assert limits_of(own) != limits_of({})


def test_folders_from_before_there_were_facts_still_have_a_card() -> None:
    old = {
        "sampler": "fomo", "parameters": 1000, "command": "none",
        "data": [{"title": "Traffic of old", "license": "x", "attribution": "", "sha256": "0"},
                 {"title": "Points of interest, Old Town", "license": "x", "attribution": "", "sha256": "0"}],
    }  # fmt: skip
    assert [part["title"] for part in measured(old)] == ["Traffic of old"]
    assert "| Traffic of old | ? |" in card("old", old)
    assert "Traffic of old" in " ".join(limits_of(old))


@pytest.mark.parametrize("name", ["stouter-base", "stouter-fast", "fomo-base"])
def test_bundled_cards_are_rendered_from_their_provenance(name: str) -> None:
    if not (MODELS / name).is_dir():
        pytest.skip("no bundled model in this checkout")
    known = json.loads((MODELS / name / "provenance.json").read_text(encoding="utf-8"))
    assert (MODELS / name / "README.md").read_text(encoding="utf-8") == card(name, known)
    level = json.loads((MODELS / name / "level.json").read_text(encoding="utf-8"))
    assert set(network_names(known)) == set(level["order"])  # each network has a name for a reader
    assert not any(code in words for code, words in network_names(known).items())
    for part in measured(known):
        assert part["cells"] > 0
        assert part["timezone"]
        assert np.isfinite(part["days"])


def test_places_and_traffic_are_told_apart(tmp_path: Path) -> None:
    _, context = world("x", cells=4)
    write_context(context.assign_attrs(place="X"), tmp_path / "c.nc")
    found = origin(tmp_path / "c.nc")
    assert found["title"] == "Points of interest, X"
    assert found["cells"] == xr.open_dataset(tmp_path / "c.nc").sizes["cell"]
    assert measured({"data": [found]}) == []
