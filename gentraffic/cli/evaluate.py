"""`gentraffic evaluate`: how good synthetic traffic is, beside the naive rows."""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path

import click

from gentraffic.api.language import speaks_options
from gentraffic.cli.options import COMMON, COUNT, progress, report, with_options

FILE = click.Path(path_type=Path)


@click.command(short_help="Score synthetic traffic against measured traffic, beside naive rows.")
@click.option("--real", type=FILE, required=True, metavar="FILE", help="Measured traffic: .nc .zarr .parquet .csv.")
@click.option("--synthetic", type=FILE, required=True, metavar="FILE", help="Drawn traffic of the same cells.")
@click.option("--train", type=FILE, metavar="FILE", help="Measured traffic that the naive rows may copy.")
@click.option("--context", type=FILE, metavar="FILE", help="The POIs of all cells of --train and --real: .nc .zarr.")
@click.option("--service", metavar="NAME", help="What is compared, where a file has several:"
              " internet,call_in, or calls, sms for the sums of in and out. [default: all that both have]")  # fmt: skip
@click.option("--scale", default="auto", show_default=True, metavar="auto|none|mean",
              help="auto: nothing is scaled where units agree; relative traffic is multiplied by the mean of --train,"
                   " else so that its mean is that of --real.")  # fmt: skip
@click.option("--seed", type=COUNT, default=0, show_default=True, help="Of the intervals and of the naive rows.")
@click.option("--html", type=FILE, metavar="FILE.html", help="A page with plots that needs no network.")
@with_options(COMMON)
def evaluate(
    real: Path, synthetic: Path, train: Path | None, context: Path | None, service: str | None, scale: str, seed: int,
    html: Path | None, as_json: bool, quiet: bool, debug: bool,
) -> None:  # fmt: skip
    """Compare two traffic files by every fidelity metric, each with its 95% interval.

    \b
    gentraffic evaluate --real measured.nc --synthetic drawn.nc
    gentraffic evaluate --real held-out.nc --synthetic drawn.nc --train train.nc --context context.nc --html report.html
    gentraffic evaluate --real measured.nc --synthetic drawn.nc --json

    Cells are matched by cell_id and steps by their UTC time; the finer cadence is averaged to the coarser. Metrics
    that compare hour with hour have no value where the files share no time: draw the same period with
    `gentraffic sample --start`. With --train and --context the naive rows stand beside the model.
    """
    from gentraffic.api import judging
    from gentraffic.reports.evaluation_table import text

    began = time.perf_counter()
    with progress("scoring rows", quiet=quiet) as tell:
        results = speaks_options(judging.evaluate_services)(
            real, synthetic, train=train, context=context, service=service, scale=scale, seed=seed, html=html,
            progress=tell,
        )  # fmt: skip
    found = next(iter(results.values()))
    names = {"real": real, "synthetic": synthetic, "train": train, "context": context}
    files = {name: str(path) for name, path in names.items() if path is not None}
    page = {} if html is None else {"html": str(html)}
    several = {"by_service": {name: part.to_json() for name, part in results.items()}} if len(results) > 1 else {}
    values = files | found.to_json() | several | {"seed": seed, "seconds": round(time.perf_counter() - began, 3)} | page
    lines = []
    if not as_json and not quiet:
        lines = [f"{name:<10} {path}" for name, path in files.items()]
        width, colour = shutil.get_terminal_size((110, 24)).columns, sys.stdout.isatty()
        lines += [text(part, width=width, colour=colour) for part in results.values()]
    report(values, [*lines, *page.values()], as_json=as_json, quiet=quiet)
