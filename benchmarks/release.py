"""Make what is bundled, from the public data: contexts of six places, `stouter-base`, `stouter-fast`, `fomo-base`.

    python benchmarks/release.py --data ../shared/data --work /tmp/release --evidence p1.json --fomo-evidence fomo.md
    python benchmarks/release.py --data ../shared/data --work /tmp/release --only fomo --fomo-evidence fomo.md
    python benchmarks/release.py --data ../shared/data --work /tmp/release --only cards --evidence p1.json \\
        --evidence-note "Fitted in 800 steps, on Internet alone."

Contexts are what `gentraffic fetch` writes (`make contexts`); the models are what `gentraffic fit stouter` and
`gentraffic fit fomo` write; this script only types the commands. Milan's file holds five services, so `stouter-base`
and its student draw Internet (with the traffic of the other networks, the main service), calls and SMS (`make models`).
`--steps` shortens training for a trial. `levels`: the level models of all three anew, `weeks`: their expected weeks:
networks do not depend on what the law of levels knows of the ground, nor on what else weeks say: a fit of 40 steps, and
nothing else of them changes. `cards`: scores that were made after the training go onto the cards of both, and nothing
else of them changes.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gentraffic.dataset.services import DIRECTIONS
from gentraffic.evaluation.holdout import read_rows, table
from gentraffic.generators.base import MODELS, read_folder, writing_folder
from gentraffic.generators.cards import card, mean_scores
from gentraffic.io.files import read_context, write_context, write_traffic
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
CARDS = "cards"  # asked for by name only, as are these: name -> what of a model folder is anew
ANEW = {"levels": "level.json", "weeks": "week.json"}
TRIAL_STEPS = 40  # of a fit whose level model alone is of use: it is fitted before the network
FOMO_STEPS = 4000
STOUTER_STEPS = 4800  # further services take two windows in five: so many leave the main one what 3200 gave it


def run(*words: object, folder: Path | None = None) -> None:
    """Type one gentraffic command, in a folder."""
    print("gentraffic", *words, flush=True)
    path = os.pathsep.join(filter(None, (str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH"))))
    command = [sys.executable, "-m", "gentraffic", *map(str, words)]
    subprocess.run(command, check=True, cwd=folder, env={**os.environ, "PYTHONPATH": path})


def main() -> None:
    """Fetch the contexts, import the traffic, train, and put the results into the package."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--evidence", type=Path, help="rows of benchmarks/fidelity.py for stouter-base's card")
    parser.add_argument("--evidence-note", default="", help="a sentence on how the rows were made, for the cards")
    parser.add_argument("--fomo-evidence", type=Path, help="Markdown for fomo-base's card (benchmarks/foundation.py)")
    parser.add_argument("--steps", type=int, help="training steps of every model, for a trial")
    parser.add_argument("--only", nargs="*", choices=[*PARTS, CARDS, *ANEW], default=PARTS)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    CONTEXTS.mkdir(parents=True, exist_ok=True)
    MODELS.mkdir(parents=True, exist_ok=True)
    if CARDS in args.only:
        for name in ("stouter-base", "stouter-fast"):
            put_scores(MODELS / name, args.evidence, args.evidence_note)
    if "contexts" in args.only:
        fetch_contexts(args.data, args.work)
    if {"stouter", "fomo", *ANEW} & set(args.only):
        words = import_traffic(args.data, args.work)
        for place in CONTEXTS.glob("*.nc"):
            shutil.copyfile(place, args.work / place.name)
    if {"stouter", *ANEW} & set(args.only):
        write_traffic(read_beijing(args.data / "traffic" / "beijing_stations_168h.npz"), args.work / "beijing.nc")
        services = ("internet", *DIRECTIONS)  # all that Milan's file holds are learned
        measured = args.work / "milan-week.nc"
        write_traffic(read_milan_week(args.data / "telecom-italia", services=services), measured)
        more: list[object] = ["--traffic", "beijing.nc", "--traffic", measured.name]
        for place in sorted(CONTEXTS.glob("*.nc")):
            more += ["--context", place.name]
    if anew := [ANEW[name] for name in args.only if name in ANEW]:
        trial = args.work / "trial"
        fit("stouter", trial, None, [*words, *more], TRIAL_STEPS, into_package=False)
        for name in ("stouter-base", "stouter-fast"):
            put_anew(MODELS / name, trial, anew)
        fit("fomo", args.work / "trial-fomo", None, [*words, *internet_of_milan(args)], TRIAL_STEPS, into_package=False)
        put_anew(MODELS / "fomo-base", args.work / "trial-fomo", anew)
    if "stouter" in args.only:
        fit("stouter", args.work / "stouter-base", args.evidence, [*words, *more], args.steps or STOUTER_STEPS)
    if "fast" in args.only:
        run("distil", "--threads", 1, "-o", "stouter-fast", folder=args.work)
        publish(args.work / "stouter-fast")
    if "fomo" in args.only:
        words += internet_of_milan(args)
        fit("fomo", args.work / "fomo-base", args.fomo_evidence, words, args.steps or FOMO_STEPS)


def fetch_contexts(data: Path, work: Path) -> None:
    """Milan's context and those of the five places, into the package.

    Fetched in a folder with links to the data, so that the commands that the files hold name no folder."""
    folder = work / "contexts"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for path in (*(data / "milan").iterdir(), *(data / "osm").iterdir()):
        (folder / path.name).symlink_to(path.resolve())
    run("fetch", "--cells", "telecom-grid.geojson", "--osm", "osm_pois.csv", "--sites", "opencellid_lte_sites.csv",
        "--sites-credit", "base-station sites: OpenCelliD, CC BY-SA 4.0", "--streets", "milan-streets-2015.osm.pbf",
        "--place", "Milan, Italy", "-o", "milan.nc", folder=folder)  # fmt: skip
    for name, (file, cell_m) in PLACES.items():
        run("fetch", "--osm", file, "--cell-size", cell_m, "--place", name.title(), "-o", f"{name}.nc", folder=folder)
    for name in ("milan", *PLACES):
        context = read_context(folder / f"{name}.nc")
        context.attrs.pop("warnings", None)  # of the sources: whoever draws a bundled city cannot mend them
        write_context(context, CONTEXTS / f"{name}.nc")


def import_traffic(data: Path, work: Path) -> list[object]:
    """The traffic that both models learn from, in `work`: the options that name it there."""
    words: list[object] = []
    for city in ("sd", "nc", "nj"):
        traffic, context = f"uomo_{city}.nc", f"uomo_{city}_context.nc"
        source = (data / "traffic" / f"uomo_{city}.npz").resolve()
        run("import", "uomo", source, "-o", traffic, "--context", context, folder=work)
        words += ["--traffic", traffic, "--context", context]
    milan = read_milan_5x5(data / "traffic" / "milan_5x5_internet_10min.csv", data / "milan" / "telecom-grid.geojson")
    write_traffic(milan, work / "milan_5x5.nc")
    return [*words, "--traffic", "milan_5x5.nc"]


def internet_of_milan(args: argparse.Namespace) -> list[object]:
    """The week of Milan's cells, of which a FoMo learns one service: as `import_traffic`."""
    internet = args.work / "milan-internet.nc"
    write_traffic(read_milan_week(args.data / "telecom-italia"), internet)
    return ["--traffic", internet.name, "--context", "milan.nc"]


def fit(
    sampler: str, out: Path, evidence: Path | None, words: Sequence[object], steps: int | None, *,
    into_package: bool = True,
) -> None:  # fmt: skip
    """Train on every location and put the model into the package. In the folder of `out`, so that the command that it
    keeps names no other."""
    more: list[object] = ["--evidence", evidence.resolve()] if evidence else []
    more += ["--steps", steps] if steps else []
    run("fit", sampler, *words, "--holdout", 0, "--threads", 1, "-o", out.name, *more, folder=out.parent)
    if into_package:
        publish(out)


def put_scores(folder: Path, evidence: Path, note: str) -> None:
    """Put rows of benchmarks/fidelity.py into the provenance of a model folder, and onto its card. Raises BadModel for
    a folder that is not whole, BadInput for other rows."""
    rows, whole = read_rows(evidence), read_folder(folder)
    tables = {**whole.provenance["tables"], "evidence": table(rows), "evidence_note": note}
    provenance = {**whole.provenance, "metrics": mean_scores(rows), "tables": tables}
    rewrite(folder, provenance, whole.files)


def put_anew(folder: Path, trial: Path, names: Sequence[str]) -> None:
    """Put some files of a fit into a model folder whose network learned from the same traffic. Raises SystemExit where
    what the network was told was another: then it must be fitted anew."""
    whole, new = read_folder(folder), read_folder(trial)
    for name in {"scaler.json", "week.json", "services.json"} & set(whole.files):
        if not holds(json.loads(new.files[name]), json.loads(whole.files[name])):
            raise SystemExit(f"{folder}: {name} would be another; fit it anew (--only stouter fast)")
    anew = {name: new.files[name] for name in names}
    data = new.provenance["data"] if ANEW["levels"] in names else whole.provenance["data"]  # which the levels look at
    rewrite(folder, {**whole.provenance, "data": data}, {**whole.files, **anew})


def holds(new: Any, old: Any) -> bool:
    """Whether JSON says all that an older one says, to roundings of another processor; a later version may say more,
    and what only drawing looks at (`ExpectedWeek.shared`) may be another."""
    if isinstance(old, dict):
        told = {name: part for name, part in old.items() if name != "shared"}
        return isinstance(new, dict) and all(name in new and holds(new[name], part) for name, part in told.items())
    if isinstance(old, list):
        return isinstance(new, list) and len(new) == len(old) and all(map(holds, new, old))
    if isinstance(old, float):
        return isinstance(new, float) and math.isclose(new, old, rel_tol=1e-9, abs_tol=1e-12)
    return bool(new == old)


def rewrite(folder: Path, provenance: dict[str, Any], files: Mapping[str, bytes]) -> None:
    """Write a model folder anew, with the card of its provenance."""
    in_order = json.loads(json.dumps(provenance, sort_keys=True))  # as it will be read: a card is rendered from that
    with writing_folder(folder, in_order, card(folder.name, in_order)) as temporary:
        for name, content in files.items():
            (temporary / name).parent.mkdir(parents=True, exist_ok=True)
            (temporary / name).write_bytes(content)


def publish(out: Path) -> None:
    """Put a model folder into the package."""
    shutil.rmtree(MODELS / out.name, ignore_errors=True)
    shutil.copytree(out, MODELS / out.name)


if __name__ == "__main__":
    main()
