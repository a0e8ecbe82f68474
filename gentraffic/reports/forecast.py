"""A forecaster's scores as one HTML page: the table beside the naive rows, maps and curves. It needs no network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gentraffic.forecasting.fit import ssim_window
from gentraffic.forecasting.score import LOWER, METRICS, Scored
from gentraffic.reports import forecast_figures as figures
from gentraffic.reports.page import Card, Cards, Cell, Page, Section, Table, Terms, Text, figure, page_text, write_html

if TYPE_CHECKING:
    import xarray as xr

ABOUT = {
    "mae": "mean absolute error",
    "rmse": "root of the mean squared error",
    "r2": "share of the variance explained",
    "ssim": "structural similarity of frames",
}


def write_page(
    scored: Scored, name: str, ds: xr.Dataset, services: Sequence[str], path: str | Path, *, traffic: str, model: str
) -> None:
    """Write the page of `scored` to `path` (.html).

    ds: the traffic scored on. traffic, model: what to call the files. Raises WrongUse for the suffix, BadInput where
    the page cannot be written.
    """
    write_html(path, page(scored, name, ds, services, traffic=traffic, model=model))


def page(scored: Scored, name: str, ds: xr.Dataset, services: Sequence[str], *, traffic: str, model: str) -> str:
    """The page that `write_page` writes."""
    place = str(ds.attrs.get("place") or ds.attrs.get("title") or "")
    sections = [
        section
        for s, service in enumerate(services)
        for section in _service(scored, name, ds, s, service, titled=len(services) > 1)
    ]
    whole = Page(
        f"Forecasts of {name}{': ' + place if place else ''}",
        f"traffic: {traffic} · forecaster: {model}",
        [Section("", [Terms(_facts(scored, ds))]), *sections],
        sources=[ds],
    )
    return page_text(whole)


def _service(scored: Scored, name: str, ds: xr.Dataset, s: int, service: str, *, titled: bool) -> list[Section]:
    units = str(ds[service].attrs["units"])
    drawn: list[tuple[str, str, Callable[[], str]]] = [
        ("Errors by steps ahead", "Steps beyond the forecaster's own horizon are fed its own forecasts.",
         lambda: figures.by_step(scored, name, s)),
        ("Error map", "One step ahead. The third map: below 1 (blue) the forecaster is ahead of the best naive row.",
         lambda: figures.error_maps(scored, ds, name, s)),
        ("RMSE and R2 of each cell", "One step ahead. R2 is against the cell's own mean over the test.",
         lambda: figures.fit_maps(scored, name=name, ds=ds, service=s)),
        ("Deviations", "One step ahead, all live cells and steps of the test.",
         lambda: figures.deviations(scored, name, s)),
        ("Best and worst cell", "By RMSE over the cell's mean traffic, one step ahead.",
         lambda: figures.best_and_worst(scored, ds, name, s)),
    ]  # fmt: skip
    return [
        Section(f"{service}, {units}" if titled else "", [Cards(_cards(scored, name, s))]),
        Section("Scores", [Text(_caption(scored, units)), _table(scored, s)]),
        *(Section(title, [figure(draw, caption)]) for title, caption, draw in drawn),
    ]


def _cards(scored: Scored, name: str, s: int) -> list[Card]:
    items = []
    for metric in METRICS:
        value = scored.rows[name][metric][s, 0]
        rivals = {row: errors[metric][s, 0] for row, errors in scored.rows.items() if row != name}
        rivals = {row: v for row, v in rivals.items() if not np.isnan(v)}
        if np.isnan(value):
            continue
        pick = min if metric in LOWER else max
        rival = pick(rivals, key=lambda row, rivals=rivals: rivals[row]) if rivals else None  # type: ignore[misc]
        beside = f"best naive: {rivals[rival]:.4g}, {rival}" if rival else "no naive row"
        items.append(Card(metric, f"{value:.4g}", ("one step ahead", beside), code=True))
    return items


def _table(scored: Scored, s: int) -> Table:
    rows = list(scored.rows)
    lines: list[list[Cell | str]] = []
    for metric in METRICS:
        for h in range(scored.real.shape[2]):
            values = [float(scored.rows[row][metric][s, h]) for row in rows]
            known = [v for v in values if not np.isnan(v)]
            best = (min(known) if metric in LOWER else max(known)) if known else None
            cells = [
                Cell("–", kind="none") if np.isnan(v) else Cell(f"{v:.4g}", kind="best" if v == best else "")
                for v in values
            ]
            lines.append([Cell(f"{metric}, {h + 1}", ABOUT[metric] if h == 0 else "", code=True), *cells])
    return Table(["metric, step", *rows], lines, "Scores beside the naive rows")


def _caption(scored: Scored, units: str) -> str:
    window = ssim_window(scored.part.network)
    units_text = f"In {units}. " if units not in ("1", "unknown") else ""
    units_text += f"ssim has a window of {window} x {window}." if window else "ssim needs cells that fill a rectangle."
    return units_text + "".join(f" No row {row}: {why}." for row, why in scored.missing.items())


def _facts(scored: Scored, ds: xr.Dataset) -> list[tuple[str, str]]:
    times = ds["time"].values[[scored.starts[0], min(scored.starts[-1] + scored.real.shape[2], len(ds["time"])) - 1]]
    first, last = (str(np.datetime_as_string(t, unit="m")).replace("T", " ") for t in times)
    dead = int((~(scored.real > 0).any(axis=(0, 2, 3))).sum())
    return [
        ("cells", f"{scored.real.shape[1]:,}, of which {dead:,} are dead and left out"),
        ("test", f"{len(scored.starts):,} first steps, {first} to {last} UTC"),
        ("scaler", f"mean and spread of each cell over the first {scored.part.known:,} steps"),
    ]
