"""`import table`: long, wide, CSV, Parquet, local times over both clock changes, and all that must be refused."""

from pathlib import Path

import numpy as np
import pandas as pd
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
