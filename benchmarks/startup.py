"""What a command spends before it draws: imports by cost, and the ratios of issue 26 to what three libraries take.

    python benchmarks/startup.py [--repeat 7] [--top 40]

Prints the tree of imports of `gentraffic sample --city milan` (python -X importtime, milliseconds with what each module
imports), then, medians of interleaved runs in seconds of wall time:

    libraries     python -c "import torch, xarray, pandas"
    sample        `sample --city milan -o m.nc` without drawing and writing; at most 1.2 times the libraries
    dry run       the same with --dry-run; at most 0.6 times the libraries

Each ratio is the median of the ratios of runs that follow each other, so that a busy machine slows both alike.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
LIBRARIES = ("-c", "import torch, xarray, pandas")
SAMPLE = ("-m", "gentraffic", "sample", "--city", "milan")
LIMITS = {"sample": 1.2, "dry run": 0.6}
LINE = re.compile(r"import time:\s+(\d+) \|\s+(\d+) \|( *)(\S+)")


@dataclass
class Import:
    """A module: own and total time of its import in microseconds, and what it imported first."""

    name: str
    own: int
    total: int
    children: list[Import] = field(default_factory=list)


def parse(text: str) -> list[Import]:
    """The trees of what `python -X importtime` prints, which names a module after those that it imported."""
    waiting: list[tuple[int, Import]] = []  # depth, module; a module takes those below it that are deeper
    for line in text.splitlines():
        if match := LINE.match(line):
            depth, module = len(match[3]) // 2, Import(match[4], int(match[1]), int(match[2]))
            while waiting and waiting[-1][0] > depth:
                module.children.insert(0, waiting.pop()[1])
            waiting.append((depth, module))
    return [module for _, module in waiting]


def lines(trees: list[Import], top: int, share: float = 0.25, depth: int = 0) -> Iterator[str]:
    """The costliest modules of each level, `top` on the first, with those inside that take a fair share of them."""
    for module in sorted(trees, key=lambda m: -m.total)[:top]:
        yield f"{module.total / 1e3:9.1f} {module.own / 1e3:9.1f}  {'  ' * depth}{module.name}"
        inside = [child for child in module.children if child.total > share * module.total]
        if depth < 3:
            yield from lines(inside, top, share, depth + 1)


def run(*arguments: str) -> tuple[float, subprocess.CompletedProcess[str]]:
    """Wall seconds of a Python process, and what it said."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=True, cwd=ROOT, env={**os.environ}
    )
    return time.perf_counter() - began, done


def sample_s(out: Path) -> float:
    """Seconds that a sample takes beside drawing and writing."""
    wall, done = run(*SAMPLE, "-o", str(out), "--json")
    seconds = json.loads(done.stdout)["seconds"]
    return wall - float(seconds["sample"]) - float(seconds["write"])


def main() -> None:
    """Print the tree and the ratios; exit code 1 where a ratio is above its limit."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--top", type=int, default=40)
    args = parser.parse_args()
    took: dict[str, list[float]] = {"libraries": [], "sample": [], "dry run": []}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "m.nc"
        _, done = run("-X", "importtime", *SAMPLE, "-o", str(out))
        print("ms with children, own ms, module")
        print("\n".join(lines(parse(done.stderr), args.top)))
        for _ in range(args.repeat):
            took["libraries"].append(run(*LIBRARIES)[0])
            took["sample"].append(sample_s(out))
            took["dry run"].append(run(*SAMPLE, "-o", str(out), "--dry-run")[0])
    missed = False
    for name, seconds in took.items():
        ratios = [one / base for one, base in zip(seconds, took["libraries"], strict=True)]
        limit = LIMITS.get(name)
        told = "" if limit is None else f", {statistics.median(ratios):.2f} times the libraries (at most {limit})"
        print(f"{name:10} {statistics.median(seconds):6.2f} s{told}")
        missed = missed or (limit is not None and statistics.median(ratios) > limit)
    sys.exit(int(missed))


if __name__ == "__main__":
    main()
