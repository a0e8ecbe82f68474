"""poi.osm_xml: XML as Overpass and JOSM write it, and maps on both sides of the 180th meridian."""

import json
from pathlib import Path

import pytest

from poi.errors import BadFile
from poi.osm import extent_of, read_pois

NODES = "".join(
    f'<node id="{i}" lat="{lat}" lon="{lon}"/>'
    for i, (lon, lat) in enumerate([(9.0, 45.0), (9.01, 45.0), (9.01, 45.01), (9.0, 45.01)], start=1)
)
RING = '<nd ref="1"/><nd ref="2"/><nd ref="3"/><nd ref="4"/><nd ref="1"/>'
AREA = '<tag k="type" v="multipolygon"/>'
SCHOOL = '<tag k="amenity" v="school"/>'


def osm(path: Path, body: str) -> Path:
    path.write_text(f"<?xml version='1.0' encoding='UTF-8'?>\n<osm version='0.6'>\n{body}\n</osm>\n", encoding="utf-8")
    return path


def points(path: Path) -> list[tuple[str, float, float]]:
    pois = read_pois(path)
    return sorted(zip(pois["category"], pois.geometry.x.round(6), pois.geometry.y.round(6), strict=True))


def test_out_center_gives_the_centre_of_ways_and_relations(tmp_path: Path) -> None:
    body = (
        '<note>text</note><meta osm_base="2024-03-01T00:00:00Z"/>'
        f'<way id="10"><center lat="45.5" lon="9.5"/><nd ref="77"/><nd ref="78"/><nd ref="77"/>{SCHOOL}</way>'
        '<relation id="11"><center lat="45.6" lon="9.6"/><member type="way" ref="10" role="outer"/>'
        '<tag k="type" v="multipolygon"/><tag k="shop" v="mall"/></relation>'
    )
    path = osm(tmp_path / "a.osm", body)
    assert points(path) == [("Education", 9.5, 45.5), ("Shop", 9.6, 45.6)]
    assert read_pois(path).attrs["snapshot"] == "2024-03-01T00:00:00Z"
    assert extent_of(path) == (9.5, 45.5, 9.6, 45.6)


def test_out_geom_gives_the_points_that_the_nodes_give(tmp_path: Path) -> None:
    inline = "".join(
        f'<nd ref="{i}" lat="{lat}" lon="{lon}"/>'
        for i, lat, lon in [(1, 45.0, 9.0), (2, 45.0, 9.01), (3, 45.01, 9.01), (4, 45.01, 9.0), (1, 45.0, 9.0)]
    )
    bounds = '<bounds minlat="45" minlon="9" maxlat="45.01" maxlon="9.01"/>'
    area = '<tag k="type" v="multipolygon"/><tag k="leisure" v="park"/>'
    nodes = osm(
        tmp_path / "nodes.osm",
        f'{NODES}<way id="10">{RING}{SCHOOL}</way><relation id="11"><member type="way" ref="10" role="outer"/>'
        f"{area}</relation>",
    )
    geom = osm(
        tmp_path / "geom.osm",
        f'<way id="10">{bounds}{inline}{SCHOOL}</way>'
        f'<relation id="11">{bounds}<member type="way" ref="10" role="outer">{inline.replace("ref", "x")}</member>'
        f"{area}</relation>",
    )
    assert points(geom) == points(nodes)
    assert len(points(nodes)) == 2


@pytest.mark.parametrize("mark", ["action='delete'", 'action="delete"', 'visible="false"'])
def test_what_is_marked_as_deleted_is_left_out(tmp_path: Path, mark: str) -> None:
    body = (
        f'<node id="-1" action="modify" lat="45" lon="9"><tag k="shop" v="books"/></node>'
        f'<node id="2" {mark} visible="true" lat="45" lon="9.1"><tag k="shop" v="mall"/></node>'.replace(
            'visible="false" visible="true"', 'visible="false"'
        )
        + f'{NODES}<way id="3" {mark}>{RING}{SCHOOL}</way>'
        f'<relation id="4" {mark}><member type="way" ref="3" role=""/>{AREA}{SCHOOL}</relation>'
    )
    path = osm(tmp_path / "a.osm", body)
    assert points(path) == [("Shop", 9.0, 45.0)]
    assert any("marks 3 elements as deleted" in line for line in read_pois(path).attrs["warnings"])


def test_a_node_that_is_deleted_is_a_corner_no_more(tmp_path: Path) -> None:
    gone = NODES.replace('<node id="2"', '<node id="2" action="delete"')
    ((_, lon, lat),) = points(osm(tmp_path / "a.osm", f'{gone}<way id="3">{RING}{SCHOOL}</way>'))
    assert (lon, lat) == pytest.approx(((9.0 + 9.01 + 9.0 + 9.0) / 4, (45.0 + 45.01 + 45.01 + 45.0) / 4))


@pytest.mark.parametrize("shape", ["way", "line", "relation"])
def test_outlines_across_the_180th_meridian_lie_where_they_are(tmp_path: Path, shape: str) -> None:
    corners = [(179.9, -16.80), (-179.7, -16.80), (-179.7, -16.81), (179.9, -16.81)]
    nodes = "".join(f'<node id="{i}" lat="{y}" lon="{x}"/>' for i, (x, y) in enumerate(corners, start=1))
    ring = RING if shape != "line" else '<nd ref="1"/><nd ref="2"/>'
    tags = "" if shape == "relation" else SCHOOL
    body = f'{nodes}<way id="10">{ring}{tags}</way>'
    if shape == "relation":
        body += f'<relation id="2"><member type="way" ref="10" role="outer"/>{AREA}{SCHOOL}</relation>'
    ((_, lon, lat),) = points(osm(tmp_path / "a.osm", body))
    assert -180 <= lon <= -179.85  # the middle is 180.1 east
    assert lon == pytest.approx(-179.9, abs=0.05)
    assert -16.81 <= lat <= -16.80


def test_what_is_wrong_is_said_with_its_line(tmp_path: Path) -> None:
    for body, said in (
        ('<node id="x" lat="1" lon="2"/>', "line 3: invalid literal"),
        ('<node id="1" lat="91" lon="2"/>', "line 3: lon 2, lat 91 is not on earth"),
        ('<node id="1" lat="nan" lon="2"/>', "line 3: lon 2, lat nan is not on earth"),
        ('<node id="1" lat="1"/>', "line 3: an element has no attribute 'lon'"),
        (f'<node id="{2**63}" lat="1" lon="2"/>', "line 3: id 9223372036854775808"),
        ('<way id="1"><nd ref="1e999"/></way>', "line 3: invalid literal"),
        ('<way id="1"><node id="2" lat="1" lon="1"/></way>', "a node within a way"),
        ('<action type="delete"><old/></action>', "holds changes"),
        ('<bounds minlat="x" minlon="1" maxlat="2" maxlon="2"/>', "line 3: could not convert"),
        ("<way id='1'>", "mismatched tag"),
    ):
        with pytest.raises(BadFile, match=said):
            read_pois(osm(tmp_path / "a.osm", body))


def test_several_bounds_are_one_box(tmp_path: Path) -> None:
    body = '<bounds minlat="45" minlon="9" maxlat="46" maxlon="10"/>'
    body += '<bounds minlat="44" minlon="9.5" maxlat="45" maxlon="11"/>'
    path = osm(tmp_path / "a.osm", body + '<node id="1" lat="0" lon="0"/>')
    assert extent_of(path) == (9, 44, 11, 46)


def test_out_bb_gives_the_middle_of_the_box(tmp_path: Path) -> None:
    """In XML and JSON; a box across the 180th meridian has its middle there."""
    boxes = [
        (9.0, 45.0, 9.02, 45.01, 9.01),
        (179.99, -17.0, -179.97, -16.99, -179.99),
        (179.97, -17.0, -179.99, -16.99, 179.99),
    ]
    sides = ("minlon", "minlat", "maxlon", "maxlat")
    body, elements = "", []
    for number, box in enumerate(boxes, start=1):
        said = dict(zip(sides, box[:4], strict=True))
        inside = "".join(f' {side}="{degrees}"' for side, degrees in said.items())
        body += f'<way id="{number}"><bounds{inside}/><nd ref="77"/><nd ref="78"/>{SCHOOL}</way>'
        elements.append({"type": "way", "id": number, "bounds": said, "nodes": [77, 78], "tags": {"amenity": "school"}})
    (tmp_path / "a.json").write_text(json.dumps({"elements": elements}))
    wanted = sorted(("Education", box[4], round((box[1] + box[3]) / 2, 6)) for box in boxes)
    assert points(osm(tmp_path / "a.osm", body)) == wanted
    assert points(tmp_path / "a.json") == wanted
    with pytest.raises(BadFile, match="not on earth"):
        read_pois(osm(tmp_path / "b.osm", body.replace('"45.01"', '"145.01"')))
