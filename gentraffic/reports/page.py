"""The frame of every HTML page: head, title, foot. A page needs no network, and its policy forbids every request."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from gentraffic import __version__
from gentraffic.io.atomic import replacing

if TYPE_CHECKING:
    import xarray as xr

SUFFIXES = (".html", ".htm")


def whole_page(
    title: str, lead: str, content: str, *, sources: Sequence[xr.Dataset], css: str = "", above: str = ""
) -> str:
    """A page. title, lead: plain text. content, above (the title): HTML. css: besides that of all pages.

    sources: the datasets whose attribution and licence stand at the foot.
    """
    said = [
        f"{ds.attrs['attribution']}" + (f" ({ds.attrs['license']})" if ds.attrs.get("license") else "")
        for ds in sources
        if ds.attrs.get("attribution")
    ]
    parts = {
        "title": escaped(title),
        "css": asset("page/page.css") + css,
        "above": above,
        "lead": escaped(lead),
        "content": content,
        "footer": "<br>".join(escaped(line) for line in [*dict.fromkeys(said), f"gentraffic {__version__}"]),
    }
    return filled("page/page.html", parts)


def write_html(path: str | Path, content: str) -> None:
    """Write a page to `path` (.html). Raises WrongUse for the suffix, BadInput where it cannot be written."""
    with replacing(path, SUFFIXES) as temporary:
        temporary.write_bytes(content.encode())


def filled(name: str, parts: Mapping[str, str]) -> str:
    """The template assets/`name` with its {{fields}}, in one pass: what is filled in is not searched again."""
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], asset(name))


def asset(name: str) -> str:
    """The text of a file of gentraffic/data."""
    return resources.files("gentraffic").joinpath("assets", *name.split("/")).read_text(encoding="utf-8")


def escaped(said: object) -> str:
    """Plain text as HTML; quotes too, so that it may stand in an attribute."""
    return html.escape(str(said))


def terms(items: Iterable[tuple[str, str]]) -> str:
    """Terms and what is said of each, plain text, as the inside of a <dl>."""
    return "".join(f"<dt>{escaped(term)}</dt><dd>{escaped(said)}</dd>" for term, said in items)


def bullets(items: Iterable[str], kind: str) -> str:
    """Plain text as a <ul> of a CSS class, nothing for nothing."""
    listed = "".join(f"<li>{escaped(item)}</li>" for item in items)
    return f'<ul class="{kind}">{listed}</ul>' if listed else ""
