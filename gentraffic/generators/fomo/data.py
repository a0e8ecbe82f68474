"""Traffic files as FoMo trains on them: whole regions with users, POIs and blocks of neighbouring cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gentraffic.dataset.panel import read_panel
from gentraffic.errors import BadInput
from gentraffic.modelling.expected_week import ExpectedWeeks
from gentraffic.modelling.features import FLOOR, Floats, Places
from gentraffic.modelling.levels import LevelModel, stack_features
from gentraffic.modelling.measured import Source, read_live, read_source

if TYPE_CHECKING:
    import xarray as xr

SIDE = 4  # cells: a block is 4 x 4, as in the published data
CADENCES = (15, 30, 60)  # minutes
POI_DIM = 16  # log counts of and around a cell, in 8 categories each
LOWEST = 0.02  # of the usual week's mean


@dataclass(frozen=True)
class Region:
    """The live cells of one network at one cadence.

    values, users: (cells, T) in the source's units; users None where there are none. clean: values with recording gaps
    that recur at one hour of every day filled in. hour: (T,) local hour of the week.
    poi: (cells, POI_DIM) standardised, None without a context. level: (cells,) mean traffic; z: the same, log,
    standardised in the network, by a spread. week: (cells, 168) the usual week of each, None where it is that of the
    network (`gentraffic.generators.fomo.scale`). blocks: (n, SIDE, SIDE) indices of cells, -1 where there is none.
    """

    network: str
    minutes: int
    values: NDArray[np.float32]
    clean: NDArray[np.float32]
    users: NDArray[np.float32] | None
    hour: Floats
    poi: NDArray[np.float32] | None
    xy_m: Floats
    level: Floats
    z: Floats
    spread: float
    location: NDArray[np.int64]
    rows: NDArray[np.int64]  # where each cell stands in its context
    blocks: NDArray[np.int64]
    week: Floats | None = None

    @property
    def b(self) -> float:
        """Traffic per user: the one factor that fits best (METRICS, `b*users`); 0 where there are no users."""
        if self.users is None:
            return 0.0
        users = self.users.astype(np.float64)
        return float(np.vdot(users, self.values) / np.vdot(users, users))

    def only(self, keep: NDArray[np.intp]) -> Region:
        """The same region with some of its cells, and the blocks that hold one of them.

        keep: (kept,) positions of cells.
        """
        new = np.full(len(self.values) + 1, -1)  # the last: of no cell
        new[keep] = np.arange(len(keep))
        blocks = new[self.blocks]
        names = ("values", "clean", "xy_m", "level", "z", "location", "rows")
        parts = {name: getattr(self, name)[keep] for name in names}
        return replace(
            self,
            **parts,
            users=None if self.users is None else self.users[keep],
            poi=None if self.poi is None else self.poi[keep],
            week=None if self.week is None else self.week[keep],
            blocks=blocks[(blocks >= 0).any((1, 2))],
        )

    def coarser(self, minutes: int) -> Region:
        """The mean of every `minutes` / cadence steps."""
        k = minutes // self.minutes
        steps = self.values.shape[1] // k * k

        def mean(series: NDArray[np.float32]) -> NDArray[np.float32]:
            out: NDArray[np.float32] = series[:, :steps].reshape(len(series), -1, k).mean(axis=2, dtype=np.float32)
            return out

        users = None if self.users is None else mean(self.users)
        return replace(
            self,
            minutes=minutes,
            values=mean(self.values),
            clean=mean(self.clean),
            users=users,
            hour=self.hour[:steps:k],
        )


def read_region(
    traffic: xr.Dataset, contexts: Sequence[xr.Dataset], service: str | None = None
) -> tuple[Source, Region]:
    """A traffic file as a source (for the level model) and as a region without POIs and levels; see `placed`.

    `users` is read where the file has such a variable. Raises as `read_source`, and BadInput for users with NaN.
    """
    from gentraffic.dataset.schema import need_positions

    need_positions(traffic, "a FoMo, which sees the cells around a cell,")
    source, live = read_source(traffic, contexts, service), read_live(traffic, service)
    users = None
    if "users" in traffic.data_vars:
        users = read_panel(traffic, "users").like(live).values[0]
        if not np.isfinite(users).all():
            raise BadInput(f"users hold {int((~np.isfinite(users)).sum())} NaN or infinite values: fill or drop them")
    minutes = 60 // source.per_hour
    level = source.level[:, None].astype(np.float32)
    region = Region(
        network=source.network,
        minutes=minutes,
        values=source.ratio.reshape(len(level), -1) * level,
        clean=source.clean.reshape(len(level), -1) * level,
        users=users,
        hour=(source.weekday * 24 + np.arange(live.steps) * minutes / 60) % 168,
        poi=None,
        xy_m=live.xy_m,
        level=source.level,
        z=np.full(len(level), np.nan),
        spread=1.0,
        location=source.location,
        rows=source.rows,
        blocks=near_blocks(live.xy_m) if live.grid is None else grid_blocks(live.grid),
    )
    return source, region


def placed(region: Region, source: Source, levels: LevelModel, weeks: ExpectedWeeks | None = None) -> Region:
    """A region with POI features and standardised levels: as its network has them, or as the law has them where the
    levels of its network are not known; and with the usual week of each cell, where `weeks` tells it."""
    part, log = levels.networks.get(region.network), np.log(region.level)
    z, spread = region.z, 1.0
    if part is not None:
        z, spread = (log - part.mean) / part.spread, part.spread
    elif source.places is not None and levels.networks:
        unit = (log - levels.relative(source.places)[0][source.rows]).mean()
        z, spread = levels.standard(source.places, log - unit, rows=source.rows), levels.spread
    poi = None if source.places is None else poi_features(source.places, levels)[source.rows]
    told = None
    if weeks is not None and source.places is not None:
        told = log_weeks(weeks, region.network, source.places, source.rows)
    return replace(region, poi=poi, z=z, spread=spread, week=None if told is None else usual_weeks(told))


def log_weeks(weeks: ExpectedWeeks, network: str, places: Places, rows: Any = slice(None)) -> Floats | None:
    """The log weeks of some cells that the regression of a network tells, (cells, 168); None where it has none."""
    own = weeks.networks.get(network)
    return None if own is None or own.places is None else own.log(own.scores(places, rows))


def usual_weeks(log: Floats) -> Floats:
    """Weeks of mean 1, never below LOWEST, of log weeks as `ExpectedWeek` tells them: (cells, 168)."""
    week = np.maximum(np.exp(log) - FLOOR, 0.0)
    out: Floats = np.maximum(week / np.maximum(week.mean(axis=-1, keepdims=True), 1e-9), LOWEST)
    return out


def poi_features(places: Places, levels: LevelModel) -> NDArray[np.float32]:
    """Log POI counts of and around every cell, standardised as `levels` says: (cells, 16)."""
    return levels.scale(places)(stack_features(places.counts, places.around)).astype(np.float32)


def cadences_of(region: Region) -> list[Region]:
    """The region at every cadence of `CADENCES` that its own divides."""
    return [region.coarser(m) if m > region.minutes else region for m in CADENCES if m % region.minutes == 0]


def grid_blocks(grid: NDArray[np.int64]) -> NDArray[np.int64]:
    """All SIDE x SIDE blocks of a grid that hold as many cells as the fullest: grid (cells, 2) row, col."""
    at = {(int(r), int(c)): i for i, (r, c) in enumerate(grid)}
    corners = {(r - dr, c - dc) for r, c in at for dr in range(SIDE) for dc in range(SIDE)}
    return _fullest({corner: _block(at, corner) for corner in sorted(corners)})


def _block(at: Mapping[tuple[int, int], int], corner: tuple[int, int]) -> list[list[int]]:
    return [[at.get((corner[0] + i, corner[1] + j), -1) for j in range(SIDE)] for i in range(SIDE)]


def _fullest(found: Mapping[Any, list[list[int]]]) -> NDArray[np.int64]:
    """Blocks from which no cell can be gained by moving them: full ones, and else the fullest around each cell."""
    blocks = np.array(list(found.values()), dtype=np.int64)
    count = (blocks >= 0).sum((1, 2))
    best = np.zeros(int(blocks.max()) + 2, dtype=np.int64)  # per cell: the size of the fullest block that holds it
    np.maximum.at(best, blocks.ravel(), np.repeat(count, SIDE * SIDE))
    fullest = np.where(blocks >= 0, best[blocks], 0).max((1, 2))
    out: NDArray[np.int64] = blocks[count == fullest]
    return out


def near_blocks(xy_m: Floats) -> NDArray[np.int64]:
    """For cells without a grid: each cell with its nearest neighbours, ordered by distance, in a SIDE x SIDE block.

    xy_m: (cells, 2) metres -> (cells, SIDE, SIDE).
    """
    from scipy.spatial import cKDTree

    count = min(SIDE * SIDE, len(xy_m))
    _, near = cKDTree(xy_m).query(xy_m, k=count)
    out = np.full((len(xy_m), SIDE * SIDE), -1, dtype=np.int64)
    out[:, :count] = np.asarray(near).reshape(len(xy_m), count)
    return out.reshape(-1, SIDE, SIDE)
