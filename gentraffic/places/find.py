"""Which place is meant: a context file, a bundled city, or what `places.context` makes of files and the map."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gentraffic.errors import WrongUse

if TYPE_CHECKING:
    import xarray as xr

CONTEXTS = Path(__file__).parents[1] / "assets" / "contexts"
PLACES = ("city", "bbox", "polygon", "cells", "stations", "context")  # the options that name a place
Progress = Callable[[int, int], None]


def bundled_cities() -> list[str]:
    """Names of the places whose context comes with the package."""
    return sorted(path.stem for path in CONTEXTS.glob("*.nc"))


def find_context(
    options: Mapping[str, Any], *, command: str, held: bool = True, progress: Progress | None = None
) -> xr.Dataset:
    """The context of the place that the options name: read, bundled, or made from files or the network.

    held: False leaves the numbers of a large `--context` in its file, see `gentraffic.io.files.read_context`.
    Raises WrongUse for no place or two of them.
    """
    from gentraffic.io.files import read_context

    given = [n for n in PLACES if options.get(n) is not None]
    if len(given) > 1:
        raise WrongUse(f"two places given, --{given[0]} and --{given[1]}: give one")
    if not given and options.get("osm") is None:
        raise WrongUse(
            "no place given: name one with --city, --bbox, --polygon, --cells, --stations, --osm or --context"
        )
    _check_zone(options.get("timezone"))
    shapes = ("osm", "cell_size", "radius", "id_column", "layer", "columns", "decimal", "thousands")
    shaping = [n for n in shapes if options.get(n) is not None]
    if given == ["context"]:
        if shaping:
            raise WrongUse(f"--{shaping[0].replace('_', '-')} does not go with --context, whose cells are made already")
        return _zone(read_context(options["context"], held=held), options.get("timezone"))
    city = options.get("city")
    if city is not None and not shaping and city.strip().lower() in bundled_cities():
        return _zone(read_context(CONTEXTS / f"{city.strip().lower()}.nc"), options.get("timezone"))
    from gentraffic.io.source_columns import make_reading
    from gentraffic.places.context import read_place

    return read_place(
        city=city,
        bbox=_box(options.get("bbox")),
        polygon=options.get("polygon"),
        cells=options.get("cells"),
        stations=options.get("stations"),
        osm=options.get("osm"),
        cell_size=options.get("cell_size"),
        radius_m=options.get("radius"),
        reading=make_reading(*(options.get(name) for name in ("columns", "id_column", "decimal", "thousands"))),
        layer=options.get("layer"),
        offline=bool(options.get("offline")),
        timezone=options.get("timezone"),
        command=command,
        progress=progress or (lambda done, of: None),
    )


def _box(text: str | None) -> tuple[float, float, float, float] | None:
    if text is None:
        return None
    try:
        west, south, east, north = (float(part) for part in text.split(","))
    except ValueError:
        raise WrongUse(f"--bbox {text}: give four numbers, W,S,E,N in degrees") from None
    return west, south, east, north


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
