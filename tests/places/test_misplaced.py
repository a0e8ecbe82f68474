"""gentraffic.dataset.misplaced and gentraffic.dataset.zones: one wrong row moves neither area nor zone."""

from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
import xarray as xr

from gentraffic.dataset.misplaced import check_shared_ids, misplaced
from gentraffic.dataset.schema import check_timezone
from gentraffic.dataset.zones import zone_of_most
from gentraffic.errors import BadInput, NoData
from gentraffic.places.context import read_place
from gentraffic.places.query import PlaceQuery


def around(lon: float, lat: float, n: int, degrees: float = 0.01) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(n)
    return lon + rng.uniform(-degrees, degrees, n), lat + rng.uniform(-degrees, degrees, n)


def with_rows(lon: np.ndarray, lat: np.ndarray, *rows: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    return np.append(lon, [r[0] for r in rows]), np.append(lat, [r[1] for r in rows])


def test_rows_at_null_and_far_away_are_told_from_the_others() -> None:
    found = misplaced(*with_rows(*around(7.42, 43.73, 60), (0.0, 0.0), (7.42, 44.73)))
    assert np.flatnonzero(found.null).tolist() == [60]
    assert np.flatnonzero(found.far).tolist() == [61]
    assert found.away_m[61] == pytest.approx(111_100, rel=0.01)


def test_a_country_with_an_island_a_region_and_few_points_are_whole() -> None:
    lon, lat = around(12.0, 43.0, 1000, degrees=4.0)
    assert not misplaced(*with_rows(lon, lat, (12.6, 35.5))).any.any(), "Lampedusa belongs to Italy"
    two = tuple(np.append(a, b) for a, b in zip(around(7.4, 43.7, 50), around(9.2, 45.5, 10), strict=True))
    assert not misplaced(*two).any.any(), "a sixth of the sites is another city, not a mistake"
    assert not misplaced(np.array([7.4, 9.2, 100.0]), np.array([43.7, 45.5, 3.0])).any.any()
    assert not misplaced(np.zeros(5), np.zeros(5)).any.any()
    assert not misplaced(np.array([179.99, -179.99, 179.98, -179.98]), np.full(4, -16.8)).any.any()


POIS = "lon,lat,key,value\n" + "".join(f"7.41{i},43.73{i},shop,books\n" for i in range(9))


def stations(path: Path, *more: str) -> Path:
    path.write_text("id,lon,lat\n" + "".join(f"S{i},7.41{i},43.73{i}\n" for i in range(9)) + "".join(more))
    return path


@pytest.mark.parametrize(("row", "said"), [("N,0,0\n", "is at 0,0"), ("N,7.41,45.2\n", r"km away\) is far from all")])
def test_a_station_that_is_nowhere_is_left_out_and_named(tmp_path: Path, row: str, said: str) -> None:
    pois = tmp_path / "pois.csv"
    pois.write_text(POIS)
    whole = read_place(PlaceQuery(stations=stations(tmp_path / "a.csv"), osm=pois))
    place = read_place(PlaceQuery(stations=stations(tmp_path / "a.csv", row), osm=pois))
    assert place["cell_id"].values.tolist() == whole["cell_id"].values.tolist()
    np.testing.assert_array_equal(place["poi_count"], whole["poi_count"])
    for name in ("timezone", "crs_wkt"):
        assert place.attrs[name] == whole.attrs[name]
    (line,) = [w for w in place.attrs["warnings"].splitlines() if "left out" in w]
    assert line.startswith("a.csv: row 11 (id N)")
    import re

    assert re.search(said, line)


def test_stations_that_are_all_nowhere(tmp_path: Path) -> None:
    pois, path = tmp_path / "pois.csv", tmp_path / "a.csv"
    pois.write_text(POIS)
    path.write_text("id,lon,lat\nA,0,0\nB,0,0\n")
    with pytest.raises(BadInput, match="all of it lies at 0,0"):
        read_place(PlaceQuery(stations=path, osm=pois))


def test_polygons_at_null_are_left_out_too(tmp_path: Path) -> None:
    import geopandas as gpd
    from shapely.geometry import box

    pois, path = tmp_path / "pois.csv", tmp_path / "a.geojson"
    pois.write_text(POIS)
    shapes = [box(7.41 + 0.003 * (i % 3), 43.73 + 0.003 * (i // 3), 7.413 + 0.003 * (i % 3), 43.733 + 0.003 * (i // 3))
              for i in range(9)]  # fmt: skip
    frame = gpd.GeoDataFrame({"id": range(10)}, geometry=[*shapes, box(-1e-3, -1e-3, 1e-3, 1e-3)], crs=4326)
    frame.to_file(path)
    place = read_place(PlaceQuery(cells=path, osm=pois))
    assert place["cell_id"].values.tolist() == list(range(9))
    assert place.attrs["timezone"] in ("Europe/Monaco", "Europe/Paris")
    assert place["row"].values.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert "row 10 (id 9) is at 0,0" in place.attrs["warnings"]


def test_a_table_of_pois_with_rows_that_are_nowhere(tmp_path: Path) -> None:
    clean, wrong = tmp_path / "clean.csv", tmp_path / "wrong.csv"
    clean.write_text(POIS)
    wrong.write_text(POIS + "0,0,shop,mall\n")
    place, whole = read_place(PlaceQuery(osm=wrong)), read_place(PlaceQuery(osm=clean))
    np.testing.assert_array_equal(place["cell_id"], whole["cell_id"])
    assert place.attrs["timezone"] == whole.attrs["timezone"]
    assert "shop=mall is at 0,0" in place.attrs["warnings"]
    assert "the file itself reaches 0.0000,0.0000,7.4180,43.7380" in place.attrs["warnings"]


def osm(path: Path, bounds: str = "", extra: str = "") -> Path:
    nodes = "".join(
        f'<node id="{i}" lat="43.73{i}" lon="7.41{i}"><tag k="shop" v="books"/></node>' for i in range(1, 9)
    )
    path.write_text(f'<osm version="0.6">{bounds}{extra}{nodes}</osm>')
    return path


@pytest.mark.parametrize(
    "extra",
    ['<node id="99" lat="42.6" lon="8.9"/>',
     '<node id="99" lat="42.6" lon="8.9"><tag k="amenity" v="ferry_terminal"/></node>'],
)  # fmt: skip
def test_the_area_of_a_file_without_a_box_is_where_its_places_are(tmp_path: Path, extra: str) -> None:
    whole = read_place(PlaceQuery(osm=osm(tmp_path / "a.osm")))
    place = read_place(PlaceQuery(osm=osm(tmp_path / "b.osm", extra=extra)))
    np.testing.assert_array_equal(place["cell_id"], whole["cell_id"])
    assert place.attrs["timezone"] == "Europe/Monaco"
    (line,) = [w for w in place.attrs["warnings"].splitlines() if "the area is where" in w]
    assert line == ("b.osm: the area is where its places are, 7.4110,43.7310,7.4180,43.7380; the file itself reaches "
                    "7.4110,42.6000,8.9000,43.7380 (--bbox takes that)")  # fmt: skip
    assert "the area is where" not in whole.attrs.get("warnings", "")


def test_a_file_with_a_box_keeps_it_and_doubts_it_where_it_is_empty(tmp_path: Path) -> None:
    bounds = '<bounds minlat="43.6" minlon="7.3" maxlat="43.8" maxlon="7.5"/>'
    place = read_place(PlaceQuery(osm=osm(tmp_path / "a.osm", bounds=bounds)))
    assert place.sizes["cell"] > 5000
    assert f"of {place.sizes['cell']} cells are empty: is this the area?" in place.attrs["warnings"]
    assert place.attrs["timezone"] == "Europe/Monaco", "of the places, not of all the sea and France around them"


def test_a_file_whose_box_is_elsewhere_says_so(tmp_path: Path) -> None:
    bounds = '<bounds minlat="10" minlon="10" maxlat="10.01" maxlon="10.01"/>'
    with pytest.raises(NoData, match=r"none of the 8 places in a.osm lies in the box that it states, 10.0000,10.0000"):
        read_place(PlaceQuery(osm=osm(tmp_path / "a.osm", bounds=bounds)))


def test_zones_are_those_of_most_points_on_land() -> None:
    rome, paris = around(12.5, 41.9, 6), around(2.35, 48.85, 5)
    lon, lat = (np.append(a, b) for a, b in zip(rome, paris, strict=True))
    assert zone_of_most(lon, lat) == "Europe/Rome"
    assert zone_of_most(*with_rows(*rome, (0.0, 0.0), (0.0, 0.0))) == "Europe/Rome"
    sea = around(8.5, 43.3, 20)
    assert zone_of_most(*with_rows(*sea, (7.42, 43.735))) == "Europe/Monaco", "points at sea do not count"


@pytest.mark.parametrize(
    ("lon", "lat", "zone"),
    [
        (7.6, 43.4, ("Europe/Paris", "Europe/Monaco", "Europe/Rome")),
        (-30.0, 0.0, ("America/Noronha", "America/Fortaleza")),
        (179.99, -17.5, ("Pacific/Fiji",)),
        (-25.5, 36.9, ("Atlantic/Azores",)),
    ],
)
def test_at_sea_the_zone_is_the_nearest_lands(lon: float, lat: float, zone: tuple[str, ...]) -> None:
    found = zone_of_most(np.array([lon]), np.array([lat]))
    assert found in zone
    assert found is not None
    assert ZoneInfo(found)


def test_zones_of_a_machine_are_refused_and_those_of_the_sea_are_for_who_asks() -> None:
    for name in ("localtime", "posixrules", "Factory", "posix/Europe/Rome", "Nowhere/None", ""):
        with pytest.raises(BadInput):
            check_timezone(name)
    check_timezone("Etc/GMT+3")
    check_timezone("Europe/Rome")


def placed(lon: list[float], ids: list[int]) -> xr.Dataset:
    places = {"lon": ("cell", np.array(lon)), "lat": ("cell", np.full(len(lon), 43.73))}
    return xr.Dataset(coords={"cell_id": ("cell", np.array(ids)), **places}, attrs={"kind": "stations"})


def test_ids_that_are_numbers_of_rows_in_one_of_two_files_are_noticed() -> None:
    """The sites of a table without ids are 0, 1, 2, ...: joined with 1, 2, 3, ... each cell would lie at the next."""
    lon = [7.41 + k / 1000 for k in range(8)]
    traffic, numbered, same = (
        placed(lon[:7], list(range(1, 8))),
        placed(lon, list(range(8))),
        placed(lon, list(range(1, 9))),
    )
    with pytest.raises(BadInput, match="cell 1 stands where the context has cell 0, and so for 7 of 7 ids"):
        check_shared_ids(traffic, numbered, "the context")
    check_shared_ids(traffic, same, "the context")
    moved = same.assign_coords(lon=same["lon"] + 0.01)  # the middles of areas lie elsewhere than masts: no proof
    check_shared_ids(traffic, moved, "the context")
    check_shared_ids(traffic, placed(lon[::-1], list(range(1, 9))[::-1]), "the context")
