"""The naive forecasters that every table prints: what a step carried before."""

from __future__ import annotations

from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor
from torch.nn import functional


class Lagged(ModelMixin, ConfigMixin):  # type: ignore[misc]  # they disagree about config_name
    """The future is the past, `days` days ago; with days = 0 it is the last step, repeated. Nothing is learned."""

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(self, per_day: int, services: int = 1, days: int = 0) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # diffusers has types in part
        self.per_day, self.services, self.side, self.horizon = per_day, services, 1, 1
        self.lags = (days * per_day or 1,)

    @property
    def context(self) -> int:
        """Steps of history that one forecast needs."""
        return max(self.lags)

    def forward(self, past: Tensor) -> Tensor:
        """past (batch, 1, 1, 1, services) -> (batch, 1, services)."""
        return past[:, :, 0, 0]

    def loss(self, past: Tensor, future: Tensor) -> Tensor:
        """Mean squared error, scalar. past: (batch, 1, 1, 1, services). future: (batch, 1, services)."""
        return functional.mse_loss(self.forward(past), future)
