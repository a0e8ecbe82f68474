"""The command line: one group, one line per error, the exit codes of DESIGN.md.

Nothing heavy is imported here: torch, geopandas and the like are imported inside the commands, so that
`gentraffic --help` answers at once.
"""

from __future__ import annotations

import atexit
import gc
import os
import signal
import sys
import threading
import time
from types import FrameType
from typing import NoReturn

import click

from gentraffic import __version__
from gentraffic.cli.audit import audit
from gentraffic.cli.data import fetch, import_
from gentraffic.cli.distil import distil
from gentraffic.cli.draw import map_, plot
from gentraffic.cli.evaluate import evaluate
from gentraffic.cli.export import export
from gentraffic.cli.finetune import finetune
from gentraffic.cli.fit import fit, models
from gentraffic.cli.forecast import forecast
from gentraffic.cli.plan import plan
from gentraffic.cli.release import release
from gentraffic.cli.report import report_
from gentraffic.cli.sample import sample
from gentraffic.cli.split import split
from gentraffic.cli.validate import validate
from gentraffic.errors import GentrafficError
from poi.errors import PoiError

INTERRUPTED = 130
LINGER_S = 5.0


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
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


for command in (
    sample,
    fetch,
    import_,
    fit,
    finetune,
    distil,
    models,
    evaluate,
    audit,
    plan,
    export,
    split,
    release,
    forecast,
    report_,
    map_,
    plot,
    validate,
):
    cli.add_command(command)


def main() -> NoReturn:
    """Run the command line and end the process with its exit code.

    The libraries make a million objects when they are imported: they are not searched for garbage all the time, and not
    taken down one by one in the end, which takes two of the seven seconds of a week of Milan.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    gc.set_threshold(1_000_000, 20, 20)
    code = run(sys.argv[1:])
    if code != INTERRUPTED:  # else at once: what is to be kept is on the disk, and threads at work are not waited for
        threading._shutdown()  # type: ignore[attr-defined]  # what the interpreter does in its end, but for taking down
        atexit._run_exitfuncs()
    sys.stdout.flush()
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
    except click.UsageError as error:
        where = f" (see `{error.ctx.command_path} --help`)" if error.ctx is not None else ""
        return _say(error.format_message() + where, 2)
    except click.ClickException as error:
        return _say(error.format_message(), 5)
    except (click.Abort, KeyboardInterrupt) as stop:
        said = str(stop.__cause__ or stop)  # click wraps what it catches
        return _say(said or "interrupted; no output was written", INTERRUPTED)
    except (GentrafficError, PoiError) as error:
        if debug:
            raise
        return _say(str(error), error.exit_code)
    except MemoryError:
        return _say("out of memory: draw fewer cells, days or members at once", 5)
    except OSError as error:
        if debug:
            raise
        name = f"{error.filename}: " if error.filename else ""
        return _say(f"{name}{error.strerror or error}", 5)
    except Exception as error:
        if debug:
            raise
        return _say(f"internal error, please report it: {type(error).__name__}: {error} (--debug shows where)", 1)


def _say(message: str, code: int) -> int:
    if os.environ.get("LOCAL_RANK", "0") != "0" and code != 1:  # of several processes that fit, the first says it
        _linger(code)
        return code
    click.echo("gentraffic: " + " ".join(message.split()), err=True)
    return code


def _linger(code: int) -> None:
    """Let the first process speak: what has started them ends all as soon as one has ended."""
    if code != INTERRUPTED:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        time.sleep(LINGER_S)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
