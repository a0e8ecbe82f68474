"""sLSTM: our loop against the xlstm package, with its weights, forwards and backwards; step by step and all at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from forecasters.slstm import GATES, SLSTMLayer, SLSTMStack


def reference_layer(dim: int, heads: int) -> torch.nn.Module:
    from xlstm.blocks.slstm.layer import sLSTMLayer, sLSTMLayerConfig

    config = sLSTMLayerConfig(
        embedding_dim=dim, num_heads=heads, conv1d_kernel_size=0, backend="vanilla", dtype="float32",
        enable_automatic_mixed_precision=False,
    )  # fmt: skip
    layer: torch.nn.Module = sLSTMLayer(config)
    layer.reset_parameters()  # type: ignore[operator]
    return layer


def shaken(layer: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Weights that are all different from zero, so that no part can hide."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in layer.parameters():
            p += 0.3 * torch.randn(p.shape, generator=generator)
    return layer


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Layers draw their weights from torch's own generator, whatever ran before."""
    torch.manual_seed(0)


@pytest.fixture
def x() -> Tensor:
    return 2 * torch.randn(5, 9, 32, generator=torch.Generator().manual_seed(1))


def test_state_dicts_go_both_ways_and_the_results_are_xlstms(x: Tensor) -> None:
    theirs = shaken(reference_layer(32, 4))
    ours = SLSTMLayer(32, 4)
    ours.load_state_dict(theirs.state_dict())
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-5, atol=1e-6)
    again = reference_layer(32, 4)
    again.load_state_dict(shaken(ours, 2).state_dict())
    torch.testing.assert_close(ours(x), again(x), rtol=1e-5, atol=1e-6)


def test_gradients_are_xlstms(x: Tensor) -> None:
    theirs = shaken(reference_layer(32, 4))
    ours = SLSTMLayer(32, 4)
    ours.load_state_dict(theirs.state_dict())
    for layer in (ours, theirs):
        layer(x).square().mean().backward()
    for name, p in ours.named_parameters():
        other = theirs.get_parameter(name)
        assert p.grad is not None
        assert other.grad is not None
        assert p.grad.abs().max() > 0, name
        torch.testing.assert_close(p.grad, other.grad, rtol=1e-4, atol=1e-7, msg=name)


def test_the_vanilla_backend_is_the_same_network(x: Tensor) -> None:
    ours = shaken(SLSTMLayer(32, 4))
    theirs = SLSTMLayer(32, 4, backend="vanilla")
    assert list(theirs.state_dict()) == list(ours.state_dict())
    theirs.load_state_dict(ours.state_dict())
    torch.testing.assert_close(theirs(x), ours(x), rtol=1e-5, atol=1e-6)
    theirs(x).sum().backward()
    assert all(p.grad is not None for p in theirs.parameters())


def test_the_cuda_backend_gets_the_weights_in_its_own_layout() -> None:
    """Both of the package's cells store the same weights differently; through ours they mean the same."""
    from xlstm.blocks.slstm.cell import sLSTMCell_cuda, sLSTMCell_vanilla, sLSTMCellConfig

    config = sLSTMCellConfig(hidden_size=24, num_heads=3, dtype="float32", enable_automatic_mixed_precision=False)
    fused, plain = sLSTMCell_cuda(config, skip_backend_init=True), sLSTMCell_vanilla(config)
    own = shaken(SLSTMLayer(24, 3)).slstm_cell
    kernel = own._recurrent_kernel_.view(3, 4, 8, 8).permute(0, 3, 1, 2)  # as SLSTMLayer hands it over
    bias = own._bias_.view(4, 3, 8).transpose(0, 1)
    torch.testing.assert_close(plain._recurrent_kernel_ext2int(kernel), own._recurrent_kernel_, rtol=0, atol=0)
    torch.testing.assert_close(plain._bias_ext2int(bias), own._bias_, rtol=0, atol=0)
    again = fused._recurrent_kernel_int2ext(fused._recurrent_kernel_ext2int(kernel))
    torch.testing.assert_close(again, kernel, rtol=0, atol=0)
    torch.testing.assert_close(fused._bias_int2ext(fused._bias_ext2int(bias)), bias, rtol=0, atol=0)


def test_step_by_step_is_all_at_once(x: Tensor) -> None:
    layer = shaken(SLSTMLayer(32, 4))
    state, out = None, []
    for t in range(x.shape[1]):
        y, state = layer.step(x[:, t], state)  # type: ignore[operator]
        out.append(y)
    torch.testing.assert_close(torch.stack(out, dim=1), layer(x), rtol=1e-5, atol=1e-6)


def test_the_equations_by_hand_in_numpy() -> None:
    """xLSTM eq. 8-17, one head, one unit at a time, without a stabiliser: only the ratio c / n counts."""
    layer = shaken(SLSTMLayer(2, 2), 3).double()
    x = torch.randn(1, 4, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(4)).repeat(2, 1, 1)
    w = {gate: getattr(layer, name).weight.detach().numpy()[:, 0, 0] for gate, name in zip("ifzo", GATES, strict=True)}
    r = layer.slstm_cell._recurrent_kernel_.detach().numpy().reshape(2, 4)  # type: ignore[operator, union-attr]
    b = layer.slstm_cell._bias_.detach().numpy().reshape(4, 2)  # type: ignore[operator, union-attr]
    h, c, n = np.zeros(2), np.zeros(2), np.zeros(2)
    for x_t in x[0].numpy():
        i, f, z, o = (w[g] * x_t + r[:, k] * h + b[k] for k, g in enumerate("ifzo"))
        keep, enter = 1 / (1 + np.exp(-f)), np.exp(i)
        c, n = keep * c + enter * np.tanh(z), keep * n + enter
        h = c / n / (1 + np.exp(-o))
    state = None
    for t in range(4):
        _, state = layer.step(x[:, t], state)  # type: ignore[operator]
    np.testing.assert_allclose(state.h[:, 0, 0].detach().numpy(), h, rtol=1e-10)


def test_large_inputs_do_not_overflow() -> None:
    layer = shaken(SLSTMLayer(16, 4))
    assert layer(1e4 * torch.randn(3, 20, 16, generator=torch.Generator().manual_seed(0))).isfinite().all()


def test_it_forgets_nothing_of_the_past_and_knows_nothing_of_the_future(x: Tensor) -> None:
    stack = shaken(SLSTMStack(32, 4, 2))
    base, changed = stack(x), x.clone()
    changed[:, 5] += 1.0
    moved = (stack(changed) - base).abs().amax(dim=(0, 2)) > 0
    assert moved.tolist() == [False] * 5 + [True] * 4


def test_unknown_backends_and_heads_are_refused() -> None:
    with pytest.raises(ValueError, match="'fused'"):
        SLSTMLayer(16, 4, backend="fused")
    with pytest.raises(ValueError, match="3 heads"):
        SLSTMLayer(16, 3)
