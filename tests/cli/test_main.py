"""The command line as a user meets it: what comes out, and one clear line with the right exit code when it does not."""

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import numpy as np
import pytest
import xarray as xr

from gentraffic.cli.main import cli, run
from gentraffic.generators.base import MODELS
from gentraffic.places.find import bundled_cities

MODEL = MODELS / "stouter-base"
SAMPLE = ["sample", "--city", "monaco", "--days", "1", "--steps", "2", "--quiet"]

pytestmark = pytest.mark.skipif(not MODEL.is_dir(), reason="no bundled model in this checkout")


def check_fails(words: list[str], code: int, *says: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The command ends with `code` and one line on the error stream that holds all of `says`."""
    got = run(words)
    err = capsys.readouterr().err
    assert got == code, err
    assert len(err.strip().splitlines()) == 1, err
    assert "Traceback" not in err
    for part in says:
        assert part in err, err


@pytest.mark.parametrize("suffix", [".zarr", ".csv"])
def test_what_a_table_tells_of_sectors_reaches_the_traffic_and_its_export(suffix: str, tmp_path: Path) -> None:
    places = [f"{7.42 + i / 1000},{43.735 + i / 2000},amenity,cafe" for i in range(20)]
    (tmp_path / "pois.csv").write_text("\n".join(["lon,lat,key,value", *places]))
    rows = [f"A12;A12-{i};7,4246;43,7384;{120 * i};31,5;1800" for i in range(3)]
    (tmp_path / "sites.csv").write_text("\n".join(["site;CELL_NAME;X;Y;azimuth;height;band", *rows]))
    named = ["--columns", "id=CELL_NAME,lon=X,lat=Y", "--decimal", "comma", "--osm", str(tmp_path / "pois.csv")]
    asked = ["sample", "--stations", str(tmp_path / "sites.csv"), *named, "--days", "1", "--steps", "2", "--quiet"]
    assert run([*asked, "-o", str(tmp_path / f"t{suffix}")]) == 0
    assert run(["export", "office", str(tmp_path / f"t{suffix}"), "-o", str(tmp_path / "o.csv"), "--quiet"]) == 0
    head, *lines = (tmp_path / "o.csv").read_text(encoding="utf-8-sig").splitlines()
    first = [line.split(",") for line in lines[::24]]
    told = {name: [row[at] for row in first] for at, name in enumerate(head.split(","))}
    assert told["site"] == ["A12"] * 3
    assert told["azimuth"] == ["0", "120", "240"]
    assert told["height"] == ["31.5"] * 3
    assert told["band"] == ["1800"] * 3


def test_sample_writes_what_it_reports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "monaco.nc"
    words = ["sample", "--city", "Monaco", "--days", "2", "--members", "3", "--json", "-o", str(out)]
    assert run([*words, "--map", str(tmp_path / "m.html"), "--plot", str(tmp_path / "m.png")]) == 0
    told = json.loads(capsys.readouterr().out)
    assert set(told["seconds"]) == {"load", "sample", "write"}
    assert told["steps"] == 48
    assert told["peak_rss_mb"] > 50
    with xr.open_dataset(out) as ds:
        sizes = {name: size for name, size in ds.sizes.items() if not str(name).startswith("map_")}
        assert sizes == {"member": 3, "cell": told["cells"], "time": 48, "bnds": 2}
        assert "Monte-Carlo" in ds["map_name"].values
        assert ds.traffic.attrs["units"] == "1"
        assert ds.attrs["timezone"] == "Europe/Monaco"
        assert ds.attrs["model_sha256"]
        assert ds.attrs["osm_sha256"]
        assert "OpenStreetMap" in ds.attrs["attribution"]
        assert float(ds.traffic.min()) >= 0
        by_hour = ds.traffic.mean(("member", "cell")).values.reshape(2, 24).mean(0)
    assert by_hour[2:5].mean() < 0.5 * by_hour[10:20].mean()  # nights are quiet in local time (UTC+1, winter)
    assert (tmp_path / "m.html").stat().st_size > 10_000
    assert (tmp_path / "m.png").read_bytes()[:4] == b"\x89PNG"


def test_same_command_same_bits_and_other_seed_other_bits(tmp_path: Path) -> None:
    a, b, c = (tmp_path / f"{name}.nc" for name in "abc")
    assert (
        run([*SAMPLE, "-o", str(a)]) == run([*SAMPLE, "-o", str(b)]) == run([*SAMPLE, "--seed", "1", "-o", str(c)]) == 0
    )
    with xr.open_dataset(a) as x, xr.open_dataset(b) as y, xr.open_dataset(c) as z:
        np.testing.assert_array_equal(x.traffic.values, y.traffic.values)
        assert not np.allclose(x.traffic.values, z.traffic.values)


def test_select_draws_the_same_series_for_those_cells(tmp_path: Path) -> None:
    whole, part = tmp_path / "whole.nc", tmp_path / "part.nc"
    assert run([*SAMPLE, "-o", str(whole)]) == 0
    with xr.open_dataset(whole) as ds:
        chosen = [str(cell) for cell in ds.cell_id.values[[7, 3, 90]]]
        expected = ds.traffic.values[[7, 3, 90]]
    assert run([*SAMPLE, "--select", ",".join(chosen), "-o", str(part)]) == 0
    with xr.open_dataset(part) as ds:
        np.testing.assert_array_equal(ds.traffic.values, expected)


def test_total_is_reached_exactly(tmp_path: Path) -> None:
    out = tmp_path / "total.nc"
    assert (
        run(["sample", "--city", "monaco", "--days", "3", "--steps", "2", "--total", "traffic=5TB/day", "-o", str(out)])
        == 0
    )
    with xr.open_dataset(out) as ds:
        assert ds.traffic.attrs["units"] == "Tbyte"  # as UDUNITS writes it; `read_traffic` says TB
        assert float(ds.traffic.sum(dtype="float64")) == pytest.approx(15.0, rel=1e-6)


def test_dry_run_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["sample", "--city", "milan", "--dry-run", "--json", "-o", str(tmp_path / "x.nc")]) == 0
    assert json.loads(capsys.readouterr().out)["cells"] == 10_000
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--city", "milan", "--bbox", "9,45,10,46"], 2, ["--city", "--bbox", "one"]),
        ([], 2, ["no place", "--city"]),
        (["--city", "monaco", "--start", "2026-02-30"], 2, ["2026-02-30"]),
        (["--city", "monaco", "--days", "0"], 2, ["--days 0"]),
        (["--city", "monaco", "--days", "x"], 2, ["'x'"]),
        (["--city", "monaco", "--freq", "7min"], 2, ["7min", "15min"]),
        (["--city", "monaco", "--members", "0"], 2, ["--members 0"]),
        (["--city", "monaco", "--solver", "euler"], 2, ["euler", "ddim"]),
        (["--city", "monaco", "--steps", "5000"], 2, ["5000"]),
        (["--city", "monaco", "--device", "cuda:9"], 2, ["cuda:9"]),
        (["--city", "monaco", "--model", "stouter-fast", "--steps", "50"], 2, ["--steps 50", "stouter-base"]),
        (["--city", "monaco", "--model", "stouter-fast", "--guidance", "2"], 2, ["--guidance 2.0", "stouter-base"]),
        (["--city", "monaco", "--timezone", "Mars/Olympus"], 2, ["Mars/Olympus"]),
        (["--city", "monaco", "--select", "17"], 2, ["'17'"]),
        (["--city", "monaco", "--model", "gpt"], 6, ["'gpt'", "stouter-base"]),
        (["--city", "nowhere at all", "--offline"], 4, ["nowhere at all", "--offline"]),
        (["--bbox", "1,2,3"], 2, ["1,2,3", "W,S,E,N"]),
        (["--context", "none.nc"], 5, ["none.nc"]),
        (["--osm", "none.osm.pbf"], 5, ["none.osm.pbf"]),
        (["--cells", "none.geojson", "--offline"], 5, ["none.geojson"]),
        (["--context", "none.nc", "--cell-size", "100"], 2, ["--cell-size", "--context"]),
    ],
)
def test_what_a_user_can_cause_ends_in_one_line(
    words: list[str], code: int, says: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check_fails(["sample", *words, "--quiet", "-o", str(tmp_path / "out.nc")], code, *says, capsys=capsys)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("out", "code", "says"),
    [("x.xyz", 2, ".zarr"), ("nofolder/x.nc", 5, "nofolder"), ("x", 2, "suffix")],
)
def test_outputs_are_checked_before_the_work(
    out: str, code: int, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check_fails([*SAMPLE, "-o", str(tmp_path / out)], code, says, capsys=capsys)


def test_a_raster_of_members_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check_fails([*SAMPLE, "--members", "2", "-o", str(tmp_path / "x.tif")], 2, "GeoTIFF", capsys=capsys)


def test_a_model_with_a_flipped_byte_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = tmp_path / "model"
    shutil.copytree(MODEL, copy)
    weights = next((copy / "stunet").glob("*.safetensors"))
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 1
    weights.write_bytes(data)
    check_fails([*SAMPLE, "--model", str(copy), "-o", str(tmp_path / "x.nc")], 6, "SHA-256", capsys=capsys)
    weights.unlink()
    check_fails([*SAMPLE, "--model", str(copy), "-o", str(tmp_path / "x.nc")], 6, "missing", capsys=capsys)


def test_an_extract_without_places_is_no_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = tmp_path / "field.osm"
    empty.write_text(
        '<?xml version="1.0"?><osm version="0.6"><bounds minlat="45" minlon="9" maxlat="45.01" maxlon="9.01"/>'
        '<node id="1" lat="45.005" lon="9.005" version="1"><tag k="natural" v="tree"/></node></osm>'
    )
    check_fails(["sample", "--osm", str(empty), "-o", str(tmp_path / "x.nc")], 3, "field.osm", capsys=capsys)


def test_a_cut_extract_is_a_bad_file(shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = (shared_data / "osm" / "monaco.osm.pbf").read_bytes()
    cut = tmp_path / "cut.osm.pbf"
    cut.write_bytes(whole[: len(whole) // 2])
    check_fails(["sample", "--osm", str(cut), "-o", str(tmp_path / "x.nc")], 5, "cut.osm.pbf", capsys=capsys)
    assert not (tmp_path / "x.nc").exists()


def command(words: list[str], **kwargs: object) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "gentraffic", *words], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"}, **kwargs,  # type: ignore[call-overload]
    )  # fmt: skip


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    def small_files_only() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    process = command([*SAMPLE, "-o", str(tmp_path / "x.nc")], preexec_fn=small_files_only)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 5, err
    assert len(err.strip().splitlines()) == 1
    assert "cannot write" in err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_an_interrupt_ends_with_130_and_no_file(number: int, tmp_path: Path) -> None:
    def heed_interrupts() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # background jobs of a shell ignore it, and hand that on

    words = ["sample", "--city", "milan", "--days", "60", "--members", "5", "-o", str(tmp_path / "x.nc")]
    process = command(words, preexec_fn=heed_interrupts)
    time.sleep(8)
    began = time.monotonic()
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert time.monotonic() - began < 5
    assert err.strip().splitlines() == ["gentraffic: interrupted; no output was written"]
    assert not list(tmp_path.iterdir())


def test_every_command_has_help_with_an_example_and_a_line_in_the_readme(capsys: pytest.CaptureFixture[str]) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    for name, command in cli.commands.items():
        assert f"gentraffic {name}" in readme, name
        for words in [[name, sub] for sub in command.commands] if isinstance(command, click.Group) else [[name]]:
            assert run([*words, "--help"]) == 0
            text = capsys.readouterr().out
            for needed in (" ".join(["gentraffic", *words]), "--json", "--quiet"):
                assert needed in text, (words, needed)


@pytest.mark.parametrize("words", [[], ["plan"], ["forecast"], ["export"], ["import"]])
def test_a_group_alone_prints_its_help_line_by_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*words, "--help"]) == 0
    asked = capsys.readouterr().out
    assert run(words) == 2  # as click ends it
    said = capsys.readouterr()
    assert said.out + said.err == asked
    assert len(asked.splitlines()) > 10


@pytest.mark.parametrize("words", [["sample"], ["evaluate"], ["plan", "deploy"], ["export", "geopackage"], ["report"]])
def test_a_command_alone_says_in_one_line_how_to_begin(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    path = " ".join(["gentraffic", *words])
    check_fails(words, 2, f"Begin with: {path} ", f"`{path} --help`", capsys=capsys)


def test_models_lists_what_is_bundled(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [m["name"] for m in told["models"]] == ["fomo-base", "stouter-base", "stouter-fast"]
    assert told["cities"] == bundled_cities() == ["helsinki", "liechtenstein", "malta", "milan", "monaco", "porto"]


def test_verbose_says_on_standard_error_what_is_done_and_else_nothing(tmp_path: Path) -> None:
    def told(*more: str) -> list[str]:
        out = tmp_path / "m.nc"
        words = [sys.executable, "-m", "gentraffic", "sample", "--city", "monaco", "--days", "1", "--quiet", "-o", out]
        done = subprocess.run([*words, *more], check=True, capture_output=True, text=True)
        assert not done.stdout
        return done.stderr.splitlines()

    lines = told("-v")
    for what in ("model folder", "place Monaco: 188 cells", "drawn in", f"wrote {tmp_path / 'm.nc'}"):
        assert [line for line in lines if re.match(rf"\d\d:\d\d:\d\d .*{re.escape(what)}", line)], what
    assert not told()


def test_help_loads_nothing_heavy() -> None:
    root = str(Path(__file__).parents[2])
    program = (
        "import sys; from gentraffic.cli.main import run; assert run(['--help']) == 0;"
        "print([m for m in ('numpy', 'torch', 'xarray', 'pandas', 'shapely') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": root},
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[]"
