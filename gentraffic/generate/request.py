"""A request -> a traffic Dataset: what `gentraffic sample` and `gentraffic.sample` both do.

Place and model are given; here calendar, recipe, totals and changes come together, and the attributes that say where
the traffic comes from.
"""

from __future__ import annotations

import math
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gentraffic import __version__
from gentraffic.dataset.calendar import FIRST_DAY, Calendar, make_calendar
from gentraffic.dataset.schema import check_name
from gentraffic.errors import BadInput, WrongUse
from gentraffic.generate.totals import Total, districts, fit_totals, parse_totals
from gentraffic.generators.settings import FOMO, Settings

if TYPE_CHECKING:
    import xarray as xr

    from gentraffic.generators.folder import Bundle
    from gentraffic.generators.fomo.folder import FoMoBundle
    from gentraffic.generators.naive import NaiveModel

Tell = Callable[[int, int], None]


@dataclass(frozen=True)
class Request:
    """What is asked for, beside a place and a model; the options of `gentraffic sample` under their own names.

    steps, solver: of the drawing loop, by default what the model recommends. total: one text per total
    (`gentraffic.generate.totals`). select: ids of the cells to draw, all for None. change: a file of changes
    (`gentraffic.places.scenario`). history: a Traffic file of earlier weeks of the same cells, for a model that takes
    them; the units are then its own.
    """

    start: str = FIRST_DAY
    days: int = 7
    freq: str = "1h"
    members: int = 1
    seed: int = 0
    steps: int | None = None
    solver: str | None = None
    guidance: float = 1.0
    habits: str = ""
    device: str = "cpu"
    service: str | None = None
    total: tuple[str, ...] = ()
    select: tuple[str, ...] | None = None
    change: Path | None = None
    history: Path | None = None

    def totals(self) -> tuple[Total, ...]:
        """The parsed totals. Raises WrongUse, also where traffic cannot be called as they or `service` say."""
        totals = parse_totals(self.total, self.service)
        try:
            check_name(self.service or (totals[0].service if totals else "traffic"))
        except BadInput as error:
            raise WrongUse(f"{'--service' if self.service else '--total'}: {error}") from None
        return totals

    def named(self) -> str:
        """The name of the traffic variable."""
        totals = self.totals()
        return self.service or (totals[0].service if totals else "traffic")

    def calendar(self, context: xr.Dataset) -> Calendar:
        """The steps in the local time of a place. Raises WrongUse."""
        return make_calendar(self.start, self.days, self.freq, str(context.attrs["timezone"]))

    def rows(self, context: xr.Dataset) -> list[int] | None:
        """Rows of the context for the ids of `select`, in that order; None for all. Raises WrongUse."""
        return None if self.select is None else select_rows(context, self.select)

    def recipe(self, model: Mapping[str, Any]) -> Settings:
        """How the model of this provenance draws it. Raises WrongUse, also for what a distilled model never learned."""
        for option, given, least in (("seed", self.seed, 0), ("members", self.members, 1), ("steps", self.steps, 1)):
            if given is not None and given < least:
                raise WrongUse(f"--{option} {given}: give {least} or more")
        if not 0 <= self.guidance < math.inf:
            raise WrongUse(f"--guidance {self.guidance}: give 0 or more")
        if "distilled_from" in model:
            steps, solver = int(model["recommended_steps"]), str(model["recommended_solver"])
            for option, asked, only in (("--steps", self.steps, steps), ("--solver", self.solver, solver),
                                        ("--guidance", self.guidance, 1.0)):  # fmt: skip
                if asked not in (None, only):
                    raise WrongUse(f"{option} {asked}: this model was distilled for {only} alone; "
                                   "give --model stouter-base, or its teacher")  # fmt: skip
        usual = FOMO if model.get("sampler") == "fomo" else Settings()
        return Settings(
            seed=self.seed,
            members=self.members,
            steps=self.steps or int(model.get("recommended_steps", usual.steps)),
            solver=self.solver or str(model.get("recommended_solver", usual.solver)),
            guidance=self.guidance,
            device=self.device,
            habits=self.habits,
        )


def draw_place(
    bundle: Bundle | FoMoBundle | NaiveModel,
    context: xr.Dataset,
    request: Request,
    *,
    name: str,
    command: str = "",
    tell: Tell | None = None,
) -> xr.Dataset:
    """Draw the traffic of a place: a checked Dataset with its provenance.

    With `request.change` it holds two services, NAME_before and NAME_after, drawn with the same noise: their difference
    is the effect of the change. Totals then hold before, and the same factors apply after.
    name: what the model is called; command: for the attributes; tell(done, of): progress.
    Raises WrongUse, NoData, BadInput for what the request asks and cannot be had.
    """
    from gentraffic.dataset.schema import traffic_dataset
    from gentraffic.generators.fomo.folder import FoMoBundle
    from gentraffic.generators.fomo.observations import draw_unmeasured
    from gentraffic.generators.naive import NaiveModel, draw_naive
    from gentraffic.generators.weekly import draw_traffic

    calendar, recipe, rows = request.calendar(context), request.recipe(bundle.provenance), request.rows(context)
    totals, service = request.totals(), request.named()
    place = context if rows is None else context.isel(cell=rows)
    sets = districts(totals, place) if totals else None
    attrs = provenance(bundle, context, request, recipe, name=name, command=command)

    history, unit = None, 1.0
    if isinstance(bundle, NaiveModel) and (request.history is not None or request.change is not None):
        raise WrongUse(f"the model {bundle.sampler} takes neither --history nor --change: give a trained one")
    if request.history is not None and isinstance(bundle, FoMoBundle):
        raise WrongUse("history: a FoMo goes on from measured traffic in `gentraffic sample --history` only, not here")
    if request.history is not None and not isinstance(bundle, NaiveModel):
        from gentraffic.io.files import read_traffic
        from gentraffic.modelling.features import read_places
        from gentraffic.modelling.history import read_history

        history = read_history(read_traffic(request.history))
        unit = history.unit(bundle.levels, read_places(context), context["cell_id"].values)
        unit *= history.step_factor(calendar.per_hour)

    def draw(of: xr.Dataset, part: int, parts: int) -> Any:
        said = None if tell is None else (lambda done, n: tell(done + part * n, parts * n))
        try:
            if isinstance(bundle, FoMoBundle):
                return draw_unmeasured(bundle, of, calendar, recipe, cells=rows, on_step=said)
            if isinstance(bundle, NaiveModel):
                return draw_naive(bundle, of, calendar, recipe, cells=rows)
            return unit * draw_traffic(bundle, of, calendar, recipe, cells=rows, history=history, on_tile=said)
        except ValueError as error:
            raise WrongUse(str(error)) from error

    changed = None
    if request.change is not None:
        if isinstance(bundle, FoMoBundle):  # its blocks carry a change as far as solver steps reach, not a known radius
            raise WrongUse(f"--change does not go with {name}, a FoMo: give --model stouter-base")
        from gentraffic.places.scenario import DARK, about, apply_changes

        changed = apply_changes(context, request.change)
    drawn = {service: draw(context, 0, 1 if changed is None else 2)}
    if changed is not None and request.change is not None and not isinstance(bundle, FoMoBundle | NaiveModel):
        after = draw(changed.context, 1, 2)
        dark = changed.context[DARK].values
        after[:, dark if rows is None else dark[rows]] = 0.0
        drawn = {f"{service}_before": drawn[service], f"{service}_after": after}
        attrs |= about(changed, request.change, int(bundle.station.config["layers"]))
    units = "1" if history is None else history.units
    if sets is not None:
        first = next(iter(drawn.values()))
        factors = fit_totals(first, totals, sets, calendar, str(context.attrs["timezone"]))
        drawn = {key: factors.apply(values) for key, values in drawn.items()}
        units = totals[0].unit
        attrs["totals"] = "; ".join(t.text for t in totals)
    services = [
        traffic_dataset(
            values if request.members > 1 else values[0],
            cells=place,
            time=calendar.utc,
            service=key,
            units=units,
            timezone=str(context.attrs["timezone"]),
            attrs=attrs,
        )
        for key, values in drawn.items()
    ]
    out = services[0]
    for more in services[1:]:
        out = out.assign({str(key): variable for key, variable in more.data_vars.items()})
    return out


def read_select(text: str | None) -> tuple[str, ...] | None:
    """The ids of `--select`: with commas, or in a file of one per line (@FILE). Raises WrongUse."""
    if text is None:
        return None
    if not text.startswith("@"):
        return tuple(name.strip() for name in text.split(",") if name.strip())
    try:
        return tuple(Path(text[1:]).read_text(encoding="utf-8").split())
    except OSError as error:
        raise WrongUse(f"--select {text}: {error.strerror or error}") from error


def select_rows(ds: xr.Dataset, names: tuple[str, ...]) -> list[int]:
    """Rows of the cells with these ids, in that order. Raises WrongUse."""
    rows = {str(cell): row for row, cell in enumerate(ds["cell_id"].values.tolist())}
    missing = [name for name in names if name not in rows]
    if missing or not names:
        raise WrongUse(f"--select: no cell {missing[0]!r} in this place" if missing else "--select names no cell")
    if len(set(names)) < len(names):
        raise WrongUse("--select names a cell twice")
    return [rows[name] for name in names]


def provenance(
    bundle: Bundle | FoMoBundle | NaiveModel,
    context: xr.Dataset,
    request: Request,
    recipe: Settings,
    *,
    name: str,
    command: str,
) -> dict[str, str | int | float]:
    """The attributes that say where drawn traffic comes from."""
    import numpy
    import torch

    from gentraffic.generators.cards import credits_of

    carried = ("osm_source", "osm_snapshot", "osm_sha256", "warnings", "positions")
    credit = credits_of((str(context.attrs.get("attribution", "")), str(bundle.provenance.get("attribution", ""))))
    return {
        "title": f"Synthetic cellular traffic, {context.attrs.get('place', '')}",
        "source": "drawn by a generative model; not measured",
        "model": name if "/" not in name else Path(name).name,
        "model_sha256": bundle.sha256,
        "seed": int(request.seed),
        "solver": str(recipe.solver),
        "steps": recipe.steps,
        "guidance": float(request.guidance),
        "command": command,
        "gentraffic_version": __version__,
        "versions": f"python {platform.python_version()}, torch {torch.__version__}, numpy {numpy.__version__}",
        "attribution": credit,
        "license": "ODbL-1.0",
        **{name: str(context.attrs[name]) for name in carried if context.attrs.get(name)},
    }
