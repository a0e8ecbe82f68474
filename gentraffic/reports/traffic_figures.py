"""The pictures of a report, each as one SVG element that refers to nothing outside itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gentraffic.dataset.amounts import per_hour, step_seconds
from gentraffic.dataset.basemap import basemap_of
from gentraffic.dataset.geometry import lattice
from gentraffic.dataset.schema import local_time, member_band, units_words, utc_offset_s
from gentraffic.dataset.summary import AGREED, level_spread
from gentraffic.reports.evaluation_figures import Map, axis_number, cell_map, places, shortened, top_legend
from gentraffic.reports.map_layers import COLOURS, TWOSIDED, plain_number, round_ticks
from gentraffic.reports.page import is_drawn, is_plan
from gentraffic.reports.plot import ACCENT, INK, typical_cells
from gentraffic.reports.svg import Beneath, beneath, draw_beneath, new_figure, page_style, plain_text, svg_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    import xarray as xr

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
WEEK_H = 168
ABOVE = ("#f2a65a", "#d8452e", "#7a0f24")  # hours above a capacity
NEVER = "#dfe2e6"
BUSY_HOUR = "Busy hour, local"
UNSURE = "#b9bec6"  # where too few members agree
LONG = 8  # times longer than wide: a true map would be a line


@dataclass(frozen=True)
class Panel:
    """One map: values (cells,), how they are coloured, and the ticks of its colour bar with their words."""

    title: str
    values: NDArray[np.float64]
    colours: Any
    norm: Any
    ticks: tuple[list[float], list[str]]
    extend: str = "neither"


def hours_are_chance(ds: xr.Dataset) -> bool:
    """Whether busy hours are those of one draw, in which much is noise: two draws of a place have different ones."""
    return is_drawn(ds) and "member" not in ds.dims and not is_plan(ds)


def said_units(ds: xr.Dataset, service: str) -> str:
    """The units of a service for a reader."""
    units = units_words(ds, service)
    return "unit not stated" if units == "unknown" else units


def level_panels(
    result: xr.Dataset, units: str, capacity: str | None, above: NDArray[np.float64] | None = None
) -> list[Panel]:
    """Mean level, busy hour, and of an ensemble its uncertainty and the probability to exceed the capacity.

    above: (cells,) hours above the capacity, shown of one member where there are any."""
    import matplotlib as mpl
    from matplotlib.colors import LinearSegmentedColormap, Normalize

    traffic = LinearSegmentedColormap.from_list("traffic", list(COLOURS))
    mean = result["mean"].values
    hours = np.where(mean > 0, result["busy_hour"].values + 0.5, np.nan)
    if "busy_agreement" in result:
        hours = np.where(result["busy_agreement"].values >= AGREED, hours, np.nan)
    panels = [
        _log_panel(f"Mean traffic, {shortened(units)}", mean, traffic, log_norm(mean)),
        Panel(BUSY_HOUR, hours, mpl.colormaps["twilight"].with_extremes(bad=UNSURE), Normalize(0, 24),
              ([0, 6, 12, 18, 24], ["0h", "6h", "12h", "18h", "24h"])),
    ]  # fmt: skip
    if "mean_p95" in result:
        wide = level_spread(result)
        panels.append(_log_panel("Uncertainty: high / low end", wide, mpl.colormaps["cividis"], log_norm(wide)))
    if "p_above" in result and capacity:
        panels.append(
            Panel(f"Probability to exceed {capacity}", result["p_above"].values, mpl.colormaps["YlOrRd"],
                  Normalize(0, 1), ([0, 0.25, 0.5, 0.75, 1], ["0%", "25%", "50%", "75%", "100%"]))
        )  # fmt: skip
    elif "time_above" in result and capacity and above is not None and above.any():
        # A cell that exceeds in one hour alone must be seen: cells that never do are grey, all others are coloured.
        most = float(above.max())
        colours = LinearSegmentedColormap.from_list("above", list(ABOVE)).with_extremes(bad=NEVER)
        ends = (0.0, most) if most > 1 else (0.0, 1.0)
        panels.append(
            Panel(f"Hours above {capacity}", np.where(above > 0, above, np.nan), colours, Normalize(*ends),
                  ([0.0, ends[1]], ["0h", f"{ends[1]:.0f}h"]))
        )  # fmt: skip
    return panels


def quantile_panels(result: xr.Dataset, units: str) -> list[Panel]:
    """The mean level's 5%, 50% and 95% quantiles over the members, in one scale."""
    from matplotlib.colors import LinearSegmentedColormap

    traffic = LinearSegmentedColormap.from_list("traffic", list(COLOURS))
    names = {"mean_p05": "Low end (5%)", "mean_p50": "Median", "mean_p95": "High end (95%)"}
    norm = log_norm(np.concatenate([result[name].values for name in names]))
    return [
        _log_panel(f"{word}, {shortened(units)}", result[name].values, traffic, norm) for name, word in names.items()
    ]


def _log_panel(title: str, values: NDArray[np.float64], colours: Any, norm: Any) -> Panel:
    """A panel on a logarithmic scale, with round ticks however narrow the scale is."""
    ticks = round_ticks(norm.vmin, norm.vmax)
    return Panel(title, values, colours, norm, (ticks, [plain_number(tick) for tick in ticks]), "both")


def band_words(ds: xr.Dataset) -> str:
    """What the range between the 5% and 95% quantiles of `ensemble.summary` is called."""
    return f"central 90% of {ds.sizes['member']} members"


def log_norm(values: NDArray[Any]) -> Any:
    """Logarithmic colours between the 2% and 99.5% quantiles of what is above 0. values: (any shape)."""
    from matplotlib.colors import LogNorm

    positive = values[values > 0]
    if not positive.size:
        return LogNorm(0.1, 1.0)
    low, high = (float(v) for v in np.quantile(positive, (0.02, 0.995)))
    return LogNorm(max(low, high / 1e4), max(high, low * 1.01))


def maps(ds: xr.Dataset, panels: list[Panel], label: str) -> str:
    """Maps side by side. ValueError for one cell."""
    if ds.sizes["cell"] < 2:
        raise ValueError("one cell makes no map")
    place = layout(ds)
    across, upwards = (float(v) for v in np.ptp(place.at, axis=0) + (1 if place.squares else 100))
    streets = _streets(ds, place, max(across, upwards))
    with page_style():
        columns = min(3 if len(panels) == 3 else 2 if across > 0.75 * upwards else 4, len(panels))
        rows = -(-len(panels) // columns)
        tall = float(np.clip(11.2 / columns * 0.92 * upwards / across, 0.7, 5.6)) + 1.0
        figure, axes = new_figure(11.2, tall * rows, rows, columns)
        for ax, panel in zip(axes, panels, strict=False):
            image = cell_map(ax, place, panel.values, panel.colours, panel.norm)
            if streets is not None:
                draw_beneath(ax, streets, over=place.squares or place.shapes is not None)
            ax.set_title(plain_text(panel.title))
            bar = figure.colorbar(
                image, ax=ax, orientation="horizontal", fraction=0.045, pad=0.03, extend=panel.extend, aspect=34
            )
            bar.outline.set_visible(False)
            bar.ax.grid(False)
            bar.set_ticks(panel.ticks[0], labels=panel.ticks[1])
            bar.ax.xaxis.set_minor_formatter("")
        for ax in axes[len(panels) :]:
            ax.remove()
        if not place.closed and not (place.squares and ds.attrs["kind"] == "stations"):  # whose rows may mean anything
            _scale_bar(axes[0], lattice(ds).side if place.squares else 1.0, across)
        return svg_text(figure, label, cropped=True)


def _streets(ds: xr.Dataset, place: Map, extent: float) -> Beneath | None:
    """The map that the file carries, in the units of the axes; None where it carries none, or axes are not true."""
    import pyproj

    base = basemap_of(ds)
    if base is None or place.closed or (place.squares and ds.attrs["kind"] == "stations"):
        return None
    to_metres = pyproj.Transformer.from_crs("EPSG:4326", ds.attrs["crs_wkt"], always_xy=True)
    corner, side = np.zeros(2), 1.0
    if place.squares:
        grid = lattice(ds)
        corner, side = np.array([grid.west, grid.south]) + grid.side / 2, grid.side
    return beneath(base, lambda at: (np.stack(to_metres.transform(*at.T), axis=1) - corner) / side, extent)


def shows_water(ds: xr.Dataset) -> bool:
    """Whether maps of `ds` show water."""
    from poi.basemap import CLASSES

    base = basemap_of(ds)
    there = base is not None and bool(np.isin(base.kind, [CLASSES.index(name) for name in ("sea", "water")]).any())
    return there and _streets(ds, layout(ds), 1e4) is not None


def layout(ds: xr.Dataset) -> Map:
    """How the cells are laid out on a map; patches of a grid that lie in a long line are moved together."""
    place = places(ds, np.arange(ds.sizes["cell"]))
    extent = np.ptp(place.at, axis=0) + 1
    if not place.squares or place.closed or extent.max() < LONG * extent.min():
        return place
    at = np.empty_like(place.at)
    for axis in (0, 1):
        used, where = np.unique(place.at[:, axis], return_inverse=True)
        at[:, axis] = np.cumsum(np.minimum(np.diff(used, prepend=used[0]), 2))[where]
    return Map(at, None, True, True)


def _scale_bar(ax: Any, unit_m: float, across: float) -> None:
    """A bar of a round length; unit_m: metres per unit of the axis."""
    most = across * unit_m / 3
    if not most > 0:
        return
    power = 10.0 ** np.floor(np.log10(most))
    length = max(step * power for step in (1, 2, 5) if step * power <= most)
    text = f"{length / 1000:g} km" if length >= 1000 else f"{length:g} m"
    (x0, x1), (y0, y1) = ax.get_xlim(), ax.get_ylim()
    x, y = x0 + 0.03 * (x1 - x0), y0 + 0.03 * (y1 - y0)
    ax.plot([x, x + length / unit_m], [y, y], color=INK, linewidth=2.2, solid_capstyle="butt", clip_on=False)
    paper = {"boxstyle": "square,pad=0.15", "facecolor": "white", "alpha": 0.75, "linewidth": 0}
    ax.annotate(text, (x, y), xytext=(1, 5), textcoords="offset points", fontsize=8, color=INK, bbox=paper)
    ax.set(xlim=(x0, x1), ylim=(y0, y1))


def hour_of_week(ds: xr.Dataset) -> NDArray[np.intp]:
    """(steps,) local hour of the week, Monday 0h = 0."""
    local = local_time(ds)
    return np.asarray(local.day_of_week * 24 + local.hour, dtype=np.intp)


def week_hours(ds: xr.Dataset) -> NDArray[np.intp]:
    """(hours,) the hours of the week that an axis shows, in order: as many days as the file has, a week at most.

    Of a file with all seven days Monday to Sunday, of a shorter one its own days in their order, without the hours
    before its first and after its last step.
    """
    result = hour_of_week(ds)
    days = list(dict.fromkeys((result // 24).tolist()))
    days = list(range(7)) if len(days) == 7 else days
    index = np.concatenate([np.arange(24) + 24 * day for day in days])
    used = np.flatnonzero(np.isin(index, result))
    return np.asarray(index[used[0] : used[-1] + 1], dtype=np.intp)


def week_axis(ax: Any, index: NDArray[np.intp]) -> None:
    """An axis over the hours `index` (of `week_hours`), with the names of the days, or the hours of a single one.

    index: (hours,) of the week.
    """
    ax.set_xlim(0, len(index))
    if len(index) <= 24:
        at = np.flatnonzero(index % 3 == 0)
        ax.set_xticks(at, [f"{index[i] % 24}h" for i in at])
        ax.set_xlabel(DAYS[index[0] // 24])
    else:
        starts = np.flatnonzero(np.diff(index // 24, prepend=-1))
        ax.set_xticks(starts, [DAYS[index[i] // 24] for i in starts], ha="left")
    ax.grid(True, axis="x")


def typical_week(values: NDArray[Any], hour: NDArray[np.intp], to_hour: float = 1.0) -> NDArray[np.float64]:
    """Mean by hour of the week, (..., 168), nan where there is no such hour; values (..., steps).

    to_hour: `dataset.amounts.per_hour`, which makes volumes of short steps those of their hour."""
    flat = values.reshape(-1, values.shape[-1]).astype(np.float64)
    out = np.full((len(flat), WEEK_H), np.nan)
    for h in np.unique(hour):
        out[:, h] = flat[:, hour == h].mean(axis=1) * to_hour
    return out.reshape(*values.shape[:-1], WEEK_H)


def weeks(ds: xr.Dataset, service: str) -> str:
    """The typical week of the region, and of a quiet, a median and the busiest cell."""
    members = _members(ds, service)
    hour, index = hour_of_week(ds), week_hours(ds)
    noun = "station" if ds.attrs["kind"] == "stations" else "cell"
    chosen = typical_cells(members.mean(axis=(0, 2), dtype=np.float64))
    total = members.sum(axis=1, dtype=np.float64)
    panels = {f"All {ds.sizes['cell']:,} {noun}s": total}
    for word, cell in chosen.items():
        panels[f"{word.capitalize()} {noun}: {shortened(ds['cell_id'].values[cell])}"] = members[:, cell]
    if ds.sizes["cell"] == 1:
        panels = {f"The {noun}": total}
    with page_style():
        rows = -(-len(panels) // 2)
        figure, axes = new_figure(11.2, 2.25 * rows + 0.3, rows, min(2, len(panels)))
        for ax, (title, values) in zip(axes, panels.items(), strict=False):
            week = typical_week(values, hour, per_hour(str(ds[service].attrs["units"]), step_seconds(ds)))[:, index]
            _band(ax, np.arange(len(index)), week)
            week_axis(ax, index)
            ax.set_ylim(bottom=0)
            ax.set_ylim(top=ax.get_ylim()[1] * 1.12)
            ax.yaxis.set_major_formatter(axis_number)
            ax.set_title(plain_text(title))
        axes[0].set_ylabel(plain_text(shortened(said_units(ds, service))))
        if len(members) > 1:
            top_legend(axes[0])
        return svg_text(figure, "Typical weeks of the region and of three cells")


def days(ds: xr.Dataset, service: str, result: xr.Dataset) -> str:
    """The mean working day and weekend day of the region, and when cells have their busy hour."""
    total = _members(ds, service).sum(axis=1, dtype=np.float64).mean(axis=0)
    total *= per_hour(str(ds[service].attrs["units"]), step_seconds(ds))
    local = local_time(ds)
    hour, weekend = np.asarray(local.hour), np.asarray(local.day_of_week >= 5)
    with page_style():
        figure, (left, right) = new_figure(11.2, 2.9, 1, 2)
        for mask, word, colour in ((~weekend, "Monday to Friday", ACCENT), (weekend, "weekend", INK)):
            if mask.any():
                used = np.unique(hour[mask])
                course = [total[mask & (hour == h)].mean() for h in used]
                left.plot(used + 0.5, course, color=colour, linewidth=1.6, marker="o", markersize=3, label=word)
        left.set_ylim(bottom=0)
        left.set_ylim(top=left.get_ylim()[1] * 1.18)
        left.yaxis.set_major_formatter(axis_number)
        left.set_title("The mean day, all together")
        left.set_ylabel(plain_text(shortened(said_units(ds, service))))
        top_legend(left)
        counts = np.bincount(result["busy_hour"].values, minlength=24)
        right.bar(np.arange(24) + 0.5, counts, width=0.86, color=ACCENT, alpha=0.75)
        right.set_title("Busy hour of the stations" if ds.attrs["kind"] == "stations" else "Busy hour of the cells")
        right.set_ylabel("how many")
        for ax in (left, right):
            ax.set_xlim(0, 24)
            ax.set_xticks(range(0, 25, 3), [f"{h}h" for h in range(0, 25, 3)])
        return svg_text(figure, "The mean working day and weekend day, and the busy hours of the cells")


def uncertainty(ds: xr.Dataset, result: xr.Dataset, units: str, capacity: float | None) -> str:
    """Cells by their level: median and band of the mean and of the highest value, with the capacity."""
    with page_style():
        figure, axes = new_figure(11.2, 3.0, 1, 2)
        band, few = band_words(ds), ds.sizes["cell"] <= 8
        noun = "station" if ds.attrs["kind"] == "stations" else "cell"
        titles = {"mean": f"Mean of each {noun}", "peak": f"Highest value of each {noun}"}
        for ax, (name, title) in zip(axes, titles.items(), strict=True):
            order = np.argsort(result[f"{name}_p50"].values, kind="stable")
            low, middle, high = (result[f"{name}_{q}"].values[order] for q in ("p05", "p50", "p95"))
            rank = np.arange(1, len(order) + 1)
            floor = max(float(middle.max()) * 1e-6, 1e-300)
            low, middle, high = (np.maximum(v, floor) for v in (low, middle, high))
            if few:
                ax.vlines(rank, low, high, color=ACCENT, alpha=0.3, linewidth=9, label=band)
                ax.plot(rank, middle, "o", color=ACCENT, markersize=5, label="median")
                names = [plain_text(shortened(ds["cell_id"].values[i], 12)) for i in order]
                ax.set_xticks(rank, names)
                if sum(map(len, names)) > 36:  # side by side they would run into one another
                    ax.tick_params(axis="x", rotation=25)
                ax.set_xlim(0.4, len(rank) + 0.6)
                ax.set_ylim(low.min() / 2.5, high.max() * 1.5)
            else:
                ax.fill_between(rank, low, high, color=ACCENT, alpha=0.2, linewidth=0, label=band)
                ax.plot(rank, middle, color=ACCENT, linewidth=1.4, label="median")
                ax.set_xlim(1, len(rank))
                ax.set_xlabel("quietest to busiest")
            if capacity is not None and name == "peak":
                ax.axhline(capacity, color=INK, linewidth=1.1, linestyle=(0, (4, 2)), label="capacity")
            ax.set_yscale("log")
            ticks = round_ticks(*ax.get_ylim())
            ax.set_yticks(ticks, [axis_number(tick) for tick in ticks])
            ax.yaxis.set_minor_formatter("")
            ax.set_title(title)
            ax.legend(loc="lower right", ncols=3, frameon=False, fontsize=8.5)
        axes[0].set_ylabel(plain_text(shortened(units)))
        return svg_text(figure, "Mean and highest value of every cell with the range of the members")


def change_panels(before: NDArray[np.float64], after: NDArray[np.float64], units: str) -> list[Panel]:
    """Mean levels before and after, and their difference; (cells,)."""
    from matplotlib.colors import LinearSegmentedColormap, SymLogNorm

    traffic = LinearSegmentedColormap.from_list("traffic", list(COLOURS))
    twosided = LinearSegmentedColormap.from_list("difference", list(TWOSIDED))
    norm = log_norm(np.concatenate([before, after]))
    apart = after - before
    most = float(np.abs(apart).max()) or 1.0
    linear = most / 100
    near = float(f"{most / 20:.1g}")
    ticks = [-most, -near, 0.0, near, most]
    return [
        Panel(f"After - before, {shortened(units)}", apart, twosided, SymLogNorm(linear, vmin=-most, vmax=most),
              (ticks, [f"{'+' if t > 0 else ''}{plain_number(t)}" for t in ticks])),
        _log_panel(f"Before, {shortened(units)}", before, traffic, norm),
        _log_panel(f"After, {shortened(units)}", after, traffic, norm),
    ]  # fmt: skip


def change_weeks(ds: xr.Dataset, names: tuple[str, str], rows: Mapping[int, str]) -> str:
    """Typical weeks before and after, of all and of the cells `rows`, each with what it is called."""
    hour, index = hour_of_week(ds), week_hours(ds)
    old, new = (_members(ds, name) for name in names)
    to_hour = per_hour(str(ds[names[0]].attrs["units"]), step_seconds(ds))
    panels: dict[str, tuple[Any, Any]] = {"All together": (old.sum(1, dtype=np.float64), new.sum(1, dtype=np.float64))}
    for row, word in rows.items():
        title = f"{shortened(word, 20)}: {shortened(ds['cell_id'].values[row], 16)}"
        panels[title] = (old[:, row], new[:, row])
    with page_style():
        columns = 2 if len(panels) in (2, 4) else 3
        figure, axes = new_figure(11.2, 2.5 * -(-len(panels) // columns), -(-len(panels) // columns), columns)
        for ax in axes[len(panels) :]:
            ax.remove()
        for ax, (title, (a, b)) in zip(axes, panels.items(), strict=False):
            for values, colour, word in ((a, INK, "before"), (b, ACCENT, "after")):
                week = typical_week(values, hour, to_hour).mean(axis=0)[index]
                ax.plot(week, color=colour, linewidth=1.3, label=word)
            week_axis(ax, index)
            ax.set_ylim(bottom=0)
            ax.set_ylim(top=(ax.get_ylim()[1] or 1) * 1.15)
            ax.yaxis.set_major_formatter(axis_number)
            ax.set_title(plain_text(title))
        top_legend(axes[0])
        return svg_text(figure, "Typical weeks before and after the change")


def _band(ax: Any, x: NDArray[Any], members: NDArray[np.float64]) -> None:
    if len(members) > 1:
        (a, b), word = member_band(len(members))
        low, high = np.quantile(members, (a, b), axis=0)
        ax.fill_between(x + 0.5, low, high, color=ACCENT, alpha=0.2, linewidth=0, label=word)
    few = np.isfinite(members[0]).sum() < 3
    ax.plot(x + 0.5, members.mean(axis=0), color=ACCENT, linewidth=1.4, marker="o" if few else None, markersize=3,
            label="mean" if len(members) > 1 else None)  # fmt: skip


def _members(ds: xr.Dataset, service: str) -> NDArray[np.float32]:
    values: NDArray[np.float32] = ds[service].values
    return values if values.ndim == 3 else values[None]


def clock_changes(ds: xr.Dataset) -> bool:
    """Whether the clocks change within the period."""
    return len(np.unique(utc_offset_s(ds))) > 1
