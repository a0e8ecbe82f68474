"""places.residents: residents of a raster or a table, put to cells by area share, against closed forms."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyproj
import pytest
import rasterio
import shapely
import traffic_examples
import xarray as xr

import gentraffic
from gentraffic.cli.main import run
from gentraffic.dataset.geometry import cell_shapes
from gentraffic.errors import BadInput, NoData
from gentraffic.io.files import read_context, write_context
from gentraffic.modelling.features import read_places
from gentraffic.modelling.levels import activity
from gentraffic.places.residents import with_residents
from poi.errors import BadFile

WEST, SOUTH, SIDE = traffic_examples.WEST, traffic_examples.SOUTH, traffic_examples.SIDE
ALL = 6 * SIDE  # the side of the 6 x 6 squares of the examples


def write_tif(path: Path, values: Any, transform: Any, crs: Any = "EPSG:32632", **more: Any) -> Path:
    values = np.atleast_3d(np.asarray(values, dtype=more.pop("dtype", np.float64)).T).T  # (bands, rows, columns)
    with rasterio.open(
        path, "w", driver="GTiff", count=len(values), height=values.shape[1], width=values.shape[2],
        dtype=values.dtype, crs=crs, transform=transform, **more,
    ) as tif:  # fmt: skip
        tif.write(values)
    return path


def north_up(west: float, north: float, side: float) -> Any:
    return rasterio.Affine(side, 0, west, 0, -side, north)


@pytest.mark.parametrize("side", [SIDE, SIDE / 2, 100.0, 400.0, 3000.0, 5.0])
def test_a_raster_of_ones_gives_each_square_its_area_in_pixels(tmp_path: Path, side: float) -> None:
    size = int(np.ceil((ALL + 700.0) / side))
    tif = write_tif(tmp_path / "ones.tif", np.ones((size, size)), north_up(WEST - 333.0, SOUTH + ALL + 333.0, side))
    place = with_residents(traffic_examples.context("grid"), tif)
    wanted = SIDE**2 / side**2
    whole = side > 0.1 * SIDE  # smaller ones count where their middles lie
    np.testing.assert_allclose(place["population"].values, wanted, rtol=1e-9 if whole else 0.04)
    assert place["population"].values.sum() == pytest.approx(36 * wanted, rel=1e-9 if whole else 0.01)
    assert place["population"].attrs["units"] == "1"
    assert place["population"].attrs["long_name"] == "residents"
    assert place.attrs["attribution"].endswith("; residents: ones.tif")
    assert "warnings" not in place.attrs


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3035", "EPSG:3857"])
@pytest.mark.parametrize("kind", ["grid", "cells"])
def test_nobody_is_lost_or_doubled_in_any_crs(tmp_path: Path, kind: str, crs: str) -> None:
    """People of random pixels that lie in the area as a whole, and those of pixels cut at its edge by their share."""
    context = traffic_examples.context(kind)
    to_raster = pyproj.Transformer.from_crs("EPSG:4326", crs, always_xy=True)
    x, y = to_raster.transform(context["lon"].values, context["lat"].values)
    wide = max(np.ptp(x), np.ptp(y))
    side = wide / 9.3
    values = np.random.default_rng(1).gamma(0.5, 40.0, (17, 17))
    transform = north_up(float(x.min()) - 3 * side, float(y.max()) + 3 * side, side)
    tif = write_tif(tmp_path / "r.tif", values, transform, crs)
    found = with_residents(context, tif)["population"].values
    # a second way: the polygons of pixels and of cells in the raster's CRS, where a pixel is a square
    row, col = np.divmod(np.arange(values.size), values.shape[1])
    left, top = transform.c + col * side, transform.f - row * side
    pixels = shapely.box(left, top - side, left + side, top)
    cells = shapely.transform(cell_shapes(context), lambda c: np.stack(to_raster.transform(c[:, 0], c[:, 1]), axis=1))
    shares = shapely.area(shapely.intersection(cells[:, None], pixels[None])) / side**2
    np.testing.assert_allclose(found, shares @ values.ravel(), rtol=2e-3)
    inside = (shares.sum(axis=0) > 1 - 1e-6) | (shares.sum(axis=0) == 0)
    values[~inside.reshape(values.shape)] = 0.0  # of pixels that lie in the area as a whole, nobody is lost
    assert np.count_nonzero(values) > 5
    whole = with_residents(context, write_tif(tmp_path / "w.tif", values, transform, crs))["population"].values
    shares[:, ~inside] = 0.0
    assert whole.sum() == pytest.approx((shares.sum(axis=0) > 0.5) @ values.ravel(), rel=1e-9)


def test_a_turned_raster_and_one_with_scale_and_nodata(tmp_path: Path) -> None:
    context = traffic_examples.context("grid")
    turned = rasterio.Affine.translation(WEST + ALL / 2, SOUTH + ALL / 2) @ rasterio.Affine.rotation(31)
    turned = turned @ rasterio.Affine.translation(-3000, 3000) @ rasterio.Affine.scale(150, -150)
    tif = write_tif(tmp_path / "turned.tif", np.full((40, 40), 7, np.uint8), turned, dtype=np.uint8, nodata=255)
    with rasterio.open(tif, "r+") as opened:
        opened.scales, opened.offsets = (0.5,), (1.0,)
    np.testing.assert_allclose(with_residents(context, tif)["population"].values, 4.5 * SIDE**2 / 150**2, rtol=1e-9)
    holes = np.full((6, 6), 3.0)
    holes[:, :3] = -99999.0
    holes[0, 3] = np.nan
    tif = write_tif(tmp_path / "holes.tif", holes, north_up(WEST, SOUTH + ALL, SIDE), nodata=-99999.0)
    found = with_residents(context, tif)["population"].values.reshape(6, 6)[::-1]  # north first
    np.testing.assert_allclose(found, np.where((holes > 0), 3.0, 0.0), atol=1e-9)


def test_stations_count_who_lives_within_their_radius(tmp_path: Path) -> None:
    context = traffic_examples.context("stations").assign_attrs(radius_m=300.0)
    tif = write_tif(tmp_path / "ones.tif", np.ones((60, 60)), north_up(WEST - 700.0, SOUTH + ALL + 700.0, 50.0))
    found = with_residents(context, tif)["population"].values
    np.testing.assert_allclose(found, np.pi * 300.0**2 / 50.0**2, rtol=1e-3)
    table = tmp_path / "r.csv"
    lon, lat = context["lon"].values, context["lat"].values
    pd.DataFrame({"lon": lon, "lat": lat, "residents": np.arange(36) + 1.0}).to_csv(table, index=False)
    xy = np.stack([context["x"].values, context["y"].values], axis=1)
    near = np.hypot(*(xy[:, None] - xy[None]).T) <= 300.0
    np.testing.assert_allclose(with_residents(context, table)["population"].values, near @ (np.arange(36) + 1.0))


@pytest.mark.parametrize("form", ["csv", "csv.gz", "parquet"])
@pytest.mark.parametrize("kind", ["grid", "cells"])
def test_points_of_a_table_count_where_they_are(tmp_path: Path, kind: str, form: str) -> None:
    context = traffic_examples.context(kind)
    cells = cell_shapes(context)
    spots = shapely.point_on_surface(np.repeat(cells, 2))
    people = np.random.default_rng(2).gamma(1.0, 100.0, 72)
    frame = pd.DataFrame({"lon": shapely.get_x(spots), "lat": shapely.get_y(spots), "Population": people})
    far = pd.DataFrame({"lon": [9.9], "lat": [45.9], "Population": [1e6]})
    path = tmp_path / f"r.{form}"
    frame = pd.concat([frame, far])
    if form == "parquet":
        frame.to_parquet(path)
    else:
        with gzip.open(path, "wt") if form.endswith("gz") else path.open("w") as stream:
            frame.to_csv(stream, index=False)
    found = with_residents(context, path)["population"].values
    np.testing.assert_allclose(found, people.reshape(36, 2).sum(axis=1), rtol=1e-12)
    assert found.sum() == pytest.approx(people.sum(), rel=1e-12)


def test_cells_around_count_as_well_so_that_a_part_has_the_levels_of_the_whole(tmp_path: Path) -> None:
    whole = traffic_examples.context("grid", 24)
    tif = write_tif(
        tmp_path / "r.tif", np.random.default_rng(3).gamma(0.5, 30.0, (60, 60)),
        north_up(WEST - 100.0, SOUTH + 24 * SIDE + 100.0, 97.0),
    )  # fmt: skip
    inner = ((whole["row"] >= 8) & (whole["row"] < 16) & (whole["col"] >= 8) & (whole["col"] < 16)).values
    part = whole.isel(cell=inner).assign(
        margin_poi_count=(("margin", "category"), whole["poi_count"].values[~inner]),
        margin_x=("margin", whole["x"].values[~inner]), margin_y=("margin", whole["y"].values[~inner]),
    )  # fmt: skip
    whole, part = with_residents(whole, tif), with_residents(part, tif)
    np.testing.assert_allclose(part["population"].values, whole["population"].values[inner], rtol=1e-12)
    np.testing.assert_allclose(part["margin_population"].values, whole["population"].values[~inner], rtol=1e-12)
    np.testing.assert_allclose(activity(read_places(part)), activity(read_places(whole))[inner], atol=1e-5)
    bare = whole.drop_vars("population")
    assert np.abs(activity(read_places(whole)) - activity(read_places(bare))).max() > 0.1  # the law hears them


def _csv(text: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / "r.csv").write_text(text)
        return folder / "r.csv"

    return make


def _tif(values: Any, west: float = WEST, crs: Any = "EPSG:32632", **more: Any) -> Callable[[Path], Path]:
    return lambda folder: write_tif(folder / "r.tif", values, north_up(west, SOUTH + ALL, SIDE), crs, **more)


def _text(folder: Path) -> Path:
    (folder / "r.tif").write_text("lon,lat,residents\n9.0,45.3,4\n")
    return folder / "r.tif"


ONES = np.ones((6, 6))
WRONG = np.where(np.eye(6, k=2) > 0, -200.0, 1.0)


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (_tif(WRONG), BadInput, r"r.tif: residents is -200 in column 2, row 0: give a number of 0 or more; where it"),
        (_tif(np.where(ONES > 0, np.inf, 0)), BadInput, "residents is inf in column 0, row 0"),
        (_tif(np.stack([ONES, ONES])), BadInput, "has 2 bands: give a GeoTIFF of one band"),
        (_tif(ONES, crs=None), BadInput, "does not say where it lies"),
        (_tif(ONES, west=WEST + 1e5), NoData, r"covers 10\.\d+,45\.\d+,10\.\d+,45\.\d+, and Milano, Łódź"),
        (_tif(ONES * 0), NoData, "tells of no residents in Milano"),
        (_tif(ONES * -1, nodata=-1), NoData, "tells of no residents in Milano"),
        (_text, BadInput, "is no TIFF, whatever its name says"),
        (lambda folder: folder / "none.tif", BadInput, "none.tif: no such file"),
        (_csv("lon,lat,residents\n9.02,45.36,-3\n"), BadInput, "residents is '-3' in row 2: give a number of 0 or"),
        (_csv("lon,lat,residents\n9.02,45.36,many\n"), BadInput, "residents is 'many' in row 2"),
        (_csv("lon,lat,people_2020\n9.02,45.36,3\n"), BadInput, "has no column 'residents': it has lon, lat, people_2"),
        (_csv("lon,latt,residents\n9.02,45.36,3\n"), BadFile, "has no column 'lat'"),
        (_csv("lon,lat,residents\n19.02,45.36,3\n"), NoData, r"r.csv tells of no residents in Milano.* \(9\.0"),
        (_csv("lon,lat,residents\n"), BadFile, "has no rows"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_in_a_line(
    tmp_path: Path, make: Callable[[Path], Path], error: type[Exception], match: str
) -> None:
    with pytest.raises(error, match=match) as raised:
        with_residents(traffic_examples.context("grid"), make(tmp_path))
    assert "\n" not in str(raised.value)


def test_cells_beyond_the_raster_are_named(tmp_path: Path) -> None:
    tif = write_tif(tmp_path / "half.tif", ONES, north_up(WEST, SOUTH + ALL, SIDE / 2))
    place = with_residents(traffic_examples.context("grid"), tif)
    assert place.attrs["warnings"] == "27 of 36 cells lie outside of half.tif: residents are not known there"
    known = (place["row"].values >= 3) & (place["col"].values < 3)
    np.testing.assert_allclose(place["population"].values, np.where(known, 4.0, np.nan), rtol=1e-9)
    write_context(place, tmp_path / "half.nc")
    xr.testing.assert_equal(read_context(tmp_path / "half.nc")["population"], place["population"])
    bare = activity(read_places(place.drop_vars("population")))
    np.testing.assert_array_equal(activity(read_places(place))[~known], bare[~known])


def test_the_command_and_python_take_it_and_traffic_follows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    monaco = read_context(Path(gentraffic.__file__).parent / "assets" / "contexts" / "monaco.nc")
    lon, lat = monaco["lon"].values, monaco["lat"].values
    people = np.where(lat > np.median(lat), 900.0, 1.0)
    table = tmp_path / "residents.csv"
    pd.DataFrame({"lon": lon, "lat": lat, "residents": people}).to_csv(table, index=False)
    out = tmp_path / "monaco.nc"
    assert run(["fetch", "--city", "monaco", "--population", str(table), "-o", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["residents"] == people.sum()
    kept = read_context(out)
    np.testing.assert_array_equal(kept["population"].values, people)
    drawn = gentraffic.sample("monaco", population=table, days=1)
    xr.testing.assert_equal(drawn["traffic"], gentraffic.sample(monaco, population=str(table), days=1)["traffic"])
    plain = gentraffic.sample("monaco", days=1)["traffic"].values.mean(axis=1)
    ratio = drawn["traffic"].values.mean(axis=1) / plain
    assert np.median(ratio[people > 1]) > 1.5 * np.median(ratio[people == 1])
    pd.DataFrame({"lon": lon + 1, "lat": lat, "residents": people}).to_csv(table, index=False)
    words = ["sample", "--city", "monaco", "--population", str(table), "-o", str(tmp_path / "t.nc")]
    assert run(words) == 3
    assert capsys.readouterr().err.count("\n") == 1


def test_helsinki_follows_its_residents(shared_data: Path) -> None:
    """Rank correlation of the density that the law takes with the activity of a mobile network: 0.79 (FACTS)."""
    region = np.load(shared_data / "helsinki" / "dynamic_population_250m.npz")
    cells = len(region["x_3067"])
    place = xr.Dataset(
        {"poi_count": (("cell", "category"), np.zeros((cells, 8), np.int32))},
        {"x": ("cell", region["x_3067"].astype(float)), "y": ("cell", region["y_3067"].astype(float)),
         "lon": ("cell", region["lon"]), "lat": ("cell", region["lat"])},
        {"kind": "grid", "cell_m": 250.0, "crs_wkt": pyproj.CRS("EPSG:3067").to_wkt(), "timezone": "Europe/Helsinki"},
    )  # fmt: skip
    source = shared_data / "helsinki" / "population_250m_2018.csv"
    found = with_residents(place, source)
    told = pd.read_csv(source)["population"].sum()
    inside = float(found["population"].sum())
    assert 0.95 * told < inside <= told  # some live beyond the region
    mean = (4 * region["workday"] + region["saturday"] + region["sunday"]).mean(axis=1)
    rank = pd.Series(read_places(found).known["population"]).corr(pd.Series(mean), method="spearman")
    assert rank == pytest.approx(0.80, abs=0.015)
