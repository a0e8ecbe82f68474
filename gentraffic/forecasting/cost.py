"""What one forecast costs: multiply-accumulate operations."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def count_macs(model: nn.Module, past: Tensor) -> int:
    """Multiply-accumulates of the products of one call, biases and elementwise work left out (sLSTM-STN, Table VII).

    torch's counter does not see into nn.LSTM, a single call for it: every step multiplies all weights of every layer.
    past: (batch, lags, side, side, services).
    """
    from torch.utils.flop_counter import FlopCounterMode

    inside = 0

    def recurrent(layer: nn.LSTM, given: tuple[Tensor, ...], _: Any) -> None:
        nonlocal inside
        batch, steps, _ = given[0].shape if layer.batch_first else given[0].transpose(0, 1).shape
        weights = sum(p.numel() for name, p in layer.named_parameters() if name.startswith("weight"))
        inside += batch * steps * weights

    hooks = [m.register_forward_hook(recurrent) for m in model.modules() if isinstance(m, nn.LSTM)]
    try:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(past)
    finally:
        for hook in hooks:
            hook.remove()
    return int(counter.get_total_flops()) // 2 + inside
