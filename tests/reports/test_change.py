"""The report of a what-if: each change by its name, and the one hour in which a match fills a cell."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from change_examples import changes, point
from traffic_examples import context, traffic

from gentraffic.cli.main import run
from gentraffic.dataset.schema import local_time
from gentraffic.generators.base import MODELS
from gentraffic.generators.cards import UNMODELLED
from gentraffic.places.scenario import about, apply_changes
from gentraffic.reports.change import effect_lines
from gentraffic.reports.model_summary import ModelSummary
from gentraffic.reports.traffic import page
from gentraffic.reports.traffic_text import EVENT_DRAWN, trust
from gentraffic.reports.webmap import page as map_page

bundled = pytest.mark.skipif(not (MODELS / "stouter-fast").is_dir(), reason="no bundled model in this checkout")


def words(text: str) -> str:
    """What a reader sees of a page, in one line."""
    body = re.sub(r"<style>.*?</style>|<svg.*?</svg>", " ", text, flags=re.DOTALL)
    return html.unescape(" ".join(re.sub(r"<[^>]*>", " ", body).split()))


def match(members: int | None = None) -> tuple[xr.Dataset, int, int]:
    """A mall that adds a little always, and a match that fills cell 7 in one hour: traffic, cell, step."""
    ds = traffic(days=7, units="MB") if members is None else traffic(days=7, units="MB", members=members)
    before = ds.internet.values
    after, step = before.copy(), int(np.flatnonzero((local_time(ds).day_of_week == 5) & (local_time(ds).hour == 18))[0])
    after[..., 3, :] *= 1.5
    after[..., 7, step] = 6200.0
    both = ds.rename(internet="internet_before").assign(internet_after=(ds.internet.dims, after, ds.internet.attrs))
    ids = [str(name) for name in ds.cell_id.values]
    parts = [
        {"name": "Galleria", "what": "mall", "times": "", "cells": [ids[3]]},
        {"name": "stadium", "what": "stadium", "times": "Sat 18:00-19:00", "cells": ids[6:8]},
    ]
    both.attrs |= {"change": "c.json", "change_summary": "two", "change_parts": json.dumps(parts), "change_reach": "no"}
    return both, 7, step


@pytest.mark.parametrize("members", [None, pytest.param(3, marks=pytest.mark.slow)])
def test_one_hour_above_the_capacity_is_said_in_numbers(members: int | None) -> None:
    ds, cell, step = match(members)
    name, when = ds.cell_id.values[cell], f"{local_time(ds)[step]:%a %H:%M}"
    seen = words(page(ds, capacity="10Mbit/s")[0])  # 4,500 MB in an hour
    within = " in more than half of the members" if members else ""
    assert (
        f"1 cell exceeds the capacity of 10Mbit/s{within}, in 1 hour, highest 6,200 MB at {when}: cell {name}." in seen
    )
    assert "Cells above 10Mbit/s 1 of 36" in seen
    assert "before the change: 0" in seen
    assert f"Highest hour of cell {name} 6,200 MB {when}" in seen
    table = seen[seen.index("The cells with the highest single hour.") :]
    assert table.index(f"{when} 6,200") < 400  # its first row
    if members is None:
        assert "No cell exceeds the capacity of 100Mbit/s in any hour" in words(page(ds, capacity="100Mbit/s")[0])


def test_each_change_is_named_with_its_cell_and_highest_hour() -> None:
    ds, cell, step = match()
    when = f"{local_time(ds)[step]:%a %H:%M}"
    lines = effect_lines(ds)
    (mall,) = [line for line in lines if line.startswith("Galleria: ")]
    (stadium,) = [line for line in lines if line.startswith("stadium: ")]
    mean = ds.internet_before.values[3].mean(dtype=float)
    assert f"cell {ds.cell_id.values[3]}: mean {mean:.3g} to {1.5 * mean:.3g} MB" in mall
    assert f"cell {ds.cell_id.values[cell]}, of 2 the one that changes most" in stadium
    assert stadium.endswith(f"to 6,200 MB ({when})")
    seen = words(page(ds)[0])
    assert seen.index("Galleria") < seen.index("stadium")
    assert f"{ds.cell_id.values[cell]} (of 2)" in seen
    # a map to play with, not the report under another name
    drawn = map_page(ds)
    assert drawn != page(ds)[0]
    for layer in ("difference", "before", "after"):
        assert f'"name":"{layer}"' in drawn


def test_a_page_whose_change_is_an_event_does_not_say_that_events_are_not_modelled() -> None:
    ds, _, _ = match()
    drew = ModelSummary("m", trust=("one", UNMODELLED))
    ds.attrs["model"] = "m"
    assert EVENT_DRAWN in trust(ds, drew, xr.Dataset())
    assert UNMODELLED not in trust(ds, drew, xr.Dataset())
    ds.attrs["change_parts"] = "[]"
    assert UNMODELLED in trust(ds, drew, xr.Dataset())


def test_the_file_says_which_cells_each_change_touches(tmp_path: Path) -> None:
    place = context("grid", 6)
    told = {"what": "mall", "floor_area": 10_000}
    match_ = {"what": "event", "name": "cup", "visitors": 100, "times": "Sat 18-20"}
    file = changes(tmp_path / "c.json", (told, point(place, 5)), (told, point(place, 6)), (match_, point(place, 9)))
    parts = json.loads(about(apply_changes(place, file), file, 1)["change_parts"])
    ids = place.cell_id.values
    assert [(part["name"], part["cells"]) for part in parts] == [
        ("mall", [str(ids[5])]), ("mall 2", [str(ids[6])]), ("cup", [str(ids[9])])
    ]  # fmt: skip
    assert [bool(part["times"]) for part in parts] == [False, False, True]


@bundled
def test_the_map_of_a_sampled_change_is_a_map(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = {"what": "event", "name": "cup", "visitors": 9000, "times": "Sat 18-20", "area_residents": 38_000}
    file = tmp_path / "c.json"
    feature = {"type": "Feature", "properties": told, "geometry": {"type": "Point", "coordinates": [7.4155, 43.7275]}}
    file.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}), encoding="utf-8")
    out, drawn = tmp_path / "w.nc", tmp_path / "w.html"
    asked = ["sample", "--city", "monaco", "--change", str(file), "-o", str(out), "--map", str(drawn)]
    assert run([*asked, "--offline"]) == 0
    assert "cup: cell " in capsys.readouterr().out
    assert 'id="map"' in drawn.read_text(encoding="utf-8")


@pytest.mark.slow
def test_what_few_members_exceed_is_said() -> None:
    ds, _, step = match(3)
    values = ds.internet_after.values.copy()
    values[1:, 7, step] = 1.0
    ds["internet_after"] = (ds.internet_after.dims, values, ds.internet_after.attrs)
    seen = words(page(ds, capacity="10Mbit/s")[0])
    assert (
        "No cell exceeds the capacity of 10Mbit/s in any hour in more than half of the members; 1 does in fewer."
        in seen
    )
