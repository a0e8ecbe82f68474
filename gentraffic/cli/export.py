"""`gentraffic export`: traffic for other people's tools, a command per format."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click

import gentraffic
from gentraffic.cli.options import TRAFFIC, Result, call, is_quiet, out_option, prints, with_options
from gentraffic.errors import WrongUse, did_you_mean
from gentraffic.io.export.formats import FORMATS

SHARED = (
    TRAFFIC,
    out_option("What to write; see above."),
    click.option("--service", metavar="NAME", help="Only this variable. [default: all that the format holds]"),
    click.option("--member", metavar="N|mean|p95|all", help="One series per cell of an ensemble: a member, their "
                 "mean, or a quantile, whose sums mean nothing; all: every member, where a format has mean and range."),
)  # fmt: skip
ONLY_SOME: dict[str, Callable[..., Any]] = {
    "unit": click.option("--unit", metavar="AMOUNT", help="The unit to write, e.g. GB, where a format"
                         " has units; or what 1 is in a step, e.g. 3.2GB, where units are 1."),
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
    own = tuple(ONLY_SOME[option] for option in form.takes)
    # Of other formats, too, so that one line says whose an option is; --help does not list them.
    others = tuple(click.option(f"--{option}", hidden=True) for option in ONLY_SOME if option not in form.takes)
    return click.command(name, short_help=form.about)(with_options(SHARED, own, others)(prints(write)))


for _name in FORMATS:
    export.add_command(_command(_name))
