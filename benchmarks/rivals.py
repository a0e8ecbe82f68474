"""Rivals that are trained, beside FoMo: forecasts and gaps on locations that nobody saw, in equal core-minutes.

    pip install 'gentraffic[compare]'
    python benchmarks/rivals.py --data ../shared/data -o rivals.json            # about two hours of one core
    python benchmarks/rivals.py --data ../shared/data -o quick.json --quick     # does it run? three minutes
    python benchmarks/rivals.py -o rivals.json --report docs/results/rivals.md  # the tables as a page; runs nothing

The windows are those of P3 (metrics.md) and of benchmarks/foundation.py: folds by location, 64 steps that do not
overlap. A cell of the table is written to the JSON as it is done and never run again; `--rows`, `--folds` limit them.

short, long  48 -> 16 and 16 -> 48 steps: FoMo without users; LightGBM, PatchTST, NHITS, trained for each city and task;
             AutoETS, which has nothing but the observed steps of the window; the naive rows
gaps         of every cell 16 steps in a row are missing, and a tenth of the others: FoMo; SAITS and CSDI on blocks of
             4 x 4 cells of all cities; linear interpolation and the usual week

FoMo is one model for everything; what its fit takes on one core (--steps) is what each rival has for all its fits of
the fold together, unless its usual number of steps is reached before. None sees users. FoMo and LightGBM see POIs, the
block around a cell and the hour; NHITS the hour; PatchTST neither; SAITS and CSDI the block and the hour of day.
`jsd_hist` is of one draw where a model draws (FoMo, CSDI), else of the forecast, on bins that a city's real values set.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gentraffic.evaluation import fomo_tasks as p3
from gentraffic.evaluation.intervals import LOOP_DRAWS, interval, make_resample
from gentraffic.evaluation.metrics.distribution import BINS, js_divergence
from gentraffic.evaluation.public_cities import CITIES, read_regions
from gentraffic.generators.fomo.data import SIDE, Region, placed
from gentraffic.generators.fomo.folder import FoMoBundle
from gentraffic.generators.fomo.scale import profile_week
from gentraffic.io.atomic import replacing
from gentraffic.modelling.levels import stack_features
from gentraffic.modelling.measured import Source
from gentraffic.training.fomo_fitting import fit_fomo
from gentraffic.training.fomo_task import WINDOW, FoMoPlan

TASKS = ("short", "long", "gaps")
FORECASTERS = ("lightgbm", "autoets", "nhits", "patchtst")
FILLERS = ("saits", "csdi")
NAIVE = ("last", "climatology", "climatology of the observed hours")
ROWS = ("naive", "fomo", *FORECASTERS, *FILLERS)
RUN, POINTS = 16, 0.1  # gaps: steps in a row, and the share of the others
FOLDS = 5
GAP_WINDOWS = 8  # of a city and fold: drawing with CSDI takes two core-seconds a window and draw
MEMBERS = 3  # draws of CSDI, of which the median is its point estimate
DEAR = "CSDI is left out here: with its draws a fold of it takes about five core-minutes; `--rows csdi` runs it."
LEAST_USUAL = 0.02  # of the usual week's mean
TREE_ROWS = 100_000
Floats = NDArray[np.float64]
Row = dict[str, Any]
Pair = tuple[Source, Region]


@dataclass(frozen=True)
class Case:
    """What is to be told of one city in one fold.

    values, hour: (series, 64) the truth and the hours of the week; known: (series, 64) what is told; cell, window:
    (series,) which cell of part.held and which of part.blocks. mask: (windows, SIDE, SIDE, 64) `known` by block.
    """

    city: str
    task: str
    part: p3.Held
    values: Floats
    hour: Floats
    known: NDArray[np.bool_]
    mask: NDArray[np.bool_]
    cell: NDArray[np.int64]
    window: NDArray[np.int64]

    @property
    def observed(self) -> int:
        """Steps that are known before a forecast."""
        return p3.TASKS[self.task]

    @property
    def shown(self) -> Floats:
        """The truth where it is known, else NaN."""
        return np.where(self.known, self.values, np.nan)


def case_of(part: p3.Held, city: str, task: str, seed: int = 0) -> Case:
    """The windows that FoMo is scored on (`fomo_tasks.real_of`), and what of them is known in this task."""
    rng = np.random.default_rng((seed, CITIES.index(city) if city in CITIES else len(CITIES)))
    if task == "gaps":
        part = replace(part, blocks=rng.permutation(part.blocks)[:GAP_WINDOWS])
        shape = (len(part.blocks), SIDE, SIDE)
        step, first = np.arange(WINDOW), rng.integers(WINDOW - RUN + 1, size=(*shape, 1))
        mask = ((step < first) | (step >= first + RUN)) & (rng.random((*shape, WINDOW)) >= POINTS)
    else:
        mask = np.broadcast_to(np.arange(WINDOW) < p3.TASKS[task], (len(part.blocks), SIDE, SIDE, WINDOW))
    values, cell = p3.real_of(part, 0)
    there = part.held.blocks[part.blocks[:, 0]] >= 0  # (windows, SIDE, SIDE)
    window = np.repeat(np.arange(len(part.blocks)), there.sum((1, 2)))
    hour = part.held.hour[part.blocks[window, 1][:, None] + np.arange(WINDOW)]
    return Case(city, task, part, values, hour, mask[there], mask, cell, window)


def training(case: Case, count: int, seed: int = 0) -> Case:
    """`count` windows of the training cells, from any step on, all known: what a rival learns from."""
    region, rng = replace(case.part.train, blocks=p3.cover(case.part.train.blocks)), np.random.default_rng(seed)
    last = region.values.shape[1] - WINDOW
    blocks = np.stack([rng.integers(len(region.blocks), size=count), rng.integers(last + 1, size=count)], axis=1)
    part = replace(case.part, held=region, held_source=case.part.train_source, blocks=blocks)
    values, cell = p3.real_of(part, 0)
    window = np.repeat(np.arange(count), (region.blocks[blocks[:, 0]] >= 0).sum((1, 2)))
    hour = region.hour[blocks[window, 1][:, None] + np.arange(WINDOW)]
    known = np.ones(values.shape, dtype=bool)
    return Case(case.city, case.task, part, values, hour, known, known, cell, window)


def scored(case: Case, members: Floats, region: Region) -> Row:
    """Per location, of what was not known: steps, and sums of absolute and squared errors over p9999; histograms.

    members: (m, series, 64), the point estimate first, then draws. region: the whole city, which sets the bins.
    """
    point, drawn = members[0], members[min(1, len(members) - 1)]
    apart = np.where(case.known, 0.0, (point - case.values) / case.part.scale)
    place, group = np.unique(case.part.held.location[case.cell], return_inverse=True)

    def by_place(values: Floats) -> list[float]:
        return [float(f"{v:.8g}") for v in np.bincount(group, weights=values.sum(1), minlength=len(place))]

    return {
        "location": place.tolist(),
        "series": len(case.values),
        "n": np.bincount(group, weights=(~case.known).sum(1)).astype(int).tolist(),
        "abs": by_place(np.abs(apart)),
        "square": by_place(apart**2),
        "hist": histograms(drawn, case, group, region),
        "real": histograms(case.values, case, group, region),
    }


def histograms(values: Floats, case: Case, group: NDArray[np.intp], region: Region) -> list[list[int]]:
    """(locations, BINS) counts of asinh(v / median of the city's positive values) of what was not known."""
    unit = float(np.median(region.values[region.values > 0]))
    top = float(np.arcsinh(region.values.max() / unit))
    place = np.clip((np.arcsinh(values / unit) / top * BINS).astype(np.intp), 0, BINS - 1)
    at = (group[:, None] * BINS + place)[~case.known]
    return np.bincount(at, minlength=(int(group.max()) + 1) * BINS).reshape(-1, BINS).tolist()  # type: ignore[no-any-return]


# FoMo and what needs no fit


def fomo(bundle: FoMoBundle, case: Case, members: int = 1) -> Floats:
    """(1 + members, series, 64): the expectation, then draws."""
    pairs = [(case.part.train_source, case.part.train), (case.part.held_source, case.part.held)]
    train, held = (placed(region, source, bundle.levels, bundle.weeks) for source, region in pairs)
    part = replace(case.part, train=train, held=held)
    return p3.masked_members(bundle, part, case.mask, users=False, members=members)


def naive(case: Case) -> dict[str, Floats]:
    """Rows that learn at most the training cells' usual week: name -> (1, series, 64)."""
    if case.task != "gaps":
        rows = p3.window_rows(case.part, case.task, 0)
        return {name: forecast(case, rows[name][0]) for name in NAIVE}
    weekly, shown = usual(case), case.shown
    level = np.nansum(shown, 1) / np.where(case.known, weekly, 0).sum(1)
    step = np.arange(WINDOW)
    lines = [np.interp(step, step[k], v[k]) for v, k in zip(case.values, case.known, strict=True)]
    return {"linear interpolation": np.stack(lines)[None], "climatology": (level[:, None] * weekly)[None]}


def forecast(case: Case, values: Floats) -> Floats:
    """(1, series, 64) of the steps after the observed ones, (series, steps)."""
    return np.concatenate([case.values[:, : case.observed], values], axis=1)[None]


def usual(case: Case) -> Floats:
    """The training cells' usual week at each step: (series, 64)."""
    train = case.part.train
    week = np.maximum(profile_week(train.values / train.level[:, None], train.hour), LEAST_USUAL)
    return week[np.floor(case.hour).astype(int) % 168]


def autoets(case: Case, seconds: float, quick: bool) -> tuple[Floats, Row]:
    """Exponential smoothing of each window alone, with a daily season where two days are observed and m <= 24."""
    from statsforecast.models import AutoETS

    per_day, steps = 1440 // case.part.held.minutes, WINDOW - case.observed
    season = per_day if 2 * per_day <= case.observed and per_day <= 24 else 1
    model, out, failed = AutoETS(season_length=season), [], 0
    for values in case.values[:, : case.observed]:
        try:
            mean = np.asarray(model.forecast(values, steps)["mean"])
            good = np.isfinite(mean).all()
        except Exception:  # of a library, on a series that does not suit it (constant ones)
            good = False
        failed += not good
        out.append(mean if good else np.full(steps, values[-1]))
    return forecast(case, np.maximum(np.stack(out), 0)), {"season": season, "failed": failed}


# rivals that are trained


def own_hours(past: Floats, hour: Floats) -> Floats:
    """The mean of what is observed at the same time of day, of all where there is none: (series, steps)."""
    observed = past.shape[1]
    out = np.empty((len(past), WINDOW - observed))
    for first in np.unique(hour[:, 0]):
        rows = np.flatnonzero(hour[:, 0] == first)
        then, now = hour[rows[0], :observed] % 24, hour[rows[0], observed:] % 24
        for i, h in enumerate(now):
            same = then == h
            out[rows, i] = past[rows][:, same if same.any() else slice(None)].mean(1)
    return out


def tree_features(case: Case) -> tuple[Floats, Floats]:
    """Features (series * steps, F) of a forecast of the ratio to the observed mean, and that mean, (series,)."""
    observed, steps = case.observed, WINDOW - case.observed
    past, weekly = case.values[:, :observed], usual(case)
    windows = int(case.window.max()) + 1

    def around(values: Floats) -> Floats:  # the mean over the cells of the window's block
        size = np.bincount(case.window, minlength=windows)
        mean = np.stack([np.bincount(case.window, weights=v, minlength=windows) / size for v in values.T], axis=1)
        return mean[case.window]

    level = past.mean(1)
    near = around(past)
    level = np.where(level > 0, level, 0.1 * near.mean(1) + 1e-9)
    own = own_hours(past, case.hour)
    places = case.part.held_source.places
    assert places is not None
    poi = stack_features(places.counts, places.around)[case.part.held.rows[case.cell]]
    of_window = np.concatenate([
        past / level[:, None], near[:, -8:] / near.mean(1, keepdims=True).clip(1e-9), np.log(level)[:, None],
        np.log(level / near.mean(1).clip(1e-9))[:, None], poi,
    ], axis=1)  # fmt: skip
    hour = case.hour[:, observed:]
    share = past.sum(1) / weekly[:, :observed].sum(1) / level
    of_step = np.stack([
        np.broadcast_to(np.arange(steps), hour.shape), hour % 24, hour, share[:, None] * weekly[:, observed:],
        own / level[:, None], around(own) / near.mean(1, keepdims=True).clip(1e-9),
    ], axis=2)  # fmt: skip
    return np.concatenate([np.repeat(of_window, steps, axis=0), of_step.reshape(-1, of_step.shape[2])], axis=1), level


def lightgbm(case: Case, seconds: float, quick: bool) -> tuple[Floats, Row]:
    """Boosted trees for all steps at once, L1, stopped on a fifth of the training locations or by the clock."""
    import lightgbm as lgb

    began, steps = time.process_time(), WINDOW - case.observed
    per_window = len(case.part.train.values) / len(p3.cover(case.part.train.blocks)) * steps
    train = training(case, max(10, round((8_000 if quick else TREE_ROWS) / per_window)))
    x, level = tree_features(train)
    y = (train.values[:, case.observed :] / level[:, None]).ravel()
    weight = np.repeat(level / level.mean(), steps)
    location = train.part.held.location[train.cell]
    location = train.cell if len(np.unique(location)) == 1 else location
    places = np.random.default_rng(0).permutation(np.unique(location))
    apart = np.repeat(np.isin(location, places[: max(1, len(places) // 5)]), steps)
    sets = [lgb.Dataset(x[m], y[m], weight=weight[m], free_raw_data=False) for m in (~apart, apart)]

    def clock(env: Any) -> None:
        if time.process_time() - began > seconds:
            raise lgb.callback.EarlyStopException(env.iteration, env.evaluation_result_list)

    parameters = {"objective": "l1", "learning_rate": 0.1, "num_leaves": 31, "min_data_in_leaf": 100,
                  "feature_fraction": 0.7, "bagging_fraction": 0.8, "bagging_freq": 1, "num_threads": 1,
                  "verbosity": -1, "seed": 0}  # fmt: skip
    stop = lgb.early_stopping(50, verbose=False)
    model = lgb.train(parameters, sets[0], 2000, valid_sets=[sets[1]], callbacks=[stop, clock])
    found, level = tree_features(case)
    ratio = np.asarray(model.predict(found, num_iteration=model.best_iteration)).reshape(-1, steps)
    return forecast(case, np.maximum(ratio * level[:, None], 0)), {"trees": model.best_iteration, "rows": len(y)}


def clock_features(hour: Floats) -> Floats:
    """Sine and cosine of the hour of day and of the week: (..., 4)."""
    angles = [2 * np.pi * hour / period for period in (24, 168)]
    return np.stack([f(a) for a in angles for f in (np.sin, np.cos)], axis=-1)


CLOCK = ("day sin", "day cos", "week sin", "week cos")


def neural(name: str, case: Case, seconds: float, quick: bool) -> tuple[Floats, Row]:
    """NHITS (with the hours to come) or PatchTST of neuralforecast, at their defaults but for 256 windows a step."""
    import pandas as pd
    from neuralforecast import NeuralForecast
    from neuralforecast.models import NHITS, PatchTST

    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    observed, steps, train = case.observed, WINDOW - case.observed, case.part.train

    def frame(values: Floats | None, hour: Floats, first: int = 0) -> Any:
        series, length = hour.shape
        columns = dict(zip(CLOCK, clock_features(hour).reshape(-1, 4).T, strict=True)) if name == "nhits" else {}
        y = {} if values is None else {"y": values.ravel()}
        ids = np.repeat(np.arange(series), length)
        return pd.DataFrame({"unique_id": ids, "ds": np.tile(np.arange(first, first + length), series), **y, **columns})

    def fit(count: int) -> Any:
        shared: dict[str, Any] = {
            "h": steps, "input_size": observed, "max_steps": count, "windows_batch_size": 256, "random_seed": 0,
            "accelerator": "cpu", "devices": 1, "enable_progress_bar": False, "logger": False,
            "enable_checkpointing": False, "enable_model_summary": False,
        }  # fmt: skip
        if name == "nhits":
            model: Any = NHITS(futr_exog_list=list(CLOCK), scaler_type="standard", **shared)
        else:
            model = PatchTST(**shared)
        found = NeuralForecast(models=[model], freq=1)
        found.fit(frame(train.values, np.broadcast_to(train.hour, train.values.shape)), val_size=0)
        return found

    most = {"nhits": 1000, "patchtst": 5000}[name]
    count = 4 if quick else steps_within(f"{name} {case.task}", fit, seconds, most)
    model = fit(count)
    past, later = slice(None, observed), slice(observed, None)
    future = {"futr_df": frame(None, case.hour[:, later], observed)} if name == "nhits" else {}
    told = model.predict(df=frame(case.values[:, past], case.hour[:, past]), **future)
    values = told.sort_values(["unique_id", "ds"])[{"nhits": "NHITS", "patchtst": "PatchTST"}[name]].to_numpy()
    return forecast(case, np.maximum(values.reshape(-1, steps).astype(np.float64), 0)), {"steps": count}


PACE: dict[str, tuple[float, float]] = {}  # core-seconds of a step, and of what comes before the first


def steps_within(what: str, fit: Callable[[int], Any], seconds: float, most: int) -> int:
    """How many steps of a fit take `seconds` of one core, from two short ones. what: fits of one pace in a process."""
    if what not in PACE:
        took = []
        fit(2)  # what is done once in a process
        for count in (4, 10):
            began = time.process_time()
            fit(count)
            took.append(time.process_time() - began)
        per_step = max((took[1] - took[0]) / 6, 1e-4)
        PACE[what] = per_step, took[0] - 4 * per_step
    per_step, before = PACE[what]
    return int(np.clip((seconds - before) / per_step, 4, most))


def panels(case: Case) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Blocks as one multivariate series each: (windows, 64, 18), the cells' scale (windows, 1, 16), which cells exist.

    A cell is divided by the mean of what is known of it; the last two columns are the sine and cosine of the hour.
    """
    region, count = case.part.held, len(case.part.blocks)
    there = (region.blocks[case.part.blocks[:, 0]] >= 0).reshape(count, -1)
    out, level = np.full((count, SIDE * SIDE, WINDOW), np.nan), np.ones((count, SIDE * SIDE))
    shown = case.shown
    mean = np.nanmean(shown, axis=1)
    level[there] = np.where(mean > 0, mean, 1.0)
    out[there] = shown / level[there][:, None] - 1
    hour = region.hour[case.part.blocks[:, 1][:, None] + np.arange(WINDOW)]
    return np.concatenate([out.transpose(0, 2, 1), clock_features(hour)[..., :2]], axis=2), level[:, None], there


def filler(name: str, cases: Sequence[Case], seconds: float, quick: bool) -> Iterator[tuple[Case, Floats, Row]]:
    """SAITS or CSDI of pypots, at the settings of their papers, one model for the windows of all cities."""
    from pypots.imputation import CSDI, SAITS

    logging.getLogger("PyPOTS running log").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    x = rng.permutation(np.concatenate([panels(training(case, 40 if quick else 1500))[0] for case in cases]))
    x = x.astype(np.float32)
    shape: dict[str, Any] = {"n_steps": WINDOW, "n_features": x.shape[2], "device": "cpu", "verbose": False}
    batch = 32 if name == "saits" else 16

    def fit(count: int) -> Any:
        epochs = max(1, round(count * batch / len(x)))
        if name == "saits":
            model: Any = SAITS(
                n_layers=2, d_model=256, n_heads=4, d_k=64, d_v=64, d_ffn=128, dropout=0.1, batch_size=batch,
                epochs=epochs, **shape,
            )  # fmt: skip
        else:
            model = CSDI(
                n_layers=4, n_heads=8, n_channels=64, d_time_embedding=128, d_feature_embedding=16,
                d_diffusion_embedding=128, batch_size=batch, epochs=epochs, **shape,
            )  # fmt: skip
        model.fit({"X": x[: count * batch]})
        return model

    count = 4 if quick else steps_within(name, fit, seconds, 100 * len(x) // batch)
    model = fit(count)
    for case in cases:
        began = time.process_time()
        shown, level, there = panels(case)
        if name == "saits":
            told = model.predict({"X": shown.astype(np.float32)})["imputation"][:, None]
        else:
            draws = 1 if quick else MEMBERS
            told = model.predict({"X": shown.astype(np.float32)}, n_sampling_times=draws)["imputation"]
        cells = (told[..., : SIDE * SIDE] + 1) * level[:, None]  # (windows, draws, 64, 16)
        series = np.maximum(cells.transpose(1, 0, 3, 2)[:, there], 0).astype(np.float64)
        members = series if len(series) == 1 else np.concatenate([np.median(series, axis=0)[None], series])
        yield case, members, {"steps": count, "draw_cpu_s": round(time.process_time() - began, 1)}


# the run


class Rows:
    """Finished cells of the table in a JSON file, by the name "task|city|row|fold"."""

    def __init__(self, path: Path, told: Row) -> None:
        self.path = path
        self.done: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        if self.done.setdefault("settings", told) != told:
            raise SystemExit(f"{path} holds rows of {self.done['settings']}, this run is {told}: take another file")

    def put(self, key: str, row: Row) -> None:
        """Keep a row, on disk too; with what another run has put there meanwhile."""
        if self.path.exists():
            self.done |= {**json.loads(self.path.read_text(encoding="utf-8")), **self.done}
        self.done[key] = row
        with replacing(self.path, (".json",)) as temporary:
            text = json.dumps(self.done, separators=(",", ":")).replace('],"', '],\n"').replace('},"', '},\n"')
            temporary.write_text(text + "\n", encoding="utf-8")
        if "n" in row:
            told = {k: v for k, v in row.items() if not isinstance(v, list)}
            print(f"{key}: mae_p9999 {sum(row['abs']) / sum(row['n']):.4f} {told}", flush=True)

    def missing(self, row: str, fold: int, tasks: Sequence[str], cities: Sequence[str]) -> list[tuple[str, str]]:
        """(task, city) of a row that are not done."""
        return [(t, c) for t in tasks for c in cities if f"{t}|{c}|{row}|{fold}" not in self.done]


def run_fold(rows: Rows, data: Sequence[Pair], fold: int, names: Sequence[str], plan: FoMoPlan, quick: bool) -> None:
    """Everything of one fold that is not done; FoMo first, whose fit sets the time of the others."""
    train, parts = p3.parts_of(data, FOLDS, fold)
    cities = ["uomo-nj"] if quick else list(parts)
    whole = {region.network: region for _, region in data}
    held = {city: p3.held_out(*parts[city]) for city in cities}
    cases = {(task, city): case_of(held[city], city, task, fold) for task in TASKS for city in cities}

    def put(case: Case, name: str, members: Floats, told: Row) -> None:
        rows.put(f"{case.task}|{case.city}|{name}|{fold}", scored(case, members, whole[case.city]) | told)

    for task, city in rows.missing("climatology", fold, TASKS, cities):
        for name, members in naive(cases[task, city]).items():
            put(cases[task, city], name, members, {})
    if rows.missing("fomo", fold, TASKS, cities):
        began = time.process_time()
        bundle, metadata = fit_fomo(train, plan=plan)
        took = round(time.process_time() - began, 1)
        for task, city in rows.missing("fomo", fold, TASKS, cities):
            told = {"fit_cpu_s": took, "steps": metadata["steps"], "weights": metadata["parameters"]}
            put(cases[task, city], "fomo", fomo(bundle, cases[task, city]), told)
    seconds = float(rows.done[f"short|{cities[0]}|fomo|{fold}"]["fit_cpu_s"])
    for name in [name for name in FORECASTERS if name in names]:
        for task, city in rows.missing(name, fold, TASKS[:2], cities):
            began = time.process_time()
            share = seconds / (2 * len(cities))
            run = {"lightgbm": lightgbm, "autoets": autoets}.get(name)
            found = run(cases[task, city], share, quick) if run else neural(name, cases[task, city], share, quick)
            put(cases[task, city], name, found[0], found[1] | {"cpu_s": round(time.process_time() - began, 1)})
    for name in [name for name in FILLERS if name in names]:
        if rows.missing(name, fold, TASKS[2:], cities):
            began = time.process_time()
            for case, members, told in filler(name, [cases["gaps", city] for city in cities], seconds, quick):
                put(case, name, members, told | {"cpu_s": round(time.process_time() - began, 1)})


# the tables


@dataclass(frozen=True)
class Pooled:
    """A row over its folds. n, absolute, square: (locations,); hist, real: (locations, BINS)."""

    n: Floats
    absolute: Floats
    square: Floats
    hist: Floats
    real: Floats
    series: int

    def scores(self, times: Floats) -> Floats:
        """MAE, RMSE and JSD of each draw of locations, times (draws, locations): (3, draws)."""
        count = times @ self.n
        drawn = [times[:LOOP_DRAWS] @ h for h in (self.real, self.hist)]
        jsd = np.full(len(times), np.nan)
        jsd[: len(drawn[0])] = [js_divergence(p, q) for p, q in zip(*drawn, strict=True)]
        return np.stack([times @ self.absolute / count, np.sqrt(times @ self.square / count), jsd])


def pooled(found: Mapping[str, Row], folds: Sequence[str]) -> Pooled:
    """The locations of several folds, each of which is held out in one."""
    lists = {key: np.concatenate([np.array(found[f][key], dtype=np.float64) for f in folds])
             for key in ("n", "abs", "square", "hist", "real")}  # fmt: skip
    series = sum(found[f]["series"] for f in folds)
    return Pooled(lists["n"], lists["abs"], lists["square"], lists["hist"], lists["real"], series)


def grouped(done: Mapping[str, Any]) -> dict[tuple[str, str], dict[str, dict[str, Row]]]:
    """(task, city) -> row -> fold -> figures."""
    out: dict[tuple[str, str], dict[str, dict[str, Row]]] = {}
    for key, row in done.items():
        if key.count("|") == 3:
            task, city, name, fold = key.split("|")
            out.setdefault((task, city), {}).setdefault(name, {})[fold] = row
    order = {t: i for i, t in enumerate(TASKS)}
    return dict(sorted(out.items(), key=lambda item: (order[item[0][0]], item[0][1])))


METRICS = ("mae_p9999", "rmse_p9999", "jsd_hist")


def differences(done: Mapping[str, Any]) -> dict[tuple[str, str, str], list[tuple[float, float, float] | None]]:
    """(task, city, rival) -> per metric FoMo minus the rival and its 95% interval, paired, over their common folds."""
    out: dict[tuple[str, str, str], list[tuple[float, float, float] | None]] = {}
    for (task, city), by_row in grouped(done).items():
        for name, found in by_row.items():
            folds = sorted(set(found) & set(by_row.get("fomo", {})))
            if name == "fomo" or not folds:
                continue
            mine, theirs = pooled(by_row["fomo"], folds), pooled(found, folds)
            one = np.ones((1, len(mine.n)))
            times = make_resample(np.arange(len(mine.n))).times
            apart = (mine.scores(one) - theirs.scores(one))[:, 0]
            draws = mine.scores(times) - theirs.scores(times) if len(times) else np.full((3, 1), np.nan)
            ends = [interval(row) for row in draws]
            out[task, city, name] = [
                None if end is None else (float(d), *end) for d, end in zip(apart, ends, strict=True)
            ]
    return out


def ahead(done: Mapping[str, Any]) -> str:
    """Sentences: where a rival or a naive row is ahead of FoMo by its interval, and how often FoMo is."""
    found = differences(done)
    lines = []
    for task in TASKS:
        here = {k[1:]: v for k, v in found.items() if k[0] == task}
        if not here:
            continue
        told = []
        for at, metric in enumerate(METRICS):
            better: dict[str, list[str]] = {}
            for (city, name), values in here.items():
                if (value := values[at]) is not None and value[1] > 0:
                    better.setdefault(name, []).append(city)
            if better:
                told.append(f"`{metric}`: " + ", ".join(f"{n} ({', '.join(c)})" for n, c in better.items()))
        known = [v[0] for v in here.values() if v[0] is not None]
        lines.append(
            f"- **{task}**, ahead of FoMo by the 95% interval: {'; '.join(told) if told else 'nothing'}. FoMo is ahead "
            f"in `mae_p9999` in {sum(v[2] < 0 for v in known)} of the {len(known)} comparisons that have an interval."
        )
    return "\n".join(lines)


def unfinished(done: Mapping[str, Any]) -> str:
    """What has not run on all five folds: a sentence, or nothing."""
    groups, out = grouped(done), []
    for task in TASKS:
        for name in ("fomo", *(FILLERS if task == "gaps" else FORECASTERS)):
            folds = [len(rows.get(name, {})) for (t, _), rows in groups.items() if t == task] or [0]
            if min(folds) < FOLDS:
                out.append(f"{task} {name} {min(folds)}")
    if not out:
        return ""
    dear = "" if any("|csdi|" in key for key in done) else f" {DEAR}"
    return f"\nNot finished; folds of {FOLDS} that have run: {', '.join(out)}.{dear}\n"


def tables(done: Mapping[str, Any]) -> Iterator[str]:
    """Markdown: per task the three scores of every row by city, and FoMo minus each with intervals."""
    groups, apart = grouped(done), differences(done)
    for task in [t for t in TASKS if any(key[0] == t for key in groups)]:
        cities = [city for t, city in groups if t == task]
        names = sorted({n for c in cities for n in groups[task, c]}, key=lambda n: (n != "fomo", n not in ROWS, n))
        yield f"\n## {TITLES[task]}\n"
        sizes = [f"{c}: {sum(r['series'] for r in groups[task, c]['fomo'].values())} windows of cells" for c in cities]
        yield f"`mae_p9999` / `rmse_p9999` / `jsd_hist`; {', '.join(sizes)}.\n"
        yield f"| | {' | '.join(cities)} | folds |\n|{'---|' * (len(cities) + 2)}"
        for name in names:
            cells = []
            for city in cities:
                found = groups[task, city].get(name)
                if found is None:
                    cells.append("–")
                    continue
                row = pooled(found, sorted(found))
                values = row.scores(np.ones((1, len(row.n))))[:, 0]
                cells.append(" / ".join(f"{v:.4f}" for v in values))
            folds = max(len(groups[task, c].get(name, {})) for c in cities)
            yield f"| {name} | {' | '.join(cells)} | {folds} |"
        yield "\nFoMo minus each row, `mae_p9999` and `rmse_p9999`, with the 95% interval; below 0: FoMo is ahead.\n"
        yield f"| | {' | '.join(cities)} |\n|{'---|' * (len(cities) + 1)}"
        for name in names[1:]:
            cells = []
            for city in cities:
                values = apart.get((task, city, name))
                shown = [f"{v[0]:+.4f} ({v[1]:+.4f} to {v[2]:+.4f})" if v else "–" for v in (values or [None])[:2]]
                cells.append("; ".join(shown))
            yield f"| {name} | {' | '.join(cells)} |"
        yield from costs(groups, task, cities)


TITLES = {"short": "Short, 48 -> 16 steps", "long": "Long, 16 -> 48 steps", "gaps": "Gaps"}


def costs(groups: Mapping[tuple[str, str], Any], task: str, cities: Sequence[str]) -> Iterator[str]:
    """What each fit took, per fold."""
    texts = []
    for name in ("fomo", *FORECASTERS, *FILLERS):
        rows = [row for c in cities for row in groups[task, c].get(name, {}).values()]
        if rows:
            took = np.mean([row.get("fit_cpu_s", row.get("cpu_s", 0.0)) for row in rows])
            words = [f"{took:.0f} core-seconds" + (" for all tasks and cities" if name == "fomo" else "")]
            for key in ("steps", "trees"):
                if key in rows[0]:
                    words.append(f"{min(r[key] for r in rows)} to {max(r[key] for r in rows)} {key}")
            texts.append(f"{name} {', '.join(words)}")
    yield f"\nMean of a fit with what it was asked: {'; '.join(texts)}."


HEAD = """# Trained rivals

FoMo beside models of well-kept libraries, on locations that none of them saw: the windows of P3 in
[Metrics](../reference/metrics.md).

"""

HOW = """
## How

Folds by location, windows of 64 steps that do not overlap, no users for anybody. `short` and `long`: LightGBM,
PatchTST and NHITS are trained for each city and task, AutoETS has nothing but the observed steps of its window.
`gaps`: of every cell 16 steps in a row are missing, and a tenth of the others, in at most 8 windows of blocks a city
and fold; SAITS and CSDI see blocks of 4 x 4 cells and are one model for all cities.

FoMo is one model for everything. What its fit took on one core (145 core-seconds; its rows were drawn again, at the
same steps, when it was told expected weeks, on a machine nearly twice as fast) is what each rival has for all its
fits of the fold together, unless its usual number of steps (PatchTST 5000, NHITS 1000, SAITS and CSDI 100 epochs) or
the stop of LightGBM (50 trees without gain on a fifth of the training locations) comes first. Settings are those of
the libraries and papers: LightGBM 31 leaves at 0.1, L1; PatchTST and NHITS with 256 windows a step; SAITS of 2 layers
of 256; CSDI of 4 layers of 64 channels, 50 diffusion steps, the median of 3 draws. In these minutes CSDI makes few
steps (above): how good it is after its usual epochs is not told here. What each sees: FoMo and LightGBM POIs, the
block around a cell, the hour and the training cells' usual week; NHITS the hour; PatchTST and AutoETS neither; SAITS
and CSDI the block and the hour of day. Every series is divided by the mean of what is observed of it, or
standardised.

`jsd_hist` is of one draw where a model draws (FoMo, CSDI), else of the forecast, on bins from 0 to the city's highest
value. Intervals: bootstrap over locations, the same draws for both rows, over the folds that both have; Nanjing has
five locations, one a fold, so its intervals say little.

Generation: PAR of SDV (Business Source License 1.1) and the convolutional beta-VAE of tsgm are rows of STOUTER's
tables, [The papers' tables](papers.md). TimeGAN of tsgm 0.1.0 stops in its first epoch with PyTorch (`Can't call
numpy() on Tensor that requires grad`); mended, it takes 26 core-seconds for a joint step of 32 weeks by hour, some 20
steps in ten minutes: no row. TimeVAE is not in it.

"""


def page(done: Mapping[str, Any], path: str) -> str:
    """The page that docs/results/rivals.md is."""
    quick = '!!! warning "Quick"\n    Of `--quick`: it shows that it runs, not how good it is.\n\n' if done[
        "settings"]["quick"] else ""  # fmt: skip
    told = done["settings"]
    words = "--quick" if told["quick"] else f"--steps {told['steps']}"
    command = f"    python benchmarks/rivals.py --data ../shared/data -o rivals.json {words}\n"
    here = f"\nThis page: `python benchmarks/rivals.py -o {path} --report docs/results/rivals.md`.\n"
    return HEAD + quick + ahead(done) + "\n" + unfinished(done) + "\n".join(tables(done)) + "\n" + HOW + command + here


def main() -> None:
    """Run what is missing and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("-o", "--out", type=Path, required=True, help="JSON of finished cells")
    parser.add_argument("--rows", nargs="*", default=ROWS, choices=ROWS, help="some of them; FoMo always runs")
    parser.add_argument("--folds", type=int, nargs="*", default=list(range(FOLDS)), help="of five")
    parser.add_argument("--steps", type=int, default=2000, help="training steps of FoMo, which set everybody's time")
    parser.add_argument("--report", type=Path, help="write what the JSON holds as a page, and run nothing")
    parser.add_argument("--quick", action="store_true", help="one fold, one city, few steps")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.report:
        args.report.write_text(page(json.loads(args.out.read_text(encoding="utf-8")), args.out.as_posix()))
        return
    plan = replace(FoMoPlan(), steps=12, warmup=5) if args.quick else replace(FoMoPlan(), steps=args.steps)
    rows = Rows(args.out, {"quick": args.quick, "steps": plan.steps})
    data = read_regions(args.data)
    for fold in args.folds[:1] if args.quick else args.folds:
        run_fold(rows, data, fold, args.rows, plan, args.quick)
    print(ahead(rows.done), *tables(rows.done), sep="\n")


if __name__ == "__main__":
    main()
