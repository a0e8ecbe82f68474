"""Levels of cells that nobody measured, given those of their neighbours that somebody did.

The level model (modelling/levels.py) says what a place should carry and how far it may be off. Neighbours share part of
that surprise, so measured ones tell of it: simple kriging of the surprise (Journel and Huijbregts, Mining
Geostatistics, 1978, chapter V). What is left of it, members draw as they would without neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gentraffic.modelling.features import Floats, Places
from gentraffic.modelling.levels import LOCATION, NOISE, LevelModel
from gentraffic.modelling.random_streams import LATTICE_M, level_noise

SILENT = 1e-12  # what a cell without traffic has, for its logarithm
NEAREST = 16  # measured cells that each unmeasured one looks at
MOST = 400  # measured cells by which the doubt of their mean is judged


@dataclass(frozen=True)
class Likeness:
    """Covariance of the surprises of two cells over their variance: shared exp(-distance / reach_m), 1 for the same."""

    shared: float
    reach_m: float


SITES = Likeness(LOCATION / (LOCATION + NOISE), LATTICE_M)
# Squares of a grid share the base stations that serve them: the errors of the law over the 10,000 of Milan, 0.82 to
# 240 m, 0.55 at 400 to 700 m, 0.26 at 1,000 to 1,500 m, 0.11 at 2,000 to 3,000 m (`benchmarks/p5.py --levels`).
SQUARES = Likeness(0.97, 1000.0)
ALIKE = 0.5  # share of their weeks that neighbours must have in common to be taken for such squares


def likeness_of(shared: float) -> Likeness:
    """That of cells whose weeks share so much with those of their neighbours (`ExpectedWeek.shared`)."""
    return SQUARES if shared > ALIKE else SITES


def conditional_levels(
    levels: LevelModel,
    places: Places,
    ids: Sequence[Any],
    seed: int,
    member: int,
    measured: NDArray[np.float64],
    like: Likeness = SITES,
) -> tuple[Floats, float]:
    """Log relative level of every cell for one member, (cells,), and the unit: traffic of the mean cell.

    like: how neighbours are. measured: (cells,) mean traffic in the source's unit, NaN where nobody measured. Measured
    cells get exactly theirs;
    one that is silent says nothing of others. Without any, levels are those of the level model and the unit is 1.
    member 0 is the most likely map of a measured network, elsewhere the expected one.
    """
    surprise = level_noise(seed, ids, places.xy_m, member)
    drawn = levels.draw(places, surprise[None])[0]
    centre, noise = levels.relative(places)
    middle = centre - noise**2 / 2  # the median, about which members scatter; there is no noise in a measured network
    doubt = noise if noise.any() else levels.doubt(places)
    apart = drawn - middle if member else np.zeros(len(drawn))
    out, unit, told = condition(middle, apart, doubt, like, places.xy_m, measured, even=bool(noise.any()))
    if member or not (measured > 0).any():
        return (out if member else np.where(np.isnan(measured), drawn, out)), unit
    # the mean of what is lognormal, and surer near cells that were measured
    return out + noise**2 * (1 - told) / 2, unit


def condition(
    middle: Floats, apart: Floats, doubt: Floats, like: Likeness, xy_m: Floats, measured: Floats, *, even: bool = False
) -> tuple[Floats, float, Floats]:
    """Log relative levels given those of measured cells, (cells,), the unit, and what share of the doubt is gone.

    middle: (cells,) the most likely log levels. apart: (cells,) by how much a member draws others; its unit is as
    doubtful as the surprises of few cells make it. doubt: (cells,) standard deviations. xy_m: (cells, 2) metres.
    measured: (cells,) mean traffic, NaN where nobody measured. even: whether the mean over members, and over choices of
    measured cells, is to be right: what few cells say of the unit is log-normal, and so is what members draw of it, and
    the mean of each lies above its median by half the variance.
    """
    have, live = ~np.isnan(measured), measured > 0
    told = have.astype(np.float64)
    if not live.any():
        return np.where(have, np.log(SILENT), middle + apart), 1.0, told
    log = np.log(np.where(live, measured, SILENT))
    unit = float((log - middle - apart)[live].mean())
    if even and not have.all():
        unit -= variance_of_mean(doubt[live], like, xy_m[live])
    out = np.where(have, log - unit, middle)
    if not have.all():
        field = (log - unit - middle)[live] / doubt[live]
        heard, told[~have] = krige(field, xy_m[live], xy_m[~have], like)
        out[~have] += doubt[~have] * heard + np.sqrt(1 - told[~have]) * apart[~have]
    return out, float(np.exp(unit)), told


def variance_of_mean(doubt: Floats, like: Likeness, xy_m: Floats) -> float:
    """Of the mean of surprises. doubt: (n,) their standard deviations. xy_m: (n, 2) metres."""
    some = np.unique(np.linspace(0, len(doubt) - 1, MOST).astype(np.int64))
    apart = np.nan_to_num(np.linalg.norm(xy_m[some][:, None] - xy_m[some][None], axis=-1), nan=np.inf)
    np.fill_diagonal(apart, 0.0)
    alike = like.shared * np.exp(-apart / like.reach_m) + (1 - like.shared) * np.eye(len(some))
    return float((alike * np.multiply.outer(doubt[some], doubt[some])).mean())


def krige(values: Floats, at: Floats, wanted: Floats, like: Likeness) -> tuple[Floats, Floats]:
    """Simple kriging of a field of mean 0: values (n,) measured at (n, 2) metres -> (m,) at wanted (m, 2) metres, and
    the share of the variance that they tell there, (m,). Each place looks at the NEAREST measured ones.
    """
    from scipy.spatial import cKDTree

    count = min(NEAREST, len(values))
    _, index = cKDTree(at).query(wanted, k=np.arange(1, count + 1))
    near = at[index]  # (m, count, 2)
    between = np.linalg.norm(near[:, :, None] - near[:, None], axis=-1)
    towards = np.linalg.norm(near - wanted[:, None], axis=-1)
    matrix = like.shared * np.exp(-between / like.reach_m) + (1 - like.shared) * np.eye(count)
    covariance = like.shared * np.exp(-towards / like.reach_m)
    weights = np.linalg.solve(matrix, covariance[..., None])[..., 0]
    return (weights * values[index]).sum(1), np.clip((weights * covariance).sum(1), 0.0, 1.0)
