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

    with pretending():
        there = weights("cuda")
    for a, b in zip(weights("cpu"), there, strict=True):
        torch.testing.assert_close(on_cpu(a), on_cpu(b), rtol=0, atol=1e-6)


def test_fomo_is_fitted_and_tuned_on_the_device() -> None:
    data = fomo_examples.data(fomo_examples.world())
    plan = FoMoPlan(steps=3, batch=4, warmup=1, check_every=2)

    def weights(device: str) -> list[torch.Tensor]:
        bundle, _ = fit_fomo(data, design=FoMoDesign(size="0.3m"), plan=plan, group=ProcessGroup(device=device))
        tuned, _ = finetune_fomo(bundle, data, plan=replace(plan, contrast=0.05, frozen=True), device=device)
        return [p.detach() for p in tuned.model.parameters()]

    with pretending():
        there = weights("cuda")
    for a, b in zip(weights("cpu"), there, strict=True):
        torch.testing.assert_close(on_cpu(a), on_cpu(b), rtol=0, atol=1e-6)


def test_a_student_learns_on_the_device() -> None:
    teacher = bundle_examples.tiny_bundle()
    places = [s.places for s in bundle_examples.sources() if s.places is not None]
    plan = replace(DISTIL_PLAN, steps=3, batch=4, warmup=1, check_every=2)

    def student(device: str) -> tuple[list[torch.Tensor], dict[str, float]]:
        bundle, told = distil(teacher, places, lesson=Lesson(1, 2), plan=plan, device=device)
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
