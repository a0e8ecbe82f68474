"""poi.locations: every node where pyosmium's own index has it, in memory that the nodes nobody asks for do not fill."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import osmium
import pytest

import poi.locations
from poi.locations import locations
from poi.osm import read_pois
from poi.safety import blobs, pbf_pieces, pieces

Node, Way = osmium.osm.mutable.Node, osmium.osm.mutable.Way


def corners_of(path: Path) -> dict[int, tuple[float, float]]:
    """The second implementation: where pyosmium puts the nodes of all ways."""
    out = {}
    for way in osmium.FileProcessor(str(path), osmium.osm.NODE | osmium.osm.WAY).with_locations("flex_mem"):
        if way.is_way():
            out |= {n.ref: (n.lon, n.lat) if n.location.valid() else (np.nan, np.nan) for n in way.nodes}
    return out


def found_in(path: Path, ids: np.ndarray) -> np.ndarray:
    with path.open("rb") as stream:
        return locations(ids, osmium.io.File(str(path), "pbf"), "pbf", stream)


@pytest.mark.parametrize("name", ["monaco.osm.pbf", "helsinki-centre.osm.pbf"])
@pytest.mark.parametrize("size", [1, 100_000, 1 << 30])
def test_as_pyosmium_whatever_the_size_of_a_piece(
    shared_data: Path, monkeypatch: pytest.MonkeyPatch, name: str, size: int
) -> None:
    monkeypatch.setattr(poi.locations, "PIECE", size)
    path = shared_data / "osm" / name
    corners = corners_of(path)
    ids = np.unique(np.array([*corners, 2**40], dtype=np.int64))
    assert len(ids) > 10_000
    expected = np.array([corners.get(i, (np.nan, np.nan)) for i in ids.tolist()])
    np.testing.assert_array_equal(found_in(path, ids), expected)


def test_a_file_in_any_order(shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(poi.locations, "PIECE", 50_000)
    source = shared_data / "osm" / "monaco.osm.pbf"
    nodes = [(n.id, n.lon, n.lat) for n in osmium.FileProcessor(str(source), osmium.osm.NODE)]
    ways = [(w.id, [n.ref for n in w.nodes]) for w in osmium.FileProcessor(str(source), osmium.osm.WAY)]
    at = np.random.default_rng(0).permutation(len(nodes)).tolist()
    shuffled = tmp_path / "shuffled.osm.pbf"
    with osmium.SimpleWriter(str(shuffled)) as writer:  # ways first, and the nodes in no order
        for number, refs in ways:
            writer.add_way(Way(id=number, version=1, nodes=refs))
        for i in at:
            writer.add_node(Node(id=nodes[i][0], version=1, location=nodes[i][1:]))
    corners = corners_of(source)
    ids = np.unique(np.array(list(corners), dtype=np.int64))
    np.testing.assert_array_equal(found_in(shuffled, ids), np.array([corners[i] for i in ids.tolist()]))


def test_pieces_are_files_that_hold_every_element_once(shared_data: Path) -> None:
    def elements(source: str | osmium.io.FileBuffer) -> list[tuple[str, int]]:
        return [(e.type_str(), e.id) for e in osmium.FileProcessor(source)]

    path = shared_data / "osm" / "monaco.osm.pbf"
    with path.open("rb") as stream:
        pieces = [tuple(osmium.io.FileBuffer(b, "pbf") for b in both) for both in pbf_pieces(stream, "x", 100_000)]
    assert len(pieces) > 3
    read = [elements(piece) for _, piece in pieces]
    assert [e for piece in read for e in piece] == elements(str(path))
    assert [elements(start)[0] for start, _ in pieces] == [piece[0] for piece in read]


# --- memory -----------------------------------------------------------------------------------------------------------

READ = """
import resource, sys
from poi.osm import read_pois
read_pois(sys.argv[1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
pois = read_pois(sys.argv[2])
print(len(pois), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def written(path: Path, nodes: list[Node], ways: list[Way]) -> list[bytes]:
    """The blobs of a PBF whose header has a box."""
    header = osmium.io.Header()
    header.add_box(osmium.osm.Box(0.0, 40.0, 10.0, 50.0))
    with osmium.SimpleWriter(str(path), header=header) as writer:
        for node in nodes:
            writer.add_node(node)
        for way in ways:
            writer.add_way(way)
    with path.open("rb") as stream:
        return [frame + blob for _, frame, blob in blobs(pieces(stream), str(path))]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss has other units elsewhere")
def test_memory_does_not_grow_with_the_nodes_that_name_nothing(tmp_path: Path) -> None:
    """Four million nodes, a cafe and a school: an index of all of them takes 64 MB and more."""
    rng = np.random.default_rng(0)
    lon, lat = rng.uniform(0, 10, 100_000).tolist(), rng.uniform(40, 50, 100_000).tolist()
    idle = [Node(id=100_000 * (i + 1), version=1, location=(lon[i], lat[i])) for i in range(100_000)]
    cafe = Node(id=2 * 10**10, version=1, location=(5.0, 45.0), tags={"amenity": "cafe"})
    school = Way(id=1, version=1, nodes=[100_000, 10**9, cafe.id, 100_000], tags={"amenity": "school"})
    head, *many = written(tmp_path / "idle.osm.pbf", idle, [])
    _, *places = written(tmp_path / "places.osm.pbf", [cafe], [school])
    small, large = tmp_path / "small.osm.pbf", tmp_path / "large.osm.pbf"
    small.write_bytes(head + b"".join([*many, *places]))
    large.write_bytes(head + b"".join([*many * 40, *places]))
    done = subprocess.run(
        [sys.executable, "-c", READ, str(small), str(large)], check=True, capture_output=True, text=True
    )
    pois, grown_kb = map(int, done.stdout.split())
    assert pois == 2
    assert grown_kb < 32_000
    at = [
        pois.geometry[pois["category"] == "Education"].iloc[0].coords[0]
        for pois in (read_pois(small), read_pois(large))
    ]
    assert at[0] == at[1]
