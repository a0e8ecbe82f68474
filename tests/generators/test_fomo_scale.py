"""References, echoes and the scale: everything follows from what is told alone."""

from dataclasses import replace

import numpy as np
import pytest
from fomo_examples import data, world

from gentraffic.errors import BadInput
from gentraffic.generators.fomo.data import cadences_of, grid_blocks, near_blocks, placed, read_region, usual_weeks
from gentraffic.generators.fomo.scale import FoMoScale, echo_of, fit_scale_of, refer, usual_at
from gentraffic.modelling.levels import LevelModel
from gentraffic.training.fomo_task import FoMoPlan, batch_of, ladder, masked, others, window

NAN = np.nan


def scale() -> FoMoScale:
    week = 1 + 0.5 * np.sin(np.arange(168) * 2 * np.pi / 24)
    return FoMoScale(-0.1, 0.6, np.stack([week, week]), np.array([0.0, 3.0]), ("here",))


def test_scale_and_its_mirror() -> None:
    usual = usual_at(scale().mean_week(1)[None], np.arange(48.0))
    ratio = np.random.default_rng(0).uniform(0.0, 4.0, (5, 48))
    back = scale().inverse(scale().forward(ratio, usual), usual)
    assert np.abs(back - ratio).max() < 1e-4
    assert scale().forward(usual, usual) == pytest.approx(0.1 / 0.6)  # the usual week: minus the mean, over the spread
    assert scale().inverse(np.full((1, 48), -99.0), usual).min() == 0.0


def test_the_reference_of_observed_cells_is_their_traffic_over_the_usual_week() -> None:
    usual = np.array([1.0, 2.0, 1.0, 0.5])
    values = np.array([[10.0, 20.0, NAN, NAN], [NAN, NAN, NAN, NAN], [4.0, 8.0, 4.0, 2.0]])
    users = np.full((3, 4), NAN)
    reference, per_user, by_users = refer(values, users, usual, 0.0, np.array([1.0, 7.0, 1.0]))
    mean, hint = 48.0 / 7.5, 0.5 * usual.mean()  # of all that is observed; what the block's mean counts for
    assert reference[0] == pytest.approx((30 + hint * mean) / (3 + hint))
    assert reference[1] == 7.0  # nothing told: the level
    assert reference[2] == pytest.approx((18 + hint * mean) / (4.5 + hint))
    assert np.isnan(per_user).all()
    assert not by_users.any()


def test_the_reference_of_unobserved_cells_with_users_is_b_times_users() -> None:
    users = np.array([[1.0, 3.0], [2.0, 2.0]])
    values = np.array([[NAN, NAN], [20.0, NAN]])
    reference, per_user, by_users = refer(values, users, np.ones(2), 3.0, np.array([99.0, 99.0]))
    assert by_users.tolist() == [True, False]
    assert reference[0] == pytest.approx(3.0 * 2.0)
    assert per_user[0] == 3.0
    assert per_user[1] == pytest.approx((20 + 2 * 3 * 2) / (2 + 2 * 2))  # own factor, drawn to the network's
    unknown = refer(values, users, np.ones(2), 0.0, np.ones(2))[1]  # an unmeasured network tells its own factor
    assert unknown[0] == pytest.approx(10.0)


def test_hidden_values_change_no_reference() -> None:
    (pair,) = data(world())
    region, own = placed(pair[1], pair[0], LevelModel({})), fit_scale_of([pair[1]])
    region = replace(region, z=(np.log(region.level) - 3.0) / 0.8, spread=0.8)
    known = np.zeros((4, 4, 64), dtype=bool)
    known[..., :16] = True
    whole = window(region, own, 0, 5)
    changed = replace(whole, values=np.where(known[None], whole.values, whole.values * 9 + 1))
    for name in ("values", "reference", "per_user", "echo", "z"):
        one, other = (getattr(masked(w, known, own, 0.8), name) for w in (whole, changed))
        np.testing.assert_array_equal(one, other)
    told = masked(whole, known, own, 0.8)  # the level that is told is that of the reference, not the hidden truth
    np.testing.assert_allclose(told.z, (np.log(told.reference) - 3.0) / 0.8, rtol=1e-6)
    assert np.abs(told.z - whole.z)[whole.exists.any(-1)].max() > 0.01


def test_the_echo_is_the_mean_of_the_same_time_on_other_days() -> None:
    usual = np.array([1.0, 2.0, 1.0, 2.0, 1.0, 2.0])
    values = np.array([[3.0, 8.0, 5.0, NAN, NAN, NAN]])
    # slot 0: days hold 3, 5, nan; slot 1: 8/2 = 4, nan, nan times the usual 2
    assert echo_of(values, usual, 2)[0].tolist() == pytest.approx([5.0, NAN, 3.0, 8.0, 4.0, 8.0], nan_ok=True)


def test_cells_that_follow_a_week_of_their_own_hold_nothing_else() -> None:
    (pair,) = data(world())
    region = replace(placed(pair[1], pair[0], LevelModel({})), users=None)
    own = usual_weeks(np.random.default_rng(3).normal(0, 0.5, (len(region.values), 168)))
    values = (region.level[:, None] * usual_at(own, region.hour)).astype(np.float32)
    region = replace(region, week=own, values=values, clean=values)
    fitted = fit_scale_of([region])
    assert fitted.mean == pytest.approx(0.0, abs=1e-6)
    known = np.zeros((4, 4, 64), dtype=bool)
    known[..., :40] = True
    told = masked(window(region, fitted, 0, 30), known, fitted, 1.0)
    there = told.exists.any(-1)
    np.testing.assert_allclose(told.reference[there], region.level[region.blocks[0]][region.blocks[0] >= 0], rtol=0.03)
    ratio = (
        region.values[region.blocks[0].ravel()][:, 30:94].reshape(1, 4, 4, 64)
        / region.level[region.blocks[0]][..., None]
    )
    wide = replace(fitted, spread=1.0)
    assert np.abs(wide.forward(ratio, told.usual)[there]).max() < 1e-5
    unnamed = window(region, fitted, 0, 30, named=False)
    np.testing.assert_array_equal(unnamed.week[0, 0, 0], fitted.mean_week(0))
    echo = told.echo[there][:, 24:40]  # of the day before: what its week says, times the usual ratio of that step
    np.testing.assert_allclose(echo / values[region.blocks[0].ravel()][:, 54:70], 1.0, rtol=1e-4)


def test_blocks_of_a_full_grid_are_all_squares_and_those_of_points_their_neighbours() -> None:
    grid = np.stack(np.divmod(np.arange(30), 6), axis=1)
    blocks = grid_blocks(grid)
    assert blocks.shape == (2 * 3, 4, 4)
    rows = grid[blocks.reshape(len(blocks), 16)]
    assert (rows.max(1) - rows.min(1) == 3).all()
    xy = np.random.default_rng(0).uniform(0, 1000, (40, 2))
    near = near_blocks(xy).reshape(40, 16)
    apart = np.linalg.norm(xy[:, None] - xy[None], axis=-1)
    for cell in range(40):
        assert set(near[cell]) == set(np.argsort(apart[cell])[:16])


def test_a_lone_patch_with_dead_cells_is_one_block() -> None:
    grid = np.stack(np.divmod(np.arange(16), 4), axis=1)
    blocks = grid_blocks(np.delete(grid, [3, 9], axis=0))
    assert all(set(b.ravel()) == {-1, *range(14)} for b in blocks)


def test_coarser_regions_are_means() -> None:
    (pair,) = data(world(minutes=15, days=8))
    ladder_ = cadences_of(pair[1])
    assert [r.minutes for r in ladder_] == [15, 30, 60]
    np.testing.assert_allclose(ladder_[2].values[:, 0], pair[1].values[:, :4].mean(1), rtol=1e-5)
    assert ladder_[2].hour[1] - ladder_[2].hour[0] == 1.0


def test_a_series_shorter_than_a_window_and_users_with_gaps_are_refused() -> None:
    traffic, place = world()
    traffic["users"][3, 4] = NAN
    with pytest.raises(BadInput, match="users hold 1 NaN"):
        read_region(traffic, [place], "traffic")
    (pair,) = data(world())
    from dataclasses import replace

    short = replace(
        pair[1], values=pair[1].values[:, :40], clean=pair[1].clean[:, :40], users=None, hour=pair[1].hour[:40]
    )
    with pytest.raises(BadInput, match="windows of 64 steps"):
        ladder(short)


def test_batches_follow_their_step_and_hold_every_kind_of_context() -> None:
    pairs = data(world("here"), world("there", minutes=30, seed=2, users=False))
    own = fit_scale_of([r for _, r in pairs])
    ladders = [ladder(r) for _, r in pairs]
    one, again = (batch_of(ladders, own, FoMoPlan(batch=48), 7, 16) for _ in range(2))
    np.testing.assert_array_equal(one.x.numpy(), again.x.numpy())
    told = ~np.isnan(one.scene.users.numpy()).all((1, 2, 3))
    assert 0 < told.mean() < 1
    assert set(one.scene.network.tolist()) == {0, 1, 2}
    assert set(one.scene.minutes.tolist()) == {30, 60}
    hidden = np.isnan(one.scene.known.numpy())
    assert hidden.any((1, 2, 3)).all()  # something to draw in every window
    seen = one.scene.known.numpy()[~hidden]
    np.testing.assert_array_equal(seen, one.x.numpy()[~hidden])  # known values are those of x


def test_negatives_are_other_blocks_or_other_days() -> None:
    where = np.array([[0, 1, 0], [0, 1, 10], [0, 1, 40], [0, 2, 0], [1, 1, 0]])
    for seed in range(20):
        rivals = others(where, 2, np.random.default_rng(seed)).numpy()
        assert 1 not in rivals[0]  # the same block ten hours later is no negative
        assert 0 not in rivals[1]
        assert not (rivals == np.arange(5)[:, None]).any()
    assert others(where[:2], 1, np.random.default_rng(0)).tolist() == [[-1], [-1]]
