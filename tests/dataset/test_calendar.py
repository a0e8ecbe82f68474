"""Local days and hours across changes of the clock, checked against zoneinfo."""

from __future__ import annotations

from datetime import UTC, date, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from gentraffic.dataset.calendar import FIRST_DAY, FREQUENCIES, make_calendar
from gentraffic.errors import WrongUse

CHANGES = [  # zone, first day, days, hours in all
    ("Europe/Rome", "2026-03-28", 3, 71.0),  # spring: 23 hours
    ("Europe/Rome", "2026-10-24", 3, 73.0),  # autumn: 25 hours
    ("Australia/Lord_Howe", "2026-04-04", 3, 72.5),  # half an hour back
    ("Australia/Lord_Howe", "2026-10-03", 3, 71.5),  # half an hour forth
    ("America/Santiago", "2026-09-05", 3, 71.0),  # from midnight straight to 01:00
    ("America/Santiago", "2026-04-03", 3, 73.0),  # from midnight back to 23:00
    ("America/Havana", "2026-10-31", 3, 73.0),  # 00:00 to 01:00 twice
    ("Africa/Cairo", "2026-04-23", 3, 71.0),  # no midnight on Friday 24 April
    ("Pacific/Apia", "2011-12-29", 3, 48.0),  # no 30 December at all
    ("Asia/Kathmandu", "2026-03-28", 3, 72.0),  # 5:45 from UTC, no change
    ("UTC", "2024-02-28", 3, 72.0),
]


@pytest.mark.parametrize(("zone", "start", "days", "hours"), CHANGES)
@pytest.mark.parametrize("freq", FREQUENCIES)
def test_steps_and_slots_are_those_of_zoneinfo(zone: str, start: str, days: int, hours: float, freq: str) -> None:
    k = FREQUENCIES[freq]
    calendar = make_calendar(start, days, freq, zone)
    assert (calendar.per_hour, calendar.days) == (k, days)
    assert len(calendar.utc) == int(np.ceil(hours * k))
    assert (np.diff(calendar.utc) == np.timedelta64(60 // k, "m")).all()
    first = date.fromisoformat(start)
    assert calendar.weekday == first.weekday()
    seen = set()
    for step, when in enumerate(calendar.utc.astype("datetime64[s]").tolist()):
        local = when.replace(tzinfo=UTC).astimezone(ZoneInfo(zone))
        assert calendar.day[step] == (local.date() - first).days
        assert calendar.slot[step] == local.hour * k + local.minute * k // 60
        wall = local.replace(tzinfo=None)
        assert calendar.again[step] == (wall in seen)
        seen.add(wall)
    before = calendar.utc[0].astype("datetime64[s]").tolist().replace(tzinfo=UTC) - timedelta(minutes=1)
    assert before.astimezone(ZoneInfo(zone)).date() < first  # nothing of the first day is left out
    after = calendar.utc[-1].astype("datetime64[s]").tolist().replace(tzinfo=UTC) + timedelta(minutes=60 // k)
    assert after.astimezone(ZoneInfo(zone)).date() >= first + timedelta(days=days)


@pytest.mark.parametrize("freq", FREQUENCIES)
def test_a_plain_week_reads_the_sheet_as_it_is(freq: str) -> None:
    k = FREQUENCIES[freq]
    calendar = make_calendar(FIRST_DAY, 7, freq, "Europe/Rome")
    assert calendar.weekday == 0  # the default start is a Monday
    sheet = np.random.default_rng(0).random((3, 7 * 24 * k), dtype=np.float32)
    np.testing.assert_array_equal(calendar.read(sheet), sheet)
    assert calendar.utc[0] == np.datetime64("2026-01-04T23:00")
    again = np.zeros(7 * 24 * k + 24 * k, dtype=np.float32)
    assert calendar.read(again).shape == (7 * 24 * k,)  # a sheet of whole windows may be longer


def test_an_hour_that_is_skipped_is_left_out() -> None:
    calendar = make_calendar("2026-03-29", 1, "1h", "Europe/Rome")
    hours = calendar.read(np.arange(24, dtype=np.float32))
    assert hours.tolist() == [0, 1, *range(3, 24)]


def test_an_hour_that_is_repeated_goes_over_into_the_next() -> None:
    calendar = make_calendar("2026-10-25", 1, "1h", "Europe/Rome")
    hours = calendar.read(np.arange(24, dtype=np.float32))
    assert hours.tolist() == [0, 1, 2, 2.5, *range(3, 24)]
    halves = make_calendar("2026-10-25", 1, "30min", "Europe/Rome").read(np.arange(48, dtype=np.float32))
    assert halves.tolist() == [0, 1, 2, 3, 4, 5, 5, 6, *range(6, 48)]
    last = make_calendar("2026-04-04", 1, "1h", "America/Santiago").read(np.arange(24, dtype=np.float32))
    assert last.tolist() == [*range(24), 23]  # 23:00 twice, and the sheet ends there


def test_half_an_hour_of_summer_time() -> None:
    calendar = make_calendar("2026-10-04", 1, "30min", "Australia/Lord_Howe")
    assert calendar.read(np.arange(48, dtype=np.float32)).tolist() == [0, 1, 2, 3, *range(5, 48)]  # no 02:00
    back = make_calendar("2026-04-05", 1, "30min", "Australia/Lord_Howe")
    assert back.read(np.arange(48, dtype=np.float32)).tolist() == [0, 1, 2, 3, 4, *range(4, 48)]  # 01:30 twice


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("2026-02-30", 1, "1h", "UTC"), "--start 2026-02-30: no such date"),
        (("2025-02-29", 1, "1h", "UTC"), "--start 2025-02-29: no such date"),
        (("tomorrow", 1, "1h", "UTC"), "--start tomorrow: no such date"),
        (("29/03/2026", 1, "1h", "UTC"), "give YYYY-MM-DD"),
        (("2026-01-05", 0, "1h", "UTC"), "--days 0: give 1 to 3660"),
        (("2026-01-05", 3661, "1h", "UTC"), "--days 3661: give 1 to 3660"),
        (("2026-01-05", 1, "5min", "UTC"), "--freq 5min: choose one of 1h, 30min, 15min, 10min"),
        (("2026-01-05", 1, "1h", "Mars/Base"), "--timezone Mars/Base: no such zone"),
        (("2026-01-05", 1, "1h", ""), "--timezone : no such zone"),
        (("1600-01-01", 1, "1h", "UTC"), "outside the years 1900 to 2260"),  # nanoseconds would wrap round to 2184
        (("9999-12-31", 1, "1h", "UTC"), "outside the years"),
        (("2258-01-01", 3660, "1h", "UTC"), "outside the years"),
        (("2011-12-30", 1, "1h", "Pacific/Apia"), "left this day out"),
    ],
)
def test_what_does_not_exist_is_refused(arguments: tuple[str, int, str, str], message: str) -> None:
    with pytest.raises(WrongUse, match=message):
        make_calendar(*arguments)


def test_ten_years() -> None:
    calendar = make_calendar("2250-01-01", 3660, "1h", "Europe/Rome")
    assert calendar.day[-1] == 3659
    assert (np.diff(calendar.utc) > np.timedelta64(0, "s")).all()
