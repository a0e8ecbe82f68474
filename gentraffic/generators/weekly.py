"""STOUTER and the samplers that take its place: levels first, then a week at a time, in tiles of one padded shape.

A tile holds as many series as the model asks for (`Sampler.series_at_once`), always.
"""

from __future__ import annotations

import copy
import os
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gentraffic.dataset.calendar import Calendar, make_calendar
from gentraffic.dataset.memmap import trim_heap
from gentraffic.dataset.schema import BLOCK, IN_MEMORY, Memory, blocks, release_pages, rising
from gentraffic.errors import WrongUse, did_you_mean
from gentraffic.generators.base import Settings as Settings
from gentraffic.generators.base import Span, Tell, check_minutes
from gentraffic.modelling.even_members import drawn_together, spread_pairs
from gentraffic.modelling.expected_week import AUTO, COMPONENTS, ExpectedWeeks, from_monday, rhythms_of
from gentraffic.modelling.features import Floats, Places, Scale, Scaler, read_places
from gentraffic.modelling.history import History, as_profile
from gentraffic.modelling.known_cells import (
    KnownCells,
    KnownWeeks,
    check_left,
    known_weeks,
    log_expected,
    measured_sizes,
)
from gentraffic.modelling.kriging import condition, conditional_levels
from gentraffic.modelling.level_noise import level_noise, likes_of
from gentraffic.modelling.levels import LevelModel, log_mean
from gentraffic.modelling.random_streams import (
    ALL_WINDOWS,
    WEEKS_M,
    bilinear,
    lattice_seeds,
    shape_seeds,
    standard_normals,
)
from gentraffic.modelling.services import ServiceDraw, Services, follow, mix_noise
from gentraffic.modelling.weekly_profile import profile_week
from graphs.build import embedded_squares, interpolate_hours, temporal_graph
from graphs.graphmae import GraphMAE
from samplers.diffusion import SOLVERS, Noise, draw, starting_noise
from samplers.sampler import DAYS, HOURS, WEEK, Condition, Sampler, at_once, computing_in, own_stream, to_host

if TYPE_CHECKING:
    import xarray as xr

HIGHEST_LEVEL = 3.0  # spreads from a network's mean: no training cell told more, and a past may hold anything
SUNDAY, WORKDAYS = 6, 5
MONDAY = "2026-01-05"  # any
PROBED = 100  # measured cells of which a week is drawn to see how rough it is
OVERLAP_DAYS = 1  # of each further window are given by the window before it, so that no seam shows


class WeeklyModel(Protocol):
    """What drawing needs of a trained model; `gentraffic.generators.folder.Bundle` is one."""

    @property
    def model(self) -> Sampler:
        """The network."""

    @property
    def scaler(self) -> Scaler:
        """How traffic is scaled for it."""

    @property
    def levels(self) -> LevelModel:
        """What levels are drawn from."""

    @property
    def networks(self) -> tuple[str, ...]:
        """Names of the measured networks, index 0 being network 1 of the model."""

    @property
    def weeks(self) -> ExpectedWeeks:
        """From which what the network draws departs."""

    @property
    def services(self) -> Services:
        """The further services, beside the main one."""

    def time(self) -> torch.Tensor:
        """The time embedding of the hours of the week: (168, Q)."""

    @property
    def station(self) -> GraphMAE:
        """What embeds cells, see `place_embedding`."""


def draw_traffic(
    bundle: WeeklyModel,
    context: xr.Dataset,
    calendar: Calendar,
    settings: Settings,
    *,
    cells: Sequence[int] | None = None,
    history: History | None = None,
    tiles_at_once: int | None = None,
    on_tile: Callable[[int, int], None] | None = None,
) -> NDArray[np.float32]:
    """Relative traffic (1 = the mean cell): (members, cells, steps) float32.

    cells: which rows of the context are drawn, all by default; each gets the same series whatever else is drawn.
    history: what was measured earlier in some of the cells, for a model that takes it. tiles_at_once: worker threads,
    by default one per core; no bit depends on it. on_tile(done, of) is told progress.
    Raises WrongUse where the model cannot draw the calendar's cadence or the device is not there.
    """
    drawn = WeeklyDraw(*prepare_inputs(bundle, context, calendar, settings, cells=cells, history=history))
    count, tile = len(drawn.region.ids), drawn.block
    out = np.empty((settings.members, count, len(calendar.utc)), dtype=np.float32)
    spans = [Span(m, at, min(at + tile, count)) for m in range(settings.members) for at in range(0, count, tile)]
    for span, values in drawn.blocks(spans, tiles_at_once, on_tile):
        out[span.member, span.first : span.end] = values
    return out


@dataclass(frozen=True)
class Region:
    """What each cell to be drawn is given; rows in the order asked for.

    ids: (cells,). place: (cells, P) the station embedding. log_level: (members, cells) log relative level. level:
    (members, cells) the same as the network takes it, standardised. past: (cells, 7, 24 j) the usual weeks of a
    history, nan for cells without one, and past_days: (7,); None where no cell has one. rhythms: the measured network
    that each member follows, "" for none. week_scores: (distinct rhythms, cells, K) what is told of the expected week
    of each cell with each rhythm (`ExpectedWeeks.scores`); None where the network draws whole weeks. known: what
    measured cells say of the weeks of all, and what is kept of them; None where none was measured. told: whether the
    network hears place and level: where nobody measured, what they tell of a week is told by the expected week and by
    the amplitude, and told them as well it draws worse weeks. xy_m: (cells, 2)
    metres; None where what is drawn of neighbours has nothing in common.
    """

    ids: NDArray[Any]
    place: NDArray[np.float32]
    log_level: Floats
    level: NDArray[np.float32]
    past: NDArray[np.float32] | None = None
    past_days: NDArray[np.int64] | None = None
    rhythms: tuple[str, ...] = ()
    week_scores: NDArray[np.float32] | None = None
    known: KnownWeeks | None = None
    xy_m: Floats | None = None
    told: bool = True

    def at(self, rhythm: str) -> int:
        """Which of the distinct rhythms it is."""
        return list(dict.fromkeys(self.rhythms)).index(rhythm)

    def expected(self, rows: NDArray[np.int64], member: int, weeks: ExpectedWeeks, scaler: Scaler) -> NDArray[Any]:
        """What is taken from the scaled weeks of some rows in one member, Monday first: (rows, 168) float32."""
        rhythm = self.rhythms[member]
        at = self.at(rhythm)
        out = np.zeros((len(rows), WEEK), dtype=np.float32)
        if self.week_scores is not None:
            out = weeks.scaled(rhythm, self.week_scores[at, rows], scaler.mean, scaler.spread)
        if self.known is not None:
            out = out + self.known.log_week(at, rows) / np.float32(scaler.spread)
        return out

    def profile(self, rows: NDArray[np.int64], weekday: int, per_hour: int, scaler: Scaler) -> torch.Tensor | None:
        """What a sampler is told of the past of some rows: (rows, 2, 168 k), zeros for those without; or None."""
        if self.past is None or self.past_days is None:
            return None
        has = ~np.isnan(self.past[rows, 0, 0])
        expected = as_profile(np.nan_to_num(self.past[rows], nan=1.0), self.past_days, weekday, per_hour, scaler)
        return torch.from_numpy(expected * has[:, None, None].astype(np.float32))


@dataclass(frozen=True)
class NoiseCells:
    """Cells whose noise is drawn.

    ids: (cells,). points: (n, 2) of the lattice around them; None where they share nothing. corner: (cells, 4) which
    of these lie around each; weight: (cells, 4) how much each counts.
    """

    ids: Sequence[Any]
    points: NDArray[np.int64] | None = None
    corner: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 4), dtype=np.int64))
    weight: Floats = field(default_factory=lambda: np.zeros((0, 4)))

    @classmethod
    def at(cls, ids: Sequence[Any], xy_m: Floats | None) -> NoiseCells:
        """xy_m: (cells, 2) metres; None where they share nothing."""
        if xy_m is None:
            return cls(ids)
        points, weight = bilinear(xy_m, WEEKS_M)
        unique, corner = np.unique(points.reshape(-1, 2), axis=0, return_inverse=True)
        return cls(ids, unique, corner.reshape(len(points), -1), weight)


@dataclass(frozen=True)
class SharedInputs:
    """What all cells share: the network, its scaling, the time embedding (168, Q), the names of measured networks, and
    the weeks from which what it draws departs; scaling and weeks are those of the service that is drawn. shared: of
    each network, `ExpectedWeek.shared` of the main service, which holds for all."""

    model: Sampler
    scaler: Scaler
    time: torch.Tensor
    networks: tuple[str, ...]
    calendar: Calendar
    settings: Settings
    weeks: ExpectedWeeks = field(default_factory=ExpectedWeeks)
    services: Services = field(default_factory=Services)
    shared: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, bundle: WeeklyModel, time: torch.Tensor, calendar: Calendar, settings: Settings) -> SharedInputs:
        """Those of a model, for the service that the settings name. time: (168, Q)."""
        part, name = bundle.services, settings.service
        scaler, weeks = part.scalers.get(name, bundle.scaler), part.weeks.get(name, bundle.weeks)
        return cls(bundle.model, scaler, time, bundle.networks, calendar, settings, weeks, part, bundle.weeks.shared)

    def on_device(self) -> SharedInputs:
        """The same, with a copy of the network where it is to draw elsewhere than on the CPU."""
        if self.settings.device == "cpu":
            return self
        moved: Any = copy.deepcopy(self.model)
        return replace(self, model=moved.to(self.settings.device))

    def number(self, rhythm: str) -> int:
        """The index of a network in the sampler; 0: none of those that were measured."""
        return self.services.numbers(self.settings.service, self.networks).get(rhythm, 0)

    def amplitude(self, rhythm: str, own: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """The standard normal numbers (cells,) by which a service departs far or little from what is expected, as one
        pair of members draws them alone.

        own: of each service up to it, the main one first, (cells, 1) each: services depart together."""
        if len(own) == 1:
            return own[0][:, 0]
        weight = self.services.networks[rhythm].mixing[:, len(own) - 1, : len(own)].mean(axis=0)
        out: NDArray[np.float32] = np.concatenate(own, axis=1) @ (weight / np.linalg.norm(weight)).astype(np.float32)
        return out

    def shares(self, rhythm: str, cells: NoiseCells) -> bool:
        """Whether cells share noise with their neighbours, or services with one another: else it is of seeds alone."""
        near = self.shared.get(rhythm) and cells.points is not None
        return bool(self.services.index(self.settings.service) or near)

    def noise(self, rhythm: str, own: Sequence[NDArray[np.float32]], mirrored: bool) -> torch.Tensor:
        """The starting noise of a service, which shares what happens with those before it: (cells, steps).

        own: of each service up to it, the main one first, (cells, steps) each."""
        mixed = own[0]
        if len(own) > 1:
            mixed = mix_noise(own, self.services.networks[rhythm].mixing, len(own) - 1)
        return (torch.from_numpy(mixed) * (-1.0 if mirrored else 1.0)).to(self.settings.device)

    def own_noise(
        self, rhythm: str, cells: NoiseCells, pair: int, window: int,
        numbers: Callable[[NDArray[np.uint64]], NDArray[np.float32]],
    ) -> list[NDArray[np.float32]]:  # fmt: skip
        """Standard normal numbers of each service up to the one that is drawn, the main one first, of which neighbours
        share what they do in the network: (cells, n) each. numbers: of the keys (cells, 2) of streams."""
        seed, service, shared = self.settings.seed, self.settings.service, self.shared.get(rhythm, 0.0)
        names: tuple[str, ...] = ("",)
        if self.services.index(service):
            part = self.services.networks[rhythm]
            names = (self.services.main, *list(part.ratios)[: part.position(service) + 1])
        own = []
        for number in map(self.services.index, names):
            alone = numbers(shape_seeds(seed, cells.ids, pair, window, number))
            if shared and cells.points is not None:
                each = numbers(lattice_seeds(seed, cells.points, pair, window, number))
                alone = _shared_noise(alone, each, cells.corner, cells.weight, shared)
            own.append(alone)
        return own


def _shared_noise(
    alone: NDArray[np.float32], each: NDArray[np.float32], corner: NDArray[np.int64], weight: Floats, shared: float
) -> NDArray[np.float32]:
    """Standard normal noise of cells, (cells, steps), of which a share comes from the lattice points around.

    alone: (cells, steps). each: (points, steps). corner: (cells, 4) the points of each cell, weight: (cells, 4)."""
    out = np.float32((1 - shared) ** 0.5) * alone
    of_points = (shared**0.5 * weight).astype(np.float32)
    for side in range(corner.shape[1]):
        out += of_points[:, side, None] * each[corner[:, side]]
    return out


def prepare_inputs(
    bundle: WeeklyModel, context: xr.Dataset, calendar: Calendar, settings: Settings, *,
    cells: Sequence[int] | None = None, history: History | None = None,
    known: Callable[[NDArray[Any]], KnownCells] | None = None, store: Memory = IN_MEMORY,
) -> tuple[Region, SharedInputs]:  # fmt: skip
    """All that drawing needs of a place and of a model: features and levels come from the whole context.

    known: gives what was measured in the cells of these ids, in their order. store: where what there is of each cell
    lies. Raises as `draw_traffic` and `known`.
    """
    check_settings(bundle, calendar, settings)
    if history is not None and not bundle.model.config.get("use_profile"):
        raise WrongUse("--history: this model takes no past; train one with `gentraffic fit ... --profile`")
    context, rows = _by_id(context, cells)
    ids = context["cell_id"].values
    with one_thread():
        places = read_places(context, store)
        try:
            embedding = place_embedding(bundle.station, places, bundle.levels, store)
        except ValueError as error:  # so many stations in one place that their graph is too large
            raise WrongUse(str(error)) from error
        time = bundle.time()
    measured = bundle.weeks.measured
    rhythms = rhythms_of(bundle.networks, measured, context.attrs, settings.habits, settings.members, settings.seed)
    served, given = rhythms, None if known is None else known(ids)
    if settings.service:
        have = bundle.services.measured_in(settings.service)
        served = follow(rhythms, have, measured, context.attrs, settings.habits, settings.seed)
    levels = _LevelDraw(bundle, settings, ids, rhythms, served, store)
    if given is not None:  # levels of all cells, of which those measured may not be drawn
        log_level, level = levels.of(places)
    elif history is not None or settings.members == 1 or places.network in bundle.levels.networks:
        log_level, level = levels.of(places, rows, history)
    else:
        log_level, level = levels.with_same_mean(places, rows)
    rhythms, weeks = served, bundle.services.weeks.get(settings.service, bundle.weeks)
    shares = any(bundle.weeks.shared.get(name) for name in rhythms) and np.isfinite(places.xy_m).all()
    xy = np.array(places.xy_m[rows], dtype=np.float64) if shares else None
    told = places.network in bundle.levels.networks or not weeks.tells_amplitude
    told = told or settings.guidance != 1.0  # which asks for more of what stands there
    region = Region(ids[rows], embedding[rows], log_level, level, rhythms=rhythms, xy_m=xy, told=told)
    shared = SharedInputs.of(bundle, time, calendar, settings)
    if given is not None:
        every = replace(region, ids=ids, place=embedding)
        region = _given(every, given, shared, bundle, weeks, places, rows)
    if weeks.networks:
        region = replace(region, week_scores=_week_scores(weeks, places, rows, rhythms, len(region.ids), store))
    if history is not None:
        of_past, usual = history.rows(ids)[rows], bundle.scaler.usual
        week = history.week[of_past]
        if usual is not None:
            week = profile_week(week, history.days, usual, rhythms[0]).astype(np.float32)
        past = np.where((of_past < 0)[:, None, None], np.float32(np.nan), week)
        region = replace(region, past=past, past_days=history.days)
    return region, shared


@dataclass(frozen=True)
class _LevelDraw:
    """What levels are drawn of: (members, cells) twice, as `Region` has them.

    ids: (cells,) of the context. rhythms: the network that each member follows; served: whose ratios of a further
    service. store: where arrays of all cells lie.
    """

    bundle: WeeklyModel
    settings: Settings
    ids: NDArray[Any]
    rhythms: Sequence[str]
    served: Sequence[str]
    store: Memory

    def with_same_mean(self, places: Places, rows: Any) -> tuple[Floats, NDArray[np.float32]]:
        """Of a network that nobody measured, of which each member has a mean cell of 1, before a change.

        Neighbours depart alike from what is expected, so members of a small place differ in what it carries in all:
        of that a relative unit says nothing. rows: of the context that are drawn.
        """
        log_level, level = whole = self.of(places)
        before = log_level if places.before is None else self.of(places.before, name="before_")[0]
        means = np.array([0.0, *(log_mean(log) for log in before[1:])])  # that of the control is 1
        if not isinstance(rows, slice):
            shape = len(level), len(rows)
            log_level, level = (self.store.zeros(f"{part.dtype.name}_of_rows", shape, part.dtype) for part in whole)
        for block in blocks(log_level.shape[1]):
            if not isinstance(rows, slice):
                log_level[:, block], level[:, block] = (part[:, rows[block]] for part in whole)
                release_pages(*whole)
            log_level[:, block] -= means[:, None]
            release_pages(log_level, level)
        return log_level, level

    def of(
        self, places: Places, rows: Any = slice(None), history: History | None = None, name: str = ""
    ) -> tuple[Floats, NDArray[np.float32]]:
        """Of the service that the settings name. rows: of the context that are drawn. name: before those of arrays.

        Block by block, but for a measured network, whose law looks around each cell.
        """
        levels, count = self.bundle.levels, len(self.ids) if isinstance(rows, slice) else len(rows)
        log_level = self.store.zeros(f"{name}log_level", (self.settings.members, count), np.float64)
        level = self.store.zeros(f"{name}level", (self.settings.members, count), np.float32)
        if self.bundle.scaler.own_level:  # nothing is told of it, and nothing multiplied in
            return log_level, level
        measured = places.network in levels.networks
        unit = None if measured else levels.unit(places)
        known, past, drift = None, np.empty(0), 0.0
        if history is not None:
            known = history.rows(self.ids)[rows]
            past, drift = _of_the_past(self.bundle, history, places, self.ids)
        for block in blocks(count, count if measured else BLOCK):
            some = block if isinstance(rows, slice) else rows[block]
            here, part, pick = (slice(None), places, rows) if measured else (some, places.some(some), slice(None))
            for m, z in enumerate(_noise(self.bundle, self.settings, self.ids[here], places.xy_m[here], self.rhythms)):
                log = levels.draw(part, z[None], unit)[0][pick]
                if known is not None:  # a known level drifts from week to week; its mean does not
                    moved = drift * z[pick] - (drift**2 / 2 if m else 0.0)
                    now = past[known[block]] + moved
                    log = np.where(known[block] < 0, log, now)
                log_level[m, block] = log
                level[m, block] = levels.standard(part, log, self.rhythms[m], pick, unit)
                if known is not None:
                    at = block.start + np.flatnonzero(known[block] >= 0)
                    level[m, at] = np.clip(level[m, at], -HIGHEST_LEVEL, HIGHEST_LEVEL)
            release_pages(log_level, level)
            places.release()
        return self._further(places, rows, log_level) if self.settings.service else (log_level, level)

    def _further(self, places: Places, rows: Any, log_main: Floats) -> tuple[Floats, NDArray[np.float32]]:
        """Of a further service, given those of the main one."""
        services, service = self.bundle.services, self.settings.service
        parts = [services.networks[rhythm] for rhythm in self.served]
        names = list(dict.fromkeys(name for part in parts for name in part.ratios))
        noises = {
            name: iter(_noise(self.bundle, self.settings, self.ids, places.xy_m, self.served, services.index(name)))
            for name in names
        }
        drawn = ServiceDraw(services, service, self.bundle.levels, places)
        log_level, level = np.empty_like(log_main), np.empty(log_main.shape, dtype=np.float32)
        for m, (rhythm, part) in enumerate(zip(self.served, parts, strict=True)):
            noise = {name: next(of_members) for name, of_members in noises.items()}
            surprise = np.stack([noise[name][rows] for name in part.ratios]) if m else None
            log_level[m], level[m] = drawn.draw(log_main[m], rhythm, surprise, rows)
        return log_level, level


def _noise(
    bundle: WeeklyModel, settings: Settings, ids: NDArray[Any], xy_m: Floats, rhythms: Sequence[str], service: int = 0
) -> Iterable[Floats]:
    """What `level_noise` gives of these cells, member by member: (cells,) each."""
    if len(rhythms) == 1:  # the control has none
        return [np.zeros(len(ids))]
    return level_noise(settings.seed, ids, xy_m, likes_of(bundle.weeks.shared, rhythms), service)


def _given(
    region: Region, known: KnownCells, shared: SharedInputs, bundle: WeeklyModel, weeks: ExpectedWeeks, places: Places,
    rows: Any,
) -> Region:  # fmt: skip
    """The region, of all cells but for xy_m, given what was measured in some: of `rows` alone, in their units."""
    settings, ids = shared.settings, region.ids
    at = np.arange(len(ids))[rows]
    check_left(known, at)
    main, levels = not settings.service, bundle.levels
    log_level, level = np.empty((settings.members, len(ids))), np.empty((settings.members, len(ids)), dtype=np.float32)
    likes = likes_of(bundle.weeks.shared, region.rhythms)
    noise = _noise(bundle, settings, ids, places.xy_m, region.rhythms)
    for m, (rhythm, like, z) in enumerate(zip(region.rhythms, likes, noise, strict=True)):
        measured = np.full(len(ids), np.nan)
        measured[known.rows] = known.level(log_expected(weeks, rhythm, places, known.rows))
        drawn = region.log_level[m]
        if main:
            log, unit = conditional_levels(levels, places, z, measured, like)
            standard = levels.standard(places, log, rhythm)
        else:
            control = region.log_level[0]
            apart, doubt = drawn - control, np.ones(len(control))
            log, unit, _ = condition(control, apart, doubt, like, places.xy_m, measured)
            spread = bundle.services.networks[rhythm].ratios[settings.service].level_spread
            standard = region.level[m] + (log - drawn) / spread
        log_level[m] = log + np.log(unit)
        level[m] = np.clip(standard, -HIGHEST_LEVEL, HIGHEST_LEVEL)
    names = tuple(dict.fromkeys(region.rhythms))
    told = known_weeks(known, weeks, names, places, at, bundle.weeks.shared.get(names[0], 0.0))
    told = replace(told, sizes=_sizes(replace(region, level=level), known, shared, places))
    return replace(region, ids=ids[rows], place=region.place[rows], log_level=log_level[:, at], level=level[:, at],
                   known=told)  # fmt: skip


def _sizes(region: Region, known: KnownCells, shared: SharedInputs, places: Places) -> Floats:
    """`KnownWeeks.sizes`: a week of measured cells, by each rhythm, as if nobody had measured it, beside the real one.

    region: of all cells, those of places."""
    names = tuple(dict.fromkeys(region.rhythms))
    some = np.unique(np.linspace(0, len(known.rows) - 1, PROBED).astype(np.int64))
    rows = known.rows[some]
    xy = np.array(places.xy_m[rows], dtype=np.float64)
    alone = Region(
        region.ids[rows], region.place[rows], np.zeros((len(names), len(rows))),
        region.level[[region.rhythms.index(name) for name in names]][:, rows], rhythms=names,
        week_scores=np.stack([shared.weeks.scores(name, places, len(rows), rows) for name in names]),
        told=region.told,
        xy_m=xy if np.isfinite(xy).all() else None,  # neighbours that depart alike lie less far apart, here as there
    )  # fmt: skip
    week = make_calendar(MONDAY, DAYS, "1h", "UTC")
    hourly = replace(shared, calendar=week, settings=replace(shared.settings, holidays=())).on_device()
    size, out = at_once(shared.model.series_at_once, shared.settings.device), np.ones((len(names), 2))
    with one_thread():
        for n, name in enumerate(names):
            tiles = [Span(n, first, min(first + size, len(rows))) for first in range(0, len(rows), size)]
            drawn = np.concatenate([generate_tile(alone, hourly, tile) for tile in tiles]).astype(np.float64)
            out[n] = measured_sizes(known, log_expected(shared.weeks, name, places, known.rows), some, drawn)
    return out


def _of_the_past(bundle: WeeklyModel, history: History, places: Places, ids: NDArray[Any]) -> tuple[Floats, float]:
    """The log relative levels of the cells of a past, in its order, and by how much they drift from week to week."""
    usual, drift = bundle.scaler.usual, bundle.scaler.drift
    recent = history.now(usual.memory if usual is not None else 0.0)
    return np.log(recent / history.unit(bundle.levels, places, ids)), drift.get(places.network, drift.get("", 0.0))


def _week_scores(
    weeks: ExpectedWeeks, places: Places, rows: Any, rhythms: Sequence[str], count: int, store: Memory
) -> NDArray[np.float32]:
    """`Region.week_scores` of `count` cells, the `rows` of places."""
    names = list(dict.fromkeys(rhythms))
    out: NDArray[np.float32] = store.zeros("week_scores", (len(names), count, COMPONENTS), np.float32)
    for n, rhythm in enumerate(names):
        for block in blocks(count):
            some = block if isinstance(rows, slice) else rows[block]
            out[n, block] = weeks.scores(rhythm, places, block.stop - block.start, some)
            release_pages(out)
            places.release()
    return out


@dataclass(frozen=True)
class WeeklyDraw:
    """What `gentraffic.generators.base.Draw` says. scale: what relative traffic 1 is in `units`."""

    region: Region
    shared: SharedInputs
    units: str = "1"
    scale: float = 1.0

    @property
    def calendar(self) -> Calendar:
        """The steps that are drawn."""
        return self.shared.calendar

    @property
    def block(self) -> int:
        """Cells of one tile."""
        return at_once(self.shared.model.series_at_once, self.shared.settings.device)

    def blocks(
        self, spans: Sequence[Span], threads: int | None = None, tell: Tell | None = None
    ) -> Iterator[tuple[Span, NDArray[np.float32]]]:
        """The traffic of each span, in their order: (span, (cells, steps)), float32.

        Each thread draws a tile; by default there is one thread per core. Holds one span and a few tiles.
        """
        threads = threads or max(1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1)
        shared, size = self.shared.on_device(), self.block
        jobs = ((s, Span(s.member, at, min(at + size, s.end))) for s in spans for at in range(s.first, s.end, size))
        done, whole = 0, np.empty((0, 0), dtype=np.float32)
        ahead: deque[tuple[Span, Span, Future[NDArray[np.float32]]]] = deque()  # under way, or waiting to be taken
        # MKL asks each thread anew how many it may use
        with one_thread(), ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            try:
                for job in chain(jobs, repeat(None, 2 * threads)):  # in the end, as many as are ahead are taken
                    if job is not None:
                        ahead.append((*job, pool.submit(generate_tile, self.region, shared, job[1])))
                    if len(ahead) <= (0 if job is None else 2 * threads):
                        continue
                    span, tile, future = ahead.popleft()
                    values = future.result()
                    if tile.first == span.first:
                        whole = np.empty((span.end - span.first, values.shape[1]), dtype=np.float32)
                    whole[tile.first - span.first : tile.end - span.first] = values
                    if tile.end == span.end:
                        whole = whole if self.scale == 1.0 else self.scale * whole
                        known, k = self.region.known, self.calendar.per_hour
                        yield span, whole if known is None else known.keep(whole, span.first, k)
                        done += 1
                        if tell is not None:
                            tell(done, len(spans))
            finally:
                for _, _, future in ahead:
                    future.cancel()

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All that a worker needs beside the network: the rows of `Region`, the time embedding, and a few numbers."""
        region, ids = self.region, self.region.ids
        out = {
            "ids": ids if ids.dtype.kind in "iu" else ids.astype(str),
            "place": region.place,
            "log_level": region.log_level,
            "level": region.level,
            "time": self.shared.time.numpy(),
            "rhythms": np.array(region.rhythms, dtype=str),
            "told": np.array(region.told),
            "scale": np.array(self.scale),
            "units": np.array(self.units),
        }
        if region.past is not None and region.past_days is not None:
            out |= {"past": region.past, "past_days": region.past_days}
        if region.week_scores is not None:
            out["week_scores"] = region.week_scores
        if region.xy_m is not None:
            out["xy_m"] = region.xy_m
        if region.known is not None:
            out |= {f"known_{name}": values for name, values in region.known.arrays().items()}
        return out


def _by_id(context: xr.Dataset, cells: Sequence[int] | None) -> tuple[xr.Dataset, Any]:
    """The context in the order of its ids, and where `cells` are there: sums over cells must not depend on order."""
    ids = context["cell_id"].values
    if ids.dtype.kind in "iu" and rising(ids):  # no copy, of a country, is made of anything
        return context, slice(None) if cells is None else np.asarray(cells, dtype=np.int64)
    order = np.argsort(ids, kind="stable")
    sorted_already = not (order[:-1] > order[1:]).any()
    if sorted_already and cells is None:
        return context, slice(None)
    at = np.empty_like(order)
    at[order] = np.arange(len(order))
    rows = at if cells is None else at[np.asarray(cells, dtype=np.int64)]
    return context if sorted_already else context.compute().isel(cell=order), rows


def generate_tile(region: Region, shared: SharedInputs, tile: Span) -> NDArray[np.float32]:
    """One tile of cells, from noise to traffic: (cells of the tile, steps). Called from several threads.

    The network is given `series_at_once` cells, the first of the tile again and again behind its last: arrays here are
    (series_at_once, ...), scores of expected weeks (series_at_once, K), those weeks (series_at_once, 168)."""
    calendar, settings, k = shared.calendar, shared.settings, shared.calendar.per_hour
    count, size = tile.end - tile.first, at_once(shared.model.series_at_once, settings.device)
    padded = tile.first + np.concatenate([np.arange(count), np.zeros(size - count, dtype=np.int64)])
    log_level = region.log_level[tile.member, padded]
    level_known = np.full(size, region.told and not shared.scaler.own_level, dtype=np.float32)
    level = np.stack([region.level[tile.member, padded], level_known], axis=1)
    ids = region.ids[padded].tolist()
    rhythm = region.rhythms[tile.member]
    cells = NoiseCells.at(ids, None if region.xy_m is None else region.xy_m[padded])
    expected = region.expected(padded, tile.member, shared.weeks, shared.scaler)
    sheet = np.empty((size, _sheet_days(calendar.days) * HOURS * k), dtype=np.float32)
    network: Any = shared.model  # a Denoiser or a OneShot
    service = shared.services.index(settings.service)
    known = None
    pair, mirrored = (tile.member + 1) // 2, tile.member > 0 and tile.member % 2 == 0
    law, log_amplitude, told = shared.weeks.amplitude(rhythm), None, None
    if law is not None:  # the same of both members of a pair, so that what they draw cancels
        numbers, place = drawn_together(pair) if pair else ([pair], 0)
        fields = [
            shared.amplitude(rhythm, shared.own_noise(rhythm, cells, number, ALL_WINDOWS, one_each))
            for number in numbers
        ]
        z: NDArray[Any] = spread_pairs(np.stack(fields))[place] if pair else fields[0]
        log_amplitude = law.draw(level[:, 0], z)
        told = torch.from_numpy(law.standard(log_amplitude))
    for window, first in enumerate(window_starts(calendar.days)):
        weekday = (calendar.weekday + first) % DAYS
        rows = _rows_of_days(weekday, [int(day) - first for day, _ in settings.holidays], k)
        profile = region.profile(padded, weekday, k, shared.scaler)
        condition = Condition(
            place=torch.from_numpy(region.place[padded] * np.float32(region.told)),
            time=time_of_windows(shared.time, torch.tensor([0]), k)[:, rows],
            level=torch.from_numpy(level * np.float32(region.told)),
            network=torch.full((size,), shared.number(rhythm)),
            known=known,
            profile=profile,
            service=torch.full((size,), service) if shared.services.further else None,
            amplitude=told,
        ).to(settings.device)
        device, noise = settings.device, None
        if shared.shares(rhythm, cells):
            each = partial(many_each, steps=WEEK * k)
            noise = shared.noise(rhythm, shared.own_noise(rhythm, cells, pair, window, each), mirrored)
        with torch.inference_mode(), own_stream(device), computing_in(settings.precision, device):
            drawn = draw(
                network,
                condition,
                seeds=shape_seeds(settings.seed, ids, pair, window, service),
                noise=noise,
                mirrored=mirrored,  # members 1 and 2, 3 and 4, ... are antithetic pairs
                steps=settings.steps,
                solver=settings.solver,
                guidance=settings.guidance,
            )
            x = to_host(drawn)
        known = torch.full_like(x, torch.nan)
        overlap = OVERLAP_DAYS * HOURS * k
        known[:, :overlap] = x[:, -overlap:]
        at = first * HOURS * k
        of_week = from_monday(expected, np.zeros(size, dtype=np.int64), k)[:, rows]
        apart = x.numpy().copy()
        if log_amplitude is not None:
            apart[:, ::k] *= np.exp(log_amplitude).astype(np.float32)[:, None]
        if region.known is not None:
            apart = region.known.departing(region.at(rhythm), padded, apart, k)
        ratio = shared.scaler.inverse(apart + of_week, level[:, 0])
        if window == 0:  # the level is the mean of the first whole week; later weeks may differ from it
            usual = _usual_mean(ratio, weekday, [int(day) for day, _ in settings.holidays])
            usual = np.maximum(usual, np.float32(1e-6))  # a silent week stays silent
            usual = np.ones_like(usual) if shared.scaler.own_level else usual
        sheet[:, at : at + WEEK * k] = ratio / usual
    sheet *= np.exp(log_level).astype(np.float32)[:, None]
    for day, times in settings.holidays:
        at = int(day) * HOURS * k
        sheet[:, at : at + HOURS * k] *= np.float32(times)
    return calendar.read(sheet[:count])


def one_each(keys: NDArray[np.uint64]) -> NDArray[np.float32]:
    """A standard normal number of each key: keys (cells, 2) -> (cells, 1)."""
    return standard_normals(keys)[:, None]


def many_each(keys: NDArray[np.uint64], steps: int) -> NDArray[np.float32]:
    """So many standard normal numbers of each key: keys (cells, 2) -> (cells, steps)."""
    out: NDArray[np.float32] = starting_noise(keys, steps).numpy()
    return out


def _rows_of_days(weekday: int, holidays: Sequence[int], per_hour: int) -> Any:
    """Which steps of a week from Monday on the steps of a window are: (168 k,).

    The window begins on `weekday`; its days whose numbers stand in `holidays` are Sundays."""
    days = [SUNDAY if day in holidays else (weekday + day) % DAYS for day in range(DAYS)]
    steps = HOURS * per_hour
    return (np.array(days)[:, None] * steps + np.arange(steps)).ravel()


def _usual_mean(ratio: NDArray[np.float32], weekday: int, holidays: Sequence[int]) -> NDArray[np.float32]:
    """The mean of a week, (cells, 1), in which each holiday counts as the mean of the other days of its kind, working
    days or weekends. ratio: (cells, 168 k)."""
    found = [day for day in range(DAYS) if day in holidays]
    if not found:
        usual: NDArray[np.float32] = ratio.mean(axis=1, keepdims=True)
        return usual
    daily = ratio.reshape(len(ratio), DAYS, -1).mean(axis=2)
    rest = [(weekday + day) % DAYS >= WORKDAYS for day in range(DAYS)]
    for day in found:
        alike = [d for d in range(DAYS) if d not in found and rest[d] == rest[day]]
        if alike:
            daily[:, day] = daily[:, alike].mean(axis=1)
    out: NDArray[np.float32] = daily.mean(axis=1, keepdims=True)
    return out


def window_starts(days: int) -> list[int]:
    """The first day of each window: one window holds seven days, and each further one shares OVERLAP_DAYS."""
    stride = DAYS - OVERLAP_DAYS
    return list(range(0, max(days - OVERLAP_DAYS, 1), stride))


def _sheet_days(days: int) -> int:
    return window_starts(days)[-1] + DAYS


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread inside torch: tiles run side by side instead, so that no sum depends on the number of cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def check_solver(settings: Settings, noise: Noise, solvers: Collection[str] = SOLVERS) -> None:
    """Raise WrongUse for a solver that does not exist, or more steps than a model was trained on."""
    if settings.solver not in solvers:
        raise WrongUse(
            f"--solver {settings.solver}: choose one of {', '.join(solvers)}{did_you_mean(settings.solver, solvers)}"
        )
    if settings.solver == "gaussian" and noise.prediction_type == "epsilon":
        raise WrongUse(
            "--solver gaussian: this model predicts the noise, which that solver cannot start from; give dpm++"
        )
    if not 1 <= settings.steps <= noise.num_train_timesteps:
        raise WrongUse(f"--steps {settings.steps}: give 1 to {noise.num_train_timesteps}")


def check_settings(bundle: WeeklyModel, calendar: Calendar, settings: Settings) -> None:
    """Raise WrongUse where the model cannot draw so, or the device is not there."""
    check_minutes(60 / calendar.per_hour, [60 // k for k in bundle.model.cadences])
    if settings.members < 1:
        raise WrongUse(f"--members {settings.members}: give 1 or more")
    if settings.habits not in ("", AUTO, *bundle.networks):
        known = ", ".join(bundle.networks)
        raise WrongUse(
            f"--rhythm {settings.habits}: give auto, or a network that this model knows: {known}"
            f"{did_you_mean(settings.habits, bundle.networks)}"
        )
    noise = getattr(bundle.model, "noise", None)
    if noise is not None:
        check_solver(settings, noise)
    if settings.service and settings.service not in bundle.services.further:
        raise WrongUse(f"--service {settings.service}: this model draws {', '.join(bundle.services.names)}")
    try:
        torch.zeros(1, device=settings.device).item()  # a device that computes: meta has no values
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise WrongUse(f"--device {settings.device}: not on this machine ({str(error).splitlines()[0]})") from error


def time_of_windows(time: Tensor, weekday: Tensor, per_hour: int) -> Tensor:
    """The time embedding of weeks that start on the given days: time (168, Q), weekday (B,) -> (B, 168 k, Q)."""
    hours = torch.arange(WEEK * per_hour) / per_hour
    fine = interpolate_hours(time, hours.numpy()) if per_hour > 1 else time
    steps = torch.arange(WEEK * per_hour)[None, :]
    return fine[(steps + weekday[:, None] * 24 * per_hour) % (WEEK * per_hour)]


def time_embedding(temporal: GraphMAE) -> torch.Tensor:
    """F_t (168, Q), standardised per dimension."""
    graph = temporal_graph()
    embedding = temporal.embed(graph.x, graph.edge_index)
    return (embedding - embedding.mean(0)) / embedding.std(0).clamp(min=1e-6)


def station_scale(places: Places, levels: LevelModel | None) -> Scale:
    """How log POI counts are standardised for the station graph: `LevelModel.scale`, of the counts alone."""
    scale = (levels or LevelModel({})).scale(places)
    categories = places.poi_count.shape[1]
    return Scale(scale.mean[:categories], scale.spread[:categories])


def station_features(places: Places, scale: Scale, rows: Any = slice(None)) -> NDArray[np.float32]:
    """Node features of the station graph: standardised log POI counts, of all cells or of some rows: (rows, 8)."""
    return scale(np.log1p(places.poi_count[rows], dtype=np.float64)).astype(np.float32)


def place_embedding(
    station: GraphMAE, places: Places, levels: LevelModel | None, store: Memory = IN_MEMORY
) -> NDArray[np.float32]:
    """F_s (cells, P) of a whole context. store: where they lie."""
    scale = station_scale(places, levels)
    shape = len(places.xy_m), int(station.config["hidden_channels"])
    out: NDArray[np.float32] = store.zeros("embeddings", shape, np.float32)
    if store is not IN_MEMORY:
        trim_heap()
    features = partial(station_features, places, scale)
    read = partial(release_pages, places.xy_m)
    for rows, values in embedded_squares(station, places.xy_m, features, release=read):
        out[rows] = values
        release_pages(out)
        places.release()
    return out
