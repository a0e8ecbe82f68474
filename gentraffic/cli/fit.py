"""`gentraffic fit` and `gentraffic models`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from gentraffic.api.models import SAMPLERS
from gentraffic.cli.dp_options import DP_OPTIONS
from gentraffic.cli.options import COMMON, COUNT, THREADS, command_line, held_out_line, progress, report, with_options
from gentraffic.places.find import bundled_cities

FILE = click.Path(path_type=Path)
LEVELS = ("model", "network")


@click.command("fit", short_help="Train a model on measured traffic (resumable).")
@click.argument("name", metavar="SAMPLER", type=click.Choice(SAMPLERS))
@click.option("--traffic", type=FILE, multiple=True, required=True, metavar="FILE", help="Measured traffic; repeat it.")
@click.option(
    "--context",
    type=FILE,
    multiple=True,
    metavar="FILE",
    help="The POIs of the same cells; repeat it. Contexts of other places teach the station graph alone.",
)
@click.option("-o", "--out", type=FILE, required=True, metavar="DIR", help="The model folder.")
@click.option("--service", metavar="NAMES", help="What is learned, where a file has several; stouter learns several,"
              " internet,call_in: the first is the main one. [default: the main one; stouter: all of Internet, calls,"
              " SMS]")  # fmt: skip
@click.option(
    "--holdout", type=float,
    help="Share of locations held out to stop in time and score; with --dp-epsilon none unless given. [default: 0.2]",
)
@click.option(
    "--steps", type=int, help="Training steps at most. [default: 3200, or what takes as long; 60 with --dp-epsilon]"
)
@click.option("--batch", type=int, help="Windows, with --dp-epsilon expected cells, per step. [default: 64; 128]")
@click.option("--seed", type=COUNT, default=0, show_default=True)
@THREADS
@click.option(
    "--fusion", help="stouter: concat, weighted, gated, cross-attention, decoupled. [default: concat]"
)
@click.option("--temporal-layer", help="gin, gcn, gat or sage. [default: gin]")
@click.option("--station-layer", help="gcn, gin, gat or sage. [default: gcn]")
@click.option("--size", help="fomo: 0.3m, 1m, 5m, 35m, 100m, 150m or 200m weights. [default: 1m]")
@click.option("--prediction", help="stouter, fomo: epsilon, sample or v_prediction. [default: v_prediction]")
@click.option("--no-temporal-graph", is_flag=True, help="Ablation: without the time embedding.")
@click.option("--no-station-graph", is_flag=True, help="Ablation: without the station embedding and without POIs.")
@click.option("--profile", is_flag=True, help="Learn to follow a cell's own past too (`sample --history`).")
@click.option(
    "--level",
    type=click.Choice(LEVELS),
    help="What says how much traffic a cell carries in all: the level model of stouter, or the sampler's own network. "
    "[default: network for vae, tcn-gan and diffwave, as published; model for stouter, and with --profile]",
)
@click.option(
    "--evidence",
    type=FILE,
    metavar="FILE",
    help="For the card: finished rows of benchmarks/fidelity.py; fomo: Markdown.",
)
@with_options(DP_OPTIONS)
@with_options(COMMON)  # fmt: skip
def fit_(
    name: str, traffic: tuple[Path, ...], context: tuple[Path, ...], out: Path, as_json: bool, quiet: bool,
    debug: bool, **options: Any,
) -> None:  # fmt: skip
    """Train a sampler on traffic files and the contexts of their cells, and write a model folder.

    stouter, or a baseline: vae, tcn-gan, diffwave; bootstrap, knn and climatology only remember. The baselines draw a
    cell's level as well, as their papers do; with --level model they take stouter's place beside its level model.

    \b
    gentraffic import uomo uomo_sd.npz -o sd.nc --context sd-context.nc
    gentraffic fit stouter --traffic sd.nc --context sd-context.nc -o my-model
    gentraffic sample --city milan --model my-model -o milan.nc
    gentraffic fit fomo --traffic sd.nc --context sd-context.nc -o my-fomo

    \b
    gentraffic import telecom-italia sms-call-internet-mi-*.txt -o five.nc
    gentraffic fit stouter --traffic five.nc --context milan.nc -o five-services
    gentraffic sample --city milan --model five-services --service internet,calls,sms -o milan-five.nc
    gentraffic evaluate --real five.nc --synthetic milan-five.nc

    \b
    gentraffic fit stouter --traffic mine.nc --context mine-context.nc --start stouter-base
        --dp-epsilon 8 --dp-delta 1e-5 -o my-private-model

    To resume after an interruption, run the same command again: the result is the same to the last bit. stouter,
    diffwave and fomo can be trained by several processes, on one machine or many, with the result of one but for
    rounding:

    \b
    accelerate launch --multi_gpu --num_processes 4 -m gentraffic fit stouter --traffic ... -o DIR
    """
    from gentraffic.api.language import speaks_options
    from gentraffic.api.models import fit
    from gentraffic.training.processes import join

    group = join()
    with progress("training", quiet=quiet or not group.first) as tell:
        fitted = speaks_options(fit)(name, traffic, context, out=out, command=command_line(), progress=tell, **options)
    if fitted is None:
        return
    facts = fitted.facts
    lines = [*([fitted.table] if fitted.table else []), *held_out_line(fitted.held_out), *fitted.notes]
    if "minutes" in facts:
        lines.append(f"{out}: {facts['parameters']} weights, {facts['steps']} steps in {facts['minutes']} min")
    elif "cells" in facts:
        lines.append(f"{out}: {name} of {facts['cells']} cells")
    report({"output": str(out), "networks": list(fitted.networks), **facts}, lines, as_json=as_json, quiet=quiet)


@click.command(short_help="What is bundled, and what each model was trained on.")
@with_options(COMMON)
def models(as_json: bool, quiet: bool, debug: bool) -> None:
    """List the bundled models and cities.

    \b
    gentraffic models
    gentraffic models --json
    """
    import json

    from gentraffic.generators.model_folder import MODELS, bundled_models

    found = []
    for name in bundled_models():
        known = json.loads((MODELS / name / "provenance.json").read_text(encoding="utf-8"))
        found.append(
            {
                "name": name,
                "trained_on": list(dict.fromkeys(part["title"] for part in known.get("data", []))),
                "habits": json.loads((MODELS / name / "level.json").read_text(encoding="utf-8"))["order"],
                "licenses": sorted({part["license"] for part in known.get("data", [])}),
                "parameters": known.get("parameters"),
                "card": str(MODELS / name / "README.md"),
            }
        )
    lines = []
    for model in found:
        lines.append(f"{model['name']}: {model['parameters']} weights, trained on")
        lines += [f"    {title}" for title in model["trained_on"]]
        lines.append("    rhythms that --rhythm can name: " + ", ".join(model["habits"]))
    lines.append("cities: " + ", ".join(bundled_cities()))
    report({"models": found, "cities": bundled_cities()}, lines, as_json=as_json, quiet=quiet)
