"""The HTML that results give a notebook, parsed: every tag must be closed in its order."""

from __future__ import annotations

from html.parser import HTMLParser

OPEN_ENDED = {"br"}


class _Cells(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.cells: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in OPEN_ENDED:
            self.open.append(tag)
        if tag in ("th", "td"):
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}> is out of order"

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("th", "td"):
            self.cells[-1] += data


def cells_of(html: str) -> list[str]:
    """The text of all cells of the table, row by row. Fails where a tag is not closed or closed out of order."""
    parser = _Cells()
    parser.feed(html)
    parser.close()
    assert not parser.open, f"never closed: {parser.open}"
    assert parser.cells
    return parser.cells
