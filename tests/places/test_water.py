"""Cells in the sea: found by the coast of the map, checked by what else stands on it, and left out when asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from traffic_examples import context

from gentraffic.cli.main import run
from gentraffic.dataset.geometry import cell_shapes
from gentraffic.dataset.schema import check_context
from gentraffic.errors import NoData, WrongUse
from gentraffic.io.files import read_context
from gentraffic.modelling.features import read_places
from gentraffic.places.find import find_context
from gentraffic.places.query import PlaceQuery
from gentraffic.places.water import wet_cells, without_water


@pytest.fixture(scope="module")
def malta() -> xr.Dataset:
    return find_context(PlaceQuery(city="malta"), command="test")


def test_the_open_sea_is_wet_and_towns_are_dry(malta: xr.Dataset) -> None:
    import shapely

    wet = wet_cells(malta)
    assert wet is not None
    assert wet.sum() > 500
    assert (malta["poi_count"].values[wet].sum(axis=1) > 0).mean() < 0.01  # a boat's restaurant; of all cells a third
    cells = cell_shapes(malta)
    named = shapely.points(malta["map_name_lon"].values, malta["map_name_lat"].values)
    town, of = shapely.STRtree(cells).query(named, predicate="within")
    assert len(town) > 50
    assert not wet[of].any()  # no place of OpenStreetMap's has its name in the sea
    for lon, lat, sea in ((14.5147, 35.8989, False), (14.4, 35.885, False), (14.56, 35.93, True), (14.345, 36.0, True)):
        at = np.flatnonzero(shapely.contains_xy(cells, lon, lat))  # Valletta, Mdina, off Sliema, the channel to Gozo
        if len(at):
            assert wet[at[0]] == sea, (lon, lat)


def test_they_are_left_out_when_asked_and_the_place_says_so(malta: xr.Dataset, tmp_path: Path) -> None:
    less = find_context(PlaceQuery(city="malta", water="leave-out"), command="test")
    check_context(less)
    wet = wet_cells(malta)
    assert wet is not None
    dropped = malta.sizes["cell"] - less.sizes["cell"]
    assert less.attrs["water"] == f"{dropped} of {malta.sizes['cell']} cells lie wholly in water and were left out"
    assert 0 < dropped <= wet.sum()
    assert int(less["poi_count"].sum()) == int(malta["poi_count"].sum())  # nothing stood there
    gone = ~np.isin(malta["cell_id"].values, less["cell_id"].values)
    assert not (gone & ~wet).any()
    assert less.sizes["margin"] <= dropped
    assert find_context(PlaceQuery(city="malta", water="keep"), command="test").identical(malta)
    assert run(["fetch", "--city", "monaco", "--water", "leave-out", "-o", str(tmp_path / "m.nc"), "--quiet"]) == 0
    assert "were left out" in read_context(tmp_path / "m.nc").attrs["water"]


def test_what_has_no_squares_no_map_or_nothing_else_is_refused(malta: xr.Dataset) -> None:
    with pytest.raises(WrongUse, match="--water dry: give leave-out or keep"):
        find_context(PlaceQuery(city="malta", water="dry"), command="test")
    with pytest.raises(WrongUse, match="goes with square cells"):
        without_water(context("stations"))
    with pytest.raises(WrongUse, match="needs a map with the coast: give --osm EXTRACT"):
        without_water(context("grid"))
    wet = wet_cells(malta)
    assert wet is not None
    empty = wet & (malta["poi_count"].values.sum(axis=1) == 0)
    with pytest.raises(NoData, match="all 20 cells lie in water"):
        without_water(malta.isel(cell=np.flatnonzero(empty)[:20]))


def test_the_surroundings_of_the_others_stay_what_they_were(malta: xr.Dataset) -> None:
    box = np.flatnonzero((malta["lon"] > 14.47) & (malta["lat"] < 35.93))  # a part that is held in memory quickly
    part = malta.isel(cell=box)
    less = without_water(part)
    before, after = read_places(part), read_places(less)
    kept = np.isin(part["cell_id"].values, less["cell_id"].values)
    assert 100 < kept.sum() < 0.8 * len(box)
    np.testing.assert_allclose(after.near, before.near[kept], atol=1e-5)
    np.testing.assert_allclose(after.far, before.far[kept], atol=0.01)  # beyond 6 km what was left out is forgotten
    bare = read_places(less.drop_vars([name for name in less.variables if str(name).startswith("margin_")]))
    assert np.abs(bare.far - before.far[kept]).max() > 0.1  # without the margin the coast would be busier


@pytest.mark.slow
def test_a_box_of_an_extract_at_the_coast(shared_data: Path) -> None:
    box = (14.45, 35.87, 14.60, 35.95)
    extract = shared_data / "osm" / "malta.osm.pbf"
    whole = find_context(PlaceQuery(osm=extract, bbox=box), command="test")
    less = find_context(PlaceQuery(osm=extract, bbox=box, water="leave-out"), command="test")
    assert whole.sizes["cell"] - less.sizes["cell"] == 1128
    assert int(whole["poi_count"].sum()) == int(less["poi_count"].sum())
    assert whole.sizes["margin"] < less.sizes["margin"] <= whole.sizes["margin"] + 1128
