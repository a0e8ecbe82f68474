"""What a sampler is told, and what it is to the training loop, to a model folder and to the drawing loop."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from diffusers.configuration_utils import ConfigMixin
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

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
    """

    place: Tensor
    time: Tensor
    level: Tensor
    network: Tensor
    known: Tensor | None = None
    profile: Tensor | None = None

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
        )


@dataclass(frozen=True)
class Turn:
    """One part of a training step: the parameters that move, and the loss that they move down."""

    loss: Callable[[Tensor, Condition, torch.Generator], Tensor]
    parameters: list[nn.Parameter]


class Sampler(ModelMixin, ConfigMixin, ABC):  # type: ignore[misc]  # they disagree about config_name
    """A trainable sampler of weeks; a subclass draws in many steps (`draw.Denoiser`) or at once (`draw.OneShot`).

    cadences: the steps per hour k that it can draw. series_at_once: how many series one call is best given: with fewer,
    threads wait for the interpreter; with more, activations leave the processor's cache.
    """

    cadences: tuple[int, ...]
    series_at_once: int = 128

    @abstractmethod
    def loss(self, x: Tensor, condition: Condition, generator: torch.Generator) -> Tensor:
        """What training makes small, scalar. x: (B, 168 k) clean series, nan where nothing was measured."""

    def turns(self) -> list[Turn]:
        """The turns of one training step, in order: one with everything, unless parts of the model are rivals."""
        return [Turn(self.loss, list(self.parameters()))]

    def score(self, x: Tensor, condition: Condition, generator: torch.Generator) -> Tensor:
        """What tells on held-out windows when to stop, scalar, lower is better: the loss, where that can tell.

        x: (B, 168 k) clean series, nan where nothing was measured.
        """
        return self.loss(x, condition, generator)
