"""Traffic of a grid as rasters: NetCDF (time, y, x) for cdo, GDAL and QGIS, .bil and .grd for planning tools."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gentraffic.dataset.schema import services
from gentraffic.errors import BadInput, WrongUse
from gentraffic.io.atomic import replacing
from gentraffic.io.export.counters import step_seconds
from gentraffic.io.export.folder import folder
from gentraffic.io.files import ADDED, to_cf, with_char_attributes
from gentraffic.io.geotiff import Band, grid_of, profile_of

if TYPE_CHECKING:
    import xarray as xr

MAX_BLOCK = 2**20  # values of one chunk of the NetCDF file
NODATA = -9999.0  # of .bil
BLANK = float(np.float32(1.70141e38))  # what a grid of Surfer has where nothing is


def write_gridded(ds: xr.Dataset, path: str | Path) -> dict[str, Any]:
    """Write one member as NetCDF: each service (time, y, x), NaN where no cell is, y northwards, `cell_id` (y, x).

    y and x are metres in the grid mapping `crs`; `lon`, `lat` (y, x) degrees. Raises BadInput for cells on no grid.
    """
    import pyproj
    import xarray as xr

    grid, height, width = grid_of(ds, path, 1)
    steps = ds.sizes["time"]
    x = grid.west + grid.side * (np.arange(width) + 0.5)
    y = grid.south + grid.side * (np.arange(height) + 0.5)
    lon, lat = pyproj.Transformer.from_crs(ds.attrs["crs_wkt"], "EPSG:4326", always_xy=True).transform(
        *np.meshgrid(x, y)
    )
    flat = to_cf(ds)
    crs = {**flat["crs"].attrs} if "crs" in flat.coords else {"crs_wkt": str(ds.attrs["crs_wkt"])}
    crs |= {"spatial_ref": str(ds.attrs["crs_wkt"]), "GeoTransform": _transform(grid.west, grid.south, grid.side)}
    axes = {"x": (x, "X"), "y": (y, "Y")}
    coords: dict[str, Any] = {
        name: (name, values, {
            "standard_name": f"projection_{name}_coordinate", "units": "m", "axis": axis,
            "long_name": f"{name} of the centre of the cell",
        }) for name, (values, axis) in axes.items()
    }  # fmt: skip
    coords |= {
        "lon": (("y", "x"), lon, {"standard_name": "longitude", "units": "degrees_east"}),
        "lat": (("y", "x"), lat, {"standard_name": "latitude", "units": "degrees_north"}),
        "time": ("time", ds["time"].values, flat["time"].attrs),
        "time_bnds": (("time", "bnds"), flat["time_bnds"].values),
    }
    variables: dict[str, Any] = {"crs": ((), np.int32(0), crs)}
    ids = _on_grid(flat["cell_id"].values, grid, height, width)
    if ids is not None:
        about_ids = {"long_name": "identifier of the cell", "units": "1"}
        variables["cell_id"] = (("y", "x"), ids, about_ids | {"coordinates": "lon lat", "grid_mapping": "crs"})
    for name in services(ds):
        values = np.full((steps, height, width), np.nan, dtype=np.float32)
        values[:, grid.row, grid.col] = ds[name].values.reshape(-1, steps).T
        attrs = flat[name].attrs | {"grid_mapping": "crs", "coordinates": "lon lat"}
        variables[name] = (("time", "y", "x"), values, attrs)
    added = (ADDED, "featureType", "timezone")
    about = {key: value for key, value in flat.attrs.items() if key not in added}
    out = xr.Dataset(variables, coords, {**about, "timezone": ds.attrs["timezone"]})
    content = out.to_netcdf(engine="h5netcdf", encoding=_encoding(out, steps, height * width))
    with replacing(path, (".nc",)) as temporary:
        temporary.write_bytes(with_char_attributes(content))
    return {"shape": [steps, height, width], "axes": ["time", "y", "x"]}


def _transform(west: float, south: float, side: float) -> str:
    """GDAL's transform of a raster whose first row is the southern one."""
    return " ".join(repr(float(v)) for v in (west, side, 0.0, south, 0.0, side))


def _on_grid(ids: NDArray[Any], grid: Any, height: int, width: int) -> NDArray[np.float64] | None:
    """Numbers of the cells where they lie; None for ids that are text."""
    if ids.dtype.kind not in "iuf":
        return None
    out = np.full((height, width), np.nan)
    out[grid.row, grid.col] = ids
    return out


def _encoding(out: xr.Dataset, steps: int, pixels: int) -> dict[str, dict[str, Any]]:
    pack = {"zlib": True, "complevel": 1, "shuffle": True, "fletcher32": True}
    encoding: dict[str, dict[str, Any]] = {}
    for name, variable in out.variables.items():
        if variable.dims == ("time", "y", "x"):
            together = max(1, min(steps, MAX_BLOCK // pixels))  # whole maps: what a time slider asks for
            encoding[str(name)] = {**pack, "chunksizes": (together, *variable.shape[1:])}
        elif name == "cell_id":
            encoding[str(name)] = dict(pack)
        else:
            encoding[str(name)] = {"_FillValue": None}
    for name in ("time", "time_bnds"):
        encoding[name] |= {"units": "seconds since 1970-01-01 00:00:00", "calendar": "standard", "dtype": "float64"}
    return encoding


def write_planning(ds: xr.Dataset, path: str | Path, *, statistic: str | None = None) -> dict[str, Any]:
    """Write one service of one member as a folder with a raster that planning tools read, and what belongs to it.

    traffic.bil, .hdr, .prj (ESRI): a band per step, or with `statistic` (mean, peak, busy_mean) one band of it.
    traffic.grd (Surfer 6, binary): one band, the statistic, the mean where none is named; traffic.prj is of both.
    bands.csv: what each band is. Pixels without a cell are -9999, in .grd blank.

    Raises WrongUse for another statistic, BadInput for cells on no grid.
    """
    import rasterio
    from rasterio.shutil import copy

    from gentraffic.dataset.summary import summary

    (service,) = services(ds)
    units = str(ds[service].attrs["units"])
    statistics = summary(ds, service)
    names = [str(name) for name in statistics.data_vars if name != "busy_hour"]
    if statistic is not None and statistic not in names:
        raise WrongUse(f"--statistic {statistic}: give one of {', '.join(names)}")
    one: list[Band] = [(statistic or "mean", units, statistics[statistic or "mean"].values)]
    steps = ds.sizes["time"]
    times = np.datetime_as_string(ds["time"].values, unit="s")
    values = ds[service].values.reshape(-1, steps)
    all_steps: list[Band] = [(f"{times[step]}Z", units, values[:, step]) for step in range(steps)]
    bands = {".bil": all_steps if statistic is None else one, ".grd": one}
    grid, height, width = grid_of(ds, path, len(bands[".bil"]))
    with folder(path, ds, "planning") as temporary:
        profile = profile_of(ds, grid, height, width, len(bands[".bil"]))
        try:
            bil = profile | {"driver": "EHdr", "nodata": NODATA}
            with rasterio.open(temporary / "traffic.bil", "w", **bil) as raster:
                _fill(raster, grid, height, width, bands[".bil"], NODATA)
            with rasterio.MemoryFile() as memory:  # GDAL makes a .grd as a copy only
                with memory.open(**profile | {"driver": "GTiff", "count": 1, "nodata": BLANK}) as raster:
                    _fill(raster, grid, height, width, one, BLANK)
                copy(memory.name, str(temporary / "traffic.grd"), driver="GSBG")
        except rasterio.errors.RasterioError as error:
            raise BadInput(f"cannot write {path}: {error}") from error
        lines = ["file,band,what,units", *(f"traffic.bil,{i},{b[0]},{b[1]}" for i, b in enumerate(bands[".bil"], 1))]
        lines.append(f"traffic.grd,1,{one[0][0]},{units}")
        (temporary / "bands.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        for stray in temporary.glob("*.aux.xml"):
            stray.unlink()  # GDAL's own notes; bands.csv says the same to everybody
    return {"bands": len(bands[".bil"]), "statistic": one[0][0], "seconds_per_band": step_seconds(ds)}


def _fill(raster: Any, grid: Any, height: int, width: int, bands: list[Band], nodata: float) -> None:
    """As `fill_bands`, for formats that know no NaN and no description of a band."""
    band = np.full((height, width), nodata, dtype=np.float32)
    for number, (_, _, values) in enumerate(bands, start=1):
        band[height - 1 - grid.row, grid.col] = values
        raster.write(band, number)
