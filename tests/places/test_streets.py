"""places.streets: the map beneath, given to traffic that has none, and the sea of a part of an island."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyproj
import pytest
import shapely
import traffic_examples
import xarray as xr

import gentraffic
from gentraffic.dataset.basemap import basemap_of, without_basemap
from gentraffic.errors import NoData
from gentraffic.io.files import write_context
from gentraffic.places.context import read_place
from gentraffic.places.find import CONTEXTS
from gentraffic.places.query import PlaceQuery
from gentraffic.places.streets import with_streets
from poi.basemap import unpacked
from poi.osm import read_pois


@pytest.fixture
def monaco() -> xr.Dataset:
    from gentraffic.io.files import read_context

    return read_context(CONTEXTS / "monaco.nc")


def test_bundled_cities_carry_what_their_extract_holds(monaco: xr.Dataset, shared_data: Path, tmp_path: Path) -> None:
    again = with_streets(without_basemap(monaco), shared_data / "osm" / "monaco.osm.pbf")
    for name in ("map_class", "map_size", "map_lon", "map_lat", "map_name"):
        np.testing.assert_array_equal(again[name].values, monaco[name].values)
    assert "Monte-Carlo" in monaco["map_name"].values
    write_context(monaco, tmp_path / "monaco.nc")  # and from a context
    bare = without_basemap(monaco)
    assert with_streets(bare, tmp_path / "monaco.nc").identical(monaco)


@pytest.mark.slow
def test_a_page_shows_the_streets_of_a_file(monaco: xr.Dataset, shared_data: Path, tmp_path: Path) -> None:
    traffic = traffic_examples.traffic(without_basemap(monaco.isel(cell=slice(60, 90))))
    assert '"base":null' in gentraffic.draw_map(traffic).html
    page = gentraffic.draw_map(traffic, streets=shared_data / "osm" / "monaco.osm.pbf")
    assert '"base":{"classes":' in page.html
    assert "Monte-Carlo" in page.html
    # under its map: the coast, rivers, main roads, rail and motorways, twice each, and names as glyphs
    with_map = gentraffic.report(traffic, streets=CONTEXTS / "monaco.nc").html
    plain = gentraffic.report(traffic).html
    assert with_map.count("LineCollection_") - plain.count("LineCollection_") >= 2 * 2
    assert with_map.count("text_") > plain.count("text_")
    (tmp_path / "pois.csv").write_text("lon,lat,key,value\n7.42,43.74,shop,mall\n")
    with pytest.raises(NoData, match="has no streets where the cells lie"):
        gentraffic.draw_map(traffic, streets=tmp_path / "pois.csv")


@pytest.mark.slow
def test_the_sea_of_a_part_of_an_island_is_that_of_the_whole(shared_data: Path, tmp_path: Path) -> None:
    """Stations around Valletta: what is read around them ends where the coast goes on."""
    path = shared_data / "osm" / "malta.osm.pbf"
    at = {"lon": [14.42, 14.53, 14.48, 14.45], "lat": [35.86, 35.93, 35.90, 35.92], "id": ["a", "b", "c", "d"]}
    pd.DataFrame(at).to_csv(tmp_path / "sites.csv", index=False)
    part = basemap_of(read_place(PlaceQuery(stations=tmp_path / "sites.csv", osm=path)))
    assert part is not None
    (west, south), (east, north) = part.at.min(axis=0) * 1e-5, part.at.max(axis=0) * 1e-5
    box = shapely.box(west, south, east, north)
    coast = shapely.union_all(unpacked(read_pois(path, basemap=True).attrs["basemap"])["coast"])
    land = shapely.union_all([shapely.Polygon(line) for line in shapely.get_parts(shapely.line_merge(coast))
                              if line.is_closed])  # fmt: skip
    geod = pyproj.Geod(ellps="WGS84")

    def km2(shape: shapely.Geometry) -> float:
        return sum(abs(geod.geometry_area_perimeter(p)[0]) for p in shapely.get_parts(shape)) / 1e6

    sea = shapely.union_all(unpacked(part)["sea"])
    wrong = shapely.intersection(sea, land), shapely.difference(shapely.difference(box, land), sea)
    assert km2(sea) > 20
    assert sum(map(km2, wrong)) < 0.02 * km2(sea)
