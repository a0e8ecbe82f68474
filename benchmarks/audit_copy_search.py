"""The copy search of `gentraffic audit` alone, in half a minute: false alarms and detection over many random splits.

    python benchmarks/audit_copy_search.py --data ../shared/data
    python benchmarks/audit_copy_search.py --data ../shared/data --verdict     # false alarms of the whole verdict

audit_calibration.py judges the whole verdict, every seed from fresh cells; here only the test and the naming of the
copy search are judged (`audit_copies.tail_test` and `named_above`, at the level that they have among six tests). A pool
of cells is drawn, the likeness of all its pairs computed once, and the pool split at random into training, hold-out and
synthetic cells again and again: splits of one pool are not independent, so there are several pools. Pools: the
population of audit_population.py; Beijing's real stations as they are, of which neighbours resemble each other.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from audit_calibration import as_records
from audit_population import HOURS, KINDS, Network, Series, draw_cells, planted, read_networks
from numpy.typing import NDArray
from scipy.fft import irfft

from gentraffic.privacy.audit import copy_search as audit_copies
from gentraffic.privacy.audit.records import Material
from gentraffic.privacy.audit.run import judge_all
from gentraffic.privacy.audit.statistics import LEVEL

Floats = NDArray[np.float64]
MARKED = 60  # cells of a pool whose copies are at hand


def likeness(rows: audit_copies.Spectra, pool: audit_copies.Spectra) -> Floats:
    """The largest cross-correlation over all shifts of every row with every cell of the pool."""
    coarse, conjugate = rows.astype(np.complex64), pool.conj()[None].astype(np.complex64)
    size = max(1, audit_copies.AT_ONCE // conjugate.size)
    parts = [
        irfft(coarse[at : at + size, None] * conjugate, n=HOURS, axis=-1).max(axis=-1)
        for at in range(0, len(rows), size)
    ]
    return np.concatenate(parts).astype(np.float64)


def verdicts(cells: Series, splits: int, rng: np.random.Generator) -> dict[str, list[float]]:
    """Whether the whole verdict is a false alarm, in every split."""
    records = as_records(cells, float(np.median(cells.mean(axis=1))))
    alike_spectra = audit_copies.spectra(records, audit_copies.usual_spread(records))
    alike = likeness(alike_spectra, alike_spectra)
    told: dict[str, list[float]] = {"false alarm": []}
    for split in range(splits):
        parts = np.array_split(rng.permutation(len(cells)), 3)
        train, holdout, drawn = (as_records(cells[part], 1.0) for part in parts)
        matches = []
        for part in parts[:2]:
            rows = alike[np.ix_(parts[2], part)]
            best = rows.argmax(axis=1)
            matches.append(audit_copies.Match(rows.max(axis=1), best, np.zeros_like(best)))
        material = Material(train, holdout, drawn, "traffic", "1", 3600, 1.0, {}, ())
        found = judge_all(material, matches[0], matches[1], seed=split)
        told["false alarm"].append(float(found.leak))
        for name, p in found.tests.items():
            told.setdefault(f"{name}: p <= 0.05", []).append(float(p <= 0.05))
    return told


def one_pool(cells: Series, splits: int, counts: tuple[int, ...], rng: np.random.Generator) -> dict[str, list[float]]:
    """Name of a figure -> its value (0 or 1, or a share) in every split."""
    records = as_records(cells, float(np.median(cells.mean(axis=1))))
    spread = audit_copies.usual_spread(records)
    pool = audit_copies.spectra(records, spread)
    alike = likeness(pool, pool)
    marked = rng.choice(len(cells), MARKED, replace=False)
    copies = {}
    for kind in KINDS:
        fresh = audit_copies.spectra(as_records(planted(cells[marked], kind, rng), 1.0), spread)
        rows = likeness(fresh, pool)
        best = audit_copies.best_match(fresh, pool, HOURS)  # finer than single precision, which exact copies need
        rows[np.arange(MARKED), best.record] = best.likeness
        copies[kind] = rows
    level, told = LEVEL / 6, {}
    third = len(cells) // 3

    def tell(name: str, value: float) -> None:
        told.setdefault(name, []).append(float(value))

    for _ in range(splits):
        order = rng.permutation(len(cells))
        train, holdout, drawn = order[:third], order[third : 2 * third], order[2 * third :]
        to_train, to_holdout = (alike[np.ix_(drawn, side)].max(axis=1) for side in (train, holdout))
        p = audit_copies.tail_test(to_train, to_holdout)
        tell("false alarm", p <= level)
        tell("p <= 0.05", p <= 0.05)
        inside = np.flatnonzero(np.isin(marked, train))
        for n in counts:
            for kind, rows in copies.items():
                chosen = rng.choice(inside, n, replace=False)
                a, b = (np.concatenate([rows[np.ix_(chosen, side)].max(axis=1), old[n:]])
                        for side, old in ((train, to_train), (holdout, to_holdout)))  # fmt: skip
                found = audit_copies.tail_test(a, b) <= level
                tell(f"{kind}|{n}|found", found)
                tell(f"{kind}|{n}|named", found * (a[:n] > audit_copies.named_above(b, len(a))).mean())
    return told


def pools(networks: list[Network], cells: int, seed: int) -> tuple[Series, Series]:
    """(a pool of the population, Beijing's real stations)."""
    stations = (networks[0].ratio.reshape(-1, HOURS) * networks[0].level[:, None]).astype(np.float32)
    return draw_cells(networks, 3 * cells, np.random.default_rng((22, seed))), stations


def main() -> None:
    """Split the pools and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder of real data")
    parser.add_argument("--cells", type=int, default=600, help="of training, of hold-out, and synthetic records")
    parser.add_argument("--pools", type=int, default=4)
    parser.add_argument("--splits", type=int, default=50, help="of each pool; of the real stations as many as in all")
    parser.add_argument("--verdict", action="store_true", help="the whole verdict instead, nothing copied")
    parser.add_argument("--quick", action="store_true", help="one pool of 3 x 200 cells, 10 splits")
    args = parser.parse_args()
    cells, count, splits = (200, 1, 10) if args.quick else (args.cells, args.pools, args.splits)
    networks = read_networks(args.data)
    if args.verdict:
        both = [
            [verdicts(pools(networks, cells, k)[0], splits, np.random.default_rng((25, k))) for k in range(count)],
            [verdicts(pools(networks, 1, 0)[1], splits * count, np.random.default_rng(26))],
        ]
        print(f"{splits * count} splits; {cells} training, hold-out and synthetic cells each, 256 of real stations.\n")
        print("| whole verdict, nothing copied | population | real stations |\n|---|---|---|")
        for name in both[0][0]:
            shares = [np.mean([value for part in side for value in part[name]]) for side in both]
            print(f"| {name} | {shares[0]:.1%} | {shares[1]:.1%} |")
        return
    few = (round(0.005 * cells), round(0.01 * cells))
    every: dict[str, list[float]] = {}
    for k in range(count):
        for name, values in one_pool(pools(networks, cells, k)[0], splits, few, np.random.default_rng((23, k))).items():
            every.setdefault(name, []).extend(values)
    real = one_pool(pools(networks, 1, 0)[1], splits * count, (1, 3), np.random.default_rng(24))
    columns = [(every, n, f"{n} of {cells}") for n in few] + [(real, n, f"{n} of 256 real stations") for n in (1, 3)]
    print(f"{splits * count} splits ({count} pools of the population, one of real stations); level {LEVEL / 6:g}.\n")
    print("| nothing copied | population | real stations |\n|---|---|---|")
    for name in ("false alarm", "p <= 0.05"):
        print(f"| {name} | {np.mean(every[name]):.1%} | {np.mean(real[name]):.1%} |")
    print("\n| copies: found / named | " + " | ".join(c[2] for c in columns) + " |\n|---|" + "---|" * len(columns))
    for kind in KINDS:
        texts = [
            f"{np.mean(t[f'{kind}|{n}|found']):.1%} / {np.mean(t[f'{kind}|{n}|named']):.1%}" for t, n, _ in columns
        ]
        print(f"| {kind} | " + " | ".join(texts) + " |")


if __name__ == "__main__":
    main()
