"""The station graph against brute force and scikit-learn; features against hand-computed scores."""

import resource
import time

import numpy as np
import pytest
import torch
from sklearn.neighbors import radius_neighbors_graph

from graphs import build
from graphs.build import standardise_counts, station_graph
from graphs.graphmae import GraphMAE


def brute_force(xy: np.ndarray, radius_m: float) -> list[tuple[int, int]]:
    apart = np.sqrt(((xy[:, None] - xy[None]) ** 2).sum(-1))
    return [(i, j) for i in range(len(xy)) for j in range(len(xy)) if i != j and apart[i, j] < radius_m]


def edges_of(xy: np.ndarray, radius_m: float = 1000.0) -> list[tuple[int, int]]:
    graph = station_graph(xy, np.zeros((len(xy), 8)), radius_m)
    return [(source, target) for source, target in graph.edge_index.T.tolist()]


@pytest.mark.parametrize(("n", "side"), [(1, 1.0), (2, 100.0), (50, 3000.0), (300, 6000.0)])
def test_edges_equal_brute_force_in_order(n: int, side: float) -> None:
    xy = np.random.default_rng(n).uniform(0, side, (n, 2))
    assert edges_of(xy) == brute_force(xy, 1000.0)


def test_edges_equal_sklearn() -> None:
    xy = np.random.default_rng(0).uniform(0, 20_000, (3000, 2))
    rows, columns = radius_neighbors_graph(xy, 700.0).nonzero()
    assert edges_of(xy, 700.0) == sorted(zip(rows.tolist(), columns.tolist(), strict=True))


def test_distance_must_be_less_than_the_radius() -> None:
    xy = np.array([[0.0, 0.0], [1000.0, 0.0], [0.0, 999.9], [600.0, 800.0]])
    assert edges_of(xy) == [(0, 2), (1, 3), (2, 0), (2, 3), (3, 1), (3, 2)]


@pytest.mark.parametrize("offset", [(0.0, 0.0), (523_800.123456789, 4_193_200.987654321), (-0.1, 1e7 / 3)])
def test_ties_on_a_grid_do_not_hang_on_where_it_lies(offset: tuple[float, float]) -> None:
    # the second offset crosses 2^19 and 2^22 m, where the rounding of coordinates changes, so that ties come out short
    column, row = np.meshgrid(np.arange(12), np.arange(12))
    cells = np.stack([column.ravel(), row.ravel()], 1)
    # 200 m pitch: (5, 0), (3, 4) and (4, 3) cells lie exactly 1000 m apart, hence do not touch
    squares = ((cells[:, None] - cells[None]) ** 2).sum(-1)
    expected = np.argwhere((squares > 0) & (squares < 25))
    assert edges_of(cells * 200.0 + np.array(offset)) == [tuple(edge) for edge in expected.tolist()]


def test_graph_is_undirected_without_loops_and_joins_one_mast() -> None:
    xy = np.random.default_rng(2).uniform(0, 4000, (200, 2))
    xy[7] = xy[100]
    edges = set(edges_of(xy))
    assert edges == {(target, source) for source, target in edges}
    assert (7, 100) in edges
    assert all(source != target for source, target in edges)


def test_features_pass_through_and_no_station_is_a_graph() -> None:
    counts = np.arange(24.0).reshape(3, 8)
    graph = station_graph(np.array([[0.0, 0], [10, 0], [5000, 0]]), counts)
    assert torch.equal(graph.x, torch.from_numpy(counts).float())
    assert station_graph(np.empty((0, 2)), np.empty((0, 8))).x.shape == (0, 8)
    assert station_graph(np.zeros((1, 2)), np.zeros((1, 8))).edge_index.shape == (2, 0)


@pytest.mark.parametrize(
    ("xy", "features", "radius"),
    [
        (np.zeros((3, 2)), np.zeros((2, 8)), 1000.0),
        (np.zeros((3, 3)), np.zeros((3, 8)), 1000.0),
        (np.array([[0.0, np.nan]]), np.zeros((1, 8)), 1000.0),
        (np.zeros((1, 2)), np.full((1, 8), np.inf), 1000.0),
        (np.zeros((2, 2)), np.zeros((2, 8)), 0.0),
        (np.zeros((2, 2)), np.zeros((2, 8)), np.nan),
    ],
)
def test_bad_input_is_refused(xy: np.ndarray, features: np.ndarray, radius: float) -> None:
    with pytest.raises(ValueError, match=r"give|must be finite"):
        station_graph(xy, features, radius)


def test_too_dense_a_graph_is_refused_before_it_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "MAX_EDGES", 89)
    with pytest.raises(ValueError, match="90 edges"):
        station_graph(np.zeros((10, 2)), np.zeros((10, 8)))


def test_a_hundred_thousand_stations_take_seconds_and_sparse_memory() -> None:
    n = 100_000  # 10 per square kilometre: 3 million edges; the dense matrix would take 40 GB
    rng = np.random.default_rng(0)
    xy = rng.uniform(0, np.sqrt(n / 10) * 1000, (n, 2))
    features = standardise_counts(rng.poisson(2.0, (n, 8)))
    torch.manual_seed(0)
    model = GraphMAE(8, 32, residual=True, normalise=False)
    peak_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    graph = station_graph(xy, features)
    embedding = model.embed(graph.x, graph.edge_index)
    assert time.perf_counter() - start < 20  # 2 s on one core
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak_kb) / 1e6 < 1.5  # GB
    assert graph.edge_index.shape[1] == pytest.approx(n * 10 * np.pi, rel=0.05)
    assert embedding.shape == (n, 32)
    assert torch.isfinite(embedding).all()


def test_scores_of_two_cells_by_hand() -> None:
    # log1p: 0 and ln 2; mean ln 2 / 2; n s^2 = 2 (ln 2 / 2)^2; spread = sqrt((n s^2 + 16 / 4) / 18)
    half = np.log(2) / 2
    score = half / np.sqrt((2 * half**2 + 4) / 18)
    np.testing.assert_allclose(standardise_counts([[0, 3], [1, 3]]), [[-score, 0], [score, 0]], rtol=1e-6)
    assert score == pytest.approx(0.714, abs=5e-4)


def test_scores_of_a_large_region_are_z_scores() -> None:
    counts = np.random.default_rng(0).poisson([0.5, 3.0, 40.0], (20_000, 3))
    level = np.log1p(counts)
    expected = (level - level.mean(0)) / level.std(0)
    scores = standardise_counts(counts)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, np.clip(expected, -5, 5), atol=0.03)


def test_a_category_without_variance_is_exactly_zero() -> None:
    counts = np.full((37, 8), 6)
    counts[:, 0] = 0
    assert not standardise_counts(counts).any()
    assert not standardise_counts(np.full((1, 8), 3)).any()
    assert standardise_counts(np.empty((0, 8))).shape == (0, 8)


def test_scores_shrink_with_few_cells_and_are_clipped_for_rare_categories() -> None:
    few, many = np.array([[0.0], [1.0]] * 2), np.array([[0.0], [1.0]] * 2000)
    assert abs(standardise_counts(few)).max() < abs(standardise_counts(many)).max() == pytest.approx(1, abs=0.01)
    rare = np.zeros((10_000, 1))
    rare[17] = 1
    assert standardise_counts(rare).max() == 5.0


def test_scores_do_not_hang_on_the_order_of_cells() -> None:
    counts = np.random.default_rng(1).poisson(2.0, (100, 8))
    order = np.random.default_rng(2).permutation(100)
    np.testing.assert_allclose(standardise_counts(counts[order]), standardise_counts(counts)[order], atol=1e-6)


@pytest.mark.parametrize("counts", [[[-1.0]], [[np.nan]], [1.0, 2.0]])
def test_bad_counts_are_refused(counts: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="counts"):
        standardise_counts(counts)
