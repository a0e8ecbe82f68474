"""`gentraffic validate`: train on synthetic, test on real."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from gentraffic.api.language import speaks_options
from gentraffic.cli.options import COMMON, COUNT, THREADS, Command, progress, report, with_options

FILE = click.Path(path_type=Path)


@click.command(cls=Command, short_help="Train forecasters on synthetic traffic, test them on measured traffic.")
@click.option("--synthetic", type=FILE, required=True, metavar="FILE", help="Drawn traffic: .nc .zarr .parquet .csv.")
@click.option("--real", type=FILE, required=True, metavar="FILE", help="Measured traffic of the same cadence.")
@click.option(
    "--forecaster",
    "forecasters",
    multiple=True,
    metavar="NAME",
    default=("lstm",),
    show_default=True,
    help="What to train; repeat it.",
)
@click.option(
    "--service",
    "services",
    multiple=True,
    metavar="NAME",
    help="The traffic variable, where the files share several; repeat it to forecast several at once.",
)
@click.option(
    "--few",
    type=float,
    default=100.0,
    metavar="PERCENT",
    help="Use only this share of the real training cells, other ones with every seed.",
)
@click.option("--seeds", default=3, show_default=True, help="Trainings of each kind; the intervals are over them.")
@click.option(
    "--holdout",
    default=0.2,
    show_default=True,
    help="Share of real locations tested on and never trained on: those of `fit` with the same --seed.",
)
@click.option("--horizon", default=1, show_default=True, help="Steps ahead, each fed back into the next.")
@click.option("--steps", type=int, help="Training steps at most. [default: 800]")
@click.option("--seed", type=COUNT, default=0, show_default=True)
@THREADS
@with_options(COMMON)
def validate(
    synthetic: Path, real: Path, forecasters: tuple[str, ...], services: tuple[str, ...], as_json: bool, quiet: bool,
    debug: bool, **options: Any,
) -> None:  # fmt: skip
    """Is synthetic traffic good enough to train on? Each forecaster is trained on real traffic (trtr), on synthetic
    (tstr) and on both (aug), and tested on the same real steps; the naive forecasters stand beside them.

    \b
    gentraffic validate --synthetic drawn.nc --real measured.nc
    gentraffic validate --synthetic drawn.nc --real measured.nc --few 10 --seeds 5 --json
    gentraffic validate --synthetic drawn.nc --real measured.nc --service traffic --service users \\
        --forecaster sim-mstnet --few 10

    Tested on: the last 15% of the real steps, at locations held out from training where the file has five or more.
    For honest figures draw with a model that never saw those locations: `gentraffic fit` with the same --holdout and
    --seed leaves them out. sim-mstnet weighs randomised variants of the synthetic traffic when it trains on both.
    """
    from gentraffic.api import judging
    from gentraffic.reports.validation_table import text

    began = time.perf_counter()
    with progress("training forecasters", quiet=quiet) as tell:
        found = speaks_options(judging.validate)(
            real, synthetic, forecaster=forecasters, service=services, progress=tell, **options
        )
    values = {"real": str(real), "synthetic": str(synthetic)} | found.to_json()
    values |= {"few_percent": options["few"], "seeds": options["seeds"], "seed": options["seed"]}
    values["seconds"] = round(time.perf_counter() - began, 1)
    report(values, text(found), as_json=as_json, quiet=quiet)
