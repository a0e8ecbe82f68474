"""Maps and tables of places as people have them: several versions, answers that broke off, other encodings."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from poi.errors import BadFile
from poi.osm import read_pois

CAFE = '<tag k="amenity" v="cafe"/>'


def osm(*elements: str) -> str:
    return f'<osm version="0.6">{"".join(elements)}</osm>'


def node(number: int, lat: float, more: str = "", tags: str = CAFE) -> str:
    return f'<node id="{number}" lat="{lat}" lon="7.41" {more}>{tags}</node>'


def latitudes(folder: Path, text: str | bytes, name: str = "x.osm") -> list[float]:
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return sorted(float(lat) for lat in read_pois(folder / name).geometry.y)


@pytest.mark.parametrize("turn", [1, -1])
def test_the_newest_version_of_an_element_counts(tmp_path: Path, turn: int) -> None:
    versions = [node(1, 43.73, 'version="1"'), node(1, 43.80, 'version="2"')][::turn]
    assert latitudes(tmp_path, osm(*versions)) == [43.80]
    elements = [
        {"type": "node", "id": 1, "lat": lat, "lon": 7.41, "version": v, "tags": {"amenity": kind}}
        for lat, v, kind in ((43.73, 1, "cafe"), (43.80, 2, "fuel"))
    ][::turn]
    answer = json.dumps({"elements": elements})
    assert latitudes(tmp_path, answer, "x.json") == [43.80]
    assert read_pois(tmp_path / "x.json")["value"].tolist() == ["fuel"]


def test_what_a_later_version_deletes_or_renames_is_gone(tmp_path: Path) -> None:
    deleted = '<node id="1" version="2" visible="false"/>'
    assert latitudes(tmp_path, osm(node(1, 43.73, 'version="1"'), deleted, node(2, 43.74))) == [43.74]
    bare = node(1, 43.73, 'version="2"', tags="")
    assert latitudes(tmp_path, osm(node(1, 43.73, 'version="1"'), bare, node(2, 43.74))) == [43.74]
    assert latitudes(tmp_path, osm(node(1, 43.73, 'version="3"'), deleted)) == [43.73]


def test_an_answer_in_xml_that_broke_off_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="is partial: the server remarks"):
        latitudes(tmp_path, osm("<remark> runtime error: Query timed out </remark>", node(1, 43.73)))


TABLE = "lon,lat,key,value\n7.41,43.73,shop,bäckerei\n7.42,43.74,amenity,cafe\n"


@pytest.mark.parametrize(
    "text",
    [
        TABLE.encode("latin-1"),
        TABLE.replace(",", "|"),
        TABLE.replace(",", ";").replace(".", ","),
        "# (c) OpenStreetMap contributors\n" + TABLE,
        "sep=;\n" + TABLE.replace(",", ";"),
        TABLE.replace("lon,lat", '"@lon","@lat"'),
        TABLE.replace("\n", "\r\n"),
    ],
    ids=["latin-1", "bars", "decimal commas", "comment", "sep", "overpass", "crlf"],
)
def test_tables_of_places_in_other_forms(tmp_path: Path, text: str | bytes) -> None:
    np.testing.assert_allclose(latitudes(tmp_path, text, "x.csv"), [43.73, 43.74])
    assert "bäckerei" in read_pois(tmp_path / "x.csv")["value"].tolist()


def test_a_row_with_more_fields_than_names_is_refused(tmp_path: Path) -> None:
    shifted = "lon,lat,name,key,value\n7.41,43.73,Bar, Food,amenity,cafe\n"  # the name's comma needs quotes
    with pytest.raises(BadFile, match="Expected 5 columns, got 6"):
        latitudes(tmp_path, shifted, "x.csv")
    with pytest.raises(BadFile, match=r"row 4: lat '43°44' is not a number"):
        latitudes(tmp_path, "# comment\n" + TABLE.replace("43.74", "43°44"), "x.csv")


def test_a_packed_table_is_named(tmp_path: Path) -> None:
    for text in (TABLE, json.dumps({"elements": []})):
        with pytest.raises(BadFile, match=r"holds a packed table or JSON.*unpack it"):
            latitudes(tmp_path, gzip.compress(text.encode()), "x.gz")
