"""The level model against an explicit Bayesian regression, refits without each location, and its own promises."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from sklearn.linear_model import Ridge

from gentraffic.features import Places, activity_index
from gentraffic.level import LOCATION, NOISE, OWN, SHARED, SMOOTH, LevelModel, Measured, both, fit_levels, near


def places_of(counts: NDArray[Any], around: NDArray[Any], network: str) -> Places:
    n = len(counts)
    rng = np.random.default_rng(n)
    places = Places(
        counts=counts,
        density=rng.normal(size=(n, 3)),
        sites=None,
        xy_m=np.stack([np.arange(n) * 250.0, np.zeros(n)], 1),
        network=network,
    )
    places.__dict__["around"] = around  # where the cached property keeps what it finds
    return places


def networks(cells: tuple[int, ...] = (48, 40), seed: int = 0) -> list[Measured]:
    """Cells in locations of four, whose log level follows their counts, their location and chance."""
    rng = np.random.default_rng(seed)
    out = []
    shared = rng.normal(0, 0.4, 8)
    for i, n in enumerate(cells):
        counts = np.log1p(rng.poisson(rng.gamma(1.0, 4.0, (n, 1)), (n, 8)).astype(float))
        location = np.repeat(np.arange(n // 4), 4)
        log = counts @ (shared + rng.normal(0, 0.2, 8)) + rng.normal(0, 0.5, n // 4)[location] + rng.normal(0, 0.6, n)
        around = counts * 0.5 + rng.normal(0, 0.3, (n, 8)).clip(-0.5, 0.5) + 0.5
        out.append(Measured(f"network-{i}", counts, around, np.exp(log + 3.0 * i), location))
    return out


def design(measured: list[Measured], model: LevelModel) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], int]:
    """Weight space: (cells, weights) of prior variance 1, centred log levels, group of each cell, location columns.

    Columns: shared weights, own weights of each network, the smooth part (a Cholesky factor), locations (the last).
    """
    blocks, logs = [], []
    for m in measured:
        part = model.networks[m.network]
        blocks.append(part.scale(both(m.counts, m.around)).round(4))
        logs.append(np.log(m.level) - part.mean)
    x, y = np.concatenate(blocks), np.concatenate(logs)
    net = np.repeat(np.arange(len(measured)), [len(b) for b in blocks])
    first = np.cumsum([0] + [int(m.location.max()) + 1 for m in measured[:-1]])
    group = np.concatenate([m.location + f for m, f in zip(measured, first, strict=True)])
    own = [np.where((net == i)[:, None], x[:, :8], 0.0) * np.sqrt(OWN / 8) for i in range(len(measured))]
    kernel = near(x, x) * (net[:, None] == net[None, :]) + 1e-10 * np.eye(len(x))
    columns = [x[:, :8] * np.sqrt(SHARED / 8), *own, np.sqrt(SMOOTH) * np.linalg.cholesky(kernel)]
    effects = np.eye(group.max() + 1)[group] * np.sqrt(LOCATION)
    return np.concatenate([*columns, effects], 1), y, group, effects.shape[1]


def test_expected_levels_are_those_of_the_bayesian_regression() -> None:
    measured = networks()
    model = fit_levels(measured)
    phi, y, _, effects = design(measured, model)
    fitted = Ridge(alpha=NOISE, fit_intercept=False, solver="svd").fit(phi, y)
    expected = phi[:, :-effects] @ fitted.coef_[:-effects]  # a new place has no location effect yet
    got = np.concatenate([model.networks[m.network].centre(places_of(m.counts, m.around, m.network)) for m in measured])
    np.testing.assert_allclose(got, expected, atol=2e-3)  # features are kept to four decimals
    assert np.corrcoef(got, y)[0, 1] > 0.5


def test_residuals_are_those_of_refits_without_each_location() -> None:
    measured = networks()
    model = fit_levels(measured)
    phi, y, group, effects = design(measured, model)
    left_out = np.empty_like(y)
    for g in np.unique(group):
        keep = group != g
        fitted = Ridge(alpha=NOISE, fit_intercept=False, solver="svd").fit(phi[keep], y[keep])
        left_out[~keep] = y[~keep] - phi[~keep, :-effects] @ fitted.coef_[:-effects]
    at = 0
    for m in measured:
        mine = left_out[at : at + len(m.level)]
        at += len(m.level)
        residual = model.networks[m.network].residual
        np.testing.assert_allclose(residual, np.quantile(mine, np.linspace(0, 1, len(residual))), atol=2e-3)
    inside = y - phi @ Ridge(alpha=NOISE, fit_intercept=False, solver="svd").fit(phi, y).coef_
    assert left_out.std() > 1.2 * inside.std()  # what was left out is harder than what was learned


def test_near_is_one_for_equals_and_falls_with_distance() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(5, 16)), rng.normal(size=(7, 16))
    got = near(a, b)
    for i in range(5):
        for j in range(7):
            gap = np.concatenate([a[i, :8] - b[j, :8], 0.5 * (a[i, 8:] - b[j, 8:])])
            assert got[i, j] == pytest.approx(np.exp(-(gap @ gap) / (2 * 16 * 0.8**2)))
    np.testing.assert_allclose(np.diag(near(a, a)), 1.0)


def test_levels_of_more_cells_than_fit_at_once_are_those_of_each() -> None:
    measured = networks()
    part = fit_levels(measured).networks["network-0"]
    rng = np.random.default_rng(2)
    counts, around = rng.normal(1, 1, (9000, 8)).clip(0), rng.normal(1, 1, (9000, 8)).clip(0)
    whole = part.centre(places_of(counts, around, "network-0"))
    for at in (0, 4095, 4096, 8999):
        alone = part.centre(places_of(counts[at : at + 1], around[at : at + 1], "network-0"))
        assert alone[0] == pytest.approx(whole[at], abs=1e-9)


def test_draws_follow_the_quantiles_of_the_residuals() -> None:
    measured = networks()
    model = fit_levels(measured)
    m, part = measured[0], model.networks["network-0"]
    places = places_of(m.counts, m.around, "network-0")
    middle = part.mean - np.log(part.mean_traffic) + part.centre(places)
    median = model.draw(places, np.zeros((1, len(m.level))))
    np.testing.assert_allclose(median[0], middle + part.residual[50])
    for q in (0.05, 0.25, 0.77):
        z = np.full((1, len(m.level)), stats.norm.ppf(q))
        expected = middle + np.interp(q, np.linspace(0, 1, 101), part.residual)
        np.testing.assert_allclose(
            model.draw(places, z)[0], np.minimum(expected, part.highest - np.log(part.mean_traffic))
        )
    far = model.draw(places, np.full((1, len(m.level)), 5.0))
    assert np.exp(far.max()) <= np.exp(part.highest) / part.mean_traffic * (1 + 1e-9)
    wide = replace(model, inflate=2.0).draw(places, np.zeros((1, len(m.level))))
    np.testing.assert_allclose(wide[0], middle + 2 * part.residual[50])


def test_intervals_cover_what_was_left_out() -> None:
    """Fitted on some networks of one world, 90% intervals hold 90% of places that the fit never saw."""
    everything = networks((400,), seed=3)[0]
    train, test = everything.location < 70, everything.location >= 70
    parts = [
        Measured("world", everything.counts[w], everything.around[w], everything.level[w], everything.location[w])
        for w in (train, test)
    ]
    model = fit_levels(parts[:1])
    places = places_of(parts[1].counts, parts[1].around, "world")
    low, high = model.draw(places, stats.norm.ppf([[0.05], [0.95]]) * np.ones((2, test.sum())))
    truth = np.log(parts[1].level / model.networks["world"].mean_traffic)
    assert 0.8 < ((truth >= low) & (truth <= high)).mean() < 0.98


def test_without_places_the_counts_do_not_count() -> None:
    measured = networks()
    blind = fit_levels(measured, places=False)
    m = measured[0]
    here, there = (places_of(c, m.around, "network-0") for c in (m.counts, m.counts[::-1]))
    z = np.random.default_rng(4).normal(size=(3, len(m.level)))
    np.testing.assert_array_equal(blind.draw(here, z), blind.draw(there, z))
    seeing = fit_levels(measured)
    assert np.abs(seeing.draw(here, z) - seeing.draw(there, z)).max() > 0.3
    # its intervals are those of the levels themselves
    log = np.log(m.level)
    np.testing.assert_allclose(
        blind.networks["network-0"].residual[[0, -1]], [log.min() - log.mean(), log.max() - log.mean()]
    )
    nowhere = places_of(m.counts, m.around, "")
    centre, spread = blind.relative(nowhere)
    assert np.ptp(centre) == 0
    np.testing.assert_allclose(spread, blind.spread)


@pytest.mark.parametrize("places", [True, False])
@pytest.mark.parametrize("inflate", [1.0, 1.1])
def test_a_network_that_nobody_measured_expects_the_mean_cell_to_be_one(places: bool, inflate: float) -> None:
    measured = networks()
    model = fit_levels(measured, places=places, inflate=inflate)
    m = measured[0]
    where = places_of(m.counts, m.around, "nowhere")
    z = np.random.default_rng(5).normal(size=(20_000, len(m.level)))
    level = np.exp(model.draw(where, z))
    assert level.mean() == pytest.approx(1.0, rel=0.02)


def test_a_network_that_nobody_measured_follows_its_activity() -> None:
    measured = networks()
    model = fit_levels(measured)
    where = places_of(measured[0].counts, measured[0].around, "")
    z = np.random.default_rng(6).normal(size=(4000, len(measured[0].level)))
    draws = model.draw(where, z)
    index = activity_index(where)
    assert np.corrcoef(draws.mean(0), index)[0, 1] > 0.99
    assert draws.std(1).mean() == pytest.approx(model.spread, rel=0.03)  # as wide as measured networks are
    each = np.mean([np.corrcoef(d, index)[0, 1] for d in draws[:300]])
    assert each == pytest.approx(model.trust, abs=0.03)


def test_levels_as_the_network_takes_them() -> None:
    measured = networks()
    model = fit_levels(measured)
    for m in measured:
        places = places_of(m.counts, m.around, m.network)
        relative = np.log(m.level / m.level.mean())
        standard = model.standard(places, relative)
        log = np.log(m.level)
        np.testing.assert_allclose(standard, (log - log.mean()) / log.std(), atol=1e-9)  # as in training
    where = places_of(measured[0].counts, measured[0].around, "")
    z = np.random.default_rng(7).normal(size=(4000, len(measured[0].level)))
    standard = model.standard(where, model.draw(where, z))
    assert abs(standard.mean()) < 0.15
    assert standard.std() == pytest.approx(1.0, abs=0.1)


def test_from_json_and_back() -> None:
    measured = networks()
    model = fit_levels(measured, inflate=1.1)
    back = LevelModel.from_json(json.loads(json.dumps(model.to_json())))
    z = np.random.default_rng(8).normal(size=(3, 48))
    for network in ("network-0", ""):
        places = places_of(measured[0].counts, measured[0].around, network)
        np.testing.assert_array_equal(back.draw(places, z), model.draw(places, z))  # the same bits
        np.testing.assert_array_equal(back.standard(places, z), model.standard(places, z))
    wrongs: tuple[dict[str, Any], ...] = ({}, {"networks": {"a": {}}}, {"networks": {}, "colour": "red"})
    for wrong in wrongs:
        with pytest.raises((KeyError, TypeError)):
            LevelModel.from_json(wrong)


def test_one_cell_is_enough_and_does_not_claim_much() -> None:
    only = Measured("one", np.zeros((1, 8)), np.zeros((1, 8)), np.array([5.0]), np.array([0]))
    model = fit_levels([only])
    draws = model.draw(places_of(np.ones((3, 8)), np.ones((3, 8)), "one"), np.zeros((1, 3)))
    np.testing.assert_allclose(np.exp(draws), 1.0)
    assert model.spread == pytest.approx(0.1)


def test_the_control_of_an_unmeasured_network_has_mean_one_and_is_what_further_members_scatter_around() -> None:
    measured = networks()
    model = fit_levels(measured)
    where = places_of(measured[0].counts, measured[0].around, "")
    control = np.exp(model.draw(where, np.zeros((1, len(measured[0].level))))[0])
    assert control.mean() == pytest.approx(1.0, abs=1e-12)
    z = np.random.default_rng(7).normal(size=(40_000, len(control)))
    np.testing.assert_allclose(np.exp(model.draw(where, z)).mean(axis=0), control, rtol=0.05)
