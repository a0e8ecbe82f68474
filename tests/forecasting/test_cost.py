"""Multiply-accumulates against counts by hand."""

from __future__ import annotations

import pytest
import torch

from forecasters import FORECASTERS
from gentraffic.forecasting.cost import count_macs

SIDE, STEPS, HIDDEN = 11, 6, 64


@pytest.mark.parametrize("batch", [1, 3])
def test_an_lstm_counts_its_four_gates_of_both_layers_at_every_step(batch: int) -> None:
    model = FORECASTERS["lstm"].network(per_day=144).eval()
    gates = 4 * HIDDEN * ((SIDE * SIDE + HIDDEN) + (HIDDEN + HIDDEN))
    assert count_macs(model, torch.zeros(batch, STEPS, SIDE, SIDE, 1)) == batch * (STEPS * gates + HIDDEN)


def test_a_convolution_and_a_linear_map_count_as_by_hand() -> None:
    model = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 5, bias=False), torch.nn.Flatten(), torch.nn.Linear(3 * 49, 4))
    assert count_macs(model, torch.zeros(1, 2, 11, 11)) == 49 * 3 * 2 * 25 + 3 * 49 * 4
