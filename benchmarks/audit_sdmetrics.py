"""SDMetrics' privacy metrics beside `gentraffic audit` on the same inputs.

SDMetrics asks for an older pandas than this project, so it lives in an environment of its own:

    python -m venv /tmp/sdmetrics && /tmp/sdmetrics/bin/pip install sdmetrics pyarrow
    python benchmarks/audit_sdmetrics.py --data ../shared/data --python /tmp/sdmetrics/bin/python

Inputs: training, hold-out and synthetic cells of gentraffic.privacy.audit.population, two days or 48 hourly columns
(SDMetrics compares pairs column by column in pandas: 40 rows of 168 columns take it 13 s); copies are planted
at 5% and at 20%, and both judge the same tables, which go over as Parquet; this file then runs itself in the other
environment. DCRBaselineProtection and DCROverfittingProtection (distances to the closest record), and NewRowSynthesis
(exact rows) are scores from 0 to 1, 1 being best; they come without intervals or thresholds. SDMetrics'
DisclosureProtection is about guessing one column from others, which series have no use for.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

SHARES = (0.05, 0.2)
HOURS = 48
SCORES = ("DCRBaselineProtection", "DCROverfittingProtection", "NewRowSynthesis")


def score(folder: Path) -> None:
    """In SDMetrics' environment: print its scores of every case in the folder as JSON."""
    from sdmetrics.single_table import DCRBaselineProtection, DCROverfittingProtection, NewRowSynthesis

    scores = {}
    for case in sorted(folder.iterdir()):
        train, holdout, drawn = (pd.read_parquet(case / f"{name}.parquet") for name in ("train", "holdout", "drawn"))
        columns = {name: {"sdtype": "numerical"} for name in train.columns}
        meta = {"tables": {"t": {"columns": columns}}}
        scores[case.name] = {
            SCORES[0]: DCRBaselineProtection.compute_breakdown(train, drawn, meta, "t")["score"],
            SCORES[1]: DCROverfittingProtection.compute_breakdown(train, drawn, holdout, meta, "t")["score"],
            SCORES[2]: NewRowSynthesis.compute_breakdown(train, drawn, meta, "t")["score"],
        }
    print(json.dumps(scores))


def main() -> None:
    """Write the cases, audit them, have SDMetrics score them, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="the folder of real data")
    parser.add_argument("--python", type=Path, help="the interpreter that has sdmetrics")
    parser.add_argument("--score", type=Path, help="(used by itself) score the cases of this folder")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--cells", type=int, default=100)
    parser.add_argument("--quick", action="store_true", help="one seed of 40 cells")
    args = parser.parse_args()
    if args.score is not None:
        score(args.score)
        return
    if args.data is None or args.python is None:
        parser.error("--data and --python are needed")
    from gentraffic.privacy.audit.disguises import planted
    from gentraffic.privacy.audit.population import draw_cells, read_networks, records_of
    from gentraffic.privacy.audit.records import Material
    from gentraffic.privacy.audit.run import conclude

    seeds, cells = (1, 40) if args.quick else (args.seeds, args.cells)
    networks = read_networks(args.data)
    leaks: dict[str, list[bool]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(seeds):
            rng = np.random.default_rng((20, seed))
            train, holdout, drawn = (draw_cells(networks, cells, rng)[:, :HOURS] for _ in range(3))
            cases = {"nothing seen": drawn}
            for share in SHARES:
                n = round(share * cells)
                for kind in ("exact", "shifted", "rescaled", "all three"):
                    copies = planted(train[rng.choice(cells, n, replace=False)], kind, rng)
                    cases[f"{kind}, {share:.0%}"] = np.concatenate([copies, drawn[n:]])
            scale = float(np.median(np.concatenate([train, holdout]).mean(axis=1)))
            for name, values in cases.items():
                records = [records_of(part, scale) for part in (train, holdout, values)]
                material = Material(*records, "traffic", "1", 3600, scale, {}, ())
                leaks.setdefault(name, []).append(conclude(material, (), {}, seed, plants=0).leak)
                place = Path(folder, f"{name}|{seed}")
                place.mkdir()
                for part, table in (("train", train), ("holdout", holdout), ("drawn", values)):
                    columns = [f"h{hour:03d}" for hour in range(table.shape[1])]
                    pd.DataFrame(table, columns=columns).to_parquet(place / f"{part}.parquet")
        clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        done = subprocess.run(
            [str(args.python), "-W", "ignore", __file__, "--score", folder],
            env=clean,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
    scores = json.loads(done.stdout.splitlines()[-1])
    print(f"{seeds} seeds; {cells} training, hold-out and synthetic cells each, {HOURS} hours;")
    print("mean (least to largest) over seeds.\n")
    print("| synthetic | audit: leak found | " + " | ".join(SCORES) + " |\n|---|---|" + "---|" * len(SCORES))
    for name, found in leaks.items():
        texts = []
        for metric in SCORES:
            values = [scores[f"{name}|{seed}"][metric] for seed in range(seeds)]
            texts.append(f"{np.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})")
        print(f"| {name} | {sum(found)} of {len(found)} | " + " | ".join(texts) + " |")


if __name__ == "__main__":
    sys.exit(main())
