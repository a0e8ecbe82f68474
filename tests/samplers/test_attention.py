"""Both attentions of STUNet against loops over STOUTER eq. 13 and eq. 14."""

import math

import pytest
import torch
from torch import Tensor

from samplers.layers import LinearAttention, SoftmaxAttention


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def projections(layer: SoftmaxAttention | LinearAttention, row: Tensor, head: int) -> tuple[Tensor, Tensor, Tensor]:
    """Q, K, V (n, d) of one series and one head."""
    normal = row / (row.square().mean(-1, keepdim=True) + torch.finfo(row.dtype).eps).sqrt()
    d = row.shape[-1] // layer.heads
    if isinstance(layer, LinearAttention):
        w_q, w_k = layer.qk.weight.chunk(2)
        w_q, w_k, w_v = w_q * math.log(2), w_k * math.log(2), layer.v.weight  # 2^x = e^(x log 2)
    else:
        w_q, w_k, w_v = layer.qkv.weight.chunk(3)
    cut = slice(head * d, (head + 1) * d)
    return normal @ w_q[cut].T, normal @ w_k[cut].T, normal @ w_v[cut].T


def softmax_by_hand(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    out = torch.zeros_like(v)
    for i in range(len(q)):  # eq. 13: softmax over the sequence of q_i . k_j / sqrt(d)
        weight = torch.stack([(q[i] @ k[j] / math.sqrt(q.shape[1])).exp() for j in range(len(k))])
        out[i] = sum(weight[j] / weight.sum() * v[j] for j in range(len(v)))
    return out


def linear_weights(q: Tensor, k: Tensor) -> Tensor:
    """A (n, n) with A_ij = sum over features f of softmax_f(q_i) softmax_j(k_j)_f (eq. 14)."""
    weights = torch.zeros(len(q), len(k), dtype=q.dtype)
    for i in range(len(q)):
        of_features = q[i].exp() / q[i].exp().sum()
        for j in range(len(k)):
            of_sequence = k[j].exp() / k.exp().sum(0)
            weights[i, j] = (of_features * of_sequence).sum()
    return weights


@pytest.mark.parametrize("heads", [1, 4])
def test_softmax_attention_is_eq_13(heads: int) -> None:
    torch.manual_seed(0)
    layer = SoftmaxAttention(8, heads).double()
    x = randn(2, 6, 8)
    for row, got in zip(x, layer(x), strict=True):
        joined = torch.cat([softmax_by_hand(*projections(layer, row, h)) for h in range(heads)], -1)
        torch.testing.assert_close(got, row + layer.out(joined))


@pytest.mark.parametrize("heads", [1, 4])
def test_linear_attention_is_eq_14(heads: int) -> None:
    torch.manual_seed(1)
    layer = LinearAttention(8, heads).double()
    x = randn(2, 6, 8)
    for row, got in zip(x, layer(x), strict=True):
        parts = []
        for h in range(heads):
            q, k, v = projections(layer, row, h)
            parts.append(linear_weights(q, k) @ v)
        torch.testing.assert_close(got, row + layer.out(torch.cat(parts, -1)))


def test_linear_attention_mixes_convexly() -> None:
    torch.manual_seed(2)
    layer = LinearAttention(8, 2).double()
    x = randn(1, 9, 8)[0]
    for h in range(2):
        weights = linear_weights(*projections(layer, x, h)[:2])
        assert (weights > 0).all()
        torch.testing.assert_close(weights.sum(1), torch.ones(9, dtype=torch.float64))
    with torch.no_grad():  # so a layer whose V is the same everywhere gives that value everywhere
        layer.v.weight.zero_()
        layer.out.weight.copy_(torch.eye(8))
        layer.out.bias.fill_(0.25)
    torch.testing.assert_close(layer(x[None]), x[None] + 0.25)


def test_linear_attention_survives_large_numbers() -> None:
    torch.manual_seed(3)
    layer = LinearAttention(8, 2)
    with torch.no_grad():
        layer.qk.weight.mul_(300)  # exponents of hundreds overflow unless the maximum is taken off first
    assert layer(randn(1, 12, 8).float()).isfinite().all()


@pytest.mark.parametrize("kind", [SoftmaxAttention, LinearAttention])
def test_order_of_the_sequence_does_not_matter_and_series_do_not_mix(
    kind: type[SoftmaxAttention | LinearAttention],
) -> None:
    torch.manual_seed(4)
    layer = kind(8, 4).double()
    x = randn(3, 10, 8)
    turned = torch.randperm(10, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(layer(x[:, turned]), layer(x)[:, turned])
    torch.testing.assert_close(layer(x[1:2]), layer(x)[1:2])
