"""Milan: does the drawn map put traffic where it is? (Models whose networks hold Milan learned from it.)

    python benchmarks/milan.py --data ../shared/data [--measured traffic.nc]

Rank correlations of the control member's mean level over a week with what can be had: the 25 cells with public
measurements; the density of LTE radio cells (OpenCelliD, smoothed over 500 m) for a context without sites, a stand-in
for the whole map; and, with --measured, the mean level of any Traffic file over the same cells.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from gentraffic.dataset.calendar import make_calendar
from gentraffic.generators.folder import load_bundle
from gentraffic.generators.weekly import Settings, draw_traffic
from gentraffic.io.files import read_context, read_traffic
from gentraffic.io.importers.public_sets import MILAN_CELLS, read_milan_5x5
from gentraffic.modelling.features import read_places, smooth_density
from gentraffic.places.find import CONTEXTS


def main() -> None:
    """Draw Milan with and without its sites and print the rank correlations."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--measured", type=Path)
    parser.add_argument("--model", default="stouter-base")
    parser.add_argument("--members", type=int, default=1)
    args = parser.parse_args()
    bundle = load_bundle(args.model)
    context = read_context(CONTEXTS / "milan.nc")
    calendar = make_calendar("2026-01-05", 7, "1h", "Europe/Rome")
    measured = read_milan_5x5(args.data / "traffic" / "milan_5x5_internet_10min.csv")["internet"].values.mean(axis=1)
    lte = smooth_density(context["stations"].values.astype(float), read_places(context).xy_m, 500.0)
    rows = np.searchsorted(context["cell_id"].values, MILAN_CELLS)
    print("| context | 25 measured cells | LTE density, 10,000 cells | measured map |\n|---|---|---|---|")
    for name, place in (("POIs and sites", context), ("POIs only", context.drop_vars("stations"))):
        drawn = draw_traffic(bundle, place, calendar, Settings(members=args.members))
        level = drawn.mean(axis=(0, 2), dtype=np.float64)
        found = [f"{spearmanr(level[rows], measured).statistic:.2f}"]
        found.append("(known to it)" if "stations" in place else f"{spearmanr(level, lte).statistic:.3f}")
        found.append("-")
        if args.measured is not None:
            traffic = read_traffic(args.measured)
            service = next(iter(traffic.data_vars))
            at = {cell: i for i, cell in enumerate(place["cell_id"].values.tolist())}
            mine = [at[cell] for cell in traffic["cell_id"].values.tolist()]
            found[-1] = f"{spearmanr(level[mine], traffic[service].values.mean(axis=-1)).statistic:.3f}"
        print(f"| {name} | " + " | ".join(found) + " |")


if __name__ == "__main__":
    main()
