"""The two attentions of STUNet (STOUTER eq. 13 and 14)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SoftmaxAttention(nn.Module):
    """Multi-head softmax attention over the sequence (STOUTER eq. 13), residual: (B, n, C) -> (B, n, C).

    On a CPU, products of heads as narrow as 6 are slow: here each head's keys and values stand below those of the one
    before, zero outside the head's features, so that all heads are two full products. Half the time, for `heads` times
    the multiplications.
    """

    own: Tensor

    def __init__(self, channels: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(channels)
        self.qkv = nn.Linear(channels, 3 * channels, bias=False)
        self.out = nn.Linear(channels, channels)
        head = torch.arange(channels) // (channels // heads)
        own = (head[None, :] == torch.arange(heads)[:, None]).float()[:, None]  # (heads, 1, C)
        self.register_buffer("own", own, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """softmax(Q K^T / sqrt(d)) V, heads concatenated, W_O, added to the input."""
        b, n, c = x.shape
        q, k, v = self.qkv(self.norm(x)).chunk(3, -1)
        keys = (k[:, None] * (self.own * (c // self.heads) ** -0.5)).reshape(b, self.heads * n, c)
        values = (v[:, None] * self.own).reshape(b, self.heads * n, c)
        # exp(30) n fits float32, so no maximum need be taken off; what lies past 30 counts as 30
        weight = (q @ keys.transpose(1, 2)).clamp(-30.0, 30.0).exp()  # (B, n, heads n)
        total = weight.view(b, n, self.heads, n).sum(-1, keepdim=True)
        mixed = (weight @ values).view(b, n, self.heads, c // self.heads) / total
        out: Tensor = x + self.out(mixed.view(b, n, c))
        return out


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
