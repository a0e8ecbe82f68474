"""stn-slstm-day: our member of the STN-sLSTM family, which looks at yesterday and forecasts an hour at once.

What differs from `stn-slstm-tf` (Ali et al., section III-B):
1. yesterday: besides the last six frames it sees those of one day before the last one and the six to come;
2. the six steps come directly out of the head instead of one by one, each as a correction to a mixture, weighed for
   every window and step, of what the naive forecasters say: the last value, yesterday's, and yesterday's moved to
   where today is;
3. the loss is Huber's, between the median and the mean: a burst does not rule the gradient;
4. the neighbourhood enters twice, as means over square rings around the centre and through narrow Conv3D layers.
"""

from __future__ import annotations

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn
from torch.nn import functional

from forecasters.protocol import CONTEXT, SIDE
from forecasters.slstm import SLSTMStack
from forecasters.stn import SpatialBranch

SHARPNESS = 5.0  # of the softmax over anchors: so that its weights can move as fast as the others learn
RINGS = ((0, 0), (1, 1), (2, 2), (3, 5))  # from, to: cells away from the centre, the longer of rows and columns


class STNDay(ModelMixin, ConfigMixin):  # type: ignore[misc]  # they disagree about config_name
    """Six frames now and `horizon` + 1 of yesterday -> the centre's next `horizon` steps.

    hidden: width of the tokens and the head. channels, spatial_dim: of the three Conv3D layers. heads, layers, backend:
    of the sLSTM. beta: where Huber's loss turns from square to absolute, in standard deviations of the cell. days:
    whether it sees yesterday (False: what is left without, for comparison).
    """

    rings: Tensor

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        per_day: int,
        services: int = 1,
        horizon: int = 6,
        hidden: int = 64,
        channels: tuple[int, int] = (4, 8),
        spatial_dim: int = 16,
        heads: int = 4,
        layers: int = 2,
        beta: float = 0.2,
        dropout: float = 0.1,
        backend: str = "fast",
        days: bool = True,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # diffusers has types in part
        self.per_day, self.services, self.side, self.horizon = per_day, services, SIDE, horizon
        before = tuple(range(per_day + 1, per_day - horizon, -1)) if days else ()  # yesterday's last, and what followed
        self.lags = (*before, *range(CONTEXT, 0, -1))
        self.days = len(before)
        self.beta = beta
        away = (torch.arange(SIDE) - SIDE // 2).abs()
        away = torch.maximum(away[:, None], away[None, :]).flatten()
        masks = torch.stack([((away >= a) & (away <= b)).float() for a, b in RINGS])
        self.register_buffer("rings", masks / masks.sum(1, keepdim=True), persistent=False)  # (rings, 121)
        wide = len(RINGS) * services
        self.enter = nn.Linear(wide, hidden)
        self.slstm = SLSTMStack(hidden, heads, layers, backend)
        self.spatial = SpatialBranch(services, (channels[0], channels[1]), spatial_dim)
        known = hidden + wide * len(self.lags) + spatial_dim * CONTEXT
        self.head = nn.Sequential(
            nn.Linear(known, 2 * hidden),
            nn.SiLU(),
            nn.Dropout(dropout),
            nn.Linear(2 * hidden, hidden),
            nn.SiLU(),
            nn.Dropout(dropout),
        )
        self.anchors = 3 if days else 1
        self.leave = nn.Linear(hidden, horizon * services * (1 + self.anchors))
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    @property
    def context(self) -> int:
        """Steps of history that one forecast needs."""
        return int(max(self.lags))

    def forward(self, past: Tensor) -> Tensor:
        """past (batch, lags, 11, 11, services) -> (batch, horizon, services)."""
        b = len(past)
        last = past[:, -1:, SIDE // 2, SIDE // 2]  # (batch, 1, services)
        means = torch.einsum("rp,blps->blrs", self.rings, past.flatten(2, 3)) - last[:, :, None]
        tokens = means.flatten(2)  # (batch, lags, rings * services)
        states = self.slstm(self.enter(tokens))
        now = (past[:, self.days :] - last[:, :, None, None]).permute(0, 4, 1, 2, 3)
        known = [states[:, -1], tokens.flatten(1), self.spatial(now).flatten(1)]
        out: Tensor = self.leave(self.head(torch.cat(known, dim=1)))
        out = out.view(b, self.horizon, self.services, 1 + self.anchors)
        weights = torch.softmax(SHARPNESS * out[..., 1:], dim=-1)
        return (weights * self._naive(past)).sum(-1) + out[..., 0]

    def _naive(self, past: Tensor) -> Tensor:
        """What the naive forecasters say of the centre: (batch, horizon, services, anchors)."""
        centre = past[:, :, SIDE // 2, SIDE // 2]  # (batch, lags, services)
        last = centre[:, -1:].expand(-1, self.horizon, -1)
        if not self.days:
            return last[..., None]
        then, ahead = centre[:, :1], centre[:, 1 : self.days]
        return torch.stack([last, ahead, ahead + last - then], dim=-1)

    def loss(self, past: Tensor, future: Tensor) -> Tensor:
        """Huber's loss over the whole horizon, scalar.

        past: (batch, lags, 11, 11, services). future: (batch, horizon, services).
        """
        return functional.smooth_l1_loss(self.forward(past), future, beta=self.beta)
