"""Bi-level sample weighting by cutting planes: which synthetic samples make a forecaster right about the real ones.

Samples come in G groups (G = blocks of synthetic cells, and the real samples that may be trained on). With group
weights w (G,) on the simplex, group losses L_g and parameters theta (P, outputs):

    inner    theta*(w) = argmin over theta of  sum_g w_g L_g(theta) + ridge / 2 |theta - theta_0|^2
    outer    min over w >= 0, sum w = 1 of     Phi(w) = F(theta*(w))       F: the loss on real samples kept aside

Inner: theta is the linear head over the network's features, so the inner problem is strictly convex and solved exactly:
L_g(theta) = mean over the group of |x theta - y|^2 / 2 with moments A_g (P, P), B_g (P, outputs), and

    (sum_g w_g A_g + ridge I) theta* = sum_g w_g B_g + ridge theta_0
    dPhi / dw_g = - <A_g theta* - B_g, H^-1 (A theta* - B)>   H: the matrix on the left, A, B: the moments of F

Cuts: the inner optimum enters the outer problem by planes only, as in bi-level optimisation by polyhedral approximation
(Jiao, Yang, Wu, Song, Jian, "Asynchronous Distributed Bilevel Optimization", ICLR 2023). Cut k, (value (), slope (G,))
at w_k, says Phi(w) >= value + slope . (w - w_k); they are collected in slopes (K, G), offsets (K,). The model's optimum
is a linear programme over (w, t), G + 1 variables: min t, t >= every cut, w on the simplex and within a radius of the
best weights so far (a trust region, so that a step is only taken where the cuts are to be believed). Where Phi is
convex the cuts bound it from below, and Kelley's theorem gives the optimum (Kelley, J. SIAM 8, 1960). Where it is not,
a cut that lies above Phi at the best weights is lowered to it: a cut for weakly convex functions (Jiao et al.,
"Provably Convergent Federated Trilevel Learning", AAAI 2024, mu-cuts), and every step still lowers Phi.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Outer = Callable[[Floats], tuple[float, Floats]]


@dataclass(frozen=True)
class Moments:
    """Squared losses of groups, |x theta - y|^2 / 2 in the mean: gram (G, P, P), cross (G, P, outputs), square (G,)."""

    gram: Floats
    cross: Floats
    square: Floats

    def loss(self, theta: Floats) -> Floats:
        """theta (P, outputs) -> (G,)."""
        curved, straight = np.einsum("po,gpq,qo->g", theta, self.gram, theta), np.einsum("po,gpo->g", theta, self.cross)
        return np.asarray(curved / 2 - straight + self.square)

    def some(self, which: Sequence[int] | slice | NDArray[np.bool_]) -> Moments:
        """Those of some of the groups. which: (G,) bool, or positions."""
        return Moments(self.gram[which], self.cross[which], self.square[which])


def moments(x: list[Floats], y: list[Floats]) -> Moments:
    """Of groups with samples x (n, P) and y (n, outputs), n >= 1 of its own in each."""
    return Moments(
        np.stack([a.T @ a / len(a) for a in x]),
        np.stack([a.T @ b / len(a) for a, b in zip(x, y, strict=True)]),
        np.array([np.square(b).sum() / (2 * len(b)) for b in y]),
    )


def stacked(parts: Sequence[Moments]) -> Moments:
    """Groups of all parts in a row."""
    return Moments(*(np.concatenate([getattr(p, name) for p in parts]) for name in ("gram", "cross", "square")))


def pooled(parts: Sequence[Moments], counts: Floats) -> Moments:
    """All groups of all parts as one group: counts (groups of all parts,) samples in each."""
    every, share = stacked(parts), counts / counts.sum()
    return Moments(*(np.tensordot(share, values, 1)[None] for values in (every.gram, every.cross, every.square)))


@dataclass(frozen=True)
class HeadProblem:
    """The bi-level problem of one linear head. inner: moments of the G groups; outer: of the real samples (1 group).

    start: theta_0 (P, outputs); ridge: how strongly theta is held there, positive.
    """

    inner: Moments
    outer: Moments
    start: Floats
    ridge: float

    def solve(self, weights: Floats) -> Floats:
        """theta*(w) (P, outputs). weights: (G,) of the groups."""
        rhs = np.tensordot(weights, self.inner.cross, 1) + self.ridge * self.start
        return np.asarray(np.linalg.solve(self._curvature(weights), rhs), dtype=np.float64)

    def __call__(self, weights: Floats) -> tuple[float, Floats]:
        """Phi(w) and its gradient (G,), by the implicit function theorem."""
        theta = self.solve(weights)
        force = self.outer.gram[0] @ theta - self.outer.cross[0]
        adjoint = np.linalg.solve(self._curvature(weights), force)
        pull = np.einsum("gpq,qo->gpo", self.inner.gram, theta) - self.inner.cross
        return float(self.outer.loss(theta)[0]), -np.einsum("gpo,po->g", pull, adjoint)

    def _curvature(self, weights: Floats) -> Floats:
        out: Floats = np.tensordot(weights, self.inner.gram, 1) + self.ridge * np.eye(self.start.shape[0])
        return out


@dataclass(frozen=True)
class Weighting:
    """weights: (G,) on the simplex. value: Phi there. bound: the cut model's last optimum over the whole simplex, below
    Phi's minimum where Phi is convex. cuts: how many were made. history: (steps taken + 1,) values of Phi."""

    weights: Floats
    value: float
    bound: float
    cuts: int
    history: tuple[float, ...]


def minimise_by_cuts(
    outer: Outer, start: Floats, *, radius: float = 0.25, tolerance: float = 1e-6, most: int = 100
) -> Weighting:
    """Minimise `outer` (w -> value, gradient) over the simplex by cutting planes.

    start: (G,) weights on the simplex. radius: of the trust region, largest change of a weight. It ends when the cuts
    promise less than `tolerance` of the value within the region, or after `most` cuts. Raises ValueError for a start
    off the simplex.
    """
    best = np.asarray(start, dtype=np.float64)
    if best.ndim != 1 or (best < 0).any() or not np.isclose(best.sum(), 1.0):
        raise ValueError(f"start must be weights that add up to 1, not {best}")
    value, slope = outer(best)
    slopes, offsets, history = [slope], [value - slope @ best], [value]
    while len(slopes) < most:
        w, promised = _model_optimum(np.stack(slopes), np.array(offsets), best, radius)
        expected = value - promised
        if expected <= tolerance * abs(value):
            break
        loss, slope = outer(w)
        offset = loss - slope @ w
        gained = value - loss
        if gained >= 0.1 * expected:
            best, value = w, loss
            history.append(value)
            if gained >= 0.5 * expected:
                radius = min(1.0, 2 * radius)
        else:
            radius /= 2
        slopes.append(slope)
        offsets.append(offset)
        offsets = [min(o, value - s @ best) for o, s in zip(offsets, slopes, strict=True)]  # none above Phi at best
    _, bound = _model_optimum(np.stack(slopes), np.array(offsets), best, 1.0)
    return Weighting(best, value, bound, len(slopes), tuple(history))


def _model_optimum(slopes: Floats, offsets: Floats, best: Floats, radius: float) -> tuple[Floats, float]:
    """The w (G,) within `radius` of `best` where the highest of the cuts is lowest, and its height.

    A linear programme in (w, t): min t subject to slopes w - t <= -offsets, sum w = 1.
    """
    from scipy.optimize import linprog

    k, g = slopes.shape
    low, high = np.maximum(0.0, best - radius), np.minimum(1.0, best + radius)
    solution = linprog(
        np.append(np.zeros(g), 1.0),
        A_ub=np.hstack([slopes, -np.ones((k, 1))]),
        b_ub=-offsets,
        A_eq=np.append(np.ones(g), 0.0)[None],
        b_eq=[1.0],
        bounds=[*zip(low, high, strict=True), (None, None)],
        method="highs",
    )
    if not solution.success:
        raise ValueError(f"the linear programme of {k} cuts has no optimum: {solution.message}")
    w = np.clip(solution.x[:g], 0.0, None)
    return w / w.sum(), float(solution.x[g])
