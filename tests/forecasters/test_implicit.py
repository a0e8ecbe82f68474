"""Hyper-gradients over a whole network: against the closed form of a linear one, and differences of a curved one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from forecasters.bilevel import HeadProblem, minimise_by_cuts, moments
from forecasters.implicit import NetworkProblem, conjugate_gradients

Floats = NDArray[np.float64]
RIDGE = 0.05


def samples(seed: int = 0, groups: int = 3) -> tuple[list[Floats], list[Floats]]:
    """Groups with lines of their own, and at last the real samples, between the first two."""
    rng = np.random.default_rng(seed)
    lines = rng.normal(size=(groups, 3, 2))
    lines = np.concatenate([lines, [0.7 * lines[0] + 0.3 * lines[1]]])
    x = [rng.normal(size=(50, 3)) for _ in lines]
    return x, [a @ line + 0.1 * rng.normal(size=(50, 2)) for a, line in zip(x, lines, strict=True)]


def problem(network: nn.Module, ridge: float = RIDGE, **sizes: int) -> NetworkProblem:
    """Half squared errors of a network, the last group kept aside."""
    x, y = ([torch.from_numpy(a) for a in part] for part in samples())

    def loss(k: int) -> Callable[[], Tensor]:
        return lambda: (network(x[k]) - y[k]).square().sum(1).mean() / 2

    parameters = list(network.parameters())
    start = nn.utils.parameters_to_vector(parameters).detach().clone()
    return NetworkProblem(parameters, [loss(k) for k in range(3)], loss(3), start, ridge, **sizes)


def linear() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(3, 2, bias=False).double()


@pytest.mark.parametrize("weights", [[0.5, 0.3, 0.2], [0.0, 1.0, 0.0]])
def test_a_linear_network_gives_what_the_closed_form_of_its_head_gives(weights: list[float]) -> None:
    """HeadProblem solves both linear systems directly; here neither matrix is ever made."""
    network = linear()
    x, y = samples()
    start = next(network.parameters()).detach().numpy().T.copy()
    exact = HeadProblem(moments(x[:3], y[:3]), moments(x[3:], y[3:]), start, RIDGE)
    found = problem(network, inner_steps=50, adjoint_steps=20)
    value, slope = found(np.array(weights))
    np.testing.assert_allclose(next(network.parameters()).detach().numpy().T, exact.solve(np.array(weights)), atol=1e-7)
    wanted, gradient = exact(np.array(weights))
    assert value == pytest.approx(wanted, rel=1e-7)
    np.testing.assert_allclose(slope, gradient, rtol=1e-5, atol=1e-9)
    found.restore()
    np.testing.assert_array_equal(next(network.parameters()).detach().numpy().T, start)


def test_the_cuts_find_the_weights_that_the_closed_form_finds() -> None:
    x, y = samples()
    network = linear()
    exact = HeadProblem(
        moments(x[:3], y[:3]), moments(x[3:], y[3:]), next(network.parameters()).detach().numpy().T.copy(), RIDGE
    )
    start = np.full(3, 1 / 3)
    ours, theirs = (minimise_by_cuts(p, start) for p in (problem(network, inner_steps=50, adjoint_steps=20), exact))
    np.testing.assert_allclose(ours.weights, theirs.weights, atol=1e-3)
    assert ours.weights[:2].sum() > 0.9, "the real line lies between those of the first two groups"


def test_of_a_curved_network_the_gradient_is_the_slope_of_the_outer_loss() -> None:
    """Weights of both layers move: with the last one alone (as HeadProblem) the slope would be another."""
    torch.manual_seed(1)
    network = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    found = problem(network, ridge=0.5, inner_steps=25, adjoint_steps=30)
    w, h = np.array([0.4, 0.35, 0.25]), 1e-3
    slope = found(w)[1]
    for g in range(3):
        step = h * np.eye(3)[g]
        difference = (found(w + step)[0] - found(w - step)[0]) / (2 * h)
        assert slope[g] == pytest.approx(difference, rel=1e-3)


def test_conjugate_gradients_solve_in_as_many_steps_as_there_are_unknowns() -> None:
    g = torch.Generator().manual_seed(0)
    half = torch.randn(6, 6, generator=g, dtype=torch.float64)
    matrix, b = half @ half.T + torch.eye(6, dtype=torch.float64), torch.randn(6, generator=g, dtype=torch.float64)
    x = conjugate_gradients(lambda v: matrix @ v, b, 6)
    torch.testing.assert_close(x, torch.linalg.solve(matrix, b))
    short = conjugate_gradients(lambda v: matrix @ v, b, 2)
    assert float((matrix @ short - b).norm()) > 1e-3
    bent = torch.diag(torch.tensor([1.0, -1.0], dtype=torch.float64))
    force = torch.tensor([0.1, 1.0], dtype=torch.float64)
    assert not conjugate_gradients(lambda v: bent @ v, force, 9).any(), "no curvature upwards: nothing is believed"
