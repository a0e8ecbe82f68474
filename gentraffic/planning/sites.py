"""Sites of a deployment: tables of them, weights other than traffic, and their map."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gentraffic.errors import BadInput, WrongUse

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from gentraffic.planning.load import Load

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
        """The points of rows (k,) of the sites, in longitude and latitude."""
        import shapely

        return [shapely.Point(lon, lat) for lon, lat in zip(self.lon[rows], self.lat[rows], strict=True)]


def read_sites(path: Path, crs_wkt: str) -> Sites:
    """A table of points as `--stations` takes it, perhaps with `cost`. Raises BadFile, BadInput for anything else."""
    import pyproj

    from gentraffic.io.source_columns import Reading, id_columns, id_text, points
    from gentraffic.io.source_table import read_source
    from gentraffic.places.sites import amounts_in

    table = read_source(path)
    lon, lat = points(table, Reading())
    cost = amounts_in(table, "cost")
    to_metres = pyproj.Transformer.from_crs("EPSG:4326", crs_wkt, always_xy=True)
    columns = id_columns(table)
    ids = [str(i + 1) for i in range(len(lon))]
    if columns:
        code, names = id_text(table, columns)
        ids = [str(names[c]) for c in code]
    return Sites(np.stack(to_metres.transform(lon, lat), axis=1), lon, lat, ids, cost)


def sites_of(table: pd.DataFrame, crs_wkt: str) -> Sites:
    """A table in memory as sites: columns lon, lat in degrees, or geometry of points; perhaps `id` and `cost`.

    Raises BadInput where the places or numbers are missing.
    """
    import pyproj

    if "geometry" in table and "lon" not in table:
        frame: Any = table  # a GeoDataFrame
        points = (frame if frame.crs is None else frame.to_crs("EPSG:4326")).geometry
        table = table.assign(lon=points.x, lat=points.y)
    missing = [name for name in ("lon", "lat") if name not in table]
    if missing:
        raise BadInput(f"the table of sites has no column {missing[0]!r}: give lon and lat in degrees")
    lon, lat = (table[name].to_numpy(dtype=np.float64) for name in ("lon", "lat"))
    cost = table["cost"].to_numpy(dtype=np.float64) if "cost" in table else np.ones(len(table))
    if not (np.isfinite(lon).all() and np.isfinite(lat).all() and np.isfinite(cost).all() and (cost >= 0).all()):
        raise BadInput("the table of sites has a lon, lat or cost that is missing or below 0: correct or drop the row")
    to_metres = pyproj.Transformer.from_crs("EPSG:4326", crs_wkt, always_xy=True)
    ids = [str(name) for name in (table["id"] if "id" in table else range(1, len(table) + 1))]
    return Sites(np.stack(to_metres.transform(lon, lat), axis=1), lon, lat, ids, cost)


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
