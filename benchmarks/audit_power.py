"""What `gentraffic audit` finds and whom it accuses, at several ratios of training to hold-out.

    python benchmarks/audit_power.py --data ../shared/data -o power.json                   # 100 seeds, four ratios
    python benchmarks/audit_power.py --data ../shared/data -o files.json --files           # through the command line
    python benchmarks/audit_power.py --data ../shared/data -o power.json --seeds 2 --ratios 4

Every seed splits real cells anew. "stations": 512 of Beijing's 768 stations as they are are training and hold-out, the
other 256 stand for what a generator draws that has seen neither; neighbours share what happened, so they are harder to
tell from copies than anything that was drawn. "toy": 600 real and 360 drawn cells of the population of
`gentraffic.privacy.audit.population`. "mean shapes": 100 records of a poor generator that knows the mean shape of other
cells of the toy population.

A false alarm is a verdict that found a leak where nothing was copied. Then copies are planted: one exact copy; two of
seven days of training cells pasted into a quarter of the records; and 10 copies of every kind of
`gentraffic.privacy.audit.disguises`, each as if it were alone, of which the share is counted that a search names. With
--files every case is written to files and judged by `gentraffic audit --json`: nothing copied, and one exact copy.
Written seed by seed: run the same command again to go on.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import beta

from gentraffic.privacy.audit.copy_search import Match
from gentraffic.privacy.audit.disguises import KINDS, planted
from gentraffic.privacy.audit.population import Network, Series, draw_cells, mean_shapes, read_networks, records_of
from gentraffic.privacy.audit.records import Material
from gentraffic.privacy.audit.run import judge_all
from gentraffic.privacy.audit.searches import Likeness, Searches, stretched, tail_of

POPULATIONS = ("stations", "toy")
SIZES = {"stations": (512, 256), "toy": (600, 360)}  # real and synthetic records
POOR = 100  # records of the poor generator
SINGLES = 10  # copies of every kind and seed
DAY = 24
VERDICTS = ("nothing copied", "mean shapes", "one exact copy", "two days in a quarter")


def draw(networks: list[Network], population: str, ratio: int, seed: int) -> tuple[Series, Series, Series, Any]:
    """Training, hold-out and synthetic series (cells, 168) of one seed; the stream goes on."""
    rng = np.random.default_rng((POPULATIONS.index(population), ratio, seed, 2026))
    real, drawn = SIZES[population]
    if population == "stations":
        first = networks[0]
        pool = (first.ratio.reshape(-1, 168) * first.level[:, None]).astype(np.float32)
        pool = pool[rng.permutation(len(pool))[: real + drawn]]
    else:
        pool = draw_cells(networks, real + drawn, rng)
    aside = round(real / (ratio + 1))
    return pool[: real - aside], pool[real - aside : real], pool[real:], rng


def joined(new: Likeness, old: Likeness, rows: Any) -> Likeness:
    """`old` with some of its records replaced by those of `new`."""
    both = []
    for side in ("match", "match_holdout"):
        kept = Match(*(getattr(getattr(old, side), name).copy() for name in ("likeness", "record", "shift")))
        for name in ("likeness", "record", "shift"):
            getattr(kept, name)[rows] = getattr(getattr(new, side), name)
        both.append(kept)
    return replace(old, match=both[0], match_holdout=both[1])


def one_seed(
    networks: list[Network], population: str, ratio: int, seed: int, *, singles: bool = True
) -> dict[str, Any]:
    """Everything that is counted of one seed. singles: copies of every kind, one by one, too."""
    train, holdout, drawn, rng = draw(networks, population, ratio, seed)
    scale = float(np.median(np.concatenate([train, holdout]).mean(axis=1)))
    known, unseen, synthetic = (records_of(part, scale) for part in (train, holdout, drawn))
    searches = Searches(known, unseen, synthetic, DAY, seed)
    innocent = searches.likeness(synthetic)

    def verdict(series: Series, likeness: dict[str, Likeness]) -> Any:
        of = Material(known, unseen, records_of(series, scale), "traffic", "1", 3600, scale, {}, ())
        return judge_all(of, likeness, seed=seed)

    def with_planted(kind: str, rows: Any) -> tuple[Any, Any]:
        chosen = rng.choice(len(train), len(rows), replace=len(rows) > len(train))
        series = drawn.copy()
        series[rows] = planted(train[chosen], kind, rng, day=DAY, base=drawn[rows])
        fresh = searches.likeness(records_of(series[rows], scale))
        return verdict(series, {k: joined(fresh[k], innocent[k], rows) for k in innocent}), chosen

    found = verdict(drawn, innocent)
    row: dict[str, Any] = {"nothing copied": found.leak, "p": found.tests}
    if population == "toy":
        poor = mean_shapes(draw_cells(networks, POOR, rng), rng)
        own = Searches(known, unseen, records_of(poor, scale), DAY, seed)
        row["mean shapes"] = verdict(poor, own.likeness(records_of(poor, scale))).leak
    at = rng.choice(len(drawn), 1)
    copied, chosen = with_planted("exact", at)
    row["one exact copy"] = copied.leak
    row["named"] = any(c.row == at[0] and c.train_row == chosen[0] for c in copied.search.copies)
    row["two days in a quarter"] = with_planted("two days", rng.permutation(len(drawn))[: len(drawn) // 4])[0].leak
    if not singles:
        return row
    tails = {name: tail_of(part) for name, part in innocent.items()}
    row["single"] = {}
    for kind in KINDS:
        chosen = rng.choice(len(train), SINGLES, replace=False)
        base = drawn[rng.choice(len(drawn), SINGLES, replace=False)]
        matches = searches.match(planted(train[chosen], kind, rng, day=DAY, base=base), "train")
        least = np.min([tails[k].expected(stretched(m.likeness), len(drawn)) for k, m in matches.items()], axis=0)
        row["single"][kind] = float((least <= found.search.level).mean())
    return row


def through_files(networks: list[Network], data: Path, population: str, ratio: int, seed: int) -> dict[str, Any]:
    """The verdicts of the command line on files: nothing copied, and one exact copy."""
    from gentraffic.cli.main import run
    from gentraffic.io.files import write_traffic
    from gentraffic.io.importers.public_sets import read_beijing

    template = read_beijing(data / "traffic" / "beijing_stations_168h.npz")
    service = str(next(iter(template.data_vars)))
    train, holdout, drawn, rng = draw(networks, population, ratio, seed)
    copied = drawn.copy()
    row = rng.integers(len(drawn))
    copied[row] = train[rng.integers(len(train))]
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        parts = {"train": train, "holdout": holdout, "nothing copied": drawn, "one exact copy": copied}
        for number, (name, series) in enumerate(parts.items()):
            ids = np.array([f"{name}{k}" for k in range(len(series))], dtype=object)
            ds = template.isel(cell=np.arange(len(series)), time=slice(168)).copy(deep=True)
            ds[service].values[:] = series
            write_traffic(ds.assign_coords(cell_id=("cell", ids)), Path(folder, f"{number}.nc"))
        for number, name in ((2, "nothing copied"), (3, "one exact copy")):
            words = ["audit", "--train", f"{folder}/0.nc", "--holdout", f"{folder}/1.nc"]
            words += ["--synthetic", f"{folder}/{number}.nc", "--json", "--plants", "0", "--seed", str(seed)]
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                code = run(words)
            if code:
                raise SystemExit(f"gentraffic audit ended with {code}")
            figures[name] = json.loads(out.getvalue())["leak_found"]
    return figures


def table(done: dict[str, Any]) -> str:
    """The Markdown tables."""
    keys = list(done)
    columns = [f"{k.split('|')[0]} {k.split('|')[1]}:1" for k in keys]
    rows = {key: list(done[key].values()) for key in keys}
    lines = ["| verdict: leak found | " + " | ".join(columns) + " |", "|---|" + "---|" * len(columns)]
    for name in VERDICTS:
        texts = []
        for key in keys:
            leaks = [row[name] for row in rows[key] if name in row]
            texts.append(f"{sum(leaks)} of {len(leaks)} [{_interval(sum(leaks), len(leaks))}]" if leaks else "")
        lines.append(f"| {name} | " + " | ".join(texts) + " |")
    if all("p" in row for key in keys for row in rows[key]):
        lines += ["", "| one copy alone, found by a search | " + " | ".join(columns) + " |"]
        lines.append("|---|" + "---|" * len(columns))
        for kind in KINDS:
            shares = [np.mean([row["single"][kind] for row in rows[key] if "single" in row]) for key in keys]
            lines.append(f"| {kind} | " + " | ".join(f"{share:.0%}" for share in shares) + " |")
        lines += ["", "| nothing copied: p <= 0.05 | " + " | ".join(columns) + " |", "|---|" + "---|" * len(columns)]
        for name in rows[keys[0]][0]["p"]:
            shares = [np.mean([row["p"][name] <= 0.05 for row in rows[key]]) for key in keys]
            lines.append(f"| {name} | " + " | ".join(f"{share:.1%}" for share in shares) + " |")
    return "\n".join(lines)


def _interval(found: int, of: int) -> str:
    low = 0.0 if found == 0 else float(beta.ppf(0.025, found, of - found + 1))
    high = 1.0 if found == of else float(beta.ppf(0.975, found + 1, of - found))
    return f"{low:.1%} to {high:.1%}"


def main() -> None:
    """Run the seeds that are missing and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder of real data")
    parser.add_argument("-o", "--out", type=Path, required=True, help="JSON of finished seeds")
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--singles", type=int, default=40, help="in how many of them copies of every kind are tried")
    parser.add_argument("--ratios", type=int, nargs="+", default=[1, 2, 4, 9], help="training cells per hold-out cell")
    parser.add_argument("--populations", nargs="+", choices=POPULATIONS, default=list(POPULATIONS))
    parser.add_argument("--files", action="store_true", help="through files and the command line")
    args = parser.parse_args()
    done: dict[str, dict[str, Any]] = json.loads(args.out.read_text()) if args.out.exists() else {}
    networks = read_networks(args.data)
    for seed in range(args.seeds):
        for population in args.populations:
            for ratio in args.ratios:
                part = done.setdefault(f"{population}|{ratio}", {})
                if str(seed) not in part:
                    case = (population, ratio, seed)
                    part[str(seed)] = (
                        through_files(networks, args.data, *case)
                        if args.files
                        else one_seed(networks, *case, singles=seed < args.singles)
                    )
        args.out.write_text(json.dumps(done))
    print(table(done))


if __name__ == "__main__":
    main()
