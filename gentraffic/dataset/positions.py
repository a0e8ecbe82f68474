"""Whether it is known where the cells of a traffic file lie: positions are often secret, series are not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gentraffic.errors import WrongUse

if TYPE_CHECKING:
    import xarray as xr


def has_positions(ds: xr.Dataset) -> bool:
    """Whether it is known where the cells lie."""
    return str(ds.attrs.get("kind")) != "unplaced"


def need_positions(ds: xr.Dataset, what: str) -> None:
    """Raise WrongUse, in one line, where `what` is asked of cells whose positions nobody told."""
    if not has_positions(ds):
        said = "needs to know where the cells lie, and this file has no positions"
        raise WrongUse(f"{what} {said}: import it again with --cells FILE, or with columns lon, lat")
