"""`gentraffic fit`, `finetune`, `distil`: models are made; `gentraffic models`: which there are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

import gentraffic
from gentraffic.cli import options as shared
from gentraffic.cli.options import Result, bundled, call, file_option, out_option, prints, with_options

TRAFFIC = file_option("--traffic", multiple=True, required=True, help="Measured traffic; repeat it.")
DEVICE = click.option("--device", default="cpu", help="Where to train: cpu or cuda.")
PRIVACY = (
    click.option("--dp-epsilon", type=float, metavar="E", help="Fit with differential privacy: at most this epsilon."),
    click.option("--dp-delta", type=float, metavar="D", help="Its delta: below 1 / cells, such as 1e-5."),
    click.option("--dp-clip", type=float, metavar="C", help="L2 norm that no cell's gradient exceeds. [default: 0.5]"),
    click.option("--dp-level-range", type=(float, float), metavar="LOW HIGH",
                 help="Mean traffic per cell and step, in the file's unit, known to hold for all cells."
                      " [default: 1e-6 1e15]"),
    click.option("--dp-suppress-below", type=float, metavar="TRAFFIC",
                 help="Cells with less mean traffic per step count as silent; decided for each cell alone."),
    click.option("--dp-user-cap", type=float, metavar="TRAFFIC",
                 help="At each step a cell counts for at most this much per user in it, by the variable `users`."),
    click.option("--start", metavar="NAME|DIR", help="With --dp-epsilon: a public model to start from."),
)  # fmt: skip
DESIGN = (
    click.option("--paper", is_flag=True, help="stouter as published, to compare with; trains for hours."),
    click.option("--channels", metavar="WIDTHS", help="stouter: one width per level. [default: 32,16; 64,128,256]"),
    click.option("--diffusion-steps", type=int, metavar="T", help="stouter: steps that add noise. [default: 1000]"),
    click.option("--loss", help="stouter: mse or l1. [default: mse]"),
    click.option("--fusion", help="stouter: concat, linear, weighted, gated, cross-attention, decoupled. [default:"
                 " concat; linear]"),
    click.option("--temporal-layer", help="gin, gcn, gat or sage. [default: gin]"),
    click.option("--station-layer", help="gcn, gin, gat or sage. [default: gcn]"),
    click.option("--size", help="fomo: 0.3m, 1m, 5m, 35m, 100m, 150m or 200m weights; 12x128, 16x256 or 20x768,"
                 " layers x width as published. [default: 1m]"),
    click.option("--patch", metavar="H,W,T", help="fomo: cells, cells and steps of a token. [default: 1,1,16]"),
    click.option("--bare-steps", type=int, help="fomo: of --steps, the first, without users and POIs. [default: 0]"),
    click.option("--prediction", help="stouter, fomo: epsilon, sample or v_prediction. [default: v_prediction;"
                 " epsilon]"),
    click.option("--no-temporal-graph", is_flag=True, help="Ablation: without the time embedding."),
    click.option("--no-station-graph", is_flag=True, help="Ablation: without the station embedding and without POIs."),
    click.option("--profile", is_flag=True, help="Learn to follow a cell's own past too (`sample --history`)."),
    click.option("--level", type=click.Choice(("model", "network")),
                 help="What draws how much traffic a cell carries in all: the level model, or the sampler's own"
                      " network. [default: model; network for vae, tcn-gan, diffwave and others that say so,"
                      " without --profile]"),
)  # fmt: skip


@click.command("fit", cls=shared.listing("sampler"), short_help="Train a model on measured traffic (resumable).")
@click.argument("name", metavar="SAMPLER")
@TRAFFIC
@file_option("--context", multiple=True,
             help="The POIs of the same cells, or a bundled city by name; repeat it. Contexts of other places teach the"
                  " station graph alone.")  # fmt: skip
@out_option("The model folder.", "DIR")
@click.option("--service", metavar="NAMES", help="What is learned, where a file has several; stouter learns several,"
              " internet,call_in: the first is the main one. [default: the main one; stouter: all of Internet, calls,"
              " SMS]")  # fmt: skip
@click.option("--holdout", type=float, help="Share of locations held out to stop in time and score; with --dp-epsilon"
              " none unless given. [default: 0.2]")  # fmt: skip
@click.option("--steps", type=int,
              help="Training steps at most. [default: 1600, with --profile 3200, or what takes as long; 60 with"
              " --dp-epsilon]")  # fmt: skip
@click.option("--batch", type=int, help="Windows, with --dp-epsilon expected cells, per step. [default: 64; 128]")
@shared.SEED
@shared.THREADS
@DEVICE
@click.option("--precision", default="fp32", metavar="fp32|bf16", help="Of the network's products; bf16 is for GPUs.")
@with_options(DESIGN)
@file_option("--evidence", help="For the card: finished rows of benchmarks/fidelity.py; fomo: Markdown.")
@with_options(PRIVACY)
@prints
def fit_(name: str, traffic: tuple[Path, ...], context: tuple[Path, ...], out: Path, **options: Any) -> Result | None:
    """Train a sampler on traffic files and the contexts of their cells, and write a model folder.

    stouter, fomo, or a baseline: vae, tcn-gan, diffwave; bootstrap, knn and climatology only remember. The baselines
    draw a cell's level as well, as their papers do; with --level model they take stouter's place beside its level
    model. A last line says which it was.

    \b
    gentraffic import uomo uomo_sd.npz -o sd.nc --context sd-context.nc
    gentraffic fit stouter --traffic sd.nc --context sd-context.nc -o my-model
    gentraffic sample --city milan --model my-model -o milan.nc
    gentraffic fit fomo --traffic sd.nc --context sd-context.nc -o my-fomo
    gentraffic fit stouter --traffic five.nc --context milan.nc -o five-services
    gentraffic sample --city milan --model five-services --service internet,calls,sms -o milan-five.nc
    gentraffic fit stouter --paper --traffic sd.nc --context sd-context.nc -o as-published
    gentraffic fit stouter --traffic mine.nc --context mine-context.nc --start stouter-base
        --dp-epsilon 8 --dp-delta 1e-5 -o my-private-model

    --paper: noise is predicted, an hour a position, graphs and attention as STOUTER's equations write them, one
    service; the second defaults above are its own. It is drawn with the solver that suits it, which the folder keeps.

    To resume after an interruption, run the same command again: the result is the same to the last bit. stouter,
    diffwave and fomo can be trained by several processes, with the result of one but for rounding:

    \b
    accelerate launch --multi_gpu --num_processes 4 -m gentraffic fit stouter --traffic ... -o DIR
    """
    return call(gentraffic.fit, name, traffic, context, bar="training", out=out, **options)


@click.command("finetune", short_help="Align a pre-trained FoMo with a city, from all or a few of its locations.")
@click.argument("name", metavar="fomo", type=click.Choice(["fomo"]))
@click.option(
    "--model", required=True, metavar="NAME|DIR", shell_complete=bundled("models"), help="The pre-trained FoMo."
)
@TRAFFIC
@file_option("--context", multiple=True, help="The POIs of the same cells; repeat it.")
@out_option("The model folder to write.", "DIR")
@click.option("--few", metavar="SHARE", help="Train on this share of the locations only, e.g. 5%.")
@click.option("--service", metavar="NAME", help="The traffic variable to learn, where a file has several.")
@click.option("--steps", type=shared.AT_LEAST_1, default=200, help="Training steps.")
@click.option("--learning-rate", type=shared.POSITIVE, default=3e-4)
@click.option("--contrast", type=shared.NOT_NEGATIVE, default=0.05, help="Of the negatives (FoMo eq. 16); 0 is none.")
@click.option("--all-weights", is_flag=True, help="Train everything, not only adaLN, context and decoder.")
@shared.SEED
@shared.THREADS
@DEVICE
@prints
def finetune_(name: str, model: str, traffic: tuple[Path, ...], **options: Any) -> Result:
    """Align a pre-trained FoMo with the users and POIs of a city (contrastive, most weights frozen).

    \b
    gentraffic finetune fomo --model fomo-base --traffic city.nc --context city-context.nc -o my-fomo
    gentraffic finetune fomo --model fomo-base --traffic city.nc --context city-context.nc --few 5% -o my-fomo

    To resume after an interruption, run the same command again.
    """
    return call(gentraffic.finetune, model, traffic, bar="fine-tuning", **options)


@click.command("distil", short_help="Teach a model to draw in one or two steps (resumable).")
@click.option(
    "--model", default="stouter-base", metavar="NAME|DIR", shell_complete=bundled("models"), help="The teacher."
)
@out_option("The student's model folder.", "DIR")
@file_option("--context", multiple=True, help="Places to practise on; repeat it. [default: the bundled cities]")
@click.option("--steps", default=1, help="Solver steps of the student.")
@click.option("--teacher-steps", default=16, help="Solver steps of the teacher.")
@click.option("--train-steps", type=shared.AT_LEAST_1, help="Training steps. [default: 3000]")
@click.option("--batch", type=shared.AT_LEAST_1, help="Windows per training step. [default: 64]")
@shared.SEED
@shared.THREADS
@DEVICE
@file_option("--evidence", metavar="FILE.json", help="For the card: finished rows of benchmarks/steps.py.")
@prints
def distil_(model: str, context: tuple[Path, ...], out: Path, **options: Any) -> Result:
    """Train a student that gives, from the same noise, the week that its teacher gives in many steps.

    \b
    gentraffic distil -o stouter-fast
    gentraffic distil --model my-model --context my-context.nc -o my-fast-model
    gentraffic sample --city porto --model stouter-fast -o porto.nc

    No traffic is needed. To resume after an interruption, run the same command again.
    """
    return call(gentraffic.distil, model, context, bar="distilling", out=out, **options)


@click.command(short_help="What is bundled, and what each model was trained on.")
@prints
def models() -> Result:
    """List the bundled models and cities, and the generators, samplers and forecasters of installed packages.

    \b
    gentraffic models
    gentraffic models --json
    """
    return call(gentraffic.bundled)
