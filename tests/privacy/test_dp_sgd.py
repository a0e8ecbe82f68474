"""DP-SGD is what its accountant is told, and every planted bug that breaks the promise is found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bundle_examples import source
from privacy_auditor import faults
from torch import Tensor

from gentraffic.errors import BadModel, WrongUse
from gentraffic.modelling.features import Scaler
from gentraffic.privacy.dp import sgd as private_training
from gentraffic.privacy.dp.accounting import Mechanism, Privacy, Secret
from gentraffic.privacy.dp.sgd import (
    PrivateGradient,
    PrivatePlan,
    PrivateTask,
    cell_gradients,
    cell_rows,
    clipped_sum,
    clone_untrained,
    noisy_mean,
    row_losses,
    sample_cells,
    trainer_of,
    watched,
)
from gentraffic.training.sampler_task import Prepared
from gentraffic.training.trainer import Trainer
from samplers import STUNet

CELLS = 10
SCALER = Scaler(mean=-0.2, spread=0.7)
TIME = torch.randn(168, 4, generator=torch.Generator().manual_seed(0))
PLAN = PrivatePlan(steps=6, draws=2, learning_rate=0.05)
PRIVACY = Privacy(8.0, 1e-3, clip=0.05)
RATE = 0.264  # of 10 listed cells: 2.64 are expected


def prepared() -> list[Prepared]:
    s = source("alpha", CELLS, 14)
    assert s.places is not None
    return [Prepared(s, s.places.counts[:, :3].astype(np.float32), np.log(s.level).astype(np.float32), 1, 1.0)]


PREPARED = prepared()


def network(dropout: float = 0.0) -> STUNet:
    torch.manual_seed(0)
    model = STUNet(place_dim=3, time_dim=4, networks=1, width=8, channels=(8, 8), cadences=(1,), dropout=dropout)
    for p in model.leave.parameters():
        torch.nn.init.normal_(p, std=0.3)  # zeros would hide all gradients but their own
    return model


def trainer(
    checkpoint: Path | None = None,
    *,
    secret: bytes = b"s",
    privacy: Privacy = PRIVACY,
    mark: str = "data",
    dropout: float = 0.0,
    sigma: float = 1.3,
) -> Trainer[PrivateTask]:
    mechanism = Mechanism("training", sigma, RATE, PLAN.steps)
    listed: list[tuple[int, int] | None] = [(0, i) for i in range(CELLS)]
    listed[4] = None  # a dead one
    task = PrivateTask(network(dropout), PREPARED, listed, TIME, SCALER, PLAN, RATE, Secret(secret))
    return trainer_of(task, privacy, mechanism, checkpoint, mark)


def test_the_auditor_finds_no_fault() -> None:
    assert faults(trainer()) == set()


def test_no_clip_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private_training, "clipped_sum", lambda gradients, clip: [g.sum(dim=0) for g in gradients])
    assert "sensitivity" in faults(trainer())


def test_clipping_each_weight_by_itself_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        private_training, "clipped_sum", lambda gradients, clip: [clipped_sum([g], clip)[0] for g in gradients]
    )
    assert "sensitivity" in faults(trainer())


def test_wrong_sigma_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_clip(total: Sequence[Tensor], clip: float, sigma: float, *rest: Any) -> list[Tensor]:
        return noisy_mean(total, clip / 2, sigma, *rest)

    monkeypatch.setattr(private_training, "noisy_mean", without_clip)
    assert faults(trainer()) == {"noise"}


def test_several_draws_as_several_records_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private_training, "cell_gradients", lambda turn, rows, draws: cell_gradients(turn, rows, 1))
    assert faults(trainer()) == {"sensitivity"}


def test_shuffled_batches_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def shuffled(secret: Secret, step: int, listed: int, rate: float) -> Any:
        batches = round(1 / rate)
        order = np.random.default_rng(step // batches).permutation(listed)
        return np.sort(order[step % batches :: batches])

    monkeypatch.setattr(private_training, "sample_cells", shuffled)
    assert "sampling" in faults(trainer())


def test_batches_of_one_size_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def fixed(secret: Secret, step: int, listed: int, rate: float) -> Any:
        return np.random.default_rng(step).choice(listed, round(rate * listed), replace=False)

    monkeypatch.setattr(private_training, "sample_cells", fixed)
    assert "sampling" in faults(trainer())


@pytest.mark.parametrize("least", [2, 3])
def test_a_batch_that_is_never_smaller_is_found(monkeypatch: pytest.MonkeyPatch, least: int) -> None:
    def filled(secret: Secret, step: int, listed: int, rate: float) -> Any:
        drawn = sample_cells(secret, step, listed, rate)
        others = np.random.default_rng(step).permutation(np.setdiff1d(np.arange(listed), drawn))
        return np.sort(np.concatenate([drawn, others[: max(least - len(drawn), 0)]]))

    monkeypatch.setattr(private_training, "sample_cells", filled)
    assert "sampling" in faults(trainer())


def test_a_floored_denominator_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """2.64 cells are expected; by 2, as Opacus' engine would floor it, the noise is not what the card says."""

    def floored(total: Any, clip: float, sigma: float, expected: float, *rest: Any) -> list[Tensor]:
        return noisy_mean(total, clip, sigma, int(expected), *rest)

    monkeypatch.setattr(private_training, "noisy_mean", floored)
    assert {"noise", "denominator"} <= faults(trainer())


def test_the_realised_number_as_denominator_is_found() -> None:
    class Realised(PrivateGradient):
        def released(self, turn: Any, batch: Any, step: int) -> list[Tensor]:
            rows = list(batch)
            count = max(sum(len(part.x) for part in rows) // self.draws, 1)
            return noisy_mean(self.summed(turn, rows), self.clip, self.noise_multiplier, count, self.secret, step)

    one = trainer()
    assert isinstance(one.rule, PrivateGradient)
    one.rule = Realised(**vars(one.rule))
    assert "denominator" in faults(one)


def test_draws_that_follow_the_place_in_the_batch_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    class ByPlace(PrivateTask):
        def rows(self, cells: Any, step: int) -> Any:
            place = iter(range(len(cells)))

            def rows(p: Prepared, cell: int, step: int, *rest: Any) -> Any:
                return cell_rows(p, cell, 1000 * step + next(place), *rest)

            with monkeypatch.context() as patch:
                patch.setattr(private_training, "cell_rows", rows)
                return list(super().rows(cells, step))

    one = trainer()
    one.task.__class__ = ByPlace
    assert "sensitivity" in faults(one)


def test_dropout_is_found_and_refused() -> None:
    """Its masks follow the place in the batch, so that a cell changes those of the cells after it."""
    one = trainer()
    for module in one.task.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.5
    assert "sensitivity" in faults(one)
    with pytest.raises(ValueError, match="Dropout in the model"):
        trainer(dropout=0.5)


def test_a_copy_keeps_what_it_is_told() -> None:
    """diffusers' from_config would give the default of 0.1 back to a network that was built without naming it."""
    default = STUNet(place_dim=3, time_dim=4, networks=1, width=8, channels=(8, 8))
    assert clone_untrained(default, dropout=0.0).config["dropout"] == 0.0
    assert clone_untrained(default, dropout=0.0).place_mlp[1].p == 0.0


def test_gradients_per_cell_are_those_of_the_cell_alone() -> None:
    """Opacus' gradients against autograd of one cell at a time, weight by weight (conv inputs are channels-last)."""
    one = trainer()
    rows = [cell_rows(PREPARED[0], c, 3, TIME, SCALER, PLAN, 1000) for c in range(4)]
    together = cell_gradients(one.task.turns()[0], private_training._joined(rows), PLAN.draws)
    plain = network()
    for i, row in enumerate(rows):
        plain.zero_grad()
        row_losses(plain, row).mean().backward()  # type: ignore[no-untyped-call]
        for g, p in zip(together, plain.parameters(), strict=True):
            assert p.grad is not None
            torch.testing.assert_close(g[i], p.grad, rtol=1e-3, atol=1e-6)


def test_a_row_s_loss_is_the_sampler_s_own() -> None:
    """row_losses of one row with nothing given, against `STUNet.loss` fed the same draws."""
    model = network()
    rows = cell_rows(PREPARED[0], 0, 0, TIME, SCALER, replace(PLAN, draws=1), 1000)
    assert rows.condition.known is not None
    condition = rows.condition.with_known(None)
    generator = torch.Generator().manual_seed(5)
    t = torch.randint(1000, (1,), generator=generator)
    eps = torch.randn(rows.x.shape, generator=generator)
    told = model.loss(rows.x, condition, torch.Generator().manual_seed(5))
    open_rows = replace(rows, t=t, eps=eps, condition=rows.condition.with_known(torch.full_like(rows.x, torch.nan)))
    torch.testing.assert_close(row_losses(model, open_rows)[0], told)


def test_sum_and_scaling_agree_with_opacus() -> None:
    """A second implementation: Opacus' DPOptimizer without noise, on gradients of which some exceed the clip."""
    from opacus.optimizers import DPOptimizer

    torch.manual_seed(0)
    weights = [torch.nn.Parameter(torch.zeros(3, 4)), torch.nn.Parameter(torch.zeros(5))]
    each = [torch.randn(6, 3, 4) * 0.2, torch.randn(6, 5) * 0.2]
    each[0][2:4] *= 10
    optimiser = DPOptimizer(
        torch.optim.SGD(weights, lr=1.0), noise_multiplier=0.0, max_grad_norm=0.7, expected_batch_size=4
    )
    for p, g in zip(weights, each, strict=True):
        p.grad_sample = g.clone()  # type: ignore[attr-defined]
    optimiser.step()  # type: ignore[no-untyped-call]
    ours = noisy_mean(clipped_sum(each, 0.7), 0.7, 0.0, 4, Secret(b"s"), 0)
    for p, g in zip(weights, ours, strict=True):
        torch.testing.assert_close(p.detach(), -g)


def test_a_cell_that_overflows_adds_nothing() -> None:
    each = [torch.ones(3, 2)]
    each[0][1, 0], each[0][2, 1] = torch.inf, torch.nan
    assert torch.equal(clipped_sum(each, 10.0)[0], torch.ones(2))


def test_an_empty_batch_is_noise_alone() -> None:
    one = trainer()
    rows = one.task.rows(np.array([], dtype=np.int64), 0)
    assert isinstance(one.rule, PrivateGradient)
    got = torch.cat([g.flatten() for g in one.rule.summed(one.task.turns()[0], rows)])
    assert torch.count_nonzero(got) == 0


def weights(of: Trainer[PrivateTask]) -> list[Tensor]:
    return [p.detach().clone() for p in of.task.model.parameters()]


def test_killed_and_run_again_ends_in_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private_training, "CHECKPOINT_EVERY", 2)
    whole = trainer(tmp_path / "whole.safetensors")
    assert [step for step, _ in whole.run()] == [1, 2, 3, 4, 5, 6]
    for step, _ in trainer(tmp_path / "killed.safetensors").run():
        if step == 5:
            break
    torch.manual_seed(123)
    again = trainer(tmp_path / "killed.safetensors")
    assert [step for step, _ in again.run()] == [5, 6]  # from the checkpoint after step 4
    assert all(torch.equal(a, b) for a, b in zip(weights(again), weights(whole), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(again.average, whole.average, strict=True))
    other = trainer(secret=b"another")
    list(other.run())
    assert not any(torch.equal(a, b) for a, b in zip(weights(other), weights(whole), strict=True))
    assert (tmp_path / "whole.safetensors").stat().st_mode & 0o077 == 0  # the secret is the owner's


def change_epsilon(of: dict[str, Any]) -> None:
    of["privacy"] = replace(PRIVACY, epsilon=4.0)


def change_delta(of: dict[str, Any]) -> None:
    of["privacy"] = replace(PRIVACY, delta=1e-4)


def change_clip(of: dict[str, Any]) -> None:
    of["privacy"] = replace(PRIVACY, clip=0.1)


def change_data(of: dict[str, Any]) -> None:
    of["mark"] = "other"


@pytest.mark.parametrize("change", [change_epsilon, change_delta, change_clip, change_data])
def test_noise_does_not_serve_twice(tmp_path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """The same noise on other sums, or scaled otherwise, could be subtracted."""
    path = tmp_path / "run.safetensors"
    trainer(path).save()
    other: dict[str, Any] = {}
    change(other)
    with pytest.raises(WrongUse, match="other data, settings or privacy parameters") as told:
        list(trainer(path, **other).run())
    assert "\n" not in str(told.value)


def test_a_damaged_checkpoint_is_told(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    trainer(path).save()
    good = path.read_bytes()
    for bad in (good[:100], good[:-1], good[:-9] + bytes([good[-9] ^ 1]) + good[-8:]):
        path.write_bytes(bad)
        with pytest.raises(BadModel, match="not a whole checkpoint"):
            list(trainer(path).run())


def test_the_finished_model_carries_no_hooks() -> None:
    one = trainer()
    list(one.run())
    one.finish()
    done = one.task.finished()
    assert not any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in done.modules())
    assert all(torch.equal(a, b) for a, b in zip(done.parameters(), one.average, strict=True))
    assert not any(hasattr(p, "grad_sample") for p in done.parameters())


def test_a_model_that_is_watched_again_has_the_same_gradients() -> None:
    one = trainer()
    rows = cell_rows(PREPARED[0], 1, 0, TIME, SCALER, PLAN, 1000)
    [turn] = one.task.turns()
    first = cell_gradients(turn, rows, PLAN.draws)
    one.task.hooks.remove_hooks()
    watched(one.task.model)
    again = cell_gradients(turn, rows, PLAN.draws)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


@pytest.mark.parametrize(("noise", "share"), [(0.0, 1.0), (0.06, 1.0), (0.65, 0.1), (6.5, 0.01)])
def test_the_learning_rate_falls_as_the_noise_rises(noise: float, share: float) -> None:
    """What noise moves the weights is lr x sigma / cells per step: it grows no further where that is above 0.065."""
    loop = trainer(sigma=noise * RATE * CELLS)
    (group,) = loop.optimiser.param_groups
    assert group["lr"] == loop.schedule.learning_rate == pytest.approx(PLAN.learning_rate * share)
