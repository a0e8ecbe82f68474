"""Maps of a grid as GeoTIFF: cloud-optimised (COG), a band per time step or statistic.

Bands are float32, as traffic is; float64 where float32 would round them: means of members, other units.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gentraffic.dataset.geometry import Lattice, lattice
from gentraffic.dataset.schema import services
from gentraffic.errors import BadInput
from gentraffic.io.atomic import replacing

if TYPE_CHECKING:
    import xarray as xr

MAX_BANDS = 65535  # TIFF counts samples per pixel in 16 bits
MAX_PIXELS = 2**27  # of one band: half a gigabyte of float32
TILE = 128  # pixels; a tile of a COG holds all bands
MAX_TILE_BYTES = 2**28  # of all bands; beyond, the tiles are of one band each, which no COG has


def write_tif(ds: xr.Dataset, path: str | Path) -> None:
    """Write checked traffic of one service and one member; pixels without a cell are NaN, the nodata value.

    The bands are in the CRS of `crs_wkt`, north up; attributes become tags, with `units` and `timezone`.
    Raises BadInput where the cells do not lie on a grid.
    """
    (service,) = services(ds)
    steps = ds.sizes["time"]
    values = ds[service].values.reshape(-1, steps)  # a single member goes as none
    times = np.datetime_as_string(ds["time"].values, unit="s")
    units = str(ds[service].attrs["units"])
    bands = [(f"{times[step]}Z", units, values[:, step]) for step in range(steps)]
    write_bands(ds, path, bands, {"service": service})


Band = tuple[str, str, NDArray[Any]]  # description, units, (cells,) values


def grid_of(ds: xr.Dataset, path: str | Path, bands: int) -> tuple[Lattice, int, int]:
    """The lattice of the cells, its rows and columns. Raises BadInput for none, or one too large for a raster."""
    grid = lattice(ds)
    height, width = int(grid.row.max()) + 1, int(grid.col.max()) + 1
    if bands > MAX_BANDS or height * width > MAX_PIXELS:
        raise BadInput(f"{path}: {width} x {height} pixels in {bands} bands are too many for a raster; write .zarr")
    return grid, height, width


def sample_type(values: Iterable[NDArray[Any]]) -> str:
    """The type of a raster that holds the values as they are: float32, or float64 where that would round them.

    values: arrays of any shape, such as (cells,) of each band.
    """
    with np.errstate(over="ignore"):  # what is beyond float32 is not equal, as what is rounded
        exact = all(
            v.dtype == np.float32 or np.array_equal(v, v.astype(np.float32), equal_nan=True)
            for v in map(np.asarray, values)
        )
    return "float32" if exact else "float64"


def profile_of(
    ds: xr.Dataset, grid: Lattice, height: int, width: int, bands: int, dtype: str = "float32"
) -> dict[str, Any]:
    """What GDAL is told of a raster of the cells, north up."""
    import rasterio

    return {
        "dtype": dtype, "count": bands, "height": height, "width": width, "crs": ds.attrs["crs_wkt"],
        "transform": rasterio.Affine(grid.side, 0, grid.west, 0, -grid.side, grid.south + grid.side * height),
        "nodata": float("nan"),
    }  # fmt: skip


def write_bands(ds: xr.Dataset, path: str | Path, bands: list[Band], tags: Mapping[str, str]) -> None:
    """Write one number per cell and band; the attributes of `ds` and `tags` become tags.

    bands: each its description, its units and its values (cells,).
    """
    import rasterio
    from rasterio.shutil import copy

    grid, height, width = grid_of(ds, path, len(bands))
    dtype = np.dtype(sample_type(values for _, _, values in bands))
    profile = profile_of(ds, grid, height, width, len(bands), dtype.name) | {
        "driver": "GTiff", "compress": "deflate", "predictor": 3, "interleave": "band", "bigtiff": "if_safer",
    }  # fmt: skip
    # GDAL reports a full disk while it closes a file in its log only: it writes to memory, and Python to the disk.
    with rasterio.MemoryFile() as memory, rasterio.MemoryFile() as optimised:
        with memory.open(**profile) as tif:
            fill_bands(tif, grid, height, width, bands)
            tif.update_tags(**{str(key): str(value) for key, value in ds.attrs.items()}, **tags)
        whole = memory
        if len(bands) * dtype.itemsize * TILE**2 <= MAX_TILE_BYTES:
            copy(
                memory.name, optimised.name, driver="COG", compress="DEFLATE", predictor="YES", blocksize=TILE,
                bigtiff="IF_SAFER", overviews="NONE", num_threads="1",
            )  # fmt: skip
            whole = optimised
        with replacing(path, (".tif",)) as temporary:
            temporary.write_bytes(whole.getbuffer())


def fill_bands(raster: Any, grid: Lattice, height: int, width: int, bands: Iterable[Band]) -> None:
    """Write bands into a raster that is open; pixels without a cell are NaN.

    bands: each its description, its units and its values (cells,).
    """
    band = np.full((height, width), np.nan, dtype=raster.dtypes[0])
    for number, (about, units, values) in enumerate(bands, start=1):
        band[height - 1 - grid.row, grid.col] = values
        raster.write(band, number)
        raster.set_band_description(number, about)
        raster.set_band_unit(number, units)
