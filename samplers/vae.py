"""A convolutional variational autoencoder (Kingma and Welling, ICLR 2014), conditional as in Sohn et al. 2015.

STOUTER's baseline takes a hybrid convolutional VAE from text generation; this one is its core for a week of traffic:
a strided convolutional encoder gives q(z | x, c), normal with diagonal covariance; a decoder of transposed convolutions
gives p(x | z, c), normal with a mean and a spread at every step; the loss is the negative evidence lower bound.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from samplers.diffusion import standard_normal
from samplers.hours import HourEnter, HourLeave, Surroundings
from samplers.layers import per_hour
from samplers.sampler import LOSS_DRAWS, WEEK, Condition, Sampler, register_to_config

HALVINGS = 3  # 168 -> 84 -> 42 -> 21 positions
SHORTEST = WEEK >> HALVINGS
LOG_SPREAD = (-4.0, 1.5)  # of what is drawn at one step, in standard deviations of the data: neither silent nor wild


class _Halve(nn.Module):
    """A convolution of width 4 and stride 2 around the week: (B, C_in, n) -> (B, C_out, n / 2)."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(c_in, c_out, 4, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(functional.pad(x, (1, 1), mode="circular"))
        return out


class _Double(nn.Module):
    """A transposed convolution of width 2 and one of width 3 around the week: (B, C_in, n) -> (B, C_out, 2 n)."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose1d(c_in, c_out, 2, stride=2)
        self.conv = nn.Conv1d(c_out, c_out, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(functional.pad(functional.silu(self.up(x)), (1, 1), mode="circular"))
        return out


class VAE(Sampler):
    """Draws a week of traffic of B places at once, from `latent` numbers per series and one more per step.

    place_dim, time_dim, networks, width, cadences, use_time, use_place: as in `STUNet`. channels: of the convolutions.
    """

    log_losses = True
    draws_level = True  # as its paper does
    takes_expected_week = False
    plan: ClassVar = {"steps": 2500}  # two minutes of one core
    plan_own_level: ClassVar = {"place_noise": 0.3, "place_keep": 0.9}  # it must tell levels by the place as well

    @register_to_config
    def __init__(
        self,
        place_dim: int = 32,
        time_dim: int = 32,
        networks: int = 1,
        width: int = 32,
        channels: int = 24,
        latent: int = 12,
        cadences: tuple[int, ...] = (1, 2, 4, 6),
        dropout: float = 0.1,
        use_time: bool = True,
        use_place: bool = True,
        use_profile: bool = False,
    ) -> None:
        super().__init__()
        self.latent = latent
        self.cadences = tuple(cadences)
        self.surroundings = Surroundings(
            place_dim, time_dim, networks, width, cadences, dropout, use_time, use_place, use_profile
        )
        self.enter = HourEnter(2, channels, cadences)
        self.encode_guide = nn.Linear(width, channels)
        self.encoder = nn.ModuleList(_Halve(channels, channels) for _ in range(HALVINGS))
        self.posterior = nn.Linear(channels * SHORTEST, 2 * latent)
        self.start = nn.Linear(latent, channels * SHORTEST)
        self.decode_guide = nn.ModuleList(nn.Linear(width, channels) for _ in range(HALVINGS + 1))
        self.decoder = nn.ModuleList(_Double(channels, channels) for _ in range(HALVINGS))
        self.mean = HourLeave(channels, cadences, zero=True)
        self.spread = HourLeave(channels, cadences, zero=True)

    def noise_size(self, steps: int) -> int:
        """Standard normal numbers that a series of `steps` steps is drawn from."""
        return self.latent + steps

    def forward(self, z: Tensor, condition: Condition) -> Tensor:
        """z (B, latent + 168 k) standard normal -> series (B, 168 k), given values in their places."""
        k = per_hour(z.shape[1] - self.latent, self.cadences)
        mean, log_spread = self.decode(z[:, : self.latent], self.surroundings(condition, k), k)
        x = mean + log_spread.exp() * z[:, self.latent :]
        return x if condition.known is None else torch.where(condition.known.isnan(), x, condition.known)

    def encode(self, x: Tensor, guide: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, 168 k), nan = not measured, guide (B, 168, W) -> mean and log variance of q(z | x, c), (B, latent)."""
        measured = ~x.isnan()
        h = self.enter([x.nan_to_num(), measured.to(guide.dtype)]) + self.encode_guide(guide)
        h = h.transpose(1, 2)
        for layer in self.encoder:
            h = layer(functional.silu(h))
        mean, log_variance = self.posterior(functional.silu(h).flatten(1)).chunk(2, dim=1)
        return mean, log_variance.clamp(-8.0, 8.0)

    def decode(self, z: Tensor, guide: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """z (B, latent), guide (B, 168, W) -> mean and log spread of p(x | z, c), (B, 168 k) each."""
        guide = guide.transpose(1, 2)  # (B, W, 168)
        h = self.start(z).view(len(z), -1, SHORTEST)
        for i, by_guide in enumerate(self.decode_guide):
            level = HALVINGS - i
            pooled = functional.avg_pool1d(guide, 1 << level) if level else guide
            h = h + by_guide(pooled.transpose(1, 2)).transpose(1, 2)
            if level:
                h = self.decoder[i](functional.silu(h))
        h = functional.silu(h).transpose(1, 2)
        return self.mean(h, k), self.spread(h, k).clamp(*LOG_SPREAD)

    def loss(self, x: Tensor, condition: Condition, generator: torch.Generator) -> Tensor:
        """The negative evidence lower bound, KL(q | p) - E_q log p(x | z, c), per scored step, in nats; scalar.

        x: (B, 168 k), nan where nothing was measured. Given values are part of c and are not scored.
        """

        def noise(centre: Tensor) -> Tensor:
            return standard_normal(tuple(centre.shape), generator, centre)

        nats, apart, weight = self._bound(x, condition, noise)
        return (nats.sum() + apart.sum()) / weight.sum().clamp(min=1)

    def losses(self, x: Tensor, condition: Condition, seed: int) -> Tensor:
        """The negative evidence lower bound of each series per step, see `Sampler.losses`: (B,) of x (B, 168 k)."""
        generator = torch.Generator().manual_seed(seed)
        total = torch.zeros(len(x), dtype=torch.float64)
        for _ in range(LOSS_DRAWS):
            noise = torch.randn(1, self.latent, generator=generator).to(x)
            nats, apart, weight = self._bound(x, condition, noise.expand_as)
            total += ((nats.sum(1) + apart) / weight.sum(1).clamp(min=1)).cpu().double()
        return total / LOSS_DRAWS

    def _bound(
        self, x: Tensor, condition: Condition, noise: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The two parts of the bound, and what is scored: -log p(x | z, c) (B, 168 k), KL(q | p) (B,), (B, 168 k).

        noise: of the centre of q (B, latent), standard normal numbers like it.
        """
        k = per_hour(x.shape[1], self.cadences)
        guide = self.surroundings(condition, k)
        scored = ~x.isnan()
        if condition.known is not None:
            scored = scored & condition.known.isnan()
        centre, log_variance = self.encode(torch.where(scored, x, torch.nan), guide)
        z = centre + (0.5 * log_variance).exp() * noise(centre)
        mean, log_spread = self.decode(z, guide, k)
        error = (x.nan_to_num() - mean) * (-log_spread).exp()
        nats = 0.5 * error**2 + log_spread + 0.5 * math.log(2 * math.pi)
        weight = scored.to(nats.dtype)
        return nats * weight, divergence(centre, log_variance), weight


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, exp(log_variance)) | N(0, 1)), summed over the last axis (Kingma and Welling 2014, appendix B)."""
    return 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(-1)
