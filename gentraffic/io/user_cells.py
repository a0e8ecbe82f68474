"""The places that a user brings: the operator's cells, base stations, a boundary.

Polygons are read through geopandas, points through `gentraffic.io.source_table`. What cannot be read as asked is
refused in one line that names the value and the fix. Ids are text unless all are written as whole numbers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gentraffic.dataset.build import Places, local_utm_wkt, middle, places_from_xy
from gentraffic.dataset.geometry import footprint_text
from gentraffic.errors import BadInput, WrongUse
from gentraffic.io.guard import reads
from gentraffic.io.source_columns import (
    ID_NAMES,
    SECTOR_COLUMNS,
    TELLING,
    Reading,
    as_ids,
    find_column,
    id_columns,
    id_text,
    is_row_number,
    no_ids,
    odd_ids,
    plain,
    points,
    sector_column,
    sector_names,
    some,
    texts,
)
from gentraffic.io.source_table import SourceTable, read_source

if TYPE_CHECKING:
    import geopandas as gpd
    import pandas as pd
    from numpy.typing import NDArray
    from shapely.geometry.base import BaseGeometry

SUFFIXES = (".geojson", ".json", ".gpkg", ".shp", ".fgb", ".parquet", ".geoparquet")
GRID_FILE = re.compile(r"(nadgrids|geoidgrids|PARAMETERFILE)[^\]]*[/\\\\]", re.IGNORECASE)  # with a path in it
MAX_BYTES = 1 << 30
MAX_OWN = 5_000_000  # cells or stations of an own file, whose polygons take a kilobyte each


@reads
def read_cells(
    path: str | Path, *, id_column: str | None = None, layer: str | None = None, match: NDArray[Any] | None = None,
    id_name: str = "",
) -> gpd.GeoDataFrame:  # fmt: skip
    """The operator's own cells: polygons in EPSG:4326 with `cell_id` (int64 or str, as the file has them), and `row`,
    `col` (row 0 southernmost) where the centres lie on one lattice. `.attrs`: kind "cells", crs_wkt (local UTM),
    warnings.

    path: GeoJSON, GeoPackage, Shapefile, FlatGeobuf or GeoParquet, in any stated CRS. The ids are in `id_column`, or in
    the first known name that the file has (`source_columns.ID_NAMES`); given `match`, in the column that holds most of
    these ids. layer: of a file
    that has several.
    Raises BadInput for a file that is missing, broken, empty, without CRS or in other coordinates than it says, without
    ids or with doubles, or with a geometry that is missing, no polygon, or crosses itself.
    match: (n,) ids. id_name: of columns that hold as many of them, the one called so is taken.
    """
    import geopandas as gpd
    import shapely
    from pyproj import CRS

    from poi.grid import utm_crs
    from poi.lattice import row_col

    frame = read_vector(path, "cells", layer=layer)
    if len(frame) > MAX_OWN:
        raise BadInput(f"{path} has {len(frame)} cells, more than {MAX_OWN}: cut it")
    ids = _ids(frame[_id_column(frame, path, id_column, match, id_name)], path)
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
def read_stations(
    path: str | Path,
    *,
    id_column: str | None = None,
    reading: Reading | None = None,
    match: NDArray[Any] | None = None,
    id_name: str = "",
    asked: Sequence[str] = (),
) -> gpd.GeoDataFrame:
    """Base stations: points in EPSG:4326 with `cell_id`, and `site`, `azimuth`, `height`, `band` where the table has
    them. asked: more columns that are kept, which `reading` names.
    `.attrs`: kind "stations", crs_wkt (local UTM), warnings, numbered (True where the table has no ids).

    path: a table (`source_table.read_source`) with `lon`, `lat` in degrees and ids in `id_column`, or in the first
    known name; radio, mcc, net, area and cell of OpenCelliD make one id. reading: how the table names its columns and
    writes numbers. match: ids that are looked for; the column that holds most of them is taken. Without ids the
    stations are numbered from 0 in the order of the file, with a warning. A row that repeats id, place and sector
    counts once, with a warning; two stations may share a mast.
    Raises poi.errors.BadFile for missing columns and coordinates that are not numbers, not on earth or swapped;
    BadInput for a file that is missing or broken, and for ids that are missing or stand at two places.
    match: (n,) ids. id_name: of columns that hold as many of them, the one called so is taken.
    """
    import geopandas as gpd
    import shapely
    from pyproj import CRS

    from poi.errors import BadFile
    from poi.grid import utm_crs

    reading = reading or Reading()
    if id_column is not None:
        reading = replace(reading, id_column=id_column)
    table = read_source(path)
    if table.rows > MAX_OWN:
        raise BadInput(f"{path} has {table.rows} stations, more than {MAX_OWN}: cut it")
    try:
        columns = id_columns(table, reading.named("id"))
    except BadInput as error:
        raise BadFile(str(error)) from None
    lon, lat = points(table, reading)
    notes = list(table.notes)
    if match is not None and reading.named("id") is None:
        columns = _matching(table, columns, match, id_name)
    extra = _sectors(table, reading, asked)
    if columns:
        code, station_ids = id_text(table, columns)
        notes += odd_ids(station_ids)
        named = np.asarray([str(i) for i in station_ids], dtype=object)[code]
        if (named == "").any():
            row = int(np.argmax(named == "")) + table.first
            raise BadInput(f"{path}, row {row}: the id is missing; fill it or drop the row")
        again = np.bincount(code, minlength=len(station_ids)) > 1
        sought = set() if match is None else {str(i) for i in match.tolist()}
        whole = any(str(i) in sought for i in station_ids[again])
        tells = {} if whole else extra | _telling(table, columns)  # ids of sites are sought: their sectors do not count
        keep, named, remarks = _one_row_each(named, lon, lat, tells, Path(path))
        if whole and len(keep) < len(lon):
            extra = {}
        notes += remarks
        ids = as_ids(named[keep])
        if "site" in extra and (named[keep].astype(str) == extra["site"][keep].astype(str)).all():
            del extra["site"]  # the ids say it
    else:
        keep, ids = np.arange(len(lon)), np.arange(len(lon), dtype=np.int64)
        notes.append(f"{no_ids(table)}; rows were numbered from 0")
    stations = gpd.GeoDataFrame(
        {"cell_id": ids, **{name: values[keep] for name, values in extra.items()}},
        geometry=shapely.points(lon[keep], lat[keep]),
        crs="EPSG:4326",
    )
    crs = utm_crs(shapely.box(*stations.total_bounds))
    stations.attrs.update(kind="stations", crs_wkt=CRS.from_user_input(crs).to_wkt(), warnings=notes,
                          numbered=not columns, rows=keep + table.first)  # fmt: skip
    return stations


def _matching(table: SourceTable, known: list[str], ids: NDArray[Any], id_name: str) -> list[str]:
    """The column of a table that holds most of some ids: of several the one called `id_name`, then the known ones.

    Numbers of rows are no ids. Empty where no column holds any. Raises BadInput where two that are not known do.
    """
    wanted = {str(i) for i in ids.tolist()}

    def held(columns: list[str]) -> int:
        return len(wanted & {str(i) for i in id_text(table, columns)[1]})

    named = [name for name in table.names if not is_row_number(name)]
    named.sort(key=lambda n: (plain(n) != plain(id_name), plain(n) not in ID_NAMES))
    every = [*([name] for name in named if id_name and plain(name) == plain(id_name)), known, *([n] for n in named)]
    counts = [held(columns) if columns else 0 for columns in every]
    best = int(np.argmax(counts))
    if not counts[best]:
        return known
    _check_one(table.path, [columns[0] for columns, n in zip(every, counts, strict=True) if n == counts[best]], id_name)
    if every[best] != known:
        code, held_ids = id_text(table, every[best])
        _check_no_rows(table.path, every[best][0], [str(held_ids[c]) for c in code], id_name)
    return every[best]


def _check_one(path: Path | str, names: list[str], id_name: str) -> None:
    """Raise BadInput where the ids that are looked for stand in two columns, and no name tells which is meant."""
    if len(set(names)) > 1 and plain(names[0]) not in {*ID_NAMES, plain(id_name)}:
        raise BadInput(f"{path}: {names[0]!r} and {names[1]!r} hold the same ids: say which with --id-column NAME")


def _check_no_rows(path: Path | str, name: str, ids: Sequence[str], id_name: str) -> None:
    """Raise BadInput where a column of ids, unknown by name, counts the rows: these are in any order, and no ids."""
    if plain(name) in {*ID_NAMES, plain(id_name)} or len(ids) < 2:
        return
    if any(list(ids) == [str(first + row) for row in range(len(ids))] for first in (0, 1)):
        raise BadInput(f"{path}: {name!r} holds {ids[0]}, {ids[1]}, ... as numbers of rows do: where they are the ids,"
                       f" say --id-column {name}")  # fmt: skip


def _sectors(table: SourceTable, reading: Reading, asked: Sequence[str]) -> dict[str, NDArray[Any]]:
    """What a planner's table says of each sector, our name -> (rows,)."""
    names = {ours: find_column(table, sector_names(ours), reading.named(ours)) for ours in (*SECTOR_COLUMNS, *asked)}
    return {ours: sector_column(table, ours, theirs, reading) for ours, theirs in names.items() if theirs is not None}


def _telling(table: SourceTable, ids: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Columns beside azimuth and band by which rows of a site are cells of their own, name -> (rows,)."""
    names = [name for name in table.names if plain(name) in TELLING and name not in ids]
    return {plain(name): np.asarray(texts(table.column(name)), dtype=object) for name in names}


def _one_row_each(
    named: NDArray[Any], lon: NDArray[np.float64], lat: NDArray[np.float64], extra: dict[str, NDArray[Any]], path: Path
) -> tuple[NDArray[np.intp], NDArray[Any], list[str]]:
    """(rows that are kept, ids, warnings): repeats of a row go, sectors of one site get ids of their own.

    extra: what tells sectors apart, name -> (rows,).
    """
    import pandas as pd

    frame = pd.DataFrame({"id": named, "lon": lon, "lat": lat, **extra})
    notes = []
    again = frame.duplicated()
    if again.any():
        notes.append(f"{path.name}: {int(again.sum())} rows repeat a station and its place; each counts once")
    kept = frame[~again]
    shared = kept.duplicated(["id"], keep=False)
    one_place = ~kept.duplicated(["id"], keep=False) | kept.duplicated(["id", "lon", "lat"], keep=False)
    if shared.any() and one_place.all():  # sectors: one site, one place, other azimuths or bands
        parts = [kept["id"].astype(str)]
        for name in ("azimuth", "band", "height", *TELLING):
            so_far = pd.concat(parts, axis=1).agg("-".join, axis=1)
            if name not in kept or so_far.is_unique:
                continue
            more = kept[name].map(lambda v: f"{v:g}" if isinstance(v, float) else str(v))
            if name not in TELLING or (so_far + more).nunique() > so_far.nunique():
                parts.append(more)
        whole = pd.concat(parts, axis=1).agg("-".join, axis=1)
        kept = kept.assign(id=kept["id"].where(~shared, whole))
        notes.append(
            f"{path.name}: {int(shared.sum())} rows are sectors of one site: their ids are like {whole[shared].iloc[0]}"
        )
    double = kept["id"].duplicated()
    if double.any():
        value = kept["id"][double].iloc[0]
        raise BadInput(f"{path}: id {value} occurs more than once ({int(double.sum())} doubles), at several places: say"
                       " with --id-column which column, or which several, name one row each")  # fmt: skip
    out, keep = named.copy(), kept.index.to_numpy()
    out[keep] = kept["id"].to_numpy()
    return keep, out, notes


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
    """A file of shapes with a CRS and at least one row; `.attrs["warnings"]`: lines on what was repaired.

    Only the drivers of SUFFIXES read it, chosen by suffix and content, and none of them may use the network.
    layer: of a GeoPackage that has several. Outlines that are not closed are closed, with a warning.
    Raises BadInput for what cannot be read as asked, WrongUse for a layer that is not there or must be named.
    """
    import geopandas as gpd
    import pyarrow.parquet as pq

    from gentraffic.io.vector import check_vector, gdal_offline, read_layer
    from poi.errors import PoiError
    from poi.safety import check_row_groups

    path = Path(path)
    suffix = path.suffix.lower()
    check_vector(path, what, SUFFIXES, MAX_BYTES)
    notes: list[str] = []
    try:
        if suffix in (".parquet", ".geoparquet"):
            check_row_groups(pq.read_metadata(path), str(path))
            frame = gpd.read_parquet(path)
        else:
            with gdal_offline():
                frame, notes = read_layer(path, layer, MAX_OWN)
    except (BadInput, PoiError, WrongUse, MemoryError):
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
        name = crs.to_string()[:60]
        raise BadInput(f"{path} says {name}, in metres, but its numbers look like degrees: state the CRS EPSG:4326")
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
    for wrong, fault in (
        (missing, "has no geometry: fill it or drop the row"),
        (~missing & ~np.isin(shapely.get_type_id(areas), (3, 6)), "is no polygon: for points use --stations"),
        (~missing & (shapely.area(shapely.convex_hull(areas)) == 0),
         "encloses no area: give a polygon, or points with --stations"),
        (~missing & ~shapely.is_valid(areas), "crosses itself: fix it, e.g. with shapely.make_valid"),
    ):  # fmt: skip
        if wrong.any():
            first = int(np.argmax(wrong))
            more = f" ({int(wrong.sum())} such)" if wrong.sum() > 1 else ""
            raise BadInput(f"{path}: shape {ids[first]} {fault}{more}")


def _id_column(
    frame: gpd.GeoDataFrame, path: str | Path, wanted: str | None, match: NDArray[Any] | None, id_name: str = ""
) -> str:
    own = [str(name) for name in frame.columns if name != frame.geometry.name]
    names: dict[str, str] = {}
    for name in own:
        names.setdefault(plain(name), name)
    if wanted is not None:
        if wanted not in own and plain(wanted) not in names:
            raise WrongUse(f"{path} has no column {wanted!r}: it has {some(own) or 'none'}")
        return wanted if wanted in own else names[plain(wanted)]
    known = [names[name] for name in ID_NAMES if name in names]
    if match is not None:
        ids = {str(i) for i in match.tolist()}
        order: list[str] = [*known, *(name for name in own if name not in known and not is_row_number(name))]
        order.sort(key=lambda name: not id_name or plain(name) != plain(id_name))
        counts: list[int] = [len(ids & set(_texts(frame[name]).tolist())) for name in order]
        best = int(np.argmax(counts)) if counts else 0
        if counts and counts[best]:
            _check_one(path, [name for name, n in zip(order, counts, strict=True) if n == counts[best]], id_name)
            _check_no_rows(path, order[best], _texts(frame[order[best]]).tolist(), id_name)
            return order[best]
    if not known:
        raise BadInput(f"{path} has no column of ids (cell_id, cell, id, ...): it has "
                       f"{some(own) or 'none'}; say which with --id-column")  # fmt: skip
    return known[0]


def _texts(column: pd.Series) -> pd.Series:
    """Ids as text; whole numbers that a file holds as floats (41.0) as whole numbers."""
    import pandas as pd

    if (
        pd.api.types.is_float_dtype(column)
        and (column.dropna() % 1 == 0).all()
        and (column.dropna().abs() < 2**53).all()
    ):
        column = column.astype("Int64")
    return column.astype(str)


def _ids(column: pd.Series, path: str | Path) -> NDArray[Any]:
    """Ids as int64 where all are whole numbers, else as text. Raises BadInput where one is missing or occurs twice."""
    import pandas as pd

    if column.isna().any():
        raise BadInput(f"{path}, row {int(np.argmax(column.isna())) + 1}: the id is missing; fill it or drop the row")
    text = _texts(column)
    double = text.duplicated()
    if double.any():
        value = text[double].iloc[0]
        raise BadInput(f"{path}: id {value} occurs more than once ({int(double.sum())} doubles); ids must be unique")
    if pd.api.types.is_bool_dtype(column):
        raise BadInput(f"{path}: the ids in {column.name} are true and false: name another column")
    return as_ids(text.to_numpy(dtype=object))


def places_from_cells(
    source: str | Path | gpd.GeoDataFrame, ids: NDArray[Any], reading: Reading | None = None, id_name: str = "",
    layer: str | None = None,
) -> tuple[NDArray[np.bool_], Places]:  # fmt: skip
    """(which of `ids` the cells hold, the Places of those, in the order of `ids`).

    `source`: the operator's cells as a file, stations as a table, or a frame as `read_cells` gives. reading: how the
    table is written; without a column of ids named, the one that holds most of `ids` is taken, of several the one that
    is called `id_name`, as where `ids` come from. Ids are matched as they are, or both as text where one side is text.
    layer: of a vector file that has several. Raises BadInput where no id is found, or the table has no ids, WrongUse
    for a layer that a table cannot have.
    ids: (n,).
    """
    import pandas as pd

    reading = reading or Reading()
    if not isinstance(source, str | Path):
        cells = source
    elif _is_vector(Path(source)):
        cells = read_cells(source, id_column=reading.named("id"), layer=layer, match=ids, id_name=id_name)
    else:
        if layer is not None:
            raise WrongUse(f"--layer {layer}: {source} is a table, which has no layers")
        cells = read_stations(source, reading=reading, match=ids, id_name=id_name)
        if cells.attrs["numbered"]:  # the numbers of rows are no ids: matched with any they put cells elsewhere
            raise BadInput(no_ids(read_source(source)))
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
    for name in SECTOR_COLUMNS:
        if name in chosen.columns:
            extra[name] = chosen[name].to_numpy()
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


def _is_vector(path: Path) -> bool:
    """Whether a file holds shapes; a .parquet does where it says so."""
    suffix = path.suffix.lower()
    if suffix not in (".parquet", ".geoparquet"):
        return suffix in SUFFIXES
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return b"geo" in (pq.read_schema(path).metadata or {})
    except (OSError, pa.ArrowException):
        return False
