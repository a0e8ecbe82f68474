"""Draw traffic for the cells of a context: levels first, then a week at a time, in tiles of one padded shape."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from gentraffic.bundle import Bundle
from gentraffic.calendar import Calendar
from gentraffic.errors import WrongUse
from gentraffic.features import Floats, Places, read_places
from gentraffic.noise import level_noise, shape_seeds
from gentraffic.training import time_of_windows
from samplers import DAYS, HOURS, WEEK, Condition, draw

if TYPE_CHECKING:
    import xarray as xr

TILE = 64  # series that one call of the network holds: the tile stays in the cache, and its shape never changes
OVERLAP_DAYS = 1  # of each further window are given by the window before it, so that no seam shows


@dataclass(frozen=True)
class Recipe:
    """How a draw is made; together with the model, the context and the calendar it fixes every bit.

    habits: the measured network whose daily and weekly habits the cells follow, such as the nearest one; levels still
    come from the place. By default what the context names (`habits`, else its own `network`), else those of no network
    in particular.
    """

    seed: int = 0
    members: int = 1
    steps: int = 8
    solver: str = "dpm++"
    guidance: float = 1.0
    device: str = "cpu"
    habits: str = ""


def draw_traffic(
    bundle: Bundle,
    context: xr.Dataset,
    calendar: Calendar,
    recipe: Recipe,
    *,
    cells: Sequence[int] | None = None,
    tiles_at_once: int | None = None,
    on_tile: Callable[[int, int], None] | None = None,
) -> NDArray[np.float32]:
    """Relative traffic (1 = the mean cell): (members, cells, steps) float32.

    cells: which rows of the context are drawn, all by default; each gets the same series whatever else is drawn.
    tiles_at_once: worker threads, by default one per core; no bit depends on it. on_tile(done, of) is told progress.
    Raises WrongUse where the model cannot draw the calendar's cadence or the device is not there.
    """
    _check(bundle, calendar, recipe)
    if recipe.device != "cpu":
        moved: Any = copy.deepcopy(bundle.model)
        bundle = replace(bundle, model=moved.to(recipe.device))
    order = np.argsort(context["cell_id"].values, kind="stable")  # sums over cells must not depend on their order
    at = np.empty_like(order)
    at[order] = np.arange(len(order))
    rows = at if cells is None else at[np.asarray(cells, dtype=np.int64)]
    context = context.isel(cell=order)
    ids = context["cell_id"].values.tolist()
    with one_thread():
        places = read_places(context)
        f_s = bundle.place(places)
        time = bundle.time()
    log_level = np.stack(
        [
            bundle.levels.draw(places, level_noise(recipe.seed, ids, places.xy_m, m)[None])[0]
            for m in range(recipe.members)
        ]
    )  # (members, all cells): levels are cheap, and come from the whole context
    jobs = [(m, rows[i : i + TILE]) for m in range(recipe.members) for i in range(0, len(rows), TILE)]
    out = np.empty((recipe.members, len(rows), len(calendar.utc)), dtype=np.float32)
    where = dict.fromkeys(range(recipe.members), 0)
    threads = tiles_at_once or max(1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1)
    habits = recipe.habits or str(context.attrs.get("habits", "")) or places.network
    work = _Work(bundle, places, f_s, time, log_level, ids, calendar, recipe, habits)
    with one_thread(), ThreadPoolExecutor(threads) as pool:
        for done, ((member, tile), values) in enumerate(_in_order(pool, work, jobs, threads), start=1):
            out[member, where[member] : where[member] + len(tile)] = values
            where[member] += len(tile)
            if on_tile is not None:
                on_tile(done, len(jobs))
    return out


@dataclass(frozen=True)
class _Work:
    """One tile of one member, from noise to traffic; called from several threads."""

    bundle: Bundle
    places: Places
    f_s: NDArray[np.float32]
    time: torch.Tensor
    log_level: Floats
    ids: list[Any]
    calendar: Calendar
    recipe: Recipe
    habits: str

    def __call__(self, job: tuple[int, NDArray[np.int64]]) -> NDArray[np.float32]:
        member, tile = job
        padded = np.concatenate([tile, np.repeat(tile[:1], TILE - len(tile))])
        levels, bundle, recipe, k = self.bundle.levels, self.bundle, self.recipe, self.calendar.per_hour
        log_level = self.log_level[member, padded]
        level = np.stack([levels.standard(self.places, log_level), np.ones(TILE)], axis=1).astype(np.float32)
        number = bundle.networks.index(self.habits) + 1 if self.habits in bundle.networks else 0
        sheet = np.empty((TILE, _sheet_days(self.calendar.days) * HOURS * k), dtype=np.float32)
        known = None
        for window, first in enumerate(window_starts(self.calendar.days)):
            weekday = torch.tensor([(self.calendar.weekday + first) % DAYS])
            condition = Condition(
                place=torch.from_numpy(self.f_s[padded]),
                time=time_of_windows(self.time, weekday, k),
                level=torch.from_numpy(level),
                network=torch.full((TILE,), number),
                known=known,
            ).to(recipe.device)
            x = draw(
                bundle.model,
                condition,
                seeds=shape_seeds(recipe.seed, [self.ids[row] for row in padded], (member + 1) // 2, window),
                mirrored=member > 0 and member % 2 == 0,  # members 1 and 2, 3 and 4, ... are antithetic pairs
                steps=recipe.steps,
                solver=recipe.solver,
                guidance=recipe.guidance,
            ).cpu()
            known = torch.full_like(x, torch.nan)
            shared = OVERLAP_DAYS * HOURS * k
            known[:, :shared] = x[:, -shared:]
            at = first * HOURS * k
            ratio = bundle.scaler.inverse(x.numpy())
            if window == 0:  # the level is the mean of the first whole week; later weeks may differ from it
                mean = np.maximum(ratio.mean(axis=1, keepdims=True), np.float32(1e-6))  # a silent week stays silent
            sheet[:, at : at + WEEK * k] = ratio / mean
        sheet *= np.exp(log_level).astype(np.float32)[:, None]
        return self.calendar.read(sheet[: len(tile)])


def window_starts(days: int) -> list[int]:
    """The first day of each window: one window holds seven days, and each further one shares OVERLAP_DAYS."""
    stride = DAYS - OVERLAP_DAYS
    return list(range(0, max(days - OVERLAP_DAYS, 1), stride))


def _sheet_days(days: int) -> int:
    return window_starts(days)[-1] + DAYS


def _in_order(
    pool: ThreadPoolExecutor, work: _Work, jobs: list[tuple[int, NDArray[np.int64]]], threads: int
) -> Iterator[tuple[tuple[int, NDArray[np.int64]], NDArray[np.float32]]]:
    """Results in the order of the jobs, with only a few of them under way or waiting at any time."""
    from collections import deque

    waiting: deque[Any] = deque()
    try:
        for i, job in enumerate(jobs):
            waiting.append(pool.submit(work, job))
            if len(waiting) > 2 * threads:
                yield jobs[i + 1 - len(waiting)], waiting.popleft().result()
        while waiting:
            yield jobs[len(jobs) - len(waiting)], waiting.popleft().result()
    finally:
        for future in waiting:
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


def _check(bundle: Bundle, calendar: Calendar, recipe: Recipe) -> None:
    if calendar.per_hour not in bundle.model.cadences:
        names = ", ".join(f"{60 // k} min" for k in bundle.model.cadences)
        raise WrongUse(f"this model draws {names}, not {60 // calendar.per_hour} min: give another --freq")
    if recipe.members < 1:
        raise WrongUse(f"--members {recipe.members}: give 1 or more")
    if recipe.habits and recipe.habits not in bundle.networks:
        raise WrongUse(f"--habits {recipe.habits}: this model knows {', '.join(bundle.networks)}")
    try:
        torch.empty(0, device=recipe.device)
    except (RuntimeError, AssertionError) as error:
        raise WrongUse(f"--device {recipe.device}: not on this machine ({str(error).splitlines()[0]})") from error
