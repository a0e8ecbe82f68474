"""What a report says of what nobody knows: hours of one draw, ranges nobody checked, networks far away."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest
import xarray as xr
from traffic_examples import traffic

import gentraffic
from gentraffic.generate.run import rhythm_attrs
from gentraffic.generators.base import MODELS
from gentraffic.reports import traffic as pages
from gentraffic.reports.map_layers import map_layers
from gentraffic.reports.model_summary import ModelSummary, find_model
from gentraffic.reports.traffic_figures import BUSY_HOUR
from gentraffic.reports.traffic_text import ALIKE, trust

bundled = pytest.mark.skipif(not (MODELS / "stouter-fast").is_dir(), reason="no bundled model in this checkout")


def seen(ds: xr.Dataset) -> str:
    return re.sub(r"<style>.*?</style>", " ", pages.page(ds)[0], flags=re.DOTALL)


@pytest.mark.parametrize(
    ("drawn", "members"), [(True, None), pytest.param(True, 12, marks=pytest.mark.slow), (False, None)]
)
def test_the_busy_hour_of_one_draw_is_not_mapped(drawn: bool, members: int | None) -> None:
    ds = traffic(days=7, units="GB") if members is None else traffic(days=7, units="GB", members=members)
    if not drawn:
        for name in ("model", "model_sha256"):
            del ds.attrs[name]
    text, chance = seen(ds), drawn and members is None
    assert (BUSY_HOUR not in text) is chance
    assert ("is not mapped: of one member it is chance" in text) is chance
    assert ("in one member is chance" in text) is chance
    busy = next(layer for layer in map_layers(ds, "internet", None) if layer.name == "busy")
    assert ("chance" in busy.label) is chance


def test_ranges_that_nobody_checked_are_called_so(monkeypatch: pytest.MonkeyPatch) -> None:
    ds = traffic(days=7, units="GB", members=12).assign_attrs(model="m", source="drawn, not measured")
    monkeypatch.setattr(pages, "find_model", lambda ds, model: ModelSummary("m"))
    text = seen(ds)
    assert "Nobody has checked these ranges" in text
    assert "provenance" not in text
    assert ALIKE in trust(ds, ModelSummary("m"), xr.Dataset())
    here = ds.assign_attrs(network="milan")
    assert ALIKE not in trust(here, ModelSummary("m", networks={"milan": "Milan"}), xr.Dataset())


@pytest.mark.parametrize(
    ("timezone", "said"),
    [("Europe/Rome", "the nearest that was measured"), ("Europe/Malta", "the nearest that was measured"),
     ("America/Chicago", "no measured network is near: ")],
)  # fmt: skip
def test_a_network_is_called_near_only_where_one_is(timezone: str, said: str) -> None:
    measured = {"milan": ("Europe/Rome", 100), "shandong": ("Asia/Shanghai", 500)}
    info: Any = SimpleNamespace(networks=tuple(measured), measured=measured)
    settings: Any = SimpleNamespace(habits="", members=1, seed=0)
    place = xr.Dataset(attrs={"timezone": timezone})
    assert rhythm_attrs(info, place, settings)["rhythm_reason"].startswith(said)


@bundled
def test_networks_are_named_with_their_year_and_a_place_by_the_name_given() -> None:
    drew = find_model(xr.Dataset(attrs={"model": "stouter-fast"}))
    assert drew is not None
    assert "Milan, Italy (2013)" in drew.trained_on
    ds = gentraffic.sample("monaco", days=1, name="The Rock")
    assert ds.attrs["place"] == "The Rock"
    assert "<title>Cellular traffic of The Rock<" in gentraffic.report(ds).html
    assert "<title>Cellular traffic of Elsewhere<" in gentraffic.report(ds, name="Elsewhere").html
    assert "<title>Synthetic traffic of Elsewhere<" in gentraffic.draw_map(ds, name="Elsewhere").html
