"""`import gentraffic` as a person uses it: the same bits as the command line, light imports, examples that run."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import gentraffic
from gentraffic.api.sampling import draw
from gentraffic.cli.main import run
from gentraffic.errors import BadModel, WrongUse
from gentraffic.generate.run import Request
from gentraffic.generators.base import MODELS
from gentraffic.places.query import PlaceQuery

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(not (MODELS / "stouter-base").is_dir(), reason="no bundled model in this checkout")


def test_the_function_and_the_command_draw_the_same_bits(tmp_path: Path) -> None:
    words = ["--city", "monaco", "--days", "1", "--steps", "2", "--seed", "5", "--members", "2"]
    assert run(["sample", *words, "--total", "internet=3TB/day", "-o", str(tmp_path / "m.nc"), "--quiet"]) == 0
    drawn = gentraffic.sample("Monaco", days=1, steps=2, seed=5, members=2, total="internet=3TB/day")
    written = gentraffic.read_traffic(tmp_path / "m.nc")
    np.testing.assert_array_equal(drawn.internet.values, written.internet.values)
    assert {k: v for k, v in drawn.attrs.items() if k != "command"} == {
        k: v for k, v in written.attrs.items() if k != "command"
    }


def test_a_context_a_model_and_some_cells_can_be_handed_over() -> None:
    place = xr.open_dataset(ROOT / "gentraffic" / "assets" / "contexts" / "monaco.nc").load()
    model = gentraffic.load_model("stouter-base")
    some = place.cell_id.values[[4, 2]]
    told: list[tuple[int, int]] = []
    part = gentraffic.sample(
        place, model=model, days=1, steps=2, select=some, progress=lambda done, of: told.append((done, of))
    )
    whole = gentraffic.sample(ROOT / "gentraffic" / "assets" / "contexts" / "monaco.nc", days=1, steps=2)
    np.testing.assert_array_equal(part.traffic.values, whole.traffic.values[[4, 2]])
    assert told == [(1, 1)]


def test_the_student_draws_unless_its_teacher_is_needed() -> None:
    place = {"place": "monaco", "days": 1}
    assert gentraffic.sample(**place).attrs["model"] == "stouter-fast"
    assert gentraffic.sample(**place, steps=3).attrs["model"] == "stouter-base"
    assert gentraffic.sample(**place, guidance=1.5).attrs["model"] == "stouter-base"


def test_errors_are_those_of_the_command_line() -> None:
    with pytest.raises(WrongUse, match="no place"):
        gentraffic.sample()
    with pytest.raises(WrongUse, match="two places"):
        gentraffic.sample("monaco", bbox=(7.4, 43.7, 7.5, 43.8))
    with pytest.raises(WrongUse, match=r"^members=0: give 1 or more$"):
        gentraffic.sample("monaco", members=0)
    with pytest.raises(WrongUse, match=r"^freq=7min: choose one of 1h"):
        gentraffic.sample("monaco", freq="7min")
    with pytest.raises(WrongUse, match=r"^cell_size=-3: "):
        gentraffic.sample(bbox=(7.4, 43.7, 7.5, 43.8), cell_size=-3.0)
    with pytest.raises(BadModel, match="gpt"):
        gentraffic.load_model("gpt")
    with pytest.raises(AttributeError):
        _ = gentraffic.draw  # type: ignore[attr-defined]


def test_what_a_command_draws_beside_traffic_python_draws_too(tmp_path: Path) -> None:
    ids = gentraffic.fetch("monaco").cell_id.values[[4, 2]]
    (tmp_path / "ids.txt").write_text("\n".join(map(str, ids)))
    part = gentraffic.sample(
        "monaco", days=1, select=f"@{tmp_path}/ids.txt", map_file=tmp_path / "m.html", plot_file=str(tmp_path / "m.png")
    )
    assert part.cell_id.values.tolist() == ids.tolist()
    assert "<script" in (tmp_path / "m.html").read_text(encoding="utf-8")
    assert (tmp_path / "m.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(WrongUse, match=r"^workers goes with out NAME.zarr, not with .*x.nc$"):
        gentraffic.sample("monaco", out=tmp_path / "x.nc", workers=2)
    with pytest.raises(WrongUse, match=r"map_file .*x.nc is|are the same file"):
        gentraffic.sample("monaco", out=tmp_path / "x.html", map_file=tmp_path / "x.html")


def test_a_dry_run_says_how_much_would_be_drawn() -> None:
    request = Request(days=2, freq="15min", members=3)
    planned = draw(PlaceQuery(city="monaco"), request, dry_run=True)
    assert planned.traffic is None
    assert (planned.cells, planned.steps, planned.members) == (188, 2 * 96, 3)
    assert planned.mib == pytest.approx(188 * 192 * 3 * 4 / 2**20)
    assert "<td>188</td>" in planned._repr_html_()
    with pytest.raises(WrongUse, match="nothing was drawn"):
        _ = planned.drawn


def test_import_is_light_and_dir_shows_what_there_is() -> None:
    program = (
        "import sys, gentraffic; assert {'sample', 'load_model', 'read_traffic'} <= set(dir(gentraffic));"
        "assert dir(gentraffic) == gentraffic.__all__;"
        "assert dir(gentraffic.forecast) == ['fit', 'load', 'run', 'score'];"
        "print([m for m in ('numpy', 'torch', 'xarray', 'pandas', 'click') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", sorted(path.name for path in (ROOT / "examples").glob("*.py")))
def test_examples_run(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [name, str(tmp_path)])
    runpy.run_path(str(ROOT / "examples" / name), run_name="__main__")
    said = capsys.readouterr().out
    assert {"one_week.py": "12.00 TB a day", "what_if.py": "12 km", "will_it_fit.py": "20 Mbit/s"}[name] in said
    written = {"one_week.py": "monaco.html", "what_if.py": "changes.geojson", "will_it_fit.py": "monaco.gpkg"}[name]
    assert (tmp_path / written).is_file()


def test_out_writes_what_is_returned_and_a_store_as_it_is_drawn(tmp_path: Path) -> None:
    asked: dict[str, Any] = {"days": 1, "seed": 4}
    asked["select"] = gentraffic.fetch("monaco")["cell_id"].values[:5].tolist()
    plain = gentraffic.sample("monaco", **asked)
    for name in ("m.nc", "m.zarr"):
        drawn = gentraffic.sample("monaco", **asked, out=tmp_path / name)
        for found in (drawn, gentraffic.read_traffic(tmp_path / name)):
            np.testing.assert_array_equal(found["traffic"].values, plain["traffic"].values)
    with pytest.raises(WrongUse, match=r"m\.nc is .*, which it would replace"):
        gentraffic.sample(history=tmp_path / "m.nc", model="fomo-base", days=1, out=tmp_path / "m.nc")


def test_holidays_may_be_true_or_false() -> None:
    asked: dict[str, Any] = {"start": "2026-01-01", "days": 1}
    auto, none, true, false = (
        gentraffic.sample("monaco", **asked, holidays=given) for given in ("auto", "none", True, False)
    )
    xr.testing.assert_equal(true, auto)
    xr.testing.assert_equal(false, none)
    assert (auto["traffic"].values != none["traffic"].values).any()
