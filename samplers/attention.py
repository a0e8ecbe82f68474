"""The two attentions of STUNet (STOUTER eq. 13 and 14).

On a CPU products of heads as narrow as 4 are slow, and so is e to the power of x: several times slower than 2 to the
power of x, and slower again where numbers do not lie side by side. So heads are separated by masks inside full
products, and powers are of 2.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

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


def _exp2(x: Tensor) -> Tensor:
    """2^x, in the memory of x where nobody will ask for x again: when drawing."""
    if torch.is_grad_enabled():
        return x.clamp(-LARGEST, LARGEST).exp2()
    return x.clamp_(-LARGEST, LARGEST).exp2_()
