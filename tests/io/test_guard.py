"""gentraffic.io.guard: no input is a pipe, reads another file or runs code; what a library raises becomes a line."""

import json
import os
import pickle
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import zarr
from traffic_examples import traffic

from gentraffic.errors import BadInput, WrongUse
from gentraffic.generate.run import read_select
from gentraffic.io.files import open_traffic, read_traffic, write_traffic
from gentraffic.io.guard import check_arrays, reads, text_of
from gentraffic.io.importers.table import read_table
from gentraffic.io.importers.telecom_italia import read_telecom_italia
from gentraffic.io.user_cells import read_boundary, read_cells, read_stations
from poi.errors import BadFile
from poi.osm import read_pois


@pytest.mark.parametrize("name", ["a.nc", "a.csv", "a.parquet"])
def test_pipes_and_devices_are_refused_at_once(tmp_path: Path, name: str) -> None:
    """Opening a pipe that nobody writes to waits for ever; /dev/zero never ends."""
    os.mkfifo(tmp_path / name)
    (tmp_path / f"b{name}").symlink_to("/dev/zero")
    for path in (tmp_path / name, tmp_path / f"b{name}"):
        with pytest.raises(BadInput, match="is a pipe or a device"):
            read_traffic(path)


@pytest.mark.parametrize(
    ("read", "name"),
    [
        (read_cells, "a.gpkg"), (read_boundary, "a.geojson"), (read_stations, "a.csv"), (read_pois, "a.osm.pbf"),
        (read_table, "a.csv"), (lambda path: read_telecom_italia([path]), "a.txt"),
    ],
)  # fmt: skip
def test_no_reader_waits_for_a_pipe(tmp_path: Path, read: Callable[[Path], Any], name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises((BadInput, BadFile)) as caught:
        read(tmp_path / name)
    assert caught.value.exit_code == 5


def test_a_link_to_a_file_is_a_file(tmp_path: Path) -> None:
    write_traffic(traffic(), tmp_path / "a.nc")
    (tmp_path / "b.nc").symlink_to(tmp_path / "a.nc")
    assert read_traffic(tmp_path / "b.nc").identical(read_traffic(tmp_path / "a.nc"))


def store(tmp_path: Path) -> Path:
    path = tmp_path / "a.zarr"
    write_traffic(traffic(), path)
    check_arrays(path)
    return path


def test_links_and_pipes_within_a_store_are_refused(tmp_path: Path) -> None:
    path = store(tmp_path)
    secret = tmp_path / "secret"
    secret.write_text("x")
    chunk = next(p for p in (path / "internet").iterdir() if p.name[0].isdigit())
    chunk.unlink()
    for make, said in ((lambda: chunk.symlink_to(secret), "is a link"), (lambda: os.mkfifo(chunk), "is a pipe")):
        make()
        for read in (read_traffic, open_traffic, check_arrays):
            with pytest.raises(BadInput, match=said):
                read(path)
        chunk.unlink()


def changed(path: Path, change: Callable[[dict[str, Any]], None], name: str = "internet") -> None:
    """Change an array's metadata in both places where a store keeps it."""
    own = path / name / ".zarray"
    array = json.loads(own.read_text())
    change(array)
    own.write_text(json.dumps(array))
    whole = json.loads((path / ".zmetadata").read_text())
    change(whole["metadata"][f"{name}/.zarray"])
    (path / ".zmetadata").write_text(json.dumps(whole))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda a: a.update(compressor={"id": "pickle"}), "packed with 'pickle'"),
        (lambda a: a.update(filters=[{"id": "pickle", "protocol": 5}]), "packed with 'pickle'"),
        (lambda a: a.update(filters=[{"id": "shuffle"}, {"id": "msgpack2"}]), "packed with 'msgpack2'"),
        (lambda a: a.update(compressor="zstd2"), "packed with 'zstd2'"),
        (lambda a: a.update(dtype="|O", filters=None), "Python objects"),
        (lambda a: a.update(shape=[2**40, 2**40]), "more than can be"),
        (lambda a: a.update(chunks=[2**30, 1]), "chunks of"),
        (lambda a: a.update(chunks=[-1, 3]), "has chunks"),
    ],
)
def test_a_store_is_packed_in_known_ways(tmp_path: Path, change: Callable[[Any], None], said: str) -> None:
    path = store(tmp_path)
    changed(path, change)
    for read in (read_traffic, open_traffic):
        with pytest.raises(BadInput, match=said):
            read(path)


def test_a_pickle_in_a_store_is_not_run(tmp_path: Path) -> None:
    """numcodecs' own codec of that name unpickles what it reads: it is asked for before the store is opened."""
    ran = tmp_path / "ran"

    class Payload:
        def __reduce__(self) -> tuple[Any, ...]:
            return (os.mkdir, (str(ran),))

    path = store(tmp_path)
    shutil.copytree(path / "lon", path / "names")
    chunk = next(p for p in (path / "names").iterdir() if p.name[0].isdigit())
    chunk.write_bytes(pickle.dumps([Payload(), "|O", (1,)]))
    (path / ".zmetadata").unlink()
    own = path / "names" / ".zarray"
    objects = {"dtype": "|O", "compressor": None, "filters": [{"id": "pickle"}]}
    own.write_text(json.dumps(json.loads(own.read_text()) | objects))
    with pytest.raises(BadInput, match="pickle"):
        read_traffic(path)
    assert not ran.exists()


def test_zarr_3_codecs_are_looked_at_too(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    zarr.create_array(str(path / "x"), shape=(4,), chunks=(2,), dtype="f4", zarr_format=3)
    check_arrays(path)
    metadata = json.loads((path / "x" / "zarr.json").read_text())
    metadata["codecs"] = [{"name": "sharding_indexed", "configuration": {"codecs": [{"name": "numcodecs.pickle"}]}}]
    (path / "x" / "zarr.json").write_text(json.dumps(metadata))
    with pytest.raises(BadInput, match="'pickle'"):
        check_arrays(path)


def test_an_hdf5_file_holds_its_data_itself(tmp_path: Path) -> None:
    secret = tmp_path / "secret.bin"
    secret.write_bytes(struct.pack("<8f", *range(8)))
    with h5py.File(tmp_path / "other.nc", "w") as other:
        other["x"] = np.arange(3.0)

    def link(file: h5py.File) -> None:
        file["y"] = h5py.ExternalLink(str(tmp_path / "other.nc"), "x")

    def raw(file: h5py.File) -> None:
        file.create_dataset("y", shape=(8,), dtype="f4", external=[(str(secret), 0, 32)])

    def virtual(file: h5py.File) -> None:
        layout = h5py.VirtualLayout(shape=(3,), dtype="f8")
        layout[:] = h5py.VirtualSource(str(tmp_path / "other.nc"), "x", shape=(3,))
        file.create_virtual_dataset("y", layout)

    def claims(file: h5py.File) -> None:
        file.create_dataset("y", shape=(2**29,), dtype="f4", chunks=(1024,))

    other_files = "from other files"
    for make, said in ((link, "lies in another file"), (raw, other_files), (virtual, other_files), (claims, "claims")):
        path = tmp_path / f"{make.__name__}.nc"
        with h5py.File(path, "w") as file:
            file["x"] = np.arange(3.0)
            make(file)
        with pytest.raises(BadInput, match=said):
            read_traffic(path)


def test_a_classic_netcdf_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    path.write_bytes(b"CDF\x01" + bytes(40))
    with pytest.raises(BadInput, match=r"classic NetCDF file \(version 3\)"):
        read_traffic(path)


def test_what_a_library_raises_is_bad_input(tmp_path: Path) -> None:
    @reads
    def read(path: Path) -> int:
        return int(float("1e999"))

    with pytest.raises(BadInput, match="OverflowError: cannot convert float infinity"):
        read(tmp_path / "a.csv")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_texts_beside_the_data_are_files_of_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ids of --select, the rows of --evidence: a pipe would be waited for until the end of days."""
    from gentraffic.evaluation.holdout import read_rows
    from gentraffic.evaluation.solver_steps import read_steps

    (tmp_path / "ids").write_text("\ufeffMI 01\n\n a, b \n7\n", encoding="utf-8")
    assert read_select(f"@{tmp_path / 'ids'}") == ("MI 01", "a, b", "7")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00a")
    for name, reason in (("pipe", "is a pipe"), ("bytes", "no text in UTF-8"), ("none", "No such file")):
        for read in (text_of, read_rows, read_steps):
            with pytest.raises(BadInput, match=reason):
                read(tmp_path / name)
        with pytest.raises(WrongUse, match=reason):
            read_select(f"@{tmp_path / name}")
    monkeypatch.setattr("gentraffic.io.guard.MAX_METADATA", 3)
    with pytest.raises(BadInput, match="MiB of text"):
        text_of(tmp_path / "ids")
