"""Public holidays of a country, of a file, of none; what they do to a week that is drawn."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pytest
from traffic_examples import context

from gentraffic.dataset.calendar import make_calendar
from gentraffic.dataset.public_holidays import CHRISTMAS, LEVEL, Holidays, country_of, find_holidays
from gentraffic.errors import BadInput, WrongUse
from gentraffic.generate.run import Request, run
from gentraffic.generators.folder import Bundle


def test_holidays_of_the_country_of_a_zone() -> None:
    found = find_holidays("auto", "Europe/Rome", date(2013, 11, 1), 62)
    assert found is not None
    assert found.source == "IT"
    named = {day.isoformat(): number for number, day, _ in found.days}
    assert {"2013-11-01", "2013-12-25", "2014-01-01"} - {"2014-01-01"} <= named.keys()
    assert named["2013-11-01"] == 0
    assert named["2013-12-25"] == 54
    assert dict(found.levels())[0] == LEVEL[""]
    assert dict(found.levels("sms_in"))[0] == LEVEL["sms_in"]
    assert dict(found.levels())[54] == CHRISTMAS
    assert country_of("Asia/Shanghai") == "CN"
    assert find_holidays("auto", "UTC", date(2026, 1, 1), 7) is None
    assert find_holidays("none", "Europe/Rome", date(2026, 1, 1), 7) is None


def test_holidays_of_a_file_and_of_a_country_that_is_named(tmp_path: Path) -> None:
    file = tmp_path / "days.txt"
    file.write_text("# of our town\n2026-01-07, the fair\n\n2027-01-01\n")
    assert find_holidays(str(file), "Europe/Rome", date(2026, 1, 5), 7) == Holidays(
        ((2, date(2026, 1, 7), "the fair"),), "days.txt"
    )
    named = find_holidays("it", "UTC", date(2026, 1, 5), 7)
    assert named is not None
    assert named.days == ((1, date(2026, 1, 6), "Epiphany"),)
    file.write_text("7 January\n")
    with pytest.raises(BadInput, match="line 1: '7' is no date"):
        find_holidays(str(file), "UTC", date(2026, 1, 5), 7)
    with pytest.raises(WrongUse, match="give auto, none, a country"):
        find_holidays(str(tmp_path / "absent"), "UTC", date(2026, 1, 5), 7)
    with pytest.raises(WrongUse, match="no public holidays are known"):
        find_holidays("XX", "UTC", date(2026, 1, 5), 7)


STARTS = [("2026-01-05", "Asia/Shanghai"), ("2026-07-01", "America/Los_Angeles"), ("2026-03-29", "Europe/Rome"),
          ("2026-02-01", "Pacific/Kiritimati")]  # fmt: skip


@pytest.mark.parametrize(("start", "zone"), STARTS)
def test_the_first_day_of_a_calendar_is_the_local_one(start: str, zone: str) -> None:
    assert make_calendar(start, 9, "1h", zone).first == date.fromisoformat(start)


def test_a_holiday_is_a_sunday_of_its_level_and_other_days_keep_theirs(tiny_bundle: Bundle) -> None:
    """The world of the tests rests on Mondays and Tuesdays: they carry 0.7 of its other days, Sundays among them.
    6 January 2026, a Tuesday, is Epiphany in Italy."""
    place = context(n=14)
    with_ = run(Request(start="2026-01-05", days=14), tiny_bundle, place).traffic
    without = run(Request(start="2026-01-05", days=14, holidays="none"), tiny_bundle, place).traffic
    assert with_.attrs["holidays"] == "IT: 2026-01-06 Epiphany"
    assert "holidays" not in without.attrs
    usual, drawn = (ds["traffic"].values.reshape(196, 14, 24).mean(axis=(0, 2)) for ds in (without, with_))
    sundays = usual[[6, 13]].mean()
    assert usual[1] < 0.8 * sundays
    assert drawn[1] / LEVEL[""] == pytest.approx(sundays, rel=0.12)
    np.testing.assert_allclose(np.delete(drawn, 1), np.delete(usual, 1), rtol=0.05)


def test_the_usual_week_has_no_holidays_and_a_long_period_says_what_is_not_drawn(tiny_bundle: Bundle) -> None:
    place = context(n=2)
    week = run(Request(), tiny_bundle, place).traffic
    asked = run(Request(holidays="auto"), tiny_bundle, place).traffic
    assert "holidays" not in week.attrs
    assert asked.attrs["holidays"].startswith("IT: 2026-01-06")
    assert not np.array_equal(week["traffic"].values, asked["traffic"].values)
    year = run(Request(days=400, steps=1), tiny_bundle, place).traffic
    assert year.sizes["time"] == 9600
    assert "2026-12-25 Christmas Day" in year.attrs["holidays"]
    assert "400 days" in year.attrs["not_drawn"]
    assert "growth, seasons and events" in year.attrs["not_drawn"]
