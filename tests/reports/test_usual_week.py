"""A usual week has weekdays and no dates, wherever it is shown; a period that was asked for has its dates."""

from __future__ import annotations

import json
import re

import pytest
import xarray as xr
from traffic_examples import traffic

import gentraffic
from gentraffic.dataset.calendar import make_calendar
from gentraffic.dataset.schema import is_usual_week
from gentraffic.generate.run import Request
from gentraffic.generators.base import MODELS
from gentraffic.reports import plot, webmap
from gentraffic.reports.page import period_words, traffic_words
from gentraffic.reports.traffic import page

bundled = pytest.mark.skipif(not (MODELS / "stouter-fast").is_dir(), reason="no bundled model in this checkout")
DATES = re.compile(r"\b\d{1,2} (Jan|Nov|January|November) 20\d\d")


def week(*, usual: bool) -> xr.Dataset:
    ds = traffic(days=7, start="2013-11-03T23:00")  # Monday 4 November, local
    return ds.assign_attrs(usual_week="yes") if usual else ds


@pytest.mark.parametrize("usual", [True, False])
def test_pages_and_pictures_show_dates_only_of_a_period(usual: bool) -> None:
    ds = week(usual=usual)
    said = "a usual week, Monday to Sunday" if usual else "Mon 4 Nov 2013 to Sun 10 Nov 2013"
    assert period_words(ds) == said
    report = re.sub(r"<(svg|style).*?</\1>", "", page(ds)[0], flags=re.DOTALL)
    assert bool(DATES.search(report)) is not usual
    data = json.loads(re.search(r"<script[^>]*application/json[^>]*>(.*?)</script>", webmap.page(ds), re.DOTALL)[1])  # type: ignore[index]
    assert data["usual"] is usual
    assert bool(DATES.search(data["subtitle"])) is not usual
    drawn = [text.get_text() for axes in plot.draw(ds).axes for text in axes.get_xticklabels()]
    assert ("Mon" in drawn) is usual
    assert ("Mon 4" in drawn) is not usual


@bundled
def test_the_default_period_is_a_usual_week_and_a_start_gives_its_holidays() -> None:
    drawn = gentraffic.sample("milan", select=[1, 2])
    assert is_usual_week(drawn)
    assert "holidays" not in drawn.attrs
    dated = gentraffic.sample("milan", select=[1, 2], start="2026-01-05")
    assert not is_usual_week(dated)
    assert "2026-01-06" in dated.attrs["holidays"]  # Epiphany


def test_what_is_no_usual_week() -> None:
    calendar = make_calendar("2026-01-05", 7, "1h", "Europe/Rome")
    assert Request().is_usual_week(calendar, None)
    assert not Request(start="2026-01-05").is_usual_week(calendar, None)
    assert not Request(history=week(usual=False)).is_usual_week(calendar, None)
    assert not Request().is_usual_week(make_calendar("2026-01-05", 8, "1h", "Europe/Rome"), None)


def test_plans_and_changes_have_plain_titles() -> None:
    plan = week(usual=True).assign_attrs(source="a plan, computed from traffic", model="m")
    assert traffic_words(plan, "blocks") == "Resource blocks"
    assert traffic_words(plan, "awake") == "Awake radio units"
    drawn = week(usual=True).assign_attrs(model="m")
    assert traffic_words(drawn, "traffic_after") == "Synthetic traffic after the change"
