"""places.words: a planner's words become counts at stated rates, stay local, and visitors come when it is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import traffic_examples
from change_examples import box, changes, point, strip

from gentraffic.dataset.basemap import basemap_coords
from gentraffic.errors import BadInput
from gentraffic.modelling.features import read_places
from gentraffic.modelling.levels import LevelModel
from gentraffic.places.scenario import apply_changes
from gentraffic.places.words import LITTLE, PEOPLE_PER_POI, WORDS, counts_of, residents, spans_of
from poi.categories import CATEGORIES
from poi.elements import BaseMap

LOCAL = pd.date_range("2026-01-05", periods=168, freq="h", tz="Europe/Rome")  # Monday to Sunday


def _added(path: Path, told: dict[str, Any], rows: Any = None) -> tuple[dict[str, int], Any]:
    place = strip()
    shape = point(place, 100) if rows is None else box(place, rows)
    changed = apply_changes(place, changes(path / "c.geojson", (told, shape)))
    more = (changed.context["poi_count"].values - place["poi_count"].values).sum(axis=0)
    return {name: int(n) for name, n in zip(CATEGORIES, more, strict=True) if n}, changed


def test_a_mall_is_as_large_as_its_floor(tmp_path: Path) -> None:
    found, changed = _added(tmp_path, {"what": "mall", "floor_area": 40_000})
    assert found == {"Shop": 121, "Food": 32, "Entertainment": 3, "Others": 8, "Traffic": 2}
    assert changed.lines == ("mall, 40,000 m2 of floor: +166 points of interest in 1 cell",)
    assert _added(tmp_path, {"what": "mall", "visitors": 40_000 / 3})[0] == found  # three square metres a visitor
    assert "30,000 m2 of floor assumed" in _added(tmp_path, {"what": "mall"})[1].lines[0]


def test_sizes_of_a_word_are_worth_what_the_table_says() -> None:
    for kind, word in WORDS.items():
        assert next(iter(word.sizes.values())) == 1.0, kind
        assert set(word.rates) | set(word.always) <= set(CATEGORIES)
    small = counts_of("quarter", 10)
    assert sum(small.values()) >= 1
    ten = sum(counts_of("quarter", 8000).values())
    assert ten == pytest.approx(10 * sum(counts_of("quarter", 800).values()), abs=8)  # roundings of eight categories


def test_a_quarter_spreads_over_its_polygon_and_takes_the_mix_of_a_place(tmp_path: Path) -> None:
    place = strip()
    middle = np.array([[float(place.lon[150]), float(place.lat[150])]])
    base = BaseMap(np.empty(0, np.int8), np.empty(0, np.int32), np.empty((0, 2), np.int32), ("Borgo",),
                   np.array([3], np.int8), middle)  # fmt: skip
    place = place.assign_coords(basemap_coords(base))
    counts = place["poi_count"].values.copy()
    counts[:, :] = 0
    counts[150, CATEGORIES.index("Food")] = 3
    counts[149, CATEGORIES.index("Shop")] = 1
    place["poi_count"] = (("cell", "category"), counts)
    told = {"what": "quarter", "residents": 800 * 2.2, "like": "borgo"}
    changed = apply_changes(place, changes(tmp_path / "c.geojson", (told, box(place, [10, 11, 12, 13]))))
    more = changed.context["poi_count"].values - counts
    total = sum(counts_of("quarter", 800).values())
    assert more.sum() == total
    assert more[:, CATEGORIES.index("Food")].sum() == round(0.75 * total)
    assert np.ptp(more[10:14].sum(axis=1)) <= len(CATEGORIES)
    plain = apply_changes(
        place, changes(tmp_path / "d.geojson", ({"change": "add", "like": "Borgo"}, point(place, 20)))
    )
    assert plain.context["poi_count"].values[20, CATEGORIES.index("Food")] == 1  # the mean of three cells around
    with pytest.raises(BadInput, match="no cell of this place; places on the map: Borgo"):
        apply_changes(place, changes(tmp_path / "e.geojson", ({"change": "add", "like": "Bogo"}, point(place, 20))))


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"what": "shopping centre"}, "what is 'shopping centre'; give 'pois' or 'sites' or 'mall' or 'stadium'"),
        ({"what": "mall", "seats": 5}, "seats does not go with mall; give floor_area or visitors"),
        ({"what": "mall", "floor_area": 5, "visitors": 5}, "floor_area and visitors say two things"),
        ({"what": "mall", "floor_area": -5}, "floor_area is -5; give a number above 0"),
        ({"what": "mall", "floor_area": "large"}, "floor_area is 'large'"),
        ({"what": "mall", "count": 3}, "count does not go with mall"),
        ({"what": "mall", "change": "remove"}, "to remove, give what is there as pois"),
        ({"what": "mall", "times": "always"}, "times is 'always'; give such as Sat 18:00-23:00"),
        ({"what": "mall", "times": "Mon-Sun-Tue 9-17"}, "give such as Sat 18:00-23:00"),
        ({"what": "quarter"}, "how large is it\\? give dwellings or residents"),
        ({"what": "event", "visitors": 100}, "when is it\\?"),
        ({"what": "event", "visitors": 100, "times": "Saturday evening"}, "give such as Sat 18:00-23:00"),
        ({"what": "event", "visitors": 9, "times": "2026-01-10 18:00 to 20:00"}, "give such as Sat 18:00-23:00"),
        ({"what": "event", "visitors": 9, "times": "Sat 8:00-9:00", "area_residents": 0}, "area_residents is 0"),
    ],
)
def test_what_makes_no_sense_is_refused_with_what_does(told: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=words):
        _added(tmp_path, told)


def test_the_effect_of_a_word_ends_at_its_reach(tmp_path: Path) -> None:
    place = strip(side=200.0)
    changed = apply_changes(place, changes(tmp_path / "c.geojson", ({"what": "mall"}, point(place, 100))))
    away = np.hypot(place.x - place.x[100], place.y - place.y[100]).values - 100.0
    assert changed.weight[100] == 1
    np.testing.assert_allclose(changed.weight[away >= 400], 0.0)
    near = (away > 0) & (away < 400)
    np.testing.assert_allclose(changed.weight[near], 0.5 + 0.5 * np.cos(np.pi * away[near] / 400))
    before = np.ones((2, 288, 168), np.float32)
    mixed = changed.mixed(before, 3 * before, LOCAL)
    np.testing.assert_allclose(mixed[:, :, 0], np.broadcast_to(1 + 2 * changed.weight, (2, 288)), rtol=1e-6)
    # places alone reach as far as the model says
    plain = apply_changes(place, changes(tmp_path / "d.geojson",
                                         ({"change": "add", "category": "Shop"}, point(place, 100))))  # fmt: skip
    assert (plain.weight == 1).all()
    after = 3 * before
    assert plain.mixed(before, after, LOCAL).tobytes() == after.tobytes()


def test_visitors_use_what_residents_use_in_those_hours(tmp_path: Path) -> None:
    place = strip()
    told = {"what": "event", "visitors": 5000, "times": "Sat 18:00-20:00", "area_residents": 100_000}
    changed = apply_changes(place, changes(tmp_path / "c.geojson", (told, point(place, 7))))
    assert not changed.touched.any()
    before = np.random.default_rng(0).gamma(2.0, 1.0, (1, 288, 168)).astype(np.float32)
    added = changed.mixed(before, before, LOCAL) - before
    hours = np.zeros(168)
    hours[5 * 24 + np.array([17, 18, 19, 20])] = 0.5, 1.0, 1.0, 0.5  # half on the way in and out
    np.testing.assert_allclose(added[0, 7], 0.05 * before[0].sum(axis=0) * hours, rtol=1e-4, atol=1e-4)
    assert not np.delete(added[0], 7, axis=0).any()
    # the same hours by date, past midnight, and with residents counted from the places on the map
    told = {"what": "event", "visitors": 5000, "times": "2026-01-10 23:00-1:00"}
    changed = apply_changes(place, changes(tmp_path / "d.geojson", (told, point(place, 7))))
    added = changed.mixed(before, before, LOCAL) - before
    share = 5000 / (PEOPLE_PER_POI * float(place["poi_count"].sum()))
    assert added[0, 7, 144] == pytest.approx(share * before[0, :, 144].sum(), rel=1e-3)  # Sunday 0h
    assert np.flatnonzero(added[0, 7]).tolist() == [142, 143, 144, 145]
    assert "event, 5,000 visitors 2026-01-10 23:00-1:00 (of " in changed.lines[0]
    with pytest.raises(BadInput, match="lie outside of the period"):
        changed.mixed(before, before, LOCAL + pd.Timedelta(days=30))
    assert spans_of("Sat 18-20, sunday 9:30 to 11:00", "here") == (("sat", 18.0, 20.0), ("sun", 9.5, 11.0))


def test_a_change_that_no_station_covers_goes_to_the_nearest(tmp_path: Path) -> None:
    place = traffic_examples.context("stations").assign_attrs(radius_m=100.0)
    east = {"type": "Point", "coordinates": [float(place.lon.max()) + 0.01, float(place.lat[35])]}
    changed = apply_changes(place, changes(tmp_path / "c.geojson", ({"what": "mall"}, east)))
    assert np.flatnonzero(changed.touched).size == 1
    assert f"no station covers it: put to the nearest, {place.cell_id.values[changed.touched][0]}," in changed.lines[0]
    far = {"type": "Point", "coordinates": [float(place.lon.max()) + 1.0, float(place.lat[35])]}
    with pytest.raises(BadInput, match="km from the nearest station"):
        apply_changes(place, changes(tmp_path / "d.geojson", ({"what": "mall"}, far)))


def test_a_word_adds_what_stands_on_the_ground_where_the_context_knows_it(tmp_path: Path) -> None:
    place = strip()
    place["population"] = ("cell", np.full(place.sizes["cell"], 10.0, np.float32))
    place["building_area_residential"] = ("cell", np.full(place.sizes["cell"], 500.0, np.float32))
    told = {"what": "quarter", "dwellings": 300}
    changed = apply_changes(place, changes(tmp_path / "c.geojson", (told, box(place, [10, 11, 12])))).context
    for name, each, usual in (("population", 2.2, 10.0), ("building_area_residential", 80.0, 500.0)):
        more = changed[name].values - usual
        np.testing.assert_allclose(more[10:13], 300 * each / 3, rtol=1e-5)
        assert np.count_nonzero(more) == 3
        assert (changed[f"{name}_before"].values == usual).all()
    assert "jobs" not in changed
    assert "building_area_office" not in changed


def test_who_lives_where_nobody_counted_is_assumed_from_places() -> None:
    place = strip()
    pois = place["poi_count"].values.sum(axis=1)
    assert residents(place) == (pois.sum() * PEOPLE_PER_POI, residents(place)[1])
    place["population"] = ("cell", np.full(place.sizes["cell"], 10.0))
    assert residents(place) == (10.0 * place.sizes["cell"], "of the residents of --population")
    place["population"][:100] = np.nan
    number, basis = residents(place)
    assert number == pytest.approx(10.0 * (place.sizes["cell"] - 100) + pois[:100].sum() * PEOPLE_PER_POI)
    assert "assumed" in basis


def test_dwellings_and_residents_are_people_and_homes_alone(tmp_path: Path) -> None:
    place = strip()
    told = {"what": "dwellings", "dwellings": 100}
    with pytest.raises(BadInput, match="no homes and no residents, so that dwellings change nothing; give"):
        apply_changes(place, changes(tmp_path / "c.geojson", (told, point(place, 11))))
    place["population"] = ("cell", np.full(place.sizes["cell"], 10.0))
    changed = apply_changes(place, changes(tmp_path / "c.geojson", (told, point(place, 11))))
    assert changed.lines == ("dwellings, 100 dwellings: +220 residents in 1 cell",)
    for name in ("building_area_residential", "building_area_office"):
        place[name] = ("cell", np.full(place.sizes["cell"], 500.0, np.float32))
    more = {"what": "residents", "residents": 50, "name": "students"}
    both = changes(tmp_path / "d.geojson", (told, point(place, 11)), (more, box(place, [11, 12])))
    changed = apply_changes(place, both)
    assert changed.lines == (
        "dwellings, 100 dwellings: +8,000 m2 of homes, +220 residents in 1 cell",
        "students, 50 residents: +50 residents in 2 cells",
    )
    added = changed.context["population"].values - 10.0
    np.testing.assert_allclose(added[[11, 12]], [245.0, 25.0], rtol=1e-12)
    assert np.count_nonzero(added) == 2
    assert np.flatnonzero(changed.context["building_area_residential"].values - 500.0).tolist() == [11]
    assert (changed.context["poi_count"].values == place["poi_count"].values).all()
    assert changed.touched.nonzero()[0].tolist() == [11, 12]
    expected = LevelModel({}).absolute(read_places(changed.context)) - LevelModel({}).absolute(read_places(place))
    assert expected[11] > 0.05
    assert abs(expected[60]) < 1e-6


def test_what_has_opening_hours_adds_its_traffic_within_them(tmp_path: Path) -> None:
    place = strip()
    mall = {"what": "mall", "floor_area": 20_000}
    changed = apply_changes(
        place, changes(tmp_path / "c.geojson", ({**mall, "times": "Mon-Sat 9-21"}, point(place, 7)))
    )
    always = apply_changes(place, changes(tmp_path / "d.geojson", (mall, point(place, 7))))
    assert "open Mon-Sat 9-21" in changed.lines[0]
    rng = np.random.default_rng(0)
    before = rng.gamma(2.0, 1.0, (2, 288, 168)).astype(np.float32)
    after = before * np.float32(1.5)
    plain, moved = always.mixed(before, after, LOCAL) - before, changed.mixed(before, after, LOCAL) - before
    np.testing.assert_allclose(moved.sum(axis=-1), plain.sum(axis=-1), rtol=1e-4, atol=1e-3)  # as much, at other hours
    opened = (np.arange(168) // 24 < 6) & (np.arange(168) % 24 >= 9) & (np.arange(168) % 24 < 21)
    edge = (np.arange(168) // 24 < 6) & np.isin(np.arange(168) % 24, (8, 21))
    share = moved[0, 7] / plain[0, 7]
    np.testing.assert_allclose(
        share / share[opened].mean(), np.where(opened, 1, np.where(edge, 0.55, LITTLE)), rtol=1e-3
    )
    assert moved[:, changed.weight == 0].max() == 0.0
    late = {**mall, "times": "2026-02-01 9-21"}
    later = apply_changes(place, changes(tmp_path / "e.geojson", (late, point(place, 7))))
    with pytest.raises(BadInput, match="lie outside of the period"):
        later.mixed(before, after, LOCAL)
    assert spans_of("Fri-Sun 9-10", "here") == (("fri", 9.0, 10.0), ("sat", 9.0, 10.0), ("sun", 9.0, 10.0))
    assert [day for day, *_ in spans_of("daily 8-20", "here")] == ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
