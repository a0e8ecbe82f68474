"""P1 of METRICS: traffic for locations that the model never saw, from POIs alone, beside the naive rows.

    python benchmarks/p1.py --data ../shared/data -o benchmarks/p1.json            # everything: about an hour of one core
    python benchmarks/p1.py --data ../shared/data -o /tmp/quick.json --quick       # two folds, few steps: does it run?

Five folds by location on uomo_sd (week 0), uomo_nc and uomo_nj together; hourly, the first 168 hours; scores per live
cell and held-out location, `_p9999` scaling per city and fold; 95% intervals by bootstrap over locations. Every row is
written as it is done: run the same command again to go on. `--only` limits the rows.
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

from gentraffic import naive
from gentraffic.calendar import make_calendar
from gentraffic.features import read_places
from gentraffic.fitting import Design, fit_stouter, split_source
from gentraffic.importing import read_uomo
from gentraffic.metrics import (
    acf_error,
    bootstrap_interval,
    coverage_cells,
    crps_cells,
    crps_level_cells,
    crps_shape_cells,
    jsd_hist,
    level_spearman,
    p9999,
)
from gentraffic.sampling import Recipe, draw_traffic
from gentraffic.sources import read_beijing, read_milan_5x5
from gentraffic.sources_fit import Source, read_source
from gentraffic.training import Plan

CITIES = ("uomo-sd", "uomo-nc", "uomo-nj")
MEMBERS = 20
MODELS: dict[str, dict[str, Any]] = {
    "stouter": {},
    "stouter, no temporal graph": {"use_time": False},
    "stouter, no station graph": {"use_place": False},
    "stouter, neither graph": {"use_time": False, "use_place": False},
}
PER_CELL = ("crps", "crps_shape", "crps_level", "coverage_90", "coverage_50")
POOLED = ("jsd_hist", "acf_error", "level_spearman")


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


def naive_members(sources: list[Source], parts: dict[str, tuple[Source, Source]], seed: int) -> dict[str, dict[str, Any]]:
    """Members (M, cells, 168) of every naive row, per city."""
    features = {}
    for source in sources:
        if source.network in CITIES:
            assert source.places is not None
            counts = np.rint(np.expm1(source.places.counts))
            group = np.unique(source.places.xy_m // 10_000, axis=0, return_inverse=True)[1].ravel()
            features[source.network] = naive.poi_features(counts.astype(np.int64), group)
    week = {c: (t.hourly()[:, :168], h.hourly()[:, :168]) for c, (t, h) in parts.items()}
    own, full = {}, {}
    for city, (train, held) in parts.items():
        mine, around = features[city]
        both = np.concatenate([mine, around], axis=1)
        own[city] = [naive.standardise(mine[s.rows], mine) for s in (train, held)]
        full[city] = [naive.standardise(both[s.rows], both) for s in (train, held)]
    ridge = naive.fit_level([(week[c][0], full[c][0]) for c in CITIES])
    out: dict[str, dict[str, Any]] = {}
    for i, city in enumerate(CITIES):
        rng = np.random.default_rng((seed, i))
        train, held = week[city]
        base = naive.city_level(train)
        levels = [ridge(f) + base for f in full[city]]
        rows = {
            "mean-series": naive.mean_series(train, len(held)),
            "bootstrap": naive.bootstrap(train, len(held), MEMBERS, rng),
            "knn-1": naive.knn(train, *own[city], 1),
            "knn-20": naive.knn(train, *own[city], 20),
            "knn-level": naive.knn_level(train, levels[0], levels[1], MEMBERS, rng),
            "ridge-level x mean-shape": naive.level_x_mean_shape(train, np.exp(levels[1])),
            "ridge-level x bootstrap-shape": naive.level_x_bootstrap_shape(train, np.exp(levels[1]), MEMBERS, rng),
            "true level x bootstrap-shape": naive.level_x_bootstrap_shape(train, held.mean(1), MEMBERS, rng),
        }
        for name, members in rows.items():
            out.setdefault(name, {})[city] = members
    return out


def score(real: Any, members: Any, scale: float) -> dict[str, Any]:
    """Per-cell lists and pooled figures of one city and fold."""
    m = np.repeat(members, 2, axis=0) if len(members) == 1 else members  # one series is an ensemble of equals
    cells = {
        "crps": crps_cells(real, m) / scale,
        "crps_shape": crps_shape_cells(real, m) / scale,
        "crps_level": crps_level_cells(real, m),
        "coverage_90": coverage_cells(real, m, 0.9),
        "coverage_50": coverage_cells(real, m, 0.5),
    }
    return {name: np.asarray(v).round(6).tolist() for name, v in cells.items()}


def model_members(
    design: Design, plan: Plan, sources: list[Source], contexts: dict[str, Any], parts: dict[str, tuple[Source, Source]],
    seed: int,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Train on the training locations, draw the held-out ones: members (M, cells, 168) per city, in source units."""
    train = [parts[s.network][0] if s.network in parts else s for s in sources]
    began = time.monotonic()
    bundle, told = fit_stouter(train, design=design, plan=plan)
    told["minutes"] = round((time.monotonic() - began) / 60, 2)
    out = {}
    for city, (_, held) in parts.items():
        calendar = make_calendar(f"2021-03-{1 + held.weekday:02d}", 7, "1h", "Asia/Shanghai")
        relative = draw_traffic(
            bundle, contexts[city], calendar, Recipe(seed=seed, members=MEMBERS), cells=held.rows.tolist(), tiles_at_once=1
        )
        out[city] = relative.astype(np.float64) * bundle.levels.networks[city].mean_traffic
    return out, told


def table(done: dict[str, Any]) -> str:
    """The rows of all finished folds as Markdown: mean and 95% interval over locations."""
    lines = ["| row | city | " + " | ".join(PER_CELL + POOLED) + " |", "|---|---|" + "---|" * len(PER_CELL + POOLED)]
    for name in dict.fromkeys(key.split("|")[0] for key in done):
        for city in CITIES:
            folds = [v[city] for key, v in sorted(done.items()) if key.split("|")[0] == name]
            place = np.concatenate([np.array(f["location"]) for f in folds])
            texts = []
            for metric in PER_CELL:
                values = np.concatenate([np.array(f[metric]) for f in folds])
                low, high = bootstrap_interval(values, place)
                digits = 2 if metric.startswith("coverage") else 4
                texts.append(f"{values.mean():.{digits}f} ({low:.{digits}f}-{high:.{digits}f})")
            for metric in POOLED:
                values = np.array([f[metric] for f in folds if f[metric] is not None], dtype=float)
                texts.append(f"{values.mean():.3f}" if len(values) else "-")
            lines.append(f"| {name} | {city.removeprefix('uomo-')} | " + " | ".join(texts) + " |")
    return "\n".join(lines)


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder of real data")
    parser.add_argument("-o", "--out", type=Path, required=True, help="JSON of finished rows")
    parser.add_argument("--only", nargs="*", help="rows to run: 'naive' or names of models")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--fold", type=int, nargs="*", help="which folds to run, all by default")
    parser.add_argument("--steps", type=int, default=Plan().steps)
    parser.add_argument("--seed", type=int, default=0, help="of the folds and of training")
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    done: dict[str, Any] = json.loads(args.out.read_text()) if args.out.exists() else {}
    sources, contexts = load(args.data)
    for place in contexts.values():
        read_places(place)
    folds = [0, 1] if args.quick else (args.fold if args.fold is not None else range(args.folds))
    plan = replace(Plan(), steps=60 if args.quick else args.steps, seed=args.seed, warmup=20 if args.quick else 200)
    for fold in folds:
        parts = {s.network: split_source(s, args.folds, fold, args.seed) for s in sources if s.network in CITIES}
        todo = args.only or ["naive", *MODELS]
        for name in todo:
            missing = [f"{n}|{args.seed}|{fold}" for n in (["bootstrap"] if name == "naive" else [name])]
            if all(key in done for key in missing):
                continue
            if name == "naive":
                rows, told = naive_members(sources, parts, args.seed * 100 + fold), {}
            else:
                members, told = model_members(Design(**MODELS[name]), plan, sources, contexts, parts, args.seed)
                rows = {name: members}
            for row, cities in rows.items():
                entry: dict[str, Any] = {"told": {k: v for k, v in told.items() if k in ("minutes", "steps")}}
                for city, members in cities.items():
                    train, held = parts[city]
                    real = held.hourly()[:, :168]
                    entry[city] = score(real, members, p9999(train.hourly()[:, :168]))
                    entry[city] |= {
                        "location": held.location.tolist(),
                        "jsd_hist": jsd_hist(real, members),
                        "acf_error": float(np.mean([acf_error(real, m) for m in members])),
                        "level_spearman": level_spearman(real, members.mean(0)),
                    }
                done[f"{row}|{args.seed}|{fold}"] = entry
            args.out.write_text(json.dumps(done))
            print(f"fold {fold}: {name} done", flush=True)
    print(table(done))


if __name__ == "__main__":
    main()
