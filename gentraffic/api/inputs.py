"""What functions of `api` take: traffic as a file or a Dataset alike, one name or several, numbers within bounds.

Errors name options as the command line does, `--units 0`; `language.speaks_python` turns them into `units=0`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gentraffic.api.files import context_of, traffic_of
from gentraffic.errors import MOST_INTEGER, WrongUse

if TYPE_CHECKING:
    import xarray as xr

MOST_THREADS = 1024  # of torch: more than any machine that it is run on has


@dataclass(frozen=True)
class Source:
    """ds: a checked Dataset. name: what messages call it. path: its file, None for a Dataset that was handed over."""

    ds: xr.Dataset
    name: str
    path: Path | None


def traffic_source(given: str | Path | xr.Dataset, argument: str) -> Source:
    """Traffic ([member,] cell, time) from a file or as it is; `argument` names a Dataset. Raises as `traffic_of`."""
    return _source(given, argument, traffic_of(given))


def traffic_sources(given: str | Path | xr.Dataset | Sequence[str | Path | xr.Dataset], argument: str) -> list[Source]:
    """One or several as `traffic_source`. Raises WrongUse for none."""
    import xarray as xr

    several = [given] if isinstance(given, str | Path | xr.Dataset) else list(given)
    if not several:
        raise WrongUse(f"{_option(argument)}: give one or more")
    return [traffic_source(one, argument) for one in several]


def context_source(given: str | Path | xr.Dataset, argument: str) -> Source:
    """A Context (cell) with POI counts from a file or as it is. Raises as `context_of`."""
    return _source(given, argument, context_of(given))


def _source(given: str | Path | xr.Dataset, argument: str, ds: xr.Dataset) -> Source:
    return Source(ds, str(given), Path(given)) if isinstance(given, str | Path) else Source(ds, argument, None)


def percent_given(argument: str, given: float | str) -> float:
    """A percentage as a number or as text, 5 or "5%". Raises WrongUse."""
    try:
        return float(str(given).removesuffix("%"))
    except ValueError:
        raise WrongUse(f"{_option(argument)} {given}: give a percentage such as 5%") from None


def names_given(names: str | Sequence[str] | None) -> list[str]:
    """One name, several or none as a list."""
    return [] if names is None else [names] if isinstance(names, str) else [str(name) for name in names]


def path_given(path: str | Path | None) -> Path | None:
    """A path as text or as it is."""
    return None if path is None else Path(path)


def check_at_most(most: int, **numbers: int | None) -> None:
    """Raise WrongUse where a number that is given, by its argument's name, is above `most`."""
    for name, number in numbers.items():
        if number is not None and number > most:
            raise WrongUse(f"{_option(name)} {number}: give at most {most}")


def check_threads(threads: int) -> None:
    """Raise WrongUse for a number of threads of torch that no machine has."""
    check_whole(0, threads=threads)
    check_at_most(MOST_THREADS, threads=threads)


def check_number(option: str, number: float, least: float, *, above: bool = False, shown: object = None) -> None:
    """Raise WrongUse unless a number is finite and at least `least`, or above it; `shown`: how the user wrote it."""
    shown = number if shown is None else shown
    if isinstance(number, int) and abs(number) > MOST_INTEGER:
        raise WrongUse(f"{option} {shown}: give {'at most ' if number > 0 else 'at least -'}{MOST_INTEGER}")
    if not math.isfinite(number):
        raise WrongUse(f"{option} {shown}: give a finite number")
    if number < least or (above and number == least):
        wanted = f"a number above {least:g}" if above else f"{least:g} or more"
        raise WrongUse(f"{option} {shown}: give {wanted}")


def read_number(option: str, text: Any, kind: type[int] | type[float], least: float, *, above: bool = False) -> float:
    """The number that a text is. Raises WrongUse where it is none of this kind, and as `check_number`."""
    try:
        number = kind(text)
    except ValueError:
        raise WrongUse(f"{option} {text}: give {'a whole number' if kind is int else 'a number'}") from None
    check_number(option, number, least, above=above, shown=text)
    return number


def check_whole(least: int, **numbers: int | None) -> None:
    """Raise WrongUse unless the numbers that are given, by their arguments' names, are whole and at least `least`."""
    for name, number in numbers.items():
        if number is not None:
            option = _option(name)
            if isinstance(number, bool) or not (isinstance(number, int) or float(number).is_integer()):
                raise WrongUse(f"{option} {number}: give a whole number")
            check_number(option, number, least)


def check_finite(least: float, **numbers: float | None) -> None:
    """Raise WrongUse unless the numbers that are given are finite and at least `least`."""
    for name, number in numbers.items():
        if number is not None:
            check_number(_option(name), number, least)


def check_positive(**numbers: float | None) -> None:
    """Raise WrongUse unless the numbers that are given are finite and above 0."""
    for name, number in numbers.items():
        if number is not None:
            check_number(_option(name), number, 0, above=True)


def _option(argument: str) -> str:
    return "--" + argument.replace("_", "-")
