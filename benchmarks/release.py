"""Make everything that is bundled, from the public data: contexts of six places and `stouter-base`.

    python benchmarks/release.py --data ../shared/data --work /tmp/release --evidence p1.json

Contexts are what `gentraffic fetch` writes; the model is what `gentraffic fit stouter` writes; this script only types
the commands. `--steps` shortens training for a trial.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

from gentraffic.cli_options import CONTEXTS
from gentraffic.files import write_traffic
from gentraffic.model_list import MODELS
from gentraffic.sources import read_beijing, read_milan_5x5

PLACES = {
    "monaco": ("monaco.osm.pbf", 250),
    "malta": ("malta.osm.pbf", 500),
    "liechtenstein": ("liechtenstein.osm.pbf", 250),
    "porto": ("porto-centre.osm.pbf", 250),
    "helsinki": ("helsinki-centre.osm.pbf", 250),
}


def run(*words: object) -> None:
    """Type one gentraffic command."""
    print("gentraffic", *words, flush=True)
    subprocess.run([sys.executable, "-m", "gentraffic", *map(str, words)], check=True)


def main() -> None:
    """Fetch the contexts, import the traffic, train, and put the results into the package."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--evidence", type=Path, help="rows of benchmarks/fidelity.py for the model card")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--only-contexts", action="store_true")
    args = parser.parse_args()
    data, work = args.data, args.work
    work.mkdir(parents=True, exist_ok=True)
    CONTEXTS.mkdir(parents=True, exist_ok=True)
    MODELS.mkdir(parents=True, exist_ok=True)
    milan = data / "milan"
    run("fetch", "--cells", milan / "telecom-grid.geojson", "--osm", milan / "osm_pois.csv",
        "--sites", milan / "opencellid_lte_sites.csv",
        "--sites-credit", "base-station sites: OpenCelliD, CC BY-SA 4.0",
        "--place", "Milan, Italy", "--habits", "milan-5x5", "-o", CONTEXTS / "milan.nc")  # fmt: skip
    for name, (file, cell_m) in PLACES.items():
        run("fetch", "--osm", data / "osm" / file, "--cell-size", cell_m, "--place", name.title(),
            "-o", CONTEXTS / f"{name}.nc")  # fmt: skip
    if args.only_contexts:
        return
    words: list[object] = []
    for city in ("sd", "nc", "nj"):
        traffic, context = work / f"uomo_{city}.nc", work / f"uomo_{city}_context.nc"
        run("import", "uomo", data / "traffic" / f"uomo_{city}.npz", "-o", traffic, "--context", context)
        words += ["--traffic", traffic, "--context", context]
    write_traffic(read_milan_5x5(data / "traffic" / "milan_5x5_internet_10min.csv", milan / "telecom-grid.geojson"),
                  work / "milan_5x5.nc")  # fmt: skip
    write_traffic(read_beijing(data / "traffic" / "beijing_stations_168h.npz"), work / "beijing.nc")
    words += ["--traffic", work / "milan_5x5.nc", "--traffic", work / "beijing.nc"]
    for place in sorted(CONTEXTS.glob("*.nc")):
        words += ["--context", place]
    more: list[object] = ["--evidence", args.evidence] if args.evidence else []
    if args.steps:
        more += ["--steps", args.steps]
    out = work / "stouter-base"
    run("fit", "stouter", *words, "--holdout", 0, "--threads", 1, "-o", out, *more)
    shutil.rmtree(MODELS / "stouter-base", ignore_errors=True)
    shutil.copytree(out, MODELS / "stouter-base")


if __name__ == "__main__":
    main()
