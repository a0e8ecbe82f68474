"""What `fit` says of its own model beside the naive rows, in words."""

from __future__ import annotations

from gentraffic.evaluation.holdout import in_words


def test_a_model_that_a_naive_row_beats_is_told_so() -> None:
    def row(*crps: float) -> list[dict[str, dict[str, list[float]]]]:
        return [{"a": {"crps": list(crps)}, "b": {"crps": [1.0, 1.0]}}]

    rows = {"knn-20": row(0.2, 0.4), "bootstrap": row(0.5, 0.5), "true level x bootstrap-shape": row(0.0, 0.0)}
    first, second = in_words(rows | {"vae (this model)": row(0.3, 0.4)}, "vae (this model)")
    assert first.startswith("a: on cells that it did not see, this model does not beat knn-20")
    assert "crps 0.3500, that of knn-20 0.3000" in first
    assert "does not beat" in second  # a tie is no win
    assert "beats every naive row" in in_words(rows | {"m": row(0.1, 0.2)}, "m")[0]
    assert in_words({"m": row(0.1)}, "m") == []
