"""P6 of metrics.md: levels that do not depend on what is drawn around a place.

    python benchmarks/p6.py --data ../shared/data          # a minute of a core

Crops: Malta and Liechtenstein, whole and cut five ways (the middle half, and the four quarters), each fetched from the
same extract (`fetch --osm FILE --bbox`). Of the cells of a crop, the slope of their log levels in the crop over those
in the whole country (1 is right), their rank correlation (levels within 0.01% of each other tie: open sea), and the
largest change of a ratio of levels. `cut by hand`: the context of the whole country, from which cells are taken without
what lies around them (`isel`).
Uniform: 80,000 shops spread over 100 x 100 cells of 250 m; the busiest control level over the quietest.
Outlier: 10,000 places more in one cell of the country, or one site of 10,000 radio cells where sites are known; the
largest change of another cell's absolute level, by distance.
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from gentraffic.dataset.build import local_utm_wkt, measured_context, places_from_xy
from gentraffic.generators.folder import load_bundle
from gentraffic.modelling.features import Floats, read_places
from gentraffic.places.context import read_place
from gentraffic.places.query import PlaceQuery

if TYPE_CHECKING:
    import xarray as xr

    from gentraffic.modelling.levels import LevelModel

COUNTRIES = {"malta": ("malta.osm.pbf", 500.0), "liechtenstein": ("liechtenstein.osm.pbf", 250.0)}
CROPS = {"middle": (0.25, 0.25, 0.75, 0.75), "south-west": (0, 0, 0.5, 0.5), "south-east": (0.5, 0, 1, 0.5),
         "north-west": (0, 0.5, 0.5, 1), "north-east": (0.5, 0.5, 1, 1)}  # fmt: skip
RINGS_KM = (0, 1, 2, 4, 8, 1000)
OUTLIER = 10_000


def control(levels: LevelModel, context: xr.Dataset) -> Floats:
    """Log relative levels of the control, (cells,)."""
    return levels.relative(read_places(context))[0]


def box_of(context: xr.Dataset, part: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    """Degrees of a part of the box of a context; part: west, south, east, north as shares of it."""
    lon, lat = context["lon"].values, context["lat"].values
    (west, east), (south, north) = ((float(v.min()), float(v.max())) for v in (lon, lat))
    x, y = east - west, north - south
    return west + part[0] * x, south + part[1] * y, west + part[2] * x, south + part[3] * y


def compare(small: Floats, large: Floats) -> str:
    """Slope, rank correlation and the largest change of a ratio (to the median) of log levels (cells,)."""
    apart = small - large
    worst = np.exp(np.abs(apart - np.median(apart)).max()) - 1
    rank = spearmanr(*(np.round(v - np.median(v), 4) for v in (small, large))).statistic
    return f"{np.polyfit(large, small, 1)[0]:.3f} | {rank:.4f} | {100 * worst:.1f}%"


def crops(levels: LevelModel, data: Path) -> None:
    """The table of crops."""
    print("| country | crop | cells | slope | rank | largest change | cut by hand: slope | rank | largest change |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name, (file, cell_m) in COUNTRIES.items():
        whole = read_place(PlaceQuery(osm=data / "osm" / file, cell_size=cell_m))
        log = control(levels, whole)
        row = {cell: i for i, cell in enumerate(whole["cell_id"].values.tolist())}
        for crop, part in CROPS.items():
            cut = read_place(PlaceQuery(osm=data / "osm" / file, bbox=box_of(whole, part), cell_size=cell_m))
            mine = np.array([row.get(cell, -1) for cell in cut["cell_id"].values.tolist()])
            both = np.flatnonzero(mine >= 0)
            by_hand = whole.isel(cell=mine[both])
            texts = [compare(v, log[mine[both]]) for v in (control(levels, cut)[both], control(levels, by_hand))]
            print(f"| {name} | {crop} | {len(both)} | {' | '.join(texts)} |", flush=True)


def lattice(counts: NDArray[np.int32]) -> xr.Dataset:
    """A context of square cells of 250 m in Italy; counts: (rows, cols) shops."""
    side = len(counts)
    y, x = (250.0 * part.ravel() for part in np.mgrid[0:side, 0:side])
    poi = np.zeros((side * side, 8), dtype=np.int32)
    poi[:, 6] = counts.ravel()
    places = places_from_xy(
        np.arange(side * side), 500_000 + x, 5_000_000 + y, local_utm_wkt(9.0, 45.0), kind="grid", cell_m=250.0,
        extra={"row": (y // 250).astype(np.int32), "col": (x // 250).astype(np.int32)},
    )  # fmt: skip
    return measured_context(places, poi, timezone="Europe/Rome", attrs={}, warnings=())


def outlier(levels: LevelModel, name: str, context: xr.Dataset) -> None:
    """One line for each kind of outlier: the largest change of another cell's level, by distance."""
    log = levels.absolute(read_places(context))
    at = int(np.argsort(log)[len(log) * 95 // 100])  # a busy place, not the busiest
    x, y = (context[axis].values for axis in "xy")
    away = np.hypot(x - x[at], y - y[at]) / 1000
    counts = context["poi_count"].values.copy()
    counts[at, 6] += OUTLIER
    kinds = {"places": context.assign(poi_count=(("cell", "category"), counts))}
    if "stations" in context:
        sites = context["stations"].values.copy()
        sites[at] += OUTLIER
        kinds["radio cells"] = context.assign(stations=("cell", sites))
    for kind, changed in kinds.items():
        apart = np.abs(np.expm1(levels.absolute(read_places(changed)) - log))
        relative = np.expm1(levels.unit(read_places(changed)) - levels.unit(read_places(context)))
        rings = [apart[(away > low) & (away <= high)] for low, high in pairwise(RINGS_KM)]
        texts = [f"{100 * ring.max():.1f}%" if len(ring) else "-" for ring in rings]
        print(f"| {name} | {OUTLIER:,} {kind} | {np.expm1(levels.absolute(read_places(changed)) - log)[at]:.1f} | "
              f"{' | '.join(texts)} | {100 * relative:.2f}% |")  # fmt: skip


def main() -> None:
    """Print the tables."""
    from gentraffic.io.files import read_context
    from gentraffic.places.find import CONTEXTS

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--only", choices=["crops", "uniform", "outlier"], help="one of the three")
    parser.add_argument("--model", default="stouter-base")
    args = parser.parse_args()
    levels = load_bundle(args.model).levels
    if args.only in (None, "crops"):
        crops(levels, args.data)
    if args.only in (None, "uniform"):
        uniform(levels)
    if args.only not in (None, "outlier"):
        return
    rings = " | ".join(f"to {high} km" for high in RINGS_KM[1:-1])
    print(f"\n| place | outlier | own level + | {rings} | beyond | mean cell |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name in ("malta", "liechtenstein", "milan"):
        outlier(levels, name, read_context(CONTEXTS / f"{name}.nc"))


def uniform(levels: LevelModel) -> None:
    """One line: the contrast of a place that is the same everywhere."""
    shops = np.random.default_rng(0).poisson(8, size=(100, 100)).astype(np.int32)
    log = control(levels, lattice(shops))
    even = control(levels, lattice(np.full((100, 100), 8, dtype=np.int32)))
    same, random = (np.exp(np.ptp(v)) for v in (even, log))
    print(f"\nUniform: {same:.3f} where each cell has 8 shops, {random:.3f} where 80,000 fall at random")


if __name__ == "__main__":
    main()
