"""Two measured networks and one of which only the times are known, as a sampler's training takes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from bundle_examples import PLAN, sources

from gentraffic.modelling.features import Scaler
from gentraffic.modelling.levels import Measured, fit_levels
from gentraffic.modelling.measured import Source
from gentraffic.training.sampler_task import Prepared, prepare

NETWORKS = ("alpha", "beta", "elsewhere")
SCALER = Scaler(mean=-0.2, spread=0.7, detail={"2": [0.2], "4": [0.2] * 3, "6": [0.2] * 5})
TIME = torch.randn(168, 4, generator=torch.Generator().manual_seed(0))
SHORT = replace(PLAN, steps=40, batch=8, check_every=10)


def embed(source: Source) -> Any:
    """Log-free POI counts of three categories, (cells, 3)."""
    assert source.places is not None
    return source.places.counts[source.rows][:, :3].astype(np.float32)


def prepared(of: Sequence[Source] | None = None) -> list[Prepared]:
    """Sources, by default those of `bundle_examples`, with their conditions."""
    of = sources() if of is None else of
    placed = [s for s in of if s.places is not None]
    levels = fit_levels([Measured(s.network, s.places.counts, s.places.around, s.level, s.location) for s in placed])  # type: ignore[union-attr]
    return prepare(of, embed, levels, NETWORKS, 3)


PREPARED = prepared()
