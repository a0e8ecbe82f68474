"""Traffic as one page for a colleague who was not there: what, where, by what, maps, weeks, busy hours, uncertainty.

The page needs no network, its Content-Security-Policy forbids every request, and it prints.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gentraffic.dataset.amounts import RELATIVE, step_seconds
from gentraffic.dataset.schema import check_traffic, has_positions, one_service
from gentraffic.dataset.services import with_sum
from gentraffic.dataset.summary import AGREED, FEW, Highest, highest, summary
from gentraffic.dataset.units import converted, readable
from gentraffic.io.export.counters import capacity_in
from gentraffic.reports import traffic_figures as figures
from gentraffic.reports import traffic_text as text
from gentraffic.reports.change import Change, change_of, change_pair, effect, parts_table, step_word
from gentraffic.reports.model_summary import ModelSummary, find_model
from gentraffic.reports.page import (
    Block,
    Bullets,
    Card,
    Cards,
    Page,
    Section,
    Table,
    Terms,
    Text,
    badge_of,
    figure,
    is_drawn,
    is_plan,
    page_text,
    title_of,
    traffic_words,
    write_html,
)

if TYPE_CHECKING:
    import xarray as xr

    from gentraffic.evaluation.evaluate import Evaluation

WEEKS_SHOWN = 5  # changes whose weeks are drawn
UNCHECKED = (
    "Nobody has checked these ranges: nothing was measured here to compare them with, and this model brings no test of "
    "its own. Treat them as too narrow. With measurements of some of the places, give --real measured.nc, and this "
    "section says how often they held."
)
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
    ds = readable(with_sum(ds, service))
    pair = change_pair(ds, service)
    change = None if pair is None else change_of(ds, pair)
    service = pair[1] if pair else one_service(ds, service)
    limit = None if capacity is None else capacity_in(capacity, ds, service)
    result, top = summary(ds, service, limit), highest(ds, service, limit)
    drew = find_model(ds, model)
    units = figures.said_units(ds, service)
    weeks = "Mean of every hour of the week in local time" + (
        ", with the band of the members." if "member" in ds.dims else "."
    )
    sections = [
        *([Section("What the change does", _change(ds, change, units))] if change else []),
        Section("Where they are" if is_plan(ds) else "Where the traffic is", _maps(ds, result, top, units, capacity)),
        Section("Typical weeks", [figure(lambda: figures.weeks(ds, service), weeks)]),
        Section("Busy hours", _busy(ds, service, result, top, units)),
        Section("Uncertainty", _uncertainty(ds, service, result, units, limit, capacity)),
        Section("Do the ranges hold?", _calibration(ds, service, drew, real)),
        Section("What to trust and what not", [Bullets(text.trust(ds, drew, result))]),
    ]
    shown = [section for section in sections if section.blocks]
    drawn = is_drawn(ds)
    warnings = [line for line in str(ds.attrs.get("warnings", "")).splitlines() if line]
    called = service.removesuffix("_after") if pair else service
    first: list[Block] = [
        *([Cards(change_cards(ds, change))] if change else []),
        Cards([*text.cards(ds, service, result), *_above_card(ds, top, change, limit, capacity)]),
        Terms(text.facts(ds, service, drew, result, called=called)),
        Bullets(warnings, "notes", "Warnings of the data"),
    ]
    about = " The first four numbers are the effect of the change, the others hold after it." if pair else ""
    whole = Page(
        title_of(ds, *([traffic_words(ds, service)] if is_plan(ds) else [])) + (": what a change does" if pair else ""),
        (LEAD_OF_A_PLAN if is_plan(ds) else _lead(drawn)) + about,
        [Section("", first), *shown, Section("How this was made", [Terms(text.made_by(ds), "small")], folded=True)],
        sources=[ds],
        badge=badge_of(ds),
    )
    return page_text(whole), [section.title for section in shown]


def change_cards(ds: xr.Dataset, change: Change) -> list[Card]:
    """The effect of a change in four numbers: area, cell that changes most, highest hour, and busiest hour."""
    return [Card(what, number, (remark,)) for what, number, remark in effect(ds, change)]


def _above_card(
    ds: xr.Dataset, top: Highest, change: Change | None, limit: float | None, capacity: str | None
) -> list[Card]:
    """How many cells exceed the capacity in any step; of a what-if also before."""
    if limit is None:
        return []
    remarks = [f"in at least one {step_word(ds)}" + ("; more than half of the members" * ("member" in ds.dims))]
    if change is not None:
        before = len(text.exceeding(highest(ds, change.names[0], limit)))
        remarks.append(f"before the change: {before:,}")
    many = len(text.exceeding(top))
    return [
        Card(f"{text.noun_of(ds).capitalize()}s above {capacity}", f"{many:,} of {ds.sizes['cell']:,}", tuple(remarks))
    ]


LEAD_OF_A_PLAN = "What a plan sets for each cell and hour. It was computed from traffic, and is no traffic itself."


def _lead(drawn: bool) -> str:
    if not drawn:
        return "What was measured, where and when, and when it is busy."
    return (
        "A model drew this traffic from what stands around each place on the map and from the hour of the week. It "
        "says what traffic such a place would plausibly carry, not what it carries."
    )


def _maps(ds: xr.Dataset, result: xr.Dataset, top: Highest, units: str, capacity: str | None) -> list[Block]:
    panels = figures.level_panels(result, units, capacity, top.above * step_seconds(ds) / 3600)
    if figures.hours_are_chance(ds):
        panels = [panel for panel in panels if panel.title != figures.BUSY_HOUR]
    told: list[Block] = [Text(text.capacity_words(ds, top, units, capacity), "after")] if capacity else []
    if ds.sizes["cell"] < 2 or not has_positions(ds):
        return told
    sentences = f"Mean{'' if is_plan(ds) else ' traffic'}: over the whole period."
    if is_plan(ds):
        panels = [
            replace(panel, title=panel.title.replace("Mean traffic", "Mean"))
            for panel in panels
            if panel.title != figures.BUSY_HOUR
        ]
    elif figures.hours_are_chance(ds):
        sentences += f" The busy hour of each {text.noun_of(ds)} is not mapped: of one member it is chance"
    else:
        sentences += " Busy hour: when the average day is highest"
    if "busy_agreement" in result:
        noun, unsure = text.noun_of(ds), int((result["busy_agreement"].values < AGREED).sum())
        sentences += (
            f"; grey where fewer than half of the members agree on it within an hour ({unsure:,} of "
            f"{ds.sizes['cell']:,} {noun}s)"
        )
    sentences = sentences.rstrip(".") + "."
    if "mean_p95" in result:
        sentences += f" Uncertainty: high end over low end of the mean ({figures.band_words(ds)}); 2 means twice."
    if figures.shows_water(ds):
        sentences += " Pale blue: water, over the colours of the cells."
    if figures.layout(ds).closed:
        sentences += " The cells are scattered: empty land between them is left out."
    label = "Maps of mean traffic, busy hour and uncertainty"
    return [figure(lambda: figures.maps(ds, panels, label), sentences), *told]


def _busy(ds: xr.Dataset, service: str, result: xr.Dataset, top: Highest, units: str) -> list[Block]:
    head, rows = text.busy_table(ds, result, units, top)
    sentences = f"The busiest {text.noun_of(ds)}s by their mean"
    sentences += f"; ranges are the {figures.band_words(ds)}" if "mean_p95" in result else ""
    unsure = "busy_agreement" in result and bool((result["busy_agreement"].values < AGREED).any())
    sentences += "; ?: fewer than half of the members agree on the busy hour within an hour" if unsure else ""
    sentences += ". gentraffic export geopackage writes all of them."
    caption = "The course of the mean day, and when each one is busiest."
    if figures.hours_are_chance(ds):
        caption += f" Of one member the busy hour of one {text.noun_of(ds)} is chance; trust the whole, not the one."
    highs = f"The {text.noun_of(ds)}s with the highest single {step_word(ds)}."
    return [
        figure(lambda: figures.days(ds, service, result), caption),
        Text(sentences, "after"),
        Table(head, rows, sentences),
        Text(highs, "after"),
        Table(*text.highest_table(ds, result, units, top), highs),
    ]


def _uncertainty(
    ds: xr.Dataset, service: str, result: xr.Dataset, units: str, limit: float | None, capacity: str | None
) -> list[Block]:
    noun = text.noun_of(ds)
    if not is_drawn(ds) and "member" not in ds.dims:
        return []
    if "member" not in ds.dims:
        return [Text("One member was drawn, and so there is no range to show: draw an ensemble with gentraffic sample "
                     "--members 20.", "empty")]  # fmt: skip
    sentences = f"Every {noun} in the order of its level, with the {figures.band_words(ds)}."
    if ds.sizes["member"] < FEW:
        sentences += " Few members show less than the whole uncertainty: draw 20."
    if limit is not None:
        likely, sure = (int((result["p_above"].values > p).sum()) for p in (0.5, 0.95))
        some = int((result["p_above"].values > 0.05).sum())
        sentences += (
            f" Capacity {capacity}: {sure} {noun}s exceed it almost surely (more than 95% of the members) in at "
            f"least one step of the period, {likely} more likely than not, {some} with a probability above 5%; "
            f"{result['time_above'].values.mean():.2%} of all {noun}s' time is above it."
        )
    blocks: list[Block] = [figure(lambda: figures.uncertainty(ds, result, units, limit), sentences)]
    if ds.sizes["cell"] < 2:
        return blocks
    sentences = (
        f"Quantile maps of the mean level: what each {noun} carries at the low end, in the middle and at the high end."
    )
    label = "Maps of the low end, the median and the high end of the mean level"
    return [*blocks, figure(lambda: figures.maps(ds, figures.quantile_panels(result, units), label), sentences)]


def _calibration(ds: xr.Dataset, service: str, drew: ModelSummary | None, real: xr.Dataset | None) -> list[Block]:
    if real is not None:
        from gentraffic.evaluation.evaluate import evaluate

        # The page may show a smaller unit than the file has; what is relative has no unit to convert.
        units = str(ds[service].attrs["units"])
        real = converted(real[[service]] if service in real else real, units)
        alone = RELATIVE in {str(v.attrs["units"]) for v in real.data_vars.values()} - {units}
        return _against(evaluate(real, ds[[service]], service=None, scale="mean" if alone else "auto"), real)
    if drew is None or not is_drawn(ds) or "member" not in ds.dims:
        return []
    if not drew.rows:
        return [Text(UNCHECKED + (f" ({drew.note}.)" if drew.note else ""), "empty")]
    sentences = (
        "On places that the model's training never saw: the share of measured values inside the central 90% of the "
        "members (90% would be perfect), and the error of the whole ensemble (crps; lower is better) beside two naive "
        "rows. This place may be harder than those: with measurements of it, give --real."
    )
    rows = [[name, network, f"{cover:.0%}", f"{crps:.4f}"] for name, network, cover, crps in drew.rows]
    return [
        Text(sentences),
        Table(["Row", "Network", "Inside 90%", "crps"], rows, "Scores of the model on other places"),
    ]


def _against(result: Evaluation, real: xr.Dataset) -> list[Block]:
    """Coverage against measurements of the same cells."""
    from gentraffic.evaluation.scores import METRICS, NO_TIME, ONE_MEMBER
    from gentraffic.reports.evaluation_figures import coverage
    from gentraffic.reports.evaluation_table import interval_text, value_text

    pair = result.pair
    about = {metric.name: metric for metric in METRICS}
    rows = [
        [about[name].about, value_text(about[name], score), interval_text(about[name], score) or "-",
         f"{about[name].best:g}"]
        for name in CHECKED
        if (score := result.scores[name]).value is not None
    ]  # fmt: skip
    sentences = (
        f"Against measurements of {len(pair.ids):,} of the {text.noun_of(real)}s: on the dashed line, ranges are as "
        "wide as they should be; above it too wide, below it too sure."
    )
    notes = [_in_words(note) for note in result.notes if "_p9999" not in note]
    groups = real["location"].values[pair.rows] if "location" in real.coords else np.arange(len(pair.ids))
    reason = NO_TIME if not pair.paired else ONE_MEMBER if len(pair.synthetic) < 2 else ""
    shown: Block = Text(f"Not shown: {reason}.", "empty") if reason else figure(lambda: coverage(result, groups))
    table = Table(["Score", "Value", "95% interval", "Perfect"], rows, "Scores against measurements")
    return [Text(sentences), Bullets(notes, "notes"), shown, table]


def _in_words(note: str) -> str:
    """A note of `gentraffic evaluate`, without the names of its options."""
    sentences = note.replace("--synthetic", "the drawn traffic").replace("--real", "the measurements")
    return sentences.split("; give --")[0].replace("the measurements's", "that of the measurements")


def _change(ds: xr.Dataset, change: Change, units: str) -> list[Block]:
    """Difference map, typical weeks and the cells that change most."""
    before, after, apart = change.before, change.after, change.apart
    order = np.argsort(-np.abs(apart), kind="stable")
    # A panel for each change by its name, else for the cells that change most.
    rows = {part.row: part.name for part in reversed(change.parts[:WEEKS_SHOWN])}
    rows = dict(reversed(rows.items())) or {int(i): "Changed most" for i in order[:2] if apart[i] != 0}
    summary_lines = str(ds.attrs.get("change_summary", "")).splitlines()
    sentences = [
        *summary_lines,
        f"The region carries {change.total:+.2%}; {int((apart != 0).sum()):,} of {len(apart):,} {text.noun_of(ds)}s "
        f"change, {change.large:,} of them by more than 5%.",
        f"Before and after are drawn with the same noise, so that their difference is the change's effect: "
        f"{ds.attrs.get('change_reach', '')}.",
    ]
    if any("radio cell" in line or " off" in line for line in summary_lines):
        sentences.append("Sites are known to the model as a sign of demand: it does not move their load to neighbours.")
    panels = figures.change_panels(before, after, units)
    label = "Maps of the difference, of before and of after"
    drawn = figure(lambda: figures.maps(ds, panels, label), "After minus before, and both.")
    blocks: list[Block] = [Bullets(sentences)]
    if change.parts:
        about = "Each change: the cell that it touches (of several the one that changes most), before and after."
        blocks += [Text(about, "after"), Table(*parts_table(ds, change), about)]
    blocks.append(drawn)
    if rows:
        blocks.append(figure(lambda: figures.change_weeks(ds, change.names, rows), "Typical weeks."))
    head = [text.noun_of(ds).capitalize(), "Where", "Mean before", "Mean after", "Difference", "Share"]
    table = [
        [str(ds["cell_id"].values[i]), text.where(ds, i), text.number(before[i]), text.number(after[i]),
         text.signed(apart[i]), f"{apart[i] / before[i]:+.0%}" if before[i] else "-"]
        for i in order[:10] if apart[i] != 0
    ]  # fmt: skip
    return [*blocks, *([Table(head, table, "The cells that change most")] if table else [])]
