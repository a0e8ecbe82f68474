"""Cells that lie wholly in the sea or in a large lake or river, where nobody stands: told by the map, and left out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gentraffic.dataset.basemap import basemap_of
from gentraffic.dataset.geometry import cell_shapes
from gentraffic.errors import NoData, WrongUse
from gentraffic.modelling.features import MARGIN_M, VARIABLES, amounts, cell_areas, is_known

if TYPE_CHECKING:
    import xarray as xr

WET = ("sea", "water")  # classes of `poi.basemap`
_HALF = 0.5  # of a cell at the edge of the map, that the map must show


def without_water(context: xr.Dataset) -> xr.Dataset:
    """A context of squares without those that lie wholly in water on its map and hold no place and no site.

    What is left out counts as surroundings still (the margin of a context), so that the ratios of the other cells stay.
    The attribute `water` says how many were left out. The coast of the map is simplified (to 4 m or more) and has no
    islands below 1500 m2. Raises WrongUse for cells that are no squares and for a place without a map, NoData where no
    cell is left.
    """
    if context.attrs.get("kind") != "grid":
        raise WrongUse("--water leave-out goes with square cells: your own cells and stations are all drawn")
    wet = wet_cells(context)
    if wet is None:
        raise WrongUse("--water leave-out needs a map with the coast: give --osm EXTRACT, not a table of places")
    empty = context["poi_count"].values.sum(axis=1) == 0
    if "stations" in context:
        empty &= context["stations"].values == 0
    drop = wet & empty
    if drop.all():
        raise NoData(f"all {len(drop)} cells lie in water: give another place, or --water keep")
    said = f"{int(drop.sum())} of {len(drop)} cells lie wholly in water and were left out"
    kept = context.isel(cell=np.flatnonzero(~drop)).assign_attrs(water=said)
    if not drop.any():
        return kept
    margin = _margin(context, drop)
    return kept.drop_vars([name for name in margin if name in kept]).assign(margin)


def _margin(context: xr.Dataset, drop: NDArray[np.bool_]) -> dict[str, Any]:
    """The margin of a context, and the dropped cells that are near those that are kept. drop: (cells,)."""
    import xarray as xr
    from scipy.spatial import cKDTree

    xy = np.stack([context["x"].values, context["y"].values], axis=1)
    away, _ = cKDTree(xy[~drop]).query(xy[drop], distance_upper_bound=MARGIN_M)
    near = np.flatnonzero(drop)[np.isfinite(away)]
    more = {
        "margin_poi_count": context["poi_count"].values[near],
        "margin_x": xy[near, 0], "margin_y": xy[near, 1],
    }  # fmt: skip
    area = cell_areas(context)
    for name in VARIABLES:
        # else it is not known around the cells
        if is_known(context, name, area) and (f"margin_{name}" in context or "margin" not in context.dims):
            more[f"margin_{name}"] = amounts(context, name, area, near)
    found = {}
    for name, values in more.items():
        if name in context:
            old = context[name].variable
            found[name] = xr.Variable(old.dims, np.concatenate([old.values, values.astype(old.dtype)]), old.attrs)
        else:
            dims = ("margin", "category") if values.ndim == 2 else ("margin",)
            found[name] = xr.Variable(dims, values, {"units": "m" if name in ("margin_x", "margin_y") else "1"})
    return found


def wet_cells(ds: xr.Dataset) -> NDArray[np.bool_] | None:
    """Which cells lie wholly in the water of the map of a Dataset, (cells,); None where it has no map.

    Of a cell at the edge of the map half must be on it."""
    import shapely

    from poi.basemap import unpacked

    base = basemap_of(ds)
    if base is None:
        return None
    shapes: dict[str, Any] = unpacked(base)
    parts = [part for kind in WET for part in shapes.get(kind, ())]
    if not parts:
        return np.zeros(ds.sizes["cell"], dtype=bool)
    water = shapely.union_all(np.asarray(parts, dtype=object))
    cells = cell_shapes(ds)
    on_map = shapely.intersection(cells, shapely.box(*shapely.total_bounds(np.concatenate(list(shapes.values())))))
    shapely.prepare(water)
    enough = shapely.area(on_map) >= _HALF * shapely.area(cells)
    return np.asarray(enough & shapely.covers(water, on_map), dtype=bool)
