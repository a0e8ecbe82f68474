"""The model card of a FoMo."""

from __future__ import annotations

from typing import Any

TRUST = """
- Short and long continuation of measured series, gaps, and whole weeks for places without data, all from one set of
  weights. `sample --steps 1` gives the expectation instead of a draw: the best single forecast.
- Without measured traffic and without users, levels come from the level model (POIs of the place), as in STOUTER: two
  thirds of the error is the level. With users, traffic follows them.
- In a network that was measured, the usual week and the habits are its own. Elsewhere they are the mean of the
  training networks, and traffic is relative (1 = the mean cell) unless measured traffic or `--total` gives it units.
- Windows are 64 steps long; longer series are drawn by windows whose borders move from solver step to solver step.
- Training networks: three Chinese ones and 25 cells of Milan, at most 30 days, without holidays marked. 15 min was
  learned from Nanjing alone. Events, seasons and growth are not modelled.
- Not a privacy mechanism: weights come from few cells. For private traffic, audit before sharing.
""".strip()


def card(name: str, provenance: dict[str, Any], judged: str, evidence: str) -> str:
    """The README.md of a model folder. judged: scores on held-out locations; evidence: a benchmark's tables."""
    known = provenance
    design = known.get("design", {})
    tuned = known.get("fine_tuned_from")
    data = dict.fromkeys(f"| {part['title']} | {part['license']} | {part['attribution']} |" for part in known["data"])
    lines = [
        f"# {name}",
        "",
        "Continues, fills in and generates cellular traffic of cells or base stations at 15, 30 and 60 minutes.",
        f"A masked diffusion transformer, FoMo (size `{design.get('size', '?')}`, {known['parameters']:,} weights,",
        f"tokens of {tuple(design.get('token', ()))} cells x cells x steps, {design.get('prediction_type', '?')}),",
        "users and POIs as context, either or none.",
        "",
        "## Trained on",
        "",
        "| data | licence | attribution |",
        "|---|---|---|",
        *data,
        "",
        f"On {known['machine']}, {known['threads']} thread(s), CPU: {known['minutes']} minutes, {known['steps']} steps",
        f"of {known['plan']['batch']} windows, seed {known['seed']}, by",
        "",
        f"    {known['command']}",
        "",
    ]
    if tuned:
        lines += [
            f"Fine-tuned from a model with SHA-256 {tuned['sha256'][:16]}, made by",
            "",
            f"    {tuned['command']}",
            "",
        ]
    lines += ["## How good it is", ""]
    if judged:
        lines += [f"Held-out locations ({known['held_out']:.0%} of each network), protocol P3:", "", judged, ""]
    if evidence:
        lines += [evidence.strip(), ""]
    if not judged and not evidence:
        lines += ["Not scored: no location was held out.", ""]
    return "\n".join([*lines, "## What to trust and what not", "", TRUST, ""])
