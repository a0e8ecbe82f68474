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
    learns: False for a naive forecaster, which has nothing to train.
    published: `forecast fit --paper` trains it as Ali et al. do. backends: its sLSTM is one of several implementations,
    `forecasters.slstm.BACKENDS`, and its network takes the argument `backend`. ablations: arguments of the network that
    are True by default, and False for an experiment without that part. weighs: trained on real and synthetic traffic,
    it weighs the synthetic (Ma et al.). learning_rate: of `validate`, where 0.001 is not good for it.
    """

    network: Any
    design: Mapping[str, Any] = field(default_factory=dict)
    fit: Callable[..., dict[str, Any]] | None = None
    learns: bool = True
    published: bool = False
    backends: bool = False
    ablations: tuple[str, ...] = ()
    weighs: bool = False
    learning_rate: float | None = None


FORECASTERS = {
    "last": Recipe(Lagged, learns=False),
    "yesterday": Recipe(Lagged, {"days": 1}, learns=False),
    "last-week": Recipe(Lagged, {"days": 7}, learns=False),
    "lightgbm": Recipe(LightGBM, fit=fit_lightgbm),
    "lightgbm-day": Recipe(LightGBM, {"weeks": False}, fit_lightgbm),
    "lstm": Recipe(LSTM, published=True),
    "xlstm": Recipe(XLSTM, published=True, backends=True),
    "stn": Recipe(STN, {"temporal": "convlstm", "fusion": "linear"}, published=True),
    "stn-tf": Recipe(STN, {"temporal": "convlstm", "fusion": "attention"}, published=True),
    "stn-slstm": Recipe(STN, {"temporal": "slstm", "fusion": "linear"}, published=True, backends=True),
    "stn-slstm-tf": Recipe(STN, {"temporal": "slstm", "fusion": "attention"}, published=True, backends=True),
    "stn-slstm-day": Recipe(STNDay, backends=True),
    "sim-mstnet": Recipe(SimMSTNet, ablations=("sharing", "weigh_losses"), weighs=True, learning_rate=3e-3),
}
NAIVE = tuple(name for name, recipe in FORECASTERS.items() if not recipe.learns)

__all__ = [
    "CONTEXT", "FORECASTERS", "LSTM", "NAIVE", "SIDE", "STN", "XLSTM", "CellScaler", "Forecaster", "Lagged", "LightGBM",
    "Recipe", "STNDay", "Windows", "crop", "fit_lightgbm", "fit_scaler", "grid_patches", "patches_of_frames",
    "station_patches", "windows_to",
]  # fmt: skip
