"""The scores of a private model: a file beside the model folder, which does not go with it."""

from __future__ import annotations

from pathlib import Path

from gentraffic.io.atomic import replacing

UNCOVERED = """
These scores were asked for (`--holdout`). They were computed without noise from private cells, those that were held out
and, in the naive rows, those that trained: epsilon does not cover this table. Do not publish it where it must hold.
""".strip()


def write_scores(model: Path, table: str) -> Path:
    """Write a Markdown table of scores beside the model folder; the file's path."""
    path = model.with_name(f"{model.name}.scores.md")
    with replacing(path, (".md",)) as temporary:
        temporary.write_text(f"# Scores of {model.name}: not for publication\n\n{UNCOVERED}\n\n{table}\n", "utf-8")
    return path
