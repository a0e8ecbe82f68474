"""What is measured already, of a place that is to be drawn: `history`, `known` and `users` of a request."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gentraffic.dataset.schema import NOT_HERE, NOTHING_LEFT
from gentraffic.errors import BadInput, NoData, WrongUse

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray


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


def read_observations(
    history: Path | xr.Dataset | None,
    known: Path | xr.Dataset | None,
    users: Path | xr.Dataset | None,
    service: str | None = None,
) -> Observations | None:
    """The three measured files or Datasets, None where there is none. Raises WrongUse and BadInput."""
    given = {"history": history, "known": known, "users": users}
    if all(value is None for value in given.values()):
        return None
    if history is not None and known is not None:
        raise WrongUse("--history and --known: give one; a --known file may hold the history as well")
    found = {name: None if value is None else read_gappy(value, name) for name, value in given.items()}
    main = found["known"] if found["known"] is not None else found["history"]
    named = None
    if main is not None:
        named = one_of(main, service, "known" if found["known"] is not None else "history")
    if found["users"] is not None:
        crowd = found["users"][users_of(found["users"])].values
        if not np.isfinite(crowd).all():
            raise BadInput(
                f"--users: {int((~np.isfinite(crowd)).sum())} values of the users are NaN: fill them, or leave the "
                "cell out of the file"
            )
    return Observations(found["history"], found["known"], found["users"], named)


def read_gappy(given: Path | xr.Dataset, what: str) -> xr.Dataset:
    """Measured traffic in which NaN stands for what nobody measured. Raises as `read_traffic` for all else."""
    from gentraffic.dataset.schema import check_traffic_with_gaps, with_every_step
    from gentraffic.io.files import as_in_memory, read_traffic_with_gaps

    if isinstance(given, str | Path):
        ds, called = read_traffic_with_gaps(given), str(given)
    else:
        ds, called = with_every_step(as_in_memory(given)), f"--{what}"
        check_traffic_with_gaps(ds)
    if "member" in ds.dims:
        raise BadInput(f"{called} has members: give measured traffic, (cell, time)")
    if ds.sizes["time"] < 2:
        raise BadInput(f"{called} holds one step: its cadence cannot be told; give two or more")
    return ds


def one_of(ds: xr.Dataset, name: str | None, what: str) -> str:
    """The traffic variable of a file: its only one that is not `users`, or `name`. Raises WrongUse."""
    have = [str(v) for v in ds.data_vars if str(v) != "users"]
    if isinstance(name, str) and name in have:
        return name
    if len(have) == 1:
        return have[0]
    raise WrongUse(f"--{what}: it holds {', '.join(have) or 'no traffic'}; name one of these with --service")


def has_measurements(given: Observations, ids: NDArray[Any]) -> NDArray[np.bool_] | None:
    """(cells,) in which of the cells with these ids (cells,) known traffic holds a value; None where none was given."""
    if given.known is None or given.service is None:
        return None
    some = np.isfinite(given.known[given.service].values).any(axis=1)
    named = set(map(str, given.known["cell_id"].values[some].tolist()))
    return np.array([str(cell) in named for cell in ids.tolist()], dtype=bool)


def measured_steps(given: Observations, ids: NDArray[Any], utc: NDArray[np.datetime64]) -> NDArray[np.int32] | None:
    """(cells,) at how many of the steps to be drawn, utc (steps,), cells with these ids (cells,) were measured; None
    where none was."""
    if given.known is None or given.service is None:
        return None
    mine = np.isin(given.known["time"].values.astype("datetime64[ns]"), utc.astype("datetime64[ns]"))
    counted = np.isfinite(given.known[given.service].values[:, mine]).sum(axis=1)
    counts = dict(zip(map(str, given.known["cell_id"].values.tolist()), counted.tolist(), strict=True))
    out = np.array([counts.get(str(cell), 0) for cell in ids.tolist()], dtype=np.int32)
    return out if out.any() else None


def told_of(
    given: Observations, context: xr.Dataset, counts: NDArray[np.int32] | None, utc: NDArray[np.datetime64]
) -> dict[str, str]:
    """The attribute `measured_cells` of traffic that is drawn given known traffic: in how many of the cells there is
    some, and what of the file is not used as it may be thought. {} where none was given.

    counts: (cells,) `measured_steps` of those that are drawn. utc: (steps,) that are drawn. Raises NoData where no cell
    of the file is one of the place, WrongUse where nothing is left to draw.
    """
    if given.known is None or given.service is None:
        return {}
    values = given.known[given.service].values
    here = set(map(str, context["cell_id"].values.tolist()))
    names = list(map(str, given.known["cell_id"].values.tolist()))
    mine = np.array([name in here for name in names], dtype=bool)
    if not mine.any():
        raise NoData(NOT_HERE.format(len(names), names[0]))
    if counts is not None and (counts == len(utc)).all():
        raise WrongUse(NOTHING_LEFT)
    some = mine & np.isfinite(values).any(axis=1)
    text = f"{int(some.sum()):,} of {context.sizes['cell']:,} cells"
    if not np.isin(given.known["time"].values.astype("datetime64[ns]"), utc.astype("datetime64[ns]")).any():
        text += ", in another period, which is followed"
    if silent := int((some & (np.nan_to_num(values).max(axis=1) == 0)).sum()):
        text += f"; {silent:,} of them carried nothing and {'stays' if silent == 1 else 'stay'} at 0"
    if other := [str(name) for name, own in zip(names, mine, strict=True) if not own]:
        are, were = ("is no cell", "was") if len(other) == 1 else ("are no cells", "were")
        text += f"; {len(other):,} of the file {are} of the place (such as {other[0]}) and {were} not used"
    return {"measured_cells": text}


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
    from gentraffic.dataset.schema import MAP_VARIABLES, PER_CELL, PLACE_ATTRS, cell_columns
    from poi.categories import CATEGORIES

    ds = given.main
    if ds is None:
        raise WrongUse("--users alone names no place: add --city, --context or the like")
    if ds.attrs["kind"] == "unplaced":
        what = "known" if given.known is not None else "history"
        raise WrongUse(f"--{what}: the file does not say where its cells lie: add --city, --context or the like")
    kept = [name for name in (*PER_CELL, *cell_columns(ds), *MAP_VARIABLES) if name in ds.coords]
    out = ds[kept].drop_vars("time", errors="ignore")
    out = out.assign(poi_count=(("cell", "category"), np.zeros((ds.sizes["cell"], len(CATEGORIES)), dtype=np.int32)))
    attrs = {name: ds.attrs[name] for name in PLACE_ATTRS if name in ds.attrs}
    return out.assign_coords(category=list(CATEGORIES)).assign_attrs(attrs)


def minutes_of(ds: xr.Dataset) -> int:
    """The cadence of a file in minutes."""
    times = ds["time"].values
    return int((times[1] - times[0]) / np.timedelta64(1, "m"))
