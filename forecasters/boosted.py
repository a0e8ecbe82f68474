"""lightgbm: gradient-boosted trees for every step ahead, on what a practitioner would give them.

For the step to forecast they see the last six values of the cell, yesterday's around the same time, last week's at the
same time, the mean of the eight neighbours now and yesterday, the time of day, and the day of the week. They minimise
the absolute error and are trained by the package LightGBM (Ke et al., 2017: "LightGBM: a highly efficient gradient
boosting decision tree"). What is kept are plain tensors, so that forecasting needs no LightGBM and a model folder can
run no code.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from forecasters.protocol import CONTEXT
from forecasters.windows import Windows

SIDE = 3  # of the neighbourhood: the cell and the eight around it
AROUND = 1  # steps before and after the same time yesterday
DEPTH = 8  # of a tree at most: how many turns a forecast takes
MOST_WINDOWS = 200_000  # that train; more are thinned evenly
PATIENCE = 50  # trees without a better validation score that end the training of a step ahead
LEARNING_RATE = 0.05
LEAVES = 31


class LightGBM(ModelMixin, ConfigMixin):  # type: ignore[misc]  # they disagree about config_name
    """Boosted trees, one sequence of them for each step ahead and service.

    weeks: whether it sees last week, which needs a week of history. nodes, trees: how many there are, 0 before
    training. Called with the clock: see forecasters.Forecaster.
    """

    clock = True
    feature: Tensor  # (nodes,) the column that a node looks at
    threshold: Tensor  # (nodes,) values up to it go to the first child
    child: Tensor  # (nodes, 2) where to go on; a leaf leads to itself
    value: Tensor  # (nodes,) what a leaf adds, in standard deviations of the cell
    root: Tensor  # (trees,) the first node of a tree
    output: Tensor  # (trees,) the step ahead and service it belongs to: step * services + service

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self, per_day: int, services: int = 1, horizon: int = 6, weeks: bool = True, nodes: int = 0, trees: int = 0
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # diffusers has types in part
        self.per_day, self.services, self.side, self.horizon, self.weeks = per_day, services, SIDE, horizon, weeks
        self.horizon = min(horizon, per_day - AROUND - 1)
        week = range(7 * per_day, 7 * per_day - self.horizon, -1) if weeks else ()
        self.days = range(per_day + AROUND, per_day - self.horizon - AROUND, -1)
        self.lags = (*week, *self.days, *range(CONTEXT, 0, -1))
        whole = {"feature": (nodes,), "child": (nodes, 2), "root": (trees,), "output": (trees,)}
        for name, shape in whole.items():
            self.register_buffer(name, torch.zeros(shape, dtype=torch.int64))
        for name in ("threshold", "value"):
            self.register_buffer(name, torch.zeros(nodes))

    @property
    def context(self) -> int:
        """Steps of history that one forecast needs: the oldest lag."""
        return int(max(self.lags))

    def forward(self, past: Tensor, when: Tensor) -> Tensor:
        """past (batch, lags, 3, 3, services), when (batch,) as in forecasters.Forecaster -> (batch, horizon, services).

        Raises RuntimeError before training.
        """
        if not len(self.root):
            raise RuntimeError("lightgbm has no trees: train it first")
        steps = [self._output(self.features(past, when, step), step) for step in range(self.horizon)]
        return torch.stack(steps, dim=1)

    def loss(self, past: Tensor, future: Tensor, when: Tensor) -> Tensor:
        """Mean absolute error, scalar.

        past: (batch, lags, 3, 3, services). future: (batch, horizon, services). when: (batch,) step of the week.
        """
        return functional.l1_loss(self.forward(past, when), future)

    def features(self, past: Tensor, when: Tensor, step: int) -> Tensor:
        """What the trees see to forecast one step: (batch, columns).

        past: (batch, lags, 3, 3, services). when: (batch,) step of the week of the first step ahead. step: 0 for it.
        """
        ring = past.flatten(2, 3)[:, :, [0, 1, 2, 3, 5, 6, 7, 8]].mean(dim=2)  # (batch, lags, services)
        centre = past[:, :, 1, 1]
        at = {lag: k for k, lag in enumerate(self.lags)}
        yesterday = [at[self.per_day - step + d] for d in range(AROUND, -AROUND - 1, -1)]
        seen = [*([at[7 * self.per_day - step]] if self.weeks else ()), *yesterday]
        seen += [at[lag] for lag in range(CONTEXT, 0, -1)]
        around = [at[self.per_day - step], at[2], at[1]]
        time = when + step
        clock = torch.stack([time % self.per_day, time // self.per_day % 7], dim=1).to(past.dtype)
        return torch.cat([centre[:, seen].flatten(1), ring[:, around].flatten(1), clock], dim=1)

    def _output(self, x: Tensor, step: int) -> Tensor:
        """The sums of the trees of one step ahead: x (batch, columns) -> (batch, services)."""
        outputs = []
        for service in range(self.services):
            node = self.root[self.output == step * self.services + service].expand(len(x), -1)  # (batch, trees)
            for _ in range(DEPTH):
                right = x.gather(1, self.feature[node]) > self.threshold[node]
                node = self.child[node, right.long()]
            outputs.append(self.value[node].sum(dim=1))
        return torch.stack(outputs, dim=1)


def fit_lightgbm(
    model: LightGBM,
    train: Sequence[Windows],
    later: Sequence[Windows],
    *,
    trees: int | None = None,
    seed: int = 0,
    shares: Sequence[float] | None = None,
    on_step: Callable[[int, int, float], None] | None = None,
) -> dict[str, Any]:
    """Train the trees of `model` on windows, in place; what is worth telling of it.

    later: windows whose absolute error ends the training of each step ahead; without them all `trees` are kept.
    trees: for each step ahead at most, None for 600, or 200 without `later`. seed: of rows and columns left out.
    shares: how much each of `train` counts, None for by its windows. on_step: told (sequences done, of, validation
    error). The same seed gives the same trees, whatever the number of threads.
    """
    import lightgbm

    most = trees or (600 if later else 200)
    weights = None if shares is None else _weights(train, shares)
    past, future, when = _gathered(train, MOST_WINDOWS, weights is None)
    checked = _gathered(later, MOST_WINDOWS // 5, True) if later else None
    settings = {
        "objective": "l1", "learning_rate": LEARNING_RATE, "num_leaves": LEAVES, "max_depth": DEPTH,
        "min_data_in_leaf": min(50, max(1, len(past) // 100)), "bagging_fraction": 0.8, "bagging_freq": 1,
        "feature_fraction": 0.8, "seed": seed, "deterministic": True, "force_row_wise": True, "verbose": -1,
        "num_threads": torch.get_num_threads(),
    }  # fmt: skip
    columns: list[list[NDArray[Any]]] = []
    facts: dict[str, Any] = {"windows": len(past), "steps": 0, "trees": []}
    for step in range(model.horizon):
        x = model.features(past, when, step).numpy()
        y = None if checked is None else model.features(checked[0], checked[2], step).numpy()
        for service in range(model.services):
            data = lightgbm.Dataset(x, _column(future, step, service), weight=weights, free_raw_data=False)
            valid: list[Any] = []
            stop: list[Callable[..., Any]] = []
            if checked is not None and y is not None:
                valid = [lightgbm.Dataset(y, _column(checked[1], step, service), reference=data)]
                stop = [lightgbm.early_stopping(PATIENCE, verbose=False)]
            booster = lightgbm.train(settings, data, most, valid_sets=valid, callbacks=stop)
            kept = booster.best_iteration or most
            facts["trees"].append(kept)
            facts["steps"] += kept
            columns.append(_nodes(booster.dump_model(num_iteration=kept)["tree_info"], step * model.services + service))
            if on_step is not None:
                error = booster.best_score["valid_0"]["l1"] if valid else float("nan")
                on_step(len(columns), model.horizon * model.services, error)
    _keep(model, columns)
    return facts


def _gathered(windows: Sequence[Windows], most: int, thinned: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Past, future and clock of the windows, evenly thinned to `most` in all."""
    total = sum(len(w) for w in windows)
    pieces = []
    for w in windows:
        count = len(w) if total <= most or not thinned else max(1, len(w) * most // total)
        index = torch.from_numpy(np.linspace(0, len(w) - 1, min(count, most)).round().astype(np.int64))
        pieces.append((*w.gather(index), w.when(index)))
    past, future, when = (torch.cat(part) for part in zip(*pieces, strict=True))
    return past.cpu(), future.cpu(), when.cpu()


def _column(future: Tensor, step: int, service: int) -> NDArray[np.float32]:
    """One target of the windows, (windows,): future (windows, horizon, services)."""
    return np.ascontiguousarray(future[:, step, service].numpy())


def _weights(train: Sequence[Windows], shares: Sequence[float]) -> NDArray[np.float64]:
    """The weight of every window, (windows,), so that each of `train` counts as its share says."""
    total, sizes = float(np.sum(shares)), [min(len(w), MOST_WINDOWS) for w in train]
    each = [np.full(n, share / total / n) for n, share in zip(sizes, shares, strict=True)]
    return np.concatenate(each) * sum(sizes)


def _nodes(trees: Sequence[dict[str, Any]], output: int) -> list[NDArray[Any]]:
    """The trees of one sequence as rows: feature, threshold, child 0, child 1, value; roots; and their output."""
    rows: list[tuple[int, float, int, int, float]] = []
    roots = []
    for tree in trees:
        roots.append(len(rows))
        rows.append((0, 0.0, 0, 0, 0.0))
        waiting = [(tree["tree_structure"], len(rows) - 1)]
        while waiting:
            node, at = waiting.pop()
            if "leaf_value" in node:
                rows[at] = (0, 0.0, at, at, float(node["leaf_value"]))
                continue
            low = len(rows)
            rows += [(0, 0.0, 0, 0, 0.0)] * 2
            rows[at] = (int(node["split_feature"]), float(node["threshold"]), low, low + 1, 0.0)
            waiting += [(node["left_child"], low), (node["right_child"], low + 1)]
    return [np.array(rows, dtype=np.float64), np.array(roots), np.full(len(roots), output)]


def _keep(model: LightGBM, columns: Sequence[Sequence[NDArray[Any]]]) -> None:
    """Put the trees into the model's tensors."""
    nodes = np.concatenate([rows for rows, _, _ in columns])
    first = np.cumsum([0, *(len(rows) for rows, _, _ in columns)])[:-1]
    shift = np.repeat(first, [len(rows) for rows, _, _ in columns])
    model.feature = torch.from_numpy(nodes[:, 0].astype(np.int64))
    model.threshold = torch.from_numpy(_rounded_down(nodes[:, 1]))
    model.child = torch.from_numpy(nodes[:, 2:4].astype(np.int64) + shift[:, None])
    model.value = torch.from_numpy(nodes[:, 4].astype(np.float32))
    model.root = torch.from_numpy(np.concatenate([r + f for (_, r, _), f in zip(columns, first, strict=True)]))
    model.output = torch.from_numpy(np.concatenate([output for _, _, output in columns]))
    model.register_to_config(  # type: ignore[no-untyped-call]
        nodes=len(nodes), trees=len(model.root)
    )


def _rounded_down(threshold: NDArray[np.float64]) -> NDArray[np.float32]:
    """The largest float32 that is not above: float32 values are on the same side of it as of the float64."""
    near = threshold.astype(np.float32)
    return np.where(near > threshold, np.nextafter(near, np.float32(-np.inf)), near)
