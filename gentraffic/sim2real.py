"""Sim-MSTNet's training: rounds of training on weighted samples and of choosing the weights (see forecasters.bilevel).

The samples come in groups: the real training windows are group 0, every randomised variant of the synthetic traffic is
one more. A round trains the whole network on batches whose windows come from the groups in proportion to the weights,
so that the expected gradient is that of the weighted loss. Between rounds the cutting planes choose new weights, by the
loss on the real windows kept aside (the later part of the same few cells, which also chooses the best training step),
as if the linear head were trained to its end on the weighted samples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from gentraffic.errors import BadInput

if TYPE_CHECKING:
    from forecasters.bilevel import HeadProblem, Weighting
    from forecasters.windows import Windows
    from gentraffic.forecast_data import Part
    from gentraffic.forecast_training import Plan
    from gentraffic.forecasting import Fitted

Floats = NDArray[np.float64]
SIM_MSTNET = "sim-mstnet"
STEPS = 800  # batches, where the plan leaves it open


@dataclass(frozen=True)
class Weigh:
    """rounds: of training, with a choice of weights between them. real: the weight that the real samples start with.
    samples: windows per group of which moments are taken. ridge: how strongly the head is held where it is. choose:
    False leaves every window the same weight, for comparison: rounds and solved heads without the outer problem. So
    does training on one group alone."""

    rounds: int = 3
    real: float = 0.5
    samples: int = 1500
    ridge: float = 0.03
    choose: bool = True


def fit_weighted(
    real: Sequence[Part],
    real_later: Sequence[Part],
    drawn: Sequence[Part],
    plan: Plan,
    weigh: Weigh | None = None,
    *,
    on_step: Callable[[int, int, float], None] | None = None,
) -> Fitted:
    """Train `sim-mstnet` on real parts and on groups of synthetic ones (`drawn`, one group each), `plan.steps` in all.

    real_later: real parts that choose the weights and the best step. Raises BadInput where a part gives no window.
    """
    from forecasters import FORECASTERS
    from gentraffic.forecast_training import Trainer
    from gentraffic.forecasting import Fitted, windows_of

    weigh = weigh or Weigh()
    network = real[0].network
    torch.manual_seed(plan.seed)
    recipe = FORECASTERS[SIM_MSTNET]
    model = recipe.network(per_day=network.per_day, services=network.values.shape[2], **recipe.design)
    train = [windows_of(model, part, plan.stride) for part in (*real, *drawn)]
    later = [w for w in (windows_of(model, part, 1) for part in real_later) if len(w)]
    if not later or not all(len(w) for w in train):
        raise BadInput(
            f"too short a series: {SIM_MSTNET} needs more than {model.context} steps of the past in every training part"
        )
    n, sizes = len(real), np.array([len(w) for w in train], dtype=np.float64)
    within = sizes[:n] / sizes[:n].sum()  # real parts share the weight of group 0
    weights = np.append(sizes[:n].sum(), sizes[n:]) / sizes.sum()
    choose = weigh.choose and len(drawn) > 0
    if choose:
        weights = np.append(weigh.real, np.full(len(drawn), (1 - weigh.real) / len(drawn)))
    chosen, history, best = [weights.tolist()], [], (float("inf"), model.state_dict())
    total = plan.steps or STEPS
    steps = total // weigh.rounds
    for k in range(weigh.rounds):
        shares = [*(weights[0] * within), *weights[1:]]
        stage = replace(plan, steps=steps, seed=plan.seed * 1009 + k, warmup=plan.warmup if k == 0 else 1)
        trainer = Trainer(model, train, later, stage, shares=shares)
        for step, loss in trainer.run():
            if on_step is not None:
                on_step(k * steps + step, total, loss)
        trainer.finish()
        if trainer.best_score < best[0]:
            best = (trainer.best_score, {name: v.clone() for name, v in model.state_dict().items()})
        if k + 1 < weigh.rounds:
            problems = head_problems(model, [train[:n], *([w] for w in train[n:])], later, weigh, plan.seed)
            if choose:
                found = choose_weights(problems, weights)
                weights = found.weights
                chosen.append(weights.tolist())
                history.append([found.history[0], found.value, found.bound])
            with torch.no_grad():  # the inner optimum: where the next round starts
                for s, problem in enumerate(problems):
                    model.head[s] = torch.from_numpy(problem.solve(weights))
    model.load_state_dict(best[1])
    told = {"weights": chosen, "outer": history, "plan": asdict(plan), "weigh": asdict(weigh)}
    return Fitted(SIM_MSTNET, model.eval(), told)


def choose_weights(problems: Sequence[HeadProblem], start: Floats) -> Weighting:
    """The group weights (G,) that minimise the mean outer loss of the services' heads."""
    from forecasters.bilevel import minimise_by_cuts

    def outer(weights: Floats) -> tuple[float, Floats]:
        values, slopes = zip(*(problem(weights) for problem in problems), strict=True)
        return float(np.mean(values)), np.mean(slopes, axis=0)

    return minimise_by_cuts(outer, start, tolerance=1e-4, most=60)


@torch.inference_mode()
def head_problems(
    model: Any, groups: Sequence[Sequence[Windows]], later: Sequence[Windows], weigh: Weigh, seed: int
) -> list[HeadProblem]:
    """One bi-level problem per service: moments of the head's features in every group and in the windows kept aside."""
    from forecasters.bilevel import HeadProblem, moments

    model.eval()
    sampled = [_sample(model, windows, weigh.samples, (seed, i)) for i, windows in enumerate([*groups, later])]
    problems = []
    for s in range(model.services):
        x, y = [x[:, s] for x, _ in sampled], [y[:, :, s] for _, y in sampled]
        head = model.head[s].double().numpy()
        problems.append(HeadProblem(moments(x[:-1], y[:-1]), moments(x[-1:], y[-1:]), head, weigh.ridge))
    return problems


def _sample(model: Any, windows: Sequence[Windows], most: int, key: tuple[int, ...]) -> tuple[Floats, Floats]:
    """Features (n, services, features) and targets (n, horizon, services) of at most `most` windows of a group."""
    rng, total = np.random.default_rng(np.random.SeedSequence(key)), sum(len(w) for w in windows)
    features, targets = [], []
    for w in windows:
        count = min(len(w), max(1, round(most * len(w) / total)))
        for some in torch.split(torch.from_numpy(np.sort(rng.choice(len(w), count, replace=False))), 1024):
            past, future = w.gather(some)
            features.append(model.features(past).double().numpy())
            targets.append(future.double().numpy())
    return np.concatenate(features), np.concatenate(targets)
