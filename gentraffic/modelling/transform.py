"""Traffic over a cell's mean, as the networks see it: log(ratio + FLOOR), standardised.

At k steps per hour, the k logs of an hour become their mean, on the same scale as hourly traffic, and k - 1 cosine
coefficients (DCT-II, orthonormal) of what moves within the hour, each divided by its spread. That falls where the cell
and the hour are busy, as counts of many events move less than those of few (over the cells of Nanchang the log of the
spread and the level correlate by -0.97). So all numbers that are drawn have about unit variance, and hourly means look
alike at every cadence.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

FLOOR = 0.05  # of the cell's mean: below it a ratio counts as silence, so that empty hours do not rule the logarithm
WEEK = 168  # hours
LEAST = 0.05  # of a cell's mean: a week that is more silent than that says nothing about its shape
FADES = ((-2.5, 2.5), (-1.5, 0.5))  # within which the spread within the hour follows the cell's level, the hour's log
HIGHEST = 50.0  # times the cell's mean: nothing is drawn above


@dataclass(frozen=True)
class WeeklyProfile:
    """How the usual week is made of a past.

    weights: network -> (2, 5) weights of `weekly_profile.PARTS`, of one week and of weeks without end; "" for a
    network that nobody measured. weeks: network -> (7, 24) the mean week of its cells, each over its mean, Monday
    first; "": of all.
    memory: days after which a day says half as much of the level that comes next; 0: all days say as much.
    """

    weights: dict[str, list[list[float]]]
    weeks: dict[str, list[list[float]]]
    memory: float = 0.0

    def elsewhere(self, network: str) -> NDArray[np.float64] | None:
        """The mean week of all other networks, (7, 24), or None where there is none."""
        others = [week for name, week in self.weeks.items() if name not in ("", network)]
        return np.mean(others, axis=0) if others else None


@dataclass(frozen=True)
class Scaler:
    """mean and spread of log(ratio + floor) of hourly means; detail: k -> spreads of the k - 1 coefficients.

    fade: k -> how much the log of those falls where a cell's standardised level is 1 higher, and where the log of the
    hour's ratio is; both held within FADES. The spreads are those of level 0, as of one that is not known, and log 0.
    drift: network -> standard deviation of the log of a week's mean over what the days before it told; "": of any.
    usual: how the past of a cell becomes its usual week, in a model that takes one. own_level: the network draws the
    level as well, so its ratios are to the mean cell of a place, not to the cell's own mean. linear: ratios themselves
    are standardised, not their logarithms, as STOUTER's paper does by minimum and maximum.
    """

    mean: float
    spread: float
    floor: float = FLOOR
    detail: dict[str, list[float]] = field(default_factory=dict)
    fade: dict[str, list[float]] = field(default_factory=dict)
    drift: dict[str, float] = field(default_factory=dict)
    usual: WeeklyProfile | None = None
    own_level: bool = False
    linear: bool = False

    def forward(self, ratio: NDArray[Any], level: NDArray[Any] | None = None) -> NDArray[np.float32]:
        """Ratios to the cell's mean (B, 168 k) -> what the networks see (B, 168 k), k numbers per hour.

        level: (B,) the standardised log level of each cell, nan or None where it is not known.
        """
        values = np.asarray(ratio, dtype=np.float64)
        logs = ((values if self.linear else np.log(values + self.floor)) - self.mean) / self.spread
        k = logs.shape[-1] // WEEK
        if k == 1:
            return logs.astype(np.float32)
        coefficients = cosines(logs.reshape(len(logs), WEEK, k))
        coefficients[..., 1:] /= self._spreads(coefficients, level)
        return coefficients.reshape(len(logs), WEEK * k).astype(np.float32)

    def inverse(self, x: NDArray[np.float32], level: NDArray[Any] | None = None) -> NDArray[np.float32]:
        """What the networks see, x: (B, 168 k), back to ratios to the cell's mean (B, 168 k): the mirror of `forward`.

        level: (B,) as there. Nothing comes out negative, and nothing above HIGHEST times the cell's mean.
        """
        k = x.shape[-1] // WEEK
        logs = x.astype(np.float64)
        if k > 1:
            coefficients = logs.reshape(len(x), WEEK, k).copy()
            coefficients[..., 1:] *= self._spreads(coefficients, level)
            logs = from_cosines(coefficients).reshape(len(x), WEEK * k)
        if self.linear:
            return np.clip(logs * self.spread + self.mean, 0.0, HIGHEST).astype(np.float32)
        ratio = np.exp(np.minimum(logs * self.spread + self.mean, np.log(HIGHEST))) - self.floor
        return np.maximum(ratio, 0.0).astype(np.float32)

    def _spreads(self, hours: NDArray[np.float64], level: NDArray[Any] | None) -> NDArray[np.float64]:
        """Spreads of what moves within hours (B, 168, k), of which the first number is known: (B, 168, k - 1)."""
        k = str(hours.shape[-1])
        by_level, by_hour = self.fade.get(k, (0.0, 0.0))
        z, h = faded(np.zeros(1) if level is None else level, hours[..., 0] * self.spread + self.mean)
        out: NDArray[np.float64] = np.exp(-by_level * z[:, None] - by_hour * h)[..., None] * np.array(self.detail[k])
        return out


def faded(level: NDArray[Any], log: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Standardised levels (B,), nan for 0, and logs of hours (B, H) as spreads within the hour follow them."""
    return np.clip(np.nan_to_num(level.astype(np.float64)), *FADES[0]), np.clip(log, *FADES[1])


def cosines(hours: NDArray[np.float64]) -> NDArray[np.float64]:
    """The k values of each of the hours (..., k) as their mean and k - 1 orthonormal DCT-II coefficients, (..., k)."""
    from scipy.fft import dct

    out: NDArray[np.float64] = dct(hours, norm="ortho", axis=-1)
    out[..., 0] /= np.sqrt(hours.shape[-1])
    return out


def from_cosines(coefficients: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mirror of `cosines`: coefficients (..., k) back to the values within each hour (..., k)."""
    from scipy.fft import idct

    whole = coefficients.copy()
    whole[..., 0] *= np.sqrt(coefficients.shape[-1])
    out: NDArray[np.float64] = idct(whole, norm="ortho", axis=-1)
    return out
