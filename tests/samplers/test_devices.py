"""Every network draws and learns on another device with the CPU's bits; on one that there is not: pretend_device."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from pretend_device import Pretend, on_cpu, pretending
from torch import Tensor, nn

from samplers import SAMPLERS, WEEK, Condition, draw, sampler_class
from samplers.diffusion import SOLVERS, Denoiser
from samplers.fomo import FoMo, FoMoCondition
from samplers.fomo_draw import DETERMINISTIC, draw_scenes

SMALL: dict[str, Any] = {"place_dim": 3, "time_dim": 4, "networks": 2}
REST = tuple(tuple(np.geomspace(20, 0.1, 85) * f) for f in (1.0, 0.5, 2.0))


def made(name: str, **more: Any) -> Any:
    torch.manual_seed(0)
    kind: Any = sampler_class(name)
    model = kind(**SMALL, **more)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    return model


def condition(b: int = 4, k: int = 1) -> Condition:
    g = torch.Generator().manual_seed(1)
    return Condition(
        place=torch.randn(b, 3, generator=g),
        time=torch.randn(b, WEEK * k, 4, generator=g),
        level=torch.stack([torch.randn(b, generator=g), torch.ones(b)], 1),
        network=torch.arange(b) % 3,
    )


def keys(count: int) -> Any:
    return np.arange(2 * count, dtype=np.uint64).reshape(count, 2)


def trained(model: nn.Module, loss: Callable[[nn.Module, str], Tensor], device: str) -> list[Tensor]:
    """The weights after two steps of AdamW."""
    model = copy.deepcopy(model).to(device).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2, foreach=False)
    for _ in range(2):
        torch.manual_seed(3)
        optimiser.zero_grad()
        loss(model, device).backward()
        optimiser.step()
    return [p.detach() for p in model.parameters()]


def alike(model: nn.Module, loss: Callable[[nn.Module, str], Tensor]) -> None:
    """Two steps on the device leave the weights of two steps on the CPU."""
    with pretending():
        there = trained(model, loss, "cuda")
        assert all(isinstance(p, Pretend) for p in there)
    for name, a, b in zip([n for n, _ in model.named_parameters()], trained(model, loss, "cpu"), there, strict=True):
        assert torch.equal(a, on_cpu(b)), name


def drawn(model: Any, device: str, k: int = 1, **options: Any) -> Tensor:
    place = condition(k=k)
    known = torch.full((4, WEEK * k), torch.nan)
    known[:, : 24 * k] = 0.5
    place = Condition(place.place, place.time, place.level, place.network, known).to(device)
    return draw(copy.deepcopy(model).to(device).eval(), place, seeds=keys(4), **options)


@pytest.mark.parametrize("name", list(SAMPLERS))
def test_a_sampler_learns_on_the_device(name: str) -> None:
    x = torch.randn(4, WEEK, generator=torch.Generator().manual_seed(2))
    turns = len(made(name).turns())

    def loss(model: nn.Module, device: str) -> Tensor:
        network: Any = model
        return sum(
            turn.loss(x.to(device), condition().to(device), torch.Generator().manual_seed(turn_number))
            for turn_number, turn in enumerate(network.turns())
        )  # type: ignore[return-value]

    assert turns >= 1
    alike(made(name), loss)


@pytest.mark.parametrize("solver", list(SOLVERS))
@pytest.mark.parametrize("rest", [None, REST])
def test_a_denoiser_draws_on_the_device_with_every_solver(solver: str, rest: Any) -> None:
    model = made("stouter", rest=rest, prediction_type="v_prediction")
    assert isinstance(model, Denoiser)
    with pretending():
        there = drawn(model, "cuda", k=2, steps=3, solver=solver)
        assert isinstance(there, Pretend)
    assert torch.equal(on_cpu(there), drawn(model, "cpu", k=2, steps=3, solver=solver))


@pytest.mark.parametrize("name", [n for n in SAMPLERS if n != "stouter"])
def test_the_others_draw_on_the_device(name: str) -> None:
    model = made(name)
    with pretending():
        there = drawn(model, "cuda", steps=2, solver="dpm++", guidance=1.5)
    here = drawn(model, "cpu", steps=2, solver="dpm++", guidance=1.5)
    torch.testing.assert_close(on_cpu(there), here, rtol=0, atol=1e-6)  # torch's exp of a subclass rounds otherwise


def scene() -> FoMoCondition:
    g = torch.Generator().manual_seed(5)
    shape = (3, 2, 2, 24)
    known = torch.randn(shape, generator=g)
    known[:, 1] = torch.nan
    exists = torch.ones(shape, dtype=torch.bool)
    exists[0, 0, 1] = False  # a place that does not exist: tokens are left out in training
    return FoMoCondition(
        known=known, exists=exists, hour=torch.arange(24).float().expand(3, -1),
        minutes=torch.full((3,), 60), xy=torch.randn(3, 2, 2, 2, generator=g),
        poi=torch.randn(3, 2, 2, 16, generator=g), users=torch.randn(shape, generator=g),
        echo=torch.full(shape, torch.nan), level=torch.zeros(3, 2, 2), network=torch.zeros(3, dtype=torch.long),
    )  # fmt: skip


def foundation() -> FoMo:
    torch.manual_seed(0)
    model = FoMo(width=32, depth=1, heads=2, token=(1, 1, 12))
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    return model


def test_fomo_learns_and_is_tuned_on_the_device() -> None:
    x = torch.randn(3, 2, 2, 24, generator=torch.Generator().manual_seed(6))
    other = torch.tensor([[1, 2], [2, -1], [0, 1]])

    def loss(model: nn.Module, device: str) -> Tensor:
        network: Any = model
        place, generator = scene().to(device), torch.Generator().manual_seed(7)
        total: Tensor = network.loss(x.to(device), place, generator)
        return total + network.contrastive_loss(x.to(device), place, other, generator)

    alike(foundation(), loss)


@pytest.mark.parametrize("solver", DETERMINISTIC)
def test_fomo_draws_on_the_device(solver: str) -> None:
    start = torch.randn(3, 2, 2, 24, generator=torch.Generator().manual_seed(8))

    def blocks(device: str) -> Tensor:
        model = foundation().to(device).eval()
        return draw_scenes(model, scene().to(device), start.to(device), steps=2, solver=solver, guidance=2.0)

    with pretending():
        there = blocks("cuda")
        assert isinstance(there, Pretend)
    assert torch.equal(on_cpu(there), blocks("cpu"))


def test_what_the_device_complains_of() -> None:
    """As a GPU does: it is worth what it refuses."""
    with pretending():
        x, here = torch.ones(3).to("cuda"), torch.ones(3)
        assert x.device.type == "cuda"
        assert here.device.type == "cpu"
        assert (x + 1.0).device.type == "cuda"
        assert x[torch.tensor([0, 2])].device.type == "cuda"
        assert torch.arange(3, device=x.device).device.type == "cuda"
        assert x.cpu().numpy().tolist() == [1, 1, 1]
        for wrong in (
            lambda: x + here,
            lambda: torch.cat([x, here]),
            lambda: here[torch.tensor([0]).to("cuda")],
            lambda: torch.nn.functional.linear(x, torch.ones(3, 3)),
            lambda: torch.randn(3, device="cuda", generator=torch.Generator()),
        ):
            with pytest.raises(RuntimeError):
                wrong()
        with pytest.raises(TypeError, match="to numpy"):
            x.numpy()
