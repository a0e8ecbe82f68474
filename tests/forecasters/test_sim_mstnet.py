"""Sim-MSTNet: where training starts, what tasks may take from each other, and how their losses are weighed."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from forecasters.sim_mstnet import SimMSTNet


def network(services: int = 2, horizon: int = 1, **more: bool) -> SimMSTNet:
    torch.manual_seed(0)
    return SimMSTNet(per_day=24, services=services, horizon=horizon, **more).eval()


def shaken(model: SimMSTNet) -> SimMSTNet:
    """A head that reads every feature."""
    with torch.no_grad():
        model.head += torch.randn(model.head.shape, generator=torch.Generator().manual_seed(1))
    return model


@pytest.fixture
def past() -> Tensor:
    return torch.randn(7, 9, 5, 5, 2, generator=torch.Generator().manual_seed(2))


def test_training_starts_from_the_last_step(past: Tensor) -> None:
    model = network(horizon=3)
    assert model.lags == (25, 24, 23, 6, 5, 4, 3, 2, 1)
    torch.testing.assert_close(model(past), past[:, -1:, 2, 2].expand(-1, 3, -1), rtol=0, atol=0)


def test_the_forecast_is_linear_in_the_features(past: Tensor) -> None:
    model = shaken(network(horizon=2))
    x = model.features(past)  # (7, 2, 32 + 9 + 1)
    assert x.shape == (7, 2, 42)
    assert (x[..., -1] == 1).all()
    torch.testing.assert_close(x[..., -10:-1], past[:, :, 2, 2].transpose(1, 2), rtol=0, atol=0)
    torch.testing.assert_close(model(past)[:, :, 1], x[:, 1] @ model.head[1])


def test_the_whole_neighbourhood_and_every_lag_count(past: Tensor) -> None:
    model = shaken(network())
    for lag in range(9):
        for row, col in ((0, 0), (4, 4), (2, 2), (0, 3)):
            other = past.clone()
            other[:, lag, row, col, 0] += 1.0
            assert (model(other)[:, 0, 0] - model(past)[:, 0, 0]).abs().min() > 1e-6, (lag, row, col)


def test_a_task_takes_from_others_what_its_gate_lets_in(past: Tensor) -> None:
    model = shaken(network())
    other = past.clone()
    other[..., 1] += 1.0
    assert (model(other)[..., 0] - model(past)[..., 0]).abs().min() > 1e-5, "open: the other service matters"
    with torch.no_grad():
        model.share.gate.bias.fill_(-1e4)
    torch.testing.assert_close(model(other)[..., 0], model(past)[..., 0], rtol=0, atol=0)
    assert (model(other)[..., 1] - model(past)[..., 1]).abs().min() > 1e-5


def test_whom_a_task_asks_adds_up_to_one(past: Tensor) -> None:
    _, attention = network().share(torch.randn(7, 2, 32))
    assert attention.shape == (7, 2, 2)
    torch.testing.assert_close(attention.sum(-1), torch.ones(7, 2))


def test_loss_weighs_tasks_by_their_own_error(past: Tensor) -> None:
    """Kendall's loss by hand; out of training the plain mean; and v tends to the log of a task's error."""
    model = shaken(network())
    model.mix[2].p = 0.0
    future = torch.randn(7, 1, 2, generator=torch.Generator().manual_seed(3))
    errors = (model(past) - future).square().mean(dim=(0, 1))
    assert model.loss(past, future).item() == pytest.approx(errors.mean().item())
    model.train()
    with torch.no_grad():
        model.log_variance.copy_(torch.tensor([0.5, -1.0]))
    by_hand = (math.exp(-0.5) * errors[0] + 0.5 + math.exp(1.0) * errors[1] - 1.0) / 4
    assert model.loss(past, future).item() == pytest.approx(by_hand.item())
    with torch.no_grad():
        model.log_variance.copy_(errors.log())
    model.loss(past, future).backward()
    assert model.log_variance.grad is not None
    torch.testing.assert_close(model.log_variance.grad, torch.zeros(2), rtol=0, atol=1e-6)


@pytest.mark.slow
def test_it_learns_what_only_the_other_service_tells() -> None:
    """Service 1 repeats what service 0 did one step before, plus its own noise: sharing beats keeping to oneself."""
    generator = torch.Generator().manual_seed(0)
    past = torch.randn(320, 9, 5, 5, 2, generator=generator)
    future = torch.stack([torch.zeros(320, 1), past[:, -1, 2, 2, 0, None]], dim=-1)
    scores = []
    for shut in (False, True):
        model = network().train()
        if shut:
            model.share.gate.bias.data.fill_(-1e4)
        optimiser = torch.optim.Adam([p for n, p in model.named_parameters() if n != "share.gate.bias"], lr=3e-3)
        for step in range(90):
            some = torch.arange(64) + 64 * (step % 4)
            optimiser.zero_grad()
            model.loss(past[some], future[some]).backward()
            optimiser.step()
        model.eval()
        scores.append(float((model(past[256:]) - future[256:])[..., 1].square().mean().detach()))
    assert scores[0] < 0.6 * scores[1], scores


def test_without_sharing_no_other_service_matters_and_nothing_else_changes(past: Tensor) -> None:
    alone, whole = shaken(network(sharing=False)), shaken(network())
    other = past.clone()
    other[..., 1] += 1.0
    torch.testing.assert_close(alone(other)[..., 0], alone(past)[..., 0], rtol=0, atol=0)
    with torch.no_grad():
        whole.share.gate.bias.fill_(-1e4)  # a gate that is shut
    torch.testing.assert_close(alone(past), whole(past), rtol=0, atol=0)


def test_without_weights_of_the_losses_training_minimises_their_mean(past: Tensor) -> None:
    model = shaken(network(weigh_losses=False))
    model.mix[2].p = 0.0
    with torch.no_grad():
        model.log_variance.copy_(torch.tensor([0.5, -1.0]))
    future = torch.randn(7, 1, 2, generator=torch.Generator().manual_seed(3))
    want = (model(past) - future).square().mean().item()
    assert model.train().loss(past, future).item() == pytest.approx(want)
