"""Traffic for maps: GeoTIFF and GeoPackage for QGIS, CSV for Kepler.gl."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gentraffic.dataset.geometry import cell_shapes, lattice
from gentraffic.dataset.schema import local_time, services
from gentraffic.dataset.summary import summary
from gentraffic.io.atomic import replacing

if TYPE_CHECKING:
    import xarray as xr

ROWS_PER_BLOCK = 2**18


def write_geotiff(ds: xr.Dataset, path: str | Path, *, capacity: float | None = None) -> dict[str, Any]:
    """Write one service: of one member a band per step, of several the maps of `ensemble.summary`, a band each.

    The bands are described by their UTC time or by the statistic's name, and carry its unit. Raises BadInput where the
    cells do not lie on a grid.
    """
    if "member" not in ds.dims and capacity is None:
        from gentraffic.io.geotiff import write_tif

        write_tif(ds, path)
        return {"bands": ds.sizes["time"]}
    import rasterio

    (service,) = services(ds)
    found = summary(ds, service, capacity)
    grid = lattice(ds)
    height, width = int(grid.row.max()) + 1, int(grid.col.max()) + 1
    profile = {
        "driver": "GTiff", "dtype": "float32", "count": len(found.data_vars), "height": height, "width": width,
        "crs": ds.attrs["crs_wkt"], "nodata": float("nan"), "compress": "deflate", "interleave": "band",
        "transform": rasterio.Affine(grid.side, 0, grid.west, 0, -grid.side, grid.south + grid.side * height),
    }  # fmt: skip
    with rasterio.MemoryFile() as memory:  # GDAL reports a full disk in its log only
        with memory.open(**profile) as tif:
            for i, (name, variable) in enumerate(found.data_vars.items(), start=1):
                band = np.full((height, width), np.nan, dtype=np.float32)
                band[height - 1 - grid.row, grid.col] = variable.values
                tif.write(band, i)
                tif.set_band_description(i, str(name))
                tif.set_band_unit(i, variable.attrs["units"])
            tif.update_tags(service=service, **{str(key): str(value) for key, value in ds.attrs.items()})
        with replacing(path, (".tif",)) as temporary:
            temporary.write_bytes(memory.getbuffer())
    return {"bands": [str(name) for name in found.data_vars]}


def write_geopackage(ds: xr.Dataset, path: str | Path, *, capacity: float | None = None) -> dict[str, Any]:
    """Write a GeoPackage: layer `cells` (outlines and, per service, the columns of `ensemble.summary`), table `series`.

    `series` has a row per cell and step (cell_id, time_utc, time_local, [member,] a column per service) without
    geometry; join it to `cells` by cell_id. `about` holds the attributes, attribution and licence among them.
    """
    import geopandas as gpd
    import pandas as pd
    import pyogrio
    from pyogrio.errors import DataLayerError, DataSourceError

    names = services(ds)
    columns: dict[str, Any] = {"cell_id": ds["cell_id"].values, "lon": ds["lon"].values, "lat": ds["lat"].values}
    for name in names:
        prefix = "" if len(names) == 1 else f"{name}_"
        columns |= {f"{prefix}{key}": v.values for key, v in summary(ds, name, capacity).data_vars.items()}
    cells = gpd.GeoDataFrame(columns, geometry=cell_shapes(ds), crs="EPSG:4326")
    said = ds.attrs | {f"units of {name}": ds[name].attrs["units"] for name in names}
    about = pd.DataFrame({"name": list(said), "value": [str(value) for value in said.values()]})
    with replacing(path, (".gpkg",)) as temporary:
        hidden = temporary.with_name(temporary.name + ".gpkg")  # GDAL wants the suffix
        try:
            kind = "Point" if ds.attrs["kind"] == "stations" else "MultiPolygon"
            pyogrio.write_dataframe(
                cells, hidden, layer="cells", driver="GPKG", geometry_type=kind, promote_to_multi=kind != "Point"
            )
            rows = 0
            for block in _blocks(ds):
                pyogrio.write_dataframe(block, hidden, layer="series", driver="GPKG", append=rows > 0)
                rows += len(block)
            pyogrio.write_dataframe(about, hidden, layer="about", driver="GPKG")
            hidden.replace(temporary)
        except (DataSourceError, DataLayerError) as error:  # GDAL's words for a full disk among them
            raise OSError(f"{error} (is the disk full?)") from error
        finally:
            hidden.unlink(missing_ok=True)
            hidden.with_name(hidden.name + "-journal").unlink(missing_ok=True)
    return {"cells": len(cells), "rows": rows, "columns": [name for name in cells.columns if name != "geometry"]}


def _blocks(ds: xr.Dataset) -> Any:
    """Frames of some cells each: cell_id, times as text, and the values as float64, which hold float32 exactly."""
    import pandas as pd

    times = local_time(ds)
    utc = np.array([f"{t:%Y-%m-%dT%H:%M:%SZ}" for t in times.tz_convert("UTC")], dtype=object)
    local = np.array([t.isoformat() for t in times], dtype=object)
    ids = ds["cell_id"].values
    members = ds["member"].values.tolist() if "member" in ds.dims else [None]
    width = max(1, ROWS_PER_BLOCK // len(times))
    for m, member in enumerate(members):
        for start in range(0, len(ids), width):
            part = slice(start, min(start + width, len(ids)))
            count = part.stop - part.start
            frame: dict[str, Any] = {} if member is None else {"member": np.full(count * len(times), member)}
            frame |= {"cell_id": np.repeat(ids[part], len(times))}
            frame |= {"time_utc": np.tile(utc, count), "time_local": np.tile(local, count)}
            for name in services(ds):
                values = ds[name].values[part] if member is None else ds[name].values[m, part]
                frame[name] = values.reshape(-1).astype(np.float64)
            yield pd.DataFrame(frame)


def write_kepler(ds: xr.Dataset, path: str | Path) -> dict[str, Any]:
    """Write a CSV that Kepler.gl understands by its column names: latitude, longitude, timestamp (UTC), the services.

    time_local repeats the time with its offset; several members have a column `member`. Attribution and licence stand
    beside it in NAME.csv-metadata.json, as a CSV has no place for them.
    """
    import pyarrow as pa
    import pyarrow.csv as pc

    path = Path(path)
    lon = dict(zip(ds["cell_id"].values.tolist(), ds["lon"].values.tolist(), strict=True))
    lat = dict(zip(ds["cell_id"].values.tolist(), ds["lat"].values.tolist(), strict=True))
    rows = 0
    with replacing(path, (".csv",)) as temporary:
        writer = None
        try:
            for block in _blocks(ds):
                block = block.rename(columns={"time_utc": "timestamp"})
                block.insert(1, "latitude", block["cell_id"].map(lat))
                block.insert(2, "longitude", block["cell_id"].map(lon))
                for name in services(ds):
                    block[name] = block[name].astype(np.float32)
                table = pa.Table.from_pandas(block, preserve_index=False)
                if writer is None:
                    options = pc.WriteOptions(quoting_style="needed")
                    writer = pc.CSVWriter(temporary, table.schema, write_options=options)
                writer.write_table(table)
                rows += table.num_rows
        finally:
            if writer is not None:
                writer.close()
        units = {name: str(ds[name].attrs["units"]) for name in services(ds)}
        said = {str(k): str(ds.attrs[k]) for k in ("title", "place", "timezone", "model", "attribution", "license")
                if k in ds.attrs}  # fmt: skip
        with replacing(path.with_name(path.name + "-metadata.json"), (".json",)) as beside:
            text = {"@context": "http://www.w3.org/ns/csvw", "url": path.name, "notes": [said | {"units": units}]}
            beside.write_text(json.dumps(text, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return {"rows": rows}
