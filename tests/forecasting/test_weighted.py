"""Sim-MSTNet's training: weights go to the synthetic group that helps, and the same seed gives the same bits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from forecasters import station_patches
from forecasters.bilevel import moments
from gentraffic.errors import BadInput
from gentraffic.forecasting.data import Network, Part, split, whole
from gentraffic.forecasting.tstr import plan_for
from gentraffic.forecasting.weighted import (
    Head,
    Weigh,
    choose_variants,
    choose_weights,
    fit_weighted,
    head_moments,
    judge,
)
from gentraffic.forecasting.whole_network import Whole, choose_over_network

PLAN = plan_for("sim-mstnet", 90)
GRID = np.linspace(0, 1, 201)


def network(kind: str, cells: int = 8, days: int = 6, seed: int = 0) -> Network:
    """Two services with a daily curve each. like: restless around it; lying: what deviates comes back upside down."""
    rng = np.random.default_rng(seed)
    hour = np.arange(24 * days)
    day = np.stack([np.sin(2 * np.pi * hour / 24), np.cos(2 * np.pi * hour / 24)], axis=-1)
    away = np.zeros((cells, 24 * days, 2))
    memory = {"like": 0.9, "lying": -0.9}[kind]
    for t in range(1, 24 * days):
        away[:, t] = memory * away[:, t - 1] + 0.3 * rng.normal(size=(cells, 2))
    values = np.exp(0.5 * day + away).astype(np.float32)
    return Network(values, station_patches(rng.uniform(0, 5000, (cells, 2))), 24)


@pytest.fixture(scope="module")
def parts() -> tuple[list[Part], list[Part], list[Part]]:
    train, later, _ = split(network("like", cells=3))
    return [train], [later], [whole(network(kind, seed=s)) for s, kind in ((1, "lying"), (2, "like"))]


@pytest.mark.slow
def test_every_round_lowers_the_outer_loss_from_where_it_started(
    parts: tuple[list[Part], list[Part], list[Part]],
) -> None:
    told = fit_weighted(*parts, PLAN).metadata
    weights, outer = np.array(told["weights"]), np.array(told["outer"])
    assert weights.shape == (4, 2, 3), "before and after each of three rounds, two services, three groups"
    np.testing.assert_array_equal(weights[0], [[0.5, 0.25, 0.25]] * 2)
    np.testing.assert_allclose(weights.sum(-1), 1.0)
    assert (weights[1:, :, 1] < 0.1).all(), "the group that lies"
    before, after, bound, _ = np.moveaxis(outer, -1, 0)
    assert (after <= before).all()
    assert (bound <= after + 1e-3 * before).all()
    batches = np.array(told["batches"])
    np.testing.assert_allclose(batches[:, 0], [0.5, 0.75, 1.0], err_msg="the last round has real windows alone")
    np.testing.assert_allclose(batches.sum(-1), 1.0)
    assert batches[1, 1] < 0.1 * batches[1, 2], "the group that lies"


@pytest.mark.slow
def test_over_the_whole_network_the_group_that_lies_is_left_out(
    parts: tuple[list[Part], list[Part], list[Part]],
) -> None:
    small = Whole(samples=24, inner_steps=3, adjoint_steps=4, cuts=4)
    told = fit_weighted(*parts, replace(PLAN, steps=12), Weigh(whole=small)).metadata
    weights, batches = np.array(told["weights"]), np.array(told["batches"])
    np.testing.assert_allclose(batches.sum(-1), 1.0)
    assert batches[-1, 1] < 0.05 < batches[-1, 2], "the group that lies, and the one like the real cells"
    (before, after, _), (again, at_last, _) = told["whole"]
    assert after < before
    assert at_last <= again
    np.testing.assert_array_equal(
        weights[1:], np.repeat(batches[:, None], 2, axis=1), "each head at its round's weights"
    )


@pytest.mark.slow
def test_the_choice_over_the_network_leaves_it_as_it_was(parts: tuple[list[Part], list[Part], list[Part]]) -> None:
    from gentraffic.forecasting.fit import fit_forecaster, windows_of

    real, later, drawn = parts
    model = fit_forecaster("sim-mstnet", real, later, replace(PLAN, steps=2)).model
    before = {name: value.clone() for name, value in model.state_dict().items()}
    groups = [[windows_of(model, part, 1)] for part in (*real, *drawn)]
    aside = [windows_of(model, part, 1) for part in later]
    start = np.array([0.5, 0.25, 0.25])
    small = Whole(samples=16, inner_steps=2, adjoint_steps=2, cuts=3)
    runs = [choose_over_network(model, groups, aside, start, small, penalty=0.0, seed=1) for _ in range(2)]
    np.testing.assert_array_equal(runs[0].weights, runs[1].weights)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)
    dear = choose_over_network(model, groups, aside, start, small, penalty=100.0, seed=1)
    assert dear.weights[0] > 0.9, "a penalty above every gain leaves real samples alone"


def head(rng: np.random.Generator, real: int = 12, blocks: tuple[int, ...] = (5, 9, 7)) -> tuple[Head, Any]:
    """Few noisy real samples of y = x b, a large group of the same law and one with -b; and what it is made of."""
    b = rng.normal(size=(6, 1))

    def drawn(n: int, sign: float = 1.0) -> tuple[Any, Any]:
        x = rng.normal(size=(n, 6))
        return x, sign * x @ b + rng.normal(size=(n, 1))

    groups, later = [drawn(real), drawn(600), drawn(600, -1.0)], [drawn(n) for n in blocks]
    inner, outer = (moments(*([pair[i] for pair in some] for i in (0, 1))) for some in (groups, later))
    return Head(inner, outer, real, np.array(blocks, dtype=np.float64), np.zeros((6, 1))), (b, groups, later)


def test_weights_go_to_the_group_that_helps() -> None:
    rng, lies, errors = np.random.default_rng(0), [], []
    for _ in range(20):
        h, (b, _, _) = head(rng)
        found, ridge = choose_weights(h, np.array([0.5, 0.25, 0.25]), Weigh())
        lies.append(found.weights[2])
        none_aside = h.problem(ridge, np.zeros(3, dtype=bool))
        errors.append([np.square(none_aside.solve(w) - b).sum() for w in (found.weights, np.eye(3)[0], np.ones(3) / 3)])
    assert np.mean(lies) < 0.05
    ours, real_alone, unweighted = np.mean(errors, axis=0)
    assert ours < 0.7 * real_alone
    assert ours < 0.7 * unweighted


def test_variants_are_chosen_at_the_share_they_are_given() -> None:
    """Against a fine grid of the one free weight; and real samples do not hide which group is the better one."""
    rng, lies = np.random.default_rng(3), []
    for share in (0.2, 0.5, 1.0) * 4:
        h, _ = head(rng)
        found = choose_variants(h, share, Weigh())
        grid = [(float(judge(h, 0.03)(np.array([1 - share, share * (1 - v), share * v]))[0]), v) for v in GRID]
        assert judge(h, 0.03)(np.append(1 - share, share * found))[0] <= min(grid)[0] * (1 + 2e-3)
        lies.append(found[1])
    assert np.mean(lies) < 0.05


def test_a_block_judges_heads_that_know_the_other_blocks_but_not_itself() -> None:
    """Against plain least squares on the stacked samples."""
    h, (_, groups, later) = head(np.random.default_rng(1))
    for aside in (np.array([False, True, False]), np.ones(3, dtype=bool), np.zeros(3, dtype=bool)):
        x, y = (
            np.concatenate([groups[0][i], *(pair[i] for pair, out in zip(later, aside, strict=True) if not out)])
            for i in (0, 1)
        )
        wanted = np.linalg.solve(x.T @ x / len(x) + 0.1 * np.eye(6), x.T @ y / len(x))
        problem = h.problem(0.1, aside)
        np.testing.assert_allclose(problem.solve(np.eye(3)[0]), wanted)
        judges = [pair for pair, out in zip(later, aside, strict=True) if out or not aside.any()]
        xs, ys = (np.concatenate([pair[i] for pair in judges]) for i in (0, 1))
        assert problem(np.eye(3)[0])[0] == pytest.approx(np.square(xs @ wanted - ys).sum() / (2 * len(xs)))


def test_a_toll_that_no_gain_pays_leaves_real_samples_alone() -> None:
    h, _ = head(np.random.default_rng(2))
    start = np.array([0.5, 0.25, 0.25])
    assert choose_weights(h, start, Weigh(penalty=0.0))[0].weights[0] < 0.9
    np.testing.assert_allclose(choose_weights(h, start, Weigh(penalty=100.0))[0].weights, [1, 0, 0], atol=1e-9)
    fixed, _ = choose_weights(h, start, Weigh(), choose=False)
    np.testing.assert_array_equal(fixed.weights, start)


def test_the_same_seed_gives_the_same_bits(parts: tuple[list[Part], list[Part], list[Part]]) -> None:
    plan = replace(PLAN, steps=6)
    runs = [fit_weighted(*parts, plan) for _ in range(2)]
    assert runs[0].metadata["weights"] == runs[1].metadata["weights"]
    for name, value in runs[0].model.state_dict().items():
        torch.testing.assert_close(value, runs[1].model.state_dict()[name], rtol=0, atol=0)
    other = fit_weighted(*parts, replace(plan, seed=1))
    assert not torch.equal(other.model.head, runs[0].model.head)


def test_without_the_outer_problem_every_window_weighs_the_same(
    parts: tuple[list[Part], list[Part], list[Part]],
) -> None:
    [real], _, drawn = parts
    told = fit_weighted(*parts, replace(PLAN, steps=3), Weigh(choose=False)).metadata
    windows = [3 * (real.last - 25), *(8 * (part.last - 25) for part in drawn)]
    np.testing.assert_allclose(told["weights"], np.broadcast_to(np.array(windows) / sum(windows), (4, 2, 3)))


def test_heads_know_the_groups_and_what_was_kept_aside(parts: tuple[list[Part], list[Part], list[Part]]) -> None:
    """With all samples taken, the moments are those of the whole group; the blocks make up the later steps."""
    from gentraffic.forecasting.fit import fit_forecaster, windows_of

    real, later, drawn = parts
    model = fit_forecaster("sim-mstnet", real, later, replace(PLAN, steps=2)).model
    windows = [windows_of(model, part, 1) for part in (*real, *drawn)]
    [aside] = [windows_of(model, part, 1) for part in later]
    heads = head_moments(model, [[w] for w in windows], [aside], Weigh(samples=10**6), 0)
    assert len(heads) == 2
    for s, found in enumerate(heads):
        assert found.count == len(windows[0])
        assert found.counts.sum() == len(aside)
        assert len(found.counts) == 5
        losses = [*found.groups.loss(found.start), found.counts / len(aside) @ found.later.loss(found.start)]
        for loss, w in zip(losses, [*windows, aside], strict=True):
            with torch.inference_mode():
                past, future = w.gather(torch.arange(len(w)))
                error = (model(past) - future)[..., s].square().mean()
            assert loss == pytest.approx(float(error) / 2, rel=1e-4)


def test_too_short_a_series_is_told(parts: tuple[list[Part], list[Part], list[Part]]) -> None:
    short = whole(network("like", days=1))
    with pytest.raises(BadInput, match="needs more than 25 steps"):
        fit_weighted([short], parts[1], parts[2], PLAN)
