"""GraphMAE: node embeddings learned by hiding nodes and rebuilding them from their neighbours.

STOUTER eq. 1-3 after Hou et al. 2022 (GraphMAE): the features of a random half of the nodes are replaced by a learned
token; an encoder embeds all nodes; the embeddings of the hidden nodes are replaced by a second token (the re-mask), so
that the decoder can rebuild them from the neighbours' embeddings only; the loss is the scaled cosine error

    mean over hidden nodes i of (1 - cos(x_i, z_i)) ** gamma,  gamma > 1                              (STOUTER eq. 3)

**Slip**: eq. 3 as printed takes all nodes and hides none; on one-hot features the identity solves that. Here, as in
GraphMAE, only hidden nodes count (see PAPERS).

A node's embedding depends on the nodes at most `layers` edges upstream (for GCN also on how many neighbours the
outermost of them have) and on nothing else in view: layers are normalised over the channels of a node, never over a
batch or a graph, if at all. So an encoder trained on some cities embeds another.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_array
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class Graph:
    """x: (n, C) float32 features of the nodes. edge_index: (2, E) int64, the source of each edge above its target."""

    x: Tensor
    edge_index: Tensor


@dataclass(frozen=True)
class Layer:
    """A kind of graph layer: how one is built, and the form in which it takes the edges."""

    build: Callable[[int, int], nn.Module]  # (channels in, channels out)
    edges: Callable[[Tensor, int], Tensor]  # (edge_index (2, E), nodes) -> what the layer's forward takes


@dataclass(frozen=True)
class Edges:
    """The edges of a graph in the forms in which the layers of an encoder and of a decoder take them."""

    encoder: Tensor
    decoder: Tensor


def _csr(edge_index: Tensor, nodes: int) -> Tensor:
    """Return the transposed adjacency (target, source) in CSR form: one sparse product, no (E, channels) messages.

    With 100,000 stations and 6 million edges it is ten times faster than gathering and scattering.
    """
    return _sparse(edge_index, np.ones(edge_index.shape[1], dtype=np.float32), nodes)


def _sparse(edge_index: Tensor, given: NDArray[np.float32], nodes: int) -> Tensor:
    source, target = edge_index.cpu().numpy()
    csr = coo_array((given, (target, source)), shape=(nodes, nodes)).tocsr()  # counts, where torch_geometric sorts
    csr.sort_indices()
    rows, columns, values = (torch.from_numpy(p).to(edge_index.device) for p in (csr.indptr, csr.indices, csr.data))
    with warnings.catch_warnings():  # torch calls the CSR layout beta, once per process
        warnings.filterwarnings("ignore", message="Sparse (CSR|invariant)", category=UserWarning)
        return torch.sparse_csr_tensor(rows, columns, values, size=(nodes, nodes))


def _csr_normalised(edge_index: Tensor, nodes: int) -> Tensor:
    """Return D^-1/2 (A + I) D^-1/2 in CSR form, the matrix of a GCN layer, computed once for all layers."""
    loop = torch.arange(nodes, device=edge_index.device).expand(2, -1)
    whole = torch.cat([edge_index[:, edge_index[0] != edge_index[1]], loop], 1)
    root = torch.bincount(whole[1], minlength=nodes).float().pow_(-0.5)  # one edge at least ends in every node
    return _sparse(whole, (root[whole[0]] * root[whole[1]]).cpu().numpy(), nodes)


class GIN(nn.Module):
    """x -> MLP(A x + (1 + eps) x) (Xu et al. 2019): (n, inputs) -> (n, outputs). Weights named as torch_geometric does.

    That package is not imported for the two layers that the bundled models are of: it takes two seconds.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.eps = nn.Parameter(torch.zeros(1))
        self.nn = nn.Sequential(nn.Linear(inputs, outputs), nn.PReLU(), nn.Linear(outputs, outputs))
        for layer in self.nn:  # drawn anew, as torch_geometric does: the same seed gives the same weights
            layer.reset_parameters()  # type: ignore[operator]

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        """x: (n, inputs). edges: sparse (n, n), the target above."""
        out: Tensor = self.nn(torch.sparse.mm(edges, x) + (1 + self.eps) * x)
        return out


class GCN(nn.Module):
    """x -> A x W + b, A normalised (Kipf and Welling 2017): (n, inputs) -> (n, outputs). Weights named as in `GIN`."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(outputs))
        with torch.random.fork_rng(devices=()):
            self.lin = nn.Linear(inputs, outputs, bias=False)
        reach = math.sqrt(6 / (inputs + outputs))
        for _ in range(2):  # drawn twice, as in `GIN`
            nn.init.uniform_(self.lin.weight, -reach, reach)

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        """x: (n, inputs). edges: sparse (n, n), normalised, the target above."""
        out: Tensor = torch.sparse.mm(edges, self.lin(x)) + self.bias
        return out


def _sage(inputs: int, outputs: int) -> nn.Module:
    from torch_geometric.nn import SAGEConv

    layer: nn.Module = SAGEConv(inputs, outputs)
    return layer


def _gat(inputs: int, outputs: int) -> nn.Module:
    from torch_geometric.nn import GATConv

    heads = math.gcd(4, outputs)  # GraphMAE's four heads, side by side; fewer where the width does not divide
    layer: nn.Module = GATConv(inputs, outputs // heads, heads=heads)
    return layer


LAYERS = {  # STOUTER Table 5; GIN for the hours, GCN for the stations in the paper's best model
    "gin": Layer(GIN, _csr),
    "gcn": Layer(GCN, _csr_normalised),
    "gat": Layer(_gat, lambda edge_index, nodes: edge_index),
    "sage": Layer(_sage, _csr),
}


class GraphMAE(nn.Module):
    """A masked graph autoencoder; `save_pretrained` writes safetensors + config.json, `from_pretrained` reads them.

    `in_channels` features per node; `hidden_channels` the width of the embedding; `layers` of the encoder, so how many
    edges far it sees; `encoder_layer`, `decoder_layer` from LAYERS; `mask_ratio` of the nodes hidden per step;
    `gamma` > 1 the exponent of the scaled cosine error.

    `residual` adds a linear map of a node's own input to each encoder layer (an option of GraphMAE's): a GCN layer by
    itself gives a node with n neighbours the weight 1/(n+1), and its own counts drown. `normalise` puts LayerNorm
    behind all encoder layers but the last: it keeps GIN in range, whose sums grow with the neighbours, but costs the
    level of the counts. The last layer is linear, so that levels reach the embedding. Hours do well with
    GIN and 64 channels; stations with GCN, `residual=True, normalise=False`: a ridge from that embedding to the log
    mean traffic of locations held out ranks the cells of uomo sd (POI axes put right) with 0.78, from the paper's plain
    GCN with 0.43. The eight scaled counts themselves reach 0.81: give a model both.

    Weights are drawn from torch's global generator: call `torch.manual_seed` first for the same model twice.
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int = 32,
        layers: int = 2,
        encoder_layer: str = "gcn",
        decoder_layer: str = "gcn",
        mask_ratio: float = 0.5,
        gamma: float = 2.0,
        residual: bool = False,
        normalise: bool = True,
    ) -> None:
        super().__init__()
        self._internal_dict: dict[str, Any] = {
            "in_channels": in_channels, "hidden_channels": hidden_channels, "layers": layers,
            "encoder_layer": encoder_layer, "decoder_layer": decoder_layer, "mask_ratio": mask_ratio, "gamma": gamma,
            "residual": residual, "normalise": normalise,
        }  # fmt: skip
        for name, kind in (("encoder_layer", encoder_layer), ("decoder_layer", decoder_layer)):
            if kind not in LAYERS:
                raise ValueError(f"{name} is {kind!r}: choose one of {', '.join(LAYERS)}")
        if not 0 < mask_ratio < 1 or not gamma > 1 or layers < 1:
            raise ValueError(
                f"mask_ratio is {mask_ratio}, gamma {gamma}, layers {layers}: give 0 < ratio < 1, gamma > 1, "
                "one layer or more"
            )
        self.in_channels = in_channels
        self.mask_ratio = mask_ratio
        self.gamma = gamma
        self._encoder_edges = LAYERS[encoder_layer].edges
        self._decoder_edges = LAYERS[decoder_layer].edges
        widths = [in_channels] + [hidden_channels] * layers
        self.mask_token = nn.Parameter(torch.zeros(in_channels))
        self.encoder = nn.ModuleList(
            _Block(encoder_layer, inputs, outputs, residual, normalise, last=index == layers - 1)
            for index, (inputs, outputs) in enumerate(pairwise(widths))
        )
        self.bridge = nn.Linear(hidden_channels, hidden_channels, bias=False)
        self.decoder_mask_token = nn.Parameter(torch.zeros(hidden_channels))
        self.decoder = LAYERS[decoder_layer].build(hidden_channels, in_channels)

    def edges(self, edge_index: Tensor | Edges, nodes: int) -> Edges:
        """`edge_index` (2, E) in the forms that the layers take: what is used often is made once with it."""
        if isinstance(edge_index, Edges):
            return edge_index
        encoder = self._encoder_edges(edge_index, nodes)
        alike = self._decoder_edges is self._encoder_edges
        return Edges(encoder, encoder if alike else self._decoder_edges(edge_index, nodes))

    def forward(self, x: Tensor, edge_index: Tensor | Edges, masked: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the rebuilt nodes (n, in_channels) and the embeddings (n, hidden_channels).

        `x` (n, in_channels); `edge_index` (2, E), source above target, each edge once, or what `edges` made of it;
        `masked` (n,) bool, True where a node is hidden from the encoder and its embedding from the decoder. Without it
        nothing is hidden.
        """
        if masked is not None:
            x = torch.where(masked[:, None], self.mask_token, x)
        hidden, edges = x, self.edges(edge_index, len(x))
        for block in self.encoder:
            hidden = block(hidden, edges.encoder)  # (n, hidden)
        code = self.bridge(hidden)
        if masked is not None:
            code = torch.where(masked[:, None], self.decoder_mask_token, code)
        rebuilt = self.decoder(code, edges.decoder)  # (n, in)
        return rebuilt, hidden

    def draw_mask(self, nodes: int, generator: torch.Generator) -> Tensor:
        """Return (nodes,) bool on the generator's device: `mask_ratio` of the nodes, at least one, never all.

        Raises ValueError for fewer than two nodes: nothing can be rebuilt from nothing.
        """
        if nodes < 2:
            raise ValueError(f"a graph of {nodes} nodes cannot be masked: give at least 2")
        count = min(max(round(self.mask_ratio * nodes), 1), nodes - 1)
        masked = torch.zeros(nodes, dtype=torch.bool, device=generator.device)
        masked[torch.randperm(nodes, generator=generator, device=generator.device)[:count]] = True
        return masked

    def loss(self, x: Tensor, edge_index: Tensor | Edges, generator: torch.Generator) -> Tensor:
        """Return the scaled cosine error of the hidden nodes, a scalar; `generator` draws which are hidden.

        x: (n, in_channels). edge_index: (2, E), or what `edges` made of it.
        """
        masked = self.draw_mask(len(x), generator).to(x.device)
        rebuilt, _ = self(x, edge_index, masked)
        return scaled_cosine_error(rebuilt[masked], x[masked], self.gamma)

    @torch.no_grad()
    def embed(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Return the embeddings (n, hidden_channels) with nothing hidden and no gradient.

        x: (n, in_channels). edge_index: (2, E).
        """
        edges = self._encoder_edges(edge_index, len(x))
        for block in self.encoder:
            x = block(x, edges)
        return x

    @property
    def config(self) -> dict[str, Any]:
        """The arguments of the constructor by name; not to be changed."""
        return self._internal_dict  # the name that diffusers looks for

    def save_pretrained(self, folder: Any, **options: Any) -> None:
        """Write config.json and safetensors into a folder, as diffusers does, which is only imported for it."""
        twin: Any = copy.copy(self)
        twin.__class__, twin._internal_dict = _of_diffusers(), dict(self.config)
        twin.save_pretrained(folder, **options)

    @classmethod
    def from_pretrained(cls, folder: Any, **options: Any) -> Self:
        """Read what `save_pretrained` wrote, as diffusers does."""
        model: Any = _of_diffusers().from_pretrained(folder, **options)
        model.__class__ = cls
        return model  # type: ignore[no-any-return]


def _of_diffusers() -> Any:
    """GraphMAE as one of diffusers' models, too."""
    from diffusers.configuration_utils import ConfigMixin
    from diffusers.models.modeling_utils import ModelMixin

    own = {"__init__": GraphMAE.__init__, "config_name": "config.json"}
    return type("GraphMAE", (ModelMixin, GraphMAE, ConfigMixin), own)


class _Block(nn.Module):
    """One encoder layer: graph layer [+ linear map of the node's own input], then [LayerNorm and] PReLU unless last."""

    def __init__(self, kind: str, inputs: int, outputs: int, residual: bool, normalise: bool, last: bool) -> None:
        super().__init__()
        self.layer = LAYERS[kind].build(inputs, outputs)
        self.own = nn.Linear(inputs, outputs, bias=False) if residual else None
        self.norm = nn.LayerNorm(outputs) if normalise and not last else nn.Identity()
        self.activation = nn.Identity() if last else nn.PReLU()

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        mixed: Tensor = self.layer(x, edges)  # (n, outputs)
        if self.own is not None:
            mixed = mixed + self.own(x)
        activated: Tensor = self.activation(self.norm(mixed))
        return activated


def scaled_cosine_error(rebuilt: Tensor, target: Tensor, gamma: float) -> Tensor:
    """Return mean over rows of (1 - cos(rebuilt, target)) ** gamma, a scalar (STOUTER eq. 3).

    A row of zeros has no direction: its error is 1, and it pulls on no weight.
    rebuilt, target: (n, channels).
    """
    cosine = (functional.normalize(rebuilt, dim=-1) * functional.normalize(target, dim=-1)).sum(dim=-1)  # (n,)
    return (1 - cosine).clamp(min=0).pow(gamma).mean()  # clamp: rounding makes a cosine of 1 + 1e-7


def pretrain(
    model: GraphMAE, graphs: Sequence[Graph], *, steps: int, learning_rate: float, seed: int
) -> Iterator[float]:
    """Train in place, yielding the loss after each of `steps` steps: `for loss in pretrain(...)`.

    Each step hides nodes in one graph; all graphs are visited once, in random order, before any is visited again, so
    that a large city does not outvote a small one. Adam, the rate falling to zero as a half cosine. `seed` fixes the
    order and the masks: with the same model and graphs the losses are the same. Graphs lie on the model's device.

    Raises ValueError at once when there is no graph or one has fewer than two nodes or another number of features.
    """
    if not graphs:
        raise ValueError("graphs is empty: give at least one")
    for index, graph in enumerate(graphs):
        if len(graph.x) < 2 or graph.x.shape[1] != model.in_channels:
            raise ValueError(
                f"graphs[{index}] has x of shape {tuple(graph.x.shape)}: give 2 nodes or more with "
                f"{model.in_channels} features each"
            )
    return _train(model, graphs, steps, learning_rate, torch.Generator().manual_seed(seed))


def _train(
    model: GraphMAE, graphs: Sequence[Graph], steps: int, learning_rate: float, generator: torch.Generator
) -> Iterator[float]:
    optimiser = torch.optim.Adam(model.parameters(), lr=learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=max(steps, 1))
    edges = [model.edges(graph.edge_index, len(graph.x)) for graph in graphs]  # made anew, they are a fifth of a step
    order: list[int] = []
    for _ in range(steps):
        if not order:
            order = torch.randperm(len(graphs), generator=generator).tolist()
        at = order.pop()
        loss = model.loss(graphs[at].x, edges[at], generator)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        yield loss.item()
