"""Recurrent networks over the flattened neighbourhood: no spatial modelling (sLSTM-STN, section IV-A).

Both forecast the change from the centre's last value. The paper does not say so; but a flattened patch hides the centre
among 120 neighbours, and without this path neither finds it well enough to beat `last` on few windows.
"""

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
        change: Tensor = self.head(states[:, -1])
        return past[:, -1:, SIDE // 2, SIDE // 2] + change.view(-1, self.horizon, self.services)

    def loss(self, past: Tensor, future: Tensor) -> Tensor:
        """Mean squared error (sLSTM-STN eq. 12), scalar.

        past: (batch, 6, 11, 11, services). future: (batch, horizon, services).
        """
        return functional.mse_loss(self.forward(past), future)


class XLSTM(ModelMixin, ConfigMixin):  # type: ignore[misc]  # they disagree about config_name
    """A stack of the xlstm package, an mLSTM and an sLSTM block, over the six flattened patches (section IV-A).

    backend: of the sLSTM block, "vanilla" (plain torch) or "cuda" (compiled at the first use; needs a GPU and nvcc).
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self, per_day: int, services: int = 1, hidden: int = 64, heads: int = 4, backend: str = "vanilla"
    ) -> None:
        from xlstm import (
            FeedForwardConfig,
            mLSTMBlockConfig,
            mLSTMLayerConfig,
            sLSTMBlockConfig,
            sLSTMLayerConfig,
            xLSTMBlockStack,
            xLSTMBlockStackConfig,
        )

        super().__init__()  # type: ignore[no-untyped-call]  # diffusers has types in part
        self.per_day, self.services, self.side, self.horizon = per_day, services, SIDE, 1
        self.lags = tuple(range(CONTEXT, 0, -1))
        scalar = sLSTMLayerConfig(
            backend=backend, num_heads=heads, dtype="float32", enable_automatic_mixed_precision=False
        )
        self.enter = nn.Linear(SIDE * SIDE * services, hidden)
        self.stack = xLSTMBlockStack(
            xLSTMBlockStackConfig(
                mlstm_block=mLSTMBlockConfig(mlstm=mLSTMLayerConfig(num_heads=heads)),
                slstm_block=sLSTMBlockConfig(slstm=scalar, feedforward=FeedForwardConfig(proj_factor=1.3)),
                context_length=CONTEXT,
                num_blocks=2,
                embedding_dim=hidden,
                slstm_at=[1],
            )
        )
        self.head = nn.Linear(hidden, services)

    @property
    def context(self) -> int:
        """Steps of history that one forecast needs."""
        return max(self.lags)

    def forward(self, past: Tensor) -> Tensor:
        """past (batch, 6, 11, 11, services) -> (batch, 1, services)."""
        change: Tensor = self.head(self.stack(self.enter(past.flatten(2)))[:, -1])
        return past[:, -1:, SIDE // 2, SIDE // 2] + change[:, None]

    def loss(self, past: Tensor, future: Tensor) -> Tensor:
        """Mean squared error (eq. 12), scalar. past: (batch, 6, 11, 11, services). future: (batch, 1, services)."""
        return functional.mse_loss(self.forward(past), future)
