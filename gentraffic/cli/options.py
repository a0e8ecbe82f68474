"""Options that several commands share, and the report they end with."""

from __future__ import annotations

import json
import math
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gentraffic.api.inputs import check_number
from gentraffic.errors import WrongUse

if TYPE_CHECKING:
    import xarray as xr

    from gentraffic.places.find import PlaceQuery

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
        check_number(name, number, self.least, above=self.above, shown=value)
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
    click.option("--layer", metavar="NAME", help="The layer of --cells or --polygon, where the file has several."),
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


class Command(click.Command):
    """A command that is refused before any work where an output is one of its inputs."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click's. Raises WrongUse."""
        rest = super().parse_args(ctx, args)
        check_outputs(ctx.params, outputs_of(self.name))
        return rest


# Parameters that name what a command writes; every other one that names a file or a folder is an input.
OUTPUTS = {"out": "-o", "map_file": "--map", "plot_file": "--plot", "html": "--html", "rest": "--rest"}
MODELS = ("model", "source")  # text that may be a bundled model or a folder


def outputs_of(command: str | None) -> dict[str, str]:
    """The parameters of a command that name its outputs -> how they are typed."""
    return OUTPUTS | ({"context": "--context"} if command == "uomo" else {})


def check_outputs(options: Mapping[str, Any], outputs: Mapping[str, str]) -> None:
    """Raise WrongUse where an output is, holds or lies in one of the inputs, by whatever name, or two are the same.

    options: the values of all parameters of a command. Files are told apart by device and inode, so links count.
    """
    written = [(typed, value) for name, typed in outputs.items() if isinstance(value := options.get(name), Path)]
    for i, (typed, path) in enumerate(written):
        for other, another in written[:i]:
            if os.path.realpath(path) == os.path.realpath(another) or _same(path, another):
                raise WrongUse(f"{other} and {typed} are the same file, {path}: give one of them another name")
    read = [(name, path) for name, value in options.items() if name not in outputs for path in _paths(name, value)]
    for typed, path in written:
        for name, source in read:
            what = (
                f"the input {source}" if name in ("traffic", "src", "real") else f"--{name.replace('_', '-')} {source}"
            )
            if _same(path, source):
                raise WrongUse(f"{typed} {path} is {what}, which it would replace: give another {typed}")
            if path.is_dir() and Path(os.path.realpath(source)).is_relative_to(os.path.realpath(path)):
                raise WrongUse(f"{typed} {path} holds {what}, which it would replace: give another {typed}")
            if source.is_dir() and Path(os.path.realpath(path)).is_relative_to(os.path.realpath(source)):
                raise WrongUse(f"{typed} {path} lies in {what}, which it would change: give another {typed}")


def _paths(name: str, value: Any) -> list[Path]:
    """The files and folders that are there and that the value of an input names; `@FILE#PART` names one, too."""
    if isinstance(value, tuple | list):
        return [path for part in value for path in _paths(name, part)]
    if isinstance(value, str):
        _, at, file = value.partition("@")
        if name in MODELS:
            value = Path(value)
        elif at and file:
            value = Path(file.partition("#")[0])
    if not isinstance(value, Path):
        return []
    beside = value.with_name(f"{value.name}-metadata.json") if value.suffix.lower() == ".csv" else value
    return [path for path in dict.fromkeys((value, beside)) if path.name and path.exists()]


def _same(path: Path, other: Path) -> bool:
    """Whether two names are of one file or folder, also through links; what is not there is no file."""
    try:
        return os.path.samefile(path, other)
    except OSError:
        return False


def place_of(options: dict[str, Any]) -> PlaceQuery:
    """The place that the options PLACE, and --context, name. Raises WrongUse for a box that is none."""
    from gentraffic.places.find import PlaceQuery, parse_box

    known = {name: options[name] for name in PlaceQuery.__dataclass_fields__ if options.get(name) is not None}
    return PlaceQuery(**{**known, "bbox": parse_box(options.get("bbox"))})


def find_context(query: PlaceQuery, *, quiet: bool, command: str, held: bool = True) -> xr.Dataset:
    """As `gentraffic.places.find.find_context`, with a progress bar."""
    from gentraffic.places.find import find_context as find

    with progress("Overpass", quiet=quiet) as tell:
        return find(query, command=command, held=held, progress=tell)


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


def held_out_line(cells: Mapping[str, Sequence[Any]]) -> list[str]:
    """What is said of the cells, by network, that a fit did not learn from; nothing where there are none."""
    count = sum(len(ids) for ids in cells.values())
    return [f"{count} cells were held out: `gentraffic split --model` finds them in a file again"] if count else []


def command_line() -> str:
    """The command as it was typed, for the attributes of what it writes: it runs again in the folder where it ran.

    A path below that folder is written relative to it, any other path as it was typed.
    """
    import shlex

    context = click.get_current_context(silent=True)
    told = context.find_root().obj if context is not None else None
    words = told if isinstance(told, tuple) else sys.argv[1:]
    # What the system could not decode is no text that a file can hold.
    plain = [word.encode("utf-8", "backslashreplace").decode() for word in map(_from_here, words)]
    return shlex.join(["gentraffic", *plain])


def _from_here(word: str) -> str:
    """A word of the command line, without the path of the current folder where that begins a path."""
    return re.sub(rf"(^|[=@,]){re.escape(os.getcwd() + os.sep)}(?=.)", r"\1", word)


def peak_rss_mb() -> float:
    """The most memory that this process has held, in MiB."""
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(round(used / (2**20 if sys.platform == "darwin" else 2**10), 1))
