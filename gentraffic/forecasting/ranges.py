"""How sure a forecast is: the errors that a forecaster made on the validation part, drawn again beside new forecasts.

A member of a forecast is the forecast plus the path of errors of one moment of the validation part at about the same
time of day; every cell takes the path of a cell at random, in standard deviations of its own. So the members keep how
errors grow with the steps ahead, how they last, what all cells have in common, and that nights are easier than days.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gentraffic.errors import BadInput

Floats = NDArray[np.float32]

STARTS, CELLS = 120, 50  # of the validation part that are kept at most
STEPS = 36  # ahead that are kept at most: six hours of 10 minutes, a day and a half of hours
NEAR = 12  # moments of about the same time of day that a forecast draws from
PURPOSE = 47  # of the random streams of this module
LEVELS = (0.05, 0.95)  # of the range whose coverage is told


@dataclass(frozen=True)
class ErrorPaths:
    """errors: (starts, cells, steps, services) real less forecast, in standard deviations of the cell. step_of_day:
    (starts,) of the first step ahead, on the clock of the place. per_day: steps of a day."""

    errors: Floats
    step_of_day: NDArray[np.int64]
    per_day: int

    @property
    def steps(self) -> int:
        """Steps ahead that are known."""
        return int(self.errors.shape[2])

    def near(self, step_of_day: int) -> NDArray[np.int64]:
        """The starts whose time of day is nearest, (near,)."""
        away = np.abs(self.step_of_day - step_of_day % self.per_day)
        away = np.minimum(away, self.per_day - away)
        return np.argsort(away, kind="stable")[:NEAR]

    def check(self, horizon: int) -> None:
        """Raise BadInput where errors of so many steps ahead are not known."""
        if horizon > self.steps:
            raise BadInput(
                f"--members with --horizon {horizon}: the errors of this forecaster are known up to {self.steps} steps "
                f"ahead; give --horizon {self.steps} or less, or leave --members out"
            )


def members_of(
    paths: ErrorPaths, ahead: Floats, spread: Floats, step_of_day: int, members: int, seed: int = 0
) -> Floats:
    """Forecasts with errors drawn: (members, cells, horizon, services), never negative.

    ahead: (cells, horizon, services) the forecast. spread: (cells, services) of the scaler, in the units of `ahead`.
    step_of_day: of the first step ahead. Raises BadInput for a horizon beyond the known errors.
    """
    cells, horizon = ahead.shape[:2]
    paths.check(horizon)
    near, out = paths.near(step_of_day), np.empty((members, *ahead.shape), dtype=np.float32)
    for member in range(members):
        rng = np.random.default_rng((seed, PURPOSE, member))
        taken = paths.errors[rng.choice(near), rng.integers(paths.errors.shape[1], size=cells), :horizon]
        out[member] = np.maximum(ahead + taken * spread[:, None], 0.0)
    return out


def coverage(
    paths: ErrorPaths, predicted: Floats, real: Floats, spread: Floats, step_of_day: NDArray[np.int64]
) -> NDArray[np.float64]:
    """The share of real values within the central 90% of what `members_of` draws from: (services, steps ahead).

    predicted, real: (starts, cells, horizon, services). spread: (cells, services). step_of_day: (starts,) of the first
    step ahead. NaN for steps beyond the known errors. Cells that carry nothing are left out.
    """
    starts, _, horizon, services = predicted.shape
    live = np.asarray((real > 0).any(axis=(0, 2)))  # (cells, services)
    inside = np.full((starts, horizon, services), np.nan)
    for start in range(starts):
        errors = paths.errors[paths.near(int(step_of_day[start]))]  # (near, cells, steps, services)
        low, high = np.quantile(errors, LEVELS, axis=(0, 1))  # (steps, services) each
        for s in range(services):
            known = min(horizon, paths.steps)
            middle, wide = predicted[start, live[:, s], :known, s], spread[live[:, s], s, None]
            value = real[start, live[:, s], :known, s]
            floor = np.maximum(middle + low[None, :known, s] * wide, 0.0)
            held = (value >= floor) & (value <= middle + high[None, :known, s] * wide)
            inside[start, :known, s] = held.mean(axis=0) if len(held) else np.nan
    return np.asarray(inside.mean(axis=0).T)
