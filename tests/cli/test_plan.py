"""`gentraffic plan` as a planner meets it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from traffic_examples import context, traffic

from gentraffic.cli.main import run
from gentraffic.io.files import read_traffic, write_context, write_traffic
from gentraffic.planning.sleep import SleepCosts, sleep_outcome


@pytest.fixture
def files(tmp_path: Path) -> Path:
    cells = context(n=3)
    write_traffic(traffic(cells, days=7, members=3), tmp_path / "drawn.nc")
    write_traffic(traffic(cells, days=7, seed=2, units="MB"), tmp_path / "real.nc")
    write_traffic(traffic(cells, days=14, seed=3, start="2013-10-17T22:00", units="MB"), tmp_path / "past.nc")
    write_context(cells, tmp_path / "context.nc")
    return tmp_path


def told(capsys: pytest.CaptureFixture[str], words: list[str]) -> dict[str, Any]:
    assert run([*words, "--json"]) == 0, capsys.readouterr().err
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_sleep_is_judged_by_real_traffic(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["plan", "sleep", str(files / "drawn.nc"), "-o", str(files / "awake.nc"), "--capacity", "5"]
    words += ["--real", str(files / "real.nc"), "--history", str(files / "past.nc"), "--map", str(files / "awake.html")]
    found = told(capsys, words)
    costs = {name: o["total"] for name, o in found["outcomes"].items()}
    assert set(costs) == {"this file", "real (hindsight)", "history", "all awake"}
    assert all(costs["real (hindsight)"] <= cost + 1e-6 for cost in costs.values())
    awake = read_traffic(files / "awake.nc")
    assert awake.awake.attrs["units"] == "radio units"
    real = read_traffic(files / "real.nc").internet.values.astype(np.float64)
    again = sleep_outcome(np.rint(awake.awake.values).astype(np.int64), real, SleepCosts(4, 5.0))
    assert again.total == pytest.approx(costs["this file"])
    assert (files / "awake.html").stat().st_size > 10_000
    assert any("scaled to the mean" in note for note in found["notes"])  # drawn is relative, real is in MB
    assert any("same slots of the week" in note for note in found["notes"])


def test_prb_summary_reads_back(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["plan", "prb", str(files / "drawn.nc"), "-o", str(files / "blocks.geojson"), "--slots", "4"]
    words += ["--start", "2013-11-01T10:00", "--prbs", "40", "--real", str(files / "real.nc"), "--select", "1,2,3,5"]
    found = told(capsys, words)
    totals = {name: o["total"] for name, o in found["outcomes"].items()}
    assert totals["real (hindsight)"] <= min(totals.values()) * 1.011  # 1% gap
    frame = gpd.read_file(files / "blocks.geojson")
    assert frame.cell_id.tolist() == [1, 2, 3, 5]
    assert frame.blocks_mean.sum() <= 40
    assert frame.geometry.iloc[0].geom_type == "Polygon"


def test_deploy_beats_pois_alone_and_reads_back(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["plan", "deploy", str(files / "drawn.nc"), "-o", str(files / "sites.geojson"), "--sites", "2"]
    words += ["--radius", "150", "--context", str(files / "context.nc"), "--map", str(files / "sites.html")]
    found = told(capsys, words)
    outcome = found["outcomes"]
    assert outcome["this file"]["coverage"] >= outcome["POIs alone"]["coverage"]
    day = read_traffic(files / "drawn.nc").internet.mean(("member", "time")).values
    assert outcome["this file"]["coverage"] == pytest.approx(np.sort(day)[-2:].sum() / day.sum(), abs=1e-4)
    frame = gpd.read_file(files / "sites.geojson")
    assert sorted(frame["id"].astype(int)) == sorted((np.argsort(day)[-2:] + 1).tolist())
    page = (files / "sites.html").read_text(encoding="utf-8")
    assert '"markers":[[' in page
    assert "2 new sites and the traffic" in page


def test_deploy_with_costs_and_existing_sites(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cells = context(n=3)
    frame = pd.DataFrame({"lon": cells.lon.values, "lat": cells.lat.values, "cost": np.arange(9) + 1.0})
    frame.to_csv(files / "roofs.csv", index=False)
    frame.iloc[:1].to_csv(files / "old.csv", index=False)
    words = ["plan", "deploy", str(files / "drawn.nc"), "-o", str(files / "s.parquet"), "--budget", "6"]
    words += ["--candidates", str(files / "roofs.csv"), "--existing", str(files / "old.csv"), "--radius", "150"]
    found = told(capsys, words)
    sites = gpd.read_parquet(files / "s.parquet")
    assert sites.cost.sum() <= 6
    assert "1" not in sites["id"].tolist()  # the standing site's cell needs no second one
    assert found["outcomes"]["as it stands"]["coverage"] < found["outcomes"]["this file"]["coverage"]


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["sleep", "drawn.nc", "-o", "a.nc", "--units", "1", "--capacity", ".1", "--serve", "1"], 3, "--serve 1: cell"),
        (["sleep", "drawn.nc", "-o", "a.nc", "--serve", ".1", "--pool", "2"], 3, "raise --pool"),
        (["sleep", "drawn.nc", "-o", "a.nc", "--units", "0"], 2, "--units 0"),
        (["prb", "drawn.nc", "-o", "a.nc", "--prbs", "10"], 3, "each of the 9 cells needs one"),
        (["prb", "drawn.nc", "-o", "a.nc", "--start", "2019-01-01"], 2, "change --start or --slots"),
        (["deploy", "drawn.nc", "-o", "a.geojson"], 2, "one of --sites and --budget"),
        (["deploy", "drawn.nc", "-o", "a.geojson", "--sites", "1", "--candidates", "context.nc"], 5, "context.nc"),
        (["deploy", "drawn.nc", "-o", "a.nc", "--sites", "1"], 2, "suffix"),
        (["sleep", "none.nc", "-o", "a.nc"], 5, "none.nc"),
    ],
)
def test_one_line_says_what_is_wrong(
    files: Path, words: list[str], code: int, says: str, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.chdir(files)
    got = run(["plan", *words])
    err = capsys.readouterr().err
    assert (got, says in err, len(err.strip().splitlines())) == (code, True, 1), err
    assert not (files / words[3]).exists()


def test_standing_sites_are_read_as_stations_are(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A planner's table: other names, decimal commas, three sectors for each mast, and a row that lies at 0,0."""
    cells = context(n=3)
    lines = ["SITE;X;Y;AZ"]
    for mast in (0, 4):
        at = f"{cells.lon.values[mast]:.6f};{cells.lat.values[mast]:.6f}".replace(".", ",")
        lines += [f"MT{mast}-{k};{at};{120 * k}" for k in range(3)]
    lines.append("MT9-0;0,0;0,0;0")
    (files / "sites.csv").write_text("\n".join(lines) + "\n")
    words = ["plan", "deploy", str(files / "drawn.nc"), "-o", str(files / "s.geojson"), "--sites", "1"]
    words += ["--radius", "150"]
    words += ["--existing", str(files / "sites.csv"), "--columns", "id=SITE,lon=X,lat=Y", "--decimal", "comma"]
    found = told(capsys, [*words, "--map", str(files / "s.html")])
    notes = " ".join(found["notes"])
    assert "6 rows are the sectors of 2 masts; a mast counts as one site" in notes
    assert "row 8 (id MT9-0) is at 0,0, where nothing is: left out" in notes  # as a spreadsheet counts
    page = (files / "s.html").read_text(encoding="utf-8")
    assert page.count('"existing",150') == 2  # markers
    day = read_traffic(files / "drawn.nc").internet.mean(("member", "time")).values
    assert found["outcomes"]["as it stands"]["coverage"] == pytest.approx(day[[0, 4]].sum() / day.sum(), abs=1e-3)
