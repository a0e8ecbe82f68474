"""What plans are worth that come from forecast and generated traffic: FoMo's Figure 11 on `uomo_*` and Milan.

    python benchmarks/planning.py --data ../shared/data -o planning.json            # a quarter of an hour of one core
    python benchmarks/planning.py --data ../shared/data -o quick.json --quick       # one fold, few steps: does it run?

sleep and prb: the two days from hour 120 on (sleep) and 16 hours of the first of them (prb), of cells at locations that
no model saw (Milan: 25 cells, the last week). Each decision is made from the real traffic (hindsight), from all hours
before (mean by hour of the day), from `stouter` with POIs alone (20 members, the city mean known), and from what a FoMo
says (8 members) that knows the last 16 hours (sleep) or 48 (prb), its long-term and short-term tasks; for sleep a
second row knows as much as history does, two weeks at most. All are judged by the real traffic.
deploy: one new site per held-out patch of 4x4 cells, which covers its cell and the four beside it; judged by the users
of each hour; stouter and FoMo generate from POIs alone.
Residents are the users of the hours 0 to 5, as a census would count.
Each fold fits a stouter and a FoMo of the smallest size to the other locations; that FoMo never saw Milan. Rows are
written as they are done: run the same command again to go on; `--only` limits them to those of one model.
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
from numpy.typing import NDArray

from gentraffic.dataset.calendar import make_calendar
from gentraffic.dataset.schema import local_time
from gentraffic.evaluation.holdout import model_row, week_of
from gentraffic.evaluation.public_cities import CITIES, read_cities, read_regions
from gentraffic.generators.base import FOMO, Settings
from gentraffic.generators.fomo.drawing import draw_field
from gentraffic.generators.fomo.folder import FoMoBundle
from gentraffic.generators.fomo.observations import HISTORY_HOURS, FoMoTask, field_of
from gentraffic.generators.observed import Observations, context_of
from gentraffic.io.importers.public_sets import read_milan_5x5
from gentraffic.planning.deploy import Ground, coverage, plan_deploy
from gentraffic.planning.resource_blocks import Radio, plan_prb, prb_outcome
from gentraffic.planning.sleep import SleepCosts, plan_sleep, sleep_outcome
from gentraffic.training.fitting import fit_sampler, split_source
from gentraffic.training.fomo_fitting import FoMoDesign, fit_fomo, split
from gentraffic.training.fomo_task import FoMoPlan
from gentraffic.training.sampler_task import Plan

Floats = NDArray[np.float64]
LONG, SHORT = 48, 16  # hours of sleep and of prb
KNOWN = {"sleep": {"fomo": 16, "fomo, all hours before": HISTORY_HOURS}, "prb": {"fomo": 48}}  # hours told, by row
WHEN = {"sleep": (120, LONG), "prb": (120, SHORT)}  # first hour of what is planned, and how many
MILAN_WHEN = {"sleep": (504, 168), "prb": (512, SHORT)}
MILAN = "milan-5x5"
UNITS, PRBS, GROUP = 4, 100, 2
DRAWN, MEMBERS = 20, 8  # members of stouter and of FoMo
Rows = dict[str, list[dict[str, Any]]]  # decision|city -> one outcome per fold, by strategy
Forecasts = Callable[[str, int, int], dict[str, Floats]]  # decision, first hour, hours -> (members, cells, hours)


def keep(done: Rows, key: str, fold: int, row: dict[str, Any]) -> None:
    """Add strategies to the row of one fold."""
    rows = done.setdefault(key, [])
    found = [r for r in rows if r["fold"] == fold]
    if found:
        found[0].update(row)
    else:
        rows.append({"fold": fold, **row})


def finished(done: Rows, key: str, fold: int, **marks: Any) -> bool:
    """Whether a fold has such a row, with these entries."""
    return any(row["fold"] == fold and marks.items() <= row.items() for row in done.get(key, []))


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


def operate(
    done: Rows, city: str, fold: int, series: Floats, when: dict[str, tuple[int, int]], plans: Forecasts, limit_s: float
) -> None:
    """sleep and prb of the cells of one city: series (cells, hours) is what really came."""
    for decision, (at, hours) in when.items():
        live = (series[:, at:].max(axis=1) > 0) & (series[:, :at].max(axis=1) > 0)
        real = series[live, at : at + hours]
        strategies = {name: load_[:, live] for name, load_ in plans(decision, at, hours).items()}
        if decision == "sleep":
            keep(done, f"sleep|{city}", fold, sleep_row(strategies, real))
        elif live.sum() >= 16:
            keep(done, f"prb|{city}", fold, prb_row(strategies, real, limit_s))


def deploy(done: Rows, city: str, fold: int, held: Any, days: dict[str, Floats], day_users: Floats) -> None:
    """One new site per patch of the held-out cells of one city: days, strategy -> (24, cells) demand."""
    xy = held.places.xy_m[held.rows]
    cell_m = float(np.min(np.diff(np.unique(xy[:, 0]))))
    keep(done, f"deploy|{city}", fold, deploy_row(days, day_users, xy, cell_m, len(np.unique(xy // 10_000, axis=0))))


def city_rows(city: str, held: Any, drawn: Floats, users: Floats, done: Rows, fold: int, limit_s: float) -> None:
    """The three decisions for the held-out cells of one city and fold, without FoMo."""
    real = week_of(held)
    drawn = drawn * real.mean() / drawn.mean()  # the city's mean is known to its planner

    def plans(decision: str, at: int, hours: int) -> dict[str, Floats]:
        now = slice(at, at + hours)
        return {
            "real (hindsight)": real[None, :, now],
            "history": by_hour(real[:, :at], at, hours),
            "stouter, POIs only": drawn[..., now],
        }

    operate(done, city, fold, real, WHEN, plans, limit_s)
    day_users = mean_day_of(users)
    days = {
        "real (hindsight)": day_users,
        "stouter, POIs only": mean_day_of(drawn.mean(axis=0)),
        "POIs alone": np.tile(held.places.poi_count[held.rows].sum(axis=1), (24, 1)),
        "residents alone": np.tile(day_users[:6].mean(axis=0), (24, 1)),
    }
    deploy(done, city, fold, held, days, day_users)


def milan_rows(ds: Any, done: Rows, limit_s: float) -> None:
    """sleep and prb on the 25 measured cells: the last week, from the three before, without FoMo."""
    hourly = milan_hours(ds)

    def plans(decision: str, at: int, hours: int) -> dict[str, Floats]:
        weeks = [hourly[:, at - 168 * k : at - 168 * k + hours] for k in (1, 2, 3)]
        return {
            "real (hindsight)": hourly[None, :, at : at + hours],
            "history": by_hour(hourly[:, :at], at, hours),
            "history, same hours of the week": np.mean(weeks, axis=0)[None],
        }

    operate(done, MILAN, 0, hourly, MILAN_WHEN, plans, limit_s)


def milan_hours(ds: Any) -> Floats:
    """(25, hours) of read_milan_5x5."""
    out: Floats = ds["internet"].values.astype(np.float64).reshape(25, -1, 6).sum(axis=2)
    return out


def continued(
    bundle: FoMoBundle, context: Any, rows: NDArray[np.int64], series: Floats, first: int, settings: Settings
) -> Forecasts:
    """What FoMo says of the hours that follow those of KNOWN, as `sample --history` draws it.

    series: (cells, hours) of the context's `rows`, from the hour of the week `first` on.
    """

    def plans(decision: str, at: int, hours: int) -> dict[str, Floats]:
        out = {}
        for name, most in KNOWN[decision].items():
            given = min(at, most)
            values = np.full((context.sizes["cell"], given + hours), np.nan, dtype=np.float32)
            values[rows, :given] = series[:, at - given : at]
            hour = (first + np.arange(at - given, at + hours)) % 168.0
            field = FoMoTask(context, values, np.full_like(values, np.nan), hour, 60, given)
            out[name] = draw_field(bundle, field, settings, cells=rows.tolist()).astype(np.float64)
        return out

    return plans


def fomo_rows(
    bundle: FoMoBundle,
    settings: Settings,
    context: Any,
    held: Any,
    users: Floats,
    done: Rows,
    fold: int,
    limit_s: float,
) -> None:
    """The three decisions for the held-out cells of one city and fold, from FoMo."""
    real, city = week_of(held), held.network
    location = context["location"].values
    near = np.flatnonzero(
        np.isin(location, location[held.rows])
    )  # what lies further says nothing where levels are known
    rows = np.searchsorted(near, held.rows)
    plans = continued(bundle, context.isel(cell=near), rows, real, held.weekday * 24, settings)
    operate(done, city, fold, real, WHEN, plans, limit_s)
    calendar = make_calendar(f"2021-03-{1 + held.weekday:02d}", 7, "1h", "Asia/Shanghai")  # 1 March is a Monday
    task = field_of(None, context, calendar.utc, 60, bundle.model.token[2])
    drawn = draw_field(bundle, task, settings, cells=held.rows.tolist())
    days = {"fomo, POIs only": mean_day_of(drawn.astype(np.float64).mean(axis=0))}
    deploy(done, city, fold, held, days, mean_day_of(users))


def fomo_milan_rows(bundle: FoMoBundle, settings: Settings, ds: Any, done: Rows, limit_s: float) -> None:
    """sleep and prb of Milan, which the bundle must not have seen, from FoMo."""
    hourly, start = milan_hours(ds), local_time(ds)[0]
    context = context_of(Observations(ds, None, None, "internet"))
    plans = continued(bundle, context, np.arange(25), hourly, start.day_of_week * 24 + start.hour, settings)
    operate(done, MILAN, 0, hourly, MILAN_WHEN, plans, limit_s)


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
            for name in [n for n in folds[0] if n != "fold" and all(n in fold for fold in folds)]:
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
    parser.add_argument("--fomo-steps", type=int, default=400, help="training steps of each fold's FoMo")
    parser.add_argument(
        "--only", nargs="*", default=["stouter", "fomo"], help="rows of stouter and naive ones, or fomo"
    )
    parser.add_argument("--quick", action="store_true", help="one fold and few steps")
    args = parser.parse_args()
    torch.set_num_threads(1)
    done: Rows = json.loads(args.out.read_text()) if args.out.exists() else {}
    limit_s, steps, members = (2.0, 10, 2) if args.quick else (15.0, args.fomo_steps, MEMBERS)
    sources, contexts = read_cities(args.data)
    pairs = [pair for pair in read_regions(args.data) if pair[1].network in CITIES]
    milan = read_milan_5x5(args.data / "traffic" / "milan_5x5_internet_10min.csv")
    plan = replace(Plan(), seed=args.seed, **({"steps": 60, "warmup": 20} if args.quick else {}))
    fomo_plan = replace(FoMoPlan(), steps=steps, warmup=max(1, steps // 8), seed=args.seed)
    settings = replace(FOMO, seed=args.seed, members=members, steps=2 if args.quick else FOMO.steps)
    users = users_of(args.data)
    if "stouter" in args.only and not finished(done, "stouter", -1):  # -1: Milan, which is in no fold
        milan_rows(milan, done, limit_s)
        keep(done, "stouter", -1, {})
        write(done, args.out, MILAN)
    for fold in args.folds[:1] if args.quick else args.folds:
        parts = {s.network: split_source(s, 5, fold, args.seed) for s in sources if s.network in CITIES}
        if "stouter" in args.only and not finished(done, "stouter", fold):
            bundle, _ = fit_sampler([parts[s.network][0] if s.network in parts else s for s in sources], plan=plan)
            drawn = model_row(
                bundle, contexts, parts, args.seed, 2 if args.quick else None, members=4 if args.quick else DRAWN
            )
            for city, (_, held) in parts.items():
                city_rows(city, held, drawn[city], users[city](held.cell_id), done, fold, limit_s)
            keep(done, "stouter", fold, {})
            write(done, args.out, f"fold {fold}, stouter")
        if "fomo" in args.only and not finished(done, "fomo", fold, steps=steps):
            train = [split(pair, 5, fold, args.seed)[0] for pair in pairs]
            fomo, metadata = fit_fomo(train, design=FoMoDesign(size="0.3m"), plan=fomo_plan)
            for city, (_, held) in parts.items():
                fomo_rows(fomo, settings, contexts[city], held, users[city](held.cell_id), done, fold, limit_s)
            if fold == args.folds[0]:
                fomo_milan_rows(fomo, settings, milan, done, limit_s)
            keep(done, "fomo", fold, {"steps": steps, "loss": metadata["loss"], "minutes": metadata["minutes"]})
            write(done, args.out, f"fold {fold}, fomo")
    print(text(done))


def write(done: Rows, path: Path, what: str) -> None:
    """Keep what is finished."""
    path.write_text(json.dumps(done))
    print(f"{what} done", flush=True)


def users_of(data: Path) -> dict[str, Callable[[NDArray[Any]], Floats]]:
    """Per city, ids of cells -> users of the first 168 hours, (cells, 168)."""
    from gentraffic.io.importers.uomo import read_uomo

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
