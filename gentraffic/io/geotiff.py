"""Traffic of a grid as GeoTIFF: one float32 band per time step, described by its UTC time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gentraffic.dataset.geometry import lattice
from gentraffic.dataset.schema import services
from gentraffic.errors import BadInput
from gentraffic.io.atomic import replacing

if TYPE_CHECKING:
    import xarray as xr

MAX_BANDS = 65535  # TIFF counts samples per pixel in 16 bits
MAX_PIXELS = 2**27  # of one band: half a gigabyte of float32


def write_tif(ds: xr.Dataset, path: str | Path) -> None:
    """Write checked traffic of one service and one member; pixels without a cell are NaN, the nodata value.

    The bands are in the CRS of `crs_wkt`, north up; attributes become tags, with `units` and `timezone`.
    Raises BadInput where the cells do not lie on a grid.
    """
    import rasterio

    (service,) = services(ds)
    grid = lattice(ds)
    height, width = int(grid.row.max()) + 1, int(grid.col.max()) + 1
    steps = ds.sizes["time"]
    if steps > MAX_BANDS or height * width > MAX_PIXELS:
        raise BadInput(f"{path}: {width} x {height} pixels in {steps} bands are too many for a GeoTIFF; write .zarr")
    values = ds[service].values.reshape(-1, steps)  # a single member goes as none
    times = np.datetime_as_string(ds["time"].values, unit="s")
    profile = {
        "driver": "GTiff",
        "dtype": "float32",
        "count": steps,
        "height": height,
        "width": width,
        "crs": ds.attrs["crs_wkt"],
        "transform": rasterio.Affine(grid.side, 0, grid.west, 0, -grid.side, grid.south + grid.side * height),
        "nodata": float("nan"),
        "compress": "deflate",
        "predictor": 3,
        "interleave": "band",
        "bigtiff": "if_safer",
    }
    # GDAL reports a full disk while it closes a file in its log only: it writes to memory, and Python to the disk.
    with rasterio.MemoryFile() as memory:
        with memory.open(**profile) as tif:
            band = np.full((height, width), np.nan, dtype=np.float32)
            for step in range(steps):
                band[height - 1 - grid.row, grid.col] = values[:, step]
                tif.write(band, step + 1)
                tif.set_band_description(step + 1, f"{times[step]}Z")
                tif.set_band_unit(step + 1, ds[service].attrs["units"])
            tif.update_tags(service=service, **{str(key): str(value) for key, value in ds.attrs.items()})
        with replacing(path, (".tif",)) as temporary:
            temporary.write_bytes(memory.getbuffer())
