"""What exports say of the cells (site, azimuth, ...), of an ensemble and of units."""

from __future__ import annotations

import csv
import math
import re
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from traffic_examples import context, traffic

from gentraffic.errors import WrongUse
from gentraffic.io.export.columns import headed, in_readable_unit, in_unit, short
from gentraffic.io.export.formats import FORMATS, ExportOptions
from gentraffic.io.export.registry import export, long_work
from gentraffic.io.export.tables import rounded
from gentraffic.io.importers.table import read_table

AZIMUTH = [0.0, 120.0, 240.0, 0.0, 120.0, 240.0, 0.0, 120.0, math.nan]
BAND = ["1800", "", "n78", "0700", "1800", "2100", "1800", "800", "1800"]


def sectors(members: int | None = None, units: str = "TB", scale: float = 1e-5) -> xr.Dataset:
    """Nine sectors of three masts with what a planner's table says of each; small amounts in a large unit."""
    ds = traffic(context("stations", n=3), days=1, members=members, units=units)
    names = {"site": [f"A{i // 3}" for i in range(9)], "band": BAND}
    told: dict[str, Any] = {name: ("cell", np.array(texts, dtype=object)) for name, texts in names.items()}
    told |= {"azimuth": ("cell", np.array(AZIMUTH)), "height": ("cell", np.arange(9) + 20.5)}
    values = (ds.internet * np.float32(scale)).astype(np.float32).assign_attrs(ds.internet.attrs)
    return ds.assign(internet=values).assign_coords(told)


def rows_of(path: Path, delimiter: str = ",") -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text(encoding="utf-8-sig").splitlines(), delimiter=delimiter))


@pytest.mark.parametrize("form", ["kepler", "office", "matlab", "frictionless"])
def test_tables_have_the_columns_of_the_cells(form: str, tmp_path: Path) -> None:
    ds = sectors()
    out = tmp_path / {"kepler": "t.csv", "office": "t.csv", "matlab": "m", "frictionless": "f"}[form]
    export(ds, form, out)
    rows = rows_of(out if out.suffix else out / "cells.csv")
    steps = len(rows) // 9
    first = rows[::steps]
    assert [row["site"] for row in first] == ds.site.values.tolist()
    assert [row["band"] for row in first] == BAND
    assert [float(row["azimuth"]) for row in first[:8]] == AZIMUTH[:8]
    assert [float(row["height"]) for row in first] == ds.height.values.tolist()


def test_maps_tensors_and_databases_have_the_columns_of_the_cells(tmp_path: Path) -> None:
    import geopandas as gpd
    import pyarrow.dataset as pads
    from scipy.io import loadmat

    ds = sectors()
    export(ds, "geopackage", tmp_path / "t.gpkg")
    cells = gpd.read_file(tmp_path / "t.gpkg", layer="cells")
    assert cells["site"].tolist() == ds.site.values.tolist()
    np.testing.assert_array_equal(cells["azimuth"], AZIMUTH)
    export(ds, "matlab", tmp_path / "t.mat")
    mat = loadmat(tmp_path / "t.mat", squeeze_me=True)
    np.testing.assert_array_equal(mat["azimuth"], AZIMUTH)
    assert mat["site"].tolist() == ds.site.values.tolist()
    export(ds, "sionna", tmp_path / "t.npz")
    with np.load(tmp_path / "t.npz", allow_pickle=False) as arrays:
        assert arrays["band"].tolist() == BAND
    export(ds, "parquet", tmp_path / "p")
    table = pads.dataset(tmp_path / "p", partitioning="hive").to_table().to_pandas()
    assert table.groupby("cell", sort=False)["height"].first().tolist() == ds.height.values.tolist()
    export(ds, "influx", tmp_path / "t.lp")
    lines = (tmp_path / "t.lp").read_text(encoding="utf-8").splitlines()
    assert "site=A0,band=1800 internet=" in lines[0]
    assert ",azimuth=0.0,height=20.5 " in lines[0]
    assert not any("nan" in line for line in lines)
    export(ds, "maveric", tmp_path / "r")
    topology = rows_of(tmp_path / "r" / "topology.csv")
    assert [row["cell_az_deg"] for row in topology] == ["0", "120", "240", "0", "120", "240", "0", "120", "0"]
    assert [row["site_id"] for row in topology] == ds.site.values.tolist()
    assert [row["cell_carrier_freq_mhz"] for row in topology][:4] == ["1800", "2100", "2100", "700"]


def test_a_column_that_is_called_like_a_statistic_gets_another_name(tmp_path: Path) -> None:
    import geopandas as gpd

    ds = sectors().assign_coords(mean=("cell", np.arange(9.0)))
    export(ds, "geopackage", tmp_path / "t.gpkg")
    cells = gpd.read_file(tmp_path / "t.gpkg", layer="cells")
    assert cells["cell_mean"].tolist() == list(range(9))
    assert math.fsum(cells["mean"]) == pytest.approx(float(ds.internet.mean("time").sum()) * 1e6, rel=1e-5)


@pytest.mark.parametrize("members", [3, 20])
def test_of_an_ensemble_a_geopackage_holds_the_mean_and_its_range(members: int, tmp_path: Path) -> None:
    ds = sectors(members)
    said = export(ds, "geopackage", tmp_path / "t.gpkg")
    values = ds.internet.values.astype(np.float64) * 1e6  # MB
    ends = (0.05, 0.95) if members >= 10 else (0.0, 1.0)
    with sqlite3.connect(tmp_path / "t.gpkg") as base:
        rows = base.execute("SELECT internet, internet_low, internet_high FROM series").fetchall()
        about = dict(base.execute("SELECT name, value FROM about").fetchall())
    base.close()
    mean, low, high = np.array(rows).T
    assert len(rows) == said["rows"] == 9 * 24
    assert math.fsum(mean) == pytest.approx(math.fsum(values.mean(axis=0).ravel()), rel=1e-12)
    np.testing.assert_allclose(low, np.quantile(values, ends[0], axis=0).ravel(), rtol=1e-6)
    np.testing.assert_allclose(high, np.quantile(values, ends[1], axis=0).ravel(), rtol=1e-6)
    assert about["units of internet"] == "MB"
    assert "only the means add up" in about["members"]
    assert "--member all" in said["note"]


def test_all_members_are_written_where_they_are_asked_for(tmp_path: Path) -> None:
    ds = sectors(3)
    export(ds, "geopackage", tmp_path / "t.gpkg", member="all")
    with sqlite3.connect(tmp_path / "t.gpkg") as base:
        rows = base.execute("SELECT member, internet FROM series").fetchall()
    base.close()
    assert len(rows) == 3 * 9 * 24
    total = math.fsum(ds.internet.values.ravel().tolist()) * 1e6  # MB
    assert math.fsum(v for _, v in rows) == pytest.approx(total, rel=1e-12)
    assert {m for m, _ in rows} == {0, 1, 2}
    export(ds, "kepler", tmp_path / "k.csv")
    assert list(rows_of(tmp_path / "k.csv")[0])[-7:-4] == ["internet", "internet_low", "internet_high"]
    export(ds, "kepler", tmp_path / "k.csv", member="all")
    assert len(rows_of(tmp_path / "k.csv")) == 3 * 9 * 24
    with pytest.raises(WrongUse, match="--member all: planning holds one series"):
        export(traffic(days=1, members=2), "planning", tmp_path / "x", member="all")


def test_long_work_says_how_large_it_is_before_it_begins(tmp_path: Path) -> None:
    small = sectors(2)
    said: list[str] = []
    done: list[tuple[int, int]] = []
    out = tmp_path / "t.gpkg"
    export(small, "geopackage", out, member="all", announce=said.append, tell=lambda *at: done.append(at))
    assert not said
    assert done[-1] == (2 * 9 * 24, 2 * 9 * 24)
    shape = (20, 2944, 168)
    big = xr.Dataset({"traffic": (("member", "cell", "time"), np.broadcast_to(np.float32(0), shape))})
    line = long_work(big, "geopackage", "all")
    assert line.startswith("9,891,840 rows, about 1.4 GB and 6 min")  # 1.43 GB and 5 min 50 s were measured
    assert long_work(big, "geopackage", None) == ""


# --- units ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".csv", ".xlsx"])
def test_an_office_file_names_a_unit_that_reads_well_and_keeps_the_sum(suffix: str, tmp_path: Path) -> None:
    ds = sectors()
    said = export(ds, "office", tmp_path / f"t{suffix}", ExportOptions(decimal="comma"))
    assert said["units"] == {"internet": "MB"}
    if suffix == ".csv":
        rows = rows_of(tmp_path / "t.csv", ";")
        texts = [row["internet (MB)"] for row in rows]
        digits = sorted(len(text.replace(",", "").lstrip("0")) for text in texts)  # no 14,514360000000002
        assert digits[-2] <= 6
        assert digits[-1] <= 12, "one value has what is left over at the end"
        assert max(len(row["lon"].partition(",")[2]) for row in rows) <= 6
        amounts = [float(text.replace(",", ".")) for text in texts]
    else:
        openpyxl = pytest.importorskip("openpyxl")
        head, *table = openpyxl.load_workbook(tmp_path / "t.xlsx")["traffic"].iter_rows(values_only=True)
        amounts = [row[head.index("internet (MB)")] for row in table]
    exact = ds.internet.values.astype(np.float64).ravel() * 1e6
    np.testing.assert_allclose(amounts, exact, rtol=1.01e-3)  # a remainder moves a value by a thousandth at most
    assert math.fsum(amounts) == pytest.approx(math.fsum(exact), rel=1e-8)
    assert [a == 0 for a in amounts] == (exact == 0).tolist()


def test_an_office_file_is_imported_in_its_unit(tmp_path: Path) -> None:
    ds = sectors()
    export(ds, "office", tmp_path / "t.csv", ExportOptions(decimal="comma"))
    back = read_table(tmp_path / "t.csv", timezone="Europe/Rome")
    assert list(back.data_vars) == ["internet"]
    assert back.internet.attrs["units"] == "MB"
    assert float(back.internet.sum(dtype="f8")) == pytest.approx(float(ds.internet.sum(dtype="f8")) * 1e6, rel=1e-6)
    order = [ds.cell_id.values.tolist().index(cell) for cell in back.cell_id.values.tolist()]
    assert back.site.values.tolist() == ds.site.values[order].tolist()
    np.testing.assert_array_equal(back.azimuth.values, ds.azimuth.values[order])


def test_what_rounding_leaves_goes_to_the_next_value_but_not_to_silence() -> None:
    rng = np.random.default_rng(0)
    exact = np.where(rng.random(5000) < 0.2, 0.0, rng.lognormal(0, 3, 5000)).tolist()
    out, left = rounded(exact)
    assert math.fsum(out) + left == pytest.approx(math.fsum(exact), rel=1e-14)
    assert abs(left) < 1e-9 * math.fsum(exact)
    assert all(short == 0 for short, value in zip(out, exact, strict=True) if value == 0)
    plain = math.fsum(float(f"{value:.6g}") for value in exact)
    assert abs(math.fsum(out) - math.fsum(exact)) < abs(plain - math.fsum(exact))
    assert rounded([1234567.0]) == ([1234567.0], 0.0)


def test_styles_have_labels_with_a_unit_and_no_exponent(tmp_path: Path) -> None:
    export(sectors(), "geopackage", tmp_path / "t.gpkg")
    with sqlite3.connect(tmp_path / "t.gpkg") as base:
        styles = [row[0] for row in base.execute("SELECT styleQML FROM layer_styles")]
        contents = dict(base.execute("SELECT table_name, description FROM gpkg_contents"))
    base.close()
    labels = [label for style in styles for label in re.findall(r'label="([^"]*)"', style)]
    assert len(labels) == 10
    assert all(re.fullmatch(r"[0-9.,]+ - [0-9.,]+ MB", label) for label in labels)
    assert contents["cells"] == "statistics of internet in MB"
    assert [short(v) for v in (4.6013e-06, 0.0, 12.345, 43210.4)] == ["0.0000046", "0", "12.3", "43,210"]


def test_a_capacity_that_no_cell_reaches_is_said_with_the_highest_value(tmp_path: Path) -> None:
    ds = sectors(units="GB", scale=1.0)
    highest = float(ds.internet.max())  # GB in an hour
    said = export(ds, "geopackage", tmp_path / "t.gpkg", ExportOptions(capacity="400Mbit/s"))
    assert said["note"].startswith("no cell exceeds --capacity 400Mbit/s")
    found = re.search(r"the highest value is ([0-9.]+)Mbit/s;", said["note"])
    assert found is not None
    assert float(found[1]) == pytest.approx(highest * 8000 / 3600, rel=0.005)
    assert "note" not in export(ds, "geopackage", tmp_path / "t.gpkg", ExportOptions(capacity=f"{highest / 2}"))
    both = export(sectors(3), "geopackage", tmp_path / "t.gpkg", ExportOptions(capacity="400Mbit/s"))["note"]
    assert both.startswith("no cell exceeds")
    assert "only the mean adds up" in both


@pytest.mark.parametrize("form", ["geopackage", "office", "kepler", "influx", "parquet", "matlab", "sionna"])
def test_the_unit_can_be_chosen(form: str, tmp_path: Path) -> None:
    assert "unit" in FORMATS[form].takes
    ds = sectors(units="GB", scale=1.0)
    suffix = FORMATS[form].suffixes[0]
    export(ds, form, tmp_path / f"t{suffix}", ExportOptions(unit="MB"))
    if form == "office":
        amounts = [float(row["internet (MB)"]) for row in rows_of(tmp_path / "t.csv")]
        assert math.fsum(amounts) == pytest.approx(float(ds.internet.sum(dtype="f8")) * 1e3, rel=1e-8)
    elif form == "geopackage":
        with sqlite3.connect(tmp_path / "t.gpkg") as base:
            (total,) = base.execute("SELECT sum(internet) FROM series").fetchone()
        base.close()
        assert total == pytest.approx(float(ds.internet.sum(dtype="f8")) * 1e3, rel=1e-12)


def test_units_that_cannot_be_had_are_refused() -> None:
    ds = sectors(units="GB", scale=1.0)
    assert headed(in_unit(ds, "TB"), "internet") == "internet (TB)"
    relative = sectors(units="1", scale=1.0)
    scaled = in_unit(relative, "3.2GB")
    assert scaled.internet.attrs["units"] == "GB"
    np.testing.assert_allclose(scaled.internet, relative.internet.values * 3.2, rtol=1e-6)
    assert in_readable_unit(relative).internet.attrs["units"] == "1"
    assert headed(relative, "internet") == "internet"
    for given, text, says in (
        (relative, "GB", "--unit GB: internet is in 'relative': say what 1 stands for, --unit 3.2GB"),
        (ds, "3.2GB", "give a unit alone, as GB is"),
        (ds, "furlong", "furlong is no volume"),
    ):
        with pytest.raises(WrongUse, match=re.escape(says)):
            in_unit(given, text)
