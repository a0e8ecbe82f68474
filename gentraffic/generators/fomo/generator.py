"""How FoMo models are loaded, for `gentraffic.generators.base`. Importing this loads no network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gentraffic.errors import WrongUse
from gentraffic.generators.base import Family, ModelFolder, ModelInfo

if TYPE_CHECKING:
    from gentraffic.generators.fomo.folder import FoMoBundle


class FoMoFamily(Family):
    """Loads `FoMoBundle`. Its blocks need their neighbours, so it cannot be drawn in other processes."""

    @staticmethod
    def load(folder: ModelFolder | None) -> FoMoBundle:
        """The model in a folder. Raises BadModel."""
        from gentraffic.generators.fomo.folder import fomo_of

        if folder is None:
            raise WrongUse("fomo draws from a model folder: give one with --model")
        return fomo_of(folder)

    @classmethod
    def describe(cls, folder: ModelFolder | None) -> ModelInfo:
        """Without loading the network."""
        from gentraffic.generators.fomo.folder import info_of, read_weeks

        if folder is None:
            return cls.load(folder).info
        with folder.understanding():
            networks = folder.json("scaler.json")["networks"]
            return info_of(networks, folder.json("fomo/config.json"), folder, read_weeks(folder))
