"""A place -> its Context: boundary or cells -> points of interest -> counts -> a Dataset as `dataset.schema` says.

The place is a name, a box, a polygon, the operator's cells or base stations, or the area of an OpenStreetMap file. The
points come from that file, or else from Overpass. Edge cells are whole: points are read as far as the cells reach.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gentraffic.dataset.build import Places, measured_context, middle, places_from_xy
from gentraffic.dataset.geometry import footprint_text
from gentraffic.dataset.schema import IN_MEMORY, Memory, blocks, check_name, check_timezone, release_pages
from gentraffic.errors import BadInput, NoData, WrongUse, did_you_mean
from gentraffic.io.source_columns import SECTOR_COLUMNS, Reading, make_reading
from gentraffic.modelling.features import MARGIN_M
from gentraffic.places.misplaced import area_of_places, box_around
from gentraffic.places.streets import AROUND_M, READ_M, map_around

if TYPE_CHECKING:
    import geopandas as gpd
    import xarray as xr
    from numpy.typing import NDArray
    from shapely.geometry.base import BaseGeometry

    from gentraffic.places.query import PlaceQuery
    from poi.grid import Grid
    from poi.safety import Limits

CELL_M = 250.0  # half the spacing of urban sites, near the 235 m of Milan's public grid
RADIUS_M = 500.0  # what an urban site covers
ATTRIBUTION = "(c) OpenStreetMap contributors, Open Database License (ODbL) 1.0"
LICENSE = "ODbL-1.0"
UNFOLDED_ENV = "GENTRAFFIC_MAX_UNFOLDED_GB"  # for who trusts a file that unfolds beyond the caps of poi.safety
FETCHED = "cells_fetched"  # attribute: a context with other cells was cut by hand, and lacks what lies around them
_MARGIN_M = 200.0  # beyond the cells, so that an echo across the edge is known (poi.categories.ECHO_M)
_MOST_MARGIN = 4_000_000  # cells of the box around a grid: more are too many to look at
_EMPTY = 0.95  # share of cells without a place from which a file's area is doubted
_UNCOVERED = 0.02  # share of cells outside the file's extent from which the Context carries a warning
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class _Area:
    """Where to count: the cells of a grid by their ids, or the user's own cells or stations."""

    name: str
    boundary: BaseGeometry  # degrees; `reach_m` around it lies all that the cells cover
    reach_m: float
    grid: Grid | None = None
    ids: NDArray[np.int64] | None = None
    cells: gpd.GeoDataFrame | None = None


def read_place(
    query: PlaceQuery, *, command: str = "", store: Memory = IN_MEMORY, progress: Progress | None = None
) -> xr.Dataset:
    """The Context of a place: `poi_count` (cell, category) and where the cells are; see `gentraffic.dataset.schema`.

    query: the place, but for `context`, `water` and `population`, which `find.find_context` sees to. Cells are laid
    CELL_M wide and stations cover RADIUS_M unless it says otherwise; without `osm` Overpass is asked. command: for the
    attributes. store: where the numbers of the cells of a grid lie. progress: told (answered, asked) by Overpass.
    The attribute `warnings` repeats what is missing: categories, parts of the file, coordinates.

    Raises WrongUse for two places or none, and for options that do not go together; NoData or PlaceNotFound for no such
    place or one without POIs; NetworkFailed; BadInput, BadFile and PoiError for files and areas of no use."""
    from poi.osm import read_pois

    city, cells, stations, osm, layer = query.city, query.cells, query.stations, query.osm, query.layer
    given = {"city": city, "bbox": query.bbox, "polygon": query.polygon, "cells": cells, "stations": stations}
    reading = make_reading(query.columns, query.id_column, query.decimal, query.thousands)
    _check_use(given, osm, query.cell_size, query.radius, reading, layer)
    if query.timezone is not None:
        check_timezone(query.timezone)
    pois: gpd.GeoDataFrame | None = None
    if cells is not None:
        area = _cells_area(cells, reading.named("id"), layer)
    elif stations is not None:
        area = _stations_area(stations, reading, RADIUS_M if query.radius is None else query.radius)
    else:
        if osm is not None and not any(value is not None for value in given.values()):
            pois = read_pois(osm, limits=_limits(), basemap=True)
        cell_m = CELL_M if query.cell_size is None else query.cell_size
        if pois is not None:
            area = _grid_area(str(pois.attrs["source"]), area_of_places(pois, cell_m), cell_m)
        else:
            area = _grid_area(*_boundary(city, query.bbox, query.polygon, query.offline, layer), cell_m)
    if pois is None and osm is not None:
        around = MARGIN_M if area.grid is not None else _MARGIN_M
        wide = box_around(area.boundary, area.reach_m + READ_M).bounds
        pois = read_pois(osm, box_around(area.boundary, area.reach_m + around), limits=_limits(), basemap=wide)
        _check_overlap(area, pois, Path(osm))
    elif pois is None:
        from gentraffic.places.osm_online import fetch_pois

        pois = fetch_pois(area.boundary, margin_m=area.reach_m + _MARGIN_M, offline=query.offline, progress=progress)
    whole = osm is not None and any(value is not None for value in given.values())  # of a file that reaches further
    no_map = _ask_for_map(area, pois, query.offline) if osm is None else []
    margin = _margin(area, pois) if whole else None
    places, counts = _count(area, pois, store)
    empty = 0
    for rows in blocks(len(counts)):
        empty += int((~counts[rows].any(axis=1)).sum())
        release_pages(counts)
    alone = not any(value is not None for value in given.values())
    if empty == len(counts) and alone and len(pois):
        box = ",".join(f"{degrees:.4f}" for degrees in pois.attrs["extent"])
        raise NoData(f"none of the {len(pois)} places in {area.name} lies in the box that it states, {box}: correct its"
                     " bounds, or give --bbox")  # fmt: skip
    if empty == len(counts):
        raise NoData(f"{area.name} has no points of interest in {pois.attrs['source']}: give another place or extract")
    attrs: dict[str, Any] = {"title": f"Points of interest of {area.name}", "place": area.name, "command": command}
    if places.kind == "stations":
        attrs["radius_m"] = area.reach_m
    warnings = [
        *(area.cells.attrs.get("warnings", ()) if area.cells is not None else ()),
        *_gaps(places, pois),
        *no_map,
    ]
    if alone and empty > _EMPTY * len(counts):
        warnings.append(f"{empty} of {len(counts)} cells are empty: is this the area? give --bbox or --polygon")
    found = _dataset(places, counts, pois, query.timezone, attrs, warnings)
    found = found.assign_coords(map_around(places.lon, places.lat, places.cell_m or 0.0, pois))
    found = found if margin is None else found.assign(margin)
    return found.assign(_ground(area, pois, found, store)).assign_attrs({FETCHED: found.sizes["cell"]})


def context_dataset(
    cells: gpd.GeoDataFrame, counts: NDArray[np.integer], pois: gpd.GeoDataFrame, *, timezone: str | None = None,
    **attrs: str | float,
) -> xr.Dataset:  # fmt: skip
    """A checked Context of `cells` (as `poi.grid` or `gentraffic.io.user_cells` give them) and counts (cells, 8).

    pois: where the counts come from; its `.attrs` say source, snapshot and hash. attrs: further attributes, such as
    place, command, radius_m. Raises BadInput where the result breaks the schema or the time zone is not known."""
    places = _places(cells)
    return _dataset(places, counts, pois, timezone, dict(attrs), _gaps(places, pois))


# --- where ------------------------------------------------------------------------------------------------------------


def _check_use(
    given: Mapping[str, object], osm: object, cell_size: float | None, radius_m: float | None,
    reading: Reading, layer: str | None,
) -> None:  # fmt: skip
    named = [f"--{name}" for name, value in given.items() if value is not None]
    if len(named) > 1:
        raise WrongUse(f"{' and '.join(named)} name two places: give one")
    if not named and osm is None:
        raise WrongUse("no place: give one of --city, --bbox, --polygon, --cells, --stations, or --osm FILE")
    own = named[0] if named and named[0] in ("--cells", "--stations") else None
    if own and cell_size is not None:
        raise WrongUse(f"--cell-size does not go with {own}, which bring their own cells")
    from poi.grid import MAX_CELL_M, MIN_CELL_M

    if cell_size is not None and not MIN_CELL_M <= cell_size <= MAX_CELL_M:
        raise WrongUse(f"--cell-size {cell_size:g}: give {MIN_CELL_M:g} to {MAX_CELL_M:g} metres")
    if radius_m is not None and own != "--stations":
        raise WrongUse("a coverage radius goes with --stations only")
    if radius_m is not None and not (math.isfinite(radius_m) and 0 < radius_m <= 50_000):
        raise WrongUse(f"a coverage radius of {radius_m:g} m: give more than 0 and at most 50000 metres")
    if reading.named("id") is not None and not own:
        raise WrongUse("a column of ids goes with --cells or --stations only")
    if own != "--stations" and set(reading.columns) - {"id"}:
        raise WrongUse("--columns beside id= goes with --stations only")
    if layer is not None and (not named or named[0] not in ("--cells", "--polygon")):
        raise WrongUse("--layer goes with --cells or --polygon only")


def _boundary(
    city: str | None,
    bbox: Sequence[float] | None,
    polygon: str | Path | None,
    offline: bool,
    layer: str | None,
) -> tuple[str, BaseGeometry]:
    """Name and boundary (degrees) of what is to be laid out as a grid."""
    if city is not None:
        return _named(city, offline)
    if bbox is not None:
        return "bbox " + ",".join(f"{degrees:g}" for degrees in bbox), _box(bbox)
    from gentraffic.io.user_cells import read_boundary

    assert polygon is not None  # _check_use has seen to it
    return Path(polygon).name, read_boundary(polygon, layer=layer)


def _named(city: str, offline: bool) -> tuple[str, BaseGeometry]:
    from gentraffic.places.osm_online import fetch_place
    from poi.errors import NetworkFailed, PlaceNotFound

    if not city.strip():
        raise WrongUse("--city is empty: give a name such as 'Trento, Italy'")
    try:
        boundary, name = fetch_place(city.strip(), offline=offline)
    except (NetworkFailed, PlaceNotFound) as error:
        bundled = sorted(path.stem for path in Path(__file__).parents[1].glob("assets/contexts/*.nc"))
        near = did_you_mean(city.split(",")[0], bundled, "--city ")  # without the country: names of a bundled city
        if not near and isinstance(error, NetworkFailed):
            near = f"; bundled, without a network: {', '.join(bundled)}"
        raise type(error)(f"{error}{near}") from error
    return name, boundary


def _box(bbox: Sequence[float]) -> BaseGeometry:
    import shapely

    if len(bbox) != 4 or not all(math.isfinite(degrees) for degrees in bbox):
        raise WrongUse(f"--bbox {','.join(map(str, bbox))}: give four numbers, west,south,east,north in degrees")
    west, south, east, north = bbox
    option = f"--bbox {west:g},{south:g},{east:g},{north:g}"
    if max(abs(south), abs(north)) > 90 >= max(abs(west), abs(east)):
        raise WrongUse(f"{option}: lon and lat look swapped; the order is west,south,east,north")
    if max(abs(west), abs(east)) > 180 or max(abs(south), abs(north)) > 90:
        raise WrongUse(f"{option} is not on earth: give west,south,east,north in degrees")
    if south >= north:
        raise WrongUse(f"{option}: south is not below north; the order is west,south,east,north")
    if west >= east:
        raise WrongUse(f"{option}: west is not left of east; split a box across the 180th meridian")
    return shapely.box(west, south, east, north)


def _grid_area(name: str, boundary: BaseGeometry, cell_m: float) -> _Area:
    from poi.grid import grid_over, ids_within

    grid = grid_over(boundary, cell_m)
    return _Area(name, boundary, cell_m * math.sqrt(2), grid, ids_within(grid, boundary))


def _cells_area(path: str | Path, id_column: str | None, layer: str | None) -> _Area:
    import shapely

    from gentraffic.io.user_cells import read_cells
    from gentraffic.places.misplaced import without_misplaced

    cells = without_misplaced(read_cells(path, id_column=id_column, layer=layer), path)
    boxes = shapely.union_all(shapely.envelope(shapely.get_parts(cells.geometry.to_numpy())))
    both = boxes.bounds[2] - boxes.bounds[0] > 180.0  # sides of the 180th meridian: a hull would go around the earth
    return _Area(Path(path).name, boxes if both else shapely.convex_hull(boxes), 0.0, cells=cells)


def _stations_area(path: str | Path, reading: Reading, radius_m: float) -> _Area:
    from gentraffic.io.user_cells import read_stations
    from gentraffic.places.misplaced import without_misplaced

    asked = [name for name in reading.columns if name not in ("id", "lon", "lat", *SECTOR_COLUMNS)]
    for name in asked:
        try:
            check_name(name)
        except BadInput:
            raise WrongUse(f"--columns {name}={reading.columns[name]}: a column kept beside the cells has a name of"
                           " letters, digits and _, and not that of another coordinate") from None  # fmt: skip
    cells = without_misplaced(read_stations(path, reading=reading, asked=asked), path)
    return _Area(Path(path).name, cells.geometry.union_all(), radius_m, cells=cells)


# --- what -------------------------------------------------------------------------------------------------------------


def _limits() -> Limits:
    from poi.safety import Limits

    value = os.environ.get(UNFOLDED_ENV)
    if not value:
        return Limits()
    if not value.isdigit():
        raise WrongUse(f"{UNFOLDED_ENV} is {value!r}: give whole gigabytes")
    trusted = int(value) << 30
    return replace(Limits(), file_bytes=trusted, unfolded_bytes=trusted, slack=trusted)


def _check_overlap(area: _Area, pois: gpd.GeoDataFrame, path: Path) -> None:
    """Raises BadInput where a file lies wholly elsewhere, and says so if exchanging lon and lat would put it right."""
    import shapely

    extent = pois.attrs["extent"]
    if extent is None:
        raise BadInput(f"{path} holds no coordinates: give another file")
    covered, wanted = shapely.box(*extent), box_around(area.boundary, area.reach_m)
    if covered.intersects(wanted):
        return
    west, south, east, north = wanted.bounds
    if covered.intersects(shapely.box(south, west, north, east)):
        raise BadInput(f"lon and lat look swapped in {area.name} or in {path.name}: exchanged, they fit together")
    at, of = (",".join(f"{degrees:.3f}" for degrees in bounds) for bounds in (wanted.bounds, extent))
    raise BadInput(f"{path} covers {of}, and {area.name} lies at {at}: give an extract that covers the place")


def _ask_for_map(area: _Area, pois: gpd.GeoDataFrame, offline: bool) -> list[str]:
    """Put the map beneath, and what stands there, asked of Overpass, beside the points; a warning where neither can be
    had."""
    from gentraffic.places.osm_online import fetch_basemap
    from poi.errors import NetworkFailed, PoiError

    try:
        base, ground = fetch_basemap(area.boundary, margin_m=area.reach_m + AROUND_M[0], offline=offline)
    except (NetworkFailed, PoiError) as error:
        return [] if offline else [f"maps are without streets: {error}"]
    for name, found in (("basemap", base), ("ground", ground)):
        if found is not None:
            pois.attrs[name] = found
    return []


def _count(area: _Area, pois: gpd.GeoDataFrame, store: Memory) -> tuple[Places, NDArray[np.integer]]:
    """Where the cells are, and their counts (cells, 8)."""
    from poi.categories import CATEGORIES
    from poi.count import add_counts_in_grid, count_pois

    if area.cells is not None:
        stations = area.cells.attrs["kind"] == "stations"
        return _places(area.cells), count_pois(pois, area.cells, radius_m=area.reach_m if stations else None)
    assert area.grid is not None
    assert area.ids is not None
    # without polygons: a country has millions of cells, and a polygon takes a kilobyte
    counts = store.zeros("poi_count", (len(area.ids), len(CATEGORIES)), np.int32)
    add_counts_in_grid(counts, pois, area.grid.crs, area.grid.cell_m, area.ids)
    return _grid_places(area.grid, area.ids, store), counts


def _ground(area: _Area, pois: gpd.GeoDataFrame, context: xr.Dataset, store: Memory) -> dict[str, Any]:
    """What stands on the ground of the cells of a context, and of those around: variables of it."""
    from gentraffic.places.ground import margin_of, place_variables, variables_of
    from poi.count import amounts_in_grid, sum_ground, sum_in_grid

    ground = pois.attrs.get("ground")
    if ground is None:
        return {}
    if area.cells is not None:
        stations = area.cells.attrs["kind"] == "stations"
        return variables_of(sum_ground(ground, area.cells, radius_m=area.reach_m if stations else None), ground)
    assert area.grid is not None
    assert area.ids is not None
    amounts = amounts_in_grid(ground, area.grid.crs, area.grid.cell_m, area.ids)
    found = place_variables(amounts, ground, len(area.ids), store)
    if "margin_x" not in context:
        return found
    col, row = ((context[f"margin_{axis}"].values - low) / area.grid.cell_m - 0.5
                for axis, low in (("x", area.grid.west), ("y", area.grid.south)))  # fmt: skip
    ids = area.grid.ids(np.rint(row).astype(np.int64), np.rint(col).astype(np.int64))
    return found | margin_of(sum_in_grid(ground, area.grid.crs, area.grid.cell_m, ids), found, area.grid.cell_m**2)


def _margin(area: _Area, pois: gpd.GeoDataFrame) -> dict[str, Any] | None:
    """The cells within MARGIN_M around those of a grid, as far as the file reaches, and their counts: variables of a
    Context. So that a cell has the same surroundings whatever area is drawn. None where there are none, or too many."""
    from pyproj import Transformer
    from scipy.ndimage import maximum_filter

    from poi.count import count_in_grid

    if area.grid is None or area.ids is None or pois.attrs["extent"] is None:
        return None
    grid, ring = area.grid, math.ceil(MARGIN_M / area.grid.cell_m)
    if (grid.rows + 2 * ring) * (grid.cols + 2 * ring) > _MOST_MARGIN:
        return None
    inside = np.zeros((grid.rows + 2 * ring, grid.cols + 2 * ring), dtype=bool)
    row, col = grid.row_col(area.ids)
    inside[row + ring, col + ring] = True
    near = maximum_filter(inside, 2 * ring + 1, mode="constant", cval=False) & ~inside
    at_row, at_col = (part - ring for part in np.nonzero(near))
    x, y = grid.west + (at_col + 0.5) * grid.cell_m, grid.south + (at_row + 0.5) * grid.cell_m
    lon, lat = Transformer.from_crs(grid.crs, "EPSG:4326", always_xy=True).transform(x, y)
    west, south, east, north = pois.attrs["extent"]
    known = (lon >= west) & (lon <= east) & (lat >= south) & (lat <= north) & (x > 0) & (y > 0)
    if not known.any():
        return None
    ids = grid.ids(at_row[known], at_col[known])
    counts = count_in_grid(pois, grid.crs, grid.cell_m, ids).astype(np.int32)
    about = {"units": "1", "long_name": "points of interest of the cells around"}
    return {
        "margin_poi_count": (("margin", "category"), counts, about),
        "margin_x": ("margin", x[known], {"units": "m"}),
        "margin_y": ("margin", y[known], {"units": "m"}),
    }


def _grid_places(grid: Grid, ids: NDArray[np.int64], store: Memory) -> Places:
    from pyproj import CRS

    wkt = CRS.from_user_input(grid.crs).to_wkt()
    own = {"cell_id": store.zeros("cell_id", ids.shape, np.int64)}
    own |= {name: store.zeros(name, ids.shape, np.float64) for name in ("lon", "lat", "x", "y")}
    own |= {name: store.zeros(name, ids.shape, np.int32) for name in ("row", "col")}
    for rows in blocks(len(ids)):
        row, col = grid.row_col(ids[rows])
        centres = grid.centres(ids[rows])
        part = places_from_xy(ids[rows], centres[:, 0], centres[:, 1], wkt, kind="grid")
        for name, values in (("cell_id", part.ids), ("row", row), ("col", col)):
            own[name][rows] = values
        for name in ("lon", "lat", "x", "y"):
            own[name][rows] = getattr(part, name)
        release_pages(*own.values())
    extra = {name: own.pop(name) for name in ("row", "col")}
    return Places(own.pop("cell_id"), **own, crs_wkt=wkt, kind="grid", cell_m=grid.cell_m, extra=extra)


def _places(cells: gpd.GeoDataFrame) -> Places:
    """Where cells are: the centres of polygons in the metres of `crs_wkt`, or the stations themselves."""
    kind, wkt = str(cells.attrs["kind"]), str(cells.attrs["crs_wkt"])
    centres = cells.geometry.to_crs(wkt).centroid
    extra: dict[str, NDArray[Any]] = {}
    if "row" in cells.columns:
        extra = {name: cells[name].to_numpy(dtype=np.int32) for name in ("row", "col")}
    if kind == "stations":
        extra |= {name: cells[name].to_numpy() for name in cells.columns if name not in ("cell_id", "geometry")}
    if kind == "cells":
        extra["footprint"] = footprint_text(cells.geometry.to_numpy()).astype(str)
    cell_m = float(cells.attrs["cell_m"]) if kind == "grid" else None
    x, y = centres.x.to_numpy(dtype=np.float64), centres.y.to_numpy(dtype=np.float64)
    return places_from_xy(cells["cell_id"].to_numpy(), x, y, wkt, kind=kind, cell_m=cell_m, extra=extra)


def _gaps(places: Places, pois: gpd.GeoDataFrame) -> list[str]:
    """What the source says is missing, and how many cells it does not cover."""
    import shapely

    warnings = list(pois.attrs.get("warnings", ()))
    extent = pois.attrs.get("extent")
    if extent is not None and extent[2] - extent[0] <= 180.0:
        half = (places.cell_m or 0.0) / math.sqrt(2)  # the squares that cross the file's edge are not outside
        west, south, east, north = box_around(shapely.box(*extent), half).bounds
        outside = 0
        for rows in blocks(len(places.lon)):
            lon, lat = places.lon[rows], places.lat[rows]
            outside += int(((lon < west) | (lon > east) | (lat < south) | (lat > north)).sum())
            release_pages(places.lon, places.lat)
        if outside > _UNCOVERED * len(places.lon):
            warnings.append(f"{outside} of {len(places.lon)} cells lie outside the area of {pois.attrs['source']}")
    return warnings


def _dataset(
    places: Places,
    counts: NDArray[np.integer],
    pois: gpd.GeoDataFrame,
    timezone: str | None,
    attrs: Mapping[str, str | float],
    warnings: Sequence[str],
) -> xr.Dataset:
    from poi.categories import CATEGORIES

    any_of, peopled = np.zeros(len(CATEGORIES), dtype=bool), np.zeros(len(counts), dtype=bool)
    for rows in blocks(len(counts)):
        some = counts[rows] > 0
        any_of |= some.any(axis=0)
        peopled[rows] = some.any(axis=1)
        release_pages(counts)
    lacking = [name for name, any_there in zip(CATEGORIES, any_of, strict=True) if not any_there]
    lines = [*warnings, *(f"there are no points of interest of category {name} here" for name in lacking)]
    provenance: dict[str, Any] = {
        "osm_source": str(pois.attrs["source"]),
        "osm_snapshot": str(pois.attrs["snapshot"]),
        "osm_sha256": str(pois.attrs["sha256"]),
        "attribution": str(pois.attrs.get("attribution", ATTRIBUTION)),
        "license": str(pois.attrs.get("license", LICENSE)),
    }
    return measured_context(
        places,
        counts.astype(np.int32, copy=False),
        timezone=timezone or _timezone(places, peopled),
        attrs=provenance | dict(attrs),
        warnings=lines,
    )


def _timezone(places: Places, peopled: NDArray[np.bool_]) -> str:
    """The zone of most cells; where nearly all are empty, of most that hold a place. peopled: (cells,) which do."""
    from gentraffic.dataset.zones import zone_of_most

    few = 0 < peopled.sum() < (1 - _EMPTY) * len(peopled)
    found = zone_of_most(places.lon[peopled], places.lat[peopled]) if few else zone_of_most(places.lon, places.lat)
    if found is None:
        lon, lat = middle(places.lon, places.lat)
        raise BadInput(f"no time zone is known at {lon:.3f}, {lat:.3f}: give --timezone, e.g. Europe/Rome")
    return found
