"""TCN-GAN, STOUTER's adversarial baseline: generator and critic are temporal convolutional networks.

TCN: residual blocks of two dilated causal convolutions (Bai, Kolter and Koltun 2018, section 3), as both players of
Quant GANs (Wiese et al., Quantitative Finance 20, 2020). The game is Wasserstein's with gradient penalty (Gulrajani et
al., NeurIPS 2017, algorithm 1), one critic step per generator step; the critic meets the condition by projection. Urban
knowledge graphs, which STOUTER excludes from this baseline, are excluded here as well: all samplers have one condition.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from samplers.diffusion import masked_mean, standard_normal
from samplers.hours import Dilated, HourEnter, HourLeave, Surroundings
from samplers.layers import per_hour
from samplers.sampler import WEEK, Condition, Sampler, Turn, register_to_config

PENALTY = 10.0  # lambda of Gulrajani et al., section 4
NOISE, SHARED = 4, 8  # numbers per hour, and per series: a week has surprises of both kinds
DRAWS = 4  # per window when it is scored


class _Block(nn.Module):
    def __init__(self, channels: int, dilation: int, *, causal: bool) -> None:
        super().__init__()
        self.first = Dilated(channels, channels, dilation, causal=causal)
        self.second = Dilated(channels, channels, dilation, causal=causal)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 168, C) -> the same."""
        h = functional.leaky_relu(self.first(x), 0.2)
        return x + functional.leaky_relu(self.second(h), 0.2)


class _TCN(nn.Sequential):
    def __init__(self, channels: int, blocks: int) -> None:
        super().__init__(*(_Block(channels, 2**i, causal=True) for i in range(blocks)))


class TCNGAN(Sampler):
    """Draws a week of traffic of B places at once. Two rivals, two turns: the critic's, then the generator's.

    place_dim, time_dim, networks, width, cadences, use_time, use_place: as in `STUNet`. channels, blocks: of each TCN;
    the dilation doubles from 1 with every block.
    """

    log_losses = True
    draws_level = True  # as its paper does
    takes_expected_week = False
    plan: ClassVar = {  # two minutes of one core
        "steps": 1200, "batch": 32, "learning_rate": 3e-3, "beta1": 0.0, "beta2": 0.9, "weight_decay": 0.0, "ema": 0.99,
    }  # fmt: skip

    @register_to_config
    def __init__(
        self,
        place_dim: int = 32,
        time_dim: int = 32,
        networks: int = 1,
        width: int = 32,
        channels: int = 20,
        blocks: int = 5,
        cadences: tuple[int, ...] = (1, 2, 4, 6),
        dropout: float = 0.1,
        use_time: bool = True,
        use_place: bool = True,
        use_profile: bool = False,
    ) -> None:
        super().__init__()
        self.cadences = tuple(cadences)
        sizes = (place_dim, time_dim, networks, width, cadences, dropout, use_time, use_place, use_profile)
        self.generator = nn.ModuleDict(
            {
                "surroundings": Surroundings(*sizes),
                "enter": nn.Linear(NOISE + SHARED + width, channels),
                "tcn": _TCN(channels, blocks),
                "leave": HourLeave(channels, cadences, zero=True),
            }
        )
        self.critic = nn.ModuleDict(
            {
                "surroundings": Surroundings(*sizes),
                "enter": HourEnter(1, channels, cadences),
                "guide": nn.Linear(width, channels),
                "tcn": _TCN(channels, blocks),
                "project": nn.Linear(width, channels),
                "judge": nn.Sequential(nn.Linear(channels, channels), nn.LeakyReLU(0.2), nn.Linear(channels, 1)),
            }
        )

    def noise_size(self, steps: int) -> int:
        """Standard normal numbers that a series is drawn from, the same number at every cadence."""
        return WEEK * NOISE + SHARED

    def forward(self, z: Tensor, condition: Condition) -> Tensor:
        """z (B, 168 x NOISE + SHARED) standard normal -> series (B, 168 k), given values in their places."""
        k = per_hour(condition.time.shape[1], self.cadences)
        part = self.generator
        noise = z[:, SHARED:].view(len(z), WEEK, NOISE)
        shared = z[:, None, :SHARED].expand(-1, WEEK, -1)
        guide = part["surroundings"](condition, k)
        h = part["tcn"](part["enter"](torch.cat([noise, shared, guide], dim=-1)))
        x: Tensor = part["leave"](h, k)
        return x if condition.known is None else torch.where(condition.known.isnan(), x, condition.known)

    def judge(self, x: Tensor, condition: Condition) -> Tensor:
        """The critic's value of each series x (B, 168 k): (B,), higher = more like a measured one."""
        k = per_hour(x.shape[1], self.cadences)
        part = self.critic
        guide = part["surroundings"](condition, k)
        h = functional.leaky_relu(part["tcn"](part["enter"]([x]) + part["guide"](guide)), 0.2)
        fits = (h * part["project"](guide)).mean(dim=2)  # (B, 168); Miyato and Koyama 2018, eq. 3
        values: Tensor = part["judge"](h).squeeze(2) + fits
        return values.sum(dim=1) / math.sqrt(WEEK)  # so that its gradient has a norm near 1 from the start

    def turns(self) -> list[Turn]:
        """The critic's turn, then the generator's (Gulrajani et al. 2017, algorithm 1 with n_critic = 1)."""
        return [
            Turn(self.critic_loss, list(self.critic.parameters())),
            Turn(self.loss, list(self.generator.parameters())),
        ]

    def critic_loss(self, x: Tensor, condition: Condition, generator: torch.Generator) -> Tensor:
        """E C(drawn) - E C(measured) + PENALTY x E (|gradient of C between the two| - 1)^2, scalar.

        x: (B, 168 k) clean series, nan where nothing was measured.
        """
        drawn = self._draw(x, condition, generator).detach()
        real = self._complete(x, condition)
        share = torch.rand(len(x), 1, generator=generator).to(x)
        between = (share * real + (1 - share) * drawn).requires_grad_()
        slope = torch.autograd.grad(self.judge(between, condition).sum(), between, create_graph=True)[0]
        penalty = ((slope.norm(dim=1) - 1) ** 2).mean()
        out: Tensor = self.judge(drawn, condition).mean() - self.judge(real, condition).mean() + PENALTY * penalty
        return out

    def loss(self, x: Tensor, condition: Condition, generator: torch.Generator) -> Tensor:
        """What the generator makes small: -E C(drawn), scalar.

        x: (B, 168 k) clean series, nan where nothing was measured.
        """
        return -self.judge(self._draw(x, condition, generator), condition).mean()

    @torch.no_grad()
    def score(self, x: Tensor, condition: Condition, generator: torch.Generator) -> Tensor:
        """Fair CRPS of a few draws, scalar: a critic's own loss does not say how good the generator is.

        x: (B, 168 k) clean series, nan where nothing was measured.
        """
        drawn = torch.stack([self._draw(x, condition, generator) for _ in range(DRAWS)])  # (DRAWS, B, T)
        error = (drawn - x.nan_to_num()).abs().mean(0)
        apart = (drawn[:, None] - drawn[None]).abs().sum((0, 1)) / (2 * DRAWS * (DRAWS - 1))
        measured = ~x.isnan()
        if condition.known is not None:
            measured = measured & condition.known.isnan()
        return masked_mean(error - apart, measured)

    def losses(self, x: Tensor, condition: Condition, seed: int) -> Tensor:
        """Minus the critic's value of each series, (B,): it is the critic that learns the training series by heart.

        LOGAN (Hayes, Melis, Danezis and De Cristofaro, PETS 2019). There is no noise, so no seed. x: (B, 168 k).
        """
        return -self.judge(x, condition).double()

    def _draw(self, x: Tensor, condition: Condition, generator: torch.Generator) -> Tensor:
        """Fresh draws, 0 where nothing was measured, so that the critic cannot tell by the gaps."""
        drawn = self(standard_normal((len(x), self.noise_size(x.shape[1])), generator, x), condition)
        gap = x.isnan() if condition.known is None else x.isnan() & condition.known.isnan()
        return torch.where(gap, torch.zeros_like(drawn), drawn)

    @staticmethod
    def _complete(x: Tensor, condition: Condition) -> Tensor:
        """Measured series, 0 in their gaps, given values in their places."""
        real = x.nan_to_num()
        return real if condition.known is None else torch.where(condition.known.isnan(), real, condition.known)
