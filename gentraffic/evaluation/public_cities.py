"""The public networks that the protocols of metrics.md are run on, read from a folder with their files.

Expected below `data`/traffic: uomo_sd.npz, uomo_nc.npz, uomo_nj.npz (UoMo), beijing_stations_168h.npz (STK-Diff),
milan_5x5_internet_10min.csv (Telecom Italia).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from gentraffic.generators.fomo.data import Region, read_region
from gentraffic.io.importers.public_sets import read_beijing, read_milan_5x5
from gentraffic.io.importers.uomo import read_uomo
from gentraffic.modelling.measured import Source, read_source

if TYPE_CHECKING:
    import xarray as xr

CITIES = ("uomo-sd", "uomo-nc", "uomo-nj")


def read_city(data: Path, city: str) -> tuple[xr.Dataset, xr.Dataset]:
    """Traffic and context of one of CITIES. Raises BadInput."""
    return read_uomo(data / "traffic" / f"{city.replace('-', '_')}.npz")


def read_cities(data: Path) -> tuple[list[Source], dict[str, Any]]:
    """All sources that training uses (P1), and the context of each of CITIES. Raises BadInput."""
    sources, contexts = [], {}
    for city in CITIES:
        traffic, contexts[city] = read_city(data, city)
        sources.append(read_source(traffic, [contexts[city]]))
    sources.append(read_source(read_beijing(data / "traffic" / "beijing_stations_168h.npz"), []))
    sources.append(read_source(read_milan_5x5(data / "traffic" / "milan_5x5_internet_10min.csv"), []))
    return sources, contexts


def read_regions(data: Path) -> list[tuple[Source, Region]]:
    """The three cities and Milan as FoMo takes them (P3). Raises BadInput."""
    out = []
    for city in CITIES:
        traffic, context = read_city(data, city)
        out.append(read_region(traffic, [context]))
    out.append(read_region(read_milan_5x5(data / "traffic" / "milan_5x5_internet_10min.csv"), []))
    return out
