"""Drawing any extent and length with FoMo: keyed, seamless, measured values untouched."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr
from bundle_examples import context
from fomo_examples import data, tiny_fomo, world

from gentraffic.dataset.calendar import calendar_of
from gentraffic.errors import WrongUse
from gentraffic.generators.base import FOMO, FOMO_STEPS, Settings, bundled_models
from gentraffic.generators.fomo import drawing
from gentraffic.generators.fomo.data import usual_weeks
from gentraffic.generators.fomo.drawing import draw_field
from gentraffic.generators.fomo.folder import FoMoBundle, load_fomo
from gentraffic.generators.fomo.observations import FoMoTask, field_of, known_cells_of
from gentraffic.generators.fomo.tiles import PHASES, closure, fade, layings, starts
from gentraffic.generators.observed import Observations
from gentraffic.modelling.expected_week import ExpectedWeeks, fit_week
from gentraffic.modelling.features import fit_scale, read_places
from gentraffic.modelling.known_cells import known_weeks, log_expected, read_known
from gentraffic.modelling.kriging import conditional_levels, krige
from gentraffic.modelling.level_noise import REACH_M, SITES, level_noise
from gentraffic.modelling.levels import LOCATION, NOISE, LevelModel, NetworkLevel, stack_features

NAN = np.float32(np.nan)


@pytest.fixture(scope="module")
def bundle() -> FoMoBundle:
    return tiny_fomo()


def field(place: xr.Dataset, steps: int = 80, minutes: int = 60, given: int = 0) -> FoMoTask:
    blank = np.full((place.sizes["cell"], steps), NAN)
    return FoMoTask(place, blank.copy(), blank.copy(), (np.arange(steps) * minutes / 60) % 168, minutes, given)


def test_every_cell_stands_in_one_block_of_each_laying() -> None:
    grid = np.stack(np.divmod(np.arange(99), 11), axis=1)
    xy = np.random.default_rng(0).uniform(0, 5000, (99, 2))
    for blocks in (*layings(grid, xy), *layings(None, xy)):
        assert sorted(blocks[blocks >= 0]) == list(range(99))
    together = np.zeros((99, 99), dtype=bool)
    for blocks in layings(grid, xy):
        for block in blocks:
            cells = block[block >= 0]
            together[np.ix_(cells, cells)] = True
    beside = np.abs(grid[:, None] - grid[None]).sum(-1) == 1
    assert together[beside].all()  # no two neighbours stand apart in every laying


def test_blocks_are_aligned_to_the_grid_and_not_to_the_extent() -> None:
    grid = np.stack(np.divmod(np.arange(144), 12), axis=1)
    for whole, part in zip(layings(grid, grid), layings(grid[50:], grid[50:]), strict=True):
        a = {frozenset(b[b >= 50] - 50) for b in whole} - {frozenset()}
        assert a == {frozenset(b[b >= 0]) for b in part}


def test_windows_cover_every_step_twice_and_their_borders_move() -> None:
    for steps in (64, 65, 100, 168, 336):
        edges = np.zeros(steps + 32, dtype=int)
        for phase in range(PHASES):
            covered = np.zeros(steps + 32, dtype=int)
            laid = set()
            for s in starts(steps, phase, 16):
                assert -16 < s <= steps - 64 + 15
                covered[16 + s : 16 + s + 64] += 1
                laid |= {16 + s + k for k in range(0, 65, 16)}
            assert (covered[16:-16] >= 2).all()
            once = starts(steps, phase, 16, twice=False)
            there = np.zeros(steps + 32, dtype=int)
            for s in once:
                there[16 + s : 16 + s + 64] += 1
            assert (there[16:-16] >= 1).all()
            assert len(once) == -(-(once[-1] + 64 - once[0]) // 64)  # no window that could be left out
            assert {s % 16 for s in once} < {s % 16 for s in starts(steps, phase, 16)}
            edges[[e for e in laid if e < steps + 32]] += 1
        assert edges[17:-16].max() == 1  # no step is at the edge of a token in two layings


def test_fading_windows_weigh_least_at_the_edges_of_tokens() -> None:
    weight = fade(16)
    assert weight[[0, 15, 16, 63]].tolist() == [0.0625] * 4
    assert weight[[7, 8]].tolist() == [0.9375] * 2
    assert (weight[:40] + weight[8:48] == 1.0).all()  # moved by half a token, they add up to one


def test_a_part_comes_out_as_if_all_had_been_drawn(bundle: FoMoBundle) -> None:
    place = context(150)
    settings = replace(FOMO, seed=3, steps=4)
    whole = draw_field(bundle, field(place), settings)
    cells = [77, 3, 120]
    np.testing.assert_array_equal(draw_field(bundle, field(place), settings, cells=cells)[0], whole[0, cells])
    order = np.random.default_rng(0).permutation(150)  # nor does the order of the file matter
    np.testing.assert_array_equal(draw_field(bundle, field(place.isel(cell=order)), settings)[0], whole[0, order])
    other = draw_field(bundle, field(place), replace(settings, seed=4))
    assert not np.array_equal(other, whole)
    needed = closure(layings(None, np.zeros((100, 2))), np.array([0]), 3)
    assert [n.sum() for n in needed] == sorted((n.sum() for n in needed), reverse=True)


def test_an_answer_of_zero_is_the_week_that_each_cells_surroundings_tell(
    bundle: FoMoBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drawing, "solve", lambda predict, noise, start, **_: torch.zeros_like(start))
    traffic, place = world("here")
    source = data((traffic, place))[0][0]
    own, _ = fit_week(replace(source, location=np.arange(len(source.location))))
    weeks = ExpectedWeeks({"here": own})
    bundle = replace(bundle, scale=replace(bundle.scale, mean=0.0), weeks=weeks)
    told = usual_weeks(own.log(own.scores(read_places(place))))
    assert (told.std(axis=0) > 1e-4).all()  # the places of this world differ
    told_of_none, of_network = bundle.scale.mean_week(0), bundle.scale.mean_week(1)
    before, elsewhere = replace(bundle, weeks=ExpectedWeeks()), place.assign_attrs(network="elsewhere")
    cases = (
        (bundle, place, told),
        (bundle, elsewhere, told),  # the nearest rhythm that was measured
        (before, place, of_network),  # a folder of before
        (before, elsewhere, told_of_none),
    )
    for model, where, want in cases:
        drawn = draw_field(model, field(where, steps=168), replace(FOMO, steps=2))[0].astype(np.float64)
        shape = np.broadcast_to(want / want.mean(axis=-1, keepdims=True), drawn.shape)
        np.testing.assert_allclose(drawn / drawn.mean(axis=1, keepdims=True), shape, rtol=1e-5)


def test_what_was_measured_is_read_as_for_samplers_of_weeks_and_tells_the_usual_weeks(bundle: FoMoBundle) -> None:
    traffic, place = world("here", days=9, users=False)
    rng = np.random.default_rng(5)
    values = np.where(rng.uniform(size=traffic["traffic"].shape) < 0.3, NAN, traffic["traffic"].values)
    values[4:] = NAN  # four cells were measured, with gaps
    given = traffic.assign(traffic=(("cell", "time"), values.astype(np.float32), traffic["traffic"].attrs))
    task = field_of(Observations(None, given, None, "traffic"), place, traffic["time"].values, 60, 16)
    found = known_cells_of(task)
    want = read_known(
        given, "traffic", place["cell_id"].values, calendar_of(given["time"].values, "Europe/Rome"), "Europe/Rome"
    )
    assert found is not None
    np.testing.assert_array_equal(found.rows, want.rows)
    np.testing.assert_array_equal(found.count, want.count)
    np.testing.assert_allclose(found.week, want.week, rtol=1e-6)
    assert known_cells_of(field(place)) is None
    source = data((traffic, place))[0][0]
    own, _ = fit_week(replace(source, location=np.arange(len(source.location))))
    weeks = ExpectedWeeks({"here": own})
    places, rows = read_places(place), np.arange(place.sizes["cell"])
    told = known_weeks(want, weeks, ("here",), places, rows, own.shared).log_week(0, rows)
    usual = drawing._usual_weeks(replace(bundle, weeks=weeks), places, "here", found)
    np.testing.assert_allclose(usual, usual_weeks(log_expected(weeks, "here", places, rows) + told), rtol=1e-5)
    alone = drawing._usual_weeks(replace(bundle, weeks=weeks), places, "here", None)
    assert np.abs(usual / alone - 1)[:4].max() > 0.02  # their own weeks are heard


def test_members_do_not_depend_on_how_many_are_drawn(bundle: FoMoBundle) -> None:
    settings = replace(FOMO, steps=3, members=3)
    three = draw_field(bundle, field(context(20)), settings)
    two = draw_field(bundle, field(context(20)), replace(settings, members=2))
    np.testing.assert_array_equal(three[:2], two)
    assert three.std(0).min() > 0


@pytest.mark.parametrize("kind", ["grid", "points"])
def test_measured_values_come_back_bit_for_bit_and_the_rest_is_drawn(bundle: FoMoBundle, kind: str) -> None:
    traffic, place = world(users=False)
    if kind == "points":
        place = place.drop_vars(["row", "col"]).assign_attrs(kind="stations")
    values = traffic["traffic"].values[:, :100].copy()
    truth = values.copy()
    values[5:9] = NAN  # cells without data
    values[20:, 30:50] = NAN  # hours without data
    values[0, 99] = NAN
    seen = ~np.isnan(values)
    drawn = draw_field(bundle, replace(field(place, 100), values=values), replace(FOMO, steps=3))[0]
    np.testing.assert_array_equal(drawn[seen], truth[seen])
    assert np.isfinite(drawn).all()
    assert (drawn >= 0).all()
    ratio = np.log(drawn[20:, 30:50].mean(1) / truth[20:, 30:50].mean(1))
    assert np.abs(ratio).mean() < 0.35  # in the units of what is measured, at the level of each cell
    assert abs(np.log(drawn[5:9].mean() / truth[5:9].mean())) < 1.5


def test_a_history_is_gone_on_with_and_hidden_truth_changes_nothing(bundle: FoMoBundle) -> None:
    traffic, place = world(users=False)
    values = traffic["traffic"].values[:, :144].copy()
    future = values[:, 120:].copy()
    values[:, 120:] = NAN
    settings = replace(FOMO, steps=1)
    drawn = draw_field(bundle, replace(field(place, 144), values=values, given=120), settings)
    assert drawn.shape == (1, 36, 24)
    error = np.abs(drawn[0] - future).mean()
    last = np.abs(values[:, 119:120] - future).mean()
    assert error < 0.6 * last
    filled = replace(field(place, 144), values=values, given=120)
    np.testing.assert_array_equal(draw_field(bundle, filled, settings), drawn)


def test_traffic_follows_users_where_only_users_are_told(bundle: FoMoBundle) -> None:
    traffic, place = world()
    users = traffic["users"].values[:, :64]
    drawn = draw_field(bundle, replace(field(place, 64), users=users), replace(FOMO, steps=1))[0]
    real = traffic["traffic"].values[:, :64]
    assert np.corrcoef(np.log(drawn.mean(1)), np.log(real.mean(1)))[0, 1] > 0.95
    assert drawn.mean() == pytest.approx(real.mean() / traffic["traffic"].values.mean(), rel=0.2)


def test_weeks_follow_each_other_and_cells_keep_the_level_that_was_drawn(bundle: FoMoBundle) -> None:
    place = context(20)
    drawn = draw_field(bundle, field(place, 3 * 168), replace(FOMO, steps=3))[0]
    weeks = drawn.reshape(20, 3, 168).mean(2)
    places = read_places(place)
    log, unit = conditional_levels(bundle.levels, places, np.zeros(20), np.full(20, np.nan))
    assert unit == 1.0
    np.testing.assert_allclose(weeks[:, 0], np.exp(log), rtol=1e-4)
    assert np.abs(np.log(weeks[:, 2] / weeks[:, 0])).max() < 0.5


def test_what_cannot_be_drawn_is_refused(bundle: FoMoBundle) -> None:
    place = context(20)
    with pytest.raises(WrongUse, match="10 min"):
        draw_field(bundle, field(place, 80, minutes=10), FOMO)
    full = replace(field(place, 80), values=np.ones((20, 80), dtype=np.float32))
    with pytest.raises(WrongUse, match="nothing left to draw"):
        draw_field(bundle, full, FOMO)
    with pytest.raises(WrongUse, match="--rhythm mars"):
        draw_field(bundle, field(place), replace(FOMO, habits="mars"))


def test_kriging_gives_the_value_where_a_neighbour_knows_and_nothing_far_off() -> None:
    at = np.array([[0.0, 0.0], [100_000.0, 0.0]])
    wanted = np.array([[0.0, 0.0], [50_000.0, 0.0], [100_300.0, 0.0]])
    out, told = krige(np.array([1.0, -1.0]), at, wanted, SITES)
    assert out[0] == pytest.approx(0.3)  # LOCATION / (LOCATION + NOISE): the rest is each cell's own
    assert out[1] == pytest.approx(0.0, abs=1e-9)
    assert out[2] == pytest.approx(-0.3 * np.exp(-0.3))
    np.testing.assert_allclose(told, [0.3**2, 0.0, 0.3**2 * np.exp(-0.6)], atol=1e-9)


def test_levels_of_measured_cells_are_theirs_and_tell_of_their_neighbours(bundle: FoMoBundle) -> None:
    places = read_places(context(64, seed=5))
    measured = np.full(64, np.nan)
    measured[::2] = 40 * np.exp(np.random.default_rng(0).normal(0, 0.5, 32))
    _, noise = level_noise(0, range(64), places.xy_m, [SITES] * 2)
    log, unit = conditional_levels(bundle.levels, places, noise, measured)
    np.testing.assert_allclose(np.exp(log[::2]) * unit, measured[::2], rtol=1e-6)
    more, _ = conditional_levels(bundle.levels, places, noise, measured * 3)
    np.testing.assert_allclose(more, log, atol=1e-9)  # in whatever units


def test_what_a_neighbour_tells_is_stretched_where_levels_are_in_doubt() -> None:
    """Against the Gaussian conditional of the whole covariance, diag(doubt) C diag(doubt)."""
    places = replace(read_places(context(16, seed=5)), network="uomo-x")
    cells = 16
    part = NetworkLevel(
        mean=1.0,
        spread=1.0,
        scale=fit_scale(stack_features(places.counts, places.around)),
        weights=np.linspace(-0.3, 0.4, 8),
        points=np.zeros((1, 16)),
        pull=np.zeros(1),
        residual=np.zeros(3),  # members do not scatter: what is seen is all that moves
        highest=99.0,
        mean_traffic=float(np.e),
        slope=-0.8,
        lowest_centre=-9.0,
        highest_centre=9.0,
    )
    levels = LevelModel({"uomo-x": part})
    centre = levels.relative(places)[0]
    doubt = np.exp(-0.8 * part.centre(places))
    assert doubt.max() / doubt.min() > 1.5
    have = np.arange(cells) % 2 == 0
    measured = np.where(have, 7 * np.exp(centre + np.random.default_rng(1).normal(0, 0.5, cells)), np.nan)
    log, unit = conditional_levels(levels, places, np.ones(cells), measured)
    seen = np.log(measured[have] / unit) - centre[have]
    apart = np.linalg.norm(places.xy_m[:, None] - places.xy_m[None], axis=-1)
    whole = LOCATION * np.exp(-apart / REACH_M) + NOISE * np.eye(cells)
    whole = doubt[:, None] * whole * doubt
    told = whole[np.ix_(~have, have)] @ np.linalg.solve(whole[np.ix_(have, have)], seen)
    np.testing.assert_allclose(log[~have], centre[~have] + told, atol=1e-9)
    assert np.abs(told).max() > 0.03


@pytest.mark.slow
@pytest.mark.skipif("fomo-base" not in bundled_models(), reason="fomo-base is not bundled")
@pytest.mark.parametrize(
    "settings", [FOMO, replace(FOMO, steps=FOMO_STEPS, solver="gaussian")], ids=["dpm++", "gaussian"]
)
def test_seams_of_the_bundled_model_cannot_be_found(settings: Settings) -> None:
    """Steps across borders of blocks and windows are like those inside; with blocks that stand still they are not."""
    base = load_fomo("fomo-base")
    assert base.info.recommended == replace(FOMO, steps=FOMO_STEPS, solver="gaussian")
    side = 24
    place = context(side * side)
    drawn = draw_field(base, field(place, 168), settings)[0]
    logs = np.log(drawn.reshape(side, side, 168) + 0.05)
    x = logs - logs.mean(2, keepdims=True)  # levels are drawn elsewhere
    for axis in (0, 1):
        steps = np.abs(np.diff(x, axis=axis)).mean(axis=(1 - axis, 2))  # (side - 1,)
        for phase in range(4):
            border = steps[3 - phase :: 4]
            inside = np.delete(steps, np.arange(3 - phase, side - 1, 4))
            assert border.mean() == pytest.approx(inside.mean(), rel=0.06)
    z = x.reshape(-1, 168)
    z = (z - z.mean(0)) / z.std(0)  # what is common to all cells at an hour is no seam
    jumps = np.abs(np.diff(z, axis=1)).mean(0)  # (167,)
    for period in (16, 64):  # tokens and windows
        for phase in range(period):
            at = np.arange(phase, 167, period)
            limit = 0.15 if period == 16 else 0.4  # 10 or 3 places: single hours of real traffic differ as much
            assert jumps[at].mean() == pytest.approx(jumps.mean(), rel=limit)
