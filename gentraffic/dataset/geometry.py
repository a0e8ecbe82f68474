"""The outlines of cells: polygons or points in longitude and latitude, and the lattice that regular cells lie on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gentraffic.dataset.schema import need_positions
from gentraffic.errors import BadInput

if TYPE_CHECKING:
    import xarray as xr

# How far, in cell sides, a centre may lie from its lattice point. Rounded coordinates stay far below.
LATTICE_TOLERANCE = 0.05


def cell_shapes(ds: xr.Dataset) -> NDArray[Any]:
    """Shapely geometries in EPSG:4326, (cells,): the footprint, else the grid's square about x, y, else the point.

    Raises BadInput where a footprint is no polygon.
    """
    import pyproj
    import shapely

    need_positions(ds, "a map or the outline of a cell")
    if "footprint" in ds.coords:
        try:
            shapes: NDArray[Any] = shapely.from_wkt(ds["footprint"].values.astype(object))
        except shapely.errors.GEOSException as error:
            raise BadInput(f"a footprint is not a WKT polygon: {str(error).splitlines()[0]}") from None
        return shapes
    if ds.attrs["kind"] != "grid":
        return np.asarray(shapely.points(ds["lon"].values, ds["lat"].values))
    half = float(ds.attrs["cell_m"]) / 2
    x = ds["x"].values[:, None] + half * np.array([-1, 1, 1, -1])  # (cells, 4), anticlockwise from the south-west
    y = ds["y"].values[:, None] + half * np.array([-1, -1, 1, 1])
    to_degrees = pyproj.Transformer.from_crs(ds.attrs["crs_wkt"], "EPSG:4326", always_xy=True)
    lon, lat = to_degrees.transform(x, y)
    # 1e-7 degrees are a centimetre: enough to make the corners of neighbours the same number.
    return np.asarray(shapely.polygons(np.stack([lon, lat], axis=-1).round(7)))


def footprint_text(shapes: NDArray[Any]) -> NDArray[Any]:
    """The WKT that the coordinate `footprint` holds, six decimals of a degree (0.1 m), (cells,) of text.

    shapes: (cells,) polygons in degrees.
    """
    import shapely

    return np.asarray(shapely.to_wkt(shapes, rounding_precision=6), dtype=object)


@dataclass(frozen=True)
class Lattice:
    """Square cells side by side: `row` counts northwards and `col` eastwards from 0, (cells,); the rest is metres."""

    row: NDArray[np.intp]
    col: NDArray[np.intp]
    west: float
    south: float
    side: float


def lattice(ds: xr.Dataset) -> Lattice:
    """The lattice that the cells lie on. They need not be called a grid: the Telecom Italia cells of Milan lie on one.

    Raises BadInput where the centres do not lie on a lattice of squares along x and y.
    """
    need_positions(ds, "a grid")
    if ds.attrs["kind"] == "stations":
        raise BadInput("stations do not lie on a grid; write .nc, .zarr, .parquet or .csv")
    x, y = ds["x"].values, ds["y"].values
    side = float(ds.attrs["cell_m"]) if ds.attrs["kind"] == "grid" else _typical_side(ds)
    if "row" in ds.coords:
        row, col = ds["row"].values.astype(np.intp), ds["col"].values.astype(np.intp)
    else:
        row, col = (np.rint((centre - centre.min()) / side).astype(np.intp) for centre in (y, x))
    row, col = row - row.min(), col - col.min()
    # Least squares for x = side col + x0, y = side row + y0: rounded outlines give the side only roughly.
    across = np.concatenate([col - col.mean(), row - row.mean()])
    if across.any():
        fitted = float(across @ np.concatenate([x - x.mean(), y - y.mean()]) / (across @ across))
        side = side if abs(fitted - side) < 1e-9 * side else fitted  # 250, not 249.9999999999999
    x0, y0 = x.mean() - side * col.mean(), y.mean() - side * row.mean()
    apart = np.hypot(x - x0 - side * col, y - y0 - side * row)
    unique = len(np.unique(row * (col.max() + 1) + col)) == len(row)
    if not (unique and side > 0 and apart.max() < LATTICE_TOLERANCE * side):
        far = ds["cell_id"].values[int(np.argmax(apart))]
        raise BadInput(f"the cells do not lie on a grid (cell {far} least of all); write .nc, .zarr, .parquet or .csv")
    return Lattice(row, col, float(x0 - side / 2), float(y0 - side / 2), side)


def _typical_side(ds: xr.Dataset) -> float:
    import pyproj
    import shapely

    to_metres = pyproj.Transformer.from_crs("EPSG:4326", ds.attrs["crs_wkt"], always_xy=True)
    outlines = shapely.transform(cell_shapes(ds), lambda c: np.stack(to_metres.transform(c[:, 0], c[:, 1]), axis=1))
    return float(np.sqrt(np.median(shapely.area(outlines))))


APART_M = (15.0, 80.0)  # how far sectors of one mast are drawn from it, at least and at most


def sectors_apart(ds: xr.Dataset) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Longitude and latitude, (cells,) each, at which a map draws stations: those of one place, whose azimuth is told,
    a little away from it in that direction, a quarter of the way to the next mast; of one azimuth one behind the other.

    A sector that stands alone, or without azimuth, stays where it is.
    """
    lon, lat = ds["lon"].values.astype(np.float64), ds["lat"].values.astype(np.float64)
    if "azimuth" not in ds.coords or ds["azimuth"].dtype.kind not in "iuf":
        return lon, lat
    azimuth = ds["azimuth"].values.astype(np.float64)
    places, of, count = np.unique(np.stack([lon, lat], 1).round(6), axis=0, return_inverse=True, return_counts=True)
    of = of.reshape(-1)
    moved = np.flatnonzero(np.isfinite(azimuth) & (count[of] > 1))
    metre = np.array([1 / (111_320.0 * max(0.01, np.cos(np.radians(lat.mean())))), 1 / 111_320.0])  # in degrees
    rank = np.zeros(len(lon))
    seen: dict[tuple[int, float], int] = {}
    for i in moved.tolist():
        key = int(of[i]), float(azimuth[i] % 360)
        rank[i] = seen[key] = seen.get(key, -1) + 1
    away = _to_next(places / metre) / 4 * (1 + rank[moved] / 2)
    direction = np.radians(azimuth[moved])
    lon[moved] += away * np.sin(direction) * metre[0]
    lat[moved] += away * np.cos(direction) * metre[1]
    return lon, lat


def _to_next(places_m: NDArray[np.float64]) -> float:
    """The median distance, in metres, from a place to the next, such that a quarter of it is within APART_M."""
    from scipy.spatial import cKDTree

    least, most = (4 * metres for metres in APART_M)
    if len(places_m) < 2:
        return most
    return float(np.clip(np.median(cKDTree(places_m).query(places_m, k=2)[0][:, 1]), least, most))
