"""An Evaluation as text for a terminal: what was compared, the metrics with their intervals, the naive rows beside."""

from __future__ import annotations

from io import StringIO
from typing import TYPE_CHECKING

import numpy as np

from gentraffic.evaluation import SYNTHETIC, Evaluation, winners
from gentraffic.evaluation_metrics import METRICS, Metric, Score

if TYPE_CHECKING:
    from rich.table import Table

MIN_WIDTH = 60


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


def facts(found: Evaluation) -> list[tuple[str, str]]:
    """(word, sentence): what was compared with what, and what was left out."""
    pair, counts = found.pair, found.pair.counts
    first, last = (np.datetime_as_string(t.astype("datetime64[s]"), unit="m").replace("T", " ") for t in pair.clock[[0, -1]])
    services = " and ".join(dict.fromkeys(pair.services))
    members = f"{len(pair.synthetic)} members" if len(pair.synthetic) > 1 else "one member"
    lines = [
        ("cells", f"{counts['cells']:,} compared, {counts['cells_dead']:,} dead ones dropped, "
                  f"{counts['cells_only_real']:,} only in real, {counts['cells_only_synthetic']:,} only in synthetic"),
        ("steps", f"{counts['steps']:,} of {pair.step_s / 60:g} min, {first} to {last} {pair.timezone}; "
                  f"{counts['steps_only_real']:,} only in real, {counts['steps_only_synthetic']:,} only in synthetic"),
        ("values", f"{services}, {members}, units {pair.units!r}; scaling: {pair.scaling}"
                   + (f" (x {pair.factor:.6g})" if pair.factor != 1 else "")),
        ("_p9999", f"divided by {number(found.p9999[0])}, the 99.99% quantile of {found.p9999[1]}"),
        ("intervals", f"95%, bootstrap over {found.resampled}"),
    ]  # fmt: skip
    return lines


def reasons(found: Evaluation) -> dict[str, list[str]]:
    """Reason -> the metrics of the synthetic row that have no value because of it."""
    grouped: dict[str, list[str]] = {}
    for name, score in found.scores.items():
        if score.value is None:
            grouped.setdefault(score.reason, []).append(name)
    return grouped


def missing(found: Evaluation) -> dict[str, list[str]]:
    """Reason -> the naive rows that are missing because of it."""
    grouped: dict[str, list[str]] = {}
    for name, reason in found.missing.items():
        grouped.setdefault(reason, []).append(name)
    return grouped


def verdict(found: Evaluation) -> str:
    """How many metrics the synthetic row wins against all naive rows; "" where there are none."""
    if not found.naive:
        return ""
    columns = {SYNTHETIC: found.scores, **found.naive}
    contests = [winners(metric, columns) for metric in METRICS if found.scores[metric.name].value is not None]
    contests = [names for names in contests if names]
    won = sum(SYNTHETIC in names for names in contests)
    return f"synthetic is nearest to real, or as near as any naive row, in {won} of {len(contests)} metrics"


def text(found: Evaluation, *, width: int = 100, colour: bool = False) -> str:
    """The whole report, at most `width` characters wide where the widest column allows."""
    from rich.console import Console

    stream = StringIO()
    console = Console(file=stream, width=max(width, MIN_WIDTH), force_terminal=colour, no_color=not colour, highlight=False)
    for word, sentence in facts(found):
        console.print(f"[dim]{word:<10}[/dim]", sentence, markup=True, soft_wrap=True)
    for note in found.notes:
        console.print("note: " + note, markup=False, soft_wrap=True)
    console.print()
    console.print(_scores(found))
    columns = {SYNTHETIC: found.scores, **found.naive}
    for names in _fitting(columns, console.width) if found.naive else []:
        console.print()
        console.print(_beside(found, columns, names))
    if found.naive:
        console.print(verdict(found), markup=False, soft_wrap=True)
    console.print()
    for reason, names in reasons(found).items():
        console.print(f"no value for {', '.join(names)}: {reason}", markup=False, soft_wrap=True)
    for reason, names in missing(found).items():
        console.print(f"no naive row {', '.join(names)}: {reason}", markup=False, soft_wrap=True)
    return stream.getvalue().rstrip()


def _scores(found: Evaluation) -> Table:
    table = _table("metric", "value", "95% interval", "best", "", title="Synthetic against real")
    for metric in METRICS:
        score = found.scores[metric.name]
        about = metric.about + (f", {found.pair.units}" if metric.in_units and found.pair.units != "unknown" else "")
        row = (metric.label, value_text(metric, score), interval_text(metric, score), f"{metric.best:g}", about)
        table.add_row(*row, style="dim" if score.value is None else None)
    return table


def _beside(found: Evaluation, columns: dict[str, dict[str, Score]], names: list[str]) -> Table:
    table = _table("metric", *names, title="Beside the naive rows (* nearest to real)")
    for metric in METRICS:
        best = winners(metric, columns)
        texts = [
            value_text(metric, columns[name][metric.name]) + (" *" if name in best else "  ") for name in names
        ]
        if any(columns[name][metric.name].value is not None for name in names):
            table.add_row(metric.label, *texts)
    return table


def _table(first: str, *others: str, title: str) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(Text(first), no_wrap=True)
    for name in others:
        wide = not name  # the sentence at the end
        table.add_column(Text(name), justify="left" if wide else "right", no_wrap=not wide, overflow="ellipsis" if wide else "fold")
    return table


def _fitting(columns: dict[str, dict[str, Score]], width: int) -> list[list[str]]:
    """Columns in groups that fit side by side, the synthetic one first in each."""
    sizes = {
        name: max(len(name), *(len(value_text(m, scores[m.name])) + 2 for m in METRICS)) + 2
        for name, scores in columns.items()
    }
    room = width - max(len(m.label) for m in METRICS) - sizes[SYNTHETIC] - 4
    groups: list[list[str]] = []
    used = width
    for name in columns:
        if name == SYNTHETIC:
            continue
        if used + sizes[name] > room:
            groups.append([SYNTHETIC])
            used = 0
        groups[-1].append(name)
        used += sizes[name]
    return groups
