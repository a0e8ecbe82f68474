"""`gentraffic.report`, `draw_map`, `draw_plot`: traffic as pages and pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gentraffic.api.files import traffic_of
from gentraffic.api.inputs import path_given
from gentraffic.api.language import speaks_python

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

HEIGHT_PX = 640  # of a page inside a notebook


@dataclass(frozen=True)
class Drawn:
    """Traffic that was drawn. sizes: dimension -> length, of the traffic that it shows. shown: which of several
    services, where none was named. out: the file that holds it. sections: titles, where a page has some."""

    sizes: Mapping[str, int] = field(default_factory=dict)
    shown: str = ""
    out: Path | None = None
    sections: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """What `--json` prints: output, sections where there are some, and how much it shows."""
        values: dict[str, Any] = {} if self.out is None else {"output": str(self.out)}
        if self.sections:
            members = self.sizes.get("member", 1)
            return values | {"sections": list(self.sections), "cells": self.sizes["cell"], "members": members}
        return values | {"cells": self.sizes["cell"], "steps": self.sizes["time"]}

    def text(self) -> list[str]:
        """A line for a terminal: the file, what it shows, and which of several services."""
        where = "" if self.out is None else f"{self.out}: "
        if self.sections:
            which = f" ({self.shown}; --service names another)" if self.shown else ""
            return [f"{where}{', '.join(title.lower() for title in self.sections)}{which}"]
        which = f" of {self.shown}; --service names another" if self.shown else ""
        return [f"{where}{self.sizes['cell']:,} cells x {self.sizes['time']:,} steps{which}"]


@dataclass(frozen=True, kw_only=True)
class Page(Drawn):
    """A page in one piece, which needs no network; a notebook shows it."""

    html: str = field(repr=False)  # hundreds of kB

    def save(self, path: str | Path) -> None:
        """Write the page. Raises WrongUse for another suffix than .html, BadInput where it cannot be written."""
        from gentraffic.reports.page import write_html

        write_html(path, self.html)

    def _repr_html_(self) -> str:
        frame = f'<iframe style="width:100%;height:{HEIGHT_PX}px;border:0" sandbox="allow-scripts" srcdoc="'
        return frame + escape(self.html, quote=True) + '"></iframe>'


@dataclass(frozen=True, kw_only=True)
class Picture(Drawn):
    """A picture, which a notebook shows. figure: of matplotlib."""

    figure: Figure

    def save(self, path: str | Path) -> None:
        """Write the picture. Raises WrongUse for another suffix than .png, BadInput where it cannot be written."""
        from gentraffic.reports.plot import save

        save(self.figure, path)

    def _repr_html_(self) -> str:
        from base64 import b64encode
        from io import BytesIO

        png = BytesIO()
        self.figure.savefig(png, format="png", metadata={"Software": None})
        source = b64encode(png.getvalue()).decode()
        return f'<img alt="traffic" style="max-width:100%" src="data:image/png;base64,{source}">'


@speaks_python
def draw_map(
    traffic: str | Path | xr.Dataset,
    out: str | Path | None = None,
    *,
    service: str | None = None,
    name: str | None = None,
    title: str = "",
    streets: str | Path | None = None,
) -> Page:
    """A map that plays step by step, with layers, of one service of traffic.

    Parameters
    ----------
    traffic : path or Dataset ([member,] cell, time)
        What is shown; of an ensemble its mean and range.
    out : path, optional
        Where the page is written (.html).
    service : str, optional
        Which variable; the first by default.
    name : str, optional
        What the place is called; by default as the traffic says.
    title : str
        Of the page; by default what it is and of which place.
    streets : path, optional
        An OpenStreetMap extract or a context from which streets and names come, where the traffic has none.

    Returns
    -------
    Page
        It shows itself in a notebook; `save(path)` writes it.

    Raises
    ------
    WrongUse
        For an unknown service or suffix, or what is no Dataset.
    NoData, BadInput
        Of `gentraffic.errors`.
    """
    from gentraffic.reports.webmap import page

    _check_page(out)
    ds = _with_streets(_called(traffic_of(traffic), name), streets)
    drawn = Page(_sizes(ds), _shown(ds, service), path_given(out), html=page(ds, service=service, title=title))
    if out is not None:
        drawn.save(out)
    return drawn


@speaks_python
def draw_plot(
    traffic: str | Path | xr.Dataset,
    out: str | Path | None = None,
    *,
    service: str | None = None,
    name: str | None = None,
    title: str = "",
) -> Picture:
    """The total over time, three cells, the hours of the days, and levels, of one service of traffic.

    Parameters
    ----------
    traffic : path or Dataset ([member,] cell, time)
        What is shown; of an ensemble its mean and range.
    out : path, optional
        Where the picture is written (.png).
    service, name, title : str
        As of `draw_map`.

    Returns
    -------
    Picture
        It shows itself in a notebook; `save(path)` writes it, `figure` is matplotlib's.

    Raises
    ------
    WrongUse, NoData, BadInput
        As `draw_map`.
    """
    from gentraffic.io import atomic
    from gentraffic.reports.plot import SUFFIXES, draw

    if out is not None:
        atomic.check_writable(out, SUFFIXES)
    ds = _called(traffic_of(traffic), name)
    picture = draw(ds, service=service, title=title)
    drawn = Picture(_sizes(ds), _shown(ds, service), path_given(out), figure=picture)
    if out is not None:
        drawn.save(out)
    return drawn


@speaks_python
def report(
    traffic: str | Path | xr.Dataset,
    out: str | Path | None = None,
    *,
    service: str | None = None,
    capacity: str | None = None,
    name: str | None = None,
    real: str | Path | xr.Dataset | None = None,
    model: str | Path | None = None,
    streets: str | Path | None = None,
) -> Page:
    """One page about a traffic file or Dataset ([member,] cell, time), for a colleague who was not there.

    out: where it is written (.html), if anywhere. capacity: also where, and how probably, this is exceeded, such as
    "40Mbit/s". name: what the place is called. real: measured traffic of the same cells, to see whether the ensemble's
    ranges hold. model: folder of the model that drew it, where that is not bundled. streets: as of `draw_map`. Raises
    WrongUse, NoData, BadInput, BadModel.
    """
    from gentraffic.reports.traffic import page

    _check_page(out)
    ds = _with_streets(_called(traffic_of(traffic), name), streets)
    measured = None if real is None else traffic_of(real)
    html, sections = page(ds, service=service, capacity=capacity, model=model, real=measured)
    drawn = Page(_sizes(ds), _shown(ds, service), path_given(out), tuple(sections), html=html)
    if out is not None:
        drawn.save(out)
    return drawn


def _with_streets(ds: xr.Dataset, streets: str | Path | None) -> xr.Dataset:
    """Traffic ([member,] cell, time) with the map of a file beneath it. Raises NoData, BadInput."""
    from gentraffic.places.streets import with_streets

    return ds if streets is None else with_streets(ds, streets)


def _called(ds: xr.Dataset, name: str | None) -> xr.Dataset:
    """Traffic ([member,] cell, time) of a place of this name."""
    return ds.assign_attrs(place=name) if name else ds


def _check_page(out: str | Path | None) -> None:
    """Raise, before any work, where a page cannot be written."""
    from gentraffic.io import atomic
    from gentraffic.reports.page import SUFFIXES

    if out is not None:
        atomic.check_writable(out, SUFFIXES)


def _shown(ds: xr.Dataset, service: str | None) -> str:
    """The service that is meant where none is named and there are several known ones; else ""."""
    from gentraffic.dataset.schema import MAIN, one_service
    from gentraffic.dataset.services import DIRECTIONS, SUMS

    known = {*MAIN, *DIRECTIONS, *SUMS} & {str(name) for name in ds.data_vars}
    return one_service(ds, None) if service is None and len(known) > 1 else ""


def _sizes(ds: xr.Dataset) -> dict[str, int]:
    """Dimension -> length, of traffic ([member,] cell, time)."""
    return {str(name): length for name, length in ds.sizes.items()}
