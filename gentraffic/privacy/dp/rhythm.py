"""The mean week of a private network with differential privacy: one Gaussian mechanism on a sum over cells.

When people sleep, work and rest is the same for most cells of a network and differs from country to country. So a fit
from a model of other networks has it wrong, and a few noisy steps of training cannot mend it; the mean over all cells
can, at a small part of epsilon. Of each cell counts how the logarithm of its week departs from a public one, on few
smooth weeks (`smooth_weeks`), as a vector of norm at most 1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from gentraffic.modelling.expected_week import Amplitude, ExpectedWeek, ExpectedWeeks
from gentraffic.modelling.features import FLOOR, Floats
from gentraffic.privacy.dp.accounting import Secret
from gentraffic.privacy.dp.levels import noisy_sum, shrunk

# orthonormal weeks are made of days, Monday first (all alike; workdays against weekends; Saturday against Sunday), and
# of harmonics of a day; on the k-th harmonic two public networks differ by about SPREAD / (1 + k / FALL)
DAYS = np.array([[1.0] * 7, [2.0] * 5 + [-5.0] * 2, [0.0] * 5 + [1.0, -1.0]]) / np.sqrt([[7.0], [70.0], [2.0]])
SPREAD, FALL = (1.5, 0.6, 0.15), (3.0, 1.0, 3.0)
HARMONICS = 6
MOST = 6.0  # norm of a cell's departure, beyond which it is shortened: that of most cells of public networks
MOST_AMPLITUDE, APART = 1.5, 0.5  # of log amplitudes: how far from public ones one counts, and how far networks lie
# log(week over its mean + FLOOR) by hour, mean of Shandong, Nanchang, Nanjing and Milan: where no public model tells
USUAL_DAY = np.array(
    [-0.26, -0.63, -0.96, -1.21, -1.64, -1.26, -0.86, -0.32, -0.02, 0.06, 0.15, 0.24,
     0.39, 0.25, 0.21, 0.23, 0.25, 0.28, 0.29, 0.27, 0.23, 0.21, 0.16, 0.03]
)  # fmt: skip


@dataclass(frozen=True)
class PrivateWeeks:
    """One private network. departures: (N, 168) how the log week of each listed cell, Monday first, departs from the
    public one; 0 where it has no traffic. live: about how many cells have some. week: all else that is public of it."""

    departures: Floats
    live: float
    week: ExpectedWeek


def smooth_weeks() -> Floats:
    """(39, 168) orthonormal weeks: the mean and HARMONICS harmonics of a day, for each of DAYS."""
    angle = 2 * np.pi * np.arange(24) / 24
    day = [np.full(24, np.sqrt(1 / 24))]
    for k in range(1, HARMONICS + 1):
        day += [np.sqrt(2 / 24) * np.cos(k * angle), np.sqrt(2 / 24) * np.sin(k * angle)]
    return np.array([np.outer(days, hours).ravel() for days in DAYS for hours in day])


def usual_spreads() -> Floats:
    """(39,) how far a network's mean departure lies from 0 on each of `smooth_weeks`, as public networks do."""
    harmonic = (np.arange(2 * HARMONICS + 1) + 1) // 2
    return np.concatenate([spread / (1 + harmonic / fall) for spread, fall in zip(SPREAD, FALL, strict=True)])


def public_week(weeks: ExpectedWeeks) -> Floats:
    """What is expected of a network before anything is known of it, log week (168,): the mean of the measured ones."""
    if not weeks.networks:
        return np.tile(USUAL_DAY, 7)
    out: Floats = np.mean([week.mean for week in weeks.networks.values()], axis=0)
    return out


def log_departures(shapes: Floats, public: Floats) -> Floats:
    """(cells, 168) from shapes (cells, 7, 24), each over its mean, and the public log week (168,)."""
    out: Floats = np.log(np.maximum(shapes.reshape(-1, 168), 0.0) + FLOOR) - public
    return out


def fit_private_week(of: PrivateWeeks, number: int, noise_multiplier: float, secret: Secret) -> ExpectedWeek:
    """The network's mean week from one noisy release, the noise shrunk by what networks differ. number: of the network.

    Removing a cell changes the sum that is released by a vector of norm at most 1.
    """
    smooth = smooth_weeks()
    vectors = np.einsum("ct,kt->ck", of.departures, smooth) / MOST
    released = noisy_sum(vectors, noise_multiplier, secret.normal("rhythm", number, len(smooth)))
    hidden = MOST * noise_multiplier / of.live
    seen = MOST * released / of.live
    mean = np.array([shrunk(one, hidden, 0.0, usual) for one, usual in zip(seen, usual_spreads(), strict=True)])
    log = of.week.mean + np.einsum("k,kt->t", mean, smooth)
    return ExpectedWeek(log.round(4), locations=of.week.locations, timezone=of.week.timezone)


def fit_private_amplitude(
    log: Floats, live: float, law: Amplitude, number: int, noise_multiplier: float, secret: Secret
) -> Amplitude:
    """How far the network's cells depart from its mean week: the public law, moved by one noisy mean.

    log: (cells,) log amplitudes of its live cells, each within MOST_AMPLITUDE of the public mean: removing a cell
    changes the sum that is released by at most 1. live: about how many there are. number: of the network.
    """
    vectors = ((log - law.mean) / MOST_AMPLITUDE)[:, None]
    released = noisy_sum(vectors, noise_multiplier, secret.normal("amplitude", number, 1))[0]
    moved = shrunk(MOST_AMPLITUDE * released / live, MOST_AMPLITUDE * noise_multiplier / live, 0.0, APART)
    return replace(law, centre=round(law.centre + moved, 4), mean=round(law.mean + moved, 4))
