"""A request -> a Zarr store that is written as it is drawn: what `gentraffic sample -o NAME.zarr` does."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gentraffic.dataset.schema import traffic_dataset
from gentraffic.errors import WrongUse
from gentraffic.generate.job import StoreSpec, context_sha256, libraries
from gentraffic.generate.request import Request, Tell, provenance
from gentraffic.generate.run import Produced, produce
from gentraffic.generate.totals import Factors, districts, fit_totals
from gentraffic.generators.folder import Bundle, load_bundle, read_folder
from gentraffic.io.files import cells_per_chunk

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray


def draw_store(
    model: str | Path,
    context: xr.Dataset,
    request: Request,
    out: Path,
    *,
    command: str = "",
    tell: Tell | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    chunk_cells: int | None = None,
) -> Produced:
    """Draw the traffic of a place into the store `out`: the same values as `gentraffic.generate.request.draw_place`.

    chunk_cells: cells per chunk of the store, and so per block that is held in memory. workers, scheduler: see
    `gentraffic.generate.run.produce`, which says what is raised; besides, as `draw_place`."""
    if request.change is not None:
        raise WrongUse("--change draws before and after at once: leave --workers, --scheduler and --chunk-cells out")
    if chunk_cells is not None and chunk_cells < 1:
        raise WrongUse(f"--chunk-cells {chunk_cells}: give 1 or more")
    if workers is not None and workers < 1:
        raise WrongUse(f"--workers {workers}: give 1 or more")
    if workers is not None and scheduler is not None:
        raise WrongUse("--workers starts workers here, --scheduler joins those of a cluster: give one")
    folder, told, sha256 = read_folder(model)
    totals, service, rows = request.totals(), request.named(), request.rows(context)
    calendar, recipe = request.calendar(context), request.recipe(told)
    if rows is not None:
        context = context.compute()  # picking cells from a file is slow
    place = context if rows is None else context.isel(cell=rows)
    sets = districts(totals, place) if totals else None
    timezone = str(context.attrs["timezone"])
    cells, steps = place.sizes["cell"], len(calendar.utc)
    order = StoreSpec(
        model=str(model) if str(model) == folder.name else str(folder.resolve()),
        model_sha256=sha256,
        recipe=recipe,
        start=request.start,
        days=request.days,
        freq=request.freq,
        timezone=timezone,
        service=service,
        totals=tuple(f"{total.text} {_district_sha256(total.district)}".strip() for total in totals),
        units=totals[0].unit if totals else "1",
        cells=cells,
        steps=steps,
        chunk=min(chunk_cells or cells_per_chunk(steps), cells),
        context=context_sha256(context, rows),
        libraries=libraries(),
    )

    @cache
    def bundle() -> Bundle:
        return load_bundle(model)

    def template() -> xr.Dataset:
        attrs = provenance(bundle(), context, request, recipe, name=str(model), command=command)
        if totals:
            attrs["totals"] = "; ".join(total.text for total in totals)
        shape = (cells, steps) if recipe.members == 1 else (recipe.members, cells, steps)
        return traffic_dataset(
            np.broadcast_to(np.float32(0), shape),
            cells=place,
            time=calendar.utc,
            service=service,
            units=order.units,
            timezone=timezone,
            attrs=attrs,
        )

    def fit(drawn: NDArray[np.float32]) -> Factors:
        assert sets is not None  # asked for totals only
        return fit_totals(drawn, totals, sets, calendar, timezone)

    return produce(
        order,
        out,
        template=template,
        bundle=bundle,
        context=context,
        rows=rows,
        fit=fit,
        on_task=tell or (lambda done, of: None),
        workers=workers,
        scheduler=scheduler,
    )


def _district_sha256(district: str) -> str:
    path = Path(district.partition("#")[0])
    return hashlib.sha256(path.read_bytes()).hexdigest() if district and path.is_file() else ""
