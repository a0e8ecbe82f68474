"""The training loop: a run that was killed ends in the same bits as one that was not; and a sampler's batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bundle_examples import PLAN, source, sources
from torch import Tensor

from gentraffic.errors import BadModel, WrongUse
from gentraffic.modelling.levels import Measured, fit_levels
from gentraffic.modelling.measured import Source
from gentraffic.modelling.transform import Scaler
from gentraffic.training.sampler_task import (
    GIVEN_SHARE,
    Plan,
    Prepared,
    SamplerTask,
    batch_of,
    prepare,
    source_weights,
    time_of_windows,
    trainer_of,
)
from gentraffic.training.trainer import Trainer
from samplers import WEEK, STUNet

NETWORKS = ("alpha", "beta", "elsewhere")
SCALER = Scaler(mean=-0.2, spread=0.7, detail={"2": [0.2], "4": [0.2] * 3, "6": [0.2] * 5})
TIME = torch.randn(168, 4, generator=torch.Generator().manual_seed(0))
SHORT = replace(PLAN, steps=40, batch=8, check_every=10)


def embed(source: Source) -> Any:
    assert source.places is not None
    return source.places.counts[source.rows][:, :3].astype(np.float32)


def prepared(of: Sequence[Source] | None = None) -> list[Prepared]:
    of = sources() if of is None else of
    placed = [s for s in of if s.places is not None]
    levels = fit_levels([Measured(s.network, s.places.counts, s.places.around, s.level, s.location) for s in placed])  # type: ignore[union-attr]
    return prepare(of, embed, levels, NETWORKS, 3)


def trainer(
    checkpoint: Path | None = None, plan: Plan = SHORT, mark: str = "data", **changes: Any
) -> Trainer[SamplerTask]:
    torch.manual_seed(0)
    model = STUNet(place_dim=3, time_dim=4, networks=3, width=8, channels=(8, 8), **changes)
    return trainer_of(SamplerTask(model, PREPARED, VALIDATION, TIME, SCALER, plan), plan, checkpoint, mark)


PREPARED = prepared()
VALIDATION = prepared([source("alpha", 8, 7, seed=9)])  # as small as they are, both take milliseconds


def weights(of: Trainer[SamplerTask]) -> list[Tensor]:
    return [p.detach().clone() for p in of.task.weights]


def check_equal(a: Trainer[SamplerTask], b: Trainer[SamplerTask]) -> None:
    for one, other in ((weights(a), weights(b)), (a.average, b.average), (a.best or [], b.best or [])):
        assert all(torch.equal(p, q) for p, q in zip(one, other, strict=True))
    for p, q in zip(a.task.weights, b.task.weights, strict=True):
        assert all(torch.equal(a.optimiser.state[p][name], b.optimiser.state[q][name]) for name in a.optimiser.state[p])
    assert (a.step, a.best_step, a.best_score, a.scores) == (b.step, b.best_step, b.best_score, b.scores)
    assert a.losses == b.losses


def test_killed_and_run_again_ends_in_the_same_bits(tmp_path: Path) -> None:
    whole = trainer(tmp_path / "whole.safetensors")
    losses = dict(whole.run())
    assert list(losses) == list(range(1, 41))
    assert [step for step, _ in whole.scores] == [10, 20, 30, 40]
    for step, _ in trainer(tmp_path / "killed.safetensors").run():
        if step == 27:
            break
    torch.manual_seed(123)  # another process, whose generators stand elsewhere
    again = trainer(tmp_path / "killed.safetensors")
    rest = dict(again.run())
    assert list(rest) == list(range(21, 41))  # from the last checkpoint
    assert all(rest[step] == losses[step] for step in rest)
    check_equal(again, whole)
    done = trainer(tmp_path / "killed.safetensors")
    assert list(done.run()) == []  # what is done is not done again
    check_equal(done, whole)
    assert all(torch.equal(p, q) for p, q in zip(done.finish().parameters(), whole.finish().parameters(), strict=True))


@pytest.mark.parametrize("changes", [{"use_time": False}, {"use_place": False}])
def test_ablations_resume_as_well(tmp_path: Path, changes: dict[str, Any]) -> None:
    """Weights that no step uses have no moments in the optimiser."""
    whole = trainer(tmp_path / "a.safetensors", replace(SHORT, steps=20), **changes)
    list(whole.run())
    part = trainer(tmp_path / "b.safetensors", replace(SHORT, steps=20), **changes)
    for step, _ in part.run():
        if step == 10:
            break
    again = trainer(tmp_path / "b.safetensors", replace(SHORT, steps=20), **changes)
    list(again.run())
    check_equal(again, whole)


def test_a_damaged_checkpoint_is_told(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    list(trainer(path, replace(SHORT, steps=10)).run())
    good = path.read_bytes()

    def refused(content: bytes) -> None:
        path.write_bytes(content)
        with pytest.raises(
            BadModel, match=r"run\.safetensors: not a whole checkpoint .* delete it to start again"
        ) as told:
            list(trainer(path, replace(SHORT, steps=10)).run())
        assert "\n" not in str(told.value)

    for cut in (0, 7, 100, len(good) // 2, len(good) - 1):
        refused(good[:cut])
    refused(b"not a checkpoint")
    rng = np.random.default_rng(0)
    for at in [*rng.integers(8, len(good), 30), len(good) - 1]:  # one flipped bit anywhere
        flipped = bytearray(good)
        flipped[at] ^= 1 << int(rng.integers(8))
        refused(bytes(flipped))


def test_a_checkpoint_of_another_run_is_told(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    list(trainer(path, replace(SHORT, steps=10)).run())
    for other in (
        trainer(path, replace(SHORT, steps=10), mark="other data"),
        trainer(path, replace(SHORT, steps=20)),
        trainer(path, replace(SHORT, steps=10, seed=1)),
    ):
        with pytest.raises(WrongUse, match="belongs to a run with other data or settings"):
            list(other.run())


def test_a_checkpoint_is_whole_or_not_there(tmp_path: Path) -> None:
    run = trainer(tmp_path / "run.safetensors", replace(SHORT, steps=20))
    for step, _ in run.run():
        files = [p.name for p in tmp_path.iterdir()]
        assert files == ([] if step < 10 else ["run.safetensors"])  # nothing temporary stays behind


def test_training_stops_when_the_held_out_score_no_longer_improves() -> None:
    still = trainer(plan=replace(SHORT, steps=200, learning_rate=0.0, patience=2))
    assert [step for step, _ in still.run()][-1] == 30  # best at the first check, then two in vain
    assert still.stale
    assert still.best_step == 10
    alone = trainer(plan=replace(SHORT, steps=40, learning_rate=0.0, patience=2))
    alone.task.validation = []
    assert [step for step, _ in alone.run()][-1] == 40  # nobody to judge


def test_the_best_average_is_what_comes_out() -> None:
    run = trainer(plan=replace(SHORT, steps=40, learning_rate=0.02, warmup=1))
    seen = {}
    for step, _ in run.run():
        if step % 10 == 0:
            seen[step] = [p.clone() for p in run.average]
    assert run.best_score == min(score for _, score in run.scores)
    assert run.best_step == min(run.scores, key=lambda part: part[1])[0]
    model = run.finish()
    assert not model.training
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), seen[run.best_step], strict=True))


def test_the_average_follows_the_weights_with_the_planned_decay() -> None:
    run = trainer(plan=replace(SHORT, steps=12, ema=0.5, learning_rate=0.01))
    expected = [p.clone().double() for p in run.average]
    for step, _ in run.run():
        decay = min(0.5, step / (step + 9))  # 1/10 at the first step: what was before training is soon forgotten
        expected = [decay * e + (1 - decay) * w.double() for e, w in zip(expected, weights(run), strict=True)]
    for got, want in zip(run.average, expected, strict=True):
        torch.testing.assert_close(got.double(), want, atol=1e-6, rtol=1e-5)


def test_training_learns() -> None:
    run = trainer(plan=replace(PLAN, steps=60, batch=16))
    losses = [loss for _, loss in run.run()]
    assert np.mean(losses[-10:]) < 0.75 * np.mean(losses[:10])
    scores = [score for _, score in run.scores]
    assert scores[-1] < scores[0]


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
