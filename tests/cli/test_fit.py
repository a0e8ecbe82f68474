"""`gentraffic fit` on files, end to end: a model folder, the table, a resumed run, and what it refuses."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from bundle_examples import short_graphs

from gentraffic.cli.main import run
from gentraffic.generators.folder import load_bundle
from gentraffic.io.files import read_context, read_traffic
from gentraffic.modelling.measured import read_source


@pytest.fixture(scope="module")
def files(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fit")
    source = shared_data / "traffic" / "uomo_sd.npz"
    assert run(["import", "uomo", str(source), "-o", str(folder / "sd.nc"), "--context", str(folder / "c.nc")]) == 0
    return folder


def words(files: Path, out: str, *more: str) -> list[str]:
    data = ["--traffic", str(files / "sd.nc"), "--context", str(files / "c.nc")]
    return ["fit", "stouter", *data, "--threads", "1", "-o", str(files / out), *more]


def test_a_model_is_fitted_scored_and_drawn_from(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with short_graphs():
        assert run(words(files, "m", "--steps", "20", "--quiet")) == 0
    known = json.loads((files / "m" / "provenance.json").read_text())
    assert {"bootstrap", "knn-20", "knn-level", "stouter (this model)"} <= set(known["metrics"])
    assert known["seed"] == 0
    assert known["steps"] == 20
    card = (files / "m" / "README.md").read_text()
    assert "| stouter (this model) | uomo-sd |" in card
    assert "tsinghua-fib-lab/UoMo" in card
    assert not list(files.glob("m.checkpoint*"))
    held = known["held_out_cells"]["uomo-sd"]
    split = ["split", str(files / "sd.nc"), "--model", str(files / "m")]
    assert run([*split, "-o", str(files / "seen.nc"), "--rest", str(files / "unseen.nc")]) == 0
    seen, unseen = (read_traffic(files / f"{name}.nc") for name in ("seen", "unseen"))
    assert set(held) <= set(unseen["cell_id"].values.tolist())  # and what `fit` left out at the same locations
    assert not set(unseen["location"].values.tolist()) & set(seen["location"].values.tolist())
    (source,) = [read_source(read_traffic(files / "sd.nc"), [read_context(files / "c.nc")])]
    assert 0.15 * len(source.cell_id) < len(held) < 0.25 * len(source.cell_id)
    ground = np.isin(source.cell_id, held)
    assert not set(source.location[ground].tolist()) & set(source.location[~ground].tolist())
    out = files / "syn.parquet"
    sampled = ["sample", "--context", str(files / "c.nc"), "--model", str(files / "m"), "--days", "1", "-o", str(out)]
    assert run(sampled) == 0


@pytest.mark.slow
def test_a_killed_fit_resumes_to_the_same_bits(files: Path) -> None:
    plain = words(files, "whole", "--steps", "260", "--holdout", "0", "--batch", "8", "--quiet")
    assert run(plain) == 0
    broken = words(files, "broken", "--steps", "260", "--holdout", "0", "--batch", "8", "--quiet")
    process = subprocess.Popen([sys.executable, "-m", "gentraffic", *broken])
    checkpoint = files / "broken.checkpoint.safetensors"
    while not checkpoint.exists() and process.poll() is None:  # written at step 250
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert not (files / "broken" / "provenance.json").exists() or not checkpoint.exists()
    assert run(broken) == 0
    a, b = (load_bundle(files / name).model.state_dict() for name in ("whole", "broken"))
    for name in a:
        np.testing.assert_array_equal(a[name].numpy(), b[name].numpy(), err_msg=name)


@pytest.mark.parametrize(
    ("more", "code", "says"),
    [
        (["--holdout", "0.9"], 2, "--holdout 0.9"),
        (["--steps", "0"], 2, "--steps 0"),
        (["--fusion", "blend"], 2, "decoupled"),
        (["--station-layer", "mlp"], 2, "sage"),
        (["--prediction", "noise"], 2, "epsilon"),
        (["--evidence", "none.json"], 5, "none.json"),
    ],
)
def test_what_fit_refuses(
    files: Path, more: list[str], code: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(words(files, "x", "--steps", "1", *more)) == code
    err = capsys.readouterr().err
    assert len(err.strip().splitlines()) == 1
    assert says in err
    assert not (files / "x").exists()


def test_traffic_without_its_context(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["fit", "stouter", "--traffic", str(files / "sd.nc"), "-o", str(files / "x")]) == 2
    assert "--context" in capsys.readouterr().err
