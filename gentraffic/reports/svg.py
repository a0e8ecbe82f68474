"""Pictures for the pages that commands write: matplotlib figures as SVG elements that refer to nothing outside."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gentraffic.reports.plot import ACCENT, FALLBACK_FONTS, INK, LINE, SOFT, STYLE

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from poi.elements import BaseMap


LAND, WATER, WASH = "#f3f4f2", "#2c5f8a", "#96bede"
FINE = 500  # points that a panel shows along its longer side: what is finer is left out
NAMES = 7  # of places on a panel
# Width in points; streets are too many for a picture that nobody zooms into.
LINE_WIDTHS = {"waterway": 0.5, "main": 0.4, "rail": 0.5, "motorway": 0.9, "coast": 0.8}
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


def svg_text(figure: Figure, label: str, *, cropped: bool = False) -> str:
    """The figure as an SVG element: no prolog, no metadata, ids of its own. cropped: without empty room above and
    below, which maps of a fixed shape leave."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    stream = StringIO()
    none = {"Date": None, "Creator": None, "Format": None, "Type": None}
    if cropped:
        from matplotlib.transforms import Bbox

        figure.draw_without_rendering()
        width, height = figure.get_size_inches()
        used = figure.get_tightbbox()
        inside = Bbox([[0, max(0.0, used.y0 - 0.06)], [width, min(height, used.y1 + 0.06)]])
        figure.savefig(stream, format="svg", bbox_inches=inside, metadata=none)
    else:  # drawn once, where `savefig` draws once more to place its parts
        canvas: Any = FigureCanvasSVG(figure)  # whose methods have no types
        canvas.print_svg(stream, metadata=none)
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


@dataclass(frozen=True)
class Beneath:
    """The map beneath a picture in the units of its axes. lines: class -> lines, each (points, 2), thinned to what a
    panel shows. water: rings, each (points, 2). names: text, x, y, the largest places first."""

    lines: dict[str, list[NDArray[np.float64]]]
    water: list[NDArray[np.float64]]
    names: list[tuple[str, float, float]]


def beneath(base: BaseMap, to_axes: Callable[[NDArray[np.float64]], NDArray[np.float64]], extent: float) -> Beneath:
    """The map `base` for axes. to_axes: (points, 2) degrees -> (points, 2) of the axes. extent: its longer side."""
    import shapely

    from poi.basemap import CLASSES, UNIT

    fine = extent / FINE
    parts = np.split(to_axes(base.at.astype(np.float64) * UNIT), np.cumsum(base.size)[:-1]) if len(base.size) else []
    lines: dict[str, list[NDArray[np.float64]]] = {}
    water: list[NDArray[np.float64]] = []
    for code, part in zip(base.kind.tolist(), parts, strict=True):
        name = CLASSES[code]
        if name in LINE_WIDTHS or name in ("sea", "water"):
            thin = shapely.get_coordinates(shapely.simplify(shapely.LineString(part), fine, preserve_topology=False))
            if name in ("sea", "water"):
                water += [thin] if len(thin) > 3 else []
            elif len(thin) > 1:
                lines.setdefault(name, []).append(thin)
    order = np.argsort(base.name_kind, kind="stable")
    at = to_axes(base.name_at)
    return Beneath(lines, water, [(base.name[i], float(at[i, 0]), float(at[i, 1])) for i in order])


def draw_beneath(ax: Axes, shown: Beneath, names: int = NAMES, *, over: bool = True) -> None:
    """Lines, a wash of water and names over what `ax` shows, within its limits. over: false where points must not be
    washed: water lies below them then."""
    from matplotlib.collections import LineCollection
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path
    from matplotlib.patheffects import withStroke

    (x0, x1), (y0, y1) = ax.get_xlim(), ax.get_ylim()
    if shown.water:
        path = Path.make_compound_path(*[Path(ring, closed=True) for ring in shown.water])
        ax.add_patch(PathPatch(path, facecolor=WASH, edgecolor="none", alpha=0.6, zorder=1 if over else 0.5))
    for name, width in LINE_WIDTHS.items():
        some = shown.lines.get(name, [])
        if some:
            colour = WATER if name in ("coast", "waterway") else INK
            ax.add_collection(LineCollection(some, colors=LAND, linewidths=width + 0.7, alpha=0.5))
            ax.add_collection(LineCollection(some, colors=colour, linewidths=width, alpha=0.75))
    taken: list[tuple[float, float, float]] = []
    wide, tall = (x1 - x0) * 0.014, (y1 - y0) * 0.05
    for text, x, y in shown.names:
        half = wide * len(text) / 2 + wide
        inside = x0 + half <= x <= x1 - half and y0 + tall <= y <= y1 - tall
        if len(taken) == names or not inside:
            continue
        if any(abs(x - other) < half + more and abs(y - up) < 1.4 * tall for other, up, more in taken):
            continue
        taken.append((x, y, half))
        ax.text(x, y, plain_text(text), fontsize=7, ha="center", va="center", color=INK,
                path_effects=[withStroke(linewidth=1.8, foreground=LAND, alpha=0.85)])  # fmt: skip
    ax.set(xlim=(x0, x1), ylim=(y0, y1))


def plain_text(text: str) -> str:
    """Text as it stands: matplotlib would read mathematics between two dollar signs."""
    return text.replace("$", r"\$")
