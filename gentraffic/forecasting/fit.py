"""Fit a forecaster, forecast, score: plain functions of arrays, which the commands and `validate` share."""

from __future__ import annotations

import time as clock
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from forecasters import CellScaler, Windows, crop, fit_scaler, patches_of_frames, windows_to
from gentraffic.errors import BadInput
from gentraffic.forecasting.data import Network, Part
from gentraffic.forecasting.ranges import ErrorPaths
from gentraffic.forecasting.registry import recipe_of
from gentraffic.forecasting.task import ForecastTask, Plan, fingerprint, trainer_of
from gentraffic.training.trainer import Run

CHUNK = 1024  # neighbourhoods forecast at once: their activations fit into the cache


@dataclass(frozen=True)
class Fitted:
    """A forecaster ready to use: model is a `forecasters.Forecaster`; metadata: facts of its training.

    errors: those of the validation part, from which ranges are drawn; None where none are known.
    """

    name: str
    model: Any
    metadata: dict[str, Any] = field(default_factory=dict)
    errors: ErrorPaths | None = None


def fit_forecaster(
    name: str,
    train: Sequence[Part],
    validation: Sequence[Part] = (),
    plan: Plan | None = None,
    *,
    design: Mapping[str, Any] | None = None,
    shares: Sequence[float] | None = None,
    run: Run | None = None,
) -> Fitted:
    """Train the forecaster `name` (a key of FORECASTERS) on the parts of one or more networks.

    validation: parts that choose the best weights; without them the last weights are kept. design: arguments of the
    network that differ from the named ones. shares: how much of each batch every part of `train` gives, None for by
    their windows. run: how, by default on the CPU without a checkpoint. The naive ones learn nothing.
    Raises WrongUse for an unknown name, BadInput where networks differ in cadence or services, or are too short.
    """
    recipe, run = recipe_of(name), run or Run()
    plan, networks = plan or Plan(), [part.network for part in (*train, *validation)]
    kinds = {(n.per_day, n.values.shape[2]) for n in networks}
    if len(kinds) != 1:
        raise BadInput(f"networks with {sorted(kinds)} (steps a day, services) must be alike: resample them first")
    [(per_day, services)] = kinds
    torch.manual_seed(plan.seed)
    model = recipe.network(per_day=per_day, services=services, **{**recipe.design, **(design or {})})
    if not recipe.learns:
        return Fitted(name, model.eval().to(run.device))
    began = clock.monotonic()
    stride = plan.stride if recipe.fit is None else 1  # what is not trained in batches thins its windows itself
    windows = [windows_of(model, part, stride) for part in train]
    for part, part_windows in zip(train, windows, strict=True):
        if not len(part_windows):
            raise BadInput(
                f"too short a series: {part.last - part.first} training steps, {name} needs more than "
                f"{model.context + model.horizon} ({model.context} of the past, {model.horizon} ahead): "
                f"{'fit lightgbm-day, which needs no last week' if name == 'lightgbm' else 'take a longer one'}"
            )
    checked = [w for w in (windows_of(model, part, 1) for part in validation) if len(w)]
    mark = fingerprint(name, [*windows, *checked], dict(design or {}), shares)
    if recipe.fit is not None:
        grown = recipe.fit(
            model, windows, checked, trees=plan.steps, seed=plan.seed, shares=shares, on_step=run.on_step
        )
        counted = {"parameters": sum(b.numel() for b in model.buffers()), "minutes": _minutes(began)}
        metadata = grown | counted | {"plan": {"trees": plan.steps, "seed": plan.seed}}
        return Fitted(name, model.eval().to(run.device), metadata)
    windows, checked = ([windows_to(w, run.device) for w in some] for some in (windows, checked))
    task = ForecastTask(model.to(run.device), windows, checked, plan, shares)
    trainer = trainer_of(task, run.checkpoint, mark)
    trainer.train(run.on_step)
    trainer.finish()
    metadata = {
        "parameters": sum(p.numel() for p in model.parameters()),
        "windows": int(task.sizes.sum()),
        "steps": trainer.step,
        "best_step": trainer.best_step,
        "minutes": _minutes(began),
        "threads": torch.get_num_threads(),
        "plan": asdict(plan),
        "validation": trainer.scores,
    }
    return Fitted(name, model, metadata)


def _minutes(began: float) -> float:
    """Minutes since a moment of the monotonic clock."""
    return round((clock.monotonic() - began) / 60, 2)


def windows_of(model: Any, part: Part, stride: int) -> Windows:
    """The scaled windows of a part as `model` (a Forecaster) wants them; dead cells are neighbours, not targets."""
    values, _ = scaled(part)
    patches = torch.from_numpy(crop(part.network.patches, model.side))
    live = torch.from_numpy(np.flatnonzero(part.network.values[:, : part.known].max(axis=(1, 2)) > 0))
    week = part.network.week
    return Windows(values, patches, model.lags, model.horizon, part.first, part.last, stride, live, week)


def scaled(part: Part, scaler: CellScaler | None = None) -> tuple[Tensor, CellScaler]:
    """(last, cells, services) the steps of a network up to the part's end, scaled by what the scaler may know."""
    values = part.network.values
    scaler = fit_scaler(values[:, : part.known]) if scaler is None else scaler
    steps = scaler.forward(values[:, : part.last]).transpose(1, 0, 2)
    return torch.from_numpy(np.ascontiguousarray(steps)), scaler


def forecast(
    fitted: Fitted, network: Network, horizon: int = 1, scaler: CellScaler | None = None
) -> NDArray[np.float32]:
    """The `horizon` steps after the end of a network's series: (cells, horizon, services) in its units.

    scaler: None for that of the whole history. Raises BadInput for a history that is too short or of another cadence.
    """
    part = Part(network, network.steps, network.steps, network.steps)
    ahead: NDArray[np.float32] = forecasts(fitted, part, horizon, np.array([network.steps]), scaler)[0]
    return ahead


def forecasts(
    fitted: Fitted,
    part: Part,
    horizon: int = 1,
    starts: NDArray[np.int64] | None = None,
    scaler: CellScaler | None = None,
) -> NDArray[np.float32]:
    """Forecasts of `horizon` steps from each start: (starts, cells, horizon, services) in the network's units.

    starts: (starts,) first steps forecast, None for all of the part. scaler: another than that of the part.
    Steps beyond the forecaster's own horizon come by feeding its forecasts back. Raises BadInput for a part that is
    too short, or of another cadence than the forecaster's.
    """
    model, network = fitted.model, part.network
    check_fits(fitted, network)
    starts = origins(part, horizon) if starts is None else np.asarray(starts)
    if not len(starts) or starts.min() < model.context:
        have = int(starts.min()) if len(starts) else max(0, part.last - part.first - horizon + 1)
        raise BadInput(
            f"too short a series: {have} steps before the first forecast, {fitted.name} needs {model.context}"
            if len(starts)
            else f"too short a series: no {horizon} steps in a part of {part.last - part.first}"
        )
    values, scaler = scaled(part, scaler)
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    values, patches = values.to(device), torch.from_numpy(crop(network.patches, model.side)).to(device)
    out = np.empty((len(starts), values.shape[1], horizon, values.shape[2]), dtype=np.float32)
    frames_bytes = values.shape[1] * values.shape[2] * (len(model.lags) + horizon)
    at_once = max(1, 20_000_000 // frames_bytes)
    for some in range(0, len(starts), at_once):
        steps = torch.from_numpy(starts[some : some + at_once]).to(device)
        ahead = _roll(model, values, patches, steps, horizon, network.week)
        for i, scaled_steps in enumerate(ahead.cpu().numpy(), start=some):
            out[i] = scaler.inverse(scaled_steps)
    return out


def origins(part: Part, horizon: int) -> NDArray[np.int64]:
    """First steps of all forecasts of `horizon` steps that end inside a part."""
    return np.arange(part.first, part.last - horizon + 1)


def check_fits(fitted: Fitted, network: Network) -> None:
    """Raise BadInput unless the forecaster was made for this cadence and number of services."""
    model = fitted.model
    if model.per_day != network.per_day:
        ours, theirs = 1440 / model.per_day, 1440 / network.per_day
        raise BadInput(
            f"the traffic has steps of {theirs:g} min and {fitted.name} was fitted on steps of {ours:g} min: "
            f"resample the traffic to {ours:g} min, or fit a forecaster on it"
        )
    if model.services != network.values.shape[2]:
        raise BadInput(f"{fitted.name} forecasts {model.services} services, the traffic has {network.values.shape[2]}")


def called(model: Any, past: Tensor, when: Tensor) -> Tensor:
    """A forecaster on neighbourhoods, told the time where it wants it: (batch, horizon, services).

    past: (batch, lags, side, side, services). when: (batch,) as in forecasters.Forecaster.
    """
    ahead: Tensor = model(past, when) if getattr(model, "clock", False) else model(past)
    return ahead


@torch.inference_mode()
def _roll(model: Any, values: Tensor, patches: Tensor, starts: Tensor, horizon: int, week: int) -> Tensor:
    """(starts, cells, horizon, services) scaled forecasts; frames not yet known are those that were forecast.

    week: the step of the week of step 0.
    """
    cells = values.shape[1]
    ahead = torch.empty(len(starts), cells, horizon, values.shape[2], device=values.device)
    for h in range(0, horizon, model.horizon):
        known = [values[starts + h - lag] if lag > h else ahead[:, :, h - lag] for lag in model.lags]
        frames = torch.stack(known, dim=1)  # (starts, lags, cells, services)
        steps = min(model.horizon, horizon - h)
        rows = max(1, CHUNK // cells)
        for i in range(0, len(starts), rows):
            for j in range(0, cells, CHUNK):
                some = frames[i : i + rows]
                past = patches_of_frames(some, patches[j : j + CHUNK])
                when = (week + h + starts[i : i + rows]).repeat_interleave(len(past) // len(some))
                predicted = called(model, past, when)[:, :steps]
                ahead[i : i + rows, j : j + CHUNK, h : h + steps] = predicted.view(len(some), -1, *predicted.shape[1:])
    return ahead


def score(
    predicted: NDArray[np.float32], part: Part, starts: NDArray[np.int64] | None = None
) -> dict[str, NDArray[np.float64]]:
    """`mae`, `rmse`, `r2`, `ssim` of forecasts: each (services, horizon).

    predicted: (starts, cells, horizon, services). starts: (starts,) as in `forecasts`.
    Over all starts and live cells, in the traffic's units. nan where a score is not defined:
    `r2` of a constant, `ssim` of cells that do not fill a rectangle of 3 x 3 or more. The window of `ssim` is 7, or the
    largest odd number that fits.
    """
    from gentraffic.evaluation.metrics import summary as metrics

    horizon, network = predicted.shape[2], part.network
    starts = origins(part, horizon) if starts is None else starts
    real = real_of(part, starts, horizon)
    live = np.asarray((real > 0).any(axis=(0, 2)))  # (cells, services)
    out = {name: np.full((predicted.shape[3], horizon), np.nan) for name in ("mae", "rmse", "r2", "ssim")}
    for s in range(predicted.shape[3]):
        for h in range(horizon):
            a, b = (v[:, :, h, s].T[live[:, s]] for v in (real, predicted))  # (cells, starts)
            if not a.size:
                continue
            out["mae"][s, h], out["rmse"][s, h] = metrics.mae(a, b), metrics.rmse(a, b)
            if a.max() > a.min():
                out["r2"][s, h] = metrics.r2(a, b)
            window = ssim_window(network)
            if window and real[..., h, s].max() > real[..., h, s].min():
                x, y = real[:, network.frame, h, s], predicted[:, network.frame, h, s]
                out["ssim"][s, h] = metrics.ssim(x, y, window=window)
    return out


def ssim_window(network: Network) -> int:
    """The side of the window of `ssim`: 7, or the largest odd number that fits; 0 where there is no frame for it."""
    side = 0 if network.frame is None else min(7, *network.frame.shape)
    return 0 if side < 3 else side - (side + 1) % 2


def real_of(part: Part, starts: NDArray[np.int64], horizon: int) -> NDArray[np.float32]:
    """The real traffic that forecasts are compared with: (starts, cells, horizon, services).

    starts: (starts,) first steps.
    """
    steps = starts[:, None] + np.arange(horizon)
    return np.ascontiguousarray(part.network.values[:, steps].transpose(1, 0, 2, 3))
