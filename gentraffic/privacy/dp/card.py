"""The card of a model that was fitted with differential privacy: what is promised, to whom, and what is not."""

from __future__ import annotations

from typing import Any

from gentraffic.privacy.dp.accounting import weakness

LIMITS = """
- epsilon bounds how much more likely anything that can be drawn from this folder becomes when the traffic of one cell,
  with all its days, is put into the training data or taken out. It says nothing about users: one user is in many cells.
- Cells near one another resemble each other. What the neighbours of a cell show about it remains, with or without it.
- The list of cells, their positions, their POIs, the calendar, the range of levels and the model to start from (if any)
  were taken as public. Deciding which file and which settings to use looked at nothing private, or is not covered.
- Every further fit on the same traffic spends its own epsilon, and they add up.
- The seed of the noise and of the sampling came from the operating system, was kept in the checkpoint alone, and went
  with it. Whoever held a copy of the checkpoint could subtract the noise. Running time is not protected.
- The proof is about real numbers. Noise is computed in 64-bit floating point, the sum of four draws so that the gaps of
  single ones do not tell what they hide; gradients are summed in 32 bits. No attack on that is known to us, none is
  ruled out.
- The traffic files are named here without their hashes, which would let anyone confirm a guess of what is in them.
""".strip()
RELEASED = """
These scores were asked for (`--holdout`). They were computed without noise from private cells, those that were held out
and, in the naive rows, those that trained: epsilon does not cover this table. Do not publish it where it must hold.
""".strip()
WITHHELD = (
    "No scores: they would be computed from private cells without noise. `--holdout 0.2` writes them, at that price, "
    "into a file of its own beside this folder, which does not go with it."
)


def attempts_text(attempts: dict[str, int]) -> str:
    """How many private fits were begun under this name, and how many of them never ended."""
    aborted = attempts["begun"] - attempts["ended"]
    said = f"{attempts['begun']} begun, {aborted} of them aborted"
    return said if not aborted else f"{said}; what anyone saw of those spends an epsilon of its own for each"


def scores_page(name: str, judged: str) -> str:
    """The file of scores that lies beside a private model, not in it. judged: a table."""
    return f"# Scores of {name}: not for publication\n\n{RELEASED}\n\n{judged}\n"


def private_card(name: str, provenance: dict[str, Any]) -> str:
    """The README.md of a model folder that was fitted with differential privacy."""
    known, kept = provenance, provenance["privacy"]
    start = kept["start"]
    lines = [
        f"# {name}",
        "",
        "Draws synthetic cellular traffic for cells or base stations, given the points of interest around them.",
        f"A STOUTER model ({known['parameters']:,} weights), fitted with differential privacy.",
        "",
        "## Privacy",
        "",
        "| | |",
        "|---|---|",
        f"| epsilon | {kept['epsilon']:.3f} (asked for: {kept['target_epsilon']:g}) |",
        f"| delta | {kept['delta']:g} |",
        f"| unit | {kept['unit']} |",
        f"| adjacency | {kept['adjacency']} |",
        f"| accountant | {kept['accountant']}; everything together |",
        f"| cells listed | {kept['cells_listed']} |",
        f"| clip (L2 norm of a cell's gradient) | {kept['clip']:g} |",
        f"| cells per step, expected; the constant denominator | {kept['expected_batch']:g} |",
        "",
        "| mechanism | sigma (noise multiplier) | sampling rate | steps |",
        "|---|---|---|---|",
        *(
            f"| {m['name']} | {m['noise_multiplier']:.4f} | {m['sample_rate']:.6f} | {m['steps']} |"
            for m in kept["mechanisms"]
        ),
        "",
        "`range`: a histogram of log levels per network, within "
        f"{kept['level_range'][0]:g} to {kept['level_range'][1]:g} (public).",
        "`statistics`: sums from which the level models" + (" are computed." if start else " and the scaler are."),
        "`training`: DP-SGD, one clipped gradient per cell and step, cells entering by Poisson sampling.",
        *([f"Begun from a public model that knows {', '.join(start['networks'])}."] if start else []),
        *([f"To be clear: {start['declared']}."] if start and start.get("declared") else []),
        *(
            [f"Cells below a mean traffic of {kept['suppressed_below']:g} per step were taken as silent."]
            if kept.get("suppressed_below") is not None
            else []
        ),
        *([f"Attempts: {attempts_text(kept['attempts'])}."] if kept.get("attempts") else []),
        *([f"Take care: {weak}."] if (weak := weakness(float(kept["epsilon"]))) else []),
        "",
        LIMITS,
        "",
        "## Trained on",
        "",
        "| data | licence | attribution |",
        "|---|---|---|",
        *dict.fromkeys(f"| {part['title']} | {part['license']} | {part['attribution']} |" for part in known["data"]),
        "",
        f"{known['steps']} steps, public seed {known['seed']}, by",
        "",
        f"    {known['command']}",
        "",
        "## How good it is",
        "",
        WITHHELD,
        "",
    ]
    return "\n".join(lines)
