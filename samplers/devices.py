"""Where and in what numbers a network computes: the CPU, or a device of torch beside it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor

WIDER = 4  # times as many series at once on a device: those for a CPU are chosen for its caches


def computing_in(precision: str, device: str) -> AbstractContextManager[Any]:
    """While it lasts, products and convolutions of this thread compute in one of `samplers.PRECISIONS`."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(torch.device(device).type, dtype=torch.bfloat16)


def at_once(series: int, device: str) -> int:
    """How many series one call of a network takes on a device; `series` on the CPU."""
    return series if torch.device(device).type == "cpu" else WIDER * series


@contextmanager
def own_stream(device: str) -> Iterator[None]:
    """On CUDA, a stream for this tile alone: its copies to the host do not wait for other tiles, nor they for it."""
    if not has_streams(device):
        yield
        return
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream(device))  # what lies on the device by then is there
    with torch.cuda.stream(stream):
        yield


def to_device(tensor: Tensor, device: str) -> Tensor:
    """The tensor, (any shape), on a device; CUDA gets it from pinned memory, without waiting."""
    if not has_streams(device):
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def to_host(tensor: Tensor) -> Tensor:
    """The tensor, (any shape), as float32 on the CPU; from CUDA by way of pinned memory, waiting for its own stream."""
    tensor = tensor.float()
    if not has_streams(str(tensor.device)):
        return tensor.cpu()
    out = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    out.copy_(tensor, non_blocking=True)
    torch.cuda.current_stream(tensor.device).synchronize()
    return out


def has_streams(device: str) -> bool:
    """Whether it is a CUDA device that is there."""
    return torch.device(device).type == "cuda" and torch.cuda.is_available()
