"""`gentraffic map` and `gentraffic plot`: pictures of traffic files that exist."""

from __future__ import annotations

from pathlib import Path

import click

from gentraffic.cli.options import COMMON, Command, report, with_options

FILE = click.Path(path_type=Path)
SERVICE = click.option("--service", metavar="NAME", help="The traffic variable, where the file has several.")
TITLE = click.option("--title", default="", metavar="TEXT", help="The title. [default: what it is, and of which place]")


@click.command("map", cls=Command, short_help="A traffic file as a map in one page that needs no network.")
@click.argument("traffic", type=FILE)
@click.option("-o", "--out", type=FILE, required=True, metavar="OUT", help="The page: .html.")
@SERVICE
@TITLE
@with_options(COMMON)
def map_(traffic: Path, out: Path, service: str | None, title: str, as_json: bool, quiet: bool, debug: bool) -> None:
    """Write a page with a map that plays hour by hour, and with layers.

    The layers: mean, busy hour, the members' range; of a what-if the difference, before and after. A cell is found by
    its id or by its position.

    \b
    gentraffic map milan.nc -o milan.html
    gentraffic map what-if.nc -o change.html
    """
    from gentraffic.io import atomic
    from gentraffic.io.files import read_traffic
    from gentraffic.reports.page import SUFFIXES
    from gentraffic.reports.webmap import write_map

    atomic.check_writable(out, SUFFIXES)
    ds = read_traffic(traffic)
    write_map(ds, out, service=service, title=title)
    values = {"output": str(out), "cells": ds.sizes["cell"], "steps": ds.sizes["time"]}
    report(values, [f"{out}: {ds.sizes['cell']:,} cells x {ds.sizes['time']:,} steps"], as_json=as_json, quiet=quiet)


@click.command(cls=Command, short_help="A traffic file as a picture: total, three cells, hours, levels.")
@click.argument("traffic", type=FILE)
@click.option("-o", "--out", type=FILE, required=True, metavar="OUT", help="The picture: .png.")
@SERVICE
@TITLE
@with_options(COMMON)
def plot(traffic: Path, out: Path, service: str | None, title: str, as_json: bool, quiet: bool, debug: bool) -> None:
    """Draw the region's traffic over time, a quiet, a median and the busiest cell, the hours of the days, and levels.

    \b
    gentraffic plot milan.nc -o milan.png
    """
    from gentraffic.io import atomic
    from gentraffic.io.files import read_traffic
    from gentraffic.reports.plot import SUFFIXES, write_plot

    atomic.check_writable(out, SUFFIXES)
    ds = read_traffic(traffic)
    write_plot(ds, out, service=service, title=title)
    values = {"output": str(out), "cells": ds.sizes["cell"], "steps": ds.sizes["time"]}
    report(values, [f"{out}: {ds.sizes['cell']:,} cells x {ds.sizes['time']:,} steps"], as_json=as_json, quiet=quiet)
