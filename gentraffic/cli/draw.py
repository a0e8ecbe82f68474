"""`gentraffic map`, `plot` and `report`: pictures and pages of traffic files that exist."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

import gentraffic
from gentraffic.cli.options import SERVICE, TRAFFIC, Result, call, file_option, out_option, prints

TITLE = click.option("--title", default="", show_default=False, metavar="TEXT",
                     help="The title. [default: what it is, and of which place]")  # fmt: skip
NAME = click.option("--place", "name", metavar="NAME", help="What the place is called. [default: as the file says]")
STREETS = file_option("--streets", help="Where the streets and names of the map come from, if the traffic has none: an"
                                        " OpenStreetMap extract or a context file.")  # fmt: skip


@click.command("map", short_help="A traffic file as a map in one page that needs no network.")
@TRAFFIC
@out_option("The page: .html.")
@SERVICE
@NAME
@TITLE
@STREETS
@prints
def map_(traffic: Path, out: Path, **options: Any) -> Result:
    """Write a page with a map that plays hour by hour, and with layers.

    The layers: mean, busy hour, the members' range; of a what-if the difference, before and after. A cell is found by
    its id or by its position. Streets, water and names are those of the extract that the place was read from.

    \b
    gentraffic map milan.nc -o milan.html
    gentraffic map what-if.nc -o change.html
    gentraffic map measured.nc -o measured.html --streets city.osm.pbf
    """
    return call(gentraffic.draw_map, traffic, out, **options)


@click.command(short_help="A traffic file as a picture: total, three cells, hours, levels.")
@TRAFFIC
@out_option("The picture: .png.")
@SERVICE
@NAME
@TITLE
@prints
def plot(traffic: Path, out: Path, **options: Any) -> Result:
    """Draw the region's traffic over time, a quiet, a median and the busiest cell, the hours of the days, and levels.

    \b
    gentraffic plot milan.nc -o milan.png
    """
    return call(gentraffic.draw_plot, traffic, out, **options)


@click.command("report", short_help="One page about a traffic file, for a colleague who was not there.")
@TRAFFIC
@out_option("The page: .html.")
@SERVICE
@click.option("--capacity", metavar="AMOUNT", help="Also show where, and how probably, this is exceeded: 40Mbit/s, 18GB"
              " per step, or a bare number in the file's units.")  # fmt: skip
@NAME
@file_option("--real", help="Measured traffic of the same cells: do the ranges hold?")
@click.option("--model", metavar="DIR", help="The folder of the model that drew it. [default: the bundled one]")
@STREETS
@prints
def report_(traffic: Path, out: Path, **options: Any) -> Result:
    """Write a page that needs no network and prints: what, where, which model and data, maps, typical weeks, busy
    hours, uncertainty, what to trust and what not, attribution.

    \b
    gentraffic report milan.nc -o milan.html
    gentraffic report ensemble.nc -o report.html --capacity 40Mbit/s
    gentraffic report ensemble.nc -o report.html --real measured.nc
    gentraffic report what-if.nc -o change.html
    """
    return call(gentraffic.report, traffic, out, **options)
