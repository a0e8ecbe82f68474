"""One decision made from several data and judged by one of them.

The plan of the file given stands beside the same decision made from measured traffic in hindsight, from earlier
traffic, and by a simple rule; all are played against the same judge, so that their costs compare.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from gentraffic.dataset.units import readable_unit
from gentraffic.errors import WrongUse
from gentraffic.planning.deploy import DeployOutcome, Ground, deploy_outcome, mean_day, plan_deploy
from gentraffic.planning.load import Load, frame_of, matching, scaled
from gentraffic.planning.resource_blocks import PrbOutcome, Radio, plan_prb, prb_outcome
from gentraffic.planning.sites import Sites
from gentraffic.planning.sleep import SleepCosts, SleepOutcome, enough, plan_sleep, sleep_outcome

if TYPE_CHECKING:
    import geopandas as gpd
    import xarray as xr

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Tell = Callable[[int, int], None]
OWN, HINDSIGHT, HISTORY = "this file", "real (hindsight)", "history"  # what a plan is made from
ALL_AWAKE, EQUAL_SHARES, AS_IT_STANDS = "all awake", "equal shares", "as it stands"  # plans without data


class Outcome(Protocol):
    """What a plan does to the load that judges it."""

    COLUMNS: ClassVar[tuple[str, ...]]

    def row(self) -> tuple[str, ...]:
        """The columns as a table shows them."""
        ...


O = TypeVar("O", bound=Outcome)  # noqa: E741  # the outcome


@dataclass(frozen=True)
class Inputs:
    """load: the traffic to plan for. judge: what plans are judged by. others: name -> loads to plan from beside it.

    notes: sentences on how the others were taken.
    """

    load: Load
    judge: Load
    others: dict[str, Load]
    notes: tuple[str, ...] = ()

    @property
    def named(self) -> dict[str, Load]:
        """All loads to plan from, that of the file itself first."""
        return {OWN: self.load, **self.others}


@dataclass(frozen=True)
class Strategies(Generic[O]):
    """plans: name -> a decision; of OWN the one asked for. outcomes: name -> what it does to the judge. gap: of OWN,
    relative, between what was found and what is possible; 0 is the optimum.

    A decision is (cells, steps) awake units or groups of blocks, or (new sites,) rows of the candidates.
    """

    plans: dict[str, Ints]
    outcomes: dict[str, O]
    gap: float


def inputs_of(
    load: Load,
    name: str,
    *,
    real: tuple[xr.Dataset, str] | None = None,
    history: tuple[xr.Dataset, str] | None = None,
) -> Inputs:
    """`load`, called `name`, with measured traffic that judges and earlier traffic, each with its own name.

    Where `real` has other units, `load` is scaled to its mean: a planner knows the total of the network. Raises as
    `matching` does.
    """
    others: dict[str, Load] = {}
    notes: list[str] = []
    judge = load
    if real is not None:
        judge, how = matching(load, *real, scale=False)
        others[HINDSIGHT] = judge
        notes.append(f"judged by {real[1]}, {how}")
        if judge.units != load.units:
            load = scaled(load, judge)
            notes.append(f"{name} is scaled to the mean of {real[1]}")
    if history is not None:
        others[HISTORY], how = matching(load, *history)
        notes.append(f"history: {history[1]}, {how}")
    return Inputs(load, judge, others, tuple(notes))


def unit_load_of(judge: Load, units: int) -> float:
    """What one of `units` radio units serves in a step, where all of a cell carry the 99th percentile of the load.

    Raises WrongUse where that is 0.
    """
    result = float(np.quantile(judge.values, 0.99)) / units
    if not result > 0:
        raise WrongUse("the 99th percentile of the load is 0: give --capacity")
    return result


def beyond_units(load: Load, costs: SleepCosts) -> str:
    """What does not fit into all units of a cell where `costs` ask for a share of the load, in words; "" for nothing.

    An ensemble by its mean, as it is planned."""
    mean = load.values.mean(axis=0)  # (cells, steps)
    left = np.maximum(costs.serve * mean - costs.units * costs.unit_load, 0.0)
    left[left <= 1e-9 * costs.unit_load] = 0.0
    if not left.any():
        return ""
    hour = "hours" if load.step_s == 3600 else "steps"
    suffices = float(mean.max()) * costs.serve / costs.units
    known = load.units not in ("1", "unknown")
    (of_left, larger), (unit, factor) = (
        readable_unit(load.units, level) if known else ("", 1.0) for level in (float(left.sum()), suffices)
    )
    what = f"{left.sum() * larger:.3g} {of_left}".rstrip()
    return (
        f"in {int(left.any(axis=0).sum())} of {left.shape[1]} {hour}, at {int(left.any(axis=1).sum())} of {len(left)} "
        f"cells, {costs.units} units carry less than --serve {costs.serve:g} asks for: all are awake then, and {what} "
        f"({left.sum() / mean.sum():.2%} of the load) is left over; --capacity {enough(mean, costs, factor)}{unit} "
        "carries it all"
    )


def sleep_strategies(
    inputs: Inputs, costs: SleepCosts, *, pool: int | None, time_limit_s: float, tell: Tell | None = None
) -> Strategies[SleepOutcome]:
    """Sleep plans from each load, and all units awake. tell: (cells done, of). Raises as `plan_sleep` does."""
    ids = inputs.load.ids
    of = len(ids) * len(inputs.named)
    plans: dict[str, Ints] = {}
    gap = 0.0
    for number, (name, load) in enumerate(inputs.named.items()):
        for done, plan in plan_sleep(load.values, costs, ids=ids, pool=pool, time_limit_s=time_limit_s):
            if tell is not None:
                tell(number * len(ids) + done, of)
            if plan is not None:
                plans[name] = plan.awake
                gap = plan.gap if name == OWN else gap
    plans[ALL_AWAKE] = np.full_like(plans[OWN], costs.units)
    outcomes = {name: sleep_outcome(awake, inputs.judge.values, costs) for name, awake in plans.items()}
    return Strategies(plans, outcomes, gap)


def prb_strategies(
    inputs: Inputs, radio: Radio, mbit: float, *, time_limit_s: float, tell: Tell | None = None
) -> Strategies[PrbOutcome]:
    """Plans of groups of blocks from each load, and equal shares. mbit: of one unit of traffic.

    tell: (plans done, of). Raises as `plan_prb` does.
    """
    plans: dict[str, Ints] = {}
    gap = 0.0
    for number, (name, load) in enumerate(inputs.named.items(), start=1):
        plan = plan_prb(mbit * load.values.mean(axis=0), radio, time_limit_s=time_limit_s)
        plans[name] = plan.groups
        gap = plan.gap if name == OWN else gap
        if tell is not None:
            tell(number, len(inputs.named))
    shape = plans[OWN].shape
    plans[EQUAL_SHARES] = np.full(shape, radio.groups // shape[0])
    outcomes = {name: prb_outcome(groups, mbit * inputs.judge.values, radio) for name, groups in plans.items()}
    return Strategies(plans, outcomes, gap)


def deploy_strategies(
    inputs: Inputs,
    ground: Ground,
    budget: float,
    *,
    weights: dict[str, Floats],
    goal: str,
    time_limit_s: float,
    tell: Tell | None = None,
) -> Strategies[DeployOutcome]:
    """Sites from the mean day of each load and from `weights` (name -> (24, cells)), and the sites that stand alone.

    tell: (plans done, of). Raises as `mean_day` and `plan_deploy` do.
    """
    days = {name: demand_of(load) for name, load in inputs.named.items()} | weights
    plans: dict[str, Ints] = {}
    gap = 0.0
    for number, (name, day) in enumerate(days.items(), start=1):
        plan = plan_deploy(day, ground, budget, goal=goal, time_limit_s=time_limit_s)
        plans[name] = plan.chosen
        gap = plan.gap if name == OWN else gap
        if tell is not None:
            tell(number, len(days))
    if len(ground.existing_m):
        plans[AS_IT_STANDS] = np.empty(0, dtype=np.int64)
    asked = demand_of(inputs.judge)
    outcomes = {name: deploy_outcome(asked, ground, chosen) for name, chosen in plans.items()}
    return Strategies(plans, outcomes, gap)


def demand_of(load: Load) -> Floats:
    """(24, cells) demand of the hours of a mean local day, over the members. Raises NoData for less than a day."""
    return mean_day(load.values.mean(axis=0) * load.hour_factor, load.hour)


def cells_awake(load: Load, awake: Ints) -> gpd.GeoDataFrame:
    """A row per cell: mean and most of the awake units (cells, steps), and how many were switched."""
    from gentraffic.dataset.geometry import cell_shapes

    switches = np.abs(np.diff(awake, axis=1)).sum(axis=1)
    rows = [
        {"cell_id": cell, "awake_mean": round(float(a.mean()), 4), "awake_most": int(a.max()), "switches": int(s)}
        for cell, a, s in zip(load.ids, awake, switches, strict=True)
    ]
    return frame_of(list(cell_shapes(load.ds)), rows)


def cells_blocks(load: Load, blocks: Ints) -> gpd.GeoDataFrame:
    """A row per cell: mean and most of its resource blocks (cells, steps)."""
    from gentraffic.dataset.geometry import cell_shapes

    rows = [
        {"cell_id": cell, "blocks_mean": round(float(b.mean()), 3), "blocks_most": int(b.max())}
        for cell, b in zip(load.ids, blocks, strict=True)
    ]
    return frame_of(list(cell_shapes(load.ds)), rows)


def sites_chosen(candidates: Sites, cost: Floats, chosen: Ints) -> gpd.GeoDataFrame:
    """A row per new site: id, cost, rank (1, 2, ... in the order of the candidates) and its point.

    cost: (candidates,) in the unit of the budget. chosen: (n,) rows of the candidates.
    """
    rows = [{"id": str(candidates.ids[i]), "cost": float(cost[i]), "rank": k + 1} for k, i in enumerate(chosen)]
    return frame_of(candidates.lonlat(chosen), rows)
