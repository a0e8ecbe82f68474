"""What privacy costs on 346 cells of Milan: levels, weeks and weekends, five folds, epsilon 1, 4, 8 and none.

    python benchmarks/privacy_milan.py --data ../shared/data -o milan.json           # tens of minutes of one core
    python benchmarks/privacy_milan.py --data ../shared/data -o q.json --fold 0 --epsilon 8 --steps 2 --public 20

Private: Internet activity of the week of 4 November 2013, a unit being one cell with all its days. Public: a model
fitted on Shandong, Nanchang and Nanjing (`--start` of the command line), the map, and the range of levels. Otherwise
what `gentraffic fit stouter --dp-epsilon` does by default. "none": the same fit without noise. Folds by location
(squares of 2 km); `crps` and `crps_shape` with 95% intervals over locations. Noise is drawn anew in every run.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gentraffic.dataset.splits import block_locations
from gentraffic.evaluation.holdout import Members, Parts, as_measured, holdout_rows, model_row, score, week_of
from gentraffic.evaluation.intervals import bootstrap_interval
from gentraffic.evaluation.metrics.rhythm import weekend_error
from gentraffic.generators.folder import Bundle, load_bundle, save_bundle
from gentraffic.io.files import read_context
from gentraffic.io.importers.public_sets import read_milan_week
from gentraffic.io.importers.uomo import read_uomo
from gentraffic.modelling.measured import read_source
from gentraffic.places.find import CONTEXTS
from gentraffic.privacy.dp.accounting import Privacy
from gentraffic.privacy.dp.fit import fit_private_stouter, read_private
from gentraffic.privacy.dp.sgd import PrivatePlan
from gentraffic.training.fitting import fit_sampler, split_source
from gentraffic.training.sampler_task import Plan

FOLDS, BLOCK_M = 5, 2000.0
DELTA = 1e-5
LEVEL_RANGE = (1.0, 1e5)  # activity per cell and hour
NAIVE = ("mean-series", "bootstrap", "knn-20", "knn-level")
MEANS = ("crps", "crps_shape", "crps_level", "coverage_90")
HOUR = np.arange(168)


def public_model(data: Path, folder: Path, steps: int) -> Bundle:
    """The model to start from: three Chinese networks, which hold nothing of Milan."""
    if not (folder / "provenance.json").is_file():
        sources = []
        for city in ("sd", "nc", "nj"):
            traffic, context = read_uomo(data / "traffic" / f"uomo_{city}.npz")
            sources.append(read_source(traffic, [context]))
        bundle, metadata = fit_sampler(sources, plan=replace(Plan(), steps=steps))
        save_bundle(replace(bundle, provenance=metadata), folder, "# Public start of benchmarks/privacy_milan.py\n")
    return load_bundle(folder)


def scored(members: Members, parts: Parts) -> dict[str, Any]:
    """`score` of the only network, with `weekend_error`."""
    (found,) = score(members, parts).values()
    (drawn,), ((_, held),) = members.values(), parts.values()
    out: dict[str, Any] = found | {"weekend_error": weekend_error(week_of(held), drawn, HOUR)}
    return out


def table(done: dict[str, Any]) -> str:
    """The Markdown table of the finished folds."""
    lines = ["| | crps | crps_shape | crps_level | coverage_90 | acf_error | weekend_error |", "|---" * 7 + "|"]
    for row in dict.fromkeys(key.split("|")[0] for key in done):
        folds = [v for key, v in done.items() if key.split("|")[0] == row]
        place = np.concatenate([np.array(f["location"]) for f in folds])
        texts = []
        for metric in MEANS:
            values = np.concatenate([np.array(f[metric]) for f in folds])
            low, high = bootstrap_interval(values, place)
            interval = f" ({low:.4f}-{high:.4f})" if metric in ("crps", "crps_shape") else ""
            texts.append(f"{values.mean():.4f}{interval}")
        texts += [f"{np.mean([f[metric] for f in folds]):.4f}" for metric in ("acf_error", "weekend_error")]
        lines.append(f"| {row} ({len(folds)} folds) | " + " | ".join(texts) + " |")
    return "\n".join(lines)


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder of real data")
    parser.add_argument("-o", "--out", type=Path, required=True, help="JSON of finished rows")
    parser.add_argument("--fold", type=int, nargs="*", default=list(range(FOLDS)))
    parser.add_argument("--epsilon", type=float, nargs="*", default=[4.0, float("inf"), 1.0, 8.0])
    parser.add_argument("--steps", type=int, default=PrivatePlan().steps, help="of a private fit")
    parser.add_argument("--public", type=int, default=1000, help="steps of the public model")
    args = parser.parse_args()
    torch.set_num_threads(1)
    done: dict[str, Any] = json.loads(args.out.read_text()) if args.out.exists() else {}
    start = public_model(args.data, args.out.with_name(args.out.stem + "-public"), args.public)
    traffic, context = read_milan_week(args.data / "telecom-italia"), read_context(CONTEXTS / "milan.nc")
    traffic = traffic.assign_coords(location=("cell", block_locations(traffic.x.values, traffic.y.values, BLOCK_M)))
    whole, private = read_source(traffic, [context]), read_private(traffic, [context])

    def add(row: str, fold: int, members: Members, parts: Parts, seconds: float) -> None:
        done[f"{row}|{fold}"] = scored(members, parts) | {"seconds": seconds}
        args.out.write_text(json.dumps(done))
        print(f"fold {fold}: {row} done in {seconds:.0f} s", flush=True)

    for fold in args.fold:
        parts = {whole.network: split_source(whole, FOLDS, fold, 0)}
        if f"{NAIVE[0]}|{fold}" not in done:
            for row, members in holdout_rows(parts, fold).items():
                if row in NAIVE:
                    add(row, fold, members, parts, 0.0)
        for epsilon in args.epsilon:
            row = "none" if np.isinf(epsilon) else f"epsilon {epsilon:g}"
            if f"{row}|{fold}" in done:
                continue
            began = time.process_time()
            kept = np.unique(parts[whole.network][0].location)
            sources = [private.only(np.flatnonzero(np.isin(private.location, kept)))]
            privacy = Privacy(epsilon, DELTA, level_range=LEVEL_RANGE)
            bundle, _ = fit_private_stouter(sources, privacy, start=start, plan=PrivatePlan(steps=args.steps))
            members = model_row(bundle, as_measured({whole.network: context}, parts), parts, 0, None)
            add(row, fold, members, parts, time.process_time() - began)
    print(table(done))


if __name__ == "__main__":
    main()
