"""`import table` and `--cells` with tables as people have them: the right value, or a line that says what is wrong."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from gentraffic.dataset.amounts import check_units, is_amount, volume
from gentraffic.errors import BadInput, WrongUse
from gentraffic.io.importers.table import read_table
from gentraffic.io.source_columns import Reading, make_reading
from gentraffic.io.user_cells import read_stations

TIMES = ("2024-03-01T00:00Z", "2024-03-01T01:00Z")
ROME = "Europe/Rome"


def written(folder: Path, text: str | bytes, name: str = "t.csv") -> Path:
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder / name


def series(*ids: str, head: str = "cell,time,value", more: str = "") -> str:
    """Cell k has 10 k + 1 and 10 k + 2; more: what stands behind the values, with {k}."""
    rows = [
        f"{name},{t},{10 * k + i}{more.format(k=k)}" for k, name in enumerate(ids, 1) for i, t in enumerate(TIMES, 1)
    ]
    return "\n".join([head, *rows, ""])


# --- ids --------------------------------------------------------------------------------------------------------------


def test_of_two_columns_that_hold_the_ids_the_one_of_the_same_name_is_taken(tmp_path: Path) -> None:
    sites = written(tmp_path, "cell_id,id,lon,lat\n1,3,9.3,45\n2,2,9.2,45\n3,1,9.1,45\n", "s.csv")
    for head, lon in (("id", [9.1, 9.2, 9.3]), ("cell_id", [9.3, 9.2, 9.1]), ("cell", [9.3, 9.2, 9.1])):
        table = written(tmp_path, series("1", "2", "3", head=f"{head},time,value"))
        np.testing.assert_allclose(read_table(table, cells=sites, timezone=ROME)["lon"], lon)


def test_two_unknown_columns_with_the_same_ids_are_asked_for(tmp_path: Path) -> None:
    sites = written(tmp_path, "pci,label,lon,lat\n1,3,9.3,45\n2,2,9.2,45\n3,1,9.1,45\n", "s.csv")
    table = written(tmp_path, series("1", "2", "3"))
    with pytest.raises(BadInput, match="'pci' and 'label' hold the same ids: say which with --id-column"):
        read_table(table, cells=sites, timezone=ROME)
    traffic = read_table(table, cells=sites, timezone=ROME, reading=make_reading(id_column="label"))
    np.testing.assert_allclose(traffic["lon"], [9.1, 9.2, 9.3])


@pytest.mark.parametrize("name", ["", "Unnamed: 0", "index", "fid", "No."])
def test_numbers_of_rows_are_no_ids(tmp_path: Path, name: str) -> None:
    sites = written(tmp_path, f"{name},where,lon,lat\n1,A,9.3,45\n2,B,9.2,45\n3,C,9.1,45\n", "s.csv")
    with pytest.raises(BadInput, match="no known column of ids"):
        read_table(written(tmp_path, series("1", "2", "3")), cells=sites, timezone=ROME)


def test_a_number_of_a_row_is_no_service_and_no_cell(tmp_path: Path) -> None:
    long = ",cell,time,value,hour\n" + "".join(f"{i},A,{t},{i},{i}\n" for i, t in enumerate(TIMES))
    traffic = read_table(written(tmp_path, long), timezone=ROME)
    assert list(traffic.data_vars) == ["traffic"]
    assert "hour: left out" in traffic.attrs["warnings"]
    wide = "Unnamed: 0,time,A,B,Total\n" + "".join(f"{i},{t},{i + 1},5,{i + 6}\n" for i, t in enumerate(TIMES))
    traffic = read_table(written(tmp_path, wide), timezone=ROME)
    assert traffic["cell_id"].values.tolist() == ["A", "B"]
    assert float(traffic["traffic"].sum()) == 1 + 2 + 5 + 5
    assert "Total is the sum of all cells" in traffic.attrs["warnings"]


def test_a_cell_that_is_called_total_and_is_no_sum_stays(tmp_path: Path) -> None:
    traffic = read_table(written(tmp_path, series("A", "B", "Total")), timezone=ROME)
    assert traffic["cell_id"].values.tolist() == ["A", "B", "Total"]
    summed = read_table(
        written(tmp_path, series("A", "B") + f"Total,{TIMES[0]},32\nTotal,{TIMES[1]},34\n"), timezone=ROME
    )
    assert summed["cell_id"].values.tolist() == ["A", "B"]


def test_two_columns_of_one_name_with_other_ids(tmp_path: Path) -> None:
    table = "cell,cell,time,value\n" + "".join(f"A,{k},{t},{k}\n" for k in (1, 2) for t in TIMES)
    with pytest.raises(BadInput, match="2 columns are called 'cell'"):
        read_table(written(tmp_path, table), timezone=ROME)


def test_a_cell_number_that_other_sites_have_too_is_named_with_its_site(tmp_path: Path) -> None:
    rows = [(b, c, t) for b in (7, 8) for c in (1, 2) for t in TIMES]
    table = "eNodeB ID,Cell ID,time,value\n" + "".join(f"{b},{c},{t},{b * c}\n" for b, c, t in rows)
    traffic = read_table(written(tmp_path, table), timezone=ROME)
    assert traffic["cell_id"].values.tolist() == ["7-1", "7-2", "8-1", "8-2"]
    np.testing.assert_array_equal(traffic["traffic"].values[:, 0], [7, 14, 8, 16])
    asked = read_table(written(tmp_path, table), timezone=ROME, reading=Reading(id_column="eNodeB ID, Cell ID"))
    assert asked["cell_id"].values.tolist() == ["7-1", "7-2", "8-1", "8-2"]
    whole = "eNodeB ID,Cell ID,time,value\n" + "".join(f"{b},{10 * b + c},{t},5\n" for b, c, t in rows)
    alone = read_table(written(tmp_path, whole), timezone=ROME)
    assert alone["cell_id"].values.tolist() == [71, 72, 81, 82], "which it names alone"
    sites = "eNodeB ID,Cell ID,lon,lat\n" + "".join(f"{b},{c},9.{b}{c},45.0\n" for b in (7, 8) for c in (1, 2))
    cells = read_stations(written(tmp_path, sites, "s.csv"))
    assert cells["cell_id"].tolist() == ["7-1", "7-2", "8-1", "8-2"]


def test_an_id_that_repeats_within_another_says_so(tmp_path: Path) -> None:
    table = "LAC,Cell ID,time,value\n" + "".join(f"{b},1,{t},5\n" for b in (7, 8) for t in TIMES)
    with pytest.raises(BadInput, match="where LAC and Cell ID name a cell together"):
        read_table(written(tmp_path, table), timezone=ROME)


# --- places -----------------------------------------------------------------------------------------------------------

AROUND = [(9.10 + 0.01 * k, 45.0) for k in range(6)]


def placed(*places: tuple[float, float]) -> str:
    rows = [f"C{k},{t},{k},{lon},{lat}" for k, (lon, lat) in enumerate(places) for t in TIMES]
    return "\n".join(["cell,time,value,lon,lat", *rows, ""])


@pytest.mark.parametrize(("odd", "said"), [((0.0, 0.0), "is at 0,0"), ((9.1, -45.0), "is far from all others")])
@pytest.mark.parametrize("own", [True, False], ids=["columns", "cells file"])
def test_a_cell_that_is_nowhere_is_left_out_of_an_import(
    tmp_path: Path, odd: tuple[float, float], said: str, own: bool
) -> None:
    def read(*places: tuple[float, float]) -> xr.Dataset:
        if own:
            return read_table(written(tmp_path, placed(*places)))
        sites = "cell,lon,lat\n" + "".join(f"C{k},{lon},{lat}\n" for k, (lon, lat) in enumerate(places))
        table = series(*(f"C{k}" for k in range(len(places))))
        return read_table(written(tmp_path, table), cells=written(tmp_path, sites, "s.csv"))

    whole, part = read(*AROUND), read(*AROUND, odd)
    assert part["cell_id"].values.tolist() == whole["cell_id"].values.tolist()
    np.testing.assert_array_equal(part["traffic"], whole["traffic"])
    np.testing.assert_allclose(part["x"], whole["x"], atol=1e-6)
    assert (part.attrs["crs_wkt"], part.attrs["timezone"]) == (whole.attrs["crs_wkt"], whole.attrs["timezone"])
    assert "C6" in part.attrs["warnings"]
    assert said in part.attrs["warnings"]
    assert "warnings" not in whole.attrs


def test_places_of_a_cell_that_moves_or_has_none(tmp_path: Path) -> None:
    head = "cell,time,value,lon,lat\n"
    with pytest.raises(BadInput, match=r"cell A stands at several places, lon 9 and 9\.5"):
        read_table(written(tmp_path, f"{head}A,{TIMES[0]},1,9,45\nA,{TIMES[1]},2,9.5,45\n"))
    with pytest.raises(BadInput, match=r"row 2: lon '9\.1E' is not a number"):
        read_table(written(tmp_path, f"{head}A,{TIMES[0]},1,9.1E,45\nA,{TIMES[1]},2,9.1E,45\n"))
    with pytest.raises(BadInput, match="all of it lies at 0,0"):
        read_table(written(tmp_path, placed((0.0, 0.0), (0.0, 0.0))))
    once = read_table(written(tmp_path, f"{head}A,{TIMES[0]},1,,\nA,{TIMES[1]},2,9,45\n"))
    assert (float(once["lon"][0]), float(once["lat"][0])) == (9.0, 45.0)


# --- units ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("head", ["traffic (GB)", "traffic [GB]", "Traffic(GB)", "DL traffic [GB]", "value (GB)"])
def test_a_unit_in_the_head_of_a_column_is_taken(tmp_path: Path, head: str) -> None:
    table = written(tmp_path, series("A", "B", head=f"cell,time,{head}"))
    (values,) = read_table(table, timezone=ROME).data_vars.values()
    assert values.attrs["units"] == "GB"
    with pytest.raises(WrongUse, match="says GB"):
        read_table(table, timezone=ROME, unit="MB")


@pytest.mark.parametrize("unit", ["gb", "mb", "tb/day", "mbps"])
def test_capitals_of_a_unit_are_asked_for(unit: str, tmp_path: Path) -> None:
    with pytest.raises(WrongUse, match=r"capitals tell bytes from bits: write .B.* or .b"):
        read_table(written(tmp_path, series("A", "B")), timezone=ROME, unit=unit)
    for known in ("GB", "Mbit/s", "Erlang", "users", "1"):
        check_units(known, "--unit")


def test_volumes_in_words_and_as_udunits_has_them() -> None:
    assert volume("gigabytes") == volume("GByte") == volume("GBYTES") == volume("GB") == (8e9, None)
    assert volume("megabits per second") == volume("Mbit s-1") == (1e6, 1)
    assert volume("Gbyte h-1") == volume("GB/h") == (8e9, 3600)
    assert is_amount("terabytes")
    assert not is_amount("TB h-1")
    assert volume("octet stream") is None


# --- times ------------------------------------------------------------------------------------------------------------


def hours(folder: Path, times: list[str], head: str = "time") -> Path:
    return written(folder, f"cell,{head},value\n" + "".join(f"A,{t},{k}\n" for k, t in enumerate(times)))


@pytest.mark.parametrize(("head", "first"), [("time_utc", "2013-07-01T00"), ("Time (UTC+8)", "2013-06-30T16"),
                                             ("time GMT-03:30", "2013-07-01T03:30")])  # fmt: skip
def test_an_offset_in_the_name_of_the_column(tmp_path: Path, head: str, first: str) -> None:
    table = hours(tmp_path, ["2013-07-01 00:00", "2013-07-01 01:00"], head)
    time = read_table(table, timezone=ROME, reading=make_reading(f"time={head}"))["time"].values
    assert time[0] == np.datetime64(first)


@pytest.mark.parametrize("form", ["201311{:02d}{:02d}", "2013-11-{:02d}T{:02d}:00"])
def test_hours_from_1_to_24_are_named(tmp_path: Path, form: str) -> None:
    table = hours(tmp_path, [form.format(1, hour) for hour in range(1, 25)])
    with pytest.raises(BadInput, match=r"time 2013-?11-?01T?24(:00)?.*hours reach 24"):
        read_table(table, timezone=ROME)


def test_times_without_offset_are_asked_for_before_gaps(tmp_path: Path) -> None:
    table = hours(tmp_path, ["2013-03-31 00:00", "2013-03-31 01:00", "2013-03-31 03:00"])
    with pytest.raises(BadInput, match="times without offset"):
        read_table(table)
    assert read_table(table, timezone=ROME)["traffic"].values.tolist() == [[0, 1, 2]]


def test_quarters_that_were_sorted_by_their_local_time_are_refused(tmp_path: Path) -> None:
    twice = [f"2013-10-27 02:{m:02d}" for m in (0, 15, 30, 45)]
    ordered = ["2013-10-27 01:45", *twice, *twice, "2013-10-27 03:00"]
    values = read_table(hours(tmp_path, ordered), timezone=ROME)["traffic"].values
    assert values.tolist() == [list(range(10))]
    for order in (sorted(ordered), sorted(ordered, reverse=True)):
        with pytest.raises(BadInput, match="sorted by local time: which is which is lost"):
            read_table(hours(tmp_path, order), timezone=ROME)
    with pytest.raises(BadInput, match="in no order"):
        read_table(hours(tmp_path, twice[:1] * 2), timezone=ROME)


def test_hours_over_two_autumns_are_no_sorted_text(tmp_path: Path) -> None:
    import pandas as pd

    utc = pd.date_range("2013-10-26", "2014-10-27", freq="h", tz="UTC")
    local = [f"{t:%Y-%m-%d %H:%M}" for t in utc.tz_convert(ROME)]
    traffic = read_table(hours(tmp_path, local), timezone=ROME)
    np.testing.assert_array_equal(traffic["time"].values, utc.tz_localize(None).values)
    np.testing.assert_array_equal(traffic["traffic"].values[0], np.arange(len(utc)))


# --- text -------------------------------------------------------------------------------------------------------------


def test_utf_32_titles_and_empty_rows_at_the_end(tmp_path: Path) -> None:
    text = series("Zürich", "Genève")
    same = read_table(written(tmp_path, text), timezone=ROME)
    wide = read_table(written(tmp_path, text.encode("utf-32")), timezone=ROME)
    assert wide["cell_id"].values.tolist() == same["cell_id"].values.tolist() == ["Genève", "Zürich"]
    tail = read_table(written(tmp_path, text + ",,\n,,\n"), timezone=ROME)
    np.testing.assert_array_equal(tail["traffic"], same["traffic"])
    with pytest.raises(BadInput, match="is the line 'Report of March' a title"):
        read_table(written(tmp_path, "Report of March\n\n" + text), timezone=ROME)


def test_a_file_of_cells_with_several_layers(tmp_path: Path) -> None:
    import geopandas as gpd
    import shapely

    file, boxes = tmp_path / "cells.gpkg", [shapely.box(9 + k / 10, 45, 9.1 + k / 10, 45.1) for k in range(2)]
    gpd.GeoDataFrame({"id": ["all"]}, geometry=[shapely.box(9, 45, 9.2, 45.1)], crs=4326).to_file(
        file, layer="district"
    )
    gpd.GeoDataFrame({"id": ["A", "B"]}, geometry=boxes, crs=4326).to_file(file, layer="cells", mode="a")
    table = written(tmp_path, series("A", "B"))
    with pytest.raises(WrongUse, match=r"2 layers, district \(Polygon\), cells \(Polygon\): name one with --layer"):
        read_table(table, cells=file)
    np.testing.assert_allclose(read_table(table, cells=file, layer="cells")["lon"], [9.05, 9.15])
    with pytest.raises(WrongUse, match="--cells names: give both"):
        read_table(table, layer="cells", timezone=ROME)
    sites = written(tmp_path, "id,lon,lat\nA,9,45\nB,9.1,45\n", "s.csv")
    with pytest.raises(WrongUse, match="which has no layers"):
        read_table(table, cells=sites, layer="cells")


def test_quarters_of_unknown_unit_say_what_becomes_of_them(tmp_path: Path) -> None:
    table = "cell,time,value\n" + "".join(f"A,2024-03-01T00:{m:02d}Z,1\n" for m in (0, 15, 30, 45))
    said = "of unknown unit, so that steps are averaged"
    assert said in read_table(written(tmp_path, table), timezone=ROME).attrs["warnings"]
    assert said not in read_table(written(tmp_path, table), timezone=ROME, unit="GB").attrs["warnings"]
    assert said not in read_table(written(tmp_path, series("A")), timezone=ROME).attrs["warnings"]


def test_a_text_among_the_numbers_of_a_sheet_is_asked_for(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")

    def sheet(*values: object) -> Path:
        book = openpyxl.Workbook()
        for row in (["cell", "time", "value"], *(["041", t, v] for t, v in zip(TIMES, values, strict=True))):
            book.active.append(row)
        book.save(tmp_path / "t.xlsx")
        return tmp_path / "t.xlsx"

    for text in ("2.345", "2,5", "1 234"):
        with pytest.raises(BadInput, match=f"value holds numbers, and '{text}' as text"):
            read_table(sheet(1234, text), timezone=ROME)
    whole = read_table(sheet(1234, "5"), timezone=ROME)
    assert whole["traffic"].values.tolist() == [[1234, 5]]
    assert read_table(sheet("1,5", "2,5"), timezone=ROME)["traffic"].values.tolist() == [[1.5, 2.5]]


def test_names_of_columns_in_other_alphabets(tmp_path: Path) -> None:
    sites = written(tmp_path, "站点,小区,lon,lat\n3,1,9.1,45\n2,2,9.2,45\n1,9,9.3,45\n", "s.csv")
    table = written(tmp_path, series("1", "9", head="小区,time,value"))
    traffic = read_table(table, cells=sites, timezone=ROME, reading=make_reading("id=小区"))
    np.testing.assert_allclose(traffic["lon"], [9.1, 9.3])
    with pytest.raises(BadInput, match="has no column 'Сота'"):
        read_table(table, timezone=ROME, reading=make_reading("id=Сота"))
    wide = read_table(written(tmp_path, "time,Москва,Пермь\n" + "".join(f"{t},1,2\n" for t in TIMES)), timezone=ROME)
    assert wide["cell_id"].values.tolist() == ["Москва", "Пермь"]
    named = read_table(written(tmp_path, series("A", head="cell,time,Трафик")), timezone=ROME,
                       reading=make_reading("internet=Трафик"))  # fmt: skip
    assert float(named["internet"].sum()) == 11 + 12
