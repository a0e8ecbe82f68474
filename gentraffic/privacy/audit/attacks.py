"""Membership inference from samples alone: how near synthetic records come to members and to non-members.

All compare log(value / scale + FLOOR) on the one scale of `privacy.audit.records`. None looks at which real cell was
trained on before it scores, so a generator that has seen nothing gives members and non-members scores of one law.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gentraffic.privacy.audit.records import Records
from gentraffic.privacy.audit.statistics import Attack, Floats, halves, judge, share_test

COMPONENTS = 6  # principal components in which densities are estimated: kernels need many records in more
AT_ONCE = 2**22  # distances that are held at once
TIE = 1e-6  # relative: squared differences nearer to each other than float32 can tell are equal

NEAREST = "nearest distance"
DENSITY = "density ratio"


@dataclass(frozen=True)
class Share:
    """Share of synthetic records whose closest real record is a training cell's, ties counted half; 0.5 by chance.

    cells: of training and of hold-out alike. p: one-sided.
    """

    value: float
    cells: int
    records: int
    ties: int
    p: float


@dataclass(frozen=True)
class Nearest:
    """The two least differences of every synthetic record, to training cells and to hold-out cells of one number."""

    train: Floats
    holdout: Floats


def squared_distances(a: NDArray[np.float32], b: NDArray[np.float32]) -> Floats:
    """Mean squared difference of every row of a (n, T) and of b (m, T): (n, m), float64."""
    x, y = a.astype(np.float64), b.astype(np.float64)
    centre = y.mean(axis=0)
    x, y = x - centre, y - centre
    squared = (x**2).sum(1)[:, None] + (y**2).sum(1)[None, :] - 2 * x @ y.T
    out: Floats = np.maximum(squared, 0.0) / a.shape[1]
    return out


def nearest_squared(real: Records, synthetic: Records) -> tuple[Floats, NDArray[np.intp], Floats]:
    """Least squared distances: (of every real record (n,), the real record nearest to every synthetic one (m,), its
    squared distance (m,))."""
    size = max(1, AT_ONCE // len(real.cell))
    least = np.full(len(real.cell), np.inf)
    where, value = [], []
    for at in range(0, len(synthetic.cell), size):
        squared = squared_distances(synthetic.log[at : at + size], real.log)
        np.minimum(least, squared.min(axis=0), out=least)
        where.append(squared.argmin(axis=1))
        value.append(squared.min(axis=1))
    return least, np.concatenate(where), np.concatenate(value)


def per_cell(values: Floats, real: Records, *, most: bool) -> Floats:
    """The largest (or least) value among the windows of every cell: (cells,).

    values: (records,) one per window of `real`.
    """
    out = np.full(real.cells, -np.inf if most else np.inf)
    (np.maximum if most else np.minimum).at(out, real.cell, values)
    return out


def nearest_attack(train: Records, holdout: Records, synthetic: Records, rng: np.random.Generator) -> Attack:
    """Score: minus the root mean square log difference between a cell and the nearest synthetic record.

    Chen et al., "GAN-Leaks" (CCS 2020), section 4.2: a full black-box attack.
    """
    scores = [-np.sqrt(per_cell(nearest_squared(part, synthetic)[0], part, most=False)) for part in (train, holdout)]
    about = "how near a synthetic record comes to the cell (GAN-Leaks, Chen et al. 2020)"
    return judge(NEAREST, about, scores[0], scores[1], rng, _groups(train, holdout))


def density_attack(train: Records, holdout: Records, synthetic: Records, rng: np.random.Generator) -> Attack:
    """Score: log of the density of the synthetic records at a cell over the density of the population there.

    DOMIAS (van Breugel, Sun, Qian and van der Schaar, AISTATS 2023), eq. 2, with Gaussian kernels over principal
    components. The population's density needs a reference that is neither judged nor trained on: one half of the
    hold-out, so that the other half alone are non-members here.
    """
    first, second = halves(holdout.cells, rng, holdout.groups)
    reference, judged = holdout.only(first), holdout.only(second)
    project = _components(np.concatenate([synthetic.log, reference.log]))
    drawn, known = project(synthetic.log), project(reference.log)
    scores = []
    for part in (train, judged):
        at = project(part.log)
        scores.append(per_cell(log_density(at, drawn) - log_density(at, known), part, most=True))
    about = "density of the synthetic records over that of half the hold-out (DOMIAS, van Breugel et al. 2023)"
    return judge(DENSITY, about, scores[0], scores[1], rng, _groups(train, judged))


def log_density(at: Floats, points: Floats) -> Floats:
    """Gaussian kernel density of `points` (n, d) at `at` (m, d), in logs: (m,); bandwidth of Scott (1992)."""
    n, d = points.shape
    width = n ** (-1 / (d + 4))
    out = np.empty(len(at))
    size = max(1, AT_ONCE // n)
    for i in range(0, len(at), size):
        part = at[i : i + size]
        squared = (part**2).sum(1)[:, None] + (points**2).sum(1)[None, :] - 2 * part @ points.T
        exponent = -np.maximum(squared, 0.0) / (2 * width**2)
        top = exponent.max(axis=1)
        out[i : i + size] = top + np.log(np.exp(exponent - top[:, None]).sum(axis=1))
    log: Floats = out - np.log(n) - d * np.log(width) - 0.5 * d * np.log(2 * np.pi)
    return log


def closest_share(
    train: Records, holdout: Records, synthetic: Records, rng: np.random.Generator
) -> tuple[Share, Nearest]:
    """How many synthetic records lie closer to training than to a hold-out of as many cells.

    The larger side is cut to the size of the smaller by lot. p: records that share a closest cell are one piece of
    evidence, so cells change sides, not records (`audit_statistics.share_test`).
    """
    cells = min(train.cells, holdout.cells)
    sides = [p.only(np.sort(rng.permutation(p.cells)[:cells])) if p.cells > cells else p for p in (train, holdout)]
    nearest = [nearest_squared(side, synthetic)[1:] for side in sides]
    (t_at, t), (h_at, h) = nearest
    tie = np.abs(t - h) <= TIE * np.maximum(t, h) + 1e-12
    to_train = np.where(tie, 0.5, (t < h).astype(np.float64))
    weights = np.concatenate(
        [
            np.bincount(sides[0].cell[t_at], to_train, cells),
            np.bincount(sides[1].cell[h_at], 1 - to_train, cells),
        ]
    )
    groups = _groups(*sides)
    p = share_test(weights, np.arange(2 * cells) < cells, None if groups is None else np.concatenate(groups), rng)
    share = Share(float(to_train.mean()), cells, len(to_train), int(tie.sum()), p)
    return share, Nearest(np.sqrt(t), np.sqrt(h))


def _components(rows: NDArray[np.float32]) -> Any:
    """Projection onto the first principal components of `rows` (n, T), each with unit spread: a function."""
    centre = rows.mean(axis=0, dtype=np.float64)
    moved = rows - centre
    values, vectors = np.linalg.eigh(moved.T @ moved / len(rows))
    kept = slice(-min(COMPONENTS, int((values > 1e-12 * values[-1]).sum()), len(rows) - 1), None)
    basis = vectors[:, kept] / np.sqrt(values[kept])

    def project(part: NDArray[np.float32]) -> Floats:
        out: Floats = (part - centre) @ basis
        return out

    return project


def _groups(a: Records, b: Records) -> tuple[NDArray[Any], NDArray[Any]] | None:
    return None if a.groups is None or b.groups is None else (a.groups, b.groups)
