"""STUNet, the denoiser of STOUTER (section 5.3), on the 7 x 24 sheet of a week.

Down block: two STFFMs, linear attention, down-sampling convolution. Mid block: STFFM, softmax attention, STFFM. Up
block: up-sampling, skip by concatenation, two STFFMs, linear attention. At cadences finer than an
hour x holds k numbers per hour: the hour's mean first, then what moves within the hour, each of unit variance (the
caller's scaling sees to that). Means pass through the same weights at every cadence, the rest through a linear map of
its own, so a week at 10 minutes costs little more than one at 1 hour.

Beside the paper: an answer is, per hour, a number plus a gate times what the network sees there. How much of a noisy
hour is noise depends on how busy the hour and the cell are, which takes few channels to say; the noise itself, which
would take many, passes through the gate. With that, and the linear part of denoising taken off (`Spectral`), 6
hours fit one position. Where numbers in the paper contradict each other, see PAPERS.

As published: hours_per_token=1, gate=False, direct=True, attention="written" or "residual", fusion="linear",
prediction_type="epsilon", no spectrum (`gentraffic.training.fitting.PUBLISHED`).

The linear part of denoising a week, frequency by frequency, which a network need not learn.

A week whose frequency f has the power S_f is, for all that second moments tell, Gaussian, and of a Gaussian the best
guess of v from x_t is known in closed form. STUNet sees x_t whitened, and its answer is scaled and added to that guess:
so what is nearly white in traffic, how one hour departs from the next, passes beside the network, whose few channels
could not hold it. This is the preconditioning of Karras et al. 2022 (table 1) for v, in the Fourier basis of the week
instead of one variance for all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from samplers.diffusion import LEAST_POWER, Noise, Rest, denoising_loss, denoising_losses, read_rest
from samplers.layers import (
    STFFM,
    HourMerge,
    HourSplit,
    StepEmbedding,
    make_attention,
    per_hour,
    pool_hours,
)
from samplers.sampler import DAYS, FURTHER, HOURS, WEEK, Condition, Sampler, register_to_config

FREQUENCIES = WEEK // 2 + 1  # 0 to 84 periods a week


class Spectral(nn.Module):
    """The linear part for the hours of a week of known spectrum.

    power: (85,) mean squares of the frequencies in the orthonormal basis, 1 for white noise of unit variance.
    """

    white: Tensor
    skip: Tensor
    gain: Tensor

    def __init__(self, noise: Noise, power: tuple[float, ...]) -> None:
        super().__init__()
        if len(power) != FREQUENCIES:
            raise ValueError(f"a spectrum of {len(power)} numbers: a week of hours has {FREQUENCIES} frequencies")
        s = torch.tensor(power, dtype=torch.float64).clamp(min=LEAST_POWER)
        a = noise.alphas_cumprod.double()[:, None]
        n = a * s + 1 - a
        tables = {"white": n.rsqrt(), "skip": (a * (1 - a)).sqrt() * (1 - s) / n, "gain": (s / n).sqrt()}
        for name, values in tables.items():
            self.register_buffer(name, values.float(), persistent=False)

    def before(self, hours: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Hours of x_t (B, 168) -> them as the network sees them, of unit variance, and the guess, as waves (B, 85).

        hours: (B, 168). t: (B,) diffusion steps.
        """
        waves = torch.fft.rfft(hours, norm="ortho")
        return torch.fft.irfft(waves * self.white[t], WEEK, norm="ortho"), waves * self.skip[t]

    def after(self, answer: Tensor, guess: Tensor, t: Tensor) -> Tensor:
        """The network's answer (B, 168), the guess (B, 85), the diffusion steps t (B,) -> the v predicted (B, 168)."""
        waves = guess + self.gain[t] * torch.fft.rfft(answer, norm="ortho")
        out: Tensor = torch.fft.irfft(waves, WEEK, norm="ortho")
        return out


SPREAD_KNOTS = (
    -4.0,
    -3.0,
    -2.0,
    -1.0,
    0.0,
    1.0,
    2.0,
    3.0,
)  # values of a profile, evenly spaced, on the scale of the data


class _DownBlock(nn.Module):
    def __init__(self, c: int, c_next: int, hours: int, attention: str, **kind: Any) -> None:
        super().__init__()
        self.fuse1 = STFFM(c, c, DAYS, hours, **kind)
        self.fuse2 = STFFM(c, c, DAYS, hours, **kind)
        self.attention = make_attention(attention, c, linear=True)
        self.down = HourMerge(c, c_next)

    def forward(self, x: Tensor, s: Tensor, t: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
        x = self.attention(self.fuse2(self.fuse1(x, s, t, step), s, t, step))
        return self.down(x), x


class _MidBlock(nn.Module):
    def __init__(self, c: int, hours: int, attention: str, **kind: Any) -> None:
        super().__init__()
        self.fuse1 = STFFM(c, c, DAYS, hours, **kind)
        self.attention = make_attention(attention, c, linear=False)
        self.fuse2 = STFFM(c, c, DAYS, hours, **kind)

    def forward(self, x: Tensor, s: Tensor, t: Tensor, step: Tensor) -> Tensor:
        out: Tensor = self.fuse2(self.attention(self.fuse1(x, s, t, step)), s, t, step)
        return out


class _UpBlock(nn.Module):
    def __init__(self, c_below: int, c: int, hours: int, attention: str, **kind: Any) -> None:
        super().__init__()
        self.up = HourSplit(c_below, c)
        self.fuse1 = STFFM(2 * c, c, DAYS, hours, **kind)
        self.fuse2 = STFFM(c, c, DAYS, hours, **kind)
        self.attention = make_attention(attention, c, linear=True)

    def forward(self, x: Tensor, skip: Tensor, s: Tensor, t: Tensor, step: Tensor) -> Tensor:
        x = torch.cat([self.up(x), skip], -1)
        out: Tensor = self.attention(self.fuse2(self.fuse1(x, s, t, step), s, t, step))
        return out


class STUNet(Sampler):
    """Predicts the noise in a week of traffic of B places, guided by station and time embeddings.

    place_dim, time_dim: widths of `Condition.place` and `Condition.time`. networks: how many measured networks have an
    index of their own (index 0 is "none of them"). services: how many it draws. hours_per_token: hours that enter as
    one position of the sheet.
    channels: one width per level; each level halves the positions of a day.
    cadences: the steps per hour that the model can draw. fusion: a key of `samplers.layers.FUSIONS`. use_time and
    use_place switch the two graphs off (the paper's ablations w/o TG, w/o BSG, w/o ST). use_profile: the model also
    takes `Condition.profile`, the past of the place itself, and learns how weeks depart from it (`follow`, `loss`).
    profile_spread: (networks + 1) x `len(SPREAD_KNOTS)` standard deviations of that departure, of no network and of
    each, where the profile has the values of SPREAD_KNOTS: quiet hours depart further. 0.5 everywhere by default.
    profile_shift: of the same shape, the mean departures, 0 by default: the mean of a week lies above the week of means
    of its logarithms.
    gate: whether the noisy series reaches the answer through a gate, beside what the network adds. direct: the
    embeddings of the two graphs enter the fusion as they are (eq. 16), with the network's index added and no level
    told; else all of it passes two small networks first. attention: a key of `samplers.layers.ATTENTIONS`.
    spectrum: (85,) power of the hours' frequencies, where the network is to learn only what that does not tell
    (`Spectral`). rest: `Noise.rest`, once it is trained. use_amplitude: it is told `Condition.amplitude`.
    """

    further = frozenset(FURTHER)
    fits_privately = True
    spread: Tensor
    shift: Tensor

    @register_to_config
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
        use_profile: bool = False,
        profile_spread: tuple[tuple[float, ...], ...] | float = 0.5,
        profile_shift: tuple[tuple[float, ...], ...] | float = 0.0,
        spectrum: tuple[float, ...] | None = None,
        rest: Rest | None = None,
        num_train_timesteps: int = 1000,
        prediction_type: str = "v_prediction",
        loss_type: str = "mse",
        services: int = 1,
        gate: bool = True,
        direct: bool = False,
        attention: str = "pre-norm",
        use_amplitude: bool = False,
    ) -> None:
        super().__init__()
        self.gate, self.direct = gate, direct
        self.use_time, self.use_place = use_time, use_place
        self.noise = Noise(
            num_train_timesteps=num_train_timesteps, prediction_type=prediction_type, rest=read_rest(rest, networks)
        )
        self.loss_type = loss_type
        self.cadences = tuple(cadences)
        tokens = DAYS * HOURS // hours_per_token
        size = tokens * channels[0]  # of one activation, of which 1.4 MB at most are to be at hand
        self.series_at_once = (
            32 if size > 8192 else 64 if size > 2048 else 128 if size > 1024 else 384 if size > 512 else 512
        )
        station = place_dim if direct else width
        kind: dict[str, Any] = {
            "station": station, "time": time_dim if direct else width, "fusion": fusion, "attention": attention,
        }  # fmt: skip
        if not direct:
            self.of_place = nn.Linear(place_dim, width)
            self.of_level = nn.Linear(2, width)
        self.of_network = nn.Embedding(networks + 1, station)
        self.of_service = nn.Embedding(services, station) if services > 1 else None
        self.of_amplitude = nn.Linear(1, station) if use_amplitude else None
        if not direct:
            self.place_mlp = nn.Sequential(nn.SiLU(), nn.Dropout(dropout), nn.Linear(width, width))
            self.of_time = nn.Sequential(nn.Linear(time_dim, width), nn.SiLU(), nn.Linear(width, width))
        self.step = StepEmbedding(station)
        self.hours_per_token = hours_per_token
        self.enter = nn.Linear((2 if spectrum is None else 3) * hours_per_token, channels[0])
        self.leave = nn.Linear(channels[0], (2 if gate else 1) * hours_per_token)
        detail = {k: (k - 1) * hours_per_token for k in self.cadences if k > 1}
        self.enter_detail = nn.ModuleDict({str(k): nn.Linear(n, channels[0]) for k, n in detail.items()})
        self.leave_detail = nn.ModuleDict(
            {str(k): nn.Linear(channels[0], n + (hours_per_token if gate else 0)) for k, n in detail.items()}
        )
        hours = [HOURS // hours_per_token >> level for level in range(len(channels))]
        self.down = nn.ModuleList(
            _DownBlock(channels[i], channels[i + 1], hours[i], **kind) for i in range(len(channels) - 1)
        )
        self.mid = _MidBlock(channels[-1], hours[-1], **kind)
        self.up = nn.ModuleList(
            _UpBlock(channels[i + 1], channels[i], hours[i], **kind) for i in reversed(range(len(channels) - 1))
        )
        if use_profile:
            self.enter_profile = nn.Linear(2 * hours_per_token, channels[0])
        if (use_profile or spectrum is not None) and prediction_type != "v_prediction":
            what = "with a profile" if use_profile else "with a spectrum"
            raise ValueError(f"prediction_type is {prediction_type!r}: a model {what} predicts v_prediction")
        if use_profile and spectrum is not None:
            raise ValueError("a spectrum is given: a model with a profile follows that instead")
        self.spectral = None if spectrum is None else Spectral(self.noise, tuple(spectrum))
        self.use_profile = use_profile
        spread = torch.full((networks + 1, len(SPREAD_KNOTS)), 1.0) * torch.tensor(profile_spread)
        self.register_buffer("spread", spread, persistent=False)
        self.register_buffer("shift", torch.zeros_like(spread) + torch.tensor(profile_shift), persistent=False)
        nn.init.normal_(self.of_network.weight, std=0.3)
        if self.of_service is not None:
            nn.init.zeros_(self.of_service.weight)
        for weight in (*self.leave.parameters(), *self.leave_detail.parameters()):
            nn.init.zeros_(weight)

    if TYPE_CHECKING:

        def __call__(self, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
            """x_t (B, 168 k), t (B,) diffusion steps -> the prediction, like x_t."""

    def forward(self, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """x_t (B, 168 k), t (B,) diffusion steps -> the prediction, like x_t. Raises ValueError for another length."""
        b, steps = x_t.shape
        k = per_hour(steps, self.cadences)
        f_s = self._station(condition)  # (B, width, or P where it enters directly)
        f_t = pool_hours(condition.time, k * self.hours_per_token)
        f_t = f_t if self.direct else self.of_time(f_t)  # (1 or B, tokens, width or Q)
        if not self.use_time:
            f_t = torch.zeros_like(f_t)
        step = self.step(t)
        given = torch.zeros_like(x_t) if condition.known is None else (~condition.known.isnan()).to(x_t.dtype)
        if self.use_profile:
            profile = condition.profile if condition.profile is not None else x_t.new_zeros(b, 2, steps)
            a = self.noise.alphas_cumprod.to(x_t)[t][:, None]
            mean, spread, _ = self.centre(profile, condition.network, k)
            trust = profile[:, 1]
            x_t, skip_answer, gain = follow(x_t, a, mean, spread, given)
        tokens = f_t.shape[1]
        hours, detail = torch.split(x_t.reshape(b, WEEK, k), [1, k - 1], dim=-1)
        known_hours = given.view(b, WEEK, k)[..., :1]
        seen, white = [hours, known_hours], hours[..., 0]
        if self.spectral is not None:
            noisy = hours
            if condition.known is not None:  # given values are clean: as their mean is
                a = self.noise.alphas_cumprod.to(x_t)[t][:, None, None]
                noisy = torch.where(known_hours > 0, a.sqrt() * hours, hours)
            white, guess = self.spectral.before(noisy[..., 0], t)
            seen.append(white[..., None])
        x = self.enter(torch.cat([part.reshape(b, tokens, -1) for part in seen], -1))
        if k > 1:
            x = x + self.enter_detail[str(k)](detail.reshape(b, tokens, -1))
        if self.use_profile:
            week = torch.stack([mean.view(b, WEEK, k)[..., 0], trust.view(b, WEEK, k)[..., 0]], -1)  # (B, 168, 2)
            x = x + self.enter_profile(week.view(b, tokens, -1))
        skips: list[Tensor] = []
        for i, block in enumerate(self.down):
            x, skip = block(x, f_s, pool_hours(f_t, 1 << i), step)
            skips.append(skip)
        x = self.mid(x, f_s, pool_hours(f_t, 1 << len(self.down)), step)
        for i, block in enumerate(self.up):
            x = block(x, skips.pop(), f_s, pool_hours(f_t, 1 << (len(self.down) - 1 - i)), step)
        out: Tensor
        if self.gate:
            add, gate = self.leave(x).reshape(b, WEEK, 2).unbind(-1)
            out = add + gate * white
        else:
            out = self.leave(x).reshape(b, WEEK)
        if self.spectral is not None:
            out = self.spectral.after(out, guess, t)
        out = out[..., None]
        if k > 1:
            within = self.leave_detail[str(k)](x).reshape(b, WEEK, -1)
            if self.gate:
                add, gate = torch.split(within, [k - 1, 1], -1)
                within = add + gate * detail
            out = torch.cat([out, within], dim=-1)
        out = out.reshape(b, steps)
        return skip_answer + gain * out if self.use_profile else out

    def _station(self, condition: Condition) -> Tensor:
        """F_s as the fusion takes it: (B, width), or (B, P) where it enters directly."""
        place: Tensor = self.of_network(condition.network)
        if not self.direct:
            place = self.of_level(condition.level) + place
        if self.of_service is not None:
            place = place + self.of_service(torch.zeros_like(condition.network) if condition.service is None
                                            else condition.service)  # fmt: skip
        if self.of_amplitude is not None:
            told = torch.zeros_like(place[:, 0]) if condition.amplitude is None else condition.amplitude
            place = place + self.of_amplitude(told[:, None])
        if self.use_place:
            place = place + (condition.place if self.direct else self.of_place(condition.place))
        return place if self.direct else self.place_mlp(place)

    def loss(self, x: Tensor, condition: Condition, generator: torch.Generator) -> Tensor:
        """Mean error of the prediction over the steps that are not given (STOUTER eq. 19; "l1" for its text), scalar.

        x: (B, 168 k) clean series, nan where nothing was measured. Given values enter clean and are not scored. Weeks
        that follow a profile depart from it as another of the batch did from its own: how weeks depart is learned, but
        the few departures that a place ever made cannot be remembered.
        """
        if self.use_profile and condition.profile is not None:
            if condition.known is not None:
                x = torch.where(condition.known.isnan(), x, condition.known)
            mean, spread, hours = self.centre(condition.profile, condition.network, x.shape[1] // WEEK)
            rows = hours.any(1).nonzero().squeeze(1)
            other = torch.arange(len(x), device=x.device)
            other[rows] = rows[torch.randperm(len(rows), generator=generator).to(x.device)]
            moved = mean + spread * ((x - mean) / spread)[other]
            x = torch.where(hours & hours[other], moved, x)
            if condition.known is not None:
                condition = condition.with_known(torch.where(condition.known.isnan(), condition.known, x))
        return denoising_loss(self, self.noise, x, condition, generator, self.loss_type)

    def losses(self, x: Tensor, condition: Condition, seed: int) -> Tensor:
        """See `Sampler.losses`: (B,) of x (B, 168 k)."""
        return denoising_losses(self, self.noise, x, condition, seed)

    def centre(self, profile: Tensor, network: Tensor, per_hour: int) -> tuple[Tensor, Tensor, Tensor]:
        """Where weeks that follow their profile are expected, how far they depart, and which numbers do follow.

        Three of (B, 168 k): the profile with the mean departures added, their standard deviations, and whether it is
        the mean of an hour of which the past is known. Elsewhere 0 and 1.
        profile: (B, 2, 168 k). network: (B,) indices.
        """
        week, trust = profile.unbind(1)
        hours = (torch.arange(week.shape[1], device=week.device) % per_hour == 0) & (trust > 0)
        shift, spread = (
            (hat_basis(week) @ table[network][..., None]).squeeze(-1) for table in (self.shift, self.spread)
        )
        mean = torch.where(hours, week + shift, torch.zeros_like(week))
        return mean, torch.where(hours, spread, torch.ones_like(spread)), hours


def hat_basis(value: Tensor) -> Tensor:
    """Weights (of sum 1) of linear interpolation between SPREAD_KNOTS, flat beyond: value (any shape) -> (..., n)."""
    knots = torch.tensor(SPREAD_KNOTS).to(value)
    inside = value.clamp(SPREAD_KNOTS[0], SPREAD_KNOTS[-1])[..., None]
    return (1 - (inside - knots).abs() / (knots[1] - knots[0])).clamp(min=0)


def follow(x_t: Tensor, a: Tensor, mean: Tensor, spread: Tensor, given: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What the network sees, and what its answer is added to and multiplied by, where the week follows a profile.

    Where the past is known, hourly means are taken as mean + spread x y with y of unit variance: of x_t less
    sqrt(a) mean, of variance n = a spread^2 + 1 - a, the best linear guess of v is
    sqrt(a (1 - a)) (1 - spread^2) / n x_t - sqrt(1 - a) mean, with an error of standard deviation spread / sqrt(n),
    and the network predicts that error (the preconditioning of Karras et al. 2022, table 1, for v, about a prior mean
    that depends on the data, as in PriorGrad, Lee et al. 2022). Where mean is 0 and spread 1, nothing changes.
    x_t, mean, spread, given (B, 168 k), a (B, 1) = alpha_bar -> three of (B, 168 k).
    """
    s2 = spread**2
    variance = a * s2 + 1 - a
    moved = x_t - a.sqrt() * mean
    seen = torch.where(given > 0, x_t - mean, moved / variance.sqrt())
    skip = (a * (1 - a)).sqrt() * (1 - s2) / variance * moved - (1 - a).sqrt() * mean
    return seen, skip, (s2 / variance).sqrt()
