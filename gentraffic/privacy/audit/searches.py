"""Five ways in which a synthetic record can repeat training records, and how alike unrelated records come in each.

Each search gives every record its largest likeness to any training record: 1 for a copy of its kind. What unrelated
records reach is learned from the real files: every hold-out record against the training records, and every training
record against all the others. Those are as many chances as a synthetic record has, whatever the ratio of training to
hold-out, so one copy does not drown in a correction for that ratio. `extremes` says which likenesses are too large.

A generator may draw records that are more typical than real ones, and so more alike to all of them. That shows in how
alike they are to the hold-out, beside how alike real records are to it, and the search asks for so much more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gentraffic.privacy.audit.copy_search import EXACT, Match, best_match, spectra, spectra_of, usual_spread
from gentraffic.privacy.audit.records import FLOOR, Records
from gentraffic.privacy.audit.statistics import Floats

Singles = NDArray[np.float32]

SHIFT, PLACE, PARTS, DAYS, WARP, MIXTURE = (
    "any shift", "in place", "two days", "all days", "warped clock", "mixture of two"
)  # fmt: skip
ABOUT = {
    SHIFT: "the whole record at any shift and factor",
    PLACE: "the whole record in its place, under noise, a slow wave or a power",
    PARTS: "two of its days, from one training cell, wherever they stand there",
    DAYS: "all of its days, from one training cell, in any order and by the hour",
    WARP: "the record in means of three hours, its clock up to an hour ahead or behind, more here and less there",
    MIXTURE: "a sum of two training cells, in any shares",
}
NOISE = 0.10  # lognormal noise a step that the whitening expects of a copy
WAVE = 0.3  # size of the slow waves, and of the power, that it expects
WAVES = 3  # periods in a record of the slow waves
MOST_REAL = 1_000  # real records that serve as unrelated ones
TAIL_SHARE, TAIL_LEAST, TAIL_MOST = 0.08, 10, 100  # of the unrelated records are the tail
MIXTURE_TAIL = 0.03  # in the search for mixtures, where the tail becomes exponential later
CLOSEST = 1e-6  # 1 - likeness below it is rounding of single precision
WARP_WAVES = 2  # periods in a record of a clock that runs ahead and behind
FIRST = 8  # the most alike records that are tried as one half of a mixture
DENSE = 4e9  # products of windows beyond which windows are compared at whole days, and an hour around, only
AT_ONCE = 2**24  # likenesses that are held at once
IN_CACHE = 2**17  # likenesses that are held at once where they are compared again and again


@dataclass(frozen=True)
class Likeness:
    """How alike records are in one search. Each is -log(1 - likeness), `stretched`.

    train: (records,) of every synthetic record, the largest to any training record, and match: which that is.
    holdout, match_holdout: (records,) the same to hold-out records. usual: (n,) of real records to training records
    other than their own cell's. usual_holdout: (n,) of real records to hold-out records.
    """

    name: str
    match: Match
    match_holdout: Match
    usual: Floats
    usual_holdout: Floats

    @property
    def train(self) -> Floats:
        """-log(1 - likeness) to training, (records,)."""
        return stretched(self.match.likeness)

    @property
    def holdout(self) -> Floats:
        """-log(1 - likeness) to hold-out, (records,)."""
        return stretched(self.match_holdout.likeness)


@dataclass(frozen=True)
class Tail:
    """The tail of what unrelated records reach: `size` of `of` lie beyond `start`; `excess` is the sum of `terms`
    exceedances. highest: the largest of all, which a copy must pass."""

    start: float
    excess: float
    terms: int
    size: int
    of: int
    highest: float

    def expected(self, values: Floats, records: int) -> Floats:
        """How many of so many unrelated records would reach each of the values: (n,), capped at `records`.

        One exceedance over the sum of `terms` others of one exponential law is beta prime (1, terms) in law.
        """
        beyond = np.maximum(values - self.start, 0.0)
        out: Floats = records * self.size / self.of * (1 + beyond / self.excess) ** -float(self.terms)
        return np.where(values > self.highest, out, float(records))

    def reached_by(self, expected: float, records: int) -> float:
        """The value that `expected` of so many unrelated records reach."""
        ratio = records * self.size / self.of / expected
        return float(max(self.highest, self.start + self.excess * max(ratio ** (1 / self.terms) - 1, 0.0)))


def name_of_test(search: str) -> str:
    """What the test of a search's largest likeness is called."""
    return f"copies, {search}"


def stretched(likeness: Floats) -> Floats:
    """-log(1 - likeness): exponential in its tail, and finite. likeness: (any shape)."""
    out: Floats = -np.log(np.maximum(1 - likeness, CLOSEST))
    return out


def unstretched(value: float) -> float:
    """The likeness of a stretched one."""
    return float(-np.expm1(-value))


def tail_of(likeness: Likeness) -> Tail:
    """The tail of the unrelated records, moved by as much as synthetic records are more alike to the hold-out."""
    share = MIXTURE_TAIL if likeness.name == MIXTURE else TAIL_SHARE
    base, drawn, real = (_tail(values, share) for values in (likeness.usual, likeness.holdout, likeness.usual_holdout))
    more = max(0.0, drawn.start - real.start, drawn.highest - max(real.highest, base.highest))
    rate = max(base.excess / base.terms, drawn.excess / drawn.terms if drawn.terms >= TAIL_LEAST else 0.0)
    return replace(
        base, start=base.start + more, highest=max(base.highest + more, drawn.highest), excess=rate * base.terms
    )


def equal_above(likeness: Likeness) -> float:
    """What -log(1 - likeness) to training must pass to be called equal: what real records, and the hold-out, reach."""
    least = float(stretched(np.array(EXACT)))
    return float(max(likeness.usual.max(), likeness.usual_holdout.max(), likeness.holdout.max(), least))


def _tail(values: Floats, share: float) -> Tail:
    """Equal values, such as those of two real records to each other, count once among the exceedances."""
    y = np.sort(values)[::-1]
    k = int(np.clip(round(share * len(y)), min(TAIL_LEAST, len(y) // 2), TAIL_MOST))
    if k < 2:
        return Tail(float(y[0]), 1.0, 1, 1, len(y), float(y[0]))
    start = float(y[k])
    single = np.unique(np.round(y[:k], 6)) - start
    return Tail(start, max(float(single.sum()), 1e-6), max(len(single) - 1, 1), k, len(y), float(y[0]))


class Whitening:
    """Directions in which records differ much count as little as those in which they differ little.

    samples: (n, steps). nuisance: (m, steps), what a copy may have added to it, at its usual size; with NOISE at every
    step it counts as difference that says nothing (linear discriminant analysis, Fisher 1936).
    """

    def __init__(self, samples: Floats, nuisance: Floats) -> None:
        self.mean = samples.mean(axis=0)
        moved = samples - self.mean
        values, vectors = np.linalg.eigh(
            moved.T @ moved / len(samples) + nuisance.T @ nuisance + NOISE**2 * np.eye(samples.shape[1])
        )
        self.basis = vectors / np.sqrt(values)

    def __call__(self, rows: Floats) -> Singles:
        """(n, steps) -> (n, steps) of norm 1; zeros for what is the mean itself."""
        out = (rows - self.mean) @ self.basis
        norm = np.linalg.norm(out, axis=1, keepdims=True)
        unit: Singles = (out / np.where(norm > 1e-9, norm, np.inf)).astype(np.float32)
        return unit


def shape(values: NDArray[np.float32]) -> Floats:
    """log(value / the record's mean + FLOOR), (records, steps). values: (records, steps)."""
    mean = np.maximum(values.mean(axis=1, keepdims=True, dtype=np.float64), 1e-30)
    out: Floats = np.log(values / mean + FLOOR)
    return out


def nuisance(shapes: Floats) -> Floats:
    """A factor, slow waves and a power on records of these shapes (n, steps): (2 WAVES + 2, steps)."""
    steps = shapes.shape[1]
    angle = 2 * np.pi * np.arange(1, WAVES + 1)[:, None] * np.arange(steps) / steps
    mean = shapes.mean(axis=0)
    out: Floats = np.concatenate([np.ones((1, steps)), WAVE * np.sin(angle), WAVE * np.cos(angle), WAVE * mean[None]])
    return out


def tells(windows: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which windows (n, steps) hold enough different values that an equal one is no chance: half of the steps."""
    order = np.sort(windows, axis=1)
    different = (np.diff(order, axis=1) > 1e-4 * order[:, -1:]).sum(axis=1)
    out: NDArray[np.bool_] = different >= windows.shape[1] // 2
    return out


def _best(likeness: NDArray[Any], excluded: NDArray[np.bool_] | None) -> tuple[Floats, NDArray[np.intp]]:
    """Largest value of every row, and where."""
    if excluded is not None:
        likeness = np.where(excluded, 0.0, likeness)
    record = likeness.argmax(axis=1)
    return np.take_along_axis(likeness, record[:, None], axis=1)[:, 0].astype(np.float64), record


def _match(likeness: Floats, record: NDArray[np.intp]) -> Match:
    return Match(np.clip(likeness, 0.0, 1.0), record, np.zeros(len(record), dtype=np.intp))


def match_in_place(a: Singles, b: Singles, excluded: NDArray[np.bool_] | None = None) -> Match:
    """The row of b (m, d) most alike to every row of a (n, d), unit vectors.

    excluded: (n, m) pairs that are not looked at.
    """
    _, record = _best(a @ b.T, excluded)
    apart = a.astype(np.float64) - b[record]
    there = (a != 0).any(axis=1)
    return _match(np.where(there, 1 - (apart**2).sum(axis=1) / 2, 0.0), record)


def match_mixture(a: Singles, b: Singles, excluded: NDArray[np.bool_] | None = None) -> Match:
    """How much of every row of a (n, d) two rows of b (m, d) explain with weights above 0: R^2; the heavier one.

    excluded: (n, m) pairs that are not looked at.
    """
    c = np.maximum(a @ b.T, 0.0)
    if excluded is not None:
        c = np.where(excluded, np.float32(0), c)
    first = np.argpartition(-c, min(FIRST, c.shape[1]) - 1, axis=1)[:, :FIRST]
    best, record = np.zeros(len(a)), c.argmax(axis=1)
    rows = np.arange(len(a))
    for k in range(first.shape[1]):
        one = first[:, k]
        g = b[one] @ b.T
        ca = c[rows, one][:, None]
        free = 1 - g**2
        usable = (free > 0.05) & (ca > g * c) & (c > g * ca)
        explained = np.where(usable, (ca**2 + c**2 - 2 * g * ca * c) / np.maximum(free, 0.05), ca**2)
        there = explained.argmax(axis=1)
        value = explained[rows, there]
        better = value > best
        best, record = np.where(better, value, best), np.where(better, one, record)
    return _match(best, record)


class Warps:
    """Records in coarse means, as subspaces of what a moving clock makes of them, whitened.

    size: steps of a coarse mean. hour: steps by which the clock is off at most; 0 where a step is longer than that.
    """

    def __init__(self, values: NDArray[np.float32], size: int, hour: int) -> None:
        self.size, self.hour = size, hour
        shapes = shape(self._coarse(values))
        self.whitening = Whitening(shapes, nuisance(shapes))

    def rows(self, values: NDArray[np.float32]) -> Singles:
        """(records, coarse steps) of norm 1. values: (records, steps)."""
        return self.whitening(shape(self._coarse(values)))

    def bases(self, values: NDArray[np.float32]) -> Singles:
        """(records, coarse steps, dimensions): an orthonormal basis of each record and its moved clocks.

        A clock that is off by g(t) hours makes of a series a mixture of it and of it an hour on: a + g (b - a), to
        first order; g is any mixture of a constant, a drift and WARP_WAVES slow waves, for either direction.
        values: (records, steps).
        """
        here = shape(self._coarse(values))
        moved = [here - self.whitening.mean]
        if self.hour:
            at = np.arange(here.shape[1]) / here.shape[1]
            waves = [f(2 * np.pi * k * at) for k in range(1, WARP_WAVES + 1) for f in (np.sin, np.cos)]
            for by in (-self.hour, self.hour):
                apart = shape(self._coarse(np.roll(values, by, axis=1))) - here
                moved += [g * apart for g in (np.ones_like(at), at, *waves)]
        spans = np.einsum("knt,td->ndk", np.stack(moved), self.whitening.basis)
        basis: Singles = np.linalg.qr(spans)[0].astype(np.float32)
        return basis

    def _coarse(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        whole = values.shape[1] // self.size * self.size
        out: NDArray[np.float32] = values[:, :whole].reshape(len(values), -1, self.size).mean(axis=2)
        return out


def match_warped(a: Singles, b: Singles, excluded: NDArray[np.bool_] | None = None) -> Match:
    """The basis of b (m, d, k) that explains most of every row of a (n, d): R^2.

    excluded: (n, m) pairs that are not looked at.
    """
    m, d, k = b.shape
    flat = np.ascontiguousarray(b.transpose(1, 2, 0)).reshape(d, k * m)
    size = max(1, AT_ONCE // (m * k))
    best, record = np.empty(len(a)), np.empty(len(a), dtype=np.intp)
    for at in range(0, len(a), size):
        explained = ((a[at : at + size] @ flat) ** 2).reshape(-1, k, m).sum(axis=1)
        out = None if excluded is None else excluded[at : at + size]
        best[at : at + size], record[at : at + size] = _best(explained, out)
    return _match(best, record)


class Windows:
    """Records as days, and as windows of a day at every offset, whitened, for the searches over parts of the week."""

    def __init__(self, whitening: Whitening, day: int, steps: int) -> None:
        self.whitening, self.day, self.steps = whitening, day, steps

    def days(self, values: NDArray[np.float32]) -> Singles:
        """(records, days, day) of unit norm; zeros for days that tell nothing. values: (records, steps)."""
        return self._at(values, np.arange(0, self.steps - self.day + 1, self.day))

    def everywhere(self, values: NDArray[np.float32], records: int) -> Singles:
        """(records, offsets, day): at every offset, or where that is too many at whole days and an hour around.

        values: (records, steps).
        """
        last, day = self.steps - self.day, self.day
        offsets = np.arange(last + 1)
        if float(records) * len(values) * len(offsets) * self.steps > DENSE:
            near = (offsets % day <= 1) | (offsets % day == day - 1)
            offsets = offsets[near]
            if float(records) * len(values) * len(offsets) * self.steps > DENSE:
                offsets = offsets[offsets % day == 0]
        return self._at(values, offsets)

    def _at(self, values: NDArray[np.float32], offsets: NDArray[np.intp]) -> Singles:
        cut = values[:, offsets[:, None] + np.arange(self.day)]  # (records, offsets, day)
        flat = cut.reshape(-1, self.day)
        out = self.whitening(shape(flat))
        out[~tells(flat)] = 0.0
        return out.reshape(cut.shape)


def match_days(a: Singles, b: Singles, excluded: NDArray[np.bool_] | None = None) -> tuple[Match, Match]:
    """The best two days, and all days, of every record of a (n, days, d) in one record of b (m, offsets, d).

    The likeness of several days is that of their mean -log(1 - likeness).
    excluded: (n, m) pairs that are not looked at.
    """
    n, days, d = a.shape
    m = b.shape[0]
    target = np.ascontiguousarray(b.transpose(1, 2, 0))  # (offsets, d, m)
    size = max(1, IN_CACHE // max(1, days * m))
    here = np.empty((size * days, m), dtype=np.float32)
    two, every = np.empty((2, n)), np.empty((2, n))
    for at in range(0, n, size):
        part = a[at : at + size].reshape(-1, d)
        likeness = part @ target[0]
        for offset in target[1:]:  # one at a time: what is compared stays in the cache
            np.maximum(likeness, np.matmul(part, offset, out=here[: len(part)]), out=likeness)
        y = stretched(np.minimum(likeness, 1.0).reshape(-1, days, m))
        if excluded is not None:
            y = np.where(excluded[at : at + size, None], 0.0, y)
        for out, mean in ((two, np.sort(y, axis=1)[:, -2:].mean(axis=1)), (every, y.mean(axis=1))):
            record = mean.argmax(axis=1)
            out[0, at : at + size] = np.take_along_axis(mean, record[:, None], axis=1)[:, 0]
            out[1, at : at + size] = record
    first, second = (_match(-np.expm1(-out[0]), out[1].astype(np.intp)) for out in (two, every))
    return first, second


class Searches:
    """All searches over one set of files: what real records reach is computed once, then any records are matched.

    train, holdout: the real records. drawn: the synthetic ones; how records usually differ is learned of all three
    together, so that none is favoured. day: steps of a day.
    """

    def __init__(self, train: Records, holdout: Records, drawn: Records, day: int, seed: int = 0) -> None:
        self.sides, self.day = {"train": train, "holdout": holdout}, day
        self.steps, self.most = train.values.shape[1], len(drawn.cell)
        self.spread = usual_spread(train, holdout)
        every = np.concatenate([train.values, holdout.values, drawn.values])
        shapes = shape(every)
        self.place = Whitening(shapes, nuisance(shapes))
        self.ratio = Whitening(_ratio(every), np.zeros((0, self.steps)))
        self.warps = Warps(every, max(1, day // 8), day // 24)
        days = every[:, : self.steps // day * day].reshape(-1, day)
        kept = np.random.default_rng((seed, 31)).permutation(len(days))[:20_000]
        self.windows = Windows(Whitening(shape(days[kept]), np.zeros((0, day))), day, self.steps)
        self.targets = {side: self.target(records) for side, records in self.sides.items()}
        rng = np.random.default_rng((seed, 32))
        self.kept = {side: np.sort(rng.permutation(len(part.cell))[:MOST_REAL]) for side, part in self.sides.items()}
        self.usual_side = np.repeat(list(self.kept), [len(rows) for rows in self.kept.values()])
        self.usual_units = np.concatenate([units_of(p, side)[self.kept[side]] for side, p in self.sides.items()])
        self.usual = {side: self._usual(side) for side in self.sides}

    def likeness(self, drawn: Records, progress: Callable[[int, int], None] | None = None) -> dict[str, Likeness]:
        """Name of a search -> what these records reach in it."""
        to_train, to_holdout = (self.match(drawn.values, side, None, progress) for side in ("train", "holdout"))
        return {
            name: Likeness(
                name,
                to_train[name],
                to_holdout[name],
                stretched(self.usual["train"][name].likeness),
                stretched(self.usual["holdout"][name].likeness),
            )
            for name in ABOUT
        }

    def target(self, records: Records) -> dict[str, Any]:
        """Records as `match` takes them."""
        return {
            SHIFT: spectra(records, self.spread),
            PLACE: self.place(shape(records.values)),
            PARTS: self.windows.everywhere(records.values, self.most),
            WARP: self.warps.bases(records.values),
            MIXTURE: self.ratio(_ratio(records.values)),
        }

    def match(
        self,
        values: NDArray[np.float32],
        side: str,
        excluded: NDArray[np.bool_] | None = None,
        progress: Callable[[int, int], None] | None = None,
        target: dict[str, Any] | None = None,
    ) -> dict[str, Match]:
        """Name of a search -> the most alike record of a side ("train", "holdout"), or of other targets, of every one
        of values (n, steps). excluded: (n, records) pairs that are not looked at."""
        target = self.targets[side] if target is None else target
        parts, days = match_days(self.windows.days(values), target[PARTS], excluded)
        drawn = spectra_of(values, self.spread)
        return {
            SHIFT: best_match(drawn, target[SHIFT], self.steps, progress, excluded),
            PLACE: match_in_place(self.place(shape(values)), target[PLACE], excluded),
            PARTS: parts,
            DAYS: days,
            WARP: match_warped(self.warps.rows(values), target[WARP], excluded),
            MIXTURE: match_mixture(self.ratio(_ratio(values)), target[MIXTURE], excluded),
        }

    def _usual(self, side: str) -> dict[str, Match]:
        """Real records of both sides against those of one, but for a record's own cell and what was drawn with it."""
        rows = np.concatenate([part.values[self.kept[name]] for name, part in self.sides.items()])
        return self.match(rows, side, self.usual_units[:, None] == units_of(self.sides[side], side)[None, :])


def units_of(records: Records, side: str) -> NDArray[Any]:
    """What each record belongs to, named: its group, else its cell: (records,)."""
    names = np.array([f"{side}/{cell}" for cell in records.ids]) if records.groups is None else records.groups
    out: NDArray[Any] = names.astype(str)[records.cell]
    return out


def _ratio(values: NDArray[np.float32]) -> Floats:
    out: Floats = values / np.maximum(values.mean(axis=1, keepdims=True, dtype=np.float64), 1e-30)
    return out
