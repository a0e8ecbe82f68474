"""What-if: no change, no bit; a local change stays within its reach; files that make no sense end in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from change_examples import box, changes, point, strip
from traffic_examples import context

import gentraffic
from gentraffic.errors import BadInput
from gentraffic.generators.base import MODELS
from gentraffic.modelling.features import reach_m, read_places
from gentraffic.modelling.levels import activity
from gentraffic.places.scenario import DARK, apply_changes, influence_m
from poi.categories import CATEGORIES

bundled = pytest.mark.skipif(not (MODELS / "stouter-base").is_dir(), reason="no bundled model in this checkout")


# --- the draw ---------------------------------------------------------------------------------------------------------


@bundled
def test_no_change_is_no_bit_and_before_is_the_plain_draw(tmp_path: Path) -> None:
    place = strip(24)
    none = changes(tmp_path / "none.geojson")
    options: dict[str, Any] = {"days": 2, "steps": 2, "members": 2, "seed": 3}
    both = gentraffic.sample(place, change=none, **options)
    assert both.traffic_before.values.tobytes() == both.traffic_after.values.tobytes()
    plain = gentraffic.sample(place, **options)
    assert plain.traffic.values.tobytes() == both.traffic_before.values.tobytes()
    # changes that undo each other are none, and counts that are the same give the same bits
    told = {"category": "Shop", "count": 3}
    undone = changes(
        tmp_path / "undone.geojson",
        ({**told, "change": "add"}, point(place, 5)),
        ({**told, "change": "remove"}, point(place, 5)),
    )
    again = gentraffic.sample(place, change=undone, **options)
    assert again.traffic_after.values.tobytes() == plain.traffic.values.tobytes()


@bundled
def test_a_removed_district_changes_nothing_beyond_its_reach(tmp_path: Path) -> None:
    place = strip()
    gone = place.col.values < 6
    file = changes(tmp_path / "gone.geojson", ({"change": "remove", "name": "closed"}, box(place, gone)))
    both = gentraffic.sample(place, change=file, days=1, steps=2, members=2)
    differs = (both.traffic_before.values != both.traffic_after.values).any(axis=(0, 2))
    reach = influence_m(place, gentraffic.load_model("stouter-base").station.config["layers"])
    assert reach == 12_000.0
    apart = place.x.values - place.x.values[gone].max()
    assert differs[apart <= 2000].all()
    assert not differs[apart > reach].any()
    assert (apart > reach).sum() > 100
    assert "12 km" in both.change_reach
    assert "-" in both.change_summary
    # less stands there, so less is carried there
    assert both.traffic_after.values[:, gone].mean() < 0.8 * both.traffic_before.values[:, gone].mean()


@bundled
def test_totals_hold_before_and_leave_the_effect(tmp_path: Path) -> None:
    place = strip(24)
    file = changes(tmp_path / "new.geojson", ({"change": "add", "counts": {"Shop": 80, "Food": 50}}, point(place, 30)))
    both = gentraffic.sample(place, change=file, days=2, steps=2, total="traffic=4TB/day")
    plain = gentraffic.sample(place, change=file, days=2, steps=2)
    assert float(both.traffic_before.sum(dtype="f8")) == pytest.approx(8.0, rel=1e-7)
    np.testing.assert_allclose(
        both.traffic_after / both.traffic_after.mean(), plain.traffic_after / plain.traffic_after.mean(), rtol=1e-5
    )
    assert both.traffic_after.values[30].mean() > 1.05 * both.traffic_before.values[30].mean()


@bundled
def test_features_beyond_the_reach_do_not_change_by_a_bit(tmp_path: Path) -> None:
    place = strip()
    file = changes(tmp_path / "c.geojson", ({"change": "add", "category": "Food", "count": 500}, point(place, 0)))
    changed = apply_changes(place, file)
    assert changed.touched.sum() == 1
    old, new = read_places(place), read_places(changed.context)
    far = np.abs(old.xy_m[:, 0] - old.xy_m[0, 0]) > reach_m()
    index = activity(old), activity(new)
    np.testing.assert_array_equal(index[0][far], index[1][far])
    assert (index[0] != index[1]).any()
    for part in ("near", "far"):
        np.testing.assert_array_equal(getattr(old, part)[far], getattr(new, part)[far])
    model = gentraffic.load_model("stouter-base")
    np.testing.assert_array_equal(model.place(old)[far], model.place(new)[far])
    free = read_places(changed.context.drop_vars("poi_count_before"))  # nor do they without the memory of before
    np.testing.assert_array_equal(activity(free)[far], index[0][far])


# --- the file ---------------------------------------------------------------------------------------------------------


def test_what_is_added_and_removed(tmp_path: Path) -> None:
    place = context("grid", 6)
    old = place.poi_count.values
    shop, food = CATEGORIES.index("Shop"), CATEGORIES.index("Food")
    rows = np.array([0, 1, 6, 7])  # two by two in the south-west
    cases: list[tuple[dict[str, Any], dict[str, Any], np.ndarray]] = []
    new = old.copy()
    new[8, shop] += 4
    cases.append(({"change": "add", "category": "Shop", "count": 4}, point(place, 8), new))
    new = old.copy()
    new[8, food] += 1
    cases.append(({"change": "add", "key": "amenity", "value": "restaurant"}, point(place, 8), new))
    new = old.copy()
    new[8] = 0
    cases.append(({"change": "remove"}, point(place, 8), new))
    new = old.copy()
    new[rows, food] = 0
    cases.append(({"change": "remove", "category": "Food"}, box(place, rows), new))
    new = old.copy()
    new[rows] += old[14]
    cases.append(({"change": "add", "like": 15}, box(place, rows), new))
    for told, shape, expected in cases:
        got = apply_changes(place, changes(tmp_path / "c.geojson", (told, shape)))
        np.testing.assert_array_equal(got.context.poi_count.values, expected, err_msg=str(told))
        np.testing.assert_array_equal(got.context.poi_count_before.values, old)
    told = {"change": "add", "counts": {"Shop": 10, "Food": 3}}
    got = apply_changes(place, changes(tmp_path / "c.geojson", (told, box(place, rows)))).context.poi_count.values - old
    assert got.sum() == 13
    assert sorted(got[rows, shop]) == [2, 2, 3, 3]
    assert got[rows, food].sum() == 3


def test_sites_are_added_and_go_dark(tmp_path: Path) -> None:
    place = context("grid", 6).assign(stations=("cell", np.full(36, 2.0, dtype=np.float32)))
    told = {"what": "sites", "change": "remove"}, {"what": "sites", "change": "add", "count": 3}
    file = changes(tmp_path / "c.geojson", (told[0], point(place, 3)), (told[1], point(place, 4)))
    got = apply_changes(place, file)
    assert got.context.stations.values[2:6].tolist() == [2, 0, 5, 2]
    assert got.touched.sum() == 2
    masts = context("stations", 4)
    dark = apply_changes(masts, changes(tmp_path / "d.geojson", (told[0], point(masts, 2)))).context[DARK].values
    assert dark[2]
    near = np.hypot(masts.x - masts.x[2], masts.y - masts.y[2]) <= 500
    np.testing.assert_array_equal(dark, near)


@bundled
def test_a_dark_station_is_silent(tmp_path: Path) -> None:
    masts = context("stations", 3)
    hull = box(masts, np.array([4]))
    file = changes(tmp_path / "d.geojson", ({"what": "sites", "change": "remove", "name": "mast 4"}, hull))
    both = gentraffic.sample(masts, change=file, days=1, steps=2)
    assert both.traffic_after.values[4].max() == 0
    np.testing.assert_array_equal(
        np.delete(both.traffic_after.values, 4, 0), np.delete(both.traffic_before.values, 4, 0)
    )
    assert "mast 4: 1 station off" in both.change_summary


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ({"change": "demolish"}, ["demolish", "'add' or 'remove'"]),
        ({"change": "add"}, ["add what", "Education"]),
        ({"change": "add", "category": "Shops"}, ["Shops", "Shop"]),
        ({"change": "add", "category": "Shop", "count": 0}, ["count is 0"]),
        ({"change": "add", "category": "Shop", "count": 1.5}, ["count is 1.5"]),
        ({"change": "add", "category": "Shop", "count": 10**12}, ["1000000"]),
        ({"change": "add", "category": "Shop", "counts": {"Food": 2}}, ["counts and category", "one of them"]),
        ({"change": "remove", "counts": {"Food": 2}}, ["counts goes with add"]),
        ({"change": "remove", "like": 15}, ["like goes with add"]),
        ({"change": "add", "key": "natural", "value": "tree"}, ["natural=tree"]),
        ({"change": "add", "like": "999"}, ["'999'"]),
        ({"change": "add", "counts": "many"}, ["counts is 'many'"]),
        ({"change": "add", "counts": "3"}, ["counts is '3'"]),
        ({"change": "remove", "category": "Shop", "count": 100_000}, ["removes 100000"]),
        ({"change": "add", "what": "sites"}, ["no sites", "--sites"]),
        ({"change": "add", "what": "trees"}, ["trees"]),
    ],
)
def test_changes_that_make_no_sense_end_in_one_line(told: dict[str, Any], says: list[str], tmp_path: Path) -> None:
    place = context("grid", 6)
    file = changes(tmp_path / "c.geojson", ({**told, "name": "mall"}, point(place, 8)))
    with pytest.raises(BadInput) as caught:
        apply_changes(place, file)
    for part in [*says, "feature 1 (mall)"]:
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["grid", "cells"])
def test_lines_and_several_points_change_the_cells_that_they_touch(kind: str, tmp_path: Path) -> None:
    """Not the one cell in the middle between them. GeoPackages hold single points as multipoints of one."""
    place = context(kind, 6)
    shop = CATEGORIES.index("Shop")
    ends = [point(place, 6)["coordinates"], point(place, 11)["coordinates"]]  # the ends of the second row
    told = {"change": "add", "category": "Shop", "count": 60}
    for shape, rows in (("MultiPoint", [6, 11]), ("LineString", None)):
        file = changes(tmp_path / "c.geojson", (told, {"type": shape, "coordinates": ends}))
        more = (apply_changes(place, file).context.poi_count - place.poi_count).values[:, shop]
        assert more.sum() == 60
        if rows is None and kind == "grid":
            rows = [6, 7, 8, 9, 10, 11]
        assert rows is None or np.flatnonzero(more).tolist() == rows
        assert more[6] > 0
        assert more[11] > 0
    masts = context("stations", 6).assign_attrs(radius_m=50.0)
    ends = [point(masts, 6)["coordinates"], point(masts, 11)["coordinates"]]
    file = changes(tmp_path / "c.geojson", (told, {"type": "MultiPoint", "coordinates": ends}))
    assert np.flatnonzero(apply_changes(masts, file).touched).tolist() == [6, 11]


def test_part_of_the_known_sites_may_go(tmp_path: Path) -> None:
    place = context("grid", 6).assign(stations=("cell", np.full(36, 4.0, dtype=np.float32)))
    told = {"what": "sites", "change": "remove", "count": 1}
    file = changes(tmp_path / "c.geojson", (told, point(place, 3)))
    assert apply_changes(place, file).context.stations.values[2:5].tolist() == [4, 3, 4]
    with pytest.raises(BadInput, match="removes 5 radio cells, and there are 4"):
        apply_changes(place, changes(tmp_path / "c.geojson", ({**told, "count": 5}, point(place, 3))))


def test_a_feature_without_geometry_is_named_and_a_mark_of_byte_order_is_none(tmp_path: Path) -> None:
    place = context("grid", 6)
    file = tmp_path / "c.geojson"
    nowhere = {"type": "Feature", "properties": {"change": "remove"}, "geometry": None}
    for first in ([], [{**nowhere, "geometry": point(place, 3)}]):
        file.write_text(json.dumps({"type": "FeatureCollection", "features": [*first, nowhere]}), encoding="utf-8")
        with pytest.raises(BadInput, match=f"feature {len(first) + 1}: has no geometry"):
            apply_changes(place, file)
    file.write_text(json.dumps({"type": "FeatureCollection", "features": []}), encoding="utf-8-sig")
    assert not apply_changes(place, file).touched.any()


def test_a_change_outside_the_place_is_refused(tmp_path: Path) -> None:
    place = context("grid", 6)
    far = {"type": "Point", "coordinates": [12.5, 41.9]}
    with pytest.raises(BadInput, match="lies in no cell"):
        apply_changes(place, changes(tmp_path / "c.geojson", ({"change": "remove"}, far)))
    with pytest.raises(BadInput, match="does not exist"):
        apply_changes(place, tmp_path / "none.geojson")
