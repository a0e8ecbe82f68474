"""P1 of metrics.md: traffic for locations that a model never saw, from POIs alone, beside the naive rows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gentraffic.dataset.calendar import make_calendar
from gentraffic.errors import BadInput
from gentraffic.evaluation import naive_rows as naive
from gentraffic.evaluation.intervals import bootstrap_interval
from gentraffic.evaluation.metrics.summary import (
    acf_error,
    coverage_cells,
    crps_cells,
    crps_level_cells,
    crps_shape_cells,
    jsd_hist,
    level_spearman,
    p9999,
)
from gentraffic.generators.base import Settings
from gentraffic.io.guard import text_of
from gentraffic.modelling.features import Floats
from gentraffic.modelling.measured import Source

if TYPE_CHECKING:
    import xarray as xr

    from gentraffic.generators.folder import Bundle

MEMBERS = 20
HOURS = 168
PER_CELL = ("crps", "crps_shape", "crps_level", "coverage_90", "coverage_50")
POOLED = ("jsd_hist", "acf_error", "level_spearman")
Parts = Mapping[str, tuple[Source, Source]]  # network -> training and held-out cells
Members = dict[str, NDArray[Any]]  # network -> (members, cells, 168) in the source's unit


def week_of(source: Source) -> Floats:
    """The first 168 local hours of a source: (cells, 168), in its unit."""
    return source.hourly()[:, :HOURS]


def holdout_rows(parts: Parts, seed: int) -> dict[str, Members]:
    """Members of every naive row of METRICS for the held-out cells of each network."""
    own: dict[str, list[Floats]] = {}
    full: dict[str, list[Floats]] = {}
    for name, (train, held) in parts.items():
        places = train.places
        assert places is not None
        counts = places.poi_count.astype(np.int64)
        patch = np.unique(places.xy_m // 10_000, axis=0, return_inverse=True)[1].ravel()
        mine, around = naive.poi_features(counts, patch)
        both = np.concatenate([mine, around], axis=1)
        own[name] = [naive.standardise(mine[s.rows], mine) for s in (train, held)]
        full[name] = [naive.standardise(both[s.rows], both) for s in (train, held)]
    ridge = naive.fit_level([(week_of(train), full[name][0]) for name, (train, _) in parts.items()])
    out: dict[str, Members] = {}
    for i, (name, (train, held)) in enumerate(parts.items()):
        rng = np.random.default_rng((seed, i))
        past, real = week_of(train), week_of(held)
        levels = [ridge(f) + naive.city_level(past) for f in full[name]]
        rows = {
            "mean-series": naive.mean_series(past, len(real)),
            "bootstrap": naive.bootstrap(past, len(real), MEMBERS, rng),
            "knn-1": naive.knn(past, own[name][0], own[name][1], 1),
            "knn-20": naive.knn(past, own[name][0], own[name][1], 20),
            "knn-level": naive.knn_level(past, levels[0], levels[1], MEMBERS, rng),
            "ridge-level x mean-shape": naive.level_x_mean_shape(past, np.exp(levels[1])),
            "ridge-level x bootstrap-shape": naive.level_x_bootstrap_shape(past, np.exp(levels[1]), MEMBERS, rng),
            "true level x bootstrap-shape": naive.level_x_bootstrap_shape(past, real.mean(axis=1), MEMBERS, rng),
        }
        for row, members in rows.items():
            out.setdefault(row, {})[name] = members
    return out


def as_measured(contexts: Mapping[str, xr.Dataset], parts: Parts) -> dict[str, xr.Dataset]:
    """The contexts of networks, where one names no network as that whose cells it holds: as `model_row` takes them for
    a model that learned from the other cells."""
    return {
        name: context if context.attrs.get("network") else context.assign_attrs(network=parts[name][1].place_network)
        for name, context in contexts.items()
        if name in parts
    }


def model_row(
    bundle: Bundle,
    contexts: Mapping[str, xr.Dataset],
    parts: Parts,
    seed: int,
    steps: int | None,
    *,
    members: int = MEMBERS,
    solver: str | None = None,
) -> Members:
    """Members that a model draws for the held-out cells of each network, in the source's unit.

    steps, solver: None for what the model recommends.
    """
    from gentraffic.generators.weekly import draw_traffic

    out: Members = {}
    usual = bundle.info.recommended
    for name, (_, held) in parts.items():
        zone = str(contexts[name].attrs["timezone"])
        calendar = make_calendar(f"2021-03-{1 + held.weekday:02d}", 7, "1h", zone)  # 1 March is a Monday
        service = held.service
        settings = Settings(seed, members, steps or usual.steps, solver or usual.solver, service=service)
        relative = draw_traffic(bundle, contexts[name], calendar, settings, cells=held.rows.tolist())
        mean = bundle.levels.networks[held.place_network].mean_traffic
        if service:
            mean = bundle.services.networks[held.place_network].ratios[service].mean_traffic
        out[name] = relative.astype(np.float64) * mean
    return out


def in_words(rows: Mapping[str, Sequence[Mapping[str, Any]]], own: str) -> list[str]:
    """Whether a row beats the best naive one in crps, a sentence for each network. rows: as `table` takes them; own:
    the name of the row. Rows that know the true level are no rivals. It beats only where the 95% interval, by
    location, of the difference by cell lies below 0."""
    sentences = []
    for network in rows[own][0]:
        crps = {
            row: np.concatenate([np.asarray(part[network]["crps"], dtype=np.float64) for part in parts])
            for row, parts in rows.items()
            if network in parts[0] and not row.startswith("true ")
        }
        best = min((row for row in crps if row != own), key=lambda row: float(crps[row].mean()), default="")
        if not best:
            continue
        places = np.concatenate([np.asarray(part[network]["location"]) for part in rows[own]])
        less = crps[own] - crps[best]
        low, high = bootstrap_interval(less, places)
        figures = f"crps {crps[own].mean():.4f}, that of {best} {crps[best].mean():.4f}"
        if np.isfinite(low):
            figures += f"; difference {less.mean():+.4f}, 95% {low:+.4f} to {high:+.4f}"
        if less.mean() >= 0:
            said = f"does not beat {best}, a naive row: take that, or train longer, or on more cells"
        elif high < 0:
            said = "beats every naive row"
        else:
            known = len(np.unique(places))
            tell = f"{known} location{'s' * (known > 1)} tell"
            said = f"is not clearly better than {best}, a naive row, as far as {tell}"
        sentences.append(f"{network}: on cells that it did not see, this model {said} ({figures})")
    return sentences


def score(members: Members, parts: Parts) -> dict[str, Any]:
    """Scores of one row: per network the lists over held-out cells, their locations, and the pooled figures.

    members: per network (members, cells, 168) hourly, in the unit of its source.
    """
    out: dict[str, Any] = {}
    for name, drawn in members.items():
        train, held = parts[name]
        real, scale = week_of(held), p9999(week_of(train))
        ensemble = np.repeat(drawn, 2, axis=0) if len(drawn) == 1 else drawn  # a single series: an ensemble of equals
        cells = {
            "crps": crps_cells(real, ensemble) / scale,
            "crps_shape": crps_shape_cells(real, ensemble) / scale,
            "crps_level": crps_level_cells(real, ensemble),
            "coverage_90": coverage_cells(real, ensemble, 0.9),
            "coverage_50": coverage_cells(real, ensemble, 0.5),
        }
        spearman = level_spearman(real, drawn.mean(axis=0))
        out[name] = {key: np.asarray(v).round(6).tolist() for key, v in cells.items()} | {
            "location": held.location.tolist(),
            "jsd_hist": jsd_hist(real, drawn),
            "acf_error": acf_error(real, drawn),
            "level_spearman": None if np.isnan(spearman) else spearman,
        }
    return out


def read_rows(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Finished rows of benchmarks/fidelity.py, name -> one `score` per fold. Raises BadInput for another file."""
    try:
        done = json.loads(text_of(path))
        done = done.get("p1", done)
        names = dict.fromkeys(key.split("|")[0] for key in done)
        return {name: [v for key, v in sorted(done.items()) if key.split("|")[0] == name] for name in names}
    except (OSError, ValueError, AttributeError) as error:
        raise BadInput(f"{path}: not the rows of benchmarks/fidelity.py ({error})") from error


def table(rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Markdown: for each row and network the mean over held-out cells of all folds, with 95% intervals by location.

    rows: name -> one `score` per fold.
    """
    head = "| row | network | cells | " + " | ".join(PER_CELL + POOLED) + " |"
    lines = [head, "|---|---|---|" + "---|" * len(PER_CELL + POOLED)]
    for row, folds in rows.items():
        for network in folds[0]:
            scored = [fold[network] for fold in folds if network in fold]
            place = np.concatenate([np.array(f["location"]) for f in scored])
            texts = []
            for metric in PER_CELL:
                values = np.concatenate([np.array(f[metric]) for f in scored])
                low, high = bootstrap_interval(values, place)
                digits = 2 if metric.startswith("coverage") else 4
                texts.append(f"{values.mean():.{digits}f} ({low:.{digits}f}-{high:.{digits}f})")
            for metric in POOLED:
                pooled = [f[metric] for f in scored if f[metric] is not None]
                texts.append(f"{np.mean(pooled):.3f}" if pooled else "-")
            lines.append(f"| {row} | {network} | {len(place)} | " + " | ".join(texts) + " |")
    return "\n".join(lines)
