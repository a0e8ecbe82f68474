"""README.md and the pages of docs/, and the commands on them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
FENCE = re.compile(r"(?P<note><!--[^\n]*-->\n)?^```(?P<kind>\w*)[^\n]*\n(?P<body>.*?)^```", re.M | re.S)
PLACEHOLDER = re.compile(r"\b(COMMAND|FORMAT|NAME|FILE)\b|\.\.\.|…")


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def code_lines(text: str) -> Iterator[str]:
    """Lines of fenced and indented code, those that end in a backslash joined."""
    fenced = [body for *_, body in FENCE.findall(text)]
    indented = [line[4:] for line in FENCE.sub("", text).splitlines() if line.startswith("    ")]
    for part in [*fenced, "\n".join(indented)]:
        yield from re.sub(r"\\\n\s*", " ", part).splitlines()


def commands(text: str) -> list[list[str]]:
    """Every `gentraffic ...` of the code of a page, as words without comment."""
    found = []
    for line in code_lines(text):
        start = re.search(r"(?:^|-m )gentraffic (?!import as )", line)
        if start and not PLACEHOLDER.search(line):
            found.append(shlex.split(line[start.end() :], comments=True))
    return found
