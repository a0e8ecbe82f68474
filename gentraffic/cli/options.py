"""Options that several commands share, how far they are, and the report they end with."""

from __future__ import annotations

import inspect
import json
import logging
import math
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial, reduce, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import click

from gentraffic.api.inputs import read_number
from gentraffic.api.language import speaks_options
from gentraffic.api.result import WARNING, Facts
from gentraffic.io.process import checkpoint_kept

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]
Tell = Callable[[int, int], None]  # is told (done, of)
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


def _log(context: click.Context, param: click.Parameter, asked: bool) -> None:
    """Log what gentraffic does to standard error, if asked."""
    if asked:
        logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", force=True)
        logging.getLogger("gentraffic").setLevel(logging.INFO)


COMMON = (
    click.option("--json", "as_json", is_flag=True, help="Print the report as JSON."),
    click.option("--quiet", is_flag=True, help="Print nothing but errors."),
    click.option("--debug", is_flag=True, help="Show the traceback of an error."),
    click.option(
        "-v", "--verbose", is_flag=True, expose_value=False, callback=_log, help="Log what is done, and when."
    ),
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
    with progress(bar, quiet=quiet) as (tell,), checkpoint_kept(options.get("out")):
        return speaks_options(function)(*args, progress=tell, **options)


@contextmanager
def progress(*works: str, quiet: bool) -> Iterator[list[Tell]]:
    """Progress of works: a tell(done, of) for each. Bars on a terminal, where all but the last show once told; a line a
    minute elsewhere; nothing where it is to be quiet."""
    if quiet:
        yield [lambda done, of: None for _ in works]
    elif not sys.stderr.isatty():
        yield [Minutes(work).tell for work in works]
    else:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
        with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bars:
            tasks = [bars.add_task(work, total=None, visible=work == works[-1]) for work in works]
            yield [partial(_show, bars, task) for task in tasks]


class Minutes:
    """Progress in a pipe or a log: nothing of short work, of long work a line with an estimate, then one a minute."""

    FIRST_S, EVERY_S = 15.0, 60.0  # after which the first line comes, and each further one

    def __init__(self, work: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.work, self.clock = work, clock
        self.began = clock()
        self.told = self.began + self.FIRST_S - self.EVERY_S
        self.first: tuple[int, float] | None = None  # what was done when it was first told, and when that was

    def tell(self, done: int, of: int) -> None:
        """Say how far the work is, where a line is due and it is not nearly done."""
        now = self.clock()
        if self.first is None or done < self.first[0]:
            self.first = (done, now)
        steps, seconds = done - self.first[0], now - self.first[1]
        if now - self.told < self.EVERY_S or steps <= 0 or done >= of:
            return
        left = seconds * (of - done) / steps
        if self.told < self.began and left < self.EVERY_S - self.FIRST_S:
            return  # a minute in all: who waits in a pipe needs no line
        self.told = now
        text = f"{left / 60:.0f} min" if left >= 90 else f"{left:.0f} s"
        with suppress(OSError):  # nobody hears it
            print(f"{self.work}: {done:,} of {of:,}, at most {text} to go", file=sys.stderr, flush=True)


def _show(bars: Progress, task: TaskID, done: int, of: int) -> None:
    bars.update(task, completed=done, total=of, visible=True)


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
