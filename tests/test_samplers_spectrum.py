"""The linear part of denoising against the closed form of a Gaussian week, and what STUNet makes of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.fft import rfft
from torch import Tensor

from samplers import Condition, Noise, STUNet, draw
from samplers.condition import WEEK
from samplers.schedule import identity_answer, make_solver
from samplers.spectrum import FREQUENCIES, Spectral, fourier_basis, linear_answer

POWER = tuple((4.0 / (1 + 0.3 * np.arange(FREQUENCIES)) + 3.0 * (np.arange(FREQUENCIES) == 7) + 0.05).tolist())


def gaussian(n: int) -> Tensor:
    """Weeks of the spectrum POWER: (n, 168)."""
    basis, period = fourier_basis()
    waves = torch.randn((n, WEEK), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return (waves * torch.tensor(POWER, dtype=torch.float64)[period].sqrt()) @ basis.T


def covariance() -> Tensor:
    basis, period = fourier_basis()
    return (basis * torch.tensor(POWER, dtype=torch.float64)[period]) @ basis.T


def place(b: int, k: int = 1) -> Condition:
    return Condition(
        torch.zeros(b, 3), torch.zeros(1, WEEK * k, 4), torch.zeros(b, 2), torch.zeros(b, dtype=torch.long)
    )


def model(**more: object) -> STUNet:
    """An untrained STUNet: it answers what the spectrum tells, and nothing more."""
    torch.manual_seed(0)
    made = STUNet(place_dim=3, time_dim=4, networks=1, width=8, channels=(8, 8), hours_per_token=6, **more)  # type: ignore[arg-type]
    return made.eval()


def test_the_basis_is_orthonormal_and_holds_the_powers_of_the_fourier_transform() -> None:
    basis, period = fourier_basis()
    torch.testing.assert_close(basis.T @ basis, torch.eye(WEEK, dtype=torch.float64), atol=1e-12, rtol=0)
    x = np.random.default_rng(0).normal(size=WEEK)
    mine = np.bincount(period.numpy(), (torch.from_numpy(x) @ basis).numpy() ** 2)
    theirs = np.abs(rfft(x, norm="ortho")) ** 2  # of which all but the first and the last stand for two
    np.testing.assert_allclose(mine, theirs * np.where(np.isin(np.arange(FREQUENCIES), (0, 84)), 1, 2))


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
    wanted = ((v @ spectral.basis - guess) / spectral.gain[300]) @ spectral.basis.T
    assert wanted.var(0).sub(1).abs().max() < 0.12
    torch.testing.assert_close(spectral.after(wanted, guess, t), v, atol=1e-4, rtol=0)
    assert abs(float((wanted * seen).mean())) < 0.01  # nothing linear is left to learn


def test_an_untrained_student_of_one_step_draws_the_gaussian_of_its_spectrum() -> None:
    student = model(spectrum=POWER, identity_steps=1)
    seeds = np.stack([np.arange(12_000), np.arange(12_000)], 1).astype(np.uint64)
    drawn = draw(student, place(12_000), seeds=seeds, steps=1, solver="ddim").double()
    error = (drawn.T @ drawn / 12_000 - covariance()).abs().max() / covariance().abs().max()
    assert error < 0.07  # so many draws tell a covariance to about 0.04


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_the_linear_answer_is_the_path_of_ddim_to_each_power(steps: int) -> None:
    power = torch.tensor([0.01, 0.5, 1.0, 30.0], dtype=torch.float64)
    answer, solver = linear_answer(Noise(), power, steps), make_solver("ddim", Noise(), steps)
    x = torch.ones(4, dtype=torch.float64)
    for t in solver.timesteps:
        x = solver.step(answer[t] * x, t, x).prev_sample
    a = float(Noise().scheduler().alphas_cumprod[-1])
    torch.testing.assert_close(x, (power / (a * power + 1 - a)).sqrt(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(answer[:, 2].float(), identity_answer(Noise(), steps), atol=1e-6, rtol=0)


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
