"""poi.ground: floor area, land and streets, against closed forms and a second reading of real extracts."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import numpy as np
import osmium
import pyproj
import pytest
import shapely

from poi.count import sum_ground, sum_in_grid
from poi.elements import Ground
from poi.grid import grid_cells, grid_over, ids_within
from poi.ground import MEASURES, ground_class
from poi.osm import read_pois

GEOD = pyproj.Geod(ellps="WGS84")
BOX = (9.0, 45.0, 9.02, 45.02)  # about 1.6 x 2.2 km


def _file(path: Path, ways: list[tuple[list[tuple[float, float]], dict[str, str]]]) -> Path:
    nodes, body, number = "", "", 0
    for i, (corners, tags) in enumerate(ways, start=1):
        first = number + 1
        for lon, lat in corners:
            number += 1
            nodes += f'<node id="{number}" lat="{lat}" lon="{lon}"/>'
        refs = [*range(first, number + 1)] + ([first] if "highway" not in tags else [])
        body += f'<way id="{i}">' + "".join(f'<nd ref="{r}"/>' for r in refs)
        body += "".join(f'<tag k="{k}" v="{v}"/>' for k, v in tags.items()) + "</way>"
    west, south, east, north = BOX
    bounds = f'<bounds minlon="{west}" minlat="{south}" maxlon="{east}" maxlat="{north}"/>'
    path.write_text(f"<osm version='0.6'>{bounds}{nodes}{body}</osm>", encoding="utf-8")
    return path


def _square(lon: float, lat: float, side_m: float) -> list[tuple[float, float]]:
    east, _, _ = GEOD.fwd(lon, lat, 90, side_m)
    _, north, _ = GEOD.fwd(lon, lat, 0, side_m)
    return [(lon, lat), (east, lat), (east, north), (lon, north)]


def _ground(path: Path) -> Ground:
    ground = read_pois(path, basemap=True).attrs["ground"]
    assert isinstance(ground, Ground)
    return ground


def _sums(ground: Ground) -> dict[str, float]:
    return dict(zip(MEASURES, np.bincount(ground.measure, ground.amount, len(MEASURES)), strict=True))


STREET = ([(9.001, 45.005), (9.019, 45.005)], {"highway": "residential"})
HOMES = (_square(9.004, 45.006, 600.0), {"landuse": "residential"})
TOWER = (_square(9.005, 45.007, 40.0), {"building": "office", "building:levels": "10"})


def test_floors_streets_and_land_have_their_closed_forms(tmp_path: Path) -> None:
    house = (_square(9.012, 45.01, 100.0), {"building": "house"})
    hall = (_square(9.006, 45.012, 120.0), {"building": "warehouse", "height": "6.4 m"})
    roof = (_square(9.008, 45.012, 50.0), {"building": "roof"})
    lake = (_square(9.014, 45.014, 200.0), {"natural": "water"})
    sums = _sums(_ground(_file(tmp_path / "a.osm", [STREET, HOMES, TOWER, house, hall, roof, lake])))
    assert sums["building office"] == pytest.approx(40**2 * 10, rel=0.01)
    assert sums["building residential"] == pytest.approx(100**2 * 2, rel=0.01)  # two floors where none are stated
    assert sums["building industrial"] == pytest.approx(120**2 * 2, rel=0.01)  # 6.4 m: two floors of 3.2
    assert sums["building other"] == 0.0
    assert sums["street street"] == pytest.approx(GEOD.line_length(*zip(*STREET[0], strict=True)), rel=0.005)
    assert sums["land residential"] == pytest.approx(600**2, rel=0.01)
    assert sums["land water"] == pytest.approx(200**2, rel=0.01)


def test_an_area_is_shared_among_the_cells_that_it_covers(tmp_path: Path) -> None:
    ground = _ground(_file(tmp_path / "a.osm", [STREET, HOMES, TOWER]))
    cells = grid_cells(grid_over(shapely.box(*BOX), 250.0))
    homes = sum_ground(ground, cells)[:, MEASURES.index("land residential")]
    area = shapely.Polygon(HOMES[0])
    share = shapely.area(shapely.intersection(cells.geometry.to_numpy(), area)) / area.area * 600**2
    assert homes.sum() == pytest.approx(600**2, rel=0.01)
    assert np.abs(homes - share).max() < 250 * 50  # off by no more than a strip of one step along a side
    grid = grid_over(shapely.box(*BOX), 250.0)
    ids = ids_within(grid, shapely.box(*BOX))
    same = sum_in_grid(ground, grid.crs, 250.0, ids)
    order = [cells["cell_id"].tolist().index(i) for i in ids.tolist()]
    assert np.allclose(same, sum_ground(ground, cells)[order])


def test_stations_get_what_lies_within_their_radius(tmp_path: Path) -> None:
    ground = _ground(_file(tmp_path / "a.osm", [STREET, HOMES, TOWER]))
    stations = gpd.GeoDataFrame(geometry=gpd.points_from_xy([9.0052, 9.018], [45.0072, 45.018]), crs=4326)
    stations.attrs["kind"] = "stations"
    near, far = sum_ground(ground, stations, radius_m=150.0)
    assert near[MEASURES.index("building office")] == pytest.approx(40**2 * 10, rel=0.01)
    assert near[MEASURES.index("land residential")] == pytest.approx(np.pi * 150**2, rel=0.15)
    assert not far.any()
    with pytest.raises(ValueError, match="stations need one"):
        sum_ground(ground, stations)


def test_a_file_of_streets_or_of_places_knows_no_buildings(tmp_path: Path) -> None:
    # a filter on places of interest leaves buildings that are places, and little land
    church = (_square(9.012, 45.01, 30.0), {"building": "church", "amenity": "place_of_worship"})
    few = (_square(9.012, 45.012, 20.0), {"landuse": "residential"})
    streets = [([(9.001, 45.0 + i / 1e5), (9.019, 45.0 + i / 1e5)], {"highway": "residential"}) for i in range(400)]
    sums = _sums(_ground(_file(tmp_path / "a.osm", [*streets, church, few])))
    assert {name for name, value in sums.items() if value} == {"street street"}
    empty = read_pois(_file(tmp_path / "b.osm", [church]), basemap=True)
    assert "ground" not in empty.attrs


def test_what_is_known_is_the_file_s_and_not_the_box_s(tmp_path: Path) -> None:
    path = _file(tmp_path / "a.osm", [STREET, HOMES, TOWER])
    whole, far = (
        read_pois(path, shapely.box(*BOX), basemap=box).attrs["ground"] for box in (True, (0.0, 0.0, 1.0, 1.0))
    )
    assert whole.known == far.known
    assert {"building other", "land industrial", "street motorway"} <= set(whole.known)  # known to be none
    assert "land water" not in whole.known


@pytest.mark.parametrize(
    ("tags", "found"),
    [
        ({"building": "apartments", "building:levels": "6"}, ("building residential", 6.0)),
        ({"building": "yes", "building:levels": "many", "height": "32"}, ("building other", 10.0)),
        ({"building": "retail", "building:levels": "-1"}, ("building retail", 1.5)),
        ({"building": "garage"}, None),
        ({"highway": "primary_link"}, ("street main", 1.0)),
        ({"highway": "service"}, None),
        ({"landuse": "retail"}, ("land commercial", 1.0)),
        ({"leisure": "park"}, ("land green", 1.0)),
    ],
)
def test_tags_say_what_counts(tags: dict[str, str], found: tuple[str, float] | None) -> None:
    assert ground_class("w", tags) == found
    assert ground_class("n", tags) is None


def test_pbf_and_a_second_reading_agree_on_a_real_town(shared_data: Path) -> None:
    path = shared_data / "osm" / "monaco.osm.pbf"
    sums = _sums(_ground(path))
    homes = streets = 0.0
    areas = osmium.FileProcessor(path).with_locations().with_areas()
    factory = osmium.geom.WKBFactory()
    for element in areas:
        tags = {tag.k: tag.v for tag in element.tags}
        main = tags.get("highway", "").removesuffix("_link") in ("primary", "secondary", "tertiary")
        if element.is_area() and tags.get("landuse") == "residential":
            shape = shapely.from_wkb(bytes.fromhex(factory.create_multipolygon(element)))
            homes += abs(GEOD.geometry_area_perimeter(shape)[0])
        if element.is_way() and main and tags.get("area") != "yes":
            at = [(node.lon, node.lat) for node in element.nodes if node.location.valid()]
            streets += GEOD.line_length(*zip(*at, strict=True)) if len(at) > 1 else 0.0
    assert sums["land residential"] == pytest.approx(homes, rel=0.02)
    assert sums["street main"] == pytest.approx(streets, rel=0.01)
