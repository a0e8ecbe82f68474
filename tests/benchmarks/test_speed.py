"""benchmarks/speed.py: operations against closed forms, calls from all threads, and cells that repeat a city."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from types import ModuleType

import numpy as np
import pytest
import torch
from benchmark_scripts import script
from bundle_examples import context
from torch import Tensor, nn


@pytest.fixture(scope="module")
def speed() -> ModuleType:
    return script("speed")


class Attention(nn.Module):
    def forward(self, q: Tensor) -> Tensor:
        return nn.functional.scaled_dot_product_attention(q, q, q)


def test_operations_are_those_of_the_closed_forms(speed: ModuleType) -> None:
    assert speed.flops_of(nn.Linear(12, 20), torch.ones(7, 12)) == 2 * 7 * 12 * 20
    assert speed.flops_of(nn.Conv1d(3, 5, 9, padding=4), torch.ones(2, 3, 30)) == 2 * 2 * 30 * 9 * 3 * 5
    assert speed.flops_of(nn.Conv2d(4, 6, 3, groups=2), torch.ones(2, 4, 10, 8)) == 2 * 2 * 8 * 6 * 9 * 4 * 6 // 2
    assert speed.flops_of(Attention(), torch.ones(2, 3, 11, 8)) == 2 * (2 * 2 * 3 * 11 * 11 * 8)
    assert speed.flops_of(nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 2)), torch.ones(5, 4)) == 2 * 5 * 48


def test_every_call_is_seen_from_whatever_thread(speed: ModuleType) -> None:
    network = nn.Linear(4, 4)
    batches = [torch.ones(n, 4) for n in (1, 2, 2, 3, 3, 3)]

    def draw() -> None:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(network, batches))

    spans, inputs = speed.watch(network, draw)
    assert sorted(shape for shape, _, _ in spans) == [(1, 4), (2, 4), (2, 4), (3, 4), (3, 4), (3, 4)]
    assert {shape: given[0].shape[0] for shape, given in inputs.items()} == {(1, 4): 1, (2, 4): 2, (3, 4): 3}
    assert all(clock > 0 and processor >= 0 for _, clock, processor in spans)
    network(batches[0])
    assert len(spans) == 6  # nothing is watched any more


def test_matrix_products_are_timed(speed: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "SIDES", (128,))
    before = torch.get_num_threads()
    assert all(1e8 < rate < 1e13 for rate in speed.matrix_rate(2, rounds=2))
    assert torch.get_num_threads() == before


def test_cells_repeat_the_city(speed: ModuleType) -> None:
    city = context(36, "alpha").assign_attrs(license="none", attribution="nobody")
    large = speed.tiled(city, 15 * 15)
    counts = city["poi_count"].values.reshape(6, 6, 8)
    assert np.array_equal(large["poi_count"].values.reshape(15, 15, 8), np.tile(counts, (3, 3, 1))[:15, :15])
    for axis in ("x", "y"):
        assert np.allclose(np.diff(np.unique(large[axis].values)), speed.SIDE_M)
        assert large[axis].values[0] == city[axis].values[0]
    assert large.sizes["cell"] == len(np.unique(large["cell_id"].values)) == 225


def test_the_table_divides_as_it_says(speed: ModuleType) -> None:
    row = {
        "cells": 1000,
        "steps": 2,
        "seconds": 0.5,
        "processor_seconds": 0.8,
        "gflop": 8.0,
        "share": 0.5,
        "share_by_clock": 0.25,
    }
    row |= {"peak_rss_mb": 600.0, "threads": 2, "matrix_gflops": 100.0, "matrix_gflops_by_clock": 90.0}
    store = {
        "cells": 4000,
        "seconds": 2.0,
        "whole_seconds": 5.0,
        "processor_seconds": 6.0,
        "peak_rss_mb": 650.0,
        "mb_on_disk": 3.0,
    }
    said = speed.table(
        {"stouter-fast|cpu": row | {"load_average": 1.0}, "store|4000": store | {"load_average": 2.0}}
    ).splitlines()
    assert "| stouter-fast | cpu | 1,000 | 2 | 0.50 | 336,000 | 210,000 | 600 | 8.0 | 50% | 25% |" in said
    assert "| 4,000 | 2.00 | 500 | 5.00 | 6.0 | 650 | 3.0 |" in said
