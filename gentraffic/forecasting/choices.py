"""What a user chooses about a forecaster, checked: device, backend, shares of the steps, services, threads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from gentraffic.errors import WrongUse

if TYPE_CHECKING:
    import xarray as xr

    from forecasters import Recipe
    from gentraffic.forecasting.data import Network
    from gentraffic.forecasting.task import Plan


def check_shares(train: float, validation: float) -> None:
    """Raise WrongUse unless the two shares of the steps leave a test part."""
    if not (0 < train < 1 and 0 <= validation < 1 and train + validation < 1):
        raise WrongUse(f"--train {train} --validation {validation}: positive shares that leave some steps for the test")


def check_training(name: str, recipe: Recipe, given: Mapping[str, Any]) -> None:
    """Raise WrongUse for a setting of the training that a forecaster has not. given: option -> value or None.

    Naive forecasters learn nothing; what is not trained by the descent of a gradient has no batches and learning rate.
    """
    if recipe.fit is None and recipe.learns:
        return
    without = ("batch", "learning_rate", "stride") if recipe.learns else ("steps", "batch", "learning_rate", "stride")
    for option in without:
        if given.get(option) is not None:
            raise WrongUse(f"--{option.replace('_', '-')} {given[option]:g}: {name} has no such setting; leave it out")


def plan_of(name: str, recipe: Recipe, given: Mapping[str, Any], seed: int, *, paper: bool) -> Plan:
    """The plan of a training: ours, or that of the paper, with what is asked. given: option -> value or None.

    Raises WrongUse for the paper's plan of a forecaster that is not in it.
    """
    from forecasters import FORECASTERS
    from gentraffic.forecasting.task import PUBLISHED, Plan

    if paper and not recipe.published:
        why = "is not of that paper" if name in FORECASTERS else "is not of this package"
        have = [other for other, its in FORECASTERS.items() if its.published]
        raise WrongUse(f"--paper: {name} {why}; leave it out, or give one of {', '.join(have)}")
    base = PUBLISHED if paper else Plan()
    return replace(base, **{key: value for key, value in given.items() if value is not None}, seed=seed)


def design_of(name: str, recipe: Recipe, backend: str, device: str) -> dict[str, Any]:
    """The arguments of the network that --backend stands for. Raises WrongUse for a backend that it has not."""
    from forecasters.slstm import BACKENDS

    if backend == "fast":
        return {}
    if backend not in BACKENDS:
        raise WrongUse(f"--backend {backend}: give one of {', '.join(BACKENDS)}")
    if not recipe.backends:
        raise WrongUse(f"--backend {backend}: {name} has no sLSTM")
    if backend == "cuda" and device != "cuda":
        raise WrongUse("--backend cuda: it needs a GPU, give --device cuda with it")
    return {"backend": backend}


def ablations_of(name: str, recipe: Recipe, no_sharing: bool, no_loss_weights: bool) -> dict[str, Any]:
    """The arguments of a network without one of its parts. Raises WrongUse for a forecaster that has no such part."""
    from forecasters import FORECASTERS

    parts = {"sharing": ("--no-sharing", no_sharing), "weigh_losses": ("--no-loss-weights", no_loss_weights)}
    without = [part for part, (_, gone) in parts.items() if gone]
    for part in without:
        if part not in recipe.ablations:
            have = ", ".join(other for other, its in FORECASTERS.items() if part in its.ablations)
            raise WrongUse(f"{parts[part][0]}: {name} has no such part; leave it out, or give {have}")
    return dict.fromkeys(without, False)


def services_for(learned: Sequence[str], ds: xr.Dataset, given: Sequence[str]) -> list[str]:
    """Which services of a file a forecaster is applied to: those given, else those it was fitted on, else the only one.

    learned: what it was fitted on. Raises WrongUse where that is ambiguous.
    """
    from gentraffic.dataset.schema import services as names_of

    have = names_of(ds)
    if given:
        return list(given)
    if set(learned) <= set(have):
        return list(learned)
    if len(have) == len(learned) == 1:
        return have
    raise WrongUse(
        f"the forecaster knows {', '.join(learned)}, the file has {', '.join(have)}: name them with --service"
    )


def warnings_of(cells: int, networks: Sequence[Network] = ()) -> list[str]:
    """What a user should know of so few cells, and of traffic with a copied week."""
    from gentraffic.modelling.measured import COPIED_WEEK, copied_week

    few = ["one cell: its neighbourhood is the cell itself, repeated"] if cells == 1 else []
    copied = any(copied_week(network.values[:, :, 0], network.per_day) for network in networks)
    return [*few, *([COPIED_WEEK] if copied else [])]


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Let torch work with `count` threads within the block; 0 changes nothing."""
    before = torch.get_num_threads()
    if count:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
