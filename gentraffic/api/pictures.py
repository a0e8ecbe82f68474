"""`gentraffic.report`, `draw_map`, `draw_plot`: traffic as pages and pictures."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from gentraffic.api.files import traffic_of
from gentraffic.api.language import speaks_python

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

HEIGHT_PX = 640  # of a page inside a notebook


@dataclass(frozen=True)
class Page:
    """A page in one piece, which needs no network; a notebook shows it. sections: titles, where it has some."""

    html: str
    sections: tuple[str, ...] = ()

    def save(self, path: str | Path) -> None:
        """Write the page. Raises WrongUse for another suffix than .html, BadInput where it cannot be written."""
        from gentraffic.reports.page import write_html

        write_html(path, self.html)

    def _repr_html_(self) -> str:
        frame = f'<iframe style="width:100%;height:{HEIGHT_PX}px;border:0" sandbox="allow-scripts" srcdoc="'
        return frame + escape(self.html, quote=True) + '"></iframe>'


@speaks_python
def draw_map(
    traffic: str | Path | xr.Dataset, path: str | Path | None = None, *, service: str | None = None, title: str = ""
) -> Page:
    """A map that plays hour by hour, with layers, of one service of a traffic file or Dataset ([member,] cell, time).

    path: where the page is written (.html), if anywhere. service: which variable, the first unless named. title: of the
    page, by default that of the place. Raises WrongUse for an unknown service or suffix, BadInput.
    """
    from gentraffic.reports.webmap import page

    drawn = Page(page(traffic_of(traffic), service=service, title=title))
    if path is not None:
        drawn.save(path)
    return drawn


@speaks_python
def draw_plot(
    traffic: str | Path | xr.Dataset, path: str | Path | None = None, *, service: str | None = None, title: str = ""
) -> Figure:
    """The total over time, three cells, the hours of the days, and levels, of one service of ([member,] cell, time).

    path: where the picture is written (.png), if anywhere. Raises as `draw_map`.
    """
    from gentraffic.reports.plot import draw, write_plot

    ds = traffic_of(traffic)
    if path is not None:
        write_plot(ds, path, service=service, title=title)
    return draw(ds, service=service, title=title)


@speaks_python
def report(
    traffic: str | Path | xr.Dataset,
    path: str | Path | None = None,
    *,
    service: str | None = None,
    capacity: str | None = None,
    real: str | Path | xr.Dataset | None = None,
    model: str | Path | None = None,
) -> Page:
    """One page about a traffic file or Dataset ([member,] cell, time), for a colleague who was not there.

    path: where it is written (.html), if anywhere. capacity: also where, and how probably, this is exceeded, such as
    "40Mbit/s". real: measured traffic of the same cells, to see whether the ensemble's ranges hold. model: folder of
    the model that drew it, where that is not bundled. Raises WrongUse, BadInput, BadModel.
    """
    from gentraffic.reports.traffic import page

    measured = None if real is None else traffic_of(real)
    html, sections = page(traffic_of(traffic), service=service, capacity=capacity, model=model, real=measured)
    drawn = Page(html, tuple(sections))
    if path is not None:
        drawn.save(path)
    return drawn
