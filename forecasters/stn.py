"""The STN family of sLSTM-STN (Ali et al., section III-B): a temporal and a spatial branch, fused, and a small head.

stn            ConvLSTM, linear fusion          stn-slstm      sLSTM, linear fusion
stn-tf         ConvLSTM, attention fusion       stn-slstm-tf   sLSTM, attention fusion (the paper's proposal)

Only the centre cell is forecast, so the spatial branch shrinks the patch to it (11 -> 7 -> 3 -> 1) and computes nothing
that the centre does not see; the paper gives no kernel sizes.
"""

from __future__ import annotations

from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, cat, nn
from torch.nn import functional

from forecasters.convlstm import ConvLSTM
from forecasters.protocol import CONTEXT, SIDE
from forecasters.slstm import SLSTMStack

TEMPORAL = ("convlstm", "slstm")
FUSIONS = ("linear", "attention")


class SpatialBranch(nn.Module):
    """Three Conv3D layers with batch normalisation (eq. 9): (batch, services, steps, 11, 11) -> (batch, steps, dim)."""

    def __init__(self, services: int, channels: tuple[int, int], dim: int) -> None:
        super().__init__()
        sizes = (services, *channels, dim)
        kernels = (5, 5, 3)  # 11 -> 7 -> 3 -> 1
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.Conv3d(a, b, (3, k, k), padding=(1, 0, 0), bias=False), nn.BatchNorm3d(b), nn.ReLU(inplace=True)
            )
            for a, b, k in zip(sizes[:-1], sizes[1:], kernels, strict=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        """x (batch, services, steps, 11, 11) -> (batch, steps, dim)"""
        for layer in self.layers:
            x = layer(x)
        return x.flatten(2).transpose(1, 2)


class FusionBlock(nn.Module):
    """Cross-attention (eq. 10): spatial tokens ask, temporal tokens answer; residual and layer normalisation."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.leave = (nn.Linear(dim, dim) for _ in range(4))
        self.norm = nn.LayerNorm(dim)

    def forward(self, spatial: Tensor, temporal: Tensor) -> Tensor:
        """spatial (batch, n, dim), temporal (batch, m, dim) -> (batch, n, dim)"""
        q, k, v = (
            layer(x).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for layer, x in ((self.query, spatial), (self.key, temporal), (self.value, temporal))
        )
        attended = functional.scaled_dot_product_attention(q, k, v)  # scaled by the root of the head's dim
        out: Tensor = self.norm(spatial + self.leave(attended.transpose(1, 2).flatten(2)))
        return out


class STN(ModelMixin, ConfigMixin):  # type: ignore[misc]  # they disagree about config_name
    """Past six 11 x 11 frames -> the centre's next step (eq. 11).

    temporal: "convlstm" or "slstm". fusion: "linear" or "attention". hidden: width of tokens. blocks: fusion blocks.
    slstm_heads, slstm_layers, fusion_heads: as in the paper's Table II, whose best configuration is the default.
    channels: of the first two Conv3D layers. conv_hidden: of the ConvLSTM. backend: of the sLSTM (forecasters.slstm).
    Raises ValueError for an unknown temporal or fusion.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        per_day: int,
        services: int = 1,
        temporal: str = "slstm",
        fusion: str = "attention",
        hidden: int = 64,
        blocks: int = 2,
        slstm_heads: int = 4,
        slstm_layers: int = 2,
        fusion_heads: int = 8,
        channels: tuple[int, int] = (16, 32),
        conv_hidden: int = 16,
        backend: str = "fast",
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # diffusers has types in part
        if temporal not in TEMPORAL or fusion not in FUSIONS:
            raise ValueError(f"temporal {temporal!r} must be of {TEMPORAL} and fusion {fusion!r} of {FUSIONS}")
        self.per_day, self.services, self.side, self.horizon = per_day, services, SIDE, 1
        self.lags = tuple(range(CONTEXT, 0, -1))
        self.temporal = temporal
        self.spatial = SpatialBranch(services, (channels[0], channels[1]), hidden)
        if temporal == "slstm":
            self.enter = nn.Linear(SIDE * SIDE * services, hidden)
            self.slstm = SLSTMStack(hidden, slstm_heads, slstm_layers, backend)
        else:
            self.convlstm = ConvLSTM(services, conv_hidden)
            self.enter = nn.Linear(conv_hidden, hidden)
        self.fuse = nn.ModuleList(
            FusionBlock(hidden, fusion_heads) for _ in range(blocks if fusion == "attention" else 0)
        )
        self.linear = nn.Linear((CONTEXT + 1) * hidden, hidden) if fusion == "linear" else None
        self.head = nn.Sequential(nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, services))

    @property
    def context(self) -> int:
        """Steps of history that one forecast needs."""
        return max(self.lags)

    def forward(self, past: Tensor) -> Tensor:
        """past (batch, 6, 11, 11, services) -> (batch, 1, services)."""
        volume = past.permute(0, 4, 1, 2, 3)
        spatial = self.spatial(volume)  # (batch, 6, hidden)
        if self.temporal == "slstm":
            temporal = self.slstm(self.enter(past.flatten(2)))
        else:
            temporal = self.enter(self.convlstm(volume))
        if self.linear is not None:
            fused = self.linear(cat([spatial.flatten(1), temporal[:, -1]], dim=1))
        else:
            for block in self.fuse:
                spatial = block(spatial, temporal)
            fused = spatial[:, -1]
        out: Tensor = self.head(fused)
        return out[:, None]

    def loss(self, past: Tensor, future: Tensor) -> Tensor:
        """Mean squared error (eq. 12), scalar. past: (batch, 6, 11, 11, services). future: (batch, 1, services)."""
        return functional.mse_loss(self.forward(past), future)
