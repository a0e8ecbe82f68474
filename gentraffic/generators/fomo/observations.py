"""What is measured already, as the array of cells and steps that FoMo fills."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gentraffic.errors import BadInput, NoData, WrongUse
from gentraffic.generators.observed import Observations, minutes_of, users_of
from gentraffic.modelling.features import WEEK, Floats
from gentraffic.modelling.known_cells import KnownCells

if TYPE_CHECKING:
    import xarray as xr

HISTORY_HOURS = 24 * 14  # of a history inform the draw


@dataclass(frozen=True)
class FoMoTask:
    """What is to be drawn: cells x T steps in a row, and what is known of them; NaN = not told.

    values: (cells, T) measured traffic. users: (cells, T). hour: (T,) local hour of the week. minutes: cadence. The
    first `given` steps are history that the caller already has: they inform the draw and are not part of the result.
    """

    context: xr.Dataset
    values: NDArray[np.float32]
    users: NDArray[np.float32]
    hour: Floats
    minutes: int
    given: int = 0


def known_cells_of(task: FoMoTask) -> KnownCells | None:
    """What was measured, by the hour of the week; None where nothing was, or nothing but zeros."""
    rows = np.flatnonzero((~np.isnan(task.values)).any(axis=1))
    values = task.values[rows]
    if not np.nansum(values):
        return None
    slot = np.floor(task.hour).astype(np.int64) % WEEK
    onto = (slot[:, None] == np.arange(WEEK)).astype(np.float64)
    count = np.rint((~np.isnan(values)) @ onto).astype(np.int64)
    sums = np.nan_to_num(values).astype(np.float64) @ onto
    week = np.where(count > 0, sums / np.maximum(count, 1), np.nan)
    return KnownCells(rows, week, count, values, "")


def field_of(
    given: Observations | None, context: xr.Dataset, utc: NDArray[np.datetime64], minutes: int, token: int
) -> FoMoTask:
    """The field to fill. utc: (steps,). token: steps of the model's tokens; a shorter history tells it nothing.

    Raises BadInput for a history shorter than that, NoData where nothing that is known lies in the place and period.
    """
    import pandas as pd

    before = 0
    if given is not None and given.history is not None:
        have = given.history.sizes["time"]
        if have < token:
            raise BadInput(f"--history: {have} steps; the model reads {token} at a time: give {token} steps or more")
        before = min(have, HISTORY_HOURS * 60 // minutes)
        utc = np.concatenate([given.history["time"].values[-before:], utc])
    local = pd.DatetimeIndex(utc).tz_localize("UTC").tz_convert(str(context.attrs["timezone"]))
    hour = (local.day_of_week * 24 + local.hour + local.minute / 60).to_numpy().astype(np.float64)
    blank = np.full((context.sizes["cell"], len(utc)), np.nan, dtype=np.float32)
    values, users = blank.copy(), blank.copy()
    if given is not None and given.main is not None and given.service is not None:
        _place(given.main, given.service, context, utc, values)
        if np.isnan(values).all():
            raise NoData(
                "nothing is known: no cell and hour with data lies in the place and period; stouter-fast draws other "
                "periods by the weeks that cells were measured in"
            )
        if given.known is not None and not np.nansum(values):
            raise NoData("--known: all that was measured in the place is 0, which does not tell what other cells carry")
    if given is not None and given.users is not None:
        if minutes_of(given.users) != minutes:
            raise WrongUse(f"--users is at {minutes_of(given.users)} min, the draw at {minutes}: resample the users")
        _place(given.users, users_of(given.users), context, utc, users)
        if np.isnan(users).all():
            raise NoData("--users: none of its cells and hours lies in the place and period")
    return FoMoTask(context, values, users, hour, minutes, before)


def _place(
    ds: xr.Dataset, name: str, context: xr.Dataset, utc: NDArray[np.datetime64], out: NDArray[np.float32]
) -> None:
    """Write the values of a file where its cells and times stand in the field."""
    cells = {str(cell): i for i, cell in enumerate(context["cell_id"].values.tolist())}  # numbers may be text in a file
    times = {when: i for i, when in enumerate(utc.astype("datetime64[ns]").tolist())}
    rows = [(i, cells[str(cell)]) for i, cell in enumerate(ds["cell_id"].values.tolist()) if str(cell) in cells]
    columns = [(i, times[when]) for i, when in enumerate(ds["time"].values.tolist()) if when in times]
    if rows and columns:
        (from_row, to_row), (from_column, to_column) = (np.array(pairs).T for pairs in (rows, columns))
        out[np.ix_(to_row, to_column)] = ds[name].values[np.ix_(from_row, from_column)]
