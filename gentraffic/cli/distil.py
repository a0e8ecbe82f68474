"""`gentraffic distil`: a model that draws in fewer steps."""

from __future__ import annotations

from pathlib import Path

import click

from gentraffic.cli.options import (
    AT_LEAST_1,
    COMMON,
    COUNT,
    THREADS,
    Command,
    command_line,
    progress,
    report,
    with_options,
)

FILE = click.Path(path_type=Path)


@click.command("distil", cls=Command, short_help="Teach a model to draw in one or two steps (resumable).")
@click.option("--model", default="stouter-base", show_default=True, metavar="NAME|DIR", help="The teacher.")
@click.option("-o", "--out", type=FILE, required=True, metavar="DIR", help="The student's model folder.")
@click.option("--context", type=FILE, multiple=True, metavar="FILE",
              help="Places to practise on; repeat it. [default: the bundled cities]")  # fmt: skip
@click.option("--steps", default=1, show_default=True, help="Solver steps of the student.")
@click.option("--teacher-steps", default=16, show_default=True, help="Solver steps of the teacher.")
@click.option("--train-steps", type=AT_LEAST_1, help="Training steps. [default: 3000]")
@click.option("--batch", type=AT_LEAST_1, help="Windows per training step. [default: 64]")
@click.option("--seed", type=COUNT, default=0, show_default=True)
@THREADS
@click.option("--evidence", type=FILE, metavar="FILE.json", help="For the card: finished rows of benchmarks/steps.py.")
@with_options(COMMON)
def distil_(
    model: str, out: Path, context: tuple[Path, ...], steps: int, teacher_steps: int,
    train_steps: int | None, batch: int | None, seed: int, threads: int, evidence: Path | None,
    as_json: bool, quiet: bool, debug: bool,
) -> None:  # fmt: skip
    """Train a student that gives, from the same noise, the week that its teacher gives in many steps.

    \b
    gentraffic distil -o stouter-fast
    gentraffic distil --model my-model --context my-context.nc -o my-fast-model
    gentraffic sample --city porto --model stouter-fast -o porto.nc

    No traffic is needed. To resume after an interruption, run the same command again.
    """
    from gentraffic.api.language import speaks_options
    from gentraffic.api.models import distil

    with progress("distilling", quiet=quiet) as tell:
        student = speaks_options(distil)(
            model, context, out=out, steps=steps, teacher_steps=teacher_steps, train_steps=train_steps, batch=batch,
            seed=seed, threads=threads, evidence=evidence, command=command_line(), progress=tell,
        )  # fmt: skip
    line = f"{out}: draws in {steps} steps, distilled in {student.facts['minutes']} min"
    report({"output": str(out), **student.facts}, [line], as_json=as_json, quiet=quiet)
