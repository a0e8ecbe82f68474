"""`gentraffic forecast` on files, end to end: a folder, forecasts, scores, a page, and one line for what is wrong."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from forecast_examples import dataset

from gentraffic.cli.main import run
from gentraffic.io.files import read_traffic, write_traffic

SHORT = ["--steps", "8", "--batch", "32", "--threads", "1", "--quiet"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("forecast")
    write_traffic(dataset(days=10), folder / "t.nc")
    write_traffic(dataset("stations", n=3, days=10, seed=4), folder / "other.csv")
    write_traffic(dataset(days=4, minutes=30), folder / "half-hours.nc")
    write_traffic(dataset(days=10).isel(time=slice(0, 12)), folder / "short.nc")
    write_traffic(dataset(days=10).isel(cell=[5]), folder / "one.nc")
    assert run(["forecast", "fit", "stn-slstm-day", "--traffic", f"{folder}/t.nc", "-o", f"{folder}/m", *SHORT]) == 0
    return folder


def test_a_folder_says_all_about_itself(files: Path) -> None:
    names = sorted(str(p.relative_to(files / "m")) for p in (files / "m").rglob("*") if p.is_file())
    assert names == [
        "README.md", "errors.safetensors", "forecaster/config.json", "forecaster/diffusion_pytorch_model.safetensors",
        "provenance.json", "scaler.json",
    ]  # fmt: skip
    known = json.loads((files / "m" / "provenance.json").read_text())
    assert known["forecaster"] == "stn-slstm-day"
    assert known["services"] == ["internet"]
    assert set(known["files"]) == set(names) - {"README.md", "provenance.json"}
    assert set(known["scores"]["scores"]) == {"stn-slstm-day", "last", "yesterday", "last-week"}
    values = read_traffic(files / "t.nc")["internet"].values[:, :168]
    scaler = json.loads((files / "m" / "scaler.json").read_text())
    np.testing.assert_allclose(np.array(scaler["mean"])[:, 0], values.mean(axis=1), rtol=1e-5)
    assert "| last |" in (files / "m" / "README.md").read_text()
    assert not list(files.glob("m.checkpoint*"))


@pytest.mark.parametrize(
    ("name", "option", "message"),
    [
        ("lightgbm", ["--batch", "64"], "--batch 64: lightgbm has no such setting"),
        ("lightgbm", ["--learning-rate", "0.1"], "--learning-rate 0.1: lightgbm has no such setting"),
        ("last", ["--steps", "5"], "--steps 5: last has no such setting"),
        ("lightgbm-day", ["--backend", "vanilla"], "lightgbm-day has no sLSTM"),
    ],
)
def test_settings_that_a_forecaster_has_not_are_refused(
    files: Path, capsys: pytest.CaptureFixture[str], name: str, option: list[str], message: str
) -> None:
    assert run(["forecast", "fit", name, "--traffic", f"{files}/t.nc", "-o", f"{files}/no", *option]) == 2
    assert message in capsys.readouterr().err
    assert not (files / "no").exists()


def test_trees_are_fitted_kept_and_give_ranges(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["forecast", "fit", "lightgbm-day", "--traffic", f"{files}/t.nc", "--steps", "120", "-o", f"{files}/trees"]
    assert run([*words, "--json"]) == 0
    known = json.loads(capsys.readouterr().out)
    assert known["steps"] == sum(known["trees"])
    words = ["forecast", "run", "--model", f"{files}/trees", "--history", f"{files}/t.nc", "--members", "3"]
    assert run([*words, "-o", f"{files}/range.nc"]) == 0
    assert read_traffic(files / "range.nc").sizes["member"] == 3
    capsys.readouterr()
    assert run(["forecast", "score", "--model", f"{files}/trees", "--traffic", f"{files}/t.nc", "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert 0.5 < scores["coverage_90"]["internet"][0] <= 1
    assert scores["scores"]["lightgbm-day"]["internet"]["mae"][0] < scores["scores"]["last"]["internet"]["mae"][0]


def test_run_continues_a_series_after_its_end(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["forecast", "run", "--model", f"{files}/m", "--history", f"{files}/t.nc", "--horizon", "9"]
    assert run([*words, "-o", f"{files}/next.nc", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    before, after = read_traffic(files / "t.nc"), read_traffic(files / "next.nc")
    assert after.sizes["time"] == 9
    assert after["time"].values[0] - before["time"].values[-1] == np.timedelta64(1, "h")
    assert (after["cell_id"].values == before["cell_id"].values).all()
    assert after.attrs["source"] == "forecast; not measured"
    assert told["first"] == str(after["time"].values[0])[:16] + "Z"
    live = np.arange(16) != 3
    ratio = after["internet"].values[live].mean(1) / before["internet"].values[live, -24:-15].mean(1)
    assert ((ratio > 0.4) & (ratio < 2.5)).all()  # as in the same hours of yesterday, over three decades of levels


def test_doubled_history_gives_doubled_forecasts(files: Path) -> None:
    ds = read_traffic(files / "t.nc")
    ds["internet"].values *= 2
    write_traffic(ds, files / "double.nc")
    for name in ("t", "double"):
        words = ["--history", f"{files}/{name}.nc", "--horizon", "8", "-o", f"{files}/{name}-next.nc", "--quiet"]
        assert run(["forecast", "run", "--model", f"{files}/m", *words]) == 0
    one, two = (read_traffic(files / f"{name}-next.nc")["internet"].values for name in ("t", "double"))
    np.testing.assert_array_equal(two, 2 * one)


def test_scores_stand_beside_naive_rows_also_of_a_network_never_seen(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["forecast", "score", "--model", f"{files}/m", "--traffic", f"{files}/other.csv", "--horizon", "3"]
    assert run([*words, "--json", "--html", f"{files}/page.html"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert set(told["scores"]) == {"stn-slstm-day", "last", "yesterday", "last-week"}
    real = read_traffic(files / "other.csv")["internet"].values
    start = np.arange(204, 240 - 2)
    live = real[:, 204:].max(axis=1) > 0
    expected = np.abs(real[:, start - 1] - real[:, start])[live].mean()
    assert told["scores"]["last"]["internet"]["mae"][0] == pytest.approx(expected, rel=1e-4)
    assert told["cells_dead"] == {"internet": int((~live).sum())}
    assert told["scores"]["last"]["internet"]["ssim"] == [None] * 3  # stations make no frame
    page = (files / "page.html").read_text()
    assert "{{" not in page
    assert not re.search(r"(src|href)=\"(?!#|data:)|url\((?!#|data:)|https?://(?!www\.w3\.org)", page)
    assert page.count("<svg") == 5


def test_a_fit_can_be_resumed_and_is_reproducible(files: Path) -> None:
    words = ["forecast", "fit", "lstm", "--traffic", f"{files}/t.nc", *SHORT]
    for name in ("a", "b"):
        assert run([*words, "-o", f"{files}/{name}"]) == 0
    weights = "forecaster/diffusion_pytorch_model.safetensors"
    assert (files / "a" / weights).read_bytes() == (files / "b" / weights).read_bytes()
    assert run([*words, "-o", f"{files}/c", "--seed", "1"]) == 0
    assert (files / "a" / weights).read_bytes() != (files / "c" / weights).read_bytes()


def test_one_cell_is_told_and_works(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["forecast", "run", "--model", f"{files}/m", "--history", f"{files}/one.nc", "-o", f"{files}/one-next.nc"]
    assert run(words) == 0
    assert "warning: one cell: its neighbourhood is the cell itself, repeated" in capsys.readouterr().err


WRONG = [
    (["fit", "arima", "--traffic", "t.nc", "-o", "x"], 2, "no forecaster 'arima'"),
    (["fit", "lstm", "--traffic", "t.nc", "-o", "x", "--train", "0.9"], 2, "leave some steps for the test"),
    (["fit", "lstm", "--traffic", "t.nc", "-o", "x", "--steps", "0"], 2, "--steps 0"),
    (["fit", "stn", "--traffic", "t.nc", "-o", "x", "--backend", "vanilla"], 2, "stn has no sLSTM"),
    (["fit", "stn-slstm", "--traffic", "t.nc", "-o", "x", "--backend", "cuda"], 2, "give --device cuda"),
    (["run", "--model", "m", "--history", "t.nc", "-o", "x.nc", "--device", "tpu"], 2, "give cpu or cuda"),
    (["fit", "stn-slstm-day", "--traffic", "short.nc", "-o", "x"], 5, "too short a series: 8 training steps"),
    (["fit", "lstm", "--traffic", "t.nc", "-o", "one.nc"], 2, "is not a model folder"),
    (["run", "--model", "m", "--history", "half-hours.nc", "-o", "x.nc"], 5, "steps of 30 min and stn-slstm-day was"),
    (["run", "--model", "m", "--history", "short.nc", "-o", "x.nc"], 5, "12 steps, a day (24) is needed"),
    (["run", "--model", "m", "--history", "other.csv", "--scaler", "model", "-o", "x.nc"], 5, "was not fitted on cell"),
    (["run", "--model", "m", "--history", "t.nc", "--horizon", "0", "-o", "x.nc"], 2, "--horizon 0"),
    (["run", "--model", "nowhere", "--history", "t.nc", "-o", "x.nc"], 6, "no forecaster"),
    (["score", "--model", "m", "--traffic", "t.nc", "--service", "sms"], 2, "no service 'sms'"),
    (["score", "--model", "m", "--traffic", "t.nc", "--horizon", "60"], 5, "no 60 steps in a part of 36"),
    (["score", "--model", "m", "--traffic", "t.nc", "--html", "page.txt"], 2, "unknown suffix"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "code", "said"), WRONG, ids=lambda v: v if isinstance(v, str) else None)
def test_what_is_wrong_is_said_in_one_line(
    files: Path, capsys: pytest.CaptureFixture[str], words: list[str], code: int, said: str
) -> None:
    local = [str(files / w) if ("." in w and not w[0].isdigit()) or w in ("m", "x", "nowhere") else w for w in words]
    assert run(["forecast", *local]) == code
    error = capsys.readouterr().err
    assert said in error
    assert len(error.strip().splitlines()) == 1
    assert not (files / "x").exists()
    assert not (files / "x.nc").exists()


def test_gaps_are_refused(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = (files / "other.csv").read_text().splitlines()
    (files / "gap.csv").write_text("\n".join(line for i, line in enumerate(table) if i != 7) + "\n")
    (files / "gap.csv-metadata.json").write_bytes((files / "other.csv-metadata.json").read_bytes())
    assert run(["forecast", "score", "--model", f"{files}/m", "--traffic", f"{files}/gap.csv"]) == 5
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_folders_of_another_kind_or_altered_are_refused(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from gentraffic.generators.base import MODELS

    words = ["forecast", "run", "--history", f"{files}/t.nc", "-o", f"{files}/x.nc", "--model"]
    assert run([*words, str(MODELS / "stouter-base")]) == 6
    assert "not a forecaster" in capsys.readouterr().err
    import shutil

    shutil.copytree(files / "m", files / "altered")
    config = files / "altered" / "forecaster" / "config.json"
    config.write_text(config.read_text().replace('"hidden": 64', '"hidden": 65'))
    assert run([*words, str(files / "altered")]) == 6
    assert "differs from its SHA-256" in capsys.readouterr().err
    sample = ["sample", "--city", "monaco", "--days", "1", "--model", str(files / "m"), "-o", str(files / "x.nc")]
    assert run(sample) == 6
    assert "'stn-slstm-day'" in capsys.readouterr().err
