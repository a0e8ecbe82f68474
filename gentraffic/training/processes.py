"""Training by several processes at once, with the result of one.

    accelerate launch --multi_gpu --num_processes 4 -m gentraffic fit stouter --traffic ... -o DIR

(`--multi_gpu` says that there are several processes; they compute on CPUs unless `--device cuda` gives each a GPU;
`--cpu` would start one.) Every process
makes the whole batch of a step, its noise and its loss, from the same streams. Shared out are the rows that go through
the network: each process computes its own, the answers are put together, and gradients are added up. Dropout is drawn
for the whole batch too. So nothing but the order of sums differs from one process: see TOLERANCE.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from gentraffic.errors import BadInput, WrongUse
from samplers import PRECISIONS

TOLERANCE = 1e-4  # after 50 steps, |several - one| / |one| of each weight tensor and each loss; 1e-5 was the most seen


@dataclass(frozen=True)
class ProcessGroup:
    """The processes of one run: the number of this one, and how many there are. With one, nothing is done here.

    device: of torch, where this process computes. precision: of `samplers.sampler.PRECISIONS`.
    """

    rank: int = 0
    size: int = 1
    device: str = "cpu"
    precision: str = "fp32"

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.rank == 0

    @contextmanager
    def sharing(self, network: nn.Module) -> Iterator[None]:
        """While it lasts, the network's answers are computed by all processes, some rows by each.

        network: called with x (B, ...), t (B,) and a condition that has `rows`; no row may depend on another. Raises
        WrongUse for fewer rows than processes.
        """
        if self.size == 1:
            yield
            return
        inner: Any = network.forward

        def forward(x: Tensor, t: Tensor, condition: Any) -> Tensor:
            part = self._part(len(x))
            with _WholeDropout(len(x), part):
                mine = inner(x[part], t[part], condition.rows(part))
            whole: Tensor = _Joined.apply(mine, part, len(x))  # type: ignore[no-untyped-call]
            return whole

        network.forward = forward
        try:
            yield
        finally:
            del network.forward

    def add(self, slopes: Sequence[Tensor | None]) -> list[Tensor | None]:
        """The sums of every process's gradients; None stays None. slopes: each (any shape)."""
        if self.size == 1:
            return list(slopes)
        there = [slope for slope in slopes if slope is not None]
        flat = _sum(torch.cat([slope.reshape(-1) for slope in there]))
        parts = iter(torch.split(flat, [slope.numel() for slope in there]))
        return [None if slope is None else next(parts).view_as(slope) for slope in slopes]

    def agree(self, what: str) -> None:
        """Raise WrongUse where `what`, a description of data and state, is not the same in every process."""
        if self.size > 1:
            digest = torch.frombuffer(bytearray(hashlib.sha256(what.encode()).digest()), dtype=torch.uint8).double()
            if not torch.equal(_sum(digest.clone()), self.size * digest):
                raise WrongUse(
                    "the processes of this run see other data or another checkpoint: give all the same files"
                )

    def _part(self, rows: int) -> slice:
        if rows < self.size:
            raise WrongUse(f"{self.size} processes for {rows} windows: give a larger --batch, or fewer processes")
        return slice(rows * self.rank // self.size, rows * (self.rank + 1) // self.size)


ALONE = ProcessGroup()


def join(device: str = "cpu", precision: str = "fp32") -> ProcessGroup:
    """The group that `accelerate launch` (or `torchrun`) has started, once all are there; else this process alone.

    device: cpu or cuda; with several processes each takes a GPU of its own. precision: fp32 or bf16, of
    the network's products. Raises WrongUse for a device that torch has not, or another precision.
    """
    check_device(device)
    if precision not in PRECISIONS:
        raise WrongUse(f"--precision {precision}: give {' or '.join(PRECISIONS)}")
    if int(os.environ.get("WORLD_SIZE") or 1) == 1:
        return ProcessGroup(device=device, precision=precision)
    from accelerate import PartialState

    state = PartialState(cpu=device == "cpu")
    return ProcessGroup(state.process_index, state.num_processes, str(state.device), precision)


def check_device(device: str) -> None:
    """Raise WrongUse for a device that torch has not."""
    if device not in ("cpu", "cuda"):
        raise WrongUse(f"--device {device}: give cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise WrongUse("--device cuda: torch sees no GPU here; leave it out")


class _WholeDropout(TorchFunctionMode):
    """Dropout draws for all rows of a batch, of which this process has some."""

    def __init__(self, rows: int, part: slice) -> None:
        super().__init__()
        self.rows, self.part = rows, part

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return (self._dropout if func is functional.dropout else func)(*args, **(kwargs or {}))

    def _dropout(self, x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        if not training or p == 0:
            return x
        return x * functional.dropout(x.new_ones(self.rows, *x.shape[1:]), p)[self.part]


class _Joined(torch.autograd.Function):
    """Every process's rows as one batch; back, each takes the slope of its own."""

    @staticmethod
    def forward(ctx: Any, mine: Tensor, part: slice, rows: int) -> Tensor:
        ctx.part = part
        whole = mine.new_zeros(rows, *mine.shape[1:])
        whole[part] = mine
        return _sum(whole)

    @staticmethod
    def backward(ctx: Any, *slope: Tensor) -> tuple[Tensor, None, None]:
        return slope[0][ctx.part], None, None


def _sum(values: Tensor) -> Tensor:
    """The sum over all processes, in place."""
    from torch import distributed

    try:
        distributed.all_reduce(values)
    except RuntimeError as error:
        raise BadInput("another process of this run has ended: give the same command again to resume") from error
    return values
