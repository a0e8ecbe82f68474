"""The contract over all forecasters, and their parts against a second implementation."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from forecasters import FORECASTERS, NAIVE, STN
from forecasters.convlstm import ConvLSTM
from forecasters.stn import FusionBlock

LEARNED = ("lstm", "xlstm", "stn", "stn-slstm-tf", "stn-slstm-day")  # every part of every network


def built(name: str, services: int = 1, per_day: int = 24) -> nn.Module:
    recipe = FORECASTERS[name]
    torch.manual_seed(0)
    network: nn.Module = recipe.network(per_day=per_day, services=services, **recipe.design)
    return network


def past_of(model: nn.Module, batch: int = 6, services: int = 1) -> Tensor:
    shape = (batch, len(model.lags), model.side, model.side, services)  # type: ignore[arg-type]
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", [n for n, recipe in FORECASTERS.items() if n != "sim-mstnet" and not recipe.fit])
def test_the_contract(name: str) -> None:
    model = built(name, services=2)
    assert list(model.lags) == sorted(model.lags, reverse=True)  # type: ignore[arg-type]  # oldest first
    assert min(model.lags) == 1 or name in NAIVE  # type: ignore[type-var]
    assert model.context == max(model.lags)  # type: ignore[type-var]
    past = past_of(model, services=2)
    future = model.eval()(past)
    assert future.shape == (6, model.horizon, 2)
    together = torch.cat([model(past[:2]), model(past[2:])])
    torch.testing.assert_close(together, future, rtol=1e-5, atol=1e-6)  # a forecast does not depend on its batch


@pytest.mark.parametrize("name", LEARNED)
def test_every_weight_learns_and_a_line_is_learned(name: str) -> None:
    """The next value is the centre's last one plus a half, among neighbours much like it: a few batches must see it."""
    model = built(name).train()
    generator = torch.Generator().manual_seed(2)
    optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)

    def batch() -> tuple[Tensor, Tensor]:
        past = torch.randn(32, 1, 1, 1, 1, generator=generator) + 0.3 * torch.randn(
            32,
            len(model.lags),
            11,
            11,
            1,
            generator=generator,  # type: ignore[arg-type]
        )
        return past, (past[:, -1:, 5, 5] + 0.5).expand(-1, model.horizon, -1)  # type: ignore[arg-type]

    model.loss(*batch()).backward()  # type: ignore[operator]
    idle = [n for n, p in model.named_parameters() if p.grad is None]
    assert idle == []
    for _ in range(25):
        optimiser.zero_grad()
        model.loss(*batch()).backward()  # type: ignore[operator]
        optimiser.step()
    model.eval()
    past, future = batch()
    with torch.no_grad():
        error = float((model(past) - future).square().mean())
    assert error < 0.7 * float((future - future.mean()).square().mean())


def test_the_naive_ones_are_shifts() -> None:
    series = torch.arange(400.0)
    for name, lag in (("last", 1), ("yesterday", 24), ("last-week", 168)):
        model = built(name)
        assert model.lags == (lag,)
        past = series[300 - lag].view(1, 1, 1, 1, 1)
        assert float(model(past)) == 300 - lag


def test_the_paper_s_best_configuration_is_the_default_and_of_its_size() -> None:
    weights = sum(p.numel() for p in STN(per_day=144).parameters())
    assert abs(weights / 156_200 - 1) < 0.05  # sLSTM-STN, Table II: 156.2 K
    ours = sum(p.numel() for p in built("stn-slstm-day").parameters())
    assert ours <= weights


def test_the_cone_of_a_convlstm_is_the_whole_convlstm_read_at_the_centre() -> None:
    torch.manual_seed(0)
    cone = ConvLSTM(2, 5)
    x = torch.randn(3, 2, 6, 11, 11)
    h, c = torch.zeros(3, 5, 11, 11), torch.zeros(3, 5, 11, 11)
    for t in range(6):  # Shi et al., eq. 3, without peepholes, over the whole patch
        gates = functional.conv2d(x[:, :, t], cone.enter.weight, cone.enter.bias, padding=1)
        i, f, g, o = (gates + functional.conv2d(h, cone.recur.weight, padding=1)).chunk(4, dim=1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        torch.testing.assert_close(cone(x)[:, t], h[:, :, 5, 5], rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="at most 6 steps"):
        cone(torch.randn(1, 2, 7, 11, 11))


def test_fusion_is_torch_s_multi_head_attention_with_residual_and_norm() -> None:
    torch.manual_seed(0)
    block = FusionBlock(32, 8)
    whole = nn.MultiheadAttention(32, 8, batch_first=True)
    with torch.no_grad():
        parts = (block.query, block.key, block.value)
        whole.in_proj_weight.copy_(torch.cat([p.weight for p in parts]))
        whole.in_proj_bias.copy_(torch.cat([p.bias for p in parts]))
        whole.out_proj.weight.copy_(block.leave.weight)
        whole.out_proj.bias.copy_(block.leave.bias)
    spatial, temporal = torch.randn(4, 6, 32), torch.randn(4, 9, 32)
    found, _ = whole(spatial, temporal, temporal)
    expected = functional.layer_norm(spatial + found, (32,))
    torch.testing.assert_close(block(spatial, temporal), expected, rtol=1e-5, atol=1e-6)


def test_stn_slstm_day_starts_as_the_mean_of_the_naive_forecasts_and_can_become_each_of_them() -> None:
    model = built("stn-slstm-day").eval()
    past = past_of(model, 5)
    middle = past[:, :, 5, 5]  # (batch, lags, 1): lags 25, 24 .. 19, 6 .. 1
    assert model.lags == (25, 24, 23, 22, 21, 20, 19, 6, 5, 4, 3, 2, 1)
    last, yesterday = middle[:, -1:].expand(-1, 6, -1), middle[:, 1:7]
    moved = yesterday + middle[:, -1:] - middle[:, :1]
    with torch.no_grad():
        torch.testing.assert_close(model(past), (last + yesterday + moved) / 3)
        for anchor, expected in enumerate((last, yesterday, moved)):
            bias = model.leave.bias.view(6, 4)  # type: ignore[union-attr, operator]
            bias.zero_()
            bias[:, 1 + anchor] = 20.0
            torch.testing.assert_close(model(past), expected)


def test_every_cell_of_the_neighbourhood_is_seen() -> None:
    for name in ("stn", "stn-slstm-tf", "stn-slstm-day"):
        model = built(name).eval()
        with torch.no_grad():
            for p in model.parameters():  # what starts at zero would hide the path
                p += 0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel()))
        past = past_of(model).requires_grad_()
        model(past).sum().backward()
        assert past.grad is not None
        assert (past.grad.abs().sum(0)[-1] > 0).all(), name


def test_variants_that_do_not_exist_are_refused() -> None:
    with pytest.raises(ValueError, match="'gru'"):
        STN(per_day=24, temporal="gru")
