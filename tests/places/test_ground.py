"""gentraffic.places.ground: what stands on the ground is in a context, in the law of levels, and the same in a crop."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import traffic_examples
import xarray as xr
from change_examples import changes, point, strip

from gentraffic.dataset.basemap import has_basemap, without_basemap
from gentraffic.generators.folder import load_bundle
from gentraffic.io.files import read_context, write_context
from gentraffic.modelling.features import BEFORE, PARTS, believed, mistaken_cells, read_places
from gentraffic.modelling.levels import DRY, LevelModel, activity, elasticities
from gentraffic.places.context import read_place
from gentraffic.places.find import CONTEXTS
from gentraffic.places.ground import VARIABLES
from gentraffic.places.query import PlaceQuery
from gentraffic.places.scenario import apply_changes
from gentraffic.places.streets import with_street_lengths

MODEL = LevelModel({})


@pytest.fixture(scope="module")
def town(shared_data: Path) -> xr.Dataset:
    extract = shared_data / "osm" / "liechtenstein.osm.pbf"
    return read_place(PlaceQuery(osm=extract, bbox=(9.50, 47.13, 9.54, 47.16), cell_size=250))


def test_a_context_holds_it_and_comes_back_from_a_file(town: xr.Dataset, tmp_path: Path) -> None:
    assert set(VARIABLES) <= set(town.data_vars)
    assert {f"margin_{name}" for name in (*PARTS, "dry")} <= set(town.data_vars)
    write_context(town, tmp_path / "c.nc")
    xr.testing.assert_identical(read_context(tmp_path / "c.nc")["building_area_office"], town["building_area_office"])
    # Vaduz: houses cover a few per cent of the ground, and streets are some kilometres on a square kilometre
    area = town.sizes["cell"] * 0.0625
    assert 0.02 < sum(float(town[name].sum()) for name in PARTS["floors"]) / (area * 1e6) < 0.5
    assert 1e3 < float(town["street_length_street"].sum()) / area < 3e4


def test_what_is_not_known_is_left_out_of_the_law(town: xr.Dataset) -> None:
    told = [*PARTS, "dry"]
    assert set(read_places(town).known) == set(told)
    lacking = read_places(town.drop_vars("building_area_other"))
    assert "floors" not in lacking.known
    bare = read_places(town.drop_vars(list(VARIABLES)))
    assert not bare.known
    expected = elasticities(["pois"])["pois"] * (bare.pois + 1.0)
    assert np.allclose(activity(bare), expected)


def test_half_the_floors_carry_as_its_elasticity_says(town: xr.Dataset) -> None:
    half = town.assign(
        {name: town[name] / 2 for name in PARTS["floors"]} | {"margin_floors": town["margin_floors"] / 2}
    )
    half = half.assign(
        {name: town[name] for name in PARTS["offices"]}
        | {"building_area_other": half["building_area_other"] - town["building_area_office"] / 2}
    )
    before, after = (activity(read_places(c)) for c in (town, half))
    known = elasticities(["pois", *PARTS])
    busy = read_places(town).known["floors"] > np.log(1e5)  # where the constant that is added counts for little
    ratio = np.exp(after - before)[busy]
    assert busy.sum() > 20
    assert np.allclose(ratio, 0.5 ** known["floors"], atol=0.01)


def test_water_takes_away(town: xr.Dataset) -> None:
    lake = town.assign(land_area_water=town["land_area_water"] * 0 + 62_500.0, margin_dry=town["margin_dry"] * 0)
    apart = activity(read_places(lake)) - activity(
        read_places(town.assign(land_area_water=town["land_area_water"] * 0))
    )
    assert np.allclose(apart, DRY * (np.log(5e4) - np.log(1.05e6)), atol=0.05)


@pytest.mark.slow
def test_the_law_is_the_same_in_a_crop(town: xr.Dataset, shared_data: Path) -> None:
    extract = shared_data / "osm" / "liechtenstein.osm.pbf"
    crop = read_place(PlaceQuery(osm=extract, bbox=(9.51, 47.135, 9.53, 47.155), cell_size=250))
    row = {cell: i for i, cell in enumerate(town["cell_id"].values.tolist())}
    mine = [row[cell] for cell in crop["cell_id"].values.tolist()]
    small, large = MODEL.absolute(read_places(crop)), MODEL.absolute(read_places(town))[mine]
    assert np.abs(small - large).max() < 0.005


def test_a_change_remembers_what_stood_there(town: xr.Dataset) -> None:
    more = town.assign(
        {f"building_area_office{BEFORE}": town["building_area_office"], f"poi_count{BEFORE}": town["poi_count"]}
    )
    more["building_area_office"] = town["building_area_office"] + 1e5
    places = read_places(more)
    assert places.before is not None
    assert np.array_equal(places.before.known["offices"], read_places(town).known["offices"])
    assert (places.known["offices"] > places.before.known["offices"]).all()


def test_what_is_believed_of_a_cell() -> None:
    area = np.array([0.0625, 0.25, 1e-4, 0.0625])  # km2
    counts = np.array([500, 1_001, 251, 3])
    assert believed(counts, counts, 4000.0, area).tolist() == [250, 1000, 250, 3]
    counts[0] += 1  # more than twice as many: a mistake, which counts for no cell around
    assert believed(counts, counts, 4000.0, area).tolist() == [np.inf, 1000, 250, 3]
    usual = np.array([3, 1_001, 251, 3])  # but what a user adds is meant
    assert believed(counts, usual, 4000.0, area).tolist() == [250, 1000, 250, 3]


@pytest.mark.parametrize("name", ["poi_count", "stations"])
def test_a_mistaken_cell_changes_no_level_around_it_by_two_per_cent(name: str) -> None:
    place = traffic_examples.context("grid", 24)
    sites = np.random.default_rng(3).poisson(2.0, 576).astype(np.float32)
    place = place.assign(stations=("cell", sites))
    changed = place.copy(deep=True)
    at = 12 * 24 + 12
    if name == "stations":
        changed[name][at] += 10_000
    else:
        changed[name][at, 6] += 10_000
    levels = load_bundle("stouter-base").levels
    apart = np.delete(levels.absolute(read_places(changed)) - levels.absolute(read_places(place)), at)
    assert np.abs(np.expm1(apart)).max() < 0.02
    (line,) = mistaken_cells(changed)
    assert f"in cell {changed['cell_id'].values[at]} (10,0" in line
    assert mistaken_cells(place) == []


def test_what_is_known_of_some_cells_counts_there_alone() -> None:
    """Streets that are known in the west: each cell is that of a place where they are known everywhere or nowhere."""
    place = traffic_examples.context("grid", 24)
    west = place["col"].values < 12
    length = np.full(place.sizes["cell"], 900.0, np.float32)
    bare, partly, whole = (
        activity(read_places(place if v is None else place.assign(street_length_street=("cell", v))))
        for v in (None, np.where(west, length, np.float32("nan")), length)
    )
    np.testing.assert_array_equal(partly[~west], bare[~west])
    np.testing.assert_allclose(partly[west], whole[west], atol=1e-5)  # its edge is no desert
    assert np.abs(partly - bare)[west].min() > 0.05
    none = place.assign(street_length_street=("cell", np.full(place.sizes["cell"], np.nan, np.float32)))
    np.testing.assert_array_equal(activity(read_places(none)), bare)


def test_a_change_leaves_unknown_what_is_unknown(tmp_path: Path) -> None:
    place = strip()
    known = np.where(np.arange(place.sizes["cell"]) < 100, 500.0, np.nan).astype(np.float32)
    place["building_area_retail"] = ("cell", known)
    told = {"what": "mall", "floor_area": 1000}
    path = changes(tmp_path / "c.geojson", (told, point(place, 7)), (told, point(place, 150)))
    changed = apply_changes(place, path)
    more = changed.context["building_area_retail"].values - known
    assert np.flatnonzero(more > 0).tolist() == [7]
    np.testing.assert_array_equal(np.isnan(more), np.isnan(known))
    assert np.flatnonzero(changed.touched).tolist() == [7, 150]  # for their places of interest


@pytest.mark.parametrize("city", ["helsinki", "liechtenstein", "malta", "monaco", "porto"])
def test_bundled_cities_know_the_ground(city: str) -> None:
    place = read_context(CONTEXTS / f"{city}.nc")
    assert set(VARIABLES) <= set(place.data_vars)
    for name in VARIABLES:
        assert np.isfinite(place[name].values).all()
    km2 = place.sizes["cell"] * float(place.attrs["cell_m"]) ** 2 / 1e6
    assert 0.5 < float(place["street_length_street"].sum()) / 1000 / km2 < 15.0  # km of small streets on a km2
    assert place.attrs["command"].startswith(f"gentraffic fetch --osm {city}")


def test_milan_knows_its_streets_where_its_extract_lies() -> None:
    """The extract of 2015 ends at 9.0939 E, 45.4016 N and 45.5461 N: what lies beyond is not known, and is no zero."""
    milan = read_context(CONTEXTS / "milan.nc")
    length = milan["street_length_street"].values
    lon, lat = milan["lon"].values, milan["lat"].values
    beyond = (lon < 9.0939) | (lat < 45.4016) | (lat > 45.5461)
    within = (lon > 9.0939 + 0.002) & (lat > 45.4016 + 0.0015) & (lat < 45.5461 - 0.0015)
    assert np.isnan(length[beyond]).all()
    assert np.isfinite(length[within]).all()
    assert within.sum() > 4500
    known = read_places(milan).known["streets"]
    np.testing.assert_array_equal(np.isnan(known), np.isnan(length))


def test_street_lengths_of_an_extract_go_to_cells_that_it_covers(shared_data: Path) -> None:
    """Beside what `fetch` reads of the same extract, in a place that reaches beyond it."""
    extract = shared_data / "osm" / "helsinki-centre.osm.pbf"
    whole = read_context(CONTEXTS / "helsinki.nc")
    bare = without_basemap(whole).drop_vars(list(VARIABLES))
    found = with_street_lengths(bare, extract)
    lengths = [name for name in VARIABLES if name.startswith("street_length")]
    assert set(found.data_vars) - set(bare.data_vars) == set(lengths)
    assert has_basemap(found)
    for name in lengths:
        known = np.isfinite(found[name].values)
        assert 40 < known.sum() < 87  # cells at the edge reach beyond
        np.testing.assert_allclose(found[name].values[known], whole[name].values[known], rtol=1e-5, atol=60.0)
