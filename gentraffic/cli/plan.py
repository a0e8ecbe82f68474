"""`gentraffic plan`: decisions from traffic, measured, forecast or synthetic."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

import gentraffic
from gentraffic.cli import options as shared
from gentraffic.cli.options import AT_LEAST_1, NOT_NEGATIVE, POSITIVE, Result, call, file_option, out_option, prints

JUDGES = shared.with_options((
    shared.SERVICE,
    file_option("--real", help="Measured traffic of the same cells: every plan is judged by it, and planned from it."),
    file_option("--history", help="Earlier traffic: the same decision from its mean week."),
    click.option("--time-limit", type=POSITIVE, default=60.0, metavar="SECONDS", help="Of the solver."),
    file_option("--map", "map_file", metavar="FILE.html", help="A map of the plan."),
))  # fmt: skip


@click.group(short_help="Decisions: which units sleep, who gets resource blocks, where new sites go.")
def plan() -> None:
    """Plan a network from traffic: measured, forecast, or drawn (an ensemble is planned for in expectation).

    Each plan is solved by HiGHS and says how far from the optimum it may be (its gap; 0 is the optimum).
    """


@plan.command(short_help="Awake radio units per cell and hour (energy).")
@shared.TRAFFIC
@out_option("Units per cell and hour: .nc .zarr .parquet .csv; or .geojson, a summary per cell.")
@click.option("--units", type=AT_LEAST_1, default=4, help="Radio units per cell.")
@click.option("--capacity", metavar="LOAD",
              help="What one unit serves in a step, in the traffic's unit, or 40Mbit/s."
                   " [default: the units of a cell carry the 99th percentile of the load;"
                   " what does not fit is said]")  # fmt: skip
@click.option("--quality", type=NOT_NEGATIVE, default=1.0, help="Cost of a cell and step in which nothing is served.")
@click.option("--wear", type=NOT_NEGATIVE, default=0.2, help="Cost of one switch of one unit.")
@click.option("--unit-power", type=NOT_NEGATIVE, default=0.1, help="Cost of one unit awake for a step.")
@click.option("--load-power", type=NOT_NEGATIVE, default=0.05, help="Cost of serving what fills one unit.")
@click.option("--serve", type=NOT_NEGATIVE, default=0.0, help="Share of the load that must be served in every step.")
@click.option("--pool", type=shared.COUNT, metavar="N", help="Units awake at once over all cells, at most.")
@JUDGES
@prints
def sleep(traffic: Path, out: Path, **options: Any) -> Result:
    """Which radio units sleep when (FoMo eq. 17): quality, wear and energy, the least in sum.

    \b
    gentraffic plan sleep forecast.nc -o awake.parquet --real measured.nc --history last-month.nc
    gentraffic plan sleep ensemble.nc -o awake.nc --units 6 --capacity 2.5 --serve 0.95 --map awake.html
    """
    return call(gentraffic.plan.sleep, traffic, bar="planning", out=out, **options)


@plan.command(short_help="Resource blocks per cell and slot (backlog and delay).")
@shared.TRAFFIC
@out_option("Blocks per cell and slot: .nc .zarr .parquet .csv; or .geojson, a summary per cell.")
@click.option("--prbs", type=AT_LEAST_1, default=100, help="Physical resource blocks to share in a slot.")
@click.option("--group", type=AT_LEAST_1, default=2, help="Blocks that are given together.")
@click.option("--bandwidth", type=POSITIVE, default=180e3, metavar="HZ", help="Of one block.")
@click.option("--snr-db", type=shared.FINITE, default=10.0, help="Mean signal to noise.")
@click.option("--fading-db", type=NOT_NEGATIVE, default=0.0, help="Spread of the channel from cell to cell and slot.")
@shared.seed_option("Of the fading.")
@click.option("--mbit", type=POSITIVE, metavar="MBIT",
              help="What 1 unit of traffic is. [default: what its unit says; of relative traffic, so that the offered"
                   " load is 70% of what all blocks move]")  # fmt: skip
@click.option("--start", metavar="TIME", help="First local time, ISO. [default: the slots with most traffic]")
@click.option("--slots", type=AT_LEAST_1, default=16, help="Steps to plan.")
@click.option("--select", metavar="IDS|@FILE", help="Plan only these cells.")
@JUDGES
@prints
def prb(traffic: Path, out: Path, **options: Any) -> Result:
    """How a server shares its resource blocks among cells (FoMo eq. 18): least backlog and delay.

    A slot is a step of the file, mostly an hour. Backlog: what waits at the end of each slot, summed over cells and
    slots, in units of what a cell asks for in a mean slot. Delay: in how many slots the work of a slot is done.

    \b
    gentraffic plan prb forecast.nc -o blocks.parquet --select 4560,4561,4660,4661 --real measured.nc
    """
    return call(gentraffic.plan.prb, traffic, bar="planning", out=out, **options)


@plan.command(short_help="Where to put new sites (coverage of demand by hour).")
@shared.TRAFFIC
@out_option("The sites: .geojson or .parquet.")
@click.option("--sites", type=AT_LEAST_1, metavar="N", help="New sites. One of --sites and --budget is needed.")
@click.option("--budget", type=POSITIVE, metavar="COST", help="What may be spent; --candidates has a column `cost`.")
@file_option("--candidates", help="Where sites may go: CSV or Parquet with lon, lat[, id][, cost]."
                                  " [default: the cells' centres]")  # fmt: skip
@file_option("--existing", help="Sites that stand: a table with lon, lat[, id]; sectors of one mast are one site.")
@shared.with_options(shared.TABLE)
@click.option("--radius", type=POSITIVE, default=500.0, metavar="METRES", help="How far a site covers.")
@click.option("--capacity", metavar="LOAD", help="Of a site in an hour: 40Mbit/s, or traffic. [default: no limit]")
@click.option("--goal", default="mean", help="Coverage over all hours (mean), or in the worst-hour.")
@file_option("--context", help="Also plan from its POIs, and population, alone.")
@JUDGES
@prints
def deploy(traffic: Path, out: Path, **options: Any) -> Result:
    """Where N new sites cover the most demand, by hour of the day (FoMo section 5.3).

    \b
    gentraffic sample --city porto --members 20 -o porto.nc
    gentraffic plan deploy porto.nc --sites 12 --radius 400 -o sites.geojson --map sites.html
    gentraffic plan deploy porto.nc --sites 5 --existing sites.csv --columns id=SITE,lon=X,lat=Y -o sites.geojson
    gentraffic plan deploy porto.nc --budget 30 --candidates roofs.csv --existing sites.csv -o sites.geojson
    """
    return call(gentraffic.plan.deploy, traffic, bar="planning", out=out, **options)
