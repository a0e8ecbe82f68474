"""A forecaster's scores as one HTML page: the table beside the naive rows, maps and curves. It needs no network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gentraffic.forecasting.fit import ssim_window
from gentraffic.forecasting.score import LOWER, METRICS, Scored
from gentraffic.reports import forecast_figures as figures
from gentraffic.reports.page import escaped, terms, whole_page, write_html

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
    place = str(ds.attrs.get("place") or ds.attrs.get("network") or ds.attrs.get("title") or "")
    sections = "\n".join(
        _service(scored, name, ds, s, service, titled=len(services) > 1) for s, service in enumerate(services)
    )
    title = f"Forecasts of {name}{': ' + place if place else ''}"
    content = f"<dl>{_facts(scored, ds)}</dl>\n{sections}\n"
    return whole_page(title, f"traffic: {traffic} · forecaster: {model}", content, sources=[ds])


def _service(scored: Scored, name: str, ds: xr.Dataset, s: int, service: str, *, titled: bool) -> str:
    units = str(ds[service].attrs["units"])
    drawn: list[tuple[str, str, Callable[[], str]]] = [
        ("Errors by steps ahead", "Steps beyond the forecaster's own horizon are fed its own forecasts.",
         lambda: figures.by_step(scored, name, s)),
        ("Error map", "One step ahead. The third map: below 1 (blue) the forecaster is ahead of the best naive row.",
         lambda: figures.error_maps(scored, ds, name, s)),
        ("Deviations", "One step ahead, all live cells and steps of the test.",
         lambda: figures.deviations(scored, name, s)),
        ("Best and worst cell", "By RMSE over the cell's mean traffic, one step ahead.",
         lambda: figures.best_and_worst(scored, ds, name, s)),
    ]  # fmt: skip
    out = [f"<h2>{escaped(service)}, {escaped(units)}</h2>" if titled else "", _cards(scored, name, s)]
    out += ["<h2>Scores</h2>", f'<p class="caption">{escaped(_caption(scored, units))}</p>']
    out += [f'<div class="scroll">{_table(scored, s)}</div>']
    for title, caption, draw in drawn:
        try:
            body = f"<figure>{draw()}</figure>"
        except ValueError as error:
            body = f'<p class="empty">Not shown: {escaped(error)}.</p>'
        out.append(f'<h2>{title}</h2><p class="caption">{escaped(caption)}</p>{body}')
    return "\n".join(out)


def _cards(scored: Scored, name: str, s: int) -> str:
    items = []
    for metric in METRICS:
        value = scored.rows[name][metric][s, 0]
        rivals = {row: found[metric][s, 0] for row, found in scored.rows.items() if row != name}
        rivals = {row: v for row, v in rivals.items() if not np.isnan(v)}
        if np.isnan(value):
            continue
        pick = min if metric in LOWER else max
        rival = pick(rivals, key=lambda row, rivals=rivals: rivals[row]) if rivals else None  # type: ignore[misc]
        beside = f"best naive: {rivals[rival]:.4g}, {rival}" if rival else "no naive row"
        items.append(
            f"<li><code>{metric}</code><b>{value:.4g}</b><span>one step ahead</span><span>{escaped(beside)}</span></li>"
        )
    return f'<ul class="cards">{"".join(items)}</ul>'


def _table(scored: Scored, s: int) -> str:
    rows = list(scored.rows)
    head = "".join(f"<th>{escaped(row)}</th>" for row in rows)
    lines = [f"<thead><tr><th>metric, step</th>{head}</tr></thead><tbody>"]
    horizon = scored.real.shape[2]
    for metric in METRICS:
        for h in range(horizon):
            values = [float(scored.rows[row][metric][s, h]) for row in rows]
            known = [v for v in values if not np.isnan(v)]
            best = (min(known) if metric in LOWER else max(known)) if known else None
            cells = "".join(
                '<td class="none">–</td>' if np.isnan(v) else f'<td class="{"best" if v == best else ""}">{v:.4g}</td>'
                for v in values
            )
            about = f"<small>{ABOUT[metric]}</small>" if h == 0 else ""
            lines.append(f"<tr><th><code>{metric}</code>, {h + 1}{about}</th>{cells}</tr>")
    return f"<table>{''.join(lines)}</tbody></table>"


def _caption(scored: Scored, units: str) -> str:
    window = ssim_window(scored.part.network)
    said = f"In {units}. " if units not in ("1", "unknown") else ""
    said += f"ssim has a window of {window} x {window}." if window else "ssim needs cells that fill a rectangle."
    return said + "".join(f" No row {row}: {why}." for row, why in scored.missing.items())


def _facts(scored: Scored, ds: xr.Dataset) -> str:
    times = ds["time"].values[[scored.starts[0], min(scored.starts[-1] + scored.real.shape[2], len(ds["time"])) - 1]]
    first, last = (str(np.datetime_as_string(t, unit="m")).replace("T", " ") for t in times)
    dead = int((~(scored.real > 0).any(axis=(0, 2, 3))).sum())
    said = [
        ("cells", f"{scored.real.shape[1]:,}, of which {dead:,} are dead and left out"),
        ("test", f"{len(scored.starts):,} first steps, {first} to {last} UTC"),
        ("scaler", f"mean and spread of each cell over the first {scored.part.known:,} steps"),
    ]
    return terms(said)
