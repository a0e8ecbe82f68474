"""Where to put new sites in a region (FoMo section 5.3: deployment that covers the demand, hour by hour).

Maximal covering (Church and ReVelle, "The maximal covering location problem", 1974): a cell is covered when a site
stands within `radius_m` of its centre; choose sites within the budget so that the share of the demand that is covered
is greatest, over all hours (`mean`) or in the worst hour of the day (`worst-hour`). With a capacity, a site carries at
most that much of the demand of the cells around it in an hour. The paper places sites in proportion to traffic; an
optimum of what it then measures (users served / all users, per hour) is asked for here. HiGHS solves it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from gentraffic.errors import NoData, WrongUse
from gentraffic.planning.milp import solve

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
GOALS = ("mean", "worst-hour")


@dataclass(frozen=True)
class Ground:
    """cells_m: (cells, 2) centres. candidates_m, existing_m: (n, 2) sites that may be built, that stand. cost: (n,) of
    candidates. radius_m: how far a site covers. capacity: demand that a site carries in an hour, None for no limit."""

    cells_m: Floats
    candidates_m: Floats
    existing_m: Floats
    cost: Floats
    radius_m: float
    capacity: float | None = None


@dataclass(frozen=True)
class DeployPlan:
    """chosen: rows of the candidates, ascending. gap: relative, between the plan and the best possible."""

    chosen: Ints
    gap: float


@dataclass(frozen=True)
class DeployOutcome:
    """What a plan covers of a demand: shares of it, 0 to 1.

    coverage: of all hours. worst_hour: of the hour with the least. at_night: mean of the hours 0 to 6 of the local day,
    by_day: of 9 to 18. sites: how many are new. by_hour: (24,).
    """

    coverage: float
    worst_hour: float
    at_night: float
    by_day: float
    sites: int
    by_hour: tuple[float, ...]
    COLUMNS: ClassVar[tuple[str, ...]] = ("covered", "worst hour", "0-6 h", "9-18 h", "new sites")

    def row(self) -> tuple[str, ...]:
        """The columns as a table shows them."""
        return (
            f"{self.coverage:.2%}", f"{self.worst_hour:.2%}", f"{self.at_night:.2%}", f"{self.by_day:.2%}",
            f"{self.sites}",
        )  # fmt: skip


def plan_deploy(
    demand: Floats, ground: Ground, budget: float, *, goal: str = "mean", time_limit_s: float = 60.0, gap: float = 1e-3
) -> DeployPlan:
    """Sites for the demand of a mean day: (hours, cells), local hours. budget: the sum of costs that may be spent.

    Raises NoData where nothing can be bought or nothing is left to cover, WrongUse for an unknown goal."""
    from scipy import sparse
    from scipy.optimize import Bounds, LinearConstraint

    if goal not in GOALS:
        raise WrongUse(f"--goal {goal}: give one of {', '.join(GOALS)}")
    if not (demand.sum(axis=1) > 0).all():
        quiet = int(np.argmin(demand.sum(axis=1)))
        raise NoData(f"nobody asks for traffic in hour {quiet} of the mean day: nothing can be covered then")
    if not (ground.cost <= budget).any():
        raise NoData(f"the budget of {budget:g} buys none of {len(ground.cost)} candidates: the cheapest costs "
                     f"{ground.cost.min() if len(ground.cost) else np.nan:g}")  # fmt: skip
    site, cell = reached(np.concatenate([ground.existing_m, ground.candidates_m]), ground.cells_m, ground.radius_m)
    stand, new = len(ground.existing_m), len(ground.candidates_m)
    if not (site >= stand).any():
        raise NoData(f"no candidate lies within {ground.radius_m:g} m of a cell: raise --radius or give other sites")
    share = demand / demand.sum(axis=1, keepdims=True)  # (hours, cells): of the hour's demand
    hours = len(share) if ground.capacity is not None or goal == "worst-hour" else 1
    if hours == 1:
        share = demand.sum(axis=0, keepdims=True) / demand.sum()
    capped = ground.capacity is not None
    # columns: x (sites, existing fixed to 1), then flows (hours, pairs) or y (cells), then the worst hour's coverage
    sites, pairs, cells = stand + new, len(site), len(ground.cells_m)
    parts = hours * pairs if capped else cells
    width = sites + parts + 1
    worst = width - 1
    rows: list[LinearConstraint] = []

    def matrix(row: Any, column: Any, value: Any, count: int) -> sparse.csr_array:
        row, column, value = np.broadcast_arrays(row, column, value)
        return sparse.csr_array((value.ravel(), (row.ravel(), column.ravel())), shape=(count, width))

    weight = np.zeros((hours, width))  # coverage of each hour as a linear form
    if capped:
        flow = sites + np.arange(hours * pairs).reshape(hours, pairs)
        hour = np.arange(hours)[:, None]
        mass = demand.sum(axis=1)[:, None]
        weight[hour, flow] = 1.0  # flows are shares of the hour's demand
        rows.append(LinearConstraint(matrix(hour * cells + cell, flow, 1.0, hours * cells), ub=share.ravel()))
        load = matrix(hour * sites + site, flow, mass / ground.capacity, hours * sites)
        limit = matrix(np.arange(hours * sites), np.tile(np.arange(sites), hours), 1.0, hours * sites)
        rows.append(LinearConstraint(load - limit, ub=0.0))
        # no more of a cell than there is through a closed site: tightens the relaxation
        pair = np.arange(hours * pairs)
        rows.append(LinearConstraint(
            matrix(pair, flow.ravel(), 1.0, len(pair))
            - matrix(pair, np.tile(site, hours), share[:, cell].ravel(), len(pair)), ub=0.0))  # fmt: skip
    else:
        y = sites + np.arange(cells)
        weight[:, y] = share
        rows.append(LinearConstraint(matrix(np.arange(cells), y, 1.0, cells) - matrix(cell, site, 1.0, cells), ub=0.0))
    spent = matrix(0, np.arange(stand, sites), ground.cost, 1)
    rows.append(LinearConstraint(spent, ub=budget))
    price = np.zeros(width)
    if goal == "worst-hour":
        price[worst] = -1.0
        each = matrix(np.arange(hours), worst, 1.0, hours) - sparse.csr_array(weight)
        rows.append(LinearConstraint(each, ub=0.0))
    else:
        by_demand = demand.sum(axis=1) / demand.sum() if hours > 1 else np.ones(1)
        price[:worst] = -(by_demand @ weight)[:worst]
    lower, upper = np.zeros(width), np.ones(width)
    lower[:stand] = 1.0
    solution = solve(
        price,
        constraints=rows,
        bounds=Bounds(lower, upper),
        integrality=(np.arange(width) < sites).astype(np.int64),
        options={"time_limit": time_limit_s, "mip_rel_gap": gap},
    )
    plans = [greedy(demand.sum(axis=0), ground, budget)]  # a good plan for when the time is up
    if solution.x is not None:
        plans.append(np.flatnonzero(solution.x[stand:sites] > 0.5))
    values = [covered(demand, ground, plan, goal) for plan in plans]
    best = int(np.argmax(values))
    possible = 1.0 if solution.mip_dual_bound is None else min(1.0, -float(solution.mip_dual_bound))
    return DeployPlan(plans[best], max(0.0, (possible - values[best]) / max(values[best], 1e-12)))


def greedy(demand: Floats, ground: Ground, budget: float) -> Ints:
    """Candidates (rows, ascending) taken one by one by newly covered demand (cells,) per cost, capacities unheeded.

    With equal costs it covers at least 63% of what an optimum does (Nemhauser, Wolsey, Fisher 1978)."""
    from scipy import sparse

    site, cell = reached(ground.candidates_m, ground.cells_m, ground.radius_m)
    shape = (len(ground.candidates_m), len(ground.cells_m))
    reach = sparse.csr_array((np.ones(len(site)), (site, cell)), shape=shape)
    open_demand = demand.copy()
    open_demand[reached(ground.existing_m, ground.cells_m, ground.radius_m)[1]] = 0.0
    chosen: list[int] = []
    left, cost = budget, np.maximum(ground.cost, 1e-12)
    gain = reach @ open_demand
    while (can := (ground.cost <= left) & (gain > 0)).any():
        best = int(np.argmax(np.where(can, gain / cost, -1.0)))
        chosen.append(best)
        left -= float(ground.cost[best])
        open_demand[reach.indices[reach.indptr[best] : reach.indptr[best + 1]]] = 0.0
        gain = reach @ open_demand
    return np.sort(np.array(chosen, dtype=np.int64))


def covered(demand: Floats, ground: Ground, chosen: Ints, goal: str) -> float:
    """What `goal` asks for, 0 to 1: the share of all demand that is covered, or the share in the worst hour.

    demand: (hours, cells) in any unit. chosen: (n,) rows of the candidates.
    """
    share = coverage(demand, ground, chosen)
    return float(share.min()) if goal == "worst-hour" else float(share @ demand.sum(axis=1) / demand.sum())


def coverage(demand: Floats, ground: Ground, chosen: Ints) -> Floats:
    """Share of each hour's demand (hours, cells) that the standing and the chosen sites cover: (hours,).

    With a capacity, the most that the sites can carry together: a maximum flow per hour."""
    sites_m = np.concatenate([ground.existing_m, ground.candidates_m[chosen]])
    site, cell = reached(sites_m, ground.cells_m, ground.radius_m)
    total = demand.sum(axis=1)
    if ground.capacity is None:
        carried = demand[:, np.unique(cell)].sum(axis=1)
    else:
        carried = np.array([_carried(hour, site, cell, len(sites_m), ground.capacity) for hour in demand])
    out: Floats = np.divide(carried, total, out=np.zeros_like(total), where=total > 0)
    return out


def deploy_outcome(demand: Floats, ground: Ground, chosen: Ints) -> DeployOutcome:
    """Coverage of a mean day's demand, (24, cells) in any unit, by the standing and the chosen sites.

    chosen: (n,) rows of the candidates.
    """
    share = coverage(demand, ground, chosen)
    return DeployOutcome(
        coverage=float(share @ (demand.sum(axis=1) / demand.sum())),
        worst_hour=float(share.min()),
        at_night=float(share[:6].mean()),
        by_day=float(share[9:18].mean()),
        sites=len(chosen),
        by_hour=tuple(share.round(6).tolist()),
    )


def reached(sites_m: Floats, cells_m: Floats, radius_m: float) -> tuple[Ints, Ints]:
    """Pairs (site, cell) within reach, two (pairs,) arrays of rows.

    sites_m: (sites, 2), cells_m: (cells, 2), both in the place's CRS, in metres.
    """
    from scipy.spatial import cKDTree

    if not len(sites_m):
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    near = cKDTree(cells_m).query_ball_point(sites_m, radius_m + 1e-6)
    site = np.repeat(np.arange(len(sites_m)), [len(n) for n in near])
    return site, np.concatenate([np.asarray(n, dtype=np.int64) for n in near])


def mean_day(load: Floats, hour: Ints) -> Floats:
    """Demand of the local hours of a mean day: load (cells, steps), hour (steps,) 0..23 -> (24, cells).

    Raises NoData where an hour of the day does not occur."""
    count = np.bincount(hour, minlength=24)
    if (count == 0).any():
        raise NoData(f"the traffic has no step in hour {int(np.argmin(count))} of the day: give a whole day or more")
    return np.stack([load[:, hour == h].mean(axis=1) for h in range(24)])


def _carried(demand: Floats, site: Ints, cell: Ints, sites: int, capacity: float) -> float:
    """The most demand (cells,) that sites of one capacity carry: a linear programme of the flows site -> cell."""
    from scipy import sparse
    from scipy.optimize import linprog

    if not len(site):
        return 0.0
    pair = np.arange(len(site))
    ones = np.ones(len(site))
    a = sparse.vstack(
        [sparse.csr_array((ones, (site, pair)), shape=(sites, len(site))),
         sparse.csr_array((ones, (cell, pair)), shape=(len(demand), len(site)))]
    )  # fmt: skip
    solution = linprog(-ones, A_ub=a, b_ub=np.concatenate([np.full(sites, capacity), demand]), method="highs")
    return float(-solution.fun)
