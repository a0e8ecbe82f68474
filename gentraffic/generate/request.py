"""What is asked of a generator, and what it means for a place: the calendar, the settings, the cells, the totals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gentraffic.dataset.calendar import FIRST_DAY, FREQUENCIES, Calendar, calendar_of, make_calendar
from gentraffic.dataset.public_holidays import NONE, Holidays, find_holidays
from gentraffic.dataset.schema import check_name
from gentraffic.dataset.services import DIRECTIONS, MAIN, SUMS, parts_of, split_names
from gentraffic.errors import BadInput, WrongUse
from gentraffic.generate.totals import Total, parse_totals
from gentraffic.generators.base import ModelInfo, Settings, Unsupported, check_minutes
from gentraffic.generators.observed import Observations, minutes_of, read_observations
from gentraffic.modelling.expected_week import AUTO
from samplers import PRECISIONS

if TYPE_CHECKING:
    import xarray as xr

DAYS = 7


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
    (`gentraffic.dataset.public_holidays`); by default auto for a period that is given or longer than a week.
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
        names = self.named()
        if not names:
            measured = observed.service if observed is not None else None
            return (measured or info.services[0],)
        have = info.services
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
                raise Unsupported("services", f"--{option} {name}: {info.name} draws {listed}")
        return names

    def rows(self, context: xr.Dataset) -> list[int] | None:
        """Rows of the context for the ids of `select`, in that order; None for all. Raises WrongUse."""
        return None if self.select is None else select_rows(context, self.select)

    def check(self, info: ModelInfo) -> None:
        """Raise WrongUse for numbers out of range, Unsupported for what the model cannot do."""
        for option, given, least in (
            ("seed", self.seed, 0), ("members", self.members, 1), ("steps", self.steps, 1), ("days", self.days, 1)
        ):  # fmt: skip
            if given is not None and given < least:
                raise WrongUse(f"--{option} {given}: give {least} or more")
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
        if kept is not None and (self.total or self.change is not None):
            raise WrongUse(f"{'--total' if self.total else '--change'} does not go with --{kept}: leave one out")

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
