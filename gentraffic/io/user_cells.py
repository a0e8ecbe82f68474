"""The places that a user brings: the operator's cells, base stations, a boundary.

Polygons are read through geopandas, points through `poi.osm.read_table`. What cannot be read as asked is refused in one
line that names the value and the mend.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gentraffic.dataset.build import Places, local_utm_wkt, middle, places_from_xy
from gentraffic.dataset.geometry import footprint_text
from gentraffic.errors import BadInput, WrongUse
from gentraffic.io.guard import reads

if TYPE_CHECKING:
    import geopandas as gpd
    import pandas as pd
    from numpy.typing import NDArray
    from shapely.geometry.base import BaseGeometry

ID_COLUMNS = ("cell_id", "cellid", "id", "square_id", "squareid", "grid_id", "gridid", "site_id", "station_id")
STATION_COLUMNS = ("id", "station", "station_id", "site", "site_id", "cell_id", "cellid")
SUFFIXES = (".geojson", ".json", ".gpkg", ".shp", ".fgb", ".parquet", ".geoparquet")
GRID_FILE = re.compile(r"(nadgrids|geoidgrids|PARAMETERFILE)[^\]]*[/\\\\]", re.IGNORECASE)  # with a path in it
MAX_BYTES = 1 << 30
MAX_OWN = 5_000_000  # cells or stations of an own file, whose polygons take a kilobyte each


@reads
def read_cells(path: str | Path, *, id_column: str | None = None, layer: str | None = None) -> gpd.GeoDataFrame:
    """The operator's own cells: polygons in EPSG:4326 with `cell_id` (int64 or str, as the file has them), and `row`,
    `col` (row 0 southernmost) where the centres lie on one lattice. `.attrs`: kind "cells", crs_wkt (local UTM),
    warnings.

    path: GeoJSON, GeoPackage, Shapefile, FlatGeobuf or GeoParquet, in any stated CRS. The ids are in `id_column`, or in
    the first of ID_COLUMNS that the file has (case does not matter). layer: of a file that has several.
    Raises BadInput for a file that is missing, broken, empty, without CRS or in other coordinates than it says, without
    ids or with doubles, or with a geometry that is missing, no polygon, or crosses itself."""
    import geopandas as gpd
    import shapely
    from pyproj import CRS

    from poi.grid import utm_crs
    from poi.lattice import row_col

    frame = read_vector(path, "cells", layer=layer)
    if len(frame) > MAX_OWN:
        raise BadInput(f"{path} has {len(frame)} cells, more than {MAX_OWN}: cut it")
    ids = _ids(frame[_id_column(frame, path, id_column)], path)
    shapes = frame.geometry.force_2d()
    _check_polygons(shapes, ids, path)
    shapes = in_degrees(shapes, path)
    west, _, east, _ = shapely.bounds(shapely.get_parts(shapes.to_numpy(), return_index=True)[0]).T
    if (east - west > 180).any():
        raise BadInput(f"{path} has a shape around the earth: cut what crosses the 180th meridian in two there")
    columns: dict[str, Any] = {"cell_id": ids}
    crs = utm_crs(shapely.box(*shapes.total_bounds))
    centres = shapes.to_crs(crs).centroid
    place = row_col(np.stack([centres.x, centres.y], axis=-1))
    if place is not None:
        columns["row"], columns["col"] = place
    cells = gpd.GeoDataFrame(columns, geometry=shapes.to_numpy(), crs="EPSG:4326")
    cells.attrs.update(kind="cells", crs_wkt=CRS.from_user_input(crs).to_wkt(), warnings=frame.attrs["warnings"])
    return cells


@reads
def read_stations(path: str | Path, *, id_column: str | None = None) -> gpd.GeoDataFrame:
    """Base stations: points in EPSG:4326 with `cell_id`. `.attrs`: kind "stations", crs_wkt (local UTM), warnings.

    path: CSV or Parquet with `lon`, `lat` in degrees and perhaps ids in `id_column` or the first of STATION_COLUMNS;
    without ids the stations are numbered from 0 in the order of the file. A row that repeats both id and place counts
    once, with a warning; two stations may share a mast.
    Raises poi.errors.BadFile for a file that is missing or broken, missing columns, and coordinates that are not
    numbers, not on earth or swapped; BadInput for ids that are missing or stand at two places."""
    import geopandas as gpd
    import shapely
    from pyproj import CRS

    from poi.grid import utm_crs
    from poi.osm import read_table

    required = (id_column,) if id_column else ()
    table = read_table(path, required, () if id_column else STATION_COLUMNS)
    if len(table) > MAX_OWN:
        raise BadInput(f"{path} has {len(table)} stations, more than {MAX_OWN}: cut it")
    column = next((name for name in (*required, *STATION_COLUMNS) if name in table.columns), None)
    notes = []
    if column is not None:
        again = table.duplicated([column, "lon", "lat"])
        if again.any():
            notes = [f"{Path(path).name}: {int(again.sum())} rows repeat a station and its place; each counts once"]
        table = table[~again]
    ids = (
        np.arange(len(table), dtype=np.int64) if column is None else _ids(table[column].mask(table[column] == ""), path)
    )
    points = shapely.points(table["lon"].to_numpy(), table["lat"].to_numpy())
    stations = gpd.GeoDataFrame({"cell_id": ids}, geometry=points, crs="EPSG:4326")
    crs = utm_crs(shapely.box(*stations.total_bounds))
    stations.attrs.update(kind="stations", crs_wkt=CRS.from_user_input(crs).to_wkt(), warnings=notes)
    stations.attrs["rows"] = table.index.to_numpy() + 1  # in the file
    return stations


@reads
def read_boundary(path: str | Path, *, layer: str | None = None) -> BaseGeometry:
    """The union of a file's polygons in EPSG:4326. Raises BadInput as `read_cells` does, and where no area is left."""
    import shapely

    frame = read_vector(path, "a boundary", layer=layer)
    shapes = frame.geometry.force_2d()
    _check_polygons(shapes, np.arange(1, len(shapes) + 1), path)
    boundary = shapely.union_all(in_degrees(shapes, path).to_numpy())
    if boundary.area == 0:
        raise BadInput(f"{path} encloses no area: give a polygon")
    return boundary


def read_vector(path: str | Path, what: str, *, layer: str | None = None) -> gpd.GeoDataFrame:
    """A file of shapes with a CRS and at least one row; `.attrs["warnings"]`: lines on what was mended.

    Only the drivers of SUFFIXES read it, chosen by suffix and content, and none of them may use the network.
    layer: of a GeoPackage that has several. Outlines that are not closed are closed, with a warning.
    Raises BadInput for what cannot be read as asked, WrongUse for a layer that is not there or must be named.
    """
    import geopandas as gpd

    from gentraffic.io.vector import check_vector, gdal_offline, read_layer

    path = Path(path)
    suffix = path.suffix.lower()
    check_vector(path, what, SUFFIXES, MAX_BYTES)
    notes: list[str] = []
    try:
        if suffix in (".parquet", ".geoparquet"):
            frame = gpd.read_parquet(path)
        else:
            with gdal_offline():
                frame, notes = read_layer(path, layer, MAX_OWN)
    except (BadInput, WrongUse, MemoryError):
        raise
    except Exception as error:  # whatever a library raises on an input is the input's
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise BadInput(f"{path} cannot be read ({reason}): is it whole, and what its name says?") from error
    if not isinstance(frame, gpd.GeoDataFrame) or frame.empty:
        raise BadInput(f"{path} holds no shapes: give {what}")
    if frame.crs is None:
        raise BadInput(f"{path} does not say its CRS: save it with one (a Shapefile needs its .prj), e.g. EPSG:4326")
    frame.attrs["warnings"] = notes
    return frame


def in_degrees(shapes: gpd.GeoSeries, path: str | Path) -> gpd.GeoSeries:
    """Shapes in EPSG:4326, refused where they cannot be in the CRS that the file states."""
    from poi.errors import PoiError
    from poi.grid import check_degrees

    crs = shapes.crs
    if crs.is_projected and (np.abs(shapes.total_bounds) <= [180, 90, 180, 90]).all():
        said = crs.to_string()[:60]
        raise BadInput(f"{path} says {said}, in metres, but its numbers look like degrees: state the CRS EPSG:4326")
    if GRID_FILE.search(crs.to_wkt()):
        raise BadInput(f"{path}: its CRS asks for a file of a grid shift: state one with an EPSG code")
    try:
        degrees = shapes.to_crs("EPSG:4326")
    except (RuntimeError, ValueError) as error:  # PROJ's own
        reason = " ".join(str(error).split())[:150]
        raise BadInput(f"{path}: its CRS cannot be turned into degrees ({reason})") from error
    bounds = degrees.total_bounds
    if not np.isfinite(bounds).all():
        raise BadInput(f"{path} cannot be in {crs.to_string()[:60]}: its coordinates lie outside; state the right CRS")
    import shapely

    try:
        check_degrees(shapely.box(*bounds), f"{path} (in {crs.to_string()[:60]})")
    except PoiError as error:
        raise BadInput(str(error)) from error
    return degrees


def _check_polygons(shapes: gpd.GeoSeries, ids: NDArray[Any], path: str | Path) -> None:
    import shapely

    areas = shapes.to_numpy()
    missing = shapely.is_missing(areas) | shapely.is_empty(areas)
    for wrong, said in (
        (missing, "has no geometry: fill it or drop the row"),
        (~missing & ~np.isin(shapely.get_type_id(areas), (3, 6)), "is no polygon: for points use --stations"),
        (~missing & ~shapely.is_valid(areas), "crosses itself: mend it, e.g. with shapely.make_valid"),
    ):
        if wrong.any():
            first = int(np.argmax(wrong))
            more = f" ({int(wrong.sum())} such)" if wrong.sum() > 1 else ""
            raise BadInput(f"{path}: shape {ids[first]} {said}{more}")


def _id_column(frame: gpd.GeoDataFrame, path: str | Path, wanted: str | None) -> str:
    names = {str(name).lower(): str(name) for name in reversed(frame.columns) if name != frame.geometry.name}
    if wanted is not None:
        if wanted.lower() not in names:
            raise WrongUse(f"{path} has no column {wanted!r}: it has {', '.join(names.values()) or 'none'}")
        return names[wanted.lower()]
    found = next((names[name] for name in ID_COLUMNS if name in names), None)
    if found is None:
        raise BadInput(f"{path} has no column of ids ({', '.join(ID_COLUMNS[:3])}, ...): it has "
                       f"{', '.join(names.values()) or 'none'}")  # fmt: skip
    return found


def _ids(column: pd.Series, path: str | Path) -> NDArray[Any]:
    """Ids as int64 where all are whole numbers, else as text. Raises BadInput where one is missing or occurs twice."""
    import pandas as pd

    if column.isna().any():
        raise BadInput(f"{path}, row {int(np.argmax(column.isna())) + 1}: the id is missing; fill it or drop the row")
    double = column.duplicated()
    text = column.astype(str)
    if not double.any():
        double = text.duplicated()
    if double.any():
        value = text[double].iloc[0]
        raise BadInput(f"{path}: id {value} occurs more than once ({int(double.sum())} doubles); ids must be unique")
    if pd.api.types.is_bool_dtype(column):
        raise BadInput(f"{path}: the ids in {column.name} are true and false: name another column")
    number = pd.to_numeric(column, errors="coerce")
    whole = number.notna() & (number % 1 == 0) & (number.abs() < 2**63)
    # "007" is a name, not the number seven
    if whole.all() and (
        not pd.api.types.is_string_dtype(column) or (number.astype(np.int64).astype(str) == text).all()
    ):
        return number.to_numpy().astype(np.int64)
    return text.to_numpy(dtype=str)


def places_from_cells(source: str | Path | gpd.GeoDataFrame, ids: NDArray[Any]) -> tuple[NDArray[np.bool_], Places]:
    """(which of `ids` the cells hold, the Places of those, in the order of `ids`).

    `source`: the operator's cells as a file, stations as CSV, or a frame as `read_cells` gives. Ids are matched as
    they are, or both as text where one side is text. Raises BadInput where no id is found.
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
