"""`gentraffic.evaluate` and `gentraffic.validate`: how good synthetic traffic is, as such and to train on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from gentraffic.api.inputs import (
    check_at_most,
    check_threads,
    check_whole,
    context_source,
    names_given,
    percent_given,
    traffic_source,
)
from gentraffic.api.language import speaks_options, speaks_python
from gentraffic.api.result import Shown
from gentraffic.evaluation.evaluate import Evaluation
from gentraffic.forecasting.tstr import Validation

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from gentraffic.evaluation.scores import Score

MOST_SEEDS = 1000  # each is three trainings of every forecaster


@dataclass(frozen=True, eq=False, repr=False)
class EvaluationResult(Shown, Evaluation):
    """Every fidelity metric of synthetic traffic, beside the naive rows.

    Attributes
    ----------
    scores : dict of str to Score
        Metric -> value with its 95% interval (low, high), or None and the reason.
    naive : dict of str to dict of str to Score
        Naive row -> metric -> Score.
    missing : dict of str to str
        Naive row -> why it is not there.
    pair : Pair
        The values compared: real (cells, steps), synthetic (members, cells, steps).
    p9999 : tuple of float and str
        The divisor of the `_p9999` scaling, in the units compared, and the traffic that it is of.
    resampled : str
        What the intervals are drawn over, such as "26 locations".
    notes : tuple of str
        What a reader must know.
    files : dict of str to str
        Role (real, synthetic, train, context) -> what the file is called.
    """

    files: dict[str, str] = field(default_factory=dict)
    title = "Synthetic traffic against measured traffic"
    __repr__ = Shown.__str__

    def to_json(self) -> dict[str, Any]:
        """What `--json` prints: the files and every figure."""
        return {**self.files, **super().to_json()}

    def text(self, *, width: int = 100, colour: bool = False) -> list[str]:
        """Lines for a terminal: the files, and the whole report, about `width` characters wide."""
        from gentraffic.reports.evaluation_table import text

        return [*(f"{role:<10} {name}" for role, name in self.files.items()), text(self, width=width, colour=colour)]

    def rows(self) -> list[tuple[str, ...]]:
        """A row per metric: its value, 95% interval, that of a perfect copy, and those of the naive rows."""
        from gentraffic.reports.evaluation_table import rows

        return rows(self)

    def to_frame(self) -> pd.DataFrame:
        """A pandas DataFrame, a row per metric: value, low and high of its 95% interval, best (that of a perfect copy),
        the value of each naive row, nan where there is none, and reason, which says why the value is missing."""
        import pandas as pd

        from gentraffic.evaluation.scores import METRICS

        columns = {
            "value": {name: score.value for name, score in self.scores.items()},
            "low": {name: score.low for name, score in self.scores.items()},
            "high": {name: score.high for name, score in self.scores.items()},
            "best": {metric.name: metric.best for metric in METRICS},
            **{row: {name: score.value for name, score in scores.items()} for row, scores in self.naive.items()},
        }
        frame = pd.DataFrame(columns, index=pd.Index(list(self.scores), name="metric"), dtype=float)
        return frame.assign(reason=[score.reason for score in self.scores.values()])

    def sentences(self) -> list[str]:
        """The notes, and which metrics and which naive rows have no value."""
        from gentraffic.reports.evaluation_table import missing, reasons

        empty = [f"no value of {', '.join(names)}: {why}" for why, names in reasons(self).items()]
        return [
            *self.notes,
            *empty,
            *(f"no naive row {', '.join(names)}: {why}" for why, names in missing(self).items()),
        ]

    def with_words(self, say: Callable[[str], str]) -> Self:
        """The same evaluation, its sentences in other words."""

        def in_words(scores: dict[str, Score]) -> dict[str, Score]:
            return {name: replace(score, reason=say(score.reason)) for name, score in scores.items()}

        return replace(
            self,
            scores=in_words(self.scores),
            naive={name: in_words(scores) for name, scores in self.naive.items()},
            missing={name: say(why) for name, why in self.missing.items()},
            notes=tuple(map(say, self.notes)),
        )


@dataclass(frozen=True, eq=False, repr=False)
class ServiceEvaluations(Shown):
    """Evaluations of one service or several.

    by_service: service -> result, the main one first; one entry "" where files hold one service each.
    """

    by_service: dict[str, EvaluationResult]
    title = EvaluationResult.title
    __repr__ = Shown.__str__

    def rows(self) -> list[tuple[str, ...]]:
        """Those of each service, its name before them."""
        every = [(name, result.rows()) for name, result in self.by_service.items()]
        return [("service", *every[0][1][0]), *((name, *row) for name, rows in every for row in rows[1:])]

    def sentences(self) -> list[str]:
        """Those of each service."""
        return list(dict.fromkeys(said for result in self.by_service.values() for said in result.sentences()))

    def with_words(self, say: Callable[[str], str]) -> Self:
        """The same evaluations, their sentences in other words."""
        return replace(self, by_service={name: result.with_words(say) for name, result in self.by_service.items()})

    def to_json(self) -> dict[str, Any]:
        """What `--json` prints: the figures of the main service, and, of several, those of each."""
        figures = {name: result.to_json() for name, result in self.by_service.items()}
        return next(iter(figures.values())) | ({"by_service": figures} if len(figures) > 1 else {})

    def text(self, *, width: int = 100, colour: bool = False) -> list[str]:
        """Lines for a terminal: the report of each service, about `width` characters wide."""
        return [line for result in self.by_service.values() for line in result.text(width=width, colour=colour)]


@dataclass(frozen=True, eq=False, repr=False)
class ValidationResult(Shown, Validation):
    """Scores of forecasters that were trained on real traffic (trtr), on synthetic (tstr) and on both (aug).

    Attributes
    ----------
    scores : dict
        `scores[forecaster][training]`: of each seed, metric -> (services, steps ahead).
    naive : dict
        Naive forecaster -> metric -> (services, steps ahead), None where the history is too short for it.
    material : Material
        What was trained on and tested on: counts, services, units, notes.
    horizon : int
        Steps ahead.
    weighing : dict
        The weights that sim-mstnet gave to the variants.
    files : dict of str to str
        Role (real, synthetic) -> what the file is called.
    asked : dict
        few_percent, seeds and seed, as they were asked for.
    """

    files: dict[str, str] = field(default_factory=dict)
    asked: dict[str, Any] = field(default_factory=dict)

    title = "Forecasters trained on synthetic traffic, tested on measured traffic"
    __repr__ = Shown.__str__

    def to_json(self) -> dict[str, Any]:
        """What `--json` prints: the files, `["forecasters"][forecaster][service]["step_1"]`, means over seeds with
        intervals, and what was asked for."""
        from gentraffic.reports.validation_table import to_json

        return {**self.files, **to_json(self), **self.asked}

    def text(self) -> list[str]:
        """Lines for a terminal: what was done, and a table per service and step ahead."""
        from gentraffic.reports.validation_table import text

        return text(self)

    def rows(self) -> list[tuple[str, ...]]:
        """A row per service, step ahead, forecaster and training."""
        from gentraffic.reports.validation_table import rows

        return rows(self)

    def sentences(self) -> list[str]:
        """What a reader must know of the data, and what the figures say in words."""
        from gentraffic.reports.validation_table import about, judgements

        return [*about(self), *judgements(self)]

    def to_frame(self) -> pd.DataFrame:
        """A row per service, step ahead, forecaster and training, as numbers: mae, rmse, and the gap in mae in percent
        with its 95% interval (gap, gap_low, gap_high)."""
        import pandas as pd

        from gentraffic.reports.validation_table import frame_rows

        return pd.DataFrame(frame_rows(self))

    def with_words(self, say: Callable[[str], str]) -> Self:
        """The same validation, its notes in other words."""
        return replace(self, material=replace(self.material, notes=tuple(map(say, self.material.notes))))


@speaks_python
def evaluate(
    real: str | Path | xr.Dataset,
    synthetic: str | Path | xr.Dataset,
    *,
    train: str | Path | xr.Dataset | None = None,
    context: str | Path | xr.Dataset | None = None,
    service: str | None = None,
    scale: str = "auto",
    seed: int = 0,
    html: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> EvaluationResult:
    """Compare synthetic with measured traffic by every fidelity metric, each with its 95% interval.

    Cells are matched by `cell_id` and steps by their UTC time; the finer cadence is averaged to the coarser. Metrics
    that compare hour with hour have no value where the two share no time.

    Parameters
    ----------
    real : path or Dataset (cell, time)
        Measured traffic.
    synthetic : path or Dataset ([member,] cell, time)
        Drawn traffic of the same cells.
    train : path or Dataset (cell, time), optional
        Measured traffic that the naive rows may copy, and that the `_p9999` scaling is of.
    context : path or Dataset (cell), optional
        The POIs of all cells of `train` and `real`: a file, or a bundled city by its name.
    service : str, optional
        The variable, where there are several.
    scale : {"auto", "none", "mean"}
        auto: nothing is scaled where units agree; relative traffic is multiplied by the mean of `train`, else so that
        its mean is that of `real`.
    seed : int
        Of the intervals and of the naive rows.
    html : path, optional
        Where to write a page with plots (.html).
    progress : callable, optional
        Is told (rows scored, of).

    Returns
    -------
    EvaluationResult

    Raises
    ------
    WrongUse
        For traffic that does not belong together: other cells, units or services; or an unknown scale.
    BadInput
        For a file that is missing or breaks its schema, or where every cell is dead.
    """
    from gentraffic.evaluation.evaluate import evaluate as score_rows
    from gentraffic.io import atomic

    if html is not None:
        atomic.check_writable(html, (".html", ".htm"))
    check_whole(0, seed=seed)
    measured, drawn = traffic_source(real, "real"), traffic_source(synthetic, "synthetic")
    training = None if train is None else traffic_source(train, "train")
    places = None if context is None else context_source(context, "context")
    scored = score_rows(
        measured.ds,
        drawn.ds,
        train=None if training is None else training.ds,
        context=None if places is None else places.ds,
        service=service,
        scale=scale,
        seed=seed,
        progress=progress,
    )
    named = {"real": measured, "synthetic": drawn, "train": training, "context": places}
    files = {role: source.name for role, source in named.items() if source is not None}
    if html is not None:
        from gentraffic.reports.evaluation import write_page

        write_page(scored, measured.ds, html, files=files, attributions=[measured.ds, drawn.ds])
    return EvaluationResult(**vars(scored), files=files)


@speaks_python
def evaluate_services(
    real: str | Path, synthetic: str | Path, *, service: str | None = None, html: str | Path | None = None, **more: Any
) -> ServiceEvaluations:
    """`evaluate` of each service that is named, with commas between, or, for None, that both files are known to hold.

    html: the page of the first; those of others have their service in the name. more: the other arguments of
    `evaluate`, which it raises as.
    """
    from gentraffic.dataset.services import shared_services, split_names

    names = split_names(service)
    if service is None:
        files = [traffic_source(real, "real"), traffic_source(synthetic, "synthetic")]
        shared = shared_services(*([str(v) for v in file.ds.data_vars] for file in files))
        names = shared if len(shared) > 1 else ()
    out: dict[str, EvaluationResult] = {}
    page = None if html is None else Path(html)
    for name in names or (None,):
        own = page if page is None or not out else page.with_stem(f"{page.stem}-{name}")
        out[name or ""] = speaks_options(evaluate)(real, synthetic, service=name, html=own, **more)
    return ServiceEvaluations(out)


@speaks_python
def validate(
    real: str | Path | xr.Dataset,
    synthetic: str | Path | xr.Dataset,
    *,
    forecaster: str | Sequence[str] = (),
    service: str | Sequence[str] = (),
    few: float | str = 100.0,
    seeds: int = 3,
    holdout: float = 0.2,
    horizon: int = 1,
    steps: int | None = None,
    seed: int = 0,
    threads: int = 0,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> ValidationResult:
    """Train forecasters on real traffic (trtr), on synthetic (tstr) and on both (aug); test all on the same real steps.

    Tested on the last 15% of the real steps, at locations held out from training where there are five or more. The
    naive forecasters stand beside them.

    Parameters
    ----------
    real : path or Dataset (cell, time)
        Measured traffic, in any unit.
    synthetic : path or Dataset ([member,] cell, time)
        Drawn traffic of the same cadence, in any unit.
    forecaster : str or sequence of str
        What to train; by default lightgbm (a minute for 125 cells and four weeks), or lightgbm-day where a series has
        no two weeks to train on. Networks take a minute or more for each of the 3 x `seeds` trainings.
    service : str or sequence of str
        The variables to forecast, where the two share several.
    few : float or str
        Percent, such as 5 or "5%", of the real training cells that may be used, other ones with every seed.
    seeds : int
        Trainings of each kind; the intervals are over them.
    holdout : float
        Share of the real locations, 0 to 0.5, that is tested on and never trained on.
    horizon : int
        Steps ahead, each fed back into the next.
    steps : int, optional
        Training steps at most; 800 by default.
    seed : int
        Of the first training and of the held-out locations, as in `gentraffic fit`.
    threads : int
        Of torch; 0 for as many as it has.
    device : {"cpu", "cuda"}
        Where the forecasters are trained.
    progress : callable, optional
        Is told (trainings done, of).

    Returns
    -------
    ValidationResult

    Raises
    ------
    WrongUse
        For an unknown forecaster, service or device, or a number out of its bounds.
    BadInput
        For a file that is missing or breaks its schema, cadences that differ, or traffic that is too short.
    """
    from gentraffic.forecasting import tstr
    from gentraffic.forecasting.choices import torch_threads
    from gentraffic.training.processes import check_device

    check_device(device)
    check_whole(1, steps=steps, seeds=seeds, horizon=horizon)
    check_at_most(MOST_SEEDS, seeds=seeds)
    check_whole(0, seed=seed)
    check_threads(threads)
    percent = percent_given("few", few)
    measured, drawn = traffic_source(real, "real"), traffic_source(synthetic, "synthetic")
    with torch_threads(threads):
        scored = tstr.validate(
            measured.ds,
            drawn.ds,
            list(dict.fromkeys(names_given(forecaster))),
            tstr.ValidationPlan(names_given(service), percent, seeds, seed, holdout, horizon, steps, device),
            on_fit=progress,
        )
    asked = {"few_percent": percent, "seeds": seeds, "seed": seed}
    return ValidationResult(**vars(scored), files={"real": measured.name, "synthetic": drawn.name}, asked=asked)
