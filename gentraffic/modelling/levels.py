"""How much traffic a cell carries in all: the distribution of its mean level, given what stands around it.

Two thirds of the error of synthetic traffic is the level, so it has a model of its own, with few weights and a closed
form. Levels are drawn first; STUNet then draws the week of a cell of that level.

In a network that was measured: log level = mean of the network + w . p + v a + r, where p are the standardised log POI
counts of the cell in the eight categories and w = w_shared + w_network is a ridge whose two parts have variances
SHARED and OWN (a Bayesian linear model; locations share a random effect, so that sixteen cells of one place do not
count as sixteen places). a is what the law below expects of the cell, by densities around it and by what else than POIs
is known; its factor v in the network has variance LAW. r is drawn from the residuals of locations that were left out,
whose spread follows the expected level exponentially (multiplicative heteroscedasticity: Harvey, Econometrica 44:461,
1976): how much a quiet place carries is less sure than how much a busy one does, and it also says less of the weights.

In a network that nobody measured an absolute law holds (`Law`): log traffic per km2 = a network effect + elasticities .
log densities per km2 + noise that grows where a place is stranger than any that was measured. Nothing in it depends on
the area drawn; relative traffic (the mean cell is 1) is made of it last. Who counted the POIs has a law of its own
where networks of that source were measured: AMap's counts tell less of traffic than OpenStreetMap's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gentraffic.dataset.schema import BLOCK, blocks
from gentraffic.modelling.features import NO_SPREAD, VARIABLES, Floats, Places, Scale, fit_scale

SHARED, OWN, SMOOTH = 0.15, 0.35, 0.15  # prior variances, chosen by five folds over locations among some thirty
LAW = 0.03  # prior variance of the factor on what the law expects, chosen by five folds over four networks
REACH, AROUND = 0.8, 0.5  # length scale of the smooth part, in root mean squared spreads; weight of what stands around
LOCATION, NOISE = 0.3, 0.7  # variances of a location's and of a cell's own effect, relative to the network's
SLOPE = 1.0  # prior standard deviation of how the log spread of residuals follows the expected level
ROUNDS = 2  # of fitting the weights and the spread in turn; a third moves neither
QUANTILES = 101

# The law's prior, one factor for all variables: log density = constant + loading x activity + rest of this variance,
# activity being the log traffic per km2 that a place should have. POIs and radio cells: the 10,000 cells of Milan;
# residents and stops: Helsinki; jobs beside residents: census areas of seven Italian cities. Small streets: the 4,824
# cells of Milan whose streets are known, beside POIs and sites, and less than these tell, as the centre of Helsinki
# tells less. Floor area: its slope over POIs in five towns, and 60 cells of the centre of Helsinki, where it
# tells as much as POIs do; offices and residential land tell little more there, and count little.
LOADINGS = {"pois": (1.06, 0.25), "stations": (1.08, 0.53), "population": (1.0, 0.4), "stops": (0.52, 0.17),
            "jobs": (1.2, 0.18), "floors": (0.95, 0.4), "streets": (0.36, 0.2), "offices": (0.8, 2.1),
            "homes": (1.4, 4.7)}  # fmt: skip
DRY = 0.5  # elasticity to the share of the ground that is not water: a rule, learned nowhere
ALL_DRY = float(np.log(1e6 + VARIABLES["dry"].floor))  # of a place without water
ACTIVITY = 1.2  # variance of activity
REFERENCE = {
    "pois": -1.0,
    "stations": 2.8,
    "population": 7.0,
    "stops": 1.0,
    "jobs": 6.0,
    "floors": 10.4,
    "streets": 8.9,
    "offices": 7.0,
    "homes": 10.3,
}  # log densities of activity 0
MEASURED_RANGE = (-2.3, 2.7)  # of expected activity over the cells of Milan
LAW_NOISE, LAW_PRIOR = 0.72, 20  # spread of log levels about the law, and the locations that it counts as
OTHER_SOURCE = 0.25  # what a network counts where another source than its own counts the places
SLOPES_APART = 0.2  # standard deviation of the factor on all elasticities, of all networks and of each
STRANGE = 1.0  # activity beyond what was measured that doubles the variance
NOWHERE = (0.4, 0.6)  # mean and spread of log POI counts where a model knows no network
FARTHEST = 3.5  # spreads from a network's mean that a cell of another place may be said to lie


def elasticities(known: Iterable[str]) -> dict[str, float]:
    """d log traffic / d log density of each known variable, given all of them: what is not known is left out.

    The regression of activity on the variables of LOADINGS, in the model of one factor (Bartholomew and Knott 1999,
    section 3.4): loading / variance of the rest, over 1 / ACTIVITY plus the sum of loading^2 / variance of the rest.
    """
    known_loadings = {name: LOADINGS[name] for name in known}
    total = 1 / ACTIVITY + sum(loading**2 / residual for loading, residual in known_loadings.values())
    return {name: loading / residual / total for name, (loading, residual) in known_loadings.items()}


def activity(places: Places) -> Floats:
    """Log traffic per km2 that the prior law expects, over that of a cell at REFERENCE: (cells,).

    Of each cell by what is known there: what is not is left out of the law."""
    known = {"pois": places.pois, **{k: v for k, v in places.known.items() if k in LOADINGS}}
    out = np.zeros(len(places.xy_m))
    partly = [name for name, values in known.items() if np.isnan(values).any()]
    lacking = np.zeros(len(out), dtype=np.int64)  # a bit for each of these
    for bit, name in enumerate(partly):
        lacking += np.isnan(known[name]).astype(np.int64) << bit
    for lacks in np.unique(lacking):
        names = [name for name in known if name not in partly or not lacks >> partly.index(name) & 1]
        rows = lacking == lacks
        for name, weight in elasticities(names).items():
            out[rows] += weight * (known[name][rows] - REFERENCE[name])
    if "dry" in places.known:
        out += DRY * (np.nan_to_num(places.known["dry"], nan=ALL_DRY) - ALL_DRY)
    return out


def log_mean(logs: Floats) -> float:
    """The log of the mean of what `logs` (cells,) are the logs of."""
    top = logs.max()
    return float(top + np.log(_sum_of_exp(logs, top) / len(logs)))


def _sum_of_exp(logs: Floats, top: float) -> np.float64:
    """np.sum(np.exp(logs - top)), to the bit, without arrays of all cells: numpy sums by halves, too (of a length that
    is a multiple of eight). logs: (cells,)."""
    if len(logs) <= BLOCK:
        return np.float64(np.exp(logs - top).sum())
    half = len(logs) // 2
    half -= half % 8
    return _sum_of_exp(logs[:half], top) + _sum_of_exp(logs[half:], top)


@dataclass(frozen=True)
class Law:
    """What holds where nobody measured. slope: factor on the prior elasticities, learned over networks. noise: spread
    of log traffic per km2 about it. lowest, highest: the expected activity between which it was measured."""

    slope: float = 1.0
    noise: float = LAW_NOISE
    lowest: float = MEASURED_RANGE[0]
    highest: float = MEASURED_RANGE[1]

    def doubt(self, expected: Floats) -> Floats:
        """Standard deviation of log traffic per km2 about `expected` (cells,): more beyond what was measured."""
        beyond = np.maximum(self.slope * self.lowest - expected, 0) + np.maximum(
            expected - self.slope * self.highest, 0
        )
        out: Floats = self.noise * np.sqrt(1 + (beyond / STRANGE) ** 2)
        return out


@dataclass(frozen=True)
class NetworkLevel:
    """The level model of one measured network.

    mean, spread: of log mean traffic over live cells (log of the source's unit). scale: of the log POI counts and of
    those around (16 columns). weights: (8,) linear part. points: (n, 16), pull: (n,) the smooth part. residual:
    quantiles of the left-out residuals, each over `doubt` of its cell. highest: log level that no draw exceeds.
    mean_traffic: the mean cell's traffic, in the source's unit: relative traffic 1. slope: of the log spread of
    residuals over the expected level. lowest_centre, highest_centre: the expected levels that it was fitted on.
    law_mean: mean over its cells of what the law expects of them, of log traffic per km2. timezone: where it lies.
    law_weight: factor on `activity` over activity_mean, its mean over the cells.
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
    law_mean: float = 0.0
    timezone: str = ""
    law_weight: float = 0.0
    activity_mean: float = 0.0

    def doubt(self, centre: Floats) -> Floats:
        """How far the levels of cells may be off, beside those of others in the network: a factor, (cells,).

        centre: (cells,) expected log levels over the network's mean, as `centre` gives them.
        """
        out: Floats = np.exp(self.slope * np.clip(centre, self.lowest_centre, self.highest_centre))
        return out

    def centre(self, places: Places) -> Floats:
        """Expected log level over the network's mean: (cells,)."""
        x = self.scale(stack_features(places.counts, places.around))
        out = x[:, :8] @ self.weights
        for at in range(0, len(x), 4096):  # a country at once would not fit
            out[at : at + 4096] += SMOOTH * rbf_kernel(x[at : at + 4096], self.points) @ self.pull
        if self.law_weight:
            out += self.law_weight * (activity(places) - self.activity_mean)
        return out


@dataclass(frozen=True)
class LevelModel:
    """The level models of all measured networks, and what holds where nobody measured.

    spread: standard deviation of log level over the cells of a network. law: what holds where nobody measured. laws:
    the same where another source counted the POIs, by source, a key of `features.SOURCES`. inflate: factor on the
    residuals, so that intervals of few members cover what they say. places: False = the ablation without the station
    graph, where levels are drawn without looking at the place.
    """

    networks: dict[str, NetworkLevel]
    spread: float = 1.2
    inflate: float = 1.0
    places: bool = True
    law: Law = field(default_factory=Law)
    laws: dict[str, Law] = field(default_factory=dict)

    def law_of(self, places: Places) -> Law:
        """What holds in an unmeasured network whose POIs were counted by the source of these."""
        return self.laws.get(places.source, self.law)

    def scale(self, places: Places) -> Scale:
        """How the log POI counts of and around cells (16 columns) are standardised: as in their network, or as in the
        mean network: never by the area itself, whose extent must not matter."""
        known = self.networks.get(places.network)
        scales = [n.scale for n in ([known] if known is not None else self.networks.values())]
        if not scales:
            return Scale(np.full(16, NOWHERE[0]), np.full(16, NOWHERE[1]))
        mean, spread = (np.mean([getattr(s, part) for s in scales], axis=0) for part in ("mean", "spread"))
        return Scale(mean, spread)

    def absolute(self, places: Places) -> Floats:
        """Expected log traffic of each cell of an unmeasured network, up to the network's effect: (cells,).

        It depends on nothing but what stands around the cell, and on its area.
        """
        out, law = np.empty(len(places.xy_m)), self.law_of(places)
        for rows in blocks(len(out)):
            part = places.some(rows)
            expected = law.slope * activity(part) if self.places else np.zeros(len(part.xy_m))
            out[rows] = expected + np.log(part.area_km2)
            places.release()
        return out

    def unit(self, places: Places) -> float:
        """Log of the traffic that relative traffic 1 stands for, up to the network's effect: of the mean cell, before
        a change."""
        return log_mean(self.absolute(places.before or places))

    def relative(self, places: Places, unit: float | None = None) -> tuple[Floats, Floats]:
        """Centre of the log relative level (traffic / traffic of the mean cell) and the scale of its uncertainty.

        unit: as `unit` gives it, where places are some of the cells of a context.
        Returns two (cells,) arrays: the log level of the control, and what a standard normal z is multiplied by where
        the network was not measured (0 where residual quantiles apply instead). In a measured network the control is
        the median; elsewhere it is the expected level, and its mean over the context (before a change) is 1.
        """
        cells = len(places.poi_count)
        model = self.networks.get(places.network)
        if model is None:
            law = self.law_of(places)
            expected = law.slope * activity(places) if self.places else np.zeros(cells)
            absolute = expected + np.log(places.area_km2)  # as `absolute` has it, without blocks
            noise = np.full(cells, self.spread)
            if self.places:
                noise = law.doubt(absolute - np.log(places.area_km2))
            if unit is None:
                unit = log_mean(absolute if places.before is None else self.absolute(places.before))
            return absolute - unit, self.inflate * noise
        centre = np.full(cells, model.mean - np.log(model.mean_traffic))
        if self.places:
            centre = centre + model.centre(places)
        return centre, np.zeros(cells)

    def draw(self, places: Places, z: Floats, unit: float | None = None) -> Floats:
        """Log relative levels (members, cells) from standard normal z (members, cells); z = 0 gives the control.

        unit: as in `relative`."""
        centre, noise = self.relative(places, unit)
        model = self.networks.get(places.network)
        if model is None:
            return centre + noise * z - np.where(z == 0, 0.0, noise**2 / 2)  # whose exponential has the control's mean
        from scipy.special import ndtr

        share = np.linspace(0.0, 1.0, len(model.residual))
        residual = np.interp(ndtr(z), share, model.residual)
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

    def standard(
        self, places: Places, log_relative: Floats, like: str = "", rows: Any = slice(None), unit: float | None = None
    ) -> Floats:
        """Log levels relative to the mean cell as STUNet takes them: standardised, the same shape.

        log_relative: (cells,) of all cells, or of `rows`, an index of some of them. Elsewhere: how far a cell's traffic
        per km2 lies above that of the cells of the network `like` (of all, ""), by the law, so that a village is no
        city centre, whatever is drawn around it. unit: as in `relative`.
        """
        model = self.networks.get(places.network)
        if model is None:
            chosen = [self.networks[like]] if like in self.networks else list(self.networks.values())
            mean = float(np.mean([n.law_mean for n in chosen])) if chosen else 0.0
            if places.source in self.laws:  # law_mean is of `law`
                mean *= self.laws[places.source].slope / self.law.slope
            spread = float(np.mean([n.spread for n in chosen])) if chosen else self.spread
            unit = self.unit(places) if unit is None else unit
            apart = log_relative + unit - np.log(places.area_km2[rows]) - mean
            unmeasured: Floats = np.clip(apart / spread, -FARTHEST, FARTHEST)
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
        known = {key: value for key, value in values.items() if key != "trust"}  # of before there was a law
        laws = {source: Law(**law) for source, law in values.get("laws", {}).items()}
        return cls(**{**known, "networks": networks, "law": Law(**values.get("law", {})), "laws": laws})


@dataclass(frozen=True)
class Measured:
    """Live cells of a measured network: log POI counts of and around each (cells, 8), traffic, location (cells,).

    activity: (cells,) what the prior law expects, and area_km2: (cells,); None where it is not to learn from them.
    source: who counted the POIs, a key of `features.SOURCES`.
    """

    network: str
    counts: Floats
    around: Floats
    level: Floats
    location: NDArray[np.int64]
    activity: Floats | None = None
    area_km2: Floats | None = None
    timezone: str = ""
    source: str = ""


def fit_levels(measured: Sequence[Measured], *, inflate: float = 1.0, places: bool = True) -> LevelModel:
    """Fit the level models of all networks together. Cells must be live (level > 0)."""
    features = [stack_features(m.counts, m.around) for m in measured]
    scales = [fit_scale(f) for f in features]
    x = np.concatenate([s(f) for s, f in zip(scales, features, strict=True)]).round(4)
    p = x[:, :8]
    log = [np.log(m.level) for m in measured]
    centres = np.array([y.mean() for y in log])
    spreads = np.array([max(float(y.std()), 0.1) for y in log])
    active = [np.zeros(len(m.level)) if m.activity is None else m.activity for m in measured]
    means = [float(part.mean()) for part in active]
    told = np.concatenate([part - mean for part, mean in zip(active, means, strict=True)])
    net = np.repeat(np.arange(len(measured)), [len(y) for y in log])
    y = np.concatenate(log) - centres[net]
    location = np.concatenate([m.location for m in measured])
    _, group = np.unique(np.stack([net, location]), axis=1, return_inverse=True)
    group = group.ravel()
    same = net[:, None] == net[None, :]
    kernel = p @ p.T / 8 * (SHARED + OWN * same) + SMOOTH * rbf_kernel(x, x) * same
    kernel += LAW * np.multiply.outer(told, told) * same
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
    networks, law = {}, fit_law(measured)
    laws = {source: fit_law(measured, source) for source in sorted({m.source for m in measured if m.source})}
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
            law_mean=0.0 if m.activity is None else law.slope * float(m.activity.mean()),
            timezone=m.timezone,
            law_weight=LAW * float(told[mine] @ alpha[mine]),
            activity_mean=means[i],
        )
    places_per = np.array([len(np.unique(m.location)) for m in measured], dtype=np.float64)
    spread = float((spreads * places_per).sum() / places_per.sum())
    return LevelModel(networks, spread=spread, inflate=inflate, places=places, law=law, laws=laws)


def fit_law(measured: Sequence[Measured], source: str = "") -> Law:
    """The factor on the elasticities and the noise, learned over networks, each with an effect of its own.

    source: who counted the POIs of the places that it is for; networks of others count only where there is none of it,
    and then OTHER_SOURCE of what its own would: how much a map tells of traffic differs most between sources.
    A network's slope is that of log traffic per km2 on what the prior law expects, its variance counts locations, not
    cells; slopes are normal about that of all networks, which is normal about 1, both by SLOPES_APART.
    """
    usable = [(m, m.activity, m.area_km2) for m in measured if m.activity is not None and m.area_km2 is not None]
    own = [part for part in usable if part[0].source == source]
    usable, counts = (own, 1.0) if own else (usable, OTHER_SOURCE)
    weight, pull = 1 / SLOPES_APART**2, 1 / SLOPES_APART**2
    for m, expected, area in usable:
        x, y = expected - expected.mean(), np.log(m.level) - np.log(area)
        y, places = y - y.mean(), len(np.unique(m.location))
        across = float(x @ x)
        if places < 3 or across < NO_SPREAD:
            continue
        slope = float(x @ y) / across
        variance = float((y - slope * x).var()) / (across * places / len(x))
        weight += counts / (variance + SLOPES_APART**2)
        pull += counts * slope / (variance + SLOPES_APART**2)
    slope = pull / weight
    squares, count = LAW_PRIOR * LAW_NOISE**2, float(LAW_PRIOR)
    for m, expected, area in usable:
        left = np.log(m.level) - np.log(area) - slope * expected
        places = len(np.unique(m.location))
        squares, count = squares + counts * (places - 1) * float(left.var()), count + counts * (places - 1)
    lows, highs = ([f(x) for _, x, _ in usable] for f in (np.min, np.max))
    return Law(
        slope=round(float(slope), 4),
        noise=round(float(np.sqrt(squares / count)), 4),
        lowest=round(float(min([MEASURED_RANGE[0], *lows])), 4),
        highest=round(float(max([MEASURED_RANGE[1], *highs])), 4),
    )


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

    centre: (n,) expected log levels over the network's mean; residuals are of log levels, too. The likelihood counts
    locations, not cells. Convex: a log of a sum of exponentials, a line and a parabola.
    """
    from scipy.optimize import minimize_scalar

    if not residual.any():
        return 0.0

    def cost(b: float) -> float:
        spread = np.log((residual**2 * np.exp(-2 * b * centre)).mean()) / 2
        return float(locations * (spread + b * centre.mean()) + (b / SLOPE) ** 2 / 2)

    return float(minimize_scalar(cost, bounds=(-2.0, 2.0), method="bounded").x)


def stack_features(counts: Floats, around: Floats) -> Floats:
    """The log counts of POIs in cells, (cells, 8), and of those around, (cells, 8), side by side: (cells, 16)."""
    return np.concatenate([counts, around], axis=1)


def rbf_kernel(a: Floats, b: Floats) -> Floats:
    """Squared-exponential similarity (radial basis functions) of standardised features: (n, m), 1 for equals.

    a: (n, 16), b: (m, 16), of which the last eight, those around, weigh AROUND times.
    """
    a, b = (np.concatenate([v[:, :8], AROUND * v[:, 8:]], axis=1) for v in (a, b))
    squared = (a**2).sum(1)[:, None] + (b**2).sum(1)[None, :] - 2 * a @ b.T
    similar: Floats = np.exp(-np.maximum(squared, 0.0) / (2 * a.shape[1] * REACH**2))
    return similar


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    return value.tolist() if isinstance(value, np.ndarray) else value
