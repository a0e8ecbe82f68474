"""Members that cover a distribution evenly: each is distributed as before, and together they err less."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kstest, norm

from gentraffic.modelling.even_members import GROUP, PAIRS, drawn_together, spread_members, spread_pairs

CELLS = 4000


def fields(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((PAIRS + 1, CELLS))


def test_the_control_is_alone_and_pairs_follow_in_groups() -> None:
    first, second = drawn_together(PAIRS)[0], drawn_together(PAIRS + 1)[0]
    assert [drawn_together(pair)[1] for pair in (1, PAIRS, PAIRS + 1)] == [0, PAIRS - 1, 0]
    assert first[:PAIRS] == list(range(1, PAIRS + 1)) == drawn_together(1)[0][:PAIRS]
    assert second[0] == PAIRS + 1
    assert not set(first) & set(second)
    assert len(first) == len(set(first)) == PAIRS + 1


@pytest.mark.parametrize(("spread", "parts"), [(spread_pairs, PAIRS), (spread_members, GROUP)])
def test_every_part_of_the_distribution_has_one_member(spread, parts: int) -> None:  # type: ignore[no-untyped-def]
    drawn = spread(fields())
    both = drawn if parts == PAIRS else np.concatenate([drawn, -drawn])
    part = np.floor(norm.cdf(both) * parts).astype(int)
    assert (np.sort(part, axis=0) == np.arange(parts)[:, None]).all()


@pytest.mark.parametrize("spread", [spread_pairs, spread_members])
def test_each_member_is_standard_normal(spread) -> None:  # type: ignore[no-untyped-def]
    drawn = spread(fields(1))
    assert min(kstest(member, "norm").pvalue for member in drawn) > 0.001


@pytest.mark.parametrize("spread", [spread_pairs, spread_members])
def test_cells_keep_most_of_what_they_share(spread) -> None:  # type: ignore[no-untyped-def]
    one, other = np.random.default_rng(4).standard_normal((2, PAIRS + 1, CELLS))
    like = 0.8 * one + 0.6 * other
    correlation = np.corrcoef(spread(one)[0], spread(like)[0])[0, 1]
    assert 0.8 * 0.85 < correlation < 0.8 * 1.05


def test_the_mean_of_few_members_errs_less_than_that_of_independent_ones() -> None:
    drawn = fields(5)
    assert spread_pairs(drawn).mean(axis=0).std() < 0.55 * drawn[:PAIRS].mean(axis=0).std()
    squares = [(values**2).mean(axis=0).std() for values in (spread_members(drawn), drawn[:PAIRS])]
    assert squares[0] < 0.6 * squares[1]
