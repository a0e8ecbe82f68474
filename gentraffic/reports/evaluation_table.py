"""An Evaluation as text for a terminal: what was compared, the metrics with their intervals, the naive rows beside."""

from __future__ import annotations

from io import StringIO
from typing import TYPE_CHECKING

import numpy as np

from gentraffic.evaluation.baselines import ALL_KNOWING
from gentraffic.evaluation.evaluate import SYNTHETIC, Evaluation, winners
from gentraffic.evaluation.scores import METRICS, Metric, Score

if TYPE_CHECKING:
    from rich.table import Table

MIN_WIDTH = 60
ALMOST = 1.05  # times the best naive row's error that still counts as no worse
RANKED = 0.3  # rank correlation of levels below which the busy cells are hardly told from the quiet ones
SIMPLEST = "mean-series"
TOLD_WIDTH = 110  # from here on there is room to say what each metric is


def number(value: float) -> str:
    """Four significant digits, thousands with commas."""
    if value == 0:
        return "0"
    if 1000 <= abs(value) < 1e8:
        return f"{value:,.0f}"
    return f"{value:.4g}" if abs(value) >= 1e-4 else f"{value:.2e}"


def value_text(metric: Metric, score: Score) -> str:
    """The value as tables show it, a dash where there is none."""
    return "–" if score.value is None else number(score.value * metric.shown)


def interval_text(metric: Metric, score: Score) -> str:
    """The interval as tables show it, nothing where there is none."""
    if score.low is None or score.high is None:
        return ""
    return f"{number(score.low * metric.shown)} – {number(score.high * metric.shown)}"


def facts(evaluation: Evaluation) -> list[tuple[str, str]]:
    """(word, sentence): what was compared with what, and what was left out."""
    pair, counts = evaluation.pair, evaluation.pair.counts
    ends = pair.clock[[0, -1]].astype("datetime64[s]")
    first, last = (str(np.datetime_as_string(end, unit="m")).replace("T", " ") for end in ends)
    services = " and ".join(dict.fromkeys(pair.services))
    members = f"{len(pair.synthetic)} members" if len(pair.synthetic) > 1 else "one member"
    return [
        ("cells", f"{counts['cells']:,} compared, {counts['cells_dead']:,} dead ones dropped, "
                  f"{counts['cells_only_real']:,} only in real, {counts['cells_only_synthetic']:,} only in synthetic"),
        ("steps", f"{counts['steps']:,} of {pair.step_s / 60:g} min, {first} to {last} {pair.timezone}; "
                  f"{counts['steps_only_real']:,} only in real, {counts['steps_only_synthetic']:,} only in synthetic"),
        ("values", f"{services}, {members}, units {pair.units!r}; scaling: {pair.scaling}"
                   + (f" (x {pair.factor:.6g})" if pair.factor != 1 else "")),
        ("_p9999", f"divided by {number(evaluation.p9999[0])}, the 99.99% quantile of {evaluation.p9999[1]}"),
        ("intervals", f"95%, bootstrap over {evaluation.resampled}; none for spatial_acf_error, a score of pairs"),
    ]  # fmt: skip


def reasons(evaluation: Evaluation) -> dict[str, list[str]]:
    """Reason -> the metrics of the synthetic row that have no value because of it."""
    grouped: dict[str, list[str]] = {}
    for name, score in evaluation.scores.items():
        if score.value is None:
            grouped.setdefault(score.reason, []).append(name)
    return grouped


def missing(evaluation: Evaluation) -> dict[str, list[str]]:
    """Reason -> the naive rows that are missing because of it."""
    grouped: dict[str, list[str]] = {}
    for name, reason in evaluation.missing.items():
        grouped.setdefault(reason, []).append(name)
    return grouped


def verdict(evaluation: Evaluation) -> list[str]:
    """Sentences on how the synthetic row fares against the naive ones; none where there are none."""
    if not evaluation.naive:
        return []
    columns = {SYNTHETIC: evaluation.scores, **evaluation.naive}
    contests = {
        metric: winners(metric, columns) for metric in METRICS if evaluation.scores[metric.name].value is not None
    }
    contests = {metric: names for metric, names in contests.items() if names}
    if not contests:
        return []
    won = sum(SYNTHETIC in names for names in contests.values())
    sentences = [f"synthetic is as near to real as any naive row, or nearer, in {won} of {len(contests)} metrics"]
    leading = next((metric for metric in contests if metric.name == "crps"), next(iter(contests)))
    rivals = winners(leading, {name: scores for name, scores in columns.items() if name != SYNTHETIC})
    rivals = rivals or [name for name in evaluation.naive if evaluation.naive[name][leading.name].value is not None][:1]
    scores = [columns[name][leading.name] for name in (SYNTHETIC, rivals[0])]
    own, best = (value_text(leading, score) for score in scores)
    nearer = "is nearer to real than" if SYNTHETIC in contests[leading] else "is not nearer to real than"
    overlap = "; their 95% intervals overlap" if _overlap(*scores) else ""
    sentences.append(f"{leading.name}: {own} {nearer} the best naive row, {rivals[0]} with {best}{overlap}")
    if len(evaluation.pair.synthetic) > 1 and evaluation.pair.paired:
        sentences.append("of a naive row that is one series, not an ensemble, crps is the absolute error")
    if any(name in evaluation.naive for name in ALL_KNOWING):
        sentences.append("b*users knows how many users each cell has, which no generator is told: it takes no part")
    return sentences


def _overlap(one: Score, other: Score) -> bool:
    """Whether both have intervals, and these share a value."""
    if one.low is None or one.high is None or other.low is None or other.high is None:
        return False
    return max(one.low, other.low) <= min(one.high, other.high)


def judgement(evaluation: Evaluation) -> list[str]:
    """What the synthetic row is good enough for, in words, beside the simplest of the naive rows; none without them."""
    rivals = {name: scores for name, scores in evaluation.naive.items() if name not in ALL_KNOWING}
    rank = evaluation.scores["level_spearman"].value
    sentences = []
    for name, what, use in (
        ("crps_level", "levels of the cells", "level planning"), ("crps_shape", "hours of the cells", "hourly work")
    ):  # fmt: skip
        own = evaluation.scores[name].value
        values = {rival: value for rival, scores in rivals.items() if (value := scores[name].value) is not None}
        if own is None or not values:
            continue
        best = min(values, key=lambda rival: values[rival])
        figures = f"{name} {number(own)}, that of {best} {number(values[best])}"
        mean = values.get(SIMPLEST)
        if mean is not None and own > mean:
            sentences.append(
                f"not good enough for {use}: nothing was learned of the {what}: even the mean of the training cells "
                f"comes nearer to real ({name} {number(own)}, that of {SIMPLEST} {number(mean)})"
            )
        elif own > values[best] * ALMOST:
            sentences.append(f"not good enough for {use}: a naive row comes nearer to the real {what} ({figures})")
        elif name == "crps_level" and rank is not None and rank < RANKED:
            sentences.append(
                f"not good enough for {use}: no naive row does better ({figures}), but which cells are busy is hardly "
                f"told (rank correlation {number(rank)})"
            )
        else:
            sentences.append(f"good enough for {use}: no naive row comes clearly nearer to the real {what} ({figures})")
    return sentences


def lead(evaluation: Evaluation) -> list[str]:
    """What a report begins with: `judgement`, or how to come by one where one member cannot give it."""
    alone = bool(evaluation.naive) and len(evaluation.pair.synthetic) == 1
    return judgement(evaluation) or (["one member does not tell what it is good enough for: draw --members 20"] * alone)


def rows(evaluation: Evaluation) -> list[tuple[str, ...]]:
    """Rows of text, their head first: metric, value, 95% interval, that of a perfect copy, the naive rows' values."""
    out: list[tuple[str, ...]] = [("metric", "value", "95% interval", "perfect", *evaluation.naive)]
    for metric in METRICS:
        score = evaluation.scores[metric.name]
        naive = (value_text(metric, scores[metric.name]) for scores in evaluation.naive.values())
        shown = (metric.label, value_text(metric, score), interval_text(metric, score), f"{metric.best:g}")
        out.append((*shown, *naive))
    return out


def text(evaluation: Evaluation, *, width: int = 100, colour: bool = False) -> str:
    """The whole report, at most `width` characters wide where the widest column allows."""
    from rich.console import Console

    stream = StringIO()
    size = max(width, MIN_WIDTH)
    console = Console(file=stream, width=size, force_terminal=colour, no_color=not colour, highlight=False)

    def say(sentence: str) -> None:
        console.print(sentence, markup=False, soft_wrap=True)

    for sentence in lead(evaluation):
        say(sentence)
    for word, sentence in facts(evaluation):
        say(f"{word:<10} {sentence}")
    for note in evaluation.notes:
        say(f"note: {note}")
    say("")
    console.print(_scores(evaluation, explained=size >= TOLD_WIDTH))
    columns = {SYNTHETIC: evaluation.scores, **evaluation.naive}
    for names in _fitting(columns, size) if evaluation.naive else []:
        say("")
        console.print(_beside(columns, names))
    for sentence in verdict(evaluation):
        say(sentence)
    say("")
    for reason, names in reasons(evaluation).items():
        say(f"no value for {', '.join(names)}: {reason}")
    for reason, names in missing(evaluation).items():
        say(f"no naive row {', '.join(names)}: {reason}")
    return stream.getvalue().strip()


def _scores(evaluation: Evaluation, *, explained: bool) -> Table:
    table = _table("Synthetic against real", "metric", "value", "95% interval", "best", *([""] if explained else []))
    for metric in METRICS:
        score = evaluation.scores[metric.name]
        if score.value is not None:  # the reasons of the others stand below
            row = [metric.label, value_text(metric, score), interval_text(metric, score), f"{metric.best:g}"]
            table.add_row(*row, *([metric.about] if explained else []))
    return table


def _beside(columns: dict[str, dict[str, Score]], names: list[str]) -> Table:
    table = _table("Beside the naive rows (* nearest to real)", "metric", *names)
    for metric in METRICS:
        best = winners(metric, columns)
        scores = {name: columns[name][metric.name] for name in names}
        if scores[SYNTHETIC].value is not None:
            marks = (value_text(metric, score) + (" *" if name in best else "  ") for name, score in scores.items())
            table.add_row(metric.label, *marks)
    return table


def _table(title: str, *columns: str) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for k, name in enumerate(columns):  # where it is narrow, what explains is wrapped, and no value is cut
        table.add_column(Text(name), justify="right" if k and name else "left", no_wrap=bool(name))
    return table


def _fitting(columns: dict[str, dict[str, Score]], width: int) -> list[list[str]]:
    """Columns in groups that fit side by side, the synthetic one first in each."""
    sizes = {
        name: max(len(name), *(len(value_text(m, scores[m.name])) + 2 for m in METRICS)) + 2
        for name, scores in columns.items()
    }
    room = width - max(len(m.label) for m in METRICS) - sizes[SYNTHETIC] - 2
    groups: list[list[str]] = []
    left = 0
    for name in columns:
        if name == SYNTHETIC:
            continue
        if not groups or sizes[name] > left:
            groups.append([SYNTHETIC])
            left = room
        groups[-1].append(name)
        left -= sizes[name]
    return groups
