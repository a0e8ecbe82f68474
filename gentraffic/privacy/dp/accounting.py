"""Differential privacy: what is spent on what, how much noise that takes, and where the noise comes from.

The unit is a cell with all its days. Two data sets are neighbours when one of them lacks the traffic of one cell that
the other has (add or remove one); the list of cells, their positions and their POIs are public. A mechanism of
sensitivity 1 that adds normal noise of standard deviation sigma, and looks at every cell with probability q, is a
Poisson-subsampled Gaussian (Abadi et al. 2016); Opacus' PRV accountant (Gopi et al. 2021) composes several of them
and gives an upper bound of epsilon.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from gentraffic.errors import WrongUse
from gentraffic.modelling.features import Floats

UNIT = "a cell with all its days; users: not guaranteed"
ADJACENCY = "add or remove the traffic of one cell; the list of cells, their positions and POIs are public"
FEWEST_CELLS = 50  # listed; below this no epsilon that means anything leaves anything to learn
SECRET_BYTES = 32
EPSILON_ERROR = 0.01  # of the accountant's grid; the figure that it gives is an upper bound all the same
HIGHEST_SIGMA = 1e4
MOST_EPSILON = 50.0  # beyond, the promise is empty
WEAK_EPSILON = 10.0  # beyond, what it means is said in words


@dataclass(frozen=True)
class Mechanism:
    """One Gaussian mechanism: `steps` releases, each of a sum over cells that are in it with probability sample_rate.

    noise_multiplier: standard deviation of the noise / L2 sensitivity of the sum.
    """

    name: str
    noise_multiplier: float
    sample_rate: float = 1.0
    steps: int = 1


@dataclass(frozen=True)
class Privacy:
    """What is promised and how it is spent.

    epsilon, delta: of everything that is released, together; epsilon inf = no noise, for comparison only. clip: L2 norm
    that no cell's gradient exceeds. statistics: share of epsilon that levels, mean week and scaler alone would spend.
    level_range: mean traffic per cell and step, in the file's unit, between which all cells are known to lie.
    """

    epsilon: float
    delta: float
    clip: float = 0.5
    statistics: float = 0.85
    level_range: tuple[float, float] = (1e-6, 1e15)


def check_privacy(privacy: Privacy, cells: int) -> None:
    """Raise WrongUse for figures that promise nothing. cells: how many are listed."""
    if not 0 < privacy.epsilon <= MOST_EPSILON and not np.isinf(privacy.epsilon):
        raise WrongUse(
            f"--dp-epsilon {privacy.epsilon:g}: give a number above 0 and at most {MOST_EPSILON:g}, such as 8"
        )
    if cells < FEWEST_CELLS:
        raise WrongUse(f"{cells} cells are too few for --dp-epsilon: give {FEWEST_CELLS} or more, or do not publish")
    if not 0 < privacy.delta < 1 / cells:
        raise WrongUse(
            f"--dp-delta {privacy.delta:g}: with {cells} cells give a number above 0 and below 1 / {cells} = "
            f"{1 / cells:.2g}, or one cell could be published whole"
        )
    if not privacy.clip > 0:
        raise WrongUse(f"--dp-clip {privacy.clip:g}: give a number above 0")
    low, high = privacy.level_range
    if not 0 < low < high:
        raise WrongUse(f"--dp-level-range {low:g} {high:g}: give two numbers above 0, the lower one first")


def weakness(epsilon: float) -> str:
    """What an epsilon above WEAK_EPSILON means, in words; "" for a smaller one."""
    if not epsilon > WEAK_EPSILON:
        return ""
    return (
        f"epsilon {epsilon:.3g} is weak: an attacker's odds that a cell is in the data may grow by e^{epsilon:.3g} = "
        f"{np.exp(epsilon):.2g} times, so that almost any suspicion may become certainty; give 8 or less"
    )


def epsilon_of(mechanisms: Sequence[Mechanism], delta: float) -> float:
    """The epsilon of all mechanisms together at delta: the PRV accountant's upper bound; inf without noise."""
    try:
        from opacus.accountants import PRVAccountant
    except ImportError as error:
        raise WrongUse("--dp-epsilon needs the package opacus: pip install 'gentraffic[privacy]'") from error

    if any(m.noise_multiplier <= 0 for m in mechanisms):
        return float("inf")
    accountant = PRVAccountant()
    accountant.history = [(m.noise_multiplier, m.sample_rate, m.steps) for m in mechanisms]
    with np.errstate(divide="ignore"), warnings.catch_warnings():  # log(1 - q) where every cell is looked at
        warnings.filterwarnings("ignore", message="Optimal order")  # of the bound that chooses the grid
        return float(accountant.get_epsilon(delta, eps_error=EPSILON_ERROR))


@lru_cache(maxsize=16)
def noise_for(
    privacy: Privacy, *, sample_rate: float, steps: int, needs_range: bool, weeks: tuple[str, ...] = ("rhythm",)
) -> tuple[Mechanism, ...]:
    """The mechanisms of a fit, with as little noise as the promise allows: [range,] statistics, those of
    weeks[, training].

    weeks: what is released of the weeks of a network: its rhythm, its amplitude.
    Without steps there is no training, and the statistics have the whole of epsilon.
    Raises WrongUse where even the largest noise would not keep the promise.
    """
    if np.isinf(privacy.epsilon):
        first = [Mechanism("range", 0.0)] if needs_range else []
        last = [Mechanism("training", 0.0, sample_rate, steps)] if steps else []
        week = [Mechanism(name, 0.0) for name in weeks]
        return (*first, Mechanism("statistics", 0.0), *week, *last)

    def once(sigma: float) -> tuple[Mechanism, ...]:
        # range and weeks get a quarter and a ninth of what the statistics spend (zCDP): few bins, few smooth weeks
        first = [Mechanism("range", 2 * sigma)] if needs_range else []
        last = [Mechanism(name, 3 * sigma) for name in weeks]
        return (*first, Mechanism("statistics", sigma), *last)

    def whole(sigma: float) -> tuple[Mechanism, ...]:
        return (*once(statistics), Mechanism("training", sigma, sample_rate, steps))

    share = privacy.statistics if steps else 1.0
    statistics = _least_sigma(lambda s: epsilon_of(once(s), privacy.delta), share * privacy.epsilon)
    if not steps:
        return once(statistics)
    return whole(_least_sigma(lambda s: epsilon_of(whole(s), privacy.delta), privacy.epsilon))


class Secret:
    """Noise that nobody else can compute: SHAKE-256 over a secret, a purpose and a step, as normal draws.

    Whoever knows the seed of the noise can subtract it, so the seed comes from the system and is kept with the
    checkpoint alone. The same (purpose, step) gives the same noise, so that a run that was killed goes on as it began.
    """

    def __init__(self, seed: bytes) -> None:
        self.seed = seed

    @classmethod
    def fresh(cls) -> Secret:
        """A secret that nobody has chosen."""
        return cls(os.urandom(SECRET_BYTES))

    def uniform(self, purpose: str, step: int, count: int) -> Floats:
        """`count` uniform draws in (0, 1), 52 bits each."""
        stream = hashlib.shake_256(self.seed + f"|{purpose}|{step}".encode()).digest(8 * count)
        whole = (np.frombuffer(stream, dtype="<u8") >> np.uint64(12)).astype(np.float64)
        out: Floats = (whole + 0.5) / 2.0**52
        return out

    def normal(self, purpose: str, step: int, count: int) -> Floats:
        """`count` standard normal draws.

        Each is the sum of four, halved: the gaps between the floats that one draw can take would tell about the sum
        that it hides (Mironov 2012; Holohan and Braghin 2021, whose remedy Opacus takes in its secure mode as well).
        """
        from scipy.special import ndtri

        four = np.asarray(ndtri(self.uniform(purpose, step, 4 * count)), dtype=np.float64).reshape(4, count)
        out: Floats = four.sum(axis=0) / 2
        return out


def _least_sigma(epsilon: Callable[[float], float], target: float) -> float:
    """The least noise multiplier, to two thousandths, whose epsilon is at most the target."""
    from scipy.optimize import brentq

    low = high = 2.0
    while epsilon(high) > target:
        low, high = high, 2 * high
        if high > HIGHEST_SIGMA:
            raise WrongUse(f"no noise gives epsilon {target:g}: give a larger --dp-epsilon, or fewer --steps")
    while epsilon(low) <= target:  # downwards by halves: where the noise is far too small, the accountant takes long
        low, high = low / 2, low
    sigma = float(
        np.exp(brentq(lambda log: np.log(epsilon(np.exp(log)) / target), np.log(low), np.log(high), xtol=5e-4))
    )
    while epsilon(sigma) > target:
        sigma *= 1.001
    return sigma
