"""A solver of the probability-flow equation that is exact for a Gaussian of known spectrum, whatever its mean.

What a condition leaves open has a power S_f at frequency f, which is measured once a network is trained
(`training.residual_spectrum`). In the Fourier basis of the week let y = x_t / sqrt(a), s^2 = (1 - a) / a, and D the
predicted clean week; the path of the probability flow (Song et al. 2021, eq. 13) is dy/ds = (y - D) / s. Write

    D = S y / (S + s^2) + R,    y = sqrt(S + s^2) z,    u = sqrt(S / (S + s^2)):    dz/du = R (S + s^2) / (s^2 sqrt(S)).

The linear part is gone, and the path from noise (u = 0) to week (u = 1) is what the rest R of the prediction adds up
to: for a Gaussian of mean m and power S the derivative is the constant m / sqrt(S), so that one step of any length is
exact. Steps are Adams-Bashforth's of second order in u, of which every frequency has its own. With the linear part of
the prediction integrated exactly as well, it is the exponential integrator of DPM-Solver++ (Lu et al. 2022b); Wang and
Vastola 2024 do so for the first steps alone. One step gives prediction + noise of power S.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler, DDPMSchedulerOutput
from torch import Tensor

LEAST_POWER = 1e-3
LAST_TIME, BEND = 600, 0.5  # of 1000, over the steps: where the last one starts; below 1, early steps are longer


class GaussianPath(DDPMScheduler):
    """Goes from x_t (B, T) to the next; `step` is to be called once for each of `timesteps`, in order.

    power: (B or 1, F) of the frequencies of 2 (F - 1) hours, in the orthonormal basis. A series holds k numbers an
    hour, the hour's mean first; the others, and all where `power` is None, count as independent, of unit variance.
    """

    def __init__(self, config: dict[str, Any], steps: int, power: Tensor | None = None) -> None:
        super().__init__(**config, clip_sample=False)
        self.timesteps = torch.tensor(_times(self.alphas_cumprod, steps))
        a = torch.cat([self.alphas_cumprod.double()[self.timesteps], torch.ones(1, dtype=torch.float64)])
        self.at = 0
        self.waves = None if power is None else _Part(a, power)
        self.within = _Part(a, torch.ones((1, 1)) if power is None else power.new_ones((1, 1)))

    def step(self, model_output: Any, timestep: Any, sample: Any, *more: Any, **named: Any) -> Any:
        """The prediction at `timestep` and x_t -> x at the next of `timesteps`, or the clean series after the last."""
        i, self.at = self.at, self.at + 1
        clean = self._clean(model_output, sample, self.alphas_cumprod[int(timestep)].to(sample))
        if self.waves is None:
            return DDPMSchedulerOutput(prev_sample=self.within.move(i, sample, clean))
        hours = 2 * (self.waves.frequencies - 1)
        x, week = (series.view(len(sample), hours, -1) for series in (sample, clean))
        waves = (torch.fft.rfft(sheet[..., 0], norm="ortho") for sheet in (x, week))
        mean = torch.fft.irfft(self.waves.move(i, *waves), hours, norm="ortho")[..., None]
        if x.shape[2] > 1:
            within = self.within.move(i, x[..., 1:].flatten(1), week[..., 1:].flatten(1))
            mean = torch.cat([mean, within.view(len(x), hours, -1)], -1)
        return DDPMSchedulerOutput(prev_sample=mean.flatten(1))

    def _clean(self, answer: Tensor, x: Tensor, a: Tensor) -> Tensor:
        kind = self.config["prediction_type"]
        if kind == "v_prediction":
            return a.sqrt() * x - (1 - a).sqrt() * answer
        return answer if kind == "sample" else (x - (1 - a).sqrt() * answer) / a.sqrt()


class _Part:
    """Coordinates that move independently, each of its own power: a (steps + 1,) and power (B or 1, F)."""

    def __init__(self, a: Tensor, power: Tensor) -> None:
        self.frequencies = power.shape[1]
        a, power = a.to(power.device)[:, None, None], power.double().clamp(min=LEAST_POWER)
        s2 = (1 - a) / a
        lift = (power + s2).sqrt()  # of z to y: (steps + 1, B or 1, F)
        u = power.sqrt() / lift
        self.scale, self.h = (a.sqrt() * lift).float(), u.diff(dim=0).float()
        self.own = (power / lift**2 / a.sqrt()).float()  # of x_t, what of it the linear part predicts
        self.slope = (lift**2 / (s2 * power.sqrt()))[:-1].float()
        self.before: Tensor | None = None

    def move(self, i: int, x: Tensor, clean: Tensor) -> Tensor:
        """Step i: x_t (B, F) and the predicted clean series -> x at the next time."""
        now = (clean - self.own[i] * x) * self.slope[i]
        h, mean = self.h[i], now
        if self.before is not None:
            mean = now + (now - self.before) * (h / (2 * self.h[i - 1]))
        self.before = now
        return (x / self.scale[i] + h * mean) * self.scale[i + 1]


def _times(alphas: Tensor, steps: int) -> list[int]:
    """Time steps downwards, early ones longer in the log signal-to-noise ratio, no two alike."""
    signal = torch.log(alphas / (1 - alphas)).numpy() / 2
    last = min(round(LAST_TIME * len(signal) / 1000 / steps), len(signal) - steps)
    stops = signal[-1] + (signal[last] - signal[-1]) * np.linspace(0, 1, steps) ** BEND
    times = np.interp(-stops, -signal, np.arange(len(signal))).round().astype(int)
    down = np.arange(steps)[::-1]
    apart = np.maximum.accumulate((times - down)[::-1])[::-1] + down
    return [int(t) for t in np.minimum(apart, len(signal) - steps + down)]
