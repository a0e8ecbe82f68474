"""From a request to traffic: `prepare`, then `draw_into` a sink, for every generator and every sink; `run` does both.

A `Request` is what is asked for, and what that means for a place: the calendar, the settings, the cells, the totals.

A sink is where the traffic goes: `Memory`, `File`, or `Store` (`gentraffic.generate.store`), a Zarr store that is
written as it is drawn, here or on other processes. All give the same bits.
"""

from __future__ import annotations

import math
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
from gentraffic.dataset.calendar import FIRST_DAY, FREQUENCIES, Calendar, calendar_of, make_calendar
from gentraffic.dataset.public_holidays import LONG_DAYS, NONE, Holidays, find_holidays
from gentraffic.dataset.schema import COORD_ATTRS, MAIN, MEASURED, check_name, credits_of, traffic_dataset
from gentraffic.dataset.services import DIRECTIONS, MEAN_CELL, SUMS, parts_of, split_names
from gentraffic.errors import MOST_INTEGER, BadInput, WrongUse, did_you_mean
from gentraffic.generate.totals import Factors, Total, districts, fit_totals, in_units, parse_totals
from gentraffic.generators.base import (
    Draw,
    Expected,
    Generator,
    ModelInfo,
    Settings,
    Span,
    Tell,
    Unsupported,
    check_minutes,
)
from gentraffic.generators.observed import (
    Observations,
    has_measurements,
    measured_steps,
    minutes_of,
    read_observations,
    told_of,
)
from gentraffic.modelling.expected_week import AUTO, in_words, rhythms_of
from gentraffic.modelling.services import follow
from samplers import PRECISIONS

if TYPE_CHECKING:
    import xarray as xr

DAYS = 7
GIB = 2**30
UNLIKELY = 10.0  # times what measured cells make likely of others, a total needs a second look
USUAL_WEEK = "the dates stand for days of the week; no public holidays (--start gives a period with its holidays)"


@dataclass(frozen=True)
class Request:
    """What is asked for, beside a place and a model; the options of `gentraffic sample` under their own names.

    None stands for what was not asked. precision: fp32 or bf16, of the network's products. start, days, freq: the
    period, by default a week from FIRST_DAY in hours, or that of the measured traffic. steps, solver, guidance: of
    the drawing loop, by default what the model recommends. rhythm: the measured network whose daily and weekly
    rhythm the cells follow. service: what is drawn, names with commas between, one variable each; of a model of one
    service, the name of its variable.
    total: one text per total (`gentraffic.generate.totals`). select: ids of the cells to draw. change: a file of
    changes (`gentraffic.places.scenario`). history, known, users: measured traffic, as files or Datasets
    (`gentraffic.generators.observed`); the units are then its own. holidays: auto, none, a country or a file
    (`gentraffic.dataset.public_holidays`); by default auto for a period that is given or longer than a week. like: a
    file of traffic, whose period, cadence and cells are drawn where no others are asked for (`filled`).
    """

    start: str | None = None
    days: int | None = None
    freq: str | None = None
    members: int = 1
    seed: int = 0
    steps: int | None = None
    solver: str | None = None
    guidance: float | None = None
    rhythm: str | None = None
    device: str | None = None
    precision: str | None = None
    service: str | None = None
    total: tuple[str, ...] = ()
    select: tuple[str, ...] | None = None
    change: Path | None = None
    history: Path | xr.Dataset | None = None
    known: Path | xr.Dataset | None = None
    users: Path | xr.Dataset | None = None
    holidays: str | None = None
    like: Path | xr.Dataset | None = None

    def filled(self) -> Request:
        """The request with the period, the cadence and the cells of `like`, where it asks for no others.

        Days are whole: those that hold the file's steps. Raises WrongUse, BadInput.
        """
        if self.like is None:
            return self
        if self.history is not None or self.known is not None:
            raise WrongUse("--like does not go with --history or --known, which have a period of their own")
        from gentraffic.io.files import read_traffic

        ds = read_traffic(self.like) if isinstance(self.like, Path) else self.like
        minutes, zone = minutes_of(ds), str(ds.attrs["timezone"])
        freq = self.freq or next((name for name, k in FREQUENCIES.items() if 60 // k == minutes), None)
        if freq is None:
            raise WrongUse(f"--like has a step of {minutes} min: give --freq, one of {', '.join(FREQUENCIES)}")
        first, last = first_day(ds, zone), first_day(ds.isel(time=[-1]), zone)
        days = int((np.datetime64(last) - np.datetime64(first)).astype(int)) + 1
        ids = tuple(map(str, ds["cell_id"].values.tolist()))
        return replace(
            self, like=None, start=self.start or first, days=self.days or days, freq=freq, select=self.select or ids
        )

    @property
    def asked_services(self) -> tuple[str, ...]:
        """The names in `service`; () where it is not given. Raises WrongUse."""
        return () if self.service is None else split_names(self.service)

    def totals(self) -> tuple[Total, ...]:
        """The parsed totals. Raises WrongUse, also where traffic cannot be called as they or `service` say."""
        totals = parse_totals(self.total, self.asked_services) if self.total else ()
        try:
            for name in self.named(totals):
                check_name(name)
        except BadInput as error:
            raise WrongUse(f"{'--service' if self.service else '--total'}: {error}") from None
        return totals

    def named(self, totals: Sequence[Total] | None = None) -> tuple[str, ...]:
        """The services that `service` or the totals name."""
        if totals is None:
            totals = parse_totals(self.total, self.asked_services) if self.total else ()
        return self.asked_services or tuple(dict.fromkeys(total.service for total in totals))

    def observed(self) -> Observations | None:
        """The measured files, read; None where there is none. Raises WrongUse and BadInput."""
        if self.history is None and self.known is None and self.users is None:
            return None
        names = self.asked_services
        return read_observations(self.history, self.known, self.users, names[0] if len(names) == 1 else None)

    @property
    def is_joint(self) -> bool:
        """Whether several services are drawn, or the sum of two."""
        names = self.named()
        return len(names) > 1 or any(name in SUMS for name in names)

    def services(self, info: ModelInfo, observed: Observations | None = None) -> tuple[str, ...]:
        """The names of the variables: as asked, as of the totals, as of what is measured, else the main service.

        Raises Unsupported, naming what the model draws, for a service that it does not have.
        """
        names, have = self.named(), info.services
        measured = observed.service if observed is not None else None
        if self.known is not None and measured is not None:
            self.check_measured(measured, names, have)
        if not names or names == (measured,):  # what is measured may be called as it likes
            return (measured or have[0],)
        if "services" in info.supports:
            known = (*have, *(MAIN if have[0] in MAIN else ()), *(name for name in SUMS if parts_of(name, have)))
        else:
            if len(names) > 1:
                info.check("services", ",".join(names))
            if observed is not None or names[0] not in (*DIRECTIONS, *SUMS):
                return names  # the only service of a model may be called anything but what it is not
            known = have
        for name in names:
            if name not in known:
                option = "service" if self.service else "total"
                listed = ", ".join(dict.fromkeys((*have, *known)))
                raise Unsupported(
                    "services", f"--{option} {name}: {info.name} draws {listed}{did_you_mean(name, (*have, *known))}"
                )
        return names

    def check_measured(self, measured: str, names: Sequence[str], have: Sequence[str]) -> None:
        """Raise WrongUse unless one service is to be drawn, the one that is measured. have: those of the model."""
        if set(names) - {measured}:
            more = ", ".join(name for name in names if name != measured)
            option = "service" if self.service else "total"
            raise WrongUse(
                f"--{option} {more}: --known holds {measured} alone, which is what is drawn: name it {measured}, or "
                "import the file under that name"
            )
        if parts := parts_of(measured, have):
            raise WrongUse(f"--known: this model draws {measured} as the sum of {', '.join(parts)}: give each of these")

    def rows(self, context: xr.Dataset) -> list[int] | None:
        """Rows of the context for the ids of `select`, in that order; None for all. Raises WrongUse."""
        return None if self.select is None else select_rows(context, self.select)

    def check(self, info: ModelInfo) -> None:
        """Raise WrongUse for numbers out of range, Unsupported for what the model cannot do."""
        for option, given, least in (
            ("seed", self.seed, 0), ("members", self.members, 1), ("steps", self.steps, 1), ("days", self.days, 1)
        ):  # fmt: skip
            if given is not None and not least <= given <= MOST_INTEGER:
                bound = f"{least} or more" if given < least else f"at most {MOST_INTEGER}"
                raise WrongUse(f"--{option} {given}: give {bound}")
        if self.guidance is not None and not 0 <= self.guidance < math.inf:
            raise WrongUse(f"--guidance {self.guidance}: give 0 or more")
        if self.precision not in (None, *PRECISIONS):
            raise WrongUse(f"--precision {self.precision}: give {' or '.join(PRECISIONS)}")
        asked = {
            "history": self.history, "known": self.known, "users": self.users, "change": self.change,
            "steps": self.steps, "solver": self.solver,
            "rhythm": None if self.rhythm in (None, "", AUTO) else self.rhythm,
            "guidance": None if self.guidance == 1.0 else self.guidance,
            "device": None if self.device in (None, "cpu") else self.device,
            "precision": None if self.precision == "fp32" else self.precision,
        }  # fmt: skip
        if self.holidays not in (None, AUTO, NONE):
            info.check("holidays", self.holidays)
        if self.history is None and self.known is None:
            self.services(info)
        for capability, value in asked.items():
            if value is not None:
                info.check(capability, value)
        kept = "known" if self.known is not None else "users" if self.users is not None else None
        if kept is None and self.history is not None and info.continues_history:
            kept = "history"
        if kept is not None and self.change is not None:
            raise WrongUse(f"--change does not go with --{kept}: leave one out")
        if kept in ("users", "history") and self.total:
            raise WrongUse(f"--total does not go with --{kept}: leave one out")

    def calendar(self, info: ModelInfo, observed: Observations | None, timezone: str) -> Calendar:
        """The steps to draw, in the local time of a place.

        Measured traffic that is kept goes on for `days` from its last step (a history that the model continues), or is
        filled where it lies (known traffic) unless a period is given. Raises WrongUse, Unsupported.
        """
        minutes = None if self.freq is None else 60 // FREQUENCIES[checked_freq(self.freq)]
        main = None
        if observed is not None and (observed.known is not None or info.continues_history):
            main = observed.main
        days = DAYS if self.days is None else self.days
        if main is None:
            calendar = make_calendar(self.start or FIRST_DAY, days, self.freq or "1h", timezone)
            check_minutes(60 / calendar.per_hour, info.cadences)
            return calendar
        own = minutes_of(main)
        check_minutes(own, info.cadences)
        if minutes is not None and own != minutes:
            raise WrongUse(f"--freq {self.freq}: the measured file is at {own} min; leave --freq out, or resample it")
        if observed is not None and observed.history is not None:
            if self.start is not None:
                raise WrongUse("--start does not go with --history: the draw begins where the history ends")
            make_calendar(FIRST_DAY, days, "1h", timezone)  # checks the days
            first = main["time"].values[-1] + np.timedelta64(own, "m")
            return calendar_of(first + (np.arange(days * 1440 // own) * own).astype("timedelta64[m]"), timezone)
        if self.start is None and self.days is None:
            return calendar_of(main["time"].values, timezone)
        named = next(name for name, k in FREQUENCIES.items() if 60 // k == own)
        return make_calendar(self.start or first_day(main, timezone), days, named, timezone)

    def public_holidays(self, info: ModelInfo, calendar: Calendar, timezone: str) -> Holidays | None:
        """The public holidays of the period; None where none are drawn as such. Raises WrongUse, BadInput.

        The usual week, which nobody asked to be that of a date, is one without them.
        """
        asked = self.holidays or (NONE if self.start is None and calendar.days <= DAYS else AUTO)
        if "holidays" not in info.supports or asked == NONE:
            return None
        return find_holidays(asked, timezone, calendar.first, calendar.days)

    def is_usual_week(self, calendar: Calendar, holidays: Holidays | None) -> bool:
        """Whether no dates are meant: neither a period nor holidays were asked for, and nothing measured is followed.

        Its dates, from FIRST_DAY, stand for days of the week."""
        measured = self.history is not None or self.known is not None or self.users is not None
        return self.start is None and calendar.days <= DAYS and holidays is None and not measured

    def settings(self, info: ModelInfo) -> Settings:
        """How the model draws it: what is asked, else what it recommends."""
        usual = info.recommended
        return Settings(
            seed=self.seed,
            members=self.members,
            steps=usual.steps if self.steps is None else self.steps,
            solver=usual.solver if self.solver is None else self.solver,
            guidance=usual.guidance if self.guidance is None else self.guidance,
            device=self.device or "cpu",
            precision=self.precision or "fp32",
            habits="" if self.rhythm in (None, AUTO) else self.rhythm,
        )


def first_day(ds: xr.Dataset, timezone: str) -> str:
    """The local day of the first step of a file, YYYY-MM-DD."""
    import pandas as pd

    return str(pd.Timestamp(ds["time"].values[0]).tz_localize("UTC").tz_convert(timezone).date())


def checked_freq(freq: str) -> str:
    """A key of FREQUENCIES. Raises WrongUse."""
    if freq not in FREQUENCIES:
        raise WrongUse(f"--freq {freq}: choose one of {', '.join(FREQUENCIES)}")
    return freq


def read_select(text: str | None) -> tuple[str, ...] | None:
    """The ids of `--select`: with commas, or in a file of one per line (@FILE), where they may hold spaces and commas.

    Raises WrongUse.
    """
    if text is None:
        return None
    if not text.startswith("@"):
        return tuple(name.strip() for name in text.split(",") if name.strip())
    from gentraffic.io.guard import text_of

    try:
        lines = text_of(text[1:]).splitlines()
    except BadInput as error:
        raise WrongUse(f"--select @{error}") from None
    return tuple(line.strip() for line in lines if line.strip())


def select_rows(ds: xr.Dataset, names: tuple[str, ...]) -> list[int]:
    """Rows of the cells with these ids, in that order. Raises WrongUse."""
    rows = {str(cell): row for row, cell in enumerate(ds["cell_id"].values.tolist())}
    missing = [name for name in names if name not in rows]
    if missing or not names:
        raise WrongUse(f"--select: no cell {missing[0]!r} in this place" if missing else "--select names no cell")
    if len(set(names)) < len(names):
        raise WrongUse("--select names a cell twice")
    return [rows[name] for name in names]


@dataclass(frozen=True)
class Job:
    """A request, a generator and a place, checked against each other: all that a sink needs.

    rows: of the context that are drawn, None for all; place: those of its cells. sets: (totals, cells) which cells each
    total speaks of. services: names of the variables. measured: (cells,) those with known traffic, which totals do not
    scale; None where there is none.
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
    measured: NDArray[np.bool_] | None = None

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
    """traffic: the Dataset, or its file opened. mean: of all values of the last service. prepared_s: seconds of loading
    place and levels; drawn_s: of drawing. tasks, kept: of a resumable store, all and those of an earlier run."""

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

    def check_size(self, info: ModelInfo, request: Request, values: int) -> None:
        """Raise BadInput where so many values do not fit, before anything is made."""

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

    def check_size(self, info: ModelInfo, request: Request, values: int) -> None:
        """Raise BadInput where the values do not fit the memory."""
        check_fits(values, Path("traffic in memory"), copies=1)

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

    def check_size(self, info: ModelInfo, request: Request, values: int) -> None:
        """Raise BadInput where the values do not fit the memory."""
        check_fits(values, self.path)

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
    measured = None if observed is None else has_measurements(observed, place["cell_id"].values)
    if totals and measured is not None and observed is not None and observed.main is not None:
        totals = in_units(totals, str(observed.units), 60 * minutes_of(observed.main))
    settings, services = request.settings(info), request.services(info, observed)
    if taken := [name for name in services if name in place.coords]:
        raise WrongUse(f"the cells have a column {taken[0]!r}, as the traffic is called: give --service another name")
    attrs = provenance(info, context, settings, command, observed)
    attrs |= service_attrs(info, context, settings, services)
    holidays = request.public_holidays(info, calendar, str(context.attrs["timezone"]))
    attrs |= period_attrs(info, calendar, holidays)
    place = place.drop_vars(MEASURED, errors="ignore")  # of an earlier draw
    counts = None if observed is None else measured_steps(observed, place["cell_id"].values, calendar.utc)
    attrs |= {} if observed is None else told_of(observed, context, counts, calendar.utc)
    if counts is not None:
        place = place.assign_coords({MEASURED: ("cell", counts, COORD_ATTRS[MEASURED])})
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
        measured=measured,
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
        job = _warned(job, warning)
    out: list[xr.Dataset] = []
    amounts = job.generator.info.amounts
    for name, own in job.parts.items():
        weights = [amounts.get(part, 1.0) for part in own]
        values = {state: _sum_of([drawn[part, state] for part in own], weights) for state in states}
        unit, asked = units, job.own_totals(name)
        if job.sets is not None and asked:
            totals = [job.totals[k] for k in asked]
            first, sets = next(iter(values.values())), job.sets[asked]
            factors = fit_totals(first, totals, sets, job.calendar, job.timezone, job.measured)
            job = _warned(job, far_from_likely(factors, totals, job.measured))
            values, unit = {state: factors.apply(v) for state, v in values.items()}, totals[0].unit
        mean_cell = sum(weights) if amounts else None
        out += [job.dataset(v, f"{name}{state}", unit, mean_cell) for state, v in values.items()]
    whole = out[0]
    for more in out[1:]:
        whole = whole.assign({str(name): variable for name, variable in more.data_vars.items()})
    return whole


def far_from_likely(factors: Factors, totals: Sequence[Total], measured: NDArray[np.bool_] | None) -> str:
    """A warning where the totals are far from what measured cells make likely of the others; "" else.

    measured: (cells,) those with measured traffic."""
    if measured is None or measured.all():
        return ""
    factor = factors.of_cells(~measured)
    if 1 / UNLIKELY < factor < UNLIKELY:
        return ""
    said = "; ".join(total.text for total in totals)
    return (
        f"--total {said}: with it the cells without measurements carry {factor:.2g} times what the measured ones make "
        "likely: check the amount and its unit"
    )


def _warned(job: Job, warning: str) -> Job:
    """The job, whose traffic says a warning; "" is none."""
    if not warning:
        return job
    return replace(job, attrs={**job.attrs, "warnings": f"{job.attrs.get('warnings', '')}\n{warning}".strip()})


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


def spans(job: Job, size: int) -> list[Span]:
    """All of a draw, a block of `size` cells at a time."""
    members, cells, _ = job.shape
    return [Span(m, at, min(at + size, cells)) for m in range(members) for at in range(0, cells, size)]


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
    kept = observed is not None and (observed.known is not None or info.continues_history)
    if kept and observed is not None and observed.main is not None:
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
        **privacy_attrs(info.provenance.get("privacy"), observed),
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


def privacy_attrs(spent: Mapping[str, Any] | None, observed: Observations | None = None) -> dict[str, str | float]:
    """What a private model's budget says of traffic that is drawn from it: epsilon, delta, unit, adjacency; nothing
    where measured traffic or users were given to it: the model's epsilon does not cover them."""
    given = observed is not None and any(ds is not None for ds in (observed.main, observed.users))
    names = ("epsilon", "delta", "unit", "adjacency")
    return {} if spent is None or given else {f"privacy_{name}": spent[name] for name in names if name in spent}


FEWER = "write .zarr, which is written as it is drawn, or draw fewer cells, days or members"


def check_fits(values: int, out: Path, copies: int = 3, advice: str = FEWER) -> None:
    """Raise BadInput where values that are held at once, in so many copies, do not fit the memory.

    advice: what helps."""
    need, free = values * 4 * copies, free_memory()
    if need > free:
        sizes = f"{need / GIB:.1f} GiB of memory, {free / GIB:.1f} GiB are free"
        raise BadInput(f"{out.name}: {values:.3g} values need {sizes}: {advice}")


def free_memory() -> int:
    """Bytes that can be had without swapping."""
    import psutil  # type: ignore[import-untyped]

    return int(psutil.virtual_memory().available)
