"""What a forecaster is: it sees neighbourhoods of the past and says what the cell in their middle will carry.

All arrays are scaled per cell (`forecasters.scaling`). Services come last, also when there is one.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

CONTEXT = 6  # past frames (sLSTM-STN, section IV-B)
SIDE = 11  # cells along a neighbourhood: r = 10, r / 2 on each side (sLSTM-STN eq. 5)


class Forecaster(Protocol):
    """A network that forecasts one cell from its neighbourhood (sLSTM-STN eq. 8).

    lags: which past frames it sees, in steps before the first step forecast, oldest first; (6, 5, 4, 3, 2, 1) in the
    paper. context: the oldest of them, so how many steps of history it needs. side: cells along the neighbourhood, odd.
    horizon: steps that one call gives; further steps come by feeding forecasts back. per_day: steps of a day it was
    built for. services: how many are forecast together.

    A forecaster whose attribute `clock` is True is also told the time: `model(past, when)` and `model.loss(past,
    future, when)`, when (batch,) the step of the week of the first step ahead, from Monday at midnight on the clock of
    the place (at 10 minutes, 7 * 144 is the next Monday).
    """

    lags: tuple[int, ...]
    side: int
    horizon: int
    per_day: int
    services: int

    @property
    def context(self) -> int:
        """Steps of history that one forecast needs: the oldest lag."""
        ...

    def __call__(self, past: Tensor) -> Tensor:
        """past (batch, lags, side, side, services) -> future of the centre (batch, horizon, services)."""
        ...

    def loss(self, past: Tensor, future: Tensor) -> Tensor:
        """What training minimises, scalar: past as in the call, future (batch, horizon, services)."""
        ...
