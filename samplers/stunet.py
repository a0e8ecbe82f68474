"""STUNet, the denoiser of STOUTER (section 5.3), on the 7 x 24 sheet of a week.

Down block: two STFFMs, linear attention, down-sampling convolution. Mid block: STFFM, softmax attention, STFFM. Up
block: up-sampling, skip by concatenation, two STFFMs, linear attention. At cadences finer than an
hour x holds k numbers per hour: the hour's mean first, then what moves within the hour, each of unit variance (the
caller's scaling sees to that). Means pass through the same weights at every cadence, the rest through a linear map of
its own, so a week at 10 minutes costs little more than one at 1 hour. Where numbers in the paper contradict each other,
see PAPERS.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torch.nn import functional

from samplers.attention import LinearAttention, SoftmaxAttention
from samplers.condition import DAYS, HOURS, WEEK, Condition
from samplers.fusion import STFFM, StepEmbedding
from samplers.sampler import Sampler
from samplers.schedule import Noise, diffusion_target, masked_mean, standard_normal
from samplers.week import HourMerge, HourSplit, pool_hours


class _DownBlock(nn.Module):
    def __init__(self, c: int, c_next: int, hours: int, **kind: Any) -> None:
        super().__init__()
        self.fuse1 = STFFM(c, c, DAYS, hours, **kind)
        self.fuse2 = STFFM(c, c, DAYS, hours, **kind)
        self.attention = LinearAttention(c)
        self.down = HourMerge(c, c_next)

    def forward(self, x: Tensor, s: Tensor, t: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
        x = self.attention(self.fuse2(self.fuse1(x, s, t, step), s, t, step))
        return self.down(x), x


class _MidBlock(nn.Module):
    def __init__(self, c: int, hours: int, **kind: Any) -> None:
        super().__init__()
        self.fuse1 = STFFM(c, c, DAYS, hours, **kind)
        self.attention = SoftmaxAttention(c)
        self.fuse2 = STFFM(c, c, DAYS, hours, **kind)

    def forward(self, x: Tensor, s: Tensor, t: Tensor, step: Tensor) -> Tensor:
        out: Tensor = self.fuse2(self.attention(self.fuse1(x, s, t, step)), s, t, step)
        return out


class _UpBlock(nn.Module):
    def __init__(self, c_below: int, c: int, hours: int, **kind: Any) -> None:
        super().__init__()
        self.up = HourSplit(c_below, c)
        self.fuse1 = STFFM(2 * c, c, DAYS, hours, **kind)
        self.fuse2 = STFFM(c, c, DAYS, hours, **kind)
        self.attention = LinearAttention(c)

    def forward(self, x: Tensor, skip: Tensor, s: Tensor, t: Tensor, step: Tensor) -> Tensor:
        x = torch.cat([self.up(x), skip], -1)
        out: Tensor = self.attention(self.fuse2(self.fuse1(x, s, t, step), s, t, step))
        return out


class STUNet(Sampler):
    """Predicts the noise in a week of traffic of B places, guided by station and time embeddings.

    place_dim, time_dim: widths of `Condition.place` and `Condition.time`. networks: how many measured networks have an
    index of their own (index 0 is "none of them"). hours_per_token: hours that enter as one position of the sheet.
    channels: one width per level; each level halves the positions of a day.
    cadences: the steps per hour that the model can draw. fusion: a key of `samplers.fusion.FUSIONS`. use_time and
    use_place switch the two graphs off (the paper's ablations w/o TG, w/o BSG, w/o ST).
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        place_dim: int = 32,
        time_dim: int = 32,
        networks: int = 1,
        width: int = 32,
        channels: tuple[int, ...] = (32, 48),
        hours_per_token: int = 2,
        cadences: tuple[int, ...] = (1, 2, 4, 6),
        fusion: str = "concat",
        dropout: float = 0.1,
        use_time: bool = True,
        use_place: bool = True,
        num_train_timesteps: int = 1000,
        prediction_type: str = "v_prediction",
        loss_type: str = "mse",
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # diffusers has types in part
        self.use_time, self.use_place = use_time, use_place
        self.noise = Noise(num_train_timesteps=num_train_timesteps, prediction_type=prediction_type)
        self.schedule = self.noise.scheduler()
        self.loss_type = loss_type
        self.cadences = tuple(cadences)
        kind = {"station": width, "time": width, "fusion": fusion}
        self.of_place = nn.Linear(place_dim, width)
        self.of_level = nn.Linear(2, width)
        self.of_network = nn.Embedding(networks + 1, width)
        self.place_mlp = nn.Sequential(nn.SiLU(), nn.Dropout(dropout), nn.Linear(width, width))
        self.of_time = nn.Sequential(nn.Linear(time_dim, width), nn.SiLU(), nn.Linear(width, width))
        self.step = StepEmbedding(width)
        self.hours_per_token = hours_per_token
        self.enter = nn.Linear(2 * hours_per_token, channels[0])
        self.leave = nn.Linear(channels[0], hours_per_token)
        detail = {k: (k - 1) * hours_per_token for k in self.cadences if k > 1}
        self.enter_detail = nn.ModuleDict({str(k): nn.Linear(n, channels[0]) for k, n in detail.items()})
        self.leave_detail = nn.ModuleDict({str(k): nn.Linear(channels[0], n) for k, n in detail.items()})
        hours = [HOURS // hours_per_token >> level for level in range(len(channels))]
        self.down = nn.ModuleList(
            _DownBlock(channels[i], channels[i + 1], hours[i], **kind) for i in range(len(channels) - 1)
        )
        self.mid = _MidBlock(channels[-1], hours[-1], **kind)
        self.up = nn.ModuleList(
            _UpBlock(channels[i + 1], channels[i], hours[i], **kind) for i in reversed(range(len(channels) - 1))
        )
        nn.init.normal_(self.of_network.weight, std=0.3)
        for weight in (*self.leave.parameters(), *self.leave_detail.parameters()):
            nn.init.zeros_(weight)

    def __call__(self, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """x_t (B, 168 k), t (B,) diffusion steps -> the prediction, like x_t."""
        out: Tensor = super().__call__(x_t, t, condition)
        return out

    def forward(self, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """x_t (B, 168 k), t (B,) diffusion steps -> the prediction, like x_t. Raises ValueError for another length."""
        b, steps = x_t.shape
        k, rest = divmod(steps, WEEK)
        if rest or k not in self.cadences:
            raise ValueError(f"{steps} steps a week: this model draws {[c * WEEK for c in self.cadences]}")
        place = self.of_level(condition.level) + self.of_network(condition.network)
        if self.use_place:
            place = place + self.of_place(condition.place)
        f_s = self.place_mlp(place)  # (B, width)
        f_t = self.of_time(pool_hours(condition.time, k * self.hours_per_token))  # (1 or B, tokens, width)
        if not self.use_time:
            f_t = torch.zeros_like(f_t)
        step = self.step(t)
        given = torch.zeros_like(x_t) if condition.known is None else (~condition.known.isnan()).to(x_t.dtype)
        tokens = f_t.shape[1]
        hours, detail = torch.split(x_t.reshape(b, WEEK, k), [1, k - 1], dim=-1)
        known_hours = given.view(b, WEEK, k)[..., :1]
        x = self.enter(torch.cat([hours.reshape(b, tokens, -1), known_hours.reshape(b, tokens, -1)], -1))
        if k > 1:
            x = x + self.enter_detail[str(k)](detail.reshape(b, tokens, -1))
        skips: list[Tensor] = []
        for i, block in enumerate(self.down):
            x, skip = block(x, f_s, pool_hours(f_t, 1 << i), step)
            skips.append(skip)
        x = self.mid(x, f_s, pool_hours(f_t, 1 << len(self.down)), step)
        for i, block in enumerate(self.up):
            x = block(x, skips.pop(), f_s, pool_hours(f_t, 1 << (len(self.down) - 1 - i)), step)
        out: Tensor = self.leave(x).view(b, WEEK, 1)
        if k > 1:
            out = torch.cat([out, self.leave_detail[str(k)](x).view(b, WEEK, k - 1)], dim=-1)
        return out.reshape(b, steps)

    def loss(self, x: Tensor, condition: Condition, generator: torch.Generator) -> Tensor:
        """Mean error of the prediction over the steps that are not given (STOUTER eq. 19; "l1" for its text), scalar.

        x: (B, 168 k) clean series, nan where nothing was measured. Given values enter clean and are not scored.
        """
        b = x.shape[0]
        t = torch.randint(self.noise.num_train_timesteps, (b,), generator=generator).to(x.device)
        eps = standard_normal(tuple(x.shape), generator, x)
        measured = ~x.isnan()
        x_t, target = diffusion_target(self.schedule, x.nan_to_num(), eps, t)
        if condition.known is not None:
            given = ~condition.known.isnan()
            x_t = torch.where(given, condition.known.nan_to_num(), x_t)
            measured = measured & ~given
        answer = self(x_t, t, condition)
        error = functional.l1_loss if self.loss_type == "l1" else functional.mse_loss
        return masked_mean(error(answer, target, reduction="none"), measured)
