"""`run(request, generator, context, sink)`: the one way from a request to traffic, for every generator and every sink.

A sink is where the traffic goes: `Memory`, `File`, or `Store` (`gentraffic.generate.store`), a Zarr store that is
written as it is drawn, here or on other processes. All give the same bits.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gentraffic import __version__
from gentraffic.dataset.calendar import Calendar
from gentraffic.dataset.public_holidays import LONG_DAYS, Holidays
from gentraffic.dataset.schema import credits_of, traffic_dataset
from gentraffic.dataset.services import MEAN_CELL, SUMS, parts_of
from gentraffic.errors import BadInput, WrongUse
from gentraffic.generate.request import Request
from gentraffic.generate.totals import Total, districts, fit_totals
from gentraffic.generators.base import Block, Draw, Expected, Generator, ModelInfo, Settings, Tell
from gentraffic.generators.observed import Observations
from gentraffic.modelling.expected_week import in_words, rhythms_of
from gentraffic.modelling.services import follow

if TYPE_CHECKING:
    import xarray as xr

GIB = 2**30


USUAL_WEEK = "the dates stand for days of the week; no public holidays (--start gives a period with its holidays)"


@dataclass(frozen=True)
class Job:
    """A request, a generator and a place, checked against each other: all that a sink needs.

    rows: of the context that are drawn, None for all; place: those of its cells. sets: (totals, cells) which cells each
    total speaks of. services: names of the variables.
    """

    request: Request
    generator: Generator
    context: xr.Dataset
    place: xr.Dataset
    rows: list[int] | None
    calendar: Calendar
    settings: Settings
    observed: Observations | None
    totals: tuple[Total, ...]
    sets: NDArray[np.bool_] | None
    services: tuple[str, ...]
    attrs: Mapping[str, Any]
    holidays: Holidays | None = None

    @property
    def parts(self) -> dict[str, tuple[str, ...]]:
        """Variable -> the services of the model that it is, or is the sum of."""
        have = self.generator.info.services
        return {name: (parts_of(name, have) if name in SUMS else ()) or (name,) for name in self.services}

    def own_totals(self, service: str) -> list[int]:
        """Positions of the totals that speak of a service."""
        return [k for k, total in enumerate(self.totals) if total.service == service]

    @property
    def timezone(self) -> str:
        """The IANA zone of the place."""
        return str(self.context.attrs["timezone"])

    @property
    def cells(self) -> int:
        """How many cells are drawn."""
        return self.place.sizes["cell"]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(members, cells, steps) of one service."""
        return self.settings.members, self.cells, len(self.calendar.utc)

    def of_service(self, part: str) -> Settings:
        """The settings of one of the model's services."""
        service = part if part in self.generator.info.services[1:] else ""
        levels = () if self.holidays is None else self.holidays.levels(service)
        return replace(self.settings, service=service, holidays=levels)

    def prepare(self, context: xr.Dataset, part: str = "") -> Callable[..., Draw]:
        """What prepares the draw of the place, or of a changed context of the same cells; it takes `scratch`.

        part: a service of the model, "" for the first that the job names."""
        settings = self.of_service(part or self.services[0])
        return partial(
            self.generator.prepare, context, self.calendar, settings, cells=self.rows, observed=self.observed
        )

    def dataset(self, values: NDArray[np.float32], service: str, units: str, mean_cell: float | None) -> xr.Dataset:
        """Traffic values (members, cells, steps) as a checked Dataset with its provenance. mean_cell: what 1 is beside
        the other services, None where there are none, or units say it."""
        out = traffic_dataset(
            values if self.settings.members > 1 else values[0],
            cells=self.place,
            time=self.calendar.utc,
            service=service,
            units=units,
            timezone=self.timezone,
            attrs=dict(self.attrs),
        )
        if mean_cell is not None and units == "1":
            out[service].attrs[MEAN_CELL] = round(mean_cell, 6)
        return out


@dataclass(frozen=True)
class Drawn:
    """traffic: the Dataset, or its file opened. mean: of all values of the last service. seconds: of loading place and
    levels, of drawing. tasks, kept: of a resumable store, all and those of an earlier run."""

    traffic: xr.Dataset
    mean: float
    prepared_s: float
    drawn_s: float
    tasks: int = 0
    kept: int = 0


class Sink(Protocol):
    """Where traffic goes."""

    def check(self, info: ModelInfo, request: Request, kind: str | None = None) -> None:
        """Raise WrongUse for what cannot go there, before any work. kind: of the cells, where it is known."""

    def streams(self, info: ModelInfo, request: Request) -> bool:
        """Whether traffic is written as it is drawn."""

    def stream(self, job: Job) -> Callable[[Tell], Drawn] | None:
        """What draws a job piece by piece into the sink; None where it is drawn first, and `put` there as a whole.

        Raises BadInput where it does not fit the memory."""

    def put(self, traffic: xr.Dataset) -> None:
        """Keep all that was drawn."""


@dataclass(frozen=True)
class Memory:
    """Traffic as a Dataset in memory."""

    def check(self, info: ModelInfo, request: Request, kind: str | None = None) -> None:
        """Nothing to check."""

    def streams(self, info: ModelInfo, request: Request) -> bool:
        """Never."""
        return False

    def stream(self, job: Job) -> None:
        """Nothing is streamed."""

    def put(self, traffic: xr.Dataset) -> None:
        """It is in memory already."""


@dataclass(frozen=True)
class File:
    """Traffic in a file of any format that `gentraffic.io.files.write_traffic` knows, drawn first."""

    path: Path

    def check(self, info: ModelInfo, request: Request, kind: str | None = None) -> None:
        """Raise WrongUse or BadInput where it cannot be written."""
        from gentraffic.io.files import check_writable

        services = max(1, len(request.named())) * (1 if request.change is None else 2)
        check_writable(self.path, kind=kind or "", members=request.members, services=services)

    def streams(self, info: ModelInfo, request: Request) -> bool:
        """Never."""
        return False

    def stream(self, job: Job) -> None:
        """Nothing is streamed. Raises BadInput where all of a job does not fit the memory."""
        parts = len({part for parts in job.parts.values() for part in parts})
        check_fits(int(np.prod(job.shape)) * parts * (1 if job.request.change is None else 2), self.path)

    def put(self, traffic: xr.Dataset) -> None:
        """Write the file whole or not at all. Raises BadInput."""
        from gentraffic.io.files import write_traffic

        write_traffic(traffic, self.path)


def run(
    request: Request, generator: Generator, context: xr.Dataset, sink: Sink | None = None, *,
    observed: Observations | None = None, command: str = "", tell: Tell | None = None,
) -> Drawn:  # fmt: skip
    """Draw what is requested of a place with a generator, into a sink (Memory).

    With `request.change` the traffic has two services, NAME_before and NAME_after, drawn with the same noise: their
    difference is the effect of the change. Totals then hold before, and the same factors apply after.
    observed: what `request.observed()` gave, where that is read already. command: for the attributes.
    Raises WrongUse (Unsupported for what the generator cannot do), NoData, BadInput, BadModel.
    """
    sink = Memory() if sink is None else sink
    sink.check(generator.info, request, str(context.attrs.get("kind", "")))
    return draw_into(sink, prepare(request, generator, context, observed, command), tell or (lambda done, of: None))


def prepare(
    request: Request, generator: Generator, context: xr.Dataset, observed: Observations | None = None, command: str = ""
) -> Job:
    """Check a request against a generator and a place. Raises as `run`."""
    info = generator.info
    request.check(info)
    if observed is None:
        observed = request.observed()
    totals, rows = request.totals(), request.rows(context)
    calendar = request.calendar(info, observed, str(context.attrs["timezone"]))
    if rows is not None:
        context = context.compute()  # picking cells from a file is slow
    place = context if rows is None else context.isel(cell=rows)
    settings, services = request.settings(info), request.services(info, observed)
    if taken := [name for name in services if name in place.coords]:
        raise WrongUse(f"the cells have a column {taken[0]!r}, as the traffic is called: give --service another name")
    attrs = provenance(info, context, settings, command, observed)
    attrs |= service_attrs(info, context, settings, services)
    holidays = request.public_holidays(info, calendar, str(context.attrs["timezone"]))
    attrs |= period_attrs(info, calendar, holidays)
    if request.is_usual_week(calendar, holidays):
        attrs["usual_week"] = USUAL_WEEK
    if totals:
        attrs["totals"] = "; ".join(total.text for total in totals)
    return Job(
        request=request,
        generator=generator,
        context=context,
        place=place,
        rows=rows,
        calendar=calendar,
        settings=settings,
        observed=observed,
        totals=totals,
        sets=districts(totals, place) if totals else None,
        services=services,
        attrs=attrs,
        holidays=holidays,
    )


def draw_into(sink: Sink, job: Job, tell: Tell) -> Drawn:
    """Draw a job into a sink. Raises as `run`."""
    import pandas as pd

    stream = sink.stream(job)
    if stream is not None:
        return stream(tell)
    began = time.perf_counter()
    change, contexts = job.request.change, {"": job.context}
    changed, info = None, job.generator.info
    if change is not None:
        from gentraffic.places.scenario import about, apply_changes

        changed = apply_changes(job.context, change)
        contexts = {"_before": job.context, "_after": changed.context}
        job = replace(job, attrs={**job.attrs, **about(changed, change, info.graph_layers)})
    parts = list(dict.fromkeys(part for own in job.parts.values() for part in own))
    jobs = [(part, state) for part in parts for state in contexts]
    drawn: dict[tuple[str, str], NDArray[np.float32]] = {}
    prepared_s, units = 0.0, "1"
    for number, (part, state) in enumerate(jobs):
        asked = time.perf_counter()
        draw = job.prepare(contexts[state], part)()
        prepared_s, units = prepared_s + time.perf_counter() - asked, draw.units
        values = np.empty(job.shape, dtype=np.float32)
        progress = partial(_part_done, tell, number, len(jobs))
        expected = Expected(info.name, spans(job, draw.block), job.shape[2])
        for span, block in draw.blocks(expected.spans, tell=progress):
            expected.check(span, block)
            values[span.member, span.first : span.end] = block
        expected.check_end()
        if state == "_after" and changed is not None:
            local = pd.DatetimeIndex(job.calendar.utc).tz_localize("UTC").tz_convert(job.timezone)
            values = changed.mixed(drawn[part, "_before"], values, local, job.rows)
        drawn[part, state] = values
    whole = _as_services(job, drawn, list(contexts), units)
    mean = float(np.mean(whole[str(list(whole.data_vars)[-1])].values, dtype=np.float64))
    drawn_s = time.perf_counter() - began - prepared_s
    sink.put(whole)
    return Drawn(whole, mean, prepared_s, drawn_s)


def _as_services(
    job: Job, drawn: Mapping[tuple[str, str], NDArray[np.float32]], states: Sequence[str], units: str
) -> xr.Dataset:
    """The services that were asked for, from the parts of them that were drawn, scaled to the totals.

    drawn: (part, state) -> (members, cells, steps). states: of a change "_before" and "_after", else "".
    """
    if all(_alike(values) for values in drawn.values()):
        warning = f"all {job.shape[0]} members are the same: {job.generator.info.name} draws no spread"
        job = replace(job, attrs={**job.attrs, "warnings": f"{job.attrs.get('warnings', '')}\n{warning}".strip()})
    out: list[xr.Dataset] = []
    amounts = job.generator.info.amounts
    for name, own in job.parts.items():
        weights = [amounts.get(part, 1.0) for part in own]
        values = {state: _sum_of([drawn[part, state] for part in own], weights) for state in states}
        unit, asked = units, job.own_totals(name)
        if job.sets is not None and asked:
            totals = [job.totals[k] for k in asked]
            factors = fit_totals(next(iter(values.values())), totals, job.sets[asked], job.calendar, job.timezone)
            values, unit = {state: factors.apply(v) for state, v in values.items()}, totals[0].unit
        mean_cell = sum(weights) if amounts else None
        out += [job.dataset(v, f"{name}{state}", unit, mean_cell) for state, v in values.items()]
    whole = out[0]
    for more in out[1:]:
        whole = whole.assign({str(name): variable for name, variable in more.data_vars.items()})
    return whole


def _alike(values: NDArray[np.float32]) -> bool:
    """Whether there are several members and they do not differ. values: (members, cells, steps)."""
    return len(values) > 1 and all(np.array_equal(values[0], member) for member in values[1:])


def _sum_of(parts: list[NDArray[np.float32]], weights: list[float]) -> NDArray[np.float32]:
    """The sum of relative services, (members, cells, steps) each, relative again; one alone as it is."""
    if len(parts) == 1:
        return parts[0]
    out = np.zeros(parts[0].shape)
    for values, weight in zip(parts, weights, strict=True):
        out += weight / sum(weights) * values
    return out.astype(np.float32)


def spans(job: Job, size: int) -> list[Block]:
    """All of a draw, a block of `size` cells at a time."""
    members, cells, _ = job.shape
    return [Block(m, at, min(at + size, cells)) for m in range(members) for at in range(0, cells, size)]


def _part_done(tell: Tell, part: int, parts: int, done: int, of: int) -> None:
    tell(part * of + done, parts * of)


def provenance(
    info: ModelInfo, context: xr.Dataset, settings: Settings, command: str, observed: Observations | None = None
) -> dict[str, str | int | float]:
    """The attributes that say where drawn traffic comes from."""
    import torch

    carried = ("osm_source", "osm_snapshot", "osm_sha256", "warnings", "positions")
    credit = credits_of((str(context.attrs.get("attribution", "")), str(info.provenance.get("attribution", ""))))
    source = "drawn by a generative model; not measured"
    if observed is not None and observed.main is not None and info.continues_history:
        theirs = str(observed.main.attrs.get("attribution", ""))
        credit = "; ".join(part for part in (theirs, credit) if part)
        source = "drawn by a generative model, given measured traffic; measured values are kept as they are"
    return {
        "title": f"Synthetic cellular traffic, {context.attrs.get('place', '')}",
        "source": source,
        "model": info.name,
        "model_sha256": info.sha256,
        **({"model_networks": ", ".join(info.networks)} if info.networks else {}),
        "seed": int(settings.seed),
        **how_solved(info, settings),
        "command": command,
        "gentraffic_version": __version__,
        "versions": f"python {platform.python_version()}, torch {torch.__version__}, numpy {np.__version__}",
        "attribution": credit,
        "license": "ODbL-1.0",
        **rhythm_attrs(info, context, settings),
        **privacy_attrs(info.provenance.get("privacy")),
        **{name: str(context.attrs[name]) for name in carried if context.attrs.get(name)},
    }


def how_solved(info: ModelInfo, settings: Settings) -> dict[str, str | int | float]:
    """Solver, steps and guidance, of what a generator has of these: as it was asked, or as it always is."""
    asked: dict[str, str | int | float] = {"solver": settings.solver, "steps": settings.steps}
    asked["guidance"] = float(settings.guidance)
    asked = {name: value for name, value in asked.items() if name in info.supports and value != ""}
    return asked | {name: info.fixed[name] for name in ("solver", "steps", "guidance") if name in info.fixed}


def rhythm_attrs(info: ModelInfo, context: xr.Dataset, settings: Settings) -> dict[str, str]:
    """Whose rhythm the members follow, where the model chooses it."""
    if not info.measured:
        return {}
    chosen = rhythms_of(info.networks, info.measured, context.attrs, settings.habits, settings.members, settings.seed)
    named = {settings.habits, *(str(context.attrs.get(k, "")) for k in ("habits", "network"))}
    reason = "as asked, or as the place says"
    if not set(chosen) <= named:
        here = str(context.attrs["timezone"]).split("/")[0]
        near = any(info.measured.get(name, ("", 0))[0].split("/")[0] == here for name in chosen)
        reason = (
            "the nearest that was measured"
            if near
            else "no measured network is near: "
            + ("drawn from several" if len(set(chosen)) > 1 else "the one measured at most places")
        )
    return {"rhythm": in_words(chosen), "rhythm_reason": reason}


def service_attrs(info: ModelInfo, context: xr.Dataset, settings: Settings, services: Sequence[str]) -> dict[str, str]:
    """Whose rhythm services follow that were not measured in the network that the main service follows."""
    further = [name for name in services if name != info.services[0]]
    if not info.measured or not further:
        return {}
    main = rhythms_of(info.networks, info.measured, context.attrs, settings.habits, settings.members, settings.seed)
    other = []
    for name in dict.fromkeys(part for asked in further for part in parts_of(asked, info.services) or (asked,)):
        have = info.service_networks.get(name)
        if have is None:
            continue
        own = follow(main, have, info.measured, context.attrs, settings.habits, settings.seed)
        if own != main:
            other.append(f"{name}: {in_words(own)}")
    return {"rhythm_services": "; ".join(other)} if other else {}


def period_attrs(info: ModelInfo, calendar: Calendar, holidays: Holidays | None) -> dict[str, str]:
    """Which days were drawn as public holidays, and what of a long period nobody drew."""
    told = {} if holidays is None else {"holidays": holidays.text}
    if calendar.days > LONG_DAYS:
        told["not_drawn"] = f"{calendar.days} days: every week is a usual one; growth, seasons and events are not drawn"
        told["not_drawn"] += "" if holidays is not None else ", and public holidays are days like others"
    return told


def privacy_attrs(spent: Mapping[str, Any] | None) -> dict[str, str | float]:
    """What a private model's budget says of traffic that is drawn from it: epsilon, delta, unit, adjacency."""
    names = ("epsilon", "delta", "unit", "adjacency")
    return {} if spent is None else {f"privacy_{name}": spent[name] for name in names if name in spent}


def check_fits(values: int, out: Path) -> None:
    """Raise BadInput where a format that is written at once does not fit the memory."""
    need, free = values * 4 * 3, free_memory()
    if need > free:
        raise BadInput(
            f"{out.name}: {values:.3g} values need {need / GIB:.1f} GiB of memory, {free / GIB:.1f} GiB are free: "
            "write .zarr, which is written as it is drawn, or draw fewer cells, days or members"
        )


def free_memory() -> int:
    """Bytes that can be had without swapping."""
    import psutil  # type: ignore[import-untyped]

    return int(psutil.virtual_memory().available)
