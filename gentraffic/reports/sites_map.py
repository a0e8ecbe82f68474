"""The map of a plan of new sites: the demand, the sites that stand, the new ones, and how far each covers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gentraffic.reports.webmap import Marker, write_map

if TYPE_CHECKING:
    from gentraffic.planning.load import Load
    from gentraffic.planning.sites import Sites


def write_sites_map(
    load: Load,
    sites: Sites,
    chosen: NDArray[np.int64],
    path: Path,
    *,
    existing: Sites | None = None,
    radius_m: float = 0.0,
) -> None:
    """The demand as `gentraffic.reports.webmap` shows it, with sites as markers.

    sites: the candidates. chosen: (new sites,) rows of them. existing: the sites that stand. radius_m: how far a site
    covers, 0 for no circles. Raises as `write_map` does.
    """
    markers = [
        Marker(float(sites.lon[i]), float(sites.lat[i]), f"new site {k + 1}: {sites.ids[i]}", "new", radius_m)
        for k, i in enumerate(chosen)
    ]
    if existing is not None:
        markers += [
            Marker(float(lon), float(lat), f"site that stands: {name}", "existing", radius_m)
            for lon, lat, name in zip(existing.lon, existing.lat, existing.ids, strict=True)
        ]
    place = str(load.ds.attrs.get("place", ""))
    plural = "s" if len(chosen) != 1 else ""
    title = f"{len(chosen)} new site{plural} and the traffic{place and f' of {place}'}"
    write_map(load.ds, path, service=load.service, markers=markers, title=title)
