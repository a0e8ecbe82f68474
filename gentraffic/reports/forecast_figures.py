"""The pictures of a forecaster's scores, each as one SVG element that refers to nothing outside itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gentraffic.forecasting.score import Scored
from gentraffic.reports.evaluation_figures import RATIOS, axis_number, cell_map, places, shortened, top_legend
from gentraffic.reports.map_layers import COLOURS
from gentraffic.reports.plot import ACCENT, INK
from gentraffic.reports.svg import new_figure, page_style, plain_text, svg_text

if TYPE_CHECKING:
    import xarray as xr

ROW_COLOURS = ("#8a94a3", "#c9a227", "#4f8f6f")  # of the naive rows
MOST_POINTS = 200_000  # values that an ECDF is made of


def error_maps(scored: Scored, ds: xr.Dataset, name: str, service: int) -> str:
    """The mean absolute error of each cell at the first step, over its mean traffic, and against the best naive row."""
    from matplotlib.colors import LinearSegmentedColormap, Normalize

    if len(scored.real[0]) < 2:
        raise ValueError("one cell makes no map")
    live = (scored.real[..., service] > 0).any(axis=(0, 2))
    level = scored.real[..., 0, service].mean(axis=0)
    mae = {row: np.abs(predicted[..., 0, service] - scored.real[..., 0, service]).mean(axis=0)
           for row, predicted in scored.predicted.items()}  # fmt: skip
    with np.errstate(invalid="ignore", divide="ignore"):
        relative = np.where(live, 100 * mae[name] / level, np.nan)
        rival = best_naive(scored, name, service)
        against = np.where(live, np.log2(mae[name] / mae[rival]), np.nan) if rival else None
    panels: list[tuple[str, NDArray[Any], Any, Any]] = []
    traffic = LinearSegmentedColormap.from_list("traffic", list(COLOURS))
    for title, values in (("mean absolute error", np.where(live, mae[name], np.nan)), ("in % of the mean", relative)):
        low, high = (float(v) for v in np.nanquantile(values, (0.02, 0.98)))
        panels.append((title, values, traffic, Normalize(low, max(high, low * 1.01 + 1e-12))))
    if against is not None:
        twosided = LinearSegmentedColormap.from_list("ratio", list(RATIOS))
        panels.append((f"error / error of {rival}", against.clip(-1.5, 1.5), twosided, Normalize(-1, 1)))
    return _maps(panels, ds, "Error maps: mean absolute error of each cell, one step ahead")


def fit_maps(scored: Scored, ds: xr.Dataset, name: str, service: int) -> str:
    """The RMSE and the R2 of each cell at the first step (sLSTM-STN, figure 4 a and b)."""
    from matplotlib.colors import LinearSegmentedColormap, Normalize

    if len(scored.real[0]) < 2:
        raise ValueError("one cell makes no map")
    live = (scored.real[..., service] > 0).any(axis=(0, 2))
    rmse, explained = cell_fit(scored, name, service)
    traffic = LinearSegmentedColormap.from_list("traffic", list(COLOURS))
    high = float(np.quantile(rmse[live], 0.98)) if live.any() else 1.0
    panels = [
        ("root of the mean squared error", np.where(live, rmse, np.nan), traffic, Normalize(0, max(high, 1e-12))),
        ("R2, share of the variance explained", np.where(live, explained, np.nan), traffic, Normalize(0, 1)),
    ]
    return _maps(panels, ds, "Maps of RMSE and R2 of each cell, one step ahead")


def cell_fit(scored: Scored, name: str, service: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """RMSE and R2 of each cell one step ahead, two of (cells,); nan R2 where a cell does not vary."""
    real = scored.real[..., 0, service].astype(np.float64)
    square = ((scored.predicted[name][..., 0, service] - real) ** 2).mean(axis=0)
    variance = real.var(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.sqrt(square), np.where(variance > 0, 1 - square / variance, np.nan)


def _maps(panels: Sequence[tuple[str, NDArray[Any], Any, Any]], ds: xr.Dataset, words: str) -> str:
    """One map beside the other: title, values (cells,), colours and their scale of each."""
    from matplotlib.ticker import MaxNLocator

    place = places(ds, np.arange(ds.sizes["cell"]))
    with page_style():
        across, upwards = np.ptp(place.at, axis=0) + 1
        figure, axes = new_figure(11.2, float(np.clip(3.6 * upwards / across, 1.2, 6.0)) + 0.9, 1, len(panels))
        for ax, (title, values, colours, norm) in zip(axes, panels, strict=True):
            image = cell_map(ax, place, values, colours, norm)
            ax.set_title(plain_text(title))
            bar = figure.colorbar(image, ax=ax, orientation="horizontal", fraction=0.05, pad=0.04, extend="both")
            bar.outline.set_visible(False)
            bar.ax.grid(False)
            if title.startswith("error /"):
                bar.set_ticks([-1, -0.5, 0, 0.5, 1], labels=["1/2", "0.7", "1", "1.4", "2"])
            else:
                bar.ax.xaxis.set_major_locator(MaxNLocator(4))  # small numbers are long ones: more would overlap
                bar.ax.xaxis.set_major_formatter(axis_number)
        return svg_text(figure, words)


def by_step(scored: Scored, name: str, service: int) -> str:
    """MAE and RMSE over the steps ahead. ValueError for one step."""
    horizon = scored.real.shape[2]
    if horizon < 2:
        raise ValueError("one step makes no curve: give --horizon")
    with page_style():
        figure, axes = new_figure(11.2, 3.0, 1, 2)
        for ax, metric in zip(axes, ("mae", "rmse"), strict=True):
            for row, colour in row_colours(scored, name).items():
                values = scored.rows[row][metric][service]
                width = 2.0 if row == name else 1.2
                ax.plot(np.arange(1, horizon + 1), values, color=colour, linewidth=width, marker="o", ms=3, label=row)
            ax.set_ylim(0, ax.get_ylim()[1] * 1.22)
            ax.set_title(metric)
            ax.set_xlabel("steps ahead")
            ax.yaxis.set_major_formatter(axis_number)
            ax.set_xticks(np.unique(np.linspace(1, horizon, min(horizon, 12)).round()))
        top_legend(axes[0])
        return svg_text(figure, "MAE and RMSE over the steps ahead")


def deviations(scored: Scored, name: str, service: int) -> str:
    """The ECDF of absolute deviations one step ahead, all rows, and the histogram of the forecaster's own."""
    real = scored.real[..., 0, service]
    live = (scored.real[..., service] > 0).any(axis=(0, 2))
    with page_style():
        figure, (left, right) = new_figure(11.2, 3.2, 1, 2)
        top = 0.0
        for row, colour in row_colours(scored, name).items():
            away = np.sort(_some(np.abs(scored.predicted[row][..., 0, service] - real)[:, live]))
            share = np.arange(1, len(away) + 1) / len(away)
            at = np.unique(np.linspace(0, len(away) - 1, 400).astype(int))
            left.plot(away[at], share[at], color=colour, linewidth=2.0 if row == name else 1.2, label=row)
            top = max(top, float(np.quantile(away, 0.98)))
        left.set_xlim(0, top or 1)
        left.set_ylim(0, 1.16)
        left.set_yticks([0, 0.2, 0.4, 0.6, 0.8, 1.0])
        left.set_title("Share of forecasts within an absolute deviation")
        left.xaxis.set_major_formatter(axis_number)
        top_legend(left)
        away = _some((scored.predicted[name][..., 0, service] - real)[:, live])
        reach = float(np.quantile(np.abs(away), 0.99)) or 1.0
        right.hist(away, bins=np.linspace(-reach, reach, 61).tolist(), color=ACCENT, alpha=0.75)
        right.axvline(0, color=INK, linewidth=0.9)
        right.set_title(plain_text(f"Deviations of {name}, forecast minus real"))
        right.yaxis.set_major_formatter(axis_number)
        right.xaxis.set_major_formatter(axis_number)
        return svg_text(figure, "ECDF and histogram of deviations, one step ahead")


def best_and_worst(scored: Scored, ds: xr.Dataset, name: str, service: int) -> str:
    """Real and forecast series of the cells with the smallest and the largest RMSE over their mean, one step ahead."""
    from gentraffic.dataset.schema import local_time

    real, predicted = scored.real[..., 0, service], scored.predicted[name][..., 0, service]
    live = np.flatnonzero((scored.real[..., service] > 0).any(axis=(0, 2)))
    relative = np.sqrt(((predicted - real) ** 2).mean(axis=0))[live] / np.maximum(real.mean(axis=0)[live], 1e-12)
    chosen = dict.fromkeys((int(live[np.argmin(relative)]), int(live[np.argmax(relative)])))
    local = local_time(ds)[scored.starts]
    ids = ds["cell_id"].values
    words = ("Best", "Worst") if len(chosen) > 1 else ("The",)
    with page_style():
        figure, axes = new_figure(11.2, 2.4 * len(chosen) + 0.2, len(chosen), 1)
        for ax, cell, word in zip(axes, chosen, words, strict=True):
            error = 100 * relative[live == cell][0]
            ax.plot(scored.starts, real[:, cell], color=INK, linewidth=1.1, label="real")
            ax.plot(scored.starts, predicted[:, cell], color=ACCENT, linewidth=1.1, alpha=0.85, label=name)
            ax.set_title(plain_text(f"{word} cell, {shortened(ids[cell])}: RMSE {error:.0f}% of its mean"))
            ax.set_ylim(0, ax.get_ylim()[1] * 1.14)
            ax.yaxis.set_major_formatter(axis_number)
            day = local.normalize().asi8
            midnight = np.flatnonzero(np.diff(day)) + 1
            ax.set_xticks(
                scored.starts[midnight], [str(day) for day in local[midnight].strftime("%a %d %b")], ha="left"
            )
            ax.set_xlim(scored.starts[0], max(scored.starts[-1], scored.starts[0] + 1))
            ax.grid(True, axis="x")
        top_legend(axes[0])
        return svg_text(figure, "The best and the worst cell: real and forecast series, one step ahead")


def best_naive(scored: Scored, name: str, service: int) -> str | None:
    """The naive row with the smallest MAE one step ahead, None where there is none."""
    rows = {row: float(errors["mae"][service, 0]) for row, errors in scored.rows.items() if row != name}
    return min(rows, key=lambda row: rows[row]) if rows else None


def row_colours(scored: Scored, name: str) -> dict[str, str]:
    """Naive rows first, so that the forecaster is drawn over them."""
    naive = [row for row in scored.rows if row != name]
    return dict(zip(naive, ROW_COLOURS, strict=False)) | {name: ACCENT}


def _some(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """An even sample of at most MOST_POINTS values, flat."""
    flat = values.ravel()
    return flat[:: max(1, len(flat) // MOST_POINTS)]
