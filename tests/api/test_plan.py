"""`gentraffic.plan`: closed forms, the same numbers as the command, files and Datasets alike, errors of Python."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from notebook_html import cells_of
from traffic_examples import context, traffic

import gentraffic
from gentraffic.cli.main import run
from gentraffic.errors import BadInput, NoData, WrongUse
from gentraffic.io.files import write_context, write_traffic

CELLS = context(n=3)
DRAWN = traffic(CELLS, days=7, members=3)
REAL = traffic(CELLS, days=7, seed=2, units="MB")
PAST = traffic(CELLS, days=14, seed=3, start="2013-10-17T22:00", units="MB")
NO_LAT = pd.DataFrame({"lon": CELLS["lon"].values})


@pytest.fixture
def files(tmp_path: Path) -> Path:
    for name, ds in {"drawn": DRAWN, "real": REAL, "past": PAST}.items():
        write_traffic(ds, tmp_path / f"{name}.nc")
    write_context(CELLS, tmp_path / "context.nc")
    return tmp_path


def with_values(values: np.ndarray) -> xr.Dataset:
    """The first cells of REAL with (cells, steps) values."""
    cut = REAL.isel(cell=slice(0, values.shape[0]), time=slice(0, values.shape[1]))
    return cut.assign(internet=(("cell", "time"), values.astype(np.float32), REAL["internet"].attrs))


def told(capsys: pytest.CaptureFixture[str], words: list[str]) -> dict[str, Any]:
    assert run(["plan", *words, "--json"]) == 0, capsys.readouterr().err
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def plain(outcomes: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps({name: asdict(outcome) for name, outcome in outcomes.items()}))
    return found


def test_units_that_cost_less_than_they_save_are_awake() -> None:
    """Of a load of L whole units, one more awake saves 1 / L and costs 0.15: all L are awake while L < 1 / 0.15."""
    load = np.random.default_rng(0).integers(1, 5, (9, 48))
    found = gentraffic.plan.sleep(with_values(load), units=4, capacity=1.0, wear=0.0)
    np.testing.assert_array_equal(found.decision["awake"], load)
    own, all_awake = found.outcomes["this file"], found.outcomes["all awake"]
    assert own.total == pytest.approx(0.15 * load.sum())
    assert all_awake.total == pytest.approx(0.05 * load.sum() + 0.1 * 4 * load.size)
    assert found.gap == 0
    busy = gentraffic.plan.sleep(with_values(7.0 * np.ones((2, 3))), units=9, capacity=1.0, wear=0.0)
    assert not busy.decision["awake"].values.any()  # L = 7 > 1 / 0.15: serving costs more than it saves


def test_equal_cells_share_the_blocks_and_wait_seven_tenths_of_a_slot() -> None:
    """A constant load of 70%: no backlog, and every cell's delay is 0.7 of a slot."""
    equal = with_values(5.0 * np.ones((4, 8)))
    equal["internet"].attrs["units"] = "1"
    found = gentraffic.plan.prb(equal, prbs=40, group=2, slots=8)
    np.testing.assert_array_equal(found.decision["blocks"], np.full((4, 8), 10))
    own = found.outcomes["this file"]
    assert own.delay == pytest.approx(0.7)
    assert own.backlog == pytest.approx(0.0, abs=1e-9)
    assert own.total == pytest.approx(0.7 * 4 * 8)
    capacity = 20 * 2 * 180e3 * np.log2(1 + 10.0) * 3600 / 1e6  # Mbit of all 20 groups in an hour
    assert found.decision.attrs["mbit_per_unit"] == pytest.approx(0.7 * capacity / (4 * 5.0))
    assert found.notes == (f"1 unit of traffic is taken as {0.7 * capacity / 20:.4g} Mbit, a load of 70%: give mbit",)


def test_small_sites_stand_in_the_busiest_cells() -> None:
    found = gentraffic.plan.deploy(REAL, sites=2, radius=100)
    day = REAL["internet"].mean("time").values.astype(np.float64)
    busiest = np.sort(np.argsort(day)[-2:])
    assert found.decision["id"].tolist() == [str(CELLS["cell_id"].values[i]) for i in busiest]
    assert found.outcomes["this file"].coverage == pytest.approx(day[busiest].sum() / day.sum())
    assert found.decision.crs == "EPSG:4326"
    np.testing.assert_allclose(found.decision.geometry.x, CELLS["lon"].values[busiest])
    again = gentraffic.plan.deploy(REAL, sites=1, radius=100, existing=found.decision)
    third = np.argsort(day)[-3]
    assert again.decision["id"].tolist() == [str(CELLS["cell_id"].values[third])]
    assert again.outcomes["as it stands"].coverage == pytest.approx(found.outcomes["this file"].coverage)


def test_standing_sites_that_are_elsewhere_are_refused() -> None:
    lon, lat = CELLS["lon"].values[:2], CELLS["lat"].values[:2]
    for wrong in ((lat, lon), (lon * 0, lat * 0)):  # swapped; the place of what has none
        table = pd.DataFrame({"lon": wrong[0], "lat": wrong[1]})
        with pytest.raises(NoData, match="no site of existing lies within 100 m of a cell"):
            gentraffic.plan.deploy(REAL, sites=1, radius=100, existing=table)


def test_sleep_gives_the_numbers_of_the_command(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["sleep", str(files / "drawn.nc"), "-o", str(files / "a.nc"), "--capacity", "5", "--serve", "0.2"]
    words += ["--real", str(files / "real.nc"), "--history", str(files / "past.nc")]
    command = told(capsys, words)
    seen: list[tuple[int, int]] = []
    found = gentraffic.plan.sleep(
        DRAWN, capacity=5, serve=0.2, real=REAL, history=files / "past.nc", out=files / "b.nc",
        progress=lambda done, of: seen.append((done, of)),
    )  # fmt: skip
    assert plain(found.outcomes) == command["outcomes"]
    assert found.gap == command["gap"]
    assert found.judged_by == "real"
    assert seen[-1] == (27, 27)
    a, b = (gentraffic.read_traffic(files / f"{name}.nc") for name in "ab")
    np.testing.assert_array_equal(a["awake"], b["awake"])
    np.testing.assert_array_equal(b["awake"], found.decision["awake"])
    assert b.attrs["command"] == "gentraffic.plan.sleep"
    assert list(files.glob("*.html")) == []


def test_prb_gives_the_numbers_of_the_command(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["prb", str(files / "drawn.nc"), "-o", str(files / "a.geojson"), "--slots", "3", "--prbs", "40"]
    words += ["--start", "2013-11-01T10:00", "--select", "5,2,1", "--fading-db", "2", "--seed", "3"]
    command = told(capsys, words)
    found = gentraffic.plan.prb(
        files / "drawn.nc", slots=3, prbs=40, start="2013-11-01T10:00", select=[5, 2, 1], fading_db=2, seed=3
    )
    assert plain(found.outcomes) == command["outcomes"]
    assert found.decision["cell_id"].values.tolist() == [5, 2, 1]
    frame = gpd.read_file(files / "a.geojson")
    assert frame["blocks_mean"].tolist() == found.decision["blocks"].mean("time").values.round(3).tolist()
    assert "give --mbit" in command["notes"][-1]


def test_deploy_gives_the_numbers_of_the_command(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["deploy", str(files / "drawn.nc"), "-o", str(files / "a.geojson"), "--sites", "2", "--radius", "250"]
    command = told(capsys, [*words, "--context", str(files / "context.nc"), "--capacity", "3", "--goal", "worst-hour"])
    found = gentraffic.plan.deploy(
        str(files / "drawn.nc"), sites=2, radius=250, context=CELLS, capacity=3, goal="worst-hour",
        out=files / "b.parquet",
    )  # fmt: skip
    assert set(found.outcomes) == {"this file", "POIs alone"}
    assert plain(found.outcomes) == command["outcomes"]
    for frame in (gpd.read_file(files / "a.geojson"), gpd.read_parquet(files / "b.parquet")):
        assert frame["id"].tolist() == found.decision["id"].tolist()
        assert frame.geometry.geom_equals_exact(found.decision.geometry, 1e-9).all()


def test_a_notebook_shows_the_table() -> None:
    named = with_values(np.ones((9, 6)))
    found = gentraffic.plan.sleep(named.isel(time=slice(0, 6)), capacity=1.0, wear=0.0, real=named)
    cells = cells_of(found._repr_html_())
    assert cells[:7] == ["plan from", "total cost", "quality", "switches", "energy", "not served", "awake"]
    row = cells[cells.index("this file") :]
    assert row[:3] == ["this file", f"{0.15 * 54:.1f}", "0.00"]
    assert "judged by real, at the same times" in found._repr_html_()
    assert "the optimum" in str(found)
    assert repr(found) == str(found)


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: gentraffic.plan.sleep(DRAWN, units=0), WrongUse, "units=0: give 1 or more"),
        (lambda: gentraffic.plan.sleep(DRAWN, units=2.5), WrongUse, "units=2.5: give a whole number"),
        (lambda: gentraffic.plan.sleep(DRAWN, serve=1.5), WrongUse, "serve=1.5: give a share, 0 to 1"),
        (lambda: gentraffic.plan.sleep(DRAWN, unit_power=-1), WrongUse, "unit_power=-1: give 0 or more"),
        (lambda: gentraffic.plan.sleep(DRAWN, capacity=0), WrongUse, "capacity=0: give a number above 0"),
        (lambda: gentraffic.plan.sleep(DRAWN, time_limit=np.inf), WrongUse, "time_limit=inf: give a finite number"),
        (lambda: gentraffic.plan.sleep(DRAWN, serve=0.1, pool=2), NoData, "raise pool"),
        (lambda: gentraffic.plan.sleep(DRAWN, service="calls"), WrongUse, "no service 'calls' here"),
        (lambda: gentraffic.plan.sleep(DRAWN, real=REAL.isel(cell=[0])), WrongUse, "real lacks 8 of 9 cells"),
        (lambda: gentraffic.plan.sleep("none.nc"), BadInput, "none.nc: no such file"),
        (lambda: gentraffic.plan.sleep(CELLS), BadInput, ""),
        (lambda: gentraffic.plan.sleep(DRAWN, out="a.xyz"), WrongUse, "a.xyz: unknown suffix"),
        (lambda: gentraffic.plan.prb(DRAWN, start="2019-01-01"), WrongUse, "change start or slots"),
        (lambda: gentraffic.plan.prb(DRAWN, snr_db=np.nan), WrongUse, "snr_db=nan: give a finite number"),
        (lambda: gentraffic.plan.prb(DRAWN, select=["x"]), WrongUse, "select: no cell 'x' in this place"),
        (lambda: gentraffic.plan.prb(DRAWN, prbs=10), NoData, "each of the 9 cells needs one"),
        (lambda: gentraffic.plan.deploy(DRAWN), WrongUse, "give one of sites and budget"),
        (lambda: gentraffic.plan.deploy(DRAWN, sites=1, goal="best"), WrongUse, "goal=best: give one of mean"),
        (lambda: gentraffic.plan.deploy(DRAWN, sites=1, candidates=NO_LAT), BadInput, "'lat'"),
    ],
)  # fmt: skip
def test_errors_are_in_the_words_of_python(call: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error) as caught:
        call()
    message = str(caught.value)
    assert says in message
    assert "--" not in message
    assert "\n" not in message


def test_units_of_the_traffic_are_those_of_the_capacity_and_of_the_blocks() -> None:
    load = np.random.default_rng(0).integers(1, 5, (4, 24)).astype(float)  # MB per hour
    by_number = gentraffic.plan.sleep(with_values(load), units=4, capacity=0.9, wear=0.0)
    by_unit = gentraffic.plan.sleep(with_values(load), units=4, capacity="0.9MB", wear=0.0)
    by_rate = gentraffic.plan.sleep(with_values(load), units=4, capacity="2kbit/s", wear=0.0)  # 2 x 3600 / 8 = 900 kB
    for found in (by_unit, by_rate):
        assert found.decision.attrs["unit_load"] == pytest.approx(0.9)
        np.testing.assert_array_equal(found.decision["awake"], by_number.decision["awake"])
    with pytest.raises(WrongUse, match="capacity"):
        gentraffic.plan.sleep(with_values(load), capacity="40 apples")
    found = gentraffic.plan.prb(with_values(load), prbs=8, group=2, slots=4)
    assert found.decision.attrs["mbit_per_unit"] == 8.0  # a megabyte
    assert not [note for note in found.notes if "give" in note]
    found = gentraffic.plan.prb(with_values(load * 1e6).isel(time=slice(0, 4)), prbs=8, group=2, slots=4)
    # 8 blocks of 180 kHz at 10 dB move 180e3 * log2(11) * 8 bits a second
    asked = load[:, :4].mean() * 4 * 8e12 / (8 * 180e3 * np.log2(11) * 3600)
    assert f"the cells ask for {asked:,.1f} times what 8 blocks move" in found.notes[-1]
    relative = with_values(load)
    relative["internet"].attrs["units"] = "1"
    assert "a load of 70%: give" in gentraffic.plan.prb(relative, prbs=8, group=2, slots=4).notes[-1]
    one = gentraffic.plan.deploy(with_values(load), sites=1, radius=400.0, capacity=3.6)
    same = gentraffic.plan.deploy(with_values(load), sites=1, radius=400.0, capacity="8kbit/s")
    assert one.outcomes == same.outcomes


def test_the_advice_of_a_sleep_plan_works() -> None:
    """By default what does not fit is said with the capacity that carries it; an error names units and capacity."""
    load = np.ones((4, 168))
    load[2, 89] = 6.0  # 1.5 units of 4 at the 99th percentile of 1: needs 24
    found = gentraffic.plan.sleep(with_values(load), units=4, serve=0.95)
    (said,) = [note for note in found.notes if "left over" in note]
    assert said.startswith("in 1 of 168 hours, at 1 of 4 cells, 4 units carry less than serve 0.95 asks for")
    assert f"{0.95 * 6 - 1:.3g} MB ({(0.95 * 6 - 1) / load.sum():.2%} of the load)" in said
    assert int(found.decision["awake"][2, 89]) == 4  # all that there are
    advised = float(re.search(r"capacity ([\d.]+)MB carries it all", said)[1])  # type: ignore[index]
    assert advised == pytest.approx(0.95 * 6 / 4, rel=1e-3)
    again = gentraffic.plan.sleep(with_values(load), units=4, serve=0.95, capacity=advised)
    assert not any("left over" in note for note in again.notes)
    # with more units of the same default the same holds: no chase after a unit that shrinks
    more = gentraffic.plan.sleep(with_values(load), units=9, serve=0.95)
    assert int(more.decision["awake"][2, 89]) == 9
    with pytest.raises(NoData, match=r"give units 6 or capacity 1\.425, or lower serve") as raised:
        gentraffic.plan.sleep(with_values(load), units=4, serve=0.95, capacity=1.0)
    assert "needs 6 units at step 89" in str(raised.value)
    for advice in ({"units": 6, "capacity": 1.0}, {"units": 4, "capacity": 1.425}):
        assert gentraffic.plan.sleep(with_values(load), serve=0.95, **advice).outcomes["this file"].lost < 0.06


def test_what_a_sleep_plan_leaves_unserved_is_said() -> None:
    found = gentraffic.plan.sleep(with_values(7.0 * np.ones((2, 3))), units=9, capacity=1.0, wear=0.0)
    assert "leaves 100.0% of the load unserved" in found.text()[0]
    assert found.to_json()["notes"][0] == found.shortfall == found.sentences()[0]


def test_blocks_are_planned_for_the_busiest_slots_unless_a_start_is_given() -> None:
    load = np.ones((4, 48))
    load[:, 30:34] = 5.0
    equal = with_values(load)
    equal["internet"].attrs["units"] = "1"
    found = gentraffic.plan.prb(equal, prbs=40, slots=4)
    np.testing.assert_array_equal(found.decision["time"].values, equal["time"].values[30:34])
    assert any(note.startswith("planned: the 4 slots in a row with most traffic") for note in found.notes)
    first = str(equal["time"].values[0])[:16] + "+00:00"
    given = gentraffic.plan.prb(equal, prbs=40, slots=4, start=first)
    np.testing.assert_array_equal(given.decision["time"].values, equal["time"].values[:4])
    assert not any("most traffic" in note for note in given.notes)
