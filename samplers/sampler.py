"""What every sampler is to the training loop, to a model folder and to the drawing loop: a network with losses."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from diffusers.configuration_utils import ConfigMixin
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from samplers.condition import Condition


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
