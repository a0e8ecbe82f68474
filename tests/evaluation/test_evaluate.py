"""`gentraffic evaluate`: figures against the metrics called by hand, answers to bad input, and the page."""

import json
import re
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from traffic_examples import context, traffic, without_positions

from gentraffic.cli.main import run
from gentraffic.evaluation.alignment import align
from gentraffic.evaluation.evaluate import Evaluation, evaluate, winners
from gentraffic.evaluation.intervals import make_resample
from gentraffic.evaluation.metrics import rhythm
from gentraffic.evaluation.metrics import summary as m
from gentraffic.evaluation.scores import METRICS
from gentraffic.io.files import read_context, write_context, write_traffic
from gentraffic.modelling.features import read_places
from gentraffic.modelling.levels import LevelModel
from gentraffic.places.find import CONTEXTS


def ensemble(real: xr.Dataset, members: int = 6, seed: int = 2) -> xr.Dataset:
    """Members about the real values: levels off by a third, hours by a fifth, the day later by an hour or two."""
    rng = np.random.default_rng(seed)
    truth = real["internet"].values
    level = rng.lognormal(0, 0.3, (members, len(truth), 1))
    drawn = np.roll(truth, int(rng.integers(1, 3)), axis=1) * level * rng.gamma(25, 1 / 25, (members, *truth.shape))
    dims = ("member", "cell", "time")
    ds = real.assign(internet=(dims, drawn.astype(np.float32), real["internet"].attrs))
    return ds.assign_coords(member=np.arange(members, dtype=np.int32))


REAL = traffic(days=15, units="MB")
DRAWN = ensemble(REAL)
LIVE = [i for i in range(36) if i != 3]
PERFECT = {metric.name: metric.best for metric in METRICS if not metric.ensemble}
FILES = {
    "real.nc": REAL,
    "drawn.nc": DRAWN,
    "one-member.nc": DRAWN.isel(member=0, drop=True),
    "relative.nc": traffic(days=15, members=2, seed=3),
    "erlangs.nc": traffic(days=15, seed=3, units="erlang"),
    "one-cell.nc": REAL.isel(cell=[7]),
    "dead.nc": REAL.isel(cell=[3]),
    "one-step.nc": REAL.isel(time=[7]),
    "later.nc": traffic(days=15, seed=3, units="MB", start="2014-05-01T22:00"),
    "stations.nc": traffic(context("stations"), units="MB"),
}


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Intervals from 50 draws, not 1000: what they are is tested beside them, in test_metrics.py and
    test_naive_rows.py."""
    for module in ("evaluation.evaluate", "reports.evaluation_figures"):
        monkeypatch.setattr(f"gentraffic.{module}.make_resample", partial(make_resample, draws=50))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("files")
    for name, ds in FILES.items():
        write_traffic(ds, where / name)
    write_context(context(), where / "context.nc")
    (where / "torn.nc").write_bytes((where / "real.nc").read_bytes()[:9000])
    write_traffic(without_positions(REAL), where / "unplaced.nc")
    write_traffic(without_positions(DRAWN), where / "unplaced-drawn.nc")
    nan = REAL.copy(deep=True)
    nan["internet"].values[4, 9] = np.nan
    nan.to_netcdf(where / "nan.nc", engine="h5netcdf")
    return where


def values(found: Evaluation) -> dict[str, float | None]:
    return {name: score.value for name, score in found.scores.items()}


def with_values(ds: xr.Dataset, array: np.ndarray) -> xr.Dataset:
    return ds.assign(internet=(("cell", "time"), array.astype(np.float32), ds["internet"].attrs))


def test_a_copy_of_the_real_data_is_perfect() -> None:
    found = evaluate(REAL, REAL)
    for name, best in PERFECT.items():
        assert found.scores[name].value == pytest.approx(best, abs=1e-6), name
        assert found.scores[name].low == pytest.approx(best, abs=1e-6) or name == "spatial_acf_error", name
    copies = xr.concat([REAL] * 4, "member").transpose("member", "cell", "time")
    ensemble = evaluate(REAL, copies).scores
    assert all(
        ensemble[name].value == pytest.approx(0, abs=1e-6) for name in ("crps", "crps_shape", "crps_level", "diversity")
    )
    assert ensemble["coverage_50"].value == ensemble["coverage_90"].value == 1.0


def test_every_value_is_the_metric_called_by_hand() -> None:
    real, members = REAL["internet"].values[LIVE].astype(np.float64), DRAWN["internet"].values[:, LIVE]
    mean, scale = members.mean(axis=0, dtype=np.float64), m.p9999(real)
    xy = np.stack([REAL["x"].values, REAL["y"].values], 1)[LIVE]
    weeks = np.stack([real[:, :168], real[:, 168:336]])
    local = pd.DatetimeIndex(REAL["time"].values).tz_localize("UTC").tz_convert(REAL.attrs["timezone"])
    hour = np.asarray(local.day_of_week * 24 + local.hour)
    weekends = [rhythm.weekend_ratio_cells(v, hour)[:, None] for v in (real, mean)]
    wanted = {
        "roughness_ratio": rhythm.roughness_ratio(real, members),
        "weekend_error": rhythm.weekend_error(real, members, hour),
        "weekend_spearman": m.level_spearman(*weekends),
        "rhythm_mae": rhythm.rhythm_mae(real, mean, hour),
        "shape_spread_ratio": rhythm.shape_spread_ratio(real, members),
        "mae": m.mae(real, mean), "rmse": m.rmse(real, mean), "mae_p9999": m.mae_p9999(real, mean, scale),
        "rmse_p9999": m.rmse_p9999(real, mean, scale), "mae_minmax": m.mae_minmax(real, mean),
        "rmse_minmax": m.rmse_minmax(real, mean), "jsd_softmax24": m.jsd_softmax24(real, mean),
        "crps": m.crps(real, members), "crps_p9999": m.crps(real, members) / scale,
        "crps_shape": m.crps_shape(real, members), "crps_shape_p9999": m.crps_shape(real, members) / scale,
        "crps_level": m.crps_level(real, members), "coverage_50": m.coverage_50(real, members),
        "coverage_90": m.coverage_90(real, members), "jsd_hist": m.jsd_hist(real, members),
        "jsd_distance_week": m.jsd_distance_week(real, members), "level_spearman": m.level_spearman(real, mean),
        "level_logmae": m.level_logmae(real, mean), "acf_error": m.acf_error(real, members),
        "spatial_acf_error": m.spatial_acf_error(real, members, xy), "peak_hour_error": m.peak_hour_error(real, mean),
        "tail_ratio_99": m.tail_ratio_99(real, members), "tail_ratio_999": m.tail_ratio_999(real, members),
        "diversity": m.diversity(members, weeks),
    }  # fmt: skip
    assert values(evaluate(REAL, DRAWN)) == pytest.approx(wanted, rel=1e-9)


def test_cadence_and_first_hour_reach_the_metrics_of_the_day() -> None:
    real = traffic(days=4, minutes=30, start="2013-11-01T04:30", units="MB")
    drawn = ensemble(real).isel(member=0, drop=True)
    found = evaluate(real, drawn).scores
    a, b = (d["internet"].values[LIVE].astype(np.float64) for d in (real, drawn))  # from 5:30 in Rome
    hours = [v[:, 1:191].reshape(35, 95, 2).mean(axis=2) for v in (a, b)]  # from 6:00
    assert found["jsd_softmax24"].value == pytest.approx(m.jsd_softmax24(*hours, first_hour=6))
    assert found["peak_hour_error"].value == pytest.approx(m.peak_hour_error(*(h[:, 18:90] for h in hours)))
    assert found["acf_error"].value == pytest.approx(m.acf_error(a, b, per_hour=2))


def test_shuffled_hours_are_seen_by_the_autocorrelation_and_a_wrong_scale_by_the_histogram() -> None:
    array = REAL["internet"].values
    shuffled = evaluate(REAL, with_values(REAL, array[:, np.random.default_rng(0).permutation(360)])).scores
    assert shuffled["acf_error"].value > 0.2  # type: ignore[operator]
    assert shuffled["jsd_hist"].value == pytest.approx(0, abs=1e-9)
    scaled = evaluate(REAL, with_values(REAL, array * 1000)).scores
    assert scaled["jsd_hist"].value > 0.5  # type: ignore[operator]
    assert scaled["acf_error"].value == pytest.approx(0, abs=1e-6)
    assert scaled["jsd_distance_week"].value == pytest.approx(0, abs=1e-3)
    assert scaled["tail_ratio_99"].value == pytest.approx(1000, rel=1e-5)


def test_symmetric_metrics_are_symmetric() -> None:
    one = DRAWN.isel(member=0, drop=True)
    there, back = values(evaluate(REAL, one)), values(evaluate(one, REAL))
    for name in ("mae", "rmse", "jsd_distance_week", "level_spearman", "level_logmae", "acf_error", "peak_hour_error"):
        assert there[name] == pytest.approx(back[name], rel=1e-6), name
    assert there["tail_ratio_99"] == pytest.approx(1 / back["tail_ratio_99"], rel=1e-6)  # type: ignore[operator]


def test_no_metric_of_the_specification_is_missing(shared_data: Path) -> None:
    text = (shared_data.parent / "METRICS.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1] for line in text[: text.index("## Usefulness")].splitlines() if line.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    have = [metric.name for metric in METRICS]
    assert len(named) > 15
    assert named <= set(have)
    assert {"mae_p9999", "rmse_p9999", "mae_minmax", "rmse_minmax"} <= set(have)
    assert len(have) == len(set(have))


def test_winners_are_nearest_to_the_perfect_value() -> None:
    found = evaluate(REAL, DRAWN)
    coverage = next(metric for metric in METRICS if metric.name == "coverage_90")
    perfect = {**found.scores, "coverage_90": found.scores["coverage_90"].__class__(0.88)}
    wide = {**found.scores, "coverage_90": found.scores["coverage_90"].__class__(1.0)}
    assert winners(coverage, {"a": wide, "b": perfect, "b*users": {**wide, "coverage_90": type(wide["mae"])(0.9)}}) == [
        "b"
    ]
    assert winners(coverage, {"a": wide}) == []


def test_files_that_share_no_time_are_scored_by_distributions_alone() -> None:
    real, moved = REAL, traffic(days=15, units="MB", start="2014-10-30T23:00")  # 52 weeks later, the same values
    found = evaluate(real, moved)
    for metric in METRICS:
        score = found.scores[metric.name]
        if metric.paired:
            assert score.value is None
            assert "share no time" in score.reason
        elif not metric.ensemble:
            assert score.value == pytest.approx(metric.best, abs=1e-6), metric.name


def test_one_member_has_no_ensemble_metrics() -> None:
    found = evaluate(REAL, DRAWN.isel(member=[2])).scores
    for metric in METRICS:
        assert (found[metric.name].value is None) == metric.ensemble, metric.name
        assert ("one member" in found[metric.name].reason) == metric.ensemble


def test_one_cell_and_one_step_are_scored_as_far_as_they_go() -> None:
    cell = evaluate(FILES["one-cell.nc"], DRAWN)
    assert cell.scores["mae"].value == pytest.approx(
        m.mae(REAL["internet"].values[[7]], DRAWN["internet"].values[:, [7]].mean(0))
    )
    assert cell.scores["mae"].low is None
    assert "one cell" in cell.scores["level_spearman"].reason
    assert any("no intervals" in note for note in cell.notes)
    step = evaluate(FILES["one-step.nc"], DRAWN)
    assert step.scores["crps"].value is not None
    assert step.scores["acf_error"].value is None
    assert "no whole day" in step.scores["peak_hour_error"].reason


def test_the_p9999_scaling_is_of_the_training_data() -> None:
    found = evaluate(REAL.isel(cell=slice(0, 9)), DRAWN, train=REAL.isel(cell=slice(9, 36)))
    assert found.p9999 == (m.p9999(REAL["internet"].values[9:]), "train")
    assert found.scores["mae_p9999"].value == pytest.approx(found.scores["mae"].value / found.p9999[0])  # type: ignore[operator]
    assert evaluate(REAL, DRAWN).p9999 == (m.p9999(align(REAL, DRAWN).real), "real")


def test_relative_traffic_of_an_unmeasured_place_is_scaled_by_what_it_has_in_the_training_cells() -> None:
    """1 is the mean cell of all that was drawn, of which training cells may be the busy ones."""
    import gentraffic

    place = read_context(CONTEXTS / "monaco.nc")
    drawn = gentraffic.sample("monaco", model="stouter-fast", members=2)
    expected = np.exp(LevelModel({}).relative(read_places(place))[0])  # by the prior law, whose mean is 1
    busy = np.argsort(expected)[-60:]
    measured = drawn.isel(member=1, cell=busy).drop_vars("member", errors="ignore").copy(deep=True)
    measured["traffic"] = (measured["traffic"] * 500.0).assign_attrs(units="MB")
    measured.attrs = {k: v for k, v in measured.attrs.items() if k != "model_networks"}
    train, real = measured.isel(cell=slice(0, 60, 2)), measured.isel(cell=slice(1, 60, 2))
    rest = drawn.isel(cell=busy[1::2])
    found = evaluate(real, rest, train=train, context=place).pair
    mean = float(train["traffic"].values.mean(dtype=float))
    assert found.factor == pytest.approx(mean / expected[busy[::2]].mean(), rel=1e-4)
    assert found.factor < 0.8 * mean
    whole = evaluate(real, drawn, train=train, context=place).pair
    assert whole.factor == pytest.approx(mean / drawn["traffic"].values[:, busy[::2]].mean(dtype=float), rel=1e-4)
    named = place.assign_attrs(network="milan")
    assert evaluate(real, rest, train=train, context=named).pair.factor == pytest.approx(mean, rel=1e-6)


def test_silent_synthetic_cells_are_said() -> None:
    array = REAL["internet"].values.copy()
    array[[3, 7, 9]] = 0  # 3 is dead in the real file, too
    found = evaluate(REAL, with_values(REAL, array))
    assert "2 of the 35 cells compared are zero throughout in --synthetic" in found.notes
    assert found.pair.counts["cells"] == 35
    assert not any("zero throughout" in note for note in evaluate(REAL, DRAWN).notes)


BAD = {
    "no common cells": (["real.nc", "stations.nc"], 2, "no cell_id is in both files"),
    "other units": (["real.nc", "erlangs.nc"], 2, "--scale"),
    "all dead": (["dead.nc", "drawn.nc"], 5, "dead"),
    "NaN": (["nan.nc", "drawn.nc"], 5, "NaN"),
    "NaN drawn": (["real.nc", "nan.nc"], 5, "nan.nc"),
    "torn": (["torn.nc", "drawn.nc"], 5, "torn.nc"),
    "no such file": (["nowhere.nc", "drawn.nc"], 5, "no such file"),
    "a context": (["real.nc", "context.nc"], 5, "context.nc"),
    "a page": (["real.nc", "page.html"], 2, "suffix"),
    "a real ensemble": (["drawn.nc", "drawn.nc"], 2, "must be measured"),
    "context alone": (["real.nc", "drawn.nc", "--context", "context.nc"], 2, "--train"),
    "traffic as context": (["real.nc", "drawn.nc", "--train", "real.nc", "--context", "real.nc"], 5, "real.nc"),
    "train is real": (["real.nc", "drawn.nc", "--train", "real.nc"], 2, "no live cell"),
    "train of other units": (["real.nc", "drawn.nc", "--train", "erlangs.nc"], 2, "--train is in 'erlang'"),
    "no such service": (["real.nc", "drawn.nc", "--service", "calls"], 2, "in neither file"),
    "no such scale": (["real.nc", "drawn.nc", "--scale", "best"], 2, "--scale best"),
    "page without suffix": (["real.nc", "drawn.nc", "--html", "page"], 2, "suffix"),
    "page in no folder": (["real.nc", "drawn.nc", "--html", "nowhere/page.html"], 5, "nowhere"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_answered_in_one_line(
    case: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (real, synthetic, *more), code, said = BAD[case]
    monkeypatch.chdir(folder)
    assert run(["evaluate", "--real", real, "--synthetic", synthetic, *more]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("gentraffic: ")
    assert err.count("\n") == 1
    assert said in err


@pytest.mark.parametrize("synthetic", ["drawn.nc", "one-member.nc", "later.nc", "relative.nc"])
def test_the_report_is_strict_json_with_exact_names(
    synthetic: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    assert run(["evaluate", "--real", "real.nc", "--synthetic", synthetic, "--json"]) == 0

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    told = json.loads(capsys.readouterr().out, parse_constant=refuse)
    assert list(told["metrics"]) == [metric.name for metric in METRICS]
    assert told["cells"] == 35
    assert told["cells_dead"] == 1
    assert told["units"] == "MB"
    for name, entry in told["metrics"].items():
        assert ("reason" in entry) == (entry["value"] is None), name
        if entry["low"] is not None:
            assert entry["low"] <= entry["value"] * (1 + 1e-9) + 1e-12
            assert entry["value"] <= entry["high"] * (1 + 1e-9) + 1e-12
    assert told["paired"] == (synthetic != "later.nc")
    assert told["scaling"]["how"] == ("mean of real" if synthetic == "relative.nc" else "none")
    assert (told["scaling"]["factor"] == 1.0) == (synthetic != "relative.nc")


def test_the_table_says_what_was_compared(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "80")
    assert run(["evaluate", "--real", "real.nc", "--synthetic", "relative.nc"]) == 0
    out = capsys.readouterr().out
    assert "35 compared, 1 dead" in out
    assert "360 of 60 min" in out
    assert "units 'MB'; scaling: mean of real" in out
    for metric in METRICS:
        assert re.search(rf"^ {re.escape(metric.label)} ", out, re.MULTILINE), metric.name
    assert "no naive row" in out
    table = out[out.index(" metric") : out.index("no naive row")]
    assert max(map(len, table.splitlines())) <= 80
    assert run(["evaluate", "--real", "real.nc", "--synthetic", "relative.nc", "--quiet"]) == 0
    assert capsys.readouterr().out == ""


def test_the_page_stands_alone(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    hostile = REAL.assign_attrs(place="</title><script>alert(1)</script>", attribution='<img src="http://x.example/">')
    names = REAL["cell_id"].values.astype(str).astype(object) + "$<b>"
    hostile = hostile.assign_coords(cell_id=("cell", names))
    write_traffic(hostile, folder / "hostile.nc")
    write_traffic(DRAWN.assign_coords(cell_id=("cell", names)), folder / "hostile-drawn.nc")
    assert (
        run(["evaluate", "--real", "hostile.nc", "--synthetic", "hostile-drawn.nc", "--html", "p.html", "--json"]) == 0
    )
    assert json.loads(capsys.readouterr().out)["html"] == "p.html"
    page = (folder / "p.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "<img" not in page
    assert "default-src 'none'" in page
    addresses = set(re.findall(r"\bhttps?://[^\s\"'<>)]+", page)) - {"http://x.example/&#34;&gt;"}
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink", "http://x.example/&#34;&gt;"}
    for reference in re.findall(r"""(?:href|src)\s*=\s*["']([^"']*)|url\(([^)]*)\)""", page):
        assert "".join(reference).startswith(("#", "data:")), reference
    assert "@import" not in page
    assert page.count("<svg ") == 6
    ids = re.findall(r'\bid="([^"]+)"', page)
    used = re.findall(r'(?:href="|url\()#([^")]+)', page)
    assert len(ids) == len(set(ids))
    assert set(used) <= set(ids)
    for metric in METRICS:
        assert f"<code>{metric.label}</code>" in page


@pytest.mark.parametrize(
    ("real", "synthetic", "pictures"),
    [
        pytest.param("one-cell.nc", "drawn.nc", 5, marks=pytest.mark.slow),
        ("one-step.nc", "drawn.nc", 5),
        ("real.nc", "later.nc", 4),
        pytest.param("real.nc", "one-member.nc", 5, marks=pytest.mark.slow),
        ("unplaced.nc", "unplaced-drawn.nc", 5),
    ],
)
def test_the_page_says_why_a_picture_is_missing(
    real: str, synthetic: str, pictures: int, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    assert run(["evaluate", "--real", real, "--synthetic", synthetic, "--html", "p.html", "--quiet"]) == 0
    page = (folder / "p.html").read_text(encoding="utf-8")
    assert page.count("<svg ") == pictures
    assert page.count("Not shown: ") == 6 - pictures


def test_few_cells_of_which_a_resample_holds_one_alone_are_scored() -> None:
    place = {"cell": [0, 1]}
    real, drawn = (traffic(seed=seed).isel(place) for seed in (1, 2))
    spread = evaluate(real, drawn).scores["shape_spread_ratio"].value
    assert spread is not None
    assert 0 < spread < 10
