"""Every page that gentraffic writes, in a real browser: faults that axe-core finds, errors, and what is fetched.

    npm install --prefix ../axe axe-core           # once, outside the repository; and apt-get install chromium
    python benchmarks/accessibility.py [--axe axe.min.js] [--pages FOLDER] [--pictures FOLDER] [--all]

Draws Monaco, makes the map, the map and report of a change, the report, the pages of an evaluation, an audit and a
forecast and the maps and reports of plans (--pages: takes the .html files of a folder instead), and opens each at 400
and 1,400 pixels, light and dark; on maps also every layer, with a cell chosen. Prints a line for each fault: rules of
axe-core (WCAG 2 and best practices) that it calls serious or critical, lines on the console, requests to a network,
pages wider than the screen. --all prints the lesser ones too. Ends with 1 where there is a fault; says so and ends
with 0 where axe-core or Chromium is not installed. --pictures keeps a picture of each. Chromium is spoken to through a
pipe: nothing else is needed.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

WIDTHS, SCHEMES = (400, 1400), ("light", "dark")
HEIGHTS = {400: 800, 1400: 900}
FAULTS = ("serious", "critical")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
AXE = Path(__file__).parents[2] / "axe" / "node_modules" / "axe-core" / "axe.min.js"  # beside the repository
HOW = "npm install --prefix ../axe axe-core, or say where axe.min.js is: --axe, or $GENTRAFFIC_AXE"
USED = """
  document.querySelectorAll("details").forEach((one) => { one.open = true; });
  const layer = document.getElementById("layer"), busiest = document.getElementById("busiest");
  if (busiest) busiest.click();
  for (const option of layer ? layer.options : []) {
    layer.value = option.value;
    layer.dispatchEvent(new Event("change"));
  }
"""
WIRED = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3]]  # out of the way first
for end, number in zip(ends, (3, 4)):  # where Chromium reads commands and writes answers
    os.dup2(end, number)
os.execv(sys.argv[3], sys.argv[3:])
"""
OWN = ("file:", "data:", "blob:", "about:")  # addresses that are no network
READY_S = 30.0  # a page that is not ready by then is a fault
MALL = {
    "type": "FeatureCollection",
    "features": [
        {
            "type": "Feature",
            "geometry": {"type": "Point", "coordinates": [7.42, 43.734]},
            "properties": {"what": "mall", "name": "Galerie", "floor_area": 20000},
        }
    ],
}


@dataclass(frozen=True)
class Fault:
    """Something that is wrong on a page. impact: axe's, or "critical" of errors and requests."""

    page: str
    view: str
    impact: str
    text: str


@dataclass
class Browser:
    """Chromium behind a pipe of its DevTools protocol."""

    process: subprocess.Popen[bytes]
    ask: int
    answer: int
    number: int = 0
    session: str = ""
    left: bytes = b""
    events: list[dict[str, Any]] = field(default_factory=list)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """The answer to one command. Raises RuntimeError where Chromium says that it failed."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.ask, json.dumps(message).encode() + b"\0")
        while True:
            told = self._next()
            if told.get("id") == self.number:
                if "error" in told:
                    raise RuntimeError(f"{method}: {told['error']['message']}")
                result: dict[str, Any] = told["result"]
                return result
            self.events.append(told)

    def value(self, script: str) -> Any:
        """What a script on the page is, a promise awaited. Raises RuntimeError where it throws."""
        found = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in found:
            raise RuntimeError(str(found["exceptionDetails"].get("exception", {}).get("description", "script failed")))
        return found["result"].get("value")

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self.left:
            part = os.read(self.answer, 1 << 20)
            if not part:
                raise RuntimeError("Chromium ended")
            self.left += part
        line, self.left = self.left.split(b"\0", 1)
        told: dict[str, Any] = json.loads(line)
        return told


def find_axe() -> Path | None:
    """axe.min.js as $GENTRAFFIC_AXE names it, or beside the repository; None where there is none."""
    named = os.environ.get("GENTRAFFIC_AXE")
    path = Path(named) if named else AXE
    return path if path.is_file() else None


def find_browser() -> str | None:
    """The path of a Chromium, None where there is none."""
    return next((path for name in BROWSERS if (path := shutil.which(name))), None)


@contextmanager
def browser() -> Iterator[Browser]:
    """A headless Chromium with one tab. Raises RuntimeError where none is installed."""
    program = find_browser()
    if program is None:
        raise RuntimeError("no Chromium on this machine: apt-get install chromium")
    here_reads, there_writes = os.pipe()
    there_reads, here_writes = os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
                   "--hide-scrollbars", "--remote-debugging-pipe", f"--user-data-dir={profile}"]  # fmt: skip
        command = [sys.executable, "-S", "-c", WIRED, str(there_reads), str(there_writes), program, *options]
        process = subprocess.Popen(
            command, pass_fds=(there_reads, there_writes), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        os.close(there_reads)
        os.close(there_writes)
        try:
            tab = Browser(process, here_writes, here_reads)
            target = tab.call("Target.createTarget", url="about:blank")["targetId"]
            tab.session = tab.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            for domain in ("Page", "Runtime", "Log", "Network"):
                tab.call(f"{domain}.enable")
            tab.call("Page.setBypassCSP", enabled=True)  # axe is our script; the page's policy refuses all others
            yield tab
        finally:
            process.terminate()
            process.wait(30)
            os.close(here_reads)
            os.close(here_writes)


def look(tab: Browser, page: Path, axe: str, width: int, scheme: str, picture: Path | None = None) -> list[Fault]:
    """The faults of a page in one view. axe: the text of axe.min.js. picture: where a .png of it goes, if anywhere."""
    view = f"{width} px, {scheme}"
    tab.events.clear()
    tab.call("Emulation.setDeviceMetricsOverride", width=width, height=HEIGHTS[width], deviceScaleFactor=1,
             mobile=width < 600)  # fmt: skip
    tab.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    tab.call("Page.navigate", url=page.resolve().as_uri())
    ready = "document.readyState === 'complete' && document.body.dataset.ready !== 'no'"
    ends = time.monotonic() + READY_S
    while not tab.value(ready) and time.monotonic() < ends:
        time.sleep(0.05)
    found = [] if tab.value(ready) else [Fault(page.name, view, "critical", f"not ready after {READY_S:g} s")]
    time.sleep(0.3)
    if picture is not None:
        _shoot(tab, picture, width)
    tab.value(axe + "; 0")
    violations = _violations(tab)
    tab.value(f"(() => {{ {USED} }})()")
    time.sleep(0.3)
    violations |= _violations(tab)
    for fault in violations.values():
        nodes = [node["html"][:160] + " | " + (node.get("failureSummary") or "")[:200] for node in fault["nodes"][:3]]
        text = f"{fault['id']}: {fault['help']} ({len(fault['nodes'])} x: {' / '.join(nodes)})"
        found.append(Fault(page.name, view, str(fault["impact"]), " ".join(text.split())))
    over = tab.value("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    if over > 1:
        found.append(Fault(page.name, view, "serious", f"is {over} pixels wider than the screen"))
    return [*found, *(Fault(page.name, view, "critical", text) for text in _said(tab.events))]


def _violations(tab: Browser) -> dict[str, dict[str, Any]]:
    """Rule -> what axe-core says of it on the page as it is."""
    found = tab.value("axe.run(document, {resultTypes: ['violations']}).then(found => found.violations)")
    return {str(fault["id"]): fault for fault in found}


def _said(events: list[dict[str, Any]]) -> list[str]:
    """Errors and warnings on the console, and requests to a network, of DevTools events."""
    found = []
    for event in events:
        params = event.get("params", {})
        if event.get("method") == "Runtime.exceptionThrown":
            found.append("exception: " + str(params["exceptionDetails"].get("exception", {}).get("description", "")))
        if event.get("method") == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            found.append(f"console {params['type']}: {params['args'][:1]}")
        if event.get("method") == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            found.append(f"log: {params['entry']['text']}")
        if event.get("method") == "Network.requestWillBeSent":
            address = str(params["request"]["url"])
            if not address.startswith(OWN):
                found.append(f"fetches {address[:120]}")
    return found


def _shoot(tab: Browser, picture: Path, width: int) -> None:
    height = int(tab.value("Math.min(document.documentElement.scrollHeight, 6000)"))
    clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
    shot = tab.call("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True)
    picture.write_bytes(base64.b64decode(shot["data"]))


def make_pages(folder: Path) -> list[Path]:
    """One page of every kind, of Monaco: their paths."""
    from gentraffic.cli.main import run

    (folder / "mall.geojson").write_text(json.dumps(MALL), encoding="utf-8")
    (folder / "sites.csv").write_text("id,lon,lat\na,7.42,43.735\nb,7.428,43.741\n", encoding="utf-8")
    draw = ["sample", "--city", "monaco", "--offline", "--quiet", "--start", "2026-01-05"]
    commands = [
        [*draw, "--days", "7", "--members", "20", "--total", "traffic=2TB/day", "-o", "t.nc", "--map", "map.html"],
        [*draw, "--days", "28", "--seed", "1", "--total", "traffic=2TB/day", "-o", "other.nc"],
        [*draw, "--days", "7", "--change", "mall.geojson", "-o", "what-if.nc", "--map", "what-if-map.html"],
        ["report", "t.nc", "-o", "report.html", "--capacity", "2Mbit/s"],
        ["report", "what-if.nc", "-o", "what-if-report.html"],
        ["split", "other.nc", "--test", "40%", "-o", "train.nc", "--rest", "holdout.nc"],
        ["evaluate", "--real", "holdout.nc", "--synthetic", "t.nc", "--train", "train.nc", "--html", "evaluation.html"],
        ["audit", "--train", "train.nc", "--holdout", "holdout.nc", "--synthetic", "t.nc", "--plants", "4",
         "--html", "audit.html"],
        ["plan", "sleep", "t.nc", "-o", "awake.nc", "--map", "sleep-map.html"],
        ["plan", "prb", "t.nc", "--prbs", "400", "-o", "blocks.nc", "--map", "prb-map.html"],
        ["plan", "deploy", "t.nc", "--sites", "3", "--radius", "300", "--existing", "sites.csv", "-o", "sites.geojson",
         "--map", "deploy-map.html"],
        ["report", "awake.nc", "-o", "sleep-report.html"],
        ["report", "blocks.nc", "-o", "prb-report.html"],
        ["forecast", "fit", "lightgbm", "--traffic", "other.nc", "-o", "forecaster"],
        ["forecast", "score", "--model", "forecaster", "--traffic", "other.nc", "--horizon", "6", "--html",
         "forecast.html"],
    ]  # fmt: skip
    before = Path.cwd()
    os.chdir(folder)
    try:
        for command in commands:
            quiet = command if "--quiet" in command else [*command, "--quiet"]
            if run(quiet) != 0:
                raise RuntimeError(f"gentraffic {' '.join(quiet)} failed")
    finally:
        os.chdir(before)
    return sorted(folder.glob("*.html"))


def faults_of(pages: list[Path], axe: Path, pictures: Path | None = None) -> list[Fault]:
    """All faults of all pages in all views, also the lesser ones of axe-core."""
    text = axe.read_text(encoding="utf-8")
    found = []
    with browser() as tab:
        for page in pages:
            for width in WIDTHS:
                for scheme in SCHEMES:
                    picture = None if pictures is None else pictures / f"{page.stem}-{width}-{scheme}.png"
                    found += look(tab, page, text, width, scheme, picture)
    return found


def main() -> int:
    """Print the faults; 1 where there is a serious one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--axe", type=Path, metavar="axe.min.js", help="of the npm package axe-core")
    parser.add_argument("--pages", type=Path, metavar="FOLDER", help="take the .html files of a folder")
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="keep a picture of each view")
    parser.add_argument("--all", action="store_true", help="print the lesser faults too")
    options = parser.parse_args()
    axe = options.axe or find_axe()
    if axe is None or find_browser() is None:
        print(
            "skipped: " + (f"no axe-core here: {HOW}" if axe is None else "no Chromium here: apt-get install chromium")
        )
        return 0
    if options.pictures is not None:
        options.pictures.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        pages = sorted(options.pages.glob("*.html")) if options.pages is not None else make_pages(Path(folder))
        found = faults_of(pages, axe, options.pictures)
    shown = [fault for fault in found if options.all or fault.impact in FAULTS]
    for fault in shown:
        print(f"{fault.page} ({fault.view}) {fault.impact}: {fault.text}")
    serious = sum(fault.impact in FAULTS for fault in found)
    print(f"{len(pages)} pages in {len(WIDTHS) * len(SCHEMES)} views: {serious} serious or critical faults")
    return 1 if serious else 0


if __name__ == "__main__":
    sys.exit(main())
