"""What makes a GeoPackage open well in QGIS: a layer of geometry and time, indices, and a style for each layer."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np

from gentraffic.io.export.columns import short

VIEW = "traffic"
COLOURS = ("#ffffcc", "#a1dab4", "#41b6c4", "#2c7fb8", "#253494")  # ColorBrewer YlGnBu, which every eye tells apart
_STYLES = """CREATE TABLE layer_styles (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, f_table_catalog TEXT(256),
 f_table_schema TEXT(256), f_table_name TEXT(256), f_geometry_column TEXT(256), styleName TEXT(30), styleQML TEXT,
 styleSLD TEXT, useAsDefault BOOLEAN, description TEXT, owner TEXT(30), ui TEXT(30),
 update_time DATETIME DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ','now')))"""


def add_views(path: Path, statistics: list[str], cells: Any, services: Mapping[str, str]) -> None:
    """Add to a GeoPackage with the tables `cells` and `series` the view `traffic`, indices and styles.

    statistics: columns of `cells`, the first of which colours it. services: columns of `series` -> units; the first
    colours the view, over the range of the cells' peaks. Raises OSError where the disk is full."""
    try:
        with sqlite3.connect(path) as base:
            _write(base, statistics, cells, services)
        base.close()
    except sqlite3.Error as error:
        raise OSError(f"{error} (is the disk full?)") from error


def _write(base: sqlite3.Connection, statistics: list[str], cells: Any, services: Mapping[str, str]) -> None:
    columns = [row[1] for row in base.execute("PRAGMA table_info(series)")]
    named = ", ".join(f's."{name}"' for name in columns if name not in ("fid", "ogc_fid"))
    base.execute(
        f"CREATE VIEW {VIEW} AS SELECT s.fid AS OGC_FID, c.geom AS geom, {named} "
        "FROM series s JOIN cells c ON s.cell_id = c.cell_id"
    )
    base.execute("CREATE UNIQUE INDEX cells_by_id ON cells (cell_id)")
    base.execute("CREATE INDEX series_by_cell ON series (cell_id, time_utc)")
    base.execute("CREATE INDEX series_by_time ON series (time_utc)")
    base.execute(
        "INSERT INTO gpkg_contents (table_name, data_type, identifier, description, min_x, min_y, max_x, max_y, srs_id)"
        " SELECT ?, data_type, ?, ?, min_x, min_y, max_x, max_y, srs_id FROM gpkg_contents WHERE table_name = 'cells'",
        (VIEW, VIEW, "series with the outlines of their cells, for a time slider: field time_utc"),
    )
    base.execute(
        "INSERT INTO gpkg_geometry_columns SELECT ?, column_name, geometry_type_name, srs_id, z, m"
        " FROM gpkg_geometry_columns WHERE table_name = 'cells'",
        (VIEW,),
    )
    base.execute(_STYLES)
    base.execute(
        "INSERT INTO gpkg_contents (table_name, data_type, identifier) VALUES ('layer_styles', 'attributes', "
        "'layer_styles')"
    )
    point = base.execute("SELECT geometry_type_name FROM gpkg_geometry_columns WHERE table_name = 'cells'").fetchone()
    peak = next((name for name in statistics if name.endswith("peak")), statistics[0])
    first, units = next(iter(services.items()))
    units = "" if units == "1" else units
    amounts = "; ".join(f"{name} in {unit}" if unit != "1" else f"{name} relative" for name, unit in services.items())
    base.execute("UPDATE gpkg_contents SET description = ? WHERE table_name = 'cells'", (f"statistics of {amounts}",))
    styles = (("cells", statistics[0], statistics[0], False), (VIEW, first, peak, True))
    for table, field, breaks, moves in styles:
        qml = _qml(field, np.asarray(cells[breaks], dtype=float), point[0] == "POINT", moves, units)
        base.execute(
            "INSERT INTO layer_styles (f_table_catalog, f_table_schema, f_table_name, f_geometry_column, styleName,"
            " styleQML, styleSLD, useAsDefault, description, owner) VALUES ('', '', ?, 'geom', ?, ?, '', 1, ?, '')",
            (table, field, qml, f"{field}{units and ', ' + units}, in five classes"),
        )


def _qml(field: str, values: Any, point: bool, moves: bool, units: str) -> str:
    """A graduated style of QGIS: five classes with about as many cells each. moves: drawn by the field time_utc.
    units: in the labels, "" for none."""
    edges = np.unique(np.quantile(values, np.linspace(0, 1, len(COLOURS) + 1)))
    edges = np.append(edges, edges[-1] + 1) if len(edges) == 1 else edges
    if moves:
        edges[0] = 0.0
    ranges, symbols = [], []
    for i, (low, high) in enumerate(pairwise(edges)):
        label = quoteattr(f"{short(low)} - {short(high)} {units}".strip())
        ranges.append(
            f'<range symbol="{i}" lower="{float(low)!r}" upper="{float(high)!r}" label={label} render="true"/>'
        )
        rgb = ",".join(str(int(COLOURS[i][k : k + 2], 16)) for k in (1, 3, 5))
        layer = "SimpleMarker" if point else "SimpleFill"
        outline = '<Option name="outline_style" type="QString" value="no"/>'
        symbols.append(
            f'<symbol name="{i}" type="{"marker" if point else "fill"}" alpha="0.8"><layer class="{layer}" pass="0" '
            f'enabled="1" locked="0"><Option type="Map"><Option name="color" type="QString" value="{rgb},255"/>'
            f"{outline}</Option></layer></symbol>"
        )
    when = (
        '<temporal enabled="1" mode="1" startField="time_utc" fixedDuration="0" limitMode="0" accumulate="0"'
        ' durationUnit="h" endField="" startExpression="" endExpression=""/>'
        if moves
        else ""
    )
    return (
        '<!DOCTYPE qgis PUBLIC "http://mrcc.com/qgis.dtd" "SYSTEM">'
        f'<qgis version="3.22" styleCategories="Symbology|Temporal">{when}'
        f'<renderer-v2 type="graduatedSymbol" attr={quoteattr(field)} graduatedMethod="GraduatedColor">'
        f"<ranges>{''.join(ranges)}</ranges><symbols>{''.join(symbols)}</symbols></renderer-v2></qgis>"
    )
