"""Any extent and any length as overlapping blocks of 4 x 4 cells and 64 steps, whose borders move from step to step.

Every solver step lays the blocks anew (`PHASES` ways, in turn), so no two neighbours stand in different blocks
throughout. In time a laying covers each step twice, that of the first solver step once, and the answers are averaged
(`fade`). With the noise keyed by cell and time a cell's traffic depends on its surroundings and on nothing else:
drawing part of a place draws what lies around it too (`closure`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gentraffic.generators.fomo.data import SIDE
from gentraffic.modelling.features import Floats

WINDOW = 64  # steps of a block
PHASES = 4
SHIFTS = ((0, 0), (2, 2), (1, 3), (3, 1))  # rows, columns
LINE_SHIFTS = (0, 8, 4, 12)  # cells along the line, where there is no grid
TIME_SHIFTS = (0, 20, 10, 30)  # steps
TWIN = 40  # steps: windows that stand twice are moved by half a token and some, so that tokens fade into each other
LINE_STEP_M = 100.0  # metres: the finest square of the space-filling line


def layings(grid: NDArray[np.int64] | None, xy_m: Floats) -> list[NDArray[np.int64]]:
    """For every phase the blocks (n, SIDE, SIDE) of cell indices, -1 where there is none; each cell in one block.

    grid: (cells, 2) row and column where the cells lie on a grid: blocks are aligned to it, not to the extent. Else
    blocks are stretches of 16 cells along a space-filling line (Morton 1966) through xy_m (cells, 2).
    """
    if grid is not None:
        return [_on_grid(grid, shift) for shift in SHIFTS]
    return [_on_line(xy_m, shift) for shift in LINE_SHIFTS]


def starts(steps: int, phase: int, token: int, *, twice: bool = True) -> list[int]:
    """First steps of the windows of a laying, moved by the phase; they cover `steps` (at least WINDOW), twice or once.

    All are of full length and keep their shift modulo the token, so they may begin up to `token` - 1 steps before the
    first step (negative) and end as many after the last. They are as few as can be, one after the other from the first
    step on or, in every second row, back from the last, so that their borders move.
    """
    out = set()
    shifts = (TIME_SHIFTS[phase % PHASES], TIME_SHIFTS[phase % PHASES] + TWIN)
    for row, shift in enumerate(shifts if twice else shifts[:1]):
        low = -(shift % token)
        high = steps - WINDOW + (-shift - (steps - WINDOW)) % token
        if (phase + row) % 2:
            out |= {max(first, low) for first in range(high, low - WINDOW, -WINDOW)}
        else:
            out |= {min(first, high) for first in range(low, high + WINDOW, WINDOW)}
    return sorted(out)


def fade(token: int) -> NDArray[np.float32]:
    """Weights of the steps of a window, (WINDOW,): most in the middle of a token, least at its edges, never nothing.

    A token of the network knows nothing of the one before it but what attention tells, so its edges show; averaged with
    these weights, windows that are moved by half a token fade into each other (overlap-add).
    """
    at = (np.arange(WINDOW) % token + 0.5) / token
    return (np.minimum(at, 1 - at) * 2).astype(np.float32)


def closure(blocks: Sequence[NDArray[np.int64]], cells: NDArray[np.int64], steps: int) -> list[NDArray[np.bool_]]:
    """Which blocks each of `steps` solver steps needs so that `cells` come out as if all had been drawn.

    blocks: per phase (blocks, rows, columns) positions of cells, -1 for none.
    cells: (n,) positions. Returns one mask over the phase's blocks per step.
    """
    count = 1 + max(int(b.max()) for b in blocks)
    need = np.zeros(count + 1, dtype=bool)  # the last: of no cell
    need[cells] = True
    out: list[NDArray[np.bool_]] = []
    for step in reversed(range(steps)):
        laid = blocks[step % PHASES]
        need[-1] = False
        chosen: NDArray[np.bool_] = np.asarray(need[laid].any((1, 2)))
        out.append(chosen)
        need[laid[chosen].ravel()] = True
    return out[::-1]


def _on_grid(grid: NDArray[np.int64], shift: tuple[int, int]) -> NDArray[np.int64]:
    moved = grid + np.array(shift)
    corner, within = np.floor_divide(moved, SIDE), np.mod(moved, SIDE)
    _, number = np.unique(corner, axis=0, return_inverse=True)
    blocks = np.full((int(number.max()) + 1, SIDE, SIDE), -1, dtype=np.int64)
    blocks[number.ravel(), within[:, 0], within[:, 1]] = np.arange(len(grid))
    return blocks


def _on_line(xy_m: Floats, shift: int) -> NDArray[np.int64]:
    size = SIDE * SIDE
    order = np.argsort(_morton(xy_m), kind="stable")
    place = np.arange(len(order)) + shift
    blocks = np.full((int(place.max()) // size + 1, size), -1, dtype=np.int64)
    blocks[place // size, place % size] = order
    return blocks[(blocks >= 0).any(1)].reshape(-1, SIDE, SIDE)


def _morton(xy_m: Floats) -> NDArray[np.uint64]:
    """The place of each point along the line: the bits of its two coordinates, interleaved."""
    squares = np.floor((xy_m - xy_m.min(axis=0)) / LINE_STEP_M).astype(np.uint64)
    out = np.zeros(len(squares), dtype=np.uint64)
    for bit in range(31):
        for axis in range(2):
            out |= ((squares[:, axis] >> np.uint64(bit)) & np.uint64(1)) << np.uint64(2 * bit + axis)
    return out
