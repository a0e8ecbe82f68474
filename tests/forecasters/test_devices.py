"""Every forecaster learns on another device with the CPU's bits; on one that there is not: pretend_device."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from pretend_device import on_cpu, pretending
from torch import Tensor

from forecasters import FORECASTERS, NAIVE

LEARNED = [name for name, recipe in FORECASTERS.items() if name not in NAIVE and recipe.fit is None]


@pytest.mark.parametrize("name", [n for n in LEARNED if n != "xlstm"])  # the package's own layers are not ours to mend
def test_a_forecaster_learns_on_the_device(name: str) -> None:
    recipe = FORECASTERS[name]
    torch.manual_seed(0)
    model: Any = recipe.network(per_day=24, services=2, **recipe.design)
    g = torch.Generator().manual_seed(1)
    past = torch.randn(3, len(model.lags), model.side, model.side, 2, generator=g)
    future = torch.randn(3, model.horizon, 2, generator=g)

    def weights(device: str) -> list[Tensor]:
        network = copy.deepcopy(model).to(device).train()
        optimiser = torch.optim.Adam(network.parameters(), lr=1e-2, foreach=False)
        torch.manual_seed(2)
        network.loss(past.to(device), future.to(device)).backward()
        optimiser.step()
        return [p.detach() for p in network.parameters()]

    with pretending():
        there = weights("cuda")
    for a, b in zip(weights("cpu"), there, strict=True):
        torch.testing.assert_close(a, on_cpu(b), rtol=0, atol=1e-6)
