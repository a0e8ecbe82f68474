"""Scores of a forecaster beside the naive rows, as a report and as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forecasters import NAIVE
from gentraffic.errors import BadInput
from gentraffic.forecasting.data import Part
from gentraffic.forecasting.fit import Fitted, forecasts, origins, real_of, scaled, score, ssim_window
from gentraffic.forecasting.ranges import CELLS, PURPOSE, STARTS, STEPS, ErrorPaths, coverage
from gentraffic.forecasting.registry import recipe_of

METRICS = ("mae", "rmse", "r2", "ssim")
LOWER = ("mae", "rmse")  # better when smaller


@dataclass(frozen=True)
class Scored:
    """Forecasts of some first steps, what was measured there, and their scores.

    rows: forecaster -> metric -> (services, horizon). predicted: forecaster -> (starts, cells, horizon, services), in
    the units of the traffic. real: the same shape. starts: (starts,) the first step of each forecast, counted from 0 in
    the traffic; what lies before it is known to the forecaster. Cells that carry nothing in all these steps do not
    count. part: the steps that are scored, and those that scale each cell. missing: naive row -> why it is not there.
    covered: (services, horizon) the share of real values within the 90% range of the forecaster, None where its errors
    are not known.
    """

    rows: dict[str, dict[str, NDArray[np.float64]]]
    real: NDArray[np.float32]
    predicted: dict[str, NDArray[np.float32]]
    starts: NDArray[np.int64]
    part: Part
    missing: dict[str, str] = field(default_factory=dict)
    covered: NDArray[np.float64] | None = None

    def to_json(self, services: Sequence[str], units: Sequence[str]) -> dict[str, Any]:
        """What `--json` prints of the scores: None where one is not defined."""
        live = np.asarray((self.real > 0).any(axis=(0, 2)))  # (cells, services)
        table = {
            name: {
                service: {m: [_plain(v) for v in scores[m][s]] for m in METRICS} for s, service in enumerate(services)
            }
            for name, scores in self.rows.items()
        }
        return {
            "horizon": self.real.shape[2],
            "cells": int(self.real.shape[1]),
            "cells_dead": {service: int((~live[:, s]).sum()) for s, service in enumerate(services)},
            "starts": len(self.starts),
            "units": dict(zip(services, units, strict=True)),
            "scaler_steps": self.part.known,
            "test_steps": [self.part.first, self.part.last],
            "ssim_window": ssim_window(self.part.network) or None,
            "scores": table,
            "missing": self.missing,
            "coverage_90": None
            if self.covered is None
            else {service: [_plain(v) for v in self.covered[s]] for s, service in enumerate(services)},
        }


def score_beside_naive(fitted: Fitted, part: Part, horizon: int, most: int | None = None) -> Scored:
    """Score a forecaster and the naive ones on the same steps of a part.

    most: forecast from no more than so many first steps, evenly spread; None for all. Raises BadInput as `forecasts`.
    """
    starts = origins(part, horizon)
    if most is not None and len(starts) > most:
        starts = starts[np.linspace(0, len(starts) - 1, most).round().astype(np.int64)]
    predicted = {fitted.name: forecasts(fitted, part, horizon, starts)}
    missing: dict[str, str] = {}
    for name in NAIVE:
        if name != fitted.name:
            try:
                predicted[name] = forecasts(naive(name, part), part, horizon, starts)
            except BadInput as error:
                missing[name] = str(error)
    rows = {name: score(values, part, starts) for name, values in predicted.items()}
    real, covered = real_of(part, starts, horizon), None
    if fitted.errors is not None:
        times = (part.network.week + starts) % part.network.per_day
        covered = coverage(fitted.errors, predicted[fitted.name], real, scaled(part)[1].spread, times)
    return Scored(rows, real, predicted, starts, part, missing, covered)


def error_paths(fitted: Fitted, part: Part, seed: int = 0) -> ErrorPaths | None:
    """The errors of a forecaster on the validation part of a network; None where that is too short for one path."""
    network = part.network
    steps = min(STEPS, network.per_day + network.per_day // 2, (part.last - part.first) // 2)
    starts = origins(part, max(steps, 1))
    starts = starts[starts >= fitted.model.context]
    if steps < 1 or not len(starts):
        return None
    rng = np.random.default_rng((seed, PURPOSE))
    starts = starts[np.unique(np.linspace(0, len(starts) - 1, STARTS).round().astype(np.int64))]
    live = np.flatnonzero(network.values[:, : part.known].max(axis=(1, 2)) > 0)
    if not len(live):
        return None
    cells = np.sort(rng.permutation(live)[:CELLS])
    spread = scaled(part)[1].spread[cells]  # (cells, services)
    away = real_of(part, starts, steps)[:, cells] - forecasts(fitted, part, steps, starts)[:, cells]
    # safetensors writes memory as it lies, so it must lie in order
    errors = np.ascontiguousarray(away / spread[None, :, None], dtype=np.float32)
    return ErrorPaths(errors, (network.week + starts) % network.per_day, network.per_day)


def starts_within(part: Part, horizon: int, most: int = 50_000) -> int:
    """How many first steps make at most `most` windows: what a fit is scored on before it ends."""
    return int(max(1, most // (part.network.values.shape[0] * horizon)))


def naive(name: str, part: Part) -> Fitted:
    """A naive forecaster for the cadence of a part."""
    recipe, network = recipe_of(name), part.network
    model = recipe.network(per_day=network.per_day, services=network.values.shape[2], **recipe.design)
    return Fitted(name, model.eval())


def table(scored: Scored, service: int = 0, steps: Sequence[int] | None = None) -> str:
    """Markdown: a line per row, the metrics at the steps named (1 is the first; None: the first and the last)."""
    horizon = scored.real.shape[2]
    shown = [*dict.fromkeys(steps or (1, horizon))]
    head = " | ".join(f"{m}, step {h}" for h in shown for m in METRICS)
    lines = [f"| | {head} |", "|---" * (1 + len(shown) * len(METRICS)) + "|"]
    for name, scores in scored.rows.items():
        values = (scores[m][service, h - 1] for h in shown for m in METRICS)
        lines.append(f"| {name} | " + " | ".join("–" if np.isnan(v) else f"{v:.4g}" for v in values) + " |")
    return "\n".join(lines)


def coverage_line(scored: Scored, service: int = 0) -> list[str]:
    """How often real values lay within the 90% range of the forecaster, in words; nothing where that is not known."""
    if scored.covered is None:
        return []
    shares = {h + 1: scored.covered[service, h] for h in (0, scored.real.shape[2] - 1)}
    covered = [f"{share:.0%} at step {step}" for step, share in shares.items() if np.isfinite(share)]
    return [f"within its 90% range, that of its members: {', '.join(covered)}"] if covered else []


def score_rows(payload: dict[str, Any]) -> list[tuple[str, ...]]:
    """What `Scored.to_json` gives as rows of text, their head first: service, row, step and the metrics at the first
    and the last step ahead."""
    rows: list[tuple[str, ...]] = [("service", "forecaster", "step", *METRICS)]
    for service in payload["units"]:
        for name, scores in payload["scores"].items():
            for step in dict.fromkeys((1, payload["horizon"])):
                values = (scores[service][metric][step - 1] for metric in METRICS)
                rows.append((service, name, str(step), *("–" if v is None else f"{v:.4g}" for v in values)))
    return rows


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 6)
