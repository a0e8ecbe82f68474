"""Make what is bundled, from the public data: contexts of six places, `stouter-base`, `stouter-fast`, `fomo-base`.

    python benchmarks/release.py --data ../shared/data --work /tmp/release --evidence p1.json --fomo-evidence fomo.md
    python benchmarks/release.py --data ../shared/data --work /tmp/release --only fomo --fomo-evidence fomo.md
    python benchmarks/release.py --data ../shared/data --work /tmp/release --only cards --evidence p1.json \\
        --evidence-note "Fitted in 800 steps, on Internet alone."

Contexts are what `gentraffic fetch` writes; the models are what `gentraffic fit stouter` and `gentraffic fit fomo`
write; this script only types the commands. Milan's file holds five services, so `stouter-base` and its student draw
Internet (with the traffic of the other networks, the main service), calls and SMS (`make models`). `--steps` shortens
training for a trial. `cards`: scores that were made after the training go onto the cards of both, and nothing else of
them changes.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from gentraffic.dataset.services import DIRECTIONS
from gentraffic.evaluation.holdout import read_rows, table
from gentraffic.generators.base import MODELS, read_folder, writing_folder
from gentraffic.generators.cards import card, mean_scores
from gentraffic.io.files import write_traffic
from gentraffic.io.importers.public_sets import read_beijing, read_milan_5x5, read_milan_week
from gentraffic.places.find import CONTEXTS

PLACES = {
    "monaco": ("monaco.osm.pbf", 250),
    "malta": ("malta.osm.pbf", 500),
    "liechtenstein": ("liechtenstein.osm.pbf", 250),
    "porto": ("porto-centre.osm.pbf", 250),
    "helsinki": ("helsinki-centre.osm.pbf", 250),
}
PARTS = ("contexts", "stouter", "fast", "fomo")
CARDS = "cards"  # asked for by name only
FOMO_STEPS = 4000
STOUTER_STEPS = 4800  # further services take two windows in five: so many leave the main one what 3200 gave it


def run(*words: object) -> None:
    """Type one gentraffic command."""
    print("gentraffic", *words, flush=True)
    subprocess.run([sys.executable, "-m", "gentraffic", *map(str, words)], check=True)


def main() -> None:
    """Fetch the contexts, import the traffic, train, and put the results into the package."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--evidence", type=Path, help="rows of benchmarks/fidelity.py for stouter-base's card")
    parser.add_argument("--evidence-note", default="", help="a sentence on how the rows were made, for the cards")
    parser.add_argument("--fomo-evidence", type=Path, help="Markdown for fomo-base's card (benchmarks/foundation.py)")
    parser.add_argument("--steps", type=int, help="training steps of every model, for a trial")
    parser.add_argument("--only", nargs="*", choices=[*PARTS, CARDS], default=PARTS)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    CONTEXTS.mkdir(parents=True, exist_ok=True)
    MODELS.mkdir(parents=True, exist_ok=True)
    if CARDS in args.only:
        for name in ("stouter-base", "stouter-fast"):
            put_scores(MODELS / name, args.evidence, args.evidence_note)
    if "contexts" in args.only:
        fetch_contexts(args.data)
    if {"stouter", "fomo"} & set(args.only):
        words = import_traffic(args.data, args.work)
    if "stouter" in args.only:
        write_traffic(read_beijing(args.data / "traffic" / "beijing_stations_168h.npz"), args.work / "beijing.nc")
        services = ("internet", *DIRECTIONS)  # all that Milan's file holds are learned
        write_traffic(read_milan_week(args.data / "telecom-italia", services=services), args.work / "milan.nc")
        more: list[object] = ["--traffic", args.work / "beijing.nc", "--traffic", args.work / "milan.nc"]
        for place in sorted(CONTEXTS.glob("*.nc")):
            more += ["--context", place]
        fit("stouter", args.work / "stouter-base", args.evidence, [*words, *more], args.steps or STOUTER_STEPS)
    if "fast" in args.only:
        run("distil", "--threads", 1, "-o", args.work / "stouter-fast")
        publish(args.work / "stouter-fast")
    if "fomo" in args.only:
        more = ["--context", CONTEXTS / "milan.nc"]
        fit("fomo", args.work / "fomo-base", args.fomo_evidence, [*words, *more], args.steps or FOMO_STEPS)


def fetch_contexts(data: Path) -> None:
    """Milan's context and those of the five places, into the package."""
    milan = data / "milan"
    run("fetch", "--cells", milan / "telecom-grid.geojson", "--osm", milan / "osm_pois.csv",
        "--sites", milan / "opencellid_lte_sites.csv",
        "--sites-credit", "base-station sites: OpenCelliD, CC BY-SA 4.0",
        "--place", "Milan, Italy", "-o", CONTEXTS / "milan.nc")  # fmt: skip
    for name, (file, cell_m) in PLACES.items():
        run("fetch", "--osm", data / "osm" / file, "--cell-size", cell_m, "--place", name.title(),
            "-o", CONTEXTS / f"{name}.nc")  # fmt: skip


def import_traffic(data: Path, work: Path) -> list[object]:
    """The traffic that both models learn from, in `work`: the options that name it."""
    words: list[object] = []
    for city in ("sd", "nc", "nj"):
        traffic, context = work / f"uomo_{city}.nc", work / f"uomo_{city}_context.nc"
        run("import", "uomo", data / "traffic" / f"uomo_{city}.npz", "-o", traffic, "--context", context)
        words += ["--traffic", traffic, "--context", context]
    milan = read_milan_5x5(data / "traffic" / "milan_5x5_internet_10min.csv", data / "milan" / "telecom-grid.geojson")
    write_traffic(milan, work / "milan_5x5.nc")
    return [*words, "--traffic", work / "milan_5x5.nc"]


def fit(sampler: str, out: Path, evidence: Path | None, words: Sequence[object], steps: int | None) -> None:
    """Train on every location and put the model into the package."""
    more: list[object] = ["--evidence", evidence] if evidence else []
    more += ["--steps", steps] if steps else []
    run("fit", sampler, *words, "--holdout", 0, "--threads", 1, "-o", out, *more)
    publish(out)


def put_scores(folder: Path, evidence: Path, note: str) -> None:
    """Put rows of benchmarks/fidelity.py into the provenance of a model folder, and onto its card. Raises BadModel for
    a folder that is not whole, BadInput for other rows."""
    rows, whole = read_rows(evidence), read_folder(folder)
    tables = {**whole.provenance["tables"], "evidence": table(rows), "evidence_note": note}
    provenance = {**whole.provenance, "metrics": mean_scores(rows), "tables": tables}
    in_order = json.loads(json.dumps(provenance, sort_keys=True))  # as it will be read: a card is rendered from that
    with writing_folder(folder, in_order, card(folder.name, in_order)) as temporary:
        for name, content in whole.files.items():
            (temporary / name).parent.mkdir(parents=True, exist_ok=True)
            (temporary / name).write_bytes(content)


def publish(out: Path) -> None:
    """Put a model folder into the package."""
    shutil.rmtree(MODELS / out.name, ignore_errors=True)
    shutil.copytree(out, MODELS / out.name)


if __name__ == "__main__":
    main()
