"""Levels where nobody measured: do POIs tell them, and do the ranges hold?

    python benchmarks/unmeasured.py --data ../shared/data

Each measured network is drawn as if it were not one: by the activity of its places alone, 100 members. Its traffic told
the model no more than how far levels spread in general (and its shapes, which are not scored here). Per cell the mean
level over a week, relative to the mean of the measured cells, of the members as of the real traffic: `crps_level` of
its logarithm, shares inside the 90% and 50% ranges, and the rank correlation of the control's map with the real one.
Beside it the same model without a map: levels of the same spread, drawn without looking at the place.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gentraffic.evaluation.intervals import bootstrap_interval
from gentraffic.evaluation.metrics.summary import coverage_cells, crps_cells, level_spearman
from gentraffic.generators.folder import load_bundle
from gentraffic.io.files import read_context
from gentraffic.io.importers.public_sets import MILAN_CELLS, read_milan_5x5
from gentraffic.io.importers.uomo import read_uomo
from gentraffic.modelling.features import Floats, Places, read_places
from gentraffic.modelling.level_noise import Likeness, level_noise, likeness_of
from gentraffic.modelling.measured import read_source
from gentraffic.places.find import CONTEXTS

if TYPE_CHECKING:
    from gentraffic.modelling.levels import LevelModel

MEMBERS = 100


def networks(data: Path) -> Iterator[tuple[str, str, Places, list[int], Floats, list[int]]]:
    """Name, that of the network, all places of the context, rows of the measured cells, their mean traffic, their
    locations."""
    for city, name in (("sd", "Shandong"), ("nc", "Nanchang"), ("nj", "Nanjing")):
        traffic, context = read_uomo(data / "traffic" / f"uomo_{city}.npz")
        source = read_source(traffic, [context])
        yield name, source.network, read_places(context), source.rows.tolist(), source.level, source.location.tolist()
    context = read_context(CONTEXTS / "milan.nc")
    level = read_milan_5x5(data / "traffic" / "milan_5x5_internet_10min.csv")["internet"].values.mean(axis=1)
    rows = np.searchsorted(context["cell_id"].values, MILAN_CELLS).tolist()
    for name, place in (("with sites", context), ("without", context.drop_vars("stations"))):
        yield f"Milan, 25 cells, {name}", "milan", read_places(place), rows, level, list(range(len(rows)))


def drawn_levels(levels: LevelModel, places: Places, like: Likeness) -> Floats:
    """Log levels of the members, the control first: (members, cells). like: how alike their noise is."""
    ids = np.arange(len(places.poi_count))
    noise = np.stack(list(level_noise(0, ids, places.xy_m, [like] * MEMBERS)))
    return levels.draw(replace(places, network="nobody"), noise)


def main() -> None:
    """Draw and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="stouter-base")
    args = parser.parse_args()
    bundle = load_bundle(args.model)
    levels = bundle.levels
    print("| network | cells | crps_level | coverage_90 | coverage_50 | rank correlation | crps_level without a map |")
    print("|---|---|---|---|---|---|---|")
    for name, network, places, rows, traffic, location in networks(args.data):
        real = np.log(traffic / traffic.mean())[:, None]
        texts, like = [], likeness_of(bundle.weeks.shared[network])
        for model in (levels, replace(levels, places=False)):
            log = drawn_levels(model, places, like)[:, rows]
            log = (log - np.log(np.exp(log).mean(axis=1, keepdims=True)))[..., None]
            crps = crps_cells(real, log[1:])
            low, high = bootstrap_interval(crps, np.array(location))
            texts.append(f"{crps.mean():.3f} ({low:.3f}-{high:.3f})")
            if model is levels:
                texts += [f"{coverage_cells(real, log[1:], share).mean():.2f}" for share in (0.9, 0.5)]
                texts.append(f"{level_spearman(traffic[:, None], np.exp(log[0])):.2f}")
        print(f"| {name} | {len(rows)} | " + " | ".join(texts) + " |")


if __name__ == "__main__":
    main()
