"""`gentraffic.evaluate` and `validate`: the numbers of the commands, tables for notebooks, errors in Python's words."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from notebook_html import cells_of
from traffic_examples import context, traffic

import gentraffic
from gentraffic.api.files import context_of, traffic_of
from gentraffic.cli.main import run
from gentraffic.errors import BadInput, WrongUse
from gentraffic.evaluation.intervals import make_resample
from gentraffic.evaluation.scores import METRICS
from gentraffic.generators.base import MODELS
from gentraffic.io.files import write_context, write_traffic
from gentraffic.reports.evaluation_table import value_text

REAL = traffic(days=9, units="MB")
DRAWN = traffic(days=9, members=3, seed=3)


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Intervals from 50 draws, not 1000: what they are is tested beside them, in test_metrics.py and
    test_naive_rows.py."""
    for module in ("evaluation.evaluate", "reports.evaluation_figures"):
        monkeypatch.setattr(f"gentraffic.{module}.make_resample", partial(make_resample, draws=50))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("judging")
    write_traffic(REAL, folder / "real.nc")
    write_traffic(DRAWN, folder / "drawn.nc")
    write_context(context(), folder / "context.nc")
    return folder


def provenance(model: str) -> dict[str, Any]:
    known: dict[str, Any] = json.loads((MODELS / model / "provenance.json").read_text(encoding="utf-8"))
    return known


def told(capsys: pytest.CaptureFixture[str], words: list[str]) -> dict[str, Any]:
    assert run([*words, "--json"]) == 0, capsys.readouterr().err
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_evaluate_gives_the_numbers_of_the_command(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["evaluate", "--real", f"{files}/real.nc", "--synthetic", f"{files}/drawn.nc", "--seed", "3"]
    command = told(capsys, words)
    seen: list[tuple[int, int]] = []
    found = gentraffic.evaluate(
        REAL, files / "drawn.nc", seed=3, html=files / "page.html",
        progress=lambda done, of: seen.append((done, of)),
    )  # fmt: skip
    own = json.loads(json.dumps(found.to_json()))
    assert own["metrics"] == command["metrics"]
    assert own["cells"] == command["cells"] == 35
    assert own["scaling"] == command["scaling"]
    assert seen[-1] == (1, 1)
    page = (files / "page.html").read_text(encoding="utf-8")
    assert "drawn.nc" in page
    assert "<svg" in page


def test_scores_are_a_frame_too() -> None:
    real = traffic()
    west, east = (real.isel(cell=cells) for cells in (slice(0, 18), slice(18, 36)))
    found = gentraffic.evaluate(west, traffic(seed=3), train=east, context=context())
    frame = found.to_frame()
    assert list(frame.index) == list(found.scores)
    assert list(frame.columns) == ["value", "low", "high", "best", *found.naive, "reason"]
    for name, score in found.scores.items():
        assert frame.loc[name, "value"] == score.value or (np.isnan(frame.loc[name, "value"]) and score.value is None)
        assert frame.loc[name, "reason"] == score.reason
    assert (frame["low"] <= frame["high"]).sum() == sum(s.low is not None for s in found.scores.values()) > 5
    some = next(iter(found.naive))
    assert frame.loc["mae", some] == found.naive[some]["mae"].value
    assert frame.loc["mae", "best"] == 0


def test_what_makes_scores_worth_little_is_said() -> None:
    ours = DRAWN.assign_attrs(model="mine", model_networks="elsewhere, here")
    found = gentraffic.evaluate(REAL.assign_attrs(network="here"), ours)
    assert any(note.startswith("mine learned from here, the network of real") for note in found.notes)
    assert any(note.startswith("3 members: coverage and diversity need 20 or more") for note in found.notes)
    many = gentraffic.evaluate(REAL.assign_attrs(network="there"), traffic(days=9, members=20, seed=3))
    assert not any("learned from" in note or "need 20" in note for note in many.notes)
    one = gentraffic.evaluate(REAL, traffic(days=9, seed=3))
    assert any("no value of " in text and "coverage_90" in text for text in one.sentences())


def test_a_measured_file_without_a_network_is_asked_whether_the_model_knew_it(tmp_path: Path) -> None:
    """As `import table` leaves it: by its name, by the marks of its cells, or not at all."""
    real, drawn = traffic(), traffic(seed=3)
    ours = drawn.assign_attrs(model="mine", model_networks="elsewhere, here")
    assert "network" not in real.attrs
    found = gentraffic.evaluate(real, ours)
    assert any("real names no network, and mine learned from elsewhere, here: if it is one" in n for n in found.notes)
    assert not any("names no network" in note for note in gentraffic.evaluate(real, drawn).notes)
    known = next(part for part in provenance("stouter-fast")["data"] if part.get("marks", {}).get("series"))
    bundled = drawn.assign_attrs(model="stouter-fast", model_networks=known["network"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gentraffic.dataset.fingerprint.marks_of", lambda ds: known["marks"])
        notes = gentraffic.evaluate(real, bundled).notes
    assert any(f"stouter-fast learned from {known['network']}, which holds cells of real" in note for note in notes)
    assert any("names no network" in note for note in gentraffic.evaluate(real, bundled).notes)
    table = tmp_path / "t.csv"
    table.write_text("cell,time,value\n" + "".join(f"a,2026-01-05T{h:02}:00,{h}\n" for h in range(24)))
    assert gentraffic.import_table(table, timezone="UTC", network="here").attrs["network"] == "here"
    with pytest.raises(WrongUse, match="network a,b: give a name without commas"):
        gentraffic.import_table(table, timezone="UTC", network="a,b")
    out = str(tmp_path / "t.nc")
    assert run(["import", "table", str(table), "--timezone", "UTC", "--network", "here", "-o", out, "--quiet"]) == 0
    assert gentraffic.read_traffic(out).attrs["network"] == "here"


def test_relative_traffic_of_another_size_is_doubted() -> None:
    one = traffic()
    large = one.copy(deep=True)
    large["internet"][:] = large["internet"].values * np.float32(50)
    notes = gentraffic.evaluate(one, large).notes
    said = [note for note in notes if note.startswith("both files have the unit 1")]
    assert len(said) == 1
    assert said[0].endswith("Import it with unit, or compare with scale mean")
    assert not any("unit 1" in note for note in gentraffic.evaluate(one, one).notes)
    scaled = gentraffic.evaluate(one, large, scale="mean").notes
    assert not any("unit 1 (" in note for note in scaled)


def test_a_copy_is_perfect_and_three_times_as_much_is_three_times_as_much() -> None:
    copy = gentraffic.evaluate(REAL, REAL)
    assert copy.scores["mae"].value == pytest.approx(0.0, abs=1e-6)
    assert copy.scores["level_spearman"].value == pytest.approx(1.0)
    thrice = REAL.assign(internet=(REAL["internet"] * 3).assign_attrs(REAL["internet"].attrs))
    found = gentraffic.evaluate(REAL, thrice)
    assert found.scores["tail_ratio_99"].value == pytest.approx(3.0, rel=1e-5)
    live = REAL["internet"].values.max(axis=1) > 0
    assert found.scores["mae"].value == pytest.approx(2 * REAL["internet"].values[live].mean(), rel=1e-5)


def test_the_naive_rows_stand_beside_it(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    west, east = (REAL.isel(cell=cells) for cells in (slice(0, 18), slice(18, 36)))
    write_traffic(west, files / "west.nc")
    write_traffic(east, files / "east.nc")
    words = ["evaluate", "--real", f"{files}/west.nc", "--synthetic", f"{files}/drawn.nc"]
    command = told(capsys, [*words, "--train", f"{files}/east.nc", "--context", f"{files}/context.nc"])
    found = gentraffic.evaluate(west, DRAWN, train=east, context=context())
    assert found.naive
    assert set(found.naive) == set(command["naive"])
    for name, scores in found.naive.items():
        assert {metric: s.value for metric, s in scores.items()} == {
            metric: s["value"] for metric, s in command["naive"][name].items()
        }
    head = cells_of(found._repr_html_())[: 4 + len(found.naive)]
    assert head == ["metric", "value", "95% interval", "perfect", *found.naive]


def test_a_notebook_shows_every_metric() -> None:
    found = gentraffic.evaluate(REAL, DRAWN)
    html = found._repr_html_()
    cells = cells_of(html)
    for k, metric in enumerate(METRICS, start=1):
        assert cells[4 * k : 4 * k + 2] == [metric.label, value_text(metric, found.scores[metric.name])]
    assert "needs train and context" in html
    assert "--" not in html
    assert any("give train" in note for note in found.notes)
    assert repr(found) == str(found)


def test_validate_gives_the_numbers_of_the_command(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["validate", "--synthetic", f"{files}/drawn.nc", "--real", f"{files}/real.nc", "--steps", "2"]
    words += ["--forecaster", "lstm"]
    command = told(capsys, [*words, "--seeds", "2", "--horizon", "2", "--few", "50"])
    seen: list[tuple[int, int]] = []
    found = gentraffic.validate(
        files / "real.nc", DRAWN, forecaster="lstm", steps=2, seeds=2, horizon=2, few=50,
        progress=lambda done, of: seen.append((done, of)),
    )  # fmt: skip
    own = json.loads(json.dumps(found.to_json()))
    assert own.pop("synthetic") == "synthetic"  # a Dataset that was handed over
    assert {name: command[name] for name in own} == own
    assert seen == [(done, 6) for done in range(6)]
    cells = cells_of(found._repr_html_())
    assert cells[:7] == ["service", "step", "forecaster", "trained on", "mae", "rmse", "gap in mae"]
    at = cells.index("lstm")
    gap = own["forecasters"]["lstm"]["internet"]["step_1"]["gap_percent"]["mean"]
    assert cells[at : at + 2] == ["lstm", "real"]
    assert cells[at + 8] == "synthetic"
    assert cells[at + 11].startswith(f"{gap:+.1f}%")
    last = own["naive"]["last"]["internet"]["step_1"]["mae"]
    assert cells[cells.index("last") + 2] == f"{last:.4g}"
    frame = found.to_frame().set_index(["step", "forecaster", "trained_on"])
    assert frame.loc[(1, "lstm", "synthetic"), "gap"] == pytest.approx(gap)
    assert frame.loc[(1, "last", "nothing"), "mae"] == pytest.approx(last)
    # two steps of training: a naive row is ahead, and nothing is said of how good the traffic is
    assert "beats every forecaster that was trained" in str(found)
    assert "to train on:" not in str(found)


def test_validate_takes_the_trees_that_the_series_is_long_enough_for() -> None:
    for days, name in ((21, "lightgbm"), (14, "lightgbm-day")):
        whole = traffic(days=days)
        found = gentraffic.validate(whole, whole, steps=5, seeds=1)
        assert list(found.scores) == [name]


def gappy(ds: xr.Dataset) -> xr.Dataset:
    other = ds.copy(deep=True)
    other["internet"].values[7, 11] = np.nan
    return other


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: gentraffic.evaluate(REAL, DRAWN, context=context()), WrongUse, "context goes with train"),
        (lambda: gentraffic.evaluate(REAL, DRAWN, scale="best"), WrongUse, "scale=best"),
        (lambda: gentraffic.evaluate(REAL, DRAWN, seed=-1), WrongUse, "seed=-1: give 0 or more"),
        (lambda: gentraffic.evaluate(REAL, DRAWN, html="page.txt"), WrongUse, "unknown suffix"),
        (lambda: gentraffic.evaluate(DRAWN, DRAWN), WrongUse, "must be measured"),
        (lambda: gentraffic.evaluate(REAL, "none.nc"), BadInput, "none.nc: no such file"),
        (lambda: gentraffic.evaluate(gappy(REAL), DRAWN), BadInput, ""),
        (lambda: gentraffic.validate(REAL, DRAWN, steps=0), WrongUse, "steps=0: give 1 or more"),
        (lambda: gentraffic.validate(REAL, DRAWN, few=0), WrongUse, "few=0: give a percentage"),
        (lambda: gentraffic.validate(REAL, DRAWN, few="all"), WrongUse, "few=all: give a percentage such as 5%"),
        (lambda: gentraffic.validate(REAL, DRAWN, few="0%"), WrongUse, "give a percentage"),
        (lambda: gentraffic.fit("vae", REAL, context(), out="m"), WrongUse, "traffic is given as a Dataset"),
        (lambda: gentraffic.fit("vae", "t.nc", [context()], out="m"), WrongUse, "context is given as a Dataset"),
        (lambda: gentraffic.fit("vae", "t.nc", out="m", stepz=3), WrongUse, "no option stepz: did you mean steps"),
        (lambda: gentraffic.validate(REAL, DRAWN, holdout=0.9), WrongUse, "holdout=0.9: give 0 (none) to 0.5"),
        (lambda: gentraffic.validate(REAL, DRAWN, forecaster="prophet"), WrongUse, "no forecaster 'prophet'"),
        (lambda: gentraffic.validate(DRAWN, DRAWN), WrongUse, "real has members"),
        (lambda: gentraffic.validate(REAL, traffic(days=9, minutes=30)), BadInput, "real has steps of 60 min, "),
    ],
)  # fmt: skip
def test_errors_are_in_the_words_of_python(call: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error) as caught:
        call()
    message = str(caught.value)
    assert says in message
    assert "--" not in message
    assert "\n" not in message


def test_what_xarray_opens_is_taken_as_it_is(tmp_path: Path) -> None:
    """The file has what CF adds, and ids of 15 digits as text: they meet those of memory."""
    ds = traffic(context().assign_coords(cell_id=("cell", 320_019_369_001_487 + np.arange(36))), days=8)
    write_traffic(ds, tmp_path / "t.nc")
    write_context(context(), tmp_path / "c.nc")
    with xr.open_dataset(tmp_path / "t.nc", engine="h5netcdf") as opened:
        raw = opened.load()
    before = raw.copy(deep=True)
    assert "time_bnds" in raw
    assert raw["cell_id"].dtype == object
    found = gentraffic.evaluate(ds, raw)
    assert found.scores["mae"].value == 0
    xr.testing.assert_identical(traffic_of(raw), ds)
    xr.testing.assert_identical(raw, before)
    with xr.open_dataset(tmp_path / "c.nc", engine="h5netcdf") as opened:
        xr.testing.assert_identical(context_of(opened.load()), context())


def test_a_table_of_pandas_is_read_as_its_file_is(tmp_path: Path) -> None:
    hours = pd.date_range("2026-01-05", periods=168, freq="h")
    frame = pd.DataFrame({
        "cell": np.repeat(["north", "south"], 168), "time": np.tile(hours, 2), "lon": np.repeat([9.1, 9.2], 168),
        "lat": 45.4, "DL_GB": np.random.default_rng(0).gamma(2.0, size=336),
    })  # fmt: skip
    frame.to_csv(tmp_path / "t.csv", index=False)
    of_file = gentraffic.import_table(tmp_path / "t.csv", timezone="Europe/Rome")
    given = gentraffic.import_table(frame, timezone="Europe/Rome")
    xr.testing.assert_allclose(given, of_file)
    assert given["DL_GB"].attrs == of_file["DL_GB"].attrs
    wide = frame.pivot(index="time", columns="cell", values="DL_GB")
    across = gentraffic.import_table(wide, timezone="Europe/Rome", service="DL_GB", unit="GB")
    np.testing.assert_allclose(across["DL_GB"].values, of_file["DL_GB"].values)
    mixed = frame.assign(cell=[1, *frame["cell"][1:]])
    with pytest.raises(BadInput, match=r"^the DataFrame: a column holds values of several kinds .*column cell"):
        gentraffic.import_table(mixed, timezone="Europe/Rome")
    frame.loc[3, "DL_GB"] = np.nan
    with pytest.raises(BadInput, match=r"^the DataFrame: cell north, 2026-01-05 03:00:00: DL_GB = nan"):
        gentraffic.import_table(frame, timezone="Europe/Rome")
