"""benchmarks/gpu.py: bytes against closed forms, calls of copies of a network, and the whole of it on the CPU."""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from benchmark_scripts import script
from torch import Tensor, nn


@pytest.fixture(scope="module")
def gpu() -> ModuleType:
    return script("gpu")


class Sum(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.view(-1, 2, 3) + x[:1, :1].expand(2, 3)  # views move nothing, and what is expanded is one value


def test_bytes_are_those_of_the_closed_forms(gpu: ModuleType) -> None:
    assert gpu.bytes_of(nn.Linear(12, 20), torch.ones(7, 12)) == 4 * (7 * 12 + 12 * 20 + 20 + 7 * 20)
    conv = nn.Conv1d(3, 5, 9, padding=4)
    assert gpu.bytes_of(conv, torch.ones(2, 3, 30)) == 4 * (2 * 3 * 30 + 5 * 3 * 9 + 5 + 2 * 5 * 30)
    assert gpu.bytes_of(nn.GELU(), torch.ones(5, 4, dtype=torch.bfloat16)) == 2 * 2 * 20
    assert gpu.bytes_of(Sum(), torch.ones(2, 6)) == 4 * (12 + 1 + 12)


def test_calls_of_copies_are_seen_and_nothing_is_watched_afterwards(gpu: ModuleType) -> None:
    network = nn.Bilinear(2, 2, 2)
    twin = copy.deepcopy(network)
    spans, inputs = gpu.watch(nn.Bilinear, lambda: twin(torch.ones(3, 2), torch.ones(3, 2)), list)
    assert [shape for shape, _, _ in spans] == [(3, 2)]
    assert inputs[3, 2][0] is twin
    network(torch.ones(1, 2), torch.ones(1, 2))
    assert len(spans) == 1


def test_a_forecaster_on_the_cpu_is_that_of_the_cpu(gpu: ModuleType, tmp_path: Path) -> None:
    bench = gpu.Bench(tmp_path / "x.json", "cpu", quick=True, limit=100, folder=tmp_path)
    assert gpu.forecaster_row(bench, "lstm") == {"fp32": 0.0, "right": True}
    bench.row("late", lambda: {"a": 1})
    bench.until = 0.0
    bench.row("later", lambda: {"a": 2})
    assert (list(bench.rows), bench.left_out) == (["late"], ["later"])


@pytest.mark.slow
def test_the_whole_runs_on_the_cpu(
    gpu: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "gpu.json"
    monkeypatch.setattr(sys, "argv", ["gpu.py", "-o", str(out), "--device", "cpu", "--quick", "--limit", "3000"])
    gpu.main()
    rows = json.loads(out.read_text())
    assert {key.split("|")[0] for key in rows} == set(gpu.PARTS)
    assert all(row["fp32"] == 0 for key, row in rows.items() if key.startswith("bits|"))
    assert all(0 < row["share_of_products"] < 1.5 for key, row in rows.items() if key.startswith("samplers|"))
    text = capsys.readouterr().out
    assert all(name in text for name in (*gpu.BUNDLED, *gpu.TRAINED, "cells to Zarr"))
