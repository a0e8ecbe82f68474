"""Which radio units sleep when (FoMo section 5.1, eq. 17).

Over the cells m and hours t of a load L (in the load one unit serves, c0 = 1 after scaling) choose how many units
x in 0..X are awake:

    minimise  quality sum max(L - x c0, 0) / L  +  wear sum |x_t - x_(t-1)|
              + sum (load_power min(L, x c0) / c0 + unit_power x)

Eq. 17's energy alpha L + beta (L / c0) is determined by the served load alone, so keeping every unit awake is always
optimal in it: L / c0 is read as the number of awake units, whose power is then what sleeping saves (see PAPERS).

Exact for any cost per hour: with u_k = [x >= k] the hourly cost is linear in u and |x_t - x_(t-1)| = sum_k |u_k,t -
u_k,t-1|, constraints of differences only, so the matrix is totally unimodular and every vertex of the linear programme
is whole (Ishikawa, "Exact optimization for Markov random fields with convex priors", PAMI 2003). HiGHS solves it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from gentraffic.errors import BadInput, NoData
from gentraffic.planning.milp import solve

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
CELLS_AT_ONCE = 32  # of one linear programme: its cost grows faster than linearly


@dataclass(frozen=True)
class SleepCosts:
    """units: per cell, X. unit_load: what one unit serves in a step, c0, in the traffic's unit. The rest are costs:
    quality of a step in which nothing is served, wear of one switch, load_power of serving c0, unit_power of one unit
    awake for a step. serve: share of the load that must be served in every cell and step (0: no such rule). full: where
    all units of a cell do not suffice for that, all are awake; else such a load has no plan."""

    units: int
    unit_load: float
    quality: float = 1.0
    wear: float = 0.2
    load_power: float = 0.05
    unit_power: float = 0.1
    serve: float = 0.0
    full: bool = False


@dataclass(frozen=True)
class SleepPlan:
    """awake: (cells, steps) units. gap: relative, between what was found and what is possible; 0 is the optimum."""

    awake: Ints
    gap: float


@dataclass(frozen=True)
class SleepOutcome:
    """What a plan does to a load: the three parts of eq. 17 and their weighted sum, and the share of load not served.

    quality: sum over cells and steps of the share not served. switches: units switched. energy: load and unit power.
    """

    quality: float
    switches: float
    energy: float
    total: float
    lost: float
    awake_mean: float
    COLUMNS: ClassVar[tuple[str, ...]] = ("total cost", "quality", "switches", "energy", "not served", "awake")

    def row(self) -> tuple[str, ...]:
        """The columns as a table shows them."""
        return (
            f"{self.total:.1f}", f"{self.quality:.2f}", f"{self.switches:.0f}", f"{self.energy:.1f}",
            f"{self.lost:.2%}", f"{self.awake_mean:.2f}",
        )  # fmt: skip


def step_costs(load: Floats, costs: SleepCosts) -> Floats:
    """Expected cost of 0..X awake units: load (members, cells, steps) -> (cells, steps, X + 1); wear not included."""
    out = np.zeros((*load.shape[1:], costs.units + 1))
    for member in load / costs.unit_load:
        for x in range(costs.units + 1):
            served = np.minimum(member, x)
            out[..., x] += costs.quality * _lost_share(member, x) + costs.load_power * served + costs.unit_power * x
    return out / len(load)


def plan_sleep(
    load: Floats,
    costs: SleepCosts,
    *,
    ids: Sequence[object] | None = None,
    pool: int | None = None,
    time_limit_s: float = 60.0,
    gap: float = 1e-3,
) -> Iterator[tuple[int, SleepPlan | None]]:
    """Iterate over the work; yields (cells done, None) and at the end (cells, the plan).

    load: (members, cells, steps), of the cells `ids`: the expected cost over the members is least. pool: units awake at
    once over all cells, which are then planned together, by a mixed-integer programme that stops at the relative `gap`
    or after `time_limit_s`. Raises NoData, naming the constraint, where no plan exists; BadInput for missing values.
    """
    if not np.isfinite(load).all():
        raise BadInput("the load has missing values: fill or cut them first")
    least = _needed(load.mean(axis=0), costs, range(load.shape[1]) if ids is None else ids)  # (cells, steps)
    if pool is not None:
        need = least.sum(axis=0)
        if (need > pool).any():
            at = int(np.argmax(need))  # the step that needs most
            raise NoData(
                f"--pool {pool}: at step {at} --serve {costs.serve:g} needs {need[at]} units: raise --pool to "
                f"{need[at]}"
            )
    price = step_costs(load, costs)
    if pool is not None:
        awake, reached = _solve(price, least, costs, pool, time_limit_s, gap)
        yield len(price), SleepPlan(awake, reached)
        return
    parts = []
    for at in range(0, len(price), CELLS_AT_ONCE):
        part = slice(at, at + CELLS_AT_ONCE)
        parts.append(_solve(price[part], least[part], costs, None, time_limit_s, gap)[0])
        yield min(at + CELLS_AT_ONCE, len(price)), None
    yield len(price), SleepPlan(np.concatenate(parts), 0.0)


def sleep_outcome(awake: Ints, load: Floats, costs: SleepCosts) -> SleepOutcome:
    """Play a plan against a load: means over the members.

    awake: (cells, steps) radio units. load: (members, cells, steps) or (cells, steps), in the unit of `unit_load`.
    """
    load = load if load.ndim == 3 else load[None]
    scaled = load / costs.unit_load
    served = np.minimum(scaled, awake)
    quality = float(_lost_share(scaled, awake).sum(axis=(1, 2)).mean())
    energy = float(costs.load_power * served.sum(axis=(1, 2)).mean() + costs.unit_power * awake.sum())
    switches = float(np.abs(np.diff(awake, axis=1)).sum())
    total = costs.quality * quality + costs.wear * switches + energy
    lost = float(1 - served.sum() / max(scaled.sum(), 1e-300))
    return SleepOutcome(quality, switches, energy, total, lost, float(awake.mean()))


def _lost_share(scaled: Floats, x: int | Ints) -> Floats:
    """max(L - x, 0) / L, 0 where there is no load."""
    lost: Floats = np.divide(np.maximum(scaled - x, 0), scaled, out=np.zeros_like(scaled), where=scaled > 0)
    return lost


def _needed(load: Floats, costs: SleepCosts, ids: Sequence[object]) -> Ints:
    """The fewest units that serve the share `serve` of a load (cells, steps). Raises NoData beyond `units`."""
    least: Ints = np.ceil(costs.serve * load / costs.unit_load - 1e-9).astype(np.int64)
    if costs.full:
        return np.minimum(least, costs.units)
    if (least > costs.units).any():
        cell, step = np.unravel_index(int(np.argmax(least)), least.shape)
        raise NoData(
            f"--serve {costs.serve:g}: cell {ids[int(cell)]} needs {least[cell, step]} units at step {step}, --units "
            f"is {costs.units}: give --units {least[cell, step]} or --capacity {enough(load, costs)}, or lower --serve"
        )
    return least


def enough(load: Floats, costs: SleepCosts, factor: float = 1.0) -> str:
    """The least load of one unit with which the units of a cell serve what `costs` ask for of a load (cells, steps), in
    four figures, rounded up. factor: of the unit in which it is said."""
    exact = costs.serve * float(load.max()) / costs.units * factor
    digit = 10.0 ** (np.floor(np.log10(exact)) - 3)
    return f"{np.ceil(exact / digit) * digit:.6g}"


def _solve(
    price: Floats, least: Ints, costs: SleepCosts, pool: int | None, time_limit_s: float, gap: float
) -> tuple[Ints, float]:
    """The linear programme over u (cells, steps, X) and its changes v (cells, steps - 1, X): (plan, relative gap)."""
    from scipy import sparse
    from scipy.optimize import Bounds, LinearConstraint

    cells, steps, x = price.shape[0], price.shape[1], costs.units
    number = np.arange(cells * steps * x).reshape(cells, steps, x)
    before, after = number[:, :-1].ravel(), number[:, 1:].ravel()
    changes = len(before)
    u, v = number.size, np.arange(changes)

    def rows(plus: Ints, minus: Ints, slack: Ints | None) -> sparse.csr_array:
        """Rows u_plus - u_minus [- v] <= 0."""
        count = np.arange(len(plus))
        at = [count, count] + ([] if slack is None else [count])
        column = [plus, minus] + ([] if slack is None else [u + slack])
        value = [np.ones(len(plus)), -np.ones(len(plus))] + ([] if slack is None else [-np.ones(len(plus))])
        entries = (np.concatenate(value), (np.concatenate(at), np.concatenate(column)))
        return sparse.csr_array(entries, shape=(len(plus), u + changes))

    blocks = [rows(after, before, v), rows(before, after, v)]
    if x > 1:
        blocks.append(rows(number[..., 1:].ravel(), number[..., :-1].ravel(), None))  # awake in order: u_k+1 <= u_k
    limits = [np.zeros(block.shape[0]) for block in blocks]
    if pool is not None:
        step = np.broadcast_to(np.arange(steps)[None, :, None], number.shape).ravel()
        blocks.append(sparse.csr_array((np.ones(u), (step, number.ravel())), shape=(steps, u + changes)))
        limits.append(np.full(steps, float(pool)))
    lower = np.zeros(u + changes)
    lower[:u] = (least[..., None] > np.arange(x)).ravel()
    solution = solve(
        np.concatenate([np.diff(price, axis=2).ravel(), np.full(changes, costs.wear)]),
        constraints=LinearConstraint(sparse.vstack(blocks), ub=np.concatenate(limits)),
        bounds=Bounds(lower, np.ones(u + changes)),
        integrality=np.concatenate([np.full(u, pool is not None), np.zeros(changes)]),
        options={"time_limit": time_limit_s, "mip_rel_gap": gap} if pool is not None else {},
    )
    if solution.x is None:
        raise NoData(f"no plan was found in {time_limit_s:g} s: raise --time-limit, or draw fewer cells or hours")
    awake: Ints = np.rint(solution.x[:u].reshape(cells, steps, x).sum(axis=2)).astype(np.int64)
    base = price[..., 0].sum()  # what the programme leaves out
    bound = solution.mip_dual_bound if pool is not None else None
    reached = 0.0 if bound is None else max(0.0, float((solution.fun - bound) / max(abs(solution.fun + base), 1e-12)))
    return awake, reached
