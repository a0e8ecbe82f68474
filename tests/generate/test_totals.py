"""Totals that hold: exact sums, the relative-entropy solution, and one line where totals exclude each other."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from scipy.optimize import minimize
from traffic_examples import context

from gentraffic.dataset.calendar import Calendar, make_calendar
from gentraffic.errors import NoData, WrongUse
from gentraffic.generate.totals import Factors, districts, fit_totals, in_units, parse_totals

ROME = "Europe/Rome"


def fit(drawn: Any, totals: Any, place: xr.Dataset, calendar: Calendar) -> Factors:
    return fit_totals(drawn, totals, districts(totals, place), calendar, ROME)


@pytest.fixture
def place() -> xr.Dataset:
    return context("grid", 6)


def drawn_traffic(calendar: Calendar, cells: int = 36, members: int = 2, seed: int = 0) -> Any:
    """Traffic whose hour 20 is the busiest in each member."""
    rng = np.random.default_rng(seed)
    hour = calendar.slot // calendar.per_hour
    day = 1 + 2 * np.exp(-(((hour - 20) / 3.0) ** 2))
    return (rng.lognormal(0, 1, (members, cells, 1)) * day * rng.lognormal(0, 0.1, (members, cells, len(hour)))).astype(
        np.float32
    )


def district(place: xr.Dataset, path: Path, cols: slice, name: str = "west") -> str:
    """A box around some columns of the grid, as GeoJSON; its path."""
    inside = np.isin(place.col.values, np.arange(6)[cols])
    west, east = place.lon.values[inside].min() - 0.001, place.lon.values[inside].max() + 0.001
    south, north = place.lat.values.min() - 0.001, place.lat.values.max() + 0.001
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    feature = {"type": "Feature", "properties": {"name": name}, "geometry": {"type": "Polygon", "coordinates": [ring]}}
    features = json.loads(path.read_text())["features"] if path.exists() else []
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [*features, feature]}))
    return str(path)


def carried(values: Any, cells: Any, steps: Any) -> float:
    return math.fsum(values[np.ix_(cells, steps)].ravel().tolist())


def test_one_total_is_one_factor_and_exact(place: xr.Dataset) -> None:
    calendar = make_calendar("2026-01-05", 3, "1h", ROME)
    drawn = drawn_traffic(calendar)
    out = fit(drawn, parse_totals(["traffic=5TB/day"]), place, calendar).apply(drawn)
    assert out.dtype == np.float32
    for member, before in zip(out, drawn, strict=True):
        assert math.fsum(member.ravel().tolist()) == pytest.approx(15.0, rel=2e-9)
        np.testing.assert_allclose(member / before, (member / before).mean(), rtol=1e-6)


def test_region_district_and_busy_hour_hold_together(place: xr.Dataset, tmp_path: Path) -> None:
    file = district(place, tmp_path / "d.geojson", slice(0, 2))
    calendar = make_calendar("2026-01-05", 4, "15min", ROME)
    drawn = drawn_traffic(calendar)
    texts = ["traffic=5TB/day", f"traffic=2TB/day@{file}", "traffic=500GB/busyhour", f"traffic=0.03TB/3h@{file}"]
    out = fit(drawn, parse_totals(texts), place, calendar).apply(drawn)
    west = np.flatnonzero(place.col.values < 2)
    everywhere, hour = np.arange(36), calendar.slot // 4
    always = np.arange(len(hour))
    for member in out:
        assert carried(member, everywhere, always) == pytest.approx(20.0, rel=1e-8)
        assert carried(member, west, always) == pytest.approx(8.0, rel=1e-8)
        assert carried(member, everywhere, np.flatnonzero(hour == 20)) == pytest.approx(2.0, rel=1e-8)
        assert carried(member, west, np.flatnonzero(hour == 3)) == pytest.approx(0.12, rel=1e-8)
        assert np.bincount(hour, member.sum(0, dtype=float)).argmax() == 20


def test_the_fit_is_the_nearest_in_relative_entropy(place: xr.Dataset, tmp_path: Path) -> None:
    """Against a general-purpose optimiser on the same problem."""
    file = district(place, tmp_path / "d.geojson", slice(0, 3))
    calendar = make_calendar("2026-01-05", 1, "1h", ROME)
    drawn = drawn_traffic(calendar, members=1)
    texts = ["traffic=100/day", f"traffic=70/day@{file}", "traffic=12/20h"]
    factors = fit(drawn, parse_totals(texts), place, calendar)
    out = factors.apply(drawn)[0].astype(float)
    west, evening = place.col.values < 3, calendar.slot == 20
    blocks = [(c, s) for c in (west, ~west) for s in (evening, ~evening)]
    prior = np.array([drawn[0][np.ix_(c, s)].sum(dtype=float) for c, s in blocks])
    ours = np.array([out[np.ix_(c, s)].sum() for c, s in blocks])
    constraints = [
        {"type": "eq", "fun": lambda a: a.sum() - 100},
        {"type": "eq", "fun": lambda a: a[0] + a[1] - 70},
        {"type": "eq", "fun": lambda a: a[0] + a[2] - 12},
    ]
    found = minimize(
        lambda a: (a * np.log(a / prior)).sum(), np.full(4, 25.0), bounds=[(1e-6, None)] * 4, constraints=constraints,
        method="SLSQP", options={"ftol": 1e-14, "maxiter": 1000},
    )  # fmt: skip
    np.testing.assert_allclose(ours, found.x, rtol=1e-4)


def test_a_district_alone_scales_the_rest_with_it(place: xr.Dataset, tmp_path: Path) -> None:
    file = district(place, tmp_path / "d.geojson", slice(4, 6))
    calendar = make_calendar("2026-03-28", 2, "1h", ROME)  # 24 + 23 hours
    drawn = drawn_traffic(calendar, members=1)
    out = fit(drawn, parse_totals([f"traffic=3GB/day@{file}"]), place, calendar).apply(drawn)
    assert out[0, place.col.values >= 4].sum(dtype=float) == pytest.approx(6.0, rel=1e-8)
    np.testing.assert_allclose(out / drawn, (out / drawn).mean(), rtol=1e-6)


def test_the_hour_that_is_lived_twice_counts_once_per_day(place: xr.Dataset) -> None:
    calendar = make_calendar("2026-10-24", 2, "1h", ROME)  # 24 + 25 hours
    drawn = drawn_traffic(calendar, members=1)
    out = fit(drawn, parse_totals(["traffic=1GB/2h"]), place, calendar).apply(drawn)
    assert (calendar.slot == 2).sum() == 3
    assert out[0][:, calendar.slot == 2].sum(dtype=float) == pytest.approx(2.0, rel=1e-8)


def test_a_feature_of_a_file_is_named_after_a_hash(place: xr.Dataset, tmp_path: Path) -> None:
    district(place, tmp_path / "d.geojson", slice(0, 1), "west")
    file = district(place, tmp_path / "d.geojson", slice(5, 6), "east")
    calendar = make_calendar("2026-01-05", 1, "1h", ROME)
    drawn = drawn_traffic(calendar, members=1)
    texts = [f"traffic=1/day@{file}#west", f"traffic=2/day@{file}#east"]
    out = fit(drawn, parse_totals(texts), place, calendar).apply(drawn)[0]
    assert out[place.col.values == 0].sum(dtype=float) == pytest.approx(1.0, rel=1e-8)
    assert out[place.col.values == 5].sum(dtype=float) == pytest.approx(2.0, rel=1e-8)
    with pytest.raises(WrongUse, match="north"):
        fit(drawn, parse_totals([f"traffic=1/day@{file}#north"]), place, calendar)


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        (["traffic=5TB/day", "traffic=6TB/day@{d}"], ["6TB/day", "5TB/day", "less than 5TB"]),
        (["traffic=5TB/day", "traffic=7TB/day"], ["7TB/day", "beside them it must be 5TB"]),
        (["traffic=5TB/day", "traffic=6TB/20h"], ["6TB/20h", "less than 5TB"]),
        (["traffic=5TB/day", "traffic=5TB/day@{d}"], ["less than 5TB"]),  # nothing would be left for the rest
        (["traffic=5TB/day", "traffic=100GB/busyhour"], ["no busy hour", "100GB/busyhour"]),
        (["traffic=1TB/day@{d}", "traffic=9TB/day", "traffic=2TB/20h@{d}"], ["2TB/20h", "1TB/day@", "less than 1TB"]),
    ],
)
def test_totals_that_exclude_each_other_are_named(
    texts: list[str], says: list[str], place: xr.Dataset, tmp_path: Path
) -> None:
    file = district(place, tmp_path / "d.geojson", slice(0, 2))
    calendar = make_calendar("2026-01-05", 2, "1h", ROME)
    drawn = drawn_traffic(calendar, members=1)
    with pytest.raises(WrongUse) as caught:
        fit(drawn, parse_totals([t.format(d=file) for t in texts]), place, calendar)
    message = str(caught.value)
    assert "\n" not in message
    for part in says:
        assert part in message
    if all("/day" in t for t in texts):  # then it is known before anything is drawn
        with pytest.raises(WrongUse):
            districts(parse_totals([t.format(d=file) for t in texts]), place)
    if len(texts) == 3:
        assert "9TB" not in message  # it has no part in the conflict


def test_an_empty_district_and_a_silent_one_have_no_total(place: xr.Dataset, tmp_path: Path) -> None:
    file = district(place, tmp_path / "d.geojson", slice(0, 2))
    calendar = make_calendar("2026-01-05", 1, "1h", ROME)
    drawn = drawn_traffic(calendar, members=1)
    totals = parse_totals([f"traffic=1/day@{file}"])
    with pytest.raises(NoData, match="no cell"):
        fit(drawn[:, :4], totals, place.isel(cell=[2, 3, 4, 5]), calendar)
    drawn[:, place.col.values < 2] = 0
    with pytest.raises(NoData, match="no traffic"):
        fit(drawn, totals, place, calendar)


def test_units_are_brought_to_that_of_the_first() -> None:
    first, second = parse_totals(["internet=5e3GB/day", "internet=1TB/busyhour@a.geojson#x y"])
    assert (first.service, first.amount, first.unit, first.hours) == ("internet", 5000.0, "GB", "day")
    assert (second.amount, second.unit, second.hours, second.district) == (1000.0, "GB", "busyhour", "a.geojson#x y")


@pytest.mark.parametrize(
    "texts",
    [
        ["5TB/day"], ["traffic=TB/day"], ["traffic=-3/day"], ["traffic=0/day"], ["traffic=5"], ["x=5/day"],
        ["traffic=5/24h"], ["traffic=5/week"], ["traffic=5GB/day", "traffic=5apples/day"],
        ["traffic=5/day", "video=5/day"],
    ],
)  # fmt: skip
def test_totals_that_make_no_sense(texts: list[str]) -> None:
    with pytest.raises(WrongUse):
        parse_totals(texts, None if len(texts) > 1 else "traffic")


def test_a_total_whose_capitals_leave_a_doubt_is_asked_for() -> None:
    for text in ("traffic=4tb/day", "traffic=40gb/busyhour"):
        with pytest.raises(WrongUse, match=r"capitals tell bytes from bits: write .B \(bytes\) or .b \(bits\)"):
            parse_totals([text])
    assert [total.unit for total in parse_totals(["traffic=4TB/day"])] == ["TB"]


def test_a_district_in_a_file_of_several_layers_is_asked_for_alone(tmp_path: Path) -> None:
    import geopandas as gpd
    import shapely

    file = tmp_path / "d.gpkg"
    for mode, layer in (("w", "a"), ("a", "b")):
        gpd.GeoDataFrame({"id": [1]}, geometry=[shapely.box(9, 45, 9.1, 45.1)], crs=4326).to_file(
            file, layer=layer, mode=mode
        )
    with pytest.raises(WrongUse, match="has several layers: save the district as a file alone"):
        districts(parse_totals([f"traffic=1GB/day@{file}"]), context())


@pytest.mark.parametrize("text", ["traffic=1e-300TB/day", "traffic=1e308TB/day", "traffic=9e-21/busyhour"])
def test_an_amount_that_float32_cannot_hold_is_refused(text: str) -> None:
    with pytest.raises(WrongUse, match=f"--total {text}: values cannot hold .*: give an amount from 1e-20 to 1e"):
        parse_totals([text])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("amount", [1e-20, 1e30])
def test_the_least_and_the_largest_amount_are_met(amount: float, place: xr.Dataset) -> None:
    calendar = make_calendar("2026-01-05", 1, "10min", ROME)
    drawn = np.full((1, place.sizes["cell"], len(calendar.utc)), 3, dtype=np.float32)
    drawn[:, 0] = 1e-4  # a cell that carries next to nothing
    out = fit(drawn, parse_totals([f"traffic={amount}TB/day"]), place, calendar).apply(drawn)
    assert out.sum(dtype=np.float64) == pytest.approx(amount, rel=1e-6)
    assert (out > 0).all()


def test_measured_cells_keep_theirs_and_the_others_carry_the_rest(place: xr.Dataset, tmp_path: Path) -> None:
    calendar = make_calendar("2026-01-05", 2, "1h", ROME)
    drawn = drawn_traffic(calendar)
    measured = np.zeros(36, dtype=bool)
    measured[[0, 7, 20]] = True
    west = district(place, tmp_path / "west.geojson", slice(0, 2))
    totals = parse_totals(["traffic=900GB/day", f"traffic=400GB/day@{west}"])
    rows = districts(totals, place)
    out = fit_totals(drawn, totals, rows, calendar, ROME, measured).apply(drawn)
    for member, before in zip(out, drawn, strict=True):
        np.testing.assert_array_equal(member[measured], before[measured])
        assert carried(member, np.ones(36, bool), np.ones(48, bool)) == pytest.approx(2 * 900, rel=1e-6)
        assert carried(member, rows[1], np.ones(48, bool)) == pytest.approx(2 * 400, rel=1e-6)
        factor = member[~measured] / before[~measured]  # one in the district, another outside
        assert len(np.unique(factor.round(4))) == 2


def test_less_than_what_was_measured_is_refused_with_what_that_is(place: xr.Dataset) -> None:
    calendar = make_calendar("2026-01-05", 2, "1h", ROME)
    drawn = np.full((1, 36, 48), 0.5, dtype=np.float32)
    measured = np.arange(36) < 10  # 10 cells x 24 h x 0.5 GB
    totals = parse_totals(["traffic=100GB/day"])
    with pytest.raises(WrongUse, match="measured cells of the region, their gaps filled, carry 120GB then: give more"):
        fit_totals(drawn, totals, districts(totals, place), calendar, ROME, measured)
    enough = parse_totals(["traffic=276GB/day"])
    factors = fit_totals(drawn, enough, districts(enough, place), calendar, ROME, measured)
    assert factors.apply(drawn)[0, 30, 0] == pytest.approx(0.25)  # 156 GB over 26 cells x 24 h
    more, everywhere = parse_totals(["traffic=500GB/day"]), np.ones(36, dtype=bool)
    with pytest.raises(
        NoData, match="holds no cell without measurements that could carry more than the 432GB that were measured"
    ):
        fit_totals(drawn, more, districts(more, place), calendar, ROME, everywhere)


def test_totals_in_the_units_of_a_measured_file() -> None:
    (total,) = in_units(parse_totals(["traffic=3TB/day"]), "GB", 3600)
    assert (total.amount, total.unit) == (3000, "GB")
    (rate,) = in_units(parse_totals(["traffic=3TB/day"]), "Mbit/s", 900)
    assert rate.amount == pytest.approx(3e12 * 8 / (1e6 * 900))  # values of quarters of an hour that add up to 3 TB
    (plain,) = in_units(parse_totals(["calls=50/day"]), "calls", 3600)
    assert (plain.amount, plain.unit) == (50, "calls")
    with pytest.raises(WrongUse, match="the measured file is in 'calls', into which GB cannot be turned"):
        in_units(parse_totals(["calls=50GB/day"]), "calls", 3600)
