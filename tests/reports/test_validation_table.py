"""What `validate` says in words of its gaps and of the naive rows."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gentraffic.reports.validation_table import METRICS, judgement


def scores(mae: float) -> dict[str, Any]:
    return {metric: np.array([[mae]]) for metric in METRICS}


def validation(naive: float, **by_training: list[float]) -> Any:
    trained = {training: [scores(mae) for mae in values] for training, values in by_training.items()}
    return SimpleNamespace(scores={"lstm": trained}, naive={"yesterday": scores(naive), "last-week": None})


@pytest.mark.parametrize(
    ("tstr", "says"),
    [([1.03], "is good to train on: mae +3.0%"), ([1.15], "is fair to train on"), ([1.3], "is not good to")],
)
def test_a_gap_is_good_fair_or_not(tstr: list[float], says: str) -> None:
    (line,) = judgement(validation(2.0, trtr=[1.0], tstr=tstr, aug=[1.0]), 0, 0)
    assert says in line
    assert "seeds" not in line, "one seed tells nothing of chance"


def test_a_gap_that_seeds_explain_says_so() -> None:
    (line,) = judgement(validation(2.0, trtr=[1.0, 1.0], tstr=[0.9, 1.14], aug=[1.0, 1.0]), 0, 0)
    assert line.endswith("+2.0% beside real traffic, less than the seeds change")


def test_a_naive_row_that_beats_all_networks_is_named() -> None:
    *_, line = judgement(validation(0.5, trtr=[1.0], tstr=[0.9], aug=[0.8]), 0, 0)
    assert line.startswith("yesterday beats every forecaster that was trained: mae 0.5, of the best of them 0.8")
    assert len(judgement(validation(0.85, trtr=[1.0], tstr=[0.9], aug=[0.8]), 0, 0)) == 1
