"""What `gentraffic.forecast` returns beside Datasets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from gentraffic.api.result import Facts, Shown, warned

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from gentraffic.forecasting.fit import Fitted
    from gentraffic.forecasting.folder import TrainingScaler
    from gentraffic.forecasting.score import Scored


def forecast_facts(ahead: xr.Dataset, out: str | Path) -> Facts:
    """A forecast ([member,] cell, time) that was written to `out`, in figures."""
    from gentraffic.forecasting.choices import warnings_of

    cells, horizon, names = ahead.sizes["cell"], ahead.sizes["time"], [str(name) for name in ahead.data_vars]
    first, warnings = str(ahead["time"].values[0])[:16] + "Z", warnings_of(cells)
    values = {
        "output": str(out), "forecaster": str(ahead.attrs["model"]).partition(" ")[0], "services": names,
        "horizon": horizon, "first": first, "cells": cells, "warnings": warnings,
    }  # fmt: skip
    line = f"{out}: {horizon} steps of {', '.join(names)} from {first} on, {cells} cells"
    return Facts(values, [*warned(warnings), line])


def learned_in_words(facts: Mapping[str, Any]) -> str:
    """What a forecaster learned, from what is told of its training: trees or weights, counted."""
    if "trees" in facts:
        return f"{facts['steps']:,} trees"
    return f"{facts['parameters']:,} weights" if "parameters" in facts else "nothing to learn"


@dataclass(frozen=True, eq=False, repr=False)
class FittedForecaster(Shown):
    """A forecaster that `run` and `score` take, and how good it was on the steps that its training left for the test.

    Attributes
    ----------
    fitted : Fitted
        Its name and its network, on the device it was asked for.
    provenance : mapping
        What `provenance.json` holds: services, units, data and licences, plan, seed, scores, attribution.
    scaler : TrainingScaler
        Mean and spread of each training cell, (cells, services).
    folder : Path or None
        Where it is written.
    sha256 : str
        Of the folder's files; empty where there is none.
    training : mapping
        What `fit` tells of the training: parameters, windows, steps, minutes; empty for one that was loaded.
    warnings : tuple of str
        What a user should know of the data.
    """

    fitted: Fitted
    provenance: Mapping[str, Any]
    scaler: TrainingScaler
    folder: Path | None = None
    sha256: str = ""
    training: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    __repr__ = Shown.__str__

    @property
    def name(self) -> str:
        """The kind of forecaster, such as "stn-slstm-day"."""
        return self.fitted.name

    @property
    def services(self) -> list[str]:
        """The services that it was fitted on."""
        return list(self.provenance["services"])

    @property
    def scores(self) -> dict[str, Any]:
        """Scores on the test part: `["scores"][row][service][metric]`, a list over the steps ahead; and their units."""
        return dict(self.provenance["scores"])

    @property
    def learned(self) -> str:
        """What it learned, from how much, in how long."""
        facts = self.training
        if not facts:
            return f"{self.name}, nothing to learn"
        steps = "" if "trees" in facts else f", {facts['steps']} steps"
        return f"{learned_in_words(facts)}, {facts['windows']} windows{steps} in {facts['minutes']} min"

    def to_json(self) -> dict[str, Any]:
        """What `--json` prints: output, forecaster, services, what is told of the training, scores, warnings."""
        output = {} if self.folder is None else {"output": str(self.folder)}
        values = {**output, "forecaster": self.name, "services": self.services, **self.training}
        return {**values, **self.scores, "warnings": list(self.warnings)}

    def text(self) -> list[str]:
        """Lines for a terminal: warnings, the scores on the test part, and what it learned."""
        where = "" if self.folder is None else f"{self.folder}: "
        return [*warned(self.warnings), self.provenance["tables"]["held_out"], f"{where}{self.learned}"]

    def rows(self) -> list[tuple[str, ...]]:
        """A row per service, forecaster and step ahead, the first and the last."""
        from gentraffic.forecasting.score import score_rows

        scores = self.scores
        rows = sorted(scores["scores"], key=lambda row: (row != self.name, row))  # alike where it was loaded
        return score_rows({**scores, "scores": {row: scores["scores"][row] for row in rows}})

    def sentences(self) -> list[str]:
        """What it is, and what a user should know."""
        learned = learned_in_words(self.provenance)
        where = f", {self.folder}" if self.folder else ""
        return [f"The forecaster {self.name} of {', '.join(self.services)}: {learned}{where}.", *self.warnings]


@dataclass(frozen=True, eq=False, repr=False)
class ForecastScores(Shown):
    """Scores of a forecaster beside the naive ones.

    Attributes
    ----------
    scored : Scored
        The numbers behind the table, for forecasts of your own beside them: `starts` (starts,), positions in the time
        of the traffic of the first step forecast; `real` and `predicted[name]` (starts, cells, horizon, services), in
        `units`; `rows[name][metric]` (services, horizon).
    forecaster : str
        Its name.
    services, units : tuple of str
        What was forecast, and its units.
    sha256 : str
        Of the forecaster's folder; empty where there is none.
    warnings : tuple of str
        What a user should know of the data.
    model, traffic : str
        What the forecaster and the traffic are called: their paths.
    """

    scored: Scored
    forecaster: str
    services: tuple[str, ...]
    units: tuple[str, ...]
    sha256: str = ""
    warnings: tuple[str, ...] = ()
    model: str = ""
    traffic: str = ""

    __repr__ = Shown.__str__

    def to_frame(self) -> pd.DataFrame:
        """A pandas DataFrame, a row per service, forecaster and step ahead, all of 1 to the horizon: mae and rmse in
        the service's units, r2, ssim; nan where one is not defined."""
        import pandas as pd

        from gentraffic.forecasting.score import METRICS

        horizon = self.scored.real.shape[2]
        rows = [
            (service, name, step + 1, *(float(scores[metric][s, step]) for metric in METRICS))
            for s, service in enumerate(self.services)
            for name, scores in self.scored.rows.items()
            for step in range(horizon)
        ]
        return pd.DataFrame(rows, columns=["service", "forecaster", "step", *METRICS])

    def to_json(self) -> dict[str, Any]:
        """What `--json` prints: of what, and `["scores"][row][service][metric]`, a list over the steps ahead."""
        values: dict[str, Any] = {"model": self.model, "model_sha256": self.sha256, "forecaster": self.forecaster}
        scores = self.scored.to_json(self.services, self.units)
        return {**values, "traffic": self.traffic, **scores, "warnings": list(self.warnings)}

    def text(self) -> list[str]:
        """Lines for a terminal: warnings, a table of all steps ahead for each service, and which rows are missing."""
        from gentraffic.forecasting.score import coverage_line, table

        starts, cells = self.scored.real.shape[:2]
        lines: list[str] = []
        for s, (service, units) in enumerate(zip(self.services, self.units, strict=True)):
            lines += [f"{service}, {units}, {starts} starts x {cells} cells", table(self.scored, s)]
            lines += coverage_line(self.scored, s)
        return [*warned(self.warnings), *lines, *(f"no row {name}: {why}" for name, why in self.scored.missing.items())]

    def rows(self) -> list[tuple[str, ...]]:
        """A row per service, forecaster and step ahead, the first and the last."""
        from gentraffic.forecasting.score import score_rows

        return score_rows(self.scored.to_json(self.services, self.units))

    def sentences(self) -> list[str]:
        """What was scored on, how often the 90% range held, and which rows are missing."""
        from gentraffic.forecasting.score import coverage_line

        starts, cells = self.scored.real.shape[:2]
        covered = [
            f"{service}: {line}" if len(self.services) > 1 else line
            for s, service in enumerate(self.services) for line in coverage_line(self.scored, s)
        ]  # fmt: skip
        counted = f"{starts:,} first steps of {cells:,} cells."
        return [
            counted,
            *covered,
            *(f"No row {name}: {why}." for name, why in self.scored.missing.items()),
            *self.warnings,
        ]

    def with_words(self, say: Callable[[str], str]) -> Self:
        """The same scores, the reasons for missing rows in other words."""
        missing = {name: say(why) for name, why in self.scored.missing.items()}
        return replace(self, scored=replace(self.scored, missing=missing))
