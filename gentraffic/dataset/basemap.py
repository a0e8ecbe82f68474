"""The map beneath a place: coordinates of a Context, which traffic takes over, of what `poi.basemap` reads.
`dataset.schema` names them and checks them.

    map_class (map_shape)            what a shape is, by its position in the attribute `classes`
    map_size  (map_shape)            how many points it has
    map_lon, map_lat (map_point)     whole 1e-5 degrees, differences from the point before, shape after shape
    map_name, map_name_class, map_name_lon, map_name_lat (map_label)   names and where they stand, in degrees

A line is open; a ring of an area ends where it began, and a hole runs against its outer ring. A file may lack them all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gentraffic.dataset.schema import LABELS, MAP_VARIABLES, POINTS, SHAPES

if TYPE_CHECKING:
    import xarray as xr

    from poi.elements import BaseMap


def basemap_coords(base: BaseMap | None) -> dict[str, Any]:
    """The coordinates that hold a map; none for None."""
    from poi.basemap import CLASSES, NAMES

    found: dict[str, Any] = {}
    if base is None:
        return found
    if len(base.kind):
        steps = np.diff(base.at.astype(np.int64), axis=0, prepend=0).astype(np.int32)
        units = {"units": "1e-5 degree", "long_name": "difference from the point before, of a map's shapes"}
        said = {"classes": " ".join(CLASSES), "long_name": "class of a map's shape, by its position in classes"}
        found |= {
            "map_class": (SHAPES, base.kind.astype(np.int8), said),
            "map_size": (SHAPES, base.size.astype(np.int32), {"long_name": "number of points of a map's shape"}),
            "map_lon": (POINTS, np.ascontiguousarray(steps[:, 0]), units),
            "map_lat": (POINTS, np.ascontiguousarray(steps[:, 1]), units),
        }
    if base.name:
        said = {"classes": " ".join(NAMES), "long_name": "class of a place, by its position in classes"}
        found |= {
            "map_name": (LABELS, np.asarray(base.name, dtype=object), {"long_name": "name of a place on the map"}),
            "map_name_class": (LABELS, base.name_kind.astype(np.int8), said),
            "map_name_lon": (LABELS, base.name_at[:, 0].copy(), {"units": "degrees_east"}),
            "map_name_lat": (LABELS, base.name_at[:, 1].copy(), {"units": "degrees_north"}),
        }
    return found


def basemap_of(ds: xr.Dataset) -> BaseMap | None:
    """The map that a checked Context or Traffic Dataset carries, None where it has none."""
    from poi.elements import BaseMap

    if not has_basemap(ds):
        return None
    parts: dict[str, Any] = {
        "kind": np.empty(0, dtype=np.int8), "size": np.empty(0, dtype=np.int32), "at": np.empty((0, 2), dtype=np.int32)
    }  # fmt: skip
    if "map_class" in ds.coords:
        steps = np.stack([ds["map_lon"].values, ds["map_lat"].values], axis=-1).astype(np.int64)
        parts = {"kind": ds["map_class"].values, "size": ds["map_size"].values,
                 "at": np.cumsum(steps, axis=0).astype(np.int32)}  # fmt: skip
    if "map_name" in ds.coords:
        parts["name"] = tuple(map(str, ds["map_name"].values))
        parts["name_kind"] = ds["map_name_class"].values
        parts["name_at"] = np.stack([ds["map_name_lon"].values, ds["map_name_lat"].values], axis=-1)
    return BaseMap(**parts)


def has_basemap(ds: xr.Dataset) -> bool:
    """Whether a Dataset carries a map."""
    return "map_class" in ds.coords or "map_name" in ds.coords


def without_basemap(ds: xr.Dataset) -> xr.Dataset:
    """`ds` without its map, for formats that hold cells and nothing else."""
    return ds.drop_vars([name for name in MAP_VARIABLES if name in ds.coords])
