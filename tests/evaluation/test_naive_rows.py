"""Naive rows and intervals of `gentraffic evaluate`: against evaluation.naive_rows called by hand, P1, brute force."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from traffic_examples import context, traffic

from gentraffic.cli.main import run
from gentraffic.dataset.splits import block_locations, p1_folds
from gentraffic.errors import WrongUse
from gentraffic.evaluation import naive_rows as naive
from gentraffic.evaluation.alignment import Pair, align
from gentraffic.evaluation.baselines import NAMES, naive_rows, read_training
from gentraffic.evaluation.evaluate import evaluate
from gentraffic.evaluation.intervals import (
    Resample,
    bootstrap_interval,
    hist_counts,
    interval,
    loop_draws,
    make_resample,
    pair_distance_cells,
    tail_draws,
)
from gentraffic.evaluation.metrics import summary as m
from gentraffic.evaluation.scores import METRICS, Row, score
from gentraffic.io.files import write_context, write_traffic

CONTEXT = context()
ALL = traffic(CONTEXT, days=21, units="MB")  # from Friday 1 November 2013 in Rome
TEST = [0, 1, 2, 7, 8, 20, 35]
TRAIN = [i for i in range(36) if i not in TEST and i != 3]
REAL, REST = ALL.isel(cell=TEST), ALL.isel(cell=[i for i in range(36) if i not in TEST])
VALUES = ALL["internet"].values.astype(np.float64)


def rows(train: xr.Dataset, pair: Pair, real: xr.Dataset, places: xr.Dataset | None = CONTEXT, seed: int = 5) -> dict:
    return dict(naive_rows(read_training(train, real, pair), pair, real, places, seed))


def features() -> tuple[np.ndarray, np.ndarray]:
    ground = block_locations(CONTEXT["x"].values, CONTEXT["y"].values, 1000.0)
    own, around = naive.poi_features(CONTEXT["poi_count"].values, ground)
    return naive.standardise(own), naive.standardise(np.concatenate([own, around], axis=1))


def test_naive_rows_are_those_of_gentraffic_naive_called_by_hand() -> None:
    got = rows(REST, align(REAL, REAL), REAL)
    past, (own, both) = VALUES[TRAIN], features()
    ridge = naive.fit_level([(past, both[TRAIN])])
    known, wanted = (ridge(both[i]) + naive.city_level(past) for i in (TRAIN, TEST))

    def rng(name: str) -> np.random.Generator:
        return np.random.default_rng([5, NAMES.index(name)])

    by_hand = {
        "mean-series": naive.mean_series(past, 7),
        "bootstrap": naive.bootstrap(past, 7, 20, rng("bootstrap")),
        "knn-1": naive.knn(past, own[TRAIN], own[TEST], 1),
        "knn-20": naive.knn(past, own[TRAIN], own[TEST], 20),
        "knn-level": naive.knn_level(past, known, wanted, 20, rng("knn-level")),
        "ridge-level x mean-shape": naive.level_x_mean_shape(past, np.exp(wanted)),
        "ridge-level x bootstrap-shape": naive.level_x_bootstrap_shape(
            past, np.exp(wanted), 20, rng("ridge-level x bootstrap-shape")
        ),
    }
    for name, members in by_hand.items():
        np.testing.assert_array_equal(got[name], members, err_msg=name)
    assert list(got) == list(NAMES)
    assert "0 of the 7 cells" in got["climatology"]
    assert "users" in got["b*users"]


def test_naive_rows_are_scored_as_the_synthetic_one() -> None:
    found = evaluate(REAL, REAL, train=REST, context=CONTEXT, seed=5)
    for name, members in rows(REST, align(REAL, REAL), REAL).items():
        if isinstance(members, str):
            assert found.missing[name] == members
            continue
        real = VALUES[TEST]
        assert found.naive[name]["rmse"].value == pytest.approx(m.rmse(real, members.mean(axis=0, dtype=np.float64)))
        assert found.naive[name]["crps"].value == pytest.approx(m.crps(real, members))
        if len(members) == 1:
            assert found.naive[name]["crps"].value == pytest.approx(found.naive[name]["mae"].value)
            assert found.naive[name]["coverage_90"].value is None


def test_training_neither_shares_hours_nor_ground_with_what_is_compared() -> None:
    pair = align(REAL, REAL)
    whole = read_training(ALL, REAL, pair)  # the file that the real one was cut from
    np.testing.assert_array_equal(whole.values, read_training(REST, REAL, pair).values)
    assert any(note.startswith("7 cells of --train were left out") for note in whole.notes)
    place = xr.DataArray(np.arange(36) // 6, dims="cell")
    located = ALL.assign_coords(location=place).assign_attrs(network="here")
    real = located.isel(cell=[0, 1])
    kept = read_training(located, real, align(real, real))
    np.testing.assert_array_equal(kept.every.ids, [str(i + 1) for i in range(6, 36)])  # a location is one ground
    elsewhere = read_training(located.assign_attrs(network="there"), real, align(real, real))
    assert len(elsewhere.every.ids) == 34
    with pytest.raises(WrongUse, match="no live cell"):
        read_training(REAL, REAL, pair)


def test_a_train_file_that_reaches_into_the_compared_period_is_cut_before_it() -> None:
    last = REAL.isel(time=slice(336, 504))
    training = read_training(ALL, last, align(last, last))
    assert training.every.steps == 336
    assert len(training.every.ids) == 36
    assert training.notes == ("--train was cut before the compared period: 168 steps were left out",)
    assert training.live.tolist() == [i for i in range(36) if i != 3]


def test_climatology_is_the_mean_of_the_same_hour_in_earlier_weeks() -> None:
    last = REAL.isel(time=slice(336, 480))
    got = rows(ALL, align(last, last), last)["climatology"]
    wanted = (VALUES[TEST, :144] + VALUES[TEST, 168:312]) / 2
    np.testing.assert_allclose(got, wanted[None], rtol=1e-6)
    first = REAL.isel(time=slice(0, 168))
    assert "not earlier" in rows(ALL.isel(time=slice(168, 504)), align(first, first), first)["climatology"]


def test_training_of_another_period_is_taken_from_the_same_hours_of_the_week() -> None:
    last = REAL.isel(time=slice(340, 504))
    shape = rows(REST.isel(time=slice(24, 200)), align(last, last), last)["mean-series"]
    slots = (np.arange(340, 504) - 24) % 168 + 24  # the first whole week that training holds
    np.testing.assert_allclose(shape[0, 0], VALUES[TRAIN].mean(axis=0)[slots], rtol=1e-6)
    few = rows(REST.isel(time=slice(0, 100)), align(last, last), last)
    assert "nor a whole week" in few["bootstrap"]


def test_b_users_needs_users_in_both() -> None:
    users = {"users": (("cell", "time"), (ALL["internet"].values / 7).astype(np.float32), {"units": "1"})}
    train, real = REST.assign(ALL.assign(users).isel(cell=[i for i in range(36) if i not in TEST])[["users"]]), REAL
    real = REAL.assign(ALL.assign(users).isel(cell=TEST)[["users"]])
    got = rows(train, align(real, real), real)["b*users"]
    np.testing.assert_allclose(got[0], VALUES[TEST], rtol=1e-4)
    assert isinstance(rows(train, align(REAL, REAL), REAL)["b*users"], str)


def test_without_a_context_only_rows_without_pois_stand() -> None:
    got = rows(REST, align(REAL, REAL), REAL, None)
    assert [name for name, made in got.items() if not isinstance(made, str)] == ["mean-series", "bootstrap"]
    with pytest.raises(WrongUse, match="lacks 1 cells of --real, the first is '36'"):
        rows(REST, align(REAL, REAL), REAL, CONTEXT.isel(cell=slice(0, 35)))


@pytest.mark.slow
def test_the_command_prints_the_naive_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_traffic(REAL, tmp_path / "real.nc")
    write_traffic(REST, tmp_path / "train.nc")
    write_context(CONTEXT, tmp_path / "context.nc")
    files = {name: str(tmp_path / f"{name}.nc") for name in ("real", "train", "context")}
    words = ["evaluate", "--synthetic", files["real"], *(w for k, v in files.items() for w in (f"--{k}", v))]
    assert run(words) == 0
    out = capsys.readouterr().out
    assert "Beside the naive rows" in out
    assert "mae: 0 is nearer to real than the best naive row" in out
    assert run([*words, "--json", "--html", str(tmp_path / "page.html")]) == 0
    told = json.loads(capsys.readouterr().out)
    assert list(told["naive"]) == [name for name in NAMES if name not in ("climatology", "b*users")]
    assert set(told["naive_missing"]) == {"climatology", "b*users"}
    assert list(told["naive"]["knn-20"]) == [metric.name for metric in METRICS]
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert all(re.search(rf"<th[^>]*>{re.escape(name)}</th>", page) for name in told["naive"])


@pytest.mark.slow
def test_p1_gives_the_same_figures_on_real_data(shared_data: Path) -> None:
    """A second implementation: the benchmark's own scores of one fold of uomo_sd."""
    from gentraffic.evaluation import holdout as p1
    from gentraffic.io.importers.uomo import read_uomo
    from gentraffic.modelling.measured import read_source

    whole, places = read_uomo(shared_data / "traffic" / "uomo_sd.npz")
    week = np.flatnonzero(whole["week"].values == 0)
    real, places = whole.isel(cell=week, time=slice(0, 168)), places.isel(cell=week)
    train, held = (real.isel(cell=cells) for cells in p1_folds(real, 5, 0)[0])
    parts = {"uomo-sd": (read_source(train, [places]), read_source(held, [places]))}
    found = evaluate(held, held, train=train, context=places)
    for name, drawn in p1.holdout_rows(parts, 0).items():
        if name not in ("knn-20", "ridge-level x mean-shape", "mean-series"):  # the others draw from another stream
            continue
        theirs = p1.score(drawn, parts)["uomo-sd"]
        mine = found.naive[name]
        if name == "knn-20":
            for metric in ("crps_p9999", "crps_shape_p9999", "crps_level", "coverage_90"):
                other = metric.removesuffix("_p9999")
                assert mine[metric].value == pytest.approx(np.mean(theirs[other]), rel=2e-3), metric
                ends = bootstrap_interval(np.array(theirs[other]), np.array(theirs["location"]), draws=1000)
                assert (mine[metric].low, mine[metric].high) == pytest.approx(ends, rel=2e-3)
        assert mine["jsd_hist"].value == pytest.approx(theirs["jsd_hist"], rel=1e-2)
        assert mine["acf_error"].value == pytest.approx(theirs["acf_error"], rel=1e-2)


GROUPS = np.array([0, 0, 1, 1, 1, 2, 3, 3, 3, 3, 4, 4])


def data(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    level = np.exp(rng.normal(0, 1, (12, 1)))
    return level * rng.gamma(4, 1, (12, 72)), level * rng.gamma(3, 1.4, (3, 12, 72))


def test_draws_of_a_mean_are_those_of_bootstrap_interval() -> None:
    values = np.random.default_rng(1).lognormal(size=12)
    resample = make_resample(GROUPS, seed=4)
    assert interval(resample.mean(values)) == pytest.approx(bootstrap_interval(values, GROUPS, draws=1000, seed=4))
    marked = np.arange(12) != 5
    kept = bootstrap_interval(values[marked], GROUPS[marked], draws=1000, seed=4)  # other groups, other draws
    assert interval(resample.mean(values[marked], marked)) == pytest.approx(kept, rel=0.3)
    alone = make_resample(np.zeros(12))
    assert interval(alone.mean(values)) is None


def brute(resample: Resample, statistic: object) -> np.ndarray:
    return np.array([statistic(cells) for cells in resample.cells()])  # type: ignore[operator]


def test_histograms_per_cell_pool_to_jsd_hist() -> None:
    real, members = data()
    a, b = hist_counts(real, members)
    assert a.sum() == real.size
    assert b.sum() == members.size
    assert m.js_divergence(a.sum(axis=0), b.sum(axis=0)) == pytest.approx(m.jsd_hist(real, members), rel=1e-9)


@pytest.mark.slow
def test_draws_of_tails_and_curves_are_those_of_resampled_data() -> None:
    real, members = data()
    resample = make_resample(GROUPS, seed=2)
    tails = tail_draws(real, members, 0.99, resample)
    wanted = brute(resample, lambda i: m.tail_ratio_99(real[i], members[:, i]))
    np.testing.assert_allclose(tails, wanted, rtol=1e-9)
    clock = 4 * 86_400 + 3600 * np.arange(72)
    row = Row(real, members, clock, 3600, np.zeros((12, 2)), members, 1.0, True, resample)
    scores = score(row)
    exact = {
        "acf_error": lambda i: m.acf_error(real[i], members[:, i]),
        "jsd_distance_week": lambda i: m.jsd_distance_week(real[i], members[:, i]),
        "level_spearman": lambda i: m.level_spearman(real[i], members.mean(axis=0)[i]),
        "level_logmae": lambda i: m.level_logmae(real[i], members.mean(axis=0)[i]),
        "diversity": lambda i: m.diversity(members[:, i], members[:, i]),
    }
    for name, statistic in exact.items():
        draws = brute(resample, statistic)
        value = statistic(np.arange(12))
        if name in ("acf_error", "jsd_distance_week", "diversity"):  # these use all the draws, not the first ones
            draws = np.array([statistic(np.repeat(np.arange(12), t[GROUPS].astype(int))) for t in resample.times])
        low, high = interval(draws + value - np.median(draws)) or (0, 0)
        least, most = (-1, 1) if name == "level_spearman" else (0, np.inf)
        ends = np.clip([low, high], least, most)
        assert (scores[name].low, scores[name].high) == pytest.approx(tuple(ends), rel=1e-6, abs=1e-9), name
        assert scores[name].value == pytest.approx(value)


def test_pair_distances_are_what_diversity_divides() -> None:
    _, members = data()
    _, weeks = data(3)
    ratio = pair_distance_cells(members).mean() / pair_distance_cells(weeks).mean()
    assert ratio == pytest.approx(m.diversity(members, weeks))
    pairs = [np.abs(members[i] - members[j]).mean(axis=1) for i in range(3) for j in range(3) if i != j]
    np.testing.assert_allclose(pair_distance_cells(members), np.mean(pairs, axis=0))


@pytest.mark.slow
def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    """Locations of a mother population with a known mean error: 95% intervals of 25 locations hold it 9 times in 10."""
    rng = np.random.default_rng(0)
    held = 0
    for seed in range(200):
        place = np.repeat(np.arange(25), 4)
        error = np.exp(rng.normal(0, 0.5, 25))[place] * rng.gamma(9, 1 / 9, 100)
        low, high = interval(make_resample(place, seed).mean(error)) or (0, 0)
        held += low <= np.exp(0.125) <= high
    assert 170 <= held <= 198


def test_draws_that_are_loops_use_the_cells_of_the_same_groups() -> None:
    resample = make_resample(GROUPS, seed=1)
    counts = loop_draws(lambda cells: float(len(cells)), resample)
    np.testing.assert_array_equal(counts, (resample.times @ np.bincount(GROUPS))[:200])
