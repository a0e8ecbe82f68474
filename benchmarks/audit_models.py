"""What the attacks on models find, of every kind of model: samplers of weeks, FoMo, forecasters.

    python benchmarks/audit_models.py --data ../shared/data -o models.json
    python benchmarks/audit_models.py --data ../shared/data -o models.json --kinds vae lstm --shadows 16

Every seed draws 144 of Nanchang's live cells: 48 are members, 48 others, 48 strangers. A small model of each kind is
fitted on the members until it knows them by heart: no noise and no gaps in the condition, no weight decay. "members
found": the attack on its loss tells members from others (p <= 0.05). "strangers accused": it tells others from
strangers, of whom the model has seen neither. With --shadows N also LiRA, from N shadow models trained alike on half of
members and others. Every row is written as it is done; run the same command again to go on.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

from gentraffic.forecasting.data import networks_of, whole
from gentraffic.forecasting.fit import fit_forecaster
from gentraffic.forecasting.membership import forecaster_subject
from gentraffic.forecasting.task import Plan as ForecastPlan
from gentraffic.generators.fomo.data import read_region
from gentraffic.io.importers.uomo import read_uomo
from gentraffic.modelling.measured import read_source
from gentraffic.privacy.audit.fomo import fomo_subject
from gentraffic.privacy.audit.models import Subject, likelihood_ratio, shadow_power, shadow_scores
from gentraffic.privacy.audit.statistics import auc_of
from gentraffic.privacy.audit.weekly import weekly_subject
from gentraffic.training.fitting import Design, fit_sampler, plan_for
from gentraffic.training.fomo_fitting import FoMoDesign, fit_fomo
from gentraffic.training.fomo_task import FoMoPlan

SIDE = 48  # cells of each kind: members, others, strangers
LEVEL = 0.05
BARE: dict[str, Any] = {
    "weight_decay": 0.0, "place_noise": 0.0, "place_keep": 1.0, "level_noise": 0.0, "level_keep": 1.0,
    "network_keep": 1.0,
}  # fmt: skip
STEPS = {
    "stouter": 600, "diffwave": 600, "vae": 600, "tcn-gan": 600, "fomo": 300, "lightgbm": 100, "lstm": 1500, "stn": 600,
}  # fmt: skip
ROOMY = {"stouter": {"channels": (32, 48), "hours_per_token": 2, "use_spectrum": False}}
Fit = Callable[[xr.Dataset, xr.Dataset], Callable[[xr.Dataset], Subject]]


def fit_weekly(kind: str, seed: int) -> Fit:
    """A sampler of weeks that learns its cells by heart."""
    design = Design(sampler=kind, **ROOMY.get(kind, {}))  # type: ignore[arg-type]
    steps = STEPS[kind]
    plan = replace(plan_for(design), steps=steps, batch=24, warmup=20, check_every=steps, seed=seed, **BARE)

    def fit(members: xr.Dataset, context: xr.Dataset) -> Callable[[xr.Dataset], Subject]:
        bundle, metadata = fit_sampler([read_source(members, [context])], design=design, plan=plan)
        known = replace(bundle, provenance=metadata)
        return lambda both: weekly_subject(known, both, context, "traffic")

    return fit


def fit_blocks(seed: int) -> Fit:
    """A FoMo that learns its cells by heart."""
    plan = FoMoPlan(
        steps=STEPS["fomo"], batch=8, warmup=20, weight_decay=0.0, masks=(0.0, 0.0, 1.0, 0.0), users_keep=0.0,
        poi_keep=1.0, poi_noise=0.0, level_keep=1.0, level_noise=0.0, network_keep=1.0, seed=seed,
    )  # fmt: skip

    def fit(members: xr.Dataset, context: xr.Dataset) -> Callable[[xr.Dataset], Subject]:
        bundle, metadata = fit_fomo([read_region(members, [context], "traffic")], design=FoMoDesign(), plan=plan)
        known = replace(bundle, provenance=metadata)
        return lambda both: fomo_subject(known, both, context, "traffic")

    return fit


def fit_ahead(kind: str, seed: int) -> Fit:
    """A forecaster that learns its cells by heart."""
    plan = ForecastPlan(steps=STEPS[kind], stride=1, warmup=20, learning_rate=3e-3, seed=seed)

    def fit(members: xr.Dataset, context: xr.Dataset) -> Callable[[xr.Dataset], Subject]:
        fitted = fit_forecaster(kind, [whole(networks_of(members, ["traffic"])[0])], plan=plan)
        told = fitted.metadata | {"plan": asdict(plan), "split": (1.0, 0.0)}
        return lambda both: forecaster_subject(replace(fitted, metadata=told), both, "traffic")

    return fit


def fit_of(kind: str, seed: int) -> Fit:
    """What fits a kind."""
    if kind == "fomo":
        return fit_blocks(seed)
    return fit_ahead(kind, seed) if kind in ("lightgbm", "lstm", "stn") else fit_weekly(kind, seed)


def auc(scores: Any, subject: Subject, first: xr.Dataset, second: xr.Dataset) -> dict[str, float]:
    """How well scores tell the cells of two files apart."""
    ids = subject.cell_id.astype(str)
    a, b = (scores[np.isin(ids, part["cell_id"].values.astype(str))] for part in (first, second))
    found = auc_of(a, b)
    return {"auc": found.value, "p": found.p}


def one_seed(data: Path, kind: str, seed: int, shadows: int) -> dict[str, Any]:
    """Everything that is counted of one kind and seed."""
    traffic, context = read_uomo(data / "traffic" / "uomo_nc.npz")
    traffic = traffic[["traffic"]]
    live = np.flatnonzero(traffic["traffic"].values.reshape(traffic.sizes["cell"], -1).max(axis=1) > 0)
    chosen = np.random.default_rng((seed, 2027)).permutation(live)[: 3 * SIDE].reshape(3, SIDE)
    members, others, strangers = (traffic.isel(cell=np.sort(part)) for part in chosen)
    began = time.process_time()
    subject_of = fit_of(kind, seed)(members, context)

    def joined(a: xr.Dataset, b: xr.Dataset) -> Subject:
        return subject_of(xr.concat([a, b], "cell", combine_attrs="override"))

    subject = joined(members, others)
    own = subject.scores(seed)
    row: dict[str, Any] = {"members": auc(own, subject, members, others)}
    unseen = joined(others, strangers)
    row["strangers"] = auc(unseen.scores(seed), unseen, others, strangers)
    if shadows:
        with tempfile.TemporaryDirectory() as folder:
            inside, scores = shadow_scores(subject, shadows=shadows, steps=STEPS[kind], folder=Path(folder), seed=seed)
        row["lira"] = auc(likelihood_ratio(own, scores, inside), subject, members, others)
        row["shadows"] = asdict(shadow_power(scores, inside))
    return row | {"seconds": time.process_time() - began}


def table(done: dict[str, Any]) -> str:
    """The Markdown table."""
    lines = ["| model | members found by its loss | mean AUC | strangers accused | LiRA: mean AUC |", "|---" * 5 + "|"]
    for kind in dict.fromkeys(key.split("|")[0] for key in done):
        rows = [row for key, row in done.items() if key.split("|")[0] == kind]
        found, accused = (sum(row[part]["p"] <= LEVEL for row in rows) for part in ("members", "strangers"))
        lira = [row["lira"]["auc"] for row in rows if "lira" in row]
        lines.append(
            f"| {kind} | {found} of {len(rows)} | {np.mean([row['members']['auc'] for row in rows]):.2f} | "
            f"{accused} of {len(rows)} | {f'{np.mean(lira):.2f} ({len(lira)})' if lira else ''} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder of real data")
    parser.add_argument("-o", "--out", type=Path, required=True, help="JSON of finished rows")
    parser.add_argument("--kinds", nargs="+", choices=list(STEPS), default=list(STEPS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--shadows", type=int, default=0, help="shadow models for LiRA, 16 or more")
    args = parser.parse_args()
    torch.set_num_threads(1)
    done: dict[str, Any] = json.loads(args.out.read_text()) if args.out.exists() else {}
    for seed in range(args.seeds):
        for kind in args.kinds:
            key = f"{kind}|{seed}"
            if key not in done or (args.shadows and "lira" not in done[key]):
                done[key] = one_seed(args.data, kind, seed, args.shadows)
                args.out.write_text(json.dumps(done))
                print(key, done[key], flush=True)
    print(table(done))


if __name__ == "__main__":
    main()
