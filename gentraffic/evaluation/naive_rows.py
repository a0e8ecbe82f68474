"""The naive generators: the rows that stand beside every model in every table (metrics.md, "Naive rows").

Plain NumPy with an explicit random generator. `train` is (training cells, steps), live cells of one city in any units;
results are (members, test cells, steps) in the same units and over the same steps. Features are what a planner knows of
a place (`poi_features`), standardised within the city by `standardise`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Generator = np.random.Generator


def poi_features(
    poi_count: NDArray[np.integer], location: NDArray[np.integer]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(own, neighbourhood): log(1 + POI counts), each (cells, 9): the categories and their total.

    own: of the cell; neighbourhood: of the mean over the cells of its `location` (cells,), the 4x4 patch.
    poi_count: (cells, 8) POIs of each category.
    """
    _, group = np.unique(location, return_inverse=True)
    counts = np.concatenate([poi_count, poi_count.sum(axis=1, keepdims=True)], axis=1).astype(np.float64)
    sums = np.zeros((group.max() + 1, counts.shape[1]))
    np.add.at(sums, group, counts)
    return np.log1p(counts), np.log1p(sums / np.bincount(group)[:, None])[group]


def standardise(features: Floats, reference: Floats | None = None) -> NDArray[np.float64]:
    """`features` (cells, n) minus the mean and over the standard deviation of `reference` (default: themselves).

    Columns that do not vary become 0.
    reference: (other cells, n).
    """
    base = features if reference is None else reference
    spread = base.std(axis=0)
    return np.asarray((features - base.mean(axis=0)) / np.where(spread > 0, spread, np.inf))


def mean_series(train: Floats, cells: int) -> NDArray[np.float64]:
    """`mean-series`: the mean of all training series, for every cell. (1, cells, steps).

    train: (training cells, steps).
    """
    return np.broadcast_to(train.mean(axis=0, dtype=np.float64), (1, cells, train.shape[1])).copy()


def bootstrap(train: Floats, cells: int, members: int, rng: Generator) -> Floats:
    """`bootstrap`: the series of a training cell drawn at random. (members, cells, steps).

    train: (training cells, steps).
    """
    return np.asarray(train[rng.integers(len(train), size=(members, cells))])


def knn(train: Floats, train_features: Floats, test_features: Floats, k: int) -> Floats:
    """`knn-1`, `knn-20`: the series of the k training cells nearest in standardised log POI counts, nearest first.

    (k, cells, steps); fewer members where fewer training cells exist.
    train: (training cells, steps). train_features: (training cells, n). test_features: (cells, n).
    """
    from scipy.spatial import cKDTree

    k = min(k, len(train))
    _, index = cKDTree(train_features).query(test_features, k=np.arange(1, k + 1))
    return np.asarray(train[index.T])


@dataclass(frozen=True)
class Ridge:
    """A linear model: value = features @ weight + offset."""

    weight: NDArray[np.float64]  # (features,)
    offset: float

    def __call__(self, features: Floats) -> NDArray[np.float64]:
        """(cells, features) -> (cells,)"""
        return np.asarray(features @ self.weight + self.offset)


def fit_ridge(features: Floats, values: Floats, penalty: float) -> Ridge:
    """Least squares with `penalty` x |weight|^2; the offset is free. Hoerl and Kennard, Technometrics 12 (1970).

    features: (rows, n). values: (rows,).
    """
    centre, mean = features.mean(axis=0), float(values.mean())
    moved = features - centre
    gram = moved.T @ moved + penalty * np.eye(features.shape[1])
    weight = np.linalg.solve(gram, moved.T @ (values - mean))
    return Ridge(weight, mean - float(centre @ weight))


def fit_level(cities: list[tuple[Floats, Floats]], penalty: float = 200.0) -> Ridge:
    """Ridge regression of the log mean level, pooled over cities: [(series (cells, steps), features (cells, n)), ...].

    Features are standardised per city. Each city's log levels are centred first, so the model predicts the log level
    relative to the city; add `city_level(train)` of the city for which it is used. Held-out errors on `uomo_*` differ
    by 2% between penalties of 3 and 1000.
    """
    log = [np.log(series.mean(axis=1, dtype=np.float64)) - city_level(series) for series, _ in cities]
    return fit_ridge(np.concatenate([f for _, f in cities]), np.concatenate(log), penalty)


def city_level(train: Floats) -> float:
    """Mean of the log mean level of a city's training cells.

    train: (training cells, steps). Every cell must carry traffic.
    """
    return float(np.log(train.mean(axis=1, dtype=np.float64)).mean())


def knn_level(
    train: Floats, train_level: Floats, test_level: Floats, members: int, rng: Generator, neighbours: int = 30
) -> Floats:
    """`knn-level`: the series of one of the `neighbours` training cells nearest in predicted log level.

    `train_level` (training cells,) and `test_level` (cells,) are one ridge model's predictions for both.
    Members are drawn without repetition while there are enough. (members, cells, steps)
    train: (training cells, steps).
    """
    neighbours = min(neighbours, len(train))
    near = np.argsort(np.abs(test_level[:, None] - train_level[None]), axis=1, kind="stable")[:, :neighbours]
    rounds = -(-members // neighbours)
    order = np.concatenate([rng.permuted(near, axis=1) for _ in range(rounds)], axis=1)[:, :members]
    return np.asarray(train[order.T])


def shapes(train: Floats) -> NDArray[np.float64]:
    """Each series over its own mean: (cells, steps), every row with mean 1. train: (cells, steps)."""
    return np.asarray(train / train.mean(axis=1, keepdims=True, dtype=np.float64))


def level_x_mean_shape(train: Floats, level: Floats) -> NDArray[np.float64]:
    """`ridge-level x mean-shape`: predicted level (cells,), in units, times the mean shape. (1, cells, steps).

    train: (training cells, steps).
    """
    return np.asarray(level[None, :, None] * shapes(train).mean(axis=0))


def level_x_bootstrap_shape(train: Floats, level: Floats, members: int, rng: Generator) -> Floats:
    """`ridge-level x bootstrap-shape`: a level (cells,) times the shape of a random training cell.

    With the true level it is the row against which `crps_shape` is read. (members, cells, steps)
    train: (training cells, steps).
    """
    return np.asarray(level[None, :, None] * bootstrap(shapes(train), len(level), members, rng))


def climatology(past: Floats, past_hour: NDArray[np.integer], hour: NDArray[np.integer]) -> NDArray[np.float64]:
    """`climatology` (P2, P3): the same cell's mean at the same hour of the week.

    `past` (cells, past steps), `past_hour` (past steps,) and `hour` (steps,) name the slot of the week of each step.
    (1, cells, steps). Raises ValueError for a slot that the past does not hold.
    """
    missing = np.setdiff1d(hour, past_hour)
    if len(missing):
        raise ValueError(f"the past holds no step in slot {missing[0]} of the week ({len(missing)} such slots)")
    slots, position = np.unique(past_hour, return_inverse=True)
    onto = np.zeros((past.shape[1], len(slots)))
    onto[np.arange(past.shape[1]), position] = 1.0 / np.bincount(position)[position]
    return np.asarray((past @ onto)[None][..., np.searchsorted(slots, hour)])


def b_users(train: Floats, train_users: Floats, users: Floats) -> NDArray[np.float64]:
    """`b*users`: one factor b, fitted by least squares on the training cells, times the users. (1, cells, steps).

    train, train_users: (training cells, steps). users: (cells, steps).
    """
    b = float(np.vdot(train_users, train)) / float(np.vdot(train_users, train_users))
    return np.asarray(b * users.astype(np.float64))[None]
