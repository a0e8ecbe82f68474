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
    progress: Callable[[int, int], None] | None = None,
) -> xr.Dataset:
    """Draw synthetic traffic for every cell or base station of a place: dimensions ([member,] cell, time), float32.

    place: a bundled city or a name in OpenStreetMap; or a context, as a Dataset or a file (.nc, .zarr); or nothing,
    where bbox (west, south, east, north in degrees), polygon, cells, stations or osm name it, or the measured traffic
    of `history` or `known`. The other arguments are those of `gentraffic sample`; None is what the command does without
    the option. model: a name, a folder, or what `load_model` returned. total: "traffic=5TB/day", or several. select:
    cell ids. change: draws SERVICE_before and SERVICE_after. history, known, users: files or Datasets. progress is told
    (done, of). service: "internet,call_in" or a sequence of names, of what the model draws (`model.info.services`).

    Raises WrongUse, NoData, BadInput, BadModel (`gentraffic.errors`) or NetworkFailed (`poi.errors`).
    """
    import xarray as xr

    from gentraffic.dataset.services import split_names
    from gentraffic.generate.request import Request
    from gentraffic.generate.run import run
    from gentraffic.generators.model_folder import default_model
    from gentraffic.generators.observed import context_of, read_observations
    from gentraffic.places.find import find_context

    history, known, users = (Path(x) if isinstance(x, str) else x for x in (history, known, users))
    names = split_names(service)
    service = ",".join(names) or None
    observed = read_observations(history, known, users, names[0] if len(names) == 1 else None)
    query = query_of(
        None if isinstance(place, xr.Dataset) else place, bbox, polygon=polygon, cells=cells, stations=stations,
        osm=osm, cell_size=cell_size, radius=radius, id_column=id_column, columns=columns, layer=layer,
        timezone=timezone, offline=offline,
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
    return run(request, generator, context, observed=observed, command="gentraffic.sample", tell=progress).traffic


@speaks_python
def load_model(name: str | Path = "stouter-fast") -> Generator:
    """A bundled model by its name, a model folder, every file checked against its hash, or a registered family.

    Raises BadModel.
    """
    from gentraffic.generators.base import load_model as load

    return load(name)
