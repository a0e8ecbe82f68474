"""What `fit` says of its own model beside the naive rows, in words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from traffic_examples import context, traffic

import gentraffic
from gentraffic.evaluation.holdout import in_words
from gentraffic.io.files import write_context, write_traffic


def test_a_model_is_told_whether_it_beats_the_naive_rows() -> None:
    def row(*crps: float, places: int = 4) -> list[dict[str, dict[str, list[float]]]]:
        place = [float(i % places) for i in range(len(crps))]
        return [{"a": {"crps": list(crps), "location": place}, "b": {"crps": [1.0, 1.0], "location": [0.0, 1.0]}}]

    rows = {
        "knn-20": row(0.2, 0.4, 0.2, 0.4),
        "bootstrap": row(0.5, 0.5, 0.5, 0.5),
        "true level x bootstrap-shape": row(0.0, 0.0, 0.0, 0.0),
    }
    first, second = in_words(rows | {"vae (this model)": row(0.3, 0.4, 0.3, 0.4)}, "vae (this model)")
    assert first.startswith("a: on cells that it did not see, this model does not beat knn-20")
    assert "crps 0.3500, that of knn-20 0.3000; difference +0.0500" in first
    assert "does not beat" in second  # a tie is no win
    [won, _] = in_words(rows | {"m": row(0.1, 0.3, 0.1, 0.3)}, "m")
    assert "beats every naive row" in won
    assert "difference -0.1000, 95% -0.1000 to -0.1000" in won  # every location gains as much
    [unclear, _] = in_words(rows | {"m": row(0.0, 0.5, 0.1, 0.5)}, "m")  # the mean is less, but half of them lose
    assert "is not clearly better than knn-20, a naive row, as far as 4 locations tell" in unclear
    [alone, _] = in_words({name: row(0.3, places=1) for name in ("knn-20",)} | {"m": row(0.1, places=1)}, "m")
    assert "is not clearly better than knn-20, a naive row, as far as 1 location tell (crps 0.1000, that" in alone
    assert in_words({"m": row(0.1)}, "m") == []


def test_held_out_cells_are_drawn_as_of_the_network_that_was_measured_where_the_context_names_none(
    tmp_path: Path,
) -> None:
    """The same scores, whether the context names the network or not; that it names none is said."""
    place = context(n=8).assign_coords(location=("cell", np.repeat(np.arange(16), 4)))
    series = traffic(place, days=14, units="MB").assign_attrs(network="mine")
    write_traffic(series, tmp_path / "t.nc")
    tables, notes = [], []
    for name in ("", "mine"):
        write_context(place.assign_attrs({"network": name} if name else {}), tmp_path / "c.nc")
        found = gentraffic.fit("stouter", tmp_path / "t.nc", tmp_path / "c.nc", out=tmp_path / f"m{name}", steps=1)
        tables.append(found.table)
        notes.append(any("c.nc names no network" in note for note in found.notes))
    assert tables[0] == tables[1] != ""
    assert notes == [True, False]
