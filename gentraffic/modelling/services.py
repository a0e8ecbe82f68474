"""Further services of a model, beside its main one: their levels, rhythms, and what all services share.

A cell that is busy in Internet is busy in calls as well. So the level of the main service is drawn first, as if it were
alone, and that of a further service follows it by a log-ratio: log level = log level of the main service + mean of the
network + slope . (standardised main level) + weights . surroundings + residual. Slope and weights are a ridge
regression, each service with its own elasticities; the residuals of the services have a covariance, of cells whose
location was left out. Weeks share what happens hour by hour: the starting noise of a service is a mixture of the noises
of all services before it, with weights per band of frequencies that give departures the coherence that was measured.
Nothing depends on the area drawn; relative traffic (the mean cell of each service is 1) is made last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gentraffic.modelling.expected_week import ExpectedWeeks, rhythms_of
from gentraffic.modelling.features import BLOCK, Floats, Places
from gentraffic.modelling.transform import WEEK, Scaler, WeeklyProfile

if TYPE_CHECKING:
    from gentraffic.modelling.levels import LevelModel
    from gentraffic.modelling.measured import Source

PENALTY = 30.0  # of the ridge, in cells, on standardised columns
FARTHEST = 3.0  # spreads from the measured mean of a column that a place may be taken to lie
BANDS = (0, 7, 14, 28, 85)  # first frequencies, in cycles a week, of the bands in which coherence is measured
LEAST = 1e-6


@dataclass(frozen=True)
class Ratio:
    """The log-ratio of a service to the main one, in one network.

    mean: over its cells. level_spread: of the log levels of the service. mean_traffic, main_traffic: of the mean cell,
    of this service and of the main one, in the source's unit. centre, spread: (columns,) of what it depends on: the
    standardised main level, and the `surroundings`. weights: (columns,) per spread. source: who counted the POIs.
    """

    mean: float
    level_spread: float
    mean_traffic: float
    main_traffic: float
    centre: Floats
    spread: Floats
    weights: Floats
    source: str = ""

    def __call__(self, level: Floats, around: Floats, source: str = "") -> Floats:
        """(cells,) log-ratios of cells with these standardised main levels (cells,) and surroundings (cells, columns).

        Where another source counted the POIs, the main level alone tells.
        """
        x = np.concatenate([level[:, None], around], axis=1)
        x = np.clip((x - self.centre) / self.spread, -FARTHEST, FARTHEST)
        if source != self.source:
            x[:, 1:] = 0.0
        out: Floats = self.mean + np.einsum("cf,f->c", x, self.weights)  # no BLAS: the same bits in any company
        return out


@dataclass(frozen=True)
class NetworkServices:
    """The further services of one measured network. ratios: service -> its log-ratio.

    root: (services, services) lower Cholesky factor of the covariance of the residuals of the log-ratios, in their
    order. mixing: (bands, 1 + services, 1 + services) the same of the coherence of hourly departures, the main service
    first.
    """

    ratios: dict[str, Ratio]
    root: Floats
    mixing: Floats

    def position(self, service: str) -> int:
        """Where a service stands in `root`; in `mixing` one later."""
        return list(self.ratios).index(service)

    def residual(self, service: str, surprise: Floats) -> Floats:
        """(cells,) of the log-ratio. surprise: (services, cells), standard normal, independent of each other."""
        out: Floats = np.einsum("j,jc->c", self.root[self.position(service)], surprise)
        return out


@dataclass(frozen=True)
class Services:
    """The further services of a model: none in most.

    main: the name of the main service. order: names "NETWORK:SERVICE" of what has an index of its own in the network of
    a sampler, behind those of the networks. scalers, weeks: of each service, as `Bundle.scaler` and `Bundle.weeks` are
    of the main one. networks: what was measured in each network.
    """

    main: str = "traffic"
    order: tuple[str, ...] = ()
    scalers: dict[str, Scaler] = field(default_factory=dict)
    weeks: dict[str, ExpectedWeeks] = field(default_factory=dict)
    networks: dict[str, NetworkServices] = field(default_factory=dict)

    @property
    def further(self) -> tuple[str, ...]:
        """The names of the further services."""
        return tuple(self.scalers)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all services, the main one first."""
        return (self.main, *self.scalers)

    @property
    def amounts(self) -> dict[str, float]:
        """What the mean cell carries of each service, beside the main one: 1 for that. Means over networks, of logs."""
        out = {self.main: 1.0}
        for name in self.further:
            ratios = [n.ratios[name] for n in self.networks.values() if name in n.ratios]
            logs = [np.log(r.mean_traffic / r.main_traffic) for r in ratios]
            out[name] = float(np.exp(np.mean(logs))) if logs else 1.0
        return out

    def measured_in(self, service: str) -> tuple[str, ...]:
        """The networks that a further service was measured in."""
        return tuple(name for name, part in self.networks.items() if service in part.ratios)

    def index(self, service: str) -> int:
        """The number of a service in the sampler's network; 0: the main one."""
        return self.further.index(service) + 1 if service in self.scalers else 0

    def numbers(self, service: str, networks: Sequence[str]) -> dict[str, int]:
        """network -> its index in the sampler's network, for one service; networks: those of the main one, in order."""
        if service not in self.scalers:
            return {name: i for i, name in enumerate(networks, start=1)}
        ends = f":{service}"
        first = len(networks) + 1
        return {entry.removesuffix(ends): first + i for i, entry in enumerate(self.order) if entry.endswith(ends)}

    def of_numbers(self, networks: int) -> NDArray[np.int64]:
        """The number of the service of each index of the sampler's network: (1 + all indices,); 0 for those of the main
        service, of which there are `networks`, and for no network in particular."""
        return np.array([0] * (networks + 1) + [self.index(e.rpartition(":")[2]) for e in self.order], dtype=np.int64)

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, as services.json holds them."""
        return {
            "main": self.main,
            "order": list(self.order),
            "scalers": {name: asdict(scaler) for name, scaler in self.scalers.items()},
            "weeks": {name: weeks.to_json() for name, weeks in self.weeks.items()},
            "networks": {name: _plain(asdict(part)) for name, part in self.networks.items()},
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Services:
        """The mirror of `to_json`. Raises KeyError or TypeError for something else."""

        def scaler(part: Mapping[str, Any]) -> Scaler:
            profile = part.get("usual")
            return Scaler(**{**part, "usual": None if profile is None else WeeklyProfile(**profile)})

        def ratio(part: Mapping[str, Any]) -> Ratio:
            arrays = {k: np.array(part[k], dtype=np.float64) for k in ("centre", "spread", "weights")}
            return Ratio(**{**part, **arrays})

        return cls(
            main=str(values["main"]),
            order=tuple(values["order"]),
            scalers={name: scaler(part) for name, part in values["scalers"].items()},
            weeks={name: ExpectedWeeks.from_json(part) for name, part in values["weeks"].items()},
            networks={
                name: NetworkServices(
                    {service: ratio(r) for service, r in part["ratios"].items()},
                    np.array(part["root"], dtype=np.float64),
                    np.array(part["mixing"], dtype=np.float64),
                )
                for name, part in values["networks"].items()
            },
        )


def follow(
    main: Sequence[str], have: Sequence[str], measured: Mapping[str, tuple[str, int]], attrs: Mapping[Any, Any],
    asked: str, seed: int,
) -> tuple[str, ...]:  # fmt: skip
    """Whose rhythm of a further service each member follows: the network that its main service follows (`main`), where
    the service was measured there (`have`); else one where it was, chosen as `expected_week.rhythms_of` does."""
    measured_in = {name: measured.get(name, ("", 1)) for name in have}
    other = rhythms_of(tuple(have), measured_in, attrs, asked, len(main), seed)
    return tuple(name if name in have else instead for name, instead in zip(main, other, strict=True))


@dataclass(frozen=True)
class ServiceDraw:
    """Levels of one further service at a place. level: of the main one."""

    services: Services
    service: str
    levels: LevelModel
    places: Places

    def draw(self, log_main: Floats, network: str, surprise: Floats | None, rows: Any) -> tuple[Floats, Floats]:
        """Log relative levels of the service, 1 being its mean cell, and standardised ones, (cells,) of `rows` each.

        log_main: (cells,) of `rows`, of the main service. network: whose ratios hold. surprise: (services, cells)
        standard normal; None for the control.
        """
        part = self.services.networks[network]
        ratio = self._ratio(self.places, log_main, network, rows)
        if surprise is not None:
            ratio = ratio + part.residual(self.service, surprise)
            if self.places.network not in self.levels.networks:  # there the control is the mean
                ratio = ratio - np.sum(part.root[part.position(self.service)] ** 2) / 2
        spread = self.levels.networks[network].spread
        if self.places.network in self.levels.networks:
            spread = self.levels.networks[self.places.network].spread
        main = self.levels.standard(self.places, log_main, network, rows)
        own = part.ratios[self.service]
        standard: Floats = (main * spread + ratio - own.mean) / own.level_spread
        return log_main + ratio - self.unit(network), standard

    def unit(self, network: str) -> float:
        """Log of what relative traffic 1 of the service is, in that of the main one."""
        part = self.services.networks[network].ratios[self.service]
        if self.places.network == network:
            return float(np.log(part.mean_traffic / part.main_traffic))
        reference = self.places.before or self.places
        main = self.levels.draw(reference, np.zeros((1, len(reference.xy_m))))[0]
        whole = main + self._ratio(reference, main, network, slice(None))
        top = whole.max()
        return float(top + np.log(np.mean(np.exp(whole - top)))) - float(np.log(np.mean(np.exp(main))))

    def _ratio(self, places: Places, log_main: Floats, network: str, rows: Any) -> Floats:
        level = self.levels.standard(places, log_main, network, rows)
        part = self.services.networks[network].ratios[self.service]
        return part(level, surroundings(places, rows), places.source)


def surroundings(places: Places, rows: Any = slice(None)) -> Floats:
    """(cells, 17): the log density of POIs, and the share of each category of it, near and far."""
    near, far = places.near[rows], places.far[rows]
    count = near.shape[1]
    out = np.empty((len(near), 1 + 2 * count), dtype=np.float64)
    out[:, 0] = places.pois[rows]
    for at in range(0, len(out), BLOCK):  # a country has millions of rows
        some = slice(at, at + BLOCK)
        for part, first in ((near[some], 1), (far[some], 1 + count)):
            out[some, first : first + count] = part - part.mean(axis=1, keepdims=True)
    return out


def fit_ratios(main: Source, others: Sequence[Source], levels: LevelModel) -> tuple[dict[str, Ratio], Floats]:
    """The log-ratios of the further services of one network, and the root of their residuals' covariance.

    main, others: with a context, of the same file. A cell counts for a service where it is live in both.
    """
    assert main.places is not None
    model = levels.networks[main.network]
    row_of = {cell: row for row, cell in enumerate(main.cell_id.tolist())}
    around = surroundings(main.places, main.rows)
    ratios, residuals = {}, np.full((len(others), len(main.level)), np.nan)
    for i, other in enumerate(others):
        at = np.array([row_of.get(cell, -1) for cell in other.cell_id.tolist()], dtype=np.int64)
        level, rows = np.log(other.level[at >= 0]), at[at >= 0]
        main_log = np.log(main.level[rows])
        x = np.concatenate([((main_log - model.mean) / model.spread)[:, None], around[rows]], axis=1)
        y, location = level - main_log, main.location[rows]
        centre, spread = x.mean(axis=0).round(4), (x.std(axis=0) + LEAST).round(6)
        x = (x - centre) / spread
        weights = _ridge(x, y - y.mean())
        for group in np.unique(location):
            held = location == group
            if held.all():  # of one location nothing can be left out
                residuals[i, rows] = y - y.mean() - x @ weights
                break
            mean = y[~held].mean()
            residuals[i, rows[held]] = y[held] - mean - x[held] @ _ridge(x[~held], y[~held] - mean)
        ratios[other.service] = Ratio(
            mean=round(float(y.mean()), 4),
            level_spread=max(float(np.log(other.level).std()), 0.1),
            mean_traffic=float(other.level.mean()),
            main_traffic=model.mean_traffic,
            centre=centre,
            spread=spread,
            weights=weights.round(5),
            source=main.places.source,
        )
    whole = residuals[:, ~np.isnan(residuals).any(axis=0)]
    covariance = whole @ whole.T / max(whole.shape[1], 1)
    return ratios, np.linalg.cholesky(covariance + LEAST * np.eye(len(others))).round(5)


def fit_mixing(departures: Sequence[tuple[NDArray[Any], NDArray[np.float32]]]) -> Floats:
    """How the noises of services are mixed so that their weeks depart together: (bands, services, services).

    departures: of each service, the main one first: (cells,) ids and (cells, 168) scaled weeks of hours less what is
    expected of them, from the same hour on. Lower Cholesky factors of the coherence: the real part of the mean
    cross-spectrum over the root of the mean spectra, of the cells that all services have.
    """
    shared = sorted(set.intersection(*(set(ids.tolist()) for ids, _ in departures)))
    waves = []
    for ids, weeks in departures:
        row_of = {cell: row for row, cell in enumerate(ids.tolist())}
        waves.append(np.fft.rfft(weeks[[row_of[cell] for cell in shared]].astype(np.float64), norm="ortho"))
    out = np.empty((len(BANDS) - 1, len(departures), len(departures)))
    for band, (low, high) in enumerate(pairwise(BANDS)):
        part = np.stack([w[:, max(low, 1) : high].ravel() for w in waves])  # the mean of a week says nothing of it
        cross = (part @ part.conj().T).real
        scale = np.sqrt(np.diag(cross)) + LEAST
        coherence = cross / np.multiply.outer(scale, scale)
        np.fill_diagonal(coherence, 1.0 + 1e-4)
        root = np.linalg.cholesky(coherence)
        out[band] = root / np.linalg.norm(root, axis=1, keepdims=True)
    mixed: Floats = out.round(4)
    return mixed


def mix_noise(noises: Sequence[NDArray[np.float32]], mixing: Floats, service: int) -> NDArray[np.float32]:
    """The starting noise of a service: (B, 168 k), standard normal again.

    noises: own of each service up to this one, the main one first, (B, 168 k) each, k numbers per hour of which the
    first is the hour's mean. mixing: (bands, services, services) as `fit_mixing` gives it. service: its number.
    """
    own = noises[service]
    k = own.shape[1] // WEEK
    out = own.copy()
    mixed = np.zeros((len(own), WEEK // 2 + 1), dtype=np.complex128)
    for j, noise in enumerate(noises[: service + 1]):
        weight = np.repeat(mixing[:, service, j], np.diff(BANDS))
        mixed += weight * np.fft.rfft(noise[:, ::k].astype(np.float64))
    out[:, ::k] = np.fft.irfft(mixed, WEEK).astype(np.float32)
    return out


def _ridge(x: Floats, y: Floats) -> Floats:
    """Weights (columns,) of standardised columns x (cells, columns) for centred y (cells,)."""
    gram = x.T @ x + PENALTY * np.eye(x.shape[1])
    gram[0, 0] -= PENALTY - LEAST  # the main level is told by as many cells as there are: it is not shrunk
    out: Floats = np.asarray(np.linalg.solve(gram, x.T @ y), dtype=np.float64)
    return out


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    return value.tolist() if isinstance(value, np.ndarray) else value
