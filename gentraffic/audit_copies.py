"""A search for copies among synthetic records, also of shifted and rescaled ones.

Every window is divided by its mean, logged and standardised, so that a factor on it does not matter; its Fourier
coefficients are divided by how large they usually are among the real cells, so that the daily rhythm, which all cells
share, counts no more than what is a cell's own (whitening; Knapp and Carter 1976 for the cross-correlation of two
receivers). The likeness of two windows is the largest cross-correlation over all circular shifts, by FFT: 1 for a copy,
whatever its factor and its shift in hours or days.

How alike unrelated windows come is learned from the hold-out, of which no copies can be: its likenesses' tail, a
generalised Pareto law, says which likeness one would hardly see by chance among that many records.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gentraffic.audit_records import FLOOR, Records
from gentraffic.audit_statistics import Floats

AT_ONCE = 2**20  # complex numbers that are held at once: they stay in the cache
TAIL, FEWEST_IN_TAIL = 0.1, 20  # of the hold-out's likenesses that the tail is fitted to, and at least so many
HEAVIEST = 0.5  # shape of the tail at most: two moments must exist for it to be estimated
EXACT = 0.9999  # a likeness above it is called exact


@dataclass(frozen=True)
class Match:
    """The most alike real record of every synthetic one: likeness, its number, shift in steps; (records,) each."""

    likeness: Floats
    record: NDArray[np.intp]
    shift: NDArray[np.intp]


@dataclass(frozen=True)
class Copy:
    """A synthetic record, and the training cell that it repeats `shift` steps later, `factor` times as large."""

    synthetic_cell: str
    synthetic_member: int
    synthetic_window: int
    train_cell: str
    train_window: int
    likeness: float
    shift: int
    factor: float
    row: int
    train_row: int

    @property
    def kind(self) -> str:
        """exact or near, shifted or not, rescaled or not."""
        words = ["exact" if self.likeness > EXACT else "near"]
        words += ["shifted"] if self.shift else []
        words += ["rescaled"] if abs(np.log(self.factor)) > 0.02 else []
        return ", ".join(words)


@dataclass(frozen=True)
class Search:
    """What the search found. threshold: the likeness above which a record is a copy. train, holdout: (records,) the
    largest likeness to any cell of each. p: of the largest likeness to training, were there no copies."""

    threshold: float
    copies: tuple[Copy, ...]
    train: Floats
    holdout: Floats
    p: float
    level: float


def spectra(records: Records, spread: Floats | None = None) -> NDArray[np.complex64]:
    """Fourier coefficients of standardised log windows, (records, frequencies), of unit norm as series.

    spread: (frequencies,) by which they are divided, from `usual_spread`.
    """
    mean = np.maximum(records.values.mean(axis=1, keepdims=True, dtype=np.float64), 1e-30)
    logs = np.log(records.values / mean + FLOOR)
    logs -= logs.mean(axis=1, keepdims=True)
    whole = np.fft.rfft(logs, axis=1)
    whole[:, 0] = 0.0
    if spread is not None:
        whole /= spread
    series = np.fft.irfft(whole, n=logs.shape[1], axis=1)
    norm = np.sqrt((series**2).sum(axis=1, keepdims=True))
    out: NDArray[np.complex64] = (whole / np.where(norm > 1e-9, norm, np.inf)).astype(np.complex64)
    return out


def usual_spread(*parts: Records) -> Floats:
    """Root mean square size of each Fourier coefficient over the real records of both sides, none below 1% of all."""
    power: Floats = np.concatenate([np.abs(spectra(part)) ** 2 for part in parts]).mean(axis=0, dtype=np.float64)
    spread: Floats = np.sqrt(power + 1e-4 * power[1:].mean())
    return spread


def best_match(drawn: NDArray[np.complex64], real: NDArray[np.complex64], steps: int) -> Match:
    """For every row of `drawn` (n, F) the row of `real` (m, F) with the largest circular cross-correlation."""
    from scipy.fft import irfft

    conjugate = real.conj()[None]
    likeness = np.empty(len(drawn))
    record, shift = np.empty(len(drawn), dtype=np.intp), np.empty(len(drawn), dtype=np.intp)
    size = max(1, AT_ONCE // conjugate.size)
    for at in range(0, len(drawn), size):
        crossed = irfft(drawn[at : at + size, None] * conjugate, n=steps, axis=-1)  # (size, m, steps)
        flat = crossed.reshape(len(crossed), -1)
        best = flat.argmax(axis=1)
        likeness[at : at + size] = np.take_along_axis(flat, best[:, None], axis=1)[:, 0]
        record[at : at + size], shift[at : at + size] = np.divmod(best, steps)
    return Match(np.clip(likeness, 0.0, 1.0), record, shift)


def tail_law(holdout: Floats) -> tuple[float, float, float, float]:
    """(from, share above it, shape, scale) of a generalised Pareto law for the tail of -log(1 - likeness).

    Probability-weighted moments (Hosking and Wallis 1987, eq. 8); the shape is held within 0 (exponential) and
    HEAVIEST, so that it errs on the side of long tails.
    """
    y = np.sort(_stretched(holdout))
    k = int(min(len(y) - 1, max(FEWEST_IN_TAIL, round(TAIL * len(y)))))
    if k < 2:
        return float(y[-1]), 1.0, HEAVIEST, float(max(y[-1], 1e-9))
    start, over = float(y[-k - 1]), y[-k:] - y[-k - 1]
    a0, a1 = over.mean(), (over * (k - 1 - np.arange(k))).sum() / (k * (k - 1))
    shape = 2 - a0 / (a0 - 2 * a1) if a0 > 2 * a1 else HEAVIEST  # ours is minus Hosking and Wallis' k
    shape = float(np.clip(shape, 0.0, HEAVIEST))
    return start, k / len(y), shape, float(max(a0 * (1 - shape), 1e-9))


def tail_probability(likeness: Floats, law: tuple[float, float, float, float]) -> Floats:
    """P(an unrelated record's likeness exceeds the given one), never above the share in the tail."""
    start, share, shape, scale = law
    over = np.maximum(_stretched(likeness) - start, 0.0) / scale
    gone: Floats = share * (np.exp(-over) if shape == 0 else (1 + shape * over) ** (-1 / shape))
    return gone


def tail_quantile(probability: float, law: tuple[float, float, float, float]) -> float:
    """The mirror of `tail_probability`: the likeness that an unrelated record exceeds with this probability."""
    start, share, shape, scale = law
    ratio = min(1.0, probability / share)
    over = -np.log(ratio) if shape == 0 else (ratio**-shape - 1) / shape
    return float(-np.expm1(-(start + scale * over)))


def search(
    train: Records, holdout: Records, synthetic: Records, to_train: Match, to_holdout: Match, level: float
) -> Search:
    """The copies among the synthetic records. level: the chance of finding any where there are none."""
    law = tail_law(to_holdout.likeness)
    chances = len(synthetic.cell) * max(1.0, len(train.cell) / len(holdout.cell))  # more cells, more likenesses
    threshold = tail_quantile(level / chances, law)
    p = float(min(1.0, chances * tail_probability(to_train.likeness.max(keepdims=True), law)[0]))
    above = np.flatnonzero(to_train.likeness > threshold)
    above = above[np.argsort(-to_train.likeness[above], kind="stable")]
    copies = tuple(_copy(train, synthetic, to_train, int(row)) for row in above)
    return Search(threshold, copies, to_train.likeness, to_holdout.likeness, p, level)


def _copy(train: Records, synthetic: Records, match: Match, row: int) -> Copy:
    at = int(match.record[row])
    steps = train.values.shape[1]
    shift = int(match.shift[row])
    factor = float(synthetic.values[row].mean(dtype=np.float64) / train.values[at].mean(dtype=np.float64))
    return Copy(
        synthetic_cell=str(synthetic.ids[synthetic.cell[row]]),
        synthetic_member=int(synthetic.member[row]),
        synthetic_window=int(synthetic.window[row]),
        train_cell=str(train.ids[train.cell[at]]),
        train_window=int(train.window[at]),
        likeness=float(match.likeness[row]),
        shift=shift if shift <= steps // 2 else shift - steps,
        factor=factor,
        row=row,
        train_row=at,
    )


def _stretched(likeness: Floats) -> Floats:
    """-log(1 - likeness), finite: what is nearly a copy stands far out."""
    out: Floats = -np.log(np.maximum(1 - likeness, 1e-6))
    return out
