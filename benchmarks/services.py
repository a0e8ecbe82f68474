"""P7 of metrics.md: P1 for each service of one model, and what the services share.

    python benchmarks/services.py --data ../shared/data --work /tmp/services          # trains: minutes of a core
    python benchmarks/services.py --data ../shared/data --work /tmp/services --steps 1600

346 cells of Milan, the week of 4 November 2013, by hour: a quarter of the locations (squares of 2 km) is held out. The
script types the commands that a user would: split, fit, sample, evaluate. `night`: traffic from 2 to 5 o'clock over the
mean hour; `weekend`: a day of Saturday and Sunday over one of Monday to Friday; `peak`: the busiest hour of the mean
working day. `with internet`: correlation of log levels over cells, and of hourly departures (log, over the mean week of
all cells) over cells and hours, of one member, drawn and real.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gentraffic.dataset.services import DIRECTIONS, SUMS, with_sum
from gentraffic.dataset.splits import block_locations
from gentraffic.io.files import read_traffic, write_traffic
from gentraffic.io.importers.public_sets import read_milan_week

if TYPE_CHECKING:
    import xarray as xr

MEMBERS, BLOCK_M = 20, 2000.0
SERVICES = ("internet", *DIRECTIONS)
METRICS = ("crps", "crps_shape", "coverage_90", "acf_error", "roughness_ratio", "weekend_error", "rhythm_mae",
           "shape_spread_ratio")  # fmt: skip
HOUR = np.arange(168)


def run(*words: object) -> str:
    """Type one gentraffic command; what it prints."""
    print("gentraffic", *words, file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "gentraffic", *map(str, words)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def rhythm(week: NDArray[Any]) -> tuple[float, float, int]:
    """night, weekend and peak of the mean week of cells (cells, 168), Monday first."""
    shape = (week / week.mean(axis=1, keepdims=True)).mean(axis=0)
    days = shape.reshape(7, 24)
    night = float(shape[(HOUR % 24 >= 2) & (HOUR % 24 < 5)].mean())
    return night, float(days[5:].mean() / days[:5].mean()), int(days[:5].mean(axis=0).argmax())


def shared(one: NDArray[Any], other: NDArray[Any]) -> tuple[float, float]:
    """Correlations of levels and of departures of two services, (cells, 168) each."""
    level = np.corrcoef(*(np.log(v.mean(axis=1)) for v in (one, other)))[0, 1]
    logs = [np.log(v / v.mean(axis=1, keepdims=True) + 0.05) for v in (one, other)]
    return float(level), float(np.corrcoef(*((v - v.mean(axis=0)).ravel() for v in logs))[0, 1])


def week(ds: xr.Dataset, service: str, ids: NDArray[Any], member: int | None = None) -> NDArray[Any]:
    """One service of some cells: (cells, 168)."""
    values = with_sum(ds, service)[service]
    values = values if member is None else values.isel(member=member)
    rows = {cell: row for row, cell in enumerate(ds["cell_id"].values.tolist())}
    out: NDArray[Any] = values.values[[rows[cell] for cell in ids.tolist()]].astype(np.float64)
    return out


def main() -> None:
    """Train on three quarters of the locations, draw the others, score every service."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=3200)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    whole, train, test, context, model, drawn = (
        args.work / name for name in ("five.nc", "train.nc", "test.nc", "context.nc", "model", "drawn.nc")
    )
    ds = read_milan_week(args.data / "telecom-italia", services=SERVICES)
    write_traffic(ds.assign_coords(location=("cell", block_locations(ds.x.values, ds.y.values, BLOCK_M))), whole)
    run("split", whole, "--test", "25%", "--by", "location", "-o", train, "--rest", test)
    run("fetch", "--city", "milan", "-o", context)
    if not model.exists():
        run("fit", "stouter", "--traffic", train, "--context", context, "-o", model, "--holdout", 0, "--threads", 1,
            "--steps", args.steps)  # fmt: skip
    real = read_traffic(test)
    ids = real["cell_id"].values
    run("sample", "--context", context, "--model", model, "--service", ",".join((*SERVICES, *SUMS)), "--start",
        "2013-11-04", "--members", MEMBERS, "--select", ",".join(map(str, ids.tolist())), "-o", drawn)  # fmt: skip
    scored = json.loads(
        run("evaluate", "--real", test, "--synthetic", drawn, "--train", train, "--context", context, "--json")
    )["by_service"]
    print(f"| service | row | {' | '.join(METRICS)} |\n|---|---|{'---|' * len(METRICS)}")
    for service, found in scored.items():
        for row, values in {"stouter": found["metrics"], **found["naive"]}.items():
            texts = ["–" if values[m]["value"] is None else f"{values[m]['value']:.4f}" for m in METRICS]
            print(f"| {service} | {row} | {' | '.join(texts)} |")
    made = read_traffic(drawn)
    print("\n| service | night drawn / real | weekend | peak | levels with internet | departures with internet |")
    print("|---|---|---|---|---|---|")
    main_real, main_drawn = week(real, "internet", ids), week(made, "internet", ids, 1)
    for service in (*SERVICES, *SUMS):
        own, its = week(made, service, ids, 1), week(real, service, ids)
        (n1, w1, p1), (n2, w2, p2) = rhythm(own), rhythm(its)
        (l1, d1), (l2, d2) = shared(main_drawn, own), shared(main_real, its)
        print(f"| {service} | {n1:.3f} / {n2:.3f} | {w1:.3f} / {w2:.3f} | {p1} / {p2} | {l1:.3f} / {l2:.3f} "
              f"| {d1:.3f} / {d2:.3f} |")  # fmt: skip


if __name__ == "__main__":
    main()
