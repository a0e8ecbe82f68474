"""Windows against loops that copy, edges against numpy's padding, and what a million of them costs in memory."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from forecasters import Windows, crop, grid_patches, patches_of_frames, station_patches


def test_neighbourhoods_of_a_grid_are_numpys_edge_padding() -> None:
    rng = np.random.default_rng(0)
    row, col = (index.ravel() for index in np.indices((7, 9)))
    shuffled = rng.permutation(63)
    patches = grid_patches(row[shuffled] + 40, col[shuffled] - 5, 11)
    frame = rng.normal(size=(7, 9))
    padded = np.pad(frame, 5, mode="edge")
    for i, (r, c) in enumerate(zip(row[shuffled], col[shuffled], strict=True)):
        np.testing.assert_array_equal(frame.ravel()[shuffled][patches[i]], padded[r : r + 11, c : c + 11].ravel())


def test_holes_of_a_grid_take_the_nearest_cell() -> None:
    row, col = np.array([0, 0, 0, 5]), np.array([0, 1, 3, 3])
    patches = grid_patches(row, col, 3)
    for i in range(4):
        for k, (dr, dc) in enumerate(np.ndindex(3, 3)):
            away = np.hypot(row - (row[i] + dr - 1), col - (col[i] + dc - 1))
            assert patches[i, k] == np.flatnonzero(away <= away.min() + 1e-9)[0]


def test_stations_stand_by_distance_around_the_middle() -> None:
    xy = np.random.default_rng(1).normal(size=(200, 2)) * 1000
    patches = station_patches(xy, 5)
    reach = np.arange(5) - 2
    order = np.argsort((reach[:, None] ** 2 + reach**2).ravel(), kind="stable")
    for i in range(200):
        nearest = np.argsort(np.hypot(*(xy - xy[i]).T))[:25]
        np.testing.assert_array_equal(patches[i][order], nearest)


def test_few_stations_repeat_the_farthest_and_one_cell_is_its_own_neighbourhood() -> None:
    patches = station_patches([[0.0, 0.0], [1.0, 0.0], [5.0, 0.0]], 3)
    assert patches[0].reshape(3, 3).tolist() == [[2, 1, 2], [2, 0, 2], [2, 2, 2]]
    assert not station_patches([[3.0, 4.0]], 11).any()
    assert not grid_patches([4], [7], 11).any()


def test_stations_that_share_a_place_still_stand_in_their_own_middle() -> None:
    patches = station_patches(np.zeros((30, 2)), 5)
    assert patches[:, 12].tolist() == list(range(30))


def test_gather_is_what_a_loop_copies() -> None:
    rng = np.random.default_rng(2)
    values = torch.from_numpy(rng.normal(size=(40, 20, 2)).astype(np.float32))
    patches = torch.from_numpy(grid_patches(*(i.ravel() for i in np.indices((4, 5))), 3))
    windows = Windows(values, patches, lags=(8, 3, 2, 1), horizon=2, first=5, last=33, stride=4)
    assert [*windows.starts] == [8, 12, 16, 20, 24, 28]
    assert len(windows) == 6 * 20
    past, future = windows.gather(torch.arange(len(windows)))
    for n in range(len(windows)):
        t, cell = windows.starts[n // 20], n % 20
        for k, lag in enumerate(windows.lags):
            torch.testing.assert_close(past[n, k], values[t - lag][patches[cell]].view(3, 3, 2), rtol=0, atol=0)
        torch.testing.assert_close(future[n], values[t : t + 2, cell], rtol=0, atol=0)


def test_the_past_of_a_window_ends_before_its_target_and_targets_stay_inside() -> None:
    step = torch.arange(50, dtype=torch.float32)[:, None, None].expand(50, 6, 1).contiguous()
    patches = torch.from_numpy(grid_patches(*(i.ravel() for i in np.indices((2, 3))), 3))
    windows = Windows(step, patches, lags=(6, 5, 4, 3, 2, 1), horizon=3, first=20, last=31)
    past, future = windows.gather(torch.arange(len(windows)))
    assert (past.flatten(1).amax(1) < future.flatten(1).amin(1)).all()
    assert future.min() == 20
    assert future.max() == 30


def test_whole_frames_give_the_windows_of_every_cell() -> None:
    values = torch.randn(30, 12, 1, generator=torch.Generator().manual_seed(0))
    patches = torch.from_numpy(grid_patches(*(i.ravel() for i in np.indices((3, 4))), 5))
    windows = Windows(values, patches, lags=(4, 1), horizon=1, first=10, last=12)
    past, _ = windows.gather(torch.arange(24))
    frames = torch.stack([torch.stack([values[t - 4], values[t - 1]]) for t in (10, 11)])
    torch.testing.assert_close(patches_of_frames(frames, patches), past, rtol=0, atol=0)


def test_crop_keeps_the_middle() -> None:
    patches = grid_patches(*(i.ravel() for i in np.indices((6, 6))), 11)
    np.testing.assert_array_equal(crop(patches, 3), grid_patches(*(i.ravel() for i in np.indices((6, 6))), 3))


@pytest.mark.slow
def test_a_million_samples_of_a_city_cost_no_more_than_the_city() -> None:
    program = """
import resource, numpy as np, torch
from forecasters import Windows, grid_patches
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before = peak()
values = torch.zeros(700, 10_000, 1)  # 27 MiB
patches = torch.from_numpy(grid_patches(*(i.ravel() for i in np.indices((100, 100)))))
windows = Windows(values, patches, lags=(6, 5, 4, 3, 2, 1), horizon=1, first=0, last=700, stride=6)
order, total = torch.randperm(len(windows)), 0
for some in order[: 256 * 40].split(256):
    total += len(windows.gather(some)[0])
print(len(windows), total, peak() - before)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    samples, gathered, mib = (float(word) for word in done.stdout.split())
    assert samples > 1_000_000
    assert gathered == 256 * 40
    assert mib < 400, mib  # all at once the pasts alone would be 1.16e6 x 6 x 121 x 4 bytes = 3.1 GiB
