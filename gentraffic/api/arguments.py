"""What a public function is given, against its annotations: NumPy numbers become plain ones, other types are refused.

Scalars, paths, sequences of them and classes by their name; what a Dataset or a table holds is left to its reader.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any

from gentraffic.errors import MOST_INTEGER, WrongUse

LONGEST_NAME, LONGEST_PATH = 255, 4095  # bytes of a file's name and of a path
LONGEST_SHOWN = 40  # letters of a value in a message
_WORDS = {"str": "text", "Path": "a path", "int": "a whole number", "float": "a number", "bool": "True or False",
          "Callable": "a function", "Dataset": "an xarray Dataset", "DataFrame": "a table of pandas",
          "Generator": "what load_model returned"}  # fmt: skip
_PROTOCOLS = {"Generator": "info"}  # annotation -> an attribute of all that is meant


class _Unfit(Exception):
    """A value that an annotation does not allow."""


def taken(annotations: Mapping[str, str], given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments by name, whole numbers as int and others as float where those are annotated.

    annotations: name -> the text of its type; what has none is left as it is. Raises WrongUse, in the words of Python,
    naming argument, value and what is expected.
    """
    return {name: _taken(name, annotations[name], value) if name in annotations else value
            for name, value in given.items()}  # fmt: skip


def _taken(name: str, annotation: str, value: Any) -> Any:
    try:
        fit = _fitted(annotation, value)
    except _Unfit:
        several = value if isinstance(value, list | tuple) else [value]
        if "Dataset" not in annotation and "Path" in annotation and any(map(_is_dataset, several)):
            raise WrongUse(
                f"{name} is given as a Dataset, and is read from a file: give its path (gentraffic.write_traffic, or "
                "gentraffic.fetch with out, writes it)"
            ) from None
        if "Dataset" in annotation and not isinstance(value, bool | int | float | str | bytes | None):
            kind = type(value).__name__
            alone = ", one variable alone: give the Dataset, `ds` and not `ds.traffic`"
            how = alone if kind == "DataArray" else ": give the path of a file, or an xarray Dataset"
            raise WrongUse(f"{name} is given as a {kind}{how}") from None
        raise WrongUse(f"{name}={_shown(value)}: give {_expected(annotation)}") from None
    for number in fit if isinstance(fit, list) else [fit]:
        if isinstance(number, int) and abs(number) > MOST_INTEGER and "int" in annotation:
            raise WrongUse(f"{name}={number}: give {'at most ' if number > 0 else 'at least -'}{MOST_INTEGER}")
    if "Path" in annotation:
        for path in fit if isinstance(fit, list) else [fit]:
            if isinstance(path, str | os.PathLike):
                _check_path(name, path)
    return fit


def _is_dataset(value: Any) -> bool:
    return type(value).__name__ == "Dataset"


def _check_path(name: str, path: str | os.PathLike[str]) -> None:
    """Raise WrongUse for a path that no system takes."""
    try:
        written = os.fsencode(path)
    except UnicodeEncodeError:
        raise WrongUse(f"{name}={_shown(path)}: the name holds what is no text") from None
    if b"\0" in written:
        raise WrongUse(f"{name}={_shown(path)}: the name holds a zero byte")
    longest = max(map(len, written.split(os.fsencode(os.sep))))
    if longest > LONGEST_NAME or len(written) > LONGEST_PATH:
        long, most = (longest, LONGEST_NAME) if longest > LONGEST_NAME else (len(written), LONGEST_PATH)
        raise WrongUse(f"{name}={_shown(path)}: a name of {long} bytes, of which a file has {most} at most")


def _fitted(annotation: str, value: Any) -> Any:
    """The value as the annotation says. Raises _Unfit."""
    kinds = _kinds(annotation)
    if kinds.keys() & {"Any", "object"} or (value is None and "None" in kinds):
        return value
    if isinstance(value, bool) or (type(value).__module__ == "numpy" and type(value).__name__ in ("bool", "bool_")):
        if "bool" in kinds:
            return bool(value)
        raise _Unfit
    if isinstance(value, str):
        if "str" in kinds:
            return str(value)
        raise _Unfit
    if isinstance(value, os.PathLike) and "Path" in kinds:
        return value
    if kinds.keys() & {"int", "float"} and hasattr(type(value), "__float__"):
        return _number(kinds, value)
    if "Callable" in kinds and callable(value):
        return value
    for inner in kinds.get("Sequence", ()):
        if isinstance(value, Iterable) and not isinstance(value, bytes | Mapping):
            return [_fitted(inner, one) for one in value]
    names = {kind.__name__ for kind in type(value).__mro__} & kinds.keys()
    if names or any(kind in kinds and hasattr(value, mark) for kind, mark in _PROTOCOLS.items()):
        return value
    raise _Unfit


def _number(kinds: Mapping[str, tuple[str, ...]], value: Any) -> int | float:
    """A number as int where it is whole and that is allowed, else as float where that is. Raises _Unfit."""
    try:
        whole = None if isinstance(value, float) and not value.is_integer() else int(value)
        if "int" in kinds and whole is not None and whole == value:
            return whole
        if "float" in kinds:
            return value if type(value) in (int, float) else float(value)
    except (TypeError, ValueError, OverflowError):
        pass
    raise _Unfit


@lru_cache(maxsize=512)
def _kinds(annotation: str) -> dict[str, tuple[str, ...]]:
    """The members of a union by their last names, `xr.Dataset` as Dataset, each with what is in its brackets."""
    parts, depth = [""], 0
    for letter in annotation:
        depth += {"[": 1, "]": -1}.get(letter, 0)
        if letter == "|" and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    kinds: dict[str, tuple[str, ...]] = {}
    for part in parts:
        name, _, inner = part.strip().partition("[")
        kinds[name.rpartition(".")[2]] = (inner[:-1],) if inner else ()
    return kinds


def _expected(annotation: str) -> str:
    """What an annotation allows, in words."""
    kinds = _kinds(annotation)
    words = [_WORDS.get(kind, kind) for kind in kinds if kind not in ("None", "Sequence")]
    words += [
        f"a list, each {_expected(inner)}" if inner != "object" else "a list" for inner in kinds.get("Sequence", ())
    ]
    return " or ".join(words)


def _shown(value: Any) -> str:
    """A value for a message: as Python writes it, or its type where that is long."""
    text = repr(str(value) if isinstance(value, os.PathLike) else value)
    if isinstance(value, str | os.PathLike) and len(text) > LONGEST_SHOWN:
        return f"{text[:LONGEST_SHOWN]}..."
    return text if len(text) <= LONGEST_SHOWN and "\n" not in text and " at 0x" not in text else type(value).__name__


def annotations_of(function: Callable[..., Any]) -> dict[str, str]:
    """Argument -> the text of its type, of a function or a dataclass; of what is not `*args` or `**options`."""
    known: dict[str, Any] = dict(function.__annotations__)
    code = getattr(function, "__code__", None)
    names = known if code is None else code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    return {name: str(known[name]) for name in names if name in known}
