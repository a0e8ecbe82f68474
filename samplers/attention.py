"""The two attentions of STUNet (STOUTER eq. 13 and 14)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SoftmaxAttention(nn.Module):
    """Multi-head softmax attention over the sequence (STOUTER eq. 13), residual: (B, n, C) -> (B, n, C)."""

    def __init__(self, channels: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(channels)
        self.qkv = nn.Linear(channels, 3 * channels, bias=False)
        self.out = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """softmax(Q K^T / sqrt(d)) V, heads concatenated, W_O, added to the input."""
        q, k, v = _heads(self.qkv(self.norm(x)), self.heads)
        # written out: on a CPU, sequences of 42 with heads of 6 are too small for the fused kernel (three times slower)
        mixed = ((q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)).softmax(-1) @ v
        return x + _join(self.out, mixed)


class LinearAttention(nn.Module):
    """Multi-head linear attention (STOUTER eq. 14), residual: (B, n, C) -> (B, n, C) in O(n C^2).

    Q is normalised over its features and K over the sequence, so that Q (K^T V) is a convex mixture of the rows of V.
    On a CPU, products of heads as narrow as 4 are slow: here K^T V is formed for all pairs of features, and a mask
    leaves those of one head. A third of the time, for a few more multiplications.
    """

    same_head: Tensor

    def __init__(self, channels: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(channels)
        self.qkv = nn.Linear(channels, 3 * channels, bias=False)
        self.out = nn.Linear(channels, channels)
        head = torch.arange(channels) // (channels // heads)
        self.register_buffer("same_head", (head[:, None] == head[None, :]).float(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """softmax_features(Q) (softmax_sequence(K)^T V), W_O, added to the input."""
        q, k, v = self.qkv(self.norm(x)).chunk(3, -1)
        # exp(30) n fits float32, so no maximum need be taken off; what lies past 30 counts as 30
        queries, keys = q.clamp(-30.0, 30.0).exp(), k.clamp(-30.0, 30.0).exp()
        mixed = keys.transpose(1, 2) @ v * (self.same_head / keys.sum(1)[..., None])  # (B, C, C)
        share = queries / (queries @ self.same_head)
        out: Tensor = x + self.out(
            share @ mixed
        )  # by the module: Opacus takes a gradient per row only where it is called
        return out


def _heads(qkv: Tensor, heads: int) -> tuple[Tensor, Tensor, Tensor]:
    b, n, c3 = qkv.shape
    q, k, v = qkv.view(b, n, 3, heads, c3 // (3 * heads)).permute(2, 0, 3, 1, 4)  # each (B, heads, n, d)
    return q, k, v


def _join(out: nn.Linear, mixed: Tensor) -> Tensor:
    b, heads, n, d = mixed.shape
    joined: Tensor = out(mixed.transpose(1, 2).reshape(b, n, heads * d))
    return joined
