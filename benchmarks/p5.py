"""P5 of metrics.md: a region that nobody measured, drawn with the rhythm of a network that was; and P6's law on levels.

    python benchmarks/p5.py --data ../shared/data                     # fits on 248 cells of Milan: minutes of a core
    python benchmarks/p5.py --data ../shared/data --seeds 3           # the same with three seeds, and their mean
    python benchmarks/p5.py --data ../shared/data --networks          # without each network in turn: a fit for each
    python benchmarks/p5.py --data ../shared/data --networks uomo-sd  # without one
    python benchmarks/p5.py --data ../shared/data --levels            # the law alone: seconds
    python benchmarks/p5.py --data ../shared/data --expected          # weeks without a network: a minute

Parts of Milan that lie apart from the training cells: the block of 100 cells in the east, and the 25 cells in the
south-west; training cells within APART_M of them are left out. Their total is known. Beside the model, `bootstrap`: a
whole week, level and all, of a random training cell, and of a random cell of the region itself. `ratio`: `crps_shape`
over that of `bootstrap`.
--expected: what map and measured cells tell of weeks, over eleven regions of Milan that are left out in turn with all
that lies within APART_M: members are the expected week and the rest of a random training cell's, told without its
location, in the network's place. It is quick enough to choose kernels by, and says how far a network can come: `by map`
beside `mean week`, which looks at no map, and `bootstrap within`, the weeks of the region itself.
--levels: Spearman and log error of the law over the 10,000 cells of Milan and the cells of Helsinki, in blocks of 20 x
20 cells and of 4 km; the law's elasticities are constants, and only its factor is fitted on the other blocks.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from scipy.stats import spearmanr

from gentraffic.dataset.calendar import make_calendar
from gentraffic.evaluation.metrics import rhythm
from gentraffic.evaluation.metrics import summary as m
from gentraffic.generators.base import Settings
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
from gentraffic.modelling.expected_week import fit_week
from gentraffic.modelling.features import FLOOR, VARIABLES, Amount, Floats, add_log_densities, read_places
from gentraffic.modelling.levels import REFERENCE, activity, elasticities
from gentraffic.modelling.measured import Source, read_source
from gentraffic.places.find import CONTEXTS
from gentraffic.places.ground import variables_of
from gentraffic.training.fitting import Design, fit_sampler, plan_for
from gentraffic.training.sampler_task import by_location
from poi.count import count_pois, sum_ground
from poi.osm import read_pois

MEMBERS = 20
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
    """The rows of P5 of members (members, cells, 168), scaled to the total of the real region."""
    drawn = members / members.mean() * real.mean()
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
    log = np.log(monday_weeks(train) / train.level[:, None] + FLOOR)
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


def draw_region(train: list[Source], held: Source, context: xr.Dataset, steps: int | None, seed: int = 0) -> Floats:
    """Fit on the training sources and draw the cells of a region whose network is not named."""
    plan = replace(plan_for(Design()), seed=seed)
    bundle, _ = fit_sampler(train, plan=plan if steps is None else replace(plan, steps=steps))
    place = context.assign_attrs({k: "" for k in ("network", "habits") if k in context.attrs})
    calendar = make_calendar("2013-11-04", 7, "1h", str(context.attrs["timezone"]))
    return draw_traffic(bundle, place, calendar, Settings(seed, MEMBERS), cells=held.rows.tolist()).astype(np.float64)


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
    parts = {"Milan": np.ones(len(log), dtype=bool), f"Milan, {known.sum()} cells of known streets": known}
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
        amount = Amount(count.copy, kind.floor, kind.radii_m, None, around)
        add_log_densities([amount], xy, np.full(len(xy), 0.0625))
        known[name] = around.astype(np.float64) - REFERENCE[name]
    block = np.unique(xy // 4000, axis=0, return_inverse=True)[1].ravel() % 25
    for names in (("population",), ("population", "stops")):
        expected = np.sum([e * known[name] for name, e in elasticities(names).items()], axis=0)
        alone = f"; elasticity {elasticities(names)['population']:.2f}"
        print(f"| Helsinki, {' and '.join(names)}{alone} | {held_out(log, expected, block)} |")
    centre(data, log, xy)


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
    parser.add_argument("--networks", nargs="*", help="each network left out once, or those named, instead")
    parser.add_argument("--seeds", type=int, default=1, help="of training, of drawing and of the naive rows")
    parser.add_argument("--steps", type=int, help="training steps, for a trial")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.levels:
        levels(args.data)
        return
    print("| region | row | cells | " + " | ".join(ROWS) + " |\n|---|---|---|" + "---|" * len(ROWS))
    if args.expected:
        expected(args.data)
        return
    every: dict[str, list[dict[str, float]]] = {}
    for name, train, held, place in left_out(args.data, args.networks):
        real = monday_weeks(held)
        pool = np.concatenate([monday_weeks(o) / (o.level.mean() if len(train) > 1 else 1.0) for o in train])
        for seed in range(args.seeds):
            rows = {"stouter": draw_region(train, held, place, args.steps, seed)}
            rows |= {
                "bootstrap": weeks_of(pool, len(real), 2 * seed),
                "bootstrap within": weeks_of(real, len(real), 2 * seed + 1),
            }
            for row, scores in show(f"{name}, seed {seed}" if args.seeds > 1 else name, real, rows):
                every.setdefault(f"{name} | {row} | {len(real)}", []).append(scores)
    for row, scored in every.items() if args.seeds > 1 else ():
        print(f"| mean of {row} | " + " | ".join(f"{np.mean([s[k] for s in scored]):.3f}" for k in ROWS) + " |")


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
