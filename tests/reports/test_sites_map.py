"""The map of a deployment: new sites, those that stand, and the circles that they cover."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
from traffic_examples import context, traffic

from gentraffic.planning.load import read_load
from gentraffic.planning.sites import Sites, points_of
from gentraffic.reports.sites_map import write_sites_map


def test_new_and_standing_sites_are_told_apart(tmp_path: Path) -> None:
    ds = traffic(context(n=5), days=7, units="GB")
    load = read_load(ds, "t.nc", service=None)
    standing = Sites(np.zeros((1, 2)), np.array([9.01]), np.array([45.36]), ["old <mast>"], np.ones(1))
    write_sites_map(load, points_of(ds), np.array([3, 7]), tmp_path / "m.html", existing=standing, radius_m=400.0)
    text = (tmp_path / "m.html").read_text(encoding="utf-8")
    block = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)
    assert block is not None
    data = json.loads(block[1])
    assert data["title"] == "2 new sites and the traffic of Milano, Łódź of the tests"
    assert [marker[2:] for marker in data["markers"]] == [
        [f"new site 1: {ds.cell_id.values[3]}", "new", 400.0],
        [f"new site 2: {ds.cell_id.values[7]}", "new", 400.0],
        ["site that stands: old <mast>", "existing", 400.0],
    ]
    assert data["markers"][0][:2] == [float(ds.lat[3]), float(ds.lon[3])]
