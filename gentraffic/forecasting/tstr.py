"""Train on synthetic, test on real (metrics.md, "Usefulness"): is a forecaster as good that saw only drawn traffic?

Three trainings of one network with one plan: `trtr` on real traffic, `tstr` on synthetic, `aug` on both; each is
tested on the same real windows, which neither training nor choice of weights has seen: the last 15% of the real steps,
of held-out locations where there are enough. Every cell is normalised by its own mean and spread over the steps that
may be known (for tested cells their own earlier steps), so units and levels of the two files need not agree.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from inspect import signature
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gentraffic.errors import BadInput, WrongUse
from gentraffic.forecasting.registry import recipe_of
from gentraffic.training.trainer import Run

if TYPE_CHECKING:
    import xarray as xr

    from gentraffic.forecasting.data import Part
    from gentraffic.forecasting.task import Plan

LOCATIONS = 5  # fewer of them are not split
SYNTHETIC = 0.85, 0.15  # of the synthetic steps: training, and choice of weights where no real ones may be used
LEARNING_RATE = 1e-3
VARIANTS = 8  # of the synthetic traffic that sim-mstnet weighs
FEW = 31  # purpose of the stream that picks the few real cells
TRAININGS = ("trtr", "tstr", "aug")
Scores = dict[str, NDArray[np.float64]]  # name -> (services, horizon)


@dataclass(frozen=True)
class Material:
    """What is trained on and tested on. real, synthetic: (training parts, validation parts), one per member; variants:
    randomised training parts of the synthetic traffic; test: the real test part. counts: what there is of each; notes:
    sentences that a reader must see."""

    real: tuple[list[Part], list[Part]]
    synthetic: tuple[list[Part], list[Part]]
    variants: list[Part]
    test: Part
    services: tuple[str, ...]
    units: tuple[str, ...]
    counts: dict[str, int]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Validation:
    """scores: {forecaster: {training: Scores of each seed}}; naive: {forecaster: Scores, None without the history}."""

    material: Material
    scores: dict[str, dict[str, list[Scores]]]
    naive: dict[str, Scores | None]
    horizon: int
    weighing: dict[str, Any] = field(default_factory=dict)


def prepare(
    real_ds: xr.Dataset,
    synthetic_ds: xr.Dataset,
    *,
    services: Sequence[str] = (),
    holdout: float = 0.2,
    few: float = 100.0,
    seed: int = 0,
    pick: int = 0,
    variants: int = 0,
) -> Material:
    """Split and pair the two files.

    services: variables of both files; by default the only one. holdout: share of the real locations kept for the test
    (0: none, time alone splits); they are those that `gentraffic fit` holds out with the same seed. few: percent of the
    real training cells that may be used; `pick` tells which. variants: how many randomised ones to make. Raises
    WrongUse, BadInput where the files do not go together or are too short.
    """
    from gentraffic.dataset.panel import read_panel
    from gentraffic.forecasting.data import networks_of, split

    real_names, drawn_names = _services(real_ds, synthetic_ds, services)
    cadences = [read_panel(d).per_day for d in (real_ds, synthetic_ds)]
    if cadences[0] != cadences[1]:
        ours, theirs = (1440 / c for c in cadences)
        freq = "1h" if ours == 60 else f"{ours:g}min"
        raise BadInput(
            f"--real has steps of {ours:g} min, --synthetic of {theirs:g} min: draw with --freq {freq}, or resample "
            "one of them"
        )
    if "member" in real_ds.dims:
        raise WrongUse("--real has members: it must be measured, one series per cell")
    notes: list[str] = []
    real_ds, remarks = _measured(real_ds, real_names, cadences[0])
    notes += remarks
    keep, held = _held_out(real_ds, holdout, seed)
    if not len(held):
        notes.append("no locations held out: training and test differ in time alone")
        held = keep
    training_cells = len(keep)
    if few < 100:
        keep = _few(real_ds, keep, few, (seed, FEW, pick))
    [known], [tested] = (networks_of(real_ds.isel(cell=cells), real_names) for cells in (keep, held))
    train, validation, _ = split(known)
    test = split(tested)[2]
    drawn_ds = synthetic_ds.isel(cell=np.flatnonzero(_live(synthetic_ds, drawn_names)))
    if not drawn_ds.sizes["cell"]:
        raise BadInput("--synthetic: every cell is dead (zero throughout): there is nothing to train on")
    drawn = [split(network, *SYNTHETIC)[:2] for network in networks_of(drawn_ds, drawn_names)]
    counts = {
        "cells_train": len(keep), "cells_train_all": training_cells, "cells_test": len(held),
        "cells_synthetic": drawn_ds.sizes["cell"], "members_synthetic": len(drawn), "steps_train": train.last,
        "steps_test": test.last - test.first, "minutes": 1440 // cadences[0],
    }  # fmt: skip
    return Material(
        real=([train], [validation]),
        synthetic=([part for part, _ in drawn], [part for _, part in drawn]),
        variants=_variants(drawn_ds, drawn_names, variants, seed),
        test=test,
        services=tuple(real_names),
        units=tuple(str(real_ds[name].attrs.get("units", "unknown")) for name in real_names),
        counts=counts,
        notes=tuple(notes),
    )


@dataclass(frozen=True)
class ValidationPlan:
    """services: what is forecast, by default what both files hold. seeds: trainings of each kind, from `seed` on. few:
    with less than 100 percent, `trtr` and `aug` use that share of the real training cells, other ones with every seed.
    holdout: share of the real locations that are tested on alone. horizon: steps ahead. steps: of each training.
    device: of torch, where all are trained."""

    services: Sequence[str] = ()
    few: float = 100.0
    seeds: int = 3
    seed: int = 0
    holdout: float = 0.2
    horizon: int = 1
    steps: int | None = None
    device: str = "cpu"

    def check(self) -> None:
        """Raise WrongUse for numbers out of range."""
        if not 0 < self.few <= 100:
            raise WrongUse(f"--few {self.few:g}: give a percentage above 0, up to 100")
        if self.seeds < 1 or self.horizon < 1:
            raise WrongUse(f"{self.seeds} seeds, {self.horizon} steps ahead: give 1 or more of each")


def validate(
    real_ds: xr.Dataset,
    synthetic_ds: xr.Dataset,
    forecasters: Sequence[str],
    plan: ValidationPlan,
    on_fit: Callable[[int, int], None] | None = None,
) -> Validation:
    """Train every forecaster three ways with each seed of the plan, and score all on the same real windows.

    forecasters: none for `default_forecaster`. on_fit: told (done, of) before each training. Raises WrongUse for an
    unknown forecaster, and as `prepare`.
    """
    plan.check()
    chosen = forecasters or [
        default_forecaster(prepare(real_ds, synthetic_ds, services=plan.services, holdout=plan.holdout, seed=plan.seed))
    ]
    recipes = {name: recipe_of(name) for name in chosen}
    learned = [name for name, recipe in recipes.items() if recipe.learns]
    scores: dict[str, dict[str, list[Scores]]] = {n: {t: [] for t in TRAININGS} for n in learned}
    done, of = 0, len(learned) * len(TRAININGS) * plan.seeds
    weighing: dict[str, Any] = {}
    for k in range(plan.seeds):
        material = prepare(
            real_ds, synthetic_ds, services=plan.services, holdout=plan.holdout, few=plan.few, seed=plan.seed, pick=k,
            variants=VARIANTS if any(recipes[name].weighs for name in learned) else 0,
        )  # fmt: skip
        check_horizon(material, plan.horizon)
        for name in learned:
            for training in TRAININGS:
                if on_fit is not None:
                    on_fit(done, of)
                how = plan_for(name, plan.steps, plan.seed + k)
                of_it = one_score(name, training, material, how, plan.horizon, weighing, device=plan.device)
                scores[name][training].append(of_it)
                done += 1
    return Validation(material, scores, naive_scores(material, plan.horizon), plan.horizon, weighing)


def check_horizon(material: Material, horizon: int) -> None:
    """Raise WrongUse for more steps ahead than the test part has."""
    steps = material.test.last - material.test.first
    if horizon > steps:
        raise WrongUse(f"--horizon {horizon}: give at most {steps}, the steps of the test part")


def default_forecaster(material: Material) -> str:
    """The boosted trees that the series are long enough for: those that look a week back need two weeks to train on."""
    parts = [*material.real[0], *material.synthetic[0]]
    two_weeks = all(part.last - part.first >= 14 * part.network.per_day for part in parts)
    return "lightgbm" if two_weeks else "lightgbm-day"


def plan_for(name: str, steps: int | None = None, seed: int = 0) -> Plan:
    """What validation trains with: every step of a cell starts a window, since measured series are short."""
    from gentraffic.forecasting.task import Plan

    return Plan(steps=steps or 800, stride=1, learning_rate=recipe_of(name).learning_rate or LEARNING_RATE, seed=seed)


def one_score(
    name: str, training: str, material: Material, plan: Plan, horizon: int = 1, weighing: dict[str, Any] | None = None,
    *, device: str = "cpu",
) -> Scores:  # fmt: skip
    """Train `name` one way and score it on the test part. weighing: takes the weights of sim-mstnet. device: of torch,
    where it is trained."""
    from gentraffic.forecasting.fit import fit_forecaster, forecasts, score

    (real, real_later), (drawn, drawn_later) = material.real, material.synthetic
    # What learns every step ahead by itself learns those alone that are scored.
    direct = "horizon" in signature(recipe_of(name).network).parameters
    how: dict[str, Any] = {"design": {"horizon": horizon} if direct else None, "run": Run(device=device)}
    if recipe_of(name).weighs:  # in the same rounds with the same solved heads, whatever it is trained on
        from gentraffic.forecasting.weighted import fit_weighted

        on: dict[str, tuple[list[Part], list[Part], list[Part]]] = {
            "trtr": (real, real_later, []),
            "tstr": (drawn, drawn_later, []),
            "aug": (real, real_later, material.variants),
        }
        fitted = fit_weighted(*on[training], plan, name=name, device=device)
        if weighing is not None and training == "aug":
            weighing.setdefault("weights", []).append(fitted.metadata["weights"])
    elif training == "aug":
        half = [1.0 / len(real)] * len(real) + [1.0 / len(drawn)] * len(drawn)
        fitted = fit_forecaster(name, [*real, *drawn], real_later, plan, shares=half, **how)
    elif training == "trtr":
        fitted = fit_forecaster(name, real, real_later, plan, **how)
    else:
        fitted = fit_forecaster(name, drawn, drawn_later, plan, **how)
    return score(forecasts(fitted, material.test, horizon), material.test)


def naive_scores(material: Material, horizon: int) -> dict[str, Scores | None]:
    """Scores of the naive forecasters on the test part; None where its history is too short for one."""
    from forecasters import NAIVE
    from gentraffic.forecasting.fit import fit_forecaster, forecasts, score

    result: dict[str, Scores | None] = {}
    for name in NAIVE:
        fitted = fit_forecaster(name, [material.test])
        short = fitted.model.context > material.test.first
        result[name] = None if short else score(forecasts(fitted, material.test, horizon), material.test)
    return result


def _services(real: xr.Dataset, drawn: xr.Dataset, wanted: Sequence[str]) -> tuple[list[str], list[str]]:
    """The names of the services in each file."""
    from gentraffic.dataset.schema import services as names_of

    a, b = names_of(real), names_of(drawn)
    if wanted:
        for name, have in ((n, h) for n in wanted for h in (("--real", a), ("--synthetic", b))):
            if name not in have[1]:
                raise WrongUse(f"{have[0]} has no service {name!r}, only {', '.join(have[1])}")
        return list(wanted), list(wanted)
    common = [name for name in a if name in b]
    if len(common) == 1:
        return common, common
    if not common and len(a) == len(b) == 1:
        return a, b
    raise WrongUse(f"--real holds {', '.join(a)}, --synthetic {', '.join(b)}: name what to forecast with --service")


def _measured(real: xr.Dataset, names: list[str], per_day: int) -> tuple[xr.Dataset, list[str]]:
    """The live cells of the real file without copies of them, and notes on what was left out."""
    from gentraffic.forecasting.data import TRAIN
    from gentraffic.modelling.measured import repeats

    notes = []
    live = _live(real.isel(time=slice(round(TRAIN * real.sizes["time"]))), names)  # what may be known
    if not live.any():
        raise BadInput("--real: every cell is dead (zero in all training steps): there is nothing to forecast")
    if str(real.attrs.get("network", "")).startswith("uomo-sd") and "week" in real.coords:
        live &= np.asarray(real["week"].values == 0)  # week 1 is a copy with 0.6% jitter
    kept = real.isel(cell=np.flatnonzero(live))
    if kept.sizes["cell"] < real.sizes["cell"]:
        notes.append(f"{real.sizes['cell'] - kept.sizes['cell']} real cells are dead or copies: left out")
    week = 7 * per_day
    if kept.sizes["time"] > week + per_day and repeats(kept[names[0]].values, week):
        notes.append("--real repeats its first week: the repetition is left out")
        kept = kept.isel(time=slice(0, week))
    return kept, notes


def _live(ds: xr.Dataset, names: list[str]) -> NDArray[np.bool_]:
    """(cells,) whether a cell carries anything in every service; gaps count, they are complained of later."""
    alive = np.ones(ds.sizes["cell"], dtype=bool)
    for name in names:
        others = tuple(d for d in ds[name].dims if d != "cell")
        alive &= np.asarray((ds[name] != 0).any(dim=others).values)
    return alive


def _held_out(real: xr.Dataset, holdout: float, seed: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """(training cells, held-out cells); none held out where there are too few locations."""
    from gentraffic.dataset.splits import BLOCK_M, block_locations, p1_folds

    if not 0 <= holdout <= 0.5:
        raise WrongUse(f"--holdout {holdout:g}: give 0 (none) to 0.5")
    if "location" in real.coords:
        location = np.asarray(real["location"].values)
    elif str(real.attrs.get("kind")) == "unplaced":
        location = np.arange(real.sizes["cell"])
    else:
        location = block_locations(real["x"].values, real["y"].values, BLOCK_M)
    folds = round(1 / holdout) if holdout else 0
    if not folds or len(np.unique(location)) < max(folds, LOCATIONS):
        return np.arange(len(location)), np.arange(0)
    return p1_folds(location, folds, seed)[0]


def _variants(drawn: xr.Dataset, names: list[str], count: int, seed: int) -> list[Part]:
    """Training parts of `count` variants: first the members as drawn, then randomised ones of them in turn."""
    from gentraffic.forecasting.data import networks_of, split
    from gentraffic.forecasting.randomise import randomise

    members = [drawn.isel(member=m) for m in range(drawn.sizes["member"])] if "member" in drawn.dims else [drawn]
    result = [randomise(members[v % len(members)], v if v >= len(members) else 0, seed=seed) for v in range(count)]
    return [split(network, *SYNTHETIC)[0] for ds in result for network in networks_of(ds, names)]


def _few(real: xr.Dataset, keep: NDArray[np.intp], few: float, key: tuple[int, ...]) -> NDArray[np.intp]:
    """`few` percent of the training cells, at least one, in an order drawn from the stream of `key`."""
    if len(keep) < 2:
        raise BadInput("--real has one cell to train on: --few needs two or more to choose from")
    order = np.random.default_rng(np.random.SeedSequence(key)).permutation(keep)
    return np.sort(order[: max(1, round(len(keep) * few / 100))])
