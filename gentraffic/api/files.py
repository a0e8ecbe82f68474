"""`gentraffic.read_traffic`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gentraffic.api.language import speaks_python

if TYPE_CHECKING:
    import xarray as xr


@speaks_python
def read_traffic(path: str | Path) -> xr.Dataset:
    """The traffic in a file (.nc, .zarr, .parquet, .csv), checked. Raises WrongUse for the suffix, BadInput else."""
    from gentraffic.io.files import read_traffic as read

    return read(path)
