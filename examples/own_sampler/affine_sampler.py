"""A normal distribution around a mean that the hour of the week and the place explain: the smallest sampler."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from samplers.diffusion import masked_mean
from samplers.hours import HourLeave, Surroundings
from samplers.layers import per_hour
from samplers.sampler import Condition, Sampler, register_to_config


class Affine(Sampler):
    """Draws each step around a mean, with a spread; both depend on the condition at that hour."""

    log_losses = True  # they are minus log likelihoods, which may be below 0

    @register_to_config
    def __init__(
        self, place_dim: int = 32, time_dim: int = 32, networks: int = 1, width: int = 32,
        cadences: tuple[int, ...] = (1, 2, 4, 6), dropout: float = 0.1,
        use_time: bool = True, use_place: bool = True, use_profile: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.cadences = tuple(cadences)
        self.surroundings = Surroundings(
            place_dim, time_dim, networks, width, cadences, dropout, use_time, use_place, use_profile
        )
        self.week = nn.Linear(width, width)  # what one hour is given counts for the others through the mean of all
        self.mean, self.log_spread = HourLeave(width, cadences), HourLeave(width, cadences)

    def noise_size(self, steps: int) -> int:
        """Standard normal numbers that a series of `steps` steps is drawn from."""
        return steps

    def normal(self, condition: Condition, steps: int) -> tuple[Tensor, Tensor]:
        """Mean and logarithm of the spread at every step, (B, steps) each."""
        k = per_hour(steps, self.cadences)
        guide = self.surroundings(condition, k)
        guide = functional.silu(guide + self.week(functional.silu(guide).mean(1, keepdim=True)))
        return self.mean(guide, k), self.log_spread(guide, k).clamp(-4.0, 1.5)

    def forward(self, z: Tensor, condition: Condition) -> Tensor:
        """z (B, 168 k) standard normal -> series (B, 168 k), given values in their places."""
        mean, log_spread = self.normal(condition, z.shape[1])
        x = mean + log_spread.exp() * z
        return x if condition.known is None else torch.where(condition.known.isnan(), x, condition.known)

    def loss(self, x: Tensor, condition: Condition, generator: torch.Generator) -> Tensor:
        """Negative log likelihood per step. x: (B, 168 k) clean series, nan where nothing was measured."""
        mean, log_spread = self.normal(condition, x.shape[1])
        scored = ~x.isnan() if condition.known is None else ~x.isnan() & condition.known.isnan()
        return masked_mean(log_spread + 0.5 * ((x.nan_to_num() - mean) / log_spread.exp()).square(), scored)
