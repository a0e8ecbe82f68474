"""Which place is meant: a context file, a bundled city, or what `places.context` makes of files and the map."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gentraffic.dataset.schema import IN_MEMORY, Memory
from gentraffic.errors import NoData, WrongUse, did_you_mean
from gentraffic.places.query import PlaceQuery
from poi.errors import PoiError

if TYPE_CHECKING:
    import xarray as xr

CONTEXTS = Path(__file__).parents[1] / "assets" / "contexts"
PLACES = ("city", "bbox", "polygon", "cells", "stations", "context")  # the options that name a place
KEEP, LEAVE_OUT = "keep", "leave-out"
WATER = (None, KEEP, LEAVE_OUT)  # what becomes of cells in water
Progress = Callable[[int, int], None]


def bundled_cities() -> list[str]:
    """Names of the places whose context comes with the package."""
    return sorted(path.stem for path in CONTEXTS.glob("*.nc"))


def context_file(given: str | Path) -> Path:
    """The context file that is meant: what stands at this path, else that of the bundled city of this name.

    So a model of a bundled city is fitted without knowing where the package lies. Raises WrongUse for a name that is
    neither.
    """
    path, cities = Path(given), bundled_cities()
    if path.suffix or path.exists():
        return path
    city = str(given).lower()
    if city not in cities:
        hint = did_you_mean(city, cities)
        raise WrongUse(f"no context {str(given)!r}: give a file (.nc, .zarr), or one of {', '.join(cities)}{hint}")
    return CONTEXTS / f"{city}.nc"


def names_of(query: PlaceQuery) -> list[str]:
    """Which fields name a place, `osm` last: a file of it alone does, too."""
    return [name for name in (*PLACES, "osm") if getattr(query, name) is not None]


def find_context(
    query: PlaceQuery, *, command: str, store: Memory = IN_MEMORY, progress: Progress | None = None
) -> xr.Dataset:
    """The context of a place: read, bundled, or made from files or the network.

    store: where the numbers of its cells lie.
    Raises WrongUse for no place or two of them, NoData where nothing of it is left.
    """
    if query.water not in WATER:
        raise WrongUse(f"--water {query.water}: give {LEAVE_OUT} or {KEEP}")
    found = warned_of_mistakes(with_population(_find(query, command, store, progress), query))
    if query.water != LEAVE_OUT:
        return found
    from gentraffic.places.water import without_water

    return without_water(found.compute())


def warned_of_mistakes(context: xr.Dataset) -> xr.Dataset:
    """A context with a warning of cells that hold more than any place does, as far as it has not said so."""
    from gentraffic.modelling.features import mistaken_cells

    known = str(context.attrs.get("warnings", ""))
    new = [line for line in mistaken_cells(context) if line not in known]
    return context.assign_attrs(warnings="\n".join(filter(None, (known, *new)))) if new else context


def with_population(context: xr.Dataset, query: PlaceQuery) -> xr.Dataset:
    """A context with the residents that a query names a file of, if it does. Raises as `places.residents` does."""
    if query.population is None:
        return context
    from gentraffic.places.residents import with_residents

    return with_residents(context, query.population)


def _find(query: PlaceQuery, command: str, store: Memory, progress: Progress | None) -> xr.Dataset:
    from gentraffic.io.files import read_context, read_own_context

    given = [name for name in names_of(query) if name != "osm"]
    if len(given) > 1:
        raise WrongUse(f"two places given, --{given[0]} and --{given[1]}: give one")
    if not names_of(query):
        raise WrongUse(
            "no place given: name one with --city, --bbox, --polygon, --cells, --stations, --osm or --context"
        )
    _check_zone(query.timezone)
    shapes = ("osm", "cell_size", "radius", "id_column", "layer", "columns", "decimal", "thousands")
    shaping = [name for name in shapes if getattr(query, name) is not None]
    if query.context is not None:
        if shaping:
            raise WrongUse(f"--{shaping[0].replace('_', '-')} does not go with --context, whose cells are made already")
        path = context_file(query.context)
        return _zone(_told_if_cut(read_context(path, store), path), query.timezone)
    bundled = (query.city or "").strip().lower()
    if not shaping and bundled in bundled_cities():
        return _zone(read_own_context(CONTEXTS / f"{bundled}.nc"), query.timezone)
    from gentraffic.places.context import read_place

    try:
        return read_place(query, command=command, store=store, progress=progress or (lambda done, of: None))
    except (NoData, PoiError):
        if not (query.offline and query.osm is None and query.cell_size is not None and bundled in bundled_cities()):
            raise
        raise WrongUse(
            f"--cell-size {query.cell_size:g}: the bundled {bundled} has cells of its own, and others need a map that "
            "is not here: give --osm, an extract of it, or leave --cell-size or --offline out"
        ) from None


def _told_if_cut(context: xr.Dataset, path: object) -> xr.Dataset:
    """The context, with a warning where it lacks cells that it was fetched with: nothing tells what lies beyond its
    new edge then, and cells there get other levels than in the whole."""
    fetched = int(context.attrs.get("cells_fetched", context.sizes["cell"]))
    if fetched <= context.sizes["cell"]:
        return context
    line = (
        f"{path} was cut to {context.sizes['cell']} of {fetched} cells: levels near its new edge are off; "
        "fetch the part, or draw the whole with --select"
    )
    known = str(context.attrs.get("warnings", ""))
    return context.assign_attrs(warnings="\n".join(filter(None, (known, line))))


def parse_box(text: str | None) -> tuple[float, float, float, float] | None:
    """`W,S,E,N` in degrees. Raises WrongUse."""
    if text is None:
        return None
    try:
        west, south, east, north = (float(part) for part in text.split(","))
    except ValueError:
        raise WrongUse(f"--bbox {text}: give four numbers, W,S,E,N in degrees") from None
    return west, south, east, north


def query_from(options: Mapping[str, Any]) -> PlaceQuery:
    """The place that options of these names name, `bbox` as text; others are left alone. Raises WrongUse for a box that
    is none."""
    known = {name: options[name] for name in PlaceQuery.__dataclass_fields__ if options.get(name) is not None}
    return PlaceQuery(**{**known, "bbox": parse_box(options.get("bbox"))})


def _zone(context: xr.Dataset, timezone: str | None) -> xr.Dataset:
    return context if timezone is None else context.assign_attrs(timezone=timezone)


def _check_zone(timezone: str | None) -> None:
    from gentraffic.dataset.schema import check_timezone
    from gentraffic.errors import BadInput

    try:
        if timezone is not None:
            check_timezone(timezone)
    except BadInput as error:
        raise WrongUse(f"--timezone {timezone}: {error}") from error
