"""Traffic for maps: GeoTIFF and GeoPackage for QGIS, CSV for Kepler.gl."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gentraffic.dataset.build import plain_text
from gentraffic.dataset.geometry import cell_shapes
from gentraffic.dataset.schema import local_time, services
from gentraffic.dataset.summary import member_range, summary
from gentraffic.io.atomic import replacing
from gentraffic.io.export.columns import Tell, own_columns, silent
from gentraffic.io.export.gpkg_views import add_views
from gentraffic.io.geotiff import write_bands
from gentraffic.io.tables import ten_digits

if TYPE_CHECKING:
    import xarray as xr

ROWS_PER_BLOCK = 2**18
# As every QGIS and GDAL in use reads it without a warning: GDAL's own default is of 1.4, and leaves out milliseconds.
GPKG = {"driver": "GPKG", "dataset_options": {"VERSION": "1.2"}, "layer_options": {"DATETIME_PRECISION": "MILLISECOND"}}


def write_geotiff(ds: xr.Dataset, path: str | Path, *, capacity: float | None = None) -> dict[str, Any]:
    """Write one service: of one member a band per step, of several the maps of `ensemble.summary`, a band each.

    The bands are described by their UTC time or by the statistic's name, and carry its unit; the tags say what the
    capacity was, in the units of the service. Raises BadInput where the cells do not lie on a grid.
    """
    if "member" not in ds.dims and capacity is None:
        from gentraffic.io.geotiff import write_tif

        write_tif(ds, path)
        return {"bands": ds.sizes["time"]}
    (service,) = services(ds)
    statistics = summary(ds, service, capacity)
    bands = [(str(name), str(v.attrs["units"]), v.values) for name, v in statistics.data_vars.items()]
    tags = {"service": service}
    if capacity is not None:
        tags |= {"capacity": repr(capacity), "capacity_units": str(ds[service].attrs["units"])}
    write_bands(ds, path, bands, tags)
    return {"bands": [str(name) for name in statistics.data_vars]}


def write_geopackage(
    ds: xr.Dataset, path: str | Path, *, capacity: float | None = None, every_member: bool = False, tell: Tell = silent
) -> dict[str, Any]:
    """Write a GeoPackage: layer `cells` (outlines, what is told of each, and per service the columns of `summary`),
    table `series`.

    `series` has a row per cell and step (cell_id, time_utc, time_local, a column per service), the times as DATETIME,
    time_local with its offset; of an ensemble NAME is the mean, NAME_low and NAME_high its range, or with every_member
    there is a row per member. The layer `traffic` is the same rows with the outlines of their cells, for a time slider.
    `about` holds the attributes: attribution, licence, units, what the capacity was. `layer_styles` colours both.
    """
    import geopandas as gpd
    import pandas as pd
    import pyogrio
    from pyogrio.errors import DataLayerError, DataSourceError

    names = services(ds)
    statistics: dict[str, Any] = {}
    for name in names:
        prefix = "" if len(names) == 1 else f"{name}_"
        statistics |= {f"{prefix}{key}": v.values for key, v in summary(ds, name, capacity).data_vars.items()}
    columns: dict[str, Any] = {"cell_id": ds["cell_id"].values, "lon": ds["lon"].values, "lat": ds["lat"].values}
    columns |= own_columns(ds, {*columns, *statistics, "fid", "ogc_fid", "geom", "geometry"}) | statistics
    cells = gpd.GeoDataFrame(columns, geometry=cell_shapes(ds), crs="EPSG:4326")
    if not every_member:
        ds = member_range(ds)
    threshold = {} if capacity is None else {"capacity": capacity, "capacity_units": ds[names[0]].attrs["units"]}
    metadata = ds.attrs | threshold | {f"units of {name}": ds[name].attrs["units"] for name in names}
    total = ds.sizes["cell"] * ds.sizes["time"] * ds.sizes.get("member", 1)
    about = pd.DataFrame({"name": list(metadata), "value": [str(value) for value in metadata.values()]})
    with replacing(path, (".gpkg",)) as temporary:
        hidden = temporary.with_name(temporary.name + ".gpkg")  # GDAL wants the suffix
        try:
            kind = "Point" if ds.attrs["kind"] == "stations" else "MultiPolygon"
            pyogrio.write_dataframe(
                cells, hidden, layer="cells", geometry_type=kind, promote_to_multi=kind != "Point", **GPKG
            )
            rows = 0
            for block in _blocks(ds, as_text=False):
                pyogrio.write_dataframe(block, hidden, layer="series", append=rows > 0, **GPKG)
                rows += len(block)
                tell(rows, total)
            pyogrio.write_dataframe(about, hidden, layer="about", **GPKG)
            units = [str(ds[name].attrs["units"]) for name in names]
            add_views(hidden, list(statistics), cells, dict(zip(names, units, strict=True)))
            hidden.replace(temporary)
        except (DataSourceError, DataLayerError) as error:  # GDAL's words for a full disk among them
            raise OSError(f"{error} (is the disk full?)") from error
        finally:
            hidden.unlink(missing_ok=True)
            hidden.with_name(hidden.name + "-journal").unlink(missing_ok=True)
    made = {"cells": len(cells), "rows": rows, "columns": [name for name in cells.columns if name != "geometry"]}
    return made | {"units": dict(zip(names, units, strict=True))}


def _blocks(ds: xr.Dataset, *, as_text: bool = True) -> Any:
    """Frames of some cells each: cell_id, times, and the values as float64, which hold float32 exactly.

    as_text: times as ISO 8601; False as moments, which a GeoPackage keeps as DATETIME."""
    import pandas as pd

    times = local_time(ds)
    utc: Any = np.array([f"{t:%Y-%m-%dT%H:%M:%SZ}" for t in times.tz_convert("UTC")], dtype=object)
    local: Any = np.array([t.isoformat() for t in times], dtype=object)
    if not as_text:
        utc, local = (pd.Series(t.as_unit("ms")) for t in (times.tz_convert("UTC"), times))
    ids = ds["cell_id"].values
    members = ds["member"].values.tolist() if "member" in ds.dims else [None]
    width = max(1, ROWS_PER_BLOCK // len(times))
    for m, member in enumerate(members):
        for start in range(0, len(ids), width):
            part = slice(start, min(start + width, len(ids)))
            count = part.stop - part.start
            frame: dict[str, Any] = {} if member is None else {"member": np.full(count * len(times), member)}
            frame |= {"cell_id": np.repeat(ids[part], len(times))}
            at = np.tile(np.arange(len(times)), count)
            if as_text:
                frame |= {"time_utc": utc[at], "time_local": local[at]}
            else:
                frame |= {"time_utc": utc.take(at).array, "time_local": local.take(at).array}
            for name in services(ds):
                values = ds[name].values[part] if member is None else ds[name].values[m, part]
                frame[name] = values.reshape(-1).astype(np.float64)
            yield pd.DataFrame(frame)


def write_kepler(
    ds: xr.Dataset, path: str | Path, *, every_member: bool = False, tell: Tell = silent
) -> dict[str, Any]:
    """Write a CSV that Kepler.gl understands by its column names: latitude, longitude, timestamp (UTC), the services.

    time_local repeats the time with its offset; then come the columns of the cells (azimuth, ...). Of an ensemble NAME
    is the mean, NAME_low and NAME_high its range; with every_member there are rows per `member`. Attribution and
    licence stand beside it in NAME.csv-metadata.json, as a CSV has no place for them.
    """
    import pyarrow as pa
    import pyarrow.csv as pc

    path = Path(path)
    lon = dict(zip(ds["cell_id"].values.tolist(), ds["lon"].values.tolist(), strict=True))
    lat = dict(zip(ds["cell_id"].values.tolist(), ds["lat"].values.tolist(), strict=True))
    if not every_member:
        ds = member_range(ds)
    taken = {"member", "cell_id", "latitude", "longitude", "timestamp", "time_local", *services(ds)}
    own = {name: dict(zip(lon, values.tolist(), strict=True)) for name, values in own_columns(ds, taken).items()}
    total = ds.sizes["cell"] * ds.sizes["time"] * ds.sizes.get("member", 1)
    rows = 0
    with replacing(path, (".csv",)) as temporary:
        writer = None
        try:
            for block in _blocks(ds):
                block = block.rename(columns={"time_utc": "timestamp"})
                block.insert(1, "latitude", block["cell_id"].map(lat))
                block.insert(2, "longitude", block["cell_id"].map(lon))
                for name in (name for name in services(ds) if ds[name].dtype == np.float32):
                    block[name] = ten_digits(block[name].to_numpy())
                for name, told in own.items():
                    block[name] = block["cell_id"].map(told)
                table = pa.Table.from_pandas(block, preserve_index=False)
                if writer is None:
                    options = pc.WriteOptions(quoting_style="needed")
                    writer = pc.CSVWriter(temporary, table.schema, write_options=options)
                writer.write_table(table)
                rows += table.num_rows
                tell(rows, total)
        finally:
            if writer is not None:
                writer.close()
        units = {name: str(ds[name].attrs["units"]) for name in services(ds)}
        metadata = {str(k): str(ds.attrs[k]) for k in ("title", "place", "timezone", "model", "attribution", "license")
                if k in ds.attrs}  # fmt: skip
        with replacing(path.with_name(path.name + "-metadata.json"), (".json",)) as beside:
            text: dict[str, Any] = {"@context": "http://www.w3.org/ns/csvw", "url": plain_text(path.name)}
            text |= {"notes": [metadata | {"units": units}]}
            beside.write_text(json.dumps(text, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return {"rows": rows}
