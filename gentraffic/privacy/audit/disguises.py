"""What a copy may wear: training series as they are, and changed in ways that a search should see through.

Every kind takes real hourly (or coarser) series and gives what a leaking generator might publish. `power` and the
benchmarks plant them; nothing here searches.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Series = NDArray[np.float32]
Rows = NDArray[np.float64]
Change = Callable[[Rows, Rows, int, np.random.Generator], Rows]


def _roll(rows: Rows, by: NDArray[np.int64]) -> Rows:
    out: Rows = np.stack([np.roll(row, k) for row, k in zip(rows, by, strict=True)])
    return out


def _shifted(rows: Rows, base: Rows, day: int, rng: np.random.Generator) -> Rows:
    return _roll(rows, rng.integers(1, rows.shape[1], len(rows)))


def _rescaled(rows: Rows, base: Rows, day: int, rng: np.random.Generator) -> Rows:
    out: Rows = rows * np.exp(rng.uniform(np.log(0.2), np.log(5), (len(rows), 1)))
    return out


def _noise(size: float) -> Change:
    def change(rows: Rows, base: Rows, day: int, rng: np.random.Generator) -> Rows:
        out: Rows = rows * rng.lognormal(0, size, rows.shape)
        return out

    return change


def _all_three(rows: Rows, base: Rows, day: int, rng: np.random.Generator) -> Rows:
    return _noise(0.05)(_rescaled(_shifted(rows, base, day, rng), base, day, rng), base, day, rng)


def _two_days(rows: Rows, base: Rows, day: int, rng: np.random.Generator) -> Rows:
    """Two days of the copied series, each in its own place, within another record."""
    out = base.copy()
    days = rows.shape[1] // day
    for k in range(len(rows)):
        for d in rng.choice(days, min(2, days), replace=False):
            out[k, d * day : (d + 1) * day] = rows[k, d * day : (d + 1) * day]
    return out


def _days_permuted(rows: Rows, base: Rows, day: int, rng: np.random.Generator) -> Rows:
    days = rows.shape[1] // day
    parts = rows[:, : days * day].reshape(len(rows), days, day)
    return rng.permuted(parts, axis=1) if days < 2 else np.stack(
        [part[rng.permutation(days)].ravel() for part in parts]
    )  # fmt: skip


def _warped(rows: Rows, base: Rows, day: int, rng: np.random.Generator) -> Rows:
    """Clock that runs up to an hour ahead and an hour behind, once in the record."""
    steps = rows.shape[1]
    at = np.arange(steps)
    reach = day / 24  # an hour, in steps
    out = np.empty_like(rows)
    for k, phase in enumerate(rng.uniform(0, 2 * np.pi, len(rows))):
        when = (at + reach * np.sin(2 * np.pi * at / steps + phase)) % steps
        out[k] = np.interp(when, np.arange(steps + 1), np.append(rows[k], rows[k, 0]))
    return out


def _held(hours: int) -> Change:
    """Means over `hours` hours, held for as long."""

    def change(rows: Rows, base: Rows, day: int, rng: np.random.Generator) -> Rows:
        size = max(1, round(hours * day / 24))
        whole = rows.shape[1] // size * size
        out = rows.copy()
        means = rows[:, :whole].reshape(len(rows), -1, size).mean(axis=2)
        out[:, :whole] = np.repeat(means, size, axis=1)
        return out

    return change


def _mean_of_two(rows: Rows, base: Rows, day: int, rng: np.random.Generator) -> Rows:
    """The mean with another copied series, both brought to one level first."""
    other = np.roll(rows, 1, axis=0)
    level = rows.mean(axis=1, keepdims=True) / np.maximum(other.mean(axis=1, keepdims=True), 1e-30)
    out: Rows = (rows + other * level) / 2
    return out


def _modulated(rows: Rows, base: Rows, day: int, rng: np.random.Generator) -> Rows:
    """A slow wave of 30% with one to three periods in the record."""
    steps = rows.shape[1]
    wave = rng.integers(1, 4, (len(rows), 1)) * 2 * np.pi * np.arange(steps) / steps
    out: Rows = rows * np.exp(0.3 * np.sin(wave + rng.uniform(0, 2 * np.pi, (len(rows), 1))))
    return out


def _power(rows: Rows, base: Rows, day: int, rng: np.random.Generator) -> Rows:
    """Raised to a power between 0.7 and 1.4, the level kept."""
    mean = np.maximum(rows.mean(axis=1, keepdims=True), 1e-30)
    out: Rows = mean * (rows / mean) ** np.exp(rng.uniform(np.log(0.7), np.log(1.4), (len(rows), 1)))
    return out


KINDS: dict[str, tuple[Change, str]] = {
    "exact": (lambda rows, base, day, rng: rows.copy(), "as it is"),
    "rescaled": (_rescaled, "times 0.2 to 5"),
    "shifted": (_shifted, "moved around the week by whole steps"),
    "5% noise": (_noise(0.05), "5% lognormal noise at every step"),
    "10% noise": (_noise(0.10), "10% lognormal noise at every step"),
    "all three": (_all_three, "shifted, rescaled, with 5% noise"),
    "two days": (_two_days, "two of its days, in their places, within another record"),
    "days permuted": (_days_permuted, "its days in another order"),
    "warped": (_warped, "a clock that runs up to an hour ahead and behind"),
    "3-hour means": (_held(3), "means of three hours, held"),
    "mean of two": (_mean_of_two, "the mean of two training series at one level"),
    "modulated": (_modulated, "a slow wave of 30% on it"),
    "power": (_power, "raised to a power of 0.7 to 1.4"),
}


def planted(rows: Series, kind: str, rng: np.random.Generator, *, day: int = 24, base: Series | None = None) -> Series:
    """Copies of rows (n, steps) in one of KINDS, (n, steps). day: steps of a day. base: (n, steps) the records into
    which parts are pasted, `rows` themselves reversed in order where nothing is given."""
    values = rows.astype(np.float64)
    under = values[::-1] if base is None else base.astype(np.float64)
    changed = KINDS[kind][0](values, under, day, rng)
    return changed.astype(np.float32)
