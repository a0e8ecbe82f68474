"""Windows of neighbourhoods, gathered when they are asked for, so that a million of them cost no memory.

Sample n of C target cells is the one numbered n % C at step first + stride (n // C). Nothing is copied before `gather`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree
from torch import Tensor

from forecasters.protocol import SIDE


@dataclass(frozen=True)
class Windows:
    """Samples whose targets lie in the steps [first, last); their past may lie before `first`, never after the target.

    values: (steps, cells, services) scaled traffic. patches: (cells, side * side) which cells stand around each cell.
    lags: past frames in steps before the target, oldest first. horizon: target steps. stride: steps between samples.
    targets: (n,) the cells that are forecast, None for all; the others are neighbours only. week: the step of the week
    of step 0, counted from Monday at midnight on the clock of the place.
    """

    values: Tensor
    patches: Tensor
    lags: tuple[int, ...]
    horizon: int
    first: int
    last: int
    stride: int = 1
    targets: Tensor | None = None
    week: int = 0

    @property
    def starts(self) -> range:
        """The first target step of every sample."""
        return range(max(self.first, max(self.lags)), self.last - self.horizon + 1, self.stride)

    def __len__(self) -> int:
        return len(self.starts) * (self.values.shape[1] if self.targets is None else len(self.targets))

    def gather(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """index (batch,) of samples -> past (batch, lags, side, side, services), future (batch, horizon, services)."""
        device = self.values.device
        index = index.to(device)
        cells = self.values.shape[1]
        some = cells if self.targets is None else len(self.targets)
        cell, start = index % some, self.starts.start + self.stride * (index // some)
        cell = cell if self.targets is None else self.targets[cell]
        side = round(self.patches.shape[1] ** 0.5)
        flat = self.values.flatten(0, 1)  # a view: (steps * cells, services)
        frame = (start[:, None] - torch.tensor(self.lags, device=device)) * cells  # (batch, lags)
        past = flat[frame[:, :, None] + self.patches[cell][:, None, :]]  # (batch, lags, side * side, services)
        step = (start[:, None] + torch.arange(self.horizon, device=device)) * cells + cell[:, None]
        return past.view(len(index), len(self.lags), side, side, -1), flat[step]

    def when(self, index: Tensor) -> Tensor:
        """The step of the week of the first target of samples, not wrapped: index (batch,) -> (batch,)."""
        some = self.values.shape[1] if self.targets is None else len(self.targets)
        index = index.to(self.values.device)
        return self.week + self.starts.start + self.stride * (index // some)


def windows_to(windows: Windows, device: str) -> Windows:
    """The same windows with their values on another device, where they are gathered."""
    targets = None if windows.targets is None else windows.targets.to(device)
    return replace(windows, values=windows.values.to(device), patches=windows.patches.to(device), targets=targets)


def patches_of_frames(frames: Tensor, patches: Tensor) -> Tensor:
    """Neighbourhoods of every cell of whole frames: frames (batch, lags, cells, services) and patches (some cells,
    side * side) -> (batch * cells, lags, side, side, services), the cells of a frame in a row."""
    side = round(patches.shape[1] ** 0.5)
    cropped = frames[:, :, patches]  # (batch, lags, cells, side * side, services)
    b, lags, cells, _, services = cropped.shape
    return cropped.transpose(1, 2).reshape(b * cells, lags, side, side, services)


def crop(patches: NDArray[np.int64], side: int) -> NDArray[np.int64]:
    """The middle of neighbourhoods: patches (cells, n * n) -> (cells, side * side), n and side odd."""
    n = round(patches.shape[1] ** 0.5)
    edge = (n - side) // 2
    middle = patches.reshape(-1, n, n)[:, edge : n - edge, edge : n - edge]
    return np.ascontiguousarray(middle.reshape(len(patches), side * side))


def grid_patches(row: ArrayLike, col: ArrayLike, side: int = SIDE) -> NDArray[np.int64]:
    """(cells, side * side) the cells around each cell of a grid; where there is none, the nearest one stands in.

    For a full rectangle that is edge replication (sLSTM-STN, section IV-B): the point of a box nearest to one outside
    is found by clamping its coordinates. row, col: (cells,) whole numbers; rows of the patch run along `row`.
    """
    place = np.stack([np.asarray(row, dtype=np.int64), np.asarray(col, dtype=np.int64)], axis=1)
    reach = np.arange(side) - side // 2
    offset = np.stack(np.meshgrid(reach, reach, indexing="ij"), axis=-1).reshape(-1, 2)
    low, size = place.min(0), np.ptp(place, axis=0) + 1
    wanted = place[:, None] + offset - low  # (cells, side * side, 2), from the corner
    patches = np.full(wanted.shape[:2], -1, dtype=np.int64)
    order = np.argsort((place[:, 0] - low[0]) * size[1] + place[:, 1] - low[1])
    known = ((place[:, 0] - low[0]) * size[1] + place[:, 1] - low[1])[order]
    inside = ((wanted >= 0) & (wanted < size)).all(-1)
    key = wanted[..., 0] * size[1] + wanted[..., 1]
    at = np.minimum(np.searchsorted(known, key), len(known) - 1)
    hit = inside & (known[at] == key)
    patches[hit] = order[at[hit]]
    if not hit.all():
        patches[~hit] = _nearest(place - low, wanted[~hit])
    return patches


def station_patches(xy_m: ArrayLike, side: int = SIDE) -> NDArray[np.int64]:
    """(stations, side * side) neighbours by distance, in a fixed order: the nearest stand nearest to the middle.

    xy_m: (stations, 2) in metres. The places of the patch are ordered by their distance from the middle, then row by
    row; place k holds the k-th nearest station, place 0 the station itself. Where there are fewer stations than places,
    the farthest one stands in, as the edge of a grid does.
    """
    xy = np.asarray(xy_m, dtype=np.float64)
    reach = np.arange(side) - side // 2
    away = (reach[:, None] ** 2 + reach[None, :] ** 2).ravel()
    order = np.argsort(away, kind="stable")
    some = min(side * side, len(xy))
    distance, near = cKDTree(xy).query(xy, k=[*range(1, some + 1)])
    distance[near == np.arange(len(xy))[:, None]] = -1.0  # the station itself comes first, also where two share a place
    near = np.take_along_axis(near, np.lexsort((near, distance), axis=1), axis=1)
    near = np.concatenate([near, np.repeat(near[:, -1:], side * side - some, axis=1)], axis=1)
    patches = np.empty((len(xy), side * side), dtype=np.int64)
    patches[:, order] = near
    patches[:, order[0]] = np.arange(len(xy))
    return patches


def _nearest(place: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.int64]:
    """The cell nearest to each position; of several, the first one, whatever the search tree says."""
    tree = cKDTree(place)
    unique, back = np.unique(wanted, axis=0, return_inverse=True)
    distance, near = tree.query(unique, k=[*range(1, min(4, len(place)) + 1)])
    tied = distance <= distance[:, :1] + 1e-9
    return np.asarray(np.where(tied, near, len(place)).min(1)[back.ravel()], dtype=np.int64)
