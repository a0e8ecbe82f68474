"""poi.osm, poi.points, poi.overpass: every element once, whatever the format, the order and the state of the file.

The second implementation is pyosmium's own assembly of areas, which the reader does not use.
"""

import collections
import json
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import geopandas as gpd
import numpy as np
import osmium
import pandas as pd
import pytest
import shapely

import poi.extract
import poi.points
from poi.categories import CATEGORIES, KEYS, categorise, category_of
from poi.errors import BadFile
from poi.osm import extent_of, read_pois, read_table

HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n<osm version="0.6" generator="test">\n'


def write_osm(path: Path, *elements: str) -> Path:
    path.write_text(HEAD + "\n".join(elements) + "\n</osm>\n", encoding="utf-8")
    return path


def node(number: int, lon: float, lat: float, **tags: str) -> str:
    inner = "".join(f"<tag k={quoteattr(k)} v={quoteattr(v)}/>" for k, v in tags.items())
    return f'<node id="{number}" version="1" lat="{lat!r}" lon="{lon!r}">{inner}</node>'


def way(number: int, nodes: list[int], **tags: str) -> str:
    inner = "".join(f'<nd ref="{n}"/>' for n in nodes)
    inner += "".join(f"<tag k={quoteattr(k)} v={quoteattr(v)}/>" for k, v in tags.items())
    return f'<way id="{number}" version="1">{inner}</way>'


def relation(number: int, members: list[tuple[int, str]], **tags: str) -> str:
    inner = "".join(f'<member type="way" ref="{ref}" role="{role}"/>' for ref, role in members)
    inner += "".join(f"<tag k={quoteattr(k)} v={quoteattr(v)}/>" for k, v in tags.items())
    return f'<relation id="{number}" version="1">{inner}</relation>'


def points_of(pois: gpd.GeoDataFrame) -> list[tuple[str, str, str, float, float]]:
    """Sorted rows, coordinates to a millionth of a degree."""
    x, y = pois.geometry.x.round(6), pois.geometry.y.round(6)
    return sorted(zip(pois["category"], pois["key"], pois["value"], x, y, strict=True))


@pytest.fixture
def no_echoes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(poi.points, "ECHO_M", {})


# --- against pyosmium's areas -----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_echoes")
@pytest.mark.parametrize("name", ["monaco.osm.pbf", "porto-centre.osm.pbf", "krems.osm.gz", "west-oakland.osm.bz2"])
def test_each_element_is_one_point_inside_its_area(shared_data: Path, name: str) -> None:
    path = shared_data / "osm" / name
    hits: dict[tuple[str, int], tuple[str, str, str]] = {}
    areas: dict[tuple[str, int], Any] = {}
    members: dict[int, set[int]] = {}
    located = {
        w.id
        for w in osmium.FileProcessor(str(path), osmium.osm.NODE | osmium.osm.WAY).with_locations()
        if w.is_way() and any(n.location.valid() for n in w.nodes)
    }
    to_wkb = osmium.geom.WKBFactory()
    stream = osmium.FileProcessor(str(path)).with_areas(osmium.filter.KeyFilter(*KEYS))
    for element in stream.with_filter(osmium.filter.KeyFilter(*KEYS)):
        tags = dict(element.tags)
        hit = categorise(tags)
        if hit is None:
            continue
        kind = element.type_str()
        if kind == "a":
            source = ("w" if element.from_way() else "r", element.orig_id())
            try:
                areas[source] = shapely.from_wkb(bytes.fromhex(to_wkb.create_multipolygon(element)))
            except RuntimeError:
                continue
        elif kind != "r" or tags.get("type") in ("multipolygon", "boundary"):
            hits[kind, element.id] = hit
            if kind == "r":
                members[element.id] = {m.ref for m in element.members if m.type == "w"}
    pois = read_pois(path)
    lost = sum(kind == "w" and number not in located for kind, number in hits)
    lost += sum(not ways & located for ways in members.values())
    expected = collections.Counter(hit for element, hit in hits.items())
    found = collections.Counter(zip(pois["category"], pois["key"], pois["value"], strict=True))
    assert sum(expected.values()) - sum(found.values()) == lost
    assert not found - expected
    assert bool(lost) == any("no coordinates" in line for line in pois.attrs["warnings"])
    assert len(areas) > 30
    # each area holds a point of its own tags
    tree = shapely.STRtree(pois.geometry.to_numpy())
    for element, area in areas.items():
        inside = pois.iloc[tree.query(area, predicate="covers")]
        assert hits[element] in set(zip(inside["category"], inside["key"], inside["value"], strict=True)), element


def test_monaco_has_the_elements_that_its_description_counts(
    shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """data/README.md says 1,381 POI nodes and 320 POI ways: those with one of these six keys."""
    keys = ("amenity", "shop", "tourism", "leisure", "office", "public_transport")
    first = lambda tags: next((("x", k, tags[k]) for k in keys if k in tags), None)  # noqa: E731
    monkeypatch.setattr(poi.extract, "categorise", first)
    tagged = poi.extract.tagged_elements(osmium.io.File(str(shared_data / "osm" / "monaco.osm.pbf")))
    assert collections.Counter(tagged.kind)["n"] == 1381
    assert collections.Counter(tagged.kind)["w"] == 320


# --- formats and orders -----------------------------------------------------------------------------------------------


def test_all_formats_give_the_same_points(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "osm" / "milan-centre-1km.osm"
    reference = read_pois(source)
    assert len(reference) > 100
    hashes = {reference.attrs["sha256"]}
    for suffix in ("osm", "osm.gz", "osm.bz2", "osm.pbf"):
        copy = tmp_path / f"copy.{suffix}"
        with osmium.SimpleWriter(str(copy)) as writer:
            for element in osmium.FileProcessor(str(source)):
                writer.add(element)
        pois = read_pois(copy)
        assert points_of(pois) == points_of(reference), suffix
        hashes.add(pois.attrs["sha256"])
        misnamed = tmp_path / f"{suffix}.dat"
        copy.rename(misnamed)
        assert points_of(read_pois(misnamed)) == points_of(reference), f"{suffix} under another name"
    assert len(hashes) == 5


def test_order_of_elements_does_not_matter(tmp_path: Path) -> None:
    elements = [
        node(7, 9.0, 45.0),
        node(3, 9.01, 45.0),
        node(9, 9.01, 45.01),
        node(1, 9.0, 45.01),
        node(20, 9.02, 45.02, amenity="cafe"),
        way(5, [7, 3, 9, 1, 7], amenity="school"),
        way(4, [7, 3], public_transport="platform"),
        way(11, [7, 3, 9], natural="x"),
        way(12, [9, 1, 7], natural="x"),
        relation(8, [(11, "outer"), (12, "outer")], type="multipolygon", leisure="park"),
    ]
    reference = points_of(read_pois(write_osm(tmp_path / "a.osm", *elements)))
    assert len(reference) == 4
    rng = np.random.default_rng(0)
    for turn in range(5):
        shuffled = [elements[i] for i in rng.permutation(len(elements))]
        assert points_of(read_pois(write_osm(tmp_path / f"{turn}.osm", *shuffled))) == reference


def test_elements_held_twice_and_new_ones_with_negative_ids(tmp_path: Path) -> None:
    elements = [node(-1, 9.0, 45.0), node(-2, 9.02, 45.0), node(-3, 9.0, 45.02), node(-4, 9.5, 45.5, shop="books")]
    elements += [way(-1, [-1, -2, -3, -1], amenity="school")]
    pois = read_pois(write_osm(tmp_path / "a.osm", *elements, *elements))
    assert sorted(pois["category"]) == ["Education", "Shop"]
    school = pois.geometry[pois["category"] == "Education"].iloc[0]
    assert shapely.Polygon([(9.0, 45.0), (9.02, 45.0), (9.0, 45.02)]).contains(school)


# --- geometry by hand -------------------------------------------------------------------------------------------------


def test_shapes_by_hand(tmp_path: Path) -> None:
    square = [node(i, *xy) for i, xy in enumerate([(0, 0), (8, 0), (8, 8), (0, 8)], start=1)]
    hole = [node(i, *xy) for i, xy in enumerate([(1, 1), (7, 1), (7, 7), (1, 7)], start=11)]
    ring = [way(1, [1, 2, 3]), way(2, [3, 4, 1]), way(3, [11, 12, 13, 14, 11])]
    parts = [(1, "outer"), (2, "outer"), (3, "inner")]
    bow = [node(i, *xy) for i, xy in enumerate([(20, 0), (22, 2), (22, 0), (20, 2)], start=21)]
    pois = read_pois(
        write_osm(
            tmp_path / "a.osm",
            *square,
            *hole,
            *bow,
            *ring,
            relation(1, parts, type="multipolygon", leisure="park"),
            relation(2, parts, type="site", amenity="university"),
            relation(3, [(1, "outer"), (99, "outer")], type="multipolygon", amenity="hospital"),
            way(10, [1, 2, 3], public_transport="platform"),
            way(11, [21, 22, 23, 24, 21], amenity="parking"),
            way(12, [1, 2, 77], shop="mall"),
            way(13, [77, 78], shop="books"),
            way(14, [1], craft="tailor"),
        )
    )
    at = dict(zip(pois["value"], pois.geometry, strict=True))
    assert set(at) == {"park", "hospital", "platform", "parking", "mall", "tailor"}
    park = shapely.box(0, 0, 8, 8).difference(shapely.box(1, 1, 7, 7))
    assert park.contains(at["park"]), "a point in the hole is not in the park"
    assert at["platform"].equals(shapely.Point(8, 0)), "the middle of an open way"
    bow_tie = shapely.MultiPolygon(
        [shapely.Polygon([(20, 0), (21, 1), (20, 2)]), shapely.Polygon([(22, 0), (22, 2), (21, 1)])]
    )
    assert bow_tie.covers(at["parking"]), "a crossed outline is mended"
    assert at["mall"].equals(shapely.Point(4, 0)), "the mean of the known corners"
    assert at["hospital"].equals(shapely.Point((0 + 8 + 8) / 3, (0 + 0 + 8) / 3))
    assert at["tailor"].equals(shapely.Point(0, 0))
    assert pois.attrs["warnings"] == ["a.osm: 1 places have no coordinates in the file and are left out"]


def test_an_echo_counts_only_where_nothing_better_is_near(tmp_path: Path) -> None:
    metre = 1 / 111_320
    stop, alone = {"public_transport": "stop_position"}, {"building": "school"}
    pois = read_pois(
        write_osm(
            tmp_path / "a.osm",
            node(1, 0, 0, highway="bus_stop"),
            node(2, 0, 40 * metre, **stop),
            node(3, 0, 60 * metre, **stop),
            node(4, 0, 500 * metre, **stop),
            node(5, 0, 501 * metre, **stop),
            node(6, 0, 0, amenity="school"),
            node(7, 90 * metre, 0, **alone),
            node(8, 120 * metre, 0, **alone),
            node(9, 120 * metre, 0, building="retail"),
        )
    )
    found = collections.Counter(zip(pois["key"], pois["value"], strict=True))
    assert found == {
        ("highway", "bus_stop"): 1,
        ("public_transport", "stop_position"): 3,
        ("amenity", "school"): 1,
        ("building", "school"): 1,
        ("building", "retail"): 1,
    }


def test_boundary_cuts_and_keeps_its_edge(tmp_path: Path) -> None:
    path = write_osm(tmp_path / "a.osm", *(node(i, i, 0, amenity="cafe") for i in range(10)))
    pois = read_pois(path, shapely.box(2, -1, 5, 1))
    assert sorted(pois.geometry.x) == [2, 3, 4, 5]
    assert len(read_pois(path, shapely.box(20, 20, 21, 21))) == 0
    assert read_pois(path).crs.to_epsg() == 4326


# --- metadata ---------------------------------------------------------------------------------------------------------


def test_snapshot_extent_and_hash(shared_data: Path, tmp_path: Path) -> None:
    import hashlib

    monaco = shared_data / "osm" / "monaco.osm.pbf"
    pois = read_pois(monaco)
    assert pois.attrs["snapshot"] == "2023-12-26T21:21:22Z"
    assert pois.attrs["sha256"] == hashlib.sha256(monaco.read_bytes()).hexdigest()
    assert pois.attrs["extent"] == pytest.approx((7.409205, 43.72335, 7.448637, 43.75169))
    assert extent_of(monaco) == pois.attrs["extent"]
    centre = shared_data / "osm" / "milan-centre-1km.osm"
    assert read_pois(centre).attrs["snapshot"] == "2019-02-26T08:22:02Z"  # <meta osm_base>
    assert extent_of(centre) == pytest.approx((9.1923, 45.4579, 9.1989, 45.4626))
    helsinki = read_pois(shared_data / "osm" / "helsinki-centre.osm.pbf")
    assert helsinki.attrs["snapshot"] == "2019-04-21T13:06:55Z"  # the newest element
    trento = shared_data / "osm" / "trento-centre.overpass.json"
    assert read_pois(trento).attrs["snapshot"] == "2026-04-25T14:28:45Z"
    west, south, east, north = extent_of(trento)
    assert (west, south, east, north) == pytest.approx((11.095, 46.050, 11.147, 46.086), abs=1e-3)
    plain = write_osm(tmp_path / "a.osm", node(1, 9.0, 45.0, shop="books"), node(2, 9.5, 44.0))
    assert extent_of(plain) == (9.0, 44.0, 9.5, 45.0)
    assert read_pois(plain).attrs["snapshot"] == "unknown"


# --- Overpass answers -------------------------------------------------------------------------------------------------


def overpass_to_osm(answer: dict[str, Any], path: Path) -> Path:
    """The elements of an answer as OSM XML: the other way to the same points."""
    rows = {"node": {}, "way": {}, "relation": {}}  # type: dict[str, dict[int, str]]
    for e in sorted(answer["elements"], key=lambda e: "tags" in e):
        tags = e.get("tags", {})
        if e["type"] == "node":
            rows["node"][e["id"]] = node(e["id"], e["lon"], e["lat"], **tags)
        elif e["type"] == "way":
            rows["way"][e["id"]] = way(e["id"], e["nodes"], **tags)
        else:
            members = [(m["ref"], m["role"]) for m in e["members"] if m["type"] == "way"]
            rows["relation"][e["id"]] = relation(e["id"], members, **tags)
    return write_osm(path, *(row for kind in rows.values() for row in kind.values()))


def with_inline_geometry(answer: dict[str, Any]) -> dict[str, Any]:
    """What `out geom` returns for the same elements."""
    nodes = {e["id"]: {"lat": e["lat"], "lon": e["lon"]} for e in answer["elements"] if e["type"] == "node"}
    ways = {e["id"]: [nodes.get(n) for n in e["nodes"]] for e in answer["elements"] if e["type"] == "way"}
    elements = []
    for e in answer["elements"]:
        if "tags" not in e:
            continue
        if e["type"] == "way":
            e = {**e, "geometry": ways[e["id"]]}
        elif e["type"] == "relation":
            e = {**e, "members": [{**m, "geometry": ways[m["ref"]]} if m["ref"] in ways else m for m in e["members"]]}
        elements.append(e)
    return {**answer, "elements": elements}


def test_overpass_answer_agrees_with_the_same_elements_as_xml(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "osm" / "trento-centre.overpass.json"
    answer = json.loads(source.read_text(encoding="utf-8"))
    reference = points_of(read_pois(source))
    kinds = collections.Counter(e["type"] for e in answer["elements"] if "tags" in e and categorise(e["tags"]))
    assert kinds["node"] > 100
    assert kinds["way"] > 10
    assert points_of(read_pois(overpass_to_osm(answer, tmp_path / "trento.osm"))) == reference
    inline = tmp_path / "inline.json"
    inline.write_text(json.dumps(with_inline_geometry(answer)), encoding="utf-8")
    assert points_of(read_pois(inline)) == reference
    twice = tmp_path / "twice.json"
    twice.write_text(json.dumps({**answer, "elements": answer["elements"] * 2}), encoding="utf-8")
    assert points_of(read_pois(twice)) == reference


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"remark": 'runtime error: Query timed out in "query" at line 3 after 25 seconds.'}, "timed out"),
        ({"elements": None}, "no list of elements"),
        ({"elements": [{"type": "node", "id": 1, "tags": {"shop": "x"}}]}, "breaks the format"),
        ({"elements": [{"type": "node", "id": 1, "lat": 95, "lon": 9, "tags": {}}]}, "not on earth"),
        ({"elements": [7]}, "breaks the format"),
    ],
)
def test_overpass_answers_that_are_partial_or_foreign(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"version": 0.6, "elements": [], **change}), encoding="utf-8")
    with pytest.raises(BadFile, match=said):
        read_pois(path)


# --- tables -----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_echoes")
def test_milan_table_against_a_loop(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "milan" / "osm_pois.csv"
    rows = pd.read_csv(source).drop_duplicates(["lon", "lat", "key", "value"])
    expected = collections.Counter(
        category for k, v in zip(rows["key"], rows["value"], strict=True) if (category := category_of(k, v))
    )
    pois = read_pois(source)
    assert collections.Counter(pois["category"]) == expected
    assert set(expected) == set(CATEGORIES)
    assert pois.attrs["snapshot"] == "2016-07 to 2025-10"
    assert pois.attrs["warnings"] == ["osm_pois.csv: 1 rows are doubles and count once"]
    pd.read_csv(source).to_parquet(tmp_path / "a.parquet")
    pd.read_csv(source).to_csv(tmp_path / "a.tsv", sep="\t", index=False)
    renamed = pd.read_csv(source).rename(columns={"lon": "Longitude", "lat": "LAT"})[
        ["value", "key", "LAT", "Longitude"]
    ]
    renamed.to_csv(tmp_path / "b.csv", sep=";", index=False, encoding="utf-8-sig")
    for name in ("a.parquet", "a.tsv", "b.csv"):
        assert points_of(read_pois(tmp_path / name)) == points_of(pois), name


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("lon,lat,key\n9,45,shop\n", "no column 'value'"),
        ("a,b\n1,2\n", "no column 'lon'"),
        ("lon,lat,key,value\n", "no rows"),
        ("lon,lat,key,value\n9,45,shop,books\nx,45,shop,books\n", "row 3: lon 'x' is not a number"),
        ("lon,lat,key,value\n9,,shop,books\n", "row 2: lat '' is not a number"),
        ("lon,lat,key,value\n9,nan,shop,books\n", "row 2: lat 'nan' is not a number"),
        ("lon,lat,key,value\n9,45,shop\n", "Expected 4 columns, got 3"),
        ("lon,lat,key,value\n9,45,shop,\n", "row 2: value is missing"),
        ("lon,lat,key,value\n45,121,shop,books\n", "swapped"),
        ("lon,lat,key,value\n9,45,shop,books\n500000,5000000,shop,books\n", "row 3.*not on earth"),
        ('lon,lat,key,value\n9,45,shop,"books\n', "damaged"),
        ("PNG\x00\x01", "no column 'lon'"),
    ],
)
def test_tables_that_are_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BadFile, match=said) as caught:
        read_pois(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_names_that_look_like_missing_values_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("lon,lat,key,value\n9,45,shop,null\n9,45.1,shop,NA\n", encoding="utf-8")
    assert sorted(read_pois(path)["value"]) == ["NA", "null"]
    assert list(read_table(path, ("key",))) == ["lon", "lat", "key"]
