"""Traffic over a cell's mean, as the networks see it: log(ratio + FLOOR), standardised."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FLOOR = 0.05  # of the cell's mean: below it a ratio counts as silence, so that empty hours do not rule the logarithm


@dataclass(frozen=True)
class Scaler:
    """mean and spread of log(ratio + floor) over the training windows."""

    mean: float
    spread: float
    floor: float = FLOOR

    def forward(self, ratio: NDArray[Any]) -> NDArray[np.float32]:
        """Ratios to the cell's mean -> standardised logs, same shape."""
        scaled: NDArray[np.float32] = ((np.log(ratio + self.floor) - self.mean) / self.spread).astype(np.float32)
        return scaled

    def inverse(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """The mirror of `forward`; nothing comes out negative, and nothing above 50 times the cell's mean."""
        ratio = np.exp(np.minimum(x * np.float32(self.spread) + np.float32(self.mean), np.float32(np.log(50.0))))
        out: NDArray[np.float32] = np.maximum(ratio - np.float32(self.floor), np.float32(0.0))
        return out
