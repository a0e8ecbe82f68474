"""The papers' tables: figures as printed, rows that are not run twice, and pages that say what they are of."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from benchmark_scripts import script

from gentraffic.evaluation import library_generators
from gentraffic.evaluation.metrics.summary import jsd_softmax24, mae_minmax, rmse_minmax


def test_published_figures_hold_what_the_papers_say_of_them() -> None:
    """Sentences of the papers about their tables, which a figure copied wrongly would break."""
    found = script("paper").PUBLISHED
    tables = found["stouter"]["table 2-3"]
    for region, rows in tables.items():
        assert {len(by) for by in rows.values()} == {7}, "seven services"
        for service in rows["stouter"]:  # "our model consistently achieves the best performance" in MAE and RMSE
            best = [min(rows[r][service][i] for r in rows if r != "stouter") for i in range(2)]
            assert rows["stouter"][service][0] <= best[0], (region, service)
            assert rows["stouter"][service][1] <= best[1], (region, service)
    behind = {
        (region, service)
        for region, rows in tables.items()
        for service in rows["stouter"]
        if rows["stouter"][service][2] > min(rows[r][service][2] for r in rows if r != "stouter")
    }  # "suboptimal results on the JSD metric for the Received-SMS datasets from both regions and SMS from Trentino"
    assert behind == {("milan", "sms_in"), ("trentino", "sms_in"), ("trentino", "sms")}
    gain = {
        (region, i): np.mean(
            [1 - rows["stouter"]["internet"][i] / rows[r]["internet"][i] for r in rows if r != "stouter"]
        )
        for region, rows in tables.items()
        for i in range(3)
    }
    assert 0.15 < min(gain.values()) < max(gain.values()) < 0.85
    stn = found["slstm-stn"]
    assert 1 - stn["table 3"]["stn-slstm"][0] / stn["table 3"]["stn"][0] == pytest.approx(0.23, abs=0.02)  # "23%"
    assert {len(steps) for steps in stn["table 4"].values()} == {6}
    for steps in stn["table 4"].values():
        mae = [step[0] for step in steps]
        assert mae == sorted(mae), "errors grow with the steps ahead"


def test_a_finished_row_is_not_run_again_and_another_run_is_refused(tmp_path: Path) -> None:
    module, made = script("paper"), []
    told = {"paper": "stouter", "quick": True}

    def make() -> dict[str, list[float]]:
        made.append(1)
        return {"one": [0.1]}

    for _ in range(2):
        rows = module.Rows(tmp_path / "x.json", told)
        assert rows.run("stouter|table-3|internet|vae|0", make) == {"one": [0.1]}
    assert made == [1]
    with pytest.raises(SystemExit, match="take another file"):
        module.Rows(tmp_path / "x.json", {"paper": "stouter", "quick": False})


def test_figures_of_forecasts_are_what_their_names_say() -> None:
    """A 3 x 3 grid of whole sines: correlations, autocorrelations and deviations known beforehand."""
    module = script("paper")
    step = np.arange(400)
    waves = np.stack([np.sin(2 * np.pi * step / 40 + phase) for phase in (0, 0, 0, 0, 0, np.pi, 0, 0, 0)])
    values = np.array([1, 2, 3, 4, 5, 6, 7, 8, 9])[:, None] * (10 + waves)
    network = SimpleNamespace(values=values[..., None], frame=np.arange(9).reshape(3, 3))
    part = SimpleNamespace(network=network, first=400)
    real = values[:, :80].T
    away = np.zeros_like(real)
    away[:, 8] = np.tile([-9.0, 9.0], 40)  # the worst cell, whose mean is 90
    found = module.figures_of(part, real, real - away)
    assert found["2"] == [pytest.approx((7 - 1) / 8)]  # one of the eight around the centre is its mirror image
    want = [(1 - lag / 400) * np.cos(2 * np.pi * lag / 40) for lag in module.LAGS]
    np.testing.assert_allclose(found["3"], want, atol=0.03)  # the sum over whole periods, less its first `lag` terms
    assert found["4"] == [pytest.approx(1 - 81 / 40.5), 1.0, 1.0]
    assert found["6"][2:] == [-9.0, 9.0]
    assert found["8"][:2] == [9.0, 90.0]
    assert found["9"] == [0.0, pytest.approx(18 / 90)]
    assert set(found) == set(module.FIGURES)


def test_a_study_asks_a_size_once_and_shows_the_best_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("optuna")
    module, fits = script("paper"), []

    def fit(name: str, train: Any, validation: Any, plan: Any, design: dict[str, int]) -> Any:
        fits.append(design)
        return SimpleNamespace(metadata={"validation": [(50, 1.0), (100, 1 / design["hidden"])], "parameters": 7})

    monkeypatch.setattr("gentraffic.io.importers.public_sets.read_milan_5x5", lambda path: None)
    monkeypatch.setattr("gentraffic.forecasting.data.networks_of", lambda ds: [None])
    monkeypatch.setattr("gentraffic.forecasting.data.split", lambda network: (None, None, None))
    monkeypatch.setattr("gentraffic.forecasting.fit.fit_forecaster", fit)
    told = {"paper": "slstm-stn", "quick": False, "study": 9, "epochs": 1}
    for _ in range(2):  # the second time goes on where the first has ended: nothing is left
        module.run_study(module.Rows(tmp_path / "x.json", told), tmp_path, 9, 1)
    assert len(fits) == len({tuple(sizes.values()) for sizes in fits}) <= 9
    lines = [line for line in module.stn_tables(json.loads((tmp_path / "x.json").read_text())) if "0.0" in line]
    assert lines[0].startswith(f"| {max(sizes['hidden'] for sizes in fits)}, ")


def test_scores_are_those_of_the_first_member_and_of_the_mean() -> None:
    rng = np.random.default_rng(0)
    real, members = rng.gamma(2, 1, (3, 168)), rng.gamma(2, 1, (4, 3, 168))
    found = script("paper").scores(real, members, np.array([4, 4, 7]))
    for key, drawn in (("one", members[0]), ("mean", members.mean(0))):
        want = (mae_minmax(real, drawn), rmse_minmax(real, drawn), jsd_softmax24(real, drawn) * 1e4)
        np.testing.assert_allclose(found[key], want, atol=1e-4)
    assert np.mean(found["mae"]) == pytest.approx(found["one"][0], abs=1e-4)
    assert found["location"] == [4, 4, 7]
    assert script("paper").scores(real, 3 * real[None], np.zeros(3))["spread"] == 1
    mean_week = real.mean(axis=1, keepdims=True) * real[:1]
    assert script("paper").scores(real, mean_week[None], np.zeros(3))["spread"] == 0


def test_the_row_of_tsgm_draws_what_its_model_gives_at_the_means_of_the_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that gives the highest value in every other hour and the lowest else, in place of the library's."""
    module, told = script("paper"), []

    class Model:
        def compile(self, optimizer: object) -> None: ...

        def count_params(self) -> int:
            return 7

        def fit(self, x: Any, epochs: int, batch_size: int, verbose: int) -> None:
            told.append((x.min(), x.max(), x.shape))

        def generate(self, count: int) -> torch.Tensor:
            return (torch.arange(168) % 2.0).repeat(count, 1)[..., None]

    tsgm = SimpleNamespace(models=SimpleNamespace(
        zoo={"vae_conv5": lambda *shape: SimpleNamespace(encoder=None, decoder=None)},
        cvae=SimpleNamespace(BetaVAE=lambda encoder, decoder: Model()),
    ))  # fmt: skip
    keras = SimpleNamespace(
        utils=SimpleNamespace(set_random_seed=lambda seed: None), optimizers=SimpleNamespace(Adam=lambda: None)
    )
    monkeypatch.setitem(sys.modules, "tsgm", tsgm)  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "keras", keras)  # type: ignore[arg-type]
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    monkeypatch.setattr(library_generators.time, "process_time", iter(np.arange(0, 99, 0.5)).__next__)
    week = 2 + (np.arange(168) % 2.0) * np.array([[1.0], [2.0], [0.5]])
    train = SimpleNamespace(hourly=lambda: week)
    real = 10 * week[:2]
    held = SimpleNamespace(hourly=lambda: real, location=np.array([3, 5]))
    bench = SimpleNamespace(source=lambda service, fold: (train, held), minutes=0.1, members=2)
    row = module.library_row(bench, "internet", "beta-VAE of tsgm")
    assert told[-1] == (0, 1, (3, 168, 1)), "all cells scaled by one lowest and one highest value"
    shape = week / week.mean(axis=1, keepdims=True)
    drawn = np.where(np.arange(168) % 2, shape.max(), shape.min())
    want = real.mean(axis=1, keepdims=True) * drawn / drawn.mean()
    assert row["one"] == module.scores(real, want[None], np.array([3, 5]))["one"]
    assert (row["weights"], row["spread"]) == (7, 0), "both cells drawn alike"
    assert row["one"][0] > 0


def test_a_row_less_another_is_paired_by_fold_and_tells_what_has_not_run() -> None:
    """By hand: fold 0 apart by 0.1 in each cell, fold 1 by 0.2, fold 2 in one of the two rows only."""
    module = script("paper")
    base = [{"fold": f, "mae": [0.1, 0.5], "location": [2 * int(f), 2 * int(f) + 1]} for f in "01"]
    others = [{**row, "mae": [v + gap for v in row["mae"]]} for row, gap in zip(base, (0.1, 0.2), strict=True)]
    apart = module._less([*others, {"fold": "2", "mae": [9.0, 9.0], "location": [0, 1]}], base)
    middle, low, _, high = apart.replace("(", "").replace(")", "").split()
    assert float(middle) == pytest.approx(0.15)
    assert 0.1 <= float(low) < 0.15 < float(high) <= 0.2
    assert module._less(base, base) == "–"
    assert module._less([{"fold": "0", "one": [0.1]}], base) == "–"
    far = {"internet": {"naive": base, "stouter": others, "vae": base}, "calls": {"naive": others, "stouter": base}}
    assert module._ahead(far, "stouter") == "the naive week (internet); vae (internet)"
    assert module._ahead(far, "naive") == "the shipped design (calls)"
    whole = dict.fromkeys(module.GENERATORS, base)
    assert module._cut({"internet": whole}) == "", "of one service alone, the parts say what is missing"
    services = dict.fromkeys(("internet", "calls", "sms", *module.SECOND[1:]), whole) | {
        module.SECOND[0]: {"vae": base}
    }
    lacks = [name for name in module.GENERATORS if name != "vae"]
    assert module._cut(services) == f"{', '.join(lacks)} of {module.SECOND[0]}"


def test_tables_5_and_6_run_all_folds_of_every_variant_and_share_what_they_compare_with() -> None:
    module = script("paper")
    for quick, folds in ((True, 1), (True, 3), (False, 5)):
        keys: list[str] = []
        bench = SimpleNamespace(rows=SimpleNamespace(run=lambda key, _, keys=keys: keys.append(key)))
        bench.design = lambda name: module.Stouter.design(SimpleNamespace(channels=(8, 16)), name)
        module.run_stouter(bench, ("table-5", "table-6"), quick, folds)
        found = {tuple(key.split("|")[i] for i in (1, 3, 4)) for key in keys}
        names = [("table-6", name) for name in module.FUSIONS]
        names += [("table-5", f"{graph} {layer}") for graph, layer in module.GRAPHS]
        ours = {("folds", module.OURS, str(fold)) for fold in range(1, folds)}
        assert found == {(*name, str(fold)) for name in names for fold in range(folds)} | ours
    row = {"one": [0.2, 0.3, 1.5], "mean": [0.1, 0.2, 1.0], "weights": 1, "fit_cpu_s": 5.0, "draw_cpu_s": 0.1}
    row |= {"mae": [0.1, 0.3], "location": [0, 1]}
    worse = {**row, "mae": [0.2, 0.4]}
    done: dict[str, Any] = {"settings": {"region": "milan"}, "stouter|table-3|internet|stouter --paper|0": row}
    done |= {f"stouter|folds|internet|ours|{fold}": row for fold in range(1, 5)}
    done |= {f"stouter|table-6|internet|gated|{fold}": worse for fold in range(5)}
    text = "\n".join(module.stouter_tables(done))
    assert "5 of 5 folds" in text
    assert "| 5 | +0.1000 (+0.1000 to +0.1000) |" in text
    assert "table-5" in text.split("Not run yet: ")[1].split(". ")[0]


def test_the_page_shows_published_beside_ours_and_says_quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = script("paper")
    row = {"one": [0.2, 0.3, 1.5], "mean": [0.1, 0.2, 1.0], "weights": 1234, "fit_cpu_s": 5.0, "draw_cpu_s": 0.1}
    told = {"paper": "stouter", "quick": True, "minutes": 0.25, "channels": [16, 32], "region": "milan"}
    done = {"settings": told, "stouter|table-3|internet|stouter --paper|0": row, "stouter|figure-8|internet|10|0": row}
    done["stouter|table-3|internet|PAR of SDV|0"] = row
    (tmp_path / "s.json").write_text(json.dumps(done))
    step = {m: [float(h) for h in range(6)] for m in ("mae", "rmse", "r2", "ssim")}
    other = {"settings": {"paper": "slstm-stn", "quick": False}, "slstm-stn|table-3|milan|stn|0": step | {"epochs": 40}}
    (tmp_path / "n.json").write_text(json.dumps(other))
    words = ["paper.py", "report", str(tmp_path / "s.json"), str(tmp_path / "n.json"), "-o", str(tmp_path / "p.md")]
    monkeypatch.setattr(sys, "argv", words)
    module.main()
    text = (tmp_path / "p.md").read_text()
    first, second = text.split("## sLSTM-STN")
    assert "| internet | stouter --paper | 0.0781 / 0.1088 / 0.4843 | 0.2000 / 0.3000 / 1.5000 |" in first
    assert "| 10 | 0.2000 / 0.3000 / 1.5000 |" in first
    assert "Of `--quick`, 15 core-seconds a fit" in first
    assert '--only table-3 --services internet --rows "PAR of SDV"' in first
    assert "ran before it was kept" in first
    assert "other cells" in first
    assert "Not run yet: figure-10, figure-9, table-6, figure-7, table-5, table-2." in first
    assert "stouter --quick --minutes 0.25" in first
    assert "Quick" not in second
    assert "| stn | 7.3917 / 16.8849 / 0.9546 / 0.9853 | 0.0000 / 0.0000 / 0.0000 / 0.0000 |" in second
    assert "| stn | 4.3109 / 10.3451 / 0.9726 | 0.0000 / 0.0000 / 0.0000 | 9.0152" in second
