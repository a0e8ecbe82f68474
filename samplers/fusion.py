"""The Spatio-Temporal Feature Fusion Module (STOUTER eq. 15-17) and its variants (Table 6).

A fusion takes the station embedding F_s (B, S), the time embedding F_t (1 or B, n, Q) and the diffusion-step embedding
TS (B, C), and returns F_st (B, n, C). `concat` is the paper's own (eq. 16). The paper names the others and cites where
they come from, without equations; each is built here from that idea and has about the same number of weights.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from samplers.week import WeekConv


class StepEmbedding(nn.Module):
    """TS_Emb = MLP(SinPosEmb(t)) (STOUTER eq. 15): (B,) diffusion steps -> (B, channels)."""

    def __init__(self, channels: int, waves: int = 32) -> None:
        super().__init__()
        self.waves = waves
        self.mlp = nn.Sequential(nn.Linear(2 * waves, channels), nn.SiLU(), nn.Linear(channels, channels))

    def forward(self, t: Tensor) -> Tensor:
        """Sines and cosines of t at wave lengths from 2 pi to 10^4 times that, then two layers.

        t: (B,) diffusion steps -> (B, channels).
        """
        rate = torch.exp(-math.log(10_000.0) * torch.arange(self.waves, device=t.device) / self.waves)
        angle = t.to(torch.float32)[:, None] * rate[None, :]
        out: Tensor = self.mlp(torch.cat([angle.sin(), angle.cos()], dim=-1).to(next(self.mlp.parameters()).dtype))
        return out


class ConcatFusion(nn.Module):
    """F_st = FC(TS + FC(concat(F_s, F_t))) (STOUTER eq. 16), with a SiLU between the two so that they do not collapse.

    FC(concat(F_s, F_t)) is W_s F_s + W_t F_t + b: the two products are formed apart and added by broadcasting, which
    is the same number in n times fewer multiplications.
    """

    def __init__(self, station: int, time: int, channels: int) -> None:
        super().__init__()
        self.of_station = nn.Linear(station, channels)
        self.of_time = nn.Linear(time, channels, bias=False)
        self.out = nn.Linear(channels, channels)

    def forward(self, f_s: Tensor, f_t: Tensor, step: Tensor) -> Tensor:
        """f_s (B, S), f_t (1 or B, n, Q), step (B, C) -> (B, n, C)."""
        inner = self.of_time(f_t) + (self.of_station(f_s) + step)[:, None]
        out: Tensor = self.out(functional.silu(inner, inplace=not torch.is_grad_enabled()))
        return out


class WeightFusion(nn.Module):
    """WeightFu: two scalars per place and hour, softmax-normalised, weigh the projected F_s against F_t."""

    def __init__(self, station: int, time: int, channels: int) -> None:
        super().__init__()
        self.of_station, self.of_time = nn.Linear(station, channels), nn.Linear(time, channels)
        self.weight = nn.Linear(2 * channels, 2)
        self.out = nn.Linear(channels, channels)

    def forward(self, f_s: Tensor, f_t: Tensor, step: Tensor) -> Tensor:
        """f_s (B, S), f_t (1 or B, n, Q), step (B, C) -> (B, n, C)."""
        s, t = _spread(self.of_station(f_s), self.of_time(f_t))
        weight = self.weight(torch.cat([s, t], -1)).softmax(-1)  # (B, n, 2)
        mixed = weight[..., :1] * s + weight[..., 1:] * t
        out: Tensor = self.out(functional.silu(mixed + step[:, None]))
        return out


class GateFusion(nn.Module):
    """GateFu: a sigmoid gate per channel chooses between the projected F_s and F_t."""

    def __init__(self, station: int, time: int, channels: int) -> None:
        super().__init__()
        self.of_station, self.of_time = nn.Linear(station, channels), nn.Linear(time, channels)
        self.gate = nn.Linear(2 * channels, channels)
        self.out = nn.Linear(channels, channels)

    def forward(self, f_s: Tensor, f_t: Tensor, step: Tensor) -> Tensor:
        """f_s (B, S), f_t (1 or B, n, Q), step (B, C) -> (B, n, C)."""
        s, t = _spread(self.of_station(f_s), self.of_time(f_t))
        gate = self.gate(torch.cat([s, t], -1)).sigmoid()
        out: Tensor = self.out(functional.silu(gate * s + (1 - gate) * t + step[:, None]))
        return out


class CrossAttentionFusion(nn.Module):
    """CrossAtt: every hour asks (query) and tokens of the station and of the step answer (keys, values).

    F_s is cut into `tokens` pieces, so that there is something to choose between; the step is one more token.
    """

    def __init__(self, station: int, time: int, channels: int, tokens: int = 4) -> None:
        super().__init__()
        self.tokens = tokens
        self.query = nn.Linear(time, channels)
        self.of_station = nn.Linear(station, tokens * channels)
        self.key, self.value = nn.Linear(channels, channels), nn.Linear(channels, channels)
        self.out = nn.Linear(channels, channels)

    def forward(self, f_s: Tensor, f_t: Tensor, step: Tensor) -> Tensor:
        """f_s (B, S), f_t (1 or B, n, Q), step (B, C) -> (B, n, C)."""
        b, c = step.shape
        memory = torch.cat([self.of_station(f_s).view(b, self.tokens, c), step[:, None]], 1)  # (B, tokens + 1, C)
        query = self.query(f_t).expand(b, -1, -1)
        mixed = functional.scaled_dot_product_attention(query, self.key(memory), self.value(memory))
        out: Tensor = self.out(functional.silu(query + mixed))
        return out


class DecoupledFusion(nn.Module):
    """DecFu: station and time are processed apart, each with the step, and only added at the end: no interaction."""

    def __init__(self, station: int, time: int, channels: int) -> None:
        super().__init__()
        self.of_station, self.of_time = nn.Linear(station, channels), nn.Linear(time, channels)
        self.station_out, self.time_out = nn.Linear(channels, channels), nn.Linear(channels, channels)

    def forward(self, f_s: Tensor, f_t: Tensor, step: Tensor) -> Tensor:
        """f_s (B, S), f_t (1 or B, n, Q), step (B, C) -> (B, n, C)."""
        s: Tensor = self.station_out(functional.silu(self.of_station(f_s) + step))[:, None]
        t: Tensor = self.time_out(functional.silu(self.of_time(f_t) + step[:, None]))
        return s + t


Folded = tuple[Tensor, Tensor, Tensor]
FUSIONS: dict[str, type[nn.Module]] = {
    "concat": ConcatFusion,  # the paper's own, eq. 16
    "weighted": WeightFusion,  # Table 6 WeightFu
    "gated": GateFusion,  # Table 6 GateFu
    "cross-attention": CrossAttentionFusion,  # Table 6 CrossAtt
    "decoupled": DecoupledFusion,  # Table 6 DecFu
}


NARROW = 2  # hours of a sheet up to which one product takes less time than two convolutions


class STFFM(nn.Module):
    """x_out = ELU(x' + Conv(x' + F_st)) with x' = Conv(x_in) (STOUTER eq. 17): (B, n, C_in) -> (B, n, C_out)."""

    def __init__(self, c_in: int, c_out: int, days: int, hours: int, station: int, time: int, fusion: str) -> None:
        super().__init__()
        self.first = WeekConv(c_in, c_out, days, hours)
        self.fusion = FUSIONS[fusion](station, time, c_out)
        self.step = nn.Linear(station, c_out)
        self.second = WeekConv(c_out, c_out, days, hours)
        self._folded: tuple[object, Folded] | None = None
        self._of: list[Tensor] = []

    def forward(self, x: Tensor, f_s: Tensor, f_t: Tensor, step: Tensor) -> Tensor:
        """x (B, n, C_in), f_s (B, S), f_t (1 or B, n, Q), step (B, S) -> (B, n, C_out)."""
        f_st = self.fusion(f_s, f_t, self.step(step))
        if torch.is_grad_enabled() or torch.compiler.is_compiling():
            inner = self.first(x)
            return functional.elu(inner + self.second(inner + f_st))
        if self.first.hours > NARROW:
            inner = self.first(x)
            return _elu(self.second(f_st.add_(inner)).add_(inner))
        straight, second, bias = self.folded()
        out = torch.addmm(bias, x.flatten(1), straight).addmm_(f_st.flatten(1), second)
        return _elu(out).view(*x.shape[:2], -1)

    def folded(self) -> Folded:
        """C1 (I + C2), C2 and the bias: eq. 17 as x C1 (I + C2) + F_st C2 + bias, for drawing.

        A small sheet is one row of a matrix, and the two convolutions of x are one product. Formed anew when a weight
        has changed since.
        """
        weights = (*self.first.parameters(), *self.second.parameters())
        now = [(w.data_ptr(), 0 if w.is_inference() else w._version) for w in weights]
        if self._folded is None or self._folded[0] != now:
            (c1, b1), (c2, b2) = self.first.as_matrix(), self.second.as_matrix()
            self._folded = now, (torch.addmm(c1, c1, c2), c2, torch.addmv(b1 + b2, c2.T, b1))
            self._of = [w.detach() for w in weights]  # while they are held, no other tensor has their addresses
        return self._folded[1]


def _elu(x: Tensor) -> Tensor:
    """ELU in half the time of torch's own, whose e^x is slow on a CPU: x where x > 0, else e^x - 1, which is more."""
    below = x.clamp(max=0.0).mul_(math.log2(math.e)).exp2_().sub_(1.0)
    return torch.maximum(x, below, out=below)


def _spread(station: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
    """(B, C) and (1 or B, n, C), both as (B, n, C)."""
    b, n = station.shape[0], time.shape[1]
    return station[:, None].expand(-1, n, -1), time.expand(b, -1, -1)
