"""Tables as people have them: encodings, packings, ids, numbers, times; each right value known beforehand."""

import bz2
import gzip
import lzma
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from traffic_examples import context, traffic

from gentraffic.cli.main import run
from gentraffic.errors import BadInput, WrongUse
from gentraffic.io.importers.table import read_table
from gentraffic.io.source_columns import make_reading
from gentraffic.io.source_table import read_source
from gentraffic.io.user_cells import places_from_cells, read_cells, read_stations

ROWS = [(cell, hour, value + hour) for cell, value in (("A1", 1000.5), ("B2", 2000.25)) for hour in range(3)]
TEXT = "cell,time,value,lon,lat\n" + "".join(f"{c},2024-03-04T0{h}:00Z,{v},11.1,46.1\n" for c, h, v in ROWS)
WANTED = [[1000.5, 1001.5, 1002.5], [2000.25, 2001.25, 2002.25]]


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def zipped(content: bytes) -> bytes:
    import io

    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("table.csv", content)
    return out.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        TEXT.encode(),
        TEXT.encode("utf-8-sig"),
        TEXT.encode("utf-16"),
        TEXT.encode("utf-16-le"),
        TEXT.encode("utf-16-be"),
        gzip.compress(TEXT.encode()),
        bz2.compress(TEXT.encode()),
        lzma.compress(TEXT.encode()),
        zipped(TEXT.encode()),
        TEXT.replace("\n", "\r\n").encode(),
        ("sep=;\n" + TEXT.replace(",", ";")).encode(),
        ("# made by hand\n\n" + TEXT.replace(",", "\t")).encode(),
        TEXT.replace("cell,time,value,lon,lat", '"cell","time","value","lon","lat"').encode(),
        TEXT.replace(",", ";").replace(".", ",").encode(),  # 1000,5 is no thousand
        TEXT.replace(",", ";").replace(".", ",").replace("1000,5", "1.000,5").encode(),
        TEXT.replace("\n", ",\n").encode(),  # a separator at the end of each line
    ],
    ids=range(16),
)
def test_every_packing_and_encoding_gives_the_same_traffic(content: bytes, tmp_path: Path) -> None:
    found = read_table(write(tmp_path / "any.name", content))
    assert found["cell_id"].values.tolist() == ["A1", "B2"]
    assert found["time"].values[0] == np.datetime64("2024-03-04T00:00")
    assert found["traffic"].values.tolist() == WANTED
    assert found["lon"].values.tolist() == [11.1, 11.1]


def test_the_values_are_the_same_whatever_the_table_is_packed_in(tmp_path: Path) -> None:
    frame = pd.DataFrame([(c, pd.Timestamp(2024, 3, 4, h), v, 11.1, 46.1) for c, h, v in ROWS],
                         columns=["CELL_NAME", "Timestamp", "value", "Longitude", "LAT"])  # fmt: skip
    frame.to_excel(tmp_path / "a.xlsx", index=False)
    frame.to_parquet(tmp_path / "a.parquet")
    frame.to_csv(tmp_path / "a.csv", index=False, sep=";", decimal=",")
    frame.to_csv(tmp_path / "b.csv.gz", index=False, encoding="utf-16")
    for name in ("a.xlsx", "a.parquet", "a.csv", "b.csv.gz"):
        found = read_table(tmp_path / name, timezone="Etc/UTC")
        assert found["traffic"].values.tolist() == WANTED, name
        assert found["lon"].values.tolist() == [11.1, 11.1]


def test_latin_letters_and_what_was_assumed(tmp_path: Path) -> None:
    found = read_table(write(tmp_path / "a.csv", TEXT.replace("A1", "Città").encode("latin-1")))
    assert found["cell_id"].values.tolist() == ["B2", "Città"]
    assert "read as Latin-1" in found.attrs["warnings"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"\xd0\xcf\x11\xe0" + bytes(600), r"old Excel .xls: save it as .xlsx or CSV"),
        (b"\x89HDF\r\n\x1a\n" + bytes(600), "NetCDF or HDF5"),
        (b"SQLite format 3\0" + bytes(600), "GeoPackage"),
        (b'{"a": [1, 2]}', "JSON"),
        (bytes(range(256)) * 9, "binary"),
        (gzip.compress(TEXT.encode())[:60], "not a whole"),
        (b"cell,time,value\n1,2024-03-04T00:00Z,1,5\n1,2024-03-04T01:00Z,2,5\n", "decimal comma.*needs quotes"),
    ],
    ids=range(8),
)
def test_the_right_reason_in_one_line(content: bytes, says: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=says) as caught:
        read_table(write(tmp_path / "a.csv", content))
    assert "\n" not in str(caught.value)


# --- numbers ----------------------------------------------------------------------------------------------------------


def values(tmp_path: Path, *texts: str, **said: str) -> list[float]:
    lines = [f"a;2024-03-04T{hour:02d}:00Z;{text}" for hour, text in enumerate(texts)]
    path = write(tmp_path / "n.csv", "cell;time;value\n" + "\n".join(lines) + "\n")
    found: list[float] = (
        read_table(path, timezone="Etc/UTC", reading=make_reading(**said))["traffic"].values[0].tolist()
    )
    return found


@pytest.mark.parametrize(
    ("texts", "wanted"),
    [
        (("1.5", "2"), [1.5, 2]),
        (("1,5", "2"), [1.5, 2]),
        (("0.125", "2.500"), [0.125, 2.5]),  # a nought before it: no group of thousands
        (("1234.125", "2.500"), [1234.125, 2.5]),  # 1234 has no mark: the point is none of thousands
        (("1.234,5", "2.000"), [1234.5, 2000]),
        (("1,234.5", "2,000"), [1234.5, 2000]),
        (("1.234.500", "2.000"), [1234500, 2000]),
        (("1 234,5", "2 000"), [1234.5, 2000]),
        (("1 234", "2"), [1234, 2]),
        (("1'234.5", "2"), [1234.5, 2]),
        (("1e3", "2.5E-1"), [1000, 0.25]),
        (("+1.5", ".5"), [1.5, 0.5]),
    ],
)
def test_numbers_that_say_what_they_are(texts: tuple[str, ...], wanted: list[float], tmp_path: Path) -> None:
    assert values(tmp_path, *texts) == wanted


@pytest.mark.parametrize(("mark", "word"), [(".", "point"), (",", "comma")])
def test_numbers_in_doubt_are_asked_for(mark: str, word: str, tmp_path: Path) -> None:
    texts = (f"1{mark}234", f"12{mark}500")
    with pytest.raises(BadInput, match=f"may be 1.234 or 1234: say --decimal {word} or --thousands {word}"):
        values(tmp_path, *texts)
    assert values(tmp_path, *texts, decimal=word) == [np.float32(1.234), 12.5]
    assert values(tmp_path, *texts, thousands=word) == [1234, 12500]


def test_coordinates_prove_nothing_of_amounts(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.csv",
        "cell,time,value,lon,lat\na,2024-03-04T00Z,1.234,11.125,46.5\na,2024-03-04T01Z,2.345,11.125,46.5\n",
    )
    with pytest.raises(BadInput, match=r"value 1\.234 may be"):
        read_table(path)
    assert read_table(path, reading=make_reading(thousands="point"))["lon"].values.tolist() == [11.125]


def test_numbers_of_two_notations_and_what_is_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"decimal point.*decimal comma"):
        values(tmp_path, "0.5", "0,5")
    with pytest.raises(BadInput, match="value = 1,23; traffic is a number"):
        values(tmp_path, "1,23", "1.5", thousands="comma")
    with pytest.raises(WrongUse, match="--decimal and --thousands"):
        make_reading(decimal="comma", thousands=",")
    with pytest.raises(WrongUse, match="--decimal dash"):
        make_reading(decimal="dash")
    with pytest.raises(WrongUse, match="give pairs such as"):
        make_reading(columns="CELL")


# --- ids --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (["0041", "0102"], ["0041", "0102"]),
        (["1E2", "2E2"], ["1E2", "2E2"]),
        (["007", "7"], ["007", "7"]),
        (["41", "102"], [41, 102]),
        (["nan", "NA"], ["NA", "nan"]),
        (["0x1F", "1_000"], ["0x1F", "1_000"]),
        (["9007199254740993", "9007199254740992"], [9007199254740992, 9007199254740993]),
        (["123456789012345678901", "2"], ["123456789012345678901", "2"]),
        (["True", "False"], ["False", "True"]),
        (["2013-11-01", "2013-11-02"], ["2013-11-01", "2013-11-02"]),
    ],
)
def test_ids_are_text_in_every_table(given: list[str], wanted: list[Any], tmp_path: Path) -> None:
    rows = [(cell, f"2024-03-04T0{h}:00Z", 1.0, 11.1 + k, 46.1) for k, cell in enumerate(given) for h in range(2)]
    frame = pd.DataFrame(rows, columns=["cell", "time", "value", "lon", "lat"])
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_parquet(tmp_path / "a.parquet")
    frame.to_excel(tmp_path / "a.xlsx", index=False)
    frame.pivot(index="time", columns="cell", values="value").reset_index().to_csv(tmp_path / "wide.csv", index=False)
    for name in ("a.csv", "a.parquet", "a.xlsx", "wide.csv"):
        assert read_table(tmp_path / name, timezone="Etc/UTC")["cell_id"].values.tolist() == wanted, name
    assert sorted(map(str, read_stations(tmp_path / "a.csv")["cell_id"])) == sorted(given)
    import geopandas as gpd
    import shapely

    boxes = gpd.GeoDataFrame({"cell_id": given}, geometry=[shapely.box(k, 0, k + 1, 1) for k in range(2)], crs=4326)
    for suffix in ("geojson", "gpkg"):
        boxes.to_file(tmp_path / f"c.{suffix}")
        assert sorted(map(str, read_cells(tmp_path / f"c.{suffix}")["cell_id"])) == sorted(given), suffix


@pytest.mark.parametrize(
    "name",
    ["bs", "cell", "Cell ID", "CELL_NAME", "eNodeB", "cell_id", "id", "Site Name", "site", "ECGI", "gNodeB ID", "nodeb",
     "sector-id", "Station"],
)  # fmt: skip
def test_usual_names_of_ids_are_known_and_rows_never_numbered(name: str, tmp_path: Path) -> None:
    write(tmp_path / "sites.csv", f"{name},lon,lat\n1,114.01,22.5\n2,114.02,22.5\n3,114.03,22.5\n")
    known, places = places_from_cells(tmp_path / "sites.csv", np.array([1, 2, 3]))
    assert known.all()
    np.testing.assert_allclose(places.lon, [114.01, 114.02, 114.03])
    assert read_stations(tmp_path / "sites.csv")["cell_id"].tolist() == [1, 2, 3]


def test_without_ids_import_refuses_and_fetch_says_that_rows_were_numbered(tmp_path: Path) -> None:
    sites = write(tmp_path / "sites.csv", "lon,lat\n114.01,22.5\n114.02,22.5\n")
    with pytest.raises(BadInput, match=r"no known column of ids .* among lon, lat"):
        places_from_cells(sites, np.array([0, 1]))
    stations = read_stations(sites)
    assert stations["cell_id"].tolist() == [0, 1]
    assert len(stations.attrs["warnings"]) == 1
    assert "rows were numbered" in stations.attrs["warnings"][0]
    long = write(
        tmp_path / "long.csv", "time,thing,load\n" + "".join(f"2024-03-04T0{h}Z,{c},1\n" for c in "ab" for h in "012")
    )
    with pytest.raises(BadInput, match=r"no known column of ids.*--id-column"):
        read_table(long, timezone="Etc/UTC")
    found = read_table(long, timezone="Etc/UTC", reading=make_reading(id_column="thing"))
    assert found["cell_id"].values.tolist() == ["a", "b"]


def test_columns_by_any_name(tmp_path: Path) -> None:
    rows = [("P7", f"2024-03-04T0{h}Z", h, 9, 11.5, 46.5) for h in range(3)]
    frame = pd.DataFrame(rows, columns=["Who", "When", "DL GB", "rubbish", "X", "Y"])
    frame.to_csv(tmp_path / "a.csv", index=False)
    reading = make_reading("id=Who,time=When,internet=DL GB,lon=X,lat=Y")
    found = read_table(tmp_path / "a.csv", reading=reading, unit="GB")
    assert found["internet"].values.tolist() == [[0, 1, 2]]
    assert found["internet"].attrs["units"] == "GB"
    assert list(found.data_vars) == ["internet"]
    assert found["lat"].values.tolist() == [46.5]
    with pytest.raises(BadInput, match="no column 'Wo': it has Who"):
        read_table(tmp_path / "a.csv", reading=make_reading("id=Wo,time=When"))


def test_units_by_service(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "cell,time,internet,users\na,2024-03-04T00Z,1,2\na,2024-03-04T01Z,1,2\n")
    found = read_table(path, timezone="Etc/UTC", unit="GB")
    assert (found["internet"].attrs["units"], found["users"].attrs["units"]) == ("GB", "1")
    assert read_table(path, timezone="Etc/UTC", unit="users=users")["users"].attrs["units"] == "users"
    assert read_table(path, timezone="Etc/UTC")["internet"].attrs["units"] == "unknown"
    for wrong in ("3.2GB", "calls=GB"):
        with pytest.raises(WrongUse, match="--unit"):
            read_table(path, timezone="Etc/UTC", unit=wrong)


SECTORS = "site_id,cell_id,azimuth,band,lon,lat\n" + "".join(
    f"S{s},S{s}-{a},{a},n78,7.4{s},43.73\n" for s in range(3) for a in (0, 120, 240)
)


@pytest.mark.parametrize("header", ["site_id,cell_id", "Site Name,Cell ID", "eNodeB,CELL_NAME", "SITE,sector"])
def test_a_row_per_sector_stays_a_row(header: str, tmp_path: Path) -> None:
    path = write(tmp_path / "s.csv", SECTORS.replace("site_id,cell_id", header))
    stations = read_stations(path)
    wanted = [f"S{s}-{a}" for s in range(3) for a in (0, 120, 240)]
    assert stations["cell_id"].tolist() == wanted
    assert stations["azimuth"].tolist() == [0, 120, 240] * 3
    assert stations["band"].tolist() == ["n78"] * 9
    _, places = places_from_cells(path, np.array(["S1-240", "S0-0"]))
    assert places.extra["azimuth"].tolist() == [240, 0]
    by_site = places_from_cells(
        write(tmp_path / "m.csv", "site,other,lon,lat\nA,x,7,43\nB,y,8,44\n"), np.array(["y", "x"])
    )
    np.testing.assert_allclose(by_site[1].lon, [8, 7])  # the column that holds the counters' ids, whatever its name


def test_sectors_without_ids_of_their_own(tmp_path: Path) -> None:
    text = "".join(",".join([*line.split(",")[:1], *line.split(",")[2:]]) + "\n" for line in SECTORS.splitlines())
    stations = read_stations(write(tmp_path / "s.csv", text))
    assert stations["cell_id"].tolist()[:3] == ["S0-0", "S0-120", "S0-240"]
    assert any("sectors of one site" in note for note in stations.attrs["warnings"])


@pytest.mark.parametrize("header", ["radio,mcc,net,area,cell,unit,lon,lat\n", "radio,mcc,mnc,lac,cid,unit,lon,lat\n"])
def test_the_ids_of_opencellid_are_of_five_parts(header: str, tmp_path: Path) -> None:
    rows = "LTE,222,1,100,7,0,11.1,46.1\nLTE,222,1,101,7,0,11.2,46.2\nUMTS,222,1,101,7,0,11.2,46.2\n"
    wanted = ["LTE-222-1-100-7", "LTE-222-1-101-7", "UMTS-222-1-101-7"]
    assert read_stations(write(tmp_path / "a.csv", header + rows))["cell_id"].tolist() == wanted
    bare = "".join(line + ",1000,3,1,1459813819,1459813819,0\n" for line in rows.splitlines())
    assert read_stations(write(tmp_path / "b.csv", bare))["cell_id"].tolist() == wanted  # as it is downloaded


# --- times ------------------------------------------------------------------------------------------------------------


def hours(
    tmp_path: Path, times: list[str], timezone: str = "Europe/Rome", cells: str = "a", name: str = "time"
) -> xr.Dataset:
    lines = [f"{cell},{when},{k}" for cell in cells for k, when in enumerate(times)]
    path = write(tmp_path / "t.csv", f"cell,{name},value\n" + "\n".join(lines) + "\n")
    return read_table(path, timezone=timezone)


LOCAL = pd.date_range("2013-11-01", periods=4, freq="1h")


@pytest.mark.parametrize(
    "form",
    ["%Y%m%d%H", "%Y%m%d%H%M", "%Y%m%d%H%M%S", "%Y-%m-%dT%H", "%Y-%m-%d %H:%M", "%d.%m.%Y %H:%M", "%Y-%m-%dT%H:%M:%S"],
)
def test_forms_of_local_times(form: str, tmp_path: Path) -> None:
    found = hours(tmp_path, [when.strftime(form) for when in LOCAL])
    np.testing.assert_array_equal(found["time"].values, (LOCAL - pd.Timedelta(hours=1)).to_numpy())


@pytest.mark.parametrize("scale", [1, 10**3, 10**6, 10**9])
def test_times_that_count_from_1970(scale: int, tmp_path: Path) -> None:
    found = hours(tmp_path, [str(int(when.timestamp()) * scale) for when in LOCAL])
    np.testing.assert_array_equal(found["time"].values, LOCAL.to_numpy())


@pytest.mark.parametrize("name", ["time_utc", "Timestamp UTC", "UTC time"])
def test_a_column_called_utc_is_utc(name: str, tmp_path: Path) -> None:
    found = hours(tmp_path, [str(when) for when in LOCAL], name=name)
    np.testing.assert_array_equal(found["time"].values, LOCAL.to_numpy())


def test_whole_days(tmp_path: Path) -> None:
    found = hours(tmp_path, ["20131101", "20131102", "20131103"], "Etc/UTC")
    assert found["time"].values[1] == np.datetime64("2013-11-02")


@pytest.mark.parametrize("name", ["timestamp", "Date Time", "datetime", "Period Start Time"])
def test_usual_names_of_times(name: str, tmp_path: Path) -> None:
    assert hours(tmp_path, [str(when) for when in LOCAL], name=name).sizes["time"] == 4


@pytest.mark.parametrize(
    ("times", "says"),
    [
        (["2013-11-01T00:00Z", "2013-11-01T01:00"], r"some times have an offset \(2013-11-01T00:00Z\), others none"),
        (["2013-11-01T00:00+01:00", "2013-11-01 01:00"], "some times have an offset"),
        (["45000.5", "45000.54"], "time 45000.5 is none of ISO 8601.*day number of a spreadsheet"),
        (["01/11/2013 00:00", "01/11/2013 01:00"], "day 01 of month 11, or day 11 of month 01"),
        (["1383264000", "1383267600000"], "is none of"),
        (["20131101", "2013-11-02"], "two forms"),
        (["yesterday", "today"], "time yesterday is none of ISO 8601"),
        (["2013-11-01T00:00", ""], "row 3 has no time"),
    ],
)
def test_times_that_are_refused(times: list[str], says: str, tmp_path: Path) -> None:
    for timezone in ("Europe/Rome", "Etc/UTC"):
        with pytest.raises(BadInput, match=says) as caught:
            hours(tmp_path, times, timezone)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("freq", ["1h", "15min"])
@pytest.mark.parametrize("order", ["oldest first", "newest first", "by time, newest first"])
def test_the_hour_that_occurs_twice_in_any_order_of_rows(order: str, freq: str, tmp_path: Path) -> None:
    local = pd.date_range("2013-10-27 00:00", "2013-10-27 05:45", freq=freq, tz="Europe/Rome")
    frame = pd.DataFrame({"time": local.tz_localize(None), "value": np.arange(len(local))})
    if order != "oldest first":
        frame = frame[::-1]
    both = pd.concat([frame.assign(cell=c) for c in "ab"])
    if order.startswith("by time"):
        both = both.sort_index(kind="stable", ascending=False)
    both.to_csv(tmp_path / "a.csv", index=False)
    found = read_table(tmp_path / "a.csv", timezone="Europe/Rome")
    np.testing.assert_array_equal(found["traffic"].values, np.tile(np.arange(len(local)), (2, 1)))
    np.testing.assert_array_equal(found["time"].values, local.tz_convert("UTC").tz_localize(None).to_numpy())


def test_that_hour_in_no_order_or_once_is_explained(tmp_path: Path) -> None:
    local = pd.date_range("2013-10-26", "2013-10-28 23:00", freq="1h", tz="Europe/Rome").tz_localize(None)
    frame = pd.DataFrame({"cell": "a", "time": local, "value": np.arange(len(local))})
    frame.sample(frac=1, random_state=3).to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(BadInput, match="rows are in no order: sort them"):
        read_table(tmp_path / "a.csv", timezone="Europe/Rome")
    frame.drop_duplicates("time").to_csv(tmp_path / "b.csv", index=False)
    with pytest.raises(BadInput, match="24 rows on a day of 25 hours"):
        read_table(tmp_path / "b.csv", timezone="Europe/Rome")
    utc = pd.date_range("2013-10-26", periods=72, freq="1h").delete(30)
    with pytest.raises(BadInput, match="clocks go back in Europe/Rome"):
        hours(tmp_path, [f"{when}Z" for when in utc])


@pytest.mark.parametrize(("first", "wanted"), [("2013-10-27 00:00", "00:00"), ("2013-10-27 02:00", "01:00")])
def test_a_series_that_begins_or_ends_in_that_hour(first: str, wanted: str, tmp_path: Path) -> None:
    times = [str(t) for t in pd.date_range(first, periods=3, freq="1h")]
    found = hours(tmp_path, times)  # to 02:00, which is summer time; or from 02:00, which is winter time
    assert str(found["time"].values[-1 if wanted == "00:00" else 0])[11:16] == wanted


# --- without positions ------------------------------------------------------------------------------------------------


def test_series_without_positions_are_whole_citizens(tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                                     monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    times = pd.date_range("2024-03-04", periods=8 * 24, freq="1h")
    rng = np.random.default_rng(1)
    day = 2 + np.sin(np.arange(len(times)) / 24 * 2 * np.pi)
    for name in ("real", "drawn"):
        rows = []
        for c in range(8):
            values = (day * rng.lognormal(0, 0.2, len(times))).round(5)
            rows.append(pd.DataFrame({"cell": f"{c:03d}", "time": times, "value": values}))
        pd.concat(rows).to_csv(f"{name}.csv", index=False)
        assert (
            run(["import", "table", f"{name}.csv", "--timezone", "Europe/Rome", "--unit", "GB", "-o", f"{name}.nc"])
            == 0
        )
        assert "warning: no positions" in capsys.readouterr().err
    assert run(["evaluate", "--real", "real.nc", "--synthetic", "drawn.nc", "--json"]) == 0
    import json

    metrics = json.loads(capsys.readouterr().out)["metrics"]
    assert metrics["mae"]["value"] > 0
    assert "not known where the cells lie" in str(metrics["spatial_acf_error"])
    for suffix in ("parquet", "csv", "zarr"):
        from gentraffic.io.files import read_traffic, write_traffic

        write_traffic(read_traffic("real.nc"), f"copy.{suffix}")
        back = read_traffic(f"copy.{suffix}")
        xr.testing.assert_equal(back["traffic"], read_traffic("real.nc")["traffic"])
        assert back["cell_id"].values.tolist() == [f"{c:03d}" for c in range(8)]
    assert run(["report", "real.nc", "-o", "r.html", "--quiet"]) == 0
    capsys.readouterr()
    for command in (
        ["plan", "deploy", "real.nc", "--sites", "1", "-o", "d.geojson"],
        ["export", "geopackage", "real.nc", "-o", "g.gpkg"],
        ["plan", "sleep", "real.nc", "-o", "s.nc", "--map", "m.html", "--time-limit", "5"],
    ):
        assert run(command) == 2
        err = capsys.readouterr().err
        assert err.count("\n") == 1
        assert "has no positions: import it again with --cells FILE" in err
    assert run(["import", "table", "real.csv", "-o", "x.nc"]) == 5
    assert "--timezone" in capsys.readouterr().err


def test_a_sheet_that_declares_entities_is_refused(tmp_path: Path) -> None:
    """Excel declares none; unfolded they would fill the memory or read another file."""
    import zipfile

    from openpyxl import Workbook

    book = Workbook()
    for row in (("cell", "time", "value"), ("A", "2026-01-05T00:00", 1)):
        book.active.append(row)
    book.save(tmp_path / "whole.xlsx")
    assert read_source(tmp_path / "whole.xlsx").rows == 1
    with zipfile.ZipFile(tmp_path / "whole.xlsx") as old, zipfile.ZipFile(tmp_path / "bomb.xlsx", "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "xl/worksheets/sheet1.xml":
                content = b'<!DOCTYPE x [<!ENTITY a "aaaa">]>' + content
            new.writestr(name, content)
    with pytest.raises(BadInput, match=r"sheet1\.xml declares XML entities"):
        read_source(tmp_path / "bomb.xlsx")


@pytest.mark.parametrize(
    ("header", "rows"),
    [
        ("cell,date,hour,value", ["A,2013-07-01,22,1", "A,2013-07-01,23,2", "A,2013-07-02,0,3"]),
        ("cell,Date,Time,value", ["A,01.07.2013,22:00,1", "A,01.07.2013,23:00,2", "A,02.07.2013,0:00,3"]),
        ("cell,day,hour,value", ["A,20130701,22,1", "A,20130701,23,2", "A,20130702,00,3"]),
        ("cell,time_local,value", ["A,2013-07-01T22:00,1", "A,2013-07-01T23:00,2", "A,2013-07-02T00:00,3"]),
        (
            "cell,date,time,value",
            [f"A,{t[:10]},{t},{i + 1}" for i, t in enumerate(("2013-07-01T22", "2013-07-01T23", "2013-07-02T00"))],
        ),
        ("cell,UTC,value", ["A,2013-07-01T20:00,1", "A,2013-07-01T21:00,2", "A,2013-07-01T22:00,3"]),
    ],
)  # fmt: skip
def test_dates_and_hours_in_two_columns_are_one_time(header: str, rows: list[str], tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("\n".join([header, *rows]) + "\n")
    ds = read_table(tmp_path / "t.csv", timezone="Europe/Rome")
    assert [str(t)[:16] for t in ds["time"].values] == ["2013-07-01T20:00", "2013-07-01T21:00", "2013-07-01T22:00"]
    assert ds["traffic"].values.tolist() == [[1, 2, 3]]
    assert list(ds.data_vars) == ["traffic"]


@pytest.mark.parametrize(
    ("header", "rows", "said"),
    [
        ("cell,date,hour,value", ["A,2013-07-01,1,1", "A,2013-07-01,24,2"], "hours reach 24"),
        ("cell,time,value", ["A,2400-07-01T00:00,1", "A,2400-07-01T01:00,2"], "of no year from 1970 to 2199"),
        ("cell,time,value", ["A,1899-12-31T00:00,1", "A,1899-12-31T01:00,2"], "of no year from 1970 to 2199"),
        ("cell,time,value", ["A,2013-07-01T00:00,1e39", "A,2013-07-01T01:00,2"], "value = 1e39"),
    ],
)
def test_what_no_series_holds_is_refused(header: str, rows: list[str], said: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("\n".join([header, *rows]) + "\n")
    with pytest.raises(BadInput, match=said):
        read_table(tmp_path / "t.csv", timezone="Europe/Rome")


def test_a_name_may_hold_a_line_end(tmp_path: Path) -> None:
    rows = "".join(f'"A ""x"", y",2026-01-05T0{h}:00Z,{h}\n' for h in range(3))
    (tmp_path / "t.csv").write_text('"cell","time","va\nlue, GB"\n' + rows)
    ds = read_table(tmp_path / "t.csv", timezone="Europe/Rome")
    assert ds["cell_id"].values.tolist() == ['A "x", y']
    assert ds["va_lue_GB"].values.tolist() == [[0, 1, 2]]


@pytest.mark.parametrize("header", ["BTS Name", "NE Name", "UtranCell", "eNB Name", "Cell No", "NodeB Code"])
def test_usual_names_of_cells_and_sites_are_known(header: str, tmp_path: Path) -> None:
    rows = "".join(f"{i},2026-01-05T0{h}:00Z,{h}\n" for i in ("0041", "1E2") for h in range(3))
    (tmp_path / "t.csv").write_text(f"{header},time,value\n{rows}")
    assert read_table(tmp_path / "t.csv", timezone="Europe/Rome")["cell_id"].values.tolist() == ["0041", "1E2"]


def test_what_the_project_writes_is_a_table_too(tmp_path: Path) -> None:
    """Its Parquet as it stands, saved as CSV, and a folder by day: the same hours and sums."""
    import pyarrow.parquet as pq

    import gentraffic
    from gentraffic.io.files import write_traffic

    ds = traffic(context(n=3), days=3, units="GB", start="2013-10-26T22:00")
    write_traffic(ds, tmp_path / "t.parquet")
    pq.read_table(tmp_path / "t.parquet").to_pandas().drop(columns="geometry").to_csv(tmp_path / "t.csv", index=False)
    gentraffic.export(ds, "parquet", tmp_path / "days")
    for name in ("t.parquet", "t.csv", "days"):
        back = read_table(tmp_path / name, timezone="Europe/Rome")
        assert list(back.data_vars) == ["internet"]
        assert back["cell_id"].values.tolist() == ds["cell_id"].values.tolist()
        np.testing.assert_array_equal(back["time"].values, ds["time"].values)
        np.testing.assert_array_equal(back["internet"].values, ds["internet"].values)
        np.testing.assert_allclose(back["lon"].values, ds["lon"].values, atol=1e-9)
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match="folder without Parquet files"):
        read_table(tmp_path / "empty", timezone="Europe/Rome")
    pd.DataFrame({"cell": [1], "other": [2.0]}).to_parquet(tmp_path / "days" / "z.parquet")
    with pytest.raises(BadInput, match="has columns cell, other, the first part"):
        read_table(tmp_path / "days", timezone="Europe/Rome")


def sheet(path: Path, dimension: str) -> Path:
    """An .xlsx of cells, hours and two services, whose sheet says a size of its own."""
    import openpyxl

    book = openpyxl.Workbook()
    for row in [("cell", "time", "dl", "ul"), *(("A1", f"2026-01-05T0{h}:00Z", h + 1, 10 * h) for h in range(5))]:
        book.active.append(row)
    book.save(path)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    name = "xl/worksheets/sheet1.xml"
    assert b'<dimension ref="A1:D6"' in parts[name]
    parts[name] = parts[name].replace(b'<dimension ref="A1:D6"', f'<dimension ref="{dimension}"'.encode())
    with zipfile.ZipFile(path, "w") as archive:
        for part, content in parts.items():
            archive.writestr(part, content)
    return path


@pytest.mark.parametrize("dimension", ["A1:D6", "A1:D3", "A1:C6", "A1", "A1:XFD1048576", "B2:C3"])
def test_the_size_that_a_sheet_says_is_not_believed(tmp_path: Path, dimension: str) -> None:
    traffic = read_table(sheet(tmp_path / "t.xlsx", dimension), timezone="UTC")
    assert traffic["dl"].values.tolist() == [[1, 2, 3, 4, 5]]
    assert traffic["ul"].values.tolist() == [[0, 10, 20, 30, 40]]


def test_days_of_a_spreadsheet_before_1970_are_refused(tmp_path: Path) -> None:
    import datetime

    import openpyxl

    book = openpyxl.Workbook()
    for row in [("cell", "time", "value"), *(("A1", datetime.datetime(1900, 1, d), d) for d in (5, 6))]:
        book.active.append(row)
    book.save(tmp_path / "t.xlsx")
    with pytest.raises(BadInput, match=r"1900-01-.* is of no year"):
        read_table(tmp_path / "t.xlsx", timezone="UTC")


@pytest.mark.parametrize("suffix", [".xlsx", ".csv"])
def test_a_column_without_a_name_is_said_to_be_left_out(tmp_path: Path, suffix: str) -> None:
    def read(head: list[str], rows: list[tuple[Any, ...]]) -> str:
        path = tmp_path / f"t{suffix}"
        if suffix == ".csv":
            path.write_text(
                "\n".join(",".join("" if v is None else str(v) for v in row) for row in [head, *rows]) + "\n"
            )
        else:
            import openpyxl

            book = openpyxl.Workbook()
            for row in [[name or None for name in head], *rows]:
                book.active.append(row)
            book.save(path)
        traffic = read_table(path, timezone="UTC")
        assert traffic["traffic"].values.tolist() == [[1, 2, 3]]
        return str(traffic.attrs.get("warnings", ""))

    times = [f"2026-01-05T0{hour}:00" for hour in range(3)]
    plain = [("A1", time, value) for value, time in enumerate(times, start=1)]
    for start in (0, 1):  # the numbers of rows of pandas and R
        numbered = [(i, *row) for i, row in enumerate(plain, start=start)]
        assert "left out" not in read(["", "cell", "time", "value"], numbered)
    assert "column 1: left out" in read(["", "cell", "time", "value"], [(7, *row) for row in plain])
    assert "column 4: left out" in read(["cell", "time", "value", ""], [(*row, 9.5) for row in plain])
    assert "columns 3, 5: left out" in read(
        ["cell", "time", "", "value", ""], [(*row[:2], "x", row[2], 8) for row in plain]
    )
    assert "left out" not in read(["cell", "time", "value", ""], [(*row, None) for row in plain])


def test_a_value_far_to_the_right_of_a_sheet_takes_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import openpyxl

    book = openpyxl.Workbook()
    for row in [("cell", "time", "value"), *(("A1", f"2026-01-05T0{hour}:00", hour) for hour in range(3))]:
        book.active.append(row)
    book.active["XFD3"] = "x"
    book.save(tmp_path / "t.xlsx")
    assert "column 16384: left out" in read_table(tmp_path / "t.xlsx", timezone="UTC").attrs["warnings"]
    monkeypatch.setattr("gentraffic.io.source_table.MAX_SHEET_CELLS", 3 * 16383)
    with pytest.raises(BadInput, match="3 rows of 16384 columns: more than 49149 cells"):
        read_table(tmp_path / "t.xlsx", timezone="UTC")


def test_a_row_beyond_those_of_excel_is_refused_at_once(tmp_path: Path) -> None:
    import openpyxl

    book = openpyxl.Workbook()
    for row in [("cell", "time", "value"), ("A1", "2026-01-05T00:00", 1)]:
        book.active.append(row)
    book.save(tmp_path / "whole.xlsx")
    with zipfile.ZipFile(tmp_path / "whole.xlsx") as old, zipfile.ZipFile(tmp_path / "t.xlsx", "w") as new:
        for name in old.namelist():
            part = old.read(name).replace(b'<row r="2"', b'<row r="99000000"')
            for column in (b"A", b"B", b"C"):
                part = part.replace(b'"' + column + b'2"', b'"' + column + b'99000000"')
            new.writestr(name, part)
    with pytest.raises(BadInput, match="beyond the 1048576 of Excel"):
        read_table(tmp_path / "t.xlsx", timezone="UTC")


def parts(folder: Path) -> Path:
    """A folder of two Parquet files, one cell each, the second in capitals."""
    for cell, name in (("a", "1.parquet"), ("b", "sub/2.PARQUET")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        times = pd.date_range("2026-01-05", periods=2, freq="1h", tz="UTC")
        pd.DataFrame({"cell": cell, "time": times, "value": [1.0, 2.0]}).to_parquet(folder / name)
    return folder


def test_a_folder_of_parquet_takes_every_part_and_refuses_links(tmp_path: Path) -> None:
    folder = parts(tmp_path / "whole")
    assert read_table(folder, timezone="UTC")["cell_id"].values.tolist() == ["a", "b"]
    (tmp_path / "3.parquet").write_bytes((folder / "1.parquet").read_bytes())
    for name, target in (("3.parquet", tmp_path / "3.parquet"), ("more", tmp_path), ("4.Parquet", tmp_path / "none")):
        (folder / name).symlink_to(target)
        with pytest.raises(BadInput, match=f"whole: {name} is a link"):
            read_table(folder, timezone="UTC")
        (folder / name).unlink()
    (folder / "_SUCCESS").symlink_to(tmp_path / "none")  # no part
    (folder / ".1.parquet.crc").write_text("crc")
    assert "were read" not in read_table(folder, timezone="UTC").attrs["warnings"]
    (folder / "sub" / "3.csv").write_text("cell,time,value\n")
    traffic = read_table(folder, timezone="UTC")
    assert traffic.sizes["cell"] == 2
    assert "whole: the Parquet files alone were read, not sub/3.csv" in traffic.attrs["warnings"]


def test_parquet_columns_of_one_name_or_of_levels_are_refused(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "t.parquet"
    columns = [pa.array(["a", "a"]), pa.array(["2026-01-05T00:00Z", "2026-01-05T01:00Z"]), pa.array([1.0, 2.0])]
    for twice in ("value", "time"):
        names = {"value": ["cell", "time", "value", "value"], "time": ["cell", "time", "time", "value"]}[twice]
        own = [columns[["cell", "time", "value"].index(name)] for name in names]
        pq.write_table(pa.Table.from_arrays(own, names=names), path)
        with pytest.raises(BadInput, match=f"2 columns are called '{twice}'"):
            read_table(path, timezone="UTC")
    times = pd.date_range("2026-01-05", periods=2, freq="1h", name="time")
    levels = pd.MultiIndex.from_product([["dl", "ul"], ["a", "b"]])
    pd.DataFrame(np.ones((2, 4)), index=times, columns=levels).to_parquet(path)
    with pytest.raises(BadInput, match=r"names of several levels \(\('dl', 'a'\)\)"):
        read_table(path, timezone="UTC")
