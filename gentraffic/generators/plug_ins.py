"""What other packages register by entry points: generators, samplers and forecasters, and one rule for their names.

    [project.entry-points."gentraffic.generators"]
    flat = "flat_generator:Flat"                    # a gentraffic.generators.base.Family, see examples/own_generator

    [project.entry-points."gentraffic.samplers"]
    affine = "affine_sampler:Affine"                # a samplers.sampler.Sampler, see examples/own_sampler

    [project.entry-points."gentraffic.forecasters"]
    weighted-mean = "mean_forecaster:weighted_mean" # a forecasters.Recipe, see examples/own_forecaster

A name that gentraffic has itself, or that two packages register, is refused wherever it is asked for: nobody is given
another model than the one that was meant.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from gentraffic.errors import BadModel, WrongUse

GENERATOR, SAMPLER, FORECASTER = "generator", "sampler", "forecaster"
GROUPS = {kind: f"gentraffic.{kind}s" for kind in (GENERATOR, SAMPLER, FORECASTER)}


@dataclass(frozen=True)
class PlugIn:
    """A name that an installed package registers. kind: a key of GROUPS. package: its name and version."""

    kind: str
    name: str
    package: str
    point: EntryPoint

    def __str__(self) -> str:
        return f"{self.name} ({self.kind} of {self.package})"

    def load(self) -> Any:
        """What is registered. Raises BadModel where that cannot be imported."""
        try:
            return self.point.load()
        except (ImportError, AttributeError) as error:
            raise BadModel(
                f"{self.name}: {self.package} registers {self.point.value}, which cannot be loaded ({error})"
            ) from error


def plug_ins(*kinds: str) -> tuple[PlugIn, ...]:
    """All that are installed of some kinds, by name."""
    every = entry_points()
    found = [
        PlugIn(kind, point.name, _package(point), point) for kind in kinds for point in every.select(group=GROUPS[kind])
    ]
    return tuple(sorted(found, key=lambda plug_in: (plug_in.name, plug_in.package)))


def named(name: str, installed: Sequence[PlugIn], own: Collection[str]) -> PlugIn | None:
    """The plug-in of a name, None where there is none. own: the names that gentraffic has itself.

    Raises WrongUse, naming the packages, where it is one of `own`, or two packages register it.
    """
    found = [plug_in for plug_in in installed if plug_in.name == name]
    if found and name in own:
        raise WrongUse(
            f"{name}: {found[0].package} registers a {found[0].kind} of this name, which gentraffic has itself: "
            "uninstall that package, or register it under another name"
        )
    if len(found) > 1:
        raise WrongUse(f"{name}: {found[0].package} and {found[1].package} both register it: uninstall one of them")
    return found[0] if found else None


def _package(point: EntryPoint) -> str:
    return "a package without a name" if point.dist is None else f"{point.dist.name} {point.dist.version}"
