"""The forecasters that there are: those of the package `forecasters`, and those that other packages register.

[project.entry-points."gentraffic.forecasters"]
weighted-mean = "mean_forecaster:weighted_mean"      # a forecasters.Recipe, see examples/own_forecaster
"""

from __future__ import annotations

from importlib.metadata import entry_points

from forecasters import FORECASTERS, Recipe
from gentraffic.errors import WrongUse

ENTRY_POINTS = "gentraffic.forecasters"


def forecaster_names() -> tuple[str, ...]:
    """Names of all forecasters, those of this package first."""
    plugged = sorted(point.name for point in entry_points(group=ENTRY_POINTS) if point.name not in FORECASTERS)
    return (*FORECASTERS, *plugged)


def recipe_of(name: str) -> Recipe:
    """The class of a forecaster and its arguments. Raises WrongUse for a name that nobody has registered."""
    if name in FORECASTERS:
        return FORECASTERS[name]
    for point in entry_points(group=ENTRY_POINTS, name=name):
        recipe: Recipe = point.load()
        return recipe
    raise WrongUse(f"no forecaster {name!r}: give one of {', '.join(forecaster_names())}")
