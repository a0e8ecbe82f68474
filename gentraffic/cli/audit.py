"""`gentraffic audit`: does synthetic traffic give away the cells that it was made from?"""

from __future__ import annotations

import shutil
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gentraffic.cli.options import COMMON, COUNT, Command, progress, report, with_options

if TYPE_CHECKING:
    from gentraffic.privacy.audit.run import Audit

FILE = click.Path(path_type=Path)


@click.command("audit", cls=Command, short_help="Look for what synthetic traffic gives away of its training cells.")
@click.option("--train", type=FILE, required=True, metavar="FILE", help="What the generator was made from.")
@click.option("--holdout", type=FILE, required=True, metavar="FILE",
              help="Cells of the same network and period, chosen at random, that it never saw.")  # fmt: skip
@click.option("--synthetic", type=FILE, required=True, metavar="FILE", help="What is to be published.")
@click.option("--model", metavar="DIR", help="The model that drew it: its loss is attacked as well. Needs --context.")
@click.option("--context", type=FILE, metavar="FILE", help="The POIs of all cells of --train and --holdout.")
@click.option("--shadows", type=int, default=0, metavar="N",
              help="Shadow models for LiRA, 16 or more; minutes each. [default: no LiRA]")  # fmt: skip
@click.option("--shadow-steps", type=int, default=300, show_default=True, help="Training steps of a shadow model.")
@click.option("--shadow-dir", type=FILE, metavar="DIR",
              help="Where their scores are kept, to go on from. [default: MODEL.shadows, here]")  # fmt: skip
@click.option("--plants", type=COUNT, default=20, show_default=True, metavar="N",
              help="Copies of every kind planted, one at a time, to say what is found; 0: not measured.")  # fmt: skip
@click.option("--service", metavar="NAME", help="The traffic variable, where a file has several.")
@click.option("--seed", type=COUNT, default=0, show_default=True, help="Of halves, subsets and shadow models.")
@click.option("--html", type=FILE, metavar="FILE.html", help="A page with plots that needs no network.")
@with_options(COMMON)
def audit_(
    train: Path, holdout: Path, synthetic: Path, model: str | None, context: Path | None, shadows: int,
    shadow_steps: int, shadow_dir: Path | None, plants: int, service: str | None, seed: int, html: Path | None,
    as_json: bool, quiet: bool, debug: bool,
) -> None:  # fmt: skip
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
    from gentraffic.api.language import speaks_options
    from gentraffic.api.privacy import audit
    from gentraffic.io import atomic

    if html is not None:
        atomic.check_writable(html, (".html", ".htm"))
    began = time.perf_counter()
    with progress("auditing", quiet=quiet) as tell:
        result = speaks_options(audit)(
            train, holdout, synthetic, model=model, context=context, shadows=shadows, shadow_steps=shadow_steps,
            shadow_dir=shadow_dir, plants=plants, service=service, seed=seed, progress=tell,
        )  # fmt: skip
    files = {"train": str(train), "holdout": str(holdout), "synthetic": str(synthetic)}
    files |= {"model": str(model)} if model else {}
    if html is not None:
        result.save(html, files)
    found = result.audit
    values = files | found.to_json() | {"seed": seed, "seconds": round(time.perf_counter() - began, 3)}
    lines = _lines(found, files, shutil.get_terminal_size((110, 24)).columns)
    if html is not None:
        values["html"] = str(html)
        lines.append(str(html))
    report(values, lines, as_json=as_json, quiet=quiet)


def _lines(found: Audit, files: dict[str, str], width: int) -> list[str]:
    """The report for a person."""
    from gentraffic.privacy.audit.run import LIMITS, MOST_COPIES, UNIT, USERS
    from gentraffic.reports.audit_table import attack_rows, copy_rows, facts, power_rows, table

    lines = [f"{name:<10} {path}" for name, path in files.items()]
    lines += ["", *textwrap.wrap(found.verdict, width), ""]
    lines.append(f"unit of privacy: {UNIT}; {USERS}")
    lines += [f"{word}: {said}" for word, said in facts(found)]
    lines += ["", *table(*attack_rows(found)), ""]
    if found.search.copies:
        head, rows = copy_rows(found)
        lines += [*table(head, rows[:10]), ""]
        if len(found.search.copies) > 10:
            lines.append(f"{len(found.search.copies) - 10:,} copies more; --json lists {MOST_COPIES}")
    head, rows = power_rows(found)
    if rows:
        lines += [*table(head, rows), ""]
    for note in (*found.notes, *(f"not run: {name} ({why})" for name, why in found.missing.items()), *LIMITS):
        lines += textwrap.wrap(note, width, initial_indent="- ", subsequent_indent="  ")
    return lines
