"""A Validation as numbers with intervals, for JSON and for a terminal."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.stats import t as student

from gentraffic.forecasting.tstr import TRAININGS, Scores, Validation
from gentraffic.reports.evaluation_table import number

LEVEL = 0.95
METRICS = ("mae", "rmse", "r2", "ssim")
GOOD, FAIR = 5.0, 20.0  # percent of error more than training on real cells gives, at most
Interval = dict[str, float | None]


def interval(values: list[float]) -> Interval:
    """Mean over seeds with its 95% interval by Student's t; one seed has none, and nan is no number."""
    known = np.array([v for v in values if np.isfinite(v)])
    if not len(known):
        return {"mean": None, "low": None, "high": None}
    mean = float(known.mean())
    if len(known) < 2:
        return {"mean": mean, "low": None, "high": None}
    half = float(student.ppf((1 + LEVEL) / 2, len(known) - 1) * known.std(ddof=1) / np.sqrt(len(known)))
    return {"mean": mean, "low": mean - half, "high": mean + half}


def gap_percent(ours: list[float], theirs: list[float]) -> Interval:
    """How much larger `ours` is than `theirs`, in percent, seed by seed."""
    return interval([100 * (a / b - 1) if b else float("nan") for a, b in zip(ours, theirs, strict=True)])


def to_json(validation: Validation) -> dict[str, Any]:
    """forecasters -> service -> step -> `trtr_mae` ... `gap_percent`, `aug_gap_percent`; naive too; counts."""
    m = validation.material
    out: dict[str, Any] = {
        **m.counts, "services": dict(zip(m.services, m.units, strict=True)), "horizon": validation.horizon,
        "normalisation": "per cell: mean and spread of the steps before the validation part", "notes": list(m.notes),
    }  # fmt: skip
    steps = [(s, name, h) for s, name in enumerate(m.services) for h in range(validation.horizon)]
    out["forecasters"] = {
        forecaster: _nested([(name, h, _row(trainings, s, h)) for s, name, h in steps])
        for forecaster, trainings in validation.scores.items()
    }
    out["naive"] = {
        forecaster: None if scores is None else _nested([(name, h, _plain(scores, s, h)) for s, name, h in steps])
        for forecaster, scores in validation.naive.items()
    }
    return out | validation.weighing


def text(validation: Validation) -> list[str]:
    """Lines for a person: what was done, then a table per service and horizon step, the naive rows last."""
    m, lines = validation.material, about(validation)
    for s, (service, units) in enumerate(zip(m.services, m.units, strict=True)):
        for h in range(validation.horizon):
            lines += ["", f"{service} ({units}), {h + 1} step{'s' if h else ''} ahead"]
            lines += [*_table(validation, s, h), *judgement(validation, s, h)]
    return lines


def about(validation: Validation) -> list[str]:
    """What was trained on and tested on, line by line, and the notes."""
    c = validation.material.counts
    few = "" if c["cells_train"] == c["cells_train_all"] else f" (of {c['cells_train_all']})"
    return [
        f"real       {c['cells_train']}{few} cells x {c['steps_train']} steps of {c['minutes']} min to train on",
        f"synthetic  {c['cells_synthetic']} cells, {c['members_synthetic']} members",
        f"test       {c['cells_test']} real cells, the last {c['steps_test']} steps; normalised per cell by what went "
        "before",
        *(f"note       {note}" for note in validation.material.notes),
    ]


def judgements(validation: Validation) -> list[str]:
    """`judgement` of every service and step, which each line names where there are several."""
    out, services = [], validation.material.services
    for s, service in enumerate(services):
        for h in range(validation.horizon):
            where = f"{service}, " if len(services) > 1 else ""
            where += f"{h + 1} step{'s' if h else ''} ahead: " if validation.horizon > 1 else ""
            out += [f"{where}{line}" for line in judgement(validation, s, h)]
    return out


def judgement(validation: Validation, s: int, h: int) -> list[str]:
    """What the gaps of a service and step say in words; no verdict where a naive row beats all that was trained."""
    rows = {forecaster: _row(trainings, s, h) for forecaster, trainings in validation.scores.items()}
    trained = [v for row in rows.values() for t in TRAININGS if (v := row[f"{t}_mae"]["mean"]) is not None]
    naive = {name: _plain(scores, s, h)["mae"] for name, scores in validation.naive.items() if scores is not None}
    known = {name: value for name, value in naive.items() if value is not None}
    best = min(known, key=lambda name: known[name]) if known and trained else ""
    beaten = bool(best) and known[best] < min(trained)
    sentences = []
    for forecaster, row in rows.items():
        gap, low, high = (row["gap_percent"][part] for part in ("mean", "low", "high"))
        if gap is None:
            continue
        how = "good" if gap <= GOOD else "fair" if gap <= FAIR else "not good"
        chance = low is not None and high is not None and low < 0 < high
        verdict = "" if beaten else f"synthetic traffic is {how} to train on: "
        sentences.append(
            f"{forecaster}: {verdict}mae {gap:+.1f}% beside real traffic"
            + (", less than the seeds change" if chance else "")
        )
    if beaten:
        sentences.append(
            f"{best} beats every forecaster that was trained: mae {number(known[best])}, of the best of them "
            f"{number(min(trained))}; so this says little of the traffic: train longer (more steps), or take {best}"
        )
    return sentences


def rows(validation: Validation) -> list[tuple[str, ...]]:
    """Rows of text, their head first: service, step, forecaster, training, mae, rmse, gap in mae; naive rows too."""
    out: list[tuple[str, ...]] = [("service", "step", "forecaster", "trained on", "mae", "rmse", "gap in mae")]
    for s, service in enumerate(validation.material.services):
        for h in range(validation.horizon):
            where = service, str(h + 1)
            for forecaster, trainings in validation.scores.items():
                row = _row(trainings, s, h)
                for training, words in (("trtr", "real"), ("tstr", "synthetic"), ("aug", "both")):
                    shown = (_in_words(row[f"{training}_{metric}"]) for metric in ("mae", "rmse"))
                    out.append((*where, forecaster, words, *shown, _percent(_gap(row, training))))
            for forecaster, scores in validation.naive.items():
                plain = {} if scores is None else _plain(scores, s, h)
                shown = ("–" if (v := plain.get(m)) is None else number(v) for m in ("mae", "rmse"))
                out.append((*where, forecaster, "nothing", *shown, ""))
    return out


def frame_rows(validation: Validation) -> list[dict[str, Any]]:
    """`rows` as numbers, a dict each; nan where there is none."""
    out: list[dict[str, Any]] = []
    nan = float("nan")
    for s, service in enumerate(validation.material.services):
        for h in range(validation.horizon):
            where = {"service": service, "step": h + 1}
            for forecaster, trainings in validation.scores.items():
                row = _row(trainings, s, h)
                for training, words in (("trtr", "real"), ("tstr", "synthetic"), ("aug", "both")):
                    means = {metric: row[f"{training}_{metric}"]["mean"] for metric in ("mae", "rmse")}
                    gap = _gap(row, training) or {"mean": nan, "low": nan, "high": nan}
                    gaps = {"gap": gap["mean"], "gap_low": gap["low"], "gap_high": gap["high"]}
                    out.append({**where, "forecaster": forecaster, "trained_on": words, **means, **gaps})
            for forecaster, scores in validation.naive.items():
                plain = {} if scores is None else _plain(scores, s, h)
                means = {metric: plain.get(metric) for metric in ("mae", "rmse")}
                out.append({**where, "forecaster": forecaster, "trained_on": "nothing", **means})
    return out


def _gap(row: dict[str, Interval], training: str) -> Interval | None:
    return {"trtr": None, "tstr": row["gap_percent"], "aug": row["aug_gap_percent"]}[training]


def _table(validation: Validation, s: int, h: int) -> list[str]:
    lines = [f"{'':<18}{'mae':>24}{'rmse':>24}  gap in mae"]
    for forecaster, trainings in validation.scores.items():
        row = _row(trainings, s, h)
        for training in TRAININGS:
            cells = "".join(f"{_in_words(row[f'{training}_{metric}']):>24}" for metric in ("mae", "rmse"))
            lines.append(f"{f'{forecaster} {training}':<18}{cells}  {_percent(_gap(row, training))}".rstrip())
    for forecaster, scores in validation.naive.items():
        if scores is None:
            lines.append(f"{forecaster:<18}{'–':>24}{'–':>24}  the history before the test part is too short for it")
        else:
            plain = _plain(scores, s, h)
            lines.append(f"{forecaster:<18}" + "".join(f"{number(plain[m] or 0.0):>24}" for m in ("mae", "rmse")))
    return lines


def _row(trainings: dict[str, list[Scores]], s: int, h: int) -> dict[str, Interval]:
    by = {(t, metric): [float(x[metric][s, h]) for x in runs] for t, runs in trainings.items() for metric in METRICS}
    row = {f"{t}_{metric}": interval(values) for (t, metric), values in by.items()}
    row["gap_percent"] = gap_percent(by["tstr", "mae"], by["trtr", "mae"])
    row["aug_gap_percent"] = gap_percent(by["aug", "mae"], by["trtr", "mae"])
    return row


def _plain(scores: Scores, s: int, h: int) -> dict[str, float | None]:
    values = {metric: float(scores[metric][s, h]) for metric in METRICS}
    return {metric: value if np.isfinite(value) else None for metric, value in values.items()}


def _nested(rows: list[tuple[str, int, Any]]) -> dict[str, dict[str, Any]]:
    out: dict[str, dict[str, Any]] = {}
    for name, h, row in rows:
        out.setdefault(name, {})[f"step_{h + 1}"] = row
    return out


def _in_words(value: Interval) -> str:
    mean, low, high = value["mean"], value["low"], value["high"]
    if mean is None:
        return "–"
    return number(mean) if low is None or high is None else f"{number(mean)} ±{number((high - low) / 2)}"


def _percent(value: Interval | None) -> str:
    if value is None or value["mean"] is None:
        return ""
    ends = "" if value["low"] is None else f" ({value['low']:+.1f} to {value['high']:+.1f})"
    return f"{value['mean']:+.1f}%{ends}"
