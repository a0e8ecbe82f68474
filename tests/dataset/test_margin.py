"""What is refused of the cells around a context."""

from __future__ import annotations

import numpy as np
import pytest
import traffic_examples

from gentraffic.dataset.schema import check_context
from gentraffic.errors import BadInput


def test_cells_around_have_places_and_counts() -> None:
    plain = traffic_examples.context("grid")
    counts = np.ones((3, 8), dtype=np.int32)
    around = {
        "margin_poi_count": (("margin", "category"), counts), "margin_x": ("margin", np.arange(3.0)),
        "margin_y": ("margin", np.arange(3.0)),
    }  # fmt: skip
    check_context(plain)
    check_context(plain.assign(around))
    with pytest.raises(BadInput, match="margin_y"):
        check_context(plain.assign({k: v for k, v in around.items() if k != "margin_y"}))
    for name, wrong in (
        ("margin_x", ("margin", np.array([0.0, np.nan, 1.0]))),
        ("margin_poi_count", (("margin", "category"), -counts)),
    ):
        with pytest.raises(BadInput, match=f"{name} holds negative or missing values"):
            check_context(plain.assign({**around, name: wrong}))
