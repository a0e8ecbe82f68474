"""What names a place: the options of a command, before anything is read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class PlaceQuery:
    """What names a place; None for what is not given.

    One of city, bbox, polygon, cells, stations, context; or osm alone. bbox: west, south, east, north in degrees.
    osm: an extract, a saved Overpass answer or a table of POIs. cell_size, radius: metres. id_column, columns,
    decimal, thousands: how tables of cells and stations are read (`gentraffic.io.source_columns`). layer: of a vector
    file with several. water: "leave-out" drops cells that lie wholly in water, "keep" and None keep them. offline:
    files and the cache only. population: a GeoTIFF or a table of residents, whatever names the place.
    """

    city: str | None = None
    bbox: tuple[float, float, float, float] | None = None
    polygon: Path | None = None
    cells: Path | None = None
    stations: Path | None = None
    context: Path | None = None
    osm: Path | None = None
    cell_size: float | None = None
    radius: float | None = None
    id_column: str | None = None
    columns: str | None = None
    decimal: str | None = None
    thousands: str | None = None
    layer: str | None = None
    water: str | None = None
    timezone: str | None = None
    offline: bool = False
    population: Path | None = None
