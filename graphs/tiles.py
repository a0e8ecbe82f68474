"""The station graph of a country: embedded square by square, with as much around each as the encoder sees.

An encoder of L layers sees what lies L edges away, so L radii. A GCN layer weighs an edge by the degrees of both its
ends (D^-1/2 (A + I) D^-1/2), and the degree of the farthest node that counts depends on who is near *it*: one radius
more. A halo of L + 1 radii (3 km for two layers and STOUTER's 1 km) therefore gives every node of the square the
neighbourhood that it has in the whole graph; one radius alone, as one might expect, does not.
"""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from graphs.graphmae import GraphMAE
from graphs.station import RADIUS_M, station_graph

MOST_EDGES = 600_000  # directed, in one square with its halo: about 60 MB while it is embedded

Blocks = NDArray[np.int64]


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
) -> Iterator[tuple[Blocks, NDArray[np.float32]]]:
    """Yield the same square by square: (rows, their embeddings), every row once. features: of rows (n,), (n, C).

    xy_m: (n, 2) metres.
    """
    for inner, rows in squares(xy_m, radius_m, model.config["layers"] + 1, most_edges):
        graph = station_graph(xy_m[rows], features(rows), radius_m)
        yield rows[inner], model.embed(graph.x, graph.edge_index).numpy()[inner]
        del graph


def squares(
    xy_m: NDArray[np.float64], radius_m: float, halo: int, most_edges: int
) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.int64]]]:
    """Yield, for each rectangle of a partition, (which of the rows lie in it, the rows in it or within the halo).

    halo: in radii. Sides lie on multiples of the radius; a rectangle is halved while it and its halo hold more than
    `most_edges` edges, by an estimate from the cells of each square of the radius and of its eight neighbours.
    xy_m: (n, 2) metres.
    """
    if not len(xy_m):
        return
    used, where, count = _blocks(xy_m, radius_m)
    edges = _edges(used, count)
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


def _blocks(xy_m: NDArray[np.float64], radius_m: float) -> tuple[Blocks, NDArray[np.int32], Blocks]:
    """The squares of the radius that hold nodes, in order (blocks, 2), which one each node is in, and their counts."""
    row, col = (np.floor(column / radius_m).astype(np.int64) for column in xy_m.T)
    left, width = col.min(), col.max() - col.min() + 1
    row *= width  # one number a node: sorted in half the memory of pairs
    row += col - left
    keys, where, count = np.unique(row, return_inverse=True, return_counts=True)
    used = np.stack([keys // width, keys % width + left], axis=1)
    return used, where.astype(np.int32), count


def _edges(used: Blocks, count: Blocks) -> NDArray[np.float64]:
    """The directed edges that the nodes of each block have, estimated: (blocks,)."""
    index = {(int(i), int(j)): int(n) for (i, j), n in zip(used, count, strict=True)}
    around = [sum(index.get((int(i) + di, int(j) + dj), 0) for di in (-1, 0, 1) for dj in (-1, 0, 1)) for i, j in used]
    return np.asarray(count * np.array(around) * (np.pi / 9), dtype=np.float64)


def _within(blocks: Blocks, low: Blocks, high: Blocks) -> NDArray[np.bool_]:
    return np.asarray(((blocks >= low) & (blocks < high)).all(axis=1))
