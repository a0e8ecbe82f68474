"""What every HTML page is made of: sections of blocks, a head, a foot. Templates: gentraffic/assets/templates/page.

A page needs no network, and its Content-Security-Policy forbids every request. Blocks hold plain text, which the
templates escape; only figures hold markup, as `svg_text` makes it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from gentraffic import __version__
from gentraffic.dataset.schema import is_usual_week, local_time, long_name
from gentraffic.io.atomic import replacing
from gentraffic.io.templates import render

if TYPE_CHECKING:
    import xarray as xr

SUFFIXES = (".html", ".htm")
GIVEN = "measured_cells"  # attribute of traffic that was drawn given measured traffic, which it holds
PLANNED = {"awake": "Awake radio units", "blocks": "Resource blocks"}  # variables of `gentraffic plan`


@dataclass(frozen=True)
class Card:
    """One number to look at first. word: what it is, `code` where it is the name of a metric."""

    word: str
    value: str
    remarks: tuple[str, ...] = ()
    code: bool = False


@dataclass(frozen=True)
class Cards:
    """Numbers to look at first, side by side."""

    items: Sequence[Card]
    macro: ClassVar[str] = "cards"


@dataclass(frozen=True)
class Text:
    """A paragraph. kind: "caption", "after" (below a figure or table), "empty" (in place of one), "banner leak"..."""

    text: str
    kind: str = "caption"
    macro: ClassVar[str] = "text"


@dataclass(frozen=True)
class Terms:
    """Terms and what is said of each. kind: "" or "small"."""

    items: Sequence[tuple[str, str]]
    kind: str = ""
    macro: ClassVar[str] = "terms"


@dataclass(frozen=True)
class Bullets:
    """A list of sentences. kind: "trust", "verdict", "limits", or "notes", which are folded under `title`."""

    items: Sequence[str]
    kind: str = "trust"
    title: str = ""
    macro: ClassVar[str] = "bullets"


@dataclass(frozen=True)
class Cell:
    """One cell of a table. small: below it. kind: "best", "none", "out", "yes". about: shown when pointed at."""

    text: str
    small: str = ""
    kind: str = ""
    about: str = ""
    code: bool = False


@dataclass(frozen=True)
class Table:
    """rows: cells, the first of each its head; a row of one cell is a heading inside the table. label: for those who
    hear the page."""

    head: Sequence[str]
    rows: Sequence[Sequence[Cell | str]]
    label: str
    macro: ClassVar[str] = "table"

    def cells(self) -> list[list[Cell]]:
        """The rows, plain text as cells."""
        return [[cell if isinstance(cell, Cell) else Cell(cell) for cell in row] for row in self.rows]


@dataclass(frozen=True)
class Figure:
    """svg: markup, "" where there is none, and then `missing` says why."""

    svg: str
    caption: str = ""
    missing: str = ""
    macro: ClassVar[str] = "figure"

    def __html__(self) -> str:
        """The markup as a template writes it, not escaped: the only block that is more than text."""
        return self.svg


Block = Cards | Text | Terms | Bullets | Table | Figure


@dataclass(frozen=True)
class Section:
    """Blocks under a heading, "" for none. folded: shown only when it is opened."""

    title: str
    blocks: Sequence[Block]
    folded: bool = False


@dataclass(frozen=True)
class Page:
    """title, lead: plain text. badge: (words, kind) above the title, kind "drawn" or "measured"; None for none.

    sources: the datasets whose attribution and licence stand at the foot, and whose privacy stands at the head.
    """

    title: str
    lead: str
    sections: Sequence[Section]
    sources: Sequence[xr.Dataset] = ()
    badge: tuple[str, str] | None = None


def page_text(page: Page) -> str:
    """The HTML of a page."""
    return render(
        "page/page.html",
        page=page,
        privacy=list(dict.fromkeys(line for ds in page.sources if (line := privacy_line(ds)))),
        credits=list(dict.fromkeys(line for ds in page.sources if (line := credit_line(ds)))),
        version=__version__,
    )


def write_html(path: str | Path, content: str) -> None:
    """Write a page to `path` (.html). Raises WrongUse for the suffix, BadInput where it cannot be written."""
    with replacing(path, SUFFIXES) as temporary:
        temporary.write_bytes(content.encode())


def figure(draw: Callable[[], str], caption: str = "") -> Figure:
    """A figure, or why there is none: the ValueError of `draw`."""
    try:
        return Figure(draw(), caption)
    except ValueError as error:
        return Figure("", caption, f"Not shown: {error}.")


def credit_line(ds: xr.Dataset) -> str:
    """Attribution and licence of a Dataset, "" where it names none."""
    licence = f" ({ds.attrs['license']})" if ds.attrs.get("license") else ""
    return f"{ds.attrs['attribution']}{licence}" if ds.attrs.get("attribution") else ""


def privacy_line(ds: xr.Dataset) -> str:
    """What differential privacy promises for a Dataset, in one sentence, from its attributes; "" where it has none."""
    attrs = ds.attrs
    if "privacy_epsilon" not in attrs:
        return ""
    text = "Drawn from a model that was fitted with differential privacy: "
    text += f"epsilon {float(attrs['privacy_epsilon']):.3g}"
    text += f", delta {float(attrs['privacy_delta']):g}" if "privacy_delta" in attrs else ""
    text += f"; protected unit: {attrs['privacy_unit']}" if attrs.get("privacy_unit") else ""
    text += f"; adjacency: {attrs['privacy_adjacency']}" if attrs.get("privacy_adjacency") else ""
    return f"{text}."


def is_drawn(ds: xr.Dataset) -> bool:
    """Whether a model drew it; measured otherwise."""
    return bool(ds.attrs.get("model")) or "not measured" in str(ds.attrs.get("source", ""))


def badge_of(ds: xr.Dataset) -> tuple[str, str]:
    """What stands above the title of a page about a Dataset, and its kind."""
    if is_plan(ds):
        from_drawn = ds.attrs.get("model")
        return ("A plan, from synthetic traffic", "drawn") if from_drawn else ("A plan, from traffic", "measured")
    if given := ds.attrs.get(GIVEN):
        return f"Synthetic traffic; measured in part: {given}", "drawn"
    return ("Synthetic traffic, not measured", "drawn") if is_drawn(ds) else ("Measured traffic", "measured")


def period_words(ds: xr.Dataset) -> str:
    """First and last day for a reader: "Mon 5 Jan 2026 to Sun 11 Jan 2026", or of a usual week its weekdays alone."""
    local = local_time(ds)
    if is_usual_week(ds):
        first, last = f"{local[0]:%A}", f"{local[-1]:%A}"
        days = first if first == last else f"{first} to {last}"
        return f"a usual week, {days}" if len(local.normalize().unique()) == 7 else f"of a usual week, {days}"
    first, last = (f"{when:%a} {when.day} {when:%b %Y}" for when in (local[0], local[-1]))
    return f"{first} to {last}"


def is_plan(ds: xr.Dataset) -> bool:
    """Whether it is a decision of `gentraffic plan`."""
    return str(ds.attrs.get("source", "")).startswith("a plan")


def traffic_words(ds: xr.Dataset, service: str) -> str:
    """What the traffic of a service is called in a title: "Synthetic traffic", "Call in traffic", "Resource blocks"."""
    for when in ("before", "after"):
        if service.endswith(f"_{when}"):
            return f"{traffic_words(ds, service.removesuffix(f'_{when}'))} {when} the change"
    if is_plan(ds):
        return PLANNED.get(service, service)
    name = service.replace("_", " ")
    label = long_name(name)
    return f"synthetic {label}".capitalize() if is_drawn(ds) else label.capitalize()


def title_of(ds: xr.Dataset, words: str = "Cellular traffic") -> str:
    """The title of a page or picture about a Dataset: `words` and its place, which `--place` names, else its title."""
    place = str(ds.attrs.get("place", ""))
    return f"{words} of {place}" if place else str(ds.attrs.get("title") or words)
