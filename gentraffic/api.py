"""What `import gentraffic` offers: sample, load_model, read_traffic. Traffic comes as an xarray Dataset.

The same functions stand behind the command line; errors are those of `gentraffic.errors`, one line each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gentraffic.dataset.calendar import FIRST_DAY
from gentraffic.errors import WrongUse

if TYPE_CHECKING:
    import xarray as xr

    from gentraffic.generators.folder import Bundle
    from gentraffic.generators.fomo.folder import FoMoBundle


def sample(
    place: str | Path | xr.Dataset | None = None,
    *,
    bbox: Sequence[float] | None = None,
    polygon: str | Path | None = None,
    cells: str | Path | None = None,
    stations: str | Path | None = None,
    osm: str | Path | None = None,
    cell_size: float | None = None,
    radius: float | None = None,
    timezone: str | None = None,
    offline: bool = False,
    model: str | Path | Bundle | FoMoBundle | None = None,
    start: str = FIRST_DAY,
    days: int = 7,
    freq: str = "1h",
    members: int = 1,
    seed: int = 0,
    steps: int | None = None,
    solver: str | None = None,
    guidance: float = 1.0,
    habits: str = "",
    device: str = "cpu",
    service: str | None = None,
    total: str | Sequence[str] = (),
    select: Sequence[object] | None = None,
    change: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> xr.Dataset:
    """Draw synthetic traffic for every cell or base station of a place: dimensions ([member,] cell, time), float32.

    place: a bundled city or a name in OpenStreetMap; or a context, as a Dataset or a file (.nc, .zarr); or nothing,
    where bbox (west, south, east, north in degrees), polygon, cells, stations or osm name it. The other arguments are
    those of `gentraffic sample`. model: a name, a folder, or what `load_model` returned; by default as there. total:
    "traffic=5TB/day", or several. select: cell ids. change: draws SERVICE_before and SERVICE_after. progress is told
    (done, of).

    Raises WrongUse, NoData, BadInput, BadModel (`gentraffic.errors`) or NetworkFailed (`poi.errors`).
    """
    import xarray as xr

    from gentraffic.generate.request import Request, draw_place
    from gentraffic.generators.registry import default_model
    from gentraffic.places.find import find_context

    asked: dict[str, Any] = {
        "bbox": None if bbox is None else ",".join(repr(float(degrees)) for degrees in bbox),
        "polygon": polygon, "cells": cells, "stations": stations, "osm": osm, "cell_size": cell_size, "radius": radius,
        "timezone": timezone, "offline": offline,
    }  # fmt: skip
    named = [name for name in ("bbox", "polygon", "cells", "stations") if asked[name] is not None]
    if isinstance(place, xr.Dataset):
        if named or osm is not None:
            raise WrongUse(f"two places given, a context and {(named or ['osm'])[0]}: give one")
        from gentraffic.dataset.schema import check_context

        check_context(place)
        context = place if timezone is None else place.assign_attrs(timezone=timezone)
    else:
        if place is not None:
            asked["context" if Path(place).suffix.lower() in (".nc", ".zarr") else "city"] = (
                Path(place) if Path(place).suffix.lower() in (".nc", ".zarr") else str(place)
            )
        context = find_context(asked, command="gentraffic.sample")
    request = Request(
        start=start, days=days, freq=freq, members=members, seed=seed, steps=steps, solver=solver, guidance=guidance,
        habits=habits, device=device, service=service, total=(total,) if isinstance(total, str) else tuple(total),
        select=None if select is None else tuple(map(str, select)), change=None if change is None else Path(change),
    )  # fmt: skip
    request.totals()
    if model is None:
        model = default_model(steps, solver, guidance)
    bundle = load_model(model) if isinstance(model, str | Path) else model
    name = str(model) if isinstance(model, str | Path) else str(bundle.provenance.get("name", "a model"))
    return draw_place(bundle, context, request, name=name, command="gentraffic.sample", tell=progress)


def load_model(name: str | Path = "stouter-base") -> Bundle | FoMoBundle:
    """A bundled model by its name, or a model folder, every file checked against its hash. Raises BadModel."""
    from gentraffic.generators.fomo.folder import load_any

    return load_any(name)


def read_traffic(path: str | Path) -> xr.Dataset:
    """The traffic in a file (.nc, .zarr, .parquet, .csv), checked. Raises WrongUse for the suffix, BadInput else."""
    from gentraffic.io.files import read_traffic as read

    return read(path)
