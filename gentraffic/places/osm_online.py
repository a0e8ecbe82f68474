"""A place name -> its boundary (Nominatim) and its points of interest (Overpass), over the network or from the cache.

Addresses, time-out and the largest area of one question are those of `osmnx.settings`, so that whoever has set osmnx
up has set this up; GENTRAFFIC_NOMINATIM_URL and GENTRAFFIC_OVERPASS_URL stand before them. The questions themselves are
asked by `places.http`, because osmnx retries 429 and 504 without end, takes an answer with a `remark` for whole, and
keeps a damaged cache entry for ever.
"""

from __future__ import annotations

import hashlib
import json
import os
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gentraffic.places.http import InPart, Question, ask
from poi.errors import PlaceNotFound

if TYPE_CHECKING:
    import geopandas as gpd
    from shapely.geometry.base import BaseGeometry

    from poi.elements import BaseMap, Ground
    from poi.overpass import Found

STREETS_KM2 = 400.0  # of a larger area only main roads are asked for
BUILDINGS_KM2 = 60.0  # of a larger area they are not asked for: a city's are a hundred megabytes
MOST_MAP_PARTS = 4  # questions: a map of a larger area is not asked for


@dataclass(frozen=True)
class _Result:
    """One place of Nominatim's: full name, west, south, east, north, and its area where it is one."""

    name: str
    box: tuple[float, float, float, float]
    area: BaseGeometry | None


def fetch_place(name: str, *, offline: bool = False) -> tuple[BaseGeometry, str]:
    """Boundary of a named place in degrees and its full name: the most important result of Nominatim that is an area.

    Raises PlaceNotFound where there is none, NetworkFailed where the server cannot be reached or, offline, where the
    place is not in the cache."""
    import osmnx

    base = os.environ.get("GENTRAFFIC_NOMINATIM_URL") or osmnx.settings.nominatim_url
    form: dict[str, Any] = {"q": name, "format": "json", "polygon_geojson": 1, "dedupe": 0, "limit": 50}
    if osmnx.settings.nominatim_key:
        form["key"] = osmnx.settings.nominatim_key
    url = f"{_endpoint(base, 'search')}?{urllib.parse.urlencode(form)}"
    results = ask(Question(url, None, f"Nominatim for {name!r}", _timeout_s()), _read_results, offline=offline).content
    for result in results:
        if result.area is not None:
            return result.area, result.name or name
    if results:
        box = ",".join(f"{degrees:.4f}" for degrees in results[0].box)
        raise PlaceNotFound(f"{name!r} is a point in OpenStreetMap, not an area: give its box with --bbox={box}")
    raise PlaceNotFound(f"no place {name!r} in OpenStreetMap: check the spelling, add the country, or give --bbox")


def fetch_pois(
    boundary: BaseGeometry,
    *,
    margin_m: float = 200.0,
    offline: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> gpd.GeoDataFrame:
    """POIs in a boundary (degrees) and at least `margin_m` around it, as `poi.osm.read_pois` gives them.

    A large area is asked for in several questions (`osmnx.settings.max_query_area_size` square metres each); `progress`
    is told (answered, asked in all). `.attrs`: snapshot (the oldest answer's), sha256 over the answers in order.
    Raises NetworkFailed where the server cannot be reached, refuses, or answers in part; offline, where an answer is
    not in the cache; PoiError where the area is too large for Overpass."""
    import osmnx

    from poi.overpass import parts, query
    from poi.points import Origin, make_pois, newest_of_each

    base = os.environ.get("GENTRAFFIC_OVERPASS_URL") or osmnx.settings.overpass_url
    url = _endpoint(base, "interpreter")
    polygons = parts(boundary, margin_m, float(osmnx.settings.max_query_area_size))
    found: list[Found] = []
    digest = hashlib.sha256()
    warnings: list[str] = []
    for i, polygon in enumerate(polygons):
        form = urllib.parse.urlencode({"data": query(polygon, int(_timeout_s()))})
        answer = ask(Question(url, form, "Overpass", _timeout_s()), _read_places, offline=offline)
        found.append(answer.content)
        digest.update(answer.body)
        warnings += [answer.warning] if answer.warning else []
        if progress is not None:
            progress(i + 1, len(polygons))
    kind, number = (
        zip(*(e for f in found for e in f.element), strict=True) if any(f.element for f in found) else ((), ())
    )
    once = newest_of_each(kind, number)  # an element on the seam of two questions is in both answers
    unplaced = sum(f.unplaced for f in found)
    warnings += [f"Overpass: {unplaced} places have no coordinates"] if unplaced else []
    snapshots = sorted(f.snapshot for f in found if f.snapshot)
    origin = Origin(
        source=f"Overpass API, {urllib.parse.urlsplit(url).hostname}",
        snapshot=snapshots[0] if snapshots else "unknown",
        sha256=digest.hexdigest(),
        warnings=tuple(dict.fromkeys(warnings)),
    )
    lon, lat = (np.concatenate([getattr(f, axis) for f in found])[once] for axis in ("lon", "lat"))
    key, value = ([tag for f in found for tag in getattr(f, name)] for name in ("key", "value"))
    return make_pois(lon, lat, [key[i] for i in once], [value[i] for i in once], origin)


def fetch_basemap(
    boundary: BaseGeometry, *, margin_m: float = 300.0, offline: bool = False
) -> tuple[BaseMap | None, Ground | None]:
    """What a map shows of a boundary (degrees) and `margin_m` around it, and what stands there; None for nothing, and
    for a large area.

    Small streets and land by use are asked for up to STREETS_KM2, buildings up to BUILDINGS_KM2. Raises NetworkFailed
    and PoiError as `fetch_pois` does."""
    import osmnx

    from poi.grid import to_metres, utm_crs
    from poi.overpass import basemap_of, ground_of, map_query, parts

    base = os.environ.get("GENTRAFFIC_OVERPASS_URL") or osmnx.settings.overpass_url
    polygons = parts(boundary, margin_m, float(osmnx.settings.max_query_area_size))
    if len(polygons) > MOST_MAP_PARTS:
        return None, None
    km2 = to_metres(boundary, utm_crs(boundary)).area / 1e6
    wanted = {"streets": km2 < STREETS_KM2, "buildings": km2 < BUILDINGS_KM2}
    elements: list[Any] = []
    for polygon in polygons:
        form = urllib.parse.urlencode({"data": map_query(polygon, int(_timeout_s()), **wanted)})
        question = Question(_endpoint(base, "interpreter"), form, "Overpass", _timeout_s())
        elements += ask(question, _read_elements, offline=offline).content
    return basemap_of({"elements": elements}), ground_of({"elements": elements})


def _read_elements(body: bytes) -> list[Any]:
    """The elements of a whole answer. Raises InPart for a part of one, ValueError and BadFile for anything else."""
    _read_places(body)
    found: list[Any] = json.loads(body)["elements"]
    return found


def _read_results(body: bytes) -> list[_Result]:
    """Nominatim's results, the most important first. Raises ValueError for anything else."""
    import shapely
    import shapely.geometry

    results = []
    try:
        for row in sorted(json.loads(body), key=lambda r: -float(r.get("importance") or 0.0)):
            south, north, west, east = (float(degrees) for degrees in row["boundingbox"])
            shape = row.get("geojson") or {}
            areal = shape.get("type") in ("Polygon", "MultiPolygon")
            area = shapely.make_valid(shapely.geometry.shape(shape)) if areal else None
            results.append(_Result(str(row.get("display_name") or ""), (west, south, east, north), area))
    except (KeyError, TypeError, AttributeError, IndexError, shapely.errors.ShapelyError) as error:
        raise ValueError(f"no list of places: {error!r}") from error
    return results


def _read_places(body: bytes) -> Found:
    from poi.overpass import Partial, places

    try:
        return places(json.loads(body), "the answer")
    except Partial as error:
        raise InPart(f"Overpass answered in part: {error}; ask for a smaller area, or give --osm FILE") from error


def _endpoint(base: str, name: str) -> str:
    base = base.rstrip("/")
    return base if base.endswith(f"/{name}") else f"{base}/{name}"


def _timeout_s() -> float:
    import osmnx

    return float(osmnx.settings.requests_timeout)
