"""The linear part of denoising a week, frequency by frequency, which a network need not learn.

A week whose frequency f has the power S_f is, for all that second moments tell, Gaussian, and of a Gaussian the best
guess of v from x_t is known in closed form. STUNet sees x_t whitened, and its answer is scaled and added to that guess:
so what is nearly white in traffic, how one hour departs from the next, passes beside the network, whose few channels
could not hold it. This is the preconditioning of Karras et al. 2022 (table 1) for v, in the Fourier basis of the week
instead of one variance for all.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from samplers.condition import WEEK
from samplers.gaussian import LEAST_POWER
from samplers.schedule import Noise

FREQUENCIES = WEEK // 2 + 1  # 0 to 84 periods a week


class Spectral(nn.Module):
    """The linear part for the hours of a week of known spectrum.

    power: (85,) mean squares of the frequencies in the orthonormal basis, 1 for white noise of unit variance.
    """

    white: Tensor
    skip: Tensor
    gain: Tensor

    def __init__(self, noise: Noise, power: tuple[float, ...]) -> None:
        super().__init__()
        if len(power) != FREQUENCIES:
            raise ValueError(f"a spectrum of {len(power)} numbers: a week of hours has {FREQUENCIES} frequencies")
        s = torch.tensor(power, dtype=torch.float64).clamp(min=LEAST_POWER)
        a = noise.scheduler().alphas_cumprod.double()[:, None]
        n = a * s + 1 - a
        tables = {"white": n.rsqrt(), "skip": (a * (1 - a)).sqrt() * (1 - s) / n, "gain": (s / n).sqrt()}
        for name, values in tables.items():
            self.register_buffer(name, values.float(), persistent=False)

    def before(self, hours: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Hours of x_t (B, 168) -> them as the network sees them, of unit variance, and the guess, as waves (B, 85).

        hours: (B, 168). t: (B,) diffusion steps.
        """
        waves = torch.fft.rfft(hours, norm="ortho")
        return torch.fft.irfft(waves * self.white[t], WEEK, norm="ortho"), waves * self.skip[t]

    def after(self, answer: Tensor, guess: Tensor, t: Tensor) -> Tensor:
        """The network's answer (B, 168), the guess (B, 85), the diffusion steps t (B,) -> the v predicted (B, 168)."""
        waves = guess + self.gain[t] * torch.fft.rfft(answer, norm="ortho")
        out: Tensor = torch.fft.irfft(waves, WEEK, norm="ortho")
        return out
