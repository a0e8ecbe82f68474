"""STFFM by hand (STOUTER eq. 15-17), and what the five fusions of Table 6 do and do not mix."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from samplers.layers import (
    FUSIONS,
    STFFM,
    ConcatFusion,
    CrossAttentionFusion,
    GateFusion,
    StepEmbedding,
    WeightFusion,
)

S, Q, C, N, B = 5, 4, 8, 6, 3  # station, time, channels; places of the sheet, series


@pytest.fixture(autouse=True)
def _double() -> Any:
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def inputs(seed: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """F_s (B, S), F_t (1, N, Q), step (B, C)."""
    g = torch.Generator().manual_seed(seed)
    return torch.randn(B, S, generator=g), torch.randn(1, N, Q, generator=g), torch.randn(B, C, generator=g)


def silu(x: Tensor) -> Tensor:
    return x / (1 + (-x).exp())


def test_step_embedding_is_sines_and_cosines_through_two_layers() -> None:
    embedding = StepEmbedding(C, waves=4)
    t = torch.tensor([0, 1, 999])
    rows = []
    for step in t.tolist():
        angles = [step / 10_000 ** (i / 4) for i in range(4)]
        rows.append([math.sin(a) for a in angles] + [math.cos(a) for a in angles])
    first, last = embedding.mlp[0], embedding.mlp[2]
    assert isinstance(first, nn.Linear)
    assert isinstance(last, nn.Linear)
    hidden = silu(torch.tensor(rows) @ first.weight.T + first.bias)
    expected = hidden @ last.weight.T + last.bias
    torch.testing.assert_close(embedding(t), expected, atol=1e-4, rtol=1e-4)  # angles are float32
    far = embedding(torch.arange(1000))
    assert torch.cdist(far, far).add(torch.eye(1000) * 9).min() > 1e-4  # no two steps look the same


def test_concat_fusion_is_one_layer_on_the_concatenation() -> None:
    fusion = ConcatFusion(S, Q, C)
    f_s, f_t, step = inputs()
    whole = nn.Linear(S + Q, C)  # FC(concat(F_s, F_t)) of eq. 16, undivided
    with torch.no_grad():
        whole.weight.copy_(torch.cat([fusion.of_station.weight, fusion.of_time.weight], 1))
        whole.bias.copy_(fusion.of_station.bias)
    both = torch.cat([f_s[:, None].expand(B, N, S), f_t.expand(B, N, Q)], -1)
    expected = fusion.out(silu(step[:, None] + whole(both)))
    torch.testing.assert_close(fusion(f_s, f_t, step), expected)


def test_weight_fusion_weighs_by_two_scalars_that_sum_to_one() -> None:
    fusion = WeightFusion(S, Q, C)
    f_s, f_t, step = inputs()
    got = fusion(f_s, f_t, step)
    for b in range(B):
        for n in range(N):
            s, t = fusion.of_station(f_s[b]), fusion.of_time(f_t[0, n])
            e = fusion.weight(torch.cat([s, t])).exp()
            mixed = (e[0] * s + e[1] * t) / e.sum()
            torch.testing.assert_close(got[b, n], fusion.out(silu(mixed + step[b])))


def test_gate_fusion_gates_every_channel() -> None:
    fusion = GateFusion(S, Q, C)
    f_s, f_t, step = inputs()
    got = fusion(f_s, f_t, step)
    for b in range(B):
        for n in range(N):
            s, t = fusion.of_station(f_s[b]), fusion.of_time(f_t[0, n])
            gate = 1 / (1 + (-fusion.gate(torch.cat([s, t]))).exp())
            torch.testing.assert_close(got[b, n], fusion.out(silu(gate * s + (1 - gate) * t + step[b])))


def test_cross_attention_asks_tokens_of_the_station_and_the_step() -> None:
    fusion = CrossAttentionFusion(S, Q, C, tokens=3)
    f_s, f_t, step = inputs()
    got = fusion(f_s, f_t, step)
    for b in range(B):
        memory = [*fusion.of_station(f_s[b]).split(C), step[b]]
        for n in range(N):
            query = fusion.query(f_t[0, n])
            e = torch.stack([(query @ fusion.key(m) / math.sqrt(C)).exp() for m in memory])
            mixed = torch.stack([w * fusion.value(m) for w, m in zip(e / e.sum(), memory, strict=True)]).sum(0)
            torch.testing.assert_close(got[b, n], fusion.out(silu(query + mixed)))


def of(name: str, given: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """The inputs of a fusion; that of eq. 16 takes the step as wide as the station."""
    f_s, f_t, step = given
    return f_s, f_t, step[:, :S] if name == "linear" else step


@pytest.mark.parametrize("name", FUSIONS)
def test_every_fusion_answers_to_place_time_and_step(name: str) -> None:
    fusion = FUSIONS[name](S, Q, C)
    f_s, f_t, step = of(name, inputs())
    other = of(name, inputs(2))
    base = fusion(f_s, f_t, step)
    assert base.shape == (B, N, C)
    for changed in ((other[0], f_t, step), (f_s, other[1], step), (f_s, f_t, other[2])):
        assert (fusion(*changed) - base).abs().amax((1, 2)).min() > 1e-2  # in every series
    torch.testing.assert_close(fusion(f_s, f_t.expand(B, N, Q), step), base)  # times may be one for all
    torch.testing.assert_close(fusion(f_s[1:2], f_t, step[1:2]), base[1:2])  # series do not mix


@pytest.mark.parametrize("name", FUSIONS)
def test_only_the_decoupled_and_the_affine_fusion_have_no_interaction_of_place_and_time(name: str) -> None:
    fusion = FUSIONS[name](S, Q, C)
    (s0, t0, step), (s1, t1, _) = of(name, inputs()), of(name, inputs(2))
    mixed = fusion(s1, t1, step) - fusion(s1, t0, step) - fusion(s0, t1, step) + fusion(s0, t0, step)
    if name in ("decoupled", "linear"):  # an affine map of all three mixes nothing; eq. 17 does
        torch.testing.assert_close(mixed, torch.zeros_like(mixed))
    else:
        assert mixed.abs().max() > 1e-2


@pytest.mark.parametrize("name", FUSIONS)
def test_stffm_is_eq_17(name: str) -> None:
    block = STFFM(2, C, 2, 3, station=S, time=Q, fusion=name)
    f_s, f_t, _ = inputs()
    g = torch.Generator().manual_seed(3)
    x, step = torch.randn(B, N, 2, generator=g), torch.randn(B, S, generator=g)
    inner = block.first(x)
    f_st = block.fusion(f_s, f_t, block.step(step))
    total = inner + block.second(inner + f_st)
    expected = torch.where(total > 0, total, total.exp() - 1)  # ELU
    torch.testing.assert_close(block(x, f_s, f_t, step), expected)
    assert block(x, f_s, f_t, step).shape == (B, N, C)


def test_a_narrow_sheet_is_drawn_by_products_that_equal_its_convolutions() -> None:
    block = STFFM(3, C, 7, 2, station=S, time=Q, fusion="concat").double()
    g = torch.Generator().manual_seed(4)
    f_s, f_t, step = (torch.randn(shape, generator=g).double() for shape in ((B, S), (1, 14, Q), (B, S)))
    x = torch.randn(B, 14, 3, generator=g).double()

    def same() -> None:
        learning = block(x, f_s, f_t, step).detach()  # with gradients: two convolutions
        for mode in (torch.no_grad, torch.inference_mode):
            with mode():
                torch.testing.assert_close(block(x, f_s, f_t, step), learning, rtol=0, atol=1e-12)

    same()
    kept = block._folded
    same()
    assert block._folded is kept  # formed once
    with torch.no_grad():  # as an optimiser moves weights, and as a moving average is put in
        block.first.conv.weight.mul_(1.5)
    same()
    block.load_state_dict({name: value + 0.1 for name, value in block.state_dict().items()})
    same()
    for _ in range(3):  # new tensors, which the allocator likes to put where the old ones were
        block.load_state_dict({name: value * 0.9 for name, value in block.state_dict().items()}, assign=True)
        same()


def test_fusions_have_weights_of_one_size() -> None:
    counts = {name: sum(p.numel() for p in kind(32, 32, 32).parameters()) for name, kind in FUSIONS.items()}
    assert max(counts.values()) < 4 * min(counts.values()), counts
