"""Every export, read back by its consumer's own parser or schema: sums, times across changes of the clock, refusals."""

from __future__ import annotations

import configparser
import csv
import json
import math
import re
import xml.etree.ElementTree as ET
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
import xarray as xr
from traffic_examples import context, traffic

from gentraffic.cli.main import run
from gentraffic.dataset.schema import local_time
from gentraffic.errors import BadInput, WrongUse
from gentraffic.io.export.counters import bits_per_unit, bits_per_value, capacity_in, whole_numbers
from gentraffic.io.export.folder import mark_text
from gentraffic.io.export.formats import FORMATS, ExportOptions
from gentraffic.io.export.registry import check_export, export
from gentraffic.io.files import write_traffic

SPRING, AUTUMN = "2026-03-28T23:00", "2026-10-24T22:00"  # local midnight of days of 23 and 25 hours, Europe/Rome
NAMESPACE = "{http://www.3gpp.org/ftp/specs/archive/32_series/32.435#measCollec}"
# measCollec.xsd as TS 32.435 annex A prints it, rebuilt; measInfoId is required, as in its older versions.
SCHEMA = """<xs:schema targetNamespace="http://www.3gpp.org/ftp/specs/archive/32_series/32.435#measCollec"
 elementFormDefault="qualified" xmlns:xs="http://www.w3.org/2001/XMLSchema"
 xmlns:mc="http://www.3gpp.org/ftp/specs/archive/32_series/32.435#measCollec">
<xs:simpleType name="result"><xs:union memberTypes="xs:float"><xs:simpleType><xs:restriction base="xs:string">
 <xs:enumeration value="NIL"/></xs:restriction></xs:simpleType></xs:union></xs:simpleType>
<xs:complexType name="end"><xs:attribute name="endTime" type="xs:dateTime" use="required"/></xs:complexType>
<xs:complexType name="value"><xs:sequence><xs:choice>
 <xs:element name="measResults"><xs:simpleType><xs:list itemType="mc:result"/></xs:simpleType></xs:element>
 <xs:element name="r" minOccurs="0" maxOccurs="unbounded"><xs:complexType><xs:simpleContent>
  <xs:extension base="mc:result"><xs:attribute name="p" type="xs:positiveInteger" use="required"/></xs:extension>
 </xs:simpleContent></xs:complexType></xs:element></xs:choice>
 <xs:element name="suspect" type="xs:boolean" minOccurs="0"/></xs:sequence>
 <xs:attribute name="measObjLdn" type="xs:string" use="required"/></xs:complexType>
<xs:complexType name="info"><xs:sequence>
 <xs:element name="job" minOccurs="0"><xs:complexType>
  <xs:attribute name="jobId" type="xs:string" use="required"/></xs:complexType></xs:element>
 <xs:element name="granPeriod"><xs:complexType><xs:attribute name="duration" type="xs:duration" use="required"/>
  <xs:attribute name="endTime" type="xs:dateTime" use="required"/></xs:complexType></xs:element>
 <xs:element name="repPeriod" minOccurs="0"><xs:complexType>
  <xs:attribute name="duration" type="xs:duration" use="required"/></xs:complexType></xs:element>
 <xs:choice><xs:element name="measTypes"><xs:simpleType><xs:list itemType="xs:Name"/></xs:simpleType></xs:element>
  <xs:element name="measType" minOccurs="0" maxOccurs="unbounded"><xs:complexType><xs:simpleContent>
   <xs:extension base="xs:Name"><xs:attribute name="p" type="xs:positiveInteger" use="required"/></xs:extension>
  </xs:simpleContent></xs:complexType></xs:element></xs:choice>
 <xs:element name="measValue" type="mc:value" minOccurs="0" maxOccurs="unbounded"/></xs:sequence>
 <xs:attribute name="measInfoId" type="xs:string" use="required"/></xs:complexType>
<xs:element name="measCollecFile"><xs:complexType><xs:sequence>
 <xs:element name="fileHeader"><xs:complexType><xs:sequence>
  <xs:element name="fileSender"><xs:complexType><xs:attribute name="localDn" type="xs:string"/>
   <xs:attribute name="elementType" type="xs:string"/></xs:complexType></xs:element>
  <xs:element name="measCollec"><xs:complexType>
   <xs:attribute name="beginTime" type="xs:dateTime" use="required"/></xs:complexType></xs:element></xs:sequence>
  <xs:attribute name="fileFormatVersion" type="xs:string" use="required"/>
  <xs:attribute name="vendorName" type="xs:string"/><xs:attribute name="dnPrefix" type="xs:string"/>
 </xs:complexType></xs:element>
 <xs:element name="measData" minOccurs="0" maxOccurs="unbounded"><xs:complexType><xs:sequence>
  <xs:element name="managedElement"><xs:complexType><xs:attribute name="localDn" type="xs:string"/>
   <xs:attribute name="userLabel" type="xs:string"/><xs:attribute name="swVersion" type="xs:string"/>
  </xs:complexType></xs:element>
  <xs:element name="measInfo" type="mc:info" minOccurs="0" maxOccurs="unbounded"/></xs:sequence>
 </xs:complexType></xs:element>
 <xs:element name="fileFooter"><xs:complexType><xs:sequence><xs:element name="measCollec" type="mc:end"/></xs:sequence>
 </xs:complexType></xs:element></xs:sequence></xs:complexType></xs:element></xs:schema>"""


def volumes(kind: str = "grid", start: str = AUTUMN, hours: int = 25, members: int | None = None) -> xr.Dataset:
    """A day of GB per hour around a change of the clocks."""
    ds = traffic(context(kind, 3), days=2, start=start, units="GB", members=members)
    return ds.isel(time=slice(0, hours))


def check_xml(path: Path) -> ET.Element:
    import xmlschema

    xmlschema.XMLSchema(SCHEMA).validate(str(path))
    return ET.parse(path).getroot()


def read_xml(root: ET.Element) -> dict[str, dict[str, int]]:
    """End of period -> object -> the first counter's value."""
    found: dict[str, dict[str, int]] = {}
    for info in root.iter(f"{NAMESPACE}measInfo"):
        period = info.find(f"{NAMESPACE}granPeriod")
        assert period is not None
        found[period.attrib["endTime"]] = {
            value.attrib["measObjLdn"]: int(value.find(f"{NAMESPACE}r").text)  # type: ignore[union-attr, arg-type]
            for value in info.iter(f"{NAMESPACE}measValue")
        }
    return found


# --- whole numbers ----------------------------------------------------------------------------------------------------


def test_remainders_are_carried_from_step_to_step_and_from_cell_to_cell() -> None:
    whole, left = whole_numbers(np.array([[0.4, 0.4, 0.4], [0.4, 0.4, 0.0]], dtype=np.float32), 1.0, "kbit of traffic")
    # running sums 0.4 0.8 1.2 | 1.6 2.0 2.0, rounded 0 1 1 | 2 2 2
    np.testing.assert_array_equal(whole, [[0, 1, 0], [1, 0, 0]])
    assert left == pytest.approx(0.0, abs=1e-6)


def test_sums_are_the_exact_ones_rounded_however_small_the_values() -> None:
    rng = np.random.default_rng(0)
    values = (rng.lognormal(-2, 2, (400, 168)) * rng.integers(0, 2, (400, 1))).astype(np.float32)
    whole, left = whole_numbers(values, 0.37, "kbit of traffic")
    true = math.fsum(float(v) * 0.37 for v in values.ravel())
    assert whole.min() >= 0
    assert abs(whole.sum() - true) <= 0.5 + 1e-6
    assert whole.sum() + left == pytest.approx(true, rel=1e-12)
    assert np.abs(whole.sum(1) - values.sum(1, dtype=np.float64) * 0.37).max() <= 1.0
    assert abs(np.rint(values.astype(np.float64) * 0.37).sum() - true) > 50  # what rounding alone would lose


def test_units_are_decimal_unless_they_say_otherwise() -> None:
    assert bits_per_unit("GB", 3600) == 8e9
    assert bits_per_unit("GiB", 3600) == 8 * 2**30
    assert bits_per_unit("Mbit/s", 900) == 900e6
    assert bits_per_unit("1", 3600) is None
    assert bits_per_value(volumes().assign_attrs(), "internet", "2MB") == 16e6
    assert capacity_in("40Mbit/s", volumes(), "internet") == pytest.approx(18.0)  # GB per hour
    assert capacity_in("7", volumes(), "internet") == 7.0
    for text in ("40Mbit/s", "4apples"):
        with pytest.raises(WrongUse, match="--capacity"):
            capacity_in(text, traffic(), "internet")


# --- 3GPP -------------------------------------------------------------------------------------------------------------


def test_3gpp_holds_whole_megabits_whose_sums_are_those_of_the_traffic(tmp_path: Path) -> None:
    ds = volumes()
    told = export(ds, "3gpp", tmp_path / "t.xml")
    periods = read_xml(check_xml(tmp_path / "t.xml"))
    assert len(periods) == 25
    total = sum(sum(values.values()) for values in periods.values())
    assert total == told["mbit"]["internet"]
    true = math.fsum(float(v) for v in ds.internet.values.ravel()) * 8000
    assert abs(total - true) <= 0.5 + 1e-6
    cells = np.array([[periods[end][name] for end in periods] for name in next(iter(periods.values()))])
    np.testing.assert_allclose(cells.sum(1), ds.internet.values.sum(1, dtype=np.float64) * 8000, atol=1.0)


@pytest.mark.parametrize(("start", "hours"), [(SPRING, 23), (AUTUMN, 25)])
def test_3gpp_times_are_local_and_unambiguous_when_the_clocks_change(start: str, hours: int, tmp_path: Path) -> None:
    ds = volumes(start=start, hours=hours)
    export(ds, "3gpp", tmp_path / "pm")
    files = sorted(path.name for path in (tmp_path / "pm").glob("*.xml"))
    assert len(set(files)) == hours
    ends, begins = set(), set()
    for name in files:
        root = check_xml(tmp_path / "pm" / name)
        (end,) = read_xml(root)
        begin = root.find(f"{NAMESPACE}fileHeader/{NAMESPACE}measCollec").attrib["beginTime"]  # type: ignore[union-attr]
        ends.add(datetime.fromisoformat(end).timestamp())
        begins.add(datetime.fromisoformat(begin).timestamp())
        match = re.fullmatch(r"A(\d{8}\.\d{4}[+-]\d{4})-(\d{8}\.)?(\d{4}[+-]\d{4})_gentraffic\.xml", name)
        assert match
        assert datetime.strptime(match[1], "%Y%m%d.%H%M%z").timestamp() == datetime.fromisoformat(begin).timestamp()
    utc = ds.time.values.astype("datetime64[s]").astype(int)
    assert begins == set(utc.tolist())
    assert ends == set((utc + 3600).tolist())
    offsets = {datetime.fromisoformat(t).utcoffset() for t in read_xml(check_xml(tmp_path / "pm" / files[0]))}
    assert len(offsets) == 1


def test_3gpp_escapes_ids_and_names_a_counter_per_service(tmp_path: Path) -> None:
    ds = volumes("cells")  # ids such as «MI-000, «0»»
    ds = ds.assign(voice=ds.internet * np.float32(0.1))
    ds["voice"].attrs = {"units": "Mbit"}
    export(ds, "3gpp", tmp_path / "t.xml", ExportOptions(counter="VS.Volume"))
    root = check_xml(tmp_path / "t.xml")
    names = {kind.text for kind in root.iter(f"{NAMESPACE}measType")}
    assert names == {"VS.Volume.internet", "VS.Volume.voice"}
    first = next(root.iter(f"{NAMESPACE}measValue")).attrib["measObjLdn"]
    assert first == r"GNBDUFunction=1,NRCellDU=MI-000\, «0»"


def test_relative_traffic_is_refused_with_the_mend(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_traffic(traffic(), tmp_path / "t.nc")
    assert run(["export", "3gpp", str(tmp_path / "t.nc"), "-o", str(tmp_path / "t.xml")]) == 2
    err = capsys.readouterr().err
    assert "--total" in err
    assert "--unit" in err
    assert run(["export", "3gpp", str(tmp_path / "t.nc"), "-o", str(tmp_path / "t.xml"), "--unit", "2GB"]) == 0
    assert not list(tmp_path.glob(".t.xml*"))


# --- simulators -------------------------------------------------------------------------------------------------------


def test_simu5g_is_a_strict_ini_whose_runs_carry_the_volumes(tmp_path: Path) -> None:
    ds = volumes(hours=25)
    told = export(ds, "simu5g", tmp_path / "t.ini")
    text = (tmp_path / "t.ini").read_text(encoding="utf-8")
    ini = configparser.ConfigParser(strict=True, delimiters=("=",), interpolation=None, comment_prefixes=("#",))
    ini.optionxform = str  # type: ignore[assignment, method-assign]
    ini.read_string(text)
    assert ini.sections() == ["General", "Config Traffic"]
    keys = ini["Config Traffic"]
    assert keys["*.numUe"] == keys["*.server.numApps"] == "9"
    assert "${step = 0..24}" in ini["General"]["output-scalar-file"]
    volumes_kbit = []
    for i in range(9):
        match = re.fullmatch(
            rf"(\d+)s / max\(1e-6, \$\{{volume{i} = ([\d, ]+) ! step\}}\)", keys[f"*.server.app[{i}].samplingTime"]
        )
        assert match
        volumes_kbit.append([int(v) for v in match[2].split(",")])
        assert keys[f"*.server.app[{i}].startTime"].count(f"${{volume{i}}}") == 1
        # bits per second of the step: packet / (its interval)
        assert int(match[1]) == int(keys["*.server.app[*].packetSize"][:-1]) * 8 // 1000 * 3600
    array = np.array(volumes_kbit)
    assert array.shape == (9, 25)
    assert array.sum() == told["kbit"]["internet"]
    np.testing.assert_allclose(array.sum(1), ds.internet.values.sum(1, dtype=np.float64) * 8e6, atol=1.0)
    x = np.array([float(keys[f"*.ue[{i}].mobility.initialX"][:-1]) for i in range(9)])
    y = np.array([float(keys[f"*.ue[{i}].mobility.initialY"][:-1]) for i in range(9)])
    np.testing.assert_allclose(x - x.min(), ds.x - ds.x.min(), atol=0.06)
    np.testing.assert_allclose(y.max() - y, ds.y - ds.y.min(), atol=0.06)
    assert len(set(re.findall(r"# step \d+: (\S+)", text))) == 25


def test_sionna_tensor_has_the_axes_it_names(tmp_path: Path) -> None:
    ds = volumes(members=3)
    export(ds, "sionna", tmp_path / "t.npz")
    with np.load(tmp_path / "t.npz", allow_pickle=False) as held:
        assert [str(a) for a in held["axes"]] == ["batch (member)", "cell", "service", "time"]
        np.testing.assert_array_equal(held["traffic"][:, :, 0, :], ds.internet.values)
        assert held["traffic"].dtype == np.float32
        assert held["bs_loc"].shape == (3, 9, 3)
        np.testing.assert_allclose(np.diff(held["bs_loc"][0, :, 0]), np.diff(ds.x), atol=0.01)
        local = local_time(ds)
        assert [t.hour for t in local] == ((held["time_utc"] + held["utc_offset_s"]) // 3600 % 24).tolist()
        assert held["units"].tolist() == ["GB"]
        assert json.loads(str(held["about"]))["license"] == "ODbL-1.0"


def test_matlab_files_read_back_to_the_same_bits(tmp_path: Path) -> None:
    ds = volumes("stations", members=2)
    export(ds, "matlab", tmp_path / "m")
    with (tmp_path / "m" / "cells.csv").open(encoding="utf-8") as stream:
        index = list(csv.DictReader(stream))
    assert [row["cell_id"] for row in index] == ds.cell_id.values.tolist()
    for i, row in enumerate(index):
        assert float(row["lon"]) == ds.lon.values[i]
        with (tmp_path / "m" / row["file"]).open(encoding="utf-8") as stream:
            table = list(csv.DictReader(stream))
        got = np.array([[line["internet_m0"], line["internet_m1"]] for line in table]).astype(np.float32)
        np.testing.assert_array_equal(got, ds.internet.values[:, i].T)
        hours = [line["time_local"][11:13] for line in table]
        assert hours.count("02") == 2  # the hour that is lived twice, told apart by its offset
        assert {line["utc_offset_min"] for line in table if line["time_local"][11:13] == "02"} == {"60", "120"}
    assert all(re.fullmatch(r"[A-Za-z]\w*", name) for name in table[0])


# --- maps -------------------------------------------------------------------------------------------------------------


def test_geotiff_of_steps_and_of_an_ensemble(tmp_path: Path) -> None:
    import rasterio

    ds = volumes()
    export(ds, "geotiff", tmp_path / "t.tif")
    with rasterio.open(tmp_path / "t.tif") as tif:
        assert tif.count == 25
        assert math.fsum(tif.read().ravel().tolist()) == math.fsum(ds.internet.values.ravel().tolist())
        assert [d[:13] for d in tif.descriptions] == [str(t)[:13] for t in ds.time.values]
    many = volumes(members=12)
    export(many, "geotiff", tmp_path / "e.tif", ExportOptions(capacity="18GB"))
    with rasterio.open(tmp_path / "e.tif") as tif:
        bands = dict(zip(tif.descriptions, tif.read(), strict=True))
        row, col = many.row.values, many.col.values
        got = bands["p_above"][row.max() - row, col]
        np.testing.assert_allclose(got, (many.internet.values.max(2) > 18).mean(0), rtol=1e-6)
        mean = bands["mean_p50"][row.max() - row, col]
        np.testing.assert_allclose(mean, np.median(many.internet.values.mean(2, dtype=float), 0), rtol=1e-6)


@pytest.mark.parametrize("kind", ["grid", "cells", "stations"])
def test_geopackage_reads_back_by_geopandas(kind: str, tmp_path: Path) -> None:
    import geopandas as gpd
    import pyogrio

    ds = volumes(kind, members=2)
    export(ds, "geopackage", tmp_path / "t.gpkg", ExportOptions(capacity="100Mbit/s"), member="all")
    assert {name for name, _ in pyogrio.list_layers(tmp_path / "t.gpkg")} == {
        "cells", "series", "about", "traffic", "layer_styles",
    }  # fmt: skip
    cells = gpd.read_file(tmp_path / "t.gpkg", layer="cells")
    assert cells.crs.to_epsg() == 4326
    assert cells.cell_id.tolist() == ds.cell_id.values.tolist()
    inside = shapely.dwithin(cells.geometry.values, shapely.points(ds.lon, ds.lat), 1e-6)
    assert inside.sum() >= 8  # the cell with a hole does not hold its centre
    series = gpd.read_file(tmp_path / "t.gpkg", layer="series")
    assert len(series) == 2 * 9 * 25
    assert math.fsum(series.internet) == math.fsum(ds.internet.values.ravel().tolist())
    assert series.time_local.nunique() == 25
    about = gpd.read_file(tmp_path / "t.gpkg", layer="about").set_index("name")["value"]
    assert about["timezone"] == "Europe/Rome"


def test_kepler_has_the_columns_that_it_looks_for(tmp_path: Path) -> None:
    import pandas as pd

    ds = volumes()
    export(ds, "kepler", tmp_path / "k.csv")
    table = pd.read_csv(tmp_path / "k.csv")
    assert {"latitude", "longitude", "timestamp"} <= set(table.columns)
    assert table.timestamp.str.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ").all()
    np.testing.assert_array_equal(table.internet.to_numpy(np.float32), ds.internet.values.ravel())
    assert pd.to_datetime(table.time_local, utc=True).equals(pd.to_datetime(table.timestamp, utc=True))
    notes = json.loads((tmp_path / "k.csv-metadata.json").read_text(encoding="utf-8"))["notes"][0]
    assert "OpenStreetMap" in notes["attribution"]


# --- packages ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["grid", "cells"])
def test_frictionless_validates_its_package(kind: str, tmp_path: Path) -> None:
    frictionless = pytest.importorskip("frictionless")
    ds = volumes(kind, members=2)
    export(ds, "frictionless", tmp_path / "p")
    with frictionless.system.use_context(trusted=True):
        package = frictionless.Package(str(tmp_path / "p" / "datapackage.json"))
        report = package.validate()
    assert report.valid, report.flatten(["title", "message"])
    with frictionless.system.use_context(trusted=True):
        rows = package.get_resource("traffic").read_rows()
    drawn = math.fsum(float(np.float32(row["internet"])) for row in rows)
    assert drawn == math.fsum(ds.internet.values.ravel().tolist())
    assert package.licenses[0]["name"] == "ODbL-1.0"
    changed = tmp_path / "p" / "traffic.csv"  # the hash is looked at
    changed.write_text(changed.read_text(encoding="utf-8").replace("2026", "2027", 1), encoding="utf-8")
    with frictionless.system.use_context(trusted=True):
        assert not frictionless.Package(str(tmp_path / "p" / "datapackage.json")).validate().valid


def test_croissant_reads_its_records(tmp_path: Path) -> None:
    mlc = pytest.importorskip("mlcroissant")
    ds = volumes()
    export(ds, "croissant", tmp_path / "c")
    data: Any = mlc.Dataset(jsonld=str(tmp_path / "c" / "croissant.json"))
    assert not data.metadata.issues.errors
    values = [record["traffic/internet"] for record in data.records("traffic")]
    np.testing.assert_array_equal(np.array(values, dtype=np.float32), ds.internet.values.ravel())
    cells = [record["cells/cell_id"] for record in data.records("cells")]
    assert cells == ds.cell_id.values.tolist()
    assert data.metadata.license == ["https://opendatacommons.org/licenses/odbl/1-0/"]


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_members_and_services_must_be_chosen_where_a_format_holds_one(tmp_path: Path) -> None:
    ds = volumes(members=3)
    with pytest.raises(WrongUse, match="--member 0"):
        export(ds, "3gpp", tmp_path / "t.xml")
    with pytest.raises(WrongUse, match="--member 7"):
        export(ds, "3gpp", tmp_path / "t.xml", member="7")
    for which, expected in (("1", ds.internet.values[1]), ("mean", ds.internet.values.mean(0, dtype=float))):
        export(ds, "sionna", tmp_path / "t.npz", member=which)
        with np.load(tmp_path / "t.npz") as held:
            np.testing.assert_allclose(held["traffic"][0, :, 0], expected, rtol=1e-6)
    two = ds.assign(voice=ds.internet)
    with pytest.raises(WrongUse, match="--service"):
        export(two, "simu5g", tmp_path / "t.ini", member="0")
    with pytest.raises(WrongUse, match="--unit is of one service"):
        export(two, "3gpp", tmp_path / "t.xml", ExportOptions(unit="3MB"), member="0")
    assert not list(tmp_path.glob("t.xml*"))


def test_an_export_never_replaces_a_folder_that_is_not_one(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    with pytest.raises(BadInput, match="not an export"):
        export(volumes(), "matlab", tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years"
    export(volumes(), "matlab", tmp_path / "new")
    export(volumes(hours=3), "matlab", tmp_path / "new")  # its own may be replaced
    assert len(list((tmp_path / "new").glob("cell_*.csv"))) == 9


@pytest.mark.parametrize(
    ("form", "name", "says"), [("xls", "t.xls", "3gpp"), ("3gpp", "t.csv", ".xml"), ("kepler", "t", ".csv")]
)
def test_wrong_formats_and_names(form: str, name: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(WrongUse, match=re.escape(says)):
        check_export(form, tmp_path / name)


def test_an_option_of_another_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WrongUse, match="--statistic is for planning, not for kepler"):
        export(volumes(), "kepler", tmp_path / "t.csv", ExportOptions(statistic="mean"))


@pytest.mark.parametrize("form", sorted(FORMATS))
def test_one_cell_and_one_step_can_be_exported(form: str, tmp_path: Path) -> None:
    ds = volumes().isel(cell=slice(0, 1), time=slice(0, 1))
    assert export(ds, form, tmp_path / f"t{FORMATS[form].suffixes[0]}")


@pytest.mark.parametrize(
    ("form", "name"), [("office", "t.csv"), ("office", "t.xlsx"), ("parquet", "days"), ("influx", "t.lp")]
)
def test_series_without_positions_are_written_and_read_back(form: str, name: str, tmp_path: Path) -> None:
    from gentraffic.io.export.registry import export
    from gentraffic.io.importers.table import read_table

    rows = "".join(f"{c},2026-01-05T{h:02d}:00Z,{h + c}.5\n" for c in (1, 2) for h in range(24))
    (tmp_path / "in.csv").write_text("cell,time,internet\n" + rows)
    ds = read_table(tmp_path / "in.csv", timezone="Europe/Rome", unit="GB")
    export(ds, form, tmp_path / name)
    if form == "influx":
        text = (tmp_path / name).read_text()
        assert "lon=" not in text
        assert text.splitlines()[0] == "traffic,cell=1 internet=1.5 1767571200000000000"
    else:
        back = read_table(tmp_path / name, timezone="Europe/Rome")
        np.testing.assert_array_equal(back["internet"].values, ds["internet"].values)
        np.testing.assert_array_equal(back["time"].values, ds["time"].values)
        assert back["cell_id"].values.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("factor", "unit", "said"),
    [
        (1e300, "1e300GB", "--unit 1e300GB: 6e\\+300 kbit of traffic in all are more than .*: give a smaller --unit"),
        (np.inf, "1e308GB", "--unit 1e308GB: inf kbit"),
        (2.0**53 / 3 * 1.001, None, "^9.02e\\+15 kbit .*: draw with a smaller --total"),
        (1e-300, "1e-300GB", "every whole number would be 0: give a larger --unit"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_whole_numbers_that_cannot_be_exact_are_refused(factor: float, unit: str | None, said: str) -> None:
    with pytest.raises(WrongUse, match=said):
        whole_numbers(np.array([[1, 2, 3]] if unit else [[1, 1, 1]], dtype=np.float32), factor, "kbit of traffic", unit)


def test_the_largest_whole_numbers_are_exact() -> None:
    whole, left = whole_numbers(np.array([[1, 2], [0, 1]], dtype=np.float32), 2.0**51, "kbit of traffic")
    assert whole.tolist() == [[2**51, 2**52], [0, 2**51]]
    assert left == 0


@pytest.mark.parametrize("form", ["frictionless", "parquet"])
def test_files_of_somebody_else_in_an_exported_folder_are_not_deleted_with_it(form: str, tmp_path: Path) -> None:
    ds, out = traffic(), tmp_path / "out"
    export(ds, form, out)
    export(ds, form, out)  # its own it replaces
    (out / "notes.txt").write_text("mine")
    with pytest.raises(BadInput, match=rf"{out} holds notes.txt, which gentraffic did not write"):
        export(ds, form, out)
    assert (out / "notes.txt").read_text() == "mine"


def test_a_folder_says_what_protects_whom() -> None:
    ds = volumes().assign_attrs(privacy_epsilon=8.0, privacy_unit="a cell", totals="traffic=5TB/day")
    said = json.loads(mark_text(ds, "kepler", []))
    assert (said["privacy_epsilon"], said["privacy_unit"], said["totals"]) == ("8.0", "a cell", "traffic=5TB/day")
    assert not [name for name in json.loads(mark_text(volumes(), "kepler", [])) if name.startswith("privacy")]
