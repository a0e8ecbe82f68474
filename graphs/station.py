"""Who is near: the graph of base stations (or grid cells) within a kilometre, and its node features.

STOUTER section 4.2: an undirected binary edge joins two stations nearer than d_BS = 1 km; a node's features say how
many points of interest of each category its coverage holds.
"""

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array
from scipy.spatial import cKDTree
from torch_geometric.data import Data

RADIUS_M = 1000.0  # STOUTER d_BS: 99% of urban stations have their nearest neighbour within it
MAX_EDGES = 100_000_000  # directed; 1.6 GB of indices. Beyond it the radius holds a thousand cells, not a neighbourhood
TIE_M = 1e-6  # distances this near to the radius count as equal to it

PRIOR_STD = 0.5  # of log1p counts; measured: 0.8 to 1.9 (AMap, 250 m, three cities), 0.1 to 0.6 (OSM, 235 m, Milan)
PRIOR_CELLS = 16  # how many cells' worth of evidence the prior weighs
CLIP = 5.0


def station_graph(xy_m: ArrayLike, features: ArrayLike, radius_m: float = RADIUS_M) -> Data:
    """Return the graph that joins stations nearer than `radius_m`: `x` (n, C) float32, `edge_index` (2, E) int64.

    `xy_m` (n, 2) holds metres in one metric CRS; `features` (n, C), as from `standardise_counts`. The distance must be
    *less* than the radius; one within a micrometre of it counts as equal, so that on a grid whose pitch divides the
    radius the edges do not hang on how coordinates were rounded. Both directions of an edge are listed, no node is
    joined to itself, stations on one mast are joined, and columns are sorted by source, then target. Memory grows with
    the number of edges, time with n log n + E log E.

    Raises ValueError for shapes that do not fit, numbers that are not finite, a radius that is not positive, and more
    than MAX_EDGES edges.
    """
    xy = np.asarray(xy_m, dtype=np.float64)
    x = np.asarray(features, dtype=np.float32)
    if xy.ndim != 2 or xy.shape[1] != 2 or x.ndim != 2 or len(x) != len(xy):
        raise ValueError(f"xy_m has shape {xy.shape} and features {x.shape}: give (n, 2) and (n, C) with one n")
    if not np.isfinite(xy).all() or not np.isfinite(x).all():
        raise ValueError("xy_m and features must be finite: drop or mend the stations without a place or counts")
    if not 0 < radius_m < np.inf:
        raise ValueError(f"radius_m is {radius_m}: give a positive number of metres")
    n = len(xy)
    if n == 0:
        return Data(x=torch.from_numpy(x), edge_index=torch.empty((2, 0), dtype=torch.int64))
    tree = cKDTree(xy)
    edges = int(tree.count_neighbors(tree, radius_m)) - n  # ordered pairs, each node with itself left out
    if edges > MAX_EDGES:
        raise ValueError(f"{n} stations within {radius_m:g} m make {edges} edges: use larger cells or a shorter radius")
    return Data(x=torch.from_numpy(x), edge_index=torch.from_numpy(_edges(tree, xy, radius_m)))


def standardise_counts(counts: ArrayLike) -> NDArray[np.float32]:
    """Return node features (cells, C) from POI counts (cells, C): log1p, then a z-score per category in the region.

    The rule, for a region of n cells whose log1p counts of one category have mean m and variance s^2 (over n):

        z = (log1p(count) - m) / sqrt((n s^2 + 16 * 0.5^2) / (n + 16)),  clipped to [-5, 5]

    The spread is shrunk towards 0.5 with the weight of 16 cells, so that two cells with counts 0 and 1 come out at
    -0.7 and 0.7 as a slight difference, not at -1 and 1 as the extremes of a city; with 1,000 cells or more it is the
    region's own spread. A category without variance gives zeros. The clip holds the few cells of a rare category
    (2% of cells with one clinic each) within reach of what a network has seen.

    Scaling within the region makes cities comparable whose sources count differently; so the features of a cell belong
    to the region they were scaled in. Raises ValueError for negative or not finite counts.
    """
    count = np.asarray(counts, dtype=np.float64)
    if count.ndim != 2:
        raise ValueError(f"counts has shape {count.shape}: give (cells, categories)")
    if not np.isfinite(count).all() or (count < 0).any():
        raise ValueError("counts must be finite and not negative: recount the points of interest")
    if len(count) == 0:
        return np.zeros(count.shape, dtype=np.float32)
    level = np.log1p(count)
    offset = level - level.mean(axis=0)
    offset[:, np.ptp(count, axis=0) == 0] = 0.0  # the rounding of the mean is no variance
    n = len(count)
    spread = np.sqrt((np.square(offset).sum(axis=0) + PRIOR_CELLS * PRIOR_STD**2) / (n + PRIOR_CELLS))
    scaled: NDArray[np.float32] = np.clip(offset / spread, -CLIP, CLIP).astype(np.float32)
    return scaled


def _edges(tree: cKDTree, xy: NDArray[np.float64], radius_m: float) -> NDArray[np.int64]:
    """Return both directions of all pairs nearer than the radius, (2, E), sorted by source, then target."""
    n = len(xy)
    pairs = tree.query_pairs(radius_m, output_type="ndarray")  # (pairs, 2), first < second, distance <= radius
    apart = np.hypot(*(xy[pairs[:, 0]] - xy[pairs[:, 1]]).T)
    first, second = pairs[apart < radius_m - TIE_M].T
    ends = np.concatenate([first, second]), np.concatenate([second, first])
    both = coo_array((np.ones(2 * len(first), dtype=np.int8), ends), shape=(n, n)).tocsr()  # in time E, not E log E
    both.sort_indices()
    source: NDArray[np.int64] = np.repeat(np.arange(n), np.diff(both.indptr))
    return np.stack([source, both.indices.astype(np.int64)])
