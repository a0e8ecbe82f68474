"""Traffic as FoMo sees it: what it is over its reference, against the usual week, as a standardised logarithm.

    x = (log(traffic / reference + FLOOR) - log(usual + FLOOR) - mean) / spread

usual is the week that a cell's surroundings tell (`gentraffic.modelling.expected_week`), or the mean week of the
network's training cells where they tell none (of all networks for one that nobody measured), mean 1, so an answer of
zero is the climatology and the network learns what departs from it. The reference is what the cell would
carry in a mean hour, from what is told alone, never from what is to be drawn:
1. where something is observed: observed traffic / what the usual week has at the same hours (a hint of the block's mean
   is added, so that a silent stretch does not make the reference zero);
2. else where users are given: traffic per user x mean users of the window;
3. else the level that the caller gives (drawn from the level model).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from gentraffic.generators.fomo.data import LOWEST
from gentraffic.modelling.features import FLOOR, HIGHEST, WEEK
from samplers.fomo import FoMoCondition

if TYPE_CHECKING:
    from gentraffic.generators.fomo.data import Region

HINT = 0.5  # steps that the block's mean counts for beside what is observed of a cell
CLIP = 6.0  # standard deviations
CELL_M = 250.0  # metres: the unit of positions in a block
FAR = 12.0  # cells: nothing lies further from a block's centre


@dataclass(frozen=True)
class FoMoScale:
    """mean, spread: of log(ratio + FLOOR). week: (1 + networks, 168) the usual week, mean 1; row 0 of no network.

    per_user: (1 + networks,) traffic per user (METRICS `b*users`), 0 where unknown. networks: their names, from row 1.
    """

    mean: float
    spread: float
    week: NDArray[np.float64]
    per_user: NDArray[np.float64]
    networks: tuple[str, ...]

    def number(self, network: str) -> int:
        """Index of a network, 0 for one that nobody measured."""
        return self.networks.index(network) + 1 if network in self.networks else 0

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, as scaler.json holds them."""
        return {
            "mean": self.mean,
            "spread": self.spread,
            "week": self.week.round(5).tolist(),
            "per_user": self.per_user.tolist(),
            "networks": list(self.networks),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> FoMoScale:
        """The mirror of `to_json`. Raises KeyError or TypeError for something else."""
        week, per_user = np.array(values["week"]), np.array(values["per_user"])
        return cls(values["mean"], values["spread"], week, per_user, tuple(values["networks"]))

    def forward(self, ratio: NDArray[Any], usual: NDArray[np.float64]) -> NDArray[np.float32]:
        """The ratio to the reference, and the usual week at the same steps -> x. ratio, usual: (..., steps)."""
        x = (np.log((np.maximum(ratio, 0.0) + FLOOR) / (usual + FLOOR)) - self.mean) / self.spread
        out: NDArray[np.float32] = np.clip(x, -CLIP, CLIP).astype(np.float32)
        return out

    def inverse(self, x: NDArray[Any], usual: NDArray[np.float64]) -> NDArray[np.float64]:
        """The mirror of `forward`; nothing comes out negative, and nothing above HIGHEST. x, usual: (..., steps)."""
        logs = np.asarray(x, dtype=np.float64) * self.spread + self.mean + np.log(usual + FLOOR)
        out: NDArray[np.float64] = np.maximum(np.exp(np.minimum(logs, np.log(HIGHEST))) - FLOOR, 0.0)
        return out

    def mean_week(self, number: int) -> NDArray[np.float64]:
        """The usual week of a network, never below LOWEST: (168,)."""
        out: NDArray[np.float64] = np.maximum(self.week[number], LOWEST)
        return out


def fit_scale_of(regions: Sequence[Region]) -> FoMoScale:
    """The scale of training regions; row 0 of the weeks is their mean without recording gaps."""
    own = [profile_week(r.values / r.level[:, None], r.hour) for r in regions]
    clean = [profile_week(r.clean / r.level[:, None], r.hour) for r in regions]
    moments = []
    for region, mean_week in zip(regions, own, strict=True):
        week = np.maximum(mean_week, LOWEST) if region.week is None else region.week
        usual = usual_at(np.broadcast_to(week, (len(region.values), WEEK)), region.hour)
        logs = np.log((region.values / region.level[:, None] + FLOOR) / (usual + FLOOR))
        moments.append((float(logs.mean()), float((logs**2).mean())))
    mean = float(np.mean([m for m, _ in moments]))
    spread = float(np.sqrt(np.mean([s for _, s in moments]) - mean**2))
    return FoMoScale(
        mean,
        spread,
        np.stack([np.mean(clean, axis=0), *own]),
        np.array([0.0, *(region.b for region in regions)]),
        tuple(region.network for region in regions),
    )


def usual_at(week: NDArray[np.float64], hour: Any) -> NDArray[np.float64]:
    """Weeks (..., 168) at some hours of the week: hour (T,) -> (..., T)."""
    out: NDArray[np.float64] = week[..., np.floor(np.asarray(hour)).astype(np.int64) % WEEK]
    return out


def profile_week(ratio: NDArray[Any], hour: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean ratio at every hour of the week, an hour of the day's mean where a day is missing: (168,), mean 1."""
    mean = ratio.mean(axis=0, dtype=np.float64)
    slot = np.floor(hour).astype(np.int64) % 168
    count = np.bincount(slot, minlength=168)
    total = np.bincount(slot, weights=mean, minlength=168)
    day = np.bincount(slot % 24, weights=mean, minlength=24) / np.maximum(np.bincount(slot % 24, minlength=24), 1)
    week = np.where(count > 0, total / np.maximum(count, 1), np.tile(day, 7))
    out: NDArray[np.float64] = week / week.mean()
    return out


@dataclass(frozen=True)
class FoMoContext:
    """What is told of B windows of blocks, in the source's units; NaN = not told.

    values, users: (B, H, W, T). exists: (B, H, W, T). hour: (B, T). minutes, network: (B,). xy_m: (B, H, W, 2) metres.
    week: (B, H, W, 168) the usual week of each cell.
    echo: (B, H, W, T) what the cell carried at the same time on other days (`echo_of`). poi: (B, H, W, P).
    z: (B, H, W) log of the reference as the level model standardises levels, where more than users speak of it.
    reference: (B, H, W); per_user: (B, H, W) traffic per user of each cell.
    """

    values: NDArray[np.float32]
    users: NDArray[np.float32]
    echo: NDArray[np.float32]
    exists: NDArray[np.bool_]
    hour: NDArray[np.float64]
    week: NDArray[np.float64]
    minutes: NDArray[np.int64]
    network: NDArray[np.int64]
    xy_m: NDArray[np.float64]
    poi: NDArray[np.float32]
    z: NDArray[np.float64]
    reference: NDArray[np.float64]
    per_user: NDArray[np.float64]

    @property
    def usual(self) -> NDArray[np.float64]:
        """The usual week of each cell at the steps: (B, H, W, T)."""
        slot = np.floor(self.hour).astype(np.int64) % WEEK
        return np.take_along_axis(self.week, slot[:, None, None, :], axis=-1)


def refer(
    values: NDArray[Any],
    users: NDArray[Any],
    usual: NDArray[np.float64],
    per_user: float,
    level: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Reference, traffic per user, and whether the reference rests on users alone, of N cells: (N,) each.

    values, users: (N, T), NaN where not told. usual: (T,) or (N, T) the usual week at the steps. per_user: of the
    network, 0 where unknown. level: (N,) mean traffic, used for cells of which neither values nor users are told.
    """
    seen = np.isfinite(values)
    filled = np.where(seen, values, 0.0).astype(np.float64)
    sums, weights = filled.sum(-1), (seen * usual).sum(-1)
    mean = sums.sum() / max(float(weights.sum()), 1e-9)  # of all that is observed: what a cell of these carries
    hint = HINT * usual.mean(axis=-1)
    observed = weights > 0
    counted = np.isfinite(users)
    crowd = np.where(counted, users, 0.0).astype(np.float64)
    mean_users = crowd.sum(-1) / np.maximum(counted.sum(-1), 1)
    both: NDArray[np.bool_] = seen & counted
    if per_user == 0.0 and both.any():  # an unmeasured network tells its own factor where both are seen
        per_user = float(filled[both].sum() / max(float(crowd[both].sum()), 1e-9))
    has_users = counted.any(-1) & (per_user > 0)
    # the cell's own traffic per user where both are seen, drawn towards the network's by as much as two steps
    own = (np.where(both, filled, 0).sum(-1) + 2 * per_user * mean_users) / np.maximum(
        np.where(both, crowd, 0).sum(-1) + 2 * mean_users, 1e-9
    )
    by_users = has_users & ~observed
    reference = np.where(observed, (sums + hint * mean) / (weights + hint), np.nan_to_num(level))
    reference = np.where(by_users, per_user * mean_users, reference)
    floor = 1e-3 * max(float(np.nanmean(level)) if (~np.isnan(level)).any() else 0.0, mean)
    return np.maximum(reference, max(floor, 1e-9)), np.where(has_users, own, np.nan), by_users


def echo_of(values: NDArray[Any], usual: NDArray[np.float64], per_day: int) -> NDArray[np.float32]:
    """What each cell carried at the same time on other days, over the usual week, times the usual week at the step.

    values: (N, T), NaN where not told; usual: (T,) or (N, T). The mean over all days that are told but the step's own;
    NaN where there is none. (N, T)
    """
    cells, steps = values.shape
    days = -(-steps // per_day)
    ratio = np.full((cells, days * per_day), np.nan)
    ratio[:, :steps] = values / usual
    ratio = ratio.reshape(cells, days, per_day)
    seen = ~np.isnan(ratio)
    filled = np.where(seen, ratio, 0.0)
    count = seen.sum(1, keepdims=True) - seen
    mean = (filled.sum(1, keepdims=True) - filled) / np.maximum(count, 1)
    out = np.where(count > 0, np.maximum(mean, 0.0), np.nan).reshape(cells, -1)[:, :steps] * usual
    return out.astype(np.float32)


def condition_of(context: FoMoContext, scale: FoMoScale) -> FoMoCondition:
    """What the network sees of a task."""
    seen = ~np.isnan(context.values) & context.exists
    reference = np.maximum(np.nan_to_num(context.reference, nan=1.0), 1e-9)[..., None]
    some = np.asarray(context.exists.any(-1))[..., None]  # (B, H, W, 1)
    count = np.maximum(some.sum((1, 2), keepdims=True), 1)
    middle = np.where(some, context.xy_m, 0.0).sum((1, 2), keepdims=True) / count
    shown = ~np.isnan(context.users) & ~np.isnan(context.per_user)[..., None]
    usual = context.usual
    crowd = np.where(shown, context.users * np.nan_to_num(context.per_user)[..., None], 0.0)
    users = scale.forward(crowd / reference, usual)
    values = scale.forward(np.where(seen, context.values, 0.0) / reference, usual)
    echo = scale.forward(np.nan_to_num(context.echo) / reference, usual)
    return FoMoCondition(
        known=_tensor(np.where(seen, values, np.nan)),
        exists=torch.from_numpy(context.exists.copy()),
        hour=_tensor(context.hour),
        minutes=torch.from_numpy(context.minutes.astype(np.int64)),
        xy=_tensor(np.clip(np.where(some, (context.xy_m - middle) / CELL_M, 0.0), -FAR, FAR)),
        poi=_tensor(context.poi),
        users=_tensor(np.where(shown, users, np.nan)),
        echo=_tensor(np.where(np.isnan(context.echo) | ~context.exists, np.nan, echo)),
        level=_tensor(context.z),
        network=torch.from_numpy(context.network.astype(np.int64)),
    )


def _tensor(values: Any) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
