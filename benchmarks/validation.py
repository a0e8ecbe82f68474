"""What synthetic traffic is worth to a forecaster: train on synthetic, test on real; and Sim-MSTNet against itself.

    python benchmarks/validation.py --data ../shared/data --work /tmp/validation -o validation.json
    python benchmarks/validation.py --data ../shared/data --work /tmp/validation -o /tmp/quick.json --quick

Tested on the last 15% of the real steps of uomo locations that neither the forecasters nor the generators saw: those
are `gentraffic fit stouter --traffic sd, nc, nj` with the default fifth of the locations held out, once for the traffic
and once for the users (two services, drawn with one seed), `fit fomo` with the same fifth held out, for the traffic;
two members of 14 days are drawn per city. Every row is written as it is done: run the same command again to go on.
`--only` limits the rows to keys that contain it. Weights and all else of Sim-MSTNet were designed with seeds 50 to 52
on the training locations alone, so those of the test are new to it with any other seed.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from gentraffic.forecasting.fit import forecasts, score
from gentraffic.forecasting.task import Plan
from gentraffic.forecasting.tstr import VARIANTS, Material, naive_scores, one_score, plan_for, prepare
from gentraffic.forecasting.weighted import SIM_MSTNET, Weigh, fit_weighted
from gentraffic.io.atomic import replacing
from gentraffic.io.files import read_traffic, write_traffic
from gentraffic.reports.validation_table import interval

CITIES = {"sd": "1h", "nc": "30min", "nj": "15min"}
SERVICES = ("traffic", "users")
GENERATORS = {"stouter": "synthetic", "fomo": "fomo"}  # end of the file's name
BOTH = "both, unweighted"
ARMS = (
    "synthetic",
    "few real",
    BOTH,
    SIM_MSTNET,
)


def run(*words: object) -> None:
    """Type one gentraffic command."""
    print("gentraffic", *words, flush=True)
    subprocess.run([sys.executable, "-m", "gentraffic", *map(str, words)], check=True)


def draw(model: Path, context: Path, freq: str, out: Path) -> None:
    """Two members of two weeks."""
    run("sample", "--context", context, "--model", model, "--start", "2021-03-01", "--days", 14, "--freq", freq,
        "--members", 2, "-o", out, "--quiet")  # fmt: skip


def make(data: Path, work: Path, cities: list[str], *, fomo: bool, quick: bool) -> None:
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
                draw(model, work / f"{city}-context.nc", freq, out)
    model = work / "held-fomo"
    if fomo and not (model / "provenance.json").exists():
        run("fit", "fomo", *sources, "--threads", 1, "--steps", 20 if quick else 2000, "-o", model)
    for city, freq in CITIES.items():
        if fomo and city in cities and not (work / f"{city}-fomo.nc").exists():
            draw(model, work / f"{city}-context.nc", freq, work / f"{city}-fomo.nc")
    for city in CITIES:
        out = work / f"{city}-synthetic.nc"
        if not out.exists():
            first, second = (read_traffic(work / f"{city}-{service}.nc") for service in SERVICES)
            [name] = second.data_vars
            write_traffic(first.assign(users=second[name]), out)


def train(arm: str, material: Material, plan: Plan) -> Any:
    """Train Sim-MSTNet one way, always in the same rounds with the same solved heads: the model ready to use."""
    (real, later), (drawn, drawn_later) = material.real, material.synthetic
    alone = Weigh(choose=False)
    if arm == "synthetic":
        return fit_weighted(drawn, drawn_later, [], plan, alone)
    if arm == "few real":
        return fit_weighted(real, later, [], plan, alone)
    if arm == BOTH:
        return fit_weighted(real, later, drawn, plan, alone)
    return fit_weighted(real, later, material.variants, plan)


def tasks(args: argparse.Namespace) -> Iterator[tuple[str, dict[str, Any]]]:
    """(key, what to do) of every row."""
    shares = (10, 5) if not args.quick else (10,)
    for seed in args.seeds:
        for city in args.cities:
            for few in (*shares, 100):
                for arm in ARMS:
                    if few == 10 or arm == "few real" or (few == 5 and arm != "synthetic"):
                        yield f"sim|{city}|{few}|{arm}|{seed}", {"arm": arm}
        for city, name in itertools.product(args.cities, args.forecasters):
            for few in (100, *shares):
                yield f"tstr|{city}|{few}|{name}, trtr|{seed}", {"name": name, "training": "trtr"}
                training = "tstr" if few == 100 else "aug"
                for generator in args.generators:
                    key = f"tstr|{city}|{few}|{name}, {training}, {generator}|{seed}"
                    yield key, {"name": name, "training": training, "generator": generator}


def main() -> None:
    """Do what is not done yet, then print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="a folder for the files and models made on the way")
    parser.add_argument("-o", "--out", type=Path, required=True, help="rows as JSON")
    parser.add_argument("--cities", nargs="+", default=["sd", "nc"], choices=list(CITIES))
    parser.add_argument("--forecasters", nargs="+", default=[SIM_MSTNET, "stn-slstm-day"])
    parser.add_argument("--generators", nargs="+", default=["stouter", "fomo"], choices=list(GENERATORS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--only", default="", help="rows whose key contains this")
    parser.add_argument("--quick", action="store_true", help="one city, one seed, few steps: does it run?")
    args = parser.parse_args()
    if args.quick:
        args.cities, args.seeds, args.steps = ["sd"], [0], 20
    torch.set_num_threads(1)
    make(args.data, args.work, args.cities, fomo="fomo" in args.generators, quick=args.quick)
    done: dict[str, Any] = json.loads(args.out.read_text(encoding="utf-8")) if args.out.exists() else {}
    real = {city: read_traffic(args.work / f"{city}.nc") for city in args.cities}
    for key, task in tasks(args):
        if key in done or args.only not in key:
            continue
        kind, city, few, _, seed = key.split("|")
        drawn = read_traffic(args.work / f"{city}-{GENERATORS[task.get('generator', 'stouter')]}.nc")
        name = task.get("name", SIM_MSTNET)
        material = prepare(
            real[city], drawn, services=SERVICES if kind == "sim" else SERVICES[:1], few=float(few), pick=int(seed),
            variants=VARIANTS if name == SIM_MSTNET else 0,
        )  # fmt: skip
        plan = plan_for(name, args.steps, int(seed))
        if kind == "tstr":
            found = one_score(name, task["training"], material, plan)
        else:
            fitted = train(task["arm"], material, plan)
            found = score(forecasts(fitted, material.test), material.test)
            done[f"weights|{key}"] = fitted.metadata["weights"]
        done[key] = {name: values[:, 0].tolist() for name, values in found.items()}
        done[f"counts|{city}|{few}"] = material.counts
        for name, naive in naive_scores(material, 1).items() if kind == "sim" else ():
            done[f"naive|{city}|{name}"] = None if naive is None else naive["mae"][:, 0].tolist()
        print(key, done[key]["mae"], flush=True)
        with replacing(args.out, (".json",)) as temporary:
            temporary.write_text(json.dumps(done, indent=0), encoding="utf-8")
    print("\n".join([*tstr_table(done), "", *sim_table(done)]))


def pairs(done: dict[str, Any], ours: list[str], theirs: list[str]) -> list[list[float]]:
    """(seeds, services) mae of `ours` in percent of that of `theirs`, for the seeds that have both; a row is named by
    the parts of its key before the seed."""
    found = []
    for key in sorted(k for k in done if k.startswith("|".join(ours) + "|")):
        other = "|".join([*theirs, key.rsplit("|", 1)[1]])
        if other in done:
            found.append([100 * a / b for a, b in zip(done[key]["mae"], done[other]["mae"], strict=True)])
    return found


def mean_text(values: list[float]) -> str:
    """A mean with its interval."""
    value = interval(values)
    if value["mean"] is None:
        return "–"
    ends = "" if value["low"] is None else f" ({value['low']:.1f} to {value['high']:.1f})"
    return f"{value['mean']:.1f}{ends}"


def tstr_table(done: dict[str, Any]) -> list[str]:
    """One step ahead, traffic alone: mae in percent of that of real data alone, the same cells and seed."""
    lines = ["| traffic, mae in % of real alone | of the real cells | " + " | ".join(CITIES) + " |"]
    lines.append("|---" * (2 + len(CITIES)) + "|")
    rows = sorted({(k.split("|")[3], k.split("|")[2]) for k in done if k.startswith("tstr|") and "trtr" not in k})
    for what, few in rows:
        trtr = f"{what.split(', ')[0]}, trtr"
        cells = [mean_text([v[0] for v in pairs(done, ["tstr", c, few, what], ["tstr", c, few, trtr])]) for c in CITIES]
        lines.append(f"| {what} | {few}% | " + " | ".join(cells) + " |")
    return lines


def sim_table(done: dict[str, Any]) -> list[str]:
    """Sim-MSTNet, both services, one step: its mae in percent of every other way to train the same network."""
    lines = ["| sim-mstnet's mae in % of that of | " + " | ".join(SERVICES) + " | mean |", "|---|---|---|---|"]
    every: dict[str, list[list[float]]] = {}
    for city, few in itertools.product(CITIES, ("10", "5")):
        for arm in ARMS[:-1]:
            theirs = ["sim", city, "10" if arm == "synthetic" else few, arm]
            ratio = pairs(done, ["sim", city, few, SIM_MSTNET], theirs)
            every.setdefault(arm, []).extend(ratio)
            lines += [sim_row(f"{city}, {few}%, {arm}", ratio)] if ratio else []
    lines += [sim_row(f"all, {arm}", ratio) for arm, ratio in every.items() if ratio]
    for city in CITIES:
        ratio = pairs(done, ["sim", city, "10", "synthetic"], ["sim", city, "100", "few real"])
        lines += [sim_row(f"{city}, synthetic in % of all real cells", ratio)] if ratio else []
    return lines


def sim_row(name: str, ratio: list[list[float]]) -> str:
    """One row of the table: ratio (seeds, services)."""
    columns = [*zip(*ratio, strict=True), [sum(r) / len(r) for r in ratio]]
    return f"| {name} | " + " | ".join(mean_text(list(c)) for c in columns) + " |"


if __name__ == "__main__":
    main()
