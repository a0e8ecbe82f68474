"""Weights of groups of windows, chosen over all weights of a forecaster (see forecasters.implicit)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from forecasters.bilevel import Weighting, minimise_by_cuts
from forecasters.implicit import NetworkProblem

if TYPE_CHECKING:
    from forecasters.windows import Windows

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Whole:
    """samples: windows of each group whose losses are weighed; as many for each group of those kept aside. ridge: how
    strongly the network is held where it is. inner_steps, adjoint_steps: see `forecasters.implicit.NetworkProblem`.
    cuts: at most."""

    samples: int = 64
    ridge: float = 0.1
    inner_steps: int = 8
    adjoint_steps: int = 8
    cuts: int = 10


def choose_over_network(
    model: Any,
    groups: Sequence[Sequence[Windows]],
    later: Sequence[Windows],
    start: Floats,
    whole: Whole,
    *,
    penalty: float,
    seed: int,
) -> Weighting:
    """The group weights (G,) with the least loss on the windows kept aside; the network stays as it was.

    model: a forecaster. groups: the windows of each of G groups, group 0 the real ones. start: (G,) where the search
    begins. penalty: as that of `Weigh`. seed: of which windows are taken.
    """
    inside = [_loss(model, windows, whole.samples, (seed, 2000 + i)) for i, windows in enumerate(groups)]
    aside = _loss(model, later, whole.samples * len(groups), (seed, 3000))
    parameters = [p for p in model.parameters() if p.requires_grad]
    flat = nn.utils.parameters_to_vector(parameters).detach().clone()
    problem = NetworkProblem(parameters, inside, aside, flat, whole.ridge, whole.inner_steps, whole.adjoint_steps)
    synthetic = np.arange(len(start)) > 0
    training = model.training
    model.eval()  # without dropout, so that the inner problem is the same whenever it is asked
    alone = problem(np.where(synthetic, 0.0, 1.0))[0]
    penalties = penalty * alone * synthetic.astype(np.float64)

    def outer(weights: Floats) -> tuple[float, Floats]:
        value, slope = problem(weights)
        return float(value + penalties @ weights), slope + penalties

    found = minimise_by_cuts(outer, start, tolerance=1e-3, most=whole.cuts)
    problem.restore()
    model.train(training)
    return found


def _loss(model: Any, windows: Sequence[Windows], most: int, key: tuple[int, ...]) -> Callable[[], Tensor]:
    """The network's loss, as it is then, on at most `most` windows: always the same ones, evenly from all of them."""
    rng, total = np.random.default_rng(np.random.SeedSequence(key)), sum(len(w) for w in windows)
    pieces = []
    for w in windows:
        count = min(len(w), max(1, round(most * len(w) / total)))
        index = torch.from_numpy(np.sort(rng.choice(len(w), count, replace=False)))
        pieces.append((*w.gather(index), w.when(index)) if getattr(model, "clock", False) else w.gather(index))
    batch = tuple(torch.cat(parts) for parts in zip(*pieces, strict=True))
    return lambda: cast("Tensor", model.loss(*batch))
