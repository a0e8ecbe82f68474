"""Five services of one raw file: import, fit, sample, evaluate, and what each command says of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from bundle_examples import short_graphs

from gentraffic.cli.main import run
from gentraffic.io.files import read_traffic
from gentraffic.places.find import CONTEXTS

pytestmark = pytest.mark.skipif(not (CONTEXTS / "milan.nc").is_file(), reason="no bundled context in this checkout")
IDS = [row * 100 + col + 1 for row in range(44, 48) for col in range(40, 44)]  # 4 x 4 cells of Milan's centre
MONDAY_MS = 1_383_519_600_000  # 4 November 2013, midnight in Milan


def raw_rows() -> str:
    """A week of 16 cells as Telecom Italia writes them, hourly: calls rest from 1 to 6 o'clock, the others do not."""
    rng = np.random.default_rng(0)
    level = np.exp(rng.normal(3, 0.5, len(IDS)))
    rows = []
    for hour in range(168):
        day = 1 + 0.6 * np.sin(2 * np.pi * (hour % 24 - 9) / 24)
        for cell, base in zip(IDS, level, strict=True):
            internet = base * day * np.exp(rng.normal(0, 0.1))
            calls = 0.1 * base * day * (0.01 if 1 <= hour % 24 < 6 else 1.0) * np.exp(rng.normal(0, 0.2))
            values = [0.2 * internet, 0.1 * internet, calls, 2 * calls, internet]  # SMS and calls in, out; Internet
            for part, share in enumerate(rng.dirichlet(np.full(6, 50.0))):
                time = MONDAY_MS + (6 * hour + part) * 600_000
                rows.append(f"{cell}\t{time}\t39\t" + "\t".join(f"{v * share:.6f}" for v in values))
    return "\n".join(rows) + "\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The raw file, what is imported of it, and a model that was hardly trained."""
    out = tmp_path_factory.mktemp("five")
    (out / "sms-call-internet-mi-2013-11-04.txt").write_text(raw_rows())
    raw, five, model = (str(out / name) for name in ("sms-call-internet-mi-2013-11-04.txt", "five.nc", "model"))
    assert run(["import", "telecom-italia", raw, "-o", five, "--quiet"]) == 0
    words = ["--traffic", five, "--context", str(CONTEXTS / "milan.nc"), "--holdout", "0", "--steps", "20"]
    with short_graphs():
        assert run(["fit", "stouter", *words, "--batch", "8", "--threads", "1", "-o", model, "--quiet"]) == 0
    return out


@pytest.mark.slow
def test_from_a_raw_file_to_scores_of_every_service(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, five, drawn = (str(folder / name) for name in ("model", "five.nc", "drawn.nc"))
    place = ["sample", "--context", str(CONTEXTS / "milan.nc"), "--model", model, "--select", ",".join(map(str, IDS))]
    every = "internet,call_in,call_out,sms_in,sms_out,calls,sms"
    words = [*place, "--service", every, "--start", "2013-11-04", "--freq", "10min", "-o", drawn]
    assert run([*words, "--total", "calls=500/day", "--quiet"]) == 0
    traffic = read_traffic(Path(drawn))
    assert list(traffic.data_vars) == every.split(",")
    night = np.arange(1008) // 6 % 24 == 3
    share = {name: float(traffic[name].values[:, night].mean() / traffic[name].mean()) for name in traffic.data_vars}
    assert max(share["call_in"], share["calls"]) < 0.1 < 0.3 < min(share["internet"], share["sms"])
    assert float(traffic["calls"].sum()) == pytest.approx(7 * 500, rel=1e-5)
    assert traffic["call_out"].attrs["mean_cell"] == pytest.approx(2 * traffic["call_in"].attrs["mean_cell"], rel=0.1)
    capsys.readouterr()
    assert run(["evaluate", "--real", five, "--synthetic", drawn, "--scale", "mean", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found["by_service"]) == set(every.split(","))
    assert found["metrics"] == found["by_service"]["internet"]["metrics"]
    one = [*place, "--start", "2013-11-04", "-o"]
    assert run([*one, str(folder / "one.zarr"), "--service", "call_in", "--quiet"]) == 0
    assert run([*one, str(folder / "one.nc"), "--quiet"]) == 0
    assert list(read_traffic(folder / "one.zarr").data_vars) == ["call_in"]
    assert list(read_traffic(folder / "one.nc").data_vars) == ["internet"]
    for words, code, text in (
        ([*one, "x.nc", "--service", "internet,fax"], 2, "model draws internet, call_in, call_out, sms_in, sms_out"),
        ([*one, "x.nc", "--total", "fax=5/day"], 2, "--total fax: model draws"),
        ([*one, "x.zarr", "--service", "internet,sms", "--workers", "2"], 2, "draws several at once"),
        (["map", drawn, "-o", str(folder / "m.html")], 0, "of internet; --service names another"),
        (["plot", five, "-o", str(folder / "p.png"), "--service", "calls"], 0, "16 cells x 1,008 steps"),
        (["split", five, "--test", "25%", "--by", "cell", "-o", str(folder / "a.nc"), "--rest", str(folder / "b.nc")],
         0, "a.nc"),
    ):  # fmt: skip
        assert run(words) == code
        told = capsys.readouterr()
        assert text in told.out + told.err


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("call_in", "--service call_in: fomo-base draws traffic"),
        ("internet,call_in", "--service internet,call_in: fomo-base (fomo) draws one service"),
        ("a,,b", "give names with commas between"),
    ],
)
def test_a_model_of_one_service_refuses_others_by_name(
    names: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["sample", "--city", "monaco", "--model", "fomo-base", "--service", names]
    assert run([*words, "-o", str(tmp_path / "x.nc")]) == 2
    assert message in capsys.readouterr().err


def test_the_bundled_model_draws_the_services_that_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "x.nc"
    assert run(["sample", "--city", "monaco", "--service", "internet,calls", "-o", str(out), "--quiet"]) == 0
    ds = read_traffic(out)
    internet, calls = (ds[name].values.reshape(len(ds["cell"]), 7, 24) for name in ("internet", "calls"))
    assert np.corrcoef(np.log(internet.mean((1, 2))), np.log(calls.mean((1, 2))))[0, 1] > 0.8  # busy in both
    night = [float(v[..., 2:5].mean() / v.mean()) for v in (internet, calls)]
    assert night[1] < 0.5 * night[0]  # at night few call, and many are online
    assert run(["sample", "--city", "monaco", "--service", "fax", "-o", str(tmp_path / "y.nc")]) == 2
    assert "draws traffic, call_in, call_out, sms_in, sms_out, internet, calls, sms" in capsys.readouterr().err
