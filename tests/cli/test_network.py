"""`gentraffic sample --city "Trento, Italy"` against a Nominatim and an Overpass of our own on loopback."""

from pathlib import Path

import pytest
import xarray as xr
from osm_server import CITY, Reply, Server, answer, cafe, ok

from gentraffic.cli.main import run
from gentraffic.generators.base import MODELS

pytestmark = pytest.mark.skipif(not (MODELS / "stouter-base").is_dir(), reason="no bundled model in this checkout")
TRENTO = ["sample", "--city", "Trento, Italy", "--days", "1", "--steps", "2", "--quiet", "-o"]


def test_a_place_name_in_and_traffic_out(server: Server, shared_data: Path, tmp_path: Path) -> None:
    recorded = (shared_data / "osm" / "trento-centre.overpass.json").read_bytes()
    server.script = [ok([CITY]), ok(recorded)]
    assert run([*TRENTO, str(tmp_path / "trento.nc")]) == 0
    with xr.open_dataset(tmp_path / "trento.nc") as ds:
        assert ds.attrs["timezone"] == "Europe/Rome"
        assert ds.attrs["osm_snapshot"] == "2026-04-25T14:28:45Z"
        assert ds.sizes["time"] == 24
        assert 200 < ds.sizes["cell"] < 400  # 4 x 4 km in cells of 250 m
        assert float(ds.traffic.mean()) == pytest.approx(1.0, abs=0.6)
    again = tmp_path / "again.nc"
    assert run([*TRENTO, str(again), "--offline"]) == 0  # from the cache
    with xr.open_dataset(again) as a, xr.open_dataset(tmp_path / "trento.nc") as b:
        assert (a.traffic.values == b.traffic.values).all()


@pytest.mark.parametrize(
    ("script", "code", "says"),
    [
        ([ok([])], 3, "Trento, Italy"),
        ([ok([CITY]), ok(answer())], 3, "no points of interest"),
        ([ok([CITY]), *[(429, b"", {})] * 9], 4, "429"),
        ([ok([CITY]), *[(504, b"", {})] * 9], 4, "504"),
        ([ok([CITY]), *[ok(answer(cafe(1), remark="runtime error: timed out"))] * 9], 4, "timed out"),
        ([ok([CITY]), *[ok(b'{"elements": [{"type": "no')] * 9], 4, "answer"),
    ],
)
def test_servers_that_fail_end_in_one_line(
    server: Server, script: list[Reply], code: int, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.script = list(script)
    assert run([*TRENTO, str(tmp_path / "x.nc")]) == code
    err = capsys.readouterr().err
    assert len(err.strip().splitlines()) == 1, err
    assert says in err
    assert not (tmp_path / "x.nc").exists()
