"""Fitting and forecasting on arrays: nothing leaks, units do not matter, a run can be killed, loops give the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from forecast_examples import QUICK, dataset, network

from forecasters import fit_scaler
from gentraffic.errors import BadInput, BadModel, WrongUse
from gentraffic.evaluation.metrics import summary as metrics
from gentraffic.forecasting.data import Network, Part, few, networks_of, split, whole
from gentraffic.forecasting.fit import Fitted, fit_forecaster, forecast, forecasts, origins, real_of, score, windows_of
from gentraffic.forecasting.score import naive, score_beside_naive
from gentraffic.training.trainer import Run

NAMES = ("lstm", "stn-slstm-day")


@pytest.fixture(scope="module", params=NAMES)
def fitted(request: pytest.FixtureRequest) -> Fitted:
    train, validation, _ = split(network())
    return fit_forecaster(request.param, [train], [validation], QUICK)


def with_values(net: Network, values: np.ndarray) -> Network:
    return replace(net, values=values.astype(np.float32))


def test_parts_follow_each_other_and_share_no_target() -> None:
    train, validation, test = split(network(days=10))
    assert (train.first, train.last, validation.first) == (0, 168, 168)
    assert (validation.last, test.first, test.last) == (204, 204, 240)
    assert train.known == validation.known == test.known == 168
    last = few(train, 0.05)
    assert (last.first, last.last, last.known) == (0, 8, 8)
    np.testing.assert_array_equal(last.network.values, train.network.values[:, 160:168])


def test_test_windows_do_not_reach_the_training_part() -> None:
    net = network(days=10)
    train, _, test = split(net)
    marked = with_values(net, np.broadcast_to(np.arange(net.steps)[None, :, None], net.values.shape))
    for name in NAMES:
        model = fit_forecaster(name, [train], (), replace(QUICK, steps=1)).model
        scaler = fit_scaler(marked.values[:, :168])
        past, future = windows_of(model, replace(test, network=marked), 1).gather(torch.arange(100))
        steps = past * float(scaler.spread[0, 0]) + float(scaler.mean[0, 0])
        assert steps.min() > 168 - 0.5
        ahead = future * float(scaler.spread[0, 0]) + float(scaler.mean[0, 0])
        assert (steps.amax(dim=(1, 2, 3, 4)) < ahead.amin(dim=(1, 2)) - 0.5).all()


def test_changing_the_future_changes_no_forecast(fitted: Fitted) -> None:
    net = network()
    _, _, test = split(net)
    starts = np.array([test.first, test.first + 5])
    before = forecasts(fitted, test, 8, starts[:1])
    changed = net.values.copy()
    changed[:, starts[0] :] = 1000 * np.random.default_rng(0).random(changed[:, starts[0] :].shape)
    np.testing.assert_array_equal(
        forecasts(fitted, replace(test, network=with_values(net, changed)), 8, starts[:1]), before
    )
    later = forecasts(fitted, replace(test, network=with_values(net, changed)), 8, starts[1:])
    assert not np.allclose(later, forecasts(fitted, test, 8, starts[1:]))  # the past does count


@pytest.mark.parametrize("name", NAMES)
def test_what_follows_the_validation_part_changes_no_weight(name: str) -> None:
    net = network()
    changed = net.values.copy()
    changed[:, split(net)[2].first :] *= 50
    weights = []
    for values in (net.values, changed):
        train, validation, _ = split(with_values(net, values))
        weights.append(fit_forecaster(name, [train], [validation], QUICK).model.state_dict())
    for key, value in weights[0].items():
        assert torch.equal(value, weights[1][key]), key


def test_the_scaler_sees_the_training_part_only() -> None:
    net = network()
    changed = net.values.copy()
    changed[:, split(net)[0].last :] *= 50
    a, b = (
        windows_of(naive("last", split(n)[0]).model, split(n)[2], 1).values for n in (net, with_values(net, changed))
    )
    known = split(net)[0].last
    assert torch.equal(a[:known], b[:known])
    np.testing.assert_allclose(a[:known].mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(a[:known].std(0, correction=0), 1, atol=1e-5)
    assert not torch.allclose(a[known:], b[known:])


@pytest.mark.parametrize("name", NAMES)
def test_doubling_the_units_doubles_the_forecasts_to_the_bit(name: str) -> None:
    net = network()
    net.values[3] = 0.0  # a dead cell
    net.values[3, -3:] = 0.5  # that wakes up at the end
    found = []
    for n in (net, with_values(net, 2 * net.values)):
        train, validation, test = split(n)
        model = fit_forecaster(name, [train], [validation], QUICK)
        found.append((forecasts(model, test, 4), forecast(model, n, 3)))
    for one, two in zip(*found, strict=True):
        assert one.max() > 0
        np.testing.assert_array_equal(two, 2 * one)


def test_feeding_back_is_a_loop_over_single_forecasts(fitted: Fitted) -> None:
    """Second implementation: append each forecast to the series, scale with the same scaler, forecast again."""
    net = network()
    _, _, test = split(net)
    start, ahead = test.first + 3, 8
    found = forecasts(fitted, test, ahead, np.array([start]))[0]
    scaler = fit_scaler(net.values[:, : test.known])
    series = scaler.forward(net.values[:, :start])  # (cells, steps, 1)
    while series.shape[1] < start + ahead:
        rows = [[series[net.patches[c], series.shape[1] - lag] for lag in fitted.model.lags] for c in range(12)]
        past = torch.from_numpy(np.array(rows)).view(12, len(fitted.model.lags), 11, 11, 1)
        with torch.inference_mode():
            series = np.concatenate([series, fitted.model(past).numpy()], axis=1)
    expected = scaler.inverse(series[:, start : start + ahead])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_forecasts_do_not_depend_on_how_many_are_made(fitted: Fitted) -> None:
    _, _, test = split(network())
    whole_part = forecasts(fitted, test, 2)
    some = origins(test, 2)[[0, 7, 11]]
    np.testing.assert_allclose(forecasts(fitted, test, 2, some), whole_part[[0, 7, 11]], rtol=1e-4, atol=1e-5)


def test_naive_rows_are_shifts_of_the_series() -> None:
    net = network(days=12)
    _, _, test = split(net)
    at = origins(test, 3)
    for name, lag in (("yesterday", 24), ("last-week", 168)):
        shifted = np.stack([net.values[:, at - lag + h] for h in range(3)], axis=2).transpose(1, 0, 2, 3)
        np.testing.assert_allclose(forecasts(naive(name, test), test, 3), shifted, rtol=1e-4)
    last = np.repeat(net.values[:, at - 1].transpose(1, 0, 2)[:, :, None], 3, axis=2)
    np.testing.assert_allclose(forecasts(naive("last", test), test, 3), last, rtol=1e-4)


def test_scores_are_those_of_metrics_and_leave_dead_cells_out() -> None:
    net = network(rows=5, cols=7)
    net.values[4] = 0.0
    _, _, test = split(net)
    predicted = forecasts(naive("yesterday", test), test, 2)
    predicted[:, 4] = 9.0  # of a dead cell: must not count
    found = score(predicted, test)
    real, live = real_of(test, origins(test, 2), 2), np.arange(35) != 4
    error = predicted[:, live, 1, 0] - real[:, live, 1, 0]
    assert found["mae"][0, 1] == pytest.approx(np.abs(error).mean(), rel=1e-5)
    assert found["rmse"][0, 1] == pytest.approx(np.sqrt((error**2).mean()), rel=1e-5)
    truth = real[:, live, 1, 0]
    assert found["r2"][0, 1] == pytest.approx(1 - (error**2).sum() / ((truth - truth.mean()) ** 2).sum(), rel=1e-4)
    frames = (v[..., 1, 0].reshape(-1, 5, 7) for v in (real, predicted))
    assert found["ssim"][0, 1] == pytest.approx(metrics.ssim(*frames, window=5))


def test_ssim_is_none_without_a_frame_and_missing_naive_rows_say_why() -> None:
    net = replace(network(days=8), frame=None)
    scored = score_beside_naive(naive("last", split(net)[2]), split(net)[2], 2)
    told = scored.to_json(["internet"], ["1"])
    assert told["scores"]["last"]["internet"]["ssim"] == [None, None]
    assert list(told["scores"]) == ["last", "yesterday"]
    assert "168" in told["missing"]["last-week"]


def test_a_killed_run_ends_with_the_same_bits(tmp_path: Path) -> None:
    train, validation, _ = split(network())
    name, checkpoint = "stn-slstm-day", tmp_path / "c.safetensors"
    straight = fit_forecaster(name, [train], [validation], QUICK)

    class Killed(Exception):
        pass

    def kill(step: int, of: int, loss: float) -> None:
        if step == 6:  # a checkpoint was written at 4
            raise Killed

    with pytest.raises(Killed):
        fit_forecaster(name, [train], [validation], QUICK, run=Run(checkpoint, kill))
    seen: list[int] = []
    resumed = fit_forecaster(
        name, [train], [validation], QUICK, run=Run(checkpoint, lambda step, of, loss: seen.append(step))
    )
    assert seen[0] == 5
    for key, value in straight.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[key]), key
    with pytest.raises(WrongUse, match="other data or settings"):
        fit_forecaster(name, [train], [validation], replace(QUICK, seed=1), run=Run(checkpoint))
    raw = bytearray(checkpoint.read_bytes())
    raw[-100] ^= 1
    checkpoint.write_bytes(raw)
    with pytest.raises(BadModel, match="not a whole checkpoint"):
        fit_forecaster(name, [train], [validation], QUICK, run=Run(checkpoint))


def test_shares_say_how_much_of_a_batch_comes_from_where() -> None:
    from gentraffic.forecasting.task import ForecastTask

    nets = [with_values(network(), np.full((12, 192, 1), v) + np.arange(192)[:, None]) for v in (0.0, 1e6)]
    model = naive("last", whole(nets[0])).model
    windows = [windows_of(model, whole(n), 1) for n in nets]
    task = ForecastTask(torch.nn.Linear(1, 1), windows, [], replace(QUICK, batch=4000), shares=[3, 1])
    source = np.concatenate([[0] * len(w) for w in windows])
    assert len(source) == int(task.sizes.sum())
    calls: list[int] = []
    task.train = [_Counting(w, calls) for w in windows]  # type: ignore[misc]
    task.batch(0)
    assert abs(calls[0] / 4000 - 0.75) < 0.03


class _Counting:
    def __init__(self, windows: object, calls: list[int]) -> None:
        self.windows, self.calls = windows, calls

    def gather(self, index: torch.Tensor) -> object:
        self.calls.append(len(index))
        return self.windows.gather(index)  # type: ignore[attr-defined]


def test_an_epoch_uses_every_window_once_in_an_order_of_its_own() -> None:
    from gentraffic.forecasting.task import ForecastTask

    windows = [windows_of(naive("last", whole(network())).model, whole(network()), 6)]
    task = ForecastTask(torch.nn.Linear(1, 1), windows, [], replace(QUICK, batch=50))
    n = len(windows[0])
    order = np.concatenate([task._shuffled(50 * step, 50) for step in range(2 * n // 50 + 1)])
    assert sorted(order[:n]) == sorted(order[n : 2 * n]) == list(range(n))
    assert (order[:n] != order[n : 2 * n]).any()


def test_bad_input_is_one_line() -> None:
    net = network()
    train, _, test = split(net)
    fine = fit_forecaster("lstm", [train], (), replace(QUICK, steps=1))
    with pytest.raises(WrongUse, match="no forecaster 'arima'"):
        fit_forecaster("arima", [train])
    with pytest.raises(BadInput, match="too short a series: 20 training steps, stn-slstm-day needs more than 31"):
        fit_forecaster("stn-slstm-day", [whole(with_values(net, net.values[:, :20]))], (), QUICK)
    with pytest.raises(BadInput, match=r"lightgbm needs more than .* fit lightgbm-day, which needs no last week"):
        fit_forecaster("lightgbm", [whole(with_values(net, net.values[:, :20]))], (), QUICK)
    with pytest.raises(BadInput, match=r"steps of 10 min and lstm was fitted on steps of 60 min"):
        forecast(fine, replace(net, per_day=144))
    with pytest.raises(BadInput, match="forecasts 1 services, the traffic has 2"):
        forecast(fine, network(services=2))
    with pytest.raises(BadInput, match="must be alike"):
        fit_forecaster("lstm", [train, whole(network(per_day=48))])
    with pytest.raises(BadInput, match="too short a series: 4 steps before the first forecast, lstm needs 6"):
        forecast(fine, with_values(net, net.values[:, :4]))
    with pytest.raises(BadInput, match="no 40 steps in a part of"):
        forecasts(fine, test, 40)


def test_datasets_become_networks() -> None:
    ds = dataset()
    [net] = networks_of(ds)
    assert net.per_day == 24
    np.testing.assert_array_equal(net.values[..., 0], ds["internet"].values)
    np.testing.assert_array_equal(net.frame, np.arange(16).reshape(4, 4))
    [stations] = networks_of(dataset("stations"))
    assert stations.frame is None
    assert stations.patches.shape == (16, 121)
    assert (stations.patches[:, 60] == np.arange(16)).all()
    torn = ds.copy(deep=True)
    torn["internet"].values[2, 5] = np.nan
    with pytest.raises(BadInput, match=r"1 values are missing, the first at cell 3, 2013-11-01T04:00Z"):
        networks_of(torn)
    with pytest.raises(BadInput, match="do not divide the day"):
        networks_of(dataset(minutes=7, days=7))
    with pytest.raises(WrongUse, match="no service 'sms'"):
        networks_of(ds, ["sms"])


def test_part_of_one_cell_works(fitted: Fitted) -> None:
    net = network(rows=1, cols=1)
    assert not net.patches.any()
    assert forecasts(fitted, split(net)[2], 2).shape[1] == 1
    assert isinstance(split(net)[0], Part)
