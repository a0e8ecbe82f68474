"""The places of a file without those that cannot be where they are said to be, and the area that is left."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gentraffic.dataset.misplaced import misplaced, notes_of
from gentraffic.errors import BadInput

if TYPE_CHECKING:
    import geopandas as gpd
    from shapely.geometry.base import BaseGeometry


def area_of_places(pois: gpd.GeoDataFrame, cell_m: float) -> BaseGeometry:
    """The area of a file alone, in degrees: what the file says that it covers, else where its places are.

    The box of all its nodes is not it: an extract that is cut with whole ways reaches as far as its ferries do. What is
    left out is added to the warnings of `pois`. Raises BadInput for a file without coordinates."""
    import shapely

    name, extent = str(pois.attrs["source"]), pois.attrs["extent"]
    if extent is None:
        raise BadInput(f"{name} holds no coordinates: give another file")
    if pois.attrs.get("extent_stated") or not len(pois):
        whole: BaseGeometry = shapely.box(*extent)
        return whole
    lon, lat = pois.geometry.x.to_numpy(), pois.geometry.y.to_numpy()
    found = misplaced(lon, lat)
    names = [f"{key}={value}" for key, value in zip(pois["key"], pois["value"], strict=True)]
    kept = ~found.any
    box: BaseGeometry = shapely.box(lon[kept].min(), lat[kept].min(), lon[kept].max(), lat[kept].max())
    notes = notes_of(found, names, name)
    if not box_around(box, cell_m).covers(shapely.box(*extent)):
        where, left = (",".join(f"{degrees:.4f}" for degrees in bounds) for bounds in (box.bounds, extent))
        notes.append(f"{name}: the area is where its places are, {where}; the file itself reaches {left} (--bbox takes "
                     "that)")  # fmt: skip
    pois.attrs["warnings"] = [*pois.attrs["warnings"], *notes]
    return box


def without_misplaced(cells: gpd.GeoDataFrame, path: str | Path) -> gpd.GeoDataFrame:
    """The user's cells or stations but for those that cannot be where the file puts them, with a warning for each."""
    import shapely
    from pyproj import CRS

    from poi.grid import utm_crs
    from poi.lattice import row_col

    middle_of = shapely.centroid(cells.geometry.to_numpy())
    lon, lat = shapely.get_x(middle_of), shapely.get_y(middle_of)
    found = misplaced(lon, lat)
    if len(lon) > 1 and ((np.abs(lon) < 1e-6) & (np.abs(lat) < 1e-6)).all():
        raise BadInput(f"{path}: all of it lies at 0,0, where nothing is: give the true positions")
    if not found.any.any():
        return cells
    rows = cells.attrs.get("rows", np.arange(1, len(cells) + 1))
    names = [f"row {row} (id {number})" for row, number in zip(rows, cells["cell_id"], strict=True)]
    kept = cells[~found.any].drop(columns=["row", "col"], errors="ignore").reset_index(drop=True)
    crs = utm_crs(shapely.box(*kept.total_bounds))
    if cells.attrs["kind"] == "cells":
        centres = kept.geometry.to_crs(crs).centroid
        place = row_col(np.stack([centres.x, centres.y], axis=-1))
        if place is not None:
            kept.insert(1, "row", place[0])
            kept.insert(2, "col", place[1])
    kept.attrs = {key: value for key, value in cells.attrs.items() if key != "rows"}
    kept.attrs.update(
        crs_wkt=CRS.from_user_input(crs).to_wkt(),
        warnings=[*cells.attrs.get("warnings", ()), *notes_of(found, names, Path(path).name)],
    )
    return kept


def box_around(boundary: BaseGeometry, margin_m: float) -> BaseGeometry:
    """The box of a boundary with a margin, in degrees; where it crosses the 180th meridian, in two parts."""
    import shapely

    west, south, east, north = boundary.bounds
    if east - west > 180.0:  # on both sides of the 180th meridian
        lon = shapely.get_coordinates(boundary)[:, 0]
        west, east = float(lon[lon > 0].min(initial=180.0)), float(lon[lon <= 0].max(initial=-180.0)) + 360.0
    up = margin_m / 110_000.0
    along = up / max(math.cos(math.radians(min(max(abs(south), abs(north)) + up, 89.0))), 1e-3)
    west, south, east, north = west - along, max(south - up, -90.0), east + along, min(north + up, 90.0)
    if east - west >= 360.0:
        return shapely.box(-180.0, south, 180.0, north)
    parts = [(max(west + turn, -180.0), min(east + turn, 180.0)) for turn in (-360.0, 0.0, 360.0)]
    boxes = [shapely.box(first, south, last, north) for first, last in parts if first < last]
    return boxes[0] if len(boxes) == 1 else shapely.MultiPolygon(boxes)
