"""The command line: one group, one line per error, the exit codes of `gentraffic.errors`.

Nothing heavy is imported here: torch, geopandas and the like are imported inside the commands, so that
`gentraffic --help` answers at once.
"""

from __future__ import annotations

import errno
import gc
import os
import sys
from contextlib import suppress
from types import ModuleType
from typing import NoReturn

import click

from gentraffic import __version__
from gentraffic.cli.data import fetch, import_, split
from gentraffic.cli.draw import map_, plot, report_
from gentraffic.cli.evaluate import evaluate, validate
from gentraffic.cli.export import export
from gentraffic.cli.fit import distil_, finetune_, fit_, models
from gentraffic.cli.forecast import forecast
from gentraffic.cli.plan import plan
from gentraffic.cli.privacy import audit_, release_
from gentraffic.cli.sample import sample
from gentraffic.errors import GentrafficError, in_one_line
from gentraffic.io.process import (
    finish_threads,
    interrupt_on_signals,
    is_first,
    let_the_first_speak,
    open_standard_streams,
    signals,
)
from poi.errors import PoiError

INTERRUPTED = 130
DASK = ("--workers", "--scheduler")  # options of what needs Dask, beside names of .zarr
CLOSED_PIPE = 141  # what a shell says of a program whose reader has gone: 128 + SIGPIPE
STOPPED = "interrupted; no output was written"
NOT_PRINTED = "standard output cannot be written: {}; files that the command was to write are whole"
GRACE_S = 1.5  # for what is at work when a signal comes
SETTINGS = {
    "help_option_names": ["-h", "--help"], "max_content_width": 110, "show_default": True,
    "auto_envvar_prefix": "GENTRAFFIC",  # GENTRAFFIC_SAMPLE_CITY for sample --city
}  # fmt: skip


@click.group(context_settings=SETTINGS)
@click.version_option(__version__, prog_name="gentraffic")
def cli() -> None:
    """Synthetic cellular traffic for any place, drawn by diffusion models trained on public measurements.

    \b
    gentraffic sample --city milan --days 7 -o milan.nc --map milan.html --plot milan.png
    gentraffic sample --city "Trento, Italy" -o trento.nc
    gentraffic fetch --osm extract.osm.pbf -o context.nc

    Exit codes: 0 done, 2 wrong use, 3 no such place or no data, 4 network, 5 bad input file, 6 bad model,
    130 interrupted. A traceback is shown only with --debug.
    """


COMMANDS = (
    sample, fetch, import_, fit_, finetune_, distil_, models, evaluate, audit_, plan, export, split, release_, forecast,
    report_, map_, plot, validate,
)  # fmt: skip
for command in COMMANDS:
    cli.add_command(command)


def main() -> NoReturn:
    """Run the command line and end the process with its exit code.

    The libraries make a million objects when they are imported: they are not searched for garbage all the time, and not
    taken down one by one in the end, which takes two of the seven seconds of a week of Milan.
    """
    out = open_standard_streams()
    interrupt_on_signals(GRACE_S, INTERRUPTED, f"gentraffic: {STOPPED}\n".encode())
    gc.set_threshold(1_000_000, 20, 20)
    if not any(word.endswith(".zarr") or word.startswith(DASK) for word in sys.argv[1:]):
        # xarray asks of every array whether it is one of Dask's, and for that imports Dask and half of SciPy: a second
        sys.modules.setdefault("dask", None)  # type: ignore[arg-type]  # None: it is not there for who imports it
    code = run(sys.argv[1:])
    if code != INTERRUPTED:  # else at once: what is to be kept is on the disk, and threads at work are not waited for
        sys.stdout.flush()
        finish_threads(code)
    sys.stdout.flush()
    if out.failed is not None and code == 0:
        reason = out.failed.strerror or out.failed
        code = CLOSED_PIPE if out.failed.errno == errno.EPIPE else _say(NOT_PRINTED.format(reason), 5)
    sys.stderr.flush()
    os._exit(code)


def run(arguments: list[str]) -> int:
    """Run one command; return its exit code, after one line on the error stream if it failed."""
    debug = "--debug" in arguments
    try:
        code = cli.main(arguments, prog_name="gentraffic", standalone_mode=False, obj=tuple(arguments))
        return code if isinstance(code, int) else 0
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.exceptions.NoArgsIsHelpError as error:  # a group without a command: its help, as it stands
        error.show()
        return error.exit_code
    except click.UsageError as error:
        return _say(error.format_message() + _what_helps(error.ctx, arguments), 2)
    except click.ClickException as error:
        return _say(error.format_message(), 5)
    except (click.Abort, KeyboardInterrupt) as stop:
        message = str(stop.__cause__ or stop)  # click wraps what it catches
        return _say(message or STOPPED, INTERRUPTED)
    except (GentrafficError, PoiError) as error:
        if debug:
            raise
        return _say(str(error), error.exit_code)
    except Exception as error:
        if debug and not isinstance(error, MemoryError):
            raise
        return _say(*in_one_line(error))


def _what_helps(context: click.Context | None, arguments: list[str]) -> str:
    """What a message of wrong use ends in: how to begin, where a command stands alone, else where help is."""
    if context is None:
        return ""
    path = context.command_path
    if path.split()[1:] == arguments:
        for line in (context.command.help or "").splitlines():
            if line.strip().startswith(path + " "):
                return f" Begin with: {line.strip()} (more: `{path} --help`)"
    return f" (see `{path} --help`)"


def _say(message: str, code: int) -> int:
    if signals and code != INTERRUPTED:  # a library that was interrupted deep in its work made another error of it
        message, code = STOPPED, INTERRUPTED
    if not is_first() and code != 1:
        if code != INTERRUPTED:
            let_the_first_speak()
        return code
    with suppress(OSError):  # nobody hears it
        click.echo("gentraffic: " + " ".join(message.split()), err=True)
    return code


class _Command(ModuleType):
    """This module, which is called as its function is: `from gentraffic.cli import main; main()`."""

    def __call__(self) -> NoReturn:
        main()


sys.modules[__name__].__class__ = _Command
