"""What plans are worth that come from generated traffic: FoMo's Figure 11 on `uomo_*` and Milan.

    python benchmarks/planning.py --data ../shared/data -o planning.json            # some ten minutes of one core
    python benchmarks/planning.py --data ../shared/data -o quick.json --quick       # one fold, few steps: does it run?

sleep and prb: the two days from hour 120 on (sleep) and 16 hours of the first of them (prb), of cells at locations that
the model never saw (Milan: 25 cells, the last week). Each decision is made from the real traffic (hindsight), from the
hours before (mean by hour of the day), and from `stouter` with POIs alone (20 members, the city mean known), and is
judged by the real traffic. deploy: one new site per held-out patch of 4x4 cells, which covers its cell and the
four beside it; judged by the users of each hour. Residents are the users of the hours 0 to 5, as a census would count.
Rows are written as they are done: run the same command again to go on.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fidelity import CITIES, cities
from numpy.typing import NDArray

from gentraffic.fitting import fit_sampler, split_source
from gentraffic.p1 import model_row, week_of
from gentraffic.plan_deploy import Ground, coverage, plan_deploy
from gentraffic.plan_prb import Radio, plan_prb, prb_outcome
from gentraffic.plan_sleep import SleepCosts, plan_sleep, sleep_outcome
from gentraffic.training import Plan

Floats = NDArray[np.float64]
TARGET, LONG, SHORT = 120, 48, 16  # first hour of what is planned, hours of sleep and of prb
UNITS, PRBS, GROUP = 4, 100, 2
Rows = dict[str, list[dict[str, Any]]]  # decision|city -> one outcome per fold, by strategy


def by_hour(past: Floats, first: int, hours: int) -> Floats:
    """Mean of the same hour of the day in all that came before: past (cells, hours before) -> (1, cells, hours)."""
    at = np.arange(past.shape[1])
    want = (first + np.arange(hours)) % 24
    return np.stack([past[:, at % 24 == h].mean(axis=1) for h in want], axis=1)[None]


def sleep_row(strategies: dict[str, Floats], real: Floats) -> dict[str, Any]:
    """Outcomes per strategy; capacity: four units carry the 99th percentile of each cell's real load."""
    scale = np.maximum(np.quantile(real, 0.99, axis=-1, keepdims=True), 1e-12) / UNITS
    costs = SleepCosts(UNITS, 1.0)
    out = {}
    for name, load_ in strategies.items():
        plan = [p for _, p in plan_sleep(load_ / scale, costs)][-1]
        assert plan is not None
        o = sleep_outcome(plan.awake, real / scale, costs)
        out[name] = {"total": o.total, "quality": o.quality, "switches": o.switches, "energy": o.energy}
    return out


def prb_row(strategies: dict[str, Floats], real: Floats, limit_s: float) -> dict[str, Any]:
    """Outcomes per strategy, summed over groups of 16 cells that share a server at a load of 80%."""
    out = {name: dict.fromkeys(("total", "backlog", "delay"), 0.0) for name in [*strategies, "equal shares"]}
    servers = [np.arange(i, i + 16) for i in range(0, real.shape[0] - 15, 16)]
    for cells in servers:
        radio = Radio(PRBS, GROUP, 180e3, 3600.0, np.full((16, SHORT), 10.0))
        mbit = 0.8 * radio.groups * float(radio.rate().mean()) / (16 * max(float(real[cells].mean()), 1e-12))
        plans = {
            name: plan_prb(mbit * s.mean(axis=0)[cells], radio, time_limit_s=limit_s).groups
            for name, s in strategies.items()
        }
        plans["equal shares"] = np.full((16, SHORT), radio.groups // 16)
        for name, groups in plans.items():
            o = prb_outcome(groups, mbit * real[cells], radio)
            for key, value in (("total", o.total), ("backlog", o.backlog), ("delay", o.delay / len(servers))):
                out[name][key] += value
    return out


def deploy_row(days: dict[str, Floats], users: Floats, xy_m: Floats, cell_m: float, sites: int) -> dict[str, Any]:
    """Coverage of the users of each hour; days: strategy -> (24, cells) demand."""
    ground = Ground(xy_m, xy_m, xy_m[:0], np.ones(len(xy_m)), 1.1 * cell_m)
    out = {}
    for name, day in days.items():
        share = coverage(users, ground, plan_deploy(day, ground, sites, time_limit_s=20).chosen)
        mean = float(share @ users.sum(axis=1) / users.sum())
        out[name] = {"mean": mean, "night": float(share[:6].mean()), "day": float(share[9:18].mean()),
                     "worst": float(share.min())}  # fmt: skip
    return out


def mean_day_of(week: Floats) -> Floats:
    """(cells, 168) -> (24, cells)."""
    return week.reshape(len(week), -1, 24).mean(axis=1).T


def city_rows(
    city: str, held: Any, drawn: Floats, users: Floats, done: Rows, fold: int, limit_s: float, fomo: Any
) -> None:
    """The three decisions for the held-out cells of one city and fold."""
    real = week_of(held)
    live = (real[:, TARGET:].max(axis=1) > 0) & (real[:, :TARGET].max(axis=1) > 0)
    drawn = drawn * real.mean() / drawn.mean()  # the city's mean is known to its planner
    for decision, hours in (("sleep", LONG), ("prb", SHORT)):
        now = slice(TARGET, TARGET + hours)
        strategies = {
            "real (hindsight)": real[None, live, now],
            "history": by_hour(real[live, :TARGET], TARGET, hours),
            "stouter, POIs only": drawn[:, live, now],
        }
        if fomo is not None:
            strategies["fomo, continued"] = fomo(city, held, hours)[:, live]
        row = sleep_row(strategies, real[live, now]) if decision == "sleep" else {}
        if decision == "prb" and live.sum() >= 16:
            row = prb_row(strategies, real[live, now], limit_s)
        if row:
            done.setdefault(f"{decision}|{city}", []).append({"fold": fold, **row})
    places = held.places
    xy = places.xy_m[held.rows]
    patches = len(np.unique(xy // 10_000, axis=0))
    day_users = mean_day_of(users)
    days = {
        "real (hindsight)": day_users,
        "stouter, POIs only": mean_day_of(drawn.mean(axis=0)),
        "POIs alone": np.tile(np.expm1(places.counts[held.rows]).sum(axis=1), (24, 1)),
        "residents alone": np.tile(day_users[:6].mean(axis=0), (24, 1)),
    }
    cell_m = float(np.min(np.diff(np.unique(xy[:, 0]))))
    done.setdefault(f"deploy|{city}", []).append({"fold": fold, **deploy_row(days, day_users, xy, cell_m, patches)})


def milan_rows(data: Path, done: Rows, limit_s: float) -> None:
    """sleep and prb on the 25 measured cells: the last week, from the three before."""
    from gentraffic.sources import read_milan_5x5

    ds = read_milan_5x5(data / "traffic" / "milan_5x5_internet_10min.csv")
    hourly = ds["internet"].values.astype(np.float64).reshape(25, -1, 6).sum(axis=2)
    first = 21 * 24
    for decision, hours in (("sleep", 168), ("prb", SHORT)):
        at = first if decision == "sleep" else first + 8
        week = np.stack([hourly[:, at - 168 * k : at - 168 * k + hours] for k in (1, 2, 3)]).mean(axis=0)
        strategies = {
            "real (hindsight)": hourly[None, :, at : at + hours],
            "history": by_hour(hourly[:, :at], at, hours),
            "history, same hours of the week": week[None],
        }
        real = hourly[:, at : at + hours]
        row = sleep_row(strategies, real) if decision == "sleep" else prb_row(strategies, real, limit_s)
        done[f"{decision}|milan-5x5"] = [{"fold": 0, **row}]


def text(done: Rows) -> str:
    """One Markdown table per decision: sums over folds (sleep, prb), means over folds (deploy)."""
    lines: list[str] = []
    for decision, keys, join in (
        ("sleep", ("total", "quality", "switches", "energy"), np.sum),
        ("prb", ("total", "backlog", "delay"), np.sum),
        ("deploy", ("mean", "night", "day", "worst"), np.mean),
    ):
        lines += [f"\n{decision}: {' / '.join(keys)}\n", "| city | plan from | " + " | ".join(keys) + " |"]
        lines.append("|---|---|" + "---|" * len(keys))
        how: Callable[[list[float]], Any] = join
        for key, folds in done.items():
            if key.split("|")[0] != decision:
                continue
            for name in [n for n in folds[0] if n != "fold"]:
                digits = 3 if decision == "deploy" else 1
                values = [f"{float(how([fold[name][k] for fold in folds])):.{digits}f}" for k in keys]
                lines.append(f"| {key.split('|')[1]} | {name} | " + " | ".join(values) + " |")
    return "\n".join(lines)


def main() -> None:
    """Run what is missing and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder of real data")
    parser.add_argument("-o", "--out", type=Path, required=True, help="JSON of finished rows")
    parser.add_argument("--folds", type=int, nargs="*", default=[0, 1], help="which of five folds by location")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="one fold and few steps")
    args = parser.parse_args()
    torch.set_num_threads(1)
    done: Rows = json.loads(args.out.read_text()) if args.out.exists() else {}
    limit_s = 2.0 if args.quick else 15.0
    sources, contexts = cities(args.data)
    plan = replace(Plan(), seed=args.seed, **({"steps": 60, "warmup": 20} if args.quick else {}))
    users = users_of(args.data)
    for fold in args.folds[:1] if args.quick else args.folds:
        if any(row["fold"] == fold for row in done.get(f"deploy|{CITIES[-1]}", [])):
            continue
        parts = {s.network: split_source(s, 5, fold, args.seed) for s in sources if s.network in CITIES}
        bundle, _ = fit_sampler([parts[s.network][0] if s.network in parts else s for s in sources], plan=plan)
        drawn = model_row(bundle, contexts, parts, args.seed, None)
        for city, (_, held) in parts.items():
            city_rows(city, held, drawn[city], users[city](held.cell_id), done, fold, limit_s, None)
        args.out.write_text(json.dumps(done))
        print(f"fold {fold} done", flush=True)
    if "sleep|milan-5x5" not in done:
        milan_rows(args.data, done, limit_s)
        args.out.write_text(json.dumps(done))
    print(text(done))


def users_of(data: Path) -> dict[str, Callable[[NDArray[Any]], Floats]]:
    """Per city, ids of cells -> users of the first 168 hours, (cells, 168)."""
    from gentraffic.importing import read_uomo

    def reader(city: str) -> Callable[[NDArray[Any]], Floats]:
        ds = read_uomo(data / "traffic" / f"uomo_{city}.npz")[0]
        values = ds["users"].values.astype(np.float64)
        step = int((ds["time"].values[1] - ds["time"].values[0]) / np.timedelta64(1, "m"))
        k = 60 // step
        hourly = values[:, : 168 * k].reshape(len(values), 168, k).mean(axis=2)
        row = {cell: i for i, cell in enumerate(ds["cell_id"].values.tolist())}
        return lambda ids: hourly[[row[cell] for cell in ids.tolist()]]

    return {f"uomo-{city}": reader(city) for city in ("sd", "nc", "nj")}


if __name__ == "__main__":
    main()
