"""The statistics of an audit against scikit-learn, closed forms, second implementations, and the rates they promise."""

import numpy as np
import pytest
from scipy.stats import beta, fisher_exact, ks_2samp, norm
from sklearn.metrics import roc_auc_score

from gentraffic.privacy.audit import statistics as s


def two_sides(n: int, m: int, apart: float, seed: int, digits: int = 9) -> tuple[s.Floats, s.Floats]:
    rng = np.random.default_rng(seed)
    return np.round(rng.normal(apart, 1, n), digits), np.round(rng.normal(0, 1, m), digits)


@pytest.mark.parametrize(("apart", "digits"), [(0.0, 9), (0.7, 9), (0.7, 0), (-1.0, 1)])
def test_auc_is_that_of_scikit_learn_and_its_variance_delongs_double_sum(apart: float, digits: int) -> None:
    a, b = two_sides(40, 60, apart, 3, digits)
    found = s.auc_of(a, b)
    assert found.value == pytest.approx(roc_auc_score([1] * 40 + [0] * 60, np.concatenate([a, b])))
    won = (a[:, None] > b[None]) + 0.5 * (a[:, None] == b[None])  # the kernel of the U-statistic
    variance = won.mean(1).var(ddof=1) / 40 + won.mean(0).var(ddof=1) / 60  # DeLong et al. 1988, eq. 6
    logit = np.log(found.value / (1 - found.value))
    reach = norm.ppf(0.975) * np.sqrt(variance) / (found.value * (1 - found.value))
    assert [found.low, found.high] == pytest.approx(list(1 / (1 + np.exp([-logit + reach, -logit - reach]))))
    alone = s.auc_of(a, b, (np.arange(40), np.arange(40, 100)), np.random.default_rng(0))
    assert (alone.value, alone.low, alone.high) == pytest.approx((found.value, found.low, found.high))
    assert alone.p == pytest.approx(found.p, abs=0.04)  # four standard errors of the shuffles


def test_the_interval_holds_the_true_auc_as_often_as_it_says_and_p_is_uniform() -> None:
    true = norm.cdf(0.5 / np.sqrt(2))
    found = [s.auc_of(*two_sides(60, 45, 0.5, seed)) for seed in range(600)]
    assert np.mean([f.low <= true <= f.high for f in found]) == pytest.approx(0.95, abs=0.025)
    p = [s.auc_of(*two_sides(60, 45, 0.0, seed)).p for seed in range(600)]
    assert np.mean(np.array(p) <= 0.1) == pytest.approx(0.1, abs=0.035)
    perfect = s.auc_of(np.arange(20.0) + 100, np.arange(50.0))
    assert (perfect.value, perfect.high) == (1.0, 1.0)
    assert perfect.low == pytest.approx(0.05 ** (1 / 20))


def test_cells_of_one_location_are_one_piece_of_evidence() -> None:
    """Eight cells a location, all alike: without groups half of all nulls would be called leaks."""
    naive, grouped, holds = [], [], []
    for seed in range(250):
        rng = np.random.default_rng(seed)
        place = np.repeat(np.arange(24), 8)
        score = rng.normal(size=24)[place] + 0.2 * rng.normal(size=192)
        member = place < 16
        groups = (place[member], place[~member])
        found = s.auc_of(score[member], score[~member], groups, rng)
        naive.append(s.auc_of(score[member], score[~member]).p <= 0.05)
        grouped.append(found.p <= 0.05)
        holds.append(found.low <= 0.5 <= found.high)
    assert np.mean(naive) > 0.2
    assert np.mean(grouped) <= 0.09
    assert np.mean(holds) > 0.88
    shifted = s.permutation_p(
        np.r_[np.ones(16), np.zeros(8)], np.arange(24) < 16, np.arange(24), np.random.default_rng(0)
    )
    assert shifted <= 2 / (1 + s.SHUFFLES)


def test_rates_by_hand() -> None:
    others = np.arange(1000.0)
    members = np.array([999.5, 998.5, 990.5, 900.5, 898.5, -1.0, -2.0, -3.0, -4.0, -5.0])
    assert [s.rate_at(members, others, at).value for at in (0.1, 0.01, 0.001, 0.0)] == [0.4, 0.3, 0.2, 0.1]
    rate = s.rate_at(members, others, 0.1)
    assert (rate.low, rate.high) == pytest.approx((beta.ppf(0.025, 4, 7), beta.ppf(0.975, 5, 6)))
    assert s.rate_at(np.zeros(9), np.zeros(1000), 0.1).value == 0.0  # a tie is no discovery


@pytest.mark.parametrize(
    ("others", "refused", "warned"), [(999, True, False), (1000, False, True), (10_000, False, False)]
)
def test_rates_are_refused_or_warned_of_where_non_members_are_few(others: int, refused: bool, warned: bool) -> None:
    a, b = two_sides(100, others, 0.0, 0)
    found = s.judge("x", "", a, b, np.random.default_rng(0))
    assert bool(found.refused) == refused == (not found.rates)
    assert bool(found.warned) == warned
    assert len(found.rates) == (0 if refused else 3)


def test_the_threshold_comes_from_one_half_and_fisher_judges_the_other() -> None:
    a, b = two_sides(300, 400, 1.0, 5)
    found = s.threshold_test(a, b, np.random.default_rng(1))
    first, second = s.halves(400, np.random.default_rng(1))
    assert sorted([*first, *second]) == list(range(400))
    assert found.threshold == np.sort(b[first])[-5]
    counts = [[int((a >= found.threshold).sum())], [int((b[second] >= found.threshold).sum())]]
    table = [[counts[0][0], 300 - counts[0][0]], [counts[1][0], 200 - counts[1][0]]]
    assert (found.members_found, found.others_found, found.others) == (counts[0][0], counts[1][0], 200)
    assert found.p == fisher_exact(table, alternative="greater").pvalue
    nulls = [s.threshold_test(*two_sides(100, 100, 0.0, k), np.random.default_rng(k)).p for k in range(400)]
    assert np.mean(np.array(nulls) <= 0.1) <= 0.12
    groups = np.repeat(np.arange(40), 10)
    first, second = s.halves(400, np.random.default_rng(2), groups)
    assert not set(groups[first]) & set(groups[second])


def test_the_share_of_weight_has_the_law_of_drawing_without_replacement() -> None:
    rng = np.random.default_rng(0)
    weights = rng.integers(0, 6, 80).astype(float)
    member = np.arange(80) < 40
    shuffled = np.array([weights[rng.permutation(80) < 40].sum() for _ in range(20_000)])
    p = s.share_test(weights, member, None, rng)
    assert p == pytest.approx((shuffled >= weights[member].sum()).mean(), abs=0.04)
    assert s.share_test(np.ones(80), member, None, rng) == 1.0
    hub = np.zeros(80)
    hub[0] = 500  # one training cell that is the closest of all records: no evidence, though the share is 100%
    assert s.share_test(hub, member, None, rng) > 0.1


def test_sums_of_subsets_are_those_of_shuffles() -> None:
    rng = np.random.default_rng(3)
    values = np.where(rng.random(60) < 0.5, 0.0, rng.exponential(1.0, 60))
    shuffled = np.array([values[rng.permutation(60)[:20]].sum() for _ in range(4000)])
    found = s.subset_sums(values, 20, rng)
    assert ks_2samp(found, shuffled).pvalue > 1e-3
    np.testing.assert_allclose(s.subset_sums(values, 60, rng), values.sum())  # all of them


def test_a_family_of_tests_keeps_its_level() -> None:
    assert s.significant({"a": 0.03 / 3, "b": 0.0101, "c": 0.9}) == ["a"]
    rng = np.random.default_rng(0)
    families = [s.significant(dict(enumerate(p))) for p in rng.random((4000, 6)).tolist()]  # type: ignore[arg-type]
    assert np.mean([bool(found) for found in families]) == pytest.approx(s.LEVEL, abs=0.01)
