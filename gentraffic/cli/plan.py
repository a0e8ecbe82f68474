"""`gentraffic plan`: decisions from traffic, measured, forecast or synthetic."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gentraffic.cli.options import (
    AT_LEAST_1,
    COMMON,
    COUNT,
    FINITE,
    NOT_NEGATIVE,
    POSITIVE,
    command_line,
    progress,
    report,
    with_options,
)

if TYPE_CHECKING:
    from gentraffic.planning.load import Load

FILE = click.Path(path_type=Path)
JUDGES = (
    click.option("--service", metavar="NAME", help="The traffic variable, where a file has several."),
    click.option("--real", type=FILE, metavar="FILE",
                 help="Measured traffic of the same cells: every plan is judged by it, and planned from it, too."),
    click.option("--history", type=FILE, metavar="FILE", help="Earlier traffic: the same decision from its mean week."),
    click.option("--time-limit", type=POSITIVE, default=60.0, show_default=True, metavar="SECONDS",
                 help="Of the solver."),
    click.option("--map", "map_file", type=FILE, metavar="FILE.html", help="A map of the plan."),
)  # fmt: skip


@click.group(short_help="Decisions: which units sleep, who gets resource blocks, where new sites go.")
def plan() -> None:
    """Plan a network from traffic: measured, forecast, or drawn (an ensemble is planned for in expectation).

    Each plan is solved by HiGHS and says how far from the optimum it may be (its gap; 0 is the optimum).
    """


@plan.command(short_help="Awake radio units per cell and hour (energy).")
@click.argument("traffic", type=FILE)
@click.option("-o", "--out", type=FILE, required=True, metavar="OUT",
              help="Units per cell and hour: .nc .zarr .parquet .csv; or .geojson, a summary per cell.")  # fmt: skip
@click.option("--units", type=AT_LEAST_1, default=4, show_default=True, help="Radio units per cell.")
@click.option("--capacity", type=POSITIVE, metavar="LOAD",
              help="What one unit serves in a step, in the traffic's unit."
                   " [default: the units of a cell carry the 99th percentile of the load]")  # fmt: skip
@click.option(
    "--quality",
    type=NOT_NEGATIVE,
    default=1.0,
    show_default=True,
    help="Cost of a cell and step in which nothing is served.",
)
@click.option("--wear", type=NOT_NEGATIVE, default=0.2, show_default=True, help="Cost of one switch of one unit.")
@click.option(
    "--unit-power", type=NOT_NEGATIVE, default=0.1, show_default=True, help="Cost of one unit awake for a step."
)
@click.option(
    "--load-power", type=NOT_NEGATIVE, default=0.05, show_default=True, help="Cost of serving what fills one unit."
)
@click.option(
    "--serve",
    type=NOT_NEGATIVE,
    default=0.0,
    show_default=True,
    help="Share of the load that must be served in every step.",
)
@click.option("--pool", type=COUNT, metavar="N", help="Units awake at once over all cells, at most.")
@with_options(JUDGES)
@with_options(COMMON)
def sleep(traffic: Path, out: Path, as_json: bool, quiet: bool, debug: bool, **options: Any) -> None:
    """Which radio units sleep when (FoMo eq. 17): quality, wear and energy, the least in sum.

    \b
    gentraffic plan sleep forecast.nc -o awake.parquet --real measured.nc --history last-month.nc
    gentraffic plan sleep ensemble.nc -o awake.nc --units 6 --capacity 2.5 --serve 0.95 --map awake.html
    """
    import numpy as np

    from gentraffic.errors import WrongUse
    from gentraffic.planning.load import plan_dataset
    from gentraffic.planning.sleep import SleepCosts, SleepPlan, plan_sleep, sleep_outcome

    _check_outputs(out, options["map_file"], (".nc", ".zarr", ".parquet", ".csv", ".geojson"))
    if options["serve"] > 1:
        raise WrongUse(f"--serve {options['serve']:g}: give a share, 0 to 1")
    load, judge, others, notes = _loads(traffic, options)
    capacity = options["capacity"] or float(np.quantile(judge.values, 0.99)) / options["units"]
    if not capacity > 0:
        raise WrongUse("the 99th percentile of the load is 0: give --capacity")
    names = ("units", "quality", "wear", "load_power", "unit_power", "serve")
    costs = SleepCosts(unit_load=capacity, **{name: options[name] for name in names})

    def solve(what: Load, bar: str) -> SleepPlan:
        found: SleepPlan | None = None
        with progress(bar, quiet=quiet) as tell:
            limit = options["time_limit"]
            for done, last in plan_sleep(what.values, costs, ids=load.ids, pool=options["pool"], time_limit_s=limit):
                tell(done, len(load.ids))
                found = last
        assert found is not None
        return found

    mine = solve(load, "planning")
    plans = {"this file": mine.awake} | {name: solve(other, name).awake for name, other in others.items()}
    plans["all awake"] = np.full_like(mine.awake, options["units"])
    outcomes = {name: sleep_outcome(awake, judge.values, costs) for name, awake in plans.items()}
    attrs = {"command": command_line(), "unit_load": capacity, "gap": mine.gap}
    found = plan_dataset(load, mine.awake, "awake", "radio units", "Awake radio units", attrs)
    if out.suffix.lower() == ".geojson":
        switches = np.abs(np.diff(mine.awake, axis=1)).sum(axis=1)
        rows = [{"cell_id": cell, "awake_mean": round(float(a.mean()), 4), "awake_most": int(a.max()),
                 "switches": int(s)} for cell, a, s in zip(load.ids, mine.awake, switches, strict=True)]  # fmt: skip
        _write_cells(load, out, rows)
    header = ("plan from", "total cost", "quality", "switches", "energy", "not served", "awake")
    cells = [(name, f"{o.total:.1f}", f"{o.quality:.2f}", f"{o.switches:.0f}", f"{o.energy:.1f}", f"{o.lost:.2%}",
              f"{o.awake_mean:.2f}") for name, o in outcomes.items()]  # fmt: skip
    _finish(found, out, options, notes, header, cells, outcomes, mine.gap, judge, as_json, quiet)


@plan.command(short_help="Resource blocks per cell and slot (backlog and delay).")
@click.argument("traffic", type=FILE)
@click.option("-o", "--out", type=FILE, required=True, metavar="OUT",
              help="Blocks per cell and slot: .nc .zarr .parquet .csv; or .geojson, a summary per cell.")  # fmt: skip
@click.option(
    "--prbs", type=AT_LEAST_1, default=100, show_default=True, help="Physical resource blocks to share in a slot."
)
@click.option("--group", type=AT_LEAST_1, default=2, show_default=True, help="Blocks that are given together.")
@click.option("--bandwidth", type=POSITIVE, default=180e3, show_default=True, metavar="HZ", help="Of one block.")
@click.option("--snr-db", type=FINITE, default=10.0, show_default=True, help="Mean signal to noise.")
@click.option(
    "--fading-db",
    type=NOT_NEGATIVE,
    default=0.0,
    show_default=True,
    help="Spread of the channel from cell to cell and slot.",
)
@click.option("--seed", type=COUNT, default=0, show_default=True, help="Of the fading.")
@click.option(
    "--mbit",
    type=POSITIVE,
    metavar="MBIT",
    help="What 1 unit of traffic is. [default: so that the offered load is 70% of what all blocks move]",
)
@click.option("--start", metavar="TIME", help="First local time, e.g. 2026-01-05T18:00. [default: the file's first]")
@click.option("--slots", type=AT_LEAST_1, default=16, show_default=True, help="Steps to plan.")
@click.option("--select", metavar="IDS|@FILE", help="Plan only these cells.")
@with_options(JUDGES)
@with_options(COMMON)
def prb(traffic: Path, out: Path, as_json: bool, quiet: bool, debug: bool, **options: Any) -> None:
    """How a server shares its resource blocks among cells (FoMo eq. 18): least backlog and delay.

    \b
    gentraffic plan prb forecast.nc -o blocks.parquet --select 4560,4561,4660,4661 --real measured.nc
    """
    import numpy as np

    from gentraffic.planning.load import plan_dataset
    from gentraffic.planning.resource_blocks import Radio, plan_prb, prb_outcome

    _check_outputs(out, options["map_file"], (".nc", ".zarr", ".parquet", ".csv", ".geojson"))
    load, judge, others, notes = _loads(traffic, options)
    shape = load.values.shape[1:]
    faded = np.random.default_rng(options["seed"]).normal(options["snr_db"], options["fading_db"], shape)
    radio = Radio(options["prbs"], options["group"], options["bandwidth"], load.step_s, 10 ** (faded / 10))
    mbit = options["mbit"] or 0.7 * radio.groups * float(radio.rate().mean()) / (shape[0] * float(judge.values.mean()))
    if options["mbit"] is None:
        notes.append(f"1 unit of traffic is taken as {mbit:.4g} Mbit, a load of 70%: give --mbit")
    named = {"this file": load, **others}
    plans = {name: plan_prb(mbit * what.values.mean(axis=0), radio, time_limit_s=options["time_limit"])
             for name, what in named.items()}  # fmt: skip
    groups = {name: p.groups for name, p in plans.items()}
    groups["equal shares"] = np.full(shape, radio.groups // shape[0])
    outcomes = {name: prb_outcome(g, mbit * judge.values, radio) for name, g in groups.items()}
    mine = plans["this file"]
    attrs = {"command": command_line(), "mbit_per_unit": mbit, "gap": mine.gap}
    blocks = mine.groups * options["group"]
    found = plan_dataset(load, blocks, "blocks", "PRB", "Resource blocks", attrs)
    if out.suffix.lower() == ".geojson":
        rows = [{"cell_id": cell, "blocks_mean": round(float(b.mean()), 3), "blocks_most": int(b.max())}
                for cell, b in zip(load.ids, blocks, strict=True)]  # fmt: skip
        _write_cells(load, out, rows)
    header = ("plan from", "backlog + delay", "backlog", "mean delay", "left at the end")
    cells = [(name, f"{o.total:.2f}", f"{o.backlog:.3f}", f"{o.delay:.3f} slots", f"{o.left:.2%}")
             for name, o in outcomes.items()]  # fmt: skip
    _finish(found, out, options, notes, header, cells, outcomes, mine.gap, judge, as_json, quiet)


@plan.command(short_help="Where to put new sites (coverage of demand by hour).")
@click.argument("traffic", type=FILE)
@click.option("-o", "--out", type=FILE, required=True, metavar="OUT", help="The sites: .geojson or .parquet.")
@click.option("--sites", type=AT_LEAST_1, metavar="N", help="New sites. One of --sites and --budget is needed.")
@click.option(
    "--budget", type=POSITIVE, metavar="COST", help="What may be spent, with a column `cost` in --candidates."
)
@click.option(
    "--candidates",
    type=FILE,
    metavar="FILE",
    help="Where sites may go: CSV or Parquet with lon, lat[, id][, cost]. [default: the cells' centres]",
)
@click.option("--existing", type=FILE, metavar="FILE", help="Sites that stand: CSV or Parquet with lon, lat.")
@click.option(
    "--radius", type=POSITIVE, default=500.0, show_default=True, metavar="METRES", help="How far a site covers."
)
@click.option("--capacity", type=POSITIVE, metavar="LOAD", help="What a site carries in an hour. [default: no limit]")
@click.option("--goal", default="mean", show_default=True, help="Coverage over all hours (mean), or in the worst-hour.")
@click.option("--context", type=FILE, metavar="FILE", help="Also plan from its POIs, and population, alone.")
@with_options(JUDGES)
@with_options(COMMON)
def deploy(traffic: Path, out: Path, as_json: bool, quiet: bool, debug: bool, **options: Any) -> None:
    """Where N new sites cover the most demand, by hour of the day (FoMo section 5.3).

    \b
    gentraffic sample --city porto --members 20 -o porto.nc
    gentraffic plan deploy porto.nc --sites 12 --radius 400 -o sites.geojson --map sites.html
    gentraffic plan deploy porto.nc --budget 30 --candidates roofs.csv --existing sites.csv -o sites.geojson
    """
    import numpy as np

    from gentraffic.dataset.positions import need_positions
    from gentraffic.errors import WrongUse
    from gentraffic.planning.deploy import Ground, coverage, mean_day, plan_deploy
    from gentraffic.planning.sites import points_of, read_sites, weights_of

    _check_outputs(out, options["map_file"], (".geojson", ".json", ".parquet"))
    if (options["sites"] is None) == (options["budget"] is None):
        raise WrongUse("give one of --sites N and --budget COST")
    budget = options["budget"] if options["sites"] is None else float(options["sites"])
    load, judge, others, notes = _loads(traffic, options)
    need_positions(load.ds, "plan deploy")
    cells_m = np.stack([load.ds["x"].values, load.ds["y"].values], axis=1)
    crs = str(load.ds.attrs["crs_wkt"])
    candidates = read_sites(options["candidates"], crs) if options["candidates"] else points_of(load.ds)
    standing = read_sites(options["existing"], crs) if options["existing"] else None
    existing = np.empty((0, 2)) if standing is None else standing.xy_m
    cost = np.ones(len(candidates.xy_m)) if options["budget"] is None else candidates.cost
    ground = Ground(cells_m, candidates.xy_m, existing, cost, options["radius"], options["capacity"])
    days = {name: mean_day(what.values.mean(axis=0) * what.hour_factor, what.hour)
            for name, what in {"this file": load, **others}.items()}  # fmt: skip
    if options["context"] is not None:
        from gentraffic.io.files import read_context

        days |= weights_of(read_context(options["context"]), load)
    plans = {
        name: plan_deploy(day, ground, budget, goal=options["goal"], time_limit_s=options["time_limit"])
        for name, day in days.items()
    }
    asked = mean_day(judge.values.mean(axis=0) * judge.hour_factor, judge.hour)
    chosen = {name: p.chosen for name, p in plans.items()}
    if len(existing):
        chosen["as it stands"] = np.empty(0, dtype=np.int64)
    share = {name: coverage(asked, ground, rows) for name, rows in chosen.items()}
    weight = asked.sum(axis=1) / asked.sum()
    outcomes = {
        name: {"coverage": float(s @ weight), "worst_hour": float(s.min()), "at_night": float(s[:6].mean()),
               "by_day": float(s[9:18].mean()), "sites": len(chosen[name]), "by_hour": s.round(6).tolist()}
        for name, s in share.items()
    }  # fmt: skip
    mine = plans["this file"]
    rows = [{"id": str(candidates.ids[i]), "cost": float(cost[i]), "rank": k + 1} for k, i in enumerate(mine.chosen)]
    from gentraffic.planning.load import write_geojson

    write_geojson(out, candidates.lonlat(mine.chosen), rows)
    if options["map_file"] is not None:
        from gentraffic.reports.sites_map import write_sites_map

        write_sites_map(
            load, candidates, mine.chosen, options["map_file"], existing=standing, radius_m=options["radius"]
        )
    header = ("plan from", "covered", "worst hour", "0-6 h", "9-18 h", "new sites")
    cells = [(name, f"{o['coverage']:.2%}", f"{o['worst_hour']:.2%}", f"{o['at_night']:.2%}", f"{o['by_day']:.2%}",
              f"{o['sites']}") for name, o in outcomes.items()]  # fmt: skip
    _finish(None, out, options, notes, header, cells, outcomes, mine.gap, judge, as_json, quiet)


def _check_outputs(out: Path, map_file: Path | None, formats: tuple[str, ...]) -> None:
    from gentraffic.io import atomic

    atomic.check_writable(out, formats)
    if map_file is not None:
        atomic.check_writable(map_file, (".html", ".htm"))


def _loads(traffic: Path, options: dict[str, Any]) -> tuple[Load, Load, dict[str, Load], list[str]]:
    """The load to plan for, the load that judges, the loads to plan from beside it, and notes.

    Where --real has other units, the plan's load is scaled to its mean: a planner knows the total of the network."""
    from gentraffic.generate.request import read_select, select_rows
    from gentraffic.io.files import read_traffic
    from gentraffic.planning.load import matching, read_load, scaled

    ds = read_traffic(traffic)
    names = read_select(options.get("select"))
    if names is not None:
        ds = ds.isel(cell=select_rows(ds, names))
    load = read_load(
        ds, str(traffic), service=options["service"], start=options.get("start"), steps=options.get("slots")
    )
    others: dict[str, Load] = {}
    notes: list[str] = []
    judge = load
    if options["real"] is not None:
        judge, how = matching(load, read_traffic(options["real"]), str(options["real"]), scale=False)
        others["real (hindsight)"] = judge
        notes.append(f"judged by {options['real']}, {how}")
        if judge.units != load.units:
            load = scaled(load, judge)
            notes.append(f"{traffic} is scaled to the mean of {options['real']}")
    if options["history"] is not None:
        others["history"], how = matching(load, read_traffic(options["history"]), str(options["history"]))
        notes.append(f"history: {options['history']}, {how}")
    return load, judge, others, notes


def _write_cells(load: Load, out: Path, rows: list[dict[str, Any]]) -> None:
    from gentraffic.dataset.geometry import cell_shapes
    from gentraffic.planning.load import write_geojson

    write_geojson(out, list(cell_shapes(load.ds)), rows)


def _finish(
    found: Any, out: Path, options: dict[str, Any], notes: list[str], header: tuple[str, ...],
    cells: Sequence[tuple[str, ...]], outcomes: dict[str, Any], gap: float, judge: Load, as_json: bool, quiet: bool,
) -> None:  # fmt: skip
    """Write what is not written yet, and report the plan beside the same decision made from other data."""
    from dataclasses import asdict, is_dataclass

    from gentraffic.planning.load import table_text

    if found is not None and out.suffix.lower() != ".geojson":
        from gentraffic.io.files import write_traffic

        write_traffic(found, out)
    if found is not None and options["map_file"] is not None:
        from gentraffic.reports.webmap import write_map

        write_map(found, options["map_file"])
    plain: Callable[[Any], Any] = lambda o: asdict(o) if is_dataclass(o) and not isinstance(o, type) else o  # noqa: E731
    values = {
        "output": str(out),
        "judged_by": str(options["real"] or "the file itself"),
        "gap": gap,
        "outcomes": {name: plain(o) for name, o in outcomes.items()},
        "notes": notes,
    }
    lines = [*table_text(header, cells), *notes]
    lines.append(f"{out}: {'the optimum' if gap < 1e-6 else f'within {gap:.2%} of the optimum'} for this file")
    report(values, lines, as_json=as_json, quiet=quiet)
