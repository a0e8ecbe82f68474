"""Deployments against brute force; coverage against hand counts."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from traffic_examples import context

from gentraffic.errors import BadInput, NoData, WrongUse
from gentraffic.io.source_columns import make_reading
from gentraffic.places.sites import with_sites
from gentraffic.planning.deploy import DeployPlan, Ground, coverage, covered, greedy, mean_day, plan_deploy, reached
from gentraffic.planning.sites import read_sites


def ground(seed: int, capacity: float | None = None, cost: bool = False) -> tuple[np.ndarray, Ground]:
    rng = np.random.default_rng(seed)
    cells = rng.uniform(0, 1000, (12, 2))
    candidates = rng.uniform(0, 1000, (7, 2))
    price = rng.uniform(0.5, 1.5, 7) if cost else np.ones(7)
    demand = rng.gamma(1.0, 1.0, (3, 12))
    return demand, Ground(cells, candidates, cells[:1], price, 260.0, capacity)


def test_reach_is_a_disc() -> None:
    site, cell = reached(np.array([[0.0, 0.0]]), np.array([[3.0, 4.0], [3.0, 4.1], [0.0, 0.0]]), 5.0)
    assert sorted(cell.tolist()) == [0, 2]
    assert site.tolist() == [0, 0]


def test_coverage_by_hand() -> None:
    cells = np.array([[0.0, 0], [100, 0], [500, 0]])
    g = Ground(cells, np.array([[500.0, 0]]), np.array([[50.0, 0]]), np.ones(1), 60.0)
    demand = np.array([[1.0, 1, 2], [3, 1, 0]])
    assert coverage(demand, g, np.array([], dtype=np.int64)).tolist() == [0.5, 1.0]
    assert coverage(demand, g, np.array([0])).tolist() == [1.0, 1.0]
    tight = Ground(cells, g.candidates_m, g.existing_m, g.cost, 60.0, capacity=1.5)
    assert coverage(demand, tight, np.array([0])) == pytest.approx([3.0 / 4, 1.5 / 4])


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("goal", ["mean", "worst-hour"])
@pytest.mark.parametrize("capacity", [None, 2.0])
@pytest.mark.parametrize("cost", [False, True])
def test_equals_brute_force(seed: int, goal: str, capacity: float | None, cost: bool) -> None:
    demand, g = ground(seed, capacity, cost)

    def value(chosen: tuple[int, ...]) -> float:
        share = coverage(demand, g, np.array(chosen, dtype=np.int64))
        return float(share.min() if goal == "worst-hour" else share @ demand.sum(axis=1) / demand.sum())

    budget = 3.0
    every = [c for n in range(8) for c in itertools.combinations(range(7), n) if g.cost[list(c)].sum() <= budget]
    plan: DeployPlan = plan_deploy(demand, g, budget, goal=goal, gap=0.0)
    assert g.cost[plan.chosen].sum() <= budget + 1e-9
    assert value(tuple(plan.chosen)) == pytest.approx(max(value(c) for c in every), abs=1e-6)


def test_mean_day() -> None:
    hour = np.concatenate([np.arange(24), np.arange(24)])
    load = np.stack([np.arange(48.0), np.ones(48)])
    day = mean_day(load, hour)
    assert day[:, 0].tolist() == [h + 12 for h in range(24)]
    with pytest.raises(NoData, match="no step in hour 5"):
        mean_day(load[:, :5], hour[:5])


def test_what_cannot_be_says_why() -> None:
    demand, g = ground(0)
    with pytest.raises(WrongUse, match="--goal best: give one of mean, worst-hour"):
        plan_deploy(demand, g, 3, goal="best")
    with pytest.raises(NoData, match=r"budget of 0.5 buys none of 7 candidates: the cheapest costs 1"):
        plan_deploy(demand, g, 0.5)
    far = Ground(g.cells_m, g.candidates_m + 1e6, g.existing_m, g.cost, 100.0)
    with pytest.raises(NoData, match="no candidate lies within 100 m"):
        plan_deploy(demand, far, 3)
    with pytest.raises(NoData, match="hour 1 of the mean day"):
        plan_deploy(demand * np.array([[1.0], [0], [1]]), g, 3)


def test_greedy_is_within_its_bound_and_hurried_plans_tell_their_gap() -> None:
    demand, g = ground(2)
    best = covered(demand, g, plan_deploy(demand, g, 3, gap=0.0).chosen, "mean")
    assert covered(demand, g, greedy(demand.sum(axis=0), g, 3), "mean") >= (1 - 1 / np.e) * best
    hurried = plan_deploy(demand, g, 3, time_limit_s=1e-4)
    assert covered(demand, g, hurried.chosen, "mean") * (1 + hurried.gap) >= best - 1e-9


def test_sites_come_in_the_tables_that_stations_come_in(tmp_path: Path) -> None:
    """Usual names of columns, semicolons; what is wrong is named with its row."""
    place = context("grid", 6)
    crs = str(place.attrs["crs_wkt"])
    at = [(float(place.lon[i]), float(place.lat[i])) for i in (0, 7)]
    file = tmp_path / "roofs.csv"
    rows = "".join(
        f"{name};{lon!r};{lat!r};{cost}\n" for name, (lon, lat), cost in zip("AB", at, (5, 2.5), strict=True)
    )
    file.write_text("Site;Longitude;LAT;Cost\n" + rows)
    sites, notes = read_sites(file, crs)
    assert notes == ()
    np.testing.assert_allclose(sites.xy_m, np.stack([place.x, place.y], 1)[[0, 7]], atol=1e-3)
    assert sites.ids == ["A", "B"]
    assert sites.cost.tolist() == [5.0, 2.5]
    known = with_sites(place, file)["stations"].values
    assert np.flatnonzero(known).tolist() == [0, 7]
    file.write_text("X;Y;CELLS\n" + "".join(f"{lon};{lat};1.200\n".replace(".", ",", 2) for lon, lat in at))
    reading = make_reading("lon=X,lat=Y,n_cells=CELLS,id=OF_ANOTHER_TABLE", None, "comma", "point")
    np.testing.assert_array_equal(with_sites(place, file, None, reading)["stations"].values, 1200.0 * known)
    for text, said in (("cost\n9.2;45.4;-7", "cost is '-7' in row 2"), ("n_cells\n9.2;45.4;two", "n_cells is 'two'")):
        file.write_text("lon;lat;" + text + "\n")
        with pytest.raises(BadInput, match=said):
            read_sites(file, crs) if "cost" in text else with_sites(place, file)
