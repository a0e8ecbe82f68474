"""Pictures for the pages that commands write: matplotlib figures as SVG elements that refer to nothing outside."""

from __future__ import annotations

import html
import re
from io import StringIO
from typing import TYPE_CHECKING, Any

import numpy as np

from gentraffic.reports.plot import ACCENT, FALLBACK_FONTS, INK, LINE, SOFT, STYLE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


# Colours of a figure -> the page's own, which are others on a dark screen (assets/templates/page/colours.css).
PAGE_COLOURS = {
    INK: "--ink", SOFT: "--soft", ACCENT: "--accent", LINE: "--line", "#e7eaee": "--grid", "#aab1bb": "--edge",
    "#f3f4f2": "--land", "#8a94a3": "--slate", "#c9a227": "--gold", "#4f8f6f": "--green",
    "#ffffff": "--paper",
}  # fmt: skip


def new_figure(width: float, height: float, rows: int, cols: int) -> tuple[Figure, list[Axes]]:
    """A figure of so many inches with a grid of axes, row by row."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.08)
    figure = Figure(figsize=(width, height), dpi=100, layout=layout, facecolor="none")
    return figure, list(np.atleast_1d(figure.subplots(rows, cols)).ravel())


def page_style() -> Any:
    """The context in which such figures are drawn."""
    import matplotlib as mpl
    from matplotlib.font_manager import get_font_names

    fonts = ["DejaVu Sans", *(name for name in FALLBACK_FONTS if name in get_font_names())]
    extra = {"font.family": fonts, "svg.fonttype": "none", "svg.hashsalt": "gentraffic", "hatch.color": LINE}
    extra["axes.facecolor"] = "none"
    return mpl.rc_context(STYLE | extra)


def svg_text(figure: Figure, label: str) -> str:
    """The figure as an SVG element: no prolog, no metadata, ids of its own."""
    stream = StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = text.replace("'DejaVu Sans'", "'DejaVu Sans', Verdana, sans-serif")  # of nearly the same widths
    for colour, variable in PAGE_COLOURS.items():
        text = re.sub(rf"(fill|stroke): {colour}\b", rf"\1: var({variable})", text)
    name = re.sub(r"\W+", "-", label.lower())[:24]
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = text.replace("url(#", f"url(#{name}-")
    text = text.replace('href="#', f'href="#{name}-')
    return text.replace("<svg ", f'<svg role="img" aria-label="{html.escape(label)}" ', 1)


def plain_text(text: str) -> str:
    """Text as it stands: matplotlib would read mathematics between two dollar signs."""
    return text.replace("$", r"\$")
