"""Points of interest from files: OpenStreetMap extracts, saved Overpass answers, tables.

What a file is, its content says, not its name. PBF is read by pyosmium in a process of its own (`poi.extract`), XML in
one pass of expat (`poi.osm_xml`). With `poi.extract` the only module of `poi` that opens files.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import shapely
from shapely.geometry.base import BaseGeometry

from poi.basemap import MAX_NODES, build
from poi.elements import BaseMap, Extent, Ground, Ints, MapElements, element_points
from poi.errors import BadFile, PoiError
from poi.extract import read_pbf
from poi.ground import sum_up
from poi.osm_xml import read_xml
from poi.overpass import basemap_of, ground_of, places
from poi.overture import classify, is_overture
from poi.points import Floats, Origin, make_pois
from poi.safety import Examined, Limits, check_row_groups, examine, pieces, unfolded

_OVERTURE = ("geometry", "categories", "taxonomy", "basic_category", "operating_status")
_NAMES = {"lon": ("lon", "longitude", "lng"), "lat": ("lat", "latitude")}


def read_pois(
    source: str | Path,
    boundary: BaseGeometry | None = None,
    *,
    limits: Limits | None = None,
    basemap: Extent | bool = False,
) -> gpd.GeoDataFrame:
    """POIs of a file inside a boundary in degrees, or all: points in EPSG:4326 with `category`, `key`, `value`.

    source: .osm, .osm.gz, .osm.bz2, .osm.pbf, a saved Overpass answer (JSON), places of Overture Maps (GeoParquet), or
    a table (CSV, TSV, Parquet) with the columns lon, lat, key, value and perhaps snapshot.
    Nodes, ways and multipolygons are one point each: see poi.points.
    `.attrs`: source, snapshot, sha256, extent (west, south, east, north), warnings (lines); with `basemap`
    (a box in degrees; True: that of the boundary, or all) also basemap, a `poi.elements.BaseMap`, if it has streets,
    and ground, a `poi.elements.Ground`, if it has streets, buildings or land by use.
    Raises BadFile, in one line, for a file that is missing, empty, cut, damaged, over the limits or of another kind."""
    path = Path(source)
    limits = limits or Limits()
    examined = _examine(path, limits)
    if examined.kind == "json":
        return _from_answer(path, examined, boundary, basemap)
    if examined.kind == "parquet" and is_overture(_parquet_names(path)):
        return _from_overture(path, examined, boundary, limits)
    if examined.kind in ("text", "parquet"):
        return _from_table(path, examined, boundary, limits)
    return _from_extract(path, examined, boundary, basemap)


def extent_of(source: str | Path, *, limits: Limits | None = None) -> Extent:
    """West, south, east, north in degrees that a file covers: what its header says, else the box of its points.

    Raises BadFile as `read_pois` does, and for a file without coordinates."""
    path = Path(source)
    examined = _examine(path, limits or Limits())
    if examined.kind in ("json", "text", "parquet"):
        extent = read_pois(path, limits=limits).attrs["extent"]
    else:
        elements = _elements(path, examined)
        extent = elements.box or elements.reach
    if extent is None:
        raise BadFile(f"{path} holds no coordinates: give another file")
    return (extent[0], extent[1], extent[2], extent[3])


def read_table(
    source: str | Path, required: Sequence[str] = (), optional: Sequence[str] = (), *, limits: Limits | None = None
) -> pd.DataFrame:
    """A table of points: `lon`, `lat` (float64 degrees) and the named columns (str) that it has; `.attrs["sha256"]`.

    Names are matched without regard to case; longitude and latitude are known by their usual names. Raises BadFile for
    a missing column, no rows, a coordinate that is no number or not on earth, and longitude and latitude swapped."""
    path = Path(source)
    limits = limits or Limits()
    examined = _examine(path, limits)
    if examined.kind not in ("text", "parquet"):
        raise BadFile(f"{path} is no table: give CSV or Parquet with the columns lon, lat")
    return _read_table(path, examined, required, optional, limits)


def _examine(path: Path, limits: Limits) -> Examined:
    if path.is_dir() or (path.exists() and not path.is_file()):
        raise BadFile(f"{path} is not a file: give an OpenStreetMap extract or a table of POIs")
    try:
        with path.open("rb") as stream:
            return examine(stream, str(path), path.stat().st_size, limits)
    except FileNotFoundError as error:
        raise BadFile(f"{path} does not exist: give the path of an OpenStreetMap extract or a table of POIs") from error
    except OSError as error:
        raise BadFile(f"{path} cannot be read: {error.strerror or error}") from error


@contextmanager
def _parsing(path: Path) -> Iterator[None]:
    """Turns what a parser raises into one line that names the file."""
    try:
        yield
    except (PoiError, MemoryError):
        raise
    except Exception as error:  # whatever a library raises on an input is the input's
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise BadFile(f"{path} is damaged or not what its name says ({reason})") from error


# --- extracts ---------------------------------------------------------------------------------------------------------


def _from_extract(
    path: Path, examined: Examined, boundary: BaseGeometry | None, basemap: Extent | bool
) -> gpd.GeoDataFrame:
    elements = _elements(path, examined, boundary.bounds if basemap is True and boundary is not None else basemap)
    known = ~np.isnan(elements.xy).any(axis=1)
    lost = int((~known).sum())
    warnings = [f"{path.name}: {lost} places have no coordinates in the file and are left out"] if lost else []
    warnings += [f"{path.name} {note}" for note in elements.notes]
    snapshot = elements.snapshot or examined.snapshot or "unknown"
    extent = elements.box or elements.reach
    origin = Origin(path.name, snapshot, examined.sha256, extent, elements.box is not None, tuple(warnings))
    key, value = (np.asarray(column, dtype=object)[known].tolist() for column in (elements.key, elements.value))
    pois = make_pois(elements.xy[known, 0], elements.xy[known, 1], key, value, origin, boundary)
    return _with_map(pois, elements.basemap, elements.ground)


def _elements(path: Path, examined: Examined, basemap: Extent | bool = False) -> MapElements:
    """What a map file holds: PBF is read by a child process, XML by expat."""
    with _parsing(path):
        if examined.kind == "pbf":
            return read_pbf(path, basemap)
        with path.open("rb") as stream:
            tagged, outlines, nodes, reader = read_xml(unfolded(pieces(stream), examined.kind, str(path)), str(path))
        if not tagged.place and not (len(nodes.ids) or outlines or reader.boxes):
            raise BadFile(f"{path} holds no nodes and no ways: give an extract that covers the place")
        tagged.drop_doubles(reader.gone)
        xy = element_points(tagged, outlines, nodes)
    reach: Extent | None = None
    if len(nodes.ids):
        (west, south), (east, north) = (nodes.xy.min(axis=0) / 1e7).tolist(), (nodes.xy.max(axis=0) / 1e7).tolist()
        reach = west, south, east, north
    elif len(xy) and not np.isnan(xy).all():
        (west, south), (east, north) = np.nanmin(xy, axis=0).tolist(), np.nanmax(xy, axis=0).tolist()
        reach = west, south, east, north
    box = None
    if reader.boxes:
        west, south, east, north = zip(*reader.boxes, strict=True)
        box = min(west), min(south), max(east), max(north)
    notes = (f"marks {reader.deleted} elements as deleted, which are left out",) if reader.deleted else ()
    kinds = np.asarray(tagged.kind, dtype=np.str_)
    snapshot = examined.snapshot or tagged.newest
    base = ground = None
    if basemap and len(nodes.ids) <= MAX_NODES:
        base, ground = build(reader.drawn, outlines, nodes), sum_up(reader.standing, outlines, nodes)
    return MapElements(kinds, tuple(tagged.key), tuple(tagged.value), xy, snapshot, box, reach, notes, base, ground)


def _with_map(pois: gpd.GeoDataFrame, base: BaseMap | None, ground: Ground | None) -> gpd.GeoDataFrame:
    for name, found in (("basemap", base), ("ground", ground)):
        if found is not None:
            pois.attrs[name] = found
    return pois


# --- saved answers and tables -----------------------------------------------------------------------------------------


def _from_answer(
    path: Path, examined: Examined, boundary: BaseGeometry | None, basemap: Extent | bool
) -> gpd.GeoDataFrame:
    with _parsing(path):
        answer = json.loads(path.read_text(encoding="utf-8-sig"))
        located = places(answer, str(path))
        base, ground = (basemap_of(answer), ground_of(answer)) if basemap else (None, None)
    warnings = (f"{path.name}: {located.unplaced} places have no coordinates",) if located.unplaced else ()
    origin = Origin(path.name, located.snapshot or "unknown", examined.sha256, located.extent, warnings=warnings)
    return _with_map(make_pois(located.lon, located.lat, located.key, located.value, origin, boundary), base, ground)


def _from_table(path: Path, examined: Examined, boundary: BaseGeometry | None, limits: Limits) -> gpd.GeoDataFrame:
    table = _read_table(path, examined, ("key", "value"), ("snapshot",), limits)
    double = table.duplicated(["lon", "lat", "key", "value"])
    warnings = (f"{path.name}: {int(double.sum())} rows are doubles and count once",) if double.any() else ()
    dates = sorted(set(table["snapshot"]) - {""}) if "snapshot" in table else []
    snapshot = " to ".join(dict.fromkeys((dates[0], dates[-1]))) if dates else "unknown"
    lon, lat = table["lon"], table["lat"]
    extent = float(lon.min()), float(lat.min()), float(lon.max()), float(lat.max())
    table = table[~double]
    origin = Origin(path.name, snapshot, examined.sha256, extent, warnings=warnings)
    return make_pois(table["lon"], table["lat"], table["key"].tolist(), table["value"].tolist(), origin, boundary)


def _parquet_names(path: Path) -> list[str]:
    with _parsing(path):
        return list(pq.read_schema(path).names)


def _from_overture(path: Path, examined: Examined, boundary: BaseGeometry | None, limits: Limits) -> gpd.GeoDataFrame:
    """Places of Overture Maps, a piece of the file at a time: memory grows with the places inside the boundary."""
    xy: list[Floats] = []
    names: list[str] = []
    index: list[Ints] = []
    inside = boundary.bounds if boundary is not None else (-180.0, -90.0, 180.0, 90.0)
    with _parsing(path):
        parquet = pq.ParquetFile(path)
        check_row_groups(parquet.metadata, str(path))
        if parquet.metadata.num_rows > limits.rows:
            raise BadFile(f"{path} has {parquet.metadata.num_rows} rows, more than the cap of {limits.rows}: cut it")
        have = [name for name in _OVERTURE if name in parquet.schema_arrow.names]
        for batch in parquet.iter_batches(65_536, columns=have):
            points = shapely.centroid(shapely.from_wkb(batch.column("geometry").to_numpy(zero_copy_only=False)))
            at = np.stack([shapely.get_x(points), shapely.get_y(points)], axis=-1)
            checklonlat(at[:, 0], at[:, 1], str(path))
            here = (at >= inside[:2]).all(axis=1) & (at <= inside[2:]).all(axis=1)
            rows = batch.drop_columns("geometry").filter(pa.array(here)).to_pylist()
            chosen, category = classify(rows)
            xy.append(at[here])
            names += chosen
            index.append(category)
    where = np.concatenate([*xy, np.empty((0, 2))])
    if not len(where):
        raise BadFile(f"{path} has no places there: give the extract of the place")
    (west, south), (east, north) = where.min(axis=0).tolist(), where.max(axis=0).tolist()
    origin = Origin(path.name, "unknown", examined.sha256, (west, south, east, north))
    category = np.concatenate(index)
    pois = make_pois(where[:, 0], where[:, 1], ["overture"] * len(names), names, origin, boundary, category)
    pois.attrs.update(attribution="(c) Overture Maps Foundation, overturemaps.org", license="CDLA-Permissive-2.0")
    return pois


def _read_table(
    path: Path, examined: Examined, required: Sequence[str], optional: Sequence[str], limits: Limits
) -> pd.DataFrame:
    table: pd.DataFrame
    with _parsing(path):
        first = 1
        if examined.kind == "parquet":
            parquet = pq.ParquetFile(path)
            check_row_groups(parquet.metadata, str(path))
            named = _columns(path, parquet.schema_arrow.names, required, optional)
            if parquet.metadata.num_rows > limits.rows:
                raise BadFile(
                    f"{path} has {parquet.metadata.num_rows} rows, more than the cap of {limits.rows}: cut it"
                )
            table = parquet.read(columns=list(named.values())).to_pandas()
        else:
            text = _text(path)
            if text.count('"') % 2:
                raise BadFile(f"{path} is damaged: a quote is opened and not closed")
            skipped, names, separator = _header(text)
            named = _columns(path, names, required, optional)
            read = pc.read_csv(
                pa.BufferReader(text.encode()),
                pc.ReadOptions(column_names=names, skip_rows=skipped + 1, block_size=max(1 << 22, 64 * len(names))),
                pc.ParseOptions(delimiter=separator, newlines_in_values='"' in text),
                pc.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), null_values=[]),
            )
            table = pd.DataFrame({name: read.column(names.index(name)).to_pylist() for name in named.values()})
            first = skipped + 2  # a spreadsheet counts the header
    table = table.rename(columns={old: new for new, old in named.items()})[list(named)]
    if table.empty:
        raise BadFile(f"{path} has no rows: give a table of points")
    for axis in ("lon", "lat"):
        degrees = table[axis]
        if not pd.api.types.is_numeric_dtype(degrees):  # a comma within degrees is the decimal
            degrees = degrees.astype(str).str.strip().str.replace(r"^([+-]?\d+),(\d+)$", r"\1.\2", regex=True)
        number = pd.to_numeric(degrees, errors="coerce").astype(np.float64)
        wrong = np.flatnonzero(~np.isfinite(number))
        if len(wrong):
            raise BadFile(f"{path}, row {first + wrong[0]}: {axis} {table[axis].iloc[wrong[0]]!r} is not a number")
        table[axis] = number
    checklonlat(table["lon"].to_numpy(), table["lat"].to_numpy(), str(path), first)
    for name in named:
        if name not in _NAMES:
            blank = np.flatnonzero(table[name].isna() | (table[name].astype(str) == ""))
            if len(blank) and name in required:
                raise BadFile(f"{path}, row {first + blank[0]}: {name} is missing; fill it or drop the row")
            table[name] = table[name].astype(str)
    table.attrs["sha256"] = examined.sha256
    return table


def _text(path: Path) -> str:
    """The text of a table: UTF-8, or else Windows' Latin-1."""
    content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace")


def _header(text: str) -> tuple[int, list[str], str]:
    """(lines above the header, the names in it, the separator): comments and `sep=;` stand above."""
    skipped, separator = 0, ""
    for line in io.StringIO(text, newline=None):
        line = line.rstrip("\n")
        if line.lower().startswith("sep=") and len(line) == 5:
            separator = line[4]
        elif line.strip() and not line.startswith("#"):
            fields = {mark: next(csv.reader([line], delimiter=mark)) for mark in (separator or ",;\t|")}
            separator = max(fields, key=lambda mark: len(fields[mark]))
            return skipped, [name.strip() for name in fields[separator]], separator
        skipped += 1
    return skipped, [], ","


def checklonlat(lon: Floats, lat: Floats, what: str, first: int = 1) -> None:
    """Raises BadFile, with the row, unless all points are on earth; says so where lon and lat are surely swapped.

    lon, lat: (n,) degrees. first: the number of the first row.
    """
    off = np.flatnonzero((np.abs(lon) > 180) | (np.abs(lat) > 90))
    if not len(off):
        return
    if np.all(np.abs(lat) <= 180) and np.all(np.abs(lon) <= 90):
        raise BadFile(
            f"{what}, row {first + off[0]}: lat is {lat[off[0]]:g}; lon and lat look swapped, exchange the columns"
        )
    row = first + off[0]
    raise BadFile(f"{what}, row {row}: lon {lon[off[0]]:g}, lat {lat[off[0]]:g} is not on earth; give degrees")


def _columns(path: Path, names: Sequence[str], required: Sequence[str], optional: Sequence[str]) -> dict[str, str]:
    """The columns to read: the name used here -> the name in the file."""
    lower = {name.lower().removeprefix("@"): name for name in reversed(names)}  # Overpass writes @lon
    named: dict[str, str] = {}
    for wanted in ("lon", "lat", *required, *optional):
        column = next((lower[n] for n in _NAMES.get(wanted, (wanted,)) if n in lower), None)
        if column is not None:
            named[wanted] = column
        elif wanted not in optional:
            have = ", ".join(" ".join(name.split()) for name in names[:12])[:200]  # a quoted head may have lines
            raise BadFile(f"{path} has no column {wanted!r}: it has {have}")
    return named
