"""Draw traffic with FoMo for any place and period, given what has been measured of it, users, both or nothing."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from gentraffic.dataset.calendar import Calendar
from gentraffic.errors import WrongUse, did_you_mean
from gentraffic.generators.base import Span, Tell, Unsupported, check_minutes
from gentraffic.generators.fomo.data import POI_DIM, log_weeks, poi_features, usual_weeks
from gentraffic.generators.fomo.observations import FoMoTask, field_of, known_cells_of
from gentraffic.generators.fomo.scale import FoMoContext, FoMoScale, condition_of, echo_of, refer, usual_at
from gentraffic.generators.fomo.tiles import PHASES, WINDOW, closure, fade, layings, starts
from gentraffic.generators.observed import Observations
from gentraffic.generators.weekly import Settings, check_solver, one_thread
from gentraffic.modelling.expected_week import ExpectedWeeks, rhythms_of
from gentraffic.modelling.features import BLOCK, Floats, Places, read_places
from gentraffic.modelling.known_cells import KnownCells, known_weeks, log_expected
from gentraffic.modelling.kriging import conditional_levels
from gentraffic.modelling.level_noise import Likeness, level_noise, likes_of
from gentraffic.modelling.levels import LevelModel
from gentraffic.modelling.random_streams import shape_seeds
from samplers.diffusion import starting_noise
from samplers.fomo import FoMo
from samplers.fomo_draw import DETERMINISTIC, answer, solve
from samplers.sampler import at_once, computing_in

if TYPE_CHECKING:
    import xarray as xr

BATCH = 16  # blocks that one call of the network holds on a CPU; its shape never changes
CHUNK = 4_000_000  # values drawn at a time, but a week at least; the last WINDOW steps of a chunk are given to the next
HOURS = 168


class FoMoModel(Protocol):
    """What drawing needs of a trained FoMo; `gentraffic.generators.fomo.folder.FoMoBundle` is one."""

    @property
    def model(self) -> FoMo:
        """The transformer."""

    @property
    def scale(self) -> FoMoScale:
        """How traffic is scaled for it."""

    @property
    def levels(self) -> LevelModel:
        """What levels are drawn from."""

    @property
    def weeks(self) -> ExpectedWeeks:
        """The weeks that places tell."""

    @property
    def networks(self) -> tuple[str, ...]:
        """Names of the measured networks, index 0 being network 1 of the model."""


@dataclass(frozen=True)
class FoMoDraw:
    """What `gentraffic.generators.base.Draw` says. Members are drawn whole: blocks of cells need their neighbours."""

    bundle: FoMoModel
    task: FoMoTask
    calendar: Calendar
    settings: Settings
    cells: Sequence[int] | None
    units: str

    @property
    def block(self) -> int:
        """All cells."""
        return len(self.task.values) if self.cells is None else max(1, len(self.cells))

    def blocks(
        self, spans: Sequence[Span], threads: int | None = None, tell: Tell | None = None
    ) -> Iterator[tuple[Span, NDArray[np.float32]]]:
        """The traffic of each span, in their order: (span, (cells, steps)), float32. tell counts solver steps."""
        drawn = draw_field(self.bundle, self.task, self.settings, cells=self.cells, on_step=tell)
        for span in spans:
            yield span, drawn[span.member, span.first : span.end]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Raises Unsupported."""
        raise Unsupported("workers", "a FoMo cannot be drawn in other processes: its blocks need their neighbours")


def prepare(
    bundle: FoMoModel, context: xr.Dataset, calendar: Calendar, settings: Settings, *,
    cells: Sequence[int] | None = None, observed: Observations | None = None,
) -> FoMoDraw:  # fmt: skip
    """What `FoMoBundle.prepare` does; see `gentraffic.generators.base.Generator`."""
    task = field_of(observed, context, calendar.utc, 60 // calendar.per_hour, bundle.model.token[2])
    _check(bundle, task, settings)
    units = (None if observed is None else observed.units) or "1"
    return FoMoDraw(bundle, task, calendar, settings, cells, units)


def draw_field(
    bundle: FoMoModel,
    field: FoMoTask,
    settings: Settings,
    *,
    cells: Sequence[int] | None = None,
    on_step: Callable[[int, int], None] | None = None,
) -> NDArray[np.float32]:
    """Traffic: (members, cells, steps after the history) float32; measured values come back as they are, bit for bit.

    Units are those of the measured values where there are any, else relative (1 = the mean cell). cells: which are
    drawn, all by default; each gets the same series whatever else is drawn. Raises WrongUse for a cadence that the
    model does not know, nothing left to draw, or a device that is not there.
    """
    _check(bundle, field, settings)
    model: Any = bundle.model
    if settings.device != "cpu":
        model = copy.deepcopy(model).to(settings.device)
    order = np.argsort(field.context["cell_id"].values, kind="stable")  # nothing may depend on the order of cells
    at = np.empty_like(order)
    at[order] = np.arange(len(order))
    wanted = at if cells is None else at[np.asarray(cells, dtype=np.int64)]
    field = replace(field, context=field.context.isel(cell=order), values=field.values[order], users=field.users[order])
    threads = max(1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1)
    out = np.empty((settings.members, len(wanted), field.values.shape[1] - field.given), dtype=np.float32)
    # MKL asks each thread anew how many it may use
    with one_thread(), ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        place = _Place.of(bundle, field, settings)
        chunks = _chunks(len(field.values), field.values.shape[1], field.minutes)
        total = settings.members * len(chunks) * settings.steps
        for member in range(settings.members):
            work = _Member(bundle, model, field, place, settings, member, wanted, pool)
            done = member * len(chunks) * settings.steps

            def tell(chunk: int, step: int, done: int = done) -> None:
                if on_step is not None:
                    on_step(done + chunk * settings.steps + step, total)

            out[member] = work.draw(chunks, tell)[wanted, field.given :]
    return out


@dataclass(frozen=True)
class _Place:
    """What does not change from member to member. rhythms: the network that each member follows, "" for none; weeks:
    the usual week of each cell, (cells, 168), by it. own: number of the network that the place is said to be of. likes,
    noise: of each member's levels, how alike it is, and what it is: (members, cells)."""

    places: Places
    poi: NDArray[np.float32]
    ids: list[Any]
    blocks: list[NDArray[np.int64]]
    rhythms: tuple[str, ...]
    weeks: dict[str, Floats]
    own: int
    likes: list[Likeness]
    noise: Floats

    @staticmethod
    def of(bundle: FoMoModel, field: FoMoTask, settings: Settings) -> _Place:
        places = read_places(field.context)
        counted = bool((np.asarray(field.context["poi_count"].values) > 0).any())
        poi = (
            poi_features(places, bundle.levels)
            if counted
            else np.full((len(field.values), POI_DIM), np.nan, np.float32)
        )
        grid = None
        if "row" in field.context.coords:
            columns = [field.context[name].values for name in ("row", "col")]
            grid = np.stack(columns, axis=1).astype(np.int64)
        ids = field.context["cell_id"].values.tolist()
        told, measured = field.context.attrs, bundle.weeks.measured
        rhythms = rhythms_of(bundle.networks, measured, told, settings.habits, settings.members, settings.seed)
        known = known_cells_of(field)
        weeks = {name: _usual_weeks(bundle, places, name, known) for name in set(rhythms)}
        own = bundle.scale.number(settings.habits or str(told.get("habits", "")) or places.network)
        likes = likes_of(bundle.weeks.shared, rhythms)
        noise = np.stack(list(level_noise(settings.seed, ids, places.xy_m, likes)))
        return _Place(places, poi, ids, layings(grid, places.xy_m), rhythms, weeks, own, likes, noise)


class _Member:
    """One member: references of all cells, then chunk after chunk."""

    def __init__(
        self,
        bundle: FoMoModel,
        model: Any,
        field: FoMoTask,
        place: _Place,
        settings: Settings,
        member: int,
        wanted: NDArray[np.int64],
        pool: ThreadPoolExecutor,
    ) -> None:
        self.bundle, self.model, self.field, self.place = bundle, model, field, place
        self.settings, self.member, self.pool = settings, member, pool
        self.batch = at_once(BATCH, settings.device)  # blocks of one call
        scale, rhythm = bundle.scale, place.rhythms[member]
        self.number, self.week = scale.number(rhythm), place.weeks[rhythm]
        self.usual = usual_at(self.week, field.hour)  # (cells, T)
        nobody = np.full_like(field.users, np.nan)
        measured = refer(field.values, nobody, self.usual, 0.0, np.zeros(len(place.ids)))[0]
        observed = (~np.isnan(field.values)).any(1)
        log, unit = conditional_levels(
            bundle.levels, place.places, place.noise[member], np.where(observed, measured, np.nan), place.likes[member]
        )
        per_user, level = 0.0, bundle.levels.networks.get(scale.networks[place.own - 1]) if place.own else None
        if not observed.any() and level is not None:
            per_user = float(scale.per_user[place.own]) / level.mean_traffic
        if per_user == 0.0 and not observed.any() and (~np.isnan(field.users)).any():
            per_user = 1.0 / float(np.nanmean(field.users))  # relative: the mean user count is the mean cell's
        self.reference, self.per_user, by_users = refer(
            field.values, field.users, self.usual, per_user, np.exp(log) * unit
        )
        self.by_users = by_users
        self.free = ~observed & ~by_users  # of nothing but the level model
        z = bundle.levels.standard(place.places, np.log(np.maximum(self.reference, 1e-12) / unit))
        self.z = np.where(by_users, np.nan, z)
        steps = field.values.shape[1]
        seeds = shape_seeds(settings.seed, place.ids, (member + 1) // 2, 0)
        length = max(steps, WINDOW)
        self.noise = starting_noise(seeds, length).numpy() * (-1 if member and member % 2 == 0 else 1)
        self.chosen = closure(place.blocks, wanted, settings.steps)

    def draw(self, chunks: list[tuple[int, int]], tell: Callable[[int, int], None]) -> NDArray[np.float32]:
        """All steps: (cells, T). Cells that nobody asked for hold what came of them on the way."""
        field, scale = self.field, self.bundle.scale
        result = np.full(field.values.shape, np.nan, dtype=np.float32)
        for i, (first, last) in enumerate(chunks):
            fixed = field.values[:, first:last].copy()
            drawn = result[:, first:last]
            fixed = np.where(np.isnan(fixed), drawn, fixed)  # what the chunk before has drawn is given to this one
            length = max(last - first, WINDOW)
            hour = self._hours(first, length)
            users, echo = _pad(field.users[:, first:last], length), self._echo(hour, first)
            x = self._solve(_Chunk(_pad(fixed, length), users, echo, hour), first, partial(tell, i))
            whole = scale.inverse(x, usual_at(self.week, hour)) * self.reference[:, None]
            values = whole.astype(np.float32)[:, : last - first]
            if i == 0:
                values = self._level(values)
            result[:, first:last] = np.where(np.isnan(fixed), values, fixed)
        return result

    def _level(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Cells that only the level model knows get exactly its level over their first week, where that is drawn."""
        week = HOURS * 60 // self.field.minutes
        if values.shape[1] < week:
            return values
        mean = np.maximum(values[:, :week].mean(axis=1, dtype=np.float64), 1e-9)
        factor = np.where(self.free, self.reference / mean, 1.0)
        self.reference = self.reference * factor  # later chunks go on at the same level
        return (values * factor[:, None]).astype(np.float32)

    def _solve(self, chunk: _Chunk, first: int, tell: Callable[[int], None]) -> NDArray[np.float32]:
        """x of all cells over one chunk that begins at step `first`: (cells, steps)."""
        settings, margin = self.settings, self.model.token[2]
        wide = chunk.widened(margin, self.field.minutes)
        start = torch.from_numpy(_stretch(self.noise, first - margin, len(wide.hour))).to(settings.device)
        weight = torch.from_numpy(fade(margin)).to(settings.device)

        def predict(x: torch.Tensor, t: int, step: int) -> torch.Tensor:
            total, count = torch.zeros_like(x), torch.zeros_like(x)
            phase = step % PHASES

            def run(batch: list[tuple[int, int]]) -> tuple[_Job, torch.Tensor]:
                job = self._job(batch, wide, phase)  # made when it is its turn: all at once would fill the memory
                with torch.inference_mode(), computing_in(settings.precision, settings.device):
                    part = x[job.rows[..., None], job.columns]  # (batch, SIDE, SIDE, WINDOW)
                    return job, answer(self.model, part, t, job.scene, settings.guidance).float()

            # once in the first of several steps: what the network sees in noise alone has next to no edges of tokens
            batches = self._batches(wide, phase, self.chosen[step], twice=step > 0 or settings.steps == 1)
            for job, out in self.pool.map(run, batches):
                rows = job.rows[job.there][:, None]  # (cells, 1)
                columns = job.columns.expand(*job.there.shape, WINDOW)[job.there]
                total.index_put_((rows, columns), out[job.there] * weight, accumulate=True)
                count.index_put_((rows, columns), weight.expand_as(columns), accumulate=True)
            tell(step + 1)
            return total / count.clamp(min=1e-6)

        usual = usual_at(self.week, wide.hour)
        known = self.bundle.scale.forward(wide.values / self.reference[:, None], usual)  # nan stays nan
        x = solve(
            predict, self.model.noise, start, steps=settings.steps, solver=settings.solver,
            known=torch.from_numpy(known).to(settings.device), power=self.model.power(self.field.minutes),
        )  # fmt: skip
        return x.cpu().numpy()[:, margin:-margin]

    def _echo(self, hour: Floats, first: int) -> NDArray[np.float32]:
        """What all that is measured up to the chunk's end says of the same time on other days: (cells, steps)."""
        usual = np.concatenate([self.usual[:, :first], usual_at(self.week, hour)], axis=1)
        measured = _pad(self.field.values[:, : first + len(hour)], first + len(hour))
        return echo_of(measured, usual, 1440 // self.field.minutes)[:, first:]

    def _hours(self, first: int, steps: int) -> Floats:
        """Local hours of the week of a chunk, going on evenly beyond the end of the field: (steps,)."""
        own = self.field.hour[first : first + steps]
        beyond = own[-1] + np.arange(1, steps - len(own) + 1) * self.field.minutes / 60
        return np.concatenate([own, beyond % HOURS])

    def _batches(
        self, chunk: _Chunk, phase: int, chosen: NDArray[np.bool_], *, twice: bool
    ) -> list[list[tuple[int, int]]]:
        """Each chosen block of one laying at every window in which something is to be drawn: (block, first step), in
        batches of at most `self.batch`. chosen: (blocks,)."""
        blocks = self.place.blocks[phase]
        whole: NDArray[np.bool_] = np.asarray((blocks >= 0).all((1, 2)))
        margin = self.model.token[2]
        steps = len(chunk.hour)
        open_ = np.concatenate([np.isnan(chunk.values), np.zeros((1, steps), dtype=bool)])  # the last row: of no cell
        open_[:, :margin] = open_[:, -margin:] = False  # nobody asks for the margins
        pairs = [
            (int(b), margin + first)
            for first in starts(steps - 2 * margin, phase, margin, twice=twice)
            for b in np.flatnonzero(open_[blocks, margin + first : margin + first + WINDOW].any((1, 2, 3)) & chosen)
        ]
        full = [p for p in pairs if whole[p[0]]]
        ragged = [p for p in pairs if not whole[p[0]]]  # apart: with them the network takes its masked kernel
        return [group[i : i + self.batch] for group in (full, ragged) for i in range(0, len(group), self.batch)]

    def _job(self, batch: list[tuple[int, int]], chunk: _Chunk, phase: int) -> _Job:
        """The call of the network for a batch, filled up to `self.batch` with its first."""
        pairs, count = batch + batch[:1] * (self.batch - len(batch)), len(batch)
        numbers = np.array([b for b, _ in pairs])
        blocks = self.place.blocks[phase][numbers]  # (batch, SIDE, SIDE)
        there = blocks >= 0
        rows = np.where(there, blocks, 0)
        columns = np.array([s for _, s in pairs])[:, None] + np.arange(WINDOW)  # (batch, WINDOW)
        at = (rows[..., None], columns[:, None, None, :])
        exists = np.broadcast_to(there[..., None], (*there.shape, WINDOW))
        scene = condition_of(
            FoMoContext(
                values=np.where(exists, chunk.values[at], np.nan),
                users=np.where(exists, chunk.users[at], np.nan),
                echo=np.where(exists, chunk.echo[at], np.nan),
                exists=exists.copy(),
                hour=chunk.hour[columns],
                week=self.week[rows],
                minutes=np.full(len(pairs), self.field.minutes),
                network=np.full(len(pairs), self.number),
                xy_m=self.place.places.xy_m[rows],
                poi=self.place.poi[rows],
                z=self.z[rows],
                reference=self.reference[rows],
                per_user=self.per_user[rows],
            ),
            self.bundle.scale,
        )
        return _Job(
            scene=scene.to(self.settings.device),
            rows=torch.from_numpy(rows),
            columns=torch.from_numpy(columns[:, None, None, :]),
            there=torch.from_numpy(there & (np.arange(self.batch) < count)[:, None, None]),
        )


@dataclass(frozen=True)
class _Chunk:
    """A stretch of the field: values, users, echo (cells, steps), hour (steps,); NaN = not told."""

    values: NDArray[np.float32]
    users: NDArray[np.float32]
    echo: NDArray[np.float32]
    hour: Floats

    def widened(self, margin: int, minutes: int) -> _Chunk:
        """The same with `margin` steps more at both ends, of which nothing is told: windows may reach over the ends."""

        def wide(values: NDArray[np.float32]) -> NDArray[np.float32]:
            return np.pad(values, ((0, 0), (margin, margin)), constant_values=np.nan)

        before = self.hour[0] - np.arange(margin, 0, -1) * minutes / 60
        after = self.hour[-1] + np.arange(1, margin + 1) * minutes / 60
        hour = np.concatenate([before, self.hour, after]) % HOURS
        return _Chunk(wide(self.values), wide(self.users), wide(self.echo), hour)


@dataclass(frozen=True)
class _Job:
    """One call of the network. there: (batch, SIDE, SIDE) where a cell stands whose answer counts."""

    scene: Any
    rows: torch.Tensor
    columns: torch.Tensor
    there: torch.Tensor


def _usual_weeks(bundle: FoMoModel, places: Places, network: str, known: KnownCells | None) -> Floats:
    """The usual week of each cell in the rhythm of a network, or, "", of none, and as measured cells have it:
    (cells, 168)."""
    weeks = bundle.weeks
    log = log_weeks(weeks, network, places)
    if known is not None and weeks.networks:
        rows = np.arange(len(places.xy_m))
        told = known_weeks(known, weeks, (network,), places, rows, weeks.shared.get(network, 0.0))
        log = log_expected(weeks, network, places, rows)
        for first in range(0, len(rows), BLOCK):
            some = rows[first : first + BLOCK]
            log[some] += told.log_week(0, some)
    if log is None:
        mean = bundle.scale.mean_week(bundle.scale.number(network))
        return np.broadcast_to(mean, (len(places.xy_m), HOURS))
    return usual_weeks(log)


def _chunks(cells: int, steps: int, minutes: int) -> list[tuple[int, int]]:
    """(first, last) of stretches of about CHUNK values that share WINDOW steps."""
    length = max(CHUNK // cells, HOURS * 60 // minutes)
    out = [(0, min(length, steps))]
    while out[-1][1] < steps:
        first = out[-1][1] - WINDOW
        out.append((first, min(first + length, steps)))
    return out


def _stretch(noise: NDArray[np.float32], first: int, length: int) -> NDArray[np.float32]:
    """`length` columns of noise from `first` on; beyond its ends (of which nothing is kept) it repeats."""
    columns = (first + np.arange(length)) % noise.shape[1]
    return np.ascontiguousarray(noise[:, columns])


def _pad(values: NDArray[np.float32], length: int) -> NDArray[np.float32]:
    out = np.full((len(values), length), np.nan, dtype=np.float32)
    out[:, : values.shape[1]] = values
    return out


def _check(bundle: FoMoModel, field: FoMoTask, settings: Settings) -> None:
    check_minutes(field.minutes, bundle.model.cadences)
    if settings.members < 1:
        raise WrongUse(f"--members {settings.members}: give 1 or more")
    if settings.habits and settings.habits not in bundle.networks:
        near = did_you_mean(settings.habits, bundle.networks)
        raise WrongUse(f"--rhythm {settings.habits}: this model knows {', '.join(bundle.networks)}{near}")
    check_solver(settings, bundle.model.noise, DETERMINISTIC)
    if not np.isnan(field.values[:, field.given :]).any():
        raise WrongUse("everything is measured already: there is nothing left to draw")
    try:
        torch.zeros(1, device=settings.device).item()  # a device that computes: meta has no values
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise WrongUse(f"--device {settings.device}: not on this machine ({str(error).splitlines()[0]})") from error
