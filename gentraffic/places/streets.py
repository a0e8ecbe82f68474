"""The map beneath a place: cut from what an extract holds, or given to traffic that has none."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gentraffic.dataset.basemap import basemap_coords, has_basemap, without_basemap
from gentraffic.dataset.schema import basemap_coords_of
from gentraffic.errors import NoData
from gentraffic.places.misplaced import box_around

if TYPE_CHECKING:
    import geopandas as gpd
    import xarray as xr
    from numpy.typing import NDArray

AROUND_M = (300.0, 3000.0)  # the map reaches at least, and at most, so far beyond the cells
READ_M = 6000.0  # lines are read so far beyond, so that they leave the map and do not end within it
AROUND = 0.08  # of their extent, between the two
_DEGREE_M = 110_000.0


def map_around(
    lon: NDArray[np.float64], lat: NDArray[np.float64], cell_m: float, pois: gpd.GeoDataFrame
) -> dict[str, Any]:
    """The coordinates of the map of cells and a little around them; none where the source has none.

    lon, lat: (cells,) degrees. pois: as `poi.osm.read_pois` gives them with `basemap`.
    """
    from poi.basemap import cut

    base = pois.attrs.get("basemap")
    if base is None or np.ptp(lon) > 180.0:
        return {}
    box = _box(lon, lat, cell_m)
    if (extent := pois.attrs["extent"]) is not None:
        box = max(box[0], extent[0]), max(box[1], extent[1]), min(box[2], extent[2]), min(box[3], extent[3])
    return basemap_coords(cut(base, box)) if box[0] < box[2] and box[1] < box[3] else {}


def with_streets(ds: xr.Dataset, path: str | Path) -> xr.Dataset:
    """Traffic or a context with the map of a file: an OpenStreetMap extract, a context or traffic that carries one.

    Raises NoData where the file has no streets there, BadInput and PoiError for a file that cannot be read."""
    import shapely

    from gentraffic.io.files import read_context, read_traffic
    from poi.osm import read_pois

    found: dict[Any, Any] = {}
    if Path(path).suffix.lower() in (".nc", ".zarr", ".parquet"):
        with_map = read_context(path) if _is_context(path) else read_traffic(path)
        found = basemap_coords_of(with_map) if has_basemap(with_map) else {}
    elif "lon" in ds.coords:
        lon, lat, cell_m = ds["lon"].values, ds["lat"].values, float(ds.attrs.get("cell_m", 0.0))
        area = shapely.box(*_box(lon, lat, cell_m))
        found = map_around(lon, lat, cell_m, read_pois(path, area, basemap=box_around(area, READ_M).bounds))
    if not found:
        raise NoData(f"{path} has no streets where the cells lie: give an OpenStreetMap extract of the place")
    return without_basemap(ds).assign_coords(found)


def with_street_lengths(context: xr.Dataset, path: str | Path) -> xr.Dataset:
    """A context with the map of an OpenStreetMap extract (`with_streets`) and the length of its streets in each cell.

    Lengths are NaN, which is not known, in cells that reach beyond the extract; there are none where it covers no cell.
    Raises as `with_streets` does.
    """
    import geopandas as gpd
    import shapely

    from gentraffic.dataset.geometry import cell_shapes
    from gentraffic.places.ground import variables_of
    from poi.count import sum_ground
    from poi.osm import read_pois

    context = with_streets(context, path)
    if Path(path).suffix.lower() in (".nc", ".zarr", ".parquet"):
        return context  # a context or traffic, which carries a map alone
    shapes = cell_shapes(context)
    stations = context.attrs["kind"] == "stations"
    radius = float(context.attrs["radius_m"]) if stations else None
    area = box_around(shapely.box(*shapely.total_bounds(shapes)), (radius or 0.0) + READ_M)
    pois = read_pois(path, area, basemap=area.bounds)
    ground, extent = pois.attrs.get("ground"), pois.attrs["extent"]
    if ground is None or extent is None:
        return context
    cells = gpd.GeoDataFrame(geometry=shapes, crs="EPSG:4326")
    cells.attrs["kind"] = context.attrs["kind"] if stations else "cells"
    found = variables_of(sum_ground(ground, cells, radius_m=radius), ground)
    reach = shapely.buffer(shapes, (radius or 0.0) / _DEGREE_M)
    covered = shapely.covers(shapely.box(*extent), reach)
    if not covered.any():
        return context
    lengths = {}
    for name, (dims, values, attrs) in found.items():
        if name.startswith("street_length"):
            lengths[name] = (dims, np.where(covered, values, np.float32("nan")), attrs)
    return context.assign(lengths)


def _is_context(path: str | Path) -> bool:
    import xarray as xr

    if Path(path).suffix.lower() == ".parquet":
        return False
    engine = "zarr" if Path(path).is_dir() else "h5netcdf"
    try:
        with xr.open_dataset(path, engine=engine, chunks=None) as opened:
            return "poi_count" in opened
    except (OSError, ValueError):
        return True  # its reader says what is wrong


def _box(lon: NDArray[np.float64], lat: NDArray[np.float64], cell_m: float) -> tuple[float, float, float, float]:
    wide = AROUND * float(max(np.ptp(lat), np.ptp(lon)))
    up = (AROUND_M[0] + cell_m) / _DEGREE_M + min(AROUND_M[1] / _DEGREE_M, wide)
    across = up / max(0.01, math.cos(math.radians(float(np.abs(lat).max()))))
    return float(lon.min()) - across, float(lat.min()) - up, float(lon.max()) + across, float(lat.max()) + up
