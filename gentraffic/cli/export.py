"""`gentraffic export`: traffic for other people's tools, a command per format."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from gentraffic.cli.options import COMMON, Command, report, with_options
from gentraffic.errors import WrongUse

FILE = click.Path(path_type=Path)
# What a format holds, its examples, and the options that only some formats have. The list stands here and not only in
# `gentraffic.io.export.registry`, which loads what --help need not wait for; a test compares the two.
FORMATS = {
    "3gpp": (".xml: 3GPP TS 32.435 or TS 28.532 measurement XML, whole Mbit; or a folder, a file per period", [
        "export 3gpp milan.nc -o milan.xml --unit 3.2GB",
        "export 3gpp ensemble.nc -o measurements --member p95",
        "export 3gpp milan.nc -o milan.xml --form 28.532"], ("unit", "counter", "form")),
    "simu5g": (".ini: Simu5G 1.4.3 and later (OMNeT++), one UE per cell, run k = step k", [
        "export simu5g sites.nc -o traffic.ini --member 0",
        "export simu5g sites.nc -o traffic.ini --release 1.3"], ("unit", "release")),
    "sionna": (".npz: tensor (batch, cell, service, time) and positions", ["export sionna milan.nc -o milan.npz"], ()),
    "matlab": (".mat: one file; or a folder with a CSV per cell", ["export matlab milan.nc -o milan.mat"], ()),
    "gridded": (".nc: NetCDF (time, y, x) for cdo, GDAL and QGIS's time slider", [
        "export gridded milan.nc -o maps.nc", "export gridded ensemble.nc -o maps.nc --member mean"], ()),
    "geotiff": (".tif: a COG with a band per step; of an ensemble its maps: mean, peak, quantiles, probabilities", [
        "export geotiff ensemble.nc -o maps.tif --capacity 40Mbit/s"], ("capacity",)),
    "geopackage": (".gpkg: cells with statistics, and the series with geometry and time, for QGIS", [
        "export geopackage ensemble.nc -o milan.gpkg --capacity 18GB"], ("capacity",)),
    "planning": ("folder: traffic.bil and traffic.grd, rasters of planning tools", [
        "export planning milan.nc -o rasters --statistic busy_mean"], ("statistic",)),
    "kepler": (".csv: Kepler.gl", ["export kepler milan.nc -o milan.csv"], ()),
    "office": (".csv or .xlsx: for spreadsheet programs", [
        "export office milan.nc -o milan.csv --decimal comma", "export office milan.nc -o milan.xlsx"], ("decimal",)),
    "influx": (".lp: InfluxDB line protocol", ["export influx milan.nc -o milan.lp"], ()),
    "parquet": ("folder: Parquet partitioned by local day", ["export parquet milan.nc -o milan"], ()),
    "maveric": ("folder: the tables of Maveric's RADP: topology, config, ue_data, traffic", [
        "export maveric milan.nc -o maveric"], ()),
    "frictionless": ("folder: Frictionless data package (datapackage.json)", [
        "export frictionless milan.nc -o package"], ()),
    "croissant": ("folder: Croissant card (croissant.json) for ML tools", ["export croissant milan.nc -o card"], ()),
}  # fmt: skip
ONLY_SOME: dict[str, Callable[..., Any]] = {
    "unit": click.option("--unit", metavar="AMOUNT", help="What 1 is in a step, e.g. 3.2GB, where units are 1."),
    "counter": click.option("--counter", metavar="NAME", help="The measurement. [default: DRB.PdcpSduVolumeDL]"),
    "form": click.option("--form", metavar="32.435|28.532", help="The specification. [default: 32.435]"),
    "release": click.option("--release", metavar="1.4|1.3", help="Of Simu5G. [default: 1.4, which is 1.4.3 and later]"),
    "capacity": click.option("--capacity", metavar="AMOUNT", help="Also how often, and how probably, it is exceeded,"
                             " e.g. 40Mbit/s; a bare number is in the file's units."),
    "decimal": click.option("--decimal", metavar="point|comma", help="Of .csv: comma parts the columns by semicolons."
                            " [default: point]"),
    "statistic": click.option("--statistic", metavar="NAME", help="One map of it: mean, peak, busy_mean."
                              " [default: .bil a band per step, .grd the mean]"),
}  # fmt: skip


class _Export(click.Group):
    """A group whose commands are the formats, named anywhere on the line, as long as `export` had no commands."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Bring the format to the front."""
        at = next((i for i, word in enumerate(args) if word in FORMATS), 0)
        if at > 0 and "--help" not in args[:at] and "-h" not in args[:at]:
            args = [args[at], *args[:at], *args[at + 1 :]]
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command of a format. Raises WrongUse for no format."""
        if args[0] not in FORMATS:
            raise WrongUse(f"no format {args[0]!r}: choose one of {', '.join(FORMATS)}")
        return super().resolve_command(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of the table."""
        return list(FORMATS)


@click.group(
    cls=_Export, name="export", short_help="Traffic for simulators, OSS, QGIS, planning, offices, data catalogues."
)
def export() -> None:
    """Write a traffic file in the FORMAT of another tool: gentraffic export FORMAT TRAFFIC -o OUT.

    \b
    gentraffic export 3gpp milan.nc -o milan.xml --unit 3.2GB
    gentraffic export geopackage ensemble.nc -o milan.gpkg --capacity 18GB
    gentraffic export office milan.nc -o milan.csv --decimal comma
    gentraffic export gridded --help

    Volumes are whole numbers whose remainders are carried to the next step where a format has whole numbers only: sums
    stay what they were, to one unit. Times carry UTC and the local offset, also across changes of the clock.
    """


def _command(name: str) -> click.Command:
    about, examples, takes = FORMATS[name]

    def write(
        traffic: Path, out: Path, service: str | None, member: str | None, as_json: bool, quiet: bool, debug: bool,
        **more: str | None,
    ) -> None:  # fmt: skip
        from gentraffic.io.export import registry as formats
        from gentraffic.io.files import read_traffic

        formats.check_export(name, out)
        ds = read_traffic(traffic)
        more["form_of"] = more.pop("form", None)
        found = formats.export(ds, name, out, service=service, member=member, **more)
        values = {"output": str(out), "format": name, "cells": ds.sizes["cell"], "steps": ds.sizes["time"], **found}
        said = ", ".join(f"{key} {_short(value)}" for key, value in found.items() if key != "note")
        lines = [f"{out}: {name}, {values['cells']} cells x {values['steps']} steps; {said}"]
        lines += [f"note: {found['note']}"] if "note" in found else []
        report(values, lines, as_json=as_json, quiet=quiet)

    write.__doc__ = f"{about}.\n\n    \b\n" + "\n".join(f"    gentraffic {example}" for example in examples)
    own = tuple(ONLY_SOME[option] for option in takes)
    # Of other formats, too, so that one line says whose an option is; --help does not list them.
    others = tuple(click.option(f"--{option}", hidden=True) for option in ONLY_SOME if option not in takes)
    shared = (
        click.argument("traffic", type=FILE),
        click.option("-o", "--out", type=FILE, required=True, metavar="OUT", help="What to write; see above."),
        click.option("--service", metavar="NAME", help="Only this variable. [default: all that the format holds]"),
        click.option("--member", metavar="N|mean|p95", help="One series per cell of an ensemble: a member, their mean, "
                     "or a quantile, whose sums mean nothing."),
    )  # fmt: skip
    decorated = with_options(shared, own, others, COMMON)(write)
    return click.command(name, Command, short_help=about)(decorated)


for _name in FORMATS:
    export.add_command(_command(_name))


def _short(value: object) -> str:
    if isinstance(value, dict):
        return " ".join(f"{key}={_short(part)}" for key, part in value.items())
    if isinstance(value, list):
        return " x ".join(map(str, value)) if all(isinstance(v, int) for v in value) else ", ".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) else str(value)
