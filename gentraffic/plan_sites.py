"""Sites of a deployment: tables of them, weights other than traffic, and their map."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gentraffic.errors import BadInput, WrongUse

if TYPE_CHECKING:
    import xarray as xr

    from gentraffic.planning import Load

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Sites:
    """xy_m: (n, 2) in the place's CRS. lon, lat: (n,) degrees. ids: (n,) text. cost: (n,)."""

    xy_m: Floats
    lon: Floats
    lat: Floats
    ids: list[str]
    cost: Floats

    def lonlat(self, rows: NDArray[np.int64]) -> list[Any]:
        """Points in longitude and latitude."""
        import shapely

        return [shapely.Point(lon, lat) for lon, lat in zip(self.lon[rows], self.lat[rows], strict=True)]


def read_sites(path: Path, crs_wkt: str) -> Sites:
    """A CSV or Parquet table with lon, lat and optionally id and cost. Raises BadInput for anything else."""
    import pandas as pd
    import pyproj

    try:
        table = pd.read_parquet(path) if path.suffix.lower() == ".parquet" else pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise BadInput(f"{path}: not a readable table ({str(error).splitlines()[0]})") from error
    missing = [name for name in ("lon", "lat") if name not in table.columns]
    if missing:
        raise BadInput(f"{path}: no column {missing[0]!r}; sites need lon and lat in degrees")
    number = {name: pd.to_numeric(table[name], errors="coerce").to_numpy(dtype=np.float64)
              for name in ("lon", "lat", "cost") if name in table.columns}  # fmt: skip
    for name, limit in (("lon", 180.0), ("lat", 90.0), ("cost", np.inf)):
        if name in number and not (np.isfinite(number[name]) & (np.abs(number[name]) <= limit)).all():
            row = int(np.argmin(np.isfinite(number[name]) & (np.abs(number[name]) <= limit)))
            raise BadInput(f"{path}: {name} is {table[name].iloc[row]!r} in row {row + 1}: give a number")
    if not len(table):
        raise BadInput(f"{path}: no site in it")
    cost = number.get("cost", np.ones(len(table)))
    if (cost < 0).any():
        raise BadInput(f"{path}: cost is {cost.min():g} in row {int(np.argmin(cost)) + 1}: give 0 or more")
    to_metres = pyproj.Transformer.from_crs("EPSG:4326", crs_wkt, always_xy=True)
    xy = np.stack(to_metres.transform(number["lon"], number["lat"]), axis=1)
    ids = table["id"].astype(str).tolist() if "id" in table.columns else [str(i + 1) for i in range(len(table))]
    return Sites(xy, number["lon"], number["lat"], ids, cost)


def points_of(ds: xr.Dataset) -> Sites:
    """The cells' centres as candidates of cost 1."""
    xy = np.stack([ds["x"].values, ds["y"].values], axis=1)
    ids = ds["cell_id"].values.astype(str).tolist()
    return Sites(xy, ds["lon"].values, ds["lat"].values, ids, np.ones(len(xy)))


def weights_of(context: xr.Dataset, load: Load) -> dict[str, Floats]:
    """Demands (24, cells) that a planner without traffic would take: POIs alone and, where known, residents.

    Raises WrongUse where the context lacks a cell."""
    row = {str(cell): k for k, cell in enumerate(context["cell_id"].values.tolist())}
    missing = [cell for cell in load.ids if str(cell) not in row]
    if missing:
        raise WrongUse(f"--context lacks {len(missing)} of {len(load.ids)} cells, the first is {missing[0]!r}")
    at = [row[str(cell)] for cell in load.ids]
    weights = {"POIs alone": context["poi_count"].values.sum(axis=1)[at].astype(np.float64)}
    if "population" in context:
        weights["residents alone"] = context["population"].values[at].astype(np.float64)
    return {name: np.tile(weight, (24, 1)) for name, weight in weights.items() if weight.any()}


def write_sites_map(load: Load, sites: Sites, chosen: NDArray[np.int64], path: Path) -> None:
    """The demand as `gentraffic.webmap` shows it, with the new sites as markers."""
    from gentraffic.webmap import Marker, write_map

    markers = [Marker(float(sites.lon[i]), float(sites.lat[i]), f"new site {k + 1}: {sites.ids[i]}")
               for k, i in enumerate(chosen)]  # fmt: skip
    place = str(load.ds.attrs.get("place", ""))
    plural = "s" if len(chosen) != 1 else ""
    titled = load.ds.assign_attrs(title=f"{len(chosen)} new site{plural} and the traffic{place and f', {place}'}")
    write_map(titled, path, service=load.service, markers=markers)
