"""Measures what a private trainer really does, and names the promises of the accountant that it breaks.

The auditor knows the mechanism only by what it promises: every listed cell enters a step with probability q, on its
own; taking a cell out moves the sum by at most C; the noise on the sum has standard deviation sigma C; the sum is
divided by q N.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from gentraffic.privacy.dp.accounting import Secret
from gentraffic.privacy.dp.sgd import PrivateTrainer

SLACK = 1.001  # of float32 sums


class _Seen(Exception):
    """Raised once it is known who entered a step: the rest of it costs time."""


def faults(trainer: PrivateTrainer, *, steps: int = 600) -> set[str]:
    """The names of the promises that are broken: sensitivity, noise, denominator, sampling."""
    expected = trainer.mechanism.sample_rate * len(trainer.listed)
    promised = trainer.mechanism.noise_multiplier * trainer.privacy.clip / expected
    broken = {
        "sensitivity": sensitivity(trainer) > trainer.privacy.clip * SLACK,
        "noise": abs(noise(trainer) / promised - 1) > 0.02,
        "denominator": abs(denominator(trainer) / expected - 1) > 1e-3,
        "sampling": not poisson(entered(trainer, steps), trainer.mechanism.sample_rate),
    }
    return {name for name, found in broken.items() if found}


def sensitivity(trainer: PrivateTrainer) -> float:
    """The most by which the sum over five cells moves when one of them is taken out."""
    some = np.arange(min(len(trainer.listed), 5))
    most = 0.0
    with at_step(trainer):
        whole = trainer.summed(some)
        for cell in some:
            rest = trainer.summed(np.delete(some, cell))
            moved = sum(float(((a - b) ** 2).sum()) for a, b in zip(whole, rest, strict=True))
            most = max(most, moved**0.5)
    return most


def noise(trainer: PrivateTrainer, times: int = 5) -> float:
    """The standard deviation of what a step releases where there is no traffic."""
    with at_step(trainer), nobody(trainer):
        drawn = []
        for step in range(times):
            trainer.step = step
            drawn.append(torch.cat([g.flatten() for g in trainer.gradient()]))
    return float(torch.stack(drawn).double().std())


def denominator(trainer: PrivateTrainer) -> float:
    """By what the sum is divided, without noise: the largest of several steps that says otherwise than promised."""
    expected = trainer.mechanism.sample_rate * len(trainer.listed)
    before, found = trainer.mechanism, []
    original: Any = trainer.summed
    sums: list[float] = []

    def watched(cells: Any) -> Any:
        total = original(cells)
        sums.append(float(torch.cat([g.flatten() for g in total]).norm()))
        return total

    with at_step(trainer):
        trainer.mechanism, trainer.summed = replace(before, noise_multiplier=0.0), watched  # type: ignore[method-assign]
        try:
            for step in range(3):
                trainer.step = step
                got = float(torch.cat([g.flatten() for g in trainer.gradient()]).norm())
                if got > 0:
                    found.append(sums[-1] / got)
        finally:
            trainer.mechanism, trainer.summed = before, original  # type: ignore[method-assign]
    return max(found, key=lambda value: abs(value - expected))


def entered(trainer: PrivateTrainer, steps: int) -> Any:
    """Which cells entered each step: (steps, cells) of 0 and 1."""
    out = np.zeros((steps, len(trainer.listed)))
    original: Any = trainer.summed

    def watched(cells: Any) -> Any:
        out[trainer.step, cells] = 1
        raise _Seen

    with at_step(trainer):
        trainer.summed = watched  # type: ignore[method-assign]
        try:
            for step in range(steps):
                trainer.step = step
                with suppress(_Seen):
                    trainer.gradient()
        finally:
            trainer.summed = original  # type: ignore[method-assign]
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


@contextmanager
def nobody(trainer: PrivateTrainer) -> Iterator[None]:
    """The trainer with every cell dead."""
    before = trainer.listed
    trainer.listed = [None] * len(before)
    try:
        yield
    finally:
        trainer.listed = before


@contextmanager
def at_step(trainer: PrivateTrainer) -> Iterator[None]:
    """The trainer, whose step and secret are as before afterwards."""
    step, secret = trainer.step, trainer.secret
    trainer.secret = Secret(b"the auditor's own")
    try:
        yield
    finally:
        trainer.step, trainer.secret = step, secret
