"""poi.basemap: what a map shows beneath the numbers, against closed forms and a second reading of real extracts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import osmium
import pyproj
import pytest
import shapely

from poi.basemap import CLASSES, NAMES, cut, map_class, unpacked
from poi.elements import BaseMap
from poi.osm import read_pois

GEOD = pyproj.Geod(ellps="WGS84")
PARK = '<tag k="leisure" v="park"/>'
COAST = '<tag k="natural" v="coastline"/>'


def _osm(path: Path, points: dict[int, tuple[float, float]], body: str) -> Path:
    nodes = "".join(f'<node id="{i}" lat="{lat}" lon="{lon}"/>' for i, (lon, lat) in points.items())
    path.write_text(f"<osm version='0.6'>{nodes}{body}</osm>", encoding="utf-8")
    return path


def _way(number: int, refs: list[int], tags: str) -> str:
    return f'<way id="{number}">{"".join(f"<nd ref={chr(34)}{r}{chr(34)}/>" for r in refs)}{tags}</way>'


def _map(path: Path, box: tuple[float, float, float, float] | None = None) -> BaseMap:
    pois = read_pois(path, None if box is None else shapely.box(*box), basemap=True)
    base: BaseMap = pois.attrs["basemap"]
    found = base if box is None else cut(base, box)
    assert found is not None
    return found


def _area_m2(shapes: np.ndarray) -> float:
    return sum(abs(GEOD.geometry_area_perimeter(part)[0]) for part in shapely.get_parts(shapes))


def test_a_street_is_its_corners_and_ways_are_joined(tmp_path: Path) -> None:
    # 5 km east along 45 N in 100 steps that leave the line by 1 m, as two ways; then 1 km north
    points = {i: (9.0 + 0.000634 * i, 45.0 + 0.000009 * (i % 2)) for i in range(1, 101)}
    points[101] = (points[100][0], 45.009)
    street = '<tag k="highway" v="residential"/>'
    body = _way(1, list(range(1, 51)), street) + _way(2, list(range(50, 102)), street)
    base = _map(_osm(tmp_path / "a.osm", points, body))
    assert [CLASSES[k] for k in base.kind] == ["street"]
    assert base.size.tolist() == [3]
    corners = base.at * 1e-5
    expected = [points[1], points[100], points[101]]
    if np.abs(corners[0] - expected[0]).max() > 1e-4:
        expected = expected[::-1]
    assert np.abs(corners - expected).max() < 1.5e-5


def test_a_park_has_its_hole_and_twins_count_once(tmp_path: Path) -> None:
    square = {1: (9.0, 45.0), 2: (9.01, 45.0), 3: (9.01, 45.01), 4: (9.0, 45.01)}
    inner = {5: (9.004, 45.004), 6: (9.006, 45.004), 7: (9.006, 45.006), 8: (9.004, 45.006)}
    relation = f'<relation id="9"><member type="way" ref="1" role="outer"/><member type="way" ref="2" role="inner"/>' \
               f'<tag k="type" v="multipolygon"/>{PARK}</relation>'  # fmt: skip
    ways = _way(1, [1, 2, 3, 4, 1], "") + _way(2, [5, 6, 7, 8, 5], "")
    base = _map(_osm(tmp_path / "a.osm", square | inner, ways + relation + relation))
    assert [CLASSES[k] for k in base.kind] == ["park", "park"]
    whole = _area_m2(np.array([shapely.box(9.0, 45.0, 9.01, 45.01)]))
    hole = _area_m2(np.array([shapely.box(9.004, 45.004, 9.006, 45.006)]))
    assert _area_m2(unpacked(base)["park"]) == pytest.approx(whole - hole, rel=1e-3)
    # nonzero rule: the rings run against each other
    rings = np.split(base.at, np.cumsum(base.size)[:-1])
    assert [bool(shapely.is_ccw(shapely.LinearRing(ring))) for ring in rings] == [False, True]


def test_the_sea_lies_to_the_right_of_the_coast(tmp_path: Path) -> None:
    box = (9.0, 45.0, 9.1, 45.1)
    west_to_east = {1: (8.9, 45.06), 2: (9.2, 45.06)}
    island = {3: (9.04, 45.02), 4: (9.06, 45.02), 5: (9.06, 45.04), 6: (9.04, 45.04)}  # land to the left: anticlockwise
    body = _way(1, [1, 2], COAST) + _way(2, [3, 4, 5, 6, 3], COAST)
    sea = unpacked(_map(_osm(tmp_path / "a.osm", west_to_east | island, body), box))["sea"]
    south = _area_m2(np.array([shapely.box(9.0, 45.0, 9.1, 45.06)]))
    assert _area_m2(sea) == pytest.approx(south - _area_m2(np.array([shapely.box(9.04, 45.02, 9.06, 45.04)])), rel=2e-3)
    # a coast that the extract cuts off within the box goes straight on
    short = {1: (9.03, 45.06), 2: (9.07, 45.06)}
    sea = unpacked(_map(_osm(tmp_path / "b.osm", short, _way(1, [2, 1], COAST)), box))["sea"]
    north = _area_m2(np.array([shapely.box(9.0, 45.06, 9.1, 45.1)]))
    assert _area_m2(sea) == pytest.approx(north, rel=2e-3)


@pytest.mark.parametrize(
    ("kind", "tags", "expected"),
    [
        ("w", {"highway": "trunk_link"}, "motorway"),
        ("w", {"highway": "footway"}, None),
        ("w", {"highway": "pedestrian", "area": "yes"}, None),
        ("w", {"railway": "rail"}, "rail"),
        ("w", {"railway": "rail", "service": "yard"}, None),
        ("w", {"railway": "rail", "tunnel": "yes"}, None),
        ("w", {"railway": "rail", "tunnel": "no"}, "rail"),
        ("r", {"type": "multipolygon", "natural": "water"}, "water"),
        ("r", {"type": "route", "railway": "rail"}, None),
        ("n", {"place": "borough", "name": "Municipio 3"}, "suburb"),
        ("n", {"place": "town"}, None),
    ],
)
def test_classes(kind: str, tags: dict[str, str], expected: str | None) -> None:
    assert map_class(kind, tags) == expected


def test_main_roads_of_monaco_are_as_long_as_osmium_reads_them(shared_data: Path) -> None:
    path = shared_data / "osm" / "monaco.osm.pbf"
    length, names = 0.0, set[str]()
    for element in osmium.FileProcessor(str(path)).with_locations():
        if element.is_way() and element.tags.get("highway", "").removesuffix("_link") in ("primary", "secondary",
                                                                                          "tertiary"):  # fmt: skip
            at = [(n.location.lon, n.location.lat) for n in element.nodes if n.location.valid()]
            length += GEOD.line_length(*np.array(at).T) if len(at) > 1 else 0.0
        elif element.is_node() and element.tags.get("place") == "suburb" and "name" in element.tags:
            names.add(element.tags["name"])
    base = _map(path)
    mine = sum(GEOD.line_length(*shapely.get_coordinates(line).T) for line in unpacked(base)["main"])
    assert mine == pytest.approx(length, rel=0.02)
    suburbs = {n for n, k in zip(base.name, base.name_kind, strict=True) if NAMES[k] == "suburb"}
    assert names <= suburbs


@pytest.mark.slow
def test_a_box_of_a_pbf_gives_what_the_whole_gives_there(shared_data: Path) -> None:
    path, box = shared_data / "osm" / "liechtenstein.osm.pbf", (9.50, 47.12, 9.55, 47.16)
    whole = cut(read_pois(path, basemap=True).attrs["basemap"], box)
    part = _map(path, box)
    assert whole is not None
    for name in ("main", "street"):
        lengths = [sum(GEOD.line_length(*shapely.get_coordinates(line).T) for line in unpacked(base)[name])
                   for base in (part, whole)]  # fmt: skip
        assert lengths[0] == pytest.approx(lengths[1], rel=0.03)
    for base in (part, whole):
        assert base.at[:, 0].min() >= 950_000 - 1
        assert base.at[:, 0].max() <= 955_000 + 1
    forest = [_area_m2(unpacked(base)["park"]) for base in (part, whole)]
    assert forest[0] == pytest.approx(forest[1], rel=0.03)


def test_a_map_is_thinned_to_its_budget(shared_data: Path) -> None:
    pois = read_pois(shared_data / "osm" / "monaco.osm.pbf", basemap=True)
    box = pois.attrs["extent"]
    full = cut(pois.attrs["basemap"], box)
    thin = cut(pois.attrs["basemap"], box, most=len(full.at) // 2)
    assert len(thin.at) <= len(full.at) // 2
    assert thin.name == full.name


def test_a_table_of_pois_has_no_map(tmp_path: Path) -> None:
    (tmp_path / "pois.csv").write_text("lon,lat,key,value\n9.19,45.46,shop,mall\n")
    assert "basemap" not in read_pois(tmp_path / "pois.csv", basemap=True).attrs


def test_torn_shapes_cost_the_map_and_not_the_file(tmp_path: Path) -> None:
    """Random rings, crossed, doubled, with one point or unknown nodes, as ways and as members of relations."""
    rng = np.random.default_rng(0)
    points = {i: (9.0 + 0.01 * rng.random(), 45.0 + 0.01 * rng.random()) for i in range(1, 60)}
    tags = (PARK, COAST, '<tag k="natural" v="water"/>', '<tag k="highway" v="primary"/>', "")
    body = '<node id="99" lat="45.005" lon="9.005"><tag k="amenity" v="school"/></node>'
    for number in range(1, 200):
        refs = rng.integers(1, 70, rng.integers(1, 9)).tolist()
        body += _way(number, refs + refs[:1] * int(rng.integers(0, 3)), str(rng.choice(tags)))
    for number in range(1, 60):
        members = "".join(f'<member type="way" ref="{r}" role="outer"/>' for r in rng.integers(1, 220, 4))
        body += f'<relation id="{number}">{members}<tag k="type" v="multipolygon"/>{rng.choice(tags[:3])}</relation>'
    pois = read_pois(_osm(tmp_path / "a.osm", points, body), basemap=True)
    assert "Education" in set(pois["category"])
    base = pois.attrs["basemap"]
    assert base.size.sum() == len(base.at)
    part = cut(base, (9.002, 45.002, 9.008, 45.008))
    assert part is not None
    assert part.at.min(axis=0).tolist() >= [900_199, 4_500_199]
