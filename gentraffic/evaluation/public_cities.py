"""The public networks that the protocols of metrics.md are run on, read from a folder with their files.

Expected below `data`/traffic: uomo_sd.npz, uomo_nc.npz, uomo_nj.npz (UoMo), beijing_stations_168h.npz (STK-Diff),
milan_5x5_internet_10min.csv (Telecom Italia); below `data`/telecom-italia: the week of 346 cells of Milan.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from gentraffic.dataset.services import DIRECTIONS
from gentraffic.generators.fomo.data import Region, read_region
from gentraffic.io.files import read_context
from gentraffic.io.importers.public_sets import read_beijing, read_milan_5x5, read_milan_week
from gentraffic.io.importers.uomo import read_uomo
from gentraffic.modelling.measured import Source, read_source, read_sources
from gentraffic.places.find import CONTEXTS

if TYPE_CHECKING:
    import xarray as xr

CITIES = ("uomo-sd", "uomo-nc", "uomo-nj")
MILAN = "milan"  # the network of the 346 cells


def read_city(data: Path, city: str) -> tuple[xr.Dataset, xr.Dataset]:
    """Traffic and context of one of CITIES. Raises BadInput."""
    return read_uomo(data / "traffic" / f"{city.replace('-', '_')}.npz")


def read_cities(data: Path) -> tuple[list[Source], dict[str, Any]]:
    """All sources that `stouter-base` learns from, and the context of each of CITIES and of MILAN. Raises BadInput.

    Milan's 346 cells come in five services, the main one, Internet, first: leave out those whose `service` is not ""
    for a sampler that learns one.
    """
    sources, contexts = [], {}
    for city in CITIES:
        traffic, contexts[city] = read_city(data, city)
        sources.append(read_source(traffic, [contexts[city]]))
    sources.append(read_source(read_beijing(data / "traffic" / "beijing_stations_168h.npz"), []))
    milan = read_context(CONTEXTS / "milan.nc")
    sources.append(read_source(read_milan_5x5(data / "traffic" / "milan_5x5_internet_10min.csv"), [milan]))
    contexts[MILAN] = milan.assign_attrs(network=MILAN)
    week = read_milan_week(data / "telecom-italia", services=("internet", *DIRECTIONS))
    return [*sources, *read_sources(week, [contexts[MILAN]])], contexts


def read_regions(data: Path) -> list[tuple[Source, Region]]:
    """The three cities and Milan as FoMo takes them (P3). Raises BadInput."""
    out = []
    for city in CITIES:
        traffic, context = read_city(data, city)
        out.append(read_region(traffic, [context]))
    out.append(read_region(read_milan_5x5(data / "traffic" / "milan_5x5_internet_10min.csv"), []))
    return out
