"""A week as a 7 x 24 sheet: days are rows, hours are columns, and midnight joins one row to the next.

Hours and days are the natural axes of traffic: a 3 x 3 kernel sees the hours beside and the same hours of the days
beside, so a week costs a few small convolutions. The sheet is a helix: the hour before midnight is the neighbour of
the hour after it, one row further down; the last day is the neighbour of the first, as in the week itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from samplers.condition import WEEK


def per_hour(length: int, cadences: Sequence[int]) -> int:
    """The steps an hour k of a week of `length` steps. Raises ValueError for a length that no cadence has."""
    k, rest = divmod(length, WEEK)
    if rest or k not in cadences:
        raise ValueError(f"{length} steps a week: this model draws {[c * WEEK for c in cadences]}")
    return k


def helix_index(days: int, hours: int, reach: int = 1) -> Tensor:
    """Where each place of the padded sheet takes its value: ((days + 2 reach) * (hours + 2 reach),) positions."""
    day = torch.arange(-reach, days + reach)[:, None]
    hour = torch.arange(-reach, hours + reach)[None, :]
    return ((day * hours + hour) % (days * hours)).flatten()


class WeekConv(nn.Module):
    """A 3 x 3 convolution over the helix: (B, days * hours, C_in) -> (B, days * hours, C_out)."""

    index: Tensor

    def __init__(self, c_in: int, c_out: int, days: int, hours: int) -> None:
        super().__init__()
        self.days, self.hours = days, hours
        self.conv = nn.Conv2d(c_in, c_out, 3)
        self.register_buffer("index", helix_index(days, hours), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve; channels stay last in memory, which is where the CPU kernels are fastest.

        x: (B, days * hours, C).
        """
        b, _, c = x.shape
        padded = x.index_select(1, self.index).view(b, self.days + 2, self.hours + 2, c)
        out: Tensor = self.conv(padded.permute(0, 3, 1, 2))  # a view: channels-last
        return out.permute(0, 2, 3, 1).reshape(b, self.days * self.hours, -1)

    def as_matrix(self) -> tuple[Tensor, Tensor]:
        """The same as a product: (n C_in, n C_out) and the bias (n C_out,), where n is days * hours."""
        n, weight, bias = self.days * self.hours, self.conv.weight, self.conv.bias
        assert bias is not None  # nn.Conv2d's default
        tap = torch.arange(-1, 2, device=weight.device)
        place = torch.arange(n, device=weight.device)[:, None]
        source = (place + (self.hours * tap[:, None] + tap).flatten()) % n  # (n, 9): where each tap of a place looks
        out = weight.new_zeros(n * n, *weight.permute(1, 0, 2, 3).shape[:2])
        taps = weight.permute(2, 3, 1, 0).flatten(0, 1)  # (9, C_in, C_out)
        out.index_add_(0, (source * n + place).flatten(), taps.repeat(n, 1, 1))
        return out.view(n, n, *taps.shape[1:]).transpose(1, 2).reshape(n * taps.shape[1], -1), bias.repeat(n)


class HourMerge(nn.Module):
    """Down-sampling convolution, two hours to one: (B, days * hours, C_in) -> (B, days * hours / 2, C_out)."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.linear = nn.Linear(2 * c_in, c_out)

    def forward(self, x: Tensor) -> Tensor:
        """A convolution of width and stride 2 along the hours is a linear map of pairs.

        x: (B, n, C), n even -> (B, n / 2, channels).
        """
        b, n, c = x.shape
        out: Tensor = self.linear(x.reshape(b, n // 2, 2 * c))
        return out


class HourSplit(nn.Module):
    """Up-sampling (transposed) convolution, one hour to two: (B, n, C_in) -> (B, 2 n, C_out)."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.linear = nn.Linear(c_in, 2 * c_out)

    def forward(self, x: Tensor) -> Tensor:
        """The mirror of `HourMerge`. x: (B, n, C) -> (B, 2 n, channels)."""
        b, n, _ = x.shape
        out: Tensor = self.linear(x)
        return out.reshape(b, 2 * n, -1)


def pool_hours(x: Tensor, factor: int) -> Tensor:
    """Mean over groups of `factor` steps: x (B, n, C) -> (B, n / factor, C)."""
    if factor == 1:
        return x
    return functional.avg_pool1d(x.transpose(1, 2), factor).transpose(1, 2)
