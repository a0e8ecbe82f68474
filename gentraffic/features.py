"""A context file as numbers that the models take: counts and neighbourhoods, standardised, and the station graph.

All of it is computed from the whole context, never from the cells that happen to be drawn, so that a cell gets the
same features whichever others are drawn beside it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import xarray as xr

Floats = NDArray[np.float64]

RADII_M = (500.0, 1000.0, 2000.0)  # the neighbourhoods in which POIs are counted, as Gaussian standard deviations
SITE_RADII_M = (500.0, 1000.0)
AROUND_M = 400.0
LEAST_SPREAD = 1.0  # of log densities, after a change: twice as much around is then about twice the traffic at most;
# measured over the cells of Shandong and Nanchang, log traffic rises by 0.8 and 0.4 of log density
TRUNCATE = 5.0  # standard deviations beyond which a Gaussian neighbourhood weighs nothing
BEFORE = "_before"  # what-if: a context of after a change holds poi_count_before, and stations_before


@dataclass(frozen=True)
class Scale:
    """How features are standardised: (value - mean) / spread, per column."""

    mean: Floats
    spread: Floats

    def __call__(self, columns: Floats) -> Floats:
        """(cells, columns) -> the same, standardised and held within 5 spreads."""
        out: Floats = columns - self.mean
        out /= self.spread  # in place: a country has millions of rows
        return np.clip(out, -5.0, 5.0, out=out)


def fit_scale(columns: Floats) -> Scale:
    """The mean and spread of a region; the spread of few cells is shrunk towards 0.5 with the weight of 16 cells."""
    n = len(columns)
    variance = np.array([column.var() if n else 0.0 for column in columns.T])
    mean = columns.mean(axis=0) if n else np.zeros(columns.shape[1])
    return Scale(mean, np.sqrt((n * variance + 16 * 0.25) / (n + 16)))


@dataclass(frozen=True)
class Places:
    """What is known of the cells of one context, before standardisation.

    counts: (cells, 8) log1p of the POI counts. density: (cells, 3) log mean count of all POIs around, at RADII_M.
    sites: (cells, 2) log density of known base-station sites around, at SITE_RADII_M; None where not known.
    xy_m: (cells, 2) metres. network: the measured network that the cells belong to, "" if none. before: what-if: the
    same cells before a change, whose means and spreads standardise these, so that a local change stays local.
    """

    counts: Floats
    density: Floats
    sites: Floats | None
    xy_m: Floats
    network: str
    before: Places | None = None

    @cached_property
    def around(self) -> Floats:
        """(cells, 8) log1p of the Gaussian mean of the counts within AROUND_M: only measured networks ask for it."""
        mean = smooth_density(np.rint(np.expm1(self.counts)), self.xy_m, AROUND_M)
        return np.log1p(mean, out=mean)


def read_places(context: xr.Dataset) -> Places:
    """The features of every cell of a context Dataset."""
    before = None
    if f"poi_count{BEFORE}" in context:
        names = [name for name in ("poi_count", "stations") if name in context]
        old = context.drop_vars([f"{name}{BEFORE}" for name in names])
        before = read_places(old.assign({name: context[f"{name}{BEFORE}"] for name in names}))
    raw = context["poi_count"].values  # a country has millions of rows: few copies are made
    xy = np.stack([context["x"].values, context["y"].values], axis=1).astype(np.float64, copy=False)
    total = raw.sum(axis=1).astype(np.float64)
    usual_total = total if before is None else context[f"poi_count{BEFORE}"].values.sum(axis=1).astype(np.float64)
    sites = None
    if "stations" in context:
        known = np.nan_to_num(context["stations"].values.astype(np.float64))
        usual = known if before is None else np.nan_to_num(context[f"stations{BEFORE}"].values.astype(np.float64))
        if usual.sum() > 0:
            sites = np.stack([_log_density(known, xy, r, usual) for r in SITE_RADII_M], axis=1)
    density = np.stack([_log_density(total, xy, r, usual_total) for r in RADII_M], axis=1)
    counts = raw.astype(np.float64)
    return Places(
        counts=np.log1p(counts, out=counts),
        density=density,
        sites=sites,
        xy_m=xy,
        network=str(context.attrs.get("network", "")),
        before=before,
    )


def activity_index(places: Places) -> Floats:
    """How busy each cell should be by its surroundings alone: (cells,), mean 0 and spread 1 over the context.

    The mean of the standardised log densities at the three radii, and, where sites are known, of those as well with
    equal weight. It uses totals and no categories: what counts as a shop differs from map to map, how much there is
    around does not. Zeros where the context holds nothing to tell its cells apart.

    After a change, means and spreads are those of before, and a log density that moves counts over a spread of
    LEAST_SPREAD at least: the cells of one quarter differ little (spread 0.07 within 2 km around, in the centre of
    Helsinki), and a fifth of its POIs less is no reason for three quarters less traffic.
    """
    usual = places.before or places
    pairs = [(places.density, usual.density)]
    if places.sites is not None and usual.sites is not None:
        pairs.append((places.sites, usual.sites))
    parts = [tuple(_moved(v, old).mean(axis=1)[:, None] for v in (new, old)) for new, old in pairs]
    own, base = (np.mean([_standard(part[i], part[1])[:, 0] for part in parts], axis=0)[:, None] for i in (0, 1))
    return _standard(own, base)[:, 0]


def reach_m(places: Places) -> float:
    """How far, in metres along x or along y, the POIs or sites of a cell reach into the features of other cells.

    Beyond it, features do not change by a bit: the Gaussians of `smooth_density` end after TRUNCATE spreads of a raster
    of half the radius, which is shared out and read back bilinearly.
    """
    radius = AROUND_M if places.network else max(*RADII_M, *SITE_RADII_M, AROUND_M)
    return (int(TRUNCATE * np.sqrt(4 - 1 / 3) + 0.5) + 2) * radius / 2


def smooth_density(values: Floats, xy_m: Floats, radius_m: float) -> Floats:
    """Gaussian mean of `values`, (cells,) or (cells, columns), over the cells around each cell: the same shape.

    Values are shared out over a raster of half the radius, smoothed, divided by the equally smoothed number of cells
    (an edge is not a desert), and read back, bilinearly both ways: linear in the number of cells, whatever the radius.
    """
    pitch = radius_m / 2
    low = np.floor(xy_m.min(axis=0) / pitch) - 1
    part = xy_m / pitch - low - 0.5
    whole = np.floor(part).astype(np.int64)
    part -= whole
    slots = _compact(whole)
    shape = (int(slots[:, 0].max()) + 2, int(slots[:, 1].max()) + 2)

    def corners() -> Iterator[tuple[Floats, NDArray[np.int64]]]:
        for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):  # one at a time: a country has millions of rows
            share = np.abs(1 - i - part[:, 0]) * np.abs(1 - j - part[:, 1])
            yield share, (slots[:, 0] + i) * shape[1] + slots[:, 1] + j

    def shared_out(values: Floats) -> Floats:
        """Values (cells,) shared out over the corners' pixels, smoothed, and read back there: (cells,)."""
        from scipy import ndimage

        raster = np.zeros(shape[0] * shape[1])
        for share, at in corners():
            raster += np.bincount(at, share * values, len(raster))
        width = np.sqrt(4 - 1 / 3)  # of 2 pixels; sharing out and reading back widen by the variance 1/6 each
        smooth = ndimage.gaussian_filter(raster.reshape(shape), width, mode="constant", truncate=TRUNCATE).ravel()
        back = np.zeros(len(values))
        for share, at in corners():
            back += share * smooth[at]
        return back

    cells = np.maximum(shared_out(np.ones(len(xy_m))), 1e-12)
    density = np.empty(values.shape)
    for column, out in zip(values.reshape(len(values), -1).T, density.reshape(len(values), -1).T, strict=True):
        np.divide(shared_out(column), cells, out=out)
    return density


def _compact(bins: NDArray[np.int64], gap: int = 20) -> NDArray[np.int64]:
    """Bins (cells, 2) with empty stretches of more than `gap` rows or columns closed: the land between far towns."""
    out = np.empty_like(bins)
    for axis in range(2):
        used, where = np.unique(bins[:, axis], return_inverse=True)
        out[:, axis] = np.cumsum(np.minimum(np.diff(used, prepend=used[0]), gap))[where]
    return out


def _log_density(values: Floats, xy_m: Floats, radius_m: float, usual: Floats) -> Floats:
    density = smooth_density(values, xy_m, radius_m)
    floor = 0.05 * max(float(usual.mean()), 1e-9)
    logged: Floats = np.log(density + floor) - np.log(floor)
    return logged


def _moved(columns: Floats, usual: Floats) -> Floats:
    """`usual` standardised, and from there to `columns` in steps of its spread, or of LEAST_SPREAD if that is more."""
    standard: Floats = _standard(usual, usual) + (columns - usual) / np.maximum(usual.std(axis=0), LEAST_SPREAD)
    return standard


def _standard(columns: Any, usual: Any) -> Floats:
    """Standardised by the mean and spread of `usual`."""
    spread = usual.std(axis=0)
    out: Floats = (columns - usual.mean(axis=0)) / np.where(spread > 1e-9, spread, 1.0)
    return out
