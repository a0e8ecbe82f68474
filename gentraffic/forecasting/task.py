"""What a forecaster is trained on: the windows of a step, from a stream keyed by (seed, step) or (seed, epoch)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from forecasters.windows import Windows
from gentraffic.training.checkpoint import Checkpoint
from gentraffic.training.trainer import Schedule, Trainer, Turn

MOST_CHECKED = 4096  # validation windows scored at each check, evenly spread


@dataclass(frozen=True)
class Plan:
    """How a forecaster is trained; the same for all of them.

    steps: batches at most; None: five epochs, but no fewer than 500 and no more than 20,000. stride: steps between
    training windows of a cell (6 in the paper). check_every, patience: batches between validations, and how many of
    them without a better score end the run. Adam (beta 0.9, 0.999), warm-up, then a half cosine to zero; what is
    validated and kept is the average of the weights with the decay `ema`. epochs: without `steps`, how often each
    window is seen, no fewer and no more; None for the five. constant: no warm-up and no cosine.
    """

    steps: int | None = None
    batch: int = 128
    learning_rate: float = 1e-3
    warmup: int = 50
    stride: int = 6
    check_every: int = 50
    patience: int = 6
    ema: float = 0.99
    seed: int = 0
    epochs: int | None = None
    constant: bool = False


# sLSTM-STN section IV-B: Adam at 5e-4 for 40 epochs of every sixth window. The batch and which weights are kept are not
# told: here those that the validation part finds best, as in every plan. Its batch normalisation is in the networks.
PUBLISHED = Plan(learning_rate=5e-4, epochs=40, constant=True, ema=0.0, patience=10**6)


class ForecastTask:
    """A forecaster on the windows of one or more networks."""

    def __init__(
        self,
        model: Any,
        train: Sequence[Windows],
        validation: Sequence[Windows],
        plan: Plan,
        shares: Sequence[float] | None = None,
    ) -> None:
        """shares: how much of every batch each of `train` gives, None for as many as it has windows."""
        self.model, self.train, self.validation, self.plan = model, list(train), list(validation), plan
        self.sizes = np.array([len(w) for w in self.train])
        epoch = self.sizes.sum() / plan.batch
        some = (
            int(np.clip(round(5 * epoch), 500, 20_000)) if plan.epochs is None else max(1, round(plan.epochs * epoch))
        )
        self.steps = plan.steps or some
        self.shares = None if shares is None else np.asarray(shares, dtype=np.float64) / np.sum(shares)
        self.weights: list[nn.Parameter] = list(model.parameters())
        self._order: tuple[int, NDArray[np.int64]] = (-1, np.empty(0, dtype=np.int64))

    @property
    def averaged(self) -> list[Tensor]:
        """The weights, and the statistics of batches, as far as the network gathers them."""
        return list(self.model.state_dict().values())

    def batch(self, step: int) -> tuple[Tensor, ...]:
        """The windows of one step: past (batch, lags, side, side, services), future (batch, horizon, services).

        And when (batch,) for a forecaster with a clock, as its loss takes them.
        """
        size = self.plan.batch
        if self.shares is None:
            index = self._shuffled(step * size, size)
            source = np.searchsorted(np.cumsum(self.sizes), index, side="right")
            within = index - (np.cumsum(self.sizes) - self.sizes)[source]
        else:
            rng = np.random.default_rng((self.plan.seed, step))
            source = np.sort(rng.choice(len(self.train), size, p=self.shares))
            within = rng.integers(self.sizes[source])
        used = [int(i) for i in np.unique(source)]
        pieces = [self._windows(self.train[i], torch.from_numpy(within[source == i])) for i in used]
        return tuple(torch.cat(part) for part in zip(*pieces, strict=True))

    def _windows(self, windows: Windows, index: Tensor) -> tuple[Tensor, ...]:
        """What the loss takes of some windows."""
        batch = windows.gather(index)
        return (*batch, windows.when(index)) if getattr(self.model, "clock", False) else batch

    def _shuffled(self, start: int, size: int) -> NDArray[np.int64]:
        """Positions start .. start + size of an endless sequence of epochs, each in an order of its own."""
        total, out = int(self.sizes.sum()), np.empty(size, dtype=np.int64)
        position = np.arange(start, start + size)
        for epoch in np.unique(position // total):
            if self._order[0] != epoch:
                self._order = (epoch, np.random.default_rng((self.plan.seed, int(epoch))).permutation(total))
            inside = position // total == epoch
            out[inside] = self._order[1][position[inside] % total]
        return out

    def turns(self) -> list[Turn[tuple[Tensor, ...]]]:
        """One, of all weights."""
        return [Turn(lambda batch: cast("Tensor", self.model.loss(*batch)), self.weights)]

    def score(self) -> float | None:
        """The mean loss of the same validation windows every time."""
        total, count = 0.0, 0
        for windows in self.validation:
            n = min(len(windows), max(1, MOST_CHECKED // len(self.validation)))
            index = torch.from_numpy(np.linspace(0, len(windows) - 1, n).astype(np.int64))
            for some in torch.split(index, 1024):
                total += float(self.model.loss(*self._windows(windows, some))) * len(some)
                count += len(some)
        return total / count if count else None


def trainer_of(task: ForecastTask, checkpoint: Path | None = None, mark: str = "") -> Trainer[ForecastTask]:
    """The loop for a task. mark: `fingerprint` of what it is trained on."""
    plan = task.plan
    schedule = Schedule(
        task.steps, plan.learning_rate, plan.warmup, plan.ema, plan.check_every, plan.seed, patience=plan.patience,
        constant=plan.constant,
    )  # fmt: skip
    identity = {"plan": asdict(plan), "fingerprint": mark}
    optimiser = torch.optim.Adam(task.weights, lr=plan.learning_rate)
    return Trainer(task, schedule, optimiser, Checkpoint(checkpoint, identity))


def fingerprint(name: str, windows: Sequence[Windows], design: object, shares: Sequence[float] | None) -> str:
    """What a checkpoint belongs to: a hash of the forecaster, its design and the data."""
    digest = hashlib.sha256(json.dumps([name, design, shares], sort_keys=True, default=list).encode())
    for w in windows:
        digest.update(repr((w.lags, w.horizon, w.first, w.last, w.stride)).encode())
        digest.update(w.values.numpy().tobytes() + w.patches.numpy().tobytes())
        digest.update(b"" if w.targets is None else w.targets.numpy().tobytes())
    return digest.hexdigest()
