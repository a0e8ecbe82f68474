"""Which modules of this project a piece of work passes, and how deeply their functions call each other.

A module is passed where one of its functions is called; what importing a module runs is not counted. A level is a
function of the project that waits for what it called, or for a thread that it gave work to; comprehensions and
generator expressions are part of the function that they stand in, as Python 3.12 has it.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

ROOT = Path(__file__).parents[2]
PACKAGES = ("gentraffic", "samplers", "graphs", "poi", "forecasters")
Function = tuple[str, str]  # module as a path, qualified name


@dataclass
class Trace:
    """functions: module -> its functions that were called. deepest: the longest stack that was seen for each function,
    outermost first."""

    functions: dict[str, set[str]] = field(default_factory=dict)
    deepest: dict[Function, list[Function]] = field(default_factory=dict)

    @property
    def levels(self) -> list[Function]:
        """The longest stack of all."""
        return max(self.deepest.values(), key=len, default=[])


@contextmanager
def traced() -> Iterator[Trace]:
    """Trace this thread, and the threads of pools that are given work meanwhile."""
    found, known, local = Trace(), dict[CodeType, Function | None](), threading.local()

    def place(code: CodeType) -> Function | None:
        """The function of a frame, None where it is none of the project's."""
        if code not in known:
            path = Path(code.co_filename)
            inside = path.is_relative_to(ROOT) and path.relative_to(ROOT).parts[0] in PACKAGES
            known[code] = (path.relative_to(ROOT).as_posix(), code.co_qualname) if inside else None
        return known[code]

    def stack(frame: FrameType | None) -> list[Function] | None:
        """The functions of the project from outside in; None while a module is imported."""
        out = []
        while frame is not None:
            at = place(frame.f_code)
            if at is not None:
                if at[1] == "<module>":
                    return None
                if not frame.f_code.co_name.endswith(("comp>", "genexpr>")):
                    out.append(at)
            frame = frame.f_back
        return [*getattr(local, "before", []), *reversed(out)]

    def note(frame: FrameType, event: str, _: Any) -> None:
        at = place(frame.f_code) if event == "call" else None
        chain = stack(frame) if at is not None else None
        if at is not None and chain:
            found.functions.setdefault(at[0], set()).add(at[1])
            if len(chain) > len(found.deepest.get(at, [])):
                found.deepest[at] = chain

    submit = ThreadPoolExecutor.submit

    def handed_over(pool: ThreadPoolExecutor, work: Callable[..., Any], /, *args: Any, **named: Any) -> Any:
        before = stack(sys._getframe(1))

        def inside(*args: Any, **named: Any) -> Any:
            local.before = before
            sys.setprofile(note)
            try:
                return work(*args, **named)
            finally:
                sys.setprofile(None)

        return submit(pool, inside, *args, **named)

    former = sys.getprofile()
    ThreadPoolExecutor.submit = handed_over  # type: ignore[method-assign]
    sys.setprofile(note)
    try:
        yield found
    finally:
        sys.setprofile(former)
        ThreadPoolExecutor.submit = submit  # type: ignore[method-assign]
