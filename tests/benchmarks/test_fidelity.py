"""benchmarks/fidelity.py: rows are kept as they are done, folds are joined, and the tables say what METRICS says."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from benchmark_scripts import script

from gentraffic.evaluation import holdout as p1
from gentraffic.evaluation.intervals import bootstrap_interval
from gentraffic.generators.base import MODELS, read_folder
from gentraffic.generators.cards import card
from gentraffic.generators.weekly import place_embedding, time_embedding
from gentraffic.io.files import read_context
from gentraffic.modelling.features import read_places
from gentraffic.places.find import CONTEXTS
from gentraffic.training.fitting import Design


@pytest.fixture(scope="module")
def fidelity() -> ModuleType:
    return script("fidelity")


def later(fold: int) -> dict[str, Any]:
    told: dict[str, Any] = {
        key: [0.1 + fold, 0.3 + fold] for key in script("fidelity").POINT + script("fidelity").SPREAD
    }
    return {"uomo-nc": told | {"location": [1, 2], "members": 20}}


def test_rows_are_kept_and_folds_joined(fidelity: ModuleType, tmp_path: Path) -> None:
    rows = fidelity.Rows(tmp_path / "f.json")
    rows.add("p2", "vae|0|1", later(1), {"core_minutes": 2.0, "steps": 9, "weights": 7})
    rows.add("p2", "vae|0|0", later(0))
    again = fidelity.Rows(tmp_path / "f.json")
    assert again.done == rows.done
    joined = fidelity.merged(again.of("p2")["vae"])
    assert joined["uomo-nc"]["crps"] == [0.1, 0.3, 1.1, 1.3]
    line = fidelity.table_later({"vae": joined}).splitlines()[-1]
    mean = np.mean([0.1, 0.3, 1.1, 1.3])
    assert line == f"| vae | uomo-nc | 4 | 20 | {mean:.4f} | {mean**0.5:.4f} | {mean:.4f} | {mean:.4f} | {mean:.2f} |"
    assert "| p2|vae|0|1 | 2.0 | 9 | 7 |" in fidelity.budget(again)


def test_its_rows_are_evidence_for_a_model_card(fidelity: ModuleType, tmp_path: Path) -> None:
    rows = fidelity.Rows(tmp_path / "f.json")
    for fold in (0, 1):
        rows.add("p1", f"vae|0|{fold}", {"uomo-sd": {"crps": [float(fold)]}})
    assert p1.read_rows(tmp_path / "f.json") == {"vae": [{"uomo-sd": {"crps": [0.0]}}, {"uomo-sd": {"crps": [1.0]}}]}


def test_scores_go_onto_the_card_of_a_whole_model_and_change_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "stouter-fast"
    shutil.copytree(MODELS / "stouter-fast", folder)
    cell = {name: [0.02, 0.04] for name in p1.PER_CELL} | dict.fromkeys(p1.POOLED, 0.1) | {"location": [1, 2]}
    (tmp_path / "p1.json").write_text(json.dumps({"p1": {"stouter|0|0": {"uomo-sd": cell}}}))
    before = read_folder(folder)
    script("release").put_scores(folder, tmp_path / "p1.json", "Fitted in few steps.")
    after = read_folder(folder)  # whole: its hashes and its seal fit
    assert after.sha256 == before.sha256
    assert after.provenance["metrics"]["stouter"]["uomo-sd"]["crps"] == pytest.approx(0.03)
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert text == card("stouter-fast", json.loads((folder / "provenance.json").read_text(encoding="utf-8")))
    assert "| stouter | uomo-sd | 2 | 0.0300" in text
    assert "Fitted in few steps." in text


def test_a_level_model_is_put_into_a_model_whose_network_learned_the_same(tmp_path: Path) -> None:
    release = script("release")
    assert release.holds({"a": 1, "b": {"c": [2]}, "new": 0}, {"a": 1, "b": {"c": [2]}})
    assert not release.holds({"a": 1}, {"a": 1, "b": 2})
    assert release.holds({"a": [0.3 + 1e-16]}, {"a": [0.3]})  # of another processor
    assert not release.holds({"a": [0.3 + 1e-6]}, {"a": [0.3]})
    folder, trial = tmp_path / "stouter-fast", tmp_path / "trial"
    for path in (folder, trial):
        shutil.copytree(MODELS / "stouter-fast", path)
    before = read_folder(folder)
    level = json.loads(before.files["level.json"])
    level["levels"]["law"]["slope"] = 0.5
    data = [{**part, "sha256": "0" * 64} for part in before.provenance["data"]]
    fresh = {**before.files, "level.json": json.dumps(level).encode()}
    release.rewrite(trial, {**before.provenance, "data": data}, fresh)
    release.put_anew(folder, trial, ["level.json"])
    after = read_folder(folder)  # whole: its hashes and its seal fit
    assert json.loads(after.files["level.json"])["levels"]["law"]["slope"] == 0.5
    assert {name for name in after.files if after.files[name] != before.files[name]} == {"level.json"}
    assert after.provenance["data"] == data
    scaler = json.loads(before.files["scaler.json"]) | {"mean": 0.123}
    release.rewrite(trial, before.provenance, {**fresh, "scaler.json": json.dumps(scaler).encode()})
    with pytest.raises(SystemExit, match=r"scaler\.json would be another; fit it anew"):
        release.put_anew(folder, trial, ["level.json"])


def test_ablations_of_the_graphs_change_one_thing_and_give_it_back(fidelity: ModuleType) -> None:
    from gentraffic.modelling.levels import LevelModel
    from gentraffic.training import fitting

    places = [read_places(read_context(CONTEXTS / "monaco.nc"))]
    kept = fitting.fit_graphs
    made = {}
    for row in ("stouter", "stouter, no station embedding", "stouter, stations untrained", "stouter, hours by sines"):
        with fidelity.other_graphs(row):
            temporal, station = fitting.fit_graphs(places, LevelModel({}), Design(), steps=3)
            made[row] = (time_embedding(temporal).numpy(), place_embedding(station, places[0], None))
        assert fitting.fit_graphs is kept
    hours, cells = made["stouter"]
    assert not made["stouter, no station embedding"][1].any()
    assert np.array_equal(made["stouter, no station embedding"][0], hours)
    assert np.array_equal(made["stouter, stations untrained"][0], hours)
    assert not np.array_equal(made["stouter, stations untrained"][1], cells)
    assert np.array_equal(made["stouter, hours by sines"][1], cells)
    day = made["stouter, hours by sines"][0].reshape(7, 24, 32)
    assert np.abs(day[0, :, :16] - day[3, :, :16]).max() < 1e-4  # the day's harmonics repeat, the week's do not
    assert np.abs(day[0, :, 16:] - day[3, :, 16:]).max() > 0.5


def test_every_sampler_and_variant_is_one_that_can_be_fitted(fidelity: ModuleType) -> None:
    from gentraffic.training.fitting import build
    from samplers import SAMPLERS
    from samplers.layers import FUSIONS

    assert set(fidelity.SAMPLERS) == set(SAMPLERS)
    for part in (fidelity.SAMPLERS | fidelity.VARIANTS | fidelity.GRAPHS).values():
        assert build(Design(**part), 3, (1, 2)).cadences == (1, 2)
    assert {f"stouter, fusion {form}" for form in FUSIONS if form != "concat"} <= set(fidelity.VARIANTS)


def test_differences_are_paired_by_cell_over_the_folds_that_both_rows_have(fidelity: ModuleType) -> None:
    rng = np.random.default_rng(0)
    level = rng.gamma(1.0, 1.0, 400)  # cells differ far more than rows do
    location = np.repeat(np.arange(40), 10)
    gap = 0.02 + 0.005 * rng.standard_normal(40)[location]

    def row(values: Any, place: Any = location) -> dict[str, Any]:
        return {"city": {"crps": list(values), "location": list(place)}}

    done = {
        "stouter|0|0": row(level[:200], location[:200]),
        "stouter|0|1": row(level[200:], location[200:]),
        "worse|0|0": row((level + gap)[:200], location[:200]),
        "worse|0|1": row((level + gap)[200:], location[200:]),
        "half|0|1": row(level[200:] + 1.0, location[200:]),
        "elsewhere|1|0": row(level),
    }
    worse, half = fidelity.leads(done, ("crps",)).splitlines()[2:]
    low, high = bootstrap_interval(-gap, location)
    assert worse == f"| worse | city | 40 | {-gap.mean():+.4f} ({low:+.4f} to {high:+.4f}) |"
    assert -0.025 < low < high < -0.015  # unpaired, the interval would be a hundred times as wide
    assert half == "| half | city | 20 | -1.0000 (-1.0000 to -1.0000) |"
    one = {
        f"{name}|{seed}|0": row([1.0, 2.0 + x], [7, 7]) for name, x in (("stouter", 0), ("other", 1)) for seed in "01"
    }
    assert (
        fidelity.leads(one, ("crps",)).splitlines()[2]
        == "| other | city | 1: by its 2 cells | -0.5000 (-1.0000 to +0.0000) |"
    )
