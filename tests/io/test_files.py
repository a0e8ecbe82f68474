"""Files: equal after a round trip, readable by others, damage named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from traffic_examples import SIDE, SOUTH, WEST, context, traffic

from gentraffic.dataset.basemap import basemap_coords
from gentraffic.dataset.memmap import Disk
from gentraffic.dataset.schema import COORD_ATTRS
from gentraffic.errors import BadInput, WrongUse
from gentraffic.io import files
from gentraffic.io.files import read_context, read_traffic, write_context, write_traffic
from poi.basemap import CLASSES
from poi.elements import BaseMap

KINDS = ("grid", "cells", "stations")


def _two_services(ds: xr.Dataset) -> xr.Dataset:
    second = (ds["internet"] * 3).assign_attrs(units="messages", long_name="sms traffic")
    cells = np.arange(ds.sizes["cell"])
    band = np.array(["1800", "007", "", 'n78, "low"'], dtype=object)[cells % 4]  # text, whatever it looks like
    told = {"district": cells // 5, "band": band, "azimuth": np.where(cells % 3 > 0, cells * 7.5, np.nan)}
    return ds.assign(sms_in=second).assign_coords({name: ("cell", values) for name, values in told.items()})


def _read(path: Path) -> xr.Dataset | str:
    try:
        return read_traffic(path)
    except BadInput as error:
        return str(error)


@pytest.mark.parametrize("suffix", files.READABLE)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("members", [None, 3])
def test_round_trip_is_identical(tmp_path: Path, suffix: str, kind: str, members: int | None) -> None:
    ds = _two_services(traffic(context(kind), members=members, minutes=30))
    path = tmp_path / f"t{suffix}"
    write_traffic(ds, path)
    back = read_traffic(path)
    xr.testing.assert_identical(back, ds)  # values, coordinates and every attribute
    for name, variable in ds.variables.items():
        assert back[name].dtype == variable.dtype, name
    assert ds["internet"].encoding == {}  # writing leaves the caller's dataset alone


@pytest.mark.parametrize("suffix", files.CONTEXT_FORMATS)
@pytest.mark.parametrize("kind", KINDS)
def test_context_round_trip_is_identical(tmp_path: Path, suffix: str, kind: str) -> None:
    ds = context(kind).assign(population=("cell", np.arange(36.0)))
    write_context(ds, tmp_path / f"c{suffix}")
    xr.testing.assert_identical(read_context(tmp_path / f"c{suffix}"), ds)


@pytest.mark.parametrize("suffix", files.CONTEXT_FORMATS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_numbers_of_a_context_can_lie_in_files(tmp_path: Path, suffix: str, kind: str) -> None:
    ds, path = context(kind), tmp_path / f"c{suffix}"
    write_context(ds, path)
    back = read_context(path, Disk(tmp_path))
    for name in ("poi_count", "x", "lat"):
        assert isinstance(back[name].values.base, np.memmap), name
    xr.testing.assert_identical(back, ds)
    torn = next(path.glob("lat/0*")) if suffix == ".zarr" else path
    torn.write_bytes(torn.read_bytes()[: -torn.stat().st_size // 3])
    with pytest.raises(BadInput, match=f"c{suffix}: "):
        read_context(path, Disk(tmp_path))


def test_the_telecom_grid_round_trips_and_has_a_raster(tmp_path: Path, shared_data: Path) -> None:
    import pyproj
    import rasterio
    import shapely

    from gentraffic.dataset.geometry import footprint_text

    features = json.loads((shared_data / "milan" / "telecom-grid.geojson").read_text())["features"]
    polygons = shapely.polygons([feature["geometry"]["coordinates"][0] for feature in features])
    centres = shapely.get_coordinates(shapely.centroid(polygons))
    utm = context().attrs["crs_wkt"]
    x, y = pyproj.Transformer.from_crs("EPSG:4326", utm, always_xy=True).transform(*centres.T)
    ids = np.array([feature["properties"]["cellId"] for feature in features])
    cells = xr.Dataset(
        coords={
            "cell_id": ("cell", ids), "lon": ("cell", centres[:, 0]), "lat": ("cell", centres[:, 1]), "x": ("cell", x),
            "y": ("cell", y), "footprint": ("cell", footprint_text(polygons)),
        },
        attrs=context("cells").attrs,
    )  # fmt: skip
    ds = traffic(cells.isel(cell=np.random.default_rng(0).permutation(10_000)), days=1)
    for suffix in (".nc", ".parquet"):
        write_traffic(ds, tmp_path / f"milan{suffix}")
        xr.testing.assert_identical(read_traffic(tmp_path / f"milan{suffix}"), ds)
    write_traffic(ds, tmp_path / "milan.tif")
    with rasterio.open(tmp_path / "milan.tif") as tif:
        assert tif.shape == (100, 100)
        assert tif.transform.a == pytest.approx(235.0, abs=1e-3)
        south_west = tif.read(5)[-1, 0]  # cellId 1
        row, col = tif.index(*pyproj.Transformer.from_crs(4326, tif.crs, always_xy=True).transform(9.19, 45.464))
        duomo = tif.read(5)[row, col]
    assert south_west == ds["internet"].values[ds["cell_id"].values == 1, 4]
    inside = shapely.contains_xy(polygons, 9.19, 45.464)
    assert duomo == ds["internet"].values[ds["cell_id"].values == ids[inside][0], 4]


# ---- other readers ----


def test_xarray_and_h5py_read_the_netcdf(tmp_path: Path) -> None:
    import h5py

    ds = traffic(context("cells"), members=2)
    write_traffic(ds, tmp_path / "t.nc")
    with xr.open_dataset(tmp_path / "t.nc", engine="h5netcdf") as opened:
        assert list(opened.data_vars) == ["internet"]  # what CF adds is among the coordinates
        xr.testing.assert_equal(opened.drop_vars(["cell", "crs", "time_bnds"]), ds)
        assert opened.attrs["featureType"] == "timeSeries"
        assert opened["cell_id"].attrs["cf_role"] == "timeseries_id"
    with h5py.File(tmp_path / "t.nc") as raw:
        np.testing.assert_array_equal(raw["internet"][:], ds["internet"].values)
        assert raw["internet"].compression == "gzip"
        assert raw["internet"].fletcher32
        assert raw["internet"].chunks == (1, 36, 48)  # whole cells over all times
        assert raw["time"].attrs["units"] == b"seconds since 1970-01-01"  # characters
        assert raw["time"][0] == 1383260400  # 2013-10-31T23:00Z
        assert set(raw["internet"].attrs["coordinates"].decode().split()) == {
            "cell_id",
            "footprint",
            "lat",
            "lon",
            "x",
            "y",
        }


def test_xarray_and_zarr_read_the_store(tmp_path: Path) -> None:
    import zarr

    ds = traffic(members=2, days=7, minutes=10)
    write_traffic(ds, tmp_path / "t.zarr")
    with xr.open_zarr(tmp_path / "t.zarr") as opened:  # no warning about the metadata
        xr.testing.assert_equal(opened.compute().drop_vars("cell"), ds)
    array = zarr.open_group(tmp_path / "t.zarr", mode="r")["internet"]
    assert array.chunks == (1, 36, 1008)
    np.testing.assert_array_equal(array[:], ds["internet"].values)


def test_geopandas_reads_the_parquet(tmp_path: Path) -> None:
    import geopandas as gpd
    import shapely

    for kind in KINDS:
        ds = traffic(context(kind), members=2, days=1)
        write_traffic(ds, tmp_path / "t.parquet")
        frame = gpd.read_parquet(tmp_path / "t.parquet")
        assert len(frame) == 2 * 36 * 24
        assert frame.crs.to_epsg() == 4326
        assert str(frame["time"].dt.tz) == "UTC"
        ids = ds["cell_id"].values
        some = frame[(frame["cell"] == ids[7]) & (frame["member"] == 1)]
        np.testing.assert_array_equal(some["internet"], ds["internet"].values[1, 7])
        np.testing.assert_array_equal(some["time"].dt.tz_localize(None), ds["time"].values)
        shape = some.geometry.iloc[0]
        at = shapely.Point(ds["lon"].values[7], ds["lat"].values[7])
        assert shape.equals(at) if kind == "stations" else shape.contains(at)
        if kind == "grid":
            area = some.geometry.iloc[:1].to_crs(32632).area.iloc[0]
            assert area == pytest.approx(SIDE**2, rel=1e-3)
        if kind == "cells":
            assert set(frame.geometry.geom_type) == {"Polygon", "MultiPolygon"}


def test_parquet_rows_may_be_reordered(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    ds = traffic(context("cells"), members=2, days=1)
    write_traffic(ds, tmp_path / "t.parquet")
    table = pq.read_table(tmp_path / "t.parquet")
    order = np.random.default_rng(0).permutation(len(table))
    pq.write_table(table.take(order), tmp_path / "s.parquet")
    back = read_traffic(tmp_path / "s.parquet")
    by_id = {name: i for i, name in enumerate(back["cell_id"].values)}
    xr.testing.assert_identical(back.isel(cell=[by_id[name] for name in ds["cell_id"].values]), ds)
    pq.write_table(table.take(order[1:]), tmp_path / "s.parquet")
    with pytest.raises(BadInput, match="has 1727 rows, needs one for each of 2 members x 36 cells x 24 times"):
        read_traffic(tmp_path / "s.parquet")
    twice = np.append(order[1:], order[1])
    pq.write_table(table.take(twice), tmp_path / "s.parquet")
    with pytest.raises(BadInput, match="has 1728 rows, needs one for each"):
        read_traffic(tmp_path / "s.parquet")


def test_pandas_reads_the_csv_and_the_notes_are_csvw(tmp_path: Path) -> None:
    import pandas as pd

    ds = traffic(units="MB", days=1)
    write_traffic(ds, tmp_path / "t.csv")
    frame = pd.read_csv(tmp_path / "t.csv", parse_dates=["time"])
    assert list(frame.columns) == ["cell", "time", "internet", "lon", "lat", "row", "col"]
    wide = frame.pivot(index="cell", columns="time", values="internet")
    np.testing.assert_array_equal(wide.to_numpy(np.float32), ds["internet"].values)
    np.testing.assert_array_equal(wide.columns.tz_localize(None), ds["time"].values)
    notes = json.loads((tmp_path / "t.csv-metadata.json").read_text())
    assert notes["@context"] == "http://www.w3.org/ns/csvw"
    assert notes["url"] == "t.csv"
    assert [column["name"] for column in notes["tableSchema"]["columns"]] == list(frame.columns)


def test_a_csv_without_its_notes_or_changed_since_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    write_traffic(traffic(days=1), path)
    text = path.read_text()
    path.write_text(text[:-3] + "\n")  # the last number loses two digits
    with pytest.raises(BadInput, match=r"t\.csv: has changed since t\.csv-metadata\.json was written"):
        read_traffic(path)
    path.write_text(text)
    read_traffic(path)
    (tmp_path / "t.csv-metadata.json").unlink()
    with pytest.raises(BadInput, match=r"no t\.csv-metadata\.json beside it; `gentraffic import table`"):
        read_traffic(path)


def test_rasterio_reads_the_tif(tmp_path: Path) -> None:
    import rasterio

    ds = traffic(units="MB").isel(cell=[*range(10), *range(12, 36)])  # two cells are missing
    write_traffic(ds, tmp_path / "t.tif")
    with rasterio.open(tmp_path / "t.tif") as tif:
        assert (tif.count, tif.width, tif.height) == (48, 6, 6)
        assert tif.crs.to_epsg() == 32632
        assert tif.transform == rasterio.Affine(SIDE, 0, WEST, 0, -SIDE, SOUTH + 6 * SIDE)
        assert tif.descriptions[:2] == ("2013-10-31T23:00:00Z", "2013-11-01T00:00:00Z")
        assert tif.units[0] == "MB"
        assert np.isnan(tif.nodata)
        assert tif.tags()["attribution"] == ds.attrs["attribution"]
        bands = tif.read()
        sampled = np.array(list(tif.sample(zip(ds["x"].values, ds["y"].values, strict=True))))
    np.testing.assert_array_equal(sampled, ds["internet"].values)  # each cell where it lies
    assert np.isnan(bands[0]).sum() == 2


def test_tif_refuses_what_it_cannot_hold(tmp_path: Path) -> None:
    with pytest.raises(WrongUse, match="holds one of the 3 members"):
        write_traffic(traffic(members=3), tmp_path / "t.tif")
    with pytest.raises(WrongUse, match="holds one of the 2 services"):
        write_traffic(_two_services(traffic()), tmp_path / "t.tif")
    with pytest.raises(WrongUse, match="stations do not lie on a grid"):
        write_traffic(traffic(context("stations")), tmp_path / "t.tif")
    with pytest.raises(BadInput, match="cells do not lie on a grid"):
        write_traffic(traffic(context("cells")), tmp_path / "t.tif")
    assert list(tmp_path.iterdir()) == []


# ---- damage ----


@pytest.mark.parametrize("suffix", files.READABLE)
def test_damaged_files_are_named(tmp_path: Path, suffix: str) -> None:
    """Bytes flipped and files cut: BadInput in one line, or the same traffic; never other numbers, never a crash."""
    ds = traffic(context("cells", n=5), members=2)
    path = tmp_path / f"t{suffix}"
    write_traffic(ds, path)
    parts = [path] if path.is_file() else sorted(p for p in path.glob("internet/*") if p.is_file())
    rng = np.random.default_rng(5)
    refused = 0
    for trial in range(60):
        part = parts[rng.integers(len(parts))]
        whole = part.read_bytes()
        damaged = bytearray(whole)
        if trial % 3:
            damaged[rng.integers(len(whole))] ^= 1 << int(rng.integers(8))
        else:
            del damaged[int(rng.integers(len(whole))) :]
        part.write_bytes(damaged)
        back = _read(path)
        if isinstance(back, str):
            refused += 1
            assert back.startswith(f"{path}: ")
            assert "\n" not in back
        else:
            np.testing.assert_array_equal(back["internet"].values, ds["internet"].values)
        part.write_bytes(whole)
    assert refused >= 20
    xr.testing.assert_identical(read_traffic(path), ds)


def test_a_chunk_that_was_never_written_is_not_zero_traffic(tmp_path: Path) -> None:
    write_traffic(traffic(), tmp_path / "t.zarr")
    (tmp_path / "t.zarr" / "internet" / "0.0").unlink()
    with pytest.raises(BadInput, match=r"t\.zarr: incomplete: internet/0\.0 is missing"):
        read_traffic(tmp_path / "t.zarr")


def test_other_files_under_our_suffixes_are_named(tmp_path: Path) -> None:
    import pandas as pd

    for suffix in (".nc", ".parquet", ".csv"):
        for content in (b"", b"PK\x03\x04 not this", b"\x89HDF\r\n\x1a\n"):
            (tmp_path / f"x{suffix}").write_bytes(content)
            with pytest.raises(BadInput, match=f"x{suffix}: "):
                read_traffic(tmp_path / f"x{suffix}")
    pd.DataFrame({"cell": [1], "value": [2.0]}).to_parquet(tmp_path / "y.parquet")
    with pytest.raises(BadInput, match=r"y\.parquet: .*gentraffic import table"):
        read_traffic(tmp_path / "y.parquet")
    xr.Dataset({"a": ("b", [1.0])}).to_netcdf(tmp_path / "z.nc", engine="h5netcdf")
    with pytest.raises(BadInput, match=r"z\.nc: the attribute kind is None"):
        read_traffic(tmp_path / "z.nc")
    write_context(context(), tmp_path / "c.nc")
    with pytest.raises(BadInput, match=r"c\.nc: the dimension time is missing"):
        read_traffic(tmp_path / "c.nc")
    write_traffic(traffic(), tmp_path / "t.nc")
    with pytest.raises(BadInput, match=r"t\.nc: the dimension category is missing"):
        read_context(tmp_path / "t.nc")


def test_a_file_that_claims_too_much_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import h5py

    with h5py.File(tmp_path / "bomb.nc", "w") as bomb:  # a few kilobytes that would be a terabyte
        bomb.create_dataset("internet", (10**6, 250_000), dtype="f4", chunks=(1000, 250), compression="gzip")
    with pytest.raises(BadInput, match=r"bomb\.nc: holds 2\.5e\+11 values, more than the 2\.15e\+09"):
        read_traffic(tmp_path / "bomb.nc")
    monkeypatch.setattr(files, "MAX_VALUES", 100)
    for suffix in (".parquet", ".csv"):
        write_traffic(traffic(), tmp_path / f"t{suffix}")
        with pytest.raises(BadInput, match="more than the 100"):
            read_traffic(tmp_path / f"t{suffix}")


def test_chunks_hold_whole_cells_and_a_region_writer_can_fill_them(tmp_path: Path) -> None:
    """A store made from a template, filled by regions of whole chunks, reads as if it had been written at once."""
    steps = 168
    width = files.cells_per_chunk(steps)
    assert width * steps <= 2**20 < 2 * width * steps
    ds = traffic(context(n=100), days=7)
    write_traffic(ds, tmp_path / "t.zarr")
    hole = ds.copy()
    hole["internet"] = hole["internet"] * np.float32(0)
    hole["internet"].attrs = ds["internet"].attrs
    encoding = files.encoding_of(hole, ".zarr")
    hole.to_zarr(tmp_path / "r.zarr", zarr_format=2, consolidated=True, encoding=encoding)
    for start in range(0, 10_000, width):
        region = ds[["internet"]].isel(cell=slice(start, start + width)).reset_coords(drop=True)
        end = min(start + width, 10_000)
        region.drop_vars("time").to_zarr(
            tmp_path / "r.zarr", region={"cell": slice(start, end), "time": slice(0, steps)}
        )
    xr.testing.assert_identical(read_traffic(tmp_path / "r.zarr"), read_traffic(tmp_path / "t.zarr"))


# ---- whole or refused ----


def _refused(path: Path, ds: xr.Dataset) -> str:
    """Why `path` is refused; "" where it reads as `ds`. Anything else than these two is an error."""
    back = _read(path)
    if isinstance(back, str):
        assert "\n" not in back
        return back
    xr.testing.assert_identical(back, ds)
    return ""


@pytest.mark.parametrize(
    "tail", [b"\n", b"\0" * 83, b" " * 4096, b"gentraffic sha256 ", b"\ngentraffic sha256 " + b"0" * 64]
)
def test_no_tail_takes_the_seal_off(tail: bytes, tmp_path: Path) -> None:
    path = tmp_path / "t.nc"
    ds = traffic()
    write_traffic(ds, path)
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[whole.find(b"Milano")] ^= 1
    for content in (bytes(flipped), bytes(flipped) + tail, whole + tail, whole[:-5] + tail, whole[:-1]):
        path.write_bytes(content)
        assert "damaged" in _refused(path, ds), content[-100:]
    path.write_bytes(whole)
    assert _refused(path, ds) == ""


def test_a_seal_whose_own_bytes_are_altered_is_refused(tmp_path: Path) -> None:
    path, ds = tmp_path / "t.nc", traffic()
    write_traffic(ds, path)
    whole = path.read_bytes()
    for at in range(len(whole) - 84, len(whole)):
        altered = bytearray(whole)
        altered[at] ^= 1
        path.write_bytes(bytes(altered) + b"\n" * (at % 2))  # with a tail, and without
        assert "damaged" in _refused(path, ds)


def test_a_netcdf_of_others_needs_no_seal(tmp_path: Path) -> None:
    ds = traffic()
    write_traffic(ds, tmp_path / "t.nc")
    for engine in ("h5netcdf", "netcdf4"):
        with xr.open_dataset(tmp_path / "t.nc", engine="h5netcdf") as opened:
            opened.load().drop_encoding().to_netcdf(tmp_path / "u.nc", engine=engine)
        assert _refused(tmp_path / "u.nc", ds) == ""
    import h5py

    with h5py.File(tmp_path / "t.nc", "r+") as file:  # who changes it through HDF5 cuts the seal off
        file["internet"][2, 5] = 7.0
        file.create_dataset("note", data=np.arange(1000))
        del file["note"]
    changed = read_traffic(tmp_path / "t.nc")
    assert float(changed["internet"][2, 5]) == 7.0


@pytest.mark.parametrize("kind", ["traffic", "context"])
def test_a_store_knows_all_of_its_files(kind: str, tmp_path: Path) -> None:
    """Each file of a store, metadata and chunks alike: missing, cut, altered; and files that were not there."""
    path = tmp_path / "t.zarr"
    ds = traffic(members=2) if kind == "traffic" else context()
    write, read = (write_traffic, read_traffic) if kind == "traffic" else (write_context, read_context)
    write(ds, path)
    names = [p for p in sorted(path.rglob("*")) if p.is_file()]
    assert {"0.0", ".zmetadata", ".zattrs", ".zarray"} <= {p.name for p in names} | {"0.0"}
    for name in names:
        whole = name.read_bytes()
        flipped = bytearray(whole)
        flipped[len(whole) // 2] ^= 4
        for content in (None, b"", whole[:-1], bytes(flipped), whole + b" "):
            if content is None:
                name.unlink()
            else:
                name.write_bytes(content)
            if content == whole + b" " and name.name == ".zmetadata":  # JSON that says the same
                xr.testing.assert_identical(read(path), ds)
            else:
                with pytest.raises(BadInput, match=r"t\.zarr: (incomplete|damaged)"):
                    read(path)
        name.write_bytes(whole)
    for more in ("zarr.json", "lat/1", "internet/9.9.9", "extra/.zarray"):
        (path / more).parent.mkdir(exist_ok=True)
        (path / more).write_text("{}")
        with pytest.raises(BadInput, match="not of this store as it was written"):
            read(path)
        (path / more).unlink()
    (path / ".DS_Store").write_bytes(b"of a desktop")
    xr.testing.assert_identical(read(path), ds)


def test_a_store_that_others_wrote_from_ours_is_read(tmp_path: Path) -> None:
    write_traffic(traffic(), tmp_path / "t.zarr")
    with xr.open_zarr(tmp_path / "t.zarr") as opened:
        (opened.load() * 2).assign_attrs(opened.attrs).to_zarr(tmp_path / "u.zarr", zarr_format=2, consolidated=True)
    back = read_traffic(tmp_path / "u.zarr")
    np.testing.assert_array_equal(back["internet"].values, traffic()["internet"].values * 2)


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_notes_beside_tables_are_sealed(suffix: str, tmp_path: Path) -> None:
    """Flip each of many bits of what the rows do not hold: refused, or the very same traffic."""
    path, ds = tmp_path / f"t{suffix}", traffic(context(n=3), units="GB", days=1)
    write_traffic(ds, path)
    part = path if suffix == ".parquet" else path.with_name("t.csv-metadata.json")
    whole = part.read_bytes()
    start = whole.rfind(b'"format"') if suffix == ".parquet" else 0
    rng = np.random.default_rng(0)
    said = []
    for _ in range(400):
        flipped = bytearray(whole)
        flipped[int(rng.integers(start, len(whole)))] ^= 1 << int(rng.integers(8))
        part.write_bytes(flipped)
        said.append(_refused(path, ds))
    assert sum(map(bool, said)) > 200
    for old, new in ((b'"GB"', b'"MB"'), (b"Europe/Rome", b"Europe/Bonn"), (b"ODbL-1.0", b"ODbL-1.1")):
        assert old in whole
        part.write_bytes(whole.replace(old, new))
        assert "does not have its own SHA-256" in _refused(path, ds)


def test_values_of_a_parquet_that_were_changed_are_refused(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    write_traffic(traffic(days=1), tmp_path / "t.parquet")
    table = pq.read_table(tmp_path / "t.parquet")
    for name in ("internet", "lon", "x"):
        values = table[name].to_numpy().copy()
        values[-24:] *= 1.0001
        at = table.schema.get_field_index(name)
        pq.write_table(table.set_column(at, name, pa.array(values)), tmp_path / "s.parquet")
        with pytest.raises(BadInput, match="has changed since it was written"):
            read_traffic(tmp_path / "s.parquet")


# ---- CF ----

CF_KINDS = {
    "grid": lambda: traffic(units="GB"),
    "members": lambda: traffic(context("cells"), units="Mbit/s", members=2),
    "stations": lambda: _two_services(traffic(context("stations"), units="GiB")).drop_vars("district"),
    "large ids": lambda: traffic(_numbered(320_019_369_001_494), units="TB"),
    "huge ids": lambda: traffic(_numbered(2**60)),
    "ids in no order": lambda: traffic(context().isel(cell=[3, 1, 2, 0])),
    "counts": lambda: traffic(units="messages"),
    "one step": lambda: traffic(units="GB").isel(time=slice(0, 1)),
    "a map": lambda: traffic(context(), units="GB").assign_coords(_map()),
    "sectors": lambda: traffic(context("stations"), units="GB").assign_coords(
        azimuth=("cell", np.arange(36) * 10, COORD_ATTRS["azimuth"]),
        height=("cell", np.linspace(10, 45, 36), COORD_ATTRS["height"]),
    ),
}


def _map() -> dict[str, Any]:
    """A street and a name."""
    street = np.array([CLASSES.index("street")], dtype=np.int8)
    at = np.array([[918_000, 4_545_000], [918_100, 4_545_100]], dtype=np.int32)
    size, kind, where = np.array([2], dtype=np.int32), np.zeros(1, dtype=np.int8), np.array([[9.18, 45.45]])
    return basemap_coords(BaseMap(street, size, at, ("Centro",), kind, where))


def _numbered(first: int) -> xr.Dataset:
    return context().assign_coords(cell_id=("cell", first + np.arange(36)))


def _standard_names() -> Path:
    import importlib.util

    found = importlib.util.find_spec("compliance_checker")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent / "data" / "cf-standard-name-table.xml"


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, str]]:
    """What two checkers of CF say of a file of each kind; each of them is started once, which takes a second."""
    import subprocess
    import sys

    pytest.importorskip("compliance_checker")
    pytest.importorskip("cfchecker")
    folder = tmp_path_factory.mktemp("cf")
    paths = {kind: folder / f"{kind}.nc".replace(" ", "-") for kind in (*CF_KINDS, "context")}
    for kind, path in paths.items():
        if kind == "context":
            write_context(context(), path)
        else:
            write_traffic(CF_KINDS[kind](), path)
    script = """
import sys
from compliance_checker.runner import CheckSuite, ComplianceChecker
CheckSuite.load_all_available_checkers()
tests = ["cf:1.8", "cf:1.9", "cf:1.10", "cf:1.11"]
for path in sys.argv[1:]:
    passed, errors = ComplianceChecker.run_checker(path, tests, 0, "normal", output_filename=path + ".txt")
    assert not errors, path
"""
    files = list(map(str, paths.values()))
    done = subprocess.run([sys.executable, "-c", script, *files], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    tables = {"area_type_table": "a.xml", "standardized_region_list": "r.xml"}
    for root, name in tables.items():
        text = f"<{root}><version_number>1</version_number><date>2026-01-01</date></{root}>"
        (folder / name).write_text(text)
    program = Path(sys.executable).with_name("cfchecks")
    words = [str(program), "-s", str(_standard_names()), "-a", str(folder / "a.xml"), "-r", str(folder / "r.xml")]
    done = subprocess.run([*words, *files], capture_output=True, text=True, check=False)
    parts = done.stdout.split("CHECKING NetCDF FILE: ")[1:]
    assert len(parts) == len(paths), done.stdout + done.stderr
    told = {part.splitlines()[0].strip(): part for part in parts}
    return {kind: (Path(f"{path}.txt").read_text(), told[str(path)]) for kind, path in paths.items()}


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*CF_KINDS, "context"])
def test_cf_checkers_find_no_error(kind: str, checked: dict[str, tuple[str, str]]) -> None:
    said, told = checked[kind]
    assert "cf:1.11" in said
    assert "\n                                     Errors" not in said, said
    assert "ERRORS detected: 0" in told, told
    assert "WARN: (3" not in told, told  # each has a unit and a name
    assert "FATAL" not in told


@pytest.mark.parametrize("kind", CF_KINDS)
def test_what_cf_adds_is_gone_when_it_is_read(kind: str, tmp_path: Path) -> None:
    ds = CF_KINDS[kind]()
    write_traffic(ds, tmp_path / "t.nc")
    back = read_traffic(tmp_path / "t.nc")
    xr.testing.assert_identical(back, ds)
    assert back["cell_id"].dtype == ds["cell_id"].dtype


@pytest.mark.parametrize("kind", CF_KINDS)
def test_ids_survive_the_classic_format(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("scipy")
    ds = CF_KINDS[kind]()
    write_traffic(ds, tmp_path / "t.nc")
    with xr.open_dataset(tmp_path / "t.nc", engine="h5netcdf") as opened:
        opened.load().to_netcdf(tmp_path / "c.nc", format="NETCDF3_CLASSIC", engine="scipy")
    with xr.open_dataset(tmp_path / "c.nc", engine="scipy") as classic:
        assert list(map(str, classic["cell_id"].values)) == list(map(str, ds["cell_id"].values))
        assert set(map(str, classic["cell"].values)) == set(map(str, ds["cell_id"].values))
        np.testing.assert_array_equal(classic["internet"].values, ds["internet"].values)
        np.testing.assert_array_equal(classic["time"].values, ds["time"].values)


@pytest.mark.parametrize("suffix", files.CONTEXT_FORMATS)
@pytest.mark.parametrize("kind", CF_KINDS)
def test_sel_takes_the_cell_of_that_id_or_none(kind: str, suffix: str, tmp_path: Path) -> None:
    """Ids are whole numbers from 1 on in many files: a position would be the neighbour's series."""
    ds = CF_KINDS[kind]()
    write_traffic(ds, tmp_path / f"t{suffix}")
    engine = "zarr" if suffix == ".zarr" else "h5netcdf"
    with xr.open_dataset(tmp_path / f"t{suffix}", engine=engine) as opened:
        for at in (0, 2, -1):
            name = ds["cell_id"].values[at]
            key = str(name) if opened["cell"].dtype.kind in "OUT" else name
            series = opened["internet"].sel(cell=key).values
            np.testing.assert_array_equal(series, ds["internet"].isel(cell=at).values)
        for name in ("cell", "cell_id"):
            assert opened[name].dtype.kind in "OUTiu"  # never 1.0, which is no id
        for nobody in (0, "0", 1.5):
            with pytest.raises(KeyError):
                opened["internet"].sel(cell=nobody)


def test_units_are_those_of_udunits(tmp_path: Path) -> None:
    cf_units = pytest.importorskip("cf_units")
    from gentraffic.io.export.counters import bits_per_unit
    from gentraffic.io.files import udunits

    for prefix in ("", "k", "M", "G", "T", "P", "E"):
        for unit in ("B", "bit", "byte", "bytes", "b"):
            ours = bits_per_unit(f"{prefix}{unit}", 3600)
            assert cf_units.Unit(udunits(f"{prefix}{unit}")).convert(1.0, "bit") == pytest.approx(ours, rel=1e-12)
        assert cf_units.Unit(udunits(f"{prefix}bit/s")).convert(1.0, "bit/s") * 3600 == pytest.approx(
            bits_per_unit(f"{prefix}bit/s", 3600), rel=1e-12
        )
    for prefix in ("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"):
        ours = bits_per_unit(f"{prefix}B", 3600)
        assert cf_units.Unit(udunits(f"{prefix}B")).convert(1.0, "bit") == pytest.approx(ours, rel=1e-12)
    for name in ("messages", "erlang", "GB/day?", ""):
        assert udunits(name) == "1"
    sums, means = ("GB", "messages", "unit"), ("Mbit/s", "1", "users")
    for units, method in (*((name, "time: sum") for name in sums), *((name, "time: mean") for name in means)):
        write_traffic(traffic(units=units), tmp_path / "t.nc")
        with xr.open_dataset(tmp_path / "t.nc", engine="h5netcdf") as opened:
            assert opened["internet"].attrs["cell_methods"] == method
            assert opened["internet"].attrs["units"] == udunits(units)
            begins, ends = opened["time_bnds"].values.T
            np.testing.assert_array_equal(begins, opened["time"].values)
            np.testing.assert_array_equal(ends - begins, np.timedelta64(1, "h"))
            assert opened["crs"].attrs["grid_mapping_name"] == "transverse_mercator"
            assert opened.attrs["history"].endswith(": pytest")


def test_attributes_are_characters(tmp_path: Path) -> None:
    import h5py

    write_traffic(traffic(context("cells"), members=2), tmp_path / "t.nc")
    kinds = set()
    with h5py.File(tmp_path / "t.nc") as file:
        for holder in (file, *(v for v in file.values() if isinstance(v, h5py.Dataset))):
            for key in holder.attrs:
                kind = h5py.check_string_dtype(holder.attrs.get_id(key).dtype)
                kinds.add(None if kind is None else kind.length is not None)
                assert holder.attrs.get_id(key).dtype != np.int64, key
    assert kinds == {None, True}


def test_counts_that_a_store_without_a_list_lacks_are_not_zero(tmp_path: Path) -> None:
    """Another program has dropped the list of files; then a chunk is lost on the way."""
    write_context(context(), tmp_path / "c.zarr")
    path = tmp_path / "c.zarr" / ".zmetadata"
    whole = json.loads(path.read_text())
    del whole["gentraffic_files"]
    path.write_text(json.dumps(whole))
    xr.testing.assert_identical(read_context(tmp_path / "c.zarr"), context())
    (tmp_path / "c.zarr" / "poi_count" / "0.0").unlink()
    with pytest.raises(BadInput, match=r"incomplete: poi_count/0\.0 is missing of 1 chunks"):
        read_context(tmp_path / "c.zarr")


@pytest.mark.parametrize("suffix", [".nc", ".parquet"])
def test_a_copy_of_the_classic_model_is_read(tmp_path: Path, suffix: str) -> None:
    ds = traffic(context("cells")).assign_attrs(title="Réseau d'été, 東京")
    copy = tmp_path / "classic.nc"
    ds["internet"].attrs["long_name"] = "trafic à midi"
    write_traffic(ds, tmp_path / f"t{suffix}")
    back = read_traffic(tmp_path / f"t{suffix}")
    pytest.importorskip("netCDF4")
    back.to_netcdf(copy, format="NETCDF4_CLASSIC", engine="netcdf4")
    again = read_traffic(copy)
    np.testing.assert_array_equal(again["internet"].values, ds["internet"].values)
    assert (again.attrs["title"], again["internet"].attrs["long_name"]) == (ds.attrs["title"], "trafic à midi")
    assert again.attrs["crs_wkt"] == ds.attrs["crs_wkt"]


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
@pytest.mark.parametrize("seed", [0, 2**31 - 1, 2**32, 1_780_000_000_123, 2**53 + 1, 2**63 - 1])
def test_a_seed_such_as_a_clock_comes_back_as_it_was(seed: int, suffix: str, tmp_path: Path) -> None:
    write_traffic(traffic().assign_attrs(seed=seed), tmp_path / f"t{suffix}")
    back = read_traffic(tmp_path / f"t{suffix}").attrs["seed"]
    assert int(back) == seed
    assert not isinstance(back, float)
