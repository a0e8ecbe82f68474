"""What privacy costs: epsilon in 1, 4, 8, infinity against `crps` (P1) and `tstr`, beside the naive rows.

    python benchmarks/privacy.py --data ../shared/data -o privacy.json            # about half an hour of one core
    python benchmarks/privacy.py --data ../shared/data -o /tmp/q.json --quick     # one fold, one epsilon, few steps

Private: `uomo_sd` (week 0), `uomo_nc`, `uomo_nj`, a unit being one cell with all its days. Public: a model fitted on
Milan's 25 cells and Beijing's stations (`--start` of the command line), and the range of levels, 100 to 10^7 per cell
and step. Folds by location as in benchmarks/fidelity.py; every row is written as it is done.

`tstr_mae`: a forecaster trained on what a row draws for the held-out cells, tested on what was really measured there;
`trtr_mae`: trained on the real training cells. The forecaster is a ridge regression of the next hour on the last 24,
both over their mean: what can be trained in seconds. mae in the `_p9999` scaling of METRICS.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gentraffic.evaluation.holdout import Members, Parts, holdout_rows, model_row, score, week_of
from gentraffic.evaluation.intervals import bootstrap_interval
from gentraffic.evaluation.metrics.summary import p9999
from gentraffic.generators.folder import Bundle, load_bundle, save_bundle
from gentraffic.io.files import read_context
from gentraffic.io.importers.public_sets import read_beijing, read_milan_5x5
from gentraffic.io.importers.uomo import read_uomo
from gentraffic.modelling.features import Floats, read_places
from gentraffic.modelling.measured import Source, read_source
from gentraffic.places.find import CONTEXTS
from gentraffic.privacy.dp.accounting import Privacy
from gentraffic.privacy.dp.fit import PrivateSource, fit_private_stouter, read_private
from gentraffic.privacy.dp.sgd import PrivatePlan
from gentraffic.training.fitting import fit_sampler, split_source
from gentraffic.training.sampler_task import Plan

CITIES = ("sd", "nc", "nj")
EPSILONS = (1.0, 4.0, 8.0, float("inf"))
DELTA = 1e-4  # below 1 / cells: about 960 are listed in all, 770 in a fold
LEVEL_RANGE = (1e2, 1e7)
LAGS = 24  # hours
ROWS = ("mean-series", "bootstrap", "knn-1", "knn-20", "knn-level", "ridge-level x bootstrap-shape")


def public_model(data: Path, folder: Path, steps: int) -> Bundle:
    """The model to start from: Milan and Beijing, no city of the private side."""
    if not (folder / "provenance.json").is_file():
        milan, grid = data / "traffic" / "milan_5x5_internet_10min.csv", data / "milan" / "telecom-grid.geojson"
        sources = [
            read_source(read_milan_5x5(milan, grid), [read_context(CONTEXTS / "milan.nc")]),
            read_source(read_beijing(data / "traffic" / "beijing_stations_168h.npz"), []),
        ]
        extra = [read_places(read_context(CONTEXTS / f"{name}.nc")) for name in ("monaco", "porto", "helsinki")]
        bundle, metadata = fit_sampler(sources, extra_places=extra, plan=replace(Plan(), steps=steps))
        save_bundle(replace(bundle, provenance=metadata), folder, "# Public start of benchmarks/privacy.py\n")
    return load_bundle(folder)


def lagged(series: Floats) -> tuple[Floats, Floats, Floats]:
    """(cells, hours) -> the last LAGS hours over their mean (n, LAGS), the next hour over it (n,), the mean (n,)."""
    windows = np.lib.stride_tricks.sliding_window_view(series, LAGS + 1, axis=1).reshape(-1, LAGS + 1)
    mean = windows[:, :-1].mean(axis=1)
    windows, mean = windows[mean > 0], mean[mean > 0]
    return windows[:, :-1] / mean[:, None], windows[:, -1] / mean, mean


def forecaster(series: Floats, strength: float = 10.0) -> NDArray[np.float64]:
    """Ridge weights (LAGS + 1,) of the next hour on the last LAGS, the last one the constant."""
    x, y, _ = lagged(series)
    x = np.concatenate([x, np.ones((len(x), 1))], axis=1)
    return np.linalg.solve(x.T @ x + strength * np.eye(LAGS + 1), x.T @ y)


def forecast_error(weights: NDArray[np.float64], real: Floats, scale: float) -> float:
    """Mean absolute error of the next hour, over `scale`."""
    x, y, mean = lagged(real)
    drawn = np.concatenate([x, np.ones((len(x), 1))], axis=1) @ weights
    return float(np.mean(np.abs(np.maximum(drawn, 0.0) - y) * mean) / scale)


def naive_errors(real: Floats, scale: float) -> dict[str, float]:
    """The two naive forecasters: the last hour, and the same hour yesterday."""
    x, y, mean = lagged(real)
    return {name: float(np.mean(np.abs(x[:, at] - y) * mean) / scale) for name, at in (("last", -1), ("yesterday", 0))}


def scored(members: Members, parts: Parts) -> dict[str, Any]:
    """P1 scores of a row, and its tstr_mae per network."""
    out = score(members, parts)
    for name, drawn in members.items():
        train, held = parts[name]
        weights = forecaster(drawn.astype(np.float64).reshape(-1, drawn.shape[-1]))
        out[name]["tstr_mae"] = forecast_error(weights, week_of(held), p9999(week_of(train)))
    return out


def forecast_rows(parts: Parts) -> dict[str, dict[str, float]]:
    """network -> what a forecaster trained on real cells, and the naive ones, score on the held-out cells."""
    out = {}
    for name, (train, held) in parts.items():
        scale = p9999(week_of(train))
        trtr = forecast_error(forecaster(week_of(train)), week_of(held), scale)
        out[name] = {"trtr_mae": trtr, **naive_errors(week_of(held), scale)}
    return out


def split_private(source: PrivateSource, keep: Source) -> PrivateSource:
    """The listed cells of the locations that train, dead ones too: the split of `split_source`."""
    return source.only(np.flatnonzero(np.isin(source.location, np.unique(keep.location))))


def table(done: dict[str, Any]) -> str:
    """Means over the held-out cells of the finished folds: crps with its interval over locations, and the others."""
    lines = ["| row | network | cells | crps | crps_shape | crps_level | coverage_90 | tstr_mae |", "|---" * 8 + "|"]
    for row in dict.fromkeys(key.split("|")[0] for key in done if not key.startswith("forecast")):
        folds = [v for key, v in sorted(done.items()) if key.split("|")[0] == row]
        for city in folds[0]["scores"]:
            parts = [f["scores"][city] for f in folds]
            place = np.concatenate([np.array(p["location"]) for p in parts])
            joined = {m: np.concatenate([np.array(p[m]) for p in parts]) for m in
                      ("crps", "crps_shape", "crps_level", "coverage_90")}  # fmt: skip
            low, high = bootstrap_interval(joined["crps"], place)
            mean = {m: values.mean() for m, values in joined.items()}
            lines.append(
                f"| {row} | {city} | {len(place)} | {mean['crps']:.4f} ({low:.4f}-{high:.4f}) | "
                f"{mean['crps_shape']:.4f} | {mean['crps_level']:.3f} | {mean['coverage_90']:.2f} | "
                f"{np.mean([p['tstr_mae'] for p in parts]):.4f} |"
            )
    forecasts = [v for key, v in sorted(done.items()) if key.startswith("forecast")]
    for what in forecasts[0]["uomo-sd"]:
        means = ", ".join(f"{city} {np.mean([f[city][what] for f in forecasts]):.4f}" for city in forecasts[0])
        lines.append(f"\nForecaster `{what}`: {means}")
    return "\n".join(lines)


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder of real data")
    parser.add_argument("-o", "--out", type=Path, required=True, help="JSON of finished rows")
    parser.add_argument("--fold", type=int, nargs="*", default=[0, 1], help="which of five folds to run")
    parser.add_argument("--epsilon", type=float, nargs="*", default=list(EPSILONS))
    parser.add_argument("--plan", default="{}", help="JSON of fields of gentraffic.privacy.dp.sgd.PrivatePlan")
    parser.add_argument("--privacy", default="{}", help="JSON of other fields of privacy.dp.accounting.Privacy")
    parser.add_argument("--label", default="", help="added to the names of the rows, where plans are compared")
    parser.add_argument("--no-start", action="store_true", help="without the public model")
    parser.add_argument("--quick", action="store_true", help="one fold and few steps: does it run?")
    args = parser.parse_args()
    torch.set_num_threads(1)
    start = None
    if not args.no_start:
        folder = args.out.with_name(args.out.stem + "-public")
        start = public_model(args.data, folder, 40 if args.quick else 2000)
    plan = replace(PrivatePlan(), **json.loads(args.plan))
    folds, epsilons = ([0], [8.0]) if args.quick else (args.fold, args.epsilon)
    if args.quick:
        plan = replace(plan, steps=5)
    done: dict[str, Any] = json.loads(args.out.read_text()) if args.out.exists() else {}
    whole, private, contexts = {}, {}, {}
    for city in CITIES:
        traffic, context = read_uomo(args.data / "traffic" / f"uomo_{city}.npz")
        name = f"uomo-{city}"
        whole[name], private[name] = read_source(traffic, [context]), read_private(traffic, [context])
        contexts[name] = context

    def add(row: str, fold: int, members: Members, parts: Parts, metadata: dict[str, Any]) -> None:
        done[f"{row}|{fold}"] = {"scores": scored(members, parts), **metadata}
        args.out.write_text(json.dumps(done))
        print(f"fold {fold}: {row} done", flush=True)

    for fold in folds:
        parts = {name: split_source(s, 5, fold, 0) for name, s in whole.items()}
        if f"forecast|{fold}" not in done:
            done[f"forecast|{fold}"] = forecast_rows(parts)
            for row, members in holdout_rows(parts, fold).items():
                if row in ROWS:
                    add(row, fold, members, parts, {})
        for epsilon in epsilons:
            row = f"epsilon {epsilon:g}{args.label}"
            if f"{row}|{fold}" in done:
                continue
            privacy = replace(Privacy(epsilon, DELTA, level_range=LEVEL_RANGE), **json.loads(args.privacy))
            sources = [split_private(private[name], parts[name][0]) for name in parts]
            bundle, metadata = fit_private_stouter(sources, privacy, start=start, plan=plan)
            add(row, fold, model_row(bundle, contexts, parts, 0, None), parts, {"privacy": metadata["privacy"]})
    print(table(done))


if __name__ == "__main__":
    main()
