"""Distillation: the student answers like its teacher, noise for noise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmark_scripts import script
from bundle_examples import sources, tiny_bundle

from gentraffic.cli.main import run
from gentraffic.errors import WrongUse
from gentraffic.evaluation.solver_steps import steps_table
from gentraffic.generators.folder import Bundle, load_bundle, save_bundle
from gentraffic.modelling.features import Places
from gentraffic.training.distilling import DISTIL_PLAN, SOLVER, DistillingTask, Lesson, distil, pupil
from gentraffic.training.trainer import Run
from samplers import Condition
from samplers.diffusion import draw, starting_noise
from samplers.diffwave import DiffWave

PLAN = replace(DISTIL_PLAN, steps=60, batch=16, warmup=5, check_every=10, learning_rate=5e-3, ema=0.9)


@pytest.fixture(scope="module")
def teacher() -> Bundle:
    return tiny_bundle()


@pytest.fixture(scope="module")
def places() -> list[Places]:
    return [s.places for s in sources() if s.places is not None]


@pytest.mark.slow
def test_solving_is_drawing(teacher: Bundle, places: list[Places]) -> None:
    """A draw from noise has the bits of one from seeds, with and without given values, and lets gradients through."""
    loop = DistillingTask(teacher, teacher.place(places[0]), Lesson(), PLAN)
    for step in range(6):
        _, condition, _ = loop.batch(step)
        seeds = np.arange(2 * PLAN.batch, dtype=np.uint64).reshape(-1, 2)
        noise = starting_noise(seeds, condition.time.shape[1])
        with torch.no_grad():
            for solver in ("ddim", SOLVER):
                drawn = draw(loop.master, condition, seeds=seeds, steps=4, solver=solver)
                assert torch.equal(draw(loop.master, condition, noise=noise, steps=4, solver=solver), drawn)
    out = draw(loop.model, condition, noise=noise, steps=2, solver=SOLVER)
    assert all(g.isfinite().all() for g in torch.autograd.grad(out.sum(), [loop.model.enter.weight]))
    given = [loop.batch(step)[1].known is not None for step in range(12)]
    assert any(given)
    assert not all(given)


def error(loop: DistillingTask, network: torch.nn.Module) -> float:
    """Mean squared difference to the teacher over lessons that training does not see."""
    total = 0.0
    for step in range(1_000, 1_004):
        x, condition, generator = loop.batch(step)
        noise = torch.randn(x.shape, generator=generator)
        with torch.no_grad():
            answer = draw(network, condition, noise=noise, steps=loop.lesson.steps, solver=SOLVER)  # type: ignore[arg-type]
            total += float(((answer - x) ** 2).mean())
    return total / 4


@pytest.mark.slow
def test_the_student_learns_its_teachers_answers(teacher: Bundle, places: list[Places]) -> None:
    student, told = distil(teacher, places, plan=PLAN)
    loop = DistillingTask(teacher, teacher.place(places[0]), Lesson(), PLAN)
    before, after = error(loop, teacher.model), error(loop, student.model)
    assert after < 0.9 * before, (before, after)
    assert told["recommended_steps"] == 1
    assert student.provenance["recommended_steps"] == 1


def test_a_student_starts_as_what_its_teacher_expects_and_noise_of_the_whole_spectrum(teacher: Bundle) -> None:
    """Before it has learned anything, by the teacher's own weights; what moves within an hour gets noise of power 1."""
    student = pupil(teacher.model).eval()
    assert teacher.model.noise.rest != student.noise.rest  # type: ignore[attr-defined]
    power = torch.tensor(teacher.model.config["spectrum"])
    for k in student.cadences:
        noise = torch.randn((5, 168 * k), generator=torch.Generator().manual_seed(k))
        time = torch.zeros(1, 168 * k, teacher.time().shape[1])
        place = torch.zeros(5, student.config["place_dim"])
        condition = Condition(place, time, torch.zeros(5, 2), torch.zeros(5, dtype=torch.long))
        last = student.noise.num_train_timesteps - 1
        a = float(student.noise.scheduler().alphas_cumprod[last])
        with torch.no_grad():
            drawn = draw(student, condition, noise=noise, steps=1, solver=SOLVER).view(5, 168, k)
            answer = teacher.model(noise, torch.full((5,), last), condition)
        expected = (a**0.5 * noise - (1 - a) ** 0.5 * answer).view(5, 168, k)
        waves = torch.fft.rfft(noise.view(5, 168, k)[..., 0], norm="ortho") * power.clamp(min=1e-3).sqrt()
        hours = expected[..., 0] + torch.fft.irfft(waves, 168, norm="ortho")
        assert (drawn[..., 0] - hours).abs().max() < 0.12 * hours.std()  # the last time holds a trace of the series
        assert k == 1 or (drawn - expected - noise.view(5, 168, k))[..., 1:].abs().max() < 0.04
    diffwave = DiffWave(dropout=0.3)
    copied = pupil(diffwave).train()  # has no spectrum, and is not disturbed
    assert all(torch.equal(a, b) for a, b in zip(copied.parameters(), diffwave.parameters(), strict=True))
    x = torch.randn(2, 168)
    told = Condition(torch.zeros(2, 32), torch.zeros(1, 168, 32), torch.zeros(2, 2), torch.zeros(2, dtype=torch.long))
    assert torch.equal(copied(x, torch.tensor([9, 9]), told), copied(x, torch.tensor([9, 9]), told))


@pytest.mark.slow
def test_a_killed_run_ends_with_the_same_bits(teacher: Bundle, places: list[Places], tmp_path: Path) -> None:
    short = replace(PLAN, steps=12, check_every=4)
    whole, _ = distil(teacher, places, plan=short)
    path = tmp_path / "c.safetensors"

    class Killed(Exception):
        pass

    def stop(step: int, of: int, loss: float) -> None:
        if step == 9:
            raise Killed

    with pytest.raises(Killed):
        distil(teacher, places, plan=short, run=Run(path, stop))
    again, _ = distil(teacher, places, plan=short, run=Run(path))
    for a, b in zip(whole.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_what_makes_no_sense(teacher: Bundle, places: list[Places]) -> None:
    with pytest.raises(WrongUse, match="--steps 8: give 1 or more, and fewer than the teacher's 8"):
        distil(teacher, places, lesson=Lesson(8, 8))
    with pytest.raises(WrongUse, match="give --context"):
        distil(teacher, [])


@pytest.mark.slow
def test_the_command_writes_a_model_that_loads(
    teacher: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save_bundle(teacher, tmp_path / "teacher", "# teacher\n\nof the tests")
    words = ["distil", "--model", "teacher", "-o", "student", "--train-steps", "3", "--batch", "8"]
    assert run(words) == 0, capsys.readouterr().err
    student = load_bundle(tmp_path / "student")
    assert student.provenance["recommended_steps"] == 1
    card = (tmp_path / "student" / "README.md").read_text(encoding="utf-8")
    assert "## Teacher: teacher" in card
    assert not list(tmp_path.glob("*.checkpoint*"))
    assert run(["distil", "--model", "teacher", "-o", "x", "--steps", "0"]) == 2
    (tmp_path / "full").mkdir()
    assert run(["distil", "--model", "teacher", "-o", "full"]) == 2


def test_rows_of_steps() -> None:
    """A perfect ensemble scores 0, and the table carries its figures."""
    from gentraffic.evaluation.holdout import week_of
    from gentraffic.training.fitting import split_source

    source = sources()[0]
    parts = {source.network: split_source(source, 4, 0, 0)}
    real = week_of(parts[source.network][1])
    row = script("steps").score_steps({source.network: np.stack([real, real])}, parts)
    assert np.allclose(row[source.network]["crps"], 0)
    assert row[source.network]["diversity"] == 0
    assert row[source.network]["jsd_hist"] == pytest.approx(0, abs=1e-9)
    assert "| dpm++, 2 steps | alpha | 0.0000 (0.0000-0.0000)" in steps_table({"dpm++, 2 steps": [row]})
