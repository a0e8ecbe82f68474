"""Forecasts of the steps after the end of a series, as a traffic Dataset."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gentraffic.errors import BadInput
from gentraffic.forecasting.data import networks_of
from gentraffic.forecasting.fit import Fitted, check_fits, forecast

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
    check_fits(fitted, networks[0])
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


def continuation(
    ds: xr.Dataset, ahead: NDArray[np.float32], services: Sequence[str], attrs: dict[str, str]
) -> xr.Dataset:
    """A traffic Dataset of the steps after the end of `ds`. ahead: (members, cells, horizon, services)."""
    import xarray as xr

    from gentraffic.dataset.schema import COORD_ATTRS, check_traffic

    times = ds["time"].values
    ends = times[-1] + (times[1] - times[0]) * np.arange(1, ahead.shape[2] + 1)
    out = ds.drop_vars(["time", *ds.data_vars]).assign_coords(time=(("time",), ends, COORD_ATTRS["time"]))
    for s, name in enumerate(services):
        dims = ("member", "cell", "time") if "member" in ds.dims else ("cell", "time")
        table = ahead[..., s] if "member" in ds.dims else ahead[0, ..., s]
        out[name] = xr.DataArray(np.ascontiguousarray(table), dims=dims, attrs=dict(ds[name].attrs))
    out.attrs = {**ds.attrs, **attrs}
    check_traffic(out)
    return out
