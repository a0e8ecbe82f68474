"""The linear part of denoising against the closed form of a Gaussian week, and what STUNet makes of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.linalg import circulant
from torch import Tensor

from samplers import Condition, Noise, STUNet, draw
from samplers.sampler import WEEK
from samplers.stunet import FREQUENCIES, Spectral

POWER = tuple((4.0 / (1 + 0.3 * np.arange(FREQUENCIES)) + 3.0 * (np.arange(FREQUENCIES) == 7) + 0.05).tolist())


def covariance() -> Tensor:
    """Of weeks of the spectrum POWER, (168, 168), by the sum over its waves: Wiener and Khinchin."""
    two_sided = np.array([POWER[min(f, WEEK - f)] for f in range(WEEK)])
    lag = np.arange(WEEK)[:, None] * np.arange(WEEK)
    return torch.from_numpy(circulant((two_sided * np.cos(2 * np.pi * lag / WEEK)).mean(axis=1)))


def gaussian(n: int) -> Tensor:
    """Weeks of the spectrum POWER: (n, 168)."""
    noise = torch.randn((n, WEEK), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return noise @ torch.linalg.cholesky(covariance()).T


def place(b: int, k: int = 1) -> Condition:
    return Condition(
        torch.zeros(b, 3), torch.zeros(1, WEEK * k, 4), torch.zeros(b, 2), torch.zeros(b, dtype=torch.long)
    )


def model(**more: object) -> STUNet:
    """An untrained STUNet: it answers what the spectrum tells, and nothing more."""
    torch.manual_seed(0)
    made = STUNet(place_dim=3, time_dim=4, networks=1, width=8, channels=(8, 8), hours_per_token=6, **more)  # type: ignore[arg-type]
    return made.eval()


@pytest.mark.parametrize("t", [5, 200, 600, 999])
def test_an_untrained_network_answers_the_best_linear_guess(t: int) -> None:
    """E[v | x_t] of a Gaussian by its covariance matrix: sqrt(a) E[eps | x_t] - sqrt(1 - a) E[x | x_t]."""
    a = float(Noise().scheduler().alphas_cumprod[t])
    x_t = torch.randn((3, WEEK), generator=torch.Generator().manual_seed(t))
    k = covariance().numpy()
    solved = np.linalg.solve(a * k + (1 - a) * np.eye(WEEK), x_t.double().numpy().T)
    v = a**0.5 * (1 - a) ** 0.5 * solved - (1 - a) ** 0.5 * a**0.5 * k @ solved
    got = model(spectrum=POWER)(x_t, torch.full((3,), t), place(3))
    np.testing.assert_allclose(got.detach().numpy(), v.T, atol=2e-5)


def test_what_the_network_sees_and_has_to_answer_is_of_unit_variance() -> None:
    noise, t = Noise(), torch.full((4000,), 300)
    spectral = Spectral(noise, POWER)
    x = gaussian(4000).float()
    eps = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    a = float(noise.scheduler().alphas_cumprod[300])
    seen, guess = spectral.before(a**0.5 * x + (1 - a) ** 0.5 * eps, t)
    assert seen.var(0).sub(1).abs().max() < 0.12
    v = a**0.5 * eps - (1 - a) ** 0.5 * x
    wanted = torch.fft.irfft((torch.fft.rfft(v, norm="ortho") - guess) / spectral.gain[300], norm="ortho")
    assert wanted.var(0).sub(1).abs().max() < 0.12
    torch.testing.assert_close(spectral.after(wanted, guess, t), v, atol=1e-4, rtol=0)
    assert abs(float((wanted * seen).mean())) < 0.01  # nothing linear is left to learn


def test_an_untrained_network_draws_the_gaussian_of_its_spectrum_in_one_step() -> None:
    """Where the solver knows the power that is left open, and nothing else is to be told."""
    seeds = np.stack([np.arange(12_000), np.arange(12_000)], 1).astype(np.uint64)
    drawn = draw(model(spectrum=POWER, rest=(POWER,)), place(12_000), seeds=seeds, steps=1).double()
    error = (drawn.T @ drawn / 12_000 - covariance()).abs().max() / covariance().abs().max()
    assert error < 0.07  # so many draws tell a covariance to about 0.04


def test_given_days_and_finer_steps_pass_beside_the_spectrum() -> None:
    net = model(spectrum=POWER, cadences=(1, 2))
    x_t = torch.randn((2, 2 * WEEK), generator=torch.Generator().manual_seed(2))
    out = net(x_t, torch.tensor([100, 700]), place(2, 2)).view(2, WEEK, 2)
    hours = net(x_t.view(2, WEEK, 2)[..., 0], torch.tensor([100, 700]), place(2))
    torch.testing.assert_close(out[..., 0], hours)
    assert (out[..., 1] == 0).all()  # white of unit variance: the best guess of v is nothing


def test_wrong_use_is_told() -> None:
    with pytest.raises(ValueError, match="a spectrum of 3 numbers: a week of hours has 85 frequencies"):
        model(spectrum=(1.0, 2.0, 3.0))
    with pytest.raises(ValueError, match="'epsilon': a model with a spectrum predicts v_prediction"):
        model(spectrum=POWER, prediction_type="epsilon")
    with pytest.raises(ValueError, match="a spectrum is given: a model with a profile follows that instead"):
        model(spectrum=POWER, use_profile=True)
