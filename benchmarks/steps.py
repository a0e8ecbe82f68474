"""Quality against solver steps, and a distilled student beside its teacher, on locations that neither saw.

    python benchmarks/steps.py --data ../shared/data -o steps.json --plot steps.png       # two hours of one core
    python benchmarks/steps.py --data ../shared/data -o quick.json --quick                # one fold: does it run?

P1 of METRICS, 20 members: a teacher is fitted on four folds, distilled (`gentraffic distil`) with the contexts of the
cities, and drawn with every solver and number of steps. The 1000 steps of ddpm are drawn with four members, whose crps
compares with that of four others only: those of a row beside it. Rows are written as they are done: run again to go on.
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

from gentraffic.evaluation.holdout import Members, Parts, model_row, week_of
from gentraffic.evaluation.metrics.summary import (
    acf_error,
    coverage_cells,
    crps_cells,
    crps_shape_cells,
    diversity,
    jsd_hist,
    p9999,
)
from gentraffic.evaluation.public_cities import CITIES, read_cities
from gentraffic.evaluation.solver_steps import read_steps, steps_table
from gentraffic.generators.folder import Bundle
from gentraffic.modelling.features import read_places
from gentraffic.training.distilling import DISTIL_PLAN, SOLVER, Lesson, distil
from gentraffic.training.fitting import fit_sampler, split_source
from gentraffic.training.sampler_task import Plan

STEPS = (1, 2, 3, 4, 8, 16, 32, 100)
MEMBERS = 20
SOLVERS = ("gaussian", "dpm++", "unipc", "ddim", "ddpm")
STUDENTS = {
    "student, 1 step": Lesson(steps=1),
    "student, 2 steps": Lesson(steps=2),
}
LONG = [("ddpm", 1000, 4), ("gaussian", 16, 4)]  # the paper's chain with few members, and what compares with it


def row_name(solver: str, steps: int, members: int) -> str:
    """What a row is called."""
    return f"{solver}, {steps} steps" + ("" if members == MEMBERS else f", {members} members")


def drawn(bundle: Bundle, contexts: dict[str, Any], parts: Parts, steps: int, solver: str, members: int) -> Members:
    """Members of the held-out cells with one solver."""
    return model_row(bundle, contexts, parts, 0, steps, members=members, solver=solver)


def score_steps(members: Members, parts: Parts) -> dict[str, Any]:
    """Per network: crps of each held-out cell and its location, and the pooled figures.

    diversity: against the spread of the real weeks of different cells, so that 1 means as different as cells are.
    members: per network (members, cells, 168) hourly, in the unit of its source.
    """
    out: dict[str, Any] = {}
    for name, drawn in members.items():
        train, held = parts[name]
        real, scale = week_of(held), p9999(week_of(train))
        rng = np.random.default_rng(0)
        others = np.stack([real[rng.permutation(len(real))] for _ in range(8)])
        out[name] = {
            "crps": (crps_cells(real, drawn) / scale).round(6).tolist(),
            "crps_shape": (crps_shape_cells(real, drawn) / scale).round(6).tolist(),
            "coverage_90": coverage_cells(real, drawn, 0.90).round(6).tolist(),
            "location": held.location.tolist(),
            "jsd_hist": jsd_hist(real, drawn),
            "acf_error": acf_error(real, drawn),
            "diversity": diversity(drawn, others),
        }
    return out


def picture(rows: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """crps and acf_error against steps: one line per solver, one column per city, students as points."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

    ticks = (1, 2, 4, 8, 16, 32, 100, 1000)
    figure, panels = plt.subplots(2, len(CITIES), figsize=(13, 7), constrained_layout=True, sharex=True)
    for metric, axes in zip(("crps", "acf_error"), panels, strict=True):
        for axis, city in zip(axes, CITIES, strict=True):
            for solver in (*SOLVERS, "student"):
                points = []
                for row, folds in rows.items():
                    name, steps, *few = row.split(", ")
                    if name == solver and city in folds[0] and not (few and (metric == "crps" or solver != "ddpm")):
                        values = [np.atleast_1d(fold[city][metric]) for fold in folds]
                        points.append((int(steps.split()[0]), float(np.concatenate(values).mean())))
                if points:
                    axis.plot(
                        *zip(*sorted(points), strict=True), "s" if solver == "student" else "o-", ms=4, label=solver
                    )
            axis.set_xscale("log")
            axis.xaxis.set_major_locator(FixedLocator(ticks))
            axis.xaxis.set_major_formatter(FixedFormatter([str(n) for n in ticks]))
            axis.xaxis.set_minor_locator(NullLocator())
            axis.set_ylim(bottom=0 if metric == "acf_error" else None)
            axis.grid(alpha=0.3)
            axis.spines[["top", "right"]].set_visible(False)
        axes[0].set_ylabel({"crps": "crps (_p9999)"}.get(metric, metric))
    for axis, city in zip(panels[0], CITIES, strict=True):
        axis.set_title(city)
    panels[1][1].set_xlabel("network calls; 1000 of ddpm with four members, left out of crps")
    panels[1][0].legend(frameon=False)
    figure.savefig(path, dpi=120)


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder of real data")
    parser.add_argument("-o", "--out", type=Path, required=True, help="JSON of finished rows")
    parser.add_argument("--folds", type=int, nargs="*", default=[0, 1], help="which of five folds by location")
    parser.add_argument("--students", nargs="*", default=list(STUDENTS), choices=list(STUDENTS))
    parser.add_argument("--solvers", nargs="*", default=list(SOLVERS))
    parser.add_argument("--train-steps", type=int, help="of distillation; default as `gentraffic distil`")
    parser.add_argument("--plot", type=Path, help="also draw crps against steps")
    parser.add_argument("--quick", action="store_true", help="one fold, few steps of training and drawing")
    args = parser.parse_args()
    torch.set_num_threads(1)
    done: dict[str, Any] = json.loads(args.out.read_text()) if args.out.exists() else {}
    sources, contexts = read_cities(args.data)
    wanted = [(s, n, MEMBERS) for s in args.solvers for n in STEPS]
    wanted += [row for row in LONG if row[0] in args.solvers]
    if args.quick:
        wanted = [("gaussian", n, MEMBERS) for n in (2, 8)]
    for fold in args.folds[:1] if args.quick else args.folds:
        rows = [f"{row_name(*row)}|{fold}" for row in wanted] + [f"{n}|{fold}" for n in args.students]
        if all(row in done for row in rows):
            continue
        parts = {s.network: split_source(s, 5, fold, 0) for s in sources if s.network in CITIES}
        train = [parts[s.network][0] if s.network in parts else s for s in sources]
        plan = replace(Plan(), steps=60, warmup=20) if args.quick else Plan()
        teacher, _ = fit_sampler(train, plan=plan)

        def put(key: str, bundle: Bundle, steps: int, solver: str, members: int, parts: Parts = parts) -> None:
            if key in done:
                return
            began = time.perf_counter()
            done[key] = score_steps(drawn(bundle, contexts, parts, steps, solver, members), parts)
            args.out.write_text(json.dumps(done))
            print(f"{key}: {time.perf_counter() - began:.1f} s", flush=True)

        for name in args.students:
            if f"{name}|{fold}" in done:
                continue
            lesson = STUDENTS[name]
            less = replace(DISTIL_PLAN, steps=40 if args.quick else args.train_steps or DISTIL_PLAN.steps)
            student, metadata = distil(teacher, [read_places(c) for c in contexts.values()], lesson=lesson, plan=less)
            print(f"{name}: distilled in {metadata['distil_minutes']} min, {metadata['likeness']}", flush=True)
            put(f"{name}|{fold}", student, lesson.steps, SOLVER, MEMBERS)
        for solver, n, members in wanted:
            put(f"{row_name(solver, n, members)}|{fold}", teacher, n, solver, members)
    found = read_steps(args.out)
    print(steps_table(found))
    if args.plot is not None:
        picture(found, args.plot)


if __name__ == "__main__":
    main()
