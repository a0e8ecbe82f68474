"""Levels of cells that nobody measured, given those of their neighbours that somebody did.

The level model (modelling/levels.py) says what a place should carry and how far it may be off. Neighbours share part of
that surprise, so measured ones tell of it: simple kriging of the surprise, and conditional simulation by substitution
for the members (Journel and Huijbregts, Mining Geostatistics, 1978, chapter VII).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gentraffic.modelling.features import Floats, Places
from gentraffic.modelling.levels import LOCATION, NOISE, LevelModel
from gentraffic.modelling.random_streams import LATTICE_M, level_noise

NEAREST = 16  # measured cells that each unmeasured one looks at


def conditional_levels(
    levels: LevelModel,
    places: Places,
    ids: Sequence[Any],
    seed: int,
    member: int,
    measured: NDArray[np.float64],
) -> tuple[Floats, float]:
    """Log relative level of every cell for one member, (cells,), and the unit: traffic of the mean cell.

    measured: (cells,) mean traffic in the source's unit, NaN where nobody measured. Measured cells get exactly theirs.
    Without any, levels are those of the level model and the unit is 1. member 0 is the most likely map.
    """
    surprise = level_noise(seed, ids, places.xy_m, member)
    drawn = levels.draw(places, surprise[None])[0]
    have = ~np.isnan(measured)
    if not have.any():
        return drawn, 1.0
    centre = levels.relative(places)[0]
    log = np.log(np.maximum(measured[have], 1e-12))
    unit = float(np.exp((log - centre[have]).mean()))
    seen = log - np.log(unit) - centre[have]
    out = drawn.copy()
    out[have] = log - np.log(unit)
    if not have.all():
        doubt = levels.doubt(places)
        field = (seen - (drawn - centre)[have]) / doubt[have]
        out[~have] += doubt[~have] * krige(field, places.xy_m[have], places.xy_m[~have])
    return out, unit


def krige(values: Floats, at: Floats, wanted: Floats) -> Floats:
    """Simple kriging of a field of mean 0: values (n,) measured at (n, 2) metres -> (m,) at wanted (m, 2).

    Covariance over distance d: LOCATION exp(-d / 1 km), plus NOISE of each cell's own at d = 0. Each place looks at the
    NEAREST measured ones.
    """
    from scipy.spatial import cKDTree

    count = min(NEAREST, len(values))
    _, index = cKDTree(at).query(wanted, k=np.arange(1, count + 1))
    near = at[index]  # (m, count, 2)
    between = np.linalg.norm(near[:, :, None] - near[:, None], axis=-1)
    towards = np.linalg.norm(near - wanted[:, None], axis=-1)
    matrix = LOCATION * np.exp(-between / LATTICE_M) + NOISE * np.eye(count)
    weights = np.linalg.solve(matrix, LOCATION * np.exp(-towards / LATTICE_M)[..., None])[..., 0]
    out: Floats = (weights * values[index]).sum(1)
    return out
