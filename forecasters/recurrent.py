"""Recurrent networks over the flattened neighbourhood: no spatial modelling (sLSTM-STN, section IV-A)."""

from __future__ import annotations

from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn
from torch.nn import functional

from forecasters.protocol import CONTEXT, SIDE


class LSTM(ModelMixin, ConfigMixin):  # type: ignore[misc]  # they disagree about config_name
    """An LSTM over the six flattened 11 x 11 patches, and a linear map of its last state (sLSTM-STN, section IV-A)."""

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(self, per_day: int, services: int = 1, hidden: int = 64, layers: int = 2, horizon: int = 1) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # diffusers has types in part
        self.per_day, self.services, self.side, self.horizon = per_day, services, SIDE, horizon
        self.lags = tuple(range(CONTEXT, 0, -1))
        self.lstm = nn.LSTM(SIDE * SIDE * services, hidden, layers, batch_first=True)
        self.head = nn.Linear(hidden, horizon * services)

    @property
    def context(self) -> int:
        """Steps of history that one forecast needs."""
        return max(self.lags)

    def forward(self, past: Tensor) -> Tensor:
        """past (batch, 6, 11, 11, services) -> (batch, horizon, services)."""
        states, _ = self.lstm(past.flatten(2))  # (batch, 6, hidden)
        out: Tensor = self.head(states[:, -1])
        return out.view(-1, self.horizon, self.services)

    def loss(self, past: Tensor, future: Tensor) -> Tensor:
        """Mean squared error (sLSTM-STN eq. 12), scalar."""
        return functional.mse_loss(self.forward(past), future)
