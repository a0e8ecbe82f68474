"""`gentraffic audit`: does synthetic traffic give away the cells that it was made from?"""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import click

from gentraffic.cli.options import COUNT, FILE, HTML, SERVICE, Printed, call, prints


@click.command("audit", short_help="Look for what synthetic traffic gives away of its training cells.")
@click.option("--train", type=FILE, required=True, metavar="FILE", help="What the generator was made from.")
@click.option("--holdout", type=FILE, required=True, metavar="FILE",
              help="Cells of the same network and period, chosen at random, that it never saw.")  # fmt: skip
@click.option("--synthetic", type=FILE, required=True, metavar="FILE", help="What is to be published.")
@click.option("--model", metavar="DIR", help="The model that drew it, a sampler, a FoMo or a forecaster: its loss is "
              "attacked as well. Needs --context.")  # fmt: skip
@click.option("--context", type=FILE, metavar="FILE", help="The POIs of all cells of --train and --holdout.")
@click.option("--shadows", type=int, default=0, show_default=False, metavar="N",
              help="Shadow models for LiRA, 16 or more; minutes each. [default: no LiRA]")  # fmt: skip
@click.option("--shadow-steps", type=int, default=300, help="Training steps of a shadow model.")
@click.option("--shadow-dir", type=FILE, metavar="DIR",
              help="Where their scores are kept, to go on from. [default: MODEL.shadows, here]")  # fmt: skip
@click.option("--plants", type=COUNT, default=20, metavar="N",
              help="Copies of every kind planted, one at a time, to say what is found; 0: not measured.")  # fmt: skip
@SERVICE
@click.option("--seed", type=COUNT, default=0, help="Of halves, subsets and shadow models.")
@HTML
@prints
def audit_(train: Path, holdout: Path, synthetic: Path, html: Path | None, seed: int, **options: Any) -> Printed:
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
    from gentraffic.api.privacy import audit

    began = time.perf_counter()
    result = call(audit, train, holdout, synthetic, bar="auditing", html=html, seed=seed, **options)
    values = result.to_json() | {"seed": seed, "seconds": round(time.perf_counter() - began, 3)}
    page = {} if html is None else {"html": str(html)}
    return values | page, [*result.text(shutil.get_terminal_size((110, 24)).columns), *page.values()]
