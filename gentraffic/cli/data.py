"""`gentraffic fetch` and `gentraffic import`: places and measured traffic become files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gentraffic.cli.options import COMMON, PLACE, TABLE, command_line, find_context, place_of, report, with_options

if TYPE_CHECKING:
    import xarray as xr

FILE = click.Path(path_type=Path)


@click.command(short_help="POIs, cells and stations of a place, once, into a context file.")
@with_options(PLACE)
@click.option(
    "--sites", type=FILE, metavar="FILE", help="Known base-station sites (CSV or Parquet: lon, lat[, n_cells])."
)
@click.option("--sites-credit", metavar="TEXT", help="Who made the sites, for the attribution.")
@click.option("--place", metavar="NAME", help="What the place is called. [default: from its source]")
@click.option("--habits", metavar="NETWORK", help="Whose daily rhythm the place follows, e.g. milan.")
@click.option("--network", metavar="NAME", help="The measured network that the cells belong to, if any.")
@click.option("-o", "--out", type=FILE, required=True, metavar="OUT", help="Context: .nc or .zarr.")
@with_options(COMMON)
def fetch(out: Path, as_json: bool, quiet: bool, debug: bool, **options: Any) -> None:
    """Count the points of interest around every cell or station of a place and write them to a context file.

    \b
    gentraffic fetch --city "Trento, Italy" -o trento.nc
    gentraffic fetch --osm malta.osm.pbf --cell-size 500 -o malta.nc
    gentraffic fetch --cells telecom-grid.geojson --osm pois.csv --sites lte.csv -o milan.nc

    With --sites the model also knows where base stations stand already: traffic follows them closely.
    """
    from gentraffic.api.places import with_names
    from gentraffic.io.files import CONTEXT_FORMATS, check_writable, write_context

    check_writable(out, CONTEXT_FORMATS)
    found = find_context(place_of(options), quiet=quiet, command=command_line())
    context = with_names(
        found, name=options["place"], network=options["network"], habits=options["habits"], sites=options["sites"],
        sites_credit=options["sites_credit"],
    )  # fmt: skip
    write_context(context, out)
    pois = int(context["poi_count"].sum())
    warnings = [w for w in str(context.attrs.get("warnings", "")).splitlines() if w]
    values = {
        "output": str(out),
        "place": context.attrs.get("place", ""),
        "cells": context.sizes["cell"],
        "pois": pois,
        "timezone": context.attrs["timezone"],
        "osm_snapshot": context.attrs.get("osm_snapshot", ""),
        "warnings": warnings,
    }
    lines = [f"warning: {w}" for w in warnings]
    lines.append(f"{out}: {values['cells']} cells of {values['place']}, {pois} POIs, {values['timezone']}")
    report(values, lines, as_json=as_json, quiet=quiet)


@click.group("import", short_help="Operators' and public measurements into a traffic file.")
def import_() -> None:
    """Read measured traffic into the format that every other command takes."""


def _output(function: Callable[..., Any]) -> Callable[..., Any]:
    out = click.option("-o", "--out", type=FILE, required=True, metavar="OUT", help="Traffic: .nc .zarr .parquet .csv.")
    return out(with_options(COMMON)(function))


def _finish(traffic: xr.Dataset, out: Path, as_json: bool, quiet: bool, more: dict[str, Any]) -> None:
    from gentraffic.dataset.schema import services
    from gentraffic.io.files import write_traffic

    write_traffic(traffic, out)
    warnings = [w for w in str(traffic.attrs.get("warnings", "")).splitlines() if w]
    for warning in [] if quiet else warnings:
        click.echo(f"warning: {warning}", err=True)
    values = {
        "output": str(out),
        "cells": traffic.sizes["cell"],
        "steps": traffic.sizes["time"],
        "services": services(traffic),
        "timezone": traffic.attrs["timezone"],
        "warnings": warnings,
        **more,
    }
    names = ", ".join(values["services"])
    line = f"{out}: {values['cells']} cells x {values['steps']} steps of {names}, {values['timezone']}"
    report(values, [line, *(f"{v}" for v in more.values())], as_json=as_json, quiet=quiet)


@import_.command(short_help="UoMo patches (.npz, or the upstream JSON).")
@click.argument("src", type=FILE)
@click.option("--context", type=FILE, metavar="FILE", help="Also write the context: the POIs of the same cells.")
@_output
def uomo(src: Path, context: Path | None, out: Path, as_json: bool, quiet: bool, debug: bool) -> None:
    """Read a UoMo file: 4x4-cell patches with traffic, users and POIs.

    \b
    gentraffic import uomo uomo_sd.npz -o traffic.nc --context context.nc
    """
    from gentraffic.io.files import CONTEXT_FORMATS, check_writable, write_context
    from gentraffic.io.importers.uomo import read_uomo

    check_writable(out)
    if context is not None:
        check_writable(context, CONTEXT_FORMATS)
    traffic, places = read_uomo(src)
    if context is not None:
        write_context(places, context)
    _finish(traffic, out, as_json, quiet, {} if context is None else {"context": str(context)})


@import_.command("telecom-italia", short_help="Telecom Italia's raw TSV files.")
@click.argument("src", type=FILE, nargs=-1, required=True)
@click.option("--cells", type=FILE, metavar="FILE", help="The grid of the cells. [default: Milan's]")
@click.option("--service", metavar="NAMES", help="Which of internet,call_in,call_out,sms_in,sms_out. [default: all]")
@_output
def telecom_italia(
    src: tuple[Path, ...], cells: Path | None, service: str | None, out: Path, as_json: bool, quiet: bool, debug: bool
) -> None:
    """Read raw days of the Telecom Italia Big Data Challenge: five services, 10 minutes, local time Europe/Rome.

    \b
    gentraffic import telecom-italia sms-call-internet-mi-2013-11-*.txt -o milan.zarr
    """
    from gentraffic.dataset.services import split_names
    from gentraffic.io.files import check_writable
    from gentraffic.io.importers.telecom_italia import TELECOM_SERVICES, read_telecom_italia

    check_writable(out)
    services = split_names(service) or TELECOM_SERVICES
    _finish(read_telecom_italia(list(src), cells=cells, services=services), out, as_json, quiet, {})


@import_.command(short_help="A table: CSV, Excel or Parquet with cell, time and a value per service.")
@click.argument("src", type=FILE)
@click.option("--timezone", metavar="ZONE", help="The zone of times without one.")
@click.option("--service", metavar="NAME", help="What the column `value` holds. [default: traffic]")
@click.option("--unit", metavar="UNIT", help="Of the values: GB, Mbit/s, ...; or internet=GB,users=1. Volumes (GB) are"
              " amounts per step and add up, rates are averaged. [default: unknown]")  # fmt: skip
@click.option(
    "--cells",
    type=FILE,
    metavar="FILE",
    help="Where the table has no lon and lat: polygons of the cells, or a table of stations (lon, lat, id).",
)
@with_options(TABLE)
@click.option("--id-column", metavar="NAME", help="The column of the cells' ids. [default: by its usual name]")
@_output
def table(
    src: Path, timezone: str | None, service: str | None, unit: str | None, cells: Path | None, columns: str | None,
    decimal: str | None, thousands: str | None, id_column: str | None, out: Path, as_json: bool, quiet: bool,
    debug: bool,
) -> None:  # fmt: skip
    """Read a table with columns cell, time, one per service (or `value`), and lon, lat (or --cells; without both the
    series have no positions). Ids are text. CSV in any usual encoding, packed or not, .xlsx and Parquet.

    \b
    gentraffic import table measured.csv --timezone Europe/Rome --unit GB -o traffic.nc
    gentraffic import table counters.xlsx --cells sites.csv --columns id=CELL_NAME,internet=DL_GB -o traffic.nc
    """
    from gentraffic.io.files import check_writable
    from gentraffic.io.importers.table import read_table
    from gentraffic.io.source_columns import make_reading

    check_writable(out)
    reading = make_reading(columns, id_column, decimal, thousands)
    traffic = read_table(src, timezone=timezone, service=service, cells=cells, unit=unit, reading=reading)
    _finish(traffic, out, as_json, quiet, {})
