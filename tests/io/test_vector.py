"""gentraffic.io.vector: layers are named, no driver but the file's own, no network, whatever the file says."""

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import geopandas as gpd
import pytest
from shapely.geometry import box

from gentraffic.errors import BadInput, WrongUse
from gentraffic.io.user_cells import read_boundary, read_cells
from gentraffic.io.vector import gdal_offline

SQUARE = [[9.0, 45.0], [9.1, 45.0], [9.1, 45.1], [9.0, 45.1], [9.0, 45.0]]


@pytest.fixture
def listener() -> Iterator[tuple[int, list[bytes]]]:
    """A port of this machine, and what was asked of it."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        ended = threading.Event()

        def listen() -> None:
            while not ended.is_set():
                try:
                    other, _ = server.accept()
                except TimeoutError:
                    continue
                with other:
                    other.settimeout(0.5)
                    heard.append(b"connected")

        thread = threading.Thread(target=listen)
        thread.start()
        yield server.getsockname()[1], heard
        ended.set()
        thread.join()


def collection(crs: object = None, ring: object = SQUARE) -> dict[str, object]:
    shape = {"type": "Polygon", "coordinates": [ring]}
    out: dict[str, object] = {
        "type": "FeatureCollection",
        "features": [{"type": "Feature", "properties": {"id": 1}, "geometry": shape}],
    }
    return out | ({"crs": crs} if crs else {})


def test_no_file_makes_a_reader_ask_the_network(tmp_path: Path, listener: tuple[int, list[bytes]]) -> None:
    port, heard = listener
    url = f"http://127.0.0.1:{port}/x"
    link = {"type": "link", "properties": {"href": url, "type": "proj4"}}
    turned = {"properties": {"href": url}, "type": "link"}
    escaped = json.dumps(collection(link)).replace('"crs"', '"\\u0063rs"')
    source = f'<OGRVRTLayer name="a"><SrcDataSource>/vsicurl/{url}</SrcDataSource></OGRVRTLayer>'
    vrt = f"<OGRVRTDataSource>{source}</OGRVRTDataSource>"
    files = {
        "a.geojson": (json.dumps(collection(link)), "CRS by a link"),
        "b.json": (json.dumps(collection(turned)), "CRS by a link"),
        "c.geojson": (escaped, None),
        "named.geojson": (json.dumps(collection({"type": "name", "properties": {"name": url}})), None),
        "d.gpkg": (vrt, "not what its name says"),
        "e.gpkg": (f"<OGRWFSDataSource><URL>{url}</URL></OGRWFSDataSource>", "not what its name says"),
        "f.shp": (vrt, "not what its name says"),
        "g.fgb": (vrt, "not what its name says"),
        "h.geojson": (vrt, "must start with"),
        "i.parquet": (vrt, "not what its name says"),
    }
    for name, (content, said) in files.items():
        (tmp_path / name).write_text(content)
        for read in (read_cells, read_boundary):
            if said is None:
                try:
                    read(tmp_path / name)
                except BadInput:
                    continue
            else:
                with pytest.raises(BadInput, match=said):
                    read(tmp_path / name)
    assert not heard


def test_gdal_itself_would_have_asked(tmp_path: Path, listener: tuple[int, list[bytes]]) -> None:
    """That the test above can fail: without the gate GDAL follows the link; within it, it does not."""
    import pyogrio

    port, heard = listener
    link = {"type": "link", "properties": {"href": f"http://127.0.0.1:{port}/x", "type": "proj4"}}
    path = tmp_path / "a.geojson"
    path.write_text(json.dumps(collection(link)))
    with gdal_offline():
        pyogrio.read_info(path)
        with pytest.raises(pyogrio.errors.DataSourceError):
            pyogrio.read_info(f"/vsicurl/http://127.0.0.1:{port}/x.geojson")
    assert not heard
    pyogrio.set_gdal_config_options({"GDAL_HTTP_TIMEOUT": "1"})
    pyogrio.read_info(path)
    pyogrio.set_gdal_config_options({"GDAL_HTTP_TIMEOUT": None})
    assert heard


def layers(path: Path, **of: int) -> Path:
    for name, count in of.items():
        shapes = [box(9 + 0.01 * i, 45, 9.01 + 0.01 * i, 45.01) for i in range(count)]
        frame = gpd.GeoDataFrame({"cell_id": [f"{name}{i}" for i in range(count)]}, geometry=shapes, crs=4326)
        frame.to_file(path, layer=name, driver="GPKG", mode="a" if path.exists() else "w")
    return path


def test_of_several_layers_one_is_named(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    path = layers(tmp_path / "a.gpkg", district=1, cells=3)
    for read in (read_cells, read_boundary):
        with pytest.raises(
            WrongUse, match=r"has 2 layers, district \(Polygon\), cells \(Polygon\): name one with --layer"
        ):
            read(path)
        with pytest.raises(WrongUse, match=r"--layer none: .* has district \(Polygon\), cells \(Polygon\)"):
            read(path, layer="none")
    assert read_cells(path, layer="cells")["cell_id"].tolist() == ["cells0", "cells1", "cells2"]
    assert read_cells(path, layer="district")["cell_id"].tolist() == ["district0"]
    assert read_boundary(path, layer="cells").bounds == pytest.approx((9, 45, 9.03, 45.01))
    assert not [w for w in recwarn if "layer" in str(w.message)]


def test_what_qgis_keeps_its_styles_in_is_no_layer(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    import sqlite3

    path = layers(tmp_path / "a.gpkg", cells=2)
    with sqlite3.connect(path) as file:
        file.execute("CREATE TABLE layer_styles (id INTEGER PRIMARY KEY, styleQML TEXT)")
        file.execute(
            "INSERT INTO gpkg_contents (table_name, data_type, identifier) VALUES ('layer_styles', 'attributes', 's')"
        )
    assert len(read_cells(path)) == 2
    assert not [w for w in recwarn if "layer" in str(w.message).lower()]


def test_rings_that_are_not_closed_are_closed_and_said(tmp_path: Path) -> None:
    path = tmp_path / "a.geojson"
    path.write_text(json.dumps(collection(ring=SQUARE[:-1])))
    cells = read_cells(path)
    assert cells.geometry[0].equals(box(9, 45, 9.1, 45.1))
    assert cells.attrs["warnings"] == ["a.geojson: outlines that are not closed were closed"]
    assert read_boundary(path).equals(box(9, 45, 9.1, 45.1))


def test_a_crs_that_asks_for_a_file_of_shifts_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    frame = gpd.GeoDataFrame({"id": [1]}, geometry=[box(9, 45, 9.1, 45.1)], crs="+proj=longlat +nadgrids=/etc/passwd")
    frame.to_parquet(path)
    with pytest.raises(BadInput, match="grid shift"):
        read_cells(path)


def shapefile(path: Path, encoding: str, code_page: int, ids: list[str]) -> Path:
    """Cells with ids in an encoding that no .cpg names. code_page: byte 29 of the .dbf."""
    shapes = [box(9 + k / 10, 45, 9.1 + k / 10, 45.1) for k in range(len(ids))]
    gpd.GeoDataFrame({"id": ids}, geometry=shapes, crs="EPSG:4326").to_file(path, encoding=encoding)
    path.with_suffix(".cpg").unlink()
    content = bytearray(path.with_suffix(".dbf").read_bytes())
    content[29] = code_page
    path.with_suffix(".dbf").write_bytes(content)
    return path


@pytest.mark.parametrize("code_page", [0, 0x57])  # none, and that of the system
def test_texts_of_a_shapefile_that_names_no_encoding(tmp_path: Path, code_page: int) -> None:
    for encoding, warned in (("utf-8", []), ("ISO-8859-1", ["is read as Latin-1"])):
        cells = read_cells(shapefile(tmp_path / "c.shp", encoding, code_page, ["è", "b"]))
        assert cells["cell_id"].tolist() == ["è", "b"]
        assert [line.split(",")[0] for line in cells.attrs["warnings"]] == [f"c.shp {line}" for line in warned]
    assert read_cells(shapefile(tmp_path / "a.shp", "utf-8", code_page, ["a", "b"])).attrs["warnings"] == []


def test_what_a_shapefile_says_of_its_encoding_stands(tmp_path: Path) -> None:
    cells = read_cells(shapefile(tmp_path / "c.shp", "cp1251", 0xC9, ["Ж", "b"]))  # Russian Windows
    assert cells["cell_id"].tolist() == ["Ж", "b"]
    (tmp_path / "c.CPG").write_text("cp1251")
    assert read_cells(tmp_path / "c.shp")["cell_id"].tolist() == ["Ж", "b"]


@pytest.mark.parametrize(
    "crs",
    ["foo", "EPSG:32632", 5, {}, *({"type": "name", "properties": {"name": n}} for n in ("foo", "EPSG:999999", ""))],
)
@pytest.mark.parametrize("first", [True, False])
def test_a_crs_that_is_not_understood_is_refused(tmp_path: Path, crs: object, first: bool) -> None:
    whole = collection()
    whole.pop("crs", None)
    own = {"crs": crs, **whole} if first else {**whole, "crs": crs}
    (tmp_path / "c.geojson").write_text(json.dumps(own))
    with pytest.raises(BadInput, match="which is not understood: state one such as EPSG:4326"):
        read_cells(tmp_path / "c.geojson")


@pytest.mark.parametrize("name", ["EPSG:4326", "urn:ogc:def:crs:OGC:1.3:CRS84", "CRS84", "EPSG:4258", "WGS 84"])
def test_a_crs_of_degrees_that_is_known_is_taken(tmp_path: Path, name: str) -> None:
    whole = collection({"type": "name", "properties": {"name": name}})
    (tmp_path / "c.geojson").write_text(json.dumps(whole))
    assert read_cells(tmp_path / "c.geojson").total_bounds == pytest.approx([9.0, 45.0, 9.1, 45.1], abs=1e-6)


def test_a_property_called_crs_is_no_crs_of_the_file(tmp_path: Path) -> None:
    whole = json.loads(json.dumps(collection()))
    whole["features"][0]["properties"]["crs"] = "foo"
    (tmp_path / "c.geojson").write_text(json.dumps(whole))
    assert read_cells(tmp_path / "c.geojson")["cell_id"].tolist() == [1]
