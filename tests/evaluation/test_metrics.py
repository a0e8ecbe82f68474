"""Each metric against a hand-computed case, a slow second implementation, and a library's result where one exists."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.stats import spearmanr

from gentraffic.evaluation.intervals import LOOP_DRAWS, bootstrap_interval, interval, loop_draws, make_resample
from gentraffic.evaluation.metrics import summary as m

HOURS = np.arange(336)


def traffic(cells: int = 12, seed: int = 0, steps: int = 336) -> np.ndarray:
    """Daily curves with levels over two orders of magnitude; the last cell is dead."""
    rng = np.random.default_rng(seed)
    curve = 1.2 + np.sin((HOURS[:steps] % 24 - 9 + rng.normal(0, 1, (cells, 1))) * np.pi / 12)
    values = np.exp(rng.normal(0, 1.5, (cells, 1))) * curve * rng.gamma(20, 1 / 20, (cells, steps))
    values[-1] = 0.0
    return values.astype(np.float32)


def ensemble(real: np.ndarray, members: int = 20, seed: int = 1) -> np.ndarray:
    return real * np.random.default_rng(seed).gamma(5, 1 / 5, (members, *real.shape)).astype(np.float32)


REAL = traffic()
XY = np.stack([np.arange(12) % 4 * 250.0, np.arange(12) // 4 * 250.0], axis=1)

PAIRED: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "mae": m.mae,
    "rmse": m.rmse,
    "mae_minmax": m.mae_minmax,
    "rmse_minmax": m.rmse_minmax,
    "jsd_softmax24": m.jsd_softmax24,
    "jsd_hist": m.jsd_hist,
    "jsd_distance_week": m.jsd_distance_week,
    "level_logmae": m.level_logmae,
    "acf_error": m.acf_error,
    "spatial_acf_error": lambda a, b: m.spatial_acf_error(a, b, XY),
    "peak_hour_error": m.peak_hour_error,
    "mae_p9999": lambda a, b: m.mae_p9999(a, b, 7.0),
    "rmse_p9999": lambda a, b: m.rmse_p9999(a, b, 7.0),
}
ENSEMBLE = {"crps": m.crps, "crps_shape": m.crps_shape, "crps_level": m.crps_level}


@pytest.mark.parametrize("name", PAIRED)
def test_a_copy_of_the_truth_scores_zero(name: str) -> None:
    assert PAIRED[name](REAL, REAL.copy()) == pytest.approx(0.0, abs=1e-12)
    assert PAIRED[name](REAL, traffic(seed=9)) > 0


@pytest.mark.parametrize("name", ENSEMBLE)
def test_an_ensemble_of_copies_scores_zero(name: str) -> None:
    copies = np.repeat(REAL[None], 5, axis=0)
    assert ENSEMBLE[name](REAL, copies) == pytest.approx(0.0, abs=1e-9)
    assert ENSEMBLE[name](REAL, ensemble(traffic(seed=9))) > 0


@pytest.mark.parametrize("name", [*PAIRED, *ENSEMBLE, "coverage_90"])
def test_dead_cells_do_not_count(name: str) -> None:
    wrong = REAL.copy()
    wrong[-1] = 1e6  # the dead cell
    if name in PAIRED:
        assert PAIRED[name](REAL, wrong) == pytest.approx(0.0, abs=1e-12)
    else:
        score = m.coverage_90 if name == "coverage_90" else ENSEMBLE[name]
        members = ensemble(REAL)
        assert score(REAL, members + (wrong - REAL)) == pytest.approx(score(REAL, members), rel=1e-6)
    assert m.dead_cells(REAL) == 1


@pytest.mark.parametrize("name", ["mae", "rmse", "jsd_hist", "jsd_distance_week", "level_logmae", "acf_error"])
def test_symmetric_metrics(name: str) -> None:
    a, b = REAL[:-1], traffic(seed=5)[:-1] * 1.1
    tolerance = 1e-6
    if name == "jsd_hist":  # its unit is the real median: symmetric where both have the same, but for ends of bins
        b, tolerance = b * (np.median(a) / np.median(b)), 1e-2
    assert PAIRED[name](a, b) == pytest.approx(PAIRED[name](b, a), rel=tolerance)


def test_mae_rmse_by_hand() -> None:
    real, syn = np.array([[1.0, 3.0], [0.0, 0.0], [4.0, 0.0]]), np.array([[2.0, 5.0], [9.0, 9.0], [4.0, 4.0]])
    assert m.mae(real, syn) == pytest.approx((1 + 2 + 0 + 4) / 4)
    assert m.rmse(real, syn) == pytest.approx(np.sqrt((1 + 4 + 0 + 16) / 4))
    assert m.mae_p9999(real, syn, 10.0) == pytest.approx(0.175)
    assert m.mae_minmax(real, syn) == pytest.approx((0.5 + 1.0 + 0.0 + 1.0) / 4)
    assert m.rmse_minmax(real, syn) == pytest.approx(np.sqrt((0.25 + 1.0 + 0.0 + 1.0) / 4))


def test_constant_cells_have_no_minmax() -> None:
    real = np.array([[2.0, 2.0], [0.0, 4.0]])
    assert m.mae_minmax(real, real + 1) == pytest.approx(0.25)
    with pytest.raises(ValueError, match="constant"):
        m.mae_minmax(real[:1], real[:1])


def test_p9999_is_the_percentile() -> None:
    assert m.p9999(np.arange(100_001.0).reshape(1, -1)) == pytest.approx(99_990.0)


def test_jsd_softmax24_against_scipy_and_its_expansion() -> None:
    real, syn = traffic(seed=2)[:3], traffic(seed=3)[:3]
    low, high = real.min(axis=1, keepdims=True), real.max(axis=1, keepdims=True)
    a, b = ((v - low) / (high - low) for v in (real.astype(float), syn.astype(float)))
    expected = []
    for c in range(3):
        for d in range(14):
            p, q = (np.exp(v[c, d * 24 : d * 24 + 24]) for v in (a, b))
            expected.append(jensenshannon(p, q) ** 2 / 24)  # scipy normalises, natural log, returns the root
    assert m.jsd_softmax24(real, syn) == pytest.approx(np.mean(expected), rel=1e-9)

    error = np.random.default_rng(0).normal(0, 0.02, (400, 24))
    flat = np.tile(np.linspace(0.4, 0.6, 24), (400, 1))
    flat[:, 0], flat[:, 1] = 0.0, 1.0
    # softmax over nearly flat values: the within-day error variance / 192
    got = m.jsd_softmax24(flat, flat + error)
    assert got == pytest.approx(error.var(axis=1).mean() / 192, rel=0.1)


def test_jsd_softmax24_takes_local_days() -> None:
    real, syn = traffic(seed=2), traffic(seed=3)
    # the scale of every cell is set within the whole days
    real[:-1, 30], real[:-1, 40] = 0.5 * real[:-1].min(axis=1), 1.2 * real[:-1].max(axis=1)
    # seen from 05:00 on, the first whole local day begins 19 steps later, at step 24
    late = m.jsd_softmax24(real[:, 5:], syn[:, 5:], first_hour=5)
    assert late == pytest.approx(m.jsd_softmax24(real[:, 24:], syn[:, 24:]), rel=1e-9)
    assert late != pytest.approx(m.jsd_softmax24(real[:, 5:], syn[:, 5:]), rel=1e-3)
    with pytest.raises(ValueError, match="no whole day"):
        m.jsd_softmax24(real[:, :30], syn[:, :30], first_hour=7)


def slow_crps(real: np.ndarray, members: np.ndarray) -> float:
    n = len(members)
    pairs = sum(np.abs(members[i] - members[j]) for i in range(n) for j in range(n) if i != j)
    return float((np.abs(members - real).mean(axis=0) - pairs / (2 * n * (n - 1))).mean())


def test_crps_by_hand_and_by_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    # members 1, 4 and truth 2: mean error 1.5, half the mean pair distance 1.5
    assert m.crps(np.array([[2.0]]), np.array([[[1.0]], [[4.0]]])) == pytest.approx(0.0)
    assert m.crps(np.array([[6.0]]), np.array([[[1.0]], [[4.0]]])) == pytest.approx(3.5 - 1.5)
    members = ensemble(REAL, 7)
    live = REAL[:-1].astype(float)
    expected = slow_crps(live, members[:, :-1].astype(float))
    assert m.crps(REAL, members) == pytest.approx(expected, rel=1e-6)
    monkeypatch.setattr("gentraffic.evaluation.metrics.paired.CHUNK", 336 * 7 * 2)  # two cells at a time
    assert m.crps(REAL, members) == pytest.approx(expected, rel=1e-6)
    assert m.crps(REAL, members[:1]) == pytest.approx(m.mae(REAL, members[0]), rel=1e-6)


def test_crps_against_properscoring() -> None:
    properscoring = pytest.importorskip("properscoring")
    members = ensemble(REAL, 6)[:, :-1].astype(float)
    live = REAL[:-1].astype(float)
    biased = properscoring.crps_ensemble(live, members, axis=0).mean()  # pairs over m^2 instead of m (m - 1)
    pairs = np.abs(members[:, None] - members[None]).sum(axis=(0, 1)).mean()
    assert m.crps(live, members) == pytest.approx(biased + pairs / (2 * 36) - pairs / (2 * 30), rel=1e-9)


def test_fair_crps_does_not_depend_on_the_number_of_members() -> None:
    rng = np.random.default_rng(0)
    real = rng.normal(10, 1, (40, 2000))
    scores = [m.crps(real, rng.normal(10, 1, (n, 40, 2000))) for n in (2, 5, 20)]
    assert scores == pytest.approx([1 / np.sqrt(np.pi)] * 3, rel=0.02)  # the closed form for a normal truth


def test_crps_shape_ignores_levels_and_crps_level_ignores_shapes() -> None:
    members = ensemble(REAL, 6)
    level = np.random.default_rng(2).gamma(2.0, 1.0, (6, 12, 1)).astype(np.float32)
    assert m.crps_shape(REAL, members * level) == pytest.approx(m.crps_shape(REAL, members), rel=1e-5)
    assert m.crps(REAL, members * level) > 1.2 * m.crps(REAL, members)
    mixed = members[..., np.random.default_rng(3).permutation(336)]
    assert m.crps_level(REAL, mixed) == pytest.approx(m.crps_level(REAL, members), rel=1e-5)
    live = REAL[:-1].astype(float)
    own = members[:, :-1].astype(float)
    scaled = own * (live.mean(axis=1) / own.mean(axis=2))[..., None]
    assert m.crps_shape(REAL, members) == pytest.approx(slow_crps(live, scaled), rel=1e-6)
    assert m.crps_level(REAL, members) == pytest.approx(
        slow_crps(np.log(live.mean(axis=1)), np.log(own.mean(axis=2))), rel=1e-6
    )


def test_crps_level_of_a_silent_member_is_finite() -> None:
    members = ensemble(REAL, 3)
    members[1] = 0.0
    assert np.isfinite(m.crps_level(REAL, members))
    assert np.isfinite(m.crps_shape(REAL, members))


@pytest.mark.parametrize("members", [19, 20, 40])
def test_coverage_of_the_truths_own_ensemble_is_nominal(members: int) -> None:
    rng = np.random.default_rng(members)
    real, drawn = rng.gamma(2.0, 1.0, (50, 1000)), rng.gamma(2.0, 1.0, (members, 50, 1000))
    assert m.coverage_90(real, drawn) == pytest.approx(0.9, abs=0.005)
    assert m.coverage_50(real, drawn) == pytest.approx(0.5, abs=0.008)


def test_coverage_by_hand() -> None:
    members = np.arange(1.0, 20.0)[:, None, None] * np.ones((1, 1, 4))  # 1 .. 19: the ends of 90% are 1 and 19
    assert m.coverage_90(np.array([[1.0, 19.0, 0.99, 19.01]]), members) == 0.5
    assert m.coverage_50(np.array([[5.0, 15.0, 4.9, 10.0]]), members) == 0.75


def test_js_divergence_against_scipy() -> None:
    rng = np.random.default_rng(0)
    p, q = rng.integers(0, 9, 40), rng.integers(0, 9, 40)
    assert m.js_divergence(p, q) == pytest.approx(jensenshannon(p, q, base=2) ** 2)
    assert m.js_divergence(np.array([1, 0]), np.array([0, 5])) == 1.0


def test_jsd_hist_against_scipy_with_shared_bins() -> None:
    syn = traffic(seed=4) * 1.5
    a, b = REAL[:-1].astype(float), syn[:-1].astype(float)
    unit = np.median(a[a > 0])
    a, b = np.arcsinh(a / unit), np.arcsinh(b / unit)
    ends = np.linspace(min(a.min(), b.min()), max(a.max(), b.max()), 101)
    expected = jensenshannon(np.histogram(a, ends)[0], np.histogram(b, ends)[0], base=2) ** 2
    assert m.jsd_hist(REAL, syn) == pytest.approx(expected, abs=1e-3)  # float32 values on the ends of bins
    assert m.jsd_hist(REAL, np.stack([syn, syn])) == pytest.approx(m.jsd_hist(REAL, syn))


def test_jsd_hist_punishes_scale_and_jsd_distance_week_does_not() -> None:
    assert m.jsd_hist(REAL, REAL * 1000) > 0.9
    assert m.jsd_distance_week(REAL, REAL * 1000) == pytest.approx(0.0, abs=1e-3)


def test_jsd_distance_week_against_scipy() -> None:
    syn = traffic(seed=4)
    curves = [v[:-1].astype(float).mean(axis=0) for v in (REAL, syn)]
    p, q = (c - c.min() for c in curves)
    assert m.jsd_distance_week(REAL, syn) == pytest.approx(jensenshannon(p, q, base=2), rel=1e-5)


def test_levels_against_scipy_and_by_hand() -> None:
    syn = traffic(seed=4)
    expected = spearmanr(REAL[:-1].mean(axis=1), syn[:-1].mean(axis=1)).statistic
    assert m.level_spearman(REAL, syn) == pytest.approx(expected)
    assert m.level_spearman(REAL, REAL**3) > 0.9
    assert np.isnan(m.level_spearman(REAL[:1], REAL[:1]))
    real = np.array([[1.0], [2.0], [8.0]])
    assert m.level_logmae(real, np.array([[10.0], [20.0], [160.0]])) == pytest.approx(np.log(2) / 3)


def test_autocorrelation_against_a_plain_sum() -> None:
    x = REAL[0].astype(float)
    z = x - x.mean()
    expected = [sum(z[t] * z[t + k] for t in range(len(z) - k)) / sum(z * z) for k in (1, 24, 144)]
    np.testing.assert_allclose(m.autocorrelation(x[None], (1, 24, 144))[0], expected, rtol=1e-9)
    assert m.autocorrelation(np.full((1, 10), 3.0), (1, 2)).tolist() == [[0.0, 0.0]]


def test_autocorrelation_against_statsmodels() -> None:
    tools = pytest.importorskip("statsmodels.tsa.stattools")
    x = REAL[0].astype(float)
    np.testing.assert_allclose(m.autocorrelation(x[None], range(1, 25))[0], tools.acf(x, nlags=24)[1:], rtol=1e-9)


def test_acf_error_punishes_shuffled_time_and_a_constant() -> None:
    order = np.random.default_rng(0).permutation(336)
    assert m.acf_error(REAL, REAL[:, order]) > 0.3
    assert m.acf_error(REAL, np.ones_like(REAL)) > 0.3
    assert m.acf_error(REAL, np.stack([REAL, REAL])) == pytest.approx(0.0, abs=1e-12)
    finer = np.repeat(REAL, 2, axis=1)
    assert m.acf_error(finer, finer[:, np.random.default_rng(1).permutation(672)], per_hour=2) > 0.3


def slow_moran(z: np.ndarray, xy: np.ndarray, low: float, high: float) -> float:
    z = z - z.mean()
    n, top, weights = len(z), 0.0, 0
    for i in range(n):
        for j in range(n):
            if i != j and low < np.hypot(*(xy[i] - xy[j])) <= high:
                top, weights = top + z[i] * z[j], weights + 1
    return n / weights * top / (z**2).sum()


def test_moran_against_plain_sums() -> None:
    values = np.random.default_rng(0).gamma(2.0, 1.0, (12, 3))
    got = m.moran_by_distance(values, XY, (0.0, 300.0, 600.0, 5000.0))
    for k, (low, high) in enumerate([(0, 300), (300, 600), (600, 5000)]):
        assert got[k] == pytest.approx(np.mean([slow_moran(values[:, t], XY, low, high) for t in range(3)]), rel=1e-9)
    assert np.isnan(m.moran_by_distance(values, XY, (0.0, 100.0, 300.0))[0])


def test_moran_against_esda() -> None:
    esda, weights = pytest.importorskip("esda"), pytest.importorskip("libpysal.weights")
    values = np.random.default_rng(0).gamma(2.0, 1.0, (12, 3))
    graph = weights.DistanceBand(XY, 300.0, binary=True, silence_warnings=True)
    other = [esda.Moran(values[:, t], graph, transformation="B", permutations=0).I for t in range(3)]
    assert m.moran_by_distance(values, XY, (0.0, 300.0))[0] == pytest.approx(np.mean(other), rel=1e-9)


def test_spatial_acf_error_punishes_shuffled_places() -> None:
    grid = np.stack(np.meshgrid(np.arange(10) * 250.0, np.arange(10) * 250.0), axis=-1).reshape(-1, 2)
    smooth = (2 + np.sin(grid[:, :1] / 700) + np.cos(grid[:, 1:] / 700)) * np.ones((1, 5))
    order = np.random.default_rng(0).permutation(100)
    assert m.spatial_acf_error(smooth, smooth[order], grid) > 0.2
    assert m.spatial_acf_error(smooth, 3 * smooth + 1, grid) == pytest.approx(0.0, abs=1e-9)
    with pytest.raises(ValueError, match="no two"):
        m.spatial_acf_error(smooth, smooth, grid * 1000)


def test_peak_hour_error_goes_round_the_clock() -> None:
    day = np.zeros((3, 24))
    day[0, 23] = day[1, 10] = day[2, 0] = 1.0
    other = np.roll(day, 3, axis=1)  # 23 -> 2
    assert m.peak_hour_error(np.tile(day, 2), np.tile(other, 2)) == 3.0
    assert m.peak_hour_error(np.tile(day, 2), np.tile(np.roll(day, 13, axis=1), 2)) == 11.0


def test_tail_ratios() -> None:
    assert m.tail_ratio_99(REAL, 2 * REAL) == pytest.approx(2.0)
    clipped = np.minimum(REAL, np.quantile(REAL[:-1], 0.99))
    assert m.tail_ratio_999(REAL, clipped) < 0.95
    assert m.tail_ratio_99(REAL, np.stack([REAL, REAL])) == pytest.approx(1.0, rel=1e-3)


def test_diversity_by_hand() -> None:
    weeks = np.array([[[1.0, 1.0]], [[3.0, 3.0]]])  # two weeks at distance 2
    members = np.array([[[0.0, 0.0]], [[1.0, 1.0]], [[4.0, 4.0]]])  # distances 1, 4, 3
    assert m.diversity(members, weeks) == pytest.approx((1 + 4 + 3) / 3 / 2)
    assert m.diversity(np.repeat(members[:1], 4, axis=0), weeks) == 0.0
    with pytest.raises(ValueError, match="at least two"):
        m.diversity(members[:1], weeks)


def test_r2_against_scikit_learn() -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    syn = REAL + traffic(seed=3) * 0.1
    assert m.r2(REAL, syn) == pytest.approx(sklearn.r2_score(REAL.ravel(), syn.ravel()), abs=1e-6)
    with pytest.raises(ValueError, match="equal"):
        m.r2(np.ones(3), np.ones(3))


def frames() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    real = rng.gamma(2.0, 1.0, (3, 11, 11))
    got = real + rng.normal(0, 0.5, real.shape)
    return real, got


def test_ssim_by_hand() -> None:
    real, got = frames()
    assert m.ssim(real, real.copy()) == pytest.approx(1.0)
    one = real[:1, :7, :7], got[:1, :7, :7]  # one window, one place
    reach = one[0].max() - one[0].min()
    cov = np.cov(one[0].ravel(), one[1].ravel())
    c1, c2, a, b = (0.01 * reach) ** 2, (0.03 * reach) ** 2, one[0].mean(), one[1].mean()
    by_hand = (2 * a * b + c1) * (2 * cov[0, 1] + c2) / ((a * a + b * b + c1) * (cov[0, 0] + cov[1, 1] + c2))
    assert m.ssim(*one) == pytest.approx(by_hand, rel=1e-9)


def test_ssim_against_scikit_image() -> None:
    real, got = frames()
    skimage = pytest.importorskip("skimage.metrics")
    spread = real.max() - real.min()
    other = [skimage.structural_similarity(p, q, data_range=spread) for p, q in zip(real, got, strict=True)]
    assert m.ssim(real, got) == pytest.approx(np.mean(other), rel=1e-9)


def test_interval_covers_the_mean_and_respects_groups() -> None:
    rng = np.random.default_rng(0)
    inside = 0
    for k in range(200):
        place = rng.normal(0, 1, 40)
        values = np.repeat(place, 16) + rng.normal(0, 0.1, 640)
        low, high = bootstrap_interval(values, np.repeat(np.arange(40), 16), draws=300, seed=k)
        inside += low <= 0 <= high
    assert 180 <= inside <= 199  # nominal 190 of 200; by cells instead of places it would be near 76
    narrow = bootstrap_interval(values, draws=300)
    assert narrow[1] - narrow[0] < 0.5 * (high - low)
    assert np.isnan(bootstrap_interval(values, np.zeros(640, int))).all()


def test_interval_by_root_and_by_statistic() -> None:
    error = (np.random.default_rng(1).normal(0, 2, (50, 30))) ** 2
    low, high = np.sqrt(bootstrap_interval(error.mean(axis=1), draws=LOOP_DRAWS))
    assert low < np.sqrt(error.mean()) < high
    again = interval(loop_draws(lambda i: float(np.sqrt(error[i].mean())), make_resample(np.arange(50))))
    assert again == pytest.approx((low, high), rel=1e-3)  # the same draws; quantiles are taken before the root or after
    syn = traffic(seed=4)
    place = np.arange(12) // 3
    ends = interval(loop_draws(lambda i: m.level_logmae(REAL[i], syn[i]), make_resample(place)))
    assert ends is not None
    assert 0 < ends[0] < ends[1]


@pytest.mark.parametrize("score", [m.mae, m.jsd_hist, m.acf_error, m.jsd_distance_week, m.level_spearman])
def test_bad_arrays_are_refused(score: Callable[[np.ndarray, np.ndarray], float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        score(REAL, REAL[:5])
    with pytest.raises(ValueError, match="dead"):
        score(np.zeros_like(REAL), REAL)
    broken = REAL.copy()
    broken[0, 0] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        score(REAL, broken)


def test_ensemble_scores_refuse_one_series() -> None:
    for score in (m.crps, m.crps_shape, m.crps_level, m.coverage_90):
        with pytest.raises(ValueError, match="members"):
            score(REAL, REAL)


def test_one_cell_and_one_member_are_scored() -> None:
    one, drawn = REAL[:1], ensemble(REAL[:1], 1)
    assert m.crps(one, drawn) > 0
    assert m.coverage_90(one, drawn) < 0.1
    assert np.isfinite([m.mae(one, drawn[0]), m.jsd_hist(one, drawn), m.acf_error(one, drawn)]).all()


@pytest.mark.slow
def test_ten_thousand_cells_fit_in_memory() -> None:
    import time
    import tracemalloc

    real = np.random.default_rng(0).gamma(2.0, 1.0, (10_000, 168)).astype(np.float32)
    members = np.repeat(real[None], 20, axis=0)
    members *= np.linspace(0.5, 2.0, 20, dtype=np.float32)[:, None, None]
    tracemalloc.start()
    begin = time.perf_counter()
    for score in (m.crps, m.crps_shape, m.crps_level, m.coverage_90, m.jsd_hist, m.acf_error):
        score(real, members)
    assert tracemalloc.get_traced_memory()[1] < 400 * 2**20
    assert time.perf_counter() - begin < 90
    tracemalloc.stop()


def test_jsd_softmax24_of_values_far_outside_the_real_range() -> None:
    """A thousandfold error in scale is finite: one hour takes all of the softmax, 0 log 0 is 0."""
    real = np.random.default_rng(0).random((3, 48))
    assert 0 < m.jsd_softmax24(real, real * 1000) < np.log(2) / 24 + 1e-12
