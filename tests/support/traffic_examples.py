"""Small traffic and context datasets near Milan with the structure of real ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyproj
import shapely
import xarray as xr

from gentraffic.dataset.geometry import footprint_text
from gentraffic.dataset.schema import traffic_dataset
from poi.categories import CATEGORIES

UTM = pyproj.CRS("EPSG:32632")
WEST, SOUTH, SIDE = 500_900.0, 5_022_577.0, 235.0  # the south-west corner of the Telecom Italia grid, metres


def context(kind: str = "grid", n: int = 6, seed: int = 0) -> xr.Dataset:
    """n x n squares ("grid"), n x n Voronoi polygons ("cells", one with a hole), or n x n points ("stations")."""
    rng = np.random.default_rng(seed)
    row, col = np.divmod(np.arange(n * n), n)
    x, y = WEST + (col + 0.5) * SIDE, SOUTH + (row + 0.5) * SIDE
    ids: Any = np.arange(1, n * n + 1)
    coords: dict[str, Any] = {}
    attrs: dict[str, Any] = {"Conventions": "CF-1.12", "kind": kind, "crs_wkt": UTM.to_wkt(), "timezone": "Europe/Rome"}
    attrs |= {
        "place": "Milano, Łódź of the tests",
        "attribution": "© OpenStreetMap contributors",
        "license": "ODbL-1.0",
    }
    if kind == "grid":
        coords |= {"row": ("cell", row.astype(np.int32)), "col": ("cell", col.astype(np.int32))}
        attrs["cell_m"] = SIDE
    else:
        x, y = x + rng.normal(0, 60, n * n), y + rng.normal(0, 60, n * n)
        ids = np.array([f"MI-{i:03d}, «{i}»" for i in range(n * n)], dtype=object)
    lon, lat = pyproj.Transformer.from_crs(UTM, "EPSG:4326", always_xy=True).transform(x, y)
    if kind == "cells":
        coords["footprint"] = ("cell", footprint_text(_polygons(lon, lat)))
    coords |= {"cell_id": ("cell", ids), "lon": ("cell", lon), "lat": ("cell", lat), "x": ("cell", x), "y": ("cell", y)}
    counts = rng.poisson(3.0, (n * n, len(CATEGORIES))).astype(np.int32)
    return xr.Dataset(
        {"poi_count": (("cell", "category"), counts, {"units": "1"})},
        coords=coords | {"category": ("category", np.array(CATEGORIES, dtype=object))},
        attrs=attrs,
    )


def _polygons(lon: Any, lat: Any) -> Any:
    points = shapely.points(lon, lat)
    frame = shapely.box(lon.min() - 0.003, lat.min() - 0.003, lon.max() + 0.003, lat.max() + 0.003)
    parts = shapely.get_parts(shapely.voronoi_polygons(shapely.multipoints(points), extend_to=frame))
    parts = shapely.intersection(parts, frame)
    polygons = np.array([next(p for p in parts if shapely.contains_xy(p, *xy)) for xy in zip(lon, lat, strict=True)])
    polygons[0] = shapely.difference(polygons[0], shapely.buffer(points[0], 0.0003))  # a hole
    two = shapely.box(frame.bounds[0] - 0.004, frame.bounds[1], frame.bounds[0] - 0.002, frame.bounds[1] + 0.002)
    polygons[1] = shapely.union(polygons[1], two)  # an exclave: a multipolygon
    return polygons


def traffic(
    cells: xr.Dataset | None = None,
    *,
    days: int = 2,
    members: int | None = None,
    minutes: int = 60,
    start: str = "2013-10-31T23:00",
    seed: int = 1,
    units: str = "1",
) -> xr.Dataset:
    """Levels over three decades, a daily curve, noise; the fourth cell is dead and one value of the first is zero."""
    cells = context() if cells is None else cells
    rng = np.random.default_rng(seed)
    steps, n = days * 1440 // minutes, cells.sizes["cell"]
    time = np.datetime64(start, "ns") + np.arange(steps) * np.timedelta64(minutes, "m")
    hour = np.arange(steps) * minutes / 60 % 24
    level = rng.permutation(np.geomspace(0.03, 30.0, n))
    shape = (n, steps) if members is None else (members, n, steps)
    values = level[:, None] * (0.1 + np.exp(-(((hour - 14) / 5) ** 2))) * rng.lognormal(0, 0.3, shape)
    if n > 3:
        values[..., 3, :] = 0.0
    values[..., 0, 1] = 0.0
    attrs = {
        "title": "Traffic of the tests", "model": "tests", "model_sha256": "0" * 64, "seed": 7, "command": "pytest",
        "versions": "numpy 2, xarray", "warnings": "first line\nsecond line, “quoted” & <tagged>", "share": 0.25,
    }  # fmt: skip
    return traffic_dataset(
        values.astype(np.float32),
        cells=cells,
        time=time,
        service="internet",
        units=units,
        timezone="Europe/Rome",
        attrs=attrs,
    )


def without_positions(ds: xr.Dataset) -> xr.Dataset:
    """The same series of cells of which nobody told where they lie."""
    kept = ds.drop_vars(["lon", "lat", "x", "y", "row", "col", "footprint"], errors="ignore").copy()
    kept.attrs = {key: value for key, value in kept.attrs.items() if key not in ("crs_wkt", "cell_m")}
    return kept.assign_attrs(kind="unplaced")
