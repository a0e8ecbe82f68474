"""Sim-MSTNet's training: rounds of training on weighted samples and of choosing the weights (see forecasters.bilevel).

The samples come in groups: the real training windows are group 0, every randomised variant of the synthetic traffic is
one more. A round trains the whole network on batches of real and synthetic windows. The share of real ones grows from
round to round until the last has no others, so that what synthetic traffic has taught is fitted to the real one. The
synthetic ones come from the variants in proportion to weights v (G - 1,) that the cutting planes choose after each
round: those with the least outer loss where all variants together weigh as much as in the first round. Where real
samples alone are best, which variants would be the best beside them still shows.

The same planes choose the weights w (G,) of all groups, the real ones and so the whole share of synthetic samples among
them, for every service its own, as if its linear head were trained to the end on the weighted samples. All are judged
by the real windows kept aside (the later part of the same few cells, which also chooses the best training step),
cross-fitted: these are cut into blocks of time, and each block judges heads whose real samples the other blocks have
joined. The head that is kept at last is the inner optimum on all real windows.

With `Weigh.whole` the weights are those of the bi-level problem over the whole network instead: after each round but
the last, cutting planes with implicit gradients choose one w (G,), which the next round's batches follow and the head
is solved with at last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from forecasters.bilevel import (
    HeadProblem,
    Moments,
    Outer,
    Weighting,
    minimise_by_cuts,
    moments,
    pooled,
    stacked,
)
from gentraffic.errors import BadInput
from gentraffic.forecasting.whole_network import Whole, choose_over_network

if TYPE_CHECKING:
    from forecasters.windows import Windows
    from gentraffic.forecasting.data import Part
    from gentraffic.forecasting.fit import Fitted
    from gentraffic.forecasting.task import Plan

Floats = NDArray[np.float64]
SIM_MSTNET = "sim-mstnet"
STEPS = 800  # batches, where the plan leaves it open


@dataclass(frozen=True)
class Weigh:
    """rounds: of training, with a choice of weights after each. real: the share of real windows in the batches of the
    first round, which grows evenly to 1 in the last, and the weight that the real samples start with.
    samples: windows per group, and per block, of which moments are taken. ridges: how strongly a head is held where it
    is; the outer problem takes one of them. blocks: of time, into which the windows kept aside are cut. penalty: the
    share of the outer loss that synthetic samples of weight 1 must save to be believed. keep: the part of the synthetic
    windows that is spread over all variants alike. choose: False leaves every window the same weight, for comparison:
    the same rounds and heads without the choice of weights. So does training on one group alone. whole: weights are
    chosen over the whole network, None for its linear head alone."""

    rounds: int = 3
    real: float = 0.5
    samples: int = 1500
    ridges: tuple[float, ...] = (0.03, 1.0)
    blocks: int = 5
    penalty: float = 0.02
    keep: float = 0.1
    choose: bool = True
    whole: Whole | None = None


def fit_weighted(
    real: Sequence[Part],
    real_later: Sequence[Part],
    drawn: Sequence[Part],
    plan: Plan,
    weigh: Weigh | None = None,
    *,
    name: str = SIM_MSTNET,
    design: Mapping[str, Any] | None = None,
    device: str = "cpu",
) -> Fitted:
    """Train on real parts and on groups of synthetic ones (`drawn`, one group each), `plan.steps` in all.

    name: `sim-mstnet`, or another forecaster that `weighs`. real_later: real parts that choose the weights and the best
    step. design: arguments of the network that differ from the named ones. device: of torch. The metadata has weights
    (rounds + 1, services, G), batches (rounds, G): the share of every group in a round's batches, outer (rounds,
    services, 4): the outer loss before, after, the cuts' bound of it, and the ridge, and whole (rounds - 1, 3): with
    `Weigh.whole`, the outer loss before and after and how many cuts were made. Raises BadInput where a part gives no
    window.
    """
    from forecasters.windows import windows_to
    from gentraffic.forecasting.fit import Fitted, windows_of
    from gentraffic.forecasting.registry import recipe_of
    from gentraffic.forecasting.task import ForecastTask, trainer_of

    weigh = weigh or Weigh()
    network = real[0].network
    torch.manual_seed(plan.seed)
    recipe = recipe_of(name)
    model = recipe.network(
        per_day=network.per_day, services=network.values.shape[2], **{**recipe.design, **(design or {})}
    )
    train = [windows_of(model, part, plan.stride) for part in (*real, *drawn)]
    later = [w for w in (windows_of(model, part, 1) for part in real_later) if len(w)]
    if not later or not all(len(w) for w in train):
        raise BadInput(
            f"too short a series: {name} needs more than {model.context} steps of the past in every training part"
        )
    train, later = ([windows_to(w, device) for w in some] for some in (train, later))
    model = model.to(device)
    n, sizes = len(real), np.array([len(w) for w in train], dtype=np.float64)
    within = sizes[:n] / sizes[:n].sum()  # real parts share the weight of group 0
    start = np.append(sizes[:n].sum(), sizes[n:]) / sizes.sum()
    choose = weigh.choose and len(drawn) > 0
    if choose:
        start = np.append(weigh.real, np.full(len(drawn), (1 - weigh.real) / len(drawn)))
    weights, of_group = np.tile(start, (model.services, 1)), start
    batches: list[list[float]] = []
    chosen, best = [weights.tolist()], (float("inf"), model.state_dict())
    history: list[list[list[float]]] = []
    over_network: list[list[float]] = []
    total = plan.steps or STEPS
    steps = total // weigh.rounds
    for k in range(weigh.rounds):
        batches.append(of_group.tolist())
        shares = [*(of_group[0] * within), *of_group[1:]]
        stage = replace(plan, steps=steps, seed=plan.seed * 1009 + k, warmup=plan.warmup if k == 0 else 1)
        trainer = trainer_of(ForecastTask(model, train, later, stage, shares))
        trainer.train()
        trainer.finish()
        if trainer.best_score < best[0]:
            best = (trainer.best_score, {name: v.clone() for name, v in model.state_dict().items()})
        ending = k + 1 == weigh.rounds
        if ending:
            model.load_state_dict(best[1])
        history.append([])
        groups = [train[:n], *([w] for w in train[n:])]
        heads = head_moments(model.eval(), groups, later, weigh, plan.seed)
        for s, head in enumerate(heads):
            at = weights[s] if weigh.whole is None or not choose else of_group
            optimum, ridge = choose_weights(head, at, weigh, choose and weigh.whole is None)
            weights[s] = optimum.weights
            history[-1].append([optimum.history[0], optimum.value, optimum.bound, ridge])
            aside = np.full(len(head.counts), not ending)  # a next round is still to be judged by them
            with torch.no_grad():  # the inner optimum: where the next round starts, and what is kept at last
                model.head[s] = torch.from_numpy(head.problem(ridge, aside).solve(optimum.weights))
        chosen.append(weights.tolist())
        if choose and not ending and weigh.whole is not None:
            found = choose_over_network(
                model, groups, later, of_group, weigh.whole, penalty=weigh.penalty, seed=plan.seed * 1009 + k
            )
            of_group = found.weights
            over_network.append([found.history[0], found.value, found.cuts])
        elif choose and not ending:
            variants = np.mean([choose_variants(head, 1 - weigh.real, weigh) for head in heads], axis=0)
            synthetic = (1 - weigh.real) * (1 - (k + 1) / (weigh.rounds - 1))
            of_group = np.append(1 - synthetic, synthetic * (weigh.keep / len(drawn) + (1 - weigh.keep) * variants))
    metadata = {
        "weights": chosen, "batches": batches, "outer": history, "whole": over_network, "plan": asdict(plan),
        "weigh": asdict(weigh),
    }  # fmt: skip
    return Fitted(name, model.eval(), metadata)


@dataclass(frozen=True)
class Head:
    """One service's linear head and what it may learn from. groups: moments of the G groups, group 0 of `count` real
    windows; later: of the K blocks kept aside, counts (K,) windows each. start: (P, outputs) the head as it stands."""

    groups: Moments
    later: Moments
    count: int
    counts: Floats
    start: Floats

    def problem(self, ridge: float, aside: NDArray[np.bool_]) -> HeadProblem:
        """The bi-level problem whose outer loss is that of the blocks `aside` (K,); the others join group 0.

        Where none is aside the outer loss is that of all blocks, which the inner problem knows: only to be solved.
        """
        counts = np.append(self.count, self.counts[~aside])
        real = pooled([self.groups.some([0]), self.later.some(~aside)], counts)
        judges = aside if aside.any() else ~aside
        outer = pooled([self.later.some(judges)], self.counts[judges])
        return HeadProblem(stacked([real, self.groups.some(slice(1, None))]), outer, self.start, ridge)


def judge(head: Head, ridge: float) -> Outer:
    """Group weights (G,) -> the outer loss, the mean over blocks that each judge once, and its gradient (G,)."""
    every, share = np.arange(len(head.counts)), head.counts / head.counts.sum()
    blocks = [head.problem(ridge, every == k) for k in every]

    def judged(weights: Floats) -> tuple[float, Floats]:
        values, slopes = zip(*(problem(weights) for problem in blocks), strict=True)
        return float(share @ np.array(values)), np.asarray(share @ np.stack(slopes))

    return judged


def choose_weights(head: Head, start: Floats, weigh: Weigh, choose: bool = True) -> tuple[Weighting, float]:
    """The group weights (G,) and the ridge with the least outer loss.

    Synthetic weight is penalised: blocks are few, so a small gain on them may be chance. choose: False
    chooses the ridge alone.
    start: (G,) the weights that the search starts from.
    """
    synthetic = np.arange(len(start)) > 0
    candidates: list[tuple[Weighting, float]] = []
    for ridge in weigh.ridges:
        judged = judge(head, ridge)
        if not choose:
            value = judged(start)[0]
            candidates.append((Weighting(start, value, value, 0, (value,)), ridge))
            continue
        penalty: Floats = weigh.penalty * judged(np.where(synthetic, 0.0, 1.0))[0] * synthetic.astype(np.float64)

        def outer(weights: Floats, judged: Outer = judged, penalty: Floats = penalty) -> tuple[float, Floats]:
            value, slope = judged(weights)
            return float(value + penalty @ weights), slope + penalty

        candidates.append((minimise_by_cuts(outer, start, tolerance=1e-3, most=40), ridge))
    return min(candidates, key=lambda pair: pair[0].value)


def choose_variants(head: Head, share: float, weigh: Weigh) -> Floats:
    """The weights (G - 1,) of the synthetic groups among themselves that have the least outer loss where together they
    weigh `share`, the real samples the rest; the head is held by the smallest ridge."""
    judged = judge(head, min(weigh.ridges))

    def outer(variants: Floats) -> tuple[float, Floats]:
        value, slope = judged(np.append(1 - share, share * variants))
        return value, share * slope[1:]

    count = len(head.groups.square) - 1
    return minimise_by_cuts(outer, np.full(count, 1 / count), tolerance=1e-3, most=40).weights


@torch.inference_mode()
def head_moments(
    model: Any, groups: Sequence[Sequence[Windows]], later: Sequence[Windows], weigh: Weigh, seed: int
) -> list[Head]:
    """What each service's head may learn from: moments of its features in every group and in the blocks of `later`."""
    parts = _blocks(later, weigh.blocks)
    inside = [_sample(model, windows, weigh.samples, (seed, i)) for i, windows in enumerate(groups)]
    aside = [_sample(model, windows, weigh.samples, (seed, 1000 + k)) for k, windows in enumerate(parts)]
    count, counts = sum(len(w) for w in groups[0]), np.array([float(sum(len(w) for w in part)) for part in parts])
    heads = []
    for s in range(model.services):
        inner, outer = (moments([x[:, s] for x, _ in part], [y[:, :, s] for _, y in part]) for part in (inside, aside))
        heads.append(Head(inner, outer, count, counts, model.head[s].cpu().double().numpy().copy()))
    return heads


def _blocks(later: Sequence[Windows], most: int) -> list[list[Windows]]:
    """The windows kept aside in at most `most` blocks of consecutive steps, none of them empty."""
    blocks: list[list[Windows]] = [[] for _ in range(min(most, *(len(w.starts) for w in later)))]
    for w in later:
        ends = w.starts.start + np.linspace(0, len(w.starts), len(blocks) + 1).round().astype(int)
        for block, first, last in zip(blocks, ends[:-1], ends[1:], strict=True):
            block.append(replace(w, first=int(first), last=int(last) + w.horizon - 1))
    return blocks


def _sample(model: Any, windows: Sequence[Windows], most: int, key: tuple[int, ...]) -> tuple[Floats, Floats]:
    """Features (n, services, features) and targets (n, horizon, services) of at most `most` windows of a group."""
    rng, total = np.random.default_rng(np.random.SeedSequence(key)), sum(len(w) for w in windows)
    features, targets = [], []
    for w in windows:
        count = min(len(w), max(1, round(most * len(w) / total)))
        for some in torch.split(torch.from_numpy(np.sort(rng.choice(len(w), count, replace=False))), 1024):
            past, future = w.gather(some)
            features.append(model.features(past).cpu().double().numpy())
            targets.append(future.cpu().double().numpy())
    return np.concatenate(features), np.concatenate(targets)
