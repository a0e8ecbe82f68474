"""What a traffic or context Dataset must be, checked in words.

Traffic: dimensions `([member,] cell, time)`, one float32 variable per service with a `units` attribute, finite and not
negative. Context: dimensions `(cell, category)` with `poi_count`, over the same cells. Both carry per cell `cell_id`,
`lon`, `lat` (degrees), `x`, `y` (metres in the attribute `crs_wkt`), for grids `row`, `col`, and `footprint` (WKT
polygon in lon/lat) where a cell is not a square of the grid; perhaps more columns per cell, such as `site`, `azimuth`,
`height`, `band` (numbers or text), and the map beneath (`dataset.basemap`). Times are UTC and evenly spaced; the
attribute `timezone` says where they are local. The layout is CF discrete sampling geometry,
`featureType = "timeSeries"`.

A context may have a margin, the cells around its own: `margin_poi_count` (margin, category), `margin_x`, `margin_y`
(margin). They are there where the file that a place was counted in reaches further than the place, so that a cell has
the same surroundings whatever area is drawn around it.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from gentraffic.errors import BadInput, WrongUse, did_you_mean

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

CONVENTIONS = "CF-1.12"
MAIN = ("traffic", "internet")  # the main service: meant where nobody names another
KINDS = ("grid", "cells", "stations", "unplaced")  # the last: series whose positions nobody told
PER_CELL = ("cell_id", "lon", "lat", "x", "y", "row", "col", "footprint")
# The map beneath (`dataset.basemap`): its dimensions, and its coordinates with the dimension of each.
SHAPES, POINTS, LABELS = "map_shape", "map_point", "map_label"
MAP_DIMS = (SHAPES, POINTS, LABELS)
MAP_VARIABLES = {
    "map_class": SHAPES, "map_size": SHAPES, "map_lon": POINTS, "map_lat": POINTS,
    "map_name": LABELS, "map_name_class": LABELS, "map_name_lon": LABELS, "map_name_lat": LABELS,
}  # fmt: skip
MEASURED = "measured_steps"  # a column of cells of traffic that was drawn given measured traffic
# Refusals of `--known`, before a model is loaded and by it.
NOT_HERE = "--known: none of its {} cells is one of the place (its first is {!r})"
NOTHING_LEFT = "--known: everything is measured already, there is nothing left to draw"
MAX_POINTS = 5_000_000  # of a map: those made here have fewer than 300,000
MAX_LABELS = 200_000
RESERVED = frozenset(
    {*PER_CELL, "cell", "time", "member", "category", "geometry", "poi_count", "crs", *MAP_DIMS, *MAP_VARIABLES}
)
# Attributes of the place that traffic takes over from its context.
PLACE_ATTRS = ("place", "kind", "cell_m", "radius_m", "crs_wkt", "timezone", "network", "osm_source", "osm_snapshot",
               "osm_sha256", "attribution", "license", "warnings", "water")  # fmt: skip
MARGIN = {"margin_poi_count": ("margin", "category"), "margin_x": ("margin",), "margin_y": ("margin",)}
COORD_ATTRS: dict[str, dict[str, str]] = {
    "cell_id": {"cf_role": "timeseries_id", "long_name": "identifier of the cell or station"},
    "lon": {"standard_name": "longitude", "units": "degrees_east", "long_name": "longitude of the centre"},
    "lat": {"standard_name": "latitude", "units": "degrees_north", "long_name": "latitude of the centre"},
    "x": {"units": "m", "long_name": "easting of the centre in the CRS of the attribute crs_wkt"},
    "y": {"units": "m", "long_name": "northing of the centre in the CRS of the attribute crs_wkt"},
    "row": {"long_name": "row of the grid, counted northwards"},
    "col": {"long_name": "column of the grid, counted eastwards"},
    "footprint": {"long_name": "outline of the cell, WKT in longitude and latitude"},
    "site": {"long_name": "site that the sector stands on"},
    "azimuth": {"long_name": "direction that the antenna looks to, degrees from north, clockwise"},
    "height": {"long_name": "height of the antenna, m"},
    "band": {"long_name": "frequency band"},
    MEASURED: {"long_name": "steps at which the value was measured; at the others it was drawn"},
    "time": {"standard_name": "time", "axis": "T", "long_name": "start of the interval, UTC"},
    "member": {"standard_name": "realization", "long_name": "member of the ensemble"},
}
# A cell's centre by x, y and by lon, lat may differ by roundings, not by this much: then lon and lat are swapped.
CENTRE_TOLERANCE_M = 1000.0
# xarray holds strings in fixed width: the widest footprint times the number of cells must stay bounded.
FOOTPRINT_BYTES = 2**30
BLOCK_VALUES = 2**22  # 16 MiB of float32
BLOCK = 65_536  # cells that are worked on at a time: a country has millions


def long_name(service: str) -> str:
    """What programs write at an axis: "internet traffic", and not "traffic traffic"."""
    return service if service == "traffic" else f"{service} traffic"


def services(ds: xr.Dataset) -> list[str]:
    """The names of the traffic variables of `ds`, in its order."""
    return [str(name) for name in ds.data_vars]


def cell_columns(ds: xr.Dataset) -> list[str]:
    """What is told of each cell beyond PER_CELL: `site`, `azimuth` and the like, in the order of `ds`."""
    return [str(name) for name in ds.coords if ds[name].dims == ("cell",) and name not in (*PER_CELL, "cell")]


def one_service(ds: xr.Dataset, name: str | None) -> str:
    """`name` if `ds` has such a service; for None the main one (`MAIN`), else the first. Raises WrongUse."""
    have = services(ds)
    if name is not None and name not in have:
        raise WrongUse(f"no service {name!r} here, only {', '.join(have)}{did_you_mean(name, have)}")
    return name or next((main for main in MAIN if main in have), have[0])


def units_words(ds: xr.Dataset, service: str) -> str:
    """The units of a service as a reader wants them: "1" says that the values are relative."""
    units = str(ds[service].attrs["units"])
    return "relative" if units == "1" else units


def member_band(members: int) -> tuple[tuple[float, float], str]:
    """The quantiles between which pictures shade an ensemble, and what to call it: few members have no 5% quantile."""
    if members < 10:
        return (0.0, 1.0), f"range of {members} members"
    return (0.05, 0.95), f"central 90% of {members} members"


def local_time(ds: xr.Dataset) -> pd.DatetimeIndex:
    """The times of `ds` as a zone-aware index in its `timezone`, (steps,)."""
    import pandas as pd

    return pd.DatetimeIndex(ds["time"].values).tz_localize("UTC").tz_convert(str(ds.attrs["timezone"]))


def is_usual_week(ds: xr.Dataset) -> bool:
    """Whether the dates of drawn traffic stand for days of the week: nobody asked for a period."""
    return bool(ds.attrs.get("usual_week"))


def utc_offset_s(ds: xr.Dataset) -> NDArray[np.int64]:
    """Local minus UTC time at each step, (steps,) seconds."""
    local = local_time(ds)
    offset = local.tz_localize(None) - local.tz_convert(None)
    return np.asarray(offset.total_seconds(), dtype=np.int64)


def traffic_dataset(
    values: ArrayLike,
    *,
    cells: xr.Dataset,
    time: ArrayLike | pd.DatetimeIndex,
    service: str,
    units: str,
    timezone: str,
    attrs: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """A checked traffic Dataset.

    values: (cells, steps) or (members, cells, steps), in `units`; cast to float32.
    cells: a Context or Traffic Dataset; its per-cell coordinates and the attributes of the place are taken over.
    time: (steps,) UTC times, naive or zone-aware; evenly spaced.
    attrs: provenance (model, seed, command, ...); wins over what `cells` says.
    More services are further variables of the same dimensions, each with `units`.
    Raises BadInput where the result would break the schema.
    """
    import pandas as pd
    import xarray as xr

    index = pd.DatetimeIndex(time)  # type: ignore[arg-type]
    if index.tz is not None:
        index = index.tz_convert("UTC").tz_localize(None)
    array = np.asarray(values, dtype=np.float32)
    dims = {2: ("cell", "time"), 3: ("member", "cell", "time")}.get(array.ndim)
    expected = (cells.sizes.get("cell", 0), len(index))
    if dims is None or array.shape[-2:] != expected:
        raise BadInput(
            f"values have shape {array.shape}, the cells and times ask for ([members,] {expected[0]}, {expected[1]})"
        )
    coords: dict[Hashable, Any] = {
        name: (("cell",), cells[name].values, COORD_ATTRS[name]) for name in PER_CELL if name in cells.coords
    }
    coords |= {name: cells[name].variable for name in cell_columns(cells)} | basemap_coords_of(cells)
    coords["time"] = (("time",), index.as_unit("ns").to_numpy(), COORD_ATTRS["time"])
    if array.ndim == 3:
        coords["member"] = (("member",), np.arange(len(array), dtype=np.int32), COORD_ATTRS["member"])
    place = {name: cells.attrs[name] for name in PLACE_ATTRS if name in cells.attrs}
    ds = xr.Dataset(
        {service: (dims, array, {"units": units, "long_name": long_name(service)})},
        coords=coords,
        attrs={
            "Conventions": CONVENTIONS,
            "featureType": "timeSeries",
            **place,
            "timezone": timezone,
            **dict(attrs or {}),
        },
    )
    check_traffic(ds)
    return ds


def check_traffic_with_gaps(ds: xr.Dataset) -> None:
    """As `check_traffic`, but NaN may stand for what nobody measured; some value of each service there must be."""
    whole = ds.fillna(0.0)
    check_traffic(whole.assign({n: v.astype(np.float32).assign_attrs(ds[n].attrs) for n, v in whole.items()}))
    for name in ds.data_vars:
        if ds[name].isnull().all():
            raise BadInput(f"{name} holds nothing but NaN: at least one value must be known")


def check_traffic(ds: xr.Dataset) -> None:
    """Raise BadInput, naming what is wrong in one line, unless `ds` is a traffic Dataset as the module says."""
    _check_attrs(ds)
    if not ds.data_vars:
        raise BadInput("there is no traffic variable: at least one of dimensions ([member,] cell, time) is needed")
    _check_dims(ds, ("cell", "time"), allowed=("member", "cell", "time", *MAP_DIMS))
    check_basemap(ds)
    check_timezone(ds.attrs.get("timezone"))
    _check_cells(ds)
    _check_times(ds)
    if "member" in ds.coords and len(np.unique(ds["member"].values)) < ds["member"].size:
        raise BadInput("the numbers of the members are not unique")
    for name in ds.data_vars:
        _check_service(ds, str(name))


def check_context(ds: xr.Dataset) -> None:
    """Raise BadInput, naming what is wrong in one line, unless `ds` is a context Dataset as the module says."""
    from poi.categories import CATEGORIES  # which loads pandas

    _check_attrs(ds)
    _check_dims(ds, ("cell", "category"), allowed=("cell", "category", "margin", *MAP_DIMS))
    check_basemap(ds)
    if not has_positions(ds):
        raise BadInput("a context needs the positions of its cells: kind must be grid, cells or stations")
    check_timezone(ds.attrs.get("timezone"))
    _check_cells(ds)
    if "category" not in ds.coords:
        raise BadInput("the coordinate category is missing: " + ", ".join(CATEGORIES))
    names = tuple(str(name) for name in ds["category"].values)
    if names != CATEGORIES:
        raise BadInput(f"the categories are {', '.join(names)}; they must be {', '.join(CATEGORIES)}, in this order")
    if "poi_count" not in ds.data_vars:
        raise BadInput("the variable poi_count (cell, category) is missing")
    counts = ds["poi_count"]
    if counts.dims != ("cell", "category"):
        raise BadInput(f"poi_count has dimensions {_tuple(counts.dims)}, must be (cell, category)")
    if counts.dtype.kind not in "iu":
        raise BadInput(f"poi_count is {counts.dtype}, must be whole numbers (int32)")
    check_margin(ds)
    for name in [n for n in ("poi_count", "population", "stations") if n in ds.data_vars]:
        per_cell = ds[name].values
        if ds[name].dims[:1] != ("cell",) or per_cell.dtype.kind not in "iuf":
            raise BadInput(f"{name} must be numbers per cell, has dimensions {_tuple(ds[name].dims)}, {per_cell.dtype}")
        _check_amounts(name, per_cell, ds["cell_id"].values)


def _check_amounts(name: str, per_cell: NDArray[Any], ids: NDArray[Any]) -> None:
    """per_cell: (cells,) or (cells, columns); of residents NaN is not known, where any are."""
    partly = name == "population" and per_cell.dtype.kind == "f" and not np.isnan(per_cell).all()
    count, first = 0, 0
    for rows in blocks(len(per_cell)):
        values = per_cell[rows]
        wrong = ~(np.isfinite(values) & (values >= 0))
        if partly:
            wrong &= ~np.isnan(values)
        if wrong.any() and not count:
            first = rows.start + int(np.argwhere(wrong)[0][0])
        count += int(wrong.sum())
        release_pages(per_cell)
    if count:
        raise BadInput(f"{name} holds {count} negative or missing values, the first at cell {ids[first]}")


def check_timezone(name: object) -> None:
    """Raise BadInput unless `name` is an IANA time zone such as Europe/Rome."""
    if not isinstance(name, str) or not name:
        raise BadInput("the attribute timezone is missing: give an IANA name such as Europe/Rome")
    if name in ("localtime", "posixrules", "Factory") or name.startswith(("posix/", "right/")):
        raise BadInput(f"{name!r} is no zone of a place, but another one on each machine: give one such as Europe/Rome")
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        near = did_you_mean(name, available_timezones())
        raise BadInput(f"unknown time zone {name!r}: give an IANA name such as Europe/Rome{near}") from None


def _tuple(dims: tuple[Hashable, ...]) -> str:
    return "(" + ", ".join(map(str, dims)) + ")"


def _check_attrs(ds: xr.Dataset) -> None:
    holders: list[tuple[str, Mapping[Any, Any]]] = [("", ds.attrs)]
    holders += [(f"{name}:", ds[name].attrs) for name in ds.variables]
    for prefix, attrs in holders:
        for key, value in attrs.items():
            plain = isinstance(value, str | int | float | np.integer | np.floating) and not isinstance(value, bool)
            if not (isinstance(key, str) and plain):
                raise BadInput(f"attribute {prefix}{key} is a {type(value).__name__}: attributes are text or numbers")
    kind = ds.attrs.get("kind")
    if kind not in KINDS:
        raise BadInput(f"the attribute kind is {kind!r}, must be one of {', '.join(KINDS)}")
    side = ds.attrs.get("cell_m")
    if kind == "grid" and not (isinstance(side, int | float | np.number) and 0 < side < np.inf):
        raise BadInput(f"the attribute cell_m is {side!r}: a grid needs the side of its cells in metres")


def _check_dims(ds: xr.Dataset, needed: tuple[str, ...], *, allowed: tuple[str, ...]) -> None:
    for dim in needed:
        if dim not in ds.dims:
            raise BadInput(f"the dimension {dim} is missing, there are {_tuple(tuple(ds.dims))}")
        if ds.sizes[dim] == 0:
            raise BadInput(f"the dimension {dim} is empty")
    extra = [str(dim) for dim in ds.dims if dim not in allowed]
    if extra:
        raise BadInput(f"unexpected dimension {extra[0]}, must be {_tuple(allowed)}")


def _check_cells(ds: xr.Dataset) -> None:
    kind = ds.attrs["kind"]
    if kind == "unplaced":
        _check_unplaced(ds)
        return
    for name in ("cell_id", "lon", "lat", "x", "y", *(("row", "col") if kind == "grid" else ())):
        if name not in ds.coords:
            raise BadInput(f"the coordinate {name} (cell) is missing")
    for name in PER_CELL:
        if name in ds.coords and ds[name].dims != ("cell",):
            raise BadInput(f"the coordinate {name} has dimensions {_tuple(ds[name].dims)}, must be (cell)")
    ids = ds["cell_id"].values
    _check_ids(ids)
    _check_columns(ds)
    _check_positions(ds, ids)
    _check_centres(ds)
    _check_grid(ds)
    if "footprint" in ds.coords:
        _check_footprints(ds["footprint"].values.astype(object), ids)
    elif kind == "cells":
        raise BadInput("the coordinate footprint (cell) is missing: cells of one's own need their polygons")


def _check_ids(ids: NDArray[Any]) -> None:
    if ids.dtype.kind not in "iuUT" and not all(isinstance(i, str) for i in ids):
        raise BadInput(f"cell_id is {ids.dtype}, must be whole numbers or text")
    if ids.dtype.kind in "iu" and rising(ids):
        release_pages(ids)
        return  # which needs no memory
    seen, first, counts = np.unique(
        ids if ids.dtype.kind in "iu" else ids.astype(str), return_index=True, return_counts=True
    )
    if len(seen) < len(ids):
        twice = counts > 1
        name = ids[np.min(first[twice])]
        raise BadInput(f"{int(twice.sum())} cell ids appear more than once, the first is {name}: ids must be unique")
    if ids.dtype.kind not in "iu" and (ids.astype(str) == "").any():
        raise BadInput("a cell id is empty")


def _check_positions(ds: xr.Dataset, ids: NDArray[Any]) -> None:
    for name, limit in (("lon", 180.0), ("lat", 90.0), ("x", np.inf), ("y", np.inf)):
        column = ds[name].values
        if column.dtype != np.float64:
            raise BadInput(f"the coordinate {name} is {column.dtype}, must be float64")
        for rows in blocks(len(column)):
            values = column[rows]
            if not np.isfinite(values).all():
                raise BadInput(f"the coordinate {name} is not finite at cell {ids[rows][~np.isfinite(values)][0]}")
            beyond = np.abs(values) > limit
            if beyond.any():
                raise BadInput(
                    f"{name} is {values[beyond][0]:g} at cell {ids[rows][beyond][0]}, beyond {limit:g} degrees: "
                    "are lon and lat swapped, or is the file not in EPSG:4326?"
                )
            release_pages(column)


def _check_grid(ds: xr.Dataset) -> None:
    if ("row" in ds.coords) != ("col" in ds.coords):
        raise BadInput("row and col come together: one of them is missing")
    if "row" in ds.coords:
        row, col = ds["row"].values, ds["col"].values
        if row.dtype.kind not in "iu" or col.dtype.kind not in "iu":
            raise BadInput(f"row and col are {row.dtype} and {col.dtype}, must be whole numbers")
        in_order = all(
            ((row[1:][at] > row[:-1][at]) | ((row[1:][at] == row[:-1][at]) & (col[1:][at] > col[:-1][at]))).all()
            for at in blocks(len(row) - 1)
        )
        release_pages(row, col)
        if in_order:  # row by row, which needs no memory
            return
        by_place = np.lexsort((col, row))
        if ((np.diff(row[by_place]) == 0) & (np.diff(col[by_place]) == 0)).any():
            raise BadInput("two cells have the same row and col")


def _check_footprints(texts: NDArray[Any], ids: NDArray[Any]) -> None:
    if not all(isinstance(text, str) and re.match(r"(MULTI)?POLYGON ?\(", text) for text in texts):
        wrong = next(i for i, t in zip(ids, texts, strict=True) if not re.match(r"(MULTI)?POLYGON ?\(", str(t)))
        raise BadInput(f"the footprint of cell {wrong} is not a WKT polygon")
    if max(map(len, texts)) * 4 * len(texts) > FOOTPRINT_BYTES:
        widest = int(np.argmax([len(text) for text in texts]))
        raise BadInput(
            f"the footprint of cell {ids[widest]} has {len(texts[widest])} characters: simplify the polygons"
        )


def _check_unplaced(ds: xr.Dataset) -> None:
    placed = [name for name in ("lon", "lat", "x", "y", "footprint") if name in ds.coords]
    if placed:
        raise BadInput(f"kind is unplaced, but there is a coordinate {placed[0]}: say kind stations, or drop it")
    _check_ids(ds["cell_id"].values)
    _check_columns(ds)


def _check_columns(ds: xr.Dataset) -> None:
    for name in cell_columns(ds):
        values = ds[name].values
        if values.dtype.kind not in "iufUT" and not all(isinstance(value, str) for value in values):
            raise BadInput(f"the coordinate {name} is {values.dtype}, must be numbers or text")


def _check_centres(ds: xr.Dataset) -> None:
    import pyproj

    wkt = ds.attrs.get("crs_wkt")
    try:
        crs = pyproj.CRS.from_wkt(str(wkt))
    except pyproj.exceptions.CRSError:
        raise BadInput(f"the attribute crs_wkt is not a WKT coordinate system: {str(wkt)[:60]!r}") from None
    if not crs.is_projected or any(abs(axis.unit_conversion_factor - 1) > 1e-9 for axis in crs.axis_info):
        raise BadInput(f"crs_wkt names {crs.name!r}, which is not in metres: use the UTM zone of the place")
    to_metres = pyproj.Transformer.from_crs("EPSG:4326", crs, always_xy=True)
    lon, lat, x, y = (ds[name].values for name in ("lon", "lat", "x", "y"))
    count, first = 0, (0, 0.0)  # row, metres
    for rows in blocks(len(lon)):
        there_x, there_y = to_metres.transform(lon[rows], lat[rows])
        apart = np.hypot(there_x - x[rows], there_y - y[rows])
        far = ~(apart < CENTRE_TOLERANCE_M)
        if far.any() and not count:
            first = rows.start + int(np.argmax(far)), float(apart[far][0])
        count += int(far.sum())
        release_pages(lon, lat, x, y)
    if count:
        raise BadInput(
            f"lon, lat and x, y of cell {ds['cell_id'].values[first[0]]} are {first[1] / 1000:.4g} km apart "
            f"({count} such cells): are lon and lat swapped, or is crs_wkt wrong?"
        )


def _check_times(ds: xr.Dataset) -> None:
    if "time" not in ds.coords:
        raise BadInput("the coordinate time is missing")
    times: NDArray[np.datetime64] = ds["time"].values
    if times.dtype != np.dtype("datetime64[ns]"):
        raise BadInput(f"time is {times.dtype}, must be datetime64[ns] in UTC")
    if np.isnat(times).any():
        raise BadInput(f"time is missing at position {int(np.argmax(np.isnat(times)))}")
    if (times.astype("datetime64[s]") != times).any():
        raise BadInput(f"times are not whole seconds: {times[times.astype('datetime64[s]') != times][0]}")
    steps = np.diff(times)
    zero = np.timedelta64(0, "ns")
    if (steps < zero).any():
        at = int(np.argmax(steps < zero))
        raise BadInput(f"times are not sorted: {_minute(times[at])} is followed by {_minute(times[at + 1])}")
    if (steps == zero).any():
        at = int(np.argmax(steps == zero))
        raise BadInput(f"{int((steps == zero).sum())} times appear twice, the first is {_minute(times[at])}")
    if len(steps) and (steps != steps[0]).any():
        usual, counts = np.unique(steps, return_counts=True)
        cadence = usual[np.argmax(counts)]
        odd = np.flatnonzero(steps != cadence)
        named = "; ".join(f"{_minute(times[i])} to {_minute(times[i + 1])}" for i in odd[:3])
        more = f" and {len(odd) - 3} more" if len(odd) > 3 else ""
        raise BadInput(
            f"times are not evenly spaced by {cadence / np.timedelta64(1, 'm'):g} minutes: {named}{more}; "
            "fill the gaps or cut the series there"
        )


MOST_ADDED = 10  # times the steps that a file has: more absent ones are a mistake in a date


def with_every_step(ds: xr.Dataset) -> xr.Dataset:
    """Traffic whose absent steps are there, as NaN, where all others are whole steps apart; else as it was."""
    if "time" not in ds.coords or ds["time"].dtype.kind != "M" or ds.sizes["time"] < 3 or ds["time"].isnull().any():
        return ds
    times = ds["time"].values.astype("datetime64[ns]")
    steps = np.diff(times).astype(np.int64)
    least, total = int(steps.min()), int(steps.sum())
    if least <= 0 or total == least * len(steps) or (steps % least).any() or total > MOST_ADDED * least * len(times):
        return ds
    return ds.reindex(time=times[0] + np.arange(total // least + 1) * np.timedelta64(least, "ns"))


def _minute(when: np.datetime64) -> str:
    return str(np.datetime_as_string(when, unit="m")) + "Z"


def check_name(service: str) -> None:
    """Raise BadInput where a service cannot be called so."""
    if service in RESERVED or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", service):
        raise BadInput(
            f"{service!r} cannot name a service: letters, digits and _ only, and not the name of a coordinate"
        )


def _check_service(ds: xr.Dataset, name: str) -> None:
    variable = ds[name]
    check_name(name)
    dims = ("member", "cell", "time") if "member" in ds.dims else ("cell", "time")
    if variable.dims != dims:
        raise BadInput(
            f"{name} has dimensions {_tuple(variable.dims)}, must be {_tuple(dims)}: use .transpose{_tuple(dims)}"
        )
    if variable.dtype != np.float32:
        raise BadInput(f"{name} is {variable.dtype}, must be float32")
    units = variable.attrs.get("units")
    if not (isinstance(units, str) and units.strip()):
        raise BadInput(f"{name} has no units: set the attribute units, '1' where the values are relative")
    count: dict[str, int] = {}
    first: dict[str, tuple[Any, ...]] = {}
    for part in cell_blocks(ds):
        values = variable.isel(cell=part).values
        # The minimum of an array that holds NaN is NaN: two reductions settle the usual case without a mask.
        if values.min() >= 0 and values.max() < np.inf:
            continue
        for word, wrong in (("NaN", np.isnan(values)), ("negative", values < 0), ("infinite", np.isposinf(values))):
            if wrong.any():
                *_, cell, step = np.unravel_index(int(np.argmax(wrong)), values.shape)
                first.setdefault(word, (ds["cell_id"].values[part.start + cell], _minute(ds["time"].values[step])))
                count[word] = count.get(word, 0) + int(wrong.sum())
    for word in ("NaN", "negative", "infinite"):
        if word in count:
            cell, step = first[word]
            fix = ": fill them by `gentraffic sample --known`, or leave their cells out" if word == "NaN" else ""
            raise BadInput(f"{name} holds {count[word]} {word} values, the first at cell {cell}, {step}{fix}")


def cell_blocks(ds: xr.Dataset) -> Iterator[slice]:
    """Cut the cells of `ds` into runs whose values are held at once: a country's may lie on the disk."""
    per_cell = max(1, ds.sizes.get("time", 1) * ds.sizes.get("member", 1))
    size = max(1, BLOCK_VALUES // per_cell)
    for start in range(0, ds.sizes["cell"], size):
        yield slice(start, min(start + size, ds.sizes["cell"]))


def check_margin(ds: xr.Dataset) -> None:
    """Raise BadInput where a context has cells around it without places or counts."""
    for name, dims in MARGIN.items() if "margin" in ds.dims else ():
        if name not in ds or ds[name].dims != dims:
            raise BadInput(
                f"{name} ({', '.join(dims)}) is missing: the dimension margin is of the cells around a place"
            )
        values = ds[name].values
        if not np.isfinite(values).all() or (name == "margin_poi_count" and (values < 0).any()):
            raise BadInput(f"{name} holds negative or missing values")


def has_positions(ds: xr.Dataset) -> bool:
    """Whether it is known where the cells lie."""
    return str(ds.attrs.get("kind")) != "unplaced"


def need_positions(ds: xr.Dataset, what: str) -> None:
    """Raise WrongUse, in one line, where `what` is asked of cells whose positions nobody told."""
    if not has_positions(ds):
        reason = "needs to know where the cells lie, and this file has no positions"
        raise WrongUse(f"{what} {reason}: import it again with --cells FILE, or with columns lon, lat")


def warnings_in(ds: xr.Dataset) -> list[str]:
    """What a user should know of a Dataset."""
    return [line for line in str(ds.attrs.get("warnings", "")).splitlines() if line]


def credits_of(texts: Iterable[str]) -> str:
    """Attributions joined, each part once."""
    parts = [part.strip() for text in texts for part in text.split(";")]
    return "; ".join(dict.fromkeys(part for part in parts if part))


def basemap_coords_of(ds: xr.Dataset) -> dict[Hashable, Any]:
    """The coordinates of the map of `ds`, to be given to what is made of it."""
    return {name: ds[name].variable for name in MAP_VARIABLES if name in ds.coords}


def check_basemap(ds: xr.Dataset) -> None:
    """Raise BadInput where the coordinates of a map do not fit each other."""
    from poi.basemap import CLASSES, NAMES

    for dim in (dim for dim in MAP_DIMS if dim in ds.dims):
        for name, of in MAP_VARIABLES.items():
            if (of == LABELS) != (dim == LABELS):
                continue
            if name not in ds.coords or ds[name].dims != (of,):
                raise BadInput(f"the coordinate {name} ({of}) is missing: the dimension {dim} is of the map beneath")
            if name != "map_name" and ds[name].dtype.kind not in ("f" if name.endswith(("e_lon", "e_lat")) else "iu"):
                raise BadInput(f"the coordinate {name} is {ds[name].dtype}, must be numbers")
    for name, known in (("map_class", CLASSES), ("map_name_class", NAMES)):
        if name in ds.coords and not ((ds[name].values >= 0) & (ds[name].values < len(known))).all():
            raise BadInput(f"{name} holds a class beyond {len(known) - 1}: {' '.join(known)}")
    if "map_class" in ds.coords:
        _check_shapes(ds)
    if "map_name" in ds.coords:
        lon, lat = ds["map_name_lon"].values, ds["map_name_lat"].values
        if len(lon) > MAX_LABELS or not ((np.abs(lon) <= 180) & (np.abs(lat) <= 90)).all():
            raise BadInput(f"map_name: more than {MAX_LABELS} names, or one that is not on earth")


def _check_shapes(ds: xr.Dataset) -> None:
    size = ds["map_size"].values.astype(np.int64)
    if (size < 2).any() or size.sum() != ds.sizes[POINTS] or ds.sizes[POINTS] > MAX_POINTS:
        raise BadInput(f"map_size must be 2 or more and sum up to the {ds.sizes[POINTS]} points, at most {MAX_POINTS}")
    for name, most in (("map_lon", 180), ("map_lat", 90)):
        if np.abs(np.cumsum(ds[name].values.astype(np.int64))).max() > most * 100_000:
            raise BadInput(f"{name} leads to a point that is not on earth")
    from poi.basemap import AREAS, CLASSES

    area = np.isin(ds["map_class"].values, [code for code, name in enumerate(CLASSES) if name in AREAS])
    ends = np.cumsum(size)
    at = np.cumsum(np.stack([ds["map_lon"].values, ds["map_lat"].values], axis=-1).astype(np.int64), axis=0)
    closed = (at[ends - 1] == at[ends - size]).all(axis=1) & (size > 3)
    if not closed[area].all():
        raise BadInput("map_lon, map_lat: the ring of an area does not end where it began")


# --- many cells: blocks of them, and arrays that may lie in files -----------------------------------------------------


@dataclass(frozen=True)
class Memory:
    """Where arrays that are being made lie: in memory."""

    def zeros(self, name: str, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """An array of zeros. name: of its file, where it lies in one."""
        return np.zeros(shape, dtype)


IN_MEMORY = Memory()


def blocks(rows: int, size: int | None = None) -> Iterator[slice]:
    """Cut so many rows into blocks of `size` (BLOCK). Who reads mapped arrays releases their pages behind each."""
    size = size or BLOCK
    for first in range(0, rows, size):
        yield slice(first, min(first + size, rows))


def rising(values: NDArray[Any]) -> bool:
    """Whether each of the values (n,) is larger than the one before."""
    starts = range(0, len(values) - 1, BLOCK)
    return all((values[at + 1 : at + BLOCK + 1] > values[at : at + BLOCK][: len(values) - 1 - at]).all()
               for at in starts)  # fmt: skip


def release_pages(*arrays: NDArray[Any] | None) -> None:
    """Give back the memory of what was read from mapped arrays; it is read again where it is needed.

    arrays: each (any shape), or a view of a mapped one.
    """
    for values in arrays:
        base: Any = values
        while isinstance(base, np.ndarray):
            base = base.base
        if isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
            base.madvise(mmap.MADV_DONTNEED)
