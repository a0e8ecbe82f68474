"""`gentraffic export`: traffic for other people's tools."""

from __future__ import annotations

from pathlib import Path

import click

from gentraffic.cli.options import COMMON, report, with_options

FILE = click.Path(path_type=Path)


@click.command(short_help="Traffic for simulators, OSS, QGIS, Kepler.gl, MATLAB, data catalogues.")
@click.argument("format_", metavar="FORMAT")
@click.argument("traffic", type=FILE)
@click.option("-o", "--out", type=FILE, required=True, metavar="OUT", help="File, or folder (a name without suffix).")
@click.option("--service", metavar="NAME", help="Only this traffic variable. [default: all that the format holds]")
@click.option("--member", metavar="N|mean|p95", help="One series per cell of an ensemble: a member, mean or quantile.")
@click.option("--unit", metavar="AMOUNT", help="What a value of 1 is in a step, e.g. 3.2GB, where units are 1.")
@click.option("--counter", metavar="NAME", help="3gpp: the measurement's name. [default: DRB.PdcpSduVolumeDL]")
@click.option("--capacity", metavar="AMOUNT", help="geotiff, geopackage: also how often, and how probably, it is"
              " exceeded, e.g. 40Mbit/s; a bare number is in the file's units.")  # fmt: skip
@with_options(COMMON)
def export(
    format_: str, traffic: Path, out: Path, service: str | None, member: str | None, unit: str | None,
    counter: str | None, capacity: str | None, as_json: bool, quiet: bool, debug: bool,
) -> None:  # fmt: skip
    """Write a traffic file in the FORMAT of another tool.

    \b
    3gpp          3GPP TS 32.435 measurement XML, whole Mbit: one .xml, or a folder with a file per period
    simu5g        .ini: Simu5G / OMNeT++, one UE per cell, run k = step k
    sionna        .npz: tensor (batch, cell, service, time) and positions
    matlab        folder: a CSV per cell
    geotiff       .tif: a band per step; of an ensemble its maps: mean, peak, quantiles, probabilities
    geopackage    .gpkg: cells with statistics, and the series, for QGIS
    kepler        .csv: Kepler.gl
    frictionless  folder: Frictionless data package (datapackage.json)
    croissant     folder: Croissant card (croissant.json) for ML tools

    \b
    gentraffic export 3gpp milan.nc -o milan.xml --unit 3.2GB
    gentraffic export 3gpp ensemble.nc -o measurements --member p95
    gentraffic export geopackage ensemble.nc -o milan.gpkg --capacity 18GB
    gentraffic export simu5g sites.nc -o traffic.ini --member 0

    Volumes are whole numbers whose remainders are carried to the next step: sums stay what they were, to one unit.
    Times carry UTC and the local offset, also across changes of the clock.
    """
    from gentraffic.io.export import registry as formats
    from gentraffic.io.files import read_traffic

    formats.check_export(format_, out)
    ds = read_traffic(traffic)
    found = formats.export(
        ds, format_, out, service=service, member=member, unit=unit, counter=counter, capacity=capacity
    )
    values = {"output": str(out), "format": format_, "cells": ds.sizes["cell"], "steps": ds.sizes["time"], **found}
    said = ", ".join(f"{key} {_short(value)}" for key, value in found.items())
    line = f"{out}: {format_}, {values['cells']} cells x {values['steps']} steps; {said}"
    report(values, [line], as_json=as_json, quiet=quiet)


def _short(value: object) -> str:
    if isinstance(value, dict):
        return " ".join(f"{key}={_short(part)}" for key, part in value.items())
    if isinstance(value, list):
        return " x ".join(map(str, value)) if all(isinstance(v, int) for v in value) else ", ".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) else str(value)
