"""gentraffic.io.user_cells: the operator's cells, stations and boundaries, and what is refused in one line."""

import json
import math
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
import shapely.geometry

from gentraffic.errors import BadInput, GentrafficError, WrongUse
from gentraffic.io.user_cells import read_boundary, read_cells, read_stations
from poi.errors import BadFile, PoiError


def squares(rows: int = 4, cols: int = 5, crs: str = "EPSG:32632") -> gpd.GeoDataFrame:
    row, col = (a.ravel() for a in np.mgrid[0:rows, 0:cols])
    x, y = 515_000 + 235 * col, 5_034_000 + 235 * row
    frame = gpd.GeoDataFrame(
        {"cellId": row * 100 + col + 1}, geometry=shapely.box(x, y, x + 235, y + 235), crs="EPSG:32632"
    )
    return frame.to_crs(crs)


def geojson(path: Path, features: list[dict[str, Any]], **more: Any) -> Path:
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features, **more}), encoding="utf-8")
    return path


def feature(geometry: shapely.Geometry | None, **properties: Any) -> dict[str, Any]:
    shape = None if geometry is None else shapely.geometry.mapping(geometry)
    return {"type": "Feature", "properties": properties, "geometry": shape}


BOX = shapely.box(9.1, 45.4, 9.11, 45.41)
NEXT = shapely.box(9.11, 45.4, 9.12, 45.41)


def refused(path: Path, said: str, error: type[Exception] = BadInput, **options: Any) -> None:
    with pytest.raises(error, match=said) as caught:
        read_cells(path, **options)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("suffix", [".geojson", ".gpkg", ".shp", ".fgb", ".parquet"])
@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:32632", "EPSG:3035"])
def test_formats_and_coordinate_systems(tmp_path: Path, suffix: str, crs: str) -> None:
    frame = squares(crs=crs)
    path = tmp_path / f"cells{suffix}"
    if suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_file(path)
    cells = read_cells(path).sort_values("cell_id", ignore_index=True)
    assert cells["cell_id"].tolist() == sorted(frame["cellId"])
    assert cells["cell_id"].dtype == np.int64
    assert cells.crs.to_epsg() == 4326
    assert cells["row"].tolist() == ((cells["cell_id"] - 1) // 100).tolist()
    assert cells["col"].tolist() == ((cells["cell_id"] - 1) % 100).tolist()
    metric = cells.geometry.to_crs("EPSG:32632").centroid
    assert metric.distance(squares().geometry.centroid).max() < 0.5
    assert cells.attrs["kind"] == "cells"
    assert "UTM zone 32N" in cells.attrs["crs_wkt"]


def test_the_telecom_grid_keeps_its_numbers(shared_data: Path) -> None:
    cells = read_cells(shared_data / "milan" / "telecom-grid.geojson")
    number = cells["cell_id"].to_numpy()
    assert sorted(number) == list(range(1, 10_001))
    np.testing.assert_array_equal(cells["row"], (number - 1) // 100)
    np.testing.assert_array_equal(cells["col"], (number - 1) % 100)
    trentino = read_cells(shared_data / "trentino" / "telecom-grid.geojson")
    assert len(trentino) == 6575
    assert not trentino.duplicated(["row", "col"]).any()


def test_ids_of_all_kinds(tmp_path: Path) -> None:
    def ids(*values: Any) -> list[Any]:
        rows = [feature(shapely.box(i, 0, i + 1, 1), cell_id=v) for i, v in enumerate(values)]
        return read_cells(geojson(tmp_path / "a.geojson", rows))["cell_id"].tolist()

    assert ids(3, 1) == [3, 1]
    assert ids("b", "a") == ["b", "a"]
    assert ids("12", "7") == [12, 7]
    assert ids("007", "7") == ["007", "7"], "007 is a name"
    assert ids(2.0, 5.0) == [2, 5]
    assert ids(2.5, 5.0) == ["2.5", "5.0"]
    assert ids(2**60 + 1, 5) == [2**60 + 1, 5]


def test_id_columns(tmp_path: Path) -> None:
    path = geojson(tmp_path / "a.geojson", [feature(BOX, Square_ID=5, name="x", id=9)])
    assert read_cells(path)["cell_id"].tolist() == [9], "id stands before square_id"
    assert read_cells(path, id_column="name")["cell_id"].tolist() == ["x"]
    refused(path, "no column 'zip': it has", WrongUse, id_column="zip")
    refused(geojson(tmp_path / "b.geojson", [feature(BOX, name="x")]), "no column of ids.*it has name")


def test_no_lattice_no_rows(tmp_path: Path) -> None:
    rows = [
        feature(shapely.Point(9 + 0.1 * math.sin(i * i), 45 + 0.1 * math.cos(i)).buffer(0.01), id=i) for i in range(20)
    ]
    cells = read_cells(geojson(tmp_path / "a.geojson", rows))
    assert "row" not in cells.columns
    assert len(cells) == 20


def test_cells_that_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.geojson"
    bow = shapely.Polygon([(9, 45), (9.1, 45.1), (9.1, 45), (9, 45.1)])
    for rows, said in (
        ([feature(BOX, id=1), feature(NEXT, id=1)], "id 1 occurs more than once"),
        ([feature(BOX, id="1"), feature(NEXT, id=1)], "id 1 occurs more than once"),
        ([feature(BOX, id=1), feature(NEXT, id=None)], "row 2: the id is missing"),
        ([feature(BOX, id=True)], "true and false"),
        ([feature(BOX, id=1), feature(None, id=2)], "shape 2 has no geometry"),
        ([feature(BOX, id=1), feature(shapely.Point(9, 45), id=2)], "shape 2 is no polygon: for points use --stations"),
        ([feature(bow, id=7)], "shape 7 crosses itself"),
        ([feature(shapely.Polygon([(9, 45), (9.1, 45.1), (9.2, 45.2)]), id=7)], "shape 7 encloses no area"),
        ([], "holds no shapes"),
        ([feature(shapely.box(5.15e5, 5.034e6, 5.152e5, 5.0342e6), id=1)], "outside lon and lat.*degrees"),
        ([feature(shapely.box(45.4, 109.1, 45.5, 109.2), id=1)], "swapped"),
    ):
        geojson(path, rows)
        refused(path, said)


def test_files_that_are_refused(tmp_path: Path, shared_data: Path) -> None:
    path = tmp_path / "a.geojson"
    refused(path, "does not exist")
    refused(tmp_path, "is no file")
    (tmp_path / "a.csv").write_text("lon,lat\n")
    refused(tmp_path / "a.csv", "come as .geojson")
    path.write_bytes(b"")
    refused(path, "empty or not GeoJSON")
    # GDAL follows such a file to wherever it points: it is not asked
    path.write_text(
        "<OGRVRTDataSource><OGRVRTLayer name='x'><SrcDataSource>/etc/passwd</SrcDataSource></OGRVRTLayer>"
        "</OGRVRTDataSource>"
    )
    refused(path, "not GeoJSON")
    whole = (shared_data / "milan" / "telecom-grid.geojson").read_bytes()
    for offset in (1, 100, 5000, len(whole) // 2, len(whole) - 3):
        path.write_bytes(whole[:offset])
        refused(path, "cannot be read")
    path.write_text('{"type": "Topology"}')
    refused(path, "cannot be read|holds no shapes")
    for suffix in (".gpkg", ".shp", ".fgb", ".parquet"):
        (tmp_path / f"b{suffix}").write_bytes(b"nonsense" * 100)
        refused(tmp_path / f"b{suffix}", f"no {suffix} file begins so")


def test_a_shapefile_without_its_prj(tmp_path: Path) -> None:
    squares().to_file(tmp_path / "a.shp")
    (tmp_path / "a.prj").unlink()
    refused(tmp_path / "a.shp", "does not say its CRS")


def test_a_wrong_crs_is_found_out(tmp_path: Path) -> None:
    degrees = squares(crs="EPSG:4326").set_crs("EPSG:3857", allow_override=True)
    degrees.to_file(tmp_path / "a.gpkg")
    # on one spot, a few metres off the coast of Africa
    refused(tmp_path / "a.gpkg", "says EPSG:3857, in metres, but its numbers look like degrees")
    metres = squares().set_crs("EPSG:4326", allow_override=True)
    metres.to_file(tmp_path / "b.gpkg")
    refused(tmp_path / "b.gpkg", r"in EPSG:4326.*outside lon and lat")


# --- stations ---------------------------------------------------------------------------------------------------------


def table(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_stations(tmp_path: Path) -> None:
    stations = read_stations(table(tmp_path / "a.csv", "LON,Lat,station\n9.1,45.4,A\n9.2,45.5,B\n"))
    assert stations["cell_id"].tolist() == ["A", "B"]
    assert stations.geometry.x.tolist() == [9.1, 9.2]
    assert stations.attrs["kind"] == "stations"
    numbered = read_stations(table(tmp_path / "b.csv", "lon;lat\n9.1;45.4\n9.2;45.5\n"))
    assert numbered["cell_id"].tolist() == [0, 1]
    pd.DataFrame({"longitude": [9.1], "latitude": [45.4], "id": [7], "n": ["x"]}).to_parquet(tmp_path / "c.parquet")
    assert read_stations(tmp_path / "c.parquet")["cell_id"].tolist() == [7]
    assert read_stations(tmp_path / "c.parquet", id_column="n")["cell_id"].tolist() == ["x"]


def test_stations_of_milan_with_their_repeated_rows(shared_data: Path) -> None:
    source = shared_data / "milan" / "opencellid_lte_sites.csv"
    stations = read_stations(source)
    rows = pd.read_csv(source)
    assert len(rows) == 5840
    assert len(stations) == rows["station"].nunique() == 5812
    assert stations.attrs["warnings"] == [
        "opencellid_lte_sites.csv: 28 rows repeat a station and its place; each counts once"
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("lon,lat,id\n9,45,1\n9.1,45,1\n", "id 1 occurs more than once"),
        ("lon,lat,id\n9,45,1\n9.1,45,\n", "row 3: the id is missing"),
        ("lon,lat,id\n9,45,1\n,45,2\n", "row 3: lon '' is not a number"),
        ("lon,lat,id\n45,109,1\n45,110,2\n", "swapped"),
        ("lon,lat,id\n9,45,1\n900,45,2\n", "row 3.*not on earth"),
        ("lng,latitude2\n9,45\n", "no column 'lat'"),
        ('id,lon,"lat\nS0,9.00"\nA,9,45\n', "no column 'lat': it has id, lon, lat S0,9.00"),
        ("lon,lat\n", "no rows"),
        ("", "is empty"),
    ],
)
def test_stations_that_are_refused(tmp_path: Path, text: str, said: str) -> None:
    path = table(tmp_path / "a.csv", text)
    with pytest.raises((GentrafficError, PoiError), match=said) as caught:
        read_stations(path)
    assert caught.value.exit_code == 5
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_column_of_ids_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="no column 'zip'"):
        read_stations(table(tmp_path / "a.csv", "lon,lat\n9,45\n"), id_column="zip")


# --- boundaries -------------------------------------------------------------------------------------------------------


def test_boundary_is_the_union(tmp_path: Path) -> None:
    path = geojson(tmp_path / "a.geojson", [feature(BOX), feature(NEXT), feature(shapely.MultiPolygon([BOX]))])
    assert read_boundary(path).equals(shapely.union(BOX, NEXT))
    gpd.GeoDataFrame(geometry=[BOX], crs="EPSG:4326").to_crs("EPSG:32632").to_file(tmp_path / "b.gpkg")
    assert shapely.hausdorff_distance(read_boundary(tmp_path / "b.gpkg"), BOX) < 1e-9
    single = tmp_path / "c.geojson"
    single.write_text(json.dumps(shapely.geometry.mapping(BOX)))
    assert read_boundary(single).equals(BOX)


def test_boundaries_that_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="shape 1 is no polygon"):
        read_boundary(geojson(tmp_path / "a.geojson", [feature(shapely.LineString([(9, 45), (9.1, 45.1)]))]))
    with pytest.raises(BadInput, match="does not exist"):
        read_boundary(tmp_path / "none.geojson")
