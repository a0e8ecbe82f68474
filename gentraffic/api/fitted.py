"""What a model is fitted on, and what a fit returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from gentraffic.api.result import Shown

if TYPE_CHECKING:
    import xarray as xr

    from gentraffic.modelling.measured import Source


@dataclass(frozen=True)
class Files:
    """What a model is fitted on."""

    traffic: tuple[Path, ...]
    context: tuple[Path, ...]

    def contexts(self) -> list[xr.Dataset]:
        """The contexts, read and checked. Raises BadInput."""
        from gentraffic.io.files import read_context

        return [read_context(path) for path in self.context]

    def sources(self, contexts: Sequence[xr.Dataset], service: str | None) -> list[Source]:
        """The traffic as training takes it. Raises BadInput, WrongUse."""
        from gentraffic.io.files import read_traffic
        from gentraffic.modelling.measured import read_source

        return [read_source(read_traffic(path), contexts, service) for path in self.traffic]

    def every_service(self, contexts: Sequence[xr.Dataset], service: str | None) -> list[Source]:
        """The traffic of all services that `service` names, with commas between, or, for None, that a file is known to
        hold: the main one of each file first. Raises BadInput, WrongUse."""
        from gentraffic.dataset.services import split_names
        from gentraffic.io.files import read_traffic
        from gentraffic.modelling.measured import read_sources

        names = split_names(service) or None
        return [source for path in self.traffic for source in read_sources(read_traffic(path), contexts, names)]

    def pairs(self, service: str | None) -> list[Any]:
        """Sources and regions, as FoMo takes them. Raises BadInput, WrongUse."""
        from gentraffic.generators.fomo.data import read_region
        from gentraffic.io.files import read_traffic

        contexts = self.contexts()
        return [read_region(read_traffic(path), contexts, service) for path in self.traffic]


@dataclass(frozen=True)
class FitResult(Shown):
    """A model folder that was written. facts: of the training, by name. held_out: network -> ids of the cells that were
    held out. table: scores on them beside the naive rows, Markdown; "" where none were held out. notes: what else there
    is to say. made: how much was learned, in words."""

    path: Path
    networks: tuple[str, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)
    held_out: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    table: str = ""
    title: str = "A fitted model"
    notes: tuple[str, ...] = ()
    made: str = ""

    def rows(self) -> list[tuple[str, ...]]:
        """Name and value of each fact."""
        count = sum(len(ids) for ids in self.held_out.values())
        facts = {"folder": self.path, **self.facts, "networks": ", ".join(self.networks), "cells held out": count}
        return [("", "value"), *((name, str(value)) for name, value in facts.items())]

    @property
    def held_out_note(self) -> tuple[str, ...]:
        """What a command says of the cells that were not learned from; nothing where there are none."""
        count = sum(len(ids) for ids in self.held_out.values())
        return (f"{count} cells were held out: `gentraffic split --model` finds them in a file again",) if count else ()

    def sentences(self) -> Sequence[str]:
        """Where the held-out cells are found, and the notes."""
        said = (line.replace("gentraffic split --model", "gentraffic.split(model=...)") for line in self.held_out_note)
        return (*said, *self.notes)

    def to_json(self) -> dict[str, Any]:
        """What `--json` prints: output, and the facts."""
        return {"output": str(self.path), **self.facts}

    def text(self) -> list[str]:
        """Lines for a terminal: the table, the notes, and how much was learned."""
        table, made = [self.table] if self.table else [], [f"{self.path}: {self.made}"] if self.made else []
        return [*table, *self.held_out_note, *self.notes, *made]

    def with_words(self, say: Callable[[str], str]) -> Self:
        """The same, its notes in other words."""
        return replace(self, notes=tuple(map(say, self.notes)))
