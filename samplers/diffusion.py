"""Diffusion: noise schedules, solvers, the drawing loop.

Noise schedules and solvers, made from one small description: diffusers' schedulers, and one of our own, by default.

The forward process is STOUTER eq. 4-7: betas rise linearly from 1e-4 to 0.02 over T steps. What the network predicts
(epsilon as in eq. 19, the clean series, or v = sqrt(a) epsilon - sqrt(1 - a) x) is a parameter.

The drawing loop: noise in, series out, for any denoiser and any solver.

Every series has a random stream of its own (its seed), so that what is drawn for it does not depend on which other
series are drawn beside it. Values that are given are put back after every step and come out untouched.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from samplers.sampler import LOSS_DRAWS, Condition

if TYPE_CHECKING:
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

LEAST_POWER = 1e-3
LAST_TIME, BEND = 600, 0.5  # of 1000, over the steps: where the last one starts; below 1, early steps are longer
LAST_MIRRORED = 300  # the same of `MirroredPath`
QUIET = 0.45  # of the mean power that a condition leaves open: most series leave less open than the few loud ones


class Stepped(NamedTuple):
    """What a step of a solver gives, under diffusers' name: (B, T)."""

    prev_sample: Tensor


class GaussianPath:
    """Goes from x_t (B, T) to the next; `step` is to be called once for each of `timesteps`, in order.

    power: (B or 1, F) of the frequencies of 2 (F - 1) hours, in the orthonormal basis. A series holds k numbers an
    hour, the hour's mean first; the others, and all where `power` is None, count as independent, of unit variance.
    """

    init_noise_sigma = 1.0

    def __init__(
        self,
        noise: Noise,
        steps: int,
        power: Tensor | None = None,
        device: torch.device | None = None,
        last: int = LAST_TIME,
    ) -> None:
        """device: of the series, where `power` does not tell it. last: as LAST_TIME."""
        self.prediction, self.alphas_cumprod = noise.prediction_type, noise.alphas_cumprod
        self.timesteps = torch.tensor(_times(self.alphas_cumprod, steps, last))
        a = torch.cat([self.alphas_cumprod.double()[self.timesteps], torch.ones(1, dtype=torch.float64)])
        self.at, self.shares = 0, a
        where = device if power is None else power.device
        self.waves = None if power is None else _Part(a, power, where)
        self.within = _Part(a, torch.ones((1, 1)), where)

    def step(self, model_output: Tensor, timestep: Any, sample: Tensor) -> Stepped:
        """The prediction at `timestep` and x_t -> x at the next of `timesteps`, or the clean series after the last.

        model_output, sample: (B, T).
        """
        i, self.at = self.at, self.at + 1
        clean = self._clean(model_output, sample, self.alphas_cumprod[int(timestep)].to(sample))
        if self.waves is None:
            return Stepped(prev_sample=self.within.move(i, sample, clean))
        hours = 2 * (self.waves.frequencies - 1)
        x, week = (series.view(len(sample), hours, -1) for series in (sample, clean))
        waves = (torch.fft.rfft(sheet[..., 0], norm="ortho") for sheet in (x, week))
        mean = torch.fft.irfft(self.waves.move(i, *waves), hours, norm="ortho")[..., None]
        if x.shape[2] > 1:
            within = self.within.move(i, x[..., 1:].flatten(1), week[..., 1:].flatten(1))
            mean = torch.cat([mean, within.view(len(x), hours, -1)], -1)
        return Stepped(prev_sample=mean.flatten(1))

    def _clean(self, answer: Tensor, x: Tensor, a: Tensor) -> Tensor:
        kind = self.prediction
        if kind == "v_prediction":
            return a.sqrt() * x - (1 - a).sqrt() * answer
        return answer if kind == "sample" else (x - (1 - a).sqrt() * answer) / a.sqrt()


class MirroredPath(GaussianPath):
    """The same for series of any length, (..., T), whose ends do not meet: by the cosines of a series and its mirror.

    power: (F,) mean power of evenly spaced frequencies from 0 on, the last of (F - 1) / 2 F a step, in the orthonormal
    basis. It is followed at QUIET of it, which with few steps draws weeks as rough as real ones.
    """

    def __init__(self, noise: Noise, steps: int, length: int, power: Tensor, device: torch.device) -> None:
        """length: T. device: of the series."""
        super().__init__(noise, steps, device=device, last=LAST_MIRRORED)
        self.waves = _Part(self.shares, torch.from_numpy(QUIET * at_length(power.numpy(), length))[None], device)

    def step(self, model_output: Tensor, timestep: Any, sample: Tensor) -> Stepped:
        """As `GaussianPath.step`. model_output, sample: (..., T)."""
        i, self.at = self.at, self.at + 1
        clean = self._clean(model_output, sample, self.alphas_cumprod[int(timestep)].to(sample))
        length = sample.shape[-1]
        both = (torch.cat([s, s.flip(-1)], -1).view(-1, 2 * length) for s in (sample, clean))
        assert self.waves is not None
        mean = torch.fft.irfft(self.waves.move(i, *map(torch.fft.rfft, both)), 2 * length)
        return Stepped(prev_sample=mean[:, :length].reshape(sample.shape))


def at_length(power: NDArray[Any], length: int) -> NDArray[np.float64]:
    """The power (F,) of the waves of a series of F steps, for one of `length`: (length + 1,), of which the last is that
    of the wave before it. Between waves it is interpolated; of a shorter series each has the mean of those around."""
    if length >= len(power):
        at = np.linspace(0, len(power), length + 1)
        return np.asarray(np.interp(at, np.arange(len(power)), power), dtype=np.float64)
    edges = np.clip((np.arange(length + 1) - 0.5) * len(power) / length + 0.5, 0, len(power))  # wave k: from k to k + 1
    whole = np.interp(edges, np.arange(len(power) + 1), np.concatenate([[0.0], np.cumsum(power, dtype=np.float64)]))
    out = np.diff(whole) / np.diff(edges)
    return np.append(out, out[-1])


class Multistep:
    """DPM-Solver++ (Lu et al. 2022b), multistep, of the first or second order: the bits of diffusers' solver, which
    takes a second to import.

    times: (steps,) whole diffusion steps. sigmas: (steps,) noise over signal there; the last step ends at 0.
    """

    init_noise_sigma = 1.0

    def __init__(self, noise: Noise, times: NDArray[Any], sigmas: NDArray[np.float64], order: int) -> None:
        self.prediction, self.alphas_cumprod, self.order = noise.prediction_type, noise.alphas_cumprod, order
        self.timesteps = torch.from_numpy(times.astype(np.int64))
        self.sigmas = torch.from_numpy(np.append(sigmas, 0.0).astype(np.float32))
        self.at = 0
        self.before: Tensor | None = None

    def step(self, model_output: Tensor, timestep: Any, sample: Tensor) -> Stepped:
        """The prediction at `timestep` and x_t -> x at the next of `timesteps`, or the clean series after the last.

        model_output, sample: (B, T).
        """
        i, self.at = self.at, self.at + 1
        (alpha, sigma, now), (alpha_next, sigma_next, then) = self._noise(i), self._noise(i + 1)
        clean = model_output
        if self.prediction == "v_prediction":
            clean = alpha * sample - sigma * model_output
        elif self.prediction == "epsilon":
            clean = (sample - sigma * model_output) / alpha
        h, before, self.before = then - now, self.before, clean
        gain = alpha_next * (torch.exp(-h) - 1.0)
        x = (sigma_next / sigma) * sample - gain * clean
        if self.order > 1 and before is not None and self.at < len(self.timesteps):
            ratio = (now - self._noise(i - 1)[2]) / h
            x = x - 0.5 * gain * ((1.0 / ratio) * (clean - before))
        return Stepped(x)

    def _noise(self, i: int) -> tuple[Tensor, Tensor, Tensor]:
        """Signal, noise and the log of their ratio at step i."""
        alpha = 1 / ((self.sigmas[i] ** 2 + 1) ** 0.5)
        sigma = self.sigmas[i] * alpha
        return alpha, sigma, torch.log(alpha) - torch.log(sigma)


class _Part:
    """Coordinates that move independently, each of its own power: a (steps + 1,) and power (B or 1, F)."""

    def __init__(self, a: Tensor, power: Tensor, device: torch.device | None) -> None:
        """device: where they move. What is taken of them is formed on the CPU: not every device has float64."""
        self.frequencies = power.shape[1]
        a, power = a[:, None, None], power.cpu().double().clamp(min=LEAST_POWER)
        s2 = (1 - a) / a
        lift = (power + s2).sqrt()  # of z to y: (steps + 1, B or 1, F)
        u = power.sqrt() / lift
        self.scale, self.h = (a.sqrt() * lift).float().to(device), u.diff(dim=0).float().to(device)
        self.own = (power / lift**2 / a.sqrt()).float().to(device)  # of x_t, what of it the linear part predicts
        self.slope = (lift**2 / (s2 * power.sqrt()))[:-1].float().to(device)
        self.before: Tensor | None = None

    def move(self, i: int, x: Tensor, clean: Tensor) -> Tensor:
        """Step i: x_t (B, F) and the predicted clean series -> x at the next time."""
        now = (clean - self.own[i] * x) * self.slope[i]
        h, mean = self.h[i], now
        if self.before is not None:
            mean = now + (now - self.before) * (h / (2 * self.h[i - 1]))
        self.before = now
        return (x / self.scale[i] + h * mean) * self.scale[i + 1]


def _times(alphas: Tensor, steps: int, last_time: int = LAST_TIME) -> list[int]:
    """Time steps downwards, early ones longer in the log signal-to-noise ratio, no two alike."""
    signal = torch.log(alphas / (1 - alphas)).numpy() / 2
    last = min(round(last_time * len(signal) / 1000 / steps), len(signal) - steps)
    stops = signal[-1] + (signal[last] - signal[-1]) * np.linspace(0, 1, steps) ** BEND
    times = np.interp(-stops, -signal, np.arange(len(signal))).round().astype(int)
    down = np.arange(steps)[::-1]
    apart = np.maximum.accumulate((times - down)[::-1])[::-1] + down
    return [int(t) for t in np.minimum(apart, len(signal) - steps + down)]


PREDICTIONS = ("epsilon", "sample", "v_prediction")
Rest = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Noise:
    """The forward process and what is learned of it.

    rest: (networks + 1, 85) power of the hours' frequencies that a condition leaves open, of no network in particular
    and of each, where it was measured.
    """

    num_train_timesteps: int = 1000
    beta_start: float = 1e-4  # STOUTER section 5.1
    beta_end: float = 0.02
    beta_schedule: str = "linear"
    prediction_type: str = "v_prediction"
    rest: Rest | None = None

    @cached_property
    def alphas_cumprod(self) -> Tensor:
        """The share of the signal in the variance at every diffusion step: (num_train_timesteps,) float32."""
        if self.beta_schedule != "linear":
            raise ValueError(f"beta_schedule {self.beta_schedule!r}: linear is the only one here")
        betas = torch.linspace(self.beta_start, self.beta_end, self.num_train_timesteps, dtype=torch.float32)
        return torch.cumprod(1.0 - betas, dim=0)

    def sigmas(self) -> NDArray[np.float32]:
        """Noise over signal at every diffusion step: (num_train_timesteps,)."""
        return (((1 - self.alphas_cumprod) / self.alphas_cumprod) ** 0.5).numpy()

    def config(self) -> dict[str, Any]:
        """What diffusers' schedulers are made from."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "rest"}

    def scheduler(self) -> DDPMScheduler:
        """The schedule as diffusers' DDPM, which draws with the paper's own chain."""
        from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

        chain: DDPMScheduler = DDPMScheduler(**self.config(), clip_sample=False)
        return chain


def read_rest(rest: Rest | None, networks: int) -> Rest | None:
    """`Noise.rest` as configured, perhaps in JSON; a network that was not there when it was measured: as no network's.

    Raises ValueError for more networks than there are."""
    if rest is None:
        return None
    if len(rest) > networks + 1:
        raise ValueError(f"rest has {len(rest)} rows: {networks} networks have {networks + 1}")
    rows = tuple(tuple(row) for row in rest)
    return rows + rows[:1] * (networks + 1 - len(rows))


def _ddpm(noise: Noise, steps: int, _: Tensor | None) -> Any:
    solver = noise.scheduler()
    solver.set_timesteps(timesteps=_trailing(noise.num_train_timesteps, steps))
    return solver


def _ddim(noise: Noise, steps: int, _: Tensor | None) -> Any:
    # DDIM is the first-order DPM-Solver (Lu et al. 2022, section 4.1). diffusers' DDIMScheduler steps from t to
    # t - T // steps whatever comes next in its list, and is wrong wherever `steps` does not divide T
    times = np.array(_trailing(noise.num_train_timesteps, steps))
    return Multistep(noise, times, np.interp(times, np.arange(noise.num_train_timesteps), noise.sigmas()), order=1)


def _dpm(noise: Noise, steps: int, _: Tensor | None) -> Any:
    # even steps of the log signal-to-noise ratio: on a Gaussian with the spectrum of traffic, 8 of them err by 0.03
    # standard deviations; Karras' spacing errs by 0.14 and makes the variance a third too large, even time steps 0.12
    logs = np.log(noise.sigmas())
    first, last = logs[-1].item(), logs[0].item()
    sigmas = np.exp(first + np.linspace(0, 1, steps) * (last - first))
    at = np.log(np.maximum(sigmas, 1e-10))[:, None]
    low = np.cumsum(at >= logs, axis=1).argmax(axis=1).clip(max=len(logs) - 2)
    share = np.clip((logs[low] - at[:, 0]) / (logs[low] - logs[low + 1]), 0, 1)
    return Multistep(noise, ((1 - share) * low + share * (low + 1)).round(), sigmas, order=2)


def _unipc(noise: Noise, steps: int, _: Tensor | None) -> Any:
    from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler

    # the same spacing under another name
    solver = UniPCMultistepScheduler(**noise.config(), use_exponential_sigmas=True)
    solver.set_timesteps(steps)
    levels = 0.5 * (1 / solver.alphas_cumprod - 1).log().numpy()  # log sigma of every time step
    nearest = np.interp(solver.sigmas[:-1].log().numpy(), levels, np.arange(len(levels))).round()
    solver.timesteps = torch.from_numpy(nearest.astype(np.int64))  # diffusers cuts their fractions off
    return solver


def _gaussian(noise: Noise, steps: int, network: Tensor | None) -> Any:
    if noise.rest is None:
        return GaussianPath(noise, steps, device=None if network is None else network.device)
    which = torch.zeros(1, dtype=torch.long) if network is None else network
    if (which == which[0]).all():
        which = which[:1]
    return GaussianPath(noise, steps, torch.tensor(noise.rest).to(which.device)[which])


SOLVERS: dict[str, Callable[[Noise, int, Tensor | None], Any]] = {
    "ddpm": _ddpm,
    "ddim": _ddim,
    "dpm++": _dpm,
    "unipc": _unipc,
    "gaussian": _gaussian,
}


def make_solver(name: str, noise: Noise, steps: int, network: Tensor | None = None) -> Any:
    """A scheduler as diffusers' are, set to `steps` steps, for series of `network` (B,), as in `Condition`.

    Raises ValueError for a solver or a number that does not exist.
    """
    if name not in SOLVERS:
        raise ValueError(f"no solver {name!r}: choose one of {', '.join(SOLVERS)}")
    if not 1 <= steps <= noise.num_train_timesteps:
        raise ValueError(f"steps is {steps}: give 1 to {noise.num_train_timesteps}")
    solver = SOLVERS[name](noise, steps, network)
    if hasattr(solver, "set_begin_index"):
        solver.set_begin_index(0)  # it would search for the first step by its time, which two steps may share
    return solver


def _trailing(train_steps: int, steps: int) -> list[int]:
    """Time steps evenly from the noisiest, train_steps - 1, downwards: "leading", diffusers' default, starts too late.

    diffusers' own "trailing" list counts down in floating point: for some numbers (61, 103, ...) it ends in a step -1.
    """
    return [round(train_steps * (steps - i) / steps) - 1 for i in range(steps)]


def diffusion_target(noise: Noise, x: Tensor, eps: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """The noisy series x_t (STOUTER eq. 7) and what the network should answer: x, eps (B, T), t (B,) -> two (B, T)."""
    a = noise.alphas_cumprod.to(x)[t.to(x.device)].view(-1, *[1] * (x.ndim - 1))
    signal, sigma = a**0.5, (1 - a) ** 0.5
    x_t = signal * x + sigma * eps
    if noise.prediction_type == "v_prediction":
        return x_t, signal * eps - sigma * x
    return x_t, eps if noise.prediction_type == "epsilon" else x


def masked_mean(error: Tensor, where: Tensor) -> Tensor:
    """Mean of `error` over the places where `where` is true. error, where: (any shape), the same for both."""
    weight = where.to(error.dtype)
    return (error * weight).sum() / weight.sum().clamp(min=1)


def standard_normal(shape: tuple[int, ...], generator: torch.Generator, like: Tensor) -> Tensor:
    """Normal draws from a CPU generator, on the device and in the type of `like`: the same numbers on every device.

    like: (any shape).
    """
    return torch.randn(shape, generator=generator).to(like)


def denoising_loss(
    network: Callable[[Tensor, Tensor, Condition], Tensor],
    noise: Noise,
    x: Tensor,
    condition: Condition,
    generator: torch.Generator,
    loss_type: str = "mse",
) -> Tensor:
    """Mean error of a denoiser's prediction over the steps that are not given (STOUTER eq. 19; "l1" for its text).

    x: (B, 168 k) clean series, nan where nothing was measured. Given values enter clean and are not scored. Scalar.
    """
    t = torch.randint(len(noise.alphas_cumprod), (x.shape[0],), generator=generator).to(x.device)
    eps = standard_normal(tuple(x.shape), generator, x)
    measured = ~x.isnan()
    x_t, target = diffusion_target(noise, x.nan_to_num(), eps, t)
    if condition.known is not None:
        given = ~condition.known.isnan()
        x_t = torch.where(given, condition.known.nan_to_num(), x_t)
        measured = measured & ~given
    error = functional.l1_loss if loss_type == "l1" else functional.mse_loss
    return masked_mean(error(network(x_t, t, condition), target, reduction="none"), measured)


def denoising_losses(
    network: Callable[[Tensor, Tensor, Condition], Tensor], noise: Noise, x: Tensor, condition: Condition, seed: int
) -> Tensor:
    """Mean squared error of a denoiser's prediction on each series: (B,), float64; see `Sampler.losses`.

    Over LOSS_DRAWS diffusion steps, evenly spread, each with a noise of its own. x: (B, 168 k) clean, all measured.
    """
    draws = LOSS_DRAWS
    eps = np.random.default_rng((seed, 2)).standard_normal((draws, x.shape[1]), dtype=np.float32)
    total = torch.zeros(len(x), dtype=torch.float64)
    for number in range(draws):
        t = torch.full((len(x),), int((number + 0.5) / draws * noise.num_train_timesteps)).to(x.device)
        x_t, target = diffusion_target(noise, x, torch.from_numpy(eps[number]).to(x).expand_as(x), t)
        total += ((network(x_t, t, condition) - target) ** 2).mean(dim=1).cpu().double()
    return total / draws


@runtime_checkable
class Denoiser(Protocol):
    """A network that draws in many steps: what the loop needs of it."""

    noise: Noise

    def __call__(self, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """x_t (B, T), t (B,) -> the prediction, like x_t."""


@runtime_checkable
class OneShot(Protocol):
    """A network that draws at once, from standard normal numbers."""

    def noise_size(self, steps: int) -> int:
        """Numbers that a series of `steps` steps is drawn from."""

    def __call__(self, z: Tensor, condition: Condition) -> Tensor:
        """z (B, noise_size(T)) -> series (B, T)."""


# of values x that are given, without noise: the answer that predicts them, as a multiple of x, where alpha_bar is a
PERFECT: dict[str, Callable[[float], float]] = {
    "epsilon": lambda a: 0.0,
    "sample": lambda a: 1.0,
    "v_prediction": lambda a: -((1 - a) ** 0.5),
}


def starting_noise(keys: NDArray[np.uint64], steps: int) -> Tensor:
    """One row of standard normal noise per key of numpy's Philox: keys (B, 2) -> (B, steps) float32."""
    out = np.empty((len(keys), steps), dtype=np.float32)
    bits = np.random.Philox(0)
    start, normal = bits.state, np.random.Generator(bits).standard_normal
    for row, key in zip(out, keys, strict=True):  # one generator, set to each stream's start: half the time of new ones
        start["state"]["key"] = key
        bits.state = start
        normal(dtype=np.float32, out=row)
    return torch.from_numpy(out)


def draw(
    network: Denoiser | OneShot,
    condition: Condition,
    *,
    seeds: NDArray[np.uint64] | None = None,
    steps: int,
    solver: str = "gaussian",
    guidance: float = 1.0,
    mirrored: bool = False,
    noise: Tensor | None = None,
) -> Tensor:
    """Draw one window of traffic per seed: (B, T), on the scale that the denoiser was trained on.

    seeds: (B, 2), the Philox keys of B random streams. steps: solver steps (network calls; twice as many with
    guidance); a one-shot network is called once, and once more with guidance. solver: a key of
    `samplers.diffusion.SOLVERS`. guidance: classifier-free guidance, 1 = none, more = what stands there counts for more
    (Ho and Salimans 2022: unconditional + guidance x (conditional - unconditional)).
    mirrored: start from the negative of the seeds' noise: with its twin, a pair of antithetic variates (Hammersley and
    Morton 1956), whose mean errs less than that of two independent draws; each of the two is distributed alike.
    noise: (B, T) standard normal numbers to start from instead of seeds; gradients then pass.

    Given values enter the network clean. The solver is shown them as their mean sqrt(a) x at its noise, with an answer
    that predicts them: a solver that mixes hours needs hours that move as the others do.
    Raises ValueError for an unknown solver, an impossible number of steps, or neither seeds nor noise.
    """
    with torch.inference_mode() if noise is None else nullcontext():
        if isinstance(network, OneShot):
            return _draw_at_once(network, condition, seeds, guidance, mirrored)
        x = _start(condition, seeds, mirrored) if noise is None else noise
        extra = {"generator": _streams(seeds, mirrored)} if solver == "ddpm" and seeds is not None else {}
        given = None if condition.known is None else ~condition.known.isnan()
        values = x if condition.known is None else condition.known.nan_to_num()
        plain = condition.without_place()
        scheduler = make_solver(solver, network.noise, steps, condition.network)
        x = x * float(scheduler.init_noise_sigma)
        for t in scheduler.timesteps:
            seen = x if given is None else torch.where(given, values, x)
            step = torch.full((x.shape[0],), int(t), dtype=torch.long, device=x.device)
            answer = network(seen, step, condition)
            if guidance != 1.0:
                without = network(seen, step, plain)
                answer = without + guidance * (answer - without)
            if given is not None:
                a = float(scheduler.alphas_cumprod[int(t)])
                x = torch.where(given, a**0.5 * values, x)
                answer = torch.where(given, PERFECT[network.noise.prediction_type](a) * values, answer)
            x = scheduler.step(answer, t, x, **extra).prev_sample
        return x if given is None else torch.where(given, values, x)


def _draw_at_once(
    network: OneShot, condition: Condition, seeds: NDArray[np.uint64] | None, guidance: float, mirrored: bool
) -> Tensor:
    z = _start(condition, seeds, mirrored, network.noise_size(condition.time.shape[1]))
    x = network(z, condition)
    if guidance != 1.0:
        without = network(z, condition.without_place())
        x = without + guidance * (x - without)
    return x if condition.known is None else torch.where(condition.known.isnan(), x, condition.known)


def _start(
    condition: Condition, seeds: NDArray[np.uint64] | None, mirrored: bool, numbers: int | None = None
) -> Tensor:
    if seeds is None:
        raise ValueError("neither seeds nor noise are given: give one to draw from")
    length = condition.time.shape[1] if numbers is None else numbers
    return starting_noise(seeds, length).to(condition.time.device) * (-1.0 if mirrored else 1.0)


def _streams(seeds: NDArray[np.uint64], mirrored: bool) -> list[torch.Generator]:
    """What a stochastic solver draws from: a stream per series, keyed like the starting noise. Twins have one each, or
    the noise that both are given on the way would make them alike."""
    return [torch.Generator().manual_seed(key) for key in (seeds[:, int(mirrored)] >> np.uint64(1)).tolist()]
