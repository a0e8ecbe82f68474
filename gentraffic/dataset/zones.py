"""The time zone of a place: the one that most of its cells lie in; at sea, that of the nearest land."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_ASKED = 1000  # cells that are asked for; of more, as many, evenly spread over their order


def zone_of_most(lon: NDArray[np.float64], lat: NDArray[np.float64]) -> str | None:
    """IANA name of the zone that most of the points lie in; of several, that of the middle one.

    Points at sea do not count, unless all are: then the zone of the land that is nearest to their middle. Zones of the
    high seas (Etc/GMT+3) are never given: nobody who stands ashore keeps them. None where no land is found.
    lon, lat: (cells,) degrees.
    """
    from timezonefinder import TimezoneFinder

    finder = TimezoneFinder()
    order = np.lexsort((lat, lon))
    asked = order[np.unique(np.linspace(0, len(order) - 1, min(len(order), MOST_ASKED)).astype(np.int64))]
    found = Counter(_land(finder, float(lon[i]), float(lat[i])) for i in asked)
    del found[None]
    middle = order[len(order) // 2]
    if not found:
        return _nearest_land(finder, float(lon[middle]), float(lat[middle]))
    most = max(found.values())
    tied = sorted(zone for zone, count in found.items() if zone is not None and count == most)
    own = _land(finder, float(lon[middle]), float(lat[middle]))
    return own if own in tied else tied[0]


def _land(finder: Any, lon: float, lat: float) -> str | None:
    zone = finder.timezone_at_land(lng=lon, lat=lat)
    return None if zone is None or str(zone).startswith("Etc/") else str(zone)


def _nearest_land(finder: Any, lon: float, lat: float) -> str | None:
    """The zone of the first land that growing circles around a point meet; distances are right to 5%."""
    from pyproj import Geod

    earth = Geod(ellps="WGS84")
    bearing = np.arange(0.0, 360.0, 5.0)
    for radius_m in 1000.0 * 1.05 ** np.arange(0, 200):
        ring = earth.fwd(np.full(72, lon), np.full(72, lat), bearing, np.full(72, radius_m))
        found = Counter(_land(finder, float(x), float(y)) for x, y in zip(ring[0], ring[1], strict=True))
        del found[None]
        if found:
            return min(found, key=lambda zone: (-found[zone], str(zone)))
    return None
