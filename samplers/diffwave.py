"""DiffWave (Kong et al., ICLR 2021), STOUTER's baseline with WaveNet as the denoiser, on the hours of a week.

Residual layers of bidirectional dilated convolutions, dilations 1, 2, 4, ... in cycles; in each the diffusion-step
embedding is added, the conditioner enters through a 1 x 1 convolution (section 3.2), and a gate tanh x sigmoid answers
with a residual and a skip; the skips are summed. The paper predicts the noise (their eq. 7); the default here is v, as
in STUNet, which learns the same task in a tenth of the steps and keeps the comparison one of networks.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from samplers.diffusion import Noise, Rest, denoising_loss, denoising_losses, read_rest
from samplers.hours import Dilated, HourEnter, HourLeave, Surroundings
from samplers.layers import StepEmbedding, per_hour
from samplers.sampler import Condition, Sampler, register_to_config


class _Layer(nn.Module):
    def __init__(self, channels: int, width: int, dilation: int) -> None:
        super().__init__()
        self.step = nn.Linear(width, channels)
        self.conv = Dilated(channels, 2 * channels, dilation, causal=False)
        self.guide = nn.Linear(width, 2 * channels)  # 1 x 1 convolutions
        self.out = nn.Linear(channels, 2 * channels)

    def forward(self, x: Tensor, guide: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, 168, C), guide (B, 168, W), step (B, W) -> residual and skip, like x."""
        gate, value = (self.conv(x + self.step(step)[:, None]) + self.guide(guide)).chunk(2, dim=-1)
        residual, skip = self.out(torch.sigmoid(gate) * torch.tanh(value)).chunk(2, dim=-1)
        return (x + residual) / math.sqrt(2.0), skip


class DiffWave(Sampler):
    """Predicts the noise in a week of traffic of B places, hour by hour.

    place_dim, time_dim, networks, width, cadences, use_time, use_place, rest: as in `STUNet`. channels, layers, cycle:
    of the residual layers; the dilation doubles from 1 to 2^(cycle - 1) and begins again.
    """

    draws_level = True  # as its paper does
    takes_expected_week = False
    plan: ClassVar = {"steps": 1300}  # two minutes of one core
    plan_own_level: ClassVar = {"place_noise": 0.3, "place_keep": 0.9}  # it must tell levels by the place as well

    @register_to_config
    def __init__(
        self,
        place_dim: int = 32,
        time_dim: int = 32,
        networks: int = 1,
        width: int = 32,
        channels: int = 24,
        layers: int = 8,
        cycle: int = 4,
        cadences: tuple[int, ...] = (1, 2, 4, 6),
        dropout: float = 0.1,
        use_time: bool = True,
        use_place: bool = True,
        use_profile: bool = False,
        rest: Rest | None = None,
        num_train_timesteps: int = 1000,
        prediction_type: str = "v_prediction",
        loss_type: str = "mse",
    ) -> None:
        super().__init__()
        self.loss_type = loss_type
        self.noise = Noise(
            num_train_timesteps=num_train_timesteps, prediction_type=prediction_type, rest=read_rest(rest, networks)
        )
        self.cadences = tuple(cadences)
        self.surroundings = Surroundings(
            place_dim, time_dim, networks, width, cadences, dropout, use_time, use_place, use_profile
        )
        self.step = StepEmbedding(width)
        self.enter = HourEnter(1, channels, cadences)
        self.residual = nn.ModuleList(_Layer(channels, width, 2 ** (i % cycle)) for i in range(layers))
        self.last = nn.Linear(channels, channels)
        self.leave = HourLeave(channels, cadences, zero=True)

    def __call__(self, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """x_t (B, 168 k), t (B,) diffusion steps -> the prediction, like x_t."""
        out: Tensor = super().__call__(x_t, t, condition)
        return out

    def forward(self, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """x_t (B, 168 k), t (B,) diffusion steps -> the prediction, like x_t. Raises ValueError for another length."""
        k = per_hour(x_t.shape[1], self.cadences)
        guide = self.surroundings(condition, k)
        step = self.step(t)
        x = functional.relu(self.enter([x_t]))  # (B, 168, channels)
        total = torch.zeros_like(x)
        for layer in self.residual:
            x, skip = layer(x, guide, step)
            total = total + skip
        out: Tensor = self.leave(functional.relu(self.last(total / math.sqrt(len(self.residual)))), k)
        return out

    def loss(self, x: Tensor, condition: Condition, generator: torch.Generator) -> Tensor:
        """Mean error of the prediction over the steps that are not given, scalar. x: (B, 168 k), nan = not measured."""
        return denoising_loss(self, self.noise, x, condition, generator, self.loss_type)

    def losses(self, x: Tensor, condition: Condition, seed: int) -> Tensor:
        """See `Sampler.losses`: (B,) of x (B, 168 k)."""
        return denoising_losses(self, self.noise, x, condition, seed)
