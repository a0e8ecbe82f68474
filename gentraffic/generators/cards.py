"""The model card and the provenance of a trained bundle."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gentraffic import __version__

EVIDENCE = """
Locations that training never saw, POIs only (protocol P1, `python benchmarks/fidelity.py`): five folds by location,
trained in each as above but Milan without its POIs; 20 members unless said; means over all held-out live cells,
`_p9999` scaling, 95% intervals by bootstrap over locations. The last columns are means over folds, and a fold
holds one location of nj. Rows of vae, tcn-gan and diffwave, where there are any, draw levels too, as published; with
"stouter's levels" they draw only the shape, in STUNet's place.
""".strip()
ABOUT_MEMBERS = """
The members of this model are spread evenly (levels) and in antithetic pairs (shapes), and the twenty of
`knn-20` are twenty different cells; the fair `crps` takes members for independent draws and flatters both by a few
percent. Rows with 100 members are nearly free of that. `true level x bootstrap-shape` is told the level: read
`crps_shape` against it. Without the temporal graph no hour can be told from another, which is harsher than in the
paper; without the station graph neither levels nor shapes look at the place.
""".strip()

MODEL_LEVELS = (
    "- In a network that was measured, levels follow its own POI categories and shapes its own habits. Elsewhere",
    "  levels follow how much stands around a cell (0.5, 1 and 2 km), and known sites where the context has them.",
    "  Where POIs say little of traffic, ranges elsewhere are too narrow: see `benchmarks/unmeasured.py`.",
    "- Member 0 (the control) has the most likely levels; its map is smoother than a real one. Ask for 20 members",
    "  to see the spread. Neighbours share part of their level's surprise, not their hourly noise.",
)
OWN_LEVELS = (
    "- The network draws the level of a cell with its week, from the place, as this baseline's paper does: what",
    "  `gentraffic fit --level model` replaces by a level model. Member 0 is a draw like the others, and cells",
    "  share no surprise.",
)


def provenance_of(
    traffic: Sequence[Path], context: Sequence[Path], told: dict[str, Any], scores: dict[str, Any]
) -> dict[str, Any]:
    """What provenance.json holds: data with hashes and licences, the run, and mean scores beside the naive rows."""
    means = {
        row: {
            network: {
                metric: _mean([v for fold in folds for v in fold[network][metric]])
                for metric in ("crps", "crps_shape", "crps_level", "coverage_90")
            }
            for network in folds[0]
        }
        for row, folds in scores.items()
    }
    return {
        **origins_of([*traffic, *context]),
        "metrics": means,
        "services": ["traffic"],
        **{key: value for key, value in told.items() if key != "validation"},
        "validation": told["validation"],
    }


def origins_of(files: Sequence[Path]) -> dict[str, Any]:
    """What provenance.json holds of the files that a model was made from: hashes, licences, attribution."""
    data = [_origin(path) for path in files]
    return {
        "gentraffic_version": __version__,
        "data": data,
        "attribution": credits_of(part["attribution"] for part in data),
    }


def naive_card(name: str, sampler: str, known: dict[str, Any]) -> str:
    """The README.md of the folder of a naive generator."""
    rows = dict.fromkeys(f"| {part['title']} | {part['license']} | {part['attribution']} |" for part in known["data"])
    lines = [
        f"# {name}",
        "",
        f"The naive generator `{sampler}`: it draws measured series again, and contains them. What a trained model",
        "must beat; never private, nothing to publish where the traffic itself may not be.",
        "",
        "| data | licence | attribution |",
        "|---|---|---|",
        *rows,
        "",
        f"    {known['command']}",
        "",
    ]
    return "\n".join(lines)


def credits_of(texts: Iterable[str]) -> str:
    """Attributions joined, each part once."""
    parts = [part.strip() for text in texts for part in text.split(";")]
    return "; ".join(dict.fromkeys(part for part in parts if part))


def model_card(name: str, provenance: dict[str, Any], judged: str, evidence: str) -> str:
    """The README.md of a model folder."""
    known = provenance
    plan = known["plan"]
    lines = [
        f"# {name}",
        "",
        "Draws synthetic cellular traffic for cells or base stations, given the points of interest around them.",
        *_built(known),
        "",
        "## Trained on",
        "",
        "| data | licence | attribution |",
        "|---|---|---|",
        *dict.fromkeys(f"| {part['title']} | {part['license']} | {part['attribution']} |" for part in known["data"]),
        "",
        f"On {known['machine']}, {known['threads']} thread(s), CPU: {known['minutes']} minutes, {known['steps']} steps",
        f"of {plan['batch']} windows, seed {known['seed']}, by",
        "",
        f"    {known['command']}",
        "",
        "## Units",
        "",
        "The sources state no units, so traffic is relative: 1 is what the mean cell carries in a mean hour.",
        "`--total` gives it units.",
        "",
        "## How good it is",
        "",
    ]
    if judged:
        lines += [f"Held-out locations ({known['held_out']:.0%} of each network), protocol P1:", "", judged, ""]
    if evidence:
        lines += [EVIDENCE, "", evidence, "", ABOUT_MEMBERS, ""]
    if not judged and not evidence:
        lines += ["Not scored: no location was held out (`--holdout 0`).", ""]
    lines += [
        "## What to trust and what not",
        "",
        *(OWN_LEVELS if known["design"].get("own_level") else MODEL_LEVELS),
        "- It knows the networks named above, over the days that were given, without holidays marked. Events, seasons",
        "  and growth are not modelled.",
        "- Not a privacy mechanism: weights come from few cells. For private traffic, audit before sharing.",
        "",
    ]
    return "\n".join(lines)


def _built(known: dict[str, Any]) -> list[str]:
    """What the model is made of, for its card."""
    design, weights = known["design"], known["parameters"]
    graphs = "GraphMAE over the hours of the week and over the stations"
    graphs += "" if design.get("own_level") else ", a level model"
    if design.get("sampler", "stouter") != "stouter":
        return [f"A baseline: {graphs}, and {design['sampler']} ({weights:,} weights)."]
    return [
        f"A STOUTER model: {graphs}, and STUNet",
        f"({weights:,} weights, channels {tuple(design['channels'])}, fusion `{design['fusion']}`,",
        f"{design['prediction_type']}, linear betas over 1000 steps).",
    ]


def student_card(name: str, teacher: str, told: dict[str, Any], table: str) -> str:
    """The README.md of a distilled model: how it was made, teacher beside student, the teacher's card."""
    plan, lesson = told["distil_plan"], told["distil_lesson"]
    lines = [
        f"# {name}",
        "",
        f"Draws in {lesson['steps']} step{'s' * (lesson['steps'] > 1)} what its teacher draws in "
        f"{lesson['teacher_steps']}: a student, distilled",
        f"on {told['machine']}, {told['threads']} thread(s), CPU, {told['distil_minutes']} minutes,",
        f"{plan['steps']} steps of {plan['batch']} windows, seed {plan['seed']}, by",
        "",
        f"    {told['command']}",
        "",
        "## Teacher and student",
        "",
        "The same noise drawn by both, for places, levels and weekdays that training did not see, in the training",
        "scale: the mean squared difference in shares of the teacher's variance, and the student's variance in shares",
        "of the teacher's.",
        "",
        "| cadence | difference | variance |",
        "|---|---|---|",
        *(f"| {name} | {v['error']:.2%} | {v['variance']:.1%} |" for name, v in told["likeness"].items()),
        "",
        table or "Not compared: give `--evidence`, the rows of `benchmarks/steps.py`.",
        "",
        "Everything below is the teacher's card.",
        "",
        teacher.replace("# ", "## Teacher: ", 1),
    ]
    return "\n".join(lines)


def _origin(path: Path) -> dict[str, Any]:
    import xarray as xr

    from gentraffic.dataset.fingerprint import marks_of

    if path.is_dir():
        digest = hashlib.sha256(b"".join(p.read_bytes() for p in sorted(path.rglob("*")) if p.is_file())).hexdigest()
        ds = xr.open_zarr(path)
        attrs, marks = dict(ds.attrs), marks_of(ds)
    else:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        with xr.open_dataset(path) as ds:
            attrs, marks = dict(ds.attrs), marks_of(ds)
    return {
        "file": path.name,
        "sha256": digest,
        "title": _title(attrs, path),
        "license": str(attrs.get("license", "not stated")),
        "attribution": str(attrs.get("attribution", "")),
        **({"cells": marks} if marks else {}),
    }


def _title(attrs: dict[str, Any], path: Path) -> str:
    title, place = str(attrs.get("title", "")), str(attrs.get("place", ""))
    return f"Points of interest, {place}" if "featureType" not in attrs and place else title or path.stem


def _mean(values: Sequence[float]) -> float:
    return round(float(np.mean(values)), 6)
