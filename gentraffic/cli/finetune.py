"""`gentraffic finetune fomo`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gentraffic.cli.options import (
    AT_LEAST_1,
    COMMON,
    COUNT,
    NOT_NEGATIVE,
    POSITIVE,
    THREADS,
    Command,
    command_line,
    held_out_line,
    progress,
    report,
    with_options,
)

if TYPE_CHECKING:
    pass

FILE = click.Path(path_type=Path)


@click.command(
    "finetune", cls=Command, short_help="Align a pre-trained FoMo with a city, from all or a few of its locations."
)
@click.argument("name", metavar="fomo", type=click.Choice(["fomo"]))
@click.option("--model", required=True, metavar="NAME|DIR", help="The pre-trained FoMo.")
@click.option("--traffic", type=FILE, multiple=True, required=True, metavar="FILE", help="Measured traffic; repeat it.")
@click.option("--context", type=FILE, multiple=True, metavar="FILE", help="The POIs of the same cells; repeat it.")
@click.option("-o", "--out", type=FILE, required=True, metavar="DIR", help="The model folder to write.")
@click.option("--few", metavar="SHARE", help="Train on this share of the locations only, e.g. 5%.")
@click.option("--service", metavar="NAME", help="The traffic variable to learn, where a file has several.")
@click.option("--steps", type=AT_LEAST_1, default=200, show_default=True, help="Training steps.")
@click.option("--learning-rate", type=POSITIVE, default=3e-4, show_default=True)
@click.option(
    "--contrast",
    type=NOT_NEGATIVE,
    default=0.05,
    show_default=True,
    help="Weight of the negatives (FoMo eq. 16); 0 is none.",
)
@click.option("--all-weights", is_flag=True, help="Train everything, not only adaLN, context and decoder.")
@click.option("--seed", type=COUNT, default=0, show_default=True)
@THREADS
@with_options(COMMON)
def finetune_(
    name: str, model: str, traffic: tuple[Path, ...], context: tuple[Path, ...], out: Path, as_json: bool, quiet: bool,
    debug: bool, **options: Any,
) -> None:  # fmt: skip
    """Align a pre-trained FoMo with the users and POIs of a city (contrastive, most weights frozen).

    \b
    gentraffic finetune fomo --model fomo-base --traffic city.nc --context city-context.nc -o my-fomo
    gentraffic finetune fomo --model fomo-base --traffic city.nc --context city-context.nc --few 5% -o my-fomo

    To resume after an interruption, run the same command again.
    """
    from gentraffic.api.language import speaks_options
    from gentraffic.api.models import finetune

    with progress("fine-tuning", quiet=quiet) as tell:
        tuned = speaks_options(finetune)(
            model, traffic, context, out=out, command=command_line(), progress=tell, **options
        )
    facts = tuned.facts
    line = f"{out}: {facts['trained_parameters']} of {facts['parameters']} weights trained on {facts['cells']} cells, "
    line += f"{facts['steps']} steps in {facts['minutes']} min"
    lines = [*held_out_line(tuned.held_out), line]
    report({"output": str(out), **facts}, lines, as_json=as_json, quiet=quiet)
