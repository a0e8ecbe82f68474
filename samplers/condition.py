"""What a denoiser may know about the series that it draws."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

DAYS = 7
HOURS = 24
WEEK = DAYS * HOURS  # hours in a window: every denoiser draws one week at a time


@dataclass(frozen=True)
class Condition:
    """Everything a denoiser is told, for B series of T = 168 k steps (k steps an hour).

    place: (B, P) what stands there: the station embedding F_s of STOUTER eq. 2; zeros where nothing is known.
    time: (1 or B, T, Q) what time it is: the embedding F_t of STOUTER eq. 1 at every step, in local time.
    level: (B, 2) standardised log mean level of the series, and 1 where it is given (0, 0 where it is not).
    network: (B,) index of the measured network that the place belongs to; 0 = a network that nobody measured.
    known: (B, T) values that are given already (same scale as x), nan where they are to be drawn; None: all unknown.
    profile: (B, 2, T) the usual week of the place, by its own past, at the steps of this window (same scale as x), and
    how far to trust it, n / (n + 1) for a past of n weeks; 0, 0 where it holds no such step. None: no past anywhere.
    service: (B,) which of the services of a model it is, 0 = the main one; None: all are.
    """

    place: Tensor
    time: Tensor
    level: Tensor
    network: Tensor
    known: Tensor | None = None
    profile: Tensor | None = None
    service: Tensor | None = None

    def rows(self, index: Tensor | slice) -> Condition:
        """The same condition for some of the series. index: (n,) positions, or a slice."""
        return self._map(lambda tensor: tensor if tensor.shape[0] == 1 and tensor is self.time else tensor[index])

    def to(self, device: torch.device | str) -> Condition:
        """The same condition on another device."""
        return self._map(lambda tensor: tensor.to(device))

    def with_known(self, known: Tensor | None) -> Condition:
        """The same condition with other given values `known` (B, T)."""
        return replace(self, known=known)

    def without_place(self) -> Condition:
        """The unconditional twin that classifier-free guidance compares with: no place, no level; the rest stays."""
        return replace(self, place=torch.zeros_like(self.place), level=torch.zeros_like(self.level))

    def _map(self, change: Callable[[Tensor], Tensor]) -> Condition:
        return Condition(
            place=change(self.place),
            time=change(self.time),
            level=change(self.level),
            network=change(self.network),
            known=None if self.known is None else change(self.known),
            profile=None if self.profile is None else change(self.profile),
            service=None if self.service is None else change(self.service),
        )
