"""The past of cells that were measured: mean weeks, as a sampler is told them, and levels.

Protocol P2 of metrics.md: the same cells, a later week. A profile is the usual week that a model makes of the past
(`modelling.weekly_profile`), over its mean; beside it stands how far to trust it, n / (n + 1) for n days of a weekday.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gentraffic.dataset.amounts import per_hour
from gentraffic.errors import WrongUse
from gentraffic.modelling.features import WEEK, Floats, Places, Scaler
from gentraffic.modelling.levels import LevelModel
from gentraffic.modelling.weekly_profile import level_now

if TYPE_CHECKING:
    import xarray as xr

    from gentraffic.modelling.measured import Source


@dataclass(frozen=True)
class History:
    """What was measured earlier in some cells.

    week: (cells, 7, 24 k) mean traffic of each weekday, Monday first, over the cell's mean; k steps an hour. days: (7,)
    how many days each is the mean of. level: (cells,) mean traffic, in `units`. daily: (cells, D) the mean of each day
    over the cell's, from `weekday` on; None where only the mean weeks are known.
    """

    cell_id: NDArray[Any]
    week: NDArray[np.float32]
    days: NDArray[np.int64]
    level: Floats
    units: str = "1"
    daily: NDArray[np.float32] | None = None
    weekday: int = 0

    def rows(self, ids: NDArray[Any]) -> NDArray[np.int64]:
        """Where each of some cells stands here, -1 for those without a past. Raises WrongUse where all are.

        ids: (cells,).
        """
        at = {
            str(cell): row for row, cell in enumerate(self.cell_id.tolist())
        }  # numbers in one file are text in another
        rows = np.array([at.get(str(cell), -1) for cell in ids.tolist()], dtype=np.int64)
        if (rows < 0).all():
            raise WrongUse(f"--history holds none of the {len(ids)} cells (its first is {str(self.cell_id[0])!r})")
        return rows

    def now(self, memory: float) -> Floats:
        """The level that the past leads up to (`usual.level_now`), in `units`: (cells,)."""
        if self.daily is None:
            return self.level
        return self.level * level_now(self.daily, self.weekday, memory)

    def step_factor(self, per_hour_drawn: int) -> float:
        """What `level` is multiplied by for steps of another length: 4 where GB per 15 min become GB per hour."""
        own = self.week.shape[2] // 24
        return per_hour(self.units, 3600 / own) / per_hour(self.units, 3600 / per_hour_drawn)

    def unit(self, levels: LevelModel, places: Places, ids: NDArray[Any]) -> float:
        """The traffic, in `units`, of the mean cell of a place: what relative traffic 1 stands for.

        ids: (cells,) of `places`.
        """
        if places.network in levels.networks:
            return levels.networks[places.network].mean_traffic
        rows = self.rows(ids)
        apart = np.log(self.level[rows[rows >= 0]]) - levels.relative(places)[0][rows >= 0]
        return float(np.exp(apart.mean()))


def history_of(source: Source, units: str = "1") -> History:
    """The past that a source of whole days (`training_data.read_source`) holds."""
    week, days = mean_week(source.ratio, source.weekday, np.ones(source.ratio.shape[1], dtype=bool))
    daily = source.ratio.mean(axis=2)
    return History(source.cell_id, week.astype(np.float32), days, source.level, units, daily, source.weekday)


def read_history(traffic: xr.Dataset, service: str | None = None) -> History:
    """The past of a Traffic Dataset, whole days from the first local midnight on. Raises as `read_source`."""
    from gentraffic.dataset.schema import one_service
    from gentraffic.modelling.measured import read_source

    name = one_service(traffic, service)
    return history_of(read_source(traffic, [], name), str(traffic[name].attrs["units"]))


def mean_week(
    days: NDArray[Any], weekday: int, use: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The mean of some days by weekday: days (..., D, S), `weekday` of the first -> (..., 7, S) Monday first, (7,).

    Zeros where no day is used.
    use: (D,) True for the days that count.
    """
    onto = np.zeros((7, days.shape[-2]))
    at = np.flatnonzero(use)
    onto[(weekday + at) % 7, at] = 1.0
    count = onto.sum(axis=1)
    week = (onto / np.maximum(count, 1)[:, None]) @ days.astype(np.float64)
    return week, count.astype(np.int64)


def as_profile(
    week: NDArray[Any], days: NDArray[np.int64], weekday: int, per_hour: int, scaler: Scaler
) -> NDArray[np.float32]:
    """Mean weeks as a sampler takes them, from `weekday` on: (cells, 2, 168 k).

    Steps finer than those of the past hold the mean of their hour.
    week: (cells, 7, 24 j) over the mean, Monday first. days: (7,) how many days each weekday is the mean of.
    """
    cells, steps = len(week), week.shape[2]
    turn = np.roll(week, -weekday, axis=1)
    j = steps // 24
    if j % per_hour:  # the past is coarser, or its steps do not fit: hours are all that is known
        turn = np.repeat(turn.reshape(cells, WEEK, j).mean(axis=2), per_hour, axis=1)
    else:
        turn = turn.reshape(cells, WEEK * per_hour, j // per_hour).mean(axis=2)
    trust = np.repeat(np.roll(days / (days + 1.0), -weekday), 24 * per_hour)
    mean = scaler.forward(turn) * (trust > 0)
    return np.stack([mean, np.broadcast_to(trust, mean.shape)], axis=1).astype(np.float32)
