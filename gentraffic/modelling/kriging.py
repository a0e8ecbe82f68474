"""Levels of cells that nobody measured, given those of their neighbours that somebody did.

The level model (modelling/levels.py) says what a place should carry, and the noise of a member by how much it carries
more or less (modelling/level_noise.py). Where cells were measured, a member's noise is off by what is known; simple
kriging of that error (Journel and Huijbregts, Mining Geostatistics, 1978, chapter V; conditional simulation, chapter
VII) corrects it there and, as far as cells are alike, around.
"""

from __future__ import annotations

import numpy as np

from gentraffic.modelling.features import Floats, Places
from gentraffic.modelling.level_noise import SITES, Likeness
from gentraffic.modelling.levels import LevelModel, log_mean

SILENT = 1e-12  # what a cell without traffic has, for its logarithm
NEAREST = 16  # measured cells that each unmeasured one looks at
MOST = 400  # measured cells by which the doubt of their mean is judged


def conditional_levels(
    levels: LevelModel, places: Places, noise: Floats, measured: Floats, like: Likeness = SITES
) -> tuple[Floats, float]:
    """Log relative level of every cell for one member, (cells,), and the unit: traffic of the mean cell.

    noise: (cells,) of the member, as `level_noise` gives it: zeros for the control, the most likely map of a measured
    network, elsewhere the expected one. like: how alike it is. measured: (cells,) mean traffic in the source's unit,
    NaN where nobody measured. Measured cells get exactly theirs; one that is silent says nothing of others. Without
    any, levels are those of the level model, and traffic is relative: 1 is the mean cell, in a network that nobody
    measured that of each member, before a change.
    """
    drawn = levels.draw(places, noise[None])[0]
    centre, spread = levels.relative(places)
    middle = centre - spread**2 / 2  # the median, about which members scatter; there is no spread in a measured network
    doubt = spread if spread.any() else levels.doubt(places)
    control = not noise.any()
    apart = np.zeros(len(drawn)) if control else drawn - middle
    lowered = 0.0 if not spread.any() else 0.5 if control else 1.0  # the control draws no unit
    out, unit, told = condition(middle, apart, doubt, like, places.xy_m, measured, lowered)
    if not (measured > 0).any():
        if spread.any() and not control and np.isnan(measured).all():
            before = drawn if places.before is None else levels.draw(places.before, noise[None])[0]
            unit = float(np.exp(-log_mean(before)))
        return np.where(np.isnan(measured), drawn, out), unit
    # the mean of what is lognormal, and surer near cells that were measured
    return (out + spread**2 * (1 - told) / 2 if control else out), unit


def condition(
    middle: Floats, apart: Floats, doubt: Floats, like: Likeness, xy_m: Floats, measured: Floats, lowered: float = 0.0
) -> tuple[Floats, float, Floats]:
    """Log relative levels given those of measured cells, (cells,), the unit, and what share of the doubt is gone.

    middle: (cells,) the most likely log levels. apart: (cells,) by how much a member draws others; its unit is as
    doubtful as what few cells say of it. doubt: (cells,) standard deviations. xy_m: (cells, 2) metres.
    measured: (cells,) mean traffic, NaN where nobody measured. lowered: by how many times the variance of the mean of
    the measured cells the log of the unit is lowered, so that the mean over choices of them, and over members, is
    right: what few cells say of the unit is log-normal, and so is what members draw of it, and the mean of each lies
    above its median by half of that variance.
    """
    have, live = ~np.isnan(measured), measured > 0
    told = have.astype(np.float64)
    if not live.any():
        return np.where(have, np.log(SILENT), middle + apart), 1.0, told
    log = np.log(np.where(live, measured, SILENT))
    unit = float((log - middle - apart)[live].mean())
    if lowered and not have.all():
        unit -= lowered * variance_of_mean(doubt[live], like, xy_m[live])
    out = np.where(have, log - unit, middle + apart)
    if not have.all():
        error = ((log - unit - middle - apart) / doubt)[live]
        heard, told[~have] = krige(error, xy_m[live], xy_m[~have], like)
        out[~have] += doubt[~have] * heard
    return out, float(np.exp(unit)), told


def variance_of_mean(doubt: Floats, like: Likeness, xy_m: Floats) -> float:
    """Of the mean of their noise. doubt: (n,) their standard deviations. xy_m: (n, 2) metres."""
    some = np.unique(np.linspace(0, len(doubt) - 1, MOST).astype(np.int64))
    apart = np.nan_to_num(np.linalg.norm(xy_m[some][:, None] - xy_m[some][None], axis=-1), nan=np.inf)
    np.fill_diagonal(apart, 0.0)
    alike = like.covariance(apart) + (1 - like.shared) * np.eye(len(some))
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
    matrix = like.covariance(between) + (1 - like.shared) * np.eye(count)
    covariance = like.covariance(towards)
    weights = np.linalg.solve(matrix, covariance[..., None])[..., 0]
    return (weights * values[index]).sum(1), np.clip((weights * covariance).sum(1), 0.0, 1.0)
