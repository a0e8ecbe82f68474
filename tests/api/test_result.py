"""What results say to a terminal and as JSON, in Python as on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from traffic_examples import traffic

import gentraffic
from gentraffic.api.inputs import read_number
from gentraffic.api.result import Facts, warned
from gentraffic.cli.main import run
from gentraffic.errors import WrongUse


def test_figures_are_shown_as_a_table_and_lines() -> None:
    facts = Facts({"cells": 3, "place": "<b>"}, [*warned(["no streets"]), "3 cells"])
    assert facts.to_json() == {"cells": 3, "place": "<b>"}
    assert facts.text() == ["warning: no streets", "3 cells"]
    assert "<td>&lt;b&gt;</td>" in facts._repr_html_()


def test_a_page_says_in_python_what_the_command_prints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    drawn = traffic(days=2)
    drawn.to_netcdf("t.nc")
    page = gentraffic.draw_map("t.nc", "m.html")
    assert run(["map", "t.nc", "-o", "m.html"]) == 0
    assert capsys.readouterr().out.splitlines() == page.text()
    assert run(["map", "t.nc", "-o", "m.html", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == page.to_json()
    alone = gentraffic.draw_map(drawn)
    assert "output" not in alone.to_json()
    assert alone.text() == ["36 cells x 48 steps"]


@pytest.mark.parametrize(
    ("kind", "text", "reason"),
    [
        (int, "2.5", "--n 2.5: give a whole number"),
        (float, "x", "--n x: give a number"),
        (float, "inf", "--n inf: give a finite number"),
        (float, "0", "--n 0: give a number above 0"),
    ],
)
def test_a_text_that_is_no_such_number_is_refused(kind: type[int] | type[float], text: str, reason: str) -> None:
    with pytest.raises(WrongUse, match=f"^{reason}$"):
        read_number("--n", text, kind, 0, above=True)
    assert read_number("--n", "3", kind, 0, above=True) == 3
