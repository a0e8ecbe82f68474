"""The naive rows of metrics.md for an evaluation: what copying and averaging the training data would have given.

Windows of the test never overlap training windows, in time or in place: what of `--train` does is left out, and said.
Each row is what the function of `gentraffic.evaluation.naive_rows` returns for the cells and steps that are compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gentraffic.dataset.panel import MONDAY_S, WEEK_S, Panel
from gentraffic.dataset.splits import block_locations
from gentraffic.errors import WrongUse
from gentraffic.evaluation import naive_rows as naive
from gentraffic.evaluation.alignment import Pair, coarsen, read_series, same_slot
from gentraffic.evaluation.metrics.paired import Floats, live_cells

if TYPE_CHECKING:
    import xarray as xr

MEMBERS = 20
NOTHING = "--train: besides cells that are compared, at the same times, there is no live cell to learn from"
NEIGHBOURHOOD_M = 1000.0  # side of the blocks that stand for neighbourhoods where cells have no `location`
TESTED_AT_ONCE = 1024  # knn-level sorts a table of test cells x training cells
NAMES = ("mean-series", "bootstrap", "knn-1", "knn-20", "knn-level", "ridge-level x mean-shape",
         "ridge-level x bootstrap-shape", "climatology", "b*users")  # fmt: skip
ALL_KNOWING = ("b*users",)  # rows that know what no generator is told


@dataclass(frozen=True)
class Training:
    """Training data that know nothing of what is compared.

    every: all its cells, dead ones too, at the cadence compared. live: positions of the live ones. like: (live cells,
    steps) their values at the steps compared, or at the same slots of the week, or why there are none. users: theirs,
    (live cells, training steps). notes: what was left out.
    """

    every: Panel
    live: NDArray[np.intp]
    like: Floats | str
    users: Floats | None
    notes: tuple[str, ...]

    @property
    def values(self) -> Floats:
        """(live cells, training steps)"""
        values: Floats = self.every.values[0][self.live]
        return values


def read_training(train: xr.Dataset, real: xr.Dataset, pair: Pair) -> Training:
    """The part of `train` that neither shares hours nor ground with what is compared.

    Where training reaches into the compared period, it is cut before it if a week is left; else the cells compared,
    and those that share a `location` of the same network with them, are left out. Raises WrongUse where nothing
    remains, or for other units, members or cadences.
    """
    every, notes = _measured(train, pair, pair.services[0], pair.units)
    if every.units != pair.units:
        raise WrongUse(f"--train is in {every.units!r}, --real in {pair.units!r}: convert one of them")
    users = _measured(train, pair, "users")[0] if "users" in train and every.service != "users" else None
    if every.service != pair.services[0]:
        notes.append(f"--train has no {pair.services[0]!r}: its {every.service!r} was taken")
    known = _known(every.ids, train, real, pair)
    first, last = int(pair.utc[0]), int(pair.utc[-1]) + pair.step_s
    if known.any() and every.start_s < last and first < int(every.utc[-1]) + pair.step_s:
        before = max(0, (first - every.start_s) // pair.step_s)
        if before * pair.step_s >= WEEK_S:
            notes.append(f"--train was cut before the compared period: {every.steps - before} steps were left out")
            every, users = every.cut(0, before), users.cut(0, before) if users else None
        else:
            kept = np.flatnonzero(~known)
            if not len(kept):
                raise WrongUse(NOTHING)
            notes.append(
                f"{int(known.sum())} cells of --train were left out: they are compared, or share a location with cells "
                "that are, at the same times"
            )
            every, users = every.only(kept), users.only(kept) if users else None
    like = _like(every, pair)
    live = live_cells(every.values[0])
    if not isinstance(like, str):
        live &= live_cells(like)
    if not live.any():
        raise WrongUse(NOTHING)
    at = np.flatnonzero(live)
    return Training(
        every=every,
        live=at,
        like=like if isinstance(like, str) else like[at].astype(np.float64),
        users=users.values[0][at] if users else None,
        notes=tuple(notes),
    )


def naive_rows(
    training: Training, pair: Pair, real: xr.Dataset, context: xr.Dataset | None, seed: int = 0
) -> Iterator[tuple[str, Floats | str]]:
    """(name, members (m, cells, steps) or why the row is missing) for every row of NAMES, one at a time.

    Row k of NAMES draws from `np.random.default_rng([seed, k])`; ensembles have MEMBERS members. Raises WrongUse where
    `context` lacks a cell.
    """
    places = None if context is None else _features(context, training, pair)
    cells = len(pair.ids)
    like = training.like
    makers: dict[str, Callable[[Floats, np.random.Generator], Floats]] = {
        "mean-series": lambda past, rng: naive.mean_series(past, cells),
        "bootstrap": lambda past, rng: naive.bootstrap(past, cells, MEMBERS, rng),
    }
    if places is not None and not isinstance(like, str):
        own, full = places
        ridge = naive.fit_level([(like, full[0])])
        known, wanted = (ridge(f) + naive.city_level(like) for f in full)
        makers |= {
            "knn-1": lambda past, rng: naive.knn(past, own[0], own[1], 1),
            "knn-20": lambda past, rng: naive.knn(past, own[0], own[1], 20),
            "knn-level": lambda past, rng: _knn_level(past, known, wanted, rng),
            "ridge-level x mean-shape": lambda past, rng: naive.level_x_mean_shape(past, np.exp(wanted)),
            "ridge-level x bootstrap-shape": lambda past, rng: naive.level_x_bootstrap_shape(
                past, np.exp(wanted), MEMBERS, rng
            ),
        }
    for k, name in enumerate(NAMES):
        if name == "climatology":
            yield name, _climatology(training, pair)
        elif name == "b*users":
            yield name, _b_users(training, pair, real)
        elif isinstance(like, str):
            yield name, like
        elif name not in makers:
            yield name, "needs --context, the POIs of the training cells and of those compared"
        else:
            yield name, makers[name](like, np.random.default_rng([seed, k]))


def _measured(ds: xr.Dataset, pair: Pair, service: str, units: str | None = None) -> tuple[Panel, list[str]]:
    """(one service of the training file at the cadence compared, notes), in `units` where these are known."""
    series = read_series(ds, "--train", service)
    series.check_measured()
    series, notes = series.in_units(units or series.units)
    return coarsen(series, pair.step_s, int(pair.utc[0])), notes


def _known(ids: NDArray[Any], train: xr.Dataset, real: xr.Dataset, pair: Pair) -> NDArray[np.bool_]:
    """(training cells,) those that are compared or stand on the ground of cells that are."""
    known = np.isin(ids, pair.ids)
    network = train.attrs.get("network")
    if network and network == real.attrs.get("network") and "location" in train.coords and "location" in real.coords:
        known |= np.isin(train["location"].values, real["location"].values[pair.rows])
    return known


def _like(every: Panel, pair: Pair) -> Floats | str:
    """(cells, steps) training values at the steps compared, else at the same slots of the week, weeks repeated."""
    values: Floats = every.values[0]
    lag, part = divmod(int(pair.utc[0]) - every.start_s, pair.step_s)
    if part == 0 and lag >= 0 and lag + len(pair.utc) <= every.steps:
        return values[:, lag : lag + len(pair.utc)]
    if WEEK_S % pair.step_s or every.steps * pair.step_s < WEEK_S:
        return "--train holds neither the times compared nor a whole week"
    steps = every.steps * pair.step_s // WEEK_S * (WEEK_S // pair.step_s)
    first, start, overlap = same_slot(every.clock[:steps], pair.clock, pair.step_s)
    if not overlap or ((int(every.clock[first]) - int(pair.clock[start])) % WEEK_S):
        return "--train has no step in the same slot of the week as those compared"
    return values[:, (first - start + np.arange(len(pair.utc))) % steps]


def _features(
    context: xr.Dataset, training: Training, pair: Pair
) -> tuple[tuple[Floats, Floats], tuple[Floats, Floats]]:
    """((own of training, own of test), (own and neighbourhood of training, of test)): standardised log POI counts."""
    row = {cell: k for k, cell in enumerate(context["cell_id"].values.astype(str).tolist())}
    at = []
    for file, ids in (("--train", training.every.ids[training.live]), ("--real", pair.ids)):
        missing = [cell for cell in ids.tolist() if cell not in row]
        if missing:
            raise WrongUse(
                f"--context lacks {len(missing)} cells of {file}, the first is {str(missing[0])!r}: give the context "
                "of all cells of --train and --real"
            )
        at.append(np.array([row[cell] for cell in ids.tolist()]))
    if "location" in context.coords:
        ground = np.unique(context["location"].values, return_inverse=True)[1]
    else:
        ground = block_locations(context["x"].values, context["y"].values, NEIGHBOURHOOD_M)
    own, around = naive.poi_features(context["poi_count"].values, ground)
    mine, both = naive.standardise(own), naive.standardise(np.concatenate([own, around], axis=1))
    return (mine[at[0]], mine[at[1]]), (both[at[0]], both[at[1]])


def _knn_level(past: Floats, known: Floats, wanted: Floats, rng: np.random.Generator) -> Floats:
    """`naive.knn_level`, some test cells at a time."""
    parts = [wanted[i : i + TESTED_AT_ONCE] for i in range(0, len(wanted), TESTED_AT_ONCE)]
    return np.concatenate([naive.knn_level(past, known, part, MEMBERS, rng) for part in parts], axis=1)


def _climatology(training: Training, pair: Pair) -> Floats | str:
    """The cells' own earlier weeks, where training holds them."""
    every = training.every
    row = {cell: k for k, cell in enumerate(every.ids.tolist())}
    at = [row[cell] for cell in pair.ids.tolist() if cell in row]
    if len(at) < len(pair.ids):
        return f"--train holds {len(at)} of the {len(pair.ids)} cells compared: earlier weeks of the same are needed"
    if int(every.utc[-1]) + pair.step_s > int(pair.utc[0]):
        return "--train is not earlier than the compared period"
    past, now = ((clock - MONDAY_S) % WEEK_S // pair.step_s for clock in (every.clock, pair.clock))
    try:
        return naive.climatology(every.values[0][at].astype(np.float64), past, now)
    except ValueError as error:
        return str(error)


def _b_users(training: Training, pair: Pair, real: xr.Dataset) -> Floats | str:
    """One factor times the users of the cells compared."""
    if training.users is None or "users" not in real or pair.services[0] == "users":
        return "users are not in both --train and --real"
    users = coarsen(read_series(real, "--real", "users"), pair.step_s, int(pair.utc[0]))
    first = (int(pair.utc[0]) - users.start_s) // pair.step_s
    now = users.values[0][pair.rows, first : first + len(pair.utc)]
    if not training.users.any():
        return "--train's users are all zero"
    return naive.b_users(training.values.astype(np.float64), training.users.astype(np.float64), now)
