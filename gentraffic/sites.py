"""Known base-station sites as one more number per cell."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gentraffic.errors import BadInput, NoData

if TYPE_CHECKING:
    import xarray as xr

REACH_M = 400.0  # a site farther than this from every cell's centre lies outside the place


def with_sites(context: xr.Dataset, path: Path, credit: str | None = None) -> xr.Dataset:
    """The context with `stations` (cell): sites, or radio cells where the table has `n_cells`, nearest to each cell.

    credit: who made the table, for the attribution.
        Raises BadInput for a table without lon and lat, NoData when no site lies in the place.
    """
    import pandas as pd
    import pyproj
    from scipy.spatial import cKDTree

    try:
        table = pd.read_parquet(path) if path.suffix.lower() == ".parquet" else pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise BadInput(f"{path}: not a readable table ({str(error).splitlines()[0]})") from error
    missing = [name for name in ("lon", "lat") if name not in table.columns]
    if missing:
        raise BadInput(f"{path}: no column {missing[0]!r}; sites need lon and lat in degrees")
    lon, lat = (pd.to_numeric(table[name], errors="coerce").to_numpy(dtype=np.float64) for name in ("lon", "lat"))
    if np.isnan(lon).any() or np.isnan(lat).any() or (np.abs(lat) > 90).any() or (np.abs(lon) > 180).any():
        raise BadInput(f"{path}: lon or lat is missing or not in degrees in at least one row")
    weight = table["n_cells"].to_numpy(dtype=np.float64) if "n_cells" in table.columns else np.ones(len(table))
    to_metres = pyproj.Transformer.from_crs("EPSG:4326", context.attrs["crs_wkt"], always_xy=True)
    sites = np.stack(to_metres.transform(lon, lat), axis=1)
    tree = cKDTree(np.stack([context["x"].values, context["y"].values], axis=1))
    reach = max(REACH_M, float(context.attrs.get("cell_m", 0.0)))
    distance, cell = tree.query(sites, distance_upper_bound=reach)
    inside = np.isfinite(distance)
    if not inside.any():
        raise NoData(f"{path}: none of its {len(table)} sites lies in {context.attrs.get('place', 'the place')}")
    count = np.bincount(cell[inside], weights=weight[inside], minlength=context.sizes["cell"])
    out = context.assign(stations=("cell", count.astype(np.float32), {"units": "1", "long_name": "known radio cells"}))
    credits = f"{context.attrs.get('attribution', '')}; {credit or f'sites: {path.name}'}"
    return out.assign_attrs(attribution=credits, sites_source=path.name)
