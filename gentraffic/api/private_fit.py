"""A fit with differential privacy: the same model folder, with a promise about every cell."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gentraffic.api.fitted import Files, FitResult
from gentraffic.errors import WrongUse

if TYPE_CHECKING:
    import xarray as xr

    from gentraffic.generators.base import Tell
    from gentraffic.generators.folder import Bundle
    from gentraffic.privacy.dp.accounting import Privacy
    from gentraffic.privacy.dp.fit import PrivateSource
    from gentraffic.privacy.dp.sgd import PrivatePlan
    from gentraffic.training.fitting import Design

ONLY_PRIVATE = ("dp_delta", "dp_clip", "dp_level_range", "dp_suppress_below", "dp_user_cap", "start")
PRIVATE = ("dp_epsilon", *ONLY_PRIVATE)


def can_be_private() -> list[str]:
    """Samplers of this package that can be fitted with differential privacy."""
    from samplers import SAMPLERS, sampler_class

    return [name for name in SAMPLERS if sampler_class(name).fits_privately]


def check_private(name: str, options: Mapping[str, Any]) -> bool:
    """True where privacy is asked for. Raises WrongUse for options that do not go with it, or need it."""
    if options["dp_epsilon"] is None:
        for other in ONLY_PRIVATE:
            if options[other]:
                raise WrongUse(f"--{other.replace('_', '-')} goes with --dp-epsilon: give that as well")
        return False
    if name not in can_be_private():
        names = ", ".join(can_be_private())
        raise WrongUse(f"--dp-epsilon: only {names} can be fitted with differential privacy, not {name}")
    if options["dp_delta"] is None:
        raise WrongUse("--dp-epsilon needs --dp-delta: give a number below 1 / cells, such as 1e-5")
    if options["evidence"]:
        raise WrongUse("--evidence: a private fit releases no scores that epsilon does not cover; leave it away")
    return True


def fit_private(
    files: Files, out: Path, design: Design, options: Mapping[str, Any], *, command: str, tell: Tell
) -> FitResult:
    """Fit with differential privacy and write the model folder.

    options: those of `FitOptions` and PRIVATE by name; locations are held out only where `holdout` is asked for.
    Raises WrongUse, BadInput.
    """
    from gentraffic.dataset.schema import one_service
    from gentraffic.generators.cards import card, provenance_of
    from gentraffic.generators.folder import load_bundle, save_bundle
    from gentraffic.io.files import read_context, read_traffic
    from gentraffic.modelling.features import read_places
    from gentraffic.privacy.dp.accounting import weakness
    from gentraffic.privacy.dp.attempts import attempts_text, counted_attempt
    from gentraffic.privacy.dp.fit import capped_per_user, fit_private_stouter, read_private, suppressed
    from gentraffic.privacy.dp.scores import write_scores
    from gentraffic.privacy.dp.unit import check_start, check_units
    from gentraffic.training.checkpoint import checkpoint_beside
    from gentraffic.training.fitting import Design
    from gentraffic.training.trainer import Run

    traffic, context, holdout = files.traffic, files.context, options["holdout"] or 0.0
    checkpoint = checkpoint_beside(out)
    privacy, plan = _privacy(options), _plan(options)
    start = load_bundle(options["start"]) if options["start"] else None
    if start is not None and (start.sampler != design.sampler or design != Design(sampler=design.sampler)):
        raise WrongUse(
            f"--start brings its own design: give a {design.sampler} model, and leave the flags of the design away"
        )
    seen = {part.get("sha256") for part in start.provenance.get("data", [])} if start is not None else set()
    for path in traffic:
        if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() in seen:
            raise WrongUse(f"--start {options['start']} was trained on {path.name}: it is not public; leave it away")
    datasets = [read_traffic(path) for path in traffic]
    services = [options["service"] or ("traffic" if "traffic" in ds else None) for ds in datasets]
    named = [(p.name, ds, one_service(ds, s)) for p, ds, s in zip(traffic, datasets, services, strict=True)]
    check_units(named)
    if options["dp_user_cap"] is not None:
        datasets = [capped_per_user(name, ds, kind, options["dp_user_cap"]) for name, ds, kind in named]
    declared = check_start(str(options["start"]), start.provenance, named) if start is not None else ""
    contexts = [read_context(path) for path in context]
    sources = [read_private(ds, contexts, options["service"]) for ds in datasets]
    if options["dp_suppress_below"] is not None:
        sources = [suppressed(s, options["dp_suppress_below"]) for s in sources]
    cells = {cell for s in sources for cell in s.source.cell_id.tolist()}
    spare = [read_places(c) for c in contexts if not cells & set(c["cell_id"].values.tolist())]
    held: dict[str, PrivateSource] = {}
    if holdout:
        sources, held = _hold_out(sources, round(1 / holdout), plan.seed)
    with counted_attempt(checkpoint) as attempts:
        bundle, metadata = fit_private_stouter(
            sources,
            privacy,
            start=start,
            extra_places=spare,
            design=design,
            plan=plan,
            run=Run(checkpoint, lambda step, of, _: tell(step, of)),
        )
    scores, judged = _scores(bundle, sources, held, contexts, plan.seed) if held else ({}, "")
    spent = metadata["privacy"]
    spent["attempts"] = attempts.counts | {"ended": attempts.counts["ended"] + 1}  # this one too: it is being written
    if options["dp_suppress_below"] is not None:
        spent["suppressed_below"] = options["dp_suppress_below"]
    if options["dp_user_cap"] is not None:
        spent["user_cap"] = options["dp_user_cap"]
    spent["attempts"]["text"] = attempts_text(spent["attempts"])
    spent["warning"] = weakness(spent["epsilon"])
    if declared:
        spent["start"]["declared"] = declared
    metadata |= {"command": command, "seed": plan.seed, "held_out": holdout}
    metadata |= {"held_out_cells": {network: s.cell_id.tolist() for network, s in held.items()}}
    provenance = provenance_of(traffic, context, metadata, {})
    public = [
        {k: v for k, v in part.items() if k not in ("sha256", "marks")} for part in provenance["data"][: len(traffic)]
    ]
    provenance["data"] = public + provenance["data"][len(traffic) :]
    save_bundle(replace(bundle, provenance=provenance), out, card(out.name, provenance))
    attempts.end()
    notes = []
    if judged:
        notes.append(f"{write_scores(out, judged)}: these scores, which epsilon does not cover; keep them to yourself")
    notes.append(
        f"{out}: epsilon {spent['epsilon']:.3f} at delta {spent['delta']:g} for {spent['unit']}; "
        f"{metadata['steps']} steps"
    )
    notes += [f"attempts: {spent['attempts']['text']}"] if attempts.counts["begun"] > 1 else []
    notes += [text for text in (declared, spent["warning"], *attempts.notes) if text]
    facts = {"steps": metadata["steps"], "privacy": spent, "parameters": metadata["parameters"]}
    facts |= {"scores": scores} if scores else {}
    networks, title = tuple(sorted(bundle.networks)), f"stouter, private, {out.name}"
    return FitResult(out, networks, facts, metadata["held_out_cells"], judged, title, tuple(notes))


def _privacy(options: Mapping[str, Any]) -> Privacy:
    from gentraffic.privacy.dp.accounting import Privacy

    if options["dp_epsilon"] == float("inf"):
        raise WrongUse("--dp-epsilon inf promises nothing: leave it away, or give a number")
    given = {"clip": options["dp_clip"], "level_range": options["dp_level_range"]}
    return replace(
        Privacy(options["dp_epsilon"], options["dp_delta"]), **{k: v for k, v in given.items() if v is not None}
    )


def _plan(options: Mapping[str, Any]) -> PrivatePlan:
    from gentraffic.privacy.dp.sgd import PrivatePlan

    plan = replace(PrivatePlan(), seed=options["seed"])
    for name, least in (("steps", 0), ("batch", 1)):
        if options[name] is not None:
            if options[name] < least:
                raise WrongUse(f"--{name} {options[name]}: give {least} or more")
            plan = replace(plan, **{name: options[name]})
    return plan


def _hold_out(
    sources: Sequence[PrivateSource], folds: int, seed: int
) -> tuple[list[PrivateSource], dict[str, PrivateSource]]:
    """The sources without one fold of the locations that are listed, and that fold per network."""
    import numpy as np

    from gentraffic.dataset.splits import p1_folds

    train, held = [], {}
    for s in sources:
        if len(np.unique(s.location)) < folds:
            raise WrongUse(
                f"{s.source.network}: fewer than {folds} locations, so none can be held out: give --holdout 0"
            )
        keep, aside = p1_folds(s.location, folds, seed)[0]
        train.append(s.only(keep))
        held[s.source.network] = s.only(aside)
    return train, held


def _scores(
    bundle: Bundle,
    sources: Sequence[PrivateSource],
    held: dict[str, PrivateSource],
    contexts: Sequence[xr.Dataset],
    seed: int,
) -> tuple[dict[str, Any], str]:
    from gentraffic.evaluation.holdout import as_measured, holdout_rows, model_row, score, table

    parts = {s.source.network: (s.source, held[s.source.network].source) for s in sources}
    places = {
        n: c
        for n, (_, aside) in parts.items()
        for c in contexts
        if set(aside.cell_id.tolist()) <= set(c["cell_id"].values.tolist())
    }
    scores = {row: [score(members, parts)] for row, members in holdout_rows(parts, seed).items()}
    scores["stouter (this model)"] = [score(model_row(bundle, as_measured(places, parts), parts, seed, None), parts)]
    return scores, table(scores)
