"""`gentraffic export`: traffic for other people's tools, a command per format."""

from __future__ import annotations

from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import click

import gentraffic
from gentraffic.cli.options import TRAFFIC, Result, call, is_quiet, out_option, prints, with_options
from gentraffic.errors import WrongUse, did_you_mean
from gentraffic.io.export.formats import FORMATS, ExportOptions

SHARED = (
    TRAFFIC,
    out_option("What to write; see above."),
    click.option("--service", metavar="NAME", help="Only this variable. [default: all that the format holds]"),
    click.option("--member", metavar="N|mean|p95|all", help="One series per cell of an ensemble: a member, their "
                 "mean, or a quantile, whose sums mean nothing; all: every member, where a format has mean and range."),
)  # fmt: skip


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
            raise WrongUse(f"no format {args[0]!r}: choose one of {', '.join(FORMATS)}{did_you_mean(args[0], FORMATS)}")
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
    gentraffic export geopackage ensemble.nc -o milan.gpkg --capacity 5Mbit/s
    gentraffic export office milan.nc -o milan.csv --decimal comma
    gentraffic export gridded --help

    Volumes are whole numbers whose remainders are carried to the next step where a format has whole numbers only: sums
    stay what they were, to one unit. Times carry UTC and the local offset, also across changes of the clock.
    """


def _command(name: str) -> click.Command:
    form = FORMATS[name]

    def write(traffic: Path, out: Path, **options: Any) -> Result:
        say = (lambda line: None) if is_quiet() else partial(click.echo, err=True)
        return call(gentraffic.export, traffic, name, out, bar=f"writing {name}", announce=say, **options)

    examples = "\n".join(f"    gentraffic {example}" for example in form.examples)
    write.__doc__ = f"{form.about}.\n\n    \b\n{examples}"
    # Those of other formats, too, so that one line says whose an option is; --help does not list them.
    some = tuple(
        click.option(f"--{one.name}", metavar=one.metadata["metavar"], help=one.metadata["about"],
                     hidden=one.name not in form.takes)
        for one in fields(ExportOptions)
    )  # fmt: skip
    return click.command(name, short_help=form.about)(with_options(SHARED, some)(prints(write)))


for _name in FORMATS:
    export.add_command(_command(_name))
