"""Forecasts of the steps after the end of a series, as a traffic Dataset."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from forecasters import fit_scaler
from gentraffic.dataset.calendar import MOST_DAYS
from gentraffic.dataset.panel import read_panel
from gentraffic.errors import BadInput, WrongUse
from gentraffic.forecasting.data import networks_of
from gentraffic.forecasting.fit import Fitted, forecast
from gentraffic.forecasting.fit import check_fits as check_suits
from gentraffic.forecasting.ranges import members_of
from gentraffic.generate.run import check_fits

if TYPE_CHECKING:
    import xarray as xr

    from gentraffic.forecasting.folder import TrainingScaler

Tell = Callable[[int, int], None]


def forecasts_after(
    fitted: Fitted,
    ds: xr.Dataset,
    services: list[str],
    horizon: int,
    *,
    name: str,
    known: TrainingScaler | None = None,
    tell: Tell | None = None,
) -> NDArray[np.float32]:
    """The `horizon` steps after the end of `ds`, (members, cells, horizon, services), in its units.

    name: what messages call `ds`. known: mean and spread of each cell; by default those of `ds` itself, of which there
    must be a day. tell: (members done, of). Raises WrongUse for missing services, BadInput for a series that is too
    short or of another cadence.
    """
    networks = networks_of(ds, services)
    check_suits(fitted, networks[0])
    if known is None and networks[0].steps < networks[0].per_day:
        raise BadInput(
            f"{name}: too short a series: {networks[0].steps} steps, a day ({networks[0].per_day}) is needed to "
            "scale each cell; give a longer history, or --scaler model for cells that the forecaster was fitted on"
        )
    scaler = None if known is None else known.of(ds["cell_id"].values)
    ahead = []
    for done, network in enumerate(networks, start=1):
        ahead.append(forecast(fitted, network, horizon, scaler))
        if tell is not None:
            tell(done, len(networks))
    return np.stack(ahead)


def check_ahead(ds: xr.Dataset, horizon: int, series: int, name: str) -> None:
    """Raise WrongUse for a horizon beyond the period that can be drawn, BadInput where the forecast of `ds` does not
    fit the memory. series: how many of each cell, members times services."""
    per_day = read_panel(ds).per_day
    if horizon > MOST_DAYS * per_day:
        raise WrongUse(f"--horizon {horizon}: give at most {MOST_DAYS * per_day} steps, which are {MOST_DAYS} days")
    values = ds.sizes.get("member", 1) * ds.sizes["cell"] * horizon * series
    check_fits(values, Path(f"forecast of {name}"), advice="give fewer members, a shorter horizon, or fewer cells")


def check_members(fitted: Fitted, ds: xr.Dataset, horizon: int, name: str) -> None:
    """Raise WrongUse for a history that has members, BadInput where errors of so many steps ahead are not known."""
    if "member" in ds.dims:
        raise WrongUse(f"--members: {name} has {ds.sizes['member']} members already; leave the option out")
    if fitted.errors is None:
        raise BadInput(
            "--members: the errors of this forecaster are not known (too short a validation part, or fitted with "
            "version 0.1); fit it again"
        )
    fitted.errors.check(horizon)


def members_after(
    fitted: Fitted,
    ds: xr.Dataset,
    ahead: NDArray[np.float32],
    services: list[str],
    *,
    known: TrainingScaler | None,
    members: int,
    seed: int,
) -> NDArray[np.float32]:
    """Forecasts that hold their doubt, (members, cells, horizon, services), for a history that `check_members` passed.

    ahead: (1, cells, horizon, services) what `forecasts_after` gave with the same services and `known`.
    """
    assert fitted.errors is not None
    [network] = networks_of(ds, services)
    scaler = fit_scaler(network.values) if known is None else known.of(ds["cell_id"].values)
    return members_of(fitted.errors, ahead[0], scaler.spread, network.week + network.steps, members, seed)


def continuation(
    ds: xr.Dataset, ahead: NDArray[np.float32], services: Sequence[str], attrs: dict[str, str]
) -> xr.Dataset:
    """A traffic Dataset of the steps after the end of `ds`. ahead: (members, cells, horizon, services)."""
    import xarray as xr

    from gentraffic.dataset.schema import COORD_ATTRS, check_traffic

    many = "member" in ds.dims or len(ahead) > 1

    times = ds["time"].values
    ends = times[-1] + (times[1] - times[0]) * np.arange(1, ahead.shape[2] + 1)
    out = ds.drop_vars(["time", *ds.data_vars]).assign_coords(time=(("time",), ends, COORD_ATTRS["time"]))
    if many and "member" not in ds.dims:
        out = out.assign_coords(member=(("member",), np.arange(len(ahead), dtype=np.int32), COORD_ATTRS["member"]))
    for s, name in enumerate(services):
        dims = ("member", "cell", "time") if many else ("cell", "time")
        table = ahead[..., s] if many else ahead[0, ..., s]
        out[name] = xr.DataArray(np.ascontiguousarray(table), dims=dims, attrs=dict(ds[name].attrs))
    out.attrs = {**ds.attrs, **attrs}
    check_traffic(out)
    return out
