"""Forecasters that prove what synthetic traffic is worth."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from forecasters.boosted import LightGBM, fit_lightgbm
from forecasters.naive import Lagged
from forecasters.protocol import CONTEXT, SIDE, Forecaster
from forecasters.recurrent import LSTM, XLSTM
from forecasters.scaling import CellScaler, fit_scaler
from forecasters.sim_mstnet import SimMSTNet
from forecasters.stn import STN
from forecasters.stn_day import STNDay
from forecasters.windows import Windows, crop, grid_patches, patches_of_frames, station_patches, windows_to


@dataclass(frozen=True)
class Recipe:
    """A class of networks and the arguments that make the named one of them; all also take per_day and services.

    fit: what trains it where that is not the descent of a gradient: called as `fit_lightgbm` is.
    """

    network: Any
    design: Mapping[str, Any] = field(default_factory=dict)
    fit: Callable[..., dict[str, Any]] | None = None


NAIVE = ("last", "yesterday", "last-week")
FORECASTERS = {
    "last": Recipe(Lagged),
    "yesterday": Recipe(Lagged, {"days": 1}),
    "last-week": Recipe(Lagged, {"days": 7}),
    "lightgbm": Recipe(LightGBM, fit=fit_lightgbm),
    "lightgbm-day": Recipe(LightGBM, {"weeks": False}, fit_lightgbm),
    "lstm": Recipe(LSTM),
    "xlstm": Recipe(XLSTM),
    "stn": Recipe(STN, {"temporal": "convlstm", "fusion": "linear"}),
    "stn-tf": Recipe(STN, {"temporal": "convlstm", "fusion": "attention"}),
    "stn-slstm": Recipe(STN, {"temporal": "slstm", "fusion": "linear"}),
    "stn-slstm-tf": Recipe(STN, {"temporal": "slstm", "fusion": "attention"}),
    "stn-slstm-day": Recipe(STNDay),
    "sim-mstnet": Recipe(SimMSTNet),
}

__all__ = [
    "CONTEXT", "FORECASTERS", "LSTM", "NAIVE", "SIDE", "STN", "XLSTM", "CellScaler", "Forecaster", "Lagged", "LightGBM",
    "Recipe", "STNDay", "Windows", "crop", "fit_lightgbm", "fit_scaler", "grid_patches", "patches_of_frames",
    "station_patches", "windows_to",
]  # fmt: skip
