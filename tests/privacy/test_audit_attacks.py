"""Attacks from samples against libraries and by hand: distances, densities, shares, and what several weeks mean."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.stats import gaussian_kde

from gentraffic.privacy.audit import attacks as a
from gentraffic.privacy.audit.records import Records


def records(log: np.ndarray, cell: list[int] | None = None, groups: np.ndarray | None = None) -> Records:
    n = len(log)
    cells = np.arange(n) if cell is None else np.array(cell)
    zero = np.zeros(n, dtype=np.intp)
    log = log.astype(np.float32)
    return Records(np.exp(log), log, cells, np.unique(cells).astype(str), zero, zero, groups)


def normal(n: int, seed: int, steps: int = 48) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, steps)).astype(np.float32)


def test_distances_are_those_of_scipy_and_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    real, drawn = records(normal(30, 0)), records(normal(50, 1))
    wanted = cdist(drawn.log, real.log, "sqeuclidean") / 48
    np.testing.assert_allclose(a.squared_distances(drawn.log, real.log), wanted, rtol=1e-10)
    for size in (a.AT_ONCE, 64):
        monkeypatch.setattr(a, "AT_ONCE", size)
        least, where, value = a.nearest_squared(real, drawn)
        np.testing.assert_allclose(least, wanted.min(0))
        np.testing.assert_array_equal(where, wanted.argmin(1))
        np.testing.assert_allclose(value, wanted.min(1))


def test_a_cell_is_as_near_as_the_nearest_of_its_weeks() -> None:
    log = normal(6, 2)
    train = records(log, [0, 0, 1, 1, 2, 2])
    drawn = records(log[[3]] + np.float32(0.5))
    found = a.nearest_attack(train, records(normal(12, 3)), drawn, np.random.default_rng(0))
    assert found.members == 3
    assert found.member_scores[1] == pytest.approx(-0.5, abs=1e-5)
    assert found.member_scores[0] == pytest.approx(-np.sqrt(cdist(drawn.log, log[:2], "sqeuclidean").min() / 48))
    assert a.per_cell(np.arange(6.0), train, most=True).tolist() == [1, 3, 5]


def test_densities_are_those_of_scipy(monkeypatch: pytest.MonkeyPatch) -> None:
    points, at = normal(80, 4, 3).astype(float), normal(20, 5, 3).astype(float)
    points = (points - points.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(points.T))).T  # unit covariance
    np.testing.assert_allclose(a.log_density(at, points), gaussian_kde(points.T).logpdf(at.T), rtol=1e-9)
    whole = a.log_density(at, points)
    monkeypatch.setattr(a, "AT_ONCE", 100)
    np.testing.assert_allclose(a.log_density(at, points), whole)


def test_the_density_ratio_sees_where_records_crowd_about_members() -> None:
    """Records drawn about the members: their density is high there; the hold-out is of the whole population."""
    rng = np.random.default_rng(6)
    every = rng.normal(size=(240, 5)) @ rng.normal(size=(5, 48)) * 2  # five dimensions, as traffic has few
    train, holdout = records(every[:120]), records(every[120:])
    near = records(np.repeat(every[:120], 3, axis=0) + rng.normal(0, 0.1, (360, 48)))
    found = a.density_attack(train, holdout, near, rng)
    assert (found.members, found.others) == (120, 60)  # half of the hold-out is the reference
    assert found.auc.low > 0.55
    strangers = records(rng.normal(size=(360, 5)) @ np.linalg.lstsq(np.eye(5), np.ones((5, 48)), rcond=None)[0])
    assert a.density_attack(train, holdout, strangers, rng).auc.p > 0.001


def test_the_closest_record_share_counts_ties_half_and_sizes_alike() -> None:
    log = normal(40, 7)
    train, holdout = records(log[:20]), records(log[20:])
    rng = np.random.default_rng(0)
    drawn = records(np.concatenate([log[:3], log[20:21], (log[5:6] + log[25:26]) / 2]))  # 3 there, 1 here, 1 between
    share, nearest = a.closest_share(train, holdout, drawn, rng)
    assert (share.value, share.records, share.cells, share.ties) == ((3 + 0.5) / 5, 5, 20, 1)
    assert nearest.train[:3] == pytest.approx(0, abs=1e-5)
    assert nearest.holdout[3] == pytest.approx(0, abs=1e-5)
    assert nearest.train[4] == pytest.approx(nearest.holdout[4])
    twice, _ = a.closest_share(records(normal(60, 8)), holdout, drawn, rng)
    assert twice.cells == 20
    # a training side three times as large would hold three quarters of the closest records by chance
    shares = [a.closest_share(records(normal(60, 10 + k)), records(normal(20, 40 + k)), records(normal(60, 70 + k)),
                              np.random.default_rng(k))[0] for k in range(30)]  # fmt: skip
    assert np.mean([s.value for s in shares]) == pytest.approx(0.5, abs=0.07)
    assert np.mean([s.p <= 0.1 for s in shares]) <= 0.25


def test_cells_can_be_taken_out_with_all_their_records() -> None:
    some = records(normal(6, 9), [0, 0, 1, 1, 2, 2], np.array(["x", "y", "z"])).only(np.array([0, 2]))
    assert some.cell.tolist() == [0, 0, 1, 1]
    assert some.ids.tolist() == ["0", "2"]
    assert some.groups is not None
    assert some.groups.tolist() == ["x", "z"]
    np.testing.assert_array_equal(some.log, normal(6, 9)[[0, 1, 4, 5]])
