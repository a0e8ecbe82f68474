"""The forecasters that there are: those of the package `forecasters`, and those that other packages register."""

from __future__ import annotations

from forecasters import FORECASTERS, Recipe
from gentraffic.errors import BadModel, WrongUse, did_you_mean
from gentraffic.generators.base import FORECASTER, named, plug_ins


def forecaster_names() -> tuple[str, ...]:
    """Names of all forecasters, those of this package first."""
    plugged = sorted({plug_in.name for plug_in in plug_ins(FORECASTER)} - FORECASTERS.keys())
    return (*FORECASTERS, *plugged)


def recipe_of(name: str) -> Recipe:
    """The class of a forecaster and its arguments.

    Raises WrongUse for a name that nobody has registered, or that a package registers which gentraffic has itself;
    BadModel for what cannot be loaded.
    """
    plug_in = named(name, plug_ins(FORECASTER), FORECASTERS)
    if plug_in is not None:
        recipe = plug_in.load()
        if not isinstance(recipe, Recipe):
            raise BadModel(f"{plug_in}: {plug_in.point.value} is no forecasters.Recipe")
        return recipe
    if name not in FORECASTERS:
        raise WrongUse(
            f"no forecaster {name!r}: give one of {', '.join(forecaster_names())}"
            f"{did_you_mean(name, forecaster_names())}"
        )
    return FORECASTERS[name]
