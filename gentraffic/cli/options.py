"""Options that several commands share, and the report they end with."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gentraffic.errors import WrongUse

if TYPE_CHECKING:
    import xarray as xr

Tell = Callable[[int, int], None]


class Number(click.ParamType):  # type: ignore[type-arg]  # generic in recent versions of click only
    """A finite number of at least `least`, or above it. What is wrong about another is told as in the whole program."""

    def __init__(self, kind: type[int] | type[float], least: float, *, above: bool = False) -> None:
        self.kind, self.least, self.above = kind, least, above
        self.name = "integer" if kind is int else "float"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number. Raises WrongUse, naming the option and the value."""
        name = param.opts[0] if param is not None else "value"
        try:
            number = self.kind(value)
        except ValueError:
            raise WrongUse(f"{name} {value}: give {'a whole number' if self.kind is int else 'a number'}") from None
        if not math.isfinite(number):
            raise WrongUse(f"{name} {value}: give a finite number")
        if number < self.least or (self.above and number == self.least):
            wanted = f"a number above {self.least:g}" if self.above else f"{self.least:g} or more"
            raise WrongUse(f"{name} {value}: give {wanted}")
        return number


def _file(**kwargs: Any) -> click.Path:
    return click.Path(path_type=Path, **kwargs)


TABLE = (
    click.option("--columns", metavar="OURS=THEIRS,...", help="Names of columns in a table: id=CELL_NAME,lon=X,lat=Y."),
    click.option("--decimal", metavar="MARK", help="Decimal mark of its numbers: point or comma."),
    click.option("--thousands", metavar="MARK", help="Mark of thousands: point, comma, space, apostrophe or none."),
)
PLACE = (
    click.option("--city", metavar="NAME", help="A bundled city (`gentraffic models`), else a name in OpenStreetMap."),
    click.option("--bbox", metavar="W,S,E,N", help="A box in degrees, e.g. 11.09,46.05,11.15,46.09."),
    click.option("--polygon", type=_file(), metavar="FILE", help="The area of a vector file (GeoJSON, GeoPackage...)."),
    click.option("--cells", type=_file(), metavar="FILE", help="Your own cells: polygons with an id column."),
    click.option("--stations", type=_file(), metavar="FILE", help="Base stations: a table with lon, lat[, id]."),
    click.option("--osm", type=_file(), metavar="FILE",
                 help="Offline OpenStreetMap extract (.osm[.gz|.bz2], .osm.pbf, saved Overpass answer) or a table"
                      " of POIs (lon, lat, key, value); alone: the area of the file."),
    click.option("--cell-size", type=float, metavar="METRES", help="Side of the square cells. [default: 250]"),
    click.option("--radius", type=float, metavar="METRES", help="What a station covers. [default: 500]"),
    click.option("--id-column", metavar="NAME", help="The column of --cells or --stations that holds the ids."),
    *TABLE,
    click.option("--timezone", metavar="ZONE", help="IANA time zone. [default: the zone of the place]"),
    click.option("--offline", is_flag=True, help="Use no network: bundled places, files and the cache only."),
)  # fmt: skip

COMMON = (
    click.option("--json", "as_json", is_flag=True, help="Print the report as JSON."),
    click.option("--quiet", is_flag=True, help="Print nothing but errors."),
    click.option("--debug", is_flag=True, help="Show the traceback of an error."),
)
COUNT, AT_LEAST_1 = Number(int, 0), Number(int, 1)
NOT_NEGATIVE, POSITIVE, FINITE = Number(float, 0), Number(float, 0, above=True), Number(float, -math.inf)
THREADS = click.option("--threads", type=COUNT, default=0, help="Threads of torch. [default: all cores]")


def with_options(*groups: tuple[Callable[..., Any], ...]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator that adds groups of options in the order in which they are written."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed([option for group in groups for option in group]):
            function = option(function)
        return function

    return decorate


def find_context(options: dict[str, Any], *, quiet: bool, command: str, held: bool = True) -> xr.Dataset:
    """As `gentraffic.places.find.find_context`, with a progress bar."""
    from gentraffic.places.find import find_context as find

    with progress("Overpass", quiet=quiet) as tell:
        return find(options, command=command, held=held, progress=tell)


@contextmanager
def progress(what: str, *, quiet: bool) -> Iterator[Tell]:
    """A progress bar on a terminal, nothing elsewhere: yields tell(done, of)."""
    if quiet or not sys.stderr.isatty():
        yield lambda done, of: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, of: bar.update(task, completed=done, total=of)


def report(values: dict[str, Any], lines: list[str], *, as_json: bool, quiet: bool) -> None:
    """End a command: the values as JSON, or the lines for a person, or nothing."""
    if as_json:
        click.echo(json.dumps(values, indent=1, default=str))
    elif not quiet:
        for line in lines:
            click.echo(line)


def command_line() -> str:
    """The command as it was typed, for the attributes of what it writes; paths shortened to their names."""
    import shlex

    words = [Path(word).name if "/" in word and not word.startswith("-") else word for word in sys.argv[1:]]
    return shlex.join(["gentraffic", *words])


def peak_rss_mb() -> float:
    """The most memory that this process has held, in MiB."""
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(round(used / (2**20 if sys.platform == "darwin" else 2**10), 1))
