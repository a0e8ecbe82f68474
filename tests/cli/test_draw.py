"""`gentraffic map` and `gentraffic plot` on files that exist."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
from traffic_examples import traffic

from gentraffic.cli.main import run
from gentraffic.io.files import write_traffic


def test_a_file_becomes_a_map_and_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_traffic(traffic(members=3), tmp_path / "t.nc")
    made = tmp_path / "t.html"
    assert run(["map", str(tmp_path / "t.nc"), "-o", str(made), "--title", "Our <town>", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["cells"] == 36
    text = made.read_text(encoding="utf-8")
    assert "<title>Our &lt;town&gt;</title>" in text
    assert '"name":"range"' in text
    assert run(["plot", str(tmp_path / "t.nc"), "-o", str(tmp_path / "t.png"), "--quiet"]) == 0
    width, height = struct.unpack(">II", (tmp_path / "t.png").read_bytes()[16:24])
    assert (width, height) == (1560, 1170)


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["map", "t.nc", "-o", "t.png"], 2, ".html"),
        (["plot", "t.nc", "-o", "t.html"], 2, ".png"),
        (["map", "t.nc", "-o", "t.html", "--service", "sms"], 2, "no service 'sms'"),
        (["map", "none.nc", "-o", "t.html"], 5, "none.nc"),
    ],
)
def test_what_they_refuse(
    words: list[str], code: int, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    write_traffic(traffic(), tmp_path / "t.nc")
    assert run(words) == code
    assert says in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["t.nc"]
