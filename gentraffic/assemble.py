"""Measured arrays -> Traffic and Context datasets: the coordinates and attributes that every importer writes alike.

`gentraffic.schema` says what the result must be and checks it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gentraffic import __version__
from gentraffic.cells import read_cells, read_stations
from gentraffic.errors import BadInput
from gentraffic.schema import CONVENTIONS, COORD_ATTRS, check_context, check_traffic
from gentraffic.shapes import footprint_text

if TYPE_CHECKING:
    import geopandas as gpd
    import xarray as xr


@dataclass(frozen=True)
class Places:
    """Where the cells of a dataset lie. Arrays are (cells,); `lon`, `lat` in degrees, `x`, `y` in metres of `crs_wkt`.

    `kind` is "grid", "cells" or "stations"; `cell_m` the side of a square in metres (grids); `extra` further per-cell
    coordinates such as `row`, `col` or `footprint`.
    """

    ids: NDArray[Any]
    lon: NDArray[np.float64]
    lat: NDArray[np.float64]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    crs_wkt: str
    kind: str
    cell_m: float | None = None
    extra: Mapping[str, NDArray[Any]] = field(default_factory=dict)


def middle(
    lon: NDArray[np.float64], lat: NDArray[np.float64], how: Callable[[NDArray[np.float64]], Any] = np.mean
) -> tuple[float, float]:
    """The mean (or median) position in degrees, also of places on both sides of the 180th meridian."""
    if np.ptp(lon) > 180.0:
        lon = np.where(lon < 0, lon + 360.0, lon)
    east = float(how(lon))
    return (east - 360.0 if east > 180.0 else east), float(how(lat))


def local_utm_wkt(lon: float, lat: float) -> str:
    """WKT of the UTM zone (WGS 84) that holds the point `lon`, `lat` in degrees."""
    from pyproj import CRS

    zone = min(int((lon + 180.0) // 6.0) + 1, 60)
    return str(CRS.from_epsg((32600 if lat >= 0.0 else 32700) + zone).to_wkt())


def places_from_lonlat(
    ids: NDArray[Any],
    lon: NDArray[np.float64],
    lat: NDArray[np.float64],
    *,
    kind: str,
    cell_m: float | None = None,
    extra: Mapping[str, NDArray[Any]] | None = None,
) -> Places:
    """Places from degrees; `x`, `y` in the UTM zone of the mean position. Raises BadInput for impossible degrees."""
    from pyproj import Transformer

    wrong = ~(np.isfinite(lon) & np.isfinite(lat) & (np.abs(lon) <= 180.0) & (np.abs(lat) <= 90.0))
    if wrong.any():
        i = int(np.argmax(wrong))
        raise BadInput(f"cell {ids[i]}: lon {lon[i]}, lat {lat[i]} is no place on Earth; lon, lat must be degrees")
    wkt = local_utm_wkt(*middle(lon, lat))
    x, y = Transformer.from_crs("EPSG:4326", wkt, always_xy=True).transform(lon, lat)
    return Places(ids, lon, lat, np.asarray(x), np.asarray(y), wkt, kind, cell_m, dict(extra or {}))


def places_from_xy(
    ids: NDArray[Any],
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    crs_wkt: str,
    *,
    kind: str,
    cell_m: float | None = None,
    extra: Mapping[str, NDArray[Any]] | None = None,
) -> Places:
    """Places from metres `x`, `y` in `crs_wkt`; degrees follow."""
    from pyproj import Transformer

    lon, lat = Transformer.from_crs(crs_wkt, "EPSG:4326", always_xy=True).transform(x, y)
    return Places(ids, np.asarray(lon), np.asarray(lat), x, y, crs_wkt, kind, cell_m, dict(extra or {}))


def places_from_cells(source: str | Path | gpd.GeoDataFrame, ids: NDArray[Any]) -> tuple[NDArray[np.bool_], Places]:
    """(which of `ids` the cells hold, the Places of those, in the order of `ids`).

    `source`: the operator's cells as a file, stations as CSV, or a frame as `gentraffic.cells` gives. Ids are matched
    as they are, or both as text where one side is text. Raises BadInput where no id is found.
    """
    import pandas as pd

    if isinstance(source, str | Path):
        cells = read_stations(source) if Path(source).suffix.lower() == ".csv" else read_cells(source)
    else:
        cells = source
    own = cells["cell_id"].to_numpy()
    if np.asarray(ids).dtype.kind != own.dtype.kind:
        index = pd.Index(own.astype(str)).get_indexer(pd.Index(np.asarray(ids).astype(str)))
    else:
        index = pd.Index(own).get_indexer(pd.Index(ids))
    known = index >= 0
    if not known.any():
        raise BadInput(f"none of the {len(ids)} cell ids (first: {ids[0]}) is in the cells file (first: {own[0]})")
    chosen = cells.iloc[index[known]]
    bounds = chosen.total_bounds
    wkt = local_utm_wkt(*middle(bounds[[0, 2]], bounds[[1, 3]]))
    centre = chosen.geometry.to_crs(wkt).centroid
    extra: dict[str, NDArray[Any]] = {
        name: chosen[name].to_numpy().astype(np.int32) for name in ("row", "col") if name in chosen.columns
    }
    areal = bool((chosen.geometry.geom_type != "Point").all())
    if areal:
        extra["footprint"] = footprint_text(chosen.geometry.to_numpy()).astype(str)
    places = places_from_xy(
        np.asarray(ids)[known],
        centre.x.to_numpy(),
        centre.y.to_numpy(),
        wkt,
        kind="cells" if areal else "stations",
        extra=extra,
    )
    return known, places


def measured_traffic(
    places: Places,
    time: NDArray[np.datetime64],
    services: Mapping[str, tuple[NDArray[np.float32], str]],
    *,
    timezone: str,
    attrs: Mapping[str, str],
    warnings: Sequence[str] = (),
) -> xr.Dataset:
    """A checked Traffic dataset. `time` (steps,) in UTC; `services` name -> (values (cells, steps), units).

    Raises BadInput where the schema is broken: NaN, infinite or negative values first of all, naming cell and time.
    """
    import xarray as xr

    ds = xr.Dataset(
        {
            name: (("cell", "time"), values, {"units": units, "long_name": f"{name} traffic"})
            for name, (values, units) in services.items()
        },
        coords=_coordinates(places) | {"time": ("time", time.astype("datetime64[ns]"), COORD_ATTRS["time"])},
        attrs={"featureType": "timeSeries"} | _attributes(places, timezone, attrs, warnings),
    )
    check_traffic(ds)
    return ds


def measured_context(
    places: Places,
    poi_count: NDArray[np.int32],
    *,
    timezone: str,
    attrs: Mapping[str, str],
    warnings: Sequence[str] = (),
) -> xr.Dataset:
    """A checked Context; `poi_count` (cells, 8) in the order of `poi.categories.CATEGORIES`. Raises BadInput."""
    import xarray as xr

    from poi.categories import CATEGORIES

    attributes = {"units": "1", "long_name": "points of interest"}
    ds = xr.Dataset(
        {"poi_count": (("cell", "category"), poi_count.astype(np.int32), attributes)},
        coords=_coordinates(places) | {"category": ("category", np.asarray(CATEGORIES, dtype=str))},
        attrs=_attributes(places, timezone, attrs, warnings),
    )
    check_context(ds)
    return ds


def _coordinates(places: Places) -> dict[str, Any]:
    """Per-cell coordinates with their CF attributes."""
    own = {"cell_id": places.ids, "lon": places.lon, "lat": places.lat, "x": places.x, "y": places.y}
    return {name: ("cell", values, COORD_ATTRS.get(name, {})) for name, values in (own | dict(places.extra)).items()}


def _attributes(places: Places, timezone: str, attrs: Mapping[str, str], warnings: Sequence[str]) -> dict[str, Any]:
    """Dataset attributes: the schema's, the source's own, and the warnings, joined by line ends."""
    common: dict[str, Any] = {
        "Conventions": CONVENTIONS,
        "kind": places.kind,
        "crs_wkt": places.crs_wkt,
        "timezone": timezone,
    }
    if places.cell_m is not None:
        common["cell_m"] = float(places.cell_m)
    if warnings:
        common["warnings"] = "\n".join(warnings)
    return common | {"gentraffic_version": __version__} | dict(attrs)
