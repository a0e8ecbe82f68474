"""Random streams that belong to a cell, so that no draw depends on what is drawn beside it.

Every stream is keyed by (seed, purpose, cell id or lattice point[, member, window]) through numpy's SeedSequence.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gentraffic.modelling.features import Floats

SHAPE, LEVEL, LATTICE, SERVICE, AROUND = 1, 2, 3, 4, 5  # purposes
ALL_WINDOWS = 0xFFFF_FFFF  # in a window's place: of what is the same in all of them
WEEKS_M = 500.0  # side of the lattice of what neighbours share of how their weeks depart from what is expected: in
# Milan 0.81 to 300 m, 0.30 from there to 600 m, 0.02 to 1,000 m (`benchmarks/p5.py --apart`)


def cell_key(cell_id: Any) -> int:
    """A cell id, number or text, as a 64-bit number that is the same on every machine."""
    if isinstance(cell_id, (int, np.integer)):
        return int(cell_id) & 0xFFFF_FFFF_FFFF_FFFF
    return int.from_bytes(hashlib.blake2b(str(cell_id).encode(), digest_size=8).digest(), "little")


def shape_seeds(seed: int, cell_ids: Sequence[Any], pair: int, window: int, service: int = 0) -> NDArray[np.uint64]:
    """The streams of the weeks of some cells, for one pair of antithetic members (0 is the control, alone).

    (cells, 2): the key that numpy's Philox takes of SeedSequence((seed, SHAPE, cell's key, pair, window)); of a further
    service (its number, from 1 on) of SeedSequence((seed, SERVICE, number, cell's key, pair, window)).
    """
    if service:
        return cell_keys(seed, SERVICE, cell_ids, (pair, window), service)
    return cell_keys(seed, SHAPE, cell_ids, (pair, window))


def cell_keys(
    seed: int, purpose: int, cell_ids: Sequence[Any] | NDArray[Any], after: Sequence[int], *before: int
) -> NDArray[np.uint64]:
    """What numpy's Philox takes of SeedSequence((seed, purpose, *before, cell's key, *after)): (cells, 2).

    cell_ids: (cells,)."""
    first = [word for number in (seed, purpose, *before) for word in _words(number)]
    last = [word for number in after for word in _words(number)]
    cell = np.array([cell_key(c) for c in cell_ids], dtype=np.uint64)
    low, high = (cell & 0xFFFF_FFFF).astype(np.uint32), (cell >> np.uint64(32)).astype(np.uint32)
    out = np.empty((len(cell), 2), dtype=np.uint64)
    for rows, own in ((high == 0, (low,)), (high > 0, (low, high))):  # a number has no more words than it needs
        words = [*first, *(word[rows] for word in own), *last]
        out[rows] = _philox_keys(np.stack(np.broadcast_arrays(*words), axis=1).astype(np.uint32))
    return out


def point_keys(
    seed: int, purpose: int, points: NDArray[np.int64], after: Sequence[int], *before: int
) -> NDArray[np.uint64]:
    """The same of points of a lattice (n, 2), in place of cells: (n, 2)."""
    first = [word for number in (seed, purpose, *before) for word in _words(number)]
    at = [(points[:, axis] & 0xFFFF_FFFF).astype(np.uint32) for axis in (0, 1)]
    words = np.broadcast_arrays(*first, *at, *(word for number in after for word in _words(number)))
    return _philox_keys(np.stack(words, axis=1).astype(np.uint32))


def bilinear(xy_m: Floats, side_m: float) -> tuple[NDArray[np.int64], Floats]:
    """The points of a lattice around each cell, (cells, 4, 2), and their bilinear weights, (cells, 4), of which the
    squares add up to 1. xy_m: (cells, 2) metres."""
    place = xy_m / side_m
    low = np.floor(place).astype(np.int64)
    part = place - low
    corners = np.array([(0, 0), (0, 1), (1, 0), (1, 1)])
    weight = np.abs(1 - corners[None] - part[:, None]).prod(axis=2)
    return low[:, None] + corners[None], weight / np.linalg.norm(weight, axis=1, keepdims=True)


def lattice_seeds(seed: int, points: NDArray[np.int64], pair: int, window: int, service: int = 0) -> NDArray[np.uint64]:
    """The streams of lattice points (n, 2) for weeks, as `shape_seeds` has those of cells: (n, 2)."""
    return point_keys(seed, AROUND, points, (pair, window), service)


def standard_normals(keys: NDArray[np.uint64]) -> NDArray[np.float32]:
    """One standard normal number of each key: (n,) (Box and Muller 1958). keys: (n, 2), as `cell_keys` gives them."""
    uniform = ((keys >> np.uint64(11)).astype(np.float64) + 0.5) / 2**53
    out: NDArray[np.float32] = np.sqrt(-2 * np.log(uniform[:, 0])).astype(np.float32)
    out *= np.cos(2 * np.pi * uniform[:, 1]).astype(np.float32)
    return out


def _words(number: int) -> list[np.uint32]:
    """A number as numpy's SeedSequence reads it: 32 bits at a time, the lowest first."""
    return [np.uint32(number >> at & 0xFFFF_FFFF) for at in range(0, max(number.bit_length(), 1), 32)]


def _philox_keys(words: NDArray[np.uint32]) -> NDArray[np.uint64]:
    """SeedSequence(words[i]).generate_state(2, uint64) for every row of (rows, n): (rows, 2).

    numpy's algorithm (M. O'Neill's seed_seq_fe, https://www.pcg-random.org/posts/developing-a-seed_seq-alternative.html)
    for all rows at once: an object per row costs more than the noise, and keeps the other threads waiting.
    """
    mixer = _Hash(0x43B0_D7E5, 0x931E_8875)
    first = np.zeros((len(words), 4), dtype=np.uint32)
    first[:, : words.shape[1]] = words[:, :4]
    pool = [mixer(first[:, i]) for i in range(4)]
    pairs = [(source, target) for source in range(4) for target in range(4) if source != target]
    for source, target in pairs:
        pool[target] = _mix(pool[target], mixer(pool[source]))
    for extra in words.T[4:]:
        pool = [_mix(part, mixer(extra)) for part in pool]
    reader = _Hash(0x8B51_F9DD, 0x58F3_8DED)
    return np.stack([reader(part) for part in pool], axis=1).view(np.uint64)


class _Hash:
    """The hash of SeedSequence, whose constant moves on with every call: (rows,) -> (rows,)."""

    def __init__(self, start: int, factor: int) -> None:
        self.constant, self.factor = start, factor

    def __call__(self, value: NDArray[np.uint32]) -> NDArray[np.uint32]:
        value = value ^ np.uint32(self.constant)
        self.constant = self.constant * self.factor & 0xFFFF_FFFF
        value = value * np.uint32(self.constant)
        value ^= value >> np.uint32(16)
        return value


def _mix(x: NDArray[np.uint32], y: NDArray[np.uint32]) -> NDArray[np.uint32]:
    mixed: NDArray[np.uint32] = np.uint32(0xCA01_F9DD) * x - np.uint32(0x4973_F715) * y
    mixed ^= mixed >> np.uint32(16)
    return mixed
