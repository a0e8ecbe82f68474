"""Places and traffic as numbers that the models take.

Of a context file: counts, densities per km2 of what stands around, the station graph.

All of it is computed from the whole context, never from the cells that happen to be drawn, so that a cell gets the
same features whichever others are drawn beside it. And nothing is standardised by the context: densities are per km2,
so that a cell gets the same features whatever area is drawn around it, as far as the context knows what lies there
(`margin_poi_count`: the cells around a grid whose file reaches further).

Of traffic: its ratio to the cell's mean, as the networks see it, log(ratio + FLOOR), standardised.

At k steps per hour, the k logs of an hour become their mean, on the same scale as hourly traffic, and k - 1 cosine
coefficients (DCT-II, orthonormal) of what moves within the hour, each divided by its spread. That falls where the cell
and the hour are busy, as counts of many events move less than those of few (over the cells of Nanchang the log of the
spread and the level correlate by -0.97). So all numbers that are drawn have about unit variance, and hourly means look
alike at every cadence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gentraffic.dataset.schema import BLOCK as BLOCK
from gentraffic.dataset.schema import IN_MEMORY, Memory, blocks, release_pages

if TYPE_CHECKING:
    import xarray as xr

Floats = NDArray[np.float64]

NEAR_M = (125.0, 250.0, 500.0)  # Gaussian standard deviations of the neighbourhoods in which POIs are counted
FAR_M = (1000.0, 2000.0)
SITE_M = (250.0, 500.0, 1000.0)
AROUND_M = 400.0
POI_FLOOR = 0.05  # POIs of one category per km2, added before the logarithm: fewer tell nothing more
LEAST_PITCH_M = 125.0  # of the raster on which neighbourhoods are summed
MARGIN_M = 6000.0  # three times the widest neighbourhood: what lies beyond weighs a hundredth of the nearest
NO_SPREAD = 1e-9  # what is below tells no cells apart
TRUNCATE = 5.0  # standard deviations beyond which a Gaussian neighbourhood weighs nothing
MOST_POIS, MOST_SITES = 4000.0, 5000.0  # of a category, of radio cells, per km2: twice the most of any town here
MISTAKE = 2.0  # times as many are no town but a mistake, which tells nothing of what lies around
LEAST_KM2 = 0.0625  # of a cell in which these are counted: a mall may be all of a smaller one
MOST_CELLS = 131_072  # of a tile with its halo: its densities take 100 bytes a cell
MOST_BINS = 1000  # along an axis, by which cells are sorted into tiles
FLOOR = 0.05  # of the cell's mean: below it a ratio counts as silence, so that empty hours do not rule the logarithm
WEEK = 168  # hours
LEAST_MEAN = 0.05  # of a cell's mean: a week that is more silent than that says nothing about its shape
FADES = ((-2.5, 2.5), (-1.5, 0.5))  # within which the spread within the hour follows the cell's level, the hour's log
HIGHEST = 50.0  # times the cell's mean: nothing is drawn above
CORNERS = ((0, 0), (0, 1), (1, 0), (1, 1))  # of a pixel of a raster
SOURCES = {"": 0.0, "AMap": 3.0}  # log POIs of a source over OpenStreetMap's: a town of one kind has so many more
BEFORE = "_before"  # what-if: a context of after a change holds poi_count_before, and stations_before
KM_PER_DEGREE = 111.32  # of latitude
STATION_RADIUS_M = 500.0  # what a station covers where the context does not say


@dataclass(frozen=True)
class Variable:
    """A number per cell that a context may hold beside POIs: what is added to its density per km2, and its radii.

    sites: it counts sites, of which no more than MOST_SITES per km2 are believed."""

    floor: float
    radii_m: tuple[float, ...] = NEAR_M + FAR_M
    sites: bool = False


VARIABLES: dict[str, Variable] = {
    "stations": Variable(0.3, SITE_M, sites=True),  # known radio cells or base stations
    "population": Variable(1.0),  # residents
    "stops": Variable(0.5),  # of public transport
    "jobs": Variable(1.0),
    "floors": Variable(3000.0, NEAR_M),  # square metres of floor
    "streets": Variable(3000.0, NEAR_M),  # metres
    "offices": Variable(1000.0, NEAR_M),  # square metres of floor
    "homes": Variable(3000.0, NEAR_M),  # square metres of residential land
    "dry": Variable(5e4, NEAR_M),  # square metres of land that is not water
}
PARTS: dict[str, tuple[str, ...]] = {  # of which variables of a context some of these are the sum
    "floors": tuple(f"building_area_{use}" for use in ("residential", "office", "retail", "industrial", "other")),
    "streets": ("street_length_street",),
    "offices": ("building_area_office",),
    "homes": ("land_area_residential",),
}
WATER = "land_area_water"  # what is not dry


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
    """The mean and spread of each of the columns of a region (cells, columns), logs of densities.

    The spread of few cells is shrunk towards 0.5 with the weight of 16 cells.
    """
    n = len(columns)
    variance = np.array([column.var() if n else 0.0 for column in columns.T])
    mean = columns.mean(axis=0) if n else np.zeros(columns.shape[1])
    return Scale(mean, _spread(variance, n))


def _spread(variance: Floats, n: int) -> Floats:
    return np.sqrt((n * variance + 16 * 0.25) / (n + 16))


@dataclass(frozen=True)
class Margin:
    """The cells around those of a context: POIs (cells, 8), middles (cells, 2) in metres, km2 of each."""

    poi_count: NDArray[Any]
    xy_m: Floats
    area_km2: float


@dataclass(frozen=True)
class Places:
    """What is known of the cells of one context.

    poi_count: (cells, 8) POIs, as the context holds them. near, far: (cells, 8) logs of the POIs of each category per
    km2 around, POI_FLOOR added, mean over the radii NEAR_M and FAR_M. known: variable -> (cells,) the same of what else
    the context knows (VARIABLES), mean over its radii, NaN where it is not known. area_km2: (cells,). xy_m: (cells, 2)
    metres. network: the measured network that the cells belong to, "" if none. margin: what lies around. before:
    what-if: the same cells before a change, whose mean cell is what relative traffic 1 stands for. timezone: of the
    context. source: of its POIs, a key of SOURCES. lon_lat: (cells, 2) degrees, None if not said.
    """

    poi_count: NDArray[Any]
    near: NDArray[np.float32]
    far: NDArray[np.float32]
    area_km2: Floats
    xy_m: Floats
    network: str
    known: Mapping[str, Floats] = field(default_factory=dict)
    margin: Margin | None = None
    before: Places | None = None
    timezone: str = ""
    source: str = ""
    lon_lat: Floats | None = None

    @cached_property
    def counts(self) -> Floats:
        """(cells, 8) log1p of the POI counts: only measured networks ask for all of it."""
        logged: Floats = np.log1p(self.poi_count, dtype=np.float64)
        return logged

    @cached_property
    def around(self) -> Floats:
        """(cells, 8) log1p of the Gaussian mean of the counts within AROUND_M, for measured networks as well."""
        counts, xy = _with_margin(self.poi_count.astype(np.float64), self.xy_m, self.margin)
        mean = smooth_density(counts, xy, AROUND_M)[: len(self.xy_m)]
        return np.log1p(mean, out=mean)

    def some(self, rows: Any) -> Places:
        """Some of the cells, an index of them (n,) or a slice, with what is known of each alone: no `around`."""
        return replace(
            self,
            poi_count=self.poi_count[rows],
            near=self.near[rows],
            far=self.far[rows],
            area_km2=self.area_km2[rows],
            xy_m=self.xy_m[rows],
            known={name: values[rows] for name, values in self.known.items()},
            margin=None,
            before=None if self.before is None else self.before.some(rows),
            lon_lat=None if self.lon_lat is None else self.lon_lat[rows],
        )

    def release(self) -> None:
        """Give back the memory of what was read from mapped arrays."""
        release_pages(self.poi_count, self.near, self.far, self.xy_m, self.lon_lat, *self.known.values())

    @property
    def pois(self) -> Floats:
        """(cells,) the mean log density of POIs, as OpenStreetMap counts: over categories and over all radii."""
        count = len(NEAR_M), len(FAR_M)
        out = np.zeros(len(self.near))
        for n, part in zip(count, (self.near, self.far), strict=True):
            out += n / (sum(count) * part.shape[1]) * part.sum(axis=1, dtype=np.float64)
        out -= SOURCES[self.source]
        return out


def read_places(context: xr.Dataset, store: Memory = IN_MEMORY) -> Places:
    """The features of every cell of a context Dataset. store: where they lie."""
    before = None
    if f"poi_count{BEFORE}" in context:
        old = [str(name) for name in context.data_vars if str(name).endswith(BEFORE)]
        past = {name.removesuffix(BEFORE): context[name] for name in old}
        before = read_places(context.drop_vars(old).assign(past))
    counts = context["poi_count"].values
    xy = _pairs(context, "x", "y", store)
    area = cell_areas(context)
    margin = None
    if "margin_poi_count" in context:
        around = np.stack([context["margin_x"].values, context["margin_y"].values], axis=1).astype(np.float64)
        margin = Margin(context["margin_poi_count"].values, around, float(np.mean(area)))
        land = np.full(len(around), margin.area_km2)
    source, usual = _source(context), _usual(context, "poi_count")
    near, far = (store.zeros(name, counts.shape, np.float32) for name in ("near", "far"))
    asked = []
    for j in range(counts.shape[1]):
        beyond = None if margin is None else margin.poi_count[:, j]
        if beyond is not None and not source:
            beyond = believed(beyond, beyond, MOST_POIS, land)
        values = partial(_pois, counts[:, j], usual[:, j], None if source else area)
        for radii, log in ((NEAR_M, near), (FAR_M, far)):
            asked.append(Amount(values, POI_FLOOR, radii, beyond, log[:, j], (counts,)))
    logs: dict[str, NDArray[np.float32]] = {}
    for name, kind in VARIABLES.items():
        if is_known(context, name, area):
            logs[name] = store.zeros(f"log_{name}", (len(area),), np.float32)
            beyond = context[f"margin_{name}"].values if margin is not None and f"margin_{name}" in context else None
            if beyond is not None and kind.sites:
                beyond = believed(beyond, beyond, MOST_SITES, land)
            values, read = partial(_believed, context, name, area), _columns(context, name)
            asked.append(Amount(values, kind.floor, kind.radii_m, beyond, logs[name], read))
    add_log_densities(asked, xy, area, margin)
    known = {}
    for name, log in logs.items():
        known[name] = store.zeros(f"known_{name}", log.shape, np.float64)
        for rows in blocks(len(log)):
            known[name][rows] = log[rows]
            release_pages(log, known[name])
    return Places(
        poi_count=counts,
        near=near,
        far=far,
        area_km2=area,
        xy_m=xy,
        network=str(context.attrs.get("network", "")),
        known=known,
        margin=margin,
        before=before,
        timezone=str(context.attrs.get("timezone", "")),
        source=source,
        lon_lat=_pairs(context, "lon", "lat", store) if "lon" in context and "lat" in context else None,
    )


def _pairs(context: xr.Dataset, first: str, second: str, store: Memory) -> Floats:
    """Two columns of a context side by side: (cells, 2)."""
    a, b = context[first].values, context[second].values
    out: Floats = store.zeros(f"{first}_{second}", (len(a), 2), np.float64)
    for rows in blocks(len(a)):
        out[rows, 0], out[rows, 1] = a[rows], b[rows]
        release_pages(a, b, out)
    return out


def believed(values: NDArray[Any], usual: NDArray[Any], per_km2: float, area_km2: Floats) -> NDArray[Any]:
    """What is believed of counts (cells,): no more than `per_km2`, twice what any town holds, and inf, which counts for
    no cell around, where the place held MISTAKE times that before any change that a user asks for.

    values: (cells,). usual: (cells,) before a change. area_km2: (cells,)."""
    most = per_km2 * np.maximum(area_km2, LEAST_KM2)
    wrong = usual > MISTAKE * most
    out: NDArray[Any] = np.minimum(values, most)
    return np.where(wrong, np.inf, out) if wrong.any() else out


def _usual(context: xr.Dataset, name: str) -> NDArray[Any]:
    """A variable of a context before the change that a user asks for, if one is."""
    values: NDArray[Any] = context[f"{name}{BEFORE}" if f"{name}{BEFORE}" in context else name].values
    return values


def mistaken_cells(context: xr.Dataset) -> list[str]:
    """A warning for each kind of count of which cells hold more than any place does (`believed`)."""
    area, lines = cell_areas(context), []
    kinds = {"points of interest of one kind": ("poi_count", MOST_POIS), "radio cells": ("stations", MOST_SITES)}
    for what, (name, per_km2) in kinds.items():
        if name not in context or (name == "poi_count" and _source(context)):
            continue
        counts, found = _usual(context, name), []
        for rows in blocks(len(area)):
            most = counts[rows] if counts.ndim == 1 else counts[rows].max(axis=1)
            wrong = np.flatnonzero(most > MISTAKE * per_km2 * np.maximum(area[rows], LEAST_KM2))
            found += [(rows.start + int(i), float(most[i])) for i in wrong]
            release_pages(counts)
        if found:
            first = ", ".join(f"{context['cell_id'].values[i]} ({n:,.0f})" for i, n in found[:5])
            more = f" and {len(found) - 5} more" if len(found) > 5 else ""
            lines.append(
                f"{what} in cell {first}{more}: more than any place holds; taken for a mistake and not counted"
            )
    return lines


def _source(context: xr.Dataset) -> str:
    """Who counted its POIs, a key of SOURCES."""
    return "AMap" if "UoMo" in str(context.attrs.get("attribution", "")) else ""


def _pois(counts: NDArray[Any], usual: NDArray[Any], area_km2: Floats | None, rows: Any) -> NDArray[Any]:
    """POIs of one category of some cells, as they are believed where areas are given. counts, usual: (cells,)."""
    return counts[rows] if area_km2 is None else believed(counts[rows], usual[rows], MOST_POIS, area_km2[rows])


def _believed(context: xr.Dataset, name: str, area_km2: Floats, rows: Any) -> NDArray[Any]:
    """`amounts` of some cells, as far as they are believed."""
    values = amounts(context, name, area_km2, rows)
    if not VARIABLES[name].sites:
        return values
    return believed(values, _usual(context, name)[rows], MOST_SITES, area_km2[rows])


def amounts(context: xr.Dataset, name: str, area_km2: Floats, rows: Any = slice(None)) -> Floats:
    """A member of VARIABLES, which the context has (`is_known`), of some of its cells: (rows,), NaN in those where
    it is not known. area_km2: (cells,) of all."""
    if name == "dry":
        wet = context[WATER].values[rows].astype(np.float64)
        dry: Floats = np.maximum(area_km2[rows] * 1e6 - wet, 0.0)
        return dry
    parts = PARTS.get(name, (name,))
    out: Floats = np.sum([context[part].values[rows].astype(np.float64) for part in parts], axis=0)
    return out


def _columns(context: xr.Dataset, name: str) -> tuple[NDArray[Any], ...]:
    """What `amounts` reads: each (cells,)."""
    parts = (WATER,) if name == "dry" else PARTS.get(name, (name,))
    return tuple(context[part].values for part in parts)


def is_known(context: xr.Dataset, name: str, area_km2: Floats) -> bool:
    """Whether a member of VARIABLES is known of any cell of a context. area_km2: (cells,)."""
    if name == "dry":
        return WATER in context
    if not all(part in context for part in PARTS.get(name, (name,))):
        return False
    cells = len(area_km2)
    if name not in PARTS:
        usual = _usual(context, name)
        if not any(np.nansum(usual[rows]) > 0 for rows in blocks(cells)):
            return False  # of what a user's file tells: nothing known is not nothing there
    return any(not np.isnan(amounts(context, name, area_km2, rows)).all() for rows in blocks(cells))


def cell_areas(context: xr.Dataset) -> Floats:
    """km2 of every cell: (cells,), of a grid one number for all, not to be written to. Of stations what each covers,
    `radius_m` around."""
    cells = context.sizes["cell"]
    if "cell_m" in context.attrs:
        return np.broadcast_to((float(context.attrs["cell_m"]) / 1000) ** 2, cells)
    if "footprint" in context.coords:
        import shapely

        shapes = shapely.from_wkt(context["footprint"].values.astype(str))
        narrow = np.cos(np.radians(context["lat"].values.astype(np.float64)))
        out: Floats = np.maximum(shapely.area(shapes) * narrow * KM_PER_DEGREE**2, 1e-6)
        return out
    radius_km = float(context.attrs.get("radius_m", STATION_RADIUS_M)) / 1000
    return np.broadcast_to(np.pi * radius_km**2, cells)


@dataclass(frozen=True)
class Amount:
    """What each cell holds.

    values gives it of some cells, an index (n,) -> (n,), NaN where it is not known, inf where it is a mistake; beyond
    (margin,), the same of the cells of a margin, None where it is known of none. floor: what is added to its density,
    per km2. radii_m: in metres, ascending. log: (cells,) float32, zeros that `add_log_densities` adds to.
    read: what values reads, (cells,) or more, which may lie in files.
    """

    values: Callable[[NDArray[np.int64]], NDArray[Any]]
    floor: float
    radii_m: tuple[float, ...]
    beyond: NDArray[Any] | None
    log: NDArray[np.float32]
    read: tuple[NDArray[Any], ...] = ()


def add_log_densities(asked: Sequence[Amount], xy_m: Floats, area_km2: Floats, margin: Margin | None = None) -> None:
    """Add to the `log` of each amount the log of its density per km2 around, `floor` added: the mean over its radii.

    The sum of the values around over the area of the cells around: an edge is not a desert. A cell that is not known,
    or mistaken, counts for none around it; a mistaken one holds what they do. xy_m: (cells, 2) centres in metres.
    area_km2: (cells,). margin: where `beyond` is.
    """
    inside = [amount for amount in asked if amount.beyond is None]
    _add_logs(inside, xy_m, area_km2, len(xy_m))
    if margin is not None:
        area = np.concatenate([area_km2, np.full(len(margin.xy_m), margin.area_km2)])
        wide = [amount for amount in asked if amount.beyond is not None]
        _add_logs(wide, np.concatenate([xy_m, margin.xy_m]), area, len(xy_m))


def _add_logs(asked: Sequence[Amount], xy_m: Floats, area: Floats, cells: int) -> None:
    """Tile by tile, each with the cells of its halo; the first `cells` of the positions are those of the amounts."""
    for radius in sorted({radius for amount in asked for radius in amount.radii_m}):
        here = [amount for amount in asked if radius in amount.radii_m]
        for rows, inner in tiles(xy_m, reach_m(radius)):
            own, beyond = rows[rows < cells], rows[rows >= cells] - cells  # rows rise: these follow those
            inner = inner[: len(own)]
            smooth = _Smoother(xy_m[rows], radius)  # made once for all: it takes as long as smoothing several of them
            land = smooth(area[rows])
            for amount in here:
                column = amount.values(own).astype(np.float64)
                if amount.beyond is not None:
                    column = np.concatenate([column, amount.beyond[beyond]])
                left_out = ~np.isfinite(column)
                if left_out.any():
                    around = smooth(np.where(left_out, 0.0, column)) / smooth(np.where(left_out, 0.0, area[rows]))
                    density = np.where(np.isnan(column), np.nan, around)
                else:
                    density = smooth(column) / land
                amount.log[own[inner]] += np.log(density[: len(own)][inner] + amount.floor) / len(amount.radii_m)
                release_pages(xy_m, amount.log, *amount.read)


def tiles(
    xy_m: Floats, halo_m: float, most: int | None = None
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.bool_]]]:
    """Yield, for each rectangle of a partition of the cells, the rows in it or within `halo_m` of it along x and y, in
    order, (n,), and which of these lie in it, (n,). A rectangle is halved while it and its halo hold more than `most`
    cells (MOST_CELLS). xy_m: (cells, 2) metres.
    """
    most = MOST_CELLS if most is None else most
    if len(xy_m) <= most:
        if len(xy_m):
            yield np.arange(len(xy_m)), np.ones(len(xy_m), dtype=bool)
        return
    low, high = np.full(2, np.inf), np.full(2, -np.inf)
    for rows in blocks(len(xy_m)):
        low, high = np.minimum(low, xy_m[rows].min(axis=0)), np.maximum(high, xy_m[rows].max(axis=0))
        release_pages(xy_m)
    side = max(halo_m, float((high - low).max()) / MOST_BINS)
    shape = tuple(int(n) + 1 for n in (high - low) // side)
    bin_of = np.empty(len(xy_m), dtype=np.int32)
    for rows in blocks(len(xy_m)):
        at = ((xy_m[rows] - low) // side).astype(np.int32)
        bin_of[rows] = at[:, 0] * shape[1] + at[:, 1]
        release_pages(xy_m)
    count = np.bincount(bin_of, minlength=shape[0] * shape[1]).reshape(shape)
    waiting = [(0, shape[0], 0, shape[1])]
    while waiting:
        x, x_end, y, y_end = waiting.pop()
        with_halo = np.s_[max(x - 1, 0) : x_end + 1, max(y - 1, 0) : y_end + 1]
        if not count[x:x_end, y:y_end].any():
            continue
        if count[with_halo].sum() > most and max(x_end - x, y_end - y) > 1:
            if x_end - x >= y_end - y:
                middle = (x + x_end) // 2
                waiting += [(middle, x_end, y, y_end), (x, middle, y, y_end)]
            else:
                middle = (y + y_end) // 2
                waiting += [(x, x_end, middle, y_end), (x, x_end, y, middle)]
            continue
        near, within = np.zeros((2, *shape), dtype=bool)
        near[with_halo], within[x:x_end, y:y_end] = True, True
        some = np.flatnonzero(near.ravel()[bin_of])
        yield some, within.ravel()[bin_of[some]]


def _with_margin(counts: Floats, xy_m: Floats, margin: Margin | None) -> tuple[Floats, Floats]:
    if margin is None:
        return counts, xy_m
    return np.concatenate([counts, margin.poi_count]), np.concatenate([xy_m, margin.xy_m])


def reach_m(radius_m: float = max(FAR_M)) -> float:
    """How far, in metres along x or along y, the POIs or sites of a cell reach into the features of other cells.

    radius_m: of one neighbourhood; by default of the widest.

    Beyond it, features do not change by a bit: the Gaussians of `smooth_density` end after TRUNCATE spreads of a raster
    of half the radius, which is shared out and read back bilinearly.
    """
    return (int(TRUNCATE * np.sqrt(4 - 1 / 3) + 0.5) + 2) * max(radius_m / 2, LEAST_PITCH_M)


def smooth_density(values: Floats, xy_m: Floats, radius_m: float) -> Floats:
    """Gaussian mean of `values`, (cells,) or (cells, columns), over the cells around each cell: the same shape.

    The sum of the values around over the equally smoothed number of cells: an edge is not a desert. xy_m: (cells, 2)
    centres in metres. radius_m: the spread of the Gaussian, in metres.
    """
    smooth = _Smoother(xy_m, radius_m)
    cells = smooth(np.ones(len(xy_m)))
    density = np.empty(values.shape)
    for column, out in zip(values.reshape(len(values), -1).T, density.reshape(len(values), -1).T, strict=True):
        np.divide(smooth(column), cells, out=out)
    return density


class _Smoother:
    """Gaussian sums of values (cells,) around each cell: shared out over a raster, smoothed there, and read back.

    The raster has a pitch of half the radius, LEAST_PITCH_M at least; values are shared out and read back bilinearly:
    linear in the number of cells, whatever the radius.
    """

    def __init__(self, xy_m: Floats, radius_m: float) -> None:
        pitch = max(radius_m / 2, LEAST_PITCH_M)
        low = np.floor(xy_m.min(axis=0) / pitch) - 1
        slots = [_compact(np.floor(column / pitch - least - 0.5)) for column, least in zip(xy_m.T, low, strict=True)]
        self.shape = (int(slots[0].max()) + 2, int(slots[1].max()) + 2)
        # sharing out and reading back widen by the variance 1/6 each
        self.width = np.sqrt((radius_m / pitch) ** 2 - 1 / 3)
        cells = len(xy_m)
        share, pixel = np.empty((cells, 4), dtype=np.float32), np.empty((cells, 4), dtype=np.int32)
        for first in range(0, cells, BLOCK):
            rows = slice(first, first + BLOCK)
            part = xy_m[rows] / pitch - low - 0.5
            part -= np.floor(part)
            for k, (i, j) in enumerate(CORNERS):
                share[rows, k] = np.abs(1 - i - part[:, 0]) * np.abs(1 - j - part[:, 1])
                pixel[rows, k] = (slots[0][rows] + i) * self.shape[1] + slots[1][rows] + j
        self.share, self.pixel = share, pixel

    def __call__(self, values: Floats) -> Floats:
        """(cells,) -> (cells,). Some rows at a time, in place: a raster of a country takes more than all else."""
        from scipy import ndimage

        cells = len(values)
        raster = np.zeros(self.shape)
        for first in range(0, cells, BLOCK):
            rows = slice(first, first + BLOCK)
            np.add.at(raster.ravel(), self.pixel[rows].ravel(), (self.share[rows] * values[rows, None]).ravel())
        ndimage.gaussian_filter(raster, self.width, mode="constant", truncate=TRUNCATE, output=raster)
        out = np.empty(cells)
        for first in range(0, cells, BLOCK):
            rows = slice(first, first + BLOCK)
            taken = raster.ravel()[self.pixel[rows]] * self.share[rows]
            out[rows] = ((taken[:, 0] + taken[:, 1]) + taken[:, 2]) + taken[:, 3]  # one after the other
        return np.maximum(out, 1e-12, out=out)


def _compact(bins: Floats, gap: int = 20) -> NDArray[np.int32]:
    """Bins (cells,) along one axis with empty stretches of more than `gap` closed: the land between far towns."""
    used = np.unique(bins)
    closed = np.cumsum(np.minimum(np.diff(used, prepend=used[0]), gap)).astype(np.int32)
    return np.asarray(closed[np.searchsorted(used, bins)])


@dataclass(frozen=True)
class WeeklyProfile:
    """How the usual week is made of a past.

    weights: network -> (2, 5) weights of `weekly_profile.PARTS`, of one week and of weeks without end; "" for a
    network that nobody measured. weeks: network -> (7, 24) the mean week of its cells, each over its mean, Monday
    first; "": of all.
    memory: days after which a day says half as much of the level that comes next; 0: all days say as much.
    """

    weights: dict[str, list[list[float]]]
    weeks: dict[str, list[list[float]]]
    memory: float = 0.0

    def elsewhere(self, network: str) -> NDArray[np.float64] | None:
        """The mean week of all other networks, (7, 24), or None where there is none."""
        others = [week for name, week in self.weeks.items() if name not in ("", network)]
        return np.mean(others, axis=0) if others else None


@dataclass(frozen=True)
class Scaler:
    """Between ratios of traffic to a cell's mean and what networks see of them: k numbers per hour, without a unit.

    The first is the mean over the hour of log(ratio + floor), standardised; the k - 1 others are the cosine
    coefficients of that logarithm within the hour, each divided by its spread.
    mean, spread: of log(ratio + floor) of hourly means. detail: k -> spreads of the k - 1 coefficients.
    fade: k -> how much the log of those falls where a cell's standardised level is 1 higher, and where the log of the
    hour's ratio is; both held within FADES. The spreads are those of level 0, as of one that is not known, and log 0.
    drift: network -> standard deviation of the log of a week's mean over what the days before it told; "": of any.
    usual: how the past of a cell becomes its usual week, in a model that takes one. own_level: the network draws the
    level as well, so its ratios are to the mean cell of a place, not to the cell's own mean. linear: ratios themselves
    are standardised, not their logarithms, as STOUTER's paper does by minimum and maximum.
    """

    mean: float
    spread: float
    floor: float = FLOOR
    detail: dict[str, list[float]] = field(default_factory=dict)
    fade: dict[str, list[float]] = field(default_factory=dict)
    drift: dict[str, float] = field(default_factory=dict)
    usual: WeeklyProfile | None = None
    own_level: bool = False
    linear: bool = False

    def forward(self, ratio: NDArray[Any], level: NDArray[Any] | None = None) -> NDArray[np.float32]:
        """Ratios to the cell's mean (B, 168 k) -> what the networks see (B, 168 k), k numbers per hour.

        level: (B,) the standardised log level of each cell, nan or None where it is not known.
        """
        values = np.asarray(ratio, dtype=np.float64)
        logs = ((values if self.linear else np.log(values + self.floor)) - self.mean) / self.spread
        k = logs.shape[-1] // WEEK
        if k == 1:
            return logs.astype(np.float32)
        coefficients = cosines(logs.reshape(len(logs), WEEK, k))
        coefficients[..., 1:] /= self._spreads(coefficients, level)
        return coefficients.reshape(len(logs), WEEK * k).astype(np.float32)

    def inverse(self, x: NDArray[np.float32], level: NDArray[Any] | None = None) -> NDArray[np.float32]:
        """What the networks see, x: (B, 168 k), back to ratios to the cell's mean (B, 168 k): the mirror of `forward`.

        level: (B,) as there. Nothing comes out negative, and nothing above HIGHEST times the cell's mean.
        """
        k = x.shape[-1] // WEEK
        logs = x.astype(np.float64)
        if k > 1:
            coefficients = logs.reshape(len(x), WEEK, k).copy()
            coefficients[..., 1:] *= self._spreads(coefficients, level)
            logs = from_cosines(coefficients).reshape(len(x), WEEK * k)
        if self.linear:
            return np.clip(logs * self.spread + self.mean, 0.0, HIGHEST).astype(np.float32)
        ratio = np.exp(np.minimum(logs * self.spread + self.mean, np.log(HIGHEST))) - self.floor
        return np.maximum(ratio, 0.0).astype(np.float32)

    def _spreads(self, hours: NDArray[np.float64], level: NDArray[Any] | None) -> NDArray[np.float64]:
        """Spreads of what moves within hours (B, 168, k), of which the first number is known: (B, 168, k - 1)."""
        k = str(hours.shape[-1])
        by_level, by_hour = self.fade.get(k, (0.0, 0.0))
        z, h = faded(np.zeros(1) if level is None else level, hours[..., 0] * self.spread + self.mean)
        out: NDArray[np.float64] = np.exp(-by_level * z[:, None] - by_hour * h)[..., None] * np.array(self.detail[k])
        return out


def faded(level: NDArray[Any], log: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Standardised levels (B,), nan for 0, and logs of hours (B, H) as spreads within the hour follow them."""
    return np.clip(np.nan_to_num(level.astype(np.float64)), *FADES[0]), np.clip(log, *FADES[1])


def cosines(hours: NDArray[np.float64]) -> NDArray[np.float64]:
    """The k values of each of the hours (..., k) as their mean and k - 1 orthonormal DCT-II coefficients, (..., k)."""
    from scipy.fft import dct

    out: NDArray[np.float64] = dct(hours, norm="ortho", axis=-1)
    out[..., 0] /= np.sqrt(hours.shape[-1])
    return out


def from_cosines(coefficients: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mirror of `cosines`: coefficients (..., k) back to the values within each hour (..., k)."""
    from scipy.fft import idct

    whole = coefficients.copy()
    whole[..., 0] *= np.sqrt(coefficients.shape[-1])
    out: NDArray[np.float64] = idct(whole, norm="ortho", axis=-1)
    return out
