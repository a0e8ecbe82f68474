"""No output is an input: what every function of `api`, and so every command, is refused before any work."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from gentraffic.errors import WrongUse

# Arguments that name what is written -> how the command line writes them; any other that names a file is an input.
OUTPUTS = {
    "out": "-o",
    "map_file": "--map",
    "plot_file": "--plot",
    "html": "--html",
    "rest": "--rest",
    "context_out": "--context",
}
MODELS = ("model", "source", "start")  # text that may be a bundled model or a folder
POSITIONAL = ("traffic", "src", "path", "paths", "real", "what", "place")  # inputs that the command line gives no name


def check_outputs(given: Mapping[str, Any], files: Collection[str] = ()) -> None:
    """Raise WrongUse where an output is, holds or lies in one of the inputs, by whatever name, or two are the same.

    given: every argument of a call, by name. files: the names of those whose text is a path; a Path always is one.
    Files are told apart by device and inode, so links count.
    """
    written = [
        (typed, Path(value)) for name, typed in OUTPUTS.items() if isinstance(value := given.get(name), str | Path)
    ]
    for i, (typed, path) in enumerate(written):
        for other, another in written[:i]:
            if os.path.realpath(path) == os.path.realpath(another) or _same(path, another):
                raise WrongUse(f"{other} and {typed} are the same file, {path}: give one of them another name")
    known = {*files, *MODELS}
    read = [
        (name, path) for name, value in given.items() if name not in OUTPUTS for path in _paths(value, name in known)
    ]
    for typed, path in written:
        for name, source in read:
            what = f"the input {source}" if name in POSITIONAL else f"--{name.replace('_', '-')} {source}"
            if _same(path, source):
                raise WrongUse(f"{typed} {path} is {what}, which it would replace: give another {typed}")
            if path.is_dir() and Path(os.path.realpath(source)).is_relative_to(os.path.realpath(path)):
                raise WrongUse(f"{typed} {path} holds {what}, which it would replace: give another {typed}")
            if source.is_dir() and Path(os.path.realpath(path)).is_relative_to(os.path.realpath(source)):
                raise WrongUse(f"{typed} {path} lies in {what}, which it would change: give another {typed}")


def _paths(value: Any, is_file: bool) -> list[Path]:
    """The files and folders that are there and that the value of an input names; `@FILE#PART` names one, too."""
    if isinstance(value, tuple | list):
        return [path for part in value for path in _paths(part, is_file)]
    if isinstance(value, str):
        _, at, file = value.partition("@")
        if is_file:
            value = Path(value)
        elif at and file:
            value = Path(file.partition("#")[0])
    if not isinstance(value, Path):
        return []
    beside = value.with_name(f"{value.name}-metadata.json") if value.suffix.lower() == ".csv" else value
    return [path for path in dict.fromkeys((value, beside)) if path.name and path.exists()]


def _same(path: Path, other: Path) -> bool:
    """Whether two names are of one file or folder, also through links; what is not there is no file."""
    try:
        return os.path.samefile(path, other)
    except OSError:
        return False
