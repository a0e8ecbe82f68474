"""What other programs make of each export: sums to 1e-9 of the total, hours across both changes of the clock."""

from __future__ import annotations

import csv
import inspect
import json
import math
import re
import shutil
import sqlite3
import subprocess
import xml.etree.ElementTree as ET
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from traffic_examples import context, traffic, without_positions

from gentraffic.cli.main import run
from gentraffic.errors import BadInput, WrongUse
from gentraffic.io.export.formats import FORMATS, ExportOptions
from gentraffic.io.export.gridded import rounded_to_float32
from gentraffic.io.export.registry import export
from gentraffic.io.files import write_traffic

OPTIONS = tuple(ExportOptions.__dataclass_fields__)
CHANGES = {"spring": ("2026-03-28T23:00", 23), "autumn": ("2026-10-24T22:00", 25)}


def day(change: str = "autumn", kind: str = "grid", members: int | None = None) -> xr.Dataset:
    """A local day of Rome on which the clocks change, GB per hour."""
    start, hours = CHANGES[change]
    ds = traffic(context(kind, 3), days=2, start=start, units="GB", members=members)
    return ds.isel(time=slice(0, hours))


def total(ds: xr.Dataset) -> float:
    return math.fsum(ds.internet.values.astype(np.float64).ravel().tolist())


def seconds(ds: xr.Dataset) -> list[int]:
    found: list[int] = ds.time.values.astype("datetime64[s]").astype(int).tolist()
    return found


def float32(texts: Any) -> list[float]:
    """What the numbers of a text file are as the values that were written."""
    return np.array(list(texts), dtype=np.float32).astype(np.float64).tolist()


# --- gridded ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", CHANGES)
def test_gridded_is_read_by_xarray_by_gdal_and_by_cdo(change: str, tmp_path: Path) -> None:
    import rasterio

    ds = day(change).isel(cell=[*range(4), *range(5, 9)])  # a hole in the middle
    path = tmp_path / "g.nc"
    told = export(ds, "gridded", path)
    assert told["shape"] == [ds.sizes["time"], 3, 3]
    with xr.open_dataset(path, engine="h5netcdf") as grid:
        assert grid["internet"].dims == ("time", "y", "x")
        assert grid["internet"].attrs["units"] == "Gbyte"
        assert float(grid["internet"].sum(dtype="float64")) == pytest.approx(total(ds), rel=1e-12)
        np.testing.assert_array_equal(grid["time"].values, ds.time.values)
        for i, cell in enumerate(ds.cell_id.values):
            at = grid.sel(x=float(ds.x[i]), y=float(ds.y[i]), method="nearest")
            np.testing.assert_array_equal(at["internet"].values, ds.internet.values[i])
            assert int(at["cell_id"]) == cell
            assert float(at["lon"]) == pytest.approx(float(ds.lon[i]), abs=1e-7)
        assert np.isnan(grid["internet"].values[:, 1, 1]).all()
    with rasterio.open(f"netcdf:{path}:internet") as raster:
        assert raster.count == ds.sizes["time"]
        assert raster.crs.to_epsg() == 32632
        assert raster.transform.a == pytest.approx(235.0)
        sampled = np.array(list(raster.sample(zip(ds.x.values, ds.y.values, strict=True))))
        np.testing.assert_array_equal(sampled, ds.internet.values)
        stamps = [float(raster.tags(i + 1)["NETCDF_DIM_time"]) for i in range(raster.count)]
        assert stamps == seconds(ds)  # of what QGIS makes its slider
    if shutil.which("cdo") is None:
        pytest.skip("cdo is not here")
    words = ["cdo", "-s", "outputf,%.9g,1", "-fldsum", "-timsum", "-selname,internet", str(path)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert float(done.stdout) == pytest.approx(total(ds), rel=1e-6)  # cdo sums in single precision
    done = subprocess.run(["cdo", "-s", "showtimestamp", str(path)], capture_output=True, text=True, check=True)
    assert [int(datetime.fromisoformat(t).replace(tzinfo=UTC).timestamp()) for t in done.stdout.split()] == seconds(ds)


IDS = {
    "small": np.arange(9), "large": 320_019_369_001_487 + np.arange(9), "huge": 2**60 + np.arange(9),
    "text": np.array([f"MI {i:02d} é" for i in range(9)], dtype=object),
}  # fmt: skip


@pytest.mark.parametrize("ids", IDS.values(), ids=IDS)
def test_a_gridded_file_keeps_the_ids_of_its_cells(ids: Any, tmp_path: Path) -> None:
    ds = day().assign_coords(cell_id=("cell", ids))
    export(ds.isel(cell=[*range(4), *range(5, 9)]), "gridded", tmp_path / "g.nc")
    with xr.open_dataset(tmp_path / "g.nc", engine="h5netcdf") as grid:
        held = grid["cell_id"].values
        for i in (*range(4), *range(5, 9)):
            at = held[i // 3, i % 3]
            assert str(at if isinstance(at, str) else int(at)) == str(ids[i])
        assert held[1, 1] == "" or np.isnan(held[1, 1])


def test_nco_adds_up_a_gridded_file_with_a_hole(tmp_path: Path) -> None:
    """NCO takes a fill value of NaN for a value: every sum would be NaN."""
    import netCDF4

    ds = day().isel(cell=[*range(4), *range(5, 9)])
    export(ds, "gridded", tmp_path / "g.nc")
    with netCDF4.Dataset(tmp_path / "g.nc") as raw:
        assert raw["internet"].getncattr("_FillValue") == netCDF4.default_fillvals["f4"]
        assert raw["cell_id"].getncattr("_FillValue") == netCDF4.default_fillvals["f8"]
        raw.set_auto_mask(False)
        assert (raw["internet"][:, 1, 1] == netCDF4.default_fillvals["f4"]).all()
    if shutil.which("ncwa") is None:
        pytest.skip("NCO is not here")
    subprocess.run(["ncwa", "-y", "ttl", "-v", "internet", str(tmp_path / "g.nc"), str(tmp_path / "s.nc")], check=True)
    with netCDF4.Dataset(tmp_path / "s.nc") as raw:
        assert float(raw["internet"][...]) == pytest.approx(total(ds), rel=1e-6)


RASTERS = {"gridded": "g.nc", "geotiff": "g.tif", "planning": "g"}


def cells_of(form: str, path: Path, ds: xr.Dataset) -> Any:
    """(steps, cells) what GDAL reads of a raster export."""
    import rasterio

    name = {"gridded": f"netcdf:{path}:internet", "planning": f"{path}/traffic.bil"}.get(form, str(path))
    with rasterio.open(name) as raster:
        assert raster.crs.to_epsg() == 32632
        assert (raster.transform.a, raster.transform.e) == (235.0, -235.0)
        return np.array(list(raster.sample(zip(ds.x.values, ds.y.values, strict=True)))).astype(np.float64).T


@pytest.mark.parametrize("form", RASTERS)
@pytest.mark.parametrize("unit", [None, "kbit"])
def test_rasters_of_a_mean_and_of_another_unit_add_up(form: str, unit: str | None, tmp_path: Path) -> None:
    """Few values, so that rounding each to float32 would show in the sum."""
    ds = day(members=3).isel(time=slice(0, 5))
    path = tmp_path / RASTERS[form]
    export(ds, form, path, ExportOptions(unit=unit), member="mean")
    mean = ds.internet.values.astype(np.float64).mean(axis=0) * (1 if unit is None else 8e6)
    found = cells_of(form, path, ds)
    np.testing.assert_allclose(found, mean.T, rtol=2e-6)
    assert math.fsum(found.ravel().tolist()) == pytest.approx(math.fsum(mean.ravel().tolist()), rel=2e-9)
    if form != "planning":
        np.testing.assert_allclose(found, mean.T, rtol=1e-15)


@pytest.mark.parametrize("form", RASTERS)
def test_no_raster_overflows_without_a_word(form: str, tmp_path: Path) -> None:
    ds = day()
    ds["internet"] = (
        ds["internet"].copy(data=np.full(ds.internet.shape, 1e35, dtype=np.float32)).assign_attrs(units="GB")
    )
    path = tmp_path / RASTERS[form]
    if form == "planning":
        with pytest.raises(WrongUse, match=r"values up to 8e\+44 are more than \.bil and \.grd hold"):
            export(ds, form, path, ExportOptions(unit="bit"))
        assert list(tmp_path.iterdir()) == []
        return
    export(ds, form, path, ExportOptions(unit="bit"))
    np.testing.assert_allclose(cells_of(form, path, ds), 8e44, rtol=1e-6)


def test_what_rounding_leaves_goes_to_the_next() -> None:
    rng = np.random.default_rng(5)
    for shape in ((1, 1000), (1000, 1), (40, 60), (60, 40)):
        exact = rng.gamma(2.0, 1.0, shape) * rng.choice([0.0, 1e-12, 1.0], shape)
        out = rounded_to_float32(exact)
        assert out.dtype == np.float32
        np.testing.assert_allclose(out, exact, rtol=1.1e-6)
        sums = [math.fsum(values.ravel().tolist()) for values in (out.astype(np.float64), exact)]
        assert sums[0] == pytest.approx(sums[1], rel=1e-9)


def test_gridded_refuses_what_is_no_grid_and_asks_for_a_member(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="do not lie on a grid"):
        export(day(kind="stations"), "gridded", tmp_path / "g.nc")
    with pytest.raises(WrongUse, match="--member"):
        export(day(members=2), "gridded", tmp_path / "g.nc")
    assert list(tmp_path.iterdir()) == []


# --- maps -------------------------------------------------------------------------------------------------------------


def test_geotiffs_are_cloud_optimised_and_say_their_capacity(tmp_path: Path) -> None:
    import rasterio

    ds = day()
    for name, capacity in (("t.tif", None), ("e.tif", "18GB")):
        export(ds, "geotiff", tmp_path / name, ExportOptions(capacity=capacity))
        with rasterio.open(tmp_path / name) as tif:
            assert tif.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
            assert tif.tags().get("capacity") == (None if capacity is None else "18.0")
            assert tif.tags().get("capacity_units") == (None if capacity is None else "GB")
            assert tif.crs.to_epsg() == 32632


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(("kind", "members"), [("grid", None), ("cells", 2), ("stations", None)])
def test_a_geopackage_has_times_a_layer_for_a_slider_indices_and_styles(
    change: str, kind: str, members: int | None, tmp_path: Path
) -> None:
    import geopandas as gpd

    ds = day(change, kind, members)
    export(ds, "geopackage", tmp_path / "t.gpkg", ExportOptions(capacity="18GB"))
    base = sqlite3.connect(tmp_path / "t.gpkg")
    types = {row[1]: row[2] for row in base.execute("PRAGMA table_info(series)")}
    assert types["time_utc"] == types["time_local"] == "DATETIME"
    rows = base.execute("SELECT DISTINCT time_utc, time_local FROM series ORDER BY time_utc").fetchall()
    assert [int(datetime.fromisoformat(u).timestamp()) for u, _ in rows] == seconds(ds)
    assert [int(datetime.fromisoformat(t).timestamp()) for _, t in rows] == seconds(ds)
    assert len({t for _, t in rows}) == ds.sizes["time"]
    indexed = " ".join(row[0] or "" for row in base.execute("SELECT sql FROM sqlite_master WHERE type = 'index'"))
    assert "series (cell_id" in indexed
    assert "series (time_utc" in indexed
    styles = base.execute("SELECT f_table_name, styleQML, useAsDefault FROM layer_styles").fetchall()
    assert {name for name, _, _ in styles} == {"cells", "traffic"}
    for _, qml, default in styles:
        assert default == 1
        root = ET.fromstring(re.sub(r"<!DOCTYPE[^>]*>", "", qml))
        ranges = [(float(r.attrib["lower"]), float(r.attrib["upper"])) for r in root.iter("range")]
        assert all(a[1] == b[0] for a, b in pairwise(ranges))
        assert len(list(root.iter("symbol"))) == len(ranges)
    about = dict(base.execute("SELECT name, value FROM about"))
    assert (float(about["capacity"]), about["capacity_units"]) == (18.0, "GB")
    base.close()
    layer = gpd.read_file(tmp_path / "t.gpkg", layer="traffic")
    assert len(layer) == ds.sizes["cell"] * ds.sizes["time"]  # of an ensemble the mean and its range
    assert math.fsum(layer["internet"]) == pytest.approx(total(ds) / (members or 1), rel=1e-12)
    assert layer.geometry.geom_type.nunique() == 1
    assert not layer.geometry.is_empty.any()
    assert str(layer["time_utc"].dtype).startswith("datetime64")


def test_planning_rasters_are_read_by_gdal(tmp_path: Path) -> None:
    import rasterio

    ds = day().isel(cell=[*range(4), *range(5, 9)])
    export(ds, "planning", tmp_path / "p")
    assert {"traffic.bil", "traffic.hdr", "traffic.prj", "traffic.grd", "bands.csv"} <= {
        path.name for path in (tmp_path / "p").iterdir()
    }
    with rasterio.open(tmp_path / "p" / "traffic.bil") as raster:
        assert raster.driver == "EHdr"
        bands = raster.read(masked=True)
        assert math.fsum(bands.compressed().astype(float).tolist()) == pytest.approx(total(ds), rel=1e-12)
        assert raster.crs.to_epsg() == 32632
        sampled = np.array(list(raster.sample(zip(ds.x.values, ds.y.values, strict=True))))
        np.testing.assert_array_equal(sampled, ds.internet.values)
        assert raster.descriptions == tuple(f"{t}Z" for t in np.datetime_as_string(ds.time.values, unit="s"))
        assert set(raster.units) == {"GB"}
    with rasterio.open(tmp_path / "p" / "traffic.grd") as raster:
        assert raster.crs.to_epsg() == 32632  # a .grd cannot say it: traffic.grd.aux.xml does
        mean = raster.read(1, masked=True)
        assert mean.mask.sum() == 1
        assert float(mean.astype("f8").sum()) * 25 == pytest.approx(total(ds), rel=1e-6)
    with (tmp_path / "p" / "bands.csv").open(encoding="utf-8") as stream:
        listed = list(csv.DictReader(stream))
    assert [row["what"] for row in listed[:25]] == [f"{t}Z" for t in np.datetime_as_string(ds.time.values, unit="s")]
    export(ds, "planning", tmp_path / "p", ExportOptions(statistic="peak"))
    with rasterio.open(tmp_path / "p" / "traffic.bil") as raster:
        assert raster.count == 1
        np.testing.assert_allclose(raster.read(1, masked=True).max(), ds.internet.values.max())
    with pytest.raises(WrongUse, match="--statistic median: give one of mean"):
        export(ds, "planning", tmp_path / "p", ExportOptions(statistic="median"))


# --- tables -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("decimal", ["point", "comma"])
def test_an_office_table_has_the_mark_the_separators_and_both_times(change: str, decimal: str, tmp_path: Path) -> None:
    ds = day(change, "cells", 2)
    export(ds, "office", tmp_path / "t.csv", ExportOptions(decimal=decimal), member="all")
    raw = (tmp_path / "t.csv").read_bytes()
    assert raw.startswith(b"\xef\xbb\xbf")
    sign = "," if decimal == "comma" else "."
    rows = list(csv.DictReader(raw.decode("utf-8-sig").splitlines(), delimiter=";" if decimal == "comma" else ","))
    assert len(rows) == ds.internet.size
    texts = [row["internet (GB)"] for row in rows]
    assert not any("." in text for text in texts) or decimal == "point"
    assert math.fsum(float(text.replace(sign, ".")) for text in texts) == pytest.approx(total(ds), rel=1e-8)
    for row, second in zip(rows, seconds(ds), strict=False):
        utc, local = (datetime.fromisoformat(row[f"time_{name}"]).replace(tzinfo=UTC) for name in ("utc", "local"))
        assert utc.timestamp() == second
        assert local.timestamp() - second in (3600, 7200)
    with pytest.raises(WrongUse, match="--decimal semicolon"):
        export(ds, "office", tmp_path / "t.csv", ExportOptions(decimal="semicolon"))


def test_a_workbook_keeps_ids_as_text_numbers_as_numbers_and_dates_as_dates(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    ds = day().assign_coords(cell_id=("cell", np.array([f"{i:03d}" for i in range(8)] + ["1E2<&"], dtype=object)))
    export(ds, "office", tmp_path / "t.xlsx")
    book = openpyxl.load_workbook(tmp_path / "t.xlsx")
    assert book.sheetnames == ["traffic"]  # one table, as importers want it
    head, *rows = book["traffic"].iter_rows(values_only=True)
    assert len(rows) == ds.internet.size
    at = {name: i for i, name in enumerate(head)}
    assert list(dict.fromkeys(row[at["cell"]] for row in rows)) == ds.cell_id.values.tolist()
    assert math.fsum(row[at["internet (GB)"]] for row in rows) == pytest.approx(total(ds), rel=1e-8)
    stamps = [row[at["time_utc"]] for row in rows[:25]]
    assert [round(t.replace(tzinfo=UTC).timestamp()) for t in stamps] == seconds(ds)
    assert "units of internet: GB" in book.properties.description
    assert "OpenStreetMap" in book.properties.description
    assert (tmp_path / "t.xlsx").read_bytes()[:2] == b"PK"
    first = (tmp_path / "t.xlsx").read_bytes()
    export(ds, "office", tmp_path / "t.xlsx")
    assert (tmp_path / "t.xlsx").read_bytes() == first  # the same traffic, the same bytes


@pytest.mark.parametrize("members", [None, 2])
def test_a_mat_file_reads_back_to_the_same_bits(members: int | None, tmp_path: Path) -> None:
    from scipy.io import loadmat

    ds = day("autumn", "cells", members)
    export(ds, "matlab", tmp_path / "t.mat")
    held = loadmat(tmp_path / "t.mat")
    values = held["internet"]
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values if members is None else values.transpose(2, 0, 1), ds.internet.values)
    assert held["time_utc"].ravel().tolist() == seconds(ds)
    assert [cell[0] for cell in held["cell_id"].ravel()] == ds.cell_id.values.tolist()
    assert held["units"]["internet"][0, 0][0] == "GB"


@pytest.mark.parametrize("change", CHANGES)
def test_line_protocol_is_parsed_to_the_same_numbers(change: str, tmp_path: Path) -> None:
    """By the grammar of InfluxDB: a backslash takes the meaning of a comma, an equals sign and a space."""
    ds = day(change, "cells", 2)
    export(ds, "influx", tmp_path / "t.lp")
    lines = (tmp_path / "t.lp").read_text(encoding="utf-8").splitlines()
    assert len(lines) == ds.internet.size
    values, times, cells = [], set(), []
    for line in lines:
        key, fields, stamp = re.split(r"(?<!\\) ", line)
        measurement, *tags = re.split(r"(?<!\\),", key)
        assert measurement == "traffic"
        told = dict(re.split(r"(?<!\\)=", tag, maxsplit=1) for tag in tags)
        cells.append(re.sub(r"\\([,= ])", r"\1", told["cell"]))
        assert told["member"] in ("0", "1")
        held = dict(field.split("=") for field in fields.split(","))
        values.append(held["internet"])
        times.add(int(stamp) / 1e9)
    assert math.fsum(float32(values)) == pytest.approx(total(ds), rel=1e-9)
    assert sorted(times) == seconds(ds)
    assert list(dict.fromkeys(cells)) == ds.cell_id.values.tolist()


@pytest.mark.parametrize("change", CHANGES)
def test_parquet_by_day_is_one_table_of_whole_local_days(change: str, tmp_path: Path) -> None:
    import pandas as pd

    start, hours = CHANGES[change]
    ds = traffic(context(n=3), days=3, start=start, units="GB", members=2).isel(time=slice(0, hours + 24))
    told = export(ds, "parquet", tmp_path / "p")
    assert told["days"] == 2
    frame = pd.read_parquet(tmp_path / "p")
    assert math.fsum(frame["internet"].astype(float)) == pytest.approx(total(ds), rel=1e-12)
    counts = frame.groupby("day", observed=True)["time"].nunique()
    assert counts.tolist() == [hours, 24]
    assert sorted({int(t.timestamp()) for t in frame["time"]}) == seconds(ds)
    local = frame["time"].dt.tz_convert("Europe/Rome")
    assert (frame["time_local"] == local.map(lambda t: t.isoformat())).all()
    assert (local.dt.strftime("%Y-%m-%d") == frame["day"].astype(str)).all()
    files = [path for path in (tmp_path / "p").rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".parquet"}, "polars reads every file of a folder"
    export(ds, "parquet", tmp_path / "p")  # a folder of ours is replaced
    (tmp_path / "p" / files[0].parent.name / "mine.parquet").write_bytes(b"x")
    with pytest.raises(BadInput, match=r"mine\.parquet, which gentraffic did not write"):
        export(ds, "parquet", tmp_path / "p")
    shutil.rmtree(tmp_path / "p")
    frame.to_parquet(tmp_path / "p", partition_cols=["day"])
    with pytest.raises(BadInput, match="is not an export of gentraffic"):
        export(ds, "parquet", tmp_path / "p")


def test_a_geopackage_needs_no_new_gdal(tmp_path: Path) -> None:
    """GDAL 3.6, of QGIS 3.22, warns of GeoPackage 1.4 and of times without milliseconds."""
    export(day(), "geopackage", tmp_path / "t.gpkg")
    base = sqlite3.connect(tmp_path / "t.gpkg")
    assert base.execute("PRAGMA user_version").fetchone() == (10200,)
    moment = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}"
    for column, table in (("time_utc", "series"), ("update_time", "layer_styles")):
        for (text,) in base.execute(f"SELECT {column} FROM {table}"):
            assert re.fullmatch(moment + "Z", text)
    assert re.fullmatch(moment + r"\+02:00", base.execute("SELECT time_local FROM series").fetchone()[0])
    base.close()


@pytest.mark.parametrize("change", CHANGES)
def test_maveric_has_the_columns_of_radp(change: str, tmp_path: Path) -> None:
    import pandas as pd

    ds = day(change)
    export(ds, "maveric", tmp_path / "m")
    topology = pd.read_csv(tmp_path / "m" / "topology.csv")
    assert {"cell_id", "cell_name", "cell_lat", "cell_lon", "cell_az_deg", "cell_carrier_freq_mhz"} <= {*topology}
    assert pd.read_csv(tmp_path / "m" / "config.csv").columns.tolist()[:2] == ["cell_id", "cell_el_deg"]
    users = pd.read_csv(tmp_path / "m" / "ue_data.csv")
    assert users.columns.tolist() == ["mock_ue_id", "lon", "lat", "tick"]
    assert len(users) == int((ds.internet.values > 0).sum())
    table = pd.read_csv(tmp_path / "m" / "traffic.csv")
    assert math.fsum(float32(table["internet"])) == pytest.approx(total(ds), rel=1e-9)
    first = table.drop_duplicates("tick")
    assert [int(datetime.fromisoformat(t).timestamp()) for t in first["time_local"]] == seconds(ds)
    assert set(table["cell_id"]) == set(topology["cell_id"])


# --- simulators and measurements --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("release", "has", "has_not"),
    [
        (None, ["simulations.nr.networks", "samplingTime", "*.ue[*].nrServingNodeId = 1", "Simu5G 1.4.3 and later"],
         ["sampling_time", "masterId", "macCellId"]),
        ("1.3", ["simulations.NR.networks", "sampling_time", "*.ue[*].nrMasterId = 1", "--release 1.3"],
         ["samplingTime", "ervingNodeId"]),
    ],
)  # fmt: skip
def test_simu5g_is_written_for_a_release_that_the_file_names(
    release: str | None, has: list[str], has_not: list[str], tmp_path: Path
) -> None:
    export(day(), "simu5g", tmp_path / "t.ini", ExportOptions(release=release))
    text = (tmp_path / "t.ini").read_text(encoding="utf-8")
    assert all(word in text for word in has)
    assert not any(word in text for word in has_not)
    with pytest.raises(WrongUse, match=r"--release 2\.0: give one of 1\.4, 1\.3"):
        export(day(), "simu5g", tmp_path / "t.ini", ExportOptions(release="2.0"))


@pytest.mark.parametrize(("form", "root", "entity"), [
    (None, "measCollecFile", "managedElement"), ("32.435", "measCollecFile", "managedElement"),
    ("28.532", "measDataFile", "measEntity"),
])  # fmt: skip
@pytest.mark.parametrize("change", CHANGES)
def test_both_forms_of_3gpp_hold_the_same_megabits(
    form: str | None, root: str, entity: str, change: str, tmp_path: Path
) -> None:
    ds = day(change)
    told = export(ds, "3gpp", tmp_path / "t.xml", ExportOptions(form=form))
    tree = ET.parse(tmp_path / "t.xml").getroot()
    space = tree.tag.removesuffix(root)
    assert f"{space}{root}" == tree.tag
    assert (form or "32.435") in space
    assert next(tree.iter(f"{space}{entity}")).attrib["localDn"].endswith("ManagedElement=1")
    objects = {v.attrib["measObjLdn"] for v in tree.iter(f"{space}measValue")}
    assert objects == {f"GNBCUCPFunction=1,NRCellCU={cell}" for cell in ds.cell_id.values}
    mbit = sum(int(r.text or "") for r in tree.iter(f"{space}r"))
    assert mbit == told["mbit"]["internet"]
    assert abs(mbit + told["mbit_left"]["internet"] - total(ds) * 8000) <= 1e-9 * total(ds) * 8000
    ends = [datetime.fromisoformat(p.attrib["endTime"]).timestamp() for p in tree.iter(f"{space}granPeriod")]
    assert ends == [second + 3600 for second in seconds(ds)]


def test_a_quantile_of_members_says_that_sums_mean_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_traffic(day(members=3), tmp_path / "e.nc")
    words = ["export", "3gpp", str(tmp_path / "e.nc"), "-o", str(tmp_path / "t.xml"), "--member"]
    assert run([*words, "p95"]) == 0
    assert "note: each value is the p95 of the members by itself: they do not add up" in capsys.readouterr().out
    assert "they do not add up" in (tmp_path / "t.xml").read_text(encoding="utf-8")
    assert run([*words, "mean", "--json"]) == 0
    assert "note" not in json.loads(capsys.readouterr().out)
    assert "add up" not in (tmp_path / "t.xml").read_text(encoding="utf-8")


@pytest.mark.parametrize(("cell", "changed"), [
    ("007", True), ("1E2", True), (320_019_369_001_487, False), (2**60 + 1, True), ("MI-007", False), ("12", False),
    ("1.50", True), ("nan", False),
])  # fmt: skip
def test_ids_that_a_spreadsheet_program_would_change_are_said(cell: Any, changed: bool, tmp_path: Path) -> None:
    ds = day().isel(cell=[0], time=slice(0, 2))
    ds = ds.assign_coords(cell_id=("cell", np.array([cell], dtype=object if isinstance(cell, str) else np.int64)))
    told = export(ds, "office", tmp_path / "t.csv")
    assert (f"ids such as {cell}: write .xlsx" in told.get("note", "")) == changed
    assert "note" not in export(ds, "office", tmp_path / "t.xlsx")


# --- without positions ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMATS)
def test_a_format_is_written_without_positions_or_says_that_it_needs_them(form: str, tmp_path: Path) -> None:
    ds = without_positions(day())
    path = tmp_path / f"out{FORMATS[form].suffixes[0]}"
    if FORMATS[form].positions:
        with pytest.raises(WrongUse, match=f"export {form} needs to know where the cells lie"):
            export(ds, form, path)
        assert list(tmp_path.iterdir()) == []
    else:
        export(ds, form, path)
        assert path.exists()


# --- the command ------------------------------------------------------------------------------------------------------


def test_every_format_has_a_writer_that_takes_its_options() -> None:
    for name, form in FORMATS.items():
        parameters = inspect.signature(form.writer()).parameters
        converted = set() if form.own_unit else {"unit"}  # before the writer has it
        assert set(form.takes) - converted == set(parameters) & set(OPTIONS), name
        assert form.tells == ("tell" in parameters), name
    assert {option for form in FORMATS.values() for option in form.takes} == set(OPTIONS)


@pytest.mark.parametrize("form", FORMATS)
def test_each_format_has_a_help_of_its_own(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["export", form, "--help"]) == 0
    said = capsys.readouterr().out
    assert f"gentraffic export {form} " in said
    for option in OPTIONS:
        assert (f"--{option} " in said) == (option in FORMATS[form].takes), option


def test_a_format_may_stand_anywhere_and_options_of_others_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_traffic(day(), tmp_path / "t.nc")
    source, out = str(tmp_path / "t.nc"), str(tmp_path / "k.csv")
    assert run(["export", "--quiet", "-o", out, "kepler", source]) == 0
    assert run(["export", "kepler", source, "-o", out, "--release", "1.3"]) == 2
    assert "--release is for simu5g, not for kepler" in capsys.readouterr().err
    assert run(["export", "xls", source, "-o", out]) == 2
    assert "no format 'xls': choose one of 3gpp" in capsys.readouterr().err
