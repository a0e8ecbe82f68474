"""What FoMo is pre-trained and fine-tuned on: windows of blocks of cells, each with a mask and a context of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gentraffic.errors import BadInput
from gentraffic.generators.fomo.data import CADENCES, POI_DIM, SIDE, Region, cadences_of
from gentraffic.generators.fomo.scale import FoMoContext, FoMoScale, condition_of, echo_of, refer, usual_at
from gentraffic.modelling.features import WEEK
from gentraffic.training.checkpoint import Checkpoint
from gentraffic.training.processes import ALONE, ProcessGroup
from gentraffic.training.trainer import Schedule, Trainer, Turn
from samplers.fomo import FoMo, FoMoCondition
from samplers.masks import MASKS, known_tokens, values_known

WINDOW = 64  # steps (FoMo section 4.2)
NATIVE = 0.65  # of the windows are at the region's own cadence
PAST = 0.25  # of the forecasting windows come with the days before them, as a history that is longer than a window
PAST_DAYS = 7


@dataclass(frozen=True)
class FoMoPlan:
    """What is trained for how long, and what each window suffers so that one model serves every task.

    masks: how often each of `samplers.masks.MASKS` is drawn. users_keep, poi_keep, level_keep, network_keep: how often
    each part of the context is told. poi_noise, level_noise: standard deviation of noise on the POI features and on the
    standardised level, so that no single place can be recognised by them. bare_steps: the first ones, which learn from
    traffic alone: neither users nor POIs are told. contrast: weight of the negatives of eq. 16, 0 for none.
    """

    steps: int = 2000
    batch: int = 32
    learning_rate: float = 1e-3
    warmup: int = 100
    weight_decay: float = 0.02
    ema: float = 0.997
    masks: tuple[float, float, float, float] = (0.25, 0.2, 0.35, 0.2)
    users_keep: float = 0.5
    poi_keep: float = 0.7
    poi_noise: float = 0.5
    level_keep: float = 0.9
    level_noise: float = 0.3
    network_keep: float = 0.75
    bare_steps: int = 0
    contrast: float = 0.0
    negatives: int = 1
    frozen: bool = False
    check_every: int = 100
    seed: int = 0


@dataclass(frozen=True)
class FoMoWindows:
    """Windows of a step. x: (B, H, W, T) clean, nan where nothing exists. where: (B, 3) region, block, first hour."""

    x: Tensor
    scene: FoMoCondition
    where: NDArray[np.int64]
    step: int


def region_weights(regions: Sequence[Region]) -> NDArray[np.float64]:
    """How often each region is drawn from: the root of its locations."""
    root = np.sqrt([max(len(np.unique(r.location)), 1) for r in regions])
    out: NDArray[np.float64] = root / root.sum()
    return out


def ladder(region: Region) -> list[Region]:
    """The region at every cadence at which it fills a window, its own first. Raises BadInput where there is none."""
    regions = [r for r in cadences_of(region) if r.values.shape[1] >= WINDOW]
    if not regions:
        raise BadInput(
            f"{region.network}: {region.values.shape[1]} steps of {region.minutes} min; FoMo learns from windows of "
            f"{WINDOW} steps at {', '.join(map(str, CADENCES))} min: give a longer series or resample it"
        )
    return regions


def batch_of(
    ladders: Sequence[Sequence[Region]], scale: FoMoScale, plan: FoMoPlan, step: int, token: int
) -> FoMoWindows:
    """The windows of one step, each with a mask, a cadence and a context of its own. ladders: see `ladder`."""
    rng = np.random.default_rng((plan.seed, step))
    if step < plan.bare_steps:
        plan = replace(plan, users_keep=0.0, poi_keep=0.0)
    weights = region_weights([able[0] for able in ladders])
    windows: list[FoMoContext] = []
    truth, where = [], []
    while len(windows) < plan.batch:
        which = int(rng.choice(len(ladders), p=weights))
        able = ladders[which]
        region = able[0] if rng.random() < NATIVE else able[int(rng.integers(len(able)))]
        block = int(rng.integers(len(region.blocks)))
        start = int(rng.integers(region.values.shape[1] - WINDOW + 1))
        named = rng.random() < plan.network_keep
        whole = _suffer(window(region, scale, block, start, named=named), plan, rng)
        cells = region.blocks[block].ravel() >= 0
        kind = MASKS[int(rng.choice(len(MASKS), p=plan.masks))]
        known = np.zeros((SIDE * SIDE, WINDOW // token), dtype=bool)
        known[cells] = known_tokens(kind, whole.xy_m[0].reshape(-1, 2)[cells], WINDOW // token, rng)
        past = None
        if kind in ("short", "long") and rng.random() < PAST:
            first = max(0, start - PAST_DAYS * 1440 // region.minutes)
            past = region.values[region.blocks[block][region.blocks[block] >= 0], first:start]
        windows.append(
            masked(whole, values_known(known, token).reshape(SIDE, SIDE, WINDOW), scale, region.spread, past)
        )
        truth.append(whole.values)
        where.append((which, block, int(start * region.minutes // 60)))
    shown = stack(windows)
    ratio = np.nan_to_num(np.concatenate(truth)) / np.nan_to_num(shown.reference, nan=1.0)[..., None]
    x = scale.forward(ratio, shown.usual)
    x = np.where(shown.exists, x, np.nan).astype(np.float32)
    return FoMoWindows(torch.from_numpy(x), condition_of(shown, scale), np.array(where), step)


def masked(
    window: FoMoContext,
    known: NDArray[np.bool_],
    scale: FoMoScale,
    spread: float,
    past: NDArray[np.float32] | None = None,
) -> FoMoContext:
    """One window (B = 1) under the mask `known` (H, W, T): everything in it follows from the known part alone.

    spread: of log levels, by which the window's z is standardised. past: (cells of the block, steps) what came just
    before the window, where that is told.
    """
    shown = np.where(known[None] & window.exists, window.values, np.nan)
    cells = window.exists.any(-1)
    reference, per_user = np.full(cells.shape, np.nan), np.full(cells.shape, np.nan)
    by_users = np.zeros(cells.shape, dtype=bool)
    reference[cells], per_user[cells], by_users[cells] = refer(
        shown[cells],
        window.users[cells],
        window.usual[cells],
        float(scale.per_user[window.network[0]]),
        window.reference[cells],
    )
    per_day = 1440 // int(window.minutes[0])
    before = np.empty((int(cells.sum()), 0)) if past is None else past
    hour = window.hour[0, 0] + np.arange(-before.shape[1], window.hour.shape[1]) * 24 / per_day
    weekly = usual_at(window.week[cells], hour)
    echo = np.full_like(window.values, np.nan)
    echo[cells] = echo_of(np.concatenate([before, shown[cells]], axis=1), weekly, per_day)[:, before.shape[1] :]
    return replace(
        window,
        values=shown.astype(np.float32),
        echo=echo,
        reference=reference,
        per_user=per_user,
        z=np.where(by_users, np.nan, window.z + np.log(reference / window.reference) / spread),
    )


def window(
    region: Region, scale: FoMoScale, block: int, start: int, steps: int = WINDOW, *, named: bool = True
) -> FoMoContext:
    """All that is known of one block of a region over `steps` steps (B = 1); `reference` is the cell's mean traffic.

    named: whether the network is told; without it, recording gaps are filled, which no other place must inherit.
    """
    cells = region.blocks[block]
    there = cells >= 0
    at = np.where(there, cells, 0)
    span = slice(start, start + steps)

    def blank(values: NDArray[Any]) -> NDArray[Any]:
        filled = values[at]
        return np.where(there.reshape(there.shape + (1,) * (filled.ndim - 2)), filled, np.nan)[None]

    shape, number = (1, SIDE, SIDE, steps), scale.number(region.network) if named else 0
    return FoMoContext(
        values=blank((region.values if named else region.clean)[:, span]),
        users=np.full(shape, np.nan, np.float32) if region.users is None else blank(region.users[:, span]),
        echo=np.full(shape, np.nan, np.float32),
        exists=np.broadcast_to(there[None, ..., None], shape).copy(),
        hour=region.hour[span][None],
        week=np.broadcast_to(scale.mean_week(number), (1, SIDE, SIDE, WEEK))
        if region.week is None or not named
        else np.where(there[..., None], region.week[at], 1.0)[None],
        minutes=np.array([region.minutes]),
        network=np.array([number]),
        xy_m=blank(region.xy_m),
        poi=np.full((1, SIDE, SIDE, POI_DIM), np.nan, np.float32) if region.poi is None else blank(region.poi),
        z=blank(region.z),
        reference=blank(region.level),
        per_user=np.full((1, SIDE, SIDE), np.nan),
    )


def stack(windows: Sequence[FoMoContext]) -> FoMoContext:
    """Several batches as one."""
    return FoMoContext(**{f.name: np.concatenate([getattr(t, f.name) for t in windows]) for f in fields(FoMoContext)})


def _suffer(one: FoMoContext, plan: FoMoPlan, rng: np.random.Generator) -> FoMoContext:
    """Parts of the context withheld or blurred, and the block mirrored."""
    poi = one.poi
    if rng.random() >= plan.poi_keep:
        poi = np.full_like(poi, np.nan)
    elif plan.poi_noise:
        poi = poi + plan.poi_noise * rng.standard_normal(poi.shape).astype(np.float32)
    users = one.users if rng.random() < plan.users_keep else np.full_like(one.users, np.nan)
    mirror = rng.choice([-1.0, 1.0], 2)
    kept = rng.random() < plan.level_keep
    z = one.z + (plan.level_noise * rng.standard_normal(one.z.shape) if kept else np.nan)
    return replace(one, poi=poi, users=users, z=z, xy_m=one.xy_m * mirror)


def others(where: NDArray[np.int64], negatives: int, rng: np.random.Generator) -> Tensor:
    """For each window the indices of other space-time blocks, -1 for none: (B, N).

    Windows of the same block count as other when their first hours are a day or more apart.
    where: (B, 3) region, block and first hour of each window.
    """
    count = len(where)
    out = np.full((count, negatives), -1)
    for i in range(count):
        same = (where[:, :2] == where[i, :2]).all(1) & (np.abs(where[:, 2] - where[i, 2]) < 24)
        allowed = np.flatnonzero(~same)
        take = min(negatives, len(allowed))
        out[i, :take] = rng.choice(allowed, take, replace=False)
    return torch.from_numpy(out)


class FoMoTask:
    """FoMo on regions, or with plan.frozen what of it is free."""

    def __init__(self, model: FoMo, regions: Sequence[Region], scale: FoMoScale, plan: FoMoPlan) -> None:
        """Raises BadInput for a region that is too short."""
        self.model, self.scale, self.plan = model, scale, plan
        self.ladders = [ladder(region) for region in regions]
        if plan.frozen:
            model.freeze()
        self.weights = [p for p in model.parameters() if p.requires_grad]

    @property
    def averaged(self) -> list[nn.Parameter]:
        """The weights that are trained."""
        return self.weights

    def batch(self, step: int) -> FoMoWindows:
        """See `batch_of`; on the device of the network."""
        windows = batch_of(self.ladders, self.scale, self.plan, step, self.model.token[2])
        device = self.weights[0].device
        return replace(windows, x=windows.x.to(device), scene=windows.scene.to(device))

    def turns(self) -> list[Turn[FoMoWindows]]:
        """One, of all weights."""
        return [Turn(self._loss, self.weights)]

    def score(self) -> float | None:
        """Nothing is held out."""
        return None

    def _loss(self, batch: FoMoWindows) -> Tensor:
        plan, model = self.plan, self.model
        generator = torch.Generator().manual_seed(plan.seed * 1_000_003 + batch.step)
        if not plan.contrast:
            return model.loss(batch.x, batch.scene, generator)
        rivals = others(batch.where, plan.negatives, np.random.default_rng((plan.seed, batch.step, 1)))
        return model.contrastive_loss(batch.x, batch.scene, rivals, generator, weight=plan.contrast)


def trainer_of(
    task: FoMoTask, checkpoint: Path | None = None, fingerprint: str = "", group: ProcessGroup = ALONE
) -> Trainer[FoMoTask]:
    """The loop for a task. fingerprint: of the data and the design."""
    plan = task.plan
    optimiser = torch.optim.AdamW(
        task.weights, lr=plan.learning_rate, weight_decay=plan.weight_decay, betas=(0.9, 0.99)
    )
    schedule = Schedule(plan.steps, plan.learning_rate, plan.warmup, plan.ema, plan.check_every, plan.seed)
    identity = {"plan": asdict(plan), "fingerprint": fingerprint}
    return Trainer(task, schedule, optimiser, Checkpoint(checkpoint, identity), group=group)
