"""The models that come with the package; importing this loads nothing else."""

from __future__ import annotations

from pathlib import Path

MODELS = Path(__file__).parents[1] / "assets" / "models"


def names() -> list[str]:
    """Names of the models that come with the package."""
    return sorted(p.parent.name for p in MODELS.glob("*/provenance.json"))


def default_model(steps: int | None, solver: str | None, guidance: float | None) -> str:
    """The quick student, or its teacher where something is asked for that a student never learned."""
    return "stouter-fast" if steps is None and solver is None and guidance in (None, 1.0) else "stouter-base"
