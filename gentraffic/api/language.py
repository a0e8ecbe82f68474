"""Errors in the words of Python: rooms below name options as the command line does, `--cell-size 5`."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from gentraffic.errors import GentrafficError
from poi.errors import PoiError

P = ParamSpec("P")
T = TypeVar("T")
_VALUE = re.compile(r"--([a-z][a-z0-9-]*) (-?[\w.%@+][\w.%@+/=-]*)(?=:)")  # an option and its value, before a colon
_NAME = re.compile(r"--([a-z][a-z0-9-]*)")


def in_python(message: str) -> str:
    """`--cell-size 5: give 10 or more` as `cell_size=5: give 10 or more`; other options as their argument's name."""
    message = _VALUE.sub(lambda m: f"{_argument(m[1])}={m[2]}", message)
    return _NAME.sub(lambda m: _argument(m[1]), message)


def _argument(option: str) -> str:
    return option.replace("-", "_")


def speaks_python(function: Callable[P, T]) -> Callable[P, T]:
    """A function of the public interface, whose errors name its arguments as Python writes them."""

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except (GentrafficError, PoiError) as error:
            if error.args and isinstance(error.args[0], str):
                error.args = (in_python(error.args[0]), *error.args[1:])
            raise

    return call
