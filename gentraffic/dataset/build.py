"""Measured arrays -> Traffic and Context datasets: the coordinates and attributes that every importer writes alike.

`gentraffic.dataset.schema` says what the result must be and checks it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gentraffic import __version__
from gentraffic.dataset.schema import (
    CONVENTIONS,
    COORD_ATTRS,
    check_context,
    check_traffic,
    check_traffic_with_gaps,
    long_name,
)
from gentraffic.errors import BadInput

if TYPE_CHECKING:
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
    """The mean (or median) position in degrees, also of places on both sides of the 180th meridian.

    lon, lat: (n,) degrees.
    """
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
    """Places from degrees; `x`, `y` in the UTM zone of the mean position. Raises BadInput for impossible degrees.

    ids: (cells,). lon, lat: (cells,) degrees. extra: further columns, each (cells,).
    """
    from pyproj import Transformer

    wrong = ~(np.isfinite(lon) & np.isfinite(lat) & (np.abs(lon) <= 180.0) & (np.abs(lat) <= 90.0))
    if wrong.any():
        i = int(np.argmax(wrong))
        swapped = (np.abs(lon) <= 90.0).all() and (np.abs(lat) <= 180.0).all()
        fix = "lon and lat look swapped, exchange the columns" if swapped else "lon, lat must be degrees"
        raise BadInput(f"cell {ids[i]}: lon {lon[i]:.10g}, lat {lat[i]:.10g} is no place on Earth; {fix}")
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
    """Places from metres `x`, `y` in `crs_wkt`; degrees follow.

    ids: (cells,). x, y: (cells,) metres. extra: further columns, each (cells,).
    """
    from pyproj import Transformer

    lon, lat = Transformer.from_crs(crs_wkt, "EPSG:4326", always_xy=True).transform(x, y)
    return Places(ids, np.asarray(lon), np.asarray(lat), x, y, crs_wkt, kind, cell_m, dict(extra or {}))


def unplaced(ids: NDArray[Any], extra: Mapping[str, NDArray[Any]] | None = None) -> Places:
    """Cells whose positions are not known. ids: (cells,). extra: further columns, each (cells,)."""
    none = np.empty(0)
    return Places(ids, none, none, none, none, "", "unplaced", None, dict(extra or {}))


def measured_traffic(
    places: Places,
    time: NDArray[np.datetime64],
    services: Mapping[str, tuple[NDArray[np.float32], str]],
    *,
    timezone: str,
    attrs: Mapping[str, str],
    warnings: Sequence[str] = (),
    gaps: bool = False,
) -> xr.Dataset:
    """A checked Traffic dataset. `time` (steps,) in UTC; `services` name -> (values (cells, steps), units).

    gaps: NaN may stand for what nobody measured. Raises BadInput where the schema is broken: NaN, infinite or negative
    values first of all, naming cell and time.
    """
    import xarray as xr

    ds = xr.Dataset(
        {
            name: (("cell", "time"), values, {"units": units, "long_name": long_name(name)})
            for name, (values, units) in services.items()
        },
        coords=_coordinates(places) | {"time": ("time", time.astype("datetime64[ns]"), COORD_ATTRS["time"])},
        attrs={"featureType": "timeSeries"} | _attributes(places, timezone, attrs, warnings),
    )
    (check_traffic_with_gaps if gaps else check_traffic)(ds)
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
        {"poi_count": (("cell", "category"), poi_count.astype(np.int32, copy=False), attributes)},
        coords=_coordinates(places) | {"category": ("category", np.asarray(CATEGORIES, dtype=str))},
        attrs=_attributes(places, timezone, attrs, warnings),
    )
    check_context(ds)
    return ds


def _coordinates(places: Places) -> dict[str, Any]:
    """Per-cell coordinates with their CF attributes."""
    if places.kind == "unplaced":
        own = {"cell_id": places.ids}
        return {n: ("cell", values, COORD_ATTRS.get(n, {})) for n, values in (own | dict(places.extra)).items()}
    own = {"cell_id": places.ids, "lon": places.lon, "lat": places.lat, "x": places.x, "y": places.y}
    return {name: ("cell", values, COORD_ATTRS.get(name, {})) for name, values in (own | dict(places.extra)).items()}


def _attributes(places: Places, timezone: str, attrs: Mapping[str, str], warnings: Sequence[str]) -> dict[str, Any]:
    """Dataset attributes: the schema's, the source's own, and the warnings, joined by line ends."""
    common: dict[str, Any] = {
        "Conventions": CONVENTIONS,
        "kind": places.kind,
        **({"crs_wkt": places.crs_wkt} if places.crs_wkt else {}),
        "timezone": timezone,
    }
    if places.cell_m is not None:
        common["cell_m"] = float(places.cell_m)
    if warnings:
        common["warnings"] = plain_text("\n".join(warnings))
    own = {name: plain_text(value) if isinstance(value, str) else value for name, value in attrs.items()}
    return common | {"gentraffic_version": __version__} | own


def plain_text(text: str) -> str:
    """Text that can be stored: bytes of a file's name that are no text (PEP 383) become replacement characters."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
