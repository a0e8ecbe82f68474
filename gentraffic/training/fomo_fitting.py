"""`gentraffic fit fomo` and `gentraffic finetune fomo`: from regions to a bundle."""

from __future__ import annotations

import hashlib
import json
import time as clock
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gentraffic.errors import WrongUse
from gentraffic.generators.fomo.data import CADENCES, POI_DIM, SIDE, Region, placed, usual_weeks
from gentraffic.generators.fomo.folder import FoMoBundle
from gentraffic.generators.fomo.scale import FoMoScale, fit_scale_of
from gentraffic.modelling.expected_week import ExpectedWeeks, fit_week
from gentraffic.modelling.features import Floats
from gentraffic.modelling.levels import LevelModel, fit_levels
from gentraffic.modelling.measured import Source
from gentraffic.training.fitting import INFLATE, machine, measured_cells
from gentraffic.training.fomo_task import WINDOW, FoMoPlan, FoMoTask, trainer_of
from gentraffic.training.processes import ALONE, ProcessGroup
from gentraffic.training.residual_spectrum import fit_fomo_spectrum
from gentraffic.training.trainer import PLAIN, OnStep, Run, Trainer
from samplers.fomo import SIZES, FoMo

Measured = Sequence[tuple[Source, Region]]
FEWEST = 3  # locations that a city must have been measured at to have a level model of its own
PRIOR_CELLS = 48.0  # how many cells of a city the start counts for in a fine-tuning; chosen on Shandong and Nanchang


@dataclass(frozen=True)
class FoMoDesign:
    """What is built. size: a key of `samplers.fomo.SIZES`. token: cells, cells, steps per token (FoMo eq. 4)."""

    size: str = "1m"
    token: tuple[int, int, int] = (1, 1, 16)
    prediction_type: str = "v_prediction"
    dropout: float = 0.0


def fit_fomo(
    data: Measured,
    *,
    design: FoMoDesign | None = None,
    plan: FoMoPlan | None = None,
    run: Run = PLAIN,
    group: ProcessGroup = ALONE,
) -> tuple[FoMoBundle, dict[str, Any]]:
    """Pre-train on all masks and all regions. Returns the bundle, without provenance, and what is worth telling.

    group: the processes that train together; each gets the whole result.
    Raises WrongUse for two regions of one name or a size that does not exist, BadInput for series that are too short.
    """
    design, plan = design or FoMoDesign(), plan or FoMoPlan()
    if design.size not in SIZES:
        raise WrongUse(f"--size {design.size}: choose one of {', '.join(SIZES)}")
    names = [region.network for _, region in data]
    if len(set(names)) < len(names):
        raise WrongUse(f"networks must differ by name, these are {', '.join(names)}")
    levels = _levels(data)
    weeks, told = _weeks(data)
    regions = [replace(placed(region, source, levels), week=told.get(region.network)) for source, region in data]
    scale = fit_scale_of(regions)
    torch.manual_seed(plan.seed)
    model = FoMo(
        **SIZES[design.size],
        token=design.token,
        poi_dim=POI_DIM,
        networks=len(regions),
        cadences=CADENCES,
        dropout=design.dropout,
        prediction_type=design.prediction_type,
    ).to(group.device)
    task = FoMoTask(model, regions, scale, plan)
    trainer = trainer_of(task, run.checkpoint, fingerprint(regions, asdict(design)), group)
    metadata = {"design": asdict(design), **_run(trainer, run.on_step)}
    _measure(model, regions, scale, plan)
    return FoMoBundle(model, scale, levels, weeks=weeks), metadata


def finetune_fomo(
    bundle: FoMoBundle,
    data: Measured,
    *,
    plan: FoMoPlan,
    run: Run = PLAIN,
) -> tuple[FoMoBundle, dict[str, Any]]:
    """Align a pre-trained FoMo with the context of its own or of further regions (FoMo section 3.4).

    A region that the model does not know becomes a network of its own: an index that starts as that of no network, its
    usual week, its traffic per user and, of FEWEST locations or more, its level model: what one or two locations carry
    says less of the others than the law that holds where nobody measured. With plan.frozen only adaLN, the context
    modules and the decoder are trained. run: where it resumes from, who is told of its steps, and the device.

    The mean week of one or two locations, and weights that were trained on them alone, are worse for the rest of the
    city than the start. So on n cells both go n / (n + PRIOR_CELLS) of the way from the start (for weights: Wortsman et
    al., "Robust fine-tuning of zero-shot models", CVPR 2022).
    """
    new = [pair for pair in data if pair[1].network not in bundle.networks]
    bundle = _grown(bundle, new) if new else bundle
    told = _weeks([pair for pair in data if pair[1].network in bundle.weeks.networks])[1]
    regions = [replace(placed(region, source, bundle.levels), week=told.get(region.network)) for source, region in data]
    task = FoMoTask(bundle.model.to(run.device), regions, bundle.scale, plan)
    learned = {id(weights) for weights in task.weights}
    named = task.model.named_parameters()
    start = {name: weights.detach().cpu().clone() for name, weights in named if id(weights) in learned}
    metadata = _run(trainer_of(task, run.checkpoint, fingerprint(regions, bundle.sha256)), run.on_step)
    share = _trust(data)
    with torch.no_grad():
        for name, weights in bundle.model.named_parameters():  # on the CPU again, and perhaps other tensors
            if name in start:
                weights.lerp_(start[name], 1 - share)
    metadata["towards_start"] = round(1 - share, 4)
    _measure(bundle.model, regions, bundle.scale, plan)
    return bundle, metadata


def few(pair: tuple[Source, Region], share: float, seed: int) -> tuple[Source, Region]:
    """A share of the blocks of a region, one at least: what a few-shot run may see. Raises WrongUse for a share <= 0.

    Blocks are those that cover the region; those of one location count as one, so that the rest is unseen ground.
    """
    if not 0 < share <= 1:
        raise WrongUse(f"--few {share:.0%}: give more than 0% and at most 100%")
    source, region = pair
    places = np.unique(region.location)
    count = max(1, round(share * len(places)))
    chosen = np.random.default_rng((seed, len(places))).permutation(places)[:count]
    keep = np.flatnonzero(np.isin(region.location, chosen))
    return source.only(keep), region.only(keep)


def fingerprint(regions: Sequence[Region], design: Any) -> str:
    """What a checkpoint belongs to: a hash of the training data and of the design."""
    digest = hashlib.sha256(json.dumps(design, sort_keys=True, default=list).encode())
    for region in regions:
        digest.update(region.network.encode() + region.values.tobytes() + region.blocks.tobytes())
        for part in (region.users, region.poi, region.week):
            digest.update(b"none" if part is None else part.tobytes())
    return digest.hexdigest()


def parse_patch(text: str) -> tuple[int, int, int]:
    """Cells, cells and steps per token from "1,1,16". Raises WrongUse for sides that a block is not made of."""
    parts = [part.strip() for part in text.split(",")]
    if len(parts) == 3 and all(part.isdecimal() and int(part) > 0 for part in parts):
        height, width, steps = (int(part) for part in parts)
        if not (SIDE % height or SIDE % width or WINDOW % steps):
            return height, width, steps
    raise WrongUse(
        f"--patch {text}: give cells, cells and steps of a token, that a block of {SIDE} x {SIDE} cells and {WINDOW} "
        "steps is made of, such as 1,1,16 or 2,2,8"
    )


def parse_share(text: str) -> float:
    """`5%`, `5` or `0.05` as a share, 0.05: what is above 1 is percent. Raises WrongUse."""
    try:
        share = float(text.removesuffix("%"))
        return share / 100 if text.endswith("%") or share > 1 else share
    except ValueError:
        raise WrongUse(f"--few {text}: give a share such as 5%") from None


def _run(trainer: Trainer[FoMoTask], on_step: OnStep | None) -> dict[str, Any]:
    """Train the model of the task, ready to draw, and what is worth telling of it."""
    task, began = trainer.task, clock.monotonic()
    trainer.train(on_step)
    trainer.finish().requires_grad_(True).cpu()
    return {
        "processes": trainer.group.size,
        "machine": machine(),
        "threads": torch.get_num_threads(),
        "minutes": round((clock.monotonic() - began) / 60, 2),
        "steps": trainer.step,
        "loss": trainer.losses,
        "plan": asdict(task.plan),
        "parameters": sum(p.numel() for p in task.model.parameters()),
        "trained_parameters": sum(p.numel() for p in task.weights),
    }


def _measure(model: FoMo, regions: Sequence[Region], scale: FoMoScale, plan: FoMoPlan) -> None:
    """Have the model draw, and be saved, with the spectrum of what it leaves open."""
    model.rest = fit_fomo_spectrum(model, regions, scale, plan)
    model.register_to_config(rest=model.rest)


def _trust(data: Measured) -> float:
    """How far what is learned from these cells is believed, beside what was there before: 0 to 1."""
    cells = sum(len(region.values) for _, region in data)
    return cells / (cells + PRIOR_CELLS)


def _weeks(data: Measured) -> tuple[ExpectedWeeks, dict[str, Floats]]:
    """The weeks that places tell, by network, and of networks whose places are known what is told of each cell when its
    location is left out, (cells, 168): of a place that nobody measured, which the model is to learn to depart from."""
    found = {source.network: fit_week(source) for source, _ in data}
    weeks = ExpectedWeeks({name: week for name, (week, _) in found.items()})
    told = {name: usual_weeks(left_out) for name, (week, left_out) in found.items() if week.places is not None}
    return weeks, told


def _levels(data: Measured) -> LevelModel:
    with_places = [source for source, _ in data if source.places is not None]
    return fit_levels([measured_cells(s) for s in with_places], inflate=INFLATE) if with_places else LevelModel({})


def _grown(bundle: FoMoBundle, new: Measured) -> FoMoBundle:
    """The bundle with an index, a usual week and a level model for further regions."""
    known = bundle.levels
    added = _levels([pair for pair in new if len(np.unique(pair[1].location)) >= FEWEST])
    levels = replace(known, networks={**known.networks, **added.networks})
    theirs = fit_scale_of([region for _, region in new])
    old = bundle.scale
    weeks = [
        old.week[0] + _trust([pair]) * (week - old.week[0]) for pair, week in zip(new, theirs.week[1:], strict=True)
    ]
    scale = FoMoScale(
        old.mean,
        old.spread,
        np.stack([*old.week, *weeks]),
        np.concatenate([old.per_user, theirs.per_user[1:]]),
        (*old.networks, *theirs.networks),
    )
    config = {key: value for key, value in bundle.model.config.items() if not key.startswith("_")}
    model = FoMo(**{**config, "networks": len(scale.networks)})
    weights = bundle.model.state_dict()
    rows = weights["of_network.weight"]
    weights["of_network.weight"] = torch.cat([rows, rows[:1].expand(len(new), -1)])
    model.load_state_dict(weights)
    return replace(bundle, model=model, scale=scale, levels=levels)


def split(pair: tuple[Source, Region], folds: int, fold: int, seed: int) -> tuple[Any, Any]:
    """((source, region) to train on, the same held out), by location. Raises WrongUse for too few locations."""
    from gentraffic.dataset.splits import p1_folds

    keep, held = p1_folds(pair[0].location, folds, seed)[fold]

    def part(cells: NDArray[np.intp]) -> tuple[Source, Region]:
        return pair[0].only(cells), pair[1].only(cells)

    return part(keep), part(held)
