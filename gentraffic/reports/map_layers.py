"""The layers of a map beside the one that plays: one number per cell, its colour, and the words of the legend."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gentraffic.dataset.schema import units_words
from gentraffic.dataset.summary import AGREED, level_spread, summary
from gentraffic.reports.change import Change, step_word
from gentraffic.reports.page import is_drawn

if TYPE_CHECKING:
    import xarray as xr

SHADES = 254  # of a ramp; 0 stands for "none"
# matplotlib's magma (CC0), backwards and without its palest and darkest ends, so that both differ from paper and ink.
COLOURS = ("#fde2a3", "#febf84", "#fe9f6d", "#fa7f5e", "#f1605d", "#de4968", "#c43c75", "#a8327d", "#8c2981", "#721f81",
           "#57157e", "#3b0f70", "#20114b")  # fmt: skip
HOURS = ("#e2d9e2", "#b3c6ce", "#7ba1c2", "#6276ba", "#5e43a5", "#4e186f", "#2f1436", "#581647", "#8e2c50", "#b25652",
         "#c6896c", "#d4bcac", "#e2d9e2")  # fmt: skip  # matplotlib's twilight (CC0): 24h is 0h
WIDTHS = ("#00224e", "#003170", "#2a3f6d", "#434e6c", "#575d6d", "#6a6c71", "#7d7c78", "#918b78", "#a59c74", "#bcae6c",
          "#d2c060", "#e9d34e", "#fee838")  # fmt: skip  # matplotlib's cividis (CC0)
TWOSIDED = ("#2c5f8a", "#8fb4d3", "#dedad2", "#e2a07a", "#a8421f")


RATIOS = (1, 1.05, 1.1, 1.2, 1.3, 1.5, 2, 3, 5, 10, 20, 50, 100, 1000)  # that may stand beside a ramp


@dataclass(frozen=True)
class Layer:
    """values: (cells,), what is said of a cell. place: (cells,) where on the ramp, 0 to 1, nan for `none`.

    kind: how a value is written: "amount", "hour", "ratio" or "difference". ticks: (place on the ramp, words).
    """

    name: str
    title: str
    label: str
    kind: str
    ramp: Sequence[str]
    values: NDArray[np.float64]
    place: NDArray[np.float64]
    ticks: list[tuple[float, str]]
    none: str

    def to_json(self) -> dict[str, Any]:
        """What the page reads; arrays as base64 of zlib of little-endian bytes."""
        shade = np.where(np.isnan(self.place), 0, 1 + np.rint(SHADES * np.clip(np.nan_to_num(self.place), 0, 1)))
        return {
            "name": self.name, "title": self.title, "label": self.label, "kind": self.kind, "ramp": list(self.ramp),
            "ticks": self.ticks, "none": self.none, "flip": self.ramp is COLOURS,
            "shade": _pack(shade.astype("<u1")), "values": _pack(self.values.astype("<f4")),
        }  # fmt: skip


def round_ticks(low: float, high: float) -> list[float]:
    """Round numbers within the ends of a logarithmic axis, three or more however narrow it is. 0 < low < high."""
    from matplotlib.ticker import MaxNLocator

    decade = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    ticks: list[float] = []
    for steps in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9)):
        ticks = [float(d * s) for d in decade for s in steps if low <= d * s <= high]
        if len(ticks) >= 3:
            break
    if len(ticks) < 2:  # less than from one round number to the next
        ticks = [float(t) for t in MaxNLocator(3).tick_values(low, high) if low <= t <= high]
    return ticks


def plain_number(value: float, _: object = None) -> str:
    """A number as people write it: 0.38, 12.4, 6,200; powers of ten only where they are needed."""
    if 1e-3 <= abs(value) < 1e7:
        return f"{float(f'{value:.3g}'):,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return "0" if value == 0 else f"{value:.3g}"


def map_layers(ds: xr.Dataset, service: str, change: Change | None) -> list[Layer]:
    """Mean, busy hour and, of an ensemble, range; of a what-if first the difference, before and after."""
    statistics = summary(ds, service)
    units = units_words(ds, service)
    noun = "station" if ds.attrs["kind"] == "stations" else "cell"
    layers = [] if change is None else _of_change(change, units, step_word(ds))
    if change is None:
        mean = statistics["mean"].values
        layers.append(_amount("mean", "Mean over the period", f"Mean, {units}", mean, _ends(mean)))
    hours = statistics["busy_hour"].values.astype(np.float64)
    sure = statistics["mean"].values > 0
    none = "no traffic"
    chance = "" if not is_drawn(ds) or "member" in ds.dims else ": of one member much is chance"
    if "busy_agreement" in statistics:
        sure &= statistics["busy_agreement"].values >= AGREED
        none = "members disagree, or no traffic"
    layers.append(
        Layer("busy", "Busy hour", f"Busiest hour of each {noun}'s mean day, local time{chance}", "hour", HOURS, hours,
              np.where(sure, (hours + 0.5) / 24, np.nan),
              [(h / 24, f"{h}h") for h in (0, 6, 12, 18, 24)], none)
    )  # fmt: skip
    if "mean_p95" in statistics:
        wide = level_spread(statistics)
        ends = 1.0, max(1.1, float(np.quantile(wide, 0.98)))
        place = np.log(np.clip(wide, *ends)) / np.log(ends[1])
        ticks = [(float(np.log(t) / np.log(ends[1])), f"× {t:g}") for t in RATIOS]
        label = "Range of the mean: high end over low end of the central 90% of the members"
        layers.append(Layer("range", "Range of the members", label, "ratio", WIDTHS, wide, place, _spaced(ticks), ""))
    return layers


def _of_change(change: Change, units: str, step: str) -> list[Layer]:
    apart = change.apart
    most = float(np.abs(apart).max()) or 1.0
    small = most / 100  # below it the colours are linear, above it logarithmic
    away = np.log1p(np.abs(apart) / small) / np.log1p(most / small)
    place = np.where(apart == 0, np.nan, 0.5 + 0.5 * np.sign(apart) * away)
    ticks = [(0.0, plain_number(-most)), (0.5, "0"), (1.0, f"+{plain_number(most)}")]
    difference = Layer("difference", "Difference", f"After minus before, mean, {units}", "difference", TWOSIDED, apart,
                       place, ticks, "no change")  # fmt: skip
    ends, tops = _ends(np.concatenate([change.before, change.after])), change.highest[1].value
    return [
        difference,
        _amount("before", "Before", f"Before the change, mean, {units}", change.before, ends),
        _amount("after", "After", f"After the change, mean, {units}", change.after, ends),
        _amount("highest", "Highest hour after", f"Highest {step} after the change, {units}", tops, _tops(tops)),
    ]


def _amount(name: str, title: str, label: str, values: NDArray[np.float64], ends: tuple[float, float]) -> Layer:
    low, high = np.log(ends[0]), np.log(ends[1])
    with np.errstate(divide="ignore"):
        place = np.where(values > 0, (np.log(values) - low) / (high - low), np.nan)
    decades = [d * 10.0**p for p in range(-12, 16) for d in (1, 2, 5) if ends[0] <= d * 10.0**p <= ends[1]]
    ticks = [(float((np.log(t) - low) / (high - low)), plain_number(t)) for t in decades or ends]
    return Layer(name, title, label, "amount", COLOURS, values, np.clip(place, 0, 1), _spaced(ticks), "no traffic")


def _ends(values: NDArray[np.float64]) -> tuple[float, float]:
    """Between which values colours run: 2% and 99.5% quantiles of what is above 0, at least a factor of 1.1."""
    positive = values[values > 0]
    if not positive.size:
        return 0.1, 1.0
    low, high = (float(v) for v in np.quantile(positive, (0.02, 0.995)))
    return max(low, high / 1e4), max(high, low * 1.1)


def _tops(values: NDArray[np.float64]) -> tuple[float, float]:
    """As `_ends`, to the highest value of all: one cell of a match is what is looked for."""
    low, _ = _ends(values)
    return low, max(float(values.max()), low * 1.1)


def _spaced(ticks: list[tuple[float, str]], room: float = 0.17) -> list[tuple[float, str]]:
    """Ticks that leave room for their words."""
    kept: list[tuple[float, str]] = []
    for at, words in ticks:
        if 0.0 <= at <= 1.0 and (not kept or at - kept[-1][0] >= room):
            kept.append((round(at, 4), words))
    return kept


def _pack(numbers: NDArray[Any]) -> str:
    return base64.b64encode(zlib.compress(numbers.tobytes(), 6)).decode()
