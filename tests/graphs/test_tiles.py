"""Embedding a station graph square by square gives what embedding it whole gives."""

import numpy as np
import pytest
import torch

from graphs import build
from graphs.build import embed_stations, squares, station_graph
from graphs.graphmae import LAYERS, GraphMAE

RADIUS_M = 1000.0


def lattice(side: int, pitch_m: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Stations on a jittered lattice with a hole in it, and random features (n, 8)."""
    rng = np.random.default_rng(seed)
    at = np.stack(np.meshgrid(np.arange(side), np.arange(side)), axis=-1).reshape(-1, 2) * pitch_m
    at = at + rng.uniform(-0.3, 0.3, at.shape) * pitch_m
    middle = side * pitch_m / 2
    at = at[np.hypot(*(at - middle).T) > middle / 4]
    return at, rng.normal(size=(len(at), 8)).astype(np.float32)


def encoder(kind: str, layers: int) -> GraphMAE:
    torch.manual_seed(0)
    return GraphMAE(8, 16, layers=layers, encoder_layer=kind, decoder_layer=kind, residual=True).eval()


@pytest.mark.parametrize(("kind", "layers"), [*((kind, 2) for kind in LAYERS), ("gcn", 1), ("gcn", 3)])
def test_squares_give_what_the_whole_graph_gives(kind: str, layers: int) -> None:
    xy, x = lattice(32, 400.0)
    model = encoder(kind, layers)
    graph = station_graph(xy, x)
    whole = model.embed(graph.x, graph.edge_index).numpy()
    parts = list(squares(xy, RADIUS_M, layers + 1, 4000))
    assert len(parts) > 4
    tiled = embed_stations(model, xy, x, most_edges=4000)
    assert np.abs(tiled - whole).max() <= 2e-6 * np.abs(whole).max()


def test_a_halo_of_one_radius_is_not_enough_and_one_less_than_ours_is_not_either() -> None:
    xy, x = lattice(32, 400.0)
    model = encoder("gcn", 2)
    graph = station_graph(xy, x)
    whole = model.embed(graph.x, graph.edge_index).numpy()
    errors = []
    for halo in (1, 2, 3):
        out = np.empty_like(whole)
        for inner, rows in squares(xy, RADIUS_M, halo, 4000):
            part = station_graph(xy[rows], x[rows])
            out[rows[inner]] = model.embed(part.x, part.edge_index).numpy()[inner]
        errors.append(np.abs(out - whole).max() / np.abs(whole).max())
    assert errors[0] > 1e-2
    assert errors[1] > 1e-4
    assert errors[2] < 2e-6


def test_every_station_is_in_one_square_with_all_that_is_near() -> None:
    xy, _ = lattice(32, 400.0)
    seen = np.zeros(len(xy), dtype=int)
    for inner, rows in squares(xy, RADIUS_M, 3, 4000):
        seen[rows[inner]] += 1
        apart = np.hypot(*(xy[:, None] - xy[rows[inner]][None]).transpose(2, 0, 1))
        assert np.isin(np.flatnonzero((apart <= 3 * RADIUS_M).any(axis=1)), rows).all()
        assert (np.diff(rows) > 0).all()  # in the order of the whole, so that sums run in its order
    assert (seen == 1).all()


def test_what_is_small_is_embedded_whole_to_the_last_bit_and_what_is_far_apart_costs_nothing() -> None:
    xy, x = lattice(30, 400.0)
    model = encoder("gcn", 2)
    graph = station_graph(xy, x)
    np.testing.assert_array_equal(embed_stations(model, xy, x), model.embed(graph.x, graph.edge_index).numpy())
    far = np.concatenate([xy, xy + 5e6])
    assert [inner.all() for inner, _ in squares(far, RADIUS_M, 3, 10**9)] == [True]
    both = embed_stations(model, far, np.concatenate([x, x]), most_edges=30_000)
    np.testing.assert_allclose(both[: len(xy)], both[len(xy) :], atol=1e-5)
    assert embed_stations(model, np.empty((0, 2)), np.empty((0, 8))).shape == (0, 16)


@pytest.mark.parametrize("most_edges", [1, 20_000])
def test_dense_places_are_cut_until_a_square_is_a_radius_wide(most_edges: int) -> None:
    xy = np.random.default_rng(0).uniform(0, 4000, (1500, 2))
    parts = list(squares(xy, RADIUS_M, 3, most_edges))
    assert sum(int(inner.sum()) for inner, _ in parts) == 1500
    assert len(parts) <= 16


def test_squares_do_not_depend_on_how_many_nodes_are_looked_at_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    xy, _ = lattice(32, 400.0)
    xy = np.concatenate([xy, xy + np.array([2e6, -5e5])]) - 3e4  # two towns, of both signs
    shuffled = xy[np.random.default_rng(1).permutation(len(xy))]
    whole = list(squares(shuffled, RADIUS_M, 3, 4000))
    used, count = np.unique(np.floor(shuffled / RADIUS_M).astype(np.int64), axis=0, return_counts=True)
    near = (np.abs(used[:, None] - used[None]) <= 1).all(axis=2)
    np.testing.assert_allclose(build._edges_of_blocks(used, count), count * (near @ count) * np.pi / 9, rtol=1e-12)
    monkeypatch.setattr(build, "NODES", 100)
    read: list[int] = []
    parts = list(squares(shuffled, RADIUS_M, 3, 4000, lambda: read.append(0)))
    assert len(read) > 2 * len(shuffled) // 100
    assert len(parts) == len(whole)
    for one, other in zip(parts, whole, strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])
