"""What a sampler of weeks is trained on: windows of measured cells, and what their condition suffers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gentraffic.errors import WrongUse
from gentraffic.generators.weekly import time_of_windows
from gentraffic.modelling.expected_week import LEAST_AMPLITUDE, Amplitude, fit_amplitude, from_monday
from gentraffic.modelling.features import LEAST_MEAN, Floats, Scaler, WeeklyProfile
from gentraffic.modelling.levels import LevelModel
from gentraffic.modelling.measured import Source
from gentraffic.modelling.services import Services
from gentraffic.modelling.weekly_profile import cell_weeks, other_cells, profile_week
from gentraffic.training.checkpoint import Checkpoint
from gentraffic.training.processes import ALONE, ProcessGroup
from gentraffic.training.trainer import Schedule, Trainer, TrainingTask, Turn
from samplers import WEEK, Condition, Sampler

Windows = tuple[Tensor, Condition, torch.Generator]  # x (B, 168 k), what is known of them, the generator of their noise
Trained = TypeVar("Trained", bound=TrainingTask[Any])
CHECK_BATCHES = 8
GIVEN_SHARE = 0.35  # of the training windows start with days that are given, so that windows can follow each other
SERVICE_SHARE = 0.5  # of the weight of its network's main service that a further service has
CADENCE_WEIGHT = {1: 0.7, 2: 0.14, 4: 0.08, 6: 0.08}


@dataclass(frozen=True)
class Plan:
    """What is trained for how long. Restraint is on purpose: larger networks remember the few locations there are.

    place_noise, place_keep, level_noise, level_keep, network_keep: what the condition suffers in training, so that no
    single place can be recognised by it, and so that each part may be absent. profile_keep: the share of windows that
    are told the cell's other weeks, where it has any; 0 for a model that takes no past.
    """

    steps: int = 3200
    batch: int = 64
    learning_rate: float = 3e-3
    warmup: int = 200
    weight_decay: float = 0.01
    beta1: float = 0.9
    beta2: float = 0.99
    ema: float = 0.998
    place_noise: float = 0.7
    place_keep: float = 0.5
    level_noise: float = 0.3
    level_keep: float = 0.9
    network_keep: float = 0.9
    profile_keep: float = 0.0
    check_every: int = 250
    patience: int = 6
    seed: int = 0


def plan_of_class(kind: type[Sampler], *, own_level: bool = False) -> Plan:
    """How a class of samplers is trained unless one says otherwise. own_level: it draws levels too.

    Raises WrongUse for a field that a plan does not have."""
    known = {**kind.plan, **(kind.plan_own_level if own_level else {})}
    fields = Plan.__dataclass_fields__
    for name in known:
        if name not in fields:
            raise WrongUse(f"{kind.__module__}: {kind.__name__}.plan has {name!r}, not one of {', '.join(fields)}")
    return replace(Plan(), **cast(dict[str, Any], known))


@dataclass(frozen=True)
class Prepared:
    """A source as the loop takes it: embedding (cells, P), standardised level (cells,), network index, weight.

    spread: of the log levels, by which they were standardised. others: (cells, 7, 24) the mean week of
    the other cells of the network (`modelling.weekly_profile.other_cells`).
    expected: (cells, 168) what is taken from scaled weeks, Monday first (`modelling.expected_week`); None: nothing.
    up_to: (cells,) how often a window is of a cell or of one before it; None: of each alike.
    service, scaler: the number of a further service (0: the main one), and its scaling (None: that of the main one).
    amplitude: (cells,) how far scaled weeks depart from what is expected of them, by which departures are divided, and
    law: how the network is told of it; None: departures are what they are.
    """

    source: Source
    place: NDArray[np.float32]
    level: NDArray[np.float32]
    network: int
    weight: float
    spread: float = 1.0
    others: Floats | None = None
    expected: NDArray[np.float32] | None = None
    up_to: Floats | None = None
    service: int = 0
    scaler: Scaler | None = None
    amplitude: Floats | None = None
    law: Amplitude | None = None

    def one(self, rng: np.random.Generator) -> int:
        """A random cell."""
        cells = len(self.source.ratio)
        if self.up_to is None:
            return int(rng.integers(cells))
        return min(int(np.searchsorted(self.up_to, rng.random(), side="right")), cells - 1)

    def network_and_others(self, cell: int, usual: WeeklyProfile | None, *, named: bool) -> tuple[str, Floats | None]:
        """The network of a cell and the mean week of others, (7, 24), as `profile_week` takes them in training.

        Where the network is not named, "" and the mean week of the other networks, if there are any."""
        elsewhere = None if named or usual is None else usual.elsewhere(self.source.network)
        own = None if self.others is None else self.others[cell]
        return self.source.network if named else "", own if elsewhere is None else elsewhere


def source_weights(sources: Sequence[Source]) -> Floats:
    """How often each source is drawn from: the root of its locations; without POIs, half the median of the others; a
    further service SERVICE_SHARE of that."""
    root = np.array([np.sqrt(len(np.unique(s.location))) for s in sources], dtype=np.float64)
    placed = np.array([s.places is not None for s in sources])
    if placed.any():
        root[~placed] = np.median(root[placed]) / 2
    root[[s.service != "" for s in sources]] *= SERVICE_SHARE
    weights: Floats = root / root.sum()
    return weights


def batch_of(
    prepared: Sequence[Prepared], time: Tensor, scaler: Scaler, plan: Plan, step: int, *, noisy: bool = True
) -> Windows:
    """The windows of one step, all of one cadence: x (B, 168 k), what is known of them, and the step's generator.

    time: (168, Q) time embedding of the hours of a week, Monday first.
    """
    rng = np.random.default_rng((plan.seed, step, 0 if noisy else 1))
    able = {k for p in prepared for k in p.source.cadences}
    weights = np.array([CADENCE_WEIGHT[k] if k in able else 0.0 for k in CADENCE_WEIGHT])
    k = int(rng.choice(list(CADENCE_WEIGHT), p=weights / weights.sum())) if noisy else 1
    usable = [p for p in prepared if k in p.source.cadences]
    share = np.array([p.weight for p in usable])
    chosen = rng.choice(len(usable), plan.batch, p=share / share.sum())
    rows: list[NDArray[np.float32]] = []
    place, level, network, weekday, profile, expected, service = [], [], [], [], [], [], []
    size, told = [], []
    for which in chosen:
        p = usable[which]
        named = not noisy or rng.random() < plan.network_keep
        days = p.source.ratio.shape[1]
        cell, day = p.one(rng), int(rng.integers(days - 6))
        days_of = (p.source.ratio if named else p.source.clean)[cell]
        series = days_of[day : day + 7].reshape(-1)
        mean = own = 1.0
        if plan.profile_keep:
            known = p.network_and_others(cell, scaler.usual, named=named)
            past, mean = past_of(
                days_of, p.source.weekday, day, k, scaler, plan.profile_keep, rng if noisy else None, known
            )
            if past[1].any():  # how a week's level drifts is not for the network to learn: see `fitting.fit_drift`
                own = max(float(series.mean()), LEAST_MEAN)
            profile.append(past)
        rows.append(series.reshape(WEEK * k, -1).mean(axis=1) / own)
        place.append(p.place[cell])
        level.append(p.level[cell] + np.log(mean) / p.spread)
        network.append(p.network if named else 0)
        weekday.append((p.source.weekday + day) % 7)
        expected.append(np.zeros(WEEK, dtype=np.float32) if p.expected is None else p.expected[cell])
        service.append(p.service)
        size.append(1.0 if p.amplitude is None else p.amplitude[cell])
        told.append(0.0 if p.law is None else float(p.law.standard(np.log(np.float64(size[-1])))))
    scalers = {p.service: p.scaler or scaler for p in usable}
    whole = _scaled(scalers, np.array(service), np.stack(rows), np.array(level))
    apart = whole - from_monday(np.stack(expected), np.array(weekday), k)
    apart[:, ::k] /= np.array(size, dtype=np.float32)[:, None]  # of hours: within them traffic has unit variance
    x = torch.from_numpy(apart)
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    f_s = torch.from_numpy(np.stack(place))
    z = torch.tensor(level, dtype=torch.float32)
    amplitude = torch.tensor(told, dtype=torch.float32) if any(p.law for p in usable) else None
    has = (~z.isnan()).float()
    z = z.nan_to_num()
    if noisy:
        b = plan.batch
        kept = (torch.rand(b, 1, generator=generator) < plan.place_keep).float()
        f_s = (f_s + plan.place_noise * torch.randn(f_s.shape, generator=generator)) * kept
        has = has * (torch.rand(b, generator=generator) < plan.level_keep).float()
        z = z + plan.level_noise * torch.randn(b, generator=generator)
        if amplitude is not None:
            amplitude = amplitude + plan.level_noise * torch.randn(b, generator=generator)
    known = None
    if noisy and rng.random() < GIVEN_SHARE:
        given_days = torch.from_numpy(rng.integers(0, 7, plan.batch))  # 0: nothing is given
        hour = torch.arange(WEEK * k)[None, :] // (24 * k)
        known = torch.where(hour < given_days[:, None], x, torch.full_like(x, torch.nan))
    condition = Condition(
        place=f_s,
        time=time_of_windows(time, torch.tensor(weekday), k),
        level=torch.stack([z * has, has], dim=1),
        network=torch.tensor(network),
        known=known,
        profile=torch.from_numpy(np.stack(profile)) if profile else None,
        service=torch.tensor(service) if any(service) else None,
        amplitude=amplitude,
    )
    return x, condition, generator


def _scaled(
    scalers: Mapping[int, Scaler], service: NDArray[np.int64], rows: NDArray[np.float32], level: NDArray[Any]
) -> NDArray[np.float32]:
    """Ratios (B, 168 k) as the network sees them, each by the scaler of its service (B,). level: (B,)."""
    if len(scalers) == 1:
        return next(iter(scalers.values())).forward(rows, level)
    out = np.empty_like(rows)
    for number in np.unique(service):
        mine = service == number
        out[mine] = scalers[int(number)].forward(rows[mine], level[mine])
    return out


def past_of(
    days: NDArray[np.float32],
    weekday: int,
    day: int,
    per_hour: int,
    scaler: Scaler,
    keep: float,
    rng: np.random.Generator | None,
    known: tuple[str, Floats | None] = ("", None),
) -> tuple[NDArray[np.float32], float]:
    """What a window from `day` on is told of the cell's other days (D, 24 j), and their mean: (2, 168 k), scalar.

    Without `rng` all other days are told; with it, those of one, two or three weeks, in the share `keep` of cases.
    Zeros, and 1, where nothing is told. known: a network and the mean week of
    others (7, 24), see `Prepared.network_and_others`.
    """
    from gentraffic.modelling.history import as_profile, mean_week

    other = np.ones(len(days), dtype=bool)
    other[day : day + 7] = False
    if rng is not None:
        kept, most = rng.random() < keep, int(rng.integers(1, 4))
        at = rng.permutation(np.flatnonzero(other))
        rank = np.array([np.sum((at[:i] - at[i]) % 7 == 0) for i in range(len(at))], dtype=np.int64)
        other[at[rank >= most]] = False
        other &= kept
    mean = float(days[other].mean()) if other.any() else 0.0
    if mean < LEAST_MEAN:
        return np.zeros((2, WEEK * per_hour), dtype=np.float32), 1.0
    week, count = mean_week(days, weekday, other)
    week = week[None] / mean
    if scaler.usual is not None:
        week = profile_week(week, count, scaler.usual, *known)
    return as_profile(week, count, (weekday + day) % 7, per_hour, scaler)[0], mean


@dataclass
class SamplerTask:
    """A sampler of weeks, on measured windows. validation: held-out cells, which score it; none for no score.

    time: (168, time_dim) embeddings of the hours of a week."""

    model: Sampler
    prepared: Sequence[Prepared]
    validation: Sequence[Prepared]
    time: Tensor
    scaler: Scaler
    plan: Plan

    @cached_property
    def weights(self) -> list[nn.Parameter]:
        """All of the network."""
        return list(self.model.parameters())

    @property
    def averaged(self) -> list[nn.Parameter]:
        """The weights."""
        return self.weights

    def batch(self, step: int) -> Windows:
        """See `batch_of`; on the device of the network."""
        return self._moved(batch_of(self.prepared, self.time, self.scaler, self.plan, step))

    def _moved(self, windows: Windows) -> Windows:
        """The same windows where the network is; their noise is drawn on the CPU, so it is the same everywhere."""
        x, condition, generator = windows
        device = self.weights[0].device
        return x.to(device), condition.to(device), generator

    def turns(self) -> list[Turn[Windows]]:
        """Those of the sampler."""
        return [Turn(partial(_loss, turn.loss), turn.parameters) for turn in self.model.turns()]

    def score(self) -> float | None:
        """The mean over eight batches of held-out cells: the same windows and noise every time."""
        if not self.validation:
            return None
        total = 0.0
        for i in range(CHECK_BATCHES):
            windows = batch_of(self.validation, self.time, self.scaler, self.plan, i, noisy=False)
            x, condition, generator = self._moved(windows)
            total += float(self.model.score(x, condition, generator))
        return total / CHECK_BATCHES


def _loss(loss: Callable[[Tensor, Condition, torch.Generator], Tensor], batch: Windows) -> Tensor:
    return loss(*batch)


def trainer_of(
    task: Trained, plan: Plan, checkpoint: Path | None, fingerprint: str, group: ProcessGroup = ALONE
) -> Trainer[Trained]:
    """The loop for a task with this plan. fingerprint: of the data and the design."""
    optimiser = torch.optim.AdamW(
        task.weights, lr=plan.learning_rate, weight_decay=plan.weight_decay, betas=(plan.beta1, plan.beta2)
    )
    schedule = Schedule(
        plan.steps, plan.learning_rate, plan.warmup, plan.ema, plan.check_every, plan.seed, patience=plan.patience
    )
    identity = {"plan": asdict(plan), "fingerprint": fingerprint}
    return Trainer(task, schedule, optimiser, Checkpoint(checkpoint, identity), group=group)


def prepare(
    sources: Sequence[Source],
    embed: Callable[[Source], NDArray[np.float32]],
    levels: LevelModel | None,
    networks: Sequence[str],
    place_dim: int,
    expected: Mapping[str, NDArray[np.float32]] | None = None,
    services: Services | None = None,
) -> list[Prepared]:
    """Sources with their conditions: zeros and nan where a source has no context; levels None: no level is told.

    networks: names of all that has an index in the network, further services behind the main one. expected: network ->
    (cells, 168) `Prepared.expected`. services: the further ones.
    """
    out = []
    for source, weight in zip(sources, source_weights(sources), strict=True):
        cells = len(source.ratio)
        place = np.zeros((cells, place_dim), dtype=np.float32) if source.places is None else embed(source)
        level = np.full(cells, np.nan, dtype=np.float32)
        spread = 1.0
        if source.places is not None and levels is not None:
            mean, spread = level_scale(source, levels, services)
            level = ((np.log(source.level) - mean) / spread).astype(np.float32)
        number = networks.index(source.network) + 1
        out.append(Prepared(source, place, level, number, float(weight), spread, other_cells(source)))
        if expected is not None:
            out[-1] = replace(out[-1], expected=expected[source.network], up_to=by_location(source.location))
        if source.service and services is not None:
            service, scaler = services.index(source.service), services.scalers[source.service]
            out[-1] = replace(out[-1], service=service, scaler=scaler)
    return out


def departing(p: Prepared, scaler: Scaler, law: Amplitude | None = None) -> Prepared:
    """The same source with the amplitudes of its cells and their law, or another one; as it is where no week is
    expected of them."""
    if p.expected is None or p.up_to is None:
        return p
    amplitude, share = np.exp(log_amplitudes(p.source, p.scaler or scaler, p.expected)), np.diff(p.up_to, prepend=0.0)
    own = law or fit_amplitude(np.log(amplitude), p.level, share)
    # what is expected has no error in the mean over cells, but would have one over amplitudes, as cells that depart
    # little then count more: the network is not to learn that
    lean = np.average(mean_departures(p, scaler) / amplitude[:, None], axis=0, weights=share)
    expected = (p.expected + amplitude[:, None] * lean).astype(np.float32)
    return replace(p, amplitude=amplitude, law=own, expected=expected)


def mean_departures(p: Prepared, scaler: Scaler) -> Floats:
    """By what the scaled weeks of cells depart from what is expected of them, Monday first: (cells, 168)."""
    assert p.expected is not None
    week = np.maximum(cell_weeks(p.source).reshape(-1, WEEK), 0.0)
    out: Floats = (p.scaler or scaler).forward(week).astype(np.float64) - p.expected
    return out


def log_amplitudes(source: Source, scaler: Scaler, expected: NDArray[np.float32]) -> Floats:
    """Logs of the root mean squares by which the scaled whole weeks of cells depart from what is expected: (cells,).

    expected: (cells, 168), Monday first."""
    hours = source.ratio.reshape(*source.ratio.shape[:2], 24, source.per_hour).mean(axis=3)
    own = from_monday(expected, np.full(len(expected), source.weekday), 1)
    weeks = [scaler.forward(hours[:, day : day + 7].reshape(-1, WEEK)) - own for day in range(0, hours.shape[1] - 6, 7)]
    square = np.nanmean([(week.astype(np.float64) ** 2).mean(axis=1) for week in weeks], axis=0)
    out: Floats = np.log(np.maximum(np.sqrt(np.nan_to_num(square)), LEAST_AMPLITUDE))
    return out


def by_location(location: NDArray[np.int64]) -> Floats:
    """How often a window is of a cell or of one before it: (cells,), the last 1. A location counts with the root of its
    cells: a block of a hundred is a part of a town, not most of it. location: (cells,)."""
    number = np.unique(location, return_inverse=True)[1].ravel()
    share = 1 / np.sqrt(np.bincount(number)[number])
    out: Floats = np.cumsum(share / share.sum())
    return out


def level_scale(source: Source, levels: LevelModel, services: Services | None) -> tuple[float, float]:
    """Mean and spread of the log levels of a source, by which they are standardised."""
    part = levels.networks[source.place_network]
    if not source.service or services is None:
        return part.mean, part.spread
    ratio = services.networks[source.place_network].ratios[source.service]
    return part.mean + ratio.mean, ratio.level_spread
