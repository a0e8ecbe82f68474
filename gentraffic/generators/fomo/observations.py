"""What is measured already: `sample --history`, `--known` and `--users`, as the field that FoMo fills."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gentraffic.dataset.calendar import FREQUENCIES
from gentraffic.errors import BadInput, NoData, WrongUse

if TYPE_CHECKING:
    import xarray as xr

    from gentraffic.dataset.calendar import Calendar
    from gentraffic.generators.fomo.drawing import FoMoTask
    from gentraffic.generators.fomo.folder import FoMoBundle
    from gentraffic.generators.weekly import Settings

HISTORY_HOURS = 24 * 14  # of a history inform the draw
OPTIONS = ("history", "known", "users")


@dataclass(frozen=True)
class Observations:
    """The files of the three options, each a traffic Dataset without members or None.

    history: ends where the draw begins. known: holds NaN, or lacks cells or hours, where something is to be drawn.
    users: active users at the steps to be drawn (and of the history). service: the traffic variable.
    """

    history: xr.Dataset | None
    known: xr.Dataset | None
    users: xr.Dataset | None
    service: str | None

    @property
    def main(self) -> xr.Dataset | None:
        """The file that says where and when, if any."""
        return self.known if self.known is not None else self.history

    @property
    def units(self) -> str | None:
        """The units of what is measured; None where nothing is."""
        return None if self.main is None or self.service is None else str(self.main[self.service].attrs["units"])


def read_observations(options: dict[str, Any]) -> Observations | None:
    """The files that the options name, None where they name none. Raises WrongUse and BadInput."""
    if all(options.get(name) is None for name in OPTIONS):
        return None
    if options.get("history") is not None and options.get("known") is not None:
        raise WrongUse("--history and --known: give one; a --known file may hold the history as well")
    found = {name: None if options.get(name) is None else read_gappy(options[name]) for name in OPTIONS}
    main = found["known"] if found["known"] is not None else found["history"]
    service = None
    if main is not None:
        service = one_of(main, options.get("service"), "known" if found["known"] is not None else "history")
    if found["users"] is not None:
        crowd = found["users"][users_of(found["users"])].values
        if not np.isfinite(crowd).all():
            raise BadInput(
                f"{options['users']}: users hold {int((~np.isfinite(crowd)).sum())} NaN values: fill them, or leave "
                "the cell out of the file"
            )
    return Observations(found["history"], found["known"], found["users"], service)


def read_gappy(path: Path) -> xr.Dataset:
    """A traffic file in which NaN stands for what nobody measured. Raises as `read_traffic` for all else."""
    from gentraffic.io.files import read_traffic_with_gaps

    ds = read_traffic_with_gaps(path)
    if "member" in ds.dims:
        raise BadInput(f"{path} has members: give measured traffic, (cell, time)")
    if ds.sizes["time"] < 2:
        raise BadInput(f"{path} holds one step: its cadence cannot be told; give two or more")
    return ds


def one_of(ds: xr.Dataset, name: str | None, what: str) -> str:
    """The traffic variable of a file: `name`, or the only one that is not `users`. Raises WrongUse."""
    have = [str(v) for v in ds.data_vars if str(v) != "users"]
    if name is not None and name in have:
        return name
    if name is None and len(have) == 1:
        return have[0]
    raise WrongUse(f"--{what}: it holds {', '.join(have) or 'no traffic'}; name one of these with --service")


def users_of(ds: xr.Dataset) -> str:
    """The variable that counts users: `users`, or the only one. Raises WrongUse."""
    have = [str(v) for v in ds.data_vars]
    if "users" in have:
        return "users"
    if len(have) == 1:
        return have[0]
    raise WrongUse(f"--users: it holds {', '.join(have)}; call the variable with the users `users`")


def context_of(given: Observations) -> xr.Dataset:
    """The cells of the measured file as a context without POIs. Raises WrongUse where there is no such file."""
    from gentraffic.dataset.schema import PER_CELL, PLACE_ATTRS
    from poi.categories import CATEGORIES

    ds = given.main
    if ds is None:
        raise WrongUse("--users alone names no place: add --city, --context or the like")
    kept = [name for name in PER_CELL if name in ds.coords]
    out = ds[kept].drop_vars("time", errors="ignore")
    out = out.assign(poi_count=(("cell", "category"), np.zeros((ds.sizes["cell"], len(CATEGORIES)), dtype=np.int32)))
    attrs = {name: ds.attrs[name] for name in PLACE_ATTRS if name in ds.attrs}
    return out.assign_coords(category=list(CATEGORIES)).assign_attrs(attrs)


def minutes_of(ds: xr.Dataset) -> int:
    """The cadence of a file in minutes."""
    times = ds["time"].values
    return int((times[1] - times[0]) / np.timedelta64(1, "m"))


def period_of(
    given: Observations | None, calendar_utc: NDArray[np.datetime64], days: int, freq: str, chosen: set[str]
) -> tuple[NDArray[np.datetime64], int]:
    """The UTC steps to draw and their cadence in minutes. chosen: which of start, days and freq the caller typed.

    A history goes on for `days` from its last step at its own cadence; a known file is filled where it lies, unless
    --start names another period. Raises WrongUse where the options contradict the file.
    """
    minutes = 60 // FREQUENCIES[freq]
    if given is None or given.main is None:
        return calendar_utc, minutes
    own = minutes_of(given.main)
    if "freq" in chosen and own != minutes:
        raise WrongUse(f"--freq {freq}: the measured file is at {own} min; leave --freq out, or resample the file")
    if given.history is not None:
        if "start" in chosen:
            raise WrongUse("--start does not go with --history: the draw begins where the history ends")
        first = given.history["time"].values[-1] + np.timedelta64(own, "m")
        return first + (np.arange(days * 1440 // own) * own).astype("timedelta64[m]"), own
    if "start" not in chosen and "days" not in chosen:
        times: NDArray[np.datetime64] = given.main["time"].values
        return times, own
    if own != minutes:
        raise WrongUse(f"the known file is at {own} min, the period at {minutes}: give --freq {own}min or another file")
    return calendar_utc, own


def field_of(
    given: Observations | None, context: xr.Dataset, utc: NDArray[np.datetime64], minutes: int, token: int
) -> FoMoTask:
    """The field to fill. token: steps of the model's tokens; a shorter history tells it nothing.

    Raises BadInput for a history shorter than that, NoData where nothing that is known lies in the place and period.
    """
    import pandas as pd

    from gentraffic.generators.fomo.drawing import FoMoTask

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
            raise NoData("nothing is known: no cell and hour with data lies in the place and period")
    if given is not None and given.users is not None:
        if minutes_of(given.users) != minutes:
            raise WrongUse(f"--users is at {minutes_of(given.users)} min, the draw at {minutes}: resample the users")
        _place(given.users, users_of(given.users), context, utc, users)
        if np.isnan(users).all():
            raise NoData("--users: none of its cells and hours lies in the place and period")
    return FoMoTask(context, values, users, hour, minutes, before)


def draw_unmeasured(
    bundle: FoMoBundle,
    context: xr.Dataset,
    calendar: Calendar,
    recipe: Settings,
    *,
    cells: list[int] | None,
    on_step: Callable[[int, int], None] | None,
) -> NDArray[np.float32]:
    """Relative traffic of a place of which nothing is measured: (members, cells, steps). Raises as `draw_field`."""
    from gentraffic.generators.fomo.drawing import draw_field

    field = field_of(None, context, calendar.utc, 60 // calendar.per_hour, bundle.model.token[2])
    return draw_field(bundle, field, recipe, cells=cells, on_step=on_step)


def _place(
    ds: xr.Dataset, name: str, context: xr.Dataset, utc: NDArray[np.datetime64], out: NDArray[np.float32]
) -> None:
    """Write the values of a file where its cells and times stand in the field."""
    cells = {cell: i for i, cell in enumerate(context["cell_id"].values.tolist())}
    times = {when: i for i, when in enumerate(utc.astype("datetime64[ns]").tolist())}
    rows = [(i, cells[cell]) for i, cell in enumerate(ds["cell_id"].values.tolist()) if cell in cells]
    columns = [(i, times[when]) for i, when in enumerate(ds["time"].values.tolist()) if when in times]
    if rows and columns:
        (from_row, to_row), (from_column, to_column) = (np.array(pairs).T for pairs in (rows, columns))
        out[np.ix_(to_row, to_column)] = ds[name].values[np.ix_(from_row, from_column)]
