"""What all commands share: no output that is an input, and a recorded command that runs again."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import xarray as xr
from click.shell_completion import ShellComplete
from traffic_examples import context, traffic

from gentraffic import read_traffic
from gentraffic.cli.main import cli, run
from gentraffic.cli.options import Minutes
from gentraffic.io.files import write_context, write_traffic

DRAW = ["sample", "--city", "monaco", "--offline", "--days", "1", "--quiet"]


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A measured file, its table and its context."""
    folder = tmp_path_factory.mktemp("files")
    write_traffic(traffic(units="GB"), folder / "m.nc")
    write_traffic(traffic(units="GB"), folder / "m.csv")
    write_context(context(), folder / "c.nc")
    (folder / "s.csv").write_text("id,lon,lat\n1,7.42,43.735\n2,7.43,43.74\n")
    return folder


@pytest.fixture
def here(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with copies of them, in which commands run."""
    shutil.copytree(files, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


WORDS = [
    "sample --model fomo-base --history m.nc --days 1 -o m.nc",
    "sample --model fomo-base --history m.nc --days 1 -o soft.nc",
    "sample --model fomo-base --history soft.nc --days 1 -o m.nc",
    "sample --model fomo-base --history m.nc --days 1 -o hard.nc",
    "sample --model fomo-base --known m.nc --context c.nc -o ./../{name}/c.nc",
    "sample --city monaco --total traffic=1TB/day@m.nc#x -o m.nc",
    "sample --city monaco --select @m.nc -o m.nc",
    "sample --stations s.csv --osm m.csv -o s.csv",
    "sample --city monaco --map a.html --plot a.html -o b.nc",
    "sample --context c.nc -o c.nc",
    "fetch --stations s.csv --osm c.nc -o c.nc",
    "split m.nc --test 20% -o m.nc --rest r.nc",
    "split m.nc --test 20% -o a.nc --rest m.nc",
    "split m.nc --test 20% -o a.nc --rest ./a.nc",
    "export kepler m.csv -o m.csv",
    "export geotiff m.nc -o m.nc",
    "export matlab inside/m.nc -o inside",
    "plan sleep m.nc --real c.nc -o c.nc",
    "import table m.csv -o m.csv",
    "import uomo m.nc --context m.nc -o a.nc",
    "forecast run --model x --history m.nc -o m.nc",
    "report m.nc -o soft.nc",
    "evaluate --real m.nc --synthetic c.nc --html m.nc",
]


@pytest.mark.parametrize("words", WORDS)
def test_an_output_that_is_an_input_is_refused_before_any_work(
    words: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "soft.nc").symlink_to("m.nc")
    os.link(here / "m.nc", here / "hard.nc")
    (here / "inside").mkdir()
    os.link(here / "m.nc", here / "inside" / "m.nc")
    (here / "inside" / "gentraffic-export.json").write_text("{}")
    before = {path: digest(path) for path in here.iterdir() if path.is_file()}
    assert run(words.format(name=here.name).split()) == 2
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1
    assert "give another" in err or "are the same file" in err
    assert {path: digest(path) for path in here.iterdir() if path.is_file()} == before


def test_a_store_is_not_written_into_or_over_its_source(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_traffic(traffic(units="GB"), here / "m.zarr")
    for out in ("m.zarr", "m.zarr/inner.zarr", "m.zarr/t.nc"):
        assert run(["sample", "--model", "fomo-base", "--history", "m.zarr", "--days", "1", "-o", out]) == 2
        assert "--history m.zarr" in capsys.readouterr().err
    read_traffic(here / "m.zarr")


def test_other_files_beside_and_names_of_models_are_no_inputs(here: Path) -> None:
    (here / "kepler").mkdir()  # an argument that is no file, by the name of a folder
    assert run(["export", "kepler", "m.nc", "-o", "k.csv", "--quiet"]) == 0
    assert run(["export", "kepler", "m.nc", "-o", "k.csv", "--quiet"]) == 0  # its own output may be replaced


def test_options_of_environment_variables_count_and_are_recorded(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for option, value in {"DAYS": "1", "TOTAL": "traffic=1TB/day", "SEED": "9", "QUIET": "1"}.items():
        monkeypatch.setenv(f"GENTRAFFIC_SAMPLE_{option}", value)
    assert run(["sample", "--city", "monaco", "--seed", "3", "-o", "e.nc"]) == 0
    drawn = read_traffic(here / "e.nc")
    assert drawn.sizes["time"] == 24
    recorded = "gentraffic sample --city monaco --seed 3 -o e.nc --days 1 --total traffic=1TB/day --quiet"
    assert drawn.attrs["command"] == recorded
    for option in ("DAYS", "TOTAL", "SEED", "QUIET"):
        monkeypatch.delenv(f"GENTRAFFIC_SAMPLE_{option}")
    assert run([*shlex.split(recorded)[1:-3], "--total", "traffic=1TB/day", "-o", "again.nc"]) == 0
    assert (read_traffic(here / "again.nc")["traffic"].values == drawn["traffic"].values).all()


def test_like_a_file_takes_its_period_cadence_and_cells(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw = ["sample", "--city", "monaco", "--quiet"]
    assert run([*draw, "--start", "2026-03-27", "--days", "3", "--freq", "30min", "-o", "whole.nc"]) == 0
    whole = read_traffic(here / "whole.nc")
    write_traffic(whole.isel(cell=[7, 3, 20], time=slice(5, 100)), here / "some.nc")  # over the change of the clock
    some = read_traffic(here / "some.nc")
    assert run([*draw, "--like", "some.nc", "-o", "like.nc"]) == 0
    like = read_traffic(here / "like.nc")
    assert like["cell_id"].values.tolist() == some["cell_id"].values.tolist()
    assert (like["time"].values == whole["time"].values).all()  # whole days, and hours of the place
    assert run([*draw, "--like", "some.nc", "--days", "1", "--freq", "1h", "-o", "short.nc"]) == 0
    assert read_traffic(here / "short.nc").sizes == {**like.sizes, "time": 24}
    assert run(["sample", "--model", "fomo-base", "--like", "some.nc", "--known", "some.nc", "-o", "k.nc"]) == 2
    assert "--like does not go with" in capsys.readouterr().err


def test_bundled_cities_and_models_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    def offered(*words: str) -> list[str]:
        complete = ShellComplete(cli, {}, "gentraffic", "_GENTRAFFIC_COMPLETE")
        return [item.value for item in complete.get_completions(list(words[:-1]), words[-1])]

    assert offered("sample", "--city", "mo") == ["monaco"]
    assert offered("fetch", "--city", "m") == ["malta", "milan", "monaco"]
    assert offered("sample", "--model", "stouter") == ["stouter-base", "stouter-fast"]


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["--total", "traffic=4TB/day"], marks=pytest.mark.slow),
        ["--total", "traffic=4TB/day", "--total", "traffic=300GB/busyhour"],
        ["--total", "traffic=300GB/18h@{here}/my district.geojson#A", "--seed", "3"],
        pytest.param(["--service", "internet", "--members", "2"], marks=pytest.mark.slow),
    ],
)
def test_the_recorded_command_runs_again_to_the_same_file(words: list[str], here: Path) -> None:
    (here / "my district.geojson").write_text(
        '{"type":"FeatureCollection","features":[{"type":"Feature","properties":{"name":"A"},"geometry":{"type":'
        '"Polygon","coordinates":[[[7.40,43.72],[7.43,43.72],[7.43,43.76],[7.40,43.76],[7.40,43.72]]]}}]}'
    )
    words = [word.format(here=here) for word in words]
    out = here / "a b.nc"
    assert run([*DRAW, *words, "-o", str(out)]) == 0
    with xr.open_dataset(out, engine="h5netcdf") as drawn:
        command = str(drawn.attrs["command"])
    assert str(here) not in command
    first = read_traffic(out)
    out.unlink()
    typed = shlex.split(command)
    assert typed[0] == "gentraffic"
    if "district" in command:  # as a shell starts it: one of them, for it takes two seconds
        done = subprocess.run([sys.executable, "-m", *typed], cwd=here, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    else:
        assert run(typed[1:]) == 0
    again = read_traffic(out)
    for ds in (first, again):  # names the file of a district as it was typed
        ds.attrs.pop("totals", None)
    xr.testing.assert_identical(again, first)


def test_the_command_of_a_fitted_model_runs_again(here: Path) -> None:
    """The files lie elsewhere: their paths are kept as they were typed."""
    import json

    (here / "far").mkdir()
    write_traffic(traffic(days=8), here / "far" / "m.nc")
    words = ["fit", "bootstrap", "--traffic", "far/m.nc", "--context", "c.nc", "-o", "model", "--quiet"]
    assert run(words) == 0
    told = json.loads((here / "model" / "provenance.json").read_text())
    assert shlex.split(told["command"]) == ["gentraffic", *words]


@pytest.mark.parametrize("kept", [True, False])
def test_an_interrupted_command_says_what_is_kept(
    kept: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*args: object, **options: object) -> None:
        if kept:
            (tmp_path / "m.checkpoint.safetensors").write_bytes(b"")
        raise KeyboardInterrupt

    monkeypatch.setattr("gentraffic.api.models.fit", interrupted)
    for name in ("t.nc", "c.nc"):
        (tmp_path / name).write_bytes(b"")
    files = ["--traffic", str(tmp_path / "t.nc"), "--context", str(tmp_path / "c.nc")]
    assert run(["fit", "vae", *files, "-o", str(tmp_path / "m")]) == 130
    told = "m.checkpoint.safetensors is kept: run the same command again" if kept else "no output was written"
    assert told in capsys.readouterr().err


def test_long_work_in_a_pipe_says_a_line_a_minute(capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    long, short = Minutes("training", lambda: now[0]), Minutes("training", lambda: now[0])
    for step in range(1, 401):
        now[0] = float(step)
        long.tell(step, 400)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "training: 15 of 400, at most 6 min to go"  # 385 s are left
    assert [line.split()[1] for line in lines] == ["15", "75", "135", "195", "255", "315", "375"]
    now[0] = 0.0
    for step in range(1, 51):
        now[0] = float(step)
        short.tell(step, 50)
    assert capsys.readouterr().err == ""
    resumed = Minutes("training", lambda: now[0])
    now[0] = resumed.began
    resumed.tell(1_001, 2_001)
    now[0] += 20.0
    resumed.tell(1_201, 2_001)  # 10 steps a second: 80 s for 800
    assert "at most 80 s to go" in capsys.readouterr().err
