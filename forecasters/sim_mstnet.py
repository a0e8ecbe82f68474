"""Sim-MSTNet (Ma et al., ICASSP 2026; abstract only, see PAPERS): several services forecast together.

A small CNN reads the neighbourhood at every lag, attention over the lags reads the course of time, and attention over
services lets each task choose what it takes from the others, behind a gate of its own that is nearly shut at first: a
task that others would harm keeps to itself (negative transfer). The head is linear in `features`, so that training it
alone is the convex inner problem of `forecasters.bilevel`.
"""

from __future__ import annotations

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from forecasters.protocol import CONTEXT

SHUT = -2.0  # bias of the sharing gate: a tenth passes before training


class TaskSharing(nn.Module):
    """Each task asks all tasks and lets in what its gate allows: (batch, tasks, dim) -> the same, and who was asked.

    A cross-task attention in the manner of MTAN's task-specific attention (Liu et al., CVPR 2019): query of the task,
    keys and values of all tasks; out = own + sigmoid(gate(own, asked)) * asked.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.ask = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.gate = nn.Linear(2 * dim, dim)
        nn.init.constant_(self.gate.bias, SHUT)

    def forward(self, own: Tensor) -> tuple[Tensor, Tensor]:
        """own (batch, tasks, dim) -> (batch, tasks, dim), attention (batch, tasks, tasks)."""
        asked, attention = self.ask(own, own, own)
        return own + torch.sigmoid(self.gate(torch.cat([own, asked], dim=-1))) * asked, attention


class SimMSTNet(ModelMixin, ConfigMixin):  # type: ignore[misc]  # they disagree about config_name
    """CNN over space, attention over time, attention over services, and a linear head for each service.

    It sees the last six steps, and those around the same time a day before, of a 5 x 5 neighbourhood. hidden: width.
    heads: of both attentions, they must divide hidden. horizon: steps given at once. sharing: whether services hear
    one another. weigh_losses: whether each counts by what it has left, or all alike (both for ablations).
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self, per_day: int, services: int = 1, hidden: int = 32, heads: int = 4, horizon: int = 1, dropout: float = 0.1,
        sharing: bool = True, weigh_losses: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()  # type: ignore[no-untyped-call]  # diffusers has types in part
        self.per_day, self.services, self.side, self.horizon = per_day, services, 5, horizon
        self.sharing, self.weigh_losses = sharing, weigh_losses
        days = [lag for lag in (per_day + 1, per_day, per_day - 1) if lag > CONTEXT]
        self.lags: tuple[int, ...] = (*days, *range(CONTEXT, 0, -1))
        self.space = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, hidden, 3))  # 5 x 5 -> 1 x 1
        self.lag = nn.Parameter(torch.randn(len(self.lags), hidden) * 0.1)
        self.task = nn.Parameter(torch.randn(services, 1, hidden) * 0.1)
        self.time = nn.TransformerEncoderLayer(
            hidden, heads, 2 * hidden, dropout=0.0, batch_first=True, norm_first=True
        )
        self.read = nn.MultiheadAttention(hidden, heads, batch_first=True)
        self.share = TaskSharing(hidden, heads)
        self.norm = nn.LayerNorm(hidden)
        self.mix = nn.Sequential(nn.Linear(hidden, hidden), nn.GELU(), nn.Dropout(dropout))
        self.head = nn.Parameter(torch.zeros(services, hidden + len(self.lags) + 1, horizon))
        with torch.no_grad():
            self.head[:, -2] = 1.0  # the last step again: training starts from the naive forecast `last`
        self.log_variance = nn.Parameter(torch.zeros(services))

    @property
    def context(self) -> int:
        """Steps of history that one forecast needs."""
        return max(self.lags)

    def features(self, past: Tensor) -> Tensor:
        """past (batch, lags, 5, 5, services) -> (batch, services, hidden + lags + 1), the last of them 1.

        What the linear head reads: the network's own features, the lags of the cell itself, and a constant.
        """
        b, lags, side, _, services = past.shape
        frames = past.permute(0, 4, 1, 2, 3)  # (batch, services, lags, 5, 5)
        own = frames[..., side // 2, side // 2]  # (batch, services, lags)
        tokens = self.space(frames.reshape(-1, 1, side, side)).view(b, services, lags, -1) + self.lag + self.task
        tokens = self.time(tokens.flatten(0, 1))  # (batch * services, lags, hidden)
        asking = self.task.expand(b, -1, -1, -1).reshape(b * services, 1, -1)
        read, _ = self.read(asking, tokens, tokens, need_weights=False)
        shared = read.view(b, services, -1)
        if self.sharing:
            shared, _ = self.share(shared)
        return torch.cat([self.mix(self.norm(shared)), own, torch.ones_like(own[..., :1])], dim=-1)

    def forward(self, past: Tensor) -> Tensor:
        """past (batch, lags, 5, 5, services) -> (batch, horizon, services)."""
        return torch.einsum("bsf,sfh->bhs", self.features(past), self.head)

    def loss(self, past: Tensor, future: Tensor) -> Tensor:
        """Squared errors weighed by what each task has left, scalar; out of training their plain mean.

        mean over services of (exp(-v) MSE + v) / 2 with v the task's learned log variance (Kendall et al., CVPR 2018,
        eq. 10): v tends to log MSE, so every task pulls in proportion to its own error.
        past: (batch, lags, 5, 5, services). future: (batch, horizon, services).
        """
        errors = (self.forward(past) - future).square().mean(dim=(0, 1))  # (services,)
        if not (self.training and self.weigh_losses):
            return errors.mean()
        weighed: Tensor = (torch.exp(-self.log_variance) * errors + self.log_variance).mean() / 2
        return weighed
