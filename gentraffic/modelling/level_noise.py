"""How far the levels of cells lie from what is expected of them: standard normal noise, of which neighbours share part.

A place that is busier than its map says is so with its neighbours: they share the people, and squares of a grid the
base stations, that the map does not tell of. So each member has a field of noise whose correlation falls with distance
(`Likeness`), which a few lattices of independent numbers, read bilinearly, come near to in a time that grows with the
cells alone. Whatever is drawn beside it, a cell has the same noise.

Members come in groups of GROUP that cover what is possible evenly (`even_members`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gentraffic.modelling.even_members import GROUP, PAIRS, spread_members
from gentraffic.modelling.features import Floats
from gentraffic.modelling.levels import LOCATION, NOISE
from gentraffic.modelling.random_streams import LATTICE, LEVEL, bilinear, cell_keys, point_keys

LATTICES = ((500.0, 0.45), (1500.0, 0.44), (4500.0, 0.11))  # sides in metres, and their shares of what neighbours share
REACH_M = 1000.0
KEPT = 0.92  # of what fields share, cells that take their ranks keep
MOST_SHARED = 0.99  # by fields: no two cells are the same


@dataclass(frozen=True)
class Likeness:
    """How alike the noise of two cells is: shared exp(-distance / REACH_M), 1 of a cell with itself."""

    shared: float

    def covariance(self, metres: Floats) -> Floats:
        """Of pairs of cells, over their variance. metres: (..., pairs) how far apart they lie; the same shape."""
        out: Floats = self.shared * np.exp(-metres / REACH_M)
        return out


SITES = Likeness(LOCATION / (LOCATION + NOISE))
# Squares of a grid share the base stations that serve them: the errors of the law over the 10,000 of Milan, 0.82 to
# 240 m, 0.55 at 400 to 700 m, 0.26 at 1,000 to 1,500 m, 0.11 at 2,000 to 3,000 m (`benchmarks/p5.py --levels`).
SQUARES = Likeness(0.97)
# Share of their weeks that neighbours must have in common to be taken for such squares: in Milan 0.84, in 25 cells of
# it 0.42, in the Chinese cities 0.06 to 0.27.
ALIKE = 0.35


def likeness_of(shared: float) -> Likeness:
    """That of cells whose weeks share so much with those of their neighbours (`ExpectedWeek.shared`)."""
    return SQUARES if shared > ALIKE else SITES


def likes_of(shared: Mapping[str, float], rhythms: Sequence[str]) -> list[Likeness]:
    """How alike neighbours are in each member: as in the network that it follows. shared: network ->
    `ExpectedWeek.shared`."""
    return [likeness_of(shared.get(rhythm, 0.0)) for rhythm in rhythms]


def level_noise(
    seed: int, cell_ids: Sequence[Any] | NDArray[Any], xy_m: Floats, likes: Sequence[Likeness], service: int = 0
) -> Iterator[Floats]:
    """The standard normal noise of each cell's level, (cells,), member by member; none in the first, the control.

    A member is the same however many there are. cell_ids: (cells,). xy_m: (cells, 2) metres. likes: of each member.
    service: the number of a further service, from 1 on, whose noise beside that of the main one this is.
    """
    if len(likes):
        yield np.zeros(len(cell_ids))
    for group, first in enumerate(range(1, len(likes), GROUP)):
        of_group = likes[first : first + GROUP]
        drawn = {like: _group(seed, cell_ids, xy_m, like, group, service) for like in dict.fromkeys(of_group)}
        for member, like in enumerate(of_group):
            yield drawn[like][member]


def _group(
    seed: int, cell_ids: Sequence[Any] | NDArray[Any], xy_m: Floats, like: Likeness, group: int, service: int
) -> Floats:
    """The noise of the members of one group: (GROUP, cells), members 0 and 1, 2 and 3, ... of which are antithetic."""
    signed = spread_members(_fields(seed, cell_ids, xy_m, like, group, service)[: PAIRS + 1])
    out: Floats = np.stack([signed, -signed], axis=1).reshape(GROUP, -1)
    return out


def _fields(
    seed: int, cell_ids: Sequence[Any] | NDArray[Any], xy_m: Floats, like: Likeness, group: int, service: int
) -> Floats:
    """Independent fields of noise, at least PAIRS + 1, more alike than `like` says as KEPT has it: (fields, cells)."""

    def normals(keys: list[NDArray[np.uint64]]) -> Floats:
        """Two of each key: (two of each list, keys)."""
        from scipy.special import ndtri

        bits = np.concatenate(keys, axis=1).T
        out: Floats = ndtri(((bits >> np.uint64(11)).astype(np.float64) + 0.5) / 2**53)
        return out

    numbers, shared = range((PAIRS + 2) // 2), min(like.shared / KEPT, MOST_SHARED)
    out = normals([cell_keys(seed, LEVEL, cell_ids, (service, group, n)) for n in numbers])
    if not np.isfinite(xy_m).all():
        return out
    out *= (1 - shared) ** 0.5
    for at, (side, share) in enumerate(LATTICES):
        points, weight = bilinear(xy_m, side)
        unique, corner = np.unique(points.reshape(-1, 2), axis=0, return_inverse=True)
        each = normals([point_keys(seed, LATTICE, unique, (at, service, group, n)) for n in numbers])
        weight *= (shared * share) ** 0.5
        for own, where in zip(weight.T, corner.reshape(len(points), -1).T, strict=True):
            out += own * each[:, where]
    return out
