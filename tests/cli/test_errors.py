"""What a user can get wrong in the newer commands: one line, the right exit code, nothing half-written."""

from __future__ import annotations

import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from forecast_examples import QUICK, network
from traffic_examples import context, traffic

import gentraffic
from gentraffic.cli.main import run
from gentraffic.errors import BadInput, did_you_mean
from gentraffic.forecasting.data import split
from gentraffic.forecasting.fit import fit_forecaster
from gentraffic.places.context import read_place
from gentraffic.places.query import PlaceQuery
from gentraffic.planning.milp import solve
from gentraffic.training.trainer import Run, Trainer
from poi.errors import NetworkFailed

SAMPLE = ["sample", "--city", "monaco", "-o", "a.nc"]
SLEEP = ["plan", "sleep", "none.nc", "-o", "a.nc"]
PRB = ["plan", "prb", "none.nc", "-o", "a.nc"]
DEPLOY = ["plan", "deploy", "none.nc", "-o", "a.geojson"]
FORECAST = ["forecast", "fit", "lstm", "--traffic", "none.nc", "-o", "m"]
FINETUNE = ["finetune", "fomo", "--model", "fomo-base", "--traffic", "none.nc", "-o", "m"]
AUDIT = ["audit", "--train", "a.nc", "--holdout", "b.nc", "--synthetic", "c.nc"]
NUMBERS = [
    ([*SAMPLE, "--seed", "-1"], "--seed -1: give 0 or more"),
    ([*SAMPLE, "--steps", "0"], "--steps 0: give 1 or more"),
    ([*SAMPLE, "--guidance", "nan"], "--guidance nan: give a finite number"),
    ([*SAMPLE, "--service", "lon"], "--service lon: stouter-fast draws traffic, call_in, call_out, sms_in, sms_out, "
     "internet, calls, sms"),
    ([*SAMPLE, "--total", "größe=5TB/day"], "--total größe: stouter-fast draws traffic, call_in, call_out, sms_in, "
     "sms_out, internet, calls, sms"),
    ([*SAMPLE, "--cell-size", "nan", "--offline"], "--cell-size nan: give 10 to 100000 metres"),
    ([*SLEEP, "--quality", "inf"], "--quality inf: give a finite number"),
    ([*SLEEP, "--serve", "1.5"], "--serve 1.5: give a share, 0 to 1"),
    ([*SLEEP, "--capacity", "0"], "--capacity 0: give an amount above 0 with its unit, such as 3.2GB"),
    ([*SLEEP, "--pool", "-1"], "--pool -1: give 0 or more"),
    ([*SLEEP, "--time-limit", "-5"], "--time-limit -5: give a number above 0"),
    ([*PRB, "--snr-db", "inf"], "--snr-db inf: give a finite number"),
    ([*PRB, "--fading-db", "-1"], "--fading-db -1: give 0 or more"),
    ([*PRB, "--mbit", "0"], "--mbit 0: give a number above 0"),
    ([*PRB, "--prbs", "ten"], "--prbs ten: give a whole number"),
    ([*DEPLOY, "--sites", "2", "--capacity", "0"], "--capacity 0: give an amount above 0 with its unit, such as 3.2GB"),
    ([*DEPLOY, "--sites", "2", "--radius", "inf"], "--radius inf: give a finite number"),
    ([*FORECAST, "--learning-rate", "inf"], "--learning-rate inf: give a finite number"),
    ([*FORECAST, "--threads", "-1"], "--threads -1: give 0 or more"),
    ([*FINETUNE, "--learning-rate", "nan"], "--learning-rate nan: give a finite number"),
    ([*FINETUNE, "--contrast", "nan"], "--contrast nan: give a finite number"),
    (["distil", "-o", "m", "--threads", "1.5"], "--threads 1.5: give a whole number"),
    ([*AUDIT, "--seed", "-1"], "--seed -1: give 0 or more"),
    (["evaluate", "--real", "a.nc", "--synthetic", "b.nc", "--seed", "-1"], "--seed -1: give 0 or more"),
    (["validate", "--real", "a.nc", "--synthetic", "b.nc", "--seed", "-1"], "--seed -1: give 0 or more"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "says"), NUMBERS)
def test_a_number_that_makes_no_sense_is_named_before_the_work(
    words: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(words) == 2
    assert capsys.readouterr().err == f"gentraffic: {says}\n"
    assert not list(tmp_path.iterdir())


def test_a_forecaster_that_is_none_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("stouter-base", "none"):
        words = ["forecast", "run", "--model", name, "--history", "a.nc", "-o", str(tmp_path / "n.nc")]
        assert run(words) == 6
        assert capsys.readouterr().err == (
            f"gentraffic: no forecaster in {name}: give a folder of `gentraffic forecast fit`\n"
        )


def test_a_mistyped_bundled_city_is_guessed_also_without_a_network() -> None:
    with pytest.raises(NetworkFailed, match=r"did you mean --city monaco\?"):
        read_place(PlaceQuery(city="monacoo", offline=True))


def test_a_training_part_without_a_step_is_told() -> None:
    with pytest.raises(BadInput, match=r"--train 0\.001 of 192 steps is none"):
        split(network(), train=0.001)


def test_a_run_that_is_lost_keeps_no_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be resumed to its end, and be a model of NaN."""
    monkeypatch.setattr(Trainer, "_one_step", lambda trainer: float("nan"))
    train, validation, _ = split(network())
    plan = replace(QUICK, check_every=1)
    with pytest.raises(BadInput, match="the loss is not finite at step 1: lower the learning rate"):
        fit_forecaster("lstm", [train], [validation], plan, run=Run(tmp_path / "c.safetensors"))
    assert not list(tmp_path.iterdir())


def test_a_geopackage_on_a_full_disk_is_one_line_and_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyogrio
    from pyogrio.errors import FeatureError

    from gentraffic.io.export.gis import write_geopackage

    def full(frame: object, path: Path, **options: object) -> None:
        path.write_bytes(b"half")
        raise FeatureError("database or disk is full")

    monkeypatch.setattr(pyogrio, "write_dataframe", full)
    with pytest.raises(BadInput, match=r"cannot write .*x\.gpkg: database or disk is full"):
        write_geopackage(traffic(context(n=3)), tmp_path / "x.gpkg")
    assert not list(tmp_path.iterdir())


def test_the_solver_hears_an_interrupt() -> None:
    """A knapsack of many constraints, which takes HiGHS far longer than a second."""
    from scipy.optimize import Bounds, LinearConstraint

    rng = np.random.default_rng(0)
    weights, worth = rng.integers(1, 100, (60, 400)), rng.integers(1, 100, 400)
    began = time.monotonic()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # background shells have it ignored
    threading.Timer(1.0, lambda: signal.raise_signal(signal.SIGINT)).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            solve(
                -worth, constraints=LinearConstraint(weights, ub=weights.sum(axis=1) / 2), integrality=np.ones(400),
                bounds=Bounds(0, 1), options={"time_limit": 12.0},
            )  # fmt: skip
    finally:
        signal.signal(signal.SIGINT, before)
    assert time.monotonic() - began < 8


@pytest.mark.parametrize(
    ("words", "code", "near"),
    [
        (["sample", "--city", "Milan, Itlay", "--offline", "-o", "x.nc"], 4, "did you mean --city milan?"),
        (["sample", "--city", "Trentoo, Italy", "--offline", "-o", "x.nc"], 4, "without a network: helsinki, "),
        (["sample", "--city", "monaco", "--model", "stouter-bse", "-o", "x.nc"], 6, "did you mean stouter-base?"),
        (["sample", "--city", "monaco", "--rhythm", "miln", "-o", "x.nc"], 2, "did you mean milan?"),
        (["sample", "--city", "monaco", "--service", "trafic", "-o", "x.nc"], 2, "did you mean traffic?"),
        (["fit", "stoutr", "--traffic", "t.nc", "--context", "c.nc", "-o", "m"], 2, "did you mean stouter?"),
        (["sample", "--city", "monaco", "--timezone", "Europe/Roma", "-o", "x.nc"], 2, "did you mean Europe/Rome?"),
        (["export", "geopakage", "t.nc", "-o", "x.gpkg"], 2, "did you mean geopackage?"),
        (["forecast", "fit", "lightgmb", "--traffic", "t.nc", "-o", "m"], 2, "did you mean lightgbm?"),
    ],
)
def test_a_misspelt_name_is_answered_with_the_nearest(
    words: list[str], code: int, near: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for name in ("t.nc", "c.nc"):
        (tmp_path / name).write_bytes(b"")
    assert run(words) == code
    err = capsys.readouterr().err
    assert near in err
    assert err.count("\n") == 1


def test_nothing_is_suggested_for_what_is_like_no_name() -> None:
    assert did_you_mean("xyz", ["milan", "porto"]) == ""
    assert did_you_mean("milan" * 100, ["milan" * 99]) == ""
    assert did_you_mean("PORTOO", ["milan", "Porto"]) == "; did you mean Porto?"
    with pytest.raises(NetworkFailed, match="bundled, without a network: helsinki"):
        gentraffic.sample("Trentoo, Italy", days=7, offline=True)


def test_a_message_is_one_line_whatever_the_value_holds() -> None:
    from gentraffic.errors import BadInput
    from poi.errors import BadFile

    for kind in (BadInput, BadFile):
        assert str(kind("t.csv: a\nb\r\nc: no number")) == "t.csv: a b c: no number"
        assert str(kind("two  blanks stay")) == "two  blanks stay"
        long = str(kind("begin " + "x" * 5000 + " end"))
        assert len(long) < 1010
        assert long.startswith("begin ")
        assert long.endswith(" end")
