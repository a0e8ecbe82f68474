"""P3 of METRICS: one FoMo for every task and city, on locations that it never saw, beside the naive rows.

    python benchmarks/foundation.py --data ../shared/data -o foundation.json          # everything: hours of a core
    python benchmarks/foundation.py --data ../shared/data -o /tmp/quick.json --quick    # does it run? two minutes

Parts, each resumable row by row (run the same command again); `--only` limits them:
  p3         folds by location over all cities: short 48 -> 16, long 16 -> 48, generation 0 -> 64 steps, with and
             without users, one pre-trained model per fold behind the whole table; every naive row
  stouter    STOUTER in the same folds and windows, where it applies: generation without users
  seen       `--model` (fomo-base) on places that it was trained on, which is what the upstream split does (every test
             location is also in training), beside the published figures
  unseen     leaving one city out: zero-shot, and fine-tuned on 5% and 10% of its locations
  scaling    sizes that this machine allows, fold 0, equal steps
  solver     `--model` drawn with few steps and with many, through all that a draw goes through: whole weeks, 48 hours
             after 120, and every third half day; hourly, of cells that fold 0 holds out and of Milan's (a bundled model
             has seen them all)
  ablations  no users, no POIs, no contrastive fine-tuning, random mask only, other predictions; fold 0
  published  as the paper trains it, each row within `--minutes` of one core, fold 0: in two stages (the first half of
             the steps bare of users and POIs), with contrastive fine-tuning at the end (a fifth of the minutes, most
             weights frozen), with both, and with tokens of other sizes; scaling: with other sizes, and with a part of
             the training locations; `--variants` runs some of the rows
`mae_p9999` and `rmse_p9999` are of the expectation (one solver step), `crps` of the members (at most six for short and
long). 95% intervals by bootstrap over locations.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from gentraffic.evaluation import fomo_tasks as p3
from gentraffic.evaluation.intervals import bootstrap_interval
from gentraffic.evaluation.metrics import summary
from gentraffic.evaluation.public_cities import CITIES, read_city, read_regions
from gentraffic.generators.base import FOMO, Settings
from gentraffic.generators.fomo.data import Region, placed, read_region
from gentraffic.generators.fomo.drawing import draw_field
from gentraffic.generators.fomo.folder import FoMoBundle, load_fomo
from gentraffic.generators.fomo.observations import FoMoTask
from gentraffic.io.files import read_context
from gentraffic.io.importers.public_sets import MILAN_CELLS, read_milan_week
from gentraffic.modelling.measured import Source
from gentraffic.places.find import CONTEXTS
from gentraffic.training.fitting import fit_sampler
from gentraffic.training.fomo_fitting import FoMoDesign, few, finetune_fomo, fit_fomo, split
from gentraffic.training.fomo_task import FoMoPlan
from gentraffic.training.sampler_task import Plan

if TYPE_CHECKING:
    import xarray as xr

PUBLISHED = {  # FoMo tables 2-4: (short, long, generation) MAE; their metric code is unpublished
    "uomo-nj": (0.0247, 0.0532, 0.0948),
    "uomo-nc": (0.0178, 0.0576, 0.1043),
    "uomo-sd": (0.0343, 0.0197, 0.0993),
}
SOLVERS = (("gaussian", 2), ("dpm++", 8))
SOLVER_CELLS, HOURS = 64, 168
MILAN = "milan"  # of whose cells a bundled FoMo has seen 25, which are left out
MOST_STEPS = 100_000  # of a fit within a time
ALIGN = FoMoPlan(steps=60, learning_rate=3e-4, warmup=20, contrast=0.05, frozen=True, ema=0.98)
Pair = tuple[Source, Region]
Rows = dict[str, Any]


@dataclass(frozen=True)
class Variant:
    """A way to train FoMo within a time. token: cells, cells and steps. bare: which part of the pre-training is told
    neither users nor POIs. aligned: which part of the time goes to contrastive fine-tuning. size: of the network. data:
    which part of the training locations is known."""

    token: tuple[int, int, int] = (1, 1, 16)
    bare: float = 0.0
    aligned: float = 0.0
    size: str = "1m"
    data: float = 1.0


PLAIN = "plain"
VARIANTS = {
    PLAIN: Variant(), "two stages": Variant(bare=0.5), "contrastive": Variant(aligned=0.2),
    "two stages, contrastive": Variant(bare=0.5, aligned=0.2), "tokens 1, 1, 8": Variant((1, 1, 8)),
    "tokens 2, 2, 8": Variant((2, 2, 8)), "tokens 2, 2, 4": Variant((2, 2, 4)),
    "half of the locations": Variant(data=0.5), "a quarter of the locations": Variant(data=0.25),
    "0.3m weights": Variant(size="0.3m"), "5m weights": Variant(size="5m"),
}  # fmt: skip


class Table:
    """Finished rows on disk: `part|fold|network|task|row` -> scores."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: Rows = json.loads(path.read_text()) if path.exists() else {}

    def done(self, part: str, fold: str) -> bool:
        """Whether a fold of a part is finished."""
        return f"{part}|{fold}" in self.rows.get("finished", [])

    def put(self, part: str, fold: str, rows: dict[str, list[dict[str, Any]]], metadata: Any = None) -> None:
        """Keep the rows of a fold, and on disk."""
        for key, (scores,) in rows.items():
            self.rows[f"{part}|{fold}|{key}"] = scores
        self.rows.setdefault("told", {})[f"{part}|{fold}"] = metadata
        self.rows["finished"] = [*self.rows.get("finished", []), f"{part}|{fold}"]
        self.path.write_text(json.dumps(self.rows))
        print(f"{part} {fold} done", flush=True)

    def of(self, part: str) -> dict[str, list[dict[str, Any]]]:
        """`network|task|row` -> the scores of every fold."""
        out: dict[str, list[dict[str, Any]]] = {}
        for key, scores in self.rows.items():
            if key.startswith(f"{part}|"):
                out.setdefault(key.split("|", 2)[2], []).append(scores)
        return dict(sorted(out.items()))


def run_p3(table: Table, data: Sequence[Pair], folds: Sequence[int], count: int, plan: FoMoPlan, members: int) -> None:
    """Folds by location."""
    for fold in folds:
        if not table.done("p3", str(fold)):
            train, parts = p3.parts_of(data, count, fold)
            bundle, metadata = fit_fomo(train, plan=plan)
            table.put("p3", str(fold), p3.rows_of(bundle, parts, members=members), metadata)


def run_stouter(table: Table, data: Sequence[Pair], folder: Path, folds: Sequence[int], count: int, plan: Plan) -> None:
    """STOUTER's generation without users."""
    contexts = {city: read_city(folder, city)[1] for city in CITIES}
    for fold in folds:
        if not table.done("stouter", str(fold)):
            train, parts = p3.parts_of(data, count, fold)
            bundle, metadata = fit_sampler([source for source, _ in train], plan=plan)
            rows = {}
            for name, pairs in parts.items():
                part = p3.held_out(*((source, placed(region, source, bundle.levels)) for source, region in pairs))
                members = p3.week_members(bundle, part, contexts[name])
                rows[f"{name}|generation|stouter"] = [p3.scores(part, "generation", members)]
            table.put("stouter", str(fold), rows, {key: metadata[key] for key in ("minutes", "steps")})


def run_seen(table: Table, data: Sequence[Pair], bundle: FoMoBundle) -> None:
    """The bundled model on its own training places: the expectation alone, which is what was published."""
    if not table.done("seen", "0"):
        parts = {r.network: ((s, r), (s, r)) for s, r in data if s.places is not None}
        table.put("seen", "0", p3.rows_of(bundle, parts, members=0, naive_too=False))


def run_unseen(table: Table, data: Sequence[Pair], plan: FoMoPlan, tune: FoMoPlan, members: int) -> None:
    """Leave one city out: zero-shot and few-shot; a fifth of its locations is the test for all three."""
    for city in CITIES:
        if table.done("unseen", city):
            continue
        name = city
        rest = [pair for pair in data if pair[1].network != name]
        here = next(pair for pair in data if pair[1].network == name)
        train, held = split(here, 2, 0, 0)  # half of the locations are the test, the other half may be learned from
        bundle, metadata = fit_fomo(rest, plan=plan)
        mean = float(here[0].level.mean())
        parts = {name: (train, held)}
        rows = p3.rows_of(bundle, parts, members=members, label="zero-shot", city_mean=mean)
        whole = len(np.unique(here[1].location)) / len(np.unique(train[1].location))
        for share in (0.05, 0.10):  # of the city's locations, one at least
            seen = few(train, share * whole, 0)
            tuned, _ = finetune_fomo(bundle, [seen], plan=tune)
            places = seen[0].places
            shots = np.full(0 if places is None else len(places.xy_m), np.nan)
            shots[seen[0].rows] = seen[1].level
            for told, known in (("", None), (", told the mean", mean)):
                rows |= p3.rows_of(tuned, parts, members=members, label=f"{share:.0%} few-shot{told}", naive_too=False,
                                   city_mean=known, shots=shots)  # fmt: skip
        table.put("unseen", city, rows, metadata)


def few_shot_table(rows: dict[str, list[Rows]]) -> str:
    """Markdown: MAE of few-shot rows less that of zero-shot, in 1e-4; 95% intervals by bootstrap over locations."""
    lines = ["| network | task | row | less zero-shot, 1e-4 |", "|---|---|---|---|"]
    for key, (found,) in rows.items():
        network, task, row = key.split("|")
        if "few-shot" not in row:
            continue
        (zero,) = rows[f"{network}|{task}|zero-shot{', users' if row.endswith(', users') else ''}"]
        apart = np.array(found["mae_p9999"]) - np.array(zero["mae_p9999"])
        low, high = bootstrap_interval(apart, np.array(found["location"]))
        lines.append(
            f"| {network} | {task} | {row} | {apart.mean() * 1e4:+.1f} ({low * 1e4:+.1f} to {high * 1e4:+.1f}) |"
        )
    return "\n".join(lines)


def variants(plan: FoMoPlan) -> Iterator[tuple[str, str, FoMoDesign, FoMoPlan]]:
    """part, name, design, plan of everything that is trained beside the model itself."""
    yield "scaling", "0.3m", FoMoDesign(size="0.3m"), plan
    yield "scaling", "1m", FoMoDesign(), plan
    yield "scaling", "5m", FoMoDesign(size="5m"), plan
    yield "ablations", "no users", FoMoDesign(), replace(plan, users_keep=0.0)
    yield "ablations", "no POIs", FoMoDesign(), replace(plan, poi_keep=0.0)
    yield "ablations", "random mask only", FoMoDesign(), replace(plan, masks=(0.0, 0.0, 0.0, 1.0))
    yield "ablations", "epsilon", FoMoDesign(prediction_type="epsilon"), plan
    yield "ablations", "sample", FoMoDesign(prediction_type="sample"), plan


def run_variants(table: Table, data: Sequence[Pair], parts: Sequence[str], plan: FoMoPlan, members: int) -> None:
    """Fold 0 at equal steps."""
    train, held = p3.parts_of(data, 5, 0)
    for part, name, design, own in variants(plan):
        if part not in parts or table.done(part, name):
            continue
        bundle, metadata = fit_fomo(train, design=design, plan=own)
        table.put(part, name, p3.rows_of(bundle, held, members=members, label=name, naive_too=False), metadata)
        if (part, name) == ("scaling", "1m"):  # the plan of the ablations' full model: the same weights, aligned or not
            tuned, metadata = finetune_fomo(bundle, train, plan=replace(ALIGN, steps=min(ALIGN.steps, plan.steps)))
            aligned = p3.rows_of(tuned, held, members=members, label="contrastive fine-tuning", naive_too=False)
            table.put("ablations", "contrastive fine-tuning", aligned, metadata)


def run_published(table: Table, data: Sequence[Pair], names: Sequence[str], minutes: float, plan: FoMoPlan) -> None:
    """Fold 0, each row within the same time: the expectation, and one draw for its JSD."""
    every, held = p3.parts_of(data, 5, 0)
    for name in names:
        if table.done("published", name):
            continue
        variant, seconds = VARIANTS[name], 60 * minutes
        train = every if variant.data == 1 else [few(pair, variant.data, 0) for pair in every]

        def pre_train(steps: int, variant: Variant = variant, train: Sequence[Pair] = train) -> tuple[FoMoBundle, Any]:
            design = FoMoDesign(size=variant.size, token=variant.token)
            own = replace(plan, steps=steps, warmup=min(plan.warmup, steps), bare_steps=round(variant.bare * steps))
            return fit_fomo(train, design=design, plan=own)

        steps = steps_within(pre_train, (1 - variant.aligned) * seconds)
        began = time.process_time()
        bundle, metadata = pre_train(steps)
        took, told = time.process_time() - began, {"steps": [steps], "weights": metadata["parameters"]}
        if variant.aligned:

            def align(steps: int, start: FoMoBundle = bundle, train: Sequence[Pair] = train) -> tuple[FoMoBundle, Any]:
                own = replace(ALIGN, steps=steps, warmup=min(ALIGN.warmup, steps))
                return finetune_fomo(copy.deepcopy(start), train, plan=own)

            more = steps_within(align, variant.aligned * seconds)
            began = time.process_time()
            bundle, _ = align(more)
            took += time.process_time() - began
            told["steps"].append(more)
        table.put("published", name, published_rows(bundle, held, name), {**told, "fit_cpu_s": round(took, 1)})


def steps_within(fit: Callable[[int], Any], seconds: float) -> int:
    """How many steps of a fit take `seconds` of one core, from two short fits. fit: of a number of steps."""
    took = []
    fit(1)  # what is done once in a process
    for count in (2, 12):
        began = time.process_time()
        fit(count)
        took.append(time.process_time() - began)
    per_step = max((took[1] - took[0]) / 10, 1e-4)
    return int(np.clip((seconds - took[0] + 2 * per_step) / per_step, 2, MOST_STEPS))


def published_rows(bundle: FoMoBundle, parts: dict[str, tuple[Pair, Pair]], label: str) -> dict[str, list[Rows]]:
    """`network|task|row` -> scores of the expectation by series, and the JSD of one draw."""
    out = {}
    for city, pairs in parts.items():
        part = p3.held_out(*((source, placed(region, source, bundle.levels, bundle.weeks)) for source, region in pairs))
        for task, observed in p3.TASKS.items():
            real, _ = p3.real_of(part, observed)
            for users in (False, True):
                members = p3.model_members(bundle, part, task, users=users, members=1)
                found = p3.scores(part, task, members[:1])
                found["jsd_hist"] = summary.jsd_hist(real, members[1])
                out[f"{city}|{task}|{label}{', users' if users else ''}"] = [found]
    return out


def run_solver(table: Table, data: Sequence[Pair], folder: Path, bundle: FoMoBundle, members: int) -> None:
    """Solvers and steps on cells of fold 0 and of Milan: whole weeks, and what is known gone on with and filled."""
    for city in (*CITIES, MILAN):
        for solver, steps in SOLVERS:
            key = f"{city}, {solver}, {steps} steps"
            if table.done("solver", key):
                continue
            if city == MILAN:
                context = read_context(CONTEXTS / "milan.nc")
                here = read_region(read_milan_week(folder / "telecom-italia"), [context])
                new = np.random.default_rng(0).permutation(np.flatnonzero(~np.isin(here[0].cell_id, MILAN_CELLS)))
                pairs = here, (here[0].only(new), here[1].only(new))
            else:
                context = read_city(folder, city)[1]
                pairs = split(next(pair for pair in data if pair[1].network == city), 5, 0, 0)
            rows = solver_rows(bundle, *pairs, context, replace(FOMO, members=members, steps=steps, solver=solver))
            table.put("solver", key, {name: [scores] for name, scores in rows.items()})


def solver_rows(bundle: FoMoBundle, train: Pair, held: Pair, context: xr.Dataset, settings: Settings) -> Rows:
    """Scores of one solver on at most SOLVER_CELLS held-out cells: week, follow, fill."""
    region = held[1].only(np.arange(min(SOLVER_CELLS, len(held[1].values))))

    def hourly(values: NDArray[Any]) -> NDArray[Any]:
        k = 60 // region.minutes
        whole: NDArray[Any] = values[..., : HOURS * k].reshape(*values.shape[:-1], HOURS, k).mean(-1)
        return whole

    real, scale = hourly(region.values).astype(np.float64), summary.p9999(hourly(train[1].values))
    blank = np.full((context.sizes["cell"], HOURS), np.nan, dtype=np.float32)
    task = FoMoTask(context, blank, blank, np.floor(hourly(region.hour)), 60)
    known_network = bundle.levels.networks.get(region.network)
    mean = float(real.mean()) if known_network is None else known_network.mean_traffic
    at, hour = region.rows.tolist(), np.arange(HOURS)
    drawn = draw_field(bundle, task, settings, cells=at).astype(np.float64) * mean
    others = np.stack([np.random.default_rng(i).permutation(real) for i in range(8)])
    rows: Rows = {"week": week_scores(real, drawn, scale) | {
        "crps_shape": float(summary.crps_shape_cells(real, drawn).mean() / scale),
        "coverage_90": float(summary.coverage_cells(real, drawn, 0.9).mean()),
        "diversity": summary.diversity(drawn, others),
    }}  # fmt: skip
    for name, known in (("follow", hour < 120), ("fill", hour // 12 % 3 != 1)):
        told = blank.copy()
        told[at] = np.where(known, real, np.nan)
        filled = draw_field(bundle, replace(task, values=told), settings, cells=at).astype(np.float64)
        crps = summary.crps_cells(real[:, ~known], filled[..., ~known]).mean() / scale
        rows[name] = week_scores(real, filled, scale) | {"crps": float(crps)}
    return rows


def week_scores(real: NDArray[Any], drawn: NDArray[Any], scale: float) -> dict[str, float]:
    """crps, acf_error, roughness_ratio: real (cells, steps), drawn (members, cells, steps)."""
    rough = [np.abs(np.diff(v / np.maximum(v.mean(-1, keepdims=True), 1e-9))).mean() for v in (drawn, real)]
    return {
        "crps": float(summary.crps_cells(real, drawn).mean() / scale),
        "acf_error": summary.acf_error(real, drawn),
        "roughness_ratio": float(rough[0] / rough[1]),
    }


def solver_table(rows: dict[str, list[dict[str, Any]]]) -> str:
    """Markdown: every score of every draw. rows: by `draw` -> scores, in the order of the file."""
    lines = []
    for key, (scores,) in rows.items():
        lines.append(f"| {key} | " + " | ".join(f"{name} {value:.4f}" for name, value in scores.items()) + " |")
    return "\n".join(lines)


def seen_table(rows: dict[str, list[dict[str, Any]]]) -> str:
    """Markdown: the published MAE beside ours."""
    lines = ["| network | task | published | fomo | fomo, users |", "|---|---|---|---|---|"]
    for network, figures in PUBLISHED.items():
        for task, figure in zip(p3.TASKS, figures, strict=True):
            ours = [
                f"{np.mean([v for f in rows[f'{network}|{task}|{label}'] for v in f['mae_p9999']]):.4f}"
                for label in ("fomo", "fomo, users")
            ]
            lines.append(f"| {network} | {task} | {figure:.4f} | {' | '.join(ours)} |")
    return "\n".join(lines)


def main() -> None:
    """Run what is missing and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder of real data")
    parser.add_argument("-o", "--out", type=Path, required=True, help="JSON of finished rows")
    parser.add_argument("--only", nargs="*", default=["p3", "stouter", "seen", "unseen", "scaling", "ablations"])
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--fold", type=int, nargs="*", help="which folds to run, all by default")
    parser.add_argument("--steps", type=int, default=800, help="training steps of p3")
    parser.add_argument("--few-steps", type=int, default=400, help="training steps of unseen, scaling and ablations")
    parser.add_argument("--minutes", type=float, default=3.5, help="of one core: of every fit of the part published")
    parser.add_argument("--variants", nargs="*", default=list(VARIANTS), choices=list(VARIANTS), help="of published")
    parser.add_argument("--members", type=int, default=p3.MEMBERS)
    parser.add_argument("--model", default="fomo-base", help="of the part seen")
    parser.add_argument("--quick", action="store_true", help="one fold and few steps: does it run?")
    args = parser.parse_args()
    torch.set_num_threads(1)
    table, data = Table(args.out), read_regions(args.data)
    plan = replace(FoMoPlan(), steps=args.steps)
    small = replace(plan, steps=args.few_steps, warmup=50)
    tune, members = ALIGN, args.members
    folds = list(range(args.folds)) if args.fold is None else args.fold
    if args.quick:
        plan, small, members, folds = replace(plan, steps=12), replace(small, steps=6), 2, [0]
        tune, args.minutes = replace(tune, steps=4), 0.05
    if "p3" in args.only:
        run_p3(table, data, folds, args.folds, plan, members)
    if "stouter" in args.only:
        steps = 12 if args.quick else Plan().steps
        run_stouter(table, data, args.data, folds, args.folds, replace(Plan(), steps=steps, warmup=min(200, steps)))
    if "seen" in args.only:
        run_seen(table, data, load_fomo(args.model))
    if "unseen" in args.only:
        run_unseen(table, data, small, tune, min(members, 6))
    run_variants(table, data, args.only, small, min(members, 4))
    if "published" in args.only:
        run_published(table, data, args.variants, args.minutes, FoMoPlan())
    for part in args.only:
        if part not in ("solver", "published") and (rows := table.of(part)):
            print(f"\n### {part}\n\n{seen_table(rows) if part == 'seen' else p3.table(rows)}")
            if part == "unseen":
                print(f"\n{few_shot_table(rows)}")
    if "solver" in args.only:
        run_solver(table, data, args.data, load_fomo(args.model), members)
        own = {k: [v] for k, v in table.rows.items() if k.startswith("solver|")}
        print(f"\n### solver\n\n{solver_table(own)}")


if __name__ == "__main__":
    main()
