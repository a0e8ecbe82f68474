"""The layers of the samplers: convolutions over a week, the fusion of place and time (STFFM), attention.

A week as a 7 x 24 sheet: days are rows, hours are columns, and midnight joins one row to the next.

Hours and days are the natural axes of traffic: a 3 x 3 kernel sees the hours beside and the same hours of the days
beside, so a week costs a few small convolutions. The sheet is a helix: the hour before midnight is the neighbour of
the hour after it, one row further down; the last day is the neighbour of the first, as in the week itself.

The Spatio-Temporal Feature Fusion Module (STOUTER eq. 15-17) and its variants (Table 6).

A fusion takes the station embedding F_s (B, S), the time embedding F_t (1 or B, n, Q) and the diffusion-step embedding
TS (B, C), and returns F_st (B, n, C). `concat` is the paper's own (eq. 16). The paper names the others and cites where
they come from, without equations; each is built here from that idea and has about the same number of weights.

The two attentions of STUNet (STOUTER eq. 13 and 14), with what trains well around them, or to the letter.

On a CPU products of heads as narrow as 4 are slow, and so is e to the power of x: several times slower than 2 to the
power of x, and slower again where numbers do not lie side by side. So heads are separated by masks inside full
products, and powers are of 2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from samplers.sampler import WEEK


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


class LinearFusion(nn.Module):
    """F_st = FC(TS + FC(concat(F_s, F_t))) (STOUTER eq. 16) to the letter: nothing between the two layers.

    So far it is one affine map of TS, F_s and F_t; what is not linear comes with eq. 17. TS has the width of F_s.
    """

    def __init__(self, station: int, time: int, channels: int) -> None:
        super().__init__()
        self.of_station = nn.Linear(station, station)
        self.of_time = nn.Linear(time, station, bias=False)
        self.out = nn.Linear(station, channels)

    def forward(self, f_s: Tensor, f_t: Tensor, step: Tensor) -> Tensor:
        """f_s (B, S), f_t (1 or B, n, Q), step (B, S) -> (B, n, C)."""
        out: Tensor = self.out(self.of_time(f_t) + (self.of_station(f_s) + step)[:, None])
        return out


Folded = tuple[Tensor, Tensor, Tensor]
FUSIONS: dict[str, type[nn.Module]] = {
    "concat": ConcatFusion,  # the paper's own, eq. 16
    "linear": LinearFusion,  # the same without the SiLU, as it is written
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
        self.step = nn.Identity() if fusion == "linear" else nn.Linear(station, c_out)
        self.second = WeekConv(c_out, c_out, days, hours)
        self._folded: tuple[object, Folded, list[Tensor]] | None = None

    def forward(self, x: Tensor, f_s: Tensor, f_t: Tensor, step: Tensor) -> Tensor:
        """x (B, n, C_in), f_s (B, S), f_t (1 or B, n, Q), step (B, S) -> (B, n, C_out)."""
        f_st = self.fusion(f_s, f_t, self.step(step))
        if torch.is_grad_enabled() or torch.compiler.is_compiling():
            inner = self.first(x)
            return functional.elu(inner + self.second(inner + f_st))
        if self.first.hours > NARROW:
            inner = self.first(x)
            return _elu(self.second(f_st.add_(inner)).add_(inner))
        folded, now = self._folded, self._versions()
        if folded is None or folded[0] != now:  # formed anew when a weight has changed since
            held = [w.detach() for w in self.parameters()]  # so that no other tensor can have their addresses
            with torch.autocast(x.device.type, enabled=False):  # other calls, in other precisions, will use it
                folded = self._folded = now, fold(self.first.as_matrix(), self.second.as_matrix()), held
        parts: tuple[Tensor, ...] = (*folded[1], x.flatten(1), f_st.flatten(1))
        if torch.is_autocast_enabled(x.device.type):  # it leaves alone what is computed in place
            parts = tuple(part.to(torch.get_autocast_dtype(x.device.type)) for part in parts)
        straight, second, bias, seen, told = parts
        out = torch.addmm(bias, seen, straight).addmm_(told, second)
        return _elu(out).view(*x.shape[:2], -1)

    def _versions(self) -> list[tuple[int, int]]:
        """Addresses and versions of the weights of both convolutions: others where one has changed."""
        weights = (*self.first.parameters(), *self.second.parameters())
        return [(w.data_ptr(), 0 if w.is_inference() else w._version) for w in weights]


def fold(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> Folded:
    """C1 (I + C2), C2 and the bias: eq. 17 as x C1 (I + C2) + F_st C2 + bias, for drawing.

    A small sheet is one row of a matrix, and the two convolutions of x are one product.
    first, second: the convolutions as `WeekConv.as_matrix`: (n C_in, n C_out) and (n C_out,).
    """
    (c1, b1), (c2, b2) = first, second
    return torch.addmm(c1, c1, c2), c2, torch.addmv(b1 + b2, c2.T, b1)


def _elu(x: Tensor) -> Tensor:
    """ELU in half the time of torch's own, whose e^x is slow on a CPU: x where x > 0, else e^x - 1, which is more."""
    below = x.clamp(max=0.0).mul_(math.log2(math.e)).exp2_().sub_(1.0)
    return torch.maximum(x, below, out=below)


def _spread(station: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
    """(B, C) and (1 or B, n, C), both as (B, n, C)."""
    b, n = station.shape[0], time.shape[1]
    return station[:, None].expand(-1, n, -1), time.expand(b, -1, -1)


class WrittenAttention(nn.Module):
    """Multi-head attention as STOUTER writes it: eq. 14 where `linear`, else eq. 13; (B, n, C) -> (B, n, C).

    No normalisation before it. `residual`: added to the input, which the equations do not say (see PAPERS).
    """

    def __init__(self, channels: int, *, linear: bool, residual: bool, heads: int = 4) -> None:
        super().__init__()
        self.heads, self.linear, self.residual = heads, linear, residual
        self.qkv = nn.Linear(channels, 3 * channels, bias=False)  # W_i^Q, W_i^K, W_i^V of all heads
        self.out = nn.Linear(channels, channels, bias=False)  # W^O

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, n, C)."""
        q, k, v = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in self.qkv(x).chunk(3, -1))
        if self.linear:  # the query over its features, the key over the sequence
            mixed = q.softmax(-1) @ (k.softmax(-2).transpose(-1, -2) @ v)  # (B, heads, n, C / heads)
        else:
            mixed = functional.scaled_dot_product_attention(q, k, v)
        out: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return x + out if self.residual else out


LARGEST = 40.0  # of the exponents of 2: powers below 2^40 can be added up, so that no maximum need be taken off


class SoftmaxAttention(nn.Module):
    """Multi-head softmax attention over the sequence (STOUTER eq. 13), residual: (B, n, C) -> (B, n, C).

    Each head's keys and values stand below those of the one before, zero outside the head's features, so that all heads
    are two full products. Half the time, for `heads` times the multiplications.
    """

    own: Tensor

    def __init__(self, channels: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.RMSNorm(channels, elementwise_affine=False)
        self.qkv = nn.Linear(channels, 3 * channels, bias=False)
        self.out = nn.Linear(channels, channels)
        head = torch.arange(channels) // (channels // heads)
        own = (head[None, :] == torch.arange(heads)[:, None]).float()[:, None]  # (heads, 1, C)
        self.register_buffer("own", own, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """softmax(Q K^T / sqrt(d)) V, heads concatenated, W_O, added to the input. x: (B, n, C)."""
        b, n, c = x.shape
        q, k, v = self.qkv(self.norm(x)).chunk(3, -1)
        scale = math.log2(math.e) * (c // self.heads) ** -0.5  # e^x = 2^(x log2 e)
        keys = (k[:, None] * (self.own * scale)).reshape(b, self.heads * n, c)
        values = (v[:, None] * self.own).reshape(b, self.heads * n, c)
        weight = _exp2(q @ keys.transpose(1, 2))  # (B, n, heads n)
        total = weight.view(b, n, self.heads, n).sum(-1, keepdim=True)
        mixed = (weight @ values).view(b, n, self.heads, c // self.heads) / total
        out: Tensor = x + self.out(mixed.view(b, n, c))
        return out


class LinearAttention(nn.Module):
    """Multi-head linear attention (STOUTER eq. 14), residual: (B, n, C) -> (B, n, C) in O(n C^2).

    Q is normalised over its features and K over the sequence, so that Q (K^T V) is a convex mixture of the rows of V.
    K^T V is formed for all pairs of features, and a mask leaves those of one head. Softmax is to the base of 2, which
    is one to the base of e of other weights.
    """

    same_head: Tensor

    def __init__(self, channels: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.RMSNorm(channels, elementwise_affine=False)
        self.qk = nn.Linear(channels, 2 * channels, bias=False)
        self.v = nn.Linear(channels, channels, bias=False)
        self.out = nn.Linear(channels, channels)
        head = torch.arange(channels) // (channels // heads)
        self.register_buffer("same_head", (head[:, None] == head[None, :]).float(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """softmax_features(Q) (softmax_sequence(K)^T V), W_O, added to the input. x: (B, n, C)."""
        normal = self.norm(x)
        queries, keys = _exp2(self.qk(normal)).chunk(2, -1)
        mixed = keys.transpose(1, 2) @ self.v(normal) * (self.same_head / keys.sum(1)[..., None])  # (B, C, C)
        mean = (queries @ mixed) / (queries @ self.same_head)
        out: Tensor = x + self.out(mean)  # by the module: Opacus takes a gradient per row only where it is called
        return out


ATTENTIONS = ("pre-norm", "residual", "written")


def make_attention(kind: str, channels: int, *, linear: bool) -> nn.Module:
    """The attention of a block of STUNet.

    kind: "pre-norm", with RMSNorm before and the input added; "written", the equations alone (`WrittenAttention`);
    "residual", these added to the input. Raises ValueError for another.
    """
    if kind == "pre-norm":
        return LinearAttention(channels) if linear else SoftmaxAttention(channels)
    if kind not in ATTENTIONS:
        raise ValueError(f"attention is {kind!r}: choose one of {', '.join(ATTENTIONS)}")
    return WrittenAttention(channels, linear=linear, residual=kind == "residual")


def _exp2(x: Tensor) -> Tensor:
    """2^x, in the memory of x where nobody will ask for x again: when drawing."""
    if torch.is_grad_enabled():
        return x.clamp(-LARGEST, LARGEST).exp2()
    return x.clamp_(-LARGEST, LARGEST).exp2_()
