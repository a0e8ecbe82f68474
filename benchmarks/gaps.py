"""Gaps in measured traffic, filled by each bundled model that takes it (`sample --known`): 25 cells of Milan, 3 weeks.

    python benchmarks/gaps.py --data ../shared/data          # a minute of a core

Of the hours of 1 to 21 November 2013, a fifth is taken away, in gaps of so many hours at random in random cells.
Scores are of the hours that were taken, over the mean traffic of these: `crps` of ten members, the absolute error of
their median, and which share lies in their 90% range. `mean hour`: the mean of what is left of the same hour of the
same cell on working days, or on Saturdays and Sundays. The models learned from these cells, in these weeks among
others.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

import gentraffic
from gentraffic.dataset.amounts import at_cadence
from gentraffic.dataset.schema import local_time
from gentraffic.evaluation.metrics import summary as m
from gentraffic.io.files import read_context
from gentraffic.io.importers.public_sets import read_milan_5x5
from gentraffic.places.find import CONTEXTS

HOURS, SHARE, MEMBERS = 504, 0.2, 10
GAPS_H = (6, 24, 72)
MODELS = ("stouter-fast", "stouter-base", "fomo-base")


def gaps_of(cells: int, steps: int, hours: int, seed: int = 0) -> NDArray[np.bool_]:
    """Where something is taken away: (cells, steps), SHARE of all."""
    rng = np.random.default_rng(seed)
    out = np.zeros((cells, steps), dtype=bool)
    while out.mean() < SHARE:
        first = rng.integers(steps - hours + 1)
        out[rng.integers(cells), first : first + hours] = True
    return out


def mean_hour(values: NDArray[np.float64], kind: NDArray[np.int64]) -> NDArray[np.float64]:
    """Each step as the mean of the cell's steps of its kind, (cells, steps); values: (cells, steps), nan in gaps."""
    out = np.empty_like(values)
    for one in np.unique(kind):
        out[:, kind == one] = np.nanmean(values[:, kind == one], axis=1, keepdims=True)
    return out


def row(name: str, hours: int, real: NDArray[np.float64], drawn: NDArray[np.float64]) -> str:
    """One row of the table. real: (values,), drawn: (members, values)."""
    mean = real.mean()
    crps = m.crps_cells(real[:, None], drawn[..., None]).mean() / mean
    error = np.abs(np.median(drawn, axis=0) - real).mean() / mean
    inside = f"{m.coverage_cells(real[:, None], drawn[..., None], 0.9).mean():.2f}" if len(drawn) > 1 else "–"
    return f"| {hours} h | {name} | {crps:.4f} | {error:.4f} | {inside} |"


def main() -> None:
    """Fill and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    whole = at_cadence(read_milan_5x5(args.data / "traffic" / "milan_5x5_internet_10min.csv"), 3600)
    whole = whole.isel(time=slice(0, HOURS))
    name = str(next(iter(whole.data_vars)))
    milan = read_context(CONTEXTS / "milan.nc")
    at = {cell: row for row, cell in enumerate(milan["cell_id"].values.tolist())}
    ids = whole["cell_id"].values.tolist()
    place = milan.isel(cell=[at[cell] for cell in ids])
    local = local_time(whole)
    kind = (24 * (local.day_of_week >= 5) + local.hour).to_numpy()
    real = whole[name].values.astype(np.float64)
    print("| gaps of | model | crps | error of the median | coverage_90 |\n|---|---|---|---|---|")
    for hours in GAPS_H:
        gaps = gaps_of(*real.shape, hours)
        values = np.where(gaps, np.nan, real)
        known = whole.assign({name: (("cell", "time"), values.astype(np.float32), whole[name].attrs)})
        print(row("mean hour", hours, real[gaps], mean_hour(values, kind)[gaps][None]), flush=True)
        for model in MODELS:
            drawn = filled(place, known, model, name, ids)
            print(row(model, hours, real[gaps], drawn[:, gaps]), flush=True)


def filled(place: xr.Dataset, known: xr.Dataset, model: str, name: str, ids: list[int]) -> NDArray[np.float64]:
    """Members of the cells of `ids`: (MEMBERS, cells, steps)."""
    drawn = gentraffic.sample(place, model=model, known=known, members=MEMBERS)
    order = [drawn["cell_id"].values.tolist().index(cell) for cell in ids]
    values: NDArray[np.float64] = drawn[name].values[:, order].astype(np.float64)
    return values


if __name__ == "__main__":
    main()
