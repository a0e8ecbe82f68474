"""Local days and hours, and the UTC steps they stand for, across changes of the clock."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gentraffic.errors import WrongUse

if TYPE_CHECKING:
    import pandas as pd

FREQUENCIES = {"1h": 1, "30min": 2, "15min": 4, "10min": 6}  # name -> steps per hour
MOST_DAYS = 3660
FIRST_YEAR, LAST_YEAR = 1900, 2260
FIRST_DAY = "2026-01-05"  # a Monday; the default start, so that the same command gives the same file on any day


@dataclass(frozen=True)
class Calendar:
    """The steps of a period and where each finds its value on the sheet of local days.

    utc: (steps,) datetime64[ns]. day, slot: (steps,) local day since the start, local slot of the day (0 .. 24 k - 1).
    again: (steps,) True for the second pass of an hour that the clock repeats. weekday: of day 0, Monday = 0.
    """

    utc: NDArray[np.datetime64]
    day: NDArray[np.int64]
    slot: NDArray[np.int64]
    again: NDArray[np.bool_]
    weekday: int
    days: int
    per_hour: int

    @property
    def first(self) -> date:
        """The local date of day 0."""
        usual = date.fromisoformat(str(np.datetime_as_string(self.utc[0], unit="D")))
        near = (usual + timedelta(days=shift) for shift in (-1, 0, 1))  # local days begin within a day of those of UTC
        return next(day for day in near if day.weekday() == self.weekday)

    def read(self, sheet: NDArray[np.float32]) -> NDArray[np.float32]:
        """Values of the local sheet (..., days * 24 k) at the steps: (..., steps).

        An hour that the clock skips is left out; an hour that it repeats gets, the second time, the mean of itself and
        of the hour that follows.
        """
        at = self.day * 24 * self.per_hour + self.slot
        values: NDArray[np.float32] = sheet[..., at]
        if self.again.any():
            later = np.minimum(at[self.again] + self.per_hour, sheet.shape[-1] - 1)
            values[..., self.again] = (values[..., self.again] + sheet[..., later]) / 2
        return values


def make_calendar(start: str, days: int, freq: str, timezone: str) -> Calendar:
    """The calendar of `days` local days from the local midnight of `start` (YYYY-MM-DD) in an IANA zone.

    Raises WrongUse for a date that does not exist, days < 1, an unknown frequency or an unknown zone.
    """
    import pandas as pd

    if freq not in FREQUENCIES:
        raise WrongUse(f"--freq {freq}: choose one of {', '.join(FREQUENCIES)}")
    if not 1 <= days <= MOST_DAYS:
        raise WrongUse(f"--days {days}: give 1 to {MOST_DAYS}")
    try:
        first = date.fromisoformat(start)
    except ValueError as error:
        raise WrongUse(f"--start {start}: no such date ({error}); give YYYY-MM-DD") from error
    if not FIRST_YEAR <= first.year <= LAST_YEAR - days // 365:  # beyond, nanoseconds overflow without a word
        raise WrongUse(f"--start {start} with --days {days}: outside the years {FIRST_YEAR} to {LAST_YEAR}")
    per_hour = FREQUENCIES[freq]
    try:
        begin = _midnight(pd.Timestamp(first), timezone)
        end = _midnight(pd.Timestamp(first) + pd.Timedelta(days=days), timezone)
    except (KeyError, ValueError, IndexError) as error:  # zoneinfo's errors for names that it does not know
        raise WrongUse(f"--timezone {timezone}: no such zone; give an IANA name such as Europe/Rome") from error
    if begin >= end:
        raise WrongUse(f"--start {start}: {timezone} left this day out when its date line moved; give another")
    utc = pd.date_range(begin, end, freq=f"{60 // per_hour}min", inclusive="left")
    local = utc.tz_convert(timezone)
    naive = local.tz_localize(None)
    day = (naive.normalize() - pd.Timestamp(first)).days.to_numpy()
    slot = (naive.hour * per_hour + naive.minute * per_hour // 60).to_numpy()
    return Calendar(
        utc=utc.tz_localize(None).to_numpy().astype("datetime64[ns]"),
        day=np.clip(day, 0, days - 1).astype(np.int64),
        slot=slot.astype(np.int64),
        again=naive.duplicated(keep="first"),
        weekday=first.weekday(),
        days=days,
        per_hour=per_hour,
    )


def calendar_of(utc: NDArray[np.datetime64], timezone: str) -> Calendar:
    """The calendar of steps that are given: `utc` (steps,), evenly spaced, a whole part of an hour apart, in any zone.

    Raises WrongUse for another spacing than those of FREQUENCIES.
    """
    import pandas as pd

    minutes = float((utc[1] - utc[0]) / np.timedelta64(1, "m")) if len(utc) > 1 else 60.0
    if minutes not in [60 // k for k in FREQUENCIES.values()]:
        raise WrongUse(f"steps of {minutes:g} min: give measured traffic every {', '.join(FREQUENCIES)}")
    per_hour = int(60 // minutes)
    naive = pd.DatetimeIndex(utc).tz_localize("UTC").tz_convert(timezone).tz_localize(None)
    first = naive[0].normalize()
    day = (naive.normalize() - first).days.to_numpy().astype(np.int64)
    slot = (naive.hour * per_hour + naive.minute * per_hour // 60).to_numpy()
    return Calendar(
        utc=np.asarray(utc).astype("datetime64[ns]"),
        day=day,
        slot=slot.astype(np.int64),
        again=np.asarray(naive.duplicated(keep="first")),
        weekday=int(first.weekday()),
        days=int(day.max()) + 1,
        per_hour=per_hour,
    )


def _midnight(day: pd.Timestamp, timezone: str) -> pd.Timestamp:
    """The first moment of a local day in UTC (some zones change their clocks at midnight and have no 00:00)."""
    return day.tz_localize(timezone, nonexistent="shift_forward", ambiguous=True).tz_convert("UTC")
