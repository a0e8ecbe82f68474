"""FoMo behind `gentraffic sample` where something is measured: the rest is drawn."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gentraffic.errors import WrongUse
from gentraffic.generators.fomo.folder import FoMoBundle
from gentraffic.generators.fomo.observations import Observations, field_of, period_of

if TYPE_CHECKING:
    import xarray as xr

    from gentraffic.generate.request import Request

Tell = Callable[[int, int], None]


def fill_place(
    bundle: FoMoBundle,
    context: xr.Dataset,
    request: Request,
    given: Observations,
    typed: set[str],
    *,
    name: str,
    command: str = "",
    tell: Tell | None = None,
) -> xr.Dataset:
    """Draw what the measured files lack: a checked Dataset in their units, the measured values as they are.

    typed: which options the caller set. Raises WrongUse, NoData or BadInput for what cannot be had.
    """
    from gentraffic.dataset.schema import traffic_dataset
    from gentraffic.generate.request import provenance
    from gentraffic.generators.fomo.drawing import draw_field

    if request.total or request.change is not None:
        raise WrongUse(f"{'--total' if request.total else '--change'} does not go with measured traffic or users")
    calendar, recipe, rows = request.calendar(context), request.recipe(bundle.provenance), request.rows(context)
    utc, minutes = period_of(given, calendar.utc, request.days, request.freq, typed)
    field = field_of(given, context, utc, minutes, bundle.model.token[2])
    try:
        drawn: Any = draw_field(bundle, field, recipe, cells=rows, on_step=tell)
    except ValueError as error:
        raise WrongUse(str(error)) from error
    attrs = provenance(bundle, context, request, recipe, name=name, command=command)
    if given.main is not None:
        theirs = str(given.main.attrs.get("attribution", ""))
        attrs["attribution"] = "; ".join(part for part in (theirs, str(attrs["attribution"])) if part)
        attrs["source"] = "drawn by a generative model, given measured traffic; measured values are kept as they are"
    return traffic_dataset(
        drawn if request.members > 1 else drawn[0],
        cells=context if rows is None else context.isel(cell=rows),
        time=utc,
        service=given.service or request.named(),
        units=given.units or "1",
        timezone=str(context.attrs["timezone"]),
        attrs=attrs,
    )
