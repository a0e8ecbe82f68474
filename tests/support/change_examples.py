"""Files of changes, and a long place to try them on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from poi.categories import CATEGORIES


def strip(cols: int = 96, rows: int = 3, side: float = 500.0, seed: int = 0) -> xr.Dataset:
    """A long place, 48 km from west to east."""
    from traffic_examples import SOUTH, UTM, WEST

    rng = np.random.default_rng(seed)
    row, col = np.divmod(np.arange(rows * cols), cols)
    x, y = WEST + (col + 0.5) * side, SOUTH + (row + 0.5) * side
    import pyproj

    lon, lat = pyproj.Transformer.from_crs(UTM, "EPSG:4326", always_xy=True).transform(x, y)
    counts = rng.poisson(rng.gamma(0.7, 4.0, (rows * cols, 1)), (rows * cols, len(CATEGORIES)))
    return xr.Dataset(
        {"poi_count": (("cell", "category"), counts.astype(np.int32))},
        coords={
            "cell_id": ("cell", np.arange(1, rows * cols + 1)), "x": ("cell", x), "y": ("cell", y),
            "lon": ("cell", lon), "lat": ("cell", lat), "row": ("cell", row.astype(np.int32)),
            "col": ("cell", col.astype(np.int32)), "category": ("category", np.array(CATEGORIES, dtype=object)),
        },
        attrs={"kind": "grid", "cell_m": side, "crs_wkt": UTM.to_wkt(), "timezone": "Europe/Rome", "place": "a strip"},
    )  # fmt: skip


def changes(path: Path, *features: tuple[dict[str, Any], dict[str, Any]]) -> Path:
    held = [{"type": "Feature", "properties": told, "geometry": shape} for told, shape in features]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": held}), encoding="utf-8")
    return path


def point(place: xr.Dataset, row: int) -> dict[str, Any]:
    return {"type": "Point", "coordinates": [float(place.lon[row]), float(place.lat[row])]}


def box(place: xr.Dataset, rows: Any) -> dict[str, Any]:
    lon, lat = place.lon.values[rows], place.lat.values[rows]
    west, east, south, north = lon.min() - 1e-4, lon.max() + 1e-4, lat.min() - 1e-4, lat.max() + 1e-4
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {"type": "Polygon", "coordinates": [ring]}
