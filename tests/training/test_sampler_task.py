"""What a sampler is trained on: what a batch holds, and what its condition suffers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from bundle_examples import source
from prepared_examples import PREPARED, SCALER, SHORT, TIME, prepared

from gentraffic.training.sampler_task import (
    GIVEN_SHARE,
    Prepared,
    batch_of,
    by_location,
    source_weights,
    time_of_windows,
)
from samplers import WEEK


def test_a_step_always_sees_the_same_batch_and_steps_differ() -> None:
    for noisy in (True, False):
        x, condition, generator = batch_of(PREPARED, TIME, SCALER, SHORT, 3, noisy=noisy)
        y, other, twin = batch_of(PREPARED, TIME, SCALER, SHORT, 3, noisy=noisy)
        assert torch.equal(x, y)
        assert torch.equal(condition.place, other.place)
        assert torch.equal(condition.time, other.time)
        assert torch.equal(condition.level, other.level)
        assert torch.rand(1, generator=generator) == torch.rand(1, generator=twin)
    shapes = {tuple(batch_of(PREPARED, TIME, SCALER, SHORT, i)[0].shape) for i in range(100)}
    assert shapes == {(8, WEEK * k) for k in (1, 2, 6)}  # beta is at ten minutes, which do not make up fifteen
    quarters = prepared([source("beta", 8, 7, per_hour=4)])
    shapes = {tuple(batch_of(quarters, TIME, SCALER, SHORT, i)[0].shape) for i in range(60)}
    assert shapes == {(8, WEEK * k) for k in (1, 2, 4)}
    hourly = prepared([source("alpha"), replace(source("elsewhere", 12, 7), places=None)])
    assert {tuple(batch_of(hourly, TIME, SCALER, SHORT, i)[0].shape) for i in range(30)} == {(8, WEEK)}
    one, two = (batch_of(hourly, TIME, SCALER, SHORT, i, noisy=False)[0] for i in (1, 2))
    assert not torch.equal(one, two)


def test_what_the_condition_says_belongs_to_the_series_beside_it() -> None:
    sharp = replace(SHORT, batch=64)
    for step in range(4):
        x, condition, _ = batch_of(PREPARED, TIME, SCALER, sharp, step, noisy=False)
        assert condition.known is None
        for i in range(64):
            p = PREPARED[int(condition.network[i]) - 1]
            hours = p.source.ratio.reshape(len(p.place), -1, p.source.per_hour).mean(2)
            scaled = (np.log(hours + SCALER.floor) - SCALER.mean) / SCALER.spread
            found = [
                (cell, day)
                for cell in range(len(scaled))
                for day in range(p.source.ratio.shape[1] - 6)
                if np.allclose(scaled[cell, day * 24 : day * 24 + WEEK], x[i].numpy(), atol=1e-4)
            ]
            assert len(found) == 1
            cell, day = found[0]
            assert torch.equal(condition.place[i], torch.from_numpy(p.place[cell]))
            level = p.level[cell]
            assert condition.level[i].tolist() == ([0.0, 0.0] if np.isnan(level) else [pytest.approx(level), 1.0])
            weekday = (p.source.weekday + day) % 7
            torch.testing.assert_close(condition.time[i], TIME.roll(-24 * weekday, 0))  # the hours it really had


def test_the_condition_suffers_in_training_as_planned() -> None:
    plan = replace(SHORT, batch=200)
    place_off, level_off, unnamed, given, unknown = [], [], [], [], []
    for step in range(30):
        x, condition, _ = batch_of(PREPARED[:2], TIME, SCALER, plan, step)
        place_off.append((condition.place == 0).all(1).float().mean())
        level_off.append((condition.level[:, 1] == 0).float().mean())
        unnamed.append((condition.network == 0).float().mean())
        given.append(condition.known is not None)
        assert (condition.level[condition.level[:, 1] == 0][:, 0] == 0).all()
        if condition.known is not None:
            days = (~condition.known.isnan()).view(200, 7, -1).all(2).sum(1)
            unknown.append((days == 0).float().mean())
            known = ~condition.known.isnan()
            assert torch.equal(condition.known[known], x[known])
            assert (
                known.view(200, 7, -1).all(2) == (torch.arange(7) < days[:, None])
            ).all()  # whole days, from the first
    assert np.mean(place_off) == pytest.approx(1 - plan.place_keep, abs=0.03)
    assert np.mean(level_off) == pytest.approx(1 - plan.level_keep, abs=0.03)
    assert np.mean(unnamed) == pytest.approx(1 - plan.network_keep, abs=0.03)
    assert np.mean(given) == pytest.approx(GIVEN_SHARE, abs=0.25)
    assert np.mean(unknown) == pytest.approx(1 / 7, abs=0.04)


def test_a_place_without_a_name_inherits_no_recording_gaps() -> None:
    faulty = source("alpha")
    ratio = faulty.ratio.copy()
    ratio[:, :, 4] = 0.0
    (p,) = prepared([replace(faulty, ratio=ratio, clean=faulty.clean)])
    floor = float(SCALER.forward(np.zeros((1, WEEK)))[0, 0])
    for step in range(5):
        x, condition, _ = batch_of([p], TIME, SCALER, replace(SHORT, batch=50), step)
        night = x.view(50, 7, 24)[:, :, 4]
        assert (night[condition.network == 1] < floor + 1e-5).all()
        assert (night[condition.network == 0] > floor + 0.5).all()


@pytest.mark.parametrize("k", [1, 2, 6])
def test_times_of_windows_begin_on_their_weekday(k: int) -> None:
    weekday = torch.tensor([0, 3, 6])
    got = time_of_windows(TIME, weekday, k)
    assert got.shape == (3, WEEK * k, 4)
    for i, day in enumerate(weekday.tolist()):
        torch.testing.assert_close(got[i, ::k], TIME.roll(-24 * day, 0))  # on the hour: the hour's own embedding
        if k > 1:
            middle = got[i, k // 2 :: k]  # on the half hour: the mean of two, also from Sunday to Monday
            torch.testing.assert_close(middle, (TIME.roll(-24 * day, 0) + TIME.roll(-24 * day - 1, 0)) / 2)


def test_levels_are_standardised_within_their_network() -> None:
    alpha, _, elsewhere = PREPARED
    log = np.log(alpha.source.level)
    np.testing.assert_allclose(alpha.level, (log - log.mean()) / log.std(), rtol=1e-5)
    assert (alpha.network, elsewhere.network) == (1, 3)
    assert np.isnan(elsewhere.level).all()
    assert (elsewhere.place == 0).all()
    assert elsewhere.place.shape == (12, 3)


def test_sources_weigh_by_the_root_of_their_locations() -> None:
    placed = [source("a", 64), source("b", 16)]  # 16 and 4 locations
    np.testing.assert_allclose(source_weights(placed), [4 / 6, 2 / 6])
    blind = replace(source("c", 400), places=None)  # many, but nothing is known of them: half the median of the others
    np.testing.assert_allclose(source_weights([*placed, blind]), np.array([4, 2, 1.5]) / 7.5)
    np.testing.assert_allclose(source_weights([blind]), [1.0])


def test_a_location_counts_with_the_root_of_its_cells() -> None:
    """One cell of one location and four of another: 1 to 2, in the chances and in what is drawn."""
    np.testing.assert_allclose(by_location(np.array([7, 3, 3, 3, 3])), np.cumsum([2, 1, 1, 1, 1]) / 6)
    data = source("alpha", 5, 7)
    part = Prepared(
        data,
        np.zeros((5, 2), dtype=np.float32),
        np.zeros(5, dtype=np.float32),
        1,
        1.0,
        up_to=by_location(np.array([7, 3, 3, 3, 3])),
    )
    rng = np.random.default_rng(0)
    count = np.bincount([part.one(rng) for _ in range(6000)], minlength=5)
    np.testing.assert_allclose(count, [2000, 1000, 1000, 1000, 1000], atol=5 * np.sqrt(6000 * 2 / 9))
    plain = replace(part, up_to=None)
    assert np.bincount([plain.one(rng) for _ in range(6000)]).min() > 1000
