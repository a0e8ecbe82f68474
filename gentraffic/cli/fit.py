"""`gentraffic fit` and `gentraffic models`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from gentraffic.cli.fit_private import DP_OPTIONS, check_private, fit_private
from gentraffic.cli.options import COMMON, COUNT, THREADS, command_line, held_out_line, progress, report, with_options
from gentraffic.errors import WrongUse
from gentraffic.places.find import bundled_cities

if TYPE_CHECKING:
    import xarray as xr

    from gentraffic.generators.folder import Bundle
    from gentraffic.modelling.measured import Source

FILE = click.Path(path_type=Path)
TRAINED = ("stouter", "vae", "tcn-gan", "diffwave")  # keys of samplers.SAMPLERS; importing that takes seconds
NAIVE = ("bootstrap", "knn", "climatology")  # gentraffic.generators.naive.NAIVE
LEVELS = ("model", "network")


@click.command(short_help="Train a model on measured traffic (resumable).")
@click.argument("name", metavar="SAMPLER", type=click.Choice((*TRAINED, "fomo", *NAIVE)))
@click.option("--traffic", type=FILE, multiple=True, required=True, metavar="FILE", help="Measured traffic; repeat it.")
@click.option(
    "--context",
    type=FILE,
    multiple=True,
    metavar="FILE",
    help="The POIs of the same cells; repeat it. Contexts of other places teach the station graph alone.",
)
@click.option("-o", "--out", type=FILE, required=True, metavar="DIR", help="The model folder.")
@click.option("--service", metavar="NAME", help="The traffic variable to learn, where a file has several.")
@click.option(
    "--holdout",
    default=0.2,
    show_default=True,
    help="Share of locations held out, to stop in time and to score; with --dp-epsilon none unless given.",
)
@click.option(
    "--steps", type=int, help="Training steps at most. [default: 3200, or what takes as long; 60 with --dp-epsilon]"
)
@click.option("--batch", type=int, help="Windows, with --dp-epsilon expected cells, per step. [default: 64; 128]")
@click.option("--seed", type=COUNT, default=0, show_default=True)
@THREADS
@click.option(
    "--fusion", default="concat", show_default=True, help="concat, weighted, gated, cross-attention, decoupled."
)
@click.option("--temporal-layer", default="gin", show_default=True, help="gin, gcn, gat or sage.")
@click.option("--station-layer", default="gcn", show_default=True, help="gcn, gin, gat or sage.")
@click.option("--size", default="1m", show_default=True, help="fomo: 0.3m, 1m, 5m, 35m, 100m, 150m or 200m weights.")
@click.option("--prediction", default="v_prediction", show_default=True, help="epsilon, sample or v_prediction.")
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
@click.option("--scores", type=FILE, metavar="FILE.json", help="Scores for provenance.json, where none are held out.")
@with_options(DP_OPTIONS)
@with_options(COMMON)  # fmt: skip
def fit(
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
    gentraffic fit stouter --traffic mine.nc --context mine-context.nc --start stouter-base
        --dp-epsilon 8 --dp-delta 1e-5 -o my-private-model

    To resume after an interruption, run the same command again: the result is the same to the last bit. stouter,
    diffwave and fomo can be trained by several processes, on one machine or many, with the result of one but for
    rounding:

    \b
    accelerate launch --multi_gpu --num_processes 4 -m gentraffic fit stouter --traffic ... -o DIR
    """
    if options["level"] and name not in TRAINED:
        raise WrongUse(f"--level: {name} has levels of one kind only; leave it away")
    if name == "fomo":
        from gentraffic.cli.finetune import fit_fomo_command

        fit_fomo_command(traffic, context, out, as_json=as_json, quiet=quiet, options=options)
        return
    import torch

    from gentraffic.evaluation.holdout import read_rows, table
    from gentraffic.generators.cards import card, provenance_of
    from gentraffic.generators.folder import save_bundle
    from gentraffic.io.files import read_context, read_traffic
    from gentraffic.modelling.measured import read_source
    from gentraffic.training.checkpoint import checkpoint_beside
    from gentraffic.training.fitting import fit_sampler
    from gentraffic.training.options import design_of, plan_of
    from gentraffic.training.processes import join

    checkpoint, crew = checkpoint_beside(out), join()
    if not 0 <= options["holdout"] <= 0.5:
        raise WrongUse(f"--holdout {options['holdout']}: give 0 (none) to 0.5")
    if options["threads"]:
        torch.set_num_threads(options["threads"])
    private = check_private(name, options)
    if crew.size > 1 and (private or name in NAIVE):
        what = "--dp-epsilon" if private else name
        raise WrongUse(f"{what} is trained by one process: start it without `accelerate launch`")
    if private:
        asked = click.get_current_context().get_parameter_source("holdout") is not ParameterSource.DEFAULT
        fit_private(
            traffic, context, out, checkpoint, design_of(name, options), options,
            holdout=options["holdout"] if asked else 0.0, as_json=as_json, quiet=quiet,
        )  # fmt: skip
        return
    evidence = read_rows(options["evidence"]) if options["evidence"] else {}
    contexts = [read_context(path) for path in context]
    sources = [read_source(read_traffic(path), contexts, options["service"]) for path in traffic]
    if name in NAIVE:
        _fit_naive(name, sources, (*traffic, *context), out, options, as_json=as_json, quiet=quiet)
        return
    design = design_of(name, options)
    plan = plan_of(design, options)
    used = {s.network for s in sources if s.places is not None}
    if not used:
        raise WrongUse(f"no context holds the cells of {traffic[0]}: give the --context that belongs to the traffic")
    from gentraffic.modelling.features import read_places

    cells = {cell for s in sources for cell in s.cell_id.tolist()}
    spare = [read_places(c) for c in contexts if not cells & set(c["cell_id"].values.tolist())]
    parts = _hold_out(sources, options["holdout"], plan.seed) if options["holdout"] else {}
    train = [parts[s.network][0] if s.network in parts else s for s in sources]
    with progress("training", quiet=quiet or not crew.first) as tell:
        bundle, told = fit_sampler(
            train,
            extra_places=spare,
            held_out=[held for _, held in parts.values()],
            design=design,
            plan=plan,
            checkpoint=checkpoint,
            on_step=lambda step, of, loss: tell(step, of),
            crew=crew,
        )
    if not crew.first:
        return
    scores = _score(name, bundle, parts, contexts, plan.seed) if parts else {}
    judged = table(scores) if scores else ""
    told |= {"command": command_line(), "seed": plan.seed, "held_out": options["holdout"]}
    held_out = {network: held.cell_id.tolist() for network, (_, held) in parts.items()}
    told |= {"held_out_cells": held_out}
    provenance = provenance_of(traffic, context, told, {**evidence, **scores})
    provenance |= {
        "sampler": bundle.sampler,
        "tables": {"held_out": judged, "evidence": table(evidence) if evidence else ""},
    }
    from dataclasses import replace

    save_bundle(replace(bundle, provenance=provenance), out, card(out.name, provenance))
    checkpoint.unlink(missing_ok=True)
    values = {"output": str(out), "networks": sorted(used), **{k: told[k] for k in ("minutes", "steps", "best_step")}}
    lines = [judged] if judged else []
    lines += held_out_line(held_out)
    lines.append(f"{out}: {told['parameters']} weights, {told['steps']} steps in {told['minutes']} min")
    report(values | {"parameters": told["parameters"]}, lines, as_json=as_json, quiet=quiet)


def _hold_out(sources: list[Source], share: float, seed: int) -> dict[str, tuple[Source, Source]]:
    """network -> (training, held-out), of those that have locations enough. Raises WrongUse where none has."""
    from gentraffic.training.fitting import split_source

    folds = round(1 / share)
    able = [s for s in sources if s.places is not None and len(set(s.location.tolist())) >= folds]
    if not able:
        raise WrongUse(f"no network has {folds} locations, so none can be held out: give --holdout 0 or more data")
    return {s.network: split_source(s, folds, 0, seed) for s in able}


def _score(
    name: str, bundle: Bundle, parts: dict[str, tuple[Source, Source]], contexts: list[xr.Dataset], seed: int
) -> dict[str, Any]:
    """The rows of P1 on the held-out cells: the naive ones, and the model's."""
    from gentraffic.evaluation.holdout import holdout_rows, model_row, score

    places = {
        network: context
        for network, (_, held) in parts.items()
        for context in contexts
        if set(held.cell_id.tolist()) <= set(context["cell_id"].values.tolist())
    }
    scores = {row: [score(members, parts)] for row, members in holdout_rows(parts, seed).items()}
    return scores | {f"{name} (this model)": [score(model_row(bundle, places, parts, seed, None), parts)]}


def _fit_naive(
    name: str,
    sources: list[Source],
    files: tuple[Path, ...],
    out: Path,
    options: dict[str, Any],
    *,
    as_json: bool,
    quiet: bool,
) -> None:
    """Keep what a naive generator remembers; no location is held out."""
    from dataclasses import replace

    from gentraffic.generators.cards import card, origins_of
    from gentraffic.generators.naive import fit_naive, save_naive

    for option in ("steps", "batch"):
        if options[option] is not None:
            raise WrongUse(f"{name} is not trained: --{option} does not apply")
    told = origins_of(files) | {"command": command_line(), "services": ["traffic"], "sampler": name}
    told |= {"held_out_cells": {}}
    save_naive(replace(fit_naive(name, sources), provenance=told), out, card(out.name, told))
    cells = sum(len(s.level) for s in sources)
    report({"output": str(out), "cells": cells}, [f"{out}: {name} of {cells} cells"], as_json=as_json, quiet=quiet)


@click.command(short_help="What is bundled, and what each model was trained on.")
@with_options(COMMON)
def models(as_json: bool, quiet: bool, debug: bool) -> None:
    """List the bundled models and cities.

    \b
    gentraffic models
    gentraffic models --json
    """
    import json

    from gentraffic.generators.registry import MODELS, names

    found = []
    for name in names():
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
        lines.append("    habits that --habits can name: " + ", ".join(model["habits"]))
    lines.append("cities: " + ", ".join(bundled_cities()))
    report({"models": found, "cities": bundled_cities()}, lines, as_json=as_json, quiet=quiet)
