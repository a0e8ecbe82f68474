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

    from gentraffic.io.source_columns import Reading
    from gentraffic.planning.load import Load

MAST_M = 1.0  # rows so near one another stand on one mast
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


def read_sites(path: Path, crs_wkt: str, reading: Reading | None = None) -> tuple[Sites, tuple[str, ...]]:
    """A table of points as `--stations` takes it, perhaps with `cost`, and what a reader must know.

    reading: how the table names its columns and writes numbers. Rows that cannot be where they are said to be (at 0,0,
    or far from all others) are left out, with a note. Raises BadFile, BadInput for anything else.
    """
    import pyproj

    from gentraffic.dataset.misplaced import misplaced, notes_of
    from gentraffic.io.source_columns import Reading, id_columns, id_text, points
    from gentraffic.io.source_table import read_source
    from gentraffic.places.sites import amounts_in

    reading = reading or Reading()
    table = read_source(path)
    lon, lat = points(table, reading)
    cost = amounts_in(table, "cost", reading)
    columns = id_columns(table, reading.named("id"))
    ids = [str(i + 1) for i in range(len(lon))]
    if columns:
        code, known = id_text(table, columns)
        ids = [str(known[c]) for c in code]
    wrong = misplaced(lon, lat)
    names = [f"row {table.first + i}" + (f" (id {name})" if columns else "") for i, name in enumerate(ids)]
    notes = (*table.notes, *notes_of(wrong, names, Path(path).name))
    kept = np.flatnonzero(~wrong.any)
    lon, lat, cost, ids = lon[kept], lat[kept], cost[kept], [ids[i] for i in kept]
    to_metres = pyproj.Transformer.from_crs("EPSG:4326", crs_wkt, always_xy=True)
    return Sites(np.stack(to_metres.transform(lon, lat), axis=1), lon, lat, ids, cost), notes


def masts_of(sites: Sites, name: str) -> tuple[Sites, tuple[str, ...]]:
    """One site for all rows of `sites` at one place, within MAST_M, such as the sectors of a mast; and a note."""
    _, first = np.unique(np.round(sites.xy_m / MAST_M), axis=0, return_index=True)
    first = np.sort(first)
    if len(first) == len(sites.ids):
        return sites, ()
    note = f"{name}: {len(sites.ids):,} rows are the sectors of {len(first):,} masts; a mast counts as one site"
    ids = [sites.ids[i] for i in first]
    return Sites(sites.xy_m[first], sites.lon[first], sites.lat[first], ids, sites.cost[first]), (note,)


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
        weights["residents alone"] = np.nan_to_num(context["population"].values[at].astype(np.float64))
    return {name: np.tile(weight, (24, 1)) for name, weight in weights.items() if weight.any()}
