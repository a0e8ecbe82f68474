"""`gentraffic.fetch`, and how Python names a place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gentraffic.api.language import speaks_python
from gentraffic.api.result import Facts, warned
from gentraffic.places.query import PlaceQuery

if TYPE_CHECKING:
    import xarray as xr

    from gentraffic.io.source_columns import Reading

FILES = ("polygon", "cells", "stations", "osm", "population")  # fields of PlaceQuery that are paths


def query_of(place: str | Path | None, bbox: str | Sequence[float] | None = None, **fields: Any) -> PlaceQuery:
    """A place as the arguments of `fetch` and `sample` name it: paths may be text; None is what is not given.

    bbox: four degrees, west, south, east, north, or such a text. Raises WrongUse for a box that is none.
    """
    from gentraffic.places.find import parse_box

    files = {name: Path(fields.pop(name)) for name in FILES if fields.get(name) is not None}
    known = {name: value for name, value in fields.items() if value is not None}
    if place is not None:
        is_file = Path(place).suffix.lower() in (".nc", ".zarr")
        known |= {"context": Path(place)} if is_file else {"city": str(place)}
    box = parse_box(bbox) if isinstance(bbox, str) or bbox is None else tuple(float(degrees) for degrees in bbox)
    return PlaceQuery(bbox=box, **files, **known)  # type: ignore[arg-type]


def context_facts(context: xr.Dataset, out: str | Path) -> Facts:
    """A context (cell) that was written to `out`, in figures."""
    from gentraffic.dataset.schema import warnings_in

    about, warnings = context.attrs, warnings_in(context)
    place, cells, pois = about.get("place", ""), context.sizes["cell"], int(context["poi_count"].sum())
    values = {"output": str(out), "place": place, "cells": cells, "pois": pois, "timezone": about["timezone"]}
    values |= {"osm_snapshot": about.get("osm_snapshot", ""), "warnings": warnings}
    lived = ""
    if "population" in context:
        people = float(context["population"].sum())
        values, lived = values | {"residents": people}, f"{people:,.0f} residents, "
    water = [f"water: {about['water']}"] if "water" in about else []
    line = f"{out}: {cells} cells of {place}, {pois} POIs, {lived}{about['timezone']}"
    return Facts(values, [*warned(warnings), *water, line])


def with_names(
    context: xr.Dataset, *, name: str | None, network: str | None, habits: str | None, sites: Path | None,
    sites_credit: str | None, reading: Reading | None = None,
) -> xr.Dataset:  # fmt: skip
    """A context that says what its place is called, whose rhythm it follows, and where sites stand. Raises BadInput.

    reading: how the table of sites is written."""
    from gentraffic.dataset.build import plain_text

    for key, value in (("network", network), ("habits", habits), ("place", name)):
        if value:
            context = context.assign_attrs({key: plain_text(value)})
    if sites is not None:
        from gentraffic.places.sites import with_sites

        context = with_sites(context, sites, sites_credit, reading)
    return context


@speaks_python
def fetch(
    place: str | Path | None = None,
    *,
    bbox: str | Sequence[float] | None = None,
    polygon: str | Path | None = None,
    cells: str | Path | None = None,
    stations: str | Path | None = None,
    osm: str | Path | None = None,
    cell_size: float | None = None,
    radius: float | None = None,
    id_column: str | None = None,
    columns: str | None = None,
    decimal: str | None = None,
    thousands: str | None = None,
    layer: str | None = None,
    water: str | None = None,
    timezone: str | None = None,
    offline: bool = False,
    population: str | Path | None = None,
    sites: str | Path | None = None,
    sites_credit: str | None = None,
    streets: str | Path | None = None,
    name: str | None = None,
    network: str | None = None,
    rhythm: str | None = None,
    out: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
    command: str = "gentraffic.fetch",
) -> xr.Dataset:
    """The context of a place: points of interest around every cell or station, `poi_count` (cell, category).

    place: a bundled city, a name in OpenStreetMap, or a context file; or nothing, where bbox (west, south, east, north
    in degrees, numbers or "W,S,E,N"), polygon, cells, stations or osm name it. cell_size, radius: metres. id_column,
    columns, decimal, thousands: how tables are read. layer: of a vector file with several. water: "leave-out" drops
    cells that lie wholly in water. population: residents, `population` (cell), of a GeoTIFF of residents per pixel or a
    table (lon, lat, residents). sites: known base stations (lon, lat[, n_cells]). streets: an extract from which the
    map beneath and the length of streets come, if osm has none. name: what the place is called. network: the measured
    network that the cells belong to. rhythm: the one whose daily rhythm they follow. out: where it is written (.nc,
    .zarr), if anywhere. progress is told (done, of). command: what the attribute `command` says.

    Raises WrongUse, NoData, BadInput (`gentraffic.errors`) or NetworkFailed (`poi.errors`).
    """
    from gentraffic.io.files import CONTEXT_FORMATS, check_writable, write_context
    from gentraffic.io.source_columns import make_reading
    from gentraffic.places.find import find_context, warned_of_mistakes

    if out is not None:
        check_writable(out, CONTEXT_FORMATS)
    reading = make_reading(columns, None, decimal, thousands) if sites is not None else None
    if reading is not None and stations is None:  # they are of the table of sites alone
        columns = decimal = thousands = None
    query = query_of(
        place, bbox, polygon=polygon, cells=cells, stations=stations, osm=osm, cell_size=cell_size, radius=radius,
        id_column=id_column, columns=columns, decimal=decimal, thousands=thousands, layer=layer, water=water,
        timezone=timezone, offline=offline, population=population,
    )  # fmt: skip
    result = find_context(query, command=command, progress=progress)
    context = with_names(
        result, name=name, network=network, habits=rhythm, sites=None if sites is None else Path(sites),
        sites_credit=sites_credit, reading=reading,
    )  # fmt: skip
    if sites is not None:
        context = warned_of_mistakes(context)
    if streets is not None:
        from gentraffic.places.streets import with_street_lengths

        context = with_street_lengths(context, streets)
    if out is not None:
        write_context(context, out)
    return context
