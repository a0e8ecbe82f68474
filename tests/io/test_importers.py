"""Importers against the arrays they come from, hand-made files with known answers, and files that must be refused."""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import gentraffic
from gentraffic.dataset.schema import check_context, check_traffic, local_time
from gentraffic.errors import BadInput, WrongUse
from gentraffic.io.importers.public_sets import MILAN_CELLS, read_beijing, read_milan_5x5
from gentraffic.io.importers.registry import DATA_SETS, DataSet, read_data_set
from gentraffic.io.importers.telecom_italia import TELECOM_SERVICES, milan_places, read_telecom_italia
from gentraffic.io.importers.uomo import read_uomo

# --- UoMo -------------------------------------------------------------------------------------------------------------

CLASSES = ["food_beverage", "medical", "shopping"]


def uomo_arrays(series: int = 3, per_day: int = 24, steps: int = 231, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    at = np.arange(steps)
    return {
        "traffic": rng.gamma(2.0, 3.0, (series, steps, 4, 4)).astype(np.float32),
        "users": rng.poisson(5.0, (series, steps, 4, 4)).astype(np.float32),
        "poi": rng.integers(0, 50, (series, len(CLASSES), 4, 4)).astype(np.int16),
        "poi_classes": np.array(CLASSES),
        "location": np.array([0, 7, 7], dtype=np.int16)[:series],
        "week": np.array([0, 0, 1], dtype=np.int8)[:series],
        "dow_tod": np.stack([at // per_day % 7, at % per_day], axis=1),
        "steps_per_day": np.array(per_day),
    }


def save(folder: Path, name: str = "uomo_sd.npz", **change: np.ndarray) -> Path:
    path = folder / name
    np.savez(path, **(uomo_arrays() | change))
    return path


@pytest.mark.parametrize("city", ["sd", "nc", "nj"])
def test_uomo_cells_are_the_source_arrays(shared_data: Path, city: str) -> None:
    path = shared_data / "traffic" / f"uomo_{city}.npz"
    traffic, context = read_uomo(path)
    with np.load(path) as source:
        raw, users, poi = source["traffic"], source["users"], source["poi"]
        location, week, classes = source["location"], source["week"], list(source["poi_classes"])
        first, per_day = source["dow_tod"][0], int(source["steps_per_day"])
    check_traffic(traffic)
    check_context(context)
    assert (traffic["cell_id"].values == context["cell_id"].values).all()
    by_id = traffic.assign_coords(cell=traffic["cell_id"].values)
    pois = context.assign_coords(cell=context["cell_id"].values)
    for s, r, c in [(0, 0, 0), (2, 3, 1), (len(raw) - 1, 1, 3)]:
        name = f"{city}-L{location[s]:02d}-w{week[s]}-r{r}c{c}"
        np.testing.assert_array_equal(by_id["traffic"].sel(cell=name).values, raw[s, :, r, c])
        np.testing.assert_array_equal(by_id["users"].sel(cell=name).values, users[s, :, r, c])
        food = pois["poi_count"].sel(cell=name, category="Food").item()
        assert food == poi[s, classes.index("food_beverage"), c, r]  # the source's POI patches are turned
        assert pois["poi_count"].sel(cell=name).sum().item() == poi[s, :, c, r].sum()  # no class is lost
    when = local_time(traffic)
    assert (when[0].hour, when[0].minute) == divmod(int(first[1]) * 24 * 60 // per_day, 60)
    assert when[1] - when[0] == pd.Timedelta(days=1) / per_day
    assert traffic.attrs["network"] == f"uomo-{city}"


def test_uomo_weekends_are_flat_at_rush_hour(shared_data: Path) -> None:
    """The weekday given to day 0: on Saturday and Sunday the share at 7-9 h is lowest in all three cities."""
    for city in ("sd", "nc", "nj"):
        traffic, _ = read_uomo(shared_data / "traffic" / f"uomo_{city}.npz")
        values = traffic["traffic"].values[(traffic["week"] == 0).values].astype(float)
        values = values[(values > 0).any(axis=1)]
        values = values / values.mean(axis=1, keepdims=True)
        when = local_time(traffic)
        first_week = when < when[0] + pd.Timedelta(days=7)
        rush = (when.hour >= 7) & (when.hour < 9)
        share = pd.Series({d: values[:, first_week & rush & (when.day_of_week == d)].mean() for d in range(7)})
        assert share.idxmin() in (5, 6), (city, share)
        assert share[[5, 6]].mean() < share[:5].min(), (city, share)


def test_uomo_patches_are_apart_and_squares(tmp_path: Path) -> None:
    traffic, _ = read_uomo(save(tmp_path))
    x, y = traffic["x"].values.reshape(3, 16), traffic["y"].values.reshape(3, 16)
    assert np.allclose(np.diff(np.unique(x[0])), 250.0)
    assert np.allclose(np.diff(np.unique(y[0])), 250.0)
    for a in range(3):
        for b in range(a):
            assert np.hypot(x[a][:, None] - x[b], y[a][:, None] - y[b]).min() > 15_000
    assert traffic["location"].values[::16].tolist() == [0, 7, 7]
    assert traffic["week"].values[::16].tolist() == [0, 0, 1]
    np.testing.assert_array_equal(traffic["patch_row"].values[:16].reshape(4, 4), np.indices((4, 4))[0])


def test_uomo_position_of_a_cell_does_not_depend_on_its_file(tmp_path: Path) -> None:
    both, _ = read_uomo(save(tmp_path))
    arrays = uomo_arrays()
    keep = {k: arrays[k][1:] for k in ("traffic", "users", "poi", "location", "week")}
    some, _ = read_uomo(save(tmp_path, "uomo_sd_part.npz", **keep))
    for name in ("cell_id", "lon", "lat", "row", "col"):
        np.testing.assert_array_equal(some[name].values, both[name].values[16:])


def test_uomo_network_comes_from_the_name_then_from_the_cadence(tmp_path: Path) -> None:
    assert read_uomo(save(tmp_path, "held-out_nj.npz"))[0].attrs["network"] == "uomo-nj"
    at = np.arange(231)
    half = {"dow_tod": np.stack([at // 48, at % 48], axis=1), "steps_per_day": np.array(48)}
    assert read_uomo(save(tmp_path, "mystery.npz", **half))[0].attrs["network"] == "uomo-nc"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"users": np.ones((3, 230, 4, 4), np.float32)}, "users has shape"),
        ({"location": np.array([7, 7, 7]), "week": np.array([0, 1, 1])}, "location 7, week 1 occurs 2 times"),
        ({"traffic": np.full((3, 231, 4, 4), np.nan, np.float32)}, "sd-L00-w0-r0c0"),
        ({"traffic": np.full((3, 231, 4, 4), -1, np.float32)}, "negative"),
        ({"poi_classes": np.array(["food_beverage", "medical", "wizardry"])}, "wizardry"),
        ({"week": np.array([0, 0, 5])}, "week reaches from 0 to 5"),
        ({"dow_tod": np.zeros((231, 2), np.int64)}, "consecutive"),
    ],
)
def test_uomo_refuses_what_is_wrong(tmp_path: Path, change: dict[str, np.ndarray], says: str) -> None:
    with pytest.raises(BadInput, match=says) as caught:
        read_uomo(save(tmp_path, **change))
    assert "\n" not in str(caught.value)


def test_uomo_refuses_what_is_no_npz(tmp_path: Path) -> None:
    whole = save(tmp_path).read_bytes()
    for name, content in [("cut.npz", whole[: len(whole) // 2]), ("text.npz", b"no"), ("empty.npz", b"")]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(BadInput, match=name):
            read_uomo(tmp_path / name)
    np.savez(tmp_path / "other.npz", traffic=np.ones(3))
    with pytest.raises(BadInput, match="users"):
        read_uomo(tmp_path / "other.npz")
    with pytest.raises(BadInput, match="no such file"):
        read_uomo(tmp_path / "absent.npz")


def test_uomo_refuses_pickles(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "exploded"),)

    np.savez(tmp_path / "uomo_sd.npz", **(uomo_arrays() | {"location": np.array([Bomb(), 1, 2], dtype=object)}))
    with pytest.raises(BadInput, match="npz"):
        read_uomo(tmp_path / "uomo_sd.npz")
    assert not (tmp_path / "exploded").exists()


def upstream_json(folder: Path, arrays: dict[str, np.ndarray], poi: np.ndarray, seed: int = 3) -> Path:
    """The three upstream files: every 64-step window of every series, shuffled over train, val and test."""
    windows = [(s, t) for s in range(len(arrays["traffic"])) for t in range(arrays["traffic"].shape[1] - 63)]
    np.random.default_rng(seed).shuffle(windows)
    cut = {"train": windows[:-40], "val": windows[-40:-20], "test": windows[-20:]}

    def cuts(name: str) -> dict[str, list]:
        return {f"X_{p}": [[arrays[name][s, t : t + 64].tolist() for s, t in w]] for p, w in cut.items()}

    stamps = {p: [arrays["dow_tod"][t : t + 64].tolist() for _, t in w] for p, w in cut.items()}
    path = folder / "24_TrafficSD_short64.json"
    path.write_text(json.dumps(cuts("traffic") | {"timestamps": stamps}))
    (folder / "TrafficSD_user64.json").write_text(json.dumps(cuts("users")))
    (folder / "TrafficSD_poi64.json").write_text(
        json.dumps({f"X_{p}": [poi[s].tolist() for s, _ in w] for p, w in cut.items()})
    )
    return path


def test_uomo_json_windows_join_to_the_series(tmp_path: Path) -> None:
    arrays = uomo_arrays()
    arrays["traffic"][0, :, 2] = 0.0  # a dead row
    arrays["traffic"][2] = 0.0  # a dead patch, whose windows are all alike
    arrays["users"][2] = 0.0
    poi = np.random.default_rng(1).integers(0, 30, (3, 22, 4, 4))
    poi[2] = poi[1]  # two weeks of one ground
    traffic, context = read_uomo(upstream_json(tmp_path, arrays, poi))
    got = traffic["traffic"].values.reshape(3, 4, 4, 231).transpose(0, 3, 1, 2)
    users = traffic["users"].values.reshape(3, 4, 4, 231).transpose(0, 3, 1, 2)
    found = [next(k for k in range(3) if np.array_equal(got[k], arrays["traffic"][s])) for s in range(3)]
    assert sorted(found) == [0, 1, 2]
    for s, k in enumerate(found):
        np.testing.assert_array_equal(users[k], arrays["users"][s])
        assert context["poi_count"].values[k * 16 : k * 16 + 16].sum() == poi[s].sum()
    location, week = traffic["location"].values[::16], traffic["week"].values[::16]
    assert location[found[1]] == location[found[2]] != location[found[0]]
    assert {week[found[1]], week[found[2]]} == {0, 1}
    assert traffic.attrs["network"] == "uomo-sd"


def test_uomo_json_refuses_missing_parts(tmp_path: Path) -> None:
    arrays = uomo_arrays(series=1)
    poi = np.ones((1, 22, 4, 4), dtype=int)
    path = upstream_json(tmp_path, arrays, poi)
    content = json.loads(path.read_text())
    content["X_val"][0] = content["X_val"][0][1:]
    content["timestamps"]["val"] = content["timestamps"]["val"][1:]
    path.write_text(json.dumps(content))
    with pytest.raises(BadInput, match="not upstream's"):
        read_uomo(path)
    path.write_text(json.dumps({"X_train": []}))
    with pytest.raises(BadInput, match="not upstream's structure"):
        read_uomo(path)
    path.write_text("{")
    with pytest.raises(BadInput, match="not whole JSON"):
        read_uomo(path)
    upstream_json(tmp_path, arrays, poi)
    (tmp_path / "TrafficSD_user64.json").unlink()
    with pytest.raises(BadInput, match=r"user64\.json: missing"):
        read_uomo(path)


# --- Telecom Italia ---------------------------------------------------------------------------------------------------


def ms(local: str) -> int:
    return int(pd.Timestamp(local, tz="Europe/Rome").value // 1_000_000)


def raw(path: Path, rows: list[tuple[object, ...]]) -> Path:
    path.write_text("".join("\t".join("" if v is None else str(v) for v in row) + "\n" for row in rows))
    return path


def test_telecom_sample_against_a_plain_reading(shared_data: Path) -> None:
    path = shared_data / "milan" / "sms-call-internet-mi.sample.tsv"
    sums: dict[tuple[int, int], np.ndarray] = {}
    for line in path.read_text().splitlines():
        fields = line.split("\t")
        values = np.array([float(v) if v else 0.0 for v in fields[3:]] + [0.0] * (8 - len(fields)))
        key = (int(fields[0]), int(fields[1]))
        sums[key] = sums.get(key, np.zeros(5)) + values
    traffic = read_telecom_italia(path)
    check_traffic(traffic)
    assert traffic["internet"].size == len(sums) == 71
    stamps = traffic["time"].values.astype("datetime64[ms]").astype(np.int64)
    for (cell, stamp), values in sums.items():
        i, t = int(np.argmax(traffic["cell_id"].values == cell)), int(np.argmax(stamps == stamp))
        for name, value in zip(TELECOM_SERVICES, values, strict=True):
            assert traffic[name].values[i, t] == pytest.approx(value, rel=1e-6)
    assert str(local_time(traffic)[0]) == "2013-11-01 00:00:00+01:00"


def test_telecom_days_join_in_any_order(tmp_path: Path) -> None:
    one = raw(tmp_path / "sms-call-internet-mi-2013-11-01.txt", [
        (5, ms("2013-11-01 23:40"), 39, 1, 2, 3, 4, 5), (5, ms("2013-11-01 23:40"), 0, 10),
        (9999, ms("2013-11-01 23:50"), 39, None, None, None, None, 7),
    ])  # fmt: skip
    two = raw(tmp_path / "sms-call-internet-mi-2013-11-02.txt", [
        (5, ms("2013-11-02 00:00"), 39, 1, None, 2), (12, ms("2013-11-02 00:20"), 39, None, None, None, None, 4),
    ])  # fmt: skip
    traffic = read_telecom_italia([two, one])
    xr.testing.assert_identical(traffic, read_telecom_italia([one, two]))
    assert traffic["cell_id"].values.tolist() == [5, 12, 9999]
    np.testing.assert_array_equal(traffic["sms_in"].values, [[11, 0, 1, 0, 0], [0] * 5, [0] * 5])
    np.testing.assert_array_equal(traffic["call_in"].values[0], [3, 0, 2, 0, 0])
    np.testing.assert_array_equal(traffic["internet"].values, [[5, 0, 0, 0, 0], [0, 0, 0, 0, 4], [0, 7, 0, 0, 0]])
    assert traffic.attrs["warnings"].startswith("1 intervals have no row")


def test_milan_positions_are_the_published_grid(shared_data: Path) -> None:
    geojson = json.loads((shared_data / "milan" / "telecom-grid.geojson").read_text())["features"]
    ring = np.array([f["geometry"]["coordinates"][0][:4] for f in geojson]).mean(axis=1)
    places = milan_places(np.array([f["properties"]["cellId"] for f in geojson]))
    assert np.abs(places.lon - ring[:, 0]).max() < 2e-6
    assert np.abs(places.lat - ring[:, 1]).max() < 2e-6
    assert places.extra["row"][:101:100].tolist() == [0, 1]


def test_telecom_trentino_needs_its_grid(tmp_path: Path, shared_data: Path) -> None:
    path = raw(tmp_path / "sms-call-internet-tn-2013-11-01.txt", [
        (cell, ms("2013-11-01 00:00") + k * 600_000, 39, 1, 1, 1, 1, cell) for cell in (38, 2, 6000) for k in range(2)
    ])  # fmt: skip
    with pytest.raises(BadInput, match="--cells"):
        read_telecom_italia(path)
    grid = shared_data / "trentino" / "telecom-grid.geojson"
    known = {f["properties"]["cellId"] for f in json.loads(grid.read_text())["features"]}
    traffic = read_telecom_italia(path, cells=grid)
    check_traffic(traffic)
    assert traffic["cell_id"].values.tolist() == sorted({38, 2, 6000} & known)
    np.testing.assert_array_equal(traffic["internet"].values[:, 0], traffic["cell_id"].values)
    assert 10 < traffic["lon"].values.min() < traffic["lon"].values.max() < 12.5


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([(1, ms("2013-11-01 00:00"), 39, -1)], "line 1: cell 1, 2013-10-31T23:00"),
        ([(1, ms("2013-11-01 00:00"), 39, 1), (1, 17, 39, 1)], "line 2"),
        ([("x", 0, 39, 1)], "not Telecom Italia's"),
        ([(1, 0, 39, 1, 2, 3, 4, 5, 6)], "line 1: .* 8 columns"),
        ([(1, 0, 39, 1, 2, 3, 4, 5, 6, 7)], "line 1: .* 8 columns"),
        ([(0, ms("2013-11-01 00:00"), 39, 1)], "cell 0"),
        ([], "empty"),
        ([(1, ms("2013-11-01 00:00"), 39, 1), (1, ms("2013-11-04 00:00"), 39, 1)], "no row on 2013-11-02"),
    ],
)
def test_telecom_refuses_what_is_wrong(tmp_path: Path, rows: list[tuple[object, ...]], says: str) -> None:
    with pytest.raises(BadInput, match=says) as caught:
        read_telecom_italia(raw(tmp_path / "a.tsv", rows))
    assert "\n" not in str(caught.value)


def test_telecom_refuses_the_same_day_twice(tmp_path: Path) -> None:
    path = raw(tmp_path / "a.tsv", [(1, ms("2013-11-01 00:00"), 39, 1)])
    with pytest.raises(BadInput, match="give each day once"):
        read_telecom_italia([path, path])


# --- the two training sources -----------------------------------------------------------------------------------------


def test_milan_5x5_cells_and_times(shared_data: Path) -> None:
    path = shared_data / "traffic" / "milan_5x5_internet_10min.csv"
    traffic = read_milan_5x5(path)
    values = np.loadtxt(path, delimiter=",")
    assert MILAN_CELLS[0] == 4142
    assert MILAN_CELLS[24] == 4546
    np.testing.assert_allclose(traffic["internet"].values[7], values[:, 7], rtol=1e-6)
    when = local_time(traffic)
    assert str(when[0]) == "2013-11-01 00:00:00+01:00"
    assert str(when[-1]) == "2013-11-30 23:50:00+01:00"
    by_grid = read_milan_5x5(path, shared_data / "milan" / "telecom-grid.geojson")
    np.testing.assert_allclose(by_grid["x"].values, traffic["x"].values, atol=1e-3)


def test_beijing_starts_on_a_monday(shared_data: Path) -> None:
    traffic = read_beijing(shared_data / "traffic" / "beijing_stations_168h.npz")
    check_traffic(traffic)
    when = local_time(traffic)
    assert when[0].day_name() == "Monday"
    assert when[0].hour == 0
    mean = traffic["traffic"].values.mean(axis=0)
    rush = [mean[(when.day_of_week == d) & (when.hour == 8)].item() for d in range(7)]
    assert max(rush[5:]) < 0.9 * min(rush[:5])


def test_a_data_set_is_read_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A data set is one file and one line of DATA_SETS: Python and the command line know it then."""
    source = tmp_path / "u.npz"
    np.savez(source, **uomo_arrays())
    traffic, context = read_data_set("uomo", source)
    same, _ = read_uomo(source)
    np.testing.assert_array_equal(traffic["traffic"].values, same["traffic"].values)
    assert context is not None
    monkeypatch.setitem(DATA_SETS, "own", DataSet("own", f"{__name__}:_own", "import own f -o t.nc", options={"n": 7}))
    traffic, context = read_data_set("own", source)
    np.testing.assert_array_equal(traffic["traffic"].values, same["traffic"].values[:7])
    assert context is None
    with pytest.raises(WrongUse, match="no data set 'uom': give one of uomo, "):
        read_data_set("uom", source)
    with pytest.raises(WrongUse, match=r"own has no context of its cells: leave .*c\.nc out"):
        gentraffic.import_dataset("own", source, out=tmp_path / "t.nc", context_out=tmp_path / "c.nc")
    assert not (tmp_path / "t.nc").exists()


def test_what_a_library_raises_on_a_file_is_bad_input_without_its_readers_doing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(
        DATA_SETS, "careless", DataSet("careless", f"{__name__}:_careless", "import careless f -o t.nc")
    )
    (tmp_path / "f.csv").write_text("1,a lot,3\n")
    with pytest.raises(BadInput, match=r"f\.csv: cannot be read \(ValueError: could not convert .*a lot"):
        read_data_set("careless", tmp_path / "f.csv")


def _careless(path: Path) -> xr.Dataset:
    np.loadtxt(path, delimiter=",")
    raise AssertionError("not reached")


def _own(path: Path, n: int) -> xr.Dataset:
    return read_uomo(path)[0].isel(cell=slice(n))


def test_uomo_pois_are_turned_to_their_traffic(shared_data: Path) -> None:
    """In sd busy cells have many POIs once the patches are turned: rank correlation 0.8, and 0.3 as they lie."""
    from scipy.stats import spearmanr

    traffic, context = read_uomo(shared_data / "traffic" / "uomo_sd.npz")
    level = traffic["traffic"].values.mean(axis=1)
    live = level > 0
    total = context["poi_count"].values.sum(axis=1)
    assert spearmanr(level[live], total[live]).statistic > 0.7


def test_telecom_a_last_line_without_end_is_said(tmp_path: Path) -> None:
    rows = "".join(f"1\t{1383260400000 + 600_000 * k}\t39\t1\t1\t1\t1\t10{k}\n" for k in range(4))
    (tmp_path / "mi.txt").write_text(rows)
    assert "no end" not in read_telecom_italia(tmp_path / "mi.txt").attrs.get("warnings", "")
    (tmp_path / "mi.txt").write_text(rows[:-2])
    cut = read_telecom_italia(tmp_path / "mi.txt")
    assert cut.attrs["warnings"] == "mi.txt: the last line has no end: is the file whole?"
    assert cut["internet"].values[0, -1] == 10
