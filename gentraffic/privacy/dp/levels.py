"""Levels and scaling with differential privacy: two Gaussian mechanisms on sums over cells, the rest is arithmetic.

The level model of `modelling.levels` is a Gaussian process: it stores training points and residuals, so it cannot be
published. Here it is written in features instead of points: f = (1, A p, B phi(x)) with the linear part p, and phi the
Nystrom features of the smooth part on landmarks, which are public places. Then the posterior needs no more of the
traffic than the sums over cells of y, y^2 and f y, where y is the log level over what the public law expects, in a
range that an earlier mechanism found. Every cell's share of these sums is a vector of norm at most 1, so one Gaussian
mechanism releases them all. The sums of f f' alone, and which cells share a location, come from the list of cells,
which is public, as the law is. The noise that was added is part of the posterior: it shrinks what it hides, and widens
what is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gentraffic.errors import WrongUse
from gentraffic.modelling.features import FLOOR, Floats, Scale, Scaler, fit_scale
from gentraffic.modelling.levels import (
    LOCATION,
    NOISE,
    OWN,
    QUANTILES,
    SHARED,
    SMOOTH,
    NetworkLevel,
    rbf_kernel,
    stack_features,
)
from gentraffic.privacy.dp.accounting import Privacy, Secret

SURE = 3.0  # standard deviations of the noise that the fullest window must hold to be believed
LANDMARKS = 24
MOST = 0.3  # quantile of the norms of the listed cells' features to which longer ones are shortened
HALF = 3.0  # natural logs on either side of the middle of the window in which levels are taken as they are
WIDEST = 8.0  # half width of a given range that can stand for such a window
LEAST_SPREAD, MOST_SPREAD = 0.3, 2.0  # of log levels
VARIANCE_SPREAD = 0.8  # how far the variance of log levels may lie from the sum of its parts in `level`
LIVE, LIVE_SPREAD = 0.75, 0.25  # share of the listed cells that has traffic, before anything is known
WEIGHTS = {"count": 0.2, "level": 0.6, "square": 0.3, "features": 0.7}  # of the parts of a cell's vector
SCALING = {"log": 0.25, "log square": 0.25}
USUAL_MEAN, USUAL_VARIANCE = (-0.2, 0.15), (0.6, 0.3)  # of log(ratio + FLOOR), as in public networks, +- spread
LOG_MIDDLE, LOG_HALF, LOG_SQUARE = -0.725, 0.775, 4.0  # log(ratio + FLOOR) has mean in (-3, 0.05) (Jensen)


@dataclass(frozen=True)
class PrivateLevels:
    """One private network. counts, around: (N, 8) log POI counts of and around each listed cell; location: (N,).

    level: (N,) mean traffic of each, 0 where it has none. logs: (N, 2) mean and mean square of log(ratio + FLOOR).
    activity: (N,) what the law expects of each (`modelling.levels.activity`), and law_weight: by which factor: public,
    so only departures from it are to be learned.
    """

    network: str
    counts: Floats
    around: Floats
    location: NDArray[np.int64]
    level: Floats
    logs: Floats
    activity: Floats
    law_weight: float

    @property
    def by_law(self) -> Floats:
        """What the law expects of the log level of each listed cell, over their mean: (N,)."""
        out: Floats = self.law_weight * (self.activity - self.activity.mean())
        return out

    @property
    def log(self) -> Floats:
        """Log level over what the law expects, (N,); anything where a cell is dead."""
        out: Floats = np.log(np.where(self.level > 0, self.level, 1.0)) - self.by_law
        return out

    @property
    def scale(self) -> Scale:
        """How the POIs of the listed cells are standardised: public."""
        return fit_scale(stack_features(self.counts, self.around))


def fit_private_levels(
    networks: Sequence[PrivateLevels], privacy: Privacy, noise: dict[str, float], secret: Secret, *, scaler: bool
) -> tuple[dict[str, NetworkLevel], Scaler | None, dict[str, float]]:
    """Level models of all networks, with `scaler` the traffic scaling, and about how many cells of each network have
    traffic, from two noisy releases.

    noise: noise multipliers of the mechanisms "range" and "statistics".
    """
    windows = [window_of(n, i, privacy, noise, secret) for i, n in enumerate(networks)]
    features = [Features(n.scale, stack_features(n.counts, n.around)) for n in networks]
    shares = [
        cell_vectors(n, f, window, scaler=scaler) for n, f, window in zip(networks, features, windows, strict=True)
    ]
    released = [
        noisy_sum(s, noise["statistics"], secret.normal("statistics", i, s.shape[1])) for i, s in enumerate(shares)
    ]
    weights = part_weights(scaler=scaler)
    sigma = noise["statistics"]
    total = [live_cells(r[0], len(n.location), sigma, weights) for n, r in zip(networks, released, strict=True)]
    levels = _posterior(networks, features, windows, released, total, sigma, weights)
    listed = sum(len(n.location) for n in networks)
    live = {n.network: count for n, count in zip(networks, total, strict=True)}
    return levels, _scaler(released, listed, sigma, weights) if scaler else None, live


def clip_norm(vectors: Floats, most: float = 1.0) -> Floats:
    """Vectors (N, d), those longer than `most` shortened to it."""
    norm = np.linalg.norm(vectors, axis=1, keepdims=True)
    out: Floats = vectors * np.minimum(1.0, most / np.maximum(norm, 1e-12))
    return out


def noisy_sum(vectors: Floats, noise_multiplier: float, draws: Floats) -> Floats:
    """The Gaussian mechanism: the sum of vectors (N, d) of norm at most 1, with noise: (d,). draws: (d,) normal."""
    out: Floats = clip_norm(vectors).sum(axis=0) + noise_multiplier * draws
    return out


@dataclass(frozen=True)
class Window:
    """The log levels of a network that are taken as they are: within `half` of `middle`; those beyond are clipped."""

    middle: float
    half: float


def window_of(network: PrivateLevels, number: int, privacy: Privacy, noise: dict[str, float], secret: Secret) -> Window:
    """Where a network's log levels lie, over what the law expects.

    The given range where that is narrow. Else the window of half width HALF that holds most of a noisy histogram, one
    bin per natural log; and where the noise hides which one that is, the given range again. Raises WrongUse where that
    is too wide to learn anything in.
    """
    low, high = np.log(privacy.level_range)
    whole = Window(float(low + high) / 2, float(high - low) / 2)
    if not needs_range(privacy):
        return whole
    bins = int(np.ceil(high - low))
    at = np.clip(np.floor(network.log - low).astype(np.int64), 0, bins - 1)
    hot = (at[:, None] == np.arange(bins)) * (network.level > 0)[:, None].astype(np.float64)  # (N, bins)
    counts = noisy_sum(hot, noise["range"], secret.normal("range", number, bins))
    kernel = np.array([0.5, 1.0, 1.0, 1.0, 1.0, 0.5])  # about two spreads of a network's levels on either side
    held = np.convolve(counts, kernel, mode="same")
    best = int(held.argmax())
    if held[best] < SURE * noise["range"] * np.linalg.norm(kernel):
        if whole.half <= WIDEST:
            return whole
        raise WrongUse(
            f"{network.network}: too few cells to find the range of their levels under this epsilon; give "
            "--dp-level-range LOW HIGH, the mean traffic per cell and step that is publicly known to hold for all"
        )
    near_best = np.arange(max(best - 3, 0), min(best + 3, bins))
    inside = np.maximum(counts[near_best], 0.0)
    return Window(float(low + np.dot(inside, near_best) / inside.sum() + 0.5), HALF)


def needs_range(privacy: Privacy) -> bool:
    """True where the given range is too wide to take levels as they are."""
    return bool(np.log(privacy.level_range[1] / privacy.level_range[0]) > 2 * HALF)


class Features:
    """f(x) = (1, A p, B phi(x)) of standardised log POI counts x (n, 16), whose inner product is the prior of `level`.

    A = sqrt((SHARED + OWN) / 8), B = sqrt(SMOOTH); phi(x) = K(x, Z) K(Z, Z)^(-1/2) on landmarks Z (m, 16).
    """

    def __init__(self, scale: Scale, listed: Floats, landmarks: int = LANDMARKS) -> None:
        self.landmarks = spread_out(scale(listed), landmarks)
        values, vectors = np.linalg.eigh(rbf_kernel(self.landmarks, self.landmarks))
        kept = values > 1e-9
        self.root = vectors[:, kept] / np.sqrt(values[kept])  # (m, r): K(Z, Z)^(-1/2) on what is not nil
        self.listed = self(scale(listed))
        norm = np.linalg.norm(self.listed[:, 1:], axis=1)
        self.most = float(np.quantile(norm, MOST))
        short = self.listed[:, 1:] * np.minimum(1.0, self.most / np.maximum(norm, 1e-12))[:, None]
        self.short = np.concatenate([self.listed[:, :1], short], axis=1)

    def __call__(self, x: Floats) -> Floats:
        """(n, 16) -> (n, 1 + 8 + r)."""
        linear = np.sqrt((SHARED + OWN) / 8) * x[:, :8]
        smooth = np.sqrt(SMOOTH) * rbf_kernel(x, self.landmarks) @ self.root
        return np.concatenate([np.ones((len(x), 1)), linear, smooth], axis=1)


def spread_out(x: Floats, count: int) -> Floats:
    """`count` rows of x (n, d) far from each other: the farthest-point walk from the row nearest to the mean."""
    unique = np.unique(x.round(6), axis=0)
    chosen = [int(((unique - unique.mean(axis=0)) ** 2).sum(axis=1).argmin())]
    gap = ((unique - unique[chosen[0]]) ** 2).sum(axis=1)
    while len(chosen) < min(count, len(unique)):
        chosen.append(int(gap.argmax()))
        gap = np.minimum(gap, ((unique - unique[chosen[-1]]) ** 2).sum(axis=1))
    out: Floats = unique[chosen]
    return out


def part_weights(*, scaler: bool) -> dict[str, float]:
    """The weights of the parts of a cell's vector, whose squares sum to 1: a cell that fills every part has norm 1."""
    weights = {**WEIGHTS, **(SCALING if scaler else {})}
    whole = np.sqrt(sum(w**2 for w in weights.values()))
    return {name: w / whole for name, w in weights.items()}


def cell_vectors(network: PrivateLevels, features: Features, window: Window, *, scaler: bool) -> Floats:
    """What each listed cell adds to the released sums: (N, 3 + 8 + r [+ 2]), norm at most 1; nothing if it is dead.

    [1, y, y^2, f y / most, logs] by their weights; y in [-1, 1] is (log level - middle) / half of the window.
    """
    weights = part_weights(scaler=scaler)
    live = (network.level > 0).astype(np.float64)[:, None]
    y = np.clip((network.log[:, None] - window.middle) / window.half, -1.0, 1.0)
    f = features.short[:, 1:]
    parts = [
        weights["count"] * np.ones_like(y),
        weights["level"] * y,
        weights["square"] * y**2,
        weights["features"] * y * f / features.most,
    ]
    if scaler:
        parts.append(weights["log"] * np.clip((network.logs[:, :1] - LOG_MIDDLE) / LOG_HALF, -1.0, 1.0))
        parts.append(weights["log square"] * np.clip(network.logs[:, 1:] / LOG_SQUARE, 0.0, 1.0))
    out: Floats = np.nan_to_num(np.concatenate(parts, axis=1)) * live
    return out


def _posterior(
    networks: Sequence[PrivateLevels],
    features: Sequence[Features],
    windows: Sequence[Window],
    released: Sequence[Floats],
    total: Sequence[float],
    sigma: float,
    weights: dict[str, float],
) -> dict[str, NetworkLevel]:
    """Best linear unbiased prediction of all networks' weights from the released sums.

    s = F beta + e + z per network: s the sums of f y, F = sum f f', e the cells' and locations' own effects
    (covariance from the list of cells), z the noise of the mechanism. The linear weights of two networks share
    SHARED / (SHARED + OWN) of their variance.
    """
    sizes = [f.listed.shape[1] for f in features]
    at = np.concatenate([[0], np.cumsum(sizes)])
    prior, maps, cover = (np.zeros((at[-1], at[-1])) for _ in range(3))
    sums = np.zeros(at[-1])
    for i, (n, f, w, r) in enumerate(zip(networks, features, windows, released, strict=True)):
        here = slice(at[i], at[i + 1])
        live = total[i] / len(n.location)
        prior[here, here] = np.diag([(w.half / 2) ** 2, *np.ones(sizes[i] - 1)])
        maps[here, here] = live * f.short.T @ f.listed
        own = live * f.short.T @ f.short
        group = (n.location[:, None] == np.unique(n.location)[None, :]).astype(np.float64)
        shared = (f.short.T @ group) * live  # (features, locations)
        cover[here, here] = NOISE * own + LOCATION * (
            shared @ shared.T + (1 - live) * own  # which of a location's cells live is not known
        )
        spread = w.half * np.array([1 / weights["level"], *np.full(sizes[i] - 1, f.most / weights["features"])])
        cover[here, here] += np.diag((sigma * spread) ** 2)
        sums[here] = spread * np.array([r[1], *r[3 : 3 + sizes[i] - 1]])
        for j in range(i):
            for part in range(1, 9):
                prior[at[i] + part, at[j] + part] = prior[at[j] + part, at[i] + part] = SHARED / (SHARED + OWN)
    gain = np.linalg.solve(maps @ prior @ maps.T + cover + 1e-9 * np.eye(at[-1]), maps @ prior).T
    beta, left = gain @ sums, prior - gain @ maps @ prior  # the posterior's mean and covariance
    return {
        n.network: _network_level(
            n, f, w, (beta[at[i] : at[i + 1]], float(left[at[i], at[i]])), r, total[i], sigma, weights
        )
        for i, (n, f, w, r) in enumerate(zip(networks, features, windows, released, strict=True))
    }


def _network_level(
    network: PrivateLevels,
    features: Features,
    window: Window,
    estimate: tuple[Floats, float],
    released: Floats,
    live: float,
    sigma: float,
    weights: dict[str, float],
) -> NetworkLevel:
    """The level model as `sample` takes it.

    estimate: coefficients of the features, and what the noise leaves in doubt about the network's mean, a variance.
    Residuals are normal, with the variance that the POIs do not explain and that doubt.
    """
    from scipy.stats import norm

    beta, doubt = estimate
    fitted = features.listed @ beta  # over the middle
    mean = window.half * released[1] / weights["level"] / live
    second = window.half**2 * released[2] / weights["square"] / live
    hidden = sigma * window.half**2 / weights["square"] / live
    variance = shrunk(second - mean**2, hidden, SHARED + OWN + SMOOTH + LOCATION + NOISE, VARIANCE_SPREAD)
    variance = float(np.clip(variance, LEAST_SPREAD**2, MOST_SPREAD**2))
    left = max(variance - float(fitted.var()), 0.3 * variance) + doubt
    by_law = network.by_law
    highest = window.middle + window.half + by_law.max()
    share = np.clip(np.linspace(0.0, 1.0, QUANTILES), 0.5 / QUANTILES, 1 - 0.5 / QUANTILES)
    residual = np.sqrt(left) * norm.ppf(share)
    drawn = np.minimum(window.middle + (fitted + by_law)[:, None] + residual[None, :], highest)
    linear = np.sqrt((SHARED + OWN) / 8) * beta[1:9]
    pull = features.root @ beta[9:] * np.sqrt(SMOOTH) / SMOOTH  # NetworkLevel.centre multiplies by SMOOTH
    return NetworkLevel(
        mean=float(window.middle + beta[0]),
        spread=float(np.sqrt(variance + by_law.var())),
        scale=network.scale,
        weights=linear,
        points=features.landmarks,
        pull=pull,
        residual=residual,
        highest=float(highest),
        mean_traffic=float(np.exp(drawn).mean()),
        law_weight=network.law_weight,
        activity_mean=float(network.activity.mean()),
    )


def live_cells(released: float, listed: int, sigma: float, weights: dict[str, float]) -> float:
    """How many of the listed cells have traffic, from a noisy count: between a few and all of them."""
    count = shrunk(released / weights["count"], sigma / weights["count"], LIVE * listed, LIVE_SPREAD * listed)
    return float(np.clip(count, min(8.0, listed), listed))


def shrunk(value: float, noise: float, mean: float, spread: float) -> float:
    """The posterior mean of a number seen as `value` with normal `noise`, before that known as mean and spread."""
    share = spread**2 / (spread**2 + noise**2)
    return share * value + (1 - share) * mean


def _scaler(released: Sequence[Floats], listed: int, sigma: float, weights: dict[str, float]) -> Scaler:
    """Mean and spread of log(ratio + FLOOR) over the live cells of all networks."""
    live = live_cells(sum(float(r[0]) for r in released), listed, sigma * np.sqrt(len(released)), weights)
    hidden = sigma * np.sqrt(len(released)) / live
    mean = LOG_MIDDLE + LOG_HALF * sum(float(r[-2]) for r in released) / weights["log"] / live
    mean = shrunk(mean, LOG_HALF * hidden / weights["log"], *USUAL_MEAN)
    second = LOG_SQUARE * sum(float(r[-1]) for r in released) / weights["log square"] / live
    variance = shrunk(second - mean**2, LOG_SQUARE * hidden / weights["log square"], *USUAL_VARIANCE)
    return Scaler(mean=float(np.clip(mean, np.log(FLOOR), 0.05)), spread=float(np.sqrt(np.clip(variance, 0.04, 4.0))))
