"""gentraffic.places.context: a place, however it is named, to a Context that the schema accepts."""

import json
import math
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import osmnx
import pytest
import shapely
import xarray as xr

from gentraffic.dataset.schema import check_context
from gentraffic.errors import BadInput, NoData, WrongUse
from gentraffic.places import osm_online as network
from gentraffic.places.context import CELL_M, context_dataset, read_place
from gentraffic.places.query import PlaceQuery
from poi.categories import CATEGORIES
from poi.count import count_pois
from poi.errors import BadFile, NetworkFailed, PlaceNotFound, PoiError
from poi.grid import grid_cells, grid_over
from poi.osm import read_pois


def pois_csv(path: Path, *points: tuple[float, float, str, str]) -> Path:
    rows = ["lon,lat,key,value", *(f"{lon},{lat},{k},{v}" for lon, lat, k, v in points)]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


MILAN = [(9.15 + i / 1000, 45.45 + i / 2000, "amenity", "cafe") for i in range(40)]


@pytest.fixture
def pois(tmp_path: Path) -> Path:
    return pois_csv(tmp_path / "pois.csv", *MILAN, (9.16, 45.455, "shop", "books"))


# --- the area of a file -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "zone"), [("monaco.osm.pbf", "Europe/Monaco"), ("milan-centre-1km.osm", "Europe/Rome")]
)
def test_area_of_a_file(shared_data: Path, name: str, zone: str) -> None:
    path = shared_data / "osm" / name
    ds = read_place(PlaceQuery(osm=path), command="gentraffic fetch")
    check_context(ds)
    pois = read_pois(path)
    box = shapely.box(*pois.attrs["extent"])
    # the same by polygons and a spatial join
    cells = grid_cells(grid_over(box, CELL_M), box)
    cells.attrs["kind"] = "cells"
    np.testing.assert_array_equal(ds["cell_id"], cells["cell_id"])
    np.testing.assert_array_equal(ds["poi_count"], count_pois(pois, cells))
    assert ds["category"].values.tolist() == list(CATEGORIES)
    assert ds.attrs["timezone"] == zone
    assert ds.attrs["kind"] == "grid"
    assert ds.attrs["cell_m"] == CELL_M
    assert ds.attrs["osm_source"] == name
    assert ds.attrs["osm_snapshot"] == pois.attrs["snapshot"]
    assert ds.attrs["osm_sha256"] == pois.attrs["sha256"]
    assert "OpenStreetMap contributors" in ds.attrs["attribution"]
    assert ds.attrs["command"] == "gentraffic fetch"
    assert "outside" not in ds.attrs.get("warnings", "")


def test_a_missing_category_is_a_warning(shared_data: Path) -> None:
    ds = read_place(PlaceQuery(osm=shared_data / "osm" / "trento-centre.overpass.json"))
    lacking = {name for name in CATEGORIES if ds["poi_count"].sel(category=name).sum() == 0}
    said = set(ds.attrs["warnings"].splitlines())
    assert lacking
    assert said == {f"there are no points of interest of category {name} here" for name in lacking}


@pytest.mark.slow
def test_cell_ids_and_counts_do_not_move_with_the_extent(shared_data: Path) -> None:
    """The ground that two boxes share has the same cells with the same counts, the cells at the edges too."""
    osm = shared_data / "osm" / "porto-centre.osm.pbf"
    one = read_place(PlaceQuery(bbox=(-8.618, 41.140, -8.605, 41.150), osm=osm, cell_size=200))
    two = read_place(PlaceQuery(bbox=(-8.610, 41.130, -8.595, 41.155), osm=osm, cell_size=200))
    a, b = (ds.set_index(cell="cell_id")["poi_count"] for ds in (one, two))
    shared = np.intersect1d(one["cell_id"], two["cell_id"])
    assert len(shared) > 15
    np.testing.assert_array_equal(a.sel(cell=shared), b.sel(cell=shared))
    assert int(a.sel(cell=shared).sum()) > 100


# --- the operator's cells and stations --------------------------------------------------------------------------------


def test_milan_on_the_telecom_grid(shared_data: Path) -> None:
    ds = read_place(
        PlaceQuery(cells=shared_data / "milan" / "telecom-grid.geojson", osm=shared_data / "milan" / "osm_pois.csv")
    )
    check_context(ds)
    number = ds["cell_id"].values
    assert sorted(number) == list(range(1, 10_001))
    np.testing.assert_array_equal(ds["row"], (number - 1) // 100)
    np.testing.assert_array_equal(ds["col"], (number - 1) % 100)
    # the grid is a lattice of 235 m in UTM 32: count by division
    assert "UTM zone 32N" in ds.attrs["crs_wkt"]
    pois = read_pois(shared_data / "milan" / "osm_pois.csv").to_crs("EPSG:32632")
    col, row = (pois.geometry.x - 500_900) // 235, (pois.geometry.y - 5_022_575) // 235
    expected = np.zeros((10_000, 8), dtype=int)
    inside = (col >= 0) & (col < 100) & (row >= 0) & (row < 100)
    cell = (row * 100 + col)[inside].astype(int)
    np.add.at(expected, (cell, pois["category"][inside].map(CATEGORIES.index)), 1)
    counts = ds["poi_count"].values[np.argsort(number)]
    assert np.abs(counts - expected).sum() <= 2  # corners rounded in the file
    assert counts.sum() == expected.sum()
    assert ds["footprint"].values[0].startswith("POLYGON ((9.011491 45.358801,")
    assert ds.attrs["timezone"] == "Europe/Rome"


def test_stations_count_around_themselves(shared_data: Path, tmp_path: Path) -> None:
    pois = pois_csv(tmp_path / "p.csv", (9.0, 45.0, "amenity", "cafe"), (9.01, 45.0, "shop", "books"))
    stations = tmp_path / "s.csv"
    stations.write_text("lon,lat,id\n9.0,45.0,A\n9.005,45.0,B\n9.1,45.0,C\n")
    ds = read_place(PlaceQuery(stations=stations, osm=pois))  # 0.005 degrees are 394 m here
    check_context(ds)
    assert ds.attrs["kind"] == "stations"
    assert ds.attrs["radius_m"] == 500.0
    food, shop = CATEGORIES.index("Food"), CATEGORIES.index("Shop")
    assert ds["poi_count"].values[:, [food, shop]].tolist() == [[1, 0], [1, 1], [0, 0]]
    near = read_place(PlaceQuery(stations=stations, osm=pois, radius=100))
    assert near["poi_count"].values[:, [food, shop]].tolist() == [[1, 0], [0, 0], [0, 0]]
    many = read_place(
        PlaceQuery(
            stations=shared_data / "milan" / "opencellid_lte_sites.csv", osm=shared_data / "milan" / "osm_pois.csv"
        )
    )
    assert many.sizes["cell"] == 5812
    assert "28 rows repeat a station" in many.attrs["warnings"]


SITES = """site;CELL_NAME;X;Y;azimuth;height;band;owner
A12;A12-1;9,1520;45,4511;0;31,5;1800;007
A12;A12-2;9,1520;45,4511;120;31,5;0700;007
B7;B7-1;9,1600;45,4550;;22;1800;Eri
"""  # the header of docs/how-to/sectors.md, and a column that is asked for
COLUMNS = "id=CELL_NAME,lon=X,lat=Y,owner=owner"


def test_the_columns_of_sectors_are_kept_as_they_are_written(pois: Path, tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text(SITES)
    ds = read_place(PlaceQuery(stations=tmp_path / "s.csv", osm=pois, columns=COLUMNS, decimal="comma"))
    assert ds["site"].values.tolist() == ["A12", "A12", "B7"]
    np.testing.assert_array_equal(ds["azimuth"], [0, 120, np.nan])
    assert ds["height"].values.tolist() == [31.5, 31.5, 22.0]
    assert ds["band"].values.tolist() == ["1800", "0700", "1800"]
    assert ds["owner"].values.tolist() == ["007", "007", "Eri"]
    by_site = read_place(PlaceQuery(stations=tmp_path / "s.csv", osm=pois, columns="id=site,lon=X,lat=Y"))
    assert by_site["cell_id"].values.tolist() == ["A12-0", "A12-120", "B7"]
    assert by_site["site"].values.tolist() == ["A12", "A12", "B7"]
    with pytest.raises(WrongUse, match="--columns map_lon=owner: a column kept beside the cells"):
        read_place(
            PlaceQuery(stations=tmp_path / "s.csv", osm=pois, columns=f"{COLUMNS},map_lon=owner", decimal="comma")
        )


def test_dataset_from_cells_is_that_of_the_place(pois: Path) -> None:
    box = shapely.box(9.15, 45.45, 9.18, 45.46)
    cells, found = grid_cells(grid_over(box, CELL_M), box), read_pois(pois)
    ds = context_dataset(cells, count_pois(found, cells), found, place="x")
    other = read_place(PlaceQuery(bbox=box.bounds, osm=pois))
    xr.testing.assert_allclose(ds, other.drop_dims("margin"), rtol=1e-9)
    assert ds.attrs["crs_wkt"] == other.attrs["crs_wkt"]


def test_polygon(pois: Path, tmp_path: Path) -> None:
    triangle = shapely.Polygon([(9.15, 45.45), (9.19, 45.45), (9.17, 45.47)])
    gpd.GeoDataFrame(geometry=[triangle], crs="EPSG:4326").to_file(tmp_path / "t.geojson")
    ds = read_place(PlaceQuery(polygon=tmp_path / "t.geojson", osm=pois, timezone="Europe/Zurich"))
    box = read_place(PlaceQuery(bbox=triangle.bounds, osm=pois))
    assert set(ds["cell_id"].values) < set(box["cell_id"].values)
    assert 0.4 < ds.sizes["cell"] / box.sizes["cell"] < 0.8
    assert ds.attrs["timezone"] == "Europe/Zurich"
    assert ds.attrs["place"] == "t.geojson"


# --- over the network -------------------------------------------------------------------------------------------------


def test_a_name_with_an_extract_asks_only_for_the_name(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "fetch_place", lambda name, **_: (shapely.box(7.415, 43.728, 7.43, 43.74), name + "!"))
    monkeypatch.setattr(network, "fetch_pois", lambda *_, **__: pytest.fail("the extract has them"))
    ds = read_place(PlaceQuery(city="Monaco", osm=shared_data / "osm" / "monaco.osm.pbf"))
    assert ds.attrs["place"] == "Monaco!"
    assert int(ds["poi_count"].sum()) > 300


def test_a_name_alone_asks_overpass_as_far_as_the_cells_reach(
    shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}

    def fetch_pois(boundary: shapely.Geometry, **options: Any) -> gpd.GeoDataFrame:
        asked.update(options, boundary=boundary)
        return read_pois(shared_data / "osm" / "monaco.osm.pbf")

    boundary = shapely.box(7.415, 43.728, 7.43, 43.74)
    monkeypatch.setattr(network, "fetch_place", lambda name, **_: (boundary, name))
    monkeypatch.setattr(network, "fetch_pois", fetch_pois)
    ds = read_place(PlaceQuery(city="Monaco", cell_size=400, offline=True))
    assert asked["boundary"].equals(boundary)
    assert asked["margin_m"] >= 400 * math.sqrt(2)
    assert asked["offline"] is True
    with_file = read_place(PlaceQuery(bbox=boundary.bounds, cell_size=400, osm=shared_data / "osm" / "monaco.osm.pbf"))
    np.testing.assert_array_equal(ds["poi_count"], with_file["poi_count"])


def test_an_unknown_name_suggests_a_bundled_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(name: str, **_: object) -> None:
        raise PlaceNotFound(f"no place {name!r}")

    monkeypatch.setattr(network, "fetch_place", unknown)
    monkeypatch.setattr(Path, "glob", lambda *_: iter([Path("milan.nc"), Path("monaco.nc")]))
    with pytest.raises(PlaceNotFound, match=r"did you mean --city milan\?") as caught:
        read_place(PlaceQuery(city="Millan"))
    assert caught.value.exit_code == 3
    with pytest.raises(PlaceNotFound, match=r"no place 'Ulan Bator'$"):
        read_place(PlaceQuery(city="Ulan Bator"))


def test_no_network_and_no_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GENTRAFFIC_CACHE", str(tmp_path))
    monkeypatch.setattr(osmnx.settings, "overpass_url", "http://127.0.0.1:9/api")
    with pytest.raises(NetworkFailed, match="--offline"):
        read_place(PlaceQuery(city="Trento", offline=True))
    with pytest.raises(NetworkFailed, match="cannot reach"):
        read_place(PlaceQuery(bbox=(9.1, 45.4, 9.2, 45.5)))


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "no place"),
        ({"city": "milan", "bbox": (9, 45, 9.1, 45.1)}, "--city and --bbox name two places"),
        ({"cells": "a.geojson", "stations": "b.csv", "osm": "c"}, "--cells and --stations name two places"),
        ({"city": "  "}, "--city is empty"),
        ({"bbox": (9, 45, 9.1)}, "four numbers"),
        ({"bbox": (9, 45, math.nan, 46)}, "four numbers"),
        ({"bbox": (9.1, 45, 9, 46)}, "west is not left of east"),
        ({"bbox": (179, -17, -179, -16)}, "180th meridian"),
        ({"bbox": (9, 46, 9.1, 45)}, "south is not below north"),
        ({"bbox": (35, 139, 36, 140)}, "swapped"),
        ({"bbox": (500000, 5000000, 510000, 5010000)}, "not on earth"),
        ({"cells": "a.geojson", "cell_size": 250}, "--cell-size does not go with --cells"),
        ({"bbox": (9, 45, 9.1, 45.1), "radius": 500}, "with --stations only"),
        ({"stations": "a.csv", "radius": 0}, "radius of 0 m"),
        ({"bbox": (9, 45, 9.1, 45.1), "id_column": "x"}, "column of ids"),
    ],
)
def test_wrong_use(options: dict[str, Any], said: str) -> None:
    with pytest.raises(WrongUse, match=said) as caught:
        read_place(PlaceQuery(**options))
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)


def test_data_of_no_use(pois: Path, tmp_path: Path) -> None:
    box = (9.15, 45.45, 9.18, 45.46)
    for options, error, said in (
        ({"bbox": (14.1, 35.8, 14.2, 35.9), "osm": pois}, BadInput, "give an extract that covers the place"),
        ({"bbox": (9.180, 45.4501, 9.188, 45.4560), "osm": pois}, NoData, "no points of interest in pois.csv"),
        ({"bbox": box, "osm": pois, "timezone": "Europe/Rom"}, BadInput, "unknown time zone"),
        ({"bbox": (0, 40, 20, 55), "osm": pois}, PoiError, "split it|--cell-size"),
        ({"bbox": (9, 45, 15, 50), "osm": pois, "cell_size": 100}, PoiError, "--cell-size"),
        ({"bbox": box, "osm": tmp_path / "none.osm"}, BadFile, "does not exist"),
        ({"osm": pois_csv(tmp_path / "b.csv", (9, 45, "amenity", "bench"))}, NoData, "no points of interest"),
    ):
        with pytest.raises(error, match=said) as caught:
            read_place(PlaceQuery(**options))
        assert "\n" not in str(caught.value)


def test_the_area_of_a_single_point_is_its_cell(tmp_path: Path) -> None:
    ds = read_place(PlaceQuery(osm=pois_csv(tmp_path / "a.csv", (9.0, 45.0, "shop", "books"))))
    assert ds.sizes["cell"] == 1
    assert int(ds["poi_count"].sum()) == 1


def test_swapped_coordinates_are_found_out_by_the_pois(pois: Path, tmp_path: Path) -> None:
    stations = tmp_path / "s.csv"
    stations.write_text("lon,lat\n45.45,9.15\n45.46,9.16\n")
    with pytest.raises(BadInput, match=r"swapped in s\.csv or in pois\.csv"):
        read_place(PlaceQuery(stations=stations, osm=pois))
    cells = tmp_path / "c.geojson"
    ring = [[45.45, 9.15], [45.46, 9.15], [45.46, 9.16], [45.45, 9.16], [45.45, 9.15]]
    shape = {"type": "Polygon", "coordinates": [ring]}
    cells.write_text(json.dumps({"type": "Feature", "properties": {"id": 1}, "geometry": shape}))
    with pytest.raises(BadInput, match=r"swapped in c\.geojson"):
        read_place(PlaceQuery(cells=cells, osm=pois))


def test_cells_that_the_file_does_not_cover_are_a_warning(pois: Path) -> None:
    ds = read_place(PlaceQuery(bbox=(9.10, 45.45, 9.19, 45.47), osm=pois))
    total = ds.sizes["cell"]
    (line,) = [w for w in ds.attrs["warnings"].splitlines() if "outside" in w]
    count = int(line.split()[0])
    assert f"{count} of {total} cells lie outside the area of pois.csv" == line
    assert 0.5 < count / total < 0.7


def test_the_cap_on_unfolded_bytes_can_be_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import gzip

    bounds = '<bounds minlat="44.99" minlon="8.99" maxlat="45.01" maxlon="9.01"/>'
    node = '<node id="1" version="1" lat="45" lon="9"><tag k="shop" v="x"/></node>'
    path = tmp_path / "a.osm.gz"
    path.write_bytes(gzip.compress(f'<osm version="0.6">{bounds}{node}'.encode() + b" " * (70 << 20) + b"</osm>"))
    with pytest.raises(BadFile, match="GENTRAFFIC_MAX_UNFOLDED_GB"):
        read_place(PlaceQuery(osm=path))
    monkeypatch.setenv("GENTRAFFIC_MAX_UNFOLDED_GB", "1")
    assert int(read_place(PlaceQuery(osm=path))["poi_count"].sum()) == 1
    monkeypatch.setenv("GENTRAFFIC_MAX_UNFOLDED_GB", "much")
    with pytest.raises(WrongUse, match="whole gigabytes"):
        read_place(PlaceQuery(osm=path))


def test_stations_and_cells_on_both_sides_of_the_180th_meridian(tmp_path: Path) -> None:
    """Taveuni, Fiji: one network, whose mean longitude would be that of London."""
    lon, lat = [179.97, 179.99, -179.99, -179.97], -16.85
    pois = pois_csv(tmp_path / "pois.csv", *((at, lat, "shop", "mall") for at in lon))
    (tmp_path / "sites.csv").write_text("lon,lat\n" + "".join(f"{at},{lat}\n" for at in lon))
    ds = read_place(PlaceQuery(stations=tmp_path / "sites.csv", osm=pois, radius=3000.0))
    assert ds.attrs["timezone"] == "Pacific/Fiji"
    np.testing.assert_allclose(np.diff(ds["x"].values), 2130, rtol=0.01)  # 0.02 degrees at 16.85 S
    np.testing.assert_array_equal(ds["poi_count"].sum("category"), [2, 3, 3, 2])
    west, east = shapely.box(179.96, -16.9, 180, -16.8), shapely.box(-180, -16.9, -179.98, -16.8)
    cells = gpd.GeoDataFrame({"id": [1]}, geometry=[shapely.union(west, east)], crs=4326)
    cells.to_file(tmp_path / "cells.geojson")
    ds = read_place(PlaceQuery(cells=tmp_path / "cells.geojson", osm=pois))
    assert ds["poi_count"].sum() == 3
    assert ds["lon"].values == pytest.approx(179.99, abs=0.001)
    cells.geometry = [shapely.box(-179.98, -16.9, 179.96, -16.8)]  # drawn across, not cut at it
    cells.to_file(tmp_path / "uncut.geojson")
    with pytest.raises(BadInput, match="a shape around the earth"):
        read_place(PlaceQuery(cells=tmp_path / "uncut.geojson", osm=pois))
