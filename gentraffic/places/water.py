"""Cells that lie wholly in the sea or in a large lake or river, where nobody stands: told by the map, and left out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gentraffic.dataset.basemap import basemap_of
from gentraffic.dataset.geometry import cell_shapes
from gentraffic.errors import NoData, WrongUse

if TYPE_CHECKING:
    import xarray as xr

KEEP, LEAVE_OUT = "keep", "leave-out"
WET = ("sea", "water")  # classes of `poi.basemap`
_HALF = 0.5  # of a cell at the edge of the map, that the map must show


def check_water(water: str | None) -> None:
    """Raise WrongUse unless it is one of the two words, or None, which keeps all cells."""
    if water not in (None, KEEP, LEAVE_OUT):
        raise WrongUse(f"--water {water}: give {LEAVE_OUT} or {KEEP}")


def without_water(context: xr.Dataset) -> xr.Dataset:
    """A context of squares without those that lie wholly in water on its map and hold no place and no site.

    The attribute `water` says how many were left out. The coast of the map is simplified (to 4 m or more) and has no
    islands below 1500 m2. Raises WrongUse for cells that are no squares and for a place without a map, NoData where no
    cell is left.
    """
    if context.attrs.get("kind") != "grid":
        raise WrongUse(f"--water {LEAVE_OUT} goes with square cells: your own cells and stations are all drawn")
    wet = wet_cells(context)
    if wet is None:
        raise WrongUse(f"--water {LEAVE_OUT} needs a map with the coast: give --osm EXTRACT, not a table of places")
    empty = context["poi_count"].values.sum(axis=1) == 0
    if "stations" in context:
        empty &= context["stations"].values == 0
    drop = wet & empty
    if drop.all():
        raise NoData(f"all {len(drop)} cells lie in water: give another place, or --water {KEEP}")
    said = f"{int(drop.sum())} of {len(drop)} cells lie wholly in water and were left out"
    return context.isel(cell=np.flatnonzero(~drop)).assign_attrs(water=said)


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
