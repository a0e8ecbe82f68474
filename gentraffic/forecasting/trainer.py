"""Training a forecaster: one loop that can be killed at any step and gives the same bits when it is run again.

What is random in step n is drawn from a stream keyed by (seed, n) or (seed, epoch): a checkpoint needs no generators.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from forecasters.windows import Windows
from gentraffic.training.checkpoint import finite, moments, put_moments, resume, save_checkpoint

MOST_CHECKED = 4096  # validation windows scored at each check, evenly spread


@dataclass(frozen=True)
class Plan:
    """How a forecaster is trained; the same for all of them.

    steps: batches at most; None: five epochs, but no fewer than 500 and no more than 20,000. stride: steps between
    training windows of a cell (6 in the paper). check_every, patience: batches between validations, and how many of
    them without a better score end the run. Adam (beta 0.9, 0.999), warm-up, then a half cosine to zero; what is
    validated and kept is the average of the weights with the decay `ema`.
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


class Trainer:
    """The state of a training run; `run` is an iterator of the steps done, which the caller drains."""

    def __init__(
        self,
        model: Any,
        train: Sequence[Windows],
        validation: Sequence[Windows],
        plan: Plan,
        *,
        shares: Sequence[float] | None = None,
        checkpoint: Path | None = None,
        fingerprint: str = "",
    ) -> None:
        """train, validation: windows of one or more networks. shares: how much of every batch each of `train` gives,
        None for as many as it has windows."""
        self.model, self.train, self.validation, self.plan = model, list(train), list(validation), plan
        self.checkpoint, self.fingerprint = checkpoint, fingerprint
        self.sizes = np.array([len(w) for w in self.train])
        self.steps = plan.steps or int(np.clip(round(5 * self.sizes.sum() / plan.batch), 500, 20_000))
        self.shares = None if shares is None else np.asarray(shares, dtype=np.float64) / np.sum(shares)
        self.optimiser = torch.optim.Adam(model.parameters(), lr=plan.learning_rate)
        self.average = _copy(model)
        self.best = _copy(model)
        self.best_score, self.best_step, self.step = float("inf"), 0, 0
        self.history: list[tuple[int, float]] = []
        self._order: tuple[int, NDArray[np.int64]] = (-1, np.empty(0, dtype=np.int64))

    def run(self) -> Iterator[tuple[int, float]]:
        """Train until the plan is done or the validation score has not improved for long: (step, loss) after each."""
        if self.checkpoint is not None and self.checkpoint.exists():
            self._load(self.checkpoint)
        while self.step < self.steps and not self._stale:
            loss = finite(self._one_step(), self.step + 1)
            self.step += 1
            if self.step % self.plan.check_every == 0 or self.step == self.steps:
                self._check()
                if self.checkpoint is not None:
                    self._save(self.checkpoint)
            yield self.step, loss

    @property
    def _stale(self) -> bool:
        waited = (self.step - self.best_step) / self.plan.check_every
        return bool(self.validation) and self.best_step > 0 and waited >= self.plan.patience

    def finish(self) -> Any:
        """The weights with the best validation score (without validation the last ones), in the model, ready to use."""
        self.model.load_state_dict(self.best)
        return self.model.eval()

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """The windows of one step: past (batch, lags, side, side, services), future (batch, horizon, services)."""
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
        pieces = [self.train[i].gather(torch.from_numpy(within[source == i])) for i in used]
        past, future = zip(*pieces, strict=True)
        return torch.cat(past), torch.cat(future)

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

    def _one_step(self) -> float:
        plan = self.plan
        self.model.train()
        past, future = self.batch(self.step)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(plan.seed * 1_000_003 + self.step)  # dropout
            loss = self.model.loss(past, future)
        ramp = min(1.0, (self.step + 1) / plan.warmup)
        for group in self.optimiser.param_groups:
            group["lr"] = plan.learning_rate * ramp * 0.5 * (1 + np.cos(np.pi * self.step / self.steps))
        self.optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimiser.step()
        decay = min(plan.ema, (self.step + 1) / (self.step + 10))
        for name, value in self.model.state_dict().items():  # batch statistics too
            if value.is_floating_point():
                self.average[name].lerp_(value.detach(), 1 - decay)
            else:
                self.average[name].copy_(value)
        return float(loss.detach())

    @torch.inference_mode()
    def _check(self) -> None:
        """Score the averaged weights on the same validation windows every time."""
        total, count, now = 0.0, 0, _copy(self.model)
        self.model.load_state_dict(self.average)
        self.model.eval()
        for windows in self.validation:
            n = min(len(windows), max(1, MOST_CHECKED // len(self.validation)))
            index = torch.from_numpy(np.linspace(0, len(windows) - 1, n).astype(np.int64))
            for some in torch.split(index, 1024):
                total += float(self.model.loss(*windows.gather(some))) * len(some)
                count += len(some)
        score = total / count if count else -float(self.step)  # without validation the last weights are the best
        if count:
            self.history.append((self.step, score))
        if score < self.best_score:
            self.best_score, self.best_step, self.best = score, self.step, _copy(self.model)
        self.model.load_state_dict(now)

    def _save(self, path: Path) -> None:
        sets = {"now": _copy(self.model), "average": self.average, "best": self.best}
        tensors = {f"{kind}.{k}": v for kind, weights in sets.items() for k, v in weights.items()}
        tensors |= moments(self.optimiser, list(self.model.parameters()))
        now = {"step": self.step, "best_score": self.best_score, "best_step": self.best_step, "history": self.history}
        save_checkpoint(path, self._identity() | now, tensors)

    def _load(self, path: Path) -> None:
        note, tensors = resume(path, self._identity())
        weights = list(self.model.parameters())
        device = weights[0].device
        sets = {
            n: {k.removeprefix(f"{n}."): v.to(device) for k, v in tensors.items() if k.startswith(f"{n}.")}
            for n in ("now", "average", "best")
        }
        self.model.load_state_dict(sets["now"])
        self.average, self.best = sets["average"], sets["best"]
        put_moments(self.optimiser, weights, tensors)
        self.step, self.best_step, self.best_score = note["step"], note["best_step"], note["best_score"]
        self.history = [(int(step), float(score)) for step, score in note["history"]]

    def _identity(self) -> dict[str, Any]:
        return {"plan": asdict(self.plan), "fingerprint": self.fingerprint}


def fingerprint(name: str, windows: Sequence[Windows], design: object, shares: Sequence[float] | None) -> str:
    """What a checkpoint belongs to: a hash of the forecaster, its design and the data."""
    digest = hashlib.sha256(json.dumps([name, design, shares], sort_keys=True, default=list).encode())
    for w in windows:
        digest.update(repr((w.lags, w.horizon, w.first, w.last, w.stride)).encode())
        digest.update(w.values.numpy().tobytes() + w.patches.numpy().tobytes())
        digest.update(b"" if w.targets is None else w.targets.numpy().tobytes())
    return digest.hexdigest()


def _copy(model: Any) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}
