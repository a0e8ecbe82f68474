"""The temporal graph against edges listed by hand, and interpolation against numpy's."""

import numpy as np
import pytest
import torch

from graphs.build import interpolate_hours, temporal_graph


def test_edges_are_next_hour_and_same_hour_next_day() -> None:
    expected = set()
    for day in range(7):
        for hour in range(24):
            next_day = (day + 1) % 7
            expected.add((day * 24 + hour, day * 24 + hour + 1 if hour < 23 else next_day * 24))
            expected.add((day * 24 + hour, next_day * 24 + hour))
    edges = [(source, target) for source, target in temporal_graph().edge_index.T.tolist()]
    assert len(edges) == len(expected) == 336
    assert set(edges) == expected
    assert edges == sorted(edges)
    assert {(167, 0), (167, 23), (0, 24), (150, 6)} <= expected  # the week closes both ways


def test_edges_are_directed() -> None:
    edges = set(map(tuple, temporal_graph().edge_index.T.tolist()))
    assert not edges & {(target, source) for source, target in edges}


def test_features_are_one_hot() -> None:
    graph = temporal_graph()
    assert torch.equal(graph.x, torch.eye(168))
    assert graph.edge_index.dtype == torch.int64


def test_whole_hours_return_the_rows_bit_for_bit() -> None:
    embedding = torch.randn(168, 5, generator=torch.Generator().manual_seed(0))
    hours = np.arange(-168, 400)
    assert torch.equal(interpolate_hours(embedding, hours), embedding[torch.arange(-168, 400) % 168])


def test_half_hours_are_means_and_the_week_is_closed() -> None:
    embedding = torch.arange(168.0)[:, None]
    got = interpolate_hours(embedding, np.array([0.5, 10.25, 167.5, -0.5, 335.75]))[:, 0]
    assert got.tolist() == [0.5, 10.25, 83.5, 83.5, 167 * 0.25 + 0 * 0.75]


def test_interpolation_agrees_with_numpy() -> None:
    embedding = torch.randn(168, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    hours = np.random.default_rng(0).uniform(-500, 500, 1000)
    expected = [np.interp(hours, np.arange(168), column, period=168) for column in embedding.numpy().T]
    np.testing.assert_allclose(interpolate_hours(embedding, hours).numpy(), np.stack(expected, 1), atol=1e-12)


@pytest.mark.parametrize("hours", [[np.nan], [np.inf], [[1.0]]])
def test_bad_hours_are_refused(hours: list[float]) -> None:
    with pytest.raises(ValueError, match="hour_of_week"):
        interpolate_hours(torch.zeros(168, 2), hours)


def test_an_embedding_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="168"):
        interpolate_hours(torch.zeros(24, 2), [0.0])
