"""Python refuses an output that is an input, in its own words, before any work; and returns what it wrote."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import xarray as xr
from traffic_examples import context, traffic

import gentraffic
from gentraffic.errors import WrongUse
from gentraffic.io.files import write_context, write_traffic

CALLS: dict[str, Callable[[], Any]] = {
    "export": lambda: gentraffic.export("m.nc", "gridded", "soft.nc"),
    "split": lambda: gentraffic.split("m.nc", test="20%", out="a.nc", rest="m.nc"),
    "split into one": lambda: gentraffic.split("m.nc", test="20%", out="a.nc", rest=Path("./a.nc")),
    "fetch": lambda: gentraffic.fetch("c.nc", out="c.nc"),
    "import_table": lambda: gentraffic.import_table("m.csv", out="m.csv"),
    "import_uomo": lambda: gentraffic.import_uomo("m.nc", context_out="m.nc", out="a.nc"),
    "plan.sleep": lambda: gentraffic.plan.sleep("m.nc", real="hard.nc", out="m.nc"),
    "evaluate": lambda: gentraffic.evaluate("m.nc", "c.nc", html="m.nc"),
    "report": lambda: gentraffic.report("m.nc", "m.nc"),
    "draw_map": lambda: gentraffic.draw_map("m.nc", "m.nc"),
    "forecast.run": lambda: gentraffic.forecast.run("model", "m.nc", out="hard.nc"),
    "fit": lambda: gentraffic.fit("bootstrap", ["inside/m.nc"], out="inside"),
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_traffic(traffic(units="GB"), tmp_path / "m.nc")
    write_traffic(traffic(units="GB"), tmp_path / "m.csv")
    write_context(context(), tmp_path / "c.nc")
    (tmp_path / "soft.nc").symlink_to("m.nc")
    (tmp_path / "inside").mkdir()
    for name in ("hard.nc", "inside/m.nc"):
        os.link(tmp_path / "m.nc", tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", CALLS)
def test_an_output_that_is_an_input_is_refused(name: str, here: Path) -> None:
    before = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in here.rglob("*") if path.is_file()}
    with pytest.raises(WrongUse, match=r"give another|are the same file") as raised:
        CALLS[name]()
    assert "--" not in str(raised.value), "names arguments as Python writes them"
    assert " -o" not in str(raised.value)
    after = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in here.rglob("*") if path.is_file()}
    assert after == before


def test_a_name_that_is_also_a_folder_is_no_input(here: Path) -> None:
    (here / "gridded").mkdir()  # the word is a format, and no file
    done = gentraffic.export("m.nc", "gridded", "gridded/g.nc")
    assert done.cells == 36
    assert xr.open_dataset("gridded/g.nc").sizes["time"] == done.steps


def test_what_is_written_is_what_is_returned(here: Path) -> None:
    train, test = gentraffic.split("m.nc", test=1 / 3, out="train.nc", rest="test.nc")
    for part, name in ((train, "train.nc"), (test, "test.nc")):
        xr.testing.assert_equal(gentraffic.read_traffic(name)["internet"], part["internet"])
    assert train.sizes["cell"] + test.sizes["cell"] == 36
    with pytest.raises(WrongUse, match=r"test SHARE, or model DIR"):
        gentraffic.split("m.nc")
    with pytest.raises(TypeError, match="unexpected keyword argument 'shares'"):
        gentraffic.split("m.nc", shares=1)  # type: ignore[call-arg]


def test_pages_and_pictures_show_themselves(here: Path) -> None:
    page = gentraffic.draw_map("m.nc", "m.html")
    assert (here / "m.html").read_text(encoding="utf-8") == page.html
    assert dict(page.sizes) == {"cell": 36, "time": 48}
    picture = gentraffic.draw_plot("m.nc", "m.png")
    shown = picture._repr_html_()
    assert shown.startswith("<img")
    assert "data:image/png;base64,iVBOR" in shown
    assert (here / "m.png").read_bytes()[:4] == b"\x89PNG"
    assert len(repr(page)) < 300, "a terminal is not filled with the page itself"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (lambda: traffic()["internet"], "traffic is given as a DataArray, .*: give the Dataset"),
        (lambda: traffic()["internet"].values, "traffic is given as a ndarray: give the path of a file, or an xarray"),
        (lambda: traffic().to_dataframe(), "traffic is given as a DataFrame: give the path"),
    ],
)
def test_what_is_no_dataset_is_named(given: Callable[[], Any], says: str) -> None:
    with pytest.raises(WrongUse, match=says):
        gentraffic.draw_plot(given())
    with pytest.raises(WrongUse, match=says):
        gentraffic.split(given(), test=0.2)


def test_bundled_models_are_those_of_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    import json

    from gentraffic.cli.main import run

    found = gentraffic.bundled()
    assert "monaco" in found.cities
    assert run(["models", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == found.to_json()
    assert all(model.name in found._repr_html_() for model in found.models)
