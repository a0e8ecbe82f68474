"""A search for copies among synthetic records, also of shifted and rescaled ones.

Every window is divided by its mean, logged and standardised, so that a factor on it does not matter; its Fourier
coefficients are divided by how large they usually are among the real cells, so that the daily rhythm, which all cells
share, counts no more than what is a cell's own (whitening; Knapp and Carter 1976 for the cross-correlation of two
receivers). The likeness of two windows is the largest cross-correlation over all circular shifts, by FFT: 1 for a copy,
whatever its factor and its shift in hours or days.

How alike unrelated windows come is learned from the hold-out, of which there can be no copies. The chance that a
nearest neighbour is closer than r falls like a power of r (Levina and Bickel 2004), so -log(1 - likeness) has an
exponential tail: the hold-out says where it begins and how fast it falls, and so which likeness names a record. Whether
the likenesses to training are too large as a whole is an exact test over real cells (`excess_test`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gentraffic.privacy.audit.records import FLOOR, Records
from gentraffic.privacy.audit.statistics import Floats, permutation_p

Spectra = NDArray[np.complex128]

AT_ONCE = 2**20  # complex numbers that are held at once: they stay in the cache
TAIL = 20  # of the hold-out's likenesses are the tail: fewer say little, more are not yet exponential
SPARE = 0.05  # of a record may be named a copy wrongly, on average
FINEST = 1e-12  # 1 - likeness below it is rounding
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
    search: str = "any shift"

    @property
    def kind(self) -> str:
        """exact or near, shifted or not, rescaled or not; or what the search that names it looks for."""
        if self.search not in ("any shift", "in place"):
            return self.search
        words = ["exact" if self.likeness > EXACT else "near"]
        words += ["shifted"] if self.shift else []
        words += ["rescaled"] if abs(np.log(self.factor)) > 0.02 else []
        return ", ".join(words)


@dataclass(frozen=True)
class Search:
    """What the search found. train, holdout: (records,) the largest likeness to any cell of each. p: of what exceeds
    the tail, were there no copies. copies: where p <= level, the records above `threshold`, which no likeness to the
    hold-out reaches and which SPARE unrelated records would exceed on average."""

    threshold: float
    copies: tuple[Copy, ...]
    train: Floats
    holdout: Floats
    p: float
    level: float


def spectra(records: Records, spread: Floats | None = None) -> Spectra:
    """Fourier coefficients of standardised log windows, (records, frequencies), of unit norm as series.

    spread: (frequencies,) by which they are divided, from `usual_spread`.
    """
    return spectra_of(records.values, spread)


def spectra_of(values: NDArray[np.float32], spread: Floats | None = None) -> Spectra:
    """As `spectra`, of values (records, steps). spread: (frequencies,) by which each frequency is divided."""
    mean = np.maximum(values.mean(axis=1, keepdims=True, dtype=np.float64), 1e-30)
    logs = np.log(values / mean + FLOOR)
    whole = np.fft.rfft(logs, axis=1)
    whole[:, 0] = 0.0
    if spread is not None:
        whole /= spread
    norm = np.sqrt((np.fft.irfft(whole, n=logs.shape[1], axis=1) ** 2).sum(axis=1, keepdims=True))
    out: Spectra = whole / np.where(norm > 1e-9, norm, np.inf)
    return out


def usual_spread(*parts: Records) -> Floats:
    """Root mean square size of each Fourier coefficient over the real records of both sides, none below 1% of all."""
    power: Floats = np.concatenate([np.abs(spectra(part)) ** 2 for part in parts]).mean(axis=0, dtype=np.float64)
    spread: Floats = np.sqrt(power + 1e-4 * power[1:].mean())
    return spread


def best_match(
    drawn: Spectra,
    real: Spectra,
    steps: int,
    progress: Callable[[int, int], None] | None = None,
    excluded: NDArray[np.bool_] | None = None,
) -> Match:
    """For every row of `drawn` (n, F) the row of `real` (m, F) with the largest circular cross-correlation.

    excluded: (n, m) pairs that are not looked at.

    The search is in single precision; the likeness of what it finds is then 1 - |a - b|^2 / 2 in double precision, so
    that an exact copy is told from a very good one. progress is told (rows done, of all).
    """
    from scipy.fft import irfft

    coarse, conjugate = drawn.astype(np.complex64), real.conj()[None].astype(np.complex64)
    record, shift = np.empty(len(drawn), dtype=np.intp), np.empty(len(drawn), dtype=np.intp)
    size = max(1, AT_ONCE // conjugate.size)
    for at in range(0, len(drawn), size):
        crossed = irfft(coarse[at : at + size, None] * conjugate, n=steps, axis=-1)  # (size, m, steps)
        if excluded is not None:
            crossed[excluded[at : at + size]] = -1.0
        record[at : at + size], shift[at : at + size] = np.divmod(crossed.reshape(len(crossed), -1).argmax(1), steps)
        if progress is not None:
            progress(at + len(crossed), len(drawn))
    a, b = (np.fft.irfft(part, n=steps, axis=1) for part in (drawn, real[record]))
    moved = np.take_along_axis(b, (np.arange(steps) - shift[:, None]) % steps, axis=1)
    likeness = 1 - ((a - moved) ** 2).sum(axis=1) / 2
    empty = (a == 0).all(axis=1) | (b == 0).all(axis=1)  # a constant series is like nothing
    return Match(np.where(empty, 0.0, np.clip(likeness, 0.0, 1.0)), record, shift)


def excess_test(
    train: Records, holdout: Records, to_train: Match, to_holdout: Match, rng: np.random.Generator
) -> float:
    """p of "synthetic records are no more alike to training cells than to hold-out cells", exact at any ratio.

    A synthetic record speaks for the one real cell that it is most like, of either side, by as much as its
    y = -log(1 - likeness) exceeds what all but the TAIL largest reach; a cell is worth the largest excess that speaks
    for it. A generator that saw neither side does not know which cell is on which, so cells (groups, where there are
    any) change sides (`statistics.permutation_p`): a generator whose records are all alike, and so all near to one
    cell, is one piece of evidence and not as many as it has records.
    to_train, to_holdout: (records,) the most alike record of either side.
    """
    both = _stretched(np.stack([to_train.likeness, to_holdout.likeness]))
    nearest = both.max(axis=0)
    k = min(TAIL, len(nearest) - 1)
    start = np.sort(nearest)[::-1][k] if k else 0.0
    mine = both[0] >= both[1]  # a tie is two real records that are equal: rare, and taken against the generator
    cell = np.where(mine, train.cell[to_train.record], train.cells + holdout.cell[to_holdout.record])
    worth = np.zeros(train.cells + holdout.cells)
    np.maximum.at(worth, cell, nearest - start)
    member = np.arange(len(worth)) < train.cells
    alone = np.arange(len(worth))
    groups = alone if train.groups is None or holdout.groups is None else np.concatenate([train.groups, holdout.groups])
    return permutation_p(worth, member, groups, rng) if worth.any() else 1.0


def named_above(holdout: Floats, records: int, ratio: float = 1.0) -> float:
    """The likeness that SPARE of so many unrelated records exceed on average, and none to the hold-out reaches.

    The tail begins at the k-th largest of the N likenesses to the hold-out (k = TAIL, half of them where there are
    fewer than 2 TAIL); y = -log(1 - likeness) beyond it is taken to be exponential. One exceedance over the sum of the
    k - 1 of the hold-out is then beta prime (1, k - 1) in law. ratio: training cells per hold-out cell.
    holdout: (N,) likenesses.
    """
    k, start, scale = _tail(holdout)
    if k < 2:
        return float(holdout.max())
    beyond = records * max(1.0, ratio) * k / len(holdout)  # unrelated records in the tail
    far = start + scale * max((beyond / SPARE) ** (1 / (k - 1)) - 1, 0.0)
    return float(max(holdout.max(), -np.expm1(-far)))


def _tail(holdout: Floats) -> tuple[int, float, float]:
    """(k, where the tail begins, the sum of the k - 1 exceedances) of -log(1 - likeness)."""
    y = np.sort(_stretched(holdout))
    k = min(TAIL, len(y) // 2)
    start = float(y[-k]) if k else float(y[-1])
    return k, start, max(float((y[len(y) - k :] - start).sum()), 1e-9)


def search(
    train: Records,
    holdout: Records,
    synthetic: Records,
    to_train: Match,
    to_holdout: Match,
    level: float,
    rng: np.random.Generator,
) -> Search:
    """The copies among the synthetic records. level: the chance of finding any where there are none."""
    p = excess_test(train, holdout, to_train, to_holdout, rng)
    threshold = named_above(to_holdout.likeness, len(synthetic.cell), len(train.cell) / len(holdout.cell))
    above = np.flatnonzero(to_train.likeness > threshold) if p <= level else np.empty(0, dtype=np.intp)
    above = above[np.argsort(-to_train.likeness[above], kind="stable")]
    copies = tuple(copy_of(train, synthetic, to_train, int(row)) for row in above)
    return Search(threshold, copies, to_train.likeness, to_holdout.likeness, p, level)


def copy_of(train: Records, synthetic: Records, match: Match, row: int, search: str = "any shift") -> Copy:
    """Record `row` as a copy of the training record that it matches in a search."""
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
        search=search,
    )


def _stretched(likeness: Floats) -> Floats:
    """-log(1 - likeness), finite: what is nearly a copy stands far out."""
    out: Floats = -np.log(np.maximum(1 - likeness, FINEST))
    return out
