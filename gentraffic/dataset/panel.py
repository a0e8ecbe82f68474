"""A traffic Dataset as arrays: the one way from a file's service to NumPy, with its times and its places."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gentraffic.dataset.amounts import conversion
from gentraffic.dataset.schema import has_positions, one_service
from gentraffic.dataset.services import with_sum
from gentraffic.errors import BadInput, WrongUse

if TYPE_CHECKING:
    import xarray as xr

HOUR_S, DAY_S, WEEK_S = 3600, 86_400, 604_800
MONDAY_S = 4 * DAY_S  # 5 January 1970 was the first Monday


@dataclass(frozen=True)
class Panel:
    """One service of a traffic Dataset. name: what messages call the file.

    values: (members, cells, steps) float32 in `units`; one member where the Dataset has no such dimension. cell_id:
    (cells,) as the Dataset has them. start_s: UTC seconds since 1970 at which the first step starts; step_s: seconds of
    a step, 0 where there is one step and the cadence is unknown. xy_m: (cells, 2) centres, metres. grid: (cells, 2) row
    and column, None where cells have none. location: (cells,) cells of one number share their ground, None where the
    Dataset does not say. kind: grid, cells, stations, or unplaced (xy_m NaN).
    """

    name: str
    service: str
    units: str
    values: NDArray[np.float32]
    cell_id: NDArray[Any]
    start_s: int
    step_s: int
    timezone: str
    xy_m: NDArray[np.float64]
    grid: NDArray[np.int64] | None
    location: NDArray[Any] | None
    kind: str

    def check_measured(self) -> None:
        """Raise WrongUse for several members."""
        if len(self.values) > 1:
            raise WrongUse(f"{self.name} holds {len(self.values)} members: it must be measured, one series per cell")

    @property
    def ids(self) -> NDArray[Any]:
        """(cells,) `cell_id` as text, so that 7 and "7" are the same cell."""
        return self.cell_id.astype(str)

    @property
    def steps(self) -> int:
        """How many steps there are."""
        return int(self.values.shape[-1])

    @property
    def utc(self) -> NDArray[np.int64]:
        """UTC seconds since 1970 at which the steps start, (steps,)."""
        return self.start_s + self.step_s * np.arange(self.steps, dtype=np.int64)

    @property
    def clock(self) -> NDArray[np.int64]:
        """Seconds since 1970 that a clock of the place shows at the steps, (steps,)."""
        import pandas as pd

        utc = pd.DatetimeIndex(self.utc.astype("datetime64[s]")).tz_localize("UTC")
        return np.asarray(utc.tz_convert(self.timezone).tz_localize(None).to_numpy().astype("datetime64[s]"), np.int64)

    @property
    def hour(self) -> NDArray[np.float64]:
        """Local hour of the week at the steps, from 0 on Monday at midnight to below 168, (steps,)."""
        return (self.clock - MONDAY_S) % WEEK_S / 3600

    @property
    def weekday(self) -> NDArray[np.int64]:
        """Local weekday at the steps, Monday 0, (steps,)."""
        return (self.clock - MONDAY_S) // DAY_S % 7

    @property
    def per_day(self) -> int:
        """Steps of a day. Raises BadInput where there is one step, or steps do not fill the day."""
        if not self.step_s:
            raise BadInput("the traffic holds one time step: a series is needed to forecast")
        if DAY_S % self.step_s:
            raise BadInput(f"steps of {self.step_s / 60:g} min do not divide the day: resample the traffic first")
        return DAY_S // self.step_s

    def in_units(self, units: str) -> tuple[Panel, list[str]]:
        """(the panel in `units`, a note) where both are volumes or rates of data; (itself, no note) else."""
        factor = conversion(self.units, units, self.step_s or HOUR_S)
        if self.units == units or factor is None:
            return self, []
        values = (self.values * np.float64(factor)).astype(np.float32)
        return replace(self, values=values, units=units), [f"{self.name} was converted from {self.units} to {units}"]

    def cut(self, first: int, steps: int) -> Panel:
        """`steps` steps from the position `first` on."""
        return replace(self, values=self.values[..., first : first + steps], start_s=int(self.utc[first]))

    def only(self, cells: NDArray[np.intp]) -> Panel:
        """Some of the cells, by position, in the order asked for. cells: (kept,) positions."""
        return replace(
            self,
            values=self.values[:, cells],
            cell_id=self.cell_id[cells],
            xy_m=self.xy_m[cells],
            grid=None if self.grid is None else self.grid[cells],
            location=None if self.location is None else self.location[cells],
        )

    def like(self, other: Panel) -> Panel:
        """The cells and steps of another panel that is a part of the same file."""
        at = {cell: i for i, cell in enumerate(self.cell_id.tolist())}
        rows = np.array([at[cell] for cell in other.cell_id.tolist()], dtype=np.intp)
        first = (other.start_s - self.start_s) // (self.step_s or 1)
        return self.only(rows).cut(first, other.steps)


def _centres(ds: xr.Dataset) -> NDArray[np.float64]:
    """(cells, 2) metres, NaN where it is not known where the cells lie."""
    if not has_positions(ds):
        return np.full((ds.sizes["cell"], 2), np.nan)
    return np.stack([ds["x"].values, ds["y"].values], axis=1).astype(np.float64)


def read_panel(ds: xr.Dataset, service: str | None = None, *, name: str = "the traffic") -> Panel:
    """One service of a traffic Dataset, or a sum of two (`services.SUMS`); None for the main one.

    Raises WrongUse for a service that it does not have."""
    ds = with_sum(ds, service)
    service = one_service(ds, service)
    values = ds[service].values
    times = ds["time"].values.astype("datetime64[s]").astype(np.int64)
    grid = None
    if "row" in ds.coords:
        grid = np.stack([ds["row"].values, ds["col"].values], axis=1).astype(np.int64)
    return Panel(
        name=name,
        service=service,
        units=str(ds[service].attrs["units"]),
        values=np.asarray(values if values.ndim == 3 else values[None], dtype=np.float32),
        cell_id=ds["cell_id"].values,
        start_s=int(times[0]),
        step_s=int(times[1] - times[0]) if len(times) > 1 else 0,
        timezone=str(ds.attrs["timezone"]),
        xy_m=_centres(ds),
        grid=grid,
        location=ds["location"].values if "location" in ds.coords else None,
        kind=str(ds.attrs.get("kind", "")),
    )
