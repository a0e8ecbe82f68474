"""A picture of traffic: the region's total, three cells, the hours of the days, the levels of the cells."""

from __future__ import annotations

import textwrap
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gentraffic.dataset.amounts import per_hour, step_seconds
from gentraffic.dataset.schema import (
    cell_blocks,
    check_traffic,
    is_usual_week,
    local_time,
    member_band,
    one_service,
    units_words,
)
from gentraffic.dataset.services import with_sum
from gentraffic.dataset.units import readable_unit
from gentraffic.io.atomic import replacing
from gentraffic.reports.map_layers import COLOURS, plain_number, round_ticks
from gentraffic.reports.page import credit_line, period_words, privacy_line, title_of, traffic_words

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SUFFIXES = (".png",)
FULL_DAYS = 14
FOOT_WIDTH = 190  # letters of a line at the foot
INK, SOFT, LINE, ACCENT = "#1d2330", "#5b6472", "#d9dde3", "#8c2981"
# For names of places that the font of the numbers cannot write: those of these that the machine has.
FALLBACK_FONTS = ("Noto Sans CJK SC", "Noto Sans CJK JP", "WenQuanYi Micro Hei", "Microsoft YaHei", "PingFang SC",
                  "Hiragino Sans", "Noto Sans", "Noto Sans Arabic", "Arial Unicode MS")  # fmt: skip
STYLE: Any = {
    "font.size": 9.5,
    "text.color": INK,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 7,
    "axes.labelcolor": SOFT,
    "axes.edgecolor": "#aab1bb",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.xmargin": 0,
    "grid.color": "#e7eaee",
    "grid.linewidth": 0.8,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "hatch.color": LINE,
    "hatch.linewidth": 0.6,
}


def write_plot(ds: xr.Dataset, path: str | Path, *, service: str | None = None, title: str = "") -> None:
    """Draw one service of `ds` (the first unless named) as a PNG of about 1560 x 1170 pixels.

    title: by default what it is, and of which place. Several members are drawn as their mean with their band. Hours
    are local; in the heat map, an hour that a change of clocks doubles is averaged and one that it skips is hatched.
    Amounts are drawn in a unit of which the busiest cell carries at least 1.
    Raises WrongUse for the suffix or an unknown service, BadInput where `ds` breaks the schema or cannot be written.
    """
    save(draw(ds, service=service, title=title), path)


def save(figure: Figure, path: str | Path) -> None:
    """Write a figure that `draw` drew (.png). Raises as `write_plot`."""
    with replacing(path, SUFFIXES) as temporary, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # drawn as a box: the picture stands
        figure.savefig(temporary, format="png", metadata={"Software": None})


def draw(ds: xr.Dataset, *, service: str | None = None, title: str = "") -> Figure:
    """The figure that `write_plot` writes."""
    import matplotlib as mpl
    import pandas as pd
    from matplotlib.figure import Figure
    from matplotlib.font_manager import get_font_names

    check_traffic(ds)
    ds = with_sum(ds, service)
    service = one_service(ds, service)
    members = ds[service] if "member" in ds.dims else ds[service].expand_dims("member")  # (members, cells, steps)
    times = local_time(ds)
    total, level = np.zeros((len(members), len(times))), np.empty(ds.sizes["cell"])  # (members, steps), (cells,)
    for part in cell_blocks(ds):
        block = members.isel(cell=part).values
        total += block.sum(axis=1, dtype=np.float64)
        level[part] = block.mean(axis=(0, 2), dtype=np.float64)
    smaller, factor = readable_unit(str(ds[service].attrs["units"]), float(level.max()))
    units = units_words(ds, service) if factor == 1 else smaller
    total, level = total * factor, level * factor
    noun = "station" if ds.attrs["kind"] == "stations" else "cell"
    few = times < times[0] + pd.Timedelta(days=FULL_DAYS)  # a panel of a third of the width shows no more
    fonts = ["DejaVu Sans", *(name for name in FALLBACK_FONTS if name in get_font_names())]
    with mpl.rc_context(STYLE | {"font.family": fonts}):
        figure = Figure(figsize=(12, 9), dpi=130, facecolor="white")
        foot = _foot(ds)
        bottom = 0.072 + 0.018 * max(1, len(foot))
        spans = {"left": 0.075, "right": 0.97, "top": 0.87, "bottom": bottom, "hspace": 0.42, "wspace": 1.9}
        grid = figure.add_gridspec(3, 12, height_ratios=(1, 0.85, 1.25), **spans)
        _head(figure, ds, service, len(total), title or title_of(ds, traffic_words(ds, service)))
        figure.text(0.03, 0.012, _plain("\n".join(foot)), fontsize=7.5, color=SOFT, va="bottom", linespacing=1.35)
        axes = figure.add_subplot(grid[0, :])
        usual = is_usual_week(ds)
        _series(axes, times, total, usual)
        axes.set_title(f"All {ds.sizes['cell']:,} {noun}s" if len(level) > 1 else f"The {noun}")
        axes.set_ylabel(units)
        chosen = typical_cells(level)
        for i, (word, cell) in enumerate(chosen.items()):
            axes = figure.add_subplot(grid[1, 4 * i : 4 * i + 4])
            _series(axes, times[few], factor * members.isel(cell=cell).values[:, few], usual)
            name = f"{word.capitalize()} {noun}: {_plain(_short(ds['cell_id'].values[cell]))}"
            axes.set_title(name if few.all() else f"{name}, first {FULL_DAYS} days")
            if i == 0:
                axes.set_ylabel(units)
        hourly = total.mean(axis=0) * per_hour(str(ds[service].attrs["units"]), step_seconds(ds))
        _heat_map(figure.add_subplot(grid[2, :7]), times, hourly, units, usual)
        _levels(figure.add_subplot(grid[2, 8:]), level, chosen, noun, units)
    return figure


def typical_cells(level: NDArray[np.float64]) -> dict[str, int]:
    """Positions of the quiet (10% of those with traffic are quieter), the median and the busiest cell by mean level.

    level: (cells,) mean traffic.
    """
    live = np.flatnonzero(level > 0)
    if not live.size:
        live = np.arange(len(level))
    order = live[np.argsort(level[live], kind="stable")]
    at = {"quiet": round(0.1 * (len(order) - 1)), "median": (len(order) - 1) // 2, "busiest": len(order) - 1}
    return {word: int(order[position]) for word, position in at.items()}


def hour_by_day(times: pd.DatetimeIndex, total: NDArray[np.float64]) -> tuple[list[Any], NDArray[np.float64]]:
    """Local dates, and the mean of `total` by date and local hour, (dates, 24), NaN where there is no such hour."""
    dates, row = np.unique(np.asarray(times.date), return_inverse=True)
    sums, counts = np.zeros((2, len(dates), 24))
    np.add.at(sums, (row, times.hour), total)
    np.add.at(counts, (row, times.hour), 1)
    return list(dates), np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)


def _plain(text: object) -> str:
    return str(text).replace("$", r"\$")  # matplotlib would read mathematics between two of them


def _short(text: object, most: int = 24) -> str:
    return str(text) if len(str(text)) <= most else str(text)[: most - 1] + "…"


def _number(value: float, _: object = None) -> str:
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e7 else f"{value:.3g}"


def _head(figure: Figure, ds: xr.Dataset, service: str, members: int, title: str) -> None:
    parts = [f"{service}", f"{period_words(ds)}, {ds.attrs['timezone']} time"]
    if members > 1:
        parts.append(f"line: mean, band: {member_band(members)[1]}")
    if "model" in ds.attrs:
        parts.append(f"model {ds.attrs['model']}")
    figure.text(0.03, 0.96, _plain(_short(title, 90)), fontsize=15, fontweight="bold", va="center")
    figure.text(0.03, 0.93, _plain(_short("  ·  ".join(parts), 170)), fontsize=9.5, color=SOFT, va="center")


def _foot(ds: xr.Dataset) -> list[str]:
    """What is promised of a private model, attribution and licence, in lines that fit."""
    return [line for text in (privacy_line(ds), credit_line(ds)) for line in textwrap.wrap(text, FOOT_WIDTH)]


def _series(axes: Axes, times: pd.DatetimeIndex, members: NDArray[Any], usual: bool) -> None:
    """Mean line and band over the members, (members, steps), on an axis of local time; usual: without dates."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    # Drawn over UTC and labelled in the zone: local clock time would run backwards when the clocks do.
    at = times.tz_convert("UTC").tz_localize(None).to_numpy()
    mean = members.mean(axis=0, dtype=np.float64)
    if len(members) > 1:
        low, high = np.quantile(members, member_band(len(members))[0], axis=0)
        axes.fill_between(at, low, high, color=ACCENT, alpha=0.2, linewidth=0)
    axes.plot(at, mean, color=ACCENT, linewidth=1.1, marker="o" if len(at) == 1 else None)
    axes.set_ylim(bottom=0, top=None if members.max() > 0 else 1)
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(FuncFormatter(_number))
    midnights = times.normalize().unique()
    room = axes.get_position().width * 30  # labels that fit side by side
    every = next((n for n in (1, 2, 7, 14, 28, 56, 112, 364) if len(midnights) / n <= room), 728)
    ticks = midnights[::every].tz_convert("UTC").tz_localize(None)
    short = len(midnights) <= FULL_DAYS + 2
    labels = [
        f"{day:%a}" if usual else f"{day:%a} {day.day}" if short else f"{day.day} {day:%b}"
        for day in midnights[::every]
    ]
    axes.set_xticks(ticks.to_numpy(), labels, ha="left" if short else "center")
    axes.set_xlim(at[0], at[-1] + (at[1] - at[0] if len(at) > 1 else np.timedelta64(1, "h")))
    axes.grid(True, axis="x")


def _heat_map(axes: Axes, times: pd.DatetimeIndex, total: NDArray[np.float64], units: str, usual: bool) -> None:
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    dates, table = hour_by_day(times, total)
    colours = LinearSegmentedColormap.from_list("traffic", list(COLOURS))
    axes.patch.set(hatch="////", edgecolor=LINE, facecolor="#f6f7f8")
    image = axes.imshow(table, aspect="auto", cmap=colours, vmin=0, vmax=np.nanmax(table) or 1, interpolation="nearest")
    axes.grid(False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.set_xticks(range(0, 24, 3), [f"{hour:02d}" for hour in range(0, 24, 3)])
    every = next((n for n in (1, 2, 7, 14, 28, 56, 112, 364) if len(dates) / n <= 16), 728)
    shown = range(0, len(dates), every)
    axes.set_yticks(
        list(shown), [f"{dates[i]:%a}" if usual else f"{dates[i]:%a} {dates[i].day} {dates[i]:%b}" for i in shown]
    )
    axes.set_title("Total by day and hour")
    axes.set_xlabel("local hour")
    bar = axes.figure.colorbar(image, cax=axes.inset_axes((1.015, 0, 0.02, 1)), format=FuncFormatter(_number))
    bar.locator = MaxNLocator(5)
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0)
    bar.ax.grid(False)
    bar.ax.set_title(_plain(_short(units, 14)), fontsize=8.5, fontweight="normal", color=SOFT, loc="left", pad=7)


def _levels(axes: Axes, level: NDArray[np.float64], chosen: dict[str, int], noun: str, units: str) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    live = level[level > 0]
    axes.set_title(f"Mean level of the {noun}s")
    axes.set_ylabel(f"{noun}s")
    axes.set_xlabel(units)
    if live.size:
        low, high = live.min() / 1.1, live.max() * 1.1
        edges = np.geomspace(low, high, min(48, max(8, round(2 * np.sqrt(live.size)))) + 1)
        counts, _ = np.histogram(live, edges)
        axes.bar(edges[:-1], counts, np.diff(edges), align="edge", color=ACCENT, alpha=0.85, edgecolor="white", lw=0.4)
        axes.set_xscale("log")
        axes.set_xlim(low, high)
        top = float(counts.max()) * 1.15
        axes.set_ylim(0, top)
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        edge = low * (high / low) ** 0.15  # left of it the word would lie on the numbers of the axis
        for word, cell in chosen.items():
            axes.axvline(level[cell], color=INK, linewidth=0.9, linestyle=(0, (4, 2)))
            crowded = word == "quiet" and level[cell] < edge
            side, height = "left" if crowded or word == "median" else "right", 0.92 * top if crowded else top
            axes.annotate(f" {word} ", (level[cell], height), ha=side, va="top", fontsize=8.5, color=INK)
        ticks = round_ticks(low, high)
        axes.set_xticks(ticks, [plain_number(tick) for tick in ticks])
        axes.xaxis.set_minor_formatter(FuncFormatter(lambda *_: ""))
    dead = len(level) - live.size
    if dead:
        axes.set_title(f"{dead:,} have none", loc="right", fontsize=8.5, fontweight="normal", color=SOFT)
