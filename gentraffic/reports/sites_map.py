"""The map of a plan of new sites."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gentraffic.reports.webmap import Marker, write_map

if TYPE_CHECKING:
    from gentraffic.planning.load import Load
    from gentraffic.planning.sites import Sites


def write_sites_map(load: Load, sites: Sites, chosen: NDArray[np.int64], path: Path) -> None:
    """The demand as `gentraffic.reports.webmap` shows it, with the new sites as markers."""
    markers = [Marker(float(sites.lon[i]), float(sites.lat[i]), f"new site {k + 1}: {sites.ids[i]}")
               for k, i in enumerate(chosen)]  # fmt: skip
    place = str(load.ds.attrs.get("place", ""))
    plural = "s" if len(chosen) != 1 else ""
    title = f"{len(chosen)} new site{plural} and the traffic{place and f' of {place}'}"
    write_map(load.ds, path, service=load.service, markers=markers, title=title)
