"""PRB plans against brute force, and the outcome against hand-computed queues."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from gentraffic.errors import NoData, WrongUse
from gentraffic.planning.resource_blocks import Radio, plan_myopic, plan_prb, prb_outcome


def radio(prbs: int, cells: int, steps: int, snr: float = 1.0, group: int = 1) -> Radio:
    """One block moves 1 Mbit per slot at snr 1."""
    return Radio(prbs, group, 1e6, 1.0, np.full((cells, steps), snr))


def test_hand_computed_queue() -> None:
    out = prb_outcome(np.array([[1, 2]]), np.array([[3.0, 1.0]]), radio(2, 1, 2))
    # slot 1: work 3, moved 1, delay 3, waits 2; slot 2: work 3, moved 2, delay 1.5, waits 1; mean arrivals 2
    assert out.backlog == pytest.approx((2 + 1) / 2)
    assert out.delay == pytest.approx((3 + 1.5) / 2)
    assert out.total == pytest.approx(1.5 + 4.5)
    assert out.left == pytest.approx(1 / 4)


def test_rate_is_shannons() -> None:
    assert radio(4, 1, 1, snr=15.0, group=2).rate().item() == pytest.approx(2 * 4)  # 2 MHz x log2(16)


@pytest.mark.parametrize("seed", range(5))
def test_equals_brute_force(seed: int) -> None:
    rng = np.random.default_rng(seed)
    arrivals = rng.gamma(1.0, 2.0, (2, 3))
    r = Radio(5, 1, 1e6, 1.0, rng.uniform(0.5, 3.0, (2, 3)))
    weights = (float(rng.uniform(0.2, 2)), float(rng.uniform(0.2, 2)))
    splits = [(a, b) for a in range(1, 5) for b in range(1, 5) if a + b <= 5]
    best = min(
        prb_outcome(np.array(plan).T, arrivals, r, *weights).total for plan in itertools.product(splits, repeat=3)
    )
    plan = plan_prb(arrivals, r, backlog_weight=weights[0], delay_weight=weights[1], gap=0.0)
    assert prb_outcome(plan.groups, arrivals, r, *weights).total == pytest.approx(best, rel=1e-6)
    assert plan.groups.min() >= 1
    assert plan.groups.sum(axis=0).max() <= 5


def test_equal_cells_share_equally() -> None:
    plan = plan_prb(np.full((4, 2), 3.0), radio(12, 4, 2), gap=0.0)
    assert plan.groups.tolist() == [[3, 3]] * 4


def test_what_cannot_be_says_why() -> None:
    with pytest.raises(NoData, match=r"--prbs 6 in groups of 4 are 1 groups, and each of the 2 cells needs one"):
        plan_prb(np.ones((2, 1)), radio(6, 2, 1, group=4))
    with pytest.raises(NoData, match="no traffic arrives"):
        plan_prb(np.zeros((2, 1)), radio(6, 2, 1))
    with pytest.raises(WrongUse, match=r"choices, over 60000: raise --group"):
        plan_prb(np.ones((50, 100)), radio(100, 50, 100))


def test_myopic_is_the_optimum_of_a_single_slot() -> None:
    rng = np.random.default_rng(3)
    arrivals = rng.gamma(1.0, 2.0, (3, 1))
    r = radio(8, 3, 1)
    splits = [np.array(s)[:, None] for s in itertools.product(range(1, 7), repeat=3) if sum(s) <= 8]
    best = min(prb_outcome(s, arrivals, r).total for s in splits)
    assert prb_outcome(plan_myopic(arrivals, r), arrivals, r).total == pytest.approx(best)


def test_out_of_time_still_answers_with_an_honest_gap() -> None:
    arrivals = np.random.default_rng(0).gamma(1.0, 2.0, (10, 12))
    r = radio(30, 10, 12)
    hurried = plan_prb(arrivals, r, time_limit_s=0.01)
    assert hurried.groups.sum(axis=0).max() <= 30
    total = prb_outcome(hurried.groups, arrivals, r).total
    assert total <= prb_outcome(plan_myopic(arrivals, r), arrivals, r).total
    patient = prb_outcome(plan_prb(arrivals, r, time_limit_s=1).groups, arrivals, r).total
    assert total * (1 - hurried.gap) <= patient * (1 + 1e-6)
