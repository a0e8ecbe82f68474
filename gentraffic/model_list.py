"""Where the bundled models are; importing this loads nothing else."""

from __future__ import annotations

from pathlib import Path

MODELS = Path(__file__).parent / "data" / "models"


def names() -> list[str]:
    """Names of the models that come with the package."""
    return sorted(p.parent.name for p in MODELS.glob("*/provenance.json"))
