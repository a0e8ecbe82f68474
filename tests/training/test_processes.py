"""Several processes train what one trains: shared rows, whole dropout, added gradients, one that writes and speaks."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bundle_examples
import pytest
import torch
from parallel_examples import STEPS, train
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from gentraffic.cli.main import run
from gentraffic.errors import WrongUse
from gentraffic.generators.folder import load_bundle
from gentraffic.training import processes as parallel
from gentraffic.training.fitting import Design, fit_sampler
from gentraffic.training.processes import ALONE, TOLERANCE, ProcessGroup
from samplers.diffusion import masked_mean

TESTS = Path(__file__).parents[1] / "support"


@dataclass(frozen=True)
class Shift:
    """A condition: a number for each row."""

    by: Tensor

    def rows(self, part: slice) -> Shift:
        return Shift(self.by[part])


class Network(nn.Module):
    """Rows that know nothing of each other, with dropout on the way."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.leave = nn.Linear(4, 6), nn.Linear(6, 4)

    def forward(self, x: Tensor, t: Tensor, condition: Shift) -> Tensor:
        hidden = self.enter(x) + t[:, None] + condition.by[:, None]
        out: Tensor = self.leave(functional.dropout(hidden, 0.4, self.training))
        return out


@pytest.fixture
def joined(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sums over the threads of a pool as if they were processes: joined(work, size) runs work(group) in each."""

    def together(work: Any, size: int) -> list[Any]:
        barrier, shared = threading.Barrier(size, timeout=30), {}

        def total(values: Tensor) -> Tensor:
            shared[threading.get_ident()] = values.detach().clone()
            barrier.wait()
            out = torch.stack(list(shared.values())).sum(0)
            barrier.wait()
            return values.copy_(out)

        monkeypatch.setattr(parallel, "_sum", total)
        with ThreadPoolExecutor(size) as pool:
            return list(pool.map(work, [ProcessGroup(rank, size) for rank in range(size)]))

    return together


@pytest.mark.parametrize("size", [2, 3])
def test_loss_and_gradients_are_those_of_the_whole_batch(joined: Any, size: int) -> None:
    torch.manual_seed(0)
    whole = Network().eval()
    x, t, by = torch.randn(7, 4), torch.arange(7.0), torch.randn(7)
    scored = torch.rand(7, 4) < torch.linspace(0.1, 1, 7)[:, None]  # a mean of means would be wrong

    def slopes(network: nn.Module) -> list[Tensor | None]:
        first = network(x, t, Shift(by))
        second = network(x + first, t, Shift(by))  # through the network twice, as a student learns
        loss = masked_mean(second.square(), scored)
        return [loss, *torch.autograd.grad(loss, list(network.parameters()))]

    def work(group: ProcessGroup) -> list[Tensor | None]:
        network = Network().eval()
        network.load_state_dict(whole.state_dict())
        with group.sharing(network):
            loss, *own = slopes(network)
        assert "forward" not in vars(network)
        return [loss, *group.add(own)]

    for found in joined(work, size):
        for one, other in zip(slopes(whole), found, strict=True):
            torch.testing.assert_close(other, one)


def test_dropout_is_that_of_the_whole_batch() -> None:
    x = torch.randn(7, 5, 3)
    torch.manual_seed(1)
    want = functional.dropout(x, 0.3)
    for parts in ((slice(0, 2), slice(2, 7)), (slice(0, 7),)):
        got = []
        for part in parts:
            torch.manual_seed(1)
            with parallel._WholeDropout(7, part):
                got.append(nn.Dropout(0.3)(x[part]))
                assert torch.equal(nn.Dropout(0.3).eval()(x[part]), x[part])
        assert torch.equal(torch.cat(got), want)


def test_what_does_not_go_together_is_refused(joined: Any) -> None:
    def few(group: ProcessGroup) -> str:
        network = Network().eval()
        with group.sharing(network), pytest.raises(WrongUse, match="3 processes for 2 windows") as error:
            network(torch.ones(2, 4), torch.ones(2), Shift(torch.ones(2)))
        return str(error.value)

    joined(few, 3)

    def other_data(group: ProcessGroup) -> None:
        group.agree("the same")
        with pytest.raises(WrongUse, match="other data"):
            group.agree(f"seen by {group.rank}")

    joined(other_data, 2)
    with pytest.raises(WrongUse, match="vae is trained by one process"):
        fit_sampler(bundle_examples.sources(), design=Design(sampler="vae"), group=ProcessGroup(0, 2))


def test_alone_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert parallel.join() == ALONE
    network = Network()
    with ALONE.sharing(network):
        assert "forward" not in vars(network)
    slope = torch.ones(2)
    assert ALONE.add([slope, None])[0] is slope


def free_port() -> str:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return str(one.getsockname()[1])


def processes(folder: Path, stop: int, *names: str, size: int = 2) -> list[dict[str, Tensor]]:
    """What each process of a group has in the end, for the last name."""
    world = {"WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    command = [sys.executable, str(TESTS / "parallel_examples.py"), str(folder), str(stop), *names]
    path = os.pathsep.join([str(TESTS.parents[1]), str(TESTS)])
    started = [
        subprocess.Popen(command, env=os.environ | world | {"RANK": str(r), "LOCAL_RANK": str(r), "PYTHONPATH": path})
        for r in range(size)
    ]
    assert [process.wait() for process in started] == [0] * size
    return [] if stop else [load_file(folder / f"{names[-1]}.{rank}.safetensors") for rank in range(size)]


def check_close(one: dict[str, Tensor], several: dict[str, Tensor]) -> None:
    for name, value in one.items():
        apart = (several[name].double() - value.double()).norm()
        assert apart <= TOLERANCE * value.double().norm(), (name, float(apart))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["stouter", "diffwave", "fomo"])
def test_two_processes_train_what_one_trains(name: str, tmp_path: Path) -> None:
    first, second = processes(tmp_path, 0, name)
    assert all(torch.equal(first[key], second[key]) for key in first)
    one = train(name, ALONE)
    assert len(one["loss"]) == STEPS
    assert float((first["loss"] / one["loss"] - 1).abs().max()) < TOLERANCE
    check_close(one, first)


@pytest.mark.slow
def test_several_processes_resume_to_the_same_bits(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "cut").mkdir()
    whole = processes(tmp_path / "whole", 0, "stouter")[0]
    processes(tmp_path / "cut", 33, "stouter")  # after the checkpoint of step 20, before that of step 40
    again = processes(tmp_path / "cut", 0, "stouter")[0]
    assert torch.equal(again.pop("loss"), whole.pop("loss")[20:])
    assert all(torch.equal(again[key], whole[key]) for key in whole)


def launched(*words: str) -> subprocess.CompletedProcess[str]:
    """`accelerate launch` of the command on two processes."""
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2",
                "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no",
                "--main_process_port", free_port(), "-m", "gentraffic"]  # fmt: skip
    env = os.environ | {"PYTHONPATH": str(TESTS.parents[1]), "OMP_NUM_THREADS": "1"}
    return subprocess.run([*launcher, *words], capture_output=True, text=True, check=False, env=env)


@pytest.mark.slow
def test_the_command_under_accelerate(shared_data: Path, tmp_path: Path) -> None:
    traffic, context = tmp_path / "sd.nc", tmp_path / "c.nc"
    source = str(shared_data / "traffic" / "uomo_sd.npz")
    assert run(["import", "uomo", source, "-o", str(traffic), "--context", str(context)]) == 0
    words = ["fit", "stouter", "--traffic", str(traffic), "--context", str(context), "--steps", "50", "--threads", "1"]
    assert run([*words, "-o", str(tmp_path / "one"), "--quiet"]) == 0
    done = launched(*words, "-o", str(tmp_path / "two"), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["steps"] == 50  # one report, not two
    known = json.loads((tmp_path / "two" / "provenance.json").read_text())
    assert known["processes"] == 2
    one, two = (load_bundle(tmp_path / name).model.state_dict() for name in ("one", "two"))
    check_close(one, two)
    assert {path.name for path in tmp_path.iterdir()} == {"sd.nc", "c.nc", "one", "two"}
    wrong = launched(*words[:2], "--traffic", str(tmp_path / "no.nc"), "-o", str(tmp_path / "x"))
    said = [line for line in wrong.stderr.splitlines() if line.startswith("gentraffic:")]
    assert wrong.returncode != 0
    assert len(said) == 1
    assert "no.nc" in said[0]
    assert not (tmp_path / "x").exists()
