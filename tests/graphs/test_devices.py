"""GraphMAE learns and embeds on another device with the CPU's bits; on one that there is not: pretend_device."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from pretend_device import pretending

from graphs.build import embed_stations, station_graph
from graphs.graphmae import LAYERS, Graph, GraphMAE, pretrain

XY = np.random.default_rng(0).uniform(0, 4000, (60, 2))
FEATURES = np.random.default_rng(1).poisson(3, (60, 8)).astype(np.float32)


@pytest.mark.parametrize("layer", list(LAYERS))
def test_it_learns_and_embeds_on_the_device(layer: str) -> None:
    torch.manual_seed(0)
    model = GraphMAE(8, 12, encoder_layer=layer, decoder_layer=layer)
    graph = station_graph(XY, FEATURES)

    def losses(device: str) -> list[float]:
        here = copy.deepcopy(model).to(device)
        return list(
            pretrain(
                here, [Graph(graph.x.to(device), graph.edge_index.to(device))], steps=3, learning_rate=1e-2, seed=1
            )
        )

    with pretending():
        there = losses("cuda")
        embedded = embed_stations(copy.deepcopy(model).to("cuda"), XY, FEATURES)
    np.testing.assert_allclose(there, losses("cpu"), rtol=1e-6)  # scattered sums come in another order
    np.testing.assert_allclose(embedded, embed_stations(model, XY, FEATURES), atol=1e-6)
