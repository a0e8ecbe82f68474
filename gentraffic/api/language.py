"""Errors in the words of Python: rooms below name options as the command line does, `--cell-size 5`."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar, cast

from gentraffic.api.arguments import annotations_of, taken
from gentraffic.api.result import Shown
from gentraffic.errors import GentrafficError
from gentraffic.io.atomic import check_outputs
from poi.errors import PoiError

P = ParamSpec("P")
T = TypeVar("T")
_VALUE = re.compile(  # an option and its value, before a colon; numbers also before the next option
    r"--([a-z][a-z0-9-]*) (-?[\w.%@+][\w.%@+/=-]*(?=:)|-?\d[\w.]*(?=,? --))"
)
_NAME = re.compile(r"--([a-z][a-z0-9-]*)")
_NAMES = {"map": "map_file", "plot": "plot_file"}  # options whose arguments have another name
_OUT = re.compile(r"(?<![\w-])-o\b")


def in_python(message: str) -> str:
    """`--cell-size 5: give 10 or more` as `cell_size=5: give 10 or more`; other options as their argument's name."""
    message = _VALUE.sub(lambda m: f"{_argument(m[1])}={m[2]}", message)
    return _OUT.sub("out", _NAME.sub(lambda m: _argument(m[1]), message))


def _argument(option: str) -> str:
    return _NAMES.get(option, option.replace("-", "_"))


def speaks_python(function: Callable[P, T]) -> Callable[P, T]:
    """A function of the public interface: arguments are of the types annotated, no output is an input, and errors and
    results name arguments as Python does.

    `speaks_options` is the same function for the command line, whose options have types already.
    """
    signature, annotations = inspect.signature(function), annotations_of(function)
    files = {name for name, parameter in signature.parameters.items() if "Path" in str(parameter.annotation)}

    @wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> T:
        given = dict(signature.bind(*args, **kwargs).arguments)
        check_outputs({**given, **given.get("options", {})}, files)
        return function(*args, **kwargs)

    @wraps(checked)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            given = signature.bind(*args, **kwargs)
            given.arguments.update(taken(annotations, given.arguments))
            result = checked(*given.args, **given.kwargs)
        except (GentrafficError, PoiError) as error:
            if error.args and isinstance(error.args[0], str):
                error.args = (in_python(error.args[0]), *error.args[1:])
            raise
        return cast(T, result.with_words(in_python)) if isinstance(result, Shown) else result

    return call


def speaks_options(function: Callable[P, T]) -> Callable[P, T]:
    """A function of the public interface as the command line calls it: errors and results name options."""
    return cast(Callable[P, T], getattr(function, "__wrapped__", function))
