"""A week as a sequence of 168 hours, and what a condition says at each of them: the ends of the baseline samplers.

At k steps an hour a series holds k numbers per hour, the hour's mean first: means pass through the same weights at
every cadence, the rest through a linear map of its own, as in STUNet.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from samplers.layers import pool_hours
from samplers.sampler import WEEK, Condition


class HourEnter(nn.Module):
    """Some parallel series, each (B, 168 k) -> one position per hour, (B, 168, channels)."""

    def __init__(self, series: int, channels: int, cadences: Sequence[int]) -> None:
        super().__init__()
        self.mean = nn.Linear(series, channels)
        self.detail = nn.ModuleDict({str(k): nn.Linear(series * (k - 1), channels) for k in cadences if k > 1})

    def forward(self, series: Sequence[Tensor]) -> Tensor:
        """Means and details through their own linear maps, added. series: each (B, 168 k) -> (B, 168, channels)."""
        hours = torch.stack([s.reshape(len(s), WEEK, -1) for s in series], dim=2)  # (B, 168, series, k)
        out: Tensor = self.mean(hours[..., 0])
        if hours.shape[-1] > 1:
            out = out + self.detail[str(hours.shape[-1])](hours[..., 1:].flatten(2))
        return out


class HourLeave(nn.Module):
    """The mirror of `HourEnter` for one series: (B, 168, channels) -> (B, 168 k)."""

    def __init__(self, channels: int, cadences: Sequence[int], *, zero: bool = False) -> None:
        super().__init__()
        self.mean = nn.Linear(channels, 1)
        self.detail = nn.ModuleDict({str(k): nn.Linear(channels, k - 1) for k in cadences if k > 1})
        if zero:
            for weight in self.parameters():
                nn.init.zeros_(weight)

    def forward(self, x: Tensor, k: int) -> Tensor:
        """One number per hour, and k - 1 more at k steps an hour. x: (B, 168, channels) -> (B, 168 k)."""
        out: Tensor = self.mean(x)
        if k > 1:
            out = torch.cat([out, self.detail[str(k)](x)], dim=-1)
        return out.flatten(1)


class Surroundings(nn.Module):
    """A condition as one guide per hour: place, level, network, time, given values and the past, added up."""

    def __init__(
        self,
        place_dim: int,
        time_dim: int,
        networks: int,
        width: int,
        cadences: Sequence[int],
        dropout: float,
        use_time: bool,
        use_place: bool,
        use_profile: bool,
    ) -> None:
        super().__init__()
        self.use_time, self.use_place = use_time, use_place
        self.of_place = nn.Linear(place_dim, width)
        self.of_level = nn.Linear(2, width)
        self.of_network = nn.Embedding(networks + 1, width)
        self.place_mlp = nn.Sequential(nn.SiLU(), nn.Dropout(dropout), nn.Linear(width, width))
        self.of_time = nn.Sequential(nn.Linear(time_dim, width), nn.SiLU(), nn.Linear(width, width))
        self.of_known = HourEnter(2, width, cadences)
        self.of_profile = HourEnter(2, width, cadences) if use_profile else None
        nn.init.normal_(self.of_network.weight, std=0.3)

    def forward(self, condition: Condition, k: int) -> Tensor:
        """The guide of every hour, at k steps an hour: (B, 168, width)."""
        place = self.of_level(condition.level) + self.of_network(condition.network)
        if self.use_place:
            place = place + self.of_place(condition.place)
        out: Tensor = self.place_mlp(place)[:, None].expand(-1, WEEK, -1)
        if self.use_time:
            out = out + self.of_time(pool_hours(condition.time, k))
        nothing = out.new_zeros(len(condition.level), WEEK * k)
        given = [nothing, nothing]
        if condition.known is not None:
            given = [condition.known.nan_to_num(), (~condition.known.isnan()).to(out.dtype)]
        out = out + self.of_known(given)
        if self.of_profile is not None:
            past = [nothing, nothing] if condition.profile is None else list(condition.profile.unbind(1))
            out = out + self.of_profile(past)
        return out


class Dilated(nn.Module):
    """A dilated convolution of width 3 over the hours: (B, 168, C_in) -> (B, 168, C_out).

    Causal: an hour and those before it (Bai et al. 2018); otherwise both sides, around the end of the week. It is a
    linear map of three shifted copies: on a CPU, with few channels, several times faster than conv1d and its gradients.
    """

    def __init__(self, c_in: int, c_out: int, dilation: int, *, causal: bool) -> None:
        super().__init__()
        self.dilation, self.causal = dilation, causal
        self.linear = nn.Linear(3 * c_in, c_out)

    def forward(self, x: Tensor) -> Tensor:
        """Shift and mix; the length stays. x: (B, n, C)."""
        d, n = self.dilation, x.shape[1]
        if self.causal:
            padded = functional.pad(x, (0, 0, 2 * d, 0))
            copies = [padded[:, :n], padded[:, d : d + n], x]
        else:
            copies = [x.roll(d, 1), x, x.roll(-d, 1)]
        out: Tensor = self.linear(torch.cat(copies, dim=-1))
        return out
