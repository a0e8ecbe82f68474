"""Every command of README.md and of the how-to and explanation pages runs, in order, on small files of those names."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
import xarray as xr
from docs_pages import DOCS, PAGES, commands, name

from gentraffic.cli.main import run

TUTORIALS = DOCS / "tutorials"  # tests/docs/test_pages.py runs them
RUN = [page for page in PAGES if not page.is_relative_to(TUTORIALS) and page.name != "speed.md"]  # benchmarks of speed
ELSEWHERE = {  # what this machine lacks, and the tests that have it
    r"--device cuda": "tests/training/test_devices.py",
    r"--scheduler tcp|places\.parquet": "tests/generate/test_local_cluster.py",
    r"--model flat": "tests/generators/test_plug_ins.py",
    r"\baffine\b|--days 2 --model my-model": "an exercise of CONTRIBUTING.md, whose file is the reader's",
    r"PUBLIC-MODEL": "tests/privacy/test_dp_fit.py",
}
LESS = {  # of long commands; the last of an option counts
    "fit": ["--steps", "2"], "validate": ["--steps", "2", "--seeds", "1"], "forecast fit": ["--steps", "4"],
}  # fmt: skip
SMALL = {"--members 20": "--members 2", "--workers 16": "--workers 2", "--prbs 100": "--prbs 100 --time-limit 5"}
TOWN = (9.50, 47.13, 9.54, 47.16)


def test_what_runs_elsewhere_is_named_by_what_is_there() -> None:
    for where in ELSEWHERE.values():
        if where.startswith("tests/"):
            assert (DOCS.parent / where).exists(), where


def squares(count: int) -> gpd.GeoDataFrame:
    """Cells of 200 m in a row in Vaduz."""
    west, south = 9.516, 47.139
    boxes = [shapely.box(west + 0.0027 * k, south, west + 0.0027 * (k + 1), south + 0.0018) for k in range(count)]
    return gpd.GeoDataFrame({"id": [f"c{k}" for k in range(count)]}, geometry=boxes, crs=4326)


def residents(path: Path) -> None:
    """A GeoTIFF of residents around Vaduz."""
    import rasterio
    from rasterio.transform import from_bounds

    values = np.full((30, 40), 12.0, dtype=np.float32)
    profile = {"driver": "GTiff", "width": 40, "height": 30, "count": 1, "dtype": "float32", "crs": "EPSG:4326"}
    with rasterio.open(path, "w", transform=from_bounds(9.4, 47.0, 9.7, 47.3, 40, 30), **profile) as raster:
        raster.write(values, 1)


def telecom_days(folder: Path) -> None:
    """Seven raw days of Telecom Italia's form, 36 cells in the middle of Milan."""
    rng = np.random.default_rng(0)
    cells = [100 * row + column for row in range(30, 80, 5) for column in range(30, 80, 5)]  # of many locations
    for day in range(4, 11):
        start = pd.Timestamp(f"2013-11-{day:02d}", tz="Europe/Rome").value // 10**6
        lines = []
        for step in range(144):
            for cell in cells:
                busy = (cell % 7 + 1) * (1 + np.sin(2 * np.pi * (step - 50) / 144)) + 0.1
                figures = "\t".join(f"{v:.4f}" for v in busy * rng.lognormal(0, 0.1, 5))
                lines.append(f"{cell}\t{start + 600_000 * step}\t39\t{figures}")
        (folder / f"sms-call-internet-mi-2013-11-{day:02d}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def prepare(folder: Path, page: Path, data: Path) -> None:
    """The files that the commands of a page take and do not make."""
    text = page.read_text(encoding="utf-8")
    for extract in ("town.osm.pbf", "extract.osm.pbf", "country.osm.pbf"):
        shutil.copyfile(data / "osm" / "liechtenstein.osm.pbf", folder / extract)
    shutil.copyfile(data / "osm" / "malta.osm.pbf", folder / "malta.osm.pbf")
    mall = {"type": "Point", "coordinates": [9.5215, 47.1411] if page.name == "gallery.md" else [9.19, 45.4642]}
    feature = {"type": "Feature", "geometry": mall, "properties": {"what": "mall", "floor_area": 40000}}
    (folder / "mall.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    squares(5).to_file(folder / "cells.geojson")
    squares(1).to_file(folder / "district.gpkg", layer="outline")
    if "CELL_NAME" in text:
        block = re.search(r"```text\n(.*?)```", text, re.S)
        assert block is not None
        (folder / "sites.csv").write_text(block[1], encoding="utf-8")
    else:
        (folder / "sites.csv").write_text("id,lon,lat\nA,9.52,47.14\nB,9.53,47.15\n")
    (folder / "existing.csv").write_text("lon,lat\n-8.62,41.15\n-8.60,41.16\n")
    residents(folder / "residents.tif")
    if "telecom-italia sms" in text:
        telecom_days(folder)
        do("import telecom-italia " + " ".join(p.name for p in sorted(folder.glob("sms*.txt"))) + " -o five.nc")
        do("split five.nc --test 30% -o train.nc --rest held-out.nc")
        return
    place = f"--osm town.osm.pbf --bbox {','.join(map(str, TOWN))}" if page.name == "area.md" else "--city monaco"
    do(f"sample {place} --days 14 --seed 5 --start 2026-01-05 -o measured.nc")
    if page.name == "rhythms.md":  # of a place that is measured in part
        every = xr.load_dataset("measured.nc")
        every.isel(cell=slice(None, None, 5)).to_netcdf("measured.nc")
    do("sample --city monaco --days 14 -o milan.nc")
    do("sample --city monaco --members 3 --total traffic=1TB/day -o ensemble.nc")
    do("fetch --city monaco -o context.nc")
    for copy, of in (
        ("synthetic.nc", "milan.nc"),
        ("drawn.nc", "milan.nc"),
        ("t.nc", "measured.nc"),
        ("c.nc", "context.nc"),
    ):
        shutil.copyfile(of, folder / copy)
    if page.name == "qgis.md":
        do("sample --city monaco --total traffic=1TB/day -o milan.nc")


def do(command: str) -> None:
    """Run a command that must end well."""
    assert run(command.split()) == 0, command


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in RUN if commands(page.read_text(encoding="utf-8"))], ids=name)
def test_every_command_of_a_page_runs(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shared_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    todo = commands(page.read_text(encoding="utf-8"))
    todo = [words for words in todo if not any(re.search(one, " ".join(words)) for one in ELSEWHERE)]
    if not todo:
        pytest.skip("all of its commands run elsewhere")
    prepare(tmp_path, page, shared_data)
    for words in todo:
        line = " ".join(words)
        for long, short in SMALL.items():
            line = line.replace(long, short)
        given = [found for word in line.split() for found in (sorted(tmp_path.glob(word)) if "*" in word else [word])]
        more = next((less for start, less in LESS.items() if line.startswith(start)), [])
        code = run([str(word) for word in given] + more)
        assert code == 0, (line, capsys.readouterr().err)
