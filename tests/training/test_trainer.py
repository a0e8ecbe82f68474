"""The training loop: a run that was killed ends in the same bits as one that was not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bundle_examples import PLAN, source
from prepared_examples import PREPARED, SCALER, SHORT, TIME, prepared
from torch import Tensor

from gentraffic.errors import BadModel, WrongUse
from gentraffic.training.checkpoint import Checkpoint, save_checkpoint
from gentraffic.training.sampler_task import (
    Plan,
    SamplerTask,
    trainer_of,
)
from gentraffic.training.trainer import Schedule, Trainer, Turn
from samplers import STUNet


def trainer(
    checkpoint: Path | None = None, plan: Plan = SHORT, mark: str = "data", **changes: Any
) -> Trainer[SamplerTask]:
    torch.manual_seed(0)
    model = STUNet(place_dim=3, time_dim=4, networks=3, width=8, channels=(8, 8), **changes)
    return trainer_of(SamplerTask(model, PREPARED, VALIDATION, TIME, SCALER, plan), plan, checkpoint, mark)


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


@pytest.mark.slow
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


@pytest.mark.slow
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


class Line:
    """y = w x on one point, for a loop whose every step is known in closed form."""

    def __init__(self) -> None:
        self.model = torch.nn.Linear(1, 1, bias=False)
        torch.nn.init.ones_(self.model.weight)
        self.weights = self.averaged = [self.model.weight]

    def batch(self, step: int) -> Tensor:
        return torch.tensor([[1.0]])

    def turns(self) -> list[Turn[Tensor]]:
        return [Turn(lambda x: self.model(x).square().sum() / 2, self.weights)]

    def score(self) -> float | None:
        return None


class Untold:
    """A gradient of 1 wherever the weights are, and no loss."""

    def fill(self, turn: Turn[Any], batch: Any, step: int, group: Any) -> float | None:
        for p in turn.weights:
            p.grad = torch.ones_like(p)
        return None


LINE = Schedule(steps=8, learning_rate=0.1, warmup=4, ema=0.9, check_every=4, seed=0)


def test_the_loop_follows_its_schedule_in_closed_form() -> None:
    """Gradient descent on w^2 / 2: w shrinks by 1 - rate, where the rate ramps up and falls by half a cosine."""
    task = Line()
    run = Trainer(task, LINE, torch.optim.SGD(task.weights, lr=1.0))
    losses = dict(run.run())
    w = mean = 1.0
    for step in range(8):
        assert losses[step + 1] == pytest.approx(w**2 / 2, rel=1e-5)
        w -= 0.1 * min(1.0, (step + 1) / 4) * 0.5 * (1 + np.cos(np.pi * step / 8)) * w
        decay = min(0.9, (step + 1) / (step + 10))
        mean = decay * mean + (1 - decay) * w
    assert task.model.weight.item() == pytest.approx(w, rel=1e-5)
    assert run.losses == [(n, pytest.approx(np.mean([losses[n - i] for i in range(4)]), abs=1e-5)) for n in (4, 8)]
    assert run.scores == []
    assert run.finish().weight.item() == pytest.approx(mean, rel=1e-5)  # type: ignore[arg-type]


def test_a_rule_that_tells_no_loss_leaves_none_behind(tmp_path: Path) -> None:
    task, path = Line(), tmp_path / "c.safetensors"
    run = Trainer(task, LINE, torch.optim.SGD(task.weights, lr=1.0), Checkpoint(path, {"a": 1}), rule=Untold())
    assert all(np.isnan(loss) for _, loss in run.run())
    rates = [LINE.rate(step) for step in range(8)]
    assert task.model.weight.item() == pytest.approx(1 - sum(rates), rel=1e-5)
    assert Checkpoint(path, {"a": 1}).read()[0]["losses"] == []


def test_momentum_is_kept_in_the_checkpoint(tmp_path: Path) -> None:
    def run(path: Path | None) -> tuple[Trainer[Line], Line]:
        task = Line()
        optimiser = torch.optim.SGD(task.weights, lr=1.0, momentum=0.9)
        return Trainer(task, LINE, optimiser, Checkpoint(path, {})), task

    whole, line = run(None)
    whole.train()
    killed, _ = run(tmp_path / "c.safetensors")
    for step, _ in killed.run():
        if step == 6:
            break
    again, other = run(tmp_path / "c.safetensors")
    seen: list[int] = []
    again.train(lambda step, of, loss: seen.append(step))
    assert seen == [5, 6, 7, 8]
    assert torch.equal(line.model.weight, other.model.weight)


def test_a_run_of_another_version_is_told(tmp_path: Path) -> None:
    path, task = tmp_path / "c.safetensors", Line()
    save_checkpoint(path, {"step": 3}, {"weight.0": torch.ones(1)})
    run = Trainer(task, LINE, torch.optim.SGD(task.weights, lr=1.0), Checkpoint(path, {}))
    with pytest.raises(WrongUse, match="was begun by another version of gentraffic: delete it to start again"):
        run.train()
