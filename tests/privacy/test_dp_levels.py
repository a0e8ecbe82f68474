"""Levels from noisy sums: bounded whatever a cell does, equal to the Gaussian process without noise, honest with it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from bundle_examples import context

from gentraffic.errors import WrongUse
from gentraffic.modelling.features import Floats, read_places
from gentraffic.modelling.levels import LOCATION, NOISE, OWN, SHARED, SMOOTH, activity, rbf_kernel
from gentraffic.privacy.dp.accounting import Privacy, Secret
from gentraffic.privacy.dp.levels import (
    Features,
    PrivateLevels,
    Window,
    cell_vectors,
    fit_private_levels,
    noisy_sum,
    part_weights,
    spread_out,
    window_of,
)

PRIVACY = Privacy(8.0, 1e-4, level_range=(1.0, 1e4))
NO_NOISE = {"range": 0.0, "statistics": 0.0}


def network(cells: int = 144, name: str = "alpha", seed: int = 0, dead: int = 0) -> PrivateLevels:
    rng = np.random.default_rng(seed)
    places = read_places(context(cells, name, seed))
    log = 4 + places.counts.sum(axis=1) / 8 + rng.normal(0, 0.5, cells)
    level = np.exp(log)
    level[rng.permutation(cells)[:dead]] = 0.0
    logs = np.stack([rng.normal(-0.3, 0.05, cells), rng.normal(0.6, 0.05, cells)], axis=1)
    return PrivateLevels(name, places.counts, places.around, np.arange(cells), level, logs, np.zeros(cells), 0.0)


def features(of: PrivateLevels) -> Features:
    return Features(of.scale, np.concatenate([of.counts, of.around], axis=1))


@pytest.mark.parametrize("scaler", [False, True])
def test_no_cell_adds_more_than_one(scaler: bool) -> None:
    """Whatever a cell's traffic is: nothing, everything, not a number."""
    rng = np.random.default_rng(0)
    of = network()
    wild = replace(
        of,
        level=rng.choice([0.0, 1e-300, 1e-3, 1.0, 50.0, 1e9, 1e300, np.inf, np.nan], 144),
        logs=rng.choice([-1e9, -3.0, 0.0, 3.0, 1e9, np.inf, np.nan], (144, 2)),
    )
    vectors = cell_vectors(wild, features(of), Window(4.0, 3.0), scaler=scaler)
    norm = np.linalg.norm(vectors, axis=1)
    assert norm.max() <= 1 + 1e-12
    assert norm.max() > 0.9  # the bound is used, too
    assert (norm[~(wild.level > 0)] == 0).all()
    assert sum(w**2 for w in part_weights(scaler=scaler).values()) == pytest.approx(1.0)


def test_taking_a_cell_out_moves_the_sums_by_at_most_one() -> None:
    """Also where vectors come longer than they should: the mechanism clips by itself. Without, the same check fails."""
    rng = np.random.default_rng(1)
    vectors = rng.normal(0, 5, (30, 7))
    draws = rng.normal(size=7)

    def moved(of: Floats) -> float:
        whole = noisy_sum(of, 2.0, draws)
        return max(float(np.linalg.norm(whole - noisy_sum(np.delete(of, i, 0), 2.0, draws))) for i in range(30))

    assert moved(vectors) <= 1 + 1e-9
    unclipped = max(float(np.linalg.norm(v)) for v in vectors)
    assert unclipped > 1 + 1e-9


def test_the_noise_on_the_sums_is_sigma() -> None:
    secret = Secret(b"s")
    drawn = [noisy_sum(np.zeros((3, 500)), 2.5, secret.normal("statistics", i, 500)) for i in range(40)]
    assert np.std(drawn) == pytest.approx(2.5, rel=0.02)  # 20,000 draws: 0.5%
    assert abs(np.mean(drawn)) < 0.1


def test_without_noise_it_is_the_gaussian_process() -> None:
    """All cells live, each its own location, every one a landmark: the dense posterior with an unknown mean."""
    of = network(80)
    given = Window(float(np.log(PRIVACY.level_range).mean()), float(np.diff(np.log(PRIVACY.level_range))[0] / 2))
    wide = replace(PRIVACY, level_range=(np.exp(given.middle - 3.0), np.exp(given.middle + 3.0)))
    f = Features(of.scale, np.concatenate([of.counts, of.around], axis=1), landmarks=80)
    x = of.scale(np.concatenate([of.counts, of.around], axis=1))
    kernel = (SHARED + OWN) / 8 * x[:, :8] @ x[:, :8].T + SMOOTH * rbf_kernel(x, x)
    inner = f.listed[:, 1:] @ f.listed[:, 1:].T
    np.testing.assert_allclose(inner, kernel, atol=1e-6)  # the features' inner product is the prior
    found = _fit_with(f, of, wide)
    y = np.log(of.level) - given.middle
    dense = kernel + (3.0 / 2) ** 2 + (NOISE + LOCATION) * np.eye(80)
    expected = (kernel + (3.0 / 2) ** 2) @ np.linalg.solve(dense, y)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def _fit_with(f: Features, of: PrivateLevels, privacy: Privacy) -> Floats:
    """What the level model expects of each listed cell, over the window's middle, with given features."""
    import gentraffic.privacy.dp.levels as module

    f.most = float(np.linalg.norm(f.listed[:, 1:], axis=1).max())  # nothing is shortened
    f.short = f.listed
    original = module.Features
    module.Features = lambda *_: f  # type: ignore[assignment, misc]
    try:
        levels, *_ = fit_private_levels([of], privacy, NO_NOISE, Secret(b"s"), scaler=False)
    finally:
        module.Features = original  # type: ignore[misc]
    model = levels["alpha"]
    places = read_places(context(80, "alpha", 0))
    middle = np.log(privacy.level_range).mean()
    out: Floats = model.mean + model.centre(places) - middle
    return out


def test_noise_shrinks_what_it_hides_and_widens_what_is_drawn() -> None:
    of = network(400)
    quiet, *_ = fit_private_levels([of], PRIVACY, NO_NOISE, Secret(b"s"), scaler=False)
    loud, *_ = fit_private_levels([of], PRIVACY, {"range": 0.0, "statistics": 60.0}, Secret(b"s"), scaler=False)
    places = read_places(context(400, "alpha", 0))
    assert loud["alpha"].centre(places).std() < 0.7 * quiet["alpha"].centre(places).std()
    assert loud["alpha"].residual[90] > 1.2 * quiet["alpha"].residual[90]
    level = np.log(of.level)
    assert quiet["alpha"].mean + quiet["alpha"].centre(places).mean() == pytest.approx(level.mean(), abs=0.05)
    assert np.corrcoef(quiet["alpha"].centre(places), level)[0, 1] > 0.6


def test_the_public_law_costs_nothing_and_holds_under_any_noise() -> None:
    """Levels that follow the law are known where the noise hides all that the traffic says but its mean."""
    places = read_places(context(400, "alpha", 0))
    expected = activity(places)
    law = 1.5 * (expected - expected.mean())
    level = np.exp(6 + law + np.random.default_rng(0).normal(0, 0.1, 400))
    of = replace(network(400), level=level, activity=expected, law_weight=1.5)
    noise = {"range": 0.0, "statistics": 30.0}
    model = fit_private_levels([of], PRIVACY, noise, Secret(b"s"), scaler=False)[0]["alpha"]
    assert np.std(model.centre(places) - law) < 0.25 * law.std()
    exact = fit_private_levels([of], PRIVACY, NO_NOISE, Secret(b"s"), scaler=False)[0]["alpha"]
    np.testing.assert_allclose(exact.mean + exact.centre(places), np.log(level), atol=0.4)
    assert exact.mean_traffic == pytest.approx(level.mean(), rel=0.2)
    assert exact.spread == pytest.approx(np.log(level).std(), rel=0.2)
    without = replace(of, law_weight=0.0)
    blind = fit_private_levels([without], PRIVACY, noise, Secret(b"s"), scaler=False)[0]["alpha"]
    assert np.std(blind.centre(places) - law) > 2 * np.std(model.centre(places) - law)


def test_scaler_and_mean_traffic_are_those_of_the_cells() -> None:
    of = network(400, dead=40)
    levels, scaler, _ = fit_private_levels([of], PRIVACY, NO_NOISE, Secret(b"s"), scaler=True)
    live = of.level > 0
    assert scaler is not None
    assert scaler.mean == pytest.approx(of.logs[live, 0].mean(), abs=0.01)
    assert scaler.spread**2 + scaler.mean**2 == pytest.approx(of.logs[live, 1].mean(), abs=0.01)
    assert levels["alpha"].mean_traffic == pytest.approx(of.level[live].mean(), rel=0.15)
    assert levels["alpha"].spread == pytest.approx(np.log(of.level[live]).std(), rel=0.1)


def test_what_is_stored_is_public_or_noisy() -> None:
    """Landmarks and scale do not depend on the traffic; the rest is a function of the released sums."""
    one, other = network(100), replace(network(100), level=np.exp(np.random.default_rng(7).normal(5, 1, 100)))
    a, *_ = fit_private_levels([one], PRIVACY, {"range": 2.0, "statistics": 1.0}, Secret(b"s"), scaler=False)
    b, *_ = fit_private_levels([other], PRIVACY, {"range": 2.0, "statistics": 1.0}, Secret(b"s"), scaler=False)
    assert np.array_equal(a["alpha"].points, b["alpha"].points)
    assert np.array_equal(a["alpha"].scale.mean, b["alpha"].scale.mean)
    listed = one.scale(np.concatenate([one.counts, one.around], axis=1)).round(6)
    assert {tuple(p) for p in a["alpha"].points} <= {tuple(p) for p in listed}
    assert not np.array_equal(a["alpha"].weights, b["alpha"].weights)


def test_the_window_finds_the_levels_or_says_that_it_cannot() -> None:
    of = network(300)
    wide = Privacy(8.0, 1e-4)
    found = window_of(of, 0, wide, {"range": 4.0, "statistics": 2.0}, Secret(b"s"))
    assert abs(found.middle - np.median(np.log(of.level))) < 1.0
    few = network(30)
    with pytest.raises(WrongUse, match=r"alpha: too few cells .* give --dp-level-range LOW HIGH"):
        window_of(few, 0, wide, {"range": 20.0, "statistics": 10.0}, Secret(b"s"))
    told = replace(wide, level_range=(1.0, 1e5))
    assert window_of(few, 0, told, {"range": 20.0, "statistics": 10.0}, Secret(b"s")) == Window(
        np.log(1e5) / 2, np.log(1e5) / 2
    )


def test_networks_teach_each_other() -> None:
    """A network of few cells leans on the linear weights of a large one: its centre agrees better than alone."""
    large, small = network(400, "large", 1), network(25, "small", 2)
    noise = {"range": 0.0, "statistics": 1.0}
    places = read_places(context(400, "small", 3))
    truth = places.counts.sum(axis=1) / 8
    alone, *_ = fit_private_levels([small], PRIVACY, noise, Secret(b"s"), scaler=False)
    both, *_ = fit_private_levels([small, large], PRIVACY, noise, Secret(b"s"), scaler=False)
    error = [np.std(m["small"].centre(places) - truth) for m in (alone, both)]
    assert error[1] < error[0]


def test_landmarks_lie_apart() -> None:
    x = np.repeat(np.arange(5.0), 3)[:, None] * np.ones((1, 16))
    assert sorted(spread_out(x, 8)[:, 0].tolist()) == [0.0, 1.0, 2.0, 3.0, 4.0]  # equals once
    assert len(spread_out(x, 2)) == 2


def released(of: PrivateLevels, sigma: float, fits: int, name: str) -> Floats:
    """All that a fit releases of one network's levels, (fits, numbers)."""
    rows = []
    for k in range(fits):
        secret = Secret(f"{name}{k}".encode())
        level = fit_private_levels([of], PRIVACY, {"range": 0.0, "statistics": sigma}, secret, scaler=False)[0]["alpha"]
        rows.append([level.mean, level.spread, np.log(level.mean_traffic), *level.weights, *level.pull])
    return np.array(rows)


def attack(sigma: float, fits: int) -> float:
    """By how many standard deviations the released levels tell a data set from one that lacks its loudest cell.

    The direction is learned on one half of the fits (Fisher 1936) and judged on the other. The Gaussian mechanism
    promises 1 / sigma at most, whatever is computed of the sums (Dong, Roth and Su 2022, mu-GDP).
    """
    of = network(60)
    level = of.level.copy()
    target = int(np.abs(of.counts).sum(axis=1).argmax())
    level[target] = PRIVACY.level_range[1]
    without = level.copy()
    without[target] = 0.0
    inside, outside = (released(replace(of, level=v), sigma, fits, n) for v, n in ((level, "in"), (without, "out")))
    half = fits // 2
    parts = [inside[:half], outside[:half]]
    spread = np.cov(np.concatenate([part - part.mean(axis=0) for part in parts]).T)
    spread += 1e-3 * np.diag(np.diag(spread)) + 1e-12 * np.eye(len(spread))
    direction = np.linalg.solve(spread, parts[0].mean(axis=0) - parts[1].mean(axis=0))
    a, b = inside[half:] @ direction, outside[half:] @ direction
    return float((a.mean() - b.mean()) / np.sqrt((a.var(ddof=1) + b.var(ddof=1)) / 2))


@pytest.mark.slow
def test_an_attack_on_the_released_levels_stays_below_the_promise() -> None:
    """1,000 fits: mu at most 1 / sigma + 3 standard errors, and near enough to it to mean something."""
    mu, error = attack(1.0, 500), np.sqrt(2 / 250)
    assert 0.4 < mu <= 1.0 + 3 * error


def test_the_attack_sees_a_noise_that_is_too_small() -> None:
    assert attack(0.3, 100) > 1.0 + 3 * np.sqrt(2 / 50)
