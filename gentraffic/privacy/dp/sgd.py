"""DP-SGD for STUNet (Abadi et al. 2016) with the cell as the unit: one clipped gradient per cell and step.

A cell's gradient is the mean over several windows of its days, each with noise and a diffusion step of its own
(noise multiplicity: Dockhorn et al. 2023); only then is it clipped, so that a cell counts once however often it is
drawn. Cells enter a step by Poisson sampling; the noisy sum is divided by the expected number of cells, a constant,
not by how many there were. Gradients per row come from Opacus' GradSampleModule. Nothing that happens to one cell
may depend on another: windows are drawn from a stream of the cell's own, a row's loss is a mean over that row, and
there is neither dropout nor batch normalisation.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from gentraffic.generators.weekly import time_of_windows
from gentraffic.modelling.expected_week import from_monday
from gentraffic.modelling.features import Scaler
from gentraffic.modelling.random_streams import cell_key
from gentraffic.privacy.dp.accounting import Mechanism, Privacy, Secret
from gentraffic.training.checkpoint import PRIVATE, Checkpoint
from gentraffic.training.processes import ProcessGroup
from gentraffic.training.sampler_task import GIVEN_SHARE, Prepared
from gentraffic.training.trainer import Schedule, Trainer, Turn
from samplers import WEEK, Condition, STUNet
from samplers.diffusion import diffusion_target

ROWS = 128  # that go through the network at once
CHECKPOINT_EVERY = 20  # steps
FULL_STEP_NOISE = 0.065  # noise multiplier / expected cells per step, up to which the learning rate stays


@dataclass(frozen=True)
class PrivatePlan:
    """What is trained for how long. batch: cells per step, expected. draws: windows per cell and step.

    learning_rate: lowered where the noise is above FULL_STEP_NOISE. The place's, level's and network's noise in the
    condition is that of `training.Plan`.
    """

    steps: int = 60
    batch: float = 128.0
    draws: int = 2
    learning_rate: float = 0.02
    momentum: float = 0.9
    ema: float = 0.95
    place_noise: float = 0.7
    place_keep: float = 0.5
    level_noise: float = 0.3
    level_keep: float = 0.9
    network_keep: float = 0.75
    seed: int = 0


@dataclass(frozen=True)
class Rows:
    """Windows of some cells, `draws` after each other per cell: x (R, 168), condition, steps t (R,), noise eps."""

    x: Tensor
    condition: Condition
    t: Tensor
    eps: Tensor


def sample_cells(secret: Secret, step: int, listed: int, rate: float) -> NDArray[np.int64]:
    """The cells of a step: each of the listed ones with probability `rate`, independently (Poisson sampling)."""
    return np.flatnonzero(secret.uniform("sample", step, listed) < rate)


def cell_rows(
    p: Prepared, cell: int, step: int, time: Tensor, scaler: Scaler, plan: PrivatePlan, train_steps: int
) -> Rows:
    """One cell's windows of a step: R = plan.draws. They depend on (seed, step, cell id) and on this cell alone.

    time: (168, Q) time embedding of the hours of a week, Monday first.
    """
    rng = np.random.default_rng((plan.seed, step, cell_key(p.source.cell_id[cell])))
    days = p.source.ratio.shape[1]
    n = plan.draws
    day = rng.integers(0, days - 6, n)
    named = rng.random(n) < plan.network_keep
    series = np.stack(
        [
            (p.source.ratio if of else p.source.clean)[cell, d : d + 7].reshape(-1)
            for d, of in zip(day, named, strict=True)
        ]
    )
    whole = scaler.forward(series.reshape(n, WEEK, -1).mean(axis=2))
    if p.expected is not None:
        whole = whole - from_monday(np.repeat(p.expected[cell][None], n, axis=0), (p.source.weekday + day) % 7, 1)
    amplitude = None
    if p.amplitude is not None and p.law is not None:  # of this cell alone; its law is public
        whole = whole / np.float32(p.amplitude[cell])
        told = p.law.standard(np.log(p.amplitude[cell : cell + 1])) + plan.level_noise * rng.standard_normal(n)
        amplitude = torch.from_numpy(told.astype(np.float32))
    x = torch.from_numpy(whole)
    kept = (rng.random((n, 1)) < plan.place_keep).astype(np.float32)
    place = (p.place[cell] + plan.place_noise * rng.standard_normal((n, p.place.shape[1]), dtype=np.float32)) * kept
    has = (rng.random(n) < plan.level_keep).astype(np.float32)
    level = p.level[cell] + plan.level_noise * rng.standard_normal(n, dtype=np.float32)
    given = np.where(rng.random(n) < GIVEN_SHARE, rng.integers(0, 7, n), 0)  # days that are given, 0: none
    hour = torch.arange(WEEK)[None, :] // 24
    spread = (rng.random() + np.arange(n)) / n  # diffusion steps evenly over the schedule, for less variance
    condition = Condition(
        place=torch.from_numpy(place.astype(np.float32)),
        time=time_of_windows(time, torch.from_numpy((p.source.weekday + day) % 7), 1),
        level=torch.from_numpy(np.stack([level * has, has], axis=1).astype(np.float32)),
        network=torch.from_numpy(np.where(named, p.network, 0)),
        known=torch.where(hour < torch.from_numpy(given)[:, None], x, torch.full_like(x, torch.nan)),
        amplitude=amplitude,
    )
    t = torch.from_numpy(np.floor(spread % 1.0 * train_steps).astype(np.int64))
    return Rows(x, condition, t, torch.from_numpy(rng.standard_normal((n, WEEK), dtype=np.float32)))


def row_losses(model: STUNet, rows: Rows) -> Tensor:
    """The loss of each row by itself, the mean over its steps that are not given: (R,) (STOUTER eq. 19)."""
    known = rows.condition.known
    assert known is not None
    given = ~known.isnan()
    x_t, target = diffusion_target(model.noise, rows.x, rows.eps, rows.t)
    answer = model(torch.where(given, known.nan_to_num(), x_t), rows.t, rows.condition)
    error = functional.mse_loss(answer, target, reduction="none") * ~given
    return error.sum(dim=1) / (~given).sum(dim=1)


def cell_gradients(turn: Turn[Rows], rows: Rows, draws: int) -> list[Tensor]:
    """The gradient of each cell's loss, the mean over its draws: one (cells, *shape) per weight of the turn.

    The model behind the loss must be `watched`.
    """
    for p in turn.weights:
        p.grad = p.grad_sample = None  # type: ignore[attr-defined]  # Opacus hangs it there
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Full backward hook is firing")  # the first layers' inputs are data
        turn.loss(rows).sum().backward()  # type: ignore[no-untyped-call]
    out = []
    for p in turn.weights:
        each: Tensor = p.grad_sample  # type: ignore[attr-defined]  # (R, *shape)
        out.append(each.view(-1, draws, *p.shape).mean(dim=1))
        p.grad = p.grad_sample = None  # type: ignore[attr-defined]
    return out


def clipped_sum(gradients: Sequence[Tensor], clip: float) -> list[Tensor]:
    """Sum over cells of gradients (cells, *shape), each cell's shortened to norm `clip` over all weights together."""
    norm = torch.stack([g.flatten(1).norm(dim=1) for g in gradients], dim=1).norm(dim=1)  # (cells,)
    finite = norm.isfinite()  # a cell that overflows adds nothing; it must not spoil, and so tell of itself in, the sum
    factor = torch.where(finite, (clip / (norm + 1e-6)).clamp(max=1.0), 0.0)  # 1e-6 as in Opacus
    return [torch.einsum("i,i...", factor, g.nan_to_num(0.0, 0.0, 0.0)) for g in gradients]


def noisy_mean(
    total: Sequence[Tensor], clip: float, noise_multiplier: float, expected: float, secret: Secret, step: int
) -> list[Tensor]:
    """The Gaussian mechanism on a clipped sum, over the expected number of cells: a constant that no cell changes.

    total: a gradient per weight (any shape).
    """
    count = sum(g.numel() for g in total)
    draws = torch.from_numpy(noise_multiplier * clip * secret.normal("gradient", step, count)).float()
    noise = torch.split(draws, [g.numel() for g in total])
    return [(g + z.view_as(g)) / expected for g, z in zip(total, noise, strict=True)]


def watched(model: STUNet) -> Any:
    """Opacus' hooks on a model, in training: afterwards a backward pass leaves a gradient per row with every weight."""
    from opacus.grad_sample import GradSampleModule

    for module in model.modules():
        if isinstance(module, nn.Conv2d):  # Opacus 1.6 reads channels-last inputs as if they were contiguous
            module.register_forward_pre_hook(lambda _, inputs: (inputs[0].contiguous(),))
    return GradSampleModule(model.train(), batch_first=True, loss_reduction="sum")


def clone_untrained(model: Any, **changes: Any) -> STUNet:
    """An untrained STUNet of the same configuration, but for the changes.

    Not by `from_config`, which sets what was once left at its default back to that default, whatever it is told.
    """
    known = {name: value for name, value in model.config.items() if not name.startswith("_")}
    made: STUNet = STUNet(**{**known, **changes})
    return made


def trained(model: nn.Module) -> list[nn.Parameter]:
    """The weights that DP-SGD changes."""
    return [p for p in model.parameters() if p.requires_grad]


@dataclass
class PrivateTask:
    """STUNet on private networks: which cells enter a step, their windows, the loss of each window.

    listed: for every listed cell, in a fixed order, (network, row there), or None where it has no traffic. rate: with
    what probability each enters a step. Nothing is held out, and so nothing is scored.
    """

    model: STUNet
    prepared: Sequence[Prepared]
    listed: Sequence[tuple[int, int] | None]
    time: Tensor
    scaler: Scaler
    plan: PrivatePlan
    rate: float
    secret: Secret

    def __post_init__(self) -> None:
        """Raises ValueError for a model in which cells of a batch would depend on each other."""
        for module in self.model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm) or (isinstance(module, nn.Dropout) and module.p > 0):
                raise ValueError(f"{type(module).__name__} in the model: cells of a batch would depend on each other")
        for name, p in self.model.named_parameters():
            p.requires_grad_("_detail" not in name)  # what moves within the hour stays as it is
        self.hooks = watched(self.model)
        self.weights = trained(self.model)

    @property
    def averaged(self) -> list[nn.Parameter]:
        """The weights that are trained."""
        return self.weights

    def batch(self, step: int) -> Iterator[Rows]:
        """The windows of the cells of a step."""
        return self.rows(sample_cells(self.secret, step, len(self.listed), self.rate), step)

    def rows(self, cells: NDArray[np.int64], step: int) -> Iterator[Rows]:
        """The windows of some listed cells, ROWS at once; nothing of those without traffic.

        cells: (n,) positions in the list of cells.
        """
        live = [where for c in cells if (where := self.listed[c]) is not None]
        at_once, train_steps = max(ROWS // self.plan.draws, 1), self.model.noise.num_train_timesteps
        for first in range(0, len(live), at_once):
            yield _joined([
                cell_rows(self.prepared[network], row, step, self.time, self.scaler, self.plan, train_steps)
                for network, row in live[first : first + at_once]
            ])  # fmt: skip

    def turns(self) -> list[Turn[Rows]]:
        """One, of all weights; its loss is (R,), one of each window."""
        return [Turn(partial(row_losses, self.model), self.weights)]

    def score(self) -> float | None:
        """Nothing may be held out, as it would have to be paid for."""
        return None

    def finished(self) -> STUNet:
        """A copy of the model, ready to draw, without Opacus' hooks."""
        self.hooks.remove_hooks()
        clean = clone_untrained(self.model)
        clean.load_state_dict(self.model.state_dict())
        return clean.eval()


@dataclass
class PrivateGradient:
    """The gradient rule of DP-SGD: all that a step learns of the traffic. expected: cells of a step. draws: of a cell.

    No loss is told."""

    clip: float
    noise_multiplier: float
    expected: float
    draws: int
    secret: Secret

    def summed(self, turn: Turn[Rows], batch: Iterable[Rows]) -> list[Tensor]:
        """The clipped gradients of the cells of a batch, summed; zeros for none."""
        total = [torch.zeros_like(p) for p in turn.weights]
        for rows in batch:
            part = clipped_sum(cell_gradients(turn, rows, self.draws), self.clip)
            total = [a + b for a, b in zip(total, part, strict=True)]
        return total

    def released(self, turn: Turn[Rows], batch: Iterable[Rows], step: int) -> list[Tensor]:
        """The noisy gradient of a step."""
        total = self.summed(turn, batch)
        return noisy_mean(total, self.clip, self.noise_multiplier, self.expected, self.secret, step)

    def fill(self, turn: Turn[Rows], batch: Iterable[Rows], step: int, group: ProcessGroup) -> float | None:
        """See `training.trainer.GradientRule`."""
        for p, g in zip(turn.weights, self.released(turn, batch, step), strict=True):
            p.grad = g
        return None


def trainer_of(
    task: PrivateTask, privacy: Privacy, mechanism: Mechanism, checkpoint: Path | None, fingerprint: str
) -> Trainer[PrivateTask]:
    """The loop for a task: nothing of the data but the noisy gradients enters the weights, and nothing else leaves, no
    loss, no validation, no early end. fingerprint: of the data and the design."""
    plan = task.plan
    identity = {
        "plan": asdict(plan), "privacy": asdict(privacy), "mechanism": asdict(mechanism), "fingerprint": fingerprint,
        "secret": task.secret.seed.hex(),
    }  # fmt: skip
    rule = PrivateGradient(
        privacy.clip, mechanism.noise_multiplier, mechanism.sample_rate * len(task.listed), plan.draws, task.secret
    )
    noise = mechanism.noise_multiplier / (mechanism.sample_rate * len(task.listed))
    rate = plan.learning_rate * FULL_STEP_NOISE / max(noise, FULL_STEP_NOISE)
    return Trainer(
        task,
        Schedule(mechanism.steps, rate, 1, plan.ema, CHECKPOINT_EVERY, plan.seed),
        torch.optim.SGD(task.weights, lr=rate, momentum=plan.momentum),
        Checkpoint(checkpoint, identity, PRIVATE),
        rule=rule,
    )


def _joined(parts: Sequence[Rows]) -> Rows:
    """The rows of several cells after each other."""
    conditions = [p.condition for p in parts]
    fields = {
        name: torch.cat([getattr(c, name) for c in conditions])
        for name in ("place", "time", "level", "network", "known")
    }
    return Rows(
        torch.cat([p.x for p in parts]),
        Condition(**fields),
        torch.cat([p.t for p in parts]),
        torch.cat([p.eps for p in parts]),
    )
