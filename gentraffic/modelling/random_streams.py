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
GOLDEN = (5**0.5 - 1) / 2
ROOTS = (2, 3, 7, 11, 13, 17, 19, 23)  # of the steps of services: rationally independent of each other and of GOLDEN
LATTICE_M = 1000.0  # neighbours within about this distance share part of their level's surprise
WEEKS_M = 500.0  # side of the lattice of what neighbours share of how their weeks depart from what is expected: in
# Milan 0.81 to 300 m, 0.30 from there to 600 m, 0.02 to 1,000 m (`benchmarks/p5.py --apart`)
SHARED = 0.675  # share of the field in a cell's angle: surprises of one place then correlate by 0.3, which is
# LOCATION / (LOCATION + NOISE) of gentraffic.modelling.levels


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
    purpose = _words(SERVICE) + _words(service) if service else _words(SHAPE)
    before, after = _words(seed) + purpose, _words(pair) + _words(window)
    cell = np.array([cell_key(c) for c in cell_ids], dtype=np.uint64)
    low, high = (cell & 0xFFFF_FFFF).astype(np.uint32), (cell >> np.uint64(32)).astype(np.uint32)
    out = np.empty((len(cell), 2), dtype=np.uint64)
    for rows, own in ((high == 0, (low,)), (high > 0, (low, high))):  # a number has no more words than it needs
        words = [*before, *(word[rows] for word in own), *after]
        out[rows] = _philox_keys(np.stack(np.broadcast_arrays(*words), axis=1).astype(np.uint32))
    return out


def around(xy_m: Floats) -> tuple[NDArray[np.int64], Floats]:
    """The lattice points of side WEEKS_M around each cell, (cells, 4, 2), and their weights, (cells, 4), whose squares
    add up to 1: bilinear ones. xy_m: (cells, 2) metres."""
    place = xy_m / WEEKS_M
    low = np.floor(place).astype(np.int64)
    part = place - low
    corners = np.array([(0, 0), (0, 1), (1, 0), (1, 1)])
    weight = np.abs(1 - corners[None] - part[:, None]).prod(axis=2)
    return low[:, None] + corners[None], weight / np.linalg.norm(weight, axis=1, keepdims=True)


def lattice_seeds(seed: int, points: NDArray[np.int64], pair: int, window: int, service: int = 0) -> NDArray[np.uint64]:
    """The streams of lattice points (n, 2) for weeks, as `shape_seeds` has those of cells: (n, 2)."""
    before = [*_words(seed), *_words(AROUND), *_words(service)]
    at = [(points[:, axis] & 0xFFFF_FFFF).astype(np.uint32) for axis in (0, 1)]
    words = np.broadcast_arrays(*before, *at, *_words(pair), *_words(window))
    return _philox_keys(np.stack(words, axis=1).astype(np.uint32))


def level_noise(seed: int, cell_ids: Sequence[Any], xy_m: Floats, member: int) -> Floats:
    """Standard normal surprise of each cell's level: (cells,). Member 0, the control, has none.

    The surprise is the normal score of an angle, that of a complex normal number: part of it is the cell's own, part is
    a smooth field that neighbours share (a lattice of complex normal draws, read bilinearly and divided by the norm of
    the weights). Further members turn all angles by the golden ratio (a Kronecker sequence): member m is the same
    however many are drawn, few members already spread evenly over what is possible, where independent ones would leave
    gaps, and, as turning changes nothing between cells, neighbours share as much in every member.
    xy_m: (cells, 2) metres.
    """
    return turned(level_angle(seed, cell_ids, xy_m) if member else np.zeros(len(cell_ids)), member)


def level_angle(seed: int, cell_ids: Sequence[Any] | NDArray[Any], xy_m: Floats, service: int = 0) -> Floats:
    """The angle of `level_noise` before a member turns it, in turns: (cells,) within -0.5 .. 0.5.

    cell_ids: (cells,). xy_m: (cells, 2) metres. service: the number of a further service, from 1 on, whose surprise
    beside the main one this is.
    """
    apart = (SERVICE, service) if service else ()
    own = np.fromiter((_normal((seed, LEVEL, cell_key(c), *apart)) for c in cell_ids), np.complex128, len(cell_ids))
    place = xy_m / LATTICE_M
    low = np.floor(place).astype(np.int64)
    part = place - low
    field, norm = np.zeros(len(own), dtype=np.complex128), np.zeros(len(own))
    for di in (0, 1):
        for dj in (0, 1):
            weight = np.abs(1 - di - part[:, 0]) * np.abs(1 - dj - part[:, 1])
            field += weight * _lattice(seed, low + np.array([di, dj]), apart)
            norm += weight**2
    mixed = np.sqrt(SHARED) * field / np.sqrt(norm) + np.sqrt(1 - SHARED) * own
    out: Floats = np.angle(mixed) / (2 * np.pi)
    return out


def turned(angle: Floats, member: int, service: int = 0) -> Floats:
    """The surprise of one member from each `angle` (cells,), in turns; zeros for member 0.

    service: as in `level_angle`; each turns by a step of its own, or the members would repeat one pair of surprises."""
    if member == 0:
        return np.zeros(len(angle))
    from scipy.special import ndtri

    step = ROOTS[(service - 1) % len(ROOTS)] ** 0.5 if service else GOLDEN
    quantile = (angle + member * step) % 1.0
    out: Floats = ndtri(np.clip(quantile, 1e-6, 1 - 1e-6))
    return out


def _lattice(seed: int, points: NDArray[np.int64], apart: tuple[int, ...] = ()) -> NDArray[np.complex128]:
    unique, where = np.unique(points, axis=0, return_inverse=True)
    keys = unique.astype(np.uint64)
    drawn = np.array([_normal((seed, LATTICE, int(i), int(j), *apart)) for i, j in keys])
    out: NDArray[np.complex128] = drawn[where.ravel()]
    return out


def _normal(key: tuple[int, ...]) -> complex:
    return complex(*np.random.Generator(np.random.Philox(np.random.SeedSequence(key))).standard_normal(2))


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
