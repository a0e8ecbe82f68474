"""poi.pbf and poi.extract: no bytes of a PBF end the process, and what is whole is read, however it is packed."""

import lzma
import time
import zlib
from pathlib import Path

import numpy as np
import pbf_builder as pb
import pyarrow as pa
import pytest

import poi.extract
from poi.errors import BadFile
from poi.osm import extent_of, read_pois
from poi.pbf import _varints, _zigzag

STRINGS = [b"amenity", b"school", b"shop", b"books", b"type", b"multipolygon", b"outer"]
LAT, LON = [437330000, 437330000, 437335000, 437335000], [74120000, 74125000, 74125000, 74120000]
NODES = pb.dense([1, 2, 3, 4], LAT, LON, [])
RING = [1, 2, 3, 4, 1]
CLOSED = ([*LAT, LAT[0]], [*LON, LON[0]])
SCHOOL = pb.way(10, RING, [1], [2])
BOOKS = pb.dense([9], [437350000], [74200000], [3, 4, 0])
AREA = pb.relation(20, [5, 3], [6, 4], [(7, 10, 1)])


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def rows(path: Path) -> list[tuple[str, float, float]]:
    pois = read_pois(path)
    return sorted(zip(pois["category"], pois.geometry.x, pois.geometry.y, strict=True))


def whole() -> bytes:
    return pb.pbf(pb.block(STRINGS, NODES, BOOKS), pb.block(STRINGS, SCHOOL), pb.block(STRINGS, AREA))


def test_what_the_builder_writes_is_read(tmp_path: Path) -> None:
    path = written(tmp_path / "a.osm.pbf", whole())
    found = rows(path)
    assert [category for category, _, _ in found] == ["Education", "Shop", "Shop"]
    assert found[0][1:] == pytest.approx((7.41225, 43.73325), abs=3e-4)
    assert found[2][1:] == (7.42, 43.735)
    assert extent_of(path) == (7.412, 43.733, 7.42, 43.735)


@pytest.mark.parametrize(
    ("said", "blocks"),
    [
        ("string 8 of 8", [pb.block(STRINGS, pb.dense([9], [1], [1], [8, 4, 0]))]),
        ("string 8 of 8", [pb.block(STRINGS, NODES, pb.way(10, RING, [1], [8]))]),
        ("string 4000000000 of 8", [pb.block(STRINGS, pb.way(10, RING, [4_000_000_000], [2]))]),
        ("string 9 of 8", [pb.block(STRINGS, pb.relation(20, [5, 9], [6, 4], [(7, 10, 1)]))]),
        ("string 9 of 8", [pb.block(STRINGS, pb.relation(20, [5, 3], [6, 4], [(9, 10, 1)]))]),
        ("user's name", [pb.block(STRINGS, pb.way(10, RING, [1], [2], more=pb.message(4, pb.number(5, 99))))]),
        ("user's name", [pb.block(STRINGS, pb.dense([9], [1], [1], [], pb.message(5, pb.deltas(5, [99]))))]),
        ("neither node, way", [pb.block(STRINGS, pb.relation(20, [5, 3], [6, 4], [(7, 10, 5)]))]),
        ("differ in length", [pb.block(STRINGS, pb.way(10, RING, [1, 3], [2]))]),
        ("differ in length", [pb.block(STRINGS, pb.dense([1, 2], [1], [1, 2], []))]),
        ("differ in length", [pb.block(STRINGS, pb.way(10, RING, [1], [2], (LAT, LON)))]),
        ("no text", [pb.block([*STRINGS[:1], b"sch\0ool", *STRINGS[2:]], NODES, SCHOOL)]),
        ("not UTF-8", [pb.block([*STRINGS[:1], b"sch\xff", *STRINGS[2:]], NODES, SCHOOL)]),
        ("no table of strings", [SCHOOL]),
        ("ends within a field", [pb.block(STRINGS, NODES)[:-7]]),
        ("granularity of 0", [pb.block(STRINGS, BOOKS, more=pb.number(17, 0))]),
        ("granularity of -100", [pb.block(STRINGS, BOOKS, more=pb.number(17, -100))]),
        ("lon 742.*granularity is 10000", [pb.block(STRINGS, BOOKS, more=pb.number(17, 10_000))]),
        ("offset of lon 200", [pb.block(STRINGS, BOOKS, more=pb.number(20, 200 * 10**9))]),
        ("lon 187.42", [pb.block(STRINGS, BOOKS, more=pb.number(20, 180 * 10**9))]),
        ("lat 93.735", [pb.block(STRINGS, BOOKS, more=pb.number(19, 50 * 10**9))]),
        ("offset of lon 0, lat -900", [pb.block(STRINGS, BOOKS, more=pb.number(19, -900 * 10**9))]),
        ("lon 300", [pb.block(STRINGS, pb.dense([9], [0], [3_000_000_000], [3, 4, 0]))]),
        ("lon 300", [pb.block(STRINGS, pb.way(1, [9], [1], [2], ([0], [3_000_000_000])))]),
        ("more than the cap", [pb.block(STRINGS, pb.way(1, list(range(200_001)), [1], [2]))]),
        ("more than 200000 elements", [pb.block(STRINGS, pb.message(2, pb.message(3, b"") * 200_001))]),
    ],
)  # fmt: skip
def test_what_breaks_the_format_is_refused_in_one_line(tmp_path: Path, said: str, blocks: list[bytes]) -> None:
    path = written(tmp_path / "a.osm.pbf", pb.pbf(*blocks))
    with pytest.raises(BadFile, match=said) as caught:
        read_pois(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 5


def test_coarse_granularity_and_offsets_on_earth_are_read(tmp_path: Path) -> None:
    """Lat 43.735, lon 7.42 in steps of 1e-5 degrees from an origin of 40, 7."""
    group = pb.dense([9], [373500], [42000], [3, 4, 0])
    more = pb.number(17, 10_000) + pb.number(19, 40 * 10**9) + pb.number(20, 7 * 10**9)
    path = written(tmp_path / "a.osm.pbf", pb.pbf(pb.block(STRINGS, group, more=more)))
    assert rows(path) == [("Shop", 7.42, 43.735)]


@pytest.mark.parametrize("codec", ["none", "lzma", "lz4", "zstd"])
def test_blobs_packed_in_any_way_give_the_same_points(tmp_path: Path, codec: str) -> None:
    def by_arrow(name: str):  # type: ignore[no-untyped-def]
        return lambda data: pa.Codec(name).compress(data, asbytes=True)

    pack, field = {
        "none": (bytes, 1),
        "lzma": (lambda data: lzma.compress(data, format=lzma.FORMAT_ALONE), 4),
        "lz4": (by_arrow("lz4_raw"), 6),
        "zstd": (by_arrow("zstd"), 7),
    }[codec]
    blocks = [pb.block(STRINGS, NODES, BOOKS), pb.block(STRINGS, SCHOOL), pb.block(STRINGS, AREA)]
    path = written(tmp_path / "a.osm.pbf", pb.pbf(*blocks, pack=pack, field=field))
    assert rows(path) == rows(written(tmp_path / "b.osm.pbf", whole()))


def test_a_blob_that_unfolds_to_more_than_it_says(tmp_path: Path) -> None:
    content = pb.block(STRINGS, BOOKS)
    short = pb.number(2, len(content) - 1) + pb.message(3, zlib.compress(content))
    head = pb.message(1, b"OSMData") + pb.number(3, len(short))
    path = written(tmp_path / "a.osm.pbf", pb.pbf() + len(head).to_bytes(4, "big") + head + short)
    with pytest.raises(BadFile, match="does not unfold"):
        read_pois(path)


def test_places_on_ways_stand_for_the_nodes_that_are_dropped(tmp_path: Path) -> None:
    """As `osmium add-locations-to-ways` writes it: no untagged nodes, lat and lon in the ways."""
    full = written(tmp_path / "full.osm.pbf", whole())
    school = pb.way(10, RING, [1], [2], CLOSED)
    blocks = [pb.block(STRINGS, BOOKS), pb.block(STRINGS, school), pb.block(STRINGS, AREA)]
    low = written(tmp_path / "low.osm.pbf", pb.pbf(*blocks, optional=[b"LocationsOnWays"]))
    assert rows(low) == rows(full)
    assert not read_pois(low).attrs["warnings"]


def test_a_file_that_holds_places_on_some_of_its_ways(tmp_path: Path) -> None:
    second = pb.way(11, RING, [3], [4])
    blocks = [pb.block(STRINGS, NODES), pb.block(STRINGS, pb.way(10, RING, [1], [2], CLOSED), second)]
    found = rows(written(tmp_path / "a.osm.pbf", pb.pbf(*blocks)))
    assert [category for category, _, _ in found] == ["Education", "Shop"]
    assert found[0][1:] == pytest.approx(found[1][1:], abs=1e-7)


def test_a_reader_that_dies_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "a.osm.pbf", whole())
    for what, said in (("os.kill(os.getpid(), 11)", "signal 11"), ("os._exit(3)", "exit 3"), ("None", "exit 0")):
        monkeypatch.setattr(poi.extract, "_CHILD", f"import os; {what}; {{path}}")
        with pytest.raises(BadFile, match=said):
            read_pois(path)


def test_random_bytes_within_a_block_are_refused_or_read(tmp_path: Path) -> None:
    """Damage behind the checksum of zlib: every byte may be anything, and none ends the process or hangs it."""
    rng = np.random.default_rng(3)
    blocks = [pb.block(STRINGS, NODES, BOOKS), pb.block(STRINGS, SCHOOL, AREA)]
    refusals, said = 0, ""
    for turn in range(15):
        damaged = [bytearray(b) for b in blocks]
        for part in damaged:
            for at in rng.integers(0, len(part), 2):
                part[at] = rng.integers(0, 256)
        path = written(tmp_path / f"{turn}.osm.pbf", pb.pbf(*map(bytes, damaged)))
        start = time.perf_counter()
        try:
            read_pois(path)
        except BadFile as error:
            refusals += 1
            said += str(error)
        assert time.perf_counter() - start < 10
    assert refusals > 4
    assert "broke off" not in said, "what is checked first does not end the child either"


def test_varints_against_python() -> None:
    rng = np.random.default_rng(0)
    numbers = [int(n) for n in rng.integers(0, 2**63, 200) >> rng.integers(0, 63, 200)] + [0, 127, 128, 2**64 - 1]
    got = _varints(b"".join(map(pb.varint, numbers)))
    assert got.tolist() == numbers
    signed = [0, -1, 1, -(2**63), 2**63 - 1, 12345]
    assert _zigzag(np.array([pb.zigzag(n) for n in signed], dtype=np.uint64)).tolist() == signed
