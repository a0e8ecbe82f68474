"""What another program adds up in a file of text is what the traffic adds up to, and its hours are the same."""

import csv
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from gentraffic.dataset.amounts import conversion
from gentraffic.dataset.build import measured_traffic
from gentraffic.errors import BadInput
from gentraffic.io.export.columns import text_number
from gentraffic.io.export.formats import ExportOptions
from gentraffic.io.export.registry import export
from gentraffic.io.files import write_traffic
from gentraffic.io.importers.table import read_table
from gentraffic.io.importers.telecom_italia import milan_places
from gentraffic.io.tables import ten_digits


def autumn(steps: int = 6) -> xr.Dataset:
    """Few values, so that what rounding does to a sum shows; the clock goes back within them."""
    values = np.random.default_rng(3).gamma(2.0, 1.0, (4, steps)).astype(np.float32)
    values[-1] = 0
    times = pd.date_range("2013-10-26T23:00", periods=steps, freq="h").values
    return measured_traffic(
        milan_places(np.array([4142, 4143, 4242, 4243])), times, {"traffic": (values, "GB")}, timezone="Europe/Rome",
        attrs={"title": "t", "attribution": "a", "license": "MIT"},
    )  # fmt: skip


def columns(path: Path, marks: str = ",") -> dict[str, list[str]]:
    with path.open(encoding="utf-8-sig", newline="") as table:
        head, *rows = csv.reader(table, delimiter=marks)
    return dict(zip(head, zip(*rows, strict=True), strict=True))


def added(path: Path, name: str) -> float:
    return sum(map(float, columns(path)[name]))


def test_ten_digits_read_back_and_sum() -> None:
    values = (10 ** np.random.default_rng(0).uniform(-40, 38, 20_000)).astype(np.float32)
    values = np.append(values, np.array([0, 1, 3.4e38, 1e-45], dtype=np.float32))
    short = ten_digits(values)
    np.testing.assert_array_equal(short.astype(np.float32), values)
    usual = values > 1e-37
    np.testing.assert_allclose(short[usual], values[usual].astype(np.float64), rtol=5.001e-10)
    texts = np.array([text_number(v) for v in values[:2000]]).astype(np.float64)
    np.testing.assert_array_equal(texts.astype(np.float32), values[:2000])
    np.testing.assert_allclose(texts, values[:2000].astype(np.float64), rtol=5.001e-10, atol=1e-45)


@pytest.mark.parametrize(
    "form", ["kepler", "office", "influx", "maveric", "frictionless", "croissant", "matlab", "own"]
)
def test_the_sum_of_a_text_file_is_that_of_the_traffic(form: str, tmp_path: Path) -> None:
    ds, out = (
        autumn(),
        tmp_path / ("out" + {"kepler": ".csv", "office": ".csv", "influx": ".lp", "own": ".csv"}.get(form, "")),
    )
    total = float(ds["traffic"].sum(dtype=np.float64))
    if form == "own":
        write_traffic(ds, out)
    else:
        export(ds, form, out)
    if form == "influx":
        got = sum(float(value) for value in re.findall(r" traffic=([^ ,]+)", out.read_text()))
    elif form == "matlab":
        got = sum(added(path, "traffic") for path in out.glob("cell_*.csv"))
    elif form == "office":
        got = added(out, "traffic (GB)")
    else:
        got = added(out / "traffic.csv" if out.is_dir() else out, "traffic")
    assert got == pytest.approx(total, rel=1e-9)


@pytest.mark.parametrize("decimal", ["point", "comma"])
def test_an_office_table_keeps_its_sum_and_hours(decimal: str, tmp_path: Path) -> None:
    ds = autumn()
    export(ds, "office", tmp_path / "o.csv", ExportOptions(decimal=decimal))
    values = columns(tmp_path / "o.csv", ";" if decimal == "comma" else ",")["traffic (GB)"]
    told = [float(value.replace(",", ".")) for value in values]
    assert sum(told) == pytest.approx(float(ds["traffic"].sum(dtype=np.float64)), rel=1e-11)
    assert sum(len(value) > 9 for value in values) <= 1, "six digits, but for what is left over"
    back = read_table(tmp_path / "o.csv")
    np.testing.assert_array_equal(back["time"].values, ds["time"].values)
    assert conversion(back["traffic"].attrs["units"], "GB", 3600) == 1


def test_all_of_every_table_of_ours_is_read_back(tmp_path: Path) -> None:
    ds = autumn().assign_coords(
        site=("cell", np.array(["S 1", "S 1", "Ü,2", "S3"], dtype=object)),
        azimuth=("cell", np.array([0.0, 120.5, 240.0, 10.0])), height=("cell", np.array([30.0, 30.0, 12.5, 20.0])),
        band=("cell", np.array(["1800", "700", "n78", "2100"], dtype=object)),
    )  # fmt: skip
    forms = {"days": "parquet", "k.csv": "kepler", "frictionless": "frictionless", "croissant": "croissant"}
    for name, form in forms.items():
        export(ds, form, tmp_path / name)
    for name in ("own.parquet", "own.csv"):
        write_traffic(ds, tmp_path / name)
    for name in (*forms, "own.parquet", "own.csv"):
        back = read_table(tmp_path / name)
        assert back["traffic"].attrs["units"] == "GB", name
        np.testing.assert_allclose(back["traffic"].values, ds["traffic"].values, rtol=1e-7, err_msg=name)
        np.testing.assert_array_equal(back["time"].values, ds["time"].values, err_msg=name)
        np.testing.assert_allclose(back["lon"].values, ds["lon"].values, rtol=1e-9, err_msg=name)
        for column in ("site", "azimuth", "height", "band"):
            assert back[column].values.tolist() == ds[column].values.tolist(), (name, column)


def test_a_package_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    export(autumn(), "frictionless", tmp_path / "p")
    lines = (tmp_path / "p" / "cells.csv").read_text().splitlines(keepends=True)
    (tmp_path / "p" / "cells.csv").write_text("".join(lines[:-1]))
    with pytest.raises(BadInput, match=r"cell \S+ of traffic\.csv is not in cells\.csv"):
        read_table(tmp_path / "p")
    (tmp_path / "p" / "cells.csv").unlink()
    with pytest.raises(BadInput, match=r"without traffic\.csv and cells\.csv"):
        read_table(tmp_path / "p")


def test_the_unit_beside_a_table_of_others_is_not_believed(tmp_path: Path) -> None:
    """CSV-on-the-Web notes of another program, or none that is whole, tell nothing."""
    write_traffic(autumn(), tmp_path / "t.csv")
    beside = tmp_path / "t.csv-metadata.json"
    for text in ("{", "[]", '{"notes": []}', '{"notes": ["GB"]}', '{"notes": [{"gentraffic": 3}]}'):
        beside.write_text(text)
        assert read_table(tmp_path / "t.csv")["traffic"].attrs["units"] == "unknown"


@pytest.mark.parametrize("form", ["kepler", "simu5g", "geopackage", "parquet", "croissant", "own csv", "own parquet"])
def test_names_of_files_that_are_no_text_are_written(form: str, tmp_path: Path) -> None:
    ds = autumn()
    suffix = {"kepler": ".csv", "simu5g": ".ini", "geopackage": ".gpkg", "own csv": ".csv", "own parquet": ".parquet"}
    out = tmp_path / ("caf\udce9" + suffix.get(form, ""))
    if form.startswith("own"):
        write_traffic(ds, out)
    else:
        export(ds, form, out)
    assert out.exists()
    assert not list(tmp_path.glob(".*"))
