"""poi.safety: files that are cut, damaged, foreign, or larger inside than outside end in one line, not in memory."""

import bz2
import gzip
import json
import time
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import poi.safety
from poi.errors import BadFile, PoiError
from poi.osm import extent_of, read_pois
from poi.safety import Limits, check_row_groups

NODE = b'<node id="1" version="1" lat="45" lon="9"><tag k="shop" v="books"/></node>\n'
XML = b'<?xml version="1.0"?>\n<osm version="0.6">\n' + NODE
END = b"</osm>\n"


def refused(path: Path, said: str, limits: Limits | None = None) -> str:
    with pytest.raises(BadFile, match=said) as caught:
        read_pois(path, limits=limits)
    line = str(caught.value)
    assert "\n" not in line
    assert str(path) in line
    assert caught.value.exit_code == 5
    return line


@pytest.mark.parametrize(
    "name",
    ["monaco.osm.pbf", "west-oakland.osm.bz2", "krems.osm.gz", "milan-centre-1km.osm", "trento-centre.overpass.json"],
)
def test_files_cut_anywhere_are_refused(shared_data: Path, tmp_path: Path, name: str) -> None:
    whole = (shared_data / "osm" / name).read_bytes()
    rng = np.random.default_rng(7)
    offsets = {
        0,
        1,
        3,
        4,
        10,
        100,
        len(whole) - 1 - (whole[-1:] == b"\n"),
        *rng.integers(1, len(whole) - 8, 12).tolist(),
    }
    path = tmp_path / name
    for offset in sorted(offsets):
        path.write_bytes(whole[:offset])
        with pytest.raises(BadFile) as caught:
            read_pois(path)
        assert "\n" not in str(caught.value), offset
        with pytest.raises(BadFile):
            extent_of(path)


@pytest.mark.parametrize("name", ["monaco.osm.pbf", "west-oakland.osm.bz2", "krems.osm.gz"])
def test_flipped_bytes_end_in_one_line_or_are_read(shared_data: Path, tmp_path: Path, name: str) -> None:
    """A flipped byte is refused wherever the format has a check; it never ends in a traceback of another kind."""
    whole = bytearray((shared_data / "osm" / name).read_bytes())
    rng = np.random.default_rng(8)
    path, refusals = tmp_path / name, 0
    for offset in rng.integers(0, len(whole), 12):
        damaged = whole.copy()
        damaged[offset] ^= 0xFF
        path.write_bytes(damaged)
        said = ""
        try:
            read_pois(path)
        except PoiError as error:
            said = str(error)
        refusals += bool(said)
        assert "\n" not in said
    assert refusals >= 8


@pytest.mark.parametrize("module", [bz2, gzip])
def test_bombs_of_gigabytes_cost_megabytes(tmp_path: Path, module: object) -> None:
    """Four gigabytes of blanks in kilobytes (bzip2) or megabytes (gzip, which shrinks a thousand times at most)."""
    compress = bz2.compress if module is bz2 else gzip.compress
    path = tmp_path / ("bomb.osm.bz2" if module is bz2 else "bomb.osm.gz")
    path.write_bytes(compress(XML) + compress(b" " * (16 << 20)) * 256 + compress(END))
    assert path.stat().st_size < 5_000_000
    tracemalloc.start()
    start = time.perf_counter()
    cap = max(Limits().slack, 100 * path.stat().st_size)
    refused(path, f"unfolds to more than {cap} bytes")
    assert tracemalloc.get_traced_memory()[1] < 32 << 20
    tracemalloc.stop()
    assert time.perf_counter() - start < 20


def test_the_caps_are_configurable(tmp_path: Path) -> None:
    path = tmp_path / "a.osm.gz"
    path.write_bytes(gzip.compress(XML + b" " * (1 << 20) + END))
    assert len(read_pois(path)) == 1
    refused(path, "unfolds to more than 65536 bytes", Limits(slack=1 << 16, ratio=1))
    refused(path, "more than the cap of 10", Limits(file_bytes=10))
    table = tmp_path / "a.csv"
    table.write_text("lon,lat,key,value\n9,45,shop,books\n")
    refused(table, "for a table or JSON", Limits(text_bytes=10))


def test_a_table_of_too_many_rows(tmp_path: Path) -> None:
    import pandas as pd

    path = tmp_path / "a.parquet"
    pd.DataFrame({"lon": [9.0] * 1000, "lat": 45.0, "key": "shop", "value": "books"}).to_parquet(path)
    refused(path, "1000 rows, more than the cap of 999", Limits(rows=999))
    path.write_bytes(path.read_bytes()[:-9])
    refused(path, "damaged")


@pytest.mark.parametrize("where", [0, 1, 2])
def test_entities_are_refused_wherever_they_stand(tmp_path: Path, where: int) -> None:
    doctype = b'<!DOCTYPE osm [<!ENTITY a "bbbb"><!ENTITY c SYSTEM "file:///etc/passwd">]>'
    declaration, body = XML.split(b"\n", 1)
    if where == 0:
        text = declaration + doctype + body + END
    elif where == 1:  # across the edge of two pieces of reading
        text = (
            declaration
            + b"<!--"
            + b"x" * (poi.safety._PIECE - len(declaration) - 4 - 3 - 5)
            + b"-->"
            + doctype
            + body
            + END
        )
        edge = poi.safety._PIECE
        assert text.index(b"<!DOCTYPE") < edge < text.index(b"<!DOCTYPE") + 9
    else:
        text = declaration + b"\n" + body + doctype + END
    for name, written in (("a.osm", text), ("a.osm.gz", gzip.compress(text)), ("a.osm.bz2", bz2.compress(text))):
        (tmp_path / name).write_bytes(written)
        refused(tmp_path / name, "DOCTYPE")


RELATION = (
    b'<?xml version="1.0"?><osm version="0.6"><relation id="1" version="1"><member type="way" ref="1" role="outer"/>'
    b'<tag k="type" v="multipolygon"/><tag k="building" v="yes"/></relation></osm>'
)


def test_foreign_and_empty_files(tmp_path: Path) -> None:
    cases = {
        "empty.osm": (b"", "is empty"),
        "blank.osm.gz": (gzip.compress(b""), "is empty"),
        "none.osm": (b'<?xml version="1.0"?><osm version="0.6"></osm>', "holds no nodes and no ways"),
        "relations.osm": (RELATION, "holds no nodes and no ways"),
        "twice.osm.gz": (gzip.compress(gzip.compress(XML + END)), "a packed file inside a packed file: unpack it once"),
        "mixed.osm.bz2": (bz2.compress(gzip.compress(XML + END)), "a packed file inside a packed file: unpack it once"),
        "page.osm": (b"<!doctype html><html><body>504 Gateway Time-out</body></html>", "no <osm> element"),
        "utf16.osm": ((XML + END).decode().encode("utf-16"), "UTF-16"),
        "image.osm.pbf": (b"\x89PNG\r\n\x1a\n" + bytes(100), "no column 'lon'|damaged"),
        "change.osm": (b'<?xml version="1.0"?><osmChange version="0.6"></osmChange>', "file of changes"),
        "bad.osm": (XML.replace(b'lat="45"', b'lat="x"') + END, "line 3: could not convert"),
        "list.json": (b"[1, 2]", "not an Overpass answer"),
        "deep.json": (b'{"elements":' + b"[" * 100_000, "damaged"),
        "header.osm.pbf": (b"", ""),
    }
    for name, (content, said) in cases.items():
        if said:
            (tmp_path / name).write_bytes(content)
            refused(tmp_path / name, said)
    refused(tmp_path / "absent.osm", "does not exist")
    refused(tmp_path, "is not a file")


def test_a_pbf_with_a_header_and_no_data(shared_data: Path, tmp_path: Path) -> None:
    whole = (shared_data / "osm" / "monaco.osm.pbf").read_bytes()
    second = whole.index(b"\x0a\x07OSMData") - 4
    path = tmp_path / "a.osm.pbf"
    path.write_bytes(whole[:second])
    refused(path, "holds a header and no data")
    path.write_bytes(whole[: second + 4])
    refused(path, "cut off at byte")
    third = whole.index(b"\x0a\x07OSMData", second + 8) - 4
    path.write_bytes(whole[:third])
    assert any("holds nodes only" in line for line in read_pois(path).attrs["warnings"])


def test_an_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.osm"
    path.write_bytes(XML + END)

    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    refused(path, "cannot be read: Permission denied")


def test_a_pbf_that_claims_more_than_it_may(shared_data: Path, tmp_path: Path) -> None:
    monaco = shared_data / "osm" / "monaco.osm.pbf"
    refused(monaco, "unfolds to more than 1000000 bytes", Limits(unfolded_bytes=1_000_000))
    assert len(read_pois(monaco, limits=Limits(unfolded_bytes=4_000_000, slack=4_000_000))) > 900


def test_json_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    element = {"type": "node", "id": 1, "lat": 45, "lon": 9, "tags": {"shop": "books"}}
    path.write_text(json.dumps({"elements": [element]}), encoding="utf-8-sig")
    assert len(read_pois(path)) == 1


@pytest.mark.parametrize(("groups", "fits"), [((72,), True), ((40, 32), True), ((), False), ((17_179_869_128,), False),
                                              ((73,), False), ((144, -72), False)])  # fmt: skip
def test_a_parquet_file_whose_parts_have_other_rows_is_refused_before_arrow_makes_room(
    groups: tuple[int, ...], fits: bool
) -> None:
    parts = [SimpleNamespace(num_rows=rows) for rows in groups]
    about = SimpleNamespace(num_rows=72, num_row_groups=len(parts), row_group=parts.__getitem__)
    if fits:
        check_row_groups(about, "t.parquet")
        return
    with pytest.raises(BadFile, match=r"t\.parquet is damaged: it says 72 rows, its parts [\d,]+; copy it again"):
        check_row_groups(about, "t.parquet")
