"""Traffic of a grid as rasters: NetCDF (time, y, x) for cdo, GDAL and QGIS, .bil and .grd for planning tools."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray

from gentraffic.dataset.geometry import Lattice
from gentraffic.dataset.schema import services
from gentraffic.errors import BadInput, WrongUse
from gentraffic.io.atomic import replacing
from gentraffic.io.export.counters import step_seconds
from gentraffic.io.export.folder import folder
from gentraffic.io.files import ADDED, EXACT, to_cf, with_char_attributes
from gentraffic.io.geotiff import Band, grid_of, profile_of, sample_type

if TYPE_CHECKING:
    import xarray as xr

MAX_BLOCK = 2**20  # values of one chunk of the NetCDF file
FILL = float.fromhex("0x1.ep+122")  # NC_FILL_FLOAT and NC_FILL_DOUBLE
NODATA = -9999.0  # of .bil
BLANK = float(np.float32(1.70141e38))  # what a grid of Surfer has where nothing is


def write_gridded(ds: xr.Dataset, path: str | Path) -> dict[str, Any]:
    """Write one member as NetCDF: each service (time, y, x), the fill value where no cell is, y northwards,
    `cell_id` (y, x).

    y and x are metres in the grid mapping `crs`; `lon`, `lat` (y, x) degrees. The fill value is the usual one of
    NetCDF: NCO takes NaN for a value, and its sums are NaN then. Raises BadInput for cells on no grid.
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
    variables["cell_id"] = _ids(ds["cell_id"].values, grid, height, width)
    for name in services(ds):
        held = ds[name].values.reshape(-1, steps).T
        values = np.full((steps, height, width), np.nan, dtype=sample_type([held]))
        values[:, grid.row, grid.col] = held
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


def _ids(ids: NDArray[Any], grid: Lattice, height: int, width: int) -> tuple[Any, ...]:
    """A variable with the ids of the cells where they lie: numbers where double precision holds them, else text."""
    about = {"long_name": "identifier of the cell", "coordinates": "lon lat", "grid_mapping": "crs"}
    if ids.dtype.kind in "iu" and int(np.abs(ids.astype(object)).max()) <= EXACT:
        numbers = np.full((height, width), np.nan)
        numbers[grid.row, grid.col] = ids
        return ("y", "x"), numbers, about | {"units": "1"}
    text = np.full((height, width), "", dtype=object)
    text[grid.row, grid.col] = ids.astype(str)
    return ("y", "x"), text, about


def _encoding(out: xr.Dataset, steps: int, pixels: int) -> dict[str, dict[str, Any]]:
    pack = {"zlib": True, "complevel": 1, "shuffle": True, "fletcher32": True}
    encoding: dict[str, dict[str, Any]] = {}
    for name, variable in out.variables.items():
        if variable.dims == ("time", "y", "x"):
            together = max(1, min(steps, MAX_BLOCK // pixels))  # whole maps: what a time slider asks for
            fill = {"_FillValue": variable.dtype.type(FILL)}
            encoding[str(name)] = {**pack, **fill, "chunksizes": (together, *variable.shape[1:])}
        elif name == "cell_id":
            encoding[str(name)] = {**pack, **({"dtype": "S1"} if variable.dtype.kind == "O" else {"_FillValue": FILL})}
        else:
            encoding[str(name)] = {"_FillValue": None}
    for name in ("time", "time_bnds"):
        encoding[name] |= {"units": "seconds since 1970-01-01 00:00:00", "calendar": "standard", "dtype": "float64"}
    return encoding


def write_planning(ds: xr.Dataset, path: str | Path, *, statistic: str | None = None) -> dict[str, Any]:
    """Write one service of one member as a folder with a raster that planning tools read, and what belongs to it.

    traffic.bil, .hdr, .prj (ESRI): a band per step, or with `statistic` (mean, peak, busy_mean) one band of it.
    traffic.grd (Surfer 6, binary): one band, the statistic, the mean where none is named; traffic.prj is of both.
    bands.csv: what each band is, and .aux.xml for GDAL and QGIS. Pixels without a cell are -9999, in .grd blank.

    Raises WrongUse for another statistic and for values beyond float32, BadInput for cells on no grid.
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
                _fill(raster, grid, bands[".bil"], NODATA)
            with rasterio.MemoryFile() as memory:  # GDAL makes a .grd as a copy only
                with memory.open(**profile | {"driver": "GTiff", "count": 1, "nodata": BLANK}) as raster:
                    _fill(raster, grid, one, BLANK)
                copy(memory.name, str(temporary / "traffic.grd"), driver="GSBG")
        except rasterio.errors.RasterioError as error:
            raise BadInput(f"cannot write {path}: {error}") from error
        lines = ["file,band,what,units", *(f"traffic.bil,{i},{b[0]},{b[1]}" for i, b in enumerate(bands[".bil"], 1))]
        lines.append(f"traffic.grd,1,{one[0][0]},{units}")
        (temporary / "bands.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        for name, told in (("traffic.bil", bands[".bil"]), ("traffic.grd", one)):
            (temporary / f"{name}.aux.xml").write_text(_notes(ds, told), encoding="utf-8")
    return {"bands": len(bands[".bil"]), "statistic": one[0][0], "seconds_per_band": step_seconds(ds)}


def _notes(ds: xr.Dataset, bands: list[Band]) -> str:
    """What GDAL and QGIS read beside a raster that cannot say it: its coordinate system, what each band is."""
    told = "".join(
        f'<PAMRasterBand band="{i}"><Description>{escape(name)}</Description><UnitType>{escape(units)}</UnitType>'
        "</PAMRasterBand>\n"
        for i, (name, units, _) in enumerate(bands, start=1)
    )
    crs = escape(str(ds.attrs["crs_wkt"]))
    return f'<PAMDataset>\n<SRS dataAxisToSRSAxisMapping="1,2">{crs}</SRS>\n{told}</PAMDataset>\n'


def _fill(raster: Any, grid: Lattice, bands: list[Band], nodata: float) -> None:
    """As `fill_bands`, for formats of float32 that know no NaN and no description of a band."""
    values = rounded_to_float32(np.stack([values for _, _, values in bands], axis=1))
    band = np.full(raster.shape, nodata, dtype=np.float32)
    for number in range(len(bands)):
        band[raster.height - 1 - grid.row, grid.col] = values[:, number]
        raster.write(band, number + 1)


def rounded_to_float32(values: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Values as float32; what rounding leaves of one goes to the next so large that it does not show: sums stay, zeros
    too.

    values: (cells, bands), as what is returned; remainders go along the longer axis.

    Raises WrongUse for what float32 does not hold, or is `BLANK`.
    """
    if not values.size or float(values.max()) >= BLANK:
        most = float(values.max(initial=0))
        raise WrongUse(f"values up to {most:.3g} are more than .bil and .grd hold: give another --unit")
    if values.dtype == np.float32:
        return values
    turned = values.shape[0] > values.shape[1]
    exact = values.astype(np.float64) if turned else values.astype(np.float64).T  # (along, across)
    out = np.empty(exact.shape, dtype=np.float32)
    left = np.zeros(exact.shape[1])
    for row, true in zip(out, exact, strict=True):
        given = np.where(true > 1e6 * np.abs(left), left, 0.0)
        row[:] = true + given
        left += true - row
    return out if turned else out.T
