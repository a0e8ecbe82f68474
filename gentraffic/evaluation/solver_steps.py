"""Quality against solver steps: the rows of benchmarks/steps.py and their table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gentraffic.errors import BadInput
from gentraffic.evaluation.intervals import bootstrap_interval
from gentraffic.io.guard import text_of

POOLED = ("jsd_hist", "acf_error", "diversity")


def read_steps(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Finished rows of benchmarks/steps.py: row -> one score per fold. Raises BadInput for another file."""
    try:
        done = json.loads(text_of(path))
        out: dict[str, list[dict[str, Any]]] = {}
        for key, value in done.items():
            row, _, _ = key.rpartition("|")
            next(iter(value.values()))["diversity"]
            out.setdefault(row, []).append(value)
        return out
    except (OSError, ValueError, AttributeError, TypeError, KeyError, StopIteration) as error:
        raise BadInput(f"{path}: not the rows of benchmarks/steps.py ({error})") from error


def steps_table(rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Markdown: per row and network the mean over held-out cells of all folds, 95% intervals by location."""
    lines = [
        "| row | network | crps | crps_shape | coverage_90 | " + " | ".join(POOLED) + " |",
        "|---|---|---|---|---|" + "---|" * len(POOLED),
    ]
    for row, folds in rows.items():
        for network in folds[0]:
            scored = [fold[network] for fold in folds if network in fold]
            place = np.concatenate([np.array(f["location"]) for f in scored])
            texts = []
            for metric in ("crps", "crps_shape"):
                values = np.concatenate([np.array(f[metric]) for f in scored])
                low, high = bootstrap_interval(values, place)
                texts.append(f"{values.mean():.4f} ({low:.4f}-{high:.4f})")
            covered = [c for f in scored for c in f.get("coverage_90", [])]  # files of before have none
            texts.append(f"{np.mean(covered):.2f}" if covered else "-")
            texts += [f"{np.mean([f[metric] for f in scored]):.3f}" for metric in POOLED]
            lines.append(f"| {row} | {network} | " + " | ".join(texts) + " |")
    return "\n".join(lines)
