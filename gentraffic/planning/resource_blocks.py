"""How a server shares its physical resource blocks among cells, slot by slot (FoMo section 5.2, eq. 18).

A cell n that holds a groups of blocks in slot t moves r = a c(n, t) of data, with c = group x bandwidth x
log2(1 + snr(n, t)) x slot. What has arrived but is not moved waits: U(t + 1) = max(U(t) + P(t) - r(t), 0). The delay of
a slot is the work in it over the rate, in slots: d(t) = (U(t) + P(t)) / r(t); eq. 18 writes U(t), "the overall
transmission tasks", which its own backlog equation splits into what waited and what came (see PAPERS).

    minimise  backlog_weight sum U(t + 1) / mean arrivals  +  delay_weight sum d(t)

Both parts are divided to plain numbers, since eq. 18 adds data to time. Delay is a ratio of two unknowns; with one
binary z(n, t, a) per number of groups and the work split into w(n, t, a) <= most work x z(n, t, a), it is the linear
sum of w(n, t, a) / (a c): a mixed-integer programme that is exact. HiGHS solves it to the gap that is reported.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from gentraffic.errors import BadInput, NoData, WrongUse
from gentraffic.planning.milp import solve

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
MAX_CHOICES = 60_000  # binaries: beyond them no plan comes in minutes


@dataclass(frozen=True)
class Radio:
    """prbs: blocks of the server per slot. group: blocks that are given together. bandwidth_hz: of one block.
    slot_s: seconds of a step. snr: signal to noise, as a ratio, (cells, steps)."""

    prbs: int
    group: int
    bandwidth_hz: float
    slot_s: float
    snr: Floats

    @property
    def groups(self) -> int:
        """Groups of blocks to share out in a slot."""
        return self.prbs // self.group

    def rate(self) -> Floats:
        """Mbit that one group moves in a slot, (cells, steps)."""
        return self.group * self.bandwidth_hz * np.log2(1 + self.snr) * self.slot_s / 1e6


@dataclass(frozen=True)
class PrbPlan:
    """groups: (cells, steps). gap: relative, between the plan and the best possible."""

    groups: Ints
    gap: float


@dataclass(frozen=True)
class PrbOutcome:
    """backlog: sum over cells and steps, in mean arrivals of a cell and step. delay: mean over them, in slots.
    total: eq. 18 with the weights. left: share of all that arrived and still waits at the end."""

    backlog: float
    delay: float
    total: float
    left: float
    COLUMNS: ClassVar[tuple[str, ...]] = (
        "cost: backlog + delay", "backlog, mean slots of a cell", "mean delay", "left at the end"
    )  # fmt: skip

    def row(self) -> tuple[str, ...]:
        """The columns as a table shows them."""
        return f"{self.total:.2f}", f"{self.backlog:.3f}", f"{self.delay:.3f} slots", f"{self.left:.2%}"


def prb_outcome(
    groups: Ints, arrivals: Floats, radio: Radio, backlog_weight: float = 1.0, delay_weight: float = 1.0
) -> PrbOutcome:
    """Play a plan against arrivals. groups: (cells, steps) of resource blocks. arrivals: Mbit, (cells, steps) or
    (members, cells, steps)."""
    arrivals = arrivals if arrivals.ndim == 3 else arrivals[None]
    mean = _mean(arrivals)
    moved = groups * radio.rate()
    waiting = np.zeros(arrivals.shape[:2])
    backlog = delay = 0.0
    for step in range(arrivals.shape[2]):
        work = waiting + arrivals[..., step]
        delay += float((work / moved[:, step]).sum())
        waiting = np.maximum(work - moved[:, step], 0)
        backlog += float(waiting.sum()) / mean
    members, cells, steps = arrivals.shape
    total = (backlog_weight * backlog + delay_weight * delay) / members
    return PrbOutcome(
        backlog / members, delay / (members * cells * steps), total, float(waiting.sum() / max(arrivals.sum(), 1e-300))
    )


def plan_prb(
    arrivals: Floats,
    radio: Radio,
    *,
    backlog_weight: float = 1.0,
    delay_weight: float = 1.0,
    time_limit_s: float = 60.0,
    gap: float = 0.01,
) -> PrbPlan:
    """The groups of each cell and slot for expected arrivals (cells, steps) in Mbit.

    Raises NoData where the cells outnumber the groups, WrongUse where the programme is too large, BadInput for
    arrivals that are not finite."""
    from scipy import sparse
    from scipy.optimize import Bounds, LinearConstraint

    cells, steps = arrivals.shape
    if not np.isfinite(arrivals).all():
        raise BadInput("the traffic has missing values: fill or cut them first")
    levels = radio.groups - cells + 1  # every cell holds one group at least: without one its delay has no end
    if levels < 1:
        raise NoData(
            f"--prbs {radio.prbs} in groups of {radio.group} are {radio.groups} groups, and each of the {cells} cells "
            "needs one: raise --prbs, lower --group or --select fewer cells"
        )
    if cells * steps * levels > MAX_CHOICES:
        raise WrongUse(
            f"{cells} cells x {steps} slots x {levels} sizes are {cells * steps * levels} choices, over {MAX_CHOICES}: "
            "raise --group, or take fewer cells (--select) or slots (--slots)"
        )
    rate, mean = radio.rate(), _mean(arrivals[None])
    sizes = np.arange(1, levels + 1, dtype=np.float64)
    z = np.arange(cells * steps * levels).reshape(cells, steps, levels)
    w = z + z.size  # work, in mean arrivals
    u = np.arange(cells * steps).reshape(cells, steps) + 2 * z.size  # waiting after each slot
    width = 2 * z.size + u.size
    most = np.cumsum(arrivals, axis=1) / mean  # nobody ever has more work than has arrived

    def matrix(entries: list[tuple[Any, Any, Any]], rows: int) -> sparse.csr_array:
        row, column, value = (
            np.concatenate([np.broadcast_to(part[i], np.shape(part[1])).ravel() for part in entries]) for i in range(3)
        )
        return sparse.csr_array((value, (row.astype(np.int64), column)), shape=(rows, width))

    place = np.arange(cells * steps).reshape(cells, steps)
    deep = place[..., None]
    came = arrivals / mean
    constraints = [
        LinearConstraint(matrix([(deep, z, 1.0)], u.size), 1, 1),  # one size
        LinearConstraint(matrix([(np.arange(steps)[None, :, None], z, sizes)], steps), ub=radio.groups),
        # the work of a slot is what waited and what came
        LinearConstraint(matrix([(deep, w, 1.0), (place[:, 1:], u[:, :-1], -1.0)], u.size), came.ravel(), came.ravel()),
        LinearConstraint(matrix([(z, w, 1.0), (z, z, -most[..., None])], z.size), ub=0),
        # waiting >= work - moved, per size, which is tighter than in sum
        LinearConstraint(
            matrix([(place, u, -1.0), (deep, w, 1.0), (deep, z, -sizes * rate[..., None] / mean)], u.size), ub=0
        ),
    ]
    price = np.zeros(width)
    price[w] = delay_weight * mean / (sizes * rate[..., None])
    price[u] = backlog_weight
    upper = np.full(width, np.inf)
    upper[z] = 1
    bounds = Bounds(np.zeros(width), upper)
    solution = solve(
        price,
        constraints=constraints,
        bounds=bounds,
        integrality=(np.arange(width) < z.size).astype(np.int64),
        options={"time_limit": time_limit_s, "mip_rel_gap": gap},
    )
    plans: list[Ints] = [plan_myopic(arrivals, radio, backlog_weight=backlog_weight, delay_weight=delay_weight)]
    if solution.x is not None:
        plans.append(np.rint(solution.x[z] @ sizes).astype(np.int64))
    totals = [prb_outcome(plan, arrivals, radio, backlog_weight, delay_weight).total for plan in plans]
    best = int(np.argmin(totals))
    bound = solution.mip_dual_bound
    if bound is None or bound > totals[best] * (1 + 1e-6):  # HiGHS 1.12 was seen to call a worse plan the optimum
        relaxed = solve(price, constraints=constraints, bounds=bounds)
        bound = relaxed.fun if relaxed.fun is not None else 0.0
    return PrbPlan(plans[best], max(0.0, 1 - float(bound) / totals[best]))


def faded_snr(snr_db: float, fading_db: float, shape: tuple[int, int], seed: int = 0) -> Floats:
    """Signal to noise as a ratio, `shape` (cells, steps): normal in dB, of mean `snr_db` and spread `fading_db`."""
    faded: Floats = 10 ** (np.random.default_rng(seed).normal(snr_db, fading_db, shape) / 10)
    return faded


def mbit_for_load(radio: Radio, traffic: Floats, share: float = 0.7) -> float:
    """Mbit of one unit of traffic with which its mean is `share` of what all blocks move.

    traffic: (cells, steps) or (members, cells, steps), in its own units. Raises NoData where it is 0 throughout.
    """
    moved = share * radio.groups * float(radio.rate().mean())
    return moved / (int(traffic.shape[-2]) * _mean(traffic))


def share_offered(radio: Radio, arrivals: Floats) -> float:
    """Mean of the arrivals of all cells in a slot over what all blocks move: above 1, backlogs grow without end.

    arrivals: (cells, steps) or (members, cells, steps), in Mbit.
    """
    return int(arrivals.shape[-2]) * _mean(arrivals) / (radio.groups * float(radio.rate().mean()))


def plan_myopic(arrivals: Floats, radio: Radio, *, backlog_weight: float = 1.0, delay_weight: float = 1.0) -> Ints:
    """Groups (cells, steps) that are best for each slot by itself: one more group always goes where it saves most.

    The saving of a further group falls with every group, so this is the optimum of a slot (Fox, "Discrete optimization
    via marginal analysis", 1966); it does not look ahead. What `plan_prb` falls back on when its time is up.
    arrivals: (cells, steps) in Mbit. Raises NoData where the cells outnumber the groups, or nothing arrives.
    """
    cells, steps = arrivals.shape
    if radio.groups < cells:
        raise NoData(f"{radio.groups} groups for {cells} cells")
    rate, mean = radio.rate(), _mean(arrivals[None])
    out = np.ones((cells, steps), dtype=np.int64)
    waiting = np.zeros(cells)
    for step in range(steps):
        work, c, given = waiting + arrivals[:, step], rate[:, step], out[:, step]

        def cost(a: Ints, work: Floats = work, c: Floats = c) -> Floats:
            whole: Floats = delay_weight * work / (a * c) + backlog_weight * np.maximum(work - a * c, 0) / mean
            return whole

        for _ in range(radio.groups - cells):
            given[int(np.argmax(cost(given) - cost(given + 1)))] += 1
        waiting = np.maximum(work - given * c, 0)
    return out


def _mean(arrivals: Floats) -> float:
    """Mean arrivals of a cell and step. Raises NoData where nothing arrives."""
    mean = float(arrivals.mean())
    if mean <= 0:
        raise NoData("no traffic arrives in these slots: there is nothing to plan")
    return mean
