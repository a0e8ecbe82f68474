"""The cells around those of a context: `margin_poi_count` (margin, category), `margin_x`, `margin_y` (margin).

They are there where the file that a place was counted in reaches further than the place, so that a cell has the same
surroundings whatever area is drawn around it. A context may lack them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gentraffic.errors import BadInput

if TYPE_CHECKING:
    import xarray as xr

VARIABLES = {"margin_poi_count": ("margin", "category"), "margin_x": ("margin",), "margin_y": ("margin",)}


def check_margin(ds: xr.Dataset) -> None:
    """Raise BadInput where a context has cells around it without places or counts."""
    for name, dims in VARIABLES.items() if "margin" in ds.dims else ():
        if name not in ds or ds[name].dims != dims:
            raise BadInput(
                f"{name} ({', '.join(dims)}) is missing: the dimension margin is of the cells around a place"
            )
        values = ds[name].values
        if not np.isfinite(values).all() or (name == "margin_poi_count" and (values < 0).any()):
            raise BadInput(f"{name} holds negative or missing values")
