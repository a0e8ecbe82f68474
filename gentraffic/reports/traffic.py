"""Traffic as one page for a colleague who was not there: what, where, by what, maps, weeks, busy hours, uncertainty.

The page needs no network, its Content-Security-Policy forbids every request, and it prints.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gentraffic.dataset.amounts import RELATIVE
from gentraffic.dataset.positions import has_positions
from gentraffic.dataset.schema import check_traffic, one_service, services
from gentraffic.dataset.summary import FEW, summary
from gentraffic.dataset.units import converted, readable
from gentraffic.io.export.counters import capacity_in
from gentraffic.reports import traffic_figures as figures
from gentraffic.reports import traffic_text as text
from gentraffic.reports.model_summary import Card, find_card
from gentraffic.reports.page import asset, bullets, escaped, filled, terms, whole_page, write_html

if TYPE_CHECKING:
    import xarray as xr

    from gentraffic.evaluation.evaluate import Evaluation

CHECKED = ("coverage_90", "coverage_50", "crps", "mae", "level_spearman", "peak_hour_error", "acf_error")


def write_report(
    ds: xr.Dataset,
    path: str | Path,
    *,
    service: str | None = None,
    capacity: str | None = None,
    model: str | Path | None = None,
    real: xr.Dataset | None = None,
) -> list[str]:
    """Write the report of a traffic Dataset to `path` (.html); return the titles of its sections.

    service: which, the first unless named; a file of a what-if shows the change, and then what comes after it.
    capacity: such as "40Mbit/s". model: the model's folder, where it is not bundled. real: measured traffic of the same
    cells, to see whether the ensemble's ranges hold. Raises WrongUse, BadInput, BadModel.
    """
    content, titles = page(ds, service=service, capacity=capacity, model=model, real=real)
    write_html(path, content)
    return titles


def page(
    ds: xr.Dataset,
    *,
    service: str | None = None,
    capacity: str | None = None,
    model: str | Path | None = None,
    real: xr.Dataset | None = None,
) -> tuple[str, list[str]]:
    """The page that `write_report` writes, and the titles of its sections."""
    check_traffic(ds)
    ds = readable(ds)
    pair = change_pair(ds, service)
    service = pair[1] if pair else one_service(ds, service)
    limit = None if capacity is None else capacity_in(capacity, ds, service)
    found = summary(ds, service, limit)
    card = find_card(ds, model)
    units = figures.said_units(ds, service)
    sections = [
        *([("What the change does", _change(ds, pair))] if pair else []),
        ("Where the traffic is", _maps(ds, found, units, capacity)),
        ("Typical weeks", _figure(
            "Mean of every hour of the week in local time" + (", with the band of the members." if "member" in ds.dims
            else "."), lambda: figures.weeks(ds, service))),
        ("Busy hours", _busy(ds, service, found, units)),
        ("Uncertainty", _uncertainty(ds, service, found, units, limit, capacity)),
        ("Do the ranges hold?", _calibration(ds, service, card, real)),
        ("What to trust and what not", bullets(text.trust(ds, card, found), "trust")),
    ]  # fmt: skip
    shown = [(title, body) for title, body in sections if body]
    place = str(ds.attrs.get("place", ""))
    drawn = text.is_drawn(ds)
    title = f"Cellular traffic of {place}" if place else str(ds.attrs.get("title") or "Cellular traffic")
    title += ": what a change does" if pair else ""
    parts = {
        "cards": _cards(text.cards(ds, service, found)),
        "facts": terms(text.facts(ds, service, card, called=service.removesuffix("_after") if pair else service)),
        "sections": "\n".join(f"<section><h2>{escaped(title)}</h2>{body}</section>" for title, body in shown),
        "made": terms(text.made_by(ds)),
    }
    kind = "Synthetic traffic, not measured" if drawn else "Measured traffic"
    whole = whole_page(
        title,
        _lead(drawn) + (" The numbers are those after the change." if pair else ""),
        filled("page/report.html", parts),
        sources=[ds],
        css=asset("page/report.css"),
        above=f'<p class="kind{"" if drawn else " measured"}">{kind}</p>\n',
    )
    return whole, [title for title, _ in shown]


def change_pair(ds: xr.Dataset, service: str | None) -> tuple[str, str] | None:
    """The services NAME_before and NAME_after of a what-if, where `ds` holds them and `service` names no other."""
    names = services(ds)
    for name in names:
        base = name.removesuffix("_before")
        if base != name and f"{base}_after" in names and service in (None, base, name, f"{base}_after"):
            return name, f"{base}_after"
    return None


def _lead(drawn: bool) -> str:
    if not drawn:
        return "What was measured, where and when, and when it is busy."
    return (
        "A model drew this traffic from what stands around each place on the map and from the hour of the week. It "
        "says what traffic such a place would plausibly carry, not what it carries."
    )


def _maps(ds: xr.Dataset, found: xr.Dataset, units: str, capacity: str | None) -> str:
    panels = figures.level_panels(found, units, capacity)
    if ds.sizes["cell"] < 2 or not has_positions(ds):
        return ""
    said = "Mean traffic: over the whole period. Busy hour: when a cell's average day is highest."
    if "mean_p95" in found:
        said += f" Uncertainty: the {figures.band_words(ds)}, high end over low end; 2 means twice."
    if figures.layout(ds).closed:
        said += " The cells are scattered: empty land between them is left out."
    return _figure(said, lambda: figures.maps(ds, panels, "Maps of mean traffic, busy hour and uncertainty"))


def _busy(ds: xr.Dataset, service: str, found: xr.Dataset, units: str) -> str:
    head, rows = text.busy_table(ds, found, units)
    said = f"The busiest {text.noun_of(ds)}s by their mean; gentraffic export geopackage has all of them."
    caption = "The course of the mean day, and when each one is busiest."
    body = _figure(caption, lambda: figures.days(ds, service, found))
    return body + f'<p class="caption after">{escaped(said)}</p>' + _table(head, rows)


def _uncertainty(
    ds: xr.Dataset, service: str, found: xr.Dataset, units: str, limit: float | None, capacity: str | None
) -> str:
    noun = text.noun_of(ds)
    if not text.is_drawn(ds) and "member" not in ds.dims:
        return ""
    if "member" not in ds.dims:
        return ('<p class="empty">One member was drawn, and so there is no range to show: draw an ensemble with '
                "<code>gentraffic sample --members 20</code>.</p>")  # fmt: skip
    said = f"Every {noun} in the order of its level, with the {figures.band_words(ds)}."
    if ds.sizes["member"] < FEW:
        said += " Few members show less than the whole uncertainty: draw 20."
    if limit is not None:
        likely, sure = (int((found["p_above"].values > p).sum()) for p in (0.5, 0.95))
        some = int((found["p_above"].values > 0.05).sum())
        said += (
            f" Capacity {capacity}: {sure} {noun}s exceed it almost surely (more than 95% of the members) in at "
            f"least one step of the period, {likely} more likely than not, {some} with a probability above 5%; "
            f"{found['time_above'].values.mean():.2%} of all {noun}s' time is above it."
        )
    body = _figure(said, lambda: figures.uncertainty(ds, found, units, limit))
    if ds.sizes["cell"] < 2:
        return body
    said = (
        f"Quantile maps of the mean level: what each {noun} carries at the low end, in the middle and at the high end."
    )
    label = "Maps of the low end, the median and the high end of the mean level"
    return body + _figure(said, lambda: figures.maps(ds, figures.quantile_panels(found, units), label))


def _calibration(ds: xr.Dataset, service: str, card: Card | None, real: xr.Dataset | None) -> str:
    if real is not None:
        from gentraffic.evaluation.evaluate import evaluate

        # The page may show a smaller unit than the file has; what is relative has no unit to convert.
        units = str(ds[service].attrs["units"])
        real = converted(real[[service]] if service in real else real, units)
        alone = RELATIVE in {str(v.attrs["units"]) for v in real.data_vars.values()} - {units}
        return _against(evaluate(real, ds[[service]], service=None, scale="mean" if alone else "auto"), real)
    if card is None or not text.is_drawn(ds):
        return ""
    if not card.rows:
        note = card.note or "the card of this model holds no scores"
        return _empty(f"{note[0].upper()}{note[1:]}.")
    said = (
        "From the model's card: on places that training never saw, the share of measured values inside the central 90% "
        "of the members (90% would be perfect), and the error of the whole ensemble (crps; lower is better) beside two "
        "naive rows. This place may be harder than those: with measurements of it, give --real."
    )
    rows = [[name, network, f"{cover:.0%}", f"{crps:.4f}"] for name, network, cover, crps in card.rows]
    return f'<p class="caption">{escaped(said)}</p>' + _table(["Row", "Network", "Inside 90%", "crps"], rows)


def _against(found: Evaluation, real: xr.Dataset) -> str:
    """Coverage against measurements of the same cells."""
    from gentraffic.evaluation.scores import METRICS, NO_TIME, ONE_MEMBER
    from gentraffic.reports.evaluation_figures import coverage
    from gentraffic.reports.evaluation_table import interval_text, value_text

    pair = found.pair
    about = {metric.name: metric for metric in METRICS}
    rows = [
        [about[name].about, value_text(about[name], score), interval_text(about[name], score) or "-",
         f"{about[name].best:g}"]
        for name in CHECKED
        if (score := found.scores[name]).value is not None
    ]  # fmt: skip
    said = (
        f"Against measurements of {len(pair.ids):,} of the {text.noun_of(real)}s: on the dashed line, ranges are as "
        "wide as they should be; above it too wide, below it too sure."
    )
    notes = bullets((_in_words(note) for note in found.notes if "_p9999" not in note), "notes")
    groups = real["location"].values[pair.rows] if "location" in real.coords else np.arange(len(pair.ids))
    reason = NO_TIME if not pair.paired else ONE_MEMBER if len(pair.synthetic) < 2 else ""
    figure = _empty(f"Not shown: {reason}.") if reason else _figure("", lambda: coverage(found, groups))
    body = f'<p class="caption">{escaped(said)}</p>{notes}{figure}'
    return body + _table(["Score", "Value", "95% interval", "Perfect"], rows)


def _in_words(note: str) -> str:
    """A note of `gentraffic evaluate`, without the names of its options."""
    said = note.replace("--synthetic", "the drawn traffic").replace("--real", "the measurements")
    return said.split("; give --")[0].replace("the measurements's", "that of the measurements")


def _change(ds: xr.Dataset, pair: tuple[str, str]) -> str:
    """Difference map, typical weeks and the cells that change most."""
    units = figures.said_units(ds, pair[0])
    mean = []
    for name in pair:
        values = ds[name].values
        mean.append(values.mean(axis=tuple(i for i in range(values.ndim) if i != values.ndim - 2), dtype=np.float64))
    before, after = mean
    apart = after - before
    order = np.argsort(-np.abs(apart), kind="stable")
    rows = [int(i) for i in order[:2] if apart[i] != 0]
    summary_lines = str(ds.attrs.get("change_summary", "")).splitlines()
    total = after.sum() / before.sum() - 1 if before.sum() else 0.0
    said = [
        *summary_lines,
        f"The region carries {total:+.2%}; {int((apart != 0).sum()):,} of {len(apart):,} {text.noun_of(ds)}s change, "
        f"{int((np.abs(apart) > 0.05 * np.maximum(before, 1e-300)).sum()):,} of them by more than 5%.",
        f"Before and after are drawn with the same noise, so that their difference is the change's effect: "
        f"{ds.attrs.get('change_reach', '')}.",
    ]  # fmt: skip
    if any("radio cell" in line or " off" in line for line in summary_lines):
        said.append("Sites are known to the model as a sign of demand: it does not move their load to neighbours.")
    body = bullets(said, "trust")
    panels = figures.change_panels(before, after, units)
    body += _figure(
        "After minus before, and both.",
        lambda: figures.maps(ds, panels, "Maps of the difference, of before and of after"),
    )
    if rows:
        body += _figure("Typical weeks.", lambda: figures.change_weeks(ds, pair, rows))
    head = [text.noun_of(ds).capitalize(), "Where", "Before", "After", "Difference", "Share"]
    table = [
        [str(ds["cell_id"].values[i]), f"{ds['lat'].values[i]:.4f}, {ds['lon'].values[i]:.4f}", text.number(before[i]),
         text.number(after[i]), f"{'+' if apart[i] > 0 else ''}{text.number(apart[i])}",
         f"{apart[i] / before[i]:+.0%}" if before[i] else "-"]
        for i in order[:10] if apart[i] != 0
    ]  # fmt: skip
    return body + (_table(head, table) if table else "")


def _figure(caption: str, draw: Callable[[], str]) -> str:
    said = f'<p class="caption">{escaped(caption)}</p>' if caption else ""
    try:
        body = f"<figure>{draw()}</figure>"
    except ValueError as error:
        body = _empty(f"Not shown: {error}.")
    return f'<div class="whole">{said}{body}</div>'


def _empty(why: str) -> str:
    return f'<p class="empty">{escaped(why)}</p>'


def _cards(items: Sequence[tuple[str, str, str]]) -> str:
    each = []
    for word, value, remark in items:
        size = "long" if len(value) > 11 else "short"
        each.append(
            f'<li><span>{escaped(word)}</span><b class="{size}">{escaped(value)}</b><span>{escaped(remark)}</span></li>'
        )
    return f'<ul class="cards">{"".join(each)}</ul>'


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    top = "".join(f"<th>{escaped(name)}</th>" for name in head)
    lines = "".join(
        f"<tr><th>{escaped(row[0])}</th>{''.join(f'<td>{escaped(cell)}</td>' for cell in row[1:])}</tr>" for row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{top}</tr></thead><tbody>{lines}</tbody></table></div>'
