"""How often does `gentraffic audit` accuse the innocent, and how often does it find planted copies?

    python benchmarks/audit_calibration.py --data ../shared/data -o all.json           # 200 seeds: 5 minutes of a core
    python benchmarks/audit_calibration.py --data ../shared/data -o all.json --quick   # 4 seeds: does it run?

Every seed draws training, hold-out and synthetic cells anew from the population of audit_population.py. What has seen
nothing is a generator that draws from the same population (as many records as there are training cells), a poor one
that knows only the mean shape of other cells (100 records), and, apart from that population, real stations of Beijing
against other real ones, in random thirds: neighbours share what happened, so they are harder to tell from copies than
anything that was drawn. Then 0.5% and 1% of the first one's records (of the real stations: 1 and 3 of 256) are replaced
by copies of training cells: exact; times 5% lognormal noise an hour (noisy; 10%: noisier, beyond what is promised);
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
from audit_population import (
    KINDS,
    Network,
    Series,
    draw_case,
    draw_cells,
    draw_stations,
    mean_shapes,
    planted,
    read_networks,
)
from scipy.stats import beta

from gentraffic.privacy.audit import copy_search as audit_copies
from gentraffic.privacy.audit.records import Material, Records, common_log
from gentraffic.privacy.audit.run import judge_all

SHARES = (0.005, 0.01)
STATIONS = (1, 3)  # copies among 256 real stations
INNOCENT = ("same population", "mean shapes", "other real stations")
POOR = 100  # records of the poor generator


def as_records(values: Series, scale: float) -> Records:
    """One record a cell."""
    n = len(values)
    zero = np.zeros(n, dtype=np.intp)
    return Records(values, common_log(values, scale), np.arange(n), np.arange(n).astype(str), zero, zero)


class Case:
    """Training and hold-out cells, and what the copy search needs of them."""

    def __init__(self, train: Series, holdout: Series) -> None:
        self.scale = float(np.median(np.concatenate([train, holdout]).mean(axis=1)))
        self.train, self.holdout = as_records(train, self.scale), as_records(holdout, self.scale)
        self.spread = audit_copies.usual_spread(self.train, self.holdout)
        self.spectra = [audit_copies.spectra(part, self.spread) for part in (self.train, self.holdout)]

    def match(self, synthetic: Series) -> list[audit_copies.Match]:
        """The most alike training and hold-out cell of every record."""
        drawn = audit_copies.spectra(as_records(synthetic, self.scale), self.spread)
        return [audit_copies.best_match(drawn, part, synthetic.shape[1]) for part in self.spectra]

    def judge(self, synthetic: Series, seed: int) -> tuple[dict[str, Any], list[audit_copies.Match], float]:
        """The whole audit but for the model: (what is counted, the matches, the level of the copy search)."""
        both = self.match(synthetic)
        drawn = as_records(synthetic, self.scale)
        material = Material(self.train, self.holdout, drawn, "traffic", "1", 3600, self.scale, {}, ())
        found = judge_all(material, both[0], both[1], seed=seed)
        return {"leak": found.leak, "p": found.tests, "drift": found.drift}, both, found.search.level

    def plant(
        self, innocent: Series, matches: list[audit_copies.Match], level: float, n: int, rng: np.random.Generator
    ) -> dict[str, Any]:
        """The copy search after the first n innocent records became copies: kind -> found, share named rightly."""
        told = {}
        for kind in KINDS:
            chosen = rng.choice(self.train.cells, n, replace=False)
            copies = planted(self.train.values[chosen], kind, rng)
            synthetic = as_records(np.concatenate([copies, innocent[n:]]), self.scale)
            both = [_joined(new, old, n) for new, old in zip(self.match(copies), matches, strict=True)]
            found = audit_copies.search(self.train, self.holdout, synthetic, both[0], both[1], level)
            named = sum(copy.row < n and copy.train_row == chosen[copy.row] for copy in found.copies)
            told[kind] = {"found": found.p <= level, "named": named / n}
        return told


def _joined(new: audit_copies.Match, old: audit_copies.Match, n: int) -> audit_copies.Match:
    """`old` with its first n rows replaced."""
    names = ("likeness", "record", "shift")
    return audit_copies.Match(*(np.concatenate([getattr(new, name), getattr(old, name)[n:]]) for name in names))


def one_seed(networks: list[Network], seed: int, cells: int) -> dict[str, Any]:
    """Everything that is counted of one seed."""
    train, holdout, drawn, rng = draw_case(networks, seed, cells)
    case = Case(train, holdout)
    row: dict[str, Any] = {"planted": {}}
    row["same population"], matches, level = case.judge(drawn, seed)
    row["mean shapes"] = case.judge(mean_shapes(draw_cells(networks, POOR, rng), rng), seed)[0]
    for share in SHARES:
        told = case.plant(drawn, matches, level, round(share * cells), rng)
        row["planted"][f"{share:.1%} of {cells}"] = told
    train, holdout, drawn, rng = draw_stations(networks[0], seed)
    case = Case(train, holdout)
    row["other real stations"], matches, level = case.judge(drawn, seed)
    for n in STATIONS:
        row["planted"][f"{n} of {len(drawn)} real stations"] = case.plant(drawn, matches, level, n, rng)
    return row


def table(rows: list[dict[str, Any]], cells: int) -> str:
    """The Markdown tables."""
    lines = [
        f"{len(rows)} seeds. {cells} training, {cells} hold-out cells, {cells} synthetic records ({POOR} of mean "
        "shapes); other real stations: 256 each. 168 hours.",
        "",
        "| what has seen nothing | false alarms | 95% interval |",
        "|---|---|---|",
    ]
    alarms = {kind: sum(row[kind]["leak"] for row in rows) for kind in INNOCENT}
    for kind, count in alarms.items():
        lines.append(f"| {kind} | {_part(count, len(rows))} | {_interval(count, len(rows))} |")
    lines.append(f"| all | {_part(sum(alarms.values()), len(INNOCENT) * len(rows))} | |")
    lines += ["", "| share of p <= 0.05 | " + " | ".join(INNOCENT) + " |", "|---|" + "---|" * len(INNOCENT)]
    for name in rows[0][INNOCENT[0]]["p"]:
        shares = [np.mean([row[kind]["p"][name] <= 0.05 for row in rows]) for kind in INNOCENT]
        lines.append(f"| {name} | " + " | ".join(f"{share:.1%}" for share in shares) + " |")
    columns = list(rows[0]["planted"])
    lines += ["", "| copies: found / named | " + " | ".join(columns) + " |", "|---|" + "---|" * len(columns)]
    for kind in KINDS:
        texts = []
        for column in columns:
            part = [row["planted"][column][kind] for row in rows]
            texts.append(f"{np.mean([p['found'] for p in part]):.1%} / {np.mean([p['named'] for p in part]):.1%}")
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
    parser.add_argument("--cells", type=int, default=600, help="of training and of hold-out, and synthetic records")
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
