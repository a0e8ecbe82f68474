"""The four masks of FoMo (eq. 5-7) over the tokens of a block of places: which are observed, which are to be drawn.

One meaning everywhere: `known` is True where a token is observed. (The paper lets m = 0 mean masked in eq. 5 and
observed in eq. 8, see PAPERS.)
"""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

MASKS = ("short", "long", "generation", "random")
KEEP = (0.1, 0.9)  # the random mask shows between a tenth and nine tenths of the tokens
WHOLE = 0.6  # of the generation masks hide every place of the block: nothing has been measured at all


def known_tokens(kind: str, xy: NDArray[np.float64], steps: int, rng: Generator) -> NDArray[np.bool_]:
    """(places, steps) True where a token is observed, for one of `MASKS`.

    xy: (places, 2) where the places of the block stand, in any unit. steps: tokens along time.
    short (eq. 5): the first t0 of `steps` are observed, t0 at least half of them. long (eq. 5): fewer than half, at
    least one. generation (eq. 6): a block of adjacent places is hidden over the whole time axis. random (eq. 7): any
    tokens. At least one token is hidden. Raises ValueError for another kind, or where nothing could be observed
    (`steps` < 2 for short and long).
    """
    places = len(xy)
    if kind in ("short", "long"):
        if steps < 2:
            raise ValueError(f"{steps} token(s) along time cannot be split into observed and hidden ones")
        half = -(-steps // 2)
        first = int(rng.integers(half, steps)) if kind == "short" else int(rng.integers(1, max(half, 2)))
        return np.broadcast_to(np.arange(steps) < first, (places, steps)).copy()
    if kind == "generation":
        hidden = places if rng.random() < WHOLE else int(rng.integers(1, places + 1))
        return np.broadcast_to(~adjacent(xy, hidden, rng)[:, None], (places, steps)).copy()
    if kind == "random":
        known = rng.random((places, steps)) < rng.uniform(*KEEP)
        known[int(rng.integers(places)), int(rng.integers(steps))] = False
        return known
    raise ValueError(f"no mask {kind!r}: choose one of {', '.join(MASKS)}")


def adjacent(xy: NDArray[np.float64], count: int, rng: Generator) -> NDArray[np.bool_]:
    """(places,) True for a random place and the `count` - 1 nearest to it: rectangles on a grid, clusters elsewhere.

    xy: (places, 2), in any unit.
    """
    centre = xy[int(rng.integers(len(xy)))] + rng.uniform(-1e-3, 1e-3, 2)  # the jitter settles ties
    order = np.argsort(np.abs(xy - centre).max(axis=1), kind="stable")
    chosen = np.zeros(len(xy), dtype=bool)
    chosen[order[:count]] = True
    return chosen


def values_known(known: NDArray[np.bool_], token: int) -> NDArray[np.bool_]:
    """The mask of tokens, known (..., tokens), as a mask of values (..., tokens * token)."""
    return np.repeat(known, token, axis=-1)
