"""Training: one loop for every family, which can be killed at any step and gives the same bits when it is run again.

A family brings a `TrainingTask`: what it trains, its batches by step, the loss of a batch, a score on held-out data.
The loop owns the rest: steps, learning rate, optimiser, the average of the weights, checks, the best weights, the
checkpoint, processes. How a loss becomes gradients is a `GradientRule`: clipped, or clipped by cell and noisy for
differential privacy. Everything random in step n is drawn from a stream keyed by (seed, n), so a checkpoint needs no
generator states.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from gentraffic.training.checkpoint import Checkpoint, finite, moments, numbered, put_moments
from gentraffic.training.processes import ALONE, ProcessGroup
from samplers.sampler import computing_in

Batch = TypeVar("Batch")
OnStep = Callable[[int, int, float], None]  # the steps done, the steps in all, the loss


@dataclass(frozen=True)
class Run:
    """How a training is carried out, not what is learned: where it resumes from and saves to, who is told of its steps,
    the device of torch, and who is told of the steps of the graphs before it."""

    checkpoint: Path | None = None
    on_step: OnStep | None = None
    device: str = "cpu"
    on_graph_step: OnStep | None = None


LOG = logging.getLogger(__name__)
PLAIN = Run()  # from the first step, on the CPU, told to nobody


@dataclass(frozen=True)
class Schedule:
    """How long a run is, and what changes from step to step.

    The learning rate rises over `warmup` steps to `learning_rate`, and falls as half a cosine to zero, or, where
    `constant`, is `learning_rate` throughout. ema: the decay
    of the average of the weights; lower in the first steps, so that what was before training is soon forgotten.
    check_every: steps from one check, and checkpoint, to the next. patience: how many checks without a better score end
    the run; None for never.
    """

    steps: int
    learning_rate: float
    warmup: int
    ema: float
    check_every: int
    seed: int
    patience: int | None = None
    constant: bool = False

    def rate(self, step: int) -> float:
        """The learning rate of a step, from 0."""
        if self.constant:
            return self.learning_rate
        ramp = min(1.0, (step + 1) / self.warmup)
        return float(self.learning_rate * ramp * 0.5 * (1 + np.cos(np.pi * step / self.steps)))

    def decay(self, step: int) -> float:
        """How much of the average of the weights a step keeps."""
        return min(self.ema, (step + 1) / (step + 10))


@dataclass(frozen=True)
class Turn(Generic[Batch]):
    """A loss of a batch, and the weights that it trains. A step has one turn, unless parts of a model are rivals."""

    loss: Callable[[Batch], Tensor]
    weights: Sequence[nn.Parameter]


class TrainingTask(Protocol[Batch]):
    """What a family trains. Nothing here may depend on what the loop did before, but for the weights."""

    @property
    def model(self) -> nn.Module:
        """What is trained."""

    @property
    def weights(self) -> Sequence[nn.Parameter]:
        """What the optimiser changes."""

    @property
    def averaged(self) -> Sequence[Tensor]:
        """What is averaged and kept: views of the weights, and of statistics that training gathers, if it does."""

    def batch(self, step: int) -> Batch:
        """The batch of a step: the same whenever it is asked for."""

    def turns(self) -> Sequence[Turn[Batch]]:
        """The turns of one step, in order."""

    def score(self) -> float | None:
        """How good the model is, as it stands, on held-out data: lower is better; None where nothing is held out."""


class GradientRule(Protocol):
    """How a loss becomes the gradients that the optimiser follows."""

    def fill(self, turn: Turn[Any], batch: Any, step: int, group: ProcessGroup) -> float | None:
        """Leave a gradient, or None, at each weight of the turn. Returns the loss; None where it must not be told."""


@dataclass(frozen=True)
class ClippedGradient:
    """The gradient of the whole batch, shortened to `norm` over all weights of the turn together."""

    norm: float = 1.0

    def fill(self, turn: Turn[Any], batch: Any, step: int, group: ProcessGroup) -> float | None:
        """See `GradientRule`."""
        with computing_in(group.precision, group.device):
            loss = turn.loss(batch)
        loss.backward(inputs=list(turn.weights))  # type: ignore[no-untyped-call]
        for p, slope in zip(turn.weights, group.add([p.grad for p in turn.weights]), strict=True):
            p.grad = slope
        torch.nn.utils.clip_grad_norm_(turn.weights, self.norm)
        return float(loss.detach())


Task = TypeVar("Task", bound=TrainingTask[Any])


class Trainer(Generic[Task]):
    """The state of a training run; `run` is an iterator of the steps done.

    average, best: as `task.averaged`; best None until a score has chosen. best_step: of the weights that `finish` puts
    into the model. scores: (step, score on held-out data) of the checks. losses: (step, mean loss since the check
    before), where the gradient rule tells it.
    """

    def __init__(
        self,
        task: Task,
        schedule: Schedule,
        optimiser: torch.optim.Optimizer,
        checkpoint: Checkpoint | None = None,
        *,
        rule: GradientRule | None = None,
        group: ProcessGroup = ALONE,
    ) -> None:
        """optimiser: over `task.weights`. checkpoint: what the run is, and where it is kept. rule: None for
        `ClippedGradient`. group: the processes that train together."""
        self.task, self.schedule, self.optimiser = task, schedule, optimiser
        self.checkpoint = checkpoint or Checkpoint(None, {})
        self.rule, self.group = rule or ClippedGradient(), group
        self.average = _copy(task.averaged)
        self.best: list[Tensor] | None = None
        self.best_score, self.best_step, self.step = math.inf, 0, 0
        self.scores: list[tuple[int, float]] = []
        self.losses: list[tuple[int, float]] = []
        self._recent: list[float] = []

    def run(self) -> Iterator[tuple[int, float]]:
        """Train until the schedule ends or the score has not improved for long: (step, loss) after each step.

        The loss is nan where the gradient rule does not tell it. Raises BadInput where it is not finite, WrongUse and
        BadModel for a checkpoint that is not this run's.
        """
        if self.checkpoint.exists:
            self._load()
        self.group.agree(f"{self.checkpoint.identity} {self.step}")
        with self.group.sharing(self.task.model):
            while self.step < self.schedule.steps and not self.stale:
                loss = self._one_step()
                if loss is not None:
                    self._recent.append(finite(loss, self.step + 1))
                self.step += 1
                if self.step % self.schedule.check_every == 0 or self.step == self.schedule.steps:
                    self._check()
                    self.save()
                yield self.step, math.nan if loss is None else loss

    def train(self, on_step: OnStep | None = None) -> None:
        """Drain `run`, telling `on_step` of each step."""
        for step, loss in self.run():
            if on_step is not None:
                on_step(step, self.schedule.steps, loss)

    @property
    def stale(self) -> bool:
        """True when the score on held-out data stopped improving."""
        patience = self.schedule.patience
        waited = (self.step - self.best_step) / self.schedule.check_every
        return patience is not None and self.best is not None and waited >= patience

    def finish(self) -> nn.Module:
        """The model, ready to use, with the averaged weights that scored best; without a score, with the last."""
        _put(self.task.averaged, self.average if self.best is None else self.best)
        return self.task.model.eval()

    def save(self) -> None:
        """Write the checkpoint, if there is one and this is the process that writes."""
        if not self.group.first:
            return
        tensors = numbered(weight=self.task.averaged, average=self.average, best=self.best or [])
        note = {"step": self.step, "best_score": self.best_score, "best_step": self.best_step}
        history = {"scores": self.scores, "losses": self.losses}
        self.checkpoint.save(note | history, tensors | moments(self.optimiser, self.task.weights))

    def _one_step(self) -> float | None:
        self.task.model.train()
        batch = self.task.batch(self.step)
        for group in self.optimiser.param_groups:
            group["lr"] = self.schedule.rate(self.step)
        loss = None
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.schedule.seed * 1_000_003 + self.step)  # dropout
            for turn in self.task.turns():
                self.optimiser.zero_grad()  # it leaves alone what has no gradient: the rivals of this turn
                loss = self.rule.fill(turn, batch, self.step, self.group)
                self.optimiser.step()
        decay = self.schedule.decay(self.step)
        with torch.no_grad():
            for mean, now in zip(self.average, self.task.averaged, strict=True):
                if now.is_floating_point():
                    mean.lerp_(now, 1 - decay)
                else:
                    mean.copy_(now)
        return loss

    @torch.inference_mode()
    def _check(self) -> None:
        """Score the averaged weights on held-out data, and keep them where they are the best so far."""
        if self._recent:
            self.losses.append((self.step, round(float(np.mean(self._recent)), 5)))
            self._recent = []
        now = _copy(self.task.averaged)
        _put(self.task.averaged, self.average)
        self.task.model.eval()
        score = self.task.score()
        _put(self.task.averaged, now)
        if score is None:
            self.best_step = self.step
            return
        self.scores.append((self.step, score))
        LOG.info("step %d of %d: held-out score %.5g", self.step, self.schedule.steps, score)
        if score < self.best_score:
            self.best_score, self.best_step, self.best = score, self.step, _copy(self.average)

    def _load(self) -> None:
        note, tensors = self.checkpoint.read()
        count = len(self.task.averaged)
        device = self.average[0].device
        sets = {
            name: [tensors[f"{name}.{i}"].to(device) for i in range(count)]
            for name in ("weight", "average", "best")
            if f"{name}.0" in tensors
        }
        _put(self.task.averaged, sets["weight"])
        self.average, self.best = sets["average"], sets.get("best")
        put_moments(self.optimiser, self.task.weights, tensors)
        self.step, self.best_step, self.best_score = note["step"], note["best_step"], note["best_score"]
        self.scores, self.losses = ([(int(s), float(v)) for s, v in note[name]] for name in ("scores", "losses"))


def _copy(tensors: Sequence[Tensor]) -> list[Tensor]:
    return [t.detach().clone() for t in tensors]


@torch.no_grad()
def _put(tensors: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    for t, value in zip(tensors, values, strict=True):
        t.copy_(value)
