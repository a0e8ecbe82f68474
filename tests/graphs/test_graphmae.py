"""GraphMAE: its layers against dense matrices, its loss by hand, its masks, and what its embeddings know."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression, Ridge
from torch import Tensor
from torch.nn import functional

from graphs.build import standardise_counts, station_graph, temporal_graph
from graphs.graphmae import LAYERS, Graph, GraphMAE, pretrain, scaled_cosine_error

KINDS = sorted(LAYERS)
EDGES = torch.tensor([[0, 1, 2, 2, 3, 5], [1, 2, 0, 3, 1, 4]])  # directed, six nodes; node 5 hears nobody


def features(nodes: int, channels: int, seed: int = 0) -> Tensor:
    return torch.randn(nodes, channels, generator=torch.Generator().manual_seed(seed))


def model_of(kind: str, channels: int = 4, **settings: float) -> GraphMAE:
    torch.manual_seed(0)
    return GraphMAE(channels, 8, encoder_layer=kind, decoder_layer=kind, **settings)  # type: ignore[arg-type]


def masked_loss(model: GraphMAE, graph: Graph, draws: int = 50) -> float:
    generator = torch.Generator().manual_seed(123)
    with torch.no_grad():
        return float(np.mean([model.loss(graph.x, graph.edge_index, generator).item() for _ in range(draws)]))


# --- the layers, against dense matrices


def incoming(nodes: int) -> Tensor:
    dense = torch.zeros(nodes, nodes)
    dense[EDGES[1], EDGES[0]] = 1  # row = target: a node hears its sources
    return dense


def dense_gcn(layer: torch.nn.Module, x: Tensor) -> Tensor:
    loops = incoming(len(x)) + torch.eye(len(x))
    scale = loops.sum(1).rsqrt()
    return (scale[:, None] * loops * scale) @ x @ layer.lin.weight.T + layer.bias


def dense_gin(layer: torch.nn.Module, x: Tensor) -> Tensor:
    return layer.nn((1 + layer.eps) * x + incoming(len(x)) @ x)


def dense_sage(layer: torch.nn.Module, x: Tensor) -> Tensor:
    near = incoming(len(x))
    return layer.lin_l(near @ x / near.sum(1, keepdim=True).clamp(min=1)) + layer.lin_r(x)


def dense_gat(layer: torch.nn.Module, x: Tensor) -> Tensor:
    mapped = (x @ layer.lin.weight.T).view(len(x), layer.heads, -1)
    score = (mapped * layer.att_src).sum(-1)[None] + (mapped * layer.att_dst).sum(-1)[:, None]  # (target, source, head)
    hears = (incoming(len(x)) + torch.eye(len(x)))[:, :, None] > 0
    weight = functional.leaky_relu(score, 0.2).masked_fill(~hears, -torch.inf).softmax(1)
    return torch.einsum("tsh,shc->thc", weight, mapped).flatten(1) + layer.bias


@pytest.mark.parametrize(
    ("kind", "dense"), [("gcn", dense_gcn), ("gin", dense_gin), ("sage", dense_sage), ("gat", dense_gat)]
)
def test_layers_equal_their_dense_form(kind: str, dense: object) -> None:
    model, x = model_of(kind, layers=1), features(6, 4)
    with torch.no_grad():
        expected = dense(model.encoder[0].layer, x)  # type: ignore[operator]
    torch.testing.assert_close(model.embed(x, EDGES), expected, atol=1e-6, rtol=1e-5)


def test_residual_adds_the_nodes_own_input() -> None:
    model, x = model_of("gcn", layers=1, residual=True), features(6, 4)
    block = model.encoder[0]
    with torch.no_grad():
        expected = dense_gcn(block.layer, x) + x @ block.own.weight.T
    torch.testing.assert_close(model.embed(x, EDGES), expected, atol=1e-6, rtol=1e-5)


# --- the loss


def test_scaled_cosine_error_by_hand() -> None:
    rebuilt = torch.tensor([[2.0, 0.0], [0.0, 3.0], [-1.0, 0.0], [1.0, 1.0]])
    target = torch.tensor([[5.0, 0.0], [1.0, 0.0], [4.0, 0.0], [0.0, 2.0]])
    # cosines 1, 0, -1, sqrt(1/2)
    for gamma in (2.0, 3.0):
        expected = (0 + 1 + 2**gamma + (1 - 0.5**0.5) ** gamma) / 4
        assert scaled_cosine_error(rebuilt, target, gamma).item() == pytest.approx(expected, rel=1e-6)


def test_error_of_a_row_of_zeros_is_one_and_finite() -> None:
    rebuilt = torch.ones(2, 3, requires_grad=True)
    loss = scaled_cosine_error(rebuilt, torch.zeros(2, 3), 2.0)
    loss.backward()
    assert loss.item() == 1
    assert not rebuilt.grad.any()  # type: ignore[union-attr]


class Constant(GraphMAE):
    """Rebuilds the same nodes whatever it is given, so that only the targets can move the loss."""

    def forward(self, x: Tensor, edge_index: Tensor, masked: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return features(len(x), x.shape[1], seed=9), x


def test_only_masked_targets_count() -> None:
    model, x = Constant(4), features(24, 4)
    masked = model.draw_mask(24, torch.Generator().manual_seed(5))

    def loss_of(nodes: Tensor) -> float:
        return model.loss(nodes, EDGES, torch.Generator().manual_seed(5)).item()

    other = features(24, 4, seed=7)
    assert loss_of(torch.where(masked[:, None], x, other)) == loss_of(x)
    assert loss_of(torch.where(masked[:, None], other, x)) != loss_of(x)
    by_hand = (1 - functional.cosine_similarity(features(24, 4, seed=9), x)[masked]).square().mean()
    assert loss_of(x) == pytest.approx(by_hand.item(), rel=1e-6)


class Identity(GraphMAE):
    """Returns what it sees: perfect by STOUTER eq. 3 as printed."""

    def forward(self, x: Tensor, edge_index: Tensor, masked: Tensor | None = None) -> tuple[Tensor, Tensor]:
        seen = x if masked is None else torch.where(masked[:, None], self.mask_token, x)
        return seen, seen


def test_the_identity_does_not_solve_one_hot_nodes() -> None:
    graph = temporal_graph()
    model = Identity(168)
    as_printed = scaled_cosine_error(model(graph.x, graph.edge_index)[0], graph.x, 2.0)
    assert as_printed.item() < 1e-12
    assert masked_loss(model, graph, draws=3) == pytest.approx(1)  # as bad as rebuilding nothing


# --- the masks


@pytest.mark.parametrize("ratio", [0.001, 0.25, 0.5, 0.75, 0.999])
def test_at_least_one_node_is_masked_and_one_is_not(ratio: float) -> None:
    model = GraphMAE(4, mask_ratio=ratio)
    generator = torch.Generator().manual_seed(0)
    for nodes in [*range(2, 40), 168, 1000]:
        masked = int(model.draw_mask(nodes, generator).sum())
        assert masked == min(max(round(ratio * nodes), 1), nodes - 1)
        assert 1 <= masked <= nodes - 1


def test_masks_are_uniform_and_follow_the_generator() -> None:
    model = GraphMAE(4, mask_ratio=0.25)
    share = torch.stack([model.draw_mask(24, torch.Generator().manual_seed(seed)) for seed in range(2000)]).float()
    assert (share.mean(0) - 0.25).abs().max() < 5 * (0.25 * 0.75 / 2000) ** 0.5
    again = model.draw_mask(24, torch.Generator().manual_seed(0))
    assert torch.equal(again, share[0].bool())
    torch.manual_seed(99)  # the global generator has no say
    assert torch.equal(again, model.draw_mask(24, torch.Generator().manual_seed(0)))


def test_a_graph_of_one_node_cannot_be_masked() -> None:
    with pytest.raises(ValueError, match="1 nodes"):
        GraphMAE(4).draw_mask(1, torch.Generator())


@pytest.mark.parametrize("kind", KINDS)
def test_masked_input_is_hidden_from_the_encoder_and_masked_embeddings_from_the_decoder(kind: str) -> None:
    model, x = model_of(kind, residual=True), features(6, 4)
    torch.nn.init.normal_(model.mask_token)
    torch.nn.init.normal_(model.decoder_mask_token)
    masked = torch.tensor([True, False, False, True, False, False])
    seen: list[Tensor] = []
    model.decoder.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    rebuilt, hidden = model(x, EDGES, masked)

    changed = torch.where(masked[:, None], features(6, 4, seed=3), x)
    assert torch.equal(model(changed, EDGES, masked)[1], hidden)
    assert torch.equal(seen[0][masked], model.decoder_mask_token.expand(2, -1))
    assert torch.equal(seen[0][~masked], model.bridge(hidden)[~masked])

    reach = torch.autograd.grad(rebuilt.square().sum(), hidden)[0].abs().sum(1) > 0
    assert not reach[masked].any()
    assert reach[~masked].all()


# --- training


@pytest.mark.parametrize("kind", KINDS)
def test_every_layer_kind_learns(kind: str) -> None:
    graph = temporal_graph()
    model = model_of(kind, channels=168)
    before = masked_loss(model, graph, 10)
    losses = list(pretrain(model, [graph], steps=150, learning_rate=5e-3, seed=0))
    assert len(losses) == 150
    assert before > 0.9
    assert masked_loss(model, graph, 10) < 0.9 * before


@pytest.mark.parametrize("hours", [24, 168])
def test_small_graphs_train(hours: int) -> None:
    hour = torch.arange(hours)
    ring = Graph(x=torch.eye(hours), edge_index=torch.stack([hour, (hour + 1) % hours]))
    model = model_of("gin", channels=hours)
    before = masked_loss(model, ring)
    list(pretrain(model, [ring], steps=200, learning_rate=5e-3, seed=0))
    assert masked_loss(model, ring) < 0.9 * before


def test_pretraining_is_repeatable_and_an_iterator() -> None:
    def losses_of(seed: int) -> list[float]:
        return list(pretrain(model_of("gcn", channels=168), [temporal_graph()], steps=5, learning_rate=1e-2, seed=seed))

    assert losses_of(0) == losses_of(0)
    assert losses_of(0) != losses_of(1)
    model = model_of("gcn", channels=168)
    start = model.mask_token.clone(), model.bridge.weight.clone()
    steps = pretrain(model, [temporal_graph()], steps=5, learning_rate=1e-2, seed=0)
    assert torch.equal(model.bridge.weight, start[1])  # nothing happens before the first step is asked for
    next(steps)
    assert not torch.equal(model.bridge.weight, start[1])


class Recorder(GraphMAE):
    """Notes how many nodes each graph that it is trained on has."""

    def loss(self, x: Tensor, edge_index: Tensor, generator: torch.Generator) -> Tensor:
        self.visited = [*getattr(self, "visited", []), len(x)]
        return super().loss(x, edge_index, generator)


def test_every_graph_is_visited_before_any_is_again() -> None:
    graphs = [Graph(x=features(n, 4), edge_index=EDGES) for n in (6, 7, 8)]
    model = Recorder(4)
    list(pretrain(model, graphs, steps=30, learning_rate=1e-3, seed=0))
    rounds = [tuple(model.visited[start : start + 3]) for start in range(0, 30, 3)]
    assert all(sorted(visits) == [6, 7, 8] for visits in rounds)
    assert len(set(rounds)) > 1


def test_bad_graphs_and_settings_are_refused_at_once() -> None:
    model = GraphMAE(4)
    for graphs in ([], [Graph(x=features(1, 4), edge_index=EDGES[:, :0])], [Graph(x=features(6, 5), edge_index=EDGES)]):
        with pytest.raises(ValueError, match="graphs"):
            pretrain(model, graphs, steps=1, learning_rate=1e-3, seed=0)
    with pytest.raises(ValueError, match=r"'mlp'.*gcn"):
        GraphMAE(4, encoder_layer="mlp")
    for settings in ({"mask_ratio": 1.0}, {"mask_ratio": 0.0}, {"gamma": 1.0}, {"layers": 0}):
        with pytest.raises(ValueError, match="mask_ratio"):
            GraphMAE(4, **settings)  # type: ignore[arg-type]


# --- what an embedding depends on


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_embeddings_see_as_many_hops_as_layers_and_no_further(kind: str, normalise: bool) -> None:
    hop = torch.arange(8)
    path = torch.cat([torch.stack([hop, hop + 1]), torch.stack([hop + 1, hop])], dim=1)  # 0 - 1 - ... - 8
    model, x = model_of(kind, layers=2, normalise=normalise), features(9, 4)
    model.train()  # no layer may act on the batch even here
    embedding = model.embed(x, path)
    far, near = x.clone(), x.clone()
    far[3:] = 100 * features(6, 4, seed=1)
    near[2] = features(1, 4, seed=2)
    assert torch.equal(model.embed(far, path)[0], embedding[0])
    assert not torch.allclose(model.embed(near, path)[0], embedding[0])


@pytest.mark.parametrize("kind", KINDS)
def test_another_city_in_view_changes_nothing(kind: str) -> None:
    model, x = model_of(kind), features(6, 4)
    both = torch.cat([x, 10 + features(6, 4, seed=4)])
    embedding = model.embed(both, torch.cat([EDGES, EDGES + 6], dim=1))
    torch.testing.assert_close(embedding[:6], model.embed(x, EDGES), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_embeddings_follow_the_numbering_of_nodes_and_edges(kind: str) -> None:
    model = model_of(kind)
    xy = np.random.default_rng(0).uniform(0, 3000, (80, 2))
    graph = station_graph(xy, features(80, 4).numpy())
    order = np.random.default_rng(1).permutation(80)
    again = station_graph(xy[order], graph.x.numpy()[order])
    torch.testing.assert_close(
        model.embed(again.x, again.edge_index), model.embed(graph.x, graph.edge_index)[order], atol=1e-5, rtol=1e-4
    )
    mixed = torch.randperm(graph.edge_index.shape[1], generator=torch.Generator().manual_seed(0))
    shuffled = graph.edge_index[:, mixed]
    torch.testing.assert_close(
        model.embed(graph.x, shuffled), model.embed(graph.x, graph.edge_index), atol=1e-5, rtol=1e-4
    )


def test_embeddings_have_the_same_bits_with_one_thread_or_two() -> None:
    xy = np.random.default_rng(0).uniform(0, 25_000, (10_000, 2))
    graph = station_graph(xy, features(10_000, 8).numpy())
    threads = torch.get_num_threads()
    try:
        for kind in KINDS:
            model = model_of(kind, channels=8, residual=True)
            torch.set_num_threads(1)
            alone = model.embed(graph.x, graph.edge_index)
            torch.set_num_threads(2)
            assert torch.equal(model.embed(graph.x, graph.edge_index), alone), kind
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_model_embeds_the_same(kind: str, tmp_path: Path) -> None:
    model, x = model_of(kind, residual=True, mask_ratio=0.3), features(6, 4)
    model.save_pretrained(tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["config.json", "diffusion_pytorch_model.safetensors"]
    loaded = GraphMAE.from_pretrained(tmp_path, use_safetensors=True, local_files_only=True)
    assert torch.equal(loaded.embed(x, EDGES), model.embed(x, EDGES))
    assert loaded.mask_ratio == 0.3
    generators = [torch.Generator().manual_seed(3) for _ in range(2)]
    assert loaded.loss(x, EDGES, generators[0]).item() == model.loss(x, EDGES, generators[1]).item()


def test_a_graph_without_edges_is_embedded() -> None:
    for kind in KINDS:
        assert torch.isfinite(model_of(kind).embed(features(3, 4), torch.empty((2, 0), dtype=torch.int64))).all()


# --- what an embedding knows


def near_in_time(embedding: Tensor) -> float:
    """Return which share of each hour's four nearest embeddings are its neighbours in the graph; chance is 4 / 167."""
    unit = functional.normalize(embedding - embedding.mean(0), dim=1)
    likeness = (unit @ unit.T).fill_diagonal_(-2)
    apart = (likeness.topk(4, dim=1).indices - torch.arange(168)[:, None]) % 168
    return torch.isin(apart, torch.tensor([1, 167, 24, 144])).float().mean().item()


def test_hours_know_their_neighbours() -> None:
    graph = temporal_graph()
    torch.manual_seed(0)
    model = GraphMAE(168, 64, encoder_layer="gin", decoder_layer="gin")
    loss, near = masked_loss(model, graph), near_in_time(model.embed(graph.x, graph.edge_index))
    list(pretrain(model, [graph], steps=400, learning_rate=3e-3, seed=0))
    assert masked_loss(model, graph) < 0.6 * loss
    learned = near_in_time(model.embed(graph.x, graph.edge_index))
    assert learned > 0.4
    assert learned > near + 0.1


def uomo(folder: Path, city: str) -> tuple[Graph, np.ndarray, np.ndarray]:
    """Return the graph of a city's 4x4 patches (250 m pitch, patches far apart), mean traffic and location per cell."""
    with np.load(folder / "traffic" / f"uomo_{city}.npz") as file:
        week = file["week"] == 0
        # (location, row, column, class). The file's POI axes are swapped against its traffic: total counts and traffic
        # of live sd cells rank alike with 0.30 as stored and with 0.78 transposed.
        counts = file["poi"][week].transpose(0, 3, 2, 1)
        traffic = file["traffic"][week].mean(axis=1)  # (location, row, column)
    places = len(traffic)
    row, column = np.divmod(np.arange(16), 4)
    patch = np.stack([column, row], axis=1) * 250.0
    xy = (patch[None] + np.arange(places)[:, None, None] * [1e5, 0.0]).reshape(-1, 2)
    used = counts.reshape(len(xy), -1)
    busiest = np.argsort(-used.sum(0), kind="stable")[:8]  # eight classes stand in for the eight categories
    return station_graph(xy, standardise_counts(used[:, busiest])), traffic.ravel(), np.repeat(np.arange(places), 16)


def test_a_city_never_seen_is_embedded(shared_data: Path) -> None:
    trained = [uomo(shared_data, city)[0] for city in ("nc", "nj")]
    graph, traffic, location = uomo(shared_data, "sd")
    torch.manual_seed(0)
    model = GraphMAE(8, 32, residual=True, normalise=False)
    before = masked_loss(model, graph)
    list(pretrain(model, trained, steps=400, learning_rate=2e-3, seed=0))
    after = masked_loss(model, graph)
    order = torch.randperm(len(graph.x), generator=torch.Generator().manual_seed(0))
    assert after < 0.85 * before  # masked nodes of the unseen city are rebuilt,
    assert after < 0.85 * masked_loss(model, Graph(x=graph.x[order], edge_index=graph.edge_index))  # from neighbours

    embedding = model.embed(graph.x, graph.edge_index).numpy()
    adjacency = np.zeros((len(traffic), len(traffic)))
    adjacency[graph.edge_index[1], graph.edge_index[0]] = 1
    around = adjacency @ graph.x.numpy() / adjacency.sum(1, keepdims=True)
    even = location % 2 == 0
    probe = LinearRegression().fit(embedding[even], around[even])
    assert probe.score(embedding[~even], around[~even]) > 0.8  # the counts of the neighbourhood are in the embedding

    live = traffic > 0
    predicted = np.full(len(traffic), np.nan)
    for fold in range(5):
        held = location % 5 == fold
        fit = live & ~held
        scale = embedding[fit].std(0)
        ridge = Ridge(100.0).fit(embedding[fit] / scale, np.log(traffic[fit]))
        predicted[held] = ridge.predict(embedding[held] / scale)
    ranks = [np.argsort(np.argsort(values[live])) for values in (predicted, traffic)]
    assert np.corrcoef(*ranks)[0, 1] > 0.65  # and so is which cell is busy, on locations held out
