"""An Evaluation as one HTML page: the table with the naive rows, and the plots that a person would look at.

The page needs no network, and its Content-Security-Policy forbids every request.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gentraffic.dataset.schema import has_positions
from gentraffic.evaluation.baselines import ALL_KNOWING
from gentraffic.evaluation.evaluate import SYNTHETIC, Evaluation, winners
from gentraffic.evaluation.scores import METRICS, NO_PLACES, NO_TIME, ONE_MEMBER, Metric, Score
from gentraffic.reports import evaluation_figures as figures
from gentraffic.reports.evaluation_table import facts, interval_text, lead, missing, reasons, value_text, verdict
from gentraffic.reports.page import (
    Block,
    Bullets,
    Card,
    Cards,
    Cell,
    Page,
    Section,
    Table,
    Terms,
    Text,
    figure,
    page_text,
    write_html,
)

if TYPE_CHECKING:
    import xarray as xr

CARDS = ("crps_p9999", "mae_p9999", "coverage_90", "level_spearman", "jsd_hist", "acf_error")
MOST_CARDS = 5


def write_page(
    result: Evaluation,
    real: xr.Dataset,
    path: str | Path,
    *,
    files: Mapping[str, str] | None = None,
    attributions: Sequence[xr.Dataset] = (),
) -> None:
    """Write the page of an evaluation to `path` (.html).

    real: the real traffic Dataset, for the places of the cells. files: what to call the files, by role. attributions:
    the datasets whose attribution and licence stand at the foot. Raises WrongUse for the suffix, BadInput where the
    page cannot be written.
    """
    write_html(path, page(result, real, files=files or {}, attributions=attributions))


def page(
    result: Evaluation, real: xr.Dataset, *, files: Mapping[str, str], attributions: Sequence[xr.Dataset] = ()
) -> str:
    """The page that `write_page` writes."""
    place = str(real.attrs.get("place") or real.attrs.get("title") or "")
    caption = (
        "Each value with its 95% interval. Shaded: nearest to what a perfect copy would score (last column). "
        f"{_table_caption(result)}"
    )
    first: list[Block] = [
        Cards(_cards(result)),
        Bullets([*lead(result), *verdict(result)], "verdict"),
        Terms(facts(result)),
        Bullets(result.notes, "notes"),
    ]
    metrics: list[Block] = [Text(caption), _table(result), *_reasons(result)]
    whole = Page(
        f"Synthetic traffic against measured traffic{': ' + place if place else ''}",
        " · ".join(f"{role}: {Path(path).name}" for role, path in files.items()),
        [Section("", first), Section("Metrics", metrics), *_figures(result, real)],
        sources=attributions,
    )
    return page_text(whole)


def _cards(result: Evaluation) -> list[Card]:
    """The few numbers to look at first, each beside the best naive row."""
    by_name = {metric.name: metric for metric in METRICS}
    shown = [by_name[name] for name in CARDS if result.scores[name].value is not None][:MOST_CARDS]
    items = []
    for metric in shown:
        score = result.scores[metric.name]
        ends = interval_text(metric, score)
        naive = {name: s for name, s in result.naive.items() if name not in ALL_KNOWING}
        best = min(
            (name for name, s in naive.items() if s[metric.name].value is not None),
            key=lambda name: abs((naive[name][metric.name].value or 0.0) - metric.best),
            default=None,
        )
        rival = (
            f"best naive: {value_text(metric, naive[best][metric.name])}, {best}" if best else f"best: {metric.best:g}"
        )
        items.append(Card(metric.name, value_text(metric, score), (ends or "no interval", rival), code=True))
    return items


def _table(result: Evaluation) -> Table:
    columns = {SYNTHETIC: result.scores, **result.naive}
    rows: list[list[Cell | str]] = []
    for paired, word in ((True, "Hour by hour"), (False, "Distributions")):
        rows.append([word])
        for metric in (metric for metric in METRICS if metric.paired == paired):
            best = winners(metric, columns)
            units = f", {result.pair.units}" if metric.in_units and result.pair.units != "unknown" else ""
            cells = [_cell(metric, scores[metric.name], name, name in best) for name, scores in columns.items()]
            rows.append([Cell(metric.label, metric.about + units, code=True), *cells, f"{metric.best:g}"])
    return Table(["metric", *columns, "perfect"], rows, "Metrics of the synthetic traffic and of naive rows")


def _cell(metric: Metric, score: Score, name: str, best: bool) -> Cell:
    kind = "none" if score.value is None else "best" if best else "out" if name in ALL_KNOWING else ""
    return Cell(value_text(metric, score), interval_text(metric, score), kind, score.reason or "")


def _table_caption(result: Evaluation) -> str:
    text = ""
    if len(result.pair.synthetic) > 1:
        text = (
            "Errors of single values and levels are those of the ensemble's mean; crps, coverage, histograms, tails "
            "and autocorrelations take the members."
        )
    if any(name in result.naive for name in ALL_KNOWING):
        text += " b*users knows the users of the cells compared and takes no part."
    return text


def _reasons(result: Evaluation) -> list[Text]:
    items = [f"No value for {', '.join(names)}: {reason}." for reason, names in reasons(result).items()]
    items += [f"No naive row {', '.join(names)}: {reason}." for reason, names in missing(result).items()]
    return [Text("\n".join(items), "after")] if items else []


def _figures(result: Evaluation, real: xr.Dataset) -> list[Section]:
    pair = result.pair
    placed = has_positions(real)
    groups = real["location"].values[pair.rows] if "location" in real.coords else np.arange(len(pair.ids))
    ensemble = len(pair.synthetic) > 1
    week = "Real traffic in ink, synthetic in colour" + (", with the band of its members." if ensemble else ".")
    if not pair.paired:
        week += " The files share no time: they are laid side by side as the note above says."
    where = "Mean traffic of each cell, on one logarithmic scale; the third map is their ratio."
    if placed and figures.places(real, pair.rows).closed:
        where += " The cells are scattered: empty land between them is left out."
    thinned = figures.thinned(result)
    sections: list[tuple[str, str, Callable[[], str]]] = [
        ("Typical weeks", week, lambda: figures.weeks(result)),
        ("Level maps", where, lambda: figures.maps(result, real)),
        ("Quantile against quantile", "Points on the dashed line: synthetic values are as large, and as often, as real "
         "ones." + (" Right: the median of the members and their band." if ensemble else ""),
         lambda: figures.quantiles(result)),
        ("Autocorrelation", "How much an hour resembles the hours before it, averaged over the cells." + thinned,
         lambda: figures.autocorrelations(result)),
        ("Error by hour", "Over the hours of the local day, in % of the mean real traffic.",
         lambda: figures.hours(result)),
        ("Coverage by nominal level", "An ensemble that knows what it does not know lies on the dashed line: above it, "
         "it is too wide, below it, too sure of itself. Bars: 95% intervals." + thinned,
         lambda: figures.coverage(result, groups)),
    ]  # fmt: skip
    refused: dict[str, str] = {} if placed else {"Level maps": NO_PLACES}
    if not pair.paired:
        refused |= {"Error by hour": NO_TIME, "Coverage by nominal level": NO_TIME}
    if not ensemble:
        refused |= {"Coverage by nominal level": ONE_MEMBER}
    return [
        Section(title, [Text(caption), Text(f"Not shown: {refused[title]}.", "empty")] if title in refused
                else [figure(draw, caption)])
        for title, caption, draw in sections
    ]  # fmt: skip
