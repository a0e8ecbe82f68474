"""`gentraffic report`: one page for a colleague who was not there."""

from __future__ import annotations

from pathlib import Path

import click

from gentraffic.cli.options import COMMON, Command, report, with_options

FILE = click.Path(path_type=Path)


@click.command("report", cls=Command, short_help="One page about a traffic file, for a colleague who was not there.")
@click.argument("traffic", type=FILE)
@click.option("-o", "--out", type=FILE, required=True, metavar="OUT", help="The page: .html.")
@click.option("--service", metavar="NAME", help="The traffic variable, where the file has several.")
@click.option("--capacity", metavar="AMOUNT", help="Also show where, and how probably, this is exceeded: 40Mbit/s, 18GB"
              " per step, or a bare number in the file's units.")  # fmt: skip
@click.option("--real", type=FILE, metavar="FILE", help="Measured traffic of the same cells: do the ranges hold?")
@click.option("--model", metavar="DIR", help="The folder of the model that drew it. [default: the bundled one]")
@with_options(COMMON)
def report_(
    traffic: Path, out: Path, service: str | None, capacity: str | None, real: Path | None, model: str | None,
    as_json: bool, quiet: bool, debug: bool,
) -> None:  # fmt: skip
    """Write a page that needs no network and prints: what, where, which model and data, maps, typical weeks, busy
    hours, uncertainty, what to trust and what not, attribution.

    \b
    gentraffic report milan.nc -o milan.html
    gentraffic report ensemble.nc -o report.html --capacity 40Mbit/s
    gentraffic report ensemble.nc -o report.html --real measured.nc
    gentraffic report what-if.nc -o change.html
    """
    from gentraffic.io import atomic
    from gentraffic.io.files import read_traffic
    from gentraffic.reports import traffic as pages
    from gentraffic.reports.page import SUFFIXES

    atomic.check_writable(out, SUFFIXES)
    ds = read_traffic(traffic)
    measured = None if real is None else read_traffic(real)
    titles = pages.write_report(ds, out, service=service, capacity=capacity, model=model, real=measured)
    values = {"output": str(out), "sections": titles, "cells": ds.sizes["cell"], "members": ds.sizes.get("member", 1)}
    report(values, [f"{out}: {', '.join(title.lower() for title in titles)}"], as_json=as_json, quiet=quiet)
