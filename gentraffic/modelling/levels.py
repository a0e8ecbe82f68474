"""How much traffic a cell carries in all: the distribution of its mean level, given what stands around it.

Two thirds of the error of synthetic traffic is the level, so it has a model of its own, with few weights and a closed
form. Levels are drawn first; STUNet then draws the week of a cell of that level.

In a network that was measured: log level = mean of the network + w . p + r, where p are the standardised log POI counts
of the cell in the eight categories and w = w_shared + w_network is a ridge whose two parts have variances
SHARED and OWN (a Bayesian linear model; locations share a random effect, so that sixteen cells of one place do not
count as sixteen places). r is drawn from the residuals of locations that were left out, whose spread follows the
expected level exponentially (multiplicative heteroscedasticity: Harvey, Econometrica 44:461, 1976): how much a quiet
place carries is less sure than how much a busy one does, and it also says less of the weights.

In a network that nobody measured, categories mislead (AMap and OSM count different things): log level = SPREAD (k a +
sqrt(1 - k^2) z) with the activity index a of `gentraffic.modelling.features` and z normal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gentraffic.modelling.features import Floats, Places, Scale, activity_index, fit_scale

SHARED, OWN, SMOOTH = 0.15, 0.35, 0.15  # prior variances, chosen by five folds over locations among some thirty
REACH, AROUND = 0.8, 0.5  # length scale of the smooth part, in root mean squared spreads; weight of what stands around
LOCATION, NOISE = 0.3, 0.7  # variances of a location's and of a cell's own effect, relative to the network's
SLOPE = 1.0  # prior standard deviation of how the log spread of residuals follows the expected level
ROUNDS = 2  # of fitting the weights and the spread in turn; a third moves neither
QUANTILES = 101


@dataclass(frozen=True)
class NetworkLevel:
    """The level model of one measured network.

    mean, spread: of log mean traffic over live cells (log of the source's unit). scale: of the log POI counts and of
    those around (16 columns). weights: (8,) linear part. points: (n, 16), pull: (n,) the smooth part. residual:
    quantiles of the left-out residuals, each over `doubt` of its cell. highest: log level that no draw exceeds.
    mean_traffic: the mean cell's traffic, in the source's unit: relative traffic 1. slope: of the log spread of
    residuals over the expected level. lowest_centre, highest_centre: the expected levels that it was fitted on.
    """

    mean: float
    spread: float
    scale: Scale
    weights: Floats
    points: Floats
    pull: Floats
    residual: Floats
    highest: float
    mean_traffic: float
    slope: float = 0.0
    lowest_centre: float = 0.0
    highest_centre: float = 0.0

    def doubt(self, centre: Floats) -> Floats:
        """How far the level of a cell of that expected level over the network's mean may be off: a factor, (cells,)."""
        out: Floats = np.exp(self.slope * np.clip(centre, self.lowest_centre, self.highest_centre))
        return out

    def centre(self, places: Places) -> Floats:
        """Expected log level over the network's mean: (cells,)."""
        x = self.scale(both(places.counts, places.around))
        out = x[:, :8] @ self.weights
        for at in range(0, len(x), 4096):  # a country at once would not fit
            out[at : at + 4096] += SMOOTH * near(x[at : at + 4096], self.points) @ self.pull
        return out


@dataclass(frozen=True)
class LevelModel:
    """The level models of all measured networks, and what holds where nobody measured.

    spread: standard deviation of log level in an unmeasured network. trust: correlation k with the activity index.
    inflate: factor on the residuals, so that intervals of few members cover what they say. places: False = the
    ablation without the station graph, where levels are drawn without looking at the place.
    """

    networks: dict[str, NetworkLevel]
    spread: float = 1.2
    trust: float = 0.8
    inflate: float = 1.0
    places: bool = True

    def relative(self, places: Places) -> tuple[Floats, Floats]:
        """Centre of the log relative level (traffic / traffic of the mean cell) and the scale of its uncertainty.

        Returns two (cells,) arrays: the log level of the control, and what a standard normal z is multiplied by where
        the network was not measured (0 where residual quantiles apply instead). In a measured network the control is
        the median; elsewhere it is the expected level, and its mean over the context (before a change) is 1.
        """
        cells = len(places.poi_count)
        model = self.networks.get(places.network)
        if model is None:
            trust = self.trust if self.places else 0.0
            noise = self.inflate * self.spread * np.sqrt(1 - trust**2)
            index = activity_index(places) if self.places else np.zeros(cells)
            before = activity_index(places.before) if self.places and places.before is not None else index
            centre, usual = self.spread * trust * index, self.spread * trust * before
            return centre - np.log(np.mean(np.exp(usual))), np.full(cells, noise)
        centre = np.full(cells, model.mean - np.log(model.mean_traffic))
        if self.places:
            centre = centre + model.centre(places)
        return centre, np.zeros(cells)

    def draw(self, places: Places, z: Floats) -> Floats:
        """Log relative levels (members, cells) from standard normal z (members, cells); z = 0 gives the control."""
        centre, noise = self.relative(places)
        model = self.networks.get(places.network)
        if model is None:
            return centre + noise * z - np.where(z == 0, 0.0, noise**2 / 2)  # whose exponential has the control's mean
        from scipy.stats import norm

        share = np.linspace(0.0, 1.0, len(model.residual))
        residual = np.interp(norm.cdf(z), share, model.residual)
        doubt = model.doubt(centre - (model.mean - np.log(model.mean_traffic))) if self.places else 1.0
        apart = self.inflate * doubt * residual
        log: Floats = np.minimum(centre + apart, model.highest - np.log(model.mean_traffic))
        return log

    def doubt(self, places: Places) -> Floats:
        """How far the level of each cell may be off, beside that of others in its network: a factor, (cells,)."""
        model = self.networks.get(places.network)
        if model is None or not self.places or not model.slope:
            return np.ones(len(places.poi_count))
        return model.doubt(model.centre(places))

    def standard(self, places: Places, log_relative: Floats) -> Floats:
        """Log relative levels as STUNet takes them: standardised within the network, same shape."""
        model = self.networks.get(places.network)
        if model is None:
            unmeasured: Floats = (log_relative + self.spread**2 / 2) / self.spread
            return unmeasured
        measured: Floats = (log_relative + np.log(model.mean_traffic) - model.mean) / model.spread
        return measured

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, as level.json holds them."""
        plain: dict[str, Any] = _plain(asdict(self))
        return plain

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> LevelModel:
        """The mirror of `to_json`. Raises KeyError or TypeError for something else."""
        networks = {
            name: NetworkLevel(
                **{
                    **part,
                    "scale": Scale(np.array(part["scale"]["mean"]), np.array(part["scale"]["spread"])),
                    **{key: np.array(part[key]) for key in ("weights", "points", "pull", "residual")},
                }
            )
            for name, part in values["networks"].items()
        }
        return cls(**{**values, "networks": networks})


@dataclass(frozen=True)
class Measured:
    """Live cells of a measured network: log POI counts of and around each (cells, 8), traffic, location (cells,)."""

    network: str
    counts: Floats
    around: Floats
    level: Floats
    location: NDArray[np.int64]


def fit_levels(measured: Sequence[Measured], *, inflate: float = 1.0, places: bool = True) -> LevelModel:
    """Fit the level models of all networks together. Cells must be live (level > 0)."""
    features = [both(m.counts, m.around) for m in measured]
    scales = [fit_scale(f) for f in features]
    x = np.concatenate([s(f) for s, f in zip(scales, features, strict=True)]).round(4)
    p = x[:, :8]
    log = [np.log(m.level) for m in measured]
    centres = np.array([y.mean() for y in log])
    spreads = np.array([max(float(y.std()), 0.1) for y in log])
    net = np.repeat(np.arange(len(measured)), [len(y) for y in log])
    y = np.concatenate(log) - centres[net]
    location = np.concatenate([m.location for m in measured])
    _, group = np.unique(np.stack([net, location]), axis=1, return_inverse=True)
    group = group.ravel()
    same = net[:, None] == net[None, :]
    kernel = p @ p.T / 8 * (SHARED + OWN * same) + SMOOTH * near(x, x) * same
    together = group[:, None] == group[None, :]
    factor, slopes = np.ones(len(y)), np.zeros(len(measured))
    for _ in range(ROUNDS):
        covariance = np.multiply.outer(LOCATION * factor, factor)
        covariance *= together  # in place: thousands of cells make these the largest arrays of a fit
        covariance += kernel
        covariance.flat[:: len(y) + 1] += NOISE * factor**2
        inverse = np.linalg.inv(covariance)
        alpha = inverse @ y
        residual = left_out(inverse, alpha, group)
        centre = y - residual
        for i in range(len(measured)) if places else ():
            mine = net == i
            slopes[i] = fit_slope(centre[mine], residual[mine], len(np.unique(group[mine])))
            apart = np.exp(slopes[i] * centre[mine])
            factor[mine] = apart / np.sqrt((apart**2).mean())
    networks = {}
    for i, m in enumerate(measured):
        mine = net == i
        weights = (SHARED * p.T @ alpha + OWN * p[mine].T @ alpha[mine]) / 8
        kept = residual[mine] / np.exp(slopes[i] * centre[mine]) if places else y[mine]
        networks[m.network] = NetworkLevel(
            mean=float(centres[i]),
            spread=float(spreads[i]),
            scale=scales[i],
            weights=weights,
            points=x[mine],
            pull=alpha[mine],
            residual=np.quantile(kept, np.linspace(0, 1, QUANTILES)),
            highest=float(log[i].max() + 0.3),
            mean_traffic=float(m.level.mean()),
            slope=float(slopes[i]),
            lowest_centre=float(centre[mine].min()),
            highest_centre=float(centre[mine].max()),
        )
    places_per = np.array([len(np.unique(m.location)) for m in measured], dtype=np.float64)
    spread = float((spreads * places_per).sum() / places_per.sum())
    return LevelModel(networks, spread=spread, inflate=inflate, places=places)


def left_out(inverse: Floats, alpha: Floats, group: NDArray[np.int64]) -> Floats:
    """Residuals of refits without each group, in closed form: r_g = (K^-1)_gg^-1 (K^-1 y)_g.

    inverse: (n, n) K^-1 of the covariance of y, noise included. alpha: (n,) K^-1 y. group: (n,). Returns (n,).
    """
    residual = np.empty_like(alpha)
    for g in np.unique(group):
        at = np.flatnonzero(group == g)
        residual[at] = np.linalg.solve(inverse[np.ix_(at, at)], alpha[at])
    return residual


def fit_slope(centre: Floats, residual: Floats, locations: int) -> float:
    """The most likely b where residuals (n,) are normal with spread s exp(b centre), for any s, and b is N(0, SLOPE^2).

    The likelihood counts locations, not cells. Convex: a log of a sum of exponentials, a line and a parabola.
    """
    from scipy.optimize import minimize_scalar

    if not residual.any():
        return 0.0

    def cost(b: float) -> float:
        spread = np.log((residual**2 * np.exp(-2 * b * centre)).mean()) / 2
        return float(locations * (spread + b * centre.mean()) + (b / SLOPE) ** 2 / 2)

    return float(minimize_scalar(cost, bounds=(-2.0, 2.0), method="bounded").x)


def both(counts: Floats, around: Floats) -> Floats:
    """The two sets of log counts side by side: (cells, 16)."""
    return np.concatenate([counts, around], axis=1)


def near(a: Floats, b: Floats) -> Floats:
    """Squared-exponential similarity of standardised features (n, 16) and (m, 16): (n, m), 1 for equals."""
    a, b = (np.concatenate([v[:, :8], AROUND * v[:, 8:]], axis=1) for v in (a, b))
    squared = (a**2).sum(1)[:, None] + (b**2).sum(1)[None, :] - 2 * a @ b.T
    similar: Floats = np.exp(-np.maximum(squared, 0.0) / (2 * a.shape[1] * REACH**2))
    return similar


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    return value.tolist() if isinstance(value, np.ndarray) else value
