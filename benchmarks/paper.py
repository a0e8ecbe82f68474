"""The papers' own tables: the published figure, ours, and what differs between the two.

    python benchmarks/paper.py stouter --data ../shared/data -o stouter.json            # hours of a core
    python benchmarks/paper.py stouter --quick --data ../shared/data -o quick.json      # seconds a fit: does it run?
    python benchmarks/paper.py fomo --data ../shared/data -o fomo.json                  # half a minute
    python benchmarks/paper.py slstm-stn --quick --data ../shared/data -o slstm-stn.json
    python benchmarks/paper.py slstm-stn --study 24 --data ../shared/data -o study.json  # sizes, picked by Optuna
    python benchmarks/paper.py sim-mstnet --data ../shared/data -o sim-mstnet.json
    python benchmarks/paper.py report -o docs/results/papers.md stouter.json fomo.json  # the tables as a page

A row is written to the JSON as it is done and never run again; `--only table-3 figure-8` runs some of them.

stouter: `stouter --paper` (the published design), the shipped design and the three rivals, each with as many
core-minutes (`--minutes`), on 248 cells of Milan over the week of 4 November 2013, by hour; a fifth of the locations is
held out and drawn. The network draws shapes and its series get the real cell's mean, since the paper's are scaled by
the cell's own minimum and maximum. One drawn series is scored, as MAE, RMSE (`_minmax`) and JSD (`jsd_softmax24` x
1e4). On raw files of Telecom Italia, of Milan or Trentino: `gentraffic import telecom-italia FOLDER -o all.nc`, then
`--traffic all.nc --context place.nc --region trentino`. `--rows "beta-VAE of tsgm" "PAR of SDV"` adds generators of
other libraries, which are told nothing of the place; evaluation/library_generators.py says what to install.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from gentraffic.dataset.services import DIRECTIONS, SUMS, with_sum
from gentraffic.evaluation.library_generators import LIBRARIES, library_weeks
from gentraffic.io.atomic import replacing

if TYPE_CHECKING:
    import xarray as xr

    from gentraffic.forecasting.data import Network, Part
    from gentraffic.forecasting.fit import Fitted
    from gentraffic.generators.folder import Bundle
    from gentraffic.modelling.measured import Source
    from gentraffic.training.fitting import Design
    from graphs.graphmae import GraphMAE

PUBLISHED = json.loads(Path(__file__).with_name("published.json").read_text(encoding="utf-8"))
RIVALS = ("tcn-gan", "vae", "diffwave")
GENERATORS = ("stouter --paper", "stouter", *RIVALS)
FIRST, SECOND = ("internet", *SUMS), DIRECTIONS  # the services of table 3 and of table 2
TIMES, QUICK_TIMES = (10, 50, 100, 200, 400, 600, 800), (10, 100)  # figure 8; 1000 is that of table 3
OURS = "ours"  # what tables 5 and 6 call the published design
FUSIONS = ("weighted", "gated", "cross-attention", "decoupled")
GRAPHS = (("temporal", "gat"), ("temporal", "gcn"), ("temporal", "sage"), ("station", "gat"), ("station", "gin"),
          ("station", "sage"))  # fmt: skip
ABLATIONS = {"no temporal graph": {"use_time": False}, "no station graph": {"use_place": False},
             "neither": {"use_time": False, "use_place": False}}  # fmt: skip
PARTS = {
    "stouter": ("table-3", "figure-8", "figure-10", "figure-9", "table-6", "figure-7", "table-5", "table-2"),
    "fomo": ("seen",),
    "slstm-stn": ("table-3", "table-5", "table-7", "figures"),
    "sim-mstnet": ("ablations",),
}
STN_FAMILY = ("stn", "stn-slstm", "stn-slstm-tf", "stn-tf", "lstm", "xlstm")
AHEAD = 6  # steps of the paper's autoregressive tables
SIM = {  # what trains sim-mstnet, and the arguments of its network
    "few real cells alone": ("trtr", {}), "synthetic alone": ("tstr", {}), "both, unweighted": ("even", {}),
    "both, weights chosen (bi-level)": ("aug", {}), "bi-level over the whole network": ("whole", {}),
    "bi-level, no sharing": ("aug", {"sharing": False}),
    "bi-level, no loss weights": ("aug", {"weigh_losses": False}), "bi-level, POI mix varied too": ("pois", {}),
}  # fmt: skip
UNWEIGHTED = "both, unweighted"  # what the others of SIM are compared with
WHOLE, HEAD_ALONE = "bi-level over the whole network", "both, weights chosen (bi-level)"
STUDY = {"hidden": (32, 64, 128), "blocks": (1, 2, 3), "slstm_heads": (2, 4, 8), "slstm_layers": (1, 2),
         "fusion_heads": (2, 4, 8)}  # fmt: skip
FEW_REAL = 10.0  # percent of the real training cells
MONTH, MONTH_DAYS = "2013-11-01", 30
BATCH, FOLDS, DRAWN_AT_ONCE = 32, 5, 128
Row = dict[str, Any]


class Rows:
    """Finished rows in a JSON file, by the name "paper|part|what|row|fold"."""

    def __init__(self, path: Path, told: dict[str, Any]) -> None:
        self.path = path
        self.done: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        if self.done.setdefault("settings", told) != told:
            raise SystemExit(f"{path} holds rows of {self.done['settings']}, this run is {told}: take another file")

    def run(self, key: str, make: Callable[[], Row]) -> Row:
        """The row of this name, made now unless it is there."""
        if key not in self.done:
            self.done[key] = make()
            with replacing(self.path, (".json",)) as temporary:
                temporary.write_text(json.dumps(self.done, indent=1) + "\n", encoding="utf-8")
            print(key, self.done[key], flush=True)
        row: Row = self.done[key]
        return row


@dataclass
class Stouter:
    """All that the rows of STOUTER's tables share. graphs, bundles: what was trained in this process already."""

    rows: Rows
    traffic: xr.Dataset
    context: xr.Dataset
    region: str
    minutes: float
    channels: tuple[int, ...]
    graph_steps: int
    members: int
    graphs: dict[tuple[str, str, bool], tuple[GraphMAE, GraphMAE]]
    bundles: dict[tuple[str, str, int], Bundle]
    data: Path
    generators: Sequence[str]
    libraries: Sequence[str] = ()
    services: Sequence[str] = (*FIRST, *SECOND)

    def source(self, service: str, fold: int) -> tuple[Source, Source]:
        """What trains and what is held out."""
        from gentraffic.modelling.measured import read_source
        from gentraffic.training.fitting import split_source

        ds = with_sum(self.traffic, service)[[service]]
        return split_source(read_source(ds, [self.context], service), FOLDS, fold, 0)

    def design(self, name: str) -> Design:
        """The design of a row of GENERATORS."""
        from gentraffic.training.fitting import PUBLISHED as AS_PUBLISHED
        from gentraffic.training.fitting import Design

        paper = replace(AS_PUBLISHED, channels=self.channels)
        return paper if name == "stouter --paper" else Design(sampler=name.split(",")[0])

    def pretrained(self, train: Source, design: Design) -> tuple[GraphMAE, GraphMAE]:
        """The graphs of a design: of places alone, so the same for every fold and service."""
        from gentraffic.modelling.levels import fit_levels
        from gentraffic.training.fitting import INFLATE, fit_graphs, measured_cells

        key = design.temporal_layer, design.station_layer, design.station_residual
        if key not in self.graphs:
            assert train.places is not None
            levels = fit_levels([measured_cells(train)], inflate=INFLATE)
            self.graphs[key] = fit_graphs([train.places], levels, design, steps=self.graph_steps)
        return self.graphs[key]

    def fit(self, design: Design, service: str, fold: int) -> tuple[Bundle, Row]:
        """A model within the budget, and what is to be told of it."""
        from gentraffic.training.fitting import fit_sampler, plan_for

        train, _ = self.source(service, fold)
        graphs = self.pretrained(train, design)
        steps = max(10, round(self.minutes * 60 / seconds_per_step(design)))
        plan = plan_for(design)
        plan = replace(plan, steps=steps, batch=BATCH, warmup=min(plan.warmup, steps // 10))
        began = time.process_time()
        bundle, metadata = fit_sampler([train], design=design, plan=plan, graphs=graphs)
        seconds = round(time.process_time() - began, 1)
        return bundle, {"steps": steps, "weights": metadata["parameters"], "fit_cpu_s": seconds}

    def scored(self, name: str, design: Design, service: str = "internet", fold: int = 0) -> Row:
        """Fit, draw the held-out cells, and score one series and the mean of all members."""
        bundle, row = self.fit(design, service, fold)
        self.bundles[name, service, fold] = bundle
        _, held = self.source(service, fold)
        began = time.process_time()
        drawn = self.drawn(bundle, held, members=self.members)
        tiles = -(-len(held.rows) // bundle.model.series_at_once) * len(drawn)
        per_series = (time.process_time() - began) / (tiles * bundle.model.series_at_once)
        usual = bundle.info.recommended
        return row | scores(held.hourly(), drawn, held.location) | {
            "draw_cpu_s": round(per_series * DRAWN_AT_ONCE, 3), "solver": usual.solver, "solver_steps": usual.steps,
        }  # fmt: skip

    def drawn(
        self, bundle: Bundle, held: Source, start: str = "2013-11-04", days: int = 7, members: int = 1
    ) -> NDArray[np.float64]:
        """Members (m, cells, hours) of some cells, each with the real cell's mean."""
        from gentraffic.dataset.calendar import make_calendar
        from gentraffic.generators.weekly import draw_traffic

        calendar = make_calendar(start, days, "1h", str(self.context.attrs["timezone"]))
        settings = replace(bundle.info.recommended, members=members)
        out = draw_traffic(bundle, self.context, calendar, settings, cells=held.rows.tolist()).astype(np.float64)
        mean = held.hourly().mean(axis=1)
        return np.asarray(out / np.maximum(out.mean(axis=2, keepdims=True), 1e-9) * mean[:, None])


def seconds_per_step(design: Design) -> float:
    """CPU seconds of one training step, from two of an untrained network on noise."""
    from gentraffic.training.fitting import PLACE_DIM, TIME_DIM, build
    from samplers import Condition

    model = build(design, 1, (1,), spectrum=(1.0,) * 85)
    g = torch.Generator().manual_seed(0)
    condition = Condition(
        torch.randn(BATCH, PLACE_DIM, generator=g), torch.randn(BATCH, 168, TIME_DIM, generator=g),
        torch.randn(BATCH, 2, generator=g), torch.ones(BATCH, dtype=torch.long),
    )  # fmt: skip
    x, took = torch.randn(BATCH, 168, generator=g), []
    for _ in range(3):
        began = time.process_time()
        for turn in model.turns():
            turn.loss(x, condition, g).backward()  # type: ignore[no-untyped-call]
        took.append(time.process_time() - began)
    return max(min(took[1:]), 1e-4)


def scores(real: NDArray[Any], members: NDArray[Any], location: NDArray[Any]) -> Row:
    """MAE, RMSE, JSD of the first member, and of the mean of all; the MAE of the first in each cell, and its spread:
    the standard deviation over cells of the traffic over its mean, as a part of the real one.

    real: (cells, 168), live ones; members: (m, cells, 168); location: (cells,).
    """
    from gentraffic.evaluation.metrics.summary import jsd_softmax24, mae_minmax, mae_minmax_cells, rmse_minmax

    def three(drawn: NDArray[Any]) -> list[float]:
        found = (mae_minmax(real, drawn), rmse_minmax(real, drawn), jsd_softmax24(real, drawn) * 1e4)
        return [round(float(v), 4) for v in found]

    told = {"one": three(members[0]), "mean": three(members.mean(axis=0)), "cells": len(real)}
    by_cell = [round(float(v), 5) for v in mae_minmax_cells(real, members[0])]
    shapes = [v / np.maximum(v.mean(axis=1, keepdims=True), 1e-9) for v in (members[0], real)]
    apart = [shape.std(axis=0).mean() for shape in shapes]
    spread = round(float(apart[0] / apart[1]), 3)
    return told | {"spread": spread, "mae": by_cell, "location": location.tolist()}


def run_stouter(bench: Stouter, only: Sequence[str], quick: bool, folds: int) -> None:
    """Every part that is asked for, the first ones first. folds: of tables 5 and 6."""
    run = bench.rows.run

    def internet(part: str, name: str, change: dict[str, Any], fold: int = 0) -> None:
        design = replace(bench.design("stouter --paper"), **change)
        run(f"stouter|{part}|internet|{name}|{fold}", lambda: bench.scored(f"{part} {name}", design, fold=fold))

    def services(part: str, names: Sequence[str]) -> None:
        for service in [name for name in names if name in bench.services]:
            run(f"stouter|{part}|{service}|naive|0", lambda service=service: naive_row(bench, service))  # type: ignore[misc]
            for name in bench.generators:
                design = bench.design(name)
                run(
                    f"stouter|{part}|{service}|{name}|0",
                    lambda name=name, design=design, service=service: bench.scored(name, design, service),  # type: ignore[misc]
                )
            for name in bench.libraries:
                run(
                    f"stouter|{part}|{service}|{name}|0",
                    lambda service=service, name=name: library_row(bench, service, name),  # type: ignore[misc]
                )

    for part in [part for part in PARTS["stouter"] if part in only]:
        if part == "table-3":
            services(part, FIRST[:1] if quick else FIRST)
        elif part == "table-2":
            services("table-3", FIRST)
            services(part, SECOND)
        elif part in ("table-5", "table-6"):
            graphs = {f"{graph} {layer}": {f"{graph}_layer": layer} for graph, layer in GRAPHS}
            fusions = {fusion: {"fusion": fusion} for fusion in FUSIONS}
            for fold in range(folds):
                for name, change in (graphs if part == "table-5" else fusions).items():
                    internet(part, name, change, fold)
                if fold:  # what both tables are compared with; fold 0 is table 3's
                    internet("folds", OURS, {}, fold)
        elif part == "figure-7":
            for name, change in ABLATIONS.items():
                internet(part, name, change)
        elif part == "figure-8":
            for steps in QUICK_TIMES if quick else TIMES:
                internet(part, str(steps), {"train_timesteps": steps})
        elif part == "figure-9":
            for name in bench.generators:
                run(f"stouter|{part}|internet|{name}|0", lambda name=name: month_row(bench, name))  # type: ignore[misc]
        elif part == "figure-10":
            for name in ("real", *bench.generators):
                run(f"stouter|{part}|internet|{name}|0", lambda name=name: usefulness_row(bench, name, quick))  # type: ignore[misc]


def trained(bench: Stouter, name: str) -> Bundle:
    """The generator of table 3, of Internet; trained again where this process did not."""
    key = name, "internet", 0
    if key not in bench.bundles:
        bench.bundles[key], _ = bench.fit(bench.design(name), "internet", 0)
    return bench.bundles[key]


def naive_row(bench: Stouter, service: str) -> Row:
    """The mean week of the training cells, each over its mean, at the real cell's mean."""
    train, held = bench.source(service, 0)
    past, real = train.hourly(), held.hourly()
    week = (past / past.mean(axis=1, keepdims=True)).mean(axis=0)
    return scores(real, (real.mean(axis=1, keepdims=True) * week)[None], held.location)


def library_row(bench: Stouter, service: str, name: str) -> Row:
    """Weeks of a generator of another library, trained within the budget, at the real cells' means."""
    train, held = bench.source(service, 0)
    real = held.hourly()
    drawn, told = library_weeks(name, train.hourly(), bench.members * len(real), bench.minutes * 60, BATCH)
    members = drawn.reshape(-1, *real.shape) * real.mean(axis=1, keepdims=True)
    told["draw_cpu_s"] = round(told["draw_cpu_s"] * DRAWN_AT_ONCE, 3)
    return told | scores(real, members, held.location)


def month_row(bench: Stouter, name: str) -> Row:
    """November 2013 of 25 cells that a model of one week of others draws: MAE and RMSE of values over their spread."""
    from gentraffic.io.importers.public_sets import read_milan_5x5
    from gentraffic.modelling.measured import read_source

    measured = read_source(read_milan_5x5(bench.data / "traffic" / "milan_5x5_internet_10min.csv"), [bench.context])
    real = measured.hourly()[:, : MONTH_DAYS * 24]
    drawn = bench.drawn(trained(bench, name), measured, MONTH, MONTH_DAYS)[0]
    apart = (drawn - real) / real.std(axis=1, keepdims=True)
    values = [round(float(np.abs(apart).mean()), 4), round(float(np.sqrt((apart**2).mean())), 4)]
    return {"one": values, "cells": len(real), "days": MONTH_DAYS}


def usefulness_row(bench: Stouter, name: str, quick: bool) -> Row:
    """An LSTM trained on drawn traffic of the measured cells, or on the real one, tested on held-out real cells."""
    from gentraffic.forecasting.tstr import one_score, plan_for, prepare

    real = bench.traffic[["internet"]]
    kept = real.isel(cell=np.flatnonzero(real["internet"].values.max(axis=1) > 0))
    if name == "real":
        drawn = kept
    else:
        from gentraffic.modelling.measured import read_source

        source = read_source(kept, [bench.context], "internet")
        drawn = kept.copy(deep=True)
        drawn["internet"].values[:] = bench.drawn(trained(bench, name), source)[0]
    material = prepare(kept, drawn, services=["internet"], seed=0)
    plan = plan_for("lstm", 150 if quick else None)
    found = one_score("lstm", "trtr" if name == "real" else "tstr", material, plan)
    mean = float(material.test.network.values.mean())
    return {"one": [round(float(found[m][0, 0]) / mean, 4) for m in ("mae", "rmse")]}


def stouter_tables(done: dict[str, Any]) -> Iterator[str]:
    """Markdown of the rows that are there, beside the published figures."""
    region = done["settings"]["region"]
    paper = PUBLISHED["stouter"]
    groups: dict[str, dict[str, dict[str, list[Row]]]] = {}
    for key, row in done.items():
        if key.startswith("stouter|"):
            _, part, service, name, fold = key.split("|")
            groups.setdefault(part, {}).setdefault(service, {}).setdefault(name, []).append({**row, "fold": fold})
    by_service = {**groups.get("table-3", {}), **groups.get("table-2", {})}
    for own, words in (("stouter --paper", "the published design"), ("stouter", "the shipped design")):
        if any("mae" in row for rows in by_service.values() for row in rows.get(own, [])):
            others = _ahead(by_service, own) or "nothing"
            yield f"In the MAE of one series, by the 95% interval, ahead of {words}: {others}.\n"
    missing = [part for part in PARTS["stouter"] if part not in groups]
    if missing:
        yield f"Not run yet: {', '.join(missing)}. The same command without `--only` runs them.\n"
    if cut := _cut(by_service):
        yield f"Rows of tables 2 and 3 that have not run: {cut}.\n"
    if by_service:
        yield "Tables 2 and 3: MAE / RMSE / JSD x 1e4 of one drawn series; other cells than the paper's. Last column:"
        yield "the MAE less that of the naive week, 95% over locations; above 0, that week is ahead. Spread: how much"
        yield "the drawn cells differ, as a part of how much the real ones do (standard deviation over cells of the"
        without = any("spread" not in row for rows in by_service.values() for found in rows.values() for row in found)
        yield "traffic over its mean): a row whose cells are all alike has a low MAE, and is no traffic."
        yield "–: rows that ran before it was kept.\n" if without else ""
        yield "| service | generator | published | ours | mean of members | spread | less the naive week |"
        yield "|---|---|---|---|---|---|---|"
        for service, rows in by_service.items():
            for name, found in rows.items():
                figure = paper["table 2-3"][region].get(name.split(" --")[0], {}).get(service)
                own = name if name != "stouter" else "stouter, shipped design"
                shown = "–" if name in ("naive", "stouter") else _three(figure)
                own = "mean week, naive" if name == "naive" else own
                spread, less = f"{found[0].get('spread', np.nan):.2f}", _less(found, rows.get("naive", []))
                one, mean = _mean(found, "one"), _mean(found, "mean")
                yield f"| {service} | {own} | {shown} | {one} | {mean} | {spread.replace('nan', '–')} | {less} |"
    internet = by_service.get("internet", {})
    if internet:
        yield "\nTable 4: cost of Internet's models, one CPU core; published: GPU, training in 1e4 s and drawing of"
        yield "128 series in s (its column of weights is lost in the text at hand).\n"
        yield "| generator | published: training, drawing | weights | training, core s | drawing 128 weeks, core s |"
        yield "|---|---|---|---|---|"
        for name, found in internet.items():
            if name != "naive":
                figure = paper["table 4"].get(name.split(" --")[0]) if name != "stouter" else None
                shown = "–" if figure is None else f"{figure[0]:.4f}, {figure[1]:.4f}"
                row, own = found[0], "stouter, shipped design" if name == "stouter" else name
                yield f"| {own} | {shown} | {row['weights']:,} | {row['fit_cpu_s']} | {row['draw_cpu_s']} |"
    base = internet.get("stouter --paper", [])
    further = groups.get("folds", {}).get("internet", {}).get(OURS, [])
    for part, title in (("table-5", "Table 5: one graph at a time"), ("table-6", "Table 6: fusions")):
        rows = groups.get(part, {}).get("internet", {})
        if rows:
            rows = {OURS: [*base, *further], **rows}
            yield f"\n{title} of `stouter --paper`, Internet, {max(map(len, rows.values()))} of {FOLDS} folds. Last"
            yield "column: the MAE less that of ours, 95% over locations; one seed.\n"
            yield "| variant | published | ours | folds | less ours |\n|---|---|---|---|---|"
            for name, found in rows.items():
                if found:
                    figure, less = _three(paper[part.replace("-", " ")][name]), _less(found, rows[OURS])
                    yield f"| {name} | {figure} | {_mean(found, 'one')} | {len(found)} | {less} |"
    for part, title in (
        ("figure-7", "Figure 7: without graphs (the paper prints bars, no figures)"),
        ("figure-8", "Figure 8: diffusion steps T (a curve in the paper, level from 600 on)"),
    ):
        rows = groups.get(part, {}).get("internet", {})
        if rows:
            last = {"1000": base} if part == "figure-8" else {"both graphs": base}
            yield f"\n{title}, Internet. Last column: the MAE less that of the last row, 95% over locations;"
            yield "one seed.\n"
            yield "| | ours | less the last row |\n|---|---|---|"
            for name, found in {**rows, **last}.items():
                if found:
                    yield f"| {name} | {_mean(found, 'one')} | {_less(found, base)} |"
    for part, title, figures in (
        ("figure-9", "Figure 9: a month, MAE / RMSE over a cell's spread; ours: 25 other cells, November 2013, from a "
                     "model of one week", paper["figure 9"]),
        ("figure-10", "Figure 10: an LSTM trained on drawn traffic, MAE / RMSE of one hour ahead over the mean "
                      "(published: within 0.1 of real, scaled otherwise)", dict[str, list[float]]()),
    ):  # fmt: skip
        rows = groups.get(part, {}).get("internet", {})
        if rows:
            yield f"\n{title}.\n\n| trained on | published | ours |\n|---|---|---|"
            for name, found in rows.items():
                figure = figures.get(name.split(" --")[0]) if name != "stouter" else None
                own = "stouter, shipped design" if name == "stouter" else name
                yield f"| {own} | {_three(figure)} | {_mean(found, 'one')} |"


def _cut(by_service: dict[str, dict[str, list[Row]]]) -> str:
    """Which services, and which generators of a service, tables 2 and 3 lack; of tables with more than Internet."""
    absent: dict[str, list[str]] = {}
    for service in (*FIRST, *SECOND):
        lacks = [name for name in GENERATORS if name not in by_service.get(service, {})]
        if lacks:
            absent.setdefault("all" if len(lacks) == len(GENERATORS) else ", ".join(lacks), []).append(service)
    if len(by_service) < 2:
        return ""
    return "; ".join(f"{what} of {', '.join(services)}" for what, services in absent.items())


def _less(found: Sequence[Row], base: Sequence[Row]) -> str:
    """The MAE of some rows less that of others, as a text."""
    apart = _between(found, base)
    return "–" if apart is None else "{:+.4f} ({:+.4f} to {:+.4f})".format(*apart)


def _between(found: Sequence[Row], base: Sequence[Row]) -> tuple[float, float, float] | None:
    """The MAE of some rows less that of others, over the cells of the folds that both have, and its 95% interval."""
    from gentraffic.evaluation.intervals import bootstrap_interval

    others = {row["fold"]: row for row in base if "mae" in row}
    pairs = [(row, others[row["fold"]]) for row in found if "mae" in row and row["fold"] in others]
    if not pairs or all(row["mae"] == other["mae"] for row, other in pairs):
        return None
    apart = np.concatenate([np.array(row["mae"]) - np.array(other["mae"]) for row, other in pairs])
    low, high = bootstrap_interval(apart, np.concatenate([row["location"] for row, _ in pairs]))
    return float(apart.mean()), low, high


def _ahead(by_service: dict[str, dict[str, list[Row]]], mine: str) -> str:
    """Which rows have a lower MAE than one of ours by their 95% interval over locations, and in which services."""
    better: dict[str, list[str]] = {}
    for service, rows in by_service.items():
        for name, found in rows.items():
            apart = _between(rows.get(mine, []), found)
            if apart is not None and apart[1] > 0:
                better.setdefault(name, []).append(service)
    named = {"naive": "the naive week", "stouter": "the shipped design", "stouter --paper": "the published design"}
    return "; ".join(f"{named.get(name, name)} ({', '.join(services)})" for name, services in better.items())


def run_fomo(rows: Rows, data: Path, model: str, quick: bool) -> None:
    """RMSE, MAE and JSD of one FoMo on the places that it was trained on, as upstream's split has it."""
    from gentraffic.evaluation import fomo_tasks as p3
    from gentraffic.evaluation.metrics.summary import jsd_hist
    from gentraffic.evaluation.public_cities import read_regions
    from gentraffic.generators.fomo.data import placed
    from gentraffic.generators.fomo.folder import load_fomo

    bundle = load_fomo(model)
    pairs = {r.network: (s, r) for s, r in read_regions(data) if s.places is not None}
    for network in ["uomo-nj"] if quick else sorted(pairs):
        source, region = pairs[network]
        pair = source, placed(region, source, bundle.levels, bundle.weeks)
        part = p3.held_out(pair, pair)
        for task, observed in p3.TASKS.items():
            for users in (False, True):

                def row(task: str = task, observed: int = observed, users: bool = users) -> Row:
                    members = p3.model_members(bundle, part, task, users=users, members=1, seed=0)  # noqa: B023
                    real, _ = p3.real_of(part, observed)  # noqa: B023
                    apart = (members[0] - real) / part.scale  # noqa: B023
                    found = float(np.sqrt((apart**2).mean())), float(np.abs(apart).mean()), jsd_hist(real, members[-1])
                    return {"rmse_mae_jsd": [round(v, 4) for v in found], "series": len(real)}

                rows.run(f"fomo|seen|{network}|{task}{', users' if users else ''}|0", row)


def fomo_tables(done: dict[str, Any]) -> Iterator[str]:
    """Markdown beside tables 2 to 4."""
    yield "Behind trained rivals, LightGBM first, in short and long forecasts without users on cells that none of them"
    yield "saw: [Trained rivals](rivals.md).\n"
    yield "RMSE / MAE of short and long, JSD / MAE of generation, over the 99.99th percentile. Ours is the expectation"
    yield "of `fomo-base` on the public part of the cities, places that it was trained on, as upstream splits them. The"
    yield "same task on other cells: the paper has thousands of stations a city, and the code of its metrics is"
    yield "unpublished (JSD here: `jsd_hist` of one draw).\n"
    yield "| network | task | published | ours | ours, with users |\n|---|---|---|---|---|"
    found: dict[tuple[str, str], dict[str, str]] = {}
    for key, row in done.items():
        if key.startswith("fomo|"):
            _, _, network, name, _ = key.split("|")
            task = name.split(",")[0]
            rmse, mae, jsd = row["rmse_mae_jsd"]
            two = _three((jsd, mae) if task == "generation" else (rmse, mae))
            found.setdefault((network, task), {})["users" if "," in name else "plain"] = two
    for (network, task), ours in found.items():
        figure = PUBLISHED["fomo"][task].get(network)
        yield f"| {network} | {task} | {_three(figure)} | {ours.get('plain', '–')} | {ours.get('users', '–')} |"


def run_stn(rows: Rows, data: Path, only: Sequence[str], quick: bool) -> None:
    """Each forecaster of the paper as it trains them, on 25 cells of Milan; what a forecast costs."""
    from forecasters import FORECASTERS, SIDE
    from gentraffic.forecasting.cost import count_macs
    from gentraffic.forecasting.data import networks_of, split
    from gentraffic.forecasting.fit import fit_forecaster, forecasts, origins, real_of, score
    from gentraffic.forecasting.score import naive
    from gentraffic.forecasting.task import PUBLISHED as AS_PUBLISHED
    from gentraffic.io.importers.public_sets import read_milan_5x5

    [network] = networks_of(read_milan_5x5(data / "traffic" / "milan_5x5_internet_10min.csv"))
    train, validation, test = split(network)
    starts = origins(test, AHEAD)[:: 12 if quick else 1]
    unseen = split(milan_east(data))[2]
    plan = replace(AS_PUBLISHED, epochs=1 if quick else 40)

    def scored(fitted: Fitted, part: Part = test) -> Row:
        some = starts if part is test else origins(part, AHEAD)[:: 12 if quick else 1]
        found = score(forecasts(fitted, part, AHEAD, some), part, some)
        return {m: [round(float(v), 4) for v in found[m][0]] for m in ("mae", "rmse", "r2", "ssim")}

    done: dict[str, tuple[Fitted, float]] = {}  # what was trained in this process, and core-seconds

    def fitted_of(name: str) -> tuple[Fitted, float]:
        if name not in done:
            began = time.process_time()
            done[name] = fit_forecaster(name, [train], [validation], plan), round(time.process_time() - began, 1)
        return done[name]

    def trained(name: str) -> Row:
        fitted, seconds = fitted_of(name)
        return scored(fitted) | {"epochs": plan.epochs, "fit_cpu_s": seconds, "steps": fitted.metadata["steps"]}

    def figures(name: str) -> Row:
        predicted = forecasts(fitted_of(name)[0], test, 1, starts)[:, :, 0, 0]
        return figures_of(test, real_of(test, starts, 1)[:, :, 0, 0], predicted) | {"epochs": plan.epochs}

    def cost(name: str) -> Row:
        recipe = FORECASTERS[name]
        model = recipe.network(per_day=144, **recipe.design).eval()
        shape = (len(model.lags), SIDE, SIDE, 1)
        took = {}
        with torch.inference_mode():
            for cells in (1, 1000):
                past = torch.randn(cells, *shape)
                model(past)
                began = time.process_time()
                model(past)
                took[cells] = (time.process_time() - began) * 1e3
        size = sum(p.numel() for p in model.parameters()) * 4 / 2**20
        macs = count_macs(model, torch.randn(1, *shape)) / 1e6
        values = size, macs, took[1], took[1000] * 10  # the grid has 10,000 cells
        return {"mb_mmacs_cell_grid": [round(v, 3) for v in values]}

    if "table-3" in only:
        rows.run("slstm-stn|table-3|milan|last value|0", lambda: scored(naive("last", test)))
        for name in STN_FAMILY[:3] if quick else STN_FAMILY:
            rows.run(f"slstm-stn|table-3|milan|{name}|0", lambda name=name: trained(name))  # type: ignore[misc]
    if "table-5" in only:
        rows.run("slstm-stn|table-5|milan-east|last value|0", lambda: scored(naive("last", unseen), unseen))
        for name in STN_FAMILY[:3] if quick else STN_FAMILY:
            rows.run(
                f"slstm-stn|table-5|milan-east|{name}|0",
                lambda name=name: scored(fitted_of(name)[0], unseen) | {"epochs": plan.epochs},  # type: ignore[misc]
            )
    if "table-7" in only:
        for name in STN_FAMILY:
            rows.run(f"slstm-stn|table-7|milan|{name}|0", lambda name=name: cost(name))  # type: ignore[misc]
    if "figures" in only:
        rows.run("slstm-stn|figures|milan|stn-slstm-tf|0", lambda: figures("stn-slstm-tf"))


def milan_east(data: Path) -> Network:
    """The block of 100 cells in the east of Milan, Internet by ten minutes, a week: none of them is trained on."""
    from gentraffic.forecasting.data import networks_of
    from gentraffic.io.importers.public_sets import BLOCK, read_milan_week

    folder = data / "telecom-italia"
    by_hour = read_milan_week(folder, (BLOCK,))
    with np.load(folder / BLOCK, allow_pickle=False) as archive:
        row_of = {int(cell): row for row, cell in enumerate(archive["cell_id"])}
        values = archive["internet"].astype(np.float32)[[row_of[int(cell)] for cell in by_hour["cell_id"].values]]
    [network] = networks_of(by_hour)
    return replace(network, values=values[:, :, None], per_day=144)


LAGS = (1, 6, 12, 24, 40)  # of figure 3, in steps of 10 minutes


def figures_of(part: Part, real: NDArray[Any], predicted: NDArray[Any]) -> Row:
    """Figures 2 to 9 in numbers. real, predicted: (starts, cells) one step ahead; of a network on a grid."""
    network = part.network
    assert network.frame is not None
    known = network.values[:, : part.first, 0].astype(np.float64)
    middle = [n // 2 for n in network.frame.shape]
    centre, place = network.frame[tuple(middle)], np.argwhere(network.frame >= 0)
    ring = np.abs(place - middle).max(axis=1)
    r = np.corrcoef(known)[centre][network.frame[tuple(place.T)]]
    x = known[centre] - known[centre].mean()
    off = (real - predicted).astype(np.float64)
    mean = real.mean(axis=0)
    rmse, mae = np.sqrt((off**2).mean(axis=0)), np.abs(off).mean(axis=0)
    r2 = 1 - (off**2).sum(axis=0) / ((real - mean) ** 2).sum(axis=0)
    z = (off - off.mean()) / off.std()
    quarter = np.subtract(*np.percentile(off, [75, 25], axis=0)) / mean

    def told(values: Any) -> list[float]:
        return [float(f"{v:.4g}") for v in np.atleast_1d(values)]

    return {
        "2": told([r[ring == d].mean() for d in range(1, int(ring.max()) + 1)]),
        "3": told([(x[lag:] @ x[:-lag]) / (x @ x) for lag in LAGS]),
        "4": told([r2.min(), np.median(r2), r2.max()]),
        "5": told([np.corrcoef(real[0], predicted[0])[0, 1], predicted[0].sum() / real[0].sum()]),
        "6": told([(z**3).mean(), np.quantile(np.abs(off), 0.8), off.min(), off.max()]),
        "7": told(np.corrcoef(real.ravel(), predicted.ravel())[0, 1]),
        "8": told([rmse.max(), mean[rmse.argmax()], rmse.min(), mean[rmse.argmin()]]),
        "9": told([quarter[mae.argmin()], quarter[mae.argmax()]]),
    }


FIGURES = {  # of sLSTM-STN: what they show, and what the paper's text says of it
    "2": ("correlation with the centre, of the cells around it and of those beyond", "a map"),
    "3": (f"autocorrelation of the centre at lags {', '.join(map(str, LAGS))}", "a curve"),
    "4": ("R2 of cells: lowest, median, highest", "centre above 0.90, outskirts 0.75 to 0.85"),
    "5": ("one moment: correlation over cells of real and predicted; predicted total over real", "maps"),
    "6": ("deviations: skew, which 80% stay below, lowest, highest", "0.3, 1.2, -1686, 1440"),
    "7": ("correlation of real and predicted", "0.98"),
    "8": ("RMSE and mean of the worst cell, and of the best", "curves"),
    "9": ("interquartile range of deviations over the cell's mean: best and worst cell by MAE", "0.01 and 0.1"),
}


def run_study(rows: Rows, data: Path, trials: int, epochs: int) -> None:
    """Table II: stn-slstm-tf in several sizes, which Optuna picks by the loss of the validation part."""
    try:
        import optuna
    except ImportError:
        raise SystemExit("--study needs optuna: pip install 'gentraffic[compare]'") from None
    from gentraffic.forecasting.data import networks_of, split
    from gentraffic.forecasting.fit import fit_forecaster
    from gentraffic.forecasting.task import PUBLISHED as AS_PUBLISHED
    from gentraffic.io.importers.public_sets import read_milan_5x5

    [network] = networks_of(read_milan_5x5(data / "traffic" / "milan_5x5_internet_10min.csv"))
    train, validation, _ = split(network)
    plan = replace(AS_PUBLISHED, epochs=epochs)

    def trained(sizes: dict[str, int]) -> Row:
        began = time.process_time()
        fitted = fit_forecaster("stn-slstm-tf", [train], [validation], plan, design=sizes)
        losses = [round(float(loss), 6) for _, loss in fitted.metadata["validation"]]
        seconds = round(time.process_time() - began, 1)
        weights = fitted.metadata["parameters"]
        return {"sizes": sizes, "best": min(losses), "last": losses[-1], "weights": weights, "fit_cpu_s": seconds}

    def objective(trial: optuna.Trial) -> float:
        sizes = {name: int(trial.suggest_categorical(name, choices)) for name, choices in STUDY.items()}
        key = f"slstm-stn|study|milan|{' '.join(str(v) for v in sizes.values())}|0"
        return float(rows.run(key, lambda: trained(sizes))["best"])

    # a study that goes on asks for the same sizes as before, whose rows are there
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0, n_startup_trials=5))
    study.optimize(objective, n_trials=trials)


def study_table(done: dict[str, Any]) -> Iterator[str]:
    """Markdown beside table II, the best first."""
    rows = sorted((row for key, row in done.items() if "|study|" in key), key=lambda row: float(row["best"]))
    told = done["settings"]
    yield f"Table II: sizes of `stn-slstm-tf` by the loss of the validation part, {told['epochs']} of the paper's 5"
    yield f"epochs, {told['study']} of its 24 trials of Optuna (TPE), {len(rows)} different ones. One seed: small"
    yield "differences say nothing. Below, the paper's top five on its 10,000 cells; it takes the first.\n"
    yield "| hidden, blocks, sLSTM heads, layers, fusion heads | best loss | last loss | weights | core s |"
    yield "|---|---|---|---|---|"
    for row in rows:
        sizes = ", ".join(str(row["sizes"][name]) for name in STUDY)
        yield f"| {sizes} | {row['best']:.4f} | {row['last']:.4f} | {row['weights']:,} | {row['fit_cpu_s']:.0f} |"
    yield "\n| published: hidden, blocks, sLSTM heads, layers, fusion heads | best loss | weights |\n|---|---|---|"
    for sizes, (best, thousands) in PUBLISHED["slstm-stn"]["table 2"].items():
        yield f"| {sizes} | {best:.4f} | {thousands * 1000:,.0f} |"


def stn_tables(done: dict[str, Any]) -> Iterator[str]:
    """Markdown beside tables 2 to 7."""
    if "study" in done["settings"]:
        yield from study_table(done)
    paper = PUBLISHED["slstm-stn"]
    milan, east = (
        {k.split("|")[3]: v for k, v in done.items() if f"|{table}|" in k} for table in ("table-3", "table-5")
    )
    if milan:
        epochs = max(row.get("epochs", 0) for row in milan.values())
        yield f"Table III, one step (10 minutes): MAE / RMSE / R2 / SSIM, {epochs} of the paper's 40 epochs. Other"
        yield "cells: 25 of Milan's centre, November 2013, in the source's units; the paper has 10,000, most of them"
        yield "far less busy.\n"
        if "last value" in milan:
            behind = [[n for n, row in milan.items() if row["mae"][h] > milan["last value"]["mae"][h]] for h in (0, 5)]
            yield f"Behind the last value by MAE: at one step {_these(behind[0])}, at six steps {_these(behind[1])}."
            yield "LightGBM and `stn-slstm-day` on the same cells: [Forecasters](forecasters.md).\n"
        yield from _one_step(milan, paper["table 3"])
        yield "\nTable IV, steps 1 and 6 by feeding back: MAE / RMSE / SSIM.\n"
        yield from _six_steps(milan, paper["table 4"])
    if east:
        yield "\nTable V, an unseen region, one step: MAE / RMSE / R2 / SSIM. Other cells: the paper forecasts"
        yield "Trentino, whose traffic is not at hand (`import telecom-italia` reads it); ours are 100 cells in the"
        yield "east of Milan, 4 to 10 November 2013, forecast by the forecasters of the 25 cells of the centre.\n"
        yield from _one_step(east, paper["table 5"])
        yield "\nTable VI, the same, steps 1 and 6 by feeding back: MAE / RMSE / SSIM.\n"
        yield from _six_steps(east, paper["table 6"])
    for key, row in done.items():
        if "|figures|" in key:
            yield f"\nFigures 2 to 9 of `{key.split('|')[3]}` in numbers, {row['epochs']} of 40 epochs, one step ahead,"
            yield "units of the source; `forecast score --html` draws 4, 6 and 8.\n"
            yield "| figure | what | published | ours |\n|---|---|---|---|"
            for number, (what, said) in FIGURES.items():
                yield f"| {number} | {what} | {said} | {', '.join(f'{v:.4g}' for v in row[number])} |"
    costs = {k.split("|")[3]: v for k, v in done.items() if "|table-7|" in k}
    if costs:
        yield "\nTable VII: MB of weights, million multiply-accumulates, ms a cell, ms a grid of 10,000 cells; the"
        yield "paper on a GPU, ours on one CPU core.\n"
        yield "| | published | ours |\n|---|---|---|"
        for name, row in costs.items():
            texts = [
                " / ".join(f"{v:.2f}" for v in values) if values else "–"
                for values in (paper["table 7"].get(name), row["mb_mmacs_cell_grid"])
            ]
            yield f"| {name} | {texts[0]} | {texts[1]} |"
        yield "\nThe paper's STN has a quarter of the operations of its sLSTM variants, ours more than they: our"
        yield "ConvLSTM works on the whole 11 x 11 patch at each step, an sLSTM on one vector. The paper says that its"
        yield "STN has the best settings of Zhang and Patras (MobiHoc 2018). Their code reads 12 steps, has three"
        yield "stages of 3, 6 and 12 maps, each a Conv3D beside a ConvLSTM, and dense layers of 4,096 and 1,024 units:"
        yield "147 million weights, 561 MB, where the paper prints 2.20 MB. So which STN the paper ran is not known;"
        yield "ours is as its text describes it, with a quarter of its weights."


METRICS = ("mae", "rmse", "r2", "ssim")


def _these(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"


def _one_step(rows: Mapping[str, Row], published: Mapping[str, Any]) -> Iterator[str]:
    yield "| | published | ours |\n|---|---|---|"
    for name, row in rows.items():
        yield f"| {name} | {_three(published.get(name))} | {_three([row[m][0] for m in METRICS])} |"


def _six_steps(rows: Mapping[str, Row], published: Mapping[str, Any]) -> Iterator[str]:
    yield "| | published, 1 | ours, 1 | published, 6 | ours, 6 |\n|---|---|---|---|---|"
    for name, row in rows.items():
        steps = [[row[m][h] for m in ("mae", "rmse", "ssim")] for h in (0, AHEAD - 1)]
        figures = published.get(name)
        shown = [None, None] if figures is None else [figures[0], figures[-1]]
        pairs = [_three(values) for both in zip(shown, steps, strict=True) for values in both]
        yield f"| {name} | {' | '.join(pairs)} |"


EAST = "a stouter that learned from 100 other cells, in the east of Milan"


def model_of_the_east(data: Path, out: Path, quick: bool) -> str:
    """The folder of a stouter of five services that learned from the 100 cells in the east of Milan alone."""
    import gentraffic
    from gentraffic.io.files import write_traffic
    from gentraffic.io.importers.public_sets import BLOCK, read_milan_week
    from gentraffic.places.find import CONTEXTS

    if not out.exists():
        traffic = out.with_suffix(".nc")
        write_traffic(read_milan_week(data / "telecom-italia", (BLOCK,), ("internet", *DIRECTIONS)), traffic)
        steps = 60 if quick else 1600
        gentraffic.fit("stouter", traffic, CONTEXTS / "milan.nc", out=out, steps=steps, holdout=0)
    return str(out)


def run_sim(rows: Rows, data: Path, model: str, quick: bool) -> None:
    """Sim-MSTNet on few real cells and on synthetic traffic of a model, with and without its parts."""
    import xarray as xr

    from gentraffic.forecasting.fit import forecasts, origins, real_of, score
    from gentraffic.forecasting.randomise import randomise_pois
    from gentraffic.forecasting.tstr import VARIANTS, plan_for, prepare
    from gentraffic.forecasting.weighted import SIM_MSTNET, Weigh, fit_weighted
    from gentraffic.forecasting.whole_network import Whole
    from gentraffic.generate.run import Request, run
    from gentraffic.generators.base import load_model
    from gentraffic.io.files import read_context
    from gentraffic.io.importers.public_sets import SCATTERED, read_milan_week
    from gentraffic.places.find import CONTEXTS

    wanted = [key for key in (f"sim-mstnet|ablations|milan|{name}|0" for name in SIM) if key not in rows.done]
    if not wanted:
        return
    services = ("internet", *DIRECTIONS)
    real = read_milan_week(data / "telecom-italia", (SCATTERED,), services)
    ids = tuple(str(i) for i in real["cell_id"].values)
    request = Request(start="2013-11-04", days=7, members=1, select=ids, service=",".join(services), seed=1)
    generator, place = load_model(model), read_context(CONTEXTS / "milan.nc")
    drawn = run(request, generator, place).traffic
    mixes = [
        run(request, generator, randomise_pois(place, v, seed=1)).traffic for v in range(1, 3 if quick else VARIANTS)
    ]
    varied = xr.concat([drawn, *mixes], "member", coords="minimal", compat="override", combine_attrs="override")
    material, of_mixes = (
        prepare(real, ds, services=services, few=FEW_REAL, variants=VARIANTS) for ds in (drawn, varied)
    )
    (known, later), (made, made_later) = material.real, material.synthetic
    plan = plan_for(SIM_MSTNET, 60 if quick else None)
    on = {"trtr": (known, later, []), "tstr": (made, made_later, []), "even": (known, later, material.variants),
          "aug": (known, later, material.variants), "pois": (known, later, of_mixes.variants),
          "whole": (known, later, material.variants)}  # fmt: skip
    test = material.test
    mean, real_steps = test.network.values.mean(axis=(0, 1)), real_of(test, origins(test, 1), 1)
    for name, (kind, design) in SIM.items():

        def row(kind: str = kind, design: dict[str, Any] = design) -> Row:
            weigh = Weigh(choose=kind in ("aug", "pois", "whole"), whole=Whole() if kind == "whole" else None)
            began = time.process_time()
            fitted = fit_weighted(*on[kind], plan, weigh, design=design)
            seconds = round(time.process_time() - began, 1)
            predicted = forecasts(fitted, test, 1)
            found = score(predicted, test)
            cells = (np.abs(predicted - real_steps) / mean).mean(axis=(0, 2, 3))
            told = {
                "cells": [round(float(v), 5) for v in cells],
                "fit_cpu_s": seconds,
                "batches": np.round(fitted.metadata["batches"][-1], 4).tolist(),
            }
            return {m: (found[m][:, 0] / mean).round(4).tolist() for m in ("mae", "rmse")} | told

        rows.run(f"sim-mstnet|ablations|milan|{name}|0", row)


def sim_tables(done: dict[str, Any]) -> Iterator[str]:
    """Markdown; the paper's figures are not at hand."""
    yield "The text at hand is the abstract, which has no figures. Ours: 248 cells of Milan, a week by hour,"
    yield f"{FEW_REAL:.0f}% of the training cells real, tested on others; MAE one hour ahead over each service's mean."
    yield f"The synthetic traffic is drawn by {done['settings']['drawn_by']}. Bi-level: weights are chosen for groups"
    yield "of windows (the real ones, and variants of the synthetic ones), by the linear head alone or, in a row of its"
    yield "own, over the whole network by implicit gradients. Last column: the mean less that of"
    yield f"`{UNWEIGHTED}`, 95% over the test cells; one seed.\n"
    rows = {key.split("|")[3]: row for key, row in done.items() if key.startswith("sim-mstnet|")}
    head = (*("internet", *DIRECTIONS), "mean", f"less `{UNWEIGHTED}`")
    yield f"| trained on | {' | '.join(head)} |\n|{'---|' * (len(head) + 1)}"
    for name, row in ((name, rows[name]) for name in SIM if name in rows):
        values = [*row["mae"], float(np.mean(row["mae"]))]
        yield f"| {name} | {' | '.join(f'{v:.4f}' for v in values)} | {_apart(row, rows.get(UNWEIGHTED))} |"
    if WHOLE in rows and HEAD_ALONE in rows:
        yield f"\nOver the whole network less by the head alone: {_apart(rows[WHOLE], rows[HEAD_ALONE])}."
    for alone in ("synthetic alone", "few real cells alone"):
        if WHOLE in rows and alone in rows:
            yield f"Over the whole network less {alone}: {_apart(rows[WHOLE], rows[alone])}."


def _apart(row: Row, other: Row | None) -> str:
    """The mean error of a row's cells less that of another, and its 95% interval over cells."""
    from gentraffic.evaluation.intervals import bootstrap_interval

    if other is None or row is other or "cells" not in row:
        return "–"
    apart = np.array(row["cells"]) - np.array(other["cells"])
    low, high = bootstrap_interval(apart)
    return f"{apart.mean():+.4f} ({low:+.4f} to {high:+.4f})"


TABLES: dict[str, Callable[[dict[str, Any]], Iterator[str]]] = {
    "stouter": stouter_tables, "fomo": fomo_tables, "slstm-stn": stn_tables, "sim-mstnet": sim_tables,
}  # fmt: skip
TITLES = {"stouter": "STOUTER", "fomo": "FoMo", "slstm-stn": "sLSTM-STN", "sim-mstnet": "Sim-MSTNet"}
HEAD = """# The papers' tables

What the four papers print, and what the same commands give here. *Other cells* means that the figures are of other
places, weeks or units, so that only the order of rows can be compared; nothing here was run on the papers' own data.

"""


def page(files: Sequence[Path]) -> str:
    """The page that docs/results/papers.md is: the tables of several JSON files, each with the command that made it."""
    out = [HEAD.rstrip("\n")]
    read = [(path, json.loads(path.read_text(encoding="utf-8"))) for path in files]
    order = list(TITLES)
    for path, done in sorted(read, key=lambda pair: order.index(pair[1]["settings"]["paper"])):
        told = done["settings"]
        words = [told["paper"], *(["--quick"] if told["quick"] else [])]
        if told.get("minutes") is not None:
            words += ["--minutes", f"{told['minutes']:g}"]
        if "study" in told:
            words += ["--study", str(told["study"]), "--epochs", str(told["epochs"])]
        budget = f", {60 * told['minutes']:.0f} core-seconds a fit" if told.get("minutes") else ""
        budget = ", a study of sizes" if "study" in told else budget
        out.append(f"\n## {TITLES[told['paper']]}{budget}\n")
        if told["quick"]:
            what = ""
            if told["paper"] == "stouter":
                widths = ", ".join(map(str, told["channels"]))
                what = f", {60 * told['minutes']:.0f} core-seconds a fit, `stouter --paper` with {widths} channels"
            out.append(
                f'!!! warning "Quick"\n    Of `--quick`{what}: these rows show that it runs, not how good it is.\n'
            )
        out += ["\n".join(TABLES[told["paper"]](done)).strip("\n"), ""]
        command = f"    python benchmarks/paper.py {' '.join(words)} --data ../shared/data -o {path.name}"
        out.append(command)
        libraries = [name for name in LIBRARIES if any(f"|{name}|" in key for key in done)]
        if libraries:
            named = " ".join(f'"{name}"' for name in libraries)
            out.append(f"{command} --only table-3 --services internet --rows {named}")
        folds = 1 + max((int(key[-1]) for key in done if key.startswith("stouter|table-5|")), default=0)
        if told["quick"] and folds > 1:
            out.append(f"{command} --only table-6 table-5 --folds {folds}")
    names = " ".join(path.as_posix() for path in files)
    out.append(f"\nThis page: `python benchmarks/paper.py report {names} -o docs/results/papers.md`.\n")
    return "\n".join(out)


def _three(figure: Sequence[float] | None) -> str:
    return "–" if figure is None else " / ".join(f"{v:.4f}" for v in figure)


def _mean(rows: Sequence[Row], what: str) -> str:
    return _three(np.mean([row[what] for row in rows], axis=0).tolist())


def load_stouter(args: argparse.Namespace) -> Stouter:
    """The traffic, the place and the sizes of a run."""
    from gentraffic.io.files import read_context, read_traffic
    from gentraffic.io.importers.public_sets import SCATTERED, read_milan_week
    from gentraffic.places.find import CONTEXTS

    if (args.traffic is None) != (args.context is None):
        raise SystemExit("--traffic goes with --context: give both")
    if args.traffic is None:
        traffic = read_milan_week(args.data / "telecom-italia", (SCATTERED,), ("internet", *DIRECTIONS))
        context = read_context(CONTEXTS / "milan.nc")
    else:
        traffic, context = read_traffic(args.traffic), read_context(args.context)
    minutes = args.minutes or (0.25 if args.quick else 10.0)
    channels = tuple(args.channels or ((16, 32) if args.quick else (64, 128, 256)))
    told = {"paper": "stouter", "quick": args.quick, "minutes": minutes, "channels": list(channels)}
    rows = Rows(args.out, {**told, "region": args.region})
    members, graph_steps = (2, 60) if args.quick else (20, 400)
    names = [name for name in args.rows if name not in LIBRARIES]
    libraries = [name for name in args.rows if name in LIBRARIES]
    return Stouter(
        rows, traffic, context, args.region, minutes, channels, graph_steps, members, {}, {}, args.data, names,
        libraries, args.services,
    )  # fmt: skip


def main() -> None:
    """Run what is missing of a paper and print its tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paper", choices=(*PARTS, "report"))
    parser.add_argument("files", type=Path, nargs="*", help="report: JSON files of finished rows")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("-o", "--out", type=Path, required=True, help="JSON of finished rows; report: a .md file")
    parser.add_argument("--only", nargs="*", help="such as table-3 figure-8")
    parser.add_argument("--rows", nargs="*", default=GENERATORS, choices=(*GENERATORS, *LIBRARIES), help="of stouter")
    parser.add_argument("--services", nargs="*", default=(*FIRST, *SECOND), choices=(*FIRST, *SECOND),
                        help="stouter: of tables 2 and 3")  # fmt: skip
    parser.add_argument("--minutes", type=float, help="stouter: of one core, of every fit. [10; --quick 0.25]")
    parser.add_argument("--channels", type=int, nargs="*", help="of stouter --paper. [64 128 256; --quick 16 32]")
    parser.add_argument("--traffic", type=Path, help="of `gentraffic import telecom-italia`, five services")
    parser.add_argument("--context", type=Path, help="of its place")
    parser.add_argument("--region", choices=("milan", "trentino"), default="milan", help="whose figures stand beside")
    parser.add_argument("--model", help="fomo: the FoMo, fomo-base; sim-mstnet: what draws, a stouter of 100 cells")
    parser.add_argument("--study", type=int, metavar="TRIALS", help="slstm-stn: table II alone, by Optuna. [paper: 24]")
    parser.add_argument("--epochs", type=int, default=5, help="of every trial of the study")
    parser.add_argument("--quick", action="store_true", help="small, seconds a fit, fewer rows")
    parser.add_argument("--folds", type=int, choices=range(1, FOLDS + 1), help="of tables 5 and 6. [5; --quick 1]")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.study is not None and args.paper != "slstm-stn":
        raise SystemExit(f"--study is of slstm-stn, not of {args.paper}: leave it out")
    if args.paper == "report":
        args.out.write_text(page(args.files), encoding="utf-8")
        return
    only = args.only or PARTS[args.paper]
    for part in only:
        if part not in PARTS[args.paper]:
            raise SystemExit(f"--only {part}: give some of {', '.join(PARTS[args.paper])}")
    if args.paper == "stouter":
        bench = load_stouter(args)
        rows = bench.rows
        run_stouter(bench, only, args.quick, args.folds or (1 if args.quick else FOLDS))
    else:
        further: dict[str, Any] = {} if args.study is None else {"study": args.study, "epochs": args.epochs}
        if args.paper == "sim-mstnet":
            further = {"drawn_by": f"`{args.model}`" if args.model else EAST}
        rows = Rows(args.out, {"paper": args.paper, "quick": args.quick, **further})
        if args.paper == "fomo":
            run_fomo(rows, args.data, args.model or "fomo-base", args.quick)
        elif args.paper == "slstm-stn" and args.study is not None:
            run_study(rows, args.data, args.study, args.epochs)
        elif args.paper == "slstm-stn":
            run_stn(rows, args.data, only, args.quick)
        else:
            model = args.model or model_of_the_east(args.data, args.out.with_suffix(".model"), args.quick)
            run_sim(rows, args.data, model, args.quick)
    print("\n".join(TABLES[args.paper](rows.done)))


if __name__ == "__main__":
    main()
