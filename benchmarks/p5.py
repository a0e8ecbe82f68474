"""P5 of metrics.md: a region that nobody measured, drawn with the rhythm of a network that was; and P6's law on levels.

    python benchmarks/p5.py --data ../shared/data                     # fits on 248 cells of Milan: minutes of a core
    python benchmarks/p5.py --data ../shared/data --seeds 3           # the same with three seeds, and their mean
    python benchmarks/p5.py --data ../shared/data --fomo              # the same regions by a FoMo: minutes of a core
    python benchmarks/p5.py --data ../shared/data --parts             # eleven parts of Milan: a fit for each
    python benchmarks/p5.py --data ../shared/data --folds             # cells of Milan in five folds: five fits
    python benchmarks/p5.py --data ../shared/data --networks          # without each network in turn: a fit for each
    python benchmarks/p5.py --data ../shared/data --networks uomo-sd  # without one
    python benchmarks/p5.py --data ../shared/data --known             # the same, a few cells measured: a fit for each
    python benchmarks/p5.py --data ../shared/data --levels            # the law alone: seconds
    python benchmarks/p5.py --data ../shared/data --expected          # weeks without a network: a minute
    python benchmarks/p5.py --data ../shared/data --tried             # other regressions of them: minutes
    python benchmarks/p5.py --data ../shared/data --apart --seeds 3   # what of their errors is a region's own: a minute

Parts of Milan that lie apart from the training cells: the block of 100 cells in the east, and the 25 cells in the
south-west; training cells within APART_M of them are left out. Their total is known. Beside the model, `bootstrap`: a
whole week, level and all, of a random training cell, and of a random cell of the region itself. `ratio`: `crps_shape`
over that of `bootstrap`. A second table: how many sums over neighbouring cells lie in the ranges.
--expected: what map and measured cells tell of weeks, over eleven regions of Milan that are left out in turn with all
that lies within APART_M: members are the expected week and the rest of a random training cell's, told without its
location, in the network's place. It is quick enough to choose kernels by, and says how far a network can come: `by map`
beside `mean week`, which looks at no map, and `bootstrap within`, the weeks of the region itself.
--folds: the 346 cells of Milan, held out by location (squares of 2 km) in five folds, and scored together.
--networks: a second table says what part of their ranges is wrong: levels, weeks, or how far levels may be off.
--known: as --networks, and some cells of the network left out are measured (`sample --known`): rows are of the others,
means over three choices of the cells.
--tried: the same for other regressions on the map than the package's, each of which differs from it in one thing, with
all training cells and with the scattered ones alone: means over regions and SEEDS, and in how many of the regions the
ratio is lower than that of `as it is`. The last three know what nobody does: the region's own mean, or its components.
--apart: the same weeks again, as they are, with the region's own mean week known, and with its own spread known, too;
how far the mean departure of a region's cells from what the map says is beyond that of as many cells of training; and
whether errors lean one way over the regions (the mean over its standard error), as a fault of the model would, or not,
as what is a region's own does. Further tables have the autocorrelation by lag, and how far the weeks of neighbours
depart alike from what the map says.
--levels: Spearman and log error of the law over the 10,000 cells of Milan and the cells of Helsinki, in blocks of 20 x
20 cells and of 4 km; the law's elasticities are constants, and only its factor is fitted on the other blocks.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from scipy.stats import spearmanr

from gentraffic.dataset.calendar import make_calendar
from gentraffic.evaluation.metrics import rhythm
from gentraffic.evaluation.metrics import summary as m
from gentraffic.evaluation.metrics.distribution import LAGS_H, autocorrelation
from gentraffic.generators.base import Settings, Span
from gentraffic.generators.fomo.data import read_region
from gentraffic.generators.observed import Observations
from gentraffic.generators.weekly import draw_traffic
from gentraffic.io.files import read_context
from gentraffic.io.importers.public_sets import (
    BLOCK,
    SCATTERED,
    read_beijing,
    read_milan_5x5,
    read_milan_week,
)
from gentraffic.io.importers.uomo import read_uomo
from gentraffic.modelling.expected_week import (
    COMPONENTS,
    ExpectedWeeks,
    fit_week,
    principal_components,
    week_features,
)
from gentraffic.modelling.features import (
    FLOOR,
    VARIABLES,
    Amount,
    Floats,
    Places,
    add_log_densities,
    read_places,
    smooth_density,
)
from gentraffic.modelling.levels import REFERENCE, LevelModel, activity, elasticities
from gentraffic.modelling.measured import Source, read_source, read_sources
from gentraffic.modelling.weekly_profile import cell_weeks
from gentraffic.places.find import CONTEXTS
from gentraffic.places.ground import variables_of
from gentraffic.training.fitting import Design, fit_sampler, plan_for, split_source
from gentraffic.training.fomo_fitting import fit_fomo
from gentraffic.training.fomo_task import FoMoPlan
from gentraffic.training.sampler_task import by_location
from poi.count import count_pois, sum_ground
from poi.osm import read_pois

MEMBERS = 20
FOMO_STEPS = 1500
FOLDS = 5
APART_M = 1000.0
HOUR = np.arange(168)
ROWS = ("ratio", "crps", "crps_shape", "coverage_90", "acf_error", "roughness_ratio", "weekend_error",
        "weekend_spearman", "rhythm_mae", "shape_spread_ratio", "level_spearman")  # fmt: skip


def monday_weeks(source: Source) -> Floats:
    """The first whole week of each cell from a Monday on, (cells, 168), in the source's unit; the first seven days in
    the order of a week where there is none."""
    hours, first = source.hourly(), (7 - source.weekday) % 7 * 24
    if hours.shape[1] < first + 168:
        return np.roll(hours[:, :168], 24 * source.weekday, axis=1)
    return hours[:, first : first + 168]


def score(real: Floats, members: Floats) -> dict[str, float]:
    """The rows of P5 of members (members, cells, 168), each scaled to the total of the real region, as `--total` is."""
    drawn = members / members.mean(axis=(1, 2), keepdims=True) * real.mean()
    mean = drawn.mean(axis=0)
    weekend = (rhythm.weekend_ratio_cells(v, HOUR) for v in (mean, real))
    spread = [rhythm.shape_spread_ratio(real, one) for one in drawn]
    return {
        "crps": float(m.crps_cells(real, drawn).mean() / real.mean()),
        "crps_shape": float(m.crps_shape_cells(real, drawn).mean() / real.mean()),
        "coverage_90": float(m.coverage_cells(real, drawn, 0.9).mean()),
        "acf_error": m.acf_error(real, drawn),
        "roughness_ratio": rhythm.roughness_ratio(real, drawn),
        "weekend_error": rhythm.weekend_error(real, drawn, HOUR),
        "weekend_spearman": float(spearmanr(*weekend).statistic),
        "rhythm_mae": rhythm.rhythm_mae(real, mean, HOUR),
        "shape_spread_ratio": float(np.mean(spread)),
        "level_spearman": m.level_spearman(real, drawn.mean(axis=0)),
    }


def show(name: str, real: Floats, rows: dict[str, Floats]) -> list[tuple[str, dict[str, float]]]:
    """Print rows name -> members, with `ratio` to the one called bootstrap; (name, scores) of each."""
    scores = {row: score(real, members) for row, members in rows.items()}
    for row, found in scores.items():
        found["ratio"] = found["crps_shape"] / scores["bootstrap"]["crps_shape"]
        print(f"| {name} | {row} | {len(real)} | " + " | ".join(f"{found[k]:.3f}" for k in ROWS) + " |", flush=True)
    return list(scores.items())


def weeks_of(pool: Floats, cells: int, seed: int) -> Floats:
    """Members of `bootstrap`: (MEMBERS, cells, 168) random weeks of the pool."""
    return pool[np.random.default_rng(seed).integers(len(pool), size=(MEMBERS, cells))]


def milan_parts(data: Path) -> Iterator[tuple[str, Source, Source]]:
    """(name, training cells, the region apart from them)."""
    context = read_context(CONTEXTS / "milan.nc")
    week = data / "telecom-italia"
    train = read_source(read_milan_week(week, (SCATTERED,)), [context])
    block = read_source(read_milan_week(week, (BLOCK,)), [context])
    five = read_source(read_milan_5x5(data / "traffic" / "milan_5x5_internet_10min.csv"), [context])
    for name, held in (("100 cells of the east", block), ("25 cells of the south-west", five)):
        assert held.places is not None
        xy = held.places.xy_m
        apart = [np.hypot(*(xy[held.rows] - xy[row]).T).min() > APART_M for row in train.rows]
        yield name, train.only(np.flatnonzero(apart)), held


def regions(data: Path) -> Iterator[tuple[str, Source, Source, Source]]:
    """Eleven parts of Milan: the block, the 25 cells, and nine squares. (name, training cells, those of them that are
    scattered, the region)."""
    for name, train, held in milan_parts(data):
        yield name, train, train, held
    context = read_context(CONTEXTS / "milan.nc")
    whole = read_source(read_milan_week(data / "telecom-italia"), [context])
    scattered = read_source(read_milan_week(data / "telecom-italia", (SCATTERED,)), [context])
    assert whole.places is not None
    xy = whole.places.xy_m
    row, col = np.divmod(scattered.cell_id - 1, 100)
    east = (row >= 50) & (col >= 50)
    block = np.where(east, (row - 50) // 17 * 3 + (col - 50) // 17, -1)
    for part in range(9):
        held = scattered.only(np.flatnonzero(block == part))
        apart = [np.hypot(*(xy[held.rows] - xy[one]).T).min() > APART_M for one in whole.rows]
        train = whole.only(np.flatnonzero(apart))
        some = train.only(np.flatnonzero(np.isin(train.cell_id, scattered.cell_id)))
        yield f"row {part // 3}, column {part % 3} of the north-east", train, some, held


def by_map(train: Source, held: Source, seed: int, *, blind: bool = False) -> Floats:
    """Members (MEMBERS, cells, 168): expected weeks, and what remained of random training cells told without theirs.

    blind: nobody looks at the map.
    """
    assert held.places is not None
    week, left_out = fit_week(replace(train, places=None) if blind else train)
    log = log_ratios(train)
    chances = np.diff(by_location(train.location), prepend=0.0)
    chosen = np.random.default_rng(seed).choice(len(log), size=(MEMBERS, len(held.rows)), p=chances)
    rest = (log - left_out)[chosen]
    expected = week.log(week.scores(held.places, held.rows))
    return np.maximum(np.exp(expected + rest) - FLOOR, 0.0)


def expected(data: Path) -> None:
    """What map and measured cells tell of weeks, region by region, and the mean over regions."""
    every: dict[str, list[dict[str, float]]] = {}
    for name, train, some, held in regions(data):
        real, pool = monday_weeks(held), monday_weeks(some)
        level = real.mean(axis=1)[None, :, None]  # known: only the week is in question here
        rows = {"by map": by_map(train, held, 2), "by map, of scattered cells": by_map(some, held, 2)}
        rows |= {"mean week": by_map(some, held, 2, blind=True)}
        rows |= {"bootstrap": weeks_of(pool, len(real), 0), "bootstrap within": weeks_of(real, len(real), 1)}
        for row, scores in show(name, real, {k: v / v.mean(axis=2, keepdims=True) * level for k, v in rows.items()}):
            every.setdefault(row, []).append(scores)
    for row, scored in every.items():
        print(f"| mean | {row} | | " + " | ".join(f"{np.mean([s[k] for s in scored]):.3f}" for k in ROWS) + " |")


Block = tuple[Floats, float, float]  # columns (places, k) of the map; variances of what is linear in them, and bent


@dataclass(frozen=True)
class Trial:
    """A regression of weeks on the map, written apart from the package's, of which it is a variant.

    blocks: of columns. reach_km: within which places near one another share something. crowd: power of the number of
    cells of a location by which each of them counts less. others: cell -> (n,) log weeks of other services, told as
    well. trees: boosted trees in the Gaussian process's place. by_spread: rests are as large as a regression on the
    columns says. known: what nobody knows of the region: "mean", its own mean week, or how many of its components.
    """

    blocks: tuple[Block, ...]
    reach_km: float = 0.5
    crowd: float = 0.0
    others: dict[int, Floats] = field(default_factory=dict)
    trees: bool = False
    by_spread: bool = False
    known: str | int = ""

    def columns(self, heard: NDArray[np.int64], held: NDArray[np.int64], weight: Floats) -> tuple[Floats, Floats]:
        """Those of some rows of the map and of others, (n, k) and (m, k), standardised by the former."""
        x = np.concatenate([columns for columns, _, _ in self.blocks], axis=1)
        centre = np.average(x[heard], axis=0, weights=weight)
        spread = np.sqrt(np.average((x[heard] - centre) ** 2, axis=0, weights=weight)) + 1e-6
        a, b = (np.clip((x[rows] - centre) / spread, -3, 3) for rows in (heard, held))
        return a, b

    def alike(self, a: Floats, b: Floats, km_a: Floats, km_b: Floats) -> Floats:
        """Covariances of places, (m, n). a, b: their columns; km_a, km_b: (m, 2) and (n, 2)."""
        each = [(columns.shape[1], line, bend) for columns, line, bend in self.blocks]
        line, bend = (np.concatenate([np.full(one[0], one[at] / one[0]) for one in each]) for at in (1, 2))
        bent = np.exp(-(((a[:, None] - b[None]) ** 2) * bend).sum(axis=2) / 2)
        apart = np.sqrt(((km_a[:, None] - km_b[None]) ** 2).sum(axis=2))
        return np.asarray(0.3 * bent + (a * line) @ b.T + 0.3 * np.exp(-apart / self.reach_km))

    def told(
        self, km: Floats, heard: NDArray[np.int64], held: NDArray[np.int64], scores: Floats, weight: Floats
    ) -> tuple[Floats, Floats]:
        """What rows of the map that were measured say of the scores of rows held over the mean, (m, k), and that mean.

        km: (places, 2). scores: (n, k), weight: (n,) of those heard."""
        a, b = self.columns(heard, held, weight)
        mean = np.average(scores, axis=0, weights=weight)
        if self.trees:
            return np.stack([boosted(a, part, weight, b) for part in (scores - mean).T], axis=1), mean
        own = self.alike(a, a, km[heard], km[heard]) + np.diag(weight.mean() / weight)
        return np.asarray(self.alike(b, a, km[held], km[heard]) @ np.linalg.solve(own, scores - mean)), mean

    def __call__(self, train: Source, held: Source) -> tuple[Floats, Floats, Floats, Floats]:
        """Expected log weeks of a region (m, 168), log weeks of training cells and what is told of each without its
        location (n, 168), and by what the rests of training cells are to be multiplied in each cell, (m, n)."""
        assert train.places is not None
        km, log, real = train.places.xy_m / 1000, log_weeks(train), log_weeks(held)
        number = np.unique(train.location, return_inverse=True)[1].ravel()
        weight = train.level**0.5 * np.bincount(number)[number] ** -self.crowd
        weight /= weight.mean()
        mean = np.average(log, axis=0, weights=weight)
        apart = log - mean
        basis = principal_components(apart, weight)
        if self.others:  # components of all services side by side, and what each of them says of the Internet's week
            more = np.stack([self.others[cell] for cell in train.cell_id.tolist()])
            apart = np.concatenate([apart, more - np.average(more, axis=0, weights=weight)], axis=1)
            basis = np.linalg.svd(apart * np.sqrt(weight)[:, None], full_matrices=False)[2][:COMPONENTS]
        scores = apart @ basis.T
        predicted, baseline = np.empty_like(scores), np.empty_like(scores)
        part = np.random.default_rng(1).permutation(number.max() + 1)[number] % 25
        for one in range(25):
            out, kept = part == one, part != one
            predicted[out], baseline[out] = self.told(km, train.rows[kept], train.rows[out], scores[kept], weight[kept])
        both, own = ((weight[:, None] * predicted * other).sum(axis=0) for other in (scores - baseline, predicted))
        few = (number.max() + 1) / (number.max() + 3)
        trust = np.clip(both / own, 0, 1) * few
        weeks = basis[:, :168]
        left_out = mean + (baseline + trust * predicted) @ weeks
        left_out += np.average(log - left_out, axis=0, weights=weight)
        expected = mean + trust * self.told(km, train.rows, held.rows, scores, weight)[0] @ weeks
        if self.known == "mean":
            expected += np.average(real - expected, axis=0, weights=held.level**0.5)
        elif self.known:
            exact = weeks[: int(self.known)]
            expected, left_out = (mean + (v - mean) @ exact.T @ exact for v in (real, log))
        times = np.ones((len(real), len(log)))
        if self.by_spread:
            size = np.log(((log - left_out) ** 2).mean(axis=1)) / 2
            a, b = self.columns(train.rows, held.rows, np.ones(len(log)))
            slope = np.linalg.solve(a.T @ a + 100 * np.eye(a.shape[1]), a.T @ (size - size.mean()))
            times = np.exp((b @ slope)[:, None] - (a @ slope)[None, :])
        return expected, log, left_out, times


def log_weeks(source: Source) -> Floats:
    """(cells, 168): what `fit_week` takes components of."""
    out: Floats = np.log(np.maximum(cell_weeks(source).reshape(-1, 168), 0.0) + FLOOR)
    return out


def boosted(a: Floats, y: Floats, weight: Floats, b: Floats) -> Floats:
    """What small boosted trees that learned y (n,) of columns (n, k) say of others (m, k): (m,)."""
    import lightgbm

    rules = {"num_leaves": 4, "min_child_samples": 15, "learning_rate": 0.05, "subsample": 0.7, "subsample_freq": 1,
             "colsample_bytree": 0.3, "reg_lambda": 5, "random_state": 0, "verbose": -1, "n_jobs": 1}  # fmt: skip
    return np.asarray(lightgbm.LGBMRegressor(**rules).fit(a, y, sample_weight=weight).booster_.predict(b))


def trials(data: Path, places: Places, cells: list[int]) -> dict[str, Trial]:
    """What was tried: name -> regression. cells: those measured, of which other services are asked."""
    context = read_context(CONTEXTS / "milan.nc")
    area, xy = places.area_km2[:, None], places.xy_m

    def density(counts: Floats, radius_m: float) -> Floats:
        out: Floats = smooth_density(counts.reshape(len(xy), -1) / area, xy, radius_m)[: len(xy)]
        return out

    def shares(counts: Floats, radii_m: tuple[float, ...], floor: float) -> Floats:
        logs = np.mean([np.log(density(counts, radius) + floor) for radius in radii_m], axis=0)
        return np.asarray(logs - logs.mean(axis=1, keepdims=True))

    columns = week_features(places)
    sites, near, far = columns[:, :1], columns[:, 1:9], columns[:, 9:]
    usual: tuple[Block, ...] = ((sites, 0.3, 1.0), (near, 0.3, 0.5), (far, 0.03, 0.2))
    counts, active = places.poi_count.astype(np.float64), np.exp(activity(places))
    pulled = density(active, 1000.0)[:, 0] ** 2
    centre = np.log(np.hypot(*(xy - pulled @ xy / pulled.sum()).T) / 1000 + 0.5)[:, None]
    around = np.log(np.concatenate([density(active, r) for r in (500.0, 1000.0, 2000.0, 4000.0)], axis=1))
    lengths = [np.nan_to_num(context[f"street_length_{kind}"].values) for kind in ("motorway", "main", "street")]
    streets = np.log(np.concatenate([density(length.astype(np.float64), 500.0) for length in lengths], axis=1) + 3000)
    floored: tuple[Block, ...] = (
        usual[0],
        (shares(counts, (125, 250, 500), 0.3), 0.3, 0.5),
        (shares(counts, (1000, 2000), 0.3), 0.03, 0.2),
    )
    kinds = (shares(kinds_of_place(data, context), (125, 250, 500), 1.0), 0.3, 0.5)
    logs = (usual[0], (places.near.astype(np.float64), 0.3, 0.5), (places.far.astype(np.float64), 0.03, 0.2))
    more = tuple((part, 0.1, 0.3) for part in (centre, around, streets))
    return {
        "as it is": Trial(usual),
        "distance to the centre, too": Trial((*usual, more[0])),
        "activity within 0.5 to 4 km, too": Trial((*usual, more[1])),
        "streets by class, too": Trial((*usual, more[2])),
        "densities, not shares": Trial(logs),
        "neighbours within 3 km": Trial(usual, reach_km=3.0),
        "cells of a block count less": Trial(usual, crowd=0.5),
        "weeks of calls and SMS, too": Trial(usual, others=other_weeks(data, cells)),
        "shares with a floor of 0.3 per km2": Trial(floored),
        "the same, and 34 kinds of place": Trial((*floored, kinds)),
        "boosted trees": Trial(usual, trees=True),
        "boosted trees of all these": Trial((*floored, kinds, *more), trees=True),
        "rests as large as the map says": Trial(usual, by_spread=True),
        "the region's mean week known": Trial(usual, known="mean"),
        "first component known": Trial(usual, known=1),
        "six components known": Trial(usual, known=6),
    }


FURNITURE = ("bench", "waste_basket", "bicycle_parking", "drinking_water", "telephone", "vending_machine", "clock",
             "post_box", "parking_entrance", "recycling", "atm", "toilets", "fountain", "shelter")  # fmt: skip
LEAST_OF_KIND = 30


def kinds_of_place(data: Path, context: xr.Dataset) -> Floats:
    """Points of OpenStreetMap in the cells of Milan by the value of their tag, without street furniture: (cells, k)."""
    from pyproj import Transformer
    from scipy.spatial import cKDTree

    with (data / "milan" / "osm_pois.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    turn = Transformer.from_crs(4326, context.attrs["crs_wkt"], always_xy=True)
    at = np.stack(turn.transform([float(r["lon"]) for r in rows], [float(r["lat"]) for r in rows]), axis=1)
    apart, cell = cKDTree(np.stack([context["x"].values, context["y"].values], axis=1)).query(at)
    value = np.array([row["value"] for row in rows])
    inside = apart < 200.0
    names, count = np.unique(value[inside], return_counts=True)
    kept = [name for name in names[count >= LEAST_OF_KIND] if name not in FURNITURE]
    size = context.sizes["cell"]
    return np.stack([np.bincount(cell[inside & (value == n)], minlength=size) for n in kept], axis=1).astype(np.float64)


def other_weeks(data: Path, cells: list[int]) -> dict[int, Floats]:
    """Log weeks of calls and of SMS of cells of Milan: cell -> (336,); a service that is silent has the mean week."""
    week = read_milan_week(data / "telecom-italia", services=("internet", "call_in", "sms_in"))
    out = {cell: np.zeros(336) for cell in cells}
    for at, source in enumerate(read_sources(week, [], ["internet", "call_in", "sms_in"])[1:]):
        log = log_weeks(source)
        for cell in cells:
            out[cell][168 * at : 168 * (at + 1)] = log.mean(axis=0)
        for cell, row in zip(source.cell_id.tolist(), log, strict=True):
            if cell in out:
                out[cell][168 * at : 168 * (at + 1)] = row
    return out


TOLD = ("ratio", "weekend_error", "weekend_spearman", "acf_error", "rhythm_mae", "shape_spread_ratio")


def tried(data: Path, seeds: int) -> None:
    """Rows of `trials`: means over regions and seeds, learned from all cells and from the scattered ones alone."""
    parts = list(regions(data))
    places = parts[0][1].places
    assert places is not None
    cells = sorted({cell for _, train, _, _ in parts for cell in train.cell_id.tolist()})
    print(
        "| regression | "
        + " | ".join(TOLD).replace("weekend_error", "size of weekend_error")
        + " | better in | centre | of scattered cells | better in |"
    )
    print("|---|" + "---|" * (len(TOLD) + 4))
    first: list[Floats] = []
    for name, trial in trials(data, places, cells).items():
        every = [  # (regions, TOLD) of all training cells, of the scattered ones
            np.array([scored(trial, train if block else some, some, held, seeds) for _, train, some, held in parts])
            for block in (True, False)
        ]
        first = first or every
        better = [f"{(one[:, 0] < base[:, 0]).sum()}" for one, base in zip(every, first, strict=True)]
        mean = every[0].mean(axis=0)
        mean[1] = np.abs(every[0][:, 1]).mean()
        figures = [*(f"{v:.3f}" for v in mean), better[0], f"{every[0][CENTRE, 0]:.3f}"]
        print(f"| {name} | " + " | ".join([*figures, f"{every[1][:, 0].mean():.3f}", better[1]]) + " |", flush=True)


CENTRE = 2  # of the regions
LEANING = ("weekend_error", "shape_spread_ratio")  # the others have no sign
APART = ("ratio", "weekend_error", "acf_error", "rhythm_mae", "shape_spread_ratio")


def apart(data: Path, seeds: int) -> None:
    """What of the errors of expected weeks is a region's own mean week or spread, and what all regions share."""
    head = ["region", "cells", "shared over chance", *APART]
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    found: list[tuple[float, Floats, Floats]] = []
    for name, train, _, held in regions(data):
        found.append(errors_apart(train, held, seeds))
        shared, scores, _ = found[-1]
        print(f"| {name} | {len(held.rows)} | {shared:.1f} | " + " | ".join(_side_by_side(scores)) + " |", flush=True)
    scores = np.array([one for _, one, _ in found])  # (regions, 3, APART)
    print(
        f"| mean | | {np.mean([one for one, _, _ in found]):.1f} | "
        + " | ".join(_side_by_side(scores.mean(axis=0)))
        + " |"
    )
    print("| standard deviation | | | " + " | ".join(_side_by_side(scores.std(axis=0, ddof=1))) + " |")
    signed = _side_by_side(leaning(scores - 1.0 * np.isin(APART, ("ratio", "shape_spread_ratio"))), 1)
    texts = [text if name in LEANING else "" for name, text in zip(APART, signed, strict=True)]
    print("| mean over its standard error | | | " + " | ".join(texts) + " |")
    lags = np.array([one for _, _, one in found])  # (regions, 3, lags)
    print("\n| lag, h | mean | standard deviation | mean over its standard error |\n|---|---|---|---|")
    for at, lag in enumerate(LAGS_H):
        parts = lags[..., at].mean(axis=0), lags[..., at].std(axis=0, ddof=1), leaning(lags[..., at])
        texts = [" / ".join(f"{v:.{digits}f}" for v in part) for part, digits in zip(parts, (3, 3, 1), strict=True)]
        print(f"| {lag} | " + " | ".join(texts) + " |")
    print("\n| network | " + " | ".join(f"to {far:.0f} m" for far in NEAR_M) + " |\n|---|" + "---|" * len(NEAR_M))
    for source, place in networks(data):
        if place is not None:
            print(f"| {source.network} | " + " | ".join(f"{v:.2f}" for v in alike_near(source)) + " |")


NEAR_M = (300.0, 600.0, 1000.0)
SIDES, CELL_M = (1, 2, 5), 235.0


def sums_covered(held: Source, members: Floats, *, levels_known: bool = True) -> list[float]:
    """`coverage_90` of the hourly traffic of squares of SIDES x SIDES cells of a region whose levels are known, or
    whose total is: (SIDES,). members: (members, cells, 168)."""
    assert held.places is not None
    real, xy = monday_weeks(held), held.places.xy_m[held.rows]
    drawn = members / members.mean(axis=2, keepdims=True) * real.mean(axis=1)[None, :, None]
    if not levels_known:
        drawn = members / members.mean(axis=(1, 2), keepdims=True) * real.mean()
    sums = [in_squares(xy, side * CELL_M) for side in SIDES]
    return [float(m.coverage_cells(onto @ real, onto @ drawn, 0.9).mean()) for onto in sums]


def in_squares(xy: Floats, side_m: float) -> Floats:
    """1 where a cell lies in a square, from the south-west corner of the cells on: (squares, cells). xy: (cells, 2)."""
    corner = xy.min(axis=0) - CELL_M / 2
    number = np.unique(np.floor((xy - corner) / side_m), axis=0, return_inverse=True)[1].ravel()
    return np.eye(number.max() + 1)[:, number]


def alike_near(source: Source) -> list[float]:
    """Correlation of the rests of pairs of cells: how their weeks depart from what the map says, location left out.
    Of those within the first of NEAR_M, from there to the second, and so on."""
    assert source.places is not None
    rest = log_weeks(source) - fit_week(source)[1]
    rest -= np.average(rest, axis=0, weights=source.level**0.5)
    alike = rest @ rest.T / rest.shape[1]
    xy = source.places.xy_m[source.rows]
    apart = np.hypot(*(xy[:, None] - xy[None]).transpose(2, 0, 1))
    nearer = (0.0, *NEAR_M)
    pairs = [(apart > near) & (apart <= far) for near, far in zip(nearer, NEAR_M, strict=False)]
    return [float(alike[some].mean() / np.diag(alike).mean()) if some.any() else np.nan for some in pairs]


def leaning(errors: Floats) -> Floats:
    """The mean over regions, in standard errors; 0 where none has an error. errors: (regions, ...)."""
    spread = errors.std(axis=0, ddof=1)
    return np.asarray(errors.mean(axis=0) / np.where(spread > 0, spread, np.inf) * len(errors) ** 0.5)


def _side_by_side(scores: Floats, digits: int = 3) -> list[str]:
    """scores: (3, APART) as they are, mean known, spread known: one text for each of APART."""
    return [" / ".join(f"{v:.{digits}f}" for v in column) for column in scores.T]


def errors_apart(train: Source, held: Source, seeds: int) -> tuple[float, Floats, Floats]:
    """Of one region: the square of its cells' mean departure from what the map says, over that of as many training
    cells' rests; the rows of APART, (3, APART), and drawn minus real autocorrelation, (3, lags), as they are, with its
    mean week known, and with its spread known, too. Means over seeds; `ratio` is to the weeks as they are."""
    assert held.places is not None
    week, left_out = fit_week(train)
    rests = log_ratios(train) - left_out
    real, level = monday_weeks(held), held.level[:, None]
    expected = week.log(week.scores(held.places, held.rows))
    departure, weight = log_ratios(held) - expected, held.level**0.5 / (held.level**0.5).sum()
    mean = weight @ departure
    within, chance = weight @ (departure - mean) ** 2, (weight**2).sum() * (rests**2).mean()
    spread = float(np.sqrt(within.mean() / (1 - (weight**2).sum()) / (rests**2).mean()))
    chances, autocorrelated = (
        np.diff(by_location(train.location), prepend=0.0),
        autocorrelation(real, LAGS_H).mean(axis=0),
    )
    rows, lags = np.zeros((3, len(APART))), np.zeros((3, len(LAGS_H)))
    for seed in range(seeds):
        chosen = np.random.default_rng(2 + seed).choice(len(rests), size=(MEMBERS, len(real)), p=chances)
        usual = 1.0
        for at, (known, times) in enumerate(((0.0 * mean, 1.0), (mean, 1.0), (mean, spread))):
            drawn = np.maximum(np.exp(expected + known + times * rests[chosen]) - FLOOR, 0.0)
            drawn *= level / drawn.mean(axis=2, keepdims=True)
            scores = score(real, drawn)
            usual = usual if at else scores["crps_shape"]
            rows[at] += [scores["crps_shape"] / usual, *(scores[name] for name in APART[1:])]
            lags[at] += np.mean([autocorrelation(one, LAGS_H).mean(axis=0) for one in drawn], axis=0) - autocorrelated
    return float((mean**2).mean() / chance), rows / seeds, lags / seeds


def log_ratios(source: Source) -> Floats:
    """Log weeks of cells over their level, (cells, 168)."""
    return np.asarray(np.log(monday_weeks(source) / source.level[:, None] + FLOOR))


def scored(trial: Trial, train: Source, some: Source, held: Source, seeds: int) -> Floats:
    """The rows of TOLD of one region, mean over seeds. some: the training cells whose weeks `bootstrap` borrows."""
    expected, log, left_out, times = trial(train, held)
    real = monday_weeks(held)
    level, chances = real.mean(axis=1)[None, :, None], np.diff(by_location(train.location), prepend=0.0)
    rows = []
    for seed in range(seeds):
        chosen = np.random.default_rng(2 + seed).choice(len(log), size=(MEMBERS, len(real)), p=chances)
        rest = (log - left_out)[chosen] * times[np.arange(len(real)), chosen][..., None]
        drawn = np.maximum(np.exp(expected + rest) - FLOOR, 0.0)
        borrowed = weeks_of(monday_weeks(some), len(real), 100 + seed)
        mine, base = (score(real, v / v.mean(axis=2, keepdims=True) * level) for v in (drawn, borrowed))
        rows.append([mine["crps_shape"] / base["crps_shape"], *(mine[k] for k in TOLD[1:])])
    return np.mean(rows, axis=0)


def draw_region(
    train: list[Source], held: Source, context: xr.Dataset, steps: int | None, seed: int = 0
) -> tuple[Floats, Floats, LevelModel]:
    """Fit on the training sources and draw the cells of a region whose network is not named: members; members whose
    neighbours have no noise in common; and the model of levels."""
    plan = replace(plan_for(Design()), seed=seed)
    bundle, _ = fit_sampler(train, plan=plan if steps is None else replace(plan, steps=steps))
    place = context.assign_attrs({k: "" for k in ("network", "habits") if k in context.attrs})
    calendar = make_calendar("2013-11-04", 7, "1h", str(context.attrs["timezone"]))
    apart = ExpectedWeeks({name: replace(week, shared=0.0) for name, week in bundle.weeks.networks.items()})
    drawn, alone = (
        draw_traffic(b, place, calendar, Settings(seed, MEMBERS), cells=held.rows.tolist()).astype(np.float64)
        for b in (bundle, replace(bundle, weeks=apart))
    )
    return drawn, alone, bundle.levels


def by_folds(data: Path, steps: int | None, seeds: int) -> None:
    """Rows of all measured cells of Milan, each drawn by a model that did not learn from its location."""
    context = read_context(CONTEXTS / "milan.nc")
    whole = read_source(read_milan_week(data / "telecom-italia"), [context])
    for seed in range(seeds):
        real, rows = [], {name: [] for name in ("stouter", "bootstrap", "bootstrap within")}
        for fold in range(FOLDS):
            train, held = split_source(whole, FOLDS, fold, seed)
            own, pool = monday_weeks(held), monday_weeks(train)
            drawn = draw_region([train], held, context, steps, seed)[0]
            rows["stouter"].append(drawn / drawn.mean() * own.mean())
            rows["bootstrap"].append(weeks_of(pool, len(own), 2 * seed))
            rows["bootstrap within"].append(weeks_of(own, len(own), 2 * seed + 1))
            real.append(own)
        show(
            f"five folds, seed {seed}",
            np.concatenate(real),
            {name: np.concatenate(parts, axis=1) for name, parts in rows.items()},
        )


def by_fomo(data: Path, steps: int, seeds: int) -> None:
    """Rows of the two regions by a FoMo of the cells that are scattered over Milan and lie apart from the region."""
    context, plan = read_context(CONTEXTS / "milan.nc"), FoMoPlan(steps=steps)
    source, region = read_region(read_milan_week(data / "telecom-italia", (SCATTERED,)), [context])
    calendar = make_calendar("2013-11-04", 7, "1h", str(context.attrs["timezone"]))
    for name, train, held in milan_parts(data):
        keep = np.flatnonzero(np.isin(source.cell_id, train.cell_id))
        pair, real, cells = (source.only(keep), region.only(keep)), monday_weeks(held), held.rows.tolist()
        for seed in range(seeds):
            bundle, _ = fit_fomo([pair], plan=replace(plan, seed=seed))
            settings = replace(bundle.info.recommended, seed=seed, members=MEMBERS, habits=source.network)
            draw = bundle.prepare(context, calendar, settings, cells=cells)
            drawn = np.stack([v for _, v in draw.blocks([Span(k, 0, len(cells)) for k in range(MEMBERS)])])
            rows = {"fomo": drawn.astype(np.float64), "bootstrap": weeks_of(monday_weeks(train), len(real), seed)}
            show(name, real, rows)


MEASURED = (0, 1, 3, 10, 30)  # cells


def some_known(data: Path, names: list[str], steps: int | None) -> None:
    """Rows of the cells of a network that no one trained on, given the week of a few of its other cells."""
    for name, train, held, place in left_out(data, names):
        plan = plan_for(Design())
        bundle, _ = fit_sampler(train, plan=plan if steps is None else replace(plan, steps=steps))
        place = place.assign_attrs({k: "" for k in ("network", "habits") if k in place.attrs})
        calendar = make_calendar("2013-11-04", 7, "1h", str(place.attrs["timezone"]))
        real = monday_weeks(held)
        for count in MEASURED:
            scores = []
            for seed in range(3):
                measured, rest = np.split(np.random.default_rng(seed).permutation(len(real)), [count])
                ds = xr.Dataset(
                    {"traffic": (("cell", "time"), real[measured].astype(np.float32), {"units": "MB"})},
                    {"cell_id": ("cell", held.cell_id[measured]), "time": ("time", calendar.utc)},
                )
                draw = bundle.prepare(
                    place, calendar, Settings(seed, MEMBERS), cells=held.rows[rest].tolist(),
                    observed=Observations(None, ds, None, "traffic") if count else None,
                )  # fmt: skip
                drawn = np.stack(
                    [values for _, values in draw.blocks([Span(m, 0, len(rest)) for m in range(MEMBERS)])]
                ).astype(np.float64)
                borrowed = weeks_of(monday_weeks(train[0]), len(rest), seed)
                found = score(real[rest], drawn)
                found["ratio"] = found["crps_shape"] / score(real[rest], borrowed)["crps_shape"]
                found["total"] = float(drawn.mean() / real[rest].mean()) if count else np.nan
                scores.append(found)
            mean = {key: float(np.mean([s[key] for s in scores])) for key in (*ROWS, "total")}
            said = " | ".join("–" if np.isnan(mean[k]) else f"{mean[k]:.3f}" for k in (*ROWS, "total"))
            print(f"| {name} | {count} cells measured | {len(real) - count} | {said} |", flush=True)


RANGES = ("coverage_90", "level known", "week known", "noise known", "noise of the law", "own noise", "own slope")


def ranges(real: Floats, drawn: Floats, levels: LevelModel, held: Source) -> list[float]:
    """RANGES of an unmeasured network, which say what part of its ranges is wrong.

    `coverage_90` of members as they are, of their weeks at the real levels, of the real weeks at their levels, and with
    levels as far apart as the network's own are about the law; the noise that the law has, and the network's own; the
    slope of its levels on what the prior law expects. real: (cells, 168). drawn: (MEMBERS, cells, 168)."""
    assert held.places is not None
    places = replace(held.places, network="")
    law, expected = levels.law_of(places), activity(places)[held.rows]
    log = np.log(held.level) - np.log(places.area_km2[held.rows])
    own = float((log - law.slope * expected).std())
    centre, noise = (part[held.rows] for part in levels.relative(places))
    mean, known, times = drawn.mean(axis=2, keepdims=True), real.mean(axis=1)[:, None], own / law.noise
    z = (np.log(mean[1:, :, 0]) - centre) / noise + noise / 2
    noisy = mean.copy()  # the control, the first, stays
    noisy[1:, :, 0] = np.exp(centre + times * noise * z - (times * noise) ** 2 / 2)
    parts = (drawn, drawn / mean * known, mean * (real / known), drawn / mean * noisy)
    parts = tuple(p / p.mean(axis=(1, 2), keepdims=True) * real.mean() for p in parts)
    inside = [float(m.coverage_cells(real, p, 0.9).mean()) for p in parts]
    return [*inside, law.noise, own, float(np.polyfit(expected, log, 1)[0])]


def networks(data: Path) -> list[tuple[Source, xr.Dataset | None]]:
    """All networks that a model can learn from, and the contexts of those that have one."""
    out: list[tuple[Source, xr.Dataset | None]] = []
    for city in ("sd", "nc", "nj"):
        traffic, place = read_uomo(data / "traffic" / f"uomo_{city}.npz")
        out.append((read_source(traffic, [place]), place))
    milan = read_context(CONTEXTS / "milan.nc")
    out.append((read_source(read_milan_week(data / "telecom-italia"), [milan]), milan))
    out.append((read_source(read_beijing(data / "traffic" / "beijing_stations_168h.npz"), []), None))
    return out


def held_out(log: Floats, expected: Floats, block: NDArray[np.int64]) -> str:
    """Rank correlation and log error of the law, its factor and constant fitted on the other blocks."""
    ordered = np.empty_like(log)
    for one in np.unique(block):
        test = block == one
        slope, constant = np.polyfit(expected[~test], log[~test], 1)
        ordered[test] = constant + slope * expected[test]
    apart = ordered - log
    rank = spearmanr(ordered, log).statistic
    return f"{rank:.3f} | {np.abs(apart - np.median(apart)).mean():.3f} | {apart.std():.3f}"


def levels(data: Path) -> None:
    """The law over Milan and Helsinki."""
    print("| levels | Spearman | mean log error | its spread |\n|---|---|---|---|")
    context = read_context(CONTEXTS / "milan.nc")
    total = np.loadtxt(data / "telecom-italia" / "milan_10000_cells_internet_total.csv", delimiter=",", skiprows=1)
    log = np.log(total[:, 1])
    row, col = np.divmod(context["cell_id"].values - 1, 100)
    bare = context.drop_vars([str(name) for name in context.data_vars if str(name).startswith("street_length")])
    rows = {"POIs and sites": bare, "POIs, sites and streets": context}
    rows |= {name.replace(", sites", "").replace(" and sites", ""): c.drop_vars("stations") for name, c in rows.items()}
    block = row // 20 * 5 + col // 20
    known = np.isfinite(context["street_length_street"].values)
    parts = {"Milan": np.ones(len(log), dtype=bool), f"Milan, {known.sum():,} cells of known streets": known}
    for where, some in parts.items():
        for name, place in rows.items():
            expected = activity(read_places(place))[some]
            print(f"| {where}, {name} | {held_out(log[some], expected, block[some])} |")
    from pyproj import Transformer
    from scipy.spatial import cKDTree

    region = np.load(data / "helsinki" / "dynamic_population_250m.npz")
    xy = np.stack([region["x_3067"], region["y_3067"]], axis=1).astype(np.float64)
    mean = (4 * region["workday"] + region["saturday"] + region["sunday"]).mean(axis=1) / 6
    log = np.log(np.maximum(mean, np.quantile(mean[mean > 0], 0.005)))
    known = {}
    for name, file, column in (("population", "population_250m_2018.csv", 2), ("stops", "stops.csv", None)):
        table = np.genfromtxt(data / "helsinki" / file, delimiter=",", skip_header=1, usecols=(0, 1, column or 0))
        at = np.stack(Transformer.from_crs(4326, 3067, always_xy=True).transform(table[:, 0], table[:, 1]), axis=1)
        apart, cell = cKDTree(xy).query(at)
        weight = np.ones(len(table)) if column is None else table[:, column]
        count = np.bincount(cell[apart < 180], weight[apart < 180], len(xy))
        kind = VARIABLES[name]
        around = np.zeros(len(xy), dtype=np.float32)
        amount = Amount(count.__getitem__, kind.floor, kind.radii_m, None, around)
        add_log_densities([amount], xy, np.full(len(xy), 0.0625))
        known[name] = around.astype(np.float64) - REFERENCE[name]
    block = np.unique(xy // 4000, axis=0, return_inverse=True)[1].ravel() % 25
    for names in (("population",), ("population", "stops")):
        expected = np.sum([e * known[name] for name, e in elasticities(names).items()], axis=0)
        alone = f"; elasticity {elasticities(names)['population']:.2f}"
        print(f"| Helsinki, {' and '.join(names)}{alone} | {held_out(log, expected, block)} |")
    centre(data, log, xy)
    places = read_places(context)
    error = np.log(total[:, 1]) - activity(places)
    print("\n| Milan, errors of the law at a distance of | correlation |\n|---|---|")
    for near, far, alike in alike_at(error - error.mean(), places.xy_m):
        print(f"| {near} to {far} m | {alike:.2f} |")


def alike_at(error: Floats, xy: Floats) -> list[tuple[int, int, float]]:
    """(nearest, farthest, correlation) of pairs of cells by distance. error: (cells,), of mean 0; xy: (cells, 2)."""
    from scipy.spatial import cKDTree

    steps = (0, 240, 400, 700, 1000, 1500, 2000, 3000)
    pairs = cKDTree(xy).query_pairs(steps[-1], output_type="ndarray")
    apart = np.linalg.norm(xy[pairs[:, 0]] - xy[pairs[:, 1]], axis=1)
    both = error[pairs[:, 0]] * error[pairs[:, 1]] / error.var()
    bins = [(near, far, (apart > near) & (apart <= far)) for near, far in pairwise(steps)]
    return [(near, far, float(both[some].mean())) for near, far, some in bins]


def centre(data: Path, log: Floats, xy: Floats) -> None:
    """The law over the cells of Helsinki's centre, where an extract tells of buildings: its factor is 1, none is held
    out. log: (cells,) of all cells of the region, xy: (cells, 2) metres of EPSG:3067."""
    import geopandas as gpd
    import shapely
    from pyproj import Transformer

    pois = read_pois(data / "osm" / "helsinki-centre.osm.pbf", basemap=True)
    west, south, east, north = pois.attrs["extent"]
    low, high = (np.array(Transformer.from_crs(4326, 3067, always_xy=True).transform(*at)) for at in
                 ((west, south), (east, north)))  # fmt: skip
    mine = ((xy - 125 > low) & (xy + 125 < high)).all(axis=1)
    back = Transformer.from_crs(3067, 4326, always_xy=True)
    around = np.array([(-125, -125), (125, -125), (125, 125), (-125, 125)])
    corners = [np.stack(back.transform(*(around + at).T), axis=1) for at in xy[mine]]
    cells = gpd.GeoDataFrame(geometry=[shapely.Polygon(square) for square in corners], crs=4326)
    ground = pois.attrs["ground"]
    lon, lat = back.transform(*xy[mine].T)
    place = xr.Dataset(
        {
            "poi_count": (("cell", "category"), count_pois(pois, cells)),
            **variables_of(sum_ground(ground, cells), ground),
        },
        {"x": ("cell", xy[mine][:, 0]), "y": ("cell", xy[mine][:, 1]), "lon": ("cell", lon), "lat": ("cell", lat)},
        {"cell_m": 250.0},
    )
    names = [str(name) for name in place.data_vars if name != "poi_count"]
    for name, known in (("POIs", place.drop_vars(names)), ("POIs and ground", place)):
        expected = activity(read_places(known))
        rank, apart = spearmanr(expected, log[mine]).statistic, log[mine] - expected
        print(f"| Helsinki, {len(expected)} cells of the centre, {name} | {rank:.3f} | "
              f"{np.abs(apart - np.median(apart)).mean():.3f} | {apart.std():.3f} |")  # fmt: skip


def main() -> None:
    """Fit, draw and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--levels", action="store_true", help="the law alone")
    parser.add_argument("--expected", action="store_true", help="what map and measured cells tell of weeks, alone")
    parser.add_argument("--tried", action="store_true", help="the same of other regressions on the map")
    parser.add_argument("--apart", action="store_true", help="what of their errors is a region's own")
    parser.add_argument("--known", nargs="*", help="networks left out, or all, of which a few cells are measured")
    parser.add_argument("--networks", nargs="*", help="each network left out once, or those named, instead")
    parser.add_argument("--parts", action="store_true", help="eleven parts of Milan, by its scattered cells")
    parser.add_argument("--folds", action="store_true", help="all cells of Milan, held out by location in five folds")
    parser.add_argument("--fomo", action="store_true", help="the regions of Milan by a FoMo")
    parser.add_argument("--seeds", type=int, default=1, help="of training, of drawing and of the naive rows")
    parser.add_argument("--steps", type=int, help="training steps, for a trial")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.levels:
        levels(args.data)
        return
    if args.tried:
        tried(args.data, args.seeds)
        return
    if args.apart:
        apart(args.data, args.seeds)
        return
    columns = (*ROWS, "total") if args.known is not None else ROWS
    print("| region | row | cells | " + " | ".join(columns) + " |\n|---|---|---|" + "---|" * len(columns))
    if args.known is not None:
        some_known(args.data, args.known, args.steps)
        return
    if args.expected:
        expected(args.data)
        return
    if args.folds:
        by_folds(args.data, args.steps, args.seeds)
        return
    if args.fomo:
        by_fomo(args.data, args.steps or FOMO_STEPS, args.seeds)
        return
    every: dict[str, list[dict[str, float]]] = {}
    parts: list[list[str]] = []
    sums: dict[str, list[list[float]]] = {}
    for name, train, held, place in parts_of_milan(args.data) if args.parts else left_out(args.data, args.networks):
        real = monday_weeks(held)
        pool = np.concatenate([monday_weeks(o) / (o.level.mean() if len(train) > 1 else 1.0) for o in train])
        for seed in range(args.seeds):
            drawn, alone, level_model = draw_region(train, held, place, args.steps, seed)
            if args.networks is not None:
                parts.append([name, *(f"{v:.3f}" for v in ranges(real, drawn, level_model, held))])
            else:
                for row, members, known in (
                    ("levels known", drawn, True),
                    ("levels known, weeks of each cell alone", alone, True),
                    ("total known", drawn, False),
                ):
                    sums.setdefault(f"{name} | {row}", []).append(sums_covered(held, members, levels_known=known))
            rows = {
                "stouter": drawn,
                "bootstrap": weeks_of(pool, len(real), 2 * seed),
                "bootstrap within": weeks_of(real, len(real), 2 * seed + 1),
            }
            for row, scores in show(f"{name}, seed {seed}" if args.seeds > 1 else name, real, rows):
                every.setdefault(f"{name} | {row} | {len(real)}", []).append(scores)
    for row, scored in every.items() if args.seeds > 1 else ():
        print(f"| mean of {row} | " + " | ".join(f"{np.mean([s[k] for s in scored]):.3f}" for k in ROWS) + " |")
    if args.parts:
        for row in rows:
            scored = [s for key, found in every.items() if key.split(" | ")[1] == row for s in found]
            print(f"| mean | {row} | | " + " | ".join(f"{np.mean([s[k] for s in scored]):.3f}" for k in ROWS) + " |")
    if sums:
        sides = " | ".join("one cell" if side == 1 else f"{side} x {side}" for side in SIDES)
        print(f"\n| sums in | noise | {sides} |\n|---|---|" + "---|" * len(SIDES))
        for row, covered in sums.items():
            print(f"| {row} | " + " | ".join(f"{v:.3f}" for v in np.mean(covered, axis=0)) + " |")
    if parts:
        print("\n| ranges | " + " | ".join(RANGES) + " |\n|---|" + "---|" * len(RANGES))
        print("\n".join("| " + " | ".join(part) + " |" for part in parts))


def parts_of_milan(data: Path) -> Iterator[tuple[str, list[Source], Source, xr.Dataset]]:
    """As `left_out`: each of `regions`, by the scattered cells that lie apart from it."""
    context = read_context(CONTEXTS / "milan.nc")
    for name, _, some, held in regions(data):
        yield name, [some], held, context


def left_out(data: Path, names: list[str] | None) -> Iterator[tuple[str, list[Source], Source, xr.Dataset]]:
    """(name, training sources, the region kept aside, its context): two parts of Milan, or whole networks.

    names: None: the parts of Milan. Else the networks so called, all that have a context where there is no name.
    """
    if names is None:
        context = read_context(CONTEXTS / "milan.nc")
        for name, train, held in milan_parts(data):
            yield name, [train], held, context
        return
    known = networks(data)
    for source, place in known:
        if place is not None and (not names or source.network in names):
            yield f"without {source.network}", [other for other, _ in known if other is not source], source, place


if __name__ == "__main__":
    main()
