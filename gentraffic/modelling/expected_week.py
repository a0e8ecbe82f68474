"""The week that a place's surroundings tell: what a sampler's network draws is how the cell's own week departs from it.

A ridge regression of the logarithm of the week of hours, over the cell's mean, on what stands around: how dense points
of interest and known radio cells are, and which share of them each category has, near and far. Each measured network
has a regression of its own, with its mean week: its rhythm. Offices empty at weekends, homes fill in the evening; a
network that is to tell kinds of place from thousands of noisy windows of a few hundred cells learns the noise first, a
ridge with one penalty does not. Busy cells count more: their weeks are less noisy, and errors are weighed by traffic.

Whose rhythm a place follows that nobody measured: a measured network's, nearest first, drawn per member.

Day, week, roughness and how places differ are a network's: people eat at other hours in another country. Networks of
the same time zone come first, and alone where there are any; else those of the same continent count NEARER times as
often as others. Each counts with the root of the locations it was measured at. Where there is a doubt, the members of
an ensemble hold it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gentraffic.modelling.features import BLOCK, Floats, Places
from gentraffic.modelling.transform import FLOOR, Scaler
from gentraffic.modelling.weekly_profile import cell_weeks

if TYPE_CHECKING:
    from gentraffic.modelling.measured import Source

WEEK = 168
PENALTY = (
    100.0  # of the ridge, in cells, on standardised columns; chosen over parts of Milan left out (benchmarks/p5.py)
)
WEIGHT = 0.5  # power of a cell's level that it counts with
FARTHEST = 3.0  # spreads from the measured mean of a column that a place may be taken to lie
SITES, COLUMNS = 1, 18  # the column of radio cells, and how many there are
LEAST = 1e-6


@dataclass(frozen=True)
class Regression:
    """centre, spread: (columns,) of the features. weights: (columns, 168) per spread."""

    centre: Floats
    spread: Floats
    weights: Floats

    def __call__(self, features: Floats) -> Floats:
        """(cells, columns) -> what is added to the mean week, (cells, 168)."""
        x = np.clip((features - self.centre) / self.spread, -FARTHEST, FARTHEST)
        out: Floats = np.einsum("cf,ft->ct", x, self.weights)  # no BLAS: each cell has the same bits in any company
        return out


@dataclass(frozen=True)
class ExpectedWeek:
    """The rhythm of one measured network. mean: (168,) log of the week over its mean, plus FLOOR, Monday first.

    full, blind: with and without the column of radio cells; None where nobody knows what stands around. source: who
    counted the POIs. locations: how many places it was measured at. timezone: where.
    """

    mean: Floats
    full: Regression | None = None
    blind: Regression | None = None
    source: str = ""
    locations: int = 1
    timezone: str = ""

    def __call__(self, features: Floats, source: str = "") -> Floats:
        """Log weeks of cells with these features (`week_features`), counted by `source`: (cells, 168)."""
        out = np.broadcast_to(self.mean, (len(features), WEEK)).copy()
        if self.full is None or self.blind is None or source != self.source:
            return out  # another source's categories hold other things
        known = ~np.isnan(features[:, SITES]) & ~np.isnan(self.full.centre[SITES])
        if known.any():
            out[known] += self.full(features[known])
        if not known.all():
            out[~known] += self.blind(np.delete(features[~known], SITES, axis=1))
        return out


@dataclass(frozen=True)
class ExpectedWeeks:
    """Of every measured network; empty: nothing is told, and the sampler's network draws whole weeks."""

    networks: dict[str, ExpectedWeek] = field(default_factory=dict)

    def scaled(self, network: str, features: Floats, source: str, mean: float, spread: float) -> NDArray[np.float32]:
        """What is taken from scaled log weeks: (cells, 168), without unit.

        features: (cells, 18) of `week_features`. source: where their POIs are from. mean, spread: of
        `transform.Scaler`. A network without a week of its own: the mean of the others.
        """
        if not self.networks:
            return np.zeros((len(features), WEEK), dtype=np.float32)
        own = self.networks.get(network)
        if own is None:
            log = np.broadcast_to(np.mean([w.mean for w in self.networks.values()], axis=0), (len(features), WEEK))
        else:
            log = own(features, source)
        out: NDArray[np.float32] = ((log - mean) / spread).astype(np.float32)
        return out

    @property
    def measured(self) -> dict[str, tuple[str, int]]:
        """network -> where it lies (an IANA time zone) and at how many locations it was measured."""
        return {name: (week.timezone, week.locations) for name, week in self.networks.items()}

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, as week.json holds them."""
        return {name: _plain(asdict(week)) for name, week in self.networks.items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ExpectedWeeks:
        """The mirror of `to_json`. Raises KeyError or TypeError for something else."""

        def regression(part: Mapping[str, Any] | None) -> Regression | None:
            return None if part is None else Regression(**{k: np.array(v, dtype=np.float64) for k, v in part.items()})

        return cls(
            {
                name: ExpectedWeek(
                    np.array(week["mean"], dtype=np.float64),
                    regression(week["full"]),
                    regression(week["blind"]),
                    str(week["source"]),
                    int(week["locations"]),
                    str(week["timezone"]),
                )
                for name, week in values.items()
            }
        )


def week_features(places: Places, rows: Any = slice(None)) -> NDArray[np.float32]:
    """(cells, 18): the log density of POIs; of radio cells, nan where unknown; shares of categories near, and far."""
    near, far = places.near[rows], places.far[rows]
    count = near.shape[1]
    out = np.empty((len(near), 2 + 2 * count), dtype=np.float32)
    out[:, 0] = places.pois[rows]
    sites = places.known.get("stations")
    out[:, SITES] = np.nan if sites is None else sites[rows]
    for at in range(0, len(out), BLOCK):  # a country has millions of rows
        some = slice(at, at + BLOCK)
        for part, first in ((near[some], 2), (far[some], 2 + count)):
            out[some, first : first + count] = part - part.mean(axis=1, keepdims=True)
    return out


def fit_week(source: Source) -> tuple[ExpectedWeek, Floats]:
    """The regression of one network, and what it says of each cell when the cell's location is left out: (cells, 168).

    That is what a sampler's network must learn to depart from: of places that were not measured.
    """
    log = np.log(np.maximum(cell_weeks(source).reshape(-1, WEEK), 0.0) + FLOOR)
    weight = source.level**WEIGHT
    weight = weight / weight.mean()
    groups = np.unique(source.location)
    if source.places is None or len(groups) < 3:
        mean = np.average(log, axis=0, weights=weight)
        count = 1 if source.places is None else len(groups)  # of stations somewhere, no place is known to be like any
        week = ExpectedWeek(mean.round(4), locations=count, timezone=source.timezone)
        return week, np.broadcast_to(mean, log.shape).copy()
    features = week_features(source.places, source.rows).astype(np.float64)
    if np.isnan(features[:, SITES]).any():
        features[:, SITES] = np.nan
    columns = [np.arange(features.shape[1]), np.delete(np.arange(features.shape[1]), SITES)]
    whole = [_ridge(features[:, c], log, weight) for c in columns]
    best = columns[1] if np.isnan(features[:, SITES]).any() else columns[0]
    left_out = np.empty_like(log)
    for group in groups:
        held = source.location == group
        mean, part = _ridge(features[~held][:, best], log[~held], weight[~held])
        left_out[held] = mean + part(features[held][:, best])
    full, blind = (part for _, part in whole)
    by, zone = source.places.source, source.timezone
    return ExpectedWeek(whole[0][0].round(4), full, blind, by, len(groups), zone), left_out


def fit_weeks(sources: Sequence[Source]) -> tuple[ExpectedWeeks, dict[str, Floats]]:
    """Those of all networks, and per network what is said of its cells with their location left out (log weeks)."""
    fitted = {s.network: fit_week(s) for s in sources}
    return ExpectedWeeks({name: week for name, (week, _) in fitted.items()}), {
        name: left_out for name, (_, left_out) in fitted.items()
    }


def expected_of(
    sources: Sequence[Source], weeks: ExpectedWeeks, scaler: Scaler
) -> dict[str, NDArray[np.float32]] | None:
    """What is taken from scaled weeks of cells that `weeks` was not fitted on: network -> (cells, 168), Monday first.

    None where nothing is expected.
    """
    if not weeks.networks:
        return None
    out = {}
    for s in sources:
        features, by = np.full((len(s.ratio), COLUMNS), np.nan), "nobody"
        if s.places is not None:
            features, by = week_features(s.places, s.rows).astype(np.float64), s.places.source
        out[s.network] = weeks.scaled(s.network, features, by, scaler.mean, scaler.spread)
    return out


def from_monday(week: NDArray[np.float32], weekday: NDArray[np.int64], per_hour: int) -> NDArray[np.float32]:
    """Weeks (cells, 168), Monday first, as weeks that begin on `weekday` (cells,) and hold k numbers per hour, of which
    the first is the hour's mean and all others stay: (cells, 168 k)."""
    at = (np.arange(WEEK)[None, :] + 24 * weekday[:, None]) % WEEK
    turned = np.take_along_axis(week, at, axis=1)
    if per_hour == 1:
        return turned
    out = np.zeros((*turned.shape, per_hour), dtype=np.float32)
    out[..., 0] = turned
    return out.reshape(len(week), -1)


def _ridge(features: Floats, log: Floats, weight: Floats) -> tuple[Floats, Regression]:
    """Weighted ridge of log weeks (cells, 168) on standardised features; unknown columns weigh nothing."""
    centre: Floats = np.asarray(np.average(features, axis=0, weights=weight), dtype=np.float64)
    spread: Floats = np.sqrt(np.average((features - centre) ** 2, axis=0, weights=weight)) + LEAST
    x = np.nan_to_num((features - centre) / spread)
    mean = np.average(log, axis=0, weights=weight)
    gram = x.T @ (x * weight[:, None]) + PENALTY * np.eye(x.shape[1])
    weights: Floats = np.asarray(np.linalg.solve(gram, x.T @ ((log - mean) * weight[:, None])), dtype=np.float64)
    weights_kept: Floats = weights.round(5)
    return mean, Regression(centre.round(4), spread.round(6), weights_kept)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, np.ndarray):
        return [None if v != v else v for v in value.tolist()] if value.ndim == 1 else value.tolist()
    return value


AUTO = "auto"
NEARER = 8.0
STREAM = 7_331  # of the random numbers that choose
Measured = Mapping[str, tuple[str, int]]  # network -> the IANA name of its time zone, and locations measured


def rhythm_weights(timezone: str, networks: Sequence[str], measured: Measured) -> list[float]:
    """How often each network is followed at a place in `timezone` (an IANA name), of sum 1; [] without networks."""
    origins = [measured.get(name, ("", 1)) for name in networks]
    root = np.sqrt([float(locations) for _, locations in origins])
    same = np.array([zone not in ("", "UTC") and zone == timezone for zone, _ in origins], dtype=bool)
    continent = timezone.split("/")[0]
    near = np.array([zone != "" and zone.split("/")[0] == continent for zone, _ in origins], dtype=bool)
    weight = root * (same if same.any() else np.where(near, NEARER, 1.0))
    return [float(w) for w in weight / weight.sum()] if len(origins) else []


def choose_rhythms(timezone: str, networks: Sequence[str], measured: Measured, members: int, seed: int) -> list[str]:
    """The network that each member follows: the most likely one for the control, member 0; then drawn, two members
    at a time, which are an antithetic pair. "" where no network is known."""
    weight = rhythm_weights(timezone, networks, measured)
    if not weight:
        return [""] * members
    chosen = [networks[int(np.argmax(weight))]]
    for pair in range(1, members // 2 + 1):
        rng = np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, STREAM, pair))))
        chosen += [networks[int(rng.choice(len(networks), p=weight))]] * 2
    return chosen[:members]


def rhythms_of(
    networks: Sequence[str], measured: Measured, attrs: Mapping[Any, Any], asked: str, members: int, seed: int
) -> tuple[str, ...]:
    """The network whose rhythm each member follows: as asked, as a context of these attributes says (`habits`), its own
    `network`, or the nearest. measured: {} for a model of before rhythms were chosen: "" then stands for none."""
    named = ("" if asked == AUTO else asked) or str(attrs.get("habits", "")) or str(attrs.get("network", ""))
    if named in networks:
        return (named,) * members
    known = networks if measured else ()
    return tuple(choose_rhythms(str(attrs.get("timezone", "")), known, measured, members, seed))


def in_words(rhythms: Sequence[str]) -> str:
    """Networks that members follow, the most frequent first: "milan (7 members), uomo-sd (1 member)"."""
    count = {name: rhythms.count(name) for name in dict.fromkeys(rhythms)}
    if len(count) == 1:
        return next(iter(count)) or "of no network in particular"
    order = sorted(count, key=lambda name: -count[name])
    return ", ".join(f"{name} ({count[name]} member{'s' if count[name] > 1 else ''})" for name in order)
