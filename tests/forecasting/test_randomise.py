"""Domain randomisation: closed forms of every part, and streams that belong to a cell."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from traffic_examples import context, traffic

from gentraffic.errors import WrongUse
from gentraffic.forecasting.randomise import (
    FLOOR,
    STEP,
    Spread,
    _coloured,
    even_point,
    randomise,
    randomise_pois,
    restless,
    shifted,
)

STILL = Spread(restless=0.0, smooth=0.0, noise=0.0, phase_h=0.0, level=0.0, poi=0.0)


@pytest.fixture
def drawn() -> xr.Dataset:
    return traffic(days=7)


def test_variant_0_is_the_original_and_without_spread_all_are(drawn: xr.Dataset) -> None:
    assert randomise(drawn, 0) is drawn
    np.testing.assert_allclose(randomise(drawn, 3, STILL)["internet"], drawn["internet"], rtol=1e-5, atol=1e-7)
    places = context()
    assert randomise_pois(places, 0) is places
    np.testing.assert_array_equal(randomise_pois(places, 3, STILL)["poi_count"], places["poi_count"])


def test_a_cell_is_the_same_beside_whatever_cells(drawn: xr.Dataset) -> None:
    some = [20, 5, 3]
    whole, part = randomise(drawn, 2, seed=4), randomise(drawn.isel(cell=some), 2, seed=4)
    np.testing.assert_array_equal(whole["internet"].values[some], part["internet"].values)
    places = context()
    many, few = randomise_pois(places, 2, seed=4), randomise_pois(places.isel(cell=some), 2, seed=4)
    np.testing.assert_array_equal(many["poi_count"].values[some], few["poi_count"].values)


def test_variants_and_seeds_differ_and_nothing_is_negative(drawn: xr.Dataset) -> None:
    found = [randomise(drawn, v, seed=s)["internet"].values for v, s in ((1, 0), (2, 0), (1, 1))]
    for a in range(3):
        assert found[a].min() >= 0
        assert (found[a][3] == 0).all(), "a dead cell stays dead"
        for b in range(a):
            assert np.abs(found[a] - found[b])[0].max() > 0
    np.testing.assert_array_equal(found[0], randomise(drawn, 1)["internet"].values)


def test_shift_by_whole_and_broken_steps() -> None:
    values = np.random.default_rng(0).uniform(size=(3, 48))
    found = shifted(values, np.array([2.0, -3.0, 0.25]))
    np.testing.assert_allclose(found[0], np.roll(values[0], 2))
    np.testing.assert_allclose(found[1], np.roll(values[1], -3))
    np.testing.assert_allclose(found[2], 0.75 * values[2] + 0.25 * np.roll(values[2], 1))


def test_restlessness_scales_deviations_from_the_usual_day() -> None:
    rng = np.random.default_rng(1)
    usual = 1.0 + rng.uniform(size=(4, 24))
    values = np.tile(usual, 7) * rng.lognormal(0, 0.2, (4, 168))

    def deviation(v: np.ndarray) -> np.ndarray:
        days = np.log(v.reshape(4, 7, 24) + FLOOR * v.mean(1)[:, None, None])
        return days - days.mean(1, keepdims=True)

    np.testing.assert_allclose(restless(values, 24, np.ones(4)), values)
    flat = restless(values, 24, np.zeros(4)).reshape(4, 7, 24)
    np.testing.assert_allclose(flat, np.broadcast_to(flat[:, :1], flat.shape))
    twice = restless(values, 24, np.full(4, 2.0))
    np.testing.assert_allclose(twice.mean(1), values.mean(1))
    np.testing.assert_allclose(deviation(twice), 2 * deviation(values), atol=5e-3)


def test_smoothing_takes_away_what_alternates_and_halves_what_turns_in_four_steps() -> None:
    """The average with weights 1, 2, 1 has the gain (1 + cos w) / 2 at the frequency w."""
    steps = np.arange(24 * 8)
    usual = 2.0 + np.sin(2 * np.pi * steps / 24)
    sign = np.where(steps // 24 % 2, 1.0, -1.0)  # other days the other way: not part of the usual day
    for wave, gain in (((-1.0) ** steps, 0.0), (2**0.5 * np.cos(np.pi * steps / 2 + np.pi / 4), 0.5)):
        values = (usual * np.exp(0.1 * sign * wave))[None]
        for smooth in (0.5, 1.0):
            found = restless(values, 24, np.ones(1), smooth)
            inside = steps % 24 % 23 != 0  # away from midnight, where the sign turns
            left = np.log(found / usual)[0, inside] / (0.1 * sign * wave)[inside]
            np.testing.assert_allclose(left, 1 - smooth * (1 - gain), atol=0.05)


def test_level_and_noise_have_the_spread_they_say() -> None:
    cells = context(n=30)
    flat = traffic(cells, days=7)
    flat["internet"].values[:] = 1.0
    level = randomise(flat, 1, Spread(0.0, 0.0, 0.0, 0.0, 0.5, 0.0))["internet"].values
    assert np.log(level[:, 0]).std() == pytest.approx(0.5, rel=0.1)
    assert np.ptp(level, axis=1).max() < 1e-6
    noisy = [randomise(flat.isel(cell=slice(99)), v, Spread(0.0, 0.0, 0.4, 0.0, 0.0, 0.0)) for v in range(1, 13)]
    sizes = np.sort([np.log(ds["internet"].values).std(1).mean() for ds in noisy])
    np.testing.assert_allclose(sizes, np.linspace(0, 0.4, 25)[1::2], atol=0.07)  # evenly, up to all allowed


@pytest.mark.parametrize("memory", [0.0, 0.5, 0.9])
def test_noise_has_unit_variance_and_its_memory(memory: float) -> None:
    found = np.stack([_coloured(np.random.default_rng(i), 200, memory) for i in range(400)])
    assert found.var() == pytest.approx(1.0, abs=0.06)
    assert found[:, 0].var() == pytest.approx(1.0, abs=0.25), "stationary from the first step on"
    assert (found[:, 1:] * found[:, :-1]).mean() == pytest.approx(memory, abs=0.05)


def test_poi_mix_multiplies_categories_in_the_mean() -> None:
    places = context(n=40)
    found = randomise_pois(places, 1, Spread(poi=0.5), seed=3)
    ratio = found["poi_count"].values.sum(0) / places["poi_count"].values.sum(0)
    assert np.log(ratio).std() > 0.15, "categories change by factors of their own"
    again = randomise_pois(places, 1, Spread(poi=0.5), seed=3)
    np.testing.assert_array_equal(found["poi_count"], again["poi_count"])
    rng = np.random.default_rng(np.random.SeedSequence((3, 23, 1)))
    np.testing.assert_allclose(ratio, np.exp(0.5 * rng.standard_normal(8)), rtol=0.02)


def test_few_variants_already_spread_evenly() -> None:
    """Eight points per axis lie closer to an even ladder than random ones do; the step is the root that it claims."""
    assert pytest.approx(STEP + 1) == STEP**6
    ladder = (np.arange(8) + 0.5) / 8

    def uneven(points: np.ndarray) -> float:
        return float(np.abs(np.sort(points, axis=0) - ladder[:, None]).max())

    ours = [uneven(np.stack([even_point(v, s) for v in range(8)])) for s in range(20)]
    random = [uneven(np.random.default_rng(s).uniform(size=(8, 5))) for s in range(20)]
    assert np.mean(ours) < 0.75 * np.mean(random)


def test_wrong_use_is_told(drawn: xr.Dataset) -> None:
    with pytest.raises(WrongUse, match="variant -1"):
        randomise(drawn, -1)
    with pytest.raises(WrongUse, match="one member at a time"):
        randomise(traffic(members=2), 1)
