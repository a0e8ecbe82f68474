"""The exact denoiser of a normal distribution: every draw has a known answer."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from samplers import Condition, Noise

Floats = NDArray[np.float64]


def ar1(steps: int, rho: float = 0.8) -> Floats:
    """Covariance (steps, steps) of a stationary AR(1) series of variance 1."""
    at = np.arange(steps)
    out: Floats = rho ** np.abs(at[:, None] - at[None, :])
    return out


class Gaussian:
    """Denoises series that are normal with `mean` (T,) and `covariance` (T, T), as well as anything can.

    Values that the condition gives are taken from x_t itself, as STUNet takes them, and the others are denoised under
    them: E[x | x_t, given] with the conditional mean and covariance.
    """

    series_at_once = 128

    def __init__(self, mean: Floats, covariance: Floats, noise: Noise | None = None) -> None:
        self.noise = noise or Noise()
        self.mean, self.covariance = mean, covariance
        self.alpha_bar = np.cumprod(
            1 - np.linspace(self.noise.beta_start, self.noise.beta_end, self.noise.num_train_timesteps)
        )
        self.calls: list[tuple[int, tuple[int, ...]]] = []

    def __call__(self, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """The exact prediction, of the type that the noise asks for."""
        assert (t == t[0]).all()
        self.calls.append((int(t[0]), tuple(x_t.shape)))
        x = x_t.double().numpy()
        given = np.zeros(x.shape, dtype=bool) if condition.known is None else ~condition.known.isnan().numpy()
        assert (given == given[0]).all()
        free = ~given[0]
        mean, covariance = self.under(x[:, given[0]], free)
        a = self.alpha_bar[int(t[0])]
        clean = np.zeros_like(x)
        gain = np.sqrt(a) * covariance @ np.linalg.inv(a * covariance + (1 - a) * np.eye(len(covariance)))
        clean[:, free] = mean + (x[:, free] - np.sqrt(a) * mean) @ gain.T
        eps = (x - np.sqrt(a) * clean) / np.sqrt(1 - a)
        answer = {"sample": clean, "epsilon": eps, "v_prediction": np.sqrt(a) * eps - np.sqrt(1 - a) * clean}
        return torch.from_numpy(answer[self.noise.prediction_type]).float()

    def under(self, values: Floats, free: NDArray[np.bool_]) -> tuple[Floats, Floats]:
        """Conditional mean (B, free) and covariance (free, free) where the other places have `values` (B, given)."""
        given = ~free
        if not given.any():
            return self.mean[None, free], self.covariance
        k = self.covariance[np.ix_(free, given)] @ np.linalg.inv(self.covariance[np.ix_(given, given)])
        mean: Floats = self.mean[free] + (values - self.mean[given]) @ k.T
        return mean, self.covariance[np.ix_(free, free)] - k @ self.covariance[np.ix_(given, free)]

    def flow(self, noise: Any) -> Floats:
        """Where the probability-flow ODE ends that starts at `noise` (B, T), in closed form.

        In the eigenbasis of the covariance (x_t - sqrt(a) mean) / sqrt(a lambda + 1 - a) never changes on its way.
        """
        a = self.alpha_bar[-1]
        values, basis = np.linalg.eigh(self.covariance)
        start = (np.asarray(noise, dtype=np.float64) - np.sqrt(a) * self.mean) @ basis
        out: Floats = self.mean + (start * np.sqrt(values / (a * values + 1 - a))) @ basis.T
        return out


def condition(batch: int, steps: int, known: Tensor | None = None, place: Tensor | None = None) -> Condition:
    """A condition that says nothing beyond what is given."""
    return Condition(
        place=torch.zeros(batch, 1) if place is None else place,
        time=torch.zeros(1, steps, 1),
        level=torch.ones(batch, 2),
        network=torch.zeros(batch, dtype=torch.long),
        known=known,
    )


def seeds(count: int, first: int = 0) -> NDArray[np.uint64]:
    """Streams of `count` series."""
    return np.stack([np.random.SeedSequence((7, first + i)).generate_state(2, np.uint64) for i in range(count)])
