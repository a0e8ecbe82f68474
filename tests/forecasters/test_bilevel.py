"""Cutting planes against brute force on small convex problems; the hyper-gradient against differences and torch."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from forecasters.bilevel import HeadProblem, Outer, minimise_by_cuts, moments

Floats = NDArray[np.float64]


def simplex_grid(groups: int, parts: int) -> Floats:
    """All weights that are multiples of 1 / parts: (n, groups)."""
    rows = [r for r in itertools.product(range(parts + 1), repeat=groups - 1) if sum(r) <= parts]
    return np.array([[*r, parts - sum(r)] for r in rows]) / parts


def regression_groups(
    seed: int = 0, groups: int = 4, n: int = 200
) -> tuple[list[Floats], list[Floats], Floats, Floats]:
    """Groups whose targets follow lines of their own, and real samples between the first two."""
    rng = np.random.default_rng(seed)
    lines = rng.normal(size=(groups, 3, 2))
    x = [rng.normal(size=(n, 3)) for _ in range(groups)]
    y = [a @ line + 0.1 * rng.normal(size=(n, 2)) for a, line in zip(x, lines, strict=True)]
    real = rng.normal(size=(60, 3))
    return x, y, real, real @ (0.7 * lines[0] + 0.3 * lines[1]) + 0.1 * rng.normal(size=(60, 2))


def problem(ridge: float = 0.01) -> HeadProblem:
    x, y, real_x, real_y = regression_groups()
    return HeadProblem(moments(x, y), moments([real_x], [real_y]), np.zeros((3, 2)), ridge)


def means_problem() -> Outer:
    """Inner: theta* = the weighted mean of points, so that Phi is a convex quadratic on the simplex."""
    points = np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 3.0], [5.0, 5.0]])
    goal = np.array([1.0, 1.2])

    def outer(w: Floats) -> tuple[float, Floats]:
        away = w @ points - goal
        return float(away @ away / 2) + 0.3 * float(w @ w), points @ away + 0.6 * w

    return outer


def test_inner_optimum_is_where_the_weighted_loss_is_flat() -> None:
    """Against torch's own derivative of the inner objective as it is written in the docstring."""
    p = problem(ridge=0.3)
    x, y, _, _ = regression_groups()
    w = np.array([0.1, 0.2, 0.3, 0.4])
    theta = torch.tensor(p.solve(w), requires_grad=True)
    inner = sum(
        float(w[g]) * ((torch.tensor(x[g]) @ theta - torch.tensor(y[g])) ** 2).sum(1).mean() / 2 for g in range(4)
    )
    (inner + 0.3 / 2 * (theta**2).sum()).backward()
    assert theta.grad is not None
    assert float(theta.grad.abs().max()) < 1e-12


def test_group_losses_are_means_of_half_squares() -> None:
    x, y, _, _ = regression_groups()
    theta = np.random.default_rng(1).normal(size=(3, 2))
    direct = [np.square(a @ theta - b).sum(1).mean() / 2 for a, b in zip(x, y, strict=True)]
    np.testing.assert_allclose(moments(x, y).loss(theta), direct, rtol=1e-12)


def test_hyper_gradient_is_the_slope_of_the_outer_loss() -> None:
    p, w, h = problem(), np.array([0.4, 0.3, 0.2, 0.1]), 1e-6
    slope = p(w)[1]
    for g in range(4):
        step = h * np.eye(4)[g]
        assert slope[g] == pytest.approx((p(w + step)[0] - p(w - step)[0]) / (2 * h), rel=1e-5)


def test_cuts_reach_the_brute_force_optimum_of_a_convex_case() -> None:
    outer = means_problem()
    found = minimise_by_cuts(outer, np.full(4, 0.25), tolerance=1e-9, most=200)
    grid = simplex_grid(4, 60)
    values = np.array([outer(w)[0] for w in grid])
    assert found.value <= values.min() + 1e-9
    assert values.min() - found.value < 2e-3  # what a grid of 1 / 60 can miss
    np.testing.assert_allclose(found.weights, grid[values.argmin()], atol=1.5 / 60)
    assert found.bound <= values.min() + 1e-9
    assert found.value - found.bound < 1e-3, "the cuts must bound the optimum from below, closely"


def test_an_optimum_in_a_corner_is_found_exactly() -> None:
    """The linear programme itself: with a linear outer loss one cut is the truth, and its optimum a corner."""
    cost = np.array([3.0, 1.0, 2.0])
    found = minimise_by_cuts(lambda w: (float(cost @ w), cost), np.array([1.0, 0.0, 0.0]))
    np.testing.assert_allclose(found.weights, [0, 1, 0], atol=1e-9)
    assert found.value == pytest.approx(1.0)
    assert found.bound == pytest.approx(1.0)


def test_head_problem_is_solved_as_well_as_by_brute_force() -> None:
    """Phi of the head is not convex in w in general: at least the best of a fine grid, to what the grid can miss."""
    p = problem()
    found = minimise_by_cuts(p, np.full(4, 0.25), tolerance=1e-8, most=200)
    values = np.array([p(w)[0] for w in simplex_grid(4, 40)])
    assert found.value <= values.min() + 1e-6
    assert found.weights[:2].sum() > 0.95, "the real line lies between those of the first two groups"
    assert list(found.history) == sorted(found.history, reverse=True)


def test_useless_groups_get_no_weight() -> None:
    """Five groups of noise beside one like the real samples: the noise is left out."""
    rng = np.random.default_rng(3)
    line = rng.normal(size=(4, 1))
    x = [rng.normal(size=(300, 4)) for _ in range(6)]
    y = [x[0] @ line] + [rng.normal(size=(300, 1)) for _ in range(5)]
    real = rng.normal(size=(100, 4))
    p = HeadProblem(moments(x, y), moments([real], [real @ line]), np.zeros((4, 1)), 1e-3)
    assert minimise_by_cuts(p, np.full(6, 1 / 6), tolerance=1e-8).weights[0] > 0.95


@pytest.mark.parametrize("start", [[0.5, 0.6], [1.5, -0.5]])
def test_a_start_off_the_simplex_is_refused(start: list[float]) -> None:
    with pytest.raises(ValueError, match="add up to 1"):
        minimise_by_cuts(lambda w: (0.0, w), np.array(start))
