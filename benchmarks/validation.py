"""What synthetic traffic is worth to a forecaster: train on synthetic, test on real; and Sim-MSTNet against itself.

    python benchmarks/validation.py --data ../shared/data --work /tmp/validation -o validation.json
    python benchmarks/validation.py --data ../shared/data --work /tmp/validation -o /tmp/quick.json --quick

Tested on the last 15% of the real steps of uomo locations that neither the forecasters nor the generator saw: the
generator is `gentraffic fit stouter --traffic sd, nc, nj` with the default fifth of the locations held out, once for
the traffic and once for the users (two services, drawn with one seed); two members of 14 days are drawn per city. Every
row is written as it is done: run the same command again to go on. `--only` limits the rows to keys that contain it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gentraffic.atomic import replacing
from gentraffic.files import read_traffic, write_traffic
from gentraffic.forecast_training import Plan
from gentraffic.forecasting import forecasts, score
from gentraffic.sim2real import SIM_MSTNET, Weigh, fit_weighted
from gentraffic.validation import VARIANTS, Material, naive_scores, one_score, plan_for, prepare
from gentraffic.validation_table import gap_percent, interval

CITIES = {"sd": "1h", "nc": "30min", "nj": "15min"}
SERVICES = ("traffic", "users")
BOTH = "both, unweighted"
ARMS = (
    "synthetic",
    "few real",
    BOTH,
    f"{BOTH}, randomised",
    SIM_MSTNET,
)


def run(*words: object) -> None:
    """Type one gentraffic command."""
    print("gentraffic", *words, flush=True)
    subprocess.run([sys.executable, "-m", "gentraffic", *map(str, words)], check=True)


def make(data: Path, work: Path, quick: bool) -> None:
    """The files: measured traffic, generators without the held-out locations, synthetic traffic of both services."""
    work.mkdir(parents=True, exist_ok=True)
    sources: list[object] = []
    for city in CITIES:
        traffic, context = work / f"{city}.nc", work / f"{city}-context.nc"
        if not context.exists():
            run("import", "uomo", data / "traffic" / f"uomo_{city}.npz", "-o", traffic, "--context", context)
        sources += ["--traffic", traffic, "--context", context]
    for service in SERVICES:
        model = work / f"held-{service}"
        if not (model / "provenance.json").exists():
            few = ["--steps", 20] if quick else []
            run("fit", "stouter", *sources, "--service", service, "--threads", 1, "-o", model, *few)
        for city, freq in CITIES.items():
            out = work / f"{city}-{service}.nc"
            if not out.exists():
                run("sample", "--context", work / f"{city}-context.nc", "--model", model, "--start", "2021-03-01",
                    "--days", 14, "--freq", freq, "--members", 2, "-o", out, "--quiet")  # fmt: skip
    for city in CITIES:
        out = work / f"{city}-synthetic.nc"
        if not out.exists():
            first, second = (read_traffic(work / f"{city}-{service}.nc") for service in SERVICES)
            [name] = second.data_vars
            write_traffic(first.assign(users=second[name]), out)


def train(arm: str, material: Material, plan: Plan) -> Any:
    """Train Sim-MSTNet one way, always in the same rounds with the same solved heads: the model ready to use."""
    (real, later), (drawn, drawn_later) = material.real, material.synthetic
    if arm == "few real":
        return fit_weighted(real, later, [], plan)
    some = material.variants if arm == SIM_MSTNET or "randomised" in arm else drawn
    if arm.startswith("synthetic"):
        return fit_weighted(some, drawn_later, [], plan)
    return fit_weighted(real, later, some, plan, Weigh(choose=arm == SIM_MSTNET))


def tasks(args: argparse.Namespace) -> Iterator[tuple[str, dict[str, Any]]]:
    """(key, what to do) of every row."""
    shares = (100, 10, 5) if not args.quick else (10,)
    for seed in args.seeds:
        for city in args.cities:
            for few in shares:
                for training in ("trtr", "aug", *(("tstr",) if few == shares[0] else ())):
                    yield f"tstr|{city}|{few}|{training}|{seed}", {"training": training}
        for city in args.cities:
            for few in shares[1:] or shares:
                for arm in ARMS:
                    if few == 10 or not arm.startswith("synthetic"):
                        yield f"sim|{city}|{few}|{arm}|{seed}", {"arm": arm}


def main() -> None:
    """Do what is not done yet, then print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="a folder for the files and models made on the way")
    parser.add_argument("-o", "--out", type=Path, required=True, help="rows as JSON")
    parser.add_argument("--cities", nargs="+", default=["sd", "nc"], choices=list(CITIES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--only", default="", help="rows whose key contains this")
    parser.add_argument("--quick", action="store_true", help="one city, one seed, few steps: does it run?")
    args = parser.parse_args()
    if args.quick:
        args.cities, args.seeds, args.steps = ["sd"], [0], 20
    torch.set_num_threads(1)
    make(args.data, args.work, args.quick)
    done: dict[str, Any] = json.loads(args.out.read_text(encoding="utf-8")) if args.out.exists() else {}
    files = {c: [read_traffic(args.work / f"{c}{end}.nc") for end in ("", "-synthetic")] for c in args.cities}
    for key, task in tasks(args):
        if key in done or args.only not in key:
            continue
        kind, city, few, _, seed = key.split("|")
        services = SERVICES if kind == "sim" else SERVICES[:1]
        material = prepare(
            *files[city], services=services, few=float(few), pick=int(seed), variants=VARIANTS if kind == "sim" else 0
        )
        plan = plan_for("lstm" if kind == "tstr" else SIM_MSTNET, args.steps, int(seed))
        if kind == "tstr":
            found = one_score("lstm", task["training"], material, plan)
        else:
            fitted = train(task["arm"], material, plan)
            found = score(forecasts(fitted, material.test), material.test)
            done[f"weights|{key}"] = fitted.told.get("weights")
        done[key] = {name: values[:, 0].tolist() for name, values in found.items()}
        done[f"counts|{city}|{few}"] = material.counts
        for name, naive in naive_scores(material, 1).items() if kind == "sim" else ():
            done[f"naive|{city}|{name}"] = None if naive is None else naive["mae"][:, 0].tolist()
        print(key, done[key]["mae"], flush=True)
        with replacing(args.out, (".json",)) as temporary:
            temporary.write_text(json.dumps(done, indent=0), encoding="utf-8")
    print("\n".join([*tstr_table(done), "", *sim_table(done)]))


def maes(done: dict[str, Any], *start: str) -> list[list[float]]:
    """(seeds, services) mae of the rows whose key starts so."""
    return [done[key]["mae"] for key in sorted(done) if key.startswith("|".join(start) + "|")]


def told(value: dict[str, float | None], unit: str = "") -> str:
    """A mean with its interval."""
    if value["mean"] is None:
        return "–"
    ends = "" if value["low"] is None else f" ({value['low']:.4g} to {value['high']:.4g})"
    return f"{value['mean']:.4g}{unit}{ends}"


def tstr_table(done: dict[str, Any]) -> list[str]:
    """LSTM, one step, traffic: mae of real, synthetic and both, at every share of the real cells."""
    lines = ["| lstm, traffic, 1 step | trtr mae | tstr mae | gap % | aug mae | gap % |", "|---|---|---|---|---|---|"]
    for city in CITIES:
        drawn = maes(done, "tstr", city, "100", "tstr") or maes(done, "tstr", city, "10", "tstr")
        synthetic = [v[0] for v in drawn]
        for few in ("100", "10", "5"):
            real, aug = ([v[0] for v in maes(done, "tstr", city, few, t)] for t in ("trtr", "aug"))
            n = min(len(real), len(aug), len(synthetic))
            if n:
                gaps = [gap_percent(x[:n], real[:n]) for x in (synthetic, aug)]
                cells = [told(interval(real)), told(interval(synthetic)), told(gaps[0], "%"), told(interval(aug)),
                         told(gaps[1], "%")]  # fmt: skip
                lines.append(f"| {city}, {few}% of the real cells | " + " | ".join(cells) + " |")
        for name in ("last", "yesterday", "last-week"):
            if done.get(f"naive|{city}|{name}"):
                lines.append(f"| {city}, `{name}` | {done[f'naive|{city}|{name}'][0]:.4g} | | | | |")
    return lines


def sim_table(done: dict[str, Any]) -> list[str]:
    """Sim-MSTNet, both services, one step: mae of every way to train it, in percent of the best naive row's."""
    lines = ["| sim-mstnet, mae in % of sim-mstnet's | " + " | ".join(SERVICES) + " | mean |", "|---|---|---|---|"]
    for city in CITIES:
        for few in ("10", "5"):
            ours = maes(done, "sim", city, few, "sim-mstnet")
            for arm in ARMS if ours else ():
                theirs = maes(done, "sim", city, few, arm) or maes(done, "sim", city, "10", arm)
                n = min(len(ours), len(theirs))
                ratio = 100 * np.array(theirs[:n]) / np.array(ours[:n])
                cells = [told(interval(list(column))) for column in (*ratio.T, ratio.mean(1))]
                lines.append(f"| {city}, {few}%, {arm} | " + " | ".join(cells) + " |")
    return lines


if __name__ == "__main__":
    main()
