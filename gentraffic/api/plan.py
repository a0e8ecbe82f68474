"""`gentraffic.plan`: decisions of a planner from traffic, measured, forecast or drawn.

    import gentraffic
    awake = gentraffic.plan.sleep("drawn.nc", units=4, real="measured.nc")
    awake                                        # in a notebook: its costs beside the same plan from other data
    awake.decision                               # xarray Dataset (cell, time): awake radio units

Where traffic is wanted, a file (.nc, .zarr, .parquet, .csv) or a Dataset ([member,] cell, time) serves. An ensemble is
planned for in expectation. HiGHS solves every plan; `gap` says how far from the optimum it may be.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gentraffic.api.inputs import (
    check_finite,
    check_number,
    check_positive,
    check_whole,
    context_source,
    path_given,
    traffic_source,
)
from gentraffic.api.language import speaks_python
from gentraffic.api.plan_result import Plan
from gentraffic.dataset.amounts import bits_per_unit
from gentraffic.dataset.units import readable_unit
from gentraffic.errors import NoData, WrongUse
from gentraffic.io import atomic
from gentraffic.io.export.counters import capacity_in, parse_amount

if TYPE_CHECKING:
    import geopandas as gpd
    import pandas as pd
    import xarray as xr

    from gentraffic.io.source_columns import Reading
    from gentraffic.planning.deploy import DeployOutcome
    from gentraffic.planning.load import Load
    from gentraffic.planning.resource_blocks import PrbOutcome
    from gentraffic.planning.sites import Sites
    from gentraffic.planning.sleep import SleepOutcome
    from gentraffic.planning.strategies import Inputs

__all__ = ["deploy", "prb", "sleep"]
CELL_FORMATS = (".nc", ".zarr", ".parquet", ".csv", ".geojson")
MOST_COST = 1e12  # costs are added up: beyond, a double forgets the others
MOST_UNITS = 1e9  # units that would carry the busiest cell
SITE_FORMATS = (".geojson", ".json", ".parquet")
MAP_FORMATS = (".html", ".htm")


def __dir__() -> list[str]:
    return __all__  # what Tab offers: the functions, not what this module imports


@speaks_python
def sleep(
    traffic: str | Path | xr.Dataset,
    *,
    units: int = 4,
    capacity: float | str | None = None,
    quality: float = 1.0,
    wear: float = 0.2,
    unit_power: float = 0.1,
    load_power: float = 0.05,
    serve: float = 0.0,
    pool: int | None = None,
    service: str | None = None,
    real: str | Path | xr.Dataset | None = None,
    history: str | Path | xr.Dataset | None = None,
    time_limit: float = 60.0,
    out: str | Path | None = None,
    map_file: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
    command: str = "gentraffic.plan.sleep",
) -> Plan[xr.Dataset, SleepOutcome]:
    """Decide which radio units sleep when: quality, wear and energy, the least in sum (FoMo, eq. 17).

    Parameters
    ----------
    traffic : path or Dataset ([member,] cell, time)
        What to plan for, in any unit.
    units : int
        Radio units per cell.
    capacity : float or str, optional
        What one unit serves in a step, in the unit of the traffic, or with a unit of its own, "40Mbit/s". By default
        all units of a cell carry the 99th percentile of the load that judges; where `serve` asks for more, all are
        awake, and a note says what is left over and with which capacity nothing is.
    quality, wear, unit_power, load_power : float
        Costs: of a cell and step in which nothing is served, of one switch of one unit, of one unit awake for a step,
        of serving what fills one unit.
    serve : float
        Share of the load, 0 to 1, that must be served in every cell and step.
    pool : int, optional
        Units awake at once over all cells, at most.
    service : str, optional
        The variable to plan for; the first by default.
    real : path or Dataset, optional
        Measured traffic of the same cells and hours: every plan is judged by it, and planned from it, too.
    history : path or Dataset, optional
        Earlier traffic: the same decision from the mean of its slots of the week.
    time_limit : float
        Of the solver, seconds.
    out : path, optional
        Where to write the units per cell and step (.nc, .zarr, .parquet, .csv), or a summary per cell (.geojson).
    map_file : path, optional
        Where to write a map of the plan (.html).
    progress : callable, optional
        Is told (cells planned, of).
    command : str
        What the attribute `command` of the decision says.

    Returns
    -------
    Plan
        `decision` is a Dataset with the variable `awake` (cell, time), radio units; outcomes are SleepOutcome.

    Raises
    ------
    WrongUse
        For a number out of its bounds, an unknown service, files of other cells.
    NoData
        Where no plan serves what `serve` asks for with the `capacity` or `pool` given, or nothing is carried.
    BadInput
        For a file that is missing or breaks its schema, or an output that cannot be written.
    """
    from gentraffic.planning.load import plan_dataset
    from gentraffic.planning.sleep import SleepCosts
    from gentraffic.planning.strategies import OWN, beyond_units, cells_awake, sleep_strategies, unit_load_of

    _check_outputs(out, map_file, CELL_FORMATS)
    check_whole(1, units=units)
    check_whole(0, pool=pool)
    check_finite(0, quality=quality, wear=wear, unit_power=unit_power, load_power=load_power, serve=serve)
    check_positive(time_limit=time_limit)
    for option, cost in (("quality", quality), ("wear", wear), ("unit-power", unit_power), ("load-power", load_power)):
        if cost > MOST_COST:
            raise WrongUse(f"--{option} {cost:g}: give at most {MOST_COST:g}; costs count beside one another")
    if serve > 1:
        raise WrongUse(f"--serve {serve:g}: give a share, 0 to 1")
    _check_capacity(capacity)
    inputs, judged_by = _inputs(traffic, real, history, service=service)
    given = _capacity(capacity, inputs.load)
    unit_load = unit_load_of(inputs.judge, units) if given is None else given
    peak = float(inputs.load.values.max())
    if peak / MOST_UNITS > unit_load:
        raise WrongUse(
            f"--capacity {capacity}: the busiest cell carries {peak:.3g} in a step, more than {MOST_UNITS:g} times as "
            "much: give what one unit serves in a step"
        )
    costs = SleepCosts(units, unit_load, quality, wear, load_power, unit_power, serve, full=given is None)
    notes = inputs.notes
    if given is None:
        unit, factor = inputs.load.units, 1.0
        unit, factor = ("", 1.0) if unit in ("1", "unknown") else readable_unit(unit, unit_load)
        carries = f"{unit_load * factor:.4g} {unit}".rstrip()
        notes += (
            f"one unit is taken to carry {carries} in a step, so that the {units} of a cell carry the 99th "
            "percentile of the load: give --capacity",
        )
        notes += tuple(filter(None, [beyond_units(inputs.load, costs)]))
    result = sleep_strategies(inputs, costs, pool=pool, time_limit_s=time_limit, tell=progress)
    lost, shortfall = result.outcomes[OWN].lost, ""
    if lost > 0.001 and not serve:
        shortfall = (
            f"the plan leaves {lost:.1%} of the load unserved, where energy costs more: --serve 0.95 serves more"
        )
    awake = result.plans[OWN]
    attrs = {"command": command, "unit_load": unit_load, "gap": result.gap}
    decision = plan_dataset(inputs.load, awake, "awake", "radio units", "Awake radio units", attrs)
    _write(decision, lambda: cells_awake(inputs.load, awake), out, map_file)
    return Plan(
        decision, result.outcomes, result.gap, judged_by, notes, "Awake radio units", path_given(out), shortfall
    )


@speaks_python
def prb(
    traffic: str | Path | xr.Dataset,
    *,
    prbs: int = 100,
    group: int = 2,
    bandwidth: float = 180e3,
    snr_db: float = 10.0,
    fading_db: float = 0.0,
    seed: int = 0,
    mbit: float | None = None,
    start: str | None = None,
    slots: int = 16,
    select: Sequence[object] | None = None,
    service: str | None = None,
    real: str | Path | xr.Dataset | None = None,
    history: str | Path | xr.Dataset | None = None,
    time_limit: float = 60.0,
    out: str | Path | None = None,
    map_file: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
    command: str = "gentraffic.plan.prb",
) -> Plan[xr.Dataset, PrbOutcome]:
    """Decide how a server shares its resource blocks among cells: least backlog and delay (FoMo, eq. 18).

    Parameters
    ----------
    traffic : path or Dataset ([member,] cell, time)
        What to plan for, in any unit.
    prbs : int
        Physical resource blocks to share in a slot.
    group : int
        Blocks that are given together.
    bandwidth : float
        Of one block, Hz.
    snr_db, fading_db : float
        Mean signal to noise, and its spread from cell to cell and slot, dB.
    seed : int
        Of the fading.
    mbit : float, optional
        What one unit of traffic is, Mbit. By default what its unit says (GB, Mbit/s); of relative traffic, that with
        which the offered load is 70% of what all blocks move.
    start : str, optional
        First local time, e.g. "2026-01-05T18:00"; by default the slots in a row that carry most traffic.
    slots : int
        Steps to plan.
    select : sequence of cell ids, optional
        Plan only these cells, in this order.
    service, real, history, time_limit, out, map_file, command
        As in `sleep`.
    progress : callable, optional
        Is told (plans done, of).

    Returns
    -------
    Plan
        `decision` is a Dataset with the variable `blocks` (cell, time), resource blocks; outcomes are PrbOutcome.

    Raises
    ------
    WrongUse
        For a number out of its bounds, unknown cells or services, hours that the file does not have.
    NoData
        Where there are fewer groups than cells, or nothing arrives.
    BadInput
        For a file that is missing or breaks its schema, or an output that cannot be written.
    """
    from gentraffic.dataset.schema import is_usual_week, local_time
    from gentraffic.planning.load import plan_dataset
    from gentraffic.planning.resource_blocks import Radio, faded_snr, mbit_for_load, share_offered
    from gentraffic.planning.strategies import OWN, cells_blocks, prb_strategies

    _check_outputs(out, map_file, CELL_FORMATS)
    check_whole(1, prbs=prbs, group=group, slots=slots)
    check_whole(0, seed=seed)
    check_number("--snr-db", snr_db, -math.inf)
    check_finite(0, fading_db=fading_db)
    check_positive(bandwidth=bandwidth, mbit=mbit, time_limit=time_limit)
    inputs, judged_by = _inputs(traffic, real, history, service=service, select=select, start=start, slots=slots)
    load = inputs.load
    snr = faded_snr(snr_db, fading_db, load.values.shape[1:], seed)
    radio = Radio(prbs, group, bandwidth, load.step_s, snr)
    notes = inputs.notes
    if start is None and load.cut:
        clock = "%a %H:%M" if is_usual_week(load.ds) else "%a %d %b %H:%M"
        first, last = (f"{when:{clock}}" for when in local_time(load.ds)[[0, -1]])
        notes += (f"planned: the {slots} slots in a row with most traffic, {first} to {last} (others: --start)",)
    known = bits_per_unit(load.units, int(load.step_s))
    if mbit is None and known is not None:
        mbit = known / 1e6
        offered = share_offered(radio, inputs.judge.values * mbit)
        if offered > 1:
            notes += (
                f"the cells ask for {offered:,.1f} times what {prbs} blocks move: give more --prbs, fewer cells by "
                "--select, or --mbit to scale the traffic",
            )
    elif mbit is None:
        mbit = mbit_for_load(radio, inputs.judge.values)
        notes += (f"1 unit of traffic is taken as {mbit:.4g} Mbit, a load of 70%: give --mbit",)
    result = prb_strategies(inputs, radio, mbit, time_limit_s=time_limit, tell=progress)
    blocks = result.plans[OWN] * group
    attrs = {"command": command, "mbit_per_unit": mbit, "gap": result.gap}
    decision = plan_dataset(load, blocks, "blocks", "PRB", "Resource blocks", attrs)
    _write(decision, lambda: cells_blocks(load, blocks), out, map_file)
    return Plan(decision, result.outcomes, result.gap, judged_by, notes, "Resource blocks", path_given(out))


@speaks_python
def deploy(
    traffic: str | Path | xr.Dataset,
    *,
    sites: int | None = None,
    budget: float | None = None,
    candidates: str | Path | pd.DataFrame | None = None,
    existing: str | Path | pd.DataFrame | None = None,
    radius: float = 500.0,
    capacity: float | str | None = None,
    goal: str = "mean",
    columns: str | None = None,
    decimal: str | None = None,
    thousands: str | None = None,
    context: str | Path | xr.Dataset | None = None,
    service: str | None = None,
    real: str | Path | xr.Dataset | None = None,
    history: str | Path | xr.Dataset | None = None,
    time_limit: float = 60.0,
    out: str | Path | None = None,
    map_file: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Plan[gpd.GeoDataFrame, DeployOutcome]:
    """Decide where new sites cover the most demand, by hour of the day (FoMo, section 5.3).

    Parameters
    ----------
    traffic : path or Dataset ([member,] cell, time)
        The demand, in any unit; a whole local day or more.
    sites : int, optional
        How many new sites. One of `sites` and `budget` is needed.
    budget : float, optional
        What may be spent on the costs of the candidates, in their unit.
    candidates : path or DataFrame, optional
        Where sites may go: lon and lat in degrees (or point geometry), perhaps id and cost. By default the centres of
        the cells, at a cost of 1.
    existing : path or DataFrame, optional
        Sites that stand, as `candidates`. Rows at one place, such as the sectors of a mast, are one site; rows at 0,0
        or far from all others are left out, with a note.
    radius : float
        How far a site covers, metres.
    capacity : float or str, optional
        What a site carries in an hour, in the unit of the traffic, or with a unit of its own, "40Mbit/s"; no limit by
        default.
    goal : {"mean", "worst-hour"}
        Coverage over all hours, or in the worst hour of the day.
    columns, decimal, thousands : str, optional
        Of the tables: names of columns, "id=CELL_NAME,lon=X,lat=Y", and the marks in their numbers.
    context : path or Dataset (cell), optional
        Also plan from its POIs alone, and from its residents alone where it has them.
    service, real, history, time_limit, map_file
        As in `sleep`.
    out : path, optional
        Where to write the new sites (.geojson, .parquet).
    progress : callable, optional
        Is told (plans done, of).

    Returns
    -------
    Plan
        `decision` is a GeoDataFrame in EPSG:4326, a row per new site: id, cost, rank; outcomes are DeployOutcome.

    Raises
    ------
    WrongUse
        For both or none of `sites` and `budget`, a number out of its bounds, an unknown goal, other cells.
    NoData
        Where nothing can be bought, or nothing is left to cover.
    BadInput
        For a file that is missing or breaks its schema, or an output that cannot be written.
    """
    import numpy as np

    from gentraffic.dataset.schema import need_positions
    from gentraffic.io.source_columns import make_reading
    from gentraffic.planning.deploy import Ground, reached
    from gentraffic.planning.load import write_frame
    from gentraffic.planning.sites import masts_of, points_of, weights_of
    from gentraffic.planning.strategies import OWN, deploy_strategies, sites_chosen

    _check_outputs(out, map_file, SITE_FORMATS)
    if (sites is None) == (budget is None):
        raise WrongUse("give one of --sites and --budget")
    check_whole(1, sites=sites)
    check_positive(budget=budget, radius=radius, time_limit=time_limit)
    _check_capacity(capacity)
    inputs, judged_by = _inputs(traffic, real, history, service=service)
    load = inputs.load
    need_positions(load.ds, "plan deploy")
    reading, notes, standing = make_reading(columns, None, decimal, thousands), inputs.notes, None
    allowed = points_of(load.ds)
    if candidates is not None:
        allowed, told = _sites(candidates, load, reading)
        notes += told
    if existing is not None:
        standing, told = _sites(existing, load, reading)
        name = Path(existing).name if isinstance(existing, str | Path) else "existing"
        standing, joined = masts_of(standing, name)
        notes += (*told, *joined)
    ground = Ground(
        cells_m=np.stack([load.ds["x"].values, load.ds["y"].values], axis=1),
        candidates_m=allowed.xy_m,
        existing_m=np.empty((0, 2)) if standing is None else standing.xy_m,
        cost=np.ones(len(allowed.xy_m)) if budget is None else allowed.cost,
        radius_m=radius,
        capacity=_capacity(capacity, load, hourly=True),
    )
    if standing is not None and not len(reached(standing.xy_m, ground.cells_m, radius)[0]):
        raise NoData(f"--existing: no site of {name} lies within {radius:g} m of a cell:"
                     " are lon and lat those of the place?")  # fmt: skip
    weights = {} if context is None else weights_of(context_source(context, "context").ds, load)
    spent = float(sites or 0) if budget is None else budget
    result = deploy_strategies(
        inputs, ground, spent, weights=weights, goal=goal, time_limit_s=time_limit, tell=progress
    )
    chosen = result.plans[OWN]
    decision = sites_chosen(allowed, ground.cost, chosen)
    if out is not None:
        write_frame(decision, Path(out))
    if map_file is not None:
        from gentraffic.reports.sites_map import write_sites_map

        write_sites_map(load, allowed, chosen, Path(map_file), existing=standing, radius_m=radius)
    return Plan(decision, result.outcomes, result.gap, judged_by, notes, "New sites", path_given(out))


def _check_outputs(out: str | Path | None, map_file: str | Path | None, formats: tuple[str, ...]) -> None:
    for path, suffixes in ((out, formats), (map_file, MAP_FORMATS)):
        if path is not None:
            atomic.check_writable(path, suffixes)


def _capacity(capacity: float | str | None, load: Load, *, hourly: bool = False) -> float | None:
    """A capacity in the unit of the traffic, for a step or an hour. Raises WrongUse where its unit means nothing."""
    if not isinstance(capacity, str):
        check_positive(capacity=capacity)
        return capacity
    value, unit = _check_capacity(capacity)
    if unit:
        value = capacity_in(capacity, load.ds, load.service) * (load.hour_factor if hourly else 1.0)
    return value


def _check_capacity(capacity: float | str | None) -> tuple[float, str]:
    """The number and the unit of a capacity. Raises WrongUse."""
    value, unit = parse_amount(capacity, "--capacity") if isinstance(capacity, str) else (capacity, "")
    check_positive(capacity=value)
    return value or 0.0, unit


def _inputs(
    traffic: str | Path | xr.Dataset,
    real: str | Path | xr.Dataset | None,
    history: str | Path | xr.Dataset | None,
    *,
    service: str | None,
    select: Sequence[object] | None = None,
    start: str | None = None,
    slots: int | None = None,
) -> tuple[Inputs, str]:
    """What plans are made from, and what they are judged by. start, slots: the steps to plan for."""
    from gentraffic.generate.run import read_select, select_rows
    from gentraffic.planning.load import read_load
    from gentraffic.planning.strategies import inputs_of

    source = traffic_source(traffic, "traffic")
    ds = source.ds
    names = read_select(select) if select is None or isinstance(select, str) else tuple(map(str, select))
    if names is not None:
        ds = ds.isel(cell=select_rows(ds, names))
    load = read_load(ds, source.name, service=service, start=start, steps=slots)
    measured = None if real is None else traffic_source(real, "real")
    earlier = None if history is None else traffic_source(history, "history")
    inputs = inputs_of(
        load,
        source.name,
        real=None if measured is None else (measured.ds, measured.name),
        history=None if earlier is None else (earlier.ds, earlier.name),
    )
    return inputs, "the file itself" if measured is None else measured.name


def _sites(given: str | Path | pd.DataFrame, load: Load, reading: Reading) -> tuple[Sites, tuple[str, ...]]:
    """Sites of a table in a file or in memory, and what a reader must know of it. Raises BadFile, BadInput."""
    from gentraffic.planning.sites import read_sites, sites_of

    crs = str(load.ds.attrs["crs_wkt"])
    return read_sites(Path(given), crs, reading) if isinstance(given, str | Path) else (sites_of(given, crs), ())


def _write(
    decision: xr.Dataset, summary: Callable[[], gpd.GeoDataFrame], out: str | Path | None, map_file: str | Path | None
) -> None:
    """Write a plan over cells and steps, or its summary per cell, and its map, where they are wanted."""
    out, map_file = path_given(out), path_given(map_file)
    if out is not None and out.suffix.lower() == ".geojson":
        from gentraffic.planning.load import write_frame

        write_frame(summary(), out)
    elif out is not None:
        from gentraffic.io.files import write_traffic

        write_traffic(decision, out)
    if map_file is not None:
        from gentraffic.reports.webmap import write_map

        write_map(decision, map_file)
