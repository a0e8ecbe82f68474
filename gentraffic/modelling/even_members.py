"""Members that cover what is possible evenly, so that few of them say as much as many independent ones.

Members after the control come in antithetic pairs, and pairs in groups of PAIRS. Of a number that each pair draws, a
cell takes the ranks over the group: it has one member in every equal part of the number's distribution, while cells
keep most of what they share (Latin hypercube sampling with dependence: Packham and Schmidt, Journal of Computational
Finance 13:81, 2010). Each member alone is distributed as before.
"""

from __future__ import annotations

import numpy as np

from gentraffic.modelling.features import Floats

PAIRS = 10
GROUP = 2 * PAIRS
RAREST = 1e-6  # share of members whose number may lie further out than any that is drawn
WITHIN = 1 << 30  # in a pair's place, for each group: of what says where in its part of a distribution a pair lies


def drawn_together(pair: int) -> tuple[list[int], int]:
    """The numbers of the fields that `spread_pairs` takes for a pair, PAIRS + 1 of them, and its place among the pairs.

    pair: from 1 on; 0 is the control, which is alone."""
    group, place = divmod(pair - 1, PAIRS)
    return [*range(group * PAIRS + 1, (group + 1) * PAIRS + 1), WITHIN + group], place


def spread_pairs(fields: Floats) -> Floats:
    """Standard normal numbers of which both members of a pair have the same, one in every PAIRS-th part of the
    distribution: (PAIRS, ...).

    fields: (PAIRS + 1, ...) independent standard normal numbers, the last of which says where in its part each lies.
    """
    from scipy.special import ndtr, ndtri

    rank = fields[:PAIRS].argsort(axis=0).argsort(axis=0)
    out: Floats = ndtri(np.clip((rank + ndtr(fields[PAIRS])) / PAIRS, RAREST, 1 - RAREST))
    return out


def spread_members(fields: Floats) -> Floats:
    """Standard normal numbers of which the members of a pair have opposite ones, one in every GROUP-th part of the
    distribution: those of the first members of the pairs, (PAIRS, ...).

    fields: (PAIRS + 1, ...), as in `spread_pairs`.
    """
    from scipy.special import ndtr, ndtri

    size = np.abs(fields[:PAIRS]).argsort(axis=0).argsort(axis=0)
    above = ndtri(np.clip((PAIRS + size + ndtr(fields[PAIRS])) / GROUP, RAREST, 1 - RAREST))
    out: Floats = np.where(fields[:PAIRS] < 0, -above, above)
    return out
