"""P4: every forecaster beside the naive rows, one step and six, on the network it was fitted on and on unseen ones.

    python benchmarks/forecasting.py --data ../shared/data -o forecasting.json
    python benchmarks/forecasting.py --data ../shared/data -o quick.json --quick        # does it run?
    python benchmarks/forecasting.py -o speed.json --speed                              # size, MACs, latency, training

Milan 5x5 at 10 minutes (Internet), Beijing's stations and the UoMo networks hourly: the first 70% of the steps train
(stride 6), 15% choose the weights, the last 15% test (stride 1). What was fitted on Nanchang is also tested on the two
other UoMo networks and on Beijing, which it never saw; their scalers see the first 70% of their steps. Every learned
forecaster has the same plan and about the same budget, half a minute of an idle core: 300 batches of 128 windows, for
`lstm` 1000 and `xlstm` 400, whose batches cost less; the boosted trees stop when the validation part gets no better.
Fits are kept in the JSON one by one; to resume, run the same command again, and to share the work run it twice with
other --networks, --only or --seeds. Intervals: 95%, bootstrap over test cells and seeds together.
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

from forecasters import FORECASTERS, NAIVE, SIDE
from gentraffic.errors import BadInput
from gentraffic.evaluation.intervals import percentiles
from gentraffic.forecasting.data import Network, Part, networks_of, split
from gentraffic.forecasting.fit import Fitted, fit_forecaster, forecasts, origins, real_of, score
from gentraffic.forecasting.score import naive
from gentraffic.forecasting.task import Plan
from gentraffic.io.atomic import replacing

PAPER = ("lstm", "xlstm", "stn", "stn-tf", "stn-slstm", "stn-slstm-tf")
OURS = "stn-slstm-day"
FACTS = ("parameters", "windows", "steps", "best_step")  # of a training, that are kept
TREES = ("lightgbm", "lightgbm-day")
ABLATIONS: dict[str, dict[str, Any]] = {  # what made the difference
    f"{OURS}, without yesterday": {"days": False},
    f"{OURS}, squared loss": {"beta": 100.0},
}
UNSEEN = {"nanchang": ("shandong", "nanjing", "beijing")}  # fitted on -> also tested on
BATCHES = {"lstm": 1000, "xlstm": 400}  # of 128 windows; 300 for the others
HORIZON = 6
DRAWS = 2000


def load(folder: Path) -> dict[str, Network]:
    """The networks, dead cells left out; all but Milan hourly."""
    from gentraffic.io.importers.public_sets import read_beijing, read_milan_5x5
    from gentraffic.io.importers.uomo import read_uomo

    traffic = folder / "traffic"
    found = {"milan": networks_of(read_milan_5x5(traffic / "milan_5x5_internet_10min.csv"))[0]}
    found["beijing"] = networks_of(read_beijing(traffic / "beijing_stations_168h.npz"))[0]
    for name, short in (("shandong", "sd"), ("nanchang", "nc"), ("nanjing", "nj")):
        ds, _ = read_uomo(traffic / f"uomo_{short}.npz")
        live = ds["traffic"].values.max(axis=1) > 0
        if short == "sd":  # what follows the first week, and the second set of cells, copy the first
            live &= ds["week"].values == 0
            ds = ds.isel(time=slice(0, 168))
        [network] = networks_of(ds.isel(cell=np.flatnonzero(live)), ["traffic"])
        found[name] = hourly(network, int(np.argmax(ds["time"].dt.minute.values == 0)))
    return found


def hourly(network: Network, first: int) -> Network:
    """The network averaged to hours, from its step `first`, which begins one."""
    per_hour = network.per_day // 24
    cells, steps, services = network.values.shape
    hours = (steps - first) // per_hour
    values = network.values[:, first : first + hours * per_hour].reshape(cells, hours, per_hour, services).mean(axis=2)
    return replace(network, values=values, per_day=24)


def row(fitted: Fitted, part: Part, horizon: int) -> dict[str, Any]:
    """Scores at the first and at the last step, and per cell what the intervals are made of."""
    starts = origins(part, horizon)
    predicted = forecasts(fitted, part, horizon, starts)
    scores, error = score(predicted, part, starts), predicted - real_of(part, starts, horizon)
    out: dict[str, Any] = {"starts": len(starts)}
    for h in (1, horizon):
        out[str(h)] = {name: _number(values[0, h - 1]) for name, values in scores.items()}
        out[str(h)] |= {
            "abs": np.abs(error[:, :, h - 1, 0]).mean(axis=0).round(6).tolist(),
            "square": (error[:, :, h - 1, 0] ** 2).mean(axis=0).round(6).tolist(),
        }
    return out


def fit(name: str, part: Part, validation: Part, plan: Plan) -> Fitted:
    """A variant by its name in the table."""
    return fit_forecaster(name.split(",")[0], [part], [validation], plan, design=ABLATIONS.get(name))


def run(args: argparse.Namespace, done: dict[str, Any]) -> None:
    """Fit and score what is not in `done` yet; it is written after every fit."""
    networks = load(args.data)
    chosen = args.networks or (["milan", "nanchang"] if args.quick else list(networks))
    for where in chosen:
        train, validation, test = split(networks[where])
        others = {f"{where} -> {o}": split(networks[o])[2] for o in UNSEEN.get(where, ()) if not args.quick}
        for key, part in {where: test, **others}.items():
            for name in (name for name in NAIVE if f"{key}|{name}|0" not in done):
                try:
                    done[f"{key}|{name}|0"] = row(naive(name, part), part, HORIZON)
                except BadInput as error:
                    done[f"{key}|{name}|0"] = {"missing": str(error)}
        for seed in args.seeds if where == "milan" else args.seeds_hourly:
            for name in args.only or [*TREES, *PAPER, OURS, *(ABLATIONS if where == "milan" else ())]:
                batches = BATCHES.get(name, 300)
                if done.get(f"{where}|{name}|{seed}", {"planned": 0}).get("planned", 300) == batches:
                    continue
                plan = Plan(seed=seed, steps=batches)
                plan = replace(plan, steps=30, check_every=10, warmup=5) if args.quick else plan
                plan = replace(plan, steps=None) if name in TREES and not args.quick else plan
                began = time.process_time()
                try:
                    fitted = fit(name, train, validation, plan)
                except BadInput as error:  # a week of history is needed, and the network has no more
                    done[f"{where}|{name}|{seed}"] = {"missing": str(error), "planned": batches}
                    continue
                metadata = {k: fitted.metadata[k] for k in FACTS if k in fitted.metadata}
                metadata["planned"] = batches
                metadata["fit_cpu_s"] = round(time.process_time() - began, 1)
                for key, part in {where: test, **others}.items():
                    done[f"{key}|{name}|{seed}"] = row(fitted, part, HORIZON) | (metadata if key == where else {})
                keep(args.out, done)
                print(f"{where}: {name}, seed {seed}: {metadata}", flush=True)
        keep(args.out, done)


def keep(out: Path, done: dict[str, Any]) -> None:
    """Write what is done, with what another run has put there meanwhile; whole or not at all."""
    if out.exists():
        done |= {**json.loads(out.read_text()), **done}
    with replacing(out, (".json",)) as temporary:
        temporary.write_text(json.dumps(done))


def speed(quick: bool) -> dict[str, Any]:
    """Size, MACs, and the best latency of several, with the threads that torch has."""
    from gentraffic.forecasting.cost import count_macs

    out: dict[str, Any] = {}
    for name in (*PAPER, OURS):  # trees have no sums of products to count
        recipe = FORECASTERS[name]
        model = recipe.network(per_day=144, **recipe.design).eval()
        shape = (len(model.lags), SIDE, SIDE, 1)
        macs = count_macs(model, torch.randn(1, *shape))
        times = {}
        with torch.inference_mode():
            for cells, repeats in ((1, 50), (10_000, 1 if quick else 3)):
                past = torch.randn(cells, *shape)
                model(past)
                times[cells] = min(_clock(lambda past=past, model=model: model(past)) for _ in range(repeats))
        out[name] = {
            "parameters": sum(p.numel() for p in model.parameters()),
            "mmacs": macs / 1e6,
            "cell_ms": times[1] * 1e3,
            "grid_s": times[10_000],
        }
    return out


def training_time(quick: bool) -> dict[str, Any]:
    """Seconds to fit stn-slstm-tf on 100,000 windows with the default plan (--quick: 5,000 windows)."""
    windows = 5_000 if quick else 100_000
    cells, steps = 500, 6 * (windows // 500) + 6
    rng = np.random.default_rng(0)
    hour = np.arange(steps + 144) / 6 % 24
    values = (1 + np.exp(-(((hour - 15) / 5) ** 2))) * rng.lognormal(0, 0.3, (cells, steps + 144))
    from forecasters import grid_patches

    row, col = np.divmod(np.arange(cells), 25)
    network = Network(values[..., None].astype(np.float32), grid_patches(row, col), 144)
    train, validation = Part(network, 0, steps, steps), Part(network, steps, steps + 144, steps)
    began = time.perf_counter()
    fitted = fit_forecaster("stn-slstm-tf", [train], [validation], Plan(patience=10**6))
    metadata = {key: fitted.metadata[key] for key in ("windows", "steps")}
    return metadata | {"seconds": round(time.perf_counter() - began, 1), "threads": torch.get_num_threads()}


def interval(rows: list[dict[str, Any]], step: str, what: str, other: list[dict[str, Any]] | None = None) -> str:
    """95% interval of the MAE or RMSE over cells and seeds, or of its difference to another variant's, paired."""
    rng = np.random.default_rng(0)
    kinds = [np.array([r[step]["abs" if what == "mae" else "square"] for r in some]) for some in (rows, other or [])]
    cells, draws = kinds[0].shape[1], []
    for _ in range(DRAWS):
        cell = rng.integers(cells, size=cells)
        values = []
        for errors in kinds:
            if len(errors):
                mean = errors[rng.integers(len(errors), size=len(errors))][:, cell].mean(axis=1)
                values.append(float((mean if what == "mae" else np.sqrt(mean)).mean()))
        draws.append(values[0] - values[1] if other else values[0])
    low, high = percentiles(np.array(draws))
    return f"{low:.4g} to {high:.4g}"


def report(done: dict[str, Any]) -> str:
    """Markdown tables: per network the mean over seeds with intervals; what is ahead of what."""
    lines: list[str] = []
    for where in dict.fromkeys(key.split("|")[0] for key in done if key.count("|") == 2):
        groups: dict[str, list[dict[str, Any]]] = {}
        for key, found in done.items():
            if key.startswith(f"{where}|") and "1" in found:
                groups.setdefault(key.split("|")[1], []).append(found)
        if not groups:
            continue
        lines += [
            f"\n**{where}**, step 1 / step {HORIZON}\n",
            "| | seeds | mae | rmse | r2 | ssim |",
            "|---|---|---|---|---|---|",
        ]
        for name, rows in groups.items():
            cells = [
                " / ".join(
                    f"{_mean(rows, h, m)}" + (f" ({interval(rows, h, m)})" if m == "mae" else "")
                    for h in ("1", str(HORIZON))
                )
                for m in ("mae", "rmse", "r2", "ssim")
            ]
            lines.append(f"| {name} | {len(rows)} | " + " | ".join(cells) + " |")
        lines += ["", *compared(groups)]
    if "speed" in done:
        lines += ["\n| | weights | MACs, millions | one cell, ms | 10,000 cells, s |", "|---|---|---|---|---|"]
        for name, s in done["speed"].items():
            shown = f"{s['parameters']:,} | {s['mmacs']:.2f} | {s['cell_ms']:.2f} | {s['grid_s']:.2f}"
            lines.append(f"| {name} | {shown} |")
        lines.append(f"\nstn-slstm-tf: {done['training']}")
    return "\n".join(lines)


def compared(groups: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Differences in MAE with their intervals: the paper's order, and ours against its best."""
    pairs = (
        ("stn-slstm", "stn"),
        ("stn-slstm-tf", "stn-tf"),
        ("stn-slstm-tf", "stn"),
        ("stn-slstm-tf", "stn-slstm"),
        (OURS, "stn-slstm-tf"),
        *((OURS, name) for name in ABLATIONS),
        *((trees, OURS) for trees in TREES),
        *((trees, naive) for trees in TREES for naive in NAIVE),
    )
    lines = []
    for a, b in pairs:
        if a in groups and b in groups:
            shown = (f"step {h} {interval(groups[a], h, 'mae', groups[b])}" for h in ("1", str(HORIZON)))
            lines.append(f"mae of {a} minus {b}: {'; '.join(shown)}  ")
    return lines


def _mean(rows: list[dict[str, Any]], step: str, metric: str) -> str:
    values = [r[step][metric] for r in rows]
    return "–" if None in values else f"{np.mean(values):.4g}"


def _number(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 6)


def _clock(call: Any) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def main() -> None:
    """Run what is missing and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--networks", nargs="*", help="milan, beijing, shandong, nanchang, nanjing")
    parser.add_argument("--only", nargs="*", help="names of forecasters")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2], help="of Milan")
    parser.add_argument("--seeds-hourly", type=int, nargs="*", default=[0], help="of the hourly networks")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--speed", action="store_true", help="size, MACs, latency, time to train; needs no data")
    parser.add_argument("--quick", action="store_true", help="two networks, one seed, few batches")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    done: dict[str, Any] = json.loads(args.out.read_text()) if args.out.exists() else {}
    if args.speed:
        done["speed"], done["training"] = speed(args.quick), training_time(args.quick)
        keep(args.out, done)
    else:
        if args.quick:
            args.seeds = args.seeds_hourly = [0]
        run(args, done)
    print(report(done))


if __name__ == "__main__":
    main()
