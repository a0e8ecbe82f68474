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

from gentraffic.modelling import levels
from gentraffic.modelling.features import Places
from gentraffic.modelling.levels import (
    ACTIVITY,
    FARTHEST,
    LAW,
    LOADINGS,
    LOCATION,
    NOISE,
    OWN,
    SHARED,
    SLOPE,
    SMOOTH,
    STRANGE,
    Law,
    LevelModel,
    Measured,
    activity,
    elasticities,
    fit_law,
    fit_levels,
    fit_slope,
    log_mean,
    rbf_kernel,
    stack_features,
)

GRID = np.linspace(-2, 2, 2001)  # of slopes


def places_of(counts: NDArray[Any], around: NDArray[Any], network: str) -> Places:
    n = len(counts)
    rng = np.random.default_rng(n)
    places = Places(
        poi_count=np.expm1(counts),
        near=rng.normal(size=(n, 8)).astype(np.float32),
        far=rng.normal(size=(n, 8)).astype(np.float32),
        area_km2=np.full(n, 0.0625),
        xy_m=np.stack([np.arange(n) * 250.0, np.zeros(n)], 1),
        network=network,
    )
    places.__dict__.update(counts=counts, around=around)  # where cached properties keep what they find
    return places


def networks(
    cells: tuple[int, ...] = (48, 40), seed: int = 0, uneven: float = 0.0, law: float | None = None
) -> list[Measured]:
    """Cells in locations of four, whose log level follows their counts, their location and chance.

    uneven: how the log of the spread of chance follows what counts say. law: how it follows what the law expects of
    cells of the first network, which no count tells; None where no law is known.
    """
    rng = np.random.default_rng(seed)
    out = []
    shared = rng.normal(0, 0.4, 8)
    for i, n in enumerate(cells):
        counts = np.log1p(rng.poisson(rng.gamma(1.0, 4.0, (n, 1)), (n, 8)).astype(float))
        location = np.repeat(np.arange(n // 4), 4)
        said = counts @ (shared + rng.normal(0, 0.2, 8))
        chance = rng.normal(0, 0.5, n // 4)[location] + rng.normal(0, 0.6, n)
        log = said + np.exp(uneven * (said - said.mean())) * chance
        active = rng.normal(0, 1.0, n) if law is not None and i == 0 else None
        log = log if active is None or law is None else log + law * active
        around = counts * 0.5 + rng.normal(0, 0.3, (n, 8)).clip(-0.5, 0.5) + 0.5
        out.append(Measured(f"network-{i}", counts, around, np.exp(log + 3.0 * i), location, active))
    return out


Refit = tuple[NDArray[Any], NDArray[Any], NDArray[Any]]


def refits(measured: list[Measured], model: LevelModel) -> Refit:
    """Expected log levels over each network's mean, left-out residuals and slopes, from ridges in weight space.

    Columns of variance 1: shared weights, own weights of each network, its factor on the law, the smooth part (a
    Cholesky factor), locations.
    """
    blocks, logs = [], []
    for m in measured:
        part = model.networks[m.network]
        blocks.append(part.scale(stack_features(m.counts, m.around)).round(4))
        logs.append(np.log(m.level) - part.mean)
    x, y = np.concatenate(blocks), np.concatenate(logs)
    net = np.repeat(np.arange(len(measured)), [len(b) for b in blocks])
    first = np.cumsum([0] + [int(m.location.max()) + 1 for m in measured[:-1]])
    group = np.concatenate([m.location + f for m, f in zip(measured, first, strict=True)])
    own = [np.where((net == i)[:, None], x[:, :8], 0.0) * np.sqrt(OWN / 8) for i in range(len(measured))]
    active = [np.zeros(len(m.level)) if m.activity is None else m.activity - m.activity.mean() for m in measured]
    own += [np.where(net == i, np.concatenate(active), 0.0)[:, None] * np.sqrt(LAW) for i in range(len(measured))]
    kernel = rbf_kernel(x, x) * (net[:, None] == net[None, :]) + 1e-10 * np.eye(len(x))
    known = np.concatenate([x[:, :8] * np.sqrt(SHARED / 8), *own, np.sqrt(SMOOTH) * np.linalg.cholesky(kernel)], 1)
    effects = np.eye(group.max() + 1)[group] * np.sqrt(LOCATION)
    doubt, slopes = np.ones(len(y)), np.zeros(len(measured))

    def centre(keep: NDArray[Any]) -> NDArray[Any]:
        """A new place has no location effect yet. Cells in doubt weigh less, and so does their location's effect."""
        phi = np.concatenate([known, doubt[:, None] * effects], 1)
        fitted = Ridge(alpha=NOISE, fit_intercept=False, solver="svd").fit(phi[keep], y[keep], 1 / doubt[keep] ** 2)
        out: NDArray[Any] = known @ fitted.coef_[: known.shape[1]]
        return out

    for _ in range(2):
        left_out, expected = np.empty_like(y), centre(np.ones(len(y), dtype=bool))
        for g in np.unique(group):
            left_out[group == g] = (y - centre(group != g))[group == g]
        for i in range(len(measured)):
            mine, c = left_out[net == i], (y - left_out)[net == i]
            normal = [
                len(np.unique(group[net == i])) / len(c) * stats.norm.logpdf(mine, 0, s * np.exp(b * c)).sum()
                - (b / SLOPE) ** 2 / 2
                for b in GRID
                for s in [np.sqrt(np.mean((mine / np.exp(b * c)) ** 2))]
            ]
            slopes[i] = GRID[np.argmax(normal)]
            doubt[net == i] = np.exp(slopes[i] * c)
            doubt[net == i] /= np.sqrt((doubt[net == i] ** 2).mean())
    return expected, left_out, slopes


@pytest.mark.parametrize(("uneven", "law"), [(0.0, None), (-0.5, None), (0.4, None), (0.0, 0.8), (0.4, -0.6)])
def test_the_level_model_is_a_bayesian_regression_refitted_without_each_location(
    uneven: float, law: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = networks(uneven=uneven, law=law)
    model = fit_levels(measured)
    expected, residual, slopes = refits(measured, model)
    at = 0
    for i, m in enumerate(measured):
        mine = slice(at, at := at + len(m.level))
        part = model.networks[m.network]
        assert part.slope == pytest.approx(slopes[i], abs=2e-3)  # a step of the grid
        assert (part.law_weight != 0) == (m.activity is not None)
        if m.activity is not None and law is not None:
            assert part.law_weight == pytest.approx(0.6 * law, rel=0.4)  # shrunk: a network may be odd
            monkeypatch.setattr(levels, "activity", lambda _, known=m.activity: known)
        centre = part.centre(places_of(m.counts, m.around, m.network))
        np.testing.assert_allclose(centre, expected[mine], atol=3e-3)  # features are kept to four decimals
        assert np.corrcoef(centre, np.log(m.level))[0, 1] > 0.5
        left_out = np.log(m.level) - part.mean - residual[mine]
        assert part.lowest_centre == pytest.approx(left_out.min(), abs=3e-3)
        assert part.highest_centre == pytest.approx(left_out.max(), abs=3e-3)
        scaled = residual[mine] / np.exp(slopes[i] * left_out)
        np.testing.assert_allclose(part.residual, np.quantile(scaled, np.linspace(0, 1, 101)), atol=1e-2)
        inside = np.log(m.level) - part.mean - centre
        assert residual[mine].std() > inside.std()  # what was left out is harder than what was learned


def test_the_slope_of_a_known_spread_is_found_and_a_few_locations_are_not_believed() -> None:
    rng = np.random.default_rng(0)
    for slope in (-0.6, 0.0, 0.4):
        found = []
        for _ in range(40):
            centre = rng.normal(0.2, 1.0, 400)
            found.append(fit_slope(centre, rng.normal(0, 0.7 * np.exp(slope * centre)), 400))
        assert np.mean(found) == pytest.approx(slope, abs=0.03)
        assert np.std(found) == pytest.approx(1 / np.sqrt(2 * 400), rel=0.4)  # Fisher's information of b is 2 n var(c)
    centre = np.linspace(-1, 1, 60)
    residual = np.exp(-1.5 * centre) * np.where(np.arange(60) % 2, 1.0, -1.0)
    alone, many = (fit_slope(centre, residual, locations) for locations in (1, 1000))
    assert many == pytest.approx(-1.5, abs=0.01)
    assert -1.0 < alone < 0.0
    assert fit_slope(centre, np.zeros(60), 5) == 0.0


def test_near_is_one_for_equals_and_falls_with_distance() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(5, 16)), rng.normal(size=(7, 16))
    got = rbf_kernel(a, b)
    for i in range(5):
        for j in range(7):
            gap = np.concatenate([a[i, :8] - b[j, :8], 0.5 * (a[i, 8:] - b[j, 8:])])
            assert got[i, j] == pytest.approx(np.exp(-(gap @ gap) / (2 * 16 * 0.8**2)))
    np.testing.assert_allclose(np.diag(rbf_kernel(a, a)), 1.0)


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
    measured = networks(uneven=-0.5)
    model = fit_levels(measured)
    m, part = measured[0], model.networks["network-0"]
    assert part.slope < -0.2
    places = places_of(m.counts, m.around, "network-0")
    centre = part.centre(places)
    middle = part.mean - np.log(part.mean_traffic) + centre
    doubt = np.exp(part.slope * np.clip(centre, part.lowest_centre, part.highest_centre))
    np.testing.assert_allclose(model.doubt(places), doubt)
    assert np.ptp(np.log(doubt)) > 0.3
    median = model.draw(places, np.zeros((1, len(m.level))))
    np.testing.assert_allclose(median[0], middle + doubt * part.residual[50])
    for q in (0.05, 0.25, 0.77):
        z = np.full((1, len(m.level)), stats.norm.ppf(q))
        expected = middle + doubt * np.interp(q, np.linspace(0, 1, 101), part.residual)
        np.testing.assert_allclose(
            model.draw(places, z)[0], np.minimum(expected, part.highest - np.log(part.mean_traffic))
        )
    far = model.draw(places, np.full((1, len(m.level)), 5.0))
    assert np.exp(far.max()) <= np.exp(part.highest) / part.mean_traffic * (1 + 1e-9)
    wide = replace(model, inflate=2.0).draw(places, np.zeros((1, len(m.level))))
    np.testing.assert_allclose(wide[0], middle + 2 * doubt * part.residual[50])
    nowhere = places_of(m.counts, m.around, "")
    np.testing.assert_array_equal(model.doubt(nowhere), 1.0)


def test_a_model_of_before_spreads_were_uneven_draws_as_it_did() -> None:
    m = networks()[0]
    model = fit_levels([m])
    old = model.to_json()
    for key in ("slope", "lowest_centre", "highest_centre"):
        old["networks"]["network-0"].pop(key)
    back, part = LevelModel.from_json(json.loads(json.dumps(old))), model.networks["network-0"]
    places = places_of(m.counts, m.around, "network-0")
    low = back.draw(places, np.full((1, len(m.level)), stats.norm.ppf(0.25)))
    np.testing.assert_allclose(low[0], part.mean - np.log(part.mean_traffic) + part.centre(places) + part.residual[25])


@pytest.mark.parametrize("uneven", [0.0, -0.35])
def test_intervals_cover_what_was_left_out(uneven: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """90% intervals hold 90% of places that the fit never saw, in the quiet half and in the busy one."""
    everything = networks((400,), seed=3, uneven=uneven)[0]
    train, test = everything.location < 70, everything.location >= 70
    parts = [
        Measured("world", everything.counts[w], everything.around[w], everything.level[w], everything.location[w])
        for w in (train, test)
    ]
    model = fit_levels(parts[:1])
    places = places_of(parts[1].counts, parts[1].around, "world")
    quiet = model.relative(places)[0] < np.median(model.relative(places)[0])
    truth = np.log(parts[1].level / model.networks["world"].mean_traffic)

    def covered(model: LevelModel, where: NDArray[Any]) -> float:
        low, high = model.draw(places, stats.norm.ppf([[0.05], [0.95]]) * np.ones((2, test.sum())))
        return float(((truth >= low) & (truth <= high))[where].mean())

    assert 0.8 < covered(model, quiet | ~quiet) < 0.98
    if uneven:
        assert 0.8 < covered(model, quiet) < 0.98
        assert 0.8 < covered(model, ~quiet) < 0.99
        monkeypatch.setattr("gentraffic.modelling.levels.SLOPE", 1e-3)
        even = fit_levels(parts[:1])  # one spread for all is too narrow for quiet places and too wide for busy ones
        assert covered(even, quiet) < covered(model, quiet) - 0.03
        assert covered(even, ~quiet) > covered(model, ~quiet)


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


def test_a_network_that_nobody_measured_follows_the_law() -> None:
    measured = networks()
    model = fit_levels(measured)
    where = places_of(measured[0].counts, measured[0].around, "")
    z = np.random.default_rng(6).normal(size=(4000, len(measured[0].level)))
    draws = model.draw(where, z)
    expected = model.law.slope * activity(where)
    assert np.corrcoef(draws.mean(0), expected)[0, 1] > 0.99
    np.testing.assert_allclose(draws.std(0), model.law.doubt(expected), rtol=0.06)
    # half the area, half the traffic: density is what the law tells
    half = replace(where, area_km2=where.area_km2 * np.where(np.arange(48) < 24, 0.5, 1.0))
    apart = model.absolute(half) - model.absolute(where)
    np.testing.assert_allclose(apart, np.where(np.arange(48) < 24, np.log(0.5), 0.0), atol=1e-12)


def law_networks(slopes: list[float], noise: float = 0.5, seed: int = 0) -> list[Measured]:
    """Networks of 400 cells in 100 locations whose log traffic per km2 follows their activity with these slopes."""
    rng = np.random.default_rng(seed)
    out = []
    for i, slope in enumerate(slopes):
        expected, area = rng.normal(0, 1.0, 400), np.full(400, 0.25 * (i + 1))
        log = 7.0 * i + slope * expected + np.log(area) + rng.normal(0, noise, 400)
        blank = np.zeros((400, 8))
        location = np.arange(400) // 4
        out.append(Measured(f"n{i}", blank, blank, np.exp(log), location, expected, area, "Europe/Rome"))
    return out


def test_the_factor_on_elasticities_is_learned_over_networks_and_few_are_not_believed() -> None:
    assert fit_law([]) == Law()
    one = fit_law(law_networks([0.6])).slope
    assert 0.78 < one < 0.85  # between what it says and 1: one network may be odd
    many = fit_law(law_networks([0.6] * 12))
    assert many.slope == pytest.approx(0.63, abs=0.03)
    assert many.noise == pytest.approx(0.5, abs=0.03)
    assert many.lowest < -2.5 < 2.5 < many.highest  # as far as it was measured


def test_networks_of_another_source_count_a_quarter_and_only_where_there_is_none_of_the_source() -> None:
    amap = [replace(m, source="AMap") for m in law_networks([0.6] * 3, noise=1.2)]
    own, other = fit_law(amap, "AMap"), fit_law(amap)
    left = [np.log(m.level) - np.log(m.area_km2) - other.slope * m.activity for m in amap]  # type: ignore[operator]
    squares, count = (20 * 0.72**2 + 0.25 * 99 * sum(part.var() for part in left)), 20 + 0.25 * 99 * 3
    assert other.noise == pytest.approx((squares / count) ** 0.5, abs=1e-3)
    assert other.noise < own.noise - 0.03
    assert own.slope + 0.05 < other.slope < 1.0  # nearer to the prior
    osm = law_networks([0.9])
    assert fit_law([*osm, *amap]) == fit_law(osm)


@pytest.mark.slow
def test_who_counted_the_pois_has_a_law_of_its_own_where_it_was_measured() -> None:
    osm = law_networks([1.0] * 6, noise=0.4, seed=1)
    amap = [
        replace(m, network=f"a{i}", source="AMap") for i, m in enumerate(law_networks([0.5] * 6, noise=1.2, seed=2))
    ]
    alone, both = fit_levels(osm), fit_levels([*osm, *amap])
    assert both.law == alone.law == fit_law(osm)  # one says nothing of the other
    assert alone.laws == {}
    assert both.laws == {"AMap": fit_law(amap, "AMap")}
    assert both.laws["AMap"].slope < 0.65 < 0.9 < both.law.slope
    assert both.laws["AMap"].noise == pytest.approx(1.2, abs=0.08)
    m = osm[0]
    where = places_of(m.counts, m.around, "")
    expected, noise = both.relative(replace(where, source="AMap"))
    law, x = both.laws["AMap"], activity(replace(where, source="AMap"))
    log = law.slope * x + np.log(where.area_km2)
    np.testing.assert_allclose(expected, log - np.log(np.exp(log).mean()), atol=1e-12)
    np.testing.assert_allclose(noise, law.doubt(law.slope * x), atol=1e-12)
    for one, other in zip(both.relative(where), alone.relative(where), strict=True):
        np.testing.assert_array_equal(one, other)  # OpenStreetMap's places: the same bits
    # a cell as busy as the mean of a network of its own source is its mean cell, as it is by one law for all
    drawn = both.standard(replace(where, source="AMap"), expected, "a1")
    mean = amap[1].activity.mean() * law.slope if amap[1].activity is not None else 0.0
    spread = both.networks["a1"].spread
    np.testing.assert_allclose(drawn, np.clip((law.slope * x - mean) / spread, -FARTHEST, FARTHEST), atol=1e-9)


def test_doubt_grows_where_a_place_is_stranger_than_any_that_was_measured() -> None:
    law = Law()
    inside = law.doubt(np.linspace(law.lowest, law.highest, 9))
    np.testing.assert_allclose(inside, law.noise)
    assert law.doubt(np.array([law.highest + STRANGE]))[0] == pytest.approx(law.noise * np.sqrt(2))
    assert law.doubt(np.array([law.lowest - 3.0]))[0] > 3 * law.noise


def test_elasticities_are_the_regression_of_the_factor_model() -> None:
    """Against least squares on draws from the model of one factor."""
    rng = np.random.default_rng(1)
    names = ("pois", "population", "stops")
    busy = rng.normal(0, np.sqrt(ACTIVITY), 400_000)
    columns = [LOADINGS[n][0] * busy + rng.normal(0, np.sqrt(LOADINGS[n][1]), len(busy)) for n in names]
    found = np.linalg.lstsq(np.stack(columns, 1), busy, rcond=None)[0]
    np.testing.assert_allclose(found, [elasticities(names)[n] for n in names], atol=0.01)


def test_levels_as_the_network_takes_them() -> None:
    measured = networks()
    model = fit_levels(measured)
    for m in measured:
        places = places_of(m.counts, m.around, m.network)
        relative = np.log(m.level / m.level.mean())
        standard = model.standard(places, relative)
        log = np.log(m.level)
        np.testing.assert_allclose(standard, (log - log.mean()) / log.std(), atol=1e-9)  # as in training
    law = law_networks([1.0, 1.0])
    model = fit_levels(law)
    where = places_of(np.zeros((48, 8)), np.zeros((48, 8)), "")
    control = model.draw(where, np.zeros((1, 48)))[0]
    told = model.standard(where, control, "n1")
    want = (model.law.slope * activity(where) - model.networks["n1"].law_mean) / model.networks["n1"].spread
    np.testing.assert_allclose(told, np.clip(want, -FARTHEST, FARTHEST), atol=1e-9)
    some = replace(where, **{k: getattr(where, k)[:7] for k in ("poi_count", "near", "far", "area_km2", "xy_m")})
    part = model.standard(some, model.draw(some, np.zeros((1, 7)))[0], "n1")
    np.testing.assert_allclose(part, told[:7], atol=1e-9)  # whatever is drawn around it


def test_from_json_and_back() -> None:
    measured = networks()
    model = fit_levels(measured, inflate=1.1)
    back = LevelModel.from_json(json.loads(json.dumps(model.to_json())))
    z = np.random.default_rng(8).normal(size=(3, 48))
    for network in ("network-0", ""):
        places = places_of(measured[0].counts, measured[0].around, network)
        np.testing.assert_array_equal(back.draw(places, z), model.draw(places, z))  # the same bits
        np.testing.assert_array_equal(back.standard(places, z), model.standard(places, z))
    old = model.to_json()
    old.pop("law")
    old.pop("laws")
    assert LevelModel.from_json({**old, "trust": 0.8}).law == Law()  # a folder of before there was a law
    amap = [replace(m, source="AMap") for m in law_networks([0.7, 0.9])]
    two = fit_levels(amap)
    assert LevelModel.from_json(json.loads(json.dumps(two.to_json()))).laws == two.laws != {}
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


@pytest.mark.parametrize("cells", [1, 7, 129, 1000, 4099, 30_001])
def test_the_mean_of_many_cells_is_that_of_numpy_to_the_bit(cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gentraffic.modelling.levels.BLOCK", 1000)
    logs = np.random.default_rng(cells).normal(0, 4, cells)
    top = logs.max()
    assert log_mean(logs) == float(top + np.log(np.mean(np.exp(logs - top))))
