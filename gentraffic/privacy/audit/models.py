"""Membership inference from a model: its loss on every cell, and LiRA, which compares that with shadow models.

A cell's loss is its mean denoising error over fixed steps and fixed noise (the same for every cell, so that only the
cell makes the difference) and over all its weeks.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from gentraffic.errors import BadInput, BadModel, WrongUse
from gentraffic.generators.folder import Bundle
from gentraffic.generators.weekly import one_thread, time_of_windows
from gentraffic.io.atomic import replacing
from gentraffic.modelling.expected_week import expected_of, from_monday
from gentraffic.modelling.measured import Source, read_source
from gentraffic.privacy.audit.records import Material
from gentraffic.privacy.audit.statistics import Attack, Floats, judge
from gentraffic.training.fitting import Design, fingerprint, fit_sampler
from gentraffic.training.sampler_task import Plan, plan_of_class
from samplers import WEEK, Condition, Denoiser
from samplers.diffusion import diffusion_target

if TYPE_CHECKING:
    import xarray as xr

LOSS, LIRA = "model loss", "LiRA"
NOISE_STEPS = 20  # steps of the diffusion, evenly spread, at which the loss is taken, each with one noise of its own
AT_ONCE = 256  # windows in one call of the network


@dataclass(frozen=True)
class Cells:
    """The real cells of both sides as a model takes them. member: (cells,) True for those of --train. rows: (cells,)
    which of the source's cells each is; groups: (cells,) what was drawn together, or None."""

    source: Source
    rows: NDArray[np.intp]
    member: NDArray[np.bool_]
    groups: NDArray[Any] | None

    def split(self, scores: Floats) -> tuple[Floats, Floats]:
        """Scores (source cells,) of members and of non-members."""
        mine = scores[self.rows]
        return mine[self.member], mine[~self.member]

    def split_groups(self) -> tuple[NDArray[Any], NDArray[Any]] | None:
        """The groups of members and of non-members."""
        return None if self.groups is None else (self.groups[self.member], self.groups[~self.member])


def read_cells(material: Material, train: xr.Dataset, holdout: xr.Dataset, context: xr.Dataset) -> Cells:
    """Both real files as one training source. Raises WrongUse where they share no times or `context` lacks cells."""
    import xarray as xr

    name = material.service
    parts = []
    for ds in (train, holdout):
        kept = [c for c in ds.coords if c in train.coords and c in holdout.coords]
        parts.append(ds[[name]].drop_vars([c for c in ds.coords if c not in kept]))
    first = np.intersect1d(parts[0]["time"].values, parts[1]["time"].values)
    if len(first) < 2:
        raise WrongUse("--train and --holdout share no time: with --model they must be cells of one period")
    parts = [part.sel(time=first) for part in parts]
    ids = [part["cell_id"].values.astype(str) for part in parts]
    if len(np.intersect1d(ids[0], ids[1])):
        raise WrongUse("--train and --holdout have cell ids in common: with --model every cell needs an id of its own")
    both = xr.concat(parts, "cell", coords="minimal", compat="override", combine_attrs="override", join="outer")
    source = read_source(both, [context], name)
    if source.places is None:
        raise WrongUse("--context does not hold the cells of --train and --holdout: give the one that fit was given")
    row_of = {cell: row for row, cell in enumerate(source.cell_id.astype(str).tolist())}
    rows, member, groups = [], [], []
    for part, side in ((material.train, True), (material.holdout, False)):
        for k, cell in enumerate(part.ids.tolist()):
            if cell in row_of:
                rows.append(row_of[cell])
                member.append(side)
                groups.append("" if part.groups is None else part.groups[k])
    named = None if material.train.groups is None else np.array(groups)
    return Cells(source, np.array(rows), np.array(member), named)


def cell_losses(bundle: Bundle, source: Source, seed: int = 0) -> Floats:
    """Mean denoising error of every cell of a source over NOISE_STEPS fixed steps and noises: (cells,).

    What the network predicts is scored as in training (STOUTER eq. 19), without dropout, hourly, in whole weeks; the
    condition is the place, the level (but for a model that draws it) and the network of the cell, nothing given. Raises
    BadModel for a model that does not denoise.
    """
    model = bundle.model
    if not isinstance(model, Denoiser):
        raise BadModel(f"a {bundle.sampler!r} model has no denoising loss, which the attacks on the model need")
    cells, days = source.ratio.shape[:2]
    weeks = days // 7
    condition = _condition(bundle, source, weeks)
    if bundle.scaler.own_level:  # its weeks hold the level, and nothing is told of it
        known = bundle.levels.networks.get(source.network)
        source = source.over(float(source.level.mean()) if known is None else known.mean_traffic)
        condition = replace(condition, level=torch.zeros_like(condition.level))
    hourly = source.ratio.reshape(cells, days, 24, source.per_hour).mean(axis=3)[:, : weeks * 7]
    whole = bundle.scaler.forward(hourly.reshape(cells * weeks, WEEK))
    expected = expected_of([source], bundle.weeks, bundle.scaler)
    if expected is not None:
        own = from_monday(expected[source.network], np.full(cells, source.weekday), 1)
        whole = whole - np.repeat(own, weeks, axis=0)
    x = torch.from_numpy(whole)
    top = model.noise.num_train_timesteps
    noise = torch.from_numpy(np.random.default_rng((seed, 2)).standard_normal((NOISE_STEPS, WEEK), dtype=np.float32))
    total = torch.zeros(len(x), dtype=torch.float64)
    with one_thread(), torch.inference_mode():
        for k in range(NOISE_STEPS):
            step = torch.full((1,), int((k + 0.5) / NOISE_STEPS * top))
            for at in range(0, len(x), AT_ONCE):
                some = slice(at, at + AT_ONCE)
                clean = x[some]
                t, eps = step.expand(len(clean)), noise[k].expand_as(clean)
                x_t, target = diffusion_target(model.noise, clean, eps, t)
                error = (model(x_t, t, condition.rows(some)) - target) ** 2
                total[some] += error.mean(dim=1).double()
    losses: Floats = (total / NOISE_STEPS).reshape(cells, weeks).mean(dim=1).numpy()
    return losses


def loss_attack(bundle: Bundle, cells: Cells, rng: np.random.Generator, seed: int = 0) -> Attack:
    """Score: minus the cell's loss (Yeom et al. 2018; for diffusion models Matsumoto et al. 2023)."""
    losses = cell_losses(bundle, cells.source, seed)
    members, others = cells.split(-losses)
    about = "the model's denoising error on the cell, fixed noise (Yeom et al. 2018; Matsumoto et al. 2023)"
    return judge(LOSS, about, members, others, rng, cells.split_groups())


def lira_attack(
    bundle: Bundle,
    cells: Cells,
    rng: np.random.Generator,
    *,
    shadows: int,
    steps: int,
    folder: Path,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Attack:
    """The likelihood-ratio attack with shadow models (Carlini et al. 2022, algorithm 1, one variance for all cells).

    Shadow models are of the target's own kind, design and plan, but `steps` steps long, each fitted on half of all
    real cells (two halves of one draw at a time, so that every cell is in half of them). They are kept in `folder`, and
    a later run goes on from there. Raises WrongUse for a folder of another audit.
    """
    target = -np.log(cell_losses(bundle, cells.source, seed))
    inside, scores = shadow_scores(
        cells, _design(bundle), _plan(bundle, steps, seed), shadows=shadows, folder=folder, seed=seed, progress=progress
    )
    members, others = cells.split(likelihood_ratio(target, scores, inside))
    about = f"loss against that of {shadows} shadow models of {steps} steps (Carlini et al. 2022)"
    return judge(LIRA, about, members, others, rng, cells.split_groups())


def likelihood_ratio(target: Floats, shadow: Floats, inside: NDArray[np.bool_]) -> Floats:
    """log N(target; cell trained on) - log N(target; cell not trained on): target (cells,).

    shadow, inside: (shadows, cells) scores of the shadow models, and whether each was trained on the cell.
    The means are the cell's own, the variances those of all cells together: with few shadows a cell's own variance is
    mostly chance (Carlini et al. 2022, section VI-D).
    """
    means, spreads = [], []
    for side in (inside, ~inside):
        count = side.sum(axis=0)
        mean = np.where(side, shadow, 0.0).sum(axis=0) / count
        means.append(mean)
        spreads.append(np.sqrt(np.where(side, (shadow - mean) ** 2, 0.0).sum() / (count - 1).sum()))
    z = [(target - mean) / max(spread, 1e-12) for mean, spread in zip(means, spreads, strict=True)]
    ratio: Floats = (z[1] ** 2 - z[0] ** 2) / 2 + np.log(max(spreads[1], 1e-12) / max(spreads[0], 1e-12))
    return ratio


def shadow_scores(
    cells: Cells,
    design: Design,
    plan: Plan,
    *,
    shadows: int,
    folder: Path,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[NDArray[np.bool_], Floats]:
    """(which cells each shadow model saw, minus log its loss on every cell), (shadows, source cells) each."""
    source, tell = cells.source, progress or (lambda done, of: None)
    identity = json.dumps([fingerprint([source], design), asdict(plan), seed])
    mark = hashlib.sha256(identity.encode()).hexdigest()
    if folder.exists() and not folder.is_dir():
        raise BadInput(f"{folder} is not a folder: give another --shadow-dir")
    folder.mkdir(parents=True, exist_ok=True)
    inside, scores = [], []
    for number in range(shadows):
        tell(number, shadows)
        path = folder / f"shadow-{number:03d}.json"
        if path.exists():
            seen, losses = _read_shadow(path, mark)
        else:
            seen = _half(len(source.ratio), number, seed)
            kept = replace(plan, seed=seed * 1_000 + number)
            shadow, _ = fit_sampler([source.only(np.flatnonzero(seen))], design=design, plan=kept)
            losses = cell_losses(shadow, source, seed)
            payload = {"mark": mark, "seen": seen.astype(int).tolist(), "losses": losses.tolist()}
            with replacing(path, (".json",)) as temporary:
                temporary.write_text(json.dumps(payload), encoding="utf-8")
        inside.append(seen)
        scores.append(-np.log(losses))
    tell(shadows, shadows)
    return np.stack(inside), np.stack(scores)


def _half(cells: int, number: int, seed: int) -> NDArray[np.bool_]:
    """Which half of the cells a shadow model sees: shadows 2 k and 2 k + 1 see the two halves of one draw."""
    order = np.random.default_rng((seed, 3, number // 2)).permutation(cells)
    seen = np.zeros(cells, dtype=bool)
    seen[order[: cells // 2] if number % 2 == 0 else order[cells // 2 :]] = True
    return seen


def _read_shadow(path: Path, mark: str) -> tuple[NDArray[np.bool_], Floats]:
    try:
        payload = json.loads(path.read_text(encoding="utf-8"))
        if payload["mark"] != mark:
            raise WrongUse(f"{path} belongs to another audit: give another --shadow-dir, or delete the folder")
        return np.array(payload["seen"], dtype=bool), np.array(payload["losses"], dtype=np.float64)
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise BadInput(f"{path}: not a shadow model's scores ({error}); delete it to fit it again") from error


def _design(bundle: Bundle) -> Design:
    """The target's own design, as its provenance tells it; else the usual one."""
    design = bundle.provenance.get("design")
    if not isinstance(design, dict):
        return Design(sampler=bundle.sampler, use_expected_week=bool(bundle.weeks.networks))
    known: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in design.items()}
    defaults = Design(use_expected_week=bool(bundle.weeks.networks))
    return replace(defaults, **{k: v for k, v in known.items() if k in Design.__dataclass_fields__})


def _plan(bundle: Bundle, steps: int, seed: int) -> Plan:
    """The target's own plan, as its provenance tells it, for as many steps; else the usual one of its sampler.

    A shadow that was held back from learning by heart says little of a target that was not.
    """
    stored = bundle.provenance.get("plan")
    known = {} if not isinstance(stored, dict) or "privacy" in bundle.provenance else stored
    plan = plan_of_class(type(bundle.model))
    plan = replace(plan, **{k: v for k, v in known.items() if k in Plan.__dataclass_fields__})
    return replace(plan, steps=steps, warmup=min(200, max(1, steps // 5)), check_every=max(1, steps), seed=seed)


def _condition(bundle: Bundle, source: Source, weeks: int) -> Condition:
    """What the model is told of every window of a source: cells x weeks rows."""
    assert source.places is not None
    cells = len(source.ratio)
    place = torch.from_numpy(bundle.place(source.places)[source.rows])
    known = bundle.levels.networks.get(source.network)
    if known is not None:
        level = (np.log(source.level) - known.mean) / known.spread
    else:
        level = bundle.levels.standard(replace(source.places, network=""), np.log(source.level / source.level.mean()))
    number = bundle.services.numbers("", bundle.networks).get(source.network, 0)
    given = torch.stack([torch.from_numpy(level.astype(np.float32)), torch.ones(cells)], dim=1)
    return Condition(
        place=place.repeat_interleave(weeks, dim=0),
        time=time_of_windows(bundle.time(), torch.tensor([source.weekday]), 1),
        level=given.repeat_interleave(weeks, dim=0),
        network=torch.full((cells * weeks,), number),
    )
