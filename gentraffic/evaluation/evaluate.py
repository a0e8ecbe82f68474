"""How good synthetic traffic is: every fidelity metric of metrics.md beside the naive rows, for two traffic files."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gentraffic.dataset.amounts import RELATIVE
from gentraffic.dataset.schema import has_positions
from gentraffic.errors import WrongUse
from gentraffic.evaluation.alignment import Pair, align, rescale
from gentraffic.evaluation.baselines import ALL_KNOWING, NAMES, Training, naive_rows, read_training
from gentraffic.evaluation.intervals import make_resample
from gentraffic.evaluation.metrics.paired import Floats, p9999
from gentraffic.evaluation.scores import Metric, Row, Score, score

if TYPE_CHECKING:
    import xarray as xr

SYNTHETIC = "synthetic"
COPIED = 0.5  # of the marks of one file stand in another: they are of the same cells
UNLIKE = 10.0  # times the mean of traffic relative to the same


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found.

    pair: the values compared. scores: metric -> Score of the synthetic file. naive: row -> metric -> Score. missing:
    naive row -> why it is not there. p9999: divisor of the scaling of that name, and whether it is "train" or "real".
    resampled: what intervals are drawn over, e.g. "26 locations".
    """

    pair: Pair
    scores: dict[str, Score]
    naive: dict[str, dict[str, Score]]
    missing: dict[str, str]
    p9999: tuple[float, str]
    resampled: str
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values: metrics under their exact names, null with a reason where a metric has no value."""
        pair = self.pair
        first, last = (np.datetime_as_string(np.int64(t).astype("datetime64[s]"), unit="s") for t in pair.utc[[0, -1]])
        return {
            "services": dict(zip(("real", "synthetic"), pair.services, strict=True)),
            "units": pair.units,
            "synthetic_units": pair.synthetic_units,
            "scaling": {"how": pair.scaling, "factor": pair.factor},
            "p9999": {"value": self.p9999[0], "of": self.p9999[1]},
            "paired": pair.paired,
            "members": len(pair.synthetic),
            **pair.counts,
            "step_minutes": pair.step_s / 60,
            "first": f"{first}Z",
            "last": f"{last}Z",
            "timezone": pair.timezone,
            "intervals": {"level": 0.95, "over": self.resampled},
            "notes": list(self.notes),
            "metrics": {name: _plain(s) for name, s in self.scores.items()},
            "naive": {row: {name: _plain(s) for name, s in scores.items()} for row, scores in self.naive.items()},
            "naive_missing": self.missing,
        }


def evaluate(
    real: xr.Dataset,
    synthetic: xr.Dataset,
    *,
    train: xr.Dataset | None = None,
    context: xr.Dataset | None = None,
    service: str | None = None,
    scale: str = "auto",
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Score the synthetic traffic Dataset against the real one, and beside it the naive rows.

    train: measured traffic for the naive rows and the `_p9999` scaling; context: the POIs of its cells and of those
    compared. service, scale: as in `alignment.align` and `rescale`. seed: of intervals and naive rows. progress is told
    (rows scored, of all). Raises WrongUse for files that do not belong together, BadInput where nothing is alive.
    """
    if context is not None and train is None:
        raise WrongUse("--context goes with --train: the naive rows need both")
    pair = align(real, synthetic, service=service)
    training = None if train is None else read_training(train, real, pair)
    level = 1.0 if training is None else level_of_training(training, synthetic, context)
    pair = rescale(pair, scale, None if training is None else training.values, level)
    groups, resampled = _groups(real, pair)
    resample = make_resample(groups, seed)
    divisor = _divisor(pair, training)
    notes = [*pair.notes, *(training.notes if training else ())]
    if divisor[1] == "real":
        notes.append("the _p9999 scaling is that of --real's own 99.99% quantile: give --train for the training data's")
    notes += given_before(synthetic) + unlike_means(pair) + seen_before(real, synthetic) + too_few(len(pair.synthetic))
    if not len(resample.times):
        notes.append("there are no intervals: one place says nothing about others")
    tell = progress or (lambda done, of: None)
    of = 1 + (len(NAMES) if training else 0)
    tell(0, of)
    frame = Row(
        real=pair.real,
        members=pair.synthetic,
        clock=pair.clock,
        step_s=pair.step_s,
        xy_m=_positions(real, synthetic, pair),
        weeks=pair.weeks,
        scale=divisor[0],
        paired=pair.paired,
        resample=resample,
    )
    scores = score(frame)
    tell(1, of)
    rows: dict[str, dict[str, Score]] = {}
    missing: dict[str, str] = {}
    if training is None:
        missing = dict.fromkeys(NAMES, "needs --train and --context")
    else:
        for done, (name, members) in enumerate(naive_rows(training, pair, real, context, seed), start=2):
            if isinstance(members, str):
                missing[name] = members
            else:
                rows[name] = score(replace(frame, members=members), single=True)
            tell(done, of)
    return Evaluation(pair, scores, rows, missing, divisor, resampled, tuple(notes))


FEWEST = 20  # members of which the central 90% is another range than the central 50%


def seen_before(real: xr.Dataset, synthetic: xr.Dataset) -> list[str]:
    """A note where the model that drew the traffic learned from the network of the measured file."""
    network, model = str(real.attrs.get("network", "")), str(synthetic.attrs.get("model", "a model"))
    learned = [name for name in str(synthetic.attrs.get("model_networks", "")).split(", ") if name]
    if not network and learned:
        copied = known_by_its_marks(real, model)
        if copied:
            return [f"{model} learned from {copied}, which holds cells of --real: these scores are no test"]
        return [
            f"--real names no network, and {model} learned from {', '.join(learned)}: if it is one of these, the "
            "scores are no test; import it with --network to say which it is"
        ]
    if network not in learned:
        return []
    return [
        f"{model} learned from {network}, the network of --real: these scores are no test, unless the cells compared "
        "were held out from its training (`gentraffic split --model` finds them)"
    ]


def known_by_its_marks(real: xr.Dataset, model: str) -> str:
    """What a bundled model learned from and that shares cells with the measured file; "" where there is none."""
    from gentraffic.dataset.fingerprint import marks_of, shared_share
    from gentraffic.generators.base import MODELS, bundled_models

    if model not in bundled_models():
        return ""
    mine = marks_of(real)
    for part in json.loads((MODELS / model / "provenance.json").read_text(encoding="utf-8")).get("data", []):
        if any(shared_share(mine.get(kind, []), marks) >= COPIED for kind, marks in part.get("marks", {}).items()):
            return str(part.get("network") or part.get("title") or part.get("file"))
    return ""


def given_before(synthetic: xr.Dataset) -> list[str]:
    """A note where the synthetic file holds measured values that were given to the model."""
    given = synthetic.attrs.get("measured_cells")
    if not given:
        return []
    return [f"the synthetic file holds measured values that were given to the model ({given}): where --real holds the"
            " same, scores are those of a copy"]  # fmt: skip


def unlike_means(pair: Pair) -> list[str]:
    """A note where both are relative to the mean cell, and yet one carries many times as much as the other."""
    if not pair.units == pair.synthetic_units == RELATIVE:
        return []
    means = float(pair.real.mean()), float(pair.synthetic.mean(dtype=np.float64))
    if min(means) <= 0 or max(means) <= UNLIKE * min(means):
        return []
    return [
        f"both files have the unit 1 (the mean cell is 1), but their means are {means[0]:.4g} (--real) and "
        f"{means[1]:.4g} (--synthetic): is one of them in another unit? Import it with --unit,"
        " or compare with --scale mean"
    ]


def too_few(members: int) -> list[str]:
    """A note where members are so few that ranges and spread of them say little."""
    if not 2 <= members < FEWEST:
        return []
    return [
        f"{members} members: coverage and diversity need {FEWEST} or more; of so few, 50% and 90% ranges are much alike"
    ]


def winners(metric: Metric, columns: dict[str, dict[str, Score]]) -> list[str]:
    """The rows whose value of a metric is nearest to a perfect one; none where fewer than two rows have a value.

    `b*users` takes no part: the users of a place that nobody measured are not known.
    """
    values = {name: scores[metric.name].value for name, scores in columns.items() if name not in ALL_KNOWING}
    apart = {name: abs(value - metric.best) for name, value in values.items() if value is not None}
    if len(apart) < 2:
        return []
    least = min(apart.values())
    return [name for name, value in apart.items() if value <= least * (1 + 1e-9)]


def _positions(real: xr.Dataset, synthetic: xr.Dataset, pair: Pair) -> NDArray[np.float64] | None:
    """(cells, 2) metres: of the real file, else of the synthetic one; None where neither knows."""
    if has_positions(real):
        return np.stack([real[axis].values[pair.rows] for axis in ("x", "y")], axis=1).astype(np.float64)
    if not has_positions(synthetic):
        return None
    row = {cell: k for k, cell in enumerate(synthetic["cell_id"].values.astype(str).tolist())}
    rows = [row[cell] for cell in pair.ids.tolist()]
    return np.stack([synthetic[axis].values[rows] for axis in ("x", "y")], axis=1).astype(np.float64)


def _groups(real: xr.Dataset, pair: Pair) -> tuple[Any, str]:
    """(groups (cells,), what they are): what the bootstrap draws."""
    if "location" in real.coords:
        groups = real["location"].values[pair.rows]
        count, word = len(np.unique(groups)), "location"
    else:
        groups, count, word = np.arange(len(pair.ids)), len(pair.ids), "cell"
    return groups, f"{count:,} {word}{'s' * (count != 1)}"


def level_of_training(training: Training, synthetic: xr.Dataset, context: xr.Dataset | None) -> float:
    """The mean that the live training cells have, or would have, in relative traffic.

    1 where it was drawn as of their own network, whose mean cell is 1. In a place that nobody measured, 1 is the mean
    cell of all that was drawn: there, what these cells have in the file, or else what the law says of them in the
    context. 1, too, where the file does not say what its model learned from, or nothing tells.
    """
    from gentraffic.modelling.features import read_places
    from gentraffic.modelling.levels import activity

    learned = str(synthetic.attrs.get("model_networks", "")).split(", ")
    if context is None or learned == [""] or str(context.attrs.get("network") or "") in learned:
        return 1.0
    ids = training.every.ids[training.live]
    drawn = np.isin(synthetic["cell_id"].values.astype(str), ids.astype(str))
    if drawn.sum() == len(ids):
        return float(synthetic[str(next(iter(synthetic.data_vars)))].values[..., drawn, :].mean(dtype=np.float64))
    places = read_places(context)
    level = np.exp(activity(places)) * places.area_km2
    mine = np.isin(context["cell_id"].values.astype(str), ids.astype(str))
    return float(level[mine].mean() / level.mean()) if mine.any() else 1.0


def _divisor(pair: Pair, training: Training | None) -> tuple[float, str]:
    """The divisor of `_p9999` and the file that it is of."""
    values: Floats = pair.real if training is None else training.values
    return p9999(values), "real" if training is None else "train"


def _plain(score: Score) -> dict[str, Any]:
    plain = asdict(score)
    if score.value is not None:
        del plain["reason"]
    return plain
