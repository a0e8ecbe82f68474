"""`gentraffic.forecast`: the numbers of the command, with and without files, and errors in Python's words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from forecast_examples import dataset
from notebook_html import cells_of

import gentraffic
from gentraffic.api.forecast_result import FittedForecaster, learned_in_words
from gentraffic.cli.main import run
from gentraffic.errors import BadInput, BadModel, WrongUse
from gentraffic.io.files import write_traffic

TRAFFIC = dataset(days=10)
OTHER = dataset("stations", n=3, days=10, seed=4)
SHORT = {"steps": 8, "batch": 32, "threads": 1}


@pytest.fixture(scope="module")
def fitted() -> FittedForecaster:
    found: FittedForecaster = gentraffic.forecast.fit("lstm", TRAFFIC, **SHORT)
    return found


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("forecast")
    write_traffic(TRAFFIC, folder / "t.nc")
    write_traffic(OTHER, folder / "other.nc")
    words = ["--steps", "8", "--batch", "32", "--threads", "1", "--quiet"]
    assert run(["forecast", "fit", "lstm", "--traffic", f"{folder}/t.nc", "-o", f"{folder}/m", *words]) == 0
    return folder


def test_fit_learns_what_the_command_learns(files: Path, fitted: FittedForecaster) -> None:
    command = gentraffic.forecast.load(files / "m")
    for key, value in command.fitted.model.state_dict().items():
        assert torch.equal(value, fitted.fitted.model.state_dict()[key]), key
    assert command.scores == fitted.scores
    assert command.scaler.cell_id == fitted.scaler.cell_id
    np.testing.assert_array_equal(command.scaler.scaler.mean, fitted.scaler.scaler.mean)
    assert fitted.folder is None
    assert fitted.services == ["internet"]
    assert fitted.training["steps"] == 8
    assert fitted.provenance["data"][0]["file"] == "in memory"


def test_a_copied_week_is_named_by_fit_and_score() -> None:
    whole = dataset(days=14)
    [name] = whole.data_vars
    week = 7 * round(86_400 / float((whole["time"].values[1] - whole["time"].values[0]) / np.timedelta64(1, "s")))
    whole[name].values[..., week:] = whole[name].values[..., :week]
    found = gentraffic.forecast.fit("last", whole, threads=1)
    scored = gentraffic.forecast.score(found, whole)
    for warnings in (found.warnings, scored.warnings):
        assert any("second week repeats the first" in line for line in warnings)
    assert not gentraffic.forecast.fit("last", dataset(days=14), threads=1).warnings


def test_fit_writes_only_where_a_folder_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: Path, fitted: FittedForecaster
) -> None:
    monkeypatch.chdir(tmp_path)
    before = torch.get_num_threads()
    gentraffic.forecast.fit("last", [TRAFFIC, files / "t.nc"], threads=1 if before > 1 else 2)
    assert list(tmp_path.iterdir()) == []
    assert torch.get_num_threads() == before
    seen: list[tuple[int, int]] = []
    written = gentraffic.forecast.fit(
        "lstm", files / "t.nc", out="w", progress=lambda done, of: seen.append((done, of)), **SHORT
    )
    assert seen == [(step, 8) for step in range(1, 9)]
    assert [path.name for path in tmp_path.iterdir()] == ["w"]
    again = gentraffic.forecast.load("w")
    assert again.sha256 == written.sha256 != ""
    for key, value in again.fitted.model.state_dict().items():
        assert torch.equal(value, fitted.fitted.model.state_dict()[key]), key


def test_run_gives_the_numbers_of_the_command(files: Path, fitted: FittedForecaster) -> None:
    words = ["--history", f"{files}/other.nc", "--horizon", "9", "-o", f"{files}/next.nc", "--quiet"]
    assert run(["forecast", "run", "--model", f"{files}/m", *words]) == 0
    command = gentraffic.read_traffic(files / "next.nc")
    for model, history in ((fitted, OTHER), (files / "m", files / "other.nc")):
        found = gentraffic.forecast.run(model, history, horizon=9)
        np.testing.assert_array_equal(found["internet"], command["internet"])
        np.testing.assert_array_equal(found["time"], command["time"])
        assert found.attrs["source"] == "forecast; not measured"
    assert found.attrs["model_sha256"] == command.attrs["model_sha256"]


def test_last_continues_with_the_last_value_and_yesterday_with_the_day_before() -> None:
    values = TRAFFIC["internet"].values
    last = gentraffic.forecast.run(gentraffic.forecast.fit("last", TRAFFIC), TRAFFIC, horizon=5)
    np.testing.assert_allclose(last["internet"], np.repeat(values[:, -1:], 5, axis=1), rtol=1e-4, atol=1e-5)
    model = gentraffic.forecast.fit("yesterday", TRAFFIC)
    day = gentraffic.forecast.run(model, TRAFFIC, horizon=24, scaler="model")
    np.testing.assert_allclose(day["internet"], values[:, -24:], rtol=1e-4, atol=1e-5)
    assert day["time"].values[0] - TRAFFIC["time"].values[-1] == np.timedelta64(1, "h")
    twice = TRAFFIC.assign(internet=TRAFFIC["internet"].expand_dims(member=[0, 1]).assign_attrs(TRAFFIC.internet.attrs))
    both = gentraffic.forecast.run(model, twice, horizon=3)
    assert both["internet"].dims == ("member", "cell", "time")
    np.testing.assert_array_equal(both["internet"].values[0], both["internet"].values[1])


def test_score_gives_the_numbers_of_the_command(
    files: Path, fitted: FittedForecaster, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--traffic", f"{files}/other.nc", "--horizon", "3", "--starts", "5", "--json"]
    assert run(["forecast", "score", "--model", f"{files}/m", *words]) == 0
    told = json.loads(capsys.readouterr().out)
    found = gentraffic.forecast.score(fitted, OTHER, horizon=3, starts=5, html=files / "page.html")
    own: dict[str, Any] = json.loads(json.dumps(found.to_json()))
    assert [own.pop(name) for name in ("model", "model_sha256", "traffic")] == ["lstm", "", "traffic"]  # of no file
    assert own == {name: told[name] for name in own}
    assert "<svg" in (files / "page.html").read_text(encoding="utf-8")
    values = OTHER["internet"].values  # what `last` scores, by hand
    start = np.array([204, 212, 220, 229, 237])  # evenly spread; 220.5 is rounded to even
    live = (values[:, (start[:, None] + np.arange(3)).ravel()] > 0).any(axis=1)
    expected = np.abs(values[live][:, start - 1] - values[live][:, start]).mean()
    assert found.scored.starts.tolist() == start.tolist()
    assert found.to_json()["scores"]["last"]["internet"]["mae"][0] == pytest.approx(expected, rel=1e-4)
    np.testing.assert_array_equal(found.scored.real[:, :, 2, 0], values[:, start + 2].T)
    frame = found.to_frame().set_index(["service", "forecaster", "step"])
    assert list(frame.columns) == ["mae", "rmse", "r2", "ssim"]
    assert sorted(set(frame.index.get_level_values("step"))) == [1, 2, 3]
    assert frame.loc[("internet", "last", 1), "mae"] == pytest.approx(expected, rel=1e-4)


def test_a_loaded_forecaster_shows_itself_first_and_its_ranges(files: Path, fitted: FittedForecaster) -> None:
    loaded = gentraffic.forecast.load(files / "m")
    assert loaded.rows() == fitted.rows()
    assert loaded.rows()[1][1] == "lstm"
    scored = gentraffic.forecast.score(files / "m", OTHER)
    assert any(text.startswith("within its 90% range") for text in scored.sentences())
    assert not any("--" in text or "gentraffic forecast" in text for text in scored.sentences()), "words of Python"


def test_trees_are_counted_as_trees() -> None:
    assert learned_in_words({"trees": [40, 2], "steps": 1042, "parameters": 840_596}) == "1,042 trees"
    assert learned_in_words({"parameters": 840_596}) == "840,596 weights"
    assert learned_in_words({}) == "nothing to learn"


def test_a_notebook_shows_the_scores(fitted: FittedForecaster) -> None:
    scored = gentraffic.forecast.score(fitted, TRAFFIC, horizon=2)
    for shown in (fitted, scored):
        cells = cells_of(shown._repr_html_())
        assert cells[:7] == ["service", "forecaster", "step", "mae", "rmse", "r2", "ssim"]
        assert {"lstm", "last", "yesterday", "last-week"} <= set(cells)
        assert repr(shown) == str(shown)
    mae = scored.to_json()["scores"]["yesterday"]["internet"]["mae"]
    cells = cells_of(scored._repr_html_())
    at = cells.index("yesterday")
    assert cells[at : at + 3] == ["yesterday", "1", f"{mae[0]:.4g}"]
    one = gentraffic.forecast.fit("last", TRAFFIC.isel(cell=[5]))
    assert "one cell" in one._repr_html_()


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda m: gentraffic.forecast.fit("arima", TRAFFIC), WrongUse, "no forecaster 'arima'"),
        (lambda m: gentraffic.forecast.fit("lstm", TRAFFIC, train=0.9), WrongUse, "train=0.9"),
        (lambda m: gentraffic.forecast.fit("lstm", TRAFFIC, steps=0), WrongUse, "steps=0: give 1 or more"),
        (lambda m: gentraffic.forecast.fit("lstm", TRAFFIC, learning_rate=-1.0), WrongUse, "learning_rate=-1.0: give"),
        (lambda m: gentraffic.forecast.fit("lstm", []), WrongUse, "traffic: give one or more"),
        (lambda m: gentraffic.forecast.fit("stn", TRAFFIC, backend="vanilla"), WrongUse, "backend=vanilla: stn has no"),
        (lambda m: gentraffic.forecast.fit("lstm", TRAFFIC, out=__file__), WrongUse, "give another out"),
        (lambda m: gentraffic.forecast.fit("lstm", TRAFFIC, service="sms"), WrongUse, "no service 'sms'"),
        (lambda m: gentraffic.forecast.run(m, TRAFFIC, horizon=0), WrongUse, "horizon=0: give 1 or more"),
        (lambda m: gentraffic.forecast.run(m, TRAFFIC, scaler="best"), WrongUse, "scaler=best: give one of history"),
        (lambda m: gentraffic.forecast.run(m, OTHER, scaler="model"), BadInput, "scaler=model: the forecaster was not"),
        (lambda m: gentraffic.forecast.run(m, TRAFFIC.isel(time=slice(0, 12))), BadInput, "history: too short"),
        (lambda m: gentraffic.forecast.run("nowhere", TRAFFIC), BadModel, "no forecaster in nowhere"),
        (lambda m: gentraffic.forecast.load("nowhere", device="tpu"), WrongUse, "device=tpu: give cpu or cuda"),
        (lambda m: gentraffic.forecast.score(m, TRAFFIC, starts=0), WrongUse, "starts=0: give 1 or more"),
        (lambda m: gentraffic.forecast.score(m, TRAFFIC, html="page.txt"), WrongUse, "unknown suffix"),
        (lambda m: gentraffic.forecast.score(m, TRAFFIC, horizon=60), BadInput, "no 60 steps in a part of 36"),
    ],
)  # fmt: skip
def test_errors_are_in_the_words_of_python(
    fitted: FittedForecaster, call: Any, error: type[Exception], says: str
) -> None:
    with pytest.raises(error) as caught:
        call(fitted)
    message = str(caught.value)
    assert says in message
    assert "--" not in message
    assert "\n" not in message
