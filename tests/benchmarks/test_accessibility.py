"""benchmarks/accessibility.py: it finds what is wrong, and finds nothing of it on the pages that gentraffic writes."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
from benchmark_scripts import script

BAD = """<!doctype html><html lang="en"><head><title>t</title></head><body><main><h1>h</h1>
<img src="http://nowhere.invalid/x.png" alt="x"><p style="color:#ccc;background:#fff">faint</p>
<div style="width:3000px">wide</div><script>console.error("said"); missing()</script></main></body></html>"""


@pytest.fixture(scope="module")
def accessibility() -> ModuleType:
    return script("accessibility")


@pytest.fixture
def axe(accessibility: ModuleType) -> Path:
    path: Path | None = accessibility.find_axe()
    if path is None:
        pytest.skip(f"no axe-core here: {accessibility.HOW}")
    if accessibility.find_browser() is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    return path


def test_events_of_a_browser_are_read(accessibility: ModuleType) -> None:
    def sent(url: str) -> dict[str, object]:
        return {"method": "Network.requestWillBeSent", "params": {"request": {"url": url}}}

    events = [
        sent("file:///a.html"), sent("data:text/css,"), sent("https://tiles.invalid/1"),
        {"method": "Runtime.consoleAPICalled", "params": {"type": "log", "args": []}},
        {"method": "Runtime.consoleAPICalled", "params": {"type": "error", "args": [{"value": "x"}]}},
        {"method": "Runtime.exceptionThrown", "params": {"exceptionDetails": {"exception": {"description": "oh"}}}},
    ]  # fmt: skip
    assert accessibility._said(events) == [
        "fetches https://tiles.invalid/1", "console error: [{'value': 'x'}]", "exception: oh"
    ]  # fmt: skip


def test_without_axe_core_it_is_skipped_and_says_how_to_get_it(
    accessibility: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GENTRAFFIC_AXE", "nowhere/axe.min.js")
    monkeypatch.setattr("sys.argv", ["accessibility.py"])
    assert accessibility.main() == 0
    assert "skipped: no axe-core here: npm install" in capsys.readouterr().out


@pytest.mark.slow
def test_what_is_wrong_is_found(accessibility: ModuleType, axe: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.html").write_text(BAD, encoding="utf-8")
    found = accessibility.faults_of([tmp_path / "bad.html"], axe)
    for view in ("400 px, light", "400 px, dark", "1400 px, light", "1400 px, dark"):
        told = " ".join(fault.text for fault in found if fault.view == view and fault.impact in accessibility.FAULTS)
        for word in ("color-contrast", "wider than the screen", "said", "missing is not defined", "nowhere.invalid"):
            assert word in told, (view, word)


@pytest.mark.slow
def test_no_page_has_a_serious_fault(accessibility: ModuleType, axe: Path, tmp_path: Path) -> None:
    pages = accessibility.make_pages(tmp_path)
    assert len(pages) == 12
    found = accessibility.faults_of(pages, axe)
    assert [fault for fault in found if fault.impact in accessibility.FAULTS] == []
