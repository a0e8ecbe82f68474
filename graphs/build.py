"""When and who is near: the two graphs of STOUTER, and the embedding of a station graph of any size.

When: the graph of the 168 hours of a week, and its embedding between the hours.

STOUTER section 4.1: nodes are hours, features are one-hot, directed edges lead from each hour to the next (the short
period) and to the same hour of the next day (the long period). Both are cyclic over the week: Sunday 23 h leads to
Monday 0 h. The paper draws 24 nodes per day and seven days; here all 168 are nodes (see PAPERS).

Who is near: the graph of base stations (or grid cells) within a kilometre, and its node features.

STOUTER section 4.2: an undirected binary edge joins two stations nearer than d_BS = 1 km; a node's features say how
many points of interest of each category its coverage holds.

The station graph of a country: embedded square by square, with as much around each as the encoder sees.

An encoder of L layers sees what lies L edges away, so L radii. A GCN layer weighs an edge by the degrees of both its
ends (D^-1/2 (A + I) D^-1/2), and the degree of the farthest node that counts depends on who is near *it*: one radius
more. A halo of L + 1 radii (3 km for two layers and STOUTER's 1 km) therefore gives every node of the square the
neighbourhood that it has in the whole graph; one radius alone, as one might expect, does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array
from scipy.spatial import cKDTree
from torch import Tensor

from graphs.graphmae import Graph, GraphMAE

HOURS_PER_DAY = 24
HOURS_PER_WEEK = 168


def temporal_graph() -> Graph:
    """Return the temporal graph: `x` (168, 168) one-hot float32, `edge_index` (2, 336) int64, source above target.

    Node `day * 24 + hour`, day 0 being whichever day the caller's weeks begin with (Monday in gentraffic): the graph is
    the same for each choice, only the numbers turn. Edges are sorted by source, then target.
    """
    hour = torch.arange(HOURS_PER_WEEK)
    source = hour.repeat_interleave(2)  # (336,)
    target = torch.stack([hour + 1, hour + HOURS_PER_DAY], dim=1).remainder(HOURS_PER_WEEK)  # (168, 2)
    edge_index = torch.stack([source, target.sort(dim=1).values.reshape(-1)])
    return Graph(x=torch.eye(HOURS_PER_WEEK), edge_index=edge_index)


def interpolate_hours(embedding: Tensor, hour_of_week: ArrayLike) -> Tensor:
    """Return the embedding at any times of the week, (T, D): linear between hour nodes, cyclic over the week.

    `embedding` (168, D), one row per hour node; `hour_of_week` (T,), in hours since the week began, of any sign and
    size: -0.5 is 167.5. Node h sits at time h exactly, so whole hours return its row bit for bit, h + 0.5 the mean of
    h and h + 1, and 167.5 that of 167 and 0. An hourly series counts what fell into [h, h + 1), so a series of shorter
    steps that wants each hour's steps centred on the node asks for `start + (step - 1) / 2`, start and step in hours.

    Raises ValueError when the embedding does not have 168 rows or a time is not finite.
    """
    if embedding.ndim != 2 or len(embedding) != HOURS_PER_WEEK:
        raise ValueError(f"embedding has shape {tuple(embedding.shape)}: give one row per hour of the week, (168, D)")
    hours = np.asarray(hour_of_week, dtype=np.float64)  # (T,)
    if hours.ndim != 1 or not np.isfinite(hours).all():
        raise ValueError(f"hour_of_week has shape {hours.shape}: give a flat array of finite hours")
    whole = np.floor(hours)
    share = torch.from_numpy(hours - whole).to(embedding)[:, None]  # (T, 1), of the later node
    before = torch.from_numpy(np.mod(whole, HOURS_PER_WEEK).astype(np.int64)).to(embedding.device)
    after = (before + 1).remainder(HOURS_PER_WEEK)
    return embedding[before] * (1 - share) + embedding[after] * share


RADIUS_M = 1000.0  # STOUTER d_BS: 99% of urban stations have their nearest neighbour within it
MAX_EDGES = 100_000_000  # directed; 1.6 GB of indices. Beyond it the radius holds a thousand cells, not a neighbourhood
TIE_M = 1e-6  # distances this near to the radius count as equal to it

PRIOR_STD = 0.5  # of log1p counts; measured: 0.8 to 1.9 (AMap, 250 m, three cities), 0.1 to 0.6 (OSM, 235 m, Milan)
PRIOR_CELLS = 16  # how many cells' worth of evidence the prior weighs
CLIP = 5.0


def station_graph(xy_m: ArrayLike, features: ArrayLike, radius_m: float = RADIUS_M) -> Graph:
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
        raise ValueError("xy_m and features must be finite: drop or fix the stations without a place or counts")
    if not 0 < radius_m < np.inf:
        raise ValueError(f"radius_m is {radius_m}: give a positive number of metres")
    n = len(xy)
    if n == 0:
        return Graph(x=torch.from_numpy(x), edge_index=torch.empty((2, 0), dtype=torch.int64))
    tree = cKDTree(xy)
    edges = int(tree.count_neighbors(tree, radius_m)) - n  # ordered pairs, each node with itself left out
    if edges > MAX_EDGES:
        raise ValueError(f"{n} stations within {radius_m:g} m make {edges} edges: use larger cells or a shorter radius")
    return Graph(x=torch.from_numpy(x), edge_index=torch.from_numpy(_edges(tree, xy, radius_m)))


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


NODES = 65_536  # that are worked on at a time
MOST_EDGES = 600_000  # directed, in one square with its halo: about 60 MB while it is embedded

Blocks = NDArray[np.int64]
Release = Callable[[], None]


def embed_stations(
    model: GraphMAE,
    xy_m: ArrayLike,
    features: ArrayLike,
    radius_m: float = RADIUS_M,
    most_edges: int = MOST_EDGES,
) -> NDArray[np.float32]:
    """Return the embeddings (n, hidden) of the stations at `xy_m` (n, 2) metres with `features` (n, C).

    Equal to embedding the graph of all of them, up to rounding; and just that where it has at most about `most_edges`
    edges. Memory is that of one square and of the result. Raises ValueError as `station_graph`.
    """
    xy, x = np.asarray(xy_m, dtype=np.float64), np.asarray(features, dtype=np.float32)
    out = np.empty((len(xy), model.config["hidden_channels"]), dtype=np.float32)
    for rows, values in embedded_squares(model, xy, x.__getitem__, radius_m, most_edges):
        out[rows] = values
    return out


def embedded_squares(
    model: GraphMAE,
    xy_m: NDArray[np.float64],
    features: Callable[[Blocks], NDArray[np.float32]],
    radius_m: float = RADIUS_M,
    most_edges: int = MOST_EDGES,
    release: Release = lambda: None,
) -> Iterator[tuple[Blocks, NDArray[np.float32]]]:
    """Yield the same square by square: (rows, their embeddings), every row once. features: of rows (n,), (n, C).

    xy_m: (n, 2) metres. release: called whenever some positions were read, which may lie in a file.
    """
    device = next(model.parameters()).device
    for inner, rows in squares(xy_m, radius_m, model.config["layers"] + 1, most_edges, release):
        graph = station_graph(xy_m[rows], features(rows), radius_m)
        yield rows[inner], model.embed(graph.x.to(device), graph.edge_index.to(device)).cpu().numpy()[inner]
        del graph


def squares(
    xy_m: NDArray[np.float64], radius_m: float, halo: int, most_edges: int, release: Release = lambda: None
) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.int64]]]:
    """Yield, for each rectangle of a partition, (which of the rows lie in it, the rows in it or within the halo).

    halo: in radii. Sides lie on multiples of the radius; a rectangle is halved while it and its halo hold more than
    `most_edges` edges, by an estimate from the cells of each square of the radius and of its eight neighbours.
    xy_m: (n, 2) metres.
    """
    if not len(xy_m):
        return
    used, where, count = _blocks(xy_m, radius_m, release)
    edges = _edges_of_blocks(used, count)
    waiting = [(used.min(axis=0), used.max(axis=0) + 1)]
    while waiting:
        low, high = waiting.pop()
        near = _within(used, low - halo, high + halo)
        side = int(np.argmax(high - low))
        if edges[near].sum() > most_edges and high[side] - low[side] > 1:
            middle = (low[side] + high[side]) // 2
            for first, last in ((low[side], middle), (middle, high[side])):
                part_low, part_high = low.copy(), high.copy()
                part_low[side], part_high[side] = first, last
                waiting.append((part_low, part_high))
            continue
        within = _within(used, low, high)
        if within.any():
            rows = np.flatnonzero(near[where])
            yield within[where[rows]], rows


def _blocks(xy_m: NDArray[np.float64], radius_m: float, release: Release) -> tuple[Blocks, NDArray[np.int32], Blocks]:
    """The squares of the radius that hold nodes, in order (blocks, 2), which one each node is in, and their counts."""
    starts, parts = range(0, len(xy_m), NODES), []  # some nodes at a time: a country has millions
    for first in starts:
        parts.append(np.unique(_keys(xy_m[first : first + NODES], radius_m), return_counts=True))
        release()
    keys = np.unique(np.concatenate([part for part, _ in parts]))
    count, where = np.zeros(len(keys), dtype=np.int64), np.empty(len(xy_m), dtype=np.int32)
    for first, (part, own) in zip(starts, parts, strict=True):
        count[np.searchsorted(keys, part)] += own
        where[first : first + NODES] = np.searchsorted(keys, _keys(xy_m[first : first + NODES], radius_m))
        release()
    return np.stack([keys >> 32, (keys & 2**32 - 1) - 2**31], axis=1), where, count


def _keys(xy_m: NDArray[np.float64], radius_m: float) -> Blocks:
    """One number for the square of the radius that each node is in, (n,): in the order of the squares."""
    row, col = np.floor(xy_m / radius_m).astype(np.int64).T
    return np.asarray((row << 32) + (col + 2**31))


def _edges_of_blocks(used: Blocks, count: Blocks) -> NDArray[np.float64]:
    """The directed edges that the nodes of each block have, estimated: (blocks,)."""
    low = used[:, 1].min() - 1  # a column without nodes at each side, so that rows do not touch
    width = used[:, 1].max() + 2 - low
    keys, out = used[:, 0] * width + (used[:, 1] - low), np.empty(len(used))
    for first in range(0, len(used), NODES):
        some = slice(first, first + NODES)
        around = np.zeros(len(keys[some]), dtype=np.int64)
        for beside in (di * width + dj for di in (-1, 0, 1) for dj in (-1, 0, 1)):
            at = np.searchsorted(keys, keys[some] + beside)
            at[at == len(keys)] = 0
            around += np.where(keys[at] == keys[some] + beside, count[at], 0)
        out[some] = count[some] * around * (np.pi / 9)
    return out


def _within(blocks: Blocks, low: Blocks, high: Blocks) -> NDArray[np.bool_]:
    return np.asarray(((blocks >= low) & (blocks < high)).all(axis=1))
