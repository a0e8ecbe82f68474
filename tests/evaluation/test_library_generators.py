"""Rows of other libraries: what they learn is scaled, what they draw comes back in the scale of the training cells."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from gentraffic.evaluation import library_generators
from gentraffic.evaluation.library_generators import Trained, library_weeks

WEEK = np.linspace(0.5, 1.5, 168)  # of mean 1
CELLS = np.outer([3.0, 700.0, 0.02], WEEK)


def test_a_library_that_gives_back_what_it_saw_draws_the_training_cells_weeks(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[NDArray[np.float32], int]] = []

    def remember(x: NDArray[np.float32], epochs: int, batch: int) -> Trained:
        seen.append((x, epochs))
        total = sum(float(i) ** 0.5 for i in range(40_000 * epochs))  # what an epoch costs
        return Trained(lambda n: x[np.arange(n) % len(x), :, 0].astype(float), int(total > 0), 7 * epochs)

    monkeypatch.setitem(library_generators.LIBRARIES, "memory", remember)
    drawn, told = library_weeks("memory", CELLS, 5, 0.4, 32)
    x, epochs = seen[-1]
    assert x.shape == (3, 168, 1)
    assert x.min() == 0
    assert x.max() == 1
    np.testing.assert_allclose(drawn, np.tile(WEEK, (5, 1)), atol=1e-6)  # mean 1, whatever the level was
    assert told["steps"] == 7 * epochs
    assert epochs > 3
    assert 0.1 < told["fit_cpu_s"] < 1.6  # the budget, by a clock of a busy machine


def test_a_library_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(x: NDArray[np.float32], epochs: int, batch: int) -> Trained:
        raise ImportError("no", name="deepecho")

    monkeypatch.setitem(library_generators.LIBRARIES, "absent", missing)
    with pytest.raises(SystemExit, match="absent needs deepecho: pip install --no-deps"):
        library_weeks("absent", CELLS, 1, 1.0, 32)
