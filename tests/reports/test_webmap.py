"""The map: what it carries decodes to the dataset, it asks nothing of any network, and a browser shows it."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import shutil
import subprocess
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
import xarray as xr
from traffic_examples import context, traffic

from gentraffic.dataset.geometry import cell_shapes
from gentraffic.errors import BadInput, WrongUse
from gentraffic.reports import webmap


def _data(page: str) -> dict[str, Any]:
    block = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert block is not None
    data: dict[str, Any] = json.loads(block[1])
    return data


def _unpack(text: str, dtype: str) -> np.ndarray:
    """base64, zlib, planes of bytes from low to high: written here a second time, not taken from the module."""
    planes = np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8).reshape(np.dtype(dtype).itemsize, -1)
    return np.ascontiguousarray(planes.T).view(dtype)[:, 0]


def _values(data: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    q = _unpack(data["blobs"]["values"], "<u2").reshape(data["cells"], data["steps"])
    scale = data["scale"]
    return q, scale["s"] * np.sinh(q / data["levels"] * np.arcsinh(scale["top"] / scale["s"]))


def test_the_numbers_decode_to_the_dataset() -> None:
    ds = traffic(context(n=12), days=3)
    data = _data(webmap.page(ds))
    q, decoded = _values(data)
    real = ds["internet"].values
    np.testing.assert_array_equal(q == 0, real == 0)  # no traffic is no traffic, and nothing else is
    live = real > 0
    # half a step of asinh(v / s): relative to sqrt(v² + s²)
    half = 0.5 / data["levels"] * np.arcsinh(data["scale"]["top"] / data["scale"]["s"])
    error = np.abs(decoded - real) / np.hypot(real, data["scale"]["s"])
    assert error[q > 1].max() <= 1.01 * half < 0.0015
    assert np.median(np.abs(decoded[live] / real[live] - 1)) < 0.001
    np.testing.assert_allclose(data["total"]["mean"], real.sum(axis=0), rtol=1e-5)
    assert data["ids"] == ds["cell_id"].values.tolist()


def test_members_become_their_mean_and_a_band() -> None:
    ds = traffic(context("stations"), members=20, units="MB")
    data = _data(webmap.page(ds))
    real = ds["internet"].values
    q, decoded = _values(data)
    live = real.mean(axis=0) > 0.05
    np.testing.assert_allclose(decoded[live], real.mean(axis=0)[live], rtol=0.003)
    for name, quantile in (("low", 0.05), ("high", 0.95)):
        edge = ((q >> data["bandBits"]) + _unpack(data["blobs"][name], "u1").reshape(q.shape)) & 255
        level = np.where(edge > 0, (edge + 0.5) * 2 ** data["bandBits"], 0)
        scale = data["scale"]
        shown = scale["s"] * np.sinh(level / data["levels"] * np.arcsinh(scale["top"] / scale["s"]))
        np.testing.assert_allclose(shown[live], np.quantile(real, quantile, axis=0)[live], rtol=0.03)
        np.testing.assert_allclose(data["total"][name], np.quantile(real.sum(axis=1), quantile, axis=0), rtol=1e-4)
    assert data["band"] == "central 90% of 20 members"
    assert data["units"] == "MB"


def test_sectors_of_a_mast_are_drawn_apart_in_the_direction_of_their_azimuth() -> None:
    ds = traffic(context("stations", n=3))
    mast = [0, 0, 0, 0, 4, 4, 4, 7, 8]  # whose place each station has
    azimuth = np.array([0.0, 120, 240, 120, 10, 130, np.nan, 90, 90])
    moved = {name: ("cell", ds[name].values[mast]) for name in ("lon", "lat", "x", "y")}
    ds = ds.assign_coords(moved).assign_coords(azimuth=("cell", azimuth))
    outlines = _data(webmap.page(ds))["outlines"]
    delta = _unpack(outlines["points"], "<i4").reshape(2, -1)
    drawn = np.array(outlines["origin"])[:, None] + np.cumsum(delta, axis=1) * 1e-6
    north = (drawn[1] - ds.lat.values) * 111_320
    east = (drawn[0] - ds.lon.values) * 111_320 * np.cos(np.radians(45.36))
    away = np.hypot(east, north)
    still = [6, 7, 8]  # no azimuth, or alone at its place
    assert (away[still] < 0.2).all()
    for i in range(6):
        assert 15 <= away[i] <= 120
        turned = np.degrees(np.arctan2(east[i], north[i])) - azimuth[i]
        assert (turned + 180) % 360 - 180 == pytest.approx(0, abs=1)
    assert away[3] == pytest.approx(1.5 * away[1], rel=0.01)  # a second band of one azimuth lies behind the first
    assert len({tuple(at) for at in drawn.T.round(5)}) == 9


@pytest.mark.parametrize("kind", ["grid", "cells", "stations"])
def test_the_outlines_decode_to_the_cells(kind: str) -> None:
    ds = traffic(context(kind))
    outlines = _data(webmap.page(ds))["outlines"]
    delta = _unpack(outlines["points"], "<i4").reshape(2, -1)
    points = np.array(outlines["origin"])[:, None] + np.cumsum(delta, axis=1) * 1e-6
    rings_of = [size for size, often in outlines["ringsPerCell"] for _ in range(often)]
    points_of = [size for size, often in outlines["pointsPerRing"] for _ in range(often)]
    assert (len(rings_of), sum(rings_of), sum(points_of)) == (36, len(points_of), points.shape[1])
    rings = np.split(points.T, np.cumsum(points_of)[:-1])
    cells = [rings[end - size : end] for size, end in zip(rings_of, np.cumsum(rings_of), strict=True)]
    for drawn, shape in zip(cells, cell_shapes(ds), strict=True):
        if kind == "stations":
            assert np.hypot(*(drawn[0][0] - shapely.get_coordinates(shape)[0])) < 2e-6
            continue
        # areas by direction: outer rings and holes run against each other, as the canvas's nonzero rule needs
        signed = sum(0.5 * np.sum(r[:, 0] * np.roll(r[:, 1], -1) - np.roll(r[:, 0], -1) * r[:, 1]) for r in drawn)
        assert abs(signed) == pytest.approx(shape.area, rel=2e-3)
        assert len(drawn) == len(shapely.get_rings(shapely.get_parts(shape)))


def test_cells_on_both_sides_of_the_date_line_stay_together() -> None:
    import pyproj

    cells = context(n=6)
    utm = pyproj.CRS("EPSG:32701")
    x, y = cells["x"].values - 500_900 + 179_300, cells["y"].values - 5_022_577 + 8_150_000
    lon, lat = pyproj.Transformer.from_crs(utm, "EPSG:4326", always_xy=True).transform(x, y)
    lon = np.where(lon > 180, lon - 360, lon)
    assert lon.min() < -179
    assert lon.max() > 179
    moved = {"x": x, "y": y, "lon": lon, "lat": lat}
    cells = cells.assign_coords({name: ("cell", values) for name, values in moved.items()})
    outlines = _data(webmap.page(traffic(cells.assign_attrs(crs_wkt=utm.to_wkt()))))["outlines"]
    east = np.cumsum(_unpack(outlines["points"], "<i4").reshape(2, -1)[0])
    assert np.ptp(east) * 1e-6 < 0.05  # degrees


def test_local_times_follow_a_change_of_clocks() -> None:
    data = _data(webmap.page(traffic(start="2024-03-30T23:00")))  # Rome loses hour 2 on 31 March 2024
    assert data["offsets"] == [[0, 60], [2, 120]]
    assert (data["start"], data["every"]) == (1711839600, 3600)
    assert "Sun 31 Mar 2024 to Tue 2 Apr 2024" in data["subtitle"]  # the 48th hour begins at midnight


def test_colours_are_robust_and_no_traffic_is_apart() -> None:
    ds = traffic(context(n=12), days=3)
    scale = _data(webmap.page(ds))["scale"]
    spoilt = ds.copy(deep=True)
    spoilt["internet"].values[5, 5] = 1e6  # one odd value moves the top, not the colours
    odd = _data(webmap.page(spoilt))["scale"]
    assert odd["top"] == 1e6
    assert odd["high"] == pytest.approx(scale["high"], rel=0.02)
    empty = xr.zeros_like(ds["internet"])
    data = _data(webmap.page(ds.assign(internet=empty.assign_attrs(ds["internet"].attrs))))
    assert _values(data)[0].max() == 0


def test_a_long_series_is_thinned_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webmap, "MAX_VALUES", 36 * 20)
    ds = traffic(days=2)
    data = _data(webmap.page(ds))
    assert (data["steps"], data["every"]) == (16, 3 * 3600)
    assert "one step in 3 is shown" in data["subtitle"]
    real = ds["internet"].values[:, ::3]
    np.testing.assert_allclose(_values(data)[1][real > 0.05], real[real > 0.05], rtol=0.01)


def test_milan_is_small_and_written_fast(tmp_path: Path) -> None:
    ds = traffic(context(n=100), days=7)
    webmap.write_map(ds, tmp_path / "milan.html")
    assert (tmp_path / "milan.html").stat().st_size < 4e6
    assert [p.name for p in tmp_path.iterdir()] == ["milan.html"]


# ---- layers ----


def _layer(data: dict[str, Any], name: str) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
    """A layer of the page, its values and shades, unpacked a second time."""
    layer = next(one for one in data["layers"] if one["name"] == name)
    raw = {key: zlib.decompress(base64.b64decode(layer[key])) for key in ("values", "shade")}
    return layer, np.frombuffer(raw["values"], "<f4"), np.frombuffer(raw["shade"], np.uint8)


def test_layers_hold_mean_busy_hour_and_range() -> None:
    ds = traffic(context(n=6), members=20, days=3, units="MB")
    data = _data(webmap.page(ds))
    assert [one["name"] for one in data["layers"]] == ["mean", "busy", "range"]
    real = ds["internet"].values.astype(float)
    layer, values, shade = _layer(data, "mean")
    np.testing.assert_allclose(values, real.mean(axis=(0, 2)), rtol=1e-5)
    assert (shade == 0).tolist() == (values == 0).tolist()  # the dead cell, and no other
    assert (np.diff(shade[np.argsort(values, kind="stable")].astype(int)) >= 0).all()  # more traffic, further along
    low, high = np.quantile(values[values > 0], (0.02, 0.995))
    for at, words in layer["ticks"]:  # what stands beside the ramp is where it says
        assert np.log(float(words) / low) / np.log(high / low) == pytest.approx(at, abs=0.01)
    layer, values, shade = _layer(data, "range")
    ends = np.quantile(real.mean(axis=2), (0.05, 0.95), axis=0)
    np.testing.assert_allclose(values, (ends[1] + 1e-12) / (ends[0] + 1e-12), rtol=1e-4)
    layer, values, shade = _layer(data, "busy")
    hours = (np.arange(72) + 0) % 24
    day = np.stack([real[:, :, hours == h].mean(axis=(0, 2)) for h in range(24)])
    np.testing.assert_array_equal(values, day.argmax(axis=0))
    assert layer["none"] == "members disagree, or no traffic"
    assert shade[3] == 0  # the dead cell has no busy hour
    assert "range" not in [one["name"] for one in _data(webmap.page(traffic()))["layers"]]


def test_a_what_if_has_its_difference_before_and_after() -> None:
    ds = traffic(days=2, units="GB")
    after = ds.internet.copy()
    after[5], after[7] = after[5] * 3, after[7] * 0.5
    both = ds.rename(internet="internet_before").assign(internet_after=after)
    data = _data(webmap.page(both))
    assert [one["name"] for one in data["layers"]] == ["difference", "before", "after", "highest", "busy"]
    _, values, shade = _layer(data, "difference")
    np.testing.assert_allclose(values, (after - ds.internet).mean("time"), rtol=1e-4, atol=1e-6)
    assert np.flatnonzero(shade).tolist() == [5, 7]  # grey: no change
    assert shade[5] > 128 > shade[7]
    np.testing.assert_allclose(_layer(data, "after")[1], after.mean("time"), rtol=1e-5)
    np.testing.assert_allclose(_layer(data, "highest")[1], after.max("time"), rtol=1e-5)
    np.testing.assert_allclose(data["total"]["mean"], after.sum("cell"), rtol=1e-5)  # what plays is after the change
    assert data["title"] == "Synthetic internet traffic of Milano, Łódź of the tests: what a change does"
    assert _data(webmap.page(both, title="Mine"))["title"] == "Mine"


# ---- no network, no injection ----

OWN = "document.title='owned'"
EVIL = f'</script><script>{OWN}</script><img src=x onerror="{OWN}">' + "{{page_js}}&amp;\u2028"


def _evil() -> xr.Dataset:
    ds = traffic(context("stations"))
    ids = np.array([f"{EVIL}{i}" for i in range(36)], dtype=object)
    ds = ds.assign_coords(cell_id=("cell", ids, ds["cell_id"].attrs))
    ds["internet"].attrs["units"] = EVIL
    return ds.assign_attrs(
        title=EVIL, place=EVIL, attribution=EVIL + " https://example.org/a", license=EVIL, warnings=EVIL
    )


def test_text_of_the_data_stays_text() -> None:
    page = webmap.page(_evil())
    assert page.count("<script") == 3  # the data, Leaflet, the page
    assert page.count("</script>") == 3
    assert "<img" not in page
    assert OWN not in page.split('id="data">')[0]
    data = _data(page)
    assert data["title"] == f"Synthetic internet traffic of {EVIL}"
    assert data["ids"][7] == f"{EVIL}7"


def test_the_page_can_load_nothing() -> None:
    page = webmap.page(traffic())
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    rules = dict(rule.split(" ", 1) for rule in policy[1].split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data:"
    scripts = re.findall(r"<script>(.*?)</script>", page, re.S)
    styles = re.findall(r"<style>(.*?)</style>", page, re.S)
    for kind, blocks in (("script-src", scripts), ("style-src", styles)):
        digests = [base64.b64encode(hashlib.sha256(block.encode()).digest()).decode() for block in blocks]
        assert rules[kind] == " ".join(f"'sha256-{digest}'" for digest in digests)  # these blocks and no others
    markup = re.sub(r"<(script|style)\b.*?</\1>|<!--.*?-->", "", page, flags=re.S)
    assert not re.findall(r"\b(?:src|href|action|data|poster|srcset)\s*=", markup)
    assert not re.findall(r"url\(|@import", "".join(styles))
    assert "sourceMappingURL" not in page
    own = scripts[1]
    assert not re.findall(r"\b(?:fetch|XMLHttpRequest|WebSocket|EventSource|sendBeacon|importScripts|innerHTML)\b", own)


def test_leaflet_is_carried_with_its_licence() -> None:
    page = webmap.page(traffic())
    assert "Leaflet 1.9.4" in page
    assert "BSD 2-Clause License" in page
    assert "Redistributions in binary form must reproduce" in page


def test_wrong_uses_are_named(tmp_path: Path) -> None:
    with pytest.raises(WrongUse, match=r"\.html"):
        webmap.write_map(traffic(), tmp_path / "map.png")
    with pytest.raises(WrongUse, match="no service 'sms' here, only internet"):
        webmap.write_map(traffic(), tmp_path / "map.html", service="sms")
    with pytest.raises(BadInput, match="no folder"):
        webmap.write_map(traffic(), tmp_path / "nowhere" / "map.html")
    assert list(tmp_path.iterdir()) == []


# ---- in a browser ----


def _browse(path: Path, address: str, folder: Path) -> str:
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    done = subprocess.run(
        [browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--hide-scrollbars",
         f"--user-data-dir={folder}", "--virtual-time-budget=4000", "--window-size=1200,800", "--dump-dom",
         f"{path.as_uri()}#{address}"],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    return done.stdout


def _text(dom: str, name: str) -> str:
    found = re.search(rf'id="{name}"[^>]*>(.*?)</', dom, re.S)
    assert found is not None
    return html.unescape(found[1])


def test_a_browser_shows_the_step_and_the_cell_of_the_address(tmp_path: Path) -> None:
    ds = traffic(context("cells"), members=10, units="MB", start="2013-10-26T22:00")
    webmap.write_map(ds, tmp_path / "map.html")
    name = ds["cell_id"].values[20]
    dom = _browse(tmp_path / "map.html", f"step=30&cell={name.replace(' ', '%20')}", tmp_path / "profile")
    assert 'data-ready="yes"' in dom
    # 22:00 UTC is midnight of Sunday 27 October; the clocks go back that night, so step 30 is Monday 05:00
    assert _text(dom, "when") == "Mon 28 Oct 2013, 05:00 (UTC+1)"
    assert _text(dom, "cell-name") == f"Cell {name}"
    shown = float(_text(dom, "cell-now").removesuffix(" MB").replace(",", ""))
    assert shown == pytest.approx(float(ds["internet"].values[:, 20, 30].mean()), rel=0.006)
    total = float(_text(dom, "total-now").removesuffix(" MB").replace(",", ""))
    assert total == pytest.approx(float(ds["internet"].values[:, :, 30].sum(axis=1).mean()), rel=0.006)
    assert dom.count('class="band"') == 2


def test_a_browser_switches_layers_and_answers_a_search(tmp_path: Path) -> None:
    ds = traffic(context("stations"), members=10, units="MB")
    webmap.write_map(ds, tmp_path / "map.html")
    page = (tmp_path / "map.html").read_text(encoding="utf-8")
    queries = ["no such one", "«17»", "MI-0", f"{float(ds.lat[20]):.6f}, {float(ds.lon[20]):.6f}", "0.5, 0.5"]
    script = """
    const find = (text) => {
      document.getElementById("find-id").value = text;
      document.getElementById("find").requestSubmit();
      return document.getElementById("find-answer").textContent;
    };
    const wait = setInterval(() => {
      if (document.body.dataset.ready !== "yes") return;
      clearInterval(wait);
      const out = document.createElement("pre");
      out.id = "answers";
      out.textContent = QUERIES.map(find).join("\\n");
      document.body.append(out);
    }, 20);
    """
    asked = script.replace("QUERIES", json.dumps(queries))
    # the tests' own script: the page's policy would refuse it, as it should
    page = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page)
    (tmp_path / "asked.html").write_text(page.replace("</body>", f"<script>{asked}</script></body>"), encoding="utf-8")
    dom = _browse(tmp_path / "asked.html", "layer=busy", tmp_path / "profile")
    answers = _text(dom, "answers").splitlines()
    assert answers[0] == "There is no station “no such one” among 36. Ids look like MI-000, «0»."
    assert answers[1] == "The only id with “«17»” in it: MI-017, «17»."
    assert answers[2].startswith("There is no station “MI-0” among 36. Ids that hold it: MI-000, «0», MI-001")
    assert answers[3].startswith("The nearest: station MI-020, «20», 0 m away")
    assert answers[4] == "No station within 50 km of 0.5, 0.5."
    assert _text(dom, "legend-title") == "Busiest hour of each station's mean day, local time"
    assert re.search(r'<option value="range">Range of the members</option>', dom)
    assert _text(dom, "cell-name") == "Station MI-020, «20»"


def test_a_browser_runs_nothing_that_the_data_say(tmp_path: Path) -> None:
    webmap.write_map(_evil(), tmp_path / "map.html")
    dom = _browse(tmp_path / "map.html", "step=3", tmp_path / "profile")
    assert 'data-ready="yes"' in dom
    assert "<title>owned" not in dom
    assert dom.count("<script") == 3
    assert "<img" not in dom


def test_small_volumes_are_shown_in_a_smaller_unit() -> None:
    ds = traffic()
    name = next(iter(ds.data_vars))
    ds[name] = xr.full_like(ds[name], 0.00025).assign_attrs(ds[name].attrs | {"units": "TB"})
    data = _data(webmap.page(ds))
    assert data["units"] == "MB"
    assert data["total"]["mean"][0] == pytest.approx(250 * ds.sizes["cell"], rel=1e-4)
    assert ds[name].attrs["units"] == "TB"  # the file is left alone


def _with_streets(kind: str = "grid") -> xr.Dataset:
    """Traffic near Milan with a main street across the cells, water beside it, and two names."""
    from gentraffic.dataset.basemap import basemap_coords
    from poi.basemap import CLASSES
    from poi.elements import BaseMap

    ds = traffic(context(kind))
    west, east, south, north = (round(float(f(ds[a])) * 1e5) for a in ("lon", "lat") for f in (np.min, np.max))
    pond = [[west, south], [west, north], [east, south], [west, south]]
    base = BaseMap(
        np.array([CLASSES.index("water"), CLASSES.index("main")], dtype=np.int8), np.array([4, 2], dtype=np.int32),
        np.array([*pond, [west, south], [east, north]], dtype=np.int32), ("Quartiere", "Milano </script>"),
        np.array([4, 0], dtype=np.int8), np.array([[west, south], [east, north]]) * 1e-5,
    )  # fmt: skip
    return ds.assign_coords(basemap_coords(base))


def test_streets_decode_to_the_map_of_the_file() -> None:
    from gentraffic.dataset.basemap import basemap_of

    ds = _with_streets()
    base, data = basemap_of(ds), _data(webmap.page(ds))["base"]
    assert base is not None
    assert data["classes"] == [["water", 1], ["main", 1]]
    assert _unpack(data["sizes"], "<i4").tolist() == [4, 2]
    points = np.array(data["origin"])[:, None] + np.cumsum(_unpack(data["points"], "<i4").reshape(2, -1), axis=1)
    np.testing.assert_array_equal(points.T, base.at)
    assert [name[:2] for name in data["names"]] == [["Milano </script>", "city"], ["Quartiere", "neighbourhood"]]
    assert _data(webmap.page(traffic()))["base"] is None


def test_a_browser_draws_streets_and_follows_the_keyboard(tmp_path: Path) -> None:
    ds = _with_streets()
    page = webmap.page(ds)
    script = """
    const inked = (canvas) => canvas ? canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data
      .reduce((sum, v, i) => sum + (i % 4 === 3 && v > 0), 0) : -1;
    const wait = setInterval(() => {
      if (document.body.dataset.ready !== "yes") return;
      clearInterval(wait);
      const out = document.createElement("pre"), box = document.getElementById("map"), said = [];
      const pane = (name) => document.querySelector(`.leaflet-${name}-pane canvas`);
      const canvases = () => ["areas", "lines"].map((name) => inked(pane(name)));
      const press = (key, shiftKey) =>
        box.dispatchEvent(new KeyboardEvent("keydown", { key, shiftKey, bubbles: true }));
      said.push(canvases().map((n) => n > 500).join());
      document.getElementById("streets").click();
      said.push(canvases().join());
      press("Enter", false);
      said.push(document.getElementById("cell-name").textContent);
      press("ArrowUp", true);
      said.push(document.getElementById("cell-name").textContent);
      press("ArrowLeft", true);
      said.push(document.getElementById("find-answer").textContent);
      for (let i = 0; i < 9; i++) press("ArrowLeft", true);
      said.push(document.getElementById("find-answer").textContent);
      out.id = "answers";
      out.textContent = said.join("\\n");
      document.body.append(out);
    }, 20);
    """
    page = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page)
    (tmp_path / "asked.html").write_text(page.replace("</body>", f"<script>{script}</script></body>"), encoding="utf-8")
    answers = _text(_browse(tmp_path / "asked.html", "", tmp_path / "profile"), "answers").splitlines()
    assert answers[:2] == ["true,true", "-1,-1"]
    middle, above = (int(answer.removeprefix("Cell ")) for answer in answers[2:4])
    assert middle in (15, 16, 21, 22)  # of 6 x 6 cells, row by row from the south
    assert above == middle + 6
    assert answers[4].startswith(f"Cell {above - 1}: ")
    assert answers[5] == "There is no cell further that way."


def test_measured_cells_have_an_outline_that_the_legend_explains(tmp_path: Path) -> None:
    ds = traffic()
    steps = np.zeros(ds.sizes["cell"], dtype=np.int32)
    steps[:2] = ds.sizes["time"], 5
    script = """
    const wait = setInterval(() => {
      if (document.body.dataset.ready !== "yes") return;
      clearInterval(wait);
      const out = document.createElement("pre"), row = document.getElementById("measured-row");
      const said = [row.hidden, row.textContent.trim()];
      for (const c of [0, 1, 2]) { setCell(c); said.push(document.getElementById("cell-facts").textContent); }
      out.id = "answers";
      out.textContent = said.join("|");
      document.body.append(out);
    }, 20);
    """
    page = webmap.page(ds.assign_coords(measured_steps=("cell", steps)))
    page = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page)
    (tmp_path / "asked.html").write_text(page.replace("</body>", f"<script>{script}</script></body>"), encoding="utf-8")
    hidden, legend, *facts = _text(_browse(tmp_path / "asked.html", "", tmp_path / "profile"), "answers").split("|")
    assert (hidden, legend) == ("false", "measured, at least in part; all others are drawn")
    assert [fact.rpartition(": ")[2] for fact in facts] == [
        "measured.",
        "measured in part, drawn in its gaps.",
        "drawn.",
    ]
    assert 'id="measured-row" hidden' in webmap.page(traffic())


def test_water_is_a_plain_wash_that_the_legend_explains(tmp_path: Path) -> None:
    ds = _with_streets()
    script = """
    const wait = setInterval(() => {
      if (document.body.dataset.ready !== "yes") return;
      clearInterval(wait);
      const out = document.createElement("pre"), row = document.getElementById("water-row");
      const canvas = [...document.querySelectorAll(".leaflet-lines-pane canvas")][0];
      const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data, count = {};
      for (let i = 3; i < pixels.length; i += 4) if (pixels[i]) count[pixels[i]] = (count[pixels[i]] || 0) + 1;
      const most = Object.entries(count).sort((a, b) => b[1] - a[1])[0];
      const drawn = Object.values(count).reduce((a, b) => a + b, 0);
      const said = [row.hidden, row.textContent.trim(), most[0], most[1] > 0.8 * drawn];
      document.getElementById("streets").click();
      out.id = "answers";
      out.textContent = [...said, row.hidden].join("|");
      document.body.append(out);
    }, 20);
    """
    page = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", webmap.page(ds))
    (tmp_path / "asked.html").write_text(page.replace("</body>", f"<script>{script}</script></body>"), encoding="utf-8")
    said = _text(_browse(tmp_path / "asked.html", "", tmp_path / "profile"), "answers").split("|")
    assert said[:2] == ["false", "water, over the colours of the cells"]
    assert said[2:] == ["158", "true", "true"]  # one opacity, 0.62 of 255: no lines are ruled
    assert 'id="water-row" hidden' in webmap.page(traffic())
