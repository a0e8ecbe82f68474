"""What `gentraffic fit fomo` and `gentraffic finetune fomo` do."""

from __future__ import annotations

from dataclasses import replace
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
    command_line,
    held_out_line,
    progress,
    report,
    with_options,
)
from gentraffic.errors import WrongUse

if TYPE_CHECKING:
    from gentraffic.generators.fomo.folder import FoMoBundle

FILE = click.Path(path_type=Path)


def fit_fomo_command(
    traffic: tuple[Path, ...],
    context: tuple[Path, ...],
    out: Path,
    *,
    as_json: bool,
    quiet: bool,
    options: dict[str, Any],
) -> None:
    """Pre-train FoMo on the files and write a model folder, with its scores where locations are held out."""
    import torch

    from gentraffic.evaluation import fomo_tasks as p3
    from gentraffic.generators.cards import card, provenance_of
    from gentraffic.generators.fomo.folder import save_fomo
    from gentraffic.training.checkpoint import checkpoint_beside
    from gentraffic.training.fomo_fitting import FoMoDesign, fit_fomo, split
    from gentraffic.training.fomo_task import FoMoPlan
    from gentraffic.training.processes import join

    checkpoint, crew = checkpoint_beside(out), join()
    if options["threads"]:
        torch.set_num_threads(options["threads"])
    if options["prediction"] not in ("epsilon", "sample", "v_prediction"):
        raise WrongUse(f"--prediction {options['prediction']}: choose one of epsilon, sample, v_prediction")
    if not 0 <= options["holdout"] <= 0.5:
        raise WrongUse(f"--holdout {options['holdout']}: give 0 (none) to 0.5")
    plan = replace(FoMoPlan(), seed=options["seed"])
    for name in ("steps", "batch"):
        if options[name] is not None:
            if options[name] < 1:
                raise WrongUse(f"--{name} {options[name]}: give 1 or more")
            plan = replace(plan, **{name: options[name]})
    data = read_data(traffic, context, options["service"])
    folds = round(1 / options["holdout"]) if options["holdout"] else 0
    parts = {}
    if folds:
        for source, region in data:
            if source.places is not None and len(set(source.location.tolist())) >= folds:
                parts[region.network] = split((source, region), folds, 0, plan.seed)
        if not parts:
            raise WrongUse(f"no network has {folds} locations, so none can be held out: give --holdout 0 or more data")
    train = [parts[r.network][0] if r.network in parts else (s, r) for s, r in data]
    design = FoMoDesign(size=options["size"], prediction_type=options["prediction"])
    with progress("training", quiet=quiet or not crew.first) as tell:
        bundle, told = fit_fomo(
            train,
            design=design,
            plan=plan,
            checkpoint=checkpoint,
            on_step=lambda step, of, loss: tell(step, of),
            crew=crew,
        )
    if not crew.first:
        return
    rows = p3.rows_of(bundle, parts, members=6) if parts else {}
    told |= {"command": command_line(), "seed": plan.seed, "held_out": options["holdout"], "validation": told["loss"]}
    held_out = {network: held[0].cell_id.tolist() for network, (_, held) in parts.items()}
    told |= {"metrics_p3": p3.means(rows), "held_out_cells": held_out}
    provenance = {**provenance_of(traffic, context, told, {}), "recommended_steps": p3.STEPS}
    judged = p3.table(rows) if rows else ""
    evidence = "" if options["evidence"] is None else options["evidence"].read_text(encoding="utf-8")
    provenance |= {"sampler": "fomo", "tables": {"held_out": judged, "evidence": evidence}}
    save_fomo(replace(bundle, provenance=provenance), out, card(out.name, provenance))
    checkpoint.unlink(missing_ok=True)
    lines = [judged] if judged else []
    lines += held_out_line(held_out)
    lines.append(f"{out}: {told['parameters']} weights, {told['steps']} steps in {told['minutes']} min")
    kept = {key: told[key] for key in ("minutes", "steps", "parameters")}
    report({"output": str(out), "networks": list(bundle.networks), **kept}, lines, as_json=as_json, quiet=quiet)


@click.command(short_help="Align a pre-trained FoMo with a city, from all or a few of its locations.")
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
def finetune(
    name: str, model: str, traffic: tuple[Path, ...], context: tuple[Path, ...], out: Path, as_json: bool, quiet: bool,
    debug: bool, **options: Any,
) -> None:  # fmt: skip
    """Align a pre-trained FoMo with the users and POIs of a city (contrastive, most weights frozen).

    \b
    gentraffic finetune fomo --model fomo-base --traffic city.nc --context city-context.nc -o my-fomo
    gentraffic finetune fomo --model fomo-base --traffic city.nc --context city-context.nc --few 5% -o my-fomo

    To resume after an interruption, run the same command again.
    """
    import torch

    from gentraffic.generators.cards import card, provenance_of
    from gentraffic.generators.fomo.folder import load_fomo, save_fomo
    from gentraffic.training.checkpoint import checkpoint_beside
    from gentraffic.training.fomo_fitting import few, finetune_fomo, parse_share
    from gentraffic.training.fomo_task import FoMoPlan

    checkpoint = checkpoint_beside(out)
    share = None if options["few"] is None else parse_share(options["few"])
    if options["threads"]:
        torch.set_num_threads(options["threads"])
    bundle = load_fomo(model)
    data = read_data(traffic, context, options["service"])
    every = {source.network: source.cell_id.tolist() for source, _ in data}
    if share is not None:
        data = [few(pair, share, options["seed"]) for pair in data]
    plan = FoMoPlan(
        steps=options["steps"],
        learning_rate=options["learning_rate"],
        warmup=min(20, options["steps"]),
        contrast=options["contrast"],
        frozen=not options["all_weights"],
        ema=0.98,
        seed=options["seed"],
    )
    with progress("fine-tuning", quiet=quiet) as tell:
        tuned, told = finetune_fomo(
            bundle, data, plan=plan, checkpoint=checkpoint, on_step=lambda step, of, loss: tell(step, of)
        )
    told |= {"command": command_line(), "seed": plan.seed, "held_out": 0, "validation": told["loss"]}
    told |= {"design": bundle.provenance.get("design", {}), "few": share or 1.0}
    told |= {"held_out_cells": _never_seen(bundle, every, data)}
    fresh = provenance_of(traffic, context, told, {})
    before = {key: value for key, value in bundle.provenance.items() if key != "files"}
    provenance = {
        **fresh,
        "recommended_steps": before.get("recommended_steps", 8),
        "data": [*before.get("data", []), *fresh["data"]],
        "fine_tuned_from": {"sha256": bundle.sha256, "command": before.get("command", "")},
        "sampler": "fomo",
    }
    save_fomo(replace(tuned, provenance=provenance), out, card(out.name, provenance))
    checkpoint.unlink(missing_ok=True)
    cells = sum(len(region.values) for _, region in data)
    line = f"{out}: {told['trained_parameters']} of {told['parameters']} weights trained on {cells} cells, "
    line += f"{told['steps']} steps in {told['minutes']} min"
    kept = {key: told[key] for key in ("minutes", "steps", "parameters", "trained_parameters", "few")}
    report({"output": str(out), "cells": cells, **kept}, [line], as_json=as_json, quiet=quiet)


def _never_seen(bundle: FoMoBundle, every: dict[str, list[Any]], data: list[Any]) -> dict[str, list[Any]]:
    """By network, the cells that neither the model at the start nor the fine-tuning learned from.

    every: the cells of the files; data: sources and regions of those that are learned from now."""
    seen = {source.network: set(source.cell_id.tolist()) for source, _ in data}
    before = bundle.provenance.get("held_out_cells", {})
    known = {name: before.get(name, []) for name in bundle.networks}  # of a network that it learned: what it held out
    left = {name: [c for c in cells if c not in seen.get(name, ())] for name, cells in {**every, **known}.items()}
    return {name: cells for name, cells in left.items() if cells}


def read_data(traffic: tuple[Path, ...], context: tuple[Path, ...], service: str | None) -> list[Any]:
    """Sources and regions of traffic files, each with the context that holds its cells."""
    from gentraffic.generators.fomo.data import read_region
    from gentraffic.io.files import read_context, read_traffic

    contexts = [read_context(path) for path in context]
    return [read_region(read_traffic(path), contexts, service) for path in traffic]
