"""`gentraffic evaluate` and `validate`: how good synthetic traffic is, beside naive rows and to train on."""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path
from typing import Any

import click

import gentraffic
from gentraffic.api.result import Facts
from gentraffic.cli.options import HTML, SEED, THREADS, call, file_option, listing, prints, seed_option, shown


@click.command(short_help="Score synthetic traffic against measured traffic, beside naive rows.")
@file_option("--real", required=True, help="Measured traffic: .nc .zarr .parquet .csv.")
@file_option("--synthetic", required=True, help="Drawn traffic of the same cells.")
@file_option("--train", help="Measured traffic that the naive rows may copy.")
@file_option("--context", help="The POIs of all cells of --train and --real: .nc .zarr.")
@click.option("--service", metavar="NAMES", help="What is compared, where a file has several: internet,call_in, or"
              " calls, sms for the sums of in and out. [default: all that both have]")  # fmt: skip
@click.option("--scale", default="auto", metavar="auto|none|mean",
              help="auto: nothing is scaled where units agree; relative traffic is multiplied by the mean of --train,"
                   " else so that its mean is that of --real.")  # fmt: skip
@seed_option("Of the intervals and of the naive rows.")
@HTML
@prints
def evaluate(real: Path, synthetic: Path, html: Path | None, seed: int, **options: Any) -> Facts:
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

    began = time.perf_counter()
    result = call(judging.evaluate_services, real, synthetic, bar="scoring rows", html=html, seed=seed, **options)
    lines = result.text(width=shutil.get_terminal_size((110, 24)).columns, colour=sys.stdout.isatty())
    return shown(result, lines, html=html, seed=seed, seconds=round(time.perf_counter() - began, 3))


@click.command(
    cls=listing("forecaster"), short_help="Train forecasters on synthetic traffic, test them on measured traffic."
)
@file_option("--synthetic", required=True, help="Drawn traffic: .nc .zarr .parquet .csv.")
@file_option("--real", required=True, help="Measured traffic of the same cadence.")
@click.option("--forecaster", multiple=True, metavar="NAME", help="What to train; repeat it. Networks take a minute or"
              " more a training. [default: lightgbm; lightgbm-day for less than two weeks]")  # fmt: skip
@click.option("--service", multiple=True, metavar="NAME",
              help="The traffic variable, where the files share several; repeat it for several at once.")  # fmt: skip
@click.option("--few", default="100", metavar="PERCENT",
              help="Use only this share of the real training cells, other ones with every seed.")  # fmt: skip
@click.option("--seeds", default=3, help="Trainings of each kind; the intervals are over them.")
@click.option("--holdout", default=0.2, help="Share of real locations tested on and never trained on: those of `fit`"
                                             " with the same --seed.")  # fmt: skip
@click.option("--horizon", default=1, help="Steps ahead, each fed back into the next.")
@click.option("--steps", type=int, help="Training steps at most. [default: 800]")
@SEED
@THREADS
@click.option("--device", default="cpu", help="Where the forecasters are trained: cpu or cuda.")
@prints
def validate(real: Path, synthetic: Path, **options: Any) -> Facts:
    """Is synthetic traffic good enough to train on? Each forecaster is trained on real traffic (trtr), on synthetic
    (tstr) and on both (aug), and tested on the same real steps; the naive forecasters stand beside them.

    \b
    gentraffic validate --synthetic drawn.nc --real measured.nc
    gentraffic validate --synthetic drawn.nc --real measured.nc --few 10 --seeds 5 --json
    gentraffic validate --synthetic drawn.nc --real measured.nc --forecaster lstm --forecaster stn-slstm-day
    gentraffic validate --synthetic drawn.nc --real measured.nc --service traffic --service users \\
        --forecaster sim-mstnet --few 10

    Tested on: the last 15% of the real steps, at locations held out from training where the file has five or more.
    For honest figures draw with a model that never saw those locations: `gentraffic fit` with the same --holdout and
    --seed leaves them out. sim-mstnet weighs randomised variants of the synthetic traffic when it trains on both.
    """
    began = time.perf_counter()
    result = call(gentraffic.validate, real, synthetic, bar="training forecasters", **options)
    return shown(result, seconds=round(time.perf_counter() - began, 1))
