"""Sleep plans against brute force over all plans, and against a dynamic programme."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from gentraffic.errors import BadInput, NoData
from gentraffic.planning.sleep import SleepCosts, SleepPlan, plan_sleep, sleep_outcome, step_costs

COSTS = SleepCosts(units=2, unit_load=1.0)


def solve(load: np.ndarray, costs: SleepCosts, pool: int | None = None) -> SleepPlan:
    plan = [p for _, p in plan_sleep(load, costs, pool=pool)][-1]
    assert plan is not None
    return plan


def test_hand_computed_outcome() -> None:
    awake = np.array([[1, 2, 0]])
    load = np.array([[2.0, 2.0, 1.0]])
    out = sleep_outcome(awake, load, SleepCosts(units=2, unit_load=1.0, wear=0.5, load_power=0.1, unit_power=1.0))
    assert out.quality == pytest.approx(0.5 + 0 + 1)
    assert out.switches == 3
    assert out.energy == pytest.approx(0.1 * 3 + 3)
    assert out.total == pytest.approx(1.5 + 1.5 + 3.3)
    assert out.lost == pytest.approx(2 / 5)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("pool", [None, 2])
def test_equals_brute_force(seed: int, pool: int | None) -> None:
    rng = np.random.default_rng(seed)
    load = rng.gamma(1.0, 1.0, (3, 2, 3))  # members, cells, steps
    costs = SleepCosts(2, 1.0, quality=1.0, wear=float(rng.uniform(0, 0.5)), load_power=0.3, unit_power=0.2)
    best = min(
        sleep_outcome(np.array(plan).reshape(2, 3), load, costs).total
        for plan in itertools.product(range(3), repeat=6)
        if pool is None or (np.array(plan).reshape(2, 3).sum(axis=0) <= pool).all()
    )
    plan = solve(load, costs, pool)
    assert sleep_outcome(plan.awake, load, costs).total == pytest.approx(best)
    assert plan.gap <= 1e-3
    if pool is not None:
        assert plan.awake.sum(axis=0).max() <= pool


def test_equals_dynamic_programme_over_a_week() -> None:
    rng = np.random.default_rng(0)
    load = rng.gamma(2.0, 1.0, (1, 3, 168))
    costs = SleepCosts(5, 1.0, wear=0.3)
    price = step_costs(load, costs)
    switch = costs.wear * np.abs(np.arange(6)[:, None] - np.arange(6)[None, :])
    best = 0.0
    for cell in price:
        value = cell[0]
        for step in cell[1:]:
            value = (value[:, None] + switch).min(axis=0) + step
        best += value.min()
    assert sleep_outcome(solve(load, costs).awake, load, costs).total == pytest.approx(best)


def test_members_are_hedged() -> None:
    """With a dear loss, the plan for two equally likely loads serves the larger; the plan for their mean does not."""
    load = np.array([0.5, 1.9]).reshape(2, 1, 1)
    costs = SleepCosts(2, 1.0, quality=10.0)
    assert solve(load, costs).awake.item() == 2
    assert solve(np.array([[[0.9]]]), costs).awake.item() == 1


def test_serve_is_kept_and_infeasible_says_which() -> None:
    load = np.array([[[1.5, 0.1, 1.9]]])
    dear = SleepCosts(2, 1.0, unit_power=9.0)
    assert solve(load, dear).awake.tolist() == [[0, 0, 0]]
    assert solve(load, SleepCosts(2, 1.0, unit_power=9.0, serve=1.0)).awake.tolist() == [[2, 1, 2]]
    with pytest.raises(NoData, match=r"--serve 1: cell 0 needs 3 units at step 0, --units is 2"):
        solve(np.array([[[2.5]]]), SleepCosts(2, 1.0, serve=1.0))
    with pytest.raises(NoData, match=r"--pool 1: at step 0 --serve 1 needs 2 units"):
        solve(load, SleepCosts(2, 1.0, serve=1.0), pool=1)
    with pytest.raises(BadInput, match="missing values"):
        solve(np.array([[[np.nan]]]), COSTS)
