"""ConvLSTM (Shi et al., NeurIPS 2015) read at the centre of a patch, computing only what the centre depends on."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class ConvLSTM(nn.Module):
    """States at the centre: x (batch, channels, steps, side, side) -> (batch, steps, hidden).

    A 3 x 3 ConvLSTM with zero padding. The centre of the last state depends on the state before within one cell, on
    that before it within two: so the state of step t is computed within steps - t cells of the centre only, the same
    numbers as over the whole patch, as long as that cone stays inside the patch (steps <= side // 2 + 1).
    """

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.enter = nn.Conv2d(channels, 4 * hidden, 3)
        self.recur = nn.Conv2d(hidden, 4 * hidden, 3, bias=False)
        with torch.no_grad():
            self.enter.bias[hidden : 2 * hidden] = 1.0  # type: ignore[index]  # remember at first

    def forward(self, x: Tensor) -> Tensor:
        """x (batch, channels, steps, side, side) -> (batch, steps, hidden). Raises ValueError for too small a patch."""
        steps, side = x.shape[2], x.shape[3]
        if steps > side // 2 + 1:
            raise ValueError(f"{steps} steps on patches of {side} x {side}: at most {side // 2 + 1} steps")
        padded = functional.pad(x, (1, 1, 1, 1))
        middle = side // 2 + 1
        out: list[Tensor] = []
        h = c = None
        for t in range(steps):
            reach = steps - 1 - t  # of the state at step t around the centre
            some = slice(middle - reach - 1, middle + reach + 2)
            gates = self.enter(padded[:, :, t, some, some])
            if h is not None:
                gates = gates + self.recur(h)
            i, f, g, o = gates.chunk(4, dim=1)
            c_new = torch.sigmoid(i) * torch.tanh(g)
            if c is not None:
                c_new = c_new + torch.sigmoid(f) * c[:, :, 1:-1, 1:-1]
            c = c_new
            h = torch.sigmoid(o) * torch.tanh(c)
            out.append(h[:, :, reach, reach])
        return torch.stack(out, dim=1)
