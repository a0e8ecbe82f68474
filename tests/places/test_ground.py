"""gentraffic.places.ground: what stands on the ground is in a context, in the law of levels, and the same in a crop."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from gentraffic.io.files import read_context, write_context
from gentraffic.modelling.features import BEFORE, PARTS, read_places
from gentraffic.modelling.levels import DRY, LevelModel, activity, elasticities
from gentraffic.places.context import read_place
from gentraffic.places.ground import VARIABLES

MODEL = LevelModel({})


@pytest.fixture(scope="module")
def town(shared_data: Path) -> xr.Dataset:
    return read_place(osm=shared_data / "osm" / "liechtenstein.osm.pbf", bbox=(9.50, 47.13, 9.54, 47.16), cell_size=250)


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


def test_the_law_is_the_same_in_a_crop(town: xr.Dataset, shared_data: Path) -> None:
    crop = read_place(
        osm=shared_data / "osm" / "liechtenstein.osm.pbf", bbox=(9.51, 47.135, 9.53, 47.155), cell_size=250
    )
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


def test_one_mistaken_cell_does_not_decide_the_levels_around() -> None:
    from gentraffic.modelling.features import at_most

    area = np.array([0.0625, 0.25, 1e-4])  # km2
    counts = np.array([[10_000, 3], [999, 1_001], [250, 251]])
    assert at_most(counts, 4000.0, area).tolist() == [[250, 3], [999, 1000], [250, 250]]
