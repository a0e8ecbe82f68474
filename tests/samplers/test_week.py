"""The 7 x 24 sheet of a week: helix convolution, merging and splitting hours."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from samplers.layers import HourMerge, HourSplit, WeekConv, helix_index, pool_hours


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("days", "hours"), [(7, 24), (7, 12), (7, 6), (3, 4), (7, 2), (7, 1)])
def test_helix_convolution_equals_a_loop_over_the_ring_of_the_week(days: int, hours: int) -> None:
    torch.manual_seed(0)
    conv = WeekConv(2, 3, days, hours).double()
    x = randn(2, days * hours, 2).double()
    weight, bias = conv.conv.weight.detach().numpy(), conv.conv.bias
    assert bias is not None
    expected = np.tile(bias.detach().numpy(), (2, days * hours, 1))
    values = x.numpy()
    for at in range(days * hours):  # a 3 x 3 kernel on the helix: 9 offsets on one ring of days * hours places
        for di in (-1, 0, 1):
            for dj in (-1, 0, 1):
                source = (at + di * hours + dj) % (days * hours)
                expected[:, at] += values[:, source] @ weight[:, :, di + 1, dj + 1].T
    np.testing.assert_allclose(conv(x).detach().numpy(), expected, atol=1e-12)
    product, flat = conv.as_matrix()
    np.testing.assert_allclose((x.flatten(1) @ product + flat).detach().numpy(), expected.reshape(2, -1), atol=1e-12)


def test_helix_convolution_equals_conv2d_on_the_sheet_padded_by_hand() -> None:
    torch.manual_seed(1)
    conv = WeekConv(3, 4, 7, 24)
    x = randn(2, 168, 3)
    sheet = x.view(2, 7, 24, 3)
    left = torch.roll(sheet[:, :, -1:], 1, dims=1)  # before midnight: the last hour of the day before
    right = torch.roll(sheet[:, :, :1], -1, dims=1)  # after the last hour: the first of the day after
    wide = torch.cat([left, sheet, right], dim=2)
    padded = torch.cat([wide[:, -1:], wide, wide[:, :1]], dim=1).permute(0, 3, 1, 2)  # Sunday above Monday
    expected = functional.conv2d(padded, conv.conv.weight, conv.conv.bias)
    torch.testing.assert_close(conv(x), expected.permute(0, 2, 3, 1).reshape(2, 168, 4))


def test_the_hour_before_midnight_is_the_neighbour_of_the_next_day() -> None:
    torch.manual_seed(2)
    conv = WeekConv(1, 1, 7, 24)
    x = randn(1, 168, 1)
    changed = x.clone()
    tuesday_23 = 24 + 23
    changed[0, tuesday_23] += 1.0
    moved = torch.flatten((conv(changed) - conv(x)).abs() > 1e-6).nonzero().flatten().tolist()
    around = [tuesday_23 + 24 * d + h for d in (-1, 0, 1) for h in (-1, 0, 1)]
    assert tuesday_23 + 1 == 2 * 24  # Wednesday 00:00 is one of them
    assert moved == sorted(around)
    changed = x.clone()
    changed[0, 167] += 1.0  # Sunday 23:00 reaches Monday 00:00, as in the week itself
    moved = torch.flatten((conv(changed) - conv(x)).abs() > 1e-6).nonzero().flatten().tolist()
    assert moved == [0, 22, 23, 24, 142, 143, 144, 166, 167]


def test_shifting_the_week_shifts_the_convolution() -> None:
    torch.manual_seed(3)
    conv = WeekConv(2, 2, 7, 24)
    x = randn(1, 168, 2)
    torch.testing.assert_close(conv(x.roll(31, 1)), conv(x).roll(31, 1))  # by a day and seven hours


def test_helix_index_of_a_small_sheet() -> None:
    # two days of three hours; rows: the second day seen as the one before, both days, the first as the one after
    assert helix_index(2, 3).view(4, 5).tolist() == [
        [2, 3, 4, 5, 0],
        [5, 0, 1, 2, 3],
        [2, 3, 4, 5, 0],
        [5, 0, 1, 2, 3],
    ]


def test_merge_is_a_strided_convolution_and_split_a_transposed_one() -> None:
    torch.manual_seed(4)
    x = randn(2, 84, 5)
    merge = HourMerge(5, 6)
    kernel = merge.linear.weight.view(6, 2, 5).permute(0, 2, 1)  # (out, in, 2)
    expected = functional.conv1d(x.transpose(1, 2), kernel, merge.linear.bias, stride=2)
    torch.testing.assert_close(merge(x), expected.transpose(1, 2))
    split = HourSplit(5, 6)
    kernel = split.linear.weight.view(2, 6, 5).permute(2, 1, 0)  # (in, out, 2)
    expected = functional.conv_transpose1d(x.transpose(1, 2), kernel, stride=2).transpose(1, 2)
    expected = expected + split.linear.bias.view(1, 2, 6).repeat(1, 84, 1)
    torch.testing.assert_close(split(x), expected)


def test_split_undoes_merge_where_their_weights_are_inverse() -> None:
    torch.manual_seed(5)
    merge, split = HourMerge(4, 8).double(), HourSplit(8, 4).double()
    with torch.no_grad():
        split.linear.weight.copy_(torch.linalg.inv(merge.linear.weight))
        split.linear.bias.copy_(-split.linear.weight @ merge.linear.bias)
    x = randn(3, 168, 4).double()
    assert merge(x).shape == (3, 84, 8)
    torch.testing.assert_close(split(merge(x)), x)


def test_pool_hours_is_the_mean_of_each_group() -> None:
    x = randn(2, 168, 3)
    torch.testing.assert_close(pool_hours(x, 4), x.view(2, 42, 4, 3).mean(2))
    assert pool_hours(x, 1) is x
