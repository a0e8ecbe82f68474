"""Tables as programs export them: pandas, R, Excel, QGIS, PostGIS, MySQL, counters; each with its right value."""

from datetime import date, datetime, time
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gentraffic.errors import BadInput
from gentraffic.io.importers.table import read_table
from gentraffic.io.source_columns import make_reading
from gentraffic.io.user_cells import places_from_cells, read_stations

HOURS = ("2026-01-05T00:00Z", "2026-01-05T01:00Z")


def written(folder: Path, text: str, name: str = "t.csv") -> Path:
    (folder / name).write_text(text)
    return folder / name


def read(folder: Path, text: str, **more: Any) -> Any:
    return read_table(written(folder, text), timezone="UTC", **more)


def long(ids: list[str], head: str = "cell,time,value") -> str:
    rows = [f"{cell},{hour},{2 * k + i}" for k, cell in enumerate(ids) for i, hour in enumerate(HOURS)]
    return "\n".join([head, *rows, ""])


# --- ids --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", ['="0041"', '"=""0041"""', "'0041'"])
def test_what_keeps_a_program_from_numbers_is_no_part_of_an_id(cell: str, tmp_path: Path) -> None:
    traffic = read(tmp_path, long([cell]))
    assert traffic["cell_id"].values.tolist() == ["0041"]


def test_a_table_quoted_as_in_sql(tmp_path: Path) -> None:
    rows = "".join(f"'0041','2026-01-05 0{h}:00:00','{h}'\n" for h in range(2))
    traffic = read(tmp_path, f"'cell','time','value'\n{rows}")
    assert traffic["cell_id"].values.tolist() == ["0041"]
    assert traffic["traffic"].values.tolist() == [[0, 1]]


@pytest.mark.parametrize("cell", ["4.60012E+14", "1e+05", "4,6E+14"])
def test_ids_that_a_program_has_shortened_are_refused(cell: str, tmp_path: Path) -> None:
    quoted = f'"{cell}"'
    with pytest.raises(BadInput, match="is a number that a program has shortened"):
        read(tmp_path, long([quoted]))
    with pytest.raises(BadInput, match="shortened"):
        read_stations(written(tmp_path, f"cell,lon,lat\n{quoted},9.1,45.4\n"))


@pytest.mark.parametrize(("kind", "value"), [(pa.float64(), 2.0**53), (pa.float32(), 2.0**24)])
def test_ids_that_floating_numbers_have_rounded_are_refused(kind: pa.DataType, value: float, tmp_path: Path) -> None:
    times = pa.array([datetime(2026, 1, 5, hour) for hour in range(2)])
    columns = {"cell": pa.array([value] * 2, kind), "time": times, "value": [1, 2]}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    with pytest.raises(BadInput, match=f"cell {value:.0f} is a rounded number"):
        read_table(tmp_path / "t.parquet", timezone="UTC")


def test_a_missing_id_among_floating_numbers_is_named(tmp_path: Path) -> None:
    times = [datetime(2026, 1, 5, hour) for hour in range(2)] * 2
    frame = pd.DataFrame({"cell": [41.0, 41.0, np.nan, np.nan], "time": times, "value": [1, 2, 3, 4]})
    pq.write_table(pa.Table.from_pandas(frame), tmp_path / "t.parquet")
    pq.write_table(pa.table({name: frame[name].to_numpy() for name in frame}), tmp_path / "nan.parquet")
    for name in ("t.parquet", "nan.parquet"):
        with pytest.raises(BadInput, match="row 3 names no cell: fill in its id"):
            read_table(tmp_path / name, timezone="UTC")


def test_words_for_a_missing_id_are_said_or_refused(tmp_path: Path) -> None:
    for word in ("#N/A", "\\N", "<NA>"):
        with pytest.raises(BadInput, match="names no cell"):
            read(tmp_path, long(["A", word]))
    assert "NA is taken as an id" in read(tmp_path, long(["A", "NA"])).attrs["warnings"]
    stations = read_stations(written(tmp_path, "cell,lon,lat\nA,9.1,45.4\nnull,9.2,45.4\n"))
    assert "null is taken as an id" in stations.attrs["warnings"][0]


def test_numbers_that_a_sheet_shows_with_noughts_are_ids_with_noughts(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    for row in (["cell", "time", "value"], [41, datetime(2026, 1, 5, 0), 1], [41, datetime(2026, 1, 5, 1), 2]):
        book.active.append(row)
    for row in (2, 3):
        book.active.cell(row, 1).number_format = "0000"
    book.save(tmp_path / "t.xlsx")
    assert read_table(tmp_path / "t.xlsx", timezone="UTC")["cell_id"].values.tolist() == ["0041"]


@pytest.mark.parametrize("head", ["foo", "序号", "S.No", "N°", "pk"])
def test_a_column_that_counts_the_rows_is_matched_with_no_ids(head: str, tmp_path: Path) -> None:
    sites = written(tmp_path, f"{head},lon,lat\n1,114.01,22.5\n2,114.02,22.5\n3,114.03,22.5\n")
    with pytest.raises(BadInput, match="--id-column"):
        places_from_cells(sites, np.array([1, 2, 3]))
    _, places = places_from_cells(sites, np.array([1, 2, 3]), make_reading(id_column=head))
    np.testing.assert_allclose(places.lon, [114.01, 114.02, 114.03])


@pytest.mark.parametrize(
    "head", ["小区名称", "Zelle", "Celda ID", "LNBTS name", "GCELL", "tower_id", "基站", "Cell Identity"]
)
def test_names_of_ids_in_other_languages_and_of_other_makers(head: str, tmp_path: Path) -> None:
    assert read(tmp_path, long(["0041"], f"{head},time,value"))["cell_id"].values.tolist() == ["0041"]


@pytest.mark.parametrize("one", ["1234", "T12"])
def test_one_site_whose_column_is_unknown_is_no_table_of_cells(one: str, tmp_path: Path) -> None:
    rows = "".join(f"{one},2026-01-05T{hour:02d}:00Z,{hour}\n" for hour in range(24))
    with pytest.raises(BadInput, match="--id-column"):
        read(tmp_path, f"where,time,dl\n{rows}")
    traffic = read(tmp_path, f"where,time,dl\n{rows}", reading=make_reading(id_column="where"))
    assert traffic["dl"].values.tolist() == [list(range(24))]


def test_what_tells_of_cells_and_not_of_times_is_no_traffic(tmp_path: Path) -> None:
    rows = "".join(f"{c},2026-01-05T{h:02d}:00Z,{h},{pci}\n" for c, pci in (("A", 101), ("B", 202)) for h in range(24))
    traffic = read(tmp_path, f"cell,time,dl,pci\n{rows}")
    assert list(traffic.data_vars) == ["dl"]
    assert "'pci' says the same of a cell at all times" in traffic.attrs["warnings"]
    both = read(tmp_path, f"cell,time,dl,pci\n{rows}", reading=make_reading("dl=dl,pci=pci"))
    assert set(both.data_vars) == {"dl", "pci"}


@pytest.mark.parametrize(("head", "left"), [("Summe", 1), ("X", 1), ("Average", 1), ("Y", 0)])
def test_sums_and_means_of_all_cells_are_told_by_their_values(head: str, left: int, tmp_path: Path) -> None:
    series = np.array([[hour + 1, 2 * hour, hour % 5] for hour in range(24)])
    last = (
        series.sum(axis=1) if head in ("Summe", "X") else series.mean(axis=1) if head == "Average" else series[:, 0] + 1
    )
    frame = pd.DataFrame(series, columns=["A", "B", "C"], index=pd.date_range("2026-01-05", periods=24, freq="1h"))
    frame.assign(**{head: last}).to_csv(tmp_path / "t.csv")  # pandas gives the index no name
    traffic = read_table(tmp_path / "t.csv", timezone="UTC")
    assert traffic.sizes["cell"] == 4 - left


# --- positions --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["POINT ({} 22.5)", "SRID=4326;POINT({} 22.5)", "Point Z ({} 22.5 3)"])
def test_points_in_wkt_are_positions(form: str, tmp_path: Path) -> None:
    rows = "".join(f"S{k}\t{form.format(114 + k / 100)}\n" for k in (1, 2))
    stations = read_stations(written(tmp_path, f"cell\twkt_geom\n{rows}"))
    np.testing.assert_allclose(stations.geometry.x, [114.01, 114.02])


def test_positions_on_a_plane_say_which_columns_are_wanted(tmp_path: Path) -> None:
    from poi.errors import BadFile

    with pytest.raises(BadFile, match="has no column 'lon': it has X, Y, id; say which with --columns lon=NAME"):
        read_stations(written(tmp_path, "X,Y,id\n114.01,22.5,1\n"))
    with pytest.raises(BadInput, match="lon and lat look swapped"):
        read(
            tmp_path,
            long(["A"], "cell,time,value").replace("\n", ",22.5,114.0\n").replace("value,22.5,114.0", "value,lon,lat"),
        )


# --- numbers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "wanted"), [("1,23,456", 123456), ("12,34,567.5", 1234567.5), ("1,234,567", 1234567)])
def test_thousands_as_in_india(text: str, wanted: float, tmp_path: Path) -> None:
    assert read(tmp_path, f'cell,time,value\nA,{HOURS[0]},"{text}"\nA,{HOURS[1]},2\n')["traffic"].values[0, 0] == wanted


@pytest.mark.parametrize("rest", ["1234", "12345"])
def test_numbers_without_a_mark_prove_nothing_of_one_with_it(rest: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"1,234 may be 1\.234 or 1234"):
        read(tmp_path, f'cell,time,value\nA,{HOURS[0]},"1,234"\nA,{HOURS[1]},{rest}\n')


@pytest.mark.parametrize(
    ("head", "unit"),
    [("DL_Traffic_GB", "GB"), ("DL Thp Mbps", "Mbps"), ("4G Volume [MB]", "MB"), ("traffic_bytes", "bytes"),
     ("dl_gb", "unknown"), ("dl_b", "unknown"), ("MB", "unknown")],
)  # fmt: skip
def test_units_at_the_end_of_a_head(head: str, unit: str, tmp_path: Path) -> None:
    (values,) = read(tmp_path, long(["A"], f"cell,time,{head}")).data_vars.values()
    assert values.attrs["units"] == unit


# --- times ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("head", "row", "first"),
    [
        ("year,month,day,hour", "2026,1,5,{h}", "2026-01-05T00:00"),
        ("date,hour,minute", "2026-01-05,{h},30", "2026-01-05T00:30"),
        ("date,hour", "2026-01-05 0{h}:15:00,{h}", "2026-01-05T00:15"),
        ("timestamp,date,hour", "2026-01-05 0{h}:15:00,2026-01-05,{h}", "2026-01-05T00:15"),
        ("date,hour", "2026-01-05 00:00:00,{h}", "2026-01-05T00:00"),
        ("date,time", "2026-01-05,{h}:00 PM", "2026-01-05T13:00"),
        ("fecha,hora", "2026-01-05,{h}.0", "2026-01-05T00:00"),
    ],
)
def test_dates_in_several_columns(head: str, row: str, first: str, tmp_path: Path) -> None:
    hours = range(1, 4) if "PM" in row else range(3)
    lines = "".join(f"A,{row.format(h=h)},{h}\n" for h in hours)
    assert read(tmp_path, f"cell,{head},value\n{lines}")["time"].values[0] == np.datetime64(first)


@pytest.mark.parametrize("clock", ["H{h}", "0{h}:00-01:00", "0{h}00", "{h}.5"])
def test_hours_that_are_no_times_of_day_are_named(clock: str, tmp_path: Path) -> None:
    lines = "".join(f"A,2026-01-05,{clock.format(h=h)},{h}\n" for h in range(3))
    with pytest.raises(BadInput, match=r"hour \S+ is no time of day: write 0 to 23, or 18:00"):
        read(tmp_path, f"cell,date,hour,value\n{lines}")


def test_dates_and_times_of_day_of_a_sheet(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    for row in (["cell", "Date", "Time", "value"], *(["A", date(2026, 1, 5), time(h), h] for h in range(3))):
        book.active.append(row)
    book.save(tmp_path / "t.xlsx")
    assert read_table(tmp_path / "t.xlsx", timezone="UTC")["time"].values[0] == np.datetime64("2026-01-05T00:00")


@pytest.mark.parametrize("offset", ["+1", "-3"])
def test_offsets_cut_short_are_refused(offset: str, tmp_path: Path) -> None:
    lines = "".join(f"A,2026-01-05 0{h}:00{offset},{h}\n" for h in range(3))
    with pytest.raises(BadInput, match="write offsets to UTC in full"):
        read(tmp_path, f"cell,time,value\n{lines}")


@pytest.mark.parametrize(
    ("head", "first"),
    [("Time(GMT+01:00)", "2026-01-04T23"), ("Time [UTC]", "2026-01-05T00"), ("Zeit (lokal)", "2026-01-05T00")],
)
def test_heads_of_times_with_a_note_in_brackets(head: str, first: str, tmp_path: Path) -> None:
    lines = "".join(f"A,2026-01-05 0{h}:00,{h}\n" for h in range(3))
    assert read(tmp_path, f"cell,{head},value\n{lines}")["time"].values[0] == np.datetime64(first)


def test_an_index_of_times_without_a_name(tmp_path: Path) -> None:
    frame = pd.DataFrame({"41": [1, 2], "102": [3, 4]}, index=pd.date_range("2026-01-05", periods=2, freq="1h"))
    frame.to_csv(tmp_path / "t.csv")
    frame.to_parquet(tmp_path / "t.parquet")
    for name in ("t.csv", "t.parquet"):
        traffic = read_table(tmp_path / name, timezone="UTC")
        assert traffic["cell_id"].values.tolist() == [41, 102], name
        assert traffic["traffic"].values.tolist() == [[1, 2], [3, 4]], name


def test_a_title_above_the_names_is_asked_about(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="is that line a title"):
        read(tmp_path, "Report of traffic;;\n" + long(["A"]).replace(",", ";"))


@pytest.mark.parametrize(
    ("part", "said"),
    [("xl/workbook.bin", "an Excel .xlsb: save it"), ("content.xml", "OpenDocument"), ("word/document.xml", "Word")],
)
def test_files_of_offices_that_are_no_xlsx(part: str, said: str, tmp_path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
        archive.writestr(part, "x")
    with pytest.raises(BadInput, match=said):
        read_table(tmp_path / "t.zip", timezone="UTC")


@pytest.mark.parametrize(
    ("text", "encoding"), [("北京东站", "gbk"), ("Москва", "cp1251"), ("東京", "shift-jis"), ("서울", "euc-kr")]
)
def test_letters_of_another_alphabet_are_not_taken_for_accents(text: str, encoding: str, tmp_path: Path) -> None:
    content = long([text]).encode(encoding)
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(BadInput, match=r"encoding of another alphabet .*: save it as UTF-8"):
        read_table(tmp_path / "t.csv", timezone="UTC")
    (tmp_path / "t.csv").write_bytes(long(["Lòdi", "créée", "Zürich-Öst"]).encode("cp1252"))
    assert read_table(tmp_path / "t.csv", timezone="UTC")["cell_id"].values.tolist() == ["Lòdi", "Zürich-Öst", "créée"]


# --- sites and sectors ------------------------------------------------------------------------------------------------


def test_sectors_are_told_by_whatever_tells_them(tmp_path: Path) -> None:
    sites = "site,azimuth,tech,lon,lat\nA,0,4G,9.1,45.4\nA,0,5G,9.1,45.4\nB,0,4G,9.2,45.5\n"
    assert read_stations(written(tmp_path, sites))["cell_id"].tolist() == ["A-0-4G", "A-0-5G", "B"]


def test_counters_of_sites_take_the_place_of_their_sectors(tmp_path: Path) -> None:
    sites = written(tmp_path, "site,azimuth,lon,lat\nA,0,9.1,45.4\nA,120,9.1,45.4\nB,0,9.2,45.5\n")
    for ids in (["A", "B"], ["A-0", "A-120", "B"]):
        known, places = places_from_cells(sites, np.array(ids))
        assert known.all()
        np.testing.assert_allclose(places.lon, [9.1, 9.2] if len(ids) == 2 else [9.1, 9.1, 9.2])
    moved = written(tmp_path, "site,azimuth,lon,lat\nA,0,9.1,45.4\nA,120,9.3,45.4\nB,0,9.2,45.5\n")
    with pytest.raises(BadInput, match=r"id A occurs more than once .* at several places: say with --id-column"):
        places_from_cells(moved, np.array(["A", "B"]))


@pytest.mark.parametrize(
    "head",
    [
        "radio,mcc,net_code,area_code,cell_code,lon,lat",
        "Radio,MCC,MNC,TAC,ECI,Longitud,Latitud",
        "RAT,mcc,mnc,lac,ci,经度,纬度",
    ],
)
def test_global_ids_and_positions_under_other_names(head: str, tmp_path: Path) -> None:
    cells = read_stations(written(tmp_path, f"{head}\nLTE,222,1,7,9,9.1,45.4\nLTE,222,1,8,9,9.2,45.4\n"))
    assert cells["cell_id"].tolist() == ["LTE-222-1-7-9", "LTE-222-1-8-9"]
    np.testing.assert_allclose(cells.geometry.x, [9.1, 9.2])


def test_dates_with_dots_are_said_where_nothing_shows_the_day(tmp_path: Path) -> None:
    rows = "".join(f"A,01.05.2026 0{h}:00,{h}\n" for h in range(3))
    traffic = read(tmp_path, f"cell,time,value\n{rows}")
    assert traffic["time"].values[0] == np.datetime64("2026-05-01T00")
    assert "01.05.2026 is read as day 01 of its month" in traffic.attrs["warnings"]
    with pytest.raises(BadInput, match=r"time 01\.05\.2026 may begin with the month, as Nokia"):
        read(tmp_path, f"cell,PERIOD_START_TIME,value\n{rows}")
    later = read(tmp_path, f"cell,PERIOD_START_TIME,value\n{rows.replace('01.05', '13.05')}")
    assert later["time"].values[0] == np.datetime64("2026-05-13T00")
    assert "is read as day" not in later.attrs.get("warnings", "")


@pytest.mark.parametrize(("value", "bits"), [(2**32 - 1, 32), (2**31 - 1, 32), (2**64 - 1, 64)])
def test_the_largest_number_of_a_machine_is_a_missing_value(value: int, bits: int, tmp_path: Path) -> None:
    rows = "".join(f"A,2026-01-05T0{h}:00Z,{value if h == 1 else h}\n" for h in range(3))
    with pytest.raises(BadInput, match=f"{value} is the largest number of {bits} bits"):
        read(tmp_path, f"cell,time,value\n{rows}")


def test_counters_as_makers_export_them(tmp_path: Path) -> None:
    rows = "".join(f"2026-01-05,{h},E1,LTE1,{h}\n" for h in range(3))
    traffic = read(tmp_path, f"DATE_ID,HOUR_ID,ERBS,EUtranCellFDD,pmPdcpVolDlDrb\n{rows}")
    assert list(traffic.data_vars) == ["pmPdcpVolDlDrb"]
    assert traffic["time"].values[0] == np.datetime64("2026-01-05T00")
    rows = "".join(f"2026-01-05 0{h}:00,60,{site},{site},{h}\n" for site in (1001, 1002) for h in range(3))
    traffic = read(tmp_path, f"Begin Time,Period (min),ManagedElement,eNodeB,DL PDCP Volume(MB)\n{rows}")
    assert list(traffic.data_vars) == ["DL_PDCP_Volume"]
    with pytest.raises(BadInput, match="cell A, 2026-01-05 00:00: traffic = 3 MB;"):
        read(tmp_path, "Time,A,B\n2026-01-05 00:00,3 MB,1 MB\n2026-01-05 01:00,900 kB,1 MB\n")
