"""The solver against the exact path of Gaussians, and against solvers of diffusers where it knows nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gaussian_denoiser import Floats, Gaussian, condition, seeds
from scipy.fft import dct
from torch import Tensor

from samplers import Condition, Noise, draw
from samplers.diffusion import PREDICTIONS, QUIET, make_solver, starting_noise
from samplers.fomo_draw import solve

T = 12
RNG = np.random.default_rng(0)


def power_of(covariance: Any) -> tuple[float, ...]:
    """The power of the frequencies of a covariance that is circulant, or nearly."""
    transform = np.fft.fft(np.eye(len(covariance)), norm="ortho")
    return tuple(np.einsum("fi,ij,fj->f", transform, covariance, transform.conj()).real[: len(covariance) // 2 + 1])


def around(rho: float) -> Any:
    """The covariance of a series on a circle: its Fourier waves are independent."""
    apart = np.abs(np.arange(T)[:, None] - np.arange(T))
    return rho ** np.minimum(apart, T - apart)


@pytest.mark.parametrize("steps", [1, 2, 3, 8])
@pytest.mark.parametrize("kind", PREDICTIONS)
def test_a_gaussian_of_the_known_spectrum_is_exact_in_any_number_of_steps(kind: str, steps: int) -> None:
    covariance, mean = 0.5 * around(0.8), 2 * RNG.normal(size=T)
    model = Gaussian(mean, covariance, Noise(prediction_type=kind, rest=(power_of(covariance),)))
    x = draw(model, condition(50, T), seeds=seeds(50), steps=steps, solver="gaussian")
    exact = model.flow(starting_noise(seeds(50), T).numpy())
    np.testing.assert_allclose(x.numpy(), exact, atol=0.02)  # at the last time a trace of the mean is in the noise
    assert len(model.calls) == steps


def flow_error(steps: int, rest: tuple[float, ...] | None, covariance: Any, solver: str = "gaussian") -> float:
    model = Gaussian(np.linspace(-1, 1, T), covariance, Noise(rest=None if rest is None else (rest,)))
    x = draw(model, condition(200, T), seeds=seeds(200), steps=steps, solver=solver).numpy()
    return float(np.sqrt(((x - model.flow(starting_noise(seeds(200), T).numpy())) ** 2).mean()))


def test_with_another_spectrum_it_converges_faster_than_the_first_order() -> None:
    covariance = around(0.8) * np.linspace(0.5, 1.5, T)[:, None] ** 0.5 * np.linspace(0.5, 1.5, T) ** 0.5
    for rest in (power_of(1.7 * covariance), None):
        at = (8, 16, 32, 64)
        errors = [flow_error(steps, rest, covariance) for steps in at]
        observed = np.polyfit(np.log(at), np.log(errors), 1)[0]
        assert observed < -1.4, errors  # the first of its steps, which shrink more slowly than 1 / steps, are Euler's
        assert errors[-1] < 0.004
    near = power_of(1.2 * covariance)
    assert flow_error(3, near, covariance) < 0.25 * flow_error(3, near, covariance, "dpm++")


def mirrored(power: Floats) -> tuple[Floats, Floats]:
    """(the cosines as columns, the covariance) of series whose cosines are independent, of `power` (T,)."""
    cosines = dct(np.eye(len(power)), norm="ortho", axis=0).T
    return cosines, cosines @ np.diag(power) @ cosines.T


@pytest.mark.parametrize("steps", [2, 3, 8])
@pytest.mark.parametrize("kind", PREDICTIONS)
def test_a_mirrored_gaussian_is_exact_in_any_number_of_steps(kind: str, steps: int) -> None:
    """Its power is known at as many frequencies as the series has steps: none lies between two of them."""
    power, mean = np.linspace(1.5, 0.2, T), RNG.normal(size=T)
    _, covariance = mirrored(power)
    model = Gaussian(mean, covariance, Noise(prediction_type=kind))
    start = starting_noise(seeds(6), T).view(2, 3, T)

    def predict(x: Tensor, t: int, step: int) -> Tensor:
        flat = x.reshape(-1, T)
        return model(flat, torch.full((len(flat),), t), condition(len(flat), T)).view(x.shape)

    told = torch.from_numpy(power / QUIET)
    x = solve(predict, model.noise, start, steps=steps, solver="gaussian", power=told)
    np.testing.assert_allclose(x.reshape(-1, T).numpy(), model.flow(start.reshape(-1, T).numpy()), atol=0.02)
    alone = solve(predict, model.noise, start, steps=steps, solver="gaussian")
    assert steps > 2 or (alone - x).abs().max() > 0.1  # without its power two steps are another path


def test_known_values_are_shown_to_the_mirrored_solver_as_they_would_move() -> None:
    """Three steps are nearer to forty with the known values on their path than with what stands there."""
    power = np.geomspace(4.0, 0.05, T)
    _, covariance = mirrored(power)
    model = Gaussian(np.zeros(T), covariance)
    known = torch.full((40, T), torch.nan)
    known[:, :5] = torch.from_numpy(RNG.multivariate_normal(np.zeros(T), covariance, 40)[:, :5]).float()
    start = starting_noise(seeds(40), T)

    def predict(x: Tensor, t: int, step: int) -> Tensor:
        seen = torch.where(known.isnan(), x, known.nan_to_num())
        return model(seen, torch.full((len(x),), t), condition(len(x), T, known))

    def drawn(steps: int, **told: Any) -> Tensor:
        told = {"solver": "gaussian", "power": torch.from_numpy(power / QUIET), **told}
        return solve(predict, model.noise, start, steps=steps, **told)[:, 5:]

    exact = drawn(60, solver="dpm++")
    errors = [float((drawn(3, **told) - exact).std()) for told in ({"known": known}, {}, {"solver": "dpm++"})]
    assert errors[0] < 0.8 * errors[1], errors


def test_one_step_is_the_prediction_with_noise_of_the_power_of_the_series_network() -> None:
    rest = ((4.0,) * 7, (0.25,) * 7)
    noise, clean = Noise(prediction_type="sample", rest=rest), torch.linspace(-1, 1, T).expand(2, T)
    solver = make_solver("gaussian", noise, 1, torch.tensor([0, 1]))
    start = torch.randn((2, T), generator=torch.Generator().manual_seed(0))
    x = solver.step(clean, solver.timesteps[0], start).prev_sample
    torch.testing.assert_close(x, clean + torch.tensor([[2.0], [0.5]]) * start, atol=0.05, rtol=0)
    alone = make_solver("gaussian", noise, 1, torch.tensor([1, 1]))  # one network: one row for all series
    assert torch.equal(alone.step(clean, alone.timesteps[0], start).prev_sample[1], x[1])


def test_what_moves_within_an_hour_goes_beside_the_spectrum() -> None:
    """Of k numbers an hour the first take the path of their power, the others that of unit variance."""
    k, n = 3, 40
    rest = (tuple(np.linspace(3.0, 0.2, 7)),)
    solver = make_solver("gaussian", Noise(prediction_type="sample", rest=rest), 4, torch.zeros(n, dtype=torch.long))
    hours = make_solver("gaussian", Noise(prediction_type="sample", rest=rest), 4, torch.zeros(n, dtype=torch.long))
    within = make_solver("gaussian", Noise(prediction_type="sample"), 4)
    x = torch.randn((n, T, k), generator=torch.Generator().manual_seed(1))
    first, others = x[..., 0], x[..., 1:].flatten(1)
    for t in solver.timesteps:
        x = solver.step((0.3 * x + 1).flatten(1), t, x.flatten(1)).prev_sample.view(n, T, k)
        first = hours.step(0.3 * first + 1, t, first).prev_sample
        others = within.step(0.3 * others + 1, t, others).prev_sample
    torch.testing.assert_close(x[..., 0], first)
    torch.testing.assert_close(x[..., 1:].flatten(1), others)


def test_a_given_half_moves_with_the_path_of_the_other() -> None:
    """The mean of what is open under what is given, in few steps: the solver mixes hours, and must be told of both."""
    covariance = around(0.95)
    model = Gaussian(np.zeros(T), covariance, Noise(rest=(power_of(0.3 * covariance),)))
    known = torch.full((400, T), torch.nan)
    known[:, :6] = 1.5
    x = draw(model, condition(400, T, known=known), seeds=seeds(400), steps=8, solver="gaussian")
    mean, conditional = model.under(known[:, :6].double().numpy(), np.arange(T) >= 6)
    np.testing.assert_allclose(x[:, 6:].mean(0).numpy(), mean[0], atol=0.1)
    np.testing.assert_allclose(x[:, 6:].var(0).numpy(), np.diag(conditional), atol=0.12)


def test_series_of_several_networks_are_drawn_as_each_alone() -> None:
    class Half:
        noise = Noise(rest=tuple((power,) * 6 for power in (1.0, 0.1, 3.0)))

        def __call__(self, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
            return 0.5 * x_t

    told = condition(6, 10)
    mixed = Condition(told.place, told.time, told.level, torch.tensor([0, 1, 2, 2, 1, 0]))
    together = draw(Half(), mixed, seeds=seeds(6), steps=3)
    for i in range(6):
        alone = draw(Half(), mixed.rows(slice(i, i + 1)), seeds=seeds(1, first=i), steps=3)
        assert torch.equal(alone[0], together[i])


def test_early_steps_are_longer_and_the_last_starts_where_it_says() -> None:
    solver = make_solver("gaussian", Noise(), 6)
    a = solver.alphas_cumprod[solver.timesteps].double()
    signal = torch.log(a / (1 - a)) / 2
    assert (signal.diff().diff() < 0).all()
    assert int(solver.timesteps[-1]) == 100  # 600 / 6
