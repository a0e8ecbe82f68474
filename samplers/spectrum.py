"""The linear part of denoising a week, frequency by frequency, which a network need not learn.

A week whose frequency f has the power S_f is, for all that second moments tell, Gaussian, and of a Gaussian both the
best guess of v from x_t and the whole path from noise to week are known in closed form. STUNet sees x_t whitened, and
its answer is scaled and added to that guess: so what is nearly white in traffic, how one hour departs from the next,
passes beside the network, whose few channels could not hold it. This is the preconditioning of Karras et al. 2022
(table 1) for v, in the Fourier basis of the week instead of one variance for all.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from samplers.condition import WEEK
from samplers.schedule import Noise, ddim_stops

FREQUENCIES = WEEK // 2 + 1  # 0 to 84 periods a week
LEAST_POWER = 1e-3


def fourier_basis() -> tuple[Tensor, Tensor]:
    """The real orthonormal Fourier basis of the week: (168, 168), a function per column; periods a week, (168,)."""
    hour = torch.arange(WEEK, dtype=torch.float64)
    period = torch.tensor([0, *(f for f in range(1, WEEK // 2) for _ in (0, 1)), WEEK // 2])
    phase = torch.tensor([0.0, *([0.0, -math.pi / 2] * (WEEK // 2 - 1)), 0.0], dtype=torch.float64)
    scale = torch.full((WEEK,), 2 / WEEK, dtype=torch.float64)
    scale[[0, -1]] = 1 / WEEK
    return scale.sqrt() * torch.cos(2 * math.pi * hour[:, None] * period / WEEK + phase), period


class Spectral(nn.Module):
    """The linear part for the hours of a week of known spectrum.

    power: (85,) mean squares of the frequencies in the orthonormal basis, 1 for white noise of unit variance. steps: of
    a student, which starts from the exact path of DDIM in so many steps; 0 for a model that starts from the best guess.
    """

    basis: Tensor
    white: Tensor
    skip: Tensor
    gain: Tensor

    def __init__(self, noise: Noise, power: tuple[float, ...], steps: int = 0) -> None:
        super().__init__()
        if len(power) != FREQUENCIES:
            raise ValueError(f"a spectrum of {len(power)} numbers: a week of hours has {FREQUENCIES} frequencies")
        basis, period = fourier_basis()
        s = torch.tensor(power, dtype=torch.float64).clamp(min=LEAST_POWER)[period]
        a = noise.scheduler().alphas_cumprod.double()[:, None]
        n = a * s + 1 - a
        skip = linear_answer(noise, s, steps) if steps else (a * (1 - a)).sqrt() * (1 - s) / n
        for name, values in (("basis", basis), ("white", n.rsqrt()), ("skip", skip), ("gain", (s / n).sqrt())):
            self.register_buffer(name, values.float(), persistent=False)

    def before(self, hours: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Hours of x_t (B, 168) -> them as the network sees them, of unit variance, and the guess, in the basis."""
        waves = hours @ self.basis
        return (waves * self.white[t]) @ self.basis.T, waves * self.skip[t]

    def after(self, answer: Tensor, guess: Tensor, t: Tensor) -> Tensor:
        """The network's answer (B, 168) and the guess -> the prediction of v (B, 168)."""
        return (guess + self.gain[t] * (answer @ self.basis)) @ self.basis.T


def linear_answer(noise: Noise, power: Tensor, steps: int) -> Tensor:
    """The c of each time step with which v = c x_t takes DDIM, in `steps` steps, from noise to the Gaussian of `power`.

    The path scales x_t like its standard deviation, x_s / x_t = sqrt((a_s S + 1 - a_s) / (a_t S + 1 - a_t)), and a step
    of DDIM is x_s = cos(d) x_t - sin(d) v, where d is the angle between the two times and cos^2 of a time's angle its
    alpha_bar (Salimans and Ho 2022, section 4). power (F,) float64 -> (T, F); for power 1 it leaves noise as it is.
    """
    angle, reached = ddim_stops(noise, steps)
    now, then = (a.cos()[:, None] ** 2 for a in (angle, reached))
    ratio = ((then * power + 1 - then) / (now * power + 1 - now)).sqrt()
    d = (angle - reached)[:, None]
    return (d.cos() - ratio) / d.sin()
