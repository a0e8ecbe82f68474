"""The report: what it says is what the file holds, one page, no request; and the numbers of an ensemble behind it."""

from __future__ import annotations

import html
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from traffic_examples import context, traffic

from gentraffic.cli.main import run
from gentraffic.dataset.schema import local_time
from gentraffic.dataset.summary import summary
from gentraffic.dataset.units import readable
from gentraffic.errors import BadModel, WrongUse
from gentraffic.generators.base import MODELS
from gentraffic.io.files import write_traffic
from gentraffic.reports.change import change_pair
from gentraffic.reports.model_summary import find_model
from gentraffic.reports.traffic import page
from gentraffic.reports.traffic_figures import typical_week
from gentraffic.reports.traffic_text import amount, number

needs_model = pytest.mark.skipif(not (MODELS / "stouter-base").is_dir(), reason="no bundled model in this checkout")


def words(text: str) -> str:
    """What a reader sees of a page, in one line."""
    body = re.sub(r"<style>.*?</style>|<svg.*?</svg>", " ", text, flags=re.DOTALL)
    return html.unescape(" ".join(re.sub(r"<[^>]*>", " ", body).split()))


def ensemble(members: int = 12, units: str = "GB", kind: str = "grid", days: int = 8) -> xr.Dataset:
    ds = traffic(context(kind, 5), members=members, days=days, units=units)
    by_member = xr.DataArray(np.linspace(0.5, 2.0, members), dims="member")
    ds["internet"] = (ds.internet * by_member).astype(np.float32).assign_attrs(ds.internet.attrs)
    return ds


# --- the numbers ------------------------------------------------------------------------------------------------------


def test_summary_against_plain_loops() -> None:
    ds = ensemble(11, days=3).isel(time=slice(0, 65))
    found = summary(ds, "internet", capacity=4.0)
    hours = np.asarray(local_time(ds).hour)
    for i in (0, 3, 17):
        values = ds.internet.values[:, i].astype(float)
        assert found["mean"].values[i] == pytest.approx(values.mean())
        assert found["peak"].values[i] == pytest.approx(values.max(axis=1).mean())
        day = [values[:, hours == h].mean() for h in range(24)]
        assert found["busy_hour"].values[i] == int(np.argmax(day))
        assert found["busy_mean"].values[i] == pytest.approx(max(day))
        for word, share in (("p05", 0.05), ("p50", 0.5), ("p95", 0.95)):
            assert found[f"mean_{word}"].values[i] == pytest.approx(np.quantile(values.mean(axis=1), share))
            assert found[f"peak_{word}"].values[i] == pytest.approx(np.quantile(values.max(axis=1), share))
        assert found["time_above"].values[i] == pytest.approx((values > 4).mean())
        assert found["p_above"].values[i] == pytest.approx((values.max(axis=1) > 4).mean())
    assert (found["p_above"].values >= found["time_above"].values).all()


def test_the_typical_week_is_the_mean_by_hour_of_the_week() -> None:
    hour = np.array([0, 1, 0, 1, 5])
    got = typical_week(np.array([[1.0, 2.0, 3.0, 4.0, 9.0]]), hour)
    assert got.shape == (1, 168)
    np.testing.assert_array_equal(got[0, [0, 1, 5]], [2.0, 3.0, 9.0])
    assert np.isnan(got[0, 2])


# --- the page ---------------------------------------------------------------------------------------------------------


class Refers(HTMLParser):
    """Collects whatever a page would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("src", "href", "xlink:href") and value and not value.startswith(("#", "data:")):
                self.found.append(f"{tag} {name}={value}")
        assert tag not in ("script", "iframe", "link", "object")


@needs_model
@pytest.mark.parametrize("kind", ["cells", "stations"])
def test_the_page_says_what_the_file_holds(kind: str) -> None:
    ds = ensemble(kind=kind)
    model = json.loads((MODELS / "stouter-base" / "provenance.json").read_text())
    from gentraffic.generators.base import read_folder

    ds = ds.assign_attrs(model="stouter-base", model_sha256=read_folder("stouter-base").sha256, seed=7)
    text, titles = page(ds, capacity="40Mbit/s")
    seen = words(text)
    per_day = float(ds.internet.sum(dtype="f8")) / 12 / 8
    for part in (
        amount(per_day, "GB"), "per mean day", "12 plausible draws", "Europe/Rome", "central 90% of 12 members",
        "Milano, Łódź of the tests", "© OpenStreetMap contributors", "ODbL-1.0", "not measured", "40Mbit/s",
        "Not a privacy mechanism", "second line, “quoted” & <tagged>", "Shandong, China", "pytest",
    ):  # fmt: skip
        assert part in seen, part
    scores = model["metrics"].get("stouter", {})  # none where no location was held out, and no evidence was given
    assert all(f"{found['coverage_90']:.0%}" in seen for found in scores.values())
    assert not re.search(r"uomo-|milan-5x5", seen)  # code names of networks are for programs
    busiest = str(ds.cell_id.values[int(summary(ds, "internet")["mean"].values.argmax())])
    assert busiest in seen
    assert titles[-1] == "What to trust and what not"
    assert text.count("<svg") == 5
    refers = Refers()
    refers.feed(text)
    assert refers.found == []
    assert "default-src 'none'" in text
    assert "@media print" in text
    assert "{{" not in text


def test_every_page_of_a_private_model_says_what_is_promised(tmp_path: Path) -> None:
    from gentraffic.evaluation.evaluate import evaluate
    from gentraffic.reports import evaluation, plot, webmap

    ds = ensemble(units="MB").assign_attrs(
        privacy_epsilon=7.984,
        privacy_delta=1e-5,
        privacy_unit="one cell <with> all its days",
        privacy_adjacency="add one",
    )
    real = ds.isel(member=0).drop_vars("member")
    real.attrs = {k: v for k, v in real.attrs.items() if not k.startswith("privacy")}
    pages = [
        page(ds)[0],
        evaluation.page(evaluate(real, ds), real, files={}, attributions=[real, ds]),
        webmap.page(ds),
    ]
    for text in pages:
        for part in ("epsilon 7.98", "delta 1e-05", "one cell &lt;with&gt; all its days", "adjacency: add one"):
            assert part in text, part
    assert "epsilon" not in page(real)[0]
    figure = plot.draw(ds)
    assert any("epsilon 7.98" in text.get_text() for text in figure.texts)


def test_the_busy_hour_is_grey_where_members_disagree() -> None:
    from gentraffic.reports.traffic_figures import level_panels

    ds = traffic(context("grid", 2), members=10, days=2)
    shape = np.zeros((10, 4, 48), dtype=np.float32) + 1
    hours = np.asarray(local_time(ds).hour)
    for member in range(10):
        for cell, peak in enumerate((9, 9 + member % 2, 9 if member < 6 else 20, 2 * member)):
            shape[member, cell, hours == peak] = 5
    ds["internet"] = (("member", "cell", "time"), shape, ds.internet.attrs)
    found = summary(ds, "internet")
    np.testing.assert_allclose(found["busy_agreement"], [1.0, 1.0, 0.6, 0.2], atol=0.11)
    shown = level_panels(found, "1", None)[1].values
    assert np.isnan(shown).tolist() == [False, False, False, True]
    assert shown[0] == 9.5


@pytest.mark.parametrize(("days", "hours", "names"), [(3, 72, 3), (9, 168, 7), (1, 24, 1)])
def test_the_axis_of_a_typical_week_is_as_long_as_the_file(days: int, hours: int, names: int) -> None:
    from gentraffic.reports.traffic_figures import week_hours

    ds = traffic(context("grid", 2), days=days)  # from Friday 1 November, 0h
    index = week_hours(ds)
    assert len(index) == hours
    assert index[0] == (0 if names == 7 else 4 * 24)
    assert len(np.unique(index // 24)) == names


def test_markup_in_the_data_stays_text() -> None:
    evil = """</title></script><script>alert(1)</script><img src=x onerror="alert(1)">{{ 7 * 7 }}{% raw %}'"""
    ds = ensemble()
    ds = ds.assign_coords(cell_id=("cell", np.array([f"{evil}{i}" for i in range(25)], dtype=object)))
    ds["internet"].attrs["units"] = evil
    names = ("title", "place", "attribution", "license", "warnings", "command", "osm_source", "rhythm", "privacy_unit",
             "privacy_adjacency")  # fmt: skip
    ds = ds.assign_attrs(dict.fromkeys(names, evil) | {"privacy_epsilon": 1.0})
    text = page(ds)[0]
    refers = Refers()  # which fails for a script
    refers.feed(text)
    assert refers.found == []
    assert "<img src" not in text
    assert "{{ 7 * 7 }}" in html.unescape(text)  # nothing of the data is run as a template
    assert f"Cellular traffic of {evil}" in html.unescape(text)


def test_notes_are_folded_and_attribution_is_whole() -> None:
    credit = "© someone; " * 60 + "the last of them"
    text = page(ensemble().assign_attrs(attribution=credit))[0]
    assert credit in html.unescape(text)
    folded = re.search(r'<details class="notes">.*?</details>', text, re.DOTALL)
    assert folded
    assert "first line" in folded[0]
    assert "second line" in folded[0]


def test_one_member_relative_traffic_and_one_cell_are_said_so() -> None:
    single = words(page(traffic(days=7))[0])
    assert "relative: 1 is what the mean cell carries" in single
    assert "--members 20" in single
    one = traffic(context("stations", 3), days=7).isel(cell=slice(0, 1))
    text, titles = page(one)
    assert "one station" in words(text)
    assert "Where the traffic is" not in titles


def test_measured_traffic_is_not_called_synthetic() -> None:
    ds = traffic(days=7, units="MB")
    for name in ("model", "model_sha256"):
        del ds.attrs[name]
    seen = words(page(ds)[0])
    assert "Measured traffic" in seen
    assert "ynthetic" not in seen


def test_a_mean_day_is_a_local_day_also_when_the_clocks_change() -> None:
    ds = traffic(context("grid", 3), days=3, start="2026-10-23T22:00", units="GB").isel(
        time=slice(0, 49)
    )  # 24 + 25 hours
    assert amount(float(ds.internet.sum(dtype="f8")) / 2, "GB") in words(page(ds)[0])


def test_a_what_if_shows_the_difference() -> None:
    ds = traffic(days=7, units="GB")
    after = ds.internet.copy()
    after[5] = after[5] * 2
    both = ds.rename(internet="internet_before").assign(internet_after=after)
    both.attrs |= {"change_summary": "mall: +90 points of interest in 1 cell", "change_reach": "nothing beyond 12 km"}
    assert change_pair(both, None) == ("internet_before", "internet_after")
    assert change_pair(both, "internet") == ("internet_before", "internet_after")
    assert change_pair(ds, None) is None
    text, titles = page(both)
    seen = words(text)
    assert titles[0] == "What the change does"
    gain = float(ds.internet.values[5].sum(dtype=float) / ds.internet.values.sum(dtype=float))
    cards = words(text[text.index('class="cards"') : text.index("</ul>")])  # the first three numbers of the page
    assert f"The whole area {gain:+.2%}" in cards
    mean = float(ds.internet.values[5].mean(dtype=float))
    assert f"Changes most: cell {ds.cell_id.values[5]} +{number(mean)} GB" in cards
    assert f"in the mean: {number(mean)} to {number(2 * mean)} GB, +100%" in cards
    busiest = local_time(ds)[int(both.internet_after.values.sum(axis=0).argmax())]
    assert f"Busiest hour of the area {busiest:%a %H:%M}" in cards
    assert "mall: +90" in seen
    assert "1 of 36 cells change, 1 of them by more than 5%" in seen
    level = float(ds.internet.values[5].mean(dtype=float))
    assert f"{number(level)} {number(2 * level)} +{number(level)} +100%" in seen


def test_ranges_are_checked_against_measurements() -> None:
    rng = np.random.default_rng(0)
    drawn = traffic(context("grid", 6), days=7, members=20, units="GB")
    base = traffic(context("grid", 6), days=7, units="GB")
    truth = (base.internet.values + 5.0)[None] * rng.lognormal(0, 0.3, (21, 36, 168))  # exchangeable
    drawn["internet"] = (("member", "cell", "time"), truth[:20].astype(np.float32), drawn.internet.attrs)
    real = base.copy()
    real["internet"] = (("cell", "time"), truth[20].astype(np.float32), base.internet.attrs)
    seen = words(page(drawn, real=real)[0])
    assert "Against measurements of 36 of the cells" in seen
    match = re.search(r"real values in the central 90% (0\.\d+)", seen)
    assert match
    assert float(match[1]) == pytest.approx(0.9, abs=0.01)


@needs_model
def test_the_card_must_be_that_of_the_model(tmp_path: Path) -> None:
    ds = ensemble().assign_attrs(model="stouter-base", model_sha256="0" * 64)
    drew = find_model(ds)
    assert drew is not None
    assert "not the version" in drew.note
    with pytest.raises(BadModel, match="not the model"):
        find_model(ds, "stouter-base")
    unknown = find_model(ds.assign_attrs(model="mine"))
    assert unknown is not None
    assert "--model" in unknown.note


def test_the_command_writes_one_file_or_says_why_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_traffic(traffic(days=7), tmp_path / "t.nc")
    assert run(["report", str(tmp_path / "t.nc"), "-o", str(tmp_path / "r.html"), "--json"]) == 0
    assert "Typical weeks" in json.loads(capsys.readouterr().out)["sections"]
    assert run(["report", str(tmp_path / "t.nc"), "-o", str(tmp_path / "r.pdf")]) == 2
    with pytest.raises(WrongUse, match="relative"):
        page(traffic(), capacity="40Mbit/s")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["r.html", "t.nc"]


def test_numbers_are_readable() -> None:
    assert [number(v) for v in (0.0, 0.012345, 1.2345, 123.4, 12345.6, 2.5e7)] == [
        "0",
        "0.0123",
        "1.23",
        "123",
        "12,300",
        "25M",
    ]


def test_amounts_come_in_units_that_can_be_read() -> None:
    assert [amount(v, "GB") for v in (0.5, 999.0, 1500.0, 4e5)] == ["0.5 GB", "999 GB", "1.5 TB", "400 TB"]
    assert amount(5000.0, "apples") == "5,000 apples"
    ds = traffic(days=7, units="TB")
    ds["internet"] = (ds.internet * np.float32(1e-5)).assign_attrs(ds.internet.attrs)
    both = readable(ds.assign(quiet=(ds.internet * np.float32(1e-3)).assign_attrs(ds.internet.attrs)))
    units = both.internet.attrs["units"]
    assert units in ("MB", "GB")
    assert both.quiet.attrs["units"] == units  # a pair of before and after must not fall apart
    assert 1 <= float(both.internet.mean("time").max()) < 1000
    np.testing.assert_allclose(both.internet, ds.internet * {"GB": 1e3, "MB": 1e6}[units], rtol=1e-6)
    assert readable(traffic(days=7)).internet.attrs["units"] == "1"


def test_the_scale_bar_of_cells_of_ones_own_is_in_metres() -> None:
    """Milan's cells lie on a lattice of 235 m without being called a grid: a third of 5 x 235 m is 200 m."""
    grid = traffic(context("grid", 5), days=7)
    from gentraffic.dataset.geometry import cell_shapes, footprint_text

    own = grid.assign_coords(footprint=("cell", footprint_text(cell_shapes(grid)))).assign_attrs(kind="cells")
    del own.attrs["cell_m"]
    for ds in (grid, own):
        assert ">200 m<" in page(ds)[0]


@pytest.mark.parametrize("kind", ["turned", "oblong", "stations"])
def test_rows_and_columns_that_make_no_upright_squares_are_no_reason_to_fail(kind: str) -> None:
    """An operator's cells may lie turned, or be laid in degrees; a table's rows and columns may mean anything."""
    import pyproj
    import shapely

    from gentraffic.dataset.geometry import footprint_text
    from gentraffic.reports.evaluation_figures import places

    ds = traffic(context("grid", 6), days=7)
    east, north = ds["col"].values - 2.5, ds["row"].values - 2.5
    wide, turn = (235.0, 0.3) if kind == "turned" else (500.0, 0.0)
    corner = wide / 2 * np.array([-1, 1, 1, -1]), 235.0 / 2 * np.array([-1, -1, 1, 1])
    along, up = wide * east[:, None] + corner[0], 235.0 * north[:, None] + corner[1]
    x, y = (502_000 + np.cos(turn) * along - np.sin(turn) * up, 5_024_000 + np.sin(turn) * along + np.cos(turn) * up)
    lon, lat = pyproj.Transformer.from_crs(ds.attrs["crs_wkt"], "EPSG:4326", always_xy=True).transform(x, y)
    shapes = shapely.polygons(np.stack([lon, lat], axis=-1))
    centre = {name: ("cell", v.mean(1)) for name, v in (("x", x), ("y", y), ("lon", lon), ("lat", lat))}
    own = ds.assign_coords(centre).assign_attrs(kind="cells")
    del own.attrs["cell_m"]
    if kind == "stations":
        own.attrs["kind"] = "stations"
    else:
        own = own.assign_coords(footprint=("cell", footprint_text(shapes)))
        drawn = places(own, np.arange(36))
        assert drawn.shapes is not None  # as they are, neither straightened nor squeezed
        np.testing.assert_allclose(shapely.area(drawn.shapes), wide * 235.0, rtol=1e-3)
    text = page(own)[0]
    assert re.search(r">\d+ k?m<", text) if kind != "stations" else "Where the traffic is" in text


def test_water_under_the_maps_is_a_plain_wash_that_the_caption_explains() -> None:
    from gentraffic.dataset.basemap import basemap_coords
    from poi.basemap import CLASSES
    from poi.elements import BaseMap

    ds = ensemble(2, days=7)
    west, east, south, north = (round(float(f(ds[a])) * 1e5) for a in ("lon", "lat") for f in (np.min, np.max))
    ring = np.array([[west, south], [west, north], [east, south], [west, south]], dtype=np.int32)

    def told(name: str) -> str:
        base = BaseMap(np.array([CLASSES.index(name)], dtype=np.int8), np.array([4], dtype=np.int32), ring)
        return str(page(ds.assign_coords(basemap_coords(base))))

    wet, dry = told("water"), told("park")
    assert "Pale blue: water, over the colours of the cells." in words(wet)
    assert "fill: #96bede" in wet
    assert "<pattern" not in wet  # nothing is ruled
    assert "Pale blue" not in words(dry)
    assert "#96bede" not in dry


def test_the_report_of_a_plan_speaks_of_the_plan() -> None:
    ds = traffic(context("grid", 5), days=7).rename(internet="awake")
    ds["awake"] = ds["awake"].round().assign_attrs(ds["awake"].attrs | {"units": "radio units"})
    ds = ds.assign_attrs(source="a plan of `gentraffic plan sleep`", model="stouter-fast", place="Linz")
    content, titles = page(ds)
    told = words(content)
    assert "Awake radio units of Linz" in told
    assert "It was computed from traffic, and is no traffic itself." in told
    assert "What a plan, from synthetic traffic: awake, radio units" in told
    assert "Where they are" in titles
    for word in ("Cellular traffic", "A model drew this traffic", "draw --members 20", "busy hours are a guess"):
        assert word not in told, word
