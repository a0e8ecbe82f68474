"""`gentraffic distil`: a student that draws in one step or two what its teacher draws in many.

A solver of the probability-flow equation is a function from starting noise to a week, so the teacher can answer for any
noise: the student learns to give the same answer from the same noise, by regression (Luhman and Luhman 2021, "Knowledge
distillation in iterative generative models"), through all its own steps at once, starting from the teacher's weights
(Salimans and Ho 2022). Where the two agree for every noise, they agree in every statistic: diversity cannot collapse
unseen, and the test of it is an error per series. No traffic is needed, only places.
"""

from __future__ import annotations

import copy
import hashlib
import json
import time as clock
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gentraffic.errors import WrongUse
from gentraffic.generators.folder import Bundle
from gentraffic.generators.weekly import OVERLAP_DAYS, time_of_windows
from gentraffic.modelling.features import Places
from gentraffic.training.fitting import machine
from gentraffic.training.residual_spectrum import set_residual_spectrum
from gentraffic.training.sampler_task import CADENCE_WEIGHT, GIVEN_SHARE, Plan, Windows, trainer_of
from gentraffic.training.trainer import PLAIN, Run, Turn
from samplers import Condition
from samplers.diffusion import draw, masked_mean, standard_normal
from samplers.sampler import DAYS, HOURS, WEEK

PLACE_NOISE = 0.3  # on embeddings, so that the student serves places between those that it was shown
UNNAMED = 0.1  # of the lessons are of no network in particular: places follow the nearest that was measured
LEVEL_SPREAD = 1.2  # standard levels are drawn a little wider than they are
LESSONS = 1000  # batches that the teacher draws; further steps go through them again
LIKENESS_LESSONS = 4  # of each cadence
SOLVER = "gaussian"  # of both: one step of it is what the network predicts, and noise of known power


@dataclass(frozen=True)
class Lesson:
    """steps: of the student. teacher_steps: solver steps of what it learns from."""

    steps: int = 1
    teacher_steps: int = 16


DISTIL_PLAN = Plan(steps=3000, learning_rate=2e-3, warmup=50, weight_decay=0.0, check_every=250)


def distil(
    teacher: Bundle,
    places: Sequence[Places],
    *,
    lesson: Lesson | None = None,
    plan: Plan = DISTIL_PLAN,
    run: Run = PLAIN,
) -> tuple[Bundle, dict[str, Any]]:
    """Train a student for `places` and return its bundle and what is worth telling of the run.

    run: where it resumes from, who is told of its steps, and the device.
    Raises WrongUse where the teacher does not draw by diffusion, or the lesson makes no sense."""
    lesson = lesson or Lesson()
    if not hasattr(teacher.model, "noise"):
        raise WrongUse(f"a {teacher.sampler} draws in one step already: there is nothing to distil")
    if teacher.model.config["prediction_type"] == "epsilon":
        raise WrongUse("a model that predicts the noise cannot be distilled: fit it with --prediction v_prediction")
    if teacher.scaler.own_level:
        raise WrongUse("a model that draws levels itself cannot be distilled: fit it with --level model")
    if not 1 <= lesson.steps < lesson.teacher_steps:
        raise WrongUse(f"--steps {lesson.steps}: give 1 or more, and fewer than the teacher's {lesson.teacher_steps}")
    if not places:
        raise WrongUse("distilling needs places: give --context")
    began = clock.monotonic()
    embeddings = np.concatenate([teacher.place(p) for p in places])
    task = DistillingTask(teacher, embeddings, lesson, plan, run.device)
    trainer = trainer_of(task, plan, run.checkpoint, task.fingerprint())
    trainer.train(run.on_step)
    trainer.finish()
    likeness = task.likeness()
    task.model.cpu()
    metadata = {
        "distilled_from": teacher.sha256 or str(teacher.provenance.get("seal", "")),
        "distil_plan": asdict(plan),
        "distil_lesson": asdict(lesson),
        "distil_minutes": round((clock.monotonic() - began) / 60, 2),
        "machine": machine(),
        "threads": torch.get_num_threads(),
        "recommended_steps": lesson.steps,
        "recommended_solver": SOLVER,
        "likeness": likeness,
    }
    return replace(teacher, model=task.model, provenance={**teacher.provenance, **metadata}, sha256=""), metadata


@dataclass(frozen=True)
class Drawn:
    """A batch that the teacher drew: x (B, 168 k), its condition but for the time embedding, the seed of its noise.

    weekday (B,): the first days of the weeks. Time embeddings, the bulk of a condition, are made again at every use.
    """

    x: Tensor
    place: Tensor
    level: Tensor
    network: Tensor
    weekday: Tensor
    known: Tensor | None
    seed: int
    service: Tensor | None = None
    amplitude: Tensor | None = None


class DistillingTask:
    """A student, on weeks that the teacher draws instead of measured ones."""

    def __init__(
        self, teacher: Bundle, embeddings: NDArray[np.float32], lesson: Lesson, plan: Plan, device: str = "cpu"
    ) -> None:
        """embeddings: (places, place_dim). device: of torch."""
        self.teacher, self.embeddings, self.lesson, self.plan, self.device = teacher, embeddings, lesson, plan, device
        network: Any = teacher.model
        network.eval()
        self.master = network if device == "cpu" else copy.deepcopy(network).to(device)
        self.model = pupil(network).to(device)
        self.time = teacher.time()
        self.weights: list[torch.nn.Parameter] = list(self.model.parameters())
        self.lessons: dict[int, Drawn] = {}  # what the teacher has drawn so far

    @property
    def averaged(self) -> list[torch.nn.Parameter]:
        """The weights."""
        return self.weights

    def fingerprint(self) -> str:
        """What a checkpoint belongs to: a hash of the teacher, the places and the lesson."""
        identity = json.dumps([asdict(self.lesson), self.teacher.sha256], sort_keys=True).encode()
        return hashlib.sha256(identity + self.embeddings.tobytes()).hexdigest()

    def turns(self) -> list[Turn[Windows]]:
        """One, of all weights."""
        return [Turn(self._error, self.weights)]

    def score(self) -> float | None:
        """Nothing is held out: the lessons have no end."""
        return None

    def batch(self, step: int) -> Windows:
        """What the teacher drew for a step, and what it was asked."""
        passed, at = divmod(step, LESSONS)
        if passed:  # the same lessons in another order: the teacher's drawing is what costs
            at = int(np.random.default_rng((self.plan.seed, passed, 4)).permutation(LESSONS)[at])
        if at not in self.lessons:
            self.lessons[at] = self._lesson_of(at)
        return self._asked(self.lessons[at])

    def _asked(self, drawn: Drawn) -> Windows:
        time = time_of_windows(self.time, drawn.weekday, drawn.x.shape[1] // WEEK)
        condition = Condition(
            drawn.place, time, drawn.level, drawn.network, drawn.known, service=drawn.service, amplitude=drawn.amplitude
        )
        return drawn.x.to(self.device), condition.to(self.device), torch.Generator().manual_seed(drawn.seed)

    def _lesson_of(self, number: int) -> Drawn:
        rng = np.random.default_rng((self.plan.seed, number, 2))
        able = {k: weight for k, weight in CADENCE_WEIGHT.items() if k in self.master.cadences}
        share = np.array(list(able.values()))
        return self._lesson(int(rng.choice(list(able), p=share / share.sum())), rng)

    @torch.no_grad()
    def _lesson(self, k: int, rng: np.random.Generator) -> Drawn:
        """What the teacher draws for random places, levels, networks and weekdays."""
        b = self.plan.batch
        f_s = self.embeddings[rng.integers(len(self.embeddings), size=b)]
        f_s = f_s + PLACE_NOISE * rng.standard_normal(f_s.shape, dtype=np.float32)
        level = np.stack([LEVEL_SPREAD * rng.standard_normal(b), np.ones(b)], axis=1).astype(np.float32)
        service_of = self.teacher.services.of_numbers(len(self.teacher.networks))
        networks = len(service_of) - 1
        network = np.where(rng.random(b) < UNNAMED, 0, rng.integers(0, networks + 1, b))
        weekday = rng.integers(7, size=b)
        seeds = [int(seed) for seed in rng.integers(2**62, size=2)]
        amplitude = None
        if self.master.config.get("use_amplitude"):
            amplitude = torch.from_numpy(rng.standard_normal(b, dtype=np.float32))

        def draw(days_on: int, known: Tensor | None, seed: int) -> Drawn:
            asked = (torch.from_numpy(f_s), torch.from_numpy(level), torch.from_numpy(network))
            days = torch.from_numpy((weekday + days_on) % DAYS)
            service = torch.from_numpy(service_of[network]) if self.teacher.services.further else None
            none = Drawn(torch.empty(b, WEEK * k), *asked, days, known, seed, service, amplitude)
            _, condition, generator = self._asked(none)
            x = self._drawn(self.master, condition, generator, self.lesson.teacher_steps)
            return replace(none, x=x.cpu())

        first = draw(0, None, seeds[0])
        if rng.random() >= GIVEN_SHARE:
            return first
        known = torch.full_like(first.x, torch.nan)  # the week that follows, as long series are drawn
        shared = OVERLAP_DAYS * HOURS * k
        known[:, :shared] = first.x[:, -shared:]
        return draw(DAYS - OVERLAP_DAYS, known, seeds[1])

    def likeness(self) -> dict[str, dict[str, float]]:
        """Per cadence, over lessons that training did not see: the mean squared difference to the teacher over the
        variance of what it draws, and the student's variance over the teacher's, both in the training scale."""
        out = {}
        for k in sorted(self.master.cadences):
            off, own, its = 0.0, 0.0, 0.0
            for i in range(LIKENESS_LESSONS):
                x, condition, generator = self._asked(self._lesson(k, np.random.default_rng((self.plan.seed, i, k, 3))))
                with torch.no_grad():
                    answer = self._drawn(self.model, condition, generator, self.lesson.steps)
                off += float((answer - x).square().sum())
                own += float(answer.var(0).sum())
                its += float(x.var(0).sum())
            of_all = (self.plan.batch - 1) * its
            out[f"{60 // k} min"] = {"error": round(off / of_all, 5), "variance": round(own / its, 4)}
        return out

    def _drawn(self, network: Any, condition: Condition, generator: torch.Generator, steps: int) -> Tensor:
        noise = standard_normal((len(condition.level), condition.time.shape[1]), generator, condition.level)
        return draw(network, condition, noise=noise, steps=steps, solver=SOLVER)

    def _error(self, batch: Windows) -> Tensor:
        """Mean squared difference of student and teacher, for the same noise, where nothing is given."""
        x, condition, generator = batch
        answer = self._drawn(self.model, condition, generator, self.lesson.steps)
        open_ = torch.ones_like(x) if condition.known is None else condition.known.isnan()
        return masked_mean((answer - x) ** 2, open_)


def pupil(teacher: Any) -> Any:
    """The student before it has learned: its teacher's copy, without dropout, which would blur what it is to learn.

    Where the teacher has a spectrum, the student's noise has that whole power and not the rest that a condition leaves:
    its answers are of that colour, so that hours which are quiet can be made so by taking noise away, a gate per hour.
    With the rest's power it learns half as well.
    """
    student = copy.deepcopy(teacher)
    for layer in student.modules():
        if isinstance(layer, torch.nn.Dropout):
            layer.p = 0.0
    spectrum = student.config.get("spectrum")
    if spectrum is not None:
        set_residual_spectrum(student, (tuple(spectrum),) * (student.config["networks"] + 1))
    return student
