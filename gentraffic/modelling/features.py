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
NO_SPREAD = 1e-9  # what is below tells no cells apart
TRUNCATE = 5.0  # standard deviations beyond which a Gaussian neighbourhood weighs nothing
BLOCK = 65_536  # rows that are worked on at a time: a country has millions
CORNERS = ((0, 0), (0, 1), (1, 0), (1, 1))  # of a pixel of a raster
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
    return Scale(mean, _spread(variance, n))


def _spread(variance: Floats, n: int) -> Floats:
    return np.sqrt((n * variance + 16 * 0.25) / (n + 16))


@dataclass(frozen=True)
class Places:
    """What is known of the cells of one context, before standardisation.

    poi_count: (cells, 8) POIs, as the context holds them. density: (cells, 3) log mean count of all POIs around, at
    RADII_M. sites: (cells, 2) log density of known base-station sites around, at SITE_RADII_M; None where not known.
    xy_m: (cells, 2) metres. network: the measured network that the cells belong to, "" if none. before: what-if: the
    same cells before a change, whose means and spreads standardise these, so that a local change stays local.
    """

    poi_count: NDArray[Any]
    density: Floats
    sites: Floats | None
    xy_m: Floats
    network: str
    before: Places | None = None

    @cached_property
    def counts(self) -> Floats:
        """(cells, 8) log1p of the POI counts: only measured networks ask for all of it."""
        logged: Floats = np.log1p(self.poi_count, dtype=np.float64)
        return logged

    @cached_property
    def around(self) -> Floats:
        """(cells, 8) log1p of the Gaussian mean of the counts within AROUND_M, for measured networks as well."""
        mean = smooth_density(self.poi_count.astype(np.float64), self.xy_m, AROUND_M)
        return np.log1p(mean, out=mean)


def read_places(context: xr.Dataset) -> Places:
    """The features of every cell of a context Dataset."""
    before = None
    if f"poi_count{BEFORE}" in context:
        names = [name for name in ("poi_count", "stations") if name in context]
        old = context.drop_vars([f"{name}{BEFORE}" for name in names])
        before = read_places(old.assign({name: context[f"{name}{BEFORE}"] for name in names}))
    counts = context["poi_count"].values  # a country has millions of rows: few copies are made
    xy = np.stack([context["x"].values, context["y"].values], axis=1).astype(np.float64, copy=False)
    total = counts.sum(axis=1).astype(np.float64)
    usual_total = total if before is None else context[f"poi_count{BEFORE}"].values.sum(axis=1).astype(np.float64)
    sites = None
    if "stations" in context:
        known = np.nan_to_num(context["stations"].values.astype(np.float64))
        usual = known if before is None else np.nan_to_num(context[f"stations{BEFORE}"].values.astype(np.float64))
        if usual.sum() > 0:
            sites = _log_densities(known, xy, SITE_RADII_M, usual)
    density = _log_densities(total, xy, RADII_M, usual_total)
    return Places(
        poi_count=counts,
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
    base = [_moved(old, old) for _, old in pairs]
    own = base if usual is places else [_moved(new, old) for new, old in pairs]
    now, then = (np.mean([_standard(v, b) for v, b in zip(part, base, strict=True)], axis=0) for part in (own, base))
    return _standard(now, then)


def count_scale(places: Places) -> Scale:
    """What `fit_scale` finds of the log counts, from one category at a time: a country's are not held at once."""
    columns = (np.log1p(column, dtype=np.float64) for column in places.poi_count.T)
    found = np.array([(column.mean(), column.var()) if len(column) else (0.0, 0.0) for column in columns])
    return Scale(found[:, 0], _spread(found[:, 1], len(places.poi_count)))


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
    slots = [_compact(np.floor(column / pitch - least - 0.5)) for column, least in zip(xy_m.T, low, strict=True)]
    shape = (int(slots[0].max()) + 2, int(slots[1].max()) + 2)

    def corner(i: int, j: int) -> Iterator[tuple[slice, Floats, NDArray[np.int64]]]:
        """(rows, their share in one of the four pixels around each, which pixel that is), block by block."""
        for first in range(0, len(xy_m), BLOCK):
            rows = slice(first, first + BLOCK)
            part = xy_m[rows] / pitch - low - 0.5
            part -= np.floor(part)
            share = np.abs(1 - i - part[:, 0]) * np.abs(1 - j - part[:, 1])
            yield rows, share, (slots[0][rows].astype(np.int64) + i) * shape[1] + slots[1][rows] + j

    def shared_out(values: Floats) -> Floats:
        """Values (cells,) shared out over the corners' pixels, smoothed, and read back there: (cells,)."""
        from scipy import ndimage

        raster = np.zeros(shape[0] * shape[1])
        for at in CORNERS:
            here = np.zeros(len(raster))
            for rows, share, pixel in corner(*at):
                np.add.at(here, pixel, share * values[rows])
            raster += here
        width = np.sqrt(4 - 1 / 3)  # of 2 pixels; sharing out and reading back widen by the variance 1/6 each
        smooth = ndimage.gaussian_filter(raster.reshape(shape), width, mode="constant", truncate=TRUNCATE).ravel()
        back = np.zeros(len(values))
        for at in CORNERS:
            for rows, share, pixel in corner(*at):
                back[rows] += share * smooth[pixel]
        return back

    cells = np.maximum(shared_out(np.ones(len(xy_m))), 1e-12)
    density = np.empty(values.shape)
    for column, out in zip(values.reshape(len(values), -1).T, density.reshape(len(values), -1).T, strict=True):
        np.divide(shared_out(column), cells, out=out)
    return density


def _compact(bins: Floats, gap: int = 20) -> NDArray[np.int32]:
    """Bins (cells,) along one axis with empty stretches of more than `gap` closed: the land between far towns."""
    used = np.unique(bins)
    closed = np.cumsum(np.minimum(np.diff(used, prepend=used[0]), gap)).astype(np.int32)
    return np.asarray(closed[np.searchsorted(used, bins)])


def _log_densities(values: Floats, xy_m: Floats, radii_m: tuple[float, ...], usual: Floats) -> Floats:
    """(cells, radii)."""
    floor = 0.05 * max(float(usual.mean()), 1e-9)
    out = np.empty((len(values), len(radii_m)))
    for i, radius_m in enumerate(radii_m):
        out[:, i] = np.log(smooth_density(values, xy_m, radius_m) + floor) - np.log(floor)
    return out


def _moved(columns: Floats, usual: Floats) -> Floats:
    """`usual` standardised, and from there to `columns` in steps of its spread, or of LEAST_SPREAD if that is more.

    Takes (cells, columns), gives the mean over the columns: (cells,).
    """
    mean, spread = usual.mean(axis=0), usual.std(axis=0)
    out = np.zeros(len(columns))
    for i in range(columns.shape[1]):  # one at a time: a country has millions of rows
        out += (usual[:, i] - mean[i]) / (spread[i] if spread[i] > NO_SPREAD else 1.0)
        if columns is not usual:
            out += (columns[:, i] - usual[:, i]) / max(spread[i], LEAST_SPREAD)
    out /= columns.shape[1]
    return out


def _standard(values: Floats, usual: Floats) -> Floats:
    """Values (cells,) standardised by the mean and spread of `usual`."""
    spread = usual.std()
    out: Floats = (values - usual.mean()) / (spread if spread > NO_SPREAD else 1.0)
    return out
