"""Do the centres of an operator's cells lie on a lattice, and in which row and column is each?"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_TOLERANCE = 0.1  # of a cell: how far a centre may lie from its place in the lattice
_SQUARE = 0.1  # cosine between the axes above which the lattice is no grid of rows and columns (hexagons: 0.5)


def row_col(centres: Floats) -> tuple[Ints, Ints] | None:
    """Row (0 southernmost) and column (0 westernmost) of cells on one lattice, perhaps rotated, perhaps with holes.

    centres: (n, 2) metres. None where there are fewer than four cells, no lattice with perpendicular axes, or two cells
    in one place. Two basis vectors come from the nearest neighbours; indices grow outwards from the middle, and the
    lattice is fitted again (least squares) at each doubling of the radius, so that small errors do not add up."""
    if len(centres) < 4:
        return None
    basis = _basis(centres)
    if basis is None:
        return None
    middle = int(np.argmin(np.linalg.norm(centres - np.median(centres, axis=0), axis=1)))
    away = np.linalg.norm(centres - centres[middle], axis=1)
    origin, reach = centres[middle], 4.0 * float(np.linalg.norm(basis, axis=1).max())
    while True:
        near = away <= reach
        index = np.rint((centres[near] - origin) @ np.linalg.inv(basis))  # (m, 2): steps along each axis
        fitted = _fit(index, centres[near])
        if fitted is not None:
            origin, basis = fitted
        if near.all():
            break
        reach *= 2.0
    exact = (centres - origin) @ np.linalg.inv(basis)
    index = np.rint(exact).astype(np.int64)
    if np.abs(exact - index).max() > _TOLERANCE or len(np.unique(index, axis=0)) < len(index):
        return None
    index -= index.min(axis=0)
    return index[:, 1], index[:, 0]


def _basis(centres: Floats) -> Floats | None:
    """Two perpendicular steps of the lattice as rows (2, 2), the first eastward, the second northward."""
    _, neighbour = cKDTree(centres).query(centres, k=min(9, len(centres)))
    step = (centres[neighbour[:, 1:]] - centres[:, None, :]).reshape(-1, 2)
    step = step[np.linalg.norm(step, axis=1) > 0]
    if not len(step):
        return None
    # every step and its opposite are one: turn all into the half-plane that holds the east
    step[(step[:, 0] < 0) | ((step[:, 0] == 0) & (step[:, 1] < 0))] *= -1
    first = _shortest(step)
    across = np.abs(step @ np.array([-first[1], first[0]])) / np.linalg.norm(first) / np.linalg.norm(step, axis=1)
    if not (across > 0.8).any():
        return None
    second = _shortest(step[across > 0.8])
    if abs(first @ second) > _SQUARE * np.linalg.norm(first) * np.linalg.norm(second):
        return None
    if abs(first[1]) > abs(second[1]):
        first, second = second, first
    return np.stack([first if first[0] >= 0 else -first, second if second[1] >= 0 else -second])


def _shortest(step: Floats) -> Floats:
    """The median of the steps that agree with a typical shortest one."""
    length = np.linalg.norm(step, axis=1)
    typical = step[length <= np.quantile(length, 0.1) * 1.001 + 1e-9]
    like = step[np.linalg.norm(step - typical[len(typical) // 2], axis=1) < 0.2 * length.min()]
    return np.asarray(np.median(like if len(like) else typical, axis=0))


def _fit(index: Floats, centres: Floats) -> tuple[Floats, Floats] | None:
    """Origin and basis that map steps to centres best; None where the steps lie on one line."""
    design = np.column_stack([np.ones(len(index)), index])
    solved, _, rank, _ = np.linalg.lstsq(design, centres, rcond=None)
    return (np.asarray(solved[0]), np.asarray(solved[1:])) if rank == 3 else None
