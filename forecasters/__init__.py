"""Forecasters that prove what synthetic traffic is worth."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from forecasters.naive import Lagged
from forecasters.protocol import CONTEXT, SIDE, Forecaster
from forecasters.recurrent import LSTM
from forecasters.scaling import CellScaler, fit_scaler
from forecasters.windows import Windows, crop, grid_patches, patches_of_frames, station_patches


@dataclass(frozen=True)
class Recipe:
    """A class of networks and the arguments that make the named one of them; all also take per_day and services."""

    network: Any
    design: Mapping[str, Any] = field(default_factory=dict)


NAIVE = ("last", "yesterday", "last-week")
FORECASTERS = {
    "last": Recipe(Lagged),
    "yesterday": Recipe(Lagged, {"days": 1}),
    "last-week": Recipe(Lagged, {"days": 7}),
    "lstm": Recipe(LSTM),
}

__all__ = [
    "CONTEXT", "FORECASTERS", "LSTM", "NAIVE", "SIDE", "CellScaler", "Forecaster", "Lagged", "Recipe", "Windows",
    "crop", "fit_scaler", "grid_patches", "patches_of_frames", "station_patches",
]  # fmt: skip
