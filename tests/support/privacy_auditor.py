"""Measures what a private trainer really does, and names the promises of the accountant that it breaks.

The auditor knows the mechanism only by what it promises: every listed cell enters a step with probability q, on its
own; taking a cell out moves the sum by at most C; the noise on the sum has standard deviation sigma C; the sum is
divided by q N.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gentraffic.privacy.dp.accounting import Secret
from gentraffic.privacy.dp.sgd import PrivateGradient, PrivateTask
from gentraffic.training.trainer import Trainer

SLACK = 1.001  # of float32 sums


class _Seen(Exception):
    """Raised once it is known who entered a step: the rest of it costs time."""


Audited = Trainer[PrivateTask]


def faults(trainer: Audited, *, steps: int = 600) -> set[str]:
    """The names of the promises that are broken: sensitivity, noise, denominator, sampling."""
    promise = trainer.checkpoint.identity
    rate, clip = promise["mechanism"]["sample_rate"], promise["privacy"]["clip"]
    expected = rate * len(trainer.task.listed)
    promised = promise["mechanism"]["noise_multiplier"] * clip / expected
    broken = {
        "sensitivity": sensitivity(trainer) > clip * SLACK,
        "noise": abs(noise(trainer) / promised - 1) > 0.02,
        "denominator": abs(denominator(trainer, expected) / expected - 1) > 1e-3,
        "sampling": not poisson(entered(trainer, steps), rate),
    }
    return {name for name, found in broken.items() if found}


def released(trainer: Audited, step: int) -> Tensor:
    """All that a step releases, flat."""
    [turn] = trainer.task.turns()
    return torch.cat([g.flatten() for g in rule_of(trainer).released(turn, trainer.task.batch(step), step)])


def sensitivity(trainer: Audited, step: int = 0) -> float:
    """The most by which the sum over five cells moves when one of them is taken out."""
    task, [turn] = trainer.task, trainer.task.turns()
    some = np.arange(min(len(task.listed), 5))
    most = 0.0
    with own_secret(trainer):
        whole = rule_of(trainer).summed(turn, task.rows(some, step))
        for cell in some:
            rest = rule_of(trainer).summed(turn, task.rows(np.delete(some, cell), step))
            moved = sum(float(((a - b) ** 2).sum()) for a, b in zip(whole, rest, strict=True))
            most = max(most, moved**0.5)
    return most


def noise(trainer: Audited, times: int = 5) -> float:
    """The standard deviation of what a step releases where there is no traffic."""
    with own_secret(trainer), nobody(trainer):
        return float(torch.stack([released(trainer, step) for step in range(times)]).double().std())


def denominator(trainer: Audited, expected: float) -> float:
    """By what the sum is divided, without noise: of several steps the one that is farthest from what is expected."""
    rule, found = rule_of(trainer), []
    original: Any = rule.summed
    sums: list[float] = []

    def watched(turn: Any, batch: Any) -> Any:
        total = original(turn, batch)
        sums.append(float(torch.cat([g.flatten() for g in total]).norm()))
        return total

    sigma = rule.noise_multiplier
    with own_secret(trainer):
        rule.noise_multiplier, rule.summed = 0.0, watched  # type: ignore[method-assign]
        try:
            for step in range(3):
                got = float(released(trainer, step).norm())
                if got > 0:
                    found.append(sums[-1] / got)
        finally:
            rule.noise_multiplier, rule.summed = sigma, original  # type: ignore[method-assign]
    return max(found, key=lambda value: abs(value - expected))


def entered(trainer: Audited, steps: int) -> Any:
    """Which cells entered each step: (steps, cells) of 0 and 1."""
    task = trainer.task
    out = np.zeros((steps, len(task.listed)))
    original: Any = task.rows

    def watched(cells: Any, step: int) -> Any:
        out[step, cells] = 1
        raise _Seen

    with own_secret(trainer):
        task.rows = watched  # type: ignore[method-assign]
        try:
            for step in range(steps):
                with suppress(_Seen):
                    released(trainer, step)
        finally:
            task.rows = original  # type: ignore[method-assign]
    return out


def poisson(entered: Any, rate: float) -> bool:
    """True where cells enter on their own, with the promised rate, whatever else entered and whatever came before.

    Compares the mean and the variance of how many enter with Binomial(N, q), and how often a cell enters two steps one
    after the other with q^2, each within five standard errors.
    """
    steps, cells = entered.shape
    count = entered.sum(axis=1)
    mean, variance = cells * rate, cells * rate * (1 - rate)
    twice = (entered[1:] * entered[:-1]).mean()
    pairs = (steps - 1) * cells
    return bool(
        abs(count.mean() - mean) < 5 * np.sqrt(variance / steps)
        and abs(count.var() / variance - 1) < 5 * np.sqrt(2 / steps)
        and abs(twice - rate**2) < 5 * np.sqrt((rate**2 * (1 - rate**2) + 2 * rate**3 * (1 - rate)) / pairs)
    )


def rule_of(trainer: Audited) -> PrivateGradient:
    """The rule of the loop."""
    assert isinstance(trainer.rule, PrivateGradient)
    return trainer.rule


@contextmanager
def nobody(trainer: Audited) -> Iterator[None]:
    """The trainer with every cell dead."""
    before = trainer.task.listed
    trainer.task.listed = [None] * len(before)
    try:
        yield
    finally:
        trainer.task.listed = before


@contextmanager
def own_secret(trainer: Audited) -> Iterator[None]:
    """The trainer with the auditor's secret, afterwards with its own."""
    task, rule = trainer.task, rule_of(trainer)
    secret = task.secret
    task.secret = rule.secret = Secret(b"the auditor's own")
    try:
        yield
    finally:
        task.secret = rule.secret = secret
