"""Sim-MSTNet's training: weights go to the synthetic group that helps, and the same seed gives the same bits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from forecasters import station_patches
from gentraffic.errors import BadInput
from gentraffic.forecast_data import Network, Part, split, whole
from gentraffic.sim2real import Weigh, fit_weighted, head_problems
from gentraffic.validation import plan_for

PLAN = plan_for("sim-mstnet", 90)


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


def test_the_group_that_helps_gets_the_weight(parts: tuple[list[Part], list[Part], list[Part]]) -> None:
    fitted = fit_weighted(*parts, PLAN)
    first, *_, last = fitted.told["weights"]
    assert first == [0.5, 0.25, 0.25]
    assert sum(last) == pytest.approx(1.0)
    assert last[1] < 0.05, "the group that lies"
    assert last[2] > 0.2, "the group like the real samples"
    for before, after, bound in fitted.told["outer"]:
        assert bound - 1e-3 * before <= after <= before


def test_the_same_seed_gives_the_same_bits(parts: tuple[list[Part], list[Part], list[Part]]) -> None:
    plan = replace(PLAN, steps=6)
    runs = [fit_weighted(*parts, plan) for _ in range(2)]
    assert runs[0].told["weights"] == runs[1].told["weights"]
    for name, value in runs[0].model.state_dict().items():
        torch.testing.assert_close(value, runs[1].model.state_dict()[name], rtol=0, atol=0)
    other = fit_weighted(*parts, replace(plan, seed=1))
    assert not torch.equal(other.model.head, runs[0].model.head)


def test_without_the_outer_problem_every_window_weighs_the_same(
    parts: tuple[list[Part], list[Part], list[Part]],
) -> None:
    [real], _, drawn = parts
    [weights] = fit_weighted(*parts, replace(PLAN, steps=3), Weigh(choose=False)).told["weights"]
    windows = [3 * (real.last - 25), *(8 * (part.last - 25) for part in drawn)]
    np.testing.assert_allclose(weights, np.array(windows) / sum(windows))


def test_head_problems_are_of_the_groups_and_of_what_was_kept_aside(
    parts: tuple[list[Part], list[Part], list[Part]],
) -> None:
    """With all samples taken, the moments are those of the whole group; the outer ones those of the later steps."""
    from gentraffic.forecasting import fit_forecaster, windows_of

    real, later, drawn = parts
    model = fit_forecaster("sim-mstnet", real, later, replace(PLAN, steps=2)).model
    windows = [windows_of(model, part, 1) for part in (*real, *drawn)]
    aside = [windows_of(model, part, 1) for part in later]
    problems = head_problems(model, [[w] for w in windows], aside, Weigh(samples=10**6), 0)
    assert len(problems) == 2
    for s, problem in enumerate(problems):
        losses = [*problem.inner.loss(problem.start), *problem.outer.loss(problem.start)]
        for loss, w in zip(losses, [*windows, *aside], strict=True):
            with torch.inference_mode():
                past, future = w.gather(torch.arange(len(w)))
                error = (model(past) - future)[..., s].square().mean()
            assert loss == pytest.approx(float(error) / 2, rel=1e-4)


def test_too_short_a_series_is_told(parts: tuple[list[Part], list[Part], list[Part]]) -> None:
    short = whole(network("like", days=1))
    with pytest.raises(BadInput, match="needs more than 25 steps"):
        fit_weighted([short], parts[1], parts[2], PLAN)
