"""The week that a place's surroundings tell: what a sampler's network draws is how the cell's own week departs from it.

Kinds of place differ in few ways: by day and night, by weekend, by the hour of the peak. So the logarithms of the weeks
of a network, each over its mean, become scores of their first COMPONENTS principal components, and every score is a
Gaussian-process regression (Rasmussen and Williams 2006, section 2.2; kriging, in geography) on which share of the
points of interest each category has, near and far, on how dense known radio cells are, and on where the measured cells
lie: a cell among them hears its neighbours. Each measured network has a regression of its own about its mean week, its
rhythm. Offices empty at weekends, homes fill in the evening; a network that is to tell kinds of place from thousands of
noisy windows of a few hundred cells learns the noise first. What a component is told is shrunk by how well it was told
of locations that were left out, so that a map that says nothing changes nothing. Busy cells count more: their weeks are
less noisy, and errors are weighed by traffic.

How far a cell departs from that week, its amplitude, is drawn first: most cells depart little and a few much, quiet
ones more than busy ones, where a network that is to tell so from noise draws all alike (a scale mixture of normals:
Andrews and Mallows, Journal of the Royal Statistical Society B 36:99, 1974).

Whose rhythm a place follows that nobody measured: a measured network's, nearest first, drawn per member.

Day, week, roughness and how places differ are a network's: people eat at other hours in another country. Networks of
the same time zone come first, and alone where there are any; else those of the same continent count NEARER times as
often as others. Each counts with the root of the locations it was measured at. Where there is a doubt, the members of
an ensemble hold it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gentraffic.modelling.features import BLOCK, FLOOR, KM_PER_DEGREE, WEEK, Floats, Places, Scaler
from gentraffic.modelling.random_streams import WEEKS_M, bilinear
from gentraffic.modelling.weekly_profile import cell_weeks

if TYPE_CHECKING:
    from gentraffic.modelling.measured import Source

COMPONENTS = 6
WEIGHT = 0.5  # power of a cell's level that it counts with
FARTHEST = 3.0  # spreads from the measured mean of a column that a place may be taken to lie
SITES, CATEGORIES = 0, 8
COLUMNS = 1 + 2 * CATEGORIES  # radio cells, shares near, shares far
LEAST = 1e-6
ROWS = 256  # cells that are worked on at a time
# Variances over that of a cell of mean weight about its expected week, chosen over parts of Milan left out
# (benchmarks/p5.py --expected): of what is linear in columns and of what is not, per spread of radio cells, of shares
# near and of shares far; and of what a place shares with others near it, which falls by e over REACH_KM, to ALONE_KM.
LINEAR = np.repeat([0.3, 0.3 / CATEGORIES, 0.03 / CATEGORIES], [1, CATEGORIES, CATEGORIES])
BENT, BENDS = 0.3, np.repeat([1.0, 0.5 / CATEGORIES, 0.2 / CATEGORIES], [1, CATEGORIES, CATEGORIES])
NEIGHBOURS, REACH_KM, ALONE_KM = 0.3, 0.5, 5.0
MOST_CELLS, MOST_PARTS = 600, 25  # that a regression hears, and refits without some locations: both cost their cubes
MOST_PAIRED = 2000  # cells whose pairs are looked at
KNOTS = np.linspace(-2.5, 2.5, 11)  # of a standard normal number
LEAST_AMPLITUDE = 0.05
FEW_LOCATIONS = 2.0  # by which what few locations say of themselves is shrunk


@dataclass(frozen=True)
class Regression:
    """Scores of places from those of the measured cells.

    centre, spread: (17,) of the columns. points: (n, 17) those of the measured cells, standardised. lon_lat: (n, 2) in
    degrees. full, blind: (n, COMPONENTS) what each of them says, with and without the column of radio cells; full is
    None where they are not known.
    """

    centre: Floats
    spread: Floats
    points: Floats
    lon_lat: Floats
    full: Floats | None
    blind: Floats

    def __call__(self, columns: Floats, lon_lat: Floats) -> Floats:
        """Columns (cells, 17) and positions (cells, 2) of places -> their scores, (cells, COMPONENTS)."""
        x = standard(columns, self.centre, self.spread)
        out = np.empty((len(x), self.blind.shape[1]))
        for at in range(0, len(x), ROWS):
            some = slice(at, at + ROWS)
            near = neighbours(lon_lat[some], self.lon_lat)
            known = ~np.isnan(x[some, SITES]) & (self.full is not None)
            for rows, pull, first in ((known, self.full, SITES), (~known, self.blind, SITES + 1)):
                if pull is not None and rows.any():
                    alike = bent(x[some][rows], self.points, first) + near[rows]
                    line = LINEAR[first:, None] * (self.points[:, first:].T @ pull)
                    predicted = np.einsum("cn,nk->ck", alike, pull) + np.einsum(
                        "cf,fk->ck", x[some][rows, first:], line
                    )
                    out[some][rows] = predicted
        return out


@dataclass(frozen=True)
class Amplitude:
    """How far the weeks of a network's cells depart from what is expected of them: the log of the root mean square of
    the departures of scaled hours.

    centre, slope: its expectation over the standardised level of a cell, within lowest and highest. residual: (11,)
    what is added where a standard normal number is one of KNOTS. mean, spread: of it over cells, by which networks are
    told of it.
    """

    centre: float
    slope: float
    lowest: float
    highest: float
    residual: Floats
    mean: float
    spread: float

    def draw(self, level: NDArray[Any], z: NDArray[Any]) -> Floats:
        """Log amplitudes of cells of these standardised levels, (cells,), for standard normal numbers z (cells,)."""
        expected = self.centre + self.slope * np.clip(level.astype(np.float64), self.lowest, self.highest)
        out: Floats = expected + np.interp(z, KNOTS, self.residual)
        return out

    def standard(self, log: Floats) -> NDArray[np.float32]:
        """Log amplitudes (cells,) as the network is told of them."""
        out: NDArray[np.float32] = ((log - self.mean) / self.spread).astype(np.float32)
        return out


@dataclass(frozen=True)
class ExpectedWeek:
    """The rhythm of one measured network. mean: (168,) log of the week over its mean, plus FLOOR, Monday first.

    basis: (COMPONENTS, 168) the ways in which places differ. places: what tells their scores; None where nobody knows
    what stands around. source: who counted the POIs. locations: how many places it was measured at. timezone: where.
    shared: share of how cells depart from this that those beside them depart by as well (`random_streams.WEEKS_M`).
    amplitude: how far they depart; None where the sampler's network tells it.
    """

    mean: Floats
    basis: Floats = field(default_factory=lambda: np.zeros((COMPONENTS, WEEK)))
    places: Regression | None = None
    source: str = ""
    locations: int = 1
    timezone: str = ""
    shared: float = 0.0
    amplitude: Amplitude | None = None

    def scores(self, places: Places, rows: Any = slice(None)) -> NDArray[np.float32]:
        """Those of some cells, (cells, COMPONENTS): zeros where another source's categories hold other things."""
        at = np.arange(*rows.indices(len(places.xy_m))) if isinstance(rows, slice) else np.asarray(rows)
        out = np.zeros((len(at), COMPONENTS), dtype=np.float32)
        if self.places is not None and places.source == self.source:
            for first in range(0, len(at), BLOCK):  # a country has millions of rows
                some = at[first : first + BLOCK]
                out[first : first + BLOCK] = self.places(week_features(places, some), _positions(places, some))
        return out

    def log(self, scores: NDArray[Any]) -> Floats:
        """Log weeks, (cells, 168), of cells with these scores (cells, COMPONENTS)."""
        out: Floats = self.mean + np.einsum("ck,kt->ct", scores.astype(np.float64), self.basis)
        return out


@dataclass(frozen=True)
class ExpectedWeeks:
    """Of every measured network; empty: nothing is told, and the sampler's network draws whole weeks."""

    networks: dict[str, ExpectedWeek] = field(default_factory=dict)

    def scores(self, network: str, places: Places | None, cells: int, rows: Any = slice(None)) -> NDArray[np.float32]:
        """What the regression of a network says of some cells, (cells, COMPONENTS); zeros where it says nothing."""
        own = self.networks.get(network)
        if own is None or places is None:
            return np.zeros((cells, COMPONENTS), dtype=np.float32)
        return own.scores(places, rows)

    def scaled(self, network: str, scores: NDArray[np.float32], mean: float, spread: float) -> NDArray[np.float32]:
        """What is taken from scaled log weeks: (cells, 168). mean, spread: of `transform.Scaler`.

        scores: (cells, COMPONENTS). A network without a week of its own: the mean of the others.
        """
        if not self.networks:
            return np.zeros((len(scores), WEEK), dtype=np.float32)
        own = self.networks.get(network)
        if own is None:
            log = np.broadcast_to(np.mean([w.mean for w in self.networks.values()], axis=0), (len(scores), WEEK))
        else:
            log = own.log(scores)
        out: NDArray[np.float32] = ((log - mean) / spread).astype(np.float32)
        return out

    def amplitude(self, network: str) -> Amplitude | None:
        """That of a network; the mean of the others' where it has none, None where none has."""
        laws = {name: week.amplitude for name, week in self.networks.items() if week.amplitude is not None}
        if network in laws or not laws:
            return laws.get(network)
        means: dict[str, Any] = {
            part.name: np.mean([getattr(law, part.name) for law in laws.values()], axis=0) for part in fields(Amplitude)
        }
        return Amplitude(**means)

    @property
    def tells_amplitude(self) -> bool:
        """Whether any network has a law of amplitudes."""
        return any(week.amplitude is not None for week in self.networks.values())

    @property
    def measured(self) -> dict[str, tuple[str, int]]:
        """network -> where it lies (an IANA time zone) and at how many locations it was measured."""
        return {name: (week.timezone, week.locations) for name, week in self.networks.items()}

    @property
    def shared(self) -> dict[str, float]:
        """network -> `ExpectedWeek.shared`."""
        return {name: week.shared for name, week in self.networks.items()}

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, as week.json holds them."""
        return {name: _plain(asdict(week)) for name, week in self.networks.items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ExpectedWeeks:
        """The mirror of `to_json`. Raises KeyError or TypeError for something else."""

        def array(part: Any) -> Any:
            return None if part is None else np.array(part, dtype=np.float64)

        def regression(part: Mapping[str, Any] | None) -> Regression | None:
            return None if part is None else Regression(**{key: array(value) for key, value in part.items()})

        def amplitude(part: Mapping[str, Any] | None) -> Amplitude | None:
            return None if part is None else Amplitude(**{**part, "residual": array(part["residual"])})

        return cls(
            {
                name: ExpectedWeek(
                    array(week["mean"]),
                    array(week["basis"]),
                    regression(week["places"]),
                    str(week["source"]),
                    int(week["locations"]),
                    str(week["timezone"]),
                    float(week.get("shared", 0.0)),  # models of before share nothing
                    amplitude(week.get("amplitude")),
                )
                for name, week in values.items()
            }
        )


def week_features(places: Places, rows: Any = slice(None)) -> Floats:
    """(cells, 17): the log density of radio cells, nan where unknown; log shares of categories near, and far."""
    near, far = places.near[rows], places.far[rows]
    out = np.empty((len(near), COLUMNS))
    sites = places.known.get("stations")
    out[:, SITES] = np.nan if sites is None else sites[rows]
    for part, first in ((near, 1), (far, 1 + CATEGORIES)):
        out[:, first : first + CATEGORIES] = part
        out[:, first : first + CATEGORIES] -= part.mean(axis=1, keepdims=True)
    return out


def standard(columns: Floats, centre: Floats, spread: Floats) -> Floats:
    """Columns (cells, 17) in spreads from their centre, held within FARTHEST. centre, spread: (17,)."""
    return np.clip((columns - centre) / spread, -FARTHEST, FARTHEST)


def likeness(a: Floats, b: Floats, first: int = SITES) -> Floats:
    """Covariances of places for what stands around them: (m, n).

    a, b: (m, 17) and (n, 17), standardised. first: of the columns that count.
    """
    line = np.sqrt(LINEAR[first:])
    out: Floats = bent(a, b, first) + (a[:, first:] * line) @ (b[:, first:] * line).T
    return out


def bent(a: Floats, b: Floats, first: int = SITES) -> Floats:
    """The part of `likeness` that is not linear: (m, n). What two places share depends on no others, to the bit.

    a, b: (m, 17) and (n, 17), standardised. first: of the columns that count.
    """
    scale = np.sqrt(BENDS[first:])
    x, y = a[:, first:] * scale, b[:, first:] * scale
    out: Floats = np.einsum("cf,fn->cn", x, np.ascontiguousarray(y.T))  # no BLAS: the same bits in any company
    out -= (x * x).sum(axis=1)[:, None] / 2
    out -= (y * y).sum(axis=1)[None, :] / 2
    np.exp(out, out=out)
    out *= BENT
    return out


def neighbours(a: Floats, b: Floats) -> Floats:
    """Covariances of places for lying near one another: (m, n). a, b: (m, 2) and (n, 2), lon and lat in degrees."""
    out = np.zeros((len(a), len(b)))
    if not out.size:
        return out
    km = KM_PER_DEGREE * np.array([np.cos(np.radians(b[0, 1])), 1.0])  # of the first: one number for a network
    east, north = (a[:, None, i] * km[i] - b[None, :, i] * km[i] for i in (0, 1))
    east *= east
    north *= north
    east += north
    some = east < ALONE_KM**2
    out[some] = NEIGHBOURS * np.exp(-np.sqrt(east[some]) / REACH_KM)
    return out


def fit_week(source: Source) -> tuple[ExpectedWeek, Floats]:
    """The regression of one network, and what it says of each cell when the cell's location is left out: (cells, 168).

    That is what a sampler's network must learn to depart from: of places that were not measured.
    """
    log = np.log(np.maximum(cell_weeks(source).reshape(-1, WEEK), 0.0) + FLOOR)
    weight = source.level**WEIGHT
    weight = weight / weight.mean()
    groups = np.unique(source.location)
    mean = np.average(log, axis=0, weights=weight).round(4)
    if source.places is None:  # stations somewhere: no place is known to be like any
        return ExpectedWeek(mean, timezone=source.timezone), np.broadcast_to(mean, log.shape).copy()
    if len(groups) < 3:
        shared = round(shared_by_neighbours(log - mean, source.places.xy_m[source.rows]), 3)
        week = ExpectedWeek(mean, locations=len(groups), timezone=source.timezone, shared=shared)
        return week, np.broadcast_to(mean, log.shape).copy()
    basis = principal_components(log - mean, weight)
    scores = np.einsum("ct,kt->ck", log - mean, basis)
    columns = week_features(source.places, source.rows)
    if np.isnan(columns[:, SITES]).any():
        columns[:, SITES] = np.nan
    where = _positions(source.places, source.rows).round(5)
    heard = np.sort(np.random.default_rng(0).permutation(len(log))[:MOST_CELLS])
    centre, spread = (part.round(6) for part in _scale(columns, weight))
    points = np.nan_to_num(standard(columns[heard], centre, spread)).round(3)
    part_of = _parts(source.location)
    pulls: dict[int, Floats] = {}
    for first in (SITES, SITES + 1):
        if np.isnan(columns[:, first]).any():
            continue
        predicted, baseline = np.empty_like(scores), np.empty_like(scores)
        for part in range(part_of.max() + 1):
            held, kept = np.flatnonzero(part_of == part), heard[part_of[heard] != part]
            predicted[held], baseline[held] = _left_out(columns, where, scores, weight, kept, held, first)
        trust = _trust(predicted, scores - baseline, weight) * len(groups) / (len(groups) + FEW_LOCATIONS)
        pulls[first] = (_pull(points, where, scores, weight, heard, first) * trust).round(4)
        if first == min(pulls):
            left_out = mean + np.einsum("ck,kt->ct", baseline + trust * predicted, basis)
            left_out += np.average(log - left_out, axis=0, weights=weight)  # without a large one, all others lean away
    regression = Regression(centre, spread, points, where[heard], pulls.get(SITES), pulls[SITES + 1])
    by, zone = source.places.source, source.timezone
    rest = log - left_out - np.average(log - left_out, axis=0, weights=weight)
    shared = round(shared_by_neighbours(rest, source.places.xy_m[source.rows]), 3)
    return ExpectedWeek(mean, basis, regression, by, len(groups), zone, shared), left_out


def fit_amplitude(log: Floats, level: NDArray[Any], weight: Floats) -> Amplitude:
    """The law of the log amplitudes of cells (cells,), given their standardised levels (cells,), nan where not known.

    weight: (cells,) how much each cell counts. The slope is that of weighted least squares."""
    from scipy.special import ndtr

    z = np.nan_to_num(level.astype(np.float64))
    mean = float(np.average(log, weights=weight))
    off = z - np.average(z, weights=weight)
    slope = float(np.average(off * (log - mean), weights=weight) / max(np.average(off**2, weights=weight), LEAST))
    centre = mean - slope * float(np.average(z, weights=weight))
    left = log - centre - slope * z
    order = np.argsort(left, kind="stable")
    share = (np.cumsum(weight[order]) - weight[order] / 2) / weight.sum()
    return Amplitude(
        centre=round(centre, 4),
        slope=round(slope, 4),
        lowest=round(float(z.min()), 4),
        highest=round(float(z.max()), 4),
        residual=np.interp(ndtr(KNOTS), share, left[order]).round(4),
        mean=round(mean, 4),
        spread=round(max(float(np.sqrt(np.average((log - mean) ** 2, weights=weight))), LEAST_AMPLITUDE), 4),
    )


def shared_by_neighbours(rest: Floats, xy_m: Floats) -> float:
    """The share of departures, within 0 and 1, that covariances of cells near one another tell: least squares on those
    of noise that is shared wholly. rest: (cells, 168). xy_m: (cells, 2) metres."""
    if not np.isfinite(xy_m).all():
        return 0.0
    some = np.sort(np.random.default_rng(0).permutation(len(rest))[:MOST_PAIRED])
    rest, xy_m = rest[some], xy_m[some]
    points, weight = bilinear(xy_m, WEEKS_M)
    number = np.unique(points.reshape(-1, 2), axis=0, return_inverse=True)[1].reshape(len(rest), -1)
    onto = np.zeros((len(rest), number.max() + 1))
    np.put_along_axis(onto, number, weight, axis=1)
    whole, alike = onto @ onto.T, rest @ rest.T / rest.shape[1]
    np.fill_diagonal(whole, 0.0)
    if not whole.any():
        return 0.0
    return float(np.clip((whole * alike).sum() / (whole**2).sum() / max(np.trace(alike) / len(rest), LEAST), 0.0, 1.0))


def _parts(location: NDArray[np.int64]) -> NDArray[np.int64]:
    """The part that each cell is left out with, (cells,): its location, or one of MOST_PARTS where there are more."""
    number = np.unique(location, return_inverse=True)[1].ravel()
    count = int(number.max()) + 1
    out: NDArray[np.int64] = (np.random.default_rng(1).permutation(count) % MOST_PARTS)[number]
    return out


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
        scores = weeks.scores(s.network, s.places, len(s.ratio), s.rows)
        out[s.network] = weeks.scaled(s.network, scores, scaler.mean, scaler.spread)
    return out


def principal_components(apart: Floats, weight: Floats) -> Floats:
    """The first principal components: (COMPONENTS, 168) orthonormal, zeros beyond the number of cells.

    apart: (cells, 168) log weeks about their mean. weight: (cells,). The largest number of each is positive.
    """
    components = np.linalg.svd(apart * np.sqrt(weight)[:, None], full_matrices=False)[2][:COMPONENTS]
    largest = np.take_along_axis(components, np.abs(components).argmax(axis=1)[:, None], axis=1)
    out = np.zeros((COMPONENTS, apart.shape[1]))
    out[: len(components)] = components * np.sign(largest)
    rounded: Floats = out.round(5)
    return rounded


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


def _positions(places: Places, rows: Any) -> Floats:
    """(cells, 2) degrees, nan where the context says none."""
    if places.lon_lat is None:
        return np.full((len(places.xy_m[rows]), 2), np.nan)
    out: Floats = places.lon_lat[rows]
    return out


def _scale(columns: Floats, weight: Floats) -> tuple[Floats, Floats]:
    centre: Floats = np.asarray(np.average(columns, axis=0, weights=weight), dtype=np.float64)
    variance = np.asarray(np.average((columns - centre) ** 2, axis=0, weights=weight), dtype=np.float64)
    return centre, np.sqrt(variance) + LEAST


def _pull(points: Floats, where: Floats, scores: Floats, weight: Floats, kept: NDArray[np.int64], first: int) -> Floats:
    """What each of some measured cells says, (kept, COMPONENTS): (covariances + noise) pull = scores."""
    alike = likeness(points, points, first) + neighbours(where[kept], where[kept])
    own = weight[kept] / weight[kept].mean()
    out: Floats = np.asarray(np.linalg.solve(alike + np.diag(1 / own), scores[kept]), dtype=np.float64)
    return out


def _left_out(
    columns: Floats, where: Floats, scores: Floats, weight: Floats, kept: NDArray[np.int64],
    held: NDArray[np.int64], first: int,
) -> tuple[Floats, Floats]:  # fmt: skip
    """What kept cells say of the scores of those held, (held, COMPONENTS), and the mean of theirs, (COMPONENTS,)."""
    centre, spread = _scale(columns[kept], weight[kept])
    points, others = (np.nan_to_num(standard(columns[rows], centre, spread)) for rows in (kept, held))
    mean = np.average(scores[kept], axis=0, weights=weight[kept])
    pull = _pull(points, where, scores - mean, weight, kept, first)
    alike = likeness(others, points, first) + neighbours(where[held], where[kept])
    return np.asarray(alike @ pull), np.asarray(mean)


def _trust(predicted: Floats, real: Floats, weight: Floats) -> Floats:
    """The factor in 0 to 1 by which what is told, (cells, COMPONENTS), comes nearest to what is: (COMPONENTS,)."""
    both, own = ((weight[:, None] * predicted * other).sum(axis=0) for other in (real, predicted))
    out: Floats = np.clip(both / np.maximum(own, LEAST), 0.0, 1.0)
    return out


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, list):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and value != value else value


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
