"""STUNet as published, against a second implementation of STOUTER's equations 13 to 17 and of the forward process."""

from __future__ import annotations

import math
from itertools import product
from typing import Any, cast

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from samplers import STUNet
from samplers.diffusion import Noise
from samplers.layers import LinearFusion, WrittenAttention, make_attention
from samplers.sampler import Condition

B, P, Q = 2, 6, 5
PUBLISHED: dict[str, Any] = {
    "gate": False, "direct": True, "attention": "written", "fusion": "linear", "prediction_type": "epsilon",
    "hours_per_token": 1,
}  # fmt: skip


def conv(x: Tensor, weight: Tensor, bias: Tensor, hours: int) -> Tensor:
    """A 3 x 3 convolution over a week whose hours follow one another without end, place by place: x (n, C)."""
    n = len(x)
    out = bias.repeat(n, 1)
    for place, day, hour in product(range(n), (-1, 0, 1), (-1, 0, 1)):
        out[place] += weight[:, :, day + 1, hour + 1] @ x[(place + day * hours + hour) % n]
    return out


def linear(x: Tensor, layer: Any) -> Tensor:
    out = x @ layer.weight.T
    return out if layer.bias is None else out + layer.bias


def attention(x: Tensor, layer: Any, kind: str) -> Tensor:
    """Equations 13 (softmax) and 14 (linear), head by head: x (n, m)."""
    m = x.shape[1]
    d = m // 4
    wq, wk, wv = (w.T for w in layer.qkv.weight.chunk(3))
    heads = []
    for i in range(4):
        q, k, v = (x @ w[:, i * d : (i + 1) * d] for w in (wq, wk, wv))
        if kind == "softmax":
            score = (q @ k.T / math.sqrt(d)).exp()
            heads.append(score / score.sum(1, keepdim=True) @ v)
        else:
            q_hat, k_hat = q.exp() / q.exp().sum(1, keepdim=True), k.exp() / k.exp().sum(0)
            heads.append(q_hat @ (k_hat.T @ v))
    return torch.cat(heads, 1) @ layer.out.weight.T


def stffm(block: Any, x: Tensor, f_s: Tensor, f_t: Tensor, ts: Tensor, hours: int) -> Tensor:
    """Equations 16 and 17 of one series: x (n, C_in), f_s (P,), f_t (n, Q), ts (P,)."""
    f = block.fusion
    both = torch.cat([f_s.repeat(len(f_t), 1), f_t], 1) @ torch.cat([f.of_station.weight, f.of_time.weight], 1).T
    f_st = linear(ts + both + f.of_station.bias, f.out)
    inner = conv(x, block.first.conv.weight, block.first.conv.bias, hours)
    total = inner + conv(inner + f_st, block.second.conv.weight, block.second.conv.bias, hours)
    return torch.where(total > 0, total, total.exp() - 1)


def by_hand(net: STUNet, x: Tensor, t: int, f_s: Tensor, f_t: Tensor) -> Tensor:
    """The noise that the network predicts in one series of 168 hours, from the paper's figure 6 and equations."""
    angles = torch.tensor([t / 10_000 ** (i / 32) for i in range(32)])
    hidden = linear(torch.cat([angles.sin(), angles.cos()]), net.step.mlp[0])
    ts = linear(hidden * hidden.sigmoid(), net.step.mlp[2])  # eq. 15

    def pooled(level: int) -> Tensor:
        return f_t.view(168 >> level, 1 << level, -1).mean(1)

    net_: Any = net
    h = linear(torch.stack([x, torch.zeros_like(x)], 1), net_.enter)  # nothing is given
    skips = []
    for level, block in enumerate(net_.down):
        hours = 24 >> level
        for part in (block.fuse1, block.fuse2):
            h = stffm(part, h, f_s, pooled(level), ts, hours)
        h = attention(h, block.attention, "linear")
        skips.append(h)
        h = linear(h.reshape(len(h) // 2, -1), block.down.linear)
    level = len(net_.down)
    h = stffm(net_.mid.fuse1, h, f_s, pooled(level), ts, 24 >> level)
    h = attention(h, net_.mid.attention, "softmax")
    h = stffm(net_.mid.fuse2, h, f_s, pooled(level), ts, 24 >> level)
    for block in net_.up:
        level -= 1
        h = torch.cat([linear(h, block.up.linear).reshape(2 * len(h), -1), skips.pop()], 1)
        for part in (block.fuse1, block.fuse2):
            h = stffm(part, h, f_s, pooled(level), ts, 24 >> level)
        h = attention(h, block.attention, "linear")
    return linear(h, net_.leave)[:, 0]


def network(**more: Any) -> STUNet:
    """A small one whose last layer is not zero."""
    torch.manual_seed(0)
    net = STUNet(place_dim=P, time_dim=Q, networks=1, channels=(8, 12), cadences=(1,), **{**PUBLISHED, **more})
    with torch.no_grad():
        for p in net.leave.parameters():
            p.normal_(std=0.3)
    return net.eval()


def condition(seed: int = 0) -> Condition:
    g = torch.Generator().manual_seed(seed)
    place, time = torch.randn(B, P, generator=g), torch.randn(B, 168, Q, generator=g)
    return Condition(place, time, torch.randn(B, 2, generator=g), torch.tensor([0, 1]))


def test_the_published_network_is_the_papers_equations() -> None:
    net, told = network(), condition()
    x, t = torch.randn(B, 168, generator=torch.Generator().manual_seed(1)), torch.tensor([3, 700])
    with torch.no_grad():
        got = net(x, t, told)
        for b in range(B):
            f_s = told.place[b] + net.of_network.weight[told.network[b]]
            torch.testing.assert_close(got[b], by_hand(net, x[b], int(t[b]), f_s, told.time[b]), atol=2e-5, rtol=2e-4)


def test_the_published_network_is_told_no_level_and_has_no_gate_and_no_spectrum() -> None:
    net, told = network(), condition()
    x, t = torch.randn(B, 168, generator=torch.Generator().manual_seed(1)), torch.tensor([3, 700])
    other = Condition(told.place, told.time, told.level + 5, told.network)
    with torch.no_grad():
        torch.testing.assert_close(net(x, t, told), net(x, t, other), atol=0, rtol=0)
    assert net.spectral is None
    assert net.leave.out_features == 1, "what leaves is the noise, one number an hour"
    assert {"of_level", "place_mlp", "of_time"}.isdisjoint(dict(net.named_children()))


@pytest.mark.parametrize("loss", ["mse", "l1"])
def test_its_loss_is_eq_19_and_its_noise_eq_5_to_7(loss: str) -> None:
    net, told, steps = network(loss_type=loss, num_train_timesteps=50), condition(), 50
    x = torch.randn(B, 168, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        got = float(net.loss(x, told, torch.Generator().manual_seed(7)))
        g = torch.Generator().manual_seed(7)
        t, eps = torch.randint(steps, (B,), generator=g), torch.randn(x.shape, generator=g)
        kept = [math.prod(1 - (1e-4 + (0.02 - 1e-4) * i / (steps - 1)) for i in range(int(s) + 1)) for s in t]
        a = torch.tensor(kept)[:, None]
        error = net(a.sqrt() * x + (1 - a).sqrt() * eps, t, told) - eps
        want = float(error.abs().mean() if loss == "l1" else error.square().mean())
    assert got == pytest.approx(want, rel=1e-5)


def test_at_ten_steps_the_paper_s_schedule_leaves_nine_tenths_of_the_signal() -> None:
    """Why figure 8 finds few diffusion steps bad: what is drawn starts from noise that training never saw."""
    assert float(Noise(num_train_timesteps=10).alphas_cumprod[-1]) == pytest.approx(0.904, abs=1e-3)
    assert float(Noise(num_train_timesteps=1000).alphas_cumprod[-1]) == pytest.approx(4e-5, rel=0.02)


@pytest.mark.parametrize("linear_kind", [True, False])
def test_residual_attention_is_the_written_one_added_to_its_input(linear_kind: bool) -> None:
    written = cast(WrittenAttention, make_attention("written", 8, linear=linear_kind))
    residual = make_attention("residual", 8, linear=linear_kind)
    residual.load_state_dict(written.state_dict())
    x = torch.randn(B, 10, 8, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(residual(x), x + written(x))
    with pytest.raises(ValueError, match="written"):
        make_attention("flash", 8, linear=linear_kind)


def test_the_fusion_of_eq_16_is_affine() -> None:
    fusion, g = LinearFusion(P, Q, 8), torch.Generator().manual_seed(4)
    one, two = ([torch.randn(s, generator=g) for s in ((B, P), (1, 7, Q), (B, P))] for _ in range(2))
    middle = fusion(*((a + b) / 2 for a, b in zip(one, two, strict=True)))
    torch.testing.assert_close(middle, (fusion(*one) + fusion(*two)) / 2, atol=1e-5, rtol=1e-4)
    f_s, f_t, ts = one
    both = torch.cat([f_s[:, None].expand(-1, 7, -1), f_t.expand(B, -1, -1)], -1)
    weight = torch.cat([fusion.of_station.weight, fusion.of_time.weight], 1)
    want = functional.linear(functional.linear(both, weight, fusion.of_station.bias) + ts[:, None], fusion.out.weight)
    torch.testing.assert_close(fusion(*one), want + fusion.out.bias)
