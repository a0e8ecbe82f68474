"""Jinja2 templates of gentraffic/assets/templates: HTML pages with autoescape, Markdown cards without it.

A name that a template uses and that was not given is an error (StrictUndefined), never an empty place on the page.
"""

from __future__ import annotations

import textwrap
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment

WIDTH = 120  # of a line of Markdown


def render(template: str, **facts: Any) -> str:
    """The text of a template under assets/templates, such as "page/page.html". Facts are escaped in .html only."""
    return _environment().get_template(template).render(**facts)


def asset(name: str) -> str:
    """The text of a file of gentraffic/assets, such as "webmap/page.js"."""
    return resources.files("gentraffic").joinpath("assets", *name.split("/")).read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: asset(f"templates/{name}")),
        autoescape=jinja2.select_autoescape(["html"], default=False),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"cell": table_cell, "bullet": bullet, "count": count}
    return environment


def table_cell(text: object) -> str:
    """Text for one cell of a Markdown table: in one line, without what would end the cell or begin a tag."""
    return " ".join(str(text).split()).replace("|", "\\|").replace("<", "&lt;")


def count(number: int | None) -> str:
    """A whole number with commas, "?" where it is not known."""
    return "?" if number is None else f"{number:,}"


def bullet(text: str) -> str:
    """Text as one item of a Markdown list, folded at WIDTH letters."""
    return textwrap.fill(
        " ".join(text.split()), WIDTH, initial_indent="- ", subsequent_indent="  ",
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
