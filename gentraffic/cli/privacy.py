"""`gentraffic audit` and `release`: what synthetic traffic gives away, and a folder to publish. Nothing heavy here."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import click

import gentraffic
from gentraffic.cli import options as shared
from gentraffic.cli.options import FILE, Result, call, file_option, out_option, prints, seed_option, shown


@click.command("audit", short_help="Look for what synthetic traffic gives away of its training cells.")
@file_option("--train", required=True, help="What the generator was made from.")
@file_option("--holdout", required=True, help="Cells of the same network and period, at random, that it never saw.")
@file_option("--synthetic", required=True, help="What is to be published.")
@click.option("--model", metavar="DIR", help="The model that drew it, a sampler, a FoMo or a forecaster: its loss is "
              "attacked as well. Needs --context.")  # fmt: skip
@file_option("--context", help="The POIs of all cells of --train and --holdout.")
@click.option("--shadows", type=int, default=0, show_default=False, metavar="N",
              help="Shadow models for LiRA, 16 or more; minutes each. [default: no LiRA]")  # fmt: skip
@click.option("--shadow-steps", type=int, default=300, help="Training steps of a shadow model.")
@file_option("--shadow-dir", metavar="DIR", help="Where their scores are kept. [default: MODEL.shadows, here]")
@click.option("--plants", type=shared.COUNT, default=20, metavar="N",
              help="Copies of every kind planted, one at a time, to say what is found; 0: not measured.")  # fmt: skip
@click.option("--device", default="cpu", help="Where --model and shadow models compute: cpu or cuda.")
@shared.SERVICE
@seed_option("Of halves, subsets and shadow models.")
@shared.HTML
@prints
def audit_(train: Path, holdout: Path, synthetic: Path, html: Path | None, seed: int, **options: Any) -> Result:
    """Attack synthetic traffic, as somebody would who wants to know which cells it was made from.

    \b
    gentraffic audit --train train.nc --holdout held-out.nc --synthetic drawn.nc --html audit.html
    gentraffic audit --train train.nc --holdout held-out.nc --synthetic drawn.nc --json
    gentraffic audit --train t.nc --holdout h.nc --synthetic s.nc --model my-model --context c.nc --shadows 16

    The unit of privacy is a cell with all its days; users: not guaranteed. Training and hold-out share no cell, and the
    hold-out should be a random part of the same cells, a thousand or more for rates. Membership inference from the
    samples (nearest distance; density ratio), with --model from its loss and by LiRA, the share of records closest to
    training, and searches for copies (shifted, rescaled, noisy, of days, with a warped clock, mixed of two) end in one
    verdict. Copies of each kind are planted in your files to say what share would be found. To resume LiRA, run the
    same command again. That nothing was found is no proof that there is nothing.
    """
    began = time.perf_counter()
    result = call(gentraffic.audit, train, holdout, synthetic, bar="auditing", html=html, seed=seed, **options)
    lines = result.text(shutil.get_terminal_size((110, 24)).columns)
    return shown(shown(result, lines, seed=seed, seconds=round(time.perf_counter() - began, 3)), html=html)


@click.command("release", short_help="Put synthetic traffic or a model into a folder to publish.")
@click.argument("what", type=FILE, metavar="TRAFFIC|MODEL")
@out_option("The folder; it must not exist.", "DIR")
@file_option("--ledger", required=True, metavar="FILE.json",
             help="All releases from the same private source; begun where it does not exist. Keep it.")  # fmt: skip
@click.option("--source", required=True, metavar="NAME", help="What the private source is called in the ledger.")
@file_option("--train", help="What the generator was made from: audit before release.")
@file_option("--holdout", help="Cells of the same network that it never saw.")
@click.option(
    "--coarsen", type=shared.POSITIVE, metavar="METRES", help="Move positions to the middle of such squares; new ids."
)
@click.option("--no-positions", is_flag=True, help="Leave positions out.")
@click.option("--leak", is_flag=True, help="Release although the audit found a leak.")
@shared.SERVICE
@seed_option("Of the audit.")
@prints
def release_(what: Path, out: Path, **options: Any) -> Result:
    """Put synthetic traffic, or a model, into a folder to publish: data, card, audit, ledger, checklist, Croissant.

    \b
    gentraffic release syn.nc --train t.nc --holdout h.nc --ledger ledger.json --source "our network" -o release
    gentraffic release private-model --ledger ledger.json --source "our network" -o release

    The ledger counts every release from one private source; epsilon adds up, but all that is drawn from one private
    model counts once. Nothing is written where the audit found a leak, but with --leak.
    """
    return call(gentraffic.release, what, out, bar="auditing", **options)
