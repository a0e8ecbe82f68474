"""How often does `gentraffic audit` accuse the innocent, and how often does it find planted copies?

    python benchmarks/audit_calibration.py --data ../shared/data -o all.json           # 200 seeds: 13 minutes of a core
    python benchmarks/audit_calibration.py --data ../shared/data -o all.json --quick   # 4 seeds: does it run?

Every seed draws training, hold-out and synthetic cells anew from the population of audit_population.py. The innocent
are a generator that draws from the same population (as many records as there are training cells) and a poor one that
knows only the mean shape of other cells (300 records). Then 0.5% and 1% of the first one's records are replaced by
copies of training cells: exact; times 5% lognormal noise an hour (noisy; 10%: noisier, beyond what is promised);
shifted by 1 to 167 hours; rescaled by 0.2 to 5; shifted, rescaled and noisy. A false alarm is a verdict that found a
leak. Of planted copies only the copy search is judged, at the level that it has in the verdict (the verdict finds what
it finds, and more); "named" is the share of planted copies that it lists with the right training cell. Written seed by
seed: run the same command again to go on.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from audit_population import KINDS, Series, draw_case, draw_cells, mean_shapes, planted, read_networks
from scipy.stats import beta

from gentraffic import audit_copies
from gentraffic.audit import Audit, judge_all
from gentraffic.audit_records import Material, Records, common_log

SHARES = (0.005, 0.01)
POOR = 300  # records of the poor generator


def as_records(values: Series, scale: float) -> Records:
    """One record a cell."""
    n = len(values)
    zero = np.zeros(n, dtype=np.intp)
    return Records(values, common_log(values, scale), np.arange(n), np.arange(n).astype(str), zero, zero)


def one_seed(networks: Any, seed: int, cells: int) -> dict[str, Any]:
    """Everything that is counted of one seed."""
    train_v, holdout_v, drawn_v, rng = draw_case(networks, seed, cells)
    poor_v = mean_shapes(draw_cells(networks, POOR, rng), rng)
    scale = float(np.median(np.concatenate([train_v, holdout_v]).mean(axis=1)))
    train, holdout = as_records(train_v, scale), as_records(holdout_v, scale)
    spread = audit_copies.usual_spread(train, holdout)
    real = [audit_copies.spectra(part, spread) for part in (train, holdout)]
    steps = train_v.shape[1]
    row: dict[str, Any] = {"planted": {}}

    def match(records: Records) -> list[audit_copies.Match]:
        drawn = audit_copies.spectra(records, spread)
        return [audit_copies.best_match(drawn, part, steps) for part in real]

    def told(found: Audit) -> dict[str, Any]:
        return {"leak": found.leak, "p": found.tests, "drift": found.drift}

    for name, values in (("same population", drawn_v), ("mean shapes", poor_v)):
        synthetic = as_records(values, scale)
        both = match(synthetic)
        material = Material(train, holdout, synthetic, "traffic", "1", 3600, scale, {}, ())
        found = judge_all(material, *both, seed=seed)
        row[name] = told(found)
        if name == "same population":
            innocent, level = both, found.search.level
    for share in SHARES:
        n = round(share * cells)
        for kind in KINDS:
            chosen = rng.choice(cells, n, replace=False)
            values = drawn_v.copy()
            values[:n] = planted(train_v[chosen], kind, rng)
            synthetic = as_records(values, scale)
            fresh = match(synthetic.rows(np.arange(n)))
            both = [
                audit_copies.Match(*(np.concatenate([a, b[n:]]) for a, b in zip(vars(new).values(), vars(old).values(),
                                                                               strict=True)))
                for new, old in zip(fresh, innocent, strict=True)
            ]  # fmt: skip
            found = audit_copies.search(train, holdout, synthetic, *both, level)
            named = sum(copy.row < n and copy.train_row == chosen[copy.row] for copy in found.copies)
            row["planted"][f"{share:g}|{kind}"] = {"found": found.p <= level, "named": named / n}
    return row


def table(rows: list[dict[str, Any]], cells: int) -> str:
    """The Markdown tables."""
    lines = [
        f"{len(rows)} seeds; {cells} training, {cells} hold-out cells, {cells} synthetic records ({POOR} of the poor "
        "generator), 168 hours.",
        "",
        "| generator that has seen nothing | false alarms | 95% interval |",
        "|---|---|---|",
    ]
    total = 0
    kinds = ("same population", "mean shapes")
    for kind in kinds:
        alarms = sum(row[kind]["leak"] for row in rows)
        total += alarms
        lines.append(f"| {kind} | {_part(alarms, len(rows))} | {_interval(alarms, len(rows))} |")
    n = 2 * len(rows)
    lines.append(f"| both | {_part(total, n)} | |")
    names = list(rows[0][kinds[0]]["p"])
    lines += ["", "| test | share of p <= 0.05, same population | mean shapes |", "|---|---|---|"]
    for name in names:
        shares = [np.mean([row[kind]["p"][name] <= 0.05 for row in rows]) for kind in kinds]
        lines.append(f"| {name} | " + " | ".join(f"{share:.1%}" for share in shares) + " |")
    lines += ["", "| planted copies | " + " | ".join(f"{share:.1%} found | named" for share in SHARES) + " |"]
    lines.append("|---|" + "---|---|" * len(SHARES))
    for kind in KINDS:
        texts = []
        for share in SHARES:
            part = [row["planted"][f"{share:g}|{kind}"] for row in rows]
            texts.append(f"{np.mean([p['found'] for p in part]):.1%} | {np.mean([p['named'] for p in part]):.1%}")
        lines.append(f"| {kind} | " + " | ".join(texts) + " |")
    return "\n".join(lines)


def _part(found: int, of: int) -> str:
    return f"{found} of {of} ({found / of:.1%})"


def _interval(found: int, of: int) -> str:
    low = 0.0 if found == 0 else float(beta.ppf(0.025, found, of - found + 1))
    high = 1.0 if found == of else float(beta.ppf(0.975, found + 1, of - found))
    return f"{low:.1%} to {high:.1%}"


def main() -> None:
    """Run the seeds that are missing and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder of real data")
    parser.add_argument("-o", "--out", type=Path, required=True, help="JSON of finished seeds")
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--cells", type=int, default=1000, help="of training and of hold-out, and synthetic records")
    parser.add_argument("--quick", action="store_true", help="4 seeds of 200 cells: does it run?")
    args = parser.parse_args()
    seeds, cells = (4, 200) if args.quick else (args.seeds, args.cells)
    done: dict[str, Any] = json.loads(args.out.read_text()) if args.out.exists() else {"cells": cells, "seeds": {}}
    if done["cells"] != cells:
        parser.error(f"{args.out} holds runs of {done['cells']} cells: give another -o")
    networks = read_networks(args.data)
    for seed in range(seeds):
        if str(seed) not in done["seeds"]:
            done["seeds"][str(seed)] = one_seed(networks, seed, cells)
            args.out.write_text(json.dumps(done))
    print(table([done["seeds"][str(seed)] for seed in range(seeds)], cells))


if __name__ == "__main__":
    main()
