"""Per-cell normalisation: mean and spread of the steps that a forecaster may know (sLSTM-STN, section IV-B)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class CellScaler:
    """mean, spread: (cells, services), in the units of the traffic; spread is positive."""

    mean: NDArray[np.float32]
    spread: NDArray[np.float32]

    def forward(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """values (cells, steps, services) traffic -> mean 0, spread 1 per cell."""
        out: NDArray[np.float32] = (values - self.mean[:, None]) / self.spread[:, None]
        return out

    def inverse(self, scaled: NDArray[np.float32]) -> NDArray[np.float32]:
        """scaled (cells, steps, services) -> traffic, which is never negative."""
        out: NDArray[np.float32] = np.maximum(scaled * self.spread[:, None] + self.mean[:, None], 0.0)
        return out


def fit_scaler(known: NDArray[np.float32]) -> CellScaler:
    """The scaler of the steps in `known` (cells, steps, services): give the training part only.

    A cell that never changes there takes the mean spread of the others, so that doubling the units doubles it too.
    """
    mean = known.mean(axis=1, dtype=np.float64)
    spread = known.std(axis=1, dtype=np.float64)
    typical = spread.mean(axis=0)
    spread = np.where(spread > 1e-6 * typical, spread, np.where(typical > 0, typical, 1.0))
    return CellScaler(mean.astype(np.float32), spread.astype(np.float32))
