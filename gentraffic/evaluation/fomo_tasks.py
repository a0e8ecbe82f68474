"""P3 of metrics.md: FoMo's three tasks on held-out locations, with and without users, beside the naive rows.

Windows of 64 steps that do not overlap: short 48 -> 16, long 16 -> 48, generation 0 -> 64. Scores are over the steps to
be told only, per cell and window, `_p9999` scaling by the training cells of the network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from gentraffic.dataset.calendar import make_calendar
from gentraffic.errors import WrongUse
from gentraffic.evaluation import naive_rows as naive
from gentraffic.evaluation.metrics.summary import crps_cells, p9999
from gentraffic.generators.fomo.data import SIDE, Region, placed
from gentraffic.generators.fomo.folder import FoMoBundle
from gentraffic.generators.fomo.scale import FoMoContext, condition_of
from gentraffic.generators.weekly import Settings, draw_traffic
from gentraffic.modelling.features import Floats
from gentraffic.modelling.kriging import conditional_levels
from gentraffic.modelling.level_noise import SITES, level_noise
from gentraffic.modelling.levels import log_mean
from gentraffic.modelling.measured import Source
from gentraffic.training.fomo_fitting import split
from gentraffic.training.fomo_task import WINDOW, masked, stack, window
from samplers.fomo_draw import draw_scenes

if TYPE_CHECKING:
    import xarray as xr

    from gentraffic.generators.folder import Bundle

TASKS = {"short": 48, "long": 16, "generation": 0}  # observed steps of 64
MEMBERS = 20
CONTINUED = 6  # members at most where part of the window is observed: crps is fair, and their spread is small
STEPS = 8


@dataclass(frozen=True)
class Held:
    """One network, split: training cells and held-out cells, and the windows to be scored.

    cells: (n,) index into held; start: (n,) first step; `told` holds the same windows by block.
    """

    train: Region
    held: Region
    train_source: Source
    held_source: Source
    blocks: NDArray[np.int64]  # (windows, 2): block of held, first step
    scale: float  # p9999 of the training cells


def held_out(train: tuple[Source, Region], held: tuple[Source, Region]) -> Held:
    """The windows of the held-out cells: blocks that cover every cell once, and every 64 steps."""
    region = replace(held[1], blocks=cover(held[1].blocks))
    starts = range(0, region.values.shape[1] - WINDOW + 1, WINDOW)
    blocks = np.array([(b, s) for b in range(len(region.blocks)) for s in starts])
    return Held(train[1], region, train[0], held[0], blocks, p9999(train[1].values))


def parts_of(
    data: Sequence[tuple[Source, Region]], folds: int, fold: int
) -> tuple[list[tuple[Source, Region]], dict[str, tuple[tuple[Source, Region], tuple[Source, Region]]]]:
    """What trains in a fold by location, and per city with POIs what of it (trains, is held out)."""
    parts = {r.network: split((s, r), folds, fold, 0) for s, r in data if s.places is not None}
    return [parts[r.network][0] if r.network in parts else (s, r) for s, r in data], parts


def cover(blocks: NDArray[np.int64]) -> NDArray[np.int64]:
    """Blocks among those given in which every cell stands exactly once; a cell's further places become empty.

    blocks: (blocks, rows, columns) positions of cells, -1 for none.
    """
    seen: set[int] = set()
    out = []
    order = np.argsort(-(blocks >= 0).sum((1, 2)), kind="stable")
    for block in blocks[order]:
        new = np.array([[cell if cell not in seen else -1 for cell in row] for row in block.tolist()])
        if (new >= 0).any():
            out.append(new)
            seen |= set(new[new >= 0].tolist())
    return np.stack(out)


def real_of(part: Held, observed: int) -> tuple[Floats, NDArray[np.int64]]:
    """The truth to be told, (series, steps), and the held-out cell of each series."""
    series, cells = [], []
    for block, start in part.blocks:
        there = part.held.blocks[block].ravel()
        there = there[there >= 0]
        series.append(part.held.values[there, start + observed : start + WINDOW].astype(np.float64))
        cells.append(there)
    return np.concatenate(series), np.concatenate(cells)


def window_rows(part: Held, task: str, seed: int) -> dict[str, Floats]:
    """Members (m, series, steps) of every naive row, in the source's unit. Rows named with `users` see users."""
    observed = TASKS[task]
    rng = np.random.default_rng((seed, observed))
    profile = _profile(part.train)
    rows: dict[str, list[NDArray[Any]]] = {}
    near = _neighbours(part) if observed == 0 else None
    for block, start in part.blocks:
        there = part.held.blocks[block].ravel()
        there = there[there >= 0]
        past = part.held.values[there, start : start + observed].astype(np.float64)
        hour = part.held.hour[start : start + WINDOW]
        weekly = profile[np.floor(hour).astype(int) % 168]
        steps = WINDOW - observed
        drawn_by: dict[str, NDArray[Any]] = {}
        if observed:
            drawn_by["last"] = np.repeat(past[:, -1:], steps, axis=1)[None]
            drawn_by["cell-mean"] = np.repeat(past.mean(1, keepdims=True), steps, axis=1)[None]
            drawn_by["patch-mean"] = np.full((1, len(there), steps), past.mean())
            level = past.sum(1) / weekly[:observed].sum()
            drawn_by["climatology"] = (level[:, None] * weekly[observed:])[None]
            drawn_by["climatology of the observed hours"] = _own_hours(past, hour)[None]
            drawn_by["climatology of other days (sees outside)"] = _other_days(part, there, start)[..., observed:]
        elif near is not None:
            span = part.train.values[:, start : start + WINDOW].astype(np.float64)
            drawn_by["mean-series"] = np.repeat(span.mean(0)[None, None], len(there), axis=1)
            drawn_by["bootstrap"] = naive.bootstrap(span, len(there), MEMBERS, rng)
            index = near[there]
            drawn_by["knn-1"] = span[index[:, :1].T]
            drawn_by["knn-20"] = span[index.T]
        if part.held.users is not None:
            users = part.held.users[there, start : start + WINDOW].astype(np.float64)
            drawn_by["b*users"] = (part.train.b * users[:, observed:])[None]
            if observed:
                own = past.sum(1) / np.maximum(users[:, :observed].sum(1), 1e-9)
                drawn_by["b*users, b of the cell"] = (own[:, None] * users[:, observed:])[None]
        for name, members in drawn_by.items():
            rows.setdefault(name, []).append(members)
    return {name: np.concatenate(parts, axis=1) for name, parts in rows.items()}


def model_members(
    bundle: FoMoBundle,
    part: Held,
    task: str,
    *,
    users: bool,
    members: int = MEMBERS,
    seed: int = 0,
    city_mean: float | None = None,
    shots: Floats | None = None,
) -> Floats:
    """Members (m, series, steps) in the source's unit; member 0 is the expectation (one step at the likeliest level).

    city_mean: traffic of the mean cell, as `sample --total` tells it; over the mean cell's users it is the traffic per
    user where nothing is observed. shots: (cells of the context,) mean traffic of those measured, nan of others, from
    which the levels of all follow as `sample --known` has it. Without either the network's level model is taken.
    Raises WrongUse where there is none.
    """
    observed = TASKS[task]
    known = np.broadcast_to(np.arange(WINDOW) < observed, (len(part.blocks), SIDE, SIDE, WINDOW))
    return masked_members(
        bundle, part, known, users=users, members=members, seed=seed, city_mean=city_mean, shots=shots
    )[..., observed:]


def masked_members(
    bundle: FoMoBundle,
    part: Held,
    known: NDArray[np.bool_],
    *,
    users: bool,
    members: int = MEMBERS,
    seed: int = 0,
    city_mean: float | None = None,
    shots: Floats | None = None,
) -> Floats:
    """`model_members` of whole windows under any mask: (m, series, 64), as drawn where `known` too.

    known: (windows, SIDE, SIDE, 64) what is told of each window of `part.blocks`. shots: (cells of the context,).
    """
    levels = bundle.levels
    places, scale = part.held_source.places, bundle.scale
    assert places is not None
    network = levels.networks.get(places.network)
    if network is None and city_mean is None and shots is None:
        raise WrongUse(f"city_mean or shots: give one, the levels of {places.network!r} were not measured")
    mean = 1.0 if network is None else network.mean_traffic
    if city_mean is not None:  # which the levels of a network, medians, are scaled to
        mean = city_mean if network is None else city_mean / float(np.exp(log_mean(levels.relative(places)[0])))
    if city_mean is not None and not known.any() and part.held.users is not None and part.train.users is not None:
        crowd = np.concatenate([part.train.users, part.held.users]).mean(dtype=np.float64)
        per_user = scale.per_user.copy()
        per_user[scale.number(part.held.network)] = city_mean / crowd
        scale = replace(scale, per_user=per_user)
    ids = list(range(len(places.poi_count)))
    out = []
    for member, noise in enumerate(level_noise(seed, ids, places.xy_m, [SITES] * (members + 1))):
        if shots is None or city_mean is not None:
            log = levels.draw(places, noise[None])[0]
        else:
            log, mean = conditional_levels(levels, places, noise, shots)
        region = replace(
            part.held,
            level=np.exp(log)[part.held.rows] * mean,
            z=levels.standard(places, log)[part.held.rows],
            spread=levels.spread if network is None else part.held.spread,
            users=part.held.users if users else None,
        )
        windows = stack(
            [
                masked(window(region, scale, int(b), int(s)), mask, scale, region.spread)
                for (b, s), mask in zip(part.blocks, known, strict=True)
            ]
        )
        out.append(_draw(bundle, windows, member, 1 if member == 0 else STEPS, seed))
    return np.stack(out)


def week_members(bundle: Bundle, part: Held, context: xr.Dataset, *, members: int = MEMBERS, seed: int = 0) -> Floats:
    """Generation by a sampler of weeks, from POIs alone: (m, series, 64) in the source's unit, like `model_members`."""
    held, minutes = part.held, part.held.minutes
    days = held.values.shape[1] * minutes // 1440
    first = f"2021-03-{1 + int(held.hour[0]) // 24:02d}"  # 1 March is a Monday
    calendar = make_calendar(first, days, "1h" if minutes == 60 else f"{minutes}min", "Asia/Shanghai")
    settings = Settings(seed=seed, members=members)
    relative = draw_traffic(bundle, context, calendar, settings, cells=held.rows.tolist()).astype(np.float64)
    drawn = relative * bundle.levels.networks[held.network].mean_traffic
    series = []
    for block, start in part.blocks:
        there = held.blocks[block].ravel()
        series.append(drawn[:, there[there >= 0], start : start + WINDOW])
    return np.concatenate(series, axis=1)


def _draw(bundle: FoMoBundle, windows: FoMoContext, member: int, steps: int, seed: int) -> Floats:
    scale = bundle.scale
    shape = windows.values.shape
    # independent noise, unlike that of `sample`: the fair crps takes members for independent draws
    noise = np.random.default_rng((seed, member)).standard_normal(shape, dtype=np.float32)
    x = draw_scenes(bundle.model, condition_of(windows, scale), torch.from_numpy(noise), steps=steps).numpy()
    values = scale.inverse(x, windows.usual) * np.nan_to_num(windows.reference)[..., None]
    return np.concatenate([v[e.any(-1)] for v, e in zip(values, windows.exists, strict=True)])


def scores(part: Held, task: str, members: Floats, *, first_is_expectation: bool = False) -> dict[str, Any]:
    """Per series: `mae_p9999` of the expectation (else the members' median), `crps` of the members; and locations.

    rmse is pooled from `mse`.
    members: (members, series, steps) in the unit of the traffic, the expectation first where said.
    """
    real, cells = real_of(part, TASKS[task])
    point = members[0] if first_is_expectation else np.median(members, axis=0)
    ensemble = members[1:] if first_is_expectation else members
    ensemble = np.repeat(ensemble, 2, axis=0) if len(ensemble) == 1 else ensemble
    live = real.any(1)
    crps = np.zeros(0)
    if len(ensemble):
        crps = np.abs(ensemble - real[None]).mean((0, 2))
        crps[live] = crps_cells(real[live], ensemble[:, live])
    return {
        "mae_p9999": (np.abs(point - real).mean(1) / part.scale).round(6).tolist(),
        "mse": ((point - real) ** 2).mean(1).__truediv__(part.scale**2).round(8).tolist(),
        "crps": (crps / part.scale).round(6).tolist(),
        "location": part.held.location[cells].tolist(),
    }


def table(rows: Mapping[str, Sequence[Mapping[str, Any]]], metrics: Sequence[str] = ("mae_p9999", "crps")) -> str:
    """Markdown: `network|task|row` -> scores of each fold; means with 95% intervals by bootstrap over locations."""
    from gentraffic.evaluation.intervals import bootstrap_interval

    head = "| network | task | row | series | " + " | ".join(metrics) + " | rmse_p9999 |"
    lines = [head, "|---|---|---|---|" + "---|" * (len(metrics) + 1)]
    for key, folds in rows.items():
        place = np.concatenate([np.array(f["location"]) for f in folds])
        texts = []
        for metric in metrics:
            values = np.concatenate([np.array(f[metric]) for f in folds])
            if not len(values):
                texts.append("-")
                continue
            low, high = bootstrap_interval(values, place)
            interval = f" ({low:.4f}-{high:.4f})" if np.isfinite(low) else ""  # a single location has none
            texts.append(f"{values.mean():.4f}{interval}")
        rmse = np.sqrt(np.concatenate([np.array(f["mse"]) for f in folds]).mean())
        lines.append(f"| {' | '.join(key.split('|'))} | {len(place)} | {' | '.join(texts)} | {rmse:.4f} |")
    return "\n".join(lines)


def rows_of(
    bundle: FoMoBundle,
    parts: Mapping[str, Any],
    *,
    members: int = MEMBERS,
    seed: int = 0,
    label: str = "fomo",
    naive_too: bool = True,
    city_mean: float | None = None,
    shots: Floats | None = None,
) -> dict[str, list[dict[str, Any]]]:
    """All naive rows and the bundle with and without users: `network|task|row` -> [scores].

    parts: network -> ((source, region) of the training cells, the same of the held-out ones). label: of the bundle's
    rows. naive_too: whether the naive rows come with it. city_mean, and shots (cells,): as `model_members` takes them.
    """
    out: dict[str, list[dict[str, Any]]] = {}
    for name, (train, held) in parts.items():
        pairs = [(source, placed(region, source, bundle.levels, bundle.weeks)) for source, region in (train, held)]
        part = held_out(*pairs)
        for task in TASKS:
            if naive_too:
                for row, drawn in window_rows(part, task, seed).items():
                    out[f"{name}|{task}|{row}"] = [scores(part, task, drawn)]
            for users in (False, True) if part.held.users is not None else (False,):
                count = min(members, CONTINUED) if TASKS[task] else members
                drawn = model_members(
                    bundle, part, task, users=users, members=count, seed=seed, city_mean=city_mean, shots=shots
                )
                row = f"{label}, users" if users else label
                out[f"{name}|{task}|{row}"] = [scores(part, task, drawn, first_is_expectation=True)]
    return out


def means(rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, dict[str, float]]:
    """Mean scores of every row over all folds."""
    metrics = ("mae_p9999", "crps")
    return {
        key: {m: round(float(np.mean([v for f in folds for v in f[m]])), 6) for m in metrics if folds[0][m]}
        for key, folds in rows.items()
    }


def _profile(region: Region) -> Floats:
    """Mean ratio at every hour of the week over the training cells: (168,), never below 0.02."""
    from gentraffic.generators.fomo.scale import profile_week

    out: Floats = np.maximum(profile_week(region.values / region.level[:, None], region.hour), 0.02)
    return out


def _own_hours(past: Floats, hour: Floats) -> Floats:
    """The cell's mean at the same time of day over what is observed, its mean where that holds none: (cells, steps)."""
    observed = past.shape[1]
    then, now = hour[:observed] % 24, hour[observed:] % 24
    columns = [past[:, then == h].mean(1) if (then == h).any() else past.mean(1) for h in now]
    return np.stack(columns, axis=1)


def _other_days(part: Held, cells: NDArray[np.int64], start: int) -> Floats:
    """The same cell's mean at the same time of day over all steps outside the window: (1, cells, steps)."""
    hour = part.held.hour
    outside = np.ones(len(hour), dtype=bool)
    outside[start : start + WINDOW] = False
    values = part.held.values[cells].astype(np.float64)
    steps = range(start, start + WINDOW)
    mean: Floats = np.stack([values[:, outside & (hour % 24 == hour[s] % 24)].mean(1) for s in steps], axis=1)
    return mean[None]


def _neighbours(part: Held) -> NDArray[np.int64]:
    """For every held-out cell the 20 training cells nearest in standardised log POI counts: (cells, 20)."""
    from scipy.spatial import cKDTree

    places = part.train_source.places
    assert places is not None
    counts = places.poi_count.astype(np.int64)
    patch = np.unique(places.xy_m // 10_000, axis=0, return_inverse=True)[1].ravel()
    mine, _ = naive.poi_features(counts, patch)
    own = [naive.standardise(mine[s.rows], mine) for s in (part.train_source, part.held_source)]
    count = min(20, len(own[0]))
    _, index = cKDTree(own[0]).query(own[1], k=np.arange(1, count + 1))
    return np.asarray(index)
