"""The pictures of an evaluation, each as one SVG element that refers to nothing outside itself.

Real traffic is drawn in ink, synthetic traffic in colour. Where a region is large, curves that average over cells take
an even sample of them (THIN cells, THIN_MEMBERS members), and the captions of the page say so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gentraffic.dataset.geometry import cell_shapes, lattice
from gentraffic.dataset.schema import has_positions, member_band
from gentraffic.errors import BadInput
from gentraffic.evaluation.evaluate import Evaluation
from gentraffic.evaluation.intervals import interval, make_resample
from gentraffic.evaluation.metrics import summary as m
from gentraffic.evaluation.metrics.paired import Floats
from gentraffic.evaluation.scores import NO_PLACES
from gentraffic.reports.map_layers import COLOURS
from gentraffic.reports.plot import ACCENT, INK, SOFT, typical_cells
from gentraffic.reports.svg import new_figure, page_style, plain_text, svg_text

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

THIN, THIN_MEMBERS = 600, 20
NOMINAL = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
DAY_S = 86_400
RATIOS = ("#2c5f8a", "#8fb4d3", "#dedad2", "#e2a07a", "#a8421f")  # too little to too much
QUANTILES = np.concatenate([np.linspace(0.01, 0.99, 99), [0.995, 0.999, 0.9999]])


def thin(result: Evaluation) -> tuple[NDArray[np.float64], Floats, NDArray[np.intp]]:
    """(real, members, positions) of the cells that averaged curves take."""
    cells = len(result.pair.real)
    at = np.unique(np.linspace(0, cells - 1, min(cells, THIN)).round().astype(np.intp))
    return result.pair.real[at], result.pair.synthetic[:THIN_MEMBERS, at], at


def thinned(result: Evaluation) -> str:
    """What a caption says about `thin`, "" where everything is drawn."""
    cells, members = len(result.pair.real), len(result.pair.synthetic)
    parts = [f"{THIN} of {cells:,} cells"] if cells > THIN else []
    parts += [f"{THIN_MEMBERS} of {members} members"] if members > THIN_MEMBERS else []
    return f" Drawn from {' and '.join(parts)}." if parts else ""


def weeks(result: Evaluation) -> str:
    """Up to seven days of the mean cell and of a quiet, a median and the busiest cell."""
    pair = result.pair
    first = int(np.argmax(pair.clock % DAY_S < pair.step_s))
    steps = slice(first, first + max(1, 7 * DAY_S // pair.step_s))
    clock = pair.clock[steps]
    chosen = typical_cells(pair.real.mean(axis=1))
    panels = {f"Mean of {len(pair.real):,} cells": (pair.real.mean(axis=0), pair.synthetic.mean(axis=1))}
    for word, cell in chosen.items():
        panels[f"{word.capitalize()} cell, {shortened(pair.ids[cell])}"] = (pair.real[cell], pair.synthetic[:, cell])
    if len(pair.real) == 1:
        panels = {f"Cell {shortened(pair.ids[0])}": (pair.real[0], pair.synthetic[:, 0])}
    with page_style():
        figure, axes = new_figure(11.2, 2.3 * -(-len(panels) // 2) + 0.4, -(-len(panels) // 2), min(2, len(panels)))
        for ax, (title, (real, members)) in zip(axes, panels.items(), strict=False):
            x = np.arange(len(clock))
            drawn = members[:, steps]
            if len(drawn) > 1:
                low, high = np.quantile(drawn, member_band(len(drawn))[0], axis=0)
                ax.fill_between(x, low, high, color=ACCENT, alpha=0.18, linewidth=0, label=member_band(len(drawn))[1])
            mark = "o" if len(clock) == 1 else None
            ax.plot(x, np.median(drawn, axis=0), color=ACCENT, linewidth=1.3, marker=mark, label=_line(len(drawn)))
            ax.plot(x, real[steps], color=INK, linewidth=1.1, marker=mark, label="real")
            ax.set_ylim(0, ax.get_ylim()[1] * 1.14)  # room for the legend
            ax.set_xlim(0, max(1, len(clock) - 1))
            ax.yaxis.set_major_formatter(axis_number)
            midnights = np.flatnonzero(clock % DAY_S < pair.step_s)
            days = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"]
            ax.set_xticks(midnights, [days[clock[i] // DAY_S % 7] for i in midnights], ha="left")
            ax.grid(True, axis="x")
            ax.set_title(plain_text(title))
        top_legend(axes[0])
        return svg_text(figure, "Typical weeks: real and synthetic traffic over the hours of a week")


def maps(result: Evaluation, real_ds: xr.Dataset) -> str:
    """Mean levels of real and synthetic traffic and their ratio, in place. ValueError for one cell."""
    from matplotlib.colors import LinearSegmentedColormap, LogNorm, Normalize

    pair = result.pair
    if len(pair.real) < 2:
        raise ValueError("one cell makes no map")
    real, drawn = pair.real.mean(axis=1), pair.synthetic.mean(axis=(0, 2), dtype=np.float64)
    both = np.concatenate([real, drawn[drawn > 0]])
    low, high = (float(v) for v in np.quantile(both, (0.02, 0.995)))
    norm: Any = LogNorm(max(low, high / 1e4), max(high, low * 1.01))
    ratio = np.log2(np.maximum(drawn, 1e-300) / real).clip(-4, 4)
    traffic = LinearSegmentedColormap.from_list("traffic", list(COLOURS))
    twosided = LinearSegmentedColormap.from_list("ratio", list(RATIOS))
    place = places(real_ds, pair.rows)
    with page_style():
        across, upwards = np.ptp(place.at, axis=0) + 1
        figure, axes = new_figure(11.2, float(np.clip(3.6 * upwards / across, 1.2, 6.0)) + 0.9, 1, 3)
        for ax, values, title in zip(
            axes, (real, drawn, ratio), ("Real", "Synthetic", "Synthetic / real"), strict=True
        ):
            last = values is ratio
            image = cell_map(ax, place, values, twosided if last else traffic, Normalize(-3, 3) if last else norm)
            ax.set_title(title)
            bar = figure.colorbar(image, ax=ax, orientation="horizontal", fraction=0.05, pad=0.04, extend="both")
            bar.outline.set_visible(False)
            bar.ax.grid(False)
            if last:
                bar.set_ticks([-3, -2, -1, 0, 1, 2, 3], labels=["1/8", "1/4", "1/2", "1", "2", "4", "8"])
            else:
                bar.ax.xaxis.set_major_formatter(axis_number)
                bar.ax.xaxis.set_minor_formatter("")
        return svg_text(figure, "Level maps: mean traffic of each cell, real, synthetic, and their ratio")


@dataclass(frozen=True)
class Map:
    """Where cells are drawn. at: (cells, 2) column and row of squares, or x and y in metres. shapes: outlines of one's
    own cells, (cells,) in metres, or None. squares: whether cells lie on a grid; closed: whether empty land between
    groups of them was left out."""

    at: NDArray[np.float64]
    shapes: NDArray[Any] | None = None
    squares: bool = False
    closed: bool = False


def places(ds: xr.Dataset, rows: NDArray[np.intp]) -> Map:
    """How the cells at the positions `rows` of `ds` are drawn on a map. rows: (n,)."""
    if not has_positions(ds):
        raise ValueError(NO_PLACES)
    if "row" not in ds.coords or not _upright(ds):
        at = np.stack([ds["x"].values[rows], ds["y"].values[rows]], 1)
        return Map(at, _outlines(ds)[rows] if "footprint" in ds.coords else None)
    at = np.stack([ds["col"].values[rows], ds["row"].values[rows]], 1).astype(np.int64)
    closed = np.empty_like(at)
    for axis in (0, 1):
        used, where = np.unique(at[:, axis], return_inverse=True)
        closed[:, axis] = np.cumsum(np.minimum(np.diff(used, prepend=used[0]), 2))[where]
    extent = np.ptp(at, axis=0) + 1
    sparse = bool(len(at) < 0.02 * extent[0] * extent[1])  # scattered patches: a true map would show dust
    return Map((closed if sparse else at - at.min(axis=0)).astype(np.float64), None, True, sparse)


def _upright(ds: xr.Dataset) -> bool:
    """Whether rows and columns make a true map: one's own cells may lie turned, or be longer than wide."""
    if "footprint" not in ds.coords:
        return True
    try:
        lattice(ds)
    except BadInput:
        return False
    return True


def _outlines(ds: xr.Dataset) -> NDArray[Any]:
    """(cells,) the outlines of the cells in metres."""
    import pyproj
    import shapely

    to_metres = pyproj.Transformer.from_crs("EPSG:4326", ds.attrs["crs_wkt"], always_xy=True)
    return np.asarray(shapely.transform(cell_shapes(ds), lambda c: np.stack(to_metres.transform(*c.T), axis=1)))


def quantiles(result: Evaluation) -> str:
    """Quantiles of all values, and each cell's level, synthetic against real."""
    pair = result.pair
    a, b = (np.quantile(v[..., :: max(1, v.size // 4_000_000)], QUANTILES) for v in (pair.real, pair.synthetic))
    level = pair.real.mean(axis=1), pair.synthetic.mean(axis=2, dtype=np.float64)
    with page_style():
        figure, (left, right) = new_figure(11.2, 4.2, 1, 2)
        keep = (a > 0) & (b > 0)
        left.plot(a[keep], b[keep], "o", color=ACCENT, markersize=3.5, markeredgewidth=0)
        marks = np.isin(QUANTILES.round(4), (0.5, 0.99, 0.999))
        for x, y, q in zip(a[marks & keep], b[marks & keep], QUANTILES[marks & keep], strict=True):
            left.annotate(f"{q * 100:g}%", (x, y), xytext=(6, -9), textcoords="offset points", color=SOFT, fontsize=8)
        left.set_title("Quantiles of all values")
        cells = np.linspace(0, len(level[0]) - 1, min(len(level[0]), 1500)).round().astype(np.intp)
        x, drawn = level[0][cells], level[1][:, cells]
        if len(drawn) > 1:
            low, high = np.quantile(drawn, member_band(len(drawn))[0], axis=0)
            right.vlines(x, np.maximum(low, x.min() / 1e3), high, color=ACCENT, alpha=0.25, linewidth=0.9)
        right.plot(x, np.median(drawn, axis=0), "o", color=ACCENT, markersize=3, markeredgewidth=0)
        right.set_title("Mean level of each cell")
        for ax, points in ((left, (a[keep], b[keep])), (right, (x, np.median(drawn, axis=0)))):
            ax.set(xscale="log", yscale="log", xlabel=_units("real", result), ylabel=_units("synthetic", result))
            both = np.concatenate(points)
            ends = (both[both > 0].min() / 1.8, both.max() * 1.8) if (both > 0).any() else (0.1, 1.0)
            ax.plot(ends, ends, color=INK, linewidth=0.9, linestyle=(0, (4, 2)), zorder=1)
            ax.set(xlim=ends, ylim=ends)
            ax.grid(True, axis="both")
        return svg_text(figure, "Quantiles of synthetic against real values, and mean levels cell by cell")


def autocorrelations(result: Evaluation) -> str:
    """The cell-averaged autocorrelation by lag, up to a week. ValueError where there are too few steps."""
    real, members, _ = thin(result)
    step_h = result.pair.step_s / 3600
    longest = min(real.shape[1] - 1, int(170 / step_h))
    if longest < 2:
        raise ValueError(f"{real.shape[1]} steps are too few for an autocorrelation")
    lags = np.unique(np.linspace(1, longest, min(longest, 170)).round().astype(int)).tolist()
    a = m.autocorrelation(real, lags)
    b = np.array([m.autocorrelation(member, lags).mean(axis=0) for member in members])
    with page_style():
        figure, (ax,) = new_figure(11.2, 2.9, 1, 1)
        hours = np.array(lags) * step_h
        if len(b) > 1:
            ax.fill_between(hours, b.min(axis=0), b.max(axis=0), color=ACCENT, alpha=0.18, linewidth=0)
        ax.plot(hours, b.mean(axis=0), color=ACCENT, linewidth=1.3, label="synthetic")
        ax.plot(hours, a.mean(axis=0), color=INK, linewidth=1.1, label="real")
        ax.axhline(0, color=SOFT, linewidth=0.8)
        ax.set_xticks(np.arange(0, hours[-1] + 1, 24 if hours[-1] > 36 else 6))
        ax.set_xlabel("lag, hours")
        ax.set_ylim(top=max(1.05, ax.get_ylim()[1]))
        ax.grid(True, axis="x")
        top_legend(ax)
        return svg_text(figure, "Autocorrelation of real and synthetic traffic by lag")


def hours(result: Evaluation) -> str:
    """The mean day, and the error of the ensemble's mean by local hour. Only for files that share times."""
    pair = result.pair
    mean = pair.synthetic.mean(axis=0, dtype=np.float64)
    hour = pair.clock // 3600 % 24
    used = np.unique(hour)
    sides = [np.array([v[:, hour == h].mean() for h in used]) for v in (pair.real, mean)]
    off = np.array([np.abs(mean[:, hour == h] - pair.real[:, hour == h]).mean() for h in used])
    unit = pair.real.mean() / 100
    with page_style():
        figure, (left, right) = new_figure(11.2, 3.1, 1, 2)
        left.plot(used, sides[1], color=ACCENT, linewidth=1.5, marker="o", markersize=3, label="synthetic")
        left.plot(used, sides[0], color=INK, linewidth=1.2, marker="o", markersize=3, label="real")
        left.set_ylim(bottom=0)
        left.yaxis.set_major_formatter(axis_number)
        left.set_title("The mean day")
        left.set_ylabel(_units("mean traffic", result))
        right.bar(used, off / unit, color=ACCENT, alpha=0.35, width=0.8, label="mean absolute error")
        right.plot(used, (sides[1] - sides[0]) / unit, color=ACCENT, linewidth=1.5, marker="o", markersize=3,
                   label="bias: synthetic - real")  # fmt: skip
        right.axhline(0, color=INK, linewidth=0.8)
        right.set_title("Error of the ensemble's mean" if len(pair.synthetic) > 1 else "Error")
        right.set_ylabel("% of the mean real traffic")
        for ax in (left, right):
            ax.set_xlim(-0.7, 23.7)
            ax.set_xticks(range(0, 24, 3), [f"{h:02d}" for h in range(0, 24, 3)])
            ax.set_xlabel("local hour")
            ax.set_ylim(top=ax.get_ylim()[1] * 1.18)
            top_legend(ax)
        return svg_text(figure, "The mean day of real and synthetic traffic, and the error by hour of the day")


def coverage(result: Evaluation, groups: NDArray[Any], seed: int = 0) -> str:
    """Coverage by nominal level with 95% intervals over `groups` (cells,), and where real values rank among members."""
    real, members, at = thin(result)
    resample = make_resample(groups[at], seed)
    with page_style():
        figure, (left, right) = new_figure(11.2, 3.9, 1, 2)
        left.plot([0, 1], [0, 1], color=INK, linewidth=0.9, linestyle=(0, (4, 2)))
        for nominal in NOMINAL:
            values = m.coverage_cells(real, members, nominal)
            ends = interval(resample.mean(values)) if len(resample.times) else None
            if ends:
                left.vlines(nominal, *ends, color=ACCENT, alpha=0.4, linewidth=3)
            left.plot(nominal, values.mean(), "o", color=ACCENT, markersize=5, markeredgewidth=0)
        left.set(xlim=(0, 1), ylim=(0, 1), xlabel="nominal", ylabel="share of real values inside")
        left.set_title("Coverage of central intervals")
        left.grid(True, axis="both")
        size = len(members)
        rank = (members < real).sum(axis=0) + (members == real).sum(axis=0) / 2  # ties: the middle of their ranks
        bins = min(size + 1, 10)
        share = np.histogram((rank + 0.5) / (size + 1), bins=bins, range=(0, 1))[0] / rank.size * bins
        right.bar((np.arange(bins) + 0.5) / bins, share, 0.92 / bins, color=ACCENT, alpha=0.75)
        right.axhline(1, color=INK, linewidth=0.9, linestyle=(0, (4, 2)))
        right.set(
            xlim=(0, 1), xlabel="below all members  →  above all members", ylabel="frequency, 1 = as it should be"
        )
        right.set_title("Where real values rank among the members")
        return svg_text(figure, "Coverage by nominal level, and ranks of real values among members")


def cell_map(ax: Axes, place: Map, values: Any, colours: Any, norm: Any) -> Any:
    """Draw values (cells,) in their places; what a colour bar belongs to."""
    ax.grid(False)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_visible(False)
    ax.set_aspect("equal")
    ax.set_facecolor("#f3f4f2")
    if place.shapes is not None:
        import shapely
        from matplotlib.collections import PolyCollection

        parts, of_cell = shapely.get_parts(place.shapes, return_index=True)
        rings = [shapely.get_coordinates(ring) for ring in shapely.get_exterior_ring(parts)]
        areas = PolyCollection(
            rings, array=values[of_cell], cmap=colours, norm=norm, edgecolors="face", rasterized=True
        )
        ax.add_collection(areas)
        ax.autoscale_view()
        return areas
    if not place.squares:
        ax.margins(0.06)
        size = float(np.clip(12_000 / len(place.at), 4, 60))
        x, y = place.at.T
        return ax.scatter(x, y, c=values, s=size, cmap=colours, norm=norm, linewidths=0, rasterized=True)
    col, row = place.at.astype(int).T
    table = np.full((row.max() + 1, col.max() + 1), np.nan)
    table[row, col] = values
    return ax.imshow(table, origin="lower", cmap=colours, norm=norm, interpolation="nearest")


def axis_number(value: float, _: object = None) -> str:
    """A number on an axis."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def top_legend(ax: Axes) -> None:
    """A legend above the curves."""
    ax.legend(loc="upper right", ncols=3, frameon=False, fontsize=8.5, borderaxespad=0.1, handlelength=1.4)


def shortened(text: object, most: int = 28) -> str:
    """The text, cut where it is longer than `most` letters."""
    return str(text) if len(str(text)) <= most else str(text)[: most - 1] + "…"


def _line(members: int) -> str:
    return "synthetic, median" if members > 1 else "synthetic"


def _units(word: str, result: Evaluation) -> str:
    units = result.pair.units
    return word if units == "unknown" else plain_text(f"{word}, {'relative' if units == '1' else shortened(units)}")
