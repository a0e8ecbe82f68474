"""Options that several commands share, and the report they end with."""

from __future__ import annotations

import inspect
import json
import math
import os
import re
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import reduce, wraps
from pathlib import Path
from typing import Any, Protocol, TypeVar

import click

from gentraffic.api.inputs import read_number
from gentraffic.api.language import speaks_options
from gentraffic.api.result import WARNING, Facts
from gentraffic.io import process
from gentraffic.io.process import Tell

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]
T = TypeVar("T")


class Result(Protocol):
    """What a command prints: figures as JSON, or lines for a person."""

    def to_json(self) -> dict[str, Any]: ...
    def text(self) -> list[str]: ...


class Number(click.ParamType):  # type: ignore[type-arg]  # generic in recent versions of click only
    """A finite number of at least `least`, or above it. What is wrong about another is told as in the whole program."""

    def __init__(self, kind: type[int] | type[float], least: float, *, above: bool = False) -> None:
        self.kind, self.least, self.above = kind, least, above
        self.name = "integer" if kind is int else "float"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number. Raises WrongUse, naming the option and the value."""
        return read_number(param.opts[0] if param else "value", value, self.kind, self.least, above=self.above)


FILE = click.Path(path_type=Path)
COUNT, AT_LEAST_1 = Number(int, 0), Number(int, 1)
NOT_NEGATIVE, POSITIVE, FINITE = Number(float, 0), Number(float, 0, above=True), Number(float, -math.inf)


def file_option(*names: str, metavar: str = "FILE", **more: Any) -> Decorator:
    """An option that names a file or a folder."""
    return click.option(*names, type=FILE, metavar=metavar, **more)


def out_option(help: str, metavar: str = "OUT") -> Decorator:
    """The option -o: what a command writes."""
    return file_option("-o", "--out", required=True, metavar=metavar, help=help)


def seed_option(help: str = "") -> Decorator:
    """The option --seed."""
    return click.option("--seed", type=COUNT, default=0, help=help or None)


def listing(kind: str) -> type[click.Command]:
    """A command whose help ends with the plug-ins of a kind of `gentraffic.generators.base` that are installed."""

    class Listing(click.Command):
        """A command that lists them."""

        def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
            from gentraffic.generators.base import plug_ins

            found = plug_ins(kind)
            if found:
                formatter.write_paragraph()
                formatter.write_text(f"Installed beside those of gentraffic: {', '.join(map(str, found))}.")

    return Listing


def bundled(kind: str) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    """Completion by the shell of what is bundled. kind: `contexts`, whose names are cities, or `models`."""
    folder = Path(__file__).parents[1] / "assets" / kind
    return lambda ctx, param, start: sorted(path.stem for path in folder.iterdir() if path.stem.startswith(start))


def with_options(*groups: tuple[Decorator, ...]) -> Decorator:
    """A decorator that adds groups of options in the order in which they are written."""
    last_first = [option for group in groups for option in group][::-1]
    return lambda function: reduce(lambda decorated, option: option(decorated), last_first, function)


TABLE = (
    click.option("--columns", metavar="OURS=THEIRS,...", help="Names of columns in a table: id=CELL_NAME,lon=X,lat=Y."),
    click.option("--decimal", metavar="MARK", help="Decimal mark of its numbers: point or comma."),
    click.option("--thousands", metavar="MARK", help="Mark of thousands: point, comma, space, apostrophe or none."),
)
LAYER = click.option("--layer", metavar="NAME", help="The layer of --cells, where the file has several.")
PLACE = (
    click.option("--city", metavar="NAME", shell_complete=bundled("contexts"),
                 help="A bundled city (`gentraffic models`), else a name in OpenStreetMap."),
    click.option("--bbox", metavar="W,S,E,N", help="A box in degrees, e.g. 11.09,46.05,11.15,46.09."),
    file_option("--polygon", help="The area of a vector file (GeoJSON, GeoPackage...)."),
    file_option("--cells", help="Your own cells: polygons with an id column."),
    file_option("--stations", help="Base stations: a table with lon, lat[, id]."),
    file_option("--osm", help="Offline OpenStreetMap extract (.osm[.gz|.bz2], .osm.pbf, saved Overpass answer) or a"
                              " table of POIs (lon, lat, key, value); alone: the area of the file."),
    click.option("--cell-size", type=float, metavar="METRES", help="Side of the square cells. [default: 250]"),
    click.option("--radius", type=float, metavar="METRES", help="What a station covers. [default: 500]"),
    click.option("--id-column", metavar="NAME", help="The column of --cells or --stations that holds the ids."),
    *TABLE,
    click.option("--layer", metavar="NAME", help="The layer of --cells or --polygon, where the file has several."),
    click.option("--water", metavar="keep|leave-out", help="Square cells wholly in the sea, or in a lake or river of"
                      " the map: keep them, or leave them out. [default: keep]"),
    file_option("--population", help="Residents, which traffic follows: a GeoTIFF of residents per pixel, or a table"
                                     " (lon, lat, residents)."),
    click.option("--timezone", metavar="ZONE", help="IANA time zone. [default: the zone of the place]"),
    click.option("--offline", is_flag=True, help="Use no network: bundled places, files and the cache only."),
)  # fmt: skip
COMMON = (
    click.option("--json", "as_json", is_flag=True, help="Print the report as JSON."),
    click.option("--quiet", is_flag=True, help="Print nothing but errors."),
    click.option("--debug", is_flag=True, help="Show the traceback of an error."),
)
SERVICE = click.option("--service", metavar="NAME", help="The traffic variable, where a file has several.")
SERVICES = click.option("--service", multiple=True, metavar="NAME", help="The traffic variable; repeat it for several.")
SEED = seed_option()
TRAFFIC = click.argument("traffic", type=FILE)
HTML = file_option("--html", metavar="FILE.html", help="A page with plots that needs no network.")
THREADS = click.option("--threads", type=COUNT, default=0, show_default=False, help="Of torch. [default: all cores]")


def prints(function: Callable[..., Result | None]) -> Callable[..., None]:
    """A command that prints the result that its function returns, and takes COMMON."""

    @wraps(function)
    def command(*, as_json: bool, quiet: bool, debug: bool, **options: Any) -> None:
        result = function(**options)
        if result is not None:  # None: of several processes that fit, the first prints
            report(result, as_json=as_json, quiet=quiet)

    return with_options(COMMON)(command)


def call(function: Callable[..., T], *args: Any, bar: str = "", **options: Any) -> T:
    """The result of a public function: errors name options; `bar` names the progress bar, where there is to be one.

    The command as it was typed is given to a function that records it.
    """
    if "command" in inspect.signature(function).parameters:
        options["command"] = command_line()
    if not bar:
        return speaks_options(function)(*args, **options)
    quiet = is_quiet() or os.environ.get("RANK", "0") != "0"  # of several processes, the first shows it
    with progress(bar, quiet=quiet) as (tell,), process.checkpoint_kept(options.get("out")):
        return speaks_options(function)(*args, progress=tell, **options)


def progress(*works: str, quiet: bool) -> AbstractContextManager[list[Tell]]:
    """Progress bars, or lines, of works: a tell(done, of) for each, which says nothing where it is to be quiet."""
    return nullcontext([lambda done, of: None for _ in works]) if quiet else process.progress(*works)


def report(result: Result, *, as_json: bool, quiet: bool) -> None:
    """End a command: a result as JSON, or as lines for a person, warnings on the error stream; or nothing."""
    if as_json:
        click.echo(json.dumps(result.to_json(), indent=1, default=str))
    elif not quiet:
        for line in result.text():
            click.echo(line, err=line.startswith(WARNING))


def shown(result: Result, lines: list[str] | None = None, *, html: Path | None = None, **more: Any) -> Facts:
    """A result with its page, where there is one, and further figures; lines: instead of its own."""
    page = {} if html is None else {"html": str(html)}
    return Facts(result.to_json() | page | more, [*(result.text() if lines is None else lines), *page.values()])


def is_quiet() -> bool:
    """Whether the command was given --quiet."""
    return bool(click.get_current_context().params.get("quiet"))


def command_line() -> str:
    """The command as it was typed, for the attributes of what it writes: it runs again in the folder where it ran.

    A path below that folder is written relative to it, any other path as it was typed. Options of environment
    variables stand at the end.
    """
    import shlex

    context = click.get_current_context(silent=True)
    typed = context.find_root().obj if context is not None else None
    words = [*(typed if isinstance(typed, tuple) else sys.argv[1:]), *_from_environment(context)]
    # What the system could not decode is no text that a file can hold.
    plain = [word.encode("utf-8", "backslashreplace").decode() for word in map(_from_here, words)]
    return shlex.join(["gentraffic", *plain])


def _from_environment(context: click.Context | None) -> list[str]:
    """The options that environment variables gave, as one would type them."""
    words: list[str] = []
    for param in context.command.params if context is not None else ():
        if context.get_parameter_source(str(param.name)) is click.core.ParameterSource.ENVIRONMENT:  # type: ignore[union-attr]
            value = param.value_from_envvar(context)  # type: ignore[arg-type]
            if isinstance(param, click.Option) and param.is_flag:
                words.append(param.opts[0])
            else:
                for one in value if isinstance(value, list | tuple) else [value]:
                    words += [param.opts[0], str(one)]
    return words


def _from_here(word: str) -> str:
    """A word of the command line, without the path of the current folder where that begins a path."""
    return re.sub(rf"(^|[=@,]){re.escape(os.getcwd() + os.sep)}(?=.)", r"\1", word)
