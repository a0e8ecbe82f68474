"""sLSTM (Beck et al., xLSTM, NeurIPS 2024, eq. 8-24) with the weights of the `xlstm` package and a faster loop.

The package is the reference: names and shapes of the weights are those of its `sLSTMLayer` (backend `vanilla`, no
convolution), so state dicts go both ways. One slip of its comes with them: the matrix called `fgate` drives the input
gate and `igate` the forget gate. The paper of sLSTM-STN says that gates are scalars shared across the hidden state;
those of an sLSTM are per unit (see PAPERS).

`fast` computes all input gates of all steps in one product and the recurrence with one `baddbmm` per step; `vanilla`
and `cuda` hand the same weights to the package's cell: plain torch, and its fused kernel where it can be built.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

BACKENDS = ("fast", "vanilla", "cuda")
GATES = ("fgate", "igate", "zgate", "ogate")  # in the order i, f, z, o: the names of the first two are swapped


@dataclass(frozen=True)
class State:
    """What an sLSTM remembers: h output, c cell, n normaliser, m stabiliser, each (heads, batch, dim / heads)."""

    h: Tensor
    c: Tensor
    n: Tensor
    m: Tensor


class _Headwise(nn.Module):
    """The weight of a linear map within each head, (heads, out, in); named as in xlstm."""

    def __init__(self, heads: int, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(heads, dim, dim) * (2 / (5 * dim)) ** 0.5)  # xlstm's small init


class _Norm(nn.Module):
    """Group normalisation by heads with weight 1 + w; named as in xlstm."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(dim))


class _Cell(nn.Module):
    """The recurrent weights; named, laid out and initialised as in xlstm's vanilla cell."""

    def __init__(self, heads: int, dim: int) -> None:
        super().__init__()
        self._recurrent_kernel_ = nn.Parameter(torch.zeros(heads, 4 * dim, dim))  # gate by gate
        bias = torch.zeros(4, heads, dim)
        bias[1] = -(-5.0 + 12.0 * (torch.arange(dim) / max(1, dim - 1)) ** 0.3)  # power law of the forget gate
        self._bias_ = nn.Parameter(bias.flatten())


class SLSTMLayer(nn.Module):
    """A layer of sLSTM: (batch, steps, dim) -> the same.

    heads must divide dim. backend: "fast", "vanilla" or "cuda". Raises ValueError for another one.
    """

    def __init__(self, dim: int, heads: int, backend: str = "fast") -> None:
        super().__init__()
        if backend not in BACKENDS or dim % heads:
            raise ValueError(f"backend {backend!r} of {', '.join(BACKENDS)}; {heads} heads must divide dim {dim}")
        self.dim, self.heads, self.backend = dim, heads, backend
        self.fgate, self.igate, self.zgate, self.ogate = (_Headwise(heads, dim // heads) for _ in GATES)
        self.slstm_cell = _Cell(heads, dim // heads)
        self.group_norm = _Norm(dim)
        self._reference: list[Any] = []  # a list, so that the package's cell adds no weights of its own

    def forward(self, x: Tensor) -> Tensor:
        """x (batch, steps, dim) -> (batch, steps, dim), starting from nothing."""
        if self.backend != "fast":
            return self._norm(self._by_xlstm(x))
        gates, recurrent = self._input(x), self._recurrent()
        state, out = None, []
        for raw in gates:
            state = _update(raw, state, recurrent)
            out.append(state.h)
        return self._norm(_join(torch.stack(out)))

    def step(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        """One step: x (batch, dim) and the state before it (None at the start) -> (batch, dim), the state after it."""
        [raw] = self._input(x[:, None])
        state = _update(raw, state, self._recurrent())
        return self._norm(_join(state.h[None]))[:, 0], state

    def _input(self, x: Tensor) -> Tensor:
        """What the input says to the gates, all steps at once: (steps, heads, batch, 4 dim / heads), gate by gate."""
        b, steps, _ = x.shape
        weight = torch.cat([getattr(self, name).weight for name in GATES], dim=1).transpose(1, 2)  # (heads, in, 4 out)
        bias = self.slstm_cell._bias_.view(4, self.heads, 1, -1).permute(1, 2, 0, 3).flatten(2)  # (heads, 1, 4 out)
        split = x.view(b, steps, self.heads, -1).permute(2, 1, 0, 3).reshape(self.heads, steps * b, -1)
        gates = torch.baddbmm(bias, split, weight)
        return gates.view(self.heads, steps, b, -1).transpose(0, 1)

    def _recurrent(self) -> Tensor:
        """(heads, in, 4 out)"""
        return self.slstm_cell._recurrent_kernel_.transpose(1, 2)

    def _norm(self, y: Tensor) -> Tensor:
        """y (batch, steps, dim), normalised within each head (eps and 1 + w as in xlstm)."""
        flat = functional.group_norm(y.reshape(-1, self.dim), self.heads, 1 + self.group_norm.weight, eps=1e-5)
        return flat.view(y.shape)

    def _by_xlstm(self, x: Tensor) -> Tensor:
        """The states h (batch, steps, dim) as the package's own cell computes them from these weights."""
        if not self._reference:
            self._reference.append(reference_cell(self.dim, self.heads, self.backend))
        cell = self._reference[0].to(x.device)
        split = x.view(*x.shape[:2], self.heads, -1)
        raw = [torch.einsum("bshd,hod->bsho", split, getattr(self, name).weight).flatten(2) for name in GATES]
        own = self.slstm_cell
        kernel = own._recurrent_kernel_.view(self.heads, 4, -1, self.dim // self.heads).permute(0, 3, 1, 2)
        bias = own._bias_.view(4, self.heads, -1).transpose(0, 1)
        weights = {
            "_recurrent_kernel_": cell._recurrent_kernel_ext2int(kernel),
            "_bias_": cell._bias_ext2int(bias),
        }
        y, _ = torch.func.functional_call(cell, weights, (torch.cat(raw, dim=-1),))
        out: Tensor = y.transpose(1, 2).flatten(2)  # (batch, heads, steps, dim / heads) ->
        return out


def reference_cell(dim: int, heads: int, backend: str) -> Any:
    """xlstm's own cell. backend "cuda" compiles its kernel at the first call; it needs a GPU and nvcc."""
    from xlstm.blocks.slstm.cell import sLSTMCell, sLSTMCellConfig

    config = sLSTMCellConfig(
        hidden_size=dim, num_heads=heads, backend=backend, dtype="float32", enable_automatic_mixed_precision=False
    )
    return sLSTMCell(config)


def _update(raw: Tensor, state: State | None, recurrent: Tensor) -> State:
    """One step of the recurrence (xLSTM eq. 8-17) from what the input said to the gates, raw (heads, batch, 4 d)."""
    if state is None:  # nothing remembered: the forget gate has nothing to act on, and the stabiliser is the input gate
        i, _, z, o = raw.chunk(4, dim=-1)
        c = torch.tanh(z)
        return State(torch.sigmoid(o) * c, c, torch.ones_like(c), i)
    i, f, z, o = torch.baddbmm(raw, state.h, recurrent).chunk(4, dim=-1)
    kept = functional.logsigmoid(f) + state.m
    m = torch.maximum(i, kept)
    enter, keep = torch.exp(i - m), torch.exp(kept - m)
    c = keep * state.c + enter * torch.tanh(z)
    n = keep * state.n + enter
    return State(torch.sigmoid(o) * c / n, c, n, m)


def _join(h: Tensor) -> Tensor:
    """(steps, heads, batch, d) -> (batch, steps, heads * d)"""
    return h.permute(2, 0, 1, 3).flatten(2)


class SLSTMStack(nn.Module):
    """Layers of sLSTM, each after a normalisation and around a residual: (batch, steps, dim) -> the same."""

    def __init__(self, dim: int, heads: int, layers: int, backend: str = "fast") -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(dim, bias=False) for _ in range(layers))
        self.layers = nn.ModuleList(SLSTMLayer(dim, heads, backend) for _ in range(layers))

    def forward(self, x: Tensor) -> Tensor:
        """x (batch, steps, dim) -> (batch, steps, dim)"""
        for norm, layer in zip(self.norms, self.layers, strict=True):
            x = x + layer(norm(x))
        return x
