"""FoMo, a masked diffusion transformer over blocks of places and stretches of time (Chai et al., FoMo eq. 4-13).

Traffic (H, W, T) becomes tokens of h0 x w0 x t0 values (eq. 4). Observed values enter clean, the others as noise, and
only these are scored (eq. 11). Every block is modulated by adaLN-Zero (eq. 10, Peebles and Xie 2023), so that the
answer is exactly zero before training. Context (eq. 12, 13): dynamic POI features, users tokenised like traffic;
either, both or none. Where the paper contradicts itself, see PAPERS.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from samplers.diffusion import Noise, Rest, diffusion_target, standard_normal
from samplers.sampler import LOSS_DRAWS, Network, register_to_config, to_device

HOURS_A_WEEK = 168
SIZES: dict[str, dict[str, Any]] = {  # name -> width, depth, heads; the names give the weights, about
    "0.3m": {"width": 80, "depth": 2, "heads": 2},
    "1m": {"width": 128, "depth": 4, "heads": 4},
    "5m": {"width": 160, "depth": 10, "heads": 5},
    "35m": {"width": 352, "depth": 15, "heads": 11},
    "100m": {"width": 544, "depth": 18, "heads": 17},
    "150m": {"width": 640, "depth": 20, "heads": 10},
    "200m": {"width": 768, "depth": 18, "heads": 12},
    # layers x width of the paper's table 6, which gives 4.9, 34.1 and 217.7 million weights, but neither heads nor MLPs
    "12x128": {"width": 128, "depth": 12, "heads": 4},  # 3.7
    "16x256": {"width": 256, "depth": 16, "heads": 8},  # 19.5
    "20x768": {"width": 768, "depth": 20, "heads": 12},  # 216.5
}
NEAR_HOURS = 2.0
TRAINED_IN_FINE_TUNING = ("ada", "leave", "of_poi", "poi_", "of_users", "of_level", "of_network", "of_cadence")


@dataclass(frozen=True)
class FoMoCondition:
    """What FoMo may know about B blocks of H x W places over T steps. NaN means: not told.

    known: (B, H, W, T) observed values on the scale of x; nan where they are to be drawn.
    exists: (B, H, W, T) False for places or steps that do not exist (padding, dead cells); nobody looks at them.
    hour: (B, T) local hour of the week, 0 = Monday 00:00; minutes: (B,) cadence.
    xy: (B, H, W, 2) position relative to the block, in units of a usual cell.
    poi: (B, H, W, P) standardised log POI counts. users: (B, H, W, T) on the scale of x. echo: (B, H, W, T) what was
    observed of the place at the same time on other days, on the scale of x. level: (B, H, W) standardised
    log mean traffic of the place. network: (B,) index of the measured network; 0 = one that nobody measured.
    """

    known: Tensor
    exists: Tensor
    hour: Tensor
    minutes: Tensor
    xy: Tensor
    poi: Tensor
    users: Tensor
    echo: Tensor
    level: Tensor
    network: Tensor

    def rows(self, index: Tensor | slice) -> FoMoCondition:
        """The same for some of the blocks. index: (n,) positions, or a slice."""
        return self._map(lambda tensor: tensor[index])

    def to(self, device: torch.device | str) -> FoMoCondition:
        """The same on another device."""
        return self._map(lambda tensor: to_device(tensor, str(device)))

    def without_context(self) -> FoMoCondition:
        """The unconditional twin that classifier-free guidance compares with: no POIs, no users."""
        return replace(self, poi=torch.full_like(self.poi, math.nan), users=torch.full_like(self.users, math.nan))

    def with_traffic_of(self, other: FoMoCondition) -> FoMoCondition:
        """The context of these blocks beside the observed traffic of others (the negatives of FoMo eq. 16)."""
        return replace(self, known=other.known, echo=other.echo, exists=self.exists & other.exists)

    def _map(self, change: Callable[[Tensor], Tensor]) -> FoMoCondition:
        return FoMoCondition(**{field.name: change(getattr(self, field.name)) for field in fields(self)})


def nearby(values: Tensor, observed: Tensor, minutes: Tensor) -> Tensor:
    """The mean of what is observed of a place, weighted by exp(-hours apart / NEAR_HOURS): (B, H, W, T), like values.

    Drawn towards 0, what is usual, as if one more step beside were observed at 0: far from all that is observed nothing
    is left. values: (B, H, W, T), 0 where not observed.
    observed: (B, H, W, T) bool. minutes: (B,) cadence.
    """
    step = torch.arange(values.shape[-1], device=values.device)
    hours = (step[:, None] - step[None, :]).abs() * (minutes.to(values.dtype) / 60)[:, None, None]  # (B, T, T)
    kernel = torch.exp(-hours / NEAR_HOURS)[:, None]
    out: Tensor = (values @ kernel) / (observed.to(values.dtype) @ kernel + 1)
    return out


class FoMo(Network):
    """Predicts the noise in the unobserved traffic of B blocks of places.

    width, depth, heads: of the transformer (`SIZES` names usual ones). token: (h0, w0, t0) values per token (eq. 4).
    poi_dim: columns of `FoMoCondition.poi`. networks: how many measured networks have an index of their own. cadences:
    minutes that the model was trained on. prediction_type: epsilon, sample or v_prediction. rest: (cadences, F) for
    every cadence the spectrum of what a condition without observations leaves open, as
    `samplers.diffusion.MirroredPath` takes it.
    """

    @register_to_config
    def __init__(
        self,
        width: int = 128,
        depth: int = 4,
        heads: int = 4,
        token: tuple[int, int, int] = (1, 1, 16),
        poi_dim: int = 16,
        networks: int = 1,
        cadences: tuple[int, ...] = (15, 30, 60),
        dropout: float = 0.0,
        num_train_timesteps: int = 1000,
        prediction_type: str = "v_prediction",
        rest: Rest | None = None,
    ) -> None:
        super().__init__()
        self.rest: Rest | None = None if rest is None else tuple(tuple(row) for row in rest)
        self.token = (int(token[0]), int(token[1]), int(token[2]))
        self.cadences = tuple(cadences)
        self.noise = Noise(num_train_timesteps=num_train_timesteps, prediction_type=prediction_type)
        values = math.prod(self.token)
        hidden = min(width, 64)
        self.enter = nn.Linear(2 * values, width)  # x or the observed value, and whether it is observed
        self.of_users = nn.Linear(2 * values, width)
        self.of_echo = nn.Linear(2 * values, width)
        self.of_near = nn.Linear(values, width)
        self.of_time = nn.Sequential(nn.Linear(TIME_WAVES * self.token[2], width), nn.SiLU(), nn.Linear(width, width))
        self.of_position = nn.Linear(_position(torch.zeros(1, 2), torch.zeros(1)).shape[-1], width)
        self.of_level = nn.Linear(2, width)
        self.of_poi = nn.Linear(poi_dim, hidden)  # eq. 12
        self.poi_time = nn.Sequential(nn.Linear(TIME_WAVES * self.token[2], hidden), nn.SiLU())
        self.poi_mlp = nn.Sequential(nn.Linear(2 * hidden, hidden), nn.SiLU(), nn.Linear(hidden, width))  # eq. 13
        self.of_step = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.of_cadence = nn.Embedding(len(self.cadences), width)
        self.of_network = nn.Embedding(networks + 1, width)
        self.of_observed = nn.Linear(width, width)
        self.blocks = nn.ModuleList(_Block(width, heads, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.ada = nn.Linear(width, 2 * width)
        self.leave = nn.Linear(width, values)
        for embedding in (self.of_cadence, self.of_network):
            nn.init.normal_(embedding.weight, std=0.3)
        for layer in (self.ada, self.leave):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def __call__(self, x_t: Tensor, t: Tensor, scene: FoMoCondition) -> Tensor:
        """x_t (B, H, W, T), t (B,) diffusion steps -> the prediction, like x_t."""
        out: Tensor = super().__call__(x_t, t, scene)
        return out

    def forward(self, x_t: Tensor, t: Tensor, scene: FoMoCondition) -> Tensor:
        """x_t (B, H, W, T), t (B,) diffusion steps -> the prediction, like x_t.

        What x_t holds where a value is observed, or where nothing exists, is not looked at. Raises ValueError for
        sides that are no multiples of the token, or a cadence that the model was not trained on.
        """
        b, h, w, steps = x_t.shape
        if h % self.token[0] or w % self.token[1] or steps % self.token[2]:
            raise ValueError(f"a block of {h} x {w} x {steps} is not made of tokens of {self.token}")
        observed = ~scene.known.isnan() & scene.exists
        x = torch.where(observed, scene.known, x_t).masked_fill(~scene.exists, 0.0)
        exists = self._tokens(scene.exists)  # (B, n, values)
        live = exists.any(-1)
        waves = _waves(scene.hour).view(b, steps // self.token[2], -1)  # (B, T', waves of every step of the token)
        near = self.of_near(self._tokens(nearby(torch.where(observed, scene.known, 0.0), observed, scene.minutes)))
        y = self._told(self.of_users, scene.users, scene.exists) + self._poi(scene, waves) + near
        echo = self._told(self.of_echo, scene.echo, scene.exists)
        seen = torch.where(observed, x, 0.0)
        marks = self._tokens(observed.to(x.dtype))
        o = self.enter(torch.cat([self._tokens(seen), marks], -1)) + y + echo
        weight = live.to(x.dtype).unsqueeze(-1)
        summary = (o * weight).sum(1) / weight.sum(1).clamp(min=1)
        z = self.enter(torch.cat([self._tokens(x), marks], -1)) + y + echo + self._place(scene, waves)
        condition = self.of_step(_sinusoids(t, z.shape[-1])) + self._cadence(scene.minutes)
        condition = functional.silu(condition + self.of_network(scene.network) + self.of_observed(summary))
        keys = None if bool(live.all()) else live[:, None, None, :]
        # in training, tokens of nothing are left out of all that treats tokens one by one; drawing keeps its shape, so
        # that a block's bits do not depend on its neighbours in the batch
        there = None if keys is None or not self.training else live.flatten().nonzero().squeeze(1)
        z = z if there is None else z.flatten(0, 1)[there]
        for block in self.blocks:
            z = block(z, condition, keys, there)
        if there is not None:
            z = _put_back(z, there, *live.shape)
        shift, scale = self.ada(condition).unsqueeze(1).chunk(2, -1)
        return self._untokens(self.leave(self.norm(z) * (1 + scale) + shift), h, w, steps)

    def power(self, minutes: int) -> Tensor | None:
        """The spectrum `rest` at a cadence, (F,); None where it was not measured."""
        if self.rest is None or minutes not in self.cadences:
            return None
        return torch.tensor(self.rest[self.cadences.index(minutes)])

    def errors(self, x: Tensor, t: Tensor, eps: Tensor, scene: FoMoCondition) -> Tensor:
        """Squared error of the prediction, mean over what is to be drawn (eq. 11): x, eps (B, H, W, T), t (B,) -> (B,).

        A block in which nothing is to be drawn scores 0.
        """
        error, hidden = self._errors(x, t, eps, scene)
        return error.sum((1, 2, 3)) / hidden.sum((1, 2, 3)).clamp(min=1)

    def losses(self, x: Tensor, scene: FoMoCondition, seed: int) -> Tensor:
        """How badly the network takes each cell of each block: (B, H, W), float64; as `sampler.Sampler.losses`.

        The squared error over what is to be drawn of it, a mean over LOSS_DRAWS diffusion steps, evenly spread, with a
        noise of its own each, the same for every block. x: (B, H, W, T) clean values, nan where nothing exists.
        """
        generator = torch.Generator().manual_seed(seed)
        total = torch.zeros(x.shape[:3], dtype=torch.float64)
        for number in range(LOSS_DRAWS):
            t = torch.full((len(x),), int((number + 0.5) / LOSS_DRAWS * self.noise.num_train_timesteps)).to(x.device)
            eps = torch.randn(1, *x.shape[1:], generator=generator).to(x).expand_as(x)
            error, hidden = self._errors(x, t, eps, scene)
            total += (error.sum(3) / hidden.sum(3).clamp(min=1)).cpu().double()
        return total / LOSS_DRAWS

    def _errors(self, x: Tensor, t: Tensor, eps: Tensor, scene: FoMoCondition) -> tuple[Tensor, Tensor]:
        """Squared errors of what is to be drawn, 0 elsewhere, and 1 where it is: (B, H, W, T) each."""
        x_t, target = diffusion_target(self.noise, x.nan_to_num(), eps, t)
        hidden = (scene.known.isnan() & scene.exists & ~x.isnan()).to(x.dtype)
        # a NaN target would survive the product with 0
        return (self(x_t, t, scene) - target).square() * hidden, hidden

    def loss(self, x: Tensor, scene: FoMoCondition, generator: torch.Generator) -> Tensor:
        """Mean of `errors` at random diffusion steps: a scalar. x: (B, H, W, T) clean values, nan where unmeasured."""
        t, eps = self.random_step(x, generator)
        return self.errors(x, t, eps, scene).mean()

    def random_step(self, x: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Diffusion steps (B,), spread evenly over the batch, and noise like x (any shape)."""
        count = self.noise.num_train_timesteps
        share = (torch.arange(len(x)) + torch.rand(len(x), generator=generator)) / len(x)
        share = share[torch.randperm(len(x), generator=generator)]
        t = (share * count).long().clamp(max=count - 1).to(x.device)
        return t, standard_normal(tuple(x.shape), generator, x)

    def contrastive_loss(
        self,
        x: Tensor,
        scene: FoMoCondition,
        other: Tensor,
        generator: torch.Generator,
        *,
        weight: float = 0.05,
        ceiling: float = 1.0,
    ) -> Tensor:
        """FoMo eq. 16: error on the block's own traffic minus `weight` times that on other blocks' traffic.

        other: (B, N) indices into the batch of N negatives for each block: traffic of *other* space-time blocks, put
        under this block's context with the same noise and step. -1 leaves a place empty. Errors of negatives count up
        to `ceiling` (1 is the error of the answer zero), so the loss is never below -weight x ceiling and a negative
        that is far enough pulls no more.
        x: (B, H, W, T) clean values, nan where unmeasured.
        """
        t, eps = self.random_step(x, generator)
        other = other.to(x.device)
        positive = self.errors(x, t, eps, scene)
        total = torch.zeros_like(positive)
        for column in other.T:
            there = column >= 0
            at = column.clamp(min=0)
            error = self.errors(x[at], t, eps, scene.with_traffic_of(scene.rows(at)))
            total = total + torch.where(there, error.clamp(max=ceiling), 0.0)
        return (positive - weight * total / (other >= 0).sum(1).clamp(min=1)).mean()

    def freeze(self) -> list[str]:
        """Freeze attention, linear layers and MLPs; adaLN, the context modules and the decoder stay trainable.

        Returns the names of the weights that are still trained (FoMo section 3.4.2).
        """
        trained = []
        for name, weight in self.named_parameters():
            keep = any(part.startswith(TRAINED_IN_FINE_TUNING) for part in name.split("."))
            weight.requires_grad_(keep)
            trained += [name] if keep else []
        return trained

    def _tokens(self, values: Tensor) -> Tensor:
        """(B, H, W, T) -> (B, H' W' T', h0 w0 t0), eq. 4."""
        b, h, w, steps = values.shape
        h0, w0, t0 = self.token
        split = values.reshape(b, h // h0, h0, w // w0, w0, steps // t0, t0).permute(0, 1, 3, 5, 2, 4, 6)
        return split.reshape(b, -1, h0 * w0 * t0)

    def _told(self, embed: nn.Linear, series: Tensor, exists: Tensor) -> Tensor:
        """A series (B, H, W, T) that may be told in part, tokenised like traffic (eq. 12): (B, H' W' T', C)."""
        present = ~series.isnan() & exists
        values = self._tokens(torch.where(present, series, 0.0))
        out: Tensor = embed(torch.cat([values, self._tokens(present.to(values.dtype))], -1))
        return out

    def _untokens(self, tokens: Tensor, h: int, w: int, steps: int) -> Tensor:
        """The mirror of `_tokens`."""
        b = len(tokens)
        h0, w0, t0 = self.token
        split = tokens.reshape(b, h // h0, w // w0, steps // t0, h0, w0, t0).permute(0, 1, 4, 2, 5, 3, 6)
        return split.reshape(b, h, w, steps)

    def _pool(self, per_place: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H' W', C): the mean over the places of a token."""
        b, h, w, c = per_place.shape
        h0, w0, _ = self.token
        return per_place.reshape(b, h // h0, h0, w // w0, w0, c).mean((2, 4)).reshape(b, -1, c)

    def _poi(self, scene: FoMoCondition, waves: Tensor) -> Tensor:
        """Dynamic POI features (eq. 12, 13), zero where no POIs are told: (B, H' W' T', C)."""
        present = ~scene.poi.isnan().any(-1, keepdim=True)  # (B, H, W, 1)
        static = torch.sigmoid(self.of_poi(torch.where(present, scene.poi, 0.0)))
        pooled, share = self._pool(static * present), self._pool(present.to(static.dtype))
        clock = self.poi_time(waves)  # (B, T', hidden)
        places, times = pooled.shape[1], clock.shape[1]
        both = torch.cat(
            [pooled[:, :, None].expand(-1, -1, times, -1), clock[:, None].expand(-1, places, -1, -1)], dim=-1
        )
        out: Tensor = (self.poi_mlp(both) * share[:, :, None]).flatten(1, 2)
        return out

    def _place(self, scene: FoMoCondition, waves: Tensor) -> Tensor:
        """What time it is, where the token stands and how much traffic its place carries: (B, H' W' T', C)."""
        has = ~scene.level.isnan()
        level = torch.stack([torch.where(has, scene.level, 0.0), has.to(waves.dtype)], -1)
        times = waves.shape[1]
        middle = (torch.arange(times, device=waves.device) + 0.5) * self.token[2]
        xy = self._pool(scene.xy.to(waves.dtype))  # (B, n, 2)
        b, n, _ = xy.shape
        position = _position(xy[:, :, None].expand(b, n, times, 2), middle.expand(b, n, times))
        out = self.of_position(position) + self.of_level(self._pool(level))[:, :, None] + self.of_time(waves)[:, None]
        tokens: Tensor = out.flatten(1, 2)
        return tokens

    def _cadence(self, minutes: Tensor) -> Tensor:
        known = torch.tensor(self.cadences, device=minutes.device)
        same = minutes[:, None] == known
        if not bool(same.any(1).all()):
            odd = int(minutes[~same.any(1)][0])
            raise ValueError(f"a cadence of {odd} min: this model knows {', '.join(map(str, self.cadences))}")
        out: Tensor = self.of_cadence(same.long().argmax(1))
        return out


class _Block(nn.Module):
    """Attention and MLP, each shifted, scaled and gated by the condition (adaLN-Zero, eq. 10)."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.norm1 = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.norm2 = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"), nn.Linear(4 * width, width))
        self.ada = nn.Linear(width, 6 * width)
        nn.init.zeros_(self.ada.weight)
        nn.init.zeros_(self.ada.bias)

    def forward(self, z: Tensor, condition: Tensor, keys: Tensor | None, there: Tensor | None = None) -> Tensor:
        """z (B, n, C), condition (B, C), keys (B, 1, 1, n) which tokens exist or None for all -> (B, n, C).

        there: (N,) the flat indices of the tokens that exist, where z holds these alone: (N, C) -> (N, C).
        """
        c = z.shape[-1]
        b, n = (z.shape[0], z.shape[1]) if there is None or keys is None else (len(keys), keys.shape[-1])
        ada = self.ada(condition)
        ada = ada.unsqueeze(1) if there is None else ada[there // n]
        shift1, scale1, gate1, shift2, scale2, gate2 = ada.chunk(6, -1)
        qkv = self.qkv(self.norm1(z) * (1 + scale1) + shift1)
        qkv = qkv if there is None else _put_back(qkv, there, b, n)
        q, k, v = qkv.view(b, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=keys).transpose(1, 2).reshape(b, n, c)
        mixed = self.out(mixed if there is None else mixed.flatten(0, 1)[there])
        z = z + gate1 * functional.dropout(mixed, self.dropout, self.training)
        mixed = self.mlp(self.norm2(z) * (1 + scale2) + shift2)
        out: Tensor = z + gate2 * functional.dropout(mixed, self.dropout, self.training)
        return out


def _put_back(tokens: Tensor, there: Tensor, b: int, n: int) -> Tensor:
    """Tokens that exist (N, C) at their flat indices, zeros elsewhere: (b, n, C)."""
    return tokens.new_zeros(b * n, tokens.shape[-1]).index_copy(0, there, tokens).view(b, n, -1)


TIME_WAVES = 2 * 4 + 2 * 2 + 1  # day and its first overtones, week and its first, weekend


def _waves(hour: Tensor) -> Tensor:
    """Local hours of the week (B, T) as smooth features: (B, T, TIME_WAVES)."""
    day = 2 * math.pi * hour.unsqueeze(-1) / 24 * torch.arange(1, 5, device=hour.device)
    week = 2 * math.pi * hour.unsqueeze(-1) / HOURS_A_WEEK * torch.arange(1, 3, device=hour.device)
    weekend = ((hour % HOURS_A_WEEK) >= 120).to(hour.dtype).unsqueeze(-1)
    return torch.cat([day.sin(), day.cos(), week.sin(), week.cos(), weekend], -1)


def _position(xy: Tensor, step: Tensor) -> Tensor:
    """Sines and cosines of a place in a block (..., 2), in cells, and of a step in the window (...,)."""
    angles = torch.cat(
        [
            (xy.unsqueeze(-1) * xy.new_tensor([0.25, 0.5, 1.0])).flatten(-2),
            step.unsqueeze(-1) * xy.new_tensor([2 * math.pi / 512, 2 * math.pi / 256, 2 * math.pi / 128]),
        ],
        dim=-1,
    )
    return torch.cat([angles.sin(), angles.cos()], -1)


def _sinusoids(t: Tensor, width: int) -> Tensor:
    """The usual embedding of a diffusion step: (B,) -> (B, width)."""
    half = width // 2
    angles = t[:, None].float() * torch.exp(-math.log(10_000.0) * torch.arange(half, device=t.device) / half)
    out = torch.cat([angles.sin(), angles.cos()], -1)
    return functional.pad(out, (0, width - 2 * half))
