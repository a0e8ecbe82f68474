"""What `evaluate` says first: what the traffic is good enough for, beside the simplest rows."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from gentraffic.evaluation.scores import METRICS, Score
from gentraffic.reports.evaluation_table import _scores, judgement, lead


def scores(**values: float) -> dict[str, Score]:
    return {metric.name: Score(values.get(metric.name), None, None, "") for metric in METRICS}


def evaluation(own: dict[str, Score]) -> Any:
    naive = {
        "mean-series": scores(crps_level=0.9, crps_shape=2.0),
        "knn-20": scores(crps_level=0.4, crps_shape=1.0),
        "b*users": scores(crps_level=0.01, crps_shape=0.01),  # knows what no generator is told: it takes no part
    }
    return SimpleNamespace(scores=own, naive=naive)


@pytest.mark.parametrize(
    ("values", "level", "hours"),
    [
        (
            {"crps_level": 0.41, "crps_shape": 0.9, "level_spearman": 0.6},
            "good enough for level",
            "good enough for hourly",
        ),
        (
            {"crps_level": 0.39, "crps_shape": 1.1, "level_spearman": 0.1},
            "busy is hardly told",
            "a naive row comes nearer",
        ),
        (
            {"crps_level": 0.95, "crps_shape": 2.1},
            "nothing was learned of the levels",
            "nothing was learned of the hours",
        ),
    ],
)
def test_a_verdict_in_words(values: dict[str, float], level: str, hours: str) -> None:
    first, second = judgement(evaluation(scores(**values)))
    for sentence, word in ((first, level), (second, hours)):
        assert word in sentence
        assert sentence.startswith("good enough" if word.startswith("good") else "not good enough")


def test_nothing_is_said_without_naive_rows_or_values() -> None:
    assert judgement(SimpleNamespace(scores=scores(crps_level=1.0), naive={})) == []
    assert judgement(evaluation(scores())) == []


def test_one_member_is_asked_for_more_and_scores_without_a_value_have_no_row() -> None:
    found = evaluation(scores(mae=1.0))
    found.pair = SimpleNamespace(synthetic=[0])
    assert lead(found) == ["one member does not tell what it is good enough for: draw --members 20"]
    assert _scores(found, explained=False).row_count == 1
    found.pair = SimpleNamespace(synthetic=[0, 1])
    assert lead(found) == []


def test_no_value_is_cut_where_the_page_is_narrow() -> None:
    from io import StringIO

    from rich.console import Console

    full = {metric.name: Score(1234.5678 / (k + 1), 1.234567e-3, 1.234567e-3, "") for k, metric in enumerate(METRICS)}
    for width in (80, 110):
        stream = StringIO()
        Console(file=stream, width=width, color_system=None).print(_scores(evaluation(full), explained=width >= 110))
        assert "…" not in stream.getvalue()
