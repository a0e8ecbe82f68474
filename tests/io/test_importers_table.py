"""`import table`: long, wide, CSV, Parquet, local times over both clock changes, and all that must be refused."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gentraffic.dataset.schema import check_traffic, local_time
from gentraffic.errors import BadInput, WrongUse
from gentraffic.io.importers.table import read_table
from gentraffic.io.source_columns import Reading

LON, LAT = 9.19, 45.46


def table(cells: int = 3, steps: int = 6, freq: str = "1h", start: str = "2024-03-04T00:00Z") -> pd.DataFrame:
    times = pd.date_range(start, periods=steps, freq=freq)
    frame = pd.DataFrame([(c, t) for c in range(cells) for t in times], columns=["cell", "time"])
    frame["value"] = frame["cell"] * 100.0 + np.tile(np.arange(steps), cells)
    frame["lon"], frame["lat"] = LON + frame["cell"] * 0.01, LAT
    return frame


def csv(folder: Path, frame: pd.DataFrame, name: str = "t.csv") -> Path:
    frame.to_csv(folder / name, index=False)
    return folder / name


def test_long_csv_in_any_order(tmp_path: Path) -> None:
    shuffled = table().sample(frac=1, random_state=1)
    traffic = read_table(csv(tmp_path, shuffled))
    check_traffic(traffic)
    np.testing.assert_array_equal(traffic["traffic"].values, np.add.outer(np.arange(3) * 100, np.arange(6)))
    assert traffic["cell_id"].values.tolist() == [0, 1, 2]
    np.testing.assert_allclose(traffic["lon"].values, [9.19, 9.20, 9.21])
    assert traffic.attrs["timezone"] == "Europe/Rome"  # from the positions
    assert traffic["time"].values[0] == np.datetime64("2024-03-04T00:00")


@pytest.mark.parametrize("separator", [";", "\t"])
def test_tables_of_semicolons_and_tabs(separator: str, tmp_path: Path) -> None:
    table().to_csv(tmp_path / "t.csv", index=False, sep=separator)
    traffic = read_table(tmp_path / "t.csv")
    np.testing.assert_array_equal(traffic["traffic"].values, np.add.outer(np.arange(3) * 100, np.arange(6)))


def test_parquet_services_rows_and_columns(tmp_path: Path) -> None:
    frame = table().rename(columns={"value": "internet"}).assign(sms=2.0)
    frame["row"], frame["col"] = frame["cell"] * 2, frame["cell"]
    frame.to_parquet(tmp_path / "t.parquet")
    traffic = read_table(tmp_path / "t.parquet", timezone="Asia/Tokyo")
    assert set(traffic.data_vars) == {"internet", "sms"}
    assert traffic.attrs["timezone"] == "Asia/Tokyo"
    assert traffic["row"].values.tolist() == [0, 2, 4]
    assert traffic["internet"].values[2, 5] == 205.0


def test_wide_table_with_the_operators_cells(tmp_path: Path) -> None:
    import geopandas as gpd
    import shapely

    squares = [shapely.box(LON + k * 0.01, LAT, LON + k * 0.01 + 0.01, LAT + 0.01) for k in range(3)]
    gpd.GeoDataFrame({"cellId": [2, 1, 0]}, geometry=squares, crs="EPSG:4326").to_file(tmp_path / "cells.geojson")
    wide = table().pivot(index="time", columns="cell", values="value").reset_index()
    traffic = read_table(csv(tmp_path, wide), service="internet", cells=tmp_path / "cells.geojson")
    check_traffic(traffic)
    np.testing.assert_array_equal(traffic["internet"].values[1], 100.0 + np.arange(6))
    assert traffic["lon"].values[0] == pytest.approx(LON + 0.025, abs=1e-6)  # cell 0 is the third square
    assert traffic.attrs["kind"] == "cells"
    assert traffic["footprint"].values[0].startswith("POLYGON")
    with pytest.raises(BadInput, match=r"cell 3 .* not in the cells file"):
        read_table(csv(tmp_path, table(cells=4)), cells=tmp_path / "cells.geojson")


def test_wide_table_of_stations(tmp_path: Path) -> None:
    frame = table().assign(cell=lambda t: "S" + t["cell"].astype(str))
    wide = frame.pivot(index="time", columns="cell", values="value").reset_index()
    (tmp_path / "sites.csv").write_text("site;longitude;latitude\nS2;9.3;45.5\nS0;9.1;45.5\nS1;9.2;45.5\n")
    traffic = read_table(csv(tmp_path, wide), cells=tmp_path / "sites.csv")
    assert traffic.attrs["kind"] == "stations"
    assert traffic["cell_id"].values.tolist() == ["S0", "S1", "S2"]
    np.testing.assert_allclose(traffic["lon"].values, [9.1, 9.2, 9.3], atol=1e-9)
    np.testing.assert_array_equal(traffic["traffic"].values[2], 200.0 + np.arange(6))


def test_text_ids_keep_leading_zeros(tmp_path: Path) -> None:
    frame = table()
    frame["cell"] = frame["cell"].map({0: "007", 1: "7", 2: "x"})
    frame.to_parquet(tmp_path / "t.parquet")
    assert read_table(tmp_path / "t.parquet")["cell_id"].values.tolist() == ["007", "7", "x"]


@pytest.mark.parametrize("scale", [1, 1000])
def test_times_since_the_epoch(tmp_path: Path, scale: int) -> None:
    frame = table()
    frame["time"] = frame["time"].map(lambda t: int(t.timestamp()) * scale)
    traffic = read_table(csv(tmp_path, frame))
    assert traffic["time"].values[0] == np.datetime64("2024-03-04T00:00")


@pytest.mark.parametrize("freq", ["1h", "10min"])
@pytest.mark.parametrize("day", ["2024-03-31", "2024-10-27"])  # 23 and 25 hours in Rome
def test_local_times_over_the_clock_changes(tmp_path: Path, freq: str, day: str) -> None:
    local = pd.date_range(f"{day} 00:00", f"{day} 23:50", freq=freq, tz="Europe/Rome")
    utc = local.tz_convert("UTC").tz_localize(None)
    frame = pd.concat(
        [pd.DataFrame({"cell": c, "time": local.tz_localize(None), "value": np.arange(len(local))}) for c in "ab"]
    )
    frame["lon"], frame["lat"] = LON, LAT
    traffic = read_table(csv(tmp_path, frame), timezone="Europe/Rome")
    np.testing.assert_array_equal(traffic["time"].values, utc.to_numpy())
    np.testing.assert_array_equal(traffic["traffic"].values[1], np.arange(len(local)))  # the repeated hour in order
    assert (local_time(traffic).hour == local.hour).all()


def test_offsets_that_change_are_exact(tmp_path: Path) -> None:
    local = pd.date_range("2024-10-27 00:00", periods=6, freq="1h", tz="Europe/Rome")
    frame = pd.DataFrame({"cell": 1, "time": [t.isoformat() for t in local], "value": 1.0, "lon": LON, "lat": LAT})
    traffic = read_table(csv(tmp_path, frame))
    np.testing.assert_array_equal(traffic["time"].values, local.tz_convert("UTC").tz_localize(None).to_numpy())


def damaged(kind: str) -> pd.DataFrame:
    frame = table()
    if kind == "duplicate":
        return pd.concat([frame, frame.iloc[[8]]])
    if kind == "gap":
        return frame.drop(index=[8])
    if kind == "late start":
        return frame.drop(index=[6])
    if kind == "common gap":
        return frame[frame["time"] != frame["time"].iloc[2]]
    if kind == "nan":
        frame.loc[8, "value"] = np.nan
    elif kind == "negative":
        frame.loc[8, "value"] = -3.0
    elif kind == "infinite":
        frame.loc[8, "value"] = np.inf
    elif kind == "word":
        frame["value"] = frame["value"].astype(object)
        frame.loc[8, "value"] = "much"
    elif kind == "mixed cadence":
        return pd.concat([frame[frame["cell"] != 1], frame[(frame["cell"] == 1) & (frame["time"].dt.hour % 2 == 0)]])
    elif kind == "off grid":
        frame.loc[frame["cell"] == 1, "time"] += pd.Timedelta(minutes=7)
    elif kind == "no position":
        return frame.drop(columns="lon")
    elif kind == "swapped":
        frame["lon"], frame["lat"] = 45.46, 109.19
    elif kind == "no cell":
        frame["cell"] = frame["cell"].astype(object)
        frame.loc[8, "cell"] = None
    elif kind == "no value":
        return frame.drop(columns="value")
    elif kind == "no time":
        return frame.drop(columns="time")
    elif kind == "bad time":
        frame["time"] = frame["time"].astype(str)
        frame.loc[8, "time"] = "yesterday"
    elif kind == "empty":
        return frame.iloc[:0]
    elif kind == "one step":
        return frame[frame["time"] == frame["time"].iloc[0]]
    elif kind == "odd step":
        frame["time"] = pd.Timestamp("2024-03-04T00:00Z") + (frame["time"] - frame["time"].iloc[0]) * (7 / 60)
    elif kind == "members":
        return frame.assign(member=0)
    return frame


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("duplicate", "cell 1, 2024-03-04T02:00Z occurs twice"),
        ("gap", "cell 1 has no value at 2024-03-04T02:00Z"),
        ("late start", "cell 1 has no value at 2024-03-04T00:00Z"),
        ("common gap", "cell 0 has no value at 2024-03-04T02:00Z"),
        ("nan", "cell 1, 2024-03-04 02:00:00.*value = nan"),
        ("negative", "cell 1, 2024-03-04 02:00:00.*value = -3.0"),
        ("infinite", "value = inf"),
        ("word", "value = much"),
        ("mixed cadence", "cell 1 has a step of 120 min, others 60"),
        ("off grid", "cell 1, 2024-03-04T00:07Z is off the 60-minute grid"),
        ("no position", "no positions"),
        ("swapped", "lat 109.19"),
        ("no cell", "row 10 names no cell"),
        ("no value", "no value column"),
        ("no time", "no column 'time'"),
        ("bad time", "ISO 8601"),
        ("empty", "no rows"),
        ("one step", "one time step"),
        ("odd step", "7 min does not divide"),
        ("members", "member"),
    ],
)
def test_refuses_what_is_wrong(tmp_path: Path, kind: str, says: str) -> None:
    with pytest.raises(BadInput, match=says) as caught:
        read_table(csv(tmp_path, damaged(kind)))
    assert "\n" not in str(caught.value)


def test_refuses_local_times_it_cannot_place(tmp_path: Path) -> None:
    naive = table()
    naive["time"] = naive["time"].dt.tz_localize(None)
    with pytest.raises(BadInput, match="--timezone"):
        read_table(csv(tmp_path, naive))
    with pytest.raises(WrongUse, match="Mars/Base"):
        read_table(csv(tmp_path, naive), timezone="Mars/Base")
    naive["time"] += pd.Timestamp("2024-03-31") - pd.Timestamp("2024-03-04")
    with pytest.raises(BadInput, match="2024-03-31 02:00:00 does not exist in Europe/Rome"):
        read_table(csv(tmp_path, naive), timezone="Europe/Rome")


def test_refuses_files_that_are_not_tables(tmp_path: Path) -> None:
    table().to_parquet(tmp_path / "t.parquet")
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "t.parquet").read_bytes()[:300])
    (tmp_path / "empty.csv").write_bytes(b"")
    (tmp_path / "ragged.csv").write_text("cell,time,value\n1,2,3\n1,2,3,4,5\n")
    (tmp_path / "binary.csv").write_bytes(bytes(range(256)) * 20)
    for name in ("cut.parquet", "empty.csv", "ragged.csv", "binary.csv", "absent.csv"):
        with pytest.raises(BadInput, match=name) as caught:
            read_table(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_what_is_taken_as_position_is_not_said_to_be_left_out_and_twins_are_named(tmp_path: Path) -> None:
    hours = [f"2024-03-04T{hour:02d}:00Z" for hour in range(24)]
    cells = [(name, 9 + k / 100, k % 2) for k, name in enumerate("abc")]
    rows = [f"{name},{when},{x},45,{level + h}" for name, x, level in cells for h, when in enumerate(hours)]
    path = tmp_path / "t.csv"
    path.write_text("\n".join(["cell,time,X,Y,value", *rows]) + "\n")
    placed = read_table(path, reading=Reading(columns={"lon": "X", "lat": "Y"}))
    assert placed.attrs["warnings"].startswith("1 cell carries the same series as another one (c as a)")
    assert "left out" not in placed.attrs["warnings"]
    bare = read_table(path, timezone="UTC")
    assert "X, Y were left out" in bare.attrs["warnings"]
    assert "--columns lon=NAME,lat=NAME" in bare.attrs["warnings"]


def rows_at(folder: Path, times: list[object]) -> Path:
    """A series of one cell at these times, whose values count from 1."""
    text = "".join(f"a,{time},{i}\n" for i, time in enumerate(times, start=1))
    (folder / "t.csv").write_text(f"cell,time,value\n{text}")
    return folder / "t.csv"


def typed(folder: Path, column: pa.Array, values: pa.Array | None = None) -> Path:
    """A Parquet file of one cell at typed times."""
    amounts = pa.array([1.0, 2.0]) if values is None else values
    pq.write_table(pa.table({"cell": ["a", "a"], "time": column, "value": amounts}), folder / "t.parquet")
    return folder / "t.parquet"


def intervals(minutes: int, count: int, less: int = 0) -> list[object]:
    ends = [divmod(minutes * k % 1440, 60) for k in range(count + 1)]
    last = [divmod((minutes * (k + 1) - less) % 1440, 60) for k in range(count)]
    return [f"2026-01-05 {h:02d}:{m:02d}-{H:02d}:{M:02d}" for (h, m), (H, M) in zip(ends, last, strict=False)]


@pytest.mark.parametrize(
    "times",
    [
        intervals(60, 3), intervals(60, 12), intervals(60, 23), intervals(60, 24), intervals(15, 50), intervals(30, 7),
        intervals(60, 5, less=1), [str(t).replace(" ", "T") for t in intervals(60, 5)],
        [str(t).replace(":", "") for t in intervals(60, 5)],
    ],
)  # fmt: skip
def test_intervals_are_not_read_as_offsets(tmp_path: Path, times: list[object]) -> None:
    with pytest.raises(BadInput, match=r"intervals, whose end would be read as an offset to UTC: keep the start"):
        read_table(rows_at(tmp_path, times), timezone="Europe/Rome")


@pytest.mark.parametrize("clock", ["10:00-11:00", "00:00-01:00", "08:30-09:00", "06:45-07:00"])
def test_one_interval_a_day_is_asked_for(tmp_path: Path, clock: str) -> None:
    times: list[object] = [f"2026-01-0{day} {clock}" for day in (5, 6, 7)]
    with pytest.raises(BadInput, match=f"time 2026-01-05 {clock} may be an interval"):
        read_table(rows_at(tmp_path, times), timezone="Europe/Rome")


@pytest.mark.parametrize("clock", ["00:00:00-01:00", "00:00-05:00", "06:00-08:00"])
def test_one_offset_a_day_is_exact(tmp_path: Path, clock: str) -> None:
    times: list[object] = [f"2026-01-0{day} {clock}" for day in (5, 6, 7)]
    utc = pd.to_datetime(pd.Series(times), utc=True).dt.tz_localize(None)
    np.testing.assert_array_equal(
        read_table(rows_at(tmp_path, times), timezone="Europe/Rome")["time"].values, utc.to_numpy()
    )


@pytest.mark.parametrize("offset", ["-19:00", "-12:30", "+14:15"])
def test_offsets_of_no_place_are_refused(tmp_path: Path, offset: str) -> None:
    times: list[object] = [f"2026-01-0{day} 18:00{offset}" for day in (5, 6)]
    with pytest.raises(BadInput, match="no place is"):
        read_table(rows_at(tmp_path, times), timezone="Europe/Rome")


@pytest.mark.parametrize("zone", ["America/New_York", "Atlantic/Azores", "America/St_Johns", "Australia/Lord_Howe"])
@pytest.mark.parametrize("freq", ["15min", "1h", "12h", "1D"])
@pytest.mark.parametrize("steps", [2, 3, 30])
def test_offsets_of_places_are_exact_over_clock_changes(tmp_path: Path, zone: str, freq: str, steps: int) -> None:
    for change in ("2026-03-08T07:00Z", "2026-11-01T06:00Z", "2026-03-29T01:00Z", "2026-10-24T15:00Z"):
        middle = pd.Timestamp(change) - steps // 2 * pd.Timedelta(freq)
        utc = pd.date_range(middle, periods=steps, freq=freq)
        traffic = read_table(rows_at(tmp_path, [t.isoformat() for t in utc.tz_convert(zone)]), timezone=zone)
        np.testing.assert_array_equal(traffic["time"].values, utc.tz_localize(None).to_numpy())


@pytest.mark.parametrize(
    ("times", "says"),
    [
        (["1/13/2026 12:00 AM", "1/13/2026 13:00 AM"], "row 3: time 1/13/2026 13:00 AM: no hour"),
        (["1/13/2026 0:00 PM", "1/13/2026 1:00 PM"], "row 2: time 1/13/2026 0:00 PM: no hour"),
        (["1/13/2026 1:00 AM", "1/13/2026 2:00"], "row 3: time 1/13/2026 2:00: others have AM or PM"),
        ([-7200, -3600, 0], "time -7200 is before 1970"),
        ([8836000000, 8836003600], "time 8836000000 is of no year from 1970 to 2199"),
        ([8836000000000, 8836003600000], "is of no year"),
        ([8836000000 * 10**9, 8836003600 * 10**9], "is of no year"),
        (["2026-01-05T00:00:00.001Z", "2026-01-05T01:00:00.001Z"], r"t\.csv: .* no whole second: round"),
    ],
)
def test_times_that_cannot_be_are_named(tmp_path: Path, times: list[object], says: str) -> None:
    with pytest.raises(BadInput, match=says):
        read_table(rows_at(tmp_path, times), timezone="Europe/Rome")


def test_noon_and_midnight_of_twelve_hours(tmp_path: Path) -> None:
    clocks = ["12:00 AM", *(f"{h}:00 AM" for h in range(1, 12)), "12:00 PM", "1:00 PM"]
    traffic = read_table(rows_at(tmp_path, [f"1/13/2026 {clock}" for clock in clocks]), timezone="UTC")
    np.testing.assert_array_equal(traffic["time"].values, pd.date_range("2026-01-13", periods=14, freq="1h").to_numpy())


@pytest.mark.parametrize(
    ("column", "says"),
    [
        (pa.array([-315_000_000, -314_996_400], pa.timestamp("s")), "1960-01-08T.* is of no year"),
        (pa.array([8_836_000_000, 8_836_003_600], pa.timestamp("s", "UTC")), "is of no year"),
        (pa.array([32_503_680_000, 32_503_683_600], pa.timestamp("s")), "3000-01-01T.* is of no year"),
        (pa.array([-3653, -3652], pa.int32()).cast(pa.date32()), "is of no year"),
        (pa.array([3600, 7200], pa.time32("s")), "'time' holds times of day without a date"),
        (pa.array([3600, 7200], pa.duration("s")), "'time' holds durations"),
    ],
)
def test_typed_times_pass_the_checks_of_texts(tmp_path: Path, column: pa.Array, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        read_table(typed(tmp_path, column), timezone="UTC")


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "Asia/Tokyo"])
def test_typed_times_of_every_unit(tmp_path: Path, unit: str, zone: str | None) -> None:
    column = pa.array([1_767_571_200, 1_767_574_800], pa.timestamp("s")).cast(pa.timestamp(unit, zone))
    traffic = read_table(typed(tmp_path, column), timezone="UTC")
    assert traffic["time"].values.astype("datetime64[s]").astype(int).tolist() == [1_767_571_200, 1_767_574_800]


@pytest.mark.parametrize(("value", "kind"), [(2**64 - 1, pa.uint64()), (2**63 - 1, pa.int64())])
def test_the_largest_number_of_64_bits_is_no_traffic(tmp_path: Path, value: int, kind: pa.DataType) -> None:
    column = pa.array([1_767_571_200, 1_767_574_800], pa.timestamp("s"))
    with pytest.raises(BadInput, match=f"value = {value} is the largest number of 64 bits"):
        read_table(typed(tmp_path, column, pa.array([5, value], kind)), timezone="UTC")
    traffic = read_table(typed(tmp_path, column, pa.array([5, 2**60], kind)), timezone="UTC")
    assert traffic["traffic"].values.tolist() == [[5.0, 2.0**60]]


@pytest.mark.parametrize("clock", ["00:00", "12:00", "22:00"])
def test_a_day_that_a_calendar_skips_is_no_summer_time(tmp_path: Path, clock: str) -> None:
    with pytest.raises(BadInput, match="its calendar skips that day"):
        read_table(rows_at(tmp_path, ["2011-12-29T12:00", f"2011-12-30T{clock}"]), timezone="Pacific/Apia")


@pytest.mark.parametrize("zone", ["localtime", "Factory", "posixrules"])
def test_zones_that_are_refused_are_not_proposed(tmp_path: Path, zone: str) -> None:
    with pytest.raises(WrongUse, match="does not exist") as caught:
        read_table(csv(tmp_path, table()), timezone=zone)
    assert f"did you mean {zone}" not in str(caught.value)
