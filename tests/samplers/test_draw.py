"""The drawing loop on normal distributions, whose draws have a known mean and covariance."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from gaussian_denoiser import Gaussian, ar1, condition, seeds
from scipy import stats
from torch import Tensor

from samplers import SOLVERS, Condition, Noise, draw
from samplers.diffusion import starting_noise

T = 10
MEAN = np.linspace(-1, 1, T)
SHORT = Noise(num_train_timesteps=120, beta_start=1e-3, beta_end=0.15)  # whole chain in 120 steps: for DDPM


def check_moments(draws: Tensor, mean: Any, covariance: Any, slack: float) -> None:
    """The whitened draws are standard normal within 4.5 standard errors plus `slack`, in mean and covariance."""
    x = draws.double().numpy()
    n, d = x.shape
    white = np.linalg.solve(np.linalg.cholesky(covariance), (x - mean).T)
    assert np.abs(white.mean(axis=1)).max() < 4.5 / np.sqrt(n) + slack
    product = white @ white.T / n
    assert np.abs(product - np.eye(d)).max() < 4.5 * np.sqrt(2 / n) + slack


@pytest.mark.parametrize(
    ("solver", "steps", "slack"),
    [("ddim", 200, 0.03), ("dpm++", 24, 0.05), ("unipc", 24, 0.02), ("gaussian", 24, 0.05)],
)
def test_draws_have_the_mean_and_covariance_of_what_was_learned(solver: str, steps: int, slack: float) -> None:
    covariance = 1.5 * ar1(T)
    x = draw(Gaussian(MEAN, covariance), condition(6000, T), seeds=seeds(6000), steps=steps, solver=solver)
    check_moments(x, MEAN, covariance, slack)
    assert stats.kstest((x[:, 0] - MEAN[0]) / np.sqrt(1.5), "norm").pvalue > 1e-3 or slack > 0.1


def test_the_papers_chain_has_the_mean_and_covariance_of_what_was_learned() -> None:
    x = draw(Gaussian(MEAN, ar1(T), SHORT), condition(1500, T), seeds=seeds(1500), steps=120, solver="ddpm")
    check_moments(x, MEAN, ar1(T), 0.05)


@pytest.mark.parametrize("solver", SOLVERS)
def test_more_steps_bring_the_covariance_nearer(solver: str) -> None:
    def error(steps: int) -> float:
        model = Gaussian(MEAN, ar1(T), SHORT)
        x = draw(model, condition(1500, T), seeds=seeds(1500), steps=steps, solver=solver).double().numpy()
        white = np.linalg.solve(np.linalg.cholesky(ar1(T)), (x - MEAN).T)
        return float(np.linalg.norm(white @ white.T / 1500 - np.eye(T)))

    few, many = error(4), error(60)
    assert many < 0.6 * few, (few, many)
    assert many < 0.8  # sampling error alone is about 10 sqrt(2 / 1500) = 0.27, the first-order solvers add to it


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_series_has_the_same_bits_whatever_is_drawn_beside_it(solver: str) -> None:
    class Elementwise:
        noise = Noise()

        def __call__(self, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
            return x_t * 0.5 + condition.place

    place = torch.arange(12.0)[:, None]
    whole = draw(Elementwise(), condition(12, T, place=place), seeds=seeds(12), steps=6, solver=solver)
    order = [7, 0, 11]
    some = draw(
        Elementwise(),
        condition(3, T, place=place[order]),
        seeds=seeds(12)[order],
        steps=6,
        solver=solver,
    )
    assert torch.equal(some, whole[order])
    again = draw(Elementwise(), condition(12, T, place=place), seeds=seeds(12), steps=6, solver=solver)
    assert torch.equal(again, whole)
    other = draw(Elementwise(), condition(12, T, place=place), seeds=seeds(12, first=50), steps=6, solver=solver)
    assert (other != whole).float().mean() > 0.99
    assert torch.corrcoef(starting_noise(seeds(40), 500)).fill_diagonal_(0).abs().max() < 0.25  # streams are apart


def test_ddpm_noise_differs_between_series_and_between_steps() -> None:
    class Silent:
        noise = Noise(prediction_type="sample")

        def __call__(self, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
            seen.append(x_t)
            return torch.zeros_like(x_t)

    seen: list[Tensor] = []
    draw(Silent(), condition(2, 4000), seeds=seeds(2), steps=4, solver="ddpm")
    added = [seen[0]]  # (2, 4000) each: the starting noise, then what every step adds to a multiple of the series
    for before, after in pairwise(seen):
        share = (before * after).sum(1, keepdim=True) / before.pow(2).sum(1, keepdim=True)
        added.append(after - share * before)
    assert torch.corrcoef(torch.cat(added)).fill_diagonal_(0).abs().max() < 0.07  # 4.5 / sqrt(4000)


@pytest.mark.parametrize("solver", SOLVERS)
def test_known_values_come_out_untouched_and_the_rest_follows_them(solver: str) -> None:
    covariance = ar1(T, 0.9)
    n = 1500
    given = np.array([True, True, False, False, False, False, True, False, False, False])
    known = torch.full((n, T), torch.nan)
    values = np.random.default_rng(0).normal(0, 1.5, (n, int(given.sum())))
    known[:, given] = torch.from_numpy(values).float()
    noise = SHORT if solver == "ddpm" else Noise()
    model = Gaussian(MEAN, covariance, noise)
    steps = {"ddpm": 120, "ddim": 100}.get(solver, 24)
    x = draw(model, condition(n, T, known=known), seeds=seeds(n), steps=steps, solver=solver)
    assert torch.equal(x[:, given], known[:, given])
    mean, conditional = model.under(known[:, given].double().numpy(), ~given)  # normal theory: what the rest must be
    check_moments(x[:, ~given], mean, conditional, 0.06)
    ignoring = draw(Gaussian(MEAN, covariance, noise), condition(n, T), seeds=seeds(n), steps=steps, solver=solver)
    gap = (ignoring[:, ~given].double().numpy() - mean).std()
    assert gap > 1.5 * (x[:, ~given].double().numpy() - mean).std()  # without them, draws are much further off


@pytest.mark.parametrize("solver", SOLVERS)
def test_twins_are_distributed_alike_and_lie_on_both_sides_of_the_mean(solver: str) -> None:
    noise = SHORT if solver == "ddpm" else Noise()
    model = Gaussian(MEAN, ar1(T), noise)
    steps = {"ddpm": 120, "ddim": 150}.get(solver, 24)

    def members(mirrored: bool) -> Tensor:
        return draw(model, condition(1200, T), seeds=seeds(1200), steps=steps, solver=solver, mirrored=mirrored)

    one, other = members(False), members(True)
    check_moments(other, MEAN, ar1(T), 0.06)
    together = float(np.corrcoef((one - one.mean(0)).flatten(), (other - other.mean(0)).flatten())[0, 1])
    if solver == "ddpm":
        assert abs(together) < 0.1  # noise of their own on the way
    else:
        np.testing.assert_allclose((one + other).numpy() / 2, np.tile(MEAN, (1200, 1)), atol=0.02)
        assert together < -0.999


class Toy:
    """Predicts the clean series place + 10 level + 0.3 x_t; linear, so that guidance has a closed form."""

    noise = Noise(prediction_type="sample")

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        self.calls += 1
        return condition.place + 10 * condition.level[:, :1] + 0.3 * x_t


def test_guidance_one_is_no_guidance_and_costs_nothing() -> None:
    place = torch.tensor([[1.0], [2.0]])
    plain, one, two = Toy(), Toy(), Toy()
    without = draw(plain, condition(2, T, place=place), seeds=seeds(2), steps=5)
    assert torch.equal(draw(one, condition(2, T, place=place), seeds=seeds(2), steps=5, guidance=1.0), without)
    draw(two, condition(2, T, place=place), seeds=seeds(2), steps=5, guidance=2.0)
    assert (plain.calls, one.calls, two.calls) == (5, 5, 10)


@pytest.mark.parametrize("guidance", [0.0, 1.0, 2.5])
def test_guidance_is_unconditional_plus_guidance_times_the_difference(guidance: float) -> None:
    place = torch.tensor([[1.0], [-2.0]])
    x = draw(Toy(), condition(2, T, place=place), seeds=seeds(2), steps=1, solver="ddim", guidance=guidance)
    noise = starting_noise(seeds(2), T)  # one step of DDIM ends in the predicted clean series
    unconditional = 0.3 * noise  # place 0, level 0
    conditional = place + 10 * torch.ones(2, 1) + 0.3 * noise
    torch.testing.assert_close(x, unconditional + guidance * (conditional - unconditional), atol=2e-3, rtol=1e-4)


def test_guidance_keeps_time_network_and_known_values() -> None:
    seen: list[Condition] = []

    class Watcher(Toy):
        def __call__(self, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
            seen.append(condition)
            return super().__call__(x_t, t, condition)

    known = torch.full((2, T), torch.nan)
    known[:, 0] = 3.0
    draw(Watcher(), condition(2, T, known=known, place=torch.ones(2, 1)), seeds=seeds(2), steps=1, guidance=3.0)
    full, plain = seen
    assert (plain.place == 0).all()
    assert (plain.level == 0).all()
    assert plain.time is full.time
    assert plain.network is full.network
    assert plain.known is full.known


def test_rows_of_a_condition() -> None:
    known = torch.arange(30.0).view(3, 10)
    whole = condition(3, T, known=known, place=torch.arange(3.0)[:, None])
    part = whole.rows(torch.tensor([2, 0]))
    assert part.place.flatten().tolist() == [2.0, 0.0]
    assert part.known is not None
    assert part.known[:, 0].tolist() == [20.0, 0.0]
    assert part.time.shape == (1, T, 1)  # one time for all stays one
    own = Condition(whole.place, torch.arange(3.0)[:, None, None], whole.level, whole.network)
    assert own.rows(slice(1, 3)).time.flatten().tolist() == [1.0, 2.0]


def test_wrong_use_is_told() -> None:
    with pytest.raises(ValueError, match="no solver 'heun'"):
        draw(Toy(), condition(1, T), seeds=seeds(1), steps=5, solver="heun")
    with pytest.raises(ValueError, match="steps is 1001: give 1 to 1000"):
        draw(Toy(), condition(1, T), seeds=seeds(1), steps=1001)
