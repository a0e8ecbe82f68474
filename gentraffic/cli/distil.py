"""`gentraffic distil`: a model that draws in fewer steps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from gentraffic.cli.options import (
    AT_LEAST_1,
    COMMON,
    COUNT,
    THREADS,
    command_line,
    progress,
    report,
    with_options,
)
from gentraffic.places.find import CONTEXTS, bundled_cities

FILE = click.Path(path_type=Path)


@click.command(short_help="Teach a model to draw in one or two steps (resumable).")
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
def distil(
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
    import torch

    from gentraffic.evaluation.solver_steps import read_steps, steps_table
    from gentraffic.generators.cards import card
    from gentraffic.generators.folder import load_bundle, save_bundle
    from gentraffic.io.files import read_context
    from gentraffic.modelling.features import read_places
    from gentraffic.training.checkpoint import checkpoint_beside
    from gentraffic.training.distilling import DISTIL_PLAN, Lesson
    from gentraffic.training.distilling import distil as teach

    checkpoint = checkpoint_beside(out)
    if threads:
        torch.set_num_threads(threads)
    table = steps_table(read_steps(evidence)) if evidence else ""
    teacher = load_bundle(model)
    paths = context or tuple(CONTEXTS / f"{city}.nc" for city in bundled_cities())
    places = [read_places(read_context(path)) for path in paths]
    plan = replace(DISTIL_PLAN, seed=seed, steps=train_steps or DISTIL_PLAN.steps, batch=batch or DISTIL_PLAN.batch)
    with progress("distilling", quiet=quiet) as tell:
        student, told = teach(
            teacher,
            places,
            lesson=Lesson(steps=steps, teacher_steps=teacher_steps),
            plan=plan,
            checkpoint=checkpoint,
            on_step=lambda step, of, loss: tell(step, of),
        )
    told |= {"command": command_line(), "teacher": Path(model).name}
    told |= {"teacher_command": student.provenance.get("command", "")}
    tables = {**student.provenance.get("tables", {}), "distilled": table}
    provenance = {**student.provenance, **told, "tables": tables, "sampler": student.sampler}
    save_bundle(replace(student, provenance=provenance), out, card(out.name, provenance))
    checkpoint.unlink(missing_ok=True)
    values = {"output": str(out), "teacher": model, "steps": steps, "minutes": told["distil_minutes"]}
    report(values, [f"{out}: draws in {steps} steps, distilled in {told['distil_minutes']} min"],
           as_json=as_json, quiet=quiet)  # fmt: skip
