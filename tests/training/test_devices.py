"""Training on another device gives the CPU's weights, bit by bit; on one that there is not: pretend_device."""

from __future__ import annotations

from dataclasses import replace

import bundle_examples
import fomo_examples
import pytest
import torch
from pretend_device import on_cpu, pretending

from gentraffic.errors import WrongUse
from gentraffic.training.distilling import DISTIL_PLAN, Lesson, distil
from gentraffic.training.fitting import fit_sampler, plan_for
from gentraffic.training.fomo_fitting import FoMoDesign, finetune_fomo, fit_fomo
from gentraffic.training.fomo_task import FoMoPlan
from gentraffic.training.processes import ProcessGroup, join
from gentraffic.training.trainer import Run


@pytest.mark.slow
def test_stouter_is_fitted_on_the_device() -> None:
    from gentraffic.training.fitting import Design

    sources = bundle_examples.sources()
    design = Design()
    plan = replace(plan_for(design), steps=4, warmup=1, check_every=2, batch=8)

    def weights(device: str) -> list[torch.Tensor]:
        group = ProcessGroup(device=device)
        bundle, _ = fit_sampler(sources, design=design, plan=plan, group=group, held_out=sources[:1])
        assert all(p.device.type == "cpu" for p in bundle.model.parameters())
        return [p.detach() for p in bundle.model.parameters()]

    with bundle_examples.short_graphs():
        with pretending():
            there = weights("cuda")
        here = weights("cpu")
    for a, b in zip(here, there, strict=True):
        torch.testing.assert_close(on_cpu(a), on_cpu(b), rtol=0, atol=1e-6)


@pytest.mark.slow
def test_fomo_is_fitted_and_tuned_on_the_device() -> None:
    data = fomo_examples.data(fomo_examples.world())
    plan = FoMoPlan(steps=3, batch=4, warmup=1, check_every=2)

    def weights(device: str) -> list[torch.Tensor]:
        bundle, _ = fit_fomo(data, design=FoMoDesign(size="0.3m"), plan=plan, group=ProcessGroup(device=device))
        tuned, _ = finetune_fomo(bundle, data, plan=replace(plan, contrast=0.05, frozen=True), run=Run(device=device))
        return [p.detach() for p in tuned.model.parameters()]

    with pretending():
        there = weights("cuda")
    for a, b in zip(weights("cpu"), there, strict=True):
        torch.testing.assert_close(on_cpu(a), on_cpu(b), rtol=0, atol=1e-6)


@pytest.mark.slow
def test_fomo_learns_in_bf16_what_it_learns_in_fp32() -> None:
    """Scored in fp32 on windows of a world that neither run has seen."""
    from gentraffic.training.fomo_task import batch_of, ladder

    data, unseen = fomo_examples.data(fomo_examples.world()), fomo_examples.data(fomo_examples.world(seed=5))
    plan = FoMoPlan(steps=20, batch=8, warmup=2, check_every=20, learning_rate=3e-3, ema=0.5)

    def score(precision: str) -> float:
        group = ProcessGroup(precision=precision)
        bundle, _ = fit_fomo(data, design=FoMoDesign(size="0.3m"), plan=plan, group=group)
        held = batch_of([ladder(unseen[0][1])], bundle.scale, replace(plan, poi_keep=0.0, level_keep=0.0), 0, 16)
        with torch.no_grad():
            return float(bundle.model.eval().loss(held.x, held.scene, torch.Generator().manual_seed(0)))

    fp32, bf16 = score("fp32"), score("bf16")
    assert fp32 != bf16
    assert bf16 == pytest.approx(fp32, rel=0.03)


@pytest.mark.slow
def test_a_student_learns_on_the_device() -> None:
    teacher = bundle_examples.tiny_bundle()
    places = [s.places for s in bundle_examples.sources() if s.places is not None]
    plan = replace(DISTIL_PLAN, steps=3, batch=4, warmup=1, check_every=2)

    def student(device: str) -> tuple[list[torch.Tensor], dict[str, float]]:
        bundle, told = distil(teacher, places, lesson=Lesson(1, 2), plan=plan, run=Run(device=device))
        assert all(p.device.type == "cpu" for m in (bundle.model, teacher.model) for p in m.parameters())
        return [p.detach() for p in bundle.model.parameters()], told["likeness"]

    with pretending():
        there, likeness = student("cuda")
    here, same = student("cpu")
    assert likeness == same
    for a, b in zip(here, there, strict=True):
        torch.testing.assert_close(on_cpu(a), on_cpu(b), rtol=0, atol=1e-6)


def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(WrongUse, match="--device tpu: give cpu or cuda"):
        join("tpu")
    if not torch.cuda.is_available():
        with pytest.raises(WrongUse, match="torch sees no GPU here"):
            join("cuda")
