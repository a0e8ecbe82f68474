"""P1 of METRICS: traffic for locations that the model never saw, from POIs alone, beside the naive rows.

    python benchmarks/p1.py --data ../shared/data -o benchmarks/p1.json    # everything: an hour of one core
    python benchmarks/p1.py --data ../shared/data -o /tmp/quick.json --quick   # two folds, few steps

Five folds by location on uomo_sd (week 0), uomo_nc and uomo_nj together; hourly, the first 168 hours; scores per live
cell and held-out location, `_p9999` scaling per city and fold; 95% intervals by bootstrap over locations. Every row is
written as it is done: run the same command again to go on. `--only` limits the rows.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gentraffic.fitting import Design, fit_sampler, split_source
from gentraffic.importing import read_uomo
from gentraffic.metrics import acf_error, jsd_hist
from gentraffic.p1 import MEMBERS, model_row, naive_rows, read_rows, score, table, week_of
from gentraffic.sources import read_beijing, read_milan_5x5
from gentraffic.training import Plan
from gentraffic.training_data import Source, read_source

CITIES = ("uomo-sd", "uomo-nc", "uomo-nj")
MODELS: dict[str, dict[str, Any]] = {
    "stouter": {},
    "stouter, no temporal graph": {"use_time": False},
    "stouter, no station graph": {"use_place": False},
    "stouter, neither graph": {"use_time": False, "use_place": False},
}
MANY = 100  # members of one more row of the full model: with so many, how they are spread no longer matters


def load(data: Path) -> tuple[list[Source], dict[str, Any]]:
    """All sources that training uses, and the context of each city."""
    sources, contexts = [], {}
    for city in ("sd", "nc", "nj"):
        traffic, context = read_uomo(data / "traffic" / f"uomo_{city}.npz")
        sources.append(read_source(traffic, [context]))
        contexts[f"uomo-{city}"] = context
    sources.append(read_source(read_beijing(data / "traffic" / "beijing_stations_168h.npz"), []))
    sources.append(read_source(read_milan_5x5(data / "traffic" / "milan_5x5_internet_10min.csv"), []))
    return sources, contexts


def brief(done: dict[str, Any]) -> str:
    """Means over the held-out cells of all finished folds, one line per row: crps, coverage_90, crps_shape."""
    lines = ["| row | sd | nc | nj |", "|---|---|---|---|"]
    for name in dict.fromkeys(key.split("|")[0] for key in done):
        folds = [v for key, v in sorted(done.items()) if key.split("|")[0] == name]
        texts = []
        for city in CITIES:
            means = [
                np.concatenate([fold[city][metric] for fold in folds]).mean()
                for metric in ("crps", "coverage_90", "crps_shape")
            ]
            texts.append(f"{means[0]:.4f} / {means[1]:.2f} / {means[2]:.4f}")
        lines.append(f"| {name} | " + " | ".join(texts) + " |")
    return "\n".join(lines)


def keep(folder: Path, row: str, fold: int, members: dict[str, Any], parts: dict[str, tuple[Source, Source]]) -> None:
    """Write what a row drew for the held-out cells of one fold, and the real series, for `pooled`."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {f"{name}|{what}": values.astype(np.float32)
              for name, drawn in members.items()
              for what, values in (("drawn", drawn), ("real", week_of(parts[name][1])))}  # fmt: skip
    np.savez_compressed(folder / f"{row.replace(' ', '-')}.{fold}.npz", **arrays)


def pooled(folder: Path) -> str:
    """`jsd_hist` / `acf_error` over the held-out cells of all folds together: one fold may be a single location."""
    lines = ["| row, all folds together | sd | nc | nj |", "|---|---|---|---|"]
    for row in dict.fromkeys(path.name.split(".")[0] for path in sorted(folder.glob("*.npz"))):
        folds = [np.load(path, allow_pickle=False) for path in sorted(folder.glob(f"{row}.*.npz"))]
        texts = []
        for city in CITIES:
            real, drawn = (np.concatenate([f[f"{city}|{what}"] for f in folds], axis=-2) for what in ("real", "drawn"))
            texts.append(f"{jsd_hist(real, drawn):.3f} / {acf_error(real, drawn):.3f}")
        lines.append(f"| {row} | " + " | ".join(texts) + " |")
    return "\n".join(lines)


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder of real data")
    parser.add_argument("-o", "--out", type=Path, required=True, help="JSON of finished rows")
    parser.add_argument("--only", nargs="*", help="rows to run: 'naive' or names of models")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--fold", type=int, nargs="*", help="which folds to run, all by default")
    parser.add_argument("--steps", type=int, default=Plan().steps, help="training steps per fold")
    parser.add_argument("--plan", default="{}", help="JSON of other fields of gentraffic.training.Plan")
    parser.add_argument("--keep", type=Path, help="folder for what is drawn: scores of all folds together at the end")
    parser.add_argument("--table", type=Path, help="also write the table to this Markdown file")
    parser.add_argument("--seed", type=int, default=0, help="of the folds and of training")
    parser.add_argument("--quick", action="store_true", help="two folds and few steps: does it run?")
    args = parser.parse_args()
    torch.set_num_threads(1)
    done: dict[str, Any] = json.loads(args.out.read_text()) if args.out.exists() else {}
    sources, contexts = load(args.data)
    folds = [0, 1] if args.quick else (args.fold if args.fold is not None else range(args.folds))
    plan = replace(Plan(), steps=args.steps, seed=args.seed, **json.loads(args.plan))
    if args.quick:
        plan = replace(plan, steps=60, warmup=20)
    for fold in folds:
        parts = {s.network: split_source(s, args.folds, fold, args.seed) for s in sources if s.network in CITIES}
        train = [parts[s.network][0] if s.network in parts else s for s in sources]
        for name in args.only or ["naive", *MODELS]:
            if f"{'bootstrap' if name == 'naive' else name}|{args.seed}|{fold}" in done:
                continue
            if name == "naive":
                rows = naive_rows(parts, args.seed * 100 + fold)
            else:
                bundle, _ = fit_sampler(train, design=Design(**MODELS[name]), plan=plan)
                rows = {name: model_row(bundle, contexts, parts, args.seed, None)}
                if name == "stouter" and not args.quick:
                    rows[f"stouter, {MANY} members"] = model_row(bundle, contexts, parts, args.seed, None, members=MANY)
            for row, members in rows.items():
                done[f"{row}|{args.seed}|{fold}"] = score(members, parts)
                if args.keep is not None and len(next(iter(members.values()))) == MEMBERS:
                    keep(args.keep, row, fold, members, parts)
            args.out.write_text(json.dumps(done))
            print(f"fold {fold}: {name} done", flush=True)
    text = (
        f"Five folds by location, {MEMBERS} members unless said, scores over all held-out live cells, 95% intervals by "
        f"bootstrap over locations, `_p9999` scaling:\n\n{table(read_rows(args.out))}\n"
    )
    if args.table is not None:
        args.table.write_text(text, encoding="utf-8")
    print(text)
    print("In short, `crps` / `coverage_90` / `crps_shape`:\n")
    print(brief(done))
    if args.keep is not None:
        print("\n`jsd_hist` / `acf_error`:\n")
        print(pooled(args.keep))


if __name__ == "__main__":
    main()
