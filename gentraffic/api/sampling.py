"""`gentraffic.sample` and `gentraffic.load_model`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gentraffic.api.files import context_of as as_context
from gentraffic.api.language import speaks_python
from gentraffic.api.places import query_of
from gentraffic.errors import WrongUse

if TYPE_CHECKING:
    import xarray as xr

    from gentraffic.generate.run import Sink
    from gentraffic.generators.base import Generator


@speaks_python
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
    id_column: str | None = None,
    columns: str | None = None,
    layer: str | None = None,
    water: str | None = None,
    timezone: str | None = None,
    offline: bool = False,
    model: str | Path | Generator | None = None,
    start: str | None = None,
    days: int | None = None,
    freq: str | None = None,
    members: int = 1,
    seed: int = 0,
    steps: int | None = None,
    solver: str | None = None,
    guidance: float | None = None,
    rhythm: str | None = None,
    device: str | None = None,
    service: str | Sequence[str] | None = None,
    total: str | Sequence[str] = (),
    select: Sequence[object] | None = None,
    change: str | Path | None = None,
    history: str | Path | xr.Dataset | None = None,
    known: str | Path | xr.Dataset | None = None,
    users: str | Path | xr.Dataset | None = None,
    holidays: str | None = None,
    out: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> xr.Dataset:
    """Draw synthetic traffic for every cell or base station of a place: dimensions ([member,] cell, time), float32.

    Parameters
    ----------
    place : str, path or Dataset, optional
        A bundled city or a name in OpenStreetMap; or a context, as a Dataset or a file (.nc, .zarr); or nothing, where
        one of the next five names it, or the measured traffic of `history` or `known`.
    bbox : sequence of float, optional
        West, south, east, north in degrees.
    polygon, cells, stations, osm : path, optional
        The area of a vector file; polygons of your own cells; a table of base stations (lon, lat[, id]); an
        OpenStreetMap extract, alone the area of the file.
    cell_size : float, optional
        Side of the square cells in metres; 250 by default.
    radius : float, optional
        What a station covers, in metres; 500 by default.
    id_column, columns, layer : str, optional
        The column with the ids; names of columns of a table, "id=CELL_NAME,lon=X"; the layer of a file with several.
    water : {"keep", "leave-out"}, optional
        Of square cells that lie wholly in the sea, a lake or a river of the map; they are kept by default.
    timezone : str, optional
        An IANA zone; by default that of the place.
    offline : bool
        Use no network: bundled places, files and the cache only.
    model : str, path or Generator, optional
        A bundled name, a model folder, or what `load_model` returned. By default stouter-fast; stouter-base where
        steps, solver or guidance are given.
    start : str, optional
        The first local day, YYYY-MM-DD; by default 2026-01-05, or that of `known`.
    days : int, optional
        Local days; 7 by default, or those of `known`.
    freq : {"1h", "30min", "15min", "10min"}, optional
        The cadence; by default 1h, or that of `history` or `known`.
    members : int
        How many draws; the first has the most likely levels. With more than one there is a dimension `member`.
    seed : int
        The same seed, model and place give the same bits.
    steps : int, optional
        Steps of the solver, 1 to 1000 (network calls for each week); by default what the model recommends.
    solver : {"ddpm", "ddim", "dpm++", "unipc", "gaussian"}, optional
        By default what the model recommends.
    guidance : float, optional
        Classifier-free guidance; 1, the default, is none.
    rhythm : str, optional
        Whose day and week the cells follow: a measured network (`model.info.networks`), or auto, the nearest.
    device : str, optional
        A torch device; "cpu" by default.
    service : str or sequence of str, optional
        "internet,call_in" or names, of what the model draws (`model.info.services`).
    total : str or sequence of str
        What the region carries, "traffic=5TB/day", "traffic=0.3TB/busyhour", or several. Without it traffic is
        relative: 1 is what the mean cell carries in a mean hour.
    select : sequence, optional
        Ids of the cells to draw.
    change : path, optional
        Points of interest or sites that are added or removed; SERVICE_before and SERVICE_after are drawn.
    history, known, users : path or Dataset (cell, time), optional
        Earlier weeks that the cells follow; measured traffic that is kept, its gaps filled; active users.
    holidays : str, optional
        auto, none, a country such as IT, or a file of dates.
    out : path, optional
        Where it is also written: .nc .zarr .parquet .csv .tif; a .zarr is written as it is drawn, in little memory.
    progress : callable, optional
        Is told (done, of).

    Returns
    -------
    Dataset
        A variable for each service, ([member,] cell, time) float32, and where and how it was drawn in `attrs`.

    Raises
    ------
    WrongUse, NoData, BadInput, BadModel
        Of `gentraffic.errors`; NetworkFailed of `poi.errors`.
    """
    import xarray as xr

    from gentraffic.dataset.services import split_names
    from gentraffic.generate.request import Request
    from gentraffic.generate.run import run
    from gentraffic.generators.base import default_model
    from gentraffic.generators.observed import context_of, read_observations
    from gentraffic.places.find import find_context

    history, known, users = (Path(x) if isinstance(x, str) else x for x in (history, known, users))
    names = split_names(service)
    service = ",".join(names) or None
    observed = read_observations(history, known, users, names[0] if len(names) == 1 else None)
    query = query_of(
        None if isinstance(place, xr.Dataset) else place, bbox, polygon=polygon, cells=cells, stations=stations,
        osm=osm, cell_size=cell_size, radius=radius, id_column=id_column, columns=columns, layer=layer,
        water=water, timezone=timezone, offline=offline,
    )  # fmt: skip
    if isinstance(place, xr.Dataset):
        if not query.is_empty:
            raise WrongUse(f"two places given, a context and {[*query.named, 'osm'][0]}: give one")
        place = as_context(place)
        context = place if timezone is None else place.assign_attrs(timezone=timezone)
    elif observed is not None and query.is_empty:
        context = context_of(observed)
    else:
        context = find_context(query, command="gentraffic.sample")
    request = Request(
        start=start, days=days, freq=freq, members=members, seed=seed, steps=steps, solver=solver, guidance=guidance,
        rhythm=rhythm, device=device, service=service, total=(total,) if isinstance(total, str) else tuple(total),
        select=None if select is None else tuple(map(str, select)), change=None if change is None else Path(change),
        history=history, known=known, users=users, holidays=holidays,
    )  # fmt: skip
    request.totals()
    if model is None:
        model = default_model(steps, solver, guidance)
    generator = load_model(model) if isinstance(model, str | Path) else model
    sink = None if out is None else _sink(Path(out))
    return run(request, generator, context, sink, observed=observed, command="gentraffic.sample", tell=progress).traffic


def _sink(out: Path) -> Sink:
    """What writes traffic to a path."""
    from gentraffic.generate.run import File

    if out.suffix.lower() != ".zarr":
        return File(out)
    from gentraffic.generate.store import Store

    return Store(out)


@speaks_python
def load_model(name: str | Path = "stouter-fast") -> Generator:
    """A bundled model by its name, a model folder, every file checked against its hash, or a registered family.

    Raises BadModel.
    """
    from gentraffic.generators.base import load_model as load

    return load(name)
