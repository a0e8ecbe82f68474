"""What functions return that is neither a Dataset nor a GeoDataFrame: numbers that a notebook shows as a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Self

WARNING = "warning: "  # begins a line that a person must see whatever becomes of the output


def html_table(rows: list[tuple[str, ...]], caption: str = "") -> str:
    """Rows as an HTML table, the first of them as its head; all text is escaped."""
    head, *body = rows
    lines = [f"<table><caption>{escape(caption)}</caption>" if caption else "<table>"]
    lines.append("<thead><tr>" + "".join(f"<th>{escape(cell)}</th>" for cell in head) + "</tr></thead><tbody>")
    lines += ["<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in body]
    return "\n".join([*lines, "</tbody></table>"])


def warned(warnings: Sequence[str]) -> list[str]:
    """Warnings as lines for a person."""
    return [f"{WARNING}{warning}" for warning in warnings]


class Shown:
    """Base of results: shown as a table in a notebook, and as text elsewhere. Subclasses give `rows` and `title`.

    Those that hold sentences for a reader give `sentences`, which stand below the table, and `with_words`. What a
    command prints of a result are its `to_json`, figures by name, and its `text`, lines for a terminal.
    """

    title: str = ""

    def rows(self) -> list[tuple[str, ...]]:
        """Text, row by row; the first row holds the names of the columns."""
        raise NotImplementedError

    def sentences(self) -> Sequence[str]:
        """What a reader must know of the numbers."""
        return ()

    def with_words(self, say: Callable[[str], str]) -> Self:
        """The same result with its sentences in other words, such as those of Python for the options they name."""
        return self

    def _repr_html_(self) -> str:
        below = "<br>".join(escape(sentence) for sentence in self.sentences())
        return html_table(self.rows(), self.title) + (f"\n<p>{below}</p>" if below else "")

    def __str__(self) -> str:
        rows = self.rows()
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        return "\n".join([*([self.title] if self.title else []), *lines, *self.sentences()])


@dataclass(frozen=True)
class Facts(Shown):
    """Figures by name, and the lines that say them to a person; those of warnings begin with WARNING."""

    values: Mapping[str, Any]
    lines: Sequence[str]
    title: str = ""

    def rows(self) -> list[tuple[str, ...]]:
        """Name and value of each figure."""
        return [("", "value"), *((name, str(value)) for name, value in self.values.items())]

    def to_json(self) -> dict[str, Any]:
        """The figures."""
        return dict(self.values)

    def text(self) -> list[str]:
        """The lines."""
        return list(self.lines)
