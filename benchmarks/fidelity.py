"""Fidelity: STOUTER beside trained baselines, its own ablations and variants, and the naive rows (METRICS, P1 and P2).

    python benchmarks/fidelity.py --data ../shared/data -o fidelity.json                  # everything: hours of a core
    python benchmarks/fidelity.py --data ../shared/data -o fidelity.json --only p2 --rows vae stouter --minutes 1
    python benchmarks/fidelity.py --data ../shared/data -o /tmp/quick.json --quick          # does it run?

    python benchmarks/fidelity.py --data ../shared/data -o p1.json --only p1 --services --rows naive stouter
    python benchmarks/fidelity.py --data ../shared/data -o graphs.json --only p1 --graphs --minutes 0.5

P1: five folds by location on uomo_sd (week 0), uomo_nc, uomo_nj and, without --services, the 346 cells of Milan,
together; hourly, the first 168 hours; `_p9999` scaling per city and fold; 95% intervals by bootstrap over locations.
--services: stouter learns all that stouter-base does, the calls and SMS of Milan too, in half as many steps again.
--graphs: `stouter` and ablations of its graphs that change one thing each and keep the level model: no embedding of the
place, a GraphMAE of the stations that was never trained, sines in place of the temporal graph, and each graph with
another layer ("without the station graph" of VARIANTS takes the POIs from the level model, too).
A row of a sampler's name is as `gentraffic fit` makes it: of baselines the network draws levels too, as published
(`Sampler.draws_level`), of others it does not. Rows with "stouter's levels" have baselines draw shapes for the level
model, in STUNet's place; with "own level" the networks of the others draw levels. The last table says of each fit which
it was. Rows that stouter-base brings in
its provenance (STOUTER, its ablations, the naive rows, of the same folds) are shown as means where they were not run
here.
P2: the last week of Milan's 5x5 after 23 days; week 1 of nc and nj after week 0, in two folds by location: both weeks
of the other fold's ground train. Same condition, windows and seed for every sampler, and as many core-minutes
(`--minutes` per fit; the steps that fill them are those of `plan_for` in proportion). Every row is written as it is
done: run the same command again to go on. `usual week` is what the samplers are told of a cell's past, drawn as it is.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from gentraffic.dataset.calendar import make_calendar
from gentraffic.dataset.splits import p1_folds
from gentraffic.evaluation import holdout as p1
from gentraffic.evaluation import naive_rows as naive
from gentraffic.evaluation.intervals import bootstrap_interval
from gentraffic.evaluation.metrics.summary import (
    acf_error,
    coverage_cells,
    crps_cells,
    jsd_hist,
    jsd_softmax24_cells,
    mae_minmax_cells,
    mse_minmax_cells,
    p9999,
)
from gentraffic.evaluation.public_cities import CITIES, MILAN, read_cities, read_city
from gentraffic.generators.base import PROFILE_STEPS, Settings
from gentraffic.generators.folder import Bundle, load_bundle
from gentraffic.generators.weekly import draw_traffic
from gentraffic.io.atomic import replacing
from gentraffic.io.files import read_context
from gentraffic.io.importers.public_sets import MILAN_CELLS, read_milan_5x5
from gentraffic.modelling.features import Floats, read_places
from gentraffic.modelling.history import History, history_of
from gentraffic.modelling.measured import Source, read_source
from gentraffic.modelling.weekly_profile import fit_weekly_profile, profile_week
from gentraffic.places.find import CONTEXTS
from gentraffic.training import fitting
from gentraffic.training.fitting import Design, fit_sampler, plan_for, split_source
from gentraffic.training.options import rules_of
from graphs.graphmae import GraphMAE
from samplers import SAMPLERS as EVERY_SAMPLER
from samplers import sampler_class

DRAWS_LEVEL = {name: sampler_class(name).draws_level for name in EVERY_SAMPLER}
SAMPLERS: dict[str, dict[str, Any]] = {  # as `gentraffic fit` makes them: published rivals draw levels too
    name: {"sampler": name, "own_level": own} for name, own in DRAWS_LEVEL.items()
}
HYBRIDS: dict[str, dict[str, Any]] = {  # in STUNet's place
    f"{name}, stouter's levels": {"sampler": name} for name, own in DRAWS_LEVEL.items() if own
}
FORMS = ("linear", "weighted", "gated", "cross-attention", "decoupled")
VARIANTS: dict[str, dict[str, Any]] = {
    "stouter, no temporal graph": {"use_time": False},
    "stouter, no station graph": {"use_place": False},
    "stouter, neither graph": {"use_time": False, "use_place": False},
    **{
        f"stouter, fusion {form}": {"fusion": form}
        for form in ("linear", "weighted", "gated", "cross-attention", "decoupled")
    },
    **{
        f"stouter, graphs {layer}": {"temporal_layer": layer, "station_layer": layer}
        for layer in ("gin", "gcn", "gat", "sage")
    },
    **{f"{name}, own level": {"sampler": name, "own_level": True} for name, own in DRAWS_LEVEL.items() if not own},
    **HYBRIDS,
}
LAYERS = {"temporal": ("gcn", "gat", "sage"), "station": ("gin", "gat", "sage")}  # but those of the design
GRAPHS: dict[str, dict[str, Any]] = {  # one thing each, the level model kept: see `other_graphs`
    "stouter": {},
    **{f"stouter, {name}": {} for name in ("no station embedding", "stations untrained", "hours by sines")},
    **{
        f"stouter, {graph} graph of {layer}": {f"{graph}_layer": layer}
        for graph, layers in LAYERS.items()
        for layer in layers
    },
}
MORE_STEPS = 1.5  # of a model of five services: what benchmarks/release.py gives stouter-base
PLAN_MINUTES = 2.0  # of one core: what the steps of `plan_for` take
P2_FOLDS, P2_MEMBERS = 2, 100
MANY = 100  # members of one more row of each sampler: with so many, how they are spread no longer matters
NEAR_M = 3000.0  # of Milan, what lies so near to the measured cells

HOURS = 168
POINT = ("mae_minmax", "rmse_minmax", "jsd_softmax24")  # of the ensemble mean
SPREAD = ("crps", "coverage_90")


@dataclass(frozen=True)
class Later:
    """One network of P2: the earlier days of cells, and their later week.

    past: the cells' earlier days. real: (cells, 168) their later week, in the same unit and order. weekday, start: of
    its first day. context: holds the cells of `past`. ground: (cells,) for intervals.
    """

    past: Source
    real: Floats
    start: str
    context: xr.Dataset
    ground: NDArray[np.int64]

    def history(self) -> History:
        """What the models are told."""
        return history_of(self.past)


def last_week(traffic: xr.Dataset, context: xr.Dataset) -> tuple[Source, Later]:
    """A network of several weeks: the training source, hourly, without the last seven days, and those days."""

    whole = hourly(read_source(traffic, [context]))
    days = whole.ratio.shape[1] - 7
    past = replace(whole, ratio=whole.ratio[:, :days], clean=whole.clean[:, :days]).centred()
    date = str(traffic["time"].values[0].astype("datetime64[h]") + np.timedelta64(12, "h"))[:10]
    start = str(np.datetime64(date) + days)
    return past, Later(past, whole.hourly()[:, days * 24 :], start, context, whole.location)


def two_weeks(traffic: xr.Dataset, context: xr.Dataset, folds: int, fold: int) -> tuple[Source, Later]:
    """A network whose coordinate `week` tells two weeks of the same ground apart: what trains, and what is drawn.

    Cells of both weeks are paired by location and place within it; pairs that are dead in either week are left out.
    What trains are both weeks, one after the other, of the locations outside the fold; what is drawn is week 1 of those
    inside, whose week 0 is their past: nothing of their ground was trained on.
    """

    both = hourly(read_source(traffic, [context]))
    row = {cell: i for i, cell in enumerate(traffic["cell_id"].values.tolist())}
    at = np.array([row[cell] for cell in both.cell_id.tolist()])
    week, location = traffic["week"].values, traffic["location"].values
    place = np.zeros(len(week), dtype=np.int64)  # the place of a cell within its location and week
    for ground, number in set(zip(location.tolist(), week.tolist(), strict=True)):
        mine = np.flatnonzero((location == ground) & (week == number))
        place[mine] = np.arange(len(mine))
    keys = list(zip(location[at].tolist(), place[at].tolist(), strict=True))
    second = {key: i for i, key in enumerate(keys) if week[at[i]] == 1}
    pairs = np.array([(i, second[key]) for i, key in enumerate(keys) if week[at[i]] == 0 and key in second])
    days = both.ratio[:, :7] * both.level[:, None, None]
    joined = np.concatenate([days[pairs[:, 0]], days[pairs[:, 1]]], axis=1).astype(np.float32)
    whole = replace(both.only(pairs[:, 0]), ratio=joined, clean=joined, level=np.ones(len(pairs)))
    keep, held = p1_folds(whole.location, folds, 0)[fold]
    past = replace(whole, ratio=joined[:, :7], clean=joined[:, :7]).only(held).centred()
    start = f"2021-03-{1 + both.weekday:02d}"  # 1 March is a Monday
    real = joined[held, 7:].reshape(len(held), HOURS).astype(np.float64)
    return whole.only(keep).centred(), Later(past, real, start, context, past.location)


def hourly(source: Source) -> Source:
    """The same source at one step per hour."""
    cells, days, _ = source.ratio.shape
    means = {k: getattr(source, k).reshape(cells, days, 24, -1).mean(axis=3) for k in ("ratio", "clean")}
    return replace(source, **means, per_hour=1)


def later_week_rows(later: Later) -> dict[str, NDArray[Any]]:
    """`climatology`, and each earlier week as a member: name -> (members, cells, 168)."""
    past = later.past.hourly()
    weekday = np.datetime64(later.start).astype("datetime64[D]").item().weekday()
    hour = (weekday * 24 + np.arange(HOURS)) % HOURS
    before = (later.past.weekday * 24 + np.arange(past.shape[1])) % HOURS
    weeks = [np.flatnonzero(before == h) for h in hour]
    number = min(len(w) for w in weeks)
    members = np.stack([past[:, [w[i] for w in weeks]] for i in range(number)])
    return {"climatology": naive.climatology(past, before, hour), "earlier weeks": members}


def usual_row(train: Sequence[Source], later: Later) -> NDArray[Any]:
    """`usual week`: what the models are told of the past, fitted on the training sources, alone: (1, cells, 168)."""

    usual, history = fit_weekly_profile(train), later.history()
    week = profile_week(history.week, history.days, usual, later.past.network)
    weekday = np.datetime64(later.start).astype("datetime64[D]").item().weekday()
    series = np.roll(week, -weekday, axis=1).reshape(len(week), HOURS)
    level = history.now(usual.memory) / series.mean(axis=1)
    return np.asarray((series * level[:, None])[None])


def later_model_row(
    bundle: Bundle, later: Later, seed: int, members: int, *, steps: int | None = None, guidance: float = 1.0
) -> NDArray[Any]:
    """Members that a model draws for the later week, in the unit of the past: (members, cells, 168)."""

    history = later.history()
    calendar = make_calendar(later.start, 7, "1h", str(later.context.attrs["timezone"]))
    settings = Settings(seed=seed, members=members, steps=steps or PROFILE_STEPS, guidance=guidance)
    rows = later.past.rows.tolist()
    drawn = draw_traffic(bundle, later.context, calendar, settings, cells=rows, history=history)
    unit = history.unit(bundle.levels, read_places(later.context), later.context["cell_id"].values)
    return drawn.astype(np.float64) * unit


def score_later(members: NDArray[Any], later: Later) -> dict[str, Any]:
    """Lists over cells: the metrics of POINT of the ensemble mean (squares for rmse), SPREAD of the members.

    members: (members, cells, 168) hourly, in the unit of `later.real`.
    """
    real, mean = later.real, members.mean(axis=0)
    ensemble = np.repeat(members, 2, axis=0) if len(members) == 1 else members  # a single series: an ensemble of equals
    cells = {
        "mae_minmax": mae_minmax_cells(real, mean),
        "rmse_minmax": mse_minmax_cells(real, mean),
        "jsd_softmax24": jsd_softmax24_cells(real, mean) * 1e4,
        "crps": crps_cells(real, ensemble) / p9999(later.past.hourly()),
        "coverage_90": coverage_cells(real, ensemble, 0.9),
    }
    figures = {key: np.asarray(v).round(6).tolist() for key, v in cells.items()}
    return figures | {"location": later.ground.tolist(), "members": len(members)}


def table_later(rows: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """Markdown of row -> network -> `score_later`: means over cells, for rmse the root of the mean; jsd x 1e4."""
    lines = ["| row | network | cells | members | " + " | ".join(POINT + SPREAD) + " |"]
    lines.append("|---|---|---|---|" + "---|" * len(POINT + SPREAD))
    for row, networks in rows.items():
        for network, figures in networks.items():
            means = {key: float(np.mean(figures[key])) for key in POINT + SPREAD}
            means["rmse_minmax"] = means["rmse_minmax"] ** 0.5
            texts = [f"{means[key]:.2f}" if key == "coverage_90" else f"{means[key]:.4f}" for key in means]
            lines.append(
                f"| {row} | {network} | {len(figures['crps'])} | {figures['members']} | " + " | ".join(texts) + " |"
            )
    return "\n".join(lines)


def later_weeks(data: Path, fold: int) -> tuple[list[Source], dict[str, Later]]:
    """P2: what trains and what is drawn in one fold; Milan is drawn in the first."""
    train, later = [], {}
    for city in CITIES[1:]:
        traffic, context = read_city(data, city)
        source, later[city] = two_weeks(traffic, context, P2_FOLDS, fold)
        train.append(source)
    milan = read_context(CONTEXTS / "milan.nc").assign_attrs(network="milan-5x5")
    x, y = (milan[axis].values for axis in "xy")
    centre = np.isin(milan["cell_id"].values, MILAN_CELLS)
    near = np.hypot(x - x[centre].mean(), y - y[centre].mean()) < NEAR_M
    traffic = read_milan_5x5(data / "traffic" / "milan_5x5_internet_10min.csv")
    source, last = last_week(traffic, milan.isel(cell=np.flatnonzero(near)))
    train.append(source)
    return train, later if fold else later | {"milan-5x5": last}


class Rows:
    """Finished rows in a JSON file: protocol -> "name|seed|fold" -> scores."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.done: dict[str, dict[str, Any]] = {"p1": {}, "p2": {}, "told": {}}
        if path.exists():
            self.done |= json.loads(path.read_text(encoding="utf-8"))

    def add(self, protocol: str, key: str, scores: Any, metadata: dict[str, Any] | None = None) -> None:
        """Keep one row and write the file."""
        self.done[protocol][key] = scores
        if metadata is not None:
            self.done["told"][f"{protocol}|{key}"] = metadata
        with replacing(self.path, (".json",)) as temporary:
            temporary.write_text(json.dumps(self.done), encoding="utf-8")
        print(f"{protocol}: {key} done", flush=True)

    def of(self, protocol: str) -> dict[str, list[Any]]:
        """name -> one score per fold."""
        done = self.done[protocol]
        names = dict.fromkeys(key.split("|")[0] for key in done)
        return {name: [v for key, v in sorted(done.items()) if key.split("|")[0] == name] for name in names}


class NoEmbedding(GraphMAE):
    """Stations that all look alike."""

    def embed(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """(n, hidden_channels) zeros."""
        return x.new_zeros(len(x), int(self.config["hidden_channels"]))


class Sines(GraphMAE):
    """Hours of the week by the sines and cosines of the day and of the week, in the temporal graph's place."""

    def embed(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """(168, hidden_channels): harmonics of the day and of the week in turn."""
        half = int(self.config["hidden_channels"]) // 4
        turn = 2 * torch.pi * torch.arange(len(x))[:, None] * (1 + torch.arange(half))
        return torch.cat([f(turn / period) for period in (24, 168) for f in (torch.sin, torch.cos)], dim=1)


@contextmanager
def other_graphs(row: str) -> Iterator[None]:
    """Within the block, `fit_sampler` gets the graphs of a row of GRAPHS."""
    usual: Callable[..., tuple[GraphMAE, GraphMAE]] = fitting.fit_graphs

    def changed(*words: Any, **more: Any) -> tuple[GraphMAE, GraphMAE]:
        temporal, station = usual(*words, **more)
        if row == "stouter, stations untrained":
            station = usual(*words, **{**more, "steps": 0})[1]
        if row == "stouter, no station embedding":
            station.__class__ = NoEmbedding
        if row == "stouter, hours by sines":
            temporal.__class__ = Sines
        return temporal, station

    fitting.fit_graphs = changed
    try:
        yield
    finally:
        fitting.fit_graphs = usual


def fit(design: Design, train: list[Source], args: argparse.Namespace) -> tuple[Any, dict[str, Any]]:
    """A bundle within the budget, and what is to be told of it."""
    plan = plan_for(design)
    several = any(source.service for source in train)
    wanted = plan.steps * args.minutes / PLAN_MINUTES * (MORE_STEPS if several else 1)
    steps = 20 if args.quick else max(20, round(wanted))
    plan = replace(plan, steps=steps, warmup=min(plan.warmup, steps // 10), seed=args.seed)
    began = time.process_time()
    bundle, metadata = fit_sampler(train, design=design, plan=plan)
    minutes = round((time.process_time() - began) / 60, 2)
    rules = rules_of(design, len(bundle.services.names))
    told = {"core_minutes": minutes, "steps": metadata["steps"], "weights": metadata["parameters"], "rules": rules}
    return bundle, told


def run_p1(rows: Rows, args: argparse.Namespace) -> None:
    """All rows of P1 that are missing."""
    sources, contexts = read_cities(args.data)
    networks = CITIES if args.services else (*CITIES, MILAN)
    usual = list(GRAPHS) if args.graphs else ["naive", *SAMPLERS, *VARIANTS]
    for fold in [0] if args.quick else args.fold or range(5):
        parts = {s.network: split_source(s, 5, fold, args.seed) for s in sources if s.network in networks}
        train = [parts[s.network][0] if s.network in parts else s for s in sources]
        if MILAN in networks:
            train = [s for s in train if s.network != "milan-5x5"]  # 25 cells of both: none may be held out and learned
        if args.quick:
            parts = {"uomo-nj": parts["uomo-nj"]}
        places = p1.as_measured(contexts, parts)
        for name in args.rows or usual:
            key = f"|{args.seed}|{fold}"
            if ("bootstrap" if name == "naive" else name) + key in rows.done["p1"]:
                continue
            if name == "naive":
                for row, members in p1.holdout_rows(parts, args.seed * 100 + fold).items():
                    rows.add("p1", row + key, p1.score(members, parts))
                continue
            design = Design(**(SAMPLERS | VARIANTS | GRAPHS)[name])
            learned = [s for s in train if not s.service or (args.services and design.sampler == "stouter")]
            with other_graphs(name):
                bundle, metadata = fit(design, learned, args)
            members = p1.model_row(bundle, places, parts, args.seed, None, members=2 if args.quick else p1.MEMBERS)
            rows.add("p1", name + key, p1.score(members, parts), metadata)
            if args.keep is not None:
                keep(args.keep, name, fold, members, parts)
            if args.many and name in SAMPLERS | HYBRIDS:
                members = p1.model_row(bundle, places, parts, args.seed, None, members=MANY)
                rows.add("p1", f"{name}, {MANY} members{key}", p1.score(members, parts))


def run_p2(rows: Rows, args: argparse.Namespace) -> None:
    """All rows of P2 that are missing."""
    for fold in [0] if args.quick else args.fold or range(P2_FOLDS):
        train, later = later_weeks(args.data, fold)
        for name in args.rows or ["naive", *SAMPLERS]:
            key = f"|{args.seed}|{fold}"
            if ("climatology" if name == "naive" else name) + key in rows.done["p2"]:
                continue
            if name == "naive":
                drawn = {n: later_week_rows(part) | {"usual week": usual_row(train, part)} for n, part in later.items()}
                for row in ("climatology", "earlier weeks", "usual week"):
                    rows.add("p2", row + key, {n: score_later(drawn[n][row], later[n]) for n in later})
            elif name in SAMPLERS:
                design = Design(sampler=name, use_profile=True)  # a past tells the level
                bundle, metadata = fit(design, train, args)
                count = 2 if args.quick else P2_MEMBERS
                members = {n: later_model_row(bundle, part, args.seed, count) for n, part in later.items()}
                rows.add("p2", name + key, {n: score_later(members[n], later[n]) for n in later}, metadata)


def keep(folder: Path, row: str, fold: int, members: p1.Members, parts: p1.Parts) -> None:
    """Write what a row drew for the held-out cells of one fold, and the real series, for `pooled`."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {
        f"{name}|{what}": values.astype(np.float32)
        for name, drawn in members.items()
        for what, values in (("drawn", drawn), ("real", p1.week_of(parts[name][1])))
    }
    np.savez_compressed(folder / f"{row.replace(' ', '-')}.{fold}.npz", **arrays)  # type: ignore[arg-type]


def pooled(folder: Path) -> str:
    """`jsd_hist` / `acf_error` over the held-out cells of all folds together: one fold may be a single location."""
    lines = ["| row, all folds together | sd | nc | nj |", "|---|---|---|---|"]
    for row in dict.fromkeys(path.name.split(".")[0] for path in sorted(folder.glob("*.npz"))):
        folds = [np.load(path, allow_pickle=False) for path in sorted(folder.glob(f"{row}.*.npz"))]
        texts = []
        for city in CITIES:
            real, drawn = (np.concatenate([f[f"{city}|{what}"] for f in folds], axis=-2) for what in ("real", "drawn"))
            texts.append(f"{jsd_hist(real, drawn):.3f} / {acf_error(real, drawn):.3f}")
        lines.append(f"| {row} | " + " | ".join(texts) + " |")
    return "\n".join(lines)


def brief(rows: dict[str, list[Any]]) -> str:
    """crps / coverage_90 / crps_shape over the held-out cells of all finished folds; then rows not run here."""
    metrics = ("crps", "coverage_90", "crps_shape")
    networks = [n for n in (*CITIES, MILAN) if any(n in fold for folds in rows.values() for fold in folds)] or CITIES
    lines = ["| row | folds | " + " | ".join(networks) + " |", "|---|---|" + "---|" * len(networks)]
    for name, folds in rows.items():
        texts = [
            " / ".join(f"{np.concatenate([f[city][m] for f in folds]).mean():.5f}" for m in metrics)
            if all(city in f for f in folds)
            else "-"
            for city in networks
        ]
        lines.append(f"| {name} | {len(folds)} | " + " | ".join(texts) + " |")
    for name, metadata in load_bundle("stouter-base").provenance["metrics"].items():
        if name not in rows:
            texts = [" / ".join(f"{metadata[c][m]:.5f}" for m in metrics) if c in metadata else "-" for c in networks]
            lines.append(f"| {name} (provenance of stouter-base) | 5 | " + " | ".join(texts) + " |")
    return "\n".join(lines)


def merged(folds: list[Any]) -> dict[str, Any]:
    """The scores of all folds of one row of P2, cells after cells."""
    out: dict[str, Any] = {}
    for fold in folds:
        for network, metadata in fold.items():
            mine = out.setdefault(network, {})
            for key, value in metadata.items():
                mine[key] = mine.get(key, []) + value if isinstance(value, list) else value
    return out


def leads(done: dict[str, Any], metrics: tuple[str, ...], of: str = "stouter") -> str:
    """Markdown: mean of `of` minus each other row over the same held-out cells of the folds and seeds that both have.

    95% intervals by bootstrap of the paired differences over locations; over cells where a network has one location.
    done: "name|seed|fold" -> network -> metric -> list over cells. An interval that holds 0 is no lead, and one
    over a handful of locations says little.
    """
    lines = [
        f"| {of} minus | network | locations | " + " | ".join(metrics) + " |",
        "|---|---|---|" + "---|" * len(metrics),
    ]
    for name in dict.fromkeys(key.split("|")[0] for key in done):
        runs = [k for k in (key.removeprefix(name) for key in done if key.split("|")[0] == name) if of + k in done]
        for network in dict.fromkeys(n for k in runs for n in done[name + k]) if name != of else ():
            both = [(done[of + k][network], done[name + k][network]) for k in runs if network in done[name + k]]
            place = np.concatenate([np.array(a["location"]) for a, _ in both])
            count = len(np.unique(place))
            if count == 1:
                place = np.concatenate([np.arange(len(a["location"])) for a, _ in both])
            texts = []
            for metric in metrics:
                apart = np.concatenate([np.subtract(a[metric], b[metric]) for a, b in both])
                low, high = bootstrap_interval(apart, place)
                texts.append(f"{apart.mean():+.4f} ({low:+.4f} to {high:+.4f})")
            folds_text = str(count) if count > 1 else f"1: by its {len(np.unique(place))} cells"
            lines.append(f"| {name} | {network} | {folds_text} | " + " | ".join(texts) + " |")
    return "\n".join(lines)


def budget(rows: Rows) -> str:
    """What each fit took, per row: core-minutes, steps, weights; and what it left to the network."""
    lines = ["| fit | core-minutes | steps | weights | rules |", "|---|---|---|---|---|"]
    for key, told in rows.done["told"].items():
        facts = (told["core_minutes"], told["steps"], told["weights"], told.get("rules", "not noted"))
        lines.append(f"| {key} | {' | '.join(map(str, facts))} |")
    return "\n".join(lines)


def main() -> None:
    """Run what is missing and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder of real data")
    parser.add_argument("-o", "--out", type=Path, required=True, help="JSON of finished rows")
    parser.add_argument("--only", choices=["p1", "p2"], help="one protocol")
    parser.add_argument("--rows", nargs="*", help="rows to run: 'naive' or names of samplers and variants")
    parser.add_argument("--fold", type=int, nargs="*", help="folds to run, all by default")
    parser.add_argument("--minutes", type=float, default=PLAN_MINUTES, help="core-minutes of one fit")
    parser.add_argument("--many", action="store_true", help=f"P1: samplers with {MANY} members as well")
    parser.add_argument("--services", action="store_true", help="P1: learn all services that stouter-base draws")
    parser.add_argument("--graphs", action="store_true", help="P1: the rows of the graphs' ablations")
    parser.add_argument("--keep", type=Path, help="P1: folder for what is drawn, to score all folds together")
    parser.add_argument("--seed", type=int, default=0, help="of the folds and of training")
    parser.add_argument("--table-only", action="store_true", help="print what is finished")
    parser.add_argument("--quick", action="store_true", help="one fold, 20 steps, one city: does it run?")
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = Rows(args.out)
    if args.quick:
        args.rows = args.rows or ["naive", *SAMPLERS]
    if not args.table_only:
        if args.only != "p2":
            run_p1(rows, args)
        if args.only != "p1":
            run_p2(rows, args)
    if args.only != "p2":
        print(f"P1, {p1.MEMBERS} members, means over held-out live cells, 95% intervals by location:\n")
        print(p1.table(rows.of("p1")))
        print("\nIn short, `crps` / `coverage_90` / `crps_shape`:\n")
        print(brief(rows.of("p1")))
        print("\nWhich differences are real:\n")
        print(leads(rows.done["p1"], ("crps", "crps_shape", "crps_level")))
        if args.keep is not None:
            print("\n`jsd_hist` / `acf_error`:\n")
            print(pooled(args.keep))
    if args.only != "p1":
        print("\nP2, mae_minmax, rmse_minmax and jsd_softmax24 x 1e4 of the ensemble mean:\n")
        print(table_later({name: merged(folds) for name, folds in rows.of("p2").items()}))
        print("\nWhich differences are real:\n")
        print(leads(rows.done["p2"], ("mae_minmax", "jsd_softmax24", "crps")))
    print("\nBudget:\n")
    print(budget(rows))


if __name__ == "__main__":
    main()
