"""What `gentraffic.plan` returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

from gentraffic.api.language import in_python
from gentraffic.api.result import Shown

D = TypeVar("D")  # the decision
O = TypeVar("O")  # noqa: E741  # its outcome
FAR = 0.2  # gap from which a plan is not called near the optimum


@dataclass(frozen=True, eq=False, repr=False)
class Plan(Shown, Generic[D, O]):
    """A decision, and what it costs beside the same decision made from other data.

    Attributes
    ----------
    decision : xarray.Dataset or geopandas.GeoDataFrame
        Units or blocks per cell and step (cell, time); or one row per new site: id, cost, rank, geometry in degrees.
    outcomes : mapping of str to SleepOutcome, PrbOutcome or DeployOutcome
        What each plan does to the traffic that judges; "this file" is the decision. The others are made from
        "real (hindsight)" and "history" where these were given, and by a simple rule.
    gap : float
        Relative, between the decision and the best possible; 0 is the optimum.
    judged_by : str
        The file that judges.
    notes : tuple of str
        How the other files were taken.
    title : str
        What was decided.
    out : Path, optional
        The file that holds it.
    shortfall : str
        What the decision leaves unserved, in words, which is said first; "" for nothing.
    """

    decision: D
    outcomes: Mapping[str, O]
    gap: float
    judged_by: str
    notes: tuple[str, ...] = ()
    title: str = ""
    out: Path | None = None
    shortfall: str = ""

    __repr__ = Shown.__str__

    @property
    def quality(self) -> str:
        """How near the optimum it is, in words."""
        if self.gap > FAR:
            return (
                f"not proven good: the optimum may be {self.gap:.0%} better; give a larger --time-limit, or fewer "
                "cells, candidates or steps"
            )
        return "the optimum" if self.gap < 1e-6 else f"within {self.gap:.2%} of the optimum"

    def rows(self) -> list[tuple[str, ...]]:
        """A row per plan: what it was made from, and its outcome."""
        outcomes: Mapping[str, Any] = self.outcomes
        head = next(iter(outcomes.values())).COLUMNS
        return [("plan from", *head), *((name, *outcome.row()) for name, outcome in outcomes.items())]

    def sentences(self) -> list[str]:
        """The notes, by what the plans are judged, and how good the decision is for its own traffic."""
        quality = in_python(self.quality)
        return [*self.every_note, f"Judged by {self.judged_by}. The decision is {quality} for its own traffic."]

    def with_words(self, say: Callable[[str], str]) -> Self:
        """The same plan, its notes in other words."""
        return replace(self, notes=tuple(map(say, self.notes)), shortfall=say(self.shortfall))

    @property
    def every_note(self) -> list[str]:
        """The shortfall, where there is one, and the notes."""
        return [*filter(None, [self.shortfall]), *self.notes]

    def text(self) -> list[str]:
        """Lines for a terminal: shortfall, table, notes, and how good the decision is for its own traffic."""
        from gentraffic.planning.load import table_text

        where = "" if self.out is None else f"{self.out}: "
        first = filter(None, [self.shortfall])
        return [*first, *table_text(self.rows()), *self.notes, f"{where}{self.quality} for this file"]

    def to_json(self) -> dict[str, Any]:
        """What `--json` prints: output, judged_by, gap, outcomes, notes; without the decision itself."""
        outcomes: Mapping[str, Any] = self.outcomes
        return {
            **({} if self.out is None else {"output": str(self.out)}),
            "judged_by": self.judged_by,
            "gap": self.gap,
            "outcomes": {name: asdict(outcome) for name, outcome in outcomes.items()},
            "notes": self.every_note,
        }
