"""STOUTER and the samplers that take its place: levels first, then a week at a time, in tiles of one padded shape.

A tile holds as many series as the model asks for (`Sampler.series_at_once`), always.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gentraffic.dataset.calendar import Calendar
from gentraffic.errors import WrongUse
from gentraffic.generators.base import Block, Tell, check_minutes
from gentraffic.generators.base import Settings as Settings
from gentraffic.generators.observed import Observations
from gentraffic.modelling.expected_week import AUTO, ExpectedWeeks, from_monday, rhythms_of, week_features
from gentraffic.modelling.features import Floats, Places, read_places
from gentraffic.modelling.history import History, as_profile, read_history
from gentraffic.modelling.levels import LevelModel
from gentraffic.modelling.random_streams import level_angle, shape_seeds, turned
from gentraffic.modelling.transform import Scaler
from gentraffic.modelling.weekly_profile import profile_week
from samplers import DAYS, HOURS, WEEK, Condition, Sampler, draw

if TYPE_CHECKING:
    import xarray as xr

Job = TypeVar("Job")
HIGHEST_LEVEL = 3.0  # spreads from a network's mean: no training cell told more, and a past may hold anything
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

    def time(self) -> torch.Tensor:
        """The time embedding of the hours of the week: (168, Q)."""

    def place(self, places: Places, path: Path | None = None) -> NDArray[np.float32]:
        """The station embedding of every cell: (cells, P); in the .npy file `path` where one is given."""


def draw_traffic(
    bundle: WeeklyModel,
    context: xr.Dataset,
    calendar: Calendar,
    recipe: Settings,
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
    region, brush = prepare_inputs(bundle, context, calendar, recipe, cells=cells, history=history)
    count = len(region.ids)
    out = np.empty((recipe.members, count, len(calendar.utc)), dtype=np.float32)
    tile = brush.model.series_at_once
    blocks = [Block(m, at, min(at + tile, count)) for m in range(recipe.members) for at in range(0, count, tile)]
    for done, (block, values) in enumerate(draw_blocks(region, brush, blocks, tiles_at_once), start=1):
        out[block.member, block.first : block.end] = values
        if on_tile is not None:
            on_tile(done, len(blocks))
    return out


@dataclass(frozen=True)
class Region:
    """What each cell to be drawn is given; rows in the order asked for.

    ids: (cells,). place: (cells, P) the station embedding. log_level: (members, cells) log relative level. level:
    (members, cells) the same as the network takes it, standardised. past: (cells, 7, 24 j) the usual weeks of a
    history, nan for cells without one, and past_days: (7,); None where no cell has one. rhythms: the measured network
    that each member follows, "" for none. around: (cells, 18) what the expected week is told by
    (`expected_week.week_features`), counted by `source`; None where the network draws whole weeks.
    """

    ids: NDArray[Any]
    place: NDArray[np.float32]
    log_level: Floats
    level: NDArray[np.float32]
    past: NDArray[np.float32] | None = None
    past_days: NDArray[np.int64] | None = None
    rhythms: tuple[str, ...] = ()
    around: NDArray[np.float32] | None = None
    source: str = ""

    def profile(self, rows: NDArray[np.int64], weekday: int, per_hour: int, scaler: Scaler) -> torch.Tensor | None:
        """What a sampler is told of the past of some rows: (rows, 2, 168 k), zeros for those without; or None."""
        if self.past is None or self.past_days is None:
            return None
        has = ~np.isnan(self.past[rows, 0, 0])
        told = as_profile(np.nan_to_num(self.past[rows], nan=1.0), self.past_days, weekday, per_hour, scaler)
        return torch.from_numpy(told * has[:, None, None].astype(np.float32))


@dataclass(frozen=True)
class SharedInputs:
    """What all cells share: the network, its scaling, the time embedding (168, Q), the names of measured networks, and
    the weeks from which what it draws departs."""

    model: Sampler
    scaler: Scaler
    time: torch.Tensor
    networks: tuple[str, ...]
    calendar: Calendar
    recipe: Settings
    weeks: ExpectedWeeks = field(default_factory=ExpectedWeeks)

    def number(self, rhythm: str) -> int:
        """The index of a network in the sampler; 0: none of those that were measured."""
        return self.networks.index(rhythm) + 1 if rhythm in self.networks else 0


def prepare_inputs(
    bundle: WeeklyModel, context: xr.Dataset, calendar: Calendar, recipe: Settings, *,
    cells: Sequence[int] | None = None, history: History | None = None, embeddings: Path | None = None,
) -> tuple[Region, SharedInputs]:  # fmt: skip
    """All that drawing needs of a place and of a model: features and levels come from the whole context.

    embeddings: a .npy file to hold `Region.place` in, instead of memory. Raises as `draw_traffic`.
    """
    check_recipe(bundle, calendar, recipe)
    if history is not None and not bundle.model.config.get("use_profile"):
        raise WrongUse("--history: this model takes no past; train one with `gentraffic fit ... --profile`")
    context, rows = _by_id(context, cells)
    ids = context["cell_id"].values
    with one_thread():
        places = read_places(context)
        f_s = bundle.place(places, embeddings)[rows]
        time = bundle.time()
    count = len(f_s)
    known = np.full(count, -1) if history is None else history.rows(ids)[rows]
    unit = 1.0 if history is None else history.unit(bundle.levels, places, ids)
    usual = bundle.scaler.usual
    recent = np.ones(1) if history is None else history.now(usual.memory if usual is not None else 0.0)
    angle = level_angle(recipe.seed, ids, places.xy_m) if recipe.members > 1 else np.zeros(len(ids))
    measured = bundle.weeks.measured
    rhythms = rhythms_of(bundle.networks, measured, context.attrs, recipe.habits, recipe.members, recipe.seed)
    log_level = np.empty((recipe.members, count))
    level = np.empty((recipe.members, count), dtype=np.float32)
    for m in range(recipe.members):
        if bundle.scaler.own_level:  # nothing is told of it, and nothing multiplied in
            log_level[m], level[m] = 0.0, 0.0
            continue
        log_level[m] = bundle.levels.draw(places, turned(angle, m)[None])[0][rows]
        if history is not None:  # a known level drifts from week to week; its mean does not
            z = turned(angle, m)[rows]
            drift = bundle.scaler.drift.get(places.network, bundle.scaler.drift.get("", 0.0))
            now = np.log(recent[known] / unit) + drift * z - np.where(z == 0, 0.0, drift**2 / 2)
            log_level[m] = np.where(known < 0, log_level[m], now)
        level[m] = bundle.levels.standard(places, log_level[m], rhythms[m], rows)
        level[m, known >= 0] = np.clip(level[m, known >= 0], -HIGHEST_LEVEL, HIGHEST_LEVEL)
    region = Region(ids[rows], f_s, log_level, level, rhythms=rhythms, source=places.source)
    if bundle.weeks.networks:
        region = replace(region, around=week_features(places, rows))
    if history is not None:
        week = history.week[known]
        if usual is not None:
            week = profile_week(week, history.days, usual, rhythms[0]).astype(np.float32)
        past = np.where((known < 0)[:, None, None], np.float32(np.nan), week)
        region = replace(region, past=past, past_days=history.days)
    return region, SharedInputs(bundle.model, bundle.scaler, time, bundle.networks, calendar, recipe, bundle.weeks)


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
        return self.shared.model.series_at_once

    def blocks(
        self, spans: Sequence[Block], threads: int | None = None, tell: Tell | None = None
    ) -> Iterator[tuple[Block, NDArray[np.float32]]]:
        """The traffic of each span, in their order: (span, (cells, steps)), float32."""
        for done, (span, values) in enumerate(draw_blocks(self.region, self.shared, spans, threads), start=1):
            yield span, values if self.scale == 1.0 else self.scale * values
            if tell is not None:
                tell(done, len(spans))

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
            "source": np.array(region.source),
            "scale": np.array(self.scale),
            "units": np.array(self.units),
        }
        if region.past is not None and region.past_days is not None:
            out |= {"past": region.past, "past_days": region.past_days}
        if region.around is not None:
            out["around"] = region.around
        return out


def prepare(
    bundle: WeeklyModel, context: xr.Dataset, calendar: Calendar, settings: Settings, *,
    cells: Sequence[int] | None = None, observed: Observations | None = None, scratch: Path | None = None,
) -> WeeklyDraw:  # fmt: skip
    """What `Bundle.prepare` does; see `gentraffic.generators.base.Generator`."""
    history, scale, units = None, 1.0, "1"
    if observed is not None and observed.history is not None:
        from gentraffic.dataset.schema import check_traffic

        check_traffic(observed.history)
        history = read_history(observed.history, observed.service)
        scale = history.unit(bundle.levels, read_places(context), context["cell_id"].values)
        scale *= history.step_factor(calendar.per_hour)
        units = history.units
    embeddings = None if scratch is None else scratch / "embeddings.npy"
    region, shared = prepare_inputs(
        bundle, context, calendar, settings, cells=cells, history=history, embeddings=embeddings
    )
    return WeeklyDraw(region, shared, units, scale)


def _by_id(context: xr.Dataset, cells: Sequence[int] | None) -> tuple[xr.Dataset, Any]:
    """The context in the order of its ids, and where `cells` are there: sums over cells must not depend on order."""
    order = np.argsort(context["cell_id"].values, kind="stable")
    sorted_already = not (order[:-1] > order[1:]).any()
    if sorted_already and cells is None:
        return context, slice(None)  # all, as they are: no copy, of a country, is made of anything
    at = np.empty_like(order)
    at[order] = np.arange(len(order))
    rows = at if cells is None else at[np.asarray(cells, dtype=np.int64)]
    return context if sorted_already else context.compute().isel(cell=order), rows


def draw_blocks(
    region: Region, brush: SharedInputs, blocks: Sequence[Block], tiles_at_once: int | None = None
) -> Iterator[tuple[Block, NDArray[np.float32]]]:
    """The traffic of blocks of any size, one after the other: (block, (cells, steps)). Draws tile by tile.

    tiles_at_once: threads, by default one per core. Holds one block and a few tiles.
    """
    if brush.recipe.device != "cpu":
        moved: Any = copy.deepcopy(brush.model)
        brush = replace(brush, model=moved.to(brush.recipe.device))
    threads = tiles_at_once or max(1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1)
    size = brush.model.series_at_once
    jobs = (
        (block, at, Block(block.member, at, min(at + size, block.end)))
        for block in blocks
        for at in range(block.first, block.end, size)
    )
    whole = np.empty((0, 0), dtype=np.float32)
    # MKL asks each thread anew how many it may use
    with one_thread(), ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        for (block, at, tile), values in _in_order(
            pool, lambda job: generate_tile(region, brush, job[2]), jobs, threads
        ):
            if at == block.first:
                whole = np.empty((block.end - block.first, values.shape[1]), dtype=np.float32)
            whole[at - block.first : tile.end - block.first] = values
            if tile.end == block.end:
                yield block, whole


def generate_tile(region: Region, brush: SharedInputs, tile: Block) -> NDArray[np.float32]:
    """One tile of cells, from noise to traffic: (cells, steps). Called from several threads."""
    calendar, recipe, k = brush.calendar, brush.recipe, brush.calendar.per_hour
    count, size = tile.end - tile.first, brush.model.series_at_once
    padded = tile.first + np.concatenate([np.arange(count), np.zeros(size - count, dtype=np.int64)])
    log_level = region.log_level[tile.member, padded]
    told = np.full(size, not brush.scaler.own_level, dtype=np.float32)
    level = np.stack([region.level[tile.member, padded], told], axis=1)
    ids = region.ids[padded].tolist()
    rhythm = region.rhythms[tile.member]
    expected = np.zeros((size, WEEK), dtype=np.float32)
    if region.around is not None:
        around, mean, spread = region.around[padded].astype(np.float64), brush.scaler.mean, brush.scaler.spread
        expected = brush.weeks.scaled(rhythm, around, region.source, mean, spread)
    sheet = np.empty((size, _sheet_days(calendar.days) * HOURS * k), dtype=np.float32)
    known = None
    for window, first in enumerate(window_starts(calendar.days)):
        weekday = (calendar.weekday + first) % DAYS
        profile = region.profile(padded, weekday, k, brush.scaler)
        condition = Condition(
            place=torch.from_numpy(region.place[padded]),
            time=time_of_windows(brush.time, torch.tensor([weekday]), k),
            level=torch.from_numpy(level),
            network=torch.full((size,), brush.number(rhythm)),
            known=known,
            profile=profile,
        ).to(recipe.device)
        x = draw(
            brush.model,
            condition,
            seeds=shape_seeds(recipe.seed, ids, (tile.member + 1) // 2, window),
            mirrored=tile.member > 0 and tile.member % 2 == 0,  # members 1 and 2, 3 and 4, ... are antithetic pairs
            steps=recipe.steps,
            solver=recipe.solver,
            guidance=recipe.guidance,
        ).cpu()
        known = torch.full_like(x, torch.nan)
        shared = OVERLAP_DAYS * HOURS * k
        known[:, :shared] = x[:, -shared:]
        at = first * HOURS * k
        ratio = brush.scaler.inverse(x.numpy() + from_monday(expected, np.full(size, weekday), k), level[:, 0])
        if window == 0:  # the level is the mean of the first whole week; later weeks may differ from it
            mean = np.maximum(ratio.mean(axis=1, keepdims=True), np.float32(1e-6))  # a silent week stays silent
            mean = np.ones_like(mean) if brush.scaler.own_level else mean
        sheet[:, at : at + WEEK * k] = ratio / mean
    sheet *= np.exp(log_level).astype(np.float32)[:, None]
    return calendar.read(sheet[:count])


def window_starts(days: int) -> list[int]:
    """The first day of each window: one window holds seven days, and each further one shares OVERLAP_DAYS."""
    stride = DAYS - OVERLAP_DAYS
    return list(range(0, max(days - OVERLAP_DAYS, 1), stride))


def _sheet_days(days: int) -> int:
    return window_starts(days)[-1] + DAYS


def _in_order(
    pool: ThreadPoolExecutor, work: Callable[[Job], NDArray[np.float32]], jobs: Iterable[Job], threads: int
) -> Iterator[tuple[Job, NDArray[np.float32]]]:
    """Results in the order of the jobs, with only a few of them under way or waiting at any time."""
    from collections import deque

    waiting: deque[tuple[Job, Future[NDArray[np.float32]]]] = deque()
    try:
        for job in jobs:
            waiting.append((job, pool.submit(work, job)))
            if len(waiting) > 2 * threads:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()
    finally:
        for _, future in waiting:
            future.cancel()


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread inside torch: tiles run side by side instead, so that no sum depends on the number of cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def check_recipe(bundle: WeeklyModel, calendar: Calendar, recipe: Settings) -> None:
    """Raise WrongUse where the model cannot draw so, or the device is not there."""
    check_minutes(60 / calendar.per_hour, [60 // k for k in bundle.model.cadences])
    if recipe.members < 1:
        raise WrongUse(f"--members {recipe.members}: give 1 or more")
    if recipe.habits not in ("", AUTO, *bundle.networks):
        known = ", ".join(bundle.networks)
        raise WrongUse(f"--rhythm {recipe.habits}: give auto, or a network that this model knows: {known}")
    try:
        torch.empty(0, device=recipe.device)
    except (RuntimeError, AssertionError) as error:
        raise WrongUse(f"--device {recipe.device}: not on this machine ({str(error).splitlines()[0]})") from error


def time_of_windows(time: Tensor, weekday: Tensor, per_hour: int) -> Tensor:
    """The time embedding of weeks that start on the given days: time (168, Q), weekday (B,) -> (B, 168 k, Q)."""
    from graphs.build import interpolate_hours

    hours = torch.arange(WEEK * per_hour) / per_hour
    fine = interpolate_hours(time, hours.numpy()) if per_hour > 1 else time
    steps = torch.arange(WEEK * per_hour)[None, :]
    return fine[(steps + weekday[:, None] * 24 * per_hour) % (WEEK * per_hour)]
