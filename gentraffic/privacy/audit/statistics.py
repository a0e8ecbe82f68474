"""The statistics of a privacy audit: how well scores tell members from non-members, and what chance alone would do.

Everywhere a higher score means "more likely a member". `groups` names what was drawn together, such as the cells of one
location: groups, not cells, are then what is independent. Without groups every cell stands for itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FALSE_ALARMS = (0.1, 0.01, 0.001)  # false-positive rates at which true-positive rates are told (Carlini et al. 2022)
FEWEST_FOR_RATES, FEW_FOR_RATES = 1_000, 10_000  # non-members: below the first refused, below the second warned
FISHER_RATE, FISHER_FEWEST = 0.01, 5  # the threshold lets this share of the first half pass, and at least so many
SHUFFLES = 1_999  # permutations of a test that has no closed form
SHUFFLED_AT_ONCE = 250
LEVEL = 0.03  # of the whole audit: false alarms of five in a hundred are promised, and tests are not all exact
PROMISED = 0.05


@dataclass(frozen=True)
class Auc:
    """Area under the ROC curve with its 95% interval, and the one-sided p-value of "no better than chance"."""

    value: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class Rate:
    """Share of members found where `at` of the non-members raise a false alarm, with its 95% interval."""

    at: float
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Fisher:
    """A threshold from one half of the hold-out, judged on the other: counts found, and the one-sided p-value."""

    threshold: float
    members_found: int
    members: int
    others_found: int
    others: int
    p: float


@dataclass(frozen=True)
class Attack:
    """What one membership attack achieved. rates: empty, with a `refused` reason, where non-members are too few."""

    name: str
    about: str
    members: int
    others: int
    auc: Auc
    rates: tuple[Rate, ...]
    refused: str
    warned: str
    fisher: Fisher
    member_scores: Floats
    other_scores: Floats

    @property
    def p_values(self) -> dict[str, float]:
        """The tests that go into the verdict: name -> p."""
        return {f"{self.name}, AUC": self.auc.p, f"{self.name}, threshold": self.fisher.p}


def judge(
    name: str,
    about: str,
    members: Floats,
    others: Floats,
    rng: np.random.Generator,
    groups: tuple[NDArray[Any], NDArray[Any]] | None = None,
) -> Attack:
    """Every statistic of one attack: scores of members (n,) and of non-members.

    others: (m,). groups: (n,) and (m,), the group of each member and of each other.
    """
    refused = warned = ""
    if len(others) < FEWEST_FOR_RATES:
        refused = f"{len(others):,} non-members: rates need {FEWEST_FOR_RATES:,} or more"
    elif len(others) < FEW_FOR_RATES:
        warned = f"0.1% of {len(others):,} non-members are {len(others) // 1000}: rates at 0.1% need {FEW_FOR_RATES:,}"
    rates = () if refused else tuple(rate_at(members, others, at) for at in FALSE_ALARMS)
    return Attack(
        name, about, len(members), len(others), auc_of(members, others, groups, rng), rates, refused, warned,
        threshold_test(members, others, rng, groups), members, others,
    )  # fmt: skip


def auc_of(
    members: Floats,
    others: Floats,
    groups: tuple[NDArray[Any], NDArray[Any]] | None = None,
    rng: np.random.Generator | None = None,
) -> Auc:
    """The probability that a member scores above a non-member, ties counted half.

    Interval: DeLong, DeLong and Clarke-Pearson (1988), on the logit scale; with groups Obuchowski (1997), of which
    DeLong's is the case of groups of one. At 0 or 1, where their variance is nil, the rule of three of the smaller side
    (1 - 0.05^(1/n)). p: Mann-Whitney with its correction for ties; with groups, a permutation of whole groups.
    members: (n,) scores. others: (m,) scores of non-members. groups: (n,) of the members, and (m,) of the others.
    """
    from scipy.stats import mannwhitneyu, norm, rankdata

    n, m = len(members), len(others)
    both = np.concatenate([members, others])
    rank = rankdata(both)
    placed = (rank[:n] - rankdata(members)) / m  # V10: share of non-members below each member
    passed = 1 - (rank[n:] - rankdata(others)) / n  # V01: share of members above each non-member
    value = float(placed.mean())
    if groups is None:
        variance = placed.var(ddof=1) / n + passed.var(ddof=1) / m if min(n, m) > 1 else np.inf
        p = float(mannwhitneyu(members, others, alternative="greater").pvalue)
    else:
        variance = _clustered(placed - value, passed - value, *groups)
        is_member = np.arange(n + m) < n
        p = permutation_p(rank, is_member, np.concatenate(groups), rng or np.random.default_rng(0))
    few = min(n, m) if groups is None else min(len(np.unique(g)) for g in groups)
    if variance <= 0 or value in (0.0, 1.0):
        reach = 1 - 0.05 ** (1 / few)
        return Auc(value, max(0.0, value - reach), min(1.0, value + reach), p)
    logit = np.log(value / (1 - value))
    spread = norm.ppf(0.975) * np.sqrt(variance) / (value * (1 - value))
    low, high = 1 / (1 + np.exp(-(logit + np.array([-spread, spread]))))
    return Auc(value, float(low), float(high), p)


def _clustered(placed: Floats, passed: Floats, a: NDArray[Any], b: NDArray[Any]) -> float:
    """Obuchowski (1997), eq. 4-8: the variance of an AUC over clusters, from centred V10 and V01."""
    n, m = len(placed), len(passed)
    names, where = np.unique(np.concatenate([a, b]), return_inverse=True)
    first = np.bincount(where[:n], placed, len(names))
    second = np.bincount(where[n:], passed, len(names))
    with_a, with_b = len(np.unique(a)), len(np.unique(b))
    if min(with_a, with_b) < 2:
        return float("inf")
    s10 = with_a / ((with_a - 1) * n) * (first**2).sum()
    s01 = with_b / ((with_b - 1) * m) * (second**2).sum()
    s11 = len(names) / (len(names) - 1) * (first * second).sum()
    return float(s10 / n + s01 / m + 2 * s11 / (n * m))


def rate_at(members: Floats, others: Floats, at: float) -> Rate:
    """Share of members above the lowest threshold that no more than `at` of the non-members pass.

    Interval: Clopper and Pearson (1934), the threshold taken as known.
    members: (n,) scores. others: (m,) scores of non-members.
    """
    from scipy.stats import beta

    passing = int(np.floor(at * len(others) + 1e-9))
    threshold = np.sort(others)[::-1][passing]  # strictly above it lie `passing` non-members at most
    flagged, n = int((members > threshold).sum()), len(members)
    low = 0.0 if flagged == 0 else float(beta.ppf(0.025, flagged, n - flagged + 1))
    high = 1.0 if flagged == n else float(beta.ppf(0.975, flagged + 1, n - flagged))
    return Rate(at, flagged / n, low, high)


def threshold_test(
    members: Floats,
    others: Floats,
    rng: np.random.Generator,
    groups: tuple[NDArray[Any], NDArray[Any]] | None = None,
) -> Fisher:
    """Set a threshold on one half of the non-members; are members above it more often than the other half?

    The threshold is the score that FISHER_RATE of the first half reach, at least FISHER_FEWEST of them. p: Fisher's
    exact test, one-sided; with groups (whose halves are of whole groups), a permutation of whole groups.
    members: (n,) scores. others: (m,) scores of non-members. groups: (n,) of the members, and (m,) of the others.
    """
    from scipy.stats import fisher_exact

    first, second = halves(len(others), rng, None if groups is None else groups[1])
    reach = min(len(first), max(FISHER_FEWEST, round(FISHER_RATE * len(first))))
    threshold = float(np.sort(others[first])[-reach])
    flagged, false = members >= threshold, others[second] >= threshold
    if groups is None:
        table = [[flagged.sum(), (~flagged).sum()], [false.sum(), (~false).sum()]]
        p = float(fisher_exact(table, alternative="greater").pvalue)
    else:
        flags = np.concatenate([flagged, false]).astype(np.float64)
        names = np.concatenate([groups[0], groups[1][second]])
        p = permutation_p(flags, np.arange(len(flags)) < len(flagged), names, rng)
    return Fisher(threshold, int(flagged.sum()), len(flagged), int(false.sum()), len(false), p)


def halves(
    n: int, rng: np.random.Generator, groups: NDArray[Any] | None = None
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Two random halves of n positions, of whole groups where there are groups. groups: (n,) the group of each."""
    if groups is None:
        order = rng.permutation(n)
        return np.sort(order[: n // 2]), np.sort(order[n // 2 :])
    names = rng.permutation(np.unique(groups))
    inside = np.isin(groups, names[: len(names) // 2])
    return np.flatnonzero(inside), np.flatnonzero(~inside)


def permutation_p(values: Floats, member: NDArray[np.bool_], groups: NDArray[Any], rng: np.random.Generator) -> float:
    """One-sided p of "the members' mean is above the others'", whole groups changing sides.

    values, member, groups: (n,). A group counts as members by its larger part. (1 + shuffles at least as extreme) /
    (1 + SHUFFLES), which is valid however few groups there are (Phipson and Smyth 2010).
    """
    names, where = np.unique(groups, return_inverse=True)
    size = np.bincount(where).astype(np.float64)
    total = np.bincount(where, values).astype(np.float64)
    side = np.bincount(where, member) > size / 2
    sums = np.empty((1 + SHUFFLES, 2))  # of sizes and of values on the members' side, as it is and shuffled
    each = np.stack([size, total], axis=1)
    sums[0] = each[side].sum(axis=0)
    alike = (size == size[0]).all()
    if alike:
        sums[1:] = sums[0, 0], 0.0
        sums[1:, 1] = subset_sums(total, int(side.sum()), rng)
    for at in range(1, 1 + SHUFFLES, SHUFFLED_AT_ONCE) if not alike else ():
        some = min(SHUFFLED_AT_ONCE, 1 + SHUFFLES - at)
        sums[at : at + some] = rng.permuted(np.tile(side, (some, 1)), axis=1).astype(np.float64) @ each
    with np.errstate(invalid="ignore", divide="ignore"):
        apart = sums[:, 1] / sums[:, 0] - (total.sum() - sums[:, 1]) / (size.sum() - sums[:, 0])
    apart = np.nan_to_num(apart, nan=-np.inf)
    return float((apart >= apart[0] - 1e-12 * max(1.0, np.abs(total).max())).mean()) if len(names) > 1 else 1.0


def subset_sums(values: Floats, count: int, rng: np.random.Generator) -> Floats:
    """The sums of SHUFFLES random subsets of `count` of the values (n,): (SHUFFLES,).

    One value after the other is in or out, in with the share of the places that are left: what is 0 need not be asked.
    """
    some = values[values != 0]
    left, out = np.full(SHUFFLES, count), np.zeros(SHUFFLES)
    for number, value in enumerate(some.tolist()):
        inside = rng.random(SHUFFLES) * (len(values) - number) < left
        left -= inside
        out += value * inside
    return out


def share_test(
    weights: Floats, member: NDArray[np.bool_], groups: NDArray[Any] | None, rng: np.random.Generator
) -> float:
    """One-sided p of "members hold more of the weight than a random half would": weights, member (n,), halves.

    A permutation, exact also where a few hold most of the weight; the normal law would not be. Without groups (n,) each
    of the n stands for itself.
    """
    return permutation_p(weights, member, np.arange(len(weights)) if groups is None else groups, rng)


def significant(p_values: Mapping[str, float], level: float = LEVEL) -> list[str]:
    """The tests that stand after Bonferroni's correction: the chance that any of them stands by chance is <= level."""
    return [name for name, p in p_values.items() if p <= level / len(p_values)]
