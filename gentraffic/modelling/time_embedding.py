"""The embedding of the hours of the week (STOUTER eq. 1) along windows that start on any day, at any cadence."""

from __future__ import annotations

import torch
from torch import Tensor

from samplers import WEEK


def time_of_windows(time: Tensor, weekday: Tensor, per_hour: int) -> Tensor:
    """The time embedding of weeks that start on the given days: time (168, Q), weekday (B,) -> (B, 168 k, Q)."""
    from graphs.temporal import interpolate_hours

    hours = torch.arange(WEEK * per_hour) / per_hour
    fine = interpolate_hours(time, hours.numpy()) if per_hour > 1 else time
    steps = torch.arange(WEEK * per_hour)[None, :]
    return fine[(steps + weekday[:, None] * 24 * per_hour) % (WEEK * per_hour)]
